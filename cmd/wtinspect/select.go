package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
)

// A selection is the flags that choose tensors by name.
type selection struct{ inspect.Selection }

func (s *selection) addFlags(cmd *cobra.Command, p *program) {
	f := cmd.Flags()
	f.StringArrayVar(&s.Match, "match", nil, "choose tensors whose whole name matches `GLOB`; * crosses dots (repeatable)")
	f.StringArrayVar(&s.Regex, "regex", nil, "choose tensors whose name contains a match of `RE` (repeatable)")
	f.StringArrayVar(&s.Exclude, "exclude", nil, "leave out tensors whose whole name matches `GLOB` (repeatable)")
	group(f, "Choosing tensors", "match", "regex", "exclude")
	for _, flag := range []string{"match", "exclude"} {
		if err := cmd.RegisterFlagCompletionFunc(flag, p.completeTensors); err != nil {
			panic(err) // the flag does not exist
		}
	}
}

// compile returns the test that the flags amount to, nil when every tensor
// passes it.
func (s *selection) compile() (func(name string) bool, error) {
	chosen, err := s.Compile()
	if err != nil {
		return nil, fmt.Errorf("--%w", err)
	}
	return chosen, nil
}

// count returns how many tensors of a checkpoint pass the test of the flags.
func (s *selection) count(chosen func(name string) bool, c *checkpoint.Checkpoint) int {
	n := 0
	for _, t := range c.All() {
		if chosen == nil || chosen(t.Name) {
			n++
		}
	}
	return n
}

// noteNone says that the flags choose none of the tensors.
func (s *selection) noteNone(p *program, chosen int, err error) {
	if !s.All() && chosen == 0 && err == nil {
		for _, glob := range s.Match {
			if !strings.Contains(glob, "*") {
				p.note("no tensor is called %q; --match '*%s*' chooses those whose names contain it", glob, glob)
				return
			}
		}
		p.note("no tensor matches the given names")
	}
}
