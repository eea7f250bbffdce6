package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/nlpodyssey/safetensors"
	"github.com/ollama/ollama/fs/ggml"
	"github.com/x448/float16"
)

// A tensor is what a reader makes of one in a file. values is nil where the
// elements are not numbers.
type tensor struct {
	name   string
	dtype  string
	shape  []uint64
	data   []byte
	values []float32
}

var numbers = regexp.MustCompile(`\{(\d+)-(\d+)\}`)

// expand returns a line for each of the numbers of {0-3}.
func expand(line string) []string {
	m := numbers.FindStringSubmatchIndex(line)
	if m == nil {
		return []string{line}
	}
	first, _ := strconv.Atoi(line[m[2]:m[3]])
	last, _ := strconv.Atoi(line[m[4]:m[5]])
	var out []string
	for n := first; n <= last; n++ {
		out = append(out, expand(line[:m[0]]+strconv.Itoa(n)+line[m[1]:])...)
	}
	return out
}

// build makes the tensors of a model. The numbers are taken at random from those
// that BF16, F16 and F32 have, so that no conversion between them rounds, and
// depend on the name alone.
func (m *model) build(dtype string) ([]tensor, error) {
	var out []tensor
	for line := range strings.Lines(m.tensors) {
		for _, line := range expand(strings.TrimSpace(line)) {
			if line == "" {
				continue
			}
			t := tensor{dtype: dtype}
			count := uint64(1)
			for i, field := range strings.Fields(line) {
				n, err := strconv.ParseUint(field, 10, 32)
				switch {
				case i == 0:
					t.name = field
				case err != nil:
					t.dtype = field
				default:
					t.shape = append(t.shape, n)
					count *= n
				}
			}
			seed := fnv.New64a()
			seed.Write([]byte(t.name))
			random := rand.New(rand.NewPCG(seed.Sum64(), 0))
			for i := range count {
				// 7 bits after the point, exponents from -6 to 0.
				v := math.Ldexp(float64(128+random.IntN(128)), random.IntN(7)-13)
				if random.IntN(2) == 0 {
					v = -v
				}
				switch t.dtype {
				case "F32":
					t.data = binary.LittleEndian.AppendUint32(t.data, math.Float32bits(float32(v)))
				case "BF16":
					t.data = binary.LittleEndian.AppendUint16(t.data, uint16(math.Float32bits(float32(v))>>16))
				case "F16":
					t.data = binary.LittleEndian.AppendUint16(t.data, uint16(float16.Fromfloat32(float32(v))))
				case "U8":
					t.data = append(t.data, byte(random.IntN(256)))
				case "I64":
					t.data = binary.LittleEndian.AppendUint64(t.data, i)
				default:
					return nil, fmt.Errorf("%s: dtype %s", t.name, t.dtype)
				}
			}
			out = append(out, t)
		}
	}
	return out, nil
}

// write writes a model's checkpoint and what a converter reads beside it.
func (m *model) write(dir, dtype string) error {
	tensors, err := m.build(dtype)
	if err != nil {
		return err
	}
	type entry struct {
		DType   string   `json:"dtype"`
		Shape   []uint64 `json:"shape"`
		Offsets [2]int   `json:"data_offsets"`
	}
	header := make(map[string]entry)
	var data bytes.Buffer
	for _, t := range tensors {
		if _, again := header[t.name]; again {
			return fmt.Errorf("%s: %s is there twice", m.name, t.name)
		}
		start := data.Len()
		data.Write(t.data)
		header[t.name] = entry{t.dtype, t.shape, [2]int{start, data.Len()}}
	}
	h, err := json.Marshal(header)
	if err != nil {
		return err
	}
	h = append(h, bytes.Repeat([]byte{' '}, -len(h)&7)...)
	file := binary.LittleEndian.AppendUint64(nil, uint64(len(h)))
	file = slices.Concat(file, h, data.Bytes())
	weights, conf := "model.safetensors", "config.json"
	if m.base != "" {
		weights, conf = "adapter_model.safetensors", "adapter_config.json"
	}
	vocab := make(map[string]int)
	for i := range 48 {
		vocab[fmt.Sprintf("t%02d", i)] = i
	}
	tokenizer, err := json.Marshal(map[string]any{"model": map[string]any{"type": "BPE", "vocab": vocab, "merges": []string{}}})
	if err != nil {
		return err
	}
	files := map[string][]byte{weights: file, conf: []byte("{" + m.config + "}"), "tokenizer.json": tokenizer}
	for name, text := range m.beside {
		files[name] = []byte(text)
	}
	if err := os.Mkdir(dir, 0o777); err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			return err
		}
	}
	return nil
}

