package pytorch

import (
	"io"

	"github.com/wtinspect/wtinspect/internal/strided"
	"github.com/wtinspect/wtinspect/internal/ziparchive"
)

// StorageData returns a reader of a storage's bytes. The error is a [*Fault] when they are
// absent, compressed, or fewer than the pickle says.
func (f *File) StorageData(s *Storage) (*io.SectionReader, error) {
	if err := f.whole(); err != nil {
		return nil, err
	}
	begin, err := f.begin(s)
	if err == nil {
		err = f.confirm(s)
	}
	if err != nil {
		return nil, err
	}
	size, _ := s.Bytes()
	return io.NewSectionReader(f.source(s, begin), begin, int64(size)), nil
}

// Data returns a reader of the elements of tensor i in the order of its shape, in the byte
// order of the file. Where they do not follow each other in the storage, it gathers them, with
// some 4 MiB of memory. The error is a [*Fault] when they are not within the storage. So are the
// reader's, where the bytes are not where the archive's directory lets expect them.
func (f *File) Data(i int) (*io.SectionReader, error) {
	t := f.At(i)
	if err := f.whole(); err != nil {
		return nil, err
	}
	begin, offset, size, err := f.place(i, &t)
	if err != nil {
		return nil, err
	}
	r := f.source(t.Storage, begin)
	if size == 0 || t.Contiguous() {
		return io.NewSectionReader(r, begin+offset, size), nil
	}
	bits, _ := t.DType.Bits()
	return io.NewSectionReader(strided.NewReader(r, begin+offset, int64(bits/8), t.Shape, t.Strides), 0, size), nil
}

// whole returns why what the pickle says of the storages is not believed: it has another checksum than the
// archive says, or the order of their bytes is not known.
func (f *File) whole() error {
	if f.order != nil {
		own := *f.order
		return &own
	}
	f.intact.Lock()
	defer f.intact.Unlock()
	if f.isIntact {
		return nil
	}
	for i := range f.summed {
		m := &f.summed[i]
		switch same, err := ziparchive.Intact(f.r, f.size, m); {
		case err != nil:
			return archiveFault(err)
		case !same:
			return newFault(CodeChecksum, m.Header, "", "member %s has other bytes than its checksum is of, %08x in the archive's directory: they changed after they were written, or on the way here; fetch the file again", quote(m.Name), m.CRC)
		}
	}
	f.isIntact = true
	return nil
}

// Offsets returns where the elements of each tensor begin in the file, in the order of its shape and one
// after the other; -1 where they are not there like that. It reads the headers of those storages that are
// not where torch.save puts them.
func (f *File) Offsets() []int64 {
	out := make([]int64, f.Len())
	for i, t := range f.All() {
		out[i] = -1
		if t.Storage == nil || !t.Storage.InFile() || !t.Contiguous() {
			continue
		}
		if begin, offset, _, err := f.place(i, &t); err == nil {
			out[i] = begin + offset
		}
	}
	return out
}

// Shared reports for each tensor whether another one that is listed has the same storage.
func (f *File) Shared() []bool {
	most := uint32(0)
	for _, t := range f.All() {
		if t.Storage != nil {
			most = max(most, t.Storage.id)
		}
	}
	twice, once := make([]bool, most+1), make([]bool, most+1) // of the storages, by their numbers
	for _, t := range f.All() {
		if t.Storage != nil {
			twice[t.Storage.id] = once[t.Storage.id]
			once[t.Storage.id] = true
		}
	}
	out := make([]bool, f.Len())
	for i, t := range f.All() {
		out[i] = t.Storage != nil && twice[t.Storage.id]
	}
	return out
}

// place returns where the storage of tensor i begins, in the file or what else it is in, where the first
// element is from there, and how many bytes the elements are.
func (f *File) place(i int, t *Tensor) (begin, offset, size int64, err error) {
	if flt := t.fault(); flt != nil {
		return 0, 0, 0, flt
	}
	if t.Storage == nil {
		return 0, 0, 0, newFault(CodeNoData, -1, t.Name, "it has no storage")
	}
	begin, err = f.begin(t.Storage)
	if flt, ok := err.(*Fault); ok {
		flt.Tensor = t.Name
	}
	if err != nil {
		return 0, 0, 0, err
	}
	bytes, _ := t.Bytes()
	bits, _ := t.DType.Bits()
	if f.tooOften(i) {
		return 0, 0, 0, newFault(CodeExpanded, -1, t.Name, "its %d bytes are more than is read of a file of %d: tensors in it repeat or share elements", bytes, f.size)
	}
	if bytes == 0 { // its offset may be anything
		return begin, 0, 0, nil
	}
	at := t.Offset * bits // within the storage: see fault
	if at%8 != 0 || bits < 8 && !t.Contiguous() {
		return 0, 0, 0, newFault(CodeBadTensor, -1, t.Name, "its elements of %d bits are not packed into whole bytes", bits)
	}
	return begin, int64(at / 8), int64(bytes), nil
}

