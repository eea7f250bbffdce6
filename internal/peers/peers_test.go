package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		list []float64
		want float64
	}{
		{[]float64{3}, 3},
		{[]float64{5, 1, 3}, 3},
		{[]float64{4, 1, 3, 100}, 3.5},
		{[]float64{2, 2, 2, 9, 9}, 2},
	} {
		before := append([]float64(nil), tt.list...)
		if got := median(tt.list); got != tt.want {
			t.Errorf("the median of %v is %v, want %v", tt.list, got, tt.want)
		}
		if tt.list[0] != before[0] {
			t.Error("the list has another order")
		}
	}
}

// TestRatios has a machine that is slow in the second round: each program takes as much
// of the other's time as before.
func TestRatios(t *testing.T) {
	first := []sample{{wall: 10}, {wall: 100}, {wall: 10}}
	other := []sample{{wall: 25}, {wall: 200}, {wall: 30}}
	if got := ratioText(ratios(other, first, wall)); got != "2.50 (2.00 to 3.00)" {
		t.Errorf("the ratio is %s", got)
	}
	if got := ratioText(ratios(first, first, wall)); got != "1" {
		t.Errorf("the ratio to itself is %s", got)
	}
}

func TestText(t *testing.T) {
	for got, want := range map[string]string{
		timeText(812_400 * time.Nanosecond): "812 µs",
		timeText(1234 * time.Microsecond):   "1.23 ms",
		timeText(99_960 * time.Microsecond): "100 ms",
		timeText(12_345 * time.Microsecond): "12.3 ms",
		timeText(12_345 * time.Millisecond): "12.3 s",
		timeText(1_234_567 * time.Second):   "1,234,567 s",
		bytesText(0):                        "unknown",
		bytesText(15<<20 + 1<<19):           "15.5 MiB",
		bytesText(3 << 29):                  "1.50 GiB",
		digits(9.996):                       "10.0",
		digits(0.0449):                      "0.04",
		grouped(7):                          "7",
		grouped(123_456):                    "123,456",
		grouped(1_234_567):                  "1,234,567",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestTable(t *testing.T) {
	r := result{
		job: job{programs: []contender{{name: "a"}, {name: "b", missing: "no x|y"}, {name: "c"}}},
		samples: [][]sample{
			{{wall: 2 * time.Millisecond, cpu: time.Millisecond, memory: 1 << 20}, {wall: 4 * time.Millisecond, cpu: time.Millisecond, memory: 1 << 20}},
			nil,
			{{wall: 6 * time.Millisecond, cpu: 2 * time.Millisecond, memory: 2 << 20}, {wall: 6 * time.Millisecond, cpu: 2 * time.Millisecond, memory: 4 << 20}},
		},
	}
	table := func() string {
		var b strings.Builder
		r.table(&b)
		return b.String()
	}
	want := "| program | time | processor time | peak memory | × time | × processor time |\n" +
		"| --- | ---: | ---: | ---: | ---: | ---: |\n" +
		"| a | 3.00 ms | 1.00 ms | 1.00 MiB | 1 | 1 |\n" +
		"| b | not run: no x\\|y | | | | |\n" +
		"| c | 6.00 ms | 2.00 ms | 3.00 MiB | 2.25 (1.50 to 3.00) | 2.00 (2.00 to 2.00) |\n"
	if got := table(); got != want {
		t.Errorf("the table is\n%swant\n%s", got, want)
	}
	r.inProcess = true
	want = "| program | time | × time |\n| --- | ---: | ---: |\n" +
		"| a | 3.00 ms | 1 |\n| b | not run: no x\\|y | |\n| c | 6.00 ms | 2.25 (1.50 to 3.00) |\n"
	if got := table(); got != want {
		t.Errorf("the table is\n%swant\n%s", got, want)
	}
}

func TestMeasure(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("there is no sh")
	}
	program := func(name, script, found string) contender {
		return contender{name: name, command: []string{"sh", "-c", script}, facts: func() (string, error) { return output("sh", "-c", found) }}
	}
	a := program("a", "echo 900; echo 5; echo 9; echo 7", "echo 3; echo sum")

	r, err := measure(job{inProcess: true, programs: []contender{a, {name: "b", missing: "absent"}, program("c", "exit 3", "echo gone >&2; exit 1"), a}}, 2)
	if err != nil {
		t.Fatal(err)
	}
	if r.tensors != 3 || len(r.samples[0]) != 2 || r.samples[0][0].wall != 7 || r.samples[1] != nil || r.samples[2] != nil || len(r.samples[3]) != 2 {
		t.Errorf("measured %+v", r)
	}
	if r.programs[2].missing != "it fails: gone" {
		t.Errorf("what fails is %q", r.programs[2].missing)
	}
	if r, err := measure(job{programs: []contender{a}}, 1); err != nil || r.samples[0][0].wall <= 0 {
		t.Errorf("a process takes %+v, %v", r.samples, err)
	}

	if _, err := measure(job{programs: []contender{a, program("d", "", "echo 4; echo sum")}}, 1); err == nil || !strings.Contains(err.Error(), "and d") {
		t.Errorf("programs that find different things: %v", err)
	}
	if _, err := measure(job{programs: []contender{program("e", "", "true")}}, 1); err == nil {
		t.Error("nothing found is no error")
	}
	if _, err := measure(job{programs: []contender{a, program("f", "exit 4", "echo 3; echo sum")}}, 1); err == nil {
		t.Error("a program that fails while it is measured is no error")
	}
}

func TestRounded(t *testing.T) {
	got, err := rounded("w\t0.10000000001\t-1e-3\t16777216\n")
	if want := "w\t0.1\t-0.001\t16777216\n"; got != want || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestPage holds the page to the jobs: what is measured is in it, by this program.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "compare.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	if !strings.HasPrefix(page, "# Beside other programs\n\n"+generated+"\n") {
		t.Error("docs/compare.md is not what make compare writes")
	}
	for _, j := range jobs(&toolbox{python: []string{""}, module: []string{""}, node: []string{""}}, "") {
		_, after, ok := strings.Cut(page, "\n## "+j.title+"\n\n"+j.text+" ")
		after, _, _ = strings.Cut(after, "\n## ")
		if !ok {
			t.Errorf("docs/compare.md has no %q with its text: run make compare", j.title)
		}
		for _, c := range j.programs {
			if !strings.Contains(after, "\n| "+c.name+" | ") {
				t.Errorf("docs/compare.md has no row of %s in %q", c.name, j.title)
			}
		}
	}
}
