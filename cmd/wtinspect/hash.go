package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/compare"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/values"
)

// The algorithms of digests, as manifests spell them, and what stands for both.
const (
	algorithmSHA256 = "sha256"
	algorithmXXH64  = "xxh64"
	algorithmAll    = "all"
	// contentLine begins the line of a manifest that has the content id.
	contentLine = "content"
)

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
	words := []string{algorithmSHA256, algorithmXXH64, algorithmAll}
	f.Var(newChoice(&o.algorithm, words...), "algorithm", "sha256, xxh64 (fast; no proof against intent) or all")
	complete(cmd, "algorithm", words...)
	f.BoolVar(&o.contentID, "content-id", false, "print the content id of each checkpoint alone")
	f.StringVar(&o.check, "check", "", "compare with the digests in `MANIFEST`")
	return cmd
}

// addWorkFlags is addFlags for commands that read all of the data.
func (r *reading) addWorkFlags(cmd *cobra.Command) {
	r.addFlags(cmd)
	cmd.Flags().Lookup("jobs").Usage = "work on `N` tensors at once (default: as many as there are processors)"
}

func runHash(ctx context.Context, p *program, o *hashOptions, args []string) error {
	selected, err := o.compile()
	if err != nil {
		return err
	}
	if o.contentID && (o.algorithm == algorithmXXH64 || o.check != "" || selected != nil) {
		return errors.New("--content-id is of all tensors and their SHA-256; it goes with no --algorithm, --check or choice of tensors")
	}
	var m *manifest
	if o.check != "" {
		if m, err = readManifest(ctx, o.check); err != nil {
			return err
		}
	}
	in, err := o.open(ctx, p, args)
	if err != nil {
		return err
	}
	defer in.close()
	in.validate()

	h := hashing{in: in, sha256: o.algorithm != algorithmXXH64, xxh64: o.algorithm != algorithmSHA256}
	if m != nil {
		h.sha256, h.xxh64 = m.has(algorithmSHA256) || m.has(contentLine), m.has(algorithmXXH64)
	}
	h.choose(selected)
	if m != nil {
		h.addWholes(m)
	}
	if err := h.run(ctx, p, o); err != nil {
		return err
	}
	write := h.write
	var check *manifestCheck
	if m != nil {
		check = h.compare(m, selected)
		write = check.write
	}
	err = o.write(p, append(in.paths(), o.check), func(w io.Writer, s render.Style) error {
		return write(w, s, o, p)
	})
	if selected != nil && len(h.tensors) == 0 && err == nil {
		p.note("no tensor is chosen by the names given")
	}
	if err = in.finish(p, err); err == nil && check != nil && check.failed() {
		return &exitError{exitFindings}
	}
	return err
}

// A hashing is the digests of the tensors that were asked for.
type hashing struct {
	in            *inputs
	sha256, xxh64 bool
	tensors       []hashed
	// wholes are files as a whole: their tensors one after the other.
	wholes []hashed
	ids    []string // the content ids of the checkpoints, "" where there is none
}

// hashed is a tensor with its digests.
type hashed struct {
	checkpoint int
	file       string            // its name, "" where it is not known
	tensor     checkpoint.Tensor // of a whole file, its place alone
	section    values.Section
	err        error
	sha256     [32]byte
	xxh64      uint64
}

// digest returns the digest in hexadecimal, "" where it was not computed.
func (t *hashed) digest(h *hashing, algorithm string) string {
	switch {
	case t.err != nil:
	case algorithm == algorithmSHA256 && h.sha256:
		return hex.EncodeToString(t.sha256[:])
	case algorithm == algorithmXXH64 && h.xxh64:
		return fmt.Sprintf("%016x", t.xxh64)
	}
	return ""
}

func (h *hashing) algorithms() []string {
	var out []string
	if h.sha256 {
		out = append(out, algorithmSHA256)
	}
	if h.xxh64 {
		out = append(out, algorithmXXH64)
	}
	return out
}

// choose takes the tensors in.
func (h *hashing) choose(selected func(string) bool) {
	for k, c := range h.in.checkpoints {
		for i, t := range c.All() {
			if selected != nil && !selected(t.Name) {
				continue
			}
			one := hashed{checkpoint: k, tensor: t}
			if t.File >= 0 {
				one.file = c.Files[t.File].Name
			}
			// A digest is of the bytes, whatever they are.
			data, err := c.Data(i)
			one.section, one.err = values.Section{Name: t.Name, Data: data}, err
			h.tensors = append(h.tensors, one)
		}
	}
}

