package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

type infoOptions struct {
	reading
	output
}

func newInfo(p *program) *cobra.Command {
	var o infoOptions
	cmd := &cobra.Command{
		Use:   "info [PATH...]",
		Short: "Tell what a checkpoint is: format, totals, dtypes, shards, metadata",
		Long: `Info sums up every checkpoint under the paths, the current directory when there
is none: format and version, files, tensors, parameters, sizes by dtype,
architecture, quantisation, and the metadata.

Parameters are those of the model: packed weights count what they unpack to,
and scales and zero points are not counted. Long arrays in the metadata are
shown by their length and beginning; 'wtinspect meta show PATH KEY' prints one
whole. -v lists the files of large sets and prints every fault on stderr.`,
		Annotations: exitStatus("2  also when a file of a set is missing or broken; the rest is summed up"),
		Example: `  wtinspect info
  wtinspect info model.gguf
  wtinspect info -f csv models/*.gguf
  wtinspect info -f json . | jq '.checkpoints[].parameters'`,
		ValidArgsFunction: completePaths,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			return runInfo(cmd.Context(), p, &o, args)
		}),
	}
	o.output.addFlags(cmd)
	o.reading.addFlags(cmd)
	return cmd
}

func runInfo(ctx context.Context, p *program, o *infoOptions, args []string) error {
	in, err := o.openFor(ctx, p, args, o.Format())
	if err != nil {
		return err
	}
	defer in.close()
	in.validate()
	err = o.write(p, in.paths(), func(w io.Writer, s render.Style) error {
		infos := make([]*info, len(in.checkpoints))
		for i, c := range in.checkpoints {
			r, err := inspect.Identify(ctx, c, nil)
			if err != nil {
				return err
			}
			infos[i] = newInfoOf(c, r.Result)
		}
		switch f := o.Format(); f {
		case render.TableFormat:
			return writeInfos(w, s, infos, p.verbose)
		case render.JSON:
			d := render.NewDocument(w)
			render.List(d, "checkpoints", jsonInfos(infos))
			render.List(d, "faults", in.jsonFaults())
			return d.Close()
		case render.JSONL:
			return render.Lines(w, jsonInfos(infos))
		default:
			return infoTable(infos).Write(w, f, s)
		}
	})
	return in.finish(p, err)
}

// info is what there is to say of a checkpoint as a whole.
type info struct {
	*checkpoint.Checkpoint
	totals
	perFile      []totals // as Files
	elements     []sum    // as dtypes
	parameters   *uint64  // nil: no shape is known
	note         string   // about parameters
	architecture string
	convention   *identify.Result
	name         string
	quantization string
	largest      *checkpoint.Tensor
	first        *gguf.File // the first readable GGUF part
}

func newInfoOf(c *checkpoint.Checkpoint, identity *identify.Result) *info {
	out := &info{Checkpoint: c, perFile: make([]totals, len(c.Files))}
	for _, t := range c.All() {
		i := out.totals.add(&t)
		if t.File >= 0 {
			out.perFile[t.File].add(&t)
		}
		if i >= 0 {
			if i == len(out.elements) {
				out.elements = append(out.elements, sum{})
			}
			if n, ok := t.Elements(); ok {
				out.elements[i].add(n)
			}
		}
		if t.BytesKnown && (out.largest == nil || t.Bytes > out.largest.Bytes) {
			largest := t // t itself would be made anew for every tensor
			out.largest = &largest
		}
	}
	if !c.NamesOnly() {
		n, note := c.Parameters(c.Config)
		out.parameters, out.note = &n, note
	}
	for _, f := range c.Files {
		if g := f.GGUF(); g != nil {
			out.first = g
			break
		}
	}
	out.architecture, out.quantization = c.Architecture(c.Config), c.Quantization(c.Config)
	out.convention = identity
	if out.first != nil {
		v, _ := out.first.Lookup("general.name")
		out.name, _ = v.Text()
	}
	return out
}

// format returns the container with its version: "GGUF v3, big-endian,
// alignment 64".
func (i *info) format() string {
	if i.first == nil {
		return string(i.Format)
	}
	s := fmt.Sprintf("GGUF v%d", i.first.Version)
	if i.first.ByteOrder == binary.BigEndian {
		s += ", big-endian"
	}
	const usual = 32
	if i.first.Alignment != usual {
		s += fmt.Sprintf(", alignment %d", i.first.Alignment)
	}
	return s
}

