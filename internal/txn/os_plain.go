//go:build !linux && !darwin

package txn

import (
	"errors"
	"os"
	"path"
)

// renameAt renames below one directory; names in two directories are those of
// the directory that holds both.
func renameAt(a *os.Root, x string, b *os.Root, y string, how int) error {
	if how != renameReplace {
		return errors.ErrUnsupported
	}
	if a.Name() == b.Name() {
		return a.Rename(x, y)
	}
	return os.Rename(path.Join(a.Name(), x), path.Join(b.Name(), y))
}
