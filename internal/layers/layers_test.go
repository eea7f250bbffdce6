package layers

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/wtinspect/wtinspect"

// rows is the picture of the package comment, top to bottom.
var rows = [][]string{
	{"beam/cmd/wtinspect-beam"},
	{"beam/internal/pipeline"},
	{"cmd/wtinspect"},
	{"internal/browse", "internal/page"},
	{"internal/answer", "internal/argv", "internal/report", "internal/tables"},
	{"inspect"},
	{"internal/render"},
	{"internal/fix"},
	{"internal/policy"},
	{"internal/check", "internal/compare", "internal/evidence", "internal/stats"},
	{"rename/infer", "checkpoint/assemble"},
	{"checkpoint/rewrite", "rename/convention/convert"},
	{"checkpoint/internal/image", "rename/convention/identify", "internal/adapt", "internal/arrays", "internal/remote", "rename/convention/internal/compile"},
	{"rename/convention", "internal/values", "internal/txn"},
	{"checkpoint", "internal/stores", "rename/exchange"},
	{"internal/source", "internal/jsondoc", "safetensors", "gguf", "pytorch", "internal/numpy", "rename", "rename/match", "rename/convention/adapter"},
	{"rename/template", "rename/tensorop", "internal/quant"},
	{"internal/plural", "internal/strided", "internal/ziparchive"},
}

// testOnly are the packages that only tests and generators may import.
var testOnly = []string{"internal/fixture", "internal/oracle", "internal/testdata", "internal/sweep", "internal/foreign", "internal/hubtest", "internal/torchtest", "internal/source/sourcetest", "internal/txn/disktest", "internal/txn/faulttest", "internal/txn/crashtest", "internal/layers"}

// rooms says which packages may import a third-party module, apart from tests.
var rooms = map[string][]string{
	"github.com/spf13/cobra":                   {"cmd/wtinspect"},
	"github.com/spf13/pflag":                   {"cmd/wtinspect", "beam/cmd/wtinspect-beam"},
	"github.com/apache/beam/sdks/v2":           {"beam/cmd/wtinspect-beam", "beam/internal/pipeline"},
	"github.com/klauspost/compress":            {"beam/internal/pipeline"},
	"github.com/schollz/progressbar/v3":        {"cmd/wtinspect"},
	"charm.land/bubbletea/v2":                  {"internal/browse"},
	"github.com/x448/float16":                  {"internal/values"},
	"github.com/cespare/xxhash/v2":             {"checkpoint/internal/image", "internal/values"},
	"github.com/go-json-experiment/json":       {"internal/jsondoc"},
	"go.yaml.in/yaml/v4":                       {"rename", "rename/convention/internal/compile", "rename/convention/adapter", "rename/convention/identify", "internal/policy", "internal/quant", "internal/check"},
	"github.com/parquet-go/parquet-go":         {"internal/tables"},
	"golang.org/x/sys":                         {"internal/txn", "internal/txn/crashtest", "internal/source", "internal/browse", "cmd/wtinspect", "beam/cmd/wtinspect-beam"},
	"golang.org/x/term":                        {"cmd/wtinspect"},
	"golang.org/x/sync":                        {"checkpoint", "checkpoint/assemble", "checkpoint/internal/image", "checkpoint/rewrite", "internal/txn", "internal/values", "internal/check", "internal/compare", "internal/evidence", "internal/stats"},
	"github.com/rogpeppe/go-internal":          nil,
	"github.com/google/go-cmp":                 nil,
	"pgregory.net/rapid":                       nil,
	"github.com/santhosh-tekuri/jsonschema/v6": nil,
	"github.com/yuin/goldmark":                 nil,
	"github.com/google/jsonschema-go":          nil,
}

// public are the packages whose exported names are an API.
var public = []string{
	"safetensors", "gguf", "pytorch", "checkpoint", "checkpoint/assemble", "checkpoint/rewrite", "inspect", "rename", "rename/template", "rename/tensorop", "rename/match",
	"rename/convention", "rename/convention/adapter", "rename/convention/identify", "rename/convention/convert", "rename/infer", "rename/exchange",
}

func row(pkg string) int {
	return slices.IndexFunc(rows, func(r []string) bool { return slices.Contains(r, pkg) })
}

type source struct {
	pkg  string // directory below the module's root
	name string
	test bool
	file *ast.File
}

