package rename

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseRule(t *testing.T) {
	for text, want := range map[string]string{
		"a=b":                                "a -> b",
		"h.{n}.ln1=layers.{n+1}.norm":        "h.{n}.ln1 -> layers.{n+1}.norm",
		"a==b=c":                             "a=b -> c",
		"a=b==c":                             "a -> b=c",
		"{r...}.a{{=x{{.{r}":                 "{r...}.a{{ -> x{{.{r}",
		" a = b ":                            " a  ->  b ",
		"model.{rest...}=language.m.{rest}":  "model.{rest...} -> language.m.{rest}",
		"transformer.h.{i}.{x:seg}=h.{i}{x}": "transformer.h.{i}.{x:seg} -> h.{i}{x}",
	} {
		r, err := ParseRule(text)
		if err != nil || r.String() != want {
			t.Errorf("%q: %v, %v; want %s", text, &r, err, want)
		}
	}
	for text, want := range map[string]string{
		"a":       "the rule has no =",
		"":        "the rule has no =",
		"a=b=c":   "the rule has 2 =",
		"=b":      "no old name",
		"a=":      "no new name",
		"a==b":    "the rule has no =",
		"a.{n=b":  "a { without its }",
		"a=b.{n}": "no hole {n}",
	} {
		if _, err := ParseRule(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %s", text, err, want)
		}
	}
}

func TestEdit(t *testing.T) {
	names := []string{"module.h.0.a", "module.h.1.a", "module.b", "c"}
	wrapped, err := Parse("wrapped.yaml", []byte("rename: {c: module.d, 'module.h.{i}.a': h.x}"))
	if err != nil {
		t.Fatal(err)
	}
	strips, err := Parse("strip.yaml", []byte("strip: [h]"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		edit Edit
		on   *Map
		want string
	}{
		{Edit{StripPrefix: "module."}, nil, "h.0.a h.1.a b c"},
		{Edit{StripPrefix: "modul"}, nil, "e.h.0.a e.h.1.a e.b c"},
		{Edit{AddPrefix: "x."}, nil, "x.module.h.0.a x.module.h.1.a x.module.b x.c"},
		{Edit{StripPrefix: "module.", AddPrefix: "x."}, nil, "x.h.0.a x.h.1.a x.b x.c"},
		// Rules see the names as they are, and the prefixes what the rules make.
		{Edit{Rules: []string{"module.b=module.z", "c=c2"}, StripPrefix: "module."}, nil, "h.0.a h.1.a z c2"},
		{Edit{Rules: []string{"module.h.{i}.{x:seg}={x}.{i+1}"}, AddPrefix: "m."}, nil, "m.a.1 m.a.2 m.module.b m.c"},
		{Edit{Rules: []string{"module.b=c", "c=module.b"}}, nil, "module.h.0.a module.h.1.a c module.b"},
		{Edit{Rules: []string{"module.{r...}={r}"}, AddPrefix: "{x}."}, nil, "{x}.h.0.a {x}.h.1.a {x}.b {x}.c"},
		// The rules come before those of a map, the prefixes after it.
		{Edit{Rules: []string{"module.h.{i}.a=y.{i}"}, StripPrefix: "module."}, wrapped, "y.0 y.1 b d"},
		{Edit{StripPrefix: "module.", AddPrefix: "x."}, strips, "x.0.a x.1.a x.b x.c"},
	} {
		m, err := c.edit.Map(c.on)
		if err != nil {
			t.Errorf("%+v: %v", c.edit, err)
			continue
		}
		var got []string
		for _, row := range NewPlan(m, names, Limits{}).Rows {
			got = append(got, row.To)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%+v gives %s, want %s", c.edit, s, c.want)
		}
	}
	// Whether what {x} holds begins with the prefix, no map can tell.
	if _, err := (&Edit{Rules: []string{"c.{x:seg}={x}.c"}, StripPrefix: "module."}).Map(nil); err == nil {
		t.Error("a rule that may make names with the prefix is composed with it")
	}
	moves, err := Parse("split.yaml", []byte("rules: [{from: a, split: {axis: 0, parts: [1, 1]}, to: [b, c]}]"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&Edit{AddPrefix: "x."}).Map(moves); err == nil || !strings.Contains(err.Error(), "moves bytes") {
		t.Errorf("a prefix on names that an operation makes: %v", err)
	}
}

func TestEditUnused(t *testing.T) {
	e := &Edit{Rules: []string{"a=b", "no=way", "a=c"}, StripPrefix: "b"}
	want := []string{`--rule "no=way" matches no tensor`, `--rule "a=c" comes too late: an earlier rule matches the same names`}
	if got := e.Unused(nil, []string{"a", "x"}); !slices.Equal(got, want) {
		t.Errorf("unused: %q", got)
	}
	if got := (&Edit{StripPrefix: "m."}).Unused(nil, []string{"a", "model"}); len(got) != 1 {
		t.Errorf("a prefix that no name has: %q", got)
	}
}

func TestEditSlips(t *testing.T) {
	for _, c := range []struct {
		edit  Edit
		names string
		want  string
	}{
		{Edit{StripPrefix: "module"}, "loose module.a module.b", `--strip-prefix "module" leaves its dot: "module.a" becomes ".a"; end it with the dot`},
		{Edit{StripPrefix: "module."}, "module.a module.b moduleb", ""},
		{Edit{StripPrefix: "lora_"}, "lora_a", ""},
		{Edit{AddPrefix: "model"}, "a", `--add-prefix "model" runs into the name: "a" becomes "modela"; end it with a dot to put a segment before names`},
		{Edit{AddPrefix: "lora_unet_"}, "a", ""},
		{Edit{StripPrefix: "h", AddPrefix: "layers"}, "h.0 h.1", ""},
		{Edit{Rules: []string{"x=module.x"}, StripPrefix: "module"}, "x", `"module.x" becomes ".x"`},
	} {
		if got := strings.Join(c.edit.Slips(nil, strings.Fields(c.names)), "\n"); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.edit, got, c.want)
		}
	}
}

