package txn

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, os.WriteFile(p, []byte(text), 0o644))
	}
}

// snapshot returns the content of every file below a directory, but for links.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		out[filepath.ToSlash(rel)] = string(b)
		return err
	}))
	return out
}

func openDir(t testing.TB, path string) Dir {
	t.Helper()
	d, err := OS{}.OpenDir(path)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

const testID = "0123456789abcdef"

var testTemp = fmt.Sprintf(tempPattern, testID, 0)

// writeJournal writes a journal that may be one that this package would not
// write. Where an entry has no identity it gets that of the file that it names.
func writeJournal(t *testing.T, dir string, r *record, forward bool) {
	t.Helper()
	d := openDir(t, dir)
	name := filepath.Join(dir, JournalName)
	must(t, os.WriteFile(name, nil, 0o644))
	stamp := func(id *identity, name string) {
		if st, err := d.Lstat(name); err == nil && *id == (identity{}) {
			size := id.size
			if *id = identify(st); size != 0 {
				id.size = size
			}
		}
	}
	if r.id == "" {
		r.id = testID
	}
	stamp(&r.self, JournalName)
	for _, s := range r.shifts {
		stamp(&s.was, s.Name)
		s.oldSize, s.newSize = int64(len(s.OldHeader)), int64(len(s.NewHeader))
	}
	for _, s := range r.swaps {
		stamp(&s.was, s.Name)
	}
	for _, m := range r.moves {
		stamp(&m.was, m.Name)
	}
	p := encode(r)
	sum := sha256.Sum256(p)
	b := slices.Concat(binary.LittleEndian.AppendUint64([]byte(journalMagic), uint64(len(p))), p, sum[:])
	if forward {
		b = append(b, (&journal{sum: sum}).markBytes()...)
	}
	must(t, os.WriteFile(name, b, 0o644))
}

func encode(r *record) []byte {
	var b bytes.Buffer
	_ = r.write(&b)
	return b.Bytes()
}

func recovered(dir string) (Outcome, error) {
	return Recover(context.Background(), OS{}, dir, false)
}

// A journal that is to be finished replaces no program, and nothing by what
// has another content than it says.
func TestHostileSwap(t *testing.T) {
	script := "#!/bin/sh\n"
	for name, s := range map[string]*Swap{
		"a program":       {Name: "run.sh", temp: testTemp, Size: 10, Head: 10, Sum: sha256.Sum256([]byte(script))},
		"a settings file": {Name: "package.json", temp: testTemp, Size: 10, Head: 10, Sum: sha256.Sum256([]byte(script))},
		"another content": {Name: "config.json", temp: testTemp, Size: 10, Head: 10},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, map[string]string{s.Name: "old", s.temp: script})
			writeJournal(t, dir, &record{swaps: []*Swap{s}}, true)
			all := snapshot(t, dir)
			if got, err := recovered(dir); err == nil && got != Undone {
				t.Errorf("%q: the journal was followed", got)
			}
			delete(all, s.temp) // it is the journal's own, and may be taken back
			got := snapshot(t, dir)
			delete(got, s.temp)
			delete(got, JournalName)
			delete(all, JournalName)
			if !maps.Equal(all, got) {
				t.Errorf("something changed: %q", got)
			}
		})
	}
}

