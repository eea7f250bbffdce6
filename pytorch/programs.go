package pytorch

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/wtinspect/wtinspect/internal/ziparchive"
)

// A Program is one of the pickles in a file, as what it is to Python: a list of things to
// import and to call.
type Program struct {
	// Place says where the pickle is: the name of its member in an archive, or "", and for one
	// in a string of another where that is.
	Place string
	// Offset is where it begins in the file, -1 when it is not stored there in one piece.
	Offset int64
	// Globals are what it imports, each once, in the order of their first use. Offsets are
	// of the file, and -1 where Offset is.
	Globals []*Global
	// Refused is the first opcode that torch.load does not carry out with weights_only, ""
	// when there is none, and RefusedAt where it is.
	Refused   string
	RefusedAt int64
	// Err is where and why the pickle breaks off, nil when it is whole. Python carries it out up
	// to there, and so far it is a Program. Where Python's unpicklers differ in what they take, Err says
	// so, and what follows is part of the Program.
	Err error
	// Stray says that the pickle is not one that torch.load runs: it follows the end of
	// another, or is a member of an archive that torch does not look at.
	Stray bool
	// Inner says that the pickle is in a string of another.
	Inner bool
	// Joblib says that there are arrays in it as joblib writes them, and that the Program is what joblib.load
	// makes of it. What pickle.load would import besides is a Program of its own.
	Joblib bool
}

const (
	// maxPrograms bounds how many pickles of a file are looked at.
	maxPrograms = 10_000
	// spareLooked is what members are looked at beyond four times the file.
	spareLooked = 40 << 20
	// maxInner bounds how deeply pickles are strings of pickles.
	maxInner = 8
)

// Programs returns the pickles of the file in the first size bytes of r: of an archive all
// that are called pickles, of a stream one after the other, and those that are strings of
// others, and those in what a compressed file inflates to, 8 MiB of which are looked at. It goes on where
// [NewFile] fails: what breaks a pickle is its [Program.Err]. An
// error is that of r, or says that the file is a broken archive, in which none is found.
//
// It returns none for a file that is not an archive and does not begin with a pickle.
func Programs(r io.ReaderAt, size int64) ([]Program, error) {
	l := &programs{left: spareLooked + 4*uint64(max(size, 0))}
	err := l.file(r, size, "", true, 0)
	return l.list, err
}

// PackedPrograms is [Programs] of what takes packed bytes in a file, where it is compressed. What it
// costs is bounded by these, and not by what they inflate to.
func PackedPrograms(r io.ReaderAt, size int64, packed uint64) ([]Program, error) {
	n := uint64(max(size, 0))
	if packed >= n {
		return Programs(r, size)
	}
	if limit := ziparchive.Inflated(packed); n > limit {
		return []Program{{Offset: -1, RefusedAt: -1, Err: newFault(CodeLimit, -1, "", "a pickle of %d bytes takes %d bytes compressed, and at most %d of it are read", n, packed, limit)}}, nil
	}
	buf := make([]byte, n)
	read, err := io.ReadFull(io.NewSectionReader(r, 0, size), buf)
	if read == 0 {
		return nil, err
	}
	buf, size = buf[:read], int64(read) // which Python loads, whatever follows
	l := &programs{left: spareLooked + 4*packed}
	if ziparchive.IsZip(buf) {
		err = l.archive(bytes.NewReader(buf), size, "", -1, 0)
	} else {
		err = l.stream(&window{size: size, buf: buf, base: -1, perByte: perPacked(n, packed)}, "", false, 0)
	}
	return l.list, err
}

// programs collects the pickles of a file.
type programs struct {
	list   []Program
	left   uint64 // of the bytes of archives' members, which may be the same many times
	walked int    // see maxWalked
	agains int    // see maxAgain
	full   bool   // the last of the list says that there are more
	plain  bool   // what is carried out next is not joblib's, whatever is in it
	ran    int64  // where the pickle at the beginning of the last file ends
}

// file looks for pickles in a file, or in a string of a pickle that is one. whole is true
// for what is a file.
func (l *programs) file(r io.ReaderAt, size int64, place string, whole bool, depth int) error {
	head := make([]byte, min(size, sniffed))
	if err := readFull(r, head, 0); err != nil {
		return err
	}
	base := int64(-1)
	if whole {
		base = 0
	}
	switch {
	case ziparchive.IsZip(head):
		return l.archive(r, size, place, base, depth)
	case len(head) >= 262 && string(head[257:262]) == "ustar":
		return l.tar(r, size, place, base, depth)
	case whole:
		in, err := inflater(head, io.NewSectionReader(r, 0, size))
		if in != nil && err == nil {
			return l.inflated(in, uint64(size), depth)
		}
	}
	if err := l.stream(&window{r: r, size: size, base: base}, place, false, depth); err != nil {
		return err
	}
	begin, first, err := ziparchive.AtEnd(r, size)
	if err != nil || first < l.ran {
		return err
	}
	return l.archive(io.NewSectionReader(r, begin, size-begin), size-begin, inside(place, fmt.Sprintf("archive at byte %d", begin)), -1, depth)
}

