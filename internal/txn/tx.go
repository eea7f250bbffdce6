package txn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// Changes are what a transaction does, each file once.
type Changes struct {
	Shifts []*Shift
	Swaps  []*Swap
	Moves  []*Move
	// Workers is how many files are worked on at a time; 0 chooses.
	Workers int
}

// A Tx is a transaction on the files below a directory.
//
//  1. The journal is made durable. Nothing was changed before.
//  2. New files are written under temporary names; headers are changed in place.
//  3. Everything is durable and has been verified: the journal is marked.
//  4. The new files take the place of the old ones; the journal goes.
//
// Until the mark an interrupted transaction is undone, after it, it is
// finished. Both can be interrupted again and begin anew.
type Tx struct {
	sys System
	dir Dir
	j   *journal
}

// Begin locks the release in a directory for a transaction. It fails with
// [ErrPending] where an earlier one was interrupted, and with [ErrBusy] where
// one is under way, also one that was begun in a directory above.
func Begin(sys System, path string) (*Tx, error) {
	dir, err := sys.OpenDir(path)
	if err != nil {
		return nil, err
	}
	tx := &Tx{sys: sys, dir: dir}
	if tx.j, err = lockJournal(dir, true); err != nil {
		dir.Close()
		return nil, err
	}
	r, _, _, err := tx.j.read(false)
	if err == nil && r != nil {
		err = pending(path)
	}
	if err != nil {
		tx.j.f.Close()
		dir.Close()
		return nil, err
	}
	// The own journal exists by now. A transaction that is begun above at this
	// moment looks for it after its record is durable, so that one of the two
	// sees the other.
	if up := governing(sys, path); up != "" {
		return nil, errors.Join(pending(up), tx.Abort())
	}
	return tx, nil
}

// Dir returns the directory of the transaction.
func (tx *Tx) Dir() Dir { return tx.dir }

// Abort ends a transaction that has changed nothing.
func (tx *Tx) Abort() error {
	return errors.Join(tx.j.close(), tx.dir.Close())
}

// RefusedError reports that the file system does not make room in a file.
type RefusedError struct {
	Name string
	Err  error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s: the file system refuses to make room: %v", e.Name, e.Err)
}

func (e *RefusedError) Unwrap() error { return e.Err }

// Commit carries the changes out and ends the transaction. When it returns an
// error everything is as it was, unless the error is a [*RecoveryError].
func (tx *Tx) Commit(ctx context.Context, c *Changes) error {
	defer tx.dir.Close()
	n := c.Workers
	if n <= 0 {
		n = max(workers, runtime.GOMAXPROCS(0))
	}
	r, err := tx.record(c)
	if err == nil {
		err = each(ctx, n, r.shifts, func(_ context.Context, s *Shift) error { return s.writable(tx.dir) })
	}
	if err == nil {
		err = tx.j.write(r)
	}
	if err == nil {
		err = tx.alone(r)
	}
	if err == nil {
		err = tx.makeAside(r)
	}
	if err != nil {
		r.removeAside(tx.dir)
		return errors.Join(err, tx.j.close())
	}
	sc := &scene{dir: tx.dir, was: r.self, is: r.self}
	if err = tx.change(ctx, sc, r, n); err == nil {
		err = r.unmoved(sc)
	}
	if err == nil {
		if err = tx.j.mark(); err != nil {
			// The mark may or may not have reached the disk. Nothing is undone
			// before it is certain that a recovery would undo it, too.
			if uerr := tx.j.unmark(); uerr != nil {
				tx.j.f.Close()
				return &RecoveryError{tx.dir.Path(), fmt.Errorf("%w; the journal was left for a recovery: %w", err, uerr)}
			}
		}
	}
	if err != nil {
		return tx.undo(ctx, sc, r, n, err)
	}
	// Past the mark nothing but finishing will do, whoever asks to stop.
	err = r.finish(sc)
	if err == nil {
		return tx.j.close()
	}
	if _, ok := errors.AsType[*obstructedError](err); ok && tx.j.unmark() == nil {
		if terr := r.takeBack(sc); terr == nil {
			return tx.undo(ctx, sc, r, n, err)
		}
	}
	tx.j.f.Close()
	return &RecoveryError{tx.dir.Path(), fmt.Errorf("the new files are complete, but putting them in place failed; a recovery finishes it: %w", err)}
}

// undo takes back what this process has begun, because of err.
func (tx *Tx) undo(ctx context.Context, sc *scene, r *record, n int, err error) error {
	b := r.begun()
	if uerr := b.undo(context.WithoutCancel(ctx), sc, n); uerr != nil {
		tx.j.f.Close()
		return &RecoveryError{tx.dir.Path(), fmt.Errorf("%w; and undoing it failed, so the journal was left for a recovery: %w", err, uerr)}
	}
	if len(b.left) > 0 {
		err = errors.Join(err, fmt.Errorf("%s: the file from before, which lost its name to another program", strings.Join(b.left, ", ")))
	}
	return errors.Join(err, tx.j.close())
}

