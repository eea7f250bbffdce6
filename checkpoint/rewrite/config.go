package rewrite

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/jsondoc"
	"github.com/wtinspect/wtinspect/rename"
)

// nameLists are members whose value is a name, a list of names (at any depth)
// or, with names as its keys, an object. Where they are looked for depends on
// the document: see places.
//
// The spellings are those of transformers' quantization configurations
// (bitsandbytes: llm_int8_skip_modules; AWQ, FP8, HQQ: modules_to_not_convert;
// GPTQ: block_name_to_quantize, modules_in_block_to_quantize), compressed-tensors
// (ignore, targets), AutoRound (extra_config), ModelOpt (exclude_modules,
// quantized_layers), Quark (exclude, layer_quant_config), vLLM (ignored_layers),
// and of PEFT's adapter_config.json.
var nameLists = map[string]bool{
	"ignore": true, "ignored_layers": true, "modules_to_not_convert": true, "llm_int8_skip_modules": true,
	"block_name_to_quantize": true, "modules_in_block_to_quantize": true, "extra_config": true, "dynamic": true,
	"targets": true, "exclude_modules": true, "exclude": true, "quantized_layers": true, "layer_quant_config": true,

	"target_modules": true, "modules_to_save": true, "layers_pattern": true, "target_parameters": true,
	"rank_pattern": true, "alpha_pattern": true, "trainable_token_indices": true, "layer_replication_modules": true,
}

// A TextEdit is a name in a document that follows the tensors.
type TextEdit struct {
	Pointer string `json:"pointer"` // RFC 6901
	From    string `json:"from"`
	To      string `json:"to"`
}

// Unfollowed is text in a document that may mean renamed tensors and is left
// as it is.
type Unfollowed struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Pointer string `json:"pointer"`
	Text    string `json:"text"`
	Reason  string `json:"reason"`
}

// String gives the place, the text and the reason in one line.
func (u Unfollowed) String() string {
	if u.Line == 0 {
		return fmt.Sprintf("%s: %s", u.File, u.Reason)
	}
	return fmt.Sprintf("%s:%d:%d: %q %s", u.File, u.Line, u.Column, u.Text, u.Reason)
}

// A move is a tensor's old name and its new one, in segments.
type move struct {
	from, to []string
	dropped  bool
	parted   bool // operations take it, and leave several, or one of several
}

// FollowNames edits the names of tensors in a document beside the weights to what a plan
// makes of them. Without edits the text is nil.
func FollowNames(file string, text []byte, plan *rename.Plan) (out []byte, edits []TextEdit, left []Unfollowed, err error) {
	return editDocument(file, text, func() []move { return movesOf(plan.Rows) })
}

// editDocument edits the names in a document. Without edits the text is nil.
// moves is called when there is a name to follow.
func editDocument(file string, text []byte, moves func() []move) (out []byte, edits []TextEdit, left []Unfollowed, err error) {
	doc, err := jsondoc.Parse(file, text)
	if err != nil {
		return nil, nil, nil, err
	}
	f := follower{known: make(map[string]verdict)}
	var changes []jsondoc.Edit
	visit := func(n jsondoc.Node, key bool, s string) {
		if f.moves == nil {
			f.moves = moves()
		}
		v := f.follow(s)
		switch {
		case v.reason != "":
			line, col := n.Position()
			left = append(left, Unfollowed{file, line, col, n.Pointer(), s, v.reason})
		case v.to != s:
			edits = append(edits, TextEdit{n.Pointer(), s, v.to})
			if key {
				changes = append(changes, jsondoc.RenameKey(n, v.to))
			} else {
				changes = append(changes, jsondoc.ReplaceText(n, v.to))
			}
		}
	}
	var walk func(n jsondoc.Node)
	walk = func(n jsondoc.Node) {
		switch n.Kind() {
		case jsondoc.String:
			s, _ := n.Text()
			visit(n, false, s)
		case jsondoc.Array:
			for _, c := range n.Children() {
				walk(c)
			}
		case jsondoc.Object:
			for _, c := range n.Children() {
				visit(c, true, c.Key())
			}
		}
	}
	for n := range places(doc) {
		walk(n)
	}
	if len(changes) == 0 {
		return nil, nil, left, nil
	}
	out, err = doc.Apply(changes...)
	return out, edits, left, err
}

