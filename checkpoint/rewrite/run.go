package rewrite

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/wtinspect/wtinspect/checkpoint/internal/image"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// proof says how the data of one file was shown to be unchanged.
type proof struct {
	stayed    bool            // the data was not copied, and its offsets were checked
	digests   int             // tensors whose digests were compared
	algorithm image.Algorithm // of them
	restored  int             // tensors that inverse operations gave back
	samples   int             // blocks whose digests were compared
	bytes     int64           // read again for it
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

// A reading is what is known of a file's data before it is changed.
type reading struct {
	samples []txn.Sample
	sums    []txn.Digest // of the tensors, when all of them are compared
}

// A runner carries out edits: in one transaction, or into a draft.
type runner struct {
	sys     txn.System
	path    func(name string) string // of a file of the source
	edits   []*edit
	verify  Verify
	workers int
	// progress, when not nil, is told how many bytes of data have been copied
	// or digested. It may be called from several goroutines.
	progress func(n int64)
}

// inPlace carries the edits out in one transaction. When it fails everything
// is as it was, unless the error is a [*RecoveryError]. It may be run again, with
// other steps, after a refusedStep.
func (t *runner) inPlace(ctx context.Context, dir string) ([]proof, error) {
	tx, err := txn.Begin(t.sys, dir)
	if err != nil {
		return nil, err
	}
	c, proofs, err := t.prepare(ctx)
	if err != nil {
		return nil, errors.Join(err, tx.Abort())
	}
	err = tx.Commit(ctx, c)
	var refused *txn.RefusedError
	if errors.As(err, &refused) {
		i := slices.IndexFunc(t.edits, func(e *edit) bool { return e.name == refused.Name })
		err = &refusedStep{t.edits[i], Insert, err}
	}
	if err != nil {
		return nil, err
	}
	return proofs, nil
}

// prepare checks that every file is as it was when the edits were made, and
// makes the changes of the transaction. The proofs are complete when it is.
func (t *runner) prepare(ctx context.Context) (*txn.Changes, []proof, error) {
	shifts := make([]*txn.Shift, len(t.edits))
	swaps := make([]*txn.Swap, len(t.edits))
	proofs := make([]proof, len(t.edits))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, t.workers))
	for i, e := range t.edits {
		if e.step == Unchanged {
			continue
		}
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			f, header, err := t.openOld(e)
			if err != nil {
				return err
			}
			defer f.Close()
			if e.step == Pad || e.step == Insert {
				shifts[i], err = t.shift(ctx, f, e, header, &proofs[i])
				return err
			}
			swaps[i], err = t.swap(ctx, f, e, &proofs[i])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	c := &txn.Changes{Workers: t.workers}
	for i := range t.edits {
		if shifts[i] != nil {
			c.Shifts = append(c.Shifts, shifts[i])
		}
		if swaps[i] != nil {
			c.Swaps = append(c.Swaps, swaps[i])
		}
	}
	return c, proofs, nil
}

// openSource opens a file for reading, past the cache when all of it is read once.
func (t *runner) openSource(e *edit) (txn.File, error) {
	size := e.old.Size
	if e.step != Copy || e.text != nil {
		size = 0
	}
	return image.Open(size, func(flag int) (txn.File, error) { return txn.Read(t.sys, t.path(e.name), flag) })
}

// openOld opens a file for reading and checks that it did not change.
func (t *runner) openOld(e *edit) (f txn.File, header []byte, err error) {
	fail := func(err error) error { return fmt.Errorf("%s: %w", e.name, err) }
	if f, err = t.openSource(e); err != nil {
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

// shift makes the change of a header where the file stays.
func (t *runner) shift(ctx context.Context, f txn.File, e *edit, header []byte, p *proof) (*txn.Shift, error) {
	s := &txn.Shift{Name: e.name, Old: e.old, OldHeader: header, NewHeader: e.newHeader}
	if e.step == Insert {
		// The block that holds the end of the header and the start of the
		// data moves with the data, whose place in its block does not change.
		s.Block, s.Off, s.N = e.block, e.dataOffset/e.block*e.block, e.newOffset-e.dataOffset
		m, err := f.Extents()
		if err != nil {
			return nil, &refusedStep{e, Insert, err}
		}
		s.Extents = txn.Before(m, image.RoundUp(e.old.Size, s.Block))
	}
	rd, err := t.read(ctx, f, e)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.name, err)
	}
	s.Samples = rd.samples
	s.Prove = func(ctx context.Context, f txn.File) (err error) {
		*p, err = t.prove(ctx, f, e, rd)
		return err
	}
	return s, nil
}

// read takes note of the data of a file whose data stays.
func (t *runner) read(ctx context.Context, f txn.File, e *edit) (rd reading, err error) {
	if t.verify != VerifyNone {
		rd.samples, err = takeSamples(f, e.dataOffset, e.old.Size)
	}
	if err == nil && t.verify == VerifyFull {
		rd.sums, err = t.digests(ctx, f, e.dataOffset, e.tensors)
	}
	return rd, err
}

