package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/assemble"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/arrays"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/adapter"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/tensorop"
	"github.com/wtinspect/wtinspect/safetensors"
)

// ConvertOptions say what the new checkpoint is to be.
type ConvertOptions struct {
	// Select chooses tensors by the names that they have, nil for all. What is chosen is
	// the model of all that follows.
	Select func(name string) bool
	// Prefer says which tensor counts of those that have one name in several sources.
	Prefer checkpoint.Prefer
	// Names says what the tensors are called. Its Select, Inverse and Rewrite are not
	// used. Without a map, a convention and an edit the names stay, unless the container
	// is another one: then they are those of its projects.
	Names RenameOptions
	// KeepNames has the names stay in another container, too.
	KeepNames bool
	// DType is what tensors of floating-point numbers become, "" for as they are. Keep has
	// exceptions.
	DType string
	Keep  []Keep
	// Container is the format, "" for the one that Output is named after, or that of the
	// source.
	Container checkpoint.Format
	// Like is a GGUF checkpoint whose key/values the new one gets. It stays open until the
	// conversion has run.
	Like *checkpoint.Checkpoint
	// MaxShardSize bounds the tensors in a file. 0 is as much as a file of the source
	// has at most.
	MaxShardSize int64
	// SingleFile puts all tensors into one file.
	SingleFile bool
	// Untie copies the elements of tied tensors for each of them. Otherwise one of them is
	// in the result, and the others are left out.
	Untie bool
	// Write says where the result goes. Without an Output nothing can be written.
	Write assemble.Options
}

// A Conversion is a plan for a new checkpoint, and the job that writes it. Nothing has
// been written before [Conversion.Run].
type Conversion struct {
	// Source is what it is made of: one checkpoint, or several as one.
	Source *checkpoint.Checkpoint
	// Names is the plan for the names, nil where they stay.
	Names     *Renaming
	Container checkpoint.Format
	// LeftOut are tensors of the source of which nothing is in the new checkpoint. Those
	// that were not chosen are counted only.
	LeftOut   []LeftOut
	Unchosen  int
	Documents []ConvertedDocument
	// Missing are documents that a release of this container has, and that cannot be made
	// from what the source says.
	Missing []string
	// Notes are for people.
	Notes []string
	// Job writes the result, nil where the plan is refused, or when it cannot be prepared;
	// Err says why it cannot. Without an Output it can be looked at alone.
	Job *assemble.Job
	Err error
	// Excess is the [ReadLimitError] of Run where the source is on another machine and
	// more of it is to be read than the context allows.
	Excess error
	// Report is what Run has done.
	Report *rewrite.Report

	opts   ConvertOptions
	ending checkpoint.Format // that Output is named after, "" for a directory
	made   []made            // the tensors of the result; see All
	items  []item
	// unchosen tensors are not in the result, but chosen weights may be quantised with them.
	unchosen []item
	// orphans are scales of weights that another source's count instead of, and why they are left out.
	orphans map[string]string
	// instead are weights that count instead of quantised ones of another source.
	instead map[string]bool
	casts   []*cast
	// operations are what conventions have computed of numbers.
	operations []*operation
	// quantised weights stay as they are, dequantised ones are numbers.
	quantised, dequantised bool
	likeModel              bool // the model's numbers are those of Like
	kvs                    []checkpoint.MetaKV
	reach                  *reach
	tied                   []Tie // that are left out
	ties                   []Tie // the same, by their names in the source
}

// A NewTensor is a tensor of a new checkpoint.
type NewTensor struct {
	Name, DType string
	Shape       []uint64
	Bytes       uint64
	// From are the tensors that it is made of, and FromDType is that of the first.
	From      []string
	FromDType string
	// Done is what is done with them, "" for a copy of the bytes.
	Done string
}

// A LeftOut tensor is not in the new checkpoint.
type LeftOut struct{ Name, Reason string }

// A ConvertSummary counts what a conversion does.
type ConvertSummary struct {
	// SourceTensors and SourceBytes are of the source, Tensors and Bytes of the result.
	SourceTensors int    `json:"source_tensors"`
	SourceBytes   uint64 `json:"source_bytes"`
	// RemoteBytes are read of the source from other machines to write the result.
	RemoteBytes uint64 `json:"remote_bytes"`
	Tensors     int    `json:"tensors"`
	Bytes       uint64 `json:"bytes"`
	// Copied tensors keep every byte, under whatever name; the others are computed.
	Copied int `json:"copied"`
	// Renamed tensors have another name.
	Renamed int `json:"renamed"`
	// Unchosen tensors were not chosen, LeftOut were left out otherwise.
	Unchosen int `json:"unchosen"`
	LeftOut  int `json:"left_out"`
}

// A CastSummary is what happens to the tensors of one dtype that get another one.
type CastSummary struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Tensors int    `json:"tensors"`
	// Elements is how many numbers they have.
	Elements uint64 `json:"elements"`
	// Rounding is what that costs, nil where the numbers have not been read.
	Rounding *Rounding `json:"rounding"`
}

