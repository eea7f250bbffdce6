package gguf

import (
	"cmp"
	"hash/maphash"
	"math"
	"math/bits"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/internal/plural"
)

const (
	// maxFaults bounds the faults of one code that are listed one by one.
	maxFaults = 1000

	// maxPadding bounds the bytes of padding that are looked at in one file. Honest
	// padding is less than the alignment for each tensor.
	maxPadding = 16 << 20
)

// Validate returns every fault of the file: first those of the header as a whole, then of
// the metadata and of the tensors, in file order, and then of the data's layout. It reads
// padding, and no data.
//
// When a thousand faults have the same code, one more with that code counts the rest.
func (f *File) Validate() []Fault {
	v := &validator{File: f, counts: map[Code]int{}}
	v.validateHeader()
	v.validateKVs()
	v.validateTensors()
	v.validateLayout()
	for i := range v.faults {
		flt := &v.faults[i]
		if n := v.counts[flt.Code]; n > maxFaults {
			v.counts[flt.Code] = 0
			v.faults = append(v.faults, *newFault(flt.Code, -1, "", "%s of this kind", plural.Of(n-maxFaults, "more fault")))
		}
	}
	return v.faults
}

type validator struct {
	*File
	faults []Fault
	counts map[Code]int

	paddingLeft int
	buf         []byte
}

func (v *validator) report(code Code, offset int64, tensor, format string, args ...any) {
	if v.counts[code]++; v.counts[code] <= maxFaults {
		v.faults = append(v.faults, *newFault(code, offset, tensor, format, args...))
	}
}

func (v *validator) validateHeader() {
	if v.fugg {
		v.report(CodeNonstandardMagic, 0, "", "the magic is FUGG; big-endian files begin with GGUF too")
	}
	if v.Version == 1 {
		v.report(CodeOldVersion, 4, "", "the version is 1, which llama.cpp no longer reads")
	}
	if encodingOf(v.Version, v.ByteOrder).big {
		v.report(CodeBigEndian, 4, "", "the file is big-endian, which llama.cpp reads on big-endian machines alone")
	}
	if len(v.KVs) == 0 && len(v.Tensors) == 0 {
		v.report(CodeEmpty, 8, "", "the file has no metadata and no tensor")
	}
}

func (v *validator) validateKVs() {
	v.duplicates(len(v.KVs), func(i int) string { return v.KVs[i].Key }, func(i, first int) {
		kv := v.KVs[i]
		v.report(CodeDuplicateKey, kv.Offset, "", "key %s is repeated; the first is at byte %d", quote(kv.Key), v.KVs[first].Offset)
	})
	for _, kv := range v.KVs {
		v.validateKey(kv)
		v.validateValue(kv)
	}
	v.validateByteTokens()
	v.validateSplit()
}

func (v *validator) validateKey(kv KV) {
	switch {
	case kv.Key == "":
		v.report(CodeEmptyKey, kv.Offset, "", "a key is empty")
	case strings.IndexByte(kv.Key, 0) >= 0:
		v.report(CodeNULInKey, kv.Offset, "", "key %s: a NUL byte ends it for readers written in C", quote(kv.Key))
	case !utf8.ValidString(kv.Key):
		v.report(CodeInvalidUTF8, kv.Offset, "", "key %s is not valid UTF-8", quote(kv.Key))
	case !isKey(kv.Key):
		v.report(CodeKeyStyle, kv.Offset, "", "key %s: keys are words of a to z, 0 to 9 and _, with dots between them", quote(kv.Key))
	}
	if len(kv.Key) > math.MaxUint16 {
		v.report(CodeKeyTooLong, kv.Offset, "", "key %s is %d bytes long, and at most %d are allowed", quote(kv.Key), len(kv.Key), math.MaxUint16)
	}
}

// isKey reports whether s is made of lower-case words with dots between them. docs/gguf.md
// asks for snake case, but the keys of an architecture begin with its name, and
// many names have a hyphen (command-r.block_count).
func isKey(s string) bool {
	for word := range strings.SplitSeq(s, ".") {
		if !isWord(word) {
			return false
		}
	}
	return true
}

