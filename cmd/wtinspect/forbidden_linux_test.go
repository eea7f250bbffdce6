//go:build amd64 || arm64

package main

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/internal/txn/crashtest"
)

// Users that own nothing else.
const (
	alice   = 64001
	mallory = 64002
)

// chown gives a tree to a user.
func chown(dir string, uid int) error {
	return filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(p, uid, uid))
	})
}

// attr sets or takes away attributes of files, as chattr does.
func attr(t testing.TB, flag, path string) {
	t.Helper()
	if out, err := exec.Command("chattr", flag, path).CombinedOutput(); err != nil {
		t.Skipf("chattr: %v: %s", err, out)
	}
}

// TestForbidden tries to change what must not be changed. It is refused, with the
// reason, and nothing changes, nor is anything left; a copy can still be had.
func TestForbidden(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("other users, mounts and attributes take root")
	}
	const first, sub = "m/model-00001-of-00002.safetensors", "m/sub/model-00002-of-00002.safetensors"
	obstructions := []struct {
		name string
		uid  int
		make func(t *testing.T, s *stage, m *crashtest.Mount)
		want string // in what is said
	}{
		{"a read-only directory", alice, func(t *testing.T, s *stage, _ *crashtest.Mount) {
			must(t, chown(s.top, alice), os.Chmod(filepath.Join(s.top, "m"), 0o555))
		}, "permission denied"},
		{"a read-only sub-directory", alice, func(t *testing.T, s *stage, _ *crashtest.Mount) {
			must(t, chown(s.top, alice), os.Chmod(filepath.Join(s.top, "m", "sub"), 0o555))
		}, ""},
		{"another owner's directory", alice, func(*testing.T, *stage, *crashtest.Mount) {}, "permission denied"},
		{"another owner's shard", alice, func(t *testing.T, s *stage, _ *crashtest.Mount) {
			must(t, chown(s.top, alice), os.Chown(filepath.Join(s.top, sub), 0, 0))
		}, ""},
		{"a read-only shard", alice, func(t *testing.T, s *stage, _ *crashtest.Mount) {
			must(t, chown(s.top, alice), os.Chmod(filepath.Join(s.top, first), 0o444))
		}, "is read-only"},
		{"a read-only file system", 0, func(t *testing.T, s *stage, m *crashtest.Mount) {
			m.ReadOnly(true)
			t.Cleanup(func() { m.ReadOnly(false) })
		}, "read-only file system"},
		{"an immutable shard", 0, func(t *testing.T, s *stage, _ *crashtest.Mount) {
			attr(t, "+i", filepath.Join(s.top, sub))
			t.Cleanup(func() { attr(t, "-i", filepath.Join(s.top, sub)) })
		}, "operation not permitted"},
		{"an immutable directory", 0, func(t *testing.T, s *stage, _ *crashtest.Mount) {
			attr(t, "+i", filepath.Join(s.top, "m"))
			t.Cleanup(func() { attr(t, "-i", filepath.Join(s.top, "m")) })
		}, "operation not permitted"},
		{"a shard to append to", 0, func(t *testing.T, s *stage, _ *crashtest.Mount) {
			attr(t, "+a", filepath.Join(s.top, first))
			t.Cleanup(func() { attr(t, "-a", filepath.Join(s.top, first)) })
		}, "operation not permitted"},
		{"a hard link", 0, func(t *testing.T, s *stage, _ *crashtest.Mount) {
			must(t, os.Link(filepath.Join(s.top, first), filepath.Join(s.top, "other")))
		}, "hard links"},
		{"links into a cache", 0, func(t *testing.T, s *stage, _ *crashtest.Mount) {
			must(t, blobs(s.top, first, sub))
		}, "symbolic link"},
		{"another user's empty journal in a directory for all", alice, func(t *testing.T, s *stage, _ *crashtest.Mount) {
			must(t, plant(s, "", alice, 0o1777))
		}, "belongs to another user"},
		{"another user's journal in a directory for all", alice, func(t *testing.T, s *stage, _ *crashtest.Mount) {
			must(t, plant(s, "wtinspect journal 2\n\x00\x00\x00\x00", alice, 0o1777))
		}, "belongs to another user"},
		{"another user's journal, and root", 0, func(t *testing.T, s *stage, _ *crashtest.Mount) {
			must(t, plant(s, "", 0, 0o1777))
		}, "belongs to another user"},
	}
	m := crashtest.NewMount(t, "ext4", 64)
	must(t, os.Chmod(m.Dir, 0o755), os.Chmod(filepath.Dir(m.Dir), 0o755))
	for _, d := range deeds(t) {
		if !slices.Contains([]string{"pad", "grow", "drop"}, d.name) {
			continue
		}
		rules, err := os.ReadFile(d.args[2])
		must(t, err)
		d.args[2] = filepath.Join(m.Dir, d.name+".yaml") // where all can read it
		must(t, os.WriteFile(d.args[2], rules, 0o644))
		s := newStage(t, theBinary(t), d, m.Dir)
		for _, o := range obstructions {
			t.Run(d.name+"/"+o.name, func(t *testing.T) {
				s.reset()
				o.make(t, s, m)
				before := treeOf(t, s.top)
				cmd := s.command(d.args...)
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.uid)}}
				out, err := cmd.CombinedOutput()
				code := cmd.ProcessState.ExitCode()
				now := treeOf(t, s.top)
				switch {
				case code == exitFailed && strings.Contains(string(out), o.want) && maps.Equal(now, before):
				case code == exitOK && o.want == "" && maps.Equal(now, s.new): // this way it can be done
				default:
					t.Errorf("exit %d, %v: %s: %s", code, err, out, treeDiff(now, before, s.new))
				}
				// As root, what can be had elsewhere.
				cmd = s.command(append(slices.DeleteFunc(slices.Clone(d.args), func(a string) bool { return a == "--in-place" }), "-o", filepath.Join(t.TempDir(), "out"))...)
				if out, err := cmd.CombinedOutput(); err != nil && code == exitFailed && !strings.Contains(o.name, "journal") {
					t.Errorf("a copy: %v: %s", err, out)
				}
			})
		}
	}
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// blobs makes links of files, as in the cache of a hub.
func blobs(top string, names ...string) error {
	err := os.Mkdir(filepath.Join(top, "blobs"), 0o755)
	for _, n := range names {
		blob := filepath.Join(top, "blobs", strings.Repeat("0", 40-len(filepath.Base(n)))+filepath.Base(n))
		to, rerr := filepath.Rel(filepath.Dir(filepath.Join(top, n)), blob)
		err = errors.Join(err, rerr, os.Rename(filepath.Join(top, n), blob), os.Symlink(to, filepath.Join(top, n)))
	}
	return err
}

