//go:build amd64 || arm64

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/internal/txn/crashtest"
)

// These tests interrupt the program itself, as it is installed, at every call by
// which it changes files. `make crash` runs all of it, on several file systems;
// go test alone, a part.

// A deed is a command that changes a release, in the directory that holds it.
type deed struct {
	name  string
	build func(dir string) error
	args  []string
	out   string // the destination of -o
}

const (
	crashYi = `
meta format pt
file model-00001-of-00002.safetensors
tensor model.embed_tokens.weight BF16 [64,32]
tensor model.layers.{0..1}.ln1.weight BF16 [32]
tensor model.layers.{0..1}.self_attn.q_proj.weight BF16 [32,32]
file sub/model-00002-of-00002.safetensors
tensor model.layers.{2..3}.ln1.weight BF16 [32]
tensor model.layers.{2..3}.self_attn.q_proj.weight BF16 [32,32]
`
	crashFlat = `
meta format pt
file model-00001-of-00002.safetensors
tensor model.embed_tokens.weight BF16 [64,32]
tensor model.layers.{0..1}.input_layernorm.weight BF16 [32]
file model-00002-of-00002.safetensors
tensor model.layers.{2..3}.input_layernorm.weight BF16 [32]
`
	crashConfig = `{"model_type": "llama", "quantization_config": {"ignore": ["model.layers.0.ln1", "model.layers.1.ln1"]}}`
	crashGGUF   = `
format gguf
kv general.architecture str llama
tensor token_embd.weight F32 [64,32]
tensor blk.{0..3}.ln1.weight F32 [32]
tensor blk.{0..3}.attn_q.weight Q4_0 [32,32]
`
	longer   = "rename: {'{a...}.ln1.weight': '{a}.input_layernorm_with_more_room_than_there_is.weight'}\n"
	shorter  = "rename: {'{a...}.ln1.weight': '{a}.n.weight'}\n"
	dropping = "version: 1\nrules:\n  - {from: '{a...}.ln1.weight', drop: not needed}\n"
	turning  = "version: 1\nrules:\n  - {from: '{a...}.q_proj.weight', transpose: {}, to: '{a}.turned.weight'}\n"
)

