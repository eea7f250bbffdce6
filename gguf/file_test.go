package gguf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// vocabulary returns a header with a string array of about the given size, whose strings
// fall across every place where the scanner's window may end.
func vocabulary(size int) []byte {
	var elems []byte
	var n uint64
	for len(elems) < size {
		s := fmt.Sprintf("%d%s", n, strings.Repeat("x", int(n%23)))
		elems = append(elems, le(str(s))...)
		n++
	}
	return le(head(1, 5),
		kv("before", TypeUint32, uint32(1)),
		kv("tokens", TypeArray, array(TypeString, n, elems)),
		kv("long", TypeString, str(strings.Repeat("y", 300<<10))),
		kv("numbers", TypeArray, array(TypeUint8, 80<<10, zeros(80<<10))),
		kv("after", TypeUint32, uint32(2)),
		info("w", F32, 0, 8), align(32), zeros(32))
}

// TestLargeHeader has headers that are smaller than the window and larger, and arrays that are
// held and that stay in the file.
func TestLargeHeader(t *testing.T) {
	for _, size := range []int{
		100, maxHeld - 100, maxHeld - 12, maxHeld, maxHeld + 100,
		windowSize - maxHeld, windowSize - 100, windowSize, 4*windowSize + 1,
	} {
		b := vocabulary(size)
		f := open(t, b)
		compare(t, f, b)
		if faults := f.Validate(); faults != nil {
			t.Errorf("%d bytes: %v", size, faults)
		}
	}
}

// TestWindow has a record at every place relative to the end of the window.
func TestWindow(t *testing.T) {
	text := strings.Repeat("z", 100)
	for before := windowSize - 400; before < windowSize+100; before++ {
		b := le(head(1, 3),
			kv("before", TypeString, str(strings.Repeat("x", before))),
			kv("key", TypeString, str(text)),
			kv("array", TypeArray, array(TypeString, 2, str("first"), str("second"))),
			info("name", F32, 0, 8), align(32), zeros(32))
		f := open(t, b)
		v, _ := f.Lookup("key")
		w, _ := f.Lookup("array")
		a, _ := w.Array()
		second, _ := a.At(1)
		if string(v.raw) != text || string(second.raw) != "second" || f.Tensors[0].Name != "name" || f.Tensors[0].Dims[0] != 8 {
			t.Fatalf("%d bytes before: key %q, array %q, tensor %+v", before, v.raw, second.raw, f.Tensors[0])
		}
	}
}

// TestHeldAcrossWindow has a value that is just held, at every thousandth place relative to the
// end of the window.
func TestHeldAcrossWindow(t *testing.T) {
	var elems []byte
	n := uint64(0)
	for ; len(elems) < maxHeld-100; n++ {
		elems = append(elems, le(str(fmt.Sprint(n)))...)
	}
	for before := windowSize - maxHeld - 2000; before < windowSize; before += 1000 {
		b := le(head(0, 2),
			kv("before", TypeString, str(strings.Repeat("x", before))),
			kv("array", TypeArray, array(TypeString, n, elems)), align(32))
		v, _ := open(t, b).Lookup("array")
		if !bytes.HasSuffix(v.raw, elems) {
			t.Fatalf("%d bytes before: the array is not held as it is", before)
		}
	}
}

// TestDuplicates has a key many times, and another; all are reported in order, with the first.
func TestDuplicates(t *testing.T) {
	const n = 50
	kvs := parts{}
	for range n {
		kvs = append(kvs, kv("a", TypeUint8, uint8(1)), kv("b", TypeUint8, uint8(1)))
	}
	faults := open(t, le(head(0, 2*n), kvs, align(32))).Validate()
	if len(faults) != 2*n-2 {
		t.Fatalf("%d faults, want %d", len(faults), 2*n-2)
	}
	const record = 8 + 1 + 4 + 1
	for i, flt := range faults {
		want := fmt.Sprintf("key %q is repeated; the first is at byte %d (byte %d)", "ab"[i%2:i%2+1], 24+record*(i%2), 24+record*(i+2))
		if flt.Error() != want {
			t.Errorf("got  %s\nwant %s", flt.Error(), want)
		}
	}
}

