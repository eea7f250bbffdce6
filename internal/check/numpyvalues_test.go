package check

import (
	"archive/zip"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// npzFile writes arrays into a compressed archive.
func npzFile(t *testing.T, path string, arrays ...[3]string) {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, a := range arrays {
		w, err := z.CreateHeader(&zip.FileHeader{Name: a[0] + ".npy", Method: zip.Deflate})
		if err != nil {
			t.Fatal(err)
		}
		dict := "{'descr': '" + a[1] + "', 'fortran_order': False, 'shape': (" + fmt.Sprint(len(a[2])/4) + ",), }"
		dict += strings.Repeat(" ", 63-(10+len(dict))%64) + "\n"
		if _, err := w.Write([]byte("\x93NUMPY\x01\x00" + string([]byte{byte(len(dict)), byte(len(dict) >> 8)}) + dict + a[2])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
}

// TestCompressedArrays reads the values of arrays that are larger than their file, and looks into no
// more of an array of objects than the file's bytes allow.
func TestCompressedArrays(t *testing.T) {
	dir := t.TempDir()
	npzFile(t, filepath.Join(dir, "weights.npz"), [3]string{"a", "<f4", strings.Repeat("\x00\x00\x80\x3f\x00\x00\x00\x40", 50_000)}, [3]string{"b", "<f4", strings.Repeat("\x00\x00\x80\x40\x00\x00\x00\x41", 50_000)})
	_, report := judged(t, dir, &Options{Values: true})
	for _, f := range report.Findings {
		if f.Rule.ID == "WT550" {
			t.Errorf("%s: %s", f.Rule.ID, f.Message)
		}
	}
	dir = t.TempDir()
	npzFile(t, filepath.Join(dir, "weights.npz"), [3]string{"o", "|O", "\x80\x04" + strings.Repeat("]", 9<<20) + "."})
	found := false
	_, report = judged(t, dir, &Options{})
	for _, f := range report.Findings {
		found = found || f.Rule.ID == "WT118" && strings.Contains(f.Message, "compressed, and at most")
	}
	if !found {
		t.Error("nothing says that the array of objects was not looked into")
	}
}
