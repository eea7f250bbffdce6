package rewrite

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
)

func TestRewriteObject(t *testing.T) {
	tests := []struct {
		in   string
		drop []string
		add  []string
		want string
	}{
		{`{"a":1,"b":2}`, nil, nil, `{"a":1,"b":2}`},
		{`{"a":1,"b":2,"c":3}`, []string{"b"}, nil, `{"a":1,"c":3}`},
		{`{"a":1,"b":2,"c":3}`, []string{"a"}, nil, `{"b":2,"c":3}`},
		{`{"a":1,"b":2}`, []string{"b"}, nil, `{"a":1}`},
		{`{ "a" : [1,{"x":"}"}] }`, []string{"a"}, nil, `{ }`},
		{"{\n  \"a\": 1,\n  \"b\": 2\n}", []string{"a"}, []string{`"c": 3`}, "{\n  \"b\": 2,\n  \"c\": 3\n}"},
		{`{}`, nil, []string{`"c":3`, `"d":4`}, `{"c":3,"d":4}`},
		{`{"\u0061":1,"b":2}`, []string{"a"}, nil, `{"b":2}`},
	}
	for _, tt := range tests {
		text := []byte(tt.in)
		list, end := members(text, 0)
		var added [][]byte
		for _, a := range tt.add {
			added = append(added, []byte(a))
		}
		got := rewriteObject(text, list, end, func(m member) ([]byte, bool) { return nil, !slices.Contains(tt.drop, m.name(text)) }, added)
		if string(got) != tt.want {
			t.Errorf("%s without %q with %q: %s, want %s", tt.in, tt.drop, tt.add, got, tt.want)
		}
	}
}

func FuzzRewriteObject(f *testing.F) {
	f.Add([]byte(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b\\"":null}  `), uint64(1))
	f.Add([]byte(" {\n\t\"x\" : \"}\\\\\" ,\"y\":[[],{}] }"), uint64(2))
	f.Fuzz(func(t *testing.T, text []byte, drop uint64) {
		if !json.Valid(text) || len(bytes.TrimLeft(text, " \t\r\n")) == 0 || bytes.TrimLeft(text, " \t\r\n")[0] != '{' {
			return
		}
		list, end := members(text, 0)
		same := rewriteObject(text, list, end, func(member) ([]byte, bool) { return nil, true }, nil)
		if !bytes.Equal(same, text) {
			t.Fatalf("%q became %q", text, same)
		}
		i := -1
		out := rewriteObject(text, list, end, func(member) ([]byte, bool) {
			i++
			return nil, drop>>(i%64)&1 == 0
		}, [][]byte{[]byte(`"new":[1]`)})
		if !json.Valid(out) {
			t.Fatalf("%q became %q, which is not JSON", text, out)
		}
	})
}
