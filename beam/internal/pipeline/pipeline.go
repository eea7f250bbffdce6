// Package pipeline is a scan as a pipeline of Apache Beam:
//
//	match      references become inputs
//	reshuffle  inputs are spread over the workers
//	scan       each input becomes rows, with the number of the part that they belong to
//	group      the rows of a part come together
//	write      each part is written, as 'wtinspect scan --shard' writes it
//
// Part I of N has the inputs that 'wtinspect scan --shard I/N' would take. No step knows of
// another but by what comes from it, so that a runner may do any again.
package pipeline

import (
	"context"
	"iter"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"github.com/wtinspect/wtinspect/inspect"
)

// Options say what is scanned and where the tables go. They travel to the workers as JSON.
type Options struct {
	// Dir is the directory of the tables, on a file system that all workers share.
	Dir string
	// Parts is how many parts there are.
	Parts int
	// PartRows is how many tensors a file holds before the next begins, 0 for a million.
	PartRows int64
	// Version is that of the program.
	Version string

	// Rules choose how releases are judged, and AllRules says that all rules count whatever
	// the settings of a release choose.
	Rules    inspect.RuleChoice
	AllRules bool

	Recursive bool
	Subtree   string
	Values    bool
	// Workers is how many inputs a worker scans at once.
	Workers int
	Places  Places
}

func init() {
	register.DoFn4x1[context.Context, []byte, func(int64, []byte), func(int64, []byte), error](&matchFn{})
	register.DoFn4x1[context.Context, int64, []byte, func(int64, []byte), error](&scanFn{})
	register.DoFn3x1[context.Context, int64, func(*[]byte) bool, error](&writeFn{})
	register.Emitter2[int64, []byte]()
	register.Iter1[[]byte]()
}

// Build makes the pipeline that scans what references mean.
func Build(refs iter.Seq[string], o Options) *beam.Pipeline {
	p, s := beam.NewPipelineWithRoot()
	inputs, failed := beam.ParDo2(s.Scope("match"), &matchFn{Options: o, Refs: pack(refs)}, beam.Impulse(s))
	rows := beam.ParDo(s.Scope("scan"), &scanFn{Options: o}, beam.Reshuffle(s, inputs))
	parts := beam.GroupByKey(s, beam.Flatten(s, rows, failed))
	beam.ParDo0(s.Scope("write"), &writeFn{Options: o}, parts)
	return p
}
