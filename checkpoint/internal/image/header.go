package image

import "io"

// PageSize is what the data of a new safetensors file begins at a multiple of,
// which lets readers map it, and file systems share it.
const PageSize = 4096

// MaxAlignment is far above what any writer of GGUF uses, and what hostile files may
// make of the memory for a header.
const MaxAlignment = 1 << 20

// Fresh is where the data of a new file begins whose header takes at least so many
// bytes, and at most so many. An eighth is room for longer names later on.
func Fresh(least, most int64) int64 {
	if n := min(RoundUp(least+least/8, PageSize), most/PageSize*PageSize); n >= least {
		return n
	}
	return RoundUp(least, 8)
}

// Headed is a file of which only the header is there, and zeros behind it.
func Headed(header []byte, size int64) io.ReaderAt { return headed{header, size} }

type headed struct {
	header []byte
	size   int64
}

func (h headed) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= h.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), h.size-off))
	clear(p[:n])
	if off < int64(len(h.header)) {
		copy(p[:n], h.header[off:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
