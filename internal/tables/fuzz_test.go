package tables

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/wtinspect/wtinspect/internal/txn"
)

// FuzzReadReleases reads parts that somebody else wrote: an error, in bounded memory, or
// releases that are few enough for the file.
func FuzzReadReleases(f *testing.F) {
	dir := f.TempDir()
	if err := run(txn.OS{}, dir, several(40), Options{Rows: 60}); err != nil {
		f.Fatal(err)
	}
	parts, err := filepath.Glob(filepath.Join(dir, releases, "*.parquet"))
	if err != nil || len(parts) == 0 {
		f.Fatal("no parts: ", err)
	}
	for _, path := range parts[:1] {
		part, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(part)
		f.Add(part[len(part)/2:])
		f.Add(bytes.Replace(part, []byte("repo-"), []byte("rrpo-"), 1))
		// Footers and headers of pages with numbers that are too large, of which thrift has the low
		// seven bits first.
		for i := range len(part) - 8 {
			b := bytes.Clone(part)
			copy(b[i:len(b)-8], []byte{0xff, 0xff, 0xff, 0xff, 0x07})
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, part []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c, err := readReleases(bytes.NewReader(part), int64(len(part)), version)
		runtime.ReadMemStats(&after)
		if most := uint64(32<<20) + 64*uint64(len(part)); after.TotalAlloc-before.TotalAlloc > most {
			t.Errorf("%d bytes take %d bytes of memory", len(part), after.TotalAlloc-before.TotalAlloc)
		}
		if err == nil && len(c.releases) > len(part)/16 {
			t.Errorf("%d releases in %d bytes", len(c.releases), len(part))
		}
	})
}
