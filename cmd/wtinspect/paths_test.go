package main

import (
	"slices"
	"strings"
	"testing"
)

func TestPathList(t *testing.T) {
	for _, c := range []struct {
		name, text string
		null       bool
		want       []string
		err        string
	}{
		{name: "lines", text: "a\n\nb\r\n c", want: []string{"a", "b", " c"}},
		{name: "mark", text: "\ufeffa\n", want: []string{"a"}},
		// As git ls-files writes ä, a quote and a tab.
		{name: "quoted", text: `"\303\244\"\t"`, want: []string{"ä\"\t"}},
		{name: "half quoted", text: `"a` + "\n" + `a"`, want: []string{`"a`, `a"`}},
		{name: "badly quoted", text: `"\x"`, err: `list: line 1: "\x" is not quoted as git quotes paths`},
		{name: "null", text: "a\nb\x00\"c\"\x00\xff", null: true, want: []string{"a\nb", `"c"`, "\xff"}},
		{name: "NUL", text: "a\nb\x00c\n", err: "list: line 2: has a NUL byte; --null reads"},
		{name: "no text", text: "a\n\n\xff\n", err: "list: line 3: is not UTF-8; --null reads"},
		{name: "long", text: strings.Repeat("a", maxPath) + "\n" + strings.Repeat("a", maxPath+1), err: "list: line 2: has 32768 bytes"},
		{name: "long between NULs", text: "a\x00" + strings.Repeat("a", maxPath+1), null: true, err: "list: path 2: has 32768 bytes"},
		{name: "many faults", text: strings.Repeat("\xff\n", 7), err: "list: line 5: is not UTF-8; --null reads paths of any bytes\nlist: and 2 more lines like these"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := (&pathList{null: c.null}).parse("list", []byte(c.text))
			switch {
			case c.err == "" && err != nil:
				t.Error(err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("error %v, want %s", err, c.err)
			case c.err == "" && !slices.Equal(got, c.want):
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// endless is weights without end.
type endless struct{ n int }

func (e *endless) Read(b []byte) (int, error) {
	n := copy(b, "\x10\x00\x00\x00\x00\x00\x00\x00{}")
	e.n += n
	return n, nil
}

// Weights are refused by their first bytes, not after all of them.
func TestPathListOfWeights(t *testing.T) {
	r := new(endless)
	p := newProgram(r, new(strings.Builder), new(strings.Builder), func(string) string { return "" })
	_, err := new(pathList).paths(t.Context(), p, []string{"-"})
	if err == nil || !strings.Contains(err.Error(), "stdin: this is a safetensors file") {
		t.Errorf("error %v", err)
	}
	if r.n > 1<<16 {
		t.Errorf("%d bytes were read", r.n)
	}
}
