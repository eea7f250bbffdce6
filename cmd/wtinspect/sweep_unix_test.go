//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/sweep"
)

// hostile is what nobody would put into a name but to deceive: it moves the
// cursor, turns the direction round, begins a line, ends a string or a cell.
const hostile = "\x1b[31m\a\u202e\u2066\u0085\x7f\r\nFORGED\n::error::%0A,]]>--><script>|`\"'\\{x}&#10;"

// hostileFile is the same as far as the name of a file can be.
var hostileFile = strings.ReplaceAll(hostile, "/", "")

// hostileRelease writes releases of hostile names, and returns what commands
// are given of them, by name.
func hostileRelease(t *testing.T) map[string]string {
	t.Helper()
	const anyName = "names of any bytes"
	root := filepath.Join(t.TempDir(), hostileFile)
	write := func(name, text string) string {
		t.Helper()
		name = filepath.Join(root, name)
		needs(t, anyName, errors.Join(os.MkdirAll(filepath.Dir(name), 0o777), os.WriteFile(name, []byte(text), 0o666)))
		return name
	}
	build := func(name, text string) string {
		t.Helper()
		name = filepath.Join(root, name)
		needs(t, anyName, fixture.Write(name, text))
		return name
	}
	q := strconv.Quote(hostile)
	bracesDoubled := strings.NewReplacer("{", "{{").Replace(q)
	js := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	tensors := "meta " + q + " " + q + "\n" + smallLlama +
		"tensor " + bracesDoubled + " F32 [2] values=nan\n" +
		"tensor " + strings.Replace(bracesDoubled, `"`, `"model.layers.0.`, 1) + " F32 [2,2]\n"
	// The name as a map spells it: YAML's escapes, and braces that are no holes.
	yamlName := func(s string) string {
		var b strings.Builder
		for _, r := range strings.NewReplacer("{", "{{", "}", "}}").Replace(s) {
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		return `"` + b.String() + `"`
	}

	// A whole release, with the documents beside it.
	listed := strings.ReplaceAll(hostileFile, `\`, "") // as far as an index may spell it
	shard := func(n int) string { return fmt.Sprintf("%s-%05d-of-00002.safetensors", listed, n) }
	build("set/"+shard(1), tensors)
	build("set/"+shard(2), "meta "+q+" other\ntensor z F32 [3]\n")
	write("set/"+listed+".safetensors.index.json", `{"metadata":{"total_size":7},"weight_map":{`+
		js("lm_head.weight")+`:`+js(shard(1))+`,`+js(hostile+"missing")+`:`+js(shard(2))+`,`+js(hostile+"gone")+`:`+js(hostileFile+"gone.safetensors")+`,`+js("up")+`:`+js("../"+hostileFile)+`}}`)
	write("set/config.json", `{"model_type":`+js(hostile)+`,"architectures":[`+js(hostile)+`],"vocab_size":`+js(hostile)+
		`,"num_hidden_layers":7,"hidden_size":99,"torch_dtype":`+js(hostile)+`,"tie_word_embeddings":true,"auto_map":{`+js(hostile)+`:`+js(hostile+".X")+`},
		"quantization_config":{"quant_method":`+js(hostile)+`,"bits":4,"modules_to_not_convert":[`+js(hostile)+`]}}`)
	write("set/adapter_config.json", `{"target_modules":[`+js(hostile)+`],"peft_type":`+js(hostile)+`,"base_model_name_or_path":`+js(hostile)+`}`)
	write("set/tokenizer_config.json", `{"tokenizer_class":`+js(hostile)+`, "x": `+"\x1b}")
	write("set/.wtinspect.yaml", `ignore: [{rule: WT101, tensor: `+js(hostile)+`, reason: `+js(hostile)+`}]`)
	write("config.json", `{"model_type":`+js(hostile)+`,"num_attention_heads":4,"num_key_value_heads":2,"hidden_size":16}`)
	write("set/."+hostileFile+".safetensors", "x")
	write("set/"+hostileFile+".bin", "x")

	out := map[string]string{
		"SET":    filepath.Join(root, "set"),
		"SHARD":  filepath.Join(root, "set", shard(1)),
		"SINGLE": build(hostileFile+"\xff.safetensors", tensors),
		"GGUF": build(hostileFile+"\xff.gguf", "format gguf\nkv general.architecture str "+q+"\nkv general.name str "+q+
			"\nkv "+q+" [str] "+q+" \"\\xff\"\ntensor "+strings.Replace(bracesDoubled, `"`, `"\xff`, 1)+" F32 [4]\ntensor blk.0.attn_q.weight F32 [4,4]\n"),
		"TORCH": build(hostileFile+"\xff.ckpt", "format torch\nunder "+strconv.Quote("x"+hostileFile)+"\ntensor "+bracesDoubled+" F32 [2]\ntensor tied F32 [2] of="+q+
			"\ntensor c complex128 [1]\nsparse "+q+"s\nunder "+strconv.Quote("optim"+hostileFile)+"\ntensor "+bracesDoubled+" F32 [2]\nunder\nitem "+q+" "+q+
			"\nobject o "+strconv.Quote(strings.NewReplacer("\n", "", "\r", "").Replace(hostile)+".X")+"\n"),
		"BROKEN":  write(hostileFile+"broken.safetensors", "\x1b\x1b"),
		"NOWHERE": filepath.Join(root, "nowhere"+hostileFile),
		"MAP":     write(hostileFile+".yaml", "version: 1\nrename:\n  "+yamlName(hostile)+": "+yamlName(hostile+"new")+"\n  a.b: "+yamlName(hostile)+"\n"),
		"BADMAP":  write(hostileFile+"bad.yaml", "version: 1\nrename:\n  "+js(hostile+"{")+": x\n"+js(hostile)+": 1\n"),
		"CLASH":   write(hostileFile+"clash.yaml", "version: 1\nrename:\n  lm_head.weight: "+yamlName(hostile)+"\n  model.norm.weight: "+yamlName(hostile)+"\n"),
		"YAML":    write(hostileFile+"settings.yaml", js(hostile)+": 1\nprofile: "+js(hostile)+"\nselect: ["+js(hostile)+"]\n"),
		"SUMS":    write(hostileFile+".sums", "sha256  "+strings.Repeat("0", 64)+"  "+strings.NewReplacer("\n", "", "\r", "").Replace(hostile)+":x\n"),
		"JSONSUM": write(hostileFile+"sums.json", `{"tensors":[{"file":`+js(hostile)+`,"name":`+js(hostile)+`,"sha256":"`+strings.Repeat("0", 64)+`"}]}`),
		"LOCK":    write(hostileFile+".json", `{"lock_version":1,"checkpoints":[{"path":`+js(hostile)+`,"format":"safetensors","tensors":[{"name":`+js(hostile+"was")+`,"dtype":`+js(hostile)+`,"shape":[1]}]}]}`),
		"KEYS":    write(hostileFile+"keys.json", `{"^a\\.b$":`+js(strings.NewReplacer(`\`, "", "(", "", ")", "").Replace(hostile))+`}`),
		"BADKEYS": write(hostileFile+"bad.json", `{`+js(hostile+"(")+`:`+js(hostile)+`,"x":`+js(hostile+`\9`)+`}`),
		"KEY":     hostile,
	}
	return out
}

var hostileCommands = [][]string{
	{"ls", "SET"},
	{"ls", "-v", "SET"},
	{"ls", "--tree", "SET"},
	{"ls", "SINGLE", "GGUF", "SET"},
	{"ls", "-v", "GGUF"},
	{"ls", "--flat", "SINGLE"},
	{"ls", "BROKEN"},
	{"ls", "NOWHERE"},
	{"ls", "TORCH"},
	{"ls", "-v", "TORCH"},
	{"ls", "--subtree", "KEY", "TORCH"},
	{"ls", "--subtree", ".", "TORCH"},
	{"info", "TORCH"},
	{"meta", "show", "TORCH"},
	{"identify", "TORCH"},
	{"check", "TORCH"},
	{"stats", "TORCH"},
	{"hash", "TORCH"},
	{"cat", "TORCH", "*"},
	{"diff", "TORCH", "SINGLE"},
	{"browse", "SET"},
	{"browse", "TORCH", "SINGLE"},
	{"rename", "--map", "MAP", "TORCH"},
	{"convert", "TORCH"},
	{"convert", "--match", "*E*", "TORCH"},
	{"ls", "--as", "gguf", "SINGLE"},
	{"ls", "--as", "KEY", "SINGLE"},
	{"ls", "--tree", "--as", "meta", "SINGLE"},
	{"ls", "--match", "KEY", "SET"},
	{"ls", "--regex", "KEY(", "SET"},
	{"ls", "--sort", "KEY", "SET"},
	{"info", "SET"},
	{"info", "-v", "SET"},
	{"info", "SINGLE"},
	{"info", "GGUF"},
	{"info", "BROKEN", "SET"},
	{"identify", "SET"},
	{"identify", "-v", "SINGLE"},
	{"identify", "GGUF"},
	{"meta", "show", "SET"},
	{"meta", "show", "GGUF"},
	{"meta", "show", "SINGLE", "KEYx"},
	{"meta", "set", "SINGLE", "KEY=KEY"},
	{"meta", "set", "SINGLE", "k=@NOWHERE"},
	{"meta", "unset", "SINGLE", "KEY"},
	{"meta", "unset", "SINGLE", "KEYx"},
	{"meta", "set", "GGUF", "KEY:str=KEY"},
	{"meta", "set", "SHARD", "a=KEY"},
	{"stats", "SET"},
	{"stats", "--by-layer", "SINGLE"},
	{"stats", "GGUF"},
	{"cat", "SET", "*", "KEY"},
	{"cat", "SET", "*"},
	{"cat", "SINGLE", "*"},
	{"cat", "GGUF", "*"},
	{"cat", "SINGLE", "--slice", "KEY", "*"},
	{"hash", "SET"},
	{"hash", "GGUF"},
	{"hash", "--check", "SUMS", "SINGLE"},
	{"hash", "--check", "JSONSUM", "SINGLE"},
	{"hash", "--check", "MAP", "SINGLE"},
	{"diff", "SINGLE", "SET"},
	{"diff", "SINGLE", "GGUF"},
	{"diff", "--stat", "SINGLE", "GGUF"},
	{"diff", "--name-only", "SINGLE", "GGUF"},
	{"diff", "--map", "MAP", "SINGLE", "SET"},
	{"report", "SET"},
	{"report", "GGUF"},
	{"report", "--values", "SINGLE", "GGUF"},
	{"report", "--match", "KEY", "TORCH"},
	{"rename", "--map", "MAP", "SINGLE"},
	{"rename", "--map", "MAP", "-v", "SET"},
	{"rename", "--map", "CLASH", "SINGLE"},
	{"rename", "--map", "BADMAP", "SINGLE"},
	{"rename", "--map", "KEY", "SINGLE"},
	{"rename", "--map", "NOWHERE", "SINGLE"},
	{"rename", "--to", "meta", "SINGLE"},
	{"rename", "--to", "meta", "SET"},
	{"rename", "--map", "MAP", "-n", "-o", "NOWHERE", "SINGLE"},
	{"rename", "--map", "MAP", "SHARD"},
	{"convert", "SINGLE"},
	{"convert", "--dtype", "f16", "-v", "SET"},
	{"convert", "--map", "MAP", "--keep", "*=f32", "--dtype", "bf16", "-n", "-o", "NOWHERE", "SINGLE"},
	{"convert", "--to", "meta", "SINGLE"},
	{"convert", "SET", "SINGLE"},
	{"rename", "--recover", "NOWHERE"},
	{"rename", "--recover", "SET"},
	{"map", "lint", "MAP", "BADMAP"},
	{"map", "show", "BADMAP"},
	{"map", "show", "--for", "SET", "llama-hf"},
	{"map", "show", "KEY"},
	{"map", "invert", "CLASH"},
	{"map", "compose", "MAP", "CLASH"},
	{"map", "list", "KEY"},
	{"map", "infer", "SINGLE", "SET"},
	{"map", "infer", "SET", "--to", "llama-meta"},
	{"map", "infer", "-f", "table", "SINGLE", "GGUF"},
	{"map", "infer", "--assume", "KEY=KEY", "SINGLE", "GGUF"},
	{"map", "infer", "--to", "KEY", "SINGLE"},
	{"map", "infer", "-o", "BADMAP", "SINGLE", "SET"},
	{"map", "new", "SINGLE"},
	{"map", "new", "SET"},
	{"map", "export", "-f", "vllm", "MAP"},
	{"map", "export", "-f", "json", "MAP"},
	{"map", "export", "-f", "mergekit", "--for", "SINGLE", "MAP"},
	{"map", "export", "-f", "mergekit", "--for", "SET", "CLASH"},
	{"map", "export", "-f", "transformers", "BADMAP"},
	{"map", "import", "KEYS"},
	{"map", "import", "--literal-dots", "BADKEYS"},
	{"map", "test", "MAP", "CLASH", "SINGLE", "SET", "BROKEN", "NOWHERE"},
	{"map", "test", "-v", "CLASH", "SINGLE"},
	{"check", "SET"},
	{"check", "-v", "SINGLE"},
	{"check", "GGUF"},
	{"check", "BROKEN"},
	{"check", "--max", "1", "SET"},
	{"check", "--values", "SINGLE"},
	{"check", "--against", "LOCK", "SINGLE"},
	{"check", "--against", "SET", "SINGLE"},
	{"check", "--config", "YAML", "SET"},
	{"check", "--baseline", "MAP", "SET"},
	{"check", "--select", "KEY", "SET"},
	{"check", "--report", "KEY", "SET"},
	{"check", "-R", "SET"},
	{"scan", "-R", "SET"},
	{"scan", "SINGLE", "GGUF", "TORCH", "BROKEN"},
	{"scan", "-f", "csv", "--table", "tensors", "SINGLE"},
	{"scan", "-f", "tsv", "--table", "findings", "SET"},
	{"scan", "--values", "SINGLE"},
	{"scan", "--files-from", "MAP"},
	{"scan", "--config", "YAML", "SET"},
	{"fix", "SET"},
	{"fix", "SINGLE"},
	{"lock", "SINGLE"},
	{"lock", "SET"},
	{"lock", "GGUF"},
	{"explain", "KEY"},
	{"rules", "KEY"},
	{"KEY"},
	{"help", "KEY"},
	{"ls", "--KEY"},
	{"completion", "KEY"},
	{"man", "KEY"},
	{"schema", "KEY"},
	{"version"},
}

// Every command is among those that print nothing hostile.
func TestHostileCommandsAreComplete(t *testing.T) {
	root := newRoot(newProgram(nil, nil, nil, func(string) string { return "" }))
	tried := map[*cobra.Command]bool{}
	for _, args := range hostileCommands {
		if cmd, _, err := root.Find(args); err == nil {
			tried[cmd] = true
		}
	}
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd != root && cmd.Runnable() && !cmd.HasSubCommands() && !tried[cmd] {
			t.Errorf("hostileCommands lacks %s", cmd.CommandPath())
		}
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	visit(root)
}

// formatsOf returns the values of a command's -f, "" for none.
func formatsOf(t *testing.T, args []string) []string {
	t.Helper()
	p := newProgram(strings.NewReader(""), io.Discard, io.Discard, os.Getenv)
	cmd, _, err := newRoot(p).Find(args)
	if err != nil || cmd == nil {
		return []string{""}
	}
	f := cmd.Flags().Lookup("format")
	if f == nil {
		return []string{""}
	}
	return f.Value.(*choice).values
}

// forHumans reports what of a text a terminal, or a reader of lines, would act on.
func forHumans(text []byte, allowed string) error {
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, []byte("FORGED")) || bytes.HasPrefix(line, []byte("::error::")) {
			return fmt.Errorf("a name begins the line %q", line)
		}
		for i := 0; i < len(line); {
			r, n := utf8.DecodeRune(line[i:])
			if r == utf8.RuneError && n == 1 {
				return fmt.Errorf("byte %#x in %q", line[i], line)
			}
			if !strconv.IsPrint(r) && r != '\n' && !strings.ContainsRune(allowed, r) {
				return fmt.Errorf("character %U in %q", r, line)
			}
			i += n
		}
	}
	return nil
}

// hostileArguments makes a hostile release, and returns what puts its files into arguments.
func hostileArguments(t *testing.T) func(args []string) []string {
	names := hostileRelease(t)
	// The longest first, since KEY is in none and MAP in BADMAP.
	keys := slices.SortedFunc(maps.Keys(names), func(a, b string) int { return len(b) - len(a) })
	return func(args []string) []string {
		out := make([]string, len(args))
		for i, arg := range args {
			out[i] = arg
			for _, k := range keys {
				if strings.Contains(out[i], k) {
					out[i] = strings.ReplaceAll(out[i], k, names[k])
					break
				}
			}
		}
		return out
	}
}

// Nothing that a file says acts on who reads the output, in any form of any
// command.
func TestNothingHostileIsPrinted(t *testing.T) {
	if testing.Short() {
		t.Skip("every command in every form: make test runs it")
	}
	t.Parallel()
	substitute := hostileArguments(t)
	n, ran := 0, 0
	for _, command := range hostileCommands {
		formats := formatsOf(t, command)
		if slices.Contains(command, "--tree") {
			formats = []string{"table"}
		}
		for _, format := range formats {
			for _, terminal := range []bool{false, true} {
				if n++; !sweep.Has(n, 3) {
					continue
				}
				args := substitute(command)
				if format != "" {
					args = append(args, "-f", format)
				}
				var stdout, stderr bytes.Buffer
				p := newProgram(strings.NewReader(""), &stdout, &stderr, func(string) string { return "" })
				p.color = "never"
				if p.terminal = terminal; terminal {
					p.width = 100
				}
				p.run(context.Background(), append(args, "--color", "never"))
				ran++
				where := fmt.Sprintf("%v -f %s, terminal %v", command, format, terminal)
				if err := judgeOutput(stdout.Bytes(), format, terminal); err != nil {
					t.Errorf("%s: stdout: %v", where, err)
				}
				for line := range bytes.Lines(stderr.Bytes()) {
					if text, ok := bytes.CutPrefix(line, []byte("wtinspect: ")); !ok || bytes.HasPrefix(text, []byte("FORGED")) {
						t.Errorf("%s: stderr: %q", where, line)
					}
				}
				if err := forHumans(stderr.Bytes(), ""); err != nil {
					t.Errorf("%s: stderr: %v", where, err)
				}
			}
		}
	}
	t.Logf("%d runs", ran)
}

// An answer that cannot be written fails the command, whatever it found; one whose reader goes
// away does not.
func TestAnswersThatCannotBeWritten(t *testing.T) {
	substitute := hostileArguments(t)
	ran := 0
	for _, command := range append([][]string{{"--help"}, {"ls", "--help"}, {"convert", "SINGLE"}}, hostileCommands...) {
		args := substitute(command)
		start := func(stdout io.Writer) (int, string) {
			var stderr bytes.Buffer
			p := newProgram(strings.NewReader(""), stdout, &stderr, func(string) string { return "" })
			return p.run(t.Context(), args), stderr.String()
		}
		var stdout bytes.Buffer
		usual, _ := start(&stdout)
		if stdout.Len() == 0 {
			continue // nothing to lose
		}
		ran++
		if code, said := start(failingWriter{syscall.ENOSPC}); code != exitFailed || strings.Count(said, syscall.ENOSPC.Error()) != 1 {
			t.Errorf("%v: exit %d with a full disk: %s", command, code, said)
		}
		if command[0] == "scan" {
			continue // it has no more to do
		}
		if code, said := start(failingWriter{syscall.EPIPE}); code != usual || strings.Contains(said, syscall.EPIPE.Error()) {
			t.Errorf("%v: exit %d without a reader, %d with one: %s", command, code, usual, said)
		}
	}
	if ran < len(hostileCommands)/2 {
		t.Errorf("%d of %d commands have an answer", ran, len(hostileCommands))
	}
}

func judgeOutput(out []byte, format string, terminal bool) error {
	switch format {
	case "csv":
		r := csv.NewReader(bytes.NewReader(out))
		if _, err := r.ReadAll(); err != nil {
			return err
		}
		if !terminal {
			return nil // every byte is kept
		}
	case "tsv":
		first := -1
		for line := range bytes.Lines(out) {
			n := bytes.Count(line, []byte("\t"))
			if first < 0 {
				first = n
			}
			if n != first {
				return fmt.Errorf("%d columns in %q", n, line)
			}
		}
		if !terminal {
			return nil
		}
		return forHumans(out, "\t")
	case "json", "sarif", "gitlab":
		if len(out) > 0 && !json.Valid(out) {
			return errors.New("not JSON")
		}
	case "junit":
		d := xml.NewDecoder(bytes.NewReader(out))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
		}
	case "github":
		for line := range bytes.Lines(out) {
			if i := bytes.Index(line, []byte("::error::")); i == 0 {
				return fmt.Errorf("a command of a name's: %q", line)
			}
		}
	case "markdown":
		cells := 0 // of the rows of the table
		for line := range strings.Lines(string(out)) {
			if !strings.HasPrefix(line, "|") {
				cells = 0
			} else if n := cellsOf(line); cells != 0 && n != cells {
				return fmt.Errorf("%d cells in %q", n, line)
			} else {
				cells = n
			}
			prose := ourTags.ReplaceAllString(withoutCode(line), "")
			if strings.Contains(prose, "<") || strings.Contains(prose, "&#") {
				return fmt.Errorf("HTML in %q", line)
			}
			if link := reached.FindString(withoutCode(line)); link != "" {
				return fmt.Errorf("%q in %q", link, line)
			}
		}
	}
	return forHumans(out, "")
}

// ourTags are those that a page in Markdown has.
var ourTags = regexp.MustCompile(`</?(details|summary)>|<br>|<!-- -->`)

// reached are what GitHub makes links of in the text that is left of Markdown, and notifies people for.
var reached = regexp.MustCompile(`@\w|#\d|://|www\.\w`)

// withoutCode takes the code spans out of a line of Markdown: from a run of backticks to
// the next run of as many (https://spec.commonmark.org/0.31.2/#code-spans).
func withoutCode(line string) string {
	var out strings.Builder
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' && i+1 < len(line) {
			i++
			continue
		}
		if line[i] != '`' {
			out.WriteByte(line[i])
			continue
		}
		rest := strings.TrimLeft(line[i:], "`")
		fence := len(line) - i - len(rest)
		for at := 0; ; {
			k := strings.IndexByte(rest[at:], '`')
			if k < 0 {
				return out.String() + line[i:] // it never ends
			}
			at += k
			run := len(rest[at:]) - len(strings.TrimLeft(rest[at:], "`"))
			at += run
			if run == fence {
				i = len(line) - len(rest) + at - 1
				break
			}
		}
	}
	return out.String()
}

// cellsOf counts the cells of a row of a Markdown table.
func cellsOf(row string) int {
	n := -1
	for i := 0; i < len(row); i++ {
		switch row[i] {
		case '\\':
			i++
		case '|':
			n++
		}
	}
	return n
}
