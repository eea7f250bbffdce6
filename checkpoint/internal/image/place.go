package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// A Result is what is to be written, and where.
type Result struct {
	Output string
	// Directory says that Output is a directory, of the files that Names has by
	// their paths below it.
	Directory bool
	Names     []string
	Weights   int // how many of the files are weights
	// Sources are the files that the result is made of, and SourceDirs the directories
	// of those that are releases. Neither may be in the way of the result.
	Sources, SourceDirs []string
	// Called is what some of Sources are, by their paths, where that is not "the source".
	Called map[string]string
	// Advice is what to do where Output is one of Sources.
	Advice string
	// Force replaces what Output already holds.
	Force bool
}

// A Place is where a result goes. It was looked at, and nothing is changed in it.
type Place struct {
	Path     string // of the result, absolute
	Features txn.Features
	// Replaces are files that the result takes the place of, by their full paths.
	Replaces []string
	// Leftovers are hidden directories beside the result that other runs left when
	// they were killed, or are writing now.
	Leftovers []string
	// Problems are reasons not to write.
	Problems []Problem

	sys    txn.System
	result Result
}

// A Problem is a reason not to write a result, which Force may lift.
type Problem struct {
	Text     string
	Forcible bool
}

// foreign endings are of files that are not written.
var foreign = map[string]string{
	".bin": "a file of PyTorch", ".pt": "a file of PyTorch", ".pth": "a file of PyTorch", ".ckpt": "a file of PyTorch", ".pkl": "a file of PyTorch", ".npz": "a file of NumPy", ".npy": "a file of NumPy",
	".onnx": "a file of ONNX", ".h5": "a file of Keras", ".msgpack": "a file of Flax", ".tflite": "a file of TensorFlow", ".json": "JSON", ".zip": "an archive", ".gz": "an archive",
	".tar": "an archive", ".tgz": "an archive", ".xz": "an archive", ".bz2": "an archive", ".zst": "an archive", ".7z": "an archive",
}

// Look looks at the place of a result. An error means that there is no such place.
func (r *Result) Look(sys txn.System) (*Place, error) {
	out, err := filepath.Abs(r.Output)
	if err != nil {
		return nil, err
	}
	p := &Place{Path: out, Replaces: []string{}, sys: sys, result: *r}
	parent, err := sys.OpenDir(filepath.Dir(out))
	if err != nil {
		return nil, &txn.CreateError{Path: r.Output, Err: err}
	}
	defer parent.Close()
	p.Features = parent.Probe()
	p.Leftovers = txn.Leftovers(sys, out)
	if r.Directory {
		for _, dir := range r.SourceDirs {
			if source.Scheme(dir) == "" && (txn.Contains(dir, out) || txn.Contains(out, dir)) {
				return nil, fmt.Errorf("%s: the destination and the source %s contain each other; name a directory beside it", r.Output, dir)
			}
		}
		if ext := strings.ToLower(filepath.Ext(out)); ext == ".safetensors" || ext == ".gguf" {
			p.refuse(false, "is the name of a file, and this release of %s is written as a directory", plural.Of(r.Weights, "file"))
			return p, nil
		} else if kind := foreign[ext]; kind != "" {
			p.refuse(false, "ends as %s, which is not written, and this would be a directory; name one, or a file that ends in .safetensors", kind)
		}
	}
	st, err := parent.Lstat(filepath.Base(out))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p, nil
	case err != nil:
		return nil, &txn.CreateError{Path: r.Output, Err: err}
	case r.Directory && st.Mode&fs.ModeSymlink != 0:
		p.refuse(false, "is a symbolic link, and a release is written as a directory; name the directory that it leads to")
	case r.Directory && !st.Mode.IsDir():
		p.refuse(false, "is a file, and a release is written as a directory")
	case r.Directory:
		return p, p.lookInside()
	case st.Mode.IsDir():
		p.refuse(false, "is a directory; name the file to write")
	case r.source(out) != "":
		p.refuse(false, "is %s itself; %s", r.source(out), r.Advice)
	case !st.Mode.IsRegular() && st.Mode&fs.ModeSymlink == 0:
		p.refuse(false, "is a device or a pipe; name a file")
	case !r.Force:
		p.refuse(true, "already exists")
	default:
		p.Replaces = append(p.Replaces, out)
	}
	return p, nil
}

// NoRoom says that a disk lacks room for what is to be written at a path, "" where it
// suffices, or nobody knows.
func NoRoom(path string, need, free int64) string {
	if free < 0 || need <= free {
		return ""
	}
	return fmt.Sprintf("not enough room: %s are needed at %s, and %s are free", plural.Size(need), path, plural.Size(free))
}

func (p *Place) refuse(forcible bool, format string, args ...any) {
	p.Problems = append(p.Problems, Problem{p.result.Output + ": " + fmt.Sprintf(format, args...), forcible})
}

