package convert

import (
	"slices"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// A Move says how some tensors of a checkpoint become others. Without
// operations it is a rename: one name, one new name, the same bytes.
type Move struct {
	From []string      `json:"from"`
	To   []string      `json:"to"`
	Ops  []tensorop.Op `json:"ops,omitempty"`
}

// DType is the dtype of what the move makes of tensors of a dtype.
func (m *Move) DType(from string) string {
	for i := range m.Ops {
		if m.Ops[i].Kind == tensorop.Cast {
			from = m.Ops[i].To
		}
	}
	return from
}

// MovesBytes reports whether names alone cannot carry the move out.
func (m *Move) MovesBytes() bool { return len(m.Ops) > 0 }

// Constant reports whether the k-th tensor that the move makes is one of given
// numbers, in F32, and not made of the move's tensors.
func (m *Move) Constant(k int) bool {
	made := make([]bool, len(m.From))
	for i := range m.Ops {
		o := &m.Ops[i]
		results := slices.Repeat(made[o.Index:o.Index+1], o.Results())
		if o.Kind == tensorop.Create {
			results[1] = true
		}
		made = slices.Replace(made, o.Index, o.Index+o.Count, results...)
	}
	return k < len(made) && made[k]
}

// A Dropped tensor has no place in the target, and nothing is lost without it.
type Dropped struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// An Aside is a tensor that the source convention knows and that does not become
// one of the target: the target has none of its role, or its bytes cannot be
// brought into the target's form.
type Aside struct {
	Name   string `json:"name"`
	Role   string `json:"role"`
	Reason string `json:"reason"`
	// Needs is the configuration key with which it could be converted.
	Needs string `json:"needs,omitempty"`
	// Blocks is set when the target has tensors of that role. A model without
	// this one, or with its old name, is not whole.
	Blocks bool `json:"blocks,omitempty"`
}

// A Conversion takes a checkpoint from one convention to another. Each tensor is
// in one of Moves, Dropped, Aside and Unmapped.
type Conversion struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Dialect and Modules are, of an adapter, the spelling that it gets, and the
	// convention whose names its modules get, "" when that is not known.
	Dialect string    `json:"dialect,omitempty"`
	Modules string    `json:"modules,omitempty"`
	Moves   []Move    `json:"moves"`
	Dropped []Dropped `json:"dropped,omitempty"`
	Aside   []Aside   `json:"aside,omitempty"`
	// Unmapped are tensors that the source convention does not know. They and those
	// aside keep their names.
	Unmapped []string `json:"unmapped,omitempty"`
	// Missing are the roles that the target requires and nothing gives.
	Missing []string `json:"missing,omitempty"`
	// Notes say what a conversion of names and bytes leaves to do.
	Notes []string `json:"notes,omitempty"`

	// Head is the dropped head that is the token embedding, by what the target's project takes for granted,
	// and Embedding that; both are "" where no head is dropped.
	Head      string `json:"-"`
	Embedding string `json:"-"`

	wide string // which of the notes says what stays F32
	// alpha is adapter.lora.alpha of an adapter in a GGUF file, and keyed which of the notes says it.
	alpha float64
	keyed string
}

// Alpha is what adapter.lora.alpha of a GGUF file has to be for an adapter, if it has to be anything, and takes back
// the note that says so: the caller writes it.
func (c *Conversion) Alpha() (alpha float64, ok bool) {
	c.Notes = slices.DeleteFunc(c.Notes, func(note string) bool { return note == c.keyed })
	return c.alpha, c.keyed != ""
}

// Refusal says why the conversion makes no whole model of the target: a tensor
// is aside for which the target has a place. Others may be dropped, or keep their
// names.
func (c *Conversion) Refusal() error {
	for i := range c.Aside {
		if a := &c.Aside[i]; a.Blocks {
			return &RefusalError{From: c.From, To: c.To, Tensor: a.Name, Reason: a.Reason, Needs: a.Needs}
		}
	}
	return nil
}

// Unknown lists the tensors that do not become any of the target: those aside, and
// those that the source convention does not know.
func (c *Conversion) Unknown() []Aside {
	list := slices.Clone(c.Aside)
	for _, name := range c.Unmapped {
		list = append(list, Aside{Name: name, Reason: c.From + " does not know it"})
	}
	return list
}

// DropUnknown drops what is unknown, with its reason, instead of keeping its names.
func (c *Conversion) DropUnknown() {
	for _, a := range c.Unknown() {
		c.Dropped = append(c.Dropped, Dropped{a.Name, a.Reason})
	}
	c.Aside, c.Unmapped = nil, nil
}

// SameProject reports whether one project spells both conventions. What neither
// knows has its right name already: a tower beside the language model that is
// renamed.
func (c *Conversion) SameProject() bool {
	from, ok1 := convention.Lookup(c.From)
	to, ok2 := convention.Lookup(c.To)
	return ok1 && ok2 && slices.ContainsFunc(from.Dialects, to.HasDialect)
}

// MovesBytes reports whether some move does.
func (c *Conversion) MovesBytes() bool {
	for i := range c.Moves {
		if c.Moves[i].MovesBytes() {
			return true
		}
	}
	return false
}

// A RefusalError says why a conversion is not possible.
type RefusalError struct {
	From, To string
	// Tensor is the name at which it failed, "" when it is the whole.
	Tensor string
	Reason string
	// Needs is the configuration key that would help, "num_attention_heads".
	Needs string
}

func (e *RefusalError) Error() string {
	s := e.From + " to " + e.To + ": "
	if e.Tensor != "" {
		s += "tensor " + quote(e.Tensor) + ": "
	}
	s += e.Reason
	if e.Needs != "" {
		s += "; give " + e.Needs + " with the configuration"
	}
	return s
}
