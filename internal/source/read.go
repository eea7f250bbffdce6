package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
)

// A Kind is what a file that is read whole is for. It bounds the file's size.
type Kind uint8

// The kinds of documents.
const (
	// Document is a JSON document beside weights: config.json and its like.
	Document Kind = iota
	// Index is a shard index, a line a tensor.
	Index
	// Card is a README.md or another text beside weights.
	Card
	// Settings say how check judges.
	Settings
	// Baseline holds findings that are known.
	Baseline
	// Lock is what a release has promised, a line a tensor.
	Lock
	// Manifest holds digests, a line a tensor.
	Manifest
	// Map is a map of names, at most a rule a tensor.
	Map
	// Value is a value of metadata.
	Value
	// PathList is a list of what a command is about, a path per line.
	PathList
	// Headers are what was kept of a repository.
	Headers
)

// kinds has what messages call a kind, and how many bytes it may have. The
// largest release known has 500,000 tensors, whose names take 60 MB.
var kinds = [...]struct {
	name  string
	limit int64
}{
	Document: {"a JSON document", 16 << 20},
	Index:    {"a shard index", 250_000_000},
	Card:     {"a text", 16 << 20},
	Settings: {"a settings file", 1 << 20},
	Baseline: {"a baseline", 256 << 20},
	Lock:     {"a lock", 512 << 20},
	Manifest: {"a manifest", 512 << 20},
	Map:      {"a map", 256 << 20},
	Value:    {"a value of metadata", 64 << 20},
	Headers:  {"a cache of headers", 128 << 20},
	PathList: {"a list of paths", 64 << 20},
}

// Limit returns how many bytes a file of the kind may have.
func (k Kind) Limit() int64 { return kinds[k].limit }

// A LimitError says that a file is larger than its kind may be.
type LimitError struct {
	Path string
	// Size is the size of the file, or of what was read of a pipe.
	Size int64
	Kind Kind
	// more says that a pipe had more than Size.
	more bool
}

func (e *LimitError) Error() string {
	least := ""
	if e.more {
		least = "at least "
	}
	return fmt.Sprintf("%s: the size is %s%s, more than the %s that %s may have; check that it is the right file",
		e.Path, least, plural.Size(e.Size), plural.Size(e.Kind.Limit()), kinds[e.Kind].name)
}

// OpenFile is [Open] for a file of a kind.
func OpenFile(ctx context.Context, path string, k Kind) (Source, error) {
	f, err := Open(ctx, path)
	if err != nil {
		return nil, err
	}
	if f.Size() > k.Limit() {
		return nil, errors.Join(&LimitError{Path: path, Size: f.Size(), Kind: k}, f.Close())
	}
	return f, nil
}

// ReadFile reads a file of a kind whole. It refuses what [Open] refuses.
func ReadFile(ctx context.Context, path string, k Kind) ([]byte, error) {
	f, err := OpenFile(ctx, path, k)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data := make([]byte, f.Size())
	if err := ReadFull(f, data, 0); err != nil {
		if strings.HasPrefix(err.Error(), path+": ") { // as those of other places do
			return nil, err
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

// ReadNamed is [ReadFile] for a file that the user named, which may also be a
// pipe or a device: /dev/stdin, or what <(…) of a shell stands for. It waits for
// the writer of a pipe until ctx ends.
func ReadNamed(ctx context.Context, path string, k Kind) ([]byte, error) {
	path, err := Normalize(ctx, path)
	if err != nil {
		return nil, err
	}
	fi, err := Stat(ctx, path)
	if err != nil {
		return nil, err
	}
	if m := fi.Mode(); m&(fs.ModeNamedPipe|fs.ModeCharDevice) == 0 {
		return ReadFile(ctx, path, k)
	}
	return read(ctx, path, k, func() (io.ReadCloser, error) { return os.Open(path) })
}

// ReadStream reads what r gives to its end, or until ctx ends. Name is what
// errors call it.
func ReadStream(ctx context.Context, name string, r io.Reader, k Kind) ([]byte, error) {
	return read(ctx, name, k, func() (io.ReadCloser, error) { return io.NopCloser(r), nil })
}

// read opens and reads what may make it wait. A system call that waits cannot be
// called off: it is left behind when ctx ends, as the program is about to end.
func read(ctx context.Context, name string, k Kind, open func() (io.ReadCloser, error)) ([]byte, error) {
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		r, err := open()
		if err != nil {
			done <- result{nil, err}
			return
		}
		defer context.AfterFunc(ctx, func() { r.Close() })()
		data, err := io.ReadAll(io.LimitReader(r, k.Limit()+1))
		if err == nil && int64(len(data)) > k.Limit() {
			err = &LimitError{Path: name, Size: int64(len(data)), Kind: k, more: true}
		}
		done <- result{data, errors.Join(err, r.Close())}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-done:
		return r.data, r.err
	}
}
