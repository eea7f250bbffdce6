package tables

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/internal/txn/disktest"
)

const version = "v1.2.3"

// scanned is what a scan would find of a repository.
func scanned(repository string, tensors int) *inspect.Scanned {
	from := inspect.ScannedFrom{SchemaVersion: inspect.ScanSchemaVersion, ToolVersion: version, Repository: repository}
	file, wide := "model.safetensors", int64(4)
	if len(repository)%2 == 0 {
		commit := "c0ffee"
		from.Revision = &commit
	}
	s := &inspect.Scanned{
		Release:  inspect.ScannedRelease{ScannedFrom: from, State: "s-" + repository, Wrappers: []string{}, Tensors: int64(tensors)},
		Files:    []inspect.ScannedFile{{ScannedFrom: from, File: file, Bytes: &wide}},
		Findings: []inspect.ScannedFinding{{ScannedFrom: from, Rule: "WT101", Name: "a-rule"}},
		Stats:    func(func(inspect.ScannedStats) bool) {},
	}
	s.Tensors = func(yield func(inspect.ScannedTensor) bool) {
		for i := range tensors {
			t := inspect.ScannedTensor{ScannedFrom: from, File: &file, Name: fmt.Sprintf("model.layers.%07d.weight", i), Shape: []int64{int64(i), 4}}
			switch i % 5 {
			case 1:
				t.Shape = []int64{}
			case 2:
				t.Shape = nil
			}
			if !yield(t) {
				return
			}
		}
	}
	return s
}

func failed(repository string) *inspect.Scanned {
	s := scanned(repository, 0)
	code := "not_found"
	s.Release.ErrorCode, s.Files, s.Findings = &code, nil, nil
	return s
}

// several are n releases that are not in the order of their names; every seventh failed.
func several(n int) []*inspect.Scanned {
	var list []*inspect.Scanned
	for i := range n {
		name := fmt.Sprintf("repo-%03d%s", (i*37)%n, []string{"", "x"}[i%2])
		if i%7 == 3 {
			list = append(list, failed(name))
		} else {
			list = append(list, scanned(name, i%13))
		}
	}
	return list
}

// run does what the command does.
func run(sys txn.System, dir string, list []*inspect.Scanned, o Options) (err error) {
	o.Version = version
	w, err := Create(sys, dir, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	one := func(s *inspect.Scanned) error {
		if w.Known(s.Release.Repository, s.Release.State) {
			return nil
		}
		return w.Write(s)
	}
	for _, s := range list {
		if err := one(s); err != nil {
			return err
		}
	}
	if err := w.Commit(); err != nil {
		return err
	}
	lost, err := w.End()
	if err == nil && len(lost) > 0 {
		err = fmt.Errorf("lost: %s", strings.Join(lost, ", "))
	}
	return err
}

// rows returns the rows of every table in a file system, as sorted text.
func rows(t *testing.T, files map[string]string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for name, content := range files {
		dir, base := path.Split(name)
		if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
			continue
		}
		table := path.Base(dir)
		list, err := read(content)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[table] = append(out[table], list...)
	}
	for _, list := range out {
		slices.Sort(list)
	}
	return out
}

