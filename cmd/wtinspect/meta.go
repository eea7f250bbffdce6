package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
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
	defer in.close()
	in.validate()
	return in.finish(p, showMetadata(p, o, in, keys))
}

func showMetadata(p *program, o *metaShowOptions, in *inputs, keys []string) error {
	all := make([]metadata, len(in.checkpoints))
	for i, c := range in.checkpoints {
		all[i] = newMetadata(c)
	}
	for _, key := range keys {
		if len(all) > 0 && !slices.ContainsFunc(all, func(m metadata) bool { return m.has(key) }) {
			return fmt.Errorf("no metadata has the key %q%s", key, cmp.Or(nearestKeys(all, key), "; without a key all are shown"))
		}
	}
	if len(keys) == 1 && !o.formatted {
		e, err := theEntry(in, all, keys[0])
		if err != nil {
			return err
		}
		return o.write(p, in.paths(), func(w io.Writer, s render.Style) error { return writeRaw(w, s, e) })
	}
	return o.write(p, in.paths(), func(w io.Writer, s render.Style) error {
		f := o.Format()
		if f == render.TableFormat {
			return writeMetadataTables(w, s, in, all, keys)
		}
		numbered := f == render.JSON || f == render.JSONL
		table := metadataRows(in, all, keys, numbered)
		if f != render.JSON {
			return table.Write(w, f, s)
		}
		checkpoints := make([]jsonCheckpoint, len(in.checkpoints))
		for i, c := range in.checkpoints {
			var t totals
			for _, tensor := range c.All() {
				t.add(&tensor)
			}
			checkpoints[i] = newJSONCheckpoint(c, &t)
		}
		d := render.NewDocument(w)
		render.List(d, "checkpoints", checkpoints)
		d.Rows("metadata", table)
		render.List(d, "faults", in.jsonFaults())
		return d.Close()
	})
}

func writeMetadataTables(w io.Writer, s render.Style, in *inputs, all []metadata, keys []string) error {
	for i, c := range in.checkpoints {
		if len(all) > 1 {
			between := ""
			if i > 0 {
				between = "\n"
			}
			if _, err := fmt.Fprintf(w, "%s%s\n", between, s.Paint(render.Bold, render.Escape(c.Path)+":")); err != nil {
				return err
			}
		}
		if t := all[i].table(c, keys, s.Terminal); t != nil {
			if err := t.Write(w, render.TableFormat, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// table returns the entries as rows of key, type and value, with their file
// where the files disagree; nil when there are none.
func (m *metadata) table(c *checkpoint.Checkpoint, keys []string, terminal bool) *render.Table {
	columns := []render.Column{
		{Title: "FILE", Cut: render.CutMiddle},
		{Title: "KEY", Cut: render.CutMiddle},
		{Title: "TYPE"},
		{Title: "VALUE", Cut: render.CutEnd},
	}
	if m.agree {
		columns[0].Title = ""
	}
	if c.Format == checkpoint.Safetensors {
		columns[2].Title = "" // every value is a string
	}
	t := &render.Table{Columns: columns, Rows: func(yield func([]render.Cell) bool) {
		row := make([]render.Cell, len(columns))
		for file, e := range m.entries(keys) {
			row[0] = render.Text(c.Files[file].Name)
			row[1] = render.Text(e.key).In(render.Cyan)
			row[2] = render.Text(typeName(e))
			// A name, a token, a template of any length is cut to fit; elements
			// that nobody will see need not be written out.
			row[3] = render.Text(valueText(e, len(keys) > 0 && !terminal))
			if !yield(row) {
				return
			}
		}
	}}
	for range t.Rows {
		return t
	}
	return nil
}

// metadataRows returns all entries for programs.
func metadataRows(in *inputs, all []metadata, keys []string, numbered bool) *render.Table {
	return &render.Table{
		Columns: []render.Column{{Key: "checkpoint"}, {Key: "file"}, {Key: "key"}, {Key: "type"}, {Key: "value"}},
		Rows: func(yield func([]render.Cell) bool) {
			row := make([]render.Cell, 5)
			for i, c := range in.checkpoints {
				row[0] = render.Text(c.Path)
				if numbered {
					row[0] = render.Uint(uint64(i))
				}
				for file, e := range all[i].entries(keys) {
					row[1] = render.Text(c.Files[file].Name)
					row[2] = render.Text(e.key)
					row[3] = render.Text(typeName(e))
					row[4] = render.Text(e.text)
					if e.value != nil {
						row[4] = render.Value(valueText(e, len(keys) > 0), string(appendJSONValue(nil, *e.value, len(keys) > 0)))
						if s, ok := e.value.Text(); ok {
							row[4] = render.Text(s)
						}
					}
					if !yield(row) {
						return
					}
				}
			}
		},
	}
}

// theEntry finds the one value that key has.
func theEntry(in *inputs, all []metadata, key string) (*entry, error) {
	var (
		found *entry
		where string
	)
	for i, c := range in.checkpoints {
		for file, e := range all[i].entries([]string{key}) {
			place := c.Files[file].Path
			if found != nil && !sameValue(found, e) {
				return nil, fmt.Errorf("%q has one value in %s and another in %s; name one of them, or a format with -f", key, where, place)
			}
			if found == nil {
				found, where = e, place
			}
		}
	}
	return found, nil
}

func sameValue(a, b *entry) bool {
	return typeName(a) == typeName(b) && valueText(a, true) == valueText(b, true)
}

// writeRaw writes a value as it is, or, on a terminal, as much so as is safe.
func writeRaw(w io.Writer, s render.Style, e *entry) error {
	out := bufio.NewWriter(w)
	text, isText := e.text, true
	if e.value != nil {
		text, isText = e.value.Text()
	}
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
	default:
		if a, ok := e.value.Array(); ok {
			lines := strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`)
			for _, v := range a.All() {
				text := elementText(v)
				if s.Terminal {
					text = render.Escape(text)
				} else {
					text = lines.Replace(text)
				}
				out.WriteString(text)
				out.WriteByte('\n')
			}
			break
		}
		out.WriteString(scalarText(*e.value))
		out.WriteByte('\n')
	}
	return out.Flush()
}

// nearestKeys names the keys that contain a part of key, or that it contains.
func nearestKeys(all []metadata, key string) string {
	var near []string
	last := key[strings.LastIndexByte(key, '.')+1:]
	for i := range all {
		for _, e := range all[i].entries(nil) {
			if strings.HasSuffix(e.key, "."+last) || strings.EqualFold(e.key, key) || last != "" && strings.Contains(e.key, last) {
				near = append(near, fmt.Sprintf("%q", e.key))
			}
		}
	}
	near = slices.Compact(near)
	const most = 3
	if len(near) == 0 || len(near) > 2*most {
		return ""
	}
	return "; did you mean " + strings.Join(near[:min(most, len(near))], " or ") + "?"
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
		m := newMetadata(c)
		for _, e := range m.entries(nil) {
			if strings.HasPrefix(e.key, toComplete) && !slices.Contains(args[1:], e.key) && render.Escape(e.key) == e.key {
				keys = append(keys, e.key)
			}
		}
	}
	return keys, cobra.ShellCompDirectiveNoFileComp
}
