package pytorch

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/internal/ziparchive"
)

// A Container is how a file holds its pickle and storages.
type Container string

const (
	Zip    Container = "zip"    // a zip archive, since torch 1.6
	Legacy Container = "legacy" // a stream of pickles and storages, before it
	Pickle Container = "pickle" // a pickle and no storages
)

// A File is an open checkpoint: its tensors are those of one subtree of what the pickle
// builds. Its methods may be called concurrently.
type File struct {
	*contents
	path    string
	way     []branch // the parts on the path
	entries pieced[*Tensor]
	aside   []branch // what is below the path and not listed; its paths begin there
	odd     []Fault  // of what is not listed

	often  sync.Once
	beyond map[int]bool // see tooOften
}

// contents is what the Files of one file share.
type contents struct {
	r          io.ReaderAt
	closer     io.Closer
	size       int64
	nested     int  // how many strings of pickles it is in
	meta       bool // see machine
	container  Container
	prefix     string // of an archive's members
	twice      bool   // there are two pickles of one name
	script     bool
	export     bool // see Export
	big        bool
	order      *Fault              // byteorder is not one
	summed     []ziparchive.Member // the pickles that have a checksum
	intact     sync.Mutex
	isIntact   bool  // they have been compared
	pickles    int64 // where those of a stream end
	end        int64 // of a stream's last storage
	root       Value
	optimizers bool // there are states of optimisers in it
	memory     int  // what a walk of it may cost
	globals    []*Global
	storages   []pieced[Storage] // of one pickle each
	faults     faultList         // of the pickle
	unused     int               // the members of storages that are none of the pickle's, and their bytes
	unusedSize uint64
	made       []made // until findLost
	lost       int    // see Lost
	lostBytes  uint64
	summing    sync.Mutex
	sums       map[*Storage]*ziparchive.Sum // of storages of which some is read
	directory  uint64                       // the digest of an archive's
	locating   sync.Mutex                   // for the next, and for what it found in storages
	locator    *ziparchive.Locator
}

