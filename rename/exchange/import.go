package exchange

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/jsondoc"
	"github.com/wtinspect/wtinspect/rename"
)

// ImportOptions adjust [Import]. Nil options are the defaults.
type ImportOptions struct {
	// Form is that of the file, "" for the one it looks like.
	Form Form
	// LiteralDots reads a . in a regular expression as a dot. It matches any character,
	// and tables are full of those that are meant as dots.
	LiteralDots bool
	// FirstMatch lets the first entry decide that matches a name, as transformers 4 did,
	// and the others not see what becomes of it.
	FirstMatch bool
}

// maxEntries bounds the entries of a file. Tables of projects have a few dozen.
const maxEntries = 10_000

// maxComposed bounds the entries of which one renames what another has made.
const maxComposed = 200

// Import reads the rules of another project from JSON, or from a table in Python, which is
// read as data. The file's name is for messages. An
// error that is a [*RefusedError] has every entry that no rule says exactly, and why.
func Import(file string, data []byte, opts *ImportOptions) (*rename.Map, error) {
	if opts == nil {
		opts = new(ImportOptions)
	}
	doc, where, err := readDocument(file, data)
	if err != nil {
		return nil, err
	}
	form := opts.Form
	if form == "" {
		if form, err = looksLike(doc.Root()); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	for n := range doc.All() {
		if n.Len() > maxEntries {
			line, column := where(n)
			return nil, fmt.Errorf("%s:%d:%d: %d entries, where %d are read", file, line, column, n.Len(), maxEntries)
		}
	}
	in := importer{file: file, position: where, opts: opts}
	switch form {
	case Transformers:
		in.transformers(doc.Root())
	case VLLM:
		in.vllm(doc.Root())
	case Mergekit:
		in.mergekit(doc.Root())
	default:
		return nil, fmt.Errorf("%s: %s is not a form that is imported", file, form)
	}
	if err := in.why.err(); err != nil {
		return nil, err
	}
	if len(in.entries) == 0 {
		if form == Mergekit {
			return nil, fmt.Errorf("%s: none of its weights has aliases, so there is nothing to rename", file)
		}
		return nil, fmt.Errorf("%s: there are no entries", file)
	}
	m, err := in.join(form)
	if err != nil {
		return nil, err
	}
	m.File, m.Description = "", "Imported from "+file
	for i := range m.Rules {
		m.Rules[i].Pos = rename.Pos{}
	}
	return m, nil
}

// looksLike finds the form of a document.
func looksLike(root jsondoc.Node) (Form, error) {
	has := func(keys ...string) bool {
		return slices.ContainsFunc(keys, func(k string) bool {
			_, ok := root.Lookup(k)
			return ok
		})
	}
	switch {
	case root.Kind() == jsondoc.Array:
		return Transformers, nil
	case root.Kind() != jsondoc.Object:
		return "", errors.New("neither a table of renames nor a list of them")
	case has("rules", "rename"):
		return "", errors.New("this is a map, which --map takes as it is")
	case has("orig_to_new_stacked", "orig_to_new_regex", "orig_to_new_substr", "orig_to_new_prefix", "orig_to_new_suffix"):
		return VLLM, nil
	case has("layer_templates", "pre_weights", "modules"):
		return Mergekit, nil
	}
	return Transformers, nil
}

// An importer collects the rules of the entries of a file.
type importer struct {
	file     string
	position func(n jsondoc.Node) (line, column int)
	opts     *ImportOptions
	why      refusals
	entries  [][]rename.Rule
}

func (in *importer) where(n jsondoc.Node) string {
	line, column := in.position(n)
	return fmt.Sprintf("%s:%d:%d", in.file, line, column)
}

func (in *importer) refuse(n jsondoc.Node, what, format string, args ...any) {
	in.why.add(in.where(n), what, format, args...)
}

// add adds the rules of an entry.
func (in *importer) add(n jsondoc.Node, rules []rename.Rule) {
	line, column := in.position(n)
	for i := range rules {
		rules[i].Pos = rename.Pos{Line: line, Column: column}
	}
	in.entries = append(in.entries, rules)
}

func (in *importer) substitute(n jsondoc.Node, s substitution) {
	s.literalDot = in.opts.LiteralDots
	rules, err := s.rules()
	if err != nil {
		in.refuse(n, s.pattern, "%v", err)
		return
	}
	in.add(n, rules)
}

func (in *importer) transformers(root jsondoc.Node) {
	one := func(n jsondoc.Node, pattern, text string) {
		if strings.Contains(strings.ReplaceAll(pattern, `\*`, ""), "*.") {
			in.refuse(n, pattern, "transformers takes *. for a wildcard of its own")
			return
		}
		in.substitute(n, substitution{pattern: pattern, text: text})
	}
	renaming := func(n jsondoc.Node) {
		if what, ok := n.Lookup(operations); ok {
			names, _ := what.Text()
			if names != "" {
				names = " (" + names + ")"
			}
			in.refuse(n, patterns(n), "it moves bytes%s, and only renames are imported; take it out here, and write a rule with the operations of maps for it", names)
			return
		}
		pattern, ok := single(n, "source_patterns")
		text, ok2 := single(n, "target_patterns")
		if !ok || !ok2 {
			in.refuse(n, patterns(n), "a renaming has one pattern in source_patterns and one text in target_patterns; write one for each")
			return
		}
		one(n, pattern, text)
	}
	if _, ok := root.Lookup("source_patterns"); ok {
		renaming(root)
		return
	}
	for _, n := range root.Children() {
		if root.Kind() != jsondoc.Object {
			renaming(n)
		} else if text, ok := n.Text(); ok {
			one(n, n.Key(), text)
		} else if n.Kind() == jsondoc.Object || n.Kind() == jsondoc.Array {
			in.refuse(n, n.Key(), "a table in a table; import that of one model alone")
		} else {
			in.refuse(n, n.Key(), "a table of renames has only text, from the pattern to the new text")
		}
	}
}

// patterns are the source patterns of a renaming, for messages.
func patterns(n jsondoc.Node) string {
	list, _ := n.Lookup("source_patterns")
	if text, ok := list.Text(); ok {
		return text
	}
	var texts []string
	for _, item := range list.Children() {
		if text, ok := item.Text(); ok {
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, " + ")
}

// single returns a text, or that of a list of one.
func single(n jsondoc.Node, key string) (string, bool) {
	v, ok := n.Lookup(key)
	if ok && v.Kind() == jsondoc.Array && v.Len() == 1 {
		for _, item := range v.Children() {
			v = item
		}
	}
	if !ok {
		return "", false
	}
	return v.Text()
}

func (in *importer) vllm(root jsondoc.Node) {
	for _, n := range root.Children() {
		if n.Key() == "orig_to_new_stacked" {
			in.refuse(n, n.Key(), "it puts tensors into one, and only renames are imported; take it out here, and write a rule with the operations of maps for it")
		} else if !slices.Contains(vllmTables, strings.TrimPrefix(n.Key(), "orig_to_new_")) || n.Kind() != jsondoc.Object {
			in.refuse(n, n.Key(), "not a table of orig_to_new_regex, _substr, _prefix or _suffix")
		}
	}
	for _, table := range vllmTables {
		entries, ok := root.Lookup("orig_to_new_" + table)
		if !ok || entries.Kind() != jsondoc.Object {
			continue
		}
		for _, n := range entries.Children() {
			text, ok := n.Text()
			if !ok && n.Kind() != jsondoc.Null {
				in.refuse(n, n.Key(), "the new text is text, or null where the weight is ignored")
				continue
			}
			if table == "regex" {
				in.substitute(n, substitution{pattern: n.Key(), text: text, drop: !ok})
				continue
			}
			if n.Key() == "" {
				in.refuse(n, `""`, "an empty text is in every name")
				continue
			}
			in.plain(n, table, text, !ok)
		}
	}
}

// plain adds the rule of a prefix, a suffix or a substring.
func (in *importer) plain(n jsondoc.Node, table, text string, drop bool) {
	from, to := rename.Escape(n.Key()), rename.Escape(text)
	if table != "prefix" {
		from, to = "{before...}"+from, "{before}"+to
	}
	if table != "suffix" {
		from, to = from+"{rest...}", to+"{rest}"
	}
	r, err := rename.NewRule(from, to)
	if err != nil {
		in.refuse(n, n.Key(), "%v", err)
		return
	}
	if drop {
		r.To, r.Drop = nil, "vLLM ignores it"
	}
	in.add(n, []rename.Rule{r})
}

// join makes one map of the entries. Those of a table see what the entries before them
// have made; those of mergekit are names.
func (in *importer) join(form Form) (*rename.Map, error) {
	all := &rename.Map{File: in.file}
	for _, rules := range in.entries {
		all.Rules = append(all.Rules, rules...)
	}
	if form == Mergekit || in.opts.FirstMatch || len(in.entries) == 1 {
		return all, nil
	}
	turns, err := rename.NewTurns(all)
	if err != nil {
		return nil, err
	}
	conflict := turns.AsWritten()
	if conflict == nil {
		return all, nil
	}
	if len(in.entries) > maxComposed {
		return nil, fmt.Errorf("%s: of %d entries some rename what others have made, and %d is the most that is put together", in.file, len(in.entries), maxComposed)
	}
	m := &rename.Map{File: in.file, Rules: in.entries[0]}
	for _, rules := range in.entries[1:] {
		m.File = in.file
		if m, err = rename.Compose(m, &rename.Map{File: in.file, Rules: rules}); err != nil {
			for _, one := range unjoin(err) {
				in.why.add(one.Error(), "", "the entries apply one after the other, and some name may match both; anchor them with ^ and $, or let the first decide with --first-match")
			}
			return nil, in.why.err()
		}
	}
	return m, nil
}
