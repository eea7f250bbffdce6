package rewrite

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/wtinspect/wtinspect/checkpoint/internal/image"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// A Step is how the new content of a file comes about, cheapest first.
type Step string

// The ladder. A step that the file system refuses gives way to the next.
const (
	// Unchanged leaves the file as it is.
	Unchanged Step = "unchanged"
	// Pad writes the new header over the old one: it fits, and what is left is padded.
	Pad Step = "pad in place"
	// Insert makes room before the data with whole file-system blocks; the
	// data is not read or written (Linux: ext4, xfs).
	Insert Step = "insert range"
	// Reflink is a new file that shares the old one's data (Linux: btrfs, xfs).
	Reflink Step = "reflink"
	// Copy is a new file with every byte written again.
	Copy Step = "copy"
)

// errNoFit says that a header cannot be made to end at the offset asked for.
var errNoFit = errors.New("no header fits")

// A span is the data of a tensor, from the start of the data.
type span struct {
	name      string
	off, size int64
}

// An edit is what becomes of one file. It knows no format: those who make one
// give a header for every place where the data could begin.
type edit struct {
	name string // relative to the release's directory, with slashes
	// old is the file as it was when the edit was made, and named what has its
	// name: a link to it, or the same. A file that has changed since is not touched.
	old    txn.Stat
	named  txn.Stat
	digest txn.Digest // of the bytes before dataOffset

	// text, when not nil, is the whole new content of a document.
	text []byte

	dataOffset int64  // where the data begins now
	tensors    []span // in the order of their offsets
	// header returns the new header, dataOffset bytes long, or errNoFit.
	// No header is shorter than least. A file written anew begins its data at fresh.
	header func(dataOffset int64) ([]byte, error)
	// check, when not nil, reads a new header back, in front of data of the
	// right size, and compares what it says with what it is to say.
	check        func(header []byte, size int64) error
	least, fresh int64
	align        int64 // the data begins at a multiple of it; a power of two
	// pieces, when not nil, are the data of the new file, which is then
	// written anew; otherwise the data stays byte for byte.
	pieces []image.Piece
	size   int64 // of the data, with pieces
	// transforms are those whose results are among the pieces.
	transforms []*transform
	// unchanged says that the new header says what the old one does.
	unchanged bool
	headerAt  int  // where the text that was parsed begins in the file
	link      bool // the name is a link, which the new file replaces

	step      Step
	block     int64 // the file system's, for the steps that move whole blocks
	newOffset int64
	newHeader []byte
	need      int64 // bytes of disk, while old and new exist together
	barred    map[Step]bool
}

// dataSize is the size of the data of the new file.
func (e *edit) dataSize() int64 {
	if e.pieces == nil {
		return e.old.Size - e.dataOffset
	}
	return e.size
}

// bar takes a step off the ladder after the file system has refused it.
func (e *edit) bar(s Step) {
	if e.barred == nil {
		e.barred = make(map[Step]bool)
	}
	e.barred[s] = true
}

// choose picks the cheapest step. inPlace says that the file itself may be
// changed; headroom is room to leave before the data where room is made.
func (e *edit) choose(ft txn.Features, inPlace bool, headroom int64) error {
	e.block = ft.Block
	if e.text != nil {
		e.step, e.need = Copy, int64(len(e.text))
		return nil
	}
	inPlace = inPlace && e.pieces == nil && !e.link
	if inPlace && !e.barred[Pad] && e.dataOffset-e.least >= headroom {
		if ok, err := e.fits(e.dataOffset); err != nil || ok {
			e.step, e.need = Pad, 0
			if ft.CopyUp {
				e.need = e.old.Allocated
			}
			return err
		}
	}
	shared := e.pieces == nil && ft.Block > 0
	if shared && inPlace && ft.Insert && !e.barred[Insert] && e.dataOffset/ft.Block*ft.Block < e.old.Size {
		if ok, err := e.grow(1, headroom); err != nil || ok {
			e.step, e.need = Insert, e.newOffset-e.dataOffset
			return err
		}
	}
	if shared && ft.Clone && !e.barred[Reflink] && e.dataOffset/ft.Block*ft.Block < e.old.Size {
		if ok, err := e.grow(0, headroom); err != nil || ok {
			e.step, e.need = Reflink, e.newOffset+ft.Block
			return err
		}
	}
	e.step = Copy
	at := e.fresh
	if headroom > 0 {
		if at > math.MaxInt64/2-headroom {
			return fmt.Errorf("%s: headroom of %d bytes is too large", e.name, headroom)
		}
		at = image.RoundUp(max(e.least+headroom, at), max(image.PageSize, e.align))
	}
	ok, err := e.fits(at)
	if err == nil && !ok {
		err = fmt.Errorf("%s: %w before byte %d", e.name, errNoFit, at)
	}
	e.need = e.newOffset + e.dataSize()
	if e.pieces == nil {
		e.need = min(e.need, e.newOffset+e.old.Allocated)
	}
	return err
}

// grow looks for a data offset that is whole blocks behind the present one, at
// least so many, and aligned as the format wants.
func (e *edit) grow(blocks, headroom int64) (bool, error) {
	unit := max(e.block, e.align)
	blocks = max(blocks, (e.least+max(headroom, 0)-e.dataOffset+unit-1)/unit)
	// A filler that needs a few bytes more fits one block further on.
	for _, k := range []int64{blocks, blocks + 1} {
		if ok, err := e.fits(e.dataOffset + k*unit); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// fits makes the header for a data offset, if there is one.
func (e *edit) fits(dataOffset int64) (bool, error) {
	if dataOffset < e.least {
		return false, nil
	}
	h, err := e.header(dataOffset)
	if errors.Is(err, errNoFit) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", e.name, err)
	}
	if e.check != nil {
		if err := e.check(h, dataOffset+e.dataSize()); err != nil {
			return false, fmt.Errorf("%s: the new header does not say what it should: %w", e.name, err)
		}
	}
	e.newHeader, e.newOffset = h, dataOffset
	return true, nil
}

// image is the new content of a file that is written anew.
func (e *edit) image(src io.ReaderAt) image.Image {
	if e.text != nil {
		return image.Image{Header: e.text, Size: int64(len(e.text))}
	}
	img := image.Image{Header: e.newHeader, Size: e.newOffset + e.dataSize(), Pieces: e.pieces}
	if e.pieces == nil {
		img.Pieces = cover(src, e.dataOffset, e.old.Size, e.tensors)
	}
	return img
}

// cover cuts the data of a file into pieces: the tensors, and what lies
// between and behind them. Tensors that overlap are cut where they do.
func cover(src io.ReaderAt, dataOffset, size int64, tensors []span) []image.Piece {
	var out []image.Piece
	end := size - dataOffset
	at := int64(0)
	add := func(name string, to int64) {
		if to > at {
			out = append(out, image.Piece{Name: name, Src: src, Off: dataOffset + at, Size: to - at, At: at})
			at = to
		}
	}
	for _, t := range tensors {
		add("", min(t.off, end))
		add(t.name, min(t.off+t.size, end))
	}
	add("", end)
	return out
}