// A Rounding counts numbers that got another dtype.
type Rounding struct {
	// Inexact are the numbers that changed, Overflowed and Underflowed included.
	Inexact uint64 `json:"inexact"`
	// Overflowed are larger than any of the new dtype: they are infinite, or NaN where it
	// has no infinities.
	Overflowed uint64 `json:"overflowed"`
	// Underflowed were not 0, and are.
	Underflowed uint64 `json:"underflowed"`
	// NaN are no numbers, before and after.
	NaN uint64 `json:"nan"`
}

// An item is a tensor on its way to the new checkpoint.
type item struct {
	checkpoint.Tensor
	from      []string
	fromDType string
	done      []string
	at        int           // in its source, -1 for one that is computed
	array     *arrays.Array // of one that is computed
	packed    bool          // part of a quantised weight that stays
	// computable ones are packed, and the weight's numbers can be worked out.
	computable bool
	counted    bool // its numbers get another dtype
}

// Convert plans a new checkpoint that is made of others. Reasons that keep it from
// being written are in the result; an error means that there is no plan to speak of.
func Convert(ctx context.Context, sources []*checkpoint.Checkpoint, opts *ConvertOptions) (*Conversion, error) {
	v := &Conversion{opts: *opts, LeftOut: []LeftOut{}, Documents: []ConvertedDocument{}, Missing: []string{}, Notes: []string{}}
	if err := v.unite(sources); err != nil {
		return nil, err
	}
	if err := v.contain(); err != nil {
		return nil, err
	}
	if v.opts.Names.Model == nil {
		var err error
		if v.opts.Names.Model, err = Model(ctx, v.Source, ""); err != nil {
			return nil, err
		}
	}
	// Weights without a configuration are of the model that they are to be like.
	if m := v.opts.Names.Model; v.opts.Like != nil && len(m.Documents) == 0 && m.Adapter == nil {
		v.opts.Names.Model, v.likeModel = adapt.ModelWith(v.opts.Like, nil), true
	}
	if err := v.choose(ctx); err != nil {
		return nil, err
	}
	if err := v.holdable(ctx); err != nil {
		return nil, err
	}
	if err := v.dequantise(ctx); err != nil {
		return nil, err
	}
	if err := v.name(ctx); err != nil {
		return nil, err
	}
	if v.Refused() {
		return v, ctx.Err()
	}
	if err := v.number(); err != nil {
		return nil, err
	}
	if err := v.store(ctx); err != nil {
		return nil, err
	}
	if n := len(sources); n == 1 && v.opts.Prefer != checkpoint.PreferNone {
		v.note("--prefer has no effect: there is one source")
	}
	if v.opts.Untie && v.Source.Format != checkpoint.PyTorch {
		v.note("--untie has no effect: only PyTorch files have tensors that share their bytes")
	}
	v.list()
	v.reach = v.away(ctx, func(*item) bool { return true })
	if v.opts.Write.Verify == rewrite.VerifyFull {
		v.reach.bytes *= 2
	}
	v.Excess = v.reach.excess()
	if err := v.prepare(ctx); err != nil {
		return nil, err
	}
	if err := v.judge(ctx); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, ctx.Err()
}

// Refused reports whether the plan for the names is refused.
func (v *Conversion) Refused() bool { return v.Names != nil && len(v.Names.Plan.Problems) > 0 }

// contain finds out which format the result has.
func (v *Conversion) contain() error {
	switch strings.ToLower(filepath.Ext(v.opts.Write.Output)) {
	case ".safetensors":
		v.ending = checkpoint.Safetensors
	case ".gguf":
		v.ending = checkpoint.GGUF
	}
	if v.opts.Container != "" && v.ending != "" && v.ending != v.opts.Container {
		return fmt.Errorf("%s is named after %s, and the container is to be %s; name a file that ends in .%s, or a directory", v.opts.Write.Output, v.ending, v.opts.Container, v.opts.Container)
	}
	same := v.Source.Format
	if same == checkpoint.PyTorch || same == checkpoint.NumPy {
		same = checkpoint.Safetensors
	}
	v.Container = cmp.Or(v.opts.Container, v.ending, same)
	if v.opts.MaxShardSize > 0 && v.ending != "" {
		return fmt.Errorf("%s is one file, and shards need a directory; name one, or leave --max-shard-size out", v.opts.Write.Output)
	}
	if v.Container != checkpoint.Safetensors && v.Container != checkpoint.GGUF {
		return fmt.Errorf("%s: a checkpoint cannot be written as %q; the formats are %s and %s", v.Source.Path, v.Container, checkpoint.Safetensors, checkpoint.GGUF)
	}
	if v.opts.Like != nil && v.Container != checkpoint.GGUF {
		return errors.New("--like gives key/values to a GGUF file, and the result is safetensors; name it -o X.gguf, or add --container gguf")
	}
	return nil
}

// isGGUF reports whether the tensors come from GGUF files.
func (v *Conversion) isGGUF() bool { return v.Source.Format == checkpoint.GGUF }

