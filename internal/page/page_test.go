package page

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/render"
)

var update = flag.Bool("update", false, "rewrite testdata/")

const small = `meta format pt
tensor model.embed_tokens.weight BF16 [64,16] normal=1
tensor model.layers.{0..2}.self_attn.q_proj.weight BF16 [16,16] normal=2
tensor model.layers.{0..2}.mlp.up_proj.weight F16 [44,16] hex=003c0040
tensor model.layers.{0..2}.input_layernorm.weight F32 [16] normal=3
tensor model.norm.weight F32 [16] values=1
`

// reported is the report of files in the working directory, which have the given texts.
func reported(t testing.TB, opts *inspect.ReportOptions, texts ...string) (*inspect.ReportResult, Options) {
	t.Helper()
	var refs []string
	for i, text := range texts {
		refs = append(refs, "model-"+string(rune('a'+i))+".safetensors")
		if err := fixture.Write(refs[i], text); err != nil {
			t.Fatal(err)
		}
	}
	set, err := inspect.Open(t.Context(), refs, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	r, err := inspect.Report(t.Context(), set, refs, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r, Options{Title: refs[0], References: refs, Command: append([]string{"wtinspect", "report"}, refs...), Version: "v1.2.3"}
}

func written(t testing.TB, form string, r *inspect.ReportResult, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, form, r, o); err != nil {
		t.Fatalf("%s: %v", form, err)
	}
	return b.String()
}

// What the pages of a small model and of two look like, byte for byte and twice.
func TestGolden(t *testing.T) {
	testdata, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	one, o := reported(t, &inspect.ReportOptions{Values: true}, small)
	two, o2 := reported(t, nil, small, strings.Replace(strings.Replace(small, "self_attn.q_proj", "attn.wq", 1), "pt", "np", 1))
	for _, g := range []struct {
		file, form string
		r          *inspect.ReportResult
		o          Options
	}{
		{"one.html", "html", one, o},
		{"one.md", "markdown", one, o},
		{"one.svg", "svg", one, o},
		{"two.md", "markdown", two, o2},
	} {
		got := written(t, g.form, g.r, g.o)
		if again := written(t, g.form, g.r, g.o); again != got {
			t.Errorf("%s: another time it is not the same", g.file)
		}
		path := filepath.Join(testdata, g.file)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got; -update writes it):\n%s", g.file, diff)
		}
	}
}

// The page names the digests of its style and its script, and they are what a browser
// computes.
func TestPolicy(t *testing.T) {
	t.Chdir(t.TempDir())
	r, o := reported(t, nil, small)
	page := written(t, "html", r, o)
	for _, element := range []string{"style", "script"} {
		parts := regexp.MustCompile(`(?s)<`+element+`>(.*?)</`+element+`>`).FindAllStringSubmatch(page, -1)
		if len(parts) != 1 {
			t.Fatalf("%d elements %s", len(parts), element)
		}
		sum := sha256.Sum256([]byte(parts[0][1]))
		if want := element + "-src &#39;sha256-" + base64.StdEncoding.EncodeToString(sum[:]); !strings.Contains(strings.ReplaceAll(page, "&#43;", "+"), want) {
			t.Errorf("the policy has no %s", want)
		}
	}
	if !strings.Contains(page, `content="default-src &#39;none&#39;;`) {
		t.Error("the policy allows something by default")
	}
}

// elements are the tags of a page with the names of their attributes, style and script
// without their text.
func elements(t *testing.T, page string) map[string]int {
	t.Helper()
	out := make(map[string]int)
	page = regexp.MustCompile(`(?s)<(style|script)>.*?</`).ReplaceAllString(page, "<$1></")
	attribute := regexp.MustCompile(`\s+([a-zA-Z-]+)(?:="[^"]*")?`)
	for rest := page; ; {
		i := strings.IndexByte(rest, '<')
		if i < 0 {
			return out
		}
		rest = rest[i:]
		tag := regexp.MustCompile(`^<(/?[a-zA-Z0-9!]+)((?:\s+[a-zA-Z-]+(?:="[^"<>]*")?)*)\s*/?>`).FindStringSubmatch(rest)
		if tag == nil {
			t.Fatalf("no tag: %.80q", rest)
		}
		name := tag[1]
		for _, a := range attribute.FindAllStringSubmatch(tag[2], -1) {
			name += " " + a[1]
		}
		out[name]++
		rest = rest[len(tag[0]):]
	}
}

