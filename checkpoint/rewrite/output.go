package rewrite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// placeOutput looks at the destination.
func (j *Job) placeOutput() error {
	out, err := filepath.Abs(j.Output)
	if err != nil {
		return err
	}
	j.dest = out
	j.directory = j.isRelease()
	j.features = j.fsys.Probe(filepath.Dir(out))
	j.FileSystem = j.features.Kind
	if _, err := j.fsys.Lstat(filepath.Dir(out)); err != nil {
		return fmt.Errorf("the directory of the destination: %w", err)
	}
	source, err := filepath.Abs(j.dir)
	if err != nil {
		return err
	}
	if j.directory {
		if within := resolve(out) + string(filepath.Separator); strings.HasPrefix(within, resolve(source)+string(filepath.Separator)) ||
			strings.HasPrefix(resolve(source)+string(filepath.Separator), within) {
			return fmt.Errorf("%s: the destination and the source %s contain each other; name a directory beside it", j.Output, j.dir)
		}
		if err := j.listOthers(); err != nil {
			return err
		}
	}
	st, err := j.fsys.Lstat(out)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	refuse := func(forcible bool, format string, args ...any) {
		j.standing = append(j.standing, Refusal{"", j.Output + ": " + fmt.Sprintf(format, args...), forcible})
	}
	switch {
	case j.directory && !st.Mode.IsDir():
		refuse(false, "is a file, and a release is written as a directory")
	case !j.directory && st.Mode.IsDir():
		refuse(false, "is a directory; name the file to write")
	case !j.directory && sameFile(out, j.checkpoint.Files[0].Path):
		refuse(false, "is the source itself; rewrite it in place")
	case !j.directory && !j.opts.Force:
		refuse(true, "exists")
	case j.directory:
		names, err := j.fsys.ReadDir(out)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return nil
		}
		if !j.opts.Force {
			refuse(true, "exists and is not empty")
			return nil
		}
		for _, n := range names {
			if !j.writes(n) {
				refuse(false, "holds %q, which would be lost; remove it first", n)
				return nil
			}
		}
	}
	return nil
}

// writes reports whether a name is among what goes into the output directory.
func (j *Job) writes(name string) bool {
	top := func(s string) bool { return s == name || strings.HasPrefix(s, name+"/") }
	return slices.ContainsFunc(j.others, top) || slices.ContainsFunc(j.edits, func(e *edit) bool { return top(e.name) })
}

