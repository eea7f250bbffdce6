package argv

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/inspect"
)

func TestLists(t *testing.T) {
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
			got, err := (&Lists{Null: c.null}).parse("list", []byte(c.text))
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
func TestListOfWeights(t *testing.T) {
	r := new(endless)
	_, err := new(Lists).Read(t.Context(), r, Stdin)
	if err == nil || !strings.Contains(err.Error(), "stdin: this is a safetensors file") {
		t.Errorf("error %v", err)
	}
	if r.n > 1<<16 {
		t.Errorf("%d bytes were read", r.n)
	}
}

// A list is walked while it is being written, and no further than its paths are wanted.
func TestEach(t *testing.T) {
	r, w := io.Pipe()
	go io.WriteString(w, "# not a path\nb\n\nc\nd\n")
	var got []string
	err := new(Lists).Each(t.Context(), r, []string{"a", Stdin, "e"}, func(path string) bool {
		got = append(got, path)
		return path != "c"
	})
	if want := []string{"a", "b", "c"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	for _, tt := range []struct {
		lists Lists
		args  []string
		want  string
	}{
		{Lists{}, []string{Stdin, Stdin}, "- is given twice"},
		{Lists{From: Stdin}, []string{Stdin}, "- is given twice"},
		{Lists{From: "nowhere.txt"}, nil, "nowhere.txt: "},
	} {
		err := tt.lists.Each(t.Context(), strings.NewReader(""), tt.args, func(string) bool { return true })
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v of %q: %v, want %s", tt.lists, tt.args, err, tt.want)
		}
	}
	got = nil
	if err := new(Lists).Each(t.Context(), nil, nil, func(path string) bool { got = append(got, path); return true }); err != nil || !slices.Equal(got, []string{"."}) {
		t.Errorf("without any: %q, %v", got, err)
	}
}

func TestLimit(t *testing.T) {
	for text, want := range map[string]Limit{
		"1": 1, "1073741824": 1 << 30, "1G": 1 << 30, "1GiB": 1 << 30, "2k": 2 << 10, "1.5M": 3 << 19, "all": NoLimit,
	} {
		var l Limit
		if err := l.Set(text); err != nil || l != want {
			t.Errorf("%s: %d, %v, want %d", text, l, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "many", "1X", "9E18G", "NaN", "Inf"} {
		var l Limit
		if err := l.Set(text); err == nil {
			t.Errorf("%q: %d", text, l)
		}
	}
}

func TestRules(t *testing.T) {
	now := time.Unix(1, 0)
	given := map[string]bool{}
	r := Rules{Given: func(flag string) bool { return given[flag] }}
	if c := r.Choice(now); c.Select != nil || c.Profile != "" || !c.Now.Equal(now) {
		t.Errorf("nothing was given, and it is %+v", c)
	}
	given["select"], given["profile"] = true, true
	if c := r.Choice(now); c.Select == nil || len(c.Select) > 0 || c.Profile != inspect.NoProfile {
		t.Errorf("--select= --profile= is %+v", c)
	}
	if now := Now(func(string) string { return "12" }); !now.Equal(time.Unix(12, 0)) {
		t.Errorf("SOURCE_DATE_EPOCH=12 is %v", now)
	}
}
