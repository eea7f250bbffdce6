package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/internal/render"
)

// A Seq is a list that is made while it is walked over. In JSON it is an array.
type Seq[T any] iter.Seq[T]

// MarshalJSON implements [json.Marshaler].
func (s Seq[T]) MarshalJSON() ([]byte, error) {
	out := []byte{'['}
	for v := range s {
		data, err := render.Marshal(v)
		if err != nil {
			return nil, err
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, data...)
	}
	return append(out, ']'), nil
}

// OpenOptions adjust [Open]. Nil options are the defaults.
type OpenOptions struct {
	// Recursive descends into subdirectories.
	Recursive bool
	// Workers bounds how many files are opened at once. 0 means the larger of 4
	// and the number of CPUs.
	Workers int
	// Progress is told, by several goroutines, how many files of a release that is
	// not on this machine have been opened.
	Progress func(done, total int64)
	// Opened is told of the tensors of every file, in the order of the set, as soon as it
	// and all before it are open. K is the place of c among the set's checkpoints. An error
	// ends Open.
	Opened func(k int, c *checkpoint.Checkpoint, tensors iter.Seq2[int, checkpoint.Tensor]) error
	// FilesOnly finds the files and opens none: [HashFiles] takes no more.
	FilesOnly bool
	// NoConfig leaves config.json alone: to list tensors takes none.
	NoConfig bool
	// Subtree is the part of PyTorch files that is read; see [checkpoint.Options].
	Subtree string
	// LeaveMembers is for who reads all bytes of the files; see [checkpoint.Options].
	LeaveMembers bool
}

// A Set is what references stand for: releases, and the checkpoints of all of
// them. Its files are judged in the background from the moment it is open.
type Set struct {
	Releases    []*checkpoint.Release
	Checkpoints []*checkpoint.Checkpoint
	// Errors say which references could not be opened, and why.
	Errors []error
	// Pending are the references where a rewrite is under way or was interrupted:
	// what is read there may be part old and part new.
	Pending []Pending

	unopened  []checkpoint.Fault
	validated sync.WaitGroup
	faults    [][]checkpoint.Fault // of each checkpoint
}

// A Pending is a reference where a rewrite is not complete.
type Pending struct {
	Ref string
	// Dir is what [rewrite.Recover] makes whole.
	Dir string
}

// Open opens every reference that it can, "." when refs is nil. What it cannot
// open is in the set's Errors, and among its faults; an error means that ctx ended, or
// is that of Opened.
func Open(ctx context.Context, refs []string, opts *OpenOptions) (*Set, error) {
	if opts == nil {
		opts = new(OpenOptions)
	}
	if refs == nil {
		refs = []string{"."}
	}
	s := &Set{}
	for _, ref := range refs {
		if dir, pending := rewrite.Pending(ref); pending {
			s.Pending = append(s.Pending, Pending{ref, dir})
		}
		one := &checkpoint.Options{Recursive: opts.Recursive, Workers: opts.Workers, Progress: opts.Progress, FilesOnly: opts.FilesOnly, NoConfig: opts.NoConfig, Subtree: opts.Subtree, LeaveMembers: opts.LeaveMembers}
		var ended error
		if opts.Opened != nil {
			before := len(s.Checkpoints)
			one.Opened = func(k int, c *checkpoint.Checkpoint, tensors iter.Seq2[int, checkpoint.Tensor]) error {
				ended = opts.Opened(before+k, c, tensors)
				return ended
			}
		}
		rel, err := checkpoint.Open(ctx, ref, one)
		if ended = cmp.Or(ctx.Err(), ended); ended != nil {
			if err == nil {
				s.Releases = append(s.Releases, rel)
			}
			return nil, errors.Join(ended, s.closeReleases())
		}
		if err != nil {
			s.Errors = append(s.Errors, plainError(err))
			s.unopened = append(s.unopened, notOpened(ref, err))
			continue
		}
		s.Releases = append(s.Releases, rel)
		s.Checkpoints = append(s.Checkpoints, rel.Checkpoints...)
	}
	s.faults = make([][]checkpoint.Fault, len(s.Checkpoints))
	if opts.FilesOnly {
		return s, nil
	}
	s.validated.Go(func() {
		for k, c := range s.Checkpoints {
			s.faults[k] = c.Validate(ctx)
		}
	})
	return s, nil
}

// notOpened gives the error of opening a reference the form of a fault.
func notOpened(ref string, err error) checkpoint.Fault {
	if f, ok := errors.AsType[*checkpoint.Fault](err); ok {
		return *f
	}
	ref = ShownReference(ref)
	return checkpoint.Fault{
		File: ref, Code: checkpoint.CodeNotOpened, Severity: checkpoint.Error, Offset: -1,
		Detail: strings.TrimPrefix(plainError(err).Error(), ref+": "),
	}
}

