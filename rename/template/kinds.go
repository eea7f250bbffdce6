package template

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A Kind is names of one list that differ in their indices alone, where the list as a
// whole says which numbers are indices.
type Kind struct {
	// Text is what the names have in common: before the first index, between two, and
	// after the last.
	Text []string
	// Members are the rows of the names in the order of their indices, and Index the
	// indices, those of one name after those of the other.
	Members []int
	Index   []int32
	// First is, for each index, the least number that counts there in any name of the
	// list: 1 where layers are numbered from 1.
	First []int32
	// Pad is, for each index, how many digits it has at least: 2 in block_07.
	Pad []int
}

// Holes is how many indices each name has.
func (k *Kind) Holes() int { return len(k.Text) - 1 }

// String writes the template with {} for each index.
func (k *Kind) String() string { return strings.Join(k.Text, "{}") }

// By takes a kind apart by the numbers of one index, which become text.
func (k *Kind) By(hole int) []Kind {
	var out []Kind
	at := make(map[int32]int)
	holes := k.Holes()
	for j, m := range k.Members {
		row := k.Index[j*holes : (j+1)*holes]
		i, ok := at[row[hole]]
		if !ok {
			i = len(out)
			at[row[hole]] = i
			joined := fmt.Sprintf("%s%0*d%s", k.Text[hole], k.Pad[hole], row[hole], k.Text[hole+1])
			out = append(out, Kind{
				Text:  slices.Concat(k.Text[:hole], []string{joined}, k.Text[hole+2:]),
				First: slices.Concat(k.First[:hole], k.First[hole+1:]), Pad: slices.Concat(k.Pad[:hole], k.Pad[hole+1:]),
			})
		}
		out[i].Members = append(out[i].Members, m)
		out[i].Index = append(append(out[i].Index, row[:hole]...), row[hole+1:]...)
	}
	return out
}

// Limits of a name that Kinds takes apart. The longest names of models have some 150
// bytes and 6 numbers; without a limit the text before all numbers of one hostile name
// would be quadratic in its length.
const (
	MaxKindName    = 1 << 10
	maxKindNumbers = 16
)

// A place is where numbers stand behind the same text, other numbers in it left out.
type place struct {
	before  string // a template of Runs
	values  values
	broken  bool // some number there is none, or has more or fewer leading zeros than the others
	pad     int  // how many digits those with leading zeros have
	least   int  // the fewest digits that one without has
	alone   bool // every number there fills a word
	counts  bool // they are indices
	segment bool // every number there fills a segment
	first   int32
}

// numbered is what one number at a place stands before.
type numbered struct {
	forms []int32  // the numbers of the forms, ascending
	room  [1]int32 // of forms while there is one
	apart bool     // it names a part of its own
}

// values are the numbers at a place. Most places of names that have nothing in common have a
// single one, which takes no map.
type values struct {
	n     int
	first int32
	one   numbered            // of first
	more  map[int32]*numbered // of all, where there are several
}

// at returns what a number stands before, nil when it is not there.
func (s *values) at(v int32) *numbered {
	switch {
	case s.n > 0 && v == s.first:
		return &s.one
	default:
		return s.more[v]
	}
}

// put is at, and puts the number there when it is not.
func (s *values) put(v int32) *numbered {
	o := s.at(v)
	switch {
	case o != nil:
		return o
	case s.n == 0:
		s.first, o = v, &s.one
	case s.more == nil:
		s.more = map[int32]*numbered{s.first: &s.one}
		fallthrough
	default:
		o = new(numbered)
		s.more[v] = o
	}
	s.n++
	return o
}

func (s *values) all() iter.Seq2[int32, *numbered] {
	if s.n == 1 {
		return func(yield func(int32, *numbered) bool) { yield(s.first, &s.one) }
	}
	return maps.All(s.more)
}

// A form is the names of one template of Runs.
type form struct {
	name   string // of its first row
	places []*place
	rows   []int
	index  []int32     // of all rows
	padded map[int]int // how many digits those of index have that have leading zeros
}

func (f *form) at(row, hole int) int32 { return f.index[row*len(f.places)+hole] }

