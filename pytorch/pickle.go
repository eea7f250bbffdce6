package pytorch

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/internal/ziparchive"
)

const (
	// spareMemory and what is below bound what a pickle of some bytes may cost in memory, freed
	// again or not: so much for each byte, and for each tensor that it may have, of which 100,000 of as many
	// shapes take 850 bytes each, and others 400 at most.
	spareMemory     = 32 << 20
	memoryPerByte   = 4
	memoryPerTensor = 1 << 10
	// mostPerByte is all that is for a byte. What describes a distributed checkpoint has no tensors, and
	// more objects, and so has it where only calls are kept.
	mostPerByte = 12
	// maxDigits bounds an integer that is written in digits, which takes quadratic time
	// (sys.int_info.default_max_str_digits).
	maxDigits = 4300
	// maxCalls bounds how deep functions that call others are nested; torch nests two.
	maxCalls = 100
	// maxGlobals bounds the names that a pickle imports, of which checkpoints have dozens.
	maxGlobals = 10_000
)

// A machine carries out the opcodes of one pickle after the other. What it collects is of
// all of them.
type machine struct {
	w        *window
	pos      int  // of the opcode
	op       byte // at pos
	protocol byte // as the pickle has it, 0 where it does not
	memory   int  // what the pickle may still cost
	depth    int  // of calls in calls
	strings  int  // that the pickle is in, of others
	toCome   int  // persistent ids, and so tensors

	stack []Value
	marks []int // lengths of the stack
	memo  map[uint64]Value
	// What the pickle has memorised: every id below put, and those in putLater.
	put      uint64
	putLater map[uint64]bool

	apart []apart

	globals  map[[2]string]*Global
	order    []*Global
	storages storageTable
	faults   faultList
	room     arena

	meta bool // what describes a distributed checkpoint is kept compact
	// brief keeps the first few items of what is built, which is enough to know what is called.
	brief bool
	// keys has strings that are keys of storages be storageKeys.
	keys     bool
	misread  *Fault // see odd
	crosses  bool   // an opcode of the pickle is partly behind its frame
	frameEnd int    // of the pickle's last frame, 0 for none
	// inner is told of strings that are pickles or checkpoints of their own; nil for nobody.
	inner     func(data []byte)
	refused   byte  // the first opcode that weights_only does not carry out
	refusedAt int64 // where it is
	wrapped   bool  // it describes an array as joblib does
	joblib    bool  // it is carried out as joblib does, in one walk: all that it memorises is kept
}

func newMachine(w *window) *machine {
	return &machine{w: w, memory: spareMemory, globals: map[[2]string]*Global{}}
}

// stop is panicked with to leave a machine or a walk of what it built.
type stop struct{ err error }

// leaving turns a stop into an error.
func leaving(err *error) {
	switch r := recover().(type) {
	case nil:
	case stop:
		*err = r.err
	default:
		panic(r)
	}
}

func (m *machine) fail(code Code, format string, args ...any) {
	panic(stop{newFault(code, m.w.place(m.pos), "", format, args...)})
}

// warn reports what is wrong with the opcode and no reason to stop.
func (m *machine) warn(code Code, format string, args ...any) {
	m.faults.report(code, m.w.place(m.pos), "", format, args...)
}

// charge takes n bytes from what the pickle may cost.
func (m *machine) charge(n int) {
	if m.memory -= n; m.memory < 0 {
		m.fail(CodeLimit, "the pickle builds more values than are kept here: %d MiB, and %d to %d bytes for each of its own; torch may read it", spareMemory>>20, memoryPerByte, mostPerByte)
	}
}

