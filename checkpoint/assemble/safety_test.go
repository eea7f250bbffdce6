package assemble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/source/sourcetest"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/internal/txn/faulttest"
)

// TestDestination: what is in the way of a result keeps its place.
func TestDestination(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such links and pipes")
	}
	for _, tt := range []struct {
		name, out string
		shard     int64
		force     bool
		setup     func(t *testing.T, top string)
		want      string // "" is none
		forcible  bool
	}{
		{name: "file", out: "x.safetensors", setup: text("x.safetensors"), want: "already exists", forcible: true},
		{name: "file, forced", out: "x.safetensors", force: true, setup: text("x.safetensors")},
		{name: "link", out: "x.safetensors", setup: link("x.safetensors"), want: "already exists", forcible: true},
		{name: "link, forced", out: "x.safetensors", force: true, setup: link("x.safetensors")},
		{name: "FIFO", out: "x.safetensors", setup: fifo("x.safetensors"), want: "is a device or a pipe; name a file"},
		{name: "FIFO as directory", out: "x", setup: fifo("x"), want: "is a file, and a release is written as a directory"},
		{name: "link as directory", out: "x", force: true, setup: linkDir("x"), want: "is a symbolic link, and a release is written as a directory; name the directory that it leads to"},
		{name: "FIFO, forced", out: "x.safetensors", force: true, setup: fifo("x.safetensors"), want: "is a device or a pipe; name a file"},
		{name: "PyTorch's name", out: "x.pt", want: "ends as a file of PyTorch, which is not written"},
		{name: "PyTorch's name, forced", out: "x.pt", force: true, want: "ends as a file of PyTorch, which is not written"},
		{name: "directory as file", out: "x.safetensors", setup: text("x.safetensors/a"), want: "is a directory; name the file to write"},
		{name: "empty directory", out: "x", setup: func(t *testing.T, top string) { must(t, os.Mkdir(filepath.Join(top, "x"), 0o755)) }},
		{name: "directory", out: "x", setup: text("x/model.safetensors"), want: "already exists and is not empty", forcible: true},
		{name: "directory, forced", out: "x", force: true, setup: text("x/model.safetensors")},
		{name: "other files, forced", out: "x", force: true, setup: text("x/mine"), want: "has files that would be lost"},
		{name: "the source", out: "src.safetensors", force: true, want: "is the source itself; name another file"},
		{name: "link to the source", out: "x.safetensors", force: true, setup: func(t *testing.T, top string) {
			must(t, os.Link(filepath.Join(top, "src.safetensors"), filepath.Join(top, "x.safetensors")))
		}, want: "is the source itself"},
		{name: "the source in it", out: "y", force: true, setup: func(t *testing.T, top string) {
			must(t, os.Mkdir(filepath.Join(top, "y"), 0o755))
			must(t, os.Link(filepath.Join(top, "src.safetensors"), filepath.Join(top, "y", "model.safetensors")))
		}, want: "model.safetensors, the source, is in it"},
		{name: "shards in a file", out: "x.safetensors", shard: 4096, want: "name a directory, or allow more bytes in a file"},
		{name: "another format", out: "x.gguf", want: "ends as a gguf file"},
		{name: "no such directory", out: "no/x", want: "no/x: there is no directory "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			top := t.TempDir()
			src := filepath.Join(top, "src.safetensors")
			must(t, fixture.Write(src, "tensor a F32 [1024]\ntensor b F32 [1024]\n"))
			want := tensorsOf(t, src)
			must(t, os.WriteFile(filepath.Join(top, "target"), []byte("precious"), 0o644))
			if tt.setup != nil {
				tt.setup(t, top)
			}
			before := listing(t, top)
			s := specOf(t, open(t, src))
			s.Layout.MaxShardSize = tt.shard
			out := filepath.Join(top, tt.out)
			j, err := Prepare(t.Context(), s, &Options{Output: out, Force: tt.force})
			if err == nil {
				err = j.Err()
				if _, runErr := j.Run(t.Context(), nil); (runErr == nil) != (err == nil) {
					t.Errorf("run: %v, and before %v", runErr, err)
				}
			}
			if tt.want == "" {
				must(t, err)
				if got := tensorsOf(t, out); !slices.Equal(got, want) {
					t.Errorf("got %q", got)
				}
				if b, err := os.ReadFile(filepath.Join(top, "target")); err != nil || string(b) != "precious" {
					t.Errorf("the target of a link was written to: %q, %v", b, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if j != nil && len(j.Refusals) > 0 && j.Refusals[0].Forcible != tt.forcible {
				t.Errorf("refusals %+v", j.Refusals)
			}
			if got := listing(t, top); !slices.Equal(got, before) {
				t.Errorf("there is %q, and was %q", got, before)
			}
		})
	}
}

func text(name string) func(*testing.T, string) {
	return func(t *testing.T, top string) {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(top, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(top, name), []byte("x"), 0o644))
	}
}

