package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/testdata"
)

// listed is a tensor as ls -f json and as a plain reading of the bytes give it.
type listed struct {
	Name   string
	DType  string
	Shape  []uint64
	Offset int64
}

// TestRealFiles lists files that other programs wrote, and compares what it is
// told with a reading of the bytes that shares no code with the packages.
func TestRealFiles(t *testing.T) {
	for _, dir := range []string{testdata.Path(t, "models"), testdata.Path(t, "tinyllama/A0")} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			ext := filepath.Ext(path)
			if err != nil || ext != ".safetensors" && ext != ".gguf" {
				return err
			}
			t.Run(filepath.Base(path), func(t *testing.T) { compareListing(t, path) })
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func compareListing(t *testing.T, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want []listed
	if strings.HasSuffix(path, ".gguf") {
		want = plainGGUF(data)
	} else {
		want = plainSafetensors(t, data)
	}

	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"ls", "-f", "json", path}, strings.NewReader(""), &out, &errs); code != exitOK {
		t.Fatalf("exit %d: %s", code, &errs)
	}
	var doc struct {
		Tensors []struct {
			listed
			File string
		}
	}
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	var got []listed
	for _, l := range doc.Tensors {
		// A part of a split stands for the whole.
		if l.File == filepath.Base(path) {
			got = append(got, l.listed)
		}
	}
	byName := func(a, b listed) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(got, byName)
	slices.SortFunc(want, byName)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func plainSafetensors(t *testing.T, data []byte) []listed {
	n := int64(binary.LittleEndian.Uint64(data))
	var header map[string]struct {
		DType   string   `json:"dtype"`
		Shape   []uint64 `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	if err := json.Unmarshal(data[8:8+n], &header); err != nil {
		t.Fatal(err)
	}
	var out []listed
	for name, e := range header {
		if name != "__metadata__" {
			out = append(out, listed{name, e.DType, e.Shape, 8 + n + e.Offsets[0]})
		}
	}
	return out
}

// plainGGUF believes everything: it is for files that are known to be good.
func plainGGUF(data []byte) []listed {
	pos := 4
	order := binary.ByteOrder(binary.LittleEndian)
	if data[4] == 0 {
		order = binary.BigEndian
	}
	u32 := func() uint32 { pos += 4; return order.Uint32(data[pos-4:]) }
	u64 := func() uint64 { pos += 8; return order.Uint64(data[pos-8:]) }
	version := u32()
	length := func() uint64 {
		if version == 1 {
			return uint64(u32())
		}
		return u64()
	}
	str := func() string {
		n := int(length())
		pos += n
		return string(data[pos-n : pos])
	}
	tensors, kvs := length(), length()
	alignment := int64(32)
	sizes := []int{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8}
	var value func(typ uint32)
	value = func(typ uint32) {
		switch typ {
		case 8:
			str()
		case 9:
			elem, n := u32(), length()
			for range n {
				value(elem)
			}
		default:
			pos += sizes[typ]
		}
	}
	for range kvs {
		key, typ := str(), u32()
		if key == "general.alignment" {
			alignment = int64(order.Uint32(data[pos:]))
		}
		value(typ)
	}
	names := map[uint32]string{0: "F32", 1: "F16", 2: "Q4_0", 8: "Q8_0", 14: "Q6_K"}
	var out []listed
	for range tensors {
		l := listed{Name: str(), Shape: []uint64{}}
		for range u32() {
			l.Shape = append(l.Shape, length())
		}
		slices.Reverse(l.Shape)
		l.DType, l.Offset = names[u32()], int64(u64())
		out = append(out, l)
	}
	start := (int64(pos) + alignment - 1) / alignment * alignment
	for i := range out {
		out[i].Offset += start
	}
	return out
}
