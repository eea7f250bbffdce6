package rewrite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// prepareTest prepares a rename of a release in dir.
func prepareTest(t testing.TB, fsys fileSystem, ref, mapText string, opts *Options) (*Job, error) {
	t.Helper()
	c := openOne(t, ref)
	plan := planFor(t, c, parseMap(t, mapText))
	if err := plan.Err(); err != nil {
		t.Fatal(err)
	}
	j, err := prepare(context.Background(), fsys, c, plan, nil, opts)
	if err == nil {
		t.Cleanup(func() { j.Close() })
	}
	return j, err
}

func TestRefusals(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links and modes are those of Unix")
	}
	shard := "model-00001-of-00002.safetensors"
	tests := []struct {
		name     string
		setup    func(t *testing.T, dir string)
		fsys     fileSystem
		forcible bool
		want     string
	}{
		{"symlink", func(t *testing.T, dir string) {
			blob := filepath.Join(filepath.Dir(dir), "blob")
			must(t, os.Rename(filepath.Join(dir, shard), blob))
			must(t, os.Symlink(blob, filepath.Join(dir, shard)))
		}, osFS{}, true, "is a symbolic link to "},
		{"hard link", func(t *testing.T, dir string) {
			must(t, os.Link(filepath.Join(dir, shard), filepath.Join(filepath.Dir(dir), "blob")))
		}, osFS{}, true, "has 2 hard links"},
		{"read-only", func(t *testing.T, dir string) {
			must(t, os.Chmod(filepath.Join(dir, shard), 0o444))
		}, osFS{}, false, "is read-only; make it writable first"},
		{"no room", func(*testing.T, string) {}, limited{insert: true, free: 1000}, false, "not enough room: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "m")
			must(t, os.Mkdir(dir, 0o755))
			ref, _ := release(t, dir, "sharded")
			before := tensorsOf(t, ref)
			tt.setup(t, dir)
			all := snapshot(t, filepath.Dir(dir))
			j, err := prepareTest(t, tt.fsys, ref, yiToLlama, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(j.Refusals) != 1 || !strings.Contains(j.Refusals[0].Error(), tt.want) || j.Refusals[0].Forcible != tt.forcible {
				t.Fatalf("refusals %+v, want %q", j.Refusals, tt.want)
			}
			if _, err := j.Run(context.Background(), nil); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("run: %v", err)
			}
			if !maps.Equal(all, snapshot(t, filepath.Dir(dir))) {
				t.Error("a refused job changed something")
			}
			if !tt.forcible {
				return
			}
			j, err = prepareTest(t, tt.fsys, ref, yiToLlama, &Options{Force: true})
			must(t, err)
			_, err = j.Run(context.Background(), nil)
			must(t, err)
			if got := tensorsOf(t, ref); !slices.Equal(got, renamed(before)) {
				t.Error("forced: wrong tensors")
			}
			if blob := snapshot(t, filepath.Dir(dir))["blob"]; blob != all["blob"] {
				t.Error("forced: what the link pointed to changed")
			}
		})
	}
}

// A file in a hub's cache, named without the link that leads to it.
func TestRefusesBlob(t *testing.T) {
	dir := t.TempDir()
	single, _ := release(t, dir, "single")
	ref := filepath.Join(dir, strings.Repeat("0a", sha256.Size))
	must(t, os.Rename(single, ref))
	for _, force := range []bool{false, true} {
		j, err := prepareTest(t, osFS{}, ref, yiToLlama, &Options{Force: force})
		must(t, err)
		if err := j.Err(); (err == nil) != force || err != nil && !strings.Contains(err.Error(), "is called by the digest of its content") {
			t.Errorf("force %v: %v", force, err)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestChangedSincePlan(t *testing.T) {
	for name, meddle := range map[string]func(t *testing.T, path string){
		"touched": func(t *testing.T, path string) {
			must(t, os.Chtimes(path, time.Now(), time.Now().Add(time.Hour)))
		},
		"longer": func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			must(t, err)
			_, err = f.Write([]byte{0})
			must(t, errors.Join(err, f.Close()))
		},
		"replaced": func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			must(t, err)
			must(t, os.Remove(path))
			must(t, os.WriteFile(path, b, 0o644))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ref, _ := release(t, dir, "sharded")
			j, err := prepareTest(t, osFS{}, ref, yiToLlama, nil)
			must(t, err)
			meddle(t, filepath.Join(dir, "model-00002-of-00002.safetensors"))
			all := snapshot(t, dir)
			if _, err := j.Run(context.Background(), nil); !errors.Is(err, ErrChanged) {
				t.Errorf("error %v, want %v", err, ErrChanged)
			}
			if !maps.Equal(all, snapshot(t, dir)) {
				t.Error("something changed")
			}
		})
	}
}