// run carries out the pickle at pos of the window and returns what it builds, and where it
// ends.
func (m *machine) run(pos int) (v Value, end int, err error) {
	// A pickle that breaks off is carried out up to there, as Python does: what it calls
	// until then is the more worth knowing.
	var broken *Fault
	o, err := m.w.skim(pos)
	if err != nil && !errors.As(err, &broken) {
		return nil, 0, err
	}
	end, m.memo, m.toCome = o.end, o.memo, o.ids
	m.misread, m.crosses, m.frameEnd = nil, o.cross >= 0, o.frame
	if m.keys {
		m.toCome = m.storages.list.n
	}
	m.memory += m.budget(end-pos, m.toCome)
	m.stack, m.marks, m.put, m.putLater, m.protocol = nil, nil, 0, nil, 0
	defer func() { err = m.withCalls(err) }()
	defer leaving(&err)
	m.charge(64 * len(m.memo))
	for m.pos = pos; ; {
		if m.pos == o.cross {
			m.odd(CodeFrame, "an opcode is partly in a frame and partly behind it: Python's unpicklers differ in what they read, and no pickler writes it")
		}
		op, arg, next, err := m.w.next(m.pos)
		if err != nil {
			return nil, 0, err
		}
		if op == opStop {
			v := m.pop()
			if len(m.stack) > 0 || len(m.marks) > 0 {
				m.warn(CodeLeftover, "the pickle leaves values on its stack")
			}
			return v, end, nil
		}
		if op == opFrame && broken == nil {
			m.frame(arg, end-next)
		}
		if m.op = op; m.refused == 0 && !weightsOnly[op] {
			m.refused, m.refusedAt = op, m.w.place(m.pos)
		}
		m.step(op, arg)
		m.pos = next
	}
}

// budget returns what a pickle of some bytes may cost, which has as many persistent ids.
func (m *machine) budget(size, ids int) int {
	if m.w.perByte > 0 || m.meta || m.brief {
		return cmp.Or(m.w.perByte, mostPerByte) * size
	}
	return memoryPerByte*size + min(memoryPerTensor*ids, (mostPerByte-memoryPerByte)*size)
}

func (m *machine) push(v Value) {
	m.stack = roomFor(m, m.stack, 1, 16)
	m.stack = append(m.stack, v)
}

// fence returns the length below which the stack belongs to what is before the last mark.
func (m *machine) fence() int {
	if len(m.marks) == 0 {
		return 0
	}
	return m.marks[len(m.marks)-1]
}

func (m *machine) top() Value {
	if len(m.stack) <= m.fence() {
		m.fail(CodeStack, "the pickle takes a value from an empty stack")
	}
	return m.stack[len(m.stack)-1]
}

func (m *machine) pop() Value {
	v := m.top()
	m.stack[len(m.stack)-1] = nil
	m.stack = m.stack[:len(m.stack)-1]
	return v
}

// popMark returns the values above the last mark, which the caller may keep.
func (m *machine) popMark() (items []Value) {
	m.withMarked(func(marked []Value) { items = m.keep(marked) })
	return items
}

// withMarked takes the values above the last mark from the stack, for use alone.
func (m *machine) withMarked(use func(items []Value)) {
	if len(m.marks) == 0 {
		m.fail(CodeStack, "the pickle takes values down to a mark that is not there")
	}
	mark := m.fence()
	m.marks = m.marks[:len(m.marks)-1]
	items := m.stack[mark:]
	m.stack = m.stack[:mark]
	use(items)
	clear(items)
}

func (m *machine) keep(items []Value) []Value {
	m.charge(16 * len(items))
	return slices.Clone(items)
}

func (m *machine) tuple(n int) {
	if len(m.stack)-n < m.fence() {
		m.fail(CodeStack, "the pickle takes %d values from a stack of fewer", n)
	}
	items := m.stack[len(m.stack)-n:]
	t := m.newTuple(items)
	clear(items)
	m.stack = m.stack[:len(m.stack)-n]
	m.push(t)
}

// noArgs is the empty tuple, which as any tuple is not modified.
var noArgs = &List{Type: "tuple", spot: spot{held: true}}

func (m *machine) list(typ string, items []Value) {
	m.charge(40)
	m.push(&List{Type: typ, Items: items})
}

func (m *machine) text(s string) {
	m.charge(16 + len(s))
	m.push(s)
}

// A storageKey is the key of a storage in the list of them that a stream has, which would take as much as
// the storages if it were text again.
type storageKey struct{ of *Storage }

// bytesText is text for what is in the window.
func (m *machine) bytesText(b []byte) {
	if m.keys {
		if s := m.storages.findBytes(b); s != nil {
			m.toCome--
			m.push(storageKey{s})
			return
		}
	}
	m.charge(16 + len(b))
	if len(b) > piece {
		m.push(m.whole(b))
		return
	}
	m.push(m.room.text(b))
}

// whole returns what is in the window as a string. Of a long one brief keeps the beginning.
func (m *machine) whole(b []byte) string {
	if m.brief && len(b) > piece {
		b = b[:piece]
	}
	return m.w.own(b)
}

