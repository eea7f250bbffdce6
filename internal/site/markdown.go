package main

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	east "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// markdown reads the documents as GitHub does, except that HTML in them is text: whatever
// a page quotes from a file, no tag of it reaches the site.
var markdown = goldmark.New(
	goldmark.WithExtensions(
		extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignNone)),
		extension.Strikethrough, extension.Linkify),
	goldmark.WithRendererOptions(renderer.WithNodeRenderers(util.Prioritized(elements{}, 100))),
)

// A section is a heading with the text below it, up to the next heading.
type section struct {
	Level int
	ID    string // its anchor
	Title string
	text  string
}

// A document is a parsed page. Its links still lead to files of the repository.
type document struct {
	source   string // path below the root
	text     []byte
	tree     ast.Node
	sections []section // the first is the title
	summary  string    // the first paragraph
}

func parse(source string, content []byte) (*document, error) {
	d := &document{source: source, text: content, tree: markdown.Parser().Parse(text.NewReader(content), parser.WithContext(parser.NewContext()))}
	used := map[string]int{}
	for n := d.tree.FirstChild(); n != nil; n = n.NextSibling() {
		switch n := n.(type) {
		case *ast.Heading:
			s := section{Level: n.Level, Title: d.plain(n)}
			s.ID = anchor(s.Title, used)
			n.SetAttributeString("id", []byte(s.ID))
			d.sections = append(d.sections, s)
		case *ast.HTMLBlock:
		default:
			if len(d.sections) == 0 {
				return nil, fmt.Errorf("%s: the page does not begin with a heading", source)
			}
			plain := d.plain(n)
			if _, ok := n.(*ast.Paragraph); ok && d.summary == "" {
				d.summary = plain
			}
			s := &d.sections[len(d.sections)-1]
			s.text = strings.TrimSpace(s.text + " " + plain)
		}
	}
	if len(d.sections) == 0 || d.sections[0].Level != 1 {
		return nil, fmt.Errorf("%s: the page does not begin with a heading of level 1", source)
	}
	return d, nil
}

// plain returns the text below a node without markup, and with single spaces.
func (d *document) plain(n ast.Node) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.Text:
			if entering {
				value := n.Value(d.text)
				if n.Parent().Kind() != ast.KindCodeSpan {
					value = []byte(html.UnescapeString(string(util.UnescapePunctuations(value))))
				}
				b.Write(value)
				if n.SoftLineBreak() || n.HardLineBreak() {
					b.WriteByte(' ')
				}
			}
		case *ast.String:
			if entering {
				b.Write(n.Value)
			}
		case *ast.AutoLink:
			if entering {
				b.Write(n.Label(d.text))
			}
		case *ast.RawHTML:
			if entering {
				b.Write(n.Segments.Value(d.text))
			}
		case *ast.FencedCodeBlock, *ast.CodeBlock:
			if entering {
				b.Write(n.Lines().Value(d.text))
			}
		default:
			if n.Type() == ast.TypeBlock {
				b.WriteByte(' ')
			}
		}
		return ast.WalkContinue, nil
	})
	return strings.Join(strings.Fields(b.String()), " ")
}

// anchor returns the ID that GitHub gives a heading, so that a link to a section leads
// to the same one in both places.
// Source: gjtorikian/html-pipeline, lib/html_pipeline/node_filter/table_of_contents_filter.rb:
// lower case, without punctuation, "-" for a space, and a number after what is taken.
func anchor(title string, used map[string]int) string {
	id := strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsMark(r), unicode.IsNumber(r):
			return unicode.ToLower(r)
		}
		return -1
	}, title)
	n := used[id]
	used[id]++
	if n > 0 {
		id = fmt.Sprintf("%s-%d", id, n)
	}
	return id
}

// repository is where files are shown that are not part of the site.
const repository = "https://github.com/wtinspect/wtinspect"

