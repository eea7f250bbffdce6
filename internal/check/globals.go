package check

import (
	_ "embed"
	"path"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/pytorch"
)

//go:embed globals.yaml
var globalsYAML []byte

// A grade is what is known of a name that a pickle imports.
type grade uint8

const (
	unknown   grade = iota
	accepted        // by torch.load with weights_only
	harmless        // makes an object, and does nothing else
	dangerous       // see globalRow.Does
)

// A globalRow is one row of globals.yaml.
type globalRow struct {
	Module string   `yaml:"module"`
	Names  []string `yaml:"names"` // patterns; none for the module and all below it
	Does   string   `yaml:"does"`
	By     []string `yaml:"by"`

	grade grade
}

// source says who lists the row, or that the code of Python's library does what it says.
func (r *globalRow) source() string {
	if slices.Equal(r.By, []string{"CPython"}) {
		return "by the code of CPython"
	}
	return "listed by " + plural.List(r.By)
}

type globalTable struct {
	Sources   map[string]string `yaml:"sources"`
	Accepted  []globalRow       `yaml:"accepted"`
	Harmless  []globalRow       `yaml:"harmless"`
	Dangerous []globalRow       `yaml:"dangerous"`

	byModule map[string][]*globalRow // those with names before those without
}

var globals = sync.OnceValue(func() *globalTable {
	t := &globalTable{byModule: make(map[string][]*globalRow)}
	if err := yaml.Load(globalsYAML, t, yaml.WithKnownFields()); err != nil {
		panic("check: globals.yaml: " + err.Error())
	}
	for _, part := range []struct {
		rows  []globalRow
		grade grade
	}{{t.Dangerous, dangerous}, {t.Harmless, harmless}, {t.Accepted, accepted}} {
		for i := range part.rows {
			row := &part.rows[i]
			row.grade = part.grade
			t.byModule[row.Module] = append(t.byModule[row.Module], row)
		}
	}
	for _, rows := range t.byModule {
		slices.SortStableFunc(rows, func(a, b *globalRow) int { return min(len(b.Names), 1) - min(len(a.Names), 1) })
	}
	return t
})

// computedRow is what every name is that Python makes while it loads the pickle.
var computedRow = globalRow{Does: "can be anything, as its name is computed while the pickle is loaded", grade: dangerous}

// pathRow is what every name is that leads from one object to others by attributes that all objects have,
// as __globals__ of a function leads to __builtins__, and __subclasses__ of object to every class.
var pathRow = globalRow{Does: "reaches any attribute of any object", grade: dangerous}

// isPath reports whether a name has attributes that Python's objects have on their own.
func isPath(name string) bool {
	parts := strings.Split(name, ".")
	if len(parts) == 1 { // of the module itself
		return slices.Contains([]string{"__builtins__", "__loader__", "__spec__", "__dict__"}, name)
	}
	return slices.ContainsFunc(parts, func(s string) bool { return strings.HasPrefix(s, "__") && strings.HasSuffix(s, "__") })
}

// gradeOf returns what is known of a global, with the row that says so; nil for what is in
// no list.
func gradeOf(g *pytorch.Global) (grade, *globalRow) {
	if g.Module == pytorch.Computed || g.Name == pytorch.Computed {
		return dangerous, &computedRow
	}
	if isPath(g.Name) {
		return dangerous, &pathRow
	}
	if row := rowOf(g.Module, g.Name); row != nil {
		return row.grade, row
	}
	// A member of an enumeration is what its class is, unless it is called.
	if of := g.Of; of != nil && g.Calls == 0 && of.Of == nil {
		return gradeOf(of)
	}
	// From protocol 4 on a name may be a path: "os.system" in the module shutil is that of os, and so is
	// "_os.system", as modules call what they import; "serialization.load" in torch is one of its modules'.
	parts := strings.Split(g.Name, ".")
	for i, part := range parts[:len(parts)-1] {
		rest := strings.Join(parts[i+1:], ".")
		for _, module := range []string{strings.TrimLeft(part, "_"), part, g.Module + "." + strings.Join(parts[:i+1], ".")} {
			if row := rowOf(module, rest); row != nil && row.grade == dangerous {
				return dangerous, row
			}
		}
	}
	return unknown, nil
}

// rowOf returns the row of a name in a module, or in one that it is below; nil for none.
func rowOf(module, name string) *globalRow {
	t := globals()
	for _, row := range t.byModule[module] {
		if row.Names == nil || slices.ContainsFunc(row.Names, func(pattern string) bool { return matchesName(pattern, name) }) {
			return row
		}
	}
	for {
		i := strings.LastIndexByte(module, '.')
		if i < 0 {
			return nil
		}
		module = module[:i]
		for _, row := range t.byModule[module] {
			if row.Names == nil {
				return row
			}
		}
	}
}

// matchesName reports whether a pattern of a row means a name. An attribute of what it means
// is another name.
func matchesName(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil && (pattern == name || !strings.Contains(name, "."))
}
