package pytorch

// What .metadata says of a hundred thousand tensors is half a million objects with dictionaries of their
// own. As soon as one has its state it is made into a few words, and the rest is used again.
type (
	// metaChunk is a ChunkStorageMetadata: the offsets of a chunk as the shape, and its sizes as the strides.
	metaChunk Layout
	// metaTensor is a TensorStorageMetadata. Its layout has no strides that say anything.
	metaTensor struct {
		layout *Layout
		chunks []*metaChunk
	}
	metaProperties struct{ dtype DType }
	// metaIndex is a MetadataIndex without its hint.
	metaIndex struct {
		name    string
		offsets []uint64
	}
	// metaInfo is a _StorageInfo.
	metaInfo struct {
		file           string
		offset, length int64
		transforms     []string
	}
)

// A metaClass is one of the classes of .metadata, 0 for any other.
type metaClass uint8

const (
	classChunk metaClass = iota + 1
	classTensor
	classProperties
	classIndex
	classInfo
)

var metaClasses = map[string]metaClass{
	metadataModule + ".ChunkStorageMetadata":  classChunk,
	metadataModule + ".TensorStorageMetadata": classTensor,
	metadataModule + ".TensorProperties":      classProperties,
	metadataModule + ".MetadataIndex":         classIndex,
	storageInfoClass:                          classInfo,
}

// compact puts what an object of a class of .metadata says in its place on the stack, false where
// it is not what torch writes, or needed again.
func (m *machine) compact(o *Object, g *Global, state Value) bool {
	if g.meta == 0 || o.held || o.State != nil || o.Items != nil || o.Dict != nil {
		return false
	}
	n := 0
	if d, ok := state.(*Dict); ok {
		for _, item := range d.Items {
			if l, ok := item.Value.(*List); ok {
				n += len(l.Items)
			}
		}
	}
	m.charge(100 + 32*n) // also for the time it takes
	v := m.room.metaOf(g.meta, state)
	if v == nil {
		return false
	}
	m.stack[len(m.stack)-1] = v
	switch state := state.(type) {
	case *Dict:
		if state.held {
			break
		}
		for _, item := range state.Items {
			if l, ok := item.Value.(*List); ok {
				m.recycle(l)
			}
		}
		m.room.recycleDict(state)
	case *List:
		m.recycle(state)
	}
	if len(m.room.objects) < 16 {
		*o = Object{}
		m.room.objects = append(m.room.objects, o)
	}
	return true
}

// metaOf returns what a state says, nil where it is not one of the class.
func (r *arena) metaOf(class metaClass, state Value) Value {
	if class == classProperties {
		return r.propertiesOf(state)
	}
	d, ok := state.(*Dict)
	if !ok {
		return nil
	}
	switch class {
	case classChunk:
		return r.chunkOf(d)
	case classTensor:
		return r.tensorOf(d)
	case classIndex:
		return r.indexOf(d)
	case classInfo:
		return infoOf(d)
	}
	return nil
}

// sizes appends an attribute that is a torch.Size.
func sizes(dst []uint64, d *Dict, key string) ([]uint64, bool) {
	list, ok := lookup[*List](d, key)
	if !ok {
		return nil, false
	}
	for _, v := range list.Items {
		n, ok := v.(int64)
		if !ok || n < 0 {
			return nil, false
		}
		dst = append(dst, uint64(n))
	}
	return dst, true
}

func (r *arena) chunkOf(d *Dict) Value {
	dims, ok1 := sizes(r.dims[:0], d, "offsets")
	n := len(dims)
	dims, ok2 := sizes(dims, d, "sizes")
	if !ok1 || !ok2 || len(dims) != 2*n {
		return nil
	}
	r.dims = dims
	l, _ := r.layout("", dims)
	return (*metaChunk)(l)
}

// propertiesOf reads a TensorProperties, whose __getstate__ returns (dtype, layout, requires_grad,
// memory_format, pin_memory).
func (r *arena) propertiesOf(state Value) Value {
	var v Value
	switch state := state.(type) {
	case *List:
		if len(state.Items) > 0 {
			v = state.Items[0]
		}
	case *Dict:
		v, _ = state.Lookup("dtype")
	}
	dtype, ok := dtypeOf(v)
	if !ok || dtype == "" {
		return nil
	}
	p := r.properties[dtype]
	if p == nil {
		if r.properties == nil {
			r.properties = make(map[DType]*metaProperties)
		}
		p = &metaProperties{dtype}
		r.properties[dtype] = p
	}
	return p
}

func (r *arena) tensorOf(d *Dict) Value {
	shape, ok1 := sizes(r.dims[:0], d, "size")
	props, ok2 := lookup[*metaProperties](d, "properties")
	list, ok3 := lookup[*List](d, "chunks")
	if !ok1 || !ok2 || !ok3 {
		return nil
	}
	t := &metaTensor{layout: r.shaped(props.dtype, shape), chunks: make([]*metaChunk, len(list.Items))}
	for i, v := range list.Items {
		var ok bool
		if t.chunks[i], ok = v.(*metaChunk); !ok || len(t.chunks[i].Shape) != len(t.layout.Shape) {
			return nil
		}
	}
	return t
}

// shaped returns the layout of a shape alone.
func (r *arena) shaped(dtype DType, shape []uint64) *Layout {
	r.dims = append(r.dims[:0], shape...)
	for range shape {
		r.dims = append(r.dims, 0)
	}
	l, _ := r.layout(dtype, r.dims)
	return l
}

func (r *arena) indexOf(d *Dict) Value {
	name, ok := lookup[string](d, "fqn")
	if !ok {
		return nil
	}
	index := &metaIndex{name: name}
	if v, _ := d.Lookup("offset"); v != nil { // of a tensor
		offsets, ok := sizes(r.dims[:0], d, "offset")
		if !ok {
			return nil
		}
		index.offsets = r.shaped("", offsets).Shape
	}
	return index
}

func infoOf(d *Dict) Value {
	i := &metaInfo{}
	var ok1, ok2, ok3 bool
	i.file, ok1 = lookup[string](d, "relative_path")
	i.offset, ok2 = lookup[int64](d, "offset")
	i.length, ok3 = lookup[int64](d, "length")
	if !ok1 || !ok2 || !ok3 || i.offset < 0 || i.length < 0 {
		return nil
	}
	if list, ok := lookup[*List](d, "transform_descriptors"); ok {
		for _, v := range list.Items {
			i.transforms = append(i.transforms, keyText(v))
		}
	}
	return i
}

// metaValue returns what a value says that should be an object of a class, nil where it is not one. class
// is false where it is of another class.
func metaValue[T any](r *arena, v Value, class metaClass) (t *T, isClass bool) {
	if t, ok := v.(*T); ok {
		return t, true
	}
	o, ok := v.(*Object)
	if !ok {
		return nil, false
	}
	if g, ok := o.Class.(*Global); !ok || g.meta != class {
		return nil, false
	}
	t, _ = r.metaOf(class, o.State).(*T)
	return t, true
}
