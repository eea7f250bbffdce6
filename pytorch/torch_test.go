package pytorch

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

// TestFilesOfTorch reads files that torch wrote, and finds what is written beside each: those
// in testdata, of torch 1.13, and those in the directory WTINSPECT_TORCH, which
// testdata/interop/torch_files.py fills.
func TestFilesOfTorch(t *testing.T) {
	for _, dir := range []string{"testdata", os.Getenv("WTINSPECT_TORCH")} {
		names, err := filepath.Glob(filepath.Join(dir, "*.pt"))
		if err != nil || len(names) == 0 && dir != "" {
			t.Fatal("no files in ", dir, err)
		}
		for _, name := range names {
			t.Run(filepath.Base(name), func(t *testing.T) {
				want, err := os.ReadFile(strings.TrimSuffix(name, ".pt") + ".tsv")
				if err != nil {
					t.Fatal(err)
				}
				f, err := Open(name)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				for _, flt := range f.Validate() {
					switch {
					case flt.Code == CodeExpanded, flt.Code == CodeNestedPickle && f.Container() == Pickle:
					case flt.Code == CodeAttached && flt.Tensor == "per_channel": // its scales are tensors
					default:
						t.Error(flt)
					}
				}
				all, ok := f.Subtree("")
				if !ok {
					t.Fatal("too many tensors")
				}
				var got strings.Builder
				for i, tensor := range all.All() {
					r, err := all.Data(i)
					if err != nil {
						t.Fatal(err)
					}
					sum := sha256.New()
					if _, err := io.Copy(sum, r); err != nil {
						t.Fatal(err)
					}
					fmt.Fprintf(&got, "%s\t%s\t%d\t%d\t%d\t%x\n", tensor.Name, tensor.DType, tensor.Shape, tensor.Strides, tensor.Offset, sum.Sum(nil))
				}
				if diff := gocmp.Diff(string(want), got.String()); diff != "" {
					t.Errorf("tensors (-torch +got):\n%s", diff)
				}
			})
		}
	}
}