// relink makes the links of a page lead to where its files are in the site, whose pages
// and other files outputs has by their paths in the repository.
func (d *document) relink(root fs.FS, outputs map[string]string) error {
	var errs []error
	fail := func(n ast.Node, dest, reason string) {
		errs = append(errs, fmt.Errorf("%s:%d: link to %s: %s", d.source, d.line(n), dest, reason))
	}
	_ = ast.Walk(d.tree, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.Link:
			if entering {
				dest, err := d.target(string(n.Destination), root, outputs)
				if err != nil {
					fail(n, string(n.Destination), err.Error())
				}
				n.Destination = []byte(dest)
			}
		case *ast.Image:
			if entering {
				dest, err := d.picture(n, outputs)
				if err != nil {
					fail(n, string(n.Destination), err.Error())
				}
				n.Destination = []byte(dest)
			}
		case *east.TableCell:
			if entering && n.Alignment == east.AlignRight {
				n.SetAttributeString("class", []byte("number"))
			}
		}
		return ast.WalkContinue, nil
	})
	return errors.Join(errs...)
}

func (d *document) line(n ast.Node) int {
	for n.Pos() < 0 && n.Parent() != nil {
		n = n.Parent()
	}
	return 1 + bytes.Count(d.text[:max(n.Pos(), 0)], []byte("\n"))
}

// target returns where a link of the page leads in the site.
func (d *document) target(dest string, root fs.FS, outputs map[string]string) (string, error) {
	u, err := url.Parse(dest)
	switch {
	case err != nil:
		return "", errors.New("this is not a link")
	case u.Scheme == "https" && u.Host != "", u.Scheme == "mailto":
		return dest, nil
	case u.Scheme != "" || u.Host != "" || u.RawQuery != "" || strings.HasPrefix(u.Path, "/"):
		return "", errors.New("a link is a relative path, an anchor, or an https or mailto address")
	case u.Path == "":
		return dest, nil
	}
	file := path.Join(path.Dir(d.source), u.Path)
	if out, ok := outputs[file]; ok {
		return (&url.URL{Path: relative(outputs[d.source], out), Fragment: u.Fragment}).String(), nil
	}
	if !fs.ValidPath(file) {
		return "", errors.New("it leaves the repository")
	}
	st, err := fs.Stat(root, file)
	if err != nil {
		return "", errors.New("there is no such file")
	}
	kind := "blob"
	if st.IsDir() {
		kind = "tree"
	}
	return fmt.Sprintf("%s/%s/main/%s", repository, kind, (&url.URL{Path: file, Fragment: u.Fragment}).String()), nil
}

// picture returns where an image of the page is in the site.
func (d *document) picture(n *ast.Image, outputs map[string]string) (string, error) {
	file := path.Join(path.Dir(d.source), string(n.Destination))
	out, ok := outputs[file]
	switch ext := path.Ext(file); {
	case !ok:
		return "", errors.New("an image is a file below docs/")
	case ext != ".svg" && ext != ".png":
		return "", errors.New("an image is SVG or PNG")
	case !n.HasChildren():
		return "", errors.New("an image needs a text for those who do not see it")
	}
	return (&url.URL{Path: relative(outputs[d.source], out)}).String(), nil
}

// relative returns how one page of the site refers to another.
func relative(from, to string) string {
	rel, err := filepath.Rel(filepath.FromSlash(path.Dir(from)), filepath.FromSlash(to))
	if err != nil {
		panic(err) // both are relative and lead downwards
	}
	return filepath.ToSlash(rel)
}

func (d *document) html() (string, error) {
	var b bytes.Buffer
	err := markdown.Renderer().Render(&b, d.text, d.tree)
	return b.String(), err
}

// elements renders what differs from goldmark's HTML.
type elements struct{}

func (elements) RegisterFuncs(reg renderer.NodeRendererFuncRegisterer) {
	reg.Register(ast.KindHeading, renderHeading)
	reg.Register(ast.KindCodeBlock, renderCode)
	reg.Register(ast.KindFencedCodeBlock, renderCode)
	reg.Register(ast.KindCodeSpan, renderCodeSpan)
	reg.Register(ast.KindHTMLBlock, renderHTMLBlock)
	reg.Register(ast.KindRawHTML, renderRawHTML)
	reg.Register(east.KindTable, renderTable)
}