// text is what is between the numbers of a form.
func (f *form) text() []string {
	if len(f.places) == 0 {
		return []string{f.name}
	}
	text, _ := Runs.Split(f.name)
	return text
}

// Kinds puts names together that differ in their indices alone, in the order of their
// first members. Which numbers are indices shows in the whole list:
//
//   - the numbers behind a word that counts, as in layers.11 or blk0;
//   - numbers from 0 on, without gaps, of which there are two that fill a word, or three;
//   - three that follow one another and fill a segment: a shard has layers 12 to 23. Numbers whose
//     names no other has may stand between and beside them: GPT-NeoX numbers all that it computes;
//   - three that follow one another anywhere, where modules are below each: unit_01.attn.q.
//
// They may have leading zeros, if all have as many digits: block_07, block_11.
//
// So the 1 of ln_1 and w1 tells it from ln_2 and w2. Up to four numbers whose names have
// little in common are positions, not indices: layer.0 is the attention of T5 and layer.1
// its MLP. The first or the last number is text where it stands before what no other has
// and lacks most of what they have: layers.0.wte and layers.33.linear of Phi-2 stand
// beside layers 1 to 32. A single number among several is text, too.
func Kinds(n int, name func(i int) string) []Kind { return findKinds(n, name, false) }

// Numbered is Kinds for one of two lists that are compared. Every number that fills a segment
// is an index, and a word before it says less, so that it is one in the other list, too,
// whatever that has of the numbers and calls them.
func Numbered(n int, name func(i int) string) []Kind { return findKinds(n, name, true) }

