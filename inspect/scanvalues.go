package inspect

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/compare"
	"github.com/wtinspect/wtinspect/internal/values"
)

// scannedValues are what was found of the values of a release's tensors.
type scannedValues struct {
	rel *checkpoint.Release
	at  map[*checkpoint.Checkpoint]int
	of  [][]scannedValue // of each checkpoint
}

// A scannedValue is what was found of a tensor. Err says why it has no figures.
type scannedValue struct {
	read  bool
	sha   [32]byte
	stats *values.Stats
	err   error
}

func newScannedValues(rel *checkpoint.Release) *scannedValues {
	v := &scannedValues{rel: rel, at: make(map[*checkpoint.Checkpoint]int), of: make([][]scannedValue, len(rel.Checkpoints))}
	for k, c := range rel.Checkpoints {
		v.at[c], v.of[k] = k, make([]scannedValue, c.Len())
	}
	return v
}

// keep keeps what a rule has read.
func (v *scannedValues) keep(c *checkpoint.Checkpoint, i int, r *values.Result) {
	if v != nil {
		v.of[v.at[c]][i] = scannedValue{read: r.Err == nil, sha: r.SHA256, stats: r.Stats, err: r.Err}
	}
}

// complete reads what no rule has needed.
func (v *scannedValues) complete(ctx context.Context) error {
	for k, c := range v.rel.Checkpoints {
		var typed, plain []values.Section
		var typedAt, plainAt []int
		for i, t := range c.All() {
			to := &v.of[k][i]
			if to.read || to.err != nil {
				continue
			}
			s, err := compare.Section(c, i)
			switch {
			case err != nil:
				to.err = err
			case s.Type == nil:
				plain, plainAt = append(plain, s), append(plainAt, i)
			default:
				typed, typedAt = append(typed, s), append(typedAt, i)
			}
			if to.err == nil && s.Type == nil {
				to.err = fmt.Errorf("tensor %q: this version does not know the numbers of %s", t.Name, t.DType)
			}
		}
		keep := func(at []int, figures bool) func(n int, r *values.Result) error {
			return func(n int, r *values.Result) error {
				to := &v.of[k][at[n]]
				if r.Err != nil {
					to.err = r.Err
					return nil
				}
				to.read, to.sha = true, r.SHA256
				if figures {
					to.stats = r.Stats
				}
				return nil
			}
		}
		if err := values.Run(ctx, typed, values.Options{SHA256: true, Stats: &values.StatsOptions{}}, keep(typedAt, true)); err != nil {
			return err
		}
		if err := values.Run(ctx, plain, values.Options{SHA256: true}, keep(plainAt, false)); err != nil {
			return err
		}
	}
	return nil
}

// digest returns the digest of a tensor, nil where it was not read.
func (v *scannedValues) digest(p tensorPlace) *string {
	if v == nil || !v.of[p.checkpoint][p.index].read {
		return nil
	}
	text := hex.EncodeToString(v.of[p.checkpoint][p.index].sha[:])
	return &text
}

// statsRows yields the rows of the table stats.
func (r *scannedRelease) statsRows(yield func(ScannedStats) bool) {
	for _, p := range r.places() {
		t := r.rel.Checkpoints[p.checkpoint].At(int(p.index))
		v := &r.values.of[p.checkpoint][p.index]
		row := ScannedStats{ScannedFrom: r.from, Checkpoint: r.paths[p.checkpoint], DType: some(t.DType)}
		row.Name, row.NameBase64 = asUTF8(t.Name)
		if t.File >= 0 {
			row.File = r.files[p.checkpoint][t.File]
		}
		if v.err != nil {
			text, _ := asUTF8(v.err.Error())
			row.Error = &text
		}
		if f := figuresOf(v.stats); f != nil {
			row.fill(f)
		}
		if !yield(row) {
			return
		}
	}
}

func (s *ScannedStats) fill(f *Figures) {
	counted := func(n uint64) *int64 { return fits(n, true) }
	figure := func(x float64) *float64 { return optional(x, !math.IsNaN(x)) }
	s.Count, s.Zeros, s.Denormals, s.NaN, s.PosInf, s.NegInf = counted(f.Count), counted(f.Zeros), counted(f.Denormals), counted(f.NaN), counted(f.PosInf), counted(f.NegInf)
	s.Min, s.Max, s.Mean, s.Std, s.AbsMax, s.L2 = figure(f.Min), figure(f.Max), figure(f.Mean), figure(f.Std), figure(f.AbsMax), figure(f.L2)
	s.Distinct = optional(f.Distinct, f.Distinct >= 0)
	for i, p := range []**float64{&s.P1, &s.P5, &s.P25, &s.P50, &s.P75, &s.P95, &s.P99} {
		*p = figure(f.Quantiles[i])
	}
	s.QuantileError, s.Fingerprint = &f.QuantileError, some(f.Fingerprint)
}