func (m *machine) frame(arg []byte, left int) {
	code := CodeTruncated
	if int64(m.frameEnd) < m.w.size {
		code = CodeFrame // and Python goes on behind the frame
	}
	if n := binary.LittleEndian.Uint64(arg); n > uint64(left) {
		m.odd(code, "a frame of %d bytes reaches past the end of the pickle", n)
	}
}

// odd reports what not every unpickler takes. Where a pickle is judged, what follows is, too: some
// other version may take it.
func (m *machine) odd(code Code, format string, args ...any) {
	if m.inner == nil {
		m.fail(code, format, args...)
	}
	if m.misread == nil {
		m.misread = newFault(code, m.w.place(m.pos), "", format, args...)
	}
}

// oddOperand is odd for an operand, of which some value is pushed.
func (m *machine) oddOperand(format string, args ...any) {
	m.odd(CodeOpcode, format, args...)
	m.charge(sizeOfObject)
	m.push(&Object{Class: "not read"})
}

// withCalls adds to the fault of a broken pickle what it calls before it breaks, apart
// from torch's own.
func (m *machine) withCalls(err error) error {
	flt, ok := err.(*Fault)
	if !ok {
		return err
	}
	var names []string
	for _, g := range m.order {
		if g.Calls > 0 && g.known == nil && len(names) < 3 {
			names = append(names, cut(g.String()))
		}
	}
	if len(names) > 0 {
		flt.Detail += "; before that it calls " + strings.Join(names, ", ")
	}
	return flt
}

