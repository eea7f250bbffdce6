package pytorch

import (
	"cmp"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/internal/strided"
)

// A Distributed is what the .metadata of a distributed checkpoint says: a pickle of the
// classes of torch/distributed/checkpoint/metadata.py and filesystem.py. The tensors are in
// the files beside it, in pieces, as each process of a training had them.
type Distributed struct {
	Tensors []DistributedTensor // in the order of the pickle
	Objects []DistributedObject
	Files   []string // of all pieces, in the order of their first use, as the pickle spells them
	Globals []*Global

	tree   *File
	faults faultList
}

// A DistributedTensor is a tensor that consists of chunks.
type DistributedTensor struct {
	Name   string
	DType  DType
	Shape  []uint64
	Chunks []Chunk
}

// A DistributedObject is what is not a tensor: a pickle of its own.
type DistributedObject struct {
	Name  string
	Place Place
}

// A Chunk is a part of a tensor: where it begins in each dimension, and its extent there.
type Chunk struct {
	Offsets, Sizes []uint64
	Place          Place
}

// A Place is where a chunk or an object is stored: a file of torch.save in a file, or, where
// the tensors of a file are together in the format of safetensors, the beginning of that.
type Place struct {
	File           string // "" when the pickle does not say where
	Offset, Length int64
	Transforms     []string // what has been done to the bytes, such as a compression
}

// The faults of a distributed checkpoint that [Distributed.Validate] reports, beside those of
// its pickle.
const (
	CodeNotDistributed Code = "not_distributed" // a pickle of something else; ReadDistributed fails
	CodeBadMetadata    Code = "bad_metadata"    // an entry that is not what torch writes
	CodeChunkGap       Code = "chunk_gap"       // elements that are in no chunk
	CodeChunkOverlap   Code = "chunk_overlap"   // elements that are in two
	CodeChunkOutside   Code = "chunk_outside"   // a chunk that reaches beyond its tensor
	CodeMissingChunk   Code = "missing_chunk"   // a chunk without a place
	CodeTransformed    Code = "transformed"     // bytes that are compressed or changed otherwise
)

const (
	metadataModule   = "torch.distributed.checkpoint.metadata"
	maxChunkChecks   = 50_000_000 // comparisons of chunks with each other
	storageInfoClass = "torch.distributed.checkpoint.filesystem._StorageInfo"
)

// ReadDistributed reads the .metadata in the first size bytes of r. It fails, with a [*Fault]
// or the error of r, when that is not the pickle of a distributed checkpoint.
func ReadDistributed(r io.ReaderAt, size int64) (*Distributed, error) {
	f, err := NewFile(r, size)
	if err != nil {
		return nil, err
	}
	state, ok := stateOf(f.Root(), metadataModule+".Metadata")
	if !ok {
		return nil, newFault(CodeNotDistributed, -1, "", "%s, and not the metadata of a distributed checkpoint", repr(f.Root()))
	}
	d := &Distributed{Globals: f.Globals()}
	for _, flt := range f.Validate() {
		if flt.Code != CodeEmpty {
			d.faults.add(&flt)
		}
	}
	places := d.places(state)
	entries, ok := lookup[*Dict](state, "state_dict_metadata")
	if !ok {
		return nil, newFault(CodeNotDistributed, -1, "", "the metadata has no state_dict_metadata")
	}
	for _, item := range entries.Items {
		d.entry(item, places)
	}
	if err := d.plant(state, f.memory); err != nil {
		return nil, err
	}
	return d, nil
}

// stateOf returns the attributes of an object of a class.
func stateOf(v Value, class string) (*Dict, bool) {
	o, ok := v.(*Object)
	if !ok {
		return nil, false
	}
	if g, ok := o.Class.(*Global); !ok || g.String() != class {
		return nil, false
	}
	if o.State == nil { // a data class without fields
		return &Dict{}, true
	}
	d, ok := o.State.(*Dict)
	return d, ok
}

// lookup returns an attribute of some type.
func lookup[T Value](d *Dict, key string) (T, bool) {
	v, _ := d.Lookup(key)
	t, ok := v.(T)
	return t, ok
}

// A placeKey is what storage_data knows a piece by: MetadataIndex without its hint.
type placeKey struct {
	name, offsets string
}

func keyOf(name string, offsets []uint64) placeKey {
	var b strings.Builder
	for _, n := range offsets {
		b.WriteString(strconv.FormatUint(n, 10) + ",")
	}
	return placeKey{name, b.String()}
}

