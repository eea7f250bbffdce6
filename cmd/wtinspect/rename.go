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
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/template"
)

type renameOptions struct {
	writing
	selection
	naming
	writeMap string
	inverse  string
	recover  bool
}

// A naming is how a command is told what tensors are to be called.
type naming struct {
	converting
	mapName string
	strict  bool
	// mismatch allows renames that Review objects to.
	mismatch    bool
	dropUnknown bool
	keepUnknown bool
	edit        rename.Edit
}

func (o *naming) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.mapName, "map", "", "the `MAP`: a file, or a name from 'wtinspect map list'")
	f.Var(steps{&o.edit, rename.RuleStep}, "rule", "rename by the rule `OLD=NEW`, in the language of maps (repeatable)")
	f.Var(steps{&o.edit, rename.StripPrefix}, "strip-prefix", "remove `TEXT` from the beginning of names; include the dot (repeatable)")
	f.Var(steps{&o.edit, rename.AddPrefix}, "add-prefix", "put `TEXT` before every name; include the dot (repeatable)")
	f.StringVar(&o.to, "to", "", "convert to this `CONVENTION`, a project's names, or a spelling of adapters (kohya, peft …)")
	f.StringVar(&o.from, "from", "", "with --to, the `CONVENTION` of the old names (default: the one identified)")
	f.StringVar(&o.config, "config", "", "the `FILE` with the model's numbers of heads and so on, instead of the config.json beside the weights")
	f.BoolVar(&o.dropUnknown, "drop-unknown", false, "with --to, leave out tensors that the other convention has no name for")
	f.BoolVar(&o.keepUnknown, "keep-unknown", false, "with --to, keep the old names of tensors that the other convention has no name for")
	f.BoolVar(&o.mismatch, "allow-layout-mismatch", false, "allow names that would make a loader misread the bytes")
	for flag, complete := range map[string]cobra.CompletionFunc{"map": completeMaps, "to": completeGoals, "from": completeConventions} {
		if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
			panic(err) // the flag does not exist
		}
	}
}

// steps is a flag that adds a step of its kind to an edit, in the order of the command line.
type steps struct {
	edit *rename.Edit
	kind rename.StepKind
}

func (s steps) Set(text string) error {
	if text != "" || s.kind == rename.RuleStep {
		s.edit.Steps = append(s.edit.Steps, rename.Step{Kind: s.kind, Text: text})
	}
	return nil
}

func (s steps) String() string { return "" }
func (s steps) Type() string   { return "stringArray" }

// addStrict adds the flag that refuses what has no effect.
func (o *naming) addStrict(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.strict, "strict", false, "refuse rules that match nothing, and texts that may refer to renamed tensors but cannot be updated")
}

// named reports whether the names are to change.
func (o *naming) named() bool { return o.mapName != "" || o.to != "" || !o.edit.IsZero() }

// usage finds flags that contradict each other. derived says that names may be converted
// without --to.
func (o *naming) usage(derived bool) error {
	switch {
	case o.mapName != "" && o.to != "":
		return errors.New("--map and --to cannot be used together")
	case o.to != "" && !o.edit.IsZero():
		return errors.New("--to finds the convention by all names and moves bytes, and does not go with --rule, --strip-prefix or --add-prefix; rename first, then convert")
	case derived:
	case o.from != "" && o.to == "":
		return errors.New("--from goes with --to")
	case (o.dropUnknown || o.keepUnknown) && o.to == "":
		return errors.New("--drop-unknown and --keep-unknown go with --to; a map has its own drop and otherwise")
	}
	if o.dropUnknown && o.keepUnknown {
		return errors.New("--drop-unknown and --keep-unknown cannot be used together")
	}
	return nil
}

// load reads the map that is given, nil for none.
func (o *naming) load(ctx context.Context) (*rename.Map, error) {
	if o.mapName == "" {
		return nil, nil
	}
	return loadMap(ctx, o.mapName)
}

// names is what inspect is told.
func (o *naming) names(m *rename.Map, model *convention.Model) inspect.RenameOptions {
	unknown := inspect.RefuseUnknown
	switch {
	case o.dropUnknown:
		unknown = inspect.DropUnknown
	case o.keepUnknown:
		unknown = inspect.KeepUnknown
	}
	return inspect.RenameOptions{
		Unknown: unknown, Map: m, Edit: o.edit, To: o.to, From: o.from, Model: model, Strict: o.strict, AllowLayoutMismatch: o.mismatch,
	}
}