func (m *machine) step(op byte, arg []byte) {
	switch op {
	case opProto:
		if arg[0] > maxProtocol {
			m.fail(CodeProtocol, "the pickle has protocol %d, and %d is the newest known", arg[0], maxProtocol)
		}
		m.protocol = arg[0]
	case opFrame:
	case opMark:
		m.marks = roomFor(m, m.marks, 1, 8)
		m.marks = append(m.marks, len(m.stack))
	case opPop:
		if len(m.marks) > 0 && len(m.stack) == m.fence() {
			m.marks = m.marks[:len(m.marks)-1]
		} else {
			m.pop()
		}
	case opPopMark:
		m.popMark()
	case opDup:
		if g, ok := m.top().(*Global); ok {
			g.pushed++
		}
		hold(m.top())
		m.push(m.top())

	case opNone:
		m.push(nil)
	case opNewTrue:
		m.push(true)
	case opNewFalse:
		m.push(false)
	case opBinInt:
		m.integer(int64(int32(binary.LittleEndian.Uint32(arg))))
	case opBinInt1:
		m.integer(int64(arg[0]))
	case opBinInt2:
		m.integer(int64(binary.LittleEndian.Uint16(arg)))
	case opInt:
		switch string(arg) { // protocol 0 has no other booleans
		case "00":
			m.push(false)
		case "01":
			m.push(true)
		default:
			m.digits(string(upToNUL(arg)), true)
		}
	case opLong:
		m.digits(string(upToNUL(bytes.TrimSuffix(arg, []byte("L")))), false)
	case opLong1, opLong4:
		m.long(arg)
	case opBinFloat:
		m.charge(8)
		m.push(math.Float64frombits(binary.BigEndian.Uint64(arg)))
	case opFloat:
		number := upToNUL(arg)
		f, err := strconv.ParseFloat(string(number), 64)
		if bytes.ContainsAny(number, "_xX") || err != nil && (len(number) > 400 || !errors.Is(err, strconv.ErrRange)) {
			m.oddOperand("%s is not a number", quote(arg))
			return
		}
		m.charge(8)
		m.push(f)

	case opString:
		s, ok := unquotePython(arg)
		if !ok {
			m.oddOperand("%s is not a string of Python", quote(arg))
			return
		}
		m.python2(s)
	case opBinString, opShortBinString:
		m.python2(string(arg))
	case opUnicode:
		s, ok := unescapeUnicode(arg)
		if !ok {
			m.oddOperand("%s is not a string in raw-unicode-escape", quote(arg))
			return
		}
		m.text(s)
	case opBinUnicode, opShortBinUnicode, opBinUnicode8:
		m.nested(arg)
		m.bytesText(arg)
	case opBinBytes, opShortBinBytes, opBinBytes8, opByteArray8:
		m.nested(arg)
		m.charge(16 + len(arg))
		m.push(Bytes(m.whole(arg)))
	case opReadonlyBuffer: // which leaves bytes as they are
		switch v := m.top(); v.(type) {
		case Bytes, *Object, *Global:
		default:
			m.odd(CodeOpcode, "the pickle makes %s read-only, which is not a buffer", repr(v))
		}
	case opNextBuffer:
		m.fail(CodeOpcode, "the pickle has buffers outside of it, which no checkpoint has")

	case opEmptyTuple:
		m.push(noArgs)
	case opTuple1:
		m.tuple(1)
	case opTuple2:
		m.tuple(2)
	case opTuple3:
		m.tuple(3)
	case opTuple:
		var t *List
		m.withMarked(func(items []Value) { t = m.newTuple(items) })
		m.push(t)
	case opEmptyList:
		m.list("list", nil)
	case opList:
		m.list("list", m.popMark())
	case opEmptySet:
		m.list("set", nil)
	case opFrozenSet:
		m.list("frozenset", m.popMark())
	case opAppend:
		v := m.pop()
		m.appendTo(m.top(), []Value{v})
	case opAppends, opAddItems:
		m.withMarked(func(items []Value) { m.appendTo(m.top(), items) })
	case opEmptyDict:
		m.charge(32)
		m.push(m.room.dict())
	case opDict:
		items := m.popMark()
		d := &Dict{}
		m.charge(32)
		m.push(d)
		m.setItems(d, items)
	case opSetItem:
		v := m.pop()
		k := m.pop()
		m.setItems(m.top(), []Value{k, v})
	case opSetItems:
		m.withMarked(func(items []Value) { m.setItems(m.top(), items) })

	case opPut, opBinPut, opLongBinPut:
		id, ok := memoID(op, arg)
		if !ok {
			m.odd(CodeOpcode, "the pickle memorises at %s, which is not a number", quote(arg))
			return
		}
		m.memorise(id)
	case opMemoize:
		m.memorise(m.put + uint64(len(m.putLater)))
	case opGet, opBinGet, opLongBinGet:
		id, ok := memoID(op, arg)
		if !ok {
			m.oddOperand("the pickle recalls %s, which is not a number", quote(arg))
			return
		}
		v, ok := m.memo[id]
		if !ok || v == (notSet{}) {
			m.fail(CodeMemo, "the pickle recalls entry %d of its memo before it is set", id)
		}
		if g, ok := v.(*Global); ok {
			g.pushed++
		}
		m.push(v)

	case opGlobal:
		m.push(m.global(lines(arg)))
	case opStackGlobal:
		name, module := m.pop(), m.pop()
		n, ok1 := name.(string)
		mod, ok2 := module.(string)
		if !ok1 && !mayBeText(name) || !ok2 && !mayBeText(module) {
			m.fail(CodeStack, "the pickle imports a name that is not a string")
		}
		if !ok1 {
			n = Computed
		}
		if !ok2 {
			mod = Computed
		}
		m.push(m.global(mod, n))
	case opExt1, opExt2, opExt4:
		id, _ := memoID(op, arg)
		m.push(m.global("copyreg", "extension "+strconv.FormatUint(id, 10)))
	case opInst:
		args := m.popMark()
		g := m.global(lines(arg))
		m.call(g, &List{Type: "tuple", Items: args})
	case opObj:
		args := m.popMark()
		if len(args) == 0 {
			m.fail(CodeStack, "the pickle makes an object of no class")
		}
		m.call(args[0], &List{Type: "tuple", Items: args[1:]})
	case opReduce, opNewObj:
		args := m.args(m.pop())
		callee := m.pop()
		m.call(callee, args)
		m.lent(callee, args)
	case opNewObjEx:
		named := m.pop()
		args := m.args(m.pop())
		m.call(m.pop(), args)
		if o, ok := m.top().(*Object); ok && o.Named == nil {
			o.Named = named
		}
	case opBuild:
		state := m.pop()
		m.build(m.top(), state)

	case opBinPersID:
		m.persist(m.pop())
	case opPersID:
		m.charge(24 * len(arg))
		m.persist(parsePersistentID(string(arg)))
	}
}

// mayBeText reports whether a value may be a string to Python: what a call makes that is not made here,
// or what is imported.
func mayBeText(v Value) bool {
	_, imported := v.(*Global)
	return imported || isObject(v)
}

