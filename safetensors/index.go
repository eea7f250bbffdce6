package safetensors

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
)

// The limits of huggingface.js (parse-safetensors-index.ts), except for the
// number of entries, which it cuts at 200,000.
const (
	maxIndexBytes  = 250_000_000
	maxIndexDepth  = 64
	maxIndexString = 100_000 // bytes of a name or a shard path
	maxShards      = 10_000
	maxMembers     = 1_000
	maxEntries     = 1 << 20 // the largest index known has 497,000
)

// An Index maps the tensors of a checkpoint to its shards:
//
//	{"metadata": {"total_size": 9}, "weight_map": {"w": "model-00001-of-00002.safetensors"}}
//
// Its methods may be called concurrently.
type Index struct {
	IndexSummary

	entries []*[entryChunk]indexEntry
	count   int
	names   nameStore
}

// An IndexSummary is what a shard index says beside its entries, and where it
// places which set of names. Its methods may be called concurrently.
type IndexSummary struct {
	spellings []spelling
	shards    []string
	members   []Member
	faults    []Fault

	totalSize, totalParameters *uint64

	repeats bool // by hashes: false is right
}

// usualEntry is less than the bytes that an entry of the weight map takes in
// the indexes in use: 95 for DeepSeek-V3.
const usualEntry = 64

// entryChunk entries are allocated at a time: growing one slice would copy it.
const entryChunk = 1 << 12

// An indexEntry is a tensor of the weight map in 20 bytes.
type indexEntry struct {
	key      uint32 // of the name's JSON string in the file
	keyLen   uint32 // with its quotes
	name     uint32 // in the nameStore
	value    uint32 // of the shard's JSON string in the file
	spelling uint32
}

// A spelling is one way in which a shard's path is written. Almost always each
// shard has one.
type spelling struct {
	raw   string // without its quotes
	shard int    // in Index.shards
	names nameSum
	// The first entry that has it.
	tensor string
	value  uint32 // as in indexEntry
}

// A Member is one member of an index's metadata.
type Member struct {
	Key   string
	Value string // JSON, as the file has it
}

// A nameStore holds strings in few pieces. Each is preceded by its length, in
// three bytes.
type nameStore struct{ pieces [][]byte }

const nameStoreShift = 17 // pieces of 128 KB, which hold any name with its length

func (n *nameStore) add(s []byte) (at uint32) {
	last := len(n.pieces) - 1
	if last < 0 || cap(n.pieces[last])-len(n.pieces[last]) < len(s)+3 {
		n.pieces = append(n.pieces, make([]byte, 0, 1<<nameStoreShift))
		last++
	}
	p := n.pieces[last]
	at = uint32(last<<nameStoreShift | len(p))
	p = append(p, byte(len(s)), byte(len(s)>>8), byte(len(s)>>16))
	n.pieces[last] = append(p, s...)
	return at
}

func (n *nameStore) at(at uint32) string {
	p := n.pieces[at>>nameStoreShift][at&(1<<nameStoreShift-1):]
	size := int(p[0]) | int(p[1])<<8 | int(p[2])<<16
	return sharedString(p[3 : 3+size])
}

// ReadIndex reads a shard index. It holds the names, not the text, so that an
// index of 60 MB costs less than its size. The error is a [*Fault] when the
// index cannot be understood, and otherwise the error of r.
func ReadIndex(r io.Reader) (*Index, error) { return readIndex(r, false) }

// SummarizeIndex reads a shard index as [ReadIndex] does, and keeps no entry of
// the weight map, which takes less memory and time. The faults say nothing of
// names that are mapped twice: [IndexSummary.Places] is false then.
func SummarizeIndex(r io.Reader) (*IndexSummary, error) {
	x, err := readIndex(r, true)
	if err != nil {
		return nil, err
	}
	return &x.IndexSummary, nil
}

func readIndex(r io.Reader, sumsOnly bool) (*Index, error) {
	p := &indexParser{
		scanner:  scanner{buf: make([]byte, indexWindow+padding), maxDepth: maxIndexDepth, codes: &indexCodes},
		r:        r,
		x:        new(Index),
		bySet:    make(map[string]uint32),
		sumsOnly: sumsOnly,
	}
	if sized, ok := r.(interface{ Size() int64 }); ok {
		p.items = make([]uint64, 0, min(max(sized.Size(), 0)/usualEntry, maxEntries))
	}
	if fault := p.index(); fault != nil {
		if p.err != nil {
			return nil, fmt.Errorf("read index: %w", p.err)
		}
		return nil, fault
	}
	p.judge()
	return p.x, nil
}

