package inspect

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/stores"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

// ScanOptions adjust [Scan] and [ScanInputs]. Nil options are the defaults.
type ScanOptions struct {
	// RuleChoice says by which rules the releases are judged.
	RuleChoice
	// Recursive has every release at and below a directory scanned, each by itself.
	Recursive bool
	// Subtree is the part of PyTorch files that is read; see [checkpoint.Options].
	Subtree string
	// Values also reads all data: for the digests of the tensors, their figures, and the
	// rules about values.
	Values bool
	// Workers is how many inputs are scanned at once; 0 means as many as there are
	// processors, and at least 4.
	Workers int
	// Shard is which of so many Shards is scanned, from 0; with 0 or 1 Shards all is.
	// [ShardOf] says which shard an input belongs to.
	Shard, Shards int
	// Known says that the state of an input is known from an earlier scan, which leaves it
	// out. It is called by several goroutines at once, and may be nil.
	Known func(repository, state string) bool
	// Version is that of the program, which every row has.
	Version string
	// Progress is told how many inputs are done and how many of them failed.
	Progress func(done, failed int64)
}

// By says by what releases are judged, in the words of the flags of a command line, and a file
// of settings by the digest of its text.
func (o *ScanOptions) By(ctx context.Context) (string, error) {
	var words []string
	add := func(flag, value string) {
		if value != "" {
			words = append(words, flag+" "+value)
		}
	}
	if o.Select != nil {
		add("--select", cmp.Or(strings.Join(o.Select, ","), "all"))
	}
	add("--ignore", strings.Join(o.Ignore, ","))
	add("--profile", o.Profile)
	add("--subtree", o.Subtree)
	if o.Settings != "" {
		text, err := readNamed(ctx, o.Settings, source.Settings)
		if err != nil {
			return "", err
		}
		add("--config", fmt.Sprintf("of SHA-256 %x", sha256.Sum256(text)))
	}
	by := strings.Join(words, " ")
	const most = 1000
	if len(by) > most {
		by = fmt.Sprintf("flags of SHA-256 %x", sha256.Sum256([]byte(by)))
	}
	return by, nil
}

// maxWaiting bounds the tensors of releases that are open and not yet delivered. The
// next to be delivered may have any number.
const maxWaiting = 1 << 19