func (m *machine) integer(n int64) {
	if n < 0 || n > 255 { // Go keeps smaller ones once
		m.charge(8)
	}
	m.push(m.room.integer(n))
}

// long pushes an integer in two's complement, the least byte first.
func (m *machine) long(arg []byte) {
	if len(arg) <= 8 {
		var raw [8]byte
		if len(arg) > 0 && arg[len(arg)-1] >= 0x80 {
			for i := range raw {
				raw[i] = 0xff
			}
		}
		copy(raw[:], arg)
		m.integer(int64(binary.LittleEndian.Uint64(raw[:])))
		return
	}
	m.charge(64 + 3*len(arg))
	big1 := slices.Clone(arg)
	slices.Reverse(big1)
	n := new(big.Int).SetBytes(big1)
	if arg[len(arg)-1] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(arg))))
	}
	if n.IsInt64() {
		m.integer(n.Int64())
		return
	}
	m.push(n)
}

// digits pushes an integer, with the prefixes of C and Python (Modules/_pickle.c): load_int
// takes 010 for 8, and load_long refuses it.
func (m *machine) digits(text string, octal bool) {
	if len(text) > maxDigits {
		m.odd(CodeLimit, "an integer has more than %d digits", maxDigits)
		text = "0"
	}
	text = strings.TrimSpace(text)
	n, ok := new(big.Int).SetString(text, 0)
	if digits := strings.TrimLeft(text, "+-"); len(digits) > 1 && digits[0] == '0' && digits[1] <= '9' && !octal && n != nil && n.Sign() != 0 {
		ok = false
	}
	switch {
	case !ok:
		m.oddOperand("%s is not an integer", quote(text))
	case n.IsInt64():
		m.integer(n.Int64())
	default:
		m.charge(64 + len(text))
		m.push(n)
	}
}

// parseInt is int() of Python: blanks around the digits do not count, nor does one underscore
// between two of them.
func parseInt(arg []byte) (int64, bool) {
	if len(arg) > maxDigits {
		return 0, false
	}
	text := strings.Trim(string(arg), " \t\n\v\f\r")
	if digits := strings.TrimLeft(text, "+-"); strings.HasPrefix(digits, "_") || strings.HasSuffix(digits, "_") || strings.Contains(digits, "__") {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, 64)
	return n, err == nil
}

// python2 pushes a string of Python 2, which is text where it can be: torch.load takes
// it for UTF-8.
func (m *machine) python2(s string) {
	m.nested([]byte(s))
	if utf8.ValidString(s) {
		m.text(s)
		return
	}
	m.charge(16 + len(s))
	m.push(Bytes(s))
}

// nested reports a string that is a pickle of its own, or a checkpoint.
func (m *machine) nested(s []byte) {
	what := nestedIn(s)
	if what == "" && slices.ContainsFunc(s, func(c byte) bool { return c >= utf8.RuneSelf }) { // protocol 2 writes bytes as text in Latin-1
		m.charge(len(s))
		if b, ok := latin1(string(s)); ok {
			what, s = nestedIn(b), b
		}
	}
	if what == "" {
		return
	}
	m.warn(CodeNestedPickle, "a string of %d bytes %s", len(s), what)
	if m.inner != nil {
		m.charge(2 * len(s))
		m.inner(slices.Clone(s))
	}
}

// nestedIn says what a string is that is a pickle or a checkpoint, "" for any other. An unpickler
// goes as far as STOP, and does not mind what is behind it.
func nestedIn(s []byte) string {
	switch {
	case len(s) < 4:
	case ziparchive.IsZip(s):
		return "begins as a zip archive does"
	case s[0] == opProto && s[1] >= 2 && s[1] <= maxProtocol:
		switch k := walk(s); {
		case bytes.HasPrefix(s[2:], magicOpcodes):
			return "begins as torch's old stream does"
		case s[1] >= 4 && s[2] == opFrame && !k.whole: // which unpicklers may differ about
			return "begins as a pickle in frames does"
		case k.whole && k.end < len(s):
			return fmt.Sprintf("begins with a pickle of %d", k.end)
		case k.whole:
			return "begins and ends as a pickle does"
		case k.imports: // which Python does before it finds no end
			return "begins as a pickle that imports a name"
		}
	case bytes.IndexByte(s, '\n') >= 0 || bytes.IndexByte(s, opStackGlobal) >= 0: // the opcodes that import
		if k := walk(s); k.whole && k.imports {
			return "is a pickle that imports a name"
		}
	}
	return ""
}

