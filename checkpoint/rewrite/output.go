package rewrite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/internal/image"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// placeOutput looks at the destination.
func (j *Job) placeOutput() error {
	out, err := filepath.Abs(j.Output)
	if err != nil {
		return err
	}
	j.dest = out
	j.directory = j.isRelease()
	parent, err := j.sys.OpenDir(filepath.Dir(out))
	if err != nil {
		return fmt.Errorf("the directory of the destination: %w", err)
	}
	defer parent.Close()
	j.features = parent.Probe()
	j.FileSystem = j.features.Kind
	j.Leftovers = txn.Leftovers(j.sys, out)
	far := isElsewhere(j.dir)
	if far {
		j.features.Clone, j.features.Insert = false, false // there is nothing to share
	}
	if j.directory {
		if !far && (txn.Contains(j.dir, out) || txn.Contains(out, j.dir)) {
			return fmt.Errorf("%s: the destination and the source %s contain each other; name a directory beside it", j.Output, j.dir)
		}
		if err := j.listOthers(); err != nil {
			return err
		}
	}
	refuse := func(forcible bool, format string, args ...any) {
		j.standing = append(j.standing, Refusal{"", j.Output + ": " + fmt.Sprintf(format, args...), forcible})
	}
	if ext := strings.ToLower(filepath.Ext(out)); j.directory && (ext == ".safetensors" || ext == ".gguf") {
		refuse(false, "is the name of a file, and this release of %d files is written as a directory", len(j.checkpoint.Files))
		return nil
	}
	st, err := parent.Lstat(filepath.Base(out))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	source := j.edits[0].old
	switch {
	case j.directory && !st.Mode.IsDir():
		refuse(false, "is a file, and a release is written as a directory")
	case !j.directory && st.Mode.IsDir():
		refuse(false, "is a directory; name the file to write")
	case !far && !j.directory && (txn.Resolve(out) == txn.Resolve(j.checkpoint.Files[0].Path) || st.Ino != 0 && st.Ino == source.Ino && st.Dev == source.Dev):
		refuse(false, "is the source itself; rewrite it in place")
	case !j.directory && !j.opts.Force:
		refuse(true, "already exists")
	case !j.directory:
		j.Replaces = append(j.Replaces, out)
	default:
		return j.placeOver(out, refuse)
	}
	return nil
}

// placeOver looks at a directory that is in the place of the destination. Every
// file in it must be one that is written, so that nothing is lost.
func (j *Job) placeOver(out string, refuse func(forcible bool, format string, args ...any)) error {
	dir, err := j.sys.OpenDir(out)
	if err != nil {
		return err
	}
	defer dir.Close()
	files, err := txn.Files(dir)
	if err != nil || len(files) == 0 {
		return err
	}
	if !j.opts.Force {
		refuse(true, "already exists and is not empty")
		return nil
	}
	written := make(map[string]bool)
	for _, e := range j.edits {
		written[e.name] = true
	}
	for _, name := range j.others {
		written[name] = true
	}
	var lost []string
	for _, name := range files {
		if !written[name] {
			lost = append(lost, name)
		}
		j.Replaces = append(j.Replaces, filepath.Join(out, filepath.FromSlash(name)))
	}
	if len(lost) > 0 {
		j.Replaces = []string{}
		j.standing = append(j.standing, Refusal{Reason: (&txn.ExistsError{Path: j.Output, Lost: lost}).Error()})
	}
	return nil
}

// weightSuffixes end the names of weights in any format. Those of the
// checkpoint are rewritten; others do not go with it.
var weightSuffixes = []string{
	".safetensors", ".gguf", ".ggml", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack",
	".onnx", ".onnx_data", ".ot", ".tflite", ".npz", ".mlmodel", ".index.json",
}

