package txn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// An Outcome is what a recovery did.
type Outcome string

// The outcomes of a recovery.
const (
	// Nothing: there was nothing to recover.
	Nothing Outcome = "nothing to do"
	// Undone: the release is what it was before the transaction.
	Undone Outcome = "undone"
	// Finished: the release is what the transaction was to make of it.
	Finished Outcome = "finished"
)

// Pending returns the directory whose journal says that a transaction on ref, a
// directory or one of its files, is under way or was interrupted; "" when
// there is none. That is the directory of ref or one above it. What is read of
// the release meanwhile may be part old and part new.
func Pending(sys System, ref string) string {
	dir := releaseDir(sys, ref)
	if st, err := lstat(sys, dir); err == nil && st.Mode.IsRegular() && st.Size > 0 {
		return dir
	}
	return governing(sys, dir)
}

func lstat(sys System, dir string) (Stat, error) {
	d, err := sys.OpenDir(dir)
	if err != nil {
		return Stat{}, err
	}
	defer d.Close()
	return d.Lstat(JournalName)
}

// releaseDir returns the directory of a reference.
func releaseDir(sys System, ref string) string {
	d, err := sys.OpenDir(ref)
	if err != nil {
		return filepath.Dir(ref)
	}
	d.Close()
	return ref
}

// governing looks for a journal above a directory that names files in the
// directory or below it. One that may not decide about these files does not count:
// it would let whoever may write to a directory far above decide about what is below.
func governing(sys System, dir string) string {
	inner := Resolve(dir)
	for up := filepath.Dir(inner); up != filepath.Dir(up); up = filepath.Dir(up) {
		rel, err := filepath.Rel(up, inner)
		if err != nil {
			return ""
		}
		if st, err := lstat(sys, up); err == nil && st.Mode.IsRegular() && st.Size > 0 && names(sys, up, filepath.ToSlash(rel)) {
			return up
		}
	}
	return ""
}

// names reports whether the journal in dir names a file below rel. Only a
// journal that belongs to the files of today counts.
func names(sys System, dir, rel string) bool {
	d, err := sys.OpenDir(dir)
	if err != nil {
		return false
	}
	defer d.Close()
	f, err := Open(d, JournalName, os.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	j := &journal{dir: d, f: f}
	r, _, _, err := j.read(false)
	if err != nil || r == nil {
		return false
	}
	for _, x := range r.entries() {
		for _, n := range x.names() {
			if strings.HasPrefix(n, rel+"/") {
				return true
			}
		}
	}
	return false
}

func (r *record) entries() []entry {
	var out []entry
	for _, s := range r.shifts {
		out = append(out, s)
	}
	for _, s := range r.swaps {
		out = append(out, s)
	}
	for _, m := range r.moves {
		out = append(out, m)
	}
	return out
}

// Recover ends an interrupted transaction on ref, a directory or one of its
// files. Afterwards the release is the old one or the new one, whole. It fails
// with [ErrBusy] while the transaction is still running. A recovery that fails,
// or is interrupted, can be repeated.
//
// A journal that is not about the files that it lies beside is refused. force
// follows it all the same, where names, sizes and contents fit: for a release
// that was moved to another file system in the middle of a transaction. It also
// leaves out files that are changed in place and are gone.
func Recover(ctx context.Context, sys System, ref string, force bool) (Outcome, error) {
	dir := Pending(sys, ref)
	if dir == "" {
		dir = releaseDir(sys, ref) // an empty journal may be left there
	}
	d, err := sys.OpenDir(dir)
	if err != nil {
		return Nothing, err
	}
	defer d.Close()
	out, err := recoverDir(ctx, d, force)
	if out == Nothing && err == nil && dir != ref {
		// With nothing to recover the file should be there.
		if _, err := d.Lstat(filepath.Base(ref)); errors.Is(err, fs.ErrNotExist) {
			return Nothing, err
		}
	}
	return out, err
}

func recoverDir(ctx context.Context, dir Dir, force bool) (Outcome, error) {
	j, err := lockJournal(dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return Nothing, nil
	}
	if err != nil {
		return Nothing, err
	}
	r, forward, sc, err := j.read(force)
	if err != nil {
		j.f.Close()
		var foreign *foreignError
		switch {
		case errors.As(err, &foreign):
			err = fmt.Errorf("%w; remove %s to leave the files as they are, or, where the whole release was copied after it was interrupted, recover it with force", err, JournalName)
		case errors.Is(err, ErrChanged), errors.Is(err, fs.ErrNotExist):
			err = fmt.Errorf("%w; put the file back as it was, or move it away, and recover again; or remove %s to leave the files as they are", err, JournalName)
		}
		return Nothing, err
	}
	if force {
		r.leaveOut(dir)
	}
	outcome := Undone
	switch {
	case r == nil:
		outcome = Nothing
	case forward:
		outcome = Finished
		err = r.finish(sc)
		if _, ok := errors.AsType[*obstructedError](err); ok && j.unmark() == nil {
			outcome = Undone
			if err = r.takeBack(sc); err == nil {
				err = r.undo(ctx, sc, workers)
			}
		}
	default:
		err = r.undo(ctx, sc, workers)
	}
	var kept []string
	if err == nil && r != nil && outcome == Undone && !force {
		kept = r.kept(sc)
	}
	if err != nil {
		j.f.Close()
		return Nothing, &RecoveryError{dir.Path(), fmt.Errorf("recovering %s: %w; the journal was kept: recover again, or remove %s to leave the files as they are", dir.Path(), err, JournalName)}
	}
	if err := j.close(); err != nil || len(kept) == 0 {
		return outcome, err
	}
	return outcome, fmt.Errorf("%s: %w: deleted or replaced by another program, and left as it is; the rest of %s is as before the rewrite", strings.Join(kept, ", "), ErrChanged, dir.Path())
}

// leaveOut forgets the files that were moved away to be left out.
func (r *record) leaveOut(dir Dir) {
	if r == nil {
		return
	}
	r.shifts = slices.DeleteFunc(r.shifts, func(s *Shift) bool {
		_, err := dir.Lstat(s.Name)
		return errors.Is(err, fs.ErrNotExist)
	})
}

// workers is enough to hide the wait for the disk's cache flushes.
const workers = 8

// undo makes every file what it was. It looks at what it finds, so it can
// itself be interrupted and repeated.
func (r *record) undo(ctx context.Context, sc *scene, workers int) error {
	for _, s := range r.shifts {
		if err := s.look(sc); err != nil && !gone(err) {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, workers))
	for _, s := range r.shifts {
		if gone(s.look(sc)) {
			continue // what is there now is not what was changed
		}
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := s.undo(sc); err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
			return nil
		})
	}
	err := g.Wait()
	for _, s := range r.swaps {
		left, uerr := s.undo(sc)
		if left {
			r.left = append(r.left, s.temp)
		}
		err = errors.Join(err, uerr)
	}
	if err != nil {
		return err
	}
	r.removeAside(sc.dir)
	return r.syncDirs(sc.dir)
}

