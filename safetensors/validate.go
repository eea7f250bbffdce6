package safetensors

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"unicode"

	"github.com/wtinspect/wtinspect/internal/plural"
)

// maxDim is the largest dimension that the format's JSON schema allows
// (docs/safetensors.schema.json); the reader itself takes any.
const maxDim = 1<<48 - 1

// Validate returns everything that is wrong with an open file or worth knowing,
// in the order of the file. Of one code it lists the first 1,000 faults, and
// says in another, with [HintMore], how many more there are.
func (f *File) Validate() []Fault {
	var l faultList
	f.checkSpacing(&l)
	f.checkMetadata(&l)
	var long []uint64
	for i := range f.records {
		if f.records[i].rank == longRank && long == nil {
			long = make([]uint64, maxRank)
		}
		f.checkTensor(&l, i, long)
	}
	f.checkNames(&l)
	f.checkLayout(&l)
	return l.list()
}

// list returns what repeats, in the order of repetition, and notes in l the
// faults that were only counted.
func (r *repeats) list(l *faultList, code Code, severity Severity) [][2]int {
	slices.SortFunc(r.pairs, func(a, b [2]int) int { return cmp.Compare(a[1], b[1]) })
	l.skip(code, severity, r.count-len(r.pairs))
	return r.pairs
}

func (f *File) checkSpacing(l *faultList) {
	if f.objectStart > 0 {
		l.add(Fault{
			Code: CodeLeadingSpace, Severity: Warning, Offset: lengthSize,
			Detail: fmt.Sprintf("%s of white space before the header's object, which some readers refuse", plural.Of(f.objectStart, "byte")),
		})
	}
	tail := f.Header()[f.objectEnd:]
	if i := slices.IndexFunc(tail, func(c byte) bool { return c != ' ' }); i >= 0 {
		l.add(Fault{
			Code: CodePadding, Severity: Warning, Offset: lengthSize + int64(f.objectEnd+i),
			Detail: fmt.Sprintf("header is padded with %q; the format pads with spaces", tail[i]),
		})
	}
	if f.DataOffset()%8 != 0 {
		l.add(Fault{
			Code: CodeUnalignedHeader, Severity: Info, Offset: f.DataOffset(),
			Detail: "data does not begin at a multiple of 8",
		})
	}
}

func (f *File) checkMetadata(l *faultList) {
	for _, pair := range f.repeatedKeys.list(l, CodeDuplicateKey, Error) {
		l.add(Fault{
			Code: CodeDuplicateKey, Severity: Error, Offset: f.keyOffset(pair[1]),
			Detail: fmt.Sprintf("metadata key %s is given twice; readers differ in which value they take", quote(f.metadata[pair[1]].Key)),
		})
	}
	for i, kv := range f.metadata {
		// Values are often whole texts, whose lines are no fault.
		if !hasControl(kv.Key, "") && !hasControl(kv.Value, "\t\n\r") {
			continue
		}
		if l.full(CodeControlChars, Warning) {
			continue
		}
		l.add(Fault{
			Code: CodeControlChars, Severity: Warning, Offset: f.keyOffset(i),
			Detail: fmt.Sprintf("metadata entry %s holds control or bidirectional characters", quote(kv.Key)),
		})
	}
}

// keyOffset returns the file offset of a metadata key.
func (f *File) keyOffset(i int) int64 { return lengthSize + int64(f.metadataKeys[i]) }

// hasControl reports whether s has characters that act on a terminal or on the
// order of text: C0 and C1 controls, DEL, and the bidirectional controls.
func hasControl(s, except string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			return strings.ContainsFunc(s[i:], func(r rune) bool {
				return (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) && !strings.ContainsRune(except, r)
			})
		}
	}
	return false
}

