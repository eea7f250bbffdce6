package safetensors

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// seeds returns the texts of the cases that are small.
func seeds(cases []hostileCase) (list [][]byte) {
	for _, c := range cases {
		if strings.HasPrefix(c.id, "huge-") || c.id == "st-106" {
			continue
		}
		if b := c.build(); len(b) <= 4096 {
			list = append(list, b)
		}
	}
	return list
}

func hasErrors(faults []Fault) bool {
	return slices.ContainsFunc(faults, func(f Fault) bool { return f.Severity == Error })
}

// FuzzNewFile reads anything. A file without faults, written again, must read
// the same.
func FuzzNewFile(f *testing.F) {
	for _, b := range seeds(hostileFiles()) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := NewFile(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if _, ok := errors.AsType[*Fault](err); !ok {
				t.Fatalf("error is no fault: %v", err)
			}
			return
		}
		same, err := SpliceNames(file, func(i int) string { return file.At(i).Name })
		if err != nil || !bytes.Equal(same, file.Header()) {
			t.Fatalf("splicing the same names changes the header: %v", err)
		}
		for i, tensor := range file.All() {
			start, end := file.NameSpan(i)
			var name string
			if err := jsonv2.Unmarshal(file.Header()[start:end], &name); err != nil || name != tensor.Name {
				t.Fatalf("name %q is spelled %q: %v", tensor.Name, file.Header()[start:end], err)
			}
			if _, err := file.Data(i); err == nil && tensor.End > uint64(len(b)) {
				t.Fatalf("data of %v is past the end", tensor)
			}
		}
		var names nameSum
		for _, tensor := range file.All() {
			names.add(hashText(nameSeed, tensor.Name, 0))
		}
		if file.names != names {
			t.Fatalf("name sum %v of names that sum up to %v", file.names, names)
		}
		faults := file.Validate()
		for _, fault := range faults {
			if fault.Offset > file.Size() {
				t.Fatalf("fault past the end: %+v", fault)
			}
		}
		if hasErrors(faults) {
			return
		}
		meta := file.Metadata()
		if file.HasMetadata() && meta == nil {
			meta = []KV{}
		}
		header, err := EncodeHeader(tensors(file), meta, nil)
		if err != nil {
			t.Fatal(err)
		}
		again := open(t, append(header, b[file.DataOffset():]...))
		if diff := gocmp.Diff(tensors(file), tensors(again)); diff != "" {
			t.Fatalf("tensors (-first +again):\n%s", diff)
		}
		if diff := gocmp.Diff(file.Metadata(), again.Metadata()); diff != "" || file.HasMetadata() != again.HasMetadata() {
			t.Fatalf("metadata (-first +again):\n%s", diff)
		}
		if hasErrors(again.Validate()) {
			t.Fatalf("faults after writing: %v", again.Validate())
		}
	})
}

