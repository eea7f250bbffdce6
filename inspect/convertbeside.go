package inspect

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/assemble"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/jsondoc"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// A ConvertedDocument is a text beside the weights that is edited, or left out.
type ConvertedDocument struct {
	Name string `json:"name"`
	// Edits are what changes in it. What is taken out has no To.
	Edits []rewrite.TextEdit `json:"edits"`
	// LeftOut says why it does not come along, "" when it does.
	LeftOut string `json:"left_out,omitempty"`
}

// quantDocuments say how weights are quantised, and nothing else.
var quantDocuments = []string{"quantize_config.json", "quant_config.json", "hf_quant_config.json"}

// quantSections are the parts of config.json that say how weights are quantised.
var quantSections = []string{"quantization_config", "compression_config"}

// paramsName is the configuration of Mistral's own files, and paramsSection the part of it that says that weights are
// quantised; it has no list of those that are not (vllm/transformers_utils/configs/mistral.py).
const paramsName, paramsSection = "params.json", "quantization"

// inQuantSection reports whether a pointer leads into one of them.
func inQuantSection(pointer string) bool {
	return slices.ContainsFunc(strings.Split(pointer, "/"), func(key string) bool { return slices.Contains(quantSections, key) })
}

// tokenizerDocuments are what a release of a language model has beside its configuration.
var tokenizerDocuments = []string{"generation_config.json", "tokenizer.json", "tokenizer_config.json"}

// bringsThem says how the files beside one that is converted by itself come along.
func (v *Conversion) bringsThem(ctx context.Context, dir string) string {
	r, err := checkpoint.Open(ctx, dir, &checkpoint.Options{FilesOnly: true, NoConfig: true})
	if err != nil {
		return ""
	}
	defer r.Close()
	if n := len(r.Checkpoints); n > 1 {
		return fmt.Sprintf("; there are %s beside each other, and whose they are nobody says: copy them", plural.Of(n, "checkpoint"))
	}
	return "; with the directory as SRC they do"
}

