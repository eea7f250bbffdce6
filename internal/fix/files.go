package fix

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/safetensors"
)

// overlay is a file whose header is another.
type overlay struct {
	io.ReaderAt
	header []byte
}

func (o overlay) ReadAt(b []byte, offset int64) (int, error) {
	const lengthSize = 8
	n, err := o.ReaderAt.ReadAt(b, offset)
	for i := range n {
		if at := offset + int64(i) - lengthSize; at >= 0 && at < int64(len(o.header)) {
			b[i] = o.header[at]
		}
	}
	return n, err
}

// padWithSpaces replaces the NUL bytes at the end of a safetensors header.
func padWithSpaces(ctx context.Context, path string, force bool) error {
	tx, err := txn.Begin(txn.OS{}, filepath.Dir(path))
	if err != nil {
		return err
	}
	s, err := spacePadding(tx.Dir(), path, force)
	if err != nil {
		return errors.Join(err, tx.Abort())
	}
	return tx.Commit(ctx, &txn.Changes{Shifts: []*txn.Shift{s}})
}

// spacePadding is the change of a header that is padded with NUL bytes.
func spacePadding(dir txn.Dir, path string, force bool) (*txn.Shift, error) {
	name := filepath.Base(path)
	f, err := txn.Open(dir, name, 0, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Links > 1 && !force {
		return nil, fmt.Errorf("%s: has %d names, and all would change; write elsewhere with -o, or use --force", path, st.Links)
	}
	const lengthSize = 8
	var length [lengthSize]byte
	if err := source.ReadFull(f, length[:], 0); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > safetensors.MaxHeader || int64(n) > st.Size-lengthSize {
		return nil, fmt.Errorf("%s: the header is longer than the file", path)
	}
	header := make([]byte, lengthSize+n)
	if err := source.ReadFull(f, header, 0); err != nil {
		return nil, err
	}
	end := len(bytes.TrimRight(header, "\x00 "))
	padded := append(bytes.Clone(header[:end]), bytes.Repeat([]byte{' '}, len(header)-end)...)
	if _, err := safetensors.NewFile(overlay{f, padded[lengthSize:]}, st.Size); err != nil {
		return nil, fmt.Errorf("%s: not fixed, because more is wrong: %w", path, err)
	}
	return &txn.Shift{Name: name, Old: st, OldHeader: header, NewHeader: padded}, nil
}

func putAside(ctx context.Context, c *checkpoint.Checkpoint) error {
	tx, err := txn.Begin(txn.OS{}, c.Dir)
	if err != nil {
		return err
	}
	changes := new(txn.Changes)
	for _, f := range c.Files {
		if f.Missing || f.Path == "" {
			continue
		}
		st, err := tx.Dir().Lstat(f.Name)
		if err == nil && st.Size != f.Size {
			err = fmt.Errorf("%s: %w", f.Path, txn.ErrChanged)
		}
		if err != nil {
			return errors.Join(err, tx.Abort())
		}
		to := path.Join(path.Dir(f.Name), txn.AsideName, path.Base(f.Name))
		changes.Moves = append(changes.Moves, &txn.Move{Name: f.Name, Old: st, To: to})
	}
	return tx.Commit(ctx, changes)
}
