package txn_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/internal/txn/disktest"
)

// These tests run whole transactions and drafts on a model of a disk, which is
// harsher than file systems are.

var features = map[string]txn.Features{
	"insert": {Block: 512, Insert: true},
	"copy":   {Block: 512},
}

func put(dir txn.Dir, name, text string) error {
	f, err := txn.Open(dir, name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := txn.WriteFull(f, []byte(text), 0); err != nil {
		return err
	}
	return txn.Sync(f)
}

// everything makes a release, and changes of every kind to it.
func everything(t *testing.T, ft txn.Features) (*disktest.Disk, func() error) {
	t.Helper()
	d := disktest.New(ft)
	d.MakeDir("/m")
	d.MakeDir("/m/sub")
	data := strings.Repeat("data", 700)
	old, padded := "GGUF"+strings.Repeat("o", 1020), "GGUF"+strings.Repeat("n", 1020)
	grown := padded + strings.Repeat(" ", 512)
	for name, text := range map[string]string{
		"a.gguf": old + data, "sub/b.gguf": old + data, "sub/c.gguf": old + data, "sub/kept.index.json": "{old}", "config.json": "{old}",
		"stray.gguf": old, "sub/stray.gguf": old, "README.md": "readme",
	} {
		d.Put("/m/"+name, []byte(text))
	}
	d.Calls = 0
	return d, func() error {
		tx, err := txn.Begin(d, "/m")
		if err != nil {
			return err
		}
		stat := func(name string) txn.Stat {
			st, err := tx.Dir().Lstat(name)
			if err != nil && err != disktest.ErrDead {
				t.Fatal(err)
			}
			return st
		}
		swap := func(name, keep, text string, old txn.Stat) *txn.Swap {
			n := int64(len(text))
			return &txn.Swap{
				Name: name, Old: old, Keep: keep, Size: n, Head: n, Sum: sha256.Sum256([]byte(text)), Begin: []byte(text),
				Write: func(_ context.Context, dir txn.Dir, temp string) error { return put(dir, temp, text) },
			}
		}
		c := &txn.Changes{Workers: 1}
		c.Shifts = []*txn.Shift{{Name: "a.gguf", Old: stat("a.gguf"), OldHeader: []byte(old), NewHeader: []byte(padded)}}
		if ft.Insert {
			s := &txn.Shift{Name: "sub/b.gguf", Old: stat("sub/b.gguf"), OldHeader: []byte(old), NewHeader: []byte(grown), Block: 512, Off: 1024, N: 512}
			f, err := txn.Open(tx.Dir(), s.Name, 0, 0)
			if err == nil {
				s.Extents, err = f.Extents()
				f.Close()
			}
			if err != nil {
				return err
			}
			c.Shifts = append(c.Shifts, s)
		} else {
			c.Swaps = append(c.Swaps, swap("sub/b.gguf", "", padded+data, stat("sub/b.gguf")))
		}
		c.Swaps = append(c.Swaps,
			swap("sub/c.gguf", "", padded+data, stat("sub/c.gguf")),
			swap("sub/kept.index.json", "sub/"+txn.AsideName+"/kept.index.json.1", "{new}", stat("sub/kept.index.json")),
			swap("config.json", txn.AsideName+"/config.json", "{new}", stat("config.json")),
			swap("made.index.json", "", "{made}", txn.Stat{}))
		c.Moves = []*txn.Move{
			{Name: "stray.gguf", Old: stat("stray.gguf"), To: txn.AsideName + "/stray.gguf"},
			{Name: "sub/stray.gguf", Old: stat("sub/stray.gguf"), To: "sub/" + txn.AsideName + "/stray.gguf"},
		}
		return tx.Commit(context.Background(), c)
	}
}

// crash turns the machine off at one call, or half-way through it.
func crash(d *disktest.Disk, at int, half bool) {
	d.Fault = func(string, string) (bool, error) {
		if d.Calls > at {
			d.Dead = true
			return half, disktest.ErrDead
		}
		return false, nil
	}
}

// TestCrashOfEverything turns the machine off at every call of a transaction with
// changes of every kind, and of its recovery.
func TestCrashOfEverything(t *testing.T) {
	seeds := 24
	if testing.Short() {
		seeds = 4
	}
	for name, ft := range features {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, run := everything(t, ft)
			old := d.Tree()
			if err := run(); err != nil {
				t.Fatal(err)
			}
			now, total := d.Tree(), d.Calls
			ends := map[string]int{}
			for at := range total + 1 {
				for seed := range seeds {
					rng := rand.New(rand.NewPCG(uint64(at), uint64(seed)))
					what := fmt.Sprintf("off at call %d of %d, seed %d", at, total, seed)
					d, run := everything(t, ft)
					crash(d, at, seed%2 == 1)
					if err := run(); (err == nil) == d.Dead {
						t.Fatalf("%s: %v", what, err)
					}
					loss := rng
					if seed == 0 {
						loss = nil // only the process dies
					}
					d.Crash(loss)
					for range rng.IntN(4) {
						crash(d, rng.IntN(14), rng.IntN(2) == 0)
						_, _ = txn.Recover(context.Background(), d, "/m", false)
						d.Crash(loss)
					}
					out, err := txn.Recover(context.Background(), d, "/m", false)
					if err != nil {
						t.Fatalf("%s: recovery: %v", what, err)
					}
					switch got := d.Tree(); {
					case maps.Equal(got, old) && out != txn.Finished:
						ends["old, "+string(out)]++
					case maps.Equal(got, now) && out != txn.Undone:
						ends["new, "+string(out)]++
					default:
						for n := range got {
							t.Logf("%s: old %v, new %v", n, got[n] == old[n], got[n] == now[n])
						}
						t.Fatalf("%s: %q, and neither old nor new", what, out)
					}
				}
			}
			t.Logf("%d calls: %v", total, ends)
		})
	}
}

