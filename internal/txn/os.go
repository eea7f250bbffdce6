package txn

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// OS is the operating system's files.
type OS struct{}

// OpenDir opens a directory.
func (OS) OpenDir(path string) (Dir, error) {
	name := path
	if nonblock != 0 && name != "" {
		name += "/" // open(2) of a FIFO would wait for its writer, and fails so
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, at(path, err)
	}
	return &osDir{root, path}, nil
}

// Read opens a regular file for reading.
func (OS) Read(path string, flag int) (File, error) {
	named, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !named.Mode().IsRegular() {
		return nil, notRegular(path, named.Mode())
	}
	f, err := os.OpenFile(path, os.O_RDONLY|flag|nonblock, 0)
	if err != nil {
		return nil, err
	}
	return sameFile(f, named)
}

// sameFile returns an open file that is the one that was looked at by its name,
// and closes another that has taken the name since.
func sameFile(f *os.File, named fs.FileInfo) (File, error) {
	fi, err := f.Stat()
	if err == nil && !os.SameFile(fi, named) {
		err = fmt.Errorf("%s: another file took its name while it was opened: %w", f.Name(), ErrChanged)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return osFile{f}, nil
}

// at gives an error of the file system the path that the user knows.
func at(path string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: e.Op, Path: path, Err: e.Err}
	}
	return err
}

type osDir struct {
	root *os.Root
	path string
}

func (d *osDir) Path() string { return d.path }

func (d *osDir) Close() error { return d.root.Close() }

func (d *osDir) join(name string) string { return filepath.Join(d.path, filepath.FromSlash(name)) }

// walk opens the directory that holds a name. Every directory on the way is
// looked at before it is opened and compared afterwards, so that no link is
// followed, whoever puts one there meanwhile.
func (d *osDir) walk(name string) (dir *os.Root, base string, done func(), err error) {
	if !filepath.IsLocal(filepath.FromSlash(name)) || path.Clean(name) != name {
		return nil, "", nil, fmt.Errorf("%q is not a name below %s", name, d.path)
	}
	dir, done = d.root, func() {}
	parts := strings.Split(name, "/")
	for i, part := range parts[:len(parts)-1] {
		next, err := openSub(dir, part, d.join(strings.Join(parts[:i+1], "/")))
		done()
		if err != nil {
			return nil, "", nil, err
		}
		dir, done = next, func() { next.Close() }
	}
	return dir, parts[len(parts)-1], done, nil
}

func openSub(dir *os.Root, name, path string) (*os.Root, error) {
	named, err := dir.Lstat(name)
	if err != nil {
		return nil, at(path, err)
	}
	if !named.IsDir() {
		return nil, &ThroughError{path, kindOf(named.Mode())}
	}
	sub, err := dir.OpenRoot(name)
	if err != nil {
		return nil, at(path, err)
	}
	fi, err := sub.Stat(".")
	if err == nil && !os.SameFile(fi, named) {
		err = fmt.Errorf("%s: something else took its name while it was opened: %w", path, ErrChanged)
	}
	if err != nil {
		sub.Close()
		return nil, err
	}
	return sub, nil
}

// sub opens a directory below d; "." is d itself.
func (d *osDir) sub(name string) (dir *os.Root, done func(), err error) {
	if name == "." {
		return d.root, func() {}, nil
	}
	holder, base, done, err := d.walk(name)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	dir, err = openSub(holder, base, d.join(name))
	if err != nil {
		return nil, nil, err
	}
	return dir, func() { dir.Close() }, nil
}

func (d *osDir) Open(name string, flag int, perm fs.FileMode) (File, error) {
	dir, base, done, err := d.walk(name)
	if err != nil {
		return nil, err
	}
	defer done()
	if flag&os.O_CREATE != 0 {
		f, err := dir.OpenFile(base, flag|os.O_EXCL|largeFile, perm)
		if err != nil {
			return nil, at(d.join(name), err)
		}
		return osFile{f}, nil
	}
	named, err := dir.Lstat(base)
	if err != nil {
		return nil, at(d.join(name), err)
	}
	if !named.Mode().IsRegular() {
		return nil, notRegular(d.join(name), named.Mode())
	}
	f, err := dir.OpenFile(base, flag|nonblock|largeFile, 0)
	if err != nil {
		return nil, at(d.join(name), err)
	}
	return sameFile(f, named)
}

func (d *osDir) Lstat(name string) (Stat, error) {
	dir, base, done, err := d.walk(name)
	if err != nil {
		return Stat{}, err
	}
	defer done()
	fi, err := dir.Lstat(base)
	if err != nil {
		return Stat{}, at(d.join(name), err)
	}
	return sysStat(fi), nil
}

