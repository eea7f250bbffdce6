//go:build amd64 || arm64

package main

import (
	"bytes"
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
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/internal/txn/crashtest"
)

// meddlings are what another program may do to a file meanwhile.
var meddlings = map[string]func(path string) error{
	"append": func(path string) error {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString("theirs")
		return errors.Join(err, f.Close())
	},
	"truncate": func(path string) error {
		fi, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.Truncate(path, fi.Size()/2)
	},
	"replace": func(path string) error {
		return errors.Join(os.WriteFile(path+".theirs", []byte("theirs"), 0o644), os.Rename(path+".theirs", path))
	},
	"delete": os.Remove,
	"chmod":  func(path string) error { return os.Chmod(path, 0o400) },
}

// TestOtherProgram lets another program change a file at every call of this one.
// What it wrote is kept, and the other files are all old or all new; where that
// takes a recovery, the recovery ends once its file is out of the way.
func TestOtherProgram(t *testing.T) {
	t.Parallel()
	all := many("WTINSPECT_MEDDLINGS")
	var counts tally
	defer counts.report(t)
	t.Run("on", func(t *testing.T) {
		fileSystems(t, on(all, "ext4", "btrfs"), func(t *testing.T, dir string) {
			rng := rand.New(rand.NewPCG(7, 8))
			for _, d := range deeds(t) {
				targets := meddled[d.name]
				if targets == nil {
					continue
				}
				s := newStage(t, theBinary(t), d, dir)
				for n := range s.calls {
					for _, target := range targets {
						for _, how := range slices.Sorted(maps.Keys(meddlings)) {
							if chosen(rng, all, 9000, 30) {
								s.meddled(t, n, target, how, &counts)
							}
						}
					}
				}
			}
		})
	})
}

// meddled are the files that another program changes, by the names of deeds.
var meddled = map[string][]string{
	"pad":             {"m/model-00001-of-00002.safetensors", "m/sub/model-00002-of-00002.safetensors", "m/config.json", "m/model.safetensors.index.json"},
	"grow":            {"m/model-00001-of-00002.safetensors", "m/sub/model-00002-of-00002.safetensors", "m/config.json", "m/model.safetensors.index.json"},
	"drop":            {"m/model-00001-of-00002.safetensors", "m/sub/model-00002-of-00002.safetensors", "m/config.json", "m/model.safetensors.index.json"},
	"-o":              {"m/model-00001-of-00002.safetensors", "m/sub/model-00002-of-00002.safetensors", "m/config.json", "m/model.safetensors.index.json"},
	"gguf":            {"m/model.gguf"},
	"gguf pad":        {"m/model.gguf"},
	"-o gguf":         {"m/model.gguf"},
	"fix index":       {"m/model.safetensors.index.json"},
	"fix aside":       {"m/model.safetensors"},
	"-o --force":      {"out/config.json", "out/sub/model-00002-of-00002.safetensors"},
	"-o file --force": {"out.gguf"},
}