// checkTensor judges a tensor by itself: its members, and its extent's length
// against its dtype and shape. long is room for a shape that is not kept.
func (f *File) checkTensor(l *faultList, i int, long []uint64) {
	rec := &f.records[i]
	if rec.flags&extraFields != 0 && !l.full(CodeUnknownField, Warning) {
		s, fields := f.fields(i)
		s.pos = fields.extra
		key, _, _ := s.str()
		l.add(Fault{
			Code: CodeUnknownField, Severity: Warning, Offset: lengthSize + int64(fields.extra), Tensor: f.name(i),
			Detail: fmt.Sprintf("member %s has no meaning", quote(s.value(key))),
		})
	}
	if rec.dtype == otherDType {
		l.addTensor(f, i, CodeUnknownDType, Error, func(t Tensor, at objectFields) (int, string, string) {
			detail := fmt.Sprintf("dtype %s is not known", quote(t.DType))
			likely, ok := likelyDType(t.DType)
			if ok {
				detail += fmt.Sprintf("; the format spells it %q", likely)
			}
			return at.dtypePos, detail, string(likely)
		})
		return
	}
	t := Tensor{Shape: f.shape(i, long)}
	n, ok := t.Elements()
	hi, size := bits.Mul64(n, uint64(dtypes[rec.dtype].bits))
	switch {
	case !ok || hi != 0:
		l.addTensor(f, i, CodeOverflow, Error, func(t Tensor, at objectFields) (int, string, string) {
			return at.shapePos, fmt.Sprintf("shape %s of %s passes 2^64 bits", shapeText(t.Shape), t.DType), ""
		})
		return
	case size%8 != 0:
		l.addTensor(f, i, CodeMisaligned, Error, func(t Tensor, at objectFields) (int, string, string) {
			return at.shapePos, fmt.Sprintf("shape %s of %s is %s, not a whole number of bytes", shapeText(t.Shape), t.DType, plural.Of(size, "bit")), ""
		})
	case rec.begin <= rec.end && rec.end-rec.begin != size/8:
		l.addTensor(f, i, CodeTensorInfo, Error, func(t Tensor, at objectFields) (int, string, string) {
			return at.offsetsPos, fmt.Sprintf("data_offsets [%d,%d] span %s, but shape %s of %s needs %d",
				t.Begin, t.End, plural.Of(t.End-t.Begin, "byte"), shapeText(t.Shape), t.DType, size/8), ""
		})
	}
	for _, dim := range t.Shape {
		if dim > maxDim {
			l.addTensor(f, i, CodeAbsurdDim, Warning, func(_ Tensor, at objectFields) (int, string, string) {
				return at.shapePos, fmt.Sprintf("dimension %d is over 2^48-1", dim), ""
			})
			break
		}
	}
	if bytes := uint64(dtypes[rec.dtype].bits / 8); bytes > 1 && rec.begin%bytes != 0 {
		l.addTensor(f, i, CodeUnalignedTensor, Warning, func(t Tensor, at objectFields) (int, string, string) {
			return at.offsetsPos, fmt.Sprintf("data begins at %d, not at a multiple of the %d bytes of %s", t.Begin, bytes, t.DType), ""
		})
	}
}

// addTensor adds a fault of tensor i, which describe finds a place and
// words only if it is going to be listed.
func (l *faultList) addTensor(f *File, i int, code Code, severity Severity, describe func(Tensor, objectFields) (pos int, detail, hint string)) {
	if l.full(code, severity) {
		return
	}
	t := f.At(i)
	_, fields := f.fields(i)
	pos, detail, hint := describe(t, fields)
	l.add(Fault{
		Code: code, Severity: severity, Offset: lengthSize + int64(pos),
		Tensor: t.Name, Detail: detail, Hint: hint,
	})
}

// shapeText returns a shape as it is written, cut when it is long.
func shapeText(shape []uint64) string {
	const most = 16
	if len(shape) <= most {
		return strings.ReplaceAll(fmt.Sprint(shape), " ", ",")
	}
	s := strings.ReplaceAll(fmt.Sprint(shape[:most]), " ", ",")
	return fmt.Sprintf("%s,… (%d dimensions)]", strings.TrimSuffix(s, "]"), len(shape))
}