// plainError is an error of the file system as other errors are: the path first,
// and not the system call.
func plainError(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", e.Path, e.Err)
	}
	return err
}

// Close closes the files, once they are judged.
func (s *Set) Close() error {
	s.validated.Wait()
	return s.closeReleases()
}

func (s *Set) closeReleases() error {
	var errs []error
	for _, r := range s.Releases {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}

// Wait waits until the files are judged, and not read for it any more.
func (s *Set) Wait() { s.validated.Wait() }

// Paths lists the files of the set.
func (s *Set) Paths() []string { return filesOf(s.Checkpoints) }

// Changed says which file is no longer the one that was opened: the first of them, nil
// where there is none.
func (s *Set) Changed(ctx context.Context) error {
	for _, c := range s.Checkpoints {
		for _, f := range c.Files {
			if err := cmp.Or(ctx.Err(), f.Changed()); err != nil {
				return err
			}
		}
	}
	return nil
}

// A Gap is a file of a checkpoint that could not be read, or is missing.
type Gap struct {
	File string
	Err  error
}

// Gaps returns what of checkpoint k was not read: its tensors are not listed, or
// not where they belong.
func (s *Set) Gaps(ctx context.Context, k int) []Gap {
	var out []Gap
	c := s.Checkpoints[k]
	if f := c.IndexFault(ctx); f != nil {
		out = append(out, Gap{f.File, f})
	}
	for _, f := range c.Files {
		switch {
		case f.Err != nil:
			out = append(out, Gap{f.Path, plainError(f.Err)})
		case f.Missing && !c.NamesOnly():
			out = append(out, Gap{f.Path, fmt.Errorf("%s: the file is missing; the rest of the set is read without it", f.Path)})
		}
	}
	return out
}

// Validated returns what is wrong with checkpoint k, once it is known.
func (s *Set) Validated(k int) []checkpoint.Fault {
	s.validated.Wait()
	return s.faults[k]
}

// A Fault is a fault of the set, as the commands report it.
type Fault struct {
	// Checkpoint is the index in the set's Checkpoints, nil for a fault of a
	// release and of a reference that could not be opened.
	Checkpoint *int
	checkpoint.Fault
}

// MarshalJSON implements [json.Marshaler].
func (f Fault) MarshalJSON() ([]byte, error) {
	j := jsonFault{Checkpoint: f.Checkpoint, File: f.File, Code: f.Code, Severity: f.Severity.String(), Detail: f.Detail}
	if f.Offset >= 0 {
		j.Offset = &f.Offset
	}
	if f.Tensor != "" {
		j.Tensor, j.TensorBase64 = &f.Tensor, notUTF8(f.Tensor)
	}
	return render.Marshal(j)
}

type jsonFault struct {
	// Checkpoint is the index in checkpoints, nil for a fault of the release and of a path
	// that could not be opened.
	Checkpoint *int `json:"checkpoint"`
	// File is the path of the file that the fault is in.
	File string `json:"file"`
	// Code is the kind of fault. Codes are stable.
	Code string `json:"code"`
	// Severity is error where strict readers refuse the file.
	Severity string `json:"severity"`
	// Offset is a byte of the file, nil where the fault has no single place.
	Offset *int64 `json:"offset"`
	// Tensor is the tensor, or the GGUF key, concerned.
	Tensor       *string `json:"tensor"`
	TensorBase64 []byte  `json:"tensor_base64,omitempty"`
	// Detail is for people; the text may change.
	Detail string `json:"detail"`
}

// Faults returns what could not be opened, and what is wrong with what could. It
// waits until that is known.
func (s *Set) Faults() Seq[Fault] {
	return func(yield func(Fault) bool) {
		s.validated.Wait()
		each := func(k *int, list []checkpoint.Fault) bool {
			for _, f := range list {
				if !yield(Fault{k, f}) {
					return false
				}
			}
			return true
		}
		if !each(nil, s.unopened) {
			return
		}
		for _, r := range s.Releases {
			if !each(nil, r.Faults) {
				return
			}
		}
		for k := range s.faults {
			if !each(&k, s.faults[k]) {
				return
			}
		}
	}
}

// counter returns a function that adds to what is done, and tells it to
// progress, which may be nil.
func counter(progress func(done, total int64), total int64) func(n int64) {
	if progress == nil {
		return nil
	}
	progress(0, total)
	var done atomic.Int64
	return func(n int64) { progress(done.Add(n), total) }
}
