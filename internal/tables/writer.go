package tables

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// Options say how tables are written.
type Options struct {
	// Version is that of the program.
	Version string
	// Shard is the number, from 0, of the Shards that this run writes. No two runs may
	// write one shard of a directory at once.
	Shard, Shards int
	// Values says that there are figures of the values, table stats.
	Values bool
	// By is by what the releases are judged, as [inspect.ScanOptions.By] has it. Rows of
	// another choice are not gone on with.
	By string
	// Resume goes on with what an earlier run has written. Without it that is refused.
	Resume bool
	// Prepared says that an earlier call has made the directory: what is not there is elsewhere.
	Prepared bool
	// Note is told what Resume finds wrong, and does again.
	Note func(format string, args ...any)

	// Rows and Bytes are how much a part holds before the next one begins, and Every is
	// how long a group is written to at most. 0 chooses.
	Rows, Bytes int64
	Every       time.Duration
}

const (
	defaultRows  = 1_000_000
	defaultBytes = 128 << 20
	// A run that is killed loses what it did since the last group: a hub gives few
	// releases a minute.
	defaultEvery = 10 * time.Minute
)

// A Writer writes the tables of one shard. Known may be called by several goroutines at
// once.
type Writer struct {
	dir     txn.Dir
	lock    *txn.Held
	options Options
	tables  []table

	good, failed group

	mu sync.Mutex
	// known are the committed releases and those of this run, by repository.
	known map[string]*known
	// damaged are the groups that cannot be read any more, with which rows are lost.
	damaged []*members
	kept    int
	rows    map[string]int64
	// broken is the first error of a write: nothing is committed after it.
	broken error
}

// A known release has its row in a group, or will have.
type known struct {
	state string
	// group has the row that readers see, nil before the first is committed.
	group *members
	// written says that this run has written the release.
	written bool
}

// Create begins to write tables to a directory, which is made if there is none.
func Create(sys txn.System, path string, o Options) (_ *Writer, err error) {
	o.Shards = max(o.Shards, 1)
	if o.Rows == 0 {
		o.Rows = defaultRows
	}
	if o.Bytes == 0 {
		o.Bytes = defaultBytes
	}
	if o.Every == 0 {
		o.Every = defaultEvery
	}
	if o.Note == nil {
		o.Note = func(string, ...any) {}
	}
	dir, err := makeDir(sys, path, !o.Prepared)
	if errors.Is(err, fs.ErrNotExist) && o.Prepared {
		return nil, elsewhere(path)
	}
	if err != nil {
		return nil, err
	}
	w := &Writer{dir: dir, options: o, tables: all(o.Values), known: map[string]*known{}, rows: map[string]int64{}}
	w.good.w, w.failed.w, w.failed.failures = w, w, true
	defer func() {
		if err != nil {
			err = errors.Join(err, w.abandon())
		}
	}()
	if w.lock, err = txn.Lock(dir, "."+w.prefix()+".lock"); err != nil {
		if errors.Is(err, txn.ErrLocked) {
			err = fmt.Errorf("%s: another run is writing shard %d of %d; wait for it, or take another shard", path, o.Shard, o.Shards)
		}
		return nil, err
	}
	if err := w.mark(); err != nil {
		return nil, err
	}
	for _, t := range w.tables {
		if err := txn.Retry(func() error { return dir.Mkdir(t.name(), 0o777) }); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	if err := txn.SyncDir(dir, "."); err != nil {
		return nil, err
	}
	if err := w.recover(); err != nil {
		return nil, err
	}
	return w, nil
}

// elsewhere is the error of a directory that was prepared, and is not there.
func elsewhere(path string) error {
	return fmt.Errorf("%s: its tables were begun on another machine, and are not here; name a directory of a file system that all machines share", path)
}

// makeDir opens a directory, and may make it first if there is none.
func makeDir(sys txn.System, path string, may bool) (txn.Dir, error) {
	path = filepath.Clean(path) // of table/ the directory above is not table
	dir, err := sys.OpenDir(path)
	if !errors.Is(err, fs.ErrNotExist) || !may {
		return dir, err
	}
	above, err := sys.OpenDir(filepath.Dir(path))
	if err != nil {
		return nil, &txn.CreateError{Path: path, Err: err}
	}
	defer above.Close()
	err = txn.Retry(func() error { return above.Mkdir(filepath.Base(path), 0o777) })
	if err != nil && !errors.Is(err, fs.ErrExist) { // another shard was faster
		return nil, &txn.CreateError{Path: path, Err: err}
	}
	if err := txn.SyncDir(above, "."); err != nil {
		return nil, err
	}
	return sys.OpenDir(path)
}

// prefix begins the names of the shard's parts.
func (w *Writer) prefix() string {
	return fmt.Sprintf("part-%05d-of-%05d", w.options.Shard, w.options.Shards)
}

// Known reports whether the tables have the rows of a repository in a state, of which
// nothing is to be tried again.
func (w *Writer) Known(repository, state string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := w.known[repository]
	return k.sound() && k.state == state
}

// sound reports whether a release has rows that say how it was.
func (k *known) sound() bool {
	return k != nil && !k.written && k.group != nil && !k.group.failed && !k.group.damaged
}

// maxNoted is how many notes of a kind are given.
const maxNoted = 10

// Write adds a release, whose rows replace those of an earlier run. One that was written
// before is left out, one that is known, and one that cannot be read for now and has rows.
func (w *Writer) Write(s *inspect.Scanned) error {
	take, err := w.takes(s)
	if !take || err != nil {
		return err
	}
	w.rows[releases]++
	w.rows["files"] += int64(len(s.Files))
	w.rows["tensors"] += s.Release.Tensors
	w.rows["findings"] += int64(len(s.Findings))
	g := &w.good
	if s.Release.ErrorCode != nil {
		g = &w.failed
	}
	if err := g.add(s); err != nil {
		return w.fail(err)
	}
	return nil
}

// Rows returns how many rows of each table were written.
func (w *Writer) Rows() map[string]int64 { return w.rows }

func (w *Writer) takes(s *inspect.Scanned) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := w.known[s.Release.Repository]
	switch code := s.Release.ErrorCode; {
	case w.broken != nil || k != nil && k.written:
		return false, w.broken
	case k.sound() && k.state == s.Release.State: // who calls has not asked
		return false, nil
	case code != nil && inspect.Passing(*code) && k.sound():
		if w.kept++; w.kept <= maxNoted {
			w.options.Note("%s cannot be read now (%s), and its rows stay", s.Release.Repository, *code)
		}
		k.written = true
		return false, nil
	case k == nil:
		k = new(known)
		w.known[s.Release.Repository] = k
	}
	k.state, k.written = s.Release.State, true
	return true, nil
}

