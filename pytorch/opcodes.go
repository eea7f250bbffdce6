package pytorch

import (
	"bytes"
	"errors"
	"io"
	"unsafe"
)

const (
	// maxPickle bounds a pickle. One takes some 150 bytes per tensor.
	maxPickle = 256 << 20
	// maxLine bounds the operand of an opcode of protocol 0, which ends with its line.
	maxLine = 1 << 20
	// maxProtocol is the newest pickle protocol (PEP 574).
	maxProtocol = 5
)

// The opcodes, named as in Lib/pickletools.py.
const (
	opMark           = '('
	opStop           = '.'
	opPop            = '0'
	opPopMark        = '1'
	opDup            = '2'
	opFloat          = 'F'
	opInt            = 'I'
	opBinInt         = 'J'
	opBinInt1        = 'K'
	opLong           = 'L'
	opBinInt2        = 'M'
	opNone           = 'N'
	opPersID         = 'P'
	opBinPersID      = 'Q'
	opReduce         = 'R'
	opString         = 'S'
	opBinString      = 'T'
	opShortBinString = 'U'
	opUnicode        = 'V'
	opBinUnicode     = 'X'
	opAppend         = 'a'
	opBuild          = 'b'
	opGlobal         = 'c'
	opDict           = 'd'
	opEmptyDict      = '}'
	opAppends        = 'e'
	opGet            = 'g'
	opBinGet         = 'h'
	opInst           = 'i'
	opLongBinGet     = 'j'
	opList           = 'l'
	opEmptyList      = ']'
	opObj            = 'o'
	opPut            = 'p'
	opBinPut         = 'q'
	opLongBinPut     = 'r'
	opSetItem        = 's'
	opTuple          = 't'
	opEmptyTuple     = ')'
	opSetItems       = 'u'
	opBinFloat       = 'G'

	opProto    = '\x80' // protocol 2
	opNewObj   = '\x81'
	opExt1     = '\x82'
	opExt2     = '\x83'
	opExt4     = '\x84'
	opTuple1   = '\x85'
	opTuple2   = '\x86'
	opTuple3   = '\x87'
	opNewTrue  = '\x88'
	opNewFalse = '\x89'
	opLong1    = '\x8a'
	opLong4    = '\x8b'

	opBinBytes      = 'B' // protocol 3
	opShortBinBytes = 'C'

	opShortBinUnicode = '\x8c' // protocol 4
	opBinUnicode8     = '\x8d'
	opBinBytes8       = '\x8e'
	opEmptySet        = '\x8f'
	opAddItems        = '\x90'
	opFrozenSet       = '\x91'
	opNewObjEx        = '\x92'
	opStackGlobal     = '\x93'
	opMemoize         = '\x94'
	opFrame           = '\x95'

	opByteArray8     = '\x96' // protocol 5
	opNextBuffer     = '\x97'
	opReadonlyBuffer = '\x98'
)

// weightsOnly are the opcodes that torch.load carries out with weights_only
// (_weights_only_unpickler.py, Unpickler._load).
var weightsOnly = func() (table [256]bool) {
	for _, c := range []byte("\x80\x81cRbaesu(t)\x85\x86\x87N\x88\x89]}\x8fJKMGXU\x8aQhjqr.") {
		table[c] = true
	}
	return table
}()

// opcodeNames are those of the opcodes that call something, or that weights_only refuses, as in
// Lib/pickletools.py.
var opcodeNames = map[byte]string{
	opReduce: "REDUCE", opNewObj: "NEWOBJ", opNewObjEx: "NEWOBJ_EX", opInst: "INST", opObj: "OBJ", opBuild: "BUILD",
	opPop: "POP", opPopMark: "POP_MARK", opDup: "DUP", opFloat: "FLOAT", opInt: "INT", opLong: "LONG", opLong4: "LONG4",
	opPersID: "PERSID", opString: "STRING", opBinString: "BINSTRING", opUnicode: "UNICODE", opDict: "DICT", opList: "LIST",
	opGet: "GET", opPut: "PUT", opExt1: "EXT1", opExt2: "EXT2", opExt4: "EXT4", opBinBytes: "BINBYTES",
	opShortBinBytes: "SHORT_BINBYTES", opShortBinUnicode: "SHORT_BINUNICODE", opBinUnicode8: "BINUNICODE8",
	opBinBytes8: "BINBYTES8", opAddItems: "ADDITEMS", opFrozenSet: "FROZENSET", opStackGlobal: "STACK_GLOBAL",
	opMemoize: "MEMOIZE", opFrame: "FRAME", opByteArray8: "BYTEARRAY8", opNextBuffer: "NEXT_BUFFER",
	opReadonlyBuffer: "READONLY_BUFFER",
}