// swap makes the change of a file that is written anew.
func (t *runner) swap(ctx context.Context, f txn.File, e *edit, p *proof) (*txn.Swap, error) {
	var rd reading
	var err error
	if e.step == Reflink && t.verify == VerifyFull {
		if rd.sums, err = t.digests(ctx, f, e.dataOffset, e.tensors); err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
	}
	head, data := e.newHeader, int64(0)
	if e.text != nil {
		head = e.text
	} else {
		data = e.dataSize()
	}
	return &txn.Swap{
		Name: e.name, Old: e.named, Size: int64(len(head)) + data, Head: int64(len(head)), Sum: sha256.Sum256(head), Begin: head,
		Write: func(ctx context.Context, dir txn.Dir, temp string) error {
			src, err := t.openSource(e)
			if err != nil {
				return err
			}
			defer src.Close()
			*p, err = t.writeNew(ctx, dir, temp, e, src, rd)
			return err
		},
	}, nil
}

// unchangedSince checks that an open file is the one that the edit was made for.
func (e *edit) unchangedSince(f txn.File) error {
	st, err := f.Stat()
	if err == nil && !st.Same(e.old) {
		err = ErrChanged
	}
	return err
}

// writeNew writes the new content of a file under another name, and verifies it.
func (t *runner) writeNew(ctx context.Context, dir txn.Dir, name string, e *edit, src txn.File, rd reading) (proof, error) {
	fail := func(err error) (proof, error) { return proof{}, fmt.Errorf("%s: %w", e.name, err) }
	img := e.image(src)
	if e.step == Reflink {
		// Only whole blocks can be shared. Both offsets are equally far into theirs.
		shift := e.newOffset - e.dataOffset
		srcOff := e.dataOffset / e.block * e.block
		img.Clone = &image.Clone{Src: src, SrcOff: srcOff, Off: srcOff + shift, N: e.old.Size - srcOff}
	}
	digests := image.NoDigests
	switch {
	case e.step != Copy || e.text != nil:
	case t.verify == VerifyDefault:
		digests = image.XXH64
	case t.verify == VerifyFull:
		digests = image.SHA256
	}
	sums, err := image.Build(ctx, dir, name, img, src, digests, t.progress)
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
	if e.text != nil || t.verify == VerifyNone {
		return proof{}, nil
	}
	f, err := img.Reopen(dir, name, digests != image.NoDigests)
	if err != nil {
		return proof{}, err
	}
	defer f.Close()
	if digests != image.NoDigests {
		p := proof{algorithm: digests}
		if p.digests, p.bytes, err = img.Compare(ctx, f, sums, t.progress); err != nil {
			return fail(err)
		}
		if t.verify == VerifyFull {
			err = e.restore(ctx, f, &p)
		}
		return p, err
	}
	if e.step == Copy {
		var p proof
		if p.samples, p.bytes, err = img.Sample(f); err != nil {
			return fail(err)
		}
		return p, nil
	}
	if rd.samples == nil {
		if rd.samples, err = takeSamples(src, e.dataOffset, e.old.Size); err != nil {
			return fail(err)
		}
	}
	return t.prove(ctx, f, e, rd)
}

func damaged(file, tensor string, off int64) error {
	return fmt.Errorf("%s: %w", file, image.Damaged(tensor, off))
}

// prove shows that the data of a file is what it was, now that it begins at newOffset.
func (t *runner) prove(ctx context.Context, f txn.File, e *edit, rd reading) (p proof, err error) {
	st, err := f.Stat()
	if err == nil && st.Size-e.newOffset != e.old.Size-e.dataOffset {
		err = fmt.Errorf("the file is %d bytes long and should be %d", st.Size, e.old.Size-e.dataOffset+e.newOffset)
	}
	if err != nil {
		return p, fmt.Errorf("%s: %w", e.name, err)
	}
	p.stayed = t.verify != VerifyNone
	for _, s := range rd.samples {
		ok, err := s.Holds(f, e.newOffset)
		if err != nil {
			return p, fmt.Errorf("%s: %w", e.name, err)
		}
		if !ok {
			return p, damaged(e.name, tensorAt(e.tensors, s.Off), e.newOffset+s.Off)
		}
		p.samples++
		p.bytes += s.N
	}
	if rd.sums == nil {
		return p, nil
	}
	p.algorithm = image.SHA256
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

func (t *runner) digests(ctx context.Context, f txn.File, dataOffset int64, tensors []span) ([]txn.Digest, error) {
	pieces := make([]image.Piece, len(tensors))
	for i, s := range tensors {
		pieces[i] = image.Piece{Name: s.name, Src: f, Off: dataOffset + s.off, Size: s.size}
	}
	return image.Digest(ctx, pieces, t.progress)
}

func takeSamples(f txn.File, dataOffset, size int64) ([]txn.Sample, error) {
	samples := image.Spread(size - dataOffset)
	for i := range samples {
		s := &samples[i]
		buf := make([]byte, s.N)
		if err := source.ReadFull(f, buf, dataOffset+s.Off); err != nil {
			return nil, err
		}
		s.Sum = sha256.Sum256(buf)
	}
	return samples, nil
}
