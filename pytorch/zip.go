package pytorch

import (
	"bytes"
	"io"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/ziparchive"
)

// archiveFault is a fault of an archive as one of this package.
func archiveFault(err error) error {
	if f, ok := err.(*ziparchive.Fault); ok {
		return newFault(Code(f.Code), f.Offset, "", "%s", f.Detail)
	}
	return err
}

// openZip reads a zip checkpoint.
func (f *File) openZip() error {
	if err := f.readAhead(); err != nil {
		return err
	}
	a, err := ziparchive.Read(f.r, f.size)
	if err != nil {
		return archiveFault(err)
	}
	f.directory = a.Digest
	pickle, err := f.findPickle(a)
	if flt, ok := err.(*Fault); ok && flt.Code == CodeNoPickle {
		if done, err := f.openExport(a); done || err != nil {
			return err
		}
	}
	if err != nil {
		return archiveFault(err)
	}
	_, constants, err := a.Find(f.prefix + "constants.pkl")
	if err != nil {
		return archiveFault(err)
	}
	f.script = constants > 0 // serialization.py, _is_torchscript_zip
	w, err := memberWindow(f.r, a, pickle)
	if err != nil {
		return err
	}
	m := newMachine(w)
	m.strings = f.nested
	v, end, err := m.run(0)
	if err != nil {
		return err
	}
	f.finish(m, v, end)
	if err := f.after(m, end); err != nil {
		return err
	}
	if f.unused, f.unusedSize, err = m.placeMembers(a, f.prefix+"data/"); err != nil {
		return archiveFault(err)
	}
	_, pickles, err := a.Find(pickle.Name)
	if err != nil {
		return archiveFault(err)
	}
	if f.twice = pickles > 1; f.twice {
		if err := f.otherPickles(a, pickle); err != nil {
			return err
		}
	}
	if f.script {
		if err := f.openConstants(a); err != nil {
			return err
		}
	}
	if a.Summed {
		f.summed = append(f.summed, *pickle)
	}
	order, err := f.record(a, "byteorder")
	switch z := err.(type) {
	case *ziparchive.Fault:
		f.order = newFault(Code(z.Code), z.Offset, "", "%s", z.Detail) // Validate says so, too
		return nil
	case nil:
		f.order = f.byteOrder(a, order)
	}
	f.big = order == "big"
	return err
}

// otherPickles notes what other pickles of the same name import: which one torch.load reads depends on how its
// archive reader sorts names (miniz.c, mz_zip_locate_file_binary_search). What cannot be read is a fault of the archive.
func (f *File) otherPickles(a *ziparchive.Archive, pickle *ziparchive.Member) error {
	const most = 16
	n := 0
	err := a.Scan(func(name []byte, e *ziparchive.Member) error {
		if e.Header == pickle.Header || n == most || !strings.EqualFold(string(name), pickle.Name) {
			return nil
		}
		n++
		one := *e
		one.Name = string(name)
		w, err := memberWindow(f.r, a, &one)
		if err == nil {
			m := newMachine(w)
			_, _, err = m.run(0)
			f.globals = append(f.globals, m.order...)
		}
		if _, broken := err.(*Fault); broken {
			return nil
		}
		return err
	})
	return archiveFault(err)
}

// byteOrder returns what is wrong with the member of that name: torch.load raises an error (serialization.py, _load).
func (f *File) byteOrder(a *ziparchive.Archive, order string) *Fault {
	if order == "little" || order == "big" || !has(a, f.prefix+"byteorder") {
		return nil
	}
	return newFault(CodeByteOrder, -1, "", "byteorder is %s, and must be little or big", quote(order))
}

const (
	// shortPickle is that of some 1,700 tensors. A longer one has a directory to match, and
	// mostDirectory is that of 80,000 or more.
	shortPickle   = 256 << 10
	mostDirectory = 8 << 20
)

// readAhead reads the directory of a large archive on a server in the request that reads its end.
func (f *File) readAhead() error {
	if _, ok := f.r.(ziparchive.Ahead); !ok || f.size <= shortPickle {
		return nil
	}
	head := make([]byte, shortPickle)
	if err := readFull(f.r, head, 0); err != nil {
		return err
	}
	if ziparchive.HasHeader(head[1:]) {
		return nil // torch writes the pickle first, and it ends here: the directory is short, too
	}
	return ziparchive.ReadAhead(f.r, f.size-min(f.size, mostDirectory), min(f.size, mostDirectory))
}

