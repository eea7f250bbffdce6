package rewrite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/wtinspect/wtinspect/internal/source"
)

// An Outcome is what a recovery did.
type Outcome string

// The outcomes of a recovery.
const (
	// Nothing: there was nothing to recover.
	Nothing Outcome = "nothing to do"
	// Undone: the release is what it was before the rewrite.
	Undone Outcome = "undone"
	// Finished: the release is what the rewrite was to make of it.
	Finished Outcome = "finished"
)

// Pending reports whether a rewrite of the release at ref, a directory or
// one of its files, is under way or was interrupted. What is read of the
// release meanwhile may be part old and part new.
func Pending(ref string) bool {
	fi, err := os.Lstat(filepath.Join(releaseDir(ref), journalName))
	return err == nil && fi.Mode().IsRegular() && fi.Size() > 0
}

// Recover ends an interrupted rewrite of the release at ref, a directory or
// one of its files. Afterwards the release is the old one or the new one,
// whole. It fails with [ErrBusy] while the rewrite is still running. A
// recovery that fails, or is interrupted, can be repeated.
func Recover(ctx context.Context, ref string) (Outcome, error) {
	return recoverDir(ctx, osFS{}, releaseDir(ref))
}

func releaseDir(ref string) string {
	if fi, err := os.Stat(ref); err == nil && fi.IsDir() {
		return ref
	}
	return filepath.Dir(ref)
}

func recoverDir(ctx context.Context, fsys fileSystem, dir string) (Outcome, error) {
	j, err := lockJournal(fsys, dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return Nothing, nil
	}
	if err != nil {
		return Nothing, err
	}
	r, forward, err := j.read()
	if err != nil {
		j.f.Close()
		return Nothing, err
	}
	outcome := Undone
	switch {
	case r == nil:
		outcome = Nothing
	case forward:
		outcome = Finished
		err = finish(fsys, dir, r)
	default:
		err = undo(ctx, fsys, dir, r, defaultWorkers())
	}
	if err != nil {
		j.f.Close()
		return Nothing, &RecoveryError{dir, fmt.Errorf("recovering %s: %w; the journal was kept: recover again, or remove %s to leave the files as they are", dir, err, journalName)}
	}
	return outcome, j.close()
}

// undo makes every file what it was. It looks at what it finds, so it can
// itself be interrupted and repeated.
func undo(ctx context.Context, fsys fileSystem, dir string, r *record, workers int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, workers))
	for i := range r.shifts {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			s := &r.shifts[i]
			if err := s.undo(fsys, dir); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			return nil
		})
	}
	err := g.Wait()
	for _, s := range r.swaps {
		name, perr := within(fsys, dir, s.temp)
		if perr == nil {
			perr = retry(func() error { return fsys.Remove(name) })
		}
		if perr != nil && !errors.Is(perr, fs.ErrNotExist) {
			err = errors.Join(err, perr)
		}
	}
	if err != nil {
		return err
	}
	return syncDirs(fsys, dir, r)
}

// open opens the file for writing, where it is a file of the release itself.
func (s *shift) open(fsys fileSystem, dir string) (file, error) {
	name, err := within(fsys, dir, s.name)
	if err != nil {
		return nil, err
	}
	return openRegular(fsys, name, os.O_RDWR)
}

// undo puts the old header back, after taking out the room that was made for
// the new one. The room may be found anywhere in the file: making it, and
// taking it out, moves one extent after the other.
func (s *shift) undo(fsys fileSystem, dir string) error {
	f, err := s.open(fsys, dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if s.n > 0 {
		if err := s.close(f); err != nil {
			return err
		}
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size != s.size {
		return fmt.Errorf("%w: it is %d bytes long and was %d", ErrChanged, st.Size, s.size)
	}
	// Of the new header the room that was made for it is gone again.
	if err := ensure(f, s.oldHeader, slices.Concat(s.newHeader[:s.off], s.newHeader[s.off+s.n:])); err != nil {
		return err
	}
	for _, p := range s.samples {
		ok, err := p.holds(f, int64(len(s.oldHeader)))
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("the old header is back, but the data at byte %d is not what it was before the rewrite", int64(len(s.oldHeader))+p.off)
		}
	}
	return nil
}

// close takes the inserted range out again, wherever it is.
func (s *shift) close(f file) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size != s.size && st.Size != s.size+s.n {
		return fmt.Errorf("%w: it is %d bytes long, and was %d before the rewrite and %d in it", ErrChanged, st.Size, s.size, s.size+s.n)
	}
	m, err := f.Extents()
	if err != nil {
		return err
	}
	// Headers are written below off and into the gap: only what lies behind tells.
	// Blocks that were reserved behind the end of the file do not count.
	old, now := from(s.extents, s.off, 0), from(before(m, roundUp(st.Size, s.block)), s.off, 0)
	truncate := func() error {
		if st.Size == s.size {
			return nil
		}
		return retry(func() error { return f.Truncate(s.size) })
	}
	collapse := func(at int64) error {
		if at+s.n >= st.Size {
			return truncate()
		}
		switch err := f.Collapse(at, s.n); {
		case errors.Is(err, syscall.EINTR):
			return s.close(f) // it may have begun: look again
		case err != nil:
			return err
		}
		return syncFile(f)
	}
	if slices.Equal(old, now) {
		return truncate()
	}
	if slices.Equal(from(old, s.off, s.n), from(now, s.off+s.n, 0)) {
		return collapse(s.off)
	}
	if at, ok := gap(old, now, s.n); ok {
		return collapse(at)
	}
	return fmt.Errorf("%w: its extents are neither those from before the rewrite nor those from within it", ErrChanged)
}

