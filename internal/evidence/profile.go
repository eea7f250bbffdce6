package evidence

import (
	"context"
	"fmt"
	"math"

	"github.com/wtinspect/wtinspect/rename/infer"
)

const (
	// profiled is how many rows of a matrix a profile rests on, and profileBlocks in how many
	// places they are.
	profiled      = 256
	profileBlocks = 4
	// mostDistinct bounds how many distinct values are counted.
	mostDistinct = 1 << 16
)

// Profile says what the numbers of tensors show by themselves.
func (w *Weights) Profile(ctx context.Context, of byte, names []string) ([]infer.Profile, error) {
	s := side(of - 'A')
	if s != sideA && s != sideB {
		return nil, fmt.Errorf("a side is 'A' or 'B', not %q", of)
	}
	list := make([]*tensor, len(names))
	spans := make([][]span, len(names))
	var wants []want
	for i, name := range names {
		t, err := w.tensor(s, name)
		if err != nil {
			return nil, err
		}
		if t.rows > 0 {
			list[i], spans[i] = t, t.profiled()
			wants = append(wants, t.wants(spans[i])...)
		}
	}
	if err := w.fetch(ctx, wants); err != nil {
		return nil, err
	}
	out := make([]infer.Profile, len(names))
	skipped := make([]int64, len(names))
	err := w.each(ctx, len(names), func(i int) {
		if t := list[i]; t != nil {
			out[i], skipped[i] = profile(&block{int(total(spans[i])), int(t.row), w.rowsOf(t, spans[i])}, t.vector)
		}
	})
	for _, n := range skipped {
		w.skipped += n
	}
	return out, err
}

func (v *view) profiled() []span {
	if v.vector {
		return []span{{0, 1}}
	}
	return v.spread(profiled, profileBlocks)
}

func profile(b *block, vector bool) (infer.Profile, int64) {
	b, _, skipped := finite(b, b)
	p := infer.Profile{Distinct: distinct(b.v, mostDistinct)}
	if b.rows == 0 {
		return p, skipped
	}
	sum, square := make([]float64, b.cols), make([]float64, b.cols)
	for i := range b.rows {
		for j, v := range b.row(i) {
			sum[j], square[j] = sum[j]+v, square[j]+v*v
		}
	}
	p.Logs = make([]float64, b.cols)
	var ofMean, all float64
	for j := range sum {
		ofMean, all = ofMean+sum[j]*sum[j], all+square[j]
		p.Logs[j] = math.Log(square[j]) / 2
	}
	if !vector && all > 0 {
		p.MeanRow = ofMean / all // rows·|Σ/rows|² / (Σ|row|²/rows)
	}
	return p, skipped
}
