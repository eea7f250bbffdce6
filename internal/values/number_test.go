package values

import (
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"
)

// codesOf lists every element of a type of at most 16 bits, with -short some of them.
func codesOf(t *Type) [][]byte {
	var out [][]byte
	for c := range 1 << (8 * t.BlockBytes) {
		if testing.Short() && t.BlockBytes == 2 && c%17 > 0 {
			continue
		}
		b := []byte{byte(c), byte(c >> 8)}
		out = append(out, b[:t.BlockBytes])
	}
	return out
}

// The digits of F16 and BF16 are read back as the number, no fewer are, and of as many
// none are nearer. Decimals are rounded as fractions, by the definition of the types.
func TestDigitsAreShortest(t *testing.T) {
	for _, of := range []struct {
		name                     string
		mant, least, leastStored int // bits behind the point, exponents of the least normal and of the last bit of all
	}{{"F16", 10, -14, -24}, {"BF16", 7, -126, -133}} {
		typ, _ := Lookup(of.name)
		for _, code := range codesOf(typ) {
			values, texts := typ.Digits(code)
			v, digits := values[0], texts[0]
			if v-v != 0 || v == 0 {
				continue
			}
			_, e := math.Frexp(v)
			last := max(e-1, of.least) - of.mant
			below := math.Ldexp(1, last-1) // half of a step
			if m, _ := math.Frexp(math.Abs(v)); m == 0.5 && last > of.leastStored {
				below /= 2
			}
			even := int(math.Abs(math.Ldexp(v, -last)))%2 == 0
			lo := new(big.Rat).SetFloat64(math.Abs(v) - below)
			hi := new(big.Rat).SetFloat64(math.Abs(v) + math.Ldexp(1, last-1))
			inside := func(r *big.Rat) bool {
				a, b := r.Cmp(lo), r.Cmp(hi)
				return a > 0 && b < 0 || even && (a == 0 || b == 0)
			}
			got, ok := new(big.Rat).SetString(strings.TrimPrefix(digits, "-"))
			if !ok || strings.HasPrefix(digits, "-") != math.Signbit(v) || !inside(got) {
				t.Fatalf("%s %x: %s is not read back as %g", of.name, code, digits, v)
			}
			exact := new(big.Rat).SetFloat64(math.Abs(v))
			mantissa, power, _ := strings.Cut(digits, "e")
			n := len(strings.TrimPrefix(strings.Replace(mantissa, ".", "", 1), "-"))
			p, _ := strconv.Atoi(power)
			unit := func(n int) *big.Rat { // of the last of n digits
				u, _ := new(big.Rat).SetString("1e" + strconv.Itoa(p-n+1))
				return u
			}
			if n > 1 {
				u := unit(n - 1)
				down := new(big.Int).Quo(new(big.Rat).Quo(exact, u).Num(), new(big.Rat).Quo(exact, u).Denom())
				for k := range int64(2) {
					c := new(big.Rat).Mul(new(big.Rat).SetInt(new(big.Int).Add(down, big.NewInt(k))), u)
					if inside(c) {
						t.Fatalf("%s %x: %s has more digits than %s", of.name, code, digits, c.FloatString(40))
					}
				}
			}
			off := new(big.Rat).Sub(got, exact)
			for _, k := range []int64{-1, 1} {
				c := new(big.Rat).Add(got, new(big.Rat).Mul(unit(n), big.NewRat(k, 1)))
				if d := new(big.Rat).Sub(c, exact); inside(c) && d.Abs(d).Cmp(new(big.Rat).Abs(off)) < 0 {
					t.Fatalf("%s %x: %s is farther off than %s", of.name, code, digits, c.FloatString(40))
				}
			}
		}
	}
}

