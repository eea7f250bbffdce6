package identify

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/rename/convention"
)

// Every section of docs/near-misses.md is what the program says.
func TestNearMisses(t *testing.T) {
	page, err := os.ReadFile("../../../docs/near-misses.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```names\n")[1:]
	for _, b := range blocks {
		names, after, ok := strings.Cut(b, "```\n")
		if !ok {
			t.Fatal("a block of names does not end")
		}
		var list []convention.Named
		for line := range strings.Lines(names) {
			list = append(list, expandLine(t, strings.TrimSpace(line))...)
		}
		r := Tensors(slices.Values(list), nil)
		var parts []string
		for _, p := range r.Parts {
			parts = append(parts, p.Convention)
		}
		var gaps []string
		for _, g := range r.Gaps {
			gaps = append(gaps, strings.Trim(fmt.Sprint(g.Layers), "[]"))
		}
		facts := map[string]string{
			"convention": cmp.Or(r.Convention, "unknown"), "nearest": fmt.Sprintf("%s %d", r.Nearest.Convention, r.Nearest.TemplatesAway),
			"wrappers": strings.Join(r.Wrappers, " "), "base_absent": r.BaseAbsent, "parts": strings.Join(parts, " "),
			"quantisation": strings.Join(r.Quantisation, " "), "gaps": strings.Join(gaps, " "),
		}
		first, _, _ := strings.Cut(names, "\n")
		checked := 0
		for line := range strings.Lines(after) {
			key, want, ok := strings.Cut(strings.TrimSpace(line), ": ")
			switch got, fact := facts[key]; {
			case !ok:
			case key == "families":
				if !slices.Contains(r.Families, want) {
					t.Errorf("%s …: families %v, want %s", first, r.Families, want)
				}
			case fact:
				checked++
				if got != want {
					t.Errorf("%s …: %s %q, want %q", first, key, got, want)
				}
			}
			if strings.HasPrefix(line, "#") {
				break
			}
		}
		if checked == 0 {
			t.Errorf("%s …: nothing is said about it", first)
		}
	}
}