func lines(arg []byte) (module, name string) {
	module, name, _ = strings.Cut(string(arg), "\n")
	return module, name
}

func (m *machine) memorise(id uint64) {
	v := m.top()
	switch {
	case id == m.put:
		m.put++
		for m.putLater[m.put] {
			delete(m.putLater, m.put)
			m.put++
		}
	case id > m.put && !m.putLater[id]:
		if m.putLater == nil {
			m.putLater = map[uint64]bool{}
		}
		m.charge(32)
		m.putLater[id] = true
	}
	_, recalled := m.memo[id]
	if m.joblib && !recalled {
		m.charge(64)
	}
	if recalled || m.joblib {
		hold(v)
		m.memo[id] = v
	}
}

// fewItems is how many items brief keeps of a list or a dictionary.
const fewItems = 64

// kept is how many of some more items are kept beside those that there are.
func (m *machine) kept(have, more int) int {
	if !m.brief {
		return more
	}
	return max(0, min(more, fewItems-have))
}

func (m *machine) appendTo(target Value, items []Value) {
	var to *[]Value
	switch t := target.(type) {
	case *List:
		if t.Type != "tuple" && t.Type != "frozenset" {
			to = &t.Items
		}
	case *Object:
		to = &t.Items
	}
	if to != nil {
		items = items[:m.kept(len(*to), len(items))]
		*to = append(roomFor(m, *to, len(items), 16), items...)
		return
	}
	m.warn(CodeBadTarget, "the pickle appends to %s", repr(target))
}

// roomFor returns a list with room for more values of some bytes. It doubles the room, unless fewer
// tensors are to come, so that what is charged for all of them is at most a few times what they take.
func roomFor[T any](m *machine, list []T, more, size int) []T {
	if len(list)+more <= cap(list) {
		return list
	}
	room := max(len(list)+more, min(2*len(list), max(len(list)+more+m.toCome, len(list)+len(list)/2)))
	m.charge(size * room)
	return append(make([]T, 0, room), list...)
}

func (m *machine) setItems(target Value, flat []Value) {
	if len(flat)%2 != 0 {
		m.fail(CodeStack, "the pickle sets keys without a value")
	}
	var items *[]Item
	switch t := target.(type) {
	case *Dict:
		items = &t.Items
	case *Object:
		items = &t.Dict
	default:
		// CVE-2026-24747: weights_only took this for an assignment to an index.
		m.warn(CodeBadTarget, "the pickle sets keys in %s", repr(target))
		return
	}
	flat = flat[:2*m.kept(len(*items), len(flat)/2)]
	*items = roomFor(m, *items, len(flat)/2, 32)
	for i := 0; i < len(flat); i += 2 {
		*items = append(*items, Item{flat[i], flat[i+1]})
	}
}

func (m *machine) global(module, name string) *Global {
	module, name = today(m.protocol, module, name)
	key := [2]string{module, name}
	g := m.globals[key]
	if g == nil {
		// Where they are judged, those beyond are, too, as far as memory goes.
		if len(m.order) == maxGlobals && m.inner == nil {
			m.fail(CodeLimit, "the pickle imports more than %d names", maxGlobals)
		}
		m.charge(400 + len(module) + len(name))
		g = &Global{Module: module, Name: name, Offset: m.w.place(m.pos)}
		name := g.String()
		g.known, g.lends, g.meta = known[name], lending[name], metaClasses[name]
		m.globals[key] = g
		m.order = append(m.order, g)
	}
	g.pushed++
	return g
}

// attribute returns what getattr of a name and a string is: another name. The getattr itself says no
// more then, unless it is used in other ways.
func (m *machine) attribute(g *Global, args []Value) (*Global, bool) {
	if g.Module != "builtins" || g.Name != "getattr" || len(args) != 2 {
		return nil, false
	}
	of, ok := args[0].(*Global)
	name, isText := args[1].(string)
	if !ok || !isText || !isName(name) || m.op != opReduce {
		return nil, false
	}
	out := m.global(of.Module, of.Name+"."+name)
	if out.Of == nil && out.pushed == 1 {
		out.Of = of
	}
	g.taken++
	return out, true
}

// imported are the names that the pickle imports, without a getattr that only found others.
func (m *machine) imported() []*Global {
	return slices.DeleteFunc(slices.Clone(m.order), func(g *Global) bool { return g.taken > 0 && g.taken == g.pushed })
}

