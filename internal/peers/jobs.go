package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/safetensors"
)

// A job is something that several programs do with the same files. The first is
// wtinspect.
type job struct {
	title, text string
	// inProcess says that the programs time themselves and print nanoseconds; otherwise
	// whole processes are timed.
	inProcess bool
	programs  []contender
}

type contender struct {
	name    string
	command []string
	// facts returns what the program found, in a form that all programs of the job share.
	facts   func() (string, error)
	missing string // why it is not run
}

// repeats is how often a program reads a header in one process.
const repeats = 9

// jobs are all jobs.
func jobs(t *toolbox, dir string) []job {
	in := func(name string) string { return filepath.Join(dir, name) }
	n := strconv.Itoa(repeats)
	// peer is one of the other readers: how it lists and how it times itself.
	peer := func(name, kind string, tool []string, args ...string) contender {
		c := contender{name: name, missing: t.missing[kind]}
		if c.missing != "" {
			return c
		}
		with := func(args ...string) []string { return append(tool[:len(tool):len(tool)], args...) }
		c.command = with(args...)
		switch args[0] {
		case "list", "time":
			c.facts = func() (string, error) { return sorted(with("list", args[1]), "cat") }
		case "stats":
			c.facts = func() (string, error) {
				text, err := output(c.command[0], c.command[1:]...)
				if err != nil {
					return "", err
				}
				return rounded(text)
			}
		default:
			c.facts = func() (string, error) { return output(c.command[0], c.command[1:]...) }
		}
		return c
	}
	ls := func(path string) contender {
		return contender{name: "wtinspect ls", command: []string{t.wtinspect, "ls", path}, facts: func() (string, error) {
			return sorted([]string{t.wtinspect, "ls", "-f", "tsv", path}, "tail -n +2 | cut -f2-4")
		}}
	}
	library := func(name, path string) contender {
		return contender{name: name, command: []string{t.self, "time", path, n}, facts: ls(path).facts}
	}
	const (
		pythonJSON = "Python, json"
		numPy      = "NumPy"
		goGGUF     = "gpustack/gguf-parser-go"
		goSafe     = "nlpodyssey/safetensors"
		npmGGUF    = "@huggingface/gguf"
	)
	stats := func(name string, args ...string) contender {
		command := append([]string{t.wtinspect, "stats", in(valuesFile)}, args...)
		return contender{name: name, command: command, facts: func() (string, error) { return statsFacts(command) }}
	}
	hash := func(name string, args ...string) contender {
		command := append([]string{t.wtinspect, "hash", in(valuesFile)}, args...)
		return contender{name: name, command: command, facts: func() (string, error) { return hashFacts(command, in(valuesFile)) }}
	}
	return []job{
		{
			title: "A release of 163 shards",
			text: "The names, dtypes and shapes of a model in the shape of Yi-34B, in shards with an index. " +
				"wtinspect also holds the shards to the index and to the sizes of the files.",
			programs: []contender{
				ls(in(shardsFile)),
				peer(pythonJSON, "Python", t.python, "list", in(shardsFile)),
				peer(goSafe, "Go", t.module, "list", in(shardsFile)),
			},
		},
		{
			title: "The header of a mixture of experts",
			text:  "The names, dtypes and shapes of one safetensors file in the shape of DeepSeek-V3.",
			programs: []contender{
				ls(in(expertsFile)),
				peer(pythonJSON, "Python", t.python, "list", in(expertsFile)),
				peer(goSafe, "Go", t.module, "list", in(expertsFile)),
			},
		},
		{
			title: "The same header, inside a process",
			text: "Open the file and read its header, without start-up and output. wtinspect notices repeated " +
				"names on the way, which Python's json does not.",
			inProcess: true,
			programs: []contender{
				library("package safetensors", in(expertsFile)),
				peer(pythonJSON, "Python", t.python, "time", in(expertsFile), n),
				peer(goSafe, "Go", t.module, "time", in(expertsFile), n),
			},
		},
		{
			title: "A GGUF file with a large vocabulary",
			text: fmt.Sprintf("The names, types and shapes of a file with %s tokens and as many merges. All read past the tokens to "+
				"get to the tensors; the others also make values of them, wtinspect only when it is asked for them.", grouped(tokenCount)),
			programs: []contender{
				ls(in(vocabulary)),
				peer(goGGUF, "Go", t.module, "list", in(vocabulary)),
				peer(npmGGUF, "npm", t.node, "list", in(vocabulary)),
			},
		},
		{
			title:     "The same GGUF file, inside a process",
			text:      "Open the file and read its header, without start-up and output.",
			inProcess: true,
			programs: []contender{
				library("package gguf", in(vocabulary)),
				peer(goGGUF, "Go", t.module, "time", in(vocabulary), n),
				peer(npmGGUF, "npm", t.node, "time", in(vocabulary), n),
			},
		},
		{
			title: "Figures of 512 MiB of BF16 weights",
			text: "The least and greatest number, the mean, the standard deviation, and how many are NaN, infinite or zero, of each of 16 " +
				"tensors. wtinspect also gives seven quantiles, the norm and how many numbers are distinct. NumPy has no BF16: it " +
				"widens the numbers to F32 first.",
			programs: []contender{
				stats("wtinspect stats"), stats("wtinspect stats -j 1", "-j", "1"), peer(numPy, "Python", t.python, "stats", in(valuesFile)),
			},
		},
		{
			title: "SHA-256 of 512 MiB of weights",
			text:  "wtinspect and Python make a digest of each tensor, sha256sum one of the whole file.",
			programs: []contender{
				hash("wtinspect hash"), hash("wtinspect hash -j 1", "-j", "1"),
				{name: "sha256sum", command: []string{"sha256sum", in(valuesFile)}, facts: func() (string, error) { return sumFacts(t.wtinspect, in(valuesFile)) }},
				peer("Python, hashlib", "Python", t.python, "digests", in(valuesFile)),
			},
		},
	}
}

