package gguf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestEncodeBytes holds the writer against bytes that are written down by hand.
func TestEncodeBytes(t *testing.T) {
	kvs := []KV{{Key: "general.architecture", Value: ValueOf("llama")}, {Key: "n", Value: ArrayOf(uint16(1), 2)}}
	tensors := []Tensor{{Name: "w", Type: F32, Dims: []uint64{8}}, {Name: "s", Type: F16, Offset: 32}}
	for _, test := range []struct {
		version uint32
		order   binary.ByteOrder
	}{
		{1, binary.LittleEndian},
		{2, nil},
		{3, binary.BigEndian},
	} {
		got, err := EncodeHeader(test.version, test.order, kvs, tensors, nil)
		if err != nil {
			t.Fatal(err)
		}
		order := test.order
		if order == nil {
			order = binary.LittleEndian
		}
		want := build(order, test.version == 1, "GGUF", test.version, count(2), count(2),
			kv("general.architecture", TypeString, str("llama")),
			kv("n", TypeArray, array(TypeUint16, 2, uint16(1), uint16(2))),
			info("w", F32, 0, 8), info("s", F16, 32), align(32))
		if !bytes.Equal(got, want) {
			t.Errorf("version %d:\n%q, want\n%q", test.version, got, want)
		}
	}
}

// TestReencode reads a file and writes it again, in its own encoding and every other.
func TestReencode(t *testing.T) {
	encodings := []struct {
		version uint32
		order   binary.ByteOrder
	}{
		{1, binary.LittleEndian}, {1, binary.BigEndian}, {2, binary.LittleEndian}, {3, binary.LittleEndian}, {3, binary.BigEndian},
	}
	for _, from := range encodings {
		f := open(t, specimen(from.order, from.version))
		for _, to := range encodings {
			want := specimen(to.order, to.version)
			want = want[:open(t, want).DataOffset]
			got, err := EncodeHeader(to.version, to.order, f.KVs, f.Tensors, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("from %v to %v: %d bytes, want %d", from, to, len(got), len(want))
			}
		}
	}
}

func TestEncodeErrors(t *testing.T) {
	w := []Tensor{{Name: "w", Type: F32, Dims: []uint64{8}}}
	align13 := []KV{{Key: "general.alignment", Value: ValueOf(uint32(64))}}
	for _, test := range []struct {
		name    string
		version uint32
		kvs     []KV
		tensors []Tensor
		opt     *EncodeOptions
		want    string
	}{
		{"version 0", 0, nil, nil, nil, "version 0"},
		{"version 4", 4, nil, nil, nil, "version 4"},
		{"no value", 3, []KV{{Key: "k"}}, nil, nil, `key "k": its value is empty`},
		{"no array", 3, []KV{{Key: "k", Value: Value{typ: TypeArray, enc: encoding{big: true}}}}, nil, nil, "its value is empty"},
		{"dimension", 1, nil, []Tensor{{Name: "w", Dims: []uint64{1 << 32}}}, nil, "does not fit into version 1"},
		{"dimensions", 3, nil, []Tensor{{Name: "w", Dims: make([]uint64, 9)}}, nil, "9 dimensions"},
		{"unaligned", 3, align13, w, &EncodeOptions{DataOffset: 96}, "not a multiple of the alignment 64"},
		{"too early", 3, nil, w, &EncodeOptions{DataOffset: 32}, "does not fit"},
		{"too late", 3, nil, w, &EncodeOptions{DataOffset: 1 << 40}, "is not read"},
	} {
		_, err := EncodeHeader(test.version, nil, test.kvs, test.tensors, test.opt)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error with %q", test.name, err, test.want)
		}
		if wantFit := test.opt != nil && test.name != "unaligned"; errors.Is(err, ErrNoFit) != wantFit {
			t.Errorf("%s: ErrNoFit is %v", test.name, !wantFit)
		}
	}
}

