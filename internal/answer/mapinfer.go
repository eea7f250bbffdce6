package answer

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename/infer"
)

// InferMap prints the map that was found, and what it rests on.
func InferMap(w io.Writer, r *inspect.InferMapResult, o Options) error {
	if o.Format == render.JSON {
		d := render.NewDocument(w)
		d.Field("a", &r.A)
		d.Field("b", r.B)
		d.Field("complete", r.Complete)
		d.Field("refused", r.Refused)
		render.List(d, "rules", r.Rules)
		render.List(d, "questions", r.Questions)
		render.List(d, "contradictions", r.Contradictions)
		render.List(d, "missing", r.Missing)
		render.List(d, "extra", r.Extra)
		d.Field("read", r.Read)
		d.Field("sizes", r.Sizes)
		render.List(d, "assumed", r.Assumed)
		d.Field("map", r.Text)
		return d.Close()
	}
	if len(r.Rules) > 0 || o.Style.Columns != nil {
		t := inferColumns.Table(pointers(r.Rules))
		t.Headings = render.Always
		if err := t.Write(w, o.Format, o.Style); err != nil || o.Style.Columns != nil {
			return err
		}
	}
	return o.Style.Wrap(w, func(w io.Writer) error {
		for _, line := range InferNotes(r, o.Verbose) {
			if _, err := fmt.Fprintln(w, render.EscapeMessage(line)); err != nil {
				return err
			}
		}
		return nil
	})
}

// InferColumns describes the columns of [InferMap].
func InferColumns(Options) []render.Column { return inferColumns.Heads() }

var inferColumns = render.Columns[*inspect.InferredRule]{
	{Key: "from", Title: "NAME", Cut: render.Whole, Cell: func(c *render.Cell, r *inspect.InferredRule) { c.Text(strings.Join(r.From, " + ")) }},
	{Key: "tensors", Title: "COUNT", Right: true, Cell: func(c *render.Cell, r *inspect.InferredRule) { c.Text(fmt.Sprintf("x%d", r.Tensors)) }},
	{Key: "to", Title: "BECOMES", Cut: render.Whole, Cell: func(c *render.Cell, r *inspect.InferredRule) {
		switch {
		case r.Drop != nil:
			c.Text("(dropped: " + *r.Drop + ")")
			c.Color(render.Yellow)
		case len(r.Operations) > 0:
			c.Text(strings.Join(r.To, " + ") + " (" + strings.Join(r.Operations, ", ") + ")")
			c.Color(render.Cyan)
		default:
			c.Text(strings.Join(r.To, " + "))
			c.Color(render.Green)
		}
	}},
	{Key: "class", Title: "CLASS", Cell: func(c *render.Cell, r *inspect.InferredRule) {
		c.Text(string(r.Class))
		if r.Class == infer.Guess {
			c.Color(render.Yellow)
		}
	}},
	{Key: "confidence", Title: "SURE", Right: true, Cell: func(c *render.Cell, r *inspect.InferredRule) { c.Text(fmt.Sprintf("%.2f", r.Confidence)) }},
	{Key: "by", Title: "BY", Cut: render.Sentence, Cell: func(c *render.Cell, r *inspect.InferredRule) { c.Some(strings.Join(r.By, "; ")) }},
}

