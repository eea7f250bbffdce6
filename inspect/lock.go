package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/policy"
)

// LockName is the name under which a release keeps its lock, and where [Check]
// looks for one.
const LockName = policy.LockName

// LockOptions adjust [Lock].
type LockOptions struct {
	// Recursive descends into subdirectories.
	Recursive bool
	// Subtree is the part of PyTorch files that is read; see [checkpoint.Options].
	Subtree string
	// Digests adds the SHA-256 of every tensor's data, and reads all data.
	Digests bool
	// Workers is how many files are opened at once; 0 means as many as there are
	// processors, and at least 4.
	Workers  int
	Progress func(done, total int64)
}

// A LockResult is what a release promises: the contract that [Check] holds a later
// one to. It holds no weights.
type LockResult struct {
	Version     int                `json:"lock_version"`
	Checkpoints []LockedCheckpoint `json:"checkpoints"`
	// Files are the paths of the files that were read.
	Files []string `json:"-"`

	lock *check.Lock
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

// Lock returns the lock of a release. It fails when a file of the release is
// missing or broken: what is not there cannot be promised.
func Lock(ctx context.Context, ref string, opts *LockOptions) (*LockResult, error) {
	if opts == nil {
		opts = new(LockOptions)
	}
	rel, err := checkpoint.Open(ctx, ref, &checkpoint.Options{Recursive: opts.Recursive, Workers: opts.Workers, Subtree: opts.Subtree})
	if err != nil {
		return nil, pathFirst(err)
	}
	defer rel.Close()
	var broken []error
	for _, c := range rel.Checkpoints {
		for _, f := range c.Files {
			if f.Err != nil || f.Missing {
				broken = append(broken, fmt.Errorf("%s: missing or broken; a lock is of a whole release", cmp.Or(f.Path, f.Name)))
			}
		}
	}
	if broken != nil {
		return nil, errors.Join(broken...)
	}
	var progress func(n int64)
	if opts.Digests {
		if err := reachOf(ctx, rel).allow(); err != nil {
			return nil, err
		}
		progress = counter(opts.Progress, dataBytes(rel))
	}
	lock, err := check.NewLock(ctx, rel, opts.Digests, progress)
	if err != nil {
		return nil, err
	}
	out := &LockResult{Version: lock.Version, Files: filesOf(rel.Checkpoints), lock: lock}
	for _, c := range lock.Checkpoints {
		tensors := make([]LockedTensor, len(c.Tensors))
		for i, t := range c.Tensors {
			tensors[i] = LockedTensor(t)
		}
		out.Checkpoints = append(out.Checkpoints, LockedCheckpoint{c.Path, c.Format, tensors})
	}
	return out, nil
}

// Tensors counts the tensors of the lock.
func (r *LockResult) Tensors() int {
	n := 0
	for _, c := range r.Checkpoints {
		n += len(c.Tensors)
	}
	return n
}

// Write writes the lock as the file that [Check] reads, with a line a tensor.
func (r *LockResult) Write(w io.Writer) error { return policy.WriteLock(w, r.lock) }
