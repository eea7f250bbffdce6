package jsondoc_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/jsondoc"
)

func parse(t *testing.T, text string) *jsondoc.Doc {
	t.Helper()
	d, err := jsondoc.Parse("config.json", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAll(t *testing.T) {
	d := parse(t, ` {"a" : [1, -Infinity,"x\u00e9",{}],
  "é\/b": {"c": true , "n":null, "d~": false},"NaN": NaN}
`)
	var got []string
	for n := range d.All() {
		line, col := n.Position()
		got = append(got, fmt.Sprintf("%d:%d %v %q %q %s", line, col, n.Kind(), n.Pointer(), n.Key(), n.Raw()[:min(9, len(n.Raw()))]))
	}
	want := []string{
		`1:2 object "" "" {"a" : [1`,
		`1:9 array "/a" "a" [1, -Infi`,
		`1:10 number "/a/0" "" 1`,
		`1:13 number "/a/1" "" -Infinity`,
		`1:23 string "/a/2" "" "x\u00e9"`,
		`1:33 object "/a/3" "" {}`,
		`2:11 object "/é~1b" "é/b" {"c": tru`,
		`2:17 boolean "/é~1b/c" "c" true`,
		`2:28 null "/é~1b/n" "n" null`,
		`2:40 boolean "/é~1b/d~0" "d~" false`,
		`2:54 number "/NaN" "NaN" NaN`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Places in a long document are right, and to ask for all of them does not take
// the square of its length: this would be minutes.
func TestPositions(t *testing.T) {
	if testing.Short() {
		t.Skip("a long document")
	}
	const values = 400_000
	var b strings.Builder
	b.WriteByte('[')
	var want [][2]int
	line, col := 1, 2
	for i := range values {
		if i > 0 {
			b.WriteByte(',')
			col++
		}
		if i%1000 == 999 && i < values/2 { // and then a line without an end
			b.WriteByte('\n')
			line, col = line+1, 1
		}
		want = append(want, [2]int{line, col})
		b.WriteString(`"é€𝄞"`)
		col += 5
	}
	b.WriteByte(']')
	for i, n := range parse(t, b.String()).Root().Children() {
		if line, col := n.Position(); want[i] != [2]int{line, col} {
			t.Fatalf("value %d: %d:%d, want %v", i, line, col, want[i])
		}
	}
}

// Members of a large object are found without a look at all of them: this would
// be minutes.
func TestLookupMany(t *testing.T) {
	if testing.Short() {
		t.Skip("a large object")
	}
	const members = 200_000
	var b strings.Builder
	b.WriteString(`{"o":{"\u006b":1`)
	for i := range members {
		fmt.Fprintf(&b, `,"k%d":[%d]`, i, i)
	}
	b.WriteString("}}")
	d := parse(t, b.String())
	for i := range members {
		n, ok := d.Lookup("o", fmt.Sprintf("k%d", i), "0")
		if got, _ := n.Int(); !ok || got != int64(i) {
			t.Fatalf("k%d is %d, %v", i, got, ok)
		}
	}
	if n, ok := d.Lookup("o", "k"); !ok || string(n.Raw()) != "1" {
		t.Errorf("an escaped name: %s", n.Raw())
	}
	if _, ok := d.Lookup("o", "k-1"); ok {
		t.Error("found what is not there")
	}
}

func TestValues(t *testing.T) {
	d := parse(t, `{"i":-12,"f":1.5e3,"s":"t\u0041","b":true,"inf":Infinity,"nan":NaN,"big":1e400,"huge":9223372036854775808,"l":[[],{"k":7}],"\u006b":1}`)
	get := func(path ...string) jsondoc.Node {
		n, ok := d.Lookup(path...)
		if !ok {
			t.Fatalf("%q is not there", path)
		}
		return n
	}
	if v, ok := get("i").Int(); v != -12 || !ok {
		t.Errorf("i = %d, %v", v, ok)
	}
	if v, ok := get("l", "1", "k").Int(); v != 7 || !ok {
		t.Errorf("l/1/k = %d, %v", v, ok)
	}
	if v, ok := get("k").Int(); v != 1 || !ok {
		t.Errorf("escaped name: %d, %v", v, ok)
	}
	for _, key := range []string{"f", "huge", "s", "b"} {
		if v, ok := get(key).Int(); ok {
			t.Errorf("%s is no int64, got %d", key, v)
		}
	}
	if v, ok := get("s").Text(); v != "tA" || !ok {
		t.Errorf("s = %q, %v", v, ok)
	}
	if v, ok := get("b").Bool(); !v || !ok {
		t.Errorf("b = %v, %v", v, ok)
	}
	for key, want := range map[string]float64{"f": 1500, "inf": math.Inf(1), "big": math.Inf(1), "i": -12} {
		if v, ok := get(key).Float(); v != want || !ok {
			t.Errorf("%s = %v, %v", key, v, ok)
		}
	}
	if v, ok := get("nan").Float(); !math.IsNaN(v) || !ok {
		t.Errorf("nan = %v, %v", v, ok)
	}
	for _, path := range [][]string{{"none"}, {"l", "2"}, {"l", "-1"}, {"l", "x"}, {"i", "0"}, {"l", "99999999999999999999"}} {
		if n, ok := d.Lookup(path...); ok {
			t.Errorf("%q is %v", path, n.Kind())
		}
	}
	if n := get("l").Len(); n != 2 {
		t.Errorf("Len = %d", n)
	}
	var zero jsondoc.Node
	if _, ok := zero.Int(); ok || zero.Kind() != 0 || zero.Len() != 0 {
		t.Error("the zero Node has a value")
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"duplicate", "{\"a\":1,\n \"b\":2, \"\\u0061\":3}", `c.json:2:9: member "a" occurs twice`},
		{"empty", "", "c.json:1:1: the document is empty"},
		{"blank", " \n", "c.json:2:1: the document is empty"},
		{"cut", "{\"a\":\n[1,", "c.json:2:4: the document ends early"},
		{"cut string", `{"a`, "c.json:1:4: the document ends early"},
		{"trailing", "{}\n{}", "c.json:2:1: unexpected data after the document"},
		{"trailing comma", `{"a":1,}`, "c.json:1:7: invalid character ','"},
		{"order mark", "\xef\xbb\xbf{}", "c.json:1:1: begins with a byte order mark; save it as UTF-8 without one"},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", "c.json:1:7: "},
		{"lone surrogate", `{"a":"\ud800"}`, "c.json:1:7: "},
		{"comment", "{} // x", "c.json:1:4: "},
		{"number word glued", `[1NaN]`, "c.json:1:3: "},
		{"number word", `[NaNs]`, "c.json:1:2: "},
		{"deep", strings.Repeat("[", 200), "c.json:1:129: more than 128 levels deep"},
		{"column in characters", "{\"é\":x}", "c.json:1:6: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := jsondoc.Parse("c.json", []byte(tt.text))
			if e, ok := errors.AsType[*jsondoc.Error](err); !ok || !strings.HasPrefix(e.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	deepest := strings.Repeat("[", jsondoc.MaxDepth) + strings.Repeat("]", jsondoc.MaxDepth)
	if _, err := jsondoc.Parse("c.json", []byte(deepest)); err != nil {
		t.Error(err)
	}
}

func TestLimits(t *testing.T) {
	for name, text := range map[string]string{
		"values": "[" + strings.Repeat("0,", jsondoc.MaxValues) + "0]",
		"bytes":  `"` + strings.Repeat("a", jsondoc.MaxSize) + `"`,
	} {
		if _, err := jsondoc.Parse("c.json", []byte(text)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestApply(t *testing.T) {
	const style = "{\n    \"a\" : 1,\n    \"b\" : [\"x\",  \"y\", \"z\"],\n    \"c\" : {}\n}\n"
	type edits func(at func(path ...string) jsondoc.Node) []jsondoc.Edit
	type node = jsondoc.Node
	for _, tt := range []struct {
		name, text string
		edits      edits
		want       string
	}{
		{"none", style, func(at func(...string) node) []jsondoc.Edit { return nil }, style},
		{
			"replace", style, func(at func(...string) node) []jsondoc.Edit {
				return []jsondoc.Edit{jsondoc.ReplaceText(at("b", "1"), "Y\"\n"), jsondoc.Replace(at("a"), []byte("[2]"))}
			},
			"{\n    \"a\" : [2],\n    \"b\" : [\"x\",  \"Y\\\"\\n\", \"z\"],\n    \"c\" : {}\n}\n",
		},
		{
			"swap names", style, func(at func(...string) node) []jsondoc.Edit {
				return []jsondoc.Edit{jsondoc.RenameKey(at("a"), "c"), jsondoc.RenameKey(at("c"), "a")}
			},
			"{\n    \"c\" : 1,\n    \"b\" : [\"x\",  \"y\", \"z\"],\n    \"a\" : {}\n}\n",
		},
		{
			"remove first", style, func(at func(...string) node) []jsondoc.Edit {
				return []jsondoc.Edit{jsondoc.Remove(at("a")), jsondoc.Remove(at("b", "0"))}
			},
			"{\n    \"b\" : [\"y\", \"z\"],\n    \"c\" : {}\n}\n",
		},
		{
			"remove last two", style, func(at func(...string) node) []jsondoc.Edit {
				return []jsondoc.Edit{jsondoc.Remove(at("c")), jsondoc.Remove(at("b"))}
			},
			"{\n    \"a\" : 1\n}\n",
		},
		{
			"remove around", style, func(at func(...string) node) []jsondoc.Edit {
				return []jsondoc.Edit{jsondoc.Remove(at("b", "0")), jsondoc.Remove(at("b", "2"))}
			},
			"{\n    \"a\" : 1,\n    \"b\" : [\"y\"],\n    \"c\" : {}\n}\n",
		},
		{
			"remove all", style, func(at func(...string) node) []jsondoc.Edit {
				return []jsondoc.Edit{jsondoc.Remove(at("b", "0")), jsondoc.Remove(at("b", "1")), jsondoc.Remove(at("b", "2"))}
			},
			"{\n    \"a\" : 1,\n    \"b\" : [],\n    \"c\" : {}\n}\n",
		},
		{
			"insert", style, func(at func(...string) node) []jsondoc.Edit {
				return []jsondoc.Edit{
					jsondoc.Insert(at(), "d", []byte("null")), jsondoc.Insert(at(), "e", []byte("2")),
					jsondoc.Insert(at("c"), "k", []byte("3")), jsondoc.Insert(at("c"), "l", []byte("4")),
					jsondoc.Insert(at("b"), "", []byte("5")),
				}
			},
			"{\n    \"a\" : 1,\n    \"b\" : [\"x\",  \"y\", \"z\", 5],\n    \"c\" : {\"k\": 3, \"l\": 4},\n    \"d\" : null,\n    \"e\" : 2\n}\n",
		},
		{
			"insert after the removed", style, func(at func(...string) node) []jsondoc.Edit {
				return []jsondoc.Edit{jsondoc.Remove(at("c")), jsondoc.Insert(at(), "d", []byte("1"))}
			},
			"{\n    \"a\" : 1,\n    \"b\" : [\"x\",  \"y\", \"z\"],\n    \"d\" : 1\n}\n",
		},
		{
			"replace the only member", "{\n \"a\": 1\n}", func(at func(...string) node) []jsondoc.Edit {
				return []jsondoc.Edit{jsondoc.Remove(at("a")), jsondoc.Insert(at(), "d", []byte("1"))}
			},
			"{\n \"d\": 1\n}",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := parse(t, tt.text)
			got, err := d.Apply(tt.edits(func(path ...string) jsondoc.Node {
				n, ok := d.Lookup(path...)
				if !ok {
					t.Fatalf("%q is not there", path)
				}
				return n
			})...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestApplyRefuses(t *testing.T) {
	d := parse(t, `{"a":1,"b":[2]}`)
	other := parse(t, `{}`)
	a, _ := d.Lookup("a")
	b, _ := d.Lookup("b")
	b0, _ := d.Lookup("b", "0")
	for _, tt := range []struct {
		name  string
		edits []jsondoc.Edit
		want  string
	}{
		{"same value twice", []jsondoc.Edit{jsondoc.Replace(a, []byte("2")), jsondoc.Replace(a, []byte("3"))}, "two edits of the same text"},
		{"inside the removed", []jsondoc.Edit{jsondoc.Remove(b), jsondoc.Replace(b0, []byte("3"))}, "two edits of the same text"},
		{"name taken", []jsondoc.Edit{jsondoc.RenameKey(a, "b")}, `member "b" occurs twice`},
		{"not JSON", []jsondoc.Edit{jsondoc.Replace(a, []byte("x"))}, "after the edit"},
		{"invalid UTF-8", []jsondoc.Edit{jsondoc.ReplaceText(a, "\xff")}, "after the edit"},
		{"root", []jsondoc.Edit{jsondoc.Remove(d.Root())}, "the whole document"},
		{"no member", []jsondoc.Edit{jsondoc.RenameKey(b0, "x")}, "has no name"},
		{"no container", []jsondoc.Edit{jsondoc.Insert(a, "x", []byte("1"))}, "number, where an object or array"},
		{"another document", []jsondoc.Edit{jsondoc.Remove(other.Root())}, "another document"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := d.Apply(tt.edits...); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// Parsing never panics, every span holds what its kind says, and edits that
// put a value's own text back change nothing.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{}`, ` {"a" : [1, -Infinity,"x\u00e9",{}], "b":{"c":true,"n":null}} `, `[NaN,"NaN",1e5]`, `"\ud83d\ude00"`, `{"a":1,"a":2}`, "[1,]", `{"a":}`, "\xff", `[[[[]]]]`, `[1NaN]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := jsondoc.Parse("f", data)
		if err != nil {
			if _, ok := errors.AsType[*jsondoc.Error](err); !ok {
				t.Fatalf("error of another type: %v", err)
			}
			return
		}
		for n := range d.All() {
			part, err := jsondoc.Parse("f", n.Raw())
			if err != nil || part.Root().Kind() != n.Kind() {
				t.Fatalf("%q: span %q does not parse: %v", n.Pointer(), n.Raw(), err)
			}
			edits := []jsondoc.Edit{jsondoc.Replace(n, n.Raw())}
			if s, ok := n.Text(); ok {
				edits[0] = jsondoc.ReplaceText(n, s)
			}
			if _, _, ok := n.KeySpan(); ok && !bytes.Contains(data, []byte{'\\'}) {
				edits = append(edits, jsondoc.RenameKey(n, n.Key()))
			}
			out, err := d.Apply(edits...)
			if err != nil {
				t.Fatal(err)
			}
			again, err := jsondoc.Parse("f", out)
			if err != nil {
				t.Fatal(err)
			}
			if s, ok := n.Text(); ok {
				m, _ := again.Lookup(path(n)...)
				if got, ok := m.Text(); !ok || got != s {
					t.Fatalf("text %q became %q", s, got)
				}
			} else if string(out) != string(data) {
				t.Fatalf("%q became %q", data, out)
			}
		}
	})
}

// path is what leads Lookup to n.
func path(n jsondoc.Node) []string {
	steps := strings.Split(n.Pointer(), "/")
	for i, s := range steps[1:] {
		steps[i+1] = strings.NewReplacer("~1", "/", "~0", "~").Replace(s)
	}
	return steps[1:]
}

// Removing a value takes it out and nothing else; inserting one adds it and
// nothing else.
func FuzzEdit(f *testing.F) {
	for _, s := range []string{
		`{}`, `[]`, "{\n  \"a\": [1, 2,3 ],\n  \"b\": {\"c\":{}}\n}", `[[],[1],{"a":1}]`, "[ 1\t,2\n]", `{"a" :1,"\u0062": 2}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := jsondoc.Parse("f", data)
		if err != nil || len(data) > 1000 {
			return
		}
		for n := range d.All() {
			for i := range n.Children() {
				var edits []jsondoc.Edit
				var kept []string
				for j, c := range n.Children() {
					if j == i || j == i+2 {
						edits = append(edits, jsondoc.Remove(c))
					} else {
						kept = append(kept, c.Key()+":"+string(c.Raw()))
					}
				}
				checkChildren(t, d, n, edits, kept)
				checkChildren(t, d, n, append(edits, jsondoc.Insert(n, "new\n", []byte("[0]"))), append(kept, key(n)+"[0]"))
			}
			if n.Kind() >= jsondoc.Array {
				var kept []string
				for _, c := range n.Children() {
					kept = append(kept, c.Key()+":"+string(c.Raw()))
				}
				checkChildren(t, d, n, []jsondoc.Edit{jsondoc.Insert(n, "new\n", []byte("[0]"))}, append(kept, key(n)+"[0]"))
			}
		}
	})
}

// key is what the child inserted into n is called.
func key(n jsondoc.Node) string {
	if n.Kind() == jsondoc.Object {
		return "new\n:"
	}
	return ":"
}

func checkChildren(t *testing.T, d *jsondoc.Doc, n jsondoc.Node, edits []jsondoc.Edit, want []string) {
	t.Helper()
	out, err := d.Apply(edits...)
	if err != nil {
		if strings.Contains(err.Error(), `member "new\n" occurs twice`) {
			return
		}
		t.Fatal(err)
	}
	again, err := jsondoc.Parse("f", out)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	m, ok := again.Lookup(path(n)...)
	for _, c := range m.Children() {
		got = append(got, c.Key()+":"+string(c.Raw()))
	}
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Fatalf("%q became %q: %s", d.Bytes(), out, diff)
	}
}
