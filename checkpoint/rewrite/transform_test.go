package rewrite

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/txn/faulttest"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// A model with a bit of everything that operations are for. Two heads share a
// key/value head; two of the experts lie in another file than the others.
const (
	moveMap = `
rules:
  - from: "h.{n}.attn.qkv.{leaf:seg}"
    steps:
      - split: {axis: 0, heads: 4, kv_heads: 2, layout: grouped}
      - permute: {operand: 0, heads: 4, from: half, to: adjacent}
      - permute: {operand: 1, heads: 2, from: half, to: adjacent}
    to: ["l.{n}.q.{leaf}", "l.{n}.k.{leaf}", "l.{n}.v.{leaf}"]
  - from: ["h.{n}.mlp.gate", "h.{n}.mlp.up"]
    concat: {axis: 0, parts: [1, 1], layout: interleaved}
    to: "l.{n}.gate_up"
  - from: "h.{n}.e.{e}.w"
    stack: {over: e}
    to: "l.{n}.experts"
  - from: "h.{n}.down"
    steps: [unstack: {over: e, count: 3}, transpose: {}]
    to: "l.{n}.e.{e}.down"
  - from: "h.{n}.norm"
    offset: {add: 1}
    to: "l.{n}.norm"
  - from: "h.{n}.{rest...}"
    to: "l.{n}.{rest}"
`
	moveBody = `
tensor a.before F32 [3]
tensor h.0.attn.qkv.bias BF16 [64]
tensor h.0.attn.qkv.weight BF16 [64,6]
tensor h.0.down F32 [3,4,5]
tensor h.0.e.0.w F32 [2,3]
tensor h.0.e.1.w F32 [2,3]
tensor h.0.mlp.gate F32 [5,3]
tensor h.0.mlp.up F32 [5,3]
tensor h.0.norm F32 [8] values=0.5,-1,0.25,3
tensor h.0.other F32 [2,2]
`
	moveBody2 = `
tensor h.0.e.2.w F32 [2,3]
tensor h.0.e.3.w F32 [2,3]
tensor h.1.attn.qkv.weight BF16 [64,6]
tensor z.after F32 [4]
`
)

// moveRelease writes the model in one of its forms.
func moveRelease(t testing.TB, dir, kind string) (ref string) {
	t.Helper()
	switch kind {
	case "shards":
		for i, body := range []string{moveBody, moveBody2} {
			path := filepath.Join(dir, fmt.Sprintf("model-%05d-of-00002.safetensors", i+1))
			must(t, fixture.Write(path, "meta format pt\n"+body))
		}
		var index strings.Builder
		index.WriteString("{\"metadata\": {\"total_size\": 2196},\n \"weight_map\": {")
		sep := ""
		for i, body := range []string{moveBody, moveBody2} {
			for line := range strings.Lines(body) {
				if fields := strings.Fields(line); len(fields) > 1 {
					fmt.Fprintf(&index, "%s\n  %q: \"model-%05d-of-00002.safetensors\"", sep, fields[1], i+1)
					sep = ","
				}
			}
		}
		index.WriteString("\n }}\n")
		write(t, dir, map[string]string{
			"model.safetensors.index.json": index.String(),
			"config.json":                  `{"quantization_config": {"ignore": ["h.0.norm", "h.0.attn.qkv", "h.0.other"]}}`,
		})
		return dir
	case "gguf":
		ref = filepath.Join(dir, "model.gguf")
		must(t, fixture.Write(ref, "format gguf\nkv general.architecture str x\n"+moveBody+moveBody2))
	default:
		ref = filepath.Join(dir, "model.safetensors")
		must(t, fixture.Write(ref, inOrder(moveBody+moveBody2)))
	}
	return ref
}

// inOrder sorts the tensors as the reference implementation does.
func inOrder(body string) string {
	lines := slices.Collect(strings.Lines(body))
	slices.SortStableFunc(lines, func(a, b string) int {
		x, y := strings.Fields(a), strings.Fields(b)
		if len(x) < 3 || len(y) < 3 {
			return len(x) - len(y)
		}
		return cmp.Or(strings.Compare(y[2], x[2]), strings.Compare(x[1], y[1])) // F32 before BF16
	})
	return strings.Join(lines, "")
}