// choose makes the items of the tensors that are chosen.
func (v *Conversion) choose(ctx context.Context) error {
	c := v.Source
	for _, f := range c.Files {
		switch {
		case f.Err != nil:
			return f.Err
		case f.Missing && !c.NamesOnly():
			return fmt.Errorf("%s is missing; a new checkpoint needs all files of the old one", f.Path)
		}
	}
	if c.NamesOnly() {
		return fmt.Errorf("%s is an index without its shards, and there is nothing to convert", c.Path)
	}
	if err := v.complete(ctx); err != nil {
		return err
	}
	kept := v.kept()
	twice := make(map[string]bool, c.Len())
	v.items = make([]item, 0, c.Len())
	for i, t := range c.All() {
		it := item{Tensor: t, from: []string{t.Name}, fromDType: t.DType, at: i}
		if reason, ok := v.orphans[t.Name]; ok {
			v.leaveOut(t.Name, "%s", reason)
			continue
		}
		if v.opts.Select != nil && !v.opts.Select(t.Name) {
			v.Unchosen++
			v.unchosen = append(v.unchosen, it)
			continue
		}
		if k, ok := kept[i]; ok && k != i {
			tie := Tie{t.Name, c.At(k).Name, c.Reshaped(i, k)}
			v.ties = append(v.ties, tie)
			how := ""
			if tie.Reshaped {
				how = " in another shape or order; --untie writes it, too"
			}
			v.leaveOut(t.Name, "it is tied to %s, and has its bytes%s", tie.With, how)
			continue
		}
		if twice[t.Name] {
			return v.twice(t.Name)
		}
		twice[t.Name] = true
		v.items = append(v.items, it)
	}
	v.tied = v.ties
	switch {
	case c.Len() == 0:
		return fmt.Errorf("%s has no tensors, and there is nothing to convert", c.Path)
	case len(v.items) == 0:
		return fmt.Errorf("none of the %s of %s is chosen, and a checkpoint without tensors is none", plural.Of(c.Len(), "tensor"), c.Path)
	}
	v.parted()
	for _, part := range v.parts() {
		if of := shardsOf(part); of > 1 {
			v.note("%s is one of %d files, and only its tensors are converted; with the directory as SRC all are", part.Path, of)
		}
	}
	return nil
}

// parted notes changes of an adapter of which one half is chosen without the other.
func (v *Conversion) parted() {
	if len(v.unchosen) == 0 {
		return
	}
	a := identify.ReadAdapter(slices.Collect(adapt.Tensors(v.Source)), v.opts.Names.Model, nil)
	if a == nil {
		return
	}
	var without []string
	for _, c := range a.Components {
		for _, change := range c.Modules {
			for part, i := range change.Parts {
				other, ok := change.Parts[adapter.PartOf(part).With]
				if ok && v.opts.Select(a.Tensors[i].Name) && !v.opts.Select(a.Tensors[other].Name) {
					without = append(without, a.Tensors[other].Name)
				}
			}
		}
	}
	if n := len(without); n > 0 {
		slices.Sort(without)
		v.note("%s of the adapter %s not chosen, and the other halves change nothing without %s: %s; let --match and --exclude choose %[3]s, too", plural.Of(n, "tensor"), plural.Verb(n, "are"), map[bool]string{true: "it", false: "them"}[n == 1], folded(without))
	}
}

// shardsOf is how many files a set has of which a checkpoint is a single one by its name, 0 for none.
func shardsOf(c *checkpoint.Checkpoint) int {
	if len(c.Files) != 1 || c.Format == checkpoint.GGUF {
		return 0
	}
	name := path.Base(filepath.ToSlash(c.Files[0].Name))
	_, _, of, _ := safetensors.ParseShardName(strings.TrimSuffix(name, path.Ext(name)) + ".safetensors")
	return of
}

// kept are the places of the tensors that are written, by the places of those that are tied to them. Of
// tied tensors that is the one that no model of its convention does without, an embedding and not
// the head, and otherwise the first.
func (v *Conversion) kept() map[int]int {
	c := v.Source
	if v.opts.Untie || c.Format != checkpoint.PyTorch {
		return nil
	}
	tied := false
	for i := 0; i < c.Len() && !tied; i++ {
		_, tied = c.TiedTo(i)
	}
	if !tied {
		return nil
	}
	models, _ := torchModels(c)
	type group struct {
		first int
		model string // each of several has its own
	}
	groups := make(map[group][]int)
	ties := false
	for i, t := range c.All() {
		if v.opts.Select != nil && !v.opts.Select(t.Name) {
			continue
		}
		first, ok := c.TiedTo(i)
		if !ok {
			first = i
		}
		g := group{first, modelOf(t.Name, SubtreeText(c), models)}
		groups[g] = append(groups[g], i)
		ties = ties || len(groups[g]) > 1
	}
	if !ties {
		return nil
	}
	read := identify.Read(adapt.Tensors(c), v.opts.Names.Model)
	conv, _ := convention.Lookup(read.Convention)
	places := read.Places(conv)
	kept := make(map[int]int)
	for _, list := range groups {
		if tied, said := v.tiesHead(); said && !tied {
			list = slices.DeleteFunc(list, func(i int) bool {
				t := places[i].Tensor
				if t == nil || t.Role != "head.weight" || len(list) == 1 {
					return false
				}
				v.note("%s: it is tied in the file, and tie_word_embeddings is false in config.json: loaders look for it, so the result has its own bytes for it", c.At(i).Name)
				return true
			})
		}
		if len(list) < 2 {
			continue
		}
		k := max(0, slices.IndexFunc(list, func(i int) bool {
			t := places[i].Tensor
			return t != nil && !t.Optional
		}))
		for _, i := range list {
			kept[i] = list[k]
		}
	}
	return kept
}

