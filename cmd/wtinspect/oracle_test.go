package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/oracle"
)

// randomCount is how many random files a test looks at: a few, or as many as
// WTINSPECT_RANDOM says (make random).
func randomCount(t *testing.T, few int) int {
	s := os.Getenv("WTINSPECT_RANDOM")
	switch {
	case s == "" && testing.Short():
		return few / 5
	case s == "":
		return few
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("WTINSPECT_RANDOM: %v", err)
	}
	return n
}

// randomSeed is the first of the seeds, which WTINSPECT_SEED moves.
func randomSeed(t *testing.T) uint64 {
	s := os.Getenv("WTINSPECT_SEED")
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("WTINSPECT_SEED: %v", err)
	}
	return n
}

// execute runs the program.
func execute(t *testing.T, args ...string) (code int, stdout []byte, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &errs)
	return code, out.Bytes(), errs.String()
}

// executeJSON runs the program with -f json, expects its exit code and decodes
// the answer.
func executeJSON[T any](t *testing.T, want int, args ...string) T {
	t.Helper()
	code, out, errs := execute(t, append(args, "-f", "json")...)
	if code != want {
		t.Fatalf("%q: exit %d, want %d: %s%s", args, code, want, errs, tail(out))
	}
	var v T
	if err := json.Unmarshal(out, &v); err != nil {
		t.Fatalf("%q: %v in %s", args, err, tail(out))
	}
	return v
}

func tail(b []byte) []byte { return b[max(0, len(b)-2000):] }

// A bytesName is a name of JSON with the bytes of one that is not UTF-8.
type bytesName struct {
	Name   string
	Base64 []byte `json:"name_base64"`
}

func (n *bytesName) String() string {
	if n.Base64 != nil {
		return string(n.Base64)
	}
	return n.Name
}

// A jsonNumber is a number of the program's JSON, NaN where it is unknown.
type jsonNumber float64

func (n *jsonNumber) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	if text == "null" {
		*n = jsonNumber(math.NaN())
		return nil
	}
	f, err := strconv.ParseFloat(text, 64)
	*n = jsonNumber(f)
	return err
}

// A wanted tensor is what the oracle says of one.
type wanted struct {
	oracle.Tensor
	file    *oracle.File
	rel     string // the file's path in the set
	figures *oracle.Figures
	digest  string
}

// readWanted reads a checkpoint with the oracle, by the tensors' names.
func readWanted(t *testing.T, path string) map[string]*wanted {
	t.Helper()
	files, err := oracle.ReadSet(path)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*wanted{}
	for _, f := range files {
		rel, err := filepath.Rel(filepath.Dir(path), f.Path)
		if err != nil {
			t.Fatal(err)
		}
		for _, tensor := range f.Tensors {
			w := &wanted{Tensor: tensor, file: f, rel: filepath.ToSlash(rel)}
			data, err := f.Bytes(&tensor)
			if err != nil {
				t.Fatal(err)
			}
			if w.figures, err = oracle.Measure(&tensor, data); err != nil {
				t.Fatal(err)
			}
			if w.digest, err = f.SHA256(&tensor); err != nil {
				t.Fatal(err)
			}
			out[tensor.Name] = w
		}
	}
	return out
}

// TestRandomFiles compares what commands say of random checkpoints with what an
// independent reader finds in them.
func TestRandomFiles(t *testing.T) {
	t.Parallel()
	first := randomSeed(t)
	for seed := first; seed < first+uint64(randomCount(t, 20)); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := oracle.Random(seed, seed%2 == 1)
			dir := t.TempDir()
			path, err := m.Write(filepath.Join(dir, "a"), oracle.RandomLayout(seed, m.GGUF))
			if err != nil {
				t.Fatal(err)
			}
			want := readWanted(t, path)
			compareLs(t, path, want)
			compareHash(t, path, want)
			compareStats(t, path, want)
			compareCheck(t, path, m, len(m.Tensors))
			compareDiff(t, path, m, seed)
			if t.Failed() {
				t.Logf("%+v", oracle.RandomLayout(seed, m.GGUF))
			}
		})
	}
}

