package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/pytorch"
	"github.com/wtinspect/wtinspect/rename/template"
)

// MetadataOptions adjust [Metadata]. Nil options are the defaults.
type MetadataOptions struct {
	// Keys choose entries, whose values are then whole. None are all.
	Keys []string
}

// A MetadataResult is the metadata of a set.
type MetadataResult struct {
	Checkpoints Seq[Checkpoint] `json:"checkpoints"`
	Metadata    Seq[Entry]      `json:"metadata"`
	Faults      Seq[Fault]      `json:"faults"`
	// Files has the entries of each checkpoint.
	Files []*FileMetadata `json:"-"`

	set *Set
}

// Metadata returns the metadata of a set. It fails when a key is nowhere.
func Metadata(_ context.Context, set *Set, opts *MetadataOptions) (*MetadataResult, error) {
	if opts == nil {
		opts = new(MetadataOptions)
	}
	r := &MetadataResult{Faults: set.Faults(), set: set}
	for _, c := range set.Checkpoints {
		r.Files = append(r.Files, MetadataOf(c))
	}
	for _, key := range opts.Keys {
		if len(r.Files) > 0 && !slices.ContainsFunc(r.Files, func(m *FileMetadata) bool { return m.Has(key) }) {
			return nil, NewNoKeyError(key, r.Files...)
		}
	}
	r.Checkpoints = func(yield func(Checkpoint) bool) {
		for _, c := range set.Checkpoints {
			if !yield(newCheckpoint(c, wholeOf(c, c))) {
				return
			}
		}
	}
	r.Metadata = func(yield func(Entry) bool) {
		for k, m := range r.Files {
			for _, e := range m.Entries(opts.Keys...) {
				out := *e
				out.Checkpoint, out.whole = k, len(opts.Keys) > 0
				if !yield(out) {
					return
				}
			}
		}
	}
	return r, nil
}

// Value returns the one value that key has. It fails where files disagree on it,
// and returns nil where there is no checkpoint.
func (r *MetadataResult) Value(key string) (*Entry, error) {
	var (
		found *Entry
		where string
	)
	for k, m := range r.Files {
		for file, e := range m.Entries(key) {
			place := r.set.Checkpoints[k].Files[file].Path
			if found != nil && (found.Type() != e.Type() || found.Text(true) != e.Text(true)) {
				return nil, fmt.Errorf("%q has one value in %s and another in %s; name one of them, or a format with -f", key, where, place)
			}
			if found == nil {
				found, where = e, place
			}
		}
	}
	return found, nil
}

// A NoKeyError says that no metadata has a key.
type NoKeyError struct {
	Key string
	// Meant asks whether a key that resembles it was meant, "" where none does.
	Meant string
}

func (e *NoKeyError) Error() string {
	return fmt.Sprintf("no metadata has the key %q", e.Key) + e.Meant
}

// NewNoKeyError returns the error for a key that some metadata lacks.
func NewNoKeyError(key string, all ...*FileMetadata) *NoKeyError {
	var keys []string
	for _, m := range all {
		for _, e := range m.Entries() {
			if !slices.Contains(keys, e.Key) {
				keys = append(keys, e.Key)
			}
		}
	}
	return &NoKeyError{key, template.DidYouMean(key, keys)}
}

// An Entry is one entry of a file's metadata: text in safetensors, a typed value
// in GGUF, and in a PyTorch file what the pickle builds.
type Entry struct {
	// Checkpoint is the index in the set's Checkpoints.
	Checkpoint int
	// File is relative to the directory of the checkpoint.
	File string
	Key  string
	// Value is the typed value of GGUF, nil in other formats.
	Value *gguf.Value

	torch *pytorch.KV // nil in other formats
	text  string
	whole bool
}