// tiesHead is what the configuration says of the head, and whether it says anything.
func (v *Conversion) tiesHead() (tied, said bool) {
	for _, c := range v.parts() {
		if tied, said = c.Config.Bool("tie_word_embeddings"); said {
			return tied, true
		}
	}
	return false, false
}

// parts are the sources as they were given.
func (v *Conversion) parts() []*checkpoint.Checkpoint {
	if v.Source.Of != nil {
		return v.Source.Of
	}
	return []*checkpoint.Checkpoint{v.Source}
}

// complete refuses a source whose index names a tensor that no shard has, as one that lacks a
// shard: the new index could not name it. Those that only a shard has are named there. So is a part
// of a GGUF split whose name does not say where the others are.
func (v *Conversion) complete(ctx context.Context) error {
	if err := v.whole(); err != nil {
		return err
	}
	for _, c := range v.parts() {
		if c.Index == "" {
			continue
		}
		var added []string
		for _, f := range c.Validate(ctx) {
			switch {
			case f.Tensor == "" || v.opts.Select != nil && !v.opts.Select(f.Tensor):
			case f.Code == checkpoint.CodeMissingTensor:
				return fmt.Errorf("%s names %q, and no shard holds it; a new checkpoint needs all tensors of the old one, and --exclude %[2]q does without", c.Index, f.Tensor)
			case f.Code == checkpoint.CodeUnmappedTensor:
				added = append(added, f.Tensor)
			}
		}
		if len(added) > 0 {
			v.note("%s does not name %s, which the shards hold and the result has", c.Index, folded(added))
		}
	}
	return ctx.Err()
}

// whole refuses parts of a GGUF split that have other names than such parts have, unless all of them are sources.
func (v *Conversion) whole() error {
	there := make(map[int]bool)
	path, of := "", 0
	for _, c := range v.parts() {
		if len(c.Files) != 1 || c.Files[0].GGUF() == nil {
			continue
		}
		s, ok, err := c.Files[0].GGUF().Split()
		if err != nil {
			return fmt.Errorf("%s: %w", c.Path, err)
		}
		if ok && s.Count > 1 {
			there[s.No] = true
			path, of = cmp.Or(path, c.Path), max(of, s.Count)
		}
	}
	if len(there) < of {
		return fmt.Errorf("%s is part of a model in %d files by its metadata (split.count), and only %d of them %s here; name all of them as they were called, %s, and convert the directory", path, of, len(there), plural.Verb(len(there), "are"), gguf.SplitName("NAME", 1, of))
	}
	return nil
}

// twice refuses a source with two tensors of one name.
func (v *Conversion) twice(name string) error {
	return fmt.Errorf("%s has two tensors called %q; 'wtinspect check' says where", v.Source.Path, name)
}

// leaveOut notes a tensor of which nothing is in the result.
func (v *Conversion) leaveOut(name, format string, args ...any) {
	v.LeftOut = append(v.LeftOut, LeftOut{name, fmt.Sprintf(format, args...)})
}

// note says something to people, once.
func (v *Conversion) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(v.Notes, text) {
		v.Notes = append(v.Notes, text)
	}
}

// arrayOf is the array of an item.
func (v *Conversion) arrayOf(it *item, w *arrays.Workspace) (*arrays.Array, error) {
	if it.at < 0 {
		return it.array, nil
	}
	t := v.Source.At(it.at)
	data, err := v.Source.Data(it.at)
	if err != nil {
		return nil, err
	}
	file := v.Source.Files[t.File]
	a, err := arrays.Stored(file, t, w.Tensor(data, 0, data.Size()))
	if err != nil {
		return nil, fmt.Errorf("%s: tensor %q: %w; 'wtinspect check' says more, and --exclude %[2]q does without", file.Path, t.Name, err)
	}
	return a, nil
}