func findKinds(n int, name func(i int) string, twin bool) []Kind {
	forms := formsOf(n, name)
	places := placesOf(forms, false)
	for _, p := range places {
		p.judge(forms, twin)
		if twin && p.segment && !p.broken {
			p.number()
		}
	}
	var kinds []Kind
	var text []byte
	for _, f := range forms {
		byNumbers := make(map[string]int)
		start := len(kinds)
		for r, row := range f.rows {
			text = text[:0]
			var numbers []string
			for h, p := range f.places {
				switch v := f.at(r, h); {
				case p.index(v):
				case v >= 0 && p.pad == 0:
					text = append(text, byte(h), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
				default:
					if numbers == nil {
						_, numbers = Runs.Split(name(row))
					}
					text = append(append(append(text, byte(h)), numbers[h]...), '.')
				}
			}
			k, ok := byNumbers[string(text)]
			if !ok {
				k = len(kinds)
				byNumbers[string(text)] = k
				kinds = append(kinds, Kind{})
			}
			kinds[k].Members = append(kinds[k].Members, row)
			kinds[k].Index = append(kinds[k].Index, f.index[r*len(f.places):(r+1)*len(f.places)]...)
		}
		for k := start; k < len(kinds); k++ {
			kinds[k].finish(f, name, twin)
		}
	}
	slices.SortStableFunc(kinds, func(a, b Kind) int { return slices.Min(a.Members) - slices.Min(b.Members) })
	return kinds
}

// piece is how many of something are made at a time.
const piece = 512

// formsOf puts names together by their templates of Runs.
func formsOf(n int, name func(i int) string) []*form {
	var forms []*form
	var buf []byte
	var nums []int32
	byText := make(map[string]*form)
	// Of names that have nothing in common each is a form: what forms consist of is cut from
	// larger pieces.
	var (
		fresh  []form
		rows   = make([]int, n)
		places []*place
		index  []int32
	)
	for i := range n {
		s := name(i)
		buf, nums = buf[:0], nums[:0]
		if len(s) <= MaxKindName {
			buf, nums = Runs.Scan(buf, nums, s)
		}
		if len(nums) > maxKindNumbers || len(s) > MaxKindName {
			nums, buf = nums[:0], append(append(buf[:0], s...), 0) // as it is
		}
		f := byText[string(buf)]
		if f == nil {
			k := len(nums)
			if len(fresh) == 0 {
				fresh = make([]form, min(piece, n-i))
			}
			if len(places) < k {
				size := max(k, min(piece, k*(n-i)))
				places, index = make([]*place, size), make([]int32, size)
			}
			f, fresh = &fresh[0], fresh[1:]
			f.name, f.rows, f.places, f.index = s, rows[i:i:i+1], places[:k:k], index[:0:k]
			places, index = places[k:], index[k:]
			byText[string(buf)] = f
			forms = append(forms, f)
		}
		if slices.Contains(nums, -1) {
			h := -1
			for start, end := range Runs.Indices(s) {
				if h++; nums[h] >= 0 || end-start > maxDigits {
					continue
				}
				if f.padded == nil {
					f.padded = make(map[int]int)
				}
				bare := strings.TrimLeft(s[start:end], "0")
				nums[h], f.padded[len(f.index)+h] = value(cmp.Or(bare, "0")), end-start
			}
		}
		f.rows = append(f.rows, i)
		f.index = append(f.index, nums...)
	}
	return forms
}

// placesOf gives every form its places, and every place its numbers. With several only those
// are made that a form of several names has; other forms have nil in the place of theirs.
func placesOf(forms []*form, several bool) []*place {
	var list []*place
	byText := make(map[string]*place)
	put := func(text string) *place {
		p := &place{before: text, alone: true, segment: true}
		byText[text] = p
		list = append(list, p)
		return p
	}
	var text []byte
	for _, f := range forms {
		if text = text[:0]; several && len(f.rows) > 1 {
			for _, t := range f.text()[:len(f.places)] {
				if text = append(text, t...); byText[string(text)] == nil {
					put(string(text))
				}
				text = append(text, '0')
			}
		}
	}
	for n, f := range forms {
		if len(f.places) == 0 {
			continue
		}
		text = text[:0]
		h, copied := -1, 0
		for start, end := range Runs.Indices(f.name) {
			h++
			text = append(text, f.name[copied:start]...)
			copied = end
			p := byText[string(text)]
			text = append(text, '0')
			if p == nil && several {
				break // what begins with this text has none either
			}
			if p == nil {
				p = put(string(text[:len(text)-1]))
			}
			f.places[h] = p
			before, after := p.before, f.name[end:]
			if before != "" && before[len(before)-1] != '.' || after != "" && after[0] != '.' {
				p.segment = false
			}
			if before != "" && !Words.separates(before[len(before)-1]) || after != "" && !Words.separates(after[0]) {
				p.alone = false
			}
			for r := range f.rows {
				v := f.at(r, h)
				p.measure(v, f.padded[r*len(f.places)+h])
				o := p.values.put(v)
				if len(o.forms) == 0 {
					o.forms = o.room[:0]
				}
				if len(o.forms) == 0 || o.forms[len(o.forms)-1] != int32(n) {
					o.forms = append(o.forms, int32(n))
				}
			}
			p.broken = p.broken || p.least > 0 && p.least < p.pad
		}
	}
	return list
}

// measure takes note of a number, and of how many digits it has if it has leading zeros.
func (p *place) measure(v int32, padded int) {
	digits := len(strconv.Itoa(int(v)))
	switch {
	case v < 0 || p.pad > 0 && padded > 0 && p.pad != padded:
		p.broken = true
	case padded > 0:
		p.pad = padded
	case p.least == 0 || digits < p.least:
		p.least = digits
	}
}

// judge says which numbers of a place are indices.
func (p *place) judge(forms []*form, twin bool) {
	if p.broken {
		return
	}
	if p.values.n == 1 { // what follows comes to this, and most places of a list of odd names are such
		p.first = p.values.first
		p.counts = (p.alone || !twin) && Counts(p.before) != ""
		return
	}
	numbers := p.numbers()
	first, last := numbers[0], numbers[len(numbers)-1]
	closed := int(last-first) == len(numbers)-1
	common, owners := p.common()
	switch {
	case p.pad > 0 && Counts(p.before) == "" && len(common) < 3: // t007.weight
	case Counts(p.before) != "" && (p.alone || closed && !twin):
		p.counts = true
	case !closed:
		p.runAmong(numbers, common)
		return
	case first == 0:
		p.counts = len(numbers) > 2 || len(numbers) == 2 && p.alone
	default:
		p.counts = len(numbers) > 2 && (endsSegment(p.before) || !twin && p.hasModules(forms, common))
	}
	if !p.counts {
		p.first = first
		return
	}
	if len(numbers) <= 4 && (p.likeness(common) < 0.5 || p.positional()) {
		p.counts = false
		return
	}
	// apart takes numbers off one end: one that lacks most of what the others have, or some that have
	// nothing of it.
	apart := func(numbers iter.Seq2[int, int32]) {
		for _, v := range numbers {
			o := p.values.at(v)
			own, shared := false, 0
			for _, f := range o.forms {
				own = own || owners[f] == 1
				if common[f] {
					shared++
				}
			}
			o.apart = shared == 0 && len(common) > 0 || own && 2*shared < len(common)
			if shared > 0 || !o.apart {
				return
			}
		}
	}
	apart(slices.All(numbers))
	apart(slices.Backward(numbers))
	for _, v := range numbers {
		if !p.values.at(v).apart {
			p.first = v
			break
		}
	}
}

// endsSegment reports whether what follows a text begins a segment.
func endsSegment(text string) bool {
	return strings.HasSuffix(text, ".") || strings.HasSuffix(text, "/")
}

// hasModules reports whether what the numbers of a place have in common are modules, as below unit_1, and not
// the weight and the scales of one, as below w1: three of two words at least, that begin with two or more.
func (p *place) hasModules(forms []*form, common map[int32]bool) bool {
	between := "_-"
	var rests []string
	for f := range common {
		at := slices.Index(forms[f].places, p)
		if at < 0 {
			continue
		}
		rest := strings.Trim(strings.Join(forms[f].text()[at+1:], "0"), "._-/")
		if strings.ContainsAny(rest, "./") {
			between = "./"
		}
		rests = append(rests, rest)
	}
	begin, n := make(map[string]bool), 0
	for _, rest := range rests {
		if at := strings.IndexAny(rest, between); at > 0 {
			begin[rest[:at]], n = true, n+1
		}
	}
	return n > 2 && len(begin) > 1
}

// positional reports whether the number tells modules of one class apart within a layer, as Flax names
// them: LayerNorm_0 and LayerNorm_1 (flax/linen/module.py, _autoname).
func (p *place) positional() bool {
	outer := strings.LastIndexByte(p.before, '0')
	class, ok := strings.CutSuffix(p.before[outer+1:], "_")
	class = class[strings.LastIndexAny(class, "./")+1:]
	return ok && outer >= 0 && class != "" && class[0] >= 'A' && class[0] <= 'Z'
}

// runAmong takes numbers that follow one another for indices where they fill a segment, and the others
// have nothing in common with them.
func (p *place) runAmong(numbers []int32, common map[int32]bool) {
	var run []int32
	for _, v := range numbers {
		if slices.ContainsFunc(p.values.at(v).forms, func(f int32) bool { return common[f] }) {
			run = append(run, v)
		}
	}
	if len(run) < 3 || !endsSegment(p.before) || int(run[len(run)-1]-run[0]) != len(run)-1 {
		return
	}
	p.counts, p.first = true, run[0]
	for v, o := range p.values.all() {
		o.apart = v < run[0] || v > run[len(run)-1]
	}
}

// number takes every number of the place for an index.
func (p *place) number() {
	if !p.counts {
		p.counts, p.first = true, 0
	}
	for _, o := range p.values.all() {
		o.apart = false
	}
}

func (p *place) numbers() []int32 {
	list := make([]int32, 0, p.values.n)
	for v := range p.values.all() {
		list = append(list, v)
	}
	slices.Sort(list)
	return list
}

// common are the forms that more than half of the numbers have; owners counts the
// numbers of every form.
func (p *place) common() (common map[int32]bool, owners map[int32]int) {
	owners = make(map[int32]int)
	for _, o := range p.values.all() {
		for _, f := range o.forms {
			owners[f]++
		}
	}
	common = make(map[int32]bool)
	for f, n := range owners {
		if 2*n > p.values.n {
			common[f] = true
		}
	}
	return common, owners
}

// likeness is the mean share of the common forms in those of each number.
func (p *place) likeness(common map[int32]bool) float64 {
	sum := 0.0
	for _, o := range p.values.all() {
		shared := 0
		for _, f := range o.forms {
			if common[f] {
				shared++
			}
		}
		sum += float64(shared) / float64(len(o.forms)+len(common)-shared)
	}
	return sum / float64(p.values.n)
}

// index reports whether a number of the place is an index.
func (p *place) index(v int32) bool { return p.counts && !p.values.at(v).apart }

// finish writes the text of a kind, and puts its members in order. Its Index still has
// every number of the names.
func (k *Kind) finish(f *form, name func(i int) string, twin bool) {
	holes := len(f.places)
	row := func(i int) []int32 { return k.Index[i*holes : (i+1)*holes] }
	var index []int
	for h, p := range f.places {
		if !p.index(row(0)[h]) {
			continue
		}
		varies := twin
		for i := range k.Members {
			varies = varies || row(i)[h] != row(0)[h]
		}
		if varies || p.values.n == 1 {
			index = append(index, h)
			k.First, k.Pad = append(k.First, p.first), append(k.Pad, p.pad)
		}
	}
	_, numbers := Runs.Split(name(k.Members[0]))
	parts := f.text()
	text := parts[0]
	for h := range holes {
		if len(k.Text) < len(index) && index[len(k.Text)] == h {
			k.Text, text = append(k.Text, text), ""
		} else {
			text += numbers[h]
		}
		text += parts[h+1]
	}
	k.Text = append(k.Text, text)

	order := make([]int, len(k.Members))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return slices.Compare(row(a), row(b)) })
	members, all := make([]int, 0, len(order)), make([]int32, 0, len(order)*len(index))
	for _, i := range order {
		members = append(members, k.Members[i])
		for _, h := range index {
			all = append(all, row(i)[h])
		}
	}
	k.Members, k.Index = members, all
}

