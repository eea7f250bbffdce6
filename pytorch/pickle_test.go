package pytorch

import (
	"fmt"
	"math/big"
	"testing"
)

// TestOperands carries out single opcodes. What they make is what pickle.loads of CPython 3.11
// makes of them.
func TestOperands(t *testing.T) {
	n := func(s string) *big.Int { n, _ := new(big.Int).SetString(s, 10); return n }
	for _, tst := range []struct {
		opcodes string
		want    Value // an error where it is one
	}{
		{`Va\u0041\U00000042` + "\xe9\n", "aABé"},
		{`V\\u0041\n` + "\n", `\\u0041\n`}, // an escape has an odd number of backslashes
		{`V\u12` + "\n", CodeOpcode},
		{`V\U00110000` + "\n", CodeOpcode},
		{`S'a\\b\'\n\x41\101\7\zq'` + "\n", "a\\b'\nAA\a\\zq"},
		{`S"it's"` + "\n", "it's"},
		{`S'a' ` + "\n", CodeOpcode},
		{`S'\x4'` + "\n", CodeOpcode},
		{"S'\xe9'\n", Bytes("\xe9")},
		{"I10\n", int64(10)},
		{"I-7\n", int64(-7)},
		{"I010\n", int64(8)},
		{"I0x10\n", int64(16)},
		{"I09\n", CodeOpcode},
		{"I01\n", true},
		{"I00\n", false},
		{"I99999999999999999999\n", n("99999999999999999999")},
		{"L-99999999999999999999L\n", n("-99999999999999999999")},
		{"L0L\n", int64(0)},
		{"L010L\n", CodeOpcode},
		{"F-1e-3\n", -0.001},
		{"F1_0\n", CodeOpcode},
		{"F0x1p4\n", CodeOpcode},
		{"F \n", CodeOpcode},
		{"\x8a\x00", int64(0)},
		{"\x8a\x01\xff", int64(-1)},
		{"\x8a\x02\xff\x00", int64(255)},
		{"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80", int64(-1 << 63)},
		{"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00", n("9223372036854775808")},
		{"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\xff", int64(-1)},
		{"\x8b\x01\x00\x00\x00\x07", int64(7)},
		{"J\xfe\xff\xff\xff", int64(-2)},
		{"M\xff\xff", int64(65535)},
		{"G\xbf\xf8\x00\x00\x00\x00\x00\x00", -1.5},
		{"\x80\x02c_codecs\nencode\nX\x03\x00\x00\x00\xc3\xa9aX\x06\x00\x00\x00latin1\x86R", Bytes("\xe9a")},
	} {
		data := []byte(tst.opcodes + ".")
		v, _, err := newMachine(&window{size: int64(len(data)), buf: data}).run(0)
		if flt, ok := err.(*Fault); ok {
			v = flt.Code
		}
		if fmt.Sprintf("%T %[1]v", v) != fmt.Sprintf("%T %[1]v", tst.want) {
			t.Errorf("%q: %T %[2]v, want %T %[3]v", tst.opcodes, v, tst.want)
		}
	}
}
