// Command wtinspect-beam is 'wtinspect scan' as a pipeline of Apache Beam.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/exec/optimized" // calls without reflection
	beamlog "github.com/apache/beam/sdks/v2/go/pkg/beam/log"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/jobopts"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners"
	// The runners that --runner names.
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/runners/dataflow"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/runners/flink"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/runners/spark"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal"
	"github.com/spf13/pflag"

	"github.com/wtinspect/wtinspect/beam/internal/pipeline"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/argv"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// The exit codes are those of wtinspect.
const (
	exitOK          = 0
	exitFailed      = 2
	exitInterrupted = 130
)

// runnerNames are what --runner takes, the first without it: it runs in this process. Beam ends
// the program for any other.
var runnerNames = []string{"prism", "universal", "dataflow", "flink", "spark", "PrismRunner", "PortableRunner", "portable", "DataflowRunner", "FlinkRunner", "SparkRunner"}

func main() {
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// flags are those of this program; Beam has its own.
type flags struct {
	argv.Lists
	argv.Rules
	pipeline.Options
	maxBytes                    argv.Limit
	allowErrors, quiet, verbose bool
	help, runnerHelp, version   bool
}

func (f *flags) set() *pflag.FlagSet {
	own := pflag.NewFlagSet("wtinspect-beam", pflag.ContinueOnError)
	own.SortFlags = false
	f.maxBytes = argv.RemoteValues
	f.Given = own.Changed
	own.StringVar(&f.Dir, "out", "", "write the tables to the directory `PATH`, which all workers share")
	own.IntVar(&f.Parts, "parts", 16, "write `N` parts; inputs are in the part that 'wtinspect scan --shard I/N' has them in")
	own.Int64Var(&f.PartRows, "part-rows", 0, "begin new files after `N` tensors (default: a million, or 128 MB)")
	own.StringVar(&f.From, "files-from", "", "read INPUTs from `FILE`, one per line; - is stdin, and so is an INPUT that is -")
	own.BoolVarP(&f.Null, "null", "0", false, "lists of INPUTs are separated by NUL bytes")
	own.BoolVarP(&f.Recursive, "recursive", "R", false, "scan every release at and below the directories, each by itself")
	own.IntVarP(&f.Workers, "jobs", "j", 0, "let each worker scan `N` inputs at once (default: as many as there are processors, at least 4)")
	own.BoolVar(&f.Options.Values, "values", false, "also read all data: for digests, figures, and the rules that read values")
	own.StringVar(&f.Subtree, "subtree", "", "of PyTorch files, read the part at these `KEYS`")
	own.StringSliceVar(&f.Select, "select", nil, "go by these `RULES` only: an ID, the beginning of several (WT2), or a name")
	own.StringSliceVar(&f.Ignore, "ignore", nil, "leave out these `RULES`")
	own.StringVar(&f.Profile, "profile", "", "also demand what a `LOADER` demands: "+strings.Join(inspect.Profiles(), ", "))
	own.StringVar(&f.Settings, "config", "", "read settings from `FILE`, which all workers share, instead of looking for "+inspect.SettingsName)
	own.IntVar(&f.Places.Rate, "rate", 0, "let each worker ask each server at most `N` times a minute")
	own.Var(&f.maxBytes, "max-bytes", "let each worker read at most `N` bytes of the values of remote files (K, M, G, T, or all)")
	own.BoolVar(&f.Places.NoCache, "no-cache", false, "neither read nor write what earlier runs have kept of remote files")
	own.BoolVar(&f.Places.InsecureHTTP, "insecure-http", false, "allow http:// to other machines")
	own.BoolVar(&f.allowErrors, "allow-errors", false, "exit 0 also when an input failed")
	own.BoolVarP(&f.quiet, "quiet", "q", false, "print no summary")
	own.BoolVarP(&f.verbose, "verbose", "v", false, "print what Beam reports")
	own.BoolVar(&f.version, "version", false, "print the version")
	own.BoolVarP(&f.help, "help", "h", false, "print this")
	own.BoolVar(&f.runnerHelp, "help-beam", false, "print the flags of Beam and of all its runners")
	return own
}

const usage = `Scan judges releases as 'wtinspect scan' does, and writes the same tables of Parquet, as a
pipeline of Apache Beam.

Without --runner it runs in this process, on the runner that Beam brings along, Prism. Nothing
is fetched, and nothing is reported to anybody.

Usage:
  wtinspect-beam --out PATH [INPUT...] [FLAGS]

Examples:
  wtinspect-beam --files-from list.txt --out table/
  wtinspect-beam -R /models --out table/ --parts 4
  wtinspect-beam --files-from list.txt --out /shared/table --runner universal \
    --endpoint localhost:8073 --environment_type LOOPBACK

Exit status:
  0    everything was scanned; findings are rows
  2    it was not; also when an input failed, unless --allow-errors
  130  interrupted

Flags:
`

// common are the flags of Beam that the help names.
var common = []string{"runner", "endpoint", "environment_type", "environment_config", "worker_binary", "job_name", "parallelism", "async"}

type program struct {
	stderr io.Writer
	flags
}

func (p *program) say(format string, args ...any) {
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		fmt.Fprintf(p.stderr, "wtinspect-beam: %s\n", render.EscapeMessage(strings.TrimSuffix(line, "\n")))
	}
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{stderr: stderr}
	own := p.set()
	all := pflag.NewFlagSet("wtinspect-beam", pflag.ContinueOnError)
	all.SetOutput(io.Discard)
	all.AddFlagSet(own)
	beams := pflag.NewFlagSet("beam", pflag.ContinueOnError)
	beams.AddGoFlagSet(flag.CommandLine)
	all.AddFlagSet(beams)
	if err := all.Parse(args); err != nil {
		p.say("%v", err)
		p.say("hint: 'wtinspect-beam --help' shows how to use it")
		return exitFailed
	}
	// Beam passes on to its workers what the flags of the standard library say was given.
	var unset error
	beams.Visit(func(f *pflag.Flag) { unset = errors.Join(unset, flag.CommandLine.Set(f.Name, f.Value.String())) })
	if unset != nil {
		p.say("%v", unset)
		return exitFailed
	}
	switch {
	case p.help:
		few := pflag.NewFlagSet("few", pflag.ContinueOnError)
		for _, name := range common {
			few.AddFlag(beams.Lookup(name))
		}
		fmt.Fprintf(stdout, "%s%s\nFlags of Beam, of which --help-beam prints all:\n%s", usage, own.FlagUsages(), few.FlagUsages())
		return exitOK
	case p.runnerHelp:
		fmt.Fprint(stdout, beams.FlagUsages())
		return exitOK
	case p.version:
		fmt.Fprintf(stdout, "wtinspect-beam %s\n", version())
		return exitOK
	}
	beamlog.SetLogger(&beamlog.Standard{Level: p.level()})
	beam.Init() // what a runner starts as a worker works here, and ends here
	if !p.verbose {
		slog.SetDefault(slog.New(slog.DiscardHandler)) // the error of the job says the same
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := tidily(func() error { return p.scan(ctx, all.Args(), stdin) })
	switch {
	case ctx.Err() != nil:
		pipeline.Interrupt()
		p.say("interrupted")
		return exitInterrupted
	case errors.Is(err, errInputs):
		return exitFailed
	case err != nil:
		p.say("%s", p.reason(err))
		return exitFailed
	}
	return exitOK
}

// reason is what a step failed with, without the way that the error came; with -v all of it.
func (p *program) reason(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, "] failed:\n"); i >= 0 && !p.verbose {
		return text[i+len("] failed:\n"):]
	}
	return text
}