// placeMembers finds the members of storages, which are called by their keys in a directory. It counts
// those that the pickle does not mention.
//
// Where a member is as torch.save writes it, and the next one where it is to be then, its local header says
// nothing new: it is compared when the member is read.
func (m *machine) placeMembers(a *ziparchive.Archive, dir string) (unused int, size uint64, err error) {
	var before *Storage // whose member is the one before
	var next int64      // where the one behind it begins, if torch.save wrote it
	err = a.Scan(func(name []byte, e *ziparchive.Member) error {
		if before != nil && next != e.Header {
			before.skip = 0
		}
		before = nil
		key, ok := bytes.CutPrefix(name, []byte(dir))
		if !ok {
			return nil
		}
		switch s := m.storages.findBytes(key); {
		case s == nil && e.Size == 0 && bytes.HasSuffix(name, []byte("/")): // the entry of a directory
		case s == nil:
			unused++
			size += e.Size
		case s.at >= 0:
			s.twice = true
		default:
			s.at, s.size, s.plain = e.Header, e.Size, e.Method == ziparchive.Stored
			if s.plain && a.Summed {
				s.crc, s.summed = e.CRC, true
			}
			if s.plain {
				var begin int64
				begin, next = e.Aligned(len(name))
				s.skip = uint32(begin-s.at) | expected
				before = s
			}
		}
		return nil
	})
	if before != nil {
		before.skip = 0
	}
	return unused, size, err
}

// constantsDir has the storages of TorchScript's constants.
const constantsDir = "constants/"

// openConstants adds the tensors of TorchScript's code, where all weights of a frozen module are, to
// what the pickle builds, by the names that the code has for them (CONSTANTS.c0,
// torch/csrc/jit/serialization/python_print.cpp). They are a tuple in a pickle of their own,
// and have storages of their own (export_module.cpp, writeFiles).
func (f *File) openConstants(a *ziparchive.Archive) error {
	member, _, err := a.Find(f.prefix + "constants.pkl")
	if err != nil {
		return archiveFault(err)
	}
	w, err := memberWindow(f.r, a, member)
	if err != nil {
		return err
	}
	m := newMachine(w)
	v, end, err := m.run(0)
	if flt, ok := err.(*Fault); ok {
		flt.Detail = "constants.pkl: " + flt.Detail
	}
	if err != nil {
		return err
	}
	if _, _, err := m.placeMembers(a, f.prefix+constantsDir); err != nil {
		return archiveFault(err)
	}
	for s := range m.storages.list.all() {
		s.Key = constantsDir + s.Key
		s.id += uint32(f.storages[0].n)
	}
	if a.Summed {
		f.summed = append(f.summed, *member)
	}
	f.globals = append(f.globals, m.order...)
	f.storages = append(f.storages, m.storages.list)
	for i := range m.faults.faults {
		f.faults.add(&m.faults.faults[i])
	}
	f.memory += mostPerByte * end
	f.made = append(f.made, made{m.room.tensors, m.w.base, m.apart})
	list, ok := v.(*List)
	if !ok || len(list.Items) == 0 {
		return nil
	}
	constants := &Dict{}
	for i, c := range list.Items {
		constants.Items = append(constants.Items, Item{"c" + strconv.Itoa(i), c})
	}
	part := Item{"CONSTANTS", constants}
	if module, ok := f.root.(*Object); ok {
		module.Dict = append(module.Dict, part)
	} else {
		f.root = &Dict{Items: []Item{{"data", f.root}, part}}
	}
	return nil
}

// memberWindow is a pickle of an archive in r: as it is there, or inflated.
func memberWindow(r io.ReaderAt, a *ziparchive.Archive, m *ziparchive.Member) (*window, error) {
	if m.Method == ziparchive.Stored && m.Size <= maxPickle {
		_, begin, err := a.Reader(m)
		if err != nil {
			return nil, archiveFault(err)
		}
		return &window{r: r, off: begin, size: int64(m.Size), base: begin}, ziparchive.ReadAhead(r, begin, int64(m.Size))
	}
	data, base, err := a.Contents(m, maxPickle)
	if err != nil {
		return nil, archiveFault(err)
	}
	// The file's bytes count, and not what they inflate to.
	return &window{size: int64(len(data)), buf: data, base: base, perByte: perPacked(m.Size, m.Packed)}, nil
}

// perPacked is what a byte of a compressed pickle may cost.
func perPacked(size, packed uint64) int {
	return int(max(1, min(mostPerByte, 4*mostPerByte*packed/max(size, 1))))
}

// findPickle returns the pickle that torch reads: the one in the directory of the first
// member (inline_container.cc, PyTorchStreamReader::init), or else the only one there is.
func (f *File) findPickle(a *ziparchive.Archive) (*ziparchive.Member, error) {
	if a.Len() > 0 {
		first, err := a.At(0)
		if err != nil {
			return nil, err
		}
		if dir, _, found := strings.Cut(first.Name, "/"); found {
			f.prefix = dir + "/"
			if m, n, err := a.Find(f.prefix + "data.pkl"); n > 0 || err != nil {
				return m, err
			}
		}
	}
	var pickle *ziparchive.Member
	err := a.Scan(func(name []byte, m *ziparchive.Member) error {
		dir, ok := bytes.CutSuffix(name, []byte("/data.pkl"))
		switch {
		case !ok:
		case pickle != nil:
			return newFault(CodeNoPickle, -1, "", "the archive has several data.pkl, and none in the directory of its first member, where torch looks")
		default:
			one := *m
			one.Name = string(name)
			pickle, f.prefix = &one, string(dir)+"/"
		}
		return nil
	})
	if err == nil && pickle == nil {
		err = newFault(CodeNoPickle, 0, "", "the archive has no data.pkl: it is a zip file, and not one that torch.save wrote")
	}
	return pickle, err
}

