package numpy

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// npy writes an array as numpy/lib/_format_impl.py does (_write_array_header), and dict as it is.
func npy(version byte, dict string, data []byte) []byte {
	b := []byte("\x93NUMPY" + string([]byte{version, 0}))
	width := 2
	if version > 1 {
		width = 4
	}
	dict += strings.Repeat(" ", 63-(len(b)+width+len(dict))%64) + "\n"
	b = append(b, binary.LittleEndian.AppendUint32(nil, uint32(len(dict)))[:width]...)
	return append(append(b, dict...), data...)
}

func dict(descr string, fortran bool, shape string) string {
	order := "False"
	if fortran {
		order = "True"
	}
	return fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }", descr, order, shape)
}

type part struct {
	name   string
	method uint16
	data   []byte
}

func npz(t testing.TB, parts ...part) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, p := range parts {
		f, err := w.CreateHeader(&zip.FileHeader{Name: p.name, Method: p.method})
		if err == nil {
			_, err = f.Write(p.data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(t testing.TB, data []byte) *File {
	t.Helper()
	f, err := NewFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func read(t testing.TB, f *File, i int) []byte {
	t.Helper()
	r, err := f.Data(i)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func counting(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func codes(list []Fault) []Code {
	var out []Code
	for _, f := range list {
		out = append(out, f.Code)
	}
	return out
}

func TestArrays(t *testing.T) {
	for _, test := range []struct {
		name  string
		data  []byte
		dtype string
		shape []uint64
		want  []byte
	}{
		{"version 1", npy(1, dict("<f4", false, "(2, 3)"), counting(24)), "<f4", []uint64{2, 3}, counting(24)},
		{"version 2", npy(2, dict("<f4", false, "(2, 3)"), counting(24)), "<f4", []uint64{2, 3}, counting(24)},
		{"version 3", npy(3, dict("<i8", false, "(3,)"), counting(24)), "<i8", []uint64{3}, counting(24)},
		{"a scalar", npy(1, dict("|b1", false, "()"), []byte{1}), "|b1", []uint64{}, []byte{1}},
		{"nothing", npy(1, dict("<f8", false, "(0, 3)"), nil), "<f8", []uint64{0, 3}, nil},
		{"nothing, Fortran's order", npy(1, dict("<f8", true, "(0, 3)"), nil), "<f8", []uint64{0, 3}, nil},
		// mlx/io/load.cpp, save: no comma at the end of the dictionary, one at the end of the shape.
		{"MLX", npy(1, "{'descr': '<V2', 'fortran_order': False, 'shape': (2, 2, )}", counting(8)), "<V2", []uint64{2, 2}, counting(8)},
		{"Python 2", npy(1, "{'descr': '>i2', 'shape': (2L,), 'fortran_order': False}", counting(4)), ">i2", []uint64{2}, counting(4)},
		{"double quotes", npy(1, `{"descr": "<u2", "fortran_order": False, "shape": (2,)}`, counting(4)), "<u2", []uint64{2}, counting(4)},
		// numpy.asfortranarray([[0, 2, 4], [1, 3, 5]]) is stored as 0 1 2 3 4 5.
		{"Fortran's order", npy(1, dict("|u1", true, "(2, 3)"), counting(6)), "|u1", []uint64{2, 3}, []byte{0, 2, 4, 1, 3, 5}},
		{"three axes in Fortran's order", npy(1, dict("|u1", true, "(2, 2, 2)"), counting(8)), "|u1", []uint64{2, 2, 2}, []byte{0, 4, 2, 6, 1, 5, 3, 7}},
		{"one axis in Fortran's order", npy(1, dict("<f2", true, "(3,)"), counting(6)), "<f2", []uint64{3}, counting(6)},
		{"complex", npy(1, dict("<c16", false, "(1,)"), counting(16)), "<c16", []uint64{1}, counting(16)},
		{"text", npy(1, dict("<U3", false, "(2,)"), counting(24)), "<U3", []uint64{2}, counting(24)},
		{"dates", npy(1, dict("<M8[ns]", false, "(1,)"), counting(8)), "<M8[ns]", []uint64{1}, counting(8)},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, archive := range []string{"", "stored", "deflated"} {
				data, name := test.data, ""
				if archive != "" {
					name = "a.b"
					data = npz(t, part{"a.b.npy", map[string]uint16{"stored": zip.Store, "deflated": zip.Deflate}[archive], test.data})
				}
				f := open(t, data)
				if f.Len() != 1 || f.IsArchive() != (archive != "") {
					t.Fatalf("%s: %d arrays", archive, f.Len())
				}
				a := f.At(0)
				if a.Name != name || a.DType != test.dtype || !slices.Equal(a.Shape, test.shape) || a.Bytes != uint64(len(test.want)) || !a.BytesKnown {
					t.Errorf("%s: %+v", archive, a)
				}
				if got := read(t, f, 0); !bytes.Equal(got, test.want) {
					t.Errorf("%s: % x, want % x", archive, got, test.want)
				}
				for _, flt := range f.Validate() {
					if flt.Code != CodeBigEndian && flt.Code != CodeCompressed {
						t.Errorf("%s: %v", archive, &flt)
					}
				}
			}
		})
	}
}

// What is wrong with a header is found by the grammar of NumPy's own reader, ast.literal_eval
// and the checks behind it.
func TestBadHeaders(t *testing.T) {
	good := dict("<f4", false, "(2,)")
	for text, want := range map[string]Code{
		"":                               CodeHeader,
		"[]":                             CodeHeader,
		"{}":                             CodeHeader,
		"{'descr': '<f4'}":               CodeHeader,
		good[:len(good)-1]:               CodeHeader,
		good + "x":                       CodeHeader,
		good + "{}":                      CodeHeader,
		good[:len(good)-3] + ", 'x': 1}": CodeHeader,
		"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'shape': (3,)}":          CodeHeader,
		"{'descr': '<f4' 'fortran_order': False, 'shape': (2,)}":                          CodeHeader,
		"{'descr': __import__('os').system('id'), 'fortran_order': False, 'shape': (2,)}": CodeHeader,
		"{'descr': '<f\\x34', 'fortran_order': False, 'shape': (2,)}":                     CodeHeader,
		dict("<f4", false, "(2)"):                                        CodeHeader,
		dict("<f4", false, "2"):                                          CodeHeader,
		dict("<f4", false, "(-2,)"):                                      CodeHeader,
		dict("<f4", false, "(02,)"):                                      CodeHeader,
		dict("<f4", false, "(2.0,)"):                                     CodeHeader,
		dict("<f4", false, "(2,,)"):                                      CodeHeader,
		dict("<f4", false, "(,)"):                                        CodeHeader,
		dict("<f4", false, "(2 3)"):                                      CodeHeader,
		dict("<f4", false, "(9223372036854775808,)"):                     CodeHeader,
		dict("<f4", false, "("+strings.Repeat("1,", 65)+")"):             CodeHeader,
		strings.Replace(good, "False", "false", 1):                       CodeHeader,
		strings.Replace(good, "False", "1", 1):                           CodeHeader,
		"{'descr': [('a', '<f4'), 'fortran_order': False, 'shape': (2,)": CodeHeader,
	} {
		_, err := NewFile(bytes.NewReader(npy(1, text, counting(8))), int64(len(npy(1, text, counting(8)))))
		var flt *Fault
		if !errors.As(err, &flt) || flt.Code != want || flt.Severity != Error {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	for name, test := range map[string]struct {
		data []byte
		want Code
	}{
		"empty":              {nil, CodeNotArray},
		"another file":       {[]byte("GGUF1234"), CodeNotArray},
		"version 4":          {npy(4, good, nil), CodeVersion},
		"version 1.7":        {[]byte("\x93NUMPY\x01\x07v\x00"), CodeVersion},
		"a huge header":      {[]byte("\x93NUMPY\x02\x00\xff\xff\xff\xff{}"), CodeLimit},
		"cut off":            {npy(1, good, nil)[:70], CodeTruncated},
		"not UTF-8":          {npy(3, "{'descr': '\xff'}", nil), CodeHeader},
		"a zip file cut off": {[]byte("PK\x03\x04abc"), "zip"},
	} {
		_, err := NewFile(bytes.NewReader(test.data), int64(len(test.data)))
		var flt *Fault
		if !errors.As(err, &flt) || flt.Code != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

// Faults that leave the file listed.
func TestValidate(t *testing.T) {
	array := npy(1, dict("<f4", false, "(2,)"), counting(8))
	for name, test := range map[string]struct {
		data []byte
		want []Code
		read bool // whether the first array can be
	}{
		"sound":              {npz(t, part{"a.npy", 0, array}), nil, true},
		"short":              {array[:len(array)-1], []Code{CodeTruncated}, false},
		"long":               {append(slices.Clone(array), 0), []Code{CodeDataSize}, true},
		"objects in fields":  {npy(1, "{'descr': [('a', '<f4'), ('O', '|O')], 'fortran_order': False, 'shape': (1,)}\n", []byte("\x80\x04N.")), []Code{CodeObject}, false},
		"fields of numbers":  {npy(1, "{'descr': [('Offset', '<f4')], 'fortran_order': False, 'shape': (1,)}\n", make([]byte, 4)), []Code{CodeUnknownDType}, false},
		"objects":            {npy(1, dict("|O", false, "(1,)"), []byte("\x80\x04N.")), []Code{CodeObject}, false},
		"fields":             {npy(1, "{'descr': [('a', '<f4', (2,)), ('b]', '<i4')], 'fortran_order': False, 'shape': (1,)}", counting(12)), []Code{CodeUnknownDType}, false},
		"an unknown dtype":   {npy(1, dict("<q4", false, "(1,)"), counting(4)), []Code{CodeUnknownDType}, false},
		"no size":            {npy(1, dict("<f", false, "(1,)"), counting(4)), []Code{CodeUnknownDType}, false},
		"too many elements":  {npy(1, dict("<f8", false, "(4294967296, 4294967296)"), nil), []Code{CodeOverflow}, false},
		"too many bytes":     {npy(1, dict("<f8", false, "(1152921504606846976,)"), nil), []Code{CodeOverflow}, false},
		"zeros hide it":      {npy(1, dict("<f8", false, "(4294967296, 4294967296, 0)"), nil), nil, true},
		"more than there is": {npy(1, dict("<f8", false, "(1000000000000,)"), counting(8)), []Code{CodeTruncated}, false},
		"big-endian":         {npz(t, part{"a.npy", 0, npy(1, dict(">f4", false, "(2,)"), counting(8))}), []Code{CodeBigEndian}, true},
		"compressed":         {npz(t, part{"a.npy", 8, array}), []Code{CodeCompressed}, true},
		"twice":              {npz(t, part{"a.npy", 0, array}, part{"a.npy", 0, array}), []Code{"duplicate_member", CodeDuplicateName}, true},
		"no name":            {npz(t, part{".npy", 0, array}), []Code{CodeEmptyName}, true},
		"an odd name":        {npz(t, part{"a\x1b.npy", 0, array}), []Code{CodeControlChars}, true},
		"no archive's way":   {npz(t, part{"../a.npy", 0, array}), []Code{"unsafe_member"}, true},
		"nothing":            {npz(t, part{"notes.txt", 0, []byte("notes of some length")}), []Code{CodeNotArray, CodeEmpty}, false},
		"a broken member":    {npz(t, part{"a.npy", 0, array}, part{"b.npy", 0, array[:20]}), []Code{CodeTruncated}, true},
		"no array in .npy":   {npz(t, part{"a.npy", 0, array}, part{"b.npy", 0, []byte("notes of some length")}), []Code{CodeNotArray}, true},
		"bytes after it":     {append(npz(t, part{"a.npy", 0, array}), "tail"...), []Code{"trailing_data"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t, test.data)
			if got := codes(f.Validate()); !slices.Equal(got, test.want) {
				t.Errorf("%v, want %v: %v", got, test.want, f.Validate())
			}
			if f.Len() > 0 {
				if _, err := f.Data(0); (err == nil) != test.read {
					t.Errorf("read: %v", err)
				}
				if raw, err := io.ReadAll(f.Raw(0)); err != nil || name == "objects" && string(raw) != "\x80\x04N." {
					t.Errorf("raw: %q, %v", raw, err)
				}
			}
		})
	}
}

// A compressed array is read from any place, forwards and backwards.
func TestInflate(t *testing.T) {
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(i * i >> 7)
	}
	f := open(t, npz(t, part{"a.npy", zip.Deflate, npy(1, dict("|u1", false, "(1048576,)"), data)}))
	r, err := f.Data(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{0, 1000, 1 << 19, 3, 1<<20 - 5, 77} {
		got := make([]byte, 5)
		if _, err := r.ReadAt(got, int64(at)); err != nil || !bytes.Equal(got, data[at:at+5]) {
			t.Errorf("at %d: %v, %v", at, got, err)
		}
	}
	if _, err := r.ReadAt(make([]byte, 5), 1<<20-2); err != io.EOF {
		t.Errorf("beyond the end: %v", err)
	}
}

// Whatever is cut off or changed, nothing breaks, and little memory is taken.
func TestHostile(t *testing.T) {
	files := [][]byte{
		npy(1, dict("<f4", true, "(2, 3)"), counting(24)),
		npz(t, part{"a.npy", 0, npy(1, dict("<f4", false, "(2, 3)"), counting(24))}, part{"b.npy", 8, npy(2, dict(">i2", true, "(3, 2)"), counting(12))}),
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, file := range files {
		for i := range file {
			if testing.Short() && i%5 != 0 {
				continue
			}
			try(file[:i])
			for _, b := range []byte{0, 0xff, file[i] + 1, '\'', '9'} {
				changed := slices.Clone(file)
				changed[i] = b
				try(changed)
			}
		}
	}
	runtime.ReadMemStats(&after)
	if per := (after.TotalAlloc - before.TotalAlloc) / uint64(6*(len(files[0])+len(files[1]))); per > 1<<20 {
		t.Errorf("%d bytes of memory per file", per)
	}
	// A member that claims more than there is inflates to no more than is there.
	bomb := npz(t, part{"a.npy", zip.Deflate, npy(1, dict("|u1", false, "(67108864,)"), make([]byte, 64<<20))})
	runtime.ReadMemStats(&before)
	f := open(t, bomb)
	r, err := f.Data(0)
	if err != nil {
		t.Fatal(err)
	}
	// Discard has buffers of its own, which the race detector makes it forget.
	if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 64<<10)); n != 64<<20 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("%d bytes of memory for an array of %d", n, 64<<20)
	}
}

func try(data []byte) {
	f, err := NewFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return
	}
	f.Validate()
	for i := range f.Len() {
		if r, err := f.Data(i); err == nil {
			io.CopyN(io.Discard, r, 1<<16)
		}
	}
}

func FuzzNewFile(f *testing.F) {
	f.Add(npy(1, dict("<f4", true, "(2, 3)"), counting(24)))
	f.Add(npy(3, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2L, )}", counting(8)))
	f.Add(npz(f, part{"a.npy", 0, npy(1, dict("<f4", false, "(2,)"), counting(8))}, part{"b.npy", 8, npy(2, dict(">i2", true, "(3, 2)"), counting(12))}))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := NewFile(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		file.Validate()
		for i := range file.Len() {
			a := file.At(i)
			r, err := file.Data(i)
			if err != nil {
				continue
			}
			if n, err := io.Copy(io.Discard, io.LimitReader(r, 1<<20)); err == nil && uint64(n) != min(a.Bytes, 1<<20) || a.Bytes > math.MaxInt64 {
				t.Errorf("%d of %d bytes", n, a.Bytes)
			}
		}
	})
}

// TestOverlap reads no members that together have more bytes than the file.
func TestOverlap(t *testing.T) {
	data := npz(t, part{"a.npy", zip.Deflate, npy(1, dict("<f4", false, "(4096,)"), bytes.Repeat(counting(64), 256))})
	at := bytes.Index(data, []byte("PK\x01\x02"))
	entry, end := data[at:len(data)-22], slices.Clone(data[len(data)-22:])
	const times = 40
	end[8], end[10] = times, times
	binary.LittleEndian.PutUint32(end[12:], uint32(times*len(entry)))
	f := open(t, slices.Concat(data[:at], bytes.Repeat(entry, times), end))
	if f.Len() != times {
		t.Fatalf("%d arrays", f.Len())
	}
	read := uint64(0)
	for i := range f.Len() {
		if _, err := f.Data(i); err == nil {
			read += f.Packed(i)
		}
	}
	if read == 0 || read > uint64(f.size) {
		t.Errorf("%d bytes of members are read of a file of %d", read, f.size)
	}
}
