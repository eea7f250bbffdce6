package txn

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/wtinspect/wtinspect/internal/source"
)

// A Digest identifies bytes.
type Digest = [sha256.Size]byte

// AsideName is the directory of a release into which files are moved that
// loaders should not see. Nothing is deleted. It is hidden, so nobody descends
// into it.
const AsideName = ".wtinspect-aside"

// A record is what it takes to undo a transaction, or to finish it. Each list
// is sorted by name.
type record struct {
	id     string // in the names of the temporary files
	self   identity
	shifts []*Shift
	swaps  []*Swap
	moves  []*Move
	left   []string // temporary files that may be old ones
}

// An identity is what tells a file from others of the same name.
type identity struct {
	dev, ino uint64
	size     int64
	time     int64 // of the last modification, in nanoseconds
}

func identify(st Stat) identity {
	return identity{st.Dev, st.Ino, st.Size, st.ModTime.UnixNano()}
}

// A Shift is a change inside a file: N bytes put in at Off (0: none), and a new
// header.
type Shift struct {
	Name string
	// Old is the file as it was when the change was planned.
	Old                  Stat
	OldHeader, NewHeader []byte
	// Block is the granularity of the file system, and Extents the map of the
	// file, when N > 0.
	Block, Off, N int64
	Extents       []Extent
	Samples       []Sample
	// Prove, when not nil, shows that the data of the changed file is what it
	// was before. When it fails everything is undone.
	Prove func(ctx context.Context, f File) error

	was    identity
	begun  bool // by this process
	header int64
	// oldSize and newSize are the headers' lengths in the journal at header;
	// headers are read when they are needed.
	oldSize, newSize int64
}

// A Sample is a block of data whose digest is known.
type Sample struct {
	Off, N int64 // from the start of the data
	Sum    Digest
}

// Holds reports whether a file whose data begins at dataOffset has the sample.
func (s Sample) Holds(f io.ReaderAt, dataOffset int64) (bool, error) {
	buf := make([]byte, s.N)
	if err := source.ReadFull(f, buf, dataOffset+s.Off); err != nil {
		return false, err
	}
	return sha256.Sum256(buf) == s.Sum, nil
}

// A Swap is a new file, complete under a temporary name, that takes the place
// of an old one.
type Swap struct {
	Name string
	// Old is the file as it was when the change was planned, by its name: of a
	// link, the link itself. Its zero value says that there was none.
	Old Stat
	// Keep is a name in [AsideName], beside the file, that the old file gets;
	// without it the old file is removed.
	Keep string
	// Size is that of the new file, and Sum the digest of its first Head bytes.
	Size, Head int64
	Sum        Digest
	// Begin is how the new file begins: enough of it to tell what it is.
	Begin []byte
	// Write writes the new file under its temporary name, durably.
	Write func(ctx context.Context, dir Dir, temp string) error

	temp string
	was  identity
}

// A Move gives a file another name, which must be free, in [AsideName] beside it.
type Move struct {
	Name string
	Old  Stat
	To   string

	was identity
}

// created reports whether the swap makes a file that was not there.
func (s *Swap) created() bool { return s.was == identity{} }

// tempPattern is what temporary files are called, with the journal's id.
const tempPattern = ".wtinspect-%s-%d.tmp"

func isTemp(name, id string) bool {
	ok, _ := path.Match(".wtinspect-"+id+"-[0-9]*.tmp", path.Base(name))
	return ok
}

// Write writes the record. Its headers are not copied on the way: they are what
// a transaction has most of.
func (r *record) write(w io.Writer) error {
	e := encoder{w: w}
	e.str(r.id)
	e.identity(r.self)
	e.num(int64(len(r.shifts)))
	for _, s := range r.shifts {
		e.str(s.Name)
		e.identity(s.was)
		e.num(s.Block)
		e.num(s.Off)
		e.num(s.N)
		e.num(int64(len(s.Extents)))
		for _, x := range s.Extents {
			e.num(x.Start)
			e.num(x.End)
		}
		e.num(int64(len(s.Samples)))
		for _, p := range s.Samples {
			e.num(p.Off)
			e.num(p.N)
			e.bytes(p.Sum[:])
		}
		e.num(int64(len(s.OldHeader)))
		e.num(int64(len(s.NewHeader)))
		e.bytes(s.OldHeader)
		e.bytes(s.NewHeader)
	}
	e.num(int64(len(r.swaps)))
	for _, s := range r.swaps {
		e.str(s.Name)
		e.str(s.temp)
		e.str(s.Keep)
		e.identity(s.was)
		e.num(s.Size)
		e.num(s.Head)
		e.bytes(s.Sum[:])
	}
	e.num(int64(len(r.moves)))
	for _, m := range r.moves {
		e.str(m.Name)
		e.str(m.To)
		e.identity(m.was)
	}
	return e.err
}