// name gives the items their new names, and carries out what that does to their bytes.
func (v *Conversion) name(ctx context.Context) error {
	names := v.opts.Names
	names.Select = nil
	if names.Map == nil && names.To == "" && names.Edit.IsZero() {
		if v.opts.KeepNames {
			return nil
		}
		to, err := v.goal()
		if err != nil || to == "" {
			return err
		}
		names.To = to
	}
	tensors := make([]checkpoint.Tensor, len(v.items))
	for i := range v.items {
		tensors[i] = v.items[i].Tensor
	}
	var err error
	names.beside = v.beside(ctx)
	v.Names, err = newRenaming(ctx, v.Source, tensors, v.Container, &names)
	if err == nil {
		v.renameTies(ctx, &names)
	}
	if err != nil || v.Refused() {
		r, ok := errors.AsType[*convert.RefusalError](err)
		if ok && slices.ContainsFunc(v.items, func(it item) bool { return it.computable && it.Name == r.Tensor }) {
			if v.opts.DType != "" {
				return fmt.Errorf("%w; without the --keep that names it, its numbers are worked out and can be moved", err)
			}
			return fmt.Errorf("%w; --dtype bf16 works out its numbers, which can be moved", err)
		}
		return err
	}
	if err := v.readable(); err != nil {
		return err
	}
	if c := v.Names.Conversion; c != nil && v.Container == checkpoint.Safetensors && !v.isGGUF() {
		if to, ok := convention.Lookup(c.To); ok && to.HasDialect("gguf") {
			v.note("the result is safetensors: only names and tensors are converted; --container gguf changes the format")
		}
	}
	for _, f := range v.Names.Plan.LeftBehind() {
		v.note("%s: %s; %s", f.Where, f.Message, f.Hint)
	}
	if v.opts.DType != "" && v.Names.Conversion != nil {
		v.Names.Conversion.Recast()
	}
	old, before := v.items, v.casts
	failed, err := v.Names.prepare(func() error {
		v.casts, v.operations = slices.Clone(before), nil
		return v.carryOut(ctx, old)
	})
	return errors.Join(failed, err)
}

// readable refuses names that no reader of the container looks for: those of another project in a GGUF
// file of a model that llama.cpp has names for. What an edit or a map gives is the user's choice.
func (v *Conversion) readable() error {
	if v.Container != checkpoint.GGUF || v.Names.Conversion == nil || v.Names.Conversion.Dialect != "" {
		return nil
	}
	to, ok := convention.Lookup(v.Names.Conversion.To)
	if !ok || to.HasDialect("gguf") {
		return nil
	}
	own, err := convert.Target("gguf", to, v.opts.Names.Model)
	if err != nil {
		return nil // there are none of this model
	}
	return &convert.RefusalError{From: v.Names.Conversion.From, To: to.Name, Reason: fmt.Sprintf("readers of GGUF files look for the names of %s; --container safetensors writes these, and --to %[1]s gives those", own.Name)}
}

// beside is what the result has beside its tensors that says of which model they are.
func (v *Conversion) beside(ctx context.Context) *convention.Model {
	switch {
	case v.Container == checkpoint.GGUF && v.opts.Like != nil:
		return adapt.ModelWith(v.opts.Like, nil)
	case v.Container == checkpoint.GGUF && v.isGGUF():
		return adapt.ModelWith(v.Source, nil)
	case v.Container == checkpoint.GGUF || v.ending != "" || !v.parts()[0].IsRelease():
		return new(convention.Model)
	}
	m, _ := adapt.Model(ctx, v.parts()[0]) // a document that cannot be read says nothing
	return m
}

// goal is the convention whose names the container is to have, "" where the names stay:
// in the same container, and where they are such already.
func (v *Conversion) goal() (string, error) {
	if v.Container == v.Source.Format || !v.isGGUF() && v.Container == checkpoint.Safetensors {
		return "", nil
	}
	from, _, err := sourceOf(v.Source.Path, slices.Collect(v.named()), v.opts.Names.From, v.opts.Names.Model)
	if err != nil {
		return "", err
	}
	switch isGGUF := from.HasDialect("gguf"); {
	case isGGUF == (v.Container == checkpoint.GGUF):
		v.note("the names stay: they are those of %s", from.Name)
		return "", nil
	case isGGUF:
		return "hf", nil
	}
	if v.opts.Like != nil {
		if to, ok := convention.Lookup(v.opts.Like.Architecture(nil) + "-gguf"); ok && slices.ContainsFunc(from.Families, to.HasFamily) {
			return to.Name, nil
		}
	}
	// There are GGUF files of such models as well, with the names that others have, too.
	if _, err := convert.Target("gguf", from, v.opts.Names.Model); err != nil && !from.Language {
		return "", fmt.Errorf("%w; --keep-names leaves the names as they are", err)
	}
	return "gguf", nil
}

// carryOut does what the plan says with items.
func (v *Conversion) carryOut(ctx context.Context, old []item) error {
	plan := v.Names.Plan
	v.items = make([]item, 0, len(old))
	w := &arrays.Workspace{}
	err := v.Names.tied(ctx, func(name string) (*arrays.Array, error) {
		return v.arrayOf(&old[slices.IndexFunc(old, func(it item) bool { return it.Name == name })], w)
	})
	if err != nil {
		return err
	}
	first := make(map[int]*rename.Transform, len(plan.Transforms))
	for i := range plan.Transforms {
		first[plan.Transforms[i].Rows[0]] = &plan.Transforms[i]
	}
	left := make([]LeftOut, 0)
	for i := range old {
		row := &plan.Rows[i]
		switch row.Action {
		case rename.Keep, rename.Move:
			it := old[i]
			it.Name = row.To
			v.items = append(v.items, it)
		case rename.Drop:
			reason := cmp.Or(row.Reason, "the map drops it")
			if v.Names.Conversion != nil && v.Container == checkpoint.Safetensors {
				if why, ok := v.factors(ctx, &old[i], w); ok {
					reason = why
				}
			}
			left = append(left, LeftOut{row.From, reason})
		default:
			if tr := first[i]; tr != nil {
				made, err := v.operate(w, tr, old)
				if err != nil {
					return err
				}
				v.items = append(v.items, made...)
			}
		}
	}
	if len(v.items) == 0 {
		return fmt.Errorf("no tensor is left of %s, and a checkpoint without tensors is none", v.Source.Path)
	}
	v.LeftOut = append(v.LeftOut, left...)
	return nil
}

