package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/internal/txn/disktest"
)

const toolVersion = "v1.2.3"

// made is what a scan would find of a repository.
func made(repository, state string, count int) *inspect.Scanned {
	from := inspect.ScannedFrom{SchemaVersion: inspect.ScanSchemaVersion, ToolVersion: toolVersion, Repository: repository}
	file, none := "model.safetensors", int64(0)
	s := &inspect.Scanned{
		Release:  inspect.ScannedRelease{ScannedFrom: from, State: state, Wrappers: []string{}, Tensors: int64(count)},
		Files:    []inspect.ScannedFile{{ScannedFrom: from, File: file, Bytes: &none}},
		Findings: []inspect.ScannedFinding{{ScannedFrom: from, Rule: "WT101", Name: "a-rule"}},
		Stats:    func(func(inspect.ScannedStats) bool) {},
	}
	s.Tensors = func(yield func(inspect.ScannedTensor) bool) {
		for i := range count {
			if !yield(inspect.ScannedTensor{ScannedFrom: from, File: &file, Name: fmt.Sprintf("model.layers.%07d.weight", i), Shape: []int64{int64(i), 4}, Offset: &none}) {
				return
			}
		}
	}
	return s
}

// failure is what a scan would find of an input that nobody can read.
func failure(repository string) *inspect.Scanned {
	s := made(repository, "", 0)
	code := "not_found"
	s.Release.ErrorCode, s.Files, s.Findings = &code, nil, nil
	return s
}

// estate are releases, not in their order; every seventh failed.
func estate(n int) (list []*inspect.Scanned) {
	for i := range n {
		name := fmt.Sprintf("repo-%03d", (i*37)%n)
		if i%7 == 3 {
			list = append(list, failure(name))
		} else {
			list = append(list, made(name, "s", i%13))
		}
	}
	return list
}