func sharded(text string, files map[string]string) func(dir string) error {
	return func(dir string) error {
		err := fixture.Sharded(dir, text)
		for name, text := range files {
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
		return err
	}
}

func fixtures(files map[string]string) func(dir string) error {
	return func(dir string) error {
		var err error
		for name, text := range files {
			err = errors.Join(err, fixture.Write(filepath.Join(dir, name), text))
		}
		return err
	}
}

// deeds are all ways to change a release; maps is where the maps are.
func deeds(t testing.TB) []deed {
	t.Helper()
	maps := t.TempDir()
	rules := func(name, text string) string {
		p := filepath.Join(maps, name+".yaml")
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	long, short, drop, turn := rules("long", longer), rules("short", shorter), rules("drop", dropping), rules("turn", turning)
	yi := sharded(crashYi, map[string]string{"config.json": crashConfig, "README.md": "# A model\n"})
	one := fixtures(map[string]string{"model.gguf": crashGGUF})
	const split = "kv split.no u16 %d\nkv split.count u16 2\nkv split.tensors.count i32 11\n"
	gguf := fixtures(map[string]string{
		"m-00001-of-00002.gguf": crashGGUF + fmt.Sprintf(split, 0),
		"m-00002-of-00002.gguf": "format gguf\n" + fmt.Sprintf(split, 1) + "tensor blk.4.ln1.weight F32 [32]\ntensor blk.4.attn_q.weight Q4_0 [32,32]\n",
	})
	over := func(build func(string) error, files ...string) func(string) error { // with a result of the same before it
		return func(dir string) error {
			err := build(dir)
			for _, name := range files {
				name = filepath.Join(filepath.Dir(dir), "out", name)
				err = errors.Join(err, os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte("older"), 0o644))
			}
			return err
		}
	}
	overFile := func(dir string) error {
		return errors.Join(one(dir), os.WriteFile(filepath.Join(filepath.Dir(dir), "out.gguf"), []byte("older"), 0o644))
	}
	flat := sharded(crashFlat, nil)
	stray := func(dir string) error {
		return errors.Join(flat(dir), fixture.Write(filepath.Join(dir, "model.safetensors"),
			"meta format pt\ntensor model.embed_tokens.weight BF16 [64,32]\ntensor model.layers.{0..3}.input_layernorm.weight BF16 [32]\n"))
	}
	return []deed{
		{"pad", yi, []string{"rename", "--map", short, "--in-place", "m"}, ""},
		{"grow", yi, []string{"rename", "--map", long, "--in-place", "m"}, ""},
		{"drop", yi, []string{"rename", "--map", drop, "--in-place", "m"}, ""},
		{"transform", yi, []string{"rename", "--map", turn, "--in-place", "m"}, ""},
		{"gguf", one, []string{"rename", "--map", long, "--in-place", "m/model.gguf"}, ""},
		{"gguf pad", one, []string{"rename", "--map", short, "--in-place", "m/model.gguf"}, ""},
		{"gguf split", gguf, []string{"rename", "--map", long, "--in-place", "m/m-00001-of-00002.gguf"}, ""},
		{"meta set", yi, []string{"meta", "set", "--in-place", "m", "license=apache-2.0", "note=" + strings.Repeat("long ", 1000)}, ""},
		{"fix index", sharded(crashFlat+"weight mtp.fc.weight model-00002-of-00002.safetensors\n", nil), []string{"fix", "--select", "WT202", "--in-place", "m"}, ""},
		{"fix no index", sharded(crashFlat+"index none\n", nil), []string{"fix", "--select", "WT216", "--in-place", "m"}, ""},
		{"fix aside", stray, []string{"fix", "--select", "WT212", "--in-place", "m"}, ""},
		{"fix padding", fixtures(map[string]string{"model.safetensors": "pad \"\\x00\\x00\\x00\\x00\\x00\"\ntensor a.weight F32 [40]\n"}), []string{"fix", "--in-place", "m"}, ""},
		{"-o", yi, []string{"rename", "--map", long, "-o", "out", "m"}, "out"},
		{"-o drop", yi, []string{"rename", "--map", drop, "-o", "out", "m"}, "out"},
		{"-o gguf", one, []string{"rename", "--map", long, "-o", "out.gguf", "m/model.gguf"}, "out.gguf"},
		{"-o --force", over(yi, "config.json", "sub/model-00002-of-00002.safetensors"), []string{"rename", "--map", long, "--force", "-o", "out", "m"}, "out"},
		{"-o file --force", overFile, []string{"rename", "--map", long, "--force", "-o", "out.gguf", "m/model.gguf"}, "out.gguf"},
		{"convert", yi, []string{"convert", "--max-shard-size", "6kB", "-o", "out", "m"}, "out"},
		{"convert --force", over(yi, "config.json", "model.safetensors.index.json"), []string{"convert", "--dtype", "f32", "--max-shard-size", "11kB", "--force", "-o", "out", "m"}, "out"},
		{"convert file", yi, []string{"convert", "--single-file", "-o", "out.safetensors", "m"}, "out.safetensors"},
		{"convert gguf", gguf, []string{"convert", "-o", "out.gguf", "m/m-00001-of-00002.gguf"}, "out.gguf"},
		{"meta set -o", yi, []string{"meta", "set", "-o", "out", "m", "license=apache-2.0"}, "out"},
		{"fix -o", sharded(crashFlat+"weight mtp.fc.weight model-00002-of-00002.safetensors\n", nil), []string{"fix", "--select", "WT202", "-o", "out", "m"}, "out"},
	}
}

// A stage is where a deed is done again and again: a directory, what is in it
// before, and what is in it after.
type stage struct {
	t        testing.TB
	bin      string
	deed     deed
	template string // the release as it is before
	top      string
	old, new map[string]string
	calls    int
}

// newStage builds the release of a deed and does it once.
func newStage(t testing.TB, bin string, d deed, below string) *stage {
	t.Helper()
	s := &stage{t: t, bin: bin, deed: d, template: t.TempDir(), top: filepath.Join(below, strings.ReplaceAll(d.name, " ", "-"))}
	if err := errors.Join(os.Mkdir(filepath.Join(s.template, "m"), 0o755), d.build(filepath.Join(s.template, "m"))); err != nil {
		t.Fatal(err)
	}
	s.reset()
	s.old = treeOf(t, s.top)
	var calls []string
	r, said := s.run(func(c crashtest.Call) crashtest.Verdict {
		rel, _ := filepath.Rel(s.top, c.Path)
		calls = append(calls, c.Name+" "+rel)
		return crashtest.Go
	})
	if r.Status.ExitStatus() != 0 {
		t.Fatalf("%s: %v: %s", d.name, r.Status, said)
	}
	s.new, s.calls = treeOf(t, s.top), r.Calls
	if maps.Equal(s.old, s.new) || s.calls < 5 {
		t.Fatalf("%s: nothing changed by %d calls: %q", d.name, s.calls, said)
	}
	if testing.Verbose() && os.Getenv("WTINSPECT_CALLS") != "" {
		t.Logf("%s:\n%s", d.name, strings.Join(calls, "\n"))
	}
	return s
}

// reset puts the release back as it was.
func (s *stage) reset() {
	s.t.Helper()
	if err := errors.Join(os.RemoveAll(s.top), os.CopyFS(s.top, os.DirFS(s.template))); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.bin, args...)
	cmd.Dir = s.top
	return cmd
}

