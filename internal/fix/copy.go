package fix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// Copy copies the release at path, a directory or one file, and has change make of
// the copy what it is to be. The copy gets the name dest when change has
// succeeded; until then it lies where change is told.
func Copy(ctx context.Context, path, dest string, change func(draft string) error) (err error) {
	sys := txn.OS{}
	source, dirErr := sys.OpenDir(path)
	if dirErr == nil {
		defer source.Close()
		dest = filepath.Clean(dest) // clean/ is the directory clean
		if txn.Contains(path, dest) {
			return fmt.Errorf("%s: the copy would lie in its source; name a directory beside it", dest)
		}
	} else if strings.HasSuffix(strings.ToLower(path), ".json") {
		return fmt.Errorf("%s: name the directory of the release for a copy of it", path)
	} else if dest != "" && os.IsPathSeparator(dest[len(dest)-1]) {
		return fmt.Errorf("%s: the copy of one file is a file; name it, as in -o %s", dest, filepath.Join(dest, filepath.Base(path)))
	}
	draft, err := txn.NewDraft(sys, dest)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(draft.Named(err), draft.Close()) }()
	if err := draft.Check(nil); err != nil {
		return err
	}
	if dirErr == nil {
		follow := func(link string) bool { return !checkpoint.LeavesRelease(path, link) }
		skip := func(name string) bool {
			return name == ".git" || strings.HasPrefix(name, ".wtinspect-") && name != txn.AsideName
		}
		err = txn.CopyTree(ctx, sys, source, draft.Dir(), draft.Name(), follow, skip)
	} else {
		err = txn.CopyFile(ctx, sys, path, draft.Dir(), draft.Name())
	}
	if err != nil {
		return err
	}
	if err := change(draft.Path()); err != nil {
		return err
	}
	return draft.Publish(nil)
}