const hostile = `</title></script><script>alert(1)</script><img src=x onerror=alert(1)>"' onload='x' style="x" &lt;b&gt; ` + "`|`" + ` [a](javascript:x) @org {{.}} ` + "\x00\x1b[2J\u202e\u2066\ufeff\xff"

// Nothing that a file says is an element or an attribute, or acts on a reader in any form;
// names of any length are shown in part.
func TestHostile(t *testing.T) {
	t.Chdir(t.TempDir())
	text := func(bad string) string {
		q := func(s string) string { return strconv.Quote(strings.NewReplacer("{", "{{", "}", "}}").Replace(s)) }
		return "meta " + q("k"+bad) + " " + q("v"+bad) + "\n" +
			"tensor " + q("model.layers.0."+bad+".weight") + " F32 [4,4] normal=1\n" +
			"tensor " + q("model.layers.1."+bad+".weight") + " F32 [4,4] values=nan\n" +
			"tensor " + q(bad+strings.Repeat("\U0001F600<", 13<<10)) + " BF16 [4]\n" +
			"tensor " + q(strings.Repeat(bad+".", 300)+"x") + " BF16 [4]\n"
	}
	all := &inspect.ReportOptions{Values: true}
	bad := strings.TrimSuffix(hostile, "\xff")
	r, o := reported(t, all, text(bad), text(bad+"2"))
	o.Title, o.References, o.Command = hostile, []string{hostile, hostile}, []string{"wtinspect", hostile}
	tame, to := reported(t, all, text("bad"), text("bad2"))

	page := written(t, "html", r, o)
	ours := elements(t, written(t, "html", tame, to))
	for e := range elements(t, page) {
		if ours[e] == 0 {
			t.Errorf("the page has an element <%s>", e)
		}
		if regexp.MustCompile(`(?i) (on\w+|style|src|srcset)\b`).MatchString(e) {
			t.Errorf("an element that acts: <%s>", e)
		}
	}
	md := written(t, "markdown", r, o)
	for line := range strings.Lines(md) {
		if prose := regexp.MustCompile("`+[^`]+`+").ReplaceAllString(line, ""); strings.Contains(prose, "<script") || strings.Contains(prose, "<img") {
			t.Errorf("markup: %.200q", line)
		}
	}
	drawing := written(t, "svg", r, o)
	for d := xml.NewDecoder(strings.NewReader(drawing)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("svg: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok && !strings.Contains("svg title desc style rect text g", e.Name.Local) {
			t.Errorf("svg: an element %s", e.Name.Local)
		}
	}
	for form, out := range map[string]string{"html": page, "markdown": md, "svg": drawing} {
		if !utf8.ValidString(out) {
			t.Errorf("%s is not UTF-8", form)
		}
		for _, r := range out {
			if r != '\n' && !strconv.IsPrint(r) {
				t.Errorf("%s has %U", form, r)
				break
			}
		}
		for line := range strings.Lines(out) {
			if len(line) > 20_000 {
				t.Errorf("%s has a line of %d bytes: %.80q", form, len(line), line)
			}
		}
		if form != "svg" && !strings.Contains(out, "characters)") {
			t.Errorf("%s does not say how long a name is that it cuts", form)
		}
	}
	if !json.Valid([]byte(written(t, "json", r, o))) {
		t.Error("the JSON is none")
	}
}

