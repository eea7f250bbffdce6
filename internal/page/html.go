package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"html"
	"io"
	"slices"
	"strconv"
	"strings"
)

var (
	//go:embed page.css
	pageStyle string
	//go:embed tiles.css
	tilesStyle string
	//go:embed page.js
	pageScript string
)

// policy forbids whatever the page does not bring with it, whose digests it names.
func policy(style, script string) string {
	digest := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return "default-src 'none'; style-src " + digest(style) + "; script-src " + digest(script) + "; img-src data:; base-uri 'none'; form-action 'none'"
}

// Markup is written as it is. No string variable can be passed for it, since its type is
// another. html/template would do as well, and make the program 4 MB larger.
type markup string

// A document writes HTML and SVG.
type document struct{ strings.Builder }

// put writes markup with a text in the place of each {}, escaped for what is between tags
// and for attributes in quotes.
func (d *document) put(m markup, texts ...string) {
	rest := string(m)
	for _, text := range texts {
		before, after, _ := strings.Cut(rest, "{}")
		d.WriteString(before)
		d.WriteString(html.EscapeString(text))
		rest = after
	}
	d.WriteString(rest)
}

// when writes markup where something is so.
func (d *document) when(so bool, m markup, texts ...string) {
	if so {
		d.put(m, texts...)
	}
}

func writeHTML(w io.Writer, c *content) error {
	d := new(document)
	d.page(c)
	_, err := io.WriteString(w, d.String())
	return err
}

