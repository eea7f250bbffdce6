package assemble

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/internal/image"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/safetensors"
)

// Options say where a new checkpoint goes and how.
type Options struct {
	// Output is the file to write, when it ends as the files of the format do, and
	// otherwise the directory. A job without one can be looked at, and not run.
	Output string
	// Verify says how what was written is compared with what it was made of.
	// With [rewrite.VerifyFull] that is read, or computed, a second time.
	Verify rewrite.Verify
	// Force replaces what is at Output, where all of it is written anew.
	Force bool
	// Workers is how many sources are looked at at a time; 0 chooses.
	Workers int
}

// A Job is a new checkpoint that has been prepared and can be looked at. Nothing has
// been written yet.
type Job struct {
	Output string `json:"output"`
	Files  []File `json:"files"`
	// Documents are the files beside the weights that are written, the index among
	// them, and Copied those that are copied.
	Documents []string `json:"documents"`
	Copied    []string `json:"copied"`
	// Refusals are the reasons why Run will not run.
	Refusals []rewrite.Refusal `json:"refusals"`
	// Need is how many bytes the new files take, and Free how many are free, -1 when
	// unknown.
	Need int64 `json:"need"`
	Free int64 `json:"free"`
	// Replaces are files that the result takes the place of, by their full paths.
	Replaces []string `json:"replaces"`
	// Leftovers are hidden directories beside Output that other runs left when
	// they were killed, or are writing now. They are not touched.
	Leftovers []string `json:"leftovers,omitempty"`
	// FileSystem is that of the destination: "ext4".
	FileSystem string `json:"file_system,omitempty"`

	opts      Options
	sys       txn.System
	spec      *Spec
	files     []file
	documents []Document
	place     *image.Place
	pool      image.Pool
	sources   []*image.Source
	byPath    map[string]*image.Source
	computing sync.Mutex // held while data is computed
	opened    struct {   // the tensor that is being read
		is *stored
		r  io.ReaderAt
	}
}

// A File is one of the new checkpoint's.
type File struct {
	Name    string `json:"name"`
	Tensors int    `json:"tensors"`
	Bytes   int64  `json:"bytes"`  // of the whole file
	Header  int64  `json:"header"` // of them before the data
	// Over says that the file has one tensor that is larger than files are to be.
	Over bool `json:"over,omitempty"`
}

// A file is a file to be.
type file struct {
	name string
	image.Image
	part
	order []int   // of the tensors of the part
	at    []int64 // of each tensor's data, from the end of the header
	data  int64   // the bytes of all tensors
}

// Prepare makes a job that writes a new checkpoint. Reasons that keep it from running
// are in its Refusals; an error means that there is no such checkpoint. The sources
// must stay open until the job has run.
func Prepare(ctx context.Context, spec *Spec, opts *Options) (*Job, error) {
	return prepare(ctx, txn.OS{}, spec, opts)
}

func prepare(ctx context.Context, sys txn.System, spec *Spec, opts *Options) (*Job, error) {
	j := &Job{
		Output: opts.Output, Documents: []string{}, Copied: []string{}, Refusals: []rewrite.Refusal{},
		opts: *opts, sys: image.Elsewhere(ctx, sys), spec: spec,
	}
	if j.opts.Workers <= 0 {
		j.opts.Workers = 8
	}
	if err := spec.check(); err != nil {
		return nil, err
	}
	if other := foreignName(j.Output, spec.Format); other != "" {
		return nil, fmt.Errorf("%s ends as a %s file, and what is written is %s; give it another name", j.Output, other, spec.Format)
	}
	if err := j.findSources(ctx); err != nil {
		return nil, err
	}
	if err := j.prepareFiles(); err != nil {
		return nil, err
	}
	if err := j.prepareDocuments(ctx); err != nil {
		return nil, err
	}
	return j, j.look()
}

// foreignName is the format that a name ends as, where the checkpoint is of another.
func foreignName(name string, f checkpoint.Format) checkpoint.Format {
	for _, other := range []checkpoint.Format{checkpoint.Safetensors, checkpoint.GGUF} {
		if other != f && strings.EqualFold(filepath.Ext(name), suffix(other)) {
			return other
		}
	}
	return ""
}

