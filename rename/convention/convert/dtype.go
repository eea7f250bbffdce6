package convert

import (
	"slices"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// cast gives what the target's project writes in a dtype of its own that dtype,
// before anything is computed with it. Only 16-bit floats are cast, which F32 has
// all of; what is F32 stays so when the target does not care.
func (cv *converter) cast(list []convention.Named) {
	if cv.to.Layout.Vectors == "" {
		cv.noteWide(list)
		return
	}
	sources := make(map[string]*convention.Named, len(list))
	for i := range list {
		if d := list[i].DType; d == "F16" || d == "BF16" {
			sources[list[i].Name] = &list[i]
		}
	}
	if len(sources) == 0 {
		return
	}
	for i := range cv.out.Moves {
		m := &cv.out.Moves[i]
		from := sources[m.From[0]]
		if from == nil || slices.ContainsFunc(m.From, func(n string) bool { return sources[n] == nil || sources[n].DType != from.DType }) {
			continue
		}
		if to := cv.stores(m, sources); to != "" {
			m.cast(from.DType, to)
		}
	}
}

// stores is the dtype in which the target's project writes what a move makes.
func (cv *converter) stores(m *Move, sources map[string]*convention.Named) string {
	shapes := make([][]uint64, len(m.From))
	for i, n := range m.From {
		shapes[i] = sources[n].Shape
	}
	made, err := tensorop.Shapes(m.Ops, shapes)
	known := err == nil && !slices.ContainsFunc(shapes, func(s []uint64) bool { return s == nil })
	for i, name := range m.To {
		rank := -1
		if known {
			rank = len(made[i])
		}
		t, _, _ := cv.to.Match(name)
		if dtype := cv.to.Stores(t, rank); dtype != "" {
			return dtype
		}
	}
	return ""
}

// cast puts casts of all operands before the first operation that is not a stack,
// of which there may be thousands in one.
func (m *Move) cast(from, to string) {
	n, at := len(m.From), 0
	for at < len(m.Ops) && m.Ops[at].Kind == tensorop.Stack {
		n -= m.Ops[at].Count - 1
		at++
	}
	var casts []tensorop.Op
	for i := range n {
		casts = append(casts, tensorop.Op{Kind: tensorop.Cast, Index: i, Count: 1, From: from, To: to})
	}
	m.Ops = slices.Insert(slices.Clone(m.Ops), at, casts...)
}

// noteWide says that F32 tensors beside 16-bit ones stay as they are.
func (cv *converter) noteWide(list []convention.Named) {
	wide, narrow := 0, ""
	for i := range list {
		switch d := list[i].DType; d {
		case "F32":
			wide++
		case "F16", "BF16":
			narrow = d
		}
	}
	if cv.from.Layout.Vectors != "" && wide > 0 && narrow != "" {
		cv.out.wide = "normalisations and other small tensors stay F32, as " + cv.from.Name + " has them; the rest is " + narrow
		cv.out.Notes = append(cv.out.Notes, cv.out.wide)
	}
}

// Recast takes back what the notes say of dtypes: the caller gives numbers another one.
func (c *Conversion) Recast() {
	c.Notes = slices.DeleteFunc(c.Notes, func(note string) bool { return note == c.wide })
}

// AllowRounding lets an operation of the conversion round, as other converters do:
// 1 + w has fewer bits for a small w than w has, and -exp(x) in their libraries is not
// always the nearest number.
func (c *Conversion) AllowRounding(kind tensorop.Kind) {
	for i := range c.Moves {
		for k := range c.Moves[i].Ops {
			if o := &c.Moves[i].Ops[k]; o.Kind == kind {
				o.Round = true
			}
		}
	}
	if kind == tensorop.LogNegative {
		c.Notes = append(c.Notes, "some values of the state-space decay are -exp(x) of no number, and get the nearest; the way back gives others")
		return
	}
	c.Notes = append(c.Notes, "what is added to normalisations rounds some of their values, which are small; the way back gives others")
}
