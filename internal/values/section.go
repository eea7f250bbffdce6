package values

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
)

// A Section is the bytes of a tensor, or a piece of them.
type Section struct {
	Name string // for messages
	Data *io.SectionReader
	// Type is what the bytes are; nil where only digests or equality are wanted.
	Type      *Type
	BigEndian bool
}

// A SizeError says that the bytes of a tensor cannot be what dtype and shape say.
type SizeError struct {
	Bytes int64
	DType string
	Shape []uint64
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("its %d bytes are not %s of shape %s", e.Bytes, e.DType, strings.ReplaceAll(fmt.Sprint(e.Shape), " ", ","))
}

// SectionOf returns the bytes of tensor i of a checkpoint, with their type where
// this package knows it. It fails with the error of [checkpoint.Checkpoint.Data]
// or a [*SizeError].
func SectionOf(c *checkpoint.Checkpoint, i int) (Section, error) {
	t := c.At(i)
	data, err := c.Data(i)
	if err != nil {
		return Section{}, err
	}
	s := Section{Name: t.Name, Data: data}
	if t.File >= 0 {
		if g := c.Files[t.File].GGUF(); g != nil {
			s.BigEndian = g.ByteOrder == binary.BigEndian
		}
	}
	typ, ok := Lookup(t.DType)
	if !ok {
		return s, nil
	}
	s.Type = typ
	n, ok := t.Elements()
	if ok {
		var want uint64
		want, ok = typ.Bytes(n)
		ok = ok && want == uint64(data.Size())
	}
	if !ok {
		return Section{}, &SizeError{data.Size(), t.DType, t.Shape}
	}
	return s, nil
}
