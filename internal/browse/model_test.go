package browse

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/template"
)

// A fakeSource has tensors of given names, and nothing to say about them.
type fakeSource struct {
	names []string
	err   error
	asked []string // what was asked for

	changed error
}

func (f *fakeSource) Paths() []string { return []string{"fake"} }
func (f *fakeSource) Len() int        { return len(f.names) }

func (f *fakeSource) At(i int) Item {
	t := inspect.Tensor{FileName: "f"}
	t.Name, t.DType, t.Shape, t.Bytes, t.BytesKnown, t.Offset = f.names[i], []string{"F32", "BF16"}[i%2], []uint64{uint64(i%7 + 1), 2}, uint64(i%7+1)*8, true, int64(i)
	return Item{Name: f.names[i], Sides: [2]inspect.Tensor{t}, Has: [2]bool{true}}
}

func (f *fakeSource) Items(context.Context, bool, func(done, total int64)) (Items, error) {
	return f, f.err
}

func (f *fakeSource) Role(_ context.Context, t *inspect.Tensor) (*identify.Explanation, error) {
	f.asked = append(f.asked, t.Name)
	return nil, errors.New("role\x1b[2J of\n" + t.Name)
}

func (f *fakeSource) Digest(context.Context, *inspect.Tensor) (string, error) {
	return "", errors.New("no digest")
}

func (f *fakeSource) Stats(context.Context, *inspect.Tensor, int) (*inspect.Figures, error) {
	return nil, errors.New("no stats")
}

func (f *fakeSource) Values(context.Context, *inspect.Tensor, int) (string, error) {
	return "", errors.New("no values")
}

func (f *fakeSource) Findings(context.Context) (*inspect.CheckResult, error) {
	return nil, errors.New("no findings\x07")
}

func (f *fakeSource) Info(context.Context, render.Style) (string, error) {
	return "", errors.New("no info\x07")
}

func (f *fakeSource) Changed(context.Context) error { return f.changed }

// What cannot be found out is said in its place, and nothing of it acts on the terminal.
func TestErrors(t *testing.T) {
	d := newDriver(t, &fakeSource{names: []string{"a.b", "a.c"}}, look{}, 80, 24)
	d.keys("3 enter")
	for _, want := range []string{`role\x1b[2J`, "no digest", "no stats", "no values"} {
		if s := d.screen(); !strings.Contains(s, want) {
			t.Errorf("no %q in\n%s", want, s)
		}
	}
	for view, want := range map[string]string{"4": `no findings\a`, "5": `no info\a`} {
		d.keys("q " + view)
		if s := d.screen(); !strings.Contains(s, want) {
			t.Errorf("no %q in\n%s", want, s)
		}
		d.keys("1 enter")
	}
	d = newDriver(t, &fakeSource{err: errors.New("there is nothing")}, look{}, 80, 24)
	if s := d.screen(); !strings.Contains(s, "there is nothing") {
		t.Errorf("the screen is\n%s", s)
	}
	d.keys("j k enter / a enter n s r c y x 2 3 4 5 G g space b left right")
	d.screen()
}

// What a job finds counts only while somebody waits for it.
func TestStaleJobs(t *testing.T) {
	src := &fakeSource{names: []string{"a", "b", "c"}}
	d := newDriver(t, src, look{}, 80, 24)
	d.keys("3")
	d.hold = true
	d.keys("enter n") // the pane of a, and then of b
	first, second := d.held[0], d.held[1]
	d.hold = false
	d.run(t.Context(), second)
	d.run(t.Context(), first)
	if s := d.screen(); !strings.Contains(s, "\nb\n") || strings.Contains(s, "of\\na") {
		t.Errorf("the pane of b is\n%s", s)
	}
	d.keys("q")
	d.hold, d.held = true, nil
	d.keys("/ text:a")
	d.keys("esc") // before the search is done
	stale := d.held[0]
	d.hold = false
	d.run(t.Context(), stale)
	if s := d.screen(); !strings.Contains(s, "3 tensors") || !strings.Contains(s, "  c ") {
		t.Errorf("a filter that was taken back has left\n%s", s)
	}
}

