package oracle

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"
)

// A Layout is one of the ways in which the same tensors can be written. The zero
// value is the plainest.
type Layout struct {
	// Files is into how many; 0 and 1 are one file without an index.
	Files int
	// Dirs puts shards into directories below the index.
	Dirs bool
	// Shuffle orders the data otherwise than the header. GGUF readers in C ask
	// for the same order, others do not.
	Shuffle bool
	// Odd spaces the safetensors header, escapes its strings and puts its members
	// in any order.
	Odd bool

	// Of GGUF: the version (0 is 3), the byte order, the alignment (0 is the
	// default, without a key) and unused bytes between tensors.
	Version   uint32
	BigEndian bool
	Alignment uint32
	Gaps      bool

	// Seed is of what is random in writing.
	Seed uint64
}

// RandomLayout returns any layout that the format allows and every reader is
// expected to understand.
func RandomLayout(seed uint64, gguf bool) Layout {
	r := Rand(seed, 2)
	l := Layout{Seed: seed}
	if chance(r, 40) {
		l.Files = 1 + r.IntN(5)
	}
	if !gguf {
		l.Dirs, l.Shuffle, l.Odd = chance(r, 30), chance(r, 40), chance(r, 50)
		return l
	}
	l.Version = pick[uint32](r, 2, 3, 3, 3)
	l.BigEndian = l.Version == 3 && chance(r, 25)
	l.Alignment = pick[uint32](r, 0, 0, 1, 8, 32, 64, 4096)
	l.Shuffle, l.Gaps = chance(r, 15), chance(r, 15)
	return l
}

// Write writes the model into a new directory and returns the path that means
// all of it: the file, the index, or the first part of the split.
func (m *Model) Write(dir string, l Layout) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	r := Rand(l.Seed, 3)
	// Every tensor is in some file, and no safetensors shard is empty.
	files := max(1, l.Files)
	if !m.GGUF {
		files = min(files, max(1, len(m.Tensors)))
	}
	parts := make([][]Stored, files)
	for i, t := range m.Tensors {
		k := r.IntN(files)
		if i < files && !m.GGUF {
			k = i
		}
		parts[k] = append(parts[k], t)
	}
	if m.GGUF {
		return m.writeGGUF(dir, l, r, parts)
	}
	return m.writeSafetensors(dir, l, r, parts)
}

func (m *Model) writeSafetensors(dir string, l Layout, r *rand.Rand, parts [][]Stored) (string, error) {
	if len(parts) == 1 && l.Files < 2 || len(m.Tensors) == 0 {
		path := filepath.Join(dir, "model.safetensors")
		return path, os.WriteFile(path, m.safetensors(parts[0], l, r), 0o644)
	}
	weightMap := map[string]string{}
	total := 0
	for i, part := range parts {
		shard := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(parts))
		if l.Dirs {
			shard = pick(r, "", "sub/", "sub/deep er/") + shard
		}
		for _, t := range part {
			weightMap[t.Name] = shard
			total += len(t.Data)
		}
		path := filepath.Join(dir, filepath.FromSlash(shard))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, m.safetensors(part, l, r), 0o644); err != nil {
			return "", err
		}
	}
	index := map[string]any{"metadata": map[string]any{"total_size": total}, "weight_map": weightMap}
	raw, err := json.MarshalIndent(index, "", pick(r, "", "  "))
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "model.safetensors.index.json")
	return path, os.WriteFile(path, raw, 0o644)
}

