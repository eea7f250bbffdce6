package convert

import "github.com/wtinspect/wtinspect/rename/tensorop"

// A Move says how some tensors of a checkpoint become others. Without
// operations it is a rename: one name, one new name, the same bytes.
type Move struct {
	From []string      `json:"from"`
	To   []string      `json:"to"`
	Ops  []tensorop.Op `json:"ops,omitempty"`
}

// MovesBytes reports whether names alone cannot carry the move out.
func (m *Move) MovesBytes() bool { return len(m.Ops) > 0 }

// A Dropped tensor has no place in the target.
type Dropped struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// A Conversion takes a checkpoint from one convention to another.
type Conversion struct {
	From    string    `json:"from"`
	To      string    `json:"to"`
	Moves   []Move    `json:"moves"`
	Dropped []Dropped `json:"dropped,omitempty"`
	// Unmapped are tensors that the source convention does not know. They keep
	// their names.
	Unmapped []string `json:"unmapped,omitempty"`
	// Missing are the roles that the target requires and nothing gives.
	Missing []string `json:"missing,omitempty"`
	// Notes say what a conversion of names and bytes leaves to do.
	Notes []string `json:"notes,omitempty"`
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

// A RefusalError says why a conversion cannot be derived.
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
