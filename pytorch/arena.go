package pytorch

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"unsafe"
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
	tensors pieced[Tensor] // in the order in which they are made
	brief   bool           // they are not kept
	ints    [64]Value      // that were used last, by their last bits

	dims    []uint64       // of the layout in question
	key     []byte         // and what its hash is of
	layouts pieced[Layout] // the plain ones, of which places has the numbers
	places  numberTable
	classes map[classKey]*Layout
	kinds   map[StorageKind]*StorageKind

	properties map[DType]*metaProperties

	lists   []*List // that nothing holds any more
	dicts   []*Dict
	objects []*Object
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
	if r.brief {
		return &Tensor{Layout: t.Layout, Offset: t.Offset, Storage: t.Storage}
	}
	return r.tensors.add(t)
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
	n := len(dims) / 2
	shape, strides := dims[:n], dims[n:]
	if r.places.full() {
		r.places = newNumberTable(2 * (r.layouts.n + 1))
		for i := range r.layouts.n {
			have := r.layouts.at(i)
			r.places.put(r.hash(have.DType, have.Shape, have.Strides), i)
		}
	}
	hash := r.hash(dtype, shape, strides)
	if i := r.places.find(hash, func(i int) bool {
		have := r.layouts.at(i)
		return have.DType == dtype && slices.Equal(have.Shape, shape) && slices.Equal(have.Strides, strides)
	}); i >= 0 {
		return r.layouts.at(i), false
	}
	r.places.put(hash, r.layouts.n)
	own := slices.Clone(dims)
	return r.layouts.add(Layout{DType: dtype, Shape: own[:n:n], Strides: own[n:]}), true
}

// hash returns what finds a layout.
func (r *arena) hash(dtype DType, shape, strides []uint64) uint64 {
	r.key = append(append(r.key[:0], dtype...), 0)
	for _, dims := range [...][]uint64{shape, strides} {
		for _, d := range dims {
			r.key = binary.LittleEndian.AppendUint64(r.key, d)
		}
	}
	return maphash.Bytes(r.places.seed, r.key)
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
	kind = new(StorageKind) // k stays where it is
	*kind = k
	r.kinds[k] = kind
	return kind, true
}

func (r *arena) dict() *Dict {
	if n := len(r.dicts); n > 0 {
		d := r.dicts[n-1]
		r.dicts = r.dicts[:n-1]
		return d
	}
	return &Dict{}
}

// recycleDict keeps a dictionary that nothing holds for others that are made.
func (r *arena) recycleDict(d *Dict) {
	const most, long = 16, 16
	if d.held || len(r.dicts) == most || cap(d.Items) > long {
		return
	}
	clear(d.Items)
	d.Items = d.Items[:0]
	r.dicts = append(r.dicts, d)
}

func (r *arena) object() *Object {
	if n := len(r.objects); n > 0 {
		o := r.objects[n-1]
		r.objects = r.objects[:n-1]
		return o
	}
	return &Object{}
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
	case *Object:
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
	if g.Name == "Size" { // which is what is in them
		m.recycle(args)
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
			if len(v.Items) == 0 {
				m.room.recycleDict(v)
			}
		}
	}
	m.recycle(args)
}

// A pieced list is one that grows without being copied: what is in it stays where it is.
type pieced[T any] struct {
	list [][]T // of a few, of the rest of a piece, and then of a piece each
	n    int
}

// few is how many values are allocated at first: most files in a distributed checkpoint have one tensor.
const few = 2

// onePiece is how many values are allocated at once, apart from the first few: with the header that the runtime
// gives them, they fill the 4 KiB that it takes for them.
func (p *pieced[T]) onePiece() int {
	const header = 8
	return (4<<10 - header) / int(unsafe.Sizeof(*new(T)))
}

