package browse

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

// A Source is what is browsed. Its methods may take long; they end with their contexts.
type Source interface {
	// Paths are the references as they were given, one or two.
	Paths() []string
	// Items lists the tensors. Those of two references are pairs, which with values are
	// compared by what they hold; progress is told how far that is.
	Items(ctx context.Context, values bool, progress func(done, total int64)) (Items, error)
	Role(ctx context.Context, t *inspect.Tensor) (*identify.Explanation, error)
	Digest(ctx context.Context, t *inspect.Tensor) (string, error)
	Stats(ctx context.Context, t *inspect.Tensor, bins int) (*inspect.Figures, error)
	// Values prints the first numbers of a tensor, and the last where there are many.
	Values(ctx context.Context, t *inspect.Tensor, width int) (string, error)
	Findings(ctx context.Context) (*inspect.CheckResult, error)
	Info(ctx context.Context, style render.Style) (string, error)
	// Changed says which file is no longer the one that was opened, nil for none.
	Changed(ctx context.Context) error
}

// Items are the tensors of a [Source]. At is quick, and may be called from anywhere.
type Items interface {
	Len() int
	At(i int) Item
}

// An Item is a tensor, or a pair of two checkpoints.
type Item struct {
	// Of is the checkpoint that the tensor is of, "" where there is only one.
	Of   string
	Name string
	// Sides are the tensor in the first and the second checkpoint; Has says in which it is.
	Sides [2]inspect.Tensor
	Has   [2]bool
	// Status is how the two compare, "" with one checkpoint, and Note what there is to say
	// about it.
	Status inspect.DiffStatus
	Note   string
	// Renamed says that the second checkpoint has another name for it.
	Renamed bool
}

// differs reports whether a pair differs in something, as far as it was compared.
func (i *Item) differs() bool {
	return i.Renamed || i.Status != "" && i.Status != inspect.Same && i.Status != inspect.Agree
}

// one is the tensor of a pair that sizes are taken from: the second, if there is one.
func (i *Item) one() *inspect.Tensor {
	if i.Has[1] {
		return &i.Sides[1]
	}
	return &i.Sides[0]
}

// A set is the Source of an opened set.
type set struct {
	*inspect.Set
	refs []string
	opts SetOptions
}

// SetOptions say how a set was opened, for what opens it again.
type SetOptions struct {
	Recursive bool
	Subtree   string
	Workers   int
}

// SourceOf returns the Source of what one or two references were opened as.
func SourceOf(of *inspect.Set, refs []string, opts SetOptions) Source { return &set{of, refs, opts} }

func (s *set) Paths() []string { return s.refs }

func (s *set) Items(ctx context.Context, values bool, progress func(done, total int64)) (Items, error) {
	if len(s.refs) < 2 {
		list, err := inspect.List(ctx, s.Set, nil)
		if err != nil {
			return nil, err
		}
		l := &tensors{set: s}
		for _, listing := range list.Listings {
			l.ends = append(l.ends, l.Len()+listing.Len())
		}
		return l, nil
	}
	r, err := inspect.Diff(ctx, s.Set, &inspect.DiffOptions{
		Headers: !values, All: true, Workers: s.opts.Workers,
		Progress: func(_ string, done, total int64) { progress(done, total) },
	})
	if err != nil {
		return nil, err
	}
	p := &pairs{set: s}
	for _, c := range r.Comparisons {
		both := [2]int{s.place(0, c.A.Path), s.place(1, c.B.Path)}
		for i := range c.Rows {
			p.rows = append(p.rows, pair{&c.Rows[i], both, c.Place})
		}
	}
	for side, paths := range [][]string{r.OnlyA, r.OnlyB} {
		status := []inspect.DiffStatus{inspect.OnlyA, inspect.OnlyB}[side]
		for _, path := range paths {
			k := s.place(side, path)
			both := [2]int{k, k}
			for i, t := range s.Checkpoints[k].All() {
				row := &inspect.DiffRow{Status: status, A: -1, B: -1, NameA: t.Name, Mapped: t.Name, NameB: t.Name}
				if side == 0 {
					row.A = i
				} else {
					row.B = i
				}
				p.rows = append(p.rows, pair{row, both, path})
			}
		}
	}
	return p, nil
}

// place returns the place in the set of a release's checkpoint.
func (s *set) place(release int, path string) int {
	before := 0
	for _, r := range s.Releases[:release] {
		before += len(r.Checkpoints)
	}
	for k, c := range s.Releases[release].Checkpoints {
		if c.Path == path {
			return before + k
		}
	}
	return before
}

// tensor is a tensor of the set by its checkpoint and its place there.
func (s *set) tensor(k, i int) inspect.Tensor {
	c := s.Checkpoints[k]
	t := inspect.Tensor{Checkpoint: k, Tensor: c.At(i)}
	if t.File >= 0 {
		t.FileName = c.Files[t.File].Name
	}
	return t
}

// tensors are those of one release, one checkpoint after the other.
type tensors struct {
	set  *set
	ends []int
}

func (l *tensors) Len() int {
	if len(l.ends) == 0 {
		return 0
	}
	return l.ends[len(l.ends)-1]
}

func (l *tensors) At(i int) Item {
	k, _ := slices.BinarySearch(l.ends, i+1)
	if k > 0 {
		i -= l.ends[k-1]
	}
	t := l.set.tensor(k, i)
	out := Item{Name: t.Name, Sides: [2]inspect.Tensor{t}, Has: [2]bool{true}}
	if len(l.ends) > 1 {
		out.Of = l.set.Checkpoints[k].Path
	}
	return out
}

