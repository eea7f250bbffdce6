package infer

import (
	"context"
	"fmt"

	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/template"
)

// Infer finds the map from A to B.
func Infer(ctx context.Context, a, b *Inventory, opt Options) (*Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	res := &Result{Map: &rename.Map{}}
	have := make(map[string]bool)
	for i := range b.Tensors {
		have[b.Tensors[i].Name] = true
	}
	from, to := families(a), families(b)
	byShape := make(map[string][]*family)
	for _, f := range to {
		byShape[f.key] = append(byShape[f.key], f)
	}
	rivals := make(map[string]int)
	for _, f := range from {
		rivals[f.key]++
	}
	for _, f := range from {
		if have[f.name] {
			continue
		}
		t := byShape[f.key]
		if len(t) != 1 || rivals[f.key] != 1 {
			res.Extra = append(res.Extra, f.template)
			continue
		}
		r, err := rename.NewRule(f.pattern(), t[0].pattern())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.template, err)
		}
		res.Rules = append(res.Rules, Rule{Rule: len(res.Map.Rules), Class: Forced, Confidence: 1, By: []string{"nothing else has its shape"}, Tensors: f.members})
		res.Map.Rules = append(res.Map.Rules, r)
	}
	return res, nil
}

// A family is tensors that differ in their indices alone.
type family struct {
	name, template, key string
	members             int
}

// pattern writes the family with holes for its indices.
func (f *family) pattern() string {
	text, _ := template.Words.Split(f.name)
	s := rename.Escape(text[0])
	for i, t := range text[1:] {
		s += fmt.Sprintf("{n%d}", i) + rename.Escape(t)
	}
	return s
}

func families(inv *Inventory) []*family {
	var list []*family
	of := make(map[string]*family)
	for i := range inv.Tensors {
		t := &inv.Tensors[i]
		k := template.Words.Of(t.Name)
		if of[k] == nil {
			of[k] = &family{name: t.Name, template: k}
			list = append(list, of[k])
		}
		of[k].members++
		of[k].key = fmt.Sprint(of[k].members, t.Shape)
	}
	return list
}

// ToConvention finds the map from A to the names that a convention has for a model of its
// size.
func ToConvention(ctx context.Context, a *Inventory, to *convention.Convention, opt Options) (*Result, error) {
	res, err := Infer(ctx, a, new(Inventory), opt)
	if err != nil {
		return nil, err
	}
	res.To, res.Map.To = to.Name, to.Name
	return res, nil
}
