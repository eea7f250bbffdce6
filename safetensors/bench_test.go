package safetensors

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"
)

// expertHeader returns the header of n tensors, named and typed like the
// experts of a large mixture model in FP8, as the reference writes it. The data
// it describes need not exist.
func expertHeader(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"__metadata__":{"format":"pt"}`)
	end := uint64(0)
	for i := range n {
		layer, expert := i/(256*6), i/6%256
		name := fmt.Sprintf("model.layers.%d.mlp.experts.%d.%s_proj.weight", layer, expert, []string{"gate", "up", "down"}[i/2%3])
		dtype, shape, size := "F8_E4M3", "[2048,7168]", uint64(2048*7168)
		if i%2 == 1 {
			name += "_scale_inv"
			dtype, shape, size = "F32", "[16,56]", 16*56*4
		}
		fmt.Fprintf(&b, `,"%s":{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`, name, dtype, shape, end, end+size)
		end += size
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	return b.Bytes()
}

// framed puts a header's length before it.
func framed(header []byte) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
}

func BenchmarkNewFile(b *testing.B) {
	// The last is close to the largest header allowed.
	for _, n := range []int{1000, 100_000, 700_000} {
		header := expertHeader(n)
		file := framed(header)
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.Run("parser=wtinspect", func(b *testing.B) {
				b.SetBytes(int64(len(header)))
				b.ReportAllocs()
				r := bytes.NewReader(file)
				for b.Loop() {
					f, err := NewFile(r, r.Size())
					if err != nil || f.Len() != n {
						b.Fatal(err)
					}
				}
			})
			type entry struct {
				DType   string    `json:"dtype"`
				Shape   []uint64  `json:"shape"`
				Offsets [2]uint64 `json:"data_offsets"`
			}
			unmarshal := func(decode func([]byte, any) error) func(*testing.B) {
				return func(b *testing.B) {
					// Without its metadata the header is one map type.
					text := bytes.Replace(header, []byte(`"__metadata__":{"format":"pt"},`), nil, 1)
					b.SetBytes(int64(len(text)))
					b.ReportAllocs()
					for b.Loop() {
						var m map[string]entry
						if err := decode(text, &m); err != nil || len(m) != n {
							b.Fatal(err)
						}
					}
				}
			}
			b.Run("parser=json", unmarshal(json.Unmarshal))
			b.Run("parser=jsonv2", unmarshal(func(text []byte, v any) error { return jsonv2.Unmarshal(text, v) }))
			b.Run("parser=python", func(b *testing.B) { benchmarkPython(b, header) })
		})
	}
}

func BenchmarkValidate(b *testing.B) {
	r := bytes.NewReader(framed(expertHeader(100_000)))
	f, err := NewFile(r, r.Size())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		f.Validate()
	}
}

// benchmarkPython reports how long Python's json.loads takes for a text, best
// of five and without the start of the interpreter.
func benchmarkPython(b *testing.B, text []byte) {
	python, err := exec.LookPath("python3")
	if err != nil {
		b.Skip("no python3")
	}
	name := filepath.Join(b.TempDir(), "text.json")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		b.Fatal(err)
	}
	const script = `
import json, sys, time
text = open(sys.argv[1], "rb").read()
best = 1e9
for _ in range(5):
    start = time.perf_counter()
    json.loads(text)
    best = min(best, time.perf_counter() - start)
print(int(best * 1e9))
`
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		out, err := exec.CommandContext(context.Background(), python, "-c", script, name).Output()
		if err != nil {
			b.Fatal(err)
		}
		ns, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(ns, "ns/op")
		b.ReportMetric(float64(len(text))/ns*1e3, "MB/s")
	}
}
