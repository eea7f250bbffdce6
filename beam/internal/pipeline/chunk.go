package pipeline

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/wtinspect/wtinspect/inspect"
)

// The rows of a release go from the step that scans it to the step that writes it as
// chunks: a header, and compressed rows. A chunk is never larger than what every runner
// passes on; a release of many tensors has several.

// chunkBytes is how many bytes the rows of a chunk have before they are compressed, as soon
// as the last of them does not fit.
const chunkBytes = 1 << 20

// A table is one of those that a chunk has rows of, in their order within a release.
type table byte

const (
	releases table = iota
	files
	findings
	tensors
	stats
	tableCount
)

// A header says what a chunk has.
type header struct {
	repository string
	// number is that of the input: of two with one repository the first counts.
	number int64
	// chunk is the chunk's place in the release, and last says that there are no more.
	chunk int64
	last  bool
	// has are the tables that it has rows of, a bit for each.
	has byte
}

func (h header) holds(t table) bool { return h.has&(1<<t) != 0 }

func (h header) compare(o header) int {
	return cmp.Or(strings.Compare(h.repository, o.repository), cmp.Compare(h.number, o.number), cmp.Compare(h.chunk, o.chunk))
}

var (
	encoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err != nil {
			panic(err) // the options are wrong
		}
		return e
	})
	decompressor = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil)
		if err != nil {
			panic(err) // the options are wrong
		}
		return d
	})
)

// eachChunk calls emit with the chunks of a release.
func eachChunk(number int64, s *inspect.Scanned, emit func(chunk []byte)) {
	h := header{repository: s.Release.Repository, number: number}
	var raw []byte
	end := func() {
		head := binary.AppendUvarint(nil, uint64(len(h.repository)))
		head = append(head, h.repository...)
		head = binary.AppendVarint(head, h.number)
		head = binary.AppendVarint(head, h.chunk)
		last := byte(0)
		if h.last {
			last = 1
		}
		emit(encoder().EncodeAll(raw, append(head, last, h.has)))
		raw, h.chunk, h.has = raw[:0], h.chunk+1, 0
	}
	row := func(t table, v any) {
		if len(raw) >= chunkBytes {
			end()
		}
		h.has |= 1 << t
		raw = appendValue(append(raw, byte(t)), reflect.ValueOf(v))
	}
	row(releases, s.Release)
	for _, f := range s.Files {
		row(files, f)
	}
	for _, f := range s.Findings {
		row(findings, f)
	}
	for t := range s.Tensors {
		row(tensors, t)
	}
	for f := range s.Stats {
		row(stats, f)
	}
	h.last = true
	end()
}

// A chunk is one that was read: its header, and the rest as it came.
type chunk struct {
	header
	packed []byte
}

// readChunk takes a chunk apart.
func readChunk(b []byte) (chunk, error) {
	d := decoder{b: b}
	var c chunk
	c.repository = string(d.next(d.uvarint()))
	c.number, c.chunk = d.varint(), d.varint()
	c.last, c.has = d.byte() == 1, d.byte()
	c.packed = d.b
	return c, d.err
}

// rowsOf yields the rows of one table.
func rowsOf[R any](chunks []chunk, want table) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		var raw []byte
		for _, c := range chunks {
			if !c.holds(want) {
				continue
			}
			var none R
			var err error
			if raw, err = decompressor().DecodeAll(c.packed, raw[:0]); err != nil {
				yield(none, fmt.Errorf("%s: %w", c.repository, err))
				return
			}
			d := decoder{b: raw}
			for len(d.b) > 0 {
				t := table(d.byte())
				if t != want {
					if t >= tableCount {
						yield(none, fmt.Errorf("%s: a row of table %d", c.repository, t))
						return
					}
					d.value(reflect.New(rowTypes[t]).Elem())
					continue
				}
				var r R
				d.value(reflect.ValueOf(&r).Elem())
				if d.err != nil {
					break
				}
				if !yield(r, nil) {
					return
				}
			}
			if d.err != nil {
				yield(none, fmt.Errorf("%s: %w", c.repository, d.err))
				return
			}
		}
	}
}

var rowTypes = [tableCount]reflect.Type{
	releases: reflect.TypeFor[inspect.ScannedRelease](),
	files:    reflect.TypeFor[inspect.ScannedFile](),
	findings: reflect.TypeFor[inspect.ScannedFinding](),
	tensors:  reflect.TypeFor[inspect.ScannedTensor](),
	stats:    reflect.TypeFor[inspect.ScannedStats](),
}

// scanned is the release whose chunks these are. What is wrong with the tensors is known
// after they were walked over: then fault returns it.
func scanned(chunks []chunk) (s *inspect.Scanned, fault func() error, err error) {
	for i, c := range chunks {
		if c.chunk != int64(i) || c.last != (i == len(chunks)-1) {
			return nil, nil, fmt.Errorf("%s: %d of its chunks came, and not all", c.repository, len(chunks))
		}
	}
	s = &inspect.Scanned{}
	n := 0
	for r, err := range rowsOf[inspect.ScannedRelease](chunks[:1], releases) {
		if err != nil {
			return nil, nil, err
		}
		s.Release = r
		n++
	}
	if n != 1 {
		return nil, nil, fmt.Errorf("%s: it has %d rows of releases", chunks[0].repository, n)
	}
	if s.Files, err = collect(rowsOf[inspect.ScannedFile](chunks, files)); err != nil {
		return nil, nil, err
	}
	if s.Findings, err = collect(rowsOf[inspect.ScannedFinding](chunks, findings)); err != nil {
		return nil, nil, err
	}
	var found error
	s.Tensors = inspect.Seq[inspect.ScannedTensor](until(rowsOf[inspect.ScannedTensor](chunks, tensors), &found))
	s.Stats = inspect.Seq[inspect.ScannedStats](until(rowsOf[inspect.ScannedStats](chunks, stats), &found))
	return s, func() error { return found }, nil
}

func collect[R any](rows iter.Seq2[R, error]) ([]R, error) {
	var err error
	list := slices.Collect(until(rows, &err))
	return list, err
}

// until yields rows until there is an error, which it keeps.
func until[R any](rows iter.Seq2[R, error], found *error) iter.Seq[R] {
	return func(yield func(R) bool) {
		for r, err := range rows {
			if err != nil {
				*found = err
				return
			}
			if !yield(r) {
				return
			}
		}
	}
}
