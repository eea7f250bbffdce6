package tables

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// releases is the table whose parts commit the others of their names.
const releases = "releases"

// The keys of a part's metadata.
const (
	keyTable   = "wtinspect.table"
	keySchema  = "wtinspect.schema_version"
	keyVersion = "wtinspect.tool_version"
	// Only parts of releases have these: the other parts of the group, and whether its
	// releases are those that could not be read.
	keyParts  = "wtinspect.parts"
	keyFailed = "wtinspect.failed"
)

// A sibling is what the part of releases says of another part of its group.
type sibling struct {
	Table  string `json:"table"`
	Bytes  int64  `json:"bytes"`
	Rows   int64  `json:"rows"`
	SHA256 string `json:"sha256"`
}

// A table writes the parts of one table.
type table interface {
	name() string
	// begin begins a part.
	begin(w *Writer) (part, error)
}

// A part is a file that is being written.
type part interface {
	// hold takes the rows of a release for the next row group.
	hold(s *inspect.Scanned)
	// flush writes what is held as a row group, sorted by repository.
	flush() error
	// stream writes the rows of a release that is a row group or more by itself.
	stream(s *inspect.Scanned) error
	// carry adds those rows of another part of the table whose repositories are kept.
	carry(f io.ReaderAt, size int64, keep func(repository string) bool) error
	// end ends the file, durably, and says what is in it.
	end(metadata map[string]string) (sibling, error)
	temp() *txn.Temp
}

// A tableOf has rows of one type, which it takes from a release, in the order of the
// columns that it is sorted by.
type tableOf[R any] struct {
	table  string
	rows   func(s *inspect.Scanned) iter.Seq[R]
	sorted []parquet.SortingColumn
}

// all are the tables, that of releases last.
func all(values bool) []table {
	repository, file := parquet.Ascending("repository"), parquet.Ascending("file")
	// A tensor that an index names is in no file until its shard is found.
	fileOrNull := parquet.NullsFirst(file)
	list := []table{
		tableOf[inspect.ScannedFile]{
			"files",
			func(s *inspect.Scanned) iter.Seq[inspect.ScannedFile] { return slices.Values(s.Files) },
			[]parquet.SortingColumn{repository, file},
		},
		tableOf[inspect.ScannedTensor]{
			"tensors",
			func(s *inspect.Scanned) iter.Seq[inspect.ScannedTensor] {
				return iter.Seq[inspect.ScannedTensor](s.Tensors)
			},
			[]parquet.SortingColumn{repository, fileOrNull},
		},
		tableOf[inspect.ScannedFinding]{
			"findings",
			func(s *inspect.Scanned) iter.Seq[inspect.ScannedFinding] { return slices.Values(s.Findings) },
			[]parquet.SortingColumn{repository},
		},
	}
	if values {
		list = append(list, tableOf[inspect.ScannedStats]{
			"stats",
			func(s *inspect.Scanned) iter.Seq[inspect.ScannedStats] {
				return iter.Seq[inspect.ScannedStats](s.Stats)
			},
			[]parquet.SortingColumn{repository, fileOrNull},
		})
	}
	return append(list, tableOf[inspect.ScannedRelease]{
		releases,
		func(s *inspect.Scanned) iter.Seq[inspect.ScannedRelease] {
			return slices.Values([]inspect.ScannedRelease{s.Release})
		},
		[]parquet.SortingColumn{repository},
	})
}

func (t tableOf[R]) name() string { return t.table }

// groupRows is how many rows a row group has at most: what a reader skips, and what the
// writer holds in memory.
const groupRows = 64 << 10

func (t tableOf[R]) begin(w *Writer) (part, error) {
	temp, err := txn.NewTemp(w.dir, t.table, w.prefix())
	if err != nil {
		return nil, err
	}
	pw := parquet.NewGenericWriter[R](
		temp,
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest}),
		parquet.MaxRowsPerRowGroup(groupRows),
		parquet.WriteBufferSize(256<<10),
		parquet.SortingWriterConfig(parquet.SortingColumns(t.sorted...)),
		parquet.CreatedBy("wtinspect", w.options.Version, ""),
		parquet.KeyValueMetadata(keyTable, t.table),
		parquet.KeyValueMetadata(keySchema, strconv.Itoa(inspect.ScanSchemaVersion)),
		parquet.KeyValueMetadata(keyVersion, w.options.Version),
	)
	return &partOf[R]{t: t, file: temp, w: pw}, nil
}

type partOf[R any] struct {
	t    tableOf[R]
	file *txn.Temp
	w    *parquet.GenericWriter[R]
	rows int64
	held []R
	// ends are where the rows of each release end in held.
	ends []heldRelease
}

type heldRelease struct {
	repository string
	start, end int
}

func (p *partOf[R]) temp() *txn.Temp { return p.file }

func (p *partOf[R]) hold(s *inspect.Scanned) {
	start := len(p.held)
	p.held = slices.AppendSeq(p.held, p.t.rows(s))
	p.ends = append(p.ends, heldRelease{s.Release.Repository, start, len(p.held)})
}

