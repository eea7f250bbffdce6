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

// A Writer writes the tables of one shard. Known and Again may be called by several
// goroutines at once.
type Writer struct {
	dir     txn.Dir
	lock    *txn.Held
	options Options
	tables  []table

	good, failed group

	mu sync.Mutex
	// known are the committed releases and those of this run, by repository.
	known map[string]*known
	again map[string]bool
	// broken is the first error of a write: nothing is committed after it.
	broken error
}

// A known release has its row in a group, or will have.
type known struct {
	state string
	group *members // nil of this run
	// skipped says that the run was told to leave it out.
	skipped bool
}

// members are the releases of a group that was committed by an earlier run.
type members struct {
	name         string
	repositories []string
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
	w := &Writer{dir: dir, options: o, tables: all(o.Values), known: map[string]*known{}, again: map[string]bool{}}
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

// Known reports whether the tables have the rows of a repository in a state. A group
// with the rows of another state is removed; Again tells which others it had.
func (w *Writer) Known(repository, state string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.has(repository, state)
}

func (w *Writer) has(repository, state string) bool {
	k := w.known[repository]
	if k == nil || k.group == nil {
		return false
	}
	if k.state == state {
		k.skipped = true
		return true
	}
	w.options.Note("%s is no longer what %s has; all inputs of that part are done again", repository, k.group.name)
	if err := w.removeGroup(k.group.name); err != nil {
		w.broken = errors.Join(w.broken, err)
		return true // nothing is committed any more
	}
	for _, r := range k.group.repositories {
		if w.known[r].skipped {
			w.again[r] = true
		}
		delete(w.known, r)
	}
	return false
}

// Again takes the repositories that Known had answered for before the group that has
// their rows was removed: they are to be scanned again.
func (w *Writer) Again() map[string]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	again := w.again
	w.again = map[string]bool{}
	return again
}

// Write adds a release. One that was written before is left out.
func (w *Writer) Write(s *inspect.Scanned) error {
	w.mu.Lock()
	// Of an input that could not even be listed, Known was not asked.
	twice := w.has(s.Release.Repository, s.Release.State) || w.known[s.Release.Repository] != nil
	if !twice {
		w.known[s.Release.Repository] = &known{state: s.Release.State}
	}
	err := w.broken
	w.mu.Unlock()
	if twice || err != nil {
		return err
	}
	g := &w.good
	if s.Release.ErrorCode != nil {
		g = &w.failed
	}
	if err := g.add(s); err != nil {
		return w.fail(err)
	}
	return nil
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

// A group is the parts that are being written.
type group struct {
	w        *Writer
	failures bool

	parts []part // as Writer.tables; nil before the first release
	begun time.Time
	// held is how many rows the parts hold for the next row group.
	held    int64
	tensors int64
}

func (g *group) add(s *inspect.Scanned) error {
	if g.parts == nil {
		g.begun = time.Now()
		for _, t := range g.w.tables {
			p, err := t.begin(g.w)
			if err != nil {
				return err
			}
			g.parts = append(g.parts, p)
		}
	}
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
	if g.full() {
		return g.commit()
	}
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

// commit ends the parts and gives them their names, that of releases last.
func (g *group) commit() error {
	if g.parts == nil {
		return nil
	}
	err := g.flush()
	if err == nil {
		err = g.publish()
	}
	return errors.Join(err, g.discard())
}

func (g *group) publish() error {
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
	all := append(others, s)
	name := g.w.prefix() + "-" + s.SHA256[:digits] + ending
	for i, p := range g.parts {
		err := p.temp().Publish(name)
		if errors.Is(err, fs.ErrExist) {
			// Another run has done the same work: where no lock is to be had, a cluster may
			// start a task that it holds for dead a second time.
			err = g.w.compare(name, all[i])
		}
		if err != nil {
			return err
		}
		// No crash may leave the part of releases alone.
		if err := txn.SyncDir(g.w.dir, g.w.tables[i].name()); err != nil {
			return err
		}
	}
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
