package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/arrays"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/template"
	"github.com/wtinspect/wtinspect/rename/tensorop"
	"github.com/wtinspect/wtinspect/safetensors"
)

// A Keep is an exception to the dtype of a conversion: tensors whose old or new name a
// glob matches.
type Keep struct {
	Glob template.Glob
	// DType is what they become, "" for as they are.
	DType string
}

// ParseKeep reads GLOB or GLOB=DTYPE.
func ParseKeep(text string) (Keep, error) {
	pattern, dtype, given := strings.Cut(text, "=")
	glob, err := template.ParseGlob(pattern)
	if err != nil {
		return Keep{}, fmt.Errorf("%q: %w", text, err)
	}
	k := Keep{Glob: glob}
	if given {
		if k.DType, err = ParseDType(dtype); err != nil {
			return Keep{}, fmt.Errorf("%q: %w", text, err)
		}
	}
	return k, nil
}

// CastDTypes lists the dtypes that numbers can be given.
func CastDTypes() []string {
	return []string{"bf16", "f16", "f32", "f64", "f8_e4m3", "f8_e5m2", "f8_e4m3fnuz", "f8_e5m2fnuz"}
}

// spellings are what libraries call dtypes. F8_E4M3 is float8_e4m3fn of torch, which has
// no infinities.
var spellings = map[string]string{
	"bfloat16": "BF16", "float16": "F16", "half": "F16", "fp16": "F16", "float32": "F32", "float": "F32", "fp32": "F32",
	"float64": "F64", "double": "F64", "fp64": "F64", "fp8": "F8_E4M3", "float8_e4m3fn": "F8_E4M3", "f8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
	"float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
}

// integers are what safetensors, torch, NumPy and ggml call them, with or without their bits.
var integers = []string{"i", "u", "int", "uint", "bool", "boolean", "byte", "char", "short", "long"}

// ParseDType reads the name of a dtype that numbers can be given, in any case, or as
// torch and others call it.
func ParseDType(text string) (string, error) {
	lower := strings.TrimPrefix(strings.ToLower(text), "torch.")
	if slices.Contains(CastDTypes(), lower) {
		return strings.ToUpper(lower), nil
	}
	if d, ok := spellings[lower]; ok {
		return d, nil
	}
	if slices.Contains(integers, strings.TrimRight(lower, "0123456789")) {
		return "", fmt.Errorf("%s: numbers do not become integers here, which would be codes without a scale; the dtypes are %s", text, strings.Join(CastDTypes(), ", "))
	}
	if _, ok := gguf.ParseTensorType(strings.ToUpper(text)); ok {
		return "", fmt.Errorf("weights are not quantised to %s here; the dtypes are %s", strings.ToUpper(text), strings.Join(CastDTypes(), ", "))
	}
	return "", fmt.Errorf("there is no dtype %q%s; the dtypes are %s", text, template.DidYouMean(lower, CastDTypes()), strings.Join(CastDTypes(), ", "))
}

// keep is the place of the exception that an item is, -1 for none. Old names count, and
// the new one.
func (v *Conversion) keep(it *item) int {
	return slices.IndexFunc(v.opts.Keep, func(k Keep) bool {
		return k.Glob.Match(it.Name) || slices.ContainsFunc(it.from, k.Glob.Match)
	})
}

// A cast is what happens to all tensors of one dtype that get another one.
type cast struct {
	from, to string
	counted
}

// A counted is how many numbers are given another value, and what is counted of them when they are read.
type counted struct {
	tensors  int
	elements uint64
	tally    arrays.Tally
}

// counts are what was counted, with how often all numbers were read: Count reads what is read again to be written. ok is
// false where they have not been.
func (c *counted) counts() (n values.Rounding, times uint64, ok bool) {
	if n = c.tally.Counts(); c.elements == 0 || n.Elements < c.elements {
		return n, 0, false
	}
	return n, n.Elements / c.elements, true
}

// isFloat reports whether a dtype is one of floating-point numbers, each by itself or in
// blocks of ggml. The scales of MXFP4 (F8_E8M0) and packed numbers are none: they mean
// something beside others alone.
func isFloat(dtype string) bool {
	t, ok := values.Lookup(dtype)
	if !ok || t.Parts != 1 || dtype == "F4" || strings.HasPrefix(dtype, "F6_") || dtype == "F8_E8M0" {
		return false
	}
	_, plain := safetensors.DType(dtype).Bits()
	return !plain || strings.HasPrefix(dtype, "F") || dtype == "BF16"
}

