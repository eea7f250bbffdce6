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
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
							if chosen(rng, all, 9000, 120) {
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