// ownMap is the map that was given, "" where an edit has made another of it, whose
// rules nobody wrote.
func (o *naming) ownMap() string {
	if !o.edit.IsZero() {
		return ""
	}
	return o.mapName
}

func newRename(p *program) *cobra.Command {
	var o renameOptions
	cmd := &cobra.Command{
		Use:   "rename [PATH]",
		Short: "Rename tensors with a map, or to another project's names",
		Long: `Rename gives the tensors of one checkpoint (default: the one in the current
directory) the names from a map, or those of another convention. The index of
the shards and the names in config.json and adapter_config.json are updated.

--to derives the map. CONVENTION is the name of a convention or of a project
(hf, meta, gguf, megatron …; 'wtinspect map list' shows all). If the projects
store the same weights differently (fused, permuted, transposed, stacked), a copy
with the bytes moved is written; the sizes that this needs come from config.json,
GGUF keys, or --config. Maps can move bytes too. Tensors that the other project
has no name for are refused, unless --drop-unknown or --keep-unknown. An adapter
is converted to another spelling (kohya, peft, diffusers, comfy, mlx, gguf …),
or to the names of another convention; changes to alpha are reported. The file format stays
the same. A rename that would make a loader misread the bytes is refused, unless
--allow-layout-mismatch.

Without a destination it prints the plan and writes nothing. --in-place changes
the files themselves, either all of them or none: an interrupted rename is
completed or undone by the next one, or by --recover. -o writes a copy and leaves the
source alone. Both then prove that no tensor's data changed, and say how.

--rule renames without a file, in the language of maps: the first rule that
matches a name decides, all renames happen at once, and == means a = in a
name. --rule, --strip-prefix and --add-prefix are steps; each works on the names from
the step before it, and consecutive rules are one step. With --map, rules that
come first are applied before those of the map, and the other steps after it. They
cannot be used with --to. --write-map writes the resulting map.

A map that would lose a tensor, merge two, or make a name that does not fit
the format is refused, with all the reasons. A MAP is the name of a built-in map, or
else a file; with a path separator or the ending .yaml or .yml it is always a file.`,
		Annotations: exitStatus(
			"1  with --check, something would change",
			"2  also if the plan or the rewrite is refused"),
		Example: `  wtinspect rename --map yi-to-llama ~/models/yi
  wtinspect rename --map yi-to-llama --in-place --write-inverse back.yaml yi/
  wtinspect rename --map strip-wrappers -o clean.safetensors model.safetensors
  wtinspect rename --map strip-wrappers --check ~/models/llama
  wtinspect rename --to llama-hf --in-place ~/models/yi
  wtinspect rename --to meta -o llama-meta.safetensors model.safetensors
  wtinspect rename --rule 'lm_head.{leaf:seg}=head.{leaf}' model.safetensors
  wtinspect rename --strip-prefix module. --in-place ~/models/llama
  wtinspect rename --to meta --write-map llama-to-meta.yaml model.safetensors
  wtinspect rename --recover ~/models/yi`,
		Args:              arguments(0, 1),
		ValidArgsFunction: p.completePaths,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.usage(cmd); err != nil {
				return err
			}
			path := "."
			if len(args) > 0 {
				path = args[0]
			}
			return p.work(func(cmd *cobra.Command, _ []string) error {
				if o.recover {
					return runRecover(cmd.Context(), p, &o.writing, path)
				}
				return runRename(cmd.Context(), p, &o, path)
			})(cmd, args)
		},
	}
	f := cmd.Flags()
	o.naming.addFlags(cmd)
	o.writing.addFlags(cmd, p, answer.RenameColumns)
	o.selection.addFlags(cmd, p)
	o.addStrict(cmd)
	f.StringVar(&o.inverse, "write-inverse", "", "also write the map that undoes the rename to `FILE`")
	f.StringVar(&o.writeMap, "write-map", "", "write the map of this rename to `FILE`; - prints it instead of the plan")
	group(f, "Writing", "write-inverse", "write-map")
	f.BoolVar(&o.recover, "recover", false, "only complete or undo an interrupted rename or metadata edit of PATH; with --force, even if the release was copied")
	return cmd
}