type encoder struct {
	w   io.Writer
	buf [binary.MaxVarintLen64]byte
	err error
}

func (e *encoder) bytes(p []byte) {
	if e.err == nil {
		_, e.err = e.w.Write(p)
	}
}

func (e *encoder) num(v int64) { e.bytes(binary.AppendUvarint(e.buf[:0], uint64(v))) }

func (e *encoder) str(s string) { e.num(int64(len(s))); e.bytes([]byte(s)) }

func (e *encoder) identity(id identity) {
	for _, v := range []uint64{id.dev, id.ino, uint64(id.size), uint64(id.time)} {
		e.bytes(binary.LittleEndian.AppendUint64(e.buf[:0], v))
	}
}

// errJournal is matched by the errors of journals that are not what this
// program writes.
var errJournal = errors.New("the journal is malformed")

// maxName bounds the names in a journal; no file system has longer paths.
const maxName = 4096

// decodeRecord reads a record of size bytes at off. A journal comes with a
// release, so it may be anybody's work, and is held to what this package
// writes: nothing outside the directory or hidden in it, names in order, and
// numbers that fit together. accept, when not nil, is asked about every entry
// before the next one is read. Headers stay in the journal: only their places
// are noted.
func decodeRecord(src io.ReaderAt, off, size int64, accept func(entry) error) (*record, error) {
	d := &decoder{src: src, at: off, end: off + size}
	r := &record{id: d.str(), self: d.identity()}
	if d.err == nil && (len(r.id) != idSize || strings.Trim(r.id, "0123456789abcdef") != "") {
		d.fail("its id is %q", r.id)
	}
	last := ""
	each := func(next func() entry) {
		last = ""
		for n := d.num(); n > 0 && d.err == nil; n-- {
			x := next()
			if d.err != nil {
				return
			}
			if err := x.check(r.id); err != nil {
				d.err = err
				return
			}
			if x.name() <= last {
				d.fail("its entry for %q is out of order", x.name())
				return
			}
			last = x.name()
			if accept != nil && d.err == nil {
				d.err = accept(x)
			}
		}
	}
	each(func() entry {
		s := d.shift()
		r.shifts = append(r.shifts, s)
		return s
	})
	each(func() entry {
		s := &Swap{Name: d.str(), temp: d.str(), Keep: d.str(), was: d.identity(), Size: d.num(), Head: d.num(), Sum: d.sum()}
		r.swaps = append(r.swaps, s)
		return s
	})
	each(func() entry {
		m := &Move{Name: d.str(), To: d.str(), was: d.identity()}
		r.moves = append(r.moves, m)
		return m
	})
	if d.err == nil && d.at != d.end {
		d.fail("it has %d bytes too many", d.end-d.at)
	}
	if d.err != nil {
		return nil, d.err
	}
	return r, nil
}

// An entry is one file of a record.
type entry interface {
	name() string
	// check says whether the entry fits together by itself.
	check(id string) error
	// names returns every name that the entry may touch.
	names() []string
	known(sc *scene) (bool, error)
}

func (s *Shift) name() string { return s.Name }
func (s *Swap) name() string  { return s.Name }
func (m *Move) name() string  { return m.Name }

func (s *Shift) names() []string { return []string{s.Name} }
func (s *Swap) names() []string  { return []string{s.Name, s.temp} }
func (m *Move) names() []string  { return []string{m.Name, m.To} }

// A decoder reads the numbers and names of a record from a window of it.
type decoder struct {
	src     io.ReaderAt
	at, end int64
	window  []byte // of what begins at at
	err     error
}