// InferNotes says in lines what is left for people to decide, and sums up.
func InferNotes(r *inspect.InferMapResult, verbose bool) []string {
	var lines []string
	if r.Refused != nil && !verbose {
		return []string{inferSummary(r)}
	}
	for i := range r.Questions {
		q := &r.Questions[i]
		lines = append(lines, "open: "+strings.Join(q.Between, ", "))
		if len(q.Best) > 0 {
			order := ", in this order"
			if len(q.Best) == 1 {
				order = ""
			}
			lines = append(lines, fmt.Sprintf("  likely %s%s (%.2f)", strings.Join(q.Best, ", "), order, q.Confidence))
		} else {
			lines = append(lines, "  may be "+strings.Join(q.And, ", "))
		}
		if len(q.Settle) > 0 {
			lines = append(lines, "  to answer: "+strings.Join(q.Settle, ", "))
		}
	}
	for _, c := range r.Contradictions {
		if c.Layers != nil {
			lines = append(lines, "contradiction: "+inferLayers(&c))
			continue
		}
		says := "is called " + c.Name + ", and has the weights of"
		switch {
		case c.Assumed:
			says = "is assumed to be " + c.Name + ", and by its weights is"
		case c.Name == c.From:
			says = "has the weights of"
		}
		lines = append(lines, fmt.Sprintf("contradiction: %s %s %s (%s)", c.From, says, c.Content, c.By))
	}
	without := "; add rules for them to the map, or they keep their names"
	switch {
	case len(r.Missing) == 0 && len(r.Extra) == 1:
		without = "; add a rule for it to the map, or it keeps its name"
	case len(r.Missing) > 0:
		without = "; --assume 'OLD=NEW' says what becomes one that is missing; what no rule takes keeps its name"
	}
	for _, left := range []struct {
		what      string
		templates []string
		then      string
	}{{"nothing becomes", r.Missing, ""}, {"there is no new name for", r.Extra, without}} {
		const most = 4
		list, more := left.templates, ""
		if len(list) > most+1 && !verbose {
			list, more = list[:most], fmt.Sprintf(" and %d more (-v shows all)", len(list)-most)
		}
		if len(list) > 0 {
			lines = append(lines, left.what+" "+strings.Join(list, ", ")+more+left.then)
		}
	}
	if r.Sizes != nil {
		lines = append(lines, "sizes: "+*r.Sizes)
	}
	return append(lines, inferSummary(r))
}

// inferLayers says in which layers weights are others than in the rest.
func inferLayers(c *inspect.Contradiction) string {
	const most = 8
	var list []string
	for _, l := range c.Layers[:min(most, len(c.Layers))] {
		list = append(list, strconv.Itoa(l))
	}
	if n := len(c.Layers) - most; n > 0 {
		list = append(list, fmt.Sprintf("and %d more", n))
	}
	weights := "those of " + c.Content + ", and in the others those of " + c.Name
	if c.Content == c.Name {
		weights = "those of other tensors of " + c.Name
	}
	if n := len(c.Also); n > 0 {
		const most = 3
		weights += ", and so it is with " + strings.Join(c.Also[:min(most, n)], ", ")
		if n > most {
			weights += fmt.Sprintf(" and %d more", n-most)
		}
	}
	return fmt.Sprintf("%s: its weights in %s %s are %s (%s)", c.From, plural.Noun(len(c.Layers), "layer"), strings.Join(list, ", "), weights, c.By)
}

func inferSummary(r *inspect.InferMapResult) string {
	tensors := 0
	count := make(map[infer.Class]int)
	for i := range r.Rules {
		tensors += r.Rules[i].Tensors
		count[r.Rules[i].Class]++
	}
	if r.Refused != nil {
		return "there is no map: " + *r.Refused
	}
	if len(r.Rules)+len(r.Questions)+len(r.Extra)+len(r.Missing) == 0 {
		read := inferRead(r)
		if r.Read == nil || *r.Read == 0 {
			read = "; this goes by names alone"
			if r.Goal != "" {
				read += ", and --ref WEIGHTS compares weights"
			}
		}
		return "the names are the same already: no rule is needed" + read
	}
	s := "no rule for any of " + render.Counted(r.A.Tensors, "tensor")
	if len(r.Rules) > 0 {
		s = fmt.Sprintf("%s for %s of %s", render.Counted(len(r.Rules), "rule"), render.Grouped(uint64(tensors)), render.Counted(r.A.Tensors, "tensor"))
	}
	var classes []string
	for _, class := range []infer.Class{infer.Proven, infer.Measured, infer.Forced, infer.Named, infer.Guess} {
		if n := count[class]; n > 0 {
			classes = append(classes, fmt.Sprintf("%d %s", n, class))
		}
	}
	if len(classes) > 0 {
		s += ": " + strings.Join(classes, ", ")
	}
	for _, left := range []struct {
		n          int
		what, more string
	}{{len(r.Questions), "question", "open"}, {len(r.Contradictions), "contradiction", "found"}} {
		if left.n > 0 {
			s += fmt.Sprintf("; %s %s", render.Counted(left.n, left.what), left.more)
		}
	}
	s += inferRead(r)
	for _, a := range r.Assumed {
		s += "; assumed: " + a
	}
	return s
}

// inferRead says how much of the weights was read, and where they are of no use.
func inferRead(r *inspect.InferMapResult) string {
	if r.Read == nil || *r.Read == 0 {
		return "; no weights read"
	}
	s := fmt.Sprintf("; %s of weights read", render.Size(uint64(*r.Read)))
	if r.Unrelated {
		s += ", none of them alike"
	}
	return s
}