func (m *machine) args(v Value) *List {
	if l, ok := v.(*List); ok && l.Type == "tuple" {
		return l
	}
	m.warn(CodeBadTarget, "the pickle makes a call with %s for arguments", repr(v))
	return &List{Type: "tuple"}
}

// call pushes what a call, or a new object of a class, results in.
func (m *machine) call(callee Value, args *List) {
	if m.depth++; m.depth > maxCalls {
		m.fail(CodeDepth, "the pickle makes calls in calls, more than %d deep", maxCalls)
	}
	defer func() { m.depth-- }()
	if g, ok := callee.(*Global); ok {
		if !g.lends {
			m.charge(64)
		}
		if v, ok := m.attribute(g, args.Items); ok {
			m.push(v)
			return
		}
		m.called(g)
		if g.known != nil {
			if v, ok := g.known(m, g, args.Items); ok {
				if args.held && len(args.Items) > 0 {
					hold(v) // it may be a part of them
				}
				m.push(v)
				return
			}
		}
	} else if o, ok := callee.(*Object); !ok {
		m.warn(CodeBadTarget, "the pickle calls %s", repr(callee))
	} else {
		m.warn(CodeCalledResult, "the pickle calls %s, which it makes itself: what that does is up to what made it", repr(o))
		if g, ok := o.Class.(*Global); ok {
			m.called(g) // its __call__
		}
	}
	m.charge(sizeOfObject)
	o := m.room.object()
	o.Class, o.Args = callee, args
	m.push(o)
}

// called counts a call of a global.
func (m *machine) called(g *Global) {
	if g.Calls++; g.Calls == 1 {
		g.Call = Call{opcodeNames[m.op], m.w.place(m.pos)}
	}
}

// build gives an object its state.
func (m *machine) build(target, state Value) {
	switch t := target.(type) {
	case *Object:
		if g, ok := t.Class.(*Global); ok {
			m.called(g) // its __setstate__
			if m.meta && m.compact(t, g, state) {
				return
			}
		}
		t.addState(m, state)
		m.wrapped = m.wrapped || wrapper(t) != nil
		if g, ok := t.Class.(*Global); ok && g.Module == "torch" && strings.HasSuffix(g.Name, "Tensor") {
			if made, ok := m.setTensor(state); ok {
				t.tensor = m.mark(made)
			}
		}
	case *Tensor:
		m.set(t, state)
	case *Dict: // _metadata of a state dict; tensors in it are in no part of what is listed
		m.setApart(t, "", state)
	default:
		m.warn(CodeBadTarget, "the pickle sets the state of %s", repr(target))
	}
}

// addState gives an object one more state.
func (o *Object) addState(m *machine, state Value) {
	if o.State != nil {
		o.Earlier = roomFor(m, o.Earlier, 1, 16)
		o.Earlier = append(o.Earlier, o.State)
	}
	o.State = state
}

// setTensor makes a tensor of the state of one: Tensor.__setstate__ (torch/_tensor.py) sets its
// storage, offset, size and stride to what four values are.
func (m *machine) setTensor(state Value) (*Tensor, bool) {
	l, ok := state.(*List)
	if !ok || len(l.Items) != 4 {
		return nil, false
	}
	return m.tensor(l.Items[0], l.Items[1], l.Items[2], l.Items[3], "")
}

// set gives a tensor a state, which torch writes for a subclass: what it knows beside its data.
// torch.load takes another for a new storage, with weights_only, too (_weights_only_unpickler.py).
func (m *machine) set(t *Tensor, state Value) {
	if l, ok := state.(*List); !ok || len(l.Items) != 4 {
		t.Layout = m.stated(t.Layout, state)
		return
	}
	made, ok := m.setTensor(state)
	if !ok {
		return
	}
	m.warn(CodeBadTarget, "the pickle gives a tensor another storage than it was made of")
	t.Layout = m.stated(m.classed(made.Layout, t.Class), t.attrs)
	t.Offset, t.Storage = made.Offset, made.Storage
}

// states is the type of a list of the states that a tensor is given one after the other.
const states = "states"

