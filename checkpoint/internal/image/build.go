package image

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// An Image is the content of a file to be: a header, and the data behind it.
type Image struct {
	Header []byte
	Size   int64
	Pieces []Piece // in the order of their places; what they leave out is zero
	Clone  *Clone  // shares the data instead of writing the pieces
	// Written, when not nil, is called when all pieces are written: what is left is to wait for the
	// disk.
	Written func()
}

// A Piece is bytes of a new file and where they come from: a tensor, or what
// lies between two of them.
type Piece struct {
	Name      string // the tensor, or ""
	Src       io.ReaderAt
	Off, Size int64 // in Src
	At        int64 // from the start of the new file's data
	// Watch is told what is read of Src; nil for nobody. It must be comparable.
	Watch Watcher
}

// A Watcher is told the bytes that are read of a file, or that they are zeros, with their place in it. Its
// error ends the copy.
type Watcher interface {
	Saw(p []byte, off int64) error
	SawZeros(off, n int64) error
}

// A Clone is a range of whole blocks that a new file shares with an old one.
// The header is written over its first block.
type Clone struct {
	Src            txn.File
	SrcOff, Off, N int64
}

const (
	// IOSize is the unit of a copy: with several at a time, larger ones were measured to be
	// no faster.
	IOSize = 2 << 20
	// behind is how far behind the copy the new file leaves the cache.
	behind = 64 << 20
	// readSize is the unit of a digest: a block of it stays in the
	// processor's cache between the read and the digest.
	readSize = 256 << 10
	// directSize is the same past the cache, where a disk wants more at once.
	directSize = 2 << 20
)

