// Package torchtest writes checkpoints as torch does, and as an attacker might, for tests.
// It shares nothing with the reader.
//
// What is pickled, and how, is that of torch/serialization.py (_save, _legacy_save),
// torch/_tensor.py (_reduce_ex_internal) and Lib/pickle.py; what the opcodes are, that of
// Lib/pickletools.py.
package torchtest

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Values that [Pickle] writes, beside nil, bool, int, float64, string, []byte, [*big.Int],
// [*Tensor] and [*Storage].
type (
	Tuple []any
	List  []any
	Set   []any
	Dict  []Item
	// Ordered is an OrderedDict.
	Ordered []Item
	Item    struct{ Key, Value any }
	// A Global is a name that Python imports: its module and the name there.
	Global struct{ Module, Name string }
	// A Call is the result of a function, which is then given a state unless that is nil.
	Call struct {
		Func  any
		Args  Tuple
		State any
	}
	// An Object is what its class makes of the arguments, and the same. Named arguments need
	// protocol 4.
	Object struct {
		Class any
		Args  Tuple
		Named Dict
		State any
	}
	// A Built value is given a state, whatever it has already.
	Built struct{ Value, State any }
	// A Persistent is what a persistent id stands for.
	Persistent struct{ ID any }
	// Python2 is a string of Python 2.
	Python2 string
	// Raw are opcodes.
	Raw string
	// A Shared value is written once, and recalled where it occurs again.
	Shared struct{ Value any }
)

// D returns a dictionary of keys and values in turn.
func D(pairs ...any) Dict {
	d := Dict{}
	for i := 0; i < len(pairs); i += 2 {
		d = append(d, Item{pairs[i], pairs[i+1]})
	}
	return d
}

// Named returns the global with a dotted name.
func Named(name string) Global {
	i := strings.LastIndexByte(name, '.')
	return Global{name[:i], name[i+1:]}
}

// Pickle returns a pickle of a value.
func Pickle(protocol int, v any) []byte { return (&pickler{protocol: protocol}).pickle(v) }

type pickler struct {
	protocol int
	b        []byte
	memo     map[any]int
	memos    int
	storage  func(*Storage) Tuple // the persistent id
}

func (p *pickler) pickle(v any) []byte {
	p.b, p.memo, p.memos = nil, map[any]int{}, 0
	p.value(v)
	p.op(".")
	var head []byte
	if p.protocol >= 2 {
		head = append(head, 0x80, byte(p.protocol))
	}
	if p.protocol >= 4 {
		head = binary.LittleEndian.AppendUint64(append(head, 0x95), uint64(len(p.b)))
	}
	return append(head, p.b...)
}

func (p *pickler) op(s string) { p.b = append(p.b, s...) }

func (p *pickler) opf(format string, args ...any) { p.b = fmt.Appendf(p.b, format, args...) }

// number writes an opcode and a little-endian operand.
func (p *pickler) number(op byte, n uint64, size int) {
	p.b = append(p.b, op)
	for range size {
		p.b = append(p.b, byte(n))
		n >>= 8
	}
}

// put memorises what is on top of the stack. Key is what value compares, nil for nothing.
func (p *pickler) put(key any) {
	if key != nil {
		p.memo[key] = p.memos
	}
	switch {
	case p.protocol >= 4:
		p.op("\x94")
	case p.protocol == 0:
		p.opf("p%d\n", p.memos)
	case p.memos < 256:
		p.number('q', uint64(p.memos), 1)
	default:
		p.number('r', uint64(p.memos), 4)
	}
	p.memos++
}

// recall writes a value that was memorised, and reports false where it was not.
func (p *pickler) recall(key any) bool {
	i, ok := p.memo[key]
	switch {
	case !ok:
	case p.protocol == 0:
		p.opf("g%d\n", i)
	case i < 256:
		p.number('h', uint64(i), 1)
	default:
		p.number('j', uint64(i), 4)
	}
	return ok
}

func (p *pickler) value(v any) {
	switch v := v.(type) {
	case nil:
		p.op("N")
	case bool:
		switch {
		case p.protocol >= 2 && v:
			p.op("\x88")
		case p.protocol >= 2:
			p.op("\x89")
		case v:
			p.op("I01\n")
		default:
			p.op("I00\n")
		}
	case int:
		p.int(big.NewInt(int64(v)))
	case *big.Int:
		p.int(v)
	case float64:
		if p.protocol == 0 {
			p.opf("F%s\n", strconv.FormatFloat(v, 'g', 17, 64))
		} else {
			p.b = binary.BigEndian.AppendUint64(append(p.b, 'G'), math.Float64bits(v))
		}
	case string:
		p.text(v)
	case []byte:
		p.bytes(v)
	case Python2:
		p.number('U', uint64(len(v)), 1)
		p.op(string(v))
		p.put(nil)
	case Raw:
		p.op(string(v))
	case *Shared:
		if !p.recall(v) {
			p.value(v.Value)
			p.put(v)
		}
	case Global:
		p.global(v)
	case Tuple:
		p.tuple(v)
	case List:
		if p.protocol == 0 {
			p.op("(l")
		} else {
			p.op("]")
		}
		p.put(nil)
		p.items(len(v), "a", "e", func(i int) { p.value(v[i]) })
	case Set:
		if p.protocol < 4 {
			p.value(Call{Func: Global{"builtins", "set"}, Args: Tuple{List(v)}})
			return
		}
		p.op("\x8f")
		p.put(nil)
		p.items(len(v), "", "\x90", func(i int) { p.value(v[i]) })
	case Dict:
		if p.protocol == 0 {
			p.op("(d")
		} else {
			p.op("}")
		}
		p.put(nil)
		p.pairs(v)
	case Ordered:
		p.value(Call{Func: Global{"collections", "OrderedDict"}})
		p.pairs(v)
	case Call:
		p.value(v.Func)
		p.tuple(v.Args)
		p.op("R")
		p.put(nil)
		p.state(v.State)
	case Object:
		if p.protocol < 2 {
			p.value(Call{Global{"copyreg", "_reconstructor"}, Tuple{v.Class, Global{"builtins", "object"}, nil}, v.State})
			return
		}
		p.value(v.Class)
		p.tuple(v.Args)
		if v.Named != nil {
			p.value(v.Named)
			p.op("\x92")
		} else {
			p.op("\x81")
		}
		p.put(nil)
		p.state(v.State)
	case Built:
		p.value(v.Value)
		p.state(v.State)
	case Persistent:
		if p.protocol == 0 {
			p.opf("P%s\n", str(v.ID))
		} else {
			p.value(v.ID)
			p.op("Q")
		}
	case *Storage:
		p.value(Persistent{p.storage(v)})
	case *Tensor:
		p.value(v.reduced())
	default:
		panic(fmt.Sprintf("torchtest: %T", v))
	}
}

