package check

import (
	"fmt"
	"slices"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/plural"
)

var changeRules = []*Rule{
	{
		ID: "WT601", Name: "tensor-removed", Severity: checkpoint.Error, run: runRemoved,
		Title: "a tensor of the earlier release is gone",
		Doc: `Compared with --against, or with wtinspect.lock.json beside the weights: who loads the
release by these names finds one missing.`,
		Bad: "lm_head.weight in the lock, not in the release", Good: "every tensor of the lock",
	},
	{
		ID: "WT602", Name: "tensor-added", Severity: checkpoint.Warning, run: runAdded,
		Title: "a tensor is new against the earlier release",
		Doc:   `Strict loaders refuse tensors that they do not expect.`,
		Bad:   "model.norm.bias in the release, not in the lock", Good: "the tensors of the lock alone",
	},
	{
		ID: "WT603", Name: "dtype-changed", Severity: checkpoint.Error, run: runDTypeChanged,
		Title: "a tensor has another dtype than in the earlier release",
		Doc:   `The release became twice as large or half as exact, or was quantised.`,
		Bad:   "BF16 in the lock, F32 in the release", Good: "BF16 in both",
	},
	{
		ID: "WT604", Name: "shape-changed", Severity: checkpoint.Error, run: runShapeChanged,
		Title: "a tensor has another shape than in the earlier release",
		Doc:   `Code and configurations that were written for the earlier release do not load this one.`,
		Bad:   "[32000,4096] in the lock, [32002,4096] in the release", Good: "[32000,4096] in both",
	},
	{
		ID: "WT605", Name: "values-changed", Severity: checkpoint.Error, run: runValuesChanged,
		Title: "a tensor's data is not what the lock's digest says",
		Doc: `Only for locks with digests (lock --digests): the data is read, which takes as long as
the disk needs.`,
		Bad: "one byte of model.norm.weight is another", Good: "data as it was locked",
	},
	{
		ID: "WT606", Name: "checkpoint-changed", Severity: checkpoint.Error, run: runCheckpointChanged,
		Title: "a checkpoint of the earlier release is gone",
		Doc:   `A file or a set of files that the earlier release had, under its path, is not in this one.`,
		Bad:   "text_encoder in the lock, not in the release", Good: "every checkpoint of the lock",
	},
}

// locked yields the checkpoints of the release with what they are held to: of
// the same path, or the only ones on both sides.
func (p *Pass) locked(yield func(m *model, l *LockedCheckpoint) bool) {
	if p.against == nil {
		return
	}
	for i := range p.against.Checkpoints {
		l := &p.against.Checkpoints[i]
		if m := p.unlocked(l); m != nil && !yield(m, l) {
			return
		}
	}
}

// unlocked returns the checkpoint that a locked one stands for, or nil.
func (p *Pass) unlocked(l *LockedCheckpoint) *model {
	if len(p.against.Checkpoints) == 1 && len(p.models) == 1 {
		return p.models[0]
	}
	i := slices.IndexFunc(p.models, func(m *model) bool { return lockedPath(p.release, m.Checkpoint) == l.Path })
	if i < 0 {
		return nil
	}
	return p.models[i]
}

func runRemoved(p *Pass) {
	for m, l := range p.locked {
		if m.partial() {
			continue
		}
		for i := range l.Tensors {
			t := &l.Tensors[i]
			if _, ok := m.Lookup(t.Name); ok {
				continue
			}
			f := m.whole("gone, and %s has it", p.against.Path)
			f.Tensor = t.Name
			p.report(f)
		}
	}
}

func runAdded(p *Pass) {
	for m, l := range p.locked {
		have := make(map[string]bool, len(l.Tensors))
		for i := range l.Tensors {
			have[l.Tensors[i].Name] = true
		}
		for i, t := range m.All() {
			if !have[t.Name] {
				p.report(m.finding(i, "new, and not in %s", p.against.Path))
			}
		}
	}
}

// both yields the tensors that the release and its lock have.
func (p *Pass) both(yield func(m *model, i int, l *LockedTensor)) {
	for m, c := range p.locked {
		for k := range c.Tensors {
			if i, ok := m.Lookup(c.Tensors[k].Name); ok {
				yield(m, i, &c.Tensors[k])
			}
		}
	}
}

func runDTypeChanged(p *Pass) {
	p.both(func(m *model, i int, l *LockedTensor) {
		if t := m.At(i); t.DType != l.DType && t.DType != "" && l.DType != "" {
			p.report(m.finding(i, "%s, and %s in %s", t.DType, l.DType, p.against.Path))
		}
	})
}

func runShapeChanged(p *Pass) {
	p.both(func(m *model, i int, l *LockedTensor) {
		if t := m.At(i); t.Shape != nil && l.Shape != nil && !slices.Equal(t.Shape, l.Shape) {
			p.report(m.finding(i, "%s, and %s in %s", shapeText(t.Shape), shapeText(l.Shape), p.against.Path))
		}
	})
}

func runValuesChanged(p *Pass) {
	if p.against == nil || !p.against.digests() {
		return
	}
	for m, l := range p.locked {
		// Only what has a digest and is the same in form is worth reading.
		var tensors []int
		var want []string
		for k := range l.Tensors {
			t := &l.Tensors[k]
			i, ok := m.Lookup(t.Name)
			if ok && t.SHA256 != "" && m.At(i).DType == t.DType && slices.Equal(m.At(i).Shape, t.Shape) {
				tensors, want = append(tensors, i), append(want, t.SHA256)
			}
		}
		tensors, want = p.withoutMeasured(m, tensors, want)
		err := compareDigests(p.ctx, m, tensors, want, func(i int, message string) {
			p.report(m.finding(i, "%s", message))
		})
		if err != nil {
			p.report(m.whole("%v", err))
		}
	}
}

// withoutMeasured reports the tensors whose digest is another, as far as the
// rules that read values have taken it already, and returns the others.
func (p *Pass) withoutMeasured(m *model, tensors []int, want []string) ([]int, []string) {
	if !p.opts.Values {
		return tensors, want
	}
	var left []int
	var lack []string
	for k, i := range tensors {
		v := &m.measures().tensors[i]
		if v.count == 0 {
			left, lack = append(left, i), append(lack, want[k])
			continue
		}
		if message := otherDigest(v.sha256, want[k]); message != "" {
			p.report(m.finding(i, "%s", message))
		}
	}
	return left, lack
}

func runCheckpointChanged(p *Pass) {
	if p.against == nil {
		return
	}
	for i := range p.against.Checkpoints {
		l := &p.against.Checkpoints[i]
		if p.unlocked(l) == nil {
			p.report(Finding{File: p.release.Dir, Offset: -1, Message: fmt.Sprintf("%s is gone, and %s has it with %s", l.Path, p.against.Path, plural.Of(len(l.Tensors), "tensor"))})
		}
	}
}
