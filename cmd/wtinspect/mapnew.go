package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/source"
)

// A mapOutput is where a map that nobody wants to lose goes: one that people write in.
type mapOutput struct {
	output
	force bool
}

func (o *mapOutput) addFlags(cmd *cobra.Command) {
	o.addPath(cmd)
	cmd.Flags().BoolVar(&o.force, "force", false, "replace an existing file")
	group(cmd.Flags(), "Output", "force")
}

func newMapNew(p *program) *cobra.Command {
	var (
		o    mapOutput
		opts inspect.NewMapOptions
	)
	cmd := &cobra.Command{
		Use:   "new [PATH]",
		Short: "Print a map to fill in with new names",
		Long: `New prints a map for the tensors of one checkpoint (default: the one in
the current directory): a rule for each template, with its dtypes and shapes
as comments. Every tensor keeps its name until you write new names on the right;
'wtinspect map test' tries the map. Names that the checkpoint does not have
are an error, so the map cannot be applied to another model by mistake.

With --to it fills in the names of a convention where 'wtinspect map infer' is
sure of them. The others are comments for you to decide.`,
		Annotations: exitStatus("2  also if the file exists"),
		Example: `  wtinspect map new model.safetensors
  wtinspect map new -o names.yaml ~/models/yi
  wtinspect map new --to llama-hf ~/models/yi`,
		Args:              arguments(0, 1),
		ValidArgsFunction: p.completePaths,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			path := "."
			if len(args) > 0 {
				path = args[0]
			}
			in, err := new(reading).open(ctx, p, []string{path})
			if err != nil {
				return err
			}
			defer in.Close()
			c, err := in.one(path, "mapped")
			if err != nil {
				return err
			}
			if o.path != "" && !o.force && source.Exists(ctx, o.path) {
				return fmt.Errorf("%s already exists; name another file, or use --force", o.path)
			}
			m, err := inspect.NewMap(ctx, c, &opts)
			if err != nil {
				return err
			}
			return in.finish(ctx, p, writeMap(p, &o.output, m, in.Paths()))
		}),
	}
	cmd.Flags().StringVar(&opts.To, "to", "", "fill in the names of this `CONVENTION` or project, where they are known")
	if err := cmd.RegisterFlagCompletionFunc("to", completeConventions); err != nil {
		panic(err) // the flag does not exist
	}
	o.addFlags(cmd)
	return cmd
}
