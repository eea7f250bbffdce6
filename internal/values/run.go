package values

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/bits"
	"runtime"
	"sync"

	"github.com/cespare/xxhash/v2"
)

// check reports bytes that are not whole blocks.
func (s *Section) check() error {
	if s.Type != nil && s.Data.Size()%int64(s.Type.BlockBytes) != 0 {
		return fmt.Errorf("tensor %q: %d bytes are not whole blocks of %s, which have %d; check the file",
			s.Name, s.Data.Size(), s.Type.Name, s.Type.BlockBytes)
	}
	return nil
}

// read fills b from the offset in the section.
func (s *Section) read(b []byte, offset int64) error {
	n, err := s.Data.ReadAt(b, offset)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	_, base, _ := s.Data.Outer()
	return &ReadError{Tensor: s.Name, Offset: base + offset + int64(n), Err: err}
}

// ReadError reports bytes of a tensor that could not be read. It wraps
// io.ErrUnexpectedEOF when the file ends before the tensor does: it is
// truncated, or was made shorter meanwhile.
type ReadError struct {
	Tensor string
	Offset int64 // in what the section is a part of: the file
	Err    error
}

func (e *ReadError) Error() string {
	if errors.Is(e.Err, io.ErrUnexpectedEOF) {
		return fmt.Sprintf("tensor %q: the file ends at byte %d, within the tensor; it is truncated, or has changed while being read", e.Tensor, e.Offset)
	}
	return fmt.Sprintf("tensor %q: byte %d: %v", e.Tensor, e.Offset, e.Err)
}

func (e *ReadError) Unwrap() error { return e.Err }

// Options say what [Run] finds out.
type Options struct {
	Workers int           // 0 means GOMAXPROCS
	Stats   *StatsOptions // nil: no statistics
	SHA256  bool
	XXH64   bool
	// Sample is the part of each tensor that is read, in blocks of about 64 kB
	// spread evenly over it; 0 stands for all. Digests need all.
	Sample float64
	// Progress is told how many more bytes were read, from several goroutines.
	Progress func(n int64)
}

// Result is what [Run] found out about one section.
type Result struct {
	Err    error // and nothing else, when not nil
	Read   int64 // bytes; fewer than the section has in a sample
	Stats  *Stats
	SHA256 [sha256.Size]byte
	XXH64  uint64 // with seed 0, as llama-gguf-hash has it
}

// Run reads sections once, with several workers, and calls yield with the
// result of each, in order and never concurrently. Digests are of the bytes as
// they are in the file. Sections are taken up in order; with digests a section
// is one worker's, otherwise large ones are shared. What it finds does not
// depend on the number of workers.
//
// What is wrong with one section is in its result; Run itself fails when ctx is
// done, with its cause, when yield fails, and when the options contradict
// each other.
func Run(ctx context.Context, sections []Section, opt Options, yield func(i int, r *Result) error) error {
	digest := opt.SHA256 || opt.XXH64
	if !(opt.Sample >= 0 && opt.Sample <= 1) || opt.Sample > 0 && opt.Sample < 1 && digest {
		return fmt.Errorf("sample of %g: it must be a part between 0 and 1, and 1 for digests", opt.Sample)
	}
	s := &scheduler[Result]{
		n:     len(sections),
		plan:  func(i int) plan { return planSection(&sections[i], opt.Sample, digest) },
		yield: yield,
	}
	return s.run(ctx, opt.Workers, func() worker[Result] {
		w := &reader{sections: sections, opt: &opt, acc: map[*Type]*Accumulator{}}
		if opt.SHA256 {
			w.sha = sha256.New()
		}
		if opt.XXH64 {
			w.xxh = xxhash.New()
		}
		return w
	})
}

