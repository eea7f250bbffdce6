package inspect

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename/template"
)

// ListOptions adjust [List]. Nil options are the defaults.
type ListOptions struct {
	Select Selection
	// Sort is the order, smallest first: by name (2 before 10), offset, bytes,
	// elements or dtype, or as the tensors are stored: file or "".
	Sort string
	// Reverse turns the order round.
	Reverse bool
	// Views are in place of the checkpoints of the set, nil for one as it is.
	Views []View
	// Dims adds the dimensions as GGUF stores them, the fastest first.
	Dims bool
}

// Sorts are the orders of [ListOptions].Sort.
func Sorts() []string { return []string{"file", "name", "offset", "bytes", "elements", "dtype"} }

// A ListResult is the tensors of a set.
type ListResult struct {
	Checkpoints Seq[Checkpoint] `json:"checkpoints"`
	Tensors     Seq[Tensor]     `json:"tensors"`
	Faults      Seq[Fault]      `json:"faults"`
	// Listings are the tensors of each checkpoint.
	Listings []*Listing `json:"-"`
}

// Len returns the number of tensors that are listed.
func (r *ListResult) Len() int {
	n := 0
	for _, l := range r.Listings {
		n += l.Len()
	}
	return n
}

// A Tensor is a tensor of a set.
type Tensor struct {
	// Checkpoint is the index in the set's Checkpoints.
	Checkpoint int
	checkpoint.Tensor
	// FileName is relative to the directory of the checkpoint, "" when unknown.
	FileName string
	// Dims has the fastest dimension first, nil unless it is asked for or known.
	Dims []uint64
	// TiedTo is the first tensor that has the same bytes, "" for none.
	TiedTo string

	withDims bool
}

// jsonName is how every row of a tensor begins.
type jsonName struct {
	// Checkpoint is the index in checkpoints.
	Checkpoint int    `json:"checkpoint"`
	Name       string `json:"name"`
	NameBase64 []byte `json:"name_base64,omitempty"`
	// DType is as the format spells it: BF16, Q4_K.
	DType *string `json:"dtype"`
	// Shape has the slowest dimension first, in both formats. It is empty for a scalar.
	Shape []uint64 `json:"shape"`
}

func (t *Tensor) jsonName() jsonName {
	return jsonName{Checkpoint: t.Checkpoint, Name: t.Name, NameBase64: notUTF8(t.Name), DType: some(t.DType), Shape: t.Shape}
}

type jsonTensor struct {
	jsonName
	// Dims are, with --dims ggml, the dimensions with the fastest first.
	Dims     *[]uint64 `json:"dims,omitempty"`
	Elements *uint64   `json:"elements"`
	Bytes    *uint64   `json:"bytes"`
	// File is relative to the directory of the checkpoint.
	File       *string `json:"file"`
	FileBase64 []byte  `json:"file_base64,omitempty"`
	// Offset is where the data begins, from the start of the file.
	Offset *int64 `json:"offset"`
	// TiedTo is, in a PyTorch file, the first tensor that has the same bytes of the same storage, which may
	// be of another shape.
	TiedTo *string `json:"tied_to,omitempty"`
}

// MarshalJSON implements [json.Marshaler].
func (t Tensor) MarshalJSON() ([]byte, error) {
	j := jsonTensor{
		jsonName: t.jsonName(), Bytes: optional(t.Bytes, t.BytesKnown), File: some(t.FileName), FileBase64: notUTF8(t.FileName),
		Offset: optional(t.Offset, t.Offset >= 0), TiedTo: some(t.TiedTo),
	}
	if t.withDims {
		j.Dims = &t.Dims
	}
	if n, ok := t.Elements(); ok {
		j.Elements = &n
	}
	return render.Marshal(j)
}

