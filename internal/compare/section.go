package compare

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sort"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/values"
)

// Section returns the bytes of a checkpoint's tensor, with their type where it
// is known. It fails where they cannot be what dtype and shape say.
func Section(c *checkpoint.Checkpoint, i int) (values.Section, error) {
	s, err := values.SectionOf(c, i)
	if _, ok := errors.AsType[*values.SizeError](err); ok {
		t := c.At(i)
		err = fmt.Errorf("%s: tensor %q: %w; check the file", c.Files[t.File].Path, t.Name, err)
	}
	return s, err
}

// Join returns sections one after the other, as bytes of no type. What is wrong
// while they are read is reported under the name.
func Join(name string, sections []values.Section) values.Section {
	j := &joined{ends: make([]int64, len(sections))}
	var end int64
	for i, s := range sections {
		j.parts = append(j.parts, s.Data)
		if s.Data.Size() > math.MaxInt64-end {
			end = math.MaxInt64
		} else {
			end += s.Data.Size()
		}
		j.ends[i] = end
	}
	return values.Section{Name: name, Data: io.NewSectionReader(j, 0, end)}
}

// joined is several readers one after the other.
type joined struct {
	parts []*io.SectionReader
	ends  []int64 // where each part ends
}

func (j *joined) ReadAt(p []byte, off int64) (n int, err error) {
	i := sort.Search(len(j.ends), func(i int) bool { return off < j.ends[i] })
	for n < len(p) {
		if i == len(j.parts) {
			return n, io.EOF
		}
		begin := j.ends[i] - j.parts[i].Size()
		want := p[n:min(int64(len(p)), int64(n)+j.ends[i]-off)]
		k, err := j.parts[i].ReadAt(want, off-begin)
		n += k
		off += int64(k)
		if k < len(want) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
		i++
	}
	return n, nil
}