// Classes of bytes that checkNames looks for in names.
const (
	upperCase = 1 << iota
	pathByte  // '/', '\\' or ':'
	deletion  // DEL, which JSON allows unescaped
)

// nameClass returns the classes of the bytes of a name.
func nameClass(name string) (class uint8) {
	if len(name) < 8 {
		return bytesClass(name)
	}
	for i := 0; i < len(name); i += 8 {
		i = min(i, len(name)-8) // the last eight bytes overlap those before
		w := word(name[i : i+8])
		// The high bits mark bytes of a class, and now and then one of none:
		// from ':' to '^' all but '\\' and the capitals are rare.
		middle := (w + (0x80-':')*ones) &^ (w + (0x80-'_')*ones)
		slash := w ^ '/'*ones
		if (middle|(slash-ones)&^slash|w|(w+ones))&highs != 0 {
			class |= bytesClass(name[i : i+8])
		}
	}
	return class
}

func bytesClass(s string) (class uint8) {
	for i := range len(s) {
		switch c := s[i]; {
		case 'A' <= c && c <= 'Z':
			class |= upperCase
		case c == '/' || c == '\\' || c == ':':
			class |= pathByte
		case c == 0x7f:
			class |= deletion
		}
	}
	return class
}

func (f *File) checkNames(l *faultList) {
	for _, pair := range f.repeatedNames.list(l, CodeDuplicateName, Error) {
		first, _ := f.NameSpan(pair[0])
		l.addName(f, pair[1], CodeDuplicateName, Error,
			fmt.Sprintf("name is already taken by the tensor at byte %d; readers differ in which one they take", lengthSize+first))
	}
	mixedCase := false
	for i := range f.records {
		name := f.name(i)
		class := nameClass(name)
		odd := f.records[i].flags&oddName != 0
		mixedCase = mixedCase || odd || class&upperCase != 0
		if name == "" {
			l.addName(f, i, CodeEmptyName, Warning, "name is empty")
			continue
		}
		if (odd || class&deletion != 0) && hasControl(name, "") {
			l.addName(f, i, CodeControlChars, Warning, "name holds control or bidirectional characters")
		}
		if class&pathByte != 0 && leavesDirectory(name) || name == ".." {
			l.addName(f, i, CodePathLikeName, Warning, "name leaves the directory if it is used as a path")
		} else if isEdge(name[0]) || isEdge(name[len(name)-1]) || odd && strings.TrimSpace(name) != name {
			l.addName(f, i, CodeAmbiguousName, Warning, "name begins or ends with white space or a dot")
		}
	}
	if mixedCase {
		f.checkCase(l)
	}
}

func isEdge(c byte) bool { return c == ' ' || c == '.' }

func (l *faultList) addName(f *File, i int, code Code, severity Severity, detail string) {
	start, _ := f.NameSpan(i)
	l.add(Fault{Code: code, Severity: severity, Offset: lengthSize + int64(start), Tensor: f.name(i), Detail: detail})
}