// A jsonInfo is an element of the "checkpoints" of info.
type jsonInfo struct {
	jsonCheckpoint
	Version        *uint32 `json:"version"`    // GGUF
	ByteOrder      *string `json:"byte_order"` // little or big
	Alignment      *int64  `json:"alignment"`  // GGUF
	Parameters     *uint64 `json:"parameters"`
	ParametersNote string  `json:"parameters_note,omitempty"`
	Architecture   *string `json:"architecture"`
	Convention     *string `json:"convention"`
	Name           *string `json:"name"`
	Quantization   *string `json:"quantization"`
}

func jsonInfos(infos []*info) []jsonInfo {
	list := make([]jsonInfo, len(infos))
	for i := range infos {
		list[i] = infos[i].json()
	}
	return list
}

func (i *info) json() jsonInfo {
	some := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	out := jsonInfo{
		jsonCheckpoint: newJSONCheckpoint(i.Checkpoint, &i.totals),
		Parameters:     i.parameters,
		ParametersNote: i.note,
		Architecture:   some(i.architecture),
		Convention:     some(i.convention.Convention),
		Name:           some(i.name),
		Quantization:   some(i.quantization),
	}
	if g := i.first; g != nil {
		out.Version, out.Alignment = &g.Version, &g.Alignment
		out.ByteOrder = some("little")
		if g.ByteOrder == binary.BigEndian {
			out.ByteOrder = some("big")
		}
	}
	return out
}

// infoTable has one row a checkpoint.
func infoTable(infos []*info) *render.Table {
	return &render.Table{
		Columns: []render.Column{
			{Key: "checkpoint"},
			{Key: "format"},
			{Key: "architecture"},
			{Key: "name"},
			{Key: "quantization"},
			{Key: "files"},
			{Key: "tensors"},
			{Key: "elements"},
			{Key: "parameters"},
			{Key: "bytes"},
			{Key: "unknown"},
			{Key: "dtypes"},
			{Key: "convention"},
		},
		Rows: func(yield func([]render.Cell) bool) {
			for _, i := range infos {
				row := []render.Cell{
					render.Text(i.Path),
					render.Text(i.format()),
					render.Text(i.architecture),
					render.Text(i.name),
					render.Text(i.quantization),
					render.Uint(uint64(len(i.Files))),
					render.Uint(uint64(i.tensors)),
					i.totals.elements.cell(render.Uint),
					render.Null(),
					i.totals.bytes.cell(render.Bytes),
					render.Uint(uint64(i.unknown)),
					render.Text(i.dtypeWords()),
					render.Text(i.convention.Convention),
				}
				if i.parameters != nil {
					row[8] = render.Uint(*i.parameters)
				}
				if !yield(row) {
					return
				}
			}
		},
	}
}

// dtypeWords lists the dtypes and their tensors: "BF16 x543".
func (i *info) dtypeWords() string {
	var words []string
	for _, d := range i.byBytes() {
		words = append(words, fmt.Sprintf("%s x%d", i.dtypes[d].dtype, i.dtypes[d].tensors))
	}
	return strings.Join(words, ", ")
}

// byBytes returns the indices of the dtypes, the one with most bytes first.
func (i *info) byBytes() []int {
	order := make([]int, len(i.dtypes))
	for k := range order {
		order[k] = k
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(i.dtypes[b].bytes.n, i.dtypes[a].bytes.n) })
	return order
}

func writeInfos(w io.Writer, s render.Style, infos []*info, verbose bool) error {
	for k, i := range infos {
		if k > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
		}
		if err := i.write(w, s, verbose); err != nil {
			return err
		}
	}
	return nil
}

// manyFiles is from where on the files of a set are listed only when asked for.
const manyFiles = 16

func (i *info) write(w io.Writer, s render.Style, verbose bool) error {
	sections := []*render.Table{i.facts(s), i.dtypeSection(s)}
	if len(i.Files) > 1 && (verbose || len(i.Files) < manyFiles) {
		sections = append(sections, i.fileSection())
	}
	m := newMetadata(i.Checkpoint)
	if table := m.table(i.Checkpoint, nil, s.Terminal); table != nil {
		table.Headings = render.Always
		sections = append(sections, table)
	}
	for k, t := range sections {
		if t == nil {
			continue
		}
		if k > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
		}
		if err := t.Write(w, render.TableFormat, s); err != nil {
			return err
		}
	}
	return nil
}