// operate makes the items of a transform.
func (v *Conversion) operate(w *arrays.Workspace, tr *rename.Transform, old []item) ([]item, error) {
	operands := make([]*arrays.Array, len(tr.Rows))
	for k, row := range tr.Rows {
		var err error
		if operands[k], err = v.arrayOf(&old[row], w); err != nil {
			return nil, err
		}
	}
	of := fmt.Sprintf("%q", tr.From[0])
	if more := len(tr.From) - 1; more > 0 {
		of = fmt.Sprintf("%q and %d more", tr.From[0], more)
	}
	type rounded struct {
		*operation
		elements uint64
	}
	var computed []rounded
	w.Rounds = func(op *tensorop.Op, a *arrays.Array) *arrays.Tally {
		computed = append(computed, rounded{v.operationOf(op.Kind, a.Elem.DType), a.Elements()})
		return &computed[len(computed)-1].tally
	}
	out, _, _, err := w.OperateAll(tr.Ops, operands, of)
	var tally *arrays.Tally
	numbered := ""
	if err != nil && slices.ContainsFunc(operands, func(a *arrays.Array) bool { return isBlocks(a.Elem.DType) }) {
		// Their numbers can be moved as blocks cannot, and are given their dtype afterwards.
		numbered = v.numbersOf(tr, old)
		if numbered == "F32" {
			tally = &v.castOf(operands[0].Elem.DType, numbered).tally
		}
		for k := range operands {
			var failed error
			if operands[k], failed = arrays.Cast(operands[k], "F32", tally); failed != nil {
				return nil, fmt.Errorf("%s: %w", v.Source.Path, err)
			}
		}
		computed = nil
		moved, _, _, failed := w.OperateAll(tr.Ops, operands, of)
		switch {
		case failed != nil:
		case numbered == "" && v.opts.DType != "":
			err = fmt.Errorf("%w; without the --keep that names it, its numbers are worked out and can be moved", err)
		case numbered == "":
			err = fmt.Errorf("%w; --dtype bf16 works out its numbers, which can be moved", err)
		default:
			out, err = moved, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v.Source.Path, err)
	}
	if len(out) != len(tr.To) {
		return nil, fmt.Errorf("%s: the operations on %s leave %d tensors, and there are %d names", v.Source.Path, of, len(out), len(tr.To))
	}
	for _, c := range computed {
		c.tensors++
		c.operation.elements += c.elements
	}
	var from, done []string
	for _, row := range tr.Rows {
		from, done = append(from, old[row].from...), old[row].done
	}
	if numbered != "" {
		done = append(slices.Clip(done), string(tensorop.Cast))
	}
	for i := range tr.Ops {
		if kind := string(tr.Ops[i].Kind); !slices.Contains(done, kind) {
			done = append(slices.Clip(done), kind)
		}
	}
	items := make([]item, len(out))
	for k, a := range out {
		items[k] = item{Tensor: tensorOf(tr.To[k], a), from: from, fromDType: old[tr.Rows[0]].fromDType, done: done, at: -1, array: a, counted: tally != nil || len(computed) > 0}
		if tally != nil {
			c := v.castOf(items[k].fromDType, numbered)
			c.tensors++
			c.elements += a.Elements()
		}
	}
	return items, nil
}

// numbersOf is the dtype that what a transform makes of blocks is to have, "" where it stays in blocks.
func (v *Conversion) numbersOf(tr *rename.Transform, old []item) string {
	dtype := v.opts.DType
	for _, name := range tr.To {
		it := item{Tensor: checkpoint.Tensor{Name: name}}
		for _, row := range tr.Rows {
			it.from = append(it.from, old[row].from...)
		}
		if k := v.keep(&it); k >= 0 {
			dtype = v.opts.Keep[k].DType
		}
		if dtype == "" {
			return ""
		}
	}
	return dtype
}

// tensorOf describes an array.
func tensorOf(name string, a *arrays.Array) checkpoint.Tensor {
	return checkpoint.Tensor{Name: name, DType: a.Elem.DType, Shape: a.Dims(), File: -1, Offset: -1, Bytes: uint64(a.Size()), BytesKnown: true}
}

// A made is a tensor of the result. There may be a hundred thousand, and most of them are those of the
// source under whatever name.
type made struct {
	name string
	at   int        // in the source, of one that is a copy
	by   *NewTensor // nil for a copy
}

// list describes the result.
func (v *Conversion) list() {
	v.made = make([]made, 0, len(v.items))
	for i := range v.items {
		it := &v.items[i]
		m := made{name: it.Name, at: it.at}
		if !v.isCopy(it) {
			m.by = &NewTensor{it.Name, it.DType, it.Shape, it.Bytes, it.from, it.fromDType, strings.Join(it.done, ", ")}
		}
		v.made = append(v.made, m)
	}
}

