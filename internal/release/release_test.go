package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	built = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	some  = []file{
		{name: "wtinspect", data: []byte("\x7fELF"), executable: true},
		{name: "README.md", data: []byte("# wtinspect\n")},
		{name: "man/man1/wtinspect.1", data: []byte(".TH WTINSPECT 1\n")},
	}
	testRelease = release{version: "v0.1.0-rc.1", commit: "0123456789abcdef0123456789abcdef01234567", time: built}
)

// An entry is what a reader of an archive sees.
type entry struct {
	name, mode, data string
	time             int64
}

func readTar(t *testing.T, data []byte) []entry {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if !z.ModTime.IsZero() || z.Name != "" {
		t.Errorf("gzip has the time %v and the name %q", z.ModTime, z.Name)
	}
	var list []entry
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "root" || h.Gname != "root" {
			t.Errorf("%s belongs to %d %q, %d %q", h.Name, h.Uid, h.Uname, h.Gid, h.Gname)
		}
		list = append(list, entry{h.Name, h.FileInfo().Mode().String(), string(text), h.ModTime.Unix()})
	}
}

func readZip(t *testing.T, data []byte) []entry {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var list []entry
	for _, f := range r.File {
		part, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, entry{f.Name, f.Mode().String(), string(text), f.Modified.Unix()})
	}
	return list
}

// Archives have their files sorted, with fixed modes and the time of the commit, and
// depend on nothing else: not on the order of the files and not on the time zone.
func TestArchives(t *testing.T) {
	want := []entry{
		{"README.md", "-rw-r--r--", "# wtinspect\n", built.Unix()},
		{"man/man1/wtinspect.1", "-rw-r--r--", ".TH WTINSPECT 1\n", built.Unix()},
		{"wtinspect", "-rwxr-xr-x", "\x7fELF", built.Unix()},
	}
	turned := slices.Clone(some)
	slices.Reverse(turned)
	for name, kind := range map[string]struct {
		pack func([]file, time.Time) ([]byte, error)
		read func(*testing.T, []byte) []entry
	}{"tar.gz": {tarGz, readTar}, "zip": {zipped, readZip}} {
		a, err := kind.pack(some, built)
		if err != nil {
			t.Fatal(err)
		}
		if got := kind.read(t, a); !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", name, got, want)
		}
		b, err := kind.pack(turned, built)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s depends on the order of the files", name)
		}
	}
}

// The members of a Debian package as deb(5) has them, read without what writes them.
func members(t *testing.T, deb []byte) map[string][]byte {
	t.Helper()
	rest, ok := bytes.CutPrefix(deb, []byte("!<arch>\n"))
	if !ok {
		t.Fatal("no ar archive")
	}
	list := map[string][]byte{}
	for len(rest) > 0 {
		var name string
		var when, owner, group, mode, size int
		if _, err := fmt.Sscanf(string(rest[:60]), "%s %d %d %d %o %d `", &name, &when, &owner, &group, &mode, &size); err != nil {
			t.Fatal(err)
		}
		if int64(when) != built.Unix() || owner != 0 || group != 0 || mode != 0o100644 {
			t.Errorf("%s: %d %d %d %o", name, when, owner, group, mode)
		}
		list[name] = rest[60 : 60+size]
		rest = rest[60+size+size%2:]
	}
	return list
}

func testPackage(t *testing.T) (debian, []byte) {
	t.Helper()
	documents := []file{
		{name: "LICENSE", data: []byte("text")},
		{name: "CHANGELOG.md", data: []byte("# Changelog\n")},
		{name: "THIRD-PARTY-LICENSES", data: []byte("texts\n")},
	}
	completions := []file{
		{name: "completions/wtinspect.bash", data: []byte("bash")},
		{name: "completions/_wtinspect", data: []byte("zsh")},
		{name: "completions/wtinspect.fish", data: []byte("fish")},
		{name: "completions/wtinspect.ps1", data: []byte("powershell")},
	}
	d := testRelease.debian(program{
		platform: platform{"linux", "amd64"},
		binary:   binary{name: "wtinspect", data: []byte("\x7fELF")},
		parquet:  binary{name: "wtinspect-parquet", data: []byte("\x7fELF, larger")},
	}, documents, completions, some[2:])
	data, err := d.build(built)
	if err != nil {
		t.Fatal(err)
	}
	return d, data
}