// The map of an edit, written and read again, gives the names that its parts give one after
// the other.
func TestEditMaps(t *testing.T) {
	name := rapid.StringMatching(`(module\.|mod)?(h\.[0-2]\.)?(a|b|\{x\}|w=)`)
	rules := rapid.SampledFrom([]string{"h.{n}.a=l.{n+1}.a", "module.h.{n}.b=h.{n}.b", "a=module.a", "{{x}}=b", "mod{rest...}=k{rest}", "w===u", "b=a", "a=b"})
	prefix := rapid.SampledFrom([]string{"", "module.", "mod", "h", "{x", "x."})
	made := 0
	rapid.Check(t, func(t *rapid.T) {
		e := &Edit{Rules: rapid.SliceOfN(rules, 0, 3).Draw(t, "rules"), StripPrefix: prefix.Draw(t, "strip"), AddPrefix: prefix.Draw(t, "add")}
		names := rapid.SliceOfNDistinct(name, 1, 6, rapid.ID[string]).Draw(t, "names")
		m, err := e.Map(nil)
		if err != nil || e.IsZero() {
			t.Skip() // no one map does it
		}
		var text bytes.Buffer
		if err := Write(&text, m); err != nil {
			t.Fatal(err)
		}
		again, err := Parse("again.yaml", text.Bytes())
		if err != nil {
			t.Fatalf("%s: %v", text.Bytes(), err)
		}
		first, err := e.withRules(nil)
		if err != nil {
			t.Fatal(err)
		}
		want := NewPlan(first, names, Limits{}).Rows
		for i, row := range NewPlan(again, names, Limits{}).Rows {
			to := e.AddPrefix + strings.TrimPrefix(want[i].To, e.StripPrefix)
			if row.To != to && to != "" {
				t.Fatalf("%+v: %q becomes %q by the map, and %q\n%s", *e, row.From, row.To, to, text.Bytes())
			}
		}
		made++
	})
	if made < 20 {
		t.Errorf("only %d edits have a map", made)
	}
}