// isBlocks reports whether a dtype is one of ggml's blocks.
func isBlocks(dtype string) bool {
	_, plain := safetensors.DType(dtype).Bits()
	return !plain
}

// number gives the items the dtypes that they are to have.
func (v *Conversion) number() error {
	w := &arrays.Workspace{}
	goal := v.goalNames()
	others, small, kernels := make(map[string]int), 0, 0
	raw := make(map[string]int)
	used := make([]bool, len(v.opts.Keep))
	for i := range v.items {
		it := &v.items[i]
		to := it.DType
		k := v.keep(it)
		if k >= 0 {
			used[k] = true
		}
		wide := v.wide(goal, it)
		switch {
		case it.packed, !isFloat(it.DType), k >= 0 && v.opts.Keep[k].DType == "":
			if v.opts.DType != "" && k < 0 && !it.packed {
				others[it.DType]++
			}
		case k >= 0:
			to = v.opts.Keep[k].DType
		case wide != "" && !isBlocks(it.DType) && (v.opts.DType != "" || !v.isGGUF()):
			to = wide
		case v.opts.DType != "":
			if kernel(goal, it) && v.opts.DType != "F32" {
				kernels++
				continue
			}
			to = v.opts.DType
			if strings.HasPrefix(to, "F8") && len(it.Shape) < 2 {
				small++
			}
		}
		if to == it.DType && !v.bigEndian(it) {
			continue
		}
		if strings.HasPrefix(it.DType, "F8") && to != it.DType {
			raw[it.DType]++
		}
		if err := v.cast(it, to, w); err != nil {
			return err
		}
	}
	for _, dtype := range slices.Sorted(maps.Keys(others)) {
		why := "only floating-point numbers get another dtype"
		if strings.HasPrefix(dtype, "F") {
			why = "its elements are parts of numbers, whose scales are elsewhere"
		}
		v.note("%s %s: %s", staying(others[dtype]), dtype, why)
	}
	for _, dtype := range slices.Sorted(maps.Keys(raw)) {
		n := raw[dtype]
		v.note("%s %s %s, and no scale is beside %s: the elements are taken for the numbers", plural.Of(n, "tensor"), plural.Verb(n, "are"), dtype, map[bool]string{true: "it", false: "them"}[n == 1])
	}
	if v.opts.DType != "" && len(v.casts) == 0 {
		v.note("--dtype has no effect: what it would change is %s already", v.opts.DType)
	}
	if kernels > 0 {
		v.note("%s of convolutions %s: llama.cpp convolves with F16 and F32 alone, and its converter leaves some in F32", plural.Of(kernels, "kernel"), plural.Verb(kernels, "stay"))
	}
	if small > 0 {
		v.note("%s with one dimension, as those of normalisations, %s %s too; --keep 'GLOB' keeps tensors as they are", plural.Of(small, "tensor"), plural.Verb(small, "become"), v.opts.DType)
	}
	return v.unused(used)
}

// staying says how many tensors stay.
func staying(n int) string { return plural.Of(n, "tensor") + " " + plural.Verb(n, "stay") }

// wide is the dtype that a tensor has in GGUF files, whatever the others have; "" for
// none. llama.cpp's converter writes what has one dimension in F32, and so do those of
// models that no convention is known of (conversion/base.py, ModelBase.prepare_tensors).
func (v *Conversion) wide(goal *convention.Convention, it *item) string {
	if v.Container != checkpoint.GGUF {
		return ""
	}
	if goal != nil {
		t, _, _ := goal.Match(it.Name)
		if dtype := goal.Stores(t, len(it.Shape)); dtype != "" {
			return dtype
		}
	}
	if len(it.Shape) < 2 {
		return "F32"
	}
	return ""
}

// kernel reports whether a tensor is of a convolution in a tower of llama.cpp: Gemma3VisionModel of conversion/gemma.py
// stores that of patches in F32, whatever the others have, and ggml_im2col reads no other types.
func kernel(goal *convention.Convention, it *item) bool {
	const axes = 4
	return goal != nil && goal.Name == "clip-gguf" && len(it.Shape) == axes && (it.DType == "F32" || it.DType == "F16")
}