// A page has a bound, whatever the model: tables are cut, and say so.
func TestSize(t *testing.T) {
	t.Chdir(t.TempDir())
	// As DeepSeek V3: the names fold.
	folded := "data sparse\ntensor model.embed_tokens.weight BF16 [128,16]\n"
	for _, w := range []string{"gate_proj", "up_proj", "down_proj"} {
		folded += "tensor model.layers.{0..58}.mlp.experts.{0..259}." + w + ".weight F8_E4M3 [4,4]\ntensor model.layers.{0..58}.mlp.experts.{0..259}." + w + ".weight_scale_inv F32 [1]\n"
	}
	// Names that have nothing in common, and are as long as they can be when they are escaped.
	var apart strings.Builder
	apart.WriteString("data sparse\n")
	n := 92_000
	if testing.Short() {
		n = 4000
	}
	for i := range n {
		letters := strings.NewReplacer("0", "q", "1", "w", "2", "e", "3", "r", "4", "t", "5", "y", "6", "u", "7", "i", "8", "o", "9", "p").Replace(strconv.Itoa(i))
		apart.WriteString("tensor " + strconv.Quote(letters+strings.Repeat(`"&|`, 30)) + " F32 [" + strconv.Itoa(i%50+1) + "]\n")
	}
	for name, text := range map[string]string{"folded": folded, "apart": apart.String()} {
		r, o := reported(t, nil, text)
		page, md := written(t, "html", r, o), written(t, "markdown", r, o)
		if len(page) > 1_000_000 || utf8.RuneCountInString(md) > 65_536 {
			t.Errorf("%s: %d bytes of HTML, %d characters of Markdown", name, len(page), utf8.RuneCountInString(md))
		}
		if left := strings.Contains(page, "more rows not shown here. All of them: <code>wtinspect ls "); left != (name == "apart") {
			t.Errorf("%s: it says that rows are left out: %v", name, left)
		}
		t.Logf("%s: %d tensors, HTML %d, Markdown %d", name, r.Listings[0].Len(), len(page), len(md))
	}
}

// Findings, metadata and models beyond any number are cut, too.
func TestManyOfEverything(t *testing.T) {
	t.Chdir(t.TempDir())
	var text strings.Builder
	for i := range 300 {
		text.WriteString("meta " + strconv.Quote("key<"+strconv.Itoa(i)) + " " + strconv.Quote(strings.Repeat("<&", 500)) + "\n")
	}
	for i := range 400 {
		// Each layer is odd in its own way.
		fmt.Fprintf(&text, "tensor model.layers.%d.mlp.w%c.weight F32 [%d] values=%d,nan\n", i, 'a'+i%26, i%7+1, i*i*i)
	}
	var texts []string
	for range 20 {
		texts = append(texts, text.String())
	}
	texts = texts[:14]
	var refs []string
	for i, text := range texts {
		refs = append(refs, "m"+strconv.Itoa(i)+".safetensors")
		if err := fixture.Write(refs[i], text); err != nil {
			t.Fatal(err)
		}
	}
	set, err := inspect.Open(t.Context(), []string{"."}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	r, err := inspect.Report(t.Context(), set, []string{"."}, &inspect.ReportOptions{Values: true})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Title: "many", References: []string{"."}, Command: []string{"wtinspect"}, Version: "v1"}
	page, md := written(t, "html", r, o), written(t, "markdown", r, o)
	if len(page) > 1_000_000 || len(md) > 65_536 {
		t.Errorf("%d bytes of HTML, %d of Markdown", len(page), len(md))
	}
	for _, want := range []string{
		"2 more checkpoints not shown here. All of them: <code>wtinspect info .</code>",
		"more findings not shown here. All of them: <code>wtinspect check --max 0 .</code>",
		"more rows not shown here. All of them: <code>wtinspect meta show m0.safetensors</code>",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	t.Logf("HTML %d, Markdown %d", len(page), len(md))
}

// Where there is nothing to draw, to measure or to list, a page says what there is.
func TestEmpty(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"nothing": "meta a b", "empty": "tensor a F32 [0]"} {
		r, o := reported(t, &inspect.ReportOptions{Values: true}, text)
		for _, form := range []string{"html", "markdown", "json"} {
			written(t, form, r, o)
		}
		if err := Write(io.Discard, "svg", r, o); !errors.Is(err, errNoMap) {
			t.Errorf("%s: a drawing of nothing: %v", name, err)
		}
	}
	r, o := reported(t, nil, small)
	if err := Write(io.Discard, "pdf", r, o); err == nil || !strings.Contains(err.Error(), "must be one of: html, markdown, svg, json") {
		t.Errorf("an unknown form: %v", err)
	}
}