// safetensors is one file.
func (m *Model) safetensors(part []Stored, l Layout, r *rand.Rand) []byte {
	begin := make([]int, len(part))
	var data []byte
	for _, i := range permutation(r, len(part), l.Shuffle) {
		begin[i] = len(data)
		data = append(data, part[i].Data...)
	}
	space := func() string {
		if l.Odd {
			return pick(r, "", "", " ", "\n", "\t", " \r\n")
		}
		return ""
	}
	str := func(s string) string { return quote(r, s, l.Odd) }
	var members []string
	for i, t := range part {
		shape := make([]string, len(t.Shape))
		for k, d := range t.Shape {
			shape[k] = space() + fmt.Sprint(d) + space()
		}
		fields := []string{
			`"dtype":` + space() + `"` + t.DType + `"`,
			`"shape":` + space() + "[" + strings.Join(shape, ",") + "]",
			fmt.Sprintf(`"data_offsets":%s[%d,%s%d]`, space(), begin[i], space(), begin[i]+len(t.Data)),
		}
		if l.Odd {
			if chance(r, 10) {
				fields = append(fields, `"note":{"dtype":[1,{"shape":null}]}`)
			}
			r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
		}
		members = append(members, space()+str(t.Name)+space()+":"+space()+"{"+strings.Join(fields, space()+",")+"}")
	}
	var metadata []string
	for _, e := range m.Metadata {
		metadata = append(metadata, space()+str(e.Key)+":"+str(e.Value.(string)))
	}
	if text := `"__metadata__":{` + strings.Join(metadata, ",") + "}"; len(metadata) > 0 || l.Odd {
		if len(metadata) == 0 {
			text = pick(r, text, `"__metadata__":null`, "")
		}
		at := 0
		if l.Odd {
			at = r.IntN(len(members) + 1)
		}
		if text != "" {
			members = slices.Insert(members, at, text)
		}
	}
	header := "{" + strings.Join(members, ",") + space() + "}"
	if l.Odd {
		header = pick(r, "", "", "", " ", "\n\t") + header + strings.Repeat(" ", r.IntN(20)) + pick(r, "", "", "\n")
	} else {
		header += strings.Repeat(" ", (8-len(header)%8)%8)
	}
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func permutation(r *rand.Rand, n int, shuffle bool) []int {
	if shuffle {
		return r.Perm(n)
	}
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// quote writes a JSON string, which has many spellings.
func quote(r *rand.Rand, s string, odd bool) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case odd && chance(r, 5), c < ' ' && (!odd || chance(r, 50) || !strings.ContainsRune("\b\f\n\r\t", c)):
			for _, u := range utf16.Encode([]rune{c}) {
				fmt.Fprintf(&b, pick(r, `\u%04x`, `\u%04X`), u)
			}
		case c < ' ':
			b.WriteString(map[rune]string{'\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}[c])
		case c == '"' || c == '\\' || c == '/' && odd:
			b.WriteByte('\\')
			b.WriteRune(c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func (m *Model) writeGGUF(dir string, l Layout, r *rand.Rand, parts [][]Stored) (string, error) {
	first := ""
	for i, part := range parts {
		name, kvs := "model.gguf", slices.Clone(m.Metadata)
		if l.Alignment > 0 && (i == 0 || l.Alignment != 32) {
			kvs = append(kvs, Entry{"general.alignment", "u32", l.Alignment})
		}
		if len(parts) > 1 {
			name = fmt.Sprintf("model-%05d-of-%05d.gguf", i+1, len(parts))
			if i > 0 {
				kvs = slices.DeleteFunc(kvs, func(e Entry) bool { return e.Key != "general.alignment" })
			}
			kvs = append(
				kvs,
				Entry{"split.no", "u16", uint16(i)},
				Entry{"split.count", "u16", uint16(len(parts))},
				Entry{"split.tensors.count", "i32", int32(len(m.Tensors))},
			)
		}
		path := filepath.Join(dir, name)
		if i == 0 {
			first = path
		}
		if err := os.WriteFile(path, gguf(kvs, part, l, r), 0o644); err != nil {
			return "", err
		}
	}
	return first, nil
}

// gguf is one file.
func gguf(kvs []Entry, part []Stored, l Layout, r *rand.Rand) []byte {
	var e binary.AppendByteOrder = binary.LittleEndian
	if l.BigEndian {
		e = binary.BigEndian
	}
	align := int(l.Alignment)
	if align == 0 {
		align = 32
	}
	pad := func(b []byte) []byte { return append(b, make([]byte, (align-len(b)%align)%align)...) }
	text := func(b []byte, s string) []byte { return append(e.AppendUint64(b, uint64(len(s))), s...) }

	// The data section is padded by itself: it begins at a multiple, too.
	offset := make([]int, len(part))
	var data []byte
	for _, i := range permutation(r, len(part), l.Shuffle) {
		if l.Gaps && chance(r, 30) {
			data = append(data, make([]byte, align)...)
		}
		offset[i] = len(data)
		data = pad(append(data, inOrder(&part[i], l.BigEndian)...))
	}

	b := []byte("GGUF")
	version := l.Version
	if version == 0 {
		version = 3
	}
	b = e.AppendUint32(b, version)
	b = e.AppendUint64(b, uint64(len(part)))
	b = e.AppendUint64(b, uint64(len(kvs)))
	for _, kv := range kvs {
		b = text(b, kv.Key)
		b = e.AppendUint32(b, typeID(kv.Type))
		b = appendValue(b, e, kv.Type, kv.Value)
	}
	for i, t := range part {
		id, _ := ggufType(t.DType)
		b = text(b, t.Name)
		b = e.AppendUint32(b, uint32(len(t.Shape)))
		for _, d := range slices.Backward(t.Shape) {
			b = e.AppendUint64(b, d)
		}
		b = e.AppendUint32(b, id)
		b = e.AppendUint64(b, uint64(offset[i]))
	}
	return append(pad(b), data...)
}

func typeID(typ string) uint32 {
	for id, name := range ggufTypes {
		if name == typ {
			return id
		}
	}
	return 9
}

func appendValue(b []byte, e binary.AppendByteOrder, typ string, v any) []byte {
	switch v := v.(type) {
	case []any:
		inner := strings.TrimSuffix(strings.TrimPrefix(typ, "array["), "]")
		b = e.AppendUint32(b, typeID(inner))
		b = e.AppendUint64(b, uint64(len(v)))
		for _, one := range v {
			b = appendValue(b, e, inner, one)
		}
		return b
	case string:
		return append(e.AppendUint64(b, uint64(len(v))), v...)
	case bool:
		if v {
			return append(b, 1)
		}
		return append(b, 0)
	case uint8:
		return append(b, v)
	case int8:
		return append(b, byte(v))
	case uint16:
		return e.AppendUint16(b, v)
	case int16:
		return e.AppendUint16(b, uint16(v))
	case uint32:
		return e.AppendUint32(b, v)
	case int32:
		return e.AppendUint32(b, uint32(v))
	case float32:
		return e.AppendUint32(b, math.Float32bits(v))
	case uint64:
		return e.AppendUint64(b, v)
	case int64:
		return e.AppendUint64(b, uint64(v))
	case float64:
		return e.AppendUint64(b, math.Float64bits(v))
	}
	panic(fmt.Sprintf("oracle: a value of %T", v))
}

// inOrder turns every number of the data round for a big-endian file.
func inOrder(t *Stored, bigEndian bool) []byte {
	if !bigEndian {
		return t.Data
	}
	b := bytes.Clone(t.Data)
	// Where the numbers of more than a byte are in a block.
	_, block := ggufType(t.DType)
	fields := map[string][]int{"Q8_0": {2}, "Q4_0": {2}, "Q5_0": {2, 4}, "Q4_1": {2, 2}, "Q5_1": {2, 2, 4}}[t.DType]
	if block.elems == 1 {
		fields = []int{int(block.size)}
	}
	for at := 0; at < len(b); at += int(block.size) {
		from := at
		for _, n := range fields {
			slices.Reverse(b[from : from+n])
			from += n
		}
	}
	return b
}

// CopyTree copies a directory.
func CopyTree(dst, src string) error {
	return filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		if to := filepath.Join(dst, rel); d.IsDir() {
			return os.MkdirAll(to, 0o755)
		} else if raw, err := os.ReadFile(path); err != nil {
			return err
		} else {
			return os.WriteFile(to, raw, 0o644)
		}
	})
}