func TestDebianPackage(t *testing.T) {
	d, data := testPackage(t)
	if got, want := d.fileName(), "wtinspect_0.1.0~rc.1_amd64.deb"; got != want {
		t.Errorf("the package is %s, want %s", got, want)
	}
	parts := members(t, data)
	if string(parts["debian-binary"]) != "2.0\n" {
		t.Errorf("debian-binary is %q", parts["debian-binary"])
	}
	var names []string
	sums := ""
	for _, e := range readTar(t, parts["data.tar.gz"]) {
		names = append(names, e.mode+" "+e.name)
		if !strings.HasSuffix(e.name, "/") {
			sums += fmt.Sprintf("%x  %s\n", md5.Sum([]byte(e.data)), strings.TrimPrefix(e.name, "./"))
		}
	}
	want := `drwxr-xr-x ./
drwxr-xr-x ./usr/
drwxr-xr-x ./usr/bin/
-rwxr-xr-x ./usr/bin/wtinspect
-rwxr-xr-x ./usr/bin/wtinspect-parquet
drwxr-xr-x ./usr/share/
drwxr-xr-x ./usr/share/bash-completion/
drwxr-xr-x ./usr/share/bash-completion/completions/
-rw-r--r-- ./usr/share/bash-completion/completions/wtinspect
drwxr-xr-x ./usr/share/doc/
drwxr-xr-x ./usr/share/doc/wtinspect/
-rw-r--r-- ./usr/share/doc/wtinspect/NEWS.gz
-rw-r--r-- ./usr/share/doc/wtinspect/changelog.gz
-rw-r--r-- ./usr/share/doc/wtinspect/copyright
drwxr-xr-x ./usr/share/fish/
drwxr-xr-x ./usr/share/fish/vendor_completions.d/
-rw-r--r-- ./usr/share/fish/vendor_completions.d/wtinspect.fish
drwxr-xr-x ./usr/share/man/
drwxr-xr-x ./usr/share/man/man1/
-rw-r--r-- ./usr/share/man/man1/wtinspect.1.gz
drwxr-xr-x ./usr/share/zsh/
drwxr-xr-x ./usr/share/zsh/vendor-completions/
-rw-r--r-- ./usr/share/zsh/vendor-completions/_wtinspect`
	if got := strings.Join(names, "\n"); got != want {
		t.Errorf("the package has\n%s\nwant\n%s", got, want)
	}
	control := readTar(t, parts["control.tar.gz"])
	for _, e := range control {
		if e.name == "./md5sums" && e.data != sums {
			t.Errorf("md5sums has\n%s\nwant\n%s", e.data, sums)
		}
	}
	if len(control) != 3 || control[1].name != "./control" || !strings.Contains(control[1].data, "\nVersion: 0.1.0~rc.1\nArchitecture: amd64\n") {
		t.Errorf("control.tar.gz has %v", control)
	}
	_, again := testPackage(t)
	if !bytes.Equal(data, again) {
		t.Error("two packages of the same files differ")
	}
}

// What dpkg-deb, where it is installed, reads is what was packed.
func TestDpkgReadsPackage(t *testing.T) {
	dpkg, err := exec.LookPath("dpkg-deb")
	if err != nil {
		t.Skip("dpkg-deb is not installed")
	}
	d, data := testPackage(t)
	name := filepath.Join(t.TempDir(), d.fileName())
	if err := os.WriteFile(name, data, 0o666); err != nil {
		t.Fatal(err)
	}
	version, err := output(dpkg, "--field", name, "Version")
	if err != nil || version != d.version {
		t.Errorf("dpkg-deb reads the version %q: %v", version, err)
	}
	dir := t.TempDir()
	if _, err := output(dpkg, "--extract", name, dir); err != nil {
		t.Fatal(err)
	}
	for _, f := range d.files {
		if got, err := os.ReadFile(filepath.Join(dir, f.name)); err != nil || !bytes.Equal(got, f.data) {
			t.Errorf("%s: %q: %v", f.name, got, err)
		}
	}
}