func (o *renameOptions) usage(cmd *cobra.Command) error {
	if o.recover {
		for _, flag := range []string{"map", "rule", "strip-prefix", "add-prefix", "to", "from", "output", "in-place", "dry-run", "check", "write-inverse", "write-map"} {
			if cmd.Flags().Changed(flag) {
				return fmt.Errorf("--recover ends an earlier rename, and does not go with --%s", flag)
			}
		}
		return nil
	}
	switch {
	case !o.named():
		return errors.New("new names are needed: --map FILE, --map NAME, --to CONVENTION, --rule OLD=NEW or a prefix; 'wtinspect map list' shows the names")
	case o.writeMap == "-" && o.format != string(render.TableFormat):
		return fmt.Errorf("--write-map - and -f %s both print to stdout; name a file for the map", o.format)
	}
	if err := o.naming.usage(false); err != nil {
		return err
	}
	return o.writing.usage()
}

func runRecover(ctx context.Context, p *program, o *writing, path string) error {
	if _, err := source.Stat(ctx, path); err != nil {
		return err
	}
	outcome, err := p.recover(ctx, path, o.force)
	if err != nil {
		return err
	}
	path = inspect.ShownReference(path)
	switch f := render.Format(o.format); f {
	case render.TableFormat:
		says := map[rewrite.Outcome]string{
			rewrite.Undone:   ": the release is unchanged",
			rewrite.Finished: ": the release is the new one",
		}
		_, err := fmt.Fprintf(p.stdout, "%s: %s%s\n", render.Escape(path), outcome, says[outcome])
		return err
	case render.JSON:
		d := render.NewDocument(p.stdout)
		d.Field("path", path)
		d.Field("outcome", outcome)
		return d.Close()
	default:
		return render.Columns[rewrite.Outcome]{
			{Key: "path", Cell: func(c *render.Cell, _ rewrite.Outcome) { c.Text(path) }},
			{Key: "outcome", Cell: func(c *render.Cell, o rewrite.Outcome) { c.Text(string(o)) }},
		}.Table(slices.Values([]rewrite.Outcome{outcome})).Write(p.stdout, f, p.style())
	}
}

func runRename(ctx context.Context, p *program, o *renameOptions, path string) error {
	selected, err := o.compile()
	if err != nil {
		return err
	}
	m, err := o.load(ctx)
	if err != nil {
		return err
	}
	in, c, err := o.open(ctx, p, path)
	if err != nil {
		return err
	}
	defer in.Close()
	model, err := o.model(ctx, c)
	if err != nil {
		return err
	}
	opts := o.names(m, model)
	opts.Select, opts.Inverse, opts.Rewrite = selected, o.inverse, *o.options()
	plan, err := inspect.Rename(ctx, c, &opts)
	if err != nil {
		return in.finish(ctx, p, conversionError(err))
	}
	defer plan.Close()
	r := &renaming{plan, o, &rewriting{options: &o.writing, job: plan.Job, run: plan.Run}}
	p.noteConversion(plan)
	r.noteFormat(p)
	o.noteUnused(p, plan)
	if err := r.writeMap(p, in); err != nil {
		return in.finish(ctx, p, err)
	}
	o.noteNone(p, o.count(selected, c), nil)
	return in.finish(ctx, p, r.do(ctx, p, in))
}

// noteUnused says what of an edit does nothing, unless that is refused, and what slips.
func (o *naming) noteUnused(p *program, r *inspect.Renaming) {
	for _, text := range r.Slips {
		p.note("%s", text)
	}
	if o.strict {
		return
	}
	for _, text := range r.Unused {
		p.note("%s", text)
	}
}

// writeMap writes the map that the rename follows, where it is wanted.
func (r *renaming) writeMap(p *program, in *inputs) error {
	o := r.options
	if o.writeMap == "" {
		return nil
	}
	if !o.All() {
		p.note("the map is for all tensors: what was chosen is not part of it")
	}
	return writeMap(p, &output{path: o.writeMap}, r.Plan.Map, append(in.Paths(), mapFiles([]string{o.mapName})...))
}

