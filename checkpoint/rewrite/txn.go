package rewrite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/wtinspect/wtinspect/internal/source"
)

// A transaction changes files of one directory, all or none.
//
//  1. The journal is made durable. Nothing was changed before.
//  2. New files are written under temporary names; headers are changed in place.
//  3. Everything is durable and has been verified: the journal is marked.
//  4. The new files take the place of the old ones; the journal goes.
//
// Until the mark an interrupted transaction is undone, after it, it is
// finished. Both can be interrupted again and begin anew.
type transaction struct {
	fsys    fileSystem
	dir     string
	edits   []*edit
	verify  Verify
	workers int
	// progress, when not nil, is told how many bytes of data have been copied
	// or digested. It may be called from several goroutines.
	progress func(n int64)
}

// proof says how the data of one file was shown to be unchanged.
type proof struct {
	stayed   bool  // the data was not copied, and its offsets were checked
	digests  int   // tensors whose digests were compared
	restored int   // tensors that inverse operations gave back
	samples  int   // blocks whose digests were compared
	bytes    int64 // read again for it
}

// refusedStep reports that the file system refused a step for a file.
type refusedStep struct {
	edit *edit
	step Step
	err  error
}

func (e *refusedStep) Error() string {
	return fmt.Sprintf("%s: the file system refuses %q: %v", e.edit.name, e.step, e.err)
}

func (e *refusedStep) Unwrap() error { return e.err }

func (t *transaction) path(name string) string {
	return filepath.Join(t.dir, filepath.FromSlash(name))
}

// each calls f for every edit, several at a time, and returns the first error.
func (t *transaction) each(ctx context.Context, f func(ctx context.Context, i int, e *edit) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, t.workers))
	for i, e := range t.edits {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return f(ctx, i, e)
		})
	}
	return g.Wait()
}

// run carries the transaction out. When it fails before the mark, everything
// is as it was. It may be run again, with other steps, after a refusedStep.
func (t *transaction) run(ctx context.Context) (proofs []proof, err error) {
	j, err := lockJournal(t.fsys, t.dir, true)
	if err != nil {
		return nil, err
	}
	if r, _, err := j.read(); err != nil || r != nil {
		j.f.Close()
		if err == nil {
			err = pending(t.dir)
		}
		return nil, err
	}
	r, before, err := t.prepare(ctx)
	if err == nil {
		err = j.write(r)
	}
	if err != nil {
		return nil, errors.Join(err, j.close())
	}
	if proofs, err = t.change(ctx, r, before); err == nil {
		if err = j.mark(); err != nil {
			// The mark may or may not have reached the disk. Nothing is undone
			// before it is certain that a recovery would undo it, too.
			if uerr := j.unmark(); uerr != nil {
				j.f.Close()
				return nil, &RecoveryError{t.dir, fmt.Errorf("%w; the journal was left for a recovery: %w", err, uerr)}
			}
		}
	}
	if err != nil {
		if uerr := undo(context.WithoutCancel(ctx), t.fsys, t.dir, r.begun(), t.workers); uerr != nil {
			j.f.Close()
			return nil, &RecoveryError{t.dir, fmt.Errorf("%w; and undoing it failed, so the journal was left for a recovery: %w", err, uerr)}
		}
		t.refresh()
		return nil, errors.Join(err, j.close())
	}
	// Past the mark nothing but finishing will do, whoever asks to stop.
	if err := finish(t.fsys, t.dir, r); err != nil {
		j.f.Close()
		return nil, &RecoveryError{t.dir, fmt.Errorf("the new files are complete, but putting them in place failed; a recovery finishes it: %w", err)}
	}
	return proofs, j.close()
}

// refresh takes note of the times that undoing has left, so that the
// transaction can be run again with other steps.
func (t *transaction) refresh() {
	for _, e := range t.edits {
		st, err := t.fsys.Lstat(t.path(e.name))
		if err == nil && st.Ino == e.old.Ino && st.Dev == e.old.Dev && st.Size == e.old.Size {
			e.old = st
		}
	}
}