// A journal that was damaged after it was complete is kept, and said.
func TestDamagedJournal(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"config.json": "old", testTemp: "new"})
	writeJournal(t, dir, &record{swaps: []*Swap{{Name: "config.json", temp: testTemp, Size: 3, Head: 3, Sum: sha256.Sum256([]byte("new"))}}}, false)
	name := filepath.Join(dir, JournalName)
	whole, err := os.ReadFile(name)
	must(t, err)
	rewrite := func(b []byte) {
		t.Helper()
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644) // the same file, by its inode
		must(t, err)
		_, err = f.Write(b)
		must(t, errors.Join(err, f.Close()))
	}
	for what, b := range map[string][]byte{
		"cut off": whole[:len(whole)-1],
		"a bit":   slices.Concat(whole[:len(whole)-40], []byte{whole[len(whole)-40] ^ 1}, whole[len(whole)-39:]),
		"short":   whole[:len(journalMagic)+3],
	} {
		rewrite(b)
		all := snapshot(t, dir)
		if got, err := recovered(dir); !errors.Is(err, errJournal) {
			t.Errorf("%s: %q, %v", what, got, err)
		}
		if Pending(OS{}, filepath.Join(dir, "config.json")) != dir || !maps.Equal(all, snapshot(t, dir)) {
			t.Errorf("%s: something changed", what)
		}
	}
	// Without all of its first line it was never complete.
	for n := range len(journalMagic) {
		rewrite(slices.Concat([]byte(journalMagic[:n]), make([]byte, len(journalMagic)-n), whole[len(journalMagic):]))
		if got, err := recovered(dir); got != Nothing || err != nil || Pending(OS{}, dir) != "" {
			t.Errorf("%d bytes of the first line: %q, %v", n, got, err)
		}
	}
}

// What somebody put in the place of a file after a crash is not overwritten.
func TestRecoverForeign(t *testing.T) {
	for _, forward := range []bool{false, true} {
		dir := t.TempDir()
		old, now := "GGUF the old header ", "GGUF the new header "
		write(t, dir, map[string]string{"m.gguf": "GGUF something else." + "data"})
		writeJournal(t, dir, &record{shifts: []*Shift{{Name: "m.gguf", OldHeader: []byte(old), NewHeader: []byte(now)}}}, forward)
		all := snapshot(t, dir)
		if _, err := recovered(dir); !errors.Is(err, ErrChanged) {
			t.Errorf("forward %v: %v", forward, err)
		}
		if !maps.Equal(all, snapshot(t, dir)) {
			t.Errorf("forward %v: something changed", forward)
		}
		write(t, dir, map[string]string{"m.gguf": now[:14] + old[14:] + "data"}) // cut off by a crash
		if _, err := recovered(dir); err != nil {
			t.Errorf("forward %v: %v", forward, err)
		}
		want := old
		if forward {
			want = now
		}
		if got := snapshot(t, dir)["m.gguf"]; got != want+"data" {
			t.Errorf("forward %v: %q", forward, got)
		}
	}
}

