package main

import (
	"context"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// convertAll works out what the checkpoints would be in another convention.
func (o *converting) convertAll(ctx context.Context, p *program, in *inputs) ([]inspect.View, error) {
	views := make([]inspect.View, len(in.Checkpoints))
	for k, c := range in.Checkpoints {
		cfg, err := o.model(ctx, c)
		if err != nil {
			return nil, err
		}
		conv, err := o.convert(c, cfg)
		if err != nil {
			return nil, err
		}
		list, err := convertedList(c, conv)
		if err != nil {
			return nil, err
		}
		if n := len(conv.Dropped); n > 0 {
			p.note("%s: without a place in %s: %s", c.Path, conv.To, counted(n, "tensor"))
		}
		if n := len(conv.Unmapped); n > 0 {
			p.note("%s: names that %s does not know stay (%s): %s", c.Path, conv.From, counted(n, "tensor"), shortList(conv.Unmapped))
		}
		views[k] = inspect.ViewOf(list)
	}
	return views, nil
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
