package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/internal/argv"
)

// A pathList is the PATHs of a command that takes several: its arguments, of which -
// means those of the list on stdin, and what --files-from lists.
type pathList struct{ argv.Lists }

func (l *pathList) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&l.From, "files-from", "", "read PATHs from `FILE`, one per line; - means stdin, also as a PATH")
	f.BoolVarP(&l.Null, "null", "0", false, "PATHs in lists are separated by NUL bytes, as written by find -print0 and git -z")
	group(f, "Reading", "files-from", "null")
}

// work is [program.work] for what a command does with its PATHs.
func (l *pathList) work(p *program, f func(cmd *cobra.Command, paths []string) error) func(*cobra.Command, []string) error {
	return p.work(func(cmd *cobra.Command, args []string) error {
		paths, err := l.paths(cmd.Context(), p, args)
		if err != nil {
			return err
		}
		return f(cmd, paths)
	})
}

// paths returns the paths: none when the lists are empty, which is no error, as a list of
// what changed is often empty.
func (l *pathList) paths(ctx context.Context, p *program, args []string) ([]string, error) {
	var lists, stdins int
	paths := []string{}
	add := func(name string) error {
		lists++
		if name == argv.Stdin {
			if stdins++; stdins > 1 {
				return errors.New("- is given twice, and stdin can be read once")
			}
		}
		more, err := l.Read(ctx, p.stdin, name)
		paths = append(paths, more...)
		return err
	}
	for _, arg := range args {
		if arg != argv.Stdin {
			paths = append(paths, arg)
		} else if err := add(arg); err != nil {
			return nil, err
		}
	}
	if l.From != "" {
		if err := add(l.From); err != nil {
			return nil, err
		}
	}
	switch {
	case lists == 0 && l.Null:
		return nil, errors.New("--null is about lists of PATHs; it goes with --files-from, or with - as a PATH")
	case lists == 0 && len(paths) == 0:
		return []string{"."}, nil
	case len(paths) == 0:
		p.note("the list of paths is empty: nothing to read")
	}
	return paths, nil
}

// refuseStdin refuses - as an argument of commands that read no list: to them it would be
// the name of a file.
func refuseStdin(cmd *cobra.Command, args []string) error {
	if cmd.Flags().Lookup("files-from") == nil && slices.Contains(args, argv.Stdin) {
		return fmt.Errorf("-: %s does not read stdin; name a file, or ./- if that is its name", cmd.CommandPath())
	}
	return nil
}