// read returns the rows of a part as JSON, by the names of its columns. It does not use
// the types that the rows were written from.
func read(part string) (out []string, err error) {
	f, err := parquet.OpenFile(strings.NewReader(part), int64(len(part)))
	if err != nil {
		return nil, err
	}
	columns := f.Schema().Columns()
	for _, g := range f.RowGroups() {
		r := g.Rows()
		defer r.Close()
		buf := make([]parquet.Row, 64)
		for {
			n, err := r.ReadRows(buf)
			for _, row := range buf[:n] {
				m := map[string]any{}
				row.Range(func(i int, values []parquet.Value) bool {
					leaf, _ := f.Schema().Lookup(columns[i]...)
					if len(columns[i]) == 1 {
						m[columns[i][0]] = plain(values[0])
						return true
					}
					list := []any{}
					for _, v := range values {
						switch {
						case v.DefinitionLevel() == leaf.MaxDefinitionLevel:
							list = append(list, plain(v))
						case leaf.MaxDefinitionLevel == 2 && v.DefinitionLevel() == 0: // the list is optional
							list = nil
						}
					}
					if list != nil {
						m[columns[i][0]] = list
					}
					return true
				})
				out = append(out, asText(m))
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func plain(v parquet.Value) any {
	switch {
	case v.IsNull():
		return nil
	case v.Kind() == parquet.Boolean:
		return v.Boolean()
	case v.Kind() == parquet.Int32:
		return v.Int32()
	case v.Kind() == parquet.Int64:
		return v.Int64()
	case v.Kind() == parquet.Double:
		return v.Double()
	}
	return string(v.ByteArray())
}

// asText is a row as JSON without what is null.
func asText(row any) string {
	text, err := json.Marshal(row)
	if err != nil {
		panic(err)
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(text, &m); err != nil {
		panic(err)
	}
	maps.DeleteFunc(m, func(_ string, v json.RawMessage) bool { return string(v) == "null" })
	text, _ = json.Marshal(m)
	return string(text)
}

// want is what the tables of a list are.
func want(list []*inspect.Scanned) map[string][]string {
	out := map[string][]string{}
	add := func(table string, row any) {
		out[table] = append(out[table], asText(row))
	}
	for _, s := range list {
		add("releases", s.Release)
		for _, r := range s.Files {
			add("files", r)
		}
		for r := range s.Tensors {
			add("tensors", r)
		}
		for _, r := range s.Findings {
			add("findings", r)
		}
	}
	for _, list := range out {
		slices.Sort(list)
	}
	return out
}

func same(t *testing.T, got, want map[string][]string) {
	t.Helper()
	for _, table := range slices.Sorted(maps.Keys(want)) {
		if g, w := got[table], want[table]; !slices.Equal(g, w) {
			t.Fatalf("%s has %d rows, and should have %d; more: %.600s; fewer: %.600s", table, len(g), len(w), fmt.Sprint(minus(g, w)), fmt.Sprint(minus(w, g)))
		}
	}
}

func minus(a, b []string) (out []string) {
	for _, x := range a {
		if !slices.Contains(b, x) {
			out = append(out, x)
		}
	}
	return out
}

// tree returns the files below a directory.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		out[filepath.ToSlash(rel)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTables(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "table")
	list := several(40)
	must(t, run(txn.OS{}, dir, list, Options{Rows: 50}))
	files := tree(t, dir)
	same(t, rows(t, files), want(list))

	// Every group has a part in each table, and nothing else is left.
	groups := map[string]int{}
	for name := range files {
		table, part, ok := strings.Cut(name, "/")
		if !ok {
			if name != markName {
				t.Errorf("%s is left", name)
			}
			continue
		}
		if table == "stats" {
			t.Errorf("%s: there are no values", name)
		}
		groups[part]++
	}
	if len(groups) < 4 {
		t.Errorf("%d groups of 50 tensors for 200", len(groups))
	}
	for part, n := range groups {
		if n != 4 {
			t.Errorf("%s is in %d tables", part, n)
		}
	}

	// What is written again has the same names and bytes.
	twin := filepath.Join(t.TempDir(), "table")
	must(t, run(txn.OS{}, twin, list, Options{Rows: 50}))
	if !maps.Equal(tree(t, twin), files) {
		t.Error("the same releases do not give the same files")
	}

	if err := run(txn.OS{}, dir, list, Options{Rows: 50}); err == nil || !strings.Contains(err.Error(), "already has tables; --resume") {
		t.Errorf("a second run without --resume: %v", err)
	}
	must(t, run(txn.OS{}, dir, list, Options{Rows: 50, Resume: true}))
	same(t, rows(t, tree(t, dir)), want(list))
}

// A reader that looks for one repository reads few row groups: each says what it has.
func TestRowGroups(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "table")
	var list []*inspect.Scanned
	for i := range 5 {
		list = append(list, scanned(fmt.Sprintf("repo-%d", 4-i), groupRows/3))
	}
	list = append(list, scanned("repo-5", 2*groupRows+10))
	must(t, run(txn.OS{}, dir, list, Options{}))
	names, err := filepath.Glob(filepath.Join(dir, "tensors", "*.parquet"))
	must(t, err)
	if len(names) != 1 {
		t.Fatalf("%d parts", len(names))
	}
	f, err := os.Open(names[0])
	must(t, err)
	defer f.Close()
	st, err := f.Stat()
	must(t, err)
	file, err := parquet.OpenFile(f, st.Size())
	must(t, err)
	var got []string
	for _, g := range file.Metadata().RowGroups {
		if g.NumRows > groupRows {
			t.Errorf("a row group has %d rows", g.NumRows)
		}
		if len(g.SortingColumns) != 2 {
			t.Errorf("a row group is sorted by %d columns", len(g.SortingColumns))
		}
		for _, c := range g.Columns {
			if slices.Equal(c.MetaData.PathInSchema, []string{"repository"}) {
				got = append(got, fmt.Sprintf("%s-%s", c.MetaData.Statistics.MinValue, c.MetaData.Statistics.MaxValue))
			}
		}
	}
	if want := []string{"repo-3-repo-4", "repo-1-repo-2", "repo-0-repo-0", "repo-5-repo-5", "repo-5-repo-5", "repo-5-repo-5"}; !slices.Equal(got, want) {
		t.Errorf("row groups %q, want %q", got, want)
	}
	all, err := parquet.ReadFile[inspect.ScannedTensor](names[0])
	must(t, err)
	for start := int64(0); len(file.Metadata().RowGroups) > 0; {
		g := file.Metadata().RowGroups[0]
		file.Metadata().RowGroups = file.Metadata().RowGroups[1:]
		if !slices.IsSortedFunc(all[start:start+g.NumRows], func(a, b inspect.ScannedTensor) int {
			return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(*a.File, *b.File), cmp.Compare(a.Name, b.Name))
		}) {
			t.Errorf("the row group from row %d on is not sorted", start)
		}
		start += g.NumRows
	}
}

func TestDuplicates(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "table")
	list := several(20)
	must(t, run(txn.OS{}, dir, slices.Concat(list, list), Options{Rows: 20}))
	same(t, rows(t, tree(t, dir)), want(list))
}

// What was not committed in time is committed by the clock.
func TestEvery(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "table")
	w, err := Create(txn.OS{}, dir, Options{Version: version, Every: time.Nanosecond})
	must(t, err)
	must(t, w.Write(scanned("a", 3)))
	same(t, rows(t, tree(t, dir)), want([]*inspect.Scanned{scanned("a", 3)}))
	must(t, w.Close())
}