// TestMuchPadding has more padding than is looked at.
func TestMuchPadding(t *testing.T) {
	const alignment = 1 << 27
	b := le(head(1, 1), kv("general.alignment", TypeUint32, uint32(alignment)), info("w", F32, 0, 8))
	f, err := NewFile(faultyReader{sparse{b, alignment + 32}, maxPadding + 8192, io.EOF}, alignment+32)
	if err != nil {
		t.Fatal(err)
	}
	if got := codesOf(f.Validate()); !slices.Equal(got, []Code{CodeUnpaddedEnd}) {
		t.Errorf("Validate: %v", got)
	}
}

// A faultyReader fails, or ends, at a byte.
type faultyReader struct {
	io.ReaderAt
	at  int64
	err error
}

func (r faultyReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > r.at {
		return int(max(r.at-off, 0)), r.err
	}
	return r.ReaderAt.ReadAt(p, off)
}

func TestReadErrors(t *testing.T) {
	errDisk := errors.New("the disk is gone")
	b := specimen(binary.LittleEndian, 3)
	for _, test := range []struct {
		err, want error
	}{
		{errDisk, errDisk},
		{io.EOF, io.ErrUnexpectedEOF},
		{nil, io.ErrUnexpectedEOF},
	} {
		_, err := NewFile(faultyReader{bytes.NewReader(b), 100, test.err}, int64(len(b)))
		if _, isFault := err.(*Fault); isFault || !errors.Is(err, test.want) {
			t.Errorf("reading fails with %v: NewFile: %v", test.err, err)
		}
	}

	// A header that fits, and padding that cannot be read.
	b = le(head(1, 0), info("w", F32, 0, 7), align(32), zeros(300<<10))
	r := faultyReader{bytes.NewReader(b), firstRead, errDisk}
	f, err := NewFile(r, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	r.at = 80
	f.r = r
	if got, want := codesOf(f.Validate()), []Code{CodeUnreadable, CodeTrailingData}; !slices.Equal(got, want) {
		t.Errorf("Validate: %v, want %v", got, want)
	}

	if _, err := NewFile(bytes.NewReader(b), -1); err == nil {
		t.Error("a negative size is accepted")
	}
}

// TestFarValues has large values that cannot be read, or are others, once they are
// asked for.
func TestFarValues(t *testing.T) {
	b := vocabulary(maxHeld + 1000)
	f := open(t, b)
	tokens, _ := f.Lookup("tokens")
	long, _ := f.Lookup("long")
	if _, ok := tokens.Array(); !ok {
		t.Fatal("the array is not read")
	}
	if s, ok := long.Text(); !ok || len(s) != 300<<10 {
		t.Fatalf("the string has %d bytes", len(s))
	}
	loaded, err := tokens.Load()
	if err != nil {
		t.Fatal(err)
	}

	// A length within the array becomes another.
	b[tokens.far.start+12]++
	if _, ok := tokens.Array(); ok {
		t.Error("an array that has changed is read")
	}
	if _, err := f.Rename(func(int) string { return "w" }, 0); err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("Rename: %v", err)
	}
	if got := codesOf(f.Validate()); !slices.Equal(got, []Code{CodeUnreadable}) {
		t.Errorf("Validate: %v", got)
	}
	if a, ok := loaded.Array(); !ok || a.Len() == 0 {
		t.Error("a value that was loaded depends on the file")
	}

	// An array becomes shorter.
	numbers, _ := f.Lookup("numbers")
	if _, ok := numbers.Array(); !ok {
		t.Fatal("the array is not read")
	}
	b[numbers.far.start+4+1]--
	if _, ok := numbers.Array(); ok {
		t.Error("an array that has become shorter is read")
	}

	f = &File{r: faultyReader{bytes.NewReader(b), 100, io.EOF}, InfoEnd: 200}
	long.far.r = f.r
	if s, ok := long.Text(); ok || s != "" {
		t.Errorf("a string is read from a file that ends before it: %d bytes", len(s))
	}
	if _, err := long.Load(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Load: %v", err)
	}
	if _, err := f.Header(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Header: %v", err)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.gguf"), filepath.Join(dir, "bad.gguf")
	if err := errors.Join(os.WriteFile(good, control(), 0o600), os.WriteFile(bad, []byte("ZZZZ0000"), 0o600)); err != nil {
		t.Fatal(err)
	}
	f, err := Open(good)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	_, err = Open(bad)
	flt, ok := errors.AsType[*Fault](err)
	if !ok || flt.Code != CodeBadMagic || !strings.HasPrefix(err.Error(), bad+": ") {
		t.Errorf("Open: %v", err)
	}
	if _, err = Open(filepath.Join(dir, "none.gguf")); !errors.Is(err, fs.ErrNotExist) || strings.Count(err.Error(), "none.gguf") != 1 {
		t.Errorf("Open: %v", err)
	}
	if err := open(t, control()).Close(); err != nil {
		t.Errorf("Close after NewFile: %v", err)
	}
}