// meddling changes a file behind the back of the run that has checked it: when
// its header is about to be written, or when its copy has begun.
type meddling struct {
	limited
	victim string
	opened *atomic.Int32
}

func (m meddling) Open(name string, flag int, perm fs.FileMode) (file, error) {
	copying := flag&os.O_CREATE != 0 && strings.HasSuffix(name, ".tmp")
	if copying || flag&os.O_RDWR != 0 && name == m.victim && m.opened.Add(1) == 2 {
		f, err := os.OpenFile(m.victim, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		_, err = f.WriteString("more")
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
	return m.limited.Open(name, flag, perm)
}

func TestChangedMeanwhile(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		step       Step
	}{
		{"header", "rename:\n  model.norm.weight: n\n", Pad},
		{"copy", "rename:\n  model.norm.weight: " + strings.Repeat("n", 5000) + "\n", Copy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			ref, _ := release(t, dir, "single")
			j, err := prepareTest(t, meddling{victim: ref, opened: new(atomic.Int32)}, ref, tt.text, nil)
			must(t, err)
			if j.Files[0].Step != tt.step {
				t.Fatalf("the step is %q", j.Files[0].Step)
			}
			all := snapshot(t, dir)
			if _, err := j.Run(context.Background(), nil); !errors.Is(err, ErrChanged) {
				t.Errorf("error %v", err)
			}
			all[filepath.Base(ref)] += "more"
			if !maps.Equal(all, snapshot(t, dir)) {
				t.Error("what somebody changed was changed again, or something was left behind")
			}
		})
	}
}

func TestExclusion(t *testing.T) {
	dir := t.TempDir()
	ref, _ := release(t, dir, "sharded")
	j, err := prepareTest(t, osFS{}, ref, yiToLlama, nil)
	must(t, err)
	l, err := lockJournal(osFS{}, dir, true)
	must(t, err)
	if _, err := j.Run(context.Background(), nil); !errors.Is(err, ErrBusy) {
		t.Errorf("while another run has the lock: %v", err)
	}
	if _, err := Recover(context.Background(), dir); !errors.Is(err, ErrBusy) {
		t.Errorf("recovery while another run has the lock: %v", err)
	}
	must(t, l.write(&record{}))
	if !Pending(ref) || !Pending(filepath.Join(dir, "config.json")) {
		t.Error("a journal is there, and nothing is pending")
	}
	if _, err := prepareTest(t, osFS{}, ref, yiToLlama, nil); !errors.Is(err, ErrPending) {
		t.Errorf("prepare over a journal: %v", err)
	}
	l.f.Close()
	j, err = prepareTest(t, osFS{}, ref, yiToLlama, &Options{})
	if !errors.Is(err, ErrPending) {
		t.Errorf("prepare over a journal: %v, %v", j, err)
	}
	if got, err := Recover(context.Background(), filepath.Join(dir, "config.json")); got != Undone || err != nil {
		t.Errorf("recovery: %q, %v", got, err)
	}
	if got, err := Recover(context.Background(), dir); got != Nothing || err != nil {
		t.Errorf("second recovery: %q, %v", got, err)
	}
	if Pending(dir) {
		t.Error("pending after the recovery")
	}
}

func TestWriterPresent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells who writes to a file")
	}
	dir := t.TempDir()
	ref, _ := release(t, dir, "single")
	j, err := prepareTest(t, osFS{}, ref, yiToLlama, nil)
	must(t, err)
	f, err := os.OpenFile(ref, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	if _, err := j.Run(context.Background(), nil); !errors.Is(err, ErrBusy) {
		t.Errorf("while the file is open for writing: %v", err)
	}
}

// unwritable is a file system on which weights cannot be opened for writing.
type unwritable struct{ limited }

