// Package source turns a reference to bytes (a path, later a URL) into
// something to read at any offset.
package source

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// A Source is bytes of a known length. It may be read by several goroutines.
type Source interface {
	io.ReaderAt
	// Size returns the length when the source was opened.
	Size() int64
	// Name returns the reference the source was opened with.
	Name() string
	Close() error
}

// An UnsupportedError says that a reference has a scheme that cannot be read.
type UnsupportedError struct {
	Ref    string
	Scheme string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s: reading %s:// references is not supported yet; download the files and name their directory", e.Ref, e.Scheme)
}

// Scheme returns the scheme of a URL ("https", "hf"), and "" for a local path.
func Scheme(ref string) string {
	scheme, _, ok := strings.Cut(ref, "://")
	if !ok || strings.Trim(strings.ToLower(scheme), "abcdefghijklmnopqrstuvwxyz0123456789+-.") != "" {
		return ""
	}
	return scheme
}

// Open opens a local file, following symbolic links. It refuses anything but
// a regular file, since a pipe would block and a device has no size. A URL is
// refused with an [*UnsupportedError].
func Open(ctx context.Context, ref string) (Source, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s := Scheme(ref); s != "" {
		return nil, &UnsupportedError{Ref: ref, Scheme: s}
	}
	// A pipe must be recognised before it is opened: opening it would wait for
	// a writer.
	fi, err := os.Stat(ref)
	if err != nil {
		return nil, err
	}
	if err := regular(ref, fi); err != nil {
		return nil, err
	}
	f, err := os.Open(ref)
	if err != nil {
		return nil, err
	}
	fi, err = f.Stat()
	if err == nil {
		err = regular(ref, fi)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &file{File: f, size: fi.Size()}, nil
}

func regular(ref string, fi fs.FileInfo) error {
	if fi.Mode().IsRegular() {
		return nil
	}
	kind := "not a regular file"
	switch m := fi.Mode(); {
	case m.IsDir():
		kind = "a directory"
	case m&fs.ModeNamedPipe != 0:
		kind = "a pipe"
	case m&fs.ModeSocket != 0:
		kind = "a socket"
	case m&fs.ModeDevice != 0:
		kind = "a device"
	}
	return fmt.Errorf("%s: %s, where a regular file is needed", ref, kind)
}

type file struct {
	*os.File
	size int64
}

func (f *file) Size() int64 { return f.size }
