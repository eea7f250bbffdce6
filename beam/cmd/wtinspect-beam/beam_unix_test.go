//go:build unix

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// programs are built once: this one, wtinspect that writes tables itself, and Beam's Prism.
var programs struct {
	once           sync.Once
	dir            string
	beam, scan, pr string
	err            error
}

func build(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs programs: make beam runs them")
	}
	programs.once.Do(func() {
		dir, err := os.MkdirTemp("", "wtinspect-beam-test-")
		if err != nil {
			programs.err = err
			return
		}
		programs.dir = dir
		for _, p := range []struct {
			path *string
			name string
			args []string
		}{
			{&programs.beam, "wtinspect-beam", []string{"."}},
			{&programs.scan, "wtinspect", []string{"-C", filepath.Join("..", "..", ".."), "-tags=parquet", "./cmd/wtinspect"}},
			{&programs.pr, "prism", []string{"github.com/apache/beam/sdks/v2/go/cmd/prism"}},
		} {
			*p.path = filepath.Join(dir, p.name)
			args := []string{"build"}
			if p.args[0] == "-C" {
				args, p.args = append(args, p.args[:2]...), p.args[2:]
			}
			cmd := exec.Command("go", append(append(args, "-ldflags=-s -w", "-o", *p.path), p.args...)...)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				programs.err = fmt.Errorf("%s: %w\n%s", p.name, err, out)
				return
			}
		}
	})
	if programs.err != nil {
		t.Fatal(programs.err)
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(programs.dir)
	os.Exit(code)
}

// models makes releases of several kinds, with some that nothing can read, and a list of them.
func models(t *testing.T, n int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	var list strings.Builder
	for i := range n {
		name := fmt.Sprintf("model-%04d", (i*37)%n)
		release := filepath.Join(dir, name)
		if err := os.Mkdir(release, 0o777); err != nil {
			t.Fatal(err)
		}
		file, text := "model.safetensors", fmt.Sprintf("data sparse\ntensor model.layers.{0..%d}.mlp.up_proj.weight BF16 [8,8]\ntensor model.norm.weight F32 [8]\n", i%9)
		switch i % 10 {
		case 1:
			text = fmt.Sprintf("data sparse\ntensor _orig_mod.model.layers.{0..%d}.mlp.up_proj.weight BF16 [8,8]\ntensor \"_orig_mod.norm.weight \" F32 []\n", i%5)
		case 2:
			file, text = "model.gguf", "data sparse\ntensor blk.{0..3}.ffn_up.weight F32 [8,8]\n"
		}
		var err error
		switch i % 20 {
		case 3:
			err = os.Remove(release)
		case 4:
			err = os.WriteFile(filepath.Join(release, file), []byte("\x10\x00\x00\x00\x00\x00\x00\x00{"), 0o666)
		case 5: // no weights
		default:
			err = fixture.Write(filepath.Join(release, file), text)
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&list, name)
	}
	fmt.Fprint(&list, "# not a release\n\nmodel-0000/\n") // the first again
	if err := os.WriteFile(filepath.Join(dir, "list.txt"), []byte(list.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A ran is what became of a program.
type ran struct {
	code   int
	stderr string
	took   time.Duration
	memory int64 // the most it had, in KiB
}

func start(t *testing.T, dir, bin string, args ...string) (cmd *exec.Cmd, wait func() ran) {
	t.Helper()
	var stderr bytes.Buffer
	cmd = exec.Command(bin, args...)
	cmd.Dir, cmd.Stderr = dir, &stderr
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir()) // killed, it leaves what is in there
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, func() ran {
		_ = cmd.Wait() // the code says it
		return ran{cmd.ProcessState.ExitCode(), stderr.String(), time.Since(begun), cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss}
	}
}

func do(t *testing.T, code int, dir, bin string, args ...string) ran {
	t.Helper()
	_, wait := start(t, dir, bin, args...)
	r := wait()
	if r.code != code {
		t.Fatalf("%s %q: exit code %d, want %d\n%s", filepath.Base(bin), args, r.code, code, r.stderr)
	}
	return r
}

// rows reads all parts of the tables, without the types that they were written from.
func rows(t *testing.T, dir string) map[string][]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, p := range paths {
		list, err := parquet.ReadFile[any](p)
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		table := filepath.Base(filepath.Dir(p))
		for _, row := range list {
			out[table] = append(out[table], fmt.Sprint(row))
		}
	}
	for _, list := range out {
		slices.Sort(list)
	}
	return out
}

func same(t *testing.T, got, want map[string][]string) {
	t.Helper()
	if reflect.DeepEqual(got, want) {
		return
	}
	for table, w := range want {
		g := got[table]
		for i := range max(len(g), len(w)) {
			if i >= len(g) || i >= len(w) || g[i] != w[i] {
				t.Errorf("%s has %d rows, want %d; row %d is %.300q, want %.300q", table, len(g), len(w), i, slices.Concat(g, []string{"", ""})[min(i, len(g))], slices.Concat(w, []string{""})[min(i, len(w))])
				break
			}
		}
	}
	t.FailNow()
}

// releases is how many releases the tests compare, BEAM_RELEASES of them.
func releases(t *testing.T) int {
	if n, err := strconv.Atoi(os.Getenv("BEAM_RELEASES")); err == nil {
		return n
	}
	return 60
}

// jobServer starts Prism as a job server, and returns its address.
func jobServer(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	port := lis.Addr().(*net.TCPAddr).Port
	lis.Close()
	cmd, wait := start(t, t.TempDir(), programs.pr, fmt.Sprintf("--job_port=%d", port), "--serve_http=false")
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		r := wait()
		t.Logf("the job server had %d MiB at most", r.memory>>10)
		if t.Failed() {
			t.Logf("%.4000s", r.stderr)
		}
	})
	address := fmt.Sprintf("localhost:%d", port)
	for range 300 {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return address
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("nobody listens at %s", address)
	return ""
}

