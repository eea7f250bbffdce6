package exchange

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/jsondoc"
)

// Tables as they stand in programs, with what people write around them.
var pythonTables = []struct{ in, want string }{
	{`{'a': "b", }`, `{"a":"b"}`},
	{"{\n    # the tower\n    r\"^model(?!\\.(language_model|visual))\": 'model.language_model',  # why\n}\n# end", `{"^model(?!\\.(language_model|visual))":"model.language_model"}`},
	{`_checkpoint_conversion_mapping: dict[str, str] = {"^visual": ("model." "visual"), ("^a" r'\.b'): ""}`, `{"^visual":"model.visual","^a\\.b":""}`},
	{`x = {"a\.b": 'it\'s', "\x41\u00e9\U0001F600\t": R"\n"}`, `{"a\\.b":"it's","Aé😀\t":"\\n"}`},
	{"[\n WeightRenaming(source_patterns=r'(.+)', target_patterns=[r'timm.\\1']),\n core.WeightRenaming('a', target_patterns='b',),\n]", `[{"source_patterns":"(.+)","target_patterns":["timm.\\1"]},{"source_patterns":"a","target_patterns":"b"}]`},
	{
		`hf_to_vllm_mapper = WeightsMapper(orig_to_new_prefix={"model.": "x.", "mtp.": None}, orig_to_new_regex={re.compile(r"^a\d+$"): "b"})`,
		`{"orig_to_new_prefix":{"model.":"x.","mtp.":null},"orig_to_new_regex":{"^a\\d+$":"b"}}`,
	},
	{`(("a", 'b'), ("c",), (("d")), [True, False, None])`, `[["a","b"],["c"],"d",[true,false,null]]`},
	{`dict(a="b")`, `{"a":"b"}`},
	{"{'''a\nb''': \"\"\"c\"d\"\"\"}", `{"a\nb":"c\"d"}`},
	{"{'a\\\nb': 'c'}", `{"ab":"c"}`},
}

func TestPythonTables(t *testing.T) {
	for _, c := range pythonTables {
		l := pythonTable{file: "t.py", text: c.in}
		if err := l.document(); err != nil {
			t.Errorf("%s: %v", c.in, err)
		} else if diff := cmp.Diff(c.want, l.json.String()); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.in, diff)
		}
	}
}

// Python reads what are its literals as the same values.
func TestPythonTablesInPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3")
	}
	for _, c := range pythonTables {
		_, text, assigned := strings.Cut(c.in, " = ")
		if !assigned {
			text = c.in
		}
		cmd := exec.Command(python, "-W", "ignore", "-c", `import ast, json, sys
try:
    v = ast.literal_eval(sys.argv[1])
except ValueError:
    sys.exit(3)
sys.exit(0 if json.loads(json.dumps(v)) == json.loads(sys.argv[2]) else 1)`, text, c.want)
		err := cmd.Run()
		if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 3) {
			t.Errorf("%s: Python reads something else: %v", text, err)
		} else if call := strings.Contains(c.in, "(s") || strings.Contains(c.in, "Weight") || strings.HasPrefix(c.in, "dict"); ok != call {
			t.Errorf("%s: a literal: %v", text, !ok)
		}
	}
}

func TestPythonTablesRefuse(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"{'a': open('x')}", "t.py:1:7: open is code, which is not run"},
		{"{'a': __import__('os').system('x')}", "t.py:1:7: __import__ is code"},
		{"{\n  'a': f'b',\n}", "t.py:2:8: a string with f before it is not text"},
		{"{\n  b'a': 'b'}", "t.py:2:3: a string with b before it is not text"},
		{"{'é': 'a', 'b': 'c' + 'd'}", "t.py:1:21: a , or a } is missing"},
		{"{'a', 'b'}", "t.py:1:5: a : is missing behind the key"},
		{"{1: 'b'}", "t.py:1:2: only text is read here"},
		{"{**a}", "t.py:1:2: only text is read here"},
		{"{'a': 'b'", "t.py:1:10: a , or a } is missing"},
		{"{'a': 'b\n'}", "t.py:1:7: a string without its end"},
		{"{'''a': 'b'}", "t.py:1:2: a string without its end"},
		{"{'a': 'b'}\nx = 1", "t.py:2:1: there is more behind the table"},
		{`{r'^(a)$': '\1'}`, "t.py:1:13: \\1 in a string that is not raw is a character, not a group; write r before the quotes"},
		{`{'a': '\N{DASH}'}`, "not raw"},
		{`{'a': '\ud800'}`, "no character's number"},
		{`{'a': '\x4'}`, "no character's number"},
		{"{'a': 'b',\n 'a': 'c'}", `t.py:2:2: member "a" occurs twice`},
		{"{'a.': 'b',\n  'c.': 'd'}", "t.py:2:9: c.: character 2: a . matches any character"},
		{"WeightRenaming('a', 'b', 'c')", "t.py:1:26: an argument without its name"},
		{"WeightConverter('a', 'b', operations=[])", "t.py:1:1: a: it moves bytes, and only renames are imported"},
		{
			"[WeightRenaming(r'x\\.', 'y.'),\n WeightConverter(['a', 'b'], 'c', operations=[Stack(dim=0), m.Concatenate(dim={'x': ')'})], force=True)]",
			"t.py:2:2: a + b: it moves bytes (Stack, m.Concatenate), and only renames are imported; take it out here",
		},
		{"WeightConverter('a', ['b', 'c'], [Chunk(dim=0)])", "it moves bytes (Chunk), and"},
		{"WeightConverter('a', 'b', operations=[Chunk(", "t.py:1:38: the table ends early"},
		{"{'llama': [WeightRenaming('a', 'b')]}", "t.py:1:11: llama: a table in a table; import that of one model alone"},
		{"WeightsMapper(orig_to_new_stacked={'.q': ('.qkv', 'q')})", "orig_to_new_stacked: it puts tensors into one, and only renames are imported"},
		{"{'a': b}", "b is code, which is not run; only text, tables, lists, WeightRenaming and WeightsMapper are read: put the table alone into a file"},
		{"x = ", "t.py:1:5: the table ends early"},
		{"", "the table ends early"},
		{strings.Repeat("[", 1000), "more than 64 levels deep"},
		{"{" + strings.Repeat("(", 1000), "more than 64 levels deep"},
		{strings.Repeat("(", 1000), "more than 64 levels deep"},
		{"{'a': 3}", "neither text nor a table nor a list"},
	} {
		if _, err := Import("t.py", []byte(c.in), nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: %v\nwant %s", c.in, err, c.want)
		}
	}
	if _, err := Import("t.json", []byte("{'a': 3}"), nil); err == nil || strings.Contains(err.Error(), "neither") {
		t.Errorf("the error of JSON that is none: %v", err)
	}
	if m, err := Import("t.json", []byte("WeightRenaming('a', 'b')"), nil); err != nil || len(m.Rules) != 1 {
		t.Errorf("one renaming: %v", err)
	}
}

// What is read becomes JSON, whatever it is.
func FuzzPythonTable(f *testing.F) {
	for _, c := range pythonTables {
		f.Add(c.in)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l := pythonTable{file: "t.py", text: text}
		if strings.ToValidUTF8(text, "") != text || l.document() != nil {
			return
		}
		if _, err := jsondoc.Parse("t", l.json.Bytes()); err != nil && !strings.Contains(err.Error(), "occurs twice") && !strings.Contains(err.Error(), "levels") {
			t.Errorf("%q: %s: %v", text, l.json.Bytes(), err)
		}
	})
}
