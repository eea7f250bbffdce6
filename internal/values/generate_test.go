package values

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// grids.bin is what go generate makes of testdata/grids.txt.
func TestGenerate(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the generator")
	}
	program, err := filepath.Abs("gengrids.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/grids.txt")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "testdata"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "testdata", "grids.txt"), text, 0o666); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", program)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, err := os.ReadFile(filepath.Join(dir, "grids.bin"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, []byte(gridBytes)) {
		t.Error("grids.bin is not what go generate makes")
	}
}