func TestResume(t *testing.T) {
	const turns = 5 // how many parts each table has
	list := several(40)
	changed := slices.Clone(list)
	for i, s := range changed {
		if s.Release.Repository == "repo-016" {
			changed[i] = scanned("repo-016", 5)
			changed[i].Release.State = "another"
		}
	}
	// one names a part, the next time another of the table: some are the same when they are
	// done again, and some are not.
	turn := 0
	one := func(t *testing.T, dir, table string) string {
		names, err := filepath.Glob(filepath.Join(dir, table, "*.parquet"))
		must(t, err)
		if len(names) != turns {
			t.Fatalf("%d parts of %s", len(names), table)
		}
		return names[turn]
	}
	flip := func(t *testing.T, name string, at int64) {
		text, err := os.ReadFile(name)
		must(t, err)
		text[(int64(len(text))+at)%int64(len(text))] ^= 4
		must(t, os.WriteFile(name, text, 0o666))
	}
	tests := map[string]struct {
		damage func(t *testing.T, dir string)
		list   []*inspect.Scanned
		note   string
	}{
		"nothing": {func(*testing.T, string) {}, list, ""},
		"another state": {
			func(*testing.T, string) {}, changed, "",
		},
		"a part is missing": {func(t *testing.T, dir string) {
			must(t, os.Remove(one(t, dir, "tensors")))
		}, list, "the part of tensors is missing; its inputs are done again"},
		"a byte of data":            {func(t *testing.T, dir string) { flip(t, one(t, dir, "findings"), 10) }, list, "the part of findings is not as it was written"},
		"a byte of a footer":        {func(t *testing.T, dir string) { flip(t, one(t, dir, "files"), -20) }, list, "the part of files is not as it was written"},
		"cut off":                   {func(t *testing.T, dir string) { must(t, os.Truncate(one(t, dir, "tensors"), 7)) }, list, "the part of tensors is not as it was written"},
		"a byte of the releases":    {func(t *testing.T, dir string) { flip(t, one(t, dir, "releases"), 12) }, list, "its content does not have the digest in its name"},
		"the releases' length":      {func(t *testing.T, dir string) { flip(t, one(t, dir, "releases"), -6) }, list, "its content does not have the digest in its name"},
		"no releases":               {func(t *testing.T, dir string) { must(t, os.Remove(one(t, dir, "releases"))) }, list, ""},
		"an empty part of releases": {func(t *testing.T, dir string) { must(t, os.Truncate(one(t, dir, "releases"), 0)) }, list, "does not have the digest"},
		"temporaries": {func(t *testing.T, dir string) {
			for _, sub := range []string{"tensors/", "releases/", ""} {
				must(t, os.WriteFile(filepath.Join(dir, sub+".part-00000-of-00001.wtinspect-0123456789abcdef.tmp"), []byte("half"), 0o666))
			}
		}, list, ""},
	}
	for i, name := range slices.Sorted(maps.Keys(tests)) {
		tt := tests[name]
		for turn = range turns {
			if !sweep.Has(i+turn, 3) {
				continue
			}
			t.Run(name, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "table")
				must(t, run(txn.OS{}, dir, list, Options{Rows: 50}))
				tt.damage(t, dir)
				var notes []string
				o := Options{Rows: 50, Resume: true, Note: func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }}
				must(t, run(txn.OS{}, dir, tt.list, o))
				files := tree(t, dir)
				same(t, rows(t, files), want(tt.list))
				for n := range files {
					if strings.HasPrefix(path.Base(n), ".") {
						t.Errorf("%s is left", n)
					}
				}
				if text := strings.Join(notes, "\n"); !strings.Contains(text, tt.note) || (tt.note == "") != (text == "") || len(notes) > 1 {
					t.Errorf("notes %q, want one of %q", notes, tt.note)
				}
			})
		}
	}
}

