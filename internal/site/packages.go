package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/doc"
	"go/doc/comment"
	"go/format"
	"go/parser"
	"go/token"
	"html"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const module = "github.com/wtinspect/wtinspect"

// readPackages returns a page for each package that others may import.
func readPackages(root fs.FS) ([]*page, error) {
	var dirs []string
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch base := path.Base(name); {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (slices.Contains([]string{"internal", "cmd", "testdata", "bin", "dist"}, base) || base[0] == '.' || base[0] == '_'):
			return fs.SkipDir
		case d.IsDir() && name != ".":
			if _, err := fs.Stat(root, name+"/go.mod"); err == nil {
				return fs.SkipDir
			}
			dirs = append(dirs, name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	// The pages of a build on any machine are those of one platform.
	platform := build.Default
	platform.GOOS, platform.GOARCH = "linux", "amd64"
	platform.JoinPath = path.Join
	platform.OpenFile = func(name string) (io.ReadCloser, error) { return root.Open(name) }

	var packages []*goPackage
	for _, dir := range dirs {
		p, err := readPackage(root, &platform, dir)
		if err != nil {
			return nil, err
		}
		if p != nil {
			packages = append(packages, p)
		}
	}
	outputs := map[string]string{}
	for _, p := range packages {
		outputs[p.doc.ImportPath] = p.out()
	}
	var pages []*page
	for _, p := range packages {
		one, err := p.page(outputs)
		if err != nil {
			return nil, err
		}
		pages = append(pages, one)
	}
	return pages, nil
}

type goPackage struct {
	dir  string
	fset *token.FileSet
	doc  *doc.Package
}

func (p *goPackage) out() string { return "api/" + p.dir + ".html" }

// readPackage returns nothing for a directory without a package to import.
func readPackage(root fs.FS, platform *build.Context, dir string) (*goPackage, error) {
	names, err := fs.Glob(root, dir+"/*.go")
	if err != nil {
		return nil, err
	}
	p := &goPackage{dir: dir, fset: token.NewFileSet()}
	var files []*ast.File
	for _, name := range names {
		if match, err := platform.MatchFile(dir, path.Base(name)); err != nil || !match || strings.HasSuffix(name, "_test.go") {
			if err != nil {
				return nil, err
			}
			continue
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return nil, err
		}
		f, err := parser.ParseFile(p.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		if f.Name.Name != "main" {
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		return nil, nil
	}
	p.doc, err = doc.NewFromFiles(p.fset, files, module+"/"+dir)
	return p, err
}

// page returns the page of a package; outputs has the pages of all by import path.
func (p *goPackage) page(outputs map[string]string) (*page, error) {
	w := &apiWriter{
		goPackage: p, parser: p.doc.Parser(), printer: p.doc.Printer(),
		page: &page{
			out: p.out(), label: p.dir, source: p.dir,
			description: p.doc.Synopsis(p.doc.Doc),
			sections:    []section{{Level: 1, ID: "package", Title: "package " + p.doc.Name}},
		},
	}
	w.printer.HeadingID = func(*comment.Heading) string { return "" }
	w.printer.DocLinkURL = func(link *comment.DocLink) string {
		symbol := strings.Trim(link.Recv+"."+link.Name, ".")
		if link.ImportPath == "" {
			return "#" + symbol
		}
		url := "https://pkg.go.dev/" + link.ImportPath
		if out, ok := outputs[link.ImportPath]; ok {
			url = relative(p.out(), out)
		}
		if symbol != "" {
			url += "#" + symbol
		}
		return url
	}
	fmt.Fprintf(&w.body, "<h1 id=\"package\">package %s</h1>\n", html.EscapeString(p.doc.Name))
	w.code(fmt.Sprintf("import %q", p.doc.ImportPath))
	w.comment(p.doc.Doc)
	w.values("Constants", p.doc.Consts)
	w.values("Variables", p.doc.Vars)
	w.funcs(2, "", p.doc.Funcs)
	for _, t := range p.doc.Types {
		w.heading(2, t.Name, "type "+t.Name)
		w.members(t)
		w.declaration(t.Decl)
		w.comment(t.Doc)
		w.values("", t.Consts)
		w.values("", t.Vars)
		w.funcs(3, "", t.Funcs)
		w.funcs(3, t.Name+".", t.Methods)
	}
	w.page.body = w.body.String()
	return w.page, errors.Join(w.errs...)
}

// An apiWriter writes the page of a package.
type apiWriter struct {
	*goPackage
	parser  *comment.Parser
	printer *comment.Printer
	page    *page
	body    bytes.Buffer
	errs    []error
}

func (w *apiWriter) heading(level int, id, title string) {
	w.page.sections = append(w.page.sections, section{Level: level, ID: id, Title: title})
	fmt.Fprintf(&w.body, `<h%d id="%s">%s <a class="anchor" href="#%[2]s" aria-label="Link to this section">#</a></h%[1]d>`+"\n",
		level, html.EscapeString(id), html.EscapeString(title))
}

func (w *apiWriter) comment(text string) {
	s := &w.page.sections[len(w.page.sections)-1]
	w.printer.HeadingLevel = s.Level + 1
	// Text is escaped: this is the printer's own tag.
	w.body.Write(bytes.ReplaceAll(w.printer.HTML(w.parser.Parse(text)), []byte("<pre>"), []byte(`<pre tabindex="0">`)))
	s.text = strings.TrimSpace(s.text + " " + strings.Join(strings.Fields(text), " "))
}

func (w *apiWriter) code(text string) {
	fmt.Fprintf(&w.body, "<pre tabindex=\"0\" class=\"language-go\"><code>%s\n</code></pre>\n", html.EscapeString(text))
}

func (w *apiWriter) declaration(decl ast.Decl) {
	var b bytes.Buffer
	if f, ok := decl.(*ast.FuncDecl); ok {
		bare := *f
		bare.Doc, bare.Body = nil, nil
		decl = &bare
	}
	if g, ok := decl.(*ast.GenDecl); ok {
		bare := *g
		bare.Doc = nil
		decl = &bare
	}
	if err := format.Node(&b, w.fset, decl); err != nil {
		w.errs = append(w.errs, fmt.Errorf("%s: %w", w.dir, err))
	}
	w.code(b.String())
}

func (w *apiWriter) values(title string, list []*doc.Value) {
	if len(list) > 0 && title != "" {
		w.heading(2, strings.ToLower(title), title)
	}
	for _, v := range list {
		for _, name := range v.Names {
			w.anchor(name)
		}
		w.declaration(v.Decl)
		w.comment(v.Doc)
	}
}

// members writes the anchors of a type's fields, and of an interface's methods.
func (w *apiWriter) members(t *doc.Type) {
	for _, spec := range t.Decl.Specs {
		var fields *ast.FieldList
		switch typ := spec.(*ast.TypeSpec).Type.(type) {
		case *ast.StructType:
			fields = typ.Fields
		case *ast.InterfaceType:
			fields = typ.Methods
		default:
			continue
		}
		for _, f := range fields.List {
			for _, name := range f.Names {
				w.anchor(t.Name + "." + name.Name)
			}
		}
	}
}

func (w *apiWriter) anchor(id string) {
	fmt.Fprintf(&w.body, `<span id="%s"></span>`, html.EscapeString(id))
}

func (w *apiWriter) funcs(level int, receiver string, list []*doc.Func) {
	for _, f := range list {
		title := "func " + f.Name
		if f.Recv != "" {
			title = fmt.Sprintf("func (%s) %s", f.Recv, f.Name)
		}
		w.heading(level, receiver+f.Name, title)
		w.declaration(f.Decl)
		w.comment(f.Doc)
	}
}