// addWholes takes in the files that a manifest has a digest of as a whole.
func (h *hashing) addWholes(m *manifest) {
	for k, c := range h.in.checkpoints {
		parts := make([][]values.Section, len(c.Files))
		for i, t := range c.All() {
			if t.File < 0 {
				continue
			}
			if data, err := c.Data(i); err == nil {
				parts[t.File] = append(parts[t.File], values.Section{Name: t.Name, Data: data})
			}
		}
		for i, f := range c.Files {
			if m.hasWhole(f.Name) && f.Err == nil && !f.Missing {
				h.wholes = append(h.wholes, hashed{
					checkpoint: k, file: f.Name, tensor: checkpoint.Tensor{File: i},
					section: compare.Join(f.Name, parts[i]),
				})
			}
		}
	}
}

// run reads everything once.
func (h *hashing) run(ctx context.Context, p *program, o *hashOptions) error {
	var (
		sections []values.Section
		of       []*hashed
		total    int64
	)
	for _, list := range [][]hashed{h.tensors, h.wholes} {
		for i := range list {
			if t := &list[i]; t.err == nil {
				sections, of = append(sections, t.section), append(of, t)
				total += t.section.Data.Size()
			}
		}
	}
	bar := o.meter(p, "hash", total)
	defer bar.end()
	opt := values.Options{Workers: o.workers, SHA256: h.sha256, XXH64: h.xxh64, Progress: bar.add}
	err := values.Run(ctx, sections, opt, func(i int, r *values.Result) error {
		t := of[i]
		t.err = inFile(h.in.checkpoints[t.checkpoint], t.tensor.File, r.Err)
		t.sha256, t.xxh64 = r.SHA256, r.XXH64
		return nil
	})
	bar.end()
	if err != nil {
		return err
	}
	for _, list := range [][]hashed{h.tensors, h.wholes} {
		for i := range list {
			if t := &list[i]; t.err != nil {
				h.in.failed = true
				p.say("%v", t.err)
			}
		}
	}
	h.contentIDs()
	return nil
}

// contentIDs computes the id of every checkpoint of which all is known.
func (h *hashing) contentIDs() {
	h.ids = make([]string, len(h.in.checkpoints))
	if !h.sha256 {
		return
	}
	digests := make([][]values.TensorDigest, len(h.in.checkpoints))
	for i := range h.tensors {
		t := &h.tensors[i]
		if t.err == nil {
			digests[t.checkpoint] = append(digests[t.checkpoint], values.TensorDigest{DType: t.tensor.DType, Shape: t.tensor.Shape, SHA256: t.sha256})
		}
	}
	for k, c := range h.in.checkpoints {
		if len(digests[k]) == c.Len() && allThere(c) {
			id := values.ContentID(digests[k])
			h.ids[k] = hex.EncodeToString(id[:])
		}
	}
}

// allThere reports whether every file of a checkpoint could be read.
func allThere(c *checkpoint.Checkpoint) bool {
	for _, f := range c.Files {
		if f.Missing || f.Err != nil {
			return false
		}
	}
	return true
}

func (h *hashing) write(w io.Writer, s render.Style, o *hashOptions, p *program) error {
	switch f := o.Format(); {
	case o.contentID && f == render.TableFormat:
		return h.writeIDs(w)
	case f == render.TableFormat:
		return h.writeManifest(w)
	case f == render.JSON:
		return h.writeJSON(w, o.contentID)
	case o.contentID:
		return h.idTable().Write(w, f, s)
	default:
		return h.table(f == render.JSONL).Write(w, f, s)
	}
}

// writeManifest writes lines as llama-gguf-hash does: the algorithm, the digest,
// the file and the tensor. The content id is a line of its own kind, which that
// program passes over.
func (h *hashing) writeManifest(w io.Writer) error {
	b := bufio.NewWriter(w)
	next := 0
	for k, c := range h.in.checkpoints {
		for ; next < len(h.tensors) && h.tensors[next].checkpoint == k; next++ {
			t := &h.tensors[next]
			for _, a := range h.algorithms() {
				if d := t.digest(h, a); d != "" {
					fmt.Fprintf(b, "%-8s  %s  %s:%s\n", a, d, render.Escape(manifestFile(c, t.file)), render.Escape(t.tensor.Name))
				}
			}
		}
		if h.ids[k] != "" {
			fmt.Fprintf(b, "%-8s  %s  %s\n", contentLine, h.ids[k], render.Escape(c.Path))
		}
	}
	return b.Flush()
}