// isCopy reports whether an item is a tensor of the source in all but its name.
func (v *Conversion) isCopy(it *item) bool {
	if it.at < 0 || len(it.done) > 0 || len(it.from) != 1 {
		return false
	}
	t := v.Source.At(it.at)
	return it.from[0] == t.Name && it.fromDType == t.DType && it.DType == t.DType && it.Bytes == t.Bytes && slices.Equal(it.Shape, t.Shape)
}

// Len returns the number of tensors of the new checkpoint.
func (v *Conversion) Len() int { return len(v.made) }

// All iterates over the tensors of the new checkpoint.
func (v *Conversion) All() iter.Seq[NewTensor] {
	return func(yield func(NewTensor) bool) {
		for _, m := range v.made {
			if m.by != nil {
				if !yield(*m.by) {
					return
				}
				continue
			}
			t := v.Source.At(m.at)
			if !yield(NewTensor{m.name, t.DType, t.Shape, t.Bytes, []string{t.Name}, t.DType, ""}) {
				return
			}
		}
	}
}

// away is what is to be read from other machines for some of the items.
func (v *Conversion) away(ctx context.Context, of func(*item) bool) *reach {
	r := newReach(ctx)
	if !slices.ContainsFunc(v.Source.Files, func(f *checkpoint.File) bool { return source.Away(ctx, f.Path) }) {
		return r
	}
	used := make(map[string]bool)
	for i := range v.items {
		if of(&v.items[i]) {
			for _, name := range v.items[i].from {
				used[name] = true
			}
		}
	}
	r.addAll(v.Source, func(name string) bool { return used[name] })
	return r
}

// Summary counts what the conversion does.
func (v *Conversion) Summary() ConvertSummary {
	s := ConvertSummary{SourceTensors: v.Source.Len(), Tensors: v.Len(), Unchosen: v.Unchosen, LeftOut: len(v.LeftOut)}
	for _, t := range v.Source.All() {
		s.SourceBytes += t.Bytes
	}
	if v.reach != nil {
		s.RemoteBytes = uint64(v.reach.size())
	}
	for t := range v.All() {
		s.Bytes += t.Bytes
		if t.Done == "" {
			s.Copied++
		}
		if t.From[0] != t.Name {
			s.Renamed++
		}
	}
	return s
}