// facts are the lines of a word and what there is to say about it.
func (i *info) facts(s render.Style) *render.Table {
	var rows [][]render.Cell
	fact := func(word, text string) {
		if text != "" {
			rows = append(rows, []render.Cell{render.Text(word).In(render.Bold), render.Text(text)})
		}
	}
	size := func(n sum) string {
		if s.Terminal {
			return n.text("", render.Size) + " (" + n.text(" bytes", render.Grouped) + ")"
		}
		return n.text(" bytes", render.Grouped)
	}
	fact("checkpoint", i.Path)
	fact("format", i.format())
	fact("index", i.Index)
	if len(i.Files) > 1 {
		missing, broken := 0, 0
		for _, f := range i.Files {
			switch {
			case f.Missing:
				missing++
			case f.Err != nil:
				broken++
			}
		}
		files := render.Grouped(uint64(len(i.Files)))
		if missing > 0 {
			files += fmt.Sprintf(", %d missing", missing)
		}
		if broken > 0 {
			files += fmt.Sprintf(", %d broken", broken)
		}
		fact("files", files)
	}
	architecture := i.architecture
	if model, ok := i.Config.Text("model_type"); ok && i.first == nil && model != architecture {
		architecture += " (" + model + ")"
	}
	fact("architecture", architecture)
	if i.convention.Convention != "" {
		names := conventionText(i.convention)
		if near := nearestText(i.convention); near != "" {
			names += "; nearest " + near
		}
		fact("convention", names)
	}
	fact("name", i.name)
	fact("quantisation", i.quantization)
	if i.parameters != nil && i.tensors > 0 {
		parameters := render.Grouped(*i.parameters)
		if *i.parameters >= 1000 {
			parameters += " (" + render.Count(*i.parameters) + ")"
		}
		if i.note != "" {
			parameters += "; " + i.note
		}
		fact("parameters", parameters)
	}
	tensors := render.Grouped(uint64(i.tensors))
	if i.unknown > 0 {
		tensors += fmt.Sprintf(", %s of unknown size", render.Grouped(uint64(i.unknown)))
	}
	fact("tensors", tensors)
	if i.unknown < i.tensors {
		fact("tensor data", size(i.totals.bytes))
		fact("largest", fmt.Sprintf("%s %s", cmp.Or(i.largest.Name, `""`), shapeText(i.largest.Shape)))
	}
	return &render.Table{
		Headings: render.Never,
		Columns:  []render.Column{{Title: "FACT"}, {Title: "VALUE", Cut: render.CutEnd}},
		Rows:     slices.Values(rows),
	}
}

func shapeText(dims []uint64) string {
	return strings.ReplaceAll(fmt.Sprint(dims), " ", ",")
}

func (i *info) dtypeSection(s render.Style) *render.Table {
	if len(i.dtypes) == 0 {
		return nil
	}
	number := render.Uint
	if s.Terminal {
		number = func(n uint64) render.Cell { return render.Text(render.Grouped(n)) }
	}
	return &render.Table{
		Headings: render.Always,
		Columns:  []render.Column{{Title: "DTYPE"}, {Title: "TENSORS", Right: true}, {Title: "ELEMENTS", Right: true}, {Title: "SIZE", Right: true}},
		Rows: func(yield func([]render.Cell) bool) {
			for _, k := range i.byBytes() {
				d := &i.dtypes[k]
				row := []render.Cell{
					render.Text(d.dtype).In(render.Cyan),
					number(uint64(d.tensors)),
					i.elements[k].cell(number),
					d.bytes.cell(render.Bytes),
				}
				if d.unknown == d.tensors {
					row[3] = render.Null()
				}
				if !yield(row) {
					return
				}
			}
		},
	}
}

func (i *info) fileSection() *render.Table {
	return &render.Table{
		Headings: render.Always,
		Columns:  []render.Column{{Title: "FILE", Cut: render.CutMiddle}, {Title: "TENSORS", Right: true}, {Title: "SIZE", Right: true}, {Title: "DATA AT", Right: true}},
		Rows: func(yield func([]render.Cell) bool) {
			for k, f := range i.Files {
				row := []render.Cell{render.Text(f.Name), render.Text("missing").In(render.Red), render.Null(), render.Null()}
				switch {
				case f.Err != nil:
					row[1], row[2] = render.Text("broken").In(render.Red), render.Bytes(uint64(f.Size))
				case !f.Missing:
					row[1], row[2], row[3] = render.Uint(uint64(i.perFile[k].tensors)), render.Bytes(uint64(f.Size)), render.Int(f.DataOffset)
				}
				if !yield(row) {
					return
				}
			}
		},
	}
}
