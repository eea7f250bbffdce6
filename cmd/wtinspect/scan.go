package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/argv"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/source"
)

type scanOptions struct {
	pathList
	judging
	output
	progress
	// out is the destination where -o names the form.
	out         string
	tables      []string
	shard       shardFlag
	values      bool
	resume      bool
	partRows    int64
	allowErrors bool
}

// parquetFormat is the form of the tables that are written to a directory.
const parquetFormat = "parquet"

func newScan(p *program) *cobra.Command {
	var o scanOptions
	cmd := &cobra.Command{
		Use:   "scan [INPUT...]",
		Short: "Check thousands of releases, and write tables",
		Long: `Scan checks every input separately, as check does, and writes the results as rows of the
tables releases, files, tensors and findings, and with --values also stats. An INPUT is a
PATH; with -R a directory means every release at and below it; a cache of
huggingface_hub means its current snapshots; hf://ORG/* is every model of an organisation;
and - reads a list of inputs from stdin. A list has one input per line; empty lines
and lines that begin with # are skipped.

An input that fails becomes a row with an error_code, and the scan continues. Findings are rows
too, so they do not change the exit status.

--shard I/N scans one of N parts of the inputs. The part of an input depends only on the hash
of its reference, so all machines agree, and any scheduler that numbers its tasks can
run the parts.

Scan only reads, and it is a single process: it starts no workers elsewhere.`,
		Annotations: exitStatus("2  also if an input failed, unless --allow-errors; the others are still scanned"),
		Example: `  wtinspect scan -R ~/models > rows.jsonl
  wtinspect scan -f csv --table findings -R . -o findings.csv
  wtinspect scan -R ~/models --shard 3/16 -o rows-3.jsonl
  wtinspect scan --table findings 'hf://01-ai/*'
  ls -d ~/models/* | wtinspect scan --table releases - | jq -r .format`,
		ValidArgsFunction: p.completePaths,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			return runScan(cmd.Context(), p, &o, args)
		}),
	}
	flags := cmd.Flags()
	o.judging.addFlags(cmd)
	o.pathList.addFlags(cmd)
	flags.Lookup("files-from").Usage = "read INPUTs from `FILE`, one per line; - means stdin, also as an INPUT"
	o.reading.addFlags(cmd)
	flags.Lookup("recursive").Usage = "scan every release at and below the directories separately"
	flags.Lookup("jobs").Usage = "scan `N` inputs at once (default: one per processor, at least 4)"
	flags.BoolVar(&o.values, "values", false, "also read all data: for digests, figures, and the rules about values")
	flags.Var(&o.shard, "shard", "scan part `I/N` of the inputs, I from 0 to N-1")
	flags.BoolVar(&o.allowErrors, "allow-errors", false, "exit with 0 even if an input failed")
	flags.IntVar(&p.rate, "rate", 0, "send each server at most `N` requests a minute")
	group(flags, "Reading", "values", "shard", "allow-errors", "rate")
	forms := []string{string(render.JSONL), string(render.CSV), string(render.TSV), parquetFormat}
	addFormat(cmd, &o.format, "format of the tables: "+strings.Join(forms, ", "), forms...)
	flags.Lookup("json").Hidden = true
	flags.StringSliceVar(&o.tables, "table", nil, "write only these `TABLES`: "+strings.Join(answer.ScanTables(), ", "))
	complete(cmd, "table", answer.ScanTables()...)
	o.columnList.addFlag(cmd, p, &o.format, func(answer.Options) []render.Column { return answer.ScanColumns(o.tables) })
	o.addPath(cmd)
	flags.Lookup("output").Usage = "write to `PATH` instead of stdout, all or nothing; with -f parquet a directory"
	flags.StringVar(&o.out, "out", "", "the same as -o `PATH`; -o then names the format")
	flags.BoolVar(&o.resume, "resume", false, "continue the tables in the directory")
	flags.Int64Var(&o.partRows, "part-rows", 0, "start new parts after `N` tensors (default: a million, or 128 MB)")
	group(flags, "Output", "table", "out", "resume", "part-rows")
	o.progress.addFlags(cmd)
	p.addMaxBytes(cmd)
	return cmd
}

// A shardFlag is I/N.
type shardFlag struct{ i, n int }

func (s *shardFlag) Type() string { return "I/N" }

func (s *shardFlag) String() string {
	if s.n == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.i, s.n)
}

func (s *shardFlag) Set(text string) error {
	before, after, ok := strings.Cut(text, "/")
	i, err := strconv.ParseUint(before, 10, 31)
	n, err2 := strconv.ParseUint(after, 10, 31)
	switch {
	case !ok || err != nil || err2 != nil || n == 0:
		return errors.New("it must be I/N, as in 0/16: the number of a part, and of how many")
	case i >= n:
		return fmt.Errorf("parts are counted from 0, so the last is %d/%d", n-1, n)
	}
	s.i, s.n = int(i), int(n)
	return nil
}

