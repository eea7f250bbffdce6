package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/source"
)

func newMetaSet(p *program) *cobra.Command {
	var o writing
	cmd := &cobra.Command{
		Use:   "set PATH KEY[:TYPE]=VALUE...",
		Short: "Set metadata",
		Long: `Set gives metadata entries of one checkpoint new values. Without a destination it
prints what would change and writes nothing. Entries keep their order; new ones come
last. In a set of safetensors files every file gets the entry, in a GGUF split
only the first.

Safetensors values are strings. A GGUF value keeps its type, and
a new key has the type str, unless KEY:TYPE gives another: u8 i8 u16
i16 u32 i32 u64 i64 f32 f64 bool str. KEY=@FILE takes the value from a file
unchanged, KEY=@- from stdin, and KEY=@@TEXT is the text @TEXT.

Keys that say where the tensors are (general.alignment, split.*) cannot be set.`,
		Annotations: exitStatus(
			"1  with --check, something would change",
			"2  also if the edit or the rewrite is refused"),
		Example: `  wtinspect meta set model.safetensors license=apache-2.0
  wtinspect meta set --in-place model.gguf tokenizer.chat_template=@chat.jinja
  wtinspect meta set -o new.gguf model.gguf llama.context_length:u32=8192`,
		Args:              arguments(2, unlimited),
		ValidArgsFunction: p.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.usage(); err != nil {
				return err
			}
			edits, err := p.assignments(cmd.Context(), args[1:])
			if err != nil {
				return err
			}
			return p.work(func(cmd *cobra.Command, args []string) error {
				return runMetaEdit(cmd.Context(), p, &o, args[0], edits)
			})(cmd, args)
		},
	}
	o.addFlags(cmd, p, answer.EditsColumns)
	return cmd
}

func newMetaUnset(p *program) *cobra.Command {
	var o writing
	cmd := &cobra.Command{
		Use:   "unset PATH KEY...",
		Short: "Remove metadata",
		Long: `Unset removes metadata entries of one checkpoint. Without a destination it prints
what would be removed and writes nothing.`,
		Annotations: exitStatus(
			"1  with --check, something would change",
			"2  also if there is no such key, or the rewrite is refused"),
		Example:           `  wtinspect meta unset --in-place model.safetensors training_comment`,
		Args:              arguments(2, unlimited),
		ValidArgsFunction: p.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.usage(); err != nil {
				return err
			}
			edits := make([]rewrite.Metadata, len(args)-1)
			for i, key := range args[1:] {
				edits[i] = rewrite.Metadata{Key: key, Unset: true}
			}
			return p.work(func(cmd *cobra.Command, args []string) error {
				return runMetaEdit(cmd.Context(), p, &o, args[0], edits)
			})(cmd, args)
		},
	}
	o.addFlags(cmd, p, answer.EditsColumns)
	return cmd
}

var valueTypes = []string{"u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "bool", "str"}

// assignments reads KEY=VALUE, KEY:TYPE=VALUE and KEY=@FILE. A word after the
// colon that is no type belongs to the key.
func (p *program) assignments(ctx context.Context, args []string) ([]rewrite.Metadata, error) {
	edits := make([]rewrite.Metadata, len(args))
	for i, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%q is not KEY=VALUE", arg)
		}
		e := rewrite.Metadata{Key: key, Value: value}
		if at := strings.LastIndexByte(key, ':'); at > 0 && slices.Contains(valueTypes, key[at+1:]) {
			e.Key, e.Type = key[:at], key[at+1:]
		}
		if slices.ContainsFunc(edits[:i], func(o rewrite.Metadata) bool { return o.Key == e.Key }) {
			return nil, fmt.Errorf("%q is set twice", e.Key)
		}
		if file, ok := strings.CutPrefix(value, "@"); ok && !strings.HasPrefix(file, "@") {
			text, err := p.readValue(ctx, file)
			if err != nil {
				return nil, fmt.Errorf("the value of %q: %w", e.Key, plain(err))
			}
			e.Value = text
		} else if ok {
			e.Value = file
		}
		edits[i] = e
	}
	return edits, nil
}

func (p *program) readValue(ctx context.Context, file string) (string, error) {
	var text []byte
	var err error
	if file == "-" {
		text, err = source.ReadStream(ctx, "stdin", p.stdin, source.Value)
	} else {
		text, err = source.ReadNamed(ctx, file, source.Value)
	}
	return string(text), err
}

func runMetaEdit(ctx context.Context, p *program, o *writing, path string, edits []rewrite.Metadata) error {
	in, c, err := o.open(ctx, p, path)
	if err != nil {
		return err
	}
	defer in.Close()
	return in.finish(ctx, p, editMetadata(ctx, p, o, in, c, edits))
}

func editMetadata(ctx context.Context, p *program, o *writing, in *inputs, c *checkpoint.Checkpoint, edits []rewrite.Metadata) error {
	old := inspect.MetadataOf(c)
	for _, e := range edits {
		if e.Unset && !old.Has(e.Key) {
			return inspect.NewNoKeyError(e.Key, old)
		}
	}
	r := &rewriting{options: o}
	job, err := rewrite.PrepareMetadata(ctx, c, edits, o.options())
	if err == nil {
		defer job.Close()
		r.job = job
		r.run = func(ctx context.Context, progress func(done, total int64)) (err error) {
			r.report, err = job.Run(ctx, progress)
			return err
		}
	}
	if err := o.unprepared(p, c, err); err != nil {
		return err
	}
	f := render.Format(o.format)
	edited := answer.Edits(c, old, edits, p.terminal)
	if f == render.TableFormat {
		// A reader that goes away does not keep the work from being done.
		if err := written(edited.Write(p.stdout, f, o.of(p.style()))); err != nil {
			return err
		}
		answer.RewritePlan(p.stdout, job, p.verbose)
	}
	refused := r.refused(p)
	var failure error
	if o.writes() && !refused {
		failure = r.carryOut(ctx, p, in)
	}
	switch {
	case f == render.JSON:
		d := render.NewDocument(p.stdout)
		d.Field("source", c.Path)
		d.Field("format", c.Format)
		d.Rows("metadata", edited)
		d.Field("rewrite", r.job)
		d.Field("report", r.report)
		err = d.Close()
	case f != render.TableFormat:
		err = edited.Write(p.stdout, f, o.of(p.style()))
	case r.report != nil:
		err = r.writeReport(p)
	}
	if err := written(err); err != nil {
		return errors.Join(failure, err)
	}
	changes := r.job == nil || slices.ContainsFunc(r.job.Files, func(f rewrite.File) bool { return f.Step != rewrite.Unchanged })
	switch {
	case failure != nil:
		return failure
	case refused:
		return &exitError{exitFailed}
	case !changes:
		p.note("the metadata of %s says so already", c.Path)
	case o.check:
		return &exitError{exitFindings}
	case r.report == nil:
		r.hint(p)
	}
	return nil
}
