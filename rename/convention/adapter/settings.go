package adapter

import (
	"maps"
	"math"
	"slices"
)

// Settings are what is known beside an adapter's names of the factors of its
// changes. Nil Settings know nothing.
type Settings struct {
	// Alphas are the values of the tensors that are the alpha of a module.
	Alphas map[string]float64
	// Where is the document, or the metadata, that the rest is from; "" where there
	// is none.
	Where string
	// Alpha, Rank and Scale are lora_alpha, r and scale, 0 where they are not known.
	// With Root, PEFT's use_rslora, alpha is divided by the root of the rank.
	Alpha, Rank, Scale float64
	Root               bool
	// Embedded settings are in the file itself and hold where a dialect has none.
	Embedded bool
	// Patterns is set where some modules have an alpha of their own there.
	Patterns bool
	// Read returns the elements of a tensor, nil where they cannot be had. It is nil where
	// names and shapes are all that is known.
	Read func(tensor string) []float64
	// Base is the model that the adapter says it is for, "" when it does not.
	Base string
}

// Values are the alphas that are known, the lowest first.
func (s *Settings) Values() []float64 {
	out := slices.Collect(maps.Values(s.Alphas))
	if len(out) == 0 && s.Alpha != 0 {
		out = []float64{s.Alpha}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Factor is what the product of a change's halves is multiplied with, and whether
// it is known. alpha is the name of the module's alpha, "" where it has none.
func (s *Settings) Factor(d *Dialect, alpha string, rank uint64) (factor float64, known bool) {
	if alpha != "" {
		if s == nil {
			return 0, false
		}
		a, ok := s.Alphas[alpha]
		if rank == 0 { // a full matrix is not scaled: LyCORIS' modules/lokr.py
			return 1, true
		}
		if ok && a == 0 { // stands for the rank: sd-scripts' networks/lora.py LoRAModule
			return 1, true
		}
		return a / float64(rank), ok
	}
	if d.Alpha == Tensor || d.Alpha == Fold && (s == nil || !s.Embedded) || rank == 0 {
		return 1, true
	}
	if s == nil || s.Where == "" || s.Patterns {
		return 0, false
	}
	switch {
	case d.Alpha == Scale:
		return s.Scale, s.Scale != 0
	case d.Alpha == Key && s.Alpha == 0:
		return 1, true // llama.cpp: src/llama-adapter.cpp get_scale
	case s.Alpha == 0:
		return 0, false
	case s.Root:
		return s.Alpha / math.Sqrt(float64(rank)), true
	}
	return s.Alpha / float64(rank), true
}
