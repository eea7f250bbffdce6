package convert

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/testdata"
	"github.com/wtinspect/wtinspect/rename/convention"
)

var update = flag.Bool("update", false, "write docs/refused-conversions.md")

// refusedPage writes docs/refused-conversions.md.
func refusedPage() string {
	var rows, whole strings.Builder
	offered, refused := 0, 0
	for _, from := range convention.All() {
		if from.Refuse != "" {
			fmt.Fprintf(&whole, "| `%s` | %s |\n", from.Name, from.Refuse)
		}
		for _, to := range convention.All() {
			if from == to || from.Frame || to.Frame {
				continue
			}
			d, err := Derive(from, to)
			if err != nil {
				continue
			}
			if d.By() != "refused" {
				offered++
				continue
			}
			refused++
			why := "none of the tensors is in both"
			if i := slices.IndexFunc(d.Rules, func(r DerivedRule) bool { return r.Refuse != "" && !r.Optional && r.Blocks }); i >= 0 {
				why = fmt.Sprintf("`%s`: %s", strings.Join(d.Rules[i].From, "`, `"), d.Rules[i].Refuse)
			}
			fmt.Fprintf(&rows, "| `%s` | `%s` | %s |\n", from.Name, to.Name, why)
		}
	}
	return fmt.Sprintf(`# Conversions that are refused

Two [conventions](conventions.md) that a model can follow both have a conversion, in each
direction. Of %d conversions, %d are refused. `+"`rename --to`"+` and `+"`ls --as`"+` say so
before anything is written, `+"`map list`"+` says `+"`refused`"+`, and
[diff](diff.md) compares the tensors that can be converted. The first tensor that cannot be
brought into the other form, and why:

| from | to | why |
|---|---|---|
%s
Nothing is converted from or to these:

| convention | why |
|---|---|
%s
This page is made by `+"`go test ./rename/convention/convert -run TestRefused -update`"+`.
`, offered+refused, refused, rows.String(), whole.String())
}

// docs/refused-conversions.md is what conversions are.
func TestRefusedConversions(t *testing.T) {
	if testing.Short() {
		t.Skip("tries every pair of conventions")
	}
	testdata.UpToDate(t, "../../../docs/refused-conversions.md", refusedPage(), *update)
}