// record makes the record of changes, and checks that it is one that a recovery
// would follow.
func (tx *Tx) record(c *Changes) (*record, error) {
	r := &record{id: newID(), shifts: c.Shifts, swaps: c.Swaps, moves: c.Moves}
	byName := func(a, b entry) int { return strings.Compare(a.name(), b.name()) }
	slices.SortFunc(r.shifts, func(a, b *Shift) int { return byName(a, b) })
	slices.SortFunc(r.swaps, func(a, b *Swap) int { return byName(a, b) })
	slices.SortFunc(r.moves, func(a, b *Move) int { return byName(a, b) })
	r.stamp()
	for i, s := range r.swaps {
		s.temp = path.Join(parent(s.Name), fmt.Sprintf(tempPattern, r.id, i))
		if err := s.replaces(s.Begin); err != nil {
			return r, fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	for _, s := range r.shifts {
		if !beginsWeights(s.OldHeader, s.oldSize) || !beginsWeights(s.NewHeader, s.newSize) {
			return r, fmt.Errorf("%s: its header is of no format", s.Name)
		}
	}
	seen := make(map[string]bool)
	for _, x := range r.entries() {
		if err := x.check(r.id); err != nil {
			return r, err
		}
		for _, n := range x.names() {
			if seen[n] {
				return r, fmt.Errorf("%s: it is changed twice in one transaction", n)
			}
			seen[n] = true
		}
	}
	return r, nil
}

// makeAside makes the directories of what is put aside. The journal is durable
// before, so that a recovery knows of them.
func (tx *Tx) makeAside(r *record) error {
	for _, d := range r.aside() {
		err := Retry(func() error { return tx.dir.Mkdir(d, 0o777) })
		if errors.Is(err, fs.ErrExist) {
			var st Stat
			if st, err = tx.dir.Lstat(d); err == nil && !st.Mode.IsDir() {
				err = fmt.Errorf("%s/%s is %s, where a directory is needed; move it away first", tx.dir.Path(), d, kindOf(st.Mode))
			}
		}
		if err == nil {
			err = SyncDir(tx.dir, parent(d))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// removeAside removes these directories where they are empty.
func (r *record) removeAside(dir Dir) {
	for _, d := range r.aside() {
		_ = dir.Remove(d) // which fails unless it is empty
	}
}

// alone makes sure that no transaction was begun in a directory below that this
// one changes files of.
func (tx *Tx) alone(r *record) error {
	seen := map[string]bool{".": true}
	for _, x := range r.entries() {
		for dir := parent(x.name()); !seen[dir]; dir = parent(dir) {
			seen[dir] = true
			if err := tx.unclaimed(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

func (tx *Tx) unclaimed(dir string) error {
	f, err := Open(tx.dir, path.Join(dir, JournalName), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	switch err := Retry(f.Lock); {
	case errors.Is(err, ErrLocked):
		return fmt.Errorf("%s/%s: %w", tx.dir.Path(), dir, ErrBusy)
	case err != nil:
		return err
	}
	if st, err := f.Stat(); err != nil || st.Size > 0 {
		return errors.Join(err, pending(path.Join(tx.dir.Path(), dir)))
	}
	return nil
}

// begun returns what this process has begun, and has to undo.
func (r *record) begun() *record {
	out := *r
	out.shifts = slices.DeleteFunc(slices.Clone(r.shifts), func(s *Shift) bool { return !s.begun })
	return &out
}

// unmoved checks, as the last thing before the mark, that no other program has
// changed or replaced a file that is about to be replaced.
func (r *record) unmoved(sc *scene) error {
	for _, s := range r.swaps {
		st, err := sc.dir.Lstat(s.Name)
		switch {
		case s.created() && errors.Is(err, fs.ErrNotExist):
		case s.created() && err == nil:
			return fmt.Errorf("%s: %w: it was not there", s.Name, ErrChanged)
		case err != nil:
			return err
		case !sc.intact(st, s.was):
			return fmt.Errorf("%s: %w", s.Name, ErrChanged)
		}
	}
	for _, m := range r.moves {
		at, err := m.look(sc)
		if err == nil && at != waiting {
			err = fmt.Errorf("%s: %w: it is gone", m.Name, ErrChanged)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// change does everything that can still be undone, and verifies it.
func (tx *Tx) change(ctx context.Context, sc *scene, r *record, workers int) error {
	// New files first: they take the time, and need no undoing in place.
	err := each(ctx, workers, r.swaps, func(ctx context.Context, s *Swap) error { return s.Write(ctx, tx.dir, s.temp) })
	if err == nil {
		err = each(ctx, workers, r.shifts, func(ctx context.Context, s *Shift) error { return s.change(ctx, tx.dir) })
	}
	if err != nil {
		return err
	}
	return r.syncDirs(tx.dir)
}

// each calls f for every change, several at a time, and returns the first error.
func each[T any](ctx context.Context, workers int, list []T, f func(context.Context, T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for _, x := range list {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return f(ctx, x)
		})
	}
	return g.Wait()
}

// writable opens the file as it will have to be opened again to undo the change:
// what cannot be opened for writing must not be begun.
func (s *Shift) writable(dir Dir) error {
	f, err := Open(dir, s.Name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// change changes a header in place, with room made for it first.
func (s *Shift) change(ctx context.Context, dir Dir) error {
	fail := func(err error) error { return fmt.Errorf("%s: %w", s.Name, err) }
	f, err := Open(dir, s.Name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err == nil && !st.Same(s.Old) {
		err = ErrChanged
	}
	if err != nil {
		return fail(err)
	}
	s.begun = true
	if s.N > 0 {
		err := s.insert(f)
		if errors.Is(err, errors.ErrUnsupported) {
			return &RefusedError{s.Name, err}
		}
		if err == nil {
			err = Sync(f)
		}
		if err != nil {
			return fail(err)
		}
	}
	if err := WriteFull(f, s.NewHeader, 0); err != nil {
		return fail(err)
	}
	if err := Sync(f); err != nil {
		return fail(err)
	}
	if s.Prove == nil {
		return nil
	}
	return s.Prove(ctx, f)
}

// insert makes the room. When it is interrupted it is repeated only if it has
// not begun: file systems set the new size first.
func (s *Shift) insert(f File) error {
	for {
		err := f.Insert(s.Off, s.N)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
		if st, serr := f.Stat(); serr != nil || st.Size != s.Old.Size {
			return errors.Join(err, serr)
		}
	}
}