const windowSize = 64 << 10

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", errJournal, fmt.Sprintf(format, args...))
	}
}

// need makes n bytes of the window available, fewer at the end of the record.
func (d *decoder) need(n int) []byte {
	if d.err != nil {
		return nil
	}
	if len(d.window) < n {
		if k := min(windowSize, d.end-d.at); int64(len(d.window)) < k {
			d.window = make([]byte, k)
			if err := source.ReadFull(d.src, d.window, d.at); err != nil {
				d.err = err
				return nil
			}
		}
	}
	return d.window
}

func (d *decoder) take(n int) []byte {
	w := d.need(n)
	if d.err == nil && len(w) < n {
		d.fail("it ends in the middle of an entry")
	}
	if d.err != nil {
		return nil
	}
	d.window, d.at = w[n:], d.at+int64(n)
	return w[:n]
}

func (d *decoder) num() int64 {
	w := d.need(binary.MaxVarintLen64)
	v, n := binary.Uvarint(w)
	if n <= 0 || v > 1<<62 {
		d.fail("a number in it is cut off or too large")
		return 0
	}
	d.window, d.at = w[n:], d.at+int64(n)
	return int64(v)
}

func (d *decoder) str() string {
	n := d.num()
	if n > maxName {
		d.fail("a name in it has %d bytes", n)
		return ""
	}
	return string(d.take(int(n)))
}

func (d *decoder) sum() (s Digest) {
	copy(s[:], d.take(len(s)))
	return s
}

func (d *decoder) identity() identity {
	b := d.take(32)
	if b == nil {
		return identity{}
	}
	v := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	return identity{v(0), v(1), int64(v(2)), int64(v(3))}
}

// skip passes over n bytes without reading them.
func (d *decoder) skip(n int64) {
	if d.err == nil && n > d.end-d.at {
		d.fail("it ends in the middle of a header")
	}
	if d.err != nil {
		return
	}
	d.window = d.window[min(n, int64(len(d.window))):]
	d.at += n
}

func (d *decoder) shift() *Shift {
	s := &Shift{Name: d.str(), was: d.identity(), Block: d.num(), Off: d.num(), N: d.num()}
	// An extent is a block at least, and takes two bytes of the journal.
	n := d.num()
	if d.err == nil && (n > d.end-d.at || s.Block <= 0 && n > 0 || n > 0 && n > s.was.size/max(s.Block, 1)+1) {
		d.fail("its entry for %q has %d extents", s.Name, n)
	}
	for ; n > 0 && d.err == nil; n-- {
		s.Extents = append(s.Extents, Extent{d.num(), d.num()})
	}
	n = d.num()
	if d.err == nil && n > maxSamples {
		d.fail("its entry for %q has %d samples", s.Name, n)
	}
	for ; n > 0 && d.err == nil; n-- {
		s.Samples = append(s.Samples, Sample{d.num(), d.num(), d.sum()})
	}
	s.oldSize, s.newSize = d.num(), d.num()
	s.header = d.at
	d.skip(s.oldSize)
	d.skip(s.newSize)
	return s
}

// maxSamples and maxSample bound the samples of one file.
const (
	maxSamples = 64
	maxSample  = 256 << 10
)

// load reads the headers from the journal, unless this process has them.
func (s *Shift) load(j io.ReaderAt) (*Shift, error) {
	if s.OldHeader != nil || j == nil {
		return s, nil
	}
	out := *s
	out.OldHeader, out.NewHeader = make([]byte, s.oldSize), make([]byte, s.newSize)
	if err := source.ReadFull(j, out.OldHeader, s.header); err != nil {
		return nil, err
	}
	if err := source.ReadFull(j, out.NewHeader, s.header+s.oldSize); err != nil {
		return nil, err
	}
	if !beginsWeights(out.OldHeader, s.oldSize) || !beginsWeights(out.NewHeader, s.newSize) {
		return nil, fmt.Errorf("%w: its headers for %q are of no format", errJournal, s.Name)
	}
	return &out, nil
}

