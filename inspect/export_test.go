package inspect

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint/assemble"
	"github.com/wtinspect/wtinspect/internal/torchtest"
)

// An archive of torch.export says what it is, and convert what it leaves behind.
func TestExport(t *testing.T) {
	z := &torchtest.Zip{Members: []*torchtest.Member{{Name: "m/data/weights/weight_0", Data: []byte("\x01\x02")}, {
		Name: "m/data/weights/model_weights_config.json",
		Data: []byte(`{"config":{"w":{"path_name":"weight_0","use_pickle":false,"tensor_meta":{"dtype":1,"sizes":[{"as_int":2}],"strides":[{"as_int":1}],"storage_offset":{"as_int":0},"layout":7}}}}`),
	}, {Name: "m/archive_format", Data: []byte("pt2")}, {Name: "m/.data/version", Data: []byte("6\n")}}}
	path := filepath.Join(t.TempDir(), "m.pt2")
	if err := os.WriteFile(path, z.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := Open(t.Context(), []string{filepath.Dir(path)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	r, err := Info(t.Context(), set, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Checkpoints[0].Container(); got != "pytorch, torch.export" || r.Checkpoints[0].Totals.Bytes.N != 2 {
		t.Errorf("%s, %+v", got, r.Checkpoints[0].Totals)
	}
	if got := ScriptText(set.Checkpoints[0]); got != "torch.export, with a graph beside the weights" {
		t.Error(got)
	}
	v, err := Convert(t.Context(), set.Checkpoints, &ConvertOptions{Write: assemble.Options{Output: filepath.Join(t.TempDir(), "m.safetensors")}})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if !slices.ContainsFunc(v.Notes, func(note string) bool { return strings.Contains(note, "the graph of torch.export is not converted") }) {
		t.Errorf("%q", v.Notes)
	}
}
