package gguf

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/testdata"
)

// part builds one part of a split with the given tensors.
func part(no, count, total int, names ...string) []byte {
	infos := parts{}
	for i, name := range names {
		infos = append(infos, info(name, F32, uint64(32*i), 8))
	}
	return le(head(uint64(len(names)), 3), kv("split.no", TypeUint16, uint16(no)), kv("split.count", TypeUint16, uint16(count)),
		kv("split.tensors.count", TypeInt32, int32(total)), infos, align(32), zeros(32*len(names)))
}

func TestSplit(t *testing.T) {
	no := kv("split.no", TypeUint16, uint16(1))
	for _, test := range []struct {
		name string
		file []byte
		want Split
		ok   bool
		err  Code
	}{
		{"a part", part(1, 3, 7, "w"), Split{1, 3, 7}, true, ""},
		{"no split", control(), Split{}, false, ""},
		{"merged", one(kv("split.count", TypeUint16, uint16(0))), Split{}, false, ""},
		{"no number of tensors", le(head(0, 2), no, kv("split.count", TypeUint16, uint16(2))), Split{1, 2, -1}, true, ""},
		{"no number", one(kv("split.count", TypeUint16, uint16(2))), Split{}, false, CodeMissingSplit},
		{"number too large", part(3, 3, 7), Split{}, false, CodeSplitInconsistent},
		{"more tensors here", part(0, 3, 1, "a", "b"), Split{}, false, CodeSplitInconsistent},
		{"count of another type", one(kv("split.count", TypeUint32, uint32(2))), Split{}, false, CodeSplitType},
		{
			"number of another type",
			le(head(0, 2), kv("split.count", TypeUint16, uint16(2)), kv("split.no", TypeString, str("0"))),
			Split{},
			false, CodeSplitType,
		},
		{
			"total of another type",
			le(head(0, 3), no, kv("split.count", TypeUint16, uint16(2)), kv("split.tensors.count", TypeUint32, uint32(0))),
			Split{},
			false, CodeSplitType,
		},
	} {
		got, ok, err := open(t, test.file).Split()
		flt, _ := errors.AsType[*Fault](err)
		if got != test.want || ok != test.ok || (err == nil) != (test.err == "") || err != nil && flt.Code != test.err {
			t.Errorf("%s: %+v, %v, %v; want %+v, %v, %q", test.name, got, ok, err, test.want, test.ok, test.err)
		}
	}
}

func TestValidateSplit(t *testing.T) {
	for _, test := range []struct {
		name  string
		parts [][]byte // nil is a missing part
		want  string   // part:code …
	}{
		{"good", [][]byte{part(0, 2, 3), part(1, 2, 3, "a", "b", "c")}, ""},
		{"a part is missing", [][]byte{part(0, 2, 3, "a"), nil}, "1:missing_split"},
		{"gg-124", [][]byte{part(0, 2, 2, "a"), part(1, 2, 2, "a")}, "1:duplicate_tensor"},
		{"a tensor too few", [][]byte{part(0, 2, 3, "a"), part(1, 2, 3, "b")}, "0:split_inconsistent"},
		{"exchanged", [][]byte{part(1, 2, 2, "a"), part(0, 2, 2, "b")}, "0:split_inconsistent 1:split_inconsistent"},
		{"of another number", [][]byte{part(0, 2, 2, "a"), part(1, 3, 2, "b")}, "1:split_inconsistent"},
		{"of another total", [][]byte{part(0, 2, 2, "a"), part(1, 2, 3, "b")}, "1:split_inconsistent"},
		{"no part", [][]byte{part(0, 2, 2, "a"), control()}, "1:missing_split"},
		{"bad keys", [][]byte{part(0, 2, 2, "a"), one(kv("split.count", TypeString, str("2")))}, "0:split_inconsistent"},
		{"twice in one part", [][]byte{part(0, 1, 2, "a", "a")}, ""},
		{"none", nil, ""},
	} {
		files := make([]*File, len(test.parts))
		for i, b := range test.parts {
			if b != nil {
				files[i] = open(t, b)
			}
		}
		var got []string
		for _, f := range ValidateSplit(files) {
			got = append(got, fmt.Sprintf("%d:%s", f.Part, f.Code))
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("%s: %s, want %s", test.name, s, test.want)
		}
	}
}

func TestSplitName(t *testing.T) {
	for _, test := range []struct {
		name   string
		prefix string
		no, of int
	}{
		{"m-00001-of-00002.gguf", "m", 1, 2},
		{"a-00001-of-00002-00002-of-00002.gguf", "a-00001-of-00002", 2, 2},
		{"m-12345-of-99999.gguf", "m", 12345, 99999},
		{"a\nb-00001-of-00002.gguf", "a\nb", 1, 2},
		{name: "m.gguf"},
		{name: "m-00001-of-00002"},
		{name: "m-00000-of-00002.gguf"},
		{name: "m-00003-of-00002.gguf"},
		{name: "m-1-of-2.gguf"},
		{name: "m-0+001-of-00002.gguf"},
		{name: "m_00001_of_00002.gguf"},
		{name: "-00001-of-00002.gguf"},
		// gg-127: the other parts are looked for under names made from this one.
		{name: "../m-00001-of-00002.gguf"},
		{name: "/m-00001-of-00002.gguf"},
		{name: `..\m-00001-of-00002.gguf`},
		{name: "m\x00-00001-of-00002.gguf"},
	} {
		prefix, no, of, ok := ParseSplitName(test.name)
		if ok != (test.of > 0) || prefix != test.prefix || no != test.no || of != test.of {
			t.Errorf("ParseSplitName(%q) = %q, %d, %d, %v", test.name, prefix, no, of, ok)
		}
		if ok {
			if back := SplitName(prefix, no, of); back != test.name {
				t.Errorf("SplitName returns %q for %q", back, test.name)
			}
			if other := SplitName(prefix, of, of); filepath.Base(other) != other {
				t.Errorf("part %d of %q is in another directory: %q", of, test.name, other)
			}
		}
	}
}

// TestPublishedSplit checks a split whose first part has no tensors.
func TestPublishedSplit(t *testing.T) {
	var files []*File
	for no := range 2 {
		f, err := Open(testdata.Path(t, "models/"+SplitName("dummy", no+1, 2)))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	if s, ok, err := files[0].Split(); !ok || err != nil || s.Count != 2 || s.Tensors != 10 {
		t.Errorf("Split: %+v, %v, %v", s, ok, err)
	}
	if faults := ValidateSplit(files); faults != nil {
		t.Errorf("ValidateSplit: %v", faults)
	}
}
