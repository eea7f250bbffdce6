package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed method.md
var method string

// machine says what the figures were measured on, as the rows of a table.
type machine [][2]string

func thisMachine(t *toolbox) machine {
	m := machine{{"measured", time.Now().UTC().Format(time.DateOnly)}, {"system", runtime.GOOS + "/" + runtime.GOARCH}}
	add := func(name, value string, err error) {
		if value = strings.TrimSpace(value); err == nil && value != "" {
			m = append(m, [2]string{name, value})
		}
	}
	read := func(file, key string) (string, error) {
		text, err := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == key {
				return value, err
			}
		}
		return "", err
	}
	model, err := read("/proc/cpuinfo", "model name")
	add("processor", model, err)
	add("processors", strconv.Itoa(runtime.NumCPU()), nil)
	memory, err := read("/proc/meminfo", "MemTotal")
	kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(memory), " kB"), 10, 64)
	add("memory", bytesText(kib<<10), err)
	kernel, err := output("uname", "-r")
	add("kernel", kernel, err)
	load, err := os.ReadFile("/proc/loadavg")
	before, _, _ := strings.Cut(string(load), " ")
	add("load average before", before, err)
	add("Go", strings.TrimPrefix(runtime.Version(), "go"), nil)
	if t.python != nil {
		version, err := output(t.python[0], t.python[1], "version")
		add("Python", strings.TrimPrefix(version, "Python "), err)
	}
	if t.node != nil {
		version, err := output("node", "--version")
		add("Node", strings.TrimPrefix(version, "v"), err)
		version, err = npmVersion(filepath.Join(filepath.Dir(t.node[1]), "package.json"), "@huggingface/gguf")
		add("@huggingface/gguf", version, err)
	}
	if t.module != nil {
		text, err := output("go", "version", "-m", t.module[0])
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); len(f) > 2 && f[0] == "dep" && slices.Contains([]string{"github.com/gpustack/gguf-parser-go", "github.com/nlpodyssey/safetensors"}, f[1]) {
				add(strings.TrimPrefix(f[1], "github.com/"), f[2], err)
			}
		}
	}
	if version, err := exec.Command("sha256sum", "--version").Output(); err == nil {
		first, _, _ := strings.Cut(string(version), "\n")
		add("sha256sum", strings.TrimPrefix(first, "sha256sum "), nil)
	}
	return m
}

func npmVersion(file, name string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var p struct{ Dependencies map[string]string }
	return p.Dependencies[name], json.Unmarshal(text, &p)
}

// generated is in the page that this program writes.
const generated = "<!-- made by make compare: no figure is written by hand -->"

// page returns the page.
func page(m machine, runs int, results []result) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "# Beside other programs\n\n%s\n\n", generated)
	fmt.Fprintf(&b, strings.TrimSpace(method)+"\n", runs, repeats-1)
	b.WriteString("\n## The machine\n\n| what | value |\n| --- | --- |\n")
	for _, row := range m {
		fmt.Fprintf(&b, "| %s | %s |\n", row[0], row[1])
	}
	for _, r := range results {
		fmt.Fprintf(&b, "\n## %s\n\n%s All found the same %s tensors.\n\n", r.title, r.text, grouped(int64(r.tensors)))
		r.table(&b)
	}
	return b.String(), nil
}

// table writes the figures of a result.
func (r *result) table(b *strings.Builder) {
	if r.inProcess {
		b.WriteString("| program | time | × time |\n| --- | ---: | ---: |\n")
	} else {
		b.WriteString("| program | time | processor time | peak memory | × time | × processor time |\n| --- | ---: | ---: | ---: | ---: | ---: |\n")
	}
	first := r.samples[0]
	for i, c := range r.programs {
		if c.missing != "" {
			fmt.Fprintf(b, "| %s | not run: %s |%s\n", c.name, strings.ReplaceAll(c.missing, "|", `\|`), strings.Repeat(" |", map[bool]int{true: 1, false: 4}[r.inProcess]))
			continue
		}
		s := r.samples[i]
		if r.inProcess {
			fmt.Fprintf(b, "| %s | %s | %s |\n", c.name, timeText(medianOf(s, wall)), ratioText(ratios(s, first, wall)))
			continue
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", c.name, timeText(medianOf(s, wall)), timeText(medianOf(s, cpu)),
			bytesText(medianOf(s, func(s sample) int64 { return s.memory })), ratioText(ratios(s, first, wall)), ratioText(ratios(s, first, cpu)))
	}
}

// ratioText is the median of some ratios, with the least and the greatest.
func ratioText(list []float64) string {
	if !slices.ContainsFunc(list, func(x float64) bool { return x != 1 }) {
		return "1"
	}
	return fmt.Sprintf("%s (%s to %s)", digits(median(list)), digits(slices.Min(list)), digits(slices.Max(list)))
}

func timeText(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return digits(float64(d)/float64(time.Microsecond)) + " µs"
	case d < time.Second:
		return digits(float64(d)/float64(time.Millisecond)) + " ms"
	}
	return digits(d.Seconds()) + " s"
}

func bytesText(n int64) string {
	switch {
	case n == 0:
		return "unknown"
	case n < 1<<30:
		return digits(float64(n)/(1<<20)) + " MiB"
	}
	return digits(float64(n)/(1<<30)) + " GiB"
}

// digits returns a number to three digits, or all before the point.
func digits(x float64) string {
	switch {
	case x >= 99.95:
		return grouped(int64(x + 0.5))
	case x >= 9.995:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return strconv.FormatFloat(x, 'f', 2, 64)
}

// grouped returns a number with a comma between thousands.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