// TestHostileJournal recovers with journals that a release may bring along,
// whose authors know even the identities of the files.
func TestHostileJournal(t *testing.T) {
	x := []byte("x")
	gguf := []byte("GGUF")
	config := func(s Swap) []*Swap {
		s.Name, s.Size, s.Head, s.Sum = "config.json", 3, 3, sha256.Sum256([]byte("new"))
		return []*Swap{&s}
	}
	for name, r := range map[string]*record{
		"leaves the directory":    {shifts: []*Shift{{Name: "../victim", OldHeader: x, NewHeader: x}}},
		"absolute":                {shifts: []*Shift{{Name: "/etc/passwd", OldHeader: x, NewHeader: x}}},
		"through a link":          {shifts: []*Shift{{Name: "link/victim", OldHeader: x, NewHeader: x}}},
		"a link":                  {shifts: []*Shift{{Name: "filelink", OldHeader: x, NewHeader: x}}},
		"the journal itself":      {shifts: []*Shift{{Name: JournalName, OldHeader: x, NewHeader: x}}},
		"not clean":               {shifts: []*Shift{{Name: "sub/../kept", OldHeader: gguf, NewHeader: gguf}}},
		"removes another file":    {swaps: config(Swap{temp: "kept"})},
		"removes outside":         {swaps: config(Swap{temp: "../" + testTemp})},
		"removes another run's":   {swaps: config(Swap{temp: ".wtinspect-fedcba9876543210-0.tmp"})},
		"keeps outside":           {swaps: config(Swap{temp: testTemp, Keep: "../kept.json"})},
		"keeps over a program":    {swaps: config(Swap{temp: testTemp, Keep: "run.sh"})},
		"moves to another place":  {moves: []*Move{{Name: "kept", To: "elsewhere"}}},
		"moves out":               {moves: []*Move{{Name: "kept", To: "../" + AsideName + "/kept"}}},
		"moves from outside":      {moves: []*Move{{Name: "../victim", To: "../" + AsideName + "/victim"}}},
		"numbers out of range":    {shifts: []*Shift{{Name: "kept", OldHeader: x, NewHeader: []byte("xxxx"), Off: 9, N: 3, Block: 1}}},
		"extents out of order":    {shifts: []*Shift{{Name: "kept", Block: 1, Extents: []Extent{{4, 5}, {1, 2}}}}},
		"more extents than bytes": {shifts: []*Shift{{Name: "kept", Block: 1, Extents: make([]Extent, 100)}}},
		"hidden":                  {shifts: []*Shift{{Name: ".ssh/config", OldHeader: gguf, NewHeader: gguf}}},
		"hidden below":            {shifts: []*Shift{{Name: "a/.git/config", OldHeader: gguf, NewHeader: gguf}}},
		"headers of no format":    {shifts: []*Shift{{Name: "kept", OldHeader: []byte("kept"), NewHeader: []byte("evil")}}},
		"a header that differs":   {shifts: []*Shift{{Name: "kept", OldHeader: gguf, NewHeader: gguf}}},
		"samples beyond the end":  {shifts: []*Shift{{Name: "kept", Samples: []Sample{{Off: 5, N: 4}}}}},
		"an id that is a pattern": {id: "*bcdef0123456789", swaps: config(Swap{temp: testTemp})},
		"out of order":            {shifts: []*Shift{{Name: "kept", OldHeader: gguf, NewHeader: gguf}, {Name: "config.json", OldHeader: gguf, NewHeader: gguf}}},
		"made elsewhere":          {self: identity{ino: 1}, swaps: config(Swap{temp: testTemp})},
		"about another file":      {swaps: []*Swap{{Name: "config.json", temp: testTemp, Size: 9, Head: 9, was: identity{ino: 7, size: 3}}}},
	} {
		for _, forward := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/forward %v", name, forward), func(t *testing.T) {
				top := t.TempDir()
				dir := filepath.Join(top, "m")
				must(t, os.Mkdir(dir, 0o755))
				files := map[string]string{
					"victim": "victim", "m/kept": "kept12", "m/config.json": "old", "m/run.sh": "run", testTemp: "other",
					"m/.wtinspect-fedcba9876543210-0.tmp": "new", "m/a/.git/config": "GGUF", "m/.ssh/config": "GGUF",
				}
				write(t, top, files)
				if runtime.GOOS != "windows" {
					must(t, os.Symlink(top, filepath.Join(dir, "link")))
					must(t, os.Symlink(filepath.Join(top, "victim"), filepath.Join(dir, "filelink")))
				}
				one := *r
				writeJournal(t, dir, &one, forward)
				_, err := recovered(dir)
				if err == nil {
					t.Error("the journal was followed")
				}
				got := snapshot(t, top)
				for name, want := range files {
					if got[name] != want {
						t.Errorf("%s is %q (error %v)", name, got[name], err)
					}
				}
			})
		}
	}
}

