package check

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/rename/template"
)

// A Finding is what a rule has to say about a place.
type Finding struct {
	Rule     *Rule
	Severity checkpoint.Severity
	// Checkpoint is the path of the checkpoint concerned, "" for the release.
	Checkpoint string
	// File is the path of the file concerned, the first of several.
	File string
	// Line and Column are a place in a text, from 1, and 0 where there is none.
	Line, Column int
	// Offset is a byte offset in File, -1 where there is none.
	Offset int64
	// Tensor is a name, or a template in which the numbers that vary stand as
	// sets in braces. It is "" for what concerns no tensor.
	Tensor string
	// Count is how many tensors or places the finding stands for, at least 1.
	Count int
	// Message says what is wrong, with the numbers; of several alike, those of
	// the first.
	Message string
	// Fixable says that the fix of the rule takes it away.
	Fixable bool

	dir string // of the release, which Fingerprint leaves out
	// cause is not "" where one cause makes many findings in a file, which are one then.
	cause string
}

// Fingerprint identifies a finding from one run to the next: by its rule, its
// place within the release and the tensor's template, but not by numbers that
// the next version of the weights changes.
func (f *Finding) Fingerprint() string {
	message := f.Message
	if f.dir != "." {
		message = strings.ReplaceAll(message, f.dir+string(filepath.Separator), "")
	}
	key := strings.Join([]string{f.Rule.ID, f.within(f.File), template.Runs.Of(f.Tensor), template.Runs.Of(message)}, "\x00")
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}

// within returns a path as it is within the release, with slashes.
func (f *Finding) within(path string) string {
	if rel, err := filepath.Rel(f.dir, path); err == nil && path != "" {
		path = rel
	}
	return filepath.ToSlash(path)
}

// InFile reports whether the finding is in a file that a glob matches, by its
// name or by its path within the release. Without a file it is in its checkpoint.
func (f *Finding) InFile(g template.Glob) bool {
	file := f.File
	if file == "" {
		file = f.Checkpoint
	}
	return g.Match(filepath.Base(file)) || g.Match(f.within(file))
}

// Place says where the finding is, as far as it has a place: file, line or
// byte, tensor.
func (f *Finding) Place() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.File == "" {
		b.WriteString(f.Checkpoint)
	}
	switch {
	case f.Line > 0:
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
	case f.Offset >= 0:
		fmt.Fprintf(&b, "@%d", f.Offset)
	}
	return b.String()
}

// tally folds the findings of one rule as they come: those that differ in
// nothing but numbers, or have one cause, are one, with a count.
type tally struct {
	order  []*bundle
	byKey  map[string]*bundle
	buffer []byte
}

// A bundle is findings alike.
type bundle struct {
	first Finding
	names []string
}

// maxNames bounds how many names of a bundle are kept to be folded.
const maxNames = 200_000

func (t *tally) add(f Finding) {
	key := t.buffer[:0]
	key = append(key, byte(f.Severity))
	key = append(key, f.Checkpoint...)
	key = append(key, 0)
	switch {
	case f.cause != "":
		key = append(key, f.File...)
		key = append(key, 0)
		key = append(key, f.cause...)
	case f.Tensor == "":
		key = append(key, f.File...)
		key = append(key, 0)
		key = append(key, f.Message...)
	default:
		key = template.Words.Append(key, f.Tensor)
		key = append(key, 0)
		key = template.Runs.Append(key, f.Message)
	}
	t.buffer = key
	b := t.byKey[string(key)]
	if b == nil {
		if t.byKey == nil {
			t.byKey = make(map[string]*bundle)
		}
		b = &bundle{first: f}
		b.first.Count = 0
		t.byKey[string(key)] = b
		t.order = append(t.order, b)
	}
	b.first.Count += max(f.Count, 1)
	if f.Tensor != "" && len(b.names) < maxNames {
		b.names = append(b.names, f.Tensor)
	}
}

// findings returns the findings in the order in which the first of each came.
func (t *tally) findings() []Finding {
	list := make([]Finding, len(t.order))
	for i, b := range t.order {
		list[i] = b.first
		if len(b.names) > 1 {
			list[i].Tensor = foldNames(b.names)
		}
	}
	return list
}

// foldNames writes several names as one template, or the first few.
func foldNames(names []string) string {
	groups := template.FoldNames(names)
	const few = 3
	var words []string
	for i, g := range groups {
		if i == few {
			words = append(words, fmt.Sprintf("and %d more", len(groups)-few))
			break
		}
		words = append(words, g.Name)
	}
	return strings.Join(words, ", ")
}