// source returns what the bytes of a storage are in, from where begin says on.
func (f *File) source(s *Storage, begin int64) io.ReaderAt {
	switch {
	case s.data != nil:
		return s.data
	case s.summed:
		return summed{f.contents, s, begin}
	case f.container == Zip:
		return confirmed{f.contents, s}
	}
	return f.r
}

// A confirmed reads a file once it is known that a storage is where it is expected.
type confirmed struct {
	f *contents
	s *Storage
}

func (r confirmed) ReadAt(p []byte, off int64) (int, error) {
	if err := r.f.confirm(r.s); err != nil {
		return 0, err
	}
	return r.f.r.ReadAt(p, off)
}

// Saw is told bytes of the file that somebody else read. They are of the storage if it is where it is expected.
func (r confirmed) Saw([]byte, int64) error { return r.f.confirm(r.s) }

// SawZeros is Saw for bytes that are zero.
func (r confirmed) SawZeros(int64, int64) error { return r.f.confirm(r.s) }

// A summed reads a file, and compares the checksum of a storage when all of it has been read. Others
// that read the file by themselves can say what they saw.
type summed struct {
	f     *contents
	s     *Storage
	begin int64
}

func (r summed) ReadAt(p []byte, off int64) (int, error) {
	if err := r.f.confirm(r.s); err != nil {
		return 0, err
	}
	n, err := r.f.r.ReadAt(p, off)
	if wrong := r.Saw(p[:n], off); wrong != nil {
		return 0, wrong
	}
	return n, err
}

// Saw notes bytes of the file. The error is a [*Fault], when the storage has another checksum than the archive says.
func (r summed) Saw(p []byte, off int64) error {
	return r.judge(func(sum *ziparchive.Sum) bool { return sum.Saw(p, off) })
}

// SawZeros is Saw for n bytes that are zero.
func (r summed) SawZeros(off, n int64) error {
	return r.judge(func(sum *ziparchive.Sum) bool { return sum.SawZeros(off, n) })
}

func (r summed) judge(saw func(*ziparchive.Sum) bool) error {
	if err := r.f.confirm(r.s); err != nil {
		return err
	}
	sum := r.sum()
	if saw(sum) {
		if sum.Done() {
			r.f.summing.Lock()
			delete(r.f.sums, r.s)
			r.f.summing.Unlock()
		}
		return nil
	}
	return newFault(CodeChecksum, -1, "", "storage %s has other bytes than its checksum is of, %08x in the archive's directory: they changed after they were written, or on the way here; fetch the file again",
		quote(r.s.Key), r.s.crc)
}

// sum returns what the bytes of the storage are compared by.
func (r summed) sum() *ziparchive.Sum {
	r.f.summing.Lock()
	defer r.f.summing.Unlock()
	sum := r.f.sums[r.s]
	if sum == nil {
		if r.f.sums == nil {
			r.f.sums = make(map[*Storage]*ziparchive.Sum)
		}
		sum = ziparchive.NewSum(r.begin, r.s.size, r.s.crc)
		r.f.sums[r.s] = sum
	}
	return sum
}

// InFile reports whether the bytes of the storage are in the file as they are, and not in a string of
// its pickle.
func (s *Storage) InFile() bool { return s.data == nil }

// spareBytes and timesRead bound how many bytes the tensors of a file are together. Tied weights
// and views read bytes again; a stride of 0 makes any number of them.
const (
	spareBytes = 1 << 30
	timesRead  = 16
)

// tooOften reports whether the tensors up to one, in the order of the file, are more bytes than is read
// of it.
func (f *File) tooOften(i int) bool {
	f.often.Do(func() {
		left := spareBytes + timesRead*uint64(f.size) // of a file that exists, so that this is below 2^63
		for k := range f.entries.n {
			n, ok := (*f.entries.at(k)).Bytes()
			if ok && n <= left {
				left -= n
				continue
			}
			if f.beyond == nil {
				f.beyond = make(map[int]bool)
			}
			f.beyond[k] = true
		}
	})
	return f.beyond[i]
}

// fault returns what keeps a tensor from being read, apart from what its storage is like in
// the file.
func (t *Tensor) fault() *Fault {
	bits, known := t.DType.Bits()
	_, ok := t.Bytes()
	switch {
	case !known:
		return newFault(CodeUnknownDType, -1, t.Name, "dtype %s is not known", quote(string(t.DType)))
	case !ok:
		return newFault(CodeOverflow, -1, t.Name, "shape %d has too many elements", firstDims(t.Shape))
	case t.Storage == nil:
		return nil
	}
	span, ok := t.span()
	need, fits := packed(span, bits)
	have, sane := t.Storage.Bytes()
	switch {
	case !ok || !fits:
		return newFault(CodeOutOfStorage, -1, t.Name, "shape %d with strides %d needs more than 2^63 bytes", firstDims(t.Shape), firstDims(t.Strides))
	case sane && need > have:
		return newFault(CodeOutOfStorage, -1, t.Name, "it needs %d bytes of storage %s, which has %d", need, quote(t.Storage.Key), have)
	}
	return nil
}