func isWord(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}

func (v *validator) validateValue(kv KV) {
	value, err := kv.Value.Load()
	if err != nil {
		v.report(CodeUnreadable, kv.Offset, "", "the value of key %s cannot be read: %v", quote(kv.Key), err)
		return
	}
	kv.Value = value
	switch kv.Key {
	case "general.alignment":
		v.validateAlignment(kv)
	case "general.architecture":
		if kv.Value.typ != TypeString {
			v.report(CodeArchType, kv.Offset, "", "key %q is of type %s, not string", kv.Key, kv.Value.typ)
		} else if !isWord(string(kv.Value.raw)) {
			v.report(CodeBadArch, kv.Offset, "", "key %q is %s: an architecture is a word of a to z, 0 to 9, _ and -", kv.Key, quote(kv.Value.raw))
		}
	case "general.file_type":
		if n, ok := kv.Value.Uint(); !ok {
			v.report(CodeUnknownFtype, kv.Offset, "", "key %q is of type %s, not u32", kv.Key, kv.Value.typ)
		} else if n > math.MaxUint32 || !FileType(n).Known() {
			v.report(CodeUnknownFtype, kv.Offset, "", "key %q is %d, which is no file type of llama.cpp", kv.Key, n)
		}
	}

	switch kv.Value.typ {
	case TypeString:
		if !utf8.Valid(kv.Value.raw) {
			v.report(CodeInvalidUTF8, kv.Offset, "", "the value of key %s is not valid UTF-8", quote(kv.Key))
		}
		if r, ok := controlChar(kv.Value.raw, "\t\n\r"); ok {
			v.report(CodeControlChars, kv.Offset, "", "the value of key %s has the control character %U", quote(kv.Key), r)
		}
	case TypeBool:
		v.validateBools(kv, kv.Value.raw)
	case TypeArray:
		a, _ := kv.Value.Array()
		if a.typ == TypeArray {
			v.report(CodeNestedArray, kv.Offset, "", "the value of key %s is an array of arrays, which llama.cpp does not read", quote(kv.Key))
		}
		v.validateArray(kv, a)
	}
}

// validateArray reports at most one fault of a kind for an array. Control characters
// are not looked for, as every vocabulary has tokens made of them.
func (v *validator) validateArray(kv KV, a Array) {
	switch a.typ {
	case TypeBool:
		v.validateBools(kv, a.raw)
	case TypeString:
		for i, s := range a.All() {
			if !utf8.Valid(s.raw) {
				v.report(CodeInvalidUTF8, kv.Offset, "", "key %s: element %d is not valid UTF-8", quote(kv.Key), i)
				return
			}
		}
	case TypeArray:
		for _, e := range a.All() {
			inner, _ := e.Array()
			before := len(v.faults)
			if v.validateArray(kv, inner); len(v.faults) > before {
				return
			}
		}
	}
}

func (v *validator) validateBools(kv KV, raw []byte) {
	if i := slices.IndexFunc(raw, func(b byte) bool { return b > 1 }); i >= 0 {
		v.report(CodeBadBool, kv.End-int64(len(raw)-i), "", "key %s: a bool is the byte %#02x, neither 0 nor 1", quote(kv.Key), raw[i])
	}
}

func (v *validator) validateAlignment(kv KV) {
	n, ok := kv.Value.Uint()
	if kv.Value.typ != TypeUint32 {
		v.report(CodeAlignmentType, kv.Offset, "", "key %q is of type %s, not u32", kv.Key, kv.Value.typ)
		if !ok {
			return
		}
	}
	switch {
	case n > math.MaxUint32 || bits.OnesCount64(n) != 1:
		v.report(CodeBadAlignment, kv.Offset, "", "key %q is %d, not a power of two", kv.Key, n)
	case n%8 != 0:
		v.report(CodeSmallAlignment, kv.Offset, "", "key %q is %d, not a multiple of 8", kv.Key, n)
	}
}

// tokenTypeByte marks a token that stands for one byte (llama.h, enum llama_token_type).
const tokenTypeByte = 6