func sources(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	root := filepath.Join("..", "..")
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	var list []source
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); p != root && (strings.HasPrefix(n, ".") || strings.HasPrefix(n, "_") || n == "testdata" && !isPackage(p)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		list = append(list, source{pkg: path.Dir(rel), name: rel, test: strings.HasSuffix(rel, "_test.go"), file: f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fset, list
}

func isPackage(dir string) bool {
	return strings.HasSuffix(filepath.ToSlash(dir), "internal/testdata")
}

// isGenerator reports whether a file belongs to a program that is no part of what is installed.
func isGenerator(src source) bool {
	return src.file.Name.Name == "main" && !strings.Contains("/"+src.pkg, "/cmd/")
}

func TestImportsPointDown(t *testing.T) {
	_, list := sources(t)
	for _, src := range list {
		from := src.pkg
		generator := isGenerator(src)
		if row(from) < 0 && !slices.Contains(testOnly, from) && !generator {
			t.Errorf("%s: package %s is not in the picture; add it to the design first", src.name, from)
			continue
		}
		for _, spec := range src.file.Imports {
			to, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if err := allowed(from, to, src.test || generator); err != nil {
				t.Errorf("%s: %v", src.name, err)
			}
		}
	}
}

func allowed(from, to string, test bool) error {
	if local, ok := strings.CutPrefix(to, module+"/"); ok {
		switch {
		case slices.Contains(testOnly, local):
			if test || slices.Contains(testOnly, from) {
				return nil
			}
			return fmt.Errorf("%s imports %s, which serves tests only", from, local)
		case from == local: // an external test package
			return nil
		case test && row(from) < 0:
			return nil
		case (from == "internal/txn/disktest" || from == "internal/txn/faulttest") && local == "internal/txn", from == "internal/source/sourcetest" && local == "internal/source": // they implement its interfaces
			return nil
		case slices.Contains(testOnly, from):
			return fmt.Errorf("%s imports %s: a test helper must stay independent of what it tests", from, local)
		case row(local) < 0:
			return fmt.Errorf("%s imports %s, which is not in the picture", from, local)
		case row(local) <= row(from):
			return fmt.Errorf("%s imports %s, which does not lie below it", from, local)
		}
		return nil
	}
	if first, _, _ := strings.Cut(to, "/"); !strings.Contains(first, ".") {
		return nil // the standard library
	}
	for mod, pkgs := range rooms {
		if to == mod || strings.HasPrefix(to, mod+"/") {
			if test || slices.Contains(pkgs, from) {
				return nil
			}
			return fmt.Errorf("%s imports %s, which belongs to %v", from, to, pkgs)
		}
	}
	return fmt.Errorf("%s imports %s, which the design does not list", from, to)
}

// Beam is a module of its own: what it needs is no part of the graph of this one, and a
// workspace would put it there for everybody.
func TestBeamIsApart(t *testing.T) {
	root := filepath.Join("..", "..")
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "apache/beam") {
			t.Errorf("%s names Beam", name)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "go.work")); err == nil {
		t.Error("go.work joins the modules")
	}
	if _, err := os.Stat(filepath.Join(root, "beam", "go.mod")); err != nil {
		t.Error(err)
	}
	_, list := sources(t)
	for _, src := range list {
		for _, spec := range src.file.Imports {
			if strings.Contains(spec.Path.Value, "apache/beam") && !strings.HasPrefix(src.pkg, "beam/") {
				t.Errorf("%s imports %s", src.name, spec.Path.Value)
			}
		}
	}
}

// TestAllowed tries the rules themselves on imports that do not exist.
func TestAllowed(t *testing.T) {
	tests := []struct {
		from, to string
		test, ok bool
	}{
		{"cmd/wtinspect", module + "/checkpoint", false, true},
		{"checkpoint", module + "/gguf", false, true},
		{"gguf", module + "/checkpoint", false, false},
		{"gguf", module + "/safetensors", false, false},
		{"safetensors", "golang.org/x/sync/errgroup", false, false},
		{"checkpoint", module + "/internal/fixture", false, false},
		{"checkpoint", module + "/internal/fixture", true, true},
		{"internal/render", "github.com/spf13/cobra", false, false},
		{"rename", "go.yaml.in/yaml/v4", false, true},
		{"rename", module + "/rename/template", false, true},
		{"rename/template", module + "/rename", false, false},
		{"rename/template", "go.yaml.in/yaml/v4", false, false},
		{"rename", "gopkg.in/yaml.v3", false, false},
		{"internal/check", module + "/internal/stats", false, false},
		{"internal/arrays", module + "/internal/values", false, true},
	}
	for _, tt := range tests {
		if err := allowed(tt.from, tt.to, tt.test); (err == nil) != tt.ok {
			t.Errorf("allowed(%s, %s, test %v) = %v, want ok %v", tt.from, tt.to, tt.test, err, tt.ok)
		}
	}
}