// renaming calls f with the directories and the last components of two names.
func (d *osDir) renaming(oldname, newname string, f func(a *os.Root, x string, b *os.Root, y string) error) error {
	a, x, done, err := d.walk(oldname)
	if err != nil {
		return err
	}
	defer done()
	b, y, done, err := d.walk(newname)
	if err != nil {
		return err
	}
	defer done()
	if err := f(a, x, b, y); err != nil {
		return &os.LinkError{Op: "rename", Old: d.join(oldname), New: d.join(newname), Err: cause(err)}
	}
	return nil
}

// cause takes the paths off an error: they are below a directory that the user
// may not know.
func cause(err error) error {
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

func (d *osDir) Rename(oldname, newname string) error {
	return d.renaming(oldname, newname, func(a *os.Root, x string, b *os.Root, y string) error {
		return renameAt(a, x, b, y, renameReplace)
	})
}

func (d *osDir) RenameNew(oldname, newname string) error {
	return d.renaming(oldname, newname, func(a *os.Root, x string, b *os.Root, y string) error {
		err := renameAt(a, x, b, y, renameNew)
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		if _, err := b.Lstat(y); err == nil {
			return fs.ErrExist
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return renameAt(a, x, b, y, renameReplace)
	})
}

func (d *osDir) Exchange(oldname, newname string) error {
	return d.renaming(oldname, newname, func(a *os.Root, x string, b *os.Root, y string) error {
		return renameAt(a, x, b, y, renameExchange)
	})
}

// The ways to rename. Only the first is to be had everywhere.
const (
	renameReplace = iota
	renameNew
	renameExchange
)

func (d *osDir) Remove(name string) error {
	dir, base, done, err := d.walk(name)
	if err != nil {
		return err
	}
	defer done()
	return at(d.join(name), dir.Remove(base))
}

func (d *osDir) Mkdir(name string, perm fs.FileMode) error {
	dir, base, done, err := d.walk(name)
	if err != nil {
		return err
	}
	defer done()
	return at(d.join(name), dir.Mkdir(base, perm))
}

func (d *osDir) ReadDir(name string) ([]string, error) {
	dir, done, err := d.sub(name)
	if err != nil {
		return nil, err
	}
	defer done()
	f, err := dir.Open(".")
	if err != nil {
		return nil, at(d.join(name), err)
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	return names, at(d.join(name), err)
}

func (d *osDir) SyncDir(name string) error {
	dir, done, err := d.sub(name)
	if err != nil {
		return err
	}
	defer done()
	return at(d.join(name), syncRoot(dir))
}

type osFile struct{ *os.File }

func (f osFile) Stat() (Stat, error) {
	fi, err := f.File.Stat()
	if err != nil {
		return Stat{}, err
	}
	return sysStat(fi), nil
}

func (f osFile) Adopt(like File) error {
	st, err := like.Stat()
	if err != nil {
		return err
	}
	if err := f.Chmod(st.Mode.Perm()); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if st.UID >= 0 {
		// Only a privileged process can give a file away; the others own what they make.
		_ = f.Chown(st.UID, st.GID)
	}
	if o, ok := like.(osFile); ok {
		copyAttributes(f, o)
	}
	return nil
}

// Resolve returns a path without links, as far as it exists.
func Resolve(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	if dir := filepath.Dir(path); dir != path {
		return filepath.Join(Resolve(dir), filepath.Base(path))
	}
	return path
}

// Contains reports whether a path is a directory or lies below it, through
// whatever links.
func Contains(dir, path string) bool {
	rel, err := filepath.Rel(Resolve(dir), Resolve(path))
	return err == nil && filepath.IsLocal(rel)
}

// Link returns where a symbolic link points to, "" when it is none.
func Link(path string) string {
	target, err := os.Readlink(path)
	if err != nil {
		return ""
	}
	return target
}

// SameFile reports whether a path is one of the others, whatever they are called.
func SameFile(path string, others ...string) bool {
	fi, err := os.Stat(path)
	if err != nil {
		return false
	}
	for _, o := range others {
		if x, err := os.Stat(o); err == nil && os.SameFile(fi, x) {
			return true
		}
	}
	return false
}

// through opens what is no file and no directory for writing, such as a pipe or
// a terminal; nil when path is something else. A pipe needs a reader: one that has been
// started with this program may be a moment late, and for another there is no end of waiting.
func through(path string) (io.WriteCloser, error) {
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().IsRegular() || fi.IsDir() {
		return nil, nil
	}
	if fi.Mode()&fs.ModeNamedPipe == 0 {
		return os.OpenFile(path, os.O_WRONLY, 0)
	}
	const (
		pause = 10 * time.Millisecond
		most  = 2 * time.Second
	)
	for waited := time.Duration(0); ; waited += pause {
		f, err := os.OpenFile(path, os.O_WRONLY|nonblock, 0)
		if !errors.Is(err, syscall.ENXIO) {
			return f, err
		}
		if waited >= most {
			return nil, fmt.Errorf("%s is a pipe that no program reads; start the one that does first, or name a file", path)
		}
		time.Sleep(pause)
	}
}