// An obstructedError says that new files could not be given their names: another
// program has put files of its own in the way, or the file system forbids it. The
// old release can still be had: see [record.reversible].
type obstructedError struct{ error }

func (e *obstructedError) Unwrap() error { return e.error }

// finish puts the new files in the place of the old ones.
func (r *record) finish(sc *scene) error {
	if err := r.put(sc); err != nil {
		if r.reversible(sc) {
			return &obstructedError{err}
		}
		return err
	}
	// Old files go when no crash can bring their names back.
	if err := r.syncDirs(sc.dir); err != nil {
		return err
	}
	for _, s := range r.swaps {
		if s.created() {
			continue
		}
		if err := s.clean(sc); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return r.syncDirs(sc.dir)
}

// put makes sure of the new headers and gives the new files their names. It looks
// at everything before it changes anything.
func (r *record) put(sc *scene) (err error) {
	for _, s := range r.shifts {
		if err := s.look(sc); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	swaps, moves := make([]progress, len(r.swaps)), make([]progress, len(r.moves))
	for i, s := range r.swaps {
		if swaps[i], err = s.look(sc); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	for i, m := range r.moves {
		if moves[i], err = m.look(sc); err != nil {
			return err
		}
	}
	for _, s := range r.shifts {
		if err := s.finish(sc); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	for i, s := range r.swaps {
		if swaps[i] == waiting {
			if err := s.put(sc); err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
		}
	}
	for i, m := range r.moves {
		if moves[i] == waiting {
			if err := Retry(func() error { return sc.dir.RenameNew(m.Name, m.To) }); err != nil && !m.gone(sc.dir) {
				return err
			}
		}
	}
	return nil
}

// reversible reports whether every old file is still there, under its name or
// the temporary one, and every header the old one or the new one.
func (r *record) reversible(sc *scene) bool {
	for _, s := range r.shifts {
		if err := s.look(sc); !gone(err) && (err != nil || s.finish(sc) != nil) {
			return false
		}
	}
	for _, s := range r.swaps {
		if !s.created() && !s.reversible(sc) {
			return false
		}
	}
	return true
}

// gone reports whether an error says that a file is no longer there: it was
// deleted, or another one has its name.
func gone(err error) bool {
	_, foreign := errors.AsType[*foreignError](err)
	return foreign || errors.Is(err, fs.ErrNotExist)
}

// kept names the files that are not those from before the transaction, after it
// was undone: other programs have deleted or replaced them.
func (r *record) kept(sc *scene) (names []string) {
	for _, s := range r.shifts {
		if gone(s.look(sc)) {
			names = append(names, s.Name)
		}
	}
	for _, s := range r.swaps {
		if st, err := sc.dir.Lstat(s.Name); !s.created() && (err != nil || !s.holds(sc, s.Name, st)) {
			names = append(names, s.Name)
		}
	}
	for _, m := range r.moves {
		if st, err := sc.dir.Lstat(m.Name); err != nil || !sc.same(st, m.was) {
			names = append(names, m.Name)
		}
	}
	return append(names, r.left...)
}

// takeBack takes the names of new files back, after the mark was taken back.
func (r *record) takeBack(sc *scene) error {
	for _, s := range r.swaps {
		if err := s.takeBack(sc); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	for _, m := range r.moves {
		if at, err := m.look(sc); err == nil && at == done && !m.gone(sc.dir) {
			if err := Retry(func() error { return sc.dir.RenameNew(m.To, m.Name) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// dirs returns the directories whose names a record changes.
func (r *record) dirs() []string {
	dirs := make(map[string]bool)
	for _, s := range r.swaps {
		dirs[parent(s.Name)] = true
		if s.Keep != "" {
			dirs[parent(s.Keep)] = true
		}
	}
	for _, m := range r.moves {
		dirs[parent(m.Name)], dirs[parent(m.To)] = true, true
	}
	return slices.Sorted(maps.Keys(dirs))
}

// aside returns the directories of what is put aside.
func (r *record) aside() []string {
	return slices.DeleteFunc(r.dirs(), func(d string) bool { return path.Base(d) != AsideName })
}

// syncDirs makes the names of a transaction's files durable.
func (r *record) syncDirs(dir Dir) error {
	for _, d := range r.dirs() {
		if err := SyncDir(dir, d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
