package pytorch

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"compress/zlib"
	"io"

	"github.com/wtinspect/wtinspect/internal/ziparchive"
)

// maxInflated bounds how much of what a compressed file inflates to is looked at.
const maxInflated = 8 << 20

// inflater returns a reader of what a compressed file inflates to, nil for any other file, by the prefixes that
// joblib.load and pandas.read_pickle know (joblib/compressor.py). xz, lzma and lz4 are not inflated.
func inflater(head []byte, r io.Reader) (in io.Reader, err error) {
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b\x08")):
		return gzip.NewReader(r)
	case len(head) > 1 && head[0] == 0x78 && (int(head[0])<<8|int(head[1]))%31 == 0: // RFC 1950, 2.2
		return zlib.NewReader(r)
	case bytes.HasPrefix(head, []byte("BZh")):
		return bzip2.NewReader(r), nil
	}
	return nil, nil
}

// IsCompressed reports whether a file whose first bytes are head is one that [Programs] inflates.
func IsCompressed(head []byte) bool {
	in, err := inflater(head, bytes.NewReader(head))
	return in != nil || err != nil
}

// inflated looks for pickles in what a compressed file inflates to.
func (l *programs) inflated(in io.Reader, packed uint64, depth int) error {
	data, _ := io.ReadAll(io.LimitReader(in, maxInflated+1)) // of which an unpickler carries out what there is
	more := len(data) > maxInflated
	data = data[:min(len(data), maxInflated)]
	size := int64(len(data))
	r := bytes.NewReader(data)
	var err error
	switch {
	case ziparchive.IsZip(data):
		if more {
			l.giveUp("", "the archive inflates to more than %d bytes, and is not judged", maxInflated)
			return nil
		}
		return ignoreFault(-1, l.archive(r, size, "", -1, depth))
	case len(data) >= 262 && string(data[257:262]) == "ustar":
		err = ignoreFault(-1, l.tar(r, size, "", -1, depth))
	default:
		w := &window{size: size, buf: data, base: -1, perByte: perPacked(uint64(size), packed)}
		var at int
		if at, err = l.nextPickle(w, 0); at != 0 || err != nil {
			return err // text, or something else
		}
		err = l.stream(w, "", false, depth)
	}
	if more && len(l.list) > 0 {
		l.giveUp("", "it inflates to more than %d bytes, and what is behind them is not judged", maxInflated)
	}
	return err
}