func link(name string) func(*testing.T, string) {
	return func(t *testing.T, top string) { must(t, os.Symlink("target", filepath.Join(top, name))) }
}

func linkDir(name string) func(*testing.T, string) {
	return func(t *testing.T, top string) {
		must(t, os.Mkdir(filepath.Join(top, "elsewhere"), 0o755))
		must(t, os.Symlink("elsewhere", filepath.Join(top, name)))
	}
}

func fifo(name string) func(*testing.T, string) {
	return func(t *testing.T, top string) {
		must(t, exec.Command("mkfifo", filepath.Join(top, name)).Run())
	}
}

// listing is every file below a directory, with its kind and size.
func listing(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil {
			fi, _ := d.Info()
			out = append(out, fmt.Sprint(strings.TrimPrefix(p, dir), " ", d.Type(), " ", fi.Size()))
		}
		return err
	}))
	return out
}

// release is a release of three shards with two documents.
func release(t testing.TB, top string) (dir string) {
	t.Helper()
	dir = filepath.Join(top, "m")
	must(t, fixture.Sharded(dir, sharded))
	must(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"model_type": "llama"}`), 0o644))
	must(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "sub", "LICENSE"), []byte("free"), 0o640))
	return dir
}

// releaseSpec makes other shards of a release, with its documents, one of them edited.
func releaseSpec(t testing.TB, c *checkpoint.Checkpoint) *Spec {
	t.Helper()
	s := specOf(t, c)
	s.Layout.MaxShardSize = 5000
	config := filepath.Join(c.Dir, "config.json")
	s.Documents = []Document{{Name: "config.json", Text: []byte(`{"model_type": "other"}`), From: config}, {Name: "sub/LICENSE", From: filepath.Join(c.Dir, "sub", "LICENSE")}}
	return s
}

func TestDocuments(t *testing.T) {
	top := t.TempDir()
	dir, out := release(t, top), filepath.Join(top, "out")
	must(t, os.Chmod(filepath.Join(dir, "model-00001-of-00003.safetensors"), 0o640))
	j, r := run(t, txn.OS{}, releaseSpec(t, open(t, dir)), &Options{Output: out})
	got := fixture.Snapshot(t, out)
	if got["config.json"] != `{"model_type": "other"}` || got["sub/LICENSE"] != "free" {
		t.Errorf("files %q", names(t, out))
	}
	if want := []string{"model.safetensors.index.json", "config.json"}; !slices.Equal(j.Documents, want) || !slices.Equal(r.Documents, want) || !slices.Equal(r.Copied, []string{"sub/LICENSE"}) {
		t.Errorf("documents %q, report %+v", j.Documents, r)
	}
	if runtime.GOOS != "windows" {
		for name, mode := range map[string]fs.FileMode{"config.json": 0o644, "sub/LICENSE": 0o640, "model-00002-of-00004.safetensors": 0o640} {
			if fi, err := os.Stat(filepath.Join(out, name)); err != nil || fi.Mode().Perm() != mode {
				t.Errorf("%s: %v (%v), want %v", name, fi.Mode(), err, mode)
			}
		}
	}
	if _, err := Prepare(t.Context(), releaseSpec(t, open(t, dir)), &Options{Output: filepath.Join(dir, "new")}); err == nil || !strings.Contains(err.Error(), "contain each other") {
		t.Errorf("into the source: %v", err)
	}
	if _, err := Prepare(t.Context(), releaseSpec(t, open(t, dir)), &Options{Output: filepath.Join(top, "x.safetensors")}); err == nil || !strings.Contains(err.Error(), "name a directory") {
		t.Errorf("documents beside one file: %v", err)
	}
}

// A change to a source, at whatever moment, ends the run, and leaves nothing.
func TestSourceChanges(t *testing.T) {
	second := "model-00002-of-00003.safetensors"
	for name, change := range map[string]func(t *testing.T, path string){
		"touched": func(t *testing.T, path string) { must(t, os.Chtimes(path, time.Now(), time.Now().Add(time.Hour))) },
		"truncated": func(t *testing.T, path string) {
			must(t, os.Truncate(path, 200))
		},
		"removed": func(t *testing.T, path string) { must(t, os.Remove(path)) },
		"replaced": func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path+".new", b, 0o644))
			must(t, os.Rename(path+".new", path))
		},
		"a pipe": func(t *testing.T, path string) {
			must(t, os.Remove(path))
			must(t, exec.Command("mkfifo", path).Run())
		},
	} {
		if runtime.GOOS == "windows" {
			t.Skip("Windows lets nobody remove or replace an open file")
		}
		for _, when := range []string{"before the run", "in the run", "at its end"} {
			t.Run(name+" "+when, func(t *testing.T) {
				top := t.TempDir()
				dir, out := release(t, top), filepath.Join(top, "out.safetensors")
				s := specOf(t, open(t, dir))
				victim := filepath.Join(dir, second)
				var once atomic.Bool
				meddle := func() {
					if !once.Swap(true) {
						change(t, victim)
					}
				}
				if when == "in the run" {
					// The data of the tensor before those of the victim.
					first := &s.Tensors[3]
					first.Data = &watched{first.Data, meddle}
				}
				var progress func(done, total int64)
				if when == "at its end" {
					progress = func(done, total int64) {
						if done == total {
							meddle()
						}
					}
				}
				j, err := Prepare(t.Context(), s, &Options{Output: out})
				must(t, err)
				if when == "before the run" {
					meddle()
				}
				if _, err = j.Run(t.Context(), progress); !errors.Is(err, rewrite.ErrChanged) {
					t.Errorf("error %v", err)
				}
				if got := listing(t, top); slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "out") }) {
					t.Errorf("there is %q", got)
				}
			})
		}
	}
}

type watched struct {
	io.ReaderAt
	read func()
}

func (w *watched) ReadAt(p []byte, off int64) (int, error) {
	w.read()
	return w.ReaderAt.ReadAt(p, off)
}

// A source that was written anew since it was opened is not taken for what it was.
func TestChangedSinceOpen(t *testing.T) {
	for format, text := range map[string]string{"safetensors": "tensor a F32 [64]\ntensor b F32 [64]\n", "gguf": "format gguf\ntensor a F32 [64]\ntensor b F32 [64]\n", "pt": "format torch\ntensor a F32 [64]\ntensor b F32 [64]\n"} {
		ref := filepath.Join(t.TempDir(), "m."+format)
		must(t, fixture.Write(ref, text))
		s := specOf(t, open(t, ref))
		if format == "pt" {
			s.Format = checkpoint.Safetensors
		}
		must(t, fixture.Write(ref, strings.Replace(strings.Replace(text, "tensor a", "tensor c", 1), "tensor b", "tensor a", 1)))
		if _, err := Prepare(t.Context(), s, &Options{Output: ref + ".out." + format}); !errors.Is(err, rewrite.ErrChanged) {
			t.Errorf("%s: %v", format, err)
		}
	}
}

// Data that has other bytes when it is read again is found.
func TestUnsteady(t *testing.T) {
	var n atomic.Int64
	data := readerFunc(func(p []byte, _ int64) (int, error) {
		clear(p)
		p[0] = byte(n.Add(1))
		return len(p), nil
	})
	s := &Spec{Format: checkpoint.Safetensors, Tensors: []Tensor{{Name: "a", DType: "U8", Shape: []uint64{100}, Data: data, Size: 100}}}
	dir := t.TempDir()
	j, err := Prepare(t.Context(), s, &Options{Output: filepath.Join(dir, "m.safetensors"), Verify: rewrite.VerifyFull})
	must(t, err)
	if _, err := j.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), `m.safetensors: tensor "a": read a second time`) && !strings.Contains(err.Error(), `tensor "a": read a second time`) {
		t.Errorf("error %v", err)
	}
	short := readerFunc(func([]byte, int64) (int, error) { return 0, io.EOF })
	s.Tensors[0].Data = short
	j, err = Prepare(t.Context(), s, &Options{Output: filepath.Join(dir, "m.safetensors")})
	must(t, err)
	if _, err := j.Run(t.Context(), nil); err == nil {
		t.Error("data that ends too early was written")
	}
	if n := names(t, dir); len(n) > 0 {
		t.Errorf("there is %q", n)
	}
}

// Data that is computed is read once, by one goroutine at a time, whatever else there is.
func TestComputedOnce(t *testing.T) {
	for _, v := range []rewrite.Verify{rewrite.VerifyDefault, rewrite.VerifyFull, rewrite.VerifySampled, rewrite.VerifyNone} {
		var busy, again atomic.Int64
		const size = 1 << 16
		s := &Spec{Format: checkpoint.Safetensors, Layout: Layout{MaxShardSize: size}}
		read := make([]int64, 20)
		for i := range read {
			data := func(p []byte, off int64, n *int64) (int, error) {
				if busy.Add(1) > 1 {
					t.Error("two goroutines read at a time")
				}
				defer busy.Add(-1)
				*n += int64(len(p))
				for k := range p {
					p[k] = byte(off + int64(k+i))
				}
				return len(p), nil
			}
			s.Tensors = append(s.Tensors, Tensor{
				Name: fmt.Sprint(i), DType: "U8", Shape: []uint64{size}, Size: size,
				Data: readerFunc(func(p []byte, off int64) (int, error) { return data(p, off, &read[i]) }),
				Again: readerFunc(func(p []byte, off int64) (int, error) {
					again.Add(1)
					var n int64
					return data(p, off, &n)
				}),
			})
		}
		run(t, txn.OS{}, s, &Options{Output: filepath.Join(t.TempDir(), "out"), Verify: v})
		for i, n := range read {
			if n != size {
				t.Errorf("verify %q: %d bytes of tensor %d were read", v, n, i)
			}
		}
		if (again.Load() > 0) != (v == rewrite.VerifyFull || v == rewrite.VerifySampled) {
			t.Errorf("verify %q: compared by %d reads", v, again.Load())
		}
	}
}

type readerFunc func(p []byte, off int64) (int, error)

func (f readerFunc) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

// TestDamage: what the disk changes is found, by every way to compare that looks there.
func TestDamage(t *testing.T) {
	for _, v := range []rewrite.Verify{rewrite.VerifyDefault, rewrite.VerifyFull, rewrite.VerifySampled} {
		top := t.TempDir()
		dir := release(t, top)
		s := specOf(t, open(t, dir))
		j, err := prepare(t.Context(), faulttest.Rotten, s, &Options{Output: filepath.Join(top, "out"), Verify: v})
		must(t, err)
		if _, err := j.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), `tensor "model.embed_tokens.weight": the data at byte`) {
			t.Errorf("verify %q: %v", v, err)
		}
		if _, err := os.Stat(filepath.Join(top, "out")); err == nil {
			t.Error("what is damaged was published")
		}
	}
}

// TestFaults fails every call that writes, and cancels at every call: the sources stay,
// and nothing is left behind.
func TestFaults(t *testing.T) {
	faulttest.Sweep(t, "out", func(t *testing.T, top string) string { return release(t, top) }, func(ctx context.Context, t *testing.T, sys txn.System, ref, out string) faulttest.Job {
		j, err := prepare(ctx, sys, releaseSpec(t, open(t, ref)), &Options{Output: out})
		must(t, err)
		return func(ctx context.Context) error {
			_, err := j.Run(ctx, nil)
			return err
		}
	})
}

// childEnv makes the test binary assemble what it names.
const childEnv = "WTINSPECT_ASSEMBLE_CHILD"

func TestMain(m *testing.M) {
	if task := os.Getenv(childEnv); task != "" {
		if err := child(strings.Split(task, "\n")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func child(task []string) error {
	ctx := context.Background()
	r, err := checkpoint.Open(ctx, task[0], nil)
	if err != nil {
		return err
	}
	defer r.Close()
	c := r.Checkpoints[0]
	s := &Spec{Format: c.Format, Sources: r.Checkpoints}
	for i := range c.Len() {
		t, err := Stored(c, i)
		if err != nil {
			return err
		}
		s.Tensors = append(s.Tensors, t)
	}
	s.Metadata, _ = Metadata(c)
	s.Layout.MaxShardSize, _ = strconv.ParseInt(task[2], 10, 64)
	j, err := Prepare(ctx, s, &Options{Output: task[1], Force: true})
	if err != nil {
		return err
	}
	// The clock of the kill starts here: opening is not what is tested.
	fmt.Println("ready")
	_, err = j.Run(ctx, nil)
	return err
}

// TestKill kills real processes at random moments: the destination is what it was, or
// the whole result.
func TestKill(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signals to kill with")
	}
	total := 24
	if testing.Short() {
		total = 6
	}
	if n, err := strconv.Atoi(os.Getenv("WTINSPECT_KILLS")); err == nil {
		total = n
	}
	rng := rand.New(rand.NewPCG(1, 2))
	kills, results := 0, 0
	for i := range total {
		top := t.TempDir()
		dir, out := release(t, top), filepath.Join(top, "out")
		limit := "5000"
		switch i % 3 {
		case 1:
			out, limit = out+".safetensors", "0"
		case 2: // over an older result
			must(t, os.Mkdir(out, 0o755))
			must(t, os.WriteFile(filepath.Join(out, "model.safetensors.index.json"), []byte("{}"), 0o644))
		}
		before := fixture.Snapshot(t, top)
		whole := filepath.Join(t.TempDir(), filepath.Base(out))
		start := time.Now()
		must(t, child2(t, dir, whole, limit, 0))
		took := time.Since(start)
		if err := child2(t, dir, out, limit, time.Duration(rng.Int64N(int64(took)*9/10+1))); err != nil {
			kills++
		}
		after := fixture.Snapshot(t, top)
		rest := map[string]string{}
		for name, content := range after {
			if !strings.Contains(name, ".wtinspect-") {
				rest[name] = content
			}
		}
		want := maps.Clone(before)
		maps.DeleteFunc(want, func(name, _ string) bool { return strings.HasPrefix(name, "out") })
		for name, content := range fixture.Snapshot(t, filepath.Dir(whole)) {
			want[name] = content
		}
		switch {
		case maps.Equal(rest, before):
		case maps.Equal(rest, want):
			results++
		default:
			t.Fatalf("%d: neither what was there nor the whole result: %q", i, slices.Sorted(maps.Keys(after)))
		}
	}
	t.Logf("%d processes killed, %d results", kills, results)
}

// child2 runs a child and kills it after some time, never for 0.
func child2(t *testing.T, ref, out, limit string, after time.Duration) error {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join([]string{ref, out, limit}, "\n"))
	pipe, err := cmd.StdoutPipe()
	must(t, err)
	stderr := new(strings.Builder)
	cmd.Stderr = stderr
	must(t, cmd.Start())
	_, err = pipe.Read(make([]byte, 8))
	must(t, err)
	if after > 0 {
		time.Sleep(after)
		_ = cmd.Process.Kill()
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		t.Fatalf("%s: %s", out, stderr)
	}
	return err
}

// The memory of a run does not grow with the tensors, and few files are open.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 600 MB")
	}
	top := t.TempDir()
	dir := filepath.Join(top, "m")
	text := ""
	for i := range 8 {
		text += fmt.Sprintf("file model-%05d-of-00008.safetensors\ntensor t%d.{0..3} BF16 [1024,8192]\n", i+1, i)
	}
	must(t, fixture.Sharded(dir, text))
	c := open(t, dir)
	for _, limit := range []int64{0, 100e6} {
		s := specOf(t, c)
		s.Layout.MaxShardSize = limit
		j, err := Prepare(t.Context(), s, &Options{Output: filepath.Join(top, fmt.Sprint("out", limit))})
		must(t, err)
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		before := m.HeapInuse
		var peak atomic.Uint64
		var files atomic.Int64
		_, err = j.Run(t.Context(), func(int64, int64) {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapInuse))
			if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
				files.Store(max(files.Load(), int64(len(fds))))
			}
		})
		must(t, err)
		if n := (peak.Load() - before) >> 20; peak.Load() > before && n > 64 {
			t.Errorf("files of up to %d bytes: the heap grew by %d MiB", limit, n)
		}
		if n := files.Load(); n > 60 {
			t.Errorf("%d files were open", n)
		}
		t.Logf("files of up to %d bytes: %d MiB, %d descriptors", limit, (peak.Load()-before)>>20, files.Load())
	}
}

// TestMemoryOfGathering: a conversion takes the memory of one copy, which the comparison after it uses
// again, and that of one gathered tensor, however many there are. All that is allocated is
// counted, so that what is held at once cannot be more.
func TestMemoryOfGathering(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 96 MiB")
	}
	const most = 49 << 20 // 4 blocks of 8 MiB and one of 4 MiB, and what the run itself takes: less than a block
	top := t.TempDir()
	name := filepath.Join(top, "pytorch_model.bin")
	must(t, fixture.Write(name, "format torch\ndata zero\ntensor layers.{0..11}.weight BF16 [2048,2048] strides=1,2048\n"))
	s := specOf(t, open(t, name))
	s.Format = checkpoint.Safetensors
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which empties pools
	// How many blocks are in use at once is a matter of who runs when: the least of three counts.
	least := uint64(math.MaxUint64)
	for i := range 3 {
		runtime.GC()
		runtime.GC() // the pools are empty after the second
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		run(t, txn.OS{}, s, &Options{Output: filepath.Join(top, fmt.Sprint("out", i))})
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	if least > most && !dropsMemory() {
		t.Errorf("allocates %d MiB, and at most %d are wanted", least>>20, most>>20)
	} else {
		t.Logf("allocates %.1f MiB", float64(least)/(1<<20))
	}
}

// dropsMemory reports whether pools forget at random, as they do under the race detector.
func dropsMemory() bool {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-race" && s.Value == "true" {
			return true
		}
	}
	return false
}

// TestHostile: of files that lie, what they do not have is not written, and what they have
// twice is written twice.
func TestHostile(t *testing.T) {
	for _, tt := range []struct{ name, ext, text, want string }{
		{"cut off", "safetensors", "tensor a F32 [4]\ntensor b F32 [400]\ntruncate -8\n", `tensor "b"`},
		{"beyond the end", "safetensors", "tensor a F32 [4] begin=0 end=99999999999\n", `tensor "a"`},
		{"backwards", "safetensors", "tensor a F32 [4] begin=16 end=0\n", `tensor "a"`},
		{"another size", "safetensors", "tensor a F32 [5] bytes=16\n", "a"},
		{"cut off", "gguf", "format gguf\ntensor a F32 [4]\ntensor b F32 [400]\ntruncate -64\n", `tensor "b"`},
		{"beyond the end", "gguf", "format gguf\ntensor a F32 [4] offset=18446744073709551584\n", `tensor "a"`},
		{"unknown type", "gguf", "format gguf\ntensor a F32 [4] type=4\n", `tensor "a"`},
		{"overlap", "safetensors", "tensor a F32 [4]\ntensor b F32 [4] begin=8 end=24\n", ""},
		{"same bytes", "safetensors", "tensor a F32 [4]\ntensor b F32 [4] begin=0 end=16\n", ""},
		{"unknown type", "safetensors", "tensor a F3 [4] bytes=16\n", ""},
	} {
		t.Run(tt.ext+" "+tt.name, func(t *testing.T) {
			dir := t.TempDir()
			ref := filepath.Join(dir, "m."+tt.ext)
			must(t, fixture.Write(ref, tt.text))
			r, err := checkpoint.Open(t.Context(), ref, nil)
			must(t, err)
			defer r.Close()
			c := r.Checkpoints[0]
			s := &Spec{Format: c.Format, Sources: r.Checkpoints}
			for i := range c.Len() {
				var tensor Tensor
				if tensor, err = Stored(c, i); err != nil {
					break
				}
				s.Tensors = append(s.Tensors, tensor)
			}
			out := filepath.Join(dir, "out."+tt.ext)
			if err == nil {
				var j *Job
				if j, err = Prepare(t.Context(), s, &Options{Output: out}); err == nil {
					_, err = j.Run(t.Context(), nil)
				}
			}
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				if got := names(t, dir); len(got) != 1 {
					t.Errorf("there is %q", got)
				}
				return
			}
			must(t, err)
			made := open(t, out)
			for i := range c.Len() {
				a, err := c.Data(i)
				must(t, err)
				b, err := made.Data(i)
				must(t, err)
				x, err := io.ReadAll(a)
				must(t, err)
				y, err := io.ReadAll(b)
				must(t, err)
				if string(x) != string(y) {
					t.Errorf("tensor %d is another one", i)
				}
			}
		})
	}
}

// TestElsewhere makes of a release that is not on the file system what it would make of
// the same files here.
func TestElsewhere(t *testing.T) {
	top := t.TempDir()
	release(t, top)
	ctx := source.With(t.Context(), "tree", sourcetest.Tree{FS: os.DirFS(top)})
	r, err := checkpoint.Open(ctx, "tree://m", nil)
	must(t, err)
	defer r.Close()
	c := r.Checkpoints[0]
	s := specOf(t, c)
	s.Layout.MaxShardSize = 5000
	s.Documents = []Document{{Name: "config.json", Text: []byte("{}"), From: "tree://m/config.json"}, {Name: "sub/LICENSE", From: "tree://m/sub/LICENSE"}}
	far, near := filepath.Join(top, "far"), filepath.Join(top, "near")
	j, err := Prepare(ctx, s, &Options{Output: far, Verify: rewrite.VerifyFull})
	must(t, err)
	_, err = j.Run(ctx, nil)
	must(t, err)
	here := releaseSpec(t, open(t, filepath.Join(top, "m")))
	here.Documents[0].Text = []byte("{}")
	run(t, txn.OS{}, here, &Options{Output: near})
	if a, b := fixture.Snapshot(t, far), fixture.Snapshot(t, near); !maps.Equal(a, b) {
		t.Errorf("%q, and %q of files here", names(t, far), names(t, near))
	}
}