// Len returns the number of entries of the weight map.
func (x *Index) Len() int { return x.count }

// At returns an entry by its place in the weight map, from 0 to Len()-1.
func (x *Index) At(i int) (name, shard string) {
	e := x.entry(i)
	return x.names.at(e.name), x.shards[x.spellings[e.spelling].shard]
}

// All returns the names and shards of the weight map in file order.
func (x *Index) All() iter.Seq2[string, string] {
	return func(yield func(name, shard string) bool) {
		for i := range x.count {
			if !yield(x.At(i)) {
				return
			}
		}
	}
}

// KeySpan returns the place in the file of an entry's name: a JSON string,
// quotes included.
func (x *Index) KeySpan(i int) (start, end int64) {
	e := x.entry(i)
	return int64(e.key), int64(e.key) + int64(e.keyLen)
}

// ValueSpan returns the place in the file of an entry's shard path: a JSON
// string, quotes included.
func (x *Index) ValueSpan(i int) (start, end int64) {
	e := x.entry(i)
	return int64(e.value), int64(e.value) + int64(len(x.spellings[e.spelling].raw)) + 2
}

func (x *Index) entry(i int) *indexEntry {
	if uint(i) >= uint(x.count) {
		panic(fmt.Sprintf("safetensors: index entry %d of %d", i, x.count))
	}
	return &x.entries[i/entryChunk][i%entryChunk]
}

// Shards returns the shard paths of the weight map, each once, in the order of
// their first use. They are as the file has them: [CheckShardPath] says whether
// one may be opened. The slice must not be modified.
func (x *IndexSummary) Shards() []string { return x.shards }

// Metadata returns the members of the index's metadata in file order. The slice
// must not be modified.
func (x *IndexSummary) Metadata() []Member { return x.members }

// TotalSize returns the total_size of the metadata, whether it is written as an
// integer, a float or a string. Transformers and huggingface_hub mean the sum
// of the tensors' bytes, other writers the sum of the files' sizes.
func (x *IndexSummary) TotalSize() (n uint64, ok bool) { return optional(x.totalSize) }

// TotalParameters returns the total_parameters of the metadata, as TotalSize.
func (x *IndexSummary) TotalParameters() (n uint64, ok bool) { return optional(x.totalParameters) }

func optional(p *uint64) (uint64, bool) {
	if p == nil {
		return 0, false
	}
	return *p, true
}

// Faults returns what is wrong with the index itself or worth knowing, under
// the limit that [File.Validate] describes. The slice must not be modified.
func (x *IndexSummary) Faults() []Fault { return x.faults }

// judge completes the faults of the index.
func (p *indexParser) judge() {
	x := p.x
	l := faultList{}
	for _, f := range x.faults {
		l.add(f)
	}
	x.judgeShards(&l)
	same := func(i, j int) bool { return x.names.at(x.entry(i).name) == x.names.at(x.entry(j).name) }
	if p.sumsOnly {
		same = func(i, j int) bool { return true }
	}
	var repeated repeats
	duplicates(p.items, same, repeated.add)
	if x.repeats = repeated.count > 0; !p.sumsOnly {
		x.listRepeats(&l, &repeated)
	}
	x.faults = l.list()
}

// listRepeats adds the names that are mapped twice.
func (x *Index) listRepeats(l *faultList, repeated *repeats) {
	for _, pair := range repeated.list(l, CodeDuplicateName, Error) {
		first, _ := x.KeySpan(pair[0])
		again, _ := x.KeySpan(pair[1])
		name, _ := x.At(pair[1])
		l.add(Fault{
			Code: CodeDuplicateName, Severity: Error, Offset: again, Tensor: name,
			Detail: fmt.Sprintf("name is already mapped at byte %d; readers differ in which entry they take", first),
		})
	}
}