func (s *stage) meddled(t *testing.T, n int, target, how string, counts *tally) {
	t.Helper()
	s.reset()
	path := filepath.Join(s.top, filepath.FromSlash(target))
	did := errors.New("not reached")
	call, size := "", int64(0)
	r, said := s.run(func(c crashtest.Call) crashtest.Verdict {
		if c.N == n {
			call = c.Name + " " + filepath.Base(c.Path)
			if fi, err := os.Stat(path); err == nil {
				size = fi.Size()
			}
			did = meddlings[how](path)
		}
		return crashtest.Go
	})
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: %s %s at call %d (%s): exit %d: %s: %s", s.deed.name, how, target, n, call, r.Status.ExitStatus(), said, fmt.Sprintf(format, args...))
	}
	if did != nil {
		if !errors.Is(did, fs.ErrNotExist) && !errors.Is(did, os.ErrPermission) && n < r.Calls {
			fail("%v", did)
		}
		if state := s.state(); state != "old" && state != "new" {
			fail("%s", state)
		}
		return
	}
	kept := func(when string) {
		t.Helper()
		places := []string{path}
		if s.deed.args[0] == "fix" { // what was changed before the mend looked at it is put aside
			aside := filepath.Join(filepath.Dir(path), txn.AsideName, filepath.Base(path))
			places = append(places, aside, aside+".1")
		}
		var found []string
		for _, p := range places {
			b, err := os.ReadFile(p)
			text, was, is := string(b), s.old[target], s.new[target]
			switch {
			case how == "append" && err == nil && (text == was+"theirs" || text == is+"theirs" || int64(len(text)) == size+6 && strings.HasSuffix(text, "theirs")),
				how == "replace" && text == "theirs",
				how == "truncate" && err == nil && int64(len(text)) == size/2,
				how == "delete" && (err != nil || text == is),
				how == "chmod" && (text == was || text == is): // its content stays
				return
			}
			found = append(found, fmt.Sprintf("%.40q (%d bytes, %v)", text, len(text), err))
		}
		fail("%s: their file is %s; it had %d bytes when it was changed", when, strings.Join(found, ", "), size)
	}
	kept("at the end")
	outcome := rewrite.Outcome("by itself")
	_, err := os.Stat(s.journal())
	if err == nil {
		// It says what to do. The file goes away, and comes back.
		if r.Status.ExitStatus() == 0 || !strings.Contains(said, "recover") {
			fail("a journal is left, and nothing said")
		}
		outcome, err = rewrite.Recover(context.Background(), filepath.Join(s.top, "m"), false)
		if err != nil {
			kept("after a recovery that failed")
			if how != "delete" {
				if err := os.Rename(path, s.top+".theirs"); err != nil {
					fail("%v", err)
				}
			}
			first := err
			if outcome, err = rewrite.Recover(context.Background(), filepath.Join(s.top, "m"), false); err != nil {
				outcome, err = rewrite.Recover(context.Background(), filepath.Join(s.top, "m"), true)
				outcome += ", by force"
			}
			if err != nil {
				fail("recovery: %v; without their file: %v", first, err)
				return
			}
			outcome += ", without their file"
		}
	}
	now, old, new := treeOf(t, s.top), maps.Clone(s.old), maps.Clone(s.new)
	for _, m := range []map[string]string{now, old, new} {
		delete(m, target)
		if how == "delete" || s.deed.args[0] == "fix" { // what is gone is not put aside, what was changed is
			maps.DeleteFunc(m, func(name, _ string) bool { return strings.HasPrefix(name, "m/.wtinspect-aside/") })
		}
	}
	state := "neither"
	switch {
	case maps.Equal(now, old):
		state = "old"
	case maps.Equal(now, new):
		state = "new"
	default:
		fail("the rest: %s", treeDiff(now, old, new))
	}
	counts.add("%s: the rest is %s, %s", how, state, outcome)
}

// duels are two commands on one release.
func duels(t testing.TB) map[string][2]deed {
	t.Helper()
	by := map[string]deed{}
	for _, d := range deeds(t) {
		by[d.name] = d
	}
	do := func(d deed, args ...string) deed { return deed{d.name, d.build, args, d.out} }
	grow, pad, copied, over := by["grow"], by["pad"], by["-o"], by["-o --force"]
	short := pad.args[2]
	const shard = "m/sub/model-00002-of-00002.safetensors"
	stale := by["fix index"]
	return map[string][2]deed{
		"the same map":                {grow, grow},
		"different maps":              {grow, pad},
		"a release and a shard of it": {grow, do(grow, "rename", "--map", short, "--force", "--in-place", shard)},
		"a shard and its release":     {do(grow, "rename", "--map", short, "--force", "--in-place", shard), pad},
		"-o and in place":             {copied, pad},
		"in place and -o":             {pad, copied},
		"two copies":                  {copied, do(copied, "rename", "--map", short, "-o", "out", "m")},
		"two copies over another":     {over, do(over, "rename", "--map", short, "--force", "-o", "out", "m")},
		"fix and rename":              {stale, do(stale, "meta", "set", "--in-place", "m", "note="+strings.Repeat("long ", 1000))},
		"rename and fix":              {do(stale, "meta", "set", "--in-place", "m", "license=mit"), stale},
		"a rename and a recovery":     {grow, do(grow, "rename", "--recover", "m")},
		"drop and metadata":           {by["drop"], by["meta set"]},
		"one GGUF file":               {by["gguf"], do(by["gguf"], "rename", "--map", short, "--in-place", "m")},
	}
}

// A duel is fought on a stage, with the outcomes that one command after the other
// can have.
type duel struct {
	*stage
	second deed
	// serial are the releases after: neither, the first alone, the second alone,
	// and both in either order.
	none, one, two map[string]string
	both           []map[string]string
}

func newDuel(t testing.TB, d [2]deed, below string) *duel {
	t.Helper()
	f := &duel{stage: newStage(t, theBinary(t), d[0], below), second: d[1]}
	f.none, f.one = f.old, f.new
	serial := func(list ...deed) map[string]string {
		f.reset()
		for _, d := range list {
			cmd := f.command(d.args...)
			_ = cmd.Run() // the second may be refused
		}
		return treeOf(t, f.top)
	}
	f.two = serial(d[1])
	f.both = []map[string]string{serial(d[0], d[1]), serial(d[1], d[0])}
	return f
}

// losses are what a command says that gave way to another.
var losses = []string{"another process", "recover it first", "changed since", "already exists", "changed while", "took its name", "would be lost", "no such file or directory"}