func compareLs(t *testing.T, path string, want map[string]*wanted) {
	doc := executeJSON[struct {
		Checkpoints []struct {
			Totals struct{ Tensors, Elements, Bytes uint64 }
		}
		Tensors []struct {
			bytesName
			DType           string
			Shape           []uint64
			Elements, Bytes uint64
			File            string
			Offset          int64
		}
	}](t, exitOK, "ls", path)
	if len(doc.Tensors) != len(want) {
		t.Errorf("ls: %d tensors, want %d", len(doc.Tensors), len(want))
	}
	var elements, size uint64
	for i := range doc.Tensors {
		got := &doc.Tensors[i]
		w := want[got.String()]
		if w == nil {
			t.Errorf("ls: tensor %q is not in the file", got.String())
			continue
		}
		if got.DType != w.DType || !slices.Equal(got.Shape, w.Shape) || got.Offset != w.Offset || got.File != w.rel ||
			got.Elements != w.Elements() || got.Bytes != uint64(w.Size) {
			t.Errorf("ls: %q: %+v, want %+v in %s", w.Name, *got, w.Tensor, w.rel)
		}
		elements, size = elements+w.Elements(), size+uint64(w.Size)
	}
	if totals := doc.Checkpoints[0].Totals; len(doc.Checkpoints) != 1 || totals.Tensors != uint64(len(want)) || totals.Elements != elements || totals.Bytes != size {
		t.Errorf("ls: totals %+v, want %d, %d, %d", doc.Checkpoints, len(want), elements, size)
	}
}

func compareHash(t *testing.T, path string, want map[string]*wanted) {
	doc := executeJSON[struct {
		Tensors []struct {
			bytesName
			SHA256 string
		}
	}](t, exitOK, "hash", path)
	if len(doc.Tensors) != len(want) {
		t.Errorf("hash: %d tensors, want %d", len(doc.Tensors), len(want))
	}
	for i := range doc.Tensors {
		got := &doc.Tensors[i]
		if w := want[got.String()]; w == nil || got.SHA256 != w.digest {
			t.Errorf("hash: %q: %s, want %+v", got.String(), got.SHA256, w)
		}
	}
	// A manifest says of its own files that they are unchanged.
	manifest := filepath.Join(t.TempDir(), "manifest")
	if code, _, errs := execute(t, "hash", path, "-o", manifest); code != exitOK {
		t.Errorf("hash -o: exit %d: %s", code, errs)
	}
	if code, out, errs := execute(t, "hash", "--check", manifest, path); code != exitOK {
		t.Errorf("hash --check: exit %d: %s%s", code, errs, tail(out))
	}
}

func compareStats(t *testing.T, path string, want map[string]*wanted) {
	type row struct {
		bytesName
		Count, Zeros, Denormals, NaN    uint64
		PosInf                          uint64 `json:"pos_inf"`
		NegInf                          uint64 `json:"neg_inf"`
		Min, Max, Mean, Std, L2         jsonNumber
		Distinct                        *int64
		P1, P5, P25, P50, P75, P95, P99 jsonNumber
		QuantileError                   float64 `json:"quantile_error"`
	}
	doc := executeJSON[struct{ Tensors []row }](t, exitOK, "stats", "--quantiles", path)
	if len(doc.Tensors) != len(want) {
		t.Errorf("stats: %d tensors, want %d", len(doc.Tensors), len(want))
	}
	for i := range doc.Tensors {
		got := &doc.Tensors[i]
		w := want[got.String()]
		if w == nil {
			t.Errorf("stats: tensor %q is not in the file", got.String())
			continue
		}
		f := w.figures
		wrong := func(what string, got, want any) {
			t.Errorf("stats: %q (%s %v): %s is %v, want %v", w.Name, w.DType, w.Shape, what, got, want)
		}
		for _, n := range []struct {
			what      string
			got, want uint64
		}{
			{"count", got.Count, f.Count},
			{"zeros", got.Zeros, f.Zeros},
			{"denormals", got.Denormals, f.Denormals},
			{"nan", got.NaN, f.NaN},
			{"pos_inf", got.PosInf, f.PosInf},
			{"neg_inf", got.NegInf, f.NegInf},
		} {
			if n.got != n.want {
				wrong(n.what, n.got, n.want)
			}
		}
		if got.Distinct != nil && *got.Distinct != f.Distinct {
			wrong("distinct", *got.Distinct, f.Distinct)
		}
		// Sums of blocks with minima are those before ggml rounds to float32.
		slack := 0.0
		if strings.HasSuffix(w.DType, "_1") {
			slack = f.MeanAbs * 0x1p-22
		}
		type figure struct {
			what        string
			got         jsonNumber
			want, slack float64
		}
		figures := []figure{
			{"min", got.Min, f.Min, 0},
			{"max", got.Max, f.Max, 0},
			{"mean", got.Mean, f.Mean, math.Abs(f.Mean)*0x1p-51 + slack},
			{"std", got.Std, f.Std, f.Std*0x1p-50 + slack},
			{"l2", got.L2, f.L2, f.L2*0x1p-50 + slack*math.Sqrt(float64(f.Count))},
		}
		// Quantiles are off by so much of themselves, or of the least normal number.
		normal := 0x1p-126
		if w.DType == "F64" {
			normal = 0x1p-1022
		}
		for percent, q := range map[int]jsonNumber{1: got.P1, 5: got.P5, 25: got.P25, 50: got.P50, 75: got.P75, 95: got.P95, 99: got.P99} {
			v := f.Quantile(percent)
			figures = append(figures, figure{fmt.Sprintf("p%d", percent), q, v, max(math.Abs(v), normal) * got.QuantileError})
		}
		for _, n := range figures {
			g := float64(n.got)
			if g != n.want && !(math.Abs(g-n.want) <= n.slack) && !(math.IsNaN(g) && math.IsNaN(n.want)) {
				wrong(n.what, g, n.want)
			}
		}
	}
}