type jsonEntry struct {
	Checkpoint int    `json:"checkpoint"`
	File       string `json:"file"`
	Key        string `json:"key"`
	KeyBase64  []byte `json:"key_base64,omitempty"`
	// Type is that of GGUF, u32 or array[string], that of Python in a PyTorch file, int or
	// dict, and string in safetensors.
	Type string `json:"type"`
	// Value is a string, a number, a boolean, an array, an object or null; of a long array
	// that was not asked for by its key an object with its type, count and first elements.
	Value       json.RawMessage `json:"value"`
	ValueBase64 []byte          `json:"value_base64,omitempty"`
}

// MarshalJSON implements [json.Marshaler].
func (e Entry) MarshalJSON() ([]byte, error) {
	return render.Marshal(jsonEntry{e.Checkpoint, e.File, e.Key, notUTF8(e.Key), e.Type(), e.JSON(), e.notUTF8()})
}

// notUTF8 returns the bytes of a value that JSON cannot hold, nil of others.
func (e *Entry) notUTF8() []byte {
	if s, ok := e.String(); ok {
		return notUTF8(s)
	}
	return nil
}

// String returns the value as it is, false when it is no string.
func (e *Entry) String() (string, bool) {
	if e.torch != nil {
		s, ok := e.torch.Value.(string)
		return s, ok
	}
	if e.Value == nil {
		return e.text, true
	}
	return e.Value.Text()
}

// JSON returns the value in JSON: a long array as an object with its type, its
// count and its first elements, unless the entry was asked for.
func (e *Entry) JSON() json.RawMessage { return e.appendJSON(nil, e.whole) }

func (e *Entry) appendJSON(dst []byte, whole bool) []byte {
	switch {
	case e.torch != nil:
		return appendPythonJSON(dst, e.torch.Value, whole)
	case e.Value != nil:
		return appendJSONValue(dst, *e.Value, whole)
	}
	return render.AppendJSON(dst, e.text)
}

// FileMetadata is the metadata of a checkpoint's files.
type FileMetadata struct {
	// Agree says that every file that was read has the same entries. The later
	// parts of a GGUF split have only what describes the split: they agree.
	Agree bool

	files [][]Entry // none for a file that was not read
	first int       // the first file that was read, -1 without one
}

// MetadataOf returns the metadata of a checkpoint.
func MetadataOf(c *checkpoint.Checkpoint) *FileMetadata {
	m := &FileMetadata{Agree: true, first: -1}
	for i, f := range c.Files {
		entries := fileMetadata(f)
		m.files = append(m.files, entries)
		switch {
		case f.Missing || f.Err != nil:
		case m.first < 0:
			m.first = i
		case f.GGUF() == nil && !slices.EqualFunc(m.files[m.first], entries, sameEntry):
			m.Agree = false
		}
	}
	return m
}

func sameEntry(a, b Entry) bool {
	if a.torch != nil && b.torch != nil {
		return a.Key == b.Key && (&checkpoint.MetaKV{Torch: a.torch}).TorchText() == (&checkpoint.MetaKV{Torch: b.torch}).TorchText()
	}
	return a.Key == b.Key && a.text == b.text && a.Value == b.Value
}

func fileMetadata(f *checkpoint.File) []Entry {
	var out []Entry
	for _, kv := range f.Metadata() {
		out = append(out, Entry{File: f.Name, Key: kv.Key, text: kv.Text, Value: kv.Value, torch: kv.Torch})
	}
	return out
}

// json returns the entries that the files agree on as [jsonMetadata] does.
func (m *FileMetadata) json() (values, types json.RawMessage) {
	switch {
	case !m.Agree:
		return json.RawMessage("null"), nil
	case m.first < 0:
		return json.RawMessage("{}"), nil
	}
	return jsonMetadata(m.files[m.first])
}

