package main

import (
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/tensorop"
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
		cfg, err := l.options.model(ctx, c)
		if err != nil {
			return err
		}
		conv, err := l.options.convert(c, cfg)
		if err != nil {
			return err
		}
		list, err := convertedList(c, conv)
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

// convertedList has the tensors of a conversion, each in the place of the first
// that it is made of. The bytes of what operations make are nowhere yet.
func convertedList(c *checkpoint.Checkpoint, conv *convention.Conversion) ([]checkpoint.Tensor, error) {
	moveOf := make(map[string]int, c.Len())
	taken := make(map[string]bool, c.Len())
	for i := range conv.Moves {
		m := &conv.Moves[i]
		moveOf[m.From[0]] = i
		for _, name := range m.From {
			taken[name] = true
		}
	}
	for _, d := range conv.Dropped {
		taken[d.Name] = true
	}
	list := make([]checkpoint.Tensor, 0, c.Len())
	for _, t := range c.All() {
		i, ok := moveOf[t.Name]
		switch {
		case !ok && !taken[t.Name]:
			list = append(list, t)
		case ok:
			made, err := madeTensors(c, t, conv, i)
			if err != nil {
				return nil, err
			}
			list = append(list, made...)
		}
	}
	return list, nil
}

func madeTensors(c *checkpoint.Checkpoint, first checkpoint.Tensor, conv *convention.Conversion, i int) ([]checkpoint.Tensor, error) {
	m := &conv.Moves[i]
	if !m.MovesBytes() {
		first.Name = m.To[0]
		return []checkpoint.Tensor{first}, nil
	}
	shapes := make([][]uint64, len(m.From))
	known := true
	for k, name := range m.From {
		at, _ := c.Lookup(name)
		shapes[k] = c.At(at).Shape
		known = known && shapes[k] != nil
	}
	if known {
		ops, err := m.Steps()
		if err == nil {
			shapes, err = tensorop.Shapes(ops, shapes)
		}
		if err != nil {
			return nil, err
		}
	} else {
		shapes = make([][]uint64, len(m.To))
	}
	elements, counted := first.Elements()
	out := make([]checkpoint.Tensor, len(m.To))
	for k, name := range m.To {
		t := checkpoint.Tensor{Name: name, DType: first.DType, Shape: shapes[k], File: first.File, Offset: -1}
		n, ok := t.Elements()
		if ok && counted && first.BytesKnown && elements > 0 && n < 1<<40 && first.Bytes < 1<<40 && first.Bytes/elements*elements == first.Bytes {
			t.Bytes, t.BytesKnown = n*(first.Bytes/elements), true
		}
		out[k] = t
	}
	return out, nil
}
