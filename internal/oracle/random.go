package oracle

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// A Model is a checkpoint before it is written. What is random about it depends
// on the seed alone.
type Model struct {
	GGUF     bool
	Metadata []Entry
	Tensors  []Stored
}

// A Stored tensor has its bytes, little-endian.
type Stored struct {
	Name, DType string
	Shape       []uint64
	Data        []byte
}

// Rand returns the source of a seed. Different salts are different sources.
func Rand(seed, salt uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, salt)) }

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func chance(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }

// Random returns a model with few, small and odd tensors, none of which breaks
// the rules of its format.
func Random(seed uint64, gguf bool) *Model {
	r := Rand(seed, 1)
	m := &Model{GGUF: gguf}
	names := randomNames(r, gguf, pick(r, 0, 1, 2, 3, 5, 8, 12, 20, 30))
	for _, name := range names {
		t := Stored{Name: name}
		if gguf {
			t.DType = pick(r, ggufDTypes...)
		} else {
			t.DType = pick(r, safetensorsDTypes...)
		}
		t.Shape = randomShape(r, t.DType, gguf)
		t.Data = randomData(r, &t, gguf)
		m.Tensors = append(m.Tensors, t)
	}
	if gguf {
		m.Metadata = randomKVs(r)
	} else {
		for range pick(r, 0, 0, 1, 2, 5) {
			key := pick(r, "format", "step", "", "a b", "é", "日本", "k\"\\\n\t", "__x__", "k\u202e") + pick(r, "", "", "1", "2", "3")
			if !slices.ContainsFunc(m.Metadata, func(e Entry) bool { return e.Key == key }) {
				m.Metadata = append(m.Metadata, Entry{Key: key, Value: pick(r, "pt", "", "{\"a\":[1]}", "😀", "\x00\x1b[31m", strings.Repeat("long ", 100))})
			}
		}
	}
	return m
}

var safetensorsDTypes = []string{
	"F32", "F32", "F16", "BF16", "F64", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0", "F4", "F6_E2M3",
	"F6_E3M2", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL", "C64",
}

var ggufDTypes = []string{
	"F32", "F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0",
}

// ggufType returns the number and the block of a ggml type.
func ggufType(name string) (uint32, block) {
	for id, b := range blocks {
		if b.name == name {
			return id, b
		}
	}
	panic("oracle: no type " + name)
}

// size is the bytes of n elements of a dtype.
func size(dtype string, gguf bool, n uint64) uint64 {
	if gguf {
		_, b := ggufType(dtype)
		return n / b.elems * b.size
	}
	return n * Bits[dtype] / 8
}

func randomShape(r *rand.Rand, dtype string, gguf bool) []uint64 {
	// What the last dimension must be a multiple of.
	unit := uint64(1)
	if gguf {
		_, b := ggufType(dtype)
		unit = b.elems
	} else if Bits[dtype] < 8 {
		unit = 4
	}
	rank := pick(r, 0, 1, 1, 2, 2, 2, 3, 4)
	if !gguf && chance(r, 3) {
		rank = pick(r, 5, 9, 40)
	}
	if rank == 0 {
		if unit > 1 {
			return []uint64{unit}
		}
		return []uint64{}
	}
	shape := make([]uint64, rank)
	for i := range shape {
		shape[i] = pick[uint64](r, 1, 1, 2, 3)
		if chance(r, 4) {
			shape[i] = 0
		}
	}
	last := pick[uint64](r, 1, 2, 3, 5, 8, 17)
	switch {
	case rank > 4:
		for i := range shape {
			shape[i] = 1
		}
	case chance(r, 8): // more than accumulators keep as they came
		last = 1000 + r.Uint64N(4000)
	case chance(r, 1):
		last = 60_000 + r.Uint64N(20_000)
	case chance(r, 3):
		last = 0
	}
	shape[rank-1] = last * unit
	if !gguf && slices.Contains(shape, 0) && chance(r, 10) {
		shape[slices.Index(shape, 0)] = 1 << 62 // no elements all the same
		shape[rank-1] = 0
		if rank > 1 {
			shape[0], shape[rank-1] = 0, 1<<40
			for i := 1; i < rank-1; i++ {
				shape[i] = 1
			}
		}
	}
	return shape
}

// randomData are bytes that are anything, or numbers as weights have them.
func randomData(r *rand.Rand, t *Stored, gguf bool) []byte {
	elements := (&Tensor{Shape: t.Shape}).Elements()
	b := make([]byte, size(t.DType, gguf, elements))
	kind := pick(r, "any", "any", "weights", "weights", "weights", "zero", "constant")
	var one [8]byte
	for i := range one {
		one[i] = byte(r.Uint32())
	}
	for i := range b {
		switch kind {
		case "constant":
			b[i] = one[i%max(1, elementBytes(t.DType, gguf))]
		case "any", "weights":
			b[i] = byte(r.Uint32())
		}
		if t.DType == "BOOL" {
			b[i] &= 1
		}
	}
	if kind != "weights" {
		return b
	}
	le := binary.LittleEndian
	for i := 0; i < len(b); {
		f := r.NormFloat64() * 0.1
		switch t.DType {
		case "F32", "C64":
			le.PutUint32(b[i:], math.Float32bits(float32(f)))
			i += 4
		case "F64":
			le.PutUint64(b[i:], math.Float64bits(f))
			i += 8
		case "BF16":
			le.PutUint16(b[i:], uint16(math.Float32bits(float32(f))>>16))
			i += 2
		case "F16": // between 2^-5 and 2^0
			le.PutUint16(b[i:], uint16(r.Uint32()&0x83ff|uint32(10+r.IntN(5))<<10))
			i += 2
		default:
			if gguf && strings.HasPrefix(t.DType, "Q") {
				_, block := ggufType(t.DType)
				le.PutUint16(b[i:], uint16(r.Uint32()&0x03ff|uint32(5+r.IntN(5))<<10))
				if strings.HasSuffix(t.DType, "_1") {
					le.PutUint16(b[i+2:], uint16(r.Uint32()&0x83ff|uint32(8+r.IntN(5))<<10))
				}
				i += int(block.size)
				continue
			}
			return b
		}
	}
	return b
}