func renderHeading(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	n := node.(*ast.Heading)
	value, _ := n.AttributeString("id")
	id, _ := value.([]byte)
	name := html.EscapeString(string(id))
	if !entering {
		if n.Level > 1 && name != "" {
			fmt.Fprintf(w, ` <a class="anchor" href="#%s" aria-label="Link to this section">#</a>`, name)
		}
		fmt.Fprintf(w, "</h%d>\n", n.Level)
		return ast.WalkContinue, nil
	}
	// The anchor of a rule is also its ID as it is printed.
	if upper := strings.ToUpper(name); isRule(upper) {
		fmt.Fprintf(w, `<span id="%s"></span>`, upper)
	}
	fmt.Fprintf(w, `<h%d id="%s">`, n.Level, name)
	return ast.WalkContinue, nil
}

func isRule(id string) bool {
	digits, ok := strings.CutPrefix(id, "WT")
	return ok && len(digits) == 3 && !strings.ContainsFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
}

// renderCode renders a block of code. In a transcript the commands stand out.
func renderCode(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	language := ""
	if n, ok := node.(*ast.FencedCodeBlock); ok {
		language = string(n.Language(source))
	}
	writeCode(w, language, string(node.Lines().Value(source)))
	return ast.WalkSkipChildren, nil
}

func writeCode(w util.BufWriter, language, code string) {
	// It can be scrolled with the keyboard.
	_, _ = w.WriteString(`<pre tabindex="0"`)
	if language != "" {
		fmt.Fprintf(w, ` class="language-%s"`, html.EscapeString(language))
	}
	_, _ = w.WriteString("><code>")
	for line := range strings.Lines(code) {
		command, isCommand := strings.CutPrefix(line, "$ ")
		if language == "console" && isCommand {
			command = strings.TrimSuffix(command, "\n")
			fmt.Fprintf(w, `<span class="prompt">$ </span><b>%s</b>`+"\n", html.EscapeString(command))
			continue
		}
		_, _ = w.WriteString(html.EscapeString(line))
	}
	_, _ = w.WriteString("</code></pre>\n")
}

// renderCodeSpan keeps a short word in one line: browsers break --flags after the dashes.
func renderCodeSpan(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	var text strings.Builder
	for n := node.FirstChild(); n != nil; n = n.NextSibling() {
		if t, ok := n.(*ast.Text); ok {
			text.WriteString(strings.ReplaceAll(string(t.Value(source)), "\n", " "))
		}
	}
	tag := "<code>"
	if code := text.String(); len(code) <= 24 && !strings.Contains(code, " ") {
		tag = `<code class="word">`
	}
	fmt.Fprintf(w, "%s%s</code>", tag, html.EscapeString(text.String()))
	return ast.WalkSkipChildren, nil
}

func renderTable(w util.BufWriter, _ []byte, _ ast.Node, entering bool) (ast.WalkStatus, error) {
	if entering {
		_, _ = w.WriteString(`<div class="table" role="group" aria-label="Table" tabindex="0"><table>` + "\n")
	} else {
		_, _ = w.WriteString("</table></div>\n")
	}
	return ast.WalkContinue, nil
}

// renderHTMLBlock leaves out comments, which hold what the pages are tested with.
func renderHTMLBlock(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	n := node.(*ast.HTMLBlock)
	if entering && n.HTMLBlockType != ast.HTMLBlockType2 {
		lines := n.Lines().Value(source)
		if n.HasClosure() {
			lines = slices.Concat(lines, n.ClosureLine.Value(source))
		}
		fmt.Fprintf(w, "<p>%s</p>\n", html.EscapeString(string(lines)))
	}
	return ast.WalkContinue, nil
}

func renderRawHTML(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if entering {
		raw := string(node.(*ast.RawHTML).Segments.Value(source))
		if !strings.HasPrefix(raw, "<!--") {
			_, _ = w.WriteString(html.EscapeString(raw))
		}
	}
	return ast.WalkSkipChildren, nil
}