// A job that nobody waits for ends, and asks for nothing more.
func TestEndedJob(t *testing.T) {
	src := &fakeSource{names: []string{"a", "b"}}
	d := newDriver(t, src, look{}, 80, 24)
	d.hold = true
	d.keys("3")
	d.hold = false
	d.run(t.Context(), d.held[0])
	d.hold, d.held = true, nil
	d.keys("enter")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.run(ctx, d.held[0])
	if len(src.asked) > 0 {
		t.Errorf("%q were read by a job that had ended", src.asked)
	}
}

func TestFilter(t *testing.T) {
	names := []string{"model.layers.0.mlp.up_proj.weight", "model.layers.0.input_layernorm.weight", "model.layers.12.self_attn.q_proj.weight", "Model.LAYERS.1.MLP"}
	for _, tt := range []struct {
		filter string
		want   []int32
	}{
		{"", []int32{0, 1, 2, 3}},
		{"mlp", []int32{0, 3}},         // as it is, though input_layernorm has the letters
		{"m1q", []int32{2}},            // letters in their order
		{"weight mlp", []int32{0}},     // both, in any order
		{"MLP", []int32{3}},            // capitals mean themselves
		{"xyz", nil},                   // nothing
		{"*.mlp.*", []int32{0}},        // a glob of whole names
		{"*MLP", []int32{3}},           //
		{"*mlp", nil},                  // which does not fold case
		{"lay 0 norm", []int32{1}},     //
		{"  ", []int32{0, 1, 2, 3}},    // no word
		{"q proj 12", []int32{2}},      //
		{"model*[0]*up?*", []int32{0}}, //
	} {
		src := &fakeSource{names: names}
		got := filter(tt.filter).choose(t.Context(), src, nil)
		if !slices.Equal(got.places, tt.want) || got.err != nil {
			t.Errorf("%q leaves %v, %v; want %v", tt.filter, got.places, got.err, tt.want)
		}
		// Typed letter by letter it leaves the same.
		var before *chosen
		for i := range len(tt.filter) {
			before = filter(tt.filter[:i+1]).choose(t.Context(), src, before)
		}
		if before != nil && !slices.Equal(before.places, tt.want) {
			t.Errorf("%q letter by letter leaves %v, want %v", tt.filter, before.places, tt.want)
		}
	}
	if got := filter("*[").choose(t.Context(), &fakeSource{names: names}, nil); got.err == nil {
		t.Error("a broken glob has no error")
	}
}

// A glob of a name is of that name alone, and a word of a shell that name alone.
func TestQuoting(t *testing.T) {
	var shells []string
	for _, name := range []string{"sh", "dash", "bash", "zsh", "ksh"} {
		if path, err := exec.LookPath(name); err == nil {
			shells = append(shells, path)
		}
	}
	if len(shells) == 0 {
		t.Log("there is no shell here to read the words back")
	}
	for _, name := range []string{
		"", "a", "model.layers.0.w", "a b", "a'b", "*", `a\b`, "[x]", "?", "$(reboot)", "`x`", "-rf", "\x1b[31m", "a\nb", "\xff\xfe", "層", "a\u202eb", `\'`, `\0101\n` + "\x07", "%d\x1b%", "-n\x1b", "=ls", "é\x1b", "~", "#x", "{a,b}", "a!b", "\x01" + "7",
	} {
		glob, err := template.ParseGlob(globOf(name))
		if err != nil || !glob.Match(name) || glob.Match(name+"x") || name != "" && glob.Match("") {
			t.Errorf("globOf(%q) = %q, %v", name, globOf(name), err)
		}
		word, err := quote(name)
		if err != nil {
			t.Errorf("quote(%q): %v", name, err)
		}
		if strings.ContainsAny(word, "\x00\x1b\n\x07") {
			t.Errorf("quote(%q) = %q, which acts on a terminal", name, word)
		}
		for _, sh := range shells {
			out, err := exec.Command(sh, "-c", "printf '%s|' "+word).Output()
			if err != nil || string(out) != name+"|" {
				t.Errorf("%s reads %s as %q, %v", sh, word, out, err)
			}
		}
	}
	for name, why := range map[string]string{"a\x00b": "NUL", "a\x1b\n": "line break", "\n": "line break"} {
		if word, err := quote(name); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("quote(%q) = %s, %v", name, word, err)
		}
	}
}