// checkName refuses names outside of the release, or hidden in it.
func checkName(name string) error {
	ok := filepath.IsLocal(filepath.FromSlash(name)) && path.Clean(name) == name && name != "." && len(name) <= maxName
	for part := range strings.SplitSeq(name, "/") {
		ok = ok && !strings.HasPrefix(part, ".") && !strings.ContainsRune(part, 0)
	}
	if !ok {
		return fmt.Errorf("%w: it names %q", errJournal, name)
	}
	return nil
}

// checkAside holds a name to the directory of what was put aside beside a file.
func checkAside(name, of string) error {
	if parent(name) != path.Join(parent(of), AsideName) || checkName(path.Base(name)) != nil {
		return fmt.Errorf("%w: it puts %q aside as %q", errJournal, of, name)
	}
	return nil
}

func (s *Shift) contradicts() error {
	return fmt.Errorf("%w: its entry for %q contradicts itself", errJournal, s.Name)
}

func (s *Shift) check(string) error {
	if err := checkName(s.Name); err != nil {
		return err
	}
	size, o, n := s.was.size, s.oldSize, s.newSize
	ok := size >= 0 && o >= 0 && o <= size && s.N >= 0 && n == o+s.N && s.Off >= 0 && s.Off <= o &&
		(s.N == 0 || s.Off < size && s.Block > 0 && s.Block <= 1<<30)
	at := int64(0)
	for _, e := range s.Extents {
		ok = ok && at <= e.Start && e.Start < e.End
		at = e.End
	}
	for _, p := range s.Samples {
		ok = ok && p.N <= maxSample && p.Off <= size-o && p.N <= size-o-p.Off
	}
	if !ok {
		return s.contradicts()
	}
	return nil
}

func (s *Swap) check(id string) error {
	if err := checkName(s.Name); err != nil {
		return err
	}
	if s.Head < 0 || s.Head > s.Size || !isTemp(s.temp, id) || parent(s.temp) != parent(s.Name) || s.was.size < 0 {
		return fmt.Errorf("%w: its entry for %q contradicts itself", errJournal, s.Name)
	}
	if s.Keep != "" {
		return checkAside(s.Keep, s.Name)
	}
	return nil
}

func (m *Move) check(string) error {
	if err := checkName(m.Name); err != nil {
		return err
	}
	return checkAside(m.To, m.Name)
}

// Documents are the files beside the weights that a transaction may replace,
// with shard indexes.
var Documents = []string{"config.json", "adapter_config.json", "quantize_config.json", "quant_config.json", "hf_quant_config.json"}

// replaces refuses to replace anything but weights, a shard index and the
// documents beside them: what a journal that came with a release asks for must
// not be a file that is run.
func (s *Swap) replaces(begin []byte) error {
	base := path.Base(s.Name)
	if beginsWeights(begin, s.Head) || slices.Contains(Documents, base) || strings.HasSuffix(base, ".json") && strings.Contains(base, ".index.") {
		return nil
	}
	return errors.New("it is neither weights nor a document that is known by its name (a shard index is *.index.json), and is not replaced")
}

// beginsWeights reports whether a file that begins with head, and whose data
// begins at dataOffset, can be a checkpoint in one of the formats.
func beginsWeights(head []byte, dataOffset int64) bool {
	return bytes.HasPrefix(head, []byte("GGUF")) || bytes.HasPrefix(head, []byte("FUGG")) ||
		len(head) > 8 && binary.LittleEndian.Uint64(head) == uint64(dataOffset)-8 && bytes.HasPrefix(bytes.TrimLeft(head[8:], " \t\r\n"), []byte("{"))
}

// mixed reports whether every byte is that of one of two headers, as a write
// of one over the other that was cut off leaves it. What is missing of a header
// is anything.
func mixed(now, a, b []byte) bool {
	for i, c := range now {
		if i < len(a) && c != a[i] && i < len(b) && c != b[i] {
			return false
		}
	}
	return true
}

// A scene is where a record is undone or finished: the directory, the journal
// that headers are read from, and how the identities in the record compare with
// those of today.
type scene struct {
	dir     Dir
	journal io.ReaderAt
	// was and is are the journal's own identity, in the record and now: device
	// numbers change when a file system is mounted again, all at once.
	was, is identity
	// lenient does without device, inode and time, for a release that was
	// copied or whose file system numbers its files anew.
	lenient bool
	owner   Stat // of the journal
	absent  int  // entries that no file speaks for
}

