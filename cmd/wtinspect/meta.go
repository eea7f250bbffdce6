package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/render"
)

func newMeta(p *program) *cobra.Command {
	return branch(&cobra.Command{
		Use:   "meta",
		Short: "Show, set and remove metadata",
		Long: `Meta works with the metadata of a checkpoint: the __metadata__ of safetensors,
the keys and values of GGUF.`,
		Annotations: exitStatus(),
		Example: `  wtinspect meta show model.gguf
  wtinspect meta set --in-place model.gguf general.name=Mine`,
	}, newMetaShow(p), newMetaSet(p), newMetaUnset(p))
}

type metaShowOptions struct {
	reading
	output
	// formatted says that the user chose a format.
	formatted bool
}

func newMetaShow(p *program) *cobra.Command {
	var o metaShowOptions
	cmd := &cobra.Command{
		Use:   "show [PATH [KEY...]]",
		Short: "Print metadata: keys, types and values",
		Long: `Show prints the metadata of the checkpoints under PATH (default: the
current directory); with KEYs, only those entries, with their whole values.

One KEY without a format is printed raw: text byte for byte, so that you can
write a chat template to a file; a number on one line; an array with one line
per element, in which \t \n \r and \\ stand for the characters that would break
lines. On a terminal control characters are escaped.`,
		Annotations: exitStatus("2  also if there is no such key, or the files disagree on its value"),
		Example: `  wtinspect meta show model.safetensors
  wtinspect meta show -f json model.gguf tokenizer.ggml.tokens
  wtinspect meta show model.gguf tokenizer.chat_template > template.jinja`,
		ValidArgsFunction: p.completeKeys,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			o.formatted = cmd.Flags().Changed("format")
			return runMetaShow(cmd.Context(), p, &o, args)
		}),
	}
	o.output.addFlags(cmd, p, answer.MetadataColumns)
	o.reading.addFlags(cmd)
	return cmd
}

func runMetaShow(ctx context.Context, p *program, o *metaShowOptions, args []string) error {
	var paths, keys []string // no path is the current directory
	if len(args) > 0 {
		paths, keys = args[:1], args[1:]
	}
	in, err := o.openFor(ctx, p, paths, o.Format())
	if err != nil {
		return err
	}
	defer in.Close()
	return in.finish(ctx, p, showMetadata(ctx, p, o, in, keys))
}

func showMetadata(ctx context.Context, p *program, o *metaShowOptions, in *inputs, keys []string) error {
	m, err := inspect.Metadata(ctx, in.Set, &inspect.MetadataOptions{Keys: keys})
	if e, ok := errors.AsType[*inspect.NoKeyError](err); ok && e.Meant == "" {
		return fmt.Errorf("%w; without a key all are shown", err)
	}
	if err != nil {
		return err
	}
	if len(keys) == 1 && !o.formatted {
		e, err := m.Value(keys[0])
		if err != nil {
			return err
		}
		return o.write(p, in.Paths(), func(w io.Writer, s render.Style) error { return answer.Value(w, e, s) })
	}
	return o.answer(p, in.Paths(), func(w io.Writer, a answer.Options) error {
		return answer.Metadata(w, in.Set, m, keys, a)
	})
}

// completeKeys completes a path, then keys in it.
func (p *program) completeKeys(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return p.completePaths(cmd, args, toComplete)
	}
	ctx, done := p.caches(cmd.Context())
	defer done()
	rel, err := checkpoint.Open(ctx, args[0], &checkpoint.Options{NoConfig: true})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer rel.Close()
	var keys []string
	for _, c := range rel.Checkpoints {
		for _, e := range inspect.MetadataOf(c).Entries() {
			if strings.HasPrefix(e.Key, toComplete) && !slices.Contains(args[1:], e.Key) && render.Escape(e.Key) == e.Key {
				keys = append(keys, e.Key)
			}
		}
	}
	return keys, cobra.ShellCompDirectiveNoFileComp
}
