package rewrite

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/internal/image"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// placeOutput looks at the destination.
func (j *Job) placeOutput() error {
	c := j.checkpoint
	j.directory = c.IsRelease()
	out := image.Result{Output: j.Output, Directory: j.directory, Weights: len(c.Files), SourceDirs: []string{j.dir}, Advice: "rewrite it in place", Force: j.opts.Force}
	if j.directory {
		if err := j.listOthers(); err != nil {
			return err
		}
	}
	for _, f := range c.Files {
		out.Sources = append(out.Sources, f.Path)
	}
	for _, e := range j.edits {
		out.Names = append(out.Names, e.name)
	}
	out.Names = append(out.Names, j.others...)
	var err error
	if j.out, err = out.Look(j.sys); err != nil {
		return err
	}
	j.features, j.Replaces, j.Leftovers = j.out.Features, j.out.Replaces, j.out.Leftovers
	j.FileSystem = j.features.Kind
	if isElsewhere(j.dir) {
		j.features.Clone, j.features.Insert = false, false // there is nothing to share
	}
	for _, p := range j.out.Problems {
		j.standing = append(j.standing, Refusal{"", p.Text, p.Forcible})
	}
	return nil
}

// weightSuffixes end the names of weights in any format. Those of the
// checkpoint are rewritten; others do not go with it.
var weightSuffixes = []string{
	".safetensors", ".gguf", ".ggml", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack",
	".pkl", ".onnx", ".onnx_data", ".ot", ".tflite", ".npz", ".mlmodel", ".distcp",
}

// Companions lists what goes with the weights of a checkpoint into another
// directory, by names below its own: regular files, or links to such in the release
// or in the blobs of the hub cache that it belongs to, that are neither weights,
// their index nor in hidden directories. A link that leads elsewhere could bring a file
// along that nobody meant to release; such are in left, and so are other weights.
func Companions(ctx context.Context, c *checkpoint.Checkpoint) (names []string, left []Unfollowed, err error) {
	return companions(image.Elsewhere(ctx, txn.OS{}), c)
}

func companions(sys txn.System, c *checkpoint.Checkpoint) (names []string, left []Unfollowed, err error) {
	root, err := sys.OpenDir(c.Dir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	mine := make(map[string]bool)
	for _, f := range c.Files {
		mine[f.Name] = true
	}
	var others, states []string // weights that are not the checkpoint's, and what else is called like weights
	var walk func(dir string) error
	walk = func(dir string) error {
		entries, err := root.ReadDir(dir)
		if err != nil {
			return err
		}
		slices.Sort(entries)
		for _, n := range entries {
			name := path.Join(dir, n)
			st, err := root.Lstat(name)
			if err != nil {
				return err
			}
			isIndex := strings.HasSuffix(strings.ToLower(n), ".index.json") || checkpoint.IndexStem(n) != "" || n == checkpoint.DistributedIndex
			weights := isIndex || slices.ContainsFunc(weightSuffixes, func(s string) bool { return strings.HasSuffix(strings.ToLower(n), s) })
			switch {
			case st.Mode.IsDir():
				if strings.HasPrefix(n, ".") || n == "__pycache__" {
					continue
				}
				if err := walk(name); err != nil {
					return err
				}
			case weights || mine[name] || strings.HasPrefix(n, ".wtinspect"):
				switch {
				case !weights || mine[name] || c.Index != "" && name == filepath.Base(c.Index):
				case isIndex || checkpoint.LeftByTrainer(n):
					states = append(states, name)
				default:
					others = append(others, name)
				}
			case st.Mode.IsRegular():
				names = append(names, name)
			case st.Mode&fs.ModeSymlink != 0:
				full := source.Join(c.Dir, filepath.FromSlash(name))
				f, err := txn.Read(sys, full, 0)
				if err != nil {
					continue // it leads nowhere, or to what is no file
				}
				f.Close()
				if checkpoint.LeavesRelease(c.Dir, full) {
					left = append(left, Unfollowed{File: full, Reason: "a link that leads out of the release; it is not copied"})
					continue
				}
				names = append(names, name)
			}
		}
		return nil
	}
	err = walk(".")
	if len(others) > 0 {
		left = append(left, Unfollowed{File: c.Dir, Reason: "other weights in it are not copied: " + every(others)})
	}
	if len(states) > 0 {
		left = append(left, Unfollowed{File: c.Dir, Reason: "what trainers leave, and indexes of other files, are not copied: " + every(states)})
	}
	return names, left, err
}

// every names files, so that none is lost without a word, unless there are many.
func every(names []string) string {
	const many = 20
	if n := len(names); n <= many && n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return plural.List(names)
}

// listOthers lists what goes with the release besides what is written anew.
func (j *Job) listOthers() error {
	names, left, err := companions(j.sys, j.checkpoint)
	if j.checkpoint.Index != "" {
		names = append([]string{filepath.Base(j.checkpoint.Index)}, names...)
	}
	j.others = slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(j.edits, func(e *edit) bool { return e.name == name })
	})
	j.Unfollowed = append(j.Unfollowed, left...)
	return err
}

// runOutput writes the result beside the destination, complete and durable,
// and then gives it its name. A failure leaves nothing behind. One file comes after
// the other: a disk is no faster with two, and each copy has its own threads.
func (j *Job) runOutput(ctx context.Context, tell func(int64)) (*Report, error) {
	proofs := make([]proof, len(j.edits))
	r := j.runner(tell)
	err := j.out.Write(ctx, func(w *image.Writer) error {
		for i, e := range j.edits {
			name, err := w.File(e.name)
			if err == nil {
				proofs[i], err = r.writeOne(ctx, w.Dir(), e, name)
			}
			if err != nil {
				return err
			}
		}
		for _, name := range j.others {
			err := ctx.Err()
			if err == nil {
				err = w.Copy(ctx, r.path(name), name)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return j.report(j.Output, proofs), nil
}

// writeOne writes the new content of one file of the checkpoint.
func (t *runner) writeOne(ctx context.Context, dir txn.Dir, e *edit, name string) (proof, error) {
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
	return t.writeNew(ctx, dir, name, e, src, rd)
}
