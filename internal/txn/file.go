package txn

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// A NewFile is a small file that is written beside its destination, and gets its
// name when it is complete.
type NewFile struct {
	dir        Dir
	path       string // of the destination
	base, temp string
	w          writer
	published  bool
	kept       bool // the old file has the temporary name
}

// A CreateError says that no file can be written at a path that the user named, and what
// to do. Temporaries, in whose names files are made, are not mentioned.
type CreateError struct {
	Path string
	Err  error
}

func (e *CreateError) Error() string {
	dir, err := filepath.Dir(e.Path), cause(e.Err)
	is := func(list ...error) bool {
		return slices.ContainsFunc(list, func(one error) bool { return errors.Is(e.Err, one) })
	}
	switch {
	case is(fs.ErrNotExist):
		return fmt.Sprintf("%s: there is no directory %s; make it first", e.Path, dir)
	case is(syscall.ENOTDIR):
		return fmt.Sprintf("%s: %s is not a directory; name another place", e.Path, dir)
	case is(fs.ErrPermission, syscall.EROFS):
		return fmt.Sprintf("%s: nothing can be written in %s: %v; name another place", e.Path, dir, err)
	case is(syscall.ENAMETOOLONG):
		return fmt.Sprintf("%s: %v; give it a shorter one", e.Path, err)
	case is(syscall.ENOSPC, syscall.EDQUOT):
		return fmt.Sprintf("%s: %v; make room, or name a place on another disk", e.Path, err)
	}
	return fmt.Sprintf("%s: cannot be written: %v", e.Path, err)
}

func (e *CreateError) Unwrap() error { return e.Err }

// Check finds, before there is anything to write, why no file can be made at a path: the
// directory is missing, or the name too long.
func Check(path string) error {
	path = filepath.Clean(path)
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		_, err = os.Stat(filepath.Dir(path))
	}
	if err != nil {
		return &CreateError{path, err}
	}
	return nil
}

// Create begins a file at path. A regular file of that name is replaced when the
// new one is published; anything else, such as a link, is refused.
func Create(path string) (*NewFile, error) {
	dir, err := OS{}.OpenDir(filepath.Dir(path))
	if err != nil {
		return nil, &CreateError{path, err}
	}
	n := &NewFile{dir: dir, path: path, base: filepath.Base(path), temp: ".wtinspect-" + newID() + tempSuffix}
	st, err := dir.Lstat(n.base)
	switch {
	case err == nil && st.Mode&fs.ModeSymlink != 0:
		err = fmt.Errorf("%s is a symbolic link, and a file is not written through one; name the file itself", path)
	case err == nil && !st.Mode.IsRegular():
		err = notRegular(path, st.Mode)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err == nil {
		n.w.f, err = Open(dir, n.temp, os.O_RDWR|os.O_CREATE, 0o666)
	}
	if err != nil {
		dir.Close()
		return nil, n.named(err)
	}
	return n, nil
}

// named gives an error about the temporary, or about the name of the file, the path that
// the user knows.
func (n *NewFile) named(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok && !errors.Is(err, fs.ErrNotExist) && slices.Contains([]string{n.temp, n.base}, filepath.Base(e.Path)) {
		return &CreateError{n.path, e.Err}
	}
	return err
}

// Write adds to the file.
func (n *NewFile) Write(p []byte) (int, error) { return n.w.Write(p) }

// Publish makes the file durable under its name.
func (n *NewFile) Publish() error {
	old, err := n.dir.Lstat(n.base)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	exists := err == nil
	if exists {
		if !old.Mode.IsRegular() {
			return notRegular(filepath.Join(n.dir.Path(), n.base), old.Mode)
		}
		if f, err := Open(n.dir, n.base, os.O_RDONLY, 0); err == nil {
			err = n.w.f.Adopt(f)
			f.Close()
			if err != nil {
				return err
			}
		}
	}
	if err := Sync(n.w.f); err != nil {
		return err
	}
	if exists {
		err = Retry(func() error { return n.dir.Exchange(n.temp, n.base) })
		n.kept = err == nil
		if errors.Is(err, errors.ErrUnsupported) {
			err = Retry(func() error { return n.dir.Rename(n.temp, n.base) })
		}
	} else {
		err = Retry(func() error { return n.dir.RenameNew(n.temp, n.base) })
	}
	if err != nil {
		return err
	}
	n.published = true
	return SyncDir(n.dir, ".")
}

// Revert takes Publish back: the old file has its name again, or none has.
func (n *NewFile) Revert() error {
	switch {
	case !n.published:
		return nil
	case n.kept:
		n.kept, n.published = false, false
		return errors.Join(n.dir.Exchange(n.temp, n.base), SyncDir(n.dir, "."))
	}
	st, err := n.dir.Lstat(n.base)
	if err != nil {
		return err
	}
	if mine, err := n.w.f.Stat(); err != nil || mine.Ino != st.Ino || mine.Dev != st.Dev {
		return errors.Join(err, fmt.Errorf("%s: %w", n.base, ErrChanged))
	}
	return errors.Join(n.dir.Remove(n.base), SyncDir(n.dir, "."))
}

// Close ends the work on the file. One that was not published is removed, and
// so is the old one otherwise.
func (n *NewFile) Close() error {
	err := n.w.f.Close()
	if !n.published || n.kept {
		err = errors.Join(err, Retry(func() error { return n.dir.Remove(n.temp) }))
	}
	return errors.Join(err, n.dir.Close())
}

// WriteFile gives a file the content that write makes, whole or not at all. A
// pipe or a device takes what it is given; there is nothing to replace.
func WriteFile(path string, write func(w io.Writer) error) error {
	if w, err := through(path); err != nil || w != nil {
		if err != nil {
			return err
		}
		return errors.Join(write(w), w.Close())
	}
	n, err := Create(path)
	if err != nil {
		return err
	}
	err = write(n)
	if err == nil {
		err = n.Publish()
	}
	return errors.Join(n.named(err), n.Close())
}

// WriteNew gives a new file in a directory the content that write makes, durably.
func WriteNew(dir Dir, name string, write func(w io.Writer) error) (err error) {
	f, err := Open(dir, name, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := write(&writer{f: f}); err != nil {
		return err
	}
	return Sync(f)
}