// settle finds where the tables go and in which form, whichever way that is written.
func (o *scanOptions) settle() error {
	if o.out != "" {
		if err := destination("--out ", o.out); err != nil {
			return err
		}
		if o.path != "" {
			if err := newChoice(new(string), string(render.JSONL), string(render.CSV), string(render.TSV), parquetFormat).Set(o.path); err != nil {
				return fmt.Errorf("-o %s: with --out it names the form: %w", o.path, err)
			}
			o.format = o.path
		}
		o.path = o.out
	}
	if forms := []string{string(render.JSONL), string(render.CSV), string(render.TSV), parquetFormat}; o.out == "" && slices.Contains(forms, o.path) {
		return fmt.Errorf("-o %s names a form only beside --out PATH; for a file of that name write -o ./%s", o.path, o.path)
	}
	if o.format == string(render.TableFormat) { // as --columns alone has it
		return errors.New("--columns chooses the columns of -f csv or tsv")
	}
	all := answer.ScanTables()
	for _, t := range o.tables {
		if !slices.Contains(all, t) {
			return fmt.Errorf("--table %s: must be one of: %s", t, strings.Join(all, ", "))
		}
	}
	switch {
	case o.format == parquetFormat && len(o.tables) > 0:
		return fmt.Errorf("-f %s writes all tables; --table chooses those of the other forms", o.format)
	case o.format == parquetFormat && o.path == argv.Stdin:
		return errors.New("-f parquet writes a directory of files, and not to stdout")
	case o.partRows < 0:
		return fmt.Errorf("--part-rows %d: the number of tensors cannot be negative", o.partRows)
	case o.partRows > 0 && o.format != parquetFormat:
		return fmt.Errorf("--part-rows is for -f parquet, and not for -f %s", o.format)
	case o.workers < 0:
		return fmt.Errorf("-j %d: the number of inputs to scan at once cannot be negative", o.workers)
	case o.format == parquetFormat && o.path == "":
		return errors.New("-f parquet writes a directory of files; -o names it")
	case o.resume && o.format != parquetFormat:
		return fmt.Errorf("--resume goes on with the tables of -f parquet, and not of -f %s", o.format)
	case (o.format == string(render.CSV) || o.format == string(render.TSV)) && len(o.tables) != 1:
		return fmt.Errorf("-f %s writes one table; --table names it: %s", o.format, strings.Join(all, ", "))
	case slices.Contains(o.tables, "stats") && !o.values:
		return errors.New("--table stats: there are figures with --values alone")
	}
	if len(o.tables) == 0 {
		o.tables = all
	}
	return nil
}

func runScan(ctx context.Context, p *program, o *scanOptions, args []string) error {
	if err := o.settle(); err != nil {
		return err
	}
	if p.rate < 0 {
		return fmt.Errorf("--rate %d: the number of requests a minute cannot be negative", p.rate)
	}
	defer boundMemory()()
	var tables tableWriter
	isInput := func() bool { return false }
	if o.path != argv.Stdin {
		ctx, isInput = source.Watch(ctx, o.path)
	}
	var failed atomic.Pointer[error] // of a list, which may be read for longer than rows are wanted
	refs := func(yield func(string) bool) {
		if err := o.Each(ctx, p.stdin, args, yield); err != nil {
			failed.Store(&err)
		}
	}
	unread := func() error {
		if err := failed.Load(); err != nil {
			return *err
		}
		return nil
	}
	o.each = "inputs"
	opts := &inspect.ScanOptions{
		RuleChoice: o.choice(p), Recursive: o.recursive, Subtree: o.subtree, Values: o.values, Workers: o.workers,
		Shard: o.shard.i, Shards: o.shard.n, Version: thisBuild().version,
	}
	if o.format == parquetFormat {
		by, err := opts.By(ctx)
		if err != nil {
			return err
		}
		if tables, err = p.openTables(tableOptions{o.path, o.shard.i, max(o.shard.n, 1), o.values, by, o.resume, o.partRows}); err != nil {
			return err
		}
	}
	sum := newScanSummary(o.meter(p, "scanning", unknownTotal))
	opts.Progress = sum.progress
	inputs := inspect.ScanInputs(ctx, refs, opts)
	var err error
	if tables != nil {
		err = p.writeTables(ctx, tables, inputs, opts, sum, func() bool { return unread() == nil })
	} else {
		found := sum.counted(inspect.Scan(ctx, inputs, opts))
		err = o.answer(p, nil, func(w io.Writer, a answer.Options) error {
			err := answer.Scan(w, unless(isInput, found), o.tables, a)
			if isInput() {
				return o.isInput()
			}
			return cmp.Or(err, sum.err, unread()) // what is not whole replaces nothing
		})
	}
	sum.meter.end()
	if err := cmp.Or(sum.err, written(err)); err != nil {
		return err
	}
	sum.tell(p)
	for _, r := range sum.lost[:min(len(sum.lost), maxLost)] {
		p.say("%s: its rows were in a part that is damaged, and are lost; scan it again", r)
	}
	if more := len(sum.lost) - maxLost; more > 0 {
		p.say("and %s like these", counted(more, "more release"))
	}
	if err := unread(); err != nil {
		return err
	}
	if sum.failed > 0 && !o.allowErrors || len(sum.lost) > 0 {
		return &exitError{exitFailed}
	}
	return nil
}