func (d *document) page(c *content) {
	style := tilesStyle + pageStyle
	d.put(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="wtinspect">
<title>{} – wtinspect report</title>
<link rel="icon" href="data:,">
<style>`, policy(style, pageScript), c.Title)
	d.WriteString(style)
	d.put(`</style>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header>
<p class="by">wtinspect report</p>
<h1>{}</h1>
`, c.Title)
	several := len(c.Models) > 1
	for _, m := range c.Models {
		d.put(`<p class="lead">`)
		d.when(several, `<strong>{}</strong><br>`, m.Name)
		d.put("{}</p>\n", m.Lead)
	}
	for _, f := range c.Unread {
		d.put("<p class=\"finding error\"><strong>{}</strong> {}</p>\n", f.Word, f.Lines[0])
	}
	d.put("<ul class=\"verdicts\">\n")
	d.when(c.Difference != nil, "<li><a href=\"#difference\">{}</a></li>\n", c.Verdict)
	if c.Only {
		d.put("<li>{}</li>\n", c.Judgement.Summary)
	} else {
		d.put("<li><a href=\"#findings\">{}</a></li>\n", c.Judgement.Summary)
	}
	d.put("</ul>\n</header>\n<main id=\"main\">\n")
	if c.Difference != nil {
		d.put("<section aria-labelledby=\"difference\">\n<h2 id=\"difference\">Difference</h2>\n")
		d.difference(c.Difference)
		d.put("</section>\n")
	}
	if !c.Only {
		d.models(c, several)
	}
	d.put("<section aria-labelledby=\"made\">\n<h2 id=\"made\">How this page was made</h2>\n")
	d.facts(c.Made)
	d.put("</section>\n</main>\n<script>")
	d.WriteString(pageScript)
	d.put("</script>\n</body>\n</html>\n")
}

// models writes what there is to say of each model by itself.
func (d *document) models(c *content, several bool) {
	if len(c.Models) > 0 {
		d.put("<section aria-labelledby=\"what\">\n<h2 id=\"what\">What it is</h2>\n")
		for _, m := range c.Models {
			d.when(several, "<h3>{}</h3>\n", m.Name)
			d.facts(m.Facts)
			d.folded(m.Files)
			d.folded(m.Metadata)
		}
		d.left(c.Left)
		d.put("</section>\n")
	}
	d.put("<section aria-labelledby=\"findings\">\n<h2 id=\"findings\">Findings</h2>\n")
	d.judgement(&c.Judgement)
	d.put("</section>\n")
	for _, m := range c.Models {
		d.put("<section aria-labelledby=\"{}\">\n<h2 id=\"{}\">Tensors", m.ID, m.ID)
		d.when(several, " of {}", m.Name)
		d.put("</h2>\n")
		d.model(m)
		d.put("</section>\n")
	}
}

func (d *document) facts(list []fact) {
	d.put("<dl class=\"facts\">\n")
	for _, f := range list {
		d.put("<div><dt>{}</dt><dd>", f.Word)
		for i, line := range f.Lines {
			d.when(i > 0, "<br>")
			if f.Code {
				d.put("<code>{}</code>", line)
			} else {
				d.put("{}", line)
			}
		}
		d.put("</dd></div>\n")
	}
	d.put("</dl>\n")
}

func (d *document) left(l *left) {
	if l != nil {
		d.put("<p class=\"left\">{} not shown here. All of them: <code>{}</code></p>\n", l.Text, l.Command)
	}
}

// list writes texts as a list.
func (d *document) list(class markup, texts []string) {
	if len(texts) == 0 {
		return
	}
	d.put(`<ul class="`)
	d.put(class)
	d.put("\">\n")
	for _, t := range texts {
		d.put("<li>{}</li>\n", t)
	}
	d.put("</ul>\n")
}

func (d *document) judgement(j *judgement) {
	d.put("<p>{}.</p>\n", j.Summary)
	for _, f := range j.Fits {
		d.put("<p>{}.</p>\n", f)
	}
	for _, p := range j.Problems {
		d.put("<p class=\"finding error\"><strong>not checked</strong> {}</p>\n", p)
	}
	for _, g := range j.Groups {
		d.put("<h3>{}</h3>\n", g.Heading)
		for _, r := range g.Rules {
			d.put("<div class=\"finding {}\">\n<h4><span class=\"severity\">{}</span> {} {}</h4>\n<p>{}</p>\n<ul>\n", g.Severity, g.Severity, r.ID, r.Name, r.Title)
			for _, f := range r.Findings {
				d.put("<li><span class=\"c\">{}</span>: {}</li>\n", f.Place, f.Message)
			}
			d.put("</ul>\n<details><summary>Why it matters, and what to do</summary>\n<p>{}</p>\n", r.Doc)
			d.when(r.Fix != "", "<p>What a fix does: {}</p>\n", r.Fix)
			d.put("</details>\n</div>\n")
		}
	}
	d.left(j.Left)
	for _, f := range j.Fixes {
		d.put("<p><code>{}</code> {}.</p>\n", f.Command, f.Does)
	}
}

func (d *document) model(m *model) {
	if m.Map != nil {
		d.put("<h3>{}</h3>\n", m.Map.Title)
		d.put("<svg class=\"map\" role=\"img\" width=\"100%\" height=\"480\" aria-labelledby=\"{} {}\"><title id=\"{}\">{}</title><desc id=\"{}\">{} The table below has the same parts.</desc>\n",
			m.ID+"-map", m.ID+"-about", m.ID+"-map", m.Map.Title, m.ID+"-about", m.Map.Description)
		d.tiles(m.Map)
		d.put("</svg>\n")
		d.when(m.Map.Hidden != "", "<p class=\"left\">{}</p>\n", m.Map.Hidden)
		d.table(m.Parts, nil)
	}
	if m.DTypes != nil {
		d.put("<h3>{}</h3>\n", m.DTypes.Caption)
		d.table(m.DTypes, m.Bars)
	}
	if m.Figures != "" {
		d.put("<h3>Figures by layer</h3>\n<p>{}.</p>\n", m.Figures)
		d.list("odd", m.Odd)
		d.left(m.MoreOdd)
		d.curves(m.Curves, m.MoreCurves)
		d.folded(m.Layers)
	}
	if m.Tensors != nil {
		const few = 48
		d.put("<h3>{}</h3>\n<details", m.Tensors.Caption)
		d.when(len(m.Tensors.Rows) <= few, " open")
		d.put("><summary>With layers folded: {}</summary>\n", rowsText(len(m.Tensors.Rows)))
		d.table(m.Tensors, nil)
		d.put("</details>\n")
	}
}

func (d *document) difference(f *difference) {
	d.put("<p>What <code>{}</code> says:</p>\n", f.Command)
	for _, p := range f.Pairs {
		d.when(p.Heading != "", "<h3>{}</h3>\n", p.Heading)
		d.put("<p>A is <span class=\"c\">{}</span>, and B is <span class=\"c\">{}</span>.</p>\n", p.A, p.B)
		d.put("<p class=\"verdict\">{}</p>\n<p>{}.</p>\n", p.Sentence, p.Summary)
		d.list("left", p.Notes)
		d.table(p.Rules, nil)
		d.table(p.Groups, nil)
		if len(p.Curves) > 0 {
			d.put("<h3>Figures by layer</h3>\n<p class=\"key\"><svg aria-hidden=\"true\" viewBox=\"0 0 40 8\"><path class=\"line\" d=\"M2 4h36\"/></svg> A <svg aria-hidden=\"true\" viewBox=\"0 0 40 8\"><path class=\"line other\" d=\"M2 4h36\"/></svg> B</p>\n")
			d.curves(p.Curves, p.MoreCurves)
		}
		d.table(p.Beside, nil)
	}
	d.list("only", f.Only)
	d.left(f.Left)
}

// folded writes a table that is opened by a click.
func (d *document) folded(t *table) {
	if t != nil {
		d.put("<details><summary>{}</summary>\n", t.Caption)
		d.table(t, nil)
		d.put("</details>\n")
	}
}

// table writes a table, with the share of each row as a bar where there are bars.
func (d *document) table(t *table, bars []bar) {
	if t == nil {
		return
	}
	d.put("<div class=\"scroll\" role=\"group\" aria-label=\"{}\" tabindex=\"0\">\n<table", t.Caption)
	d.when(bars != nil, ` class="bars"`)
	d.when(t.Titled && bars == nil && len(t.Rows) > 1, " data-sort")
	d.put(">\n<caption")
	d.when(t.headed, ` class="hidden"`)
	d.put(">{}</caption>\n", t.Caption)
	if t.Titled {
		d.put("<thead><tr>")
		for _, c := range t.Columns {
			d.put(`<th scope="col"`)
			d.when(c.Right, ` class="n"`)
			d.put(">{}</th>", c.Title)
		}
		d.when(bars != nil, `<th scope="col">share</th>`)
		d.put("</tr></thead>\n")
	}
	named := max(0, slices.IndexFunc(t.Columns, func(c column) bool { return c.Title == "name" }))
	d.put("<tbody>\n")
	for k, row := range t.Rows {
		d.put("<tr>")
		for i, cell := range row {
			if i == named {
				d.put(`<th scope="row"`)
			} else {
				d.put("<td")
			}
			d.when(t.Columns[i].Right, ` class="n"`)
			d.when(t.Columns[i].Code, ` class="c"`)
			d.when(cell.Number != "", ` data-n="{}"`, cell.Number)
			if i == named {
				d.put(">{}</th>", cell.Text)
			} else {
				d.put(">{}</td>", cell.Text)
			}
		}
		if bars != nil {
			b := bars[k]
			d.put(`<td class="bar"><svg class="tile {}" aria-hidden="true" width="100%" height="14"><rect width="{}" height="100%"/></svg> {}</td>`, b.Class, b.Width, b.Share)
		}
		d.put("</tr>\n")
	}
	d.put("</tbody>\n</table>\n</div>\n")
	d.left(t.Left)
}

func (d *document) curves(list []curve, more *left) {
	if len(list) > 0 {
		d.put("<div class=\"curves\">\n")
		for i := range list {
			d.curve(&list[i])
		}
		d.put("</div>\n")
	}
	d.left(more)
}

func (d *document) curve(c *curve) {
	d.put("<figure class=\"curve\">\n<figcaption class=\"c\">{}", c.Name)
	d.when(c.InA != "", " (in A: {})", c.InA)
	d.put("</figcaption>\n")
	first, last := strconv.Itoa(c.First), strconv.Itoa(c.Last)
	for _, s := range c.Strips {
		d.put(`<div class="strip"><span class="word">{}</span><svg role="img" viewBox="0 0 200 32" preserveAspectRatio="none"><title>{} from layer {} to {}: {}</title>`, s.Word, s.Word, first, last, strings.Join(s.Texts, ", "))
		for _, x := range s.Odd {
			d.put(`<path class="mark" d="M{} 0V32"/>`, x)
		}
		for k, path := range s.Paths {
			d.when(path != "" && k == 0, `<path class="line" d="{}"/>`, path)
			d.when(path != "" && k > 0, `<path class="line other" d="{}"/>`, path)
		}
		d.put("</svg><span class=\"range\"><span>{}</span><span>{}</span></span></div>\n", s.High, s.Low)
	}
	d.put("<div class=\"strip axis\"><span class=\"word\">layer</span><span>{}</span><span>{}</span></div>\n</figure>\n", first, last)
}

func (d *document) tiles(m *treemap) {
	for _, t := range m.Tiles {
		d.put(`<svg class="tile {}" x="{}" y="{}" width="{}" height="{}">`, t.Class, t.X, t.Y, t.W, t.H)
		d.when(t.Title != "", "<title>{}</title>", t.Title)
		d.put(`<rect width="100%" height="100%"/>`)
		if t.Label != "" {
			d.put("<text")
			d.when(t.Wide, ` class="wide"`)
			d.put(` x="4" y="13">{}</text>`, t.Label)
		}
		if t.Size != "" {
			d.put(`<text class="size`)
			d.when(t.Wide, " wide")
			d.put(`" x="4" y="28">{}</text>`, t.Size)
		}
		d.put("</svg>\n")
	}
}

// errNoMap says why there is no drawing.
var errNoMap = errors.New("the sizes of the tensors are not known, so that there is nothing to draw")

// writeSVG writes the treemap of the first model, with the dtypes below it.
func writeSVG(w io.Writer, c *content) error {
	if len(c.Models) == 0 || c.Models[0].Map == nil {
		return errNoMap
	}
	m := c.Models[0]
	d := new(document)
	d.put(`<svg xmlns="http://www.w3.org/2000/svg" role="img" width="960" height="520" viewBox="0 0 960 520" font-family="system-ui, sans-serif" aria-labelledby="title desc"><title id="title">{}: {}</title><desc id="desc">{}</desc>
<style>`, c.Title, m.Lead, m.Map.Description)
	d.WriteString(tilesStyle)
	d.put("</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n<svg y=\"8\" width=\"960\" height=\"480\">\n")
	d.tiles(m.Map)
	d.put("</svg>\n<g transform=\"translate(0 496)\">\n")
	for _, l := range m.Map.Legend {
		d.put("<svg class=\"tile {}\" x=\"{}\" width=\"16\" height=\"16\"><rect width=\"100%\" height=\"100%\"/></svg><text x=\"{}\" y=\"13\">{}</text>\n",
			l.Class, strconv.Itoa(l.X), strconv.Itoa(l.X+22), l.Text)
	}
	d.put("</g>\n</svg>\n")
	_, err := io.WriteString(w, d.String())
	return err
}