// leavesDirectory reports whether a slash-separated name is rooted or has a
// ".." component, on any system.
func leavesDirectory(name string) bool {
	if strings.IndexAny(name, `/\`) == 0 || len(name) > 1 && name[1] == ':' {
		return true
	}
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part == ".." {
			return true
		}
	}
	return false
}

// checkCase looks for names that differ only in case: on many file systems, and
// in readers that fold case, one would hide the other.
func (f *File) checkCase(l *faultList) {
	const caseBits = 0x20 * ones // in which the cases of an ASCII letter differ
	items := make([]uint64, len(f.records))
	for i := range items {
		name := f.name(i)
		if f.records[i].flags&oddName != 0 {
			name = foldCase(name)
		}
		items[i] = item(hashText(nameSeed, name, caseBits), i)
	}
	var found repeats
	duplicates(items, func(i, j int) bool { return strings.EqualFold(f.name(i), f.name(j)) }, func(first, again int) {
		if f.name(first) != f.name(again) {
			found.add(first, again)
		}
	})
	for _, pair := range found.list(l, CodeCaseCollision, Warning) {
		l.addName(f, pair[1], CodeCaseCollision, Warning, "name differs only in case from "+quote(f.name(pair[0])))
	}
}

// foldCase returns name with every rune replaced by the smallest of those that
// [strings.EqualFold] takes for the same.
func foldCase(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, name)
}

// checkLayout judges the extents together: the reference wants them, sorted, to
// cover the data exactly.
func (f *File) checkLayout(l *faultList) {
	order := f.extentOrder()
	at := func(k int) int {
		if order == nil {
			return k
		}
		return int(order[k].tensor)
	}
	cursor := uint64(0) // the end of the data covered so far
	last := -1          // the tensor that ends there
	beyond := -1        // the first tensor whose data is not all there
	for k := range f.records {
		i := at(k)
		rec := &f.records[i]
		switch {
		case rec.end < rec.begin:
			l.addTensor(f, i, CodeOffset, Error, func(t Tensor, at objectFields) (int, string, string) {
				return at.offsetsPos, fmt.Sprintf("data_offsets [%d,%d] end before they begin", t.Begin, t.End), HintReversed
			})
			continue
		case rec.begin > cursor:
			l.addTensor(f, i, CodeOffset, Error, func(t Tensor, at objectFields) (int, string, string) {
				return at.offsetsPos, fmt.Sprintf("data_offsets [%d,%d] leave a hole of %s from %d that belongs to no tensor",
					t.Begin, t.End, plural.Of(t.Begin-cursor, "byte"), cursor), HintHole
			})
		case rec.begin < cursor:
			l.addTensor(f, i, CodeOffset, Error, func(t Tensor, at objectFields) (int, string, string) {
				return at.offsetsPos, fmt.Sprintf("data_offsets [%d,%d] overlap those of %s, [%d,%d]",
					t.Begin, t.End, quote(f.name(last)), f.records[last].begin, f.records[last].end), HintOverlap
			})
		}
		if rec.end > f.dataSize() && beyond < 0 {
			beyond = i
		}
		if rec.end >= cursor {
			cursor, last = rec.end, i
		}
	}
	switch size := f.dataSize(); {
	case cursor > size:
		l.add(Fault{
			Code: CodeIncomplete, Severity: Error, Offset: f.size, Tensor: f.name(beyond), Hint: HintTruncated,
			Detail: fmt.Sprintf("file ends %s short, and this is the first tensor it cuts; download or copy the file again", plural.Of(cursor-size, "byte")),
		})
	case cursor < size:
		l.add(Fault{
			Code: CodeIncomplete, Severity: Error, Offset: f.DataOffset() + int64(cursor), Hint: HintTrailing,
			Detail: fmt.Sprintf("%s after the last tensor %s to none", plural.Of(size-cursor, "byte"), plural.Verb(size-cursor, "belong")),
		})
	}
}

// An extentStart is what extents are sorted by: with an index alone, every
// comparison would miss the cache twice.
type extentStart struct {
	begin  uint64
	tensor uint32
}

// extentOrder returns the tensors sorted by extent, or nil if the header has
// them so.
func (f *File) extentOrder() []extentStart {
	compareEnds := func(a, b uint32) int {
		return cmp.Or(cmp.Compare(f.records[a].end, f.records[b].end), cmp.Compare(a, b))
	}
	sorted := true
	for i := 1; i < len(f.records) && sorted; i++ {
		a, b := &f.records[i-1], &f.records[i]
		sorted = a.begin < b.begin || a.begin == b.begin && a.end <= b.end
	}
	if sorted {
		return nil
	}
	starts := make([]extentStart, len(f.records))
	for i := range starts {
		starts[i] = extentStart{f.records[i].begin, uint32(i)}
	}
	slices.SortFunc(starts, func(a, b extentStart) int {
		if a.begin != b.begin {
			return cmp.Compare(a.begin, b.begin)
		}
		return compareEnds(a.tensor, b.tensor)
	})
	return starts
}
