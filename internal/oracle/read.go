package oracle

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A File is what one file of weights says.
type File struct {
	Path       string
	Size       int64
	DataOffset int64
	Metadata   []Entry  // in the order of the file
	Tensors    []Tensor // in the order of the header

	// Of GGUF alone.
	GGUF      bool
	Version   uint32
	Alignment uint64
	BigEndian bool
}

// An Entry of the metadata.
type Entry struct {
	Key  string
	Type string // of GGUF: u8, string, array[u8]
	// Value is a string in safetensors, otherwise of the Go type that the GGUF
	// type suggests, or []any.
	Value any
}

// String is equal for equal entries, NaN included.
func (e Entry) String() string { return fmt.Sprintf("%q %s %#v", e.Key, e.Type, e.Value) }

// A Tensor is one that a file holds.
type Tensor struct {
	Name      string
	DType     string
	Shape     []uint64 // slowest dimension first
	Offset    int64    // in the file
	Size      int64    // in bytes
	BigEndian bool
}

// Elements is how many the tensor has.
func (t *Tensor) Elements() uint64 {
	n := uint64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Bytes reads the tensor's bytes from its file.
func (f *File) Bytes(t *Tensor) ([]byte, error) {
	r, err := os.Open(f.Path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b := make([]byte, t.Size)
	_, err = io.ReadFull(io.NewSectionReader(r, t.Offset, t.Size), b)
	return b, err
}

// SHA256 is the digest of the tensor's bytes in hexadecimal.
func (f *File) SHA256(t *Tensor) (string, error) {
	b, err := f.Bytes(t)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// Read reads the header of a file, whose format its name tells.
func Read(path string) (*File, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	st, err := r.Stat()
	if err != nil {
		return nil, err
	}
	f := &File{Path: path, Size: st.Size()}
	if strings.HasSuffix(path, ".gguf") {
		err = f.readGGUF(r)
	} else {
		err = f.readSafetensors(r)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i := range f.Tensors {
		if t := &f.Tensors[i]; t.Offset+t.Size > f.Size {
			return nil, fmt.Errorf("%s: tensor %q ends at byte %d of %d", path, t.Name, t.Offset+t.Size, f.Size)
		}
	}
	return f, nil
}

// Bits is the size of an element of each safetensors dtype.
var Bits = map[string]uint64{
	"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8,
	"F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
	"I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
	"C64": 64, "F64": 64, "I64": 64, "U64": 64,
}

func (f *File) readSafetensors(r *os.File) error {
	var length [8]byte
	if _, err := r.ReadAt(length[:], 0); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > uint64(f.Size)-8 {
		return errors.New("the header is longer than the file")
	}
	header := make([]byte, n)
	if _, err := r.ReadAt(header, 8); err != nil {
		return err
	}
	f.DataOffset = 8 + int64(n)

	d := json.NewDecoder(bytes.NewReader(header))
	d.UseNumber()
	if err := delim(d, '{'); err != nil {
		return err
	}
	for d.More() {
		name, err := text(d)
		if err != nil {
			return err
		}
		if name == "__metadata__" {
			err = f.readMetadata(d)
		} else {
			err = f.readTensor(d, name)
		}
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	if err := delim(d, '}'); err != nil {
		return err
	}
	if rest := header[d.InputOffset():]; len(bytes.Trim(rest, " \t\r\n")) > 0 {
		return errors.New("text after the header")
	}
	return f.checkExtents()
}

// checkExtents holds the tensors to the one rule of layout: by their offsets
// they follow one another, from the beginning of the data to the end.
func (f *File) checkExtents() error {
	sorted := slices.Clone(f.Tensors)
	slices.SortStableFunc(sorted, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Size, b.Size))
	})
	at := f.DataOffset
	for i := range sorted {
		t := &sorted[i]
		bits, known := Bits[t.DType]
		switch {
		case !known:
			return fmt.Errorf("tensor %q: dtype %q", t.Name, t.DType)
		case t.Offset != at:
			return fmt.Errorf("tensor %q begins at %d, not %d", t.Name, t.Offset, at)
		case t.Elements()*bits%8 != 0 || t.Elements()*bits/8 != uint64(t.Size):
			return fmt.Errorf("tensor %q has %d bytes and %d elements", t.Name, t.Size, t.Elements())
		}
		at += t.Size
	}
	if at != f.Size {
		return fmt.Errorf("the data end at %d and the file at %d", at, f.Size)
	}
	return nil
}

func delim(d *json.Decoder, want json.Delim) error {
	if t, err := d.Token(); err != nil || t != want {
		return fmt.Errorf("%v where %v should be: %w", t, want, err)
	}
	return nil
}

func text(d *json.Decoder) (string, error) {
	t, err := d.Token()
	if s, ok := t.(string); ok {
		return s, err
	}
	return "", fmt.Errorf("%v is not a string: %w", t, err)
}

func (f *File) readMetadata(d *json.Decoder) error {
	t, err := d.Token()
	if err != nil || t == nil {
		return err // null is the same as none
	}
	if t != json.Delim('{') {
		return errors.New("not an object")
	}
	for d.More() {
		key, err := text(d)
		if err != nil {
			return err
		}
		value, err := text(d)
		if err != nil {
			return err
		}
		f.Metadata = append(f.Metadata, Entry{Key: key, Value: value})
	}
	return delim(d, '}')
}

func (f *File) readTensor(d *json.Decoder, name string) error {
	var raw struct {
		DType  *string   `json:"dtype"`
		Shape  *[]uint64 `json:"shape"`
		Extent []uint64  `json:"data_offsets"`
	}
	if err := d.Decode(&raw); err != nil {
		return err
	}
	if raw.DType == nil || raw.Shape == nil || len(raw.Extent) != 2 || raw.Extent[1] < raw.Extent[0] {
		return errors.New("not a tensor")
	}
	f.Tensors = append(f.Tensors, Tensor{
		Name: name, DType: *raw.DType, Shape: *raw.Shape,
		Offset: f.DataOffset + int64(raw.Extent[0]), Size: int64(raw.Extent[1] - raw.Extent[0]),
	})
	return nil
}

// A block type of ggml: its name, the elements in a block and its bytes.
type block struct {
	name        string
	elems, size uint64
}

// Blocks are the ggml types by their numbers.
var blocks = map[uint32]block{
	0: {"F32", 1, 4}, 1: {"F16", 1, 2}, 2: {"Q4_0", 32, 18}, 3: {"Q4_1", 32, 20},
	6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24}, 8: {"Q8_0", 32, 34}, 9: {"Q8_1", 32, 36},
	10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144}, 13: {"Q5_K", 256, 176},
	14: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292}, 16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74},
	18: {"IQ3_XXS", 256, 98}, 19: {"IQ1_S", 256, 50}, 20: {"IQ4_NL", 32, 18}, 21: {"IQ3_S", 256, 110},
	22: {"IQ2_S", 256, 82}, 23: {"IQ4_XS", 256, 136}, 24: {"I8", 1, 1}, 25: {"I16", 1, 2},
	26: {"I32", 1, 4}, 27: {"I64", 1, 8}, 28: {"F64", 1, 8}, 29: {"IQ1_M", 256, 56}, 30: {"BF16", 1, 2},
	34: {"TQ1_0", 256, 54}, 35: {"TQ2_0", 256, 66}, 39: {"MXFP4", 32, 17}, 40: {"NVFP4", 64, 36},
	41: {"Q1_0", 128, 18}, 42: {"Q2_0", 64, 18},
}

