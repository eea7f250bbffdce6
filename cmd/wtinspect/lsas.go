package main

import (
	"context"

	"github.com/wtinspect/wtinspect/inspect"
)

// convertAll works out what the checkpoints would be in another convention.
func (o *converting) convertAll(ctx context.Context, p *program, in *inputs) ([]inspect.View, error) {
	views := make([]inspect.View, len(in.Checkpoints))
	for k, c := range in.Checkpoints {
		m, err := o.model(ctx, c)
		if err != nil {
			return nil, err
		}
		conv, err := o.translate(ctx, c, m)
		if err != nil {
			return nil, err
		}
		list, err := conv.Tensors()
		if err != nil {
			return nil, err
		}
		if n := len(conv.Dropped); n > 0 {
			p.note("%s: without a place in %s: %s", c.Path, conv.To, counted(n, "tensor"))
		}
		if n := len(conv.Aside); n > 0 {
			p.note("%s: not in %s, and listed under their old names (%s): %s", c.Path, conv.To, counted(n, "tensor"), shortAsides(conv.Aside))
		}
		if n := len(conv.Unmapped); n > 0 {
			p.note("%s: names that %s does not know stay (%s): %s", c.Path, conv.From, counted(n, "tensor"), shortList(conv.Unmapped))
		}
		views[k] = inspect.ViewOf(list)
	}
	return views, nil
}