// isProgram reports whether torch, or what it calls, reads a member of an archive as a
// pickle, or a reader of pickles would find one there: by its name, without regard to
// case as in mz_zip_reader_locate_file.
func isProgram(name string) bool {
	name, _, _ = strings.Cut(strings.ToLower(name), "\x00")
	switch path.Ext(name) {
	case ".pkl", ".pickle":
		return true
	}
	return false
}

// isStorage reports whether a member, by its name in the archive's directory, is called as torch calls storages. What
// is in directories below those is something else, such as the pickles of examples in an archive of torch.export.
func isStorage(name []byte) bool {
	for _, dir := range []string{"data/", constantsDir} {
		if key, ok := bytes.CutPrefix(name, []byte(dir)); ok {
			return bytes.IndexByte(key, '/') < 0
		}
	}
	return false
}

func (l *programs) archive(r io.ReaderAt, size int64, place string, base int64, depth int) error {
	a, err := ziparchive.Read(r, size)
	if err != nil {
		return archiveFault(err)
	}
	var dir string // of the first member
	if a.Len() > 0 {
		first, err := a.At(0)
		if err != nil {
			return archiveFault(err)
		}
		dir, _, _ = strings.Cut(first.Name, "/")
		dir += "/"
	}
	others, export := 0, has(a, dir+exportFormat)
	_, far := r.(ziparchive.Ahead)
	err = a.Scan(func(name []byte, m *ziparchive.Member) error {
		program := bytes.IndexByte(name, '.') >= 0 && isProgram(string(name))
		rest, within := bytes.CutPrefix(name, []byte(dir))
		storage := within && isStorage(rest)
		if l.full || !program && (far || storage) { // what others begin with would be a request each
			return nil
		}
		member := *m
		member.Name = string(name)
		if program {
			lower := strings.ToLower(member.Name)
			loaded := lower == strings.ToLower(dir)+"data.pkl" || strings.HasSuffix(lower, "/constants.pkl")
			return l.member(r, a, &member, loaded, inside(place, member.Name), base, depth)
		}
		if others++; others == maxOthers {
			l.giveUp(place, "the archive has more than %d members that are neither storages nor called pickles: what the rest are is not judged", maxOthers)
			return nil
		}
		return l.other(r, a, &member, export && within && isExportPart(rest), inside(place, member.Name), base, depth)
	})
	if err == errEnough {
		return nil
	}
	if err != nil {
		return archiveFault(err)
	}
	// Other readers may find pickles before the first member, between members, and behind the end.
	look := func(begin, end int64) error {
		w := &window{r: r, off: begin, size: end - begin, base: begin}
		if base < 0 {
			w.base = -1
		}
		return l.behind(w, place, depth)
	}
	first, end := a.Bounds()
	if far { // where each member ends its header says, which would be a request
		err = look(0, first)
	} else {
		err = a.Hidden(look, func(m *ziparchive.Member) error { return l.hidden(r, a, m, place, base, depth) })
	}
	if err != nil {
		if err == errEnough {
			err = nil
		}
		return archiveFault(err)
	}
	return look(end, size)
}

// hidden looks at the pickles in a member that is not in the directory. Those of protocol 2 or newer that are
// stored are found among the bytes of no member.
func (l *programs) hidden(r io.ReaderAt, a *ziparchive.Archive, m *ziparchive.Member, place string, base int64, depth int) error {
	const most = 8 << 20
	if m.Method != ziparchive.Stored && m.Method != ziparchive.Deflate || l.full {
		return nil
	}
	if m.Method == ziparchive.Deflate {
		m.Size = min(m.Size, most)
	}
	if m.Size > l.left {
		return l.member(r, a, m, false, inside(place, m.Name), base, depth)
	}
	l.left -= m.Size
	packed, begin, err := a.Reader(m)
	if err != nil {
		return nil // no reader gets at it
	}
	at := inside(place, m.Name+", which is not in the directory")
	if begin >= 0 {
		w := &window{r: r, off: begin, size: int64(m.Size), base: -1}
		head, err := w.view(0, int(min(m.Size, 1)))
		if err == nil && len(head) > 0 && head[0] != opProto && isProgram(m.Name) {
			_, _, _, err = l.run(w, 0, at, true, depth)
		}
		return err
	}
	data, _ := io.ReadAll(packed) // of which an unpickler carries out what there is
	w := &window{size: int64(len(data)), buf: data, base: -1, perByte: perPacked(uint64(len(data)), m.Packed)}
	return l.stream(w, at, true, depth)
}