// prepare prepares the job that writes the result.
func (v *Conversion) prepare(ctx context.Context) error {
	spec := &assemble.Spec{Format: v.Container, Metadata: v.kvs, Sources: []*checkpoint.Checkpoint{v.Source}, Like: v.opts.Like}
	tallies := make([]*arrays.Tally, 0, len(v.casts)+len(v.operations))
	for _, c := range v.casts {
		tallies = append(tallies, &c.tally)
	}
	for _, o := range v.operations {
		tallies = append(tallies, &o.tally)
	}
	spec.Tensors = make([]assemble.Tensor, 0, len(v.items))
	for i := range v.items {
		it := &v.items[i]
		t := assemble.Tensor{Name: it.Name, DType: it.DType, Shape: it.Shape, Size: int64(it.Bytes)}
		if it.at >= 0 {
			stored, err := assemble.Stored(v.Source, it.at)
			if err != nil {
				return err
			}
			t.Data, t.Size = stored.Data, stored.Size
		} else {
			t.Data = it.array.Data
			again := v.opts.Write.Verify == rewrite.VerifyFull || v.opts.Write.Verify == rewrite.VerifySampled
			if it.counted && again { // once, whatever the comparison reads
				t.Again = arrays.Uncounted(t.Data, tallies)
			}
		}
		spec.Tensors = append(spec.Tensors, t)
	}
	for _, c := range v.parts() {
		if out := v.opts.Write.Output; v.ending != "" && c.IsRelease() && txn.Contains(c.Dir, out) {
			v.note("%s is in the source %s, which has two checkpoints then: who opens the directory has to name one", out, c.Path)
		}
	}
	if v.ending == "" {
		spec.Layout.Base = v.base()
		if !v.opts.SingleFile {
			spec.Layout.MaxShardSize = cmp.Or(v.opts.MaxShardSize, v.largestFile())
		}
		var err error
		if spec.Documents, err = v.documents(ctx); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(v.items, func(it item) bool { return it.counted }) {
		v.items = nil // what is left to do with them is to count
	}
	v.tidy()
	v.Job, v.Err = assemble.Prepare(ctx, spec, &v.opts.Write)
	return nil
}

// base is what the files of a directory are called, since loaders look for model,
// diffusion_pytorch_model or adapter_model: as the index of the source is, or else one of
// these. Shards and single files may be called anything. GGUF files keep their name.
func (v *Conversion) base() string {
	c := v.Source
	if c.Of != nil {
		c = c.Of[0]
	}
	name := path.Base(filepath.ToSlash(c.Files[0].Name))
	switch {
	case v.Container == checkpoint.GGUF && c.Format == checkpoint.GGUF:
		if prefix, _, _, ok := gguf.ParseSplitName(name); ok {
			return prefix
		}
		return strings.TrimSuffix(name, path.Ext(name))
	case v.Container == checkpoint.GGUF:
		return ""
	case c.Format == checkpoint.GGUF:
		return v.foundBy()
	}
	if c.Format == checkpoint.Safetensors && c.Index != "" {
		if stem := checkpoint.IndexStem(path.Base(filepath.ToSlash(c.Index))); stem != "" && !strings.HasPrefix(stem, ".") {
			return v.variant(stem)
		}
	}
	stem := strings.TrimSuffix(name, path.Ext(name))
	if prefix, _, _, ok := safetensors.ParseShardName(stem + ".safetensors"); ok {
		stem = prefix
	}
	if base, variant, ok := checkpoint.CutVariant(stem); ok {
		return v.variant(strings.TrimPrefix(base, "pytorch_") + "." + variant)
	}
	return cmp.Or(knownBase(stem), v.foundBy())
}

// foundBy is what the library whose names the tensors have looks for, "" for model.
func (v *Conversion) foundBy() string {
	switch {
	case v.isPEFT():
		return "adapter_model"
	case v.isDiffusers():
		return "diffusion_pytorch_model"
	}
	return ""
}

// isDiffusers reports whether the names have become those of a model in diffusers, which looks for one name.
func (v *Conversion) isDiffusers() bool {
	if v.Names == nil || v.Names.Conversion == nil || v.Names.Conversion.Dialect != "" {
		return false
	}
	to, ok := convention.Lookup(v.Names.Conversion.To)
	return ok && to.HasDialect("diffusers")
}

// isPEFT reports whether the result is an adapter as PEFT saves and loads it.
func (v *Conversion) isPEFT() bool {
	if v.Container != checkpoint.Safetensors || slices.ContainsFunc(v.items, func(it item) bool { return !strings.HasPrefix(it.Name, "base_model.model.") }) {
		return false // without looking further
	}
	r := identify.Tensors(v.named(), v.opts.Names.Model)
	return r.Adapter && slices.Contains(r.Dialects, "peft")
}

// variant is what the files of a variant begin with. One that is named after a dtype is none
// any more when the numbers have another.
func (v *Conversion) variant(prefix string) string {
	base, name, ok := checkpoint.CutVariant(prefix)
	is := map[string]string{"fp16": "F16", "bf16": "BF16", "fp32": "F32"}[name] == v.opts.DType
	if ok && v.opts.DType != "" && !is && (strings.HasPrefix(name, "fp") || strings.HasPrefix(name, "bf")) {
		return base
	}
	return prefix
}

// knownBase is what safetensors files are called that are made of a file: as transformers,
// diffusers and PEFT look for them (SAFE_WEIGHTS_NAME in their utils), "" for model.
func knownBase(name string) string {
	for _, base := range []string{"diffusion_pytorch_model", "adapter_model"} {
		if strings.HasPrefix(name, base) {
			return base
		}
	}
	return ""
}

// largestFile is how many bytes of tensors the fullest file of a set has; 0 of sources
// that are one file each.
func (v *Conversion) largestFile() int64 {
	one := func(c *checkpoint.Checkpoint) bool { return len(c.Files) < 2 }
	if one(v.Source) || v.Source.Of != nil && !slices.ContainsFunc(v.Source.Of, func(c *checkpoint.Checkpoint) bool { return !one(c) }) {
		return 0
	}
	sums := make([]uint64, len(v.Source.Files))
	for _, t := range v.Source.All() {
		sums[t.File] += t.Bytes
	}
	return int64(slices.Max(sums))
}

// Count reads all numbers that get another dtype, so that [Conversion.Casts] says what
// that costs. progress may be nil.
func (v *Conversion) Count(ctx context.Context, progress func(done, total int64)) error {
	total := int64(0)
	for i := range v.items {
		if v.items[i].counted {
			total += int64(v.items[i].Bytes)
		}
	}
	if err := v.away(ctx, func(it *item) bool { return it.counted }).allow(); err != nil {
		return err
	}
	tell := counter(progress, total)
	buf := make([]byte, 1<<20)
	for i := range v.items {
		it := &v.items[i]
		if !it.counted {
			continue
		}
		for off := int64(0); off < int64(it.Bytes); off += int64(len(buf)) {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(int64(len(buf)), int64(it.Bytes)-off)
			if _, err := it.array.Data.ReadAt(buf[:n], off); err != nil && err != io.EOF {
				return fmt.Errorf("tensor %q: %w", it.Name, err)
			}
			if tell != nil {
				tell(n)
			}
		}
	}
	return nil
}

// Run writes the new checkpoint, once. progress may be nil.
func (v *Conversion) Run(ctx context.Context, progress func(done, total int64)) (err error) {
	if v.Refused() {
		return v.Names.Plan.Err()
	}
	if v.Err != nil {
		return v.Err
	}
	if err := v.reach.allow(); err != nil {
		return err
	}
	v.tidy()
	v.Report, err = v.Job.Run(ctx, progress)
	return err
}

// tidy gives back what planning for many tensors has left behind: it would be kept beside what the next step
// takes.
func (v *Conversion) tidy() {
	if v.Len() > 10_000 {
		debug.FreeOSMemory()
	}
}

// Close releases what the conversion holds.
func (v *Conversion) Close() error {
	if v.Job == nil {
		return nil
	}
	return v.Job.Close()
}
