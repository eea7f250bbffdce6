package source

import (
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
