package main

import (
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/render"
)

// An entry is one entry of a file's metadata: text in safetensors, a typed
// value in GGUF.
type entry struct {
	key   string
	text  string
	value *gguf.Value
}

func fileMetadata(f *checkpoint.File) []entry {
	var out []entry
	if st := f.Safetensors(); st != nil {
		for _, kv := range st.Metadata() {
			out = append(out, entry{key: kv.Key, text: kv.Value})
		}
	}
	if g := f.GGUF(); g != nil {
		for i := range g.KVs {
			out = append(out, entry{key: g.KVs[i].Key, value: &g.KVs[i].Value})
		}
	}
	return out
}

// metadata is the metadata of a checkpoint's files.
type metadata struct {
	// files holds the entries of each file, none for a file that was not read.
	files [][]entry
	// agree says that every file that was read has the same entries. The later
	// parts of a GGUF split have only what describes the split: they agree.
	agree bool
	// first is the first file that was read.
	first int
}

func newMetadata(c *checkpoint.Checkpoint) metadata {
	m := metadata{agree: true, first: -1}
	for i, f := range c.Files {
		entries := fileMetadata(f)
		m.files = append(m.files, entries)
		switch {
		case f.Missing || f.Err != nil:
		case m.first < 0:
			m.first = i
		case f.GGUF() == nil && !slices.Equal(m.files[m.first], entries):
			m.agree = false
		}
	}
	return m
}

// json returns the entries that the files agree on as [jsonMetadata] does.
func (m *metadata) json() (values, types json.RawMessage) {
	switch {
	case !m.agree:
		return json.RawMessage("null"), nil
	case m.first < 0:
		return json.RawMessage("{}"), nil
	}
	return jsonMetadata(m.files[m.first])
}

// jsonMetadata returns entries as an object of values, and, where the format
// has types, an object of their names. Of a key that occurs again the first
// value counts.
func jsonMetadata(entries []entry) (values, types json.RawMessage) {
	values, types = append(values, '{'), append(types, '{')
	seen := make(map[string]bool, len(entries))
	typed := false
	for i := range entries {
		e := &entries[i]
		if seen[e.key] {
			continue
		}
		if len(seen) > 0 {
			values, types = append(values, ','), append(types, ',')
		}
		seen[e.key] = true
		values = append(render.AppendJSON(values, e.key), ':')
		if e.value != nil {
			values = appendJSONValue(values, *e.value, false)
		} else {
			values = render.AppendJSON(values, e.text)
		}
		types = append(render.AppendJSON(types, e.key), ':')
		types = render.AppendJSON(types, typeName(e))
		typed = typed || e.value != nil
	}
	values, types = append(values, '}'), append(types, '}')
	if !typed {
		types = nil
	}
	return values, types
}

// typeName names the type of an entry: string, u32, array[string].
func typeName(e *entry) string {
	if e.value == nil {
		return "string"
	}
	if a, ok := e.value.Array(); ok {
		return "array[" + a.Type().String() + "]"
	}
	return e.value.Type().String()
}

const (
	// shortArray is the most elements an array has that is written whole.
	shortArray = 16
	// firstElements are shown of a longer one.
	firstElements = 3
)

// entries iterates over the entries and the index of their file: each once
// when the files agree, those of every file otherwise. Keys choose among them.
func (m *metadata) entries(keys []string) iter.Seq2[int, *entry] {
	return func(yield func(int, *entry) bool) {
		for f := range m.files {
			if m.agree && f != m.first {
				continue
			}
			for i := range m.files[f] {
				e := &m.files[f][i]
				if len(keys) > 0 && !slices.Contains(keys, e.key) {
					continue
				}
				if !yield(f, e) {
					return
				}
			}
		}
	}
}

func (m *metadata) has(key string) bool {
	for range m.entries([]string{key}) {
		return true
	}
	return false
}

// appendJSONValue appends a value as JSON. Of a long array, unless it is to be
// whole, there is an object with the type of its elements, their count, and
// the first of them.
func appendJSONValue(dst []byte, v gguf.Value, whole bool) []byte {
	a, ok := v.Array()
	if !ok {
		return appendJSONScalar(dst, v)
	}
	if whole || a.Len() <= shortArray {
		return appendElements(dst, a, a.Len(), whole)
	}
	dst = append(dst, `{"type":`...)
	dst = render.AppendJSON(dst, a.Type().String())
	dst = append(dst, `,"count":`...)
	dst = strconv.AppendUint(dst, a.Len(), 10)
	dst = append(dst, `,"first":`...)
	return append(appendElements(dst, a, firstElements, whole), '}')
}

func appendElements(dst []byte, a gguf.Array, most uint64, whole bool) []byte {
	dst = append(dst, '[')
	for i, e := range a.All() {
		if uint64(i) >= most {
			break
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendJSONValue(dst, e, whole)
	}
	return append(dst, ']')
}

func appendJSONScalar(dst []byte, v gguf.Value) []byte {
	if s, ok := v.Text(); ok {
		return render.AppendJSON(dst, s)
	}
	if f, ok := v.Float(); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		return render.AppendJSON(dst, scalarText(v))
	}
	return append(dst, scalarText(v)...)
}

// scalarText writes a value as text: a string as it is, a number in the fewest
// digits that give back its own type.
func scalarText(v gguf.Value) string {
	switch v.Type() {
	case gguf.TypeString:
		s, _ := v.Text()
		return s
	case gguf.TypeBool:
		b, _ := v.Bool()
		return strconv.FormatBool(b)
	case gguf.TypeFloat32, gguf.TypeFloat64:
		f, _ := v.Float()
		switch {
		case math.IsInf(f, 1):
			return "Infinity"
		case math.IsInf(f, -1):
			return "-Infinity"
		}
		size := 64
		if v.Type() == gguf.TypeFloat32 {
			size = 32
		}
		return strconv.FormatFloat(f, 'g', -1, size)
	}
	if n, ok := v.Uint(); ok {
		return strconv.FormatUint(n, 10)
	}
	n, _ := v.Int()
	return strconv.FormatInt(n, 10)
}

// valueText is an entry in one piece of text: text as it is, an array as JSON.
// Unless it is to be whole, a long array is its count and first elements, and
// text that only takes up room its length.
func valueText(e *entry, whole bool) string {
	if e.value == nil {
		return e.text
	}
	if s, _ := e.value.Text(); !whole && s != "" && (&gguf.KV{Key: e.key, Value: *e.value}).IsFiller() {
		return fmt.Sprintf("(%s that take up room)", counted(len(s), "space"))
	}
	a, ok := e.value.Array()
	if !ok {
		return scalarText(*e.value)
	}
	if whole || a.Len() <= shortArray {
		return string(appendElements(nil, a, a.Len(), whole))
	}
	text := appendElements(nil, a, firstElements, false)
	return render.Grouped(a.Len()) + " elements " + string(text[:len(text)-1]) + ",…]"
}

// elementText is an element of an array as text.
func elementText(v gguf.Value) string {
	if _, ok := v.Array(); ok {
		return string(appendJSONValue(nil, v, true))
	}
	return scalarText(v)
}
