package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/pytorch"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/safetensors"
)

// A TorchPart is a part of what is in a PyTorch file that holds tensors.
type TorchPart struct {
	// Path is its keys, joined by dots. --subtree takes it.
	Path    string `json:"path"`
	Tensors int    `json:"tensors"`
	// Bytes are those of the storages that the tensors use, each once.
	Bytes uint64 `json:"bytes"`
	// Optimizer says that it is the state of an optimiser.
	Optimizer bool `json:"optimizer"`
	// Listed says that its tensors, or some of them, are those of the checkpoint.
	Listed bool `json:"listed"`
}

// torchParts lists the parts of a PyTorch file, nil for any other.
func torchParts(f *checkpoint.File) []TorchPart {
	t := f.Tree()
	if t == nil {
		return nil
	}
	parts := []TorchPart{}
	for _, s := range t.Subtrees() {
		parts = append(parts, TorchPart(s))
	}
	return parts
}

// A Tie is a tensor that shares its bytes with another one.
type Tie struct {
	Name, With string
	// Reshaped says that the two have other shapes, or their elements in another order.
	Reshaped bool
}

// Ties lists the tensors of a checkpoint that share their bytes with earlier ones.
func Ties(c *checkpoint.Checkpoint) []Tie { return slices.Collect(ties(c)) }

func ties(c *checkpoint.Checkpoint) iter.Seq[Tie] {
	return func(yield func(Tie) bool) {
		for i, t := range c.All() {
			if first, ok := c.TiedTo(i); ok && !yield(Tie{t.Name, c.At(first).Name, c.Reshaped(i, first)}) {
				return
			}
		}
	}
}

// SharedText says which tensors are tied: "lm_head.weight with
// model.embed_tokens.weight"; "" when none is.
func SharedText(c *checkpoint.Checkpoint) string {
	const few = 3
	var texts []string
	more := 0
	for t := range ties(c) {
		if len(texts) < few {
			texts = append(texts, t.Name+" with "+t.With)
			if t.Reshaped {
				texts[len(texts)-1] += " (reshaped)"
			}
		} else {
			more++
		}
	}
	if more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, ", ")
}

// SubtreeText says which part of the PyTorch files of a checkpoint its tensors are from,
// "" when they are all there is.
func SubtreeText(c *checkpoint.Checkpoint) string {
	for _, f := range c.Files {
		if t := f.Tree(); t != nil && t.Path() != "" {
			return t.Path()
		}
	}
	return ""
}

// torchModels returns the state dicts that are listed together of the PyTorch files of a checkpoint,
// nil where there are not several.
func torchModels(c *checkpoint.Checkpoint) (paths []string, alike bool) {
	for _, f := range c.Files {
		if t := f.Tree(); t != nil {
			if paths, alike := t.Models(); len(paths) > 0 {
				return paths, alike
			}
		}
	}
	return nil, false
}

// isScript reports whether a PyTorch file of a checkpoint is an archive of TorchScript.
func isScript(c *checkpoint.Checkpoint) bool {
	return slices.ContainsFunc(c.Files, func(f *checkpoint.File) bool { return f.PyTorch() != nil && f.PyTorch().Script() })
}

// isExport is isScript for archives of torch.export.
func isExport(c *checkpoint.Checkpoint) bool {
	return slices.ContainsFunc(c.Files, func(f *checkpoint.File) bool { return f.PyTorch() != nil && f.PyTorch().Export() })
}

// ScriptText says that a checkpoint has code of TorchScript, or a graph of torch.export, which is neither listed nor converted, and
// how many of its tensors are the code's constants; "" of any other.
func ScriptText(c *checkpoint.Checkpoint) string {
	switch {
	case isExport(c):
		return "torch.export, with a graph beside the weights"
	case !isScript(c):
		return ""
	}
	n := 0
	for _, f := range c.Files {
		if t := f.PyTorch(); t != nil {
			n += t.Constants()
		}
	}
	text := "TorchScript, with code beside the weights"
	if n > 0 {
		text += ", which has " + plural.Of(n, "tensor") + " as constants: CONSTANTS"
	}
	return text
}

