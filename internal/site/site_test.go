package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// smallSite is a repository with a page that says text.
func smallSite(text string) fstest.MapFS {
	files := fstest.MapFS{}
	for name, content := range map[string]string{
		"README.md":       "# wtinspect\n\nReads weights. [ls](docs/ls.md)\n",
		"CHANGELOG.md":    "# Changelog\n",
		"CONTRIBUTING.md": "# Contributing\n",
		"SECURITY.md":     "# Security\n",
		"LICENSE":         "as is\n",
		"docs/ls.md":      "# wtinspect ls\n\nLists.\n\n## Flags\n\nMany.\n",
		"docs/ci/hub.md":  "# Hub\n\n[ls](../ls.md#flags)\n",
		"docs/a.json":     "{}\n",

		"docs/pictures/a.png": "PNG",

		"docs/a/a.go":     "// Package a has a.json.\npackage a\n",
		"docs/page.md":    "# Page\n\n" + text,
		"lib/lib.go":      "// Package lib opens. See [File.Name] and [github.com/wtinspect/wtinspect/lib/sub].\npackage lib\n\n// A File is <open>.\ntype File struct {\n\t// Name is its name.\n\tName string\n\tsecret int\n}\n\n// Open opens.\nfunc Open(name string) *File { return nil }\n\n// Close closes.\nfunc (f *File) Close() {}\n",
		"lib/lib_test.go": "package lib\n\nfunc Tested() {}\n",
		"lib/win.go":      "//go:build windows\n\npackage lib\n\nfunc OnWindows() {}\n",
		"lib/sub/sub.go":  "// Package sub is below.\npackage sub\n",
		"lib/sub/gen.go":  "//go:build ignore\n\npackage main\n",
		"internal/x/x.go": "package x\n",
		"cmd/tool/m.go":   "package main\n",
	} {
		files[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return files
}

// noHelp is a program that has one command, with one below.
func noHelp(args ...string) (string, error) {
	switch strings.Join(args, " ") {
	case "--help":
		return "Usage:\n  wtinspect [command]\n", nil
	case "__complete ":
		return "ls\tList\nhelp\tHelp\n:4\n", nil
	case "ls --help":
		return "Lists <names> & ```.\n\nUsage:\n  wtinspect ls [command]\n", nil
	case "__complete ls ":
		return "deep\tList deeper\n:4\n", nil
	case "ls deep --help":
		return "Lists deeper.\n", nil
	}
	return "", fmt.Errorf("no help for %q", args)
}

func made(t *testing.T, text string) map[string]string {
	t.Helper()
	site, err := generate(smallSite(text), noHelp)
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]string{}
	for name, content := range site {
		list[name] = string(content)
	}
	return list
}

func TestFiles(t *testing.T) {
	want := []string{
		"a.json", "api/docs/a.html", "api/lib.html", "api/lib/sub.html", "changelog.html", "ci/hub.html", "commands.html", "contributing.html", "icon.svg",
		"index.html", "ls.html", "page.html", "pictures/a.png", "search-index.js", "security.html", "site.js", "style.css", "theme.js",
	}
	if got := slices.Sorted(maps.Keys(made(t, ""))); !slices.Equal(got, want) {
		t.Errorf("the site has %q, want %q", got, want)
	}
}

func TestLinks(t *testing.T) {
	for _, tt := range []struct{ dest, want string }{
		{"ls.md", "ls.html"},
		{"ls.md#flags", "ls.html#flags"},
		{"../docs/./ls.md", "ls.html"},
		{"ci/hub.md", "ci/hub.html"},
		{"../README.md", "index.html"},
		{"../CHANGELOG.md", "changelog.html"},
		{"a.json", "a.json"},
		{"../LICENSE", repository + "/blob/main/LICENSE"},
		{"../lib", repository + "/tree/main/lib"},
		{"#page", "#page"},
		{"https://example.org/x.md?y#z", "https://example.org/x.md?y#z"},
		{"mailto:a@example.org", "mailto:a@example.org"},
	} {
		if got := made(t, "[x]("+tt.dest+")\n")["page.html"]; !strings.Contains(got, `<a href="`+tt.want+`">x</a>`) {
			t.Errorf("a link to %s does not lead to %s", tt.dest, tt.want)
		}
	}
	site := made(t, "![x](pictures/a.png)\n")
	if !strings.Contains(site["page.html"], `<img src="pictures/a.png" alt="x">`) || site["pictures/a.png"] != "PNG" {
		t.Errorf("a picture: %s", site["page.html"])
	}
	if got := made(t, "")["ci/hub.html"]; !strings.Contains(got, `<a href="../ls.html#flags">ls</a>`) || !strings.Contains(got, `href="../style.css"`) {
		t.Error("a page in a directory does not link to those above it")
	}
}

func TestDeadLinks(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"Text.\n\nMore [x](gone.md).\n", "docs/page.md:5: link to gone.md: there is no such file"},
		{"| a |\n| --- |\n| [x](gone.md) |\n", "docs/page.md:5: link to gone.md: there is no such file"},
		{"[x][r]\n\n[r]: gone.md\n", "docs/page.md:3: link to gone.md: there is no such file"},
		{"[x](ls.md#gone)\n", "docs/page.md: link to ls.html#gone: no heading of ls.html has this anchor"},
		{"[x](#gone)\n", "docs/page.md: link to #gone: no heading of page.html has this anchor"},
		{"[x](ls.md#Flags)\n", "docs/page.md: link to ls.html#Flags: no heading"},
		{"[x](ls.html)\n", "link to ls.html: there is no such file"},
		{"[x](/docs/ls.md)\n", "a link is a relative path"},
		{"[x](http://example.org)\n", "a link is a relative path"},
		{"[x](javascript:alert(1))\n", "a link is a relative path"},
		{"[x](//example.org/a)\n", "a link is a relative path"},
		{"[x](../../LICENSE)\n", "it leaves the repository"},
		{"![x](a.json)\n", "docs/page.md:3: link to a.json: an image is SVG or PNG"},
		{"![x](gone.png)\n", "an image is a file below docs/"},
		{"![x](https://example.org/a.png)\n", "an image is a file below docs/"},
		{"![](pictures/a.png)\n", "an image needs a text"},
	} {
		_, err := generate(smallSite(tt.text), noHelp)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: the error is %v, want %q", tt.text, err, tt.want)
		}
	}
}

