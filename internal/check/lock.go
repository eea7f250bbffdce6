package check

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/values"
)

// LockVersion is the version of the lock's form.
const LockVersion = 1

// A Lock is what a release has promised: the names, dtypes and shapes of its
// tensors, and perhaps the digests of their data. It holds no weights.
type Lock struct {
	Version     int                `json:"lock_version"`
	Checkpoints []LockedCheckpoint `json:"checkpoints"`

	// Path is what findings call it.
	Path string `json:"-"`
}

// A LockedCheckpoint is one checkpoint of a lock.
type LockedCheckpoint struct {
	// Path is relative to the release, with slashes.
	Path    string            `json:"path"`
	Format  checkpoint.Format `json:"format"`
	Tensors []LockedTensor    `json:"tensors"`
}

// A LockedTensor is one tensor of a lock.
type LockedTensor struct {
	Name  string   `json:"name"`
	DType string   `json:"dtype"`
	Shape []uint64 `json:"shape"`
	// SHA256 is the digest of the data, in hexadecimal digits, or "".
	SHA256 string `json:"sha256,omitempty"`
}

// NewLock returns the lock of a release, with digests when they are asked for:
// those read all the data. progress is told what has been read, by several
// goroutines.
func NewLock(ctx context.Context, rel *checkpoint.Release, digests bool, progress func(n int64)) (*Lock, error) {
	l := &Lock{Version: LockVersion, Path: rel.Path}
	for _, c := range rel.Checkpoints {
		locked := LockedCheckpoint{Path: lockedPath(rel, c), Format: c.Format, Tensors: make([]LockedTensor, c.Len())}
		for i, t := range c.All() {
			if !utf8.ValidString(t.Name) {
				return nil, fmt.Errorf("%s: tensor %q: a name that is not UTF-8 cannot be locked", c.Path, t.Name)
			}
			locked.Tensors[i] = LockedTensor{Name: t.Name, DType: t.DType, Shape: t.Shape}
		}
		if digests {
			if err := addDigests(ctx, c, locked.Tensors, progress); err != nil {
				return nil, err
			}
		}
		l.Checkpoints = append(l.Checkpoints, locked)
	}
	return l, nil
}

func addDigests(ctx context.Context, c *checkpoint.Checkpoint, tensors []LockedTensor, progress func(n int64)) error {
	sections := make([]values.Section, len(tensors))
	for i := range tensors {
		data, err := c.Data(i)
		if err != nil {
			return fmt.Errorf("%s: tensor %q: %w", c.Path, tensors[i].Name, err)
		}
		sections[i] = values.Section{Name: tensors[i].Name, Data: data}
	}
	return values.Run(ctx, sections, values.Options{SHA256: true, Progress: progress}, func(i int, r *values.Result) error {
		if r.Err != nil {
			return fmt.Errorf("%s: tensor %q: %w", c.Path, tensors[i].Name, r.Err)
		}
		tensors[i].SHA256 = hex.EncodeToString(r.SHA256[:])
		return nil
	})
}

// lockedPath names a checkpoint within its release.
func lockedPath(rel *checkpoint.Release, c *checkpoint.Checkpoint) string {
	path, err := filepath.Rel(rel.Dir, c.Path)
	if err != nil {
		return filepath.ToSlash(c.Path)
	}
	return filepath.ToSlash(path)
}

// digests reports whether the lock holds any.
func (l *Lock) digests() bool {
	for _, c := range l.Checkpoints {
		for _, t := range c.Tensors {
			if t.SHA256 != "" {
				return true
			}
		}
	}
	return false
}

// compareDigests reads tensors and reports those whose digest is another.
func compareDigests(ctx context.Context, m *model, tensors []int, want []string, report func(i int, message string)) error {
	sections := make([]values.Section, 0, len(tensors))
	at := make([]int, 0, len(tensors))
	for k, i := range tensors {
		data, err := m.Data(i)
		if err != nil {
			report(i, fmt.Sprintf("the data cannot be read: %v", err))
			continue
		}
		sections, at = append(sections, values.Section{Name: m.At(i).Name, Data: data}), append(at, k)
	}
	return values.Run(ctx, sections, values.Options{SHA256: true}, func(k int, r *values.Result) error {
		i := tensors[at[k]]
		if r.Err != nil {
			report(i, fmt.Sprintf("the data cannot be read: %v", r.Err))
		} else if message := otherDigest(r.SHA256, want[at[k]]); message != "" {
			report(i, message)
		}
		return nil
	})
}

// otherDigest says that a digest is not the locked one, "" when it is.
func otherDigest(sum [sha256.Size]byte, want string) string {
	got := hex.EncodeToString(sum[:])
	if got == want {
		return ""
	}
	return fmt.Sprintf("the data is another than was locked (sha256 %s…, was %.12s…)", got[:12], want)
}
