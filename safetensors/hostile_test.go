package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/wtinspect/wtinspect/internal/testdata"
)

// A hostileCase is a file or index that is wrong in one way, or odd and right.
// The ids are those of hostile.tsv, an optional file of the test data that
// records what other readers make of each.
type hostileCase struct {
	id     string
	build  func() []byte
	reject Code   // what Open or Validate must report as an error; "" if nothing
	hint   string // and its hint
	also   []Code // warnings and notes that must be there, and no others
}

// file builds a file from its header and a number of data bytes.
func file(header string, data int) []byte {
	return append(framed([]byte(header)), make([]byte, data)...)
}

// lied builds a file whose header length is not that of its header.
func lied(length uint64, body string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, length), body...)
}

const plain = `{"dtype":"F32","shape":[1],"data_offsets":[0,4]}`

// tensor builds a tensor's object.
func tensor(dtype, shape string, begin, end uint64) string {
	return fmt.Sprintf(`{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, dtype, shape, begin, end)
}

// hostileFiles lists the cases of files.
func hostileFiles() []hostileCase {
	st := func(header string, data int) func() []byte {
		return func() []byte { return file(header, data) }
	}
	raw := func(b []byte) func() []byte { return func() []byte { return b } }
	w := func(value string, data int) func() []byte { return st(`{"w":`+value+`}`, data) }
	f32 := func(shape string) func() []byte { return w(tensor("F32", shape, 0, 4), 4) }
	valid := file(`{"w":`+plain+`}`, 4)

	return []hostileCase{
		{id: "st-000", build: raw(valid)},
		{id: "st-001", build: raw(nil), reject: CodeHeaderTooSmall},
		{id: "st-002", build: raw([]byte("\x10\x00\x00\x00\x00\x00\x00")), reject: CodeHeaderTooSmall},
		{id: "st-004", build: raw(lied(1<<63, "{}")), reject: CodeHeaderTooLarge},
		{id: "st-005", build: raw(lied(1<<64-1, "{}")), reject: CodeHeaderTooLarge},
		{id: "st-006", build: raw(lied(100_000_001, "{}")), reject: CodeHeaderTooLarge},
		{id: "st-007", build: raw(lied(100_000_000, "{}")), reject: CodeHeaderLength},
		{id: "st-008", build: raw(lied(0, "{}")), reject: CodeHeaderJSON},
		{id: "st-010", build: st("\xff", 0), reject: CodeHeaderUTF8},
		{id: "st-014", build: st("{}\x00\x00\x00\x00\x00\x00", 0), reject: CodeHeaderTrailing, hint: HintNULPadding},
		{id: "st-015", build: st("\xef\xbb\xbf{}", 0), reject: CodeHeaderJSON, hint: HintBOM},
		{id: "st-016", build: st("[]", 0), reject: CodeHeaderNotObject},
		{id: "st-017", build: st("null", 0), reject: CodeHeaderNotObject},
		{id: "st-018", build: st(`{"w":`+plain+`,}`, 4), reject: CodeHeaderJSON},
		{id: "st-019", build: st(`{/* c */"w":`+plain+`}`, 4), reject: CodeHeaderJSON},
		{id: "st-021", build: w(tensor("F32", "[1]", 8, 4), 8), reject: CodeOffset, hint: HintReversed},
		{id: "st-022", build: w(tensor("F32", "[1]", 4, 8), 8), reject: CodeOffset, hint: HintHole},
		{id: "st-023", build: st(`{"a":`+plain+`,"b":`+tensor("F32", "[1]", 8, 12)+`}`, 12), reject: CodeOffset, hint: HintHole},
		{id: "st-024", build: st(`{"a":`+plain+`,"b":`+tensor("F32", "[1]", 2, 6)+`}`, 6), reject: CodeOffset, hint: HintOverlap},
		{id: "st-026", build: raw(append(slices.Clone(valid), "PK\x03\x04polyglot"...)), reject: CodeIncomplete, hint: HintTrailing},
		{id: "st-027", build: raw(valid[:len(valid)-1]), reject: CodeIncomplete, hint: HintTruncated},
		{id: "st-028", build: w(plain, 0), reject: CodeIncomplete, hint: HintTruncated},
		{id: "st-030", build: f32("[2,18446744073709551614]"), reject: CodeOverflow},
		{id: "st-031", build: f32("[2,9223372036854775807]"), reject: CodeOverflow},
		{id: "st-032", build: f32("[18446744073709551616]"), reject: CodeHeaderJSON},
		{id: "st-033", build: f32("[-1]"), reject: CodeHeaderJSON},
		{id: "st-034", build: f32("[1.0]"), reject: CodeHeaderJSON},
		{id: "st-036", build: f32("[1e400]"), reject: CodeHeaderJSON},
		{id: "st-037", build: f32(`["1"]`), reject: CodeHeaderType},
		{id: "st-038", build: f32("null"), reject: CodeHeaderType},
		{id: "st-039", build: w(`{"dtype":"F32","shape":[1],"data_offsets":[0]}`, 4), reject: CodeHeaderType},
		{id: "st-040", build: w(`{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}`, 4), reject: CodeHeaderType},
		{id: "st-041", build: w(`{"dtype":"F32","shape":[1]}`, 4), reject: CodeMissingField},
		{id: "st-042", build: w(`{"shape":[1],"data_offsets":[0,4]}`, 4), reject: CodeMissingField},
		{id: "st-043", build: w(`{"dtype":"F32","shape":[1],"data_offsets":[0,4],"stride":[1]}`, 4), also: []Code{CodeUnknownField}},
		{id: "st-044", build: w(tensor("f32", "[1]", 0, 4), 4), reject: CodeUnknownDType, hint: "F32"},
		{id: "st-048", build: w(tensor("F6_E2M3", "[3]", 0, 3), 3), reject: CodeMisaligned},
		{id: "st-049", build: w(tensor("F6_E2M3", "[4]", 0, 3), 3)},
		{id: "st-050", build: st(`{"w":`+plain+`,"w":`+plain+`}`, 4), reject: CodeDuplicateName},
		{id: "st-051", build: st(`{"w":`+plain+`,"w":`+tensor("I32", "[1]", 0, 4)+`}`, 4), reject: CodeDuplicateName},
		{id: "st-052", build: st(`{"w":`+plain+`,"w":`+tensor("F32", "[1]", 4, 8)+`}`, 8), reject: CodeDuplicateName},
		{id: "st-055", build: st(`{"__metadata__":{"a":1},"w":`+plain+`}`, 4), reject: CodeMetadataValueString},
		{id: "st-057", build: st(`{"__metadata__":"x","w":`+plain+`}`, 4), reject: CodeMetadataNotObject},
		{id: "st-058", build: st(`{"__metadata__":{"a":"1","a":"2"},"w":`+plain+`}`, 4), reject: CodeDuplicateKey},
		{id: "st-059", build: w(`{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}`, 4), reject: CodeDuplicateField},
		{id: "st-060", build: st(`{"w\ud800":`+plain+`}`, 4), reject: CodeHeaderJSON},
		{id: "st-062", build: st("{\"w\x1b\":"+plain+`}`, 4), reject: CodeHeaderJSON},
		{id: "st-063", build: st(`{"":`+plain+`}`, 4), also: []Code{CodeEmptyName}},
		{id: "st-064", build: st(`{"../../etc/passwd":`+plain+`}`, 4), also: []Code{CodePathLikeName}},
		{id: "st-066", build: w(strings.Repeat(`{"a":`, 200)+`1`+strings.Repeat(`}`, 200), 0), reject: CodeDepth},
		{id: "st-067", build: f32("[]")},
		{id: "st-068", build: w(tensor("F32", "[2,0]", 0, 0), 0)},
		{id: "st-069", build: w(tensor("F32", "[0,9223372036854775808]", 0, 0), 0), also: []Code{CodeAbsurdDim}},
		{id: "st-071", build: st(`{"a":`+tensor("F32", "[0]", 0, 0)+`,"b":`+plain+`,"c":`+tensor("F32", "[0]", 4, 4)+`}`, 4)},
		{id: "st-074", build: st(`{"a":`+tensor("I8", "[1]", 0, 1)+`,"b":`+tensor("F32", "[1]", 1, 5)+`}`, 5), also: []Code{CodeUnalignedTensor}},
		{id: "st-075", build: w(tensor("F32", "[1]", 0, 1<<63), 4), reject: CodeTensorInfo},
		{id: "st-076", build: w(`["F32",[1],[0,4]]`, 4), reject: CodeHeaderType},
		{id: "st-077", build: f32("[01]"), reject: CodeHeaderJSON},
		{id: "st-078", build: f32("[-0]"), reject: CodeHeaderJSON},
		{id: "st-079", build: st(`{"\u0077":`+plain+`,"w":`+tensor("F32", "[1]", 4, 8)+`}`, 8), reject: CodeDuplicateName},
		{id: "st-080", build: w(`{"DTYPE":"F32","Shape":[1],"data_offsets":[0,4]}`, 4), reject: CodeMissingField},
		{id: "st-081", build: st(`{"w":`+plain+"}\n", 4), also: []Code{CodePadding}},
		{id: "st-082", build: raw([]byte("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5368709120\n")), reject: CodeHeaderTooLarge, hint: HintLFSPointer},
		{id: "st-084 stored", build: raw([]byte("PK\x03\x04data.pkl" + strings.Repeat("a", 60))), reject: CodeHeaderTooLarge, hint: HintZip},
		{id: "st-084", build: raw([]byte("PK\x03\x04" + strings.Repeat("\x00", 60))), reject: CodeHeaderLength, hint: HintZip},
		{id: "st-085", build: f32("[NaN]"), reject: CodeHeaderJSON},
		{id: "st-086", build: w(`"`+strings.Repeat("x", 5<<20)+`"`, 4), reject: CodeHeaderType},
		{id: "st-089", build: st(`{"w":`+plain+`,"W":`+tensor("F32", "[1]", 4, 8)+`}`, 8), also: []Code{CodeCaseCollision}},
		{id: "st-091", build: raw([]byte("\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        ....")), reject: CodeHeaderTooLarge, hint: HintAppleDouble},
		{id: "st-092", build: w(tensor("MX9", "[1]", 1<<40, 1<<40+4), 4), reject: CodeUnknownDType},
		{id: "st-099", build: w("null", 4), reject: CodeHeaderType},
		{id: "st-100", build: st(`{"__metadata__":{"\u001b]8;;http://x\u0007k":"\u001b[31mred"},"w":`+plain+`}`, 4), also: []Code{CodeControlChars}},
		{
			id: "st-101", also: []Code{CodeAmbiguousName},
			build: st(`{"w":`+plain+`,"w.weight":`+tensor("F32", "[1]", 4, 8)+`,"w.weight.":`+tensor("F32", "[1]", 8, 12)+`," w":`+tensor("F32", "[1]", 12, 16)+`}`, 16),
		},
		{id: "st-102", build: w(tensor("F8_E4M3FN", "[4]", 0, 4), 4), reject: CodeUnknownDType, hint: "F8_E4M3"},
		{id: "st-103", build: w(tensor("C64", "[1]", 0, 8), 8)},
		{id: "st-104", build: w(tensor("F4", "[]", 0, 1), 1), reject: CodeMisaligned},
		{id: "st-105", build: w(tensor("F32", "[1]", 1<<64-8, 1<<64-4), 4), reject: CodeOffset, hint: HintHole},
		{id: "st-106", build: func() []byte { return hugeHeader("[]") }, reject: CodeOffset, hint: HintOverlap},
		{
			id: "st-108", also: []Code{CodeUnalignedHeader},
			build: st(`{"b":{"data_offsets":[4,8],"dtype":"F32","shape":[1]},"a":{"data_offsets":[0,4],"dtype":"F32","shape":[1]},"c":{"data_offsets":[8,12],"dtype":"F32","shape":[1]}}`, 12),
		},

		// Further ways, named for what is wrong.
		{id: "html", build: raw([]byte("<!DOCTYPE html><html><head><title>404</title>")), reject: CodeHeaderTooLarge, hint: HintHTML},
		{id: "gguf", build: raw([]byte("GGUF\x03\x00\x00\x00\x00\x00\x00\x00")), reject: CodeHeaderTooLarge, hint: HintGGUF},
		{id: "pickle", build: raw([]byte("\x80\x02}q\x00(X\x01\x00\x00\x00")), reject: CodeHeaderTooLarge, hint: HintPickle},
		{id: "json", build: raw([]byte(`{"metadata": {"total_size": 1}}`)), reject: CodeHeaderTooLarge, hint: HintJSON},
		{id: "xml", build: raw([]byte("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>")), reject: CodeHeaderTooLarge, hint: HintXML},
		{id: "gzip", build: raw([]byte("\x1f\x8b\x08\x00" + strings.Repeat("\x00", 60))), reject: CodeHeaderLength, hint: HintGzip},
		{id: "zeros", build: raw(make([]byte, 4096)), reject: CodeHeaderJSON, hint: HintZeros},
		{id: "length-of-a-brace", build: raw(append(lied(123, `{"w":`), make([]byte, 8)...)), reject: CodeHeaderLength},
		{id: "leading-space", build: st(" \t\n{}  ", 0), also: []Code{CodeLeadingSpace}},
		{id: "aligned-and-padded", build: st("{}      ", 0)},
		{id: "metadata-null", build: st(`{"__metadata__":null,"w":`+plain+`}`, 4)},
		{id: "metadata-twice", build: st(`{"__metadata__":{},"__metadata__":{}}`, 0), reject: CodeDuplicateField},
		{id: "metadata-lines", build: st(`{"__metadata__":{"k":"a\n\tb"}}`, 0)},
		{id: "metadata-escaped-key", build: st(`{"__meta\u0064ata__":{"k":"v"}}`, 0)},
		{id: "metadata-too-many", build: st(`{"__metadata__":{`+strings.Repeat(`"":"",`, maxMetadata)+`"":""}}`, 0), reject: CodeLimit},
		{id: "ranks-too-many", build: f32("[1" + strings.Repeat(",1", maxRank) + "]"), reject: CodeLimit},
		{id: "ranks-1000", build: f32("[1" + strings.Repeat(",1", 999) + "]")},
		{id: "depth-127", build: w(`{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":`+strings.Repeat("[", 125)+strings.Repeat("]", 125)+`}`, 4), also: []Code{CodeUnknownField}},
		{id: "depth-128", build: w(`{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":`+strings.Repeat("[", 126)+strings.Repeat("]", 126)+`}`, 4), reject: CodeDepth},
		{id: "huge-shapes", build: func() []byte { return hugeHeader("[1" + strings.Repeat(",1", maxShortRank-1) + "]") }, reject: CodeOffset, hint: HintOverlap},
		{id: "huge-long-shapes", build: func() []byte { return hugeHeader("[1" + strings.Repeat(",1", maxShortRank) + "]") }, reject: CodeOffset, hint: HintOverlap},
		{id: "escaped-fields", build: w(`{"dt\u0079pe":"F\u00332","shape":[1],"data_offsets":[0,4]}`, 4)},
		{id: "empty-inside", build: st(`{"a":`+plain+`,"b":`+tensor("F32", "[0]", 2, 2)+`}`, 4), reject: CodeOffset, hint: HintOverlap},
		{id: "second-value", build: st(`{}{}`, 0), reject: CodeHeaderTrailing},
		{id: "nul-then-text", build: st("{}\x00x", 0), reject: CodeHeaderTrailing},
		{id: "overlong-utf8", build: st("{\"w\xc0\xaf\":"+plain+`}`, 4), reject: CodeHeaderUTF8},
		{id: "utf8-before-json", build: st("{\"w\":,\xff", 0), reject: CodeHeaderUTF8},
		{id: "bidi", build: st("{\"w\u202e\":"+plain+`}`, 4), also: []Code{CodeControlChars}},
		{id: "drive", build: st(`{"c:\\x":`+plain+`}`, 4), also: []Code{CodePathLikeName}},
		{id: "slash", build: st(`{"bert/encoder":`+plain+`}`, 4)},
		{id: "kelvin", build: st("{\"k\":"+plain+`,"`+"\u212a"+`":`+tensor("F32", "[1]", 4, 8)+`}`, 8), also: []Code{CodeCaseCollision}},
		{id: "unterminated-escape", build: st(`{"w\`, 0), reject: CodeHeaderJSON},
		{id: "no-colon", build: st(`{"w"}`, 0), reject: CodeHeaderJSON},
	}
}

// hugeHeader builds a file of the largest header allowed, which lists the same
// extent as often as there is room, with a shape.
func hugeHeader(shape string) []byte {
	b := make([]byte, 8, MaxHeader+9)
	b = append(b, '{')
	entry := `":{"dtype":"I8","shape":` + shape + `,"data_offsets":[0,1]},`
	for i := uint64(0); len(b) < MaxHeader-200; i++ {
		b = append(strconv.AppendUint(append(b, '"'), i, 36), entry...)
	}
	b = append(b, `"w":{"dtype":"I8","shape":[],"data_offsets":[0,1]}}`...)
	b = append(b, bytes.Repeat([]byte{' '}, MaxHeader+8-len(b))...)
	binary.LittleEndian.PutUint64(b, MaxHeader)
	return append(b, 0)
}

// hostileIndexes lists the cases of indexes. Those that concern the shards too
// are in package checkpoint.
func hostileIndexes() []hostileCase {
	raw := func(s string) func() []byte { return func() []byte { return []byte(s) } }
	index := func(entries string) func() []byte {
		return raw(`{"metadata":{"total_size":8},"weight_map":{` + entries + `}}`)
	}
	shard := func(value string) func() []byte { return index(`"w":` + value) }
	return []hostileCase{
		{id: "ix-001", build: shard(`"../../etc/passwd"`), reject: CodeUnsafePath},
		{id: "ix-002", build: shard(`"/etc/passwd"`), reject: CodeUnsafePath},
		{id: "ix-004", build: shard(`"https://evil/x.safetensors"`), reject: CodeUnsafePath},
		{id: "ix-010", build: raw(`{"metadata":{"total_size":8.0,"total_parameters":-1},"weight_map":{"w":"a.safetensors"}}`), also: []Code{CodeNumberForm}},
		{id: "ix-011", build: raw(`{"weight_map":{"w":"a.safetensors"}}`), also: []Code{CodeNoMetadata}},
		{id: "ix-012", build: raw(`{"metadata":{"total_size":8}}`), reject: CodeNoWeightMap},
		{id: "ix-013", build: shard(`1`), reject: CodeIndexType},
		{id: "ix-015", build: shard(`"model-00003-of-00002.safetensors"`), also: []Code{CodeBadOrdinal, CodeMissingOrdinal}},
		{id: "ix-017", build: shard(`""`), reject: CodeUnsafePath},
		{id: "ix-018", build: shard(`"a\u0000.safetensors"`), reject: CodeUnsafePath},
		{id: "ix-019", build: raw(`[]`), reject: CodeIndexNotObject},
		{id: "ix-020", build: index(`"a":"./model.safetensors","b":"sub/../model.safetensors"`), reject: CodeUnsafePath, also: []Code{CodeOddPath}},
		{id: "ix-022", build: manyShards, reject: CodeLimit},
		{id: "ix-024", build: index(`"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00003.safetensors"`), reject: CodeMixedTotals, also: []Code{CodeMissingOrdinal}},
		{id: "ix-026", build: raw(`{"x":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `,"weight_map":{}}`), reject: CodeDepth},

		{id: "depth-64", build: raw(`{"x":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `,"weight_map":{},"metadata":{}}`)},
		{id: "empty", build: raw(``), reject: CodeIndexJSON},
		{id: "bom", build: raw("\xef\xbb\xbf{}"), reject: CodeIndexJSON, hint: HintBOM},
		{id: "lfs", build: raw("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n"), reject: CodeIndexJSON, hint: HintLFSPointer},
		{id: "html", build: raw("\n<!DOCTYPE html>"), reject: CodeIndexJSON, hint: HintHTML},
		{id: "not-utf8", build: shard("\"\xff\""), reject: CodeIndexUTF8},
		{id: "trailing", build: raw(`{"weight_map":{}} x`), reject: CodeIndexTrailing},
		{id: "trailing-comma", build: index(`"a":"b",`), reject: CodeIndexJSON},
		{id: "weight-map-null", build: raw(`{"weight_map":null}`), reject: CodeIndexType},
		{id: "weight-map-twice", build: raw(`{"weight_map":{},"weight_map":{}}`), reject: CodeIndexDuplicate},
		{id: "metadata-array", build: raw(`{"metadata":[],"weight_map":{}}`), reject: CodeIndexType},
		{id: "metadata-null", build: raw(`{"metadata":null,"weight_map":{}}`), also: []Code{CodeNoMetadata}},
		{id: "name-twice", build: index(`"a":"x.safetensors","\u0061":"x.safetensors"`), reject: CodeDuplicateName},
		{id: "backslash", build: shard(`"a\\b"`), reject: CodeUnsafePath},
		{id: "drive", build: shard(`"c:x"`), reject: CodeUnsafePath},
		{id: "dot", build: shard(`"."`), reject: CodeUnsafePath},
		{id: "extras", build: raw(` {"dtype":"bf16","n":12,"weight_map":{},"metadata":{"total_size":"12","format":{"a":[1]}} } `), also: []Code{CodeNumberForm}},
		{id: "long-name", build: index(`"` + strings.Repeat("n", maxIndexString+1) + `":"a"`), reject: CodeLimit},
		{id: "too-many-entries", build: index(strings.Repeat(`"":"a",`, maxEntries) + `"":"a"`), reject: CodeLimit},
		{id: "space-between", build: index(`"a"` + strings.Repeat(" ", maxIndexWindow+1<<20) + `:"a"`), reject: CodeLimit},
		{id: "long-unknown", build: raw(`{"x":"` + strings.Repeat("y", 3<<20) + `","metadata":{},"weight_map":{}}`)},
	}
}

func manyShards() []byte {
	b := []byte(`{"weight_map":{"a":"a"`)
	for i := range maxShards + 1 {
		b = fmt.Appendf(b, `,"%d":"%d.safetensors"`, i, i)
	}
	return append(b, "}}"...)
}

func TestHostileFiles(t *testing.T) {
	for _, c := range hostileFiles() {
		t.Run(c.id, func(t *testing.T) {
			b := c.build()
			if testing.Short() && len(b) > 1<<24 {
				t.Skip("reads a header of 100 MB")
			}
			headerLen := 0
			if len(b) >= 8 {
				headerLen = int(min(binary.LittleEndian.Uint64(b), uint64(len(b)-8)))
			}
			checkHostile(t, c, 2*headerLen+64<<20, func() ([]Fault, error) {
				f, err := NewFile(bytes.NewReader(b), int64(len(b)))
				if err != nil {
					return nil, err
				}
				return f.Validate(), nil
			})
		})
	}
}

func TestHostileIndexes(t *testing.T) {
	for _, c := range hostileIndexes() {
		t.Run(c.id, func(t *testing.T) {
			b := c.build()
			checkHostile(t, c, 2*len(b)+64<<20, func() ([]Fault, error) {
				x, err := ReadIndex(bytes.NewReader(b))
				if err != nil {
					return nil, err
				}
				return x.Faults(), nil
			})
		})
	}
}

// checkHostile runs read and holds what it reports, and what it allocates,
// against a case.
func checkHostile(t *testing.T, c hostileCase, limit int, read func() ([]Fault, error)) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	faults, err := read()
	elapsed := time.Since(start)
	runtime.ReadMemStats(&after)
	// All that was ever allocated, which bounds what was held at any time.
	if n := after.TotalAlloc - before.TotalAlloc; n > uint64(limit) {
		t.Errorf("allocated %d bytes, limit %d", n, limit)
	}
	t.Logf("%.0f ms, %d KiB", elapsed.Seconds()*1000, (after.TotalAlloc-before.TotalAlloc)>>10)
	if err != nil {
		var f *Fault
		if !errors.As(err, &f) {
			t.Fatalf("error is no fault: %v", err)
		}
		if f.Severity != Error {
			t.Errorf("%v has severity %v", f, f.Severity)
		}
		faults = append(faults, *f)
	}
	rejected := c.reject == ""
	var also []Code
	for i, f := range faults {
		if i < 10 {
			t.Logf("%v: %s: %v", f.Severity, f.Code, f)
		}
		if len(f.Error()) > 1000 {
			t.Errorf("message of %d bytes", len(f.Error()))
		}
		if f.Severity != Error {
			// Most of these headers are not padded; only a case that says so is about it.
			if f.Code != CodeUnalignedHeader || slices.Contains(c.also, f.Code) {
				also = append(also, f.Code)
			}
			continue
		}
		if c.reject == "" {
			t.Errorf("rejected: %v", f)
		}
		if f.Code == c.reject && (c.hint == "" || f.Hint == c.hint) {
			rejected = true
		}
	}
	if !rejected {
		t.Errorf("no error %s with hint %q", c.reject, c.hint)
	}
	if c.reject != "" && c.also == nil {
		return
	}
	slices.Sort(also)
	want := slices.Sorted(slices.Values(c.also))
	if got := slices.Compact(also); !slices.Equal(got, want) {
		t.Errorf("warnings and notes %v, want %v", got, want)
	}
}

// TestHostileList holds the cases against the list they come from.
func TestHostileList(t *testing.T) {
	b, err := os.ReadFile(testdata.Path(t, "hostile.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	// These need shards beside the index, and are tested in package checkpoint.
	elsewhere := []string{"ix-006", "ix-007", "ix-008", "ix-016", "ix-021", "ix-023"}
	cases := make(map[string]hostileCase)
	for _, c := range append(hostileFiles(), hostileIndexes()...) {
		cases[c.id] = c
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Split(line, "\t")
		id, outcome := fields[0], fields[3]
		if !strings.HasPrefix(id, "st-") && !strings.HasPrefix(id, "ix-") || slices.Contains(elsewhere, id) {
			continue
		}
		c, ok := cases[id]
		if !ok {
			t.Errorf("%s has no case: %s", id, outcome)
			continue
		}
		rejects := strings.HasPrefix(outcome, "REJECT") || strings.HasPrefix(outcome, "validate FAIL")
		if rejects != (c.reject != "") && id != "ix-015" { // whose file is missing
			t.Errorf("%s: want %s, case has %q", id, outcome, c.reject)
		}
		if words := strings.Fields(outcome); rejects && len(words) > 1 && strings.Contains(words[1], "_") && !strings.Contains(outcome, string(c.reject)) && !strings.Contains(outcome, c.hint) {
			t.Errorf("%s: want %s, case has %q", id, outcome, c.reject)
		}
	}
}

// TestPrefixes reads a valid file and a valid index, cut at every byte.
func TestPrefixes(t *testing.T) {
	whole := file(`{"__metadata__":{"a":"b\n"},"w":`+plain+`, "x\u00e9" : {"shape":[2, 1],"data_offsets":[4,8],"dtype":"I16"}}  `, 8)
	for n := range whole {
		f, err := NewFile(bytes.NewReader(whole[:n]), int64(n))
		if err != nil {
			continue
		}
		if !slices.ContainsFunc(f.Validate(), func(f Fault) bool { return f.Severity == Error }) {
			t.Errorf("the first %d of %d bytes read as whole", n, len(whole))
		}
	}
	index := []byte(`{"metadata":{"total_size":8},"weight_map":{"a":"b","c\u0000":"d" , "f" : "b"} , "e" : 12 }`)
	for n := range index {
		if _, err := ReadIndex(bytes.NewReader(index[:n])); err == nil {
			t.Errorf("the first %d of %d bytes of the index read as whole", n, len(index))
		}
	}
	// A reader of single bytes moves the window at every place.
	want, err := ReadIndex(bytes.NewReader(index))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadIndex(iotest.OneByteReader(bytes.NewReader(index)))
	if err != nil {
		t.Fatal(err)
	}
	for i := range want.Len() {
		wantName, wantShard := want.At(i)
		if name, shard := got.At(i); name != wantName || shard != wantShard {
			t.Errorf("entry %d is %q in %q, byte by byte %q in %q", i, wantName, wantShard, name, shard)
		}
	}
}