// goalNames is the convention of the result, nil for none that is known.
func (v *Conversion) goalNames() *convention.Convention {
	if v.Names != nil && v.Names.Conversion != nil {
		c, _ := convention.Lookup(v.Names.Conversion.To)
		return c
	}
	c, _ := convention.Lookup(identify.Tensors(v.named(), v.opts.Names.Model).Convention)
	return c
}

// named yields the items as conventions look at them.
func (v *Conversion) named() iter.Seq[convention.Named] {
	return func(yield func(convention.Named) bool) {
		for i := range v.items {
			if !yield(convention.Named{Name: v.items[i].Name, Shape: v.items[i].Shape, DType: v.items[i].DType}) {
				return
			}
		}
	}
}

// bigEndian reports whether the bytes of an item are in the other order than those that
// are written.
func (v *Conversion) bigEndian(it *item) bool {
	if it.at < 0 {
		return it.array.Elem.BigEndian
	}
	f := v.Source.Files[it.File].GGUF()
	return f != nil && f.ByteOrder.String() == "BigEndian"
}

// cast gives an item another dtype.
func (v *Conversion) cast(it *item, dtype string, w *arrays.Workspace) error {
	a, err := v.arrayOf(it, w)
	if err != nil {
		return err
	}
	var tally *arrays.Tally
	if dtype != it.DType {
		// Where its new name has given it another dtype, and the same numbers, what counts is
		// the one it had.
		from := it.DType
		if k := slices.Index(it.done, string(tensorop.Cast)); k >= 0 && !slices.ContainsFunc(it.done, computes) {
			from, it.done = it.fromDType, slices.Delete(slices.Clone(it.done), k, k+1)
		}
		if from != dtype {
			c := v.castOf(from, dtype)
			c.tensors++
			c.elements += a.Elements()
			tally, it.counted = &c.tally, true
			it.done = append(slices.Clip(it.done), string(tensorop.Cast))
		}
	} else {
		it.done = append(slices.Clip(it.done), "byte order")
	}
	if a, err = arrays.Cast(a, dtype, tally); err != nil {
		return fmt.Errorf("tensor %q: %w", it.Name, err)
	}
	name := it.Name
	it.Tensor, it.array, it.at = tensorOf(name, a), a, -1
	return nil
}

// computes reports whether an operation makes other numbers.
func computes(kind string) bool {
	switch tensorop.Kind(kind) {
	case tensorop.Offset, tensorop.Scale, tensorop.NegativeExp, tensorop.LogNegative:
		return true
	}
	return false
}

// castOf is the count of what becomes of one dtype.
func (v *Conversion) castOf(from, to string) *cast {
	for _, c := range v.casts {
		if c.from == from && c.to == to {
			return c
		}
	}
	c := &cast{from: from, to: to}
	v.casts = append(v.casts, c)
	return c
}

// Casts says which dtypes become which, and, once the numbers have been read, what that
// costs.
func (v *Conversion) Casts() []CastSummary {
	out := make([]CastSummary, 0, len(v.casts))
	for _, c := range v.casts {
		s := CastSummary{From: c.from, To: c.to, Tensors: c.tensors, Elements: c.elements}
		if n, times, ok := c.counts(); ok {
			s.Rounding = &Rounding{n.Inexact / times, n.Overflowed / times, n.Underflowed / times, n.NaN / times}
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b CastSummary) int {
		return cmp.Or(cmp.Compare(b.Elements, a.Elements), cmp.Compare(a.From, b.From))
	})
	return out
}

// An OperationSummary is what happens to numbers with which a convention has something computed that may not come back:
// an offset that rounds, or -exp(x).
type OperationSummary struct {
	Operation tensorop.Kind `json:"operation"`
	DType     string        `json:"dtype"`
	Tensors   int           `json:"tensors"`
	// Elements is how many numbers they have.
	Elements uint64 `json:"elements"`
	// Lost counts those that the inverse operation does not bring back, nil where the numbers have not been read.
	Lost *Lost `json:"lost"`
}

// A Lost counts numbers that do not come back as they were.
type Lost struct {
	Numbers uint64 `json:"numbers"`
	// By is by how much they differ at most, nil where one has become infinite.
	By *float64 `json:"by"`
}

// An operation is what is computed of all tensors of one dtype.
type operation struct {
	kind  tensorop.Kind
	dtype string
	counted
}

