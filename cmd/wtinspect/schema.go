package main

import (
	"encoding/json"
	"math/bits"
	"path/filepath"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/render"
)

// The JSON objects that commands share, as docs/json.md describes them. Keys
// are added, never removed or given another meaning. A pointer is null where
// the value is not known.

// A jsonCheckpoint is an element of "checkpoints".
type jsonCheckpoint struct {
	Path   string            `json:"path"`
	Format checkpoint.Format `json:"format"`
	// Index and the paths of Files are relative to the directory of the checkpoint.
	Index *string    `json:"index"`
	Files []jsonFile `json:"files"`
	// Metadata is what the files agree on, null where they do not: then each of
	// Files has its own.
	Metadata      json.RawMessage `json:"metadata"`
	MetadataTypes json.RawMessage `json:"metadata_types,omitempty"`
	Totals        jsonTotals      `json:"totals"`
}

// A jsonFile is one file of a checkpoint.
type jsonFile struct {
	Path       string          `json:"path"`
	Bytes      *int64          `json:"bytes"`
	DataOffset *int64          `json:"data_offset"`
	Missing    bool            `json:"missing,omitempty"`
	Error      string          `json:"error,omitempty"`
	Metadata   json.RawMessage `json:"metadata,omitempty"`
}

// jsonTotals adds up a whole checkpoint. Elements and Bytes leave out the
// Unknown tensors, whose size is not known, and are null when they exceed 64 bits.
type jsonTotals struct {
	Tensors  int                  `json:"tensors"`
	Elements *uint64              `json:"elements"`
	Bytes    *uint64              `json:"bytes"`
	Unknown  int                  `json:"unknown"`
	DTypes   map[string]jsonDType `json:"dtypes"`
}

// A jsonDType adds up the tensors of a dtype. Bytes is null when no size is known.
type jsonDType struct {
	Tensors int     `json:"tensors"`
	Bytes   *uint64 `json:"bytes"`
}

// A jsonFault is an element of "faults".
type jsonFault struct {
	// Checkpoint is the index in "checkpoints", null for a fault of the release
	// and of a path that could not be opened.
	Checkpoint *int    `json:"checkpoint"`
	File       string  `json:"file"`
	Code       string  `json:"code"`
	Severity   string  `json:"severity"`
	Offset     *int64  `json:"offset"`
	Tensor     *string `json:"tensor"`
	// TensorBase64 has the bytes of a name that is not UTF-8.
	TensorBase64 []byte `json:"tensor_base64,omitempty"`
	Detail       string `json:"detail"`
}

func newJSONCheckpoint(c *checkpoint.Checkpoint, t *totals) jsonCheckpoint {
	out := jsonCheckpoint{Path: c.Path, Format: c.Format, Files: []jsonFile{}, Totals: t.json()}
	if c.Index != "" {
		index := c.Index
		if rel, err := filepath.Rel(c.Dir, c.Index); err == nil {
			index = filepath.ToSlash(rel)
		}
		out.Index = &index
	}
	m := newMetadata(c)
	out.Metadata, out.MetadataTypes = m.json()
	for i, f := range c.Files {
		jf := jsonFile{Path: f.Name, Missing: f.Missing}
		switch {
		case f.Err != nil:
			jf.Error = f.Err.Error()
			jf.Bytes = &f.Size
		case !f.Missing:
			jf.Bytes, jf.DataOffset = &f.Size, &f.DataOffset
		}
		if !m.agree {
			jf.Metadata, _ = jsonMetadata(m.files[i])
		}
		out.Files = append(out.Files, jf)
	}
	return out
}

// jsonFaults lists what could not be opened, and what validate found.
func (in *inputs) jsonFaults() []jsonFault {
	in.validated.Wait()
	out := []jsonFault{}
	add := func(ck *int, f *checkpoint.Fault) {
		j := jsonFault{Checkpoint: ck, File: f.File, Code: f.Code, Severity: f.Severity.String(), Detail: f.Detail}
		if f.Offset >= 0 {
			j.Offset = &f.Offset
		}
		if f.Tensor != "" {
			j.Tensor = &f.Tensor
			if !utf8.ValidString(f.Tensor) {
				j.TensorBase64 = []byte(f.Tensor)
			}
		}
		out = append(out, j)
	}
	for i := range in.unopened {
		add(nil, &in.unopened[i])
	}
	for _, r := range in.releases {
		for i := range r.Faults {
			add(nil, &r.Faults[i])
		}
	}
	for i := range in.faults {
		for k := range in.faults[i] {
			add(&i, &in.faults[i][k])
		}
	}
	return out
}

// totals adds up tensors.
type totals struct {
	tensors, unknown int
	elements, bytes  sum
	dtypes           []dtypeTotals  // in order of first appearance
	byDType          map[string]int // index in dtypes
}

type dtypeTotals struct {
	dtype            string
	tensors, unknown int
	bytes            sum
}

// A sum is a total that says when it left 64 bits.
type sum struct {
	n        uint64
	overflow bool
}

func (s *sum) add(n uint64) {
	var carry uint64
	s.n, carry = bits.Add64(s.n, n, 0)
	s.overflow = s.overflow || carry != 0
}

func (s sum) json() *uint64 {
	if s.overflow {
		return nil
	}
	return &s.n
}

// cell returns the sum as a cell, null when it left 64 bits.
func (s sum) cell(f func(uint64) render.Cell) render.Cell {
	if s.overflow {
		return render.Null()
	}
	return f(s.n)
}

// text writes the sum with f, followed by unit.
func (s sum) text(unit string, f func(uint64) string) string {
	if s.overflow {
		return "more than 2^64" + unit
	}
	return f(s.n) + unit
}

const (
	// maxDTypes is how many dtypes are added up each by itself: more than there
	// are, and a bound for a file that gives every tensor one of its own.
	maxDTypes = 1000
	// otherDTypes is the name of the rest.
	otherDTypes = "other"
)

// add adds a tensor, and returns the index of its dtype, -1 when it has none.
func (t *totals) add(tensor *checkpoint.Tensor) int {
	t.tensors++
	if n, ok := tensor.Elements(); ok {
		t.elements.add(n)
	}
	if tensor.BytesKnown {
		t.bytes.add(tensor.Bytes)
	} else {
		t.unknown++
	}
	dtype := tensor.DType
	if dtype == "" {
		return -1
	}
	i, ok := t.byDType[dtype]
	if !ok && len(t.dtypes) >= maxDTypes {
		dtype = otherDTypes
		i, ok = t.byDType[dtype]
	}
	if !ok {
		if t.byDType == nil {
			t.byDType = make(map[string]int)
		}
		i = len(t.dtypes)
		t.byDType[dtype] = i
		t.dtypes = append(t.dtypes, dtypeTotals{dtype: dtype})
	}
	d := &t.dtypes[i]
	d.tensors++
	if tensor.BytesKnown {
		d.bytes.add(tensor.Bytes)
	} else {
		d.unknown++
	}
	return i
}

func (t *totals) json() jsonTotals {
	out := jsonTotals{
		Tensors:  t.tensors,
		Elements: t.elements.json(),
		Bytes:    t.bytes.json(),
		Unknown:  t.unknown,
		DTypes:   make(map[string]jsonDType, len(t.dtypes)),
	}
	for _, d := range t.dtypes {
		j := jsonDType{Tensors: d.tensors}
		if d.unknown < d.tensors {
			j.Bytes = d.bytes.json()
		}
		out.DTypes[d.dtype] = j
	}
	return out
}