// run does the deed, under the eyes of at.
func (s *stage) run(at func(crashtest.Call) crashtest.Verdict) (crashtest.Result, string) {
	s.t.Helper()
	return s.trace(at, s.deed.args...)
}

func (s *stage) trace(at func(crashtest.Call) crashtest.Verdict, args ...string) (crashtest.Result, string) {
	s.t.Helper()
	said, err := os.CreateTemp(s.template, "said")
	if err != nil {
		s.t.Fatal(err)
	}
	defer os.Remove(said.Name())
	defer said.Close()
	cmd := s.command(args...)
	cmd.Stdout, cmd.Stderr = said, said
	r, err := crashtest.Run(cmd, s.top, at)
	if errors.Is(err, crashtest.ErrNoTrace) {
		s.t.Skipf("the program is stopped at its calls by ptrace, which is not allowed here: %v", err)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := os.ReadFile(said.Name())
	if err != nil {
		s.t.Fatal(err)
	}
	return r, string(text)
}

func (s *stage) journal() string { return filepath.Join(s.top, "m", txn.JournalName) }

// at stops the program at one call.
func at(n int, v crashtest.Verdict) func(crashtest.Call) crashtest.Verdict {
	return func(c crashtest.Call) crashtest.Verdict {
		if c.N == n {
			return v
		}
		return crashtest.Go
	}
}

// settle recovers, and says what the release is then: old, new, or what differs.
func (s *stage) settle() (state string, outcome rewrite.Outcome) {
	s.t.Helper()
	outcome, err := rewrite.Recover(context.Background(), filepath.Join(s.top, "m"), false)
	if err != nil {
		return fmt.Sprintf("not recovered: %v", err), outcome
	}
	return s.state(), outcome
}

// state says what the release is. Of a copy that was interrupted a hidden
// directory may be left.
func (s *stage) state() string {
	s.t.Helper()
	now := treeOf(s.t, s.top)
	if s.deed.out != "" {
		prefix := "." + s.deed.out + ".wtinspect-"
		maps.DeleteFunc(now, func(name, _ string) bool { return strings.HasPrefix(name, prefix) })
	}
	switch {
	case maps.Equal(now, s.old):
		return "old"
	case maps.Equal(now, s.new):
		return "new"
	}
	return "neither: " + treeDiff(now, s.old, s.new)
}

func treeDiff(now, old, new map[string]string) string {
	var b strings.Builder
	names := maps.Clone(old)
	maps.Copy(names, new)
	maps.Copy(names, now)
	for _, n := range slices.Sorted(maps.Keys(names)) {
		got, ok := now[n]
		was, before := old[n]
		is, after := new[n]
		switch {
		case ok == before && got == was && ok == after && got == is:
		case ok == before && got == was:
			fmt.Fprintf(&b, "%s old; ", n)
		case ok == after && got == is:
			fmt.Fprintf(&b, "%s new; ", n)
		case !ok:
			fmt.Fprintf(&b, "%s missing; ", n)
		default:
			fmt.Fprintf(&b, "%s other (%d bytes, old %d, new %d); ", n, len(got), len(was), len(is))
		}
	}
	return b.String()
}

// treeOf returns the content of every file, where every link leads, and every
// directory, whose names end with a slash.
func treeOf(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		var text []byte
		switch {
		case d.IsDir():
			rel += "/"
		case d.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			out[rel] = "-> " + to
			return err
		default:
			text, err = os.ReadFile(p)
		}
		out[rel] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A tally counts how interruptions ended.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *tally) add(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[string]int{}
	}
	c.counts[fmt.Sprintf(format, args...)]++
}

func (c *tally) report(t testing.TB) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(c.counts)) {
		n += c.counts[k]
		fmt.Fprintf(&b, "\n%6d  %s", c.counts[k], k)
	}
	t.Logf("%d in all:%s", n, b.String())
}

// many is a number from the environment, that `make crash` sets.
func many(name string) int {
	n, _ := strconv.Atoi(os.Getenv(name))
	return n
}

// chosen picks some of all that could be tried: so many, or few without a number.
func chosen(rng *rand.Rand, want, of, few int) bool {
	if want == 0 {
		want = few
	}
	return rng.IntN(of) < want
}

