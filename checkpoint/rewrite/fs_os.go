package rewrite

import (
	"errors"
	"io/fs"
	"os"
)

// osFS is the operating system's file system.
type osFS struct{}

type osFile struct{ *os.File }

func (osFS) Open(name string, flag int, perm fs.FileMode) (file, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Lstat(name string) (stat, error) {
	fi, err := os.Lstat(name)
	if err != nil {
		return stat{}, err
	}
	return sysStat(fi), nil
}

func (osFS) Rename(oldname, newname string) error { return os.Rename(oldname, newname) }

func (osFS) Remove(name string) error { return os.Remove(name) }

func (osFS) Mkdir(name string, perm fs.FileMode) error { return os.Mkdir(name, perm) }

func (osFS) ReadDir(name string) ([]string, error) {
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (f osFile) Stat() (stat, error) {
	fi, err := f.File.Stat()
	if err != nil {
		return stat{}, err
	}
	return sysStat(fi), nil
}

func (f osFile) Adopt(like file) error {
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
