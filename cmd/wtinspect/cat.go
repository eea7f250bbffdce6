package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/source"
)

type catOptions struct {
	selection
	output
	progress
	slice string
	dtype string
	force bool
	part  reading
}

func newCat(p *program) *cobra.Command {
	var o catOptions
	cmd := &cobra.Command{
		Use:   "cat MODEL [TENSOR...]",
		Short: "Print the numbers of tensors, or write them for NumPy",
		Long: `Cat prints the numbers of tensors, each under its name. A
TENSOR is a whole name or a glob, in which * also matches dots.
Block-quantised types are decoded.

Text looks as in NumPy: of more than 1,000 numbers, only three at each end of
every axis are printed, with as many digits as it takes to read them back in their
own type. JSON has all numbers. A .npy file opens in NumPy; BF16 and the 8-bit floats,
which NumPy lacks, become unsigned integers with the same bits, and block types
become F32; --dtype widens them. Raw is the bytes in the file. Nothing is rounded.

--slice works as in NumPy: an index or START:STOP:STEP for each axis, and "...".
Large parts that it leaves out are not read.`,
		Annotations: exitStatus("2  also if a tensor does not exist or cannot be read as requested; text and JSON have the others"),
		Example: `  wtinspect cat model.safetensors model.norm.weight
  wtinspect cat ~/models/yi model.embed_tokens.weight --slice 0:4,:8
  wtinspect cat model.gguf 'blk.0.attn_*' --slice 0
  wtinspect cat -f npy --dtype f32 -o norm.npy ~/models/yi model.norm.weight
  wtinspect cat -f json ~/models/yi lm_head.weight | jq '.tensors[0].values[0]'`,
		Args:              arguments(1, unlimited),
		ValidArgsFunction: p.completeModelTensors,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			return runCat(cmd, p, &o, args[0], args[1:])
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.slice, "slice", "", "read this part of each tensor, written as between NumPy's brackets: `SLICE` is, for example, 0:4,:8")
	f.Var(newChoice(&o.dtype, "", "f16", "f32", "f64"), "dtype", "widen the numbers to a type that holds them all: f16, f32 or f64")
	complete(cmd, "dtype", "f16", "f32", "f64")
	addFormat(cmd, &o.format, "output format: text, json, npy or raw", string(inspect.CatText), string(inspect.CatJSON), string(inspect.CatNPY), string(inspect.CatRaw))
	o.addPath(cmd)
	f.Lookup("output").Usage = "write to `PATH` instead of stdout, all or nothing; for npy or raw of several tensors a new directory with one file each"
	f.BoolVar(&o.force, "force", false, "replace an existing file")
	group(f, "Output", "force")
	o.selection.addFlags(cmd, p)
	o.part.addSubtree(cmd)
	o.progress.addFlags(cmd)
	p.addMaxBytes(cmd)
	return cmd
}

// completeModelTensors completes the path of a model, and then names of its tensors.
func (p *program) completeModelTensors(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return p.completePaths(cmd, args, toComplete)
	}
	return p.completeTensors(cmd, args[:1], toComplete)
}

// options are those of the library.
func (o *catOptions) options(cmd *cobra.Command, tensors []string) (*inspect.CatOptions, error) {
	if _, err := o.compile(); err != nil {
		return nil, err
	}
	if len(tensors)+len(o.Match)+len(o.Regex) == 0 {
		return nil, errors.New("name a tensor, or choose some with --match; 'wtinspect ls' lists them")
	}
	opts := &inspect.CatOptions{Names: tensors, Select: o.Selection, DType: strings.ToUpper(o.dtype), Form: inspect.CatForm(o.format)}
	if cmd.Flags().Changed("slice") {
		s, err := inspect.ParseSlice(o.slice)
		if err != nil {
			return nil, fmt.Errorf("--%w", err)
		}
		opts.Slice = s
	}
	return opts, nil
}

