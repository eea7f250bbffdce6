package tables

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/txn"
)

const (
	// markName is the file by which a directory of tables is known. Readers of
	// directories pass over names that begin so.
	markName = "_wtinspect.json"
	ending   = ".parquet"
	// digits are how many of a digest a name ends in.
	digits = 32
)

// A mark says what wrote the tables of a directory. Runs that would write others are
// refused.
type mark struct {
	Schema int    `json:"schema_version"`
	Tool   string `json:"tool_version"`
	Shards int    `json:"shards"`
	Values bool   `json:"values"`
}

// mark makes the directory's mark, or finds that it is what this run would make.
func (w *Writer) mark() error {
	mine := mark{inspect.ScanSchemaVersion, w.options.Version, w.options.Shards, w.options.Values}
	there, err := w.readMark()
	if errors.Is(err, fs.ErrNotExist) && w.options.Prepared {
		return elsewhere(w.dir.Path())
	}
	if errors.Is(err, fs.ErrNotExist) {
		if err := w.unmarked(); err != nil {
			return err
		}
		if err = w.writeMark(mine); errors.Is(err, fs.ErrExist) { // another shard was faster
			err = nil
		}
		if err == nil {
			there, err = w.readMark()
		}
	}
	if err != nil {
		return err
	}
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%s: its tables %s; name another directory", w.dir.Path(), fmt.Sprintf(format, args...))
	}
	switch {
	case there.Schema != mine.Schema || there.Tool != mine.Tool:
		return refuse("were written by wtinspect %s (schema %d), and this is %s (schema %d)", there.Tool, there.Schema, mine.Tool, mine.Schema)
	case there.Shards != mine.Shards:
		return refuse("are those of %s, and this run is one of %d", plural.Of(there.Shards, "shard"), mine.Shards)
	case there.Values != mine.Values:
		return refuse("were written %s --values", map[bool]string{true: "with", false: "without"}[there.Values])
	}
	return nil
}

func (w *Writer) readMark() (m mark, err error) {
	f, err := txn.Open(w.dir, markName, os.O_RDONLY, 0)
	if err != nil {
		return m, err
	}
	defer f.Close()
	text := make([]byte, 4<<10)
	n, err := f.ReadAt(text, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return m, err
	}
	dec := json.NewDecoder(bytes.NewReader(text[:n]))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return m, fmt.Errorf("%s: it does not say what wrote the tables (%v); name another directory", filepath.Join(w.dir.Path(), markName), err)
	}
	return m, nil
}

func (w *Writer) writeMark(m mark) error {
	t, err := txn.NewTemp(w.dir, ".", w.prefix())
	if err != nil {
		return err
	}
	text, err := json.Marshal(m)
	if err == nil {
		_, err = t.Write(append(text, '\n'))
	}
	if err == nil {
		err = t.Publish(markName)
	}
	return errors.Join(err, t.Close())
}

// unmarked refuses a directory that has files in the places of tables and does not say
// who wrote them.
func (w *Writer) unmarked() error {
	for _, t := range w.tables {
		names, err := w.dir.ReadDir(t.name())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, n := range names {
			if strings.HasSuffix(n, ending) {
				return fmt.Errorf("%s already exists, and there is no %s that says what wrote it; name another directory",
					filepath.Join(w.dir.Path(), t.name(), n), markName)
			}
		}
	}
	return nil
}