// Sizes of the work, in bytes. What is read at once should stay in a core's
// cache, but kernels copy long runs of pages faster than short ones; mapped
// files are no faster, and end the program when they are cut short.
const (
	chunkBytes  = 1 << 20
	sampleBytes = 64 << 10
	partBytes   = 4 << 20
	splitBytes  = 32 << 20 // smaller sections are one part
)

// plan is how a job is read: in chunks, of which take are read, spread evenly
// over total; perPart of them are handed to a worker at once.
type plan struct {
	chunk, total, take, perPart int64
}

func (p plan) parts() int64 { return max((p.take+p.perPart-1)/p.perPart, 1) }

// at returns the index of the i-th chunk that is read.
func (p plan) at(i int64) int64 {
	if p.take == p.total {
		return i
	}
	hi, lo := bits.Mul64(uint64(i), uint64(p.total))
	q, _ := bits.Div64(hi, lo, uint64(p.take))
	return int64(q)
}

func planSection(s *Section, sample float64, whole bool) plan {
	block := int64(1)
	if s.Type != nil {
		block = int64(s.Type.BlockBytes)
	}
	size := s.Data.Size()
	p := plan{chunk: chunkBytes / block * block}
	sampled := sample > 0 && sample < 1
	if sampled {
		p.chunk = sampleBytes / block * block
	}
	p.total = (size + p.chunk - 1) / p.chunk
	p.take = p.total
	if sampled {
		p.take = min(max(int64(sample*float64(p.total)+0.5), 1), p.total)
	}
	p.perPart = max(p.take, 1)
	if !whole && size > splitBytes {
		p.perPart = max(partBytes/p.chunk, 1)
	}
	return p
}

// scheduler hands out the parts of jobs in order, and results in order.
type scheduler[R any] struct {
	n     int
	plan  func(job int) plan
	yield func(i int, r *R) error

	mu   sync.Mutex
	next int   // job
	part int64 // of it, the next to be handed out
	open map[int]*job[R]

	out     sync.Mutex
	done    map[int]*R
	yielded int
	failed  error // of yield
}

// job is a job of which parts were handed out and not all are finished.
type job[R any] struct {
	index int
	plan  plan
	mu    sync.Mutex
	left  int64 // parts
	state any   // the workers' own
}

// worker carries out parts. Its methods are called from one goroutine, except
// that of a job's state, which it must lock.
type worker[R any] interface {
	// begin is called before the first part of a job that it gets.
	begin(*job[R])
	// do carries out a part: the chunks [from, to) of the plan.
	do(ctx context.Context, j *job[R], part, from, to int64)
	// end is called when the worker goes on to another job, after n parts, with
	// the job locked; last says that all parts are finished, and asks for the result.
	end(j *job[R], n int64, last bool) *R
}

func (s *scheduler[R]) run(ctx context.Context, workers int, start func() worker[R]) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.open, s.done = map[int]*job[R]{}, map[int]*R{}
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			if err := s.work(ctx, start()); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (s *scheduler[R]) work(ctx context.Context, w worker[R]) error {
	var current *job[R]
	var parts int64
	leave := func() error {
		if current == nil {
			return nil
		}
		current.mu.Lock()
		current.left -= parts
		last := current.left == 0
		r := w.end(current, parts, last)
		current.mu.Unlock()
		if !last {
			return nil
		}
		return s.finish(current.index, r)
	}
	for {
		if ctx.Err() != nil {
			return nil
		}
		j, part := s.take()
		if j == nil {
			return leave()
		}
		if j != current {
			if err := leave(); err != nil {
				return err
			}
			current, parts = j, 0
			w.begin(j)
		}
		from := part * j.plan.perPart
		w.do(ctx, j, part, from, min(from+j.plan.perPart, j.plan.take))
		parts++
	}
}

// take returns the next part, or nil when there are no more.
func (s *scheduler[R]) take() (*job[R], int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == s.n {
		return nil, 0
	}
	j := s.open[s.next]
	if j == nil {
		p := s.plan(s.next)
		j = &job[R]{index: s.next, plan: p, left: p.parts()}
		s.open[s.next] = j
	}
	part := s.part
	s.part++
	if s.part == j.plan.parts() {
		delete(s.open, s.next)
		s.next, s.part = s.next+1, 0
	}
	return j, part
}