func TestFillerSize(t *testing.T) {
	// The key takes 10 bytes, its length and the value's 16 (in version 1, 8), the type 4.
	wide, narrow := encoding{}, encoding{narrow: true}
	for _, test := range []struct {
		gap, align int64
		enc        encoding
		size       int64
		ok         bool
	}{
		{-1, 32, wide, 0, false},
		{0, 32, wide, 0, true},
		{31, 32, wide, 0, true},
		{32, 32, wide, 32, true},
		{1000, 32, wide, 1000, true},
		{15, 16, wide, 0, true},
		{16, 16, wide, 0, false},
		{29, 16, wide, 0, false},
		{30, 16, wide, 30, true},
		{21, 1, narrow, 0, false},
		{22, 1, narrow, 22, true},
		{0, 1, wide, 0, true},
	} {
		size, ok := fillerSize(test.gap, test.align, test.enc)
		if size != test.size || ok != test.ok {
			t.Errorf("fillerSize(%d, %d, %+v) = %d, %v; want %d, %v", test.gap, test.align, test.enc, size, ok, test.size, test.ok)
		}
	}
}

var (
	versions   = rapid.SampledFrom([]uint32{1, 2, 3})
	orders     = rapid.SampledFrom([]binary.ByteOrder{binary.LittleEndian, binary.BigEndian})
	names      = rapid.StringN(1, 40, 60)
	alignments = rapid.SampledFrom([]uint32{1, 2, 8, 16, 32, 64, 4096})
	values     = rapid.Custom(func(t *rapid.T) Value {
		switch rapid.IntRange(0, 6).Draw(t, "kind") {
		case 0:
			return ValueOf(rapid.Uint32().Draw(t, "u32"))
		case 1:
			return ValueOf(rapid.Int16().Draw(t, "i16"))
		case 2:
			return ValueOf(rapid.Float64().Draw(t, "f64"))
		case 3:
			return ValueOf(rapid.Bool().Draw(t, "bool"))
		case 4:
			return ValueOf(rapid.String().Draw(t, "string"))
		case 5:
			return ArrayOf(rapid.SliceOf(rapid.String()).Draw(t, "strings")...)
		}
		return ArrayOf(rapid.SliceOf(rapid.Int64()).Draw(t, "i64s")...)
	})
)

// drawFile returns a file made by the writer.
func drawFile(t *rapid.T) []byte {
	kvs := []KV{{Key: "general.alignment", Value: ValueOf(alignments.Draw(t, "alignment"))}}
	for _, key := range rapid.SliceOfNDistinct(names, 0, 5, rapid.ID).Draw(t, "keys") {
		kvs = append(kvs, KV{Key: key, Value: values.Draw(t, "value")})
	}
	var tensors []Tensor
	for _, name := range rapid.SliceOfNDistinct(names, 1, 8, rapid.ID).Draw(t, "names") {
		dims := rapid.SliceOfN(rapid.Uint64Range(0, 3), 0, 3).Draw(t, "dims")
		tensors = append(tensors, Tensor{
			Name: name, Type: rapid.SampledFrom([]TensorType{F32, Q4_K, I8}).Draw(t, "type"),
			Dims: append([]uint64{256 * rapid.Uint64Range(0, 2).Draw(t, "row")}, dims...),
		})
	}
	tensors, err := Layout(tensors, alignment(kvs))
	if err != nil {
		t.Fatal(err)
	}
	b, err := EncodeHeader(versions.Draw(t, "version"), orders.Draw(t, "order"), kvs, tensors, nil)
	if err != nil {
		t.Fatal(err)
	}
	last := tensors[len(tensors)-1]
	return append(b, make([]byte, pad(last.Offset+last.Bytes, uint64(alignment(kvs))))...)
}