// finish puts the new files in the place of the old ones.
func finish(fsys fileSystem, dir string, r *record) error {
	for i := range r.shifts {
		s := &r.shifts[i]
		if err := s.finish(fsys, dir); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	for _, s := range r.swaps {
		if err := s.finish(fsys, dir); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return syncDirs(fsys, dir, r)
}

// finish makes sure of the new header, which was durable before the mark.
func (s *shift) finish(fsys fileSystem, dir string) error {
	f, err := s.open(fsys, dir)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size != s.size+s.n {
		return fmt.Errorf("%w: it is %d bytes long and should be %d", ErrChanged, st.Size, s.size+s.n)
	}
	return ensure(f, s.newHeader, s.oldHeader)
}

// ensure makes a file begin with a header, durably, where it begins with that
// or with what is left of another one. What is neither is not overwritten:
// somebody has put another file there since.
func ensure(f file, header, other []byte) error {
	now := make([]byte, len(header))
	if err := source.ReadFull(f, now, 0); err != nil {
		return err
	}
	if !bytes.Equal(now, header) {
		if !mixed(now, header, other) {
			return fmt.Errorf("%w: its header is neither the one from before the rewrite nor the new one", ErrChanged)
		}
		if err := writeFull(f, header, 0); err != nil {
			return err
		}
	}
	// What was read may be in the cache alone.
	return syncFile(f)
}

// finish renames the new file, unless that has been done.
func (s *swap) finish(fsys fileSystem, dir string) error {
	name, err := within(fsys, dir, s.name)
	if err != nil {
		return err
	}
	temp, err := within(fsys, dir, s.temp)
	if err != nil {
		return err
	}
	switch err := s.look(fsys, temp); {
	case errors.Is(err, fs.ErrNotExist):
		return s.look(fsys, name)
	case err != nil:
		return err
	}
	return retry(func() error { return fsys.Rename(temp, name) })
}

// look checks that a file has the new content.
func (s *swap) look(fsys fileSystem, path string) error {
	f, err := openRegular(fsys, path, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	head := make([]byte, min(s.head, st.Size))
	if err := source.ReadFull(f, head, 0); err != nil {
		return err
	}
	if st.Size != s.size || sha256.Sum256(head) != s.sum {
		return fmt.Errorf("%w: its new content is gone", ErrChanged)
	}
	return s.check(head)
}

// check refuses to replace anything but weights, a shard index and the
// documents beside them: what a journal that came with a release asks for must
// not be a file that is run.
func (s *swap) check(head []byte) error {
	base := path.Base(s.name)
	if beginsWeights(head, s.head) || slices.Contains(documents, base) || strings.HasSuffix(base, ".json") && strings.Contains(base, ".index.") {
		return nil
	}
	return errors.New("it is neither weights nor a document that is known by its name (a shard index is *.index.json), and is not replaced")
}

// openRegular opens a file that is no link.
func openRegular(fsys fileSystem, name string, flag int) (file, error) {
	st, err := fsys.Lstat(name)
	if err == nil && !st.Mode.IsRegular() {
		err = fmt.Errorf("%s is not a regular file", name)
	}
	if err != nil {
		return nil, err
	}
	return open(fsys, name, flag)
}

// within returns the path of a file that a journal names, after a look at
// every directory on the way: a journal that came with a release must not
// lead out of it through a link.
func within(fsys fileSystem, dir, name string) (string, error) {
	parts := strings.Split(name, "/")
	path := dir
	for i, part := range parts {
		path = filepath.Join(path, part)
		st, err := fsys.Lstat(path)
		switch {
		case err != nil && i == len(parts)-1 && errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return "", err
		case i < len(parts)-1 && !st.Mode.IsDir():
			return "", fmt.Errorf("%s is not a directory", path)
		}
	}
	return path, nil
}