func (u unwritable) Open(name string, flag int, perm fs.FileMode) (file, error) {
	if flag&os.O_RDWR != 0 && strings.HasSuffix(name, ".safetensors") {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return u.limited.Open(name, flag, perm)
}

func TestNotWritable(t *testing.T) {
	dir := t.TempDir()
	ref, m := release(t, dir, "sharded")
	runJob(t, osFS{}, ref, m, nil)
	all := snapshot(t, dir)
	j, err := prepareTest(t, unwritable{limited{insert: true}}, ref, "rename:\n  model.norm.weight: n\n", nil)
	must(t, err)
	if _, err := j.Run(context.Background(), nil); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("error %v", err)
	}
	if !maps.Equal(all, snapshot(t, dir)) {
		t.Error("something changed, or a journal was left")
	}
}

// writeJournal writes a journal that may be one that this package would not write.
func writeJournal(t *testing.T, dir string, r *record, forward bool) {
	t.Helper()
	p := encode(r)
	sum := sha256.Sum256(p)
	b := slices.Concat(binary.LittleEndian.AppendUint64([]byte(journalMagic), uint64(len(p))), p, sum[:])
	if forward {
		b = append(b, (&journal{sum: sum}).markBytes()...)
	}
	must(t, os.WriteFile(filepath.Join(dir, journalName), b, 0o644))
}

// A journal that is to be finished replaces no program, and nothing by what
// has another content than it says.
func TestHostileSwap(t *testing.T) {
	script := "#!/bin/sh\n"
	for name, s := range map[string]swap{
		"a program":       {name: "run.sh", temp: ".wtinspect-0.tmp", size: 10, head: 10, sum: sha256.Sum256([]byte(script))},
		"a settings file": {name: "package.json", temp: ".wtinspect-0.tmp", size: 10, head: 10, sum: sha256.Sum256([]byte(script))},
		"another content": {name: "config.json", temp: ".wtinspect-0.tmp", size: 10, head: 10},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, map[string]string{s.name: "old", s.temp: script})
			writeJournal(t, dir, &record{swaps: []swap{s}}, true)
			all := snapshot(t, dir)
			if got, err := Recover(context.Background(), dir); err == nil {
				t.Errorf("%q: the journal was followed", got)
			}
			if !maps.Equal(all, snapshot(t, dir)) {
				t.Error("something changed")
			}
		})
	}
}

// A journal that was damaged after it was complete is kept, and said.
func TestDamagedJournal(t *testing.T) {
	dir := t.TempDir()
	ref, _ := release(t, dir, "sharded")
	l, err := lockJournal(osFS{}, dir, true)
	must(t, err)
	must(t, l.write(&record{swaps: []swap{{name: "config.json", temp: ".wtinspect-0.tmp"}}}))
	must(t, l.f.Close())
	name := filepath.Join(dir, journalName)
	whole, err := os.ReadFile(name)
	must(t, err)
	for what, b := range map[string][]byte{
		"cut off": whole[:len(whole)-1],
		"a bit":   slices.Concat(whole[:40], []byte{whole[40] ^ 1}, whole[41:]),
		"short":   whole[:len(journalMagic)+3],
	} {
		must(t, os.WriteFile(name, b, 0o644))
		all := snapshot(t, dir)
		if got, err := Recover(context.Background(), dir); !errors.Is(err, errJournal) {
			t.Errorf("%s: %q, %v", what, got, err)
		}
		if !Pending(ref) || !maps.Equal(all, snapshot(t, dir)) {
			t.Errorf("%s: something changed", what)
		}
	}
	// Without its first line it was never complete.
	must(t, os.WriteFile(name, slices.Concat(make([]byte, len(journalMagic)), whole[len(journalMagic):]), 0o644))
	if got, err := Recover(context.Background(), dir); got != Nothing || err != nil || Pending(dir) {
		t.Errorf("not complete: %q, %v", got, err)
	}
}