func (p *pickler) state(v any) {
	if v != nil {
		p.value(v)
		p.op("b")
	}
}

func (p *pickler) int(n *big.Int) {
	i := n.Int64()
	switch {
	case p.protocol == 0 || p.protocol == 1 && (!n.IsInt64() || i != int64(int32(i))):
		if n.IsInt64() && i == int64(int32(i)) {
			p.opf("I%d\n", i)
		} else {
			p.opf("L%sL\n", n)
		}
	case !n.IsInt64() || i != int64(int32(i)):
		b := n.Bytes() // of a positive number, which needs a bit for its sign
		if n.Sign() < 0 {
			size := uint(n.BitLen()/8 + 1)
			b = new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), 8*size)).Bytes()
		} else if b[0] >= 0x80 {
			b = append([]byte{0}, b...)
		}
		p.number(0x8a, uint64(len(b)), 1)
		for i := len(b) - 1; i >= 0; i-- {
			p.b = append(p.b, b[i])
		}
	case i >= 0 && i < 1<<8:
		p.number('K', uint64(i), 1)
	case i >= 0 && i < 1<<16:
		p.number('M', uint64(i), 2)
	default:
		p.number('J', uint64(i), 4)
	}
}

func (p *pickler) text(s string) {
	if p.recall(s) {
		return
	}
	switch {
	case p.protocol >= 4 && len(s) < 256:
		p.number(0x8c, uint64(len(s)), 1)
		p.op(s)
	case p.protocol >= 1:
		p.number('X', uint64(len(s)), 4)
		p.op(s)
	default:
		p.op("V")
		for _, r := range s {
			switch {
			case r == '\\' || r == '\n' || r == 0 || r == '\r' || r == 0x1a || r > 0xff && r <= 0xffff:
				p.opf("\\u%04x", r)
			case r > 0xffff:
				p.opf("\\U%08x", r)
			default:
				p.b = append(p.b, byte(r))
			}
		}
		p.op("\n")
	}
	p.put(s)
}

func (p *pickler) bytes(s []byte) {
	switch {
	case p.protocol >= 3 && len(s) < 256:
		p.number('C', uint64(len(s)), 1)
	case p.protocol >= 3:
		p.number('B', uint64(len(s)), 4)
	default:
		var latin1 strings.Builder
		for _, c := range s {
			latin1.WriteRune(rune(c))
		}
		p.value(Call{Func: Global{"_codecs", "encode"}, Args: Tuple{latin1.String(), "latin1"}})
		return
	}
	p.b = append(p.b, s...)
	p.put(nil)
}

func (p *pickler) global(g Global) {
	if p.recall(g) {
		return
	}
	module := g.Module
	if old := map[string]string{"builtins": "__builtin__", "copyreg": "copy_reg"}[module]; old != "" && p.protocol < 3 {
		module = old
	}
	if p.protocol >= 4 {
		p.text(module)
		p.text(g.Name)
		p.op("\x93")
	} else {
		p.opf("c%s\n%s\n", module, g.Name)
	}
	p.put(g)
}

func (p *pickler) tuple(v Tuple) {
	switch {
	case len(v) == 0 && p.protocol >= 1:
		p.op(")")
		return
	case len(v) <= 3 && p.protocol >= 2:
		for _, item := range v {
			p.value(item)
		}
		p.op([]string{"\x85", "\x86", "\x87"}[len(v)-1])
	default:
		p.op("(")
		for _, item := range v {
			p.value(item)
		}
		p.op("t")
	}
	p.put(nil)
}

func (p *pickler) pairs(items []Item) {
	p.items(len(items), "s", "u", func(i int) {
		p.value(items[i].Key)
		p.value(items[i].Value)
	})
}

// items writes the items of a container in batches, as Python does: one by one, or many
// after a mark.
func (p *pickler) items(n int, one, many string, item func(i int)) {
	const batch = 1000
	for i := 0; i < n; i += batch {
		m := min(batch, n-i)
		if one != "" && (m == 1 || p.protocol == 0) {
			for j := range m {
				item(i + j)
				p.op(one)
			}
			continue
		}
		p.op("(")
		for j := range m {
			item(i + j)
		}
		p.op(many)
	}
}

// str returns str() of a persistent id.
func str(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case string:
		return "'" + v + "'"
	case Global:
		return "<class '" + v.Module + "." + v.Name + "'>"
	case Tuple:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = str(v[i])
		}
		return "(" + strings.Join(parts, ", ") + ")"
	}
	return fmt.Sprint(v)
}
