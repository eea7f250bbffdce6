package checkpoint

import (
	"fmt"
	"hash/maphash"
	"io"
	"path/filepath"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
)

// Prefer says whose tensor counts where several checkpoints have one of a name.
type Prefer uint8

const (
	// PreferNone refuses equal names.
	PreferNone Prefer = iota
	// PreferFirst takes the tensor of the first checkpoint that has it.
	PreferFirst
	// PreferLast takes that of the last.
	PreferLast
)

// A Passed tensor is one that a union passes over, as another checkpoint has one of its name.
type Passed struct {
	Name string
	// Of is the checkpoint whose tensor is passed over, and By the one whose tensor
	// counts.
	Of, By *Checkpoint
}

// Union is several checkpoints of one format as one: their files one after the other,
// without the tensors that passed lists. Its Dir and Config are those of the first that
// has them. It can be read as long as they are open, and has nothing of its own to close.
//
// With PreferNone it is an error when passed is not empty.
func Union(list []*Checkpoint, prefer Prefer) (u *Checkpoint, passed []Passed, err error) {
	if len(list) == 0 {
		return nil, nil, fmt.Errorf("a union of no checkpoints")
	}
	first := list[0]
	u = &Checkpoint{Dir: first.Dir, Format: first.Format, Revision: first.Revision, Of: list, starts: []int{0}}
	paths := make([]string, len(list))
	type place struct{ of, tensor int }
	counts := make(map[string]place)
	dropped := make([]map[int]bool, len(list))
	for k, c := range list {
		paths[k] = c.Path
		if u.Config == nil {
			u.Config = c.Config
		}
		if err := c.unites(first); err != nil {
			return nil, nil, err
		}
		dropped[k] = make(map[int]bool)
		for i, t := range c.All() {
			p, ok := counts[t.Name]
			switch {
			case !ok:
				counts[t.Name] = place{k, i}
			case p.of == k: // of one checkpoint, whose fault it is
			case prefer == PreferLast:
				passed = append(passed, Passed{t.Name, list[p.of], c})
				dropped[p.of][p.tensor] = true
				counts[t.Name] = place{k, i}
			default:
				passed = append(passed, Passed{t.Name, c, list[p.of]})
				dropped[k][i] = true
			}
		}
	}
	u.Path = strings.Join(paths, " + ")
	if prefer == PreferNone && len(passed) > 0 {
		p := passed[0]
		more := ""
		if n := len(passed) - 1; n > 0 {
			more = fmt.Sprintf(", and %s more %s in two of them", plural.Of(n, "name"), plural.Verb(n, "are"))
		}
		return nil, passed, fmt.Errorf("tensor %q is in %s and in %s%s: say which of them counts, or leave some out", p.Name, p.By.Path, p.Of.Path, more)
	}
	for k, c := range list {
		for i, f := range c.Files {
			u.addFile(f, c.starts[i], dropped[k])
		}
	}
	return u, passed, nil
}

// unites returns why a checkpoint cannot be one with another, or nil.
func (c *Checkpoint) unites(first *Checkpoint) error {
	switch {
	case c.Format != first.Format:
		return fmt.Errorf("%s is %s and %s is %s: convert one of them first", c.Path, c.Format, first.Path, first.Format)
	case c.namesOnly || len(c.Files) == 0:
		return fmt.Errorf("%s has only names", c.Path)
	}
	for _, f := range c.Files {
		switch {
		case f.Missing:
			return fmt.Errorf("%s is missing", f.Path)
		case f.Err != nil:
			return f.Err
		}
	}
	return nil
}

// addFile adds a file whose first tensor has a number in its checkpoint, without those
// tensors that are dropped.
func (u *Checkpoint) addFile(f *File, start int, dropped map[int]bool) {
	mine := *f
	if rel, err := filepath.Rel(u.Dir, f.Path); err != nil || !filepath.IsLocal(rel) {
		mine.Name = f.Path
	}
	var keep []int
	for i := range f.len() {
		if !dropped[start+i] {
			keep = append(keep, i)
		}
	}
	if len(keep) < f.len() {
		mine.format = &subset{f.format, keep}
	}
	u.Files = append(u.Files, &mine)
	u.starts = append(u.starts, u.starts[len(u.starts)-1]+len(keep))
}

// A subset is a file with some of its tensors.
type subset struct {
	container
	keep []int
}

func (s *subset) len() int                              { return len(s.keep) }
func (s *subset) name(i int) string                     { return s.container.name(s.keep[i]) }
func (s *subset) hash(seed maphash.Seed, i int) uint64  { return s.container.hash(seed, s.keep[i]) }
func (s *subset) hasName(i int, name string) bool       { return s.container.hasName(s.keep[i], name) }
func (s *subset) data(i int) (*io.SectionReader, error) { return s.container.data(s.keep[i]) }