// maxOthers bounds the members whose first bytes are looked at.
const maxOthers = 10_000

// other looks at a member that is called something else, and is a pickle or an archive by its first bytes.
func (l *programs) other(r io.ReaderAt, a *ziparchive.Archive, m *ziparchive.Member, loaded bool, at string, base int64, depth int) error {
	const least, most = 4, 8 << 20
	if m.Size < least {
		return nil
	}
	data, begin, err := a.Reader(m)
	if err != nil {
		return nil // no reader gets at it
	}
	var head [least]byte
	if _, err := io.ReadFull(data, head[:]); err != nil {
		return ignoreFault(begin, err)
	}
	switch {
	case head[0] == opProto && head[1] >= 2 && head[1] <= maxProtocol:
		return l.member(r, a, m, loaded, at, base, depth)
	case !ziparchive.IsZip(head[:]) || depth == maxInner || m.Size > l.left:
		return nil
	}
	l.left -= m.Size
	var inner io.ReaderAt = io.NewSectionReader(r, begin, int64(m.Size))
	if begin < 0 {
		whole, _, err := a.Contents(m, most)
		if err != nil {
			return ignoreFault(begin, err)
		}
		inner = bytes.NewReader(whole)
	}
	return ignoreFault(begin, l.archive(inner, int64(m.Size), at, -1, depth+1))
}

// ignoreFault drops the errors of what is compressed, where begin is -1, and faults of what is not: no reader
// gets at it.
func ignoreFault(begin int64, err error) error {
	if _, broken := err.(*Fault); broken || begin < 0 {
		return nil
	}
	return err
}

// errEnough ends a look at an archive.
var errEnough = errors.New("no more of the archive is looked at")

// member looks at the pickles in a member of an archive, which its reader loads or not.
func (l *programs) member(r io.ReaderAt, a *ziparchive.Archive, m *ziparchive.Member, loaded bool, at string, base int64, depth int) error {
	if m.Size > l.left {
		l.add(Program{Place: at, Offset: -1, RefusedAt: -1, Err: newFault(CodeLimit, m.Header, "", "the archive's pickles are larger than four times the file")})
		return errEnough
	}
	l.left -= m.Size
	w, err := memberWindow(r, a, m)
	if err != nil {
		l.add(Program{Place: at, Offset: -1, RefusedAt: -1, Err: err, Stray: !loaded})
		return nil
	}
	if base < 0 {
		w.base = -1
	}
	return l.stream(w, at, !loaded, depth)
}

// behind looks at the pickles in bytes that nothing says are some.
func (l *programs) behind(w *window, place string, depth int) error {
	for pos := 0; int64(pos) < w.size && !l.full; {
		var err error
		if pos, err = l.nextPickle(w, pos); pos < 0 || err != nil {
			return err
		}
		at, o := pos, (*machine)(nil)
		if _, pos, o, err = l.run(w, pos, place, true, depth); err == nil && o.crosses {
			err = l.otherReadings(w, at, place, true, depth, series{})
		}
		if pos == 0 || err != nil {
			return err
		}
	}
	return nil
}

// afterStorages looks at what follows the storages of a stream. Where they end, only a reader of all
// of it knows: what is carried out here keeps little.
func (l *programs) afterStorages(w *window, place string, depth int) error {
	if w.r == nil { // a member of an archive
		return nil
	}
	f := &File{contents: &contents{r: io.NewSectionReader(w.r, w.off, w.size), size: w.size, nested: depth}}
	if err := f.read(); err != nil || f.container != Legacy {
		return nil // torch fails, too
	}
	return l.behind(w.from(f.end), place, depth)
}

