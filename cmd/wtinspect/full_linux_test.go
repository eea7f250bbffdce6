//go:build amd64 || arm64

package main

import (
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/internal/txn/crashtest"
)

// fill takes the room of a file system but for about so many bytes.
func fill(name string, leave int64) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return err
	}
	size := int64(0)
	for chunk := int64(st.Bavail) * st.Bsize; chunk >= st.Bsize; chunk /= 2 {
		chunk = chunk / st.Bsize * st.Bsize
		for unix.Fallocate(int(f.Fd()), 0, size, chunk) == nil {
			size += chunk
		}
	}
	if leave == 0 {
		return nil
	}
	return f.Truncate(max(0, size-leave))
}

// TestFullDisk fills the disk at every call, whole or nearly. The release is the
// old one or the new one, and nothing else is left, once there is room again at
// the latest.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	runs := many("WTINSPECT_FULL")
	kinds := on(runs, "ext4", "xfs", "btrfs", "tmpfs")
	if runs == 0 {
		kinds = []string{"tmpfs"}
	}
	var counts tally
	defer counts.report(t)
	t.Run("on", func(t *testing.T) {
		fileSystems(t, kinds, func(t *testing.T, dir string) {
			rng := rand.New(rand.NewPCG(11, 12))
			filler := filepath.Join(dir, "filler")
			for _, d := range deeds(t) {
				s := newStage(t, theBinary(t), d, dir)
				for n := range s.calls {
					for _, leave := range []int64{0, 4096, 16384} {
						if !chosen(rng, runs, 8000, 25) {
							continue
						}
						s.reset()
						r, said := s.run(func(c crashtest.Call) crashtest.Verdict {
							if c.N == n {
								if err := fill(filler, leave); err != nil && !errors.Is(err, unix.ENOSPC) {
									t.Error(err)
								}
							}
							return crashtest.Go
						})
						code, state, outcome := r.Status.ExitStatus(), "", rewrite.Outcome("by itself")
						if _, err := os.Stat(s.journal()); err == nil {
							if code == 0 || !strings.Contains(said, "recover") {
								t.Errorf("%s: full at call %d: exit %d, and a journal is left: %s", d.name, n, code, said)
							}
							if err := os.Remove(filler); err != nil {
								t.Fatal(err)
							}
							state, outcome = s.settle()
						} else {
							now := treeOf(t, s.top)
							switch {
							case maps.Equal(now, s.old):
								state = "old"
							case maps.Equal(now, s.new):
								state = "new"
							default:
								state = "neither: " + treeDiff(now, s.old, s.new)
							}
						}
						counts.add("exit %d: %s, %s", code, state[:3], outcome)
						if state != "old" && state != "new" || code == 0 && state != "new" || code != 0 && state == "new" && outcome != rewrite.Finished && d.args[0] != "fix" {
							t.Errorf("%s: full but for %d bytes at call %d: exit %d: %s; %s, and the release is %s", d.name, leave, n, code, said, outcome, state)
						}
						if err := os.Remove(filler); err != nil && !errors.Is(err, fs.ErrNotExist) {
							t.Fatal(err)
						}
					}
				}
			}
		})
	})
}