// judge says who has done its work, if what is there is what the winners made.
func (f *duel) judge(firstCode, secondCode int, first, second string) (string, error) {
	now := treeOf(f.t, f.top)
	var name string
	var allowed []map[string]string
	switch {
	case firstCode == 0 && secondCode == 0:
		name, allowed = "both", f.both
	case firstCode == 0:
		name, allowed = "the first", []map[string]string{f.one}
	case secondCode == 0:
		name, allowed = "the second", []map[string]string{f.two}
	default:
		name, allowed = "neither", []map[string]string{f.none}
	}
	for code, said := range map[*int]string{&firstCode: first, &secondCode: second} {
		if *code != 0 && !slices.ContainsFunc(losses, func(s string) bool { return strings.Contains(said, s) }) {
			return name, fmt.Errorf("exit %d: %s", *code, said)
		}
	}
	for _, want := range allowed {
		if maps.Equal(now, want) {
			return name, nil
		}
	}
	return name, fmt.Errorf("%s won, and: %s (first: %d: %s; second: %d: %s)", name, treeDiff(now, f.none, allowed[0]), firstCode, first, secondCode, second)
}

// TestTwoProcesses runs a second command at every call of a first one, and both at
// once. What comes of it is what one after the other makes, or one of them alone.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	rounds := many("WTINSPECT_ROUNDS")
	var counts tally
	defer counts.report(t)
	t.Run("on", func(t *testing.T) {
		fileSystems(t, on(rounds, "ext4", "btrfs"), func(t *testing.T, dir string) {
			rng := rand.New(rand.NewPCG(9, 10))
			all := duels(t)
			for _, name := range slices.Sorted(maps.Keys(all)) {
				d := all[name]
				d[0].name = name
				f := newDuel(t, d, dir)
				for n := range f.calls {
					if !chosen(rng, rounds, 1000, 10) {
						continue
					}
					f.reset()
					second, code := "", -1
					r, first := f.run(func(c crashtest.Call) crashtest.Verdict {
						if c.N == n {
							cmd := f.command(f.second.args...)
							out, _ := cmd.CombinedOutput()
							second, code = string(out), cmd.ProcessState.ExitCode()
						}
						return crashtest.Go
					})
					if code < 0 {
						continue // it had fewer calls this time
					}
					who, err := f.judge(r.Status.ExitStatus(), code, first, second)
					if err != nil {
						t.Errorf("%s, the second at call %d: %v", name, n, err)
					}
					counts.add("one within the other: %s", who)
				}
				for range f.calls {
					if !chosen(rng, rounds, 1000, 10) {
						continue
					}
					f.reset()
					var said [2]bytes.Buffer
					var cmds [2]*exec.Cmd
					for i, args := range [][]string{f.deed.args, f.second.args} {
						cmds[i] = f.command(args...)
						cmds[i].Stdout, cmds[i].Stderr = &said[i], &said[i]
					}
					order := rng.IntN(2)
					err := cmds[order].Start()
					time.Sleep(time.Duration(rng.Int64N(int64(12 * time.Millisecond))))
					err = errors.Join(err, cmds[1-order].Start())
					if err != nil {
						t.Fatal(err)
					}
					_, _ = cmds[0].Wait(), cmds[1].Wait()
					who, err := f.judge(cmds[0].ProcessState.ExitCode(), cmds[1].ProcessState.ExitCode(), said[0].String(), said[1].String())
					if err != nil {
						t.Errorf("%s, at once: %v", name, err)
					}
					counts.add("both at once: %s", who)
				}
			}
		})
	})
}

// TestMappedReader has the old files mapped, as a loader does, while they are
// replaced: it goes on seeing what it mapped. A change in place it sees, which is
// why only the header changes there.
func TestMappedReader(t *testing.T) {
	t.Parallel()
	for _, d := range deeds(t) {
		if d.args[0] == "fix" && d.name != "fix padding" {
			continue
		}
		s := newStage(t, theBinary(t), d, t.TempDir())
		s.reset()
		mapped := map[string][]byte{}
		for name, text := range s.old {
			if !strings.HasSuffix(name, ".safetensors") && !strings.HasSuffix(name, ".gguf") || text == "" {
				continue
			}
			f, err := os.Open(filepath.Join(s.top, name))
			must(t, err)
			b, err := unix.Mmap(int(f.Fd()), 0, len(text), unix.PROT_READ, unix.MAP_SHARED)
			must(t, err, f.Close())
			mapped[name] = b
			t.Cleanup(func() { _ = unix.Munmap(b) })
		}
		before, err := os.Stat(filepath.Join(s.top, slices.Sorted(maps.Keys(mapped))[0]))
		must(t, err)
		if out, err := s.command(d.args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", d.name, err, out)
		}
		after, err := os.Stat(filepath.Join(s.top, slices.Sorted(maps.Keys(mapped))[0]))
		must(t, err)
		for name, b := range mapped {
			switch stays := os.SameFile(before, after); {
			case !stays || s.deed.out != "":
				if string(b) != s.old[name] {
					t.Errorf("%s: a reader of %s no longer sees what it mapped", d.name, name)
				}
			case len(s.new[name]) == len(b):
				// The data lies where it lay.
				if n := len(b) / 2; string(b[n:]) != s.old[name][n:] {
					t.Errorf("%s: a reader of %s sees other data", d.name, name)
				}
			}
		}
	}
}