// chunksOf are the chunks of releases, shuffled, as a runner delivers them.
func chunksOf(list []*inspect.Scanned, seed uint64) (out [][]byte) {
	for i, s := range list {
		eachChunk(int64(i), s, func(b []byte) { out = append(out, bytes.Clone(b)) })
	}
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// deliver is the iterator of a group. It uses the same memory for each value, as it may.
func deliver(list [][]byte) func(*[]byte) bool {
	i := 0
	var buf []byte
	return func(b *[]byte) bool {
		if i == len(list) {
			return false
		}
		for j := range buf {
			buf[j] = 0xff
		}
		buf = append(buf[:0], list[i]...)
		*b = buf
		i++
		return true
	}
}

func write(t *testing.T, sys txn.System, dir string, list [][]byte) error {
	t.Helper()
	f := &writeFn{Options{Dir: dir, Parts: 4, Version: toolVersion, PartRows: 20}}
	chunks, err := readChunks(deliver(list))
	if err != nil {
		t.Fatal(err)
	}
	return f.write(t.Context(), sys, 2, chunks)
}

// rows reads tables without the types that they were written from.
func rows(t *testing.T, files map[string]string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for name, text := range files {
		if path.Ext(name) != ".parquet" || strings.HasPrefix(path.Base(name), ".") {
			continue
		}
		list, err := parquet.Read[any](strings.NewReader(text), int64(len(text)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		table := path.Base(path.Dir(name))
		for _, row := range list {
			out[table] = append(out[table], fmt.Sprint(row))
		}
	}
	for _, list := range out {
		slices.Sort(list)
	}
	return out
}

func newDisk(t *testing.T) *disktest.Disk {
	t.Helper()
	d := disktest.New(txn.Features{Block: 4096, Free: -1})
	d.MakeDir("top")
	if err := (&Options{Dir: "top/table", Parts: 4, Version: toolVersion}).Prepare(d); err != nil {
		t.Fatal(err)
	}
	return d
}

// A part has the rows that came, whatever their order, once each.
func TestWrite(t *testing.T) {
	list := estate(40)
	d := newDisk(t)
	if err := write(t, d, "top/table", chunksOf(list, 1)); err != nil {
		t.Fatal(err)
	}
	files := d.Tree()
	got := rows(t, files)
	counts := map[string]int{"releases": 40}
	for _, s := range list {
		counts["files"] += len(s.Files)
		counts["findings"] += len(s.Findings)
		counts["tensors"] += int(s.Release.Tensors)
	}
	for table, n := range counts {
		if len(got[table]) != n {
			t.Errorf("%s has %d rows, want %d", table, len(got[table]), n)
		}
	}
	for name := range files {
		if base := path.Base(name); base != "_wtinspect.json" && !strings.HasPrefix(base, "part-00002-of-00004-") {
			t.Errorf("%s is left", name)
		}
	}
	// In another order, and with chunks that come twice, the files are the same.
	chunks := chunksOf(list, 2)
	d = newDisk(t)
	if err := write(t, d, "top/table", append(chunks, chunks[:9]...)); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(d.Tree(), files) {
		t.Error("the same rows in another order are other files")
	}
	// Done again, too.
	if err := write(t, d, "top/table", chunks); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(d.Tree(), files) {
		t.Error("a part that is written again has other files")
	}
}

// A bundle that fails at any of its calls, and is tried again, gives what one gives that was
// not disturbed: the same names, the same bytes.
func TestRetry(t *testing.T) {
	chunks := chunksOf(estate(24), 3)
	whole := newDisk(t)
	calls := 0
	whole.Fault = func(string, string) (bool, error) { calls++; return false, nil }
	if err := write(t, whole, "top/table", chunks); err != nil {
		t.Fatal(err)
	}
	want := whole.Tree()
	if groups := len(rows(t, want)["releases"]); groups != 24 {
		t.Fatalf("%d releases", groups)
	}
	step := 1
	if testing.Short() {
		step = 7
	}
	for at := 0; at < calls; at += step {
		for _, dies := range []bool{false, true} {
			d := newDisk(t)
			n := 0
			d.Fault = func(string, string) (bool, error) {
				if n++; n > at {
					d.Dead = dies
					return true, disktest.ErrDead
				}
				return false, nil
			}
			if err := write(t, d, "top/table", chunks); err == nil {
				t.Fatalf("call %d: no error", at)
			}
			if dies {
				d.Crash(nil)
			}
			d.Fault = nil
			if err := write(t, d, "top/table", chunks); err != nil {
				t.Fatalf("call %d: %v", at, err)
			}
			if got := d.Tree(); !maps.Equal(got, want) {
				t.Fatalf("call %d: %v, want %v", at, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
			}
		}
	}
	t.Logf("%d calls", calls)
}

// A runner that scans again before it writes again may find a release changed: its rows are
// those of one state.
func TestRetryOfAnotherState(t *testing.T) {
	list := estate(24)
	d := newDisk(t)
	if err := write(t, d, "top/table", chunksOf(list, 4)); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(s *inspect.Scanned) bool { return s.Release.Repository == "repo-020" })
	list[i] = made("repo-020", "another", 5)
	if err := write(t, d, "top/table", chunksOf(list, 5)); err != nil {
		t.Fatal(err)
	}
	fresh := newDisk(t)
	if err := write(t, fresh, "top/table", chunksOf(list, 6)); err != nil {
		t.Fatal(err)
	}
	if got, want := rows(t, d.Tree()), rows(t, fresh.Tree()); !reflect.DeepEqual(got, want) {
		t.Errorf("%v\nwant %v", got["releases"], want["releases"])
	}
}

// Of two inputs with one repository the first counts, also when it is written again.
func TestOneRepository(t *testing.T) {
	list := []*inspect.Scanned{made("a", "1", 2), made("b", "1", 30), made("b", "2", 3), made("c", "1", 1)}
	d := newDisk(t)
	for range 2 {
		if err := write(t, d, "top/table", chunksOf(list, 7)); err != nil {
			t.Fatal(err)
		}
		got := rows(t, d.Tree())
		if len(got["releases"]) != 3 || len(got["tensors"]) != 33 || !strings.Contains(strings.Join(got["releases"], "\n"), "state:1 tensors:30") {
			t.Fatalf("%d tensors of %v", len(got["tensors"]), got["releases"])
		}
	}
}

// A release of many tensors travels in chunks of bounded size, and arrives whole.
func TestChunks(t *testing.T) {
	const many = 30_000
	s := made("big", "s", many)
	var chunks []chunk
	eachChunk(1, s, func(b []byte) {
		c, err := readChunk(bytes.Clone(b))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := decompressor().DecodeAll(c.packed, nil)
		if err != nil || len(raw) > chunkBytes+1<<10 {
			t.Fatalf("%d bytes, %v", len(raw), err)
		}
		chunks = append(chunks, c)
	})
	if len(chunks) < 2 {
		t.Fatalf("%d chunks", len(chunks))
	}
	got, fault, err := scanned(chunks)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Collect(func(yield func(inspect.ScannedTensor) bool) { s.Tensors(yield) })
	if list := slices.Collect(func(yield func(inspect.ScannedTensor) bool) { got.Tensors(yield) }); fault() != nil || !reflect.DeepEqual(list, want) {
		t.Errorf("%d tensors, %v", len(list), fault())
	}
	if !reflect.DeepEqual(got.Release, s.Release) || !reflect.DeepEqual(got.Files, s.Files) || !reflect.DeepEqual(got.Findings, s.Findings) {
		t.Errorf("%+v\nwant %+v", got.Release, s.Release)
	}
	for name, bad := range map[string][]chunk{
		"the first is missing":  chunks[1:],
		"the last is missing":   chunks[:len(chunks)-1],
		"one is missing within": append(slices.Clone(chunks[:1]), chunks[len(chunks)-1]),
	} {
		if _, _, err := scanned(bad); err == nil {
			t.Errorf("%s, and nothing is wrong", name)
		}
	}
	// What is damaged within the tensors is found when they are walked over, and ends the work.
	bad := slices.Clone(chunks)
	bad[1].packed = bad[1].packed[:len(bad[1].packed)/2]
	got, fault, err = scanned(bad)
	if err != nil {
		t.Fatal(err)
	}
	got.Tensors(func(inspect.ScannedTensor) bool { return true })
	if fault() == nil {
		t.Error("a chunk is cut in half, and nothing is wrong")
	}
}

// Once the process was interrupted nothing is begun.
func TestInterrupt(t *testing.T) {
	defer func() { writing.stopped = false }()
	Interrupt()
	d := newDisk(t)
	if err := write(t, d, "top/table", chunksOf(estate(3), 8)); !errors.Is(err, errInterrupted) {
		t.Errorf("%v", err)
	}
	if files := d.Tree(); len(files) > 1 { // what was prepared
		t.Errorf("%v", slices.Sorted(maps.Keys(files)))
	}
}

// BenchmarkChunks has a release of 100,000 tensors travel from one step to the next.
func BenchmarkChunks(b *testing.B) {
	const many = 100_000
	from := inspect.ScannedFrom{SchemaVersion: inspect.ScanSchemaVersion, ToolVersion: toolVersion, Repository: "hf://org/name"}
	s := made("hf://org/name", "s", 0)
	s.Tensors = func(yield func(inspect.ScannedTensor) bool) {
		for i := range many {
			file, dtype, offset, size, n := fmt.Sprintf("model-%05d-of-00096.safetensors", 1+i/1042), "BF16", int64(i%1042)*4<<20, int64(4<<20), int64(2<<20)
			if !yield(inspect.ScannedTensor{
				ScannedFrom: from, Checkpoint: "model.safetensors.index.json", File: &file, Name: fmt.Sprintf("model.layers.%d.mlp.experts.%d.up_proj.weight", i/1700, i%1700),
				Template: "model.layers.{}.mlp.experts.{}.up_proj.weight", DType: &dtype, Shape: []int64{1024, 2048}, Elements: &n, Bytes: &size, Offset: &offset,
			}) {
				return
			}
		}
	}
	size := 0
	for b.Loop() {
		size = 0
		var chunks []chunk
		eachChunk(0, s, func(packed []byte) {
			size += len(packed)
			c, err := readChunk(packed)
			if err != nil {
				b.Fatal(err)
			}
			chunks = append(chunks, c)
		})
		got, _, err := scanned(chunks)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for range got.Tensors {
			n++
		}
		if n != many {
			b.Fatalf("%d tensors", n)
		}
	}
	b.ReportMetric(float64(size)/many, "bytes/tensor")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/many, "ns/tensor")
}