// List lists tensors.
func List(_ context.Context, set *Set, opts *ListOptions) (*ListResult, error) {
	if opts == nil {
		opts = new(ListOptions)
	}
	if opts.Sort != "" && !slices.Contains(Sorts(), opts.Sort) {
		return nil, fmt.Errorf("sort %q: must be one of: %s", opts.Sort, strings.Join(Sorts(), ", "))
	}
	selected, err := opts.Select.Compile()
	if err != nil {
		return nil, err
	}
	r := &ListResult{Faults: set.Faults()}
	for k, c := range set.Checkpoints {
		l := &Listing{Checkpoint: c, View: c}
		if opts.Views != nil && opts.Views[k] != nil {
			l.View = opts.Views[k]
		}
		if selected != nil || opts.Reverse || opts.Sort != "" && opts.Sort != "file" {
			l.choose(selected, opts)
		}
		r.Listings = append(r.Listings, l)
	}
	r.Checkpoints = func(yield func(Checkpoint) bool) {
		for _, l := range r.Listings {
			if !yield(newCheckpoint(l.Checkpoint, wholeOf(l.Checkpoint, l.View))) {
				return
			}
		}
	}
	r.Tensors = func(yield func(Tensor) bool) {
		for k, l := range r.Listings {
			one := Tensor{Checkpoint: k, withDims: opts.Dims}
			for i, t := range l.All() {
				one.Tensor, one.FileName, one.TiedTo = t, l.FileName(t.File), l.TiedTo(i)
				if opts.Dims {
					one.Dims = Dims(t.Shape)
				}
				if !yield(one) {
					return
				}
			}
		}
	}
	return r, nil
}

// Dims returns a shape as GGUF stores it, the fastest dimension first; nil when
// it is unknown.
func Dims(shape []uint64) []uint64 {
	dims := slices.Clone(shape)
	slices.Reverse(dims)
	return dims
}

// A Listing is the tensors that are listed of a checkpoint: some of a view, in
// some order.
type Listing struct {
	Checkpoint *checkpoint.Checkpoint
	// View has all tensors.
	View View

	chosen  bool
	indices []int // in View, of what was chosen or has an order

	fold   sync.Once // of folded
	folded []template.Group
}

// Len returns the number of tensors.
func (l *Listing) Len() int {
	if l.chosen {
		return len(l.indices)
	}
	return l.View.Len()
}

// At returns the tensor at a place of the list.
func (l *Listing) At(i int) checkpoint.Tensor {
	if l.chosen {
		i = l.indices[i]
	}
	return l.View.At(i)
}

// All iterates over the tensors in the order of At.
func (l *Listing) All() iter.Seq2[int, checkpoint.Tensor] {
	if !l.chosen {
		return l.View.All()
	}
	return func(yield func(int, checkpoint.Tensor) bool) {
		for k, i := range l.indices {
			if !yield(k, l.View.At(i)) {
				return
			}
		}
	}
}

// TiedTo returns the name of the first tensor that shares its bytes with the one at a
// place of the list, "" for none.
func (l *Listing) TiedTo(i int) string {
	first, ok := l.tiedTo(i)
	if !ok {
		return ""
	}
	return l.Checkpoint.At(first).Name
}

func (l *Listing) tiedTo(i int) (first int, ok bool) {
	if l.Checkpoint == nil || l.Checkpoint.Format != checkpoint.PyTorch || l.View != View(l.Checkpoint) {
		return 0, false
	}
	return l.Checkpoint.TiedTo(l.place(i))
}

// place returns where in the view a tensor of the list is.
func (l *Listing) place(i int) int {
	if l.chosen {
		return l.indices[i]
	}
	return i
}

// FileName returns the name of a file of the checkpoint, "" of none.
func (l *Listing) FileName(file int) string {
	if file < 0 {
		return ""
	}
	return l.Checkpoint.Files[file].Name
}