// listed has another run go on with some of the releases, and returns what it notes and what
// readers see afterwards.
func listed(t *testing.T, dir string, list []*inspect.Scanned) (notes string, seen map[string][]string, err error) {
	t.Helper()
	var all []string
	err = run(txn.OS{}, dir, list, Options{Rows: 50, Resume: true, Note: func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }})
	files := tree(t, dir)
	for n := range files {
		if strings.HasPrefix(path.Base(n), ".") {
			t.Errorf("%s is left", n)
		}
	}
	return strings.Join(all, "\n"), rows(t, files), err
}

// with is a list in which some releases are others.
func with(list []*inspect.Scanned, others ...*inspect.Scanned) []*inspect.Scanned {
	out := slices.Clone(list)
	for _, o := range others {
		i := slices.IndexFunc(out, func(s *inspect.Scanned) bool { return s.Release.Repository == o.Release.Repository })
		out[i] = o
	}
	return out
}

// other is a release as it is after a change.
func other(repository string, tensors int) *inspect.Scanned {
	s := scanned(repository, tensors)
	s.Release.State = "another"
	return s
}

// Rows of releases that are not listed any more stay, of those that failed as well, whatever
// became of the others of their parts.
func TestNotListed(t *testing.T) {
	list := several(40)
	tests := map[string][]*inspect.Scanned{
		"nothing":            nil,
		"one as it was":      {list[1]},
		"one that changed":   {other("repo-016", 5)},
		"several":            {other("repo-016", 5), other("repo-013x", 0), list[5], other("repo-037x", 70), other("repo-010", 1)},
		"one that failed":    {scanned("repo-031x", 3)},
		"one that fails now": {bad("repo-016", "bad_settings")},
	}
	for name, now := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "table")
			must(t, run(txn.OS{}, dir, list, Options{Rows: 50}))
			notes, seen, err := listed(t, dir, now)
			must(t, err)
			same(t, seen, want(with(list, now...)))
			if notes != "" {
				t.Errorf("notes %q", notes)
			}
			// What was carried over is known as it was.
			_, again, err := listed(t, dir, with(list, now...))
			must(t, err)
			same(t, again, seen)
		})
	}
}