// TestEqual has the same releases scanned by wtinspect, on the Prism in this program and on one
// that is a job server: the tables are equal, row for row, in all columns.
func TestEqual(t *testing.T) {
	build(t)
	n := releases(t)
	dir := models(t, n)
	out := t.TempDir()
	report := func(what string, r ran) { t.Logf("%s: %.1f s, %d MiB", what, r.took.Seconds(), r.memory>>10) }
	whole := filepath.Join(out, "scan")
	report("wtinspect scan", do(t, 2, dir, programs.scan, "scan", "-q", "--files-from", "list.txt", "-f", "parquet", "-o", whole))
	want := rows(t, whole)
	if len(want["releases"]) != n || len(want["findings"]) < n/10 || len(want["tensors"]) < 2*n {
		t.Fatalf("%d releases, %d tensors, %d findings", len(want["releases"]), len(want["tensors"]), len(want["findings"]))
	}
	embedded := filepath.Join(out, "embedded")
	r := do(t, 2, dir, programs.beam, "--files-from", "list.txt", "--out", embedded+"/", "--parts", "4")
	report("Prism within", r)
	same(t, rows(t, embedded), want)
	// What it says is what scan says, and Beam says nothing.
	said := do(t, 0, dir, programs.scan, "scan", "--files-from", "list.txt", "--allow-errors", "-f", "jsonl", "-o", filepath.Join(out, "rows")).stderr
	first, _, _ := strings.Cut(said, "\n")
	if r.stderr != strings.Replace(first, "wtinspect:", "wtinspect-beam:", 1)+"\n" {
		t.Errorf("it says %q, and scan %q", r.stderr, first)
	}
	// Part I of N is what the shard of this number takes.
	for i := range 4 {
		shard := filepath.Join(out, fmt.Sprint("shard-", i))
		do(t, 0, dir, programs.scan, "scan", "-q", "--allow-errors", "--files-from", "list.txt", "-f", "parquet", "-o", shard, "--shard", fmt.Sprint(i, "/4"))
		part := filepath.Join(out, fmt.Sprint("part-", i))
		paths, _ := filepath.Glob(filepath.Join(embedded, "*", fmt.Sprintf("part-%05d-of-00004-*", i)))
		for _, p := range paths {
			to := filepath.Join(part, filepath.Base(filepath.Dir(p)), filepath.Base(p))
			if err := errorsOf(os.MkdirAll(filepath.Dir(to), 0o777), os.Link(p, to)); err != nil {
				t.Fatal(err)
			}
		}
		same(t, rows(t, part), rows(t, shard))
	}

	server := filepath.Join(out, "server")
	report("through a job server", do(t, 0, dir, programs.beam, "-q", "--files-from", "list.txt", "--out", server, "--parts", "3", "--allow-errors",
		"--runner=universal", "--endpoint="+jobServer(t), "--environment_type=LOOPBACK"))
	same(t, rows(t, server), want)
}