// Open opens the named file with [os.Open] and reads its pickle. A fault of the file is
// returned as an error that wraps a [*Fault]; any other is the operating system's.
func Open(name string) (*File, error) {
	osf, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	f, err := openFile(osf)
	if err != nil {
		osf.Close()
		if _, ok := errors.AsType[*fs.PathError](err); !ok {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return nil, err
	}
	f.closer = osf
	return f, nil
}

func openFile(osf *os.File) (*File, error) {
	fi, err := osf.Stat()
	if err != nil {
		return nil, err
	}
	return NewFile(osf, fi.Size())
}

// NewFile reads the pickle of the checkpoint in the first size bytes of r, and an
// archive's directory: no storage. A fault of the file is returned as a [*Fault]; other errors
// are those of r. r is kept for the File's methods. If it has a method ReadAhead(off, n int64) error,
// as a file on a server may, that is called for bytes which are then read piece by piece.
//
// The tensors are those of the deepest subtree that holds all there are, apart from states
// of optimisers and what else trainers keep beside a model: of {"epoch": 3, "state_dict":
// {…}, "optimizer_states": […]} it is state_dict. [File.Subtree] selects another.
func NewFile(r io.ReaderAt, size int64) (*File, error) {
	if size < 0 {
		return nil, fmt.Errorf("negative size %d", size)
	}
	f := &File{contents: &contents{r: r, size: size}}
	if err := f.read(); err != nil {
		return nil, err
	}
	if err := f.choose(); err != nil {
		return nil, err
	}
	return f, nil
}

// read carries out the pickle of a file, whatever it is in.
func (f *File) read() error {
	head := make([]byte, min(f.size, sniffed))
	if err := readFull(f.r, head, 0); err != nil {
		return err
	}
	if ziparchive.IsZip(head) {
		f.container = Zip
		return f.openZip()
	}
	if flt := lookalike(head); flt != nil {
		return flt
	}
	return f.openStream()
}

// sniffed is how many bytes tell what a file is: a tar file's name for itself comes last.
const sniffed = 512

// lookalikes are files that are met under the names of checkpoints.
var lookalikes = []struct{ prefix, what string }{
	{"version https://git-lfs", "a git-lfs pointer, not the file itself: run git lfs pull"},
	{"7z\xbc\xaf\x27\x1c", "a 7z archive"},
	{"\x1f\x8b\x08", "a gzip archive: decompress it"},
	{"GGUF", "a GGUF file"},
	{"PYTORCH1", "an archive of a preview of torch 1.0"},
	{"\x89HDF\r\n", "an HDF5 file"},
	{"<!doctype html", "an HTML page, as a failed download leaves it: download the file again"},
	{"<html", "an HTML page, as a failed download leaves it: download the file again"},
}

// lookalike says what a file is that is no checkpoint, nil when it may be one.
func lookalike(head []byte) *Fault {
	// The header of a tar file has its magic at byte 257 (serialization.py, legacy_load).
	if len(head) >= 262 && string(head[257:262]) == "ustar" {
		return newFault(CodeTar, 0, "", "a tar file, as torch wrote before 0.1.10: convert it with a torch of its time")
	}
	lower := bytes.ToLower(bytes.TrimLeft(head, " \t\r\n"))
	for _, l := range lookalikes {
		if bytes.HasPrefix(head, []byte(l.prefix)) || bytes.HasPrefix(lower, []byte(l.prefix)) {
			return newFault(CodeNotTorch, 0, "", "not a checkpoint of torch but %s", l.what)
		}
	}
	switch {
	case len(head) > 8 && head[8] == '{':
		return newFault(CodeNotTorch, 0, "", "not a checkpoint of torch but, it seems, a safetensors file")
	case len(head) == 0:
		return newFault(CodeNotTorch, 0, "", "the file is empty")
	}
	return nil
}

// Close closes a file that [Open] opened. It has no effect on one made by [NewFile].
func (f *File) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

// Container returns how the file holds its pickle.
func (f *File) Container() Container { return f.container }

// Script reports whether the archive is of TorchScript, which has code beside the weights.
func (f *File) Script() bool { return f.script }

// Constants returns how many of the tensors that the File lists are constants of TorchScript's
// code, which NewFile lists by the code's names for them: CONSTANTS.c0.
func (f *File) Constants() int {
	n := 0
	for t := range f.entries.all() {
		if s := (*t).Storage; s != nil && f.script && strings.HasPrefix(s.Key, constantsDir) {
			n++
		}
	}
	return n
}

// Release lets go of what the pickle builds beside the tensors that the File lists. There are no Root, Globals,
// Metadata and Subtrees afterwards.
func (f *File) Release() {
	f.root, f.globals, f.way, f.aside = nil, nil, nil, nil
}

// BigEndian reports whether the storages are big-endian.
func (f *File) BigEndian() bool { return f.big }

// Size returns the size of the file.
func (f *File) Size() int64 { return f.size }

// Root returns what the pickle builds.
func (f *File) Root() Value { return f.root }

// Globals returns the names that the pickle imports, each once, in the order of their
// first use. Neither the slice nor what it holds must be modified.
func (f *File) Globals() []*Global { return f.globals }

// Storages returns the storages that the pickle mentions, in the order of their first use.
// None must be modified.
func (f *File) Storages() iter.Seq[*Storage] {
	return func(yield func(*Storage) bool) {
		for i := range f.storages {
			for s := range f.storages[i].all() {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// Path returns the path of the subtree whose tensors the File lists, "" for everything.
func (f *File) Path() string { return f.path }

// Len returns the number of tensors.
func (f *File) Len() int { return f.entries.n }

// At returns a tensor by its place, from 0 to Len()-1.
func (f *File) At(i int) Tensor { return **f.entries.at(i) }

// All returns the tensors in the order of the pickle. The same tensor may have several
// names.
func (f *File) All() iter.Seq2[int, Tensor] {
	return func(yield func(int, Tensor) bool) {
		for i := range f.entries.n {
			if !yield(i, f.At(i)) {
				return
			}
		}
	}
}

// finish takes over what a pickle built.
func (f *File) finish(m *machine, v Value, end int) {
	f.root, f.faults = v, m.faults
	f.memory = spareMemory/2 + cmp.Or(m.w.perByte, mostPerByte)*end
	f.globals, f.storages = m.imported(), append(f.storages, m.storages.list)
	f.made = append(f.made, made{m.room.tensors, m.w.base, m.apart})
}

// after reports what follows a pickle that should be alone.
func (f *File) after(m *machine, end int) error {
	rest := m.w.size - int64(end)
	if rest == 0 {
		return nil
	}
	next, err := m.w.view(end, 1)
	if err != nil {
		return err
	}
	if next[0] == opProto {
		f.faults.report(CodeMorePickles, m.w.place(end), "", "another pickle follows, in the last %d bytes: torch.load does not run it", rest)
	} else {
		f.faults.report(CodeAfterStop, m.w.place(end), "", "%d bytes follow the end of the pickle", rest)
	}
	return nil
}