// tar looks into the archives of torch before 0.1.10, which torch.load still reads
// (serialization.py, legacy_load): each of these members is a pickle and what follows it.
func (l *programs) tar(r io.ReaderAt, size int64, place string, base int64, depth int) error {
	section := io.NewSectionReader(r, 0, size)
	for t := tar.NewReader(section); ; {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return newFault(CodeTar, -1, "", "the tar archive is broken: %v", err)
		}
		switch path.Base(h.Name) {
		case "sys_info", "storages", "tensors", "pickle":
		default:
			continue
		}
		at, err := section.Seek(0, io.SeekCurrent) // where the member's data begin
		if err != nil {
			return err
		}
		w := &window{r: r, off: at, size: min(h.Size, size-at), base: at}
		if base < 0 {
			w.base = -1
		}
		if err := l.stream(w, inside(place, h.Name), false, depth); err != nil {
			return err
		}
	}
}

// stream looks at the pickles that follow each other from the beginning of a window. Of the
// first nothing is known but that Python would try; what follows the last that torch reads
// must look like one, and other bytes may be before it.
func (l *programs) stream(w *window, place string, stray bool, depth int) error {
	return l.series(w, place, stray, depth, series{})
}

// A series is what is known of the pickles of a stream before the next one.
type series struct {
	n             int  // how many there are
	magic, legacy bool // the first is the magic number, or may be
}

// series goes on with the pickles of a stream from the beginning of a window.
func (l *programs) series(w *window, place string, stray bool, depth int, s series) error {
	for pos := 0; int64(pos) < w.size && !l.full; s.n++ {
		if s.n > 0 && !s.magic {
			var err error
			if pos, err = l.nextPickle(w, pos); pos < 0 || err != nil {
				return err
			}
		}
		isStray := stray || s.n > 0 && !s.legacy
		v, end, o, err := l.run(w, pos, place, isStray, depth)
		if s.n == 0 {
			l.ran = int64(end)
			s.magic = isMagic(v)
			s.legacy = s.magic || isObject(v) // which Python may make the magic number of
		}
		if err != nil {
			return err
		}
		if o.crosses {
			err = l.otherReadings(w, pos, place, isStray, depth, s)
		} else if end > pos && o.frameEnd > end { // which an unpickler may have read before it came to STOP
			err = l.again(w.from(int64(o.frameEnd)), place, stray, depth, s)
		}
		switch {
		case err != nil || end <= pos:
			return err
		case s.n > 0 && s.legacy && s.n == legacyPickles-1:
			return l.afterStorages(w, place, depth)
		}
		pos = end
	}
	return nil
}

// otherReadings judges a pickle as unpicklers read it that do not read straight on, and what follows it for them.
func (l *programs) otherReadings(w *window, pos int, place string, stray bool, depth int, s series) error {
	list, taken, err := w.readings(pos)
	if flt, ok := err.(*Fault); ok {
		l.giveUp(place, "%s", flt.Detail)
		return nil
	}
	for i, g := range list {
		v, end, _, err := l.run(g.w, 0, inside(place, "read by frames"), stray, depth)
		if err != nil {
			return err
		}
		if end == 0 {
			continue
		}
		next := s
		if s.n == 0 {
			next.magic = isMagic(v)
			next.legacy = next.magic || isObject(v)
		}
		for _, at := range slices.Compact([]int64{g.place(int64(end)), taken[i]}) {
			if err := l.again(w.from(int64(pos)+at), place, stray, depth, next); err != nil {
				return err
			}
		}
	}
	return err
}

// maxAgain bounds how often what follows a pickle is looked at from another place on.
const maxAgain = 100

// again goes on with a stream from where some other unpickler would.
func (l *programs) again(w *window, place string, stray bool, depth int, s series) error {
	if l.agains++; l.agains > maxAgain {
		l.giveUp(place, "frames end elsewhere than their pickles, and what follows them may be read in more than %d ways: no more is judged", maxAgain)
		return nil
	}
	s.n++
	return l.series(w, place, stray, depth, s)
}

const (
	// maxTail bounds how many bytes behind a pickle are searched for others.
	maxTail = 1 << 20
	// maxWalked bounds the bytes of what may be pickles in a file, walked to tell.
	maxWalked = 64 << 20
)

// nextPickle returns where the next pickle begins after one that ended at pos, -1 when there
// is none: what begins as one, or imports a name on the way to its end.
func (l *programs) nextPickle(w *window, pos int) (int, error) {
	rest, err := w.view(pos, int(min(w.size-int64(pos), maxTail)))
	if err != nil {
		return -1, err
	}
	if len(rest) >= 2 && rest[0] == opProto && rest[1] <= maxProtocol {
		return pos, nil
	}
	for at := 0; at < len(rest); at++ {
		if at > 0 {
			i := bytes.IndexByte(rest[at:], opProto)
			if i < 0 {
				break
			}
			at += i
		}
		if l.walked >= maxWalked {
			l.giveUp("", "what follows the file's pickles may be pickles in too many ways: more than %d bytes of it are not judged", maxWalked)
			break
		}
		k := walk(rest[at:])
		if l.walked += k.end; k.whole && k.imports {
			return pos + at, nil
		}
	}
	return -1, nil
}

