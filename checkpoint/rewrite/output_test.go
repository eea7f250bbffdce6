package rewrite

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/internal/txn/faulttest"
)

// prepareTest prepares a rename of a release in dir.
func prepareTest(t testing.TB, fsys txn.System, ref, mapText string, opts *Options) (*Job, error) {
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
		fsys     txn.System
		forcible bool
		want     string
	}{
		{"symlink", func(t *testing.T, dir string) {
			blob := filepath.Join(filepath.Dir(dir), "blob")
			must(t, os.Rename(filepath.Join(dir, shard), blob))
			must(t, os.Symlink(blob, filepath.Join(dir, shard)))
		}, txn.OS{}, true, "is a symbolic link to "},
		{"hard link", func(t *testing.T, dir string) {
			must(t, os.Link(filepath.Join(dir, shard), filepath.Join(filepath.Dir(dir), "blob")))
		}, txn.OS{}, true, "has 2 hard links"},
		{"read-only", func(t *testing.T, dir string) {
			must(t, os.Chmod(filepath.Join(dir, shard), 0o444))
		}, txn.OS{}, false, "is read-only; make it writable first"},
		{"no room", func(*testing.T, string) {}, faulttest.Limited{Insert: true, Free: 1000}, false, "not enough room: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "m")
			must(t, os.Mkdir(dir, 0o755))
			ref, _ := release(t, dir, "sharded")
			before := tensorsOf(t, ref)
			tt.setup(t, dir)
			all := fixture.Snapshot(t, filepath.Dir(dir))
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
			if !maps.Equal(all, fixture.Snapshot(t, filepath.Dir(dir))) {
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
			if blob := fixture.Snapshot(t, filepath.Dir(dir))["blob"]; blob != all["blob"] {
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
		j, err := prepareTest(t, txn.OS{}, ref, yiToLlama, &Options{Force: force})
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

// A file that another process rewrites after it was opened is not taken for what
// it was then.
func TestChangedSinceOpen(t *testing.T) {
	for _, kind := range kinds5 {
		for _, fsys := range []faulttest.Limited{{Insert: true}, {}} {
			ref, m := release(t, t.TempDir(), kind)
			c := openOne(t, ref)
			plan := planFor(t, c, m)
			runJob(t, fsys, ref, m, nil)
			j, err := prepare(context.Background(), fsys, c, plan, nil, nil)
			if err == nil {
				_, err = j.Run(context.Background(), nil)
			}
			if !errors.Is(err, ErrChanged) {
				t.Errorf("%s: %v", kind, err)
			}
		}
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
			j, err := prepareTest(t, txn.OS{}, ref, yiToLlama, nil)
			must(t, err)
			meddle(t, filepath.Join(dir, "model-00002-of-00002.safetensors"))
			all := fixture.Snapshot(t, dir)
			if _, err := j.Run(context.Background(), nil); !errors.Is(err, ErrChanged) {
				t.Errorf("error %v, want %v", err, ErrChanged)
			}
			if !maps.Equal(all, fixture.Snapshot(t, dir)) {
				t.Error("something changed")
			}
		})
	}
}

// meddling changes a file behind the back of the run that has checked it: when
// its header is about to be written, or when its copy has begun.
type meddling struct {
	txn.Dir
	victim string
	opened *atomic.Int32
}

func (m meddling) Open(name string, flag int, perm fs.FileMode) (txn.File, error) {
	copying := flag&os.O_CREATE != 0 && strings.HasSuffix(name, ".tmp")
	if copying || flag&os.O_RDWR != 0 && name == filepath.Base(m.victim) && m.opened.Add(1) == 2 {
		f, err := os.OpenFile(m.victim, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		_, err = f.WriteString("more")
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
	return m.Dir.Open(name, flag, perm)
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
			j, err := prepareTest(t, faulttest.System{Dir: func(d txn.Dir) txn.Dir {
				return meddling{faulttest.Limited{}.Limit(d), ref, new(atomic.Int32)}
			}}, ref, tt.text, nil)
			must(t, err)
			if j.Files[0].Step != tt.step {
				t.Fatalf("the step is %q", j.Files[0].Step)
			}
			all := fixture.Snapshot(t, dir)
			if _, err := j.Run(context.Background(), nil); !errors.Is(err, ErrChanged) {
				t.Errorf("error %v", err)
			}
			all[filepath.Base(ref)] += "more"
			if !maps.Equal(all, fixture.Snapshot(t, dir)) {
				t.Error("what somebody changed was changed again, or something was left behind")
			}
		})
	}
}

func TestExclusion(t *testing.T) {
	dir := t.TempDir()
	ref, _ := release(t, dir, "sharded")
	j, err := prepareTest(t, txn.OS{}, ref, yiToLlama, nil)
	must(t, err)
	tx, err := txn.Begin(txn.OS{}, dir)
	must(t, err)
	if _, err := j.Run(context.Background(), nil); !errors.Is(err, ErrBusy) {
		t.Errorf("while another run has the lock: %v", err)
	}
	if _, err := Recover(context.Background(), dir, false); !errors.Is(err, ErrBusy) {
		t.Errorf("recovery while another run has the lock: %v", err)
	}
	must(t, tx.Abort())
	if got, err := Recover(context.Background(), dir, false); got != Nothing || err != nil {
		t.Errorf("recovery of nothing: %q, %v", got, err)
	}
}

func TestWriterPresent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells who writes to a file")
	}
	dir := t.TempDir()
	ref, _ := release(t, dir, "single")
	j, err := prepareTest(t, txn.OS{}, ref, yiToLlama, nil)
	must(t, err)
	f, err := os.OpenFile(ref, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	if _, err := j.Run(context.Background(), nil); !errors.Is(err, ErrBusy) {
		t.Errorf("while the file is open for writing: %v", err)
	}
}