func errorsOf(list ...error) error {
	for _, err := range list {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestValues compares what is read of the data, with numbers that JSON does not have, and
// how rules are chosen.
func TestValues(t *testing.T) {
	build(t)
	dir := t.TempDir()
	// Squares of the largest numbers are infinite, and so is what is added up of them.
	header := `{"nan":{"dtype":"F64","shape":[2],"data_offsets":[0,16]},"large":{"dtype":"F64","shape":[2],"data_offsets":[16,32]}}`
	header += strings.Repeat(" ", -len(header)&7)
	odd := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	odd = append(odd, header...)
	for _, x := range []float64{math.NaN(), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64} {
		odd = binary.LittleEndian.AppendUint64(odd, math.Float64bits(x))
	}
	if err := errorsOf(
		os.Mkdir(filepath.Join(dir, "a"), 0o777), fixture.Write(filepath.Join(dir, "a", "model.safetensors"), "tensor w F32 [64,8]\ntensor b BF16 [8]\n"),
		os.Mkdir(filepath.Join(dir, "b"), 0o777), os.WriteFile(filepath.Join(dir, "b", "model.safetensors"), odd, 0o666),
	); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--values", "--select="}, {"--values", "--ignore", "WT1,WT4", "--profile", "vllm"}} {
		whole, parts := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "parts")
		do(t, 0, dir, programs.scan, append([]string{"scan", "-q", "-R", ".", "-f", "parquet", "-o", whole}, args...)...)
		do(t, 0, dir, programs.beam, append([]string{"-q", "-R", ".", "--out", parts}, args...)...)
		want := rows(t, whole)
		if len(want["stats"]) != 4 {
			t.Fatalf("%d rows of stats", len(want["stats"]))
		}
		same(t, rows(t, parts), want)
	}
}

