package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/template"
)

type identifyOptions struct {
	reading
	output
	why string
}

func newIdentify(p *program) *cobra.Command {
	var o identifyOptions
	cmd := &cobra.Command{
		Use:   "identify [PATH...]",
		Short: "Tell which naming convention a checkpoint follows",
		Long: `Identify says of every checkpoint under the paths, the current directory when
there is none, which project's names its tensors have and of which models, what
precedes the names, what is missing or does not belong, and which convention
is the nearest and how many templates (names without their numbers) away.

It goes by names and shapes, of which an index gives enough, and claims no more
than they show: models that share all names are listed together, and what fits
nothing is unknown. --why explains one name, also one that a loader has asked for
without finding it: what it is for, and why it is not where the loader looks.`,
		Annotations: exitStatus("2  also when something cannot be read; the rest is identified"),
		Example: `  wtinspect identify ~/models/yi
  wtinspect identify -f json . | jq -r '.results[] | .convention'
  wtinspect identify --why model.layers.0.ln1.weight ~/models/yi
  wtinspect identify --why blk.0.attn_q.weight model.safetensors.index.json`,
		ValidArgsFunction: completePaths,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			return runIdentify(cmd.Context(), p, &o, args)
		}),
	}
	o.output.addFlags(cmd)
	o.reading.addFlags(cmd)
	cmd.Flags().StringVar(&o.why, "why", "", "explain the tensor `NAME`, whether it is there or not")
	return cmd
}

func runIdentify(ctx context.Context, p *program, o *identifyOptions, args []string) error {
	in, err := o.openFor(ctx, p, args, o.Format())
	if err != nil {
		return err
	}
	defer in.Close()
	var list []*inspect.IdentifyResult
	for _, c := range in.Checkpoints {
		r, err := inspect.Identify(ctx, c, &inspect.IdentifyOptions{Why: o.why})
		if err != nil {
			return err
		}
		list = append(list, r)
	}
	err = o.write(p, in.Paths(), func(w io.Writer, s render.Style) error {
		switch f := o.Format(); f {
		case render.TableFormat:
			for k := range list {
				if k > 0 {
					fmt.Fprintln(w)
				}
				if err := writeIdentity(w, s, list[k], fixText(ctx, in.Checkpoints[k], list[k].Result), p.verbose); err != nil {
					return err
				}
			}
			return nil
		case render.JSON:
			d := render.NewDocument(w)
			render.List(d, "results", list)
			render.Each(d, "faults", in.Faults())
			return d.Close()
		case render.JSONL:
			return render.Lines(w, list)
		default:
			return identityColumns.Table(slices.Values(list)).Write(w, f, s)
		}
	})
	return in.finish(p, err)
}

// conventionText names the convention, or says that there is none.
func conventionText(r *identify.Result) string {
	switch {
	case r.Convention == "" && r.Adapter:
		return "unknown (an adapter)"
	case r.Convention == "":
		return "unknown"
	case r.Adapter:
		return r.Convention + " (an adapter of it)"
	}
	return r.Convention
}

// nearestText says how far the nearest convention is, "" when it is the one.
func nearestText(r *identify.Result) string {
	n := r.Nearest
	if n.Convention == "" || n.Convention == r.Convention && n.TemplatesAway == 0 {
		return ""
	}
	return fmt.Sprintf("%s, %s away", n.Convention, counted(n.TemplatesAway, "template"))
}

