package main

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"html/template"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

//go:embed assets
var assets embed.FS

var layout = template.Must(template.ParseFS(assets, "assets/page.html"))

type group struct {
	title    string
	patterns []string
}

// groups is the sidebar: the documents of each group by path patterns, in order. A
// document belongs to the group that names it, else to the first with a pattern that it
// matches. The pages of packages are those of apiGroup.
var groups = []group{
	{"Start", []string{
		"README.md", "docs/installing.md", "docs/recipes.md", "docs/configuration.md", "docs/exit-codes.md", "docs/json.md",
		"docs/reading.md", "docs/pytorch.md", "docs/remote.md", "docs/stability.md", "CHANGELOG.md",
	}},
	{"Commands", []string{
		commandsPage, "docs/ls.md", "docs/info.md", "docs/meta.md", "docs/identify.md", "docs/rename.md", "docs/convert.md", "docs/map.md", "docs/map-infer.md", "docs/check.md", "docs/scan.md",
		"docs/fix.md", "docs/diff.md", "docs/browse.md", "docs/report.md", "docs/stats.md", "docs/cat.md", "docs/hash.md", "docs/schema.md",
	}},
	{"Conventions", []string{
		"docs/conventions.md", "docs/roles.md", "docs/adapters.md", "docs/near-misses.md", "docs/map-language.md", "docs/maps-elsewhere.md", "docs/operations.md",
		"docs/refused-conversions.md",
	}},
	{"Rules", []string{"docs/rules.md"}},
	{"CI", []string{"docs/ci/*.md"}},
	{apiGroup, nil},
	{"Internals", []string{"docs/architecture.md", "docs/rewriting.md", "docs/compare.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md", "docs/*/*.md"}},
}

const apiGroup = "Go API"

// A page of the site.
type page struct {
	out         string // its path in the site
	label       string // what the sidebar calls it
	group       string
	description string
	sections    []section
	body        string
	source      string // what it is made of, for messages
}

// generate returns the files of the site by their paths. help returns what wtinspect
// prints for some arguments.
func generate(root fs.FS, help func(args ...string) (string, error)) (map[string][]byte, error) {
	texts, files, err := read(root)
	if err != nil {
		return nil, err
	}
	if _, ok := texts[commandsPage]; ok {
		return nil, fmt.Errorf("%s: the site has a page of this name that is made of the help texts", commandsPage)
	}
	if texts[commandsPage], err = commandReference(texts, help); err != nil {
		return nil, err
	}
	packages, err := readPackages(root)
	if err != nil {
		return nil, err
	}

	outputs := map[string]string{}
	for source := range texts {
		outputs[source] = output(source)
	}
	site := map[string][]byte{}
	for source, content := range files {
		out := strings.TrimPrefix(source, "docs/")
		outputs[source], site[out] = out, content
	}

	var errs []error
	bySource := map[string]*page{}
	for source, content := range texts {
		p, err := newPage(root, source, content, outputs)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		bySource[source] = p
	}
	if len(errs) > 0 {
		return nil, joined(errs)
	}
	pages := arrange(bySource, packages)
	if err := addPages(site, pages); err != nil {
		return nil, err
	}
	for _, name := range []string{"style.css", "site.js", "theme.js", "icon.svg"} {
		if site[name], err = assets.ReadFile("assets/" + name); err != nil {
			return nil, err
		}
	}
	site["search-index.js"], err = searchIndex(pages)
	return site, errors.Join(err, checkLinks(pages, site))
}

// joined is errors.Join in an order that does not change.
func joined(errs []error) error {
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// read returns the documents, and the other files of docs/ that a document may link to.
func read(root fs.FS) (texts map[string]string, files map[string][]byte, err error) {
	texts, files = map[string]string{}, map[string][]byte{}
	add := func(name string) error {
		content, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		if path.Ext(name) == ".md" {
			texts[name] = string(content)
		} else {
			files[name] = content
		}
		return nil
	}
	for _, name := range []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"} {
		err = errors.Join(err, add(name))
	}
	return texts, files, errors.Join(err, fs.WalkDir(root, "docs", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || path.Ext(name) == ".go" { // a package has its own page
			return err
		}
		return add(name)
	}))
}

// output returns the path in the site of a document.
func output(source string) string {
	if source == "README.md" {
		return "index.html"
	}
	name := strings.TrimSuffix(source, ".md") + ".html"
	if inDocs, ok := strings.CutPrefix(name, "docs/"); ok {
		return inDocs
	}
	return strings.ToLower(name)
}

func newPage(root fs.FS, source, content string, outputs map[string]string) (*page, error) {
	d, err := parse(source, []byte(content))
	if err != nil {
		return nil, err
	}
	if err := d.relink(root, outputs); err != nil {
		return nil, err
	}
	body, err := d.html()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	label := strings.TrimPrefix(d.sections[0].Title, "wtinspect ")
	return &page{out: outputs[source], label: label, description: d.summary, sections: d.sections, body: body, source: source}, nil
}

