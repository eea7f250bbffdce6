package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// allAlgorithms is the value of --algorithm for every one.
const allAlgorithms = "all"

type hashOptions struct {
	reading
	selection
	output
	progress
	algorithm string
	contentID bool
	check     string
}

func newHash(p *program) *cobra.Command {
	var o hashOptions
	cmd := &cobra.Command{
		Use:   "hash [PATH...]",
		Short: "Digests of the tensors' bytes; check a manifest of them",
		Long: `Hash prints a digest of every tensor's bytes, as they are in the file, in the
format of llama.cpp's llama-gguf-hash, and a content id of every checkpoint.

The content id is the same before and after renaming, sharding otherwise,
another order of tensors or other metadata, and different when one bit of one
weight is. It is the SHA-256 of the tensors' sorted lines of dtype, shape and
SHA-256; docs/hash.md has the recipe for sha256sum.

--check reads a manifest that was written by this command or by
llama-gguf-hash and says which tensors differ, are missing or are not listed.
A tensor is found by file and name, and where no file has that name any more,
by its name alone.`,
		Annotations: exitStatus("1  --check: a tensor differs from the manifest, is missing, or is not listed"),
		Example: `  wtinspect hash model.gguf > model.manifest
  wtinspect hash --check model.manifest model.gguf
  wtinspect hash --content-id before/ after/
  wtinspect hash --algorithm xxh64 -f json model.safetensors`,
		ValidArgsFunction: completePaths,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			return runHash(cmd.Context(), p, &o, args)
		}),
	}
	o.output.addFlags(cmd)
	o.selection.addFlags(cmd, p)
	o.addWorkFlags(cmd)
	o.progress.addFlags(cmd)
	f := cmd.Flags()
	words := []string{inspect.SHA256, inspect.XXH64, allAlgorithms}
	f.Var(newChoice(&o.algorithm, words...), "algorithm", "sha256, xxh64 (fast; no proof against intent) or all")
	complete(cmd, "algorithm", words...)
	f.BoolVar(&o.contentID, "content-id", false, "print the content id of each checkpoint alone")
	f.StringVar(&o.check, "check", "", "compare with the digests in `MANIFEST`")
	return cmd
}

func runHash(ctx context.Context, p *program, o *hashOptions, args []string) error {
	if _, err := o.compile(); err != nil {
		return err
	}
	if o.contentID && (o.algorithm == inspect.XXH64 || o.check != "" || !o.All()) {
		return errors.New("--content-id is of all tensors and their SHA-256; it goes with no --algorithm, --check or choice of tensors")
	}
	opts := inspect.HashOptions{Select: o.Selection, Algorithms: []string{o.algorithm}, Workers: o.workers}
	if o.algorithm == allAlgorithms {
		opts.Algorithms = []string{inspect.SHA256, inspect.XXH64}
	}
	if o.check != "" {
		var err error
		if opts.Manifest, err = inspect.ReadManifest(ctx, o.check); err != nil {
			return err
		}
	}
	in, err := o.open(ctx, p, args)
	if err != nil {
		return err
	}
	defer in.Close()
	bar := o.jobMeter(p, "hash")
	opts.Progress = bar.update
	hashes, err := inspect.Hash(ctx, in.Set, &opts)
	bar.end()
	if err != nil {
		return err
	}
	in.say(p, hashes.Errors())
	h := hashing{HashResult: hashes, in: in, options: o}
	write := h.write
	var check *inspect.ManifestResult
	if opts.Manifest != nil {
		check = hashes.Check()
		write = func(w io.Writer, s render.Style) error { return writeCheck(w, s, check, o.Format(), p.verbose) }
	}
	err = o.write(p, append(in.Paths(), o.check), write)
	o.noteNone(p, len(hashes.Tensors), err)
	if err = in.finish(p, err); err == nil && check != nil && !check.OK() {
		return &exitError{exitFindings}
	}
	return err
}

// A hashing is the digests of the tensors that were asked for.
type hashing struct {
	*inspect.HashResult
	in      *inputs
	options *hashOptions
}

func (h *hashing) write(w io.Writer, s render.Style) error {
	f, idsOnly := h.options.Format(), h.options.contentID
	switch {
	case f == render.TableFormat && idsOnly:
		return h.writeIDs(w)
	case f == render.TableFormat:
		return h.WriteManifest(w)
	case f == render.JSON:
		d := render.NewDocument(w)
		render.List(d, "checkpoints", h.Checkpoints)
		if !idsOnly {
			d.Rows("tensors", h.table())
		}
		render.Each(d, "faults", h.Faults)
		return d.Close()
	case idsOnly:
		return idColumns.Table(slices.Values(h.Checkpoints)).Write(w, f, s)
	default:
		return h.table().Write(w, f, s)
	}
}

func (h *hashing) writeIDs(w io.Writer) error {
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
	{Key: "content_id", Cell: func(c *render.Cell, h inspect.HashedCheckpoint) { c.Some(textOf(h.ContentID)) }},
}

// table has a row a tensor.
func (h *hashing) table() *render.Table {
	type row = *inspect.TensorHash
	checkpoints := checkpointCells(h.in.Checkpoints)
	columns := render.Columns[row]{
		{Key: "checkpoint", Cell: func(c *render.Cell, t row) { *c = checkpoints[t.Checkpoint] }},
		{Key: "name", Cell: func(c *render.Cell, t row) { c.Text(t.Name) }},
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
	columns = append(columns, render.Col[row]{Key: "error", Cell: func(c *render.Cell, t row) { c.Error(t.Err) }})
	return columns.Table(pointers(h.Tensors))
}

// pointers yields where the elements of a list are.
func pointers[T any](list []T) func(yield func(*T) bool) {
	return func(yield func(*T) bool) {
		for i := range list {
			if !yield(&list[i]) {
				return
			}
		}
	}
}

// writeCheck writes what became of the entries of a manifest: for people those
// that are not right, with -v all.
func writeCheck(w io.Writer, s render.Style, c *inspect.ManifestResult, f render.Format, verbose bool) error {
	table := entryColumns.Table(pointers(c.Entries))
	table.Headings = render.Never
	switch f {
	case render.TableFormat:
		if !verbose {
			table = entryColumns.Table(func(yield func(*inspect.ManifestEntry) bool) {
				for e := range pointers(c.Entries) {
					if e.Status != inspect.ManifestOK && !yield(e) {
						return
					}
				}
			})
			table.Headings = render.Never
		}
		if err := table.Write(w, f, s); err != nil {
			return err
		}
		_, err := fmt.Fprintln(w, checkSummary(c))
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
		return table.Write(w, f, s)
	}
}

// checkSummary sums up in a line: "290 ok, 1 differs".
func checkSummary(c *inspect.ManifestResult) string {
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

var entryColumns = render.Columns[*inspect.ManifestEntry]{
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
			return

		case e.Tensor != "":
			c.Text(e.File + ":" + e.Tensor)
			return
		}
		c.Text(e.File)
	}},
	{Key: "expected", Cell: func(c *render.Cell, e *inspect.ManifestEntry) { c.Some(e.Expected) }},
	{Key: "actual", Cell: func(c *render.Cell, e *inspect.ManifestEntry) { c.Some(e.Actual) }},
}