// operationOf is the count of what is computed of one dtype.
func (v *Conversion) operationOf(kind tensorop.Kind, dtype string) *operation {
	for _, o := range v.operations {
		if o.kind == kind && o.dtype == dtype {
			return o
		}
	}
	o := &operation{kind: kind, dtype: dtype}
	v.operations = append(v.operations, o)
	return o
}

// Operations says what is computed of numbers that may not come back, and, once they have been read, how many do not.
func (v *Conversion) Operations() []OperationSummary {
	out := make([]OperationSummary, 0, len(v.operations))
	for _, o := range v.operations {
		s := OperationSummary{Operation: o.kind, DType: o.dtype, Tensors: o.tensors, Elements: o.elements}
		if n, times, ok := o.counts(); ok {
			s.Lost = &Lost{Numbers: n.Inexact / times}
			if by := o.tally.Apart(); !math.IsInf(by, 0) {
				s.Lost.By = &by
			}
		}
		out = append(out, s)
	}
	return out
}

// unused refuses exceptions that no tensor is one of.
func (v *Conversion) unused(used []bool) error {
	for i, k := range v.opts.Keep {
		if used[i] {
			continue
		}
		var names []string
		for j := range v.items {
			names = append(append(names, v.items[j].Name), v.items[j].from...)
		}
		slices.Sort(names)
		names = slices.Compact(names)
		for _, t := range v.ties {
			if k.Glob.Match(t.Name) {
				return fmt.Errorf("--keep %s: %s is tied to %s, and not written; name that, or add --untie", k.Glob, t.Name, t.With)
			}
		}
		for _, earlier := range v.opts.Keep[:i] {
			if slices.ContainsFunc(names, func(name string) bool { return k.Glob.Match(name) && earlier.Glob.Match(name) }) {
				return fmt.Errorf("--keep %s: --keep %s comes first, and has all of its tensors; put the narrower one first", k.Glob, earlier.Glob)
			}
		}
		if slices.ContainsFunc(v.unchosen, func(it item) bool { return k.Glob.Match(it.Name) }) {
			return fmt.Errorf("--keep %s: --match, --regex and --exclude choose none of its tensors", k.Glob)
		}
		return fmt.Errorf("--keep %s: no tensor is called so%s", k.Glob, template.DidYouMean(string(k.Glob), names))
	}
	return nil
}

