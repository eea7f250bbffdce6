package check

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	tt "github.com/wtinspect/wtinspect/internal/torchtest"
)

// TestPicklesBeside judges pickles beside safetensors, whatever they are called and packed in, and leaves alone
// what is no pickle.
func TestPicklesBeside(t *testing.T) {
	const evil = "\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R."
	zipped := func(names ...string) string {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for _, name := range names {
			w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
			data := evil
			if strings.HasSuffix(name, "archive_format") {
				data = "pt2"
			}
			if err == nil {
				_, err = w.Write([]byte(data))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	gzipped := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write([]byte(text))
		z.Close()
		return b.String()
	}
	header := "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"
	array := "\x93NUMPY\x01\x00" + string([]byte{byte(len(header)), 0}) + header + evil
	dir := t.TempDir()
	if err := fixture.Write(filepath.Join(dir, "model.safetensors"), "tensor a F32 [2]\n"); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"evil.npy": array, ".hidden.pkl": evil, "weights.dat": evil, "w.pkl.gz": gzipped(evil), "archive.mar": zipped("model/x.data"),
		"export.pt2": zipped("m/archive_format", "m/data/sample_inputs/model.pt"), "shard.distcp": evil, "old": gzipped(evil + strings.Repeat("x", 9<<20)),

		"fine.npy": "\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }" + strings.Repeat(" ", 12) + "\n\x00\x00\x00\x00",
		"notes.gz": gzipped("notes"), ".env": "A=1", "words.txt": "cat\n", "tokens.bin": "numbers", "pictures.zip": zipped(), "data.json": evil,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	torch := tt.File{Root: tt.D("a", tt.NewTensor("float32", 1, 2)), Protocol: 2}.Zip().Bytes()
	if err := os.WriteFile(filepath.Join(dir, "pytorch_model.bin"), torch, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x.joblib"), []byte("\xfd7zXZ\x00and more"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := "903 2 files called as pickles are not looked into: nowhere.pt (no such file or directory) and x.joblib (compressed by xz)"
	if err := os.Symlink("nothing", filepath.Join(dir, "nowhere.pt")); err != nil {
		want = "903 1 file called as pickles is not looked into: x.joblib (compressed by xz)"
	}
	rel, err := checkpoint.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rel.Close()
	report, err := Run(t.Context(), rel, &Options{Select: []string{"WT710", "WT118", "WT903", "WT101", "WT902"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range report.Findings {
		switch f.Rule.ID {
		case "WT710":
			got = append(got, filepath.Base(f.File))
		default:
			got = append(got, strings.TrimPrefix(f.Rule.ID, "WT")+" "+f.Message)
		}
	}
	slices.Sort(got)
	wants := []string{
		".hidden.pkl", "118 it inflates to more than 8388608 bytes, and what is behind them is not judged",
		want, "903 2 pickles beside safetensors, as a second copy that can run code when it is loaded",
		"archive.mar", "evil.npy", "export.pt2", "old", "shard.distcp", "w.pkl.gz", "weights.dat",
	}
	slices.Sort(wants)
	if !slices.Equal(got, wants) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(wants, "\n"))
	}
}
