package browse

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/testdata"
)

var update = flag.Bool("update", false, "rewrite the screens in testdata")

// A driver is a user of a model: jobs are done at once, in the order in which they are
// asked for.
type driver struct {
	t      testing.TB
	m      *model
	copied []string
	left   *quit
	ticks  bool // it was asked for another tick
	// hold keeps jobs, as slow ones would be.
	hold bool
	held []job
}

func newDriver(t testing.TB, src Source, l look, width, height int) *driver {
	t.Helper()
	d := &driver{t: t, m: newModel(src, l)}
	d.perform(d.m.begin())
	d.send(sizeMsg{width, height})
	return d
}

func (d *driver) send(msg any) {
	if _, ok := msg.(tickMsg); ok {
		d.ticks = false
	}
	d.perform(d.m.update(msg))
}

func (d *driver) perform(effects []any) {
	for _, e := range effects {
		switch e := e.(type) {
		case job:
			switch {
			case e.run == nil:
			case d.hold:
				d.held = append(d.held, e)
			default:
				if d.m.width > 0 { // what is seen while it is done
					d.screen()
				}
				d.run(d.t.Context(), e)
			}
		case tick:
			d.ticks = true
		case copyText:
			d.copied = append(d.copied, string(e))
		case quit:
			d.left = &e
		}
	}
}

func (d *driver) run(ctx context.Context, j job) {
	var one sync.Mutex // jobs tell how far they are from several goroutines
	tell := func(value any) {
		one.Lock()
		defer one.Unlock()
		d.send(jobMsg{j.slot, j.turn, value})
	}
	tell(j.run(ctx, tell))
}

// keys presses keys, which have spaces between them. "text:..." types.
func (d *driver) keys(list string) {
	for k := range strings.FieldsSeq(list) {
		if typed, ok := strings.CutPrefix(k, "text:"); ok {
			for _, r := range typed { // one letter after the other
				d.send(keyMsg(string(r)))
			}
			continue
		}
		d.send(keyMsg(k))
	}
}

var sgr = regexp.MustCompile("\x1b\\[[0-9]+m")