// dequantise puts the numbers of quantised weights in the place of the tensors that they
// are stored in, where numbers are to have another dtype. Without that, or where an
// exception says so, they stay as they are. What a chosen weight is quantised with counts
// whether it is chosen or not: without it, what is stored would be taken for numbers.
func (v *Conversion) dequantise(ctx context.Context) error {
	v.dequantised = len(v.orphans) > 0
	if v.isGGUF() || !slices.ContainsFunc(v.items, func(it item) bool { return !quant.Plain(it.Name, it.DType) }) {
		return nil
	}
	claim, err := v.quantClaim(ctx)
	if err != nil {
		return err
	}
	groups, judge := claim.Groups(), claim.Judge()
	all := slices.Concat(v.items, v.unchosen)
	isChosen := func(i int) bool { return i < len(v.items) }
	s := quant.NewSurvey(len(all))
	for i := range all {
		s.Add(all[i].Name, all[i].DType, all[i].Shape)
	}
	r := s.Report(claim.Options())
	contradictions := claim.Schemes(r)
	gone, made := make(map[int]bool), make(map[int]item)
	var without, alone []string // tensors of weights that are copied, and of those that are not chosen
	w := &arrays.Workspace{}
	for _, m := range r.Modules {
		if m.Scheme == nil || m.Scheme.Name == quant.Cast {
			continue
		}
		weight := m.Index(&m.Tensors[m.WeightAt()])
		if !isChosen(weight) {
			for i := range m.Tensors {
				if at := m.Index(&m.Tensors[i]); isChosen(at) {
					alone = append(alone, all[at].Name)
				}
			}
			continue
		}
		k := v.keep(&v.items[weight])
		if v.opts.DType == "" || k >= 0 && v.opts.Keep[k].DType == "" {
			v.quantised = true
			_, err := m.Formula()
			for i := range m.Tensors {
				if at := m.Index(&m.Tensors[i]); isChosen(at) {
					v.items[at].packed, v.items[at].computable = true, err == nil
				} else {
					without = append(without, all[at].Name)
				}
			}
			continue
		}
		dtype := v.opts.DType
		if k >= 0 {
			dtype = v.opts.Keep[k].DType
		}
		parts := make([]*arrays.Array, len(m.Tensors))
		old := &v.items[weight]
		it := item{fromDType: old.DType, done: []string{dequantising + m.Scheme.Name}, at: -1, counted: true}
		for i, t := range m.Tensors {
			var err error
			at := m.Index(&t)
			if parts[i], err = v.arrayOf(&all[at], w); err != nil {
				return err
			}
			gone[at] = true
			if !isChosen(at) {
				v.Unchosen--
			}
			if slices.ContainsFunc(m.Tensors[:i], func(o quant.Tensor) bool { return o.Leaf == t.Leaf }) {
				return v.twice(all[at].Name)
			}
		}
		it.from = append(it.from, old.Name)
		for i := range m.Tensors {
			if at := m.Index(&m.Tensors[i]); at != weight {
				it.from = append(it.from, all[at].Name)
			}
		}
		c := v.castOf(m.Scheme.Name, dtype)
		if g, ok := groups.Of(m.Name); ok {
			if g.Asymmetric && !slices.ContainsFunc(m.Tensors, func(t quant.Tensor) bool { return t.Leaf == zeroPoint }) {
				return fmt.Errorf("%q is quantised as %s, and %s is not there, so its numbers cannot be worked out; --keep %q copies such weights as they are", old.Name, m.Scheme.Name, zeroPoint, keepGlob(old.Name))
			}
			form := *m.Form
			form.Said, form.SaidBits = g.Inputs(), uint64(max(g.Bits, 0))
			own := *m
			own.Form = &form
			m = &own
		}
		if what := claim.Rotation(); what != "" {
			return fmt.Errorf("%q is quantised as %s, and %s turns what goes through layers while the model runs (%s), which no loader does for plain numbers; --keep %q copies such weights as they are", old.Name, m.Scheme.Name, filepath.Base(claim.Doc.Path()), what, keepGlob(old.Name))
		}
		if len(contradictions) > 0 {
			x := contradictions[0]
			return fmt.Errorf("%q is quantised as %s, and in %s %s, so its numbers cannot be worked out; correct that, or --keep %q copies such weights as they are", old.Name, m.Scheme.Name, filepath.Base(claim.Doc.Path()), x.Said, keepGlob(old.Name))
		}
		name, a, err := w.Dequantise(m, parts, dtype, &c.tally)
		if err != nil {
			return fmt.Errorf("%q is quantised as %s: %w; --keep %q copies such weights as they are", old.Name, m.Scheme.Name, err, keepGlob(old.Name))
		}
		if x := judge.Contradiction(m); x != nil {
			return fmt.Errorf("%q is quantised as %s, and %s says %s, so its numbers cannot be worked out; correct that, or --keep %q copies such weights as they are", old.Name, m.Scheme.Name, filepath.Base(claim.Doc.Path()), x.Said, keepGlob(old.Name))
		}
		c.tensors++
		c.elements += a.Elements()
		it.Tensor, it.array = tensorOf(name, a), a
		made[weight] = it
		v.dequantised = true
	}
	if err := v.unfit(r.Faults, all); err != nil {
		return err
	}
	if err := v.unscaled(ctx, all, gone, made); err != nil {
		return err
	}
	if n := len(without); n > 0 {
		v.note("%s of quantised weights %s not chosen, and the weights are copied without %s: %s; let --match and --exclude choose %[3]s, too", plural.Of(n, "tensor"), plural.Verb(n, "are"), map[bool]string{true: "it", false: "them"}[n == 1], folded(without))
	}
	if n := len(alone); n > 0 {
		v.note("%s of quantised weights %s chosen, and the weights are not: %s; --exclude leaves %s out, too", plural.Of(n, "tensor"), plural.Verb(n, "are"), folded(alone), map[bool]string{true: "it", false: "them"}[n == 1])
	}
	if len(made) == 0 {
		return nil
	}
	markers := make(map[string]bool)
	for _, name := range r.Markers {
		markers[name] = !v.quantised
	}
	items := make([]item, 0, len(v.items))
	for i := range v.items {
		switch it, ok := made[i]; {
		case ok:
			items = append(items, it)
		case markers[v.items[i].Name]:
			v.leaveOut(v.items[i].Name, "it says that weights are quantised, and none is any more")
		case !v.quantised && quant.OfActivations(v.items[i].Name):
			v.leaveOut(v.items[i].Name, "it scales what goes through a quantised layer or its cache, and none is quantised any more")
		case !gone[i]:
			items = append(items, v.items[i])
		}
	}
	v.items = items
	return nil
}

