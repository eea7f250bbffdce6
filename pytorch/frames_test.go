package pytorch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	tt "github.com/wtinspect/wtinspect/internal/torchtest"
)

// A cReader reads as the unpickler in C does from a file without peek (Modules/_pickle.c): Unpickler.input_buffer and
// what is done with it, and no more.
type cReader struct {
	file   []byte // of what is not read yet
	buffer []byte // of what is
	joined bool   // _Unpickler_ReadInto, since 3.8
}

var errExhausted = errors.New("pickle data was truncated")

func (r *cReader) read(n uint64) ([]byte, error) {
	if n <= uint64(len(r.buffer)) {
		b := r.buffer[:n]
		r.buffer = r.buffer[n:]
		return b, nil
	}
	r.buffer = nil // _Unpickler_SetStringInput replaces it
	if n > uint64(len(r.file)) {
		return nil, errExhausted
	}
	b := r.file[:n]
	r.file = r.file[n:]
	return b, nil
}

func (r *cReader) line() ([]byte, error) {
	from := &r.buffer
	i := bytes.IndexByte(r.buffer, '\n')
	if i < 0 {
		r.buffer = nil
		from = &r.file
		if i = bytes.IndexByte(r.file, '\n'); i < 0 {
			return nil, errExhausted
		}
	}
	b := (*from)[:i+1]
	*from = (*from)[i+1:]
	return b, nil
}

// next returns an opcode with all that belongs to it.
func (r *cReader) next() (out []byte, err error) {
	take := func(n uint64) (b []byte) {
		if err == nil {
			b, err = r.read(n)
			out = append(out, b...)
		}
		return b
	}
	b := take(1)
	if err != nil {
		return out, err
	}
	kind := opcodes[b[0]]
	switch op := b[0]; {
	case !kind.known:
		return out, errExhausted
	case kind.lines > 0:
		for range kind.lines {
			b, lineErr := r.line()
			if lineErr != nil {
				return out, lineErr
			}
			out = append(out, b...)
		}
	case op == opFrame:
		if b := take(8); err == nil {
			n := binary.LittleEndian.Uint64(b)
			if have := uint64(len(r.buffer) + len(r.file)); n >= have {
				n = have // the unpickler in Python takes what there is
			}
			if n > uint64(len(r.buffer)) {
				r.buffer = nil
				n = min(n, uint64(len(r.file)))
			}
			var frame []byte
			if frame, err = r.read(n); err == nil {
				r.buffer = append(slices.Clone(frame), r.buffer...)
			}
		}
	case kind.length > 0:
		n := littleEndian(take(uint64(kind.length)))
		switch {
		case err != nil:
		case r.joined && strings.IndexByte("BC\x8e\x96", op) >= 0 && n > uint64(len(r.buffer)):
			first := r.buffer
			r.buffer = nil
			out = append(out, first...)
			take(n - uint64(len(first)))
		default:
			take(n)
		}
	default:
		take(uint64(kind.bytes))
	}
	return out, err
}

// TestReadings compares what is read of random frames with what a model of the unpickler reads.
func TestReadings(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	parts := []string{
		"N", "0", "K\x01", "M\x00\x00", "J\x00\x00\x00\x00", "I5\n", "cos\nsystem\n", "\x8c\x04abcd", "X\x02\x00\x00\x00ab", "C\x03xyz", "B\x02\x00\x00\x00ab",
		"\x8e\x02\x00\x00\x00\x00\x00\x00\x00ab", "g1\n", "\x94", "]",
	}
	differ := 0
	for range 20_000 {
		b := []byte("\x80\x04")
		for range 1 + r.IntN(8) {
			if r.IntN(3) == 0 {
				b = append(append(b, opFrame), le64(uint64(r.IntN(20)))...)
			}
			b = append(b, parts[r.IntN(len(parts))]...)
		}
		b = append(b, "..N.N."...)
		for _, joined := range []bool{true, false} {
			c := &cReader{file: b, joined: joined}
			var want []byte
			for {
				op, err := c.next()
				if err != nil {
					break
				}
				want = append(want, op...)
				if op[0] == opStop {
					break
				}
			}
			g, taken, err := (&window{r: bytes.NewReader(b), size: int64(len(b))}).framed(0, joined)
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			for pos := 0; ; {
				op, _, next, err := g.w.next(pos)
				if err != nil {
					break
				}
				piece, _ := g.w.view(pos, next-pos)
				got = append(got, piece...)
				if pos = next; op == opStop {
					if left := len(b) - len(c.file); int(taken) != left {
						t.Fatalf("%q: %d bytes are taken, want %d", b, taken, left)
					}
					break
				}
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%q, %v: read %q, want %q", b, joined, got, want)
			}
			if len(g.drops) > 0 {
				differ++
				if o, _ := (&window{buf: b, size: int64(len(b))}).skim(0); o.cross < 0 {
					t.Fatalf("%q: no opcode crosses a frame", b)
				}
			}
		}
	}
	if differ < 1000 {
		t.Errorf("%d readings differ", differ)
	}
}

// hidden is a pickle whose string is opcodes to an unpickler that drops the rest of a frame: to it 0x8c is
// the second byte of BININT2.
func hidden(opcodes, rest string) string {
	opcodes = "0" + opcodes
	for len(opcodes) < 0x4e-1 {
		opcodes += "N0"
	}
	opcodes += "\x85"[:0x4e-len(opcodes)]
	return "\x80\x04\x95" + le64(2) + "M\x00\x00\x8cN" + opcodes + rest
}

