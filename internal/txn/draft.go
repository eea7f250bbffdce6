package txn

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A Draft is a file or a directory that is made beside its destination and gets
// its name when it is complete. Until then it lies in a hidden directory that
// only this run knows.
type Draft struct {
	dest       string // as it was given
	parent     Dir
	base, temp string // names in parent: of the destination, of the hidden directory
	dir        Dir    // the hidden directory
	// there are the files that had the name of the destination when the draft
	// was begun, by their paths below it: "" for the destination itself.
	there map[string]Stat
}

// NewDraft begins a draft of dest.
func NewDraft(sys System, dest string) (*Draft, error) {
	parent, err := sys.OpenDir(filepath.Dir(dest))
	if err != nil {
		return nil, &CreateError{dest, err}
	}
	d := &Draft{dest: dest, parent: parent, base: filepath.Base(dest)}
	d.temp = draftPrefix(d.base) + newID() + tempSuffix
	d.there, err = d.files(d.base)
	if err == nil {
		err = Retry(func() error { return parent.Mkdir(d.temp, 0o700) })
	}
	if err == nil {
		d.dir, err = sys.OpenDir(filepath.Join(parent.Path(), d.temp))
	}
	if err != nil {
		parent.Close()
		return nil, d.Named(err)
	}
	return d, nil
}

// Named gives an error about a file of the draft, or about its hidden directory, the path
// that the user knows: that of the destination, or below it.
func (d *Draft) Named(err error) error {
	e, ok := errors.AsType[*fs.PathError](err)
	if !ok || errors.Is(err, fs.ErrNotExist) { // it was taken away meanwhile
		return err
	}
	rel, failed := filepath.Rel(d.parent.Path(), e.Path)
	if failed != nil || !filepath.IsLocal(rel) {
		return err
	}
	first, rest, _ := strings.Cut(filepath.ToSlash(rel), "/")
	if first == d.temp {
		_, rest, _ = strings.Cut(rest, "/")
	} else if first != d.base {
		return err
	}
	return &CreateError{filepath.Join(d.dest, filepath.FromSlash(rest)), e.Err}
}

// files returns the files at a name in the parent; none where there is nothing.
func (d *Draft) files(root string) (map[string]Stat, error) {
	out := make(map[string]Stat)
	st, err := d.parent.Lstat(root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return out, nil
	case err != nil:
		return nil, err
	case !st.Mode.IsDir():
		out[""] = st
		return out, nil
	}
	err = walk(d.parent, root, "", func(name string) error {
		st, err := d.parent.Lstat(path.Join(root, name))
		out[name] = st
		return err
	})
	return out, err
}

// unchanged fails where a file at a name in the parent is not one that was at the
// destination when the draft was begun.
func (d *Draft) unchanged(root string) error {
	now, err := d.files(root)
	for name, st := range now {
		if was, ok := d.there[name]; !ok || !was.Same(st) {
			err = errors.Join(err, &destinationError{filepath.Join(d.parent.Path(), d.base, filepath.FromSlash(name))})
		}
	}
	return err
}

// A destinationError says that another program wrote to a destination.
type destinationError struct{ path string }

func (e *destinationError) Error() string {
	return e.path + " changed while the result was written, and is kept"
}

func (e *destinationError) Is(target error) bool { return target == ErrChanged }

const tempSuffix = ".tmp"

// draftPrefix begins the names of the hidden directories for a destination.
func draftPrefix(base string) string {
	const most = 100 // a name has room for 255 bytes
	return "." + strings.ToValidUTF8(base[:min(len(base), most)], "") + ".wtinspect-"
}

// Leftovers lists what runs that were killed left of drafts of dest. They may
// also be those of a run that lives.
func Leftovers(sys System, dest string) []string {
	parent, err := sys.OpenDir(filepath.Dir(dest))
	if err != nil {
		return nil
	}
	defer parent.Close()
	names, err := parent.ReadDir(".")
	if err != nil {
		return nil
	}
	prefix := draftPrefix(filepath.Base(dest))
	var out []string
	for _, n := range names {
		if id, ok := strings.CutPrefix(n, prefix); ok && len(id) == idSize+len(tempSuffix) && strings.HasSuffix(id, tempSuffix) {
			out = append(out, filepath.Join(parent.Path(), n))
		}
	}
	slices.Sort(out)
	return out
}

// Dir returns the directory in which the result is made.
func (d *Draft) Dir() Dir { return d.dir }

// Name is what the result is called below [Draft.Dir]: as the destination.
func (d *Draft) Name() string { return d.base }

// Path returns the path of the result before it is published.
func (d *Draft) Path() string { return filepath.Join(d.dir.Path(), d.base) }

// An ExistsError says that what would be lost is in the way of a draft.
type ExistsError struct {
	Path string
	// Lost are files that nothing new takes the place of, by their paths below
	// Path; none where Path itself exists and may not be replaced.
	Lost []string
}

func (e *ExistsError) Error() string {
	if len(e.Lost) == 0 {
		return e.Path + " already exists"
	}
	few := e.Lost[:min(len(e.Lost), 3)]
	more := ""
	if n := len(e.Lost) - len(few); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("%s has files that would be lost: %q%s; remove or move them first", e.Path, few, more)
}

func (e *ExistsError) Is(target error) bool { return target == fs.ErrExist }

// Check says what Publish will say as long as nothing changes at the destination.
func (d *Draft) Check(replace []string) error {
	_, err := d.look(replace)
	return err
}