// dequantising begins what is done to a quantised weight whose numbers are worked out.
const dequantising = "dequantise "

// zeroPoint is what asymmetric weights of compressed-tensors are less by.
const zeroPoint = "weight_zero_point"

// quantClaim is what the documents of the sources say of how weights are quantised, nil for nothing. Where two of
// them differ, numbers would be worked out by the wrong one.
func (v *Conversion) quantClaim(ctx context.Context) (claim *adapt.QuantClaim, err error) {
	by := ""
	for _, c := range v.parts() {
		document := func(name string) *checkpoint.Config {
			doc, err := c.Document(ctx, name)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				v.note("%v: what it says of quantised weights is not known", err)
			}
			return doc
		}
		said := adapt.ReadQuantClaim(document("config.json"), document)
		if said == nil {
			continue
		}
		if claim != nil && *said.Options() != *claim.Options() && v.opts.DType != "" {
			return nil, fmt.Errorf("%s and %s are quantised in different ways, as their configurations say (weight_block_size, sym); convert each of them with --dtype first", by, c.Path)
		}
		if claim == nil {
			by, claim = c.Path, said
		}
	}
	return claim, nil
}

// claimedBy is the first source whose config.json says that weights are quantised, "" for none.
func (v *Conversion) claimedBy(ctx context.Context) string {
	for _, c := range v.parts() {
		doc, _ := c.Document(ctx, "config.json") // one that cannot be read says nothing
		if _, said := adapt.QuantMethod(doc); said {
			return c.Path
		}
	}
	return ""
}

// unfit refuses weights whose numbers are to be worked out, and that lack something for it or
// have what does not fit; all are the chosen tensors and then the others. The exceptions stay.
func (v *Conversion) unfit(faults []quant.Fault, all []item) error {
	var scaled []string
	for _, f := range faults {
		if f.Kind == quant.Unneeded && f.Module.Index(f.Weight) < len(v.items) && v.opts.DType != "" {
			scaled = append(scaled, all[f.Module.Index(f.Tensor)].Name)
		}
		if f.Kind == quant.Orphan && v.opts.DType != "" && f.Module.Index(f.Tensor) < len(v.items) && isFloat(f.Tensor.DType) {
			it := &v.items[f.Module.Index(f.Tensor)]
			if k := v.keep(it); k < 0 || v.opts.Keep[k].DType != "" {
				return fmt.Errorf("%q is called as the scales of a weight are, which is not there, and %s of its numbers would say nothing; --exclude or --keep %q leaves it", it.Name, v.opts.DType, keepGlob(it.Name))
			}
		}
		// What else a module with a scheme lacks, a scale of its inputs, its numbers do not need.
		known := f.Module.Scheme != nil && f.Module.Scheme.Name != quant.Cast
		if v.opts.DType == "" || known || f.Kind != quant.Lost && f.Kind != quant.Misfit || f.Module.Index(f.Weight) >= len(v.items) {
			continue
		}
		weight := v.items[f.Module.Index(f.Weight)].Name
		if k := v.keep(&v.items[f.Module.Index(f.Weight)]); k >= 0 && v.opts.Keep[k].DType == "" {
			for i := range f.Module.Tensors {
				if at := f.Module.Index(&f.Module.Tensors[i]); at < len(v.items) {
					v.items[at].packed = true
				}
			}
			v.quantised = true
			continue
		}
		what := strings.TrimPrefix(f.Leaf, "_") + " is not there"
		if f.Kind == quant.Misfit {
			what = fmt.Sprintf("%s, %s of the shape %v, does not fit it", all[f.Module.Index(f.Tensor)].Name, f.Tensor.DType, f.Tensor.Shape)
			if f.Tensor == f.Weight {
				what = fmt.Sprintf("%s of the shape %v does not fit that", f.Tensor.DType, f.Tensor.Shape)
			}
			if f.Want != "" {
				what += " (" + f.Want + " would)"
			}
		}
		return fmt.Errorf("%q is quantised as %s, and %s, so its numbers cannot be worked out; --keep %q copies such weights as they are", weight, f.Scheme, what, keepGlob(weight))
	}
	if len(scaled) > 0 {
		v.note("%s: what is beside %s is no codes but floating-point numbers, which are taken as they are, and not scaled", folded(scaled), map[bool]string{true: "it", false: "them"}[len(scaled) == 1])
	}
	return nil
}

