package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// The benchmarks of this file time whole processes, as a user meets them:
// start-up, work, output and exit. Each stands beside what it is compared
// with, in one run, so that the figures can be read as ratios.

// pythonLs is what ls does, written with Python's json module, the fastest
// way to read a header that needs no package.
const pythonLs = `
import json, os, sys
out = []
for name in sorted(os.listdir(sys.argv[1])):
    if not name.endswith(".safetensors"):
        continue
    with open(os.path.join(sys.argv[1], name), "rb") as f:
        n = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(n))
    header.pop("__metadata__", None)
    for tensor, t in header.items():
        b, e = t["data_offsets"]
        out.append(f'{tensor}\t{t["dtype"]}\t{t["shape"]}\t{e-b}\n')
sys.stdout.write("".join(out))
`

const helloWorld = `package main

import "os"

func main() { os.Stdout.WriteString("hello, world\n") }
`

func BenchmarkProcessLs(b *testing.B) {
	bin := buildBinary(b)

	large := b.TempDir()
	if err := fixture.DeepSeekV3(large); err != nil {
		b.Fatal(err)
	}
	small := b.TempDir()
	text := "data sparse\ntensor model.layers.{0..499}.self_attn.q_proj.weight BF16 [4096,4096]\n" +
		"tensor model.layers.{0..499}.mlp.down_proj.weight BF16 [4096,11008]\n"
	if err := fixture.Write(filepath.Join(small, "model.safetensors"), text); err != nil {
		b.Fatal(err)
	}

	for _, release := range []struct{ name, dir string }{{"shards=163/tensors=91991", large}, {"shards=1/tensors=1000", small}} {
		for _, out := range []string{"null", "pipe"} {
			b.Run(release.name+"/out="+out+"/wtinspect", func(b *testing.B) { process(b, out == "pipe", bin, "ls", release.dir) })
			b.Run(release.name+"/out="+out+"/python", func(b *testing.B) { process(b, out == "pipe", python(b), "-c", pythonLs, release.dir) })
		}
	}
	b.Run("version", func(b *testing.B) { process(b, false, bin, "version") })
	b.Run("hello", func(b *testing.B) {
		src := filepath.Join(b.TempDir(), "hello.go")
		if err := os.WriteFile(src, []byte(helloWorld), 0o644); err != nil {
			b.Fatal(err)
		}
		hello := strings.TrimSuffix(src, ".go")
		if out, err := exec.Command("go", "build", "-trimpath", "-o", hello, src).CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		process(b, false, hello)
	})
}

// process runs a command once an iteration and reports its processor time and
// peak memory beside the wall time. Its output goes to /dev/null, or through a
// pipe to a reader that waits in the kernel and reads 128 KiB at a time, as cat
// does.
func process(b *testing.B, pipe bool, name string, args ...string) {
	b.Helper()
	var cpu, printed int64
	buf := make([]byte, 128<<10)
	for b.Loop() {
		cmd := exec.Command(name, args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if pipe {
			printed = readAll(b, cmd, buf)
		} else if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			b.Fatalf("%v\n%s", err, &stderr)
		}
		cpu += (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Nanoseconds()
	}
	b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
	if peak := peakMemory(b, name, args...); peak > 0 {
		b.ReportMetric(float64(peak)/(1<<20), "MiB-peak")
	}
	if pipe {
		b.ReportMetric(float64(printed), "bytes-out")
	}
}

// readAll starts a command, reads its output to the end and returns how much it was.
func readAll(b *testing.B, cmd *exec.Cmd, buf []byte) (size int64) {
	b.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	r.Fd() // makes reading block
	cmd.Stdout = w
	err = cmd.Start()
	w.Close()
	for err == nil {
		var n int
		n, err = r.Read(buf)
		size += int64(n)
	}
	if err != io.EOF {
		b.Fatal(err)
	}
	return size
}

// peakMemory runs a command once more and returns its peak resident memory, 0
// where the system does not tell. It asks while the command runs, because
// what a parent is told after the end counts the memory of the parent itself,
// which a child shares until it runs its own program.
func peakMemory(b testing.TB, name string, args ...string) int64 {
	b.Helper()
	peak, err := peakOf(b, name, args...)
	if err != nil {
		b.Fatal(err)
	}
	return peak
}

// peakOf is peakMemory of a command that may fail, and how it ended.
func peakOf(b testing.TB, name string, args ...string) (peak int64, err error) {
	b.Helper()
	cmd := exec.Command(name, args...)
	ended := make(chan error)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	go func() { ended <- cmd.Wait() }()
	often := time.NewTicker(2 * time.Millisecond)
	defer often.Stop()
	for {
		select {
		case err := <-ended:
			return peak, err
		case <-often.C:
		}
		status, _ := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/status")
		if _, rest, ok := strings.Cut(string(status), "VmHWM:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			peak = max(peak, kb<<10)
		}
	}
}

// builtBinary is the program, built once for all tests. TestMain removes it.
var builtBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "wtinspect-test")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	if err := os.Chmod(dir, 0o755); err != nil { // other users run it, too
		return "", err
	}
	bin := filepath.Join(dir, "wtinspect")
	if runtime.GOOS == "windows" {
		bin += ".exe"
	}
	cmd := exec.Command("go", "build", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return bin, nil
})

// binaryDir is where builtBinary put the program, "" before.
var binaryDir string

// buildBinary returns the program as a user gets it.
func buildBinary(tb testing.TB) string {
	tb.Helper()
	bin, err := builtBinary()
	if err != nil {
		tb.Fatal(err)
	}
	return bin
}

// parquetBinary builds the program that writes Parquet.
func parquetBinary(tb testing.TB) string {
	tb.Helper()
	program := filepath.Join(tb.TempDir(), "wtinspect-parquet")
	cmd := exec.Command("go", "build", "-tags=parquet", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("%v\n%s", err, out)
	}
	return program
}

// python returns the interpreter itself: what the path has may be a script
// that finds one, and would be timed too.
func python(b *testing.B) string {
	b.Helper()
	out, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		b.Skipf("python3, the comparison, cannot be run: %v", err)
	}
	return strings.TrimSpace(string(out))
}
