package compare

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// Metadata are compared by value, whatever the byte order, and told as text.
func TestMetadata(t *testing.T) {
	const same = "kv s str same\nkv u u64 18446744073709551615\nkv i i8 -3\nkv f f32 1.5\nkv b bool true\nkv l [str] a b c\nkv n [f64] 1 2\n"
	long := strings.Repeat("x", 300)
	a := "format gguf\n" + same + "kv t u32 1\nkv v i16 -1\nkv w [i32] 1 2\nkv x [i32] 1 2\nkv y str " + long + "\nkv gone f64 0.5\ntensor w F32 [1]\n"
	b := "format gguf\norder big\n" + same + "kv t u64 1\nkv v i16 -2\nkv w [i32] 1 3\nkv x [i64] 1 2\nkv y bool false\nkv new str z\ntensor w F32 [1] hex=" + "00000000\n"
	a = strings.Replace(a, "tensor w F32 [1]", "tensor w F32 [1] values=0", 1)
	want := []Change{
		{Key: "t", InA: true, InB: true, A: "1 (u32)", B: "1 (u64)"},
		{Key: "v", InA: true, InB: true, A: "-1", B: "-2"},
		{Key: "w", InA: true, InB: true, A: "2 × i32, [1] is 2", B: "2 × i32, [1] is 3"},
		{Key: "x", InA: true, InB: true, A: "2 × i32", B: "2 × i64"},
		{Key: "y", InA: true, InB: true, A: long[:longText] + "… (300 bytes)", B: "false"},
		{Key: "gone", InA: true, A: "0.5"},
		{Key: "new", InB: true, B: "z"},
	}
	res := compareTexts(t, a, b, Options{})
	if d := cmp.Diff(want, res.Metadata); d != "" {
		t.Error(d)
	}
	if res.Rows[0].Status != Same {
		t.Errorf("%+v", res.Rows[0])
	}
	if res = compareTexts(t, a, b, Options{WeightsOnly: true}); res.Verdict.differs() || res.MetadataCompared {
		t.Errorf("weights only: %+v", res)
	}
}

func TestConfig(t *testing.T) {
	tests := []struct {
		name, a, b string // "" is no file
		want       []Change
	}{
		{"none", "", "", nil},
		{"spacing and order", `{"a":[1,{"b":2}],"c":NaN}`, "{\n \"c\" : NaN,\n \"a\" : [ 1, {\"b\": 2} ]}", nil},
		{"only A", `{}`, "", []Change{{InA: true}}},
		{"only B", "", `{}`, []Change{{InB: true}}},
		{
			"members", `{"same":1,"n":null,"o":{"p":{"q":1},"r":2},"k":1,"gone":[]}`, `{"same":1,"n":0,"o":{"p":{"q":1.0},"r":{}},"k":1,"new":"x"}`,
			[]Change{
				{Key: "/n", InA: true, InB: true, A: "null", B: "0"},
				{Key: "/o/p/q", InA: true, InB: true, A: "1", B: "1.0"},
				{Key: "/o/r", InA: true, InB: true, A: "2", B: "{}"},
				{Key: "/gone", InA: true, A: "[]"},
				{Key: "/new", InB: true, B: `"x"`},
			},
		},
	}
	for _, tt := range tests {
		dirs := make([]string, 2)
		for i, text := range []string{tt.a, tt.b} {
			dirs[i] = filepath.Dir(fixture.File(t, "model.safetensors", "tensor w F32 [1] values=1"))
			if text == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dirs[i], "config.json"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		res, err := Compare(t.Context(), open(t, dirs[0]), open(t, dirs[1]), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tt.want, res.Config); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
		if res.Verdict.differs() != (len(tt.want) > 0) {
			t.Errorf("%s: differs: %v", tt.name, res.Verdict.differs())
		}
	}
}