// pairs are the tensors of two releases.
type pairs struct {
	set  *set
	rows []pair
}

type pair struct {
	*inspect.DiffRow
	checkpoints [2]int
	of          string
}

func (p *pairs) Len() int { return len(p.rows) }

func (p *pairs) At(i int) Item {
	r := &p.rows[i]
	out := Item{Of: r.of, Name: r.Name(), Status: r.Status, Note: r.note(), Renamed: r.Renamed()}
	for side, at := range []int{r.A, r.B} {
		if at >= 0 {
			out.Sides[side], out.Has[side] = p.set.tensor(r.checkpoints[side], at), true
		}
	}
	return out
}

// note is what there is to say about a pair beside its status.
func (p *pair) note() string {
	var notes []string
	if p.Renamed() {
		notes = append(notes, "A calls it "+p.NameA)
	}
	if p.Reason != "" {
		notes = append(notes, p.Reason)
	}
	if f := p.Figures; f != nil {
		notes = append(notes, fmt.Sprintf("%s differ, max abs %.4g, relative RMS %.4g, cosine %.6f", render.Counted(f.Differ, "number"), f.MaxAbs, f.RelRMS, f.Cosine))
	}
	if p.Err != nil {
		notes = append(notes, p.Err.Error())
	}
	return strings.Join(notes, "; ")
}

// only is the checkpoint of a tensor as a set by itself, and a selection of its name.
func (s *set) only(t *inspect.Tensor) (*inspect.Set, inspect.Selection) {
	one := &inspect.Set{Checkpoints: []*checkpoint.Checkpoint{s.Checkpoints[t.Checkpoint]}}
	return one, inspect.Selection{Match: []string{globOf(t.Name)}}
}

// globOf is the glob that matches a name and nothing else.
func globOf(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

// at reports whether a tensor is the one that was asked for: names may occur twice.
func at(t, asked *inspect.Tensor) bool { return t.File == asked.File && t.Offset == asked.Offset }

func (s *set) Role(ctx context.Context, t *inspect.Tensor) (*identify.Explanation, error) {
	r, err := inspect.Identify(ctx, s.Checkpoints[t.Checkpoint], &inspect.IdentifyOptions{Why: t.Name})
	if err != nil {
		return nil, err
	}
	return r.Why, nil
}

func (s *set) Digest(ctx context.Context, t *inspect.Tensor) (string, error) {
	one, chosen := s.only(t)
	r, err := inspect.Hash(ctx, one, &inspect.HashOptions{Select: chosen, Workers: s.opts.Workers})
	if err != nil {
		return "", err
	}
	for i := range r.Tensors {
		if h := &r.Tensors[i]; at(&h.Tensor, t) {
			return h.Digest(inspect.SHA256), h.Err
		}
	}
	return "", errGone(t)
}

func (s *set) Stats(ctx context.Context, t *inspect.Tensor, bins int) (*inspect.Figures, error) {
	one, chosen := s.only(t)
	r, err := inspect.Stats(ctx, one, &inspect.StatsOptions{Select: chosen, Workers: s.opts.Workers, Bins: bins})
	if err != nil {
		return nil, err
	}
	for i := range r.Tensors {
		if f := &r.Tensors[i]; at(&f.Tensor, t) {
			return f.Figures, f.Err
		}
	}
	return nil, errGone(t)
}

func (s *set) Values(ctx context.Context, t *inspect.Tensor, width int) (string, error) {
	one, chosen := s.only(t)
	r, err := inspect.Cat(ctx, one, &inspect.CatOptions{Select: chosen, Form: inspect.CatText})
	if err != nil {
		return "", err
	}
	r.Tensors = slices.DeleteFunc(r.Tensors, func(c inspect.CatTensor) bool { return !at(&c.Tensor, t) })
	if errs := r.Errors(); len(errs) > 0 {
		return "", errs[0]
	}
	var b strings.Builder
	err = answer.CatText(&b, r, render.Style{Terminal: true, Width: width})
	_, numbers, _ := strings.Cut(b.String(), "\n") // the heading says what the pane does
	return numbers, err
}

func errGone(t *inspect.Tensor) error { return fmt.Errorf("tensor %q: it is no longer there", t.Name) }

func (s *set) Findings(ctx context.Context) (*inspect.CheckResult, error) {
	return inspect.Check(ctx, s.refs, &inspect.CheckOptions{Recursive: s.opts.Recursive, Subtree: s.opts.Subtree, Workers: s.opts.Workers})
}

func (s *set) Info(ctx context.Context, style render.Style) (string, error) {
	r, err := inspect.Info(ctx, s.Set, nil)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = answer.Info(&b, r, answer.InfoOptions{Options: answer.Options{Format: render.TableFormat, Style: style}, Long: true})
	return b.String(), err
}

// size is how many bytes a tensor has, for what is added up.
func size(t *inspect.Tensor) uint64 {
	if !t.BytesKnown {
		return 0
	}
	return t.Bytes
}

// elements is how many numbers a tensor has, for what is sorted.
func elements(t *inspect.Tensor) uint64 {
	n, _ := t.Elements()
	return n
}

// dtype is never empty.
func dtype(t *inspect.Tensor) string { return cmp.Or(t.DType, "?") }