func opcodeName(op byte) string { return opcodeNames[op] }

// operands says what follows an opcode: that many bytes, a line, two lines, or a length
// of that many bytes and as many bytes as it says.
type operands struct {
	known       bool
	bytes       uint8
	lines       uint8
	length      uint8
	lengthIsInt bool // the length is signed
}

var opcodes = func() (table [256]operands) {
	for _, c := range []byte("(.012NQRabd}elo)]stu\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98") {
		table[c] = operands{known: true}
	}
	for c, n := range map[byte]uint8{
		opBinInt: 4, opBinInt1: 1, opBinInt2: 2, opBinFloat: 8, opProto: 1, opExt1: 1, opExt2: 2, opExt4: 4,
		opBinGet: 1, opLongBinGet: 4, opBinPut: 1, opLongBinPut: 4, opFrame: 8,
	} {
		table[c] = operands{known: true, bytes: n}
	}
	for c, n := range map[byte]uint8{
		opFloat: 1, opInt: 1, opLong: 1, opPersID: 1, opString: 1, opUnicode: 1, opGet: 1, opPut: 1, opGlobal: 2, opInst: 2,
	} {
		table[c] = operands{known: true, lines: n}
	}
	for c, n := range map[byte]uint8{
		opShortBinString: 1, opShortBinUnicode: 1, opShortBinBytes: 1, opLong1: 1, opBinString: 4, opLong4: 4,
		opBinUnicode: 4, opBinBytes: 4, opBinUnicode8: 8, opBinBytes8: 8, opByteArray8: 8,
	} {
		table[c] = operands{known: true, length: n, lengthIsInt: c == opBinString || c == opLong4}
	}
	return table
}()

// A window is a run of bytes of which a piece is in memory at a time: a pickle may have megabytes.
type window struct {
	r         io.ReaderAt // nil where all of the run is in buf
	off, size int64       // of the run in r
	buf       []byte      // the bytes from at on
	at        int
	skims     bool  // long operands are not read
	base      int64 // of the run in the file, -1 when it is not stored there in one piece
	perByte   int   // what a byte of it may cost in memory, 0 where the machine says
}

// piece is how much of a window is read at once.
const piece = 64 << 10

var errEnd = errors.New("the end of the window")

// view returns n bytes of the run, which are valid until the window is used again. It fails with
// errEnd when the run ends before them.
func (w *window) view(pos, n int) ([]byte, error) {
	if i := pos - w.at; i >= 0 && i+n <= len(w.buf) {
		return w.buf[i : i+n : i+n], nil
	}
	if int64(pos) > w.size || int64(n) > w.size-int64(pos) || w.r == nil {
		return nil, errEnd
	}
	want := int(min(w.size-int64(pos), max(int64(n), piece)))
	buf := w.buf[:0]
	if cap(buf) < want || cap(buf) > 2*max(want, piece) { // what was large is let go of
		buf = make([]byte, want)
	}
	buf = buf[:want]
	w.buf = nil // unless it can be read
	if err := readFull(w.r, buf, w.off+int64(pos)); err != nil {
		return nil, err
	}
	w.buf, w.at = buf, pos
	return buf[:n:n], nil
}

// own returns bytes of the last view as a string, for good. Long ones are not copied: the window reads into
// others from then on.
func (w *window) own(b []byte) string {
	if w.r == nil || len(b) <= piece {
		return string(b)
	}
	w.buf = nil
	return unsafe.String(&b[0], len(b))
}

// from returns the rest of the run.
func (w *window) from(at int64) *window {
	rest := &window{r: w.r, off: w.off + at, size: w.size - at, base: -1}
	if w.base >= 0 {
		rest.base = w.base + at
	}
	if w.r == nil {
		rest.buf = w.buf[at:]
	}
	return rest
}

// place returns where a byte of the window is in the file.
func (w *window) place(pos int) int64 {
	if w.base < 0 {
		return -1
	}
	return w.base + int64(pos)
}

