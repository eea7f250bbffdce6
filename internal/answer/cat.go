package answer

import (
	"io"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// CatJSON prints numbers as a JSON document, however many there are.
func CatJSON(w io.Writer, r *inspect.CatResult) error {
	d := render.NewDocument(w)
	d.Field("checkpoints", r.Checkpoints)
	render.List(d, "tensors", r.Tensors)
	render.Each(d, "faults", r.Faults)
	return d.Close()
}

// CatText prints each tensor's numbers under its name, as NumPy prints arrays.
func CatText(w io.Writer, r *inspect.CatResult, s render.Style) error {
	first := true
	for t := range pointers(r.Tensors) {
		if t.Err != nil {
			continue
		}
		numbers, err := t.Numbers()
		if err != nil {
			return err
		}
		var b strings.Builder
		if !first {
			b.WriteByte('\n')
		}
		first = false
		b.WriteString(s.Paint(render.Bold, catHeading(t)) + "\n")
		writeArray(&b, t, numbers, s.Width)
		b.WriteByte('\n')
		if _, err := io.WriteString(w, b.String()); err != nil {
			return err
		}
	}
	return nil
}

// catHeading is a tensor's name with the slice, its type, its shape, and what its numbers take
// besides.
func catHeading(t *inspect.CatTensor) string {
	name, shape := render.Escape(t.Name), ShapeText(t.Shape)
	if t.Slice != nil {
		name += "[" + t.Slice.String() + "]"
		shape = ShapeText(t.ValuesShape) + " of " + shape
	}
	dtype := t.DType
	if t.ValuesDType != t.DType {
		dtype += " as " + t.ValuesDType
	}
	heading := name + "  " + render.Escape(dtype) + "  " + shape
	if len(t.Beside) > 0 {
		heading += "  as stored, without " + render.Escape(strings.Join(t.Beside, ", "))
	}
	return heading
}
