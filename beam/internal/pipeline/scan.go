package pipeline

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"iter"

	"github.com/wtinspect/wtinspect/inspect"
)

// matchFn finds the inputs that references mean. An input that cannot even be looked for is
// a row.
type matchFn struct {
	Options Options
	// Refs are the references, each with a NUL byte behind it, compressed.
	Refs []byte
}

// ProcessElement gives the inputs, numbered in their order, and the rows of those that failed.
func (f *matchFn) ProcessElement(ctx context.Context, _ []byte, input func(int64, []byte), row func(int64, []byte)) error {
	ctx = f.Options.Places.in(ctx)
	z, err := gzip.NewReader(bytes.NewReader(f.Refs))
	if err != nil {
		return err
	}
	text, err := io.ReadAll(z)
	if err != nil {
		return err
	}
	refs := func(yield func(string) bool) {
		for ref := range bytes.SplitAfterSeq(text, []byte{0}) {
			if len(ref) > 0 && !yield(string(ref[:len(ref)-1])) {
				return
			}
		}
	}
	number := int64(0)
	opts := f.Options.scan()
	for ref, bad := range inspect.ScanInputs(ctx, refs, opts) {
		if bad == nil {
			input(number, []byte(ref))
		} else if err := f.Options.scanned(ctx, number, ref, bad, row); err != nil {
			return err
		}
		number++
	}
	return ctx.Err()
}

// pack is the form of matchFn.Refs.
func pack(refs iter.Seq[string]) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for ref := range refs {
		io.WriteString(z, ref+"\x00") // a buffer takes everything
	}
	z.Close()
	return b.Bytes()
}

// batch is how many inputs are scanned together, several at once: some runners give all
// inputs to one worker, one after the other.
const batch = 64

// A scanFn scans inputs, and gives their rows as chunks with the part that they belong to.
type scanFn struct {
	Options Options

	inputs []numbered
}

type numbered struct {
	number int64
	ref    string
}

// StartBundle begins anew: what a bundle that failed had left is done by another.
func (f *scanFn) StartBundle(context.Context, func(int64, []byte)) { f.inputs = f.inputs[:0] }

// ProcessElement takes an input.
func (f *scanFn) ProcessElement(ctx context.Context, number int64, ref []byte, row func(int64, []byte)) error {
	f.inputs = append(f.inputs, numbered{number, string(ref)})
	if len(f.inputs) < batch {
		return nil
	}
	return f.FinishBundle(ctx, row)
}

// FinishBundle scans the inputs that wait.
func (f *scanFn) FinishBundle(ctx context.Context, row func(int64, []byte)) error {
	if len(f.inputs) == 0 {
		return nil
	}
	inputs := f.inputs
	f.inputs = nil
	ctx = f.Options.Places.in(ctx)
	i := 0
	for s, err := range inspect.Scan(ctx, func(yield func(string, error) bool) {
		for _, in := range inputs {
			if !yield(in.ref, nil) {
				return
			}
		}
	}, f.Options.scan()) {
		if err != nil {
			return err
		}
		f.Options.give(inputs[i].number, inputs[i].ref, s, row)
		i++
	}
	return nil
}

// scanned gives the rows of an input that failed before it could be opened.
func (o *Options) scanned(ctx context.Context, number int64, ref string, bad error, row func(int64, []byte)) error {
	for s, err := range inspect.Scan(ctx, func(yield func(string, error) bool) { yield(ref, bad) }, o.scan()) {
		if err != nil {
			return err
		}
		o.give(number, ref, s, row)
	}
	return nil
}

func (o *Options) give(number int64, ref string, s *inspect.Scanned, row func(int64, []byte)) {
	part := int64(inspect.ShardOf(ref, o.Parts))
	eachChunk(number, s, func(chunk []byte) { row(part, chunk) })
}

// scan are the options of a scan in a worker.
func (o *Options) scan() *inspect.ScanOptions {
	rules := o.Rules
	// JSON, in which steps travel, takes an empty list for none.
	if o.AllRules {
		rules.Select = []string{}
	}
	return &inspect.ScanOptions{
		RuleChoice: rules, Recursive: o.Recursive, Subtree: o.Subtree, Values: o.Values, Workers: o.Workers, Version: o.Version,
	}
}