// A walked is what a walk over bytes that may be a pickle finds.
type walked struct {
	imports bool // a name
	whole   bool // there is a STOP
	end     int  // where that ends, or the walk broke off
}

// walk looks at the opcodes of what may be a pickle, and carries none out. Text may begin as a
// pickle of protocol 0 does, and does not go on as one: a name that cannot be one in Python ends the walk.
func walk(b []byte) (k walked) {
	w := &window{buf: b, size: int64(len(b))}
	for {
		op, arg, next, err := w.next(k.end)
		if err != nil {
			k.end++
			return k
		}
		k.end = next
		switch op {
		case opGlobal, opInst:
			module, name := lines(arg)
			if !isName(module) || !isName(name) {
				return k
			}
			k.imports = true
		case opStackGlobal:
			k.imports = true
		case opProto:
			if arg[0] > maxProtocol {
				return k
			}
		case opStop:
			k.whole = true
			return k
		}
	}
}

// isName reports whether a text may be the name of something in Python, or a path of names.
func isName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r != '_' && r != '.' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// run carries out the pickle at pos of a window, and returns where the next may begin, 0
// when it broke off. An error is the reader's.
func (l *programs) run(w *window, pos int, place string, stray bool, depth int) (v Value, end int, m *machine, err error) {
	var inner [][]byte
	m = newMachine(w)
	m.brief, m.room.brief = true, true
	m.inner = func(data []byte) { inner = append(inner, data) }
	p := Program{Place: place, Offset: w.place(pos), RefusedAt: -1, Stray: stray, Inner: depth > 0}
	v, end, err = m.run(pos)
	if m.wrapped && !l.plain {
		inner, p.Joblib = nil, true
		v, end, m, err = l.runAsJoblib(m, w, pos, place, stray, depth, m.inner)
	}
	p.Globals = m.imported()
	if err != nil {
		if flt := (*Fault)(nil); !errors.As(err, &flt) {
			return nil, 0, m, err
		}
		p.Err, end = err, 0
	}
	if m.misread != nil {
		p.Err = m.misread
		if err != nil && !w.isPickle() { // text goes on like that, too
			p.Globals = slices.DeleteFunc(p.Globals, func(g *Global) bool { return !isName(g.Module) || !isName(g.Name) })
		}
	}
	if m.refused != 0 {
		p.Refused, p.RefusedAt = opcodeName(m.refused), m.refusedAt
	}
	// Any file begins with what may be opcodes. One that imports nothing before it breaks off is
	// not a pickle, or does no harm.
	if p.Err == nil || len(p.Globals) > 0 || pos > 0 || w.isPickle() {
		l.add(p)
	}
	for i, data := range inner {
		at := inside(place, fmt.Sprintf("string %d", i+1))
		err := error(newFault(CodeLimit, -1, "", "pickles in pickles are looked into %d deep", maxInner))
		if depth < maxInner {
			err = l.file(bytes.NewReader(data), int64(len(data)), at, false, depth+1)
		}
		if err != nil {
			l.add(Program{Place: at, Offset: -1, RefusedAt: -1, Err: err, Inner: true})
		}
		if depth == maxInner || l.full {
			break
		}
	}
	if p.Joblib && l.walked > maxWalked {
		l.giveUp(place, "arrays of joblib may be opcodes, too: more than %d bytes of them are not judged", maxWalked)
	}
	return v, end, m, nil
}

// add adds a pickle to the list. What comes after the last that fits is not looked at, and the
// list says so.
func (l *programs) add(p Program) {
	switch {
	case l.full:
	case len(l.list) < maxPrograms:
		l.list = append(l.list, p)
	default:
		l.giveUp(p.Place, "the file has more than %d pickles: those from here on are not judged", maxPrograms)
	}
}

// giveUp ends the list with a bound that the file passes.
func (l *programs) giveUp(place, format string, args ...any) {
	if !l.full {
		l.full = true
		l.list = append(l.list, Program{Place: place, Offset: -1, RefusedAt: -1, Err: newFault(CodeLimit, -1, "", format, args...), Stray: true})
	}
}

// inside returns the place of a part of what is at a place.
func inside(place, part string) string {
	if place == "" {
		return part
	}
	return place + ", " + part
}