// documents lists what goes beside the weights, and edits what speaks of them.
func (v *Conversion) documents(ctx context.Context) ([]assemble.Document, error) {
	c := v.Source
	if c.Of != nil {
		if c = c.Of[0]; c.IsRelease() {
			v.note("what is beside the weights of %s comes along, and nothing else", c.Path)
		}
	}
	switch {
	case v.Container == checkpoint.GGUF:
		return nil, nil // such a file says all by itself
	case !c.IsRelease():
		beside := func(name string) bool { return source.Exists(ctx, source.Join(c.Dir, name)) }
		switch {
		case len(v.Missing) > 0:
		case beside("model_index.json"):
			v.note("files beside %s do not come along: they are of a pipeline (model_index.json), and this is one checkpoint of it", c.Path)
		case slices.ContainsFunc(slices.Concat(txn.Documents, tokenizerDocuments), beside):
			v.note("files beside %s do not come along%s", c.Path, v.bringsThem(ctx, c.Dir))
		}
		return nil, nil
	}
	if v.Source.Of != nil && v.quantised {
		if by := v.claimedBy(ctx); by != "" && by != c.Path {
			v.note("config.json of %s says how weights are quantised, and that of %s, which comes along, does not", by, c.Path)
		}
	}
	names, left, err := rewrite.Companions(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, u := range left {
		v.note("left unchanged: %v", u)
	}
	v.Missing = slices.DeleteFunc(v.Missing, func(name string) bool { return slices.Contains(names, name) })
	var docs []assemble.Document
	for _, name := range names {
		d := assemble.Document{Name: name, From: source.Join(c.Dir, filepath.FromSlash(name))}
		if path.Base(name) == name && (name == paramsName || slices.Contains(txn.Documents, name)) {
			keep, err := v.document(ctx, &d)
			if err != nil {
				return nil, err
			}
			if !keep {
				continue
			}
		}
		docs = append(docs, d)
	}
	return docs, nil
}

// document edits a document: the names in it, the dtype, and how the weights are
// quantised. It reports whether it comes along.
func (v *Conversion) document(ctx context.Context, d *assemble.Document) (keep bool, err error) {
	plain := v.dequantised && !v.quantised
	if plain && slices.Contains(quantDocuments, d.Name) {
		v.Documents = append(v.Documents, ConvertedDocument{Name: d.Name, Edits: []rewrite.TextEdit{}, LeftOut: "nothing is quantised any more"})
		return false, nil
	}
	text, err := source.ReadNamed(ctx, d.From, source.Document)
	if err != nil {
		return false, err
	}
	if _, err := jsondoc.Parse(d.From, text); err != nil {
		v.note("%s comes along as it is, and what it says of dtypes, names and quantisation is that of the source: it cannot be edited: %v", d.Name, err)
		return true, nil
	}
	edited := ConvertedDocument{Name: d.Name}
	if v.Names != nil {
		out, edits, left, err := rewrite.FollowNames(d.From, text, v.Names.Plan)
		if err != nil {
			v.note("%s: names in it are not followed: %v", d.From, err)
		}
		if plain && d.Name == "config.json" { // what is taken out is neither edited nor left
			edits = slices.DeleteFunc(edits, func(e rewrite.TextEdit) bool { return inQuantSection(e.Pointer) })
			left = slices.DeleteFunc(left, func(u rewrite.Unfollowed) bool { return inQuantSection(u.Pointer) })
		}
		for _, u := range left {
			v.note("left unchanged: %v", u)
		}
		if out != nil {
			text, edited.Edits, d.Text = out, edits, out
		}
	}
	doc, err := jsondoc.Parse(d.From, text)
	if err != nil {
		return false, err
	}
	var changes []jsondoc.Edit
	type dtypes struct{ old, is string }
	known := make(map[string]dtypes) // of the parts of the model
	var walk func(n jsondoc.Node, part string)
	walk = func(n jsondoc.Node, part string) {
		of, ok := known[part]
		if !ok {
			of.old, of.is = v.torchDTypes(part)
			known[part] = of
		}
		old, dtype := of.old, of.is
		for _, m := range n.Children() {
			key := m.Key()
			was, isText := m.Text()
			switch {
			case plain && slices.Contains(quantSections, key):
				changes = append(changes, jsondoc.Remove(m))
				edited.Edits = append(edited.Edits, rewrite.TextEdit{Pointer: m.Pointer(), From: key})
			case isText && (key == "torch_dtype" || key == "dtype") && dtype != "" && (old != dtype || plain) && isTorch(was):
				if to := prefixed(was, dtype); to != was {
					changes = append(changes, jsondoc.ReplaceText(m, to))
					edited.Edits = append(edited.Edits, rewrite.TextEdit{Pointer: m.Pointer(), From: was, To: to})
				}
			case (key == "torch_dtype" || key == "dtype") && dtype != "" && (old != dtype || plain) && strayDType(m) && !inQuantSection(m.Pointer()):
				v.note("%s: %s is no dtype of floating-point numbers, and stays; most weights are %s", d.Name, m.Pointer(), dtype)
			case m.Kind() == jsondoc.Object:
				walk(m, cmp.Or(configParts[key], part))
			}
		}
	}
	if d.Name == "config.json" {
		walk(doc.Root(), "")
		if v.Unchosen > 0 {
			v.note("%s is of the whole model, and tensors were left out; 'wtinspect check' says what contradicts it", d.Name)
		}
	}
	if section, ok := doc.Lookup(paramsSection); ok && plain && d.Name == paramsName {
		changes = append(changes, jsondoc.Remove(section))
		edited.Edits = append(edited.Edits, rewrite.TextEdit{Pointer: section.Pointer(), From: paramsSection})
	}
	if v.dequantised && v.quantised {
		for _, e := range v.plainModules(d.Name, doc) {
			changes, edited.Edits = append(changes, e.Edit), append(edited.Edits, e.TextEdit)
		}
	}
	if len(changes) > 0 {
		if d.Text, err = doc.Apply(changes...); err != nil {
			return false, err
		}
	}
	if len(edited.Edits) > 0 {
		v.Documents = append(v.Documents, edited)
	}
	return true, nil
}

// An addition is an edit of a document, and how it is shown.
type addition struct {
	jsondoc.Edit
	rewrite.TextEdit
}

// A quantSection is a part of a document that says how weights are quantised.
type quantSection struct {
	jsondoc.Node
	method string   // its quant_method, or what its place says
	lists  []string // of modules that are not quantised, as loaders read them
}

// quantSectionsOf finds the parts of a document that say it: of config.json wherever they are, as those of a language
// model within another are read, too (get_quant_config of vllm/model_executor/model_loader/weight_utils.py).
func quantSectionsOf(name string, doc *jsondoc.Doc) (list []quantSection) {
	switch name {
	case "config.json":
		var walk func(n jsondoc.Node)
		walk = func(n jsondoc.Node) {
			for _, m := range n.Children() {
				switch {
				case m.Kind() != jsondoc.Object:
				case slices.Contains(quantSections, m.Key()):
					s := quantSection{Node: m}
					if method, ok := m.Lookup("quant_method"); ok {
						s.method, _ = method.Text()
					} else if m.Key() == "compression_config" {
						s.method = "compressed-tensors" // of its first releases, which did not name it
					}
					s.lists = adapt.IgnoreLists(s.method)
					list = append(list, s)
				default:
					walk(m)
				}
			}
		}
		walk(doc.Root())
	case "hf_quant_config.json":
		if m, ok := doc.Lookup("quantization"); ok && m.Kind() == jsondoc.Object {
			list = append(list, quantSection{m, "modelopt", []string{"exclude_modules"}})
		}
	case paramsName:
		if m, ok := doc.Lookup(paramsSection); ok {
			list = append(list, quantSection{Node: m})
		}
	case "quantize_config.json", "quant_config.json":
		list = append(list, quantSection{Node: doc.Root()})
	}
	return list
}

// plainModules lists the modules that are quantised no more among those that a document leaves out. Where it is not known
// which list loaders read, or where no list can say it, a note does.
func (v *Conversion) plainModules(name string, doc *jsondoc.Doc) (edits []addition) {
	sections := quantSectionsOf(name, doc)
	if len(sections) == 0 {
		return nil
	}
	modules, parted := v.dequantisedModules()
	if len(modules)+len(parted) == 0 {
		return nil
	}
	for _, s := range sections {
		where := name
		if p := s.Pointer(); p != "" {
			where += ": " + p
		}
		switch {
		case len(s.lists) == 0:
			v.note("%s stays, as some weights are still quantised, and has no list of those that are not that is known here; loaders may take these for quantised: %s", where, folded(slices.Concat(modules, parted)))
			continue
		case len(parted) > 0:
			v.note("%s stays, as some weights are still quantised; its lists are of whole modules, and these now have quantised weights and others: %s; let --keep choose all weights of a module or none", where, folded(parted))
		}
		edits = append(edits, v.ignore(s, modules, where)...)
	}
	return edits
}

// dequantisedModules are the modules whose weights have become numbers, and those of which only a part has.
func (v *Conversion) dequantisedModules() (modules, parted []string) {
	packed, holders := make(map[string]bool), make(map[string]bool)
	holderOf := func(name string) string { return name[:max(0, strings.LastIndexByte(name, '.'))] }
	for i := range v.items {
		if v.items[i].packed {
			module, _, _ := quant.Split(v.items[i].Name)
			packed[module], holders[holderOf(module)] = true, true
		}
	}
	seen := make(map[string]bool)
	for i := range v.items {
		it := &v.items[i]
		if (!v.instead[it.from[0]] || it.packed) && !slices.ContainsFunc(it.done, func(done string) bool { return strings.HasPrefix(done, dequantising) }) {
			continue
		}
		module, isWeight := strings.CutSuffix(it.Name, ".weight")
		stays := packed[module]
		if !isWeight { // a parameter of a module that has several, such as the experts of gpt-oss
			module = holderOf(it.Name)
			stays = holders[module]
		}
		switch {
		case seen[module] || module == "":
		case stays:
			parted = append(parted, module)
		default:
			modules = append(modules, module)
		}
		seen[module] = true
	}
	return modules, parted
}

// ignore adds modules to the lists of a section that loaders read of those that are not quantised, and takes them out of
// that of single ones that are.
func (v *Conversion) ignore(s quantSection, modules []string, where string) (edits []addition) {
	if len(modules) == 0 {
		return nil
	}
	raw, err := json.Marshal(modules)
	if err != nil {
		return nil
	}
	made := false
	for _, key := range s.lists {
		list, there := s.Lookup(key)
		at := rewrite.TextEdit{Pointer: s.Pointer() + "/" + key, To: string(raw)}
		switch {
		case !there:
			continue
		case list.Kind() == jsondoc.Null:
			at.From = "null"
			edits = append(edits, addition{jsondoc.Replace(list, raw), at})
		case list.Kind() != jsondoc.Array:
			v.note("%s: %s is no list, and stays; loaders may take these for quantised: %s", where, key, folded(modules))
		default:
			edits = append(edits, lengthened(list, modules)...)
		}
		made = true
	}
	if !made {
		key := s.lists[0]
		edits = append(edits, addition{jsondoc.Insert(s.Node, key, raw), rewrite.TextEdit{Pointer: s.Pointer() + "/" + key, To: string(raw)}})
	}
	if layers, ok := s.Lookup(adapt.QuantizedLayers); ok && layers.Kind() == jsondoc.Object {
		for _, m := range layers.Children() {
			if slices.Contains(modules, m.Key()) {
				edits = append(edits, addition{jsondoc.Remove(m), rewrite.TextEdit{Pointer: m.Pointer(), From: m.Key()}})
			}
		}
	}
	return edits
}

// lengthened adds to a list those of some modules that it does not have.
func lengthened(list jsondoc.Node, modules []string) (edits []addition) {
	have := make(map[string]bool)
	for _, e := range list.Children() {
		text, _ := e.Text()
		have[text] = true
	}
	for _, m := range modules {
		if raw, err := json.Marshal(m); err == nil && !have[m] {
			edits = append(edits, addition{jsondoc.Insert(list, "", raw), rewrite.TextEdit{Pointer: list.Pointer() + "/-", To: m}})
		}
	}
	return edits
}

// configParts are the members of config.json that are of one part of a model, which may have another dtype than the rest.
var configParts = map[string]string{
	"vision_config": "vision", "visual_config": "vision", "image_config": "vision", "vit_config": "vision",
	"audio_config": "audio", "speech_config": "audio", "text_config": "text", "llm_config": "text", "language_config": "text",
}

// partWords are words in the names of towers.
var partWords = []struct{ word, part string }{
	{"visual", "vision"}, {"vision", "vision"}, {"image", "vision"}, {"vit", "vision"}, {"audio", "audio"}, {"speech", "audio"}, {"whisper", "audio"},
}

// partOf is the part of a model that a tensor is of by the modules around it.
func partOf(name string) string {
	modules := strings.Split(name, ".")
	for _, module := range modules[:len(modules)-1] {
		for word := range strings.SplitSeq(module, "_") {
			if i := slices.IndexFunc(partWords, func(w struct{ word, part string }) bool { return w.word == word }); i >= 0 {
				return partWords[i].part
			}
		}
	}
	return "text"
}

// torchDTypes are what torch calls the dtypes of most bytes of a part of the source and of the result, "" for all of them;
// where the result has nothing of that part, those of all.
func (v *Conversion) torchDTypes(part string) (old, dtype string) {
	source, result := make(map[string]uint64), make(map[string]uint64)
	for _, t := range v.Source.All() {
		if part == "" || partOf(t.Name) == part {
			source[t.DType] += t.Bytes
		}
	}
	for i := range v.items {
		if part == "" || partOf(v.items[i].Name) == part {
			result[v.items[i].DType] += v.items[i].Bytes
		}
	}
	if len(result) == 0 && part != "" {
		return v.torchDTypes("")
	}
	return torchNames[mainDType(source)], torchNames[mainDType(result)]
}

// mainDType is that of most bytes.
func mainDType(sums map[string]uint64) string {
	most := ""
	for d, n := range sums {
		if n > sums[most] || n == sums[most] && d < most {
			most = d
		}
	}
	return most
}

// torchNames are the names of dtypes in configurations.
var torchNames = map[string]string{
	"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
	"F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}

func isTorch(text string) bool {
	for _, name := range torchNames {
		if strings.TrimPrefix(text, "torch.") == name {
			return true
		}
	}
	return false
}

// strayDType reports whether what a configuration has for a dtype is none, and does not leave it to the
// weights either.
func strayDType(n jsondoc.Node) bool {
	text, _ := n.Text()
	return n.Kind() != jsondoc.Object && n.Kind() != jsondoc.Null && text != "auto"
}

// prefixed spells a dtype as another one is spelled.
func prefixed(was, dtype string) string {
	if strings.HasPrefix(was, "torch.") {
		return "torch." + dtype
	}
	return dtype
}
