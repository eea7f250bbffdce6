package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/wtinspect/wtinspect/internal/jsondoc"
	"github.com/wtinspect/wtinspect/internal/source"
)

// ErrNoWeights is matched, with [errors.Is], by the error of Open for a
// directory that holds no checkpoint.
var ErrNoWeights = errors.New("no weights")

// Options adjust [Open]. Nil options are the defaults.
type Options struct {
	// Recursive descends into subdirectories. A directory that holds a
	// model_index.json (a diffusers pipeline) is descended into without it.
	Recursive bool
	// Workers bounds how many files are opened at once. 0 means the larger of
	// 4 and the number of CPUs.
	Workers int
	// AllowLinks says that a symbolic link out of the directory is no fault.
	// One into the blobs of the hub cache that the directory belongs to never is.
	AllowLinks bool
	// Progress is told, by several goroutines, how many of the files that are not
	// on this machine have been opened. It may be nil.
	Progress func(done, total int64)
	// Opened is told of the tensors of every file as soon as it and all before it are
	// open, k being the place of c among the release's checkpoints; and then of the names
	// of an index without any of its shards. All of c is known when Open returns. An error
	// ends Open.
	Opened func(k int, c *Checkpoint, tensors iter.Seq2[int, Tensor]) error
	// FilesOnly finds the files and opens none: they have their sizes, and no tensors.
	FilesOnly bool
	// NoConfig leaves config.json alone: Config is nil. To list tensors takes none.
	NoConfig bool
	// Subtree is the part of what is in a PyTorch file whose tensors are those of the
	// checkpoint, as keys joined by dots: "state_dict". [WholeTree] is all of it, and "" the
	// deepest part that holds all tensors apart from an optimiser's. Files of other
	// formats have no parts.
	Subtree string
	// LeaveMembers has [Checkpoint.Validate] leave the headers alone that the members of an archive have
	// where their bytes are. They are compared when those bytes are read, and a file of small members is
	// read twice otherwise.
	LeaveMembers bool
}

// A Release is what a path stands for: one or more checkpoints and the
// documents beside them.
type Release struct {
	// Path is the reference that was given to Open, a URL in the form that its
	// place writes it in.
	Path string
	// Dir is the directory of the release: Path, or the directory that holds it.
	Dir string
	// Checkpoints are in the order of their paths, those of subdirectories last.
	Checkpoints []*Checkpoint
	// Config is config.json in Dir, nil when it is absent or not valid JSON.
	Config *Config
	// Pickles are the paths of PyTorch files (.bin, .pt, .pth, .ckpt, .pkl) in
	// the directories looked at. Where there are safetensors or GGUF files, too, those
	// are the checkpoints, and these are not opened.
	Pickles []string
	// Others are the paths of the files in these directories that are neither weights nor pickles nor JSON by their
	// names, hidden ones among them. None is opened.
	Others []string
	// Faults are those of the release: documents that do not parse, files
	// passed over, sets that exclude each other. Those of the checkpoints are
	// had from [Checkpoint.Validate].
	Faults []Fault

	cancel context.CancelFunc // ends what still reads
}

// Open opens the checkpoints that ref stands for:
//
//   - a .safetensors file, or one that torch.save wrote: that file, even where it is a
//     shard;
//   - a shard index (*.index.json): the set it names;
//   - a .gguf file: that file, and with it the other parts of its split;
//   - a pattern as [Checkpoint].Path has it for a set without an index
//     (model-*-of-00002.safetensors): that set;
//   - a directory: every set and every other weight file in it. Files of torch.save
//     count where there are no others.
//
// An error means that there is nothing to list: the path leads nowhere, to
// something that is no checkpoint, or to a single file that cannot be read.
// In a set, a file that is missing or broken says so itself.
func Open(ctx context.Context, ref string, opts *Options) (*Release, error) {
	if opts == nil {
		opts = new(Options)
	}
	if ref == "" {
		return nil, errors.New("the path is empty")
	}
	ref, err := source.Normalize(ctx, ref)
	if err != nil {
		return nil, err
	}
	r := &Release{Path: ref}
	d := &finder{ctx: ctx, opts: *opts, release: r, configs: make(map[string]*Config)}
	if err := d.find(ref); err != nil {
		return nil, err
	}
	r.Config = d.config(r.Dir)
	if err := r.openFiles(ctx, opts); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if c := r.Checkpoints[0]; len(r.Checkpoints) == 1 && len(c.Files) == 1 && c.Files[0].Err != nil && c.Path == c.Files[0].Path {
		return nil, c.Files[0].Err
	}
	return r, nil
}