// Everything that is linked is listed, with its licence, whose text goes with the
// program. The program at hand is this test, which has a module more here.
func TestBillOfMaterials(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	prog := program{platform: platform{"linux", "amd64"}, binary: binary{name: "wtinspect", path: self, data: []byte("\x7fELF")}}
	if err := prog.readModules(); err != nil {
		t.Fatal(err)
	}
	prog.parquet = prog.binary
	prog.parquet.name = "wtinspect-parquet"
	info, ok := debug.ReadBuildInfo()
	if !ok || len(prog.modules) != 1+len(info.Deps) {
		t.Fatalf("%d modules, and %d were linked", len(prog.modules), len(info.Deps))
	}
	// It is listed once, whoever of the two has it linked.
	prog.parquet.modules = append(slices.Clip(prog.modules), module{
		path: "example.com/~a/b", version: "v1.2.3", sum: "h1:sum=",
		texts: []file{{name: "LICENSE", data: []byte("Permission is hereby granted, free of\n  charge, to any person obtaining a copy")}},
	})
	text, err := testRelease.bom(prog, "wtinspect_0.1.0_linux_amd64.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	var d spdxDocument
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if d.Created.Created != "2026-11-29T12:00:00Z" {
		t.Errorf("it says that it was made at %s", d.Created.Created)
	}
	if last := d.Packages[len(d.Packages)-1]; len(d.Packages) != 2+len(prog.parquet.modules) || last.Name != "example.com/~a/b" || last.LicenseDeclared != "MIT" || last.Source != "go.sum h1:sum=" ||
		last.References[0].Locator != "pkg:golang/example.com/~a/b@v1.2.3" {
		t.Errorf("a module is listed as %+v", last)
	}
	ids := map[string]bool{"SPDXRef-DOCUMENT": true}
	for _, p := range d.Packages {
		if ids[p.ID] || !regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`).MatchString(p.ID) {
			t.Errorf("%s: the identifier %s", p.Name, p.ID)
		}
		ids[p.ID] = true
		if p.LicenseDeclared == "NOASSERTION" {
			t.Errorf("%s has a licence that is not known", p.Name)
		}
	}
	described := 0
	for _, r := range d.Relationships {
		if r.Kind == "DESCRIBES" {
			described++
		}
		if !ids[r.From] || !ids[r.To] {
			t.Errorf("%v is of packages that do not exist", r)
		}
	}
	if described != 2 {
		t.Errorf("%d programs are described", described)
	}
	all := string(licences(prog.parquet.modules))
	for _, m := range prog.parquet.modules {
		for _, text := range m.texts {
			if !strings.Contains(all, "\n"+m.name()+" "+m.version+": "+text.name+"\n") || !strings.Contains(all, strings.Trim(string(text.data), "\n")) {
				t.Errorf("the licences lack %s of %s", text.name, m.name())
			}
		}
	}
}

// The programs' own modules, which this test need not link, have known licences.
func TestLicences(t *testing.T) {
	out, err := output("go", "list", "-deps", "-tags=parquet", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}", "../../cmd/wtinspect")
	if err != nil {
		t.Skip(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(out) {
		path, dir, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || seen[path] {
			continue
		}
		seen[path] = true
		texts, err := licenceTexts(dir)
		if m := (module{path: path, texts: texts}); err != nil || m.licence() == "NOASSERTION" {
			t.Errorf("%s: %v: %s", path, err, m.licence())
		}
	}
	for text, want := range map[string]string{
		"Apache License\n   Version 2.0, January 2004":                               "Apache-2.0",
		"* Neither the name of\nX nor":                                               "BSD-3-Clause",
		"materials provided with\nthe distribution.\n\nTHIS SOFTWARE IS PROVIDED BY": "BSD-2-Clause",
		"Do what you want": "NOASSERTION",
	} {
		if got := (module{texts: []file{{data: []byte(text)}}}).licence(); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

// The formula and the manifest name the archives as they are, with their digests.
func TestManifests(t *testing.T) {
	var archives []file
	for _, p := range platforms {
		archives = append(archives, file{name: p.archive(testRelease.number()), data: []byte(p.os + p.arch)})
	}
	list, err := testRelease.manifests(archives)
	if err != nil {
		t.Fatal(err)
	}
	var all string
	for _, f := range list {
		all += string(f.data)
		if strings.HasSuffix(f.name, ".json") && !json.Valid(f.data) {
			t.Errorf("%s is not JSON", f.name)
		}
	}
	for line := range strings.Lines(string(sums(archives))) {
		digest, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		url := `"https://github.com/wtinspect/wtinspect/releases/download/v0.1.0-rc.1/` + name + `"`
		_, after, found := strings.Cut(all, url)
		if !found || !strings.Contains(after[:min(len(after), 120)], `"`+digest+`"`) {
			t.Errorf("%s and its digest are not in\n%s", name, all)
		}
	}
	if _, err := testRelease.manifests(archives[1:]); err == nil {
		t.Error("a manifest was written without one of its archives")
	}
}

func TestRefusals(t *testing.T) {
	for _, version := range []string{"", "0.1.0", "v1", "v0.1", "v01.0.0", "v1.0.0-", "v1.0.0+x", "v1.0.0 -X main.x=y"} {
		if err := run(release{version: version}, t.TempDir()); err == nil || !strings.Contains(err.Error(), "is not of the form") {
			t.Errorf("version %q: %v", version, err)
		}
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if err := run(release{version: "v0.1.0", commit: "c"}, t.TempDir()); err == nil || !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH") {
		t.Errorf("an epoch that is none: %v", err)
	}
}

// Two builds give the same bytes, whatever the directory, the caches, the umask, the
// time zone, the language and Go's settings.
func TestTwice(t *testing.T) {
	if os.Getenv("WTINSPECT_RELEASE") == "" {
		t.Skip("it builds twelve programs; make release-test runs it")
	}
	cache, err := output("go", "env", "GOMODCACHE")
	if err != nil {
		t.Fatal(err)
	}
	build := func(dir, umask string, env ...string) map[string][]byte {
		if _, err := output("git", "clone", "-q", "--no-hardlinks", "../..", dir); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", "umask "+umask+" && go run ./internal/release -version v0.1.0")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		files := map[string][]byte{}
		list, err := filepath.Glob(filepath.Join(dir, "dist", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range list {
			if files[filepath.Base(name)], err = os.ReadFile(name); err != nil {
				t.Fatal(err)
			}
		}
		return files
	}
	a := build(filepath.Join(t.TempDir(), "a"), "022", "TZ=UTC", "LC_ALL=C")
	other := t.TempDir()
	b := build(filepath.Join(other, "another", "directory"), "077", "TZ=Asia/Kolkata", "LC_ALL=de_DE.UTF-8", "HOME="+other,
		"GOCACHE="+filepath.Join(other, "cache"), "GOMODCACHE="+filepath.Join(other, "modules"), "GOPROXY=file://"+cache+"/cache/download", "GONOSUMDB=*",
		"GOFLAGS=-modcacherw -tags=other", "GOARM64=v9.0", "GOTMPDIR="+other)
	if len(a) != 17 || len(a) != len(b) {
		t.Errorf("%d files and %d", len(a), len(b))
	}
	for name := range a {
		if !bytes.Equal(a[name], b[name]) {
			t.Errorf("%s: the builds differ", name)
		}
	}
}