func TestPagesWithoutTitle(t *testing.T) {
	for _, text := range []string{"", "Text.\n", "## Low\n"} {
		files := smallSite("")
		files["docs/page.md"] = &fstest.MapFile{Data: []byte(text)}
		if _, err := generate(files, noHelp); err == nil || !strings.Contains(err.Error(), "docs/page.md: the page does not begin with a heading") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestEscaping quotes in every place of a page what a file could be named.
func TestEscaping(t *testing.T) {
	const tag = "<script src=x>alert(1)</script>"
	text := "## " + tag + "\n\nText " + tag + "\n\n`" + tag + "`\n\n```console\n$ ls " + tag + "\n" + tag + "\n```\n\n    " + tag + "\n\n" +
		"```\"><script>\n```\n\n" + tag + "\n\n<div onclick=x>\n" + tag + "\n</div>\n\n| a |\n| --- |\n| " + tag + " |\n\n[x](https://example.org/\"><script>)\n"
	page := made(t, text)["page.html"]
	_, article, _ := strings.Cut(page, "<article>")
	for _, bad := range []string{"<script", "<div onclick", `""`, `"><script`} {
		if strings.Contains(article, bad) {
			t.Errorf("the page has %s from its text:\n%s", bad, article)
		}
	}
	if n := strings.Count(article, "&lt;script src=x&gt;alert(1)&lt;/script&gt;"); n != 9 {
		t.Errorf("the page shows the text %d times, not 9:\n%s", n, article)
	}
	if got := made(t, "<!-- setup\nx\n-->\n\nText <!-- y --> here.\n")["page.html"]; strings.Contains(got, "setup") || !strings.Contains(got, "<p>Text  here.</p>") {
		t.Error("the page shows a comment")
	}
}

func TestTranscripts(t *testing.T) {
	got := made(t, "```console\n$ wtinspect ls a\nNAME $ x\n```\n\n```sh\n$ x\n```\n")["page.html"]
	for _, want := range []string{
		`<pre tabindex="0" class="language-console"><code><span class="prompt">$ </span><b>wtinspect ls a</b>` + "\nNAME $ x\n</code></pre>",
		`<pre tabindex="0" class="language-sh"><code>$ x` + "\n</code></pre>",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page has no %s", want)
		}
	}
}

func TestAnchors(t *testing.T) {
	used := map[string]int{}
	for _, tt := range [][2]string{
		{"Flags", "flags"},
		{"Flags", "flags-1"},
		{"meta set, meta unset", "meta-set-meta-unset"},
		{"Which of these 14 files is broken?", "which-of-these-14-files-is-broken"},
		{"_orig_mod. names", "_orig_mod-names"},
		{"Ça & là", "ça--là"},
	} {
		if got := anchor(tt[0], used); got != tt[1] {
			t.Errorf("the anchor of %q is %q, want %q", tt[0], got, tt[1])
		}
	}
	got := made(t, "## WT101\n\n## Not WT1\n\n## `a.b` *c*\n")["page.html"]
	for _, want := range []string{`<span id="WT101"></span><h2 id="wt101">`, `<h2 id="not-wt1">`, `<h2 id="ab-c">`} {
		if !strings.Contains(got, want) {
			t.Errorf("the page has no %s", want)
		}
	}
}

// TestReferences looks at the pages that are made of help texts and of packages.
func TestReferences(t *testing.T) {
	site := made(t, "")
	for page, wants := range map[string][]string{
		"commands.html": {
			`<h2 id="wtinspect-ls">`, "Lists &lt;names&gt; &amp; ```.", `<h2 id="wtinspect-ls-deep">`, `<a href="ls.html">More about ls</a>`,
		},
		"api/lib.html": {
			`<h2 id="File">type File`, `<span id="File.Name"></span>`, "// contains filtered or unexported fields", "A File is &lt;open&gt;.",
			`<h3 id="File.Close">func (*File) Close`, `<h3 id="Open">`, `<a href="#File.Name">`, `<a href="lib/sub.html">`,
		},
	} {
		for _, want := range wants {
			if !strings.Contains(site[page], want) {
				t.Errorf("%s has no %s:\n%s", page, want, site[page])
			}
		}
	}
	for _, name := range []string{"OnWindows", "Tested", "secret"} {
		if strings.Contains(site["api/lib.html"], name) {
			t.Errorf("api/lib.html has %s", name)
		}
	}
}

func TestCodeSpans(t *testing.T) {
	got := made(t, "`--values` and `a b` and `a\nb` and `\\*<b>` and `"+strings.Repeat("x", 25)+"`\n")["page.html"]
	want := `<p><code class="word">--values</code> and <code>a b</code> and <code>a b</code> and <code class="word">\*&lt;b&gt;</code> and <code>xxx`
	if !strings.Contains(got, want) {
		t.Errorf("the page has no %s:\n%s", want, got)
	}
}

func TestSidebar(t *testing.T) {
	_, page, _ := strings.Cut(made(t, "")["ls.html"], `<nav id="menu"`)
	at := -1
	for _, want := range []string{
		"<h2>Start</h2>", ">wtinspect</a>", ">Changelog</a>", "<h2>Commands</h2>", ">Command reference</a>", `<a href="ls.html" aria-current="page">ls</a>`,
		"<h2>CI</h2>", `<a href="ci/hub.html">Hub</a>`, "<h2>Go API</h2>", `<a href="api/lib/sub.html">lib/<wbr>sub</a>`,
		"<h2>Internals</h2>", ">Contributing</a>", ">Security</a>", `<a href="page.html">Page</a>`,
		`<a rel="prev" href="commands.html">`, `<a rel="next" href="ci/hub.html">`,
	} {
		i := strings.Index(page, want)
		if i <= at {
			t.Errorf("%s is not in its place", want)
		}
		at = i
	}
}

func TestSearchIndex(t *testing.T) {
	site := made(t, "First *words*.\n\n## Tags `<b>`\n\n| a | b |\n| --- | --- |\n| c | d |\n\n```\ne  f\n```\n\n- g\n")
	text := strings.TrimSuffix(strings.TrimPrefix(site["search-index.js"], "searchIndex("), ")\n")
	var rows [][4]string
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		t.Fatal(err)
	}
	for _, want := range [][4]string{
		{"Page", "", "page.html", "First words."},
		{"Page", "Tags <b>", "page.html#tags-b", "a b c d e f g"},
		{"wtinspect ls", "Flags", "ls.html#flags", "Many."},
		{"package lib", "func Open", "api/lib.html#Open", "Open opens."},
	} {
		if !slices.Contains(rows, want) {
			t.Errorf("the index has no %q:\n%q", want, rows)
		}
	}
}