// readers find and measure: they leave every change of a file to rows above them,
// and must not reach what changes files, by no way.
var readers = []string{"internal/check", "internal/compare", "internal/stats", "internal/policy", "internal/adapt", "checkpoint"}

// writers change files.
var writers = []string{"internal/tables", "internal/txn", "checkpoint/internal/image", "checkpoint/rewrite", "checkpoint/assemble", "internal/fix"}

func TestReadersWriteNothing(t *testing.T) {
	_, list := sources(t)
	imports := map[string][]string{}
	for _, src := range list {
		for _, spec := range src.file.Imports {
			to, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if to, ok := strings.CutPrefix(to, module+"/"); ok && !src.test {
				imports[src.pkg] = append(imports[src.pkg], to)
			}
		}
	}
	var reach func(way []string)
	reach = func(way []string) {
		for _, to := range imports[way[len(way)-1]] {
			way := append(slices.Clip(way), to)
			if slices.Contains(writers, to) {
				t.Errorf("%s changes files: %s", way[0], strings.Join(way, " imports "))
			}
			reach(way)
		}
	}
	for _, pkg := range readers {
		if len(imports[pkg]) == 0 {
			t.Errorf("there is no package %s", pkg)
		}
		reach([]string{pkg})
	}
	for _, pkg := range writers {
		if len(imports[pkg]) == 0 {
			t.Errorf("there is no package %s", pkg)
		}
	}
}

// fileCalls are the functions that open, list or look at files for reading,
// which only internal/source calls: it refuses what could hold the program up,
// and bounds what is read.
var fileCalls = map[string][]string{
	"os": {
		"Open", "OpenFile", "OpenRoot", "OpenInRoot", "DirFS", "ReadFile", "Stat", "Lstat", "ReadDir", "Readlink", "SameFile",
	},
	"path/filepath":         {"EvalSymlinks", "Walk", "WalkDir", "Glob"},
	"syscall":               {"Open", "Openat", "Stat", "Lstat", "Fstatat", "Readlink"},
	"golang.org/x/sys/unix": {"Open", "Openat", "Openat2", "Stat", "Lstat", "Fstatat", "Statx", "Readlink", "Readlinkat"},
	"io/ioutil":             {"ReadFile", "ReadDir"},
	module + "/safetensors": {"Open"},
	module + "/gguf":        {"Open"},
	module + "/pytorch":     {"Open"},
}

// writeCalls are the functions that make, change or remove files by a path.
var writeCalls = map[string][]string{
	"os": {
		"Chmod", "Chown", "Chtimes", "CopyFS", "Create", "CreateTemp", "Lchown", "Link", "Mkdir", "MkdirAll", "MkdirTemp",
		"Remove", "RemoveAll", "Rename", "Symlink", "Truncate", "WriteFile",
	},
	"syscall":               {"Link", "Mkdir", "Rename", "Rmdir", "Symlink", "Truncate", "Unlink"},
	"golang.org/x/sys/unix": {"Link", "Linkat", "Mkdir", "Mkdirat", "Rename", "Renameat", "Renameat2", "Rmdir", "Symlink", "Truncate", "Unlink", "Unlinkat"},
	"io/ioutil":             {"TempDir", "TempFile", "WriteFile"},
}

// fileCallers are the packages and files that may call fileCalls: internal/source,
// the libraries of one format, which serve programs that have no source, and
// what writes files and has to look at them while it does. writeCallers are those
// that may call writeCalls.
var (
	fileCallers = []string{"internal/source", "safetensors/file.go", "gguf/file.go", "pytorch/file.go", "internal/txn"}
	// Beam leaves temporary files behind unless it gets a directory of its own for them.
	writeCallers = []string{"internal/txn", "beam/cmd/wtinspect-beam"}
)

// TestNothingIsCompiledAtStart looks for regular expressions that are compiled
// whenever the program starts, whatever it is to do: those of a few names took a
// third of the time of an ls of a small file.
func TestNothingIsCompiledAtStart(t *testing.T) {
	fset, list := sources(t)
	for _, src := range list {
		if src.test || row(src.pkg) < 0 {
			continue
		}
		for _, d := range src.file.Decls {
			if d, ok := d.(*ast.GenDecl); ok && d.Tok == token.VAR {
				ast.Inspect(d, func(n ast.Node) bool {
					if sel, ok := n.(*ast.SelectorExpr); ok && strings.HasPrefix(sel.Sel.Name, "MustCompile") {
						t.Errorf("%s: wrap it in sync.OnceValue, or do without", fset.Position(n.Pos()))
					}
					_, later := n.(*ast.FuncLit)
					return !later
				})
			}
		}
	}
}

