package answer

import (
	"bufio"
	"cmp"
	"io"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// Metadata prints the metadata of a set, or the entries of some keys.
func Metadata(w io.Writer, set *inspect.Set, m *inspect.MetadataResult, keys []string, o Options) error {
	t := entryTable(set, m, keys)
	switch o.Format {
	case render.TableFormat:
		return metadataTables(w, set, m, keys, o.Style)
	case render.JSON:
		d := render.NewDocument(w)
		render.Each(d, "checkpoints", m.Checkpoints)
		d.Rows("metadata", t)
		render.Each(d, "faults", m.Faults)
		return d.Close()
	default:
		return t.Write(w, o.Format, o.Style)
	}
}

func metadataTables(w io.Writer, set *inspect.Set, m *inspect.MetadataResult, keys []string, s render.Style) error {
	for k, c := range set.Checkpoints {
		if len(set.Checkpoints) > 1 {
			if err := Heading(w, s, k, c.Path); err != nil {
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
	columns := metadataColumns(m.Agree, format, whole)
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

// MetadataColumns describes the columns of [Metadata].
func MetadataColumns(o Options) []render.Column {
	if o.Format == render.TableFormat {
		return metadataColumns(false, "", false).Heads()
	}
	return entryColumns(nil, false).Heads()
}

func metadataColumns(agree bool, format checkpoint.Format, whole bool) render.Columns[*inspect.Entry] {
	return render.Columns[*inspect.Entry]{
		{Key: "file", Title: "FILE", Hide: agree, Cut: render.Whole, Cell: func(c *render.Cell, e *inspect.Entry) { c.Text(e.File) }},
		{Key: "key", Title: "KEY", Cut: render.Whole, Cell: func(c *render.Cell, e *inspect.Entry) {
			c.Text(e.Key)
			c.Color(render.Cyan)
		}},
		// In safetensors every value is a string.
		{Key: "type", Title: "TYPE", Hide: format == checkpoint.Safetensors, Cell: func(c *render.Cell, e *inspect.Entry) { c.Text(e.Type()) }},
		{Key: "value", Title: "VALUE", Cut: render.CutEnd, Cell: func(c *render.Cell, e *inspect.Entry) { c.Text(e.Text(whole)) }},
	}
}

// entryTable has all entries, for programs.
func entryTable(set *inspect.Set, m *inspect.MetadataResult, keys []string) *render.Table {
	return entryColumns(set, len(keys) > 0).Table(m.Metadata)
}

func entryColumns(set *inspect.Set, whole bool) render.Columns[inspect.Entry] {
	return render.Columns[inspect.Entry]{
		{Key: "checkpoint", Cell: func(c *render.Cell, e inspect.Entry) {
			*c = checkpointCell(set.Checkpoints[e.Checkpoint].Path, e.Checkpoint)
		}},
		{Key: "file", Cell: func(c *render.Cell, e inspect.Entry) { c.Text(e.File) }},
		{Key: "key", Cell: func(c *render.Cell, e inspect.Entry) { c.Text(e.Key) }},
		{Key: "type", Cell: func(c *render.Cell, e inspect.Entry) { c.Text(e.Type()) }},
		{Key: "value", Cell: func(c *render.Cell, e inspect.Entry) {
			if s, ok := e.String(); ok {
				c.Text(s)
				return
			}
			c.Value(e.Text(whole), string(e.JSON()))
		}},
	}
}

// Value prints a value as it is, or, on a terminal, as much so as is safe.
func Value(w io.Writer, e *inspect.Entry, s render.Style) error {
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

// An editRow is a value that an edit concerns, old and new.
type editRow struct {
	*rewrite.Metadata
	was *inspect.Entry // nil where there is none
}

// EditsColumns describes the columns of [Edits].
func EditsColumns(o Options) []render.Column {
	return editColumns(&checkpoint.Checkpoint{}, &inspect.FileMetadata{}, o.Style.Terminal).Heads()
}

func editColumns(c *checkpoint.Checkpoint, old *inspect.FileMetadata, terminal bool) render.Columns[editRow] {
	return render.Columns[editRow]{
		{Key: "file", Title: "FILE", Hide: old.Agree, Cut: render.Whole, Cell: func(c *render.Cell, r editRow) {
			if r.was != nil {
				c.Text(r.was.File)
			}
		}},
		{Key: "key", Title: "KEY", Cut: render.Whole, Cell: func(c *render.Cell, r editRow) {
			c.Text(r.Key)
			c.Color(render.Cyan)
		}},
		{Key: "type", Title: "TYPE", Hide: c.Format == checkpoint.Safetensors, Cell: func(c *render.Cell, r editRow) {
			if r.Type == "" && r.was != nil {
				c.Text(r.was.Type())
			} else {
				c.Text(cmp.Or(r.Type, "string"))
			}
		}},
		{Key: "old", Title: "OLD", Cut: render.CutEnd, Cell: func(c *render.Cell, r editRow) {
			if r.was != nil {
				c.Text(r.was.Text(!terminal))
			}
		}},
		{Key: "new", Title: "NEW", Cut: render.CutEnd, Cell: func(c *render.Cell, r editRow) {
			if !r.Unset {
				c.Text(r.Value)
				c.Color(render.Green)
			}
		}},
	}
}

// Edits has a row for every value that an edit concerns.
func Edits(c *checkpoint.Checkpoint, old *inspect.FileMetadata, edits []rewrite.Metadata, terminal bool) *render.Table {
	return editColumns(c, old, terminal).Table(func(yield func(editRow) bool) {
		for e := range pointers(edits) {
			found := false
			for _, was := range old.Entries(e.Key) {
				found = true
				if !yield(editRow{e, was}) {
					return
				}
			}
			if !found && !yield(editRow{e, nil}) {
				return
			}
		}
	})
}