// FuzzReadIndex reads anything, whole and byte by byte.
func FuzzReadIndex(f *testing.F) {
	for _, b := range seeds(hostileIndexes()) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := ReadIndex(bytes.NewReader(b))
		y, err2 := ReadIndex(iotest.OneByteReader(bytes.NewReader(b)))
		if fmt.Sprint(err) != fmt.Sprint(err2) {
			t.Fatalf("%v, byte by byte %v", err, err2)
		}
		if err != nil {
			return
		}
		if diff := gocmp.Diff(x.Faults(), y.Faults()); diff != "" {
			t.Fatalf("faults (-whole +byte by byte):\n%s", diff)
		}
		unquote := func(start, end int64) (s string) {
			if err := jsonv2.Unmarshal(b[start:end], &s); err != nil {
				t.Fatalf("%q: %v", b[start:end], err)
			}
			return s
		}
		i := 0
		for name, shard := range x.All() {
			if got, gotShard := unquote(x.KeySpan(i)), unquote(x.ValueSpan(i)); got != name || gotShard != shard {
				t.Fatalf("entry %d is %q in %q, spelled %q and %q", i, name, shard, got, gotShard)
			}
			if otherName, otherShard := y.At(i); otherName != name || otherShard != shard {
				t.Fatalf("entry %d is %q in %q, byte by byte %q in %q", i, name, shard, otherName, otherShard)
			}
			i++
		}
		z, err := SummarizeIndex(iotest.OneByteReader(bytes.NewReader(b)))
		if err != nil || z.repeats != x.repeats || !slices.Equal(z.Shards(), x.Shards()) {
			t.Fatalf("repeats %v and %v, shards %q and %q, error %v", z.repeats, x.repeats, z.Shards(), x.Shards(), err)
		}
		entries := 0
		sumsOf := func(x *IndexSummary) []nameSum {
			sums := make([]nameSum, len(x.shards))
			for _, s := range x.spellings {
				sums[s.shard] = sums[s.shard].plus(s.names)
			}
			return sums
		}
		read, summed := sumsOf(&x.IndexSummary), sumsOf(z)
		for i, shard := range x.Shards() {
			sum := read[i]
			var names nameSum
			for name, s := range x.All() {
				if s == shard {
					names.add(hashText(nameSeed, name, 0))
				}
			}
			if sum != names || summed[i] != names {
				t.Fatalf("%q: sums %v and %v of names that sum up to %v", shard, sum, summed[i], names)
			}
			entries += sum.count
		}
		if entries != x.Len() {
			t.Fatalf("sums of %d names, %d entries", entries, x.Len())
		}
		once := slices.DeleteFunc(slices.Clone(x.Faults()), func(f Fault) bool { return f.Code == CodeDuplicateName })
		if diff := gocmp.Diff(once, z.Faults(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("faults (-read +summed):\n%s", diff)
		}
		// What is taken is JSON.
		if !jsontext.Value(b).IsValid(jsontext.AllowDuplicateNames(true)) {
			t.Fatal("read, but no JSON")
		}
	})
}

// FuzzRoundTrip writes names, metadata and shapes, reads them back, renames
// everything and renames it back.
func FuzzRoundTrip(f *testing.F) {
	f.Add("model.norm.weight\na\n\"\\\x01é", "format\npt", uint64(3), uint64(5), uint8(14))
	f.Add("\n ", "", uint64(0), uint64(1<<63), uint8(1))
	f.Fuzz(func(t *testing.T, names, metadata string, d0, d1 uint64, dtype uint8) {
		var list []Tensor
		for i, name := range strings.Split(names, "\n") {
			shape := []uint64{d0, d1, 1, 1, 1, 1, 1, 1, 1, 1}[:i%11]
			list = append(list, Tensor{Name: name, DType: dtypes[int(dtype)%len(dtypes)].name, Shape: shape, End: uint64(i)})
		}
		meta := []KV{}
		for i, text := range strings.Split(metadata, "\n") {
			meta = append(meta, KV{strconv.Itoa(i) + text, text})
		}
		list = Layout(list)
		b, err := EncodeHeader(list, meta, nil)
		if err != nil {
			return
		}
		file := open(t, b)
		if diff := gocmp.Diff(list, tensors(file)); diff != "" {
			t.Fatalf("tensors (-written +read):\n%s", diff)
		}
		if diff := gocmp.Diff(meta, file.Metadata()); diff != "" {
			t.Fatalf("metadata (-written +read):\n%s", diff)
		}
		renamed, err := SpliceNames(file, func(i int) string { return list[len(list)-1-i].Name + "\x00\"" })
		if err != nil {
			t.Fatal(err)
		}
		framed, err := FrameHeader(renamed, nil)
		if err != nil {
			t.Fatal(err)
		}
		file = open(t, framed)
		back, err := SpliceNames(file, func(i int) string { return list[i].Name })
		if err != nil || !bytes.Equal(bytes.TrimRight(back, " "), bytes.TrimRight(b[8:], " ")) {
			t.Fatalf("renamed and back: %q, %v, want %q", back, err, b[8:])
		}
	})
}