// errInputs says that inputs failed, which are rows.
var errInputs = errors.New("inputs failed")

func (p *program) scan(ctx context.Context, args []string, stdin io.Reader) error {
	defer pipeline.Close()
	o := p.Options
	o.Version = version()
	o.Rules = p.Choice(argv.Now(os.Getenv))
	o.Places.MaxBytes, o.Places.UserAgent = int64(p.maxBytes), "wtinspect-beam/"+o.Version
	if err := o.Check(ctx); err != nil {
		return err
	}
	runner := cmp.Or(*runners.Runner, runnerNames[0])
	if !slices.Contains(runnerNames, runner) {
		return fmt.Errorf("--runner %s: it must be one of: %s", runner, strings.Join(runnerNames, ", "))
	}
	var unread error
	built := pipeline.Build(func(yield func(string) bool) { unread = p.Each(ctx, stdin, args, yield) }, o)
	if unread != nil {
		return unread
	}
	if err := o.Prepare(txn.OS{}); err != nil {
		return err
	}
	if strings.HasPrefix(strings.ToLower(runner), "prism") && *jobopts.Endpoint == "" {
		if err := p.embed(ctx); err != nil {
			return err
		}
	}
	if _, err := beam.Run(ctx, runner, built); err != nil || *jobopts.Async {
		return err
	}
	total, err := o.Total()
	if err != nil {
		return err
	}
	if !p.quiet {
		p.say("%s", total)
	}
	if total.Failed > 0 && !p.allowErrors {
		return errInputs
	}
	return nil
}

// level is from where on Beam logs. What goes wrong is in the error of the job, too.
func (p *program) level() beamlog.Severity {
	if p.verbose {
		return beamlog.SevInfo
	}
	return beamlog.SevFatal
}

// tidily runs f with a directory for temporary files that is removed then: Beam leaves some
// behind.
func tidily(f func() error) (err error) {
	dir, err := os.MkdirTemp("", "wtinspect-beam-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, name := range []string{"TMPDIR", "TMP"} { // of Unix, and of Windows
		if err := os.Setenv(name, dir); err != nil {
			return err
		}
	}
	return f()
}

// The linker sets this in a release.
var releaseVersion string

// version is that of wtinspect, whose commits this program has, too.
func version() string {
	if releaseVersion != "" {
		return releaseVersion
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