// A journal costs no more than the files that it names: this one says a million
// times that nothing becomes of nothing.
func TestJournalCost(t *testing.T) {
	if testing.Short() {
		t.Skip("journals of a million names")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	for _, name := range []string{"one name", "many names"} {
		dir := t.TempDir()
		write(t, dir, map[string]string{"a": "GGUF"})
		e := new(bytes.Buffer)
		_ = (&record{id: testID, self: selfOf(t, dir)}).write(e)
		head := e.Bytes()[:len(e.Bytes())-3] // without the three counts
		var b bytes.Buffer
		b.Write(head)
		const n = 1 << 20
		enc := encoder{w: &b}
		enc.num(n)
		for i := range n {
			name := name
			if name == "many names" {
				name = fmt.Sprintf("n%07d", i)
			} else {
				name = "a"
			}
			enc.str(name)
			enc.identity(identity{})
			for range 7 { // block, off, n, extents, samples, two headers
				enc.num(0)
			}
		}
		enc.num(0)
		enc.num(0)
		sum := sha256.Sum256(b.Bytes())
		f, err := os.OpenFile(filepath.Join(dir, JournalName), os.O_WRONLY, 0)
		must(t, err)
		_, err = f.Write(slices.Concat(binary.LittleEndian.AppendUint64([]byte(journalMagic), uint64(b.Len())), b.Bytes(), sum[:]))
		must(t, errors.Join(err, f.Close()))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if got, err := recovered(dir); err == nil {
			t.Errorf("%s: %q: the journal was followed", name, got)
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
			t.Errorf("%s: a journal of %d bytes took %d bytes of memory", name, b.Len(), used)
		}
	}
}

// selfOf makes an empty journal and returns its identity.
func selfOf(t *testing.T, dir string) identity {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(dir, JournalName), nil, 0o644))
	st, err := openDir(t, dir).Lstat(JournalName)
	must(t, err)
	return identify(st)
}

// A release that was copied with a journal in it is recovered only by force.
func TestRecoverCopied(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no numbers there")
	}
	dir := t.TempDir()
	write(t, dir, map[string]string{"config.json": "old", testTemp: "new"})
	writeJournal(t, dir, &record{swaps: []*Swap{{Name: "config.json", temp: testTemp, Size: 3, Head: 3, Sum: sha256.Sum256([]byte("new"))}}}, true)
	copied := t.TempDir()
	write(t, copied, snapshot(t, dir))
	all := snapshot(t, copied)
	if got, err := recovered(copied); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "recover it with force") {
		t.Errorf("%q, %v", got, err)
	}
	if !maps.Equal(all, snapshot(t, copied)) {
		t.Error("something changed")
	}
	if got, err := Recover(context.Background(), OS{}, copied, true); got != Finished || err != nil {
		t.Errorf("by force: %q, %v", got, err)
	}
	if got := snapshot(t, copied); !maps.Equal(got, map[string]string{"config.json": "new"}) {
		t.Errorf("by force: %q", got)
	}
}

// A crash may come before a file that is to be made was begun, and in a recovery
// after it was removed again. No number of such entries costs much.
func TestRecoverBeforeCreation(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a.gguf": "GGUF"})
	made := func(n int) (out []*Swap) {
		for i := range n {
			out = append(out, &Swap{Name: fmt.Sprintf("m%06d.index.json", i), temp: fmt.Sprintf(tempPattern, testID, i), Size: 2, Head: 2})
		}
		return out
	}
	writeJournal(t, dir, &record{swaps: made(1)}, false)
	if got, err := recovered(dir); got != Undone || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got := snapshot(t, dir); len(got) != 1 {
		t.Errorf("%q", got)
	}
	writeJournal(t, dir, &record{swaps: made(maxAbsent + 1)}, false)
	if got, err := recovered(dir); !errors.Is(err, ErrChanged) {
		t.Errorf("%q, %v", got, err)
	}
}