// arrange puts the pages into the order of the sidebar.
func arrange(bySource map[string]*page, packages []*page) []*page {
	placed := map[string]int{}
	for source := range bySource {
		placed[source] = groupOf(source)
	}
	var pages []*page
	for i, g := range groups {
		var sources []string
		for source, in := range placed {
			if in == i {
				sources = append(sources, source)
			}
		}
		slices.SortFunc(sources, func(a, b string) int {
			return cmp.Or(cmp.Compare(g.rank(a), g.rank(b)), cmp.Compare(a, b))
		})
		for _, source := range sources {
			bySource[source].group = g.title
			pages = append(pages, bySource[source])
		}
		if g.title == apiGroup {
			for _, p := range packages {
				p.group = g.title
				pages = append(pages, p)
			}
		}
	}
	return pages
}

// groupOf returns the index of the group of a document.
func groupOf(source string) int {
	for _, fits := range []func(pattern string) bool{
		func(pattern string) bool { return pattern == source },
		func(pattern string) bool { ok, _ := path.Match(pattern, source); return ok },
	} {
		if i := slices.IndexFunc(groups, func(g group) bool { return slices.ContainsFunc(g.patterns, fits) }); i >= 0 {
			return i
		}
	}
	return len(groups) - 1
}

// rank returns the place of a document in its group: what is not named comes last.
func (g *group) rank(source string) int {
	if i := slices.Index(g.patterns, source); i >= 0 {
		return i
	}
	return len(g.patterns)
}

// A link is what the template shows of a page.
type link struct {
	URL, Label string
	Current    bool
}

// Parts are the pieces of the label between which a line may break.
func (l *link) Parts() []string { return strings.SplitAfter(l.Label, "/") }

type menu struct {
	Title string
	Links []*link
}

// addPages adds the pages to the site.
func addPages(site map[string][]byte, pages []*page) error {
	for i, p := range pages {
		to := func(other *page) *link {
			return &link{URL: relative(p.out, other.out), Label: other.label, Current: other == p}
		}
		data := struct {
			Title, Description, Base string
			Menus                    []menu
			Contents                 []section
			Body                     template.HTML
			Previous, Next           *link
		}{
			Title: p.sections[0].Title, Description: p.description, Base: strings.Repeat("../", strings.Count(p.out, "/")),
			Body: template.HTML(p.body), // made by this program, with everything escaped
		}
		for _, other := range pages {
			if n := len(data.Menus); n == 0 || data.Menus[n-1].Title != other.group {
				data.Menus = append(data.Menus, menu{Title: other.group})
			}
			m := &data.Menus[len(data.Menus)-1]
			m.Links = append(m.Links, to(other))
		}
		for _, s := range p.sections[1:] {
			if s.Level <= 3 {
				data.Contents = append(data.Contents, s)
			}
		}
		if i > 0 {
			data.Previous = to(pages[i-1])
		}
		if i+1 < len(pages) {
			data.Next = to(pages[i+1])
		}
		if _, ok := site[p.out]; ok {
			return fmt.Errorf("%s: the site has two files of this name", p.out)
		}
		var b bytes.Buffer
		if err := layout.Execute(&b, data); err != nil {
			return fmt.Errorf("%s: %w", p.source, err)
		}
		site[p.out] = b.Bytes()
	}
	return nil
}

// searchIndex returns the script that hands the sections of all pages to the search: of
// each its page, heading, address and text. It is a script because a browser that shows
// files does not let pages read others.
func searchIndex(pages []*page) ([]byte, error) {
	var rows [][4]string
	for _, p := range pages {
		for i, s := range p.sections {
			url, title := p.out, s.Title
			if i > 0 {
				url += "#" + s.ID
			} else {
				title = ""
			}
			rows = append(rows, [4]string{p.sections[0].Title, title, url, s.text})
		}
	}
	text, err := json.Marshal(rows)
	return slices.Concat([]byte("searchIndex("), text, []byte(")\n")), err
}

var (
	idAttribute   = regexp.MustCompile(` id="([^"]*)"`)
	linkAttribute = regexp.MustCompile(` (?:href|src)="([^"]*)"`)
)

// checkLinks looks at the finished pages: every link into the site has to lead to a file
// and an anchor that exist, and an anchor is in a page once.
func checkLinks(pages []*page, site map[string][]byte) error {
	attributes := func(re *regexp.Regexp, out string) (values []string) {
		for _, m := range re.FindAllSubmatch(site[out], -1) {
			values = append(values, html.UnescapeString(string(m[1])))
		}
		return values
	}
	var errs []error
	ids := map[string]bool{}
	for _, p := range pages {
		for _, id := range attributes(idAttribute, p.out) {
			if ids[p.out+"#"+id] {
				errs = append(errs, fmt.Errorf("%s: two headings have the anchor #%s", p.source, id))
			}
			ids[p.out+"#"+id] = true
		}
	}
	for _, p := range pages {
		for _, dest := range attributes(linkAttribute, p.out) {
			u, err := url.Parse(dest)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", p.source, err))
				continue
			}
			if u.Scheme != "" {
				continue
			}
			out := p.out
			if u.Path != "" {
				out = path.Join(path.Dir(p.out), u.Path)
			}
			switch {
			case site[out] == nil:
				errs = append(errs, fmt.Errorf("%s: link to %s: the site has no %s", p.source, dest, out))
			case u.Fragment != "" && !ids[out+"#"+u.Fragment]:
				errs = append(errs, fmt.Errorf("%s: link to %s: no heading of %s has this anchor", p.source, dest, out))
			}
		}
	}
	return joined(errs)
}