// plant puts another user's journal into the release of a user.
func plant(s *stage, text string, owner int, mode uint32) error {
	dir := filepath.Join(s.top, "m")
	err := errors.Join(chown(s.top, owner), os.Chown(dir, 0, 0), unix.Chmod(dir, mode), os.WriteFile(s.journal(), []byte(text), 0o666))
	return errors.Join(err, os.Chmod(s.journal(), 0o666), os.Chown(s.journal(), mallory, mallory))
}

// TestForcedLinks changes a release of links and hard links by force: they become
// files of their own, and what they led to stays as it was.
func TestForcedLinks(t *testing.T) {
	t.Parallel()
	const first, sub = "m/model-00001-of-00002.safetensors", "m/sub/model-00002-of-00002.safetensors"
	for _, d := range deeds(t) {
		if d.name != "pad" && d.name != "grow" {
			continue
		}
		s := newStage(t, theBinary(t), d, t.TempDir())
		for _, how := range []string{"symbolic", "hard"} {
			s.reset()
			if how == "hard" {
				must(t, os.Mkdir(filepath.Join(s.top, "blobs"), 0o755))
				for i, n := range []string{first, sub} {
					must(t, os.Link(filepath.Join(s.top, n), filepath.Join(s.top, "blobs", string(rune('a'+i)))))
				}
			} else {
				must(t, blobs(s.top, first, sub))
			}
			kept := treeOf(t, filepath.Join(s.top, "blobs"))
			out, err := s.command(append(slices.Clone(d.args), "--force")...).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %s: %v: %s", d.name, how, err, out)
				continue
			}
			if now := treeOf(t, filepath.Join(s.top, "blobs")); !maps.Equal(now, kept) {
				t.Errorf("%s: %s: what the links led to: %s", d.name, how, treeDiff(now, kept, kept))
			}
			for _, n := range []string{first, sub} {
				if fi, err := os.Lstat(filepath.Join(s.top, n)); err != nil || !fi.Mode().IsRegular() {
					t.Errorf("%s: %s: %s is %v, %v", d.name, how, n, fi.Mode(), err)
				}
			}
			if _, err := os.Stat(filepath.Join(s.top, "m", txn.JournalName)); err == nil {
				t.Errorf("%s: %s: a journal is left", d.name, how)
			}
		}
	}
}