// gridsOf reads a checkpoint into grids.
func gridsOf(t testing.TB, ref string) map[string]*fixture.Grid {
	t.Helper()
	c := openOne(t, ref)
	out := make(map[string]*fixture.Grid)
	for i, tensor := range c.All() {
		r, err := c.Data(i)
		must(t, err)
		data := make([]byte, r.Size())
		_, err = r.ReadAt(data, 0)
		if err != nil && len(data) > 0 {
			t.Fatal(err)
		}
		size := map[string]int64{"F32": 4, "BF16": 2}[tensor.DType]
		shape := make([]int64, len(tensor.Shape))
		for k, d := range tensor.Shape {
			shape[k] = int64(d)
		}
		at := int64(0)
		out[tensor.Name] = fixture.NewGrid(shape, func([]int64) []byte { at += size; return data[at-size : at] })
	}
	return out
}

// moved is what the model becomes, by the formulas of the operations.
func moved(old map[string]*fixture.Grid) map[string]*fixture.Grid {
	out := make(map[string]*fixture.Grid)
	// rows makes a tensor of rows that lie elsewhere in others.
	rows := func(n int64, from func(i int64) (g *fixture.Grid, row int64)) *fixture.Grid {
		first, _ := from(0)
		return fixture.NewGrid(append([]int64{n}, first.Shape[1:]...), func(idx []int64) []byte {
			g, row := from(idx[0])
			return g.At(append([]int64{row}, idx[1:]...)...)
		})
	}
	for _, leaf := range []string{"0.%s.weight", "0.%s.bias", "1.%s.weight"} {
		qkv := old["h."+fmt.Sprintf(leaf, "attn.qkv")]
		// Each of two groups is two heads of queries, one of keys and one of
		// values, of 8 rows each.
		part := func(heads, first, i int64) int64 { return i/(8*heads)*32 + first*8 + i%(8*heads) }
		half := func(i int64) int64 { return i/8*8 + i%2*4 + i%8/2 } // of row i in the adjacent order
		out["l."+fmt.Sprintf(leaf, "q")] = rows(32, func(i int64) (*fixture.Grid, int64) { return qkv, part(2, 0, half(i)) })
		out["l."+fmt.Sprintf(leaf, "k")] = rows(16, func(i int64) (*fixture.Grid, int64) { return qkv, part(1, 2, half(i)) })
		out["l."+fmt.Sprintf(leaf, "v")] = rows(16, func(i int64) (*fixture.Grid, int64) { return qkv, part(1, 3, i) })
	}
	gateUp := []*fixture.Grid{old["h.0.mlp.gate"], old["h.0.mlp.up"]}
	out["l.0.gate_up"] = rows(10, func(i int64) (*fixture.Grid, int64) { return gateUp[i%2], i / 2 })
	out["l.0.experts"] = fixture.NewGrid([]int64{4, 2, 3}, func(idx []int64) []byte {
		return old[fmt.Sprintf("h.0.e.%d.w", idx[0])].At(idx[1:]...)
	})
	for e := range int64(3) {
		out[fmt.Sprintf("l.0.e.%d.down", e)] = fixture.NewGrid([]int64{5, 4}, func(idx []int64) []byte {
			return old["h.0.down"].At(e, idx[1], idx[0])
		})
	}
	out["l.0.norm"] = fixture.NewGrid([]int64{8}, func(idx []int64) []byte {
		v := []float32{1.5, 0, 1.25, 4}[idx[0]%4]
		b := math.Float32bits(v)
		return []byte{byte(b), byte(b >> 8), byte(b >> 16), byte(b >> 24)}
	})
	out["l.0.other"], out["a.before"], out["z.after"] = old["h.0.other"], old["a.before"], old["z.after"]
	return out
}

func gridLines(grids map[string]*fixture.Grid) []string {
	var out []string
	for name, g := range grids {
		out = append(out, fmt.Sprintf("%s %v %x", name, g.Shape, g.Bytes()))
	}
	slices.Sort(out)
	return out
}

