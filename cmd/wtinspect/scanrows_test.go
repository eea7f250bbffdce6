package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/answer"
)

// rowNames are of tensors, each of two F32.
var rowNames = []string{
	"plain", "with,comma", `with"quote`, `""`, "new\nline", "cr\rx", "crlf\r\nx", "tab\tx", "nul\x00x", "\u2028\u2029", "\ufeffbom", " lead", "trail ", `back\slash`, "\u202ertl",
	"😀", "=cmd|' /C calc'!A0", "+1", "-1", "@x", "'single", "#comment", "null", "true", "\x7f\x1b[31m",
}

// readRows reads all tables as lines and as CSV, whose cells it holds against the values of the
// lines. It prints the names of the tensors.
const readRows = `
import csv, io, json, re, sys
rows = [json.loads(l) for l in open("rows.jsonl", "rb").read().decode("utf-8").split("\n") if l]
def cell(v):
    if v is None: return ""
    if isinstance(v, bool): return "true" if v else "false"
    if isinstance(v, list): return json.dumps(v, separators=(",", ":"))
    return v
for table in sys.argv[1:]:
    want = [r for r in rows if r["table"] == table]
    for form in "csv", "tsv":
        text = open(table + "." + form, "rb").read().decode("utf-8")
        if form == "csv":
            got = list(csv.reader(io.StringIO(text, newline="")))
        else: # as docs/ls.md says
            unescape = lambda c: re.sub(r"\\(.)", lambda m: {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}[m[1]], c)
            got = [[unescape(c) for c in line.split("\t")] for line in text.split("\n")[:-1]]
        got = [dict(zip(got[0], row, strict=True)) for row in got[1:]]
        if len(got) != len(want) or not want: sys.exit(f"{table}: {len(got)} rows of {form}, {len(want)} lines")
        for g, w in zip(got, want):
            if [*g] != [k for k in w if k != "table"]: sys.exit(f"{table}: columns {[*g]}, {[*w]}")
            for k in g:
                x, v = g[k], cell(w[k])
                if isinstance(v, (int, float)) and not isinstance(v, bool): x, v = float(x), float(v)
                if x != v: sys.exit(f"{table}: {form} of {k} is {x!r}, and the line has {v!r}")
print(json.dumps([[r["repository"], r["name"]] for r in rows if r["table"] == "tensors"]))
print(json.dumps({r["name"]: [r["nan"], r["pos_inf"], r["neg_inf"], r["min"], r["max"], r["mean"]] for r in rows if r["table"] == "stats"}))
print(json.dumps([r["modified"] for r in rows if r["table"] == "releases"]))
`

// What names and paths have in them, another reader finds in the rows of every form; infinities and
// NaN are counted and no numbers of a row, and times are UTC.
func TestScanRowsElsewhere(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3, which reads what was written, is not installed")
	}
	if runtime.GOOS == "windows" {
		t.Skip("files on Windows cannot have such names")
	}
	dir := t.TempDir()
	header, values := map[string]any{}, []float32{}
	var stored []byte
	for i, name := range rowNames {
		header[name] = map[string]any{"dtype": "F32", "shape": []int{2}, "data_offsets": []int{8 * i, 8*i + 8}}
		values = append(values, 1, 2)
	}
	values[0], values[1], values[2] = float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))
	for _, v := range values {
		stored = binary.LittleEndian.AppendUint32(stored, math.Float32bits(v))
	}
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	file := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
	file = append(append(file, text...), stored...)
	const odd = "one, \"x\"\n=2"
	for _, name := range []string{odd, "bad\xff", "bad\xfe"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o777); err != nil {
			t.Skip("the file system has no such names: ", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "model.safetensors"), file, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name string, args ...string) {
		t.Helper()
		a, err := ask(task{Dir: dir, Args: append([]string{"scan", "-q", "--values", "-R", ".", "-o", name}, args...), Env: map[string]string{"TZ": "Asia/Kathmandu"}})
		if err != nil || a.Code != exitOK {
			t.Fatalf("%v: exit %d: %v %s", args, a.Code, err, a.Stderr)
		}
	}
	write("rows.jsonl")
	tables := answer.ScanTables()
	for _, table := range tables {
		for _, form := range []string{"csv", "tsv"} {
			write(table+"."+form, "-f", form, "--table", table)
		}
	}
	cmd := exec.Command(python, append([]string{"-c", readRows}, tables...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Split(string(out), "\n")
	var names [][2]string
	stats := map[string][6]*float64{}
	var modified []string
	for i, to := range []any{&names, &stats, &modified} {
		if err := json.Unmarshal([]byte(lines[i]), to); err != nil {
			t.Fatal(err)
		}
	}
	found := map[[2]string]bool{}
	for _, n := range names {
		found[n] = true
	}
	for _, repository := range []string{odd, `bad\xff`, `bad\xfe`} {
		for _, name := range rowNames {
			if !found[[2]string{repository, name}] {
				t.Errorf("%q has no row of %q", repository, name)
			}
		}
	}
	if len(names) != 3*len(rowNames) {
		t.Errorf("%d rows, want %d", len(names), 3*len(rowNames))
	}
	shown := func(name string) string {
		var words []string
		for _, v := range stats[name] {
			if v == nil {
				words = append(words, "-")
			} else {
				words = append(words, fmt.Sprint(*v))
			}
		}
		return strings.Join(words, " ")
	}
	for name, want := range map[string]string{"plain": "1 1 0 - - -", "with,comma": "0 0 1 2 2 2", `with"quote`: "0 0 0 1 2 1.5"} {
		if got := shown(name); got != want {
			t.Errorf("%s: NaN, infinities, least, greatest and mean are %s, want %s", name, got, want)
		}
	}
	for _, text := range modified {
		if !strings.HasSuffix(text, "Z") {
			t.Errorf("%s is no time of UTC", text)
		}
	}
}
