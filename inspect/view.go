package inspect

import (
	"iter"
	"slices"
	"sync"

	"github.com/wtinspect/wtinspect/checkpoint"
)

// A View is the tensors of a checkpoint: as they are, which the checkpoint itself
// is a view of, or what would be in their place.
type View interface {
	// Len returns the number of tensors.
	Len() int
	// At returns a tensor by its index in the view.
	At(i int) checkpoint.Tensor
	// All iterates over the tensors in the order of At.
	All() iter.Seq2[int, checkpoint.Tensor]
	// Lookup returns the index of the tensor of that name, the first of several.
	Lookup(name string) (int, bool)
}

// ViewOf returns a view of tensors that are in place of those of a checkpoint. It
// keeps the slice.
func ViewOf(tensors []checkpoint.Tensor) View {
	v := &tensorsView{tensors: tensors}
	v.names = sync.OnceValue(func() map[string]int {
		names := make(map[string]int, len(tensors))
		for i := range tensors {
			if _, again := names[tensors[i].Name]; !again {
				names[tensors[i].Name] = i
			}
		}
		return names
	})
	return v
}

type tensorsView struct {
	tensors []checkpoint.Tensor
	names   func() map[string]int
}

func (v *tensorsView) Len() int { return len(v.tensors) }

func (v *tensorsView) At(i int) checkpoint.Tensor { return v.tensors[i] }

func (v *tensorsView) All() iter.Seq2[int, checkpoint.Tensor] { return slices.All(v.tensors) }

func (v *tensorsView) Lookup(name string) (int, bool) {
	i, ok := v.names()[name]
	return i, ok
}
