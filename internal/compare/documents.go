package compare

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/gguf"
)

// A Change is an entry of the metadata or of config.json that differs.
type Change struct {
	// Key is the metadata key, or the JSON Pointer in config.json; "" for all of
	// the document.
	Key string
	// A and B are the values as text, long ones cut; "" where there is none.
	A, B     string
	InA, InB bool
}

// documents compares what stands beside the tensors.
func (c *comparison) documents() {
	if c.a.Format != c.b.Format {
		return
	}
	c.out.MetadataCompared = true
	c.metadata()
	c.config()
}

// metadata compares key by key. A key that files of a set disagree on counts once
// for each file. What only takes up room in a header is left out: a rename in
// place leaves it behind.
func (c *comparison) metadata() {
	type key struct {
		key string
		nth int
	}
	count := make(map[string]int)
	inB := make(map[key]checkpoint.MetaKV)
	var orderB []key
	for _, kv := range entries(c.b) {
		k := key{kv.Key, count[kv.Key]}
		count[kv.Key]++
		inB[k] = kv
		orderB = append(orderB, k)
	}
	clear(count)
	inA := make(map[key]bool)
	for _, kv := range entries(c.a) {
		k := key{kv.Key, count[kv.Key]}
		count[kv.Key]++
		inA[k] = true
		other, ok := inB[k]
		switch {
		case !ok:
			c.out.Metadata = append(c.out.Metadata, Change{Key: kv.Key, InA: true, A: metaText(kv)})
		case !equalMeta(kv, other):
			change := Change{Key: kv.Key, InA: true, InB: true, A: metaText(kv), B: metaText(other)}
			switch {
			case change.A != change.B:
			case kv.Value != nil && other.Value != nil:
				change.A, change.B = detail(*kv.Value, *other.Value)
			case kv.Torch != nil && other.Torch != nil:
				change.A, change.B = whereApart(kv.TorchText(), other.TorchText())
			}
			c.out.Metadata = append(c.out.Metadata, change)
		}
	}
	for _, k := range orderB {
		if !inA[k] {
			c.out.Metadata = append(c.out.Metadata, Change{Key: k.key, InB: true, B: metaText(inB[k])})
		}
	}
}

// entries are the metadata that say something.
func entries(c *checkpoint.Checkpoint) []checkpoint.MetaKV {
	return slices.DeleteFunc(c.Metadata(), func(kv checkpoint.MetaKV) bool { return kv.IsFiller() })
}

func equalMeta(a, b checkpoint.MetaKV) bool {
	switch {
	case a.Torch != nil && b.Torch != nil:
		return a.TorchText() == b.TorchText()
	case a.Value == nil || b.Value == nil:
		return a.Value == b.Value && a.Text == b.Text
	}
	return equalValue(*a.Value, *b.Value)
}

// equalValue compares two values of any byte order and version.
func equalValue(a, b gguf.Value) bool {
	if a.Type() != b.Type() {
		return false
	}
	if x, ok := a.Array(); ok {
		y, _ := b.Array()
		i, _, _ := firstDifference(x, y)
		return i < 0 && x.Type() == y.Type()
	}
	return scalarText(a) == scalarText(b)
}

// firstDifference returns the index of the first elements that differ, or that
// one of the arrays lacks; -1 where there are none.
func firstDifference(x, y gguf.Array) (i int, a, b gguf.Value) {
	if x.Len() != y.Len() {
		return int(min(x.Len(), y.Len())), a, b
	}
	next, stop := iter.Pull2(y.All())
	defer stop()
	for i, v := range x.All() {
		if _, w, ok := next(); !ok || !equalValue(v, w) {
			return i, v, w
		}
	}
	return -1, a, b
}

// detail tells two values apart that look the same: by their types, or by the
// first elements that differ.
func detail(a, b gguf.Value) (string, string) {
	x, ok := a.Array()
	y, both := b.Array()
	if !ok || !both {
		return fmt.Sprintf("%s (%v)", scalarText(a), a.Type()), fmt.Sprintf("%s (%v)", scalarText(b), b.Type())
	}
	i, v, w := firstDifference(x, y)
	text := func(a gguf.Array, v gguf.Value) string {
		return fmt.Sprintf("%d × %v, [%d] is %s", a.Len(), a.Type(), i, cutText(scalarText(v)))
	}
	return text(x, v), text(y, w)
}

// whereApart cuts two texts that begin alike to where they differ.
func whereApart(a, b string) (string, string) {
	const before = 40
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	from := max(0, same-before)
	for from < same && from > 0 && !utf8.RuneStart(a[from]) {
		from++
	}
	part := func(s string) string {
		if from > 0 {
			return "…" + cutText(s[from:])
		}
		return cutText(s)
	}
	return part(a), part(b)
}

// longText is where the text of a value is cut.
const longText = 200

func metaText(kv checkpoint.MetaKV) string {
	if kv.Value == nil {
		return cutText(kv.Text)
	}
	if a, ok := kv.Value.Array(); ok {
		return fmt.Sprintf("%d × %v", a.Len(), a.Type())
	}
	return cutText(scalarText(*kv.Value))
}

func cutText(s string) string {
	if len(s) <= longText {
		return s
	}
	return s[:longText] + fmt.Sprintf("… (%d bytes)", len(s))
}

func scalarText(v gguf.Value) string {
	if s, ok := v.Text(); ok {
		return s
	}
	if b, ok := v.Bool(); ok {
		return strconv.FormatBool(b)
	}
	if n, ok := v.Uint(); ok {
		return strconv.FormatUint(n, 10)
	}
	if n, ok := v.Int(); ok {
		return strconv.FormatInt(n, 10)
	}
	if f, ok := v.Float(); ok {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	return v.Type().String()
}

// config compares config.json, member by member.
func (c *comparison) config() {
	a, b := c.a.Config, c.b.Config
	switch {
	case a == nil && b == nil:
	case b == nil:
		c.out.Config = append(c.out.Config, Change{InA: true})
	case a == nil:
		c.out.Config = append(c.out.Config, Change{InB: true})
	default:
		x, _ := a.Find()
		y, _ := b.Find()
		c.configValue(x, y)
	}
}

func (c *comparison) configValue(a, b checkpoint.ConfigValue) {
	if a.Kind() == "object" && b.Kind() == "object" {
		inA, inB := members(a), members(b)
		for name, v := range a.Members() {
			if w, ok := inB[name]; ok {
				c.configValue(v, w)
			} else {
				c.out.Config = append(c.out.Config, Change{Key: v.Pointer(), InA: true, A: configText(v)})
			}
		}
		for name, w := range b.Members() {
			if _, ok := inA[name]; !ok {
				c.out.Config = append(c.out.Config, Change{Key: w.Pointer(), InB: true, B: configText(w)})
			}
		}
		return
	}
	if x, y := compact(a), compact(b); x != y {
		c.out.Config = append(c.out.Config, Change{Key: a.Pointer(), InA: true, InB: true, A: cutText(x), B: cutText(y)})
	}
}

func members(v checkpoint.ConfigValue) map[string]checkpoint.ConfigValue {
	out := make(map[string]checkpoint.ConfigValue)
	for name, m := range v.Members() {
		out[name] = m
	}
	return out
}

func configText(v checkpoint.ConfigValue) string { return cutText(compact(v)) }

// compact is the text of a value without its spacing.
func compact(v checkpoint.ConfigValue) string {
	var b bytes.Buffer
	if json.Compact(&b, v.Raw()) != nil {
		return string(v.Raw()) // NaN, as Python writes it
	}
	return b.String()
}