// manifestFile is what a manifest calls a file: the path that the user gave
// where it is that file's, as llama-gguf-hash has it, and otherwise the name
// within the set.
func manifestFile(c *checkpoint.Checkpoint, name string) string {
	if sameFile(c.Path, name) {
		return c.Path
	}
	return name
}

func (h *hashing) writeIDs(w io.Writer) error {
	b := bufio.NewWriter(w)
	for k, c := range h.in.checkpoints {
		if h.ids[k] != "" {
			fmt.Fprintf(b, "%s  %s\n", h.ids[k], render.Escape(c.Path))
		}
	}
	return b.Flush()
}

// A jsonHashedCheckpoint is an element of hash's "checkpoints".
type jsonHashedCheckpoint struct {
	Path   string            `json:"path"`
	Format checkpoint.Format `json:"format"`
	// ContentID is null when not every tensor was read, or no SHA-256 computed.
	ContentID *string `json:"content_id"`
}

func (h *hashing) jsonCheckpoints() []jsonHashedCheckpoint {
	var out []jsonHashedCheckpoint
	for k, c := range h.in.checkpoints {
		j := jsonHashedCheckpoint{Path: c.Path, Format: c.Format}
		if h.ids[k] != "" {
			j.ContentID = &h.ids[k]
		}
		out = append(out, j)
	}
	return out
}

func (h *hashing) writeJSON(w io.Writer, idsOnly bool) error {
	d := render.NewDocument(w)
	render.List(d, "checkpoints", h.jsonCheckpoints())
	if !idsOnly {
		d.Rows("tensors", h.table(true))
	}
	render.List(d, "faults", h.in.jsonFaults())
	return d.Close()
}

func (h *hashing) idTable() *render.Table {
	return &render.Table{
		Columns: []render.Column{{Key: "path"}, {Key: "content_id"}},
		Rows: func(yield func([]render.Cell) bool) {
			for k, c := range h.in.checkpoints {
				if !yield([]render.Cell{render.Text(c.Path), textOrNull(h.ids[k])}) {
					return
				}
			}
		},
	}
}

// table has a row a tensor.
func (h *hashing) table(numbered bool) *render.Table {
	columns := []render.Column{
		{Key: "checkpoint"},
		{Key: "name"},
		{Key: "dtype"},
		{Key: "shape"},
		{Key: "bytes"},
		{Key: "file"},
	}
	for _, a := range h.algorithms() {
		columns = append(columns, render.Column{Key: a})
	}
	columns = append(columns, render.Column{Key: "error"})
	return &render.Table{Columns: columns, Rows: func(yield func([]render.Cell) bool) {
		for i := range h.tensors {
			t := &h.tensors[i]
			row := []render.Cell{
				checkpointCell(h.in, t.checkpoint, numbered),
				render.Text(t.tensor.Name),
				dtypeCell(&t.tensor),
				render.Shape(t.tensor.Shape),
				render.Null(),
				textOrNull(t.file),
			}
			if t.tensor.BytesKnown {
				row[4] = render.Uint(t.tensor.Bytes)
			}
			for _, a := range h.algorithms() {
				row = append(row, textOrNull(t.digest(h, a)))
			}
			if !yield(append(row, errorCell(t.err))) {
				return
			}
		}
	}}
}

// checkpointCell names a checkpoint: by its number where rows stand beside the
// list of them, otherwise by its path.
func checkpointCell(in *inputs, k int, numbered bool) render.Cell {
	if numbered {
		return render.Uint(uint64(k))
	}
	return render.Text(in.checkpoints[k].Path)
}

func textOrNull(s string) render.Cell {
	if s == "" {
		return render.Null()
	}
	return render.Text(s)
}

func errorCell(err error) render.Cell {
	if err == nil {
		return render.Null()
	}
	return render.Text(err.Error())
}

// sameFile reports whether a manifest and a checkpoint may mean the same file:
// both are named from wherever the program was run.
func sameFile(a, b string) bool { return baseName(a) == baseName(b) }

func baseName(file string) string { return path.Base(filepath.ToSlash(file)) }

func readManifest(ctx context.Context, name string) (*manifest, error) {
	text, err := source.ReadNamed(ctx, name, source.Manifest)
	if err != nil {
		return nil, plain(err)
	}
	return parseManifest(name, bytes.NewReader(text))
}
