package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/tables"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// maxParts is how many parts there may be: each takes a look at the directory before the
// pipeline begins.
const maxParts = 10_000

// Check finds options that make no sense, before any work.
func (o *Options) Check(ctx context.Context) error {
	switch {
	case o.Dir == "":
		return errors.New("--out names the directory of the tables")
	case o.Parts < 1 || o.Parts > maxParts:
		return fmt.Errorf("--parts %d: there are between 1 and %d", o.Parts, maxParts)
	case o.PartRows < 0:
		return fmt.Errorf("--part-rows %d: the number of tensors cannot be negative", o.PartRows)
	case o.Workers < 0:
		return fmt.Errorf("-j %d: the number of inputs to scan at once cannot be negative", o.Workers)
	case o.Places.Rate < 0:
		return fmt.Errorf("--rate %d: the number of requests a minute cannot be negative", o.Places.Rate)
	}
	for _, err := range inspect.Scan(ctx, func(func(string, error) bool) {}, o.scan()) {
		return err
	}
	return nil
}

// Prepare makes the directory, and refuses one that has tables.
func (o *Options) Prepare(sys txn.System) error {
	by, err := o.scan().By(context.Background())
	if err != nil {
		return err
	}
	for part := range o.Parts {
		how := o.tables(part)
		how.By = by
		w, err := tables.Create(sys, o.Dir, how)
		if err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
	return nil
}

// Total adds up what the tables hold.
func (o *Options) Total() (Total, error) {
	t, err := tables.Count(txn.OS{}, o.Dir, o.tables(0))
	return Total(t), err
}

// A Total is what the tables hold.
type Total tables.Total

func (t Total) String() string {
	number := func(n int64) string { return render.Grouped(uint64(n)) }
	return fmt.Sprintf("%s, %s failed; rows: %s in releases, %s in files, %s in tensors, %s in findings", render.Counted(uint64(t.Releases), "input"), number(t.Failed),
		number(t.Releases), number(t.Rows["files"]), number(t.Rows["tensors"]), number(t.Rows["findings"]))
}