// shardOf is how many files a set has of which a name is one, 0 for a name of no set.
func shardOf(name string, f checkpoint.Format) int {
	parse := safetensors.ParseShardName
	if f == checkpoint.GGUF {
		parse = gguf.ParseSplitName
	}
	_, _, of, _ := parse(filepath.Base(name))
	return of
}

// check finds what no checkpoint can have.
func (s *Spec) check() error {
	if s.Format != checkpoint.Safetensors && s.Format != checkpoint.GGUF {
		return fmt.Errorf("checkpoints of the format %q are not written", s.Format)
	}
	if len(s.Tensors) == 0 {
		return errors.New("there is no tensor to write")
	}
	if b := s.Layout.Base; b != "" && (b != filepath.Base(b) || !filepath.IsLocal(b) || strings.ContainsAny(b, "/\\") || strings.HasPrefix(b, ".")) {
		return fmt.Errorf("%q cannot begin the names of files", b)
	}
	names := make(map[string]bool, len(s.Tensors))
	var total int64
	for i := range s.Tensors {
		t := &s.Tensors[i]
		if names[t.Name] {
			return fmt.Errorf("tensor %q would be there twice; give one of them another name, or leave it out", t.Name)
		}
		names[t.Name] = true
		const most = 1 << 60 // with headers and alignment far below 2^63
		if t.Size < 0 || t.Data == nil || t.Size > most || total > most-t.Size {
			return fmt.Errorf("tensor %q: %d bytes of data cannot be written", t.Name, t.Size)
		}
		total += t.Size
	}
	return nil
}

// sources are the checkpoints that unions among the sources consist of, and the others, and that of the metadata.
func (s *Spec) sources() []*checkpoint.Checkpoint {
	var list []*checkpoint.Checkpoint
	for _, c := range s.Sources {
		if c.Of != nil {
			list = append(list, c.Of...)
		} else {
			list = append(list, c)
		}
	}
	if s.Like != nil {
		list = append(list, s.Like)
	}
	return list
}