// firstDims bounds what a message repeats of a shape.
func firstDims(dims []uint64) []uint64 { return dims[:min(len(dims), 16)] }

// fault returns what is wrong with where a storage's bytes are said to be.
func (f *File) fault(s *Storage) *Fault {
	size, ok := s.Bytes()
	if !ok {
		return newFault(CodeOverflow, -1, "", "storage %s has %d elements", quote(s.Key), s.Elements)
	}
	fail := func(code Code, format string, args ...any) *Fault {
		return newFault(code, s.at, "", "storage "+quote(s.Key)+" of %d bytes "+format, append([]any{size}, args...)...)
	}
	switch {
	case s.data != nil:
		return nil // which was read from it
	case s.twice && f.container == Legacy:
		return fail(CodeDuplicateMember, "is twice in the stream: torch reads the last of them, other programs may read the first")
	case s.twice || f.twice:
		return fail(CodeDuplicateMember, "is, or its pickle is, twice in the archive: programs differ in which they read")
	case s.Root != nil:
		if flt := f.fault(s.Root); flt != nil {
			return flt
		}
		whole, _ := s.Root.Bytes()
		if start, ok := strided.Product(s.Start, s.DType.unit()); !ok || start > whole || size > whole-start {
			return fail(CodeOutOfStorage, "reaches beyond storage %s", quote(s.Root.Key))
		}
	case s.at < 0:
		return fail(CodeMissingStorage, "is not in the file")
	case !s.plain:
		return fail(CodeCompressed, "is compressed, and not read")
	case s.size < size:
		return fail(CodeStorageSize, "has %d in the file", s.size)
	case f.container == Legacy && (f.size-s.at < 8 || size > uint64(f.size-s.at-8)):
		return fail(CodeMissingStorage, "ends beyond the file")
	}
	return nil
}

// begin returns where a storage's bytes begin, all of which are within the file.
func (f *File) begin(s *Storage) (int64, error) {
	if flt := f.fault(s); flt != nil {
		return 0, flt
	}
	switch {
	case s.data != nil:
		return 0, nil
	case s.Root != nil:
		begin, err := f.begin(s.Root)
		return begin + int64(s.Start*s.DType.unit()), err
	case f.container == Legacy:
		return s.at + 8, nil
	}
	return f.locate(s, false)
}

// expected marks the size of a local header that has not been read. Those that have are smaller: of two sizes
// of 16 bits.
const expected = 1 << 31

// confirm reads the header of a storage that is in an archive, if nobody has, and compares where it says that
// the bytes begin with where they are expected. The error is a [*Fault], or that of the file.
func (f *contents) confirm(s *Storage) error {
	for s.Root != nil {
		s = s.Root
	}
	if f.container != Zip || s.data != nil {
		return nil
	}
	_, err := f.locate(s, true)
	return err
}

// locate returns where a storage's bytes begin in an archive, or where they are expected unless it is to be
// sure. Each header is read once, and mostly with those behind it.
func (f *contents) locate(s *Storage, sure bool) (int64, error) {
	f.locating.Lock()
	defer f.locating.Unlock()
	size := int64(s.skip &^ expected)
	if size > 0 && (!sure || s.skip&expected == 0) {
		return s.at + size, nil
	}
	if f.locator == nil {
		f.locator = ziparchive.NewLocator(f.r, f.size)
	}
	begin, err := f.locator.DataOffset(s.at, s.size)
	if z, ok := err.(*ziparchive.Fault); ok {
		err = newFault(Code(z.Code), z.Offset, "", "storage %s: %s", quote(s.Key), z.Detail)
	}
	switch {
	case err != nil:
		return 0, err
	case size > 0 && begin != s.at+size:
		return 0, newFault(CodeMemberHeader, s.at, "", "storage %s: by its local header its bytes begin at %d, and by the archive's directory and the members around it at %d", quote(s.Key), begin, s.at+size)
	}
	s.skip = uint32(begin - s.at)
	return begin, nil
}

// Same reports whether the first size bytes of r are still the file that was opened, as far as its
// directory and its pickles say, and false for ok where those have no checksums to tell it by.
func (f *File) Same(r io.ReaderAt, size int64) (same, ok bool, err error) {
	if f.container != Zip || len(f.summed) == 0 {
		return false, false, nil
	}
	if size != f.size {
		return false, true, nil
	}
	a, err := ziparchive.Read(r, size)
	if _, broken := err.(*ziparchive.Fault); broken || err == nil && a.Digest != f.directory {
		return false, true, nil
	}
	for i := 0; err == nil && i < len(f.summed); i++ {
		if same, err = ziparchive.Intact(r, size, &f.summed[i]); !same {
			return false, true, err
		}
	}
	return err == nil, true, err
}
