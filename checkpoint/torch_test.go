package checkpoint_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// torchNames spells the dtypes of safetensors as torch does.
var torchNames = map[string]string{
	"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
	"U8": "uint8", "BOOL": "bool", "C64": "complex64",
}

// TestDistributedOfTorch reads distributed checkpoints whose metadata Python pickled and whose
// chunks torch saved: those in the directory WTINSPECT_TORCH, which
// testdata/interop/dcp_files.py fills.
func TestDistributedOfTorch(t *testing.T) {
	dir := os.Getenv("WTINSPECT_TORCH")
	if dir == "" {
		t.Skip("WTINSPECT_TORCH is not set: see testdata/interop/dcp_files.py")
	}
	names, err := filepath.Glob(filepath.Join(dir, "dcp-*.tsv"))
	if err != nil || len(names) == 0 {
		t.Fatal("nothing in ", dir, err)
	}
	for _, name := range names {
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		c := openPart(t, strings.TrimSuffix(name, ".tsv"), ".") // with the optimiser
		for _, flt := range c.Validate(t.Context()) {
			t.Errorf("%s: %v", name, flt)
		}
		var got strings.Builder
		for i, tensor := range c.All() {
			r, err := c.Data(i)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.New()
			if _, err := io.Copy(sum, r); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&got, "%s\t%s\t%d\t%x\n", tensor.Name, torchNames[tensor.DType], tensor.Shape, sum.Sum(nil))
		}
		if diff := gocmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s (-torch +got):\n%s", name, diff)
		}
	}
}