// unwritable is a directory whose weights cannot be opened for writing.
type unwritable struct{ txn.Dir }

func (u unwritable) Open(name string, flag int, perm fs.FileMode) (txn.File, error) {
	if flag&os.O_RDWR != 0 && strings.HasSuffix(name, ".safetensors") {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return u.Dir.Open(name, flag, perm)
}

func TestNotWritable(t *testing.T) {
	dir := t.TempDir()
	ref, m := release(t, dir, "sharded")
	runJob(t, txn.OS{}, ref, m, nil)
	all := fixture.Snapshot(t, dir)
	j, err := prepareTest(t, faulttest.System{Dir: func(d txn.Dir) txn.Dir { return unwritable{d} }}, ref, "rename:\n  model.norm.weight: n\n", nil)
	must(t, err)
	if _, err := j.Run(context.Background(), nil); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("error %v", err)
	}
	if !maps.Equal(all, fixture.Snapshot(t, dir)) {
		t.Error("something changed, or a journal was left")
	}
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
		j, err := prepareTest(t, txn.OS{}, dir, yiToLlama, &Options{Output: out})
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
		if got := slices.Sorted(maps.Keys(fixture.Snapshot(t, out))); !slices.Equal(got, want) {
			t.Errorf("files %q\nwant  %q", got, want)
		}
	})
	t.Run("destination", func(t *testing.T) {
		dir, out := setup(t)
		refusal := func(opts Options, want string) {
			t.Helper()
			j, err := prepareTest(t, txn.OS{}, dir, yiToLlama, &opts)
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
		refusal(Options{Output: filepath.Join(out, "a", "b")}, ": there is no directory ")
		write(t, out, map[string]string{"README.md": "old"})
		refusal(Options{Output: out}, "already exists and is not empty")
		write(t, out, map[string]string{"thesis.txt": "mine"})
		refusal(Options{Output: out, Force: true}, `has files that would be lost: ["thesis.txt"]; remove or move them first`)
		must(t, os.Remove(filepath.Join(out, "thesis.txt")))
		j, err := prepareTest(t, txn.OS{}, dir, yiToLlama, &Options{Output: out, Force: true})
		must(t, err)
		_, err = j.Run(context.Background(), nil)
		must(t, err)
		if got := fixture.Snapshot(t, out)["README.md"]; got != "# Yi\n" {
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
			j, err := prepareTest(t, txn.OS{}, ref, yiToLlama, &Options{Output: tt.out, Force: true})
			must(t, err)
			if err := j.Err(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", tt.out, err, tt.want)
			}
		}
	})
	t.Run("leftovers", func(t *testing.T) {
		dir, out := setup(t)
		temp := filepath.Join(filepath.Dir(out), ".out.wtinspect-0123456789abcdef.tmp")
		write(t, temp, map[string]string{"new/model.safetensors": "half"})
		j, err := prepareTest(t, txn.OS{}, dir, yiToLlama, &Options{Output: out})
		must(t, err)
		if !slices.Equal(j.Leftovers, []string{temp}) {
			t.Errorf("leftovers %q", j.Leftovers)
		}
		_, err = j.Run(context.Background(), nil)
		must(t, err)
		if got := fixture.Snapshot(t, temp)["new/model.safetensors"]; got != "half" {
			t.Errorf("what another run left was touched: %q", got)
		}
	})
}

// TestOutputFaults fails every call of writing to another place, and cancels
// at every call: the source stays, and nothing is left behind.
func TestOutputFaults(t *testing.T) {
	for _, kind := range []string{"sharded", "gguf"} {
		t.Run(kind, func(t *testing.T) {
			name, text := "out", yiToLlama
			if kind == "gguf" {
				name, text = "out.gguf", ggufMap
			}
			faulttest.Sweep(t, name, func(t *testing.T, top string) string {
				dir := filepath.Join(top, "m")
				must(t, os.Mkdir(dir, 0o755))
				ref, _ := release(t, dir, kind)
				return ref
			}, func(ctx context.Context, t *testing.T, sys txn.System, ref, out string) faulttest.Job {
				j, err := prepareTest(t, sys, ref, text, &Options{Output: out})
				must(t, err)
				return func(ctx context.Context) error {
					_, err := j.Run(ctx, nil)
					return err
				}
			})
		})
	}
}