// bad is a release that fails.
func bad(repository, code string) *inspect.Scanned {
	s := failed(repository)
	s.Release.State, s.Release.ErrorCode = "another", &code
	return s
}

// What cannot be read for now keeps the rows that it has; what failed before has none to keep.
func TestPassing(t *testing.T) {
	list := several(40)
	dir := filepath.Join(t.TempDir(), "table")
	must(t, run(txn.OS{}, dir, list, Options{Rows: 50}))
	for _, code := range []string{"not_found", "no_weights", "forbidden", "gated", "rate_limited", "server_error", "unreachable", "io_error"} {
		notes, seen, err := listed(t, dir, with(list, bad("repo-016", code)))
		must(t, err)
		same(t, seen, want(list))
		if want := "repo-016 cannot be read now (" + code + "), and its rows stay"; notes != want {
			t.Errorf("notes %q, want %q", notes, want)
		}
	}
	// In an outage there is one note for many.
	var out []*inspect.Scanned
	for _, s := range list {
		out = append(out, bad(s.Release.Repository, "unreachable"))
	}
	notes, seen, err := listed(t, dir, out)
	must(t, err)
	var after []*inspect.Scanned
	kept := 0
	for i, s := range list {
		if s.Release.ErrorCode != nil {
			s = out[i]
		} else {
			kept++
		}
		after = append(after, s)
	}
	same(t, seen, want(after))
	if n := strings.Count(notes, "\n"); n != maxNoted || !strings.HasSuffix(notes, fmt.Sprintf("and %d more inputs like these", kept-maxNoted)) {
		t.Errorf("%d notes: %s", n, notes)
	}
}

// Rows that are damaged and that nothing replaces are lost, and it is said whose.
func TestLost(t *testing.T) {
	list := several(40)
	for _, table := range []string{"tensors", "files", releases} {
		for what, damage := range map[string]func(name string) error{
			"a byte":  func(name string) error { return flipped(name) },
			"cut off": func(name string) error { return os.Truncate(name, 0) },
		} {
			t.Run(table+", "+what, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "table")
				must(t, run(txn.OS{}, dir, list, Options{Rows: 50}))
				names, err := filepath.Glob(filepath.Join(dir, table, "*.parquet"))
				must(t, err)
				i := slices.IndexFunc(names, func(name string) bool { // not that of what failed
					text, err := os.ReadFile(filepath.Join(dir, "files", filepath.Base(name)))
					must(t, err)
					rows, err := read(string(text))
					must(t, err)
					return len(rows) > 4
				})
				name := filepath.Base(names[i])
				part, err := os.ReadFile(filepath.Join(dir, releases, name))
				must(t, err)
				held, err := read(string(part))
				must(t, err)
				var now, left []*inspect.Scanned
				var lost []string
				for _, s := range list {
					repository := s.Release.Repository
					switch in := slices.ContainsFunc(held, func(row string) bool { return strings.Contains(row, `"`+repository+`"`) }); {
					case !in:
						left = append(left, s)
					case len(now) < 2:
						now, left = append(now, s), append(left, s)
					default:
						lost = append(lost, repository)
					}
				}
				slices.Sort(lost)
				must(t, damage(filepath.Join(dir, table, name)))
				notes, seen, err := listed(t, dir, now)
				if want := "lost: " + strings.Join(lost, ", "); err == nil || err.Error() != want {
					t.Errorf("%v, want %s", err, want)
				}
				same(t, seen, want(left))
				if !strings.Contains(notes, "damaged") {
					t.Errorf("notes %q", notes)
				}
				_, seen, err = listed(t, dir, list)
				must(t, err)
				same(t, seen, want(list))
			})
		}
	}
}

// Of what failed the part of releases alone has the names.
func TestLostNames(t *testing.T) {
	list := several(40)
	dir := filepath.Join(t.TempDir(), "table")
	must(t, run(txn.OS{}, dir, list, Options{}))
	names, err := filepath.Glob(filepath.Join(dir, releases, "*.parquet"))
	must(t, err)
	for _, name := range names {
		text, err := os.ReadFile(name)
		must(t, err)
		if strings.Contains(string(text), "not_found") {
			must(t, flipped(name))
		}
	}
	notes, seen, err := listed(t, dir, nil)
	must(t, err)
	same(t, seen, want(slices.DeleteFunc(slices.Clone(list), func(s *inspect.Scanned) bool { return s.Release.ErrorCode != nil })))
	if !strings.Contains(notes, "nothing says which they were: rows of those that are not listed now are lost") {
		t.Errorf("notes %q", notes)
	}
}