// readGGUF reads a GGUF file with ollama's reader.
func readGGUF(path string) (map[string]tensor, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	g, err := ggml.Decode(bytes.NewReader(file), -1)
	if err != nil {
		return nil, err
	}
	out := make(map[string]tensor)
	for _, t := range g.Tensors().Items() {
		start := g.Tensors().Offset + t.Offset
		r := tensor{name: t.Name, dtype: ggml.TensorType(t.Kind).String(), shape: slices.Clone(t.Shape), data: file[start : start+t.Size()]}
		slices.Reverse(r.shape)
		r.decode()
		out[r.name] = r
	}
	return out, nil
}

// readSafetensors reads the only .safetensors file of a directory, with a port of
// the reference reader.
func readSafetensors(dir string) (map[string]tensor, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err != nil {
		return nil, err
	}
	if len(names) != 1 {
		return nil, errors.New("not one file of weights")
	}
	file, err := os.ReadFile(names[0])
	if err != nil {
		return nil, err
	}
	st, err := safetensors.Deserialize(file)
	if err != nil {
		return nil, err
	}
	out := make(map[string]tensor)
	for _, t := range st.Tensors() {
		r := tensor{name: t.Name, dtype: fmt.Sprint(t.TensorView.DType()), shape: t.TensorView.Shape(), data: t.TensorView.Data()}
		r.decode()
		out[r.name] = r
	}
	return out, nil
}

func (t *tensor) decode() {
	switch t.dtype {
	case "F32":
		for b := range slices.Chunk(t.data, 4) {
			t.values = append(t.values, math.Float32frombits(binary.LittleEndian.Uint32(b)))
		}
	case "F16":
		for b := range slices.Chunk(t.data, 2) {
			t.values = append(t.values, float16.Frombits(binary.LittleEndian.Uint16(b)).Float32())
		}
	case "BF16":
		for b := range slices.Chunk(t.data, 2) {
			t.values = append(t.values, math.Float32frombits(uint32(binary.LittleEndian.Uint16(b))<<16))
		}
	}
}

// differ says how two tensors differ, "" when they have the same shape and the
// same numbers. What a converter computes may be off by a rounding of F32.
func differ(ours, theirs tensor) string {
	if !slices.Equal(ours.shape, theirs.shape) {
		return fmt.Sprintf("shape %v, theirs %v", ours.shape, theirs.shape)
	}
	if ours.values == nil || theirs.values == nil {
		if ours.dtype != theirs.dtype || !bytes.Equal(ours.data, theirs.data) {
			return "bytes of " + ours.dtype + ", theirs " + theirs.dtype
		}
		return ""
	}
	n := 0
	for i, v := range ours.values {
		if w := theirs.values[i]; v != w && math.Abs(float64(v-w)) > 2e-7*math.Abs(float64(w)) {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	kind := "values"
	sorted := func(v []float32) []float32 { return slices.Sorted(slices.Values(v)) }
	if slices.Equal(sorted(ours.values), sorted(theirs.values)) {
		kind = "order"
	}
	return fmt.Sprintf("%s (%d of %d)", kind, n, len(ours.values))
}
