package check

import (
	gocmp "cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

var update = flag.Bool("update", false, "rewrite the findings expected in testdata/rules")

// TestRules builds the releases in testdata/rules/*.txtar, one file a rule, and
// judges them. The first element of a path names a release; those that begin
// with good have no error, no warning and nothing of the rule, and the findings
// of the others are in the file want. Values are read for the rules that do. In
// a release
//
//	NAME.fixture   is the text of a fixture: of the file NAME, or of a set
//	               (NAME is then of no account) when it has file lines
//	options        has options of the run: "profile X", "against DIR",
//	               "ignore RULE", "today 2026-01-02"
//
// and everything else is a file as it is. In fixtures and in config.json the
// line "use llama" stands for a small healthy model:
//
//	use llama [I/N]      its tensors, or the Ith of N parts of them
//	without NAME         takes a tensor of it out
//	replace NAME DTYPE SHAPE
//	everywhere OLD NEW        replaces text in every tensor's line
//	bare PREFIX               takes a prefix from every name
//	numbers                   gives every tensor finite numbers of its own
//	set KEY JSON, unset KEY   of config.json
func TestRules(t *testing.T) {
	for _, r := range Rules() {
		t.Run(r.ID, func(t *testing.T) { testRule(t, r) })
	}
	files, err := filepath.Glob("testdata/rules/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if id := strings.TrimSuffix(filepath.Base(f), ".txtar"); !known(id) || len(id) != len("WT000") {
			t.Errorf("%s belongs to no rule", f)
		}
	}
}

