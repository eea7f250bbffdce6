//go:build unix

package txn

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Names below a directory lead nowhere else, whatever is in it.
func TestDirIsNoWayOut(t *testing.T) {
	top := t.TempDir()
	write(t, top, map[string]string{"victim/precious": "precious", "m/file": "mine", "m/sub/file": "mine"})
	dir := filepath.Join(top, "m")
	must(t, os.Symlink(filepath.Join(top, "victim"), filepath.Join(dir, "link")))
	must(t, os.Symlink(filepath.Join(top, "victim", "precious"), filepath.Join(dir, "filelink")))
	must(t, os.Symlink("sub", filepath.Join(dir, "inner"))) // also one that stays inside
	must(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
	all := snapshot(t, top)
	d := openDir(t, dir)
	for _, name := range []string{
		"../victim/precious", "link/precious", "filelink", "inner/file", "/etc/passwd", "sub/../file", "./file", "fifo", "sub", "sub/file/x", "",
	} {
		for what, f := range map[string]func() error{
			"read":  func() error { f, err := d.Open(name, os.O_RDONLY, 0); return closed(f, err) },
			"write": func() error { f, err := d.Open(name, os.O_RDWR, 0); return closed(f, err) },
			"trunc": func() error { f, err := d.Open(name, os.O_RDWR|os.O_TRUNC, 0); return closed(f, err) },
		} {
			if f() == nil {
				t.Errorf("%s %q: opened", what, name)
			}
		}
	}
	for _, name := range []string{"../x", "link/x", "inner/x", "file", "filelink", "fifo"} {
		if f, err := d.Open(name, os.O_RDWR|os.O_CREATE, 0o644); err == nil {
			f.Close()
			t.Errorf("create %q: opened", name)
		}
	}
	for _, name := range []string{"../victim/precious", "link/precious", "inner/file"} {
		if d.Remove(name) == nil {
			t.Errorf("remove %q", name)
		}
		if d.Rename("file", name) == nil || d.Rename(name, "file") == nil || d.RenameNew(name, "new") == nil || d.Exchange("file", name) == nil {
			t.Errorf("rename %q", name)
		}
		if d.Mkdir(name+"x", 0o755) == nil {
			t.Errorf("mkdir %q", name)
		}
	}
	for _, name := range []string{"link", "inner", "../victim", "filelink"} {
		if _, err := d.ReadDir(name); err == nil {
			t.Errorf("readdir %q", name)
		}
	}
	if err := d.RenameNew("file", "sub/file"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("RenameNew over a file: %v", err)
	}
	if !maps.Equal(all, snapshot(t, top)) {
		t.Error("something changed")
	}
}

func closed(f File, err error) error {
	if err == nil {
		f.Close()
	}
	return err
}

// A directory that becomes a link while names below it are used is noticed.
func TestDirSwapped(t *testing.T) {
	top := t.TempDir()
	write(t, top, map[string]string{"victim/x": "victim", "m/sub/x": "mine"})
	dir := filepath.Join(top, "m")
	d := openDir(t, dir)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		sub, away := filepath.Join(dir, "sub"), filepath.Join(dir, "away")
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Rename(sub, away)
			_ = os.Symlink(filepath.Join(top, "victim"), sub)
			_ = os.Remove(sub)
			_ = os.Rename(away, sub)
		}
	}()
	for range 3000 {
		if f, err := d.Open("sub/x", os.O_RDONLY, 0); err == nil {
			b := make([]byte, 4)
			if _, err := f.ReadAt(b, 0); err != nil || string(b) != "mine" {
				t.Fatalf("read %q, %v", b, err)
			}
			f.Close()
		}
		_ = d.Remove("sub/never")
	}
	close(stop)
	<-done
	if got := snapshot(t, filepath.Join(top, "victim"))["x"]; got != "victim" {
		t.Errorf("victim is %q", got)
	}
}