// elementBytes is the size of an element, 1 of what is not whole bytes.
func elementBytes(dtype string, gguf bool) int {
	if gguf {
		if _, b := ggufType(dtype); b.elems == 1 {
			return int(b.size)
		}
		return 1
	}
	return int(Bits[dtype] / 8)
}

// oddWords are pieces of names that something on the way may trip over: shells,
// YAML, JSON, globs, paths, terminals, the map language.
var oddWords = []string{
	"a/b", "a b", "q\"uote", "back\\slash", "tab\there", "new\nline", "é", "e\u0301", "日本語", "😀", "{layer}", "{{x}}", "a*b", "[0]",
	"a:b", "#x", "- x", "null", "true", "~", "1.0", "'", "%s", "!tag", "&a", "*a", "|", ">", "@x", "\u202e", "\u2028", "\u00a0", "\ufeff",
	"..", "../up", "/root", "C:\\x", "A", "a", "Weight", "weight", "\x1b[31m", "\x7f", ",", "?", "=", "$HOME", "007", "00", "9223372036854775807",
	"18446744073709551616", "__metadata__x", "\ufffd", "K", "\u212a",
}

func randomNames(r *rand.Rand, gguf bool, n int) []string {
	var list []string
	seen := map[string]bool{}
	style := pick(r, "layers", "layers", "odd", "mixed")
	layers := 1 + r.IntN(4)
	prefix := pick(r, "", "", "model.", "a.b.", "module._orig_mod.")
	for len(list) < n {
		name := ""
		if style == "layers" || style == "mixed" && chance(r, 60) {
			name = prefix + fmt.Sprintf(pick(r, "h.%d.", "layers.%d.", "blk.%d.x", "b%d.", "%02d."), r.IntN(layers*3)) + pick(r, "w", "b", "q.w", "q.b", "e.1.w", "e.2.w", "ln1", "ln2", "norm0", "norm1")
		} else {
			for i := range 1 + r.IntN(3) {
				if i > 0 {
					name += pick(r, ".", ".", "", "_", "..")
				}
				name += pick(r, oddWords...)
			}
			if chance(r, 10) {
				name += "." + pick(r, "1", "12", "012", "x.", " ")
			}
		}
		if gguf {
			if chance(r, 5) {
				name += pick(r, "\xff", "\xc3", "\xed\xa0\x80", "\xe2\x82")
			}
			for len(name) > 63 {
				name = name[:len(name)-1]
			}
		} else {
			if chance(r, 2) {
				name = strings.Repeat(name+"/", 1+r.IntN(400)) + "long"
			}
			if chance(r, 1) {
				name = "" // valid, if only just
			}
			if chance(r, 2) {
				name += "\x00" + pick(r, "", "nul")
			}
		}
		if gguf && name == "" || seen[name] {
			name += fmt.Sprintf("#%d", len(list))
		}
		if !seen[name] && (!gguf || len(name) <= 63) {
			seen[name] = true
			list = append(list, name)
		}
	}
	return list
}

func randomKVs(r *rand.Rand) []Entry {
	var list []Entry
	if chance(r, 90) {
		list = append(list, Entry{"general.architecture", "string", "odd"})
	}
	for i := range pick(r, 0, 1, 3, 8, 20) {
		typ := pick(r, "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "u64", "i64", "f64")
		for range pick(r, 0, 0, 0, 1, 1, 2, 3) {
			typ = "array[" + typ + "]"
		}
		key := pick(r, "x.key", "odd.Upper", "with space", "é.k", "k\"", "k\xff", strings.Repeat("long.", 60)+"k", "a/b") + fmt.Sprint(i)
		list = append(list, Entry{key, typ, randomValue(r, typ)})
	}
	if chance(r, 5) {
		list = append(list, Entry{"general.file_type", "u32", uint32(0)})
	}
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

func randomValue(r *rand.Rand, typ string) any {
	if inner, ok := strings.CutPrefix(typ, "array["); ok {
		inner = strings.TrimSuffix(inner, "]")
		list := []any{}
		for range pick(r, 0, 1, 2, 3, 17, 40) {
			list = append(list, randomValue(r, inner))
		}
		return list
	}
	bits := r.Uint64() >> pick(r, 0, 0, 32, 48, 63, 64)
	switch typ {
	case "u8":
		return uint8(bits)
	case "i8":
		return int8(bits)
	case "u16":
		return uint16(bits)
	case "i16":
		return int16(bits)
	case "u32":
		return uint32(bits)
	case "i32":
		return int32(bits)
	case "f32":
		return pick(r, math.Float32frombits(uint32(bits)), float32(math.NaN()), float32(math.Inf(-1)), 0.1, float32(math.Copysign(0, -1)))
	case "bool":
		return bits&1 == 1
	case "string":
		return pick(r, "", "text", "é😀", "\xff\xfe", "a\nb\x1b[0m", "{\"json\": 1}", strings.Repeat("z", 300))
	case "u64":
		return bits
	case "i64":
		return int64(bits)
	}
	return pick(r, math.Float64frombits(bits), math.NaN(), math.Inf(1), 1e308, 5e-324)
}
