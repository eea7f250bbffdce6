package pytorch

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"slices"
	"strings"
)

// What the values take that a pickle has most of, in bytes, with what finds them.
const (
	sizeOfTensor  = 48
	sizeOfStorage = 64
	sizeOfObject  = 120
	sizeOfList    = 40
)

// An arena has the room for what a pickle builds. A checkpoint has a hundred thousand tensors that differ
// in little more than their names and places: what is small is allocated many at once, what is alike is
// kept once, and the tuples that torch makes for each tensor are used again.
type arena struct {
	texts   strings.Builder
	tensors [][]Tensor // in pieces, in the order in which they are made; the last one alone where brief is set
	brief   bool
	ints    [64]Value // that were used last, by their last bits

	dims    []uint64 // of the layout in question
	key     []byte   // and what finds it
	layouts map[string]*Layout
	classes map[classKey]*Layout
	kinds   map[StorageKind]*StorageKind

	lists []*List // that nothing holds any more
	dicts []*Dict
}

// A classKey is a layout that is made of another one.
type classKey struct {
	of    *Layout
	class string
}

// nextRoom is for how many more there is room next, after some.
func nextRoom(now, least, most int) int { return min(max(2*now, least), most) }

// text returns bytes as a string. Short ones share their memory with others.
func (r *arena) text(b []byte) string {
	const least, most, long = 256, 32 << 10, 1 << 10
	if len(b) > long {
		return string(b)
	}
	if r.texts.Len()+len(b) > r.texts.Cap() {
		room := nextRoom(r.texts.Cap(), max(least, len(b)), most)
		r.texts = strings.Builder{}
		r.texts.Grow(room)
	}
	at := r.texts.Len()
	r.texts.Write(b)
	return r.texts.String()[at:]
}

func (r *arena) tensor(t Tensor) *Tensor {
	k := len(r.tensors) - 1
	if k < 0 || len(r.tensors[k]) == cap(r.tensors[k]) {
		piece := make([]Tensor, 0, nextRoom(len(r.tensors)*2, 4, 512))
		if k < 0 || !r.brief {
			r.tensors = append(r.tensors, nil)
			k++
		}
		r.tensors[k] = piece
	}
	r.tensors[k] = append(r.tensors[k], t)
	return &r.tensors[k][len(r.tensors[k])-1]
}

// inPieces returns what is in pieces, one by one.
func inPieces[T any](pieces [][]T) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for _, piece := range pieces {
			for i := range piece {
				if !yield(&piece[i]) {
					return
				}
			}
		}
	}
}

// integer returns an integer as a value, which for one that was used before is no new one.
func (r *arena) integer(n int64) Value {
	v := &r.ints[uint64(n)*0x9e3779b97f4a7c15>>58]
	if have, ok := (*v).(int64); !ok || have != n {
		*v = n
	}
	return *v
}

// layout returns the plain layout of a type with a shape and its strides, and whether it is a new one.
func (r *arena) layout(dtype DType, dims []uint64) (l *Layout, isNew bool) {
	r.key = append(append(r.key[:0], dtype...), 0)
	for _, d := range dims {
		r.key = binary.LittleEndian.AppendUint64(r.key, d)
	}
	if l := r.layouts[string(r.key)]; l != nil {
		return l, false
	}
	if r.layouts == nil {
		r.layouts = make(map[string]*Layout)
	}
	own, n := slices.Clone(dims), len(dims)/2
	l = &Layout{DType: dtype, Shape: own[:n:n], Strides: own[n:]}
	r.layouts[string(r.key)] = l
	return l, true
}

// classed returns a layout as another class has it, and whether it is a new one.
func (r *arena) classed(of *Layout, class string) (l *Layout, isNew bool) {
	k := classKey{of, class}
	if l := r.classes[k]; l != nil {
		return l, false
	}
	if r.classes == nil {
		r.classes = make(map[classKey]*Layout)
	}
	own := *of
	own.Class = class
	r.classes[k] = &own
	return &own, true
}

// kind returns what a kind of storages has in common, and whether it is new.
func (r *arena) kind(k StorageKind) (kind *StorageKind, isNew bool) {
	if kind := r.kinds[k]; kind != nil {
		return kind, false
	}
	if r.kinds == nil {
		r.kinds = make(map[StorageKind]*StorageKind)
	}
	r.kinds[k] = &k
	return &k, true
}

func (r *arena) dict() *Dict {
	if n := len(r.dicts); n > 0 {
		d := r.dicts[n-1]
		r.dicts = r.dicts[:n-1]
		return d
	}
	return &Dict{}
}

// hold notes that a value is in more places than on top of the stack. What is not held, and taken from
// there, is nowhere else.
func hold(v Value) {
	switch v := v.(type) {
	case *List:
		if !v.held { // the empty tuple is everybody's
			v.held = true
		}
	case *Dict:
		v.held = true
	}
}