// The commands that are copied print what is on screen: as many lines as the list has.
func TestCommands(t *testing.T) {
	release(t)
	for _, tt := range []struct{ paths, keys, want string }{
		{"llama", "", "wtinspect ls --tree llama"},
		{"llama", "2", "wtinspect ls --tree --flat llama"},
		{"llama", "3", "wtinspect ls --flat llama"},
		{"llama", "3 s s", "wtinspect ls --flat --sort bytes --reverse llama"},
		{"llama", "3 s s r", "wtinspect ls --flat --sort bytes llama"},
		{"llama", "3 s r", "wtinspect ls --flat --sort name --reverse llama"},
		{"llama", "3 / text:up_ enter", "wtinspect ls --flat --regex '(?i)up_' llama"},
		{"llama", "3 / text:l2q space text:weight enter", "wtinspect ls --flat --regex '(?i)l.*2.*q' llama | grep -iE -e w.*e.*i.*g.*h.*t"},
		{"llama", "3 / text:*.q_* enter", "wtinspect ls --flat --match '*.q_*' llama"},
		{"llama", "4", "wtinspect check llama"},
		{"llama", "5", "wtinspect info --long llama"},
		{"llama tuned.safetensors", "", "wtinspect diff -v --headers llama tuned.safetensors"},
		{"llama tuned.safetensors", "c 3", "wtinspect diff -v --flat llama tuned.safetensors"},
	} {
		d := newDriver(t, open(t, strings.Fields(tt.paths)...), look{}, 80, 24)
		d.keys(tt.keys + " y")
		if len(d.copied) != 1 || strings.ReplaceAll(d.copied[0], "'w.*e.*i.*g.*h.*t'", "w.*e.*i.*g.*h.*t") != tt.want {
			t.Errorf("%s: copied %q, want %q", tt.keys, d.copied, tt.want)
		}
	}
}

// The mouse does what the keys do.
func TestMouse(t *testing.T) {
	release(t)
	d := newDriver(t, open(t, "llama"), look{}, 80, 24)
	spans := d.m.tabSpans()
	d.send(clickMsg{spans[listView][0] + 1, tabsLine})
	if d.m.view != listView {
		t.Fatalf("a click on List shows view %d", d.m.view)
	}
	d.send(wheelMsg(3))
	d.send(wheelMsg(-1))
	if d.m.list.cursor != 2 {
		t.Errorf("the wheel has gone to %d", d.m.list.cursor)
	}
	d.send(clickMsg{10, firstLine + 5})
	if d.m.list.cursor != 5 || d.m.pane != nil {
		t.Errorf("a click has gone to %d", d.m.list.cursor)
	}
	d.send(clickMsg{10, firstLine + 5})
	if d.m.pane == nil {
		t.Error("a second click opens nothing")
	}
	d.keys("q ?")
	d.send(clickMsg{1, 1})
	if d.m.overlay != nil {
		t.Error("a click does not close the keys")
	}
	for _, at := range []clickMsg{{0, 0}, {79, 23}, {500, 500}, {-1, -1}, {0, 22}} {
		d.send(at)
	}
}

// Any keys, sizes and clicks, whatever is on screen: what is shown fits, and nothing fails.
func TestAnything(t *testing.T) {
	release(t)
	seeds := uint64(4)
	if testing.Short() {
		seeds = 1
	}
	keys := strings.Fields("j k g G space b d u / esc enter left right tab shift+tab 1 2 3 4 5 n N s r c y ? q - backspace up down pgup pgdown home end ctrl+w ctrl+u l h a * q_proj [ ] J K")
	for _, paths := range [][]string{{"llama"}, {"llama", "tuned.safetensors"}, {"odd.safetensors"}, {"quants"}, {"quants", "llama"}, {"bad/model.safetensors", "renamed.safetensors"}} {
		src := open(t, paths...)
		for seed := range seeds {
			r := rand.New(rand.NewPCG(seed, 0))
			d := newDriver(t, src, look{color: seed%2 == 1, ascii: seed > 1}, 80, 24)
			pressed := ""
			for range 150 {
				switch r.IntN(12) {
				case 0:
					d.send(sizeMsg{1 + r.IntN(220), 1 + r.IntN(70)})
				case 1:
					d.send(clickMsg{r.IntN(200), r.IntN(60)})
				case 2:
					d.send(wheelMsg(r.IntN(20) - 10))
				default:
					k := keys[r.IntN(len(keys))]
					pressed += " " + k
					d.send(keyMsg(k))
				}
				if d.screen(); t.Failed() {
					t.Fatalf("%v, seed %d, keys%s", paths, seed, pressed)
				}
			}
		}
	}
}