// TestFrames judges pickles that unpicklers differ about: whatever one of them imports is found, and the file
// is not listed.
func TestFrames(t *testing.T) {
	const rest = "00}."
	crossing := func(opcodes string) string { return "\x80\x04\x95" + le64(1) + opcodes }
	behind := "\x80\x04\x95" + le64(40) + "N." + "\x80\x02N." + strings.Repeat(".", 34) + "\x80\x02" + aCall + "."
	for _, test := range []struct {
		name, pickle string
		found        bool
		code         Code // of the fault that it has, "" for none
	}{
		{"a string", hidden(aCall, rest), true, CodeFrame},
		{"nothing", hidden("N", rest), false, CodeFrame},
		{"a line", "\x80\x04\x95" + le64(3) + "cxy\nz\n0X\x20\x00\x00\x00" + "N", false, CodeFrame},
		{"a name behind a line", "\x80\x04\x95" + le64(2) + "Vxos\nVsystem\n\x93)R.", true, CodeFrame},
		{"bytes", crossing("C\x00N" + aCall + "."), true, ""},
		{"bytes of two frames", "\x80\x04\x95" + le64(3) + "C\x04ab." + "\x00" + aCall + ".", true, CodeFrame},
		{"a call in what is bytes since Python 3.8", "\x80\x04\x95" + le64(3) + "C\x02ab" + strings.SplitN(hidden(aCall, rest), "M\x00\x00", 2)[1], true, CodeFrame},
		{"an argument that begins with a frame", "\x80\x04\x95" + le64(1) + "K\x01" + aCall + ".", true, ""},
		{"a frame in a frame", "\x80\x04\x95" + le64(uint64(10+len(aCall)+2)) + "\x95" + le64(1) + "N" + aCall + "0.", true, ""},
		{"a frame beyond the end", "\x80\x04\x95" + le64(1<<40) + aCall + ".", true, CodeTruncated},
		{"a frame beyond STOP", "\x80\x04\x95" + le64(uint64(len(aCall))+2) + aCall + ".NN", true, CodeFrame},
		{"a pickle behind the frame", behind, true, CodeFrame},
	} {
		t.Run(test.name, func(t *testing.T) {
			for container, data := range map[string][]byte{
				"archive": archived(test.pickle), "pickle": []byte(test.pickle),
				"stream": []byte(string(tt.File{Root: 1, Protocol: 2}.Legacy())[:15] + "\x80\x02M\xe9\x03.\x80\x02}." + test.pickle + "\x80\x02]."),
				"bytes":  archived("\x80\x03B" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(test.pickle)))) + test.pickle + "."),
			} {
				list, err := Programs(bytes.NewReader(data), int64(len(data)))
				if err != nil {
					t.Fatal(err)
				}
				if found := calls(list, "os.system"); found != test.found {
					t.Errorf("%s: os.system is found: %v, want %v", container, found, test.found)
				}
				if !slices.ContainsFunc(list, func(p Program) bool {
					f, ok := p.Err.(*Fault)
					return ok && f.Code == test.code || test.code == ""
				}) {
					t.Errorf("%s: no %s: %+v", container, test.code, list)
				}
			}
			f, err := NewFile(bytes.NewReader(archived(test.pickle)), int64(len(archived(test.pickle))))
			if flt, ok := err.(*Fault); test.code != "" && (!ok || flt.Code != test.code) || test.code == "" && err != nil {
				t.Errorf("%v, %v, want %s", f, err, test.code)
			}
		})
	}
}

// calls reports whether pickles call a name.
func calls(list []Program, name string) bool {
	return slices.ContainsFunc(list, func(p Program) bool {
		return slices.ContainsFunc(p.Globals, func(g *Global) bool { return g.String() == name && g.Calls > 0 })
	})
}

// TestOddOperands: an operand that some unpickler takes ends no judgement. What each takes is said beside it: C for
// Modules/_pickle.c, P for Lib/pickle.py, neither for other versions than those of today.
func TestOddOperands(t *testing.T) {
	for _, operand := range []string{
		"I5\x00junk\n", "I\x00\n", "L5\x00L\n", "L5\x00junkL\n", "F1.5\x00\n", "F1.5\x00x\n", "p3\x00\n", "p3\x00junk\ng3\n0", // C
		"F 1.5\n", "F1.5 \n", "F1_0.5\n", "F1.5\r\n", "p99999999999999999999\n", // P
		"I1_0\n", "L1_0L\n", "I 5\n", "I5 \n", "L 5 L\n", "I0x10\n", "I-0x1F\n", "I0b11\n", "p 7\n", "p1_1\n", // both
		"I\n", "Ifive\n", "L\n", "F\n", "F1d5\n", "S'a\n", "V\\u12\n", "L" + strings.Repeat("9", 5000) + "L\n", "L0x" + strings.Repeat("f", 5000) + "L\n", // neither
	} {
		pickle := "\x80\x02N" + operand + "0" + aCall + "."
		data := archived(pickle)
		list, err := Programs(bytes.NewReader(data), int64(len(data)))
		if err != nil || !calls(list, "os.system") {
			t.Errorf("%.40q: os.system is not found: %v, %+v", operand, err, list)
		}
	}
}