// places yields the values that hold names: in config.json those inside a
// quantization configuration, wherever it is; in the other documents any.
func places(doc *jsondoc.Doc) func(yield func(jsondoc.Node) bool) {
	return func(yield func(jsondoc.Node) bool) {
		var walk func(n jsondoc.Node, inside bool) bool
		walk = func(n jsondoc.Node, inside bool) bool {
			for _, c := range n.Children() {
				key := c.Key()
				if inside && nameLists[key] {
					if !yield(c) {
						return false
					}
					continue
				}
				if !walk(c, inside || key == "quantization_config" || key == "compression_config") {
					return false
				}
			}
			return true
		}
		base := doc.File()[strings.LastIndexAny(doc.File(), `/\`)+1:]
		walk(doc.Root(), base != "config.json")
	}
}

// A verdict is what becomes of a text: another text, the same, or a reason
// why nobody can say.
type verdict struct{ to, reason string }

// A follower finds out what tensor names in other texts become.
type follower struct {
	moves []move
	known map[string]verdict
	// at has the places of every segment, once they are asked for.
	at map[string][]place
}

// A place is a segment of a name.
type place struct{ move, segment int32 }

func (f *follower) follow(s string) verdict {
	v, ok := f.known[s]
	if !ok {
		v = f.decide(s)
		f.known[s] = v
	}
	return v
}

func (f *follower) decide(s string) verdict {
	if s == "" {
		return verdict{}
	}
	if pattern, ok := asPattern(s); ok {
		return f.pattern(s, pattern)
	}
	segs := strings.Split(s, ".")
	// A module of exactly that name decides, where there is one; otherwise
	// every place where its segments stand.
	var exact, inner []place
	for _, p := range f.find(segs) {
		if p.segment == 0 {
			exact = append(exact, p)
		} else {
			inner = append(inner, p)
		}
	}
	if len(exact) > 0 {
		inner = exact
	}
	v, found := verdict{to: s}, false
	for _, p := range inner {
		m := f.moves[p.move]
		if m.dropped {
			continue
		}
		if m.parted {
			return verdict{reason: fmt.Sprintf("is in %q, which is taken apart or joined with others", strings.Join(m.from, "."))}
		}
		to, ok := m.counterpart(int(p.segment), int(p.segment)+len(segs))
		switch {
		case !ok:
			return verdict{reason: fmt.Sprintf("is in %q, which becomes %q, where it has no clear counterpart",
				strings.Join(m.from, "."), strings.Join(m.to, "."))}
		case found && to != v.to:
			return verdict{reason: fmt.Sprintf("would become %q for some tensors and %q for others", v.to, to)}
		}
		v.to, found = to, true
	}
	return v
}

// find returns the places where the segments stand one after the other.
func (f *follower) find(segs []string) []place {
	if f.at == nil {
		f.at = make(map[string][]place)
		for i, m := range f.moves {
			for j, seg := range m.from {
				f.at[seg] = append(f.at[seg], place{int32(i), int32(j)})
			}
		}
	}
	rarest := 0
	for i, seg := range segs {
		if len(f.at[seg]) < len(f.at[segs[rarest]]) {
			rarest = i
		}
	}
	var out []place
	for _, p := range f.at[segs[rarest]] {
		from, at := f.moves[p.move].from, int(p.segment)-rarest
		if at >= 0 && at+len(segs) <= len(from) && slices.Equal(from[at:at+len(segs)], segs) {
			out = append(out, place{p.move, int32(at)})
		}
	}
	return out
}

// counterpart returns what stands in the new name where the segments from i
// to j stand in the old one.
func (m move) counterpart(i, j int) (string, bool) {
	n, k := len(m.from), len(m.to)
	end := k - (n - j) // when what follows is as long as it was
	follows := end >= 0 && end <= k && slices.Equal(m.from[j:], m.to[end:])
	precedes := i <= k && slices.Equal(m.from[:i], m.to[:i])
	switch {
	case n == k:
		return strings.Join(m.to[i:j], "."), true
	case precedes && follows && i < end:
		return strings.Join(m.to[i:end], "."), true
	case follows && i > 0 && end-(j-i) >= 0:
		return strings.Join(m.to[end-(j-i):end], "."), true
	case follows && i == 0 && end > 0:
		return strings.Join(m.to[:end], "."), true
	case precedes && i+(j-i) <= k:
		return strings.Join(m.to[i:j], "."), true
	}
	// What stands in both means the same in both.
	for at := range k - (j - i) + 1 {
		if slices.Equal(m.to[at:at+j-i], m.from[i:j]) {
			return strings.Join(m.from[i:j], "."), true
		}
	}
	return "", false
}

// asPattern recognises texts that are patterns: compressed-tensors marks
// regular expressions with "re:", GPTQModel's dynamic with "+:" and "-:", and
// the others tell by their characters.
func asPattern(s string) (pattern string, ok bool) {
	for _, mark := range []string{"re:", "+:", "-:"} {
		if p, ok := strings.CutPrefix(s, mark); ok {
			return p, true
		}
	}
	return s, strings.ContainsAny(s, `*^$()[]{}|\?+`)
}

// pattern judges a pattern: it is never rewritten, only reported when it
// matches, or may match, a tensor that gets another name.
func (f *follower) pattern(s, pattern string) verdict {
	re, err := regexp.Compile(pattern)
	for _, m := range f.moves {
		if m.dropped || slices.Equal(m.from, m.to) && !m.parted {
			continue
		}
		if err != nil {
			return verdict{reason: "is a pattern that may match renamed tensors; check whether it has to change"}
		}
		name := strings.Join(m.from, ".")
		module := strings.Join(m.from[:len(m.from)-1], ".")
		if re.MatchString(name) || re.MatchString(module) {
			return verdict{reason: fmt.Sprintf("is a pattern that matches %q, which becomes %q; check whether it has to change", name, strings.Join(m.to, "."))}
		}
	}
	return verdict{to: s}
}