// withState adds a state to what a tensor has already.
func (m *machine) withState(have, state Value) Value {
	if have == nil || state == nil {
		return cmp.Or(have, state)
	}
	all := &List{Type: states}
	if l, ok := have.(*List); ok && l.Type == states {
		all.Items = l.Items // which another tensor may have as well
	} else {
		all.Items = []Value{have}
	}
	m.charge(40 + 16*(len(all.Items)+1))
	all.Items = append(slices.Clip(all.Items), state)
	return all
}

// mark notes a tensor that is made of a storage, so that none is lost without a word.
func (m *machine) mark(t *Tensor) *Tensor {
	if t.Storage != nil {
		t.made = int32(m.pos) // at most maxPickle, and not 0
	}
	return t
}

// copyOf returns a tensor of the elements of another one.
func (m *machine) copyOf(t *Tensor) *Tensor {
	m.charge(sizeOfTensor)
	made := *t
	made.placed, t.placed = false, true
	out := m.mark(m.room.tensor(made))
	if n := len(m.apart); n > 0 && m.apart[n-1].of == t {
		m.setApart(out, m.apart[n-1].key, m.apart[n-1].v)
	}
	return out
}

// An apart value is one with tensors that is an attribute of what has none that are listed: of a dictionary, or
// as hooks of a tensor.
type apart struct {
	of  Value
	key string
	v   Value
}

// setApart notes an attribute, if there is a tensor in it.
func (m *machine) setApart(of Value, key string, v Value) {
	if m.brief {
		return
	}
	const some, deep = 10_000, 8
	left := some
	var has func(v Value, depth int) bool
	has = func(v Value, depth int) bool {
		if left--; left < 0 || depth == 0 {
			return false
		}
		if isTensor(v) {
			return true
		}
		for _, child := range children(v) {
			if has(child, depth-1) {
				return true
			}
		}
		return false
	}
	if has(v, deep) {
		m.charge(64)
		m.apart = append(m.apart, apart{of, key, v})
	}
	m.charge(perStep / 2 * (some - max(left, 0))) // for the time it takes
}

// stated is a layout with one state more.
func (m *machine) stated(l *Layout, state Value) *Layout {
	if state == nil {
		return l
	}
	return m.with(l, func(l *Layout) { l.attrs = m.withState(l.attrs, state) })
}

// unquotePython returns the value of a string literal of Python 2 as protocol 0 has it.
func unquotePython(b []byte) (string, bool) {
	if len(b) < 2 || b[0] != b[len(b)-1] || b[0] != '\'' && b[0] != '"' {
		return "", false
	}
	b = b[1 : len(b)-1]
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			out = append(out, b[i])
			continue
		}
		if i++; i == len(b) {
			return "", false
		}
		switch c := b[i]; {
		case c == 'x':
			n, ok := hex(b[i+1:], 2)
			if !ok {
				return "", false
			}
			out = append(out, byte(n))
			i += 2
		case c >= '0' && c <= '7':
			n, digits := 0, 0
			for ; digits < 3 && i < len(b) && b[i] >= '0' && b[i] <= '7'; digits++ {
				n = n<<3 | int(b[i]-'0')
				i++
			}
			i--
			out = append(out, byte(n))
		case strings.IndexByte(`\'"abfnrtv`, c) >= 0:
			out = append(out, "\\'\"\a\b\f\n\r\t\v"[strings.IndexByte(`\'"abfnrtv`, c)])
		default:
			out = append(out, '\\', c)
		}
	}
	return string(out), true
}

// unescapeUnicode decodes raw-unicode-escape: Latin-1 with \u and \U.
func unescapeUnicode(b []byte) (string, bool) {
	var out strings.Builder
	for i := 0; i < len(b); i++ {
		digits := 0
		if b[i] == '\\' && i+1 < len(b) {
			switch b[i+1] {
			case 'u':
				digits = 4
			case 'U':
				digits = 8
			}
		}
		if digits == 0 {
			out.WriteRune(rune(b[i]))
			if b[i] == '\\' && i+1 < len(b) { // a second backslash begins no escape
				i++
				out.WriteRune(rune(b[i]))
			}
			continue
		}
		n, ok := hex(b[i+2:], digits)
		if !ok || n > utf8.MaxRune {
			return "", false
		}
		out.WriteRune(rune(n))
		i += 1 + digits
	}
	return out.String(), true
}

func hex(b []byte, n int) (uint32, bool) {
	if len(b) < n {
		return 0, false
	}
	v, err := strconv.ParseUint(string(b[:n]), 16, 32)
	return uint32(v), err == nil
}