// sorted returns how many lines a command prints, once a filter has chosen from them, and
// a digest of them in order. It leaves the lines to other processes: what this one holds
// would be counted as the memory of those that it measures.
func sorted(command []string, filter string) (string, error) {
	dir, err := os.MkdirTemp("", "peers")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	script := `set -e; cd "$0"; "$@" >raw; <raw ` + filter + ` | LC_ALL=C sort >lines; wc -l <lines; sha256sum <lines`
	return output("sh", append([]string{"-c", script, dir}, command...)...)
}

// statsFacts returns the figures of each tensor as measure.py prints them.
func statsFacts(command []string) (string, error) {
	text, err := output(command[0], append(command[1:len(command):len(command)], "-f", "jsonl")...)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		var t struct {
			Name                string
			Min, Max, Mean, Std float64
			NaN                 int64
			PosInf              int64 `json:"pos_inf"`
			NegInf              int64 `json:"neg_inf"`
			Zeros               int64
		}
		if err := json.Unmarshal([]byte(line), &t); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s\t%v\t%v\t%v\t%v\t%d\t%d\t%d\n", t.Name, t.Min, t.Max, t.Mean, t.Std, t.NaN, t.PosInf+t.NegInf, t.Zeros)
	}
	return rounded(b.String())
}

// rounded returns a table with its numbers to nine digits: a sum of many depends on
// their order.
func rounded(table string) (string, error) {
	var b strings.Builder
	for line := range strings.Lines(table) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		for i, field := range fields[1:] {
			x, err := strconv.ParseFloat(field, 64)
			if err != nil {
				return "", err
			}
			fields[1+i] = strconv.FormatFloat(x, 'g', 9, 64)
		}
		b.WriteString(strings.Join(fields, "\t") + "\n")
	}
	return b.String(), nil
}

// hashFacts returns the name and digest of each tensor. The last line that wtinspect
// prints is about the file.
func hashFacts(command []string, file string) (string, error) {
	text, err := output(command[0], command[1:]...)
	var b strings.Builder
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) == 3 {
			if name, ok := strings.CutPrefix(fields[2], file+":"); ok {
				fmt.Fprintf(&b, "%s\t%s\n", name, fields[1])
			}
		}
	}
	return b.String(), err
}

// sumFacts returns the same by sha256sum, of the bytes at which wtinspect says that the
// tensors are.
func sumFacts(program, file string) (string, error) {
	return output("sh", "-c", `set -e; "$0" ls -f tsv "$1" | tail -n +2 | while read -r _ name _ _ _ bytes _ offset; do
		sum=$(tail -c +$((offset + 1)) "$1" | head -c "$bytes" | sha256sum); printf '%s\t%s\n' "$name" "${sum%% *}"
	done`, program, file)
}

// timeReads does what the other readers do for "time": it reads a header n times and
// prints the nanoseconds of each.
func timeReads(w io.Writer, path, n string) error {
	count, err := strconv.Atoi(n)
	if err != nil {
		return err
	}
	open := func() (io.Closer, error) { return safetensors.Open(path) }
	if strings.HasSuffix(path, ".gguf") {
		open = func() (io.Closer, error) { return gguf.Open(path) }
	}
	for range count {
		start := time.Now()
		f, err := open()
		if err != nil {
			return err
		}
		taken := time.Since(start)
		if err := f.Close(); err != nil {
			return err
		}
		fmt.Fprintln(w, taken.Nanoseconds())
	}
	return nil
}
