package answer

import (
	"io"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// Lock prints the tensors of a lock, for people and for other programs than check.
func Lock(w io.Writer, lock *inspect.LockResult, o Options) error {
	if o.Format == render.JSON {
		return lock.Write(w)
	}
	return lockColumns.Table(func(yield func(lockedRow) bool) {
		for _, checkpoint := range lock.Checkpoints {
			for t := range pointers(checkpoint.Tensors) {
				if !yield(lockedRow{checkpoint.Path, t}) {
					return
				}
			}
		}
	}).Write(w, o.Format, o.Style)
}

// LockColumns describes the columns of [Lock].
func LockColumns(Options) []render.Column { return lockColumns.Heads() }

// A lockedRow is a tensor of a checkpoint.
type lockedRow struct {
	checkpoint string
	*inspect.LockedTensor
}

var lockColumns = render.Columns[lockedRow]{
	{Key: "checkpoint", Title: "CHECKPOINT", Cut: render.Whole, Cell: func(c *render.Cell, r lockedRow) { c.Text(r.checkpoint) }},
	{Key: "name", Title: "NAME", Cut: render.Whole, Cell: func(c *render.Cell, r lockedRow) { c.Text(r.Name) }},
	{Key: "dtype", Title: "DTYPE", Cell: func(c *render.Cell, r lockedRow) { c.Text(r.DType) }},
	{Key: "shape", Title: "SHAPE", Cell: func(c *render.Cell, r lockedRow) { c.Shape(r.Shape) }},
	{Key: "sha256", Title: "SHA256", Cell: func(c *render.Cell, r lockedRow) { c.Some(r.SHA256) }},
}
