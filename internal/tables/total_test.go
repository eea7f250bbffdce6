package tables

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/internal/txn"
)

// Count adds up the rows that are in the files of all shards, and of no other.
func TestCount(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "table")
	list := several(40)
	for shard := range 2 {
		must(t, run(txn.OS{}, dir, list[shard*20:shard*20+20], Options{Rows: 50, Shard: shard, Shards: 2}))
	}
	must(t, os.WriteFile(filepath.Join(dir, releases, "part-00000-of-00003-00112233445566778899aabbccddeeff.parquet"), nil, 0o666))
	must(t, os.WriteFile(filepath.Join(dir, releases, "mine.parquet"), nil, 0o666))
	total, err := Count(txn.OS{}, dir, Options{Version: version, Shards: 2})
	must(t, err)
	all := want(list)
	failed := int64(0)
	for _, s := range list {
		if s.Release.ErrorCode != nil {
			failed++
		}
	}
	if total.Releases != 40 || total.Failed != failed || failed == 0 {
		t.Errorf("%d releases, %d failed, want 40 and %d", total.Releases, total.Failed, failed)
	}
	for _, table := range []string{"files", "tensors", "findings"} {
		if total.Rows[table] != int64(len(all[table])) {
			t.Errorf("%d rows of %s, want %d", total.Rows[table], table, len(all[table]))
		}
	}
	if _, err := Count(txn.OS{}, dir, Options{Version: "v9", Shards: 2}); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, releases)) {
		t.Errorf("the parts of another version: %v", err)
	}
}

// Of two runs that do the same work at once, where locks do not help, the second finds what
// the first has published. What is there instead is no work of theirs.
func TestTwice(t *testing.T) {
	list := several(20)
	o := Options{Version: version, Every: time.Hour}
	first := filepath.Join(t.TempDir(), "table")
	must(t, run(txn.OS{}, first, list, o))
	published := tree(t, first)
	second := func(t *testing.T, also func(name, text string) string) (string, error) {
		dir := filepath.Join(t.TempDir(), "table")
		w, err := Create(txn.OS{}, dir, o)
		must(t, err)
		for _, s := range list {
			must(t, w.Write(s))
		}
		for name, text := range published {
			if name != markName {
				must(t, os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), []byte(also(name, text)), 0o666))
			}
		}
		return dir, errors.Join(w.Commit(), w.Close())
	}
	t.Run("same", func(t *testing.T) {
		dir, err := second(t, func(_, text string) string { return text })
		must(t, err)
		if !maps.Equal(tree(t, dir), published) {
			t.Error("the files are not those of one run")
		}
	})
	t.Run("other", func(t *testing.T) {
		_, err := second(t, func(name, text string) string {
			if strings.HasPrefix(name, "tensors") {
				return text[1:]
			}
			return text
		})
		if !errors.Is(err, errDamaged) {
			t.Errorf("another file has the name of a part: %v", err)
		}
	})
}

// A directory is the same one with a slash behind it.
func TestSlash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "table")
	must(t, run(txn.OS{}, dir+string(filepath.Separator), several(3), Options{}))
	if _, err := os.Stat(filepath.Join(dir, markName)); errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// What was prepared on another machine is not made a second time on this one.
func TestPrepared(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "table")
	o := Options{Prepared: true, Resume: true}
	for _, make := range []func() error{func() error { return nil }, func() error { return os.Mkdir(dir, 0o777) }} {
		must(t, make())
		if err := run(txn.OS{}, dir, several(3), o); err == nil || !strings.Contains(err.Error(), dir+": its tables were begun on another machine") {
			t.Errorf("%v", err)
		}
		if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) > 0 {
			t.Errorf("%v were made", files)
		}
	}
	w, err := Create(txn.OS{}, dir, Options{Version: version})
	must(t, err)
	must(t, w.Close())
	must(t, run(txn.OS{}, dir, several(3), o))
}