// newTuple makes a tuple of values of the stack.
func (m *machine) newTuple(items []Value) *List {
	m.charge(sizeOfList + 16*len(items))
	n := len(m.room.lists)
	if n == 0 {
		return &List{Type: "tuple", Items: slices.Clone(items)}
	}
	l := m.room.lists[n-1]
	m.room.lists = m.room.lists[:n-1]
	l.Items = append(l.Items, items...)
	return l
}

// recycle keeps a tuple that nothing holds for others that are made.
func (m *machine) recycle(l *List) {
	const most, long = 16, 64
	if l.held || l.Type != "tuple" || len(m.room.lists) == most || cap(l.Items) > long {
		return
	}
	m.memory += sizeOfList + 16*len(l.Items)
	clear(l.Items)
	l.Items = l.Items[:0]
	m.room.lists = append(m.room.lists, l)
}

// lent takes back the arguments of a call of what does not keep them, and the tuples and empty
// dictionaries in them.
func (m *machine) lent(callee Value, args *List) {
	g, ok := callee.(*Global)
	if !ok || !g.lends || args.held || m.op != opReduce {
		return
	}
	if o, ok := m.stack[len(m.stack)-1].(*Object); ok && o.Args == args {
		return // the arguments were not its own
	}
	for _, v := range args.Items {
		switch v := v.(type) {
		case *List:
			m.recycle(v)
		case *Dict:
			if !v.held && len(v.Items) == 0 && len(m.room.dicts) < 16 {
				v.Items = nil
				m.room.dicts = append(m.room.dicts, v)
			}
		}
	}
	m.recycle(args)
}

// storageChunk is how many storages are allocated at once.
const storageChunk = 64

// A storageList is storages in the order of their first use.
type storageList struct {
	chunks [][]Storage
	n      int
}

func (l *storageList) add(s Storage) *Storage {
	if l.n%storageChunk == 0 {
		l.chunks = append(l.chunks, make([]Storage, 0, storageChunk))
	}
	last := &l.chunks[len(l.chunks)-1]
	s.id = uint32(l.n)
	*last = append(*last, s)
	l.n++
	return &(*last)[len(*last)-1]
}

// join adds those of another list, after which nothing is added.
func (l *storageList) join(other storageList) {
	l.chunks = append(l.chunks, other.chunks...)
	l.n += other.n
}

func (l *storageList) all() iter.Seq[*Storage] {
	return inPieces(l.chunks)
}

// A storageTable is storages by their keys: an open-addressed table of their places in the list.
type storageTable struct {
	storageList
	seed  maphash.Seed
	slots []uint32 // one more than chunk*storageChunk and the place there, 0 for none; at most half full
}

// table returns a table of the storages of a list.
func (l *storageList) table() *storageTable {
	t := &storageTable{storageList: *l}
	t.grow(l.n)
	return t
}

func (t *storageTable) add(s Storage) *Storage {
	p := t.storageList.add(s)
	if 2*t.n > len(t.slots) {
		t.grow(2 * t.n)
	} else {
		t.enter(len(t.chunks)-1, len(t.chunks[len(t.chunks)-1])-1)
	}
	return p
}

// grow makes the table anew, for n storages.
func (t *storageTable) grow(n int) {
	size := 16
	for size < 2*n {
		size *= 2
	}
	t.seed, t.slots = maphash.MakeSeed(), make([]uint32, size)
	for c := range t.chunks {
		for i := range t.chunks[c] {
			t.enter(c, i)
		}
	}
}

// enter adds a storage of the list to the table, unless it is in a string of the pickle, where it has no key.
func (t *storageTable) enter(chunk, i int) {
	if s := &t.chunks[chunk][i]; s.data == nil {
		t.slots[probe(t, maphash.String(t.seed, s.Key), s.Key)] = uint32(chunk*storageChunk+i) + 1
	}
}

// probe returns the slot of a key with a hash, or the free one where it belongs.
func probe[T string | []byte](t *storageTable, hash uint64, key T) int {
	for i := int(hash); ; i++ {
		i &= len(t.slots) - 1
		if t.slots[i] == 0 || t.at(i).Key == string(key) {
			return i
		}
	}
}

// at returns the storage of a slot, nil for none.
func (t *storageTable) at(slot int) *Storage {
	n := t.slots[slot]
	if n == 0 {
		return nil
	}
	return &t.chunks[(n-1)/storageChunk][(n-1)%storageChunk]
}

// find returns the storage of a key, nil for none.
func (t *storageTable) find(key string) *Storage {
	if len(t.slots) == 0 {
		return nil
	}
	return t.at(probe(t, maphash.String(t.seed, key), key))
}

func (t *storageTable) findBytes(key []byte) *Storage {
	if len(t.slots) == 0 {
		return nil
	}
	return t.at(probe(t, maphash.Bytes(t.seed, key), key))
}