// maxLost is how many releases are named whose rows are lost.
const maxLost = 10

// unless yields what was found as long as stop says nothing.
func unless(stop func() bool, found iter.Seq[*inspect.Scanned]) iter.Seq[*inspect.Scanned] {
	return func(yield func(*inspect.Scanned) bool) {
		for s := range found {
			if stop() || !yield(s) {
				return
			}
		}
	}
}

// writeTables scans inputs and writes what is found as tables. Interrupted, it keeps what
// is whole. Read reports whether the lists of inputs were read to their ends.
func (p *program) writeTables(ctx context.Context, w tableWriter, inputs iter.Seq2[string, error], opts *inspect.ScanOptions, sum *scanSummary, read func() bool) error {
	opts.Known = w.Known
	found := writeFound(w, sum.counted(inspect.Scan(ctx, inputs, opts)))
	err := errors.Join(found, p.winding(func() error {
		var err error
		if sum.err == nil || ctx.Err() != nil {
			err = w.Commit()
		}
		if sum.err == nil && found == nil && err == nil && read() {
			sum.lost, err = w.End()
		}
		return errors.Join(err, w.Close())
	}))
	sum.rows = w.Rows()
	return err
}

func writeFound(w tableWriter, found iter.Seq[*inspect.Scanned]) error {
	for s := range found {
		if err := w.Write(s); err != nil {
			return err
		}
	}
	return nil
}

// A scanSummary counts what a scan finds while it goes on.
type scanSummary struct {
	meter        *meter
	done, failed int64
	rows         map[string]int64
	// rules counts the releases with a finding, by the rule's ID and name.
	rules map[[2]string]int64
	err   error // that ended the scan
	// lost are the repositories whose rows of an earlier scan are lost.
	lost []string
}

func newScanSummary(m *meter) *scanSummary {
	return &scanSummary{meter: m, rows: make(map[string]int64), rules: make(map[[2]string]int64)}
}

func (s *scanSummary) progress(done, failed int64) {
	s.meter.add(done - s.done)
	s.done = done
	if failed != s.failed {
		s.failed = failed
		what := fmt.Sprintf("scanning, %s", counted(int(failed), "error"))
		s.meter.what.Store(&what)
	}
}

// counted yields what was found, and counts it.
func (s *scanSummary) counted(found iter.Seq2[*inspect.Scanned, error]) iter.Seq[*inspect.Scanned] {
	return func(yield func(*inspect.Scanned) bool) {
		for one, err := range found {
			if err != nil {
				s.err = err
				return
			}
			s.add(one)
			if !yield(one) {
				return
			}
		}
	}
}

func (s *scanSummary) add(one *inspect.Scanned) {
	s.rows["releases"]++
	s.rows["files"] += int64(len(one.Files))
	s.rows["tensors"] += one.Release.Tensors
	s.rows["findings"] += int64(len(one.Findings))
	seen := make(map[string]bool)
	for i := range one.Findings {
		if f := &one.Findings[i]; !seen[f.Rule] {
			seen[f.Rule] = true
			s.rules[[2]string{f.Rule, f.Name}]++
		}
	}
}

// commonest is how many rules the summary names.
const commonest = 10

// tell says what was found, and what most often.
func (s *scanSummary) tell(p *program) {
	number := func(n int64) string { return render.Grouped(uint64(n)) }
	p.note("%s, %s failed; rows: %s in releases, %s in files, %s in tensors, %s in findings", counted(int(s.done), "input"), number(s.failed),
		number(s.rows["releases"]), number(s.rows["files"]), number(s.rows["tensors"]), number(s.rows["findings"]))
	rules := slices.SortedFunc(maps.Keys(s.rules), func(a, b [2]string) int {
		return cmp.Or(cmp.Compare(s.rules[b], s.rules[a]), strings.Compare(a[0], b[0]))
	})
	for i, rule := range rules[:min(commonest, len(rules))] {
		if i == 0 {
			p.note("the most frequent findings:")
		}
		p.note("  %s %s: %s", rule[0], rule[1], counted(int(s.rules[rule]), "release"))
	}
}