// validateByteTokens looks for tokens that llama.cpp cannot take the byte from.
func (v *validator) validateByteTokens() {
	tokensValue, _ := v.Lookup("tokenizer.ggml.tokens")
	typesValue, _ := v.Lookup("tokenizer.ggml.token_type")
	tokens, ok := tokensValue.Array()
	types, ok2 := typesValue.Array()
	if !ok || !ok2 || tokens.typ != TypeString {
		return
	}
	for i, tok := range tokens.All() {
		t, ok := types.At(uint64(i))
		if !ok || types.typ.size() == 0 {
			return
		}
		if n, _ := t.Int(); n != tokenTypeByte || isByteToken(tok.raw) {
			continue
		}
		v.report(CodeBadByteToken, v.keyOffset("tokenizer.ggml.tokens"), "",
			"token %d is a byte token, but is %s, not of the form <0x00> to <0xFF>", i, quote(tok.raw))
	}
}

func isByteToken(b []byte) bool {
	hex := func(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' }
	return len(b) == len("<0xFF>") && string(b[:3]) == "<0x" && hex(b[3]) && hex(b[4]) && b[5] == '>'
}

func (v *validator) validateSplit() {
	s, ok, err := v.Split()
	if flt, isFault := err.(*Fault); isFault {
		v.report(flt.Code, flt.Offset, "", "%s", flt.Detail)
	}
	if ok && s.No == 0 && s.Tensors < 0 {
		v.report(CodeMissingSplit, v.keyOffset(keySplitCount), "",
			"there is no key %q, which the first of several parts must have", keySplitTensors)
	}
}

func (v *validator) validateTensors() {
	v.duplicates(len(v.Tensors), func(i int) string { return v.Tensors[i].Name }, func(i, first int) {
		t := &v.Tensors[i]
		v.report(CodeDuplicateTensor, t.InfoOffset, t.Name, "the name is repeated; the first is at byte %d", v.Tensors[first].InfoOffset)
	})
	for i := range v.Tensors {
		t := &v.Tensors[i]
		v.validateName(t)
		v.validateShape(t)
	}
}

func (v *validator) validateName(t *Tensor) {
	const maxName = 64 // GGML_MAX_NAME, which in C has to hold a NUL as well
	switch n := len(t.Name); {
	case n == 0:
		v.report(CodeEmptyName, t.InfoOffset, "", "a tensor's name is empty")
	case n == maxName:
		v.report(CodeLongName, t.InfoOffset, t.Name, "the name is 64 bytes long; llama.cpp reads up to 63")
	case n > maxName:
		v.report(CodeNameTooLong, t.InfoOffset, t.Name, "the name is %d bytes long, and at most 64 are allowed, of which llama.cpp reads 63", n)
	}
	if i := strings.IndexByte(t.Name, 0); i >= 0 {
		v.report(CodeNULInName, t.InfoOffset, t.Name, "a NUL byte ends the name for readers written in C, which see %s", quote(t.Name[:i]))
	}
	if !utf8.ValidString(t.Name) {
		v.report(CodeInvalidUTF8, t.InfoOffset, t.Name, "the name is not valid UTF-8")
	}
	if r, ok := controlChar(t.Name, "\x00"); ok {
		v.report(CodeControlChars, t.InfoOffset, t.Name, "the name has the control character %U", r)
	}
	if isPathLike(t.Name) {
		v.report(CodePathLikeName, t.InfoOffset, t.Name, "the name is a path out of a directory; do not use it as a file name")
	}
}

// isPathLike reports whether a file that is named s could be outside of its directory.
// A slash alone is not enough: converters from TensorFlow used model/h0/attn.
func isPathLike(s string) bool {
	isSlash := func(r rune) bool { return r == '/' || r == '\\' }
	if strings.Contains(s, "..") {
		for word := range strings.FieldsFuncSeq(s, isSlash) {
			if word == ".." {
				return true
			}
		}
	}
	return s != "" && isSlash(rune(s[0]))
}

// controlChar returns the first character of s that drives a terminal or changes the
// direction of text, other than those in allowed.
func controlChar[T string | []byte](s T, allowed string) (rune, bool) {
	for i := 0; i < len(s); {
		if ' ' <= s[i] && s[i] <= '~' {
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		if (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) && !strings.ContainsRune(allowed, r) {
			return r, true
		}
		i += n
	}
	return 0, false
}

func (v *validator) validateShape(t *Tensor) {
	switch n := len(t.Dims); {
	case n == 0:
		v.report(CodeNoDims, t.InfoOffset, t.Name, "it has no dimensions, and counts as one element")
	case n > maxDims:
		v.report(CodeManyDims, t.InfoOffset, t.Name, "it has %d dimensions, and ggml reads at most %d", n, maxDims)
	}

	n, ok := t.Elements()
	badDim := slices.IndexFunc(t.Dims, func(d uint64) bool { return d > math.MaxInt64 })
	switch {
	case badDim >= 0:
		v.report(CodeBadDim, t.InfoOffset, t.Name, "dimension %d is %d, which is negative as a signed number", badDim, t.Dims[badDim])
	case !ok:
		v.report(CodeDimsOverflow, t.InfoOffset, t.Name, "the dimensions %d make more than 2^63-1 elements", t.Dims)
	case n == 0:
		v.report(CodeZeroElements, t.InfoOffset, t.Name, "the dimensions %d make no elements", t.Dims)
	}

	elems, _, known := t.Type.Block()
	switch {
	case t.Type.removed():
		v.report(CodeRemovedType, t.InfoOffset, t.Name, "the type %s (%d) has been removed from ggml; quantise the model again", t.Type, uint32(t.Type))
	case !known:
		v.report(CodeUnknownType, t.InfoOffset, t.Name, "the type %d is unknown: it is newer than this program or of a fork of ggml, such as ik_llama.cpp", uint32(t.Type))
	case t.row()%uint64(elems) != 0:
		v.report(CodeRowNotMultiple, t.InfoOffset, t.Name, "a row has %s, not a multiple of the %d in a block of %s", plural.Of(t.row(), "element"), elems, t.Type)
	case ok && !t.BytesKnown:
		v.report(CodeDimsOverflow, t.InfoOffset, t.Name, "the dimensions %d make more than 2^63-1 bytes of %s", t.Dims, t.Type)
	}
}

// validateLayout checks where the data are. All offsets are relative to the data
// section, which is where a tensor's own offset counts from.
func (v *validator) validateLayout() {
	align := uint64(v.Alignment)
	room := uint64(max(v.Size-v.DataOffset, 0)) // the bytes of the data section that exist

	order := make([]int32, len(v.Tensors))
	sorted := true
	var last uint64
	for i := range v.Tensors {
		order[i] = int32(i)
		t := &v.Tensors[i]
		if t.Offset%align != 0 {
			v.report(CodeUnalignedOffset, t.InfoOffset, t.Name, "its data begin at offset %d, not a multiple of %d", t.Offset, align)
		}
		if t.Offset > room || t.BytesKnown && t.Bytes > room-t.Offset || v.DataOffset > v.Size {
			v.report(CodeDataTruncated, t.InfoOffset, t.Name, "its data (%v bytes at offset %d) are not within the data section, which ends at offset %d with the file", t.size(), t.Offset, room)
		}
		if t.Offset < last {
			v.report(CodeOutOfOrder, t.InfoOffset, t.Name, "its data are at offset %d, before those of the tensor that is listed before it; llama.cpp asks for the same order", t.Offset)
			sorted = false
		}
		last = t.Offset
	}
	if !sorted {
		slices.SortStableFunc(order, func(a, b int32) int {
			return cmp.Compare(v.Tensors[a].Offset, v.Tensors[b].Offset)
		})
	}

	v.paddingLeft = maxPadding
	v.validatePadding(v.InfoEnd, v.DataOffset, "")

	// end is where the data of the tensors so far end, as far as is known; known is
	// whether the size of the last of them is.
	var end uint64
	known := true
	lastTensor := 0
	for _, i := range order {
		t := &v.Tensors[i]
		switch next := pad(end, align); {
		case t.Offset < end:
			// Tensors without data have none that could overlap.
			if !t.BytesKnown || t.Bytes > 0 {
				v.report(CodeOverlap, t.InfoOffset, t.Name, "its data begin at offset %d, before those of tensor %s end, at %d", t.Offset, quote(v.Tensors[lastTensor].Name), end)
			}
		case !known:
		case t.Offset > next:
			v.report(CodeGap, t.InfoOffset, t.Name, "%s before its data, from offset %d on, %s to no tensor; llama.cpp allows none", plural.Of(t.Offset-next, "byte"), next, plural.Verb(t.Offset-next, "belong"))
		case t.Offset <= room:
			v.validatePadding(v.DataOffset+int64(end), v.DataOffset+int64(t.Offset), t.Name)
		}
		e, carry := bits.Add64(t.Offset, t.Bytes, 0)
		if carry != 0 {
			e = math.MaxUint64
		}
		if e > end {
			end, lastTensor = e, int(i)
		}
		known = t.BytesKnown
	}
	if !known || end > room {
		return
	}
	switch next := pad(end, align); {
	case next < room:
		v.validatePadding(v.DataOffset+int64(end), v.DataOffset+int64(next), "")
		v.report(CodeTrailingData, v.DataOffset+int64(next), "", "%s at the end of the file %s to no tensor", plural.Of(room-next, "byte"), plural.Verb(room-next, "belong"))
	default:
		v.validatePadding(v.DataOffset+int64(end), v.Size, "")
		if next > room {
			v.report(CodeUnpaddedEnd, v.Size, "", "the file ends with its last tensor, without the %s of padding that writers add", plural.Of(next-room, "byte"))
		}
	}
}

// pad returns the first multiple of align that is not less than n, the largest number
// when there is none.
func pad(n, align uint64) uint64 {
	rest := n % align
	if rest == 0 {
		return n
	}
	if n > math.MaxUint64-(align-rest) {
		return math.MaxUint64
	}
	return n + align - rest
}

// size returns the number of bytes, for a message.
func (t *Tensor) size() any {
	if t.BytesKnown {
		return t.Bytes
	}
	return "unknown"
}

// validatePadding reports the first byte that is not zero between two offsets of the file,
// as far as the file goes.
func (v *validator) validatePadding(from, to int64, before string) {
	to = min(to, v.Size)
	for from < to && v.paddingLeft > 0 {
		if v.buf == nil {
			v.buf = make([]byte, 4096)
		}
		buf := v.buf[:min(int64(len(v.buf)), to-from, int64(v.paddingLeft))]
		if err := readFull(v.r, buf, from); err != nil {
			v.report(CodeUnreadable, from, before, "the padding cannot be read: %v", err)
			return
		}
		if i := slices.IndexFunc(buf, func(b byte) bool { return b != 0 }); i >= 0 {
			v.report(CodeNonzeroPadding, from+int64(i), before, "the padding has the byte %#02x, where all must be 0", buf[i])
			return
		}
		from += int64(len(buf))
		v.paddingLeft -= len(buf)
	}
}

// duplicates calls report for each of n names that equals an earlier one up to the first
// NUL byte, where C programs stop reading, in order. The names are compared where their hashes
// are equal, so that the cost is that of sorting n numbers, whatever the names.
func (v *validator) duplicates(n int, name func(int) string, report func(i, first int)) {
	cString := func(i int) string {
		s, _, _ := strings.Cut(name(i), "\x00")
		return s
	}
	type entry struct {
		hash  uint64
		index int
	}
	seed := maphash.MakeSeed()
	entries := make([]entry, n)
	for i := range n {
		entries[i] = entry{maphash.String(seed, cString(i)), i}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.index, b.index))
	})
	// The repeated ones are moved to the front, each with the first of its name in
	// place of the hash.
	repeated := entries[:0]
	for i := 1; i < n; i++ {
		first := entries[i-1]
		for i < n && entries[i].hash == first.hash && cString(entries[i].index) == cString(first.index) {
			repeated = append(repeated, entry{uint64(first.index), entries[i].index})
			i++
		}
	}
	slices.SortFunc(repeated, func(a, b entry) int { return cmp.Compare(a.index, b.index) })
	for _, e := range repeated {
		report(e.index, int(e.hash))
	}
}
