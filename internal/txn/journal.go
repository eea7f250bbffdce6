package txn

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/wtinspect/wtinspect/internal/source"
)

// JournalName is the file that a transaction keeps in the release until it is over.
const JournalName = ".wtinspect-journal"

// A journal file is
//
//	"wtinspect journal 2\n", the length of the record (u64, little-endian),
//	the record, its SHA-256,
//	and, once the transaction may only go forward, forwardMark followed by
//	the SHA-256 of the record and the mark.
//
// The first line is written when the rest is durable, and nothing is changed
// before it is durable, too. So without it nothing was changed yet, and with it
// a record that is cut off or does not have its digest was damaged since.
const (
	journalMagic = "wtinspect journal 2\n"
	journalAny   = "wtinspect journal "
	forwardMark  = "forward\n"
	recordStart  = int64(len(journalMagic) + 8)
)

// maxJournal bounds a journal. The headers of the largest releases known,
// twice, are a hundredth of it.
const maxJournal = 1<<31 - 1<<20

// idSize is the length of a journal's id.
const idSize = 16

// newID returns a part of a name that cannot be guessed.
func newID() string {
	var b [idSize / 2]byte
	rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// Errors of transactions that callers may want to tell apart.
var (
	// ErrPending: the release is in the middle of a transaction, this one or an
	// earlier one, that was interrupted or failed; [Recover] ends it.
	ErrPending = errors.New("an earlier rewrite was interrupted")
	// ErrBusy: another process is changing the release.
	ErrBusy = errors.New("another process is rewriting this release")
	// ErrChanged: a file is no longer what it was when the change was planned.
	ErrChanged = source.ErrChanged
)

// A RecoveryError says that a transaction stopped half-way and that its journal
// was kept: until [Recover] has ended it, the release is part old and part new.
// It is an [ErrPending].
type RecoveryError struct {
	Dir string // that holds the journal
	Err error
}

func (e *RecoveryError) Error() string { return e.Err.Error() }

// Unwrap returns the reason, and ErrPending.
func (e *RecoveryError) Unwrap() []error { return []error{e.Err, ErrPending} }

func pending(dir string) error {
	return &RecoveryError{dir, fmt.Errorf("%s: %w; recover it first", dir, ErrPending)}
}

// A journal is an open, locked journal file.
type journal struct {
	dir Dir
	f   File
	sum Digest
	end int64 // where the mark goes
}

func (j *journal) path() string { return filepath.Join(j.dir.Path(), JournalName) }

// trusted refuses a journal of somebody who could not change the release without
// it: where all may make files, as in /tmp, it is a trap.
func (j *journal) trusted(st Stat) error {
	if st.UID < 0 || mine(st.UID) {
		return nil
	}
	dir, err := j.dir.Lstat(".")
	if err == nil && dir.UID != st.UID {
		err = fmt.Errorf("%s belongs to another user than you and the directory; remove it", j.path())
	}
	return err
}

// lockJournal opens the journal of a directory and locks it. The lock
// excludes every other run on the release for as long as the file is open.
func lockJournal(dir Dir, create bool) (*journal, error) {
	j := &journal{dir: dir}
	f, err := lockFile(dir, JournalName, create, func(own Stat) error {
		if own.Links > 1 {
			// What is written here would change under the other name, too.
			return fmt.Errorf("%s has another name as well, so no journal is written to it; remove it", j.path())
		}
		return j.trusted(own)
	})
	if errors.Is(err, ErrLocked) {
		err = fmt.Errorf("%s: %w", dir.Path(), ErrBusy)
	}
	if err != nil {
		return nil, err
	}
	j.f = f
	return j, nil
}

// lockFile opens a file of a directory and locks it, once check has found nothing
// wrong with it. The file has its name when the lock is had.
func lockFile(dir Dir, name string, create bool, check func(Stat) error) (File, error) {
	for {
		f, err := Open(dir, name, os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) && create {
			f, err = Open(dir, name, os.O_RDWR|os.O_CREATE, 0o644)
			if errors.Is(err, fs.ErrExist) {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		err = Retry(f.Lock)
		var own Stat
		if err == nil {
			own, err = f.Stat()
		}
		if err == nil {
			err = check(own)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		// The run that held the lock before may have removed the file.
		named, err := dir.Lstat(name)
		if err == nil && named.Dev == own.Dev && named.Ino == own.Ino {
			return f, nil
		}
		f.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

// A Held lock excludes other runs that ask for it, until it is released or the process
// ends.
type Held struct {
	dir  Dir
	name string
	f    File
}

// Lock takes the lock that is the empty file of a name in a directory, or fails with
// ErrLocked.
func Lock(dir Dir, name string) (*Held, error) {
	f, err := lockFile(dir, name, true, func(own Stat) error {
		if own.Size != 0 {
			return fmt.Errorf("%s is no lock, but a file with something in it; move it away", filepath.Join(dir.Path(), name))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Held{dir, name, f}, nil
}

// Release gives the lock back, and removes its file.
func (h *Held) Release() error {
	var cerr error
	if ReplacesOpen {
		defer h.f.Close()
	} else {
		cerr = h.f.Close()
	}
	return errors.Join(cerr, Retry(func() error { return h.dir.Remove(h.name) }))
}

// write makes the record durable. Nothing may be changed before it returns.
func (j *journal) write(r *record) error {
	st, err := j.f.Stat()
	if err != nil {
		return err
	}
	r.self = identity{dev: st.Dev, ino: st.Ino}
	w := &writer{f: j.f, at: recordStart}
	h := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, h), 256<<10)
	if err := r.write(out); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	n := w.at - recordStart
	if n > maxJournal {
		return fmt.Errorf("the headers of the release are too large for one transaction (%d bytes of journal)", n)
	}
	j.sum = Digest(h.Sum(nil))
	if _, err := w.Write(j.sum[:]); err != nil {
		return err
	}
	j.end = w.at
	if err := WriteFull(j.f, binary.LittleEndian.AppendUint64(nil, uint64(n)), int64(len(journalMagic))); err != nil {
		return err
	}
	if err := Sync(j.f); err != nil {
		return err
	}
	if err := SyncDir(j.dir, "."); err != nil {
		return err
	}
	if err := WriteFull(j.f, []byte(journalMagic), 0); err != nil {
		return err
	}
	return Sync(j.f)
}

// mark says, durably, that from now on the transaction only goes forward.
func (j *journal) mark() error {
	if err := WriteFull(j.f, j.markBytes(), j.end); err != nil {
		return err
	}
	return Sync(j.f)
}

// unmark takes back a mark.
func (j *journal) unmark() error {
	if err := Retry(func() error { return j.f.Truncate(j.end) }); err != nil {
		return err
	}
	return Sync(j.f)
}

func (j *journal) markBytes() []byte {
	sum := sha256.Sum256(append(j.sum[:], forwardMark...))
	return append([]byte(forwardMark), sum[:]...)
}

// read returns the record, nil when nothing was changed under it, whether the
// transaction only goes forward, and the scene to act in. Entries are compared
// with the files that exist as they are read, so that a hostile journal costs
// no more than the release that it comes with.
func (j *journal) read(lenient bool) (r *record, forward bool, sc *scene, err error) {
	st, err := j.f.Stat()
	if err != nil {
		return nil, false, nil, err
	}
	name := j.path()
	head := make([]byte, recordStart)
	if err := source.ReadFull(j.f, head[:min(recordStart, st.Size)], 0); err != nil {
		return nil, false, nil, err
	}
	switch magic := head[:len(journalMagic)]; {
	case string(magic) != journalMagic && mixed(magic, []byte(journalMagic), make([]byte, len(magic))):
		return nil, false, nil, nil // it was never complete
	case !bytes.HasPrefix(magic, []byte(journalAny)):
		return nil, false, nil, fmt.Errorf("%s: %w: it does not begin like one; remove it", name, errJournal)
	case string(magic) != journalMagic:
		return nil, false, nil, fmt.Errorf("%s: the journal is of another version of this program: %w", name, errors.ErrUnsupported)
	}
	damaged := func(why string) error {
		return fmt.Errorf("%s: %w: %s: a rewrite was interrupted, and what it changed cannot be told; remove the journal to leave the files as they are, and compare them with their source", name, errJournal, why)
	}
	n := binary.LittleEndian.Uint64(head[len(journalMagic):])
	if most := uint64(max(0, st.Size-recordStart-sha256.Size)); n > most || n > maxJournal {
		return nil, false, nil, damaged("it is cut off")
	}
	j.end = recordStart + int64(n) + sha256.Size
	sc = &scene{dir: j.dir, journal: j.f, is: identify(st), lenient: lenient, owner: st}
	if !lenient {
		// The journal's own identity comes first: one that was made elsewhere is
		// not read on.
		if sc.was, err = self(j.f, int64(n)); err != nil {
			return nil, false, nil, damaged(err.Error())
		}
		if sc.was.ino != sc.is.ino {
			return nil, false, nil, fmt.Errorf("%s: %w", name, &foreignError{"the release"})
		}
	}
	r, err = decodeRecord(j.f, recordStart, int64(n), sc.plausible)
	switch {
	case errors.Is(err, errJournal):
		return nil, false, nil, damaged(err.Error())
	case err != nil:
		return nil, false, nil, fmt.Errorf("%s: %w", name, err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(j.f, recordStart, int64(n))); err != nil {
		return nil, false, nil, err
	}
	sum := make([]byte, sha256.Size)
	if err := source.ReadFull(j.f, sum, recordStart+int64(n)); err != nil {
		return nil, false, nil, err
	}
	if j.sum = Digest(h.Sum(nil)); j.sum != Digest(sum) {
		return nil, false, nil, damaged("it does not have its digest")
	}
	mark := make([]byte, len(forwardMark)+sha256.Size)
	if st.Size >= j.end+int64(len(mark)) {
		if err := source.ReadFull(j.f, mark, j.end); err != nil {
			return nil, false, nil, err
		}
		forward = bytes.Equal(mark, j.markBytes())
	}
	return r, forward, sc, nil
}

// self reads the identity that a record gives its journal.
func self(src io.ReaderAt, size int64) (identity, error) {
	d := &decoder{src: src, at: recordStart, end: recordStart + size}
	d.str()
	id := d.identity()
	return id, d.err
}

// maxAbsent bounds the entries of a journal that no file speaks for.
const maxAbsent = 1 << 10

// plausible compares an entry with the files that exist. That files were deleted
// or replaced since is believed of a few.
func (sc *scene) plausible(x entry) error {
	st, err := sc.dir.Lstat(x.name())
	if err == nil && !trusted(sc.owner, st) {
		return fmt.Errorf("%w: it belongs to another user than %s", errJournal, x.name())
	}
	if ok, err := x.known(sc); err != nil || ok {
		return err
	}
	if sc.absent++; sc.absent <= maxAbsent {
		return nil
	}
	return &foreignError{x.name()}
}

// known reports whether there is a file that the entry is about.
func (s *Shift) known(sc *scene) (bool, error) {
	err := s.look(sc)
	if gone(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", s.Name, err)
	}
	return true, nil
}

func (s *Swap) known(sc *scene) (bool, error) {
	if _, err := sc.dir.Lstat(s.temp); err == nil {
		return true, nil
	}
	st, err := sc.dir.Lstat(s.Name)
	return err == nil && (s.holds(sc, s.Name, st) || st.Size == s.Size), nil
}

func (m *Move) known(sc *scene) (bool, error) {
	_, err := m.look(sc)
	return err == nil, nil
}

// close ends the transaction: the journal goes, durably, and with it the lock.
func (j *journal) close() error {
	if err := j.remove(); err != nil {
		return &RecoveryError{j.dir.Path(), fmt.Errorf("the journal could not be removed: %w", err)}
	}
	return nil
}

func (j *journal) remove() error {
	// An empty journal is none, should the removal fail.
	if err := Retry(func() error { return j.f.Truncate(0) }); err != nil {
		j.f.Close()
		return err
	}
	var cerr error
	if ReplacesOpen {
		defer j.f.Close()
	} else {
		cerr = j.f.Close()
	}
	if err := Retry(func() error { return j.dir.Remove(JournalName) }); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(cerr, SyncDir(j.dir, "."))
}
