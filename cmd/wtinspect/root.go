package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename/template"
)

type command struct {
	name string
	make func(*program) *cobra.Command
	// group is where the help lists the command.
	group string
	// also are what other tools call what the command does.
	also []string
}

// commands are all commands, in the order of their making.
var commands = [...]command{
	{"ls", newLs, looking, []string{"list", "tensors", "names", "tree"}},
	{infoName, newInfo, looking, []string{"header", "head", "inspect", "show", "summary", "describe"}},
	{"identify", newIdentify, looking, []string{"file", "detect", "guess", "which"}},
	{"meta", newMeta, looking, []string{"metadata", "kv"}},
	{"stats", newStats, looking, []string{"statistics", "values", "histogram"}},
	{"cat", newCat, looking, []string{"dump", "print", "numbers"}},
	{"hash", newHash, looking, []string{"sum", "checksum", "digest", "sha256", "sha256sum"}},
	{"diff", newDiff, looking, []string{"compare", "cmp"}},
	{"browse", newBrowse, looking, []string{"tui", "explore", "view", "ncdu"}},
	{"report", newReport, looking, []string{"html", "page", "treemap", "summarize", "summarise"}},
	{"rename", newRename, changing, []string{"mv", "remap"}},
	{"convert", newConvert, changing, []string{"merge", "split", "extract", "cast", "shard", "reshard", "dequantize", "dequantise"}},
	{"map", newMap, mapping, []string{"maps", "conventions", "mapping"}},
	{"check", newCheck, releases, []string{"validate", "lint", "verify", "test"}},
	{"rules", newRules, releases, nil},
	{"explain", newExplain, releases, []string{"why", "rule"}},
	{"scan", newScan, releases, []string{"crawl", "batch", "audit", "estate"}},
	{"lock", newLock, releases, []string{"freeze", "pin", "manifest"}},
	{"fix", newFix, changing, []string{"repair"}},
	{"schema", newSchema, aside, []string{"schemas", "jsonschema"}},
	{"version", newVersion, aside, nil},
	{completionName, newCompletion, aside, []string{"completions"}},
	{manName, newMan, aside, []string{"manual", "manpage"}},
}

const (
	completionName = "completion"
	helpName       = "help"
	infoName       = "info"
	manName        = "man"
)

// newRoot returns the whole command tree.
func newRoot(p *program) *cobra.Command { return newTree(p, "") }

// rootFor returns as much of the tree as args need: to make every command, with
// its flags, takes 15 % of an ls of a small file. A command must not look at the
// others; TestHelp compares what it is by itself with what it is among them.
func rootFor(p *program, args []string) *cobra.Command {
	if len(args) > 0 && args[0] != completionName && args[0] != manName && isCommand(args[0]) {
		return newTree(p, args[0])
	}
	return newRoot(p)
}

func isCommand(word string) bool {
	return slices.ContainsFunc(commands[:], func(c command) bool { return c.name == word })
}