// theBinary returns the program. It is not built for the race detector, so that -short,
// which runs under it, leaves out all that is done with it.
func theBinary(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("the program is interrupted without -short")
	}
	return buildBinary(t)
}

// fileSystems calls f for file systems of these kinds, or, without any, for that
// of temporary files.
func fileSystems(t *testing.T, kinds []string, f func(t *testing.T, dir string)) {
	if len(kinds) == 0 {
		t.Run("temporary", func(t *testing.T) {
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			f(t, dir)
		})
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f(t, crashtest.NewMount(t, kind, max(64, crashtest.Least[kind])).Dir)
		})
	}
}

// on returns the file systems for a test that runs so often; none for 0.
func on(n int, kinds ...string) []string {
	if n == 0 {
		return nil
	}
	return kinds
}

// TestKillAtEveryCall kills the program before every call that changes files and
// half-way through it, and its recovery now and then.
func TestKillAtEveryCall(t *testing.T) {
	t.Parallel()
	kills := many("WTINSPECT_KILLS")
	var counts tally
	defer counts.report(t)
	t.Run("on", func(t *testing.T) {
		fileSystems(t, on(kills, "ext4", "xfs", "btrfs", "tmpfs"), func(t *testing.T, dir string) {
			var stages []*stage
			all := 0
			for _, d := range deeds(t) {
				s := newStage(t, theBinary(t), d, dir)
				stages, all = append(stages, s), all+2*s.calls
			}
			share := 20
			if kills > 0 {
				share = kills / 4
			}
			step := max(1, float64(all)/float64(max(share, 1)))
			next, i := step/2, 0
			rng := rand.New(rand.NewPCG(1, 2))
			for _, s := range stages {
				for n := range s.calls {
					for _, v := range []crashtest.Verdict{crashtest.Kill, crashtest.Half} {
						if i++; float64(i) < next {
							continue
						}
						next += step
						s.killed(t, rng, n, v, &counts)
					}
				}
			}
		})
	})
}

func (s *stage) killed(t *testing.T, rng *rand.Rand, n int, v crashtest.Verdict, counts *tally) {
	t.Helper()
	s.reset()
	r, said := s.run(at(n, v))
	// Calls of several threads are not always as many.
	if !r.Killed() && r.Calls > n {
		t.Fatalf("%s: call %d: not killed: %v: %s", s.deed.name, n, r.Status, said)
	}
	phase := string(crashtest.Phase(s.journal()))
	switch {
	case !r.Killed():
		phase = "not killed"
	case s.deed.out != "":
		phase = "while a copy is made"
	case phase == string(crashtest.Before) && s.state() == "new":
		phase = "when all is done"
	}
	// And the recovery, too.
	for s.deed.out == "" && rng.IntN(3) == 0 {
		m := rng.IntN(10)
		r, said := s.trace(at(m, []crashtest.Verdict{crashtest.Kill, crashtest.Half}[rng.IntN(2)]), "rename", "--recover", "m")
		if !r.Killed() && r.Status.ExitStatus() != 0 {
			t.Fatalf("%s: killed at call %d %s: recovery: %v: %s", s.deed.name, n, phase, r.Status, said)
		}
		if r.Killed() {
			counts.add("killed in the recovery of what was killed %s", phase)
		}
	}
	state, outcome := s.settle()
	counts.add("killed %s: %s, %s", phase, outcome, state[:min(3, len(state))])
	if state != "old" && state != "new" || outcome == rewrite.Undone && state != "old" || outcome == rewrite.Finished && state != "new" {
		t.Errorf("%s: killed at call %d (half: %v) %s: %s; the release is %s", s.deed.name, n, v == crashtest.Half, phase, outcome, state)
	}
}

// TestPowerLoss turns file systems off before every call that changes files, and
// now and then in the recovery. What was not written to the disk is gone; some of
// it gets there because somebody else makes the file system write its log.
func TestPowerLoss(t *testing.T) {
	losses := many("WTINSPECT_SHUTDOWNS")
	if losses == 0 {
		t.Skip("mounts file systems and takes a while: set WTINSPECT_SHUTDOWNS to how often, and be root")
	}
	var counts tally
	defer counts.report(t)
	t.Run("on", func(t *testing.T) {
		for _, kind := range []string{"ext4", "xfs", "btrfs"} {
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				m := crashtest.NewMount(t, kind, max(64, crashtest.Least[kind]))
				var stages []*stage
				all := 0
				for _, d := range deeds(t) {
					s := newStage(t, theBinary(t), d, m.Dir)
					stages, all = append(stages, s), all+2*s.calls
				}
				step := max(1, float64(all)/float64(max(1, losses/3)))
				next, i := step/2, 0
				rng := rand.New(rand.NewPCG(3, uint64(len(kind))))
				for _, s := range stages {
					for n := range s.calls + 1 {
						for _, log := range []bool{false, true} {
							if i++; float64(i) < next {
								continue
							}
							next += step
							s.powerless(t, m, rng, n, log, &counts)
						}
					}
				}
			})
		}
	})
}