func flipped(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	text[len(text)/2] ^= 4
	return os.WriteFile(name, text, 0o666)
}

// What others have put into the directory stays, and what could be taken for a part and
// is none is refused.
func TestForeign(t *testing.T) {
	list := several(20)
	write := func(name, text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777))
			must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666))
		}
	}
	tests := map[string]struct {
		first, second Options // no run where Rows is 0
		between       func(t *testing.T, dir string)
		err           string
	}{
		"other files": {
			Options{Rows: 20},
			Options{Rows: 20, Resume: true},
			write("tensors/notes.txt", "mine"), "",
		},
		"parts of nobody": {
			Options{},
			Options{Rows: 20},
			write("tensors/mine.parquet", "mine"), "mine.parquet already exists, and there is no _wtinspect.json that says what wrote it; name another directory",
		},
		"a directory of something else": {
			Options{},
			Options{Rows: 20},
			write("README.md", "mine"), "",
		},
		"a part that is a link": {
			Options{Rows: 20},
			Options{Rows: 20, Resume: true},
			func(t *testing.T, dir string) {
				must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "releases", "part-00000-of-00001-0123456789abcdef0123456789abcdef.parquet")))
			}, "is a symbolic link, not a regular file",
		},
		"a table that is a link": {
			Options{},
			Options{Rows: 20},
			func(t *testing.T, dir string) {
				must(t, os.Mkdir(dir, 0o777))
				must(t, os.Symlink(t.TempDir(), filepath.Join(dir, "tensors")))
			}, "is a symbolic link, and files are only changed below real directories",
		},
		"another version": {
			Options{Rows: 20},
			Options{Rows: 20, Resume: true},
			write(markName, `{"schema_version":1,"tool_version":"v9.9.9","shards":1,"values":false}`),
			"its tables were written by wtinspect v9.9.9 (schema 1), and this is v1.2.3 (schema 1); name another directory",
		},
		"another schema": {
			Options{Rows: 20},
			Options{Rows: 20, Resume: true},
			write(markName, `{"schema_version":2,"tool_version":"v1.2.3","shards":1,"values":false}`), "(schema 2), and this is v1.2.3 (schema 1)",
		},
		"no JSON": {Options{Rows: 20}, Options{Rows: 20, Resume: true}, write(markName, `{`), "it does not say what wrote the tables"},
		"as many shards": {
			Options{Rows: 20, Shards: 2},
			Options{Rows: 20, Shards: 3, Resume: true},
			func(*testing.T, string) {}, "are those of 2 shards, and this run is one of 3",
		},
		"values": {
			Options{Rows: 20},
			Options{Rows: 20, Values: true, Resume: true},
			func(*testing.T, string) {}, "its tables were written without --values",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "table")
			if tt.first.Rows > 0 {
				must(t, run(txn.OS{}, dir, list, tt.first))
			}
			tt.between(t, dir)
			before := tree(t, dir)
			err := run(txn.OS{}, dir, list, tt.second)
			if tt.err == "" {
				must(t, err)
			} else if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			after := tree(t, dir)
			for n, text := range before {
				if after[n] != text {
					t.Errorf("%s was changed", n)
				}
			}
		})
	}
}

// A part of releases that has the digest of its content in its name, and was written by
// somebody else, is refused and stays.
func TestForged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "table")
	list := several(20)
	must(t, run(txn.OS{}, dir, list, Options{}))
	w := &Writer{options: Options{Shards: 1}}
	for name, text := range map[string]string{
		"text":     "no Parquet at all",
		"nothing":  "",
		"brackets": "PAR1PAR1",
		"lengths":  "PAR1\xff\xff\xff\x7fPAR1",
	} {
		sum, err := digest(strings.NewReader(text), int64(len(text)))
		must(t, err)
		p := filepath.Join(dir, releases, w.prefix()+"-"+sum[:digits]+ending)
		must(t, os.WriteFile(p, []byte(text), 0o666))
		if err := run(txn.OS{}, dir, list, Options{Resume: true}); err == nil || !strings.Contains(err.Error(), filepath.Base(p)) {
			t.Errorf("%s: error %v", name, err)
		}
		if got, err := os.ReadFile(p); err != nil || string(got) != text {
			t.Errorf("%s: %v", name, err)
		}
		must(t, os.Remove(p))
	}
}