// A file that another program has changed stops a recovery, which says what to do:
// moved away, the file is left out.
func TestRecoverWithoutChanged(t *testing.T) {
	for _, force := range []bool{false, true} {
		dir := t.TempDir()
		write(t, dir, map[string]string{"a.gguf": "GGUF new data", "b.gguf": "GGUF new data"})
		old, now := []byte("GGUF old"), []byte("GGUF new")
		writeJournal(t, dir, &record{shifts: []*Shift{{Name: "a.gguf", OldHeader: old, NewHeader: now}, {Name: "b.gguf", OldHeader: old, NewHeader: now}}}, false)
		must(t, os.Truncate(filepath.Join(dir, "b.gguf"), 3))
		if got, err := recovered(dir); err == nil || !strings.Contains(err.Error(), "b.gguf: ") || !strings.Contains(err.Error(), "move it away, and recover again") {
			t.Errorf("%q, %v", got, err)
		}
		must(t, os.Rename(filepath.Join(dir, "b.gguf"), filepath.Join(t.TempDir(), "b.gguf")))
		// By force it is known that the file is left out.
		if got, err := Recover(context.Background(), OS{}, dir, force); got != Undone || (err == nil) != force {
			t.Errorf("force %v: %q, %v", force, got, err)
		}
		if got := snapshot(t, dir); !maps.Equal(got, map[string]string{"a.gguf": "GGUF old data"}) {
			t.Errorf("force %v: %q", force, got)
		}
	}
}

// After a crash between two exchanges the times of files are changed: the old file,
// which has the temporary name, is still known by its number.
func TestRecoverTouched(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no numbers there")
	}
	for _, forward := range []bool{true, false} {
		dir := t.TempDir()
		write(t, dir, map[string]string{"config.json": "old"})
		st, err := openDir(t, dir).Lstat("config.json")
		must(t, err)
		must(t, os.Rename(filepath.Join(dir, "config.json"), filepath.Join(dir, testTemp)))
		write(t, dir, map[string]string{"config.json": "newer"})
		writeJournal(t, dir, &record{swaps: []*Swap{{Name: "config.json", temp: testTemp, Size: 5, Head: 5, Sum: sha256.Sum256([]byte("newer")), was: identify(st)}}}, forward)
		past := st.ModTime.AddDate(-1, 0, 0)
		must(t, os.Chtimes(filepath.Join(dir, testTemp), past, past))
		want, content := Finished, "newer"
		if !forward {
			want, content = Undone, "old"
		}
		if got, err := recovered(dir); got != want || err != nil {
			t.Errorf("forward %v: %q, %v", forward, got, err)
		}
		if got := snapshot(t, dir); !maps.Equal(got, map[string]string{"config.json": content}) {
			t.Errorf("forward %v: %q", forward, got)
		}
	}
}

// There is nothing to do for a file that was to be put aside and is gone.
func TestRecoverMoveOfNothing(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a.gguf": "GGUF"})
	writeJournal(t, dir, &record{moves: []*Move{{Name: "a.gguf", To: AsideName + "/a.gguf"}}}, true)
	must(t, os.Remove(filepath.Join(dir, "a.gguf")))
	if got, err := recovered(dir); got != Finished || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// A journal is found from the directories that it names files in, and only
// there.
func TestPendingAbove(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"sub/x.gguf": "GGUF old data", "other/y.gguf": "GGUF", "deep/er/z.gguf": "GGUF"})
	writeJournal(t, dir, &record{shifts: []*Shift{
		{Name: "deep/er/z.gguf", OldHeader: []byte("GGUF"), NewHeader: []byte("GGUF")},
		{Name: "sub/x.gguf", OldHeader: []byte("GGUF new"), NewHeader: []byte("GGUF old")},
	}}, false)
	resolved := Resolve(dir)
	for ref, want := range map[string]string{
		".": dir, "sub": resolved, "sub/x.gguf": resolved, "other": "", "other/y.gguf": "", "deep": resolved, "deep/er/z.gguf": resolved,
	} {
		if got := Pending(OS{}, filepath.Join(dir, ref)); got != want {
			t.Errorf("%s: %q, want %q", ref, got, want)
		}
	}
	if _, err := Begin(OS{}, filepath.Join(dir, "sub")); !errors.Is(err, ErrPending) {
		t.Errorf("a transaction below: %v", err)
	}
	if tx, err := Begin(OS{}, filepath.Join(dir, "other")); err != nil {
		t.Errorf("a transaction beside: %v", err)
	} else {
		must(t, tx.Abort())
	}
	if got, err := recovered(filepath.Join(dir, "sub", "x.gguf")); got != Undone || err != nil {
		t.Errorf("recovery from below: %q, %v", got, err)
	}
	if got := snapshot(t, dir); got["sub/x.gguf"] != "GGUF new data" || len(got) != 3 {
		t.Errorf("%q", got)
	}
}

