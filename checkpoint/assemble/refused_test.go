package assemble

import (
	"bytes"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

// What cannot be written is refused before anything is, with the reason.
func TestSpecRefused(t *testing.T) {
	plain := func() *Spec {
		return &Spec{Format: checkpoint.Safetensors, Tensors: []Tensor{{Name: "a", DType: "U8", Shape: []uint64{4}, Data: bytes.NewReader(make([]byte, 4)), Size: 4}}}
	}
	tests := []struct {
		name, out, want string
		change          func(*Spec)
	}{
		{"a base with a path", "out", `"../x" cannot begin the names of files`, func(s *Spec) { s.Layout.Base = "../x" }},
		{"a size below 0", "out", `tensor "a": -1 bytes of data cannot be written`, func(s *Spec) { s.Tensors[0].Size = -1 }},
		{"too many bytes", "out", `tensor "a": 2305843009213693952 bytes of data cannot be written`, func(s *Spec) { s.Tensors[0].Size = 1 << 61 }},
		{"documents beside a file", "x.safetensors", "x.safetensors is a file, and documents are written beside the weights: name a directory", func(s *Spec) { s.Documents = []Document{{Name: "config.json", Text: []byte("{}")}} }},
		{"a document with the name of a file", "out", "model.safetensors would be written twice", func(s *Spec) { s.Documents = []Document{{Name: "model.safetensors", Text: []byte("{}")}} }},
		{"a document elsewhere", "out", `"../config.json" is not a name below the directory of the result`, func(s *Spec) { s.Documents = []Document{{Name: "../config.json", Text: []byte("{}")}} }},
		{"metadata of safetensors in GGUF", "out", `metadata key "format" is of safetensors, and has no value of GGUF`, func(s *Spec) {
			s.Format, s.Metadata = checkpoint.GGUF, []checkpoint.MetaKV{{Key: "format", Text: "pt"}}
			s.Tensors[0].DType = "I8"
		}},
		{"more elements than are counted", "out", `tensor "b": with it the checkpoint has more elements than 64 bits count`, func(s *Spec) {
			s.Layout.MaxShardSize = 1
			for _, name := range []string{"b", "c"} {
				s.Tensors = append(s.Tensors, Tensor{Name: name, DType: "of no size", Shape: []uint64{math.MaxUint64}, Data: bytes.NewReader(nil), Size: 0})
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := plain()
			tt.change(s)
			dir := t.TempDir()
			_, err := Prepare(t.Context(), s, &Options{Output: filepath.Join(dir, tt.out)})
			if err == nil || !strings.HasSuffix(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
	j, err := Prepare(t.Context(), plain(), &Options{})
	must(t, err)
	if _, err := j.Run(t.Context(), nil); err == nil || err.Error() != "there is no destination to write to" {
		t.Error(err)
	}
}

// The bytes of a big-endian file are not those that are written.
func TestStoredBigEndian(t *testing.T) {
	path := filepath.Join(t.TempDir(), "big.gguf")
	must(t, fixture.Write(path, "format gguf\norder big\nkv general.architecture str llama\ntensor a F32 [4]\n"))
	_, err := Stored(open(t, path), 0)
	if err == nil || !strings.Contains(err.Error(), "is big-endian, and what is written is little-endian; convert it with gguf_convert_endian.py of llama.cpp first") {
		t.Error(err)
	}
}
