package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	tt "github.com/wtinspect/wtinspect/internal/torchtest"
)

// torchTree is a checkpoint of n tensors, each with a storage of its own unless they are views of one.
func torchTree(shape string, n int) any {
	items := make([]tt.Item, n)
	one := tt.NewTensor("int8", 0, 1)
	for i := range items {
		t := tt.NewTensor("int8", i, 1)
		name := strconv.FormatInt(int64(i), 36)
		switch shape {
		case "long":
			t = tt.NewTensor("bfloat16", i, 1, 1)
			name = fmt.Sprintf("model.layers.%d.mlp.experts.%d.down_proj.weight", i/768, i%768)
		case "views":
			own := *one
			t = &own
		case "parameters":
			t.Parameter = true
		case "nested":
			name = "w"
		}
		items[i] = tt.Item{Key: name, Value: t}
	}
	switch shape {
	case "list":
		list := make(tt.List, n)
		for i := range items {
			list[i] = items[i].Value
		}
		return tt.D("list", list)
	case "nested":
		root := make(tt.Dict, n/2)
		for i := range root {
			root[i] = tt.Item{Key: strconv.FormatInt(int64(i), 36), Value: tt.D("w", items[2*i].Value, "b", items[2*i+1].Value)}
		}
		return root
	case "dict":
		return tt.Dict(items)
	case "training":
		state := make(tt.Dict, n/3)
		for i := range state {
			state[i] = tt.Item{Key: i, Value: tt.D("step", 7, "exp_avg", items[3*i].Value, "exp_avg_sq", items[3*i+1].Value)}
		}
		model := make(tt.Ordered, n/3)
		for i := range model {
			model[i] = tt.Item{Key: fmt.Sprintf("l.%d.weight", i), Value: items[3*i+2].Value}
		}
		return tt.D("model", model, "optimizer", tt.D("state", state, "param_groups", tt.List{}))
	}
	return tt.Ordered(items)
}

func writeFile(tb testing.TB, name string, data []byte) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, data, 0o666); err != nil {
		tb.Fatal(err)
	}
	return path
}

// TestTorchMemory bounds what a listing of 100,000 tensors takes, beyond one of a few: four times their
// pickle of protocol 2, which is torch's own. That of protocol 4 is half as long, for the same tensors.
func TestTorchMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("files of 100,000 tensors: make test runs it")
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("no /proc, which says how much memory a process takes")
	}
	bin := buildBinary(t)
	const n = 100_000
	few := peakMemory(t, bin, "ls", writeFile(t, "few.pt", tt.File{Root: torchTree("dict", 3), Protocol: 2}.Zip().Bytes()))
	for _, shape := range []string{"dict", "long", "short", "nested", "views", "parameters", "list", "training"} {
		for _, protocol := range []int{2, 4} {
			f := tt.File{Root: torchTree(shape, n), Protocol: protocol}
			z := f.Zip()
			z.Zip64 = true
			pickle := int64(len(z.Find("data.pkl").Data))
			limit := 4 * pickle
			if protocol > 2 {
				limit = 400 * n
			}
			for container, data := range map[string][]byte{"zip": z.Bytes(), "legacy": f.Legacy()} {
				file := writeFile(t, "many.pt", data)
				peak := peakMemory(t, bin, "ls", file)
				if peak-few > limit { // garbage is collected later on a machine in use
					peak = min(peak, peakMemory(t, bin, "ls", file))
				}
				t.Logf("%-10s protocol %d %-6s: pickle of %4.1f MiB, peak of %2d MiB, %2d beyond that of few tensors: %.1f times the pickle",
					shape, protocol, container, float64(pickle)/(1<<20), peak>>20, (peak-few)>>20, float64(peak-few)/float64(pickle))
				if peak == 0 || peak-few > limit {
					t.Errorf("%s, protocol %d, %s: %d bytes beyond those for a file of few tensors, at most %d wanted", shape, protocol, container, peak-few, limit)
				}
			}
		}
	}
}