func TestLookup(t *testing.T) {
	f := open(t, le(head(0, 3), kv("a", TypeUint8, uint8(1)), kv("b", TypeUint8, uint8(2)), kv("a", TypeUint8, uint8(3)), align(32)))
	v, ok := f.Lookup("a")
	if n, _ := v.Uint(); !ok || n != 1 {
		t.Errorf("a is %d, want the first, 1", n)
	}
	if v, ok := f.Lookup("c"); ok || v.Type() != TypeUint8 {
		t.Errorf("c is there: %v", v)
	}
}

func TestData(t *testing.T) {
	payload := []byte("0123456789abcdef0123456789ABCDEF")
	f := open(t, le(head(3, 0), info("a", F32, 0, 8), info("b", 139, 0, 8), info("c", F32, 32, 8), align(32), payload))
	r, err := f.Data(0)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, payload) {
		t.Errorf("data %q, %v", got, err)
	}
	if off, n, ok := f.DataSpan(0); !ok || off != f.DataOffset || n != 32 {
		t.Errorf("DataSpan: %d, %d, %v", off, n, ok)
	}
	for i, want := range map[int]string{1: "ggml_type_139", 2: "not within the file"} {
		if _, err := f.Data(i); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Data(%d): %v, want an error with %q", i, err, want)
		}
	}
}

// TestManyFaults has a file whose tensors all have a fault.
func TestManyFaults(t *testing.T) {
	const n = 2500
	infos := parts{}
	for i := range uint64(n) {
		infos = append(infos, info(fmt.Sprint(i), 139, 32*i, 8))
	}
	faults := open(t, le(head(n, 0), infos, align(32), zeros(32*n))).Validate()
	if len(faults) != maxFaults+1 {
		t.Fatalf("%d faults, want %d", len(faults), maxFaults+1)
	}
	if got := faults[maxFaults]; got.Code != CodeUnknownType || got.Detail != "1500 more faults of this kind" {
		t.Errorf("the last is %+v", got)
	}
}

func TestFaultMessages(t *testing.T) {
	for _, test := range []struct {
		file []byte
		want string
	}{
		{le("ZZZZ"), `not a GGUF file: it begins with "ZZZZ", not "GGUF" (byte 0)`},
		{
			le(head(0, 1), kv("tokenizer.chat_template", TypeString, count(1<<40))),
			`key/value record 0: key "tokenizer.chat_template": its value: its length is 1099511627776 bytes, and 0 are left in the file (byte 59)`,
		},
		{
			le(head(1, 0), str("w\x1b"), uint32(9), zeros(100)),
			`tensor "w\x1b": info record 0: it has 9 dimensions, and at most 4 are allowed (byte 34)`,
		},
		{
			tensor("w", Q4_K, 0, 100),
			`tensor "w": a row has 100 elements, not a multiple of the 256 in a block of Q4_K (byte 24)`,
		},
		{
			le(head(2, 0), info("a", F32, 0, 16), info("b", F32, 32, 8), align(32), zeros(64)),
			`tensor "b": its data begin at offset 32, before those of tensor "a" end, at 64 (byte 57)`,
		},
	} {
		f, err := NewFile(bytes.NewReader(test.file), int64(len(test.file)))
		if err == nil {
			err = &f.Validate()[0]
		}
		if got := err.Error(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}