// A checkpoint whose tensors are taken apart, joined, permuted and changed has
// what the formulas say, in every container, and comes back byte for byte.
func TestTransformThereAndBack(t *testing.T) {
	for _, kind := range []string{"single", "shards", "gguf"} {
		for _, way := range []string{"in place", "output"} {
			t.Run(kind+"/"+way, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "m")
				must(t, os.Mkdir(dir, 0o755))
				ref := moveRelease(t, dir, kind)
				before, old := gridsOf(t, ref), tensorsOf(t, ref)
				m := parseMap(t, moveMap)
				c := openOne(t, ref)
				inverse := planFor(t, c, m).Inverse()

				opts := &Options{Verify: VerifyFull}
				if way == "output" {
					opts.Output = filepath.Join(filepath.Dir(dir), "out"+filepath.Ext(ref))
				}
				j, report := runJob(t, faulttest.Limited{Clone: true, Insert: true}, ref, m, opts)
				changed, made, restored := 0, 0, 0
				for i, f := range j.Files {
					changed, made = changed+f.Changed, made+f.Made
					restored += report.Files[i].Proof.Restored
				}
				if changed != 11 || made != 15 || restored != 11 {
					t.Errorf("%d tensors changed, %d made, %d restored", changed, made, restored)
				}
				if way == "output" {
					ref = opts.Output
				}
				_ = tensorsOf(t, ref) // which validates
				if diff := gocmp.Diff(gridLines(moved(before)), gridLines(gridsOf(t, ref))); diff != "" {
					t.Fatalf("(-want +got):\n%s", diff)
				}
				if kind == "shards" {
					text, err := os.ReadFile(filepath.Join(ref, "config.json"))
					must(t, err)
					want := `{"quantization_config": {"ignore": ["l.0.norm", "h.0.attn.qkv", "l.0.other"]}}`
					if string(text) != want {
						t.Errorf("config.json is %s, want %s", text, want)
					}
					if len(j.Unfollowed) != 1 || !strings.Contains(j.Unfollowed[0].Reason, "taken apart or joined") {
						t.Errorf("unfollowed: %v", j.Unfollowed)
					}
				}
				opts.Output = ""
				runJob(t, faulttest.Limited{Clone: true, Insert: true}, ref, inverse, opts)
				after := tensorsOf(t, ref)
				if kind == "single" {
					// The file has the order of the reference, and has it again.
					if diff := gocmp.Diff(old, after); diff != "" {
						t.Fatalf("(-before +after):\n%s", diff)
					}
				}
				if diff := gocmp.Diff(gridLines(before), gridLines(gridsOf(t, ref))); diff != "" {
					t.Fatalf("(-before +after):\n%s", diff)
				}
			})
		}
	}
}

// The header of a file whose order is its own keeps it, and what its members
// say besides.
func TestTransformKeepsOrder(t *testing.T) {
	dir := t.TempDir()
	ref := filepath.Join(dir, "model.safetensors")
	header := `{"z":{"dtype":"BF16","note":"kept","shape":[2],"data_offsets":[8,12]}, "b":{"shape":[4],"x":1,"dtype":"BF16","data_offsets":[0,8]},` +
		` "__metadata__":{"format":"pt"}, "a":{"dtype":"BF16","shape":[2,2],"data_offsets":[12,20]}}`
	text := append([]byte{byte(len(header)), 0, 0, 0, 0, 0, 0, 0}, header...)
	for i := range byte(20) {
		text = append(text, i)
	}
	must(t, os.WriteFile(ref, text, 0o644))
	m := parseMap(t, `
rules:
  - from: b
    permute: {heads: 1, from: half, to: adjacent}
    to: bee
  - from: a
    split: {axis: 0, parts: [1, 1]}
    to: [a1, a0]
`)
	runJob(t, faulttest.Limited{}, ref, m, &Options{Output: filepath.Join(dir, "out.safetensors")})
	got, err := os.ReadFile(filepath.Join(dir, "out.safetensors"))
	must(t, err)
	want := `{"z":{"dtype":"BF16","note":"kept","shape":[2],"data_offsets":[8,12]}, "bee":{"shape":[4],"x":1,"dtype":"BF16","data_offsets":[0,8]},` +
		` "__metadata__":{"format":"pt"}, "a1":{"dtype":"BF16","shape":[1,2],"data_offsets":[12,16]}, "a0":{"dtype":"BF16","shape":[1,2],"data_offsets":[16,20]}}`
	if h := strings.TrimRight(string(got[8:len(got)-20]), " "); h != want {
		t.Errorf("header\n%s, want\n%s", h, want)
	}
	if data := got[len(got)-20:]; !bytes.Equal(data, []byte{0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}) {
		t.Errorf("data % x", data)
	}
}