// judgeShards judges each shard path, and their numbering.
func (x *Index) judgeShards(l *faultList) {
	sets := make(map[string]int) // how many shards the first of a prefix says there are
	numbers := make(map[string]map[int]bool)
	type namedSet struct {
		prefix string
		of     int
	}
	named := make(map[namedSet]map[string]bool)
	for _, s := range x.spellings {
		shard := x.shards[s.shard]
		add := func(code Code, severity Severity, format string, args ...any) {
			l.add(Fault{
				Code: code, Severity: severity, Offset: int64(s.value), Tensor: s.tensor,
				Detail: fmt.Sprintf("shard path %s ", quote(shard)) + fmt.Sprintf(format, args...),
			})
		}
		if err := CheckShardPath(shard); err != nil {
			add(CodeUnsafePath, Error, "%v; it is not opened", err)
			continue
		}
		if path.Clean(shard) != shard {
			add(CodeOddPath, Warning, "is not in its shortest form")
		}
		prefix, no, of, ok := ParseShardName(shard)
		if !ok {
			if prefix, of, ok := ParseNamedShard(shard); ok {
				key := namedSet{prefix, of}
				if named[key] == nil {
					named[key] = make(map[string]bool)
				}
				named[key][shard] = true
			}
			continue
		}
		if no == 0 || no > of {
			add(CodeBadOrdinal, Warning, "has a number that is not within 1 to %d", of)
		}
		old, ok := sets[prefix]
		if ok && old != of {
			add(CodeMixedTotals, Error, "is one of %d, but others are of %d", of, old)
			continue
		}
		sets[prefix] = of
		if numbers[prefix] == nil {
			numbers[prefix] = make(map[int]bool)
		}
		numbers[prefix][no] = true
	}
	for _, prefix := range slices.Sorted(maps.Keys(sets)) {
		of, got := sets[prefix], numbers[prefix]
		missing := of
		for no := range got {
			if 1 <= no && no <= of {
				missing--
			}
		}
		if missing <= len(named[namedSet{prefix, of}]) {
			continue
		}
		first := 1
		for got[first] {
			first++
		}
		l.add(Fault{
			Code: CodeMissingOrdinal, Severity: Warning, Offset: -1,
			Detail: fmt.Sprintf("no tensor is in %d of the %s of %s, the first of them number %d", missing, plural.Of(of, "shard"), quote(prefix), first),
		})
	}
}

// CheckShardPath returns why a shard path must not be opened, or nil: it has to
// be a plain relative path, with slashes, that stays in the index's directory
// on any system. Links are not looked at.
func CheckShardPath(name string) error {
	switch {
	case name == "" || strings.HasSuffix(name, "/"):
		return errors.New("names no file")
	case strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return errors.New("has a control character")
	case strings.Contains(name, "://"):
		return errors.New("is a URL")
	case strings.HasPrefix(name, "/"):
		return errors.New("is absolute")
	case strings.Contains(name, `\`):
		return errors.New("has a backslash")
	case len(name) > 1 && name[1] == ':':
		return errors.New("has a drive letter")
	case slices.Contains(strings.Split(name, "/"), ".."):
		return errors.New(`has a ".." component`)
	}
	if last := path.Base(name); last == "." {
		return errors.New("names no file")
	}
	return nil
}

// ParseShardName takes the name of a shard apart, which may have directories
// before it: model-00001-of-00007.safetensors is number 1 of 7 with the prefix
// model. Five or six digits are taken and an underscore for the first dash, as
// huggingface.js does.
func ParseShardName(name string) (prefix string, no, of int, ok bool) {
	stem, ok := strings.CutSuffix(name, ".safetensors")
	if !ok {
		return "", 0, 0, false
	}
	at := strings.LastIndex(stem, "-of-")
	if at < 0 {
		return "", 0, 0, false
	}
	of, ok = shardNumber(stem[at+len("-of-"):])
	if !ok {
		return "", 0, 0, false
	}
	cut := strings.LastIndexAny(stem[:at], "-_")
	if cut <= 0 {
		return "", 0, 0, false
	}
	no, ok = shardNumber(stem[cut+1 : at])
	if !ok {
		return "", 0, 0, false
	}
	return stem[:cut], no, of, true
}

// ParseNamedShard takes a shard's name apart that has a word where its siblings
// have a number: model-mtp-of-00005.safetensors is one of 5 with the prefix model.
// Qwen 3.5 keeps its layers for multi-token prediction so.
func ParseNamedShard(name string) (prefix string, of int, ok bool) {
	stem, ok := strings.CutSuffix(name, ".safetensors")
	at := strings.LastIndex(stem, "-of-")
	if !ok || at < 0 {
		return "", 0, false
	}
	of, ok = shardNumber(stem[at+len("-of-"):])
	cut := strings.LastIndexAny(stem[:at], "-_")
	if !ok || cut <= 0 || cut+1 == at || strings.ContainsFunc(stem[cut+1:at], func(r rune) bool { return r >= '0' && r <= '9' }) {
		return "", 0, false
	}
	return stem[:cut], of, true
}

func shardNumber(s string) (n int, ok bool) {
	if len(s) != 5 && len(s) != 6 {
		return 0, false
	}
	for i := range len(s) {
		if !isDigit(s[i]) {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}
