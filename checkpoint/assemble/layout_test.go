package assemble

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/oracle"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// tensor is a tensor that is in memory.
func tensor(name, dtype string, size int64, shape ...uint64) Tensor {
	return Tensor{Name: name, DType: dtype, Shape: shape, Data: bytes.NewReader(make([]byte, size)), Size: size}
}

func TestParts(t *testing.T) {
	for _, tt := range []struct {
		format checkpoint.Format
		most   int64
		sizes  []int64
		want   string
	}{
		// The example of split_state_dict_into_shards_factory in huggingface_hub.
		{checkpoint.Safetensors, 10, []int64{6, 6, 2, 6, 2, 2}, "[6] [6 2] [6 2 2]"},
		{checkpoint.Safetensors, 10, []int64{10, 0, 1}, "[10 0] [1]"},
		{checkpoint.Safetensors, 10, []int64{2, 11, 2, 12, 13}, "[2] [11]! [2] [12]! [13]!"},
		{checkpoint.Safetensors, 0, []int64{2, 11, 2}, "[2 11 2]"},
		{checkpoint.Safetensors, 1 << 62, []int64{1 << 60, 1 << 59}, "[1152921504606846976 576460752303423488]"},
		// gguf-split counts whole multiples of 32 bytes.
		{checkpoint.GGUF, 64, []int64{1, 32, 1}, "[1 32] [1]"},
		{checkpoint.GGUF, 64, []int64{33, 1, 65, 31}, "[33] [1] [65]! [31]"},
	} {
		s := &Spec{Format: tt.format, Layout: Layout{MaxShardSize: tt.most}}
		for _, n := range tt.sizes {
			s.Tensors = append(s.Tensors, Tensor{Size: n})
		}
		var got []string
		for _, p := range s.parts() {
			text := fmt.Sprint(tt.sizes[p.from:p.to])
			if p.over {
				text += "!"
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%v in %d: %v, want %s", tt.sizes, tt.most, got, tt.want)
		}
	}
}

// The text is what Python's json.dumps(index, indent=2, sort_keys=True) gives.
func TestIndex(t *testing.T) {
	s := &Spec{Format: checkpoint.Safetensors, Tensors: []Tensor{
		tensor("größe 𝄞", "F32", 16, 4), tensor("a\"b\\c", "F32", 8, 2),
		tensor("tab\there\x7f", "F32", 4, 1), tensor("Zed", "F32", 8, 2), tensor("\uffee", "F32", 4),
	}}
	got, err := s.index([]part{{0, 2, false}, {2, 5, false}}, []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"})
	must(t, err)
	want := `{
  "metadata": {
    "total_parameters": 10,
    "total_size": 40
  },
  "weight_map": {
    "Zed": "model-00002-of-00002.safetensors",
    "a\"b\\c": "model-00001-of-00002.safetensors",
    "gr\u00f6\u00dfe \ud834\udd1e": "model-00001-of-00002.safetensors",
    "tab\there\u007f": "model-00002-of-00002.safetensors",
    "\uffee": "model-00002-of-00002.safetensors"
  }
}
`
	if string(got) != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// Elements are at multiples of their size, whatever the order of the header.
func TestAligned(t *testing.T) {
	s := &Spec{Format: checkpoint.Safetensors, Tensors: []Tensor{
		tensor("a", "U8", 3, 3), tensor("b", "F32", 8, 2), tensor("c", "BF16", 2, 1), tensor("d", "F64", 8, 1), tensor("e", "F8_E4M3", 1, 1),
	}}
	out := filepath.Join(t.TempDir(), "m.safetensors")
	run(t, txn.OS{}, s, &Options{Output: out})
	f, err := oracle.Read(out)
	must(t, err)
	var got []string
	for _, tensor := range f.Tensors {
		got = append(got, tensor.Name)
		if width := tensor.Size / max(1, int64(tensor.Elements())); tensor.Offset%width != 0 {
			t.Errorf("%s is at byte %d, and its elements have %d", tensor.Name, tensor.Offset, width)
		}
	}
	if !slices.Equal(got, []string{"a", "b", "c", "d", "e"}) {
		t.Errorf("the header has %v", got)
	}
	if f.DataOffset%4096 != 0 {
		t.Errorf("the data begin at byte %d", f.DataOffset)
	}
}

// TestGGUF copies a GGUF file, takes it apart and puts it together again. An independent
// reader says what is in the files.
func TestGGUF(t *testing.T) {
	for _, alignment := range []string{"", "kv general.alignment u32 64\n", "kv general.alignment u32 8\n"} {
		dir := t.TempDir()
		src := filepath.Join(dir, "src.gguf")
		must(t, fixture.Write(src, strings.Replace(llamaGGUF, "kv general.name", alignment+"kv general.name", 1)))
		want := tensorsOf(t, src)
		old, err := oracle.Read(src)
		must(t, err)

		parts := filepath.Join(dir, "parts")
		s := specOf(t, open(t, src))
		s.Layout = Layout{MaxShardSize: 4000, Base: "small"}
		job, _ := run(t, txn.OS{}, s, &Options{Output: parts})
		if got, want := names(t, parts), []string{"small-00001-of-00003.gguf", "small-00002-of-00003.gguf", "small-00003-of-00003.gguf"}; !slices.Equal(got, want) {
			t.Fatalf("files %q, want %q", got, want)
		}
		if got := tensorsOf(t, filepath.Join(parts, "small-00001-of-00003.gguf")); !slices.Equal(got, want) {
			t.Errorf("parts:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		for no, f := range job.Files {
			part, err := oracle.Read(filepath.Join(parts, f.Name))
			must(t, err)
			split := []string{
				fmt.Sprintf(`"split.no" u16 %#v`, uint16(no)), fmt.Sprintf(`"split.count" u16 %#v`, uint16(3)),
				fmt.Sprintf(`"split.tensors.count" i32 %#v`, int32(len(want))),
			}
			var got, mine []string
			for _, e := range part.Metadata {
				got = append(got, e.String())
			}
			for _, e := range old.Metadata {
				if no == 0 || e.Key == "general.alignment" {
					mine = append(mine, e.String())
				}
			}
			if mine = append(mine, split...); !slices.Equal(got, mine) {
				t.Errorf("%s: metadata\n%q\nwant\n%q", f.Name, got, mine)
			}
			if part.Version != 3 || part.Size != f.Bytes || part.Size%int64(part.Alignment) != 0 || part.Alignment != old.Alignment {
				t.Errorf("%s: version %d, %d bytes, alignment %d", f.Name, part.Version, part.Size, part.Alignment)
			}
		}

		again := filepath.Join(dir, "again.gguf")
		run(t, txn.OS{}, specOf(t, open(t, filepath.Join(parts, "small-00001-of-00003.gguf"))), &Options{Output: again})
		if got := fixture.Snapshot(t, dir); got["again.gguf"] != got["src.gguf"] {
			t.Error("taken apart and put together the file is another one")
		}
	}
}

// What no reader would read is not written.
func TestImpossible(t *testing.T) {
	value := gguf.ValueOf(uint32(3))
	big := filepath.Join(t.TempDir(), "big.gguf")
	must(t, fixture.Write(big, "format gguf\norder big\ntensor a F32 [4]\n"))
	if _, err := Stored(open(t, big), 0); err == nil || !strings.Contains(err.Error(), "big-endian") {
		t.Errorf("a big-endian tensor: %v", err)
	}
	long := strings.Repeat("n", 100)
	for _, tt := range []struct {
		name string
		spec Spec
		want string
	}{
		{"nothing", Spec{}, "there is no tensor to write"},
		{"format", Spec{Format: checkpoint.PyTorch}, `format "pytorch"`},
		{"twice", Spec{Tensors: []Tensor{tensor("a", "F32", 4), tensor("a", "F32", 4)}, Layout: Layout{MaxShardSize: 4}}, `tensor "a" would be there twice`},
		{"size", Spec{Tensors: []Tensor{tensor("a", "F32", 5, 1)}}, "has 4 bytes, not 5"},
		{"no size", Spec{Tensors: []Tensor{{Name: "a", DType: "F32", Size: -1, Data: bytes.NewReader(nil)}}}, "-1 bytes of data"},
		{"total", Spec{Tensors: []Tensor{{Name: "a", DType: "X", Size: 1 << 60, Data: bytes.NewReader(nil)}, {Name: "b", DType: "X", Size: 1, Data: bytes.NewReader(nil)}}}, `tensor "b"`},
		{"shape", Spec{Tensors: []Tensor{tensor("a", "F32", 4, 1<<62, 1<<62)}}, `"a"`},
		{"name", Spec{Tensors: []Tensor{tensor("__metadata__", "F32", 4)}}, "__metadata__"},
		{"utf8", Spec{Tensors: []Tensor{tensor("\xff", "F32", 4)}}, "UTF-8"},
		{"value", Spec{Tensors: []Tensor{tensor("a", "F32", 4)}, Metadata: []checkpoint.MetaKV{{Key: "k", Value: &value}}}, `"k"`},
		{"base", Spec{Tensors: []Tensor{tensor("a", "F32", 4)}, Layout: Layout{Base: "../m"}}, `"../m"`},
		{"document", Spec{Tensors: []Tensor{tensor("a", "F32", 4)}, Documents: []Document{{Name: "../x", Text: []byte("x")}}}, `"../x"`},
		{"absolute", Spec{Tensors: []Tensor{tensor("a", "F32", 4)}, Documents: []Document{{Name: "/x", Text: []byte("x")}}}, `"/x"`},
		{"over weights", Spec{Tensors: []Tensor{tensor("a", "F32", 4)}, Documents: []Document{{Name: "model.safetensors", Text: []byte("x")}}}, "written twice"},
		{"files", Spec{Tensors: slices.Collect(func(yield func(Tensor) bool) {
			for i := range 10_001 {
				if !yield(tensor(fmt.Sprint(i), "U8", 1, 1)) {
					return
				}
			}
		}), Layout: Layout{MaxShardSize: 1}}, "would be 10001 files, and readers take 10000 at most"},
		{"type", Spec{Format: checkpoint.GGUF, Tensors: []Tensor{tensor("a", "F8_E4M3", 4, 4)}}, "GGUF has no type F8_E4M3"},
		{"block", Spec{Format: checkpoint.GGUF, Tensors: []Tensor{tensor("a", "Q8_0", 34, 31)}}, `"a"`},
		{"dimensions", Spec{Format: checkpoint.GGUF, Tensors: []Tensor{tensor("a", "F32", 4, 1, 1, 1, 1, 1)}}, `"a"`},
		{"long name", Spec{Format: checkpoint.GGUF, Tensors: []Tensor{tensor(long, "F32", 4, 1)}}, long},
		{"alignment", Spec{Format: checkpoint.GGUF, Tensors: []Tensor{tensor("a", "F32", 4, 1)}, Metadata: []checkpoint.MetaKV{{Key: "general.alignment", Value: &value}}}, "power of two"},
		{"text", Spec{Format: checkpoint.GGUF, Tensors: []Tensor{tensor("a", "F32", 4, 1)}, Metadata: []checkpoint.MetaKV{{Key: "k", Text: "v"}}}, `"k"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.spec.Format == "" {
				tt.spec.Format = checkpoint.Safetensors
			}
			dir := t.TempDir()
			_, err := Prepare(t.Context(), &tt.spec, &Options{Output: filepath.Join(dir, "out")})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if n := names(t, dir); len(n) > 0 {
				t.Errorf("there is %q", n)
			}
		})
	}
}

// A result without a destination has its files and sizes, and is not written. One of
// tensors without elements is written.
func TestNoDestination(t *testing.T) {
	s := &Spec{Format: checkpoint.Safetensors, Tensors: []Tensor{tensor("a", "F32", 0, 0), tensor("b", "F32", 0, 0, 4)}}
	j, err := Prepare(t.Context(), s, &Options{})
	must(t, err)
	if len(j.Files) != 1 || j.Files[0].Name != "model.safetensors" || j.Files[0].Tensors != 2 || j.Free != -1 {
		t.Errorf("job %+v", j)
	}
	if _, err := j.Run(t.Context(), nil); err == nil {
		t.Error("it was written somewhere")
	}
	out := filepath.Join(t.TempDir(), "out")
	run(t, txn.OS{}, s, &Options{Output: out + "/"})
	if got := tensorsOf(t, out); len(got) != 2 {
		t.Errorf("%q", got)
	}
	if j, err = Prepare(t.Context(), s, &Options{Output: out + ".safetensors/"}); err == nil {
		err = j.Err()
	}
	if err == nil || !strings.Contains(err.Error(), "is the name of a file") {
		t.Errorf("a directory that is called as a file: %v", err)
	}
}