// screen is what is seen, after a look at what must be true of every screen.
func (d *driver) screen() string {
	d.t.Helper()
	s := d.m.screen()
	lines := strings.Split(s, "\n")
	if len(lines) > d.m.height {
		d.t.Errorf("%d lines on a screen of %d:\n%s", len(lines), d.m.height, s)
	}
	for _, line := range lines {
		bare := sgr.ReplaceAllString(line, "")
		if w := render.DisplayWidth(bare); w > d.m.width {
			d.t.Errorf("%d columns on a screen of %d: %q", w, d.m.width, bare)
		}
		if render.EscapeMessage(bare) != bare {
			d.t.Errorf("a terminal acts on %q", bare)
		}
		if !d.m.look.color && bare != line {
			d.t.Errorf("colours in %q", line)
		}
		for _, r := range bare {
			if d.m.look.ascii && r >= utf8.RuneSelf {
				d.t.Errorf("%q is not ASCII", bare)
				break
			}
		}
	}
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// open returns the Source of some paths of this machine.
func open(t testing.TB, paths ...string) Source {
	t.Helper()
	set, err := inspect.Open(t.Context(), paths, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Errors) > 0 {
		t.Fatal(set.Errors)
	}
	t.Cleanup(func() { set.Close() })
	return SourceOf(set, paths, SetOptions{})
}

const layers = `
tensor model.layers.{0..3}.input_layernorm.weight BF16 [16]
tensor model.layers.{0..3}.mlp.down_proj.weight F32 [16,24] normal=1
tensor model.layers.{0..3}.mlp.gate_proj.weight F32 [24,16] normal=2
tensor model.layers.{0..3}.mlp.up_proj.weight F32 [24,16] normal=3
tensor model.layers.{0..3}.post_attention_layernorm.weight BF16 [16] values=1
tensor model.layers.{0..3}.self_attn.k_proj.weight F32 [8,16] normal=4
tensor model.layers.{0..3}.self_attn.o_proj.weight F32 [16,16] normal=5
tensor model.layers.{0..3}.self_attn.q_proj.weight F32 [16,16] normal=6
tensor model.layers.{0..3}.self_attn.v_proj.weight F32 [8,16] normal=7
tensor model.norm.weight BF16 [16] values=1
`

// files are what the journeys are through.
var files = map[string]string{
	"llama/config.json": `{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":16,"intermediate_size":24,"num_attention_heads":4,"num_key_value_heads":2,"num_hidden_layers":4,"vocab_size":32}`,
	"llama/set.fixture": "file model-00001-of-00002.safetensors\nmeta format pt\ntensor lm_head.weight F32 [32,16] normal=8\ntensor model.embed_tokens.weight F32 [32,16] normal=9\nfile model-00002-of-00002.safetensors\nmeta format pt" + layers,
	"tuned.fixture": "meta format pt\ntensor lm_head.weight F32 [32,16] normal=8\ntensor model.embed_tokens.weight BF16 [32,16] values=1,2" +
		strings.NewReplacer("normal=6", "normal=66", "model.norm.weight", "model.final_norm.weight").Replace(layers) + "tensor extra.bias F32 [3] values=1,2,3\n",
	"renamed.fixture":          strings.NewReplacer("model.layers", "k", "self_attn", "a", "mlp", "m", "layernorm", "n", "_proj", "", "model.norm", "last").Replace(layers),
	"bad/model.fixture":        "meta format pt" + layers,
	"quants/tiny-Q8_0.fixture": "format gguf\nkv general.architecture str llama\ntensor blk.{0..1}.attn_q.weight Q8_0 [32,32]\ntensor token_embd.weight F16 [8,32]\n",
	"quants/tiny-F16.fixture":  "format gguf\nkv general.architecture str llama\ntensor blk.{0..1}.attn_q.weight F16 [32,32]\ntensor token_embd.weight F16 [8,32]\n",
	"odd.fixture": `tensor "\x1b[31mred\x1b]52;c;aGk=\a.weight" F32 [2] values=1,2
tensor "new\nline.weight" F32 [2]
tensor "\u202Egnp.exe" F32 [2]
tensor "層.{0..2}.重み" F32 [2]
tensor "-rf $(reboot) 'x'" F32 [2]
tensor "*.q[0]?" F32 [2]
tensor "" F32 [2]
tensor ` + strings.Repeat("long.", 13_000) + `weight F32 [2]
`,
}

// release builds the files in a new directory, which becomes the working directory.
func release(t testing.TB) {
	t.Helper()
	files["bad/config.json"] = files["llama/config.json"]
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case strings.HasSuffix(name, "set.fixture"):
			err = fixture.Sharded(filepath.Dir(path), text)
		case strings.HasPrefix(text, "format gguf"):
			err = fixture.Write(strings.TrimSuffix(path, ".fixture")+".gguf", text)
		case strings.HasSuffix(name, ".fixture"):
			err = fixture.Write(strings.TrimSuffix(path, ".fixture")+".safetensors", text)
		default:
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	switch t := t.(type) {
	case *testing.T:
		t.Chdir(dir)
	case *testing.B:
		t.Chdir(dir)
	}
}

// journeys are keys, and the screens that are kept on the way, at each !.
var journeys = []struct{ name, paths, keys string }{
	{"templates", "llama", "! G k k k k enter ! left - !"},
	{"layers", "llama", "2 ! j j j j j right right j !"},
	{"list", "llama", "3 ! s s ! r G !"},
	{"fuzzy", "llama", "/ text:l2q ! ctrl+u text:qproj ! backspace text:j enter ! esc 3 / text:q_p !"},
	{"glob", "llama", "3 / text:*.up_proj* ! text:[ ! esc !"},
	{"tensor", "llama", "3 j j enter ! space ! n ! q !"},
	{"findings", "bad", "4 ! enter ! x !"},
	{"info", "llama", "5 ! / text:mlp enter n !"},
	{"two", "llama tuned.safetensors", "! c ! n n ! 3 n enter ! G !"},
	{"renamed", "bad/model.safetensors renamed.safetensors", "! 3 G ! c ! enter !"},
	{"keys", "llama tuned.safetensors", "? ! x 3 / text:norm enter y !"},
	{"several", "quants", "! 3 G enter y !"},
	{"odd", "odd.safetensors", "! 3 enter y ! x n n n n n n y ! x n n n !"},
}

func TestJourneys(t *testing.T) {
	release := releaseAt(t)
	for _, j := range journeys {
		sizes := []sizeMsg{{80, 24}, {200, 60}}
		if testing.Short() {
			sizes = sizes[:1]
		}
		for _, size := range sizes {
			t.Run(fmt.Sprintf("%s.%dx%d", j.name, size.width, size.height), func(t *testing.T) {
				t.Chdir(release)
				src := open(t, strings.Fields(j.paths)...)
				plain := newDriver(t, src, look{}, size.width, size.height)
				painted := newDriver(t, src, look{color: true}, size.width, size.height)
				bare := newDriver(t, src, look{ascii: true}, size.width, size.height)
				text := "$ wtinspect browse " + j.paths + "\n"
				pressed := ""
				for k := range strings.FieldsSeq(j.keys) {
					if k != "!" {
						pressed += " " + k
						for _, d := range []*driver{plain, painted, bare} {
							d.keys(k)
						}
						continue
					}
					s := plain.screen()
					text += fmt.Sprintf("---- keys:%s\n%s\n", pressed, s)
					pressed = ""
					inColour := painted.screen()
					if got := sgr.ReplaceAllString(inColour, ""); strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(s, " ", "") {
						t.Errorf("colours carry a meaning of their own:\n%s\nis not\n%s", got, s)
					}
					if j.name == "two" && size.width == 80 {
						text += "---- in colours\n" + strings.ReplaceAll(inColour, "\x1b", "^[") + "\n"
					}
					s = bare.screen()
					if size.width == 80 && (j.name == "tensor" || j.name == "odd") {
						text += "---- in ASCII\n" + s + "\n"
					}
				}
				testdata.UpToDate(t, filepath.Join(golden, fmt.Sprintf("%s.%dx%d.txt", j.name, size.width, size.height)), text, *update)
			})
		}
	}
}

// golden is where the screens are.
var golden = func() string {
	dir, err := filepath.Abs("testdata")
	if err != nil {
		panic(err)
	}
	return dir
}()

func releaseAt(t *testing.T) string {
	t.Helper()
	release(t)
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
