//go:build unix

package tables

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// built is the program that writes tables, built once for all tests.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "wtinspect-test")
	if err != nil {
		return "", err
	}
	builtIn = dir
	bin := filepath.Join(dir, "wtinspect")
	cmd := exec.Command("go", "build", "-tags=parquet", "-o", bin, "../../cmd/wtinspect")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return bin, nil
})

// builtIn is where built put the program, "" before. TestMain removes it.
var builtIn string

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(builtIn)
	os.Exit(code)
}

func program(t *testing.T) string {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// estate makes releases of up to so many layers, with some that nothing can read, and returns
// their directory, with a list of them.
func estate(t *testing.T, n, layers int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	var refs strings.Builder
	for i := range n {
		name := fmt.Sprintf("model-%03d", (i*37)%n)
		if i%20 == 3 {
			name = "nowhere-" + name
		} else {
			text := fmt.Sprintf("data sparse\ntensor model.layers.{0..%d}.mlp.up_proj.weight BF16 [8,8]\ntensor _orig_mod.norm.weight F32 [8]\n", i*(layers-1)/n)
			if err := os.Mkdir(filepath.Join(dir, name), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := fixture.Write(filepath.Join(dir, name, "model.safetensors"), text); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Fprintln(&refs, name)
	}
	must(t, os.WriteFile(filepath.Join(dir, "list.txt"), []byte(refs.String()), 0o666))
	return dir
}

// scan runs the program, and sends it a signal after some time.
func scan(t *testing.T, bin, dir string, sig syscall.Signal, after time.Duration, args ...string) (code int) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(bin, append([]string{"scan", "-q", "--allow-errors", "-f", "parquet", "--files-from", "list.txt"}, args...)...)
	cmd.Dir, cmd.Stderr = dir, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if sig != 0 {
		time.AfterFunc(after, func() { _ = cmd.Process.Signal(sig) }) // it may have ended
	}
	err := cmd.Wait()
	if code = cmd.ProcessState.ExitCode(); sig == 0 && code != 0 {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	return code
}

// TestKill kills and interrupts the program at random moments, WTINSPECT_KILLS of them,
// and has another run go on: the tables are those of a run that nothing disturbed.
func TestKill(t *testing.T) {
	kills := 2
	if n, err := strconv.Atoi(os.Getenv("WTINSPECT_KILLS")); err == nil {
		kills = n
	} else if testing.Short() {
		t.Skip("kills the installed program, without WTINSPECT_KILLS not with -short")
	}
	bin := program(t)
	for _, tt := range []struct {
		name                      string
		releases, layers, perPart int
		groups                    int // row groups, at least, in a part of tensors
		kills                     int
	}{
		{"parts", 80, 9, 60, 1, kills},
		{"row groups", 60, 6000, 100_000, 2, (kills + 9) / 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testKill(t, bin, estate(t, tt.releases, tt.layers), tt.kills, tt.perPart, tt.groups)
		})
	}
}

func testKill(t *testing.T, bin, dir string, kills, perPart, groups int) {
	// What a process that dies leaves is the same in memory, where waiting for the disk
	// takes no time.
	top := t.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "wtinspect-test"); err == nil {
		t.Cleanup(func() { os.RemoveAll(shm) })
		top = shm
	}
	whole := filepath.Join(top, "table")
	start := time.Now()
	rowsOfPart := fmt.Sprint("--part-rows=", perPart)
	scan(t, bin, dir, 0, 0, "-o", whole, rowsOfPart)
	took := time.Since(start)
	want := rows(t, tree(t, whole))
	if parts := len(tree(t, filepath.Join(whole, releases))); parts < 3 {
		t.Fatalf("%d parts", parts)
	}
	most := 0
	for _, part := range tree(t, filepath.Join(whole, "tensors")) {
		f, err := parquet.OpenFile(strings.NewReader(part), int64(len(part)))
		must(t, err)
		most = max(most, len(f.RowGroups()))
	}
	if most < groups {
		t.Fatalf("parts have %d row groups at most, want %d", most, groups)
	}
	killed, interrupted, ended, committed := 0, 0, 0, 0
	for i := range kills {
		out := filepath.Join(top, fmt.Sprint(i))
		rng := rand.New(rand.NewPCG(2, uint64(i)))
		args := []string{"-o", out, rowsOfPart}
		for range 1 + rng.IntN(3) {
			sig := syscall.SIGKILL
			if rng.IntN(4) == 0 {
				sig = syscall.SIGINT
			}
			switch code := scan(t, bin, dir, sig, time.Duration(rng.Int64N(int64(took))), args...); code {
			case -1:
				killed++
			case 130:
				interrupted++
				for name := range tree(t, out) {
					if strings.HasPrefix(filepath.Base(name), ".") {
						t.Errorf("kill %d: interrupted, the program leaves %s", i, name)
					}
				}
			case 0:
				ended++
			default:
				t.Fatalf("kill %d: exit code %d", i, code)
			}
			if _, err := os.Stat(filepath.Join(out, releases)); err == nil && len(tree(t, filepath.Join(out, releases))) > 0 {
				committed++
			}
			args = []string{"-o", out, rowsOfPart, "--resume"}
		}
		scan(t, bin, dir, 0, 0, args...)
		same(t, rows(t, tree(t, out)), want)
		must(t, os.RemoveAll(out))
	}
	t.Logf("%d killed, %d interrupted, %d ended before; %d had committed something", killed, interrupted, ended, committed)
}

// TestUnion has two shards write to one directory: together they are all.
func TestUnion(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the installed program, not with -short")
	}
	bin := program(t)
	dir := estate(t, 60, 9)
	whole, parts := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "parts")
	scan(t, bin, dir, 0, 0, "-o", whole)
	scan(t, bin, dir, 0, 0, "-o", parts, "--shard", "0/2")
	half := rows(t, tree(t, parts))
	scan(t, bin, dir, 0, 0, "-o", parts, "--shard", "1/2")
	want := rows(t, tree(t, whole))
	same(t, rows(t, tree(t, parts)), want)
	if n := len(half[releases]); n == 0 || n == len(want[releases]) {
		t.Errorf("one shard of two has %d of %d releases", n, len(want[releases]))
	}
}
