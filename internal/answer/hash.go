package answer

import (
	"bufio"
	"fmt"
	"io"
	"slices"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// Hash prints digests, for people as a manifest; with idsOnly the content ids alone.
func Hash(w io.Writer, h *inspect.HashResult, idsOnly bool, o Options) error {
	f, s := o.Format, o.Style
	switch {
	case f == render.TableFormat && idsOnly && s.Columns == nil:
		return writeIDs(w, h)
	case f == render.TableFormat && s.Columns == nil:
		return h.WriteManifest(w)
	case f == render.JSON:
		d := render.NewDocument(w)
		render.List(d, "checkpoints", h.Checkpoints)
		if !idsOnly {
			d.Rows("tensors", hashTable(h))
		}
		render.Each(d, "faults", h.Faults)
		return d.Close()
	case idsOnly:
		return idColumns.Table(slices.Values(h.Checkpoints)).Write(w, f, s)
	default:
		return hashTable(h).Write(w, f, s)
	}
}

// Files prints digests of files, for people as sha256sum does.
func Files(w io.Writer, r *inspect.FilesResult, o Options) error {
	table := fileColumns(r).Table(pointers(r.Files))
	switch {
	case o.Format == render.TableFormat && o.Style.Columns == nil:
		return writeSums(w, r)
	case o.Format == render.JSON:
		d := render.NewDocument(w)
		render.List(d, "checkpoints", r.Checkpoints)
		d.Rows("files", table)
		render.Each(d, "faults", r.Faults)
		return d.Close()
	}
	return table.Write(w, o.Format, o.Style)
}

// writeSums writes lines that sha256sum -c reads. A backslash before the digest says that
// the name has escapes (GNU coreutils, manual of cksum): those of a backslash and a newline
// are the same as here.
func writeSums(w io.Writer, r *inspect.FilesResult) error {
	b := bufio.NewWriter(w)
	for i := range r.Files {
		f := &r.Files[i]
		if f.SHA256 == "" {
			continue
		}
		mark, name := "", render.Escape(f.Path)
		if name != f.Path {
			mark = `\`
		}
		fmt.Fprintf(b, "%s%s  %s\n", mark, f.SHA256, name)
	}
	return b.Flush()
}

// FileColumns describes the columns of [Files].
func FileColumns() []render.Column { return fileColumns(&inspect.FilesResult{}).Heads() }

func fileColumns(r *inspect.FilesResult) render.Columns[*inspect.FileHash] {
	type row = *inspect.FileHash
	return render.Columns[row]{
		{Key: "checkpoint", Cell: func(c *render.Cell, f row) { *c = checkpointCell(r.Checkpoints[f.Checkpoint].Path, f.Checkpoint) }},
		{Key: "file", Cut: render.Whole, Cell: func(c *render.Cell, f row) { c.Text(f.Path) }},
		{Key: "bytes", Cell: func(c *render.Cell, f row) {
			if f.Err == nil {
				c.Int(f.Bytes)
			}
		}},
		{Key: "sha256", Cell: func(c *render.Cell, f row) { c.Some(f.SHA256) }},
		{Key: "listed", Cell: func(c *render.Cell, f row) { c.Bool(f.Listed) }},
		{Key: "error", Cut: render.Sentence, Cell: func(c *render.Cell, f row) { c.Error(f.Err) }},
	}
}

func writeIDs(w io.Writer, h *inspect.HashResult) error {
	b := bufio.NewWriter(w)
	for _, c := range h.Checkpoints {
		if c.ContentID != nil {
			fmt.Fprintf(b, "%s  %s\n", *c.ContentID, render.Escape(c.Path))
		}
	}
	return b.Flush()
}

var idColumns = render.Columns[inspect.HashedCheckpoint]{
	{Key: "path", Cell: func(c *render.Cell, h inspect.HashedCheckpoint) { c.Text(h.Path) }},
	{Key: "content_id", Cell: func(c *render.Cell, h inspect.HashedCheckpoint) { c.Some(TextOf(h.ContentID)) }},
}

// HashColumns describes the columns of [Hash], by what it is asked for.
func HashColumns(idsOnly bool, algorithms ...string) []render.Column {
	if idsOnly {
		return idColumns.Heads()
	}
	return hashColumns(&inspect.HashResult{Algorithms: algorithms}).Heads()
}

// ManifestColumns describes the columns of [Manifest].
func ManifestColumns() []render.Column { return manifestColumns.Heads() }

// hashTable has a row a tensor.
func hashTable(h *inspect.HashResult) *render.Table { return hashColumns(h).Table(pointers(h.Tensors)) }

func hashColumns(h *inspect.HashResult) render.Columns[*inspect.TensorHash] {
	type row = *inspect.TensorHash
	columns := render.Columns[row]{
		{Key: "checkpoint", Cell: func(c *render.Cell, t row) { *c = checkpointCell(h.Checkpoints[t.Checkpoint].Path, t.Checkpoint) }},
		{Key: "name", Cut: render.Whole, Cell: func(c *render.Cell, t row) { c.Text(t.Name) }},
		{Key: "dtype", Cell: func(c *render.Cell, t row) { c.Some(t.DType) }},
		{Key: "shape", Cell: func(c *render.Cell, t row) { c.Shape(t.Shape) }},
		{Key: "bytes", Cell: func(c *render.Cell, t row) {
			if t.BytesKnown {
				c.Uint(t.Bytes)
			}
		}},
		{Key: "file", Cell: func(c *render.Cell, t row) { c.Some(t.FileName) }},
	}
	for _, a := range h.Algorithms {
		columns = append(columns, render.Col[row]{Key: a, Cell: func(c *render.Cell, t row) { c.Some(t.Digest(a)) }})
	}
	return append(columns, render.Col[row]{Key: "error", Cut: render.Sentence, Cell: func(c *render.Cell, t row) { c.Error(t.Err) }})
}

// Manifest prints what became of the entries of a manifest: for people those that
// are not right, or all when verbose.
func Manifest(w io.Writer, c *inspect.ManifestResult, o Options) error {
	table := manifestColumns.Table(pointers(c.Entries))
	table.Headings = render.Never
	switch o.Format {
	case render.TableFormat:
		if !o.Verbose {
			table = manifestColumns.Table(func(yield func(*inspect.ManifestEntry) bool) {
				for e := range pointers(c.Entries) {
					if e.Status != inspect.ManifestOK && !yield(e) {
						return
					}
				}
			})
			table.Headings = render.Never
		}
		if err := table.Write(w, o.Format, o.Style); err != nil {
			return err
		}
		_, err := fmt.Fprintln(w, manifestSummary(c))
		return err
	case render.JSON:
		d := render.NewDocument(w)
		d.Field("manifest", c.Manifest)
		render.List(d, "checkpoints", c.Checkpoints)
		d.Field("summary", c.Summary)
		d.Rows("entries", table)
		render.Each(d, "faults", c.Faults)
		return d.Close()
	default:
		return table.Write(w, o.Format, o.Style)
	}
}

// manifestSummary sums up in a line: "290 ok, 1 differs".
func manifestSummary(c *inspect.ManifestResult) string {
	n := c.Summary
	s := render.Grouped(uint64(n.OK)) + " " + inspect.ManifestOK
	for _, of := range []struct {
		status string
		n      int
	}{{inspect.ManifestDiffers, n.Differs}, {inspect.ManifestMissing, n.Missing}, {inspect.ManifestUnlisted, n.Unlisted}} {
		if of.n > 0 {
			s += fmt.Sprintf(", %s %s", render.Grouped(uint64(of.n)), of.status)
		}
	}
	for _, a := range []string{"sha1", "xxh3", "uuid"} {
		if n := c.Unchecked[a]; n > 0 {
			s += fmt.Sprintf(", %s of %s not checked", render.Grouped(uint64(n)), a)
		}
	}
	return s
}

var manifestColors = map[string]render.Color{
	inspect.ManifestOK: render.Green, inspect.ManifestDiffers: render.Red, inspect.ManifestMissing: render.Red, inspect.ManifestUnlisted: render.Yellow,
}

var manifestColumns = render.Columns[*inspect.ManifestEntry]{
	{Key: "status", Title: "STATUS", Cell: func(c *render.Cell, e *inspect.ManifestEntry) {
		c.Text(e.Status)
		c.Color(manifestColors[e.Status])
	}},
	{Key: "algorithm", Cell: func(c *render.Cell, e *inspect.ManifestEntry) { c.Some(e.Algorithm) }},
	{Key: "file", Cell: func(c *render.Cell, e *inspect.ManifestEntry) { c.Text(e.File) }},
	{Key: "tensor", Cell: func(c *render.Cell, e *inspect.ManifestEntry) { c.Some(e.Tensor) }},
	{Title: "NAME", Cell: func(c *render.Cell, e *inspect.ManifestEntry) {
		switch {
		case e.Algorithm == inspect.ContentID:
			c.Text("content id of " + e.File)
		case e.Tensor != "":
			c.Text(e.File + ":" + e.Tensor)
		default:
			c.Text(e.File)
		}
	}},
	{Key: "expected", Cell: func(c *render.Cell, e *inspect.ManifestEntry) { c.Some(e.Expected) }},
	{Key: "actual", Cell: func(c *render.Cell, e *inspect.ManifestEntry) { c.Some(e.Actual) }},
}
