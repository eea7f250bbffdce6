package inspect

import (
	"fmt"
	"math"
	"strings"

	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename/template"
)

// A DiffGroup is tensors that are alike in what became of them, under one folded name.
type DiffGroup struct {
	Name string
	Rows []*DiffRow
}

// mostUnfolded is how many tensors that make the verdict are listed one by one.
const mostUnfolded = 40

// Groups returns what is worth a line, the tensors that make the verdict first, and the
// others folded, or not. What is only renamed is in Rules; what is the same is left out
// unless all is wanted.
func (c *Comparison) Groups(fold, all bool) []DiffGroup {
	var bad, rows []*DiffRow
	for i := range c.Rows {
		r := &c.Rows[i]
		switch plain := (r.Status == Same || r.Status == Agree) && !r.Moved; {
		case plain && !all:
		case !plain && r.Offends():
			bad = append(bad, r)
		default:
			rows = append(rows, r)
		}
	}
	return append(foldRows(bad, fold, len(bad) <= mostUnfolded), foldRows(rows, fold, false)...)
}

// foldRows puts rows that are alike into groups; with apart, those alone that have neither
// figures nor a remark of their own.
func foldRows(rows []*DiffRow, fold, apart bool) []DiffGroup {
	var out []DiffGroup
	if !fold {
		for _, r := range rows {
			out = append(out, DiffGroup{r.Name(), []*DiffRow{r}})
		}
		return out
	}
	for _, g := range template.Fold(len(rows), func(i int) (string, string) {
		r := rows[i]
		own := ""
		if apart && (r.Figures != nil || r.Moved || r.SameBytesAs != nil || r.Renamed() || r.Mapped != r.NameA) {
			own = r.Name()
		}
		return r.Name(), fmt.Sprint(own, r.Status, r.DTypeA, r.DTypeB, r.ShapeA, r.ShapeB, r.Moved, r.SameBytesAs != nil, r.Rounded(), r.Layout, r.AsStored, r.Reordered, r.Reason)
	}) {
		group := DiffGroup{Name: g.Name}
		for _, i := range g.Members {
			group.Rows = append(group.Rows, rows[i])
		}
		out = append(out, group)
	}
	return out
}

// Remark says what the rows have in common beyond their figures; what was undone of
// their layout, too, where all is wanted.
func (g *DiffGroup) Remark(all bool) string {
	rows := g.Rows
	r := rows[0]
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch r.Rounded() {
	case EqualValues:
		add("equal values")
	case RoundedB:
		add("B is A rounded")
	case RoundedA:
		add("A is B rounded")
	}
	if r.Moved && len(rows) == 1 {
		add("holds A's %s", render.Escape(r.NameA))
	} else if r.Moved {
		add("hold other tensors of A")
	} else if r.Status == OnlyA && r.Mapped != r.NameA && len(rows) == 1 {
		add("A's %s", render.Escape(r.NameA))
	} else if r.Renamed() && r.Status != Same && r.Status != Agree && len(rows) == 1 {
		add("A's %s", render.Escape(r.NameA))
	}
	other := "A"
	if r.Status == OnlyA {
		other = "B"
	}
	if r.Reason != "" {
		// It says more.
	} else if r.SameBytesAs != nil && len(rows) == 1 {
		add("the same bytes as %s's %s", other, render.Escape(*r.SameBytesAs))
	} else if r.SameBytesAs != nil {
		add("the same bytes as other tensors of %s", other)
	}
	if r.Reason != "" {
		add("%s", r.Reason)
	}
	f := WorstFigures(rows)
	if f != nil && f.NaN > 0 {
		add("%s NaN on one side", render.Grouped(f.NaN))
	}
	switch {
	case f == nil || !r.Offends() || r.Status != DTypeChanged:
	case math.IsInf(f.MaxAbs, 0):
		add("infinite on one side")
	case f.Beyond > 0:
		add("%s beyond what rounding explains", render.Counted(f.Beyond, "number"))
	}
	if r.Reordered {
		add("the same numbers in another order")
	}
	if r.AsStored {
		add("the rows as they are stored: their layout was not converted")
	} else if r.ExpectedRMS != nil && r.Rounded() == "" {
		add("%s has an expected error of %.2g", r.DTypeB, *r.ExpectedRMS)
	}
	if len(r.Layout) > 0 && (all || r.Status != DTypeChanged) {
		add("%s undone", strings.Join(r.Layout, ", "))
	}
	return strings.Join(out, "; ")
}