// The example of the paper: areas of 6, 6, 4, 3, 2, 2, 1 in 6 by 4 (figures 3 and 4 of
// Bruls, Huizing and van Wijk). Its first rows are worked out by hand there.
func TestSquarify(t *testing.T) {
	areas := []float64{6, 6, 4, 3, 2, 2, 1}
	got := squarify(areas, rect{0, 0, 6, 4})
	want := []rect{{0, 0, 3, 2}, {0, 2, 3, 2}, {3, 0, 12.0 / 7, 7.0 / 3}, {3 + 12.0/7, 0, 9.0 / 7, 7.0 / 3}}
	near := func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }
	for i, w := range want {
		if g := got[i]; !near(g.x, w.x) || !near(g.y, w.y) || !near(g.w, w.w) || !near(g.h, w.h) {
			t.Errorf("part %d: %v, want %v", i, g, w)
		}
	}
	for i, r := range got {
		if !near(r.w*r.h, areas[i]) || r.x < 0 || r.y < 0 || r.x+r.w > 6+1e-9 || r.y+r.h > 4+1e-9 {
			t.Errorf("part %d: %v has %g, want %g", i, r, r.w*r.h, areas[i])
		}
		for _, other := range got[:i] {
			if r.x < other.x+other.w-1e-9 && other.x < r.x+r.w-1e-9 && r.y < other.y+other.h-1e-9 && other.y < r.y+r.h-1e-9 {
				t.Errorf("%v lies over %v", r, other)
			}
		}
	}
}

// A line that is drawn with fewer points than there are layers has their extremes.
func TestThin(t *testing.T) {
	var points []point
	for i := range 5000 {
		points = append(points, point{x: float64(i), y: 0})
	}
	points[3333].y, points[77].y = 9, -9
	var hi, lo bool
	list := thin(points)
	for i, p := range list {
		hi, lo = hi || p.y == 9, lo || p.y == -9
		if i > 0 && p.x <= list[i-1].x {
			t.Errorf("point %d goes back", i)
		}
	}
	if !hi || !lo || len(list) > mostPoints+2 {
		t.Errorf("%d points, the greatest %v, the least %v", len(list), hi, lo)
	}
}

func TestCommand(t *testing.T) {
	for want, words := range map[string][]string{
		"wtinspect ls a/b.safetensors":    {"wtinspect", "ls", "a/b.safetensors"},
		`wtinspect ls 'it'\''s $(x)' ''`:  {"wtinspect", "ls", "it's $(x)", ""},
		`wtinspect ls 'a\nb'`:             {"wtinspect", "ls", "a\nb"},
		"wtinspect ls hf://org/name@main": {"wtinspect", "ls", "hf://org/name@main"},
		"wtinspect ls '--match=*.weight'": {"wtinspect", "ls", "--match=*.weight"},
	} {
		if got := command(words...); got != want {
			t.Errorf("%q: %s, want %s", words, got, want)
		}
	}
}