// BenchmarkTorchLs is a listing of 100,000 tensors beside Python's pickletools, which print the opcodes of
// their pickle, or only read them. They run in turn; the figures are medians.
func BenchmarkTorchLs(b *testing.B) {
	interpreter := python(b)
	bin := buildBinary(b)
	z := tt.File{Root: torchTree("long", 100_000), Protocol: 2}.Zip()
	z.Zip64 = true
	file, pickle := writeFile(b, "many.pt", z.Bytes()), writeFile(b, "data.pkl", z.Find("data.pkl").Data)
	const genops = "import pickletools, sys\nfor _ in pickletools.genops(open(sys.argv[1], 'rb')): pass"
	runs := [][]string{{bin, "ls", file}, {interpreter, "-m", "pickletools", pickle}, {interpreter, "-c", genops, pickle}}
	wall, cpu := make([][]time.Duration, len(runs)), make([][]time.Duration, len(runs))
	for range max(5, b.N) {
		for i, args := range runs {
			cmd := exec.Command(args[0], args[1:]...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			begin := time.Now()
			if err := cmd.Run(); err != nil {
				b.Fatalf("%v\n%s", err, &stderr)
			}
			wall[i] = append(wall[i], time.Since(begin))
			cpu[i] = append(cpu[i], cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
		}
	}
	middle := func(list []time.Duration) float64 {
		slices.Sort(list)
		return list[len(list)/2].Seconds()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(1000*middle(wall[0]), "ms")
	b.ReportMetric(1000*middle(cpu[0]), "cpu-ms")
	for i, name := range []string{1: "pickletools", 2: "genops"} {
		if i > 0 {
			b.ReportMetric(middle(wall[i])/middle(wall[0]), name+"/ls")
			b.ReportMetric(middle(cpu[i])/middle(cpu[0]), name+"/ls-cpu")
		}
	}
}

// TestTorchHostileMemory bounds what files take that are made to take much.
func TestTorchHostileMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("files of a million values: make test runs it")
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("no /proc, which says how much memory a process takes")
	}
	bin := buildBinary(t)
	const million = 1_000_000
	archive := func(pickle string, others ...*tt.Member) []byte {
		z := &tt.Zip{Members: append([]*tt.Member{{Name: "a/data.pkl", Data: []byte(pickle)}, {Name: "a/version", Data: []byte("3\n")}}, others...), Zip64: true}
		return z.Bytes()
	}
	text := func(s string) string { return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s }
	var names strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&names, "cm\nf%d\n", i)
	}
	members := make([]*tt.Member, million/2)
	for i := range members {
		members[i] = &tt.Member{Name: "a/data/" + strconv.Itoa(i)}
	}
	long := make([]*tt.Member, 300)
	for i := range long {
		long[i] = &tt.Member{Name: "a/" + strconv.Itoa(i) + strings.Repeat("x", 60_000)}
	}
	missing := torchTree("short", 100_000)
	for _, item := range missing.(tt.Ordered) {
		item.Value.(*tt.Tensor).Storage.Absent = true
	}
	const most = 64 << 20
	for name, data := range map[string][]byte{
		"memo entries":      archive("\x80\x04N" + strings.Repeat("\x94", million) + "."),
		"a frame":           archive("\x80\x04\x95" + string(binary.LittleEndian.AppendUint64(nil, 1<<40)) + "N."),
		"tuples in tuples":  archive("\x80\x02N" + strings.Repeat("\x85", million) + "."),
		"lists in lists":    archive("\x80\x02" + strings.Repeat("]", million) + strings.Repeat("a", million-1) + "."),
		"dicts in dicts":    archive("\x80\x02" + strings.Repeat("}K\x01", million) + "N" + strings.Repeat("s", million) + "."),
		"marks":             archive("\x80\x02" + strings.Repeat("(", million) + "."),
		"names":             archive("\x80\x02(" + names.String() + "l."),
		"members":           archive("\x80\x02N.", members...),
		"members' names":    archive("\x80\x02N.", long...),
		"long nested names": archive("\x80\x02" + strings.Repeat("}"+text(strings.Repeat("k", 1000)), 900) + "N" + strings.Repeat("s", 900) + "."),
		"missing storages":  tt.File{Root: missing, Protocol: 2}.Zip().Bytes(),
	} {
		path := writeFile(t, "hostile.pt", data)
		for command, most := range map[string]int64{"ls": most, "check": 2 * most} {
			peak, err := peakOf(t, bin, command, path)
			if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
				t.Fatal(err)
			}
			t.Logf("%-18s %5.1f MiB, %-5s: peak of %d MiB", name, float64(len(data))/(1<<20), command, peak>>20)
			if peak > most {
				t.Errorf("%s: %s takes %d bytes, at most %d wanted", name, command, peak, most)
			}
		}
	}
}
