package rewrite

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/wtinspect/wtinspect/internal/source"
)

// journalName is the file that a transaction keeps in the release until it is over.
const journalName = ".wtinspect-journal"

// A journal file is
//
//	"wtinspect journal 1\n", the length of the record (u64, little-endian),
//	the record, its SHA-256,
//	and, once the transaction may only go forward, forwardMark followed by
//	the SHA-256 of the record and the mark.
//
// The first line is written when the rest is durable, and nothing is changed
// before it is durable, too. So without it nothing was changed yet, and with it
// a record that is cut off or does not have its digest was damaged since.
const (
	journalMagic = "wtinspect journal 1\n"
	forwardMark  = "forward\n"
)

// maxJournal bounds a journal. The headers of the largest releases known,
// twice, are a hundredth of it.
const maxJournal = 1<<31 - 1<<20

// A record is what it takes to undo a transaction, or to finish it.
type record struct {
	shifts []shift
	swaps  []swap
}

// A shift is a change inside a file: n bytes put in at off (0: none), and a
// new header.
type shift struct {
	name                 string
	size                 int64 // before
	oldHeader, newHeader []byte
	block, off, n        int64
	extents              []extent // before, when n > 0
	samples              []sample

	begun bool // by this process; not in the journal
}

// begun returns what this process has begun of a transaction, and has to undo.
func (r *record) begun() *record {
	out := &record{swaps: r.swaps}
	for _, s := range r.shifts {
		if s.begun {
			out.shifts = append(out.shifts, s)
		}
	}
	return out
}

// A sample is a block of data whose digest is known.
type sample struct {
	off, n int64 // from the start of the data
	sum    digest
}

// A swap is a new file, complete under a temporary name, that takes the place
// of an old one.
type swap struct {
	name, temp string
	size       int64 // of the new file
	head       int64 // how much of it sum is the digest of
	sum        digest
}

// write writes the record. Its headers are not copied on the way: they are what
// a transaction has most of.
func (r *record) write(out io.Writer) error {
	w := bufio.NewWriterSize(out, 256<<10)
	var buf [binary.MaxVarintLen64]byte
	num := func(v int64) { w.Write(binary.AppendUvarint(buf[:0], uint64(v))) }
	raw := func(p []byte) { num(int64(len(p))); w.Write(p) }
	str := func(s string) { num(int64(len(s))); w.WriteString(s) }
	num(int64(len(r.shifts)))
	for _, s := range r.shifts {
		str(s.name)
		num(s.size)
		raw(s.oldHeader)
		raw(s.newHeader)
		num(s.block)
		num(s.off)
		num(s.n)
		num(int64(len(s.extents)))
		for _, e := range s.extents {
			num(e.Start)
			num(e.End)
		}
		num(int64(len(s.samples)))
		for _, p := range s.samples {
			num(p.off)
			num(p.n)
			w.Write(p.sum[:])
		}
	}
	num(int64(len(r.swaps)))
	for _, s := range r.swaps {
		str(s.name)
		str(s.temp)
		num(s.size)
		num(s.head)
		w.Write(s.sum[:])
	}
	return w.Flush() // which has the first error
}

// check says whether a recovery would follow the record.
func (r *record) check() error {
	for i := range r.shifts {
		if err := cmp.Or(checkName(r.shifts[i].name), r.shifts[i].check()); err != nil {
			return err
		}
	}
	for i := range r.swaps {
		s := &r.swaps[i]
		if err := cmp.Or(checkName(s.name), checkName(s.temp)); err != nil {
			return err
		}
		if s.head > s.size || !isTemp(s.temp) {
			return fmt.Errorf("%w: its entry for %q contradicts itself", errJournal, s.name)
		}
	}
	return nil
}

// checkName refuses names outside of the release, or hidden in it.
func checkName(name string) error {
	if !filepath.IsLocal(filepath.FromSlash(name)) || name == journalName || strings.Contains("/"+path.Dir(name), "/.") && path.Dir(name) != "." {
		return fmt.Errorf("%w: it names %q", errJournal, name)
	}
	return nil
}

var errJournal = errors.New("the journal is malformed")