func (p *partOf[R]) flush() error {
	slices.SortFunc(p.ends, func(a, b heldRelease) int { return strings.Compare(a.repository, b.repository) })
	for _, r := range p.ends {
		if err := p.write(p.held[r.start:r.end]); err != nil {
			return err
		}
	}
	clear(p.held) // or what it points to stays
	p.held, p.ends = p.held[:0], p.ends[:0]
	return p.w.Flush()
}

func (p *partOf[R]) write(rows []R) error {
	n, err := p.w.Write(rows)
	p.rows += int64(n)
	return err
}

func (p *partOf[R]) stream(s *inspect.Scanned) error {
	const some = 1024
	for row := range p.t.rows(s) {
		if p.held = append(p.held, row); len(p.held) == some {
			if err := p.write(p.held); err != nil {
				return err
			}
			clear(p.held)
			p.held = p.held[:0]
		}
	}
	err := p.write(p.held)
	clear(p.held)
	p.held = p.held[:0]
	return errors.Join(err, p.w.Flush())
}

func (p *partOf[R]) carry(f io.ReaderAt, size int64, keep func(repository string) bool) error {
	return eachRowGroup(f, size, func(rows parquet.Rows, repository int) error {
		err := eachRow(rows, repository, func(of string, row parquet.Row) error {
			if !keep(of) {
				return nil
			}
			p.rows++
			_, err := p.w.WriteRows([]parquet.Row{row})
			return err
		})
		return errors.Join(err, p.w.Flush())
	})
}

func (p *partOf[R]) end(metadata map[string]string) (sibling, error) {
	for _, k := range slices.Sorted(maps.Keys(metadata)) { // the same rows give the same bytes
		p.w.SetKeyValueMetadata(k, metadata[k])
	}
	if err := errors.Join(p.w.Close(), p.file.Finish()); err != nil {
		return sibling{}, err
	}
	return sibling{p.t.table, p.file.Size(), p.rows, fmt.Sprintf("%x", p.file.Sum())}, nil
}

// A committed group is what a part of releases says.
type committed struct {
	parts    []sibling
	failed   bool
	releases []release
}

type release struct {
	Repository string `parquet:"repository"`
	State      string `parquet:"state"`
}

// readReleases reads a part of releases. It may be anything that has the digest in its name.
func readReleases(f io.ReaderAt, size int64, version string) (c *committed, err error) {
	if err := checkFooter(f, size); err != nil {
		return nil, err
	}
	err = guarded(func() error {
		c, err = readParquet(f, size, version)
		return err
	})
	return c, err
}

func readParquet(f io.ReaderAt, size int64, version string) (*committed, error) {
	file, err := parquet.OpenFile(f, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, err
	}
	get := func(key string) string {
		v, _ := file.Lookup(key)
		return v
	}
	if get(keyTable) != releases || get(keyVersion) != version || get(keySchema) != strconv.Itoa(inspect.ScanSchemaVersion) {
		return nil, fmt.Errorf("it says that it is table %q of wtinspect %q, schema %q", get(keyTable), get(keyVersion), get(keySchema))
	}
	if err := checkPages(f, size, file.Metadata().RowGroups); err != nil {
		return nil, err
	}
	// Each has a state that is like no other's.
	const least = 16
	most := size / least
	if file.NumRows() > most {
		return nil, fmt.Errorf("it says that it has %d rows, in %d bytes", file.NumRows(), size)
	}
	c := &committed{failed: get(keyFailed) == "true"}
	if err := json.Unmarshal([]byte(get(keyParts)), &c.parts); err != nil {
		return nil, err
	}
	r := parquet.NewGenericReader[release](file)
	defer r.Close()
	rows := make([]release, 256)
	for {
		n, err := r.Read(rows)
		c.releases = append(c.releases, rows[:n]...)
		if int64(len(c.releases)) > most {
			return nil, fmt.Errorf("it has more rows than %d bytes have", size)
		}
		if errors.Is(err, io.EOF) {
			return c, nil
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, io.ErrNoProgress
		}
	}
}

// eachRowGroup calls f for the row groups of a part of any table, and with the column that
// has the repository.
func eachRowGroup(f io.ReaderAt, size int64, group func(rows parquet.Rows, repository int) error) error {
	if err := checkFooter(f, size); err != nil {
		return err
	}
	return guarded(func() error {
		file, err := parquet.OpenFile(f, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
		if err != nil {
			return err
		}
		column, ok := file.Schema().Lookup("repository")
		if !ok {
			return errors.New("it has no column repository")
		}
		if err := checkPages(f, size, file.Metadata().RowGroups); err != nil {
			return err
		}
		for _, g := range file.RowGroups() {
			rows := g.Rows()
			err := group(rows, column.ColumnIndex)
			if err := errors.Join(err, rows.Close()); err != nil {
				return err
			}
		}
		return nil
	})
}

// eachRow calls f for rows, which are of use until the next.
func eachRow(rows parquet.Rows, repository int, f func(repository string, row parquet.Row) error) error {
	buf := make([]parquet.Row, 256)
	for {
		n, err := rows.ReadRows(buf)
		for _, row := range buf[:n] {
			for _, v := range row {
				if v.Column() == repository {
					if err := f(string(v.ByteArray()), row); err != nil {
						return err
					}
				}
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case n == 0:
			return io.ErrNoProgress
		}
	}
}
