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
		Short: "Identify the naming convention of a checkpoint",
		Long: `For every checkpoint under the paths (default: the current directory), identify
reports which project's names the tensors have, which models use them,
which prefixes wrap them, what is missing or does not belong, and the nearest
convention with its distance in templates (names without their numbers).

It uses only names and shapes (an index is enough), and claims no more than
they show: models that share all names are listed together, and names that
fit nothing are unknown. --why explains one name, including one that a loader
cannot find: what the tensor is for, and why it is not where the loader looks.`,
		Annotations: exitStatus("2  also if something cannot be read; the rest is still identified"),
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
	cmd.Flags().StringVar(&o.why, "why", "", "explain the tensor `NAME`, even if it does not exist")
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