func (l *Listing) choose(selected func(name string) bool, opts *ListOptions) {
	l.chosen = true
	l.indices = make([]int, 0, l.View.Len())
	for i, t := range l.View.All() {
		if selected == nil || selected(t.Name) {
			l.indices = append(l.indices, i)
		}
	}
	if order := orderOf(l.View, opts.Sort); order != nil {
		slices.SortFunc(l.indices, func(a, b int) int { return cmp.Or(order(a, b), cmp.Compare(a, b)) })
	}
	if opts.Reverse {
		slices.Reverse(l.indices)
	}
}

// orderOf returns how two tensors of v compare, nil for as they are stored. What
// is unknown comes first.
func orderOf(v View, sort string) func(i, j int) int {
	known := func(n uint64, ok bool) [2]uint64 {
		if !ok {
			return [2]uint64{}
		}
		return [2]uint64{1, n}
	}
	pairs := func(a, b [2]uint64) int { return slices.Compare(a[:], b[:]) }
	switch sort {
	case "name":
		return byKey(v, func(t *checkpoint.Tensor) string { return t.Name }, template.Compare)
	case "dtype":
		return byKey(v, func(t *checkpoint.Tensor) string { return t.DType }, strings.Compare)
	case "offset":
		return byKey(v, func(t *checkpoint.Tensor) [2]int64 { return [2]int64{int64(t.File), t.Offset} },
			func(a, b [2]int64) int { return slices.Compare(a[:], b[:]) })
	case "bytes":
		return byKey(v, func(t *checkpoint.Tensor) [2]uint64 { return known(t.Bytes, t.BytesKnown) }, pairs)
	case "elements":
		return byKey(v, func(t *checkpoint.Tensor) [2]uint64 { return known(t.Elements()) }, pairs)
	}
	return nil
}

// byKey compares tensors by something that is taken from each of them once.
func byKey[K any](v View, key func(t *checkpoint.Tensor) K, compare func(a, b K) int) func(i, j int) int {
	keys := make([]K, v.Len())
	var t checkpoint.Tensor // one for all, since key could keep it
	for i, tensor := range v.All() {
		t = tensor
		keys[i] = key(&t)
	}
	return func(i, j int) int { return compare(keys[i], keys[j]) }
}

// A Group is tensors of a listing that differ only in the numbers in their names.
type Group struct {
	// Group has the name, or the names in one, and the places in the listing.
	template.Group
	// First is the first of them. All have its dtype, shape and size.
	First checkpoint.Tensor
	// Bytes add them up, and are meaningful when First has its size.
	Bytes Sum
	// Files is the number of files that they are in.
	Files int
}

// maxFolded bounds the memory that folding takes. The largest release known,
// Kimi-K3, has 497,000 tensors.
const maxFolded = 1 << 19

// Groups puts tensors together that differ only in the numbers in their names and
// agree in dtype, shape and size, or with flat leaves each by itself, as it does
// with lists that are too long. It returns how many groups there are, too. The
// members of one are valid until the next.
func (l *Listing) Groups(flat bool) (groups iter.Seq[Group], n int) {
	if flat || l.Len() > maxFolded {
		return func(yield func(Group) bool) {
			member := make([]int, 1)
			for k, t := range l.All() {
				member[0] = k
				g := Group{Group: template.Group{Name: t.Name, Members: member}, First: t, Bytes: Sum{N: t.Bytes}, Files: 1}
				if !yield(g) {
					return
				}
			}
		}, l.Len()
	}
	l.fold.Do(func() {
		var key []byte
		l.folded = template.Fold(l.Len(), func(k int) (string, string) {
			t := l.At(k)
			key = append(key[:0], t.DType...)
			if t.Shape != nil {
				key = append(key, ' ')
				for _, d := range t.Shape {
					key = append(strconv.AppendUint(key, d, 10), ',')
				}
			}
			if t.BytesKnown {
				key = strconv.AppendUint(append(key, ' '), t.Bytes, 10)
			}
			return t.Name, string(key)
		})
	})
	return func(yield func(Group) bool) {
		for i := range l.folded {
			if !yield(l.group(&l.folded[i])) {
				return
			}
		}
	}, len(l.folded)
}

