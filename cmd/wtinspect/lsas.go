package main

import (
	"context"
	"iter"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// A tensorList is the tensors of a checkpoint, or what they would be.
type tensorList interface {
	Len() int
	At(i int) checkpoint.Tensor
	All() iter.Seq2[int, checkpoint.Tensor]
}

// converted is the tensors that a checkpoint would have in another convention.
type converted []checkpoint.Tensor

func (l converted) Len() int { return len(l) }

func (l converted) At(i int) checkpoint.Tensor { return l[i] }

func (l converted) All() iter.Seq2[int, checkpoint.Tensor] {
	return func(yield func(int, checkpoint.Tensor) bool) {
		for i, t := range l {
			if !yield(i, t) {
				return
			}
		}
	}
}

// of is the tensors to list of a checkpoint.
func (l *listing) of(c *checkpoint.Checkpoint) tensorList {
	if as, ok := l.as[c]; ok {
		return as
	}
	return c
}

// convertAll works out what the checkpoints would be in another convention.
func (l *listing) convertAll(ctx context.Context, p *program) error {
	l.as = make(map[*checkpoint.Checkpoint]converted)
	for _, c := range l.in.checkpoints {
		conv, _, err := l.options.convert(ctx, c)
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
		l.as[c] = list
	}
	return nil
}

// convertedList has the tensors of a conversion, each in the place of the first
// that it is made of. The bytes of what operations make are nowhere yet.
func convertedList(c *checkpoint.Checkpoint, conv *convention.Conversion) (converted, error) {
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
	list := make(converted, 0, c.Len())
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
