package inspect

import (
	"encoding/json"
	"math"
	"math/big"
	"testing"

	"github.com/wtinspect/wtinspect/pytorch"
)

// TestPythonJSON writes values of pickles as what they are, short and whole.
func TestPythonJSON(t *testing.T) {
	list := func(typ string, items ...pytorch.Value) *pytorch.List { return &pytorch.List{Type: typ, Items: items} }
	long := list("tuple")
	for i := range 17 {
		long.Items = append(long.Items, int64(i))
	}
	class := &pytorch.Global{Module: "argparse", Name: "Namespace"}
	circle := list("list")
	circle.Items = []pytorch.Value{circle}
	wide := pytorch.Value("x")
	for range 30 { // 2^30 values, which are few in the file
		wide = list("list", wide, wide)
	}
	for _, test := range []struct {
		v                 pytorch.Value
		typ, short, whole string // whole is "" where it is the same
	}{
		{nil, "NoneType", "null", ""},
		{true, "bool", "true", ""},
		{int64(840), "int", "840", ""},
		{new(big.Int).Lsh(big.NewInt(1), 70), "int", "1180591620717411303424", ""},
		{new(big.Int).Lsh(big.NewInt(1), 5000), "int", `"an integer of 5001 bits"`, ""},
		{3.0, "float", "3.0", ""},
		{1e-5, "float", "1e-05", ""},
		{math.Inf(-1), "float", `"-inf"`, ""},
		{"a\"b", "str", `"a\"b"`, ""},
		{pytorch.Bytes("\xff"), "bytes", `"b\"\\xff\""`, ""},
		{list("set", int64(1), "a"), "set", `[1,"a"]`, ""},
		{long, "tuple", `{"type":"tuple","count":17,"first":[0,1,2]}`, "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]"},
		{&pytorch.Dict{Items: []pytorch.Item{{Key: "a", Value: list("list")}, {Key: int64(2), Value: &pytorch.Dict{}}}}, "dict", `{"a":[],"2":{}}`, ""},
		{&pytorch.Object{Class: class}, "argparse.Namespace", `{"class":"argparse.Namespace"}`, ""},
		{
			&pytorch.Object{
				Class: class, Args: list("tuple", int64(1)), State: &pytorch.Dict{Items: []pytorch.Item{{Key: "lr", Value: 0.5}}},
				Items: []pytorch.Value{"x"}, Dict: []pytorch.Item{{Key: "k", Value: nil}},
			},
			"argparse.Namespace", `{"class":"argparse.Namespace","args":[1],"state":{"lr":0.5},"items":["x"],"dict":{"k":null}}`, "",
		},
		{class, "type", `"argparse.Namespace"`, ""},
		{&pytorch.Storage{Key: "7"}, "object", `"storage \"7\""`, ""},
		{circle, "list", `"[[[list of 1]]]"`, ""},
		{wide, "list", `"[[[list of 2, list of 2], [list of 2, list of 2]], [[list of 2, list of 2], [list of 2, list of 2]]]"`, ""},
	} {
		if typ := pythonType(test.v); typ != test.typ {
			t.Errorf("type %s, want %s", typ, test.typ)
		}
		short, whole := string(appendPythonJSON(nil, test.v, false)), string(appendPythonJSON(nil, test.v, true))
		want := test.whole
		if want == "" {
			want = test.short
		}
		if short != test.short || whole != want || !json.Valid([]byte(short)) || !json.Valid([]byte(whole)) {
			t.Errorf("%s and %.200s, want %s and %s", short, whole, test.short, want)
		}
	}
}