// places reads storage_data, which says where pieces are. Without it the checkpoint was
// written by something else than torch's own writers of files, or the writer did not finish.
func (d *Distributed) places(state *Dict) map[placeKey]Place {
	places := make(map[placeKey]Place)
	data, ok := lookup[*Dict](state, "storage_data")
	if !ok {
		d.faults.report(CodeBadMetadata, -1, "", "the metadata has no storage_data, which says where the tensors are")
		return places
	}
	files := make(map[string]bool)
	for _, item := range data.Items {
		index, ok1 := stateOf(item.Key, metadataModule+".MetadataIndex")
		info, ok2 := stateOf(item.Value, storageInfoClass)
		if !ok1 || !ok2 {
			d.faults.report(CodeBadMetadata, -1, "", "storage_data has %s for %s", repr(item.Value), repr(item.Key))
			continue
		}
		name, ok1 := lookup[string](index, "fqn")
		offsets, ok2 := sizes(index, "offset")
		if v, _ := index.Lookup("offset"); v == nil {
			ok2 = true // of an object
		}
		file, ok3 := lookup[string](info, "relative_path")
		offset, ok4 := lookup[int64](info, "offset")
		length, ok5 := lookup[int64](info, "length")
		if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || offset < 0 || length < 0 {
			d.faults.report(CodeBadMetadata, -1, name, "the place of a piece of it cannot be read")
			continue
		}
		p := Place{File: file, Offset: offset, Length: length}
		if list, ok := lookup[*List](info, "transform_descriptors"); ok {
			for _, v := range list.Items {
				p.Transforms = append(p.Transforms, keyText(v))
			}
		}
		places[keyOf(name, offsets)] = p
		if !files[file] {
			files[file] = true
			d.Files = append(d.Files, file)
		}
	}
	return places
}

// sizes returns an attribute that is a torch.Size.
func sizes(d *Dict, key string) ([]uint64, bool) {
	list, ok := lookup[*List](d, key)
	if !ok {
		return nil, false
	}
	out := make([]uint64, len(list.Items))
	for i, v := range list.Items {
		n, ok := v.(int64)
		if !ok || n < 0 {
			return nil, false
		}
		out[i] = uint64(n)
	}
	return out, true
}

// entry reads an entry of state_dict_metadata.
func (d *Distributed) entry(item Item, places map[placeKey]Place) {
	name, ok := item.Key.(string)
	if !ok {
		d.faults.report(CodeBadMetadata, -1, "", "%s is not a name", repr(item.Key))
		return
	}
	if _, ok := stateOf(item.Value, metadataModule+".BytesStorageMetadata"); ok {
		d.Objects = append(d.Objects, DistributedObject{name, places[keyOf(name, nil)]})
		return
	}
	state, ok := stateOf(item.Value, metadataModule+".TensorStorageMetadata")
	if !ok {
		d.faults.report(CodeBadMetadata, -1, name, "it is %s, neither a tensor nor an object", repr(item.Value))
		return
	}
	t := DistributedTensor{Name: name}
	shape, ok1 := sizes(state, "size")
	props, _ := lookup[*Object](state, "properties")
	chunks, ok2 := lookup[*List](state, "chunks")
	if !ok1 || !ok2 || props == nil {
		d.faults.report(CodeBadMetadata, -1, name, "its size, properties or chunks cannot be read")
		return
	}
	t.Shape = shape
	// TensorProperties.__getstate__ returns (dtype, layout, requires_grad, memory_format, pin_memory).
	if state, ok := props.State.(*List); ok && len(state.Items) > 0 {
		t.DType, ok1 = dtypeOf(state.Items[0])
	} else if state, ok := props.State.(*Dict); ok {
		v, _ := state.Lookup("dtype")
		t.DType, ok1 = dtypeOf(v)
	}
	if t.DType == "" || !ok1 {
		d.faults.report(CodeBadMetadata, -1, name, "its dtype cannot be read")
		return
	}
	for _, v := range chunks.Items {
		state, ok := stateOf(v, metadataModule+".ChunkStorageMetadata")
		if !ok {
			d.faults.report(CodeBadMetadata, -1, name, "a chunk of it is %s", repr(v))
			continue
		}
		c := Chunk{}
		c.Offsets, ok1 = sizes(state, "offsets")
		c.Sizes, ok2 = sizes(state, "sizes")
		if !ok1 || !ok2 || len(c.Offsets) != len(shape) || len(c.Sizes) != len(shape) {
			d.faults.report(CodeBadMetadata, -1, name, "the offsets or sizes of a chunk of it cannot be read")
			continue
		}
		c.Place = places[keyOf(name, c.Offsets)]
		t.Chunks = append(t.Chunks, c)
	}
	d.Tensors = append(d.Tensors, t)
}

// Bytes returns the size of a tensor, false when its dtype is not known or the size passes 63
// bits.
func (t *DistributedTensor) Bytes() (uint64, bool) {
	return (&Layout{DType: t.DType, Shape: t.Shape}).Bytes()
}