// A numberSet is some of the runs of digits of a name, a bit each: those that are part of a
// word and count all the same. With those of Counters they are its indices.
type numberSet uint16

// gluedIndices returns for each name which numbers that Counters takes for a part of their
// word are indices of the whole list, as Kinds finds them; nil where none is.
func gluedIndices(n int, name func(i int) string) []numberSet {
	var rows []int
	for i := range n {
		s := name(i)
		for start, end := range Runs.Indices(s) {
			if !Counters.takes(s, start, end) {
				rows = append(rows, i)
				break
			}
		}
	}
	if rows == nil {
		return nil
	}
	forms := formsOf(len(rows), func(i int) string { return name(rows[i]) })
	found := false
	for _, p := range placesOf(forms, true) {
		p.judge(forms, false)
		found = found || p.counts && p.pad == 0
	}
	if !found {
		return nil
	}
	out := make([]numberSet, n)
	for _, f := range forms {
		if len(f.rows) == 1 {
			continue // no other name is like it, whatever its numbers are
		}
		for r, row := range f.rows {
			s, h := name(rows[row]), 0
			for start, end := range Runs.Indices(s) {
				if h == len(f.places) {
					break // too many
				}
				if f.places[h].pad == 0 && f.places[h].index(f.at(r, h)) && !Counters.takes(s, start, end) {
					out[rows[row]] |= 1 << h
				}
				h++
			}
		}
	}
	return out
}

// indices yields the places of a name's indices.
func (s numberSet) indices(name string) iter.Seq2[int, int] {
	if s == 0 {
		return Counters.Indices(name)
	}
	return func(yield func(start, end int) bool) {
		n := 0
		for start, end := range Runs.Indices(name) {
			if (s&(1<<n) != 0 || Counters.takes(name, start, end)) && !yield(start, end) {
				return
			}
			n++
		}
	}
}

// scan is Scan of a grain.
func (s numberSet) scan(dst []byte, indices []int32, name string) ([]byte, []int32) {
	if s == 0 {
		return Counters.Scan(dst, indices, name)
	}
	copied := 0
	for start, end := range s.indices(name) {
		dst = append(append(dst, name[copied:start]...), '0')
		copied = end
		indices = append(indices, value(name[start:end]))
	}
	return append(dst, name[copied:]...), indices
}

// fill returns a name with another text for each of its indices.
func (s numberSet) fill(name string, texts []string) string {
	var b strings.Builder
	copied, i := 0, 0
	for start, end := range s.indices(name) {
		b.WriteString(name[copied:start])
		b.WriteString(texts[i])
		copied = end
		i++
	}
	return b.String() + name[copied:]
}
