package pytorch

import (
	"math"
	"math/big"
	"strings"
	"testing"
)

// TestRepr compares with what repr of Python 3.11 returns, apart from the quotes, which here are
// always double ones.
func TestRepr(t *testing.T) {
	deep := Value(&List{Type: "list"})
	for range 5 {
		deep = &List{Type: "list", Items: []Value{deep}}
	}
	list := func(typ string, items ...Value) *List { return &List{Type: typ, Items: items} }
	circle := list("list")
	circle.Items = []Value{circle, circle}
	nine := list("list", int64(1), int64(2), int64(3), int64(4), int64(5), int64(6), int64(7), int64(8), int64(9))
	namespace := &Object{Class: &Global{Module: "argparse", Name: "Namespace"}, State: &Dict{Items: []Item{{"width", int64(4)}}}}
	for _, test := range []struct {
		v            Value
		short, whole string // the same where whole is ""
	}{
		{nil, "None", ""},
		{true, "True", ""},
		{int64(-3), "-3", ""},
		{new(big.Int).Lsh(big.NewInt(1), 70), "1180591620717411303424", ""},
		{3.0, "3.0", ""},
		{0.1, "0.1", ""},
		{1e-5, "1e-05", ""},
		{0.0001, "0.0001", ""},
		{1e15, "1000000000000000.0", ""},
		{1e16, "1e+16", ""},
		{-1.5e300, "-1.5e+300", ""},
		{math.Copysign(0, -1), "-0.0", ""},
		{math.Inf(1), "inf", ""},
		{math.Inf(-1), "-inf", ""},
		{math.NaN(), "nan", ""},
		{Bytes("\x00a"), `b"\x00a"`, ""},
		{list("list", int64(1), "a"), `[1, "a"]`, ""},
		{list("tuple", int64(1)), "(1,)", ""},
		{list("tuple"), "()", ""},
		{list("set"), "set()", ""},
		{list("set", int64(1)), "{1}", ""},
		{list("frozenset", int64(1)), "frozenset({1})", ""},
		{&Dict{}, "{}", ""},
		{&Dict{Items: []Item{{"a", 1e-3}, {int64(2), list("list")}}}, `{"a": 0.001, 2: []}`, ""},
		{nine, "list of 9", "[1, 2, 3, 4, 5, 6, 7, 8, 9]"},
		{deep, "[[[list of 1]]]", "[[[[[[]]]]]]"},
		{namespace, "<argparse.Namespace>", `<argparse.Namespace {"width": 4}>`},
		{strings.Repeat("x", 150), `"` + strings.Repeat("x", 100) + `"…`, `"` + strings.Repeat("x", 150) + `"`},
		{circle, "[[[list of 2, list of 2], [list of 2, list of 2]], [[list of 2, list of 2], [list of 2, list of 2]]]", strings.Repeat("[", 100) + "list of 2, list of 2], [list of 2"},
	} {
		whole := test.whole
		if whole == "" {
			whole = test.short
		}
		if got := Repr(test.v, 0); got != test.short {
			t.Errorf("%s, want %s", got, test.short)
		}
		if got := Repr(test.v, 1000); got != whole && !(test.v == Value(circle) && strings.HasPrefix(got, whole)) {
			t.Errorf("%s, want %s", got, whole)
		}
	}
}