func (s *stage) powerless(t *testing.T, m *crashtest.Mount, rng *rand.Rand, n int, log bool, counts *tally) {
	t.Helper()
	s.reset()
	m.Sync()
	other := filepath.Join(m.Dir, "other")
	off := func(n int, log bool, args ...string) (crashtest.Result, string) {
		image := ""
		shutdown := func() {
			if err := m.Shutdown(); err != nil {
				if image, err = m.Copy(); err != nil {
					t.Errorf("neither shut down nor copied: %v", err)
				}
			}
		}
		r, said := s.trace(func(c crashtest.Call) crashtest.Verdict {
			if c.N != n {
				return crashtest.Go
			}
			if log {
				f, err := os.Create(other)
				if err == nil {
					err = errors.Join(f.Sync(), f.Close())
				}
				if err != nil {
					t.Error(err)
				}
			}
			shutdown()
			return crashtest.Kill
		}, args...)
		if !r.Killed() {
			shutdown()
		}
		if image != "" {
			m.Restore(image)
		} else {
			m.Remount()
		}
		return r, said
	}
	r, said := off(n, log, s.deed.args...)
	if !r.Killed() && r.Calls > n {
		t.Fatalf("%s: call %d: not killed: %v: %s", s.deed.name, n, r.Status, said)
	}
	_ = os.Remove(other)
	phase := string(crashtest.Phase(s.journal()))
	switch {
	case r.Status.ExitStatus() == 0:
		phase = "after the end"
		if state := s.state(); state != "new" {
			t.Errorf("%s: off after it ended well: the release is %s", s.deed.name, state)
		}
	case s.deed.out != "":
		phase = "while a copy is made"
	}
	for s.deed.out == "" && rng.IntN(3) == 0 {
		r, said := off(rng.IntN(10), rng.IntN(2) == 0, "rename", "--recover", "m")
		if !r.Killed() && r.Status.ExitStatus() != 0 {
			t.Fatalf("%s: off at call %d: recovery: %v: %s", s.deed.name, n, r.Status, said)
		}
		_ = os.Remove(other)
		if r.Killed() {
			counts.add("off in the recovery, %s", phase)
		}
	}
	state, outcome := s.settle()
	counts.add("off, found %s: %s, %s", phase, outcome, state[:min(3, len(state))])
	if state != "old" && state != "new" || outcome == rewrite.Undone && state != "old" || outcome == rewrite.Finished && state != "new" {
		t.Errorf("%s: off at call %d (log written: %v), %s: %s; the release is %s", s.deed.name, n, log, phase, outcome, state)
	}
}

// TestSignalAtEveryCall interrupts the program as a user does, or who shuts the
// machine down, at every call that changes files. It ends, with everything or
// nothing done, and nothing left beside it.
func TestSignalAtEveryCall(t *testing.T) {
	t.Parallel()
	var counts tally
	defer counts.report(t)
	all := many("WTINSPECT_SIGNALS")
	t.Run("on", func(t *testing.T) {
		fileSystems(t, on(all, "ext4", "btrfs"), func(t *testing.T, dir string) {
			rng := rand.New(rand.NewPCG(5, 6))
			for _, d := range deeds(t) {
				s := newStage(t, theBinary(t), d, dir)
				for n := range s.calls {
					if !chosen(rng, all, 1300, 20) {
						continue
					}
					s.reset()
					i := rng.IntN(2)
					r, said := s.run(at(n, []crashtest.Verdict{crashtest.Int, crashtest.Term}[i]))
					now := treeOf(t, s.top)
					code := r.Status.ExitStatus()
					counts.add("%s: exit %d", []string{"SIGINT", "SIGTERM"}[i], code)
					switch {
					case code == exitOK && maps.Equal(now, s.new):
					case code == exitInterrupted && maps.Equal(now, s.old) && strings.HasSuffix(said, "wtinspect: interrupted\n"):
					case code == exitInterrupted && maps.Equal(now, s.new) && d.args[0] == "fix": // between two mends
					default:
						t.Errorf("%s: signal at call %d: %v: %s: %s", d.name, n, r.Status, said, treeDiff(now, s.old, s.new))
					}
				}
			}
		})
	})
}