func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// next returns the opcode at pos, its operand without the length and the last newline,
// and where the next opcode is. The operand is valid until the window is used again.
func (w *window) next(pos int) (op byte, arg []byte, end int, err error) {
	if pos >= maxPickle {
		return 0, nil, 0, newFault(CodeLimit, w.place(pos), "", "the pickle is longer than %d bytes", maxPickle)
	}
	b, err := w.view(pos, 1)
	if err != nil {
		return w.broken(pos, err)
	}
	op = b[0]
	kind := &opcodes[op]
	if !kind.known {
		return 0, nil, 0, newFault(CodeOpcode, w.place(pos), "", "%#02x is not an opcode of a pickle", op)
	}
	start := pos + 1
	if kind.lines > 0 {
		arg, err := w.lines(start, int(kind.lines))
		if err != nil {
			return w.broken(pos, err)
		}
		return op, arg[:len(arg)-1], start + len(arg), nil
	}
	n := uint64(kind.bytes)
	if kind.length > 0 {
		b, err := w.view(start, int(kind.length))
		if err != nil {
			return w.broken(pos, err)
		}
		n = littleEndian(b)
		start += int(kind.length)
		if kind.lengthIsInt && n >= 1<<31 {
			return 0, nil, 0, newFault(CodeOpcode, w.place(pos), "", "opcode %#02x has a negative length", op)
		}
	}
	if n > uint64(max(w.size-int64(start), 0)) {
		return w.broken(pos, errEnd)
	}
	if n > maxPickle-uint64(start) {
		return 0, nil, 0, newFault(CodeLimit, w.place(pos), "", "the pickle is longer than %d bytes", maxPickle)
	}
	end = start + int(n)
	if n > 0 && !(w.skims && n > piece) {
		if arg, err = w.view(start, int(n)); err != nil {
			return w.broken(pos, err)
		}
	}
	return op, arg, end, nil
}

// broken is what next returns where the run ends in the opcode at pos, or cannot be read.
func (w *window) broken(pos int, err error) (byte, []byte, int, error) {
	if err == errEnd {
		err = newFault(CodeTruncated, w.place(pos), "", "the pickle ends without STOP")
	}
	return 0, nil, 0, err
}

// lines returns n lines, with what ends them.
func (w *window) lines(start, n int) ([]byte, error) {
	end, from := 0, 0 // of the lines that are found, and of what is searched
	for want := 64; ; want = min(2*want, 2*maxLine) {
		b, err := w.view(start, int(min(int64(want), max(w.size-int64(start), 0))))
		if err != nil {
			return nil, err
		}
		for {
			i := bytes.IndexByte(b[from:], '\n')
			if i < 0 {
				break
			}
			from += i + 1
			end = from
			if n--; n == 0 {
				return b[:end], nil
			}
		}
		switch from = len(b); {
		case from > maxLine:
			return nil, newFault(CodeLimit, w.place(start), "", "a line is longer than %d bytes", maxLine)
		case int64(start+from) >= w.size:
			return nil, errEnd
		}
	}
}

// notSet marks a memo entry that is recalled somewhere and not memorised yet.
type notSet struct{}

// An outline is what a walk over the opcodes of a pickle tells before they are carried out.
type outline struct {
	end int // of the pickle, or where it breaks
	// memo has an entry for what the pickle recalls, and for nothing else: torch memorises some nine values
	// per tensor and recalls almost none.
	memo  map[uint64]Value
	ids   int // persistent ids, of which each tensor takes one
	cross int // the first opcode that is partly in a frame and partly behind it, -1 for none
	frame int // where the last frame ends
}

// skim walks over the opcodes of the pickle at pos without carrying them out.
func (w *window) skim(pos int) (o outline, err error) {
	o = outline{memo: map[uint64]Value{}, cross: -1}
	w.skims = true
	defer func() { w.skims = false }()
	for {
		op, arg, next, err := w.next(pos)
		if o.frame > pos && o.cross < 0 && (err != nil || next > o.frame || op == opFrame) {
			if _, ok := w.crossing(pos, o.frame, false); ok {
				o.cross = pos
			}
			op, arg, next, err = w.next(pos) // the window was used
		}
		o.end = pos
		if err != nil {
			return o, err
		}
		switch op {
		case opGet, opBinGet, opLongBinGet:
			if id, ok := memoID(op, arg); ok {
				o.memo[id] = notSet{}
			}
		case opPersID, opBinPersID:
			o.ids++
		case opFrame:
			o.frame = max(o.frame, w.frameEnd(arg, next))
		case opStop:
			o.end = next
			return o, nil
		}
		pos = next
	}
}

// memoID returns the operand of GET, PUT and their binary forms.
func memoID(op byte, arg []byte) (uint64, bool) {
	if op == opGet || op == opPut {
		n, ok := parseInt(upToNUL(arg))
		return uint64(n), ok && n >= 0
	}
	return littleEndian(arg), true
}

// upToNUL returns what the unpickler in C takes of a number in text: a string of C ends there.
func upToNUL(line []byte) []byte {
	line, _, _ = bytes.Cut(line, []byte{0})
	return line
}

func littleEndian(b []byte) (n uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		n = n<<8 | uint64(b[i])
	}
	return n
}
