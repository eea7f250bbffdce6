package evidence

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/testdata"
)

// A weight is a tensor of a test, with all its numbers.
type weight struct {
	name  string
	dtype string // F32 or BF16
	shape []int
	v     []float64
}

// open writes tensors to a file and opens it.
func open(t testing.TB, list ...weight) *checkpoint.Checkpoint {
	t.Helper()
	var text strings.Builder
	for _, w := range list {
		fmt.Fprintf(&text, "tensor %s %s %s hex=%s\n", w.name, w.dtype, strings.ReplaceAll(fmt.Sprint(w.shape), " ", ","), hex.EncodeToString(w.bytes()))
	}
	return openFile(t, fixture.File(t, "model.safetensors", text.String()))
}

func (w *weight) bytes() []byte {
	var b []byte
	for _, x := range w.v {
		u := math.Float32bits(float32(x))
		if w.dtype == "F32" {
			b = binary.LittleEndian.AppendUint32(b, u)
			continue
		}
		b = binary.LittleEndian.AppendUint16(b, uint16((u+0x7fff+u>>16&1)>>16)) // to the nearest, ties to even
	}
	return b
}

func openFile(t testing.TB, path string) *checkpoint.Checkpoint {
	t.Helper()
	r, err := checkpoint.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r.Checkpoints[0]
}

// tiny opens one of the small trained models.
func tiny(t testing.TB, name string) *checkpoint.Checkpoint {
	t.Helper()
	return openFile(t, testdata.Path(t, "tinyllama/"+name))
}

func beside(t testing.TB, a, b *checkpoint.Checkpoint) *Weights {
	t.Helper()
	w, err := New(a, b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// normal is normally distributed numbers.
func normal(seed uint64, n int) []float64 {
	r := rand.New(rand.NewPCG(seed, 1))
	v := make([]float64, n)
	for i := range v {
		v[i] = r.NormFloat64() * 0.02
	}
	return v
}

// noise adds so much of unrelated numbers that the cosine of the result to v is about cos.
func noise(v []float64, cos float64, seed uint64) []float64 {
	out := normal(seed, len(v))
	for i := range out {
		out[i] = cos*v[i] + math.Sqrt(1-cos*cos)*out[i]
	}
	return out
}

func each(v []float64, f func(float64) float64) []float64 {
	out := slices.Clone(v)
	for i := range out {
		out[i] = f(out[i])
	}
	return out
}

// transposed is the matrix of r rows turned.
func transposed(v []float64, r int) []float64 {
	c := len(v) / r
	out := make([]float64, len(v))
	for i := range r {
		for j := range c {
			out[j*r+i] = v[i*c+j]
		}
	}
	return out
}

// openWith is open for a release with a configuration.
func openWith(t testing.TB, config string, list ...weight) *checkpoint.Checkpoint {
	t.Helper()
	name := "config.json"
	if strings.Contains(config, "n_heads") {
		name = "params.json"
	}
	path := open(t, list...).Path
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), name), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return openFile(t, path)
}