// noteConversion says what a conversion leaves to do.
func (p *program) noteConversion(r *inspect.Renaming) {
	conv := r.Conversion
	if conv == nil {
		return
	}
	for _, note := range conv.Notes {
		p.note("note: %s", note)
	}
	if len(conv.Missing) > 0 {
		names := slices.Clone(conv.Missing)
		if to, ok := convention.Lookup(conv.To); ok {
			for i, role := range names {
				if t, ok := to.Role(role); ok {
					names[i] = t.Pattern.Template()
				}
			}
		}
		p.note("%s has more than the checkpoint gives: %s", conv.To, shortList(names))
	}
}

// noteFormat says that a conversion to the names of another container leaves the files as
// they are.
func (r *renaming) noteFormat(p *program) {
	conv, c := r.Conversion, r.Checkpoint
	if conv == nil {
		return
	}
	if to, ok := convention.Lookup(conv.To); ok && to.HasDialect("gguf") != (c.Format == checkpoint.GGUF) {
		p.note("note: the files stay %s: only names and tensors are converted; 'wtinspect convert' changes the format", c.Format)
	}
}

// shortAsides joins the first names of what is aside, folded.
func shortAsides(list []convert.Aside) string {
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Name
	}
	return shortList(names)
}

// shortList joins the first of some names, folded.
func shortList(names []string) string {
	const most = 4
	var items []string
	for _, g := range template.FoldNames(names) {
		if len(items) == most {
			return strings.Join(items, ", ") + " …"
		}
		items = append(items, g.Name)
	}
	return strings.Join(items, ", ")
}

// A renaming is a plan, and how the user wants it carried out.
type renaming struct {
	*inspect.Renaming
	options *renameOptions
	*rewriting
}

func (r *renaming) do(ctx context.Context, p *program, in *inputs) error {
	o, table := r.options, render.Format(r.options.format) == render.TableFormat && r.options.writeMap != "-"
	refused := len(r.Plan.Problems) > 0
	failure := o.unprepared(p, r.Checkpoint, r.Err)
	if table {
		// A reader that goes away does not keep the work from being done.
		if err := written(answer.Plan(p.stdout, r.Renaming, o.ownMap(), o.answer(p))); err != nil {
			return err
		}
	}
	p.sayProblems(r.Renaming)
	if r.refused(p) {
		refused = true
	}
	r.warnUnfollowed(p)
	for _, f := range r.Plan.LeftBehind() {
		p.note("%v", &f)
	}

	if o.writes() && !refused && failure == nil {
		failure = r.carryOut(ctx, p, in)
		r.report = r.Report
	}
	switch {
	case o.writeMap == "-":
	case !table:
		if err := written(answer.Rename(p.stdout, r.Renaming, o.mapName, o.answer(p))); err != nil {
			return errors.Join(failure, err)
		}
	case r.report != nil:
		if err := written(r.writeReport(p)); err != nil {
			return err
		}
	}
	switch s := r.Plan.Summary(); {
	case failure != nil:
		return failure
	case refused:
		return &exitError{exitFailed}
	case s.Moved+s.Dropped+s.Changed == 0:
		p.note("no tensor of %s gets another name", r.Checkpoint.Path)
	case o.check:
		return &exitError{exitFindings}
	case r.report == nil:
		if o.writeMap == "" {
			r.hint(p)
		}
		if o.inverse != "" {
			p.note("%s is written when the names change", o.inverse)
		}
	}
	return nil
}

// sayProblems says why a plan is refused.
func (p *program) sayProblems(r *inspect.Renaming) {
	const most = 20
	for i, f := range r.Plan.Problems {
		if i == most && !p.verbose {
			p.say("and %s more (-v shows all)", counted(len(r.Plan.Problems)-most, "reason"))
			break
		}
		p.say("refused: %s", f.Message)
	}
	if r.WithoutPlace() {
		if other := r.Conversion.Other; other != "" {
			p.note("--to %s has names for all of them", other)
		}
		p.note("--drop-unknown leaves these tensors out; --keep-unknown keeps their names")
	}
	if v := r.Mismatch; v != nil {
		unless := ""
		if len(v.Unless) > 0 {
			unless = " (the bytes are the same in models of " + shortList(v.Unless) + ")"
		}
		p.note("--to %s moves the bytes as well; --allow-layout-mismatch renames anyway%s", v.To, unless)
	}
}
