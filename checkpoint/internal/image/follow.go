package image

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// A readBack reads a new file from the disk while it is still being written, as far as that
// is, and digests it: a disk that is waited for can do both. A nil one does nothing.
type readBack struct {
	f      txn.File
	base   int64
	cancel context.CancelCauseFunc // of the copy as well
	all    errgroup.Group
	sums   *digester
	report func(int64)

	mu      sync.Mutex
	changed *sync.Cond
	begun   []*block // in their order, and not passed on
	ended   bool     // none will begin
	stopped bool
}

// ahead is how many windows are read at a time, apart from the one that is digested and one that waits.
const ahead = 2

// follow begins to read a file that copyPieces is about to write, and ends both by cancel when that
// fails. It returns nil for one that is not read past the cache: to read what is in the cache proves nothing.
func follow(ctx context.Context, cancel context.CancelCauseFunc, f txn.File, img *Image, digests Algorithm, progress func(int64)) *readBack {
	if _, ok := f.(*directFile); !ok || digests == NoDigests {
		return nil
	}
	r := &readBack{f: f, base: int64(len(img.Header)), cancel: cancel, sums: newDigester(img.Pieces, digests), report: progress}
	r.changed = sync.NewCond(&r.mu)
	spans := make(chan *span, ahead)
	r.all.Go(func() error {
		defer close(spans)
		return r.read(ctx, spans)
	})
	r.all.Go(func() error { return r.digest(spans) })
	return r
}

// begin notes a block, in the order of their places.
func (r *readBack) begin(b *block) {
	if r != nil {
		r.mu.Lock()
		r.begun = append(r.begun, b)
		r.mu.Unlock()
	}
}

// wrote is called when a block has been written.
func (r *readBack) wrote() {
	if r != nil {
		r.mu.Lock()
		r.changed.Signal()
		r.mu.Unlock()
	}
}

// end says that all blocks have been written.
func (r *readBack) end() {
	if r != nil {
		r.mu.Lock()
		r.ended = true
		r.changed.Signal()
		r.mu.Unlock()
	}
}

// next waits for the next block that is written, with all before it; nil is the end.
func (r *readBack) next() *block {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.stopped {
		if len(r.begun) > 0 && r.begun[0].left.Load() == 0 {
			b := r.begun[0]
			r.begun[0] = nil
			r.begun = r.begun[1:]
			return b
		}
		if r.ended && len(r.begun) == 0 {
			break
		}
		r.changed.Wait()
	}
	return nil
}

// close ends the reading, and gives the sums of a copy what was read; nil is for one that failed.
func (r *readBack) close(sums *Sums) error {
	if r == nil {
		return nil
	}
	if sums == nil {
		r.cancel(nil)
		r.mu.Lock()
		r.stopped = true
		r.changed.Signal()
		r.mu.Unlock()
	}
	err := r.all.Wait()
	if sums != nil && err == nil {
		sums.written = &r.sums.finish().digests
	}
	return err
}

// A span is a range of the file that is being read.
type span struct {
	mem  *memory
	buf  []byte // nil: a hole
	at   int64  // in the file
	n    int
	read chan error
}

// read reads what has been written, several spans at a time.
func (r *readBack) read(ctx context.Context, spans chan<- *span) error {
	for b := r.next(); b != nil; b = r.next() {
		if b.hole {
			s := &span{at: b.at, n: b.n, read: make(chan error, 1)}
			s.read <- nil
			spans <- s
			continue
		}
		if !isPastCache(r.f, b.at, int64(b.n)) { // such as the end of the file
			r.f.Drop(b.at, int64(b.n))
		}
		for at := b.at; at < b.end(); {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			start, stop := pages(r.f, at, b.end(), directSize)
			s := &span{mem: windows.Get().(*memory), at: at, n: int(min(stop, b.end()) - at), read: make(chan error, 1)}
			buf := s.mem.room(windowRoom)[:stop-start]
			s.buf = buf[at-start:][:s.n]
			go func() { s.read <- source.ReadFull(r.f, buf, start) }()
			spans <- s
			at += int64(s.n)
		}
	}
	return nil
}

// digest digests the spans in their order.
func (r *readBack) digest(spans <-chan *span) (failure error) {
	for s := range spans {
		if err := <-s.read; err != nil && failure == nil {
			failure = fmt.Errorf("what was written cannot be read again: %w", err)
			r.cancel(failure)
		}
		if failure == nil {
			n := r.sums.take(s.buf, s.at-r.base, s.n)
			if r.report != nil {
				r.report(n)
			}
		}
		if s.mem != nil {
			windows.Put(s.mem)
		}
	}
	return failure
}