// TestCrashOfDraft turns the machine off at every call of a draft: what has the
// name of the destination is whole, the old or the new.
func TestCrashOfDraft(t *testing.T) {
	seeds := 24
	if testing.Short() {
		seeds = 4
	}
	for _, there := range []string{"nothing", "a directory", "a file"} {
		t.Run(there, func(t *testing.T) {
			t.Parallel()
			make := func() (*disktest.Disk, func() error) {
				d := disktest.New(txn.Features{Block: 512})
				d.MakeDir("/w")
				d.Put("/w/other", []byte("other"))
				var replace []string
				switch there {
				case "a directory":
					d.MakeDir("/w/out")
					d.MakeDir("/w/out/sub")
					d.Put("/w/out/a", []byte("old a"))
					d.Put("/w/out/sub/b", []byte("old b"))
					replace = []string{"a", "sub/b"}
				case "a file":
					d.Put("/w/out", []byte("old"))
					replace = []string{}
				}
				d.Calls = 0
				return d, func() error {
					draft, err := txn.NewDraft(d, "/w/out")
					if err != nil {
						return err
					}
					if there == "a file" {
						err = put(draft.Dir(), draft.Name(), strings.Repeat("new", 500))
					} else {
						for _, dir := range []string{draft.Name(), draft.Name() + "/sub"} {
							if err == nil {
								err = draft.Dir().Mkdir(dir, 0o755)
							}
						}
						for _, f := range []string{"/a", "/sub/b", "/sub/c"} {
							if err == nil {
								err = put(draft.Dir(), draft.Name()+f, strings.Repeat("new", 500))
							}
						}
						for _, dir := range []string{draft.Name(), draft.Name() + "/sub"} {
							if err == nil {
								err = txn.SyncDir(draft.Dir(), dir)
							}
						}
					}
					if err == nil {
						err = draft.Publish(replace)
					}
					if cerr := draft.Close(); err == nil {
						err = cerr
					}
					return err
				}
			}
			d, run := make()
			old := d.Tree()
			if err := run(); err != nil {
				t.Fatal(err)
			}
			now, total := d.Tree(), d.Calls
			ends := map[string]int{}
			for at := range total + 1 {
				for seed := range seeds {
					rng := rand.New(rand.NewPCG(uint64(at), uint64(seed)))
					d, run := make()
					crash(d, at, seed%2 == 1)
					err := run()
					if seed == 0 {
						d.Crash(nil)
					} else {
						d.Crash(rng)
					}
					got := d.Tree()
					maps.DeleteFunc(got, func(name, _ string) bool { return strings.HasPrefix(name, "/w/.out.wtinspect-") })
					switch {
					case maps.Equal(got, now):
						ends["new"]++
					case maps.Equal(got, old) && err != nil:
						ends["old"]++
					default:
						t.Fatalf("off at call %d of %d, seed %d (%v): %q", at, total, seed, err, got)
					}
				}
			}
			t.Logf("%d calls: %v", total, ends)
		})
	}
}