// callsFiles returns the calls in a file of some functions, as name and position.
func callsFiles(f *ast.File, fileCalls map[string][]string) map[token.Pos]string {
	imported := map[string][]string{}
	for _, spec := range f.Imports {
		to, _ := strconv.Unquote(spec.Path.Value)
		if calls := fileCalls[to]; calls != nil {
			name := path.Base(to)
			if spec.Name != nil {
				name = spec.Name.Name
			}
			imported[name] = calls
		}
	}
	found := map[token.Pos]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok && slices.Contains(imported[id.Name], sel.Sel.Name) {
				found[n.Pos()] = id.Name + "." + sel.Sel.Name
			}
		}
		return true
	})
	return found
}

func TestOnlySourceReadsFiles(t *testing.T) { onlyCalledIn(t, fileCalls, fileCallers) }

func TestOnlyTxnWritesFiles(t *testing.T) { onlyCalledIn(t, writeCalls, writeCallers) }

// onlyCalledIn checks that functions are called in some packages and files, and
// nowhere else.
func onlyCalledIn(t *testing.T, calls map[string][]string, callers []string) {
	t.Helper()
	fset, list := sources(t)
	called := map[string]bool{}
	for _, src := range list {
		if src.test || isGenerator(src) || slices.Contains(testOnly, src.pkg) {
			continue
		}
		found := callsFiles(src.file, calls)
		for _, caller := range []string{src.pkg, src.name} {
			if slices.Contains(callers, caller) {
				called[caller] = called[caller] || len(found) > 0
				found = nil
			}
		}
		for pos, name := range found {
			t.Errorf("%s: calls %s, which belongs to %v", fset.Position(pos), name, callers)
		}
	}
	for _, caller := range callers {
		if !called[caller] {
			t.Errorf("%s may call such functions and does not; take it off the list", caller)
		}
	}
}

// TestCallsFiles tries the search itself.
func TestCallsFiles(t *testing.T) {
	const text = `package p
import (
	. "fmt"
	"os"
	fp "path/filepath"
)
func f() {
	g(os.ReadFile)
	os.Remove("")
	fp.Walk("", nil)
	var os2 struct{ Open func() }
	os2.Open()
}`
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, name := range callsFiles(f, fileCalls) {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []string{"fp.Walk", "os.ReadFile"}; !slices.Equal(names, want) {
		t.Errorf("found %v, want %v", names, want)
	}
}

// TestPublicAPI reports every exported declaration of a public package that
// mentions a type of an internal one: a caller could not name that type.
func TestPublicAPI(t *testing.T) {
	fset, list := sources(t)
	for _, src := range list {
		if src.test || !slices.Contains(public, src.pkg) {
			continue
		}
		internal := map[string]string{}
		for _, spec := range src.file.Imports {
			to, _ := strconv.Unquote(spec.Path.Value)
			if !strings.HasPrefix(to, module+"/internal/") {
				continue
			}
			name := path.Base(to)
			if spec.Name != nil {
				name = spec.Name.Name
			}
			internal[name] = to
		}
		if len(internal) == 0 {
			continue
		}
		for _, n := range exportedTypes(src.file) {
			ast.Inspect(n, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok {
					if id, ok := sel.X.(*ast.Ident); ok && internal[id.Name] != "" {
						t.Errorf("%s: exported API mentions %s.%s", fset.Position(n.Pos()), id.Name, sel.Sel.Name)
					}
				}
				return true
			})
		}
	}
}

// exportedTypes returns the type expressions that a file's exported
// declarations show: signatures, exported fields and methods, and the
// declared types of variables.
func exportedTypes(f *ast.File) []ast.Node {
	var list []ast.Node
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || exportedReceiver(d.Recv)) {
				list = append(list, d.Type)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					if spec.Name.IsExported() {
						list = append(list, exportedParts(spec.Type)...)
					}
				case *ast.ValueSpec:
					if spec.Type != nil && slices.ContainsFunc(spec.Names, (*ast.Ident).IsExported) {
						list = append(list, spec.Type)
					}
				}
			}
		}
	}
	return list
}

func exportedReceiver(recv *ast.FieldList) bool {
	typ := recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	id, ok := typ.(*ast.Ident)
	return !ok || id.IsExported()
}

func exportedParts(typ ast.Expr) []ast.Node {
	var fields *ast.FieldList
	switch typ := typ.(type) {
	case *ast.StructType:
		fields = typ.Fields
	case *ast.InterfaceType:
		fields = typ.Methods
	default:
		return []ast.Node{typ}
	}
	var list []ast.Node
	for _, f := range fields.List {
		if len(f.Names) == 0 || slices.ContainsFunc(f.Names, (*ast.Ident).IsExported) {
			list = append(list, f.Type)
		}
	}
	return list
}