// finish keeps a result until those before it are out.
func (s *scheduler[R]) finish(i int, r *R) error {
	s.out.Lock()
	defer s.out.Unlock()
	s.done[i] = r
	for s.failed == nil {
		r, ok := s.done[s.yielded]
		if !ok {
			break
		}
		delete(s.done, s.yielded)
		s.failed = s.yield(s.yielded, r)
		s.yielded++
	}
	return s.failed
}

// reader is the worker of [Run].
type reader struct {
	sections []Section
	opt      *Options
	buf      [chunkBytes]byte
	acc      map[*Type]*Accumulator // its own, of the current job
	sha      hash.Hash
	xxh      *xxhash.Digest
	read     int64
	err      error
}

// readState is what the workers on one job have put together.
type readState struct {
	acc  *Accumulator
	read int64
	err  error
}

func (w *reader) begin(j *job[Result]) {
	s := &w.sections[j.index]
	w.read, w.err = 0, s.check()
	if w.opt.Stats != nil && s.Type != nil {
		if a := w.acc[s.Type]; a != nil {
			a.Reset()
		} else {
			w.acc[s.Type] = NewAccumulator(s.Type, w.opt.Stats)
		}
	}
	if w.sha != nil {
		w.sha.Reset()
	}
	if w.xxh != nil {
		w.xxh.Reset()
	}
}

func (w *reader) do(ctx context.Context, j *job[Result], _, from, to int64) {
	s := &w.sections[j.index]
	var acc *Accumulator
	if w.opt.Stats != nil {
		acc = w.acc[s.Type]
	}
	for i := from; i < to && w.err == nil && ctx.Err() == nil; i++ {
		at := j.plan.at(i) * j.plan.chunk
		b := w.buf[:min(j.plan.chunk, s.Data.Size()-at)]
		if w.err = s.read(b, at); w.err != nil {
			return
		}
		if w.sha != nil {
			w.sha.Write(b)
		}
		if w.xxh != nil {
			w.xxh.Write(b)
		}
		if acc != nil {
			if s.BigEndian {
				s.Type.Swap(b)
			}
			acc.Add(b)
		}
		w.read += int64(len(b))
		if w.opt.Progress != nil {
			w.opt.Progress(int64(len(b)))
		}
	}
}

func (w *reader) end(j *job[Result], n int64, last bool) *Result {
	s := &w.sections[j.index]
	var acc *Accumulator
	if w.opt.Stats != nil {
		acc = w.acc[s.Type]
	}
	st, _ := j.state.(*readState)
	if st == nil && last {
		st = &readState{acc: acc} // the only worker
	} else {
		if st == nil {
			st = &readState{}
			if acc != nil {
				st.acc = NewAccumulator(s.Type, w.opt.Stats)
			}
			j.state = st
		}
		if acc != nil {
			st.acc.Merge(acc)
		}
	}
	st.read += w.read
	st.err = firstError(st.err, w.err)
	if !last {
		return nil
	}
	if st.err != nil {
		return &Result{Err: st.err}
	}
	r := &Result{Read: st.read}
	if st.acc != nil {
		stats := st.acc.Stats()
		r.Stats = &stats
	}
	if w.sha != nil {
		w.sha.Sum(r.SHA256[:0])
	}
	if w.xxh != nil {
		r.XXH64 = w.xxh.Sum64()
	}
	return r
}

// firstError returns the error at the lower offset, so that it does not depend
// on which worker was first.
func firstError(a, b error) error {
	var x, y *ReadError
	if a == nil || errors.As(a, &x) && errors.As(b, &y) && y.Offset < x.Offset {
		return b
	}
	return a
}