func TestDigits(t *testing.T) {
	for _, tt := range []struct{ name, bytes, want string }{
		{"F16", "\x01\x00", "6e-08"}, // as numpy.float16 prints it
		{"F16", "\xff\x7b", "6.55e+04"},
		{"F16", "\x00\x80", "-0e+00"},
		{"BF16", "\xcd\x3d", "1e-01"},
		{"F32", "\xcd\xcc\xcc\x3d", "1e-01"},
		{"F32", "\x00\x00\xc0\x7f", "NaN"},
		{"F64", "\x00\x00\x00\x00\x00\x00\xf0\xff", "-Inf"},
		{"F8_E4M3", "\x7e", "4.48e+02"},
		{"F8_E8M0", "\x00", "5.877472e-39"},
		{"I64", "\xff\xff\xff\xff\xff\xff\xdf\xff", "-9007199254740993"},
		{"U64", "\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"},
		{"I8", "\x80", "-128"},
		{"U8", "\x80", "128"},
		{"I16", "\x00\x80", "-32768"},
		{"U16", "\x00\x80", "32768"},
		{"I32", "\xff\xff\xff\xff", "-1"},
		{"U32", "\xff\xff\xff\xff", "4294967295"},
		{"BOOL", "\x05", "1"},
		{"C64", "\x00\x00\x80\x3f\x00\x00\x00\xc0", "1e+00 -2e+00"},
	} {
		typ, _ := Lookup(tt.name)
		_, digits := typ.Digits([]byte(tt.bytes))
		if got := strings.TrimSpace(digits[0] + " " + digits[1]); got != tt.want {
			t.Errorf("%s %x: %s, want %s", tt.name, tt.bytes, got, tt.want)
		}
	}
}

// Numbers in JSON are those of the tensor, to the sign of zero, and so are widened ones:
// every number of the types of at most 16 bits.
func TestJSONAndWidenAreExact(t *testing.T) {
	same := func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) || a != a && b != b }
	for name, widens := range map[string]string{
		"BOOL": "F16 F32 F64", "I8": "F16 F32 F64", "U8": "F16 F32 F64", "I16": "F32 F64", "U16": "F32 F64", "F16": "F16 F32 F64",
		"BF16": "F32 F64", "F8_E4M3": "F16 F32 F64", "F8_E5M2": "F16 F32 F64", "F8_E4M3FNUZ": "F16 F32 F64", "F8_E5M2FNUZ": "F16 F32 F64",
		"F8_E8M0": "F32 F64",
		"I32":     "F64", "U32": "F64", "I64": "", "U64": "", "F32": "F32 F64", "F64": "F64", "C64": "", "Q4_0": "", "F4": "",
	} {
		typ, _ := Lookup(name)
		var does []string
		for _, to := range []string{"F16", "F32", "F64"} {
			target, _ := Lookup(to)
			widen := typ.Widen(target)
			if widen == nil {
				continue
			}
			does = append(does, to)
			if typ.BlockBytes > 2 {
				continue
			}
			for _, code := range codesOf(typ) {
				var from, got [1]float64
				typ.Decode64(from[:], code)
				target.Decode64(got[:], widen(nil, code))
				if !same(from[0], got[0]) {
					t.Errorf("%s %x as %s: %g, want %g", name, code, to, got[0], from[0])
				}
			}
		}
		if got := strings.Join(does, " "); got != widens {
			t.Errorf("%s widens to %q, want %q", name, got, widens)
		}
		if typ.BlockBytes > 2 || typ.BlockElems > 1 || name == "BOOL" {
			continue
		}
		text := typ.JSON()
		for range 2 { // those that are kept, too
			for _, code := range codesOf(typ) {
				var v [1]float64
				typ.Decode64(v[:], code)
				out := text(nil, code)
				var got float64
				switch {
				case math.IsNaN(v[0]) || math.IsInf(v[0], 0):
					var word string
					if err := json.Unmarshal(out, &word); err != nil {
						t.Fatal(err)
					}
					got, _ = strconv.ParseFloat(word, 64)
				default:
					if err := json.Unmarshal(out, &got); err != nil {
						t.Fatal(err)
					}
				}
				if !same(got, v[0]) {
					t.Errorf("%s %x: %s, want %g", name, code, out, v[0])
				}
			}
		}
	}
}