// openFiles reads the headers of all files of all checkpoints.
func (r *Release) openFiles(ctx context.Context, opts *Options) error {
	workers := opts.Workers
	if workers <= 0 {
		workers = max(4, runtime.NumCPU(), source.Opens(ctx, r.Path))
	}
	var files []*File
	for _, c := range r.Checkpoints {
		for _, f := range c.Files {
			f.subtree, f.leaveMembers = opts.Subtree, opts.LeaveMembers
		}
		files = append(files, c.Files...)
	}
	opened := func() {}
	if opts.Progress != nil && source.Scheme(r.Dir) != "" {
		var done atomic.Int64
		total := int64(len(files))
		opts.Progress(0, total)
		opened = func() { opts.Progress(done.Add(1), total) }
	}
	ctx, r.cancel = context.WithCancel(ctx)
	open := func(_ int, f *File) {
		if ctx.Err() == nil {
			f.open(ctx)
			opened()
		}
	}
	if opts.FilesOnly {
		open = func(_ int, f *File) { f.look(ctx) }
	}
	if opts.Opened == nil || opts.FilesOnly {
		eachFile(files, workers, open)
		return r.settle(ctx, func(int) {}, func(int, *Checkpoint, iter.Seq2[int, Tensor]) error { return nil })
	}
	ready := make([]chan struct{}, len(files))
	for i := range ready {
		ready[i] = make(chan struct{})
	}
	var g sync.WaitGroup
	g.Go(func() {
		eachFile(files, workers, func(i int, f *File) {
			open(i, f)
			close(ready[i])
		})
	})
	defer g.Wait()
	err := r.settle(ctx, func(i int) { <-ready[i] }, opts.Opened)
	if err != nil {
		r.cancel() // the answer has no reader
	}
	return err
}

// settle takes in the files in their order, once wait returns for their number, and
// tells opened of each.
func (r *Release) settle(ctx context.Context, wait func(i int), opened func(k int, c *Checkpoint, tensors iter.Seq2[int, Tensor]) error) error {
	i := 0
	for k, c := range r.Checkpoints {
		c.starts = make([]int, 1, len(c.Files)+1)
		for file := range c.Files {
			wait(i)
			i++
			if err := ctx.Err(); err != nil {
				return err
			}
			c.admit(file)
			if err := opened(k, c, func(yield func(int, Tensor) bool) { c.each(file, yield) }); err != nil {
				return err
			}
		}
		c.Revision = source.Revision(ctx, c.Dir)
		if c.filesOnly {
			continue
		}
		c.settle(ctx)
		if c.namesOnly {
			if err := opened(k, c, c.All()); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// eachFile calls f for every file, by so many workers. Each takes one file after
// the other, which spares most of the switching between them.
func eachFile(files []*File, workers int, f func(i int, file *File)) {
	if len(files) == 1 { // to start a thread for it takes longer
		f(0, files[0])
		return
	}
	var next atomic.Int64
	var g sync.WaitGroup
	for range min(workers, len(files)) {
		g.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(files)); i = next.Add(1) - 1 {
				f(int(i), files[i])
			}
		})
	}
	g.Wait()
}

// Close closes the files of every checkpoint.
func (r *Release) Close() error {
	if r.cancel != nil { // nil in one that Open has not made
		r.cancel()
	}
	var errs []error
	for _, c := range r.Checkpoints {
		errs = append(errs, c.close())
	}
	return errors.Join(errs...)
}

// Document reads a JSON document of the release, such as
// "generation_config.json" or "adapter_config.json", by its name in Dir. The
// error of an absent one is [io/fs.ErrNotExist].
func (r *Release) Document(ctx context.Context, name string) (*Config, error) {
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("%s: not a name in the directory of the release", name)
	}
	return readConfig(ctx, source.Join(r.Dir, name))
}

// Document is [Release.Document] for the directory of the checkpoint.
func (c *Checkpoint) Document(ctx context.Context, name string) (*Config, error) {
	return (&Release{Dir: c.Dir}).Document(ctx, name)
}

// asFault gives an error of a document, an index or the file system the form
// of a fault.
func asFault(path string, err error) Fault {
	if f, ok := errors.AsType[*Fault](err); ok {
		return *f
	}
	detail := strings.TrimPrefix(err.Error(), path+": ")
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		detail = "cannot be opened: " + e.Err.Error()
	}
	return Fault{File: path, Code: CodeNotOpened, Severity: Error, Offset: -1, Detail: detail}
}

func documentFault(path string, err error) Fault {
	out := asFault(path, err)
	out.Code = CodeBadDocument
	if e, ok := errors.AsType[*jsondoc.Error](err); ok {
		out.Offset = int64(e.Offset)
		out.Detail = fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Msg)
	}
	return out
}

// ioReader reads a source from its beginning.
func ioReader(src source.Source) io.Reader { return io.NewSectionReader(src, 0, src.Size()) }