// newTree returns the root with the one command named only, or with all.
func newTree(p *program, only string) *cobra.Command {
	root := &cobra.Command{
		Use:   "wtinspect",
		Short: "Inspect, compare, rename and check model weights",
		Long: `wtinspect reads the headers of safetensors, GGUF and PyTorch checkpoints:
it lists their tensors, identifies them, and works with their names. It
treats every file as hostile, and never runs code from one.

A PATH is a .safetensors or .gguf file, a *.index.json, or a directory.
The path of a shard means that file; an index or a directory means the set; any
part of a GGUF split means the whole split. A PATH can also be a reference:
hf://ORG/NAME[@REV][/FILE], a URL, or ollama:NAME[:TAG].`,
		Example: `  wtinspect ls model.safetensors
  wtinspect info ~/models/llama
  wtinspect ls hf://01-ai/Yi-34B
  wtinspect ls -f jsonl . | jq -r .name`,
		Args:              cobra.ArbitraryArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	var version bool
	root.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case version:
			return p.printVersion(&output{format: string(render.TableFormat)})
		case len(args) == 0:
			return errors.New("a command is needed")
		}
		return unknownCommand(args[0])
	}
	root.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
		if err := refuseStdin(cmd, args); err != nil {
			return err
		}
		if err := p.setDefaults(cmd); err != nil {
			return err
		}
		if err := refuseDestinations(cmd); err != nil {
			return err
		}
		p.page(cmd)
		return nil
	}
	root.SetFlagErrorFunc(flagError)
	root.Flags().BoolVarP(&version, "version", "V", false, "print the version")
	flags := root.PersistentFlags()
	flags.BoolVarP(&p.quiet, "quiet", "q", false, "print no notes or warnings on stderr")
	flags.VarPF((*verbosity)(p), "verbose", "v", "print more; -vv also prints every request to a server").NoOptDefVal = "true"
	flags.BoolVar(&p.wide, "wide", false, "allow table rows wider than the terminal")
	flags.BoolVar(&p.noPager, "no-pager", false, "do not use a pager for long output on a terminal")
	flags.StringVar(&p.pagerCommand, pagerSetting, "", "the pager")
	if err := flags.MarkHidden(pagerSetting); err != nil {
		panic(err) // the flag does not exist
	}
	flags.Var(newChoice(&p.color, "auto", "always", "never"), "color", "colours: auto, always or never")
	complete(root, "color", "auto", "always", "never")
	flags.BoolVar(&p.noCache, "no-cache", false, "do not use the cache of headers of remote files")
	flags.BoolVar(&p.insecureHTTP, "insecure-http", false, "allow http:// to other machines, whose answers anybody on the way can change")

	flags.VisitAll(func(f *pflag.Flag) { group(flags, globalFlags, f.Name) })
	group(root.Flags(), globalFlags, "version")

	root.AddGroup(commandGroups()...)
	for _, c := range commands {
		if only == "" || only == c.name {
			cmd := c.make(p)
			cmd.GroupID = c.group
			root.AddCommand(cmd)
		}
	}
	root.SetHelpCommandGroupID(aside)
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == helpName {
			cmd.Long = "Help shows how to use a command: 'wtinspect help ls'."
			cmd.Annotations = exitStatus()
			cmd.Run, cmd.RunE = nil, p.help
		}
	}
	root.Annotations = exitStatus("1  a command that looks for findings or differences found some")
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		_ = writeHelp(cmd.OutOrStdout(), cmd) // the program remembers what failed
	})
	return root
}

// undone are words for what other tools do and this one does not, with what there is.
var undone = []struct {
	words []string
	says  string
}{
	{[]string{"quantize", "quantise"}, "does not quantise weights; 'wtinspect convert --dtype bf16' gives them another dtype, and takes quantisation back"},
	{[]string{"pull", "download", "fetch"}, "keeps no copies of files; 'wtinspect info hf://ORG/NAME' reads what is on the hub where it is"},
}

