package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/internal/render"
)

// An output is where a command's answer goes, and in which form.
type output struct {
	format string
	path   string
}

func (o *output) addFlags(cmd *cobra.Command) {
	var formats []string
	for _, f := range render.Formats() {
		formats = append(formats, string(f))
	}
	cmd.Flags().VarP(newChoice(&o.format, formats...), "format", "f", "form of the output: table, json, jsonl, csv or tsv")
	complete(cmd, "format", formats...)
	cmd.Flags().StringVarP(&o.path, "output", "o", "", "write to `PATH` instead of stdout, whole or not at all")
}

// Format returns the chosen format.
func (o *output) Format() render.Format { return render.Format(o.format) }

// write calls f with the destination and the style for it. A file appears
// under its name only when f succeeds, and never takes the place of one of the
// inputs.
func (o *output) write(p *program, inputs []string, f func(w io.Writer, s render.Style) error) error {
	if o.path == "" || o.path == "-" {
		return f(p.stdout, p.style())
	}
	path, mode := o.path, os.FileMode(0o666)
	if old, err := os.Stat(path); err == nil {
		for _, in := range inputs {
			if st, err := os.Stat(in); err == nil && os.SameFile(st, old) {
				return fmt.Errorf("%s: the output is one of the inputs; choose another name", o.path)
			}
		}
		// A device or a pipe takes what it is given; there is nothing to replace.
		if !old.Mode().IsRegular() {
			return o.writeThrough(p, f)
		}
		mode = old.Mode().Perm()
		// What a symbolic link points to is replaced, not the link.
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return err
		}
	}
	p.listen()
	tmp, err := createBeside(path, mode)
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("%s: cannot be written: %w", o.path, e.Err)
	} else if err != nil {
		return err
	}
	err = f(tmp, render.Style{Color: p.color == "always"})
	if err == nil {
		err = tmp.Sync()
	}
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}

func (o *output) writeThrough(p *program, f func(w io.Writer, s render.Style) error) error {
	w, err := os.OpenFile(o.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f(w, render.Style{Color: p.color == "always"}), w.Close())
}

// createBeside creates a new file in the directory of path, with a mode that
// the umask narrows, as for any file that a program creates.
func createBeside(path string, mode os.FileMode) (*os.File, error) {
	dir, base := filepath.Split(path)
	for n := range 100 {
		name := fmt.Sprintf("%s.%s.%d-%d.tmp", dir, base, os.Getpid(), n)
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if !errors.Is(err, os.ErrExist) {
			return f, err
		}
	}
	return nil, fmt.Errorf("%s: no free temporary name beside it", path)
}