func reopen(t *rapid.T, b []byte) *File {
	f, err := NewFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestEncodeRoundTrip writes files, reads them, and finds what was written, and no fault
// in the layout.
func TestEncodeRoundTrip(t *testing.T) {
	layout := []Code{CodeOverlap, CodeGap, CodeOutOfOrder, CodeUnalignedOffset, CodeDataTruncated, CodeTrailingData, CodeNonzeroPadding}
	rapid.Check(t, func(t *rapid.T) {
		b := drawFile(t)
		f := reopen(t, b)
		again, err := EncodeHeader(f.Version, f.ByteOrder, f.KVs, f.Tensors, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, b[:len(again)]) || int64(len(again)) != f.DataOffset {
			t.Fatalf("written again, the header is another")
		}
		for _, flt := range f.Validate() {
			if slices.Contains(layout, flt.Code) {
				t.Fatal(flt.Error())
			}
		}
	})
}

// TestRename renames the tensors of a file and moves its data, undoes it, and asks for the
// shortest header.
func TestRename(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawFile(t)
		f := reopen(t, b)
		newNames := rapid.SliceOfN(names, len(f.Tensors), len(f.Tensors)).Draw(t, "new names")
		steps := rapid.Int64Range(0, 100).Draw(t, "steps")
		start := f.DataOffset + steps*f.Alignment

		shortest, err := f.Rename(func(i int) string { return newNames[i] }, 0)
		if err != nil {
			t.Fatal(err)
		}
		header, err := f.Rename(func(i int) string { return newNames[i] }, start)
		if errors.Is(err, ErrNoFit) {
			gap := start - int64(len(shortest))
			if gap >= minFiller(encoding{}) {
				t.Fatalf("a gap of %d bytes: %v", gap, err)
			}
			if gap >= 0 && f.Alignment >= 32 {
				t.Fatalf("a gap of %d bytes with alignment %d: %v", gap, f.Alignment, err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		g := reopen(t, append(slices.Clone(header), b[f.DataOffset:]...))
		if int64(len(header)) != start || g.DataOffset != start {
			t.Fatalf("the header has %d bytes and the data begin at %d, want %d", len(header), g.DataOffset, start)
		}
		kvs := withoutFiller(g.KVs)
		if len(kvs) != len(f.KVs) {
			t.Fatalf("%d keys, want %d", len(kvs), len(f.KVs))
		}
		for i, kv := range kvs {
			if old := f.KVs[i]; kv.Key != old.Key || !bytes.Equal(header[kv.Offset:kv.End], b[old.Offset:old.End]) {
				t.Fatalf("the record of key %q has changed", old.Key)
			}
		}
		for i, got := range g.Tensors {
			want := f.Tensors[i]
			want.Name, want.InfoOffset, want.InfoEnd = newNames[i], got.InfoOffset, got.InfoEnd
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("tensor %d: %+v, want %+v", i, got, want)
			}
		}

		oldName := func(i int) string { return f.Tensors[i].Name }
		back, err := g.Rename(oldName, 0)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back, b[:f.DataOffset]) {
			t.Fatal("renamed back, the header is another")
		}
		if back, err = g.Rename(oldName, start); err == nil && int64(len(back)) != start {
			t.Fatalf("renamed back in place, the header has %d bytes, not %d", len(back), start)
		}
	})
}