// A file that vanishes is an error where it is read, and nowhere else.
func TestVanish(t *testing.T) {
	release(t)
	src := open(t, "llama")
	d := newDriver(t, src, look{}, 80, 24)
	src.(*set).Wait()
	files, err := filepath.Glob("llama/*.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Truncate(f, 0); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	d.keys("3 G enter")
	if s := d.screen(); !strings.Contains(s, "model-00002-of-00002.safetensors: ") {
		t.Errorf("the pane is\n%s", s)
	}
	d.keys("q 4")
	d.screen()
	d.keys("1 2 3 j y x q")
	if d.left == nil {
		t.Error("q does not leave")
	}
}

func TestSmall(t *testing.T) {
	d := newDriver(t, &fakeSource{names: []string{"a"}}, look{}, 40, 8)
	if s := d.screen(); !strings.Contains(strings.ReplaceAll(s, "\n", " "), "needs 64 columns and 12 lines; this terminal has 40 and 8") {
		t.Errorf("the screen is\n%s", s)
	}
	d.keys("q")
	if d.left == nil || d.left.interrupted {
		t.Error("q does not leave")
	}
}

// half a million tensors, of a model with experts.
func half() *fakeSource {
	f := &fakeSource{}
	for layer := 0; len(f.names) < 500_000; layer++ {
		for expert := range 1000 {
			for _, m := range []string{"gate_proj", "up_proj", "down_proj"} {
				f.names = append(f.names, "model.layers."+strconv.Itoa(layer)+".mlp.experts."+strconv.Itoa(expert)+"."+m+".weight")
			}
		}
		for _, m := range []string{"q_proj", "k_proj", "v_proj", "o_proj"} {
			f.names = append(f.names, "model.layers."+strconv.Itoa(layer)+".self_attn."+m+".weight")
		}
	}
	return f
}

// The user waits for a key and its screen, and for nothing in the background: 50 ms are
// the most that feel like at once.
func BenchmarkKey(b *testing.B) {
	src := half()
	for _, view := range []string{"1", "2", "3"} {
		for _, keys := range []string{"j", "G k", "/ text:q esc", "s", "enter"} {
			b.Run(fmt.Sprintf("view=%s/keys=%s", view, strings.ReplaceAll(keys, " ", "+")), func(b *testing.B) {
				d := newDriver(b, src, look{color: true}, 200, 60)
				d.keys(view)
				d.hold = true
				n := 0
				for b.Loop() {
					d.keys(keys)
					_ = d.m.screen()
					n += len(strings.Fields(keys))
					d.held = nil
				}
				b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(n), "ms/key")
			})
		}
	}
}

// What goes on in the background.
func BenchmarkBackground(b *testing.B) {
	src := half()
	all := filter("").choose(b.Context(), src, nil)
	b.Run("filter", func(b *testing.B) {
		for b.Loop() {
			filter("l12q").choose(b.Context(), src, nil)
		}
	})
	b.Run("sort", func(b *testing.B) {
		for b.Loop() {
			sorting{by: "name"}.places(b.Context(), src, slices.Clone(all.places))
		}
	})
	for _, flat := range []bool{false, true} {
		b.Run(fmt.Sprintf("tree/flat=%v", flat), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				unfold(b.Context(), src, rootOf(b.Context(), src, all.places, flat), 55)
			}
		})
	}
}