// unscaled refuses weights whose elements are codes, and whose numbers would be asked for, where something
// beside them, chosen or not, their names or the configuration says so: those that follow no scheme, and
// those made whose scheme does not know all that scales them. What is gone is part of numbers that were
// worked out. The exceptions stay.
func (v *Conversion) unscaled(ctx context.Context, all []item, gone map[int]bool, made map[int]item) error {
	intoGGUF := v.Container == checkpoint.GGUF // which has integers, and no weights in codes of others
	if v.opts.DType == "" && !intoGGUF {
		return nil
	}
	rest := func(counts func(name string) bool) func(weight string) string {
		return quant.Scales(func(yield func(string) bool) {
			for i := range all {
				if !gone[i] && counts(all[i].Name) && !yield(all[i].Name) {
					return
				}
			}
		})
	}
	scaleOf := rest(func(string) bool { return true })
	// A scheme that is followed has its scale; what was seen of a quantizer is none.
	further := rest(func(name string) bool {
		leaf := name[strings.LastIndexByte(name, '.')+1:]
		return !quant.OfActivations(name) && !strings.Contains(strings.ToLower(leaf), "amax")
	})
	said := v.saidQuantised(ctx)
	for i := range v.items {
		it := &v.items[i]
		if _, ok := made[i]; ok {
			if scale := further(it.Name); scale != "" {
				return fmt.Errorf("%q is quantised as %s, and %q is beside it, which is no part of that, so its numbers cannot be worked out; --keep %q copies such weights as they are", it.Name, strings.TrimPrefix(made[i].done[0], dequantising), scale, keepGlob(it.Name))
			}
			continue
		}
		if gone[i] || it.packed || len(it.Shape) < 2 || !mayBeCodes(it.DType) {
			continue
		}
		scale := scaleOf(it.Name)
		isF8 := strings.HasPrefix(it.DType, "F8")
		isPacked, _ := quant.Leaf(it.Name)
		if !isF8 && !isPacked && it.Name != "weight" && !strings.HasSuffix(it.Name, ".weight") && (scale == "" || !strings.HasPrefix(scale, it.Name)) {
			continue // integers that are no weight: positions, masks
		}
		why := ""
		switch {
		case scale == it.Name:
			why = "it is called as the scales of a weight are, whose elements are not there"
		case scale != "":
			why = fmt.Sprintf("%q is beside it, and no scheme that is known here has both", scale)
		case isPacked:
			why = "it is called as packed weights are, and no scale is beside it"
		case said != "":
			why = said + ", and no scale is beside it"
		default:
			continue
		}
		to := v.opts.DType
		if k := v.keep(it); k >= 0 {
			to = v.opts.Keep[k].DType
		}
		if to == it.DType || to == "" && v.opts.DType != "" {
			v.quantised = true
			continue // the codes stay
		}
		how := fmt.Sprintf("--keep %q copies such weights as they are", keepGlob(it.Name))
		if v.opts.DType == "" {
			how = "a GGUF file needs the numbers: take the checkpoint that was quantised"
		}
		return fmt.Errorf("%q is %s, and %s, so its numbers cannot be worked out; %s", it.Name, it.DType, why, how)
	}
	return nil
}

// saidQuantised is which document of the sources says that weights are quantised, and how, "" for none.
func (v *Conversion) saidQuantised(ctx context.Context) string {
	for _, c := range v.parts() {
		doc, _ := c.Document(ctx, "config.json") // one that cannot be read says nothing
		if method, ok := adapt.QuantMethod(doc); ok {
			return strings.TrimSuffix(fmt.Sprintf("config.json says that weights are quantised (%s)", method), " ()")
		}
		for _, name := range quantDocuments {
			if _, err := c.Document(ctx, name); !errors.Is(err, fs.ErrNotExist) {
				return name + " says that weights are quantised"
			}
		}
	}
	return ""
}

// folded lists names, those that are alike as one.
func folded(names []string) string {
	const few = 4
	list := template.FoldNames(names)
	texts := make([]string, 0, few)
	for _, t := range list[:min(few, len(list))] {
		texts = append(texts, t.Name)
	}
	if more := len(list) - few; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, ", ")
}

// keepGlob is a glob of the names of weights that are alike.
func keepGlob(name string) string {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return "*" + name[i:]
	}
	return name
}
