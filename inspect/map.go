package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/template"
)

// IsMapFile reports whether a reference to a map is that to a file, rather than
// the name of one that is built in, A..B, or a convention.
func IsMapFile(ref string) bool {
	if isMapPath(ref) {
		return true
	}
	_, builtin := rename.BuiltinSource(ref)
	_, isConvention := convention.Lookup(ref)
	return !builtin && !isConvention && !strings.Contains(ref, "..")
}

// isMapPath reports whether a reference can mean nothing but a file.
func isMapPath(ref string) bool {
	return strings.ContainsRune(ref, '/') || strings.ContainsRune(ref, filepath.Separator) ||
		strings.HasSuffix(ref, ".yaml") || strings.HasSuffix(ref, ".yml")
}

// ReadMap reads a map: a file, one that is built in, or A..B, the map from
// convention A to convention, or project, B.
func ReadMap(ctx context.Context, ref string) (*rename.Map, error) {
	text, err := MapText(ctx, ref)
	if err != nil {
		return nil, err
	}
	return rename.Parse(ref, text)
}

// MapText is ReadMap for a map as it is written, with its comments.
func MapText(ctx context.Context, ref string) ([]byte, error) {
	if !IsMapFile(ref) {
		if text, ok := rename.BuiltinSource(ref); ok {
			return text, nil
		}
		if from, to, ok := strings.Cut(ref, ".."); ok {
			return derivedText(from, to)
		}
		how := ""
		if source.Exists(ctx, ref) {
			how = fmt.Sprintf("; write ./%s for the file", ref)
		}
		return nil, fmt.Errorf("there is no built-in map %q: it is a convention; 'wtinspect rename --to %[1]s' gives its names, and A..%[1]s is the map from a convention A to it%s", ref, how)
	}
	if fi, err := source.Stat(ctx, ref); !isMapPath(ref) && (err != nil || !fi.Mode().IsRegular()) {
		return nil, fmt.Errorf("there is no built-in map %q%s", ref, nearBuiltins(ref))
	}
	text, err := source.ReadNamed(ctx, ref, source.Map)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: there is no such file%s", ref, nearBuiltins(ref))
	}
	return text, err
}

// derivedText writes the map between two conventions.
func derivedText(a, b string) ([]byte, error) {
	from, err := lookup(a)
	if err != nil {
		return nil, err
	}
	to, err := convert.Target(b, from, nil)
	if err != nil {
		return nil, err
	}
	d, err := convert.Derive(from, to)
	if err != nil {
		return nil, err
	}
	m, err := d.Map()
	if err != nil {
		return nil, err
	}
	note := func(format string, args ...any) { m.Notes = append(m.Notes, fmt.Sprintf(format, args...)) }
	note("Derived from what %s and %s call each tensor, and how they keep its bytes.", from.Name, to.Name)
	for _, c := range []*convention.Convention{from, to} {
		for _, s := range c.Sources {
			note("Source for %s: %s", c.Name, oneLine(s))
		}
		for _, n := range c.Layout.Notes {
			note("Note: %s", oneLine(n))
		}
	}
	for _, text := range d.Notes {
		note("Note: %s", text)
	}
	for _, r := range d.Refused() {
		note("Not derived: %s: %s", strings.Join(r.From, " + "), oneLine(r.Refuse))
	}
	var text bytes.Buffer
	err = rename.Write(&text, m)
	return text.Bytes(), err
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// nearBuiltins asks for the built-in map that a reference was meant to be.
func nearBuiltins(ref string) string {
	base := filepath.Base(ref)
	base = strings.TrimSuffix(strings.TrimSuffix(base, ".yaml"), ".yml")
	if meant := template.DidYouMean(base, rename.Builtins()); meant != "" {
		return meant
	}
	return "; 'wtinspect map list' shows the built-in maps"
}

// MapsOptions adjust [Maps]. Nil options are the defaults.
type MapsOptions struct {
	// Words choose what has all of them in its name, its description, its projects
	// or its models.
	Words []string
}

// A MapsResult lists what tensors can be renamed by.
type MapsResult struct {
	Maps        []BuiltinMap  `json:"maps"`
	Conventions []Convertible `json:"conventions"`
}

// A BuiltinMap is a map that is built in.
type BuiltinMap struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// A Convertible is a convention, and what it converts to.
type Convertible struct {
	Name        string             `json:"name"`
	Description string             `json:"description"`
	Dialects    []string           `json:"dialects"`
	Families    []string           `json:"families"`
	To          []ConversionTarget `json:"to"`
}

// A ConversionTarget is another convention, and by what it is reached.
type ConversionTarget struct {
	Convention string `json:"convention"`
	// By is "names" or "bytes"; "partly" when some tensors that every checkpoint has are
	// left out; "refused" when some that have a place cannot be brought there.
	By string `json:"by"`
}

// Maps lists the maps that are built in, and the conventions with what each
// converts to.
func Maps(ctx context.Context, opts *MapsOptions) (*MapsResult, error) {
	if opts == nil {
		opts = new(MapsOptions)
	}
	has := func(texts ...string) bool {
		text := strings.ToLower(strings.Join(texts, " "))
		return !slices.ContainsFunc(opts.Words, func(w string) bool { return !strings.Contains(text, strings.ToLower(w)) })
	}
	r := &MapsResult{Maps: []BuiltinMap{}}
	for _, name := range rename.Builtins() {
		if m, _ := rename.Builtin(name); has(name, m.Description) {
			r.Maps = append(r.Maps, BuiltinMap{name, m.Description})
		}
	}
	all := convention.All()
	mine := slices.DeleteFunc(slices.Clone(all), func(c *convention.Convention) bool {
		return !has(c.Name, strings.Join(c.Dialects, " "), strings.Join(c.Families, " "))
	})
	r.Conventions = make([]Convertible, len(mine))
	var wait sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for i := range next {
				c := mine[i]
				one := Convertible{c.Name, c.Description, c.Dialects, c.Families, []ConversionTarget{}}
				for _, to := range all {
					if to == c || c.Frame || to.Frame {
						continue
					}
					if d, err := convert.Derive(c, to); err == nil {
						one.To = append(one.To, ConversionTarget{to.Name, d.By()})
					}
				}
				r.Conventions[i] = one
			}
		})
	}
	for i := range mine {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	wait.Wait()
	return r, ctx.Err()
}