func (p *pieced[T]) add(v T) *T {
	switch size := p.onePiece(); {
	case p.n == 0:
		p.list = append(p.list, make([]T, 0, few))
	case p.n == few:
		p.list = append(p.list, make([]T, 0, size-few))
	case p.n%size == 0:
		p.list = append(p.list, make([]T, 0, size))
	}
	last := &p.list[len(p.list)-1]
	*last = append(*last, v)
	p.n++
	return &(*last)[len(*last)-1]
}

func (p *pieced[T]) at(i int) *T {
	switch size := p.onePiece(); {
	case i < few:
		return &p.list[0][i]
	case i < size:
		return &p.list[1][i-few]
	default:
		return &p.list[i/size+1][i%size]
	}
}

func (p *pieced[T]) all() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for _, piece := range p.list {
			for i := range piece {
				if !yield(&piece[i]) {
					return
				}
			}
		}
	}
}

// A numberTable finds things that have numbers by what they are called: an open-addressed table of the
// numbers, which a map of the names would take five times the memory of.
type numberTable struct {
	seed  maphash.Seed
	slots []uint32 // one more than the number, 0 for none; a power of two, at most half full
	n     int
}

// newNumberTable returns a table for n numbers.
func newNumberTable(n int) numberTable {
	size := 8
	for size < 2*n {
		size *= 2
	}
	return numberTable{seed: maphash.MakeSeed(), slots: make([]uint32, size)}
}

// find returns the number that something has a hash of t.seed of, -1 for none. is tells it from others.
func (t *numberTable) find(hash uint64, is func(i int) bool) int {
	if len(t.slots) == 0 {
		return -1
	}
	for k := int(hash); ; k++ {
		switch slot := t.slots[k&(len(t.slots)-1)]; {
		case slot == 0:
			return -1
		case is(int(slot - 1)):
			return int(slot - 1)
		}
	}
}

// put adds a number that is not in the table.
func (t *numberTable) put(hash uint64, i int) {
	k := int(hash) & (len(t.slots) - 1)
	for t.slots[k] != 0 {
		k = (k + 1) & (len(t.slots) - 1)
	}
	t.slots[k] = uint32(i) + 1
	t.n++
}

func (t *numberTable) full() bool { return 2*(t.n+1) > len(t.slots) }

// A storageTable is the storages of a pickle, in the order of their first use and by their keys.
type storageTable struct {
	list    pieced[Storage]
	numbers numberTable
}

// add adds a storage. One in a string of the pickle has no key.
func (t *storageTable) add(s Storage) *Storage {
	s.id = uint32(t.list.n)
	p := t.list.add(s)
	switch {
	case s.data != nil:
	case t.numbers.full():
		t.reserve(t.list.n)
	default:
		t.enter(t.list.n - 1)
	}
	return p
}

// reserve makes room for more storages.
func (t *storageTable) reserve(more int) {
	const most = 1 << 20 // a pickle may have persistent ids that are none
	t.numbers = newNumberTable(t.list.n + min(max(more, 1), most))
	for i := range t.list.n {
		t.enter(i)
	}
}

func (t *storageTable) enter(i int) {
	if s := t.list.at(i); s.data == nil {
		t.numbers.put(maphash.String(t.numbers.seed, s.Key), i)
	}
}

// find returns the storage of a key, nil for none.
func (t *storageTable) find(key string) *Storage {
	return t.at(t.numbers.find(t.hash(key), func(i int) bool { return t.list.at(i).Key == key }))
}

func (t *storageTable) findBytes(key []byte) *Storage {
	if t.numbers.n == 0 {
		return nil
	}
	return t.at(t.numbers.find(maphash.Bytes(t.numbers.seed, key), func(i int) bool { return t.list.at(i).Key == string(key) }))
}

func (t *storageTable) hash(key string) uint64 {
	if t.numbers.n == 0 {
		return 0 // without a seed
	}
	return maphash.String(t.numbers.seed, key)
}

func (t *storageTable) at(i int) *Storage {
	if i < 0 {
		return nil
	}
	return t.list.at(i)
}
