package compare

import (
	"cmp"
	"embed"
	"slices"
	"sync"

	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
)

// ollama's converter keeps the towers of a model beside its language model, below names
// of its own. No convention has them: one of llama.cpp's files has a tower alone.
//
//go:embed towers/*.yaml
var towerFiles embed.FS

var towerMaps = sync.OnceValue(func() []*rename.Map {
	entries, err := towerFiles.ReadDir("towers")
	if err != nil {
		panic(err) // the directory is part of the program
	}
	var list []*rename.Map
	for _, e := range entries {
		text, err := towerFiles.ReadFile("towers/" + e.Name())
		if err == nil {
			var m *rename.Map
			m, err = rename.Parse(e.Name(), text)
			list = append(list, m)
		}
		if err != nil {
			panic(err) // the map is part of the program
		}
	}
	return list
})

// towers adds to a conversion what becomes of a tower that the other side keeps beside
// the language model: by the map of which most names are there.
func (c *comparison) towers(conv *convert.Conversion, model *convention.Model) {
	from, there := make(map[string]*tensor), make(map[string]*tensor)
	for _, t := range c.as {
		from[t.own] = t
	}
	for _, t := range c.bs {
		there[t.own] = t
	}
	for i := range conv.Moves {
		for _, n := range conv.Moves[i].From {
			delete(from, n)
		}
		for _, n := range conv.Moves[i].To {
			delete(there, n)
		}
	}
	if len(from) == 0 || len(there) == 0 {
		return
	}
	var names []string
	for _, t := range c.as {
		if from[t.own] != nil {
			names = append(names, t.own)
		}
	}
	var best []convert.Move
	var of *rename.Map
	var left []rename.Row // what the best map leaves out
	for _, m := range towerMaps() {
		plan := rename.NewPlan(m, names, rename.Limits{Number: model.Number})
		if plan.Err() != nil {
			continue
		}
		var moves []convert.Move
		var drops []rename.Row
		add := func(move convert.Move) {
			if slices.ContainsFunc(move.To, func(n string) bool { return there[n] != nil }) {
				moves = append(moves, move)
			}
		}
		for _, r := range plan.Rows {
			switch r.Action {
			case rename.Move:
				add(convert.Move{From: []string{r.From}, To: []string{r.To}})
			case rename.Drop:
				drops = append(drops, r)
			}
		}
		for _, t := range plan.Transforms {
			add(convert.Move{From: t.From, To: t.To, Ops: t.Ops})
		}
		if len(moves) > len(best) {
			best, of, left = moves, m, drops
		}
	}
	if of == nil {
		return
	}
	conv.Moves = append(conv.Moves, best...)
	// What is not stored as it was is listed with the reason.
	for _, r := range left {
		if t := from[r.From]; t != nil {
			t.reason = cmp.Or(t.reason, r.Reason)
		}
	}
	for name, t := range there {
		for _, r := range rename.NewPlan(of, []string{name}, rename.Limits{Number: model.Number}).Rows {
			if r.Action == rename.Drop {
				t.reason = cmp.Or(t.reason, r.Reason)
			}
		}
	}
}
