package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/argv"
)

// addMaxBytes adds the flag to a command that reads values.
func (p *program) addMaxBytes(cmd *cobra.Command) {
	p.maxBytes = argv.RemoteValues
	cmd.Flags().Var(&p.maxBytes, "max-bytes", "read at most `N` bytes of values from remote files (K, M, G, T, or all)")
}

// tooMuch says how more is read than --max-bytes allows, and how a command reads less.
func (p *program) tooMuch(cmd *cobra.Command, err error) {
	e, ok := errors.AsType[*inspect.ReadLimitError](err)
	if !ok {
		return
	}
	less := ""
	for _, way := range []struct{ flag, does string }{
		{"match", "--match and --exclude choose fewer tensors"}, {"sample", "--sample reads a part of each"}, {"slice", "--slice reads a part of each"}, {"headers", "--headers reads none"}, {"names-only", "--names-only reads none"},
	} {
		if cmd.Flags().Lookup(way.flag) != nil && !cmd.Flags().Changed(wholeFiles) {
			less += "; " + way.does
		}
	}
	p.say("hint: --max-bytes %d reads them%s", e.Bytes, less)
}
