package checkpoint_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
)

// npyFile writes version 1.0 of numpy/lib/_format_impl.py.
func npyFile(descr string, fortran bool, shape string, data ...byte) []byte {
	dict := fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }", descr, strings.ToUpper(fmt.Sprint(fortran)[:1])+fmt.Sprint(fortran)[1:], shape)
	dict += strings.Repeat(" ", 63-(10+len(dict))%64) + "\n"
	return append([]byte("\x93NUMPY\x01\x00"+string([]byte{byte(len(dict)), byte(len(dict) >> 8)})+dict), data...)
}

func TestNumPy(t *testing.T) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i, member := range []struct {
		name string
		data []byte
	}{
		{"w.npy", npyFile("<f4", false, "(1, 2)", 1, 2, 3, 4, 5, 6, 7, 8)},
		{"big.npy", npyFile(">u2", false, "(2,)", 1, 2, 3, 4)},
		{"fortran.npy", npyFile("|i1", true, "(2, 2)", 1, 2, 3, 4)},
		{"bf16.npy", npyFile("<V2", false, "(2,)", 1, 2, 3, 4)},
		{"complex.npy", npyFile(">c8", true, "(1, 1)", 1, 2, 3, 4, 5, 6, 7, 8)},
		{"deflated.npy", npyFile("<i8", false, "()", 1, 2, 3, 4, 5, 6, 7, 8)},
		{"text.npy", npyFile("<U1", false, "(1,)", 65, 0, 0, 0)},
		{"objects.npy", npyFile("|O", false, "(1,)", []byte("\x80\x04N.")...)},
	} {
		method := zip.Store
		if i == 5 {
			method = zip.Deflate
		}
		w, err := z.CreateHeader(&zip.FileHeader{Name: member.name, Method: method})
		if err == nil {
			_, err = w.Write(member.data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	dir := writeAll(t, map[string][]byte{"weights.npz": b.Bytes(), "one.npy": npyFile("<f2", false, "(1,)", 1, 2)})
	c := openOne(t, dir) // the archive; an array by itself may be anything
	if c.Format != checkpoint.NumPy || c.Len() != 8 {
		t.Fatalf("%s of %d tensors", c.Format, c.Len())
	}
	want := []struct {
		dtype  string
		shape  []uint64
		inFile bool
		data   []byte // nil where there is none
	}{
		{"F32", []uint64{1, 2}, true, []byte{1, 2, 3, 4, 5, 6, 7, 8}},
		{"U16", []uint64{2}, false, []byte{2, 1, 4, 3}},
		{"I8", []uint64{2, 2}, false, []byte{1, 3, 2, 4}},
		{"BF16", []uint64{2}, true, []byte{1, 2, 3, 4}},
		{"C64", []uint64{1, 1}, false, []byte{4, 3, 2, 1, 8, 7, 6, 5}},
		{"I64", []uint64{}, false, []byte{1, 2, 3, 4, 5, 6, 7, 8}},
		{"<U1", []uint64{1}, true, []byte{65, 0, 0, 0}},
		{"|O", []uint64{1}, true, nil},
	}
	for i, tensor := range c.All() {
		if tensor.DType != want[i].dtype || !slices.Equal(tensor.Shape, want[i].shape) || (tensor.Offset >= 0) != want[i].inFile {
			t.Errorf("%+v, want %+v", tensor, want[i])
		}
		r, err := c.Data(i)
		if err != nil {
			if want[i].data != nil || !strings.Contains(err.Error(), "pickle") {
				t.Error(err)
			}
			continue
		}
		if data, err := io.ReadAll(r); err != nil || !bytes.Equal(data, want[i].data) {
			t.Errorf("%s: %v, %v, want %v", tensor.Name, data, err, want[i].data)
		}
	}
	// As numpy writes types of ml_dtypes where it is given their names.
	for descr, want := range map[string]string{"bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"} {
		bytesOf := map[bool]int{true: 4, false: 2}[want == "BF16"]
		c := openOne(t, filepath.Join(writeAll(t, map[string][]byte{"w.npy": npyFile(descr, false, "(2,)", make([]byte, bytesOf)...)}), "w.npy"))
		if got := c.At(0); got.DType != want || got.Bytes != uint64(bytesOf) || len(c.Validate(t.Context())) > 0 {
			t.Errorf("%s: %+v %v", descr, got, c.Validate(t.Context()))
		}
	}
	one := openOne(t, filepath.Join(dir, "one.npy"))
	if tensor := one.At(0); one.Len() != 1 || tensor.Name != "one" || tensor.DType != "F16" {
		t.Errorf("%+v", tensor)
	}
	// What an archive is, its name says: both kinds are zip archives.
	if _, err := checkpoint.Open(t.Context(), filepath.Join(writeAll(t, map[string][]byte{"w.pt": b.Bytes()}), "w.pt"), nil); err == nil {
		t.Error("an archive of arrays opens as torch's")
	}
}
