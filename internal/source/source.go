// Package source reads files. It lists and looks at what lies in a [Place], turns
// a reference to bytes (a path or a URL) into something to read at any offset, and
// is the only package that opens files for reading.
//
// A directory may come from anybody, and change while it is read. What lies
// beside weights is read only if it is a regular file and no larger than its
// [Kind] may be, and opening it never waits. What the user named on the command
// line may also be a pipe ([ReadNamed]). Of many files that are open few have a
// descriptor; one that gets another must not have changed ([ErrChanged]).
package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
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
	return fmt.Sprintf("%s: %s:// references are not read; download the files and name their directory", e.Ref, e.Scheme)
}

// Scheme returns the scheme of a URL in lower case ("https", "hf"), and "" for a
// local path.
func Scheme(ref string) string {
	scheme, _, ok := strings.Cut(ref, "://")
	scheme = strings.ToLower(scheme)
	if !ok || strings.Trim(scheme, "abcdefghijklmnopqrstuvwxyz0123456789+-.") != "" {
		return ""
	}
	return scheme
}

// Bytes returns a source of bytes in memory, which must not be modified.
func Bytes(name string, data []byte) Source { return &memory{*bytes.NewReader(data), name} }

type memory struct {
	bytes.Reader
	name string
}

func (m *memory) Name() string { return m.name }
func (m *memory) Close() error { return nil }

// Named returns a source under another name: that by which users know it.
func Named(src Source, name string) Source { return &named{src, name} }

type named struct {
	Source
	name string
}

func (n *named) Name() string { return n.name }

// local is the file system of this machine.
type local struct{}

func (local) Stat(_ context.Context, ref string) (fs.FileInfo, error) { return os.Stat(ref) }

func (local) ReadDir(_ context.Context, ref string) ([]fs.DirEntry, error) { return os.ReadDir(ref) }

func (local) Open(ctx context.Context, ref string) (Source, error) {
	// Whoever writes the directory may put another file in the place of the one
	// that was looked at. A program that saves a file does so once.
	const attempts = 3
	for range attempts {
		f, err := openRegular(ctx, ref)
		if f != nil || err != nil {
			return f, err
		}
	}
	return nil, fmt.Errorf("%s: replaced while it was being opened; try again when nothing writes it", ref)
}

// openRegular opens a regular file. It returns nil and no error when the file
// that it opened is not the one that it had looked at.
func openRegular(ctx context.Context, ref string) (Source, error) {
	// What is not a regular file is recognised before it is opened: to open some
	// devices does something, and opening a pipe waits for a writer.
	before, err := os.Stat(ref)
	if err != nil {
		return nil, err
	}
	if err := regular(ref, before); err != nil {
		return nil, err
	}
	f, err := openNow(ctx, ref)
	if err != nil {
		return nil, err
	}
	after, err := f.Stat()
	if err == nil {
		err = regular(ref, after)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	if !os.SameFile(before, after) {
		return nil, f.Close()
	}
	noteOpened(ctx, after)
	return held.keep(&file{ref: ref, is: after, f: f}), nil
}

// openNow opens a file for reading, without waiting for anybody at the other
// end of what may have become a pipe.
func openNow(ctx context.Context, ref string) (*os.File, error) {
	const (
		pause = 10 * time.Millisecond
		most  = time.Minute // the system ends a lease before (lease-break-time)
	)
	for waited := time.Duration(0); ; waited += pause {
		f, err := os.OpenFile(ref, os.O_RDONLY|nonblock, 0)
		if !errors.Is(err, syscall.EAGAIN) || waited >= most {
			return f, err
		}
		// Another program, such as a file server, holds a lease on the file, and
		// has been asked to give it up.
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
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