func (w *Writer) fail(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = errors.Join(w.broken, err)
	return err
}

// Commit makes everything that was written durable, and visible.
func (w *Writer) Commit() error {
	w.mu.Lock()
	err := w.broken
	w.mu.Unlock()
	if err != nil {
		return err
	}
	if err := errors.Join(w.good.commit(), w.failed.commit()); err != nil {
		return w.fail(err)
	}
	return nil
}

// Close ends the work; what was not committed is removed.
func (w *Writer) Close() error {
	return errors.Join(w.good.discard(), w.failed.discard(), w.abandon())
}

// abandon gives back what Create took.
func (w *Writer) abandon() (err error) {
	if w.lock != nil {
		err = w.lock.Release()
	}
	return errors.Join(err, w.dir.Close())
}

// End says what became of the rows of earlier runs, once all inputs were written and
// committed. It returns the repositories whose rows are lost: they were damaged, and nothing
// has replaced them.
func (w *Writer) End() (lost []string, err error) {
	if w.kept > maxNoted {
		w.options.Note("and %s like these", plural.Of(w.kept-maxNoted, "more input"))
	}
	for _, m := range w.damaged {
		if !m.damaged || m.removed {
			continue
		}
		for r, k := range w.known {
			if k.group == m {
				lost = append(lost, r)
				delete(w.known, r)
			}
		}
		if err := w.removeGroup(m); err != nil {
			return nil, w.fail(err)
		}
	}
	slices.Sort(lost)
	return lost, nil
}

// A group is the parts that are being written.
type group struct {
	w        *Writer
	failures bool

	parts []part // as Writer.tables; nil before the first release
	begun time.Time
	// repositories are those of the releases, and name is that of the parts once they ended.
	repositories []string
	name         string
	siblings     []sibling
	// held is how many rows the parts hold for the next row group.
	held    int64
	tensors int64
}

// add adds a release, and commits the group if it is full.
func (g *group) add(s *inspect.Scanned) error {
	if err := g.hold(s); err != nil || !g.full() {
		return err
	}
	return g.commit()
}

// begin begins the parts, once.
func (g *group) begin() error {
	if g.parts != nil {
		return nil
	}
	g.begun = time.Now()
	for _, t := range g.w.tables {
		p, err := t.begin(g.w)
		if err != nil {
			return err
		}
		g.parts = append(g.parts, p)
	}
	return nil
}

func (g *group) hold(s *inspect.Scanned) error {
	if err := g.begin(); err != nil {
		return err
	}
	g.repositories = append(g.repositories, s.Release.Repository)
	rows := s.Release.Tensors + int64(1+len(s.Files)+len(s.Findings))
	if g.held+rows > groupRows {
		if err := g.flush(); err != nil {
			return err
		}
	}
	for _, p := range g.parts {
		if rows < groupRows {
			p.hold(s)
		} else if err := p.stream(s); err != nil {
			return err
		}
	}
	if rows < groupRows {
		g.held += rows
	}
	g.tensors += s.Release.Tensors
	return nil
}

// full reports whether the next release belongs to another group.
func (g *group) full() bool {
	return g.tensors >= g.w.options.Rows || time.Since(g.begun) >= g.w.options.Every ||
		slices.ContainsFunc(g.parts, func(p part) bool { return p.temp().Size() >= g.w.options.Bytes })
}

// flush writes what is held, a row group in each table.
func (g *group) flush() error {
	if g.held == 0 {
		return nil
	}
	for _, p := range g.parts {
		if err := p.flush(); err != nil {
			return err
		}
	}
	g.held = 0
	return nil
}

// commit ends the parts and gives them their names.
func (g *group) commit() error {
	if g.parts == nil {
		return nil
	}
	return errors.Join(g.w.replace(g), g.discard())
}

// end ends the parts, and finds their name.
func (g *group) end() error {
	if err := g.flush(); err != nil {
		return err
	}
	last := len(g.parts) - 1
	var others []sibling
	for _, p := range g.parts[:last] {
		s, err := p.end(nil)
		if err != nil {
			return err
		}
		others = append(others, s)
	}
	list, err := json.Marshal(others)
	if err != nil {
		return err
	}
	s, err := g.parts[last].end(map[string]string{keyParts: string(list), keyFailed: fmt.Sprint(g.failures)})
	if err != nil {
		return err
	}
	g.name = g.w.prefix() + "-" + s.SHA256[:digits] + ending
	g.siblings = append(others, s)
	return nil
}

// discard removes what was not published.
func (g *group) discard() (err error) {
	for _, p := range g.parts {
		err = errors.Join(err, p.temp().Close())
	}
	*g = group{w: g.w, failures: g.failures}
	return err
}