// maxRecord bounds the members that say how to read the rest, of which torch's have a word.
const maxRecord = 64

// record returns the text of one of these members, "" when it is absent.
func (f *File) record(a *ziparchive.Archive, name string) (string, error) {
	m, _, err := a.Find(f.prefix + name)
	if m == nil || err != nil {
		return "", err
	}
	data, _, err := a.Contents(m, maxRecord)
	return string(data), err
}

// validateZip compares the archive with what other readers would see in it, its members' headers too if
// members says so.
func (f *File) validateZip(l *faultList, members bool) {
	a, err := ziparchive.Read(f.r, f.size)
	if err != nil {
		l.report(CodeUnreadable, -1, "", "the archive's directory cannot be read again: %v", err)
		return
	}
	const pickleName = "data.pkl"
	var pickle *ziparchive.Member // the first of its name
	var firstName string
	outside := 0
	err = a.Scan(func(name []byte, m *ziparchive.Member) error {
		if firstName == "" {
			firstName = string(name)
		}
		rest, inside := bytes.CutPrefix(name, []byte(f.prefix))
		if !inside {
			if outside++; outside == 1 {
				l.report(CodeMixedPrefix, -1, "", "member %s is not in %s, where the pickle is", quote(name), quote(f.prefix))
			}
		}
		own := pickle == nil && inside && strings.EqualFold(string(rest), pickleName)
		if own {
			one := *m
			pickle = &one
		}
		twin := inside && strings.EqualFold(string(rest), pickleName) // which is said of the archive
		if isPickleName(name) && !own && !twin && !(inside && (bytes.HasPrefix(rest, []byte("data/")) || string(rest) == "constants.pkl")) {
			l.report(CodeExtraPickle, m.Header, "", "the archive has another pickle, %s, which torch.load does not read", quote(name))
		}
		if m.Method != ziparchive.Stored && !(f.script && bytes.HasPrefix(rest, []byte("code/"))) { // as torch.jit.save writes it
			l.report(CodeCompressed, m.Header, "", "member %s is compressed, which torch does not map into memory", quote(name))
		}
		return nil
	})
	if err != nil {
		l.report(CodeUnreadable, -1, "", "the archive's directory cannot be read again: %v", err)
		return
	}
	if f.unused > 0 && !f.script {
		l.report(CodeUnusedStorage, -1, "", "%s of %s %s to no tensor", plural.Of(f.unused, "storage"), plural.Of(f.unusedSize, "byte"), plural.Verb(f.unused, "belong"))
	}
	isPickle := func(m *ziparchive.Member) bool {
		return pickle != nil && m.Header == pickle.Header && m.Size == pickle.Size
	}
	say := func(z *ziparchive.Fault) { l.report(Code(z.Code), z.Offset, "", "%s", z.Detail) }
	if members {
		a.Check(func(m *ziparchive.Member) bool { return m.Size <= maxRecord || isPickle(m) && m.Size <= maxPickle }, say)
	} else {
		a.CheckDirectory(say)
	}
	if dir, _, _ := strings.Cut(firstName, "/"); dir+"/" != f.prefix {
		l.report(CodeNotFound, -1, "", "the pickle is in %s, and torch looks in %s, the directory of the first member", quote(f.prefix), quote(dir+"/"))
	}
	f.validateRecords(a, l)
}

func (f *File) validateRecords(a *ziparchive.Archive, l *faultList) {
	text := func(name string) string {
		s, err := f.record(a, name)
		switch z := err.(type) {
		case nil:
		case *ziparchive.Fault:
			l.report(Code(z.Code), z.Offset, "", "%s", z.Detail)
		default:
			l.report(CodeUnreadable, -1, "", "member %s: %v", quote(f.prefix+name), err)
		}
		return s
	}
	version := text(".data/version") // of torch.export; inline_container.cc, PyTorchStreamReader::init
	if version == "" {
		version = text("version")
	}
	if version == "" {
		version = text(".format_version")
	}
	// kMinSupportedFileFormatVersion and kMaxSupportedFileFormatVersion, versions.h.
	if n, ok := parseInt([]byte(version)); !ok || n < 1 || n > 10 {
		l.report(CodeArchiveVersion, -1, "", "the archive's version is %s, and torch reads 1 to 10", quote(version))
	}
	if flt := f.byteOrder(a, text("byteorder")); flt != nil {
		l.add(flt)
	}
	if f.big {
		l.report(CodeBigEndian, -1, "", "the storages are big-endian")
	}
}

func has(a *ziparchive.Archive, name string) bool {
	_, n, err := a.Find(name)
	return n > 0 && err == nil
}

// isPickleName reports whether a member is called a pickle, whatever the case.
func isPickleName(name []byte) bool {
	const ext = ".pkl"
	return len(name) >= len(ext) && strings.EqualFold(string(name[len(name)-len(ext):]), ext)
}
