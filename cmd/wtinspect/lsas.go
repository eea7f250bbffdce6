package main

import (
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/wtinspect/wtinspect/checkpoint"
)

// A view is the tensors of a checkpoint as ls shows them: as they are, or as
// another convention would have them, which may be more or fewer.
type view struct {
	checkpoint *checkpoint.Checkpoint
	// converted says that tensors has what is shown.
	converted bool
	tensors   []checkpoint.Tensor
	names     func() map[string]int
}

// newView shows a checkpoint as it is.
func newView(c *checkpoint.Checkpoint) *view { return &view{checkpoint: c} }

// newConvertedView shows tensors in place of those of c.
func newConvertedView(c *checkpoint.Checkpoint, tensors []checkpoint.Tensor) *view {
	v := &view{checkpoint: c, converted: true, tensors: tensors}
	v.names = sync.OnceValue(func() map[string]int {
		names := make(map[string]int, len(tensors))
		for i := range tensors {
			if _, again := names[tensors[i].Name]; !again {
				names[tensors[i].Name] = i
			}
		}
		return names
	})
	return v
}

// Len returns the number of tensors.
func (v *view) Len() int {
	if v.converted {
		return len(v.tensors)
	}
	return v.checkpoint.Len()
}

// At returns the tensor at index i of the view, which is not that of the checkpoint.
func (v *view) At(i int) checkpoint.Tensor {
	if v.converted {
		return v.tensors[i]
	}
	return v.checkpoint.At(i)
}

// All iterates over the tensors in the order of At.
func (v *view) All() iter.Seq2[int, checkpoint.Tensor] {
	if v.converted {
		return slices.All(v.tensors)
	}
	return v.checkpoint.All()
}

// Lookup returns the index of the tensor of that name, the first of several.
func (v *view) Lookup(name string) (int, bool) {
	if !v.converted {
		return v.checkpoint.Lookup(name)
	}
	i, ok := v.names()[name]
	return i, ok
}

// Totals adds up all tensors.
func (v *view) Totals() *totals {
	var t totals
	for _, tensor := range v.All() {
		t.add(&tensor)
	}
	return &t
}

// convertAll works out what the checkpoints would be in another convention.
func (l *listing) convertAll(ctx context.Context, p *program) error {
	for k, c := range l.in.checkpoints {
		m, err := l.options.model(ctx, c)
		if err != nil {
			return err
		}
		conv, err := l.options.convert(ctx, c, m)
		if err != nil {
			return err
		}
		list, err := conv.Tensors()
		if err != nil {
			return err
		}
		if n := len(conv.Dropped); n > 0 {
			p.note("%s: without a place in %s: %s", c.Path, conv.To, counted(n, "tensor"))
		}
		if n := len(conv.Unmapped); n > 0 {
			p.note("%s: names that %s does not know stay (%s): %s", c.Path, conv.From, counted(n, "tensor"), shortList(conv.Unmapped))
		}
		l.views[k] = newConvertedView(c, list)
	}
	return nil
}
