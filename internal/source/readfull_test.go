package source

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
)

// halting gives a byte at a time, every other call interrupted.
type halting struct {
	io.ReaderAt
	calls *int
}

func (h halting) ReadAt(p []byte, off int64) (int, error) {
	if *h.calls++; *h.calls%2 == 1 {
		return 0, syscall.EINTR
	}
	return h.ReaderAt.ReadAt(p[:1], off)
}

func TestReadFull(t *testing.T) {
	r := halting{strings.NewReader("0123456789"), new(int)}
	b := make([]byte, 4)
	if err := ReadFull(r, b, 6); err != nil || string(b) != "6789" {
		t.Errorf("%q, %v", b, err)
	}
	err := ReadFull(r, b, 8)
	if !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != "the file ends at byte 10: unexpected EOF" {
		t.Error(err)
	}
}