// TestRenameKeepsMagic renames in a file with the magic that some writers use.
func TestRenameKeepsMagic(t *testing.T) {
	b := build(binary.BigEndian, false, "FUGG", uint32(3), count(1), count(0), info("w", F32, 0, 8), align(32), zeros(32))
	f := open(t, b)
	got, err := f.Rename(func(int) string { return "w" }, f.DataOffset)
	if err != nil || !bytes.Equal(got, b[:len(got)]) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestSetMetadata(t *testing.T) {
	f := open(t, specimen(binary.BigEndian, 2))
	kvs := append(slices.Clone(f.KVs[1:]), KV{Key: "new", Value: ValueOf("value")})
	b, err := f.SetMetadata(kvs, f.DataOffset+320)
	if err != nil {
		t.Fatal(err)
	}
	g := open(t, b)
	v, _ := g.Lookup("new")
	if s, _ := v.Text(); s != "value" || g.DataOffset != f.DataOffset+320 {
		t.Errorf("new is %q, data at %d", s, g.DataOffset)
	}
	if _, ok := g.Lookup("general.architecture"); ok {
		t.Error("the key that was left out is there")
	}
	if v, _ := g.Lookup(FillerKey); v.Type() != TypeString || codesOf(g.Validate())[0] != CodeBigEndian {
		t.Errorf("filler of type %s, faults %v", v.Type(), g.Validate())
	}
	if _, err := f.SetMetadata([]KV{{Key: "general.alignment", Value: ValueOf(uint32(64))}}, 0); err == nil {
		t.Error("the alignment can be changed")
	}
}

// TestFillerReplaced moves the data twice: there is one filler, the last record.
func TestFillerReplaced(t *testing.T) {
	f := open(t, control())
	for _, start := range []int64{256, 1024, 128} {
		b, err := EncodeHeader(f.Version, f.ByteOrder, f.KVs, f.Tensors, &EncodeOptions{DataOffset: start})
		if err != nil {
			t.Fatal(err)
		}
		f = open(t, append(b, make([]byte, 32)...))
		if len(f.KVs) != 1 || f.KVs[0].Key != FillerKey || f.DataOffset != start || f.Validate() != nil {
			t.Errorf("data at %d, want %d; records %v, faults %v", f.DataOffset, start, f.KVs, f.Validate())
		}
	}
}

// TestForeignFiller has keys that look like a filler and hold something.
func TestForeignFiller(t *testing.T) {
	kvs := []KV{
		{Key: FillerKey, Value: ValueOf("  x  ")},
		{Key: FillerKey, Value: ValueOf(uint32(1))},
		{Key: FillerKey, Value: ValueOf("   ")},
		{Key: "k", Value: ValueOf("   ")},
	}
	if got := withoutFiller(kvs); len(got) != 3 || got[2].Key != "k" || len(kvs) != 4 {
		t.Errorf("left are %d records: %+v", len(got), got)
	}
}

func TestLayout(t *testing.T) {
	got, err := Layout([]Tensor{
		{Name: "a", Type: Q8_0, Dims: []uint64{64}}, // 68 bytes
		{Name: "b", Type: F32, Dims: []uint64{4, 0}},
		{Name: "c", Type: F32},
	}, 32)
	if err != nil {
		t.Fatal(err)
	}
	var offsets []uint64
	for _, tensor := range got {
		offsets = append(offsets, tensor.Offset, tensor.Bytes)
	}
	if want := []uint64{0, 68, 96, 0, 96, 4}; !slices.Equal(offsets, want) {
		t.Errorf("offsets and bytes %d, want %d", offsets, want)
	}
	for _, bad := range [][]Tensor{
		{{Name: "w", Type: 139, Dims: []uint64{256}}},
		{{Name: "w", Type: I8, Dims: []uint64{math.MaxInt64}}, {Name: "v", Type: I8, Dims: []uint64{1}}},
	} {
		if got, err := Layout(bad, 32); err == nil {
			t.Errorf("Layout: %+v", got)
		}
	}
	if _, err := Layout(nil, 0); err == nil {
		t.Error("alignment 0 is accepted")
	}
}

func TestElements(t *testing.T) {
	for _, test := range []struct {
		dims []uint64
		want uint64
		ok   bool
	}{
		{nil, 1, true},
		{[]uint64{3, 4}, 12, true},
		{[]uint64{math.MaxInt64, 1}, math.MaxInt64, true},
		{[]uint64{1 << 32, 1 << 31}, 0, false},
		{[]uint64{0, math.MaxInt64, math.MaxInt64}, 0, true},
		{[]uint64{math.MaxInt64, math.MaxInt64, 0}, 0, true},
		{[]uint64{0, 1 << 63}, 0, false},
		{[]uint64{4194305, 4194305, 211106198978564}, 0, false},
	} {
		if got, ok := (Tensor{Dims: test.dims}).Elements(); got != test.want || ok != test.ok {
			t.Errorf("%s: %d, %v", fmt.Sprint(test.dims), got, ok)
		}
	}
}