// look returns what has the name of the result, nil when nothing has, and fails
// where it may not be replaced.
func (d *Draft) look(replace []string) (*Stat, error) {
	path := filepath.Join(d.parent.Path(), d.base)
	st, err := d.parent.Lstat(d.base)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !st.Mode.IsDir() && replace == nil:
		return nil, &ExistsError{Path: path}
	case !st.Mode.IsDir():
		return &st, nil
	}
	lost, err := d.lost(d.base, replace)
	switch {
	case err != nil:
		return nil, err
	case len(lost) > 0 && replace == nil:
		return nil, &ExistsError{Path: path}
	case len(lost) > 0:
		return nil, &ExistsError{path, lost}
	}
	return &st, nil
}

// Publish gives the complete result its name, durably. Without replace nothing
// may have the name but an empty directory. With it a file may, or a directory
// all of whose files are in the list, by their paths below it; these are then
// removed. Whatever else is found there keeps its place, and Publish fails.
func (d *Draft) Publish(replace []string) error {
	if err := SyncDir(d.dir, "."); err != nil {
		return err
	}
	made := d.temp + "/" + d.base
	st, err := d.look(replace)
	switch {
	case err != nil:
	case st == nil:
		err = Retry(func() error { return d.parent.RenameNew(made, d.base) })
		if errors.Is(err, fs.ErrExist) {
			err = &ExistsError{Path: filepath.Join(d.parent.Path(), d.base)}
		}
	default:
		if err = d.unchanged(d.base); err != nil {
			break
		}
		if st.Mode.IsDir() {
			err = d.publishOver(made, replace)
		} else {
			err = d.publishOverFile(made)
		}
	}
	if err != nil {
		return err
	}
	return SyncDir(d.parent, ".")
}

// publishOverFile takes the place of a file, which goes with the hidden directory.
func (d *Draft) publishOverFile(made string) error {
	err := Retry(func() error { return d.parent.Exchange(made, d.base) })
	if errors.Is(err, errors.ErrUnsupported) {
		return Retry(func() error { return d.parent.Rename(made, d.base) })
	}
	if err != nil {
		return err
	}
	if err := d.unchanged(made); err != nil {
		return errors.Join(err, d.parent.Exchange(made, d.base))
	}
	return nil
}

// publishOver takes the place of a directory.
func (d *Draft) publishOver(made string, replace []string) error {
	old := made
	err := Retry(func() error { return d.parent.Exchange(made, d.base) })
	if errors.Is(err, errors.ErrUnsupported) {
		old = made + ".old"
		if err = d.parent.RenameNew(d.base, old); err == nil {
			if err = d.parent.RenameNew(made, d.base); err != nil {
				err = errors.Join(err, d.parent.RenameNew(old, d.base))
			}
		}
	}
	if err != nil {
		return err
	}
	// Somebody may have added a file meanwhile.
	lost, err := d.lost(old, replace)
	if err == nil && len(lost) > 0 {
		err = &ExistsError{filepath.Join(d.parent.Path(), d.base), lost}
	}
	if err == nil {
		err = d.unchanged(old)
	}
	switch {
	case err != nil && old == made:
		return errors.Join(err, d.parent.Exchange(made, d.base))
	case err != nil:
		return errors.Join(err, d.parent.RenameNew(d.base, made), d.parent.RenameNew(old, d.base))
	}
	// The old files go when no crash can bring their names back.
	if err := errors.Join(SyncDir(d.parent, "."), SyncDir(d.dir, ".")); err != nil {
		return err
	}
	return removeTree(d.parent, old, "", replace)
}

// lost lists the files below a directory that are not in the list.
func (d *Draft) lost(dir string, list []string) ([]string, error) {
	var out []string
	err := walk(d.parent, dir, "", func(name string) error {
		if !slices.Contains(list, name) {
			out = append(out, name)
		}
		return nil
	})
	slices.Sort(out)
	return out, err
}

// Files lists every file below a directory, by its path below it. What is no
// directory counts as a file, and links are not followed.
func Files(dir Dir) ([]string, error) {
	var out []string
	err := walk(dir, ".", "", func(name string) error {
		out = append(out, name)
		return nil
	})
	slices.Sort(out)
	return out, err
}

// walk calls f for every file below a directory.
func walk(dir Dir, root, below string, f func(name string) error) error {
	names, err := dir.ReadDir(path.Join(root, below))
	if err != nil {
		return err
	}
	for _, n := range names {
		name := path.Join(below, n)
		st, err := dir.Lstat(path.Join(root, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		case st.Mode.IsDir():
			err = walk(dir, root, name, f)
		default:
			err = f(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// removeTree removes a directory with the files that are in the list, by their
// paths below it. Others stay, with the directories that hold them.
func removeTree(dir Dir, root, below string, list []string) error {
	names, err := dir.ReadDir(path.Join(root, below))
	if err != nil {
		return err
	}
	for _, n := range names {
		name := path.Join(below, n)
		st, err := dir.Lstat(path.Join(root, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		case st.Mode.IsDir():
			err = removeTree(dir, root, name, list)
		case list == nil || slices.Contains(list, name):
			err = Retry(func() error { return dir.Remove(path.Join(root, name)) })
		}
		if err != nil {
			return err
		}
	}
	return Retry(func() error { return dir.Remove(path.Join(root, below)) })
}

// Discard removes an unfinished result, so that it can be made once more in
// another way.
func (d *Draft) Discard(name string) error {
	st, err := d.dir.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode.IsDir():
		return removeTree(d.dir, name, "", nil)
	}
	return Retry(func() error { return d.dir.Remove(name) })
}

// Close removes the hidden directory, with an unfinished result in it.
func (d *Draft) Close() error {
	names, err := d.dir.ReadDir(".")
	for _, n := range names {
		err = errors.Join(err, d.Discard(n))
	}
	// The directory is removed by its name: it must still be the one that this
	// run made, and is then empty.
	err = errors.Join(err, d.dir.Close(), Retry(func() error { return d.parent.Remove(d.temp) }), d.parent.Close())
	return err
}