// decodeRecord reads a record. A journal comes with a release, so it may be
// anybody's work. It is held to what this package writes: nothing outside the
// directory or hidden in it, and no file but weights and the documents beside
// them.
func decodeRecord(b []byte) (r *record, err error) {
	take := func(n uint64) []byte {
		if n > uint64(len(b)) {
			err = errJournal
			return nil
		}
		p := b[:n:n]
		b = b[n:]
		return p
	}
	num := func() int64 {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > 1<<62 {
			err = errJournal
			b = nil
			return 0
		}
		b = b[n:]
		return int64(v)
	}
	raw := func() []byte { return take(uint64(num())) }
	sum := func() (d digest) {
		copy(d[:], take(sha256.Size))
		return d
	}
	r = new(record)
	for range num() {
		var s shift
		s.name, s.size = string(raw()), num()
		s.oldHeader, s.newHeader = raw(), raw()
		s.block, s.off, s.n = num(), num(), num()
		for range num() {
			if s.extents = append(s.extents, extent{num(), num()}); err != nil {
				return nil, err
			}
		}
		for range num() {
			if s.samples = append(s.samples, sample{num(), num(), sum()}); err != nil {
				return nil, err
			}
		}
		if err != nil {
			return nil, err
		}
		r.shifts = append(r.shifts, s)
	}
	for range num() {
		s := swap{string(raw()), string(raw()), num(), num(), sum()}
		if err != nil {
			return nil, err
		}
		r.swaps = append(r.swaps, s)
	}
	if err == nil && len(b) > 0 {
		err = errJournal
	}
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// tempName names the file that is to take the place of another, in the same directory.
func tempName(name string, i int) string {
	return path.Join(path.Dir(name), fmt.Sprintf(".wtinspect-%d.tmp", i))
}

func isTemp(name string) bool {
	ok, _ := path.Match(".wtinspect-[0-9]*.tmp", path.Base(name))
	return ok
}

// check says whether the numbers of a shift fit together.
func (s *shift) check() error {
	o, n := int64(len(s.oldHeader)), int64(len(s.newHeader))
	ok := o <= s.size && n == o+s.n && s.off <= o && (s.n == 0 || s.off < s.size && s.block > 0 && s.block <= 1<<30)
	at := int64(0)
	for _, e := range s.extents {
		ok = ok && at <= e.Start && e.Start < e.End
		at = e.End
	}
	for _, p := range s.samples {
		ok = ok && p.n <= readSize && p.off <= s.size-o && p.n <= s.size-o-p.off
	}
	if !ok {
		return fmt.Errorf("%w: its entry for %q contradicts itself", errJournal, s.name)
	}
	if !beginsWeights(s.oldHeader, o) || !beginsWeights(s.newHeader, n) {
		return fmt.Errorf("%w: its headers for %q are of no format", errJournal, s.name)
	}
	return nil
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

// A journal is an open, locked journal file.
type journal struct {
	fsys fileSystem
	dir  string
	f    file
	sum  digest
	end  int64 // where the mark goes
}

// Errors of in-place operations that callers may want to tell apart.
var (
	// ErrPending: the release is in the middle of a rewrite, this one or an
	// earlier one, that was interrupted or failed; [Recover] ends it.
	ErrPending = errors.New("an earlier rewrite was interrupted")
	// ErrBusy: another process is rewriting the release.
	ErrBusy = errors.New("another process is rewriting this release")
	// ErrChanged: a file is no longer what it was when the job was prepared.
	ErrChanged = errors.New("the file changed since the plan was made")
)

// A RecoveryError says that a rewrite stopped half-way and that its journal was
// kept: until [Recover] has ended it, the release is part old and part new. It is
// an [ErrPending].
type RecoveryError struct {
	Dir string // of the release
	Err error
}

func (e *RecoveryError) Error() string { return e.Err.Error() }

func pending(dir string) error {
	return &RecoveryError{dir, fmt.Errorf("%s: %w; recover it first", dir, ErrPending)}
}

// Unwrap returns the reason, and ErrPending.
func (e *RecoveryError) Unwrap() []error { return []error{e.Err, ErrPending} }

// lockJournal opens the journal of a directory and locks it. The lock
// excludes every other run on the release for as long as the file is open.
func lockJournal(fsys fileSystem, dir string, create bool) (*journal, error) {
	name := filepath.Join(dir, journalName)
	flag := os.O_RDWR
	if create {
		flag |= os.O_CREATE
	}
	for {
		if st, err := fsys.Lstat(name); err == nil && !st.Mode.IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file; remove it", name)
		}
		f, err := open(fsys, name, flag)
		if err != nil {
			return nil, err
		}
		if err := retry(f.Lock); err != nil {
			f.Close()
			if errors.Is(err, errLocked) {
				return nil, fmt.Errorf("%s: %w", dir, ErrBusy)
			}
			return nil, err
		}
		// The run that held the lock before may have removed the file.
		mine, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		named, err := fsys.Lstat(name)
		if err == nil && named.Dev == mine.Dev && named.Ino == mine.Ino {
			return &journal{fsys: fsys, dir: dir, f: f}, nil
		}
		f.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

// write makes the record durable. Nothing may be changed before it returns.
func (j *journal) write(r *record) error {
	if err := r.check(); err != nil {
		return err
	}
	const start = int64(len(journalMagic) + 8)
	w := &writer{f: j.f, at: start}
	h := sha256.New()
	if err := r.write(io.MultiWriter(w, h)); err != nil {
		return err
	}
	n := w.at - start
	if n > maxJournal {
		return fmt.Errorf("the headers of the release are too large for one transaction (%d bytes of journal)", n)
	}
	j.sum = digest(h.Sum(nil))
	if _, err := w.Write(j.sum[:]); err != nil {
		return err
	}
	j.end = w.at
	if err := writeFull(j.f, binary.LittleEndian.AppendUint64(nil, uint64(n)), int64(len(journalMagic))); err != nil {
		return err
	}
	if err := syncFile(j.f); err != nil {
		return err
	}
	if err := syncDir(j.fsys, j.dir); err != nil {
		return err
	}
	if err := writeFull(j.f, []byte(journalMagic), 0); err != nil {
		return err
	}
	return syncFile(j.f)
}

// A writer writes a file from a place on.
type writer struct {
	f  file
	at int64
}

func (w *writer) Write(p []byte) (int, error) {
	if err := writeFull(w.f, p, w.at); err != nil {
		return 0, err
	}
	w.at += int64(len(p))
	return len(p), nil
}

// mark says, durably, that from now on the transaction only goes forward.
func (j *journal) mark() error {
	if err := writeFull(j.f, j.markBytes(), j.end); err != nil {
		return err
	}
	return syncFile(j.f)
}

// unmark takes back a mark whose writing failed.
func (j *journal) unmark() error {
	if err := retry(func() error { return j.f.Truncate(j.end) }); err != nil {
		return err
	}
	return syncFile(j.f)
}

func (j *journal) markBytes() []byte {
	sum := sha256.Sum256(append(j.sum[:], forwardMark...))
	return append([]byte(forwardMark), sum[:]...)
}

// read returns the record, nil when nothing was changed under it, and whether
// the transaction only goes forward.
func (j *journal) read() (r *record, forward bool, err error) {
	st, err := j.f.Stat()
	if err != nil {
		return nil, false, err
	}
	name := filepath.Join(j.dir, journalName)
	head := make([]byte, len(journalMagic)+8)
	if err := source.ReadFull(j.f, head[:min(int64(len(head)), st.Size)], 0); err != nil {
		return nil, false, err
	}
	switch {
	case !bytes.HasPrefix(head, []byte("wtinspect journal ")):
		return nil, false, nil
	case !bytes.HasPrefix(head, []byte(journalMagic)):
		return nil, false, fmt.Errorf("%s: the journal is of another version of this program: %w", name, errors.ErrUnsupported)
	}
	damaged := fmt.Errorf("%s: %w: a rewrite was interrupted, and what it changed cannot be told; remove the journal to leave the files as they are, and compare them with their source", name, errJournal)
	n := binary.LittleEndian.Uint64(head[len(journalMagic):])
	if most := uint64(max(0, st.Size-int64(len(head)+sha256.Size))); n > most || n > maxJournal {
		return nil, false, damaged
	}
	p := make([]byte, n+sha256.Size)
	if err := source.ReadFull(j.f, p, int64(len(head))); err != nil {
		return nil, false, err
	}
	j.sum = sha256.Sum256(p[:n])
	if j.sum != digest(p[n:]) {
		return nil, false, damaged
	}
	j.end = int64(len(head) + len(p))
	r, err = decodeRecord(p[:n])
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", name, err)
	}
	mark := make([]byte, len(forwardMark)+sha256.Size)
	if st.Size >= j.end+int64(len(mark)) {
		if err := source.ReadFull(j.f, mark, j.end); err != nil {
			return nil, false, err
		}
		forward = bytes.Equal(mark, j.markBytes())
	}
	return r, forward, nil
}

// close ends the transaction: the journal goes, durably, and with it the lock.
func (j *journal) close() error {
	if err := j.remove(); err != nil {
		return &RecoveryError{j.dir, fmt.Errorf("the journal could not be removed: %w", err)}
	}
	return nil
}

func (j *journal) remove() error {
	name := filepath.Join(j.dir, journalName)
	// An empty journal is none, should the removal fail.
	if err := retry(func() error { return j.f.Truncate(0) }); err != nil {
		j.f.Close()
		return err
	}
	var cerr error
	if replacesOpen {
		defer j.f.Close()
	} else {
		cerr = j.f.Close()
	}
	if err := retry(func() error { return j.fsys.Remove(name) }); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(cerr, syncDir(j.fsys, j.dir))
}