// same reports whether a file is the one of an identity, whatever became of its
// size and time.
func (sc *scene) same(st Stat, id identity) bool {
	return sc.lenient || st.Ino == id.ino && (st.Dev == sc.is.dev) == (id.dev == sc.was.dev)
}

// intact reports whether a file is the one of an identity and was not changed.
func (sc *scene) intact(st Stat, id identity) bool {
	now := identify(st)
	return sc.same(st, id) && now.size == id.size && (sc.lenient || now.time == id.time)
}

// look checks that a shift's file is the one that was to be changed, in a state
// that the transaction can have left it in.
func (s *Shift) look(sc *scene) error {
	st, err := sc.dir.Lstat(s.Name)
	if err != nil {
		return err
	}
	if !st.Mode.IsRegular() {
		return notRegular(s.Name, st.Mode)
	}
	if !sc.same(st, s.was) {
		return &foreignError{s.Name}
	}
	if st.Size != s.was.size && st.Size != s.was.size+s.N {
		return fmt.Errorf("%w: it is %d bytes long, and was %d before the rewrite and %d in it", ErrChanged, st.Size, s.was.size, s.was.size+s.N)
	}
	return nil
}

// A foreignError says that a file is not the one that a journal is about.
type foreignError struct{ name string }

func (e *foreignError) Error() string {
	return fmt.Sprintf("%s is not the file that the journal is about: the release was copied or downloaded with the journal in it, or the file was replaced since", e.name)
}

func (e *foreignError) Is(target error) bool { return target == ErrChanged }

// open opens the file, and loads the headers if the journal has them.
func (s *Shift) open(sc *scene) (*Shift, File, error) {
	s, err := s.load(sc.journal)
	if err != nil {
		return nil, nil, err
	}
	f, err := Open(sc.dir, s.Name, os.O_RDWR, 0)
	return s, f, err
}

// undo puts the old header back, after taking out the room that was made for
// the new one. The room may be found anywhere in the file: making it, and
// taking it out, moves one extent after the other.
func (s *Shift) undo(sc *scene) error {
	s, f, err := s.open(sc)
	if err != nil {
		return err
	}
	defer f.Close()
	if s.N > 0 {
		if err := s.close(f); err != nil {
			return err
		}
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size != s.was.size {
		return fmt.Errorf("%w: it is %d bytes long and was %d", ErrChanged, st.Size, s.was.size)
	}
	// Of the new header the room that was made for it is gone again.
	if err := ensure(f, s.OldHeader, slices.Concat(s.NewHeader[:s.Off], s.NewHeader[s.Off+s.N:])); err != nil {
		return err
	}
	for _, p := range s.Samples {
		ok, err := p.Holds(f, int64(len(s.OldHeader)))
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("the old header is back, but the data at byte %d is not what it was before the rewrite", int64(len(s.OldHeader))+p.Off)
		}
	}
	return nil
}

// close takes the inserted range out again, wherever it is.
func (s *Shift) close(f File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size != s.was.size && st.Size != s.was.size+s.N {
		return fmt.Errorf("%w: it is %d bytes long, and was %d before the rewrite and %d in it", ErrChanged, st.Size, s.was.size, s.was.size+s.N)
	}
	m, err := f.Extents()
	if err != nil {
		return err
	}
	// Headers are written below Off and into the gap: only what lies behind tells.
	// Blocks that were reserved behind the end of the file do not count.
	old, now := from(s.Extents, s.Off, 0), from(Before(m, roundUp(st.Size, s.Block)), s.Off, 0)
	truncate := func() error {
		if st.Size == s.was.size {
			return nil
		}
		return Retry(func() error { return f.Truncate(s.was.size) })
	}
	collapse := func(at int64) error {
		if at+s.N >= st.Size {
			return truncate()
		}
		switch err := f.Collapse(at, s.N); {
		case errors.Is(err, syscall.EINTR):
			return s.close(f) // it may have begun: look again
		case err != nil:
			return err
		}
		return Sync(f)
	}
	if slices.Equal(old, now) {
		return truncate()
	}
	if slices.Equal(from(old, s.Off, s.N), from(now, s.Off+s.N, 0)) {
		return collapse(s.Off)
	}
	if at, ok := gap(old, now, s.N); ok {
		return collapse(at)
	}
	return fmt.Errorf("%w: its extents are neither those from before the rewrite nor those from within it", ErrChanged)
}

