package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/exchange"
)

func formNames(forms []exchange.Form) []string {
	names := make([]string, len(forms))
	for i, f := range forms {
		names[i] = string(f)
	}
	return names
}

func newMapExport(p *program) *cobra.Command {
	var (
		o        output
		model    string
		formFlag string
	)
	cmd := &cobra.Command{
		Use:   "export MAP",
		Short: "Write a map as another project's rules",
		Long: `Export writes a map for another project: a key_mapping for transformers 5,
the fields of vLLM's WeightsMapper, a mergekit architecture, or the map itself as
JSON. A..B is the map from convention A to convention or project B.

Other projects apply their rules one after the other, to parts of names, and
cannot change bytes. If a rule would give some name another new name there,
the map is refused, with the reason for each such rule, and nothing is written. A
mergekit architecture lists every tensor: --for names the checkpoint.
docs/maps-elsewhere.md says what each format can express.`,
		Annotations: exitStatus("2  also if the format cannot express what the map does"),
		Example: `  wtinspect map export -f vllm yi-hf..llama-hf
  wtinspect map export -f transformers -o keys.json yi-to-llama
  wtinspect map export -f mergekit --for ~/models/yi yi-hf..llama-hf`,
		Args:              arguments(1, 1),
		ValidArgsFunction: completeMaps,
		RunE: func(cmd *cobra.Command, args []string) error {
			form := exchange.Form(formFlag)
			switch {
			case form == "":
				return errors.New("a form is needed: -f transformers, -f vllm, -f mergekit or -f json")
			case form == exchange.Mergekit && model == "":
				return errors.New("an architecture of mergekit lists every tensor; --for names the checkpoint that it is of")
			case form != exchange.Mergekit && model != "":
				return errors.New("--for goes with -f mergekit; the other forms are for every checkpoint")
			}
			return p.work(func(cmd *cobra.Command, args []string) error {
				ctx := cmd.Context()
				m, err := loadMap(ctx, args[0])
				if err != nil {
					return err
				}
				var of *checkpoint.Checkpoint
				inputs := mapFiles(args)
				if model != "" {
					in, err := new(reading).open(ctx, p, []string{model})
					if err != nil {
						return err
					}
					defer in.Close()
					if of, err = in.one(model, "described"); err != nil {
						return err
					}
					inputs = append(inputs, in.Paths()...)
				}
				return o.write(p, inputs, func(w io.Writer, s render.Style) error {
					return inspect.ExportMap(ctx, w, m, form, of)
				})
			})(cmd, args)
		},
	}
	f := cmd.Flags()
	forms := formNames(exchange.Forms())
	f.VarP(newChoice(&formFlag, append([]string{""}, forms...)...), "format", "f", "the format: transformers, vllm, mergekit or json")
	complete(cmd, "format", forms...)
	group(f, "Output", "format")
	o.addPath(cmd)
	f.StringVar(&model, "for", "", "with mergekit, write the architecture of the checkpoint at `PATH`")
	if err := cmd.RegisterFlagCompletionFunc("for", p.completePaths); err != nil {
		panic(err) // the flag does not exist
	}
	return cmd
}

func newMapImport(p *program) *cobra.Command {
	var (
		o    output
		opts exchange.ImportOptions
		form string
	)
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Turn another project's rules into a map",
		Long: `Import reads another project's file of renames and prints a map that does
the same: a key_mapping or a list of WeightRenamings for transformers, the
fields of vLLM's WeightsMapper, or a mergekit architecture, whose aliases become
its names. The file is JSON, or a table from a Python program, which is read
as data and never run.

A regular expression becomes rules if they match the same names and capture
the same parts; alternatives become one rule each. Anything else is refused, with
the reason for each entry. Entries apply one after the other, as in transformers
5 and vLLM; if a name may match several, one map cannot always express that.`,
		Annotations: exitStatus("2  also if no map does the same"),
		Example: `  wtinspect map import keys.json
  wtinspect map import --literal-dots -o llava.yaml key_mapping.json`,
		Args: arguments(1, 1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"json", "py"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			opts.Form = exchange.Form(form)
			m, err := inspect.ImportMap(cmd.Context(), args[0], &opts)
			if err != nil {
				return plain(err)
			}
			for _, f := range rename.Lint(m) {
				if f.Level == rename.Warning {
					p.note("%v", &f)
				}
			}
			return writeMap(p, &o, m, args)
		}),
	}
	f := cmd.Flags()
	forms := formNames(exchange.ImportForms())
	f.VarP(newChoice(&form, append([]string{""}, forms...)...), "format", "f", "the format of the file: transformers, vllm or mergekit (default: what it looks like)")
	complete(cmd, "format", forms...)
	f.BoolVar(&opts.LiteralDots, "literal-dots", false, "read a . in a regular expression as a dot, not as any character")
	f.BoolVar(&opts.FirstMatch, "first-match", false, "let the first entry that matches a name decide, as transformers 4 did")
	o.addPath(cmd)
	return cmd
}