func testRule(t *testing.T, r *Rule) {
	path := filepath.Join("testdata", "rules", r.ID+".txtar")
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	releases := make(map[string]map[string]string)
	var order []string
	want := ""
	for _, f := range a.Files {
		dir, name, ok := strings.Cut(f.Name, "/")
		if !ok {
			want = string(f.Data)
			continue
		}
		if releases[dir] == nil {
			releases[dir] = make(map[string]string)
			order = append(order, dir)
		}
		releases[dir][name] = string(f.Data)
	}
	var got strings.Builder
	bad, good := false, false
	for _, dir := range order {
		write(t, filepath.Join(root, dir), releases[dir])
	}
	for _, dir := range order {
		opts := options(t, root, filepath.Join(root, dir), releases[dir]["options"])
		opts.Values = r.Values
		lines := findings(t, filepath.Join(root, dir), opts)
		if strings.HasPrefix(dir, "good") {
			good = true
			for _, l := range lines {
				if strings.HasPrefix(l, r.ID) || !strings.Contains(l, " info ") {
					t.Errorf("%s: %s", dir, l)
				}
			}
			continue
		}
		found := false
		for _, l := range lines {
			found = found || strings.HasPrefix(l, r.ID)
			fmt.Fprintf(&got, "%s: %s\n", dir, strings.ReplaceAll(l, root+string(filepath.Separator), ""))
		}
		if bad = bad || found; !found && !strings.HasPrefix(dir, "old") {
			t.Errorf("%s: the rule finds nothing", dir)
		}
	}
	if !bad || !good {
		t.Error("a release that the rule finds and one that it does not are needed")
	}
	if *update {
		a.Files = slices.DeleteFunc(a.Files, func(f txtar.File) bool { return f.Name == "want" })
		a.Files = append(a.Files, txtar.File{Name: "want", Data: []byte(got.String())})
		if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

func options(t *testing.T, root, dir, text string) *Options {
	set, err := FindSettings(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	out := &Options{Exceptions: set.Exceptions}
	for i := range out.Exceptions {
		out.Exceptions[i].Origin = filepath.Join(dir, SettingsName)
	}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "profile":
			out.Profile = Profile(value)
		case "ignore":
			out.Ignore = append(out.Ignore, value)
		case "today":
			if out.Now, err = time.Parse(time.DateOnly, value); err != nil {
				t.Fatal(err)
			}
		case "against", "digests":
			rel, err := checkpoint.Open(t.Context(), filepath.Join(root, value), &checkpoint.Options{Recursive: true})
			if err != nil {
				t.Fatal(err)
			}
			defer rel.Close()
			if out.Against, err = NewLock(t.Context(), rel, key == "digests", nil); err != nil {
				t.Fatal(err)
			}
			out.Against.path = value
		default:
			t.Fatalf("option %q", line)
		}
	}
	return out
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	// A file as it is goes over one of a fixture.
	isFixture := func(name string) int { return len(name) - len(strings.TrimSuffix(name, ".fixture")) }
	names := slices.SortedFunc(maps.Keys(files), func(a, b string) int {
		return gocmp.Or(gocmp.Compare(isFixture(b), isFixture(a)), strings.Compare(a, b))
	})
	for _, name := range names {
		text := files[name]
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch weights, ok := strings.CutSuffix(path, ".fixture"); {
		case name == "options":
		case ok && strings.Contains("\n"+text, "\nfile "):
			err = fixture.Sharded(filepath.Dir(path), expand(t, text))
		case ok:
			err = fixture.Write(weights, expand(t, text))
		case strings.HasPrefix(text, "use llama"):
			err = os.WriteFile(path, []byte(llamaConfig(t, text)), 0o644)
		default:
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

const llamaLayers = 8

// llama is the tensors of the healthy model: hidden size 8, two heads of 4,
// one of them for keys and values, 32 tokens.
func llama() [][]string {
	list := [][]string{{"model.embed_tokens.weight", "BF16", "[32,8]"}}
	for i := range llamaLayers {
		for _, l := range [][2]string{
			{"input_layernorm", "[8]"},
			{"mlp.down_proj", "[8,16]"},
			{"mlp.gate_proj", "[16,8]"},
			{"mlp.up_proj", "[16,8]"},
			{"post_attention_layernorm", "[8]"},
			{"self_attn.k_proj", "[4,8]"},
			{"self_attn.o_proj", "[8,8]"},
			{"self_attn.q_proj", "[8,8]"},
			{"self_attn.v_proj", "[4,8]"},
		} {
			list = append(list, []string{fmt.Sprintf("model.layers.%d.%s.weight", i, l[0]), "BF16", l[1]})
		}
	}
	return append(list, []string{"model.norm.weight", "BF16", "[8]"}, []string{"lm_head.weight", "BF16", "[32,8]"})
}

// expand writes out the lines that stand for the healthy model.
func expand(t *testing.T, text string) string {
	var out []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		find := func() int {
			i := slices.IndexFunc(out, func(l string) bool { return strings.HasPrefix(l, "tensor "+words[1]+" ") })
			if i < 0 {
				t.Fatalf("no tensor %s to change", words[1])
			}
			return i
		}
		switch words[0] {
		case "use":
			list := llama()
			if len(words) > 2 {
				no, of, _ := strings.Cut(words[2], "/")
				i, _ := strconv.Atoi(no)
				n, _ := strconv.Atoi(of)
				list = list[len(list)*(i-1)/n : len(list)*i/n]
			}
			out = append(out, "meta format pt")
			for _, l := range list {
				out = append(out, "tensor "+strings.Join(l, " "))
			}
		case "without":
			i := find()
			out = slices.Delete(out, i, i+1)
		case "replace":
			out[find()] = "tensor " + strings.Join(words[1:], " ")
		case "numbers":
			for i := range out {
				if strings.HasPrefix(out[i], "tensor ") {
					out[i] += " values=" + numbers(i)
				}
			}
		case "bare":
			for i := range out {
				out[i] = strings.Replace(out[i], "tensor "+words[1], "tensor ", 1)
			}
		case "everywhere":
			for i := range out {
				if strings.HasPrefix(out[i], "tensor ") {
					out[i] = strings.Replace(out[i], words[1], words[2], 1)
				}
			}
		default:
			out = append(out, strings.TrimSuffix(line, "\n"))
		}
	}
	return strings.Join(out, "\n") + "\n"
}

// numbers is values that no two tensors share, and that BF16 holds exactly.
func numbers(tensor int) string {
	var list []string
	for k := range 61 {
		list = append(list, strconv.Itoa((tensor*37+k*k+tensor*k)%251-125))
	}
	return strings.Join(list, ",")
}

// llamaConfig is the configuration of the healthy model with changes.
func llamaConfig(t *testing.T, text string) string {
	keys := []string{"architectures", "model_type", "hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "tie_word_embeddings", "torch_dtype", "vocab_size"}
	values := map[string]string{
		"architectures": `["LlamaForCausalLM"]`, "model_type": `"llama"`, "hidden_size": "8", "intermediate_size": "16",
		"num_attention_heads": "2", "num_hidden_layers": "8", "num_key_value_heads": "1", "tie_word_embeddings": "false",
		"torch_dtype": `"bfloat16"`, "vocab_size": "32",
	}
	for line := range strings.Lines(text) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		key, value, _ := strings.Cut(rest, " ")
		switch word {
		case "set":
			if !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
			values[key] = value
		case "unset":
			keys = slices.DeleteFunc(keys, func(k string) bool { return k == key })
		}
	}
	var b strings.Builder
	b.WriteString("{")
	for i, k := range keys {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, "\n %q: %s", k, values[k])
	}
	b.WriteString("\n}\n")
	if !json.Valid([]byte(b.String())) {
		t.Fatalf("not JSON: %s", &b)
	}
	return b.String()
}

// Every rule is documented, named once, and in its block.
func TestRulesAreWellFormed(t *testing.T) {
	seen := make(map[string]bool)
	last := ""
	for _, r := range Rules() {
		if seen[r.ID] || seen[r.Name] {
			t.Errorf("%s %s: the ID or the name is used twice", r.ID, r.Name)
		}
		seen[r.ID], seen[r.Name] = true, true
		if len(r.ID) != len("WT000") || !strings.HasPrefix(r.ID, "WT") || r.ID <= last {
			t.Errorf("%s: IDs are WT and three digits, in ascending order", r.ID)
		}
		last = r.ID
		for what, text := range map[string]string{"name": r.Name, "title": r.Title, "doc": r.Doc, "bad example": r.Bad, "good example": r.Good} {
			if text == "" || text != strings.TrimSpace(text) {
				t.Errorf("%s: the %s is empty or has white space around it", r.ID, what)
			}
		}
		if strings.ToLower(r.Name) != r.Name || strings.ContainsAny(r.Name, " _") {
			t.Errorf("%s: the name %q is not words with hyphens", r.ID, r.Name)
		}
		if strings.HasSuffix(r.Title, ".") || !strings.HasSuffix(r.Doc, ".") {
			t.Errorf("%s: the title has no full stop, and the document ends with one", r.ID)
		}
		for p := range r.Profiles {
			if !slices.Contains(Profiles(), p) {
				t.Errorf("%s: no profile %q", r.ID, p)
			}
		}
	}
	for code, id := range byCode {
		if _, ok := Lookup(id); !ok {
			t.Errorf("code %s: no rule %s", code, id)
		}
	}
	for hint, id := range byHint {
		if _, ok := Lookup(id); !ok {
			t.Errorf("hint %s: no rule %s", hint, id)
		}
	}
}

// The stories that check was built for each have a release that is broken so.
func TestStories(t *testing.T) {
	told := make(map[string]bool)
	for _, r := range Rules() {
		a, err := txtar.ParseFile(filepath.Join("testdata", "rules", r.ID+".txtar"))
		if err != nil {
			t.Fatal(err)
		}
		for _, story := range regexp.MustCompile(`\bU\d+\b`).FindAllString(string(a.Comment), -1) {
			told[story] = true
		}
	}
	for _, n := range []int{1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 26, 27, 28, 29, 30, 31, 46} {
		if story := fmt.Sprintf("U%d", n); !told[story] {
			t.Errorf("no release is broken as in %s", story)
		}
	}
}
