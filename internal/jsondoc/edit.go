package jsondoc

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// An Edit is one change to a document, made by the Edit functions of this
// package and carried out by [Doc.Apply].
type Edit struct {
	op   op
	node Node
	key  string
	raw  []byte
}

type op uint8

const (
	replace op = iota
	renameKey
	remove
	insert
)

// Replace puts the JSON text raw in the place of a value.
func Replace(n Node, raw []byte) Edit { return Edit{op: replace, node: n, raw: raw} }

// ReplaceText puts the string s in the place of a value.
func ReplaceText(n Node, s string) Edit { return Replace(n, quote(s)) }

// RenameKey gives a member of an object another name.
func RenameKey(n Node, key string) Edit { return Edit{op: renameKey, node: n, key: key} }

// Remove takes a member or an element out, with its separator.
func Remove(n Node) Edit { return Edit{op: remove, node: n} }

// Insert adds a last member to an object, spaced like the one before it. Key
// is ignored for an array, which gets a last element.
func Insert(parent Node, key string, raw []byte) Edit {
	return Edit{op: insert, node: parent, key: key, raw: raw}
}

func quote(s string) []byte {
	// The error says that invalid UTF-8 was replaced; Apply refuses such text.
	b, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		return []byte(`"` + s + `"`)
	}
	return b
}

// splice replaces data[start:end] by text.
type splice struct {
	start, end int
	text       []byte
}

// Apply returns the document's text with the edits made, all at once: each is
// in terms of the document as it was parsed. It refuses edits that overlap,
// and those whose result Parse would refuse, such as a second member of the
// same name. Without edits it returns the same bytes.
func (d *Doc) Apply(edits ...Edit) ([]byte, error) {
	removed := make(map[int32]bool)
	for _, e := range edits {
		if e.node.doc != d {
			return nil, errors.New("edit of another document")
		}
		if e.op == remove {
			if e.node.i == 0 {
				return nil, d.errorf(0, "the whole document cannot be removed")
			}
			removed[e.node.i] = true
		}
	}
	var splices []splice
	added := make(map[int32]int)
	done := make(map[int32]bool)
	for _, e := range edits {
		s := e.node.node()
		switch e.op {
		case replace:
			splices = append(splices, splice{int(s.start), int(s.end), e.raw})
		case renameKey:
			if s.keyStart < 0 {
				return nil, d.errorf(int(s.start), "not a member of an object, so it has no name to change")
			}
			splices = append(splices, splice{int(s.keyStart), int(s.keyEnd), quote(e.key)})
		case remove:
			if !done[s.parent] {
				done[s.parent] = true
				splices = append(splices, d.removals(Node{d, s.parent}, removed)...)
			}
		case insert:
			if s.kind < Array {
				return nil, d.errorf(int(s.start), "%v, where an object or array is needed to insert into", s.kind)
			}
			splices = append(splices, d.insertion(e, removed, added[e.node.i] == 0))
			added[e.node.i]++
		}
	}
	out, err := d.splice(splices)
	if err != nil {
		return nil, err
	}
	if len(splices) > 0 {
		if _, err := Parse(d.file, out); err != nil {
			return nil, fmt.Errorf("after the edit: %w", err)
		}
	}
	return out, nil
}

func (d *Doc) splice(splices []splice) ([]byte, error) {
	slices.SortStableFunc(splices, func(a, b splice) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return a.end - b.end
	})
	out := make([]byte, 0, len(d.data))
	at := 0
	for _, s := range splices {
		if s.start < at {
			return nil, d.errorf(s.start, "two edits of the same text")
		}
		out = append(append(out, d.data[at:s.start]...), s.text...)
		at = s.end
	}
	return append(out, d.data[at:]...), nil
}

// outer returns where a child begins, with the name it has in an object.
func (n Node) outer() int {
	if s := n.node(); s.keyStart >= 0 {
		return int(s.keyStart)
	}
	return int(n.node().start)
}

func (n Node) end() int { return int(n.node().end) }

// removals returns one splice for each run of removed children. A run goes
// with the separator after it, so that the text before the next child stays;
// the last run goes with the separator before it.
func (d *Doc) removals(parent Node, removed map[int32]bool) []splice {
	var kids []Node
	for _, c := range parent.Children() {
		kids = append(kids, c)
	}
	var out []splice
	for i := 0; i < len(kids); i++ {
		if !removed[kids[i].i] {
			continue
		}
		first := i
		for i+1 < len(kids) && removed[kids[i+1].i] {
			i++
		}
		switch {
		case i+1 < len(kids):
			out = append(out, splice{kids[first].outer(), kids[i+1].outer(), nil})
		case first > 0:
			out = append(out, splice{kids[first-1].end(), kids[i].end(), nil})
		default:
			out = append(out, splice{kids[first].outer(), kids[i].end(), nil})
		}
	}
	return out
}

// insertion returns the splice that adds a child at the end of e.node. The
// space round it is that of the last two children, or of the only one.
func (d *Doc) insertion(e Edit, removed map[int32]bool, first bool) splice {
	var last, prev Node
	left := false
	for _, c := range e.node.Children() {
		last, prev = c, last
		left = left || !removed[c.i]
	}
	var text []byte
	at := int(e.node.node().start) + 1
	colon := []byte(": ")
	if last.doc != nil {
		at = last.end()
		space := d.data[e.node.node().start+1 : last.outer()]
		if prev.doc != nil {
			between := d.data[prev.end():last.outer()]
			space = between[bytes.IndexByte(between, ',')+1:]
		}
		if left || !first {
			text = append(append(text, ','), space...)
		}
		if ks, ke, ok := last.KeySpan(); ok && ks >= 0 {
			colon = d.data[ke:last.node().start]
		}
	} else if !first {
		text = append(text, ", "...)
	}
	if e.node.Kind() == Object {
		text = append(append(text, quote(e.key)...), colon...)
	}
	return splice{at, at, append(text, e.raw...)}
}
