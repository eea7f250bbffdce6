package gguf

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// seed adds every small file that the tests have.
func seed(f *testing.F) {
	for _, h := range hostiles() {
		if len(h.file) < 4096 {
			f.Add(h.file)
		}
	}
	for version := range uint32(3) {
		f.Add(specimen(binary.LittleEndian, version+1))
		f.Add(specimen(binary.BigEndian, version+1))
	}
	// Published files are added when they are there, without skipping the target.
	names, _ := filepath.Glob(filepath.Join(os.Getenv("WTINSPECT_TESTDATA"), "models", "*.gguf"))
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil {
			f.Add(b[:min(len(b), 16<<10)])
		}
	}
}

// FuzzNewFile opens any bytes and looks at everything that a File has.
func FuzzNewFile(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := NewFile(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			flt, ok := err.(*Fault)
			if !ok || flt.Error() == "" || flt.Offset < 0 || flt.Offset > int64(len(b)) {
				t.Fatalf("NewFile: %#v", err)
			}
			return
		}
		if h, err := file.Header(); err != nil || !bytes.Equal(h, b[:file.InfoEnd]) {
			t.Fatalf("Header is not the start of the file: %v", err)
		}
		compare(t, file, b)
		for _, flt := range file.Validate() {
			if flt.Error() == "" || flt.Offset < -1 || flt.Offset > int64(len(b)) {
				t.Fatalf("Validate: %#v", flt)
			}
		}
		if _, _, err := file.Split(); err != nil {
			if _, ok := err.(*Fault); !ok {
				t.Fatalf("Split: %v", err)
			}
		}
		for i := range file.Tensors {
			off, n, ok := file.DataSpan(i)
			if ok && (off < file.InfoEnd || n < 0 || off+n > int64(len(b))) {
				t.Fatalf("the data of tensor %d are %d bytes at %d", i, n, off)
			}
		}
	})
}

// FuzzRoundTrip writes the header of every file that opens, once as it is and once in
// another encoding, and reads it again.
func FuzzRoundTrip(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := NewFile(bytes.NewReader(b), int64(len(b)))
		if err != nil || file.Alignment > 1<<16 {
			return
		}
		same, err := EncodeHeader(file.Version, file.ByteOrder, file.KVs, file.Tensors, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(same[4:file.InfoEnd], b[4:file.InfoEnd]) || int64(len(same)) != file.DataOffset {
			t.Fatal("written again, the header is another")
		}

		other, err := EncodeHeader(3, binary.BigEndian, file.KVs, file.Tensors, nil)
		if err != nil {
			t.Fatal(err)
		}
		again := open(t, other)
		if len(again.KVs) != len(file.KVs) || len(again.Tensors) != len(file.Tensors) {
			t.Fatal("records are lost")
		}
		back, err := EncodeHeader(file.Version, file.ByteOrder, again.KVs, again.Tensors, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back, same) {
			t.Fatal("converted and back, the header is another")
		}
	})
}
