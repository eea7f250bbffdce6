package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

func newMeta(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "meta",
		Short: "Work with metadata",
		Long: `Meta works with the metadata of a checkpoint: the __metadata__ of safetensors,
the keys and values of GGUF.`,
		Annotations: exitStatus(),
		Example: `  wtinspect meta show model.gguf
  wtinspect meta set --in-place model.gguf general.name=Mine`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("meta needs a subcommand: show, set, unset")
			}
			return fmt.Errorf("unknown subcommand %q of meta; there are show, set, unset", args[0])
		},
	}
	cmd.AddCommand(newMetaShow(p), newMetaSet(p), newMetaUnset(p))
	return cmd
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
		Long: `Show prints the metadata of the checkpoints under PATH, the current directory
when there is none; with KEYs, those entries and the whole of their values.

One KEY without a format is printed raw: text byte for byte, so that a chat
template can be piped into a file, a number in a line, an array with a line an
element, in which \t \n \r and \\ stand for the characters that would break
lines. On a terminal control characters are escaped.`,
		Annotations: exitStatus("2  also when there is no such key, or the files disagree on its value"),
		Example: `  wtinspect meta show model.safetensors
  wtinspect meta show -f json model.gguf general.architecture tokenizer.ggml.tokens
  wtinspect meta show model.gguf tokenizer.chat_template > template.jinja`,
		ValidArgsFunction: p.completeKeys,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			o.formatted = cmd.Flags().Changed("format")
			return runMetaShow(cmd.Context(), p, &o, args)
		}),
	}
	o.output.addFlags(cmd)
	o.reading.addFlags(cmd)
	return cmd
}

func runMetaShow(ctx context.Context, p *program, o *metaShowOptions, args []string) error {
	paths, keys := args[:min(1, len(args))], args[min(1, len(args)):]
	in, err := o.openFor(ctx, p, paths, o.Format())
	if err != nil {
		return err
	}
	defer in.Close()
	return in.finish(p, showMetadata(ctx, p, o, in, keys))
}

func showMetadata(ctx context.Context, p *program, o *metaShowOptions, in *inputs, keys []string) error {
	m, err := inspect.Metadata(ctx, in.Set, &inspect.MetadataOptions{Keys: keys})
	if e, ok := errors.AsType[*inspect.NoKeyError](err); ok && len(e.Near) == 0 {
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
		return o.write(p, in.Paths(), func(w io.Writer, s render.Style) error { return writeRaw(w, s, e) })
	}
	return o.write(p, in.Paths(), func(w io.Writer, s render.Style) error {
		switch f := o.Format(); f {
		case render.TableFormat:
			return writeMetadataTables(w, s, in, m, keys)
		case render.JSON:
			d := render.NewDocument(w)
			render.Each(d, "checkpoints", m.Checkpoints)
			d.Rows("metadata", entryTable(in, m, keys))
			render.Each(d, "faults", m.Faults)
			return d.Close()
		default:
			return entryTable(in, m, keys).Write(w, f, s)
		}
	})
}

func writeMetadataTables(w io.Writer, s render.Style, in *inputs, m *inspect.MetadataResult, keys []string) error {
	for k, c := range in.Checkpoints {
		if len(in.Checkpoints) > 1 {
			if err := writeHeading(w, s, k, c.Path); err != nil {
				return err
			}
		}
		if t := metadataTable(m.Files[k], c.Format, keys, s.Terminal); t != nil {
			if err := t.Write(w, render.TableFormat, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// metadataTable has the entries of a checkpoint for people, with their file where
// the files disagree; nil when there are none.
func metadataTable(m *inspect.FileMetadata, format checkpoint.Format, keys []string, terminal bool) *render.Table {
	// A name, a token, a template of any length is cut to fit; elements that
	// nobody will see need not be written out.
	whole := len(keys) > 0 && !terminal
	columns := render.Columns[*inspect.Entry]{
		{Title: titleIf(!m.Agree, "FILE"), Cut: render.CutMiddle, Cell: func(c *render.Cell, e *inspect.Entry) { c.Text(e.File) }},
		{Title: "KEY", Cut: render.CutMiddle, Cell: func(c *render.Cell, e *inspect.Entry) {
			c.Text(e.Key)
			c.Color(render.Cyan)
		}},
		// In safetensors every value is a string.
		{Title: titleIf(format != checkpoint.Safetensors, "TYPE"), Cell: func(c *render.Cell, e *inspect.Entry) { c.Text(e.Type()) }},
		{Title: "VALUE", Cut: render.CutEnd, Cell: func(c *render.Cell, e *inspect.Entry) { c.Text(e.Text(whole)) }},
	}
	for range m.Entries(keys...) {
		return columns.Table(func(yield func(*inspect.Entry) bool) {
			for _, e := range m.Entries(keys...) {
				if !yield(e) {
					return
				}
			}
		})
	}
	return nil
}

// entryTable has all entries, for programs.
func entryTable(in *inputs, m *inspect.MetadataResult, keys []string) *render.Table {
	checkpoints := checkpointCells(in.Checkpoints)
	return render.Columns[inspect.Entry]{
		{Key: "checkpoint", Cell: func(c *render.Cell, e inspect.Entry) { *c = checkpoints[e.Checkpoint] }},
		{Key: "file", Cell: func(c *render.Cell, e inspect.Entry) { c.Text(e.File) }},
		{Key: "key", Cell: func(c *render.Cell, e inspect.Entry) { c.Text(e.Key) }},
		{Key: "type", Cell: func(c *render.Cell, e inspect.Entry) { c.Text(e.Type()) }},
		{Key: "value", Cell: func(c *render.Cell, e inspect.Entry) {
			if s, ok := e.String(); ok {
				c.Text(s)
				return
			}
			c.Value(e.Text(len(keys) > 0), string(e.JSON()))
		}},
	}.Table(m.Metadata)
}

// writeRaw writes a value as it is, or, on a terminal, as much so as is safe.
func writeRaw(w io.Writer, s render.Style, e *inspect.Entry) error {
	out := bufio.NewWriter(w)
	text, isText := e.String()
	switch {
	case isText && s.Terminal:
		for line := range strings.SplitSeq(text, "\n") {
			if line != "" {
				out.WriteString(render.EscapeMessage(line))
			}
			out.WriteByte('\n')
		}
	case isText:
		out.WriteString(text)
	case e.IsArray():
		lines := strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`)
		for text := range e.Elements() {
			if s.Terminal {
				text = render.Escape(text)
			} else {
				text = lines.Replace(text)
			}
			out.WriteString(text)
			out.WriteByte('\n')
		}
	default:
		out.WriteString(e.Text(true))
		out.WriteByte('\n')
	}
	return out.Flush()
}

// completeKeys completes a path, then keys in it.
func (p *program) completeKeys(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return completePaths(cmd, args, toComplete)
	}
	rel, err := checkpoint.Open(cmd.Context(), args[0], nil)
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