// DangerText says what loading the PyTorch files or the arrays of objects of a checkpoint would do: "calls posix.system by
// REDUCE"; "" where nothing that is known to be dangerous is found.
func DangerText(c *checkpoint.Checkpoint) string {
	for _, f := range c.Files {
		var globals []*pytorch.Global
		if t := f.PyTorch(); t != nil {
			globals = t.Globals()
		} else if d := f.Distributed(); d != nil {
			globals = d.Globals
		} else if source.Scheme(f.Path) == "" { // of a file elsewhere an array may be large
			for _, programs := range f.ObjectArrays() {
				for i := range programs {
					globals = append(globals, programs[i].Globals...)
				}
			}
		}
		if text := check.Danger(globals); text != "" {
			return text
		}
	}
	return ""
}

// LoaderText names what loads a checkpoint as [DangerText] says.
func LoaderText(c *checkpoint.Checkpoint) string {
	if c.Format == checkpoint.NumPy {
		return "numpy.load and allow_pickle"
	}
	return "torch.load"
}

// UnlistedText names the tensors of PyTorch files that are not listed: "2 tensors: csr and sp"; "" where
// there is none.
func UnlistedText(c *checkpoint.Checkpoint) string {
	var names []string
	for _, f := range c.Files {
		if t := f.PyTorch(); t != nil {
			for _, flt := range t.Unlisted() {
				names = append(names, flt.Tensor)
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	return plural.Of(len(names), "tensor") + ": " + plural.List(names)
}

// WrappedText names the tensors of PyTorch files whose data are other tensors, which are listed instead: "2 tensors: w
// and v"; "" where there is none.
func WrappedText(c *checkpoint.Checkpoint) string {
	var names []string
	for _, f := range c.Files {
		if t := f.PyTorch(); t != nil {
			for _, flt := range t.Wrapped() {
				names = append(names, flt.Tensor)
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	return plural.Of(len(names), "tensor") + ": " + folded(names)
}

// NotArraysText names the members of files of arrays that are none: "2 members: evil.pkl and notes.txt"; "" where
// there is none.
func NotArraysText(c *checkpoint.Checkpoint) string {
	var names []string
	for _, f := range c.Files {
		names = append(names, f.NotArrays()...)
	}
	if len(names) == 0 {
		return ""
	}
	return plural.Of(len(names), "member") + ": " + plural.List(names)
}

// StateText says that PyTorch files have the states of optimisers and no model: their numbers are no parameters;
// "" of any other.
func StateText(c *checkpoint.Checkpoint) string {
	for _, f := range c.Files {
		if t := f.PyTorch(); t == nil || !t.IsState() {
			return ""
		}
	}
	return "the state of an optimiser and no model: its numbers are no parameters"
}

// LostText says how many tensors PyTorch files have that are in no part of them, and are not listed: "2
// tensors (32 B)"; "" where there is none.
func LostText(c *checkpoint.Checkpoint) string {
	tensors, bytes := 0, uint64(0)
	for _, f := range c.Files {
		if t := f.PyTorch(); t != nil {
			n, size := t.Lost()
			tensors, bytes = tensors+n, bytes+size
		}
	}
	if tensors == 0 {
		return ""
	}
	return fmt.Sprintf("%s (%s)", plural.Of(tensors, "tensor"), render.Size(bytes))
}

// modelOf returns which of several models a tensor of a subtree is of.
func modelOf(name, subtree string, models []string) string {
	if subtree != "" {
		name = subtree + "." + name
	}
	for _, m := range models {
		if strings.HasPrefix(name, m+".") {
			return m
		}
	}
	return ""
}

// ModelsText says that the PyTorch files of a checkpoint hold several models: "2 models: net and
// net_ema, of the same names and shapes"; "" when they do not.
func ModelsText(c *checkpoint.Checkpoint) string {
	paths, alike := torchModels(c)
	if len(paths) == 0 {
		return ""
	}
	text := plural.Of(len(paths), "model") + ": " + plural.List(paths)
	if alike {
		text += ", of the same names and shapes"
	}
	return text
}

// BesideText says what the PyTorch files of a checkpoint hold beside its tensors:
// "optimizer_states (1,086 tensors, 12.9 GiB, an optimiser's)"; "" when that is nothing.
func BesideText(c *checkpoint.Checkpoint) string {
	const few = 4
	var parts []pytorch.Subtree
	places := make(map[string]int)
	for _, f := range c.Files {
		t := f.Tree()
		if t == nil {
			continue
		}
		for _, p := range t.Beside() {
			// Of several files a part is named once.
			if i, ok := places[p.Path]; ok {
				parts[i].Tensors += p.Tensors
				parts[i].Bytes += p.Bytes
				continue
			}
			places[p.Path] = len(parts)
			parts = append(parts, p)
		}
	}
	slices.SortStableFunc(parts, func(a, b pytorch.Subtree) int { return cmp.Compare(b.Bytes, a.Bytes) })
	var texts []string
	for _, p := range parts[:min(few, len(parts))] {
		text := fmt.Sprintf("%s (%s, %s", p.Path, plural.Of(p.Tensors, "tensor"), render.Size(p.Bytes))
		if p.Optimizer {
			text += ", an optimiser's"
		}
		texts = append(texts, text+")")
	}
	if len(parts) > few {
		var rest pytorch.Subtree
		for _, p := range parts[few:] {
			rest.Tensors += p.Tensors
			rest.Bytes += p.Bytes
		}
		texts = append(texts, fmt.Sprintf("and %d more (%s, %s)", len(parts)-few, plural.Of(rest.Tensors, "tensor"), render.Size(rest.Bytes)))
	}
	return strings.Join(texts, ", ")
}

// chunksJudged is of how many chunks in a file of a distributed checkpoint convert looks at the pickles, before it
// reads all of them: [Check] looks at more.
const chunksJudged = 1000

// torchMetadata is that of safetensors files made of PyTorch files. As save_model of safetensors
// does, it says which tensor has the bytes of one that is left out (safetensors/torch.py).
func (v *Conversion) torchMetadata(ctx context.Context) {
	v.kvs = []checkpoint.MetaKV{{File: -1, Key: "format", Text: "pt"}}
	for _, t := range v.tied {
		if t.Name == "format" { // which has a meaning of its own
			v.note("that %q is tied to %q is not in the metadata", t.Name, t.With)
			continue
		}
		v.kvs = append(v.kvs, checkpoint.MetaKV{File: -1, Key: t.Name, Text: t.With})
	}
	if n := len(v.Source.Metadata()); n > 0 {
		v.note("%s beside the tensors %s not carried over; 'wtinspect meta show' lists them", plural.Of(n, "value"), plural.Verb(n, "are"))
	}
	danger := DangerText(v.Source)
	if danger == "" {
		danger = check.Danger(check.ChunkGlobals(ctx, v.Source, chunksJudged))
	}
	if danger != "" {
		v.note("loading the file with %s %s; 'wtinspect check' says more, and nothing of it is in what is written", LoaderText(v.Source), danger)
	}
	if others := NotArraysText(v.Source); others != "" {
		v.note("not converted, as they are not arrays: %s", others)
	}
	if lost := LostText(v.Source); lost != "" {
		v.note("not converted: %s in no part of what the pickle builds, which cannot be listed; 'wtinspect check' says more", lost)
	}
	if wrapped := WrappedText(v.Source); wrapped != "" {
		v.note("the parts that other tensors are made of are converted under their own names, which of a distributed tensor are those of one process: %s; 'wtinspect check' says more", wrapped)
	}
	if state := StateText(v.Source); state != "" {
		v.note("it is %s", state)
	}
	if isScript(v.Source) {
		v.note("the code of TorchScript is not converted")
	}
	if isExport(v.Source) {
		v.note("the graph of torch.export is not converted")
	}
	if models := ModelsText(v.Source); models != "" {
		v.note("there are %s; all are converted, with names that begin so; --subtree names one", models)
	}
	if beside := BesideText(v.Source); beside != "" {
		v.note("only %s is converted, and not %s; --subtree names another part", cmp.Or(SubtreeText(v.Source), "the top level"), beside)
	}
}

// renameTies gives the ties the names that their tensors would have if each was written. A tie of which one
// has no new name, or is taken apart, is left out. What of an edit is only for tensors that are not written
// says so.
func (v *Conversion) renameTies(ctx context.Context, names *RenameOptions) {
	if len(v.tied) == 0 {
		return
	}
	with := make(map[string]string, len(v.tied))
	for _, t := range v.tied {
		with[t.Name] = t.With
	}
	chosen := make(map[string]bool, len(v.items))
	for i := range v.items {
		chosen[v.items[i].Name] = true
	}
	var tensors []checkpoint.Tensor
	for _, t := range v.Source.All() {
		if chosen[t.Name] || with[t.Name] != "" {
			tensors = append(tensors, t)
		}
	}
	all, err := newRenaming(ctx, v.Source, tensors, v.Container, names)
	if err != nil || len(all.Plan.Problems) > 0 {
		v.note("which tensors were tied is not in the metadata: they cannot all have new names")
		v.tied = nil
		return
	}
	renamed := make(map[string]string, len(tensors))
	for i := range all.Plan.Rows {
		if row := &all.Plan.Rows[i]; row.Action == rename.Keep || row.Action == rename.Move {
			renamed[row.From] = row.To
		}
	}
	example := v.tied[0]
	var ties []Tie
	for _, t := range v.tied {
		name, other := renamed[t.Name], renamed[t.With]
		if name != "" && other != "" {
			ties = append(ties, Tie{name, other, t.Reshaped})
		}
		if name != t.Name {
			example = t
		}
	}
	v.tied = ties
	for i, text := range v.Names.Unused {
		if slices.Contains(all.Unused, text) {
			continue
		}
		said := fmt.Sprintf("%s of those that are written; %s is tied to %s, and --untie writes it", text, example.Name, example.With)
		v.Names.Unused[i] = said
		for k := range v.Names.Plan.Problems {
			if p := &v.Names.Plan.Problems[k]; p.Message == text {
				p.Message = said
			}
		}
	}
}

// holdable refuses what of PyTorch and NumPy files no other format holds, all of it at once.
func (v *Conversion) holdable(ctx context.Context) error {
	c := v.Source
	if c.Format != checkpoint.PyTorch && c.Format != checkpoint.NumPy {
		return nil
	}
	type problem struct{ name, why string }
	var problems []problem
	for i := range v.items {
		it := &v.items[i]
		_, known := safetensors.DType(it.DType).Bits()
		_, err := c.Data(it.at)
		flt, isFault := errors.AsType[*checkpoint.Fault](err)
		switch {
		case err != nil && !isFault:
			return err
		case err != nil && slices.Contains([]pytorch.Code{pytorch.CodeChecksum, pytorch.CodeByteOrder}, pytorch.Code(flt.Code)): // of the whole file
			return err
		case err != nil:
			problems = append(problems, problem{it.Name, flt.Detail})
		case !known && strings.HasPrefix(it.DType, "q"):
			problems = append(problems, problem{it.Name, it.DType + ", whose scales are beside the tensor; save what dequantize() returns"})
		case !known:
			problems = append(problems, problem{it.Name, it.DType + ", which neither safetensors nor GGUF has"})
		}
	}
	for _, f := range c.Validate(ctx) {
		if pytorch.Code(f.Code) == pytorch.CodeDuplicateMember {
			return fmt.Errorf("%w; what the file holds cannot be known, and it is not converted: save it again with a torch that is trusted to read it", &f)
		}
		lost := slices.Contains([]pytorch.Code{pytorch.CodeSparse, pytorch.CodeNested, pytorch.CodeNumPy}, pytorch.Code(f.Code))
		if lost && (v.opts.Select == nil || v.opts.Select(f.Tensor)) {
			problems = append(problems, problem{f.Tensor, f.Detail})
		}
	}
	if len(problems) == 0 {
		return nil
	}
	const most = 20
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s cannot be converted; --exclude leaves %s out:", c.Path, plural.Of(len(problems), "tensor"), map[bool]string{true: "it", false: "them"}[len(problems) == 1])
	for _, p := range problems[:min(most, len(problems))] {
		fmt.Fprintf(&b, "\n  %q: %s", p.name, p.why)
	}
	if more := len(problems) - most; more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return errors.New(b.String())
}