// A reading is what is known of a file's data before it is changed.
type reading struct {
	samples []sample
	sums    []digest // of the tensors, when all of them are compared
}

// prepare checks that every file is as it was when the edits were made, and
// makes the record.
func (t *transaction) prepare(ctx context.Context) (*record, []reading, error) {
	shifts := make([]*shift, len(t.edits))
	swaps := make([]*swap, len(t.edits))
	before := make([]reading, len(t.edits))
	err := t.each(ctx, func(ctx context.Context, i int, e *edit) error {
		if e.step == Unchanged {
			return nil
		}
		f, header, err := t.openOld(e)
		if err != nil {
			return err
		}
		defer f.Close()
		if e.step == Pad || e.step == Insert {
			shifts[i], before[i], err = t.prepareShift(ctx, f, e, header)
			return err
		}
		if e.step == Reflink && t.verify == VerifyFull {
			if before[i].sums, err = t.digests(ctx, f, e.dataOffset, e.tensors); err != nil {
				return err
			}
		}
		swaps[i], err = t.prepareSwap(i, e)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	r := new(record)
	for i := range t.edits {
		if shifts[i] != nil {
			r.shifts = append(r.shifts, *shifts[i])
		}
		if swaps[i] != nil {
			r.swaps = append(r.swaps, *swaps[i])
		}
	}
	return r, before, nil
}

// openSource opens a file for reading, past the cache when all of it is read once.
func (e *edit) openSource(fsys fileSystem, path string) (file, error) {
	if e.step != Copy || e.text != nil {
		return open(fsys, path, os.O_RDONLY)
	}
	return openDirect(fsys, path, os.O_RDONLY, e.old.Size)
}

// openOld opens a file for reading and checks that it did not change.
func (t *transaction) openOld(e *edit) (f file, header []byte, err error) {
	fail := func(err error) error { return fmt.Errorf("%s: %w", e.name, err) }
	if f, err = e.openSource(t.fsys, t.path(e.name)); err != nil {
		return nil, nil, err
	}
	err = e.unchangedSince(f)
	if err == nil && f.Writers() {
		err = fmt.Errorf("another process has the file open for writing: %w", ErrBusy)
	}
	if err == nil {
		header = make([]byte, e.dataOffset)
		err = source.ReadFull(f, header, 0)
	}
	if err == nil && sha256.Sum256(header) != e.digest {
		err = ErrChanged
	}
	if err != nil {
		f.Close()
		return nil, nil, fail(err)
	}
	return f, header, nil
}

func (t *transaction) prepareShift(ctx context.Context, f file, e *edit, header []byte) (*shift, reading, error) {
	s := &shift{name: e.name, size: e.old.Size, oldHeader: header, newHeader: e.newHeader}
	// What cannot be opened for writing cannot be undone either.
	w, err := open(t.fsys, t.path(e.name), os.O_RDWR)
	if err != nil {
		return nil, reading{}, err
	}
	if err := w.Close(); err != nil {
		return nil, reading{}, err
	}
	if e.step == Insert {
		// The block that holds the end of the header and the start of the
		// data moves with the data, whose place in its block does not change.
		s.block, s.off, s.n = e.block, e.dataOffset/e.block*e.block, e.newOffset-e.dataOffset
		m, err := f.Extents()
		if err != nil {
			return nil, reading{}, &refusedStep{e, Insert, err}
		}
		s.extents = before(m, roundUp(e.old.Size, s.block))
	}
	var rd reading
	if t.verify != VerifyNone {
		rd.samples, err = takeSamples(f, e.dataOffset, e.old.Size)
		s.samples = rd.samples
	}
	if err == nil && t.verify == VerifyFull {
		rd.sums, err = t.digests(ctx, f, e.dataOffset, e.tensors)
	}
	if err != nil {
		return nil, reading{}, fmt.Errorf("%s: %w", e.name, err)
	}
	return s, rd, nil
}

func (t *transaction) prepareSwap(i int, e *edit) (*swap, error) {
	head, data := e.newHeader, int64(0)
	if e.text != nil {
		head = e.text
	} else {
		data = e.dataSize()
	}
	s := &swap{name: e.name, temp: tempName(e.name, i), size: int64(len(head)) + data, head: int64(len(head)), sum: sha256.Sum256(head)}
	if err := s.check(head); err != nil {
		return nil, fmt.Errorf("%s: %w", e.name, err)
	}
	switch _, err := t.fsys.Lstat(t.path(s.temp)); {
	case err == nil:
		return nil, fmt.Errorf("%s is in the way; no rewrite is under way, so it can be removed", t.path(s.temp))
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	return s, nil
}

// change does everything that can still be undone, and verifies it.
func (t *transaction) change(ctx context.Context, r *record, before []reading) ([]proof, error) {
	proofs := make([]proof, len(t.edits))
	shifts := make(map[string]*shift)
	for i := range r.shifts {
		shifts[r.shifts[i].name] = &r.shifts[i]
	}
	swaps := make(map[string]*swap)
	for i := range r.swaps {
		swaps[r.swaps[i].name] = &r.swaps[i]
	}
	// New files first: they take the time, and need no undoing in place.
	for _, inPlace := range []bool{false, true} {
		err := t.each(ctx, func(ctx context.Context, i int, e *edit) (err error) {
			if s := swaps[e.name]; s != nil && !inPlace {
				proofs[i], err = t.replace(ctx, e, s, before[i])
			} else if s := shifts[e.name]; s != nil && inPlace {
				proofs[i], err = t.shift(ctx, e, s, before[i])
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return proofs, syncDirs(t.fsys, t.dir, r)
}

// shift changes a header in place, with room made for it first.
func (t *transaction) shift(ctx context.Context, e *edit, s *shift, rd reading) (proof, error) {
	fail := func(err error) (proof, error) { return proof{}, fmt.Errorf("%s: %w", e.name, err) }
	f, err := openRegular(t.fsys, t.path(e.name), os.O_RDWR)
	if err != nil {
		return proof{}, err
	}
	defer f.Close()
	if err := e.unchangedSince(f); err != nil {
		return fail(err)
	}
	s.begun = true
	if s.n > 0 {
		err := insert(f, s)
		if errors.Is(err, errors.ErrUnsupported) {
			return proof{}, &refusedStep{e, Insert, err}
		}
		if err == nil {
			err = syncFile(f)
		}
		if err != nil {
			return fail(err)
		}
	}
	if err := writeFull(f, s.newHeader, 0); err != nil {
		return fail(err)
	}
	if err := syncFile(f); err != nil {
		return fail(err)
	}
	return t.prove(ctx, f, e, rd)
}

// insert makes the room. When it is interrupted it is repeated only if it has
// not begun: file systems set the new size first.
func insert(f file, s *shift) error {
	for {
		err := f.Insert(s.off, s.n)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
		if st, serr := f.Stat(); serr != nil || st.Size != s.size {
			return errors.Join(err, serr)
		}
	}
}

// unchangedSince checks that an open file is the one that the edit was made for.
func (e *edit) unchangedSince(f file) error {
	st, err := f.Stat()
	if err == nil && !st.same(e.old) {
		err = ErrChanged
	}
	return err
}

// replace writes the new file beside the old one.
func (t *transaction) replace(ctx context.Context, e *edit, s *swap, rd reading) (proof, error) {
	src, err := e.openSource(t.fsys, t.path(e.name))
	if err != nil {
		return proof{}, err
	}
	defer src.Close()
	return writeNew(ctx, t.fsys, e, src, t.path(s.temp), t.verify, rd, t.progress)
}

// writeNew writes the new content of a file under another name, and verifies it.
func writeNew(ctx context.Context, fsys fileSystem, e *edit, src file, name string, verify Verify, rd reading, progress func(int64)) (proof, error) {
	t := transaction{fsys: fsys, verify: verify, progress: progress}
	fail := func(err error) (proof, error) { return proof{}, fmt.Errorf("%s: %w", e.name, err) }
	img := e.image(src)
	if e.step == Reflink {
		// Only whole blocks can be shared. Both offsets are equally far into theirs.
		shift := e.newOffset - e.dataOffset
		srcOff := e.dataOffset / e.block * e.block
		img.clone = &clone{src: src, srcOff: srcOff, off: srcOff + shift, n: e.old.Size - srcOff}
	}
	digests := e.step == Copy && e.text == nil && (verify == VerifyDefault || verify == VerifyFull)
	sums, err := build(ctx, fsys, name, img, src, digests, progress)
	if err != nil {
		if e.step == Reflink && errors.Is(err, errors.ErrUnsupported) {
			err = &refusedStep{e, Reflink, err}
			return proof{}, err
		}
		return fail(err)
	}
	// What was copied must be one file, not the halves of two.
	if err := e.unchangedSince(src); err != nil {
		return fail(err)
	}
	if e.text != nil || verify == VerifyNone {
		return proof{}, nil
	}
	size := int64(0)
	if digests {
		size = img.size
	}
	f, err := openDirect(fsys, name, os.O_RDONLY, size)
	if err != nil {
		return proof{}, err
	}
	defer f.Close()
	if digests {
		f.Drop(0, img.size)
		p, err := t.compare(ctx, f, e, img.pieces, sums)
		if err == nil && verify == VerifyFull {
			err = e.restore(ctx, f, &p)
		}
		return p, err
	}
	if e.step == Copy {
		return sampleCopy(f, e, img)
	}
	if rd.samples == nil {
		if rd.samples, err = takeSamples(src, e.dataOffset, e.old.Size); err != nil {
			return fail(err)
		}
	}
	return t.prove(ctx, f, e, rd)
}

// compare digests the pieces of a new file and compares them with the sums of
// what they were copied from.
func (t *transaction) compare(ctx context.Context, f file, e *edit, pieces []piece, sums []digest) (proof, error) {
	again := make([]piece, len(pieces))
	p := proof{}
	for i, old := range pieces {
		again[i] = piece{name: old.name, src: f, off: e.newOffset + old.at, size: old.size}
		p.bytes += old.size
		if old.name != "" {
			p.digests++
		}
	}
	got, err := digestPieces(ctx, again, t.progress)
	if err != nil {
		return p, fmt.Errorf("%s: %w", e.name, err)
	}
	for i := range sums {
		if sums[i] != got[i] {
			return p, damaged(e.name, pieces[i].name, again[i].off)
		}
	}
	return p, nil
}

func damaged(file, tensor string, off int64) error {
	return fmt.Errorf("%s: tensor %q: the data at byte %d is not what it was before; the disk or the memory may be failing", file, tensor, off)
}

// sampleCopy compares blocks of a new file with where they came from.
func sampleCopy(f file, e *edit, img image) (p proof, err error) {
	for _, s := range spread(img.size - int64(len(img.header))) {
		i, ok := slices.BinarySearchFunc(img.pieces, s.off, func(p piece, off int64) int {
			if p.at+p.size <= off {
				return -1
			}
			if p.at > off {
				return 1
			}
			return 0
		})
		if !ok {
			continue
		}
		old := img.pieces[i]
		n := min(s.n, old.at+old.size-s.off)
		a, b := make([]byte, n), make([]byte, n)
		if err = source.ReadFull(old.src, a, old.off+s.off-old.at); err == nil {
			err = source.ReadFull(f, b, e.newOffset+s.off)
		}
		if err != nil {
			return p, fmt.Errorf("%s: %w", e.name, err)
		}
		if !bytes.Equal(a, b) {
			return p, damaged(e.name, old.name, e.newOffset+s.off)
		}
		p.samples++
		p.bytes += n
	}
	return p, nil
}

// prove shows that the data of a file is what it was, now that it begins at newOffset.
func (t *transaction) prove(ctx context.Context, f file, e *edit, rd reading) (p proof, err error) {
	st, err := f.Stat()
	if err == nil && st.Size-e.newOffset != e.old.Size-e.dataOffset {
		err = fmt.Errorf("the file is %d bytes long and should be %d", st.Size, e.old.Size-e.dataOffset+e.newOffset)
	}
	if err != nil {
		return p, fmt.Errorf("%s: %w", e.name, err)
	}
	p.stayed = t.verify != VerifyNone
	for _, s := range rd.samples {
		ok, err := s.holds(f, e.newOffset)
		if err != nil {
			return p, fmt.Errorf("%s: %w", e.name, err)
		}
		if !ok {
			return p, damaged(e.name, tensorAt(e.tensors, s.off), e.newOffset+s.off)
		}
		p.samples++
		p.bytes += s.n
	}
	if rd.sums == nil {
		return p, nil
	}
	got, err := t.digests(ctx, f, e.newOffset, e.tensors)
	if err != nil {
		return p, fmt.Errorf("%s: %w", e.name, err)
	}
	for i, tensor := range e.tensors {
		if got[i] != rd.sums[i] {
			return p, damaged(e.name, tensor.name, e.newOffset+tensor.off)
		}
		p.digests++
		p.bytes += tensor.size
	}
	return p, nil
}

func tensorAt(tensors []span, off int64) string {
	for _, t := range tensors {
		if off >= t.off && off < t.off+t.size {
			return t.name
		}
	}
	return ""
}

func (t *transaction) digests(ctx context.Context, f file, dataOffset int64, tensors []span) ([]digest, error) {
	pieces := make([]piece, len(tensors))
	for i, s := range tensors {
		pieces[i] = piece{name: s.name, src: f, off: dataOffset + s.off, size: s.size}
	}
	return digestPieces(ctx, pieces, t.progress)
}

// spread picks blocks of n bytes of data: the first, the last, and some
// between, evenly.
func spread(n int64) []sample {
	const size, count = int64(4096), 16
	if n <= 0 {
		return nil
	}
	if n <= size*count {
		var out []sample
		for off := int64(0); off < n; off += size {
			out = append(out, sample{off: off, n: min(size, n-off)})
		}
		return out
	}
	out := make([]sample, count)
	for i := range out {
		out[i] = sample{off: (n - size) / (count - 1) * int64(i), n: size}
	}
	out[count-1].off = n - size
	return out
}

func takeSamples(f file, dataOffset, size int64) ([]sample, error) {
	samples := spread(size - dataOffset)
	for i := range samples {
		s := &samples[i]
		buf := make([]byte, s.n)
		if err := source.ReadFull(f, buf, dataOffset+s.off); err != nil {
			return nil, err
		}
		s.sum = sha256.Sum256(buf)
	}
	return samples, nil
}

func (s sample) holds(f file, dataOffset int64) (bool, error) {
	buf := make([]byte, s.n)
	if err := source.ReadFull(f, buf, dataOffset+s.off); err != nil {
		return false, err
	}
	return sha256.Sum256(buf) == s.sum, nil
}

// syncDirs makes the names of a transaction's files durable.
func syncDirs(fsys fileSystem, dir string, r *record) error {
	dirs := make(map[string]bool)
	for _, s := range r.swaps {
		dirs[filepath.Join(dir, filepath.Dir(filepath.FromSlash(s.name)))] = true
	}
	for _, d := range slices.Sorted(maps.Keys(dirs)) {
		if err := syncDir(fsys, d); err != nil {
			return err
		}
	}
	return nil
}

// defaultWorkers is enough to hide the wait for the disk's cache flushes.
func defaultWorkers() int { return max(8, runtime.GOMAXPROCS(0)) }