// TestRequests holds the pages to asking for nothing from elsewhere.
func TestRequests(t *testing.T) {
	for name, content := range made(t, "[x](https://example.org)\n") {
		switch path.Ext(name) {
		case ".html":
			head, body, _ := strings.Cut(content, "</head>")
			if strings.Contains(head, "//") || !strings.Contains(head, `content="default-src 'self';`) || strings.Contains(body, "<script") ||
				strings.Contains(content, " style=") || strings.Contains(body, "<img") {
				t.Errorf("%s requests what it must not, or has its style or script in it", name)
			}
		case ".css":
			if strings.Contains(content, "url(") || strings.Contains(content, "@import") {
				t.Errorf("%s requests something", name)
			}
		}
	}
}

// TestDocuments makes the site of this repository, twice: its links lead somewhere, and
// the files do not change. The help texts are not read.
func TestDocuments(t *testing.T) {
	root := os.DirFS(filepath.Join("..", ".."))
	noCommands := func(...string) (string, error) { return "help", nil }
	site, err := generate(root, noCommands)
	if err != nil {
		t.Fatal(err)
	}
	again, err := generate(root, noCommands)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(site, again, slices.Equal[[]byte]) {
		t.Error("two builds differ")
	}
	if rules := string(site["rules.html"]); !strings.Contains(rules, `id="WT101"`) {
		t.Error("rules.html#WT101 leads nowhere")
	}
	for _, name := range []string{"index.html", "api/inspect.html", "api/rename/convention/convert.html"} {
		if site[name] == nil {
			t.Errorf("the site has no %s", name)
		}
	}
}