// stride is 1 for make crash, and otherwise leaves most calls out.
func stride() int {
	if many("WTINSPECT_KILLS") > 0 {
		return 1
	}
	return 29
}

// TestClock sets the clock back and forth: what files say of their time decides
// whether a journal is theirs, and force decides where it cannot tell.
func TestClock(t *testing.T) {
	t.Parallel()
	for _, d := range deeds(t) {
		if d.out != "" {
			continue
		}
		s := newStage(t, theBinary(t), d, t.TempDir())
		for _, shift := range []time.Duration{-90 * 24 * time.Hour, 90 * 24 * time.Hour} {
			for n := 9; n < s.calls; n += stride() {
				s.reset()
				r, said := s.run(at(n, crashtest.Kill))
				if !r.Killed() && r.Status.ExitStatus() != 0 {
					t.Fatalf("%s: %v: %s", d.name, r.Status, said)
				}
				pending := crashtest.Phase(s.journal()) != crashtest.Before
				before := treeOf(t, s.top)
				// Every file was touched, as by a program that restores times.
				must(t, filepath.WalkDir(filepath.Join(s.top, "m"), func(p string, e fs.DirEntry, err error) error {
					if err != nil || e.IsDir() {
						return err
					}
					fi, err := e.Info()
					if err != nil {
						return err
					}
					return os.Chtimes(p, fi.ModTime().Add(shift), fi.ModTime().Add(shift))
				}))
				_, err := rewrite.Recover(context.Background(), filepath.Join(s.top, "m"), false)
				switch {
				case err == nil: // nothing that was replaced tells by its time
				case !pending || !errors.Is(err, rewrite.ErrChanged):
					t.Errorf("%s: killed at call %d, times moved by %v: %v", d.name, n, shift, err)
				case !maps.Equal(treeOf(t, s.top), before):
					t.Errorf("%s: killed at call %d, times moved by %v: refused, and something changed", d.name, n, shift)
				}
				if _, err := rewrite.Recover(context.Background(), filepath.Join(s.top, "m"), true); err != nil {
					t.Errorf("%s: killed at call %d, times moved by %v: by force: %v", d.name, n, shift, err)
				}
				if state := s.state(); state != "old" && state != "new" {
					t.Errorf("%s: killed at call %d, times moved by %v: %s", d.name, n, shift, state)
				}
			}
		}
	}
}

// TestCopiedInTheMiddle copies a release that was interrupted to another place:
// the copy is refused, and recovered by force; the original is not concerned.
func TestCopiedInTheMiddle(t *testing.T) {
	t.Parallel()
	for _, d := range deeds(t) {
		if d.out != "" {
			continue
		}
		s := newStage(t, theBinary(t), d, t.TempDir())
		for n := 8; n < s.calls; n += stride() {
			s.reset()
			if r, said := s.run(at(n, crashtest.Kill)); !r.Killed() && r.Status.ExitStatus() != 0 {
				t.Fatalf("%s: %v: %s", d.name, r.Status, said)
			}
			pending := crashtest.Phase(s.journal()) != crashtest.Before
			original := s.top
			s.top = original + ".copy"
			must(t, os.RemoveAll(s.top), os.CopyFS(s.top, os.DirFS(original)))
			before := treeOf(t, s.top)
			_, err := rewrite.Recover(context.Background(), filepath.Join(s.top, "m"), false)
			if pending && (!errors.Is(err, rewrite.ErrChanged) || !maps.Equal(before, treeOf(t, s.top))) {
				t.Errorf("%s: a copy of what was killed at call %d: %v", d.name, n, err)
			}
			if _, err := rewrite.Recover(context.Background(), filepath.Join(s.top, "m"), true); err != nil {
				t.Errorf("%s: a copy of what was killed at call %d, by force: %v", d.name, n, err)
			}
			if state := s.state(); state != "old" && state != "new" {
				t.Errorf("%s: a copy of what was killed at call %d: %s", d.name, n, state)
			}
			s.top = original
			if state, _ := s.settle(); state != "old" && state != "new" {
				t.Errorf("%s: killed at call %d and copied: %s", d.name, n, state)
			}
		}
	}
}
