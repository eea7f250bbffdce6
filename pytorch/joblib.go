package pytorch

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/internal/strided"
)

// joblib writes a pickle with an object in the place of each array of NumPy, which describes it, and the bytes
// of the array behind the BUILD of that object. Its unpickler takes them from the file, and so from behind the
// frame, and goes on after them (joblib/numpy_pickle.py, NumpyArrayWrapper and NumpyUnpickler.load_build).
// pickle.load knows nothing of this, and carries the array out as opcodes: such a file is two programs.

// wrapper returns the object that describes an array, nil for any other value.
func wrapper(v Value) *Object {
	o, ok := v.(*Object)
	if !ok {
		return nil
	}
	g, ok := o.Class.(*Global)
	if ok && g.String() == "copyreg._reconstructor" && o.Args != nil && len(o.Args.Items) > 0 { // protocols 0 and 1
		g, ok = o.Args.Items[0].(*Global)
	}
	if !ok || g.Name != "NumpyArrayWrapper" || g.Module != "joblib.numpy_pickle" && g.Module != "sklearn.externals.joblib.numpy_pickle" {
		return nil
	}
	return o
}

// runJoblib carries out the pickle at pos of the window as joblib does. objects carries out the pickle at a place
// of a window, which an array of objects is, and returns how long it is, 0 where it breaks off.
func (m *machine) runJoblib(pos int, objects func(w *window) (int64, error)) (v Value, end int64, err error) {
	m.joblib, m.memo = true, map[uint64]Value{}
	defer func() { err = m.withCalls(err) }()
	defer leaving(&err)
	frame, due, skipped := 0, int64(0), int64(0)
	for m.pos = pos; ; {
		if due > 0 && m.pos >= frame {
			m.w, skipped, due = m.w.without(due), skipped+due, 0
		}
		op, arg, next, err := m.w.next(m.pos)
		if err != nil {
			return nil, 0, err
		}
		m.memory += mostPerByte * (next - m.pos)
		switch op {
		case opStop:
			return m.pop(), int64(next) + skipped, nil
		case opFrame:
			frame = max(frame, m.w.frameEnd(arg, next))
		}
		if m.op = op; m.refused == 0 && !weightsOnly[op] {
			m.refused, m.refusedAt = op, m.w.place(m.pos)
		}
		m.step(op, arg)
		if o := wrapper(m.top1()); op == opBuild && o != nil {
			n, err := m.array(o, m.w.from(int64(max(next, frame))+due), objects)
			if err != nil {
				return nil, 0, err
			}
			due += n
			m.pop()
			m.charge(sizeOfObject)
			m.push(&Object{Class: "array"})
		}
		m.pos = next
	}
}

// top1 is the value on top of the stack, nil for none.
func (m *machine) top1() Value {
	if len(m.stack) == 0 {
		return nil
	}
	return m.stack[len(m.stack)-1]
}

// without returns the window with its positions n bytes further on in the file.
func (w *window) without(n int64) *window {
	rest := w.from(n)
	rest.perByte = w.perByte
	return rest
}

// array returns how many bytes at the beginning of a window are the array that an object describes.
func (m *machine) array(o *Object, w *window, objects func(w *window) (int64, error)) (int64, error) {
	var shape, dtype, align Value
	if d, ok := o.State.(*Dict); ok {
		for _, item := range d.Items {
			switch item.Key {
			case "shape":
				shape = item.Value
			case "dtype":
				dtype = item.Value
			case "numpy_array_alignment_bytes":
				align = item.Value
			}
		}
	}
	size, isObjects, ok := itemSize(dtype)
	if isObjects {
		n, err := objects(w)
		if n == 0 && err == nil {
			err = newFault(CodeTruncated, w.place(0), "", "the pickle of an array of objects breaks off")
		}
		return n, err
	}
	dims, isList := shape.(*List)
	if !ok || !isList {
		return 0, newFault(CodeUnknownDType, w.place(0), "", "an array of joblib has %s for its dtype and %s for its shape: what follows it is not judged", repr(dtype), repr(shape))
	}
	for _, v := range dims.Items {
		n, isInt := v.(int64)
		if size, ok = strided.Product(size, uint64(max(n, 0))); !ok || !isInt || n < 0 {
			return 0, newFault(CodeOverflow, w.place(0), "", "an array of joblib has the shape %s", repr(shape))
		}
	}
	pad := int64(0)
	if align != nil { // since joblib 1.2: a byte that says how many others are before the array
		b, err := w.view(0, 1)
		if err == errEnd {
			return 0, newFault(CodeTruncated, w.place(0), "", "the file ends where an array of joblib begins")
		} else if err != nil {
			return 0, err
		}
		pad = 1 + int64(b[0])
	}
	if left := w.size - pad; left < 0 || size > uint64(left) {
		return 0, newFault(CodeTruncated, w.place(0), "", "an array of joblib has %d bytes, and the file %d from there on", size, max(left, 0))
	}
	return pad + int64(size), nil
}

