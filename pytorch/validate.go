package pytorch

import (
	"hash/maphash"
	"slices"
	"strings"
	"unicode"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/ziparchive"
)

// Validate returns everything that is wrong with an open file or worth knowing: of its
// container, its pickle, its storages and its tensors, in that order. It reads headers and
// the pickle, and no storage.
//
// When a thousand faults have the same code, one more with that code counts the rest.
func (f *File) Validate() []Fault { return f.validate(true) }

// ValidateDirectory is Validate without the headers that the members of an archive have where their bytes
// are, and what lies between members.
func (f *File) ValidateDirectory() []Fault { return f.validate(false) }

func (f *File) validate(members bool) []Fault {
	l := &faultList{}
	switch f.container {
	case Zip:
		f.validateZip(l, members)
	case Legacy:
		f.validateStream(l)
		f.validateEnd(l)
	case Pickle:
		f.validateEnd(l)
	}
	return slices.Concat(l.list(), f.ValidatePickle())
}

// validateEnd reports an archive for readers that go by the end of a file. One in a string of the pickle
// is that of a storage.
func (f *File) validateEnd(l *faultList) {
	_, first, err := ziparchive.AtEnd(f.r, f.size)
	switch {
	case err != nil:
		l.report(CodeUnreadable, -1, "", "the end of the file: %v", err)
	case first >= f.pickles:
		l.report(CodeHiddenMember, first, "", "a zip archive is at the end of the file: torch goes by its first bytes, and other readers by its last")
	}
}

// ValidatePickle is Validate without the container, of which every storage has a header
// where its bytes are: it reads nothing that NewFile has not read.
func (f *File) ValidatePickle() []Fault {
	l := &faultList{}
	f.validateStorages(l)
	f.validateTensors(l)
	return slices.Concat(f.faults.faults, f.more(), l.list(), f.odd)
}

// more returns the faults that count those of the pickle that are not listed.
func (f *File) more() []Fault {
	copied := faultList{faults: f.faults.faults, counts: map[Code]int{}}
	for code, n := range f.faults.counts {
		copied.counts[code] = n
	}
	return copied.list()[len(f.faults.faults):]
}

func (f *File) validateStorages(l *faultList) {
	unused, bytes := 0, uint64(0)
	for s := range f.Storages() {
		if !s.used && s.at >= 0 {
			unused++
			bytes += s.size
		}
		if f.container == Zip && s.data == nil && s.Root == nil && isDirectory(s.Key) {
			l.report(CodeStorageName, s.at, "", "storage %s has the name of a directory, or one outside of that of the storages", quote(s.Key))
		}
		if !isKnown(s.DType) {
			continue // the tensors say so
		}
		if flt := f.fault(s); flt != nil {
			if f.container == Legacy || flt.Code != CodeCompressed && flt.Code != CodeDuplicateMember { // said of the member
				l.add(flt)
			}
		} else if size, _ := s.Bytes(); s.Root == nil && s.size > size {
			l.report(CodeStorageSize, s.at, "", "storage %s of %d bytes has %d in the file", quote(s.Key), size, s.size)
		}
	}
	if unused > 0 {
		l.report(CodeUnusedStorage, -1, "", "%s of %s %s to no tensor", plural.Of(unused, "storage"), plural.Of(bytes, "byte"), plural.Verb(unused, "belong"))
	}
}

// isDirectory reports whether the member of a storage is a directory for programs that unpack the archive, or
// elsewhere than the storages are.
func isDirectory(key string) bool {
	return key == "" || strings.HasSuffix(key, "/") || strings.HasPrefix(key, "/") || strings.Contains(key, "\\") || strings.Contains("/"+key+"/", "/../")
}

func isKnown(d DType) bool {
	_, ok := d.Bits()
	return ok || d == ""
}

func (f *File) validateTensors(l *faultList) {
	if f.Len() == 0 {
		l.report(CodeEmpty, -1, "", "there is no tensor")
	}
	seen := newNumberTable(f.Len())
	for i, t := range f.All() {
		hash := maphash.String(seen.seed, t.Name)
		again := seen.find(hash, func(i int) bool { return (*f.entries.at(i)).Name == t.Name }) >= 0
		switch {
		case t.Name == "" && f.Len() > 1:
			l.report(CodeEmptyName, -1, "", "a tensor has no name")
		case again:
			l.report(CodeDuplicateName, -1, t.Name, "two paths of keys have this name")
		case strings.ContainsFunc(t.Name, isControl):
			l.report(CodeControlChars, -1, t.Name, "the name has characters that drive terminals or reverse text")
		}
		if !again {
			seen.put(hash, i)
		}
		if t.Conj || t.Neg {
			l.report(CodeLazy, -1, t.Name, "its elements have to be conjugated or negated when they are read")
		}
		if t.Cast != "" {
			l.report(CodeLazy, -1, t.Name, "its elements are %s in the file, and have to be made %s when they are read", cut(string(t.DType)), cut(string(t.Cast)))
		}
		if flt := t.fault(); flt != nil {
			l.add(flt)
			continue
		}
		if t.Storage == nil {
			l.report(CodeNoData, -1, t.Name, "it has no storage, as a tensor of device meta")
			continue
		}
		if n, _ := t.Bytes(); n > 0 {
			if have, ok := t.Storage.Bytes(); ok && n > have {
				l.report(CodeExpanded, -1, t.Name, "its %d bytes are made of storage %s, which has %d", n, quote(t.Storage.Key), have)
			}
		}
	}
}

func isControl(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control)
}
