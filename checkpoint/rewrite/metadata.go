package rewrite

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/gguf"
)

// Metadata is an edit of one metadata entry.
type Metadata struct {
	Key string `json:"key"`
	// Unset removes the entry; Value and Type are ignored then.
	Unset bool   `json:"unset,omitempty"`
	Value string `json:"value,omitempty"`
	// Type is the type of a GGUF value: u8, i8, u16, i16, u32, i32, u64, i64,
	// f32, f64, bool or str. An empty Type keeps that of the entry, and is str
	// for a new one. Safetensors has strings only.
	Type string `json:"type,omitempty"`
}

// editMetadata edits the __metadata__ object in the text of a safetensors header.
func editMetadata(text []byte, edits []Metadata) ([]byte, error) {
	for _, m := range edits {
		if m.Type != "" && m.Type != "str" {
			return nil, fmt.Errorf("key %q: safetensors metadata are strings; it cannot be set as %s", m.Key, m.Type)
		}
		if err := errors.Join(validText("the key", m.Key), validText("the value", m.Value)); err != nil {
			return nil, err
		}
	}
	list, _ := members(text, 0)
	meta, ok := lookup(text, list, "__metadata__")
	if !ok {
		// The format's own writer puts it first.
		object := editStrings([]byte("{}"), edits)
		if bytes.Equal(object, []byte("{}")) {
			return text, nil
		}
		entry := append([]byte(`"__metadata__":`), object...)
		open := bytes.IndexByte(text, '{')
		if len(list) > 0 {
			entry = append(entry, ',')
		}
		return apply(text, []splice{{open + 1, open + 1, entry}}), nil
	}
	old := text[meta.start:meta.end]
	if old[0] != '{' { // null, which MLX writes for none
		old = []byte("{}")
	}
	return apply(text, []splice{{meta.start, meta.end, editStrings(old, edits)}}), nil
}

// editStrings edits an object of strings.
func editStrings(text []byte, edits []Metadata) []byte {
	list, end := members(text, 0)
	entry := func(m Metadata) []byte { return append(append(quote(m.Key), ':'), quote(m.Value)...) }
	var added [][]byte
	for i, m := range edits {
		if _, there := lookup(text, list, m.Key); there || m.Unset {
			continue
		}
		if !slices.ContainsFunc(edits[i+1:], func(n Metadata) bool { return n.Key == m.Key }) {
			added = append(added, entry(m))
		}
	}
	return rewriteObject(text, list, end, func(o member) ([]byte, bool) {
		name := o.name(text)
		for _, m := range slices.Backward(edits) {
			if m.Key == name {
				if m.Unset {
					return nil, false
				}
				value := splice{o.start - o.nameStart, o.end - o.nameStart, quote(m.Value)}
				return apply(text[o.nameStart:o.end], []splice{value}), true
			}
		}
		return nil, true
	}, added)
}

// fixedKeys are GGUF keys that say where data is, or which file this is of a set.
func fixedKey(key string) bool {
	return key == "general.alignment" || strings.HasPrefix(key, "split.")
}

// editKVs edits GGUF metadata. Entries keep their order; new ones come last.
func editKVs(kvs []gguf.KV, edits []Metadata) ([]gguf.KV, error) {
	for _, m := range edits {
		if fixedKey(m.Key) {
			return nil, fmt.Errorf("key %q cannot be edited: it says where the tensors' data is", m.Key)
		}
		i := slices.IndexFunc(kvs, func(kv gguf.KV) bool { return kv.Key == m.Key })
		if m.Unset {
			kvs = slices.DeleteFunc(kvs, func(kv gguf.KV) bool { return kv.Key == m.Key })
			continue
		}
		typ := gguf.TypeString
		if i >= 0 {
			typ = kvs[i].Value.Type()
		}
		if m.Type != "" {
			var ok bool
			if typ, ok = valueTypes[m.Type]; !ok {
				return nil, fmt.Errorf("key %q: there is no type %q; there are u8, i8, u16, i16, u32, i32, u64, i64, f32, f64, bool and str", m.Key, m.Type)
			}
		}
		v, err := parseValue(m.Value, typ)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", m.Key, err)
		}
		if i >= 0 {
			kvs[i].Value = v
		} else {
			kvs = append(kvs, gguf.KV{Key: m.Key, Value: v})
		}
	}
	return kvs, nil
}

var valueTypes = map[string]gguf.ValueType{
	"u8": gguf.TypeUint8, "i8": gguf.TypeInt8, "u16": gguf.TypeUint16, "i16": gguf.TypeInt16,
	"u32": gguf.TypeUint32, "i32": gguf.TypeInt32, "u64": gguf.TypeUint64, "i64": gguf.TypeInt64,
	"f32": gguf.TypeFloat32, "f64": gguf.TypeFloat64, "bool": gguf.TypeBool, "str": gguf.TypeString,
}

// parseValue reads a value of a type from text.
func parseValue(s string, typ gguf.ValueType) (v gguf.Value, err error) {
	signed := func(bits int) (n int64) {
		n, err = strconv.ParseInt(s, 0, bits)
		return n
	}
	unsigned := func(bits int) (n uint64) {
		n, err = strconv.ParseUint(s, 0, bits)
		return n
	}
	float := func(bits int) (x float64) {
		x, err = strconv.ParseFloat(s, bits)
		return x
	}
	switch typ {
	case gguf.TypeUint8:
		v = gguf.ValueOf(uint8(unsigned(8)))
	case gguf.TypeInt8:
		v = gguf.ValueOf(int8(signed(8)))
	case gguf.TypeUint16:
		v = gguf.ValueOf(uint16(unsigned(16)))
	case gguf.TypeInt16:
		v = gguf.ValueOf(int16(signed(16)))
	case gguf.TypeUint32:
		v = gguf.ValueOf(uint32(unsigned(32)))
	case gguf.TypeInt32:
		v = gguf.ValueOf(int32(signed(32)))
	case gguf.TypeUint64:
		v = gguf.ValueOf(unsigned(64))
	case gguf.TypeInt64:
		v = gguf.ValueOf(signed(64))
	case gguf.TypeFloat32:
		v = gguf.ValueOf(float32(float(32)))
	case gguf.TypeFloat64:
		v = gguf.ValueOf(float(64))
	case gguf.TypeBool:
		b, perr := strconv.ParseBool(s)
		v, err = gguf.ValueOf(b), perr
	case gguf.TypeString:
		v = gguf.ValueOf(s)
	default:
		return v, errors.New("an array cannot be set from the command line; write another type or unset it")
	}
	if err != nil {
		return v, fmt.Errorf("%q is not a value of type %v: %w", s, typ, errors.Unwrap(err))
	}
	return v, nil
}