// Blocks of a quantised file go along whole.
func TestTransformBlocks(t *testing.T) {
	dir := t.TempDir()
	ref := filepath.Join(dir, "model.gguf")
	must(t, fixture.Write(ref, `
format gguf
kv general.architecture str x
tensor blk.0.attn_q.weight Q4_0 [8,64]
tensor blk.0.e.0.w Q6_K [3,256]
tensor blk.0.e.1.w Q6_K [3,256]
tensor blk.0.qkv.weight Q8_0 [6,32]
`))
	c := openOne(t, ref)
	data := func(c *checkpoint.Checkpoint, name string) []byte {
		i, ok := c.Lookup(name)
		if !ok {
			t.Fatalf("there is no %s", name)
		}
		r, err := c.Data(i)
		must(t, err)
		b := make([]byte, r.Size())
		if _, err := r.ReadAt(b, 0); err != nil && len(b) > 0 {
			t.Fatal(err)
		}
		return b
	}
	out := filepath.Join(dir, "out.gguf")
	runJob(t, faulttest.Limited{}, ref, parseMap(t, `
rules:
  - from: blk.{n}.attn_q.weight
    permute: {heads: 2, from: half, to: adjacent}
    to: blk.{n}.attn_q.weight
  - from: blk.{n}.e.{e}.w
    stack: {over: e}
    to: blk.{n}.exps
  - from: blk.{n}.qkv.weight
    split: {axis: 0, parts: [4, 1, 1]}
    to: ["blk.{n}.q", "blk.{n}.k", "blk.{n}.v"]
`), &Options{Output: out, Verify: VerifyFull})
	n := openOne(t, out)
	rows := slices.Collect(slices.Chunk(data(c, "blk.0.attn_q.weight"), 36))
	if !bytes.Equal(data(n, "blk.0.attn_q.weight"), slices.Concat(rows[0], rows[2], rows[1], rows[3], rows[4], rows[6], rows[5], rows[7])) {
		t.Error("the rows of Q4_0 are not where they should be")
	}
	if !bytes.Equal(data(n, "blk.0.exps"), append(data(c, "blk.0.e.0.w"), data(c, "blk.0.e.1.w")...)) {
		t.Error("the experts are not stacked")
	}
	if i, _ := n.Lookup("blk.0.exps"); !slices.Equal(n.At(i).Shape, []uint64{2, 3, 256}) || n.At(i).DType != "Q6_K" {
		t.Errorf("%+v", n.At(i))
	}
	qkv := data(c, "blk.0.qkv.weight")
	if !bytes.Equal(slices.Concat(data(n, "blk.0.q"), data(n, "blk.0.k"), data(n, "blk.0.v")), qkv) {
		t.Error("the parts are not those of the whole")
	}
	// Columns of blocks cannot be taken apart.
	plan := planFor(t, c, parseMap(t, "rules: [{from: blk.0.attn_q.weight, transpose: {}, to: x}]"))
	_, err := Prepare(context.Background(), c, plan, nil)
	want := `model.gguf: transpose of "blk.0.attn_q.weight": rows of blocks of 32 Q4_0 cannot become columns`
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// A logarithm that is not -exp of what it gives is refused, and so is that of a number
// that has none.
func TestTransformLogNegative(t *testing.T) {
	for values, want := range map[string]string{
		"-1,-2":   "",
		"-1,-50":  `model.safetensors: log-negative of "a": 1 of its 2 values are -exp(x) of no F32, the first being -50; write round: true to allow that`,
		"0.5,-50": `model.safetensors: log-negative of "a": 2 of its 2 values are -exp(x) of no number, the first being 0.5`,
	} {
		ref := filepath.Join(t.TempDir(), "model.safetensors")
		must(t, fixture.Write(ref, "tensor a F32 [2] values="+values+"\n"))
		c := openOne(t, ref)
		_, err := Prepare(context.Background(), c, planFor(t, c, parseMap(t, "rules: [{from: a, log-negative: {}, to: b}]")), nil)
		if text := fmt.Sprint(err); err == nil && want != "" || err != nil && text != want {
			t.Errorf("%s: %v, want %s", values, err, want)
		}
	}
}

func TestSplitGGUFCountsTensors(t *testing.T) {
	dir := t.TempDir()
	for i, body := range []string{"tensor blk.0.a F32 [2]\ntensor blk.0.b F32 [2]\n", "tensor blk.1.a F32 [2]\ntensor blk.1.b F32 [2]\n"} {
		must(t, fixture.Write(filepath.Join(dir, fmt.Sprintf("m-%05d-of-00002.gguf", i+1)),
			fmt.Sprintf("format gguf\nkv split.no u16 %d\nkv split.count u16 2\nkv split.tensors.count i32 4\n", i)+body))
	}
	m := parseMap(t, "rules: [{from: ['blk.0.{x:seg}', 'blk.1.{x:seg}'], stack: {}, to: 'blk.{x}'}]")
	out := filepath.Join(filepath.Dir(dir), "out")
	ref := filepath.Join(dir, "m-00001-of-00002.gguf")
	runJob(t, faulttest.Limited{}, ref, m, &Options{Output: out})
	c := openOne(t, filepath.Join(out, "m-00001-of-00002.gguf"))
	if c.Len() != 2 || c.Files[0].GGUF() == nil || len(c.Files[1].GGUF().Tensors) != 0 {
		t.Errorf("%d tensors, %d in the second file", c.Len(), len(c.Files[1].GGUF().Tensors))
	}
	_ = tensorsOf(t, filepath.Join(out, "m-00001-of-00002.gguf"))
}

// A bit that is lost on the way to the disk is found, and the old release stays.
func TestTransformDamageIsFound(t *testing.T) {
	for _, v := range []Verify{VerifyDefault, VerifyFull} {
		dir := t.TempDir()
		ref := moveRelease(t, dir, "single")
		all := fixture.Snapshot(t, dir)
		c := openOne(t, ref)
		j, err := prepare(context.Background(), faulttest.Rotten, c, planFor(t, c, parseMap(t, moveMap)), nil, &Options{Verify: v})
		must(t, err)
		if _, err := j.Run(context.Background(), nil); err == nil || !strings.Contains(err.Error(), "is not what it was") {
			t.Errorf("verify %q: %v", v, err)
		}
		if diff := gocmp.Diff(all, fixture.Snapshot(t, dir)); diff != "" {
			t.Errorf("verify %q: something changed", v)
		}
	}
}

// Operations that are wrong, though what they gave was written faithfully, do
// not pass full verification.
func TestRestoreFindsWrongOperations(t *testing.T) {
	dir := t.TempDir()
	ref := moveRelease(t, dir, "single")
	c := openOne(t, ref)
	j, err := Prepare(context.Background(), c, planFor(t, c, parseMap(t, moveMap)), &Options{Verify: VerifyFull})
	must(t, err)
	for _, tr := range j.edits[0].transforms {
		for i := range tr.undo {
			if tr.undo[i].Kind == tensorop.Permute {
				tr.undo[i].From, tr.undo[i].To = tr.undo[i].To, tr.undo[i].From
			}
		}
	}
	_, err = j.Run(context.Background(), nil)
	if err == nil || !strings.Contains(err.Error(), `undoing the operations does not give back tensor "h.`) {
		t.Errorf("%v", err)
	}
}

// A rewrite that moves bytes and is cut off anywhere leaves the old release or
// the new one.
func TestTransformFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("many runs")
	}
	base := t.TempDir()
	moveRelease(t, base, "shards")
	old := fixture.Snapshot(t, base)
	clean := t.TempDir()
	write(t, clean, old)
	runJob(t, faulttest.Limited{}, clean, parseMap(t, moveMap), nil)
	want := fixture.Snapshot(t, clean)
	for at := 1; ; at++ {
		dir := t.TempDir()
		write(t, dir, old)
		c := openOne(t, dir)
		s := &faulttest.Faults{At: at, Err: errors.New("cut off")}
		j, err := prepare(context.Background(), faulttest.Faulty(s, faulttest.Limited{}.Limit), c, planFor(t, c, parseMap(t, moveMap)), nil, &Options{Workers: 1})
		if err == nil {
			_, err = j.Run(context.Background(), nil)
		}
		if err == nil {
			if at < 10 {
				t.Fatalf("only %d calls were cut off", at-1)
			}
			return
		}
		if _, err := Recover(context.Background(), dir, false); err != nil {
			t.Fatalf("call %d: %v", at, err)
		}
		now := fixture.Snapshot(t, dir)
		if !maps.Equal(now, old) && !maps.Equal(now, want) {
			t.Fatalf("call %d leaves neither the old release nor the new one: %v", at, err)
		}
	}
}

// The memory of a rewrite does not grow with the tensors.
func TestTransformMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 400 MB")
	}
	dir := t.TempDir()
	ref := filepath.Join(dir, "model.safetensors")
	const rows = 1 << 13
	must(t, fixture.Write(ref, fmt.Sprintf("tensor a BF16 [%d,%d]\ntensor b BF16 [%d,%d]\n", rows, rows, rows/2, rows)))
	var peak uint64
	m := parseMap(t, "rules: [{from: a, transpose: {}, to: a}, {from: b, permute: {heads: 64, from: half, to: adjacent}, to: b}]")
	c := openOne(t, ref)
	j, err := Prepare(context.Background(), c, planFor(t, c, m), &Options{Output: filepath.Join(dir, "out.safetensors"), Verify: VerifyNone})
	must(t, err)
	runtime.GC()
	_, err = j.Run(context.Background(), func(int64, int64) {
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		peak = max(peak, s.HeapInuse)
	})
	must(t, err)
	if peak > 100<<20 {
		t.Errorf("the heap grew to %d MiB", peak>>20)
	}
}
