package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/assemble"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/render"
)

type convertOptions struct {
	writing
	selection
	naming
	keepNames bool
	shardSize shardSize
	single    bool
	dtype     string
	keep      []string
	container string
	like      string
	prefer    string
	count     bool
	untie     bool
	subtree   reading
}

func newConvert(p *program) *cobra.Command {
	var o convertOptions
	cmd := &cobra.Command{
		Use:   "convert SRC... [-o DST]",
		Short: "Make a new checkpoint: other files, dtype, names or format",
		Long: `Convert makes a new checkpoint from others, which it leaves alone. DST is a file
that ends in .safetensors or .gguf, or a directory for a release. Without it
convert prints what it would do. Unchanged tensors keep every byte.

--match, --regex and --exclude choose tensors by their old names; everything
else applies to the chosen ones. Several SRC are combined into one
checkpoint; a name that is in two of them is refused unless --prefer says which
counts.

Names change as with 'wtinspect rename': --to, --map, --rule and the prefixes. If
projects store weights differently, their bytes are moved. From GGUF to safetensors
the names become those of transformers, and vice versa, unless --keep-names.

--dtype gives floating-point tensors another dtype, each number rounded once, to the
nearest, ties to even. Quantised weights are dequantised with their scales: FP8,
INT8 and packed INT4, MXFP4, NVFP4, and ggml's blocks. Integers and tensors that match --keep are
unchanged. Numbers that are too large become infinite, or NaN in F8_E4M3. Changed numbers
are counted, with --count before anything is written. Weights are never quantised.

PyTorch files (.bin, .pt, .ckpt) become safetensors: views are made contiguous, only
one of tied tensors is kept, and everything else, such as an optimiser's
state, is left behind. Nothing in such a file is run.

A GGUF file needs the model's numbers and its tokenizer. They come from SRC if
it is GGUF, or with --like from another GGUF file of the same model, which must
fit. The other files of a release are copied, with names, dtype and quantisation
updated. No config.json or tokenizer is invented; missing files are listed.

The result is read back and compared with its sources before DST
appears.`,
		Annotations: exitStatus("2  also if the conversion is refused"),
		Example: `  wtinspect convert ~/models/llama --single-file -o llama.safetensors
  wtinspect convert model.safetensors --max-shard-size 5GB -o shards
  wtinspect convert ~/models/llama --dtype bf16 --keep '*norm*' -o llama-bf16
  wtinspect convert model.safetensors --match '*.layers.*' -o l.safetensors
  wtinspect convert pytorch_model.bin -o weights.safetensors
  wtinspect convert ~/models/yi --to llama-hf --dtype f16 -o yi.safetensors`,
		Args:              arguments(1, math.MaxInt),
		ValidArgsFunction: p.completePaths,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.usage(); err != nil {
				return err
			}
			return p.work(func(cmd *cobra.Command, args []string) error {
				return runConvert(cmd.Context(), p, &o, args)
			})(cmd, args)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.dtype, "dtype", "", "give floating-point tensors the dtype `T`: "+strings.Join(inspect.CastDTypes(), ", "))
	f.StringArrayVar(&o.keep, "keep", nil, "with --dtype, leave tensors whose whole name matches `GLOB` unchanged, or with GLOB=DTYPE give them that dtype (repeatable)")
	f.BoolVar(&o.count, "count", false, "first read the numbers that get another dtype, and count those that change")
	f.Var(&o.shardSize, "max-shard-size", "write shards with at most `SIZE` of tensors each: 5GB, 500MB (default: as SRC has them)")
	f.BoolVar(&o.single, "single-file", false, "write one file")
	f.Var(newChoice(&o.container, "auto", "safetensors", "gguf"), "container", "write safetensors or gguf, or auto: by the name of DST, or like SRC")
	f.StringVar(&o.like, "like", "", "use the key/values of the GGUF `FILE`: the model's numbers and its tokenizer")
	f.Var(newChoice(&o.prefer, "neither", "first", "last"), "prefer", "if a name is in several SRC, take the tensor of the first or the last, or refuse (neither)")
	complete(cmd, "container", "auto", "safetensors", "gguf")
	complete(cmd, "prefer", "neither", "first", "last")
	complete(cmd, "dtype", inspect.CastDTypes()...)
	f.BoolVar(&o.untie, "untie", false, "write each of the tied tensors of a PyTorch file with its own bytes, instead of keeping one")
	o.subtree.addSubtree(cmd)
	o.naming.addFlags(cmd)
	f.BoolVar(&o.keepNames, "keep-names", false, "keep the names even in another container")
	o.writing.addOutputFlags(cmd, p, answer.ConvertColumns)
	o.selection.addFlags(cmd, p)
	p.addMaxBytes(cmd)
	o.addStrict(cmd)
	return cmd
}

