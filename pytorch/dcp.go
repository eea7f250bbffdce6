package pytorch

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"io"
	"maps"
	"slices"
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
	f := &File{contents: &contents{r: r, size: size, meta: true}}
	if err := f.read(); err != nil {
		return nil, err
	}
	state, ok := stateOf(f.root, metadataModule+".Metadata")
	if !ok {
		return nil, newFault(CodeNotDistributed, -1, "", "%s, and not the metadata of a distributed checkpoint", repr(f.root))
	}
	f.unique(state)
	for _, key := range []string{"state_dict_metadata", "storage_data", "planner_data"} {
		if d, ok := lookup[*Dict](state, key); ok {
			f.unique(d)
		}
	}
	d := &Distributed{Globals: f.globals}
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
	d.Tensors = make([]DistributedTensor, 0, len(entries.Items))
	for i := range entries.Items {
		d.entry(&entries.Items[i], places)
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

// A placeList is storage_data, and finds a piece by its name and offsets: MetadataIndex without its hint.
type placeList struct {
	room    arena
	list    []placed
	numbers numberTable
}

type placed struct {
	*metaIndex
	*metaInfo
}

func (l *placeList) hash(name string, offsets []uint64) uint64 {
	var h maphash.Hash
	h.SetSeed(l.numbers.seed)
	h.WriteString(name)
	for _, n := range offsets {
		var raw [8]byte
		binary.LittleEndian.PutUint64(raw[:], n)
		h.Write(raw[:])
	}
	return h.Sum64()
}

func (l *placeList) number(hash uint64, name string, offsets []uint64) int {
	return l.numbers.find(hash, func(i int) bool { return l.list[i].name == name && slices.Equal(l.list[i].offsets, offsets) })
}

// at returns where a piece is, nowhere when the list does not say.
func (l *placeList) at(name string, offsets []uint64) Place {
	i := l.number(l.hash(name, offsets), name, offsets)
	if i < 0 {
		return Place{}
	}
	p := l.list[i].metaInfo
	return Place{File: p.file, Offset: p.offset, Length: p.length, Transforms: p.transforms}
}

// places reads storage_data, which says where pieces are. Without it the checkpoint was
// written by something else than torch's own writers of files, or the writer did not finish.
func (d *Distributed) places(state *Dict) *placeList {
	data, ok := lookup[*Dict](state, "storage_data")
	if !ok {
		d.faults.report(CodeBadMetadata, -1, "", "the metadata has no storage_data, which says where the tensors are")
		return &placeList{numbers: newNumberTable(0)}
	}
	l := &placeList{list: make([]placed, 0, len(data.Items)), numbers: newNumberTable(len(data.Items))}
	files := make(map[string]string)
	for i := range data.Items {
		item := &data.Items[i]
		index, ok1 := metaValue[metaIndex](&l.room, item.Key, classIndex)
		info, ok2 := metaValue[metaInfo](&l.room, item.Value, classInfo)
		if !ok1 || !ok2 {
			d.faults.report(CodeBadMetadata, -1, "", "storage_data has %s for %s", repr(item.Value), repr(item.Key))
			continue
		}
		if index == nil || info == nil {
			name := ""
			if index != nil {
				name = index.name
			} else if state, ok := stateOf(item.Key, metadataModule+".MetadataIndex"); ok {
				name, _ = lookup[string](state, "fqn")
			}
			d.faults.report(CodeBadMetadata, -1, name, "the place of a piece of it cannot be read")
			continue
		}
		if file, ok := files[info.file]; ok {
			info.file = file // which may be another string of the same text
		} else {
			files[info.file] = info.file
			d.Files = append(d.Files, info.file)
		}
		hash := l.hash(index.name, index.offsets)
		if again := l.number(hash, index.name, index.offsets); again >= 0 {
			l.list[again].metaInfo = info // the last one counts
			continue
		}
		l.numbers.put(hash, len(l.list))
		l.list = append(l.list, placed{index, info})
	}
	return l
}

// entry reads an entry of state_dict_metadata.
func (d *Distributed) entry(item *Item, places *placeList) {
	name, ok := item.Key.(string)
	if !ok {
		d.faults.report(CodeBadMetadata, -1, "", "%s is not a name", repr(item.Key))
		return
	}
	if _, ok := stateOf(item.Value, metadataModule+".BytesStorageMetadata"); ok {
		d.Objects = append(d.Objects, DistributedObject{name, places.at(name, nil)})
		return
	}
	meta, ok := metaValue[metaTensor](&places.room, item.Value, classTensor)
	if !ok {
		d.faults.report(CodeBadMetadata, -1, name, "it is %s, neither a tensor nor an object", repr(item.Value))
		return
	}
	if meta == nil {
		if meta = d.tensorOf(name, item.Value, places); meta == nil {
			return
		}
	}
	t := DistributedTensor{Name: name, DType: meta.layout.DType, Shape: meta.layout.Shape}
	if len(meta.chunks) > 0 {
		t.Chunks = make([]Chunk, len(meta.chunks))
	}
	for i, c := range meta.chunks {
		t.Chunks[i] = Chunk{Offsets: c.Shape, Sizes: c.Strides, Place: places.at(name, c.Shape)}
	}
	d.Tensors = append(d.Tensors, t)
	item.Value = nil // which is in memory twice otherwise
}

// tensorOf reads a tensor as far as it can be, and reports what cannot. It returns nil where that is too much.
func (d *Distributed) tensorOf(name string, v Value, places *placeList) *metaTensor {
	state, ok := stateOf(v, metadataModule+".TensorStorageMetadata")
	var shape []uint64
	var chunks *List
	var props Value
	ok1, ok2 := false, false
	if ok {
		shape, ok1 = sizes(nil, state, "size")
		chunks, ok2 = lookup[*List](state, "chunks")
		props, _ = state.Lookup("properties")
	}
	_, isObject := props.(*Object)
	_, isRead := props.(*metaProperties)
	if !ok1 || !ok2 || !isObject && !isRead {
		d.faults.report(CodeBadMetadata, -1, name, "its size, properties or chunks cannot be read")
		return nil
	}
	p, _ := props.(*metaProperties)
	if o, ok := props.(*Object); ok { // of whatever class
		p, _ = places.room.propertiesOf(o.State).(*metaProperties)
	}
	if p == nil {
		d.faults.report(CodeBadMetadata, -1, name, "its dtype cannot be read")
		return nil
	}
	t := &metaTensor{layout: places.room.shaped(p.dtype, shape)}
	for _, v := range chunks.Items {
		c, ok := metaValue[metaChunk](&places.room, v, classChunk)
		switch {
		case !ok:
			d.faults.report(CodeBadMetadata, -1, name, "a chunk of it is %s", repr(v))
		case c == nil || len(c.Shape) != len(shape):
			d.faults.report(CodeBadMetadata, -1, name, "the offsets or sizes of a chunk of it cannot be read")
		default:
			t.chunks = append(t.chunks, c)
		}
	}
	return t
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