// finish makes sure of the new header, which was durable before the mark.
func (s *Shift) finish(sc *scene) error {
	s, f, err := s.open(sc)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size != s.was.size+s.N {
		return fmt.Errorf("%w: it is %d bytes long and should be %d", ErrChanged, st.Size, s.was.size+s.N)
	}
	return ensure(f, s.NewHeader, s.OldHeader)
}

// ensure makes a file begin with a header, durably, where it begins with that
// or with what is left of another one. What is neither is not overwritten:
// somebody has put another file there since.
func ensure(f File, header, other []byte) error {
	now := make([]byte, len(header))
	if err := source.ReadFull(f, now, 0); err != nil {
		return err
	}
	if !bytes.Equal(now, header) {
		if !mixed(now, header, other) {
			return fmt.Errorf("%w: its header is neither the one from before the rewrite nor the new one", ErrChanged)
		}
		if err := WriteFull(f, header, 0); err != nil {
			return err
		}
	}
	// What was read may be in the cache alone.
	return Sync(f)
}

// How far a swap or a move has come.
type progress int

const (
	waiting   progress = iota // the old file has its name
	exchanged                 // the new file has the name, the old one the temporary name
	done
)

// look finds how far a swap has come. It is an error when another file has
// taken the name.
func (s *Swap) look(sc *scene) (progress, error) {
	named, nerr := sc.dir.Lstat(s.Name)
	if nerr != nil && !errors.Is(nerr, fs.ErrNotExist) {
		return 0, nerr
	}
	temp, terr := sc.dir.Lstat(s.temp)
	switch {
	case errors.Is(terr, fs.ErrNotExist):
		if nerr != nil {
			return 0, fmt.Errorf("%w: its new content is gone", ErrChanged)
		}
		return done, s.content(sc, s.Name)
	case terr != nil:
		return 0, terr
	}
	if nerr == nil && s.holds(sc, s.temp, temp) && !s.holds(sc, s.Name, named) {
		return exchanged, s.content(sc, s.Name)
	}
	if nerr == nil && (!s.holds(sc, s.Name, named) || !sc.intact(named, s.was)) {
		return 0, &foreignError{s.Name}
	}
	return waiting, s.content(sc, s.temp)
}

// reversible reports whether the old file is still there, or another program has
// taken it away before the new one took its place.
func (s *Swap) reversible(sc *scene) bool {
	for _, name := range []string{s.Name, s.temp} {
		if st, err := sc.dir.Lstat(name); err == nil && s.holds(sc, name, st) {
			return true
		}
	}
	return s.content(sc, s.temp) == nil
}

// holds reports whether the file of a name is the old one. A file system gives the
// number of a removed file to the next one, so that it may also be the new one.
func (s *Swap) holds(sc *scene, name string, st Stat) bool {
	if s.created() || !sc.same(st, s.was) || sc.lenient && st.Size != s.was.size {
		return false
	}
	return !sc.lenient && sc.intact(st, s.was) || st.Size != s.Size || s.content(sc, name) != nil
}

// content checks that a file has the new content.
func (s *Swap) content(sc *scene, name string) error {
	f, err := Open(sc.dir, name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	changed := fmt.Errorf("%w: its new content is gone", ErrChanged)
	if st.Size != s.Size {
		return changed
	}
	begin := make([]byte, min(s.Head, beginSize))
	if err := source.ReadFull(f, begin, 0); err != nil {
		return err
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, s.Head)); err != nil {
		return err
	}
	if Digest(h.Sum(nil)) != s.Sum {
		return changed
	}
	return s.replaces(begin)
}

// beginSize is enough of a file to tell whether it is weights.
const beginSize = 4096

