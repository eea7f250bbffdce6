package source

import (
	"context"
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

func TestEqual(t *testing.T) {
	long := strings.Repeat("x", 5<<19) // more than is read at once
	for _, tt := range []struct {
		a, b string
		size int
		want bool
	}{
		{"", "", 0, true},
		{"abc", "abd", 2, true},
		{"abc", "abd", 3, false},
		{long, long, len(long), true},
		{long, long[1:] + "y", len(long), false},
	} {
		got, err := Equal(t.Context(), strings.NewReader(tt.a), strings.NewReader(tt.b), int64(tt.size))
		if got != tt.want || err != nil {
			t.Errorf("%.8q and %.8q, %d bytes: %v, %v", tt.a, tt.b, tt.size, got, err)
		}
	}
	for _, tt := range [][2]string{{"ab", "abc"}, {"abc", "ab"}} {
		if _, err := Equal(t.Context(), strings.NewReader(tt[0]), strings.NewReader(tt[1]), 3); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %v", tt, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Equal(ended, strings.NewReader("a"), strings.NewReader("a"), 1); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