func (l *Listing) group(of *template.Group) Group {
	g := Group{Group: *of, First: l.At(of.Members[0])}
	files := make(map[int]bool)
	for _, m := range of.Members {
		t := l.At(m)
		g.Bytes.Add(t.Bytes)
		files[t.File] = true
	}
	g.Files = len(files)
	return g
}

// A Checkpoint is a checkpoint as the commands describe it.
type Checkpoint struct {
	Path   string            `json:"path"`
	Format checkpoint.Format `json:"format"`
	// Revision is the commit of a repository that was read, absent elsewhere.
	Revision *string `json:"revision,omitempty"`
	// Index is the shard index, relative to the directory of the checkpoint, nil without
	// one.
	Index *string `json:"index"`
	Files []File  `json:"files"`
	// Metadata is an object of what the files agree on, null where they do not:
	// then each of Files has its own.
	Metadata json.RawMessage `json:"metadata"`
	// MetadataTypes are the types of the values in GGUF: u32, array[string].
	MetadataTypes json.RawMessage `json:"metadata_types,omitempty"`
	// Totals are of the whole checkpoint, whatever was chosen.
	Totals Totals `json:"totals"`
}

// A File is a file of a [Checkpoint]. What is not known is nil.
type File struct {
	// Path is relative to the directory of the checkpoint.
	Path  string `json:"path"`
	Bytes *int64 `json:"bytes"`
	// DataOffset is where the data of the tensors begins.
	DataOffset *int64 `json:"data_offset"`
	Missing    bool   `json:"missing,omitempty"`
	// Subtree is the part of a PyTorch file whose tensors are listed, "" for all of it.
	Subtree *string `json:"subtree,omitempty"`
	// Parts are the parts of a PyTorch file that hold tensors: what is listed, and what is
	// beside it.
	Parts []TorchPart `json:"parts,omitempty"`
	// Error says why the file cannot be read.
	Error string `json:"error,omitempty"`
	// Metadata is the file's own, where the files disagree.
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

func newCheckpoint(c *checkpoint.Checkpoint, t *Totals) Checkpoint {
	out := Checkpoint{Path: c.Path, Format: c.Format, Revision: some(c.Revision), Files: []File{}, Totals: *t}
	if c.Index != "" {
		index := c.Index
		if rel, err := filepath.Rel(c.Dir, c.Index); err == nil {
			index = filepath.ToSlash(rel)
		}
		out.Index = &index
	}
	m := MetadataOf(c)
	out.Metadata, out.MetadataTypes = m.json()
	for i, f := range c.Files {
		jf := File{Path: f.Name, Missing: f.Missing}
		switch {
		case f.Err != nil:
			jf.Error = f.Err.Error()
			jf.Bytes = &f.Size
		case !f.Missing:
			jf.Bytes, jf.DataOffset = &f.Size, &f.DataOffset
			if f.Rearranged() {
				jf.DataOffset = nil
			}
			if t := f.Tree(); t != nil {
				path := t.Path()
				jf.Subtree, jf.Parts = &path, torchParts(f)
			}
		}
		if !m.Agree {
			jf.Metadata, _ = jsonMetadata(m.files[i])
		}
		out.Files = append(out.Files, jf)
	}
	return out
}

// A CheckpointName is what a checkpoint is called, where it is not described.
type CheckpointName struct {
	Path   string            `json:"path"`
	Format checkpoint.Format `json:"format"`
	// Revision is the commit of a repository that was read, absent elsewhere.
	Revision *string `json:"revision,omitempty"`
}

func names(list []*checkpoint.Checkpoint) []CheckpointName {
	out := []CheckpointName{}
	for _, c := range list {
		out = append(out, CheckpointName{c.Path, c.Format, some(c.Revision)})
	}
	return out
}
