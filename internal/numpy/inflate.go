package numpy

import (
	"bufio"
	"io"
	"sync"

	"github.com/wtinspect/wtinspect/internal/ziparchive"
)

// An inflated reads a compressed member at any offset: forwards as it comes, and from its
// beginning where something before is wanted.
type inflated struct {
	archive *ziparchive.Archive
	member  *ziparchive.Member

	mu  sync.Mutex
	r   *bufio.Reader
	pos int64
}

func (f *inflated) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.r == nil || off < f.pos {
		r, _, err := f.archive.Reader(f.member)
		if err != nil {
			return 0, zipError(err)
		}
		f.r, f.pos = bufio.NewReaderSize(r, 64<<10), 0
	}
	skipped, err := io.CopyN(io.Discard, f.r, off-f.pos)
	if f.pos += skipped; err != nil {
		return 0, f.failed(err)
	}
	n, err := io.ReadFull(f.r, p)
	if f.pos += int64(n); err != nil {
		return n, f.failed(err)
	}
	return n, nil
}

// failed says why a read ended early, and begins anew with the next.
func (f *inflated) failed(err error) error {
	f.r = nil
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return newFault(CodeTruncated, f.member.Header, "", "%s is compressed and ends after %d of %d bytes", quote(f.member.Name), f.pos, f.member.Size)
	}
	return newFault(CodeUnreadable, f.member.Header, "", "%s cannot be inflated: %v", quote(f.member.Name), err)
}