// Fault returns what keeps a tensor from being put together of its chunks: that they do not
// have each of its elements once, or do not say where they are; nil for nothing.
func (t *DistributedTensor) Fault() *Fault {
	checks := maxChunkChecks
	return t.fault(&checks)
}

func (t *DistributedTensor) fault(checks *int) *Fault {
	fail := func(code Code, format string, args ...any) *Fault {
		return newFault(code, -1, t.Name, format, args...)
	}
	bits, known := t.DType.Bits()
	total, ok := strided.Product(t.Shape...)
	_, fits := t.Bytes()
	switch {
	case !known:
		return fail(CodeUnknownDType, "dtype %s is not known", quote(string(t.DType)))
	case !ok || !fits:
		return fail(CodeOverflow, "shape %d has too many elements", firstDims(t.Shape))
	case bits < 8:
		return fail(CodeBadTensor, "its elements of %d bits are not whole bytes", bits)
	}
	covered := uint64(0)
	var full []*Chunk // those with elements
	for i := range t.Chunks {
		c := &t.Chunks[i]
		for d, n := range t.Shape {
			if c.Offsets[d] > n || c.Sizes[d] > n-c.Offsets[d] {
				return fail(CodeChunkOutside, "a chunk at %d of %d reaches beyond its shape %d", firstDims(c.Offsets), firstDims(c.Sizes), firstDims(t.Shape))
			}
		}
		if n, _ := strided.Product(c.Sizes...); n > 0 {
			full = append(full, c)
			covered += n // no more than total each: a sum that wraps is of chunks that overlap
		}
	}
	if a, b := overlap(full, len(t.Shape), checks); a != nil {
		return fail(CodeChunkOverlap, "the chunks at %d and %d overlap", firstDims(a.Offsets), firstDims(b.Offsets))
	}
	if *checks < 0 {
		return fail(CodeLimit, "there are too many chunks to be compared with each other")
	}
	if covered != total {
		return fail(CodeChunkGap, "its %d chunks have %d of %d elements", len(t.Chunks), covered, total)
	}
	for _, c := range full {
		switch {
		case c.Place.File == "":
			return fail(CodeMissingChunk, "the metadata does not say where the chunk at %d is", firstDims(c.Offsets))
		case len(c.Place.Transforms) > 0:
			return fail(CodeTransformed, "its bytes are changed by %s, which is not read", quote(strings.Join(c.Place.Transforms, ", ")))
		}
	}
	return nil
}

// overlap returns two chunks that share elements, nil when there are none. They are compared
// along the dimension that tells most of them apart. Each comparison is taken from checks.
func overlap(chunks []*Chunk, dims int, checks *int) (a, b *Chunk) {
	if dims == 0 && len(chunks) > 1 {
		return chunks[0], chunks[1]
	}
	axis, most := 0, 0
	for d := range dims {
		places := make(map[uint64]bool)
		for _, c := range chunks {
			places[c.Offsets[d]] = true
		}
		if len(places) > most {
			axis, most = d, len(places)
		}
	}
	slices.SortStableFunc(chunks, func(a, b *Chunk) int { return cmp.Compare(a.Offsets[axis], b.Offsets[axis]) })
	for i, a := range chunks {
		for _, b := range chunks[i+1:] {
			if b.Offsets[axis] >= a.Offsets[axis]+a.Sizes[axis] {
				break
			}
			if *checks--; *checks < 0 {
				return nil, nil
			}
			apart := false
			for d := range dims {
				apart = apart || a.Offsets[d] >= b.Offsets[d]+b.Sizes[d] || b.Offsets[d] >= a.Offsets[d]+a.Sizes[d]
			}
			if !apart {
				return a, b
			}
		}
	}
	return nil, nil
}

// Validate returns everything that is wrong with the metadata or worth knowing: of the
// pickle, and of the tensors, whose chunks must have each element once. It reads no other file.
func (d *Distributed) Validate() []Fault {
	l := &faultList{faults: slices.Clone(d.faults.faults), counts: maps.Clone(d.faults.counts)}
	if len(d.Tensors) == 0 {
		l.report(CodeEmpty, -1, "", "there is no tensor")
	}
	checks := maxChunkChecks
	seen := make(map[string]bool, len(d.Tensors))
	for i := range d.Tensors {
		t := &d.Tensors[i]
		switch {
		case seen[t.Name]:
			l.report(CodeDuplicateName, -1, t.Name, "two tensors have this name")
		case t.Name == "":
			l.report(CodeEmptyName, -1, "", "a tensor has no name")
		case strings.ContainsFunc(t.Name, isControl):
			l.report(CodeControlChars, -1, t.Name, "the name has characters that drive terminals or reverse text")
		}
		seen[t.Name] = true
		if flt := t.fault(&checks); flt != nil {
			l.add(flt)
		}
	}
	return l.list()
}
