package check

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/rename"
)

// A Fix is what can be done about the findings of a rule that are fixable.
// Package fix does it; what belongs to the rule alone, as the right name of a
// tensor, is said here.
type Fix struct {
	Kind FixKind
	// Doc says what it does: "drops the buffers".
	Doc string

	// Of a fix that concerns names: clean returns a name without what the rule
	// finds in it, and translate the name that a clean one has elsewhere. drop
	// says why a tensor has no place here, "" where it has one.
	clean     func(m *model, name string) string
	translate func(m *model, name string) string
	drop      func(m *model, name string) (because string)
	// refuse says why the findings of one checkpoint are left alone, "" when
	// they need not be.
	refuse func(ctx context.Context, m *model) (reason string, err error)
}

// A FixKind is a way to change files. The fixes of one kind that a checkpoint
// needs are one change.
type FixKind uint8

const (
	// FixPadding writes spaces over the padding of a header.
	FixPadding FixKind = iota + 1
	// FixAside moves files out of the loaders' sight.
	FixAside
	// FixNames renames and drops tensors.
	FixNames
	// FixFormat sets the metadata key format.
	FixFormat
	// FixTotals writes the totals of an index.
	FixTotals
	// FixIndex writes an index, its totals included.
	FixIndex
)

var (
	rebuildIndex = &Fix{Kind: FixIndex, Doc: "rebuilds the index from the shards"}
	dropBuffers  = &Fix{
		Kind: FixNames, Doc: "drops the buffers",
		drop: func(_ *model, name string) string {
			if isBuffer(name) {
				return "a buffer, which follows from the configuration"
			}
			return ""
		},
	}
	dropHead = &Fix{
		Kind: FixNames, Doc: "drops the head when its bytes are those of the embedding",
		drop: func(m *model, name string) string {
			if head, _, ok := m.one("head.weight"); ok && head.Name == name {
				return "its bytes are those of the embedding, which the configuration ties it to"
			}
			return ""
		},
		refuse: func(ctx context.Context, m *model) (string, error) { return m.differentHead(ctx) },
	}
)

// Partial reports whether files of the set that a checkpoint of the release
// belongs to are missing, broken, or not part of it.
func (r *Report) Partial(c *checkpoint.Checkpoint) bool { return r.model(c).partial() }

func (r *Report) model(c *checkpoint.Checkpoint) *model {
	return r.models[slices.IndexFunc(r.models, func(m *model) bool { return m.Checkpoint == c })]
}

// Refused says why a fix leaves the findings at a checkpoint alone, "" when it
// does not. It may read data.
func (r *Report) Refused(ctx context.Context, c *checkpoint.Checkpoint, f *Fix) (reason string, err error) {
	if f.refuse == nil {
		return "", nil
	}
	return f.refuse(ctx, r.model(c))
}

// Names returns what several fixes make of the names of a checkpoint.
func (r *Report) Names(c *checkpoint.Checkpoint, fixes []*Fix) *rename.Map {
	m := r.model(c)
	table := &rename.Map{Description: "what fix renames and drops"}
	for _, t := range m.All() {
		because := ""
		for _, f := range fixes {
			if f.drop != nil && because == "" {
				because = f.drop(m, t.Name)
			}
		}
		if because != "" {
			table.Rules = append(table.Rules, rename.DropRule(t.Name, because))
			continue
		}
		name := t.Name
		for _, f := range fixes {
			if f.clean != nil {
				name = f.clean(m, name)
			}
		}
		for _, f := range fixes {
			if f.translate != nil {
				name = f.translate(m, name)
			}
		}
		if name != t.Name {
			table.Rules = append(table.Rules, rename.ExactRule(t.Name, name))
		}
	}
	return table
}

// nearest returns the name that a tensor of a near miss has in the nearest
// convention.
func (m *model) nearest(name string) string {
	n := m.names()
	if to, ok := n.target(); ok {
		if near, ok := n.nearName(to, name); ok {
			return near
		}
	}
	return name
}

// differentHead compares the output head with the embedding, byte by byte, and
// says why the head is not to be dropped.
func (m *model) differentHead(ctx context.Context) (reason string, err error) {
	embed, e, ok := m.one("embed.tokens.weight")
	head, h, okHead := m.one("head.weight")
	switch {
	case !ok || !okHead:
		return "the head or the embedding is packed, so that their bytes cannot be compared", nil
	case head.DType != embed.DType || !slices.Equal(head.Shape, embed.Shape):
		return fmt.Sprintf("%s %s %s is not %s %s %s; tie_word_embeddings is wrong, or the head", head.Name, head.DType, shapeText(head.Shape), embed.Name, embed.DType, shapeText(embed.Shape)), nil
	}
	a, err := m.Data(e)
	if err != nil {
		return "", err
	}
	b, err := m.Data(h)
	if err != nil {
		return "", err
	}
	same, err := equalBytes(ctx, a, b)
	if err != nil || same {
		return "", err
	}
	return fmt.Sprintf("the bytes of %s are not those of %s: the model uses one or the other, which only its authors know", head.Name, embed.Name), nil
}

func equalBytes(ctx context.Context, a, b io.Reader) (bool, error) {
	const block = 1 << 20
	x, y := make([]byte, block), make([]byte, block)
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, errA := io.ReadFull(a, x)
		k, errB := io.ReadFull(b, y)
		if n != k || !bytes.Equal(x[:n], y[:k]) {
			return false, nil
		}
		switch {
		case errA == io.EOF || errA == io.ErrUnexpectedEOF:
			return true, nil
		case errA != nil:
			return false, errA
		case errB != nil:
			return false, errB
		}
	}
}