// put gives the new file its name. The old one gets the temporary name, where
// the system can exchange names, so that whatever had the name is not lost.
func (s *Swap) put(sc *scene) error {
	if s.created() {
		return Retry(func() error { return sc.dir.RenameNew(s.temp, s.Name) })
	}
	err := Retry(func() error { return sc.dir.Exchange(s.temp, s.Name) })
	if _, lerr := sc.dir.Lstat(s.Name); err != nil && errors.Is(lerr, fs.ErrNotExist) {
		return Retry(func() error { return sc.dir.RenameNew(s.temp, s.Name) })
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		if err != nil {
			return err
		}
		if st, err := sc.dir.Lstat(s.temp); err != nil || sc.intact(st, s.was) {
			return err
		}
		// Another program put its own file there just now: it keeps the name.
		return errors.Join(&foreignError{s.Name}, sc.dir.Exchange(s.temp, s.Name))
	}
	if s.Keep != "" {
		if err := sc.dir.RenameNew(s.Name, s.Keep); err != nil {
			return err
		}
		return Retry(func() error { return sc.dir.RenameNew(s.temp, s.Name) })
	}
	return Retry(func() error { return sc.dir.Rename(s.temp, s.Name) })
}

// takeBack gives the old file its name again, after an exchange, or takes that
// of a file away that was made.
func (s *Swap) takeBack(sc *scene) error {
	switch at, err := s.look(sc); {
	case err != nil || at == waiting:
		return nil // another file has the name, and keeps it
	case at == exchanged:
		return Retry(func() error { return sc.dir.Exchange(s.temp, s.Name) })
	}
	return Retry(func() error { return sc.dir.RenameNew(s.Name, s.temp) })
}

// undo removes the new file. What may be the old one, which has lost its name to
// another program, is left; left says so.
func (s *Swap) undo(sc *scene) (left bool, err error) {
	if at, err := s.look(sc); err == nil && at == exchanged {
		if err := s.takeBack(sc); err != nil {
			return false, err
		}
	}
	named, nerr := sc.dir.Lstat(s.Name)
	temp, err := sc.dir.Lstat(s.temp)
	if err == nil && s.holds(sc, s.temp, temp) && (nerr != nil || !s.holds(sc, s.Name, named)) {
		return true, nil
	}
	if err == nil {
		err = Retry(func() error { return sc.dir.Remove(s.temp) })
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return false, err
}

// clean takes the old file away, or aside, after an exchange.
func (s *Swap) clean(sc *scene) error {
	st, err := sc.dir.Lstat(s.temp)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !s.holds(sc, s.temp, st) {
		return &foreignError{s.temp}
	}
	if s.Keep != "" {
		return Retry(func() error { return sc.dir.RenameNew(s.temp, s.Keep) })
	}
	return Retry(func() error { return sc.dir.Remove(s.temp) })
}

// gone reports whether a move's file has neither name.
func (m *Move) gone(dir Dir) bool {
	_, a := dir.Lstat(m.Name)
	_, b := dir.Lstat(m.To)
	return errors.Is(a, fs.ErrNotExist) && errors.Is(b, fs.ErrNotExist)
}

// look finds how far a move has come. There is nothing left to do for a file
// that was removed.
func (m *Move) look(sc *scene) (progress, error) {
	if st, err := sc.dir.Lstat(m.Name); err == nil {
		if !sc.intact(st, m.was) {
			return 0, &foreignError{m.Name}
		}
		if _, err := sc.dir.Lstat(m.To); !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("%s already exists; move it away first", m.To)
		}
		return waiting, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	st, err := sc.dir.Lstat(m.To)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	case err == nil && !sc.same(st, m.was):
		err = &foreignError{m.To}
	}
	return done, err
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }

// stamp takes note of the identities, for the journal.
func (r *record) stamp() {
	for _, s := range r.shifts {
		s.was, s.oldSize, s.newSize = identify(s.Old), int64(len(s.OldHeader)), int64(len(s.NewHeader))
	}
	for _, s := range r.swaps {
		if s.Old != (Stat{}) {
			s.was = identify(s.Old)
		}
	}
	for _, m := range r.moves {
		m.was = identify(m.Old)
	}
}