// Of two transactions, one in a directory and one in its parent, one gives way.
func TestExclusionAbove(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"sub/config.json": "old"})
	swap := func(name string) *Changes {
		st, err := openDir(t, dir).Lstat("sub/config.json")
		must(t, err)
		return &Changes{Swaps: []*Swap{{
			Name: name, Old: st, Size: 3, Head: 3, Sum: sha256.Sum256([]byte("new")), Begin: []byte("new"),
			Write: func(_ context.Context, d Dir, temp string) error { return put(d, temp, "new") },
		}}}
	}
	below, err := Begin(OS{}, filepath.Join(dir, "sub"))
	must(t, err)
	above, err := Begin(OS{}, dir)
	must(t, err)
	if err := above.Commit(context.Background(), swap("sub/config.json")); !errors.Is(err, ErrBusy) {
		t.Errorf("above while one is under way below: %v", err)
	}
	must(t, below.Commit(context.Background(), swap("config.json")))
	if got := snapshot(t, dir); !maps.Equal(got, map[string]string{"sub/config.json": "new"}) {
		t.Errorf("%q", got)
	}
	// The other way round: the journal above is complete, and names the file.
	above, err = Begin(OS{}, dir)
	must(t, err)
	c := swap("sub/config.json")
	c.Swaps[0].Write = func(context.Context, Dir, string) error {
		_, err := Begin(OS{}, filepath.Join(dir, "sub"))
		return err
	}
	if err := above.Commit(context.Background(), c); !errors.Is(err, ErrPending) {
		t.Errorf("below while one is under way above: %v", err)
	}
	if got := snapshot(t, dir); !maps.Equal(got, map[string]string{"sub/config.json": "new"}) {
		t.Errorf("%q", got)
	}
}

// put writes a small file.
func put(d Dir, name, text string) error {
	f, err := Open(d, name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(WriteFull(f, []byte(text), 0), Sync(f), f.Close())
}

func FuzzRecord(f *testing.F) {
	add := func(r *record) {
		r.id = testID
		for _, s := range r.shifts {
			s.oldSize, s.newSize = int64(len(s.OldHeader)), int64(len(s.NewHeader))
		}
		f.Add(encode(r))
	}
	add(&record{})
	add(&record{
		shifts: []*Shift{{
			Name: "a", was: identity{size: 9000}, OldHeader: []byte("GGUFold"), NewHeader: append([]byte("GGUFnew"), make([]byte, 4096)...),
			Block: 4096, N: 4096, Extents: []Extent{{0, 4096}, {8192, 12288}}, Samples: []Sample{{Off: 1, N: 2}},
		}},
		swaps: []*Swap{{Name: "sub/b", temp: "sub/" + testTemp, Size: 5, Head: 5}, {Name: "sub/c", temp: "sub/" + testTemp, Keep: "sub/" + AsideName + "/c.1"}},
		moves: []*Move{{Name: "d", To: AsideName + "/d"}},
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		src := bytes.NewReader(b)
		r, err := decodeRecord(src, 0, int64(len(b)), nil)
		if err != nil {
			return
		}
		for i, s := range r.shifts { // whose headers stay where they are
			full := *s
			full.OldHeader, full.NewHeader = b[s.header:s.header+s.oldSize], b[s.header+s.oldSize:s.header+s.oldSize+s.newSize]
			r.shifts[i] = &full
		}
		if again := encode(r); !bytes.Equal(again, b) {
			if r2, err := decodeRecord(bytes.NewReader(again), 0, int64(len(again)), nil); err != nil || len(r2.shifts) != len(r.shifts) {
				t.Errorf("a record does not survive: %v", err)
			}
		}
	})
}
