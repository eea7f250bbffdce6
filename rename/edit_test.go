package rename

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// edit is that of flags: "--strip-prefix module.".
func edit(flags ...string) *Edit {
	e := new(Edit)
	for _, f := range flags {
		kind, text, _ := strings.Cut(strings.TrimPrefix(f, "--"), " ")
		e.Steps = append(e.Steps, Step{StepKind(kind), text})
	}
	return e
}

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
		edit *Edit
		on   *Map
		want string
	}{
		{edit("--strip-prefix module."), nil, "h.0.a h.1.a b c"},
		{edit("--strip-prefix modul"), nil, "e.h.0.a e.h.1.a e.b c"},
		{edit("--add-prefix x."), nil, "x.module.h.0.a x.module.h.1.a x.module.b x.c"},
		{edit("--strip-prefix module.", "--add-prefix x."), nil, "x.h.0.a x.h.1.a x.b x.c"},
		// Steps follow one another as they are given.
		{edit("--strip-prefix module.", "--strip-prefix h."), nil, "0.a 1.a b c"},
		{edit("--add-prefix x.", "--strip-prefix module."), nil, "x.module.h.0.a x.module.h.1.a x.module.b x.c"},
		{edit("--add-prefix x.", "--add-prefix y."), nil, "y.x.module.h.0.a y.x.module.h.1.a y.x.module.b y.x.c"},
		{edit("--strip-prefix module.", "--rule h.{i}.a=l.{i}.a", "--rule b=c2", "--add-prefix m."), nil, "m.l.0.a m.l.1.a m.c2 m.c"},
		{edit("--rule c=b", "--strip-prefix module.", "--rule b=c"), nil, "h.0.a h.1.a c c"},
		// Rules see the names as they are, and the prefixes what the rules make.
		{edit("--rule module.b=module.z", "--rule c=c2", "--strip-prefix module."), nil, "h.0.a h.1.a z c2"},
		{edit("--rule module.h.{i}.{x:seg}={x}.{i+1}", "--add-prefix m."), nil, "m.a.1 m.a.2 m.module.b m.c"},
		{edit("--rule module.b=c", "--rule c=module.b"), nil, "module.h.0.a module.h.1.a c module.b"},
		{edit("--rule module.{r...}={r}", "--add-prefix {x}."), nil, "{x}.h.0.a {x}.h.1.a {x}.b {x}.c"},
		// The rules come before those of a map, the prefixes after it.
		{edit("--rule module.h.{i}.a=y.{i}", "--strip-prefix module."), wrapped, "y.0 y.1 b d"},
		{edit("--strip-prefix module.", "--add-prefix x."), strips, "x.0.a x.1.a x.b x.c"},
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
	if _, err := edit("--rule c.{x:seg}={x}.c", "--strip-prefix module.").Map(nil); err == nil {
		t.Error("a rule that may make names with the prefix is composed with it")
	}
	moves, err := Parse("split.yaml", []byte("rules: [{from: a, split: {axis: 0, parts: [1, 1]}, to: [b, c]}]"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := edit("--add-prefix x.").Map(moves); err == nil || !strings.Contains(err.Error(), "moves bytes") {
		t.Errorf("a prefix on names that an operation makes: %v", err)
	}
}

func TestEditUnused(t *testing.T) {
	e := edit("--rule a=b", "--rule no=way", "--rule a=c", "--strip-prefix b")
	want := []string{`--rule "no=way" matches no tensor`, `--rule "a=c" comes too late: an earlier rule matches the same names`}
	if got := e.Unused(nil, []string{"a", "x"}); !slices.Equal(got, want) {
		t.Errorf("unused: %q", got)
	}
	if got := edit("--strip-prefix m.").Unused(nil, []string{"a", "model"}); len(got) != 1 {
		t.Errorf("a prefix that no name has: %q", got)
	}
}

func TestEditSlips(t *testing.T) {
	for _, c := range []struct {
		edit  *Edit
		names string
		want  string
	}{
		{edit("--strip-prefix module"), "loose module.a module.b", `--strip-prefix "module" leaves its dot: "module.a" becomes ".a"; end it with the dot`},
		{edit("--strip-prefix module."), "module.a module.b moduleb", ""},
		{edit("--strip-prefix lora_"), "lora_a", ""},
		{edit("--add-prefix model"), "a", `--add-prefix "model" runs into the name: "a" becomes "modela"; end it with a dot to put a segment before names`},
		{edit("--add-prefix lora_unet_"), "a", ""},
		{edit("--strip-prefix h", "--add-prefix layers"), "h.0 h.1", ""},
		{edit("--rule x=module.x", "--strip-prefix module"), "x", `"module.x" becomes ".x"`},
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
		e := new(Edit)
		for range rapid.IntRange(1, 5).Draw(t, "steps") {
			s := Step{Kind: rapid.SampledFrom([]StepKind{RuleStep, StripPrefix, AddPrefix}).Draw(t, "kind")}
			if s.Text = prefix.Draw(t, "prefix"); s.Kind == RuleStep {
				s.Text = rules.Draw(t, "rule")
			}
			e.Steps = append(e.Steps, s)
		}
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
		for i, row := range NewPlan(again, names, Limits{}).Rows {
			to := inSteps(e, names[i])
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

// inSteps is a name after the steps, each by itself.
func inSteps(e *Edit, name string) string {
	for i := 0; i < len(e.Steps); i++ {
		switch s := e.Steps[i]; s.Kind {
		case StripPrefix:
			name = strings.TrimPrefix(name, s.Text)
		case AddPrefix:
			name = s.Text + name
		default:
			end := i
			for end+1 < len(e.Steps) && e.Steps[end+1].Kind == RuleStep {
				end++
			}
			for _, s := range e.Steps[i : end+1] {
				r, err := ParseRule(s.Text)
				if row := NewPlan(&Map{Rules: []Rule{r}}, []string{name}, Limits{}).Rows[0]; err == nil && row.Rule == 0 {
					name = row.To
					break
				}
			}
			i = end
		}
	}
	return name
}
