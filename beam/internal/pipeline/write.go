package pipeline

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/wtinspect/wtinspect/internal/tables"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// A writeFn writes the rows of a part. Done again, whole or from where it failed, it gives
// the same files: their content depends on the rows alone, and their names on the content.
type writeFn struct{ Options Options }

// ProcessElement writes one part.
func (f *writeFn) ProcessElement(ctx context.Context, part int64, values func(*[]byte) bool) error {
	chunks, err := readChunks(values)
	if err != nil {
		return err
	}
	return f.write(ctx, txn.OS{}, int(part), chunks)
}

// readChunks takes the chunks of a group, whose memory is used for the next.
func readChunks(values func(*[]byte) bool) (chunks []chunk, err error) {
	var b []byte
	for values(&b) {
		c, err := readChunk(slices.Clone(b))
		if err != nil {
			return nil, err
		}
		chunks = append(chunks, c)
	}
	return chunks, nil
}

// write writes chunks, which may come in any order, and more than once where a runner
// delivers them so.
func (f *writeFn) write(ctx context.Context, sys txn.System, part int, chunks []chunk) (err error) {
	done, err := writing.enter(ctx)
	if err != nil {
		return err
	}
	defer done()
	slices.SortFunc(chunks, func(a, b chunk) int { return a.compare(b.header) })
	chunks = slices.CompactFunc(chunks, func(a, b chunk) bool { return a.compare(b.header) == 0 })
	how := f.Options.tables(part)
	how.Prepared, how.Resume = true, true
	if how.By, err = f.Options.scan().By(ctx); err != nil {
		return err
	}
	w, err := tables.Create(sys, f.Options.Dir, how)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if err := eachRelease(chunks, func(of []chunk) error { return add(ctx, w, of) }); err != nil {
		return err
	}
	if err := writing.err(ctx); err != nil {
		return err
	}
	return w.Commit()
}

// tables are the options of the tables that the pipeline writes.
func (o *Options) tables(part int) tables.Options {
	return tables.Options{
		Version: o.Version, Shard: part, Shards: o.Parts, Values: o.Values, Rows: o.PartRows,
		Every: math.MaxInt64, // how long it takes may not show in the files
	}
}

// eachRelease calls do with the chunks of each release, the first input of those that have
// one repository.
func eachRelease(chunks []chunk, do func(of []chunk) error) error {
	for len(chunks) > 0 {
		repository, number := chunks[0].repository, chunks[0].number
		n, all := 0, 0
		for ; all < len(chunks) && chunks[all].repository == repository; all++ {
			if chunks[all].number == number {
				n++
			}
		}
		if err := do(chunks[:n]); err != nil {
			return err
		}
		chunks = chunks[all:]
	}
	return nil
}

func add(ctx context.Context, w *tables.Writer, chunks []chunk) error {
	if err := writing.err(ctx); err != nil {
		return err
	}
	s, fault, err := scanned(chunks)
	if err != nil {
		return err
	}
	return errors.Join(w.Write(s), fault())
}