func runCat(cmd *cobra.Command, p *program, o *catOptions, model string, tensors []string) error {
	ctx := cmd.Context()
	opts, err := o.options(cmd, tensors)
	if err != nil {
		return err
	}
	stdout := o.path == "" || o.path == "-"
	if opts.Form.Binary() && stdout && p.terminal {
		return fmt.Errorf("-f %s is not for a terminal; write it to a file with -o, or into a pipe", opts.Form)
	}
	if fi, err := source.Stat(ctx, o.path); !stdout && err == nil && fi.Mode().IsRegular() && !o.force {
		return fmt.Errorf("%s already exists; name another file, or use --force", o.path)
	}
	in, err := o.part.open(ctx, p, []string{model})
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := in.one(model, "printed"); err != nil {
		return err
	}
	bar := o.jobMeter(p, "cat")
	opts.Progress = bar.update
	r, err := inspect.Cat(ctx, in.Set, opts)
	if err != nil {
		for _, gap := range in.Gaps(ctx, 0) {
			p.say("%v", gap.Err) // the tensor may be there
		}
		return err
	}
	if opts.Form.Binary() {
		err = o.writeBinary(p, in, r)
	} else {
		in.say(p, r.Errors())
		err = o.write(p, in.Paths(), func(w io.Writer, s render.Style) error {
			if opts.Form == inspect.CatJSON {
				return answer.CatJSON(w, r)
			}
			return answer.CatText(w, r, s)
		})
		o.noteNone(p, len(r.Tensors), err)
		if opts.Form == inspect.CatText && slices.ContainsFunc(r.Tensors, func(t inspect.CatTensor) bool { return !slices.Equal(t.Shown, t.ValuesShape) }) {
			p.note("note: of more than 1,000 numbers the middle is left out; --slice shows any part, -f json and npy show all")
		}
	}
	bar.end()
	return in.finish(ctx, p, err)
}

// writeBinary writes one tensor to a file or to stdout, or several to a directory. It
// writes all of them, or none.
func (o *catOptions) writeBinary(p *program, in *inputs, r *inspect.CatResult) error {
	if errs := r.Errors(); len(errs) > 0 {
		return errors.Join(errs...)
	}
	n := len(r.Tensors)
	if n == 0 {
		return errors.New("no tensor matches the given names")
	}
	if err := o.writeFiles(p, in, r); err != nil {
		return err
	}
	bits := make(map[string]bool)
	for i := range r.Tensors {
		if t := &r.Tensors[i]; t.Bits && !bits[t.DType] {
			bits[t.DType] = true
			p.note("NumPy has no %s: what is written is the bits of its numbers, as unsigned integers; --dtype f32 writes the numbers", t.DType)
		}
	}
	if i := slices.IndexFunc(r.Tensors, func(t inspect.CatTensor) bool { return len(t.Beside) > 0 }); i >= 0 {
		p.note("%q is written as it is stored, without %s", r.Tensors[i].Name, strings.Join(r.Tensors[i].Beside, ", "))
	}
	return nil
}

// writeFiles writes one tensor to a file or to stdout, or several to a directory.
func (o *catOptions) writeFiles(p *program, in *inputs, r *inspect.CatResult) error {
	n := len(r.Tensors)
	switch dir := strings.TrimRight(o.path, `/\`); {
	case n > 1 && dir == o.path && slices.Contains([]string{".npy", ".bin", ".raw"}, strings.ToLower(filepath.Ext(dir))):
		return fmt.Errorf("%s is the name of one file, and %s are chosen; -o DIR writes a file for each into a new directory", o.path, counted(n, "tensor"))
	case o.path != "" && o.path != "-" && (n > 1 || len(dir) < len(o.path)):
		return p.winding(func() error { return r.WriteDir(dir, o.force) })
	case n > 1:
		return fmt.Errorf("%s are chosen, and -f %s to stdout has one; -o DIR writes a file for each into a new directory", counted(n, "tensor"), o.format)
	}
	return o.write(p, in.Paths(), func(w io.Writer, _ render.Style) error { return r.Tensors[0].Write(w) })
}