// source is what of Sources a path is, "" for none of them.
func (r *Result) source(out string) string {
	resolved := txn.Resolve(out)
	i := slices.IndexFunc(r.Sources, func(path string) bool {
		return source.Scheme(path) == "" && (txn.Resolve(path) == resolved || txn.SameFile(path, out))
	})
	if i < 0 {
		return ""
	}
	return cmp.Or(r.Called[r.Sources[i]], "the source")
}

// lookInside looks at a directory that is in the place of the result. Every
// file in it must be one that is written, so that nothing is lost.
func (p *Place) lookInside() error {
	dir, err := p.sys.OpenDir(p.Path)
	if err != nil {
		return err
	}
	defer dir.Close()
	files, err := txn.Files(dir)
	if err != nil || len(files) == 0 {
		return err
	}
	if !p.result.Force {
		p.refuse(true, "already exists and is not empty")
		return nil
	}
	written := make(map[string]bool)
	for _, name := range p.result.Names {
		written[name] = true
	}
	var lost []string
	defer func() {
		if len(p.Problems) > 0 {
			p.Replaces = []string{}
		}
	}()
	for _, name := range files {
		if !written[name] {
			lost = append(lost, name)
		}
		full := filepath.Join(p.Path, filepath.FromSlash(name))
		if what := p.result.source(full); what != "" {
			p.refuse(false, "%s, %s, is in it; name another directory", name, what)
			return nil
		}
		p.Replaces = append(p.Replaces, full)
	}
	if len(lost) > 0 {
		p.Problems = append(p.Problems, Problem{Text: (&txn.ExistsError{Path: p.result.Output, Lost: lost}).Error()})
	}
	return nil
}

// Write has the result made beside its place, and gives it its name when it is
// complete and durable. A failure leaves nothing behind.
func (p *Place) Write(ctx context.Context, write func(w *Writer) error) (err error) {
	draft, err := txn.NewDraft(p.sys, p.Path)
	if err != nil {
		return p.named(err)
	}
	defer func() { err = errors.Join(p.named(draft.Named(err)), draft.Close()) }()
	w := &Writer{place: p, draft: draft}
	if err = write(w); err == nil {
		err = w.sync()
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	return draft.Publish(p.replaced())
}

// named gives an error about a file that cannot be written the path that the user wrote.
func (p *Place) named(err error) error {
	if e, ok := errors.AsType[*txn.CreateError](err); ok {
		if rel, failed := filepath.Rel(p.Path, e.Path); failed == nil {
			return &txn.CreateError{Path: filepath.Join(p.result.Output, rel), Err: e.Err}
		}
	}
	return err
}

// replaced returns what publishing may replace, by names below the place; nil
// without force.
func (p *Place) replaced() []string {
	if !p.result.Force {
		return nil
	}
	out := []string{}
	for _, name := range p.Replaces {
		if rel, err := filepath.Rel(p.Path, name); err == nil {
			out = append(out, filepath.ToSlash(rel))
		}
	}
	return out
}

// A Writer makes the files of a result.
type Writer struct {
	place *Place
	draft *txn.Draft
	made  []string // directories
}

// Dir is the directory in which the result is made.
func (w *Writer) Dir() txn.Dir { return w.draft.Dir() }

// File returns what a file of the result is called below Dir, and makes the
// directories that it lies in. A result that is one file has whatever name.
func (w *Writer) File(name string) (string, error) {
	if !w.place.result.Directory {
		return w.draft.Name(), nil
	}
	file := path.Join(w.draft.Name(), name)
	return file, w.mkdir(path.Dir(file))
}

func (w *Writer) mkdir(name string) error {
	if slices.Contains(w.made, name) {
		return nil
	}
	if name != w.draft.Name() {
		if err := w.mkdir(path.Dir(name)); err != nil {
			return err
		}
	}
	w.made = append(w.made, name)
	return txn.Retry(func() error { return w.Dir().Mkdir(name, 0o755) })
}

func (w *Writer) sync() error {
	for _, d := range w.made {
		if err := txn.SyncDir(w.Dir(), d); err != nil {
			return err
		}
	}
	return nil
}

// Copy makes a file of the result that is a copy of another one.
func (w *Writer) Copy(ctx context.Context, from, name string) error {
	to, err := w.File(name)
	if err != nil {
		return err
	}
	src, err := txn.Read(w.place.sys, from, 0)
	if err != nil {
		return err
	}
	defer src.Close()
	st, err := src.Stat()
	if err != nil {
		return err
	}
	img := Image{Size: st.Size}
	if w.place.Features.Clone && st.Size > 0 && source.Scheme(from) == "" {
		img.Clone = &Clone{Src: src, N: st.Size}
		if _, err := Build(ctx, w.Dir(), to, img, src, NoDigests, nil); err == nil || !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		if err := w.draft.Discard(to); err != nil {
			return err
		}
		img.Clone = nil
	}
	if st.Size > 0 {
		img.Pieces = []Piece{{Src: src, Size: st.Size}}
	}
	_, err = Build(ctx, w.Dir(), to, img, src, NoDigests, nil)
	return err
}
