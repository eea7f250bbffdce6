package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/adapter"
)

// converting is how a command is told between which conventions to convert.
type converting struct {
	from, to string
	config   string
}

// model is what is known of the model: what --config says, or what stands
// beside the weights.
func (o *converting) model(ctx context.Context, c *checkpoint.Checkpoint) (*convention.Model, error) {
	m, err := inspect.Model(ctx, c, o.config)
	switch {
	case err != nil && o.config != "":
		return nil, fmt.Errorf("--config: %w", plain(err))
	case err != nil:
		return nil, plain(err)
	}
	return m, ctx.Err()
}

// translate derives the conversion of a checkpoint.
func (o *converting) translate(ctx context.Context, c *checkpoint.Checkpoint, m *convention.Model) (*inspect.Translation, error) {
	conv, err := inspect.Translate(ctx, c, &inspect.TranslateOptions{From: o.from, To: o.to, Model: m})
	return conv, conversionError(err)
}

// conversionError adds to the error of a conversion which flag helps.
func conversionError(err error) error {
	if _, ok := errors.AsType[*inspect.UnknownConventionError](err); ok {
		return fmt.Errorf("--from: %w ('wtinspect map list' shows all)", err)
	}
	if _, ok := errors.AsType[*inspect.UnidentifiedError](err); ok {
		return fmt.Errorf("%w; name one with --from, or have 'wtinspect map infer' find the map", err)
	}
	return err
}

// completeConventions completes the names of conventions and of projects.
func completeConventions(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, c := range convention.All() {
		for _, name := range append([]string{c.Name}, c.Dialects...) {
			if strings.HasPrefix(name, toComplete) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeGoals completes what a conversion may be to: conventions and projects,
// and the dialects of adapters.
func completeGoals(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	names, directive := completeConventions(cmd, args, toComplete)
	for _, d := range adapter.All() {
		if strings.HasPrefix(d.Name, toComplete) && !slices.Contains(names, d.Name) {
			names = append(names, d.Name)
		}
	}
	return names, directive
}