// FuzzDifferential holds the scanner against an independent reading by package
// jsontext: what is taken and what is refused, and every value.
func FuzzDifferential(f *testing.F) {
	for _, b := range seeds(hostileFiles()) {
		f.Add(b[min(len(b), lengthSize):])
	}
	f.Add(expertHeader(3))
	f.Fuzz(func(t *testing.T, header []byte) {
		want, wantMeta, wantErr := oracle(header)
		b := framed(header)
		file, err := NewFile(bytes.NewReader(b), int64(len(b)))
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: %v, oracle: %v", header, err, wantErr)
		}
		if err != nil {
			return
		}
		if diff := gocmp.Diff(want, tensors(file)); diff != "" {
			t.Fatalf("%q: tensors (-oracle +got):\n%s", header, diff)
		}
		if diff := gocmp.Diff(wantMeta, file.Metadata()); diff != "" {
			t.Fatalf("%q: metadata (-oracle +got):\n%s", header, diff)
		}
	})
}

var errOracle = errors.New("refused")

// oracle reads a header token by token, without regard to speed.
func oracle(header []byte) (list []Tensor, meta []KV, err error) {
	o := &oracleReader{jsontext.NewDecoder(bytes.NewReader(header), jsontext.AllowDuplicateNames(true))}
	defer func() {
		if r := recover(); r != nil {
			list, meta, err = nil, nil, r.(error)
		}
	}()
	seen := false
	o.object(func(name string) {
		if name != "__metadata__" {
			list = append(list, o.tensor(name))
			return
		}
		if seen {
			panic(errOracle)
		}
		seen = true
		if o.d.PeekKind() == 'n' {
			o.token('n')
			return
		}
		o.object(func(key string) { meta = append(meta, KV{key, o.token('"').String()}) })
	})
	if _, err := o.d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, nil, errOracle
	}
	return list, meta, nil
}

type oracleReader struct{ d *jsontext.Decoder }

// token reads a token of a kind, or of any but an end if kind is 0.
func (o *oracleReader) token(kind jsontext.Kind) jsontext.Token {
	token, err := o.d.ReadToken()
	if err != nil {
		panic(err)
	}
	if kind != 0 && token.Kind() != kind || o.d.StackDepth() > maxDepth {
		panic(errOracle)
	}
	return token
}

func (o *oracleReader) object(member func(name string)) {
	o.token('{')
	for o.d.PeekKind() != '}' {
		member(o.token('"').String())
	}
	o.token('}')
}

func (o *oracleReader) numbers() []uint64 {
	list := []uint64{}
	o.token('[')
	for o.d.PeekKind() != ']' {
		if o.d.PeekKind() != '0' {
			panic(errOracle)
		}
		text, err := o.d.ReadValue()
		if err != nil || !plainNumber.Match(text) {
			panic(errOracle)
		}
		n, err := strconv.ParseUint(string(text), 10, 64)
		if err != nil {
			panic(errOracle)
		}
		list = append(list, n)
	}
	o.token(']')
	if len(list) > maxRank {
		panic(errOracle)
	}
	return list
}

var plainNumber = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)

func (o *oracleReader) tensor(name string) Tensor {
	t := Tensor{Name: name}
	seen := make(map[string]bool)
	o.object(func(field string) {
		switch field {
		case "dtype":
			t.DType = DType(o.token('"').String())
		case "shape":
			t.Shape = o.numbers()
		case "data_offsets":
			offsets := o.numbers()
			if len(offsets) != 2 {
				panic(errOracle)
			}
			t.Begin, t.End = offsets[0], offsets[1]
		default:
			for depth := o.d.StackDepth(); ; {
				o.token(0)
				if o.d.StackDepth() == depth {
					return
				}
			}
		}
		if seen[field] {
			panic(errOracle)
		}
		seen[field] = true
	})
	if len(seen) != 3 {
		panic(errOracle)
	}
	return t
}
