package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
)

// ReadFull reads exactly len(p) bytes at off, and goes on where a call was
// interrupted or gave fewer.
func ReadFull(r io.ReaderAt, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := r.ReadAt(p, off)
		p, off = p[n:], off+int64(n)
		switch {
		case len(p) == 0:
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, io.EOF):
			return fmt.Errorf("the file ends at byte %d: %w", off, io.ErrUnexpectedEOF)
		case err != nil:
			return err
		}
	}
	return nil
}

// Equal reports whether the first size bytes of two readers are the same.
func Equal(ctx context.Context, a, b io.ReaderAt, size int64) (bool, error) {
	const most = 1 << 20
	x, y := make([]byte, min(size, most)), make([]byte, min(size, most))
	for at := int64(0); at < size; at += most {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n := min(size-at, most)
		if err := ReadFull(a, x[:n], at); err != nil {
			return false, err
		}
		if err := ReadFull(b, y[:n], at); err != nil {
			return false, err
		}
		if !bytes.Equal(x[:n], y[:n]) {
			return false, nil
		}
	}
	return true, nil
}
