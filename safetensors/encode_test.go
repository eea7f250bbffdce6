package safetensors

import (
	"bytes"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

func TestEncodeHeader(t *testing.T) {
	tensors := []Tensor{{Name: "attn.0", DType: "F32", Shape: []uint64{1, 2, 3}, End: 24}}
	// The bytes of the reference's test_serialization.
	const golden = "\x40\x00\x00\x00\x00\x00\x00\x00" +
		`{"attn.0":{"dtype":"F32","shape":[1,2,3],"data_offsets":[0,24]}}`
	for _, c := range []struct {
		name    string
		tensors []Tensor
		meta    []KV
		opt     *EncodeOptions
		want    string // or the error's beginning, after "error: "
	}{
		{name: "golden", tensors: tensors, want: golden},
		{name: "empty", want: "\x08\x00\x00\x00\x00\x00\x00\x00{}      "},
		{name: "unpadded", opt: &EncodeOptions{Align: 1}, want: "\x02\x00\x00\x00\x00\x00\x00\x00{}"},
		{name: "aligned", opt: &EncodeOptions{Align: 32}, want: "\x18\x00\x00\x00\x00\x00\x00\x00{}" + strings.Repeat(" ", 22)},
		{name: "exact", opt: &EncodeOptions{Size: 13}, want: "\x05\x00\x00\x00\x00\x00\x00\x00{}   "},
		{name: "too tight", opt: &EncodeOptions{Size: 9}, want: "error: header needs 10 bytes and has room for 9"},
		{name: "negative", opt: &EncodeOptions{Align: -8}, want: "error: alignment -8"},
		{name: "absurd alignment", opt: &EncodeOptions{Align: 1 << 62}, want: "error: alignment"},
		{name: "too large", opt: &EncodeOptions{Size: MaxHeader + 9}, want: "error: header of 100000001 bytes"},
		{
			name: "metadata", meta: []KV{{"b", "\"\\\b\f\n\r\t\x01\x1f\x7f/é"}, {"a", ""}}, opt: &EncodeOptions{Align: 1},
			want: "\x3e\x00\x00\x00\x00\x00\x00\x00" + `{"__metadata__":{"b":"\"\\\b\f\n\r\t\u0001\u001f` + "\x7f/é" + `","a":""}}`,
		},
		{name: "empty metadata", meta: []KV{}, opt: &EncodeOptions{Align: 1}, want: "\x13\x00\x00\x00\x00\x00\x00\x00" + `{"__metadata__":{}}`},
		{name: "name twice", tensors: []Tensor{{Name: "a"}, {Name: "a"}}, want: `error: tensor "a" is given twice`},
		{name: "metadata name", tensors: []Tensor{{Name: "__metadata__"}}, want: "error: a tensor cannot be named"},
		{name: "bad name", tensors: []Tensor{{Name: "\xff"}}, want: `error: tensor name "\xff" is not UTF-8`},
		{name: "bad dtype", tensors: []Tensor{{DType: "\xff"}}, want: `error: tensor "": dtype "\xff" is not UTF-8`},
		{name: "bad metadata", meta: []KV{{"k", "\xff"}}, want: `error: metadata entry "k" is not UTF-8`},
		{name: "key twice", meta: []KV{{"k", ""}, {"k", ""}}, want: `error: metadata key "k" is given twice`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := EncodeHeader(c.tensors, c.meta, c.opt)
			if err != nil {
				if !strings.HasPrefix("error: "+err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
				return
			}
			if diff := gocmp.Diff(c.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLayout(t *testing.T) {
	got := Layout([]Tensor{
		{Name: "x", DType: "MX9", Shape: []uint64{9}, Begin: 3, End: 5},
		{Name: "b", DType: "BOOL", Shape: []uint64{3}},
		{Name: "a", DType: "F4", Shape: []uint64{2, 2}},
		{Name: "z", DType: "F32", Shape: []uint64{}},
		{Name: "é", DType: "F32", Shape: []uint64{0}},
		{Name: "c", DType: "U64", Shape: []uint64{2}, Begin: 99, End: 1},
	})
	want := []Tensor{
		{"c", "U64", []uint64{2}, 0, 16},
		{"z", "F32", []uint64{}, 16, 20},
		{"é", "F32", []uint64{0}, 20, 20},
		{"a", "F4", []uint64{2, 2}, 20, 22},
		{"b", "BOOL", []uint64{3}, 22, 25},
		{"x", "MX9", []uint64{9}, 25, 27},
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSpliceNames(t *testing.T) {
	const header = " {\n  \"__metadata__\" : { \"a\" : \"a\" },\n" +
		`  "\u0061" : {"x":"a", "data_offsets":[4,8] , "dtype":"F32","shape":[ 1 ]},` + "\n" +
		`  "b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}, "ö\n":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}}` + "  \n "
	f := open(t, file(header, 8))
	splice := func(names map[string]string) (string, error) {
		b, err := SpliceNames(f, func(i int) string {
			old := f.At(i).Name
			if name, ok := names[old]; ok {
				return name
			}
			return old
		})
		return string(b), err
	}
	for _, c := range []struct {
		names    map[string]string
		old, new []string // in the header
		err      string
	}{
		{},
		{names: map[string]string{"a": "a"}}, // keeps the escape
		{names: map[string]string{"a": "b", "b": "a"}, old: []string{`"\u0061"`, `"b"`}, new: []string{`"b"`, `"a"`}},
		{names: map[string]string{"ö\n": "\"\\é\x01"}, old: []string{`"ö\n"`}, new: []string{`"\"\\é\u0001"`}},
		{names: map[string]string{"a": "b"}, err: `tensors "a" and "b" would both be named "b"`},
		{names: map[string]string{"a": "__metadata__"}, err: "a tensor cannot be named"},
		{names: map[string]string{"a": "\xff"}, err: "is not UTF-8"},
	} {
		got, err := splice(c.names)
		if err != nil || c.err != "" {
			if err == nil || c.err == "" || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v, want %q", c.names, err, c.err)
			}
			continue
		}
		var pairs []string
		for i := range c.old {
			pairs = append(pairs, c.old[i]+" :", c.new[i]+" :", c.old[i]+":{", c.new[i]+":{")
		}
		if diff := gocmp.Diff(strings.NewReplacer(pairs...).Replace(header), got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.names, diff)
		}
	}
	// Names that repeat in the file may stay.
	twice := open(t, file(`{"w":`+plain+`,"w":`+plain+`}`, 4))
	same, err := SpliceNames(twice, func(int) string { return "w" })
	if err != nil || !bytes.Equal(same, twice.Header()) {
		t.Errorf("repeated names: %q, %v", same, err)
	}
	if b, err := FrameHeader(same, nil); err != nil || len(b)%8 != 0 || open(t, append(b, 0, 0, 0, 0)).Len() != 2 {
		t.Errorf("framed: %q, %v", b, err)
	}
}