// recover finds what earlier runs of the shard have committed, and removes what they
// have not.
func (w *Writer) recover() error {
	parts := map[string][]string{} // tables, by the names of their parts
	for _, t := range w.tables {
		names, err := w.dir.ReadDir(t.name())
		if err != nil {
			return err
		}
		for _, n := range names {
			if id, ok := strings.CutPrefix(n, w.prefix()+"-"); ok && isID(id) {
				parts[n] = append(parts[n], t.name())
			}
		}
	}
	if len(parts) > 0 && !w.options.Resume {
		return fmt.Errorf("%s already has tables; --resume goes on with them", w.dir.Path())
	}
	// Everything is looked at before anything is removed.
	var remove []string
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		whole := false
		if slices.Contains(parts[name], releases) {
			var err error
			if whole, err = w.recoverGroup(name); err != nil {
				return err
			}
		}
		if !whole {
			remove = append(remove, name)
		}
	}
	for _, name := range remove {
		if err := w.removeGroup(name); err != nil {
			return err
		}
	}
	for _, sub := range append([]string{"."}, tableNames(w.tables)...) {
		temps, err := txn.Temps(w.dir, sub, w.prefix())
		if err != nil {
			return err
		}
		for _, n := range temps {
			if err := txn.Retry(func() error { return w.dir.Remove(n) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// isID reports whether a name ends as those of parts do.
func isID(s string) bool {
	id, ok := strings.CutSuffix(s, ending)
	_, err := hex.DecodeString(id)
	return ok && err == nil && len(id) == digits && strings.ToLower(id) == id
}

func tableNames(tables []table) []string {
	var names []string
	for _, t := range tables {
		names = append(names, t.name())
	}
	return names
}

// recoverGroup takes over the releases of a group. One that is damaged, or of inputs that
// failed, is not whole.
func (w *Writer) recoverGroup(name string) (whole bool, err error) {
	path := filepath.Join(w.dir.Path(), releases, name)
	c, err := w.readGroup(name)
	switch {
	case errors.Is(err, errDamaged):
		w.options.Note("%s: %v; its inputs are done again", path, err)
		return false, nil
	case errors.Is(err, errForeign):
		return false, fmt.Errorf("%s: %w; move it away, or name another directory", path, err)
	case err != nil:
		return false, err
	case c.failed:
		return false, nil
	}
	for _, r := range c.releases {
		if w.known[r.Repository] != nil {
			w.options.Note("%s: another part has %s as well; its inputs are done again", path, r.Repository)
			return false, nil
		}
	}
	m := &members{name: name}
	for _, r := range c.releases {
		m.repositories = append(m.repositories, r.Repository)
		w.known[r.Repository] = &known{state: r.State, group: m}
	}
	return true, nil
}

var (
	// errDamaged says that a part is not as it was written.
	errDamaged = errors.New("damaged")
	// errForeign says that a part was written by something else.
	errForeign = errors.New("wtinspect did not write it so")
)

// readGroup reads a part of releases, and compares the other parts of its group with
// what it says of them.
func (w *Writer) readGroup(name string) (c *committed, err error) {
	f, size, err := w.openPart(releases, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// What does not have the digest in its name is not looked into.
	sum, err := digest(f, size)
	if err != nil {
		return nil, err
	}
	if id := w.prefix() + "-" + sum[:digits] + ending; id != name {
		return nil, fmt.Errorf("%w: its content does not have the digest in its name", errDamaged)
	}
	c, err = readReleases(f, size, w.options.Version)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errForeign, err)
	}
	for _, t := range w.tables {
		if t.name() == releases {
			continue
		}
		i := slices.IndexFunc(c.parts, func(s sibling) bool { return s.Table == t.name() })
		if i < 0 {
			return nil, fmt.Errorf("%w: it has no part of %s", errDamaged, t.name())
		}
		if err := w.compare(name, c.parts[i]); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (w *Writer) openPart(table, name string) (txn.File, int64, error) {
	f, err := txn.Open(w.dir, table+"/"+name, os.O_RDONLY, 0)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size, nil
}

func (w *Writer) compare(name string, s sibling) error {
	f, size, err := w.openPart(s.Table, name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the part of %s is missing", errDamaged, s.Table)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if size == s.Bytes {
		sum, err := digest(f, size)
		if err != nil || sum == s.SHA256 {
			return err
		}
	}
	return fmt.Errorf("%w: the part of %s is not as it was written", errDamaged, s.Table)
}

func digest(f io.ReaderAt, size int64) (string, error) {
	h := sha256.New()
	_, err := io.CopyBuffer(h, io.NewSectionReader(f, 0, size), make([]byte, 256<<10))
	return fmt.Sprintf("%x", h.Sum(nil)), err
}

// removeGroup removes the parts of a name, that of releases first and durably: without
// it the others are removed by the next run.
func (w *Writer) removeGroup(name string) error {
	names := tableNames(w.tables)
	slices.Reverse(names)
	for _, table := range names {
		err := txn.Retry(func() error { return w.dir.Remove(table + "/" + name) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := txn.SyncDir(w.dir, table); err != nil {
			return err
		}
	}
	return nil
}