// TestGoOn has wtinspect go on, shard by shard, with what a pipeline has written, and left
// unfinished: the tables are those of a scan that nothing disturbed. The other way round, and
// a second time, a directory with tables is refused.
func TestGoOn(t *testing.T) {
	build(t)
	dir := models(t, 60)
	out := t.TempDir()
	whole := filepath.Join(out, "whole")
	do(t, 0, dir, programs.scan, "scan", "-q", "--allow-errors", "--files-from", "list.txt", "-f", "parquet", "-o", whole)
	want := rows(t, whole)
	goOn := func(table string) {
		t.Helper()
		for i := range 3 {
			do(t, 0, dir, programs.scan, "scan", "-q", "--allow-errors", "--files-from", "list.txt", "-f", "parquet", "-o", table, "--resume", "--shard", fmt.Sprint(i, "/3"))
		}
		same(t, rows(t, table), want)
	}
	args := func(table string) []string {
		return []string{"-q", "--allow-errors", "--files-from", "list.txt", "--out", table, "--parts", "3", "--part-rows", "40"}
	}
	table := filepath.Join(out, "table")
	took := do(t, 0, dir, programs.beam, args(table)...).took
	goOn(table)
	for _, to := range []string{table, whole} {
		if r := do(t, 2, dir, programs.beam, args(to)...); !strings.Contains(r.stderr, "--resume") && !strings.Contains(r.stderr, "are those of 1 shard") {
			t.Errorf("%s", r.stderr)
		}
	}

	kills := 4
	if n, err := strconv.Atoi(os.Getenv("WTINSPECT_KILLS")); err == nil {
		kills = n
	}
	killed, interrupted, some := 0, 0, 0
	for i := range kills {
		rng := rand.New(rand.NewPCG(5, uint64(i)))
		table := filepath.Join(out, fmt.Sprint(i))
		cmd, wait := start(t, dir, programs.beam, args(table)...)
		time.Sleep(took/4 + time.Duration(rng.Int64N(int64(took)*2/3)))
		sig := []syscall.Signal{syscall.SIGINT, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL}[i%4]
		_ = cmd.Process.Signal(sig) // it may have ended
		switch r := wait(); r.code {
		case -1:
			killed++
		case exitInterrupted:
			interrupted++
			for _, pattern := range []string{".*", "*/.*"} {
				if left, _ := filepath.Glob(filepath.Join(table, pattern)); len(left) > 0 {
					t.Errorf("interrupted, it leaves %v", left)
				}
			}
		case exitOK:
		default:
			t.Fatalf("exit code %d\n%s", r.code, r.stderr)
		}
		// What a reader sees is whole.
		seen := rows(t, table)
		for name, list := range seen {
			for _, row := range list {
				if _, ok := slices.BinarySearch(want[name], row); !ok {
					t.Fatalf("%s has a row of its own: %s", name, row)
				}
			}
		}
		if n := len(seen["releases"]); n > 0 && n < len(want["releases"]) {
			some++
		}
		goOn(table)
	}
	t.Logf("%d killed, %d interrupted; %d had written some releases and not all", killed, interrupted, some)
}

// TestUsage has what is wrong with a command line reported, before anything is done.
func TestUsage(t *testing.T) {
	build(t)
	dir := models(t, 2)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"list.txt"}, "--out names the directory of the tables"},
		{[]string{"--out", "t", "--parts", "0"}, "--parts 0: there are between 1 and 10000"},
		{[]string{"--out", "t", "--part-rows", "-1"}, "--part-rows -1: the number of tensors cannot be negative"},
		{[]string{"--out", "t", "-j", "-1"}, "-j -1: the number of inputs"},
		{[]string{"--out", "t", "--rate", "-1"}, "--rate -1: the number of requests"},
		{[]string{"--out", "t", "--profile", "nobody"}, "nobody"},
		{[]string{"--out", "t", "--select", "WT999"}, "WT999"},
		{[]string{"--out", "t", "--config", "nowhere.yaml"}, "nowhere.yaml: "},
		{[]string{"--out", "t", "--files-from", "nowhere.txt"}, "nowhere.txt: "},
		{[]string{"--out", "t", "--bad"}, "unknown flag: --bad"},
		{[]string{"--out", "t", "--runner", "nobody"}, "nobody"},
		{[]string{"--out", "nowhere/t", "."}, "nowhere"},
	} {
		r := do(t, 2, dir, programs.beam, tt.args...)
		if !strings.Contains(r.stderr, tt.want) || !strings.HasPrefix(r.stderr, "wtinspect-beam: ") || strings.Count(r.stderr, "\n") > 2 {
			t.Errorf("%q: %s", tt.args, r.stderr)
		}
	}
	if made, _ := filepath.Glob(filepath.Join(dir, "t")); len(made) > 0 {
		t.Error("a directory was made")
	}
	for _, flag := range []string{"--help", "--help-beam", "--version"} {
		out, err := exec.Command(programs.beam, flag).Output()
		if err != nil || len(out) == 0 {
			t.Errorf("%s: %v", flag, err)
		}
	}
}
