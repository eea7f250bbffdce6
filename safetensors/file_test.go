package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/testdata"
)

// open reads a file that must be understood.
func open(t testing.TB, b []byte) *File {
	t.Helper()
	f, err := NewFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func tensors(f *File) (list []Tensor) {
	for _, t := range f.All() {
		list = append(list, t)
	}
	return list
}

func TestFile(t *testing.T) {
	// Field order, spacing, escapes, an unknown dtype and a long shape leave the
	// fast path in every way.
	header := ` {"__metadata__" : {"format":"pt","z\u00e9":"\ud83d\ude00\/"},` +
		`"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},` +
		`"b":{"dtype":"BF16","shape":[],"data_offsets":[12,14]},` +
		`"\u0063\n" : { "shape" : [ 1, 1,1,1,1,1,1,1,2 ] , "data_offsets":[14,15], "x":[{}], "dtype":"Q\u0034" },` +
		`"é":{"data_offsets":[15,16],"dtype":"\u00498","shape":[1]},` +
		`"a":{"dtype":"F8_E4M3FNUZ","shape":[1,2,3,4,5,6,7,8],"data_offsets":[18446744073709551615,0]}}  `
	f := open(t, file(header, 16))
	want := []Tensor{
		{"a", "BF16", []uint64{2, 3}, 0, 12},
		{"b", "BF16", []uint64{}, 12, 14},
		{"c\n", "Q4", []uint64{1, 1, 1, 1, 1, 1, 1, 1, 2}, 14, 15},
		{"é", "I8", []uint64{1}, 15, 16},
		{"a", "F8_E4M3FNUZ", []uint64{1, 2, 3, 4, 5, 6, 7, 8}, 1<<64 - 1, 0},
	}
	if diff := gocmp.Diff(want, tensors(f)); diff != "" {
		t.Errorf("tensors (-want +got):\n%s", diff)
	}
	if diff := gocmp.Diff([]KV{{"format", "pt"}, {"zé", "😀/"}}, f.Metadata()); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if !f.HasMetadata() || f.Len() != 5 || f.DataOffset() != int64(8+len(header)) || f.Size() != int64(8+len(header)+16) || string(f.Header()) != header {
		t.Errorf("HasMetadata %v, Len %d, DataOffset %d, Size %d, Header %q", f.HasMetadata(), f.Len(), f.DataOffset(), f.Size(), f.Header())
	}
	var keys []string
	for i := range f.Len() {
		start, end := f.NameSpan(i)
		keys = append(keys, header[start:end])
	}
	if want := []string{`"a"`, `"b"`, `"\u0063\n"`, `"é"`, `"a"`}; !slices.Equal(keys, want) {
		t.Errorf("names are spelled %q, want %q", keys, want)
	}
}

// TestShapes has more dimensions than are allocated at first, of every length.
func TestShapes(t *testing.T) {
	var want []Tensor
	for i := range 3000 {
		shape := []uint64{}
		for d := range (i % 5) * 2 {
			shape = append(shape, uint64(i+d))
		}
		want = append(want, Tensor{Name: fmt.Sprint(i), DType: "U8", Shape: shape})
	}
	b, err := EncodeHeader(want, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(want, tensors(open(t, b))); diff != "" {
		t.Errorf("tensors (-want +got):\n%s", diff)
	}
}

func TestNumbers(t *testing.T) {
	for _, n := range []string{
		"0", "7", "10", "1234567", "12345678", "123456789", "1234567890123456", "12345678901234567",
		"999999999999999999", "10000000000000000000", "18446744073709551615",
	} {
		f := open(t, file(`{"w":{"dtype":"U8","shape":[`+n+`,1],"data_offsets":[`+n+`,`+n+`]}}`, 0))
		got := f.At(0)
		if fmt.Sprint(got.Shape[0]) != n || fmt.Sprint(got.Begin) != n || fmt.Sprint(got.End) != n {
			t.Errorf("%s is read as %v", n, got)
		}
	}
	for _, n := range []string{"00", "018446744073709551615", "18446744073709551616", "100000000000000000000", "999999999999999999999999999999", "1.", "1e5", "+1", "1a", ""} {
		b := file(`{"w":{"dtype":"U8","shape":[`+n+`,1],"data_offsets":[0,0]}}`, 0)
		if _, err := NewFile(bytes.NewReader(b), int64(len(b))); err == nil {
			t.Errorf("%q is taken for a number", n)
		}
	}
}

func TestDTypes(t *testing.T) {
	for bits, names := range map[int64]string{
		4:  "F4",
		6:  "F6_E2M3 F6_E3M2",
		8:  "BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ",
		16: "I16 U16 F16 BF16",
		32: "I32 U32 F32",
		64: "C64 F64 I64 U64",
	} {
		for _, name := range strings.Fields(names) {
			if got, ok := DType(name).Bits(); got != bits || !ok {
				t.Errorf("%s has %d bits, %v; want %d", name, got, ok, bits)
			}
			// Four elements are whole bytes of every type.
			f := open(t, file(`{"w":`+tensor(name, "[4]", 0, uint64(bits/2))+`}`, int(bits/2)))
			if got := f.At(0).DType; string(got) != name || hasErrors(f.Validate()) {
				t.Errorf("%s is read as %s; faults %v", name, got, f.Validate())
			}
		}
	}
	for i, d := range dtypes {
		if int(dtypeIndex(string(d.name))) != i {
			t.Errorf("%s has the index %d, want %d", d.name, dtypeIndex(string(d.name)), i)
		}
	}
	for wrong, want := range map[DType]DType{
		"bf16": "BF16", "bfloat16": "BF16", "FP16": "F16", "float32": "F32", "float64": "F64", "complex64": "C64",
		"float8_e4m3fn": "F8_E4M3", "E5M2": "F8_E5M2", "UE8": "F8_E8M0", "FP4": "F4", "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
		"int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64", "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64",
		"MX9": "", "": "",
	} {
		if _, ok := wrong.Bits(); ok {
			t.Errorf("%q has a size", wrong)
		}
		if got, _ := likelyDType(wrong); got != want {
			t.Errorf("%q is taken for %q, want %q", wrong, got, want)
		}
	}
}

func TestEscapes(t *testing.T) {
	for escaped, want := range map[string]string{
		`\"\\\/\b\f\n\r\t`: "\"\\/\b\f\n\r\t", `\u00e9\uABCD\uabcd`: "é\uabcd\uabcd", `\u0000`: "\x00",
		`\ud83d\ude00`: "😀", `\uD83D\uDE00x`: "😀x", `12345678\n`: "12345678\n", `\ufffd`: "\ufffd",
	} {
		f := open(t, file(`{"`+escaped+`":`+plain+`}`, 4))
		if got := f.At(0).Name; got != want {
			t.Errorf("%s is read as %q, want %q", escaped, got, want)
		}
	}
	for _, escaped := range []string{`\`, `\x`, `\u`, `\u123`, `\u12g4`, `\ud800`, `\ude00`, `\ud83d\u0041`, `\ud83dx`, `\ud83d\n`, `\ud83d\ud83d`, `\U0041`} {
		b := file(`{"`+escaped+`":`+plain+`}`, 4)
		if _, err := NewFile(bytes.NewReader(b), int64(len(b))); err == nil {
			t.Errorf("%s is taken", escaped)
		}
	}
}

// TestMessages keeps what a fault repeats of a file short, safe and whole.
func TestMessages(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"w\x1b[31m\u202e", `tensor "w\x1b[31m\u202e": bad (byte 7)`},
		{strings.Repeat("é", 60), `tensor "` + strings.Repeat("é", 50) + `"… (120 bytes): bad (byte 7)`},
		{"x" + strings.Repeat("é", 60), `tensor "x` + strings.Repeat("é", 49) + `"… (121 bytes): bad (byte 7)`},
		{"", "bad (byte 7)"},
	} {
		if got := (Fault{Tensor: c.name, Offset: 7, Detail: "bad"}).Error(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestData(t *testing.T) {
	b := file(`{"a":{"dtype":"U8","shape":[3],"data_offsets":[2,5]},"b":{"dtype":"U8","shape":[1],"data_offsets":[5,4]},"c":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}`, 0)
	b = append(b, "01234567"...)
	f := open(t, b)
	r, err := f.Data(0)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); string(got) != "234" || err != nil {
		t.Errorf("data is %q, %v", got, err)
	}
	for i, want := range map[int]Code{1: CodeOffset, 2: CodeIncomplete} {
		_, err := f.Data(i)
		if fault, ok := errors.AsType[*Fault](err); !ok || fault.Code != want || fault.Tensor == "" {
			t.Errorf("data of tensor %d: %v, want %s", i, err, want)
		}
	}
}

func TestOpen(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.safetensors")
	if err := os.WriteFile(name, file(`{"w":`+plain+`}`, 4), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(name); err == nil || !strings.HasPrefix(err.Error(), name+": ") {
		t.Errorf("error of an empty file does not name it: %v", err)
	}
	if _, err := Open(name + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error of a missing file: %v", err)
	}
}

// TestReadErrors takes errors of the reader for what they are.
func TestReadErrors(t *testing.T) {
	whole := file(`{"w":`+plain+`}`, 4)
	// The file has shrunk since its size was taken.
	for _, n := range []int{0, 5, 8, 20} {
		_, err := NewFile(bytes.NewReader(whole[:n]), int64(len(whole)))
		if _, ok := errors.AsType[*Fault](err); ok || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("file shrunk to %d bytes: %v", n, err)
		}
	}
	broken := errors.New("broken")
	_, err := ReadIndex(io.MultiReader(strings.NewReader(`{"weight_map":{`), errReader{broken}))
	if _, ok := errors.AsType[*Fault](err); ok || !errors.Is(err, broken) {
		t.Errorf("index: %v", err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestUnsupported(t *testing.T) {
	for dtype, want := range map[string]bool{"MX9": true, "f32": false} {
		faults := open(t, file(`{"w":`+tensor(dtype, "[1]", 0, 4)+`}`, 4)).Validate()
		i := slices.IndexFunc(faults, func(f Fault) bool { return f.Code == CodeUnknownDType })
		if i < 0 || errors.Is(faults[i], ErrUnsupported) != want {
			t.Errorf("dtype %s: %v", dtype, faults)
		}
	}
	b := file(`{"w":{"dtype":"U8","shape":[1`+strings.Repeat(",1", maxRank)+`],"data_offsets":[0,1]}}`, 1)
	if _, err := NewFile(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrUnsupported) {
		t.Errorf("too many dimensions: %v", err)
	}
}

// TestManyFaults counts what it does not list.
func TestManyFaults(t *testing.T) {
	const n = 5000
	list := make([]Tensor, n)
	for i := range list {
		list[i] = Tensor{Name: fmt.Sprint(i), DType: "F32", Begin: 0, End: 3}
	}
	b, err := EncodeHeader(list, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.ReplaceAll(b, []byte(`"17`), []byte(`"16`)) // repeats names too
	faults := open(t, append(b, 0, 0, 0)).Validate()
	counts := make(map[Code]int)
	more := make(map[Code]string)
	for _, f := range faults {
		if f.Hint == HintMore {
			more[f.Code] = f.Detail
			continue
		}
		counts[f.Code]++
	}
	if counts[CodeTensorInfo] != maxFaults || !strings.HasPrefix(more[CodeTensorInfo], "4000 more") {
		t.Errorf("%d faults listed, then %q", counts[CodeTensorInfo], more[CodeTensorInfo])
	}
	if !strings.HasPrefix(more[CodeOffset], "3999 more") {
		t.Errorf("overlaps: %q", more[CodeOffset])
	}
	if counts[CodeDuplicateName] != 111 || more[CodeDuplicateName] != "" {
		t.Errorf("%d repeated names, then %q", counts[CodeDuplicateName], more[CodeDuplicateName])
	}
	if !slices.IsSortedFunc(faults, func(a, b Fault) int { return cmp.Compare(uint64(a.Offset), uint64(b.Offset)) }) {
		t.Error("faults are not in file order")
	}
}

// TestDuplicates finds the same names as a map does, among few and many names
// and when one of them floods a partition.
func TestDuplicates(t *testing.T) {
	for _, c := range []struct{ names, different int }{
		{0, 1}, {1, 1}, {2, 1}, {2, 2}, {1000, 990}, {5000, 4000}, {5000, 3}, {70_000, 60_000}, {70_000, 1},
	} {
		for _, bits := range []uint64{^uint64(0), 1 << 63, 0} { // weak hashes collide
			if bits != ^uint64(0) && c.different > 1000 {
				continue
			}
			names := make([]string, c.names)
			for i := range names {
				names[i] = fmt.Sprint(uint64(i) * 0x9e3779b97f4a7c15 >> 20 % uint64(c.different))
			}
			items := make([]uint64, c.names)
			firsts := make(map[string]int)
			want := make(map[int]int)
			for i := range items {
				items[i] = item(hashText(1, names[i], 0)&bits, i)
				if first, ok := firsts[names[i]]; ok {
					want[i] = first
				} else {
					firsts[names[i]] = i
				}
			}
			got := make(map[int]int)
			duplicates(items, func(i, j int) bool { return names[i] == names[j] }, func(first, again int) { got[again] = first })
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("%+v, hash bits %#x (-want +got):\n%s", c, bits, diff)
			}
		}
	}
}

// TestAllocations holds the cost of a header of 100,000 tensors.
func TestAllocations(t *testing.T) {
	const n = 100_000
	b := framed(expertHeader(n))
	r := bytes.NewReader(b)
	read := func() {
		if _, err := NewFile(r, r.Size()); err != nil {
			t.Fatal(err)
		}
	}
	if got := testing.AllocsPerRun(5, read); got > 10 {
		t.Errorf("%v allocations, want at most 10", got)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	read()
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc - uint64(len(b))) / n; got > 80 {
		t.Errorf("%d bytes a tensor, want at most 80", got)
	}
}

// TestRealFiles reads files of other writers and holds them against a reading
// by encoding/json.
func TestRealFiles(t *testing.T) {
	dir := testdata.Path(t, "models")
	var names []string
	for _, pattern := range []string{"*.safetensors", "fluxml-sharded/*.safetensors", "../tinyllama/*/*.safetensors"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			f, err := Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for _, fault := range f.Validate() {
				if fault.Severity != Info {
					t.Errorf("%v: %s: %v", fault.Severity, fault.Code, fault)
				}
			}
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			header := b[8 : 8+binary.LittleEndian.Uint64(b)]
			var members map[string]json.RawMessage
			if err := json.Unmarshal(header, &members); err != nil {
				t.Fatal(err)
			}
			want := make(map[string]Tensor)
			for name, text := range members {
				if name == "__metadata__" {
					continue
				}
				var m struct {
					DType   DType     `json:"dtype"`
					Shape   []uint64  `json:"shape"`
					Offsets [2]uint64 `json:"data_offsets"`
				}
				if err := json.Unmarshal(text, &m); err != nil {
					t.Fatal(err)
				}
				want[name] = Tensor{name, m.DType, m.Shape, m.Offsets[0], m.Offsets[1]}
			}
			got := make(map[string]Tensor)
			for _, tensor := range f.All() {
				got[tensor.Name] = tensor
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("tensors (-want +got):\n%s", diff)
			}
			same, err := SpliceNames(f, func(i int) string { return f.At(i).Name })
			if err != nil || !bytes.Equal(same, header) {
				t.Errorf("splicing the same names changes the header: %v", err)
			}
		})
	}
}

// A byte is of its class wherever it stands in a name.
func TestNameClass(t *testing.T) {
	for size := 1; size <= 20; size++ {
		for at := range size {
			for c := range 256 {
				name := []byte(strings.Repeat("a", size))
				name[at] = byte(c)
				if got, want := nameClass(string(name)), bytesClass(string(name)); got != want {
					t.Fatalf("class %d of %q, want %d", got, name, want)
				}
			}
		}
	}
}
