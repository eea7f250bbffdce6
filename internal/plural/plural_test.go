package plural

import "testing"

func TestOf(t *testing.T) {
	for noun, want := range map[string]string{
		"tensor": "tensors", "entry": "entries", "key": "keys", "fix": "fixes", "match": "matches",
		"bias": "biases", "matrix": "matrices", "more error": "more errors",
	} {
		if got := Of(2, noun); got != "2 "+want {
			t.Errorf("%q, want %q", got, "2 "+want)
		}
		if got := Of(uint64(1), noun); got != "1 "+noun {
			t.Errorf("%q, want %q", got, "1 "+noun)
		}
	}
	for verb, want := range map[string]string{"follow": "follows", "are": "is", "have": "has"} {
		if one, two := Verb(1, verb), Verb(0, verb); one != want || two != verb {
			t.Errorf("%s: %q and %q", verb, one, two)
		}
	}
}
