package convert

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// A fact says of which rows of which tensors of another convention a tensor is
// made.
type fact struct {
	name  string
	parts []factPart
	goes  bool // the old tensor becomes none
}

type factPart struct {
	name     string
	from, to int64 // all rows where both are 0
	pixel    bool
}

// readFacts reads testdata/image.txt.
func readFacts(t *testing.T) map[string][]fact {
	t.Helper()
	b, err := os.ReadFile("testdata/image.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "\n== ")
	out := make(map[string][]fact)
	for section := range strings.SplitSeq(text, "\n== ") {
		head, lines, _ := strings.Cut(section, "\n")
		for line := range strings.Lines(lines) {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			for _, leaf := range []string{".weight", ".bias"} {
				if leaf == ".bias" && !strings.Contains(line, ".*") {
					continue
				}
				words := strings.Fields(strings.ReplaceAll(line, ".*", leaf))
				f := fact{name: words[0], goes: words[1] == "goes"}
				for _, word := range words[2:] {
					p := factPart{name: word}
					if name, rows, ok := strings.Cut(word, "["); ok {
						p.name = name
						if p.pixel = rows == "1,1]"; !p.pixel {
							if _, err := fmt.Sscanf(rows, "%d:%d]", &p.from, &p.to); err != nil {
								t.Fatalf("%s: %v", line, err)
							}
						}
					}
					f.parts = append(f.parts, p)
				}
				out[head] = append(out[head], f)
			}
		}
	}
	return out
}

// sides makes a checkpoint of each side of the facts: the old one counts its
// elements, and the new one is made of it as the facts say.
func sides(facts []fact) (old, want map[string]tensorValue) {
	rows, pixel := make(map[string]int64), make(map[string]bool)
	for _, f := range facts {
		if f.goes {
			rows[f.name] = 0
		}
		for _, p := range f.parts {
			rows[p.name] = max(rows[p.name], p.to)
			pixel[p.name] = p.pixel
		}
	}
	old, want = make(map[string]tensorValue), make(map[string]tensorValue)
	n := 0.0
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		v := tensorValue{shape: []int64{rows[name], 3}}
		if v.shape[0] == 0 {
			v.shape[0] = 2
		}
		if strings.HasSuffix(name, "bias") {
			v.shape = v.shape[:1]
		}
		if pixel[name] {
			v.shape = append(v.shape, 1, 1)
		}
		for range size(v.shape) {
			v.data = append(v.data, n)
			n++
		}
		old[name] = v
	}
	for _, f := range facts {
		if f.goes {
			continue
		}
		var v tensorValue
		for _, p := range f.parts {
			o := old[p.name]
			from, to := p.from, p.to
			if to == 0 {
				to = o.shape[0]
			}
			width := size(o.shape[1:])
			shape := o.shape
			if p.pixel {
				shape = shape[:2]
			}
			if v.shape == nil {
				v.shape = slices.Clone(shape)
				v.shape[0] = 0
			}
			v.shape[0] += to - from
			v.data = append(v.data, o.data[from*width:to*width]...)
		}
		want[f.name] = v
	}
	return old, want
}

// Conversions of image models do what converters that other projects publish do,
// element by element, and the other way what undoes it.
func TestImageFacts(t *testing.T) {
	for head, facts := range readFacts(t) {
		words := strings.SplitN(head, " | ", 3)
		t.Run(words[0]+" to "+words[1], func(t *testing.T) {
			old, want := sides(facts)
			compare := func(from, to string, source, want map[string]tensorValue) {
				got := convertValues(t, from, to, source, nil)
				if d := gocmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); d != "" {
					t.Errorf("%s to %s (-want +got)\n%s", from, to, d)
				}
				for name, w := range want {
					if g := got[name]; !slices.Equal(g.shape, w.shape) || !slices.Equal(g.data, w.data) {
						t.Errorf("%s to %s: %s is %v %v, want %v %v", from, to, name, g.shape, g.data, w.shape, w.data)
					}
				}
			}
			compare(words[0], words[1], old, want)
			for _, f := range facts {
				if f.goes {
					delete(old, f.name)
				}
			}
			compare(words[1], words[0], want, old)
		})
	}
}