// What somebody put in the place of a file after a crash is not overwritten.
func TestRecoverForeign(t *testing.T) {
	for _, forward := range []bool{false, true} {
		dir := t.TempDir()
		old, now := "GGUF the old header ", "GGUF the new header "
		write(t, dir, map[string]string{"m.gguf": "GGUF something else." + "data"})
		writeJournal(t, dir, &record{shifts: []shift{{name: "m.gguf", size: 24, oldHeader: []byte(old), newHeader: []byte(now)}}}, forward)
		all := snapshot(t, dir)
		if _, err := Recover(context.Background(), dir); !errors.Is(err, ErrChanged) {
			t.Errorf("forward %v: %v", forward, err)
		}
		if !maps.Equal(all, snapshot(t, dir)) {
			t.Errorf("forward %v: something changed", forward)
		}
		write(t, dir, map[string]string{"m.gguf": now[:14] + old[14:] + "data"}) // cut off by a crash
		if _, err := Recover(context.Background(), dir); err != nil {
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

// TestHostileJournal recovers with journals that a release may bring along.
func TestHostileJournal(t *testing.T) {
	sum := digest{}
	for name, r := range map[string]*record{
		"leaves the directory":   {shifts: []shift{{name: "../victim", oldHeader: []byte("x"), newHeader: []byte("x"), size: 6}}},
		"absolute":               {shifts: []shift{{name: "/etc/passwd", oldHeader: []byte("x"), newHeader: []byte("x"), size: 6}}},
		"through a link":         {shifts: []shift{{name: "link/victim", oldHeader: []byte("x"), newHeader: []byte("x"), size: 6}}},
		"a link":                 {shifts: []shift{{name: "filelink", oldHeader: []byte("x"), newHeader: []byte("x"), size: 6}}},
		"the journal itself":     {shifts: []shift{{name: journalName, oldHeader: []byte("x"), newHeader: []byte("x"), size: 6}}},
		"removes another file":   {swaps: []swap{{name: "a", temp: "kept", sum: sum}}},
		"removes outside":        {swaps: []swap{{name: "a", temp: "../.wtinspect-0.tmp", sum: sum}}},
		"numbers out of range":   {shifts: []shift{{name: "kept", oldHeader: []byte("x"), newHeader: []byte("xxxx"), size: 6, off: 9, n: 3, block: 1}}},
		"extents out of order":   {shifts: []shift{{name: "kept", size: 6, extents: []extent{{4, 5}, {1, 2}}}}},
		"hidden":                 {shifts: []shift{{name: ".ssh/config", size: 6, oldHeader: []byte("GGUF"), newHeader: []byte("GGUF")}}},
		"hidden below":           {shifts: []shift{{name: "a/.git/config", size: 6, oldHeader: []byte("GGUF"), newHeader: []byte("GGUF")}}},
		"headers of no format":   {shifts: []shift{{name: "kept", size: 6, oldHeader: []byte("kept"), newHeader: []byte("evil")}}},
		"a header that differs":  {shifts: []shift{{name: "kept", size: 6, oldHeader: []byte("GGUF"), newHeader: []byte("GGUF")}}},
		"samples beyond the end": {shifts: []shift{{name: "kept", size: 6, samples: []sample{{off: 5, n: 4}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			dir := filepath.Join(top, "m")
			must(t, os.Mkdir(dir, 0o755))
			write(t, top, map[string]string{"victim": "victim", "m/kept": "kept12", ".wtinspect-0.tmp": "other"})
			if runtime.GOOS != "windows" {
				must(t, os.Symlink(top, filepath.Join(dir, "link")))
				must(t, os.Symlink(filepath.Join(top, "victim"), filepath.Join(dir, "filelink")))
			}
			writeJournal(t, dir, r, false)
			_, err := Recover(context.Background(), dir)
			if err == nil {
				t.Error("the journal was followed")
			}
			for name, want := range map[string]string{"victim": "victim", "m/kept": "kept12", ".wtinspect-0.tmp": "other"} {
				if got, _ := os.ReadFile(filepath.Join(top, filepath.FromSlash(name))); string(got) != want {
					t.Errorf("%s is %q (error %v)", name, got, err)
				}
			}
		})
	}
}

func encode(r *record) []byte {
	var b bytes.Buffer
	_ = r.write(&b)
	return b.Bytes()
}

func FuzzRecord(f *testing.F) {
	f.Add(encode(&record{}))
	f.Add(encode(&record{
		shifts: []shift{{name: "a", size: 9000, oldHeader: []byte("GGUFold"), newHeader: append([]byte("GGUFnew"), make([]byte, 4096)...), block: 4096, n: 4096, extents: []extent{{0, 4096}, {8192, 12288}}, samples: []sample{{off: 1, n: 2}}}},
		swaps:  []swap{{name: "sub/b", temp: "sub/.wtinspect-1.tmp", size: 5, head: 5}},
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		again, err := decodeRecord(encode(r))
		if err != nil || string(encode(again)) != string(encode(r)) {
			t.Errorf("a record does not survive: %v", err)
		}
	})
}

func TestOutputDirectory(t *testing.T) {
	setup := func(t *testing.T) (dir, out string) {
		top := t.TempDir()
		dir, out = filepath.Join(top, "m"), filepath.Join(top, "out")
		must(t, os.Mkdir(dir, 0o755))
		release(t, dir, "sharded")
		write(t, dir, map[string]string{
			"tokenizer.json": "{}", "sub/notes.txt": "n", ".gitattributes": "x", ".git/config": "no", ".cache/x": "no", "__pycache__/x.pyc": "no",
			"pytorch_model.bin": "no", "original/consolidated.00.pth": "no", "original/params.json": "{}",
		})
		return dir, out
	}
	t.Run("other files", func(t *testing.T) {
		dir, out := setup(t)
		if runtime.GOOS != "windows" {
			must(t, os.Symlink(filepath.Join(dir, "README.md"), filepath.Join(dir, "LINK.md")))
			must(t, os.Symlink(dir, filepath.Join(dir, "loop")))
		}
		j, err := prepareTest(t, osFS{}, dir, yiToLlama, &Options{Output: out})
		must(t, err)
		_, err = j.Run(context.Background(), nil)
		must(t, err)
		want := []string{
			".gitattributes", "LINK.md", "README.md", "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
			"model.safetensors.index.json", "original/params.json", "sub/notes.txt", "tokenizer.json",
		}
		if runtime.GOOS == "windows" {
			want = slices.DeleteFunc(want, func(s string) bool { return s == "LINK.md" })
		}
		if got := slices.Sorted(maps.Keys(snapshot(t, out))); !slices.Equal(got, want) {
			t.Errorf("files %q\nwant  %q", got, want)
		}
	})
	t.Run("destination", func(t *testing.T) {
		dir, out := setup(t)
		refusal := func(opts Options, want string) {
			t.Helper()
			j, err := prepareTest(t, osFS{}, dir, yiToLlama, &opts)
			if err == nil {
				err = j.Err()
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s (force: %v): %v, want %q", opts.Output, opts.Force, err, want)
			}
		}
		refusal(Options{Output: dir}, "contain each other")
		refusal(Options{Output: filepath.Join(dir, "in")}, "contain each other")
		refusal(Options{Output: filepath.Dir(dir), Force: true}, "contain each other")
		refusal(Options{Output: filepath.Join(out, "a", "b")}, "the directory of the destination: ")
		write(t, out, map[string]string{"README.md": "old"})
		refusal(Options{Output: out}, "exists and is not empty")
		write(t, out, map[string]string{"thesis.txt": "mine"})
		refusal(Options{Output: out, Force: true}, `holds "thesis.txt", which would be lost; remove it first`)
		must(t, os.Remove(filepath.Join(out, "thesis.txt")))
		j, err := prepareTest(t, osFS{}, dir, yiToLlama, &Options{Output: out, Force: true})
		must(t, err)
		_, err = j.Run(context.Background(), nil)
		must(t, err)
		if got := snapshot(t, out)["README.md"]; got != "# Yi\n" {
			t.Errorf("README.md is %q", got)
		}
		write(t, filepath.Dir(out), map[string]string{"file": ""})
		refusal(Options{Output: filepath.Join(filepath.Dir(out), "file"), Force: true}, "is a file, and a release is written as a directory")
	})
	t.Run("file", func(t *testing.T) {
		top := t.TempDir()
		ref, _ := release(t, top, "single")
		for _, tt := range []struct{ out, want string }{
			{top, "is a directory; name the file to write"},
			{ref, "is the source itself; rewrite it in place"},
		} {
			j, err := prepareTest(t, osFS{}, ref, yiToLlama, &Options{Output: tt.out, Force: true})
			must(t, err)
			if err := j.Err(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", tt.out, err, tt.want)
			}
		}
	})
	t.Run("leftovers", func(t *testing.T) {
		dir, out := setup(t)
		temp := filepath.Join(filepath.Dir(out), ".out.wtinspect.tmp")
		write(t, temp, map[string]string{"new/model.safetensors": "half"})
		j, err := prepareTest(t, osFS{}, dir, yiToLlama, &Options{Output: out})
		must(t, err)
		l, err := lockJournal(osFS{}, temp, true)
		must(t, err)
		if _, err := j.Run(context.Background(), nil); !errors.Is(err, ErrBusy) {
			t.Errorf("while another run writes it: %v", err)
		}
		l.f.Close()
		j, err = prepareTest(t, osFS{}, dir, yiToLlama, &Options{Output: out})
		must(t, err)
		_, err = j.Run(context.Background(), nil)
		must(t, err)
		if _, err := os.Stat(temp); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the leftover: %v", err)
		}
	})
}

// faulty is a file system whose calls fail from one on, or once.
type faulty struct {
	fileSystem
	state *faults
}

type faults struct {
	calls, at int
	once      bool
	err       error
	cancel    context.CancelFunc
}

func (s *faults) enter() error {
	s.calls++
	if s.calls == s.at || s.calls > s.at && !s.once {
		if s.cancel != nil {
			s.cancel()
			return nil
		}
		return s.err
	}
	return nil
}

type faultyFile struct {
	file
	state *faults
}

func (f faulty) Open(name string, flag int, perm fs.FileMode) (file, error) {
	if flag&(os.O_RDWR|os.O_CREATE) != 0 {
		if err := f.state.enter(); err != nil {
			return nil, err
		}
	}
	g, err := f.fileSystem.Open(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return faultyFile{g, f.state}, nil
}

func (f faulty) Rename(a, b string) error {
	if err := f.state.enter(); err != nil {
		return err
	}
	return f.fileSystem.Rename(a, b)
}

func (f faulty) Mkdir(name string, perm fs.FileMode) error {
	if err := f.state.enter(); err != nil {
		return err
	}
	return f.fileSystem.Mkdir(name, perm)
}

func (f faulty) SyncDir(name string) error {
	if err := f.state.enter(); err != nil {
		return err
	}
	return f.fileSystem.SyncDir(name)
}

func (f faultyFile) Pwrite(p []byte, off int64) (int, error) {
	if err := f.state.enter(); err != nil {
		n, _ := f.file.Pwrite(p[:len(p)/2], off)
		return n, err
	}
	return f.file.Pwrite(p, off)
}

func (f faultyFile) Sync() error {
	if err := f.state.enter(); err != nil {
		return err
	}
	return f.file.Sync()
}

func (f faultyFile) Clone(src file, srcOff, off, n int64) error {
	if s, ok := src.(faultyFile); ok {
		src = s.file
	}
	return f.file.Clone(src, srcOff, off, n)
}

// TestOutputFaults fails every call of writing to another place, and cancels
// at every call: the source stays, and nothing is left behind.
func TestOutputFaults(t *testing.T) {
	for _, kind := range []string{"sharded", "gguf"} {
		for _, fault := range []error{syscall.ENOSPC, syscall.EINTR, context.Canceled} {
			t.Run(kind+"/"+fault.Error(), func(t *testing.T) {
				t.Parallel()
				for at := 1; ; at++ {
					top := t.TempDir()
					dir, out := filepath.Join(top, "m"), filepath.Join(top, "out.gguf")
					must(t, os.Mkdir(dir, 0o755))
					ref, _ := release(t, dir, kind)
					all := snapshot(t, top)
					ctx, cancel := context.WithCancel(context.Background())
					state := &faults{at: 1 << 30, err: fault, once: true}
					text := yiToLlama
					if kind == "gguf" {
						text = ggufMap
					}
					j, err := prepareTest(t, faulty{osFS{}, state}, ref, text, &Options{Output: out})
					must(t, err)
					state.calls, state.at = 0, at
					if fault == context.Canceled {
						state.cancel = cancel
					}
					_, err = j.Run(ctx, nil)
					cancel()
					if state.calls < at {
						must(t, err)
						break
					}
					got := snapshot(t, top)
					switch {
					case fault == syscall.EINTR && err != nil:
						t.Fatalf("call %d: %v", at, err)
					case err == nil:
						if _, err := os.Stat(out); err != nil {
							t.Fatalf("call %d: success without a result: %v", at, err)
						}
					case !errors.Is(err, fault):
						t.Fatalf("call %d: %v", at, err)
					case !maps.Equal(got, all):
						// The result may be there when only making its name durable failed.
						for name := range got {
							if strings.Contains(name, ".wtinspect") {
								t.Fatalf("call %d: %s was left behind (%v)", at, name, err)
							}
						}
					}
				}
			})
		}
	}
}
