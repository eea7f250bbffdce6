package rewrite

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/wtinspect/wtinspect/safetensors"
)

// An indexChange is what becomes of the names in a shard index.
type indexChange struct {
	names          map[string]string   // old to new, those that change only
	dropped        map[string]bool     // or taken by operations
	made           map[string][]string // what stands in the place of the first that operations take
	lostBytes      uint64              // of the tensors that are dropped or taken by operations
	lostElements   uint64
	gainedBytes    uint64 // of those that operations make
	gainedElements uint64
	totalBytes     uint64 // of all tensors, before
	totalElements  uint64
	held           func(name string) bool // a shard holds the tensor
}

// An indexEdit is what comes of a change.
type indexEdit struct {
	text  []byte
	notes []string // what could not be followed
	stale []string // names of tensors that no shard holds; they stay
	taken []taken
}

// A taken name is one that the index has already, for a tensor that no shard
// holds: with the change it would have it twice.
type taken struct{ name, by string }

// editIndex edits the text of a shard index: the names in weight_map and, when
// tensors were dropped, the totals in metadata. The text must not be used when
// a name is taken.
func editIndex(text []byte, c indexChange) (*indexEdit, error) {
	x, err := safetensors.ReadIndex(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	out := new(indexEdit)
	by := make(map[string]string)
	for i := range x.Len() {
		name, _ := x.At(i)
		switch to, moves := c.names[name]; {
		case moves:
			by[to] = name
		case !c.held(name):
			out.stale = append(out.stale, name)
		}
		for _, to := range c.made[name] {
			by[to] = name
		}
	}
	for _, name := range out.stale {
		if from, ok := by[name]; ok {
			out.taken = append(out.taken, taken{name, from})
		}
	}
	root, _ := members(text, 0)
	var splices []splice
	if m, ok := lookup(text, root, "metadata"); ok && len(c.dropped) > 0 {
		fields, _ := members(text, m.start)
		for _, total := range []struct {
			name              string
			was, lost, gained uint64
		}{
			{"total_size", c.totalBytes, c.lostBytes, c.gainedBytes},
			{"total_parameters", c.totalElements, c.lostElements, c.gainedElements},
		} {
			f, ok := lookup(text, fields, total.name)
			if !ok {
				continue
			}
			// A total that was something else before (some writers add up the
			// sizes of the files) cannot be made right by a subtraction.
			to, ok := number(text[f.start:f.end], func(n uint64) (uint64, bool) { return n - total.lost + total.gained, n == total.was })
			if !ok {
				out.notes = append(out.notes, fmt.Sprintf("metadata.%s was not the sum of the tensors, so it was left as it is", total.name))
				continue
			}
			splices = append(splices, splice{f.start, f.end, to})
		}
	}
	if len(c.dropped) == 0 {
		for i := range x.Len() {
			name, _ := x.At(i)
			if to, ok := c.names[name]; ok {
				start, end := x.KeySpan(i)
				splices = append(splices, splice{int(start), int(end), quote(to)})
			}
		}
		out.text = apply(text, splices)
		return out, nil
	}
	m, _ := lookup(text, root, "weight_map")
	list, end := members(text, m.start)
	object := text[m.start:end]
	for i := range list {
		list[i].nameStart -= m.start
		list[i].nameEnd -= m.start
		list[i].start -= m.start
		list[i].end -= m.start
	}
	between := []byte(", ")
	if len(list) > 1 {
		between = object[list[0].end:list[1].nameStart]
	}
	edited := rewriteObject(object, list, len(object), func(e member) ([]byte, bool) {
		name := e.name(object)
		if made, ok := c.made[name]; ok {
			var entries [][]byte
			for _, to := range made {
				entries = append(entries, apply(object[e.nameStart:e.end], []splice{{0, e.nameEnd - e.nameStart, quote(to)}}))
			}
			return bytes.Join(entries, between), true
		}
		if c.dropped[name] {
			return nil, false
		}
		to, ok := c.names[name]
		if !ok {
			return nil, true
		}
		return apply(object[e.nameStart:e.end], []splice{{0, e.nameEnd - e.nameStart, quote(to)}}), true
	}, nil)
	splices = append(splices, splice{m.start, end, edited})
	slices.SortFunc(splices, func(a, b splice) int { return a.start - b.start })
	out.text = apply(text, splices)
	return out, nil
}