// writeIdentity writes what there is to say for people.
func writeIdentity(w io.Writer, s render.Style, r *inspect.IdentifyResult, fix string, verbose bool) error {
	const most = 12
	var lines []fact
	fact := func(word, text string) {
		if text != "" {
			lines = append(lines, fact{word, text})
		}
	}
	facts := func(word string, list []string) {
		for k, text := range list {
			if k == most && !verbose {
				fact(word, fmt.Sprintf("and %d more (-v shows all)", len(list)-most))
				return
			}
			fact(word, text)
			word = ""
		}
	}
	fact("checkpoint", r.Path)
	fact("convention", conventionText(r.Result))
	fact("dialect", strings.Join(r.Dialects, ", "))
	fact("families", familiesText(r.Families, verbose))
	fact("wrappers", strings.Join(r.Wrappers, " "))
	fact("quantisation", strings.Join(r.Quantisation, ", "))
	fact("names", fmt.Sprintf("%s in %s, %s known", counted(r.Tensors, "tensor"), counted(r.Templates, "template"), percent(r.Coverage)))
	fact("nearest", nearestText(r.Result))
	fact("fix", fix)
	facts("missing", r.Missing)
	facts("extra", r.Extra)
	var gaps []string
	for _, g := range r.Gaps {
		what := g.Role
		if what == "" {
			what = "all tensors"
		}
		gaps = append(gaps, what+" of layers "+layersText(g.Layers))
	}
	facts("gaps", gaps)
	var parts []string
	for _, part := range r.Parts {
		parts = append(parts, fmt.Sprintf("%s: %s (%s)", part.Prefix, part.Convention, counted(part.Templates, "template")))
	}
	facts("parts", parts)
	facts("evidence", r.Evidence)
	if r.Why != nil {
		fact("why", r.Why.Name)
		fact("role", r.Why.Role)
		facts("", r.Why.Reasons)
		fact("known to", familiesText(r.Why.Known, verbose))
	}
	return factsTable(lines, render.NoCut).Write(w, render.TableFormat, s)
}

// fixText says how the names become those of the nearest convention, where they
// follow one that has been given up.
func fixText(ctx context.Context, c *checkpoint.Checkpoint, r *identify.Result) string {
	to := r.Nearest.Convention
	if r.Convention == "" || to == "" || r.Convention == to {
		return ""
	}
	conv, err := inspect.Convert(ctx, c, &inspect.ConvertOptions{From: r.Convention, To: to})
	if err != nil || len(conv.Aside) > 0 {
		return ""
	}
	renamed := 0
	for _, m := range conv.Moves {
		if !m.MovesBytes() && m.From[0] != m.To[0] {
			renamed++
		}
	}
	how := "names only"
	if conv.MovesBytes() {
		how = "bytes move, too"
	}
	return fmt.Sprintf("'wtinspect rename --to %s' renames %s (%s)", to, counted(renamed, "tensor"), how)
}

// familiesText joins the first of the models that share the names.
func familiesText(families []string, verbose bool) string {
	const most = 10
	if len(families) > most && !verbose {
		return strings.Join(families[:most], ", ") + fmt.Sprintf(" and %d more", len(families)-most)
	}
	return strings.Join(families, ", ")
}

func percent(share float64) string {
	// What is not all of them is not said to be.
	if share < 1 && share > 0.995 {
		return strconv.FormatFloat(float64(int(share*1000))/10, 'f', 1, 64) + " %"
	}
	return strconv.FormatFloat(100*share, 'f', 0, 64) + " %"
}

// layersText writes runs of numbers.
func layersText(layers []int) string {
	names := make([]string, len(layers))
	for i, n := range layers {
		names[i] = strconv.Itoa(n)
	}
	g := template.FoldNames(names)
	if len(g) == 1 {
		return strings.Trim(g[0].Name, "{}")
	}
	return strings.Join(names, ", ")
}

// identityColumns has one row a checkpoint.
var identityColumns = render.Columns[*inspect.IdentifyResult]{
	{Key: "path", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Text(r.Path) }},
	{Key: "convention", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Some(r.Convention) }},
	{Key: "dialect", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Some(strings.Join(r.Dialects, " ")) }},
	{Key: "families", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Some(strings.Join(r.Families, " ")) }},
	{Key: "wrappers", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Some(strings.Join(r.Wrappers, " ")) }},
	{Key: "coverage", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Float(r.Coverage) }},
	{Key: "missing", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Some(strings.Join(r.Missing, " ")) }},
	{Key: "extra", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Some(strings.Join(r.Extra, " ")) }},
	{Key: "nearest", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Some(r.Nearest.Convention) }},
	{Key: "templates_away", Cell: func(c *render.Cell, r *inspect.IdentifyResult) {
		if r.Nearest.Convention != "" {
			c.Int(int64(r.Nearest.TemplatesAway))
		}
	}},
	{Key: "tensors", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Int(int64(r.Tensors)) }},
	{Key: "templates", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Int(int64(r.Templates)) }},
}
