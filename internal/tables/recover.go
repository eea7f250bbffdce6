package tables

import (
	"bytes"
	"cmp"
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

	"github.com/parquet-go/parquet-go"

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
	// By is by what the releases are judged.
	By string `json:"by,omitempty"`
}

// mark makes the directory's mark, or finds that it is what this run would make.
func (w *Writer) mark() error {
	mine := mark{inspect.ScanSchemaVersion, w.options.Version, w.options.Shards, w.options.Values, w.options.By}
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
	case there.By != mine.By:
		return refuse("are of releases judged %s, and this run judges %s", by(there.By), by(mine.By))
	case there.Values != mine.Values:
		return refuse("were written %s --values", map[bool]string{true: "with", false: "without"}[there.Values])
	}
	return nil
}

// by is how messages have by what releases are judged.
func by(words string) string {
	if words == "" {
		return "by all rules"
	}
	return "with " + words
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
	parts := map[string]bool{}
	visible, hidden := map[string]bool{}, map[string]bool{} // those with a part of releases
	for _, t := range w.tables {
		names, err := w.dir.ReadDir(t.name())
		if err != nil {
			return err
		}
		for _, n := range names {
			shown, old := strings.CutSuffix(strings.TrimPrefix(n, "."), hiddenEnding)
			old = old && strings.HasPrefix(n, ".")
			if !old {
				shown = n
			}
			if id, ok := strings.CutPrefix(shown, w.prefix()+"-"); ok && isID(id) {
				parts[shown] = true
				if t.name() == releases && old {
					hidden[shown] = true
				} else if t.name() == releases {
					visible[shown] = true
				}
			}
		}
	}
	if len(parts) > 0 && !w.options.Resume {
		return fmt.Errorf("%s already has tables; --resume goes on with them", w.dir.Path())
	}
	// Everything is looked at before anything is removed. What is sound comes first, and
	// what is being replaced gives way to it.
	var found []*foundGroup
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if !visible[name] && !hidden[name] {
			continue
		}
		f, err := w.find(&members{name: name, hidden: !visible[name]})
		if err != nil {
			return err
		}
		found = append(found, f)
	}
	slices.SortFunc(found, func(a, b *foundGroup) int {
		return cmp.Or(order(a.m.damaged, b.m.damaged), order(a.m.hidden, b.m.hidden), strings.Compare(a.m.name, b.m.name))
	})
	for _, f := range found {
		f.overlaps = w.adopt(f)
	}
	for name := range parts {
		switch {
		case !visible[name] && !hidden[name]:
			if err := w.removeOthers(&members{name: name}); err != nil {
				return err
			}
		case visible[name] && hidden[name]: // the hidden one was replaced
			if err := w.removePart(releases, (&members{name: name, hidden: true}).file()); err != nil {
				return err
			}
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
	for _, f := range found {
		if err := w.settle(f); err != nil {
			return err
		}
	}
	return nil
}

func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// A foundGroup is what an earlier run has left.
type foundGroup struct {
	m        *members
	releases []release
	// overlaps says that other groups have rows of the same releases.
	overlaps bool
}

// find looks at a group. What cannot be read is damaged; its releases are found where that
// can be.
func (w *Writer) find(m *members) (*foundGroup, error) {
	path := filepath.Join(w.dir.Path(), releases, m.file())
	f := &foundGroup{m: m}
	c, err := w.readGroup(m)
	if c != nil {
		f.releases, m.failed = c.releases, c.failed
	}
	switch {
	case errors.Is(err, errDamaged):
		m.damaged = true
		if c == nil {
			f.releases = w.names(m)
		}
		switch {
		case len(f.releases) == 0:
			w.options.Note("%s: %v; its inputs are done again, and nothing says which they were: rows of those that are not listed now are lost", path, err)
		case !m.hidden:
			w.options.Note("%s: %v; its inputs are done again", path, err)
		}
	case errors.Is(err, errForeign):
		return nil, fmt.Errorf("%s: %w; move it away, or name another directory", path, err)
	case err != nil:
		return nil, err
	}
	return f, nil
}

// adopt takes over the releases of a group that no other has, and reports whether others
// have some.
func (w *Writer) adopt(f *foundGroup) (overlaps bool) {
	for _, r := range f.releases {
		if w.known[r.Repository] != nil {
			overlaps = true
			continue
		}
		w.known[r.Repository] = &known{state: r.State, group: f.m}
		f.m.live++
	}
	return overlaps
}

// settle ends what a run that was killed had begun: readers see a group again that others
// have not replaced, or what of it they have not.
func (w *Writer) settle(f *foundGroup) error {
	m := f.m
	switch {
	case m.damaged && m.live > 0:
		w.damaged = append(w.damaged, m)
		return nil
	case m.live == 0:
		return w.removeGroup(m)
	case f.overlaps:
		return w.split(m)
	case m.hidden:
		return w.show(m)
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

var (
	// errDamaged says that a part is not as it was written.
	errDamaged = errors.New("damaged")
	// errForeign says that a part was written by something else.
	errForeign = errors.New("wtinspect did not write it so")
)

// readGroup reads a part of releases, and compares the other parts of its group with
// what it says of them.
// Where those are damaged it says so, and returns what the part of releases says.
func (w *Writer) readGroup(m *members) (c *committed, err error) {
	f, size, err := w.openPart(releases, m.file())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// What does not have the digest in its name is not looked into.
	sum, err := digest(f, size)
	if err != nil {
		return nil, err
	}
	if id := w.prefix() + "-" + sum[:digits] + ending; id != m.name {
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
			return c, fmt.Errorf("%w: it has no part of %s", errDamaged, t.name())
		}
		if err := w.compare(m.name, c.parts[i]); err != nil {
			return c, err
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

// names are the releases that the parts of a group name whose part of releases is damaged.
// They may be damaged as well.
func (w *Writer) names(m *members) []release {
	seen := map[string]bool{}
	for _, t := range w.tables {
		if t.name() == releases {
			continue
		}
		f, size, err := w.openPart(t.name(), m.name)
		if err != nil {
			continue
		}
		// What of it can be read is enough.
		_ = eachRowGroup(f, size, func(rows parquet.Rows, repository int) error {
			return eachRow(rows, repository, func(of string, _ parquet.Row) error {
				seen[of] = true
				return nil
			})
		})
		f.Close()
	}
	var out []release
	for _, r := range slices.Sorted(maps.Keys(seen)) {
		out = append(out, release{Repository: r})
	}
	return out
}
