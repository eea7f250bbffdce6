package main

import (
	"context"
	"fmt"
	"io"
	"iter"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/render"
)

type lsOptions struct {
	pathList
	reading
	selection
	output
	converting
	sort    string
	reverse bool
	tree    bool
	flat    bool
	dims    string
}

func newLs(p *program) *cobra.Command {
	var o lsOptions
	cmd := &cobra.Command{
		Use:   "ls [PATH...]",
		Short: "List the tensors: name, dtype, shape, bytes",
		Long: `Ls lists the tensors of every checkpoint under the paths (default: the
current directory).

On a terminal, tensors that differ only in the numbers in their names and have
the same dtype and shape share a line, model.layers.{0..59}.mlp.up_proj.weight,
with their count and total size; a layer that differs from the others gets
its own line. --flat lists every tensor. In a pipe or a file there is one
line per tensor, without headings, with exact sizes and full names.

-v adds each tensor's file and the offset of its data, and prints
every fault on stderr.`,
		Annotations: exitStatus("2  also if a file of a set is missing or broken; the rest is still listed"),
		Example: `  wtinspect ls
  wtinspect ls --match '*.q_proj.weight' model.safetensors
  wtinspect ls --sort bytes --reverse --flat . | head
  wtinspect ls --tree ~/models/llama
  wtinspect ls --as gguf ~/models/llama
  wtinspect ls -f json -o tensors.json model.safetensors.index.json`,
		ValidArgsFunction: p.completePaths,
		RunE: o.work(p, func(cmd *cobra.Command, paths []string) error {
			return runLs(cmd.Context(), p, &o, paths)
		}),
	}
	o.pathList.addFlags(cmd)
	o.output.addFlags(cmd, p, func(a answer.Options) []render.Column {
		return answer.ListColumns(answer.ListOptions{Options: a, Tree: o.tree, Dims: o.dims == "ggml"})
	})
	o.selection.addFlags(cmd, p)
	o.reading.addFlags(cmd)
	f := cmd.Flags()
	keys := inspect.Sorts()
	sort := newChoice(&o.sort, keys...)
	sort.also = map[string]string{"size": "bytes"}
	f.Var(sort, "sort", "order, smallest first: name (2 before 10), offset, bytes, elements, dtype, or file: as stored")
	complete(cmd, "sort", keys...)
	f.BoolVar(&o.reverse, "reverse", false, "reverse the order")
	f.BoolVar(&o.tree, "tree", false, "show the names as a tree, with totals")
	f.StringVar(&o.to, "as", "", "show the tensors as another `CONVENTION` or project would have them")
	if err := cmd.RegisterFlagCompletionFunc("as", completeConventions); err != nil {
		panic(err) // the flag does not exist
	}
	f.BoolVar(&o.flat, "flat", false, "do not fold layers")
	f.Var(newChoice(&o.dims, "shape", "ggml"), "dims", "shape: slowest dimension first; ggml: fastest first, as GGUF stores them")
	complete(cmd, "dims", "shape", "ggml")
	return cmd
}

func runLs(ctx context.Context, p *program, o *lsOptions, paths []string) error {
	defer saveMemoryListing()()
	chosen, err := o.compile()
	if err != nil {
		return err
	}
	if o.tree && o.Format() != render.TableFormat {
		return fmt.Errorf("--tree is a table; it has no %s form", o.format)
	}
	o.noConfig = o.to == ""
	streamed := o.stream(p, chosen)
	in, err := o.openFor(ctx, p, paths, o.Format())
	if err != nil {
		return err
	}
	defer in.Close()
	if streamed != nil {
		o.noteNone(p, *streamed, nil)
		in.noteBeside(ctx, p)
		return in.finish(ctx, p, nil)
	}
	opts := inspect.ListOptions{Select: o.Selection, Sort: o.sort, Reverse: o.reverse, Dims: o.dims == "ggml"}
	if o.to != "" {
		if opts.Views, err = o.convertAll(ctx, p, in); err != nil {
			return in.finish(ctx, p, err)
		}
	}
	list, err := inspect.List(ctx, in.Set, &opts)
	if err != nil {
		return err
	}
	err = o.answer(p, in.Paths(), func(w io.Writer, a answer.Options) error {
		return answer.List(w, list, answer.ListOptions{Options: a, Tree: o.tree, Flat: o.flat, Dims: opts.Dims, Chosen: !o.All()})
	})
	o.noteNone(p, list.Len(), err)
	in.noteBeside(ctx, p)
	return in.finish(ctx, p, err)
}

// stream has JSON lines written while files are being opened, and counts them. It returns
// nil where all files are needed first: for an order, or a file that is written whole or
// not at all.
func (o *lsOptions) stream(p *program, chosen func(name string) bool) *int {
	if o.Format() != render.JSONL || o.path != "" && o.path != "-" || o.to != "" || o.reverse || o.sort != "file" {
		return nil
	}
	n := new(int)
	o.opened = func(k int, c *checkpoint.Checkpoint, tensors iter.Seq2[int, checkpoint.Tensor]) error {
		some := func(yield func(int, checkpoint.Tensor) bool) {
			for i, t := range tensors {
				if chosen == nil || chosen(t.Name) {
					*n++
					if !yield(i, t) {
						return
					}
				}
			}
		}
		return o.answer(p, nil, func(w io.Writer, a answer.Options) error {
			return answer.ListSome(w, k, c, some, answer.ListOptions{Options: a, Dims: o.dims == "ggml"})
		})
	}
	return n
}