// ggufTypes are the names of the value types by their numbers, arrays apart.
var ggufTypes = map[uint32]string{
	0: "u8", 1: "i8", 2: "u16", 3: "i16", 4: "u32", 5: "i32", 6: "f32", 7: "bool", 8: "string", 10: "u64", 11: "i64", 12: "f64",
}

// A cursor reads one number after the other. The first error stays.
type cursor struct {
	r     io.Reader
	order binary.ByteOrder
	at    int64
	left  int64
	err   error
}

func (c *cursor) bytes(n uint64) []byte {
	if c.err == nil && n > uint64(c.left) {
		c.err = fmt.Errorf("%d bytes at byte %d, and %d are left", n, c.at, c.left)
	}
	if c.err != nil {
		return nil
	}
	b := make([]byte, n)
	_, c.err = io.ReadFull(c.r, b)
	c.at += int64(n)
	c.left -= int64(n)
	return b
}

func (c *cursor) u32() uint32 {
	if b := c.bytes(4); b != nil {
		return c.order.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.bytes(8); b != nil {
		return c.order.Uint64(b)
	}
	return 0
}

func (c *cursor) text() string { return string(c.bytes(c.u64())) }

func (c *cursor) value(typ uint32) (string, any) {
	if typ == 9 {
		elem := c.u32()
		n := c.u64()
		list := []any{}
		name := ggufTypes[elem]
		for i := uint64(0); i < n && c.err == nil; i++ {
			var v any
			name, v = c.value(elem)
			list = append(list, v)
		}
		if name == "" {
			name = "array"
		}
		return "array[" + name + "]", list
	}
	name, ok := ggufTypes[typ]
	if !ok && c.err == nil {
		c.err = fmt.Errorf("value type %d at byte %d", typ, c.at)
	}
	if c.err != nil {
		return name, nil
	}
	one := func(n uint64) []byte {
		if b := c.bytes(n); b != nil {
			return b
		}
		return make([]byte, n)
	}
	switch name {
	case "string":
		return name, c.text()
	case "bool":
		return name, one(1)[0] != 0
	case "u8":
		return name, one(1)[0]
	case "i8":
		return name, int8(one(1)[0])
	case "u16":
		return name, c.order.Uint16(one(2))
	case "i16":
		return name, int16(c.order.Uint16(one(2)))
	case "u32":
		return name, c.u32()
	case "i32":
		return name, int32(c.u32())
	case "f32":
		return name, math.Float32frombits(c.u32())
	case "u64":
		return name, c.u64()
	case "i64":
		return name, int64(c.u64())
	}
	return name, math.Float64frombits(c.u64())
}

func (f *File) readGGUF(r *os.File) error {
	f.GGUF, f.Alignment = true, 32
	c := &cursor{r: r, order: binary.LittleEndian, left: f.Size}
	if magic := c.bytes(4); string(magic) != "GGUF" {
		return fmt.Errorf("magic %q: %w", magic, c.err)
	}
	f.Version = c.u32()
	if f.Version&0xffff == 0 {
		f.BigEndian, c.order = true, binary.BigEndian
		var b [4]byte
		binary.LittleEndian.PutUint32(b[:], f.Version)
		f.Version = binary.BigEndian.Uint32(b[:])
	}
	if f.Version != 2 && f.Version != 3 {
		return fmt.Errorf("version %d", f.Version)
	}
	tensors, kvs := c.u64(), c.u64()
	for i := uint64(0); i < kvs && c.err == nil; i++ {
		e := Entry{Key: c.text()}
		e.Type, e.Value = c.value(c.u32())
		f.Metadata = append(f.Metadata, e)
		if e.Key == "general.alignment" {
			n, ok := e.Value.(uint32)
			if !ok || n == 0 {
				return fmt.Errorf("alignment %v", e.Value)
			}
			f.Alignment = uint64(n)
		}
	}
	for i := uint64(0); i < tensors && c.err == nil; i++ {
		t := Tensor{Name: c.text(), BigEndian: f.BigEndian}
		t.Shape = make([]uint64, 0, 4)
		for dims := c.u32(); dims > 0 && c.err == nil; dims-- {
			t.Shape = append(t.Shape, c.u64())
		}
		row := uint64(1)
		if len(t.Shape) > 0 {
			row = t.Shape[0]
		}
		slices.Reverse(t.Shape)
		typ, ok := blocks[c.u32()]
		t.Offset = int64(c.u64())
		if c.err == nil && (!ok || row%typ.elems != 0) {
			return fmt.Errorf("tensor %q: its type, or a row of %d", t.Name, row)
		}
		t.DType = typ.name
		if ok {
			t.Size = int64(t.Elements() / typ.elems * typ.size)
		}
		f.Tensors = append(f.Tensors, t)
	}
	if c.err != nil {
		return c.err
	}
	f.DataOffset = (c.at + int64(f.Alignment) - 1) / int64(f.Alignment) * int64(f.Alignment)
	for i := range f.Tensors {
		f.Tensors[i].Offset += f.DataOffset
	}
	return nil
}

// ReadSet reads the files of a checkpoint. An index says which they are, and
// so does the name of a part of a GGUF split; any other path is one file.
func ReadSet(path string) ([]*File, error) {
	names := []string{path}
	if strings.HasSuffix(path, ".json") {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var index struct {
			Metadata struct {
				Total *int64 `json:"total_size"`
			}
			WeightMap map[string]string `json:"weight_map"`
		}
		if err := json.Unmarshal(raw, &index); err != nil {
			return nil, err
		}
		names = nil
		for _, shard := range index.WeightMap {
			if shard = filepath.Join(filepath.Dir(path), filepath.FromSlash(shard)); !slices.Contains(names, shard) {
				names = append(names, shard)
			}
		}
		slices.Sort(names)
		files, err := readAll(names)
		if err != nil {
			return nil, err
		}
		sum := int64(0)
		for _, f := range files {
			for i := range f.Tensors {
				sum += f.Tensors[i].Size
			}
		}
		if total := index.Metadata.Total; total != nil && *total != sum {
			return nil, fmt.Errorf("%s: total_size is %d, and the tensors have %d bytes", path, *total, sum)
		}
		return files, checkIndex(path, index.WeightMap, files)
	}
	if i := strings.Index(path, "-00001-of-"); i > 0 && strings.HasSuffix(path, ".gguf") {
		var err error
		if names, err = filepath.Glob(path[:i] + "-?????-of-?????.gguf"); err != nil {
			return nil, err
		}
		slices.Sort(names)
	}
	return readAll(names)
}

func readAll(names []string) ([]*File, error) {
	var out []*File
	for _, name := range names {
		f, err := Read(name)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// checkIndex holds an index and its shards to each other.
func checkIndex(path string, weightMap map[string]string, files []*File) error {
	tensors := 0
	for _, f := range files {
		for i := range f.Tensors {
			tensors++
			name := f.Tensors[i].Name
			shard, ok := weightMap[name]
			if !ok || filepath.Join(filepath.Dir(path), filepath.FromSlash(shard)) != f.Path {
				return fmt.Errorf("%s: tensor %q is in %s, and the index says %q", path, name, f.Path, shard)
			}
		}
	}
	if tensors != len(weightMap) {
		return fmt.Errorf("%s: %d names for %d tensors", path, len(weightMap), tensors)
	}
	return nil
}
