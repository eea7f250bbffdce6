package source_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/internal/source"
)

// openMany opens files that each hold their number.
func openMany(t *testing.T, n int) (dir string, files []source.Source) {
	t.Helper()
	dir = t.TempDir()
	for i := range n {
		name := filepath.Join(dir, fmt.Sprintf("%04d", i))
		if err := os.WriteFile(name, fmt.Appendf(nil, "%04d", i), 0o666); err != nil {
			t.Fatal(err)
		}
		f, err := source.Open(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		files = append(files, f)
	}
	return dir, files
}

// Any number of files is open at a time, and takes few descriptors.
func TestManyFiles(t *testing.T) {
	const n, most = 600, 128
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Logf("descriptors are not counted: %v", err)
		}
		return len(list)
	}
	before := descriptors()
	_, files := openMany(t, n)
	var g sync.WaitGroup
	for w := range 8 {
		g.Go(func() {
			for i := range n {
				i = (i + w*97) % n
				var b [4]byte
				if err := source.ReadFull(files[i], b[:], 0); err != nil || string(b[:]) != fmt.Sprintf("%04d", i) {
					t.Errorf("file %d: %q, %v", i, b, err)
				}
			}
		})
	}
	g.Wait()
	if got := descriptors() - before; got > most+8 {
		t.Errorf("%d descriptors are in use", got)
	}
	for _, f := range files {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := descriptors() - before; got > 8 {
		t.Errorf("%d descriptors are left", got)
	}
	if _, err := files[0].ReadAt(make([]byte, 1), 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a closed file is read: %v", err)
	}
}

// A file whose descriptor was closed is read again only if it is still the one that was opened.
func TestChangedMeanwhile(t *testing.T) {
	dir, files := openMany(t, 200)
	path := func(i int) string { return filepath.Join(dir, fmt.Sprintf("%04d", i)) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(filepath.Join(dir, "other"), []byte("0000"), 0o666))
	must(os.Chtimes(filepath.Join(dir, "other"), time.Time{}, time.Unix(1e9, 0)))
	for i := range 5 {
		must(os.Chtimes(path(i), time.Time{}, time.Unix(1e9, 0)))
	}
	// What had its time set after it was opened has changed; so has what grew, what was
	// replaced and what is gone.
	must(os.WriteFile(path(11), []byte("0011 and more"), 0o666))
	must(os.Rename(filepath.Join(dir, "other"), path(12)))
	must(os.Remove(path(13)))
	for _, i := range []int{0, 11, 12, 13} {
		if _, err := files[i].ReadAt(make([]byte, 4), 0); !errors.Is(err, source.ErrChanged) {
			t.Errorf("file %d: %v", i, err)
		}
	}
	if err := source.ReadFull(files[10], make([]byte, 4), 0); err != nil {
		t.Error(err)
	}
}

// A file that was written, replaced or removed since it was opened has changed, also while
// it still has a descriptor.
func TestChanged(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, change := range map[string]func(path string) error{
		"written":  func(path string) error { return os.WriteFile(path, []byte("longer"), 0o644) },
		"replaced": func(path string) error { return os.Rename(write("new", "text"), path) },
		"removed":  os.Remove,
	} {
		path := write(name, "text")
		src, err := source.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		both := []source.Source{src, source.Named(src, "a name")}
		for _, s := range both {
			if err := source.Changed(s); err != nil {
				t.Errorf("%s: %v before", name, err)
			}
		}
		if err := change(path); err != nil {
			t.Skipf("%s: %v, as on systems that lock open files", name, err)
		}
		for _, s := range both {
			if err := source.Changed(s); !errors.Is(err, source.ErrChanged) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if err := source.Changed(source.Bytes("m", nil)); err != nil {
		t.Errorf("bytes in memory: %v", err)
	}
}
