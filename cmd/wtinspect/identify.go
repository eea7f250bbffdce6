package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
)

type identifyOptions struct {
	pathList
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
		ValidArgsFunction: p.completePaths,
		RunE: o.work(p, func(cmd *cobra.Command, paths []string) error {
			return runIdentify(cmd.Context(), p, &o, paths)
		}),
	}
	o.pathList.addFlags(cmd)
	o.output.addFlags(cmd, p, answer.IdentifyColumns)
	o.reading.addFlags(cmd)
	cmd.Flags().StringVar(&o.why, "why", "", "explain the tensor `NAME`, whether it is there or not")
	return cmd
}

func runIdentify(ctx context.Context, p *program, o *identifyOptions, paths []string) error {
	in, err := o.openFor(ctx, p, paths, o.Format())
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
	err = o.answer(p, in.Paths(), func(w io.Writer, a answer.Options) error {
		return answer.Identify(w, list, in.Faults(), a)
	})
	return in.finish(ctx, p, err)
}
