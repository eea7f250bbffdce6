package txn

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// A Temp is a new file below a directory. It has a temporary name, which is hidden,
// until it is complete.
type Temp struct {
	dir       Dir
	name      string // below dir
	w         writer
	sum       hash.Hash
	open      bool
	published bool
}

// NewTemp begins a file in the directory sub below dir. Its temporary name begins with
// a dot and prefix, so that [Temps] finds what a killed run left.
func NewTemp(dir Dir, sub, prefix string) (*Temp, error) {
	t := &Temp{dir: dir, name: path.Join(sub, tempPrefix(prefix)+newID()+tempSuffix), sum: sha256.New()}
	f, err := Open(dir, t.name, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, t.named(err)
	}
	t.w.f, t.open = f, true
	return t, nil
}

func tempPrefix(prefix string) string { return "." + prefix + ".wtinspect-" }

// Temps lists the files that runs with a prefix left unfinished in the directory sub
// below dir.
func Temps(dir Dir, sub, prefix string) ([]string, error) {
	names, err := dir.ReadDir(sub)
	var out []string
	for _, n := range names {
		if id, ok := strings.CutPrefix(n, tempPrefix(prefix)); ok && len(id) == idSize+len(tempSuffix) && strings.HasSuffix(id, tempSuffix) {
			out = append(out, path.Join(sub, n))
		}
	}
	return out, err
}

// named gives an error about the temporary the path of its directory, which the user
// knows.
func (t *Temp) named(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok && filepath.Base(e.Path) == path.Base(t.name) {
		return &CreateError{filepath.Join(t.dir.Path(), filepath.FromSlash(path.Dir(t.name))), e.Err}
	}
	return err
}

// Write adds to the file.
func (t *Temp) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	t.sum.Write(p[:n])
	return n, t.named(err)
}

// Size is how many bytes were written.
func (t *Temp) Size() int64 { return t.w.at }

// Sum is the digest of what was written.
func (t *Temp) Sum() Digest { return Digest(t.sum.Sum(nil)) }

// Finish makes the content durable; nothing is written after it.
func (t *Temp) Finish() error {
	if !t.open {
		return nil
	}
	t.open = false
	return t.named(errors.Join(Sync(t.w.f), t.w.f.Close()))
}

// Publish gives the file its name in its directory, which must be free. [SyncDir] makes
// that durable.
func (t *Temp) Publish(name string) error {
	if err := t.Finish(); err != nil {
		return err
	}
	err := Retry(func() error { return t.dir.RenameNew(t.name, path.Join(path.Dir(t.name), name)) })
	t.published = err == nil
	return err
}

// Close ends the work on the file, and removes one that was not published.
func (t *Temp) Close() (err error) {
	if t.open {
		t.open = false
		err = t.w.f.Close()
	}
	if !t.published {
		t.published = true
		err = errors.Join(err, Retry(func() error { return t.dir.Remove(t.name) }))
	}
	return err
}