// Build writes a file of that name in dir, which must not exist, with the owner
// and permissions of another one, where there is one, and makes its content durable.
// The sums are those of what was read, nil for [NoDigests], with those of what was read back
// of the new file meanwhile, where that comes from the disk. progress may be nil.
func Build(ctx context.Context, dir txn.Dir, name string, img Image, like txn.File, digests Algorithm, progress func(int64)) (sums *Sums, err error) {
	size := img.Size
	if img.Clone != nil {
		size = 0 // of which nothing is written but the header
	}
	perm := fs.FileMode(0o666)
	if like != nil {
		perm = 0o600
	}
	f, err := Open(size, func(flag int) (txn.File, error) {
		if flag == 0 {
			flag = os.O_CREATE | os.O_EXCL
		}
		return txn.Open(dir, name, os.O_RDWR|flag, perm)
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := txn.Retry(func() error { return f.Truncate(img.Size) }); err != nil {
		return nil, err
	}
	if c := img.Clone; c != nil {
		if err := txn.Retry(func() error { return f.Clone(c.Src, c.SrcOff, c.Off, c.N) }); err != nil {
			return nil, err
		}
		return nil, finish(f, img.Header, like)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	back := follow(ctx, cancel, f, &img, digests, progress)
	sums, err = copyPieces(ctx, f, img, digests, back, progress)
	if img.Written != nil {
		img.Written()
	}
	if err == nil {
		back.end()
		err = finish(f, img.Header, like)
	}
	if failure := back.close(sums); err == nil {
		err = failure
	}
	return sums, err
}

// finish writes the header, and makes the file durable.
func finish(f txn.File, header []byte, like txn.File) error {
	if err := txn.WriteFull(f, header, 0); err != nil {
		return err
	}
	if d, ok := like.(*directFile); ok {
		like = d.File
	}
	if like != nil {
		if err := txn.Retry(func() error { return f.Adopt(like) }); err != nil {
			return err
		}
	}
	return txn.Sync(f)
}

// What a copy has of each: blocks are read and digested while others are written. Past
// the cache a disk is faster with several reads and writes at a time.
const buffers, readers, writers = 10, 3, 2

// A memory is kept from one copy, or comparison, for the next: they follow each other.
type memory struct{ bytes []byte }

// Memories are of blocks, windows of what is read for other reasons.
var memories, windows = sync.Pool{New: newMemory}, sync.Pool{New: newMemory}

func newMemory() any { return new(memory) }

// windowRoom is how much memory a window has: as much as a block.
const windowRoom = directSize + 2*directAlign

func (m *memory) room(n int) []byte {
	if len(m.bytes) < n {
		m.bytes = make([]byte, n)
	}
	return m.bytes[:n]
}

// A block is bytes on their way from their sources to the new file.
type block struct {
	at    int64 // in the new file
	n     int
	parts []part
	hole  bool // all of it is one, of one source

	mem  *memory
	buf  []byte       // part of mem
	read chan error   // has one when buf has been read
	left atomic.Int32 // of those who read buf
}

// A part of a block is from one source.
type part struct {
	src io.ReaderAt
	by  Watcher
	off int64 // in the source
	at  int   // in the block
	n   int
}

// copyPieces writes the pieces. It reads ahead, and digests meanwhile.
func copyPieces(ctx context.Context, f txn.File, img Image, digests Algorithm, back *readBack, progress func(int64)) (*Sums, error) {
	base := int64(len(img.Header))
	holes := findHoles(img.Pieces)
	if img.Size > base && !holes.any() {
		if err := txn.Retry(func() error { return f.Allocate(img.Size) }); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return nil, err
		}
	}

	blocks, free := make(chan *block), make(chan *memory, buffers)
	for range buffers {
		free <- memories.Get().(*memory)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var others errgroup.Group
	others.Go(func() error {
		defer close(blocks)
		r := reading{ctx: ctx, base: base, holes: holes, blocks: blocks, free: free, several: make(chan struct{}, readers)}
		defer r.all.Wait()
		return r.pieces(img.Pieces)
	})
	done := func(b *block) {
		if b.left.Add(-1) > 0 {
			return
		}
		back.wrote()
		if b.mem != nil {
			free <- b.mem
		}
	}
	var sums *digester
	if digests != NoDigests {
		sums = newDigester(img.Pieces, digests)
	}
	toDigest, toWrite := make(chan *block, buffers), make(chan *block)
	others.Go(func() error {
		var failure error
		for b := range toDigest {
			if sums != nil {
				sums.take(b.buf, b.at-base, b.n)
			}
			if failure == nil {
				if failure = b.watch(); failure != nil {
					cancel(failure)
				}
			}
			done(b)
		}
		return failure
	})
	for range writers {
		others.Go(func() error {
			var failure error
			for b := range toWrite {
				if failure == nil {
					if failure = writeBlock(f, b); failure != nil {
						cancel(failure)
					} else if progress != nil {
						progress(b.data())
					}
				}
				done(b)
			}
			return failure
		})
	}
	var failure error
	for b := range blocks {
		if err := <-b.read; err != nil && failure == nil {
			failure = err
			cancel(err)
		}
		if failure != nil {
			continue // those that are being read still come
		}
		b.left.Store(2)
		back.begin(b)
		toDigest <- b
		toWrite <- b
	}
	close(toDigest)
	close(toWrite)
	if err := others.Wait(); err != nil {
		return nil, err
	}
	if failure != nil {
		return nil, failure
	}
	for range buffers {
		memories.Put(<-free)
	}
	if sums == nil {
		return nil, nil
	}
	return sums.finish(), nil
}

// data is how many bytes of pieces are in the block.
func (b *block) data() (n int64) {
	for i := range b.parts {
		n += int64(b.parts[i].n)
	}
	return n
}

// watch tells who watches the sources what was read of them.
func (b *block) watch() error {
	for i := range b.parts {
		p := &b.parts[i]
		var err error
		switch {
		case p.by == nil:
		case b.hole:
			err = p.by.SawZeros(p.off, int64(p.n))
		default:
			err = p.by.Saw(b.buf[p.at:p.at+p.n], p.off)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeBlock writes a block, and sees to it that the new file does not fill the cache.
func writeBlock(f txn.File, b *block) error {
	if b.hole {
		return nil
	}
	if err := txn.WriteFull(f, b.buf, b.at); err != nil {
		return err
	}
	if isPastCache(f, b.at, int64(b.n)) {
		return nil
	}
	f.WriteOut(b.at, int64(b.n))
	if b.at > behind {
		f.Drop(b.at-behind, int64(b.n))
	}
	return nil
}

// A reading makes blocks of pieces, which end at multiples of IOSize in the new file, and
// reads them.
type reading struct {
	ctx    context.Context
	base   int64
	holes  holes
	blocks chan<- *block
	free   <-chan *memory

	now     *block        // that is not complete
	several chan struct{} // has one for each that is read at the same time
	all     sync.WaitGroup
}

func (r *reading) pieces(pieces []Piece) error {
	for p := range runs(pieces) {
		if err := r.holes.look(p.Src); err != nil {
			return err
		}
		for done := int64(0); done < p.Size; {
			at, off := r.base+p.At+done, p.Off+done
			n, hole := r.holes.next(p.Src, off, min(p.Size-done, IOSize-at%IOSize))
			if b := r.now; b != nil && (hole || b.at/IOSize != at/IOSize || at-b.end() > maxGap) {
				if err := r.send(); err != nil {
					return err
				}
			}
			if r.now == nil {
				r.now = &block{at: at, hole: hole, read: make(chan error, 1)}
			}
			b := r.now
			b.parts = append(b.parts, part{p.Src, p.Watch, off, int(at - b.at), int(n)})
			b.n = int(at + n - b.at)
			if hole || b.end()%IOSize == 0 {
				if err := r.send(); err != nil {
					return err
				}
			}
			done += n
		}
	}
	return r.send()
}

// maxGap is how many zeros between pieces are written like them.
const maxGap = 64 << 10

func (b *block) end() int64 { return b.at + int64(b.n) }

// send has the block read, and passes it on. Several blocks of files are read at a time;
// whatever else data come from is read front to back.
func (r *reading) send() error {
	b := r.now
	r.now = nil
	switch {
	case b == nil:
		return nil
	case b.hole:
		b.read <- nil
	default:
		select {
		case b.mem = <-r.free:
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		}
		if !b.fromFiles() {
			b.read <- b.fill()
			break
		}
		r.several <- struct{}{}
		r.all.Go(func() {
			b.read <- b.fill()
			<-r.several
		})
	}
	select {
	case r.blocks <- b:
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

// fromFiles reports whether all of the block is of files on this machine, past whose cache nobody
// reads ahead.
func (b *block) fromFiles() bool {
	for i := range b.parts {
		switch b.parts[i].src.(type) {
		case *Source, *directFile:
		default:
			return false
		}
	}
	return true
}

// fill reads the block.
func (b *block) fill() error {
	into := int(b.at % directAlign) // a byte is as far into its page in memory as in the file
	mem := b.mem.room(max(b.n, IOSize) + 2*directAlign)
	if len(b.parts) == 1 {
		src, done, err := open(b.parts[0].src)
		if err != nil {
			return err
		}
		defer done()
		b.buf, err = readBlock(src, mem, b.parts[0].off, b.n, into)
		return err
	}
	b.buf = mem[into : into+b.n]
	at := 0
	for rest := b.parts; len(rest) > 0; {
		k := together(rest)
		for _, p := range rest[:k] {
			clear(b.buf[at:p.at])
			at = p.at + p.n
		}
		if err := b.gather(rest[:k]); err != nil {
			return err
		}
		rest = rest[k:]
	}
	return nil
}

// together says how many parts, one at least, are of one file with little between them.
func together(parts []part) int {
	k := 1
	for k < len(parts) {
		before, p := &parts[k-1], &parts[k]
		gap := p.off - (before.off + int64(before.n))
		if p.src != before.src || gap < 0 || gap > directAlign {
			break
		}
		k++
	}
	return k
}

// gather reads parts of one source.
func (b *block) gather(parts []part) error {
	src, done, err := open(parts[0].src)
	if err != nil {
		return err
	}
	defer done()
	last := &parts[len(parts)-1]
	off := parts[0].off
	span := int(last.off + int64(last.n) - off)
	if _, ok := src.(*directFile); !ok || len(parts) == 1 && span < readSize {
		for _, p := range parts {
			if err := source.ReadFull(src, b.buf[p.at:p.at+p.n], p.off); err != nil {
				return err
			}
		}
		return nil
	}
	mem := windows.Get().(*memory)
	defer windows.Put(mem)
	room := mem.room(windowRoom)
	for done := 0; done < span; {
		at := off + int64(done)
		n := min(span-done, directSize)
		window, err := readBlock(src, room, at, n, 0)
		if err != nil {
			return err
		}
		for len(parts) > 0 {
			p := &parts[0]
			from, to := max(p.off, at), min(p.off+int64(p.n), at+int64(n))
			if from < to {
				copy(b.buf[p.at+int(from-p.off):], window[from-at:to-at])
			}
			if p.off+int64(p.n) > at+int64(n) {
				break
			}
			parts = parts[1:]
		}
		done += n
	}
	return nil
}

// runs makes one piece of neighbours that stay neighbours.
func runs(pieces []Piece) iter.Seq[Piece] {
	return func(yield func(Piece) bool) {
		var run Piece
		for _, p := range pieces {
			if run.Src == p.Src && run.Watch == p.Watch && run.Off+run.Size == p.Off && run.At+run.Size == p.At {
				run.Size += p.Size
				continue
			}
			if run.Src != nil && !yield(run) {
				return
			}
			run = p
		}
		if run.Src != nil {
			yield(run)
		}
	}
}

// holes are the sparse files of a copy, with what is not a hole once it is known,
// so that a copy is as sparse as its source.
type holes map[io.ReaderAt][]txn.Extent

// findHoles looks for sparse files.
func findHoles(pieces []Piece) holes {
	h := make(holes)
	var last io.ReaderAt
	for i := range pieces {
		if pieces[i].Src == last {
			continue
		}
		last = pieces[i].Src
		switch f := last.(type) {
		case *Source:
			h.note(f, f.Stat)
		case txn.File:
			if st, err := f.Stat(); err == nil {
				h.note(f, st)
			}
		}
	}
	return h
}

func (h holes) note(src io.ReaderAt, st txn.Stat) {
	if st.Allocated < st.Size {
		h[src] = nil
	}
}

// look finds out where the holes of a file are that has some.
func (h holes) look(src io.ReaderAt) error {
	if m, sparse := h[src]; !sparse || m != nil {
		return nil
	}
	f, done, err := open(src)
	if err != nil {
		return err
	}
	defer done()
	m, err := f.(txn.File).Extents()
	if err != nil {
		delete(h, src)
		return nil
	}
	h[src] = append([]txn.Extent{}, m...)
	return nil
}

func (h holes) any() bool { return len(h) > 0 }

// leastHole is the size from which a hole is worth a write of its own on each side.
const leastHole = 1 << 20

// next says how many of the next n bytes are alike, a hole or not.
func (h holes) next(src io.ReaderAt, off, n int64) (k int64, hole bool) {
	m, sparse := h[src]
	if !sparse {
		return n, false
	}
	i, _ := slices.BinarySearchFunc(m, off, func(e txn.Extent, off int64) int {
		if e.End <= off {
			return -1
		}
		return 1
	})
	switch {
	case i == len(m) || m[i].Start >= off+n:
		return n, true
	case m[i].Start-off >= leastHole:
		return m[i].Start - off, true
	}
	end := m[i].End
	for i++; i < len(m) && m[i].Start-end < leastHole; i++ {
		end = m[i].End
	}
	if off+n-end < leastHole {
		return n, false
	}
	return end - off, false
}