// findSources looks at the files of the sources on this machine, which must still be
// those that were opened.
func (j *Job) findSources(ctx context.Context) error {
	var files []*checkpoint.File
	seen := make(map[string]bool)
	for _, c := range j.spec.sources() {
		if source.Scheme(c.Dir) == "" {
			if dir := txn.Pending(j.sys, c.Dir); dir != "" {
				return &rewrite.RecoveryError{Dir: dir, Err: fmt.Errorf("%s: %w; recover it first", dir, rewrite.ErrPending)}
			}
		}
		for _, f := range c.Files {
			if source.Scheme(f.Path) == "" && !f.Missing && f.Err == nil && !seen[f.Path] {
				seen[f.Path] = true
				files = append(files, f)
			}
		}
	}
	j.sources = make([]*image.Source, len(files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(j.opts.Workers)
	for i, f := range files {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			src, err := txn.Read(j.sys, f.Path, 0)
			if err != nil {
				return err
			}
			defer src.Close()
			st, err := src.Stat()
			if err != nil {
				return fmt.Errorf("%s: %w", f.Path, err)
			}
			if same, err := f.Same(src, st.Size); !same {
				return fmt.Errorf("%s: %w", f.Path, errors.Join(txn.ErrChanged, err))
			}
			j.sources[i] = j.pool.Source(j.sys, f.Path, st)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	j.byPath = make(map[string]*image.Source, len(files))
	for _, s := range j.sources {
		j.byPath[s.Path] = s
	}
	return nil
}

// smallTensor is the size up to which a tensor of an archive is read with its header, from front to back
// through the cache: a read past it takes longer than both.
const smallTensor = 256 << 10

// source is the file on this machine that has a tensor's data in one piece, nil for none.
func (j *Job) source(t *Tensor) (src *image.Source, off int64) {
	if s, ok := t.Data.(*stored); ok && s.file != nil && !(t.Size < smallTensor && s.file.Rearranged()) {
		return j.byPath[s.file.Path], s.off
	}
	return nil, 0
}

// pieces are what a file is made of.
func (j *Job) pieces(f *file) []image.Piece {
	pieces := make([]image.Piece, 0, len(f.order))
	for _, i := range f.order {
		t := &j.spec.Tensors[f.from+i]
		p := image.Piece{Name: t.Name, Size: t.Size, At: f.at[i]}
		if src, off := j.source(t); src != nil {
			p.Src, p.Off = src, off
			if s := t.Data.(*stored); s.file.Rearranged() {
				p.Watch = s
			}
		} else {
			p.Src = &computed{j: j, t: t}
		}
		pieces = append(pieces, p)
	}
	return pieces
}

func (j *Job) prepareFiles() error {
	parts := j.spec.parts()
	if text := j.spec.tooMany(len(parts)); text != "" {
		return errors.New("the result " + text)
	}
	names := j.spec.names(len(parts))
	if len(parts) == 1 && !j.directory() {
		names[0] = filepath.Base(j.Output)
	}
	taken := make(map[*image.Source]int64) // so many bytes of each
	for no, p := range parts {
		d, err := j.spec.draft(p, no, len(parts))
		if err != nil {
			name := names[no]
			if !j.directory() {
				name = j.Output
			}
			return fmt.Errorf("%s: %w", cmp.Or(name, "the result"), err)
		}
		f := file{name: names[no], part: p, order: d.order, at: d.at, Image: image.Image{Header: d.header, Size: d.size}}
		for i := p.from; i < p.to; i++ {
			t := &j.spec.Tensors[i]
			f.data += t.Size
			if src, _ := j.source(t); src != nil {
				taken[src] += t.Size
			}
		}
		j.files = append(j.files, f)
		j.Files = append(j.Files, File{Name: names[no], Tensors: p.to - p.from, Bytes: d.size, Header: int64(len(d.header)), Over: p.over})
		j.Need += d.size
	}
	for s, n := range taken { // holes stay holes
		j.Need -= max(0, n-s.Stat.Allocated)
	}
	if len(parts) > 1 && j.spec.Format == checkpoint.Safetensors {
		text, err := j.spec.index(parts, names)
		if err != nil {
			return err
		}
		name := checkpoint.IndexName(strings.TrimSuffix(j.spec.names(1)[0], suffix(j.spec.Format)))
		j.documents = append(j.documents, Document{Name: name, Text: text})
	}
	return nil
}

func (j *Job) prepareDocuments(ctx context.Context) error {
	if !j.directory() {
		if len(j.spec.Documents) > 0 {
			return fmt.Errorf("%s is a file, and documents are written beside the weights: name a directory", j.Output)
		}
		return nil
	}
	j.documents = append(j.documents, j.spec.Documents...)
	names := make(map[string]bool)
	for _, f := range j.files {
		names[f.name] = true
	}
	for _, d := range j.documents {
		switch {
		case !filepath.IsLocal(filepath.FromSlash(d.Name)) || path.Clean(d.Name) != d.Name || d.Name == ".":
			return fmt.Errorf("%q is not a name below the directory of the result", d.Name)
		case names[d.Name]:
			return fmt.Errorf("%s would be written twice", d.Name)
		}
		names[d.Name] = true
		size := int64(len(d.Text))
		if d.Text == nil {
			j.Copied = append(j.Copied, d.Name)
			fi, err := source.Stat(ctx, d.From)
			if err != nil {
				return err
			}
			size = fi.Size()
		} else {
			j.Documents = append(j.Documents, d.Name)
		}
		if j.Need > math.MaxInt64-size {
			return fmt.Errorf("%s: %d bytes cannot be written", d.Name, size)
		}
		j.Need += size
	}
	return nil
}

// directory reports whether the result is one.
func (j *Job) directory() bool {
	return !strings.EqualFold(filepath.Ext(j.Output), suffix(j.spec.Format))
}

// look looks at the destination.
func (j *Job) look() error {
	j.Replaces, j.Free = []string{}, -1
	if j.Output == "" {
		return nil
	}
	out := image.Result{Output: j.Output, Directory: j.directory(), Weights: len(j.files), Advice: "name another file", Force: j.opts.Force, Called: make(map[string]string)}
	for _, c := range j.spec.sources() {
		if c.IsRelease() {
			out.SourceDirs = append(out.SourceDirs, c.Dir)
		}
	}
	for _, s := range j.sources {
		out.Sources = append(out.Sources, s.Path)
	}
	if like := j.spec.Like; like != nil {
		for _, f := range like.Files {
			out.Called[f.Path] = "the file of --like"
		}
	}
	for _, c := range j.spec.Sources {
		for _, f := range c.Files {
			delete(out.Called, f.Path)
		}
	}
	for _, f := range j.files {
		out.Names = append(out.Names, f.name)
	}
	for _, d := range j.documents {
		out.Names = append(out.Names, d.Name)
	}
	if n := len(j.files); n > 1 && !out.Directory {
		j.Refusals = append(j.Refusals, rewrite.Refusal{Reason: fmt.Sprintf("%s: is the name of a file, and the result would be %s; name a directory, or allow more bytes in a file", j.Output, plural.Of(n, "file"))})
	}
	if of := shardOf(j.Output, j.spec.Format); of > 1 && len(j.files) == 1 && !out.Directory {
		j.Refusals = append(j.Refusals, rewrite.Refusal{Reason: fmt.Sprintf("%s: is the name of one of %s, and readers would look for the others; give it another name, or name a directory for shards", j.Output, plural.Of(of, "file"))})
	}
	var err error
	if j.place, err = out.Look(j.sys); err != nil {
		return err
	}
	j.Free, j.Replaces, j.Leftovers, j.FileSystem = j.place.Features.Free, j.place.Replaces, j.place.Leftovers, j.place.Features.Kind
	for _, p := range j.place.Problems {
		j.Refusals = append(j.Refusals, rewrite.Refusal{Reason: p.Text, Forcible: p.Forcible})
	}
	if text := image.NoRoom(j.Output, j.Need, j.Free); text != "" {
		j.Refusals = append(j.Refusals, rewrite.Refusal{Reason: text})
	}
	return nil
}

// Err returns the job's refusals as one error, nil when there are none.
func (j *Job) Err() error {
	errs := make([]error, len(j.Refusals))
	for i, r := range j.Refusals {
		errs[i] = r
	}
	return errors.Join(errs...)
}

// Close releases what a job holds. A job that has run is closed.
func (j *Job) Close() error { return j.pool.Close() }

// Work is how many bytes of data the job will write or read again.
func (j *Job) Work() int64 {
	n := int64(0)
	for i := range j.files {
		n += j.files[i].data
	}
	switch j.opts.Verify {
	case rewrite.VerifyDefault:
		return 2 * n
	case rewrite.VerifyFull:
		return 3 * n
	}
	return n
}

// Run writes the checkpoint. progress, which may be nil, is called with the bytes of
// data done so far and in all; calls may come from several goroutines. When Run returns
// an error, what is at the destination is what was there before. A job runs once.
func (j *Job) Run(ctx context.Context, progress func(done, total int64)) (*rewrite.Report, error) {
	defer j.Close()
	if err := j.Err(); err != nil {
		return nil, err
	}
	if j.place == nil {
		return nil, errors.New("there is no destination to write to")
	}
	var tell func(int64)
	if progress != nil {
		var done atomic.Int64
		total := j.Work()
		progress(0, total)
		tell = func(n int64) { progress(done.Add(n), total) }
	}
	r := &rewrite.Report{Output: j.Output, Documents: append([]string{}, j.Documents...), Copied: append([]string{}, j.Copied...)}
	err := j.place.Write(ctx, func(w *image.Writer) error {
		var err error
		if r.Files, err = j.writeFiles(ctx, w, tell); err != nil {
			return err
		}
		for i := range j.documents {
			if err := j.writeDocument(ctx, w, &j.documents[i]); err != nil {
				return fmt.Errorf("%s: %w", j.documents[i].Name, err)
			}
		}
		return j.unchanged()
	})
	if err != nil {
		// What a file that changed led to is less than that it did.
		if changed := j.unchanged(); changed != nil && ctx.Err() == nil {
			err = changed
		}
		return nil, err
	}
	return r, nil
}

// unchanged checks that all sources are what they were.
func (j *Job) unchanged() error {
	for _, s := range j.sources {
		if err := s.Unchanged(); err != nil {
			return err
		}
	}
	return nil
}

// like is the file whose owner and permissions a new one has: that at a path, or else the
// first of the sources. It is nil when all of them are elsewhere.
func (j *Job) like(path string) (f txn.File, done func(), err error) {
	switch {
	case path != "":
		if f, err = txn.Read(j.sys, path, 0); err != nil {
			return nil, nil, err
		}
		return f, func() { f.Close() }, nil
	case len(j.sources) > 0:
		return j.sources[0].Open()
	}
	return nil, func() {}, nil
}

// smallFile is the size up to which files are written several at a time: the wait for
// the disk takes longer than the copy then. Larger ones come one after the other: a disk
// is no faster with two, and each copy has its own threads and memory.
const smallFile = 4 << 20

// writeFiles writes the files of weights, and waits for one while the next is written.
func (j *Job) writeFiles(ctx context.Context, w *image.Writer, tell func(int64)) ([]rewrite.FileReport, error) {
	reports := make([]rewrite.FileReport, len(j.files))
	names := make([]string, len(j.files))
	most := 4
	for i := range j.files {
		f := &j.files[i]
		reports[i] = rewrite.FileReport{Name: f.name, Step: rewrite.Copy, Proof: rewrite.Proof{Method: rewrite.ProofNone}}
		var err error
		if names[i], err = w.File(f.name); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		if f.Size > smallFile {
			most = 1
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	writing, comparing := make(chan struct{}, most), make(chan struct{}, most)
	for i := range j.files {
		f := &j.files[i]
		writing <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			f.Written = sync.OnceFunc(func() {
				comparing <- struct{}{}
				<-writing
			})
			f.Pieces = j.pieces(f)
			sums, err := j.build(ctx, w.Dir(), names[i], f, tell)
			f.Written() // where nothing was written
			if err == nil {
				err = j.compare(ctx, w.Dir(), names[i], f, sums, &reports[i].Proof, tell)
			}
			<-comparing
			f.Pieces = nil
			if err != nil {
				err = fmt.Errorf("%s: %w", f.name, err)
			}
			return err
		})
	}
	return reports, g.Wait()
}

// digests says which digests of every tensor are compared.
func (j *Job) digests() image.Algorithm {
	switch j.opts.Verify {
	case rewrite.VerifyDefault:
		return image.XXH64
	case rewrite.VerifyFull:
		return image.SHA256
	}
	return image.NoDigests
}

func (j *Job) build(ctx context.Context, dir txn.Dir, name string, f *file, tell func(int64)) (*image.Sums, error) {
	like, done, err := j.like("")
	if err != nil {
		return nil, err
	}
	defer done()
	return image.Build(ctx, dir, name, f.Image, like, j.digests(), tell)
}

// compare compares a file that was written with what it was made of.
func (j *Job) compare(ctx context.Context, dir txn.Dir, name string, f *file, sums *image.Sums, proof *rewrite.Proof, tell func(int64)) (err error) {
	if j.opts.Verify == rewrite.VerifyNone {
		return nil
	}
	made, err := f.Reopen(dir, name, j.digests() != image.NoDigests)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, made.Close()) }()
	if j.digests() == image.NoDigests {
		proof.Method, proof.Tensors = rewrite.ProofSamples, len(f.Pieces)
		j.readAgain(f)
		proof.Samples, proof.Bytes, err = f.Sample(made)
		return err
	}
	proof.Method, proof.Algorithm = rewrite.ProofDigests, string(j.digests())
	proof.Tensors = len(f.Pieces) // one each, a name that is empty included
	if _, proof.Bytes, err = f.Compare(ctx, made, sums, tell); err != nil || j.opts.Verify != rewrite.VerifyFull {
		return err
	}
	j.readAgain(f)
	return f.Again(ctx, sums, tell)
}

// readAgain has a file that was written be compared with what its tensors say is for that.
func (j *Job) readAgain(f *file) {
	for k, i := range f.order {
		if t := &j.spec.Tensors[f.from+i]; t.Again != nil {
			f.Pieces[k].Src, f.Pieces[k].Off = &computed{j: j, t: t, again: true}, 0
		}
	}
}

func (j *Job) writeDocument(ctx context.Context, w *image.Writer, d *Document) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d.Text == nil {
		return w.Copy(ctx, d.From, d.Name)
	}
	name, err := w.File(d.Name)
	if err != nil {
		return err
	}
	like, done, err := j.like(d.From)
	if err != nil {
		return err
	}
	defer done()
	_, err = image.Build(ctx, w.Dir(), name, image.Image{Header: d.Text, Size: int64(len(d.Text))}, like, image.NoDigests, nil)
	return err
}