func TestShards(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "table")
	list := several(40)
	a, err := Create(txn.OS{}, dir, Options{Version: version, Shard: 0, Shards: 2})
	must(t, err)
	if _, err := Create(txn.OS{}, dir, Options{Version: version, Shard: 0, Shards: 2}); err == nil || !strings.Contains(err.Error(), "another run is writing shard 0 of 2") {
		t.Errorf("two runs on a shard: %v", err)
	}
	b, err := Create(txn.OS{}, dir, Options{Version: version, Shard: 1, Shards: 2})
	must(t, err)
	for i, s := range list {
		must(t, []*Writer{a, b}[i%2].Write(s))
	}
	for _, w := range []*Writer{a, b} {
		must(t, w.Commit())
		must(t, w.Close())
	}
	same(t, rows(t, tree(t, dir)), want(list))
}

func TestLeftOut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "table")
	w, err := Create(txn.OS{}, dir, Options{Version: version})
	must(t, err)
	must(t, w.Write(scanned("a", 3)))
	must(t, w.Close())
	if files := tree(t, dir); len(files) != 1 {
		t.Errorf("what was not committed is left: %q", slices.Collect(maps.Keys(files)))
	}
}

// TestPowerLoss takes the power at each call that changes the disk, resumes, and
// compares the tables with those of a run that nothing disturbed.
func TestPowerLoss(t *testing.T) {
	list := several(24)
	o := Options{Rows: 40}
	count := disktest.New(txn.Features{Block: 4096, Free: -1})
	count.MakeDir("top")
	must(t, run(count, "top/table", list, o))
	calls := count.Calls
	changed := slices.Clone(list)
	changed[5] = scanned(changed[5].Release.Repository, 9)
	changed[5].Release.State = "another"

	for at := range calls {
		if !sweep.Has(at, 5) {
			continue
		}
		rng := rand.New(rand.NewPCG(1, uint64(at)))
		d := disktest.New(txn.Features{Block: 4096, Free: -1})
		d.MakeDir("top")
		stop := func(at int) {
			n := 0
			d.Fault = func(string, string) (bool, error) {
				if n++; n > at {
					d.Dead = true
					return true, disktest.ErrDead
				}
				return false, nil
			}
		}
		power := func() {
			if at%3 == 0 {
				d.Crash(nil) // the process died alone
			} else {
				d.Crash(rng)
			}
		}
		stop(at)
		if err := run(d, "top/table", list, o); err == nil {
			t.Fatalf("call %d: no error", at)
		}
		power()
		// The run that resumes is interrupted as well.
		o.Resume = true
		stop(rng.IntN(calls))
		_ = run(d, "top/table", changed, o)
		power()
		d.Fault = nil
		if err := run(d, "top/table", changed, o); err != nil {
			t.Fatalf("call %d: %v", at, err)
		}
		same(t, rows(t, d.Tree()), want(changed))
		o.Resume = false
	}
	t.Logf("%d calls", calls)
}