// resolve follows links as far as a path exists.
func resolve(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	if dir := filepath.Dir(path); dir != path {
		return filepath.Join(resolve(dir), filepath.Base(path))
	}
	return path
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// weightSuffixes end the names of weights in any format. Those of the
// checkpoint are rewritten; others do not go with it.
var weightSuffixes = []string{
	".safetensors", ".gguf", ".ggml", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack",
	".onnx", ".onnx_data", ".ot", ".tflite", ".npz", ".mlmodel", ".index.json",
}

// listOthers lists what goes with a release besides its weights: regular
// files, or links to such, that are neither weights nor hidden directories.
func (j *Job) listOthers() error {
	mine := make(map[string]bool)
	for _, e := range j.edits {
		mine[e.name] = true
	}
	if j.checkpoint.Index != "" {
		mine[filepath.Base(j.checkpoint.Index)] = true
		if !slices.ContainsFunc(j.edits, func(e *edit) bool { return e.name == filepath.Base(j.checkpoint.Index) }) {
			j.others = append(j.others, filepath.Base(j.checkpoint.Index))
		}
	}
	var walk func(dir string) error
	walk = func(dir string) error {
		names, err := j.fsys.ReadDir(filepath.Join(j.dir, filepath.FromSlash(dir)))
		if err != nil {
			return err
		}
		for _, n := range names {
			name := strings.TrimPrefix(dir+"/"+n, "/")
			fi, err := os.Stat(filepath.Join(j.dir, filepath.FromSlash(name)))
			if err != nil {
				continue // a link to nowhere
			}
			switch weights := slices.ContainsFunc(weightSuffixes, func(s string) bool { return strings.HasSuffix(strings.ToLower(n), s) }); {
			case fi.IsDir():
				st, err := j.fsys.Lstat(filepath.Join(j.dir, filepath.FromSlash(name)))
				if err == nil && st.Mode.IsDir() && !strings.HasPrefix(n, ".") && n != "__pycache__" {
					if err := walk(name); err != nil {
						return err
					}
				}
			case fi.Mode().IsRegular() && !weights && !mine[name] && !strings.HasPrefix(n, ".wtinspect"):
				j.others = append(j.others, name)
			}
		}
		return nil
	}
	return walk("")
}

// runOutput writes the result beside the destination, complete and durable,
// and then gives it its name. A failure leaves nothing behind.
func (j *Job) runOutput(ctx context.Context, tell func(int64)) (_ *Report, err error) {
	temp := filepath.Join(filepath.Dir(j.dest), "."+filepath.Base(j.dest)+".wtinspect.tmp")
	lock, err := j.claim(temp)
	if err != nil {
		return nil, err
	}
	defer func() {
		// The lock goes last: until then nobody takes the directory for a leftover.
		err = errors.Join(err, j.removeAll(temp))
		lock.Close()
	}()
	made := filepath.Join(temp, "new")
	proofs := make([]proof, len(j.edits))
	if j.directory {
		err = j.writeRelease(ctx, made, proofs, tell)
	} else {
		proofs[0], err = j.writeOne(ctx, j.edits[0], made, tell)
	}
	if err == nil {
		err = j.publish(made)
	}
	if err != nil {
		return nil, err
	}
	return j.report(j.Output, proofs), nil
}

// claim makes a temporary directory that is ours, and locks it. What a run
// that was killed left there is removed; one that lives is left alone.
func (j *Job) claim(temp string) (lock file, err error) {
	if err := retry(func() error { return j.fsys.Mkdir(temp, 0o755) }); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	l, err := lockJournal(j.fsys, temp, true)
	if errors.Is(err, ErrBusy) {
		return nil, fmt.Errorf("%s: another process is writing it: %w", j.Output, ErrBusy)
	}
	if err != nil {
		return nil, err
	}
	names, err := j.fsys.ReadDir(temp)
	for _, n := range names {
		if n != journalName {
			err = errors.Join(err, j.removeAll(filepath.Join(temp, n)))
		}
	}
	if err != nil {
		l.f.Close()
		return nil, err
	}
	return l.f, nil
}

// removeAll removes a file or a directory with all that is in it.
func (j *Job) removeAll(path string) error {
	st, err := j.fsys.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && st.Mode.IsDir() {
		var names []string
		names, err = j.fsys.ReadDir(path)
		for _, n := range names {
			err = errors.Join(err, j.removeAll(filepath.Join(path, n)))
		}
	}
	if err != nil {
		return err
	}
	return retry(func() error { return j.fsys.Remove(path) })
}

// writeOne writes the new content of one file of the checkpoint.
func (j *Job) writeOne(ctx context.Context, e *edit, name string, tell func(int64)) (proof, error) {
	t := transaction{fsys: j.fsys, dir: j.dir, edits: j.edits, verify: j.opts.Verify, progress: tell}
	src, _, err := t.openOld(e)
	if err != nil {
		return proof{}, err
	}
	defer src.Close()
	var rd reading
	if e.step == Reflink && j.opts.Verify == VerifyFull {
		if rd.sums, err = t.digests(ctx, src, e.dataOffset, e.tensors); err != nil {
			return proof{}, err
		}
	}
	p, err := writeNew(ctx, j.fsys, e, src, name, j.opts.Verify, rd, tell)
	var refused *refusedStep
	if errors.As(err, &refused) {
		err = errors.Join(err, j.removeAll(name))
	}
	return p, err
}

// writeRelease writes the directory of a release. One file comes after the
// other: a disk is no faster with two, and each copy has its own threads.
func (j *Job) writeRelease(ctx context.Context, root string, proofs []proof, tell func(int64)) error {
	dirs := map[string]bool{}
	var mkdir func(dir string) error
	mkdir = func(dir string) error {
		if dirs[dir] {
			return nil
		}
		if dir != root {
			if err := mkdir(filepath.Dir(dir)); err != nil {
				return err
			}
		}
		dirs[dir] = true
		return retry(func() error { return j.fsys.Mkdir(dir, 0o755) })
	}
	for i, e := range j.edits {
		dest := filepath.Join(root, filepath.FromSlash(e.name))
		err := mkdir(filepath.Dir(dest))
		if err == nil {
			proofs[i], err = j.writeOne(ctx, e, dest, tell)
		}
		if err != nil {
			return err
		}
	}
	for _, name := range j.others {
		if err := ctx.Err(); err != nil {
			return err
		}
		dest := filepath.Join(root, filepath.FromSlash(name))
		err := mkdir(filepath.Dir(dest))
		if err == nil {
			err = j.copyOther(ctx, filepath.Join(j.dir, filepath.FromSlash(name)), dest)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for d := range dirs {
		if err := syncDir(j.fsys, d); err != nil {
			return err
		}
	}
	return nil
}

func (j *Job) copyOther(ctx context.Context, from, to string) error {
	src, err := open(j.fsys, from, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer src.Close()
	st, err := src.Stat()
	if err != nil {
		return err
	}
	img := image{size: st.Size}
	if j.features.Clone && st.Size > 0 {
		img.clone = &clone{src: src, n: st.Size}
		if _, err := build(ctx, j.fsys, to, img, src, false, nil); err == nil || !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		if err := j.removeAll(to); err != nil {
			return err
		}
		img.clone = nil
	}
	img.pieces = cover(src, 0, st.Size, nil)
	_, err = build(ctx, j.fsys, to, img, src, false, nil)
	return err
}

// publish gives the complete result its name.
func (j *Job) publish(made string) error {
	st, err := j.fsys.Lstat(j.dest)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !j.opts.Force && !(j.directory && st.Mode.IsDir()):
		return fmt.Errorf("%s: %w", j.Output, fs.ErrExist)
	}
	sync := func(err error) error {
		if err != nil {
			return err
		}
		return syncDir(j.fsys, filepath.Dir(j.dest))
	}
	err = retry(func() error { return j.fsys.Rename(made, j.dest) })
	if err == nil || !j.directory || !j.opts.Force {
		return sync(err)
	}
	// A directory with something in it is not replaced by a rename. The old
	// one ends up in the temporary directory, which goes.
	err = retry(func() error { return j.fsys.Exchange(made, j.dest) })
	if err == nil || !errors.Is(err, errors.ErrUnsupported) {
		return sync(err)
	}
	old := made + ".old"
	if err := j.fsys.Rename(j.dest, old); err != nil {
		return err
	}
	if err := j.fsys.Rename(made, j.dest); err != nil {
		return errors.Join(err, j.fsys.Rename(old, j.dest))
	}
	return sync(nil)
}