// What is planted beside a destination is neither followed nor removed.
func TestDraftAmongPlants(t *testing.T) {
	top := t.TempDir()
	write(t, top, map[string]string{"victim/precious": "precious", "w/.out.wtinspect.tmp.d/x": "x"})
	w := filepath.Join(top, "w")
	for _, name := range []string{".out.wtinspect.tmp", ".out.wtinspect-0123456789abcdef.tmp"} {
		must(t, os.Symlink(filepath.Join(top, "victim"), filepath.Join(w, name)))
	}
	all := snapshot(t, top)
	d, err := NewDraft(OS{}, filepath.Join(w, "out"))
	must(t, err)
	must(t, d.Dir().Mkdir(d.Name(), 0o755))
	must(t, put(d.Dir(), d.Name()+"/f", "new"))
	must(t, d.Publish(nil))
	must(t, d.Close())
	all["w/out/f"] = "new"
	if got := snapshot(t, top); !maps.Equal(all, got) {
		t.Errorf("%q", got)
	}
}

// Publishing over a directory loses nothing that is not in the list, also what
// is put there while it happens.
func TestPublishOver(t *testing.T) {
	for _, tt := range []struct {
		name    string
		there   []string
		replace []string
		lost    string // "" where it may be published
	}{
		{"nothing there", nil, nil, ""},
		{"empty", []string{}, nil, ""},
		{"not forced", []string{"a"}, nil, "already exists"},
		{"all listed", []string{"a", "sub/b"}, []string{"a", "sub/b"}, ""},
		{"one not listed", []string{"a", "sub/only-copy"}, []string{"a", "sub/b"}, `"sub/only-copy"`},
		{"hidden", []string{"a", ".git/config"}, []string{"a"}, `".git/config"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			top := t.TempDir()
			out := filepath.Join(top, "out")
			if tt.there != nil {
				must(t, os.Mkdir(out, 0o755))
			}
			for _, f := range tt.there {
				write(t, out, map[string]string{f: "old"})
			}
			all := snapshot(t, top)
			d, err := NewDraft(OS{}, out)
			must(t, err)
			must(t, d.Dir().Mkdir(d.Name(), 0o755))
			must(t, put(d.Dir(), d.Name()+"/a", "new"))
			err = d.Publish(tt.replace)
			must(t, d.Close())
			want := map[string]string{"out/a": "new"}
			if tt.lost != "" {
				want = all
				if err == nil || !strings.Contains(err.Error(), tt.lost) || !errors.Is(err, fs.ErrExist) {
					t.Errorf("error %v", err)
				}
			} else if err != nil {
				t.Error(err)
			}
			if got := snapshot(t, top); !maps.Equal(want, got) {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

// What another program writes at the destination while a draft is made is kept,
// also where it may be replaced.
func TestPublishOverChanged(t *testing.T) {
	for _, dir := range []bool{true, false} {
		for _, when := range []string{"before", "just now", "just now, and names cannot be exchanged"} {
			if strings.HasSuffix(when, "exchanged") && !dir {
				continue // a file is replaced without a look back
			}
			top := t.TempDir()
			out, made := filepath.Join(top, "out"), ""
			theirs := func() { write(t, top, map[string]string{"out" + made: "theirs"}) }
			if dir {
				made = "/a"
			}
			write(t, top, map[string]string{"out" + made: "old"})
			d, err := NewDraft(OS{}, out)
			must(t, err)
			if dir {
				must(t, d.Dir().Mkdir(d.Name(), 0o755))
			}
			must(t, put(d.Dir(), d.Name()+made, "new"))
			if when == "before" {
				theirs()
			} else {
				d.parent = &intrudedDir{Dir: d.parent, act: theirs, plain: strings.HasSuffix(when, "exchanged")}
			}
			if err := d.Publish([]string{"a"}); !errors.Is(err, ErrChanged) {
				t.Errorf("dir %v, %s: %v", dir, when, err)
			}
			must(t, d.Close())
			if got := snapshot(t, top); !maps.Equal(got, map[string]string{"out" + made: "theirs"}) {
				t.Errorf("dir %v, %s: %q", dir, when, got)
			}
		}
	}
}

// A link where a draft is to be published is replaced, not followed.
func TestPublishOverLink(t *testing.T) {
	top := t.TempDir()
	write(t, top, map[string]string{"victim": "victim"})
	must(t, os.Symlink("victim", filepath.Join(top, "out")))
	d, err := NewDraft(OS{}, filepath.Join(top, "out"))
	must(t, err)
	must(t, put(d.Dir(), d.Name(), "new"))
	if err := d.Publish(nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("without force: %v", err)
	}
	must(t, d.Publish([]string{}))
	must(t, d.Close())
	if got := snapshot(t, top); !maps.Equal(got, map[string]string{"victim": "victim", "out": "new"}) {
		t.Errorf("%q", got)
	}
}

// A file that another program puts in the place of one that is about to be
// replaced is kept, at every moment.
func TestSwapObstructed(t *testing.T) {
	for _, when := range []string{"while writing", "after the mark"} {
		t.Run(when, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, map[string]string{"config.json": "old", "adapter_config.json": "old"})
			tx, err := Begin(OS{}, dir)
			must(t, err)
			theirs := func() {
				must(t, os.WriteFile(filepath.Join(dir, "x"), []byte("theirs"), 0o644))
				must(t, os.Rename(filepath.Join(dir, "x"), filepath.Join(dir, "config.json")))
			}
			c := new(Changes)
			for _, name := range []string{"config.json", "adapter_config.json"} {
				st, err := tx.Dir().Lstat(name)
				must(t, err)
				c.Swaps = append(c.Swaps, &Swap{
					Name: name, Old: st, Size: 3, Head: 3, Sum: sha256.Sum256([]byte("new")), Begin: []byte("new"),
					Write: func(_ context.Context, d Dir, temp string) error {
						if when == "while writing" && name == "config.json" {
							theirs()
						}
						return put(d, temp, "new")
					},
				})
			}
			if when == "after the mark" {
				tx.dir = &intrudedDir{Dir: tx.dir, act: theirs}
			}
			if err := tx.Commit(context.Background(), c); !errors.Is(err, ErrChanged) {
				t.Errorf("error %v", err)
			}
			if _, err := recovered(dir); err != nil {
				t.Errorf("recovery: %v", err)
			}
			got := snapshot(t, dir)
			if got["config.json"] != "theirs" || got["adapter_config.json"] != "old" || len(got) != 2 {
				t.Errorf("%q", got)
			}
		})
	}
}

// An intrudedDir lets another program act when the first name is exchanged.
type intrudedDir struct {
	Dir
	act   func()
	plain bool // names cannot be exchanged
}

func (d *intrudedDir) Exchange(a, b string) error {
	if d.act != nil {
		d.act()
		d.act = nil
	}
	if d.plain {
		return errors.ErrUnsupported
	}
	return d.Dir.Exchange(a, b)
}

// Where the file system forbids that a file is replaced, those that were replaced
// before it are given back.
func TestSwapForbidden(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"adapter_config.json": "old", "config.json": "old"})
	tx, err := Begin(OS{}, dir)
	must(t, err)
	c := new(Changes)
	for _, name := range []string{"adapter_config.json", "config.json"} {
		st, err := tx.Dir().Lstat(name)
		must(t, err)
		c.Swaps = append(c.Swaps, &Swap{
			Name: name, Old: st, Size: 3, Head: 3, Sum: sha256.Sum256([]byte("new")), Begin: []byte("new"),
			Write: func(_ context.Context, d Dir, temp string) error { return put(d, temp, "new") },
		})
	}
	tx.dir = forbiddenDir{tx.dir}
	if err := tx.Commit(context.Background(), c); !errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrPending) {
		t.Errorf("error %v", err)
	}
	if got := snapshot(t, dir); !maps.Equal(got, map[string]string{"adapter_config.json": "old", "config.json": "old"}) {
		t.Errorf("%q", got)
	}
}

// A forbiddenDir lets nobody replace config.json.
type forbiddenDir struct{ Dir }

func (d forbiddenDir) Exchange(a, b string) error {
	if b == "config.json" {
		return syscall.EPERM
	}
	return d.Dir.Exchange(a, b)
}

// A small file is written whole or not at all, replaces files only, and can be
// taken back.
func TestNewFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	boom := errors.New("boom")
	check := func(want map[string]string) {
		t.Helper()
		if got := snapshot(t, dir); !maps.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if err := WriteFile(path, func(w io.Writer) error { _, _ = io.WriteString(w, "half"); return boom }); !errors.Is(err, boom) {
		t.Error(err)
	}
	check(map[string]string{})
	must(t, WriteFile(path, func(w io.Writer) error { _, err := io.WriteString(w, "one"); return err }))
	check(map[string]string{"out": "one"})
	must(t, os.Chmod(path, 0o600))
	for _, there := range []bool{true, false} {
		n, err := Create(path)
		must(t, err)
		_, err = io.WriteString(n, "two")
		must(t, errors.Join(err, n.Publish()))
		if fi, err := os.Stat(path); there && (err != nil || fi.Mode().Perm() != 0o600) {
			t.Errorf("mode %v, %v", fi.Mode(), err)
		}
		must(t, n.Revert())
		must(t, n.Close())
		if there {
			check(map[string]string{"out": "one"})
			must(t, os.Remove(path))
		} else {
			check(map[string]string{})
		}
	}
	write(t, dir, map[string]string{"victim": "victim"})
	must(t, os.Symlink("victim", path))
	if err := WriteFile(path, func(io.Writer) error { return nil }); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("through a link: %v", err)
	}
	check(map[string]string{"victim": "victim"})
	must(t, os.Mkdir(filepath.Join(dir, "d"), 0o755))
	if err := WriteFile(filepath.Join(dir, "d"), func(io.Writer) error { return nil }); err == nil {
		t.Error("over a directory")
	}
	if _, err := Create(filepath.Join(dir, "none", "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// A journal that is another name of a file is not written to.
func TestJournalHardLink(t *testing.T) {
	top := t.TempDir()
	write(t, top, map[string]string{"victim": ""})
	dir := filepath.Join(top, "m")
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.Link(filepath.Join(top, "victim"), filepath.Join(dir, JournalName)))
	if _, err := Begin(OS{}, dir); err == nil || !strings.Contains(err.Error(), "has another name") {
		t.Errorf("error %v", err)
	}
	must(t, os.Remove(filepath.Join(dir, JournalName)))
	for what, plant := range map[string]func(path string) error{
		"a link": func(path string) error { return os.Symlink(filepath.Join(top, "victim"), path) },
		"a pipe": func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"a dir":  func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		path := filepath.Join(dir, JournalName)
		must(t, plant(path))
		if _, err := Begin(OS{}, dir); err == nil {
			t.Errorf("%s: begun", what)
		}
		if _, err := recovered(dir); err == nil {
			t.Errorf("%s: recovered", what)
		}
		must(t, os.Remove(path))
	}
	if got := snapshot(t, top)["victim"]; got != "" {
		t.Errorf("victim is %q", got)
	}
}

// A copy of a tree has its files, but not what links lead to.
func TestCopyTree(t *testing.T) {
	top := t.TempDir()
	write(t, top, map[string]string{"m/a": "a", "m/sub/b": "b", "m/.git/x": "x", "secret": "secret"})
	dir := filepath.Join(top, "m")
	must(t, os.Symlink("../secret", filepath.Join(dir, "out")))
	must(t, os.Symlink("a", filepath.Join(dir, "in")))
	must(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
	sparse := filepath.Join(dir, "sparse")
	must(t, os.WriteFile(sparse, []byte("begin"), 0o644))
	must(t, os.Truncate(sparse, 64<<20))
	to := openDir(t, t.TempDir())
	follow := func(p string) bool { return filepath.Base(p) == "in" }
	must(t, CopyTree(context.Background(), OS{}, openDir(t, dir), to, "copy", follow, func(n string) bool { return n == ".git" }))
	st, err := to.Lstat("copy/sparse")
	if err != nil || st.Size != 64<<20 || st.Allocated > 1<<20 {
		t.Errorf("sparse: %+v, %v", st, err)
	}
	must(t, to.Remove("copy/sparse"))
	want := map[string]string{"copy/a": "a", "copy/sub/b": "b", "copy/in": "a"}
	if got := snapshot(t, to.Path()); !maps.Equal(got, want) {
		t.Errorf("%q", got)
	}
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if err := CopyTree(done, OS{}, openDir(t, dir), to, "again", follow, func(string) bool { return false }); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// meddler is a system in which another program writes to a file that is read.
type meddler struct{ OS }

func (m meddler) Read(path string, flag int) (File, error) {
	f, err := m.OS.Read(path, flag)
	return &meddled{f, path}, err
}

type meddled struct {
	File
	path string
}

func (m *meddled) ReadAt(p []byte, off int64) (int, error) {
	n, err := m.File.ReadAt(p, off)
	f, openErr := os.OpenFile(m.path, os.O_WRONLY|os.O_APPEND, 0)
	if openErr != nil {
		return n, openErr
	}
	defer f.Close()
	_, writeErr := f.WriteString("more")
	return n, errors.Join(err, writeErr)
}

// A file that is written to while it is copied is not taken for whole.
func TestCopyOfAMovingFile(t *testing.T) {
	from := filepath.Join(t.TempDir(), "a")
	must(t, os.WriteFile(from, []byte("text"), 0o644))
	if err := CopyFile(context.Background(), meddler{}, from, openDir(t, t.TempDir()), "b"); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), from) {
		t.Errorf("the error is %v", err)
	}
}

// A journal decides only about files of its owner, unless it is this user's or
// the system's.
func TestJournalOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	const evil, alice = 54321, 12345
	for _, tt := range []struct {
		journal, file int
		want          bool
	}{{evil, alice, false}, {alice, alice, true}, {0, alice, true}, {evil, 0, false}} {
		dir := t.TempDir()
		write(t, dir, map[string]string{"m.gguf": "GGUF old data"})
		writeJournal(t, dir, &record{shifts: []*Shift{{Name: "m.gguf", OldHeader: []byte("GGUF old"), NewHeader: []byte("GGUF bad")}}}, true)
		must(t, os.Chown(filepath.Join(dir, JournalName), tt.journal, -1))
		must(t, os.Chown(filepath.Join(dir, "m.gguf"), tt.file, -1))
		must(t, os.Chown(dir, tt.file, -1))
		_, err := recovered(dir)
		if got := snapshot(t, dir)["m.gguf"]; (err == nil) != tt.want || (got == "GGUF bad data") != tt.want {
			t.Errorf("journal of %d, file of %d: %q, %v", tt.journal, tt.file, got, err)
		}
	}
}

// What became of one file does not keep the others from being put back.
func TestRecoverWithoutOne(t *testing.T) {
	for _, what := range []string{"deleted", "replaced"} {
		for _, forward := range []bool{false, true} {
			dir := t.TempDir()
			write(t, dir, map[string]string{"a.gguf": "GGUF new data", "b.gguf": "GGUF new data", "config.json": "old", testTemp: "new"})
			writeJournal(t, dir, &record{
				shifts: []*Shift{
					{Name: "a.gguf", OldHeader: []byte("GGUF old"), NewHeader: []byte("GGUF new")},
					{Name: "b.gguf", OldHeader: []byte("GGUF old"), NewHeader: []byte("GGUF new")},
				},
				swaps: []*Swap{{Name: "config.json", temp: testTemp, Size: 3, Head: 3, Sum: sha256.Sum256([]byte("new"))}},
			}, forward)
			want := map[string]string{"b.gguf": "GGUF old data", "config.json": "old"}
			must(t, os.Rename(filepath.Join(dir, "a.gguf"), filepath.Join(dir, "elsewhere")))
			want["elsewhere"] = "GGUF new data"
			if what == "replaced" {
				write(t, dir, map[string]string{"a.gguf": "GGUF theirs."})
				want["a.gguf"] = "GGUF theirs."
			}
			got, err := recovered(dir)
			if got != Undone || !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "a.gguf: ") || errors.Is(err, ErrPending) {
				t.Errorf("%s, forward %v: %q, %v", what, forward, got, err)
			}
			if now := snapshot(t, dir); !maps.Equal(now, want) {
				t.Errorf("%s, forward %v: %q", what, forward, now)
			}
			if again, err := recovered(dir); again != Nothing || err != nil {
				t.Errorf("%s, forward %v: again: %q, %v", what, forward, again, err)
			}
		}
	}
}

// A counted is the operating system, with the bytes that were read of files.
type counted struct {
	OS
	read *int64
}

func (c counted) OpenDir(path string) (Dir, error) {
	d, err := c.OS.OpenDir(path)
	if err != nil {
		return nil, err
	}
	return countedDir{d, c.read}, nil
}

type countedDir struct {
	Dir
	read *int64
}

func (d countedDir) Open(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := d.Dir.Open(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return countedFile{f, d.read}, nil
}

type countedFile struct {
	File
	read *int64
}

func (f countedFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	*f.read += int64(n)
	return n, err
}

// A journal that is planted in a release, above it or below it changes nothing and
// costs little, however large it is and whatever it claims.
func TestPlantedJournal(t *testing.T) {
	claim := func(b []byte, size uint64) []byte {
		return append(binary.LittleEndian.AppendUint64([]byte(journalMagic), size), b...)
	}
	entries := sync.OnceValue(func() []byte {
		var b bytes.Buffer
		e := encoder{w: &b}
		e.num(0)
		const n = 450_000 // of a hundred bytes
		e.num(n)
		for i := range n {
			e.str(fmt.Sprintf("m%07d.index.json", i))
			e.str(fmt.Sprintf(tempPattern, testID, i))
			e.str("")
			e.identity(identity{})
			e.num(1)
			e.num(1)
			e.bytes(make([]byte, sha256.Size))
		}
		e.num(0)
		return b.Bytes()
	})
	tiny := func(dir string, self bool) []byte {
		r := &record{id: testID}
		if self {
			r.self = selfOf(t, dir)
		}
		var b bytes.Buffer
		_ = r.write(&b)
		b.Truncate(b.Len() - 3)
		b.Write(entries())
		sum := sha256.Sum256(b.Bytes())
		return append(claim(b.Bytes(), uint64(b.Len())), sum[:]...)
	}
	plants := map[string]func(path string) error{
		"nothing": func(string) error { return nil },
		"no journal": func(path string) error {
			return os.WriteFile(path, []byte("#!/bin/sh\nrm -rf .\n"), 0o644)
		},
		"2 GB of holes": func(path string) error {
			return errors.Join(os.WriteFile(path, claim(nil, 1<<31-2<<20), 0o644), os.Truncate(path, 1<<31-1<<20))
		},
		"too large": func(path string) error {
			return errors.Join(os.WriteFile(path, claim(nil, 1<<40), 0o644), os.Truncate(path, 1<<41))
		},
		"a length beyond its end": func(path string) error { return os.WriteFile(path, claim(nil, 1<<63), 0o644) },
		"45 MB of entries":        func(path string) error { return os.WriteFile(path, tiny("", false), 0o644) },
		"45 MB of entries, made here": func(path string) error {
			b := tiny(filepath.Dir(path), true)
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.Write(b)
			return errors.Join(err, f.Close())
		},
	}
	for name, plant := range plants {
		for _, where := range []string{".", "m", "m/sub"} {
			for _, ref := range []string{"m", "m/sub/x.gguf"} {
				if strings.HasPrefix(name, "45 MB") && (ref == "m" || testing.Short()) {
					continue // it takes a while to write
				}
				top := t.TempDir()
				write(t, top, map[string]string{"m/a.gguf": "GGUF", "m/sub/x.gguf": "GGUF", "precious": "precious"})
				path := filepath.Join(top, filepath.FromSlash(where), JournalName)
				must(t, plant(path))
				before, err := os.Stat(path)
				if name == "nothing" {
					before, err = nil, nil
				}
				must(t, err)
				var read int64
				var start, end runtime.MemStats
				sys := counted{read: &read}
				runtime.ReadMemStats(&start)
				full := filepath.Join(top, filepath.FromSlash(ref))
				_ = Pending(sys, full)
				for _, force := range []bool{false, true} {
					if out, err := Recover(context.Background(), sys, full, force); out == Undone || out == Finished {
						t.Errorf("%s in %s, from %s: %q, %v", name, where, ref, out, err)
					}
				}
				if tx, err := Begin(sys, filepath.Join(top, "m")); err == nil {
					must(t, tx.Abort())
				}
				runtime.ReadMemStats(&end)
				if used := end.TotalAlloc - start.TotalAlloc; used > 16<<20 || read > 16<<20 {
					t.Errorf("%s in %s, from %s: %d bytes of memory, %d bytes read", name, where, ref, used, read)
				}
				if before != nil {
					if after, err := os.Stat(path); err != nil || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
						t.Errorf("%s in %s, from %s: it was changed: %v", name, where, ref, err)
					}
					must(t, os.Remove(path))
				}
				if got := snapshot(t, top); !maps.Equal(got, map[string]string{"m/a.gguf": "GGUF", "m/sub/x.gguf": "GGUF", "precious": "precious"}) {
					t.Errorf("%s in %s, from %s: %q", name, where, ref, got)
				}
			}
		}
	}
}