// unknownCommand says what may have been meant by a command that does not exist.
func unknownCommand(name string) error {
	for _, u := range undone {
		if slices.Contains(u.words, strings.ToLower(name)) {
			return fmt.Errorf("there is no command %q: wtinspect %s", name, u.says)
		}
	}
	if strings.ContainsAny(name, `./\`) {
		return fmt.Errorf("%s: there is no such file, and no command of that name", name)
	}
	var names []string
	for _, c := range commands {
		if slices.Contains(c.also, strings.ToLower(name)) {
			return fmt.Errorf("unknown command %q; did you mean %q?", name, c.name)
		}
		names = append(names, c.name)
	}
	return fmt.Errorf("unknown command %q%s", name, template.DidYouMean(name, names))
}

// branch makes a command that has subcommands alone.
func branch(cmd *cobra.Command, subs ...*cobra.Command) *cobra.Command {
	var names []string
	for _, sub := range subs {
		names = append(names, sub.Name())
	}
	there := strings.Join(names, ", ")
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("%s needs a subcommand: %s", cmd.Name(), there)
		}
		return fmt.Errorf("unknown subcommand %q of %s; there are %s%s", args[0], cmd.Name(), there, template.DidYouMean(args[0], names))
	}
	cmd.AddCommand(subs...)
	return cmd
}

// unlimited is the most arguments that a command takes where it takes any number.
const unlimited = -1

// arguments refuses fewer than least and more than most. Cobra's own messages count
// them, and do not say which they are.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		usage := strings.TrimSuffix(cmd.UseLine(), " [flags]")
		switch {
		case len(args) < least:
			return fmt.Errorf("not enough arguments; usage: %s", usage)
		case most != unlimited && len(args) > most:
			return fmt.Errorf("%q is one argument too many; usage: %s", args[most], usage)
		}
		return nil
	}
}

// flagError adds to the error of a flag what may have been meant.
func flagError(cmd *cobra.Command, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok || unknown.GetSpecifiedShortnames() != "" {
		return err
	}
	var names []string
	add := func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	}
	cmd.Flags().VisitAll(add)
	return fmt.Errorf("%w%s", err, template.DidYouMean("--"+unknown.GetSpecifiedName(), names))
}

// help is the help command. Cobra's own takes an unknown command for a success.
func (p *program) help(cmd *cobra.Command, args []string) error {
	about, rest, err := cmd.Root().Find(args)
	if err != nil || len(rest) > 0 && about.HasSubCommands() {
		return fmt.Errorf("there is no help about %q", strings.Join(args, " "))
	}
	return about.Help()
}

// work wraps what a command does, so that errors after this point are not
// taken for wrong usage.
func (p *program) work(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		p.started = true
		ctx, done := p.places(cmd.Context())
		defer done()
		cmd.SetContext(ctx)
		return f(cmd, args)
	}
}

// places returns a context in which references are read where they lead to.
func (p *program) places(ctx context.Context) (_ context.Context, done func()) {
	opts := &inspect.PlacesOptions{Getenv: p.getenv, UserAgent: "wtinspect/" + thisBuild().version, InsecureHTTP: p.insecureHTTP, NoCache: p.noCache, MaxBytes: int64(p.maxBytes), Rate: p.rate, Note: p.note}
	if p.verbose {
		opts.Read = func(repo, commit string) { p.say("%s: commit %s", repo, commit) }
		opts.Asked = func(host string, requests int, bytes int64, took time.Duration) {
			p.say("%s: %s, %s in %.1f s", host, counted(requests, "request"), render.Size(uint64(bytes)), took.Seconds())
		}
	}
	if p.traces {
		opts.Trace = p.say
	}
	return inspect.WithPlaces(ctx, opts)
}

// verbosity is the flag that has a program say more, and given twice name requests, too.
type verbosity program

func (v *verbosity) String() string   { return strconv.FormatBool(v.verbose) }
func (v *verbosity) Type() string     { return "bool" }
func (v *verbosity) IsBoolFlag() bool { return true }

func (v *verbosity) Set(s string) error {
	more, err := strconv.ParseBool(s)
	v.traces = more && v.verbose
	v.verbose = more
	return err
}

// complete offers the values of a flag to the shell.
func complete(cmd *cobra.Command, flag string, values ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag does not exist
	}
}

// A choice is a flag that takes one of a few words.
type choice struct {
	value  *string
	values []string
	also   map[string]string // other words for some of them
}

// newChoice returns a flag value whose default is the first word.
func newChoice(value *string, values ...string) *choice {
	*value = values[0]
	return &choice{value: value, values: values}
}

func (c *choice) String() string { return *c.value }

func (c *choice) Type() string { return "WORD" }

func (c *choice) Set(s string) error {
	if word, ok := c.also[s]; ok {
		s = word
	}
	if lower := strings.ToLower(s); !slices.Contains(c.values, s) && slices.Contains(c.values, lower) {
		s = lower
	}
	if !slices.Contains(c.values, s) {
		words := slices.DeleteFunc(slices.Clone(c.values), func(v string) bool { return v == "" })
		return fmt.Errorf("it must be one of: %s%s", strings.Join(words, ", "), template.DidYouMean(s, words))
	}
	*c.value = s
	return nil
}
