package convert

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/adapter"
)

// Rival finds a convention that fits names as well as the first of some does, and by
// which the same tensors would become others: names alone do not tell whether the rows of
// a query projection are to be permuted, since Qwen2 has the names of LLaMA. out and err
// are what conversion from the first gives, and as converts from another. It is nil where
// the configuration says which model it is, or where no other makes a difference.
func Rival(out *Conversion, err error, tied []*convention.Convention, model *convention.Model, as func(*convention.Convention) (*Conversion, error)) *convention.Convention {
	if len(tied) < 2 || configured(tied[0], model) {
		return nil
	}
	needs, ok := outcome(out, err)
	if !ok {
		return nil
	}
	for _, c := range tied[1:] {
		if c.Kind != tied[0].Kind {
			continue
		}
		other, err := as(c)
		otherNeeds, ok := outcome(other, err)
		if ok && (needs != otherNeeds || needs == "" && !sameMoves(out.Moves, other.Moves)) {
			return c
		}
	}
	return nil
}

// outcome is the number of the model that a conversion fails for the want of, and whether it
// fails for nothing else.
func outcome(out *Conversion, err error) (needs string, ok bool) {
	if err == nil {
		err = out.Refusal()
	}
	if refusal, is := errors.AsType[*RefusalError](err); is {
		return refusal.Needs, refusal.Needs != ""
	}
	return "", err == nil
}

// configured reports whether the configuration says that the model is of a convention.
func configured(c *convention.Convention, m *convention.Model) bool {
	if m == nil || c.HasFamily(m.Type) || c.HasFamily(m.TextType) {
		return m != nil
	}
	of, ok := convention.Lookup(m.Architecture + "-gguf")
	return ok && (c == of || slices.ContainsFunc(of.Families, c.HasFamily))
}

// sameMoves reports whether moves give the same tensors.
func sameMoves(a, b []Move) bool {
	if len(a) != len(b) {
		return false
	}
	by := make(map[string]*Move, len(a))
	for i := range a {
		by[a[i].From[0]] = &a[i]
	}
	return !slices.ContainsFunc(b, func(m Move) bool {
		other := by[m.From[0]]
		return other == nil || !slices.Equal(other.From, m.From) || !slices.Equal(other.To, m.To) ||
			len(other.Ops) != len(m.Ops) || len(m.Ops) > 0 && !reflect.DeepEqual(other.Ops, m.Ops)
	})
}

// likeliest are those of some conventions that are of the model that an adapter says it
// is for, or all of them where it names none of theirs, or one that is of none of them
// besides: DeepSeek-R1-Distill-Qwen-7B is no DeepSeek.
func likeliest(tied []*convention.Convention, s *adapter.Settings) []*convention.Convention {
	if s == nil || s.Base == "" || len(tied) == 0 {
		return tied
	}
	var named []string
	for _, c := range convention.All() {
		if c.Kind != tied[0].Kind {
			continue
		}
		for _, f := range c.Families {
			if !slices.Contains(named, f) && names(s.Base, f) {
				named = append(named, f)
			}
		}
	}
	// Qwen2 is Qwen by its name only.
	named = slices.DeleteFunc(slices.Clone(named), func(f string) bool {
		return slices.ContainsFunc(named, func(g string) bool { return len(g) > len(f) && strings.HasPrefix(g, f) })
	})
	var out []*convention.Convention
	for _, f := range named {
		known := false
		for _, c := range tied {
			if c.HasFamily(f) {
				if known = true; !slices.Contains(out, c) {
					out = append(out, c)
				}
			}
		}
		if !known {
			return tied
		}
	}
	if len(out) == 0 {
		return tied
	}
	slices.SortStableFunc(out, func(x, y *convention.Convention) int { return slices.Index(tied, x) - slices.Index(tied, y) })
	return out
}

// names reports whether the name of a model has the words of a family in it, whatever is
// between them: meta-llama/Llama-2-7b and TinyLlama name llama, Qwen2.5 names qwen2, and
// mistralai does not name mistral.
func names(model, family string) bool {
	text, word := []rune(model), []rune(family)
	letter := func(i int) bool { return i >= 0 && i < len(text) && unicode.IsLetter(text[i]) }
	digit := func(i int) bool { return i >= 0 && i < len(text) && unicode.IsDigit(text[i]) }
	for start := range text {
		if letter(start-1) && !(unicode.IsLower(text[start-1]) && unicode.IsUpper(text[start])) {
			continue
		}
		at, k := start, 0
		for at < len(text) && k < len(word) {
			switch {
			case unicode.ToLower(text[at]) == unicode.ToLower(word[k]):
				at, k = at+1, k+1
			case !unicode.IsLetter(word[k]) && !unicode.IsDigit(word[k]):
				k++
			case at > start && !letter(at) && !digit(at):
				at++
			default:
				at = len(text) + 1
			}
		}
		if k == len(word) && at <= len(text) && !(digit(at-1) && digit(at)) && !(letter(at-1) && letter(at) && !unicode.IsUpper(text[at])) {
			return true
		}
	}
	return false
}