func (o *convertOptions) usage() error {
	switch {
	case len(o.keep) > 0 && o.dtype == "":
		return errors.New("--keep names exceptions from --dtype, which is not given")
	case o.single && o.shardSize > 0:
		return errors.New("--single-file and --max-shard-size cannot be used together")
	case o.keepNames && o.named():
		return errors.New("--keep-names does not go with --to, --map, --rule and the prefixes, which give new names")
	}
	if err := o.naming.usage(true); err != nil {
		return err
	}
	return o.writing.usage()
}

// A shardSize is a flag that takes a size as libraries write it: 5GB is decimal, 5GiB is
// not (huggingface_hub, serialization/_base.py, parse_size_to_int).
type shardSize int64

func (s *shardSize) String() string { return strconv.FormatInt(int64(*s), 10) }
func (s *shardSize) Type() string   { return "SIZE" }

func (s *shardSize) Set(text string) error {
	number := strings.ToUpper(text)
	base := int64(1000)
	if cut, ok := strings.CutSuffix(number, "IB"); ok {
		number, base = cut, 1024
	} else {
		number = strings.TrimSuffix(number, "B")
	}
	unit := int64(1)
	if n := len(number); n > 0 {
		if i := strings.IndexByte("KMGTP", number[n-1]); i >= 0 {
			number = number[:n-1]
			for range i + 1 {
				unit *= base
			}
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || !(f > 0) || f*float64(unit) < 1 || f*float64(unit) >= math.MaxInt64 {
		return errors.New("it must be a size: 5GB, 500MB, 2GiB")
	}
	*s = shardSize(f * float64(unit))
	return nil
}

// preferences are what --prefer may say.
var preferences = map[string]checkpoint.Prefer{"neither": checkpoint.PreferNone, "first": checkpoint.PreferFirst, "last": checkpoint.PreferLast}

func (o *convertOptions) convert(ctx context.Context, c *checkpoint.Checkpoint) (*inspect.ConvertOptions, error) {
	opts := &inspect.ConvertOptions{
		KeepNames: o.keepNames, Prefer: preferences[o.prefer], MaxShardSize: int64(o.shardSize), SingleFile: o.single,
		Untie: o.untie,
		Write: assemble.Options{Output: o.output, Verify: o.options().Verify, Force: o.force, Workers: o.workers},
	}
	if o.container != "auto" {
		opts.Container = checkpoint.Format(o.container)
	}
	var err error
	if opts.Select, err = o.compile(); err != nil {
		return nil, err
	}
	if o.dtype != "" {
		if opts.DType, err = inspect.ParseDType(o.dtype); err != nil {
			return nil, fmt.Errorf("--dtype: %w", err)
		}
	}
	for _, text := range o.keep {
		k, err := inspect.ParseKeep(text)
		if err != nil {
			return nil, fmt.Errorf("--keep %w", err)
		}
		opts.Keep = append(opts.Keep, k)
	}
	m, err := o.load(ctx)
	if err != nil {
		return nil, err
	}
	model, err := o.model(ctx, c)
	if err != nil {
		return nil, err
	}
	opts.Names = o.names(m, model)
	return opts, nil
}

func runConvert(ctx context.Context, p *program, o *convertOptions, paths []string) error {
	o.subtree.workers, o.subtree.leaveMembers = o.workers, true
	in, err := o.subtree.open(ctx, p, paths)
	if err != nil {
		return err
	}
	defer in.Close()
	for _, at := range in.Pending {
		return fmt.Errorf("%s: a rewrite of it was interrupted, and it may be part old, part new\n%s", at.Ref, pendingAdvice(at.Dir))
	}
	if in.failed {
		return in.finish(ctx, p, errors.New("not all of it could be read, and nothing was written"))
	}
	sources, err := o.sources(in, paths)
	if err != nil {
		return in.finish(ctx, p, err)
	}
	opts, err := o.convert(ctx, sources[0])
	if err != nil {
		return err
	}
	if o.like != "" {
		like, err := (&reading{workers: o.workers}).open(ctx, p, []string{o.like})
		if err != nil {
			return err
		}
		defer like.Close()
		if opts.Like, err = like.one(o.like, "taken"); err != nil {
			return fmt.Errorf("--like: %w", err)
		}
	}
	defer saveMemory()()
	v, err := inspect.Convert(ctx, sources, opts)
	if err != nil {
		in.noteDanger(p)
		if _, ok := errors.AsType[*inspect.UnidentifiedError](err); ok && opts.Names.To == "" {
			err = fmt.Errorf("%w; --keep-names writes them as they are, and --map FILE gives others", err)
		} else {
			err = conversionError(err)
		}
		return in.finish(ctx, p, err)
	}
	defer v.Close()
	return in.finish(ctx, p, o.carryOut(ctx, p, in, v))
}

// sources are the checkpoints that the new one is made of: one at each path.
func (o *convertOptions) sources(in *inputs, paths []string) ([]*checkpoint.Checkpoint, error) {
	for i, r := range in.Releases {
		if _, err := (&inputs{Set: &inspect.Set{Checkpoints: r.Checkpoints}}).one(paths[i], "converted"); err != nil {
			return nil, err
		}
	}
	return in.Checkpoints, nil
}

// noteLoss says which numbers the new dtype does not have, where what was printed may not be looked at.
func (o *convertOptions) noteLoss(p *program, v *inspect.Conversion) {
	if p.terminal && render.Format(o.format) == render.TableFormat {
		return
	}
	for _, c := range v.Casts() {
		r := c.Rounding
		if r == nil || r.Overflowed+r.Underflowed == 0 {
			continue
		}
		p.note("note: %s -> %s lost numbers: %s", c.From, c.To, answer.Losses(r))
	}
}

// carryOut prints what is done, and does it.
func (o *convertOptions) carryOut(ctx context.Context, p *program, in *inputs, v *inspect.Conversion) error {
	if v.Names != nil {
		p.noteConversion(v.Names)
		o.noteUnused(p, v.Names)
	}
	table := render.Format(o.format) == render.TableFormat
	failure := v.Err
	if o.count && !v.Refused() && len(v.Casts())+len(v.Operations()) == 0 {
		p.note("note: --count has no effect: no number gets another dtype")
	}
	if o.count && failure == nil && !v.Refused() {
		in.Wait()
		m := &jobMeter{start: func(total int64) *meter { return o.meter(p, "counting", total) }}
		err := v.Count(ctx, m.update)
		m.end()
		if err != nil {
			return err
		}
	}
	if table && failure != nil {
		return failure // there is no plan to look at
	}
	// What cannot be written needs no plan, unless it is asked for.
	if table && !(o.writes() && v.Job != nil && len(v.Job.Refusals) > 0) {
		if err := written(answer.ConvertPlan(p.stdout, v, o.answer(p))); err != nil {
			return err
		}
	}
	for _, note := range v.Notes {
		p.note("note: %s", note)
	}
	refused := v.Refused()
	if refused {
		p.sayProblems(v.Names)
	}
	if v.Job != nil {
		for _, path := range v.Job.Leftovers {
			p.note("%s is left over from a killed run, or another run is writing it now; remove it if no run is", path)
		}
		for _, r := range v.Job.Refusals {
			how := ""
			if r.Forcible {
				how = " (--force)"
			}
			p.say("refused: %v%s", r, how)
			refused = true
		}
	}
	if o.writes() && !refused && failure == nil {
		in.Wait()
		m := &jobMeter{start: func(total int64) *meter { return o.meter(p, "writing", total) }}
		defer saveMemoryCopying()()
		failure = p.winding(func() error { return v.Run(ctx, m.update) })
		m.end()
	}
	switch {
	case !table:
		if err := written(answer.Convert(p.stdout, v, o.answer(p))); err != nil {
			return errors.Join(failure, err)
		}
	case v.Report != nil:
		a := o.answer(p)
		a.Style.Columns = nil // which are the plan's
		if err := written(answer.ConvertReport(p.stdout, v, o.options().Verify, a)); err != nil {
			return err
		}
	}
	if failure == nil {
		o.noteLoss(p, v)
	}
	if failure == nil && !o.writes() {
		failure = v.Excess
	}
	switch {
	case failure != nil:
		return failure
	case refused:
		return &exitError{exitFailed}
	case v.Report == nil && o.output == "":
		p.note("nothing was written; apply the plan with -o DST")
	case v.Report == nil:
		p.note("nothing was written")
	}
	return nil
}