func TestMarkdownCode(t *testing.T) {
	for text, want := range map[string]string{
		"a.b":    "`a.b`",
		"a|b":    "`a\\|b`",
		"a`b``c": "``` a`b``c ```",
		"":       "",
	} {
		if got := markdownCode(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// What is not all is not said to be, what is not nothing neither, and what is cut says how
// long it is.
func TestTexts(t *testing.T) {
	for _, c := range []struct {
		part, all uint64
		want      string
	}{
		{1, 3, "33.3 %"}, {999_999, 1_000_000, "99.9 %"}, {1, 1, "100.0 %"}, {1, 1_000_000, "< 0.1 %"}, {0, 5, "0.0 %"}, {0, 0, "0.0 %"},
	} {
		if got := shareText(c.part, c.all); got != c.want {
			t.Errorf("%d of %d: %s, want %s", c.part, c.all, got, c.want)
		}
	}
	if got := render.Shorten(strings.Repeat("x", 300), 20); !strings.HasSuffix(got, "xx (300 characters)") || !strings.Contains(got, "…") {
		t.Errorf("a long name: %s", got)
	}
}

// A page of a model of 92,000 tensors, from its files to its last byte: names that fold, and
// digests, which have nothing in common and a dozen numbers each.
func BenchmarkReport(b *testing.B) {
	folded := "data sparse\n"
	for _, w := range []string{"gate_proj", "up_proj", "down_proj"} {
		folded += "tensor model.layers.{0..58}.mlp.experts.{0..259}." + w + ".weight F8_E4M3 [4,4]\ntensor model.layers.{0..58}.mlp.experts.{0..259}." + w + ".weight_scale_inv F32 [1]\n"
	}
	var apart strings.Builder
	apart.WriteString("data sparse\n")
	for i := range 92_000 {
		sum := sha256.Sum256([]byte(strconv.Itoa(i)))
		fmt.Fprintf(&apart, "tensor %x F32 [4]\n", sum[:16])
	}
	for name, text := range map[string]string{"folded": folded, "apart": apart.String()} {
		b.Run(name, func(b *testing.B) {
			b.Chdir(b.TempDir())
			refs := []string{"model.safetensors"}
			if err := fixture.Write(refs[0], text); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				set, err := inspect.Open(b.Context(), refs, nil)
				if err != nil {
					b.Fatal(err)
				}
				r, err := inspect.Report(b.Context(), set, refs, nil)
				if err != nil {
					b.Fatal(err)
				}
				if err := Write(io.Discard, "html", r, Options{Title: "x", References: refs}); err != nil {
					b.Fatal(err)
				}
				set.Close()
			}
		})
	}
}

// Of two models the difference comes first, and alone where that is asked for.
func TestDifferenceFirst(t *testing.T) {
	t.Chdir(t.TempDir())
	r, o := reported(t, nil, small, strings.Replace(small, "embed_tokens", "emb", 1))
	for form, heads := range map[string][]string{
		"html":     {`<h2 id="difference">`, `<h2 id="what">`, `<h2 id="findings">`, `<h2 id="model-1">`},
		"markdown": {"## Difference", "## What it is", "## Findings", "## Tensors of "},
	} {
		text := written(t, form, r, o)
		for i, h := range heads[1:] {
			if before, at := strings.Index(text, heads[i]), strings.Index(text, h); before < 0 || at < before {
				t.Errorf("%s: %q is at %d, and %q at %d", form, heads[i], before, h, at)
			}
		}
		only := o
		only.OnlyDifference = true
		text = written(t, form, r, only)
		for i, h := range heads {
			if strings.Contains(text, h) != (i == 0) {
				t.Errorf("%s of the difference alone: %q", form, h)
			}
		}
		if !strings.Contains(text, "no findings in 2 checkpoints") {
			t.Errorf("%s of the difference alone does not sum up the findings", form)
		}
	}
}

// The figures of two models are lines of one drawing, on one scale, whatever they call the
// tensors. In A the numbers are 1, 2 and 3, and in B 2, 4 and 6: of the heights from 1 to 6
// 2 is a fifth.
func TestCurvesOfTwo(t *testing.T) {
	t.Chdir(t.TempDir())
	var a, b strings.Builder
	for i := range 3 {
		fmt.Fprintf(&a, "tensor model.layers.%d.self_attn.q_proj.weight F32 [%d] values=%d\ntensor model.layers.%d.alone F32 [2]\n", i, 5, i+1, i)
		fmt.Fprintf(&b, "tensor model.layers.%d.attn.wq.weight F32 [%d] values=%d\n", i, 5, 2*(i+1))
	}
	r, o := reported(t, &inspect.ReportOptions{Values: true}, a.String(), b.String())
	c := newPage(r, o, htmlForm)
	curves := c.Difference.Pairs[0].Curves
	if len(curves) != 1 {
		t.Fatalf("%d drawings of both", len(curves))
	}
	if g := curves[0]; g.Name != "model.layers.{layer}.attn.wq.weight" || g.InA != "model.layers.{layer}.self_attn.q_proj.weight" || g.First != 0 || g.Last != 2 {
		t.Errorf("%+v", g)
	}
	y := func(v float64) string { return coordinate(29 - (v-1)/5*26) }
	line := func(values ...float64) string {
		return "M3 " + y(values[0]) + "h0L100 " + y(values[1]) + "L197 " + y(values[2])
	}
	want := strip{
		Word: "mean", Low: "1", High: "6", Texts: []string{"A from 1 to 3", "B from 2 to 6"},
		Paths: []string{line(1, 2, 3), line(2, 4, 6)},
	}
	if diff := cmp.Diff(want, curves[0].Strips[0]); diff != "" {
		t.Errorf("the means (-want +got):\n%s", diff)
	}
	if len(c.Models[0].Curves) != 1 || c.Models[0].Curves[0].Name != "model.layers.{layer}.alone" || len(c.Models[1].Curves) != 0 {
		t.Errorf("those of one model alone are %+v and %+v", c.Models[0].Curves, c.Models[1].Curves)
	}
	page := written(t, "html", r, o)
	for _, want := range []string{"(in A: model.layers.{layer}.self_attn.q_proj.weight)", `<path class="line other" d="M3 `, "mean from layer 0 to 2: A from 1 to 3, B from 2 to 6"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
}

// Tensors that are small each and large together are drawn by several, under their dtype,
// and what is not drawn is counted.
func TestTreemapOfSmall(t *testing.T) {
	t.Chdir(t.TempDir())
	word := func(i int) string {
		return strings.Map(func(r rune) rune { return r - '0' + 'a' }, strconv.Itoa(i))
	}
	var text strings.Builder
	for i := range 800 {
		fmt.Fprintf(&text, "tensor %s.w %s [16]\n", word(i), []string{"F32", "BF16"}[i%2])
	}
	r, o := reported(t, nil, text.String())
	m := newPage(r, o, htmlForm).Models[0].Map
	classes := make(map[string]int)
	for _, tile := range m.Tiles {
		classes[tile.Class]++
	}
	// Of 1/800 of the bytes two thirds are F32: 0.17 % each and 0.08 %, where a tile has 0.2 %.
	if classes["d0"] != 200 || classes["d1"] < 130 || classes["dx"] > 1 || m.Hidden != "" {
		t.Errorf("%v tiles, %q", classes, m.Hidden)
	}
	if want := "2 small tensors, from a.w to c.w: 128 B, 0.3 %"; m.Tiles[0].Title != want || m.Tiles[0].Label == "" {
		t.Errorf("the first is %+v, want %q", m.Tiles[0], want)
	}

	r, o = reported(t, nil, "tensor large F32 [100000]\ntensor a.w F32 [1]\ntensor b.v BF16 [2]\n")
	m = newPage(r, o, htmlForm).Models[0].Map
	if len(m.Tiles) != 1 || m.Hidden != "2 tensors are too small to be drawn." || !strings.Contains(written(t, "html", r, o), m.Hidden) {
		t.Errorf("%d tiles, %q", len(m.Tiles), m.Hidden)
	}
}

// What is below the heading of tensors is of those that were chosen, the dtypes, too. A
// content id is of all tensors, and where there is none the page says why.
func TestChosen(t *testing.T) {
	t.Chdir(t.TempDir())
	r, o := reported(t, &inspect.ReportOptions{Values: true, Select: inspect.Selection{Match: []string{"*up_proj*"}}}, small)
	c := newPage(r, o, htmlForm)
	m := c.Models[0]
	if got := m.DTypes.Rows; len(got) != 1 || got[0][0].Text != "F16" || got[0][1].Text != "3" || len(m.Bars) != 1 || m.Bars[0].Share != "100.0 %" {
		t.Errorf("the dtypes are %v with %v", got, m.Bars)
	}
	if id := c.Made[2]; id.Word != "content id" || id.Code || id.Lines[0] != "none: it is of all tensors, and some were not chosen" {
		t.Errorf("%+v", id)
	}
}

// What could not be opened is on the page, and that nothing was compared.
func TestUnread(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, refs := range [][]string{{"nothing"}, {"m.safetensors", "nothing"}} {
		if err := fixture.Write("m.safetensors", small); err != nil {
			t.Fatal(err)
		}
		set, err := inspect.Open(t.Context(), refs, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer set.Close()
		r, err := inspect.Report(t.Context(), set, refs, &inspect.ReportOptions{Values: true})
		if err != nil {
			t.Fatal(err)
		}
		o := Options{Title: "t", References: refs, OnlyDifference: len(refs) > 1}
		for form, wants := range map[string][]string{
			"html":     {"<strong>not read</strong> nothing: no such file", "<strong>not compared</strong> both models must be there"},
			"markdown": {"**not read**: nothing: no such file", "**not compared**: both models must be there"},
		} {
			text := written(t, form, r, o)
			for i, want := range wants[:len(refs)] {
				if strings.Count(text, want) != 1 || strings.Contains(text, "not judged") {
					t.Errorf("%s of %q: %q is there %d times", form, refs, want, strings.Count(text, wants[i]))
				}
			}
		}
	}
}

// A page says once how to fix its findings, by a command that does.
func TestFixCommand(t *testing.T) {
	t.Chdir(t.TempDir())
	r, o := reported(t, nil, "meta format pt\ntensor a.weight F32 [3]\n")
	r.Check.Findings = []inspect.Finding{{Rule: "WT904", Severity: checkpoint.Info, Fixable: true}}
	rules, err := inspect.Rules("WT904")
	if err != nil {
		t.Fatal(err)
	}
	r.Rules = rules
	for form, want := range map[string]string{"html": "<code>wtinspect fix --select WT904 model-a.safetensors</code> can fix it.", "markdown": "`wtinspect fix --select WT904 model-a.safetensors` can fix it."} {
		if text := written(t, form, r, o); !strings.Contains(text, want) || strings.Count(text, "wtinspect fix") != 1 {
			t.Errorf("%s names the command %d times, not %q alone", form, strings.Count(text, "wtinspect fix"), want)
		}
	}
}

func TestRangeTexts(t *testing.T) {
	for _, c := range []struct {
		lo, hi    float64
		low, high string
	}{{0.0625, 0.0625, "0.0625", "0.0625"}, {1, 2, "1", "2"}, {0.062451, 0.062493, "0.06245", "0.06249"}, {-1e300, 1e300, "-1e+300", "1e+300"}} {
		if low, high := rangeTexts(c.lo, c.hi); low != c.low || high != c.high {
			t.Errorf("%g to %g: %s, %s", c.lo, c.hi, low, high)
		}
	}
}

// The filter of a page finds the names that a row folds, as node runs it.
func TestFilterOfFolded(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node, which runs the script, is not installed")
	}
	function := regexp.MustCompile(`(?s)function found.*?\n}\n`).FindString(pageScript)
	const row = "model.layers.{0..3,12..31}.mlp.{7,9}.w2"
	for word, want := range map[string]bool{
		"layers.{0..3": true, "layers.12.mlp": true, "layers.4.mlp": false, "layers.31.mlp.9.w2": true, "layers.31.mlp.8.w2": false,
		"layers.1": true, "layers.5": false, "layers.32": false, "layers.3": true, "9.mlp": true, "0.mlp.7": true, "w2": true, "w3": false,
		"0.mlp.8": false, "layersx12": false, "12": true, "77": false, "mlp.{7,9}": true, "a.1": false, "(": false, "layers.99999999999999999999": false,
	} {
		cmd := exec.Command(node, "-e", function+"\nconsole.log(found(process.argv[1], process.argv[2]))", row, word)
		out, err := cmd.CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != strconv.FormatBool(want) {
			t.Errorf("%q in %s: %s, %v; want %v", word, row, out, err, want)
		}
	}
	// A set of any size costs nothing.
	out, err := exec.Command(node, "-e", function+"\nconsole.log(found('a.{0..2147483647}.b', 'a.77'), found('a.{5..2147483647}.b', '3.b'))").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "true true" {
		t.Errorf("%s, %v", out, err)
	}
}

// Layers that are odd in the same way are one line, as many as they are.
func TestOddAlike(t *testing.T) {
	t.Chdir(t.TempDir())
	var text strings.Builder
	for i := range 40 {
		value := "1,2,3,nan"
		if i >= 30 {
			value = "1,2,3,4"
		}
		fmt.Fprintf(&text, "tensor model.layers.%d.w F32 [4] values=%s\n", i, value)
	}
	r, o := reported(t, &inspect.ReportOptions{Values: true}, text.String())
	if odd := newPage(r, o, htmlForm).Models[0].Odd; len(odd) != 1 || odd[0] != "model.layers.{0..29}.w: 1 NaN, each" {
		t.Errorf("%q", odd)
	}
}

// The number of templates that are told apart has a bound, and is not given for the whole.
func TestManyTemplates(t *testing.T) {
	if testing.Short() {
		t.Skip("many names: make test runs it")
	}
	t.Chdir(t.TempDir())
	var text strings.Builder
	text.WriteString("data sparse\n")
	for i := range 41_000 {
		letters := strings.Map(func(r rune) rune { return r - '0' + 'a' }, strconv.Itoa(i))
		fmt.Fprintf(&text, "tensor %s F32 [1]\n", letters)
	}
	r, o := reported(t, nil, text.String())
	for _, f := range newPage(r, o, htmlForm).Models[0].Facts {
		if f.Word == "names" && f.Lines[0] != "41,000 tensors in at least 40,000 templates, 0 % known" {
			t.Errorf("%q", f.Lines)
		}
	}
}

// A column of numbers is ordered by what they are, and not by the digits that are shown.
func TestNumbers(t *testing.T) {
	t.Chdir(t.TempDir())
	tuned := strings.NewReplacer("normal=1", "normal=7", "normal=3", "normal=9", "values=1", "values=inf").Replace(small)
	r, o := reported(t, &inspect.ReportOptions{Values: true}, small, tuned)
	page := written(t, "html", r, o)
	sorted := regexp.MustCompile(`(?s)<table data-sort>.*?</table>`).FindAllString(page, -1)
	cells := regexp.MustCompile(`<(?:td|th scope="row") class="n"( data-n="([^"]*)")?>([^<]*)<`)
	for _, table := range sorted {
		for _, c := range cells.FindAllStringSubmatch(table, -1) {
			if c[1] == "" && c[3] != "-" {
				t.Errorf("%q has no number to sort by", c[3])
			}
			switch c[2] { // what JavaScript reads
			case "Infinity", "-Infinity", "+Infinity", "":
			default:
				if _, err := strconv.ParseFloat(c[2], 64); err != nil || strings.Contains(c[2], "Inf") {
					t.Errorf("%q: %v", c[2], err)
				}
			}
		}
	}
	for _, heading := range []string{"max abs", "rel rms", "cosine", "absmax"} {
		if !strings.Contains(strings.Join(sorted, ""), `class="n">`+heading+`</th>`) {
			t.Errorf("no table has %s", heading)
		}
	}
}