// TestPowerLossReplacing takes the power at each call of a run that replaces some releases and
// lists no others. Readers never see a release twice, and in the end none is lost.
func TestPowerLossReplacing(t *testing.T) {
	list := several(12)
	now := []*inspect.Scanned{other(list[1].Release.Repository, 9), scanned(list[3].Release.Repository, 2), other(list[8].Release.Repository, 1)}
	all := want(with(list, now...))
	o := Options{Rows: 30}
	begin := func() *disktest.Disk {
		d := disktest.New(txn.Features{Block: 4096, Free: -1})
		d.MakeDir("top")
		must(t, run(d, "top/table", list, o))
		return d
	}
	resume := o
	resume.Resume = true
	count := begin()
	before := count.Calls
	must(t, run(count, "top/table", now, resume))
	same(t, rows(t, count.Tree()), all)
	calls := count.Calls - before
	for at := range calls {
		if !sweep.Has(at, 5) {
			continue
		}
		d := begin()
		n := 0
		d.Fault = func(string, string) (bool, error) {
			if n++; n > at {
				d.Dead = true
				return true, disktest.ErrDead
			}
			return false, nil
		}
		if err := run(d, "top/table", now, resume); err == nil {
			t.Fatalf("call %d: no error", at)
		}
		if at%3 == 0 {
			d.Crash(nil)
		} else {
			d.Crash(rand.New(rand.NewPCG(3, uint64(at))))
		}
		d.Fault = nil
		seen := map[string]bool{}
		for _, row := range rows(t, d.Tree())[releases] {
			var r struct{ Repository string }
			must(t, json.Unmarshal([]byte(row), &r))
			if seen[r.Repository] {
				t.Fatalf("call %d: readers see %s twice", at, r.Repository)
			}
			seen[r.Repository] = true
		}
		if err := run(d, "top/table", now, resume); err != nil {
			t.Fatalf("call %d: %v", at, err)
		}
		same(t, rows(t, d.Tree()), all)
	}
	t.Logf("%d calls", calls)
}

// TestFullDisk has every call fail from one on, as on a disk without room: the run says
// so, what it has committed is whole, and the next run completes it.
func TestFullDisk(t *testing.T) {
	list := several(24)
	o := Options{Rows: 40}
	count := disktest.New(txn.Features{Block: 4096, Free: -1})
	count.MakeDir("top")
	must(t, run(count, "top/table", list, o))
	full, step := 0, 3
	if testing.Short() {
		step = 19
	}
	for at := 0; at < count.Calls; at += step {
		d := disktest.New(txn.Features{Block: 4096, Free: -1})
		d.MakeDir("top")
		n := 0
		d.Fault = func(call, _ string) (bool, error) {
			if n++; n > at && slices.Contains([]string{"create", "mkdir", "write", "sync"}, call) {
				return true, syscall.ENOSPC
			}
			return false, nil
		}
		err := run(d, "top/table", list, o)
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("call %d: error %v", at, err)
		}
		if err != nil {
			full++
		}
		got := rows(t, d.Tree())
		for _, table := range []string{"files", "tensors", "findings"} {
			if extra := minus(got[table], want(list)[table]); len(extra) > 0 {
				t.Fatalf("call %d: %s has %q", at, table, extra)
			}
		}
		d.Fault = nil
		o.Resume = true
		must(t, run(d, "top/table", list, o))
		same(t, rows(t, d.Tree()), want(list))
		o.Resume = false
	}
	if full < count.Calls/(2*step) {
		t.Errorf("of %d runs only %d failed", count.Calls, full)
	}
}

// A write that fails commits nothing afterwards.
func TestBroken(t *testing.T) {
	d := disktest.New(txn.Features{Block: 4096, Free: -1})
	d.MakeDir("top")
	w, err := Create(d, "top/table", Options{Version: version, Rows: 2})
	must(t, err)
	d.Fault = func(string, string) (bool, error) { return false, syscall.EIO }
	if err := w.Write(scanned("a", 3)); !errors.Is(err, syscall.EIO) {
		t.Fatalf("error %v", err)
	}
	d.Fault = nil
	if err := w.Write(scanned("b", 3)); !errors.Is(err, syscall.EIO) {
		t.Errorf("error %v", err)
	}
	if err := w.Commit(); !errors.Is(err, syscall.EIO) {
		t.Errorf("error %v", err)
	}
	must(t, w.Close())
	if got := rows(t, d.Tree()); len(got) != 0 {
		t.Errorf("there are rows: %v", got)
	}
}

// Names are as long as paths are.
func TestLongNames(t *testing.T) {
	dir := t.TempDir()
	list := []*inspect.Scanned{scanned("/"+strings.Repeat("models/", 580), 3), scanned("/"+strings.Repeat("m", 4000), 3)}
	must(t, run(txn.OS{}, dir, list, Options{}))
	must(t, run(txn.OS{}, dir, list, Options{Resume: true, Note: t.Errorf}))
	same(t, rows(t, tree(t, dir)), want(list))
}