// itemSize returns the size of an element, by what dtype.__reduce__ of NumPy writes
// (numpy/_core/src/multiarray/descriptor.c, arraydescr_reduce): a letter and digits, and a state with the size of types
// that have one of their own, and flags whose first says that there are objects in it.
func itemSize(dtype Value) (size uint64, objects, ok bool) {
	o, ok := dtype.(*Object)
	if !ok || o.Args == nil || len(o.Args.Items) == 0 {
		return 0, false, false
	}
	g, _ := o.Class.(*Global)
	text, _ := o.Args.Items[0].(string)
	if g == nil || g.Module != "numpy" || g.Name != "dtype" || len(text) < 2 {
		return 0, false, false
	}
	if text[0] == 'O' {
		return 0, true, true
	}
	if state, ok := o.State.(*List); ok && len(state.Items) > 7 {
		if flags, ok := state.Items[7].(int64); ok && flags&1 != 0 {
			return 0, true, true
		}
		if n, ok := state.Items[5].(int64); ok && n >= 0 {
			return uint64(n), false, true
		}
	}
	n, err := strconv.ParseUint(text[1:], 10, 31)
	if text[0] == 'U' {
		n *= 4
	}
	return n, false, err == nil && strings.IndexByte("biufcmMSUV", text[0]) >= 0
}

// runAsJoblib carries out a pickle as joblib does, after it was carried out as pickle.load does.
func (l *programs) runAsJoblib(plain *machine, w *window, pos int, place string, stray bool, depth int, inner func([]byte)) (v Value, end int, m *machine, err error) {
	m = newMachine(w)
	m.brief, m.room.brief, m.inner, m.crosses = true, true, inner, plain.crosses
	arrays, before := 0, len(l.list)
	v, at, err := m.runJoblib(pos, func(w *window) (int64, error) {
		arrays++
		l.plain = true // joblib reads them by an unpickler that is not its own
		defer func() { l.plain = false }()
		_, n, _, err := l.run(w, 0, inside(place, fmt.Sprintf("array of objects %d", arrays)), stray, depth)
		return int64(n), err
	})
	l.walked += max(0, plain.pos-m.pos) // opcodes that the arrays seem to be
	if at > math.MaxInt {
		at, err = 0, newFault(CodeLimit, -1, "", "the pickle and its arrays have %d bytes: what follows them is not judged", at)
	}
	known := map[string]bool{}
	note := func(list []*Global) {
		for _, g := range list {
			known[g.String()] = known[g.String()] || g.Calls > 0
		}
	}
	note(m.imported())
	for _, p := range l.list[before:] {
		note(p.Globals)
	}
	extra := slices.DeleteFunc(plain.imported(), func(g *Global) bool {
		called, ok := known[g.String()]
		return ok && (called || g.Calls == 0) || !isName(g.Module) || !isName(g.Name)
	})
	if len(extra) > 0 {
		l.add(Program{Place: inside(place, "read by pickle.load"), Offset: w.place(pos), RefusedAt: -1, Stray: stray, Inner: depth > 0, Globals: extra})
	}
	return v, int(at), m, err
}