// listOthers lists what goes with a release besides its weights: regular
// files, or links to such in the release or in the blobs of the hub cache that
// it belongs to, that are neither weights nor in hidden directories. A link that
// leads elsewhere could bring a file along that nobody meant to release.
func (j *Job) listOthers() error {
	root, err := j.sys.OpenDir(j.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	mine := make(map[string]bool)
	for _, e := range j.edits {
		mine[e.name] = true
	}
	if j.checkpoint.Index != "" {
		index := filepath.Base(j.checkpoint.Index)
		if !mine[index] {
			j.others = append(j.others, index)
		}
		mine[index] = true
	}
	var walk func(dir string) error
	walk = func(dir string) error {
		names, err := root.ReadDir(dir)
		if err != nil {
			return err
		}
		slices.Sort(names)
		for _, n := range names {
			name := path.Join(dir, n)
			st, err := root.Lstat(name)
			if err != nil {
				return err
			}
			weights := slices.ContainsFunc(weightSuffixes, func(s string) bool { return strings.HasSuffix(strings.ToLower(n), s) })
			switch {
			case st.Mode.IsDir():
				if strings.HasPrefix(n, ".") || n == "__pycache__" {
					continue
				}
				if err := walk(name); err != nil {
					return err
				}
			case weights || mine[name] || strings.HasPrefix(n, ".wtinspect"):
			case st.Mode.IsRegular():
				j.others = append(j.others, name)
			case st.Mode&fs.ModeSymlink != 0:
				j.addLink(name)
			}
		}
		return nil
	}
	return walk(".")
}

// addLink adds the file that a link leads to.
func (j *Job) addLink(name string) {
	full := j.at(name)
	f, err := txn.Read(j.sys, full, 0)
	if err != nil {
		return // it leads nowhere, or to what is no file
	}
	f.Close()
	if checkpoint.LeavesRelease(j.dir, full) {
		j.Unfollowed = append(j.Unfollowed, Unfollowed{File: full, Reason: "a link that leads out of the release; it is not copied"})
		return
	}
	j.others = append(j.others, name)
}

// runOutput writes the result beside the destination, complete and durable,
// and then gives it its name. A failure leaves nothing behind.
func (j *Job) runOutput(ctx context.Context, tell func(int64)) (_ *Report, err error) {
	draft, err := txn.NewDraft(j.sys, j.dest)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, draft.Close()) }()
	proofs := make([]proof, len(j.edits))
	r := j.runner(tell)
	if j.directory {
		err = j.writeRelease(ctx, r, draft, proofs)
	} else {
		proofs[0], err = r.writeOne(ctx, draft, j.edits[0], draft.Name())
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	if err := draft.Publish(j.replaced()); err != nil {
		return nil, err
	}
	return j.report(j.Output, proofs), nil
}

// replaced returns what publishing may replace, by names below the destination;
// nil without force.
func (j *Job) replaced() []string {
	if !j.opts.Force {
		return nil
	}
	out := []string{}
	for _, p := range j.Replaces {
		if rel, err := filepath.Rel(j.dest, p); err == nil {
			out = append(out, filepath.ToSlash(rel))
		}
	}
	return out
}

// writeOne writes the new content of one file of the checkpoint.
func (t *runner) writeOne(ctx context.Context, draft *txn.Draft, e *edit, name string) (proof, error) {
	src, _, err := t.openOld(e)
	if err != nil {
		return proof{}, err
	}
	defer src.Close()
	var rd reading
	if e.step == Reflink && t.verify == VerifyFull {
		if rd.sums, err = t.digests(ctx, src, e.dataOffset, e.tensors); err != nil {
			return proof{}, err
		}
	}
	return t.writeNew(ctx, draft.Dir(), name, e, src, rd)
}

// writeRelease writes the directory of a release. One file comes after the
// other: a disk is no faster with two, and each copy has its own threads.
func (j *Job) writeRelease(ctx context.Context, r *runner, draft *txn.Draft, proofs []proof) error {
	dir := draft.Dir()
	var made []string
	var mkdir func(name string) error
	mkdir = func(name string) error {
		if slices.Contains(made, name) {
			return nil
		}
		if name != draft.Name() {
			if err := mkdir(path.Dir(name)); err != nil {
				return err
			}
		}
		made = append(made, name)
		return txn.Retry(func() error { return dir.Mkdir(name, 0o755) })
	}
	for i, e := range j.edits {
		dest := path.Join(draft.Name(), e.name)
		err := mkdir(path.Dir(dest))
		if err == nil {
			proofs[i], err = r.writeOne(ctx, draft, e, dest)
		}
		if err != nil {
			return err
		}
	}
	for _, name := range j.others {
		if err := ctx.Err(); err != nil {
			return err
		}
		dest := path.Join(draft.Name(), name)
		err := mkdir(path.Dir(dest))
		if err == nil {
			err = j.copyOther(ctx, r.path(name), draft, dest)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, d := range made {
		if err := txn.SyncDir(dir, d); err != nil {
			return err
		}
	}
	return nil
}

func (j *Job) copyOther(ctx context.Context, from string, draft *txn.Draft, to string) error {
	src, err := txn.Read(j.sys, from, 0)
	if err != nil {
		return err
	}
	defer src.Close()
	st, err := src.Stat()
	if err != nil {
		return err
	}
	img := image.Image{Size: st.Size}
	if j.features.Clone && st.Size > 0 {
		img.Clone = &image.Clone{Src: src, N: st.Size}
		if _, err := image.Build(ctx, draft.Dir(), to, img, src, false, nil); err == nil || !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		if err := draft.Discard(to); err != nil {
			return err
		}
		img.Clone = nil
	}
	img.Pieces = cover(src, 0, st.Size, nil)
	_, err = image.Build(ctx, draft.Dir(), to, img, src, false, nil)
	return err
}