// Scan judges inputs, each by itself, and yields what it found in their order. Inputs are
// references that [Open] takes, such as [ScanInputs] yields; one that comes with an error,
// cannot be opened or cannot be judged is a row that says so. An error means that ctx
// ended or that the options make no sense, and is the last that is yielded.
//
// What a [Scanned] has is of use until the next is asked for. Several inputs are scanned
// at once; inputs is walked by another goroutine, which takes no more of them than are
// worked on soon.
func Scan(ctx context.Context, inputs iter.Seq2[string, error], opts *ScanOptions) iter.Seq2[*Scanned, error] {
	if opts == nil {
		opts = new(ScanOptions)
	}
	return func(yield func(*Scanned, error) bool) {
		s := &scanner{opts: opts, by: judge{CheckOptions: &CheckOptions{RuleChoice: opts.RuleChoice, Values: opts.Values}}}
		if err := s.check(ctx); err != nil {
			yield(nil, err)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		n := cmp.Or(max(opts.Workers, 0), max(4, runtime.GOMAXPROCS(0)))
		work := make(chan *scanJob)
		order := make(chan *scanJob, 4*n)
		go func() {
			defer close(order)
			defer close(work)
			number := int64(0)
			for ref, err := range inputs {
				j := &scanJob{number: number, ref: ref, err: err, done: make(chan struct{})}
				number++
				for _, c := range []chan *scanJob{order, work} {
					select {
					case c <- j:
					case <-ctx.Done():
						return
					}
				}
			}
		}()
		s.gate = newGate(ctx)
		var workers sync.WaitGroup
		for range n {
			workers.Go(func() {
				for {
					select {
					case j, ok := <-work:
						if !ok {
							return
						}
						s.scan(ctx, j)
						close(j.done)
					case <-ctx.Done(): // while inputs may wait for its next for ever
						return
					}
				}
			})
		}
		s.deliver(ctx, order, yield)
		cancel()
		workers.Wait()
		for {
			select {
			case j, ok := <-order:
				if !ok {
					return
				}
				j.close(ctx)
			default:
				return
			}
		}
	}
}

// A scanJob is one input.
type scanJob struct {
	number int64
	ref    string
	err    error

	done    chan struct{}
	out     *Scanned // nil for an input that is known
	release *checkpoint.Release
	tensors int64 // that the gate counts
}

// close ends what a job has open, and what is known of a release on a server.
func (j *scanJob) close(ctx context.Context) {
	if j.release != nil {
		j.release.Close()
		source.Forget(ctx, j.release.Path)
	}
}

// scanner is one call of Scan.
type scanner struct {
	opts *ScanOptions
	by   judge
	gate *gate
}

// check finds options that make no sense, before any work.
func (s *scanner) check(ctx context.Context) error {
	if err := s.opts.checkShard(); err != nil {
		return err
	}
	set, err := s.opts.settings(ctx, "")
	if err != nil {
		return err
	}
	how, err := s.opts.join(set)
	if err != nil {
		return err
	}
	how.Values = s.opts.Values
	return how.Check()
}

// deliver yields what the jobs found, in their order.
func (s *scanner) deliver(ctx context.Context, order <-chan *scanJob, yield func(*Scanned, error) bool) {
	var done, failed int64
	for j := following(ctx, order); j != nil; j = following(ctx, order) {
		if ctx.Err() != nil {
			j.close(ctx)
			break
		}
		more := true
		if j.out != nil {
			more = yield(j.out, nil)
			if j.out.Release.ErrorCode != nil {
				failed++
			}
		}
		j.close(ctx)
		s.gate.leave(j)
		if done++; s.opts.Progress != nil {
			s.opts.Progress(done, failed)
		}
		if !more {
			return
		}
	}
	if err := ctx.Err(); err != nil {
		yield(nil, err)
	}
}

// following waits for the next job and for what it found, or for the end of the context. It is nil after the last.
func following(ctx context.Context, order <-chan *scanJob) *scanJob {
	select {
	case j, ok := <-order:
		if !ok {
			return nil
		}
		select {
		case <-j.done:
		case <-ctx.Done():
		}
		return j
	case <-ctx.Done(): // while inputs may wait for its next for ever
		return nil
	}
}

// scan scans one input.
func (s *scanner) scan(ctx context.Context, j *scanJob) {
	from := ScannedFrom{SchemaVersion: ScanSchemaVersion, ToolVersion: s.opts.Version}
	from.Repository = keyText(ShownReference(j.ref))
	none := func(func(ScannedTensor) bool) {}
	out := &Scanned{Release: ScannedRelease{ScannedFrom: from, Wrappers: []string{}}, Tensors: none, Stats: func(func(ScannedStats) bool) {}}
	fail := func(err error) {
		if out.Release.ErrorCode == nil { // the first says most
			code, text := errorColumns(err)
			shown := withoutSecrets(*text, j.ref)
			out.Release.ErrorCode, out.Release.Error = code, &shown
		}
	}
	if j.err != nil {
		fail(j.err)
		j.out = out
		return
	}
	if !s.gate.enter(j, 0) {
		return
	}
	looked, err := lookAt(ctx, j.ref)
	if err == nil {
		looked.judgedBy(ctx, s.opts)
		out.Release.State = looked.state
		if source.Scheme(looked.dir) == "" {
			from.Revision = some(stores.SnapshotCommit(looked.dir))
			out.Release.ScannedFrom = from
		}
		if s.opts.Known != nil && s.opts.Known(from.Repository, looked.state) {
			return
		}
	}
	j.out = out
	rel, err := open(ctx, j.ref, &checkpoint.Options{Subtree: s.opts.Subtree})
	if err != nil {
		fail(err)
		if rel == nil {
			return
		}
	}
	j.release = rel
	tensors := int64(0)
	for _, c := range rel.Checkpoints {
		tensors += int64(c.Len())
	}
	if !s.gate.enter(j, tensors) {
		return
	}
	for _, dir := range pendingIn(j.ref, rel) {
		fail(interrupted(j.ref, dir))
	}
	if rev := revisionOf(rel); rev != nil {
		from.Revision = rev
	}
	out.Release.ScannedFrom = from
	rows := newScannedRelease(from, rel)
	out.Release.Modified = looked.modified(ctx, rel)
	if s.opts.Values {
		rows.values = newScannedValues(rel)
	}
	found, err := s.by.release(ctx, rel, rows.values.keep)
	if err != nil {
		fail(err)
	} else {
		if found.unlocked != nil {
			fail(found.unlocked)
		}
		counts := found.counts()
		out.Release.Errors, out.Release.Warnings, out.Release.Infos = int64(counts[checkpoint.Error]), int64(counts[checkpoint.Warning]), int64(counts[checkpoint.Info])
		out.Findings = rows.findingRows(found.report.Findings)
	}
	if err := rows.summarize(ctx, &out.Release, found); err != nil {
		fail(err)
		return
	}
	if s.opts.Values && err == nil {
		if err := rows.values.complete(ctx); err != nil {
			fail(err)
		}
		out.Stats = rows.statsRows
	}
	out.Files = rows.fileRows(func(path string) string { return looked.etag(ctx, path) })
	out.Tensors = rows.tensorRows
	if err := unread(rel); err != nil {
		fail(err)
	}
}

// unread says why a release is not known: none of its files can be read, or one cannot be
// for now. It returns nil where what can be read is all that there is.
func unread(rel *checkpoint.Release) error {
	var first error
	none := true
	for _, c := range rel.Checkpoints {
		for _, f := range c.Files {
			switch {
			case f.Err == nil && !f.Missing:
				none = false
			case f.Err != nil && Passing(errorCode(f.Err)):
				return f.Err
			case f.Err != nil:
				first = cmp.Or(first, f.Err)
			}
		}
	}
	if !none {
		return nil
	}
	return first
}

// summarize fills in what the row of a release says of its checkpoints. What the rules have
// found out of them is not found out again.
func (r *scannedRelease) summarize(ctx context.Context, row *ScannedRelease, found *judgement) error {
	var bytes, parameters, most Sum
	known := true
	text := func(s string) *string {
		valid, _ := asUTF8(s)
		return some(valid)
	}
	for k, c := range r.rel.Checkpoints {
		if err := ctx.Err(); err != nil {
			return err
		}
		row.Checkpoints++
		row.Files += int64(len(c.Files))
		row.Tensors += int64(c.Len())
		var own Sum
		for _, t := range c.All() {
			if t.BytesKnown {
				own.Add(t.Bytes)
				bytes.Add(t.Bytes)
			}
		}
		if c.NamesOnly() {
			known = false
		} else {
			n, _ := c.Parameters(c.Config)
			parameters.Add(n)
		}
		var id *identify.Result
		if found != nil && found.report != nil {
			id = found.report.Identified(k)
		} else {
			m, _ := adapt.Model(ctx, c) // a document that cannot be read says nothing
			id = identify.Tensors(adapt.Tensors(c), m)
		}
		for _, w := range id.Wrappers {
			if w, _ = asUTF8(w); !slices.Contains(row.Wrappers, w) {
				row.Wrappers = append(row.Wrappers, w)
			}
		}
		if k == 0 || own.N > most.N || own.Overflow && !most.Overflow {
			most = own
			row.Format, row.Convention, row.Architecture = some(string(c.Format)), text(id.Convention), text(c.Architecture(c.Config))
		}
	}
	if len(r.rel.Checkpoints) > 0 {
		row.Bytes = bytes.fits()
		if known {
			row.Parameters = parameters.fits()
		}
	}
	return nil
}

// A gate lets releases wait for their turn as long as others, with too many tensors in
// all, wait to be delivered.
type gate struct {
	ctx     context.Context
	mu      sync.Mutex
	moved   *sync.Cond
	next    int64 // the number of the next to be delivered
	waiting int64
}

func newGate(ctx context.Context) *gate {
	g := &gate{ctx: ctx}
	g.moved = sync.NewCond(&g.mu)
	context.AfterFunc(ctx, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.moved.Broadcast()
	})
	return g
}

// enter waits until a job may have so many tensors, and reports that it may; ctx has
// ended otherwise. The job that is delivered next never waits.
func (g *gate) enter(j *scanJob, tensors int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.ctx.Err() == nil && j.number != g.next && g.waiting+tensors > maxWaiting {
		g.moved.Wait()
	}
	j.tensors += tensors
	g.waiting += tensors
	return g.ctx.Err() == nil
}

// leave is called when a job was delivered.
func (g *gate) leave(j *scanJob) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting -= j.tensors
	g.next++
	g.moved.Broadcast()
}