// compareCheck expects no error about the container and the set. What the
// names suggest, or llama.cpp asks for, is judged by other tests.
func compareCheck(t *testing.T, path string, m *oracle.Model, tensors int) {
	code, out, errs := execute(t, "check", "-f", "json", path)
	if code != exitOK && code != exitFindings {
		t.Errorf("check: exit %d: %s", code, errs)
		return
	}
	var doc struct {
		Findings []struct {
			Rule, Severity, Message string
		}
		Summary struct{ Tensors int }
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Summary.Tensors != tensors {
		t.Errorf("check: judged %d tensors of %d", doc.Summary.Tensors, tensors)
	}
	unnamed := m.GGUF && !slices.ContainsFunc(m.Metadata, func(e oracle.Entry) bool { return e.Key == "general.architecture" })
	for _, f := range doc.Findings {
		switch {
		case f.Severity != "error":
		case f.Rule == "WT331" && unnamed:
		case f.Rule == "WT404" || f.Rule == "WT402":
		case m.GGUF && (f.Rule == "WT105" || f.Rule == "WT115" || f.Rule == "WT111" && strings.Contains(f.Message, "array of arrays")):
			// ggml refuses them, and the format does not.
		default:
			t.Errorf("check: %s: %s", f.Rule, f.Message)
		}
	}
}

type diffDocument struct {
	Comparisons []struct {
		Summary  map[string]int
		Metadata []any
	}
	Tensors []struct {
		Status  string
		NameA   string `json:"name_a"`
		NameB   string `json:"name_b"`
		Base64A []byte `json:"name_a_base64"`
		Base64B []byte `json:"name_b_base64"`
	}
}

// compareDiff compares a checkpoint with itself, with its tensors in another
// layout, and with a copy of which one byte of one tensor is another.
func compareDiff(t *testing.T, path string, m *oracle.Model, seed uint64) {
	if doc := executeJSON[diffDocument](t, exitOK, "diff", path, path); doc.Comparisons[0].Summary["same"] != len(m.Tensors) {
		t.Errorf("diff with itself: %v", doc.Comparisons)
	}
	other, err := m.Write(filepath.Join(t.TempDir(), "b"), oracle.RandomLayout(seed+1000, m.GGUF))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"diff", path, other}
	if m.GGUF {
		args = append(args, "--weights-only") // the alignment and the split are metadata
	}
	if code, out, errs := execute(t, args...); code != exitOK || !strings.Contains(string(out), fmt.Sprintf("%d the same, 0 changed", len(m.Tensors))) {
		t.Errorf("diff in another layout: exit %d: %s%s\n%+v", code, errs, tail(out), oracle.RandomLayout(seed+1000, m.GGUF))
	}

	// One bit of one byte.
	var full []int
	for i := range m.Tensors {
		if len(m.Tensors[i].Data) > 0 {
			full = append(full, i)
		}
	}
	if len(full) == 0 {
		return
	}
	r := oracle.Rand(seed, 5)
	changed := &m.Tensors[full[r.IntN(len(full))]]
	at := r.IntN(len(changed.Data))
	was := bytes.Clone(changed.Data)
	changed.Data[at] ^= 1
	defer func() { changed.Data = was }()
	if other, err = m.Write(filepath.Join(t.TempDir(), "c"), oracle.RandomLayout(seed, m.GGUF)); err != nil {
		t.Fatal(err)
	}
	// Other bytes may be the same numbers: 0 and -0, two NaN, a scale of 0.
	tensor := &oracle.Tensor{DType: changed.DType}
	same, err := oracle.SameNumbers(tensor, was, changed.Data)
	if err != nil {
		t.Fatal(err)
	}
	if same {
		if doc := executeJSON[diffDocument](t, exitOK, "diff", path, other); len(doc.Tensors) != 0 {
			t.Errorf("diff with the same numbers in %q: %+v", changed.Name, doc)
		}
		return
	}
	doc := executeJSON[diffDocument](t, exitFindings, "diff", path, other)
	if len(doc.Tensors) != 1 || doc.Tensors[0].Status != "changed" {
		t.Errorf("diff with %q changed: %+v", changed.Name, doc)
		return
	}
	got := doc.Tensors[0]
	nameA, nameB := bytesName{got.NameA, got.Base64A}, bytesName{got.NameB, got.Base64B}
	if nameA.String() != changed.Name || nameB.String() != changed.Name {
		t.Errorf("diff with %q changed names %q and %q", changed.Name, nameA.String(), nameB.String())
	}
}