// jsonMetadata returns entries as an object of values, and, where the format
// has types, an object of their names. Of a key that occurs again the first
// value counts.
func jsonMetadata(entries []Entry) (values, types json.RawMessage) {
	values, types = append(values, '{'), append(types, '{')
	seen := make(map[string]bool, len(entries))
	typed := false
	for i := range entries {
		e := &entries[i]
		if seen[e.Key] {
			continue
		}
		if len(seen) > 0 {
			values, types = append(values, ','), append(types, ',')
		}
		seen[e.Key] = true
		values = append(render.AppendJSON(values, e.Key), ':')
		values = e.appendJSON(values, false)
		types = append(render.AppendJSON(types, e.Key), ':')
		types = render.AppendJSON(types, e.Type())
		typed = typed || e.Value != nil || e.torch != nil
	}
	values, types = append(values, '}'), append(types, '}')
	if !typed {
		types = nil
	}
	return values, types
}

// Type names the type of the value: string, u32, array[string]; int, dict or the name of a class
// in a PyTorch file.
func (e *Entry) Type() string {
	if e.torch != nil {
		return pythonType(e.torch.Value)
	}
	if e.Value == nil {
		return "string"
	}
	if a, ok := e.Value.Array(); ok {
		return "array[" + a.Type().String() + "]"
	}
	return e.Value.Type().String()
}

const (
	// shortArray is the most elements an array has that is written whole.
	shortArray = 16
	// firstElements are shown of a longer one.
	firstElements = 3
)

// Entries iterates over the entries and the index of their file: each once
// when the files agree, those of every file otherwise. Keys choose among them.
func (m *FileMetadata) Entries(keys ...string) iter.Seq2[int, *Entry] {
	return func(yield func(int, *Entry) bool) {
		for f := range m.files {
			if m.Agree && f != m.first {
				continue
			}
			for i := range m.files[f] {
				e := &m.files[f][i]
				if len(keys) > 0 && !slices.Contains(keys, e.Key) {
					continue
				}
				if !yield(f, e) {
					return
				}
			}
		}
	}
}

// Has reports whether an entry has the key.
func (m *FileMetadata) Has(key string) bool {
	for range m.Entries(key) {
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

// Text is the value in one piece of text: text as it is, an array as JSON.
// Unless it is to be whole, a long array is its count and first elements, and
// text that only takes up room its length.
func (e *Entry) Text(whole bool) string {
	if _, isText := e.String(); e.torch != nil && whole && !isText {
		return pytorch.Repr(e.torch.Value, mostOfPython)
	}
	if e.Value == nil {
		return e.text
	}
	if s, _ := e.Value.Text(); !whole && s != "" && (&gguf.KV{Key: e.Key, Value: *e.Value}).IsFiller() {
		return fmt.Sprintf("(filler: %s)", render.Counted(len(s), "space"))
	}
	a, ok := e.Value.Array()
	if !ok {
		return scalarText(*e.Value)
	}
	if whole || a.Len() <= shortArray {
		return string(appendElements(nil, a, a.Len(), whole))
	}
	text := appendElements(nil, a, firstElements, false)
	return render.Grouped(a.Len()) + " elements " + string(text[:len(text)-1]) + ",…]"
}

// IsArray reports whether the value is an array.
func (e *Entry) IsArray() bool {
	if e.torch != nil {
		_, ok := e.torch.Value.(*pytorch.List)
		return ok
	}
	if e.Value == nil {
		return false
	}
	_, ok := e.Value.Array()
	return ok
}

// Elements iterates over the elements of an array as text; there are none of
// another value.
func (e *Entry) Elements() iter.Seq[string] {
	return func(yield func(string) bool) {
		if e.torch != nil {
			pythonElements(e.torch.Value, yield)
			return
		}
		if e.Value == nil {
			return
		}
		a, _ := e.Value.Array()
		for _, v := range a.All() {
			text := scalarText(v)
			if _, ok := v.Array(); ok {
				text = string(appendJSONValue(nil, v, true))
			}
			if !yield(text) {
				return
			}
		}
	}
}
