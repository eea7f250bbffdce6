package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/internal/report"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/rename/convention"
)

// readCommands is every command that writes no file, in its forms. The words
// may be RELEASE, the path of the mutated release or of a file in it; OTHER,
// another release; CONVENTION, a project's names; OUT, a path where nothing is;
// and the files of a workshop.
func readCommands() []string {
	list := []string{
		"ls RELEASE", "ls -f json RELEASE", "ls -f jsonl RELEASE", "ls -f csv RELEASE", "ls --tree RELEASE", "ls --flat RELEASE", "ls --tree --dims ggml RELEASE", "ls -R --sort offset RELEASE", "ls --sort elements --reverse RELEASE",
		"info RELEASE", "info -f json RELEASE", "info -v RELEASE", "identify RELEASE", "identify -v RELEASE", "identify -f json RELEASE",
		"meta show RELEASE", "meta show -f json RELEASE", "meta set RELEASE a=b", "meta unset RELEASE format",
		"fix RELEASE", "fix -f json RELEASE", "fix --select WT RELEASE", "fix --check --profile transformers RELEASE",
		"rename --map map.yaml RELEASE", "rename --map map.yaml -f json RELEASE", "rename --map yi-to-llama RELEASE", "rename --map strip-orig-mod --strict RELEASE", "rename --recover RELEASE",
		"diff OTHER RELEASE", "diff --map auto OTHER RELEASE", "diff --map auto RELEASE OTHER", "diff --headers -f json RELEASE OTHER", "diff --map map.yaml RELEASE OTHER", "diff --stat RELEASE OTHER", "diff -f json --map auto RELEASE OTHER", "diff --name-only --weights-only RELEASE OTHER",
		"stats RELEASE", "stats -f json --quantiles RELEASE", "stats --by-layer RELEASE", "stats --histogram RELEASE", "stats --sample 50% RELEASE",
		"hash RELEASE", "hash -f json RELEASE", "hash --content-id RELEASE", "hash --check manifest.txt RELEASE", "hash --algorithm all RELEASE",
		"lock RELEASE", "lock --digests RELEASE", "check --against lock.json RELEASE", "check --against lock.json --values RELEASE", "check --against OTHER RELEASE", "check --config settings.yaml RELEASE",
		"map lint map.yaml", "map show map.yaml", "map invert map.yaml", "map compose map.yaml map.yaml",
	}
	for _, form := range report.Forms() {
		list = append(list, "check -f "+form+" RELEASE", "check --values --select WT -f "+form+" RELEASE")
	}
	for _, profile := range []string{"transformers", "vllm", "llamacpp", "mlx"} {
		list = append(list, "check --profile "+profile+" RELEASE")
	}
	list = append(list, "ls --as CONVENTION RELEASE", "ls --as CONVENTION --tree RELEASE", "ls --as CONVENTION -f json RELEASE", "rename --to CONVENTION RELEASE", "rename --to CONVENTION -f json RELEASE", "rename --to CONVENTION --from CONVENTION RELEASE")
	return list
}

// writeCommands is every command that writes.
func writeCommands() []string {
	list := []string{
		"fix --in-place RELEASE", "fix --select WT --in-place RELEASE", "fix --in-place --force RELEASE", "fix --select WT --profile transformers --in-place RELEASE", "fix -o OUT RELEASE", "fix --select WT --profile transformers -o OUT RELEASE",
		"rename --map map.yaml --in-place RELEASE", "rename --map map.yaml --in-place --force RELEASE", "rename --map map.yaml --verify full --in-place RELEASE", "rename --map map.yaml -o OUT RELEASE", "rename --map yi-to-llama --in-place RELEASE",
		"rename --map map.yaml --write-inverse OUT --in-place RELEASE",
		"meta set --in-place RELEASE a=b", "meta set -o OUT RELEASE a=b", "meta set --in-place --force RELEASE general.name=b", "meta unset --in-place RELEASE format", "lock -o OUT RELEASE", "check -f sarif -o OUT RELEASE", "diff --write-map OUT OTHER RELEASE", "ls -o OUT RELEASE",
	}
	list = append(list, "rename --to CONVENTION --in-place RELEASE", "rename --to CONVENTION -o OUT RELEASE", "rename --to CONVENTION --allow-layout-mismatch -o OUT RELEASE", "rename --to CONVENTION --from CONVENTION --in-place RELEASE")
	return list
}

const manglingMap = `version: 1
strip: [_orig_mod]
rules:
- {from: "{p...}.ln1.weight", to: "{p}.input_layernorm.weight"}
- {from: "model.layers.{layer}.self_attn.{x:seg}.{leaf...}", to: "model.layers.{layer}.attention.{x}.{leaf}"}
- {from: "blk.{n}.{x...}", to: "a.layers.{n}.{x}"}
- {from: "{p...}.qweight", to: "{p}.packed"}
`

// A workshop makes mutated releases and runs commands over them.
type workshop struct {
	bases []base
	extra []files // beside each: a lock, a manifest

	conventions []string
}

func newWorkshop(tb testing.TB) *workshop {
	w := &workshop{bases: bases(tb)}
	for _, c := range convention.All() {
		for _, d := range c.Dialects {
			if !slices.Contains(w.conventions, d) {
				w.conventions = append(w.conventions, d)
			}
		}
	}
	w.conventions = append(w.conventions, "llama-hf", "mixtral-hf", "gpt2-hf")
	for _, b := range w.bases {
		dir := tb.TempDir()
		b.files.write(tb, dir)
		ref := filepath.Join(dir, filepath.FromSlash(b.ref))
		output := func(args ...string) stored {
			var out bytes.Buffer
			run(tb.Context(), append(args, ref), strings.NewReader(""), &out, io.Discard)
			return stored{data: out.Bytes()}
		}
		w.extra = append(w.extra, files{"lock.json": output("lock", "--digests"), "manifest.txt": output("hash", "--algorithm", "all")})
	}
	return w
}

// try makes a release by a recipe, runs one of the commands over it, and looks
// at what came of it.
func (w *workshop) try(t *testing.T, r recipe, commands []string) {
	which := r.below(len(w.bases))
	b := w.bases[which]
	line := commands[r.below(len(commands))]
	all := files{"victim/secret": {data: []byte("secret")}, "map.yaml": {data: []byte(manglingMap)}, "settings.yaml": {data: []byte("version: 1\nselect: [WT]\n")}, "out": {dir: true}}
	put := func(dir string, from files) {
		for p, n := range from {
			all[dir+p] = n
		}
	}
	put("release/", b.files)
	mutable := []string{"release/"}
	for word := range strings.FieldsSeq(line) {
		switch word {
		case "OTHER":
			put("other/", b.files)
			mutable = append(mutable, "other/")
		case "lock.json", "manifest.txt":
			all[word] = w.extra[which][word]
			mutable = append(mutable, word)
		case "map.yaml", "settings.yaml":
			mutable = append(mutable, word)
		}
	}
	form := r.byte() // which path of the release is given
	pristine := maps.Clone(all)
	var made []string
	for range r.below(6) {
		kind := r.below(len(mutations))
		part := pick(&r, mutable)
		var paths []string
		for _, p := range all.paths() {
			if strings.HasPrefix(p, part) {
				paths = append(paths, p)
			}
		}
		if len(paths) == 0 {
			continue
		}
		p := pick(&r, paths)
		mutations[kind](&r, all, p)
		made = append(made, fmt.Sprintf("%d %s", kind, p))
	}

	root := t.TempDir()
	all.write(t, root)
	ref := filepath.Join(root, "release", filepath.FromSlash(b.ref))
	if list, err := os.ReadDir(ref); form >= 128 && err == nil && len(list) > 0 {
		ref = filepath.Join(ref, list[int(form)%len(list)].Name())
	}
	destined, inPlace := false, strings.Contains(line, "--recover")
	args := strings.Fields(line)
	for i, word := range args {
		for strings.Contains(args[i], "CONVENTION") {
			args[i] = strings.Replace(args[i], "CONVENTION", pick(&r, w.conventions), 1)
		}
		switch word {
		case "RELEASE":
			args[i] = ref
		case "OTHER":
			args[i] = filepath.Join(root, "other", filepath.FromSlash(b.ref))
		case "OUT":
			args[i] = filepath.Join(root, "out", "new")
			destined = true
		case "--in-place":
			inPlace = true
		case "map.yaml", "settings.yaml", "lock.json", "manifest.txt":
			args[i] = filepath.Join(root, word)
		}
	}
	_, pending := rewrite.Pending(ref)
	before, start := readTree(t, root), allocated()
	payloadBefore, opened := payload(ref)
	var out, errs bytes.Buffer
	code := func() (code int) {
		defer func() {
			if v := recover(); v != nil {
				code = -1
				fmt.Fprintf(&errs, "panic: %v\n%s", v, debug.Stack())
			}
		}()
		return run(t.Context(), args, strings.NewReader(""), &out, &errs)
	}()
	// Far more than any of these releases need, and far less than a count of theirs
	// can claim.
	const most = 256 << 20
	cost := allocated() - start
	after := readTree(t, root)

	fail := func(format string, a ...any) {
		t.Helper()
		t.Errorf("%s: %s of %s, mutated by %s: exit %d\nstderr: %.2000s", fmt.Sprintf(format, a...), strings.Join(args, " "), b.name, strings.Join(made, ", "), code, &errs)
	}
	if code < exitOK || code > exitFailed {
		fail("an exit code of no meaning")
		return
	}
	if code == exitFailed && errs.Len() == 0 && !strings.HasPrefix(line, "check") {
		fail("a failure without a word")
	}
	if cost > most {
		fail("allocated %d bytes", cost)
	}
	if list := before.differences(after, func(p string) bool {
		return destined && strings.HasPrefix(p, "out/") || inPlace && strings.HasPrefix(p, "release/") && !strings.Contains(p, "/blobs/")
	}); len(list) > 0 {
		fail("changed what it has no business with: %s", strings.Join(list, "; "))
	}
	for p, n := range before {
		now, ok := after[p]
		if aside, moved := after[path.Join(path.Dir(p), txn.AsideName, path.Base(p))]; !ok && moved {
			now, ok = aside, true
		}
		switch {
		case !ok && !temporary(path.Base(p)):
			fail("%s is lost", p)
		case ok && !bytes.Equal(now.data, n.data) && !changeable.MatchString(p) && filepath.Join(root, filepath.FromSlash(p)) != ref:
			fail("%s changed", p)
		}
	}
	had := make(map[string]bool)
	for p := range before {
		had[path.Base(p)] = true // a copy may have it too
	}
	for p := range after {
		if !had[path.Base(p)] && temporary(path.Base(p)) {
			fail("left %s behind", p)
		}
	}
	if _, ok := after["out/new"]; ok && pending && slices.Contains([]string{"rename", "fix", "meta"}, args[0]) && slices.Contains(args, "-o") {
		fail("copied what is in the middle of a rewrite")
	}
	if _, ok := after["out/new"]; ok && code == exitFailed && slices.Contains([]string{"rename", "fix", "meta"}, args[0]) && slices.Contains(args, "-o") {
		if _, whole := payload(filepath.Join(root, "out", "new")); !whole {
			fail("left something that looks whole")
		}
	}
	if inPlace && opened {
		now, ok := payload(ref)
		pure := strings.HasPrefix(line, "meta") || strings.HasPrefix(line, "rename --map") && bytes.Equal(all["map.yaml"].data, pristine["map.yaml"].data)
		switch {
		case !ok:
			fail("what opened before no longer does")
		case pure && !slices.Equal(payloadBefore, now):
			fail("the data are not what they were")
		}
	}
	if bad := strings.IndexFunc(errs.String(), func(c rune) bool { return unicode.IsControl(c) && c != '\n' }); bad >= 0 {
		fail("stderr has a control character at %d", bad)
	}
	format := formOf(args)
	switch format {
	case "json", "sarif", "gitlab":
		if out.Len() > 0 && !json.Valid(out.Bytes()) {
			fail("output that is not JSON: %.300s", &out)
		}
	case "":
		if bad := bytes.IndexFunc(out.Bytes(), func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\t' }); bad >= 0 {
			fail("the output has a control character: %q", out.Bytes()[max(0, bad-40):min(out.Len(), bad+40)])
		}
	case "csv", "tsv", "jsonl":
		// For programs: CSV has names as they are.
	default:
		if bad := bytes.IndexByte(out.Bytes(), 0x1b); bad >= 0 {
			fail("the output has an escape: %q", out.Bytes()[max(0, bad-40):min(out.Len(), bad+40)])
		}
	}
}

func formOf(args []string) string {
	if i := slices.Index(args, "-f"); i >= 0 {
		return args[i+1]
	}
	return ""
}

// changeable are the files whose text holds names of tensors.
var changeable = regexp.MustCompile(`(?i)\.(safetensors|gguf|json)$`)

// temporary reports names that no command leaves behind.
func temporary(name string) bool {
	return strings.HasSuffix(name, ".tmp") || strings.HasPrefix(name, ".wtinspect") && name != txn.AsideName
}

// payload returns what the tensors of a release are, but for their names, and
// false when not all of it can be read.
func payload(ref string) ([]string, bool) {
	if _, pending := rewrite.Pending(ref); pending {
		return nil, false
	}
	rel, err := checkpoint.Open(context.Background(), ref, nil)
	if err != nil {
		return nil, false
	}
	defer rel.Close()
	var list []string
	for _, c := range rel.Checkpoints {
		for _, f := range c.Files {
			if f.Err != nil || f.Missing {
				return nil, false
			}
		}
		for i, t := range c.All() {
			data := "none"
			if r, err := c.Data(i); err == nil {
				h := sha256.New()
				if _, err := io.Copy(h, r); err == nil {
					data = fmt.Sprintf("%x", h.Sum(nil))
				}
			}
			list = append(list, fmt.Sprint(t.DType, t.Shape, t.Bytes, data))
		}
	}
	slices.Sort(list)
	return list, true
}

// A step is one mutation: its kind, the file of the release, and its choices.
type step struct {
	kind    int
	file    string
	choices []byte
}

// placeIn is how a recipe chooses something from a list.
func placeIn[T comparable](list []T, of T) byte { return byte(slices.Index(list, of)) }

// seed is the recipe of a command over a base that is mutated in known ways.
func (w *workshop) seed(commands []string, line, name string, steps ...step) recipe {
	which := slices.IndexFunc(w.bases, func(b base) bool { return b.name == name })
	r := recipe{byte(which), placeIn(commands, line), 0, byte(len(steps))}
	paths := w.bases[which].files.paths()
	for _, s := range steps {
		r = append(r, byte(s.kind), placeIn(paths, s.file))
		r = append(r, s.choices...)
	}
	return r
}

// found are the recipes that showed faults, one of each kind.
func (w *workshop) found(commands []string) []recipe {
	text := func(s string) []byte { return []byte{placeIn(oddTexts, s)} }
	named := func(file string) []byte { return []byte{placeIn(oddFiles, file)} }
	const index = "model.safetensors.index.json"
	var list []recipe
	for _, line := range commands {
		switch {
		case strings.HasPrefix(line, "fix"):
			// An index without shards, beside shards and not, and a file that a
			// rewrite left.
			for _, s := range []string{`{"weight_map": {}}`, `{"weight_map": null}`, `{"metadata": null}`, `{"weight_map": {"a": "gone.safetensors"}}`} {
				list = append(list, w.seed(commands, line, "llama", step{14, index, text(s)}), w.seed(commands, line, "gptq", step{18, "config.json", append(named(index), text(s)...)}))
			}
			list = append(list, w.seed(commands, line, "fp8", step{2, "model.safetensors", named(".wtinspect-journal")}))
		case strings.HasPrefix(line, "ls --as"):
			for _, c := range []string{"hf", "megatron", "gguf"} { // other numbers of tensors
				for _, b := range []string{"megatron", "mixtral", "llama"} {
					list = append(list, append(w.seed(commands, line, b), placeIn(w.conventions, c)))
				}
			}
		case strings.HasPrefix(line, "check"):
			list = append(list, w.seed(commands, line, "fp8", step{2, "model.safetensors", named("a\x1b[31mb.safetensors")})) // a name that acts on terminals
		}
	}
	return list
}

// TestMutations runs commands over releases that are mutated: in ways that
// showed faults, and at random, each by a seed of its own. WTINSPECT_MUTATIONS
// is how many, and WTINSPECT_SEED the first of them.
func TestMutations(t *testing.T) {
	most := 200
	if testing.Short() {
		most = 40
	}
	count, first := countFrom(t, "WTINSPECT_MUTATIONS", most), countFrom(t, "WTINSPECT_SEED", 0)
	w := newWorkshop(t)
	commands := slices.Concat(readCommands(), writeCommands())
	for i, r := range w.found(commands) {
		t.Run(fmt.Sprint("found", i), func(t *testing.T) { w.try(t, r, commands) })
	}
	for seed := first; seed < first+count; seed++ {
		r := make(recipe, 48)
		var key [32]byte
		binary.LittleEndian.PutUint64(key[:], uint64(seed))
		_, _ = rand.NewChaCha8(key).Read(r)
		// Each base and each command has its turn.
		r[0], r[1] = byte(seed%len(w.bases)), byte(seed%len(commands))
		t.Run(strconv.Itoa(seed), func(t *testing.T) { w.try(t, r, commands) })
	}
}

// FuzzReading and FuzzWriting let the fuzzer choose how a release is mutated.
func FuzzReading(f *testing.F) { fuzzCommands(f, readCommands()) }

func FuzzWriting(f *testing.F) { fuzzCommands(f, writeCommands()) }

func fuzzCommands(f *testing.F, commands []string) {
	if testing.Short() {
		f.Skip("TestMutations runs the same commands")
	}
	w := newWorkshop(f)
	for c := range commands {
		f.Add([]byte{byte(c % len(w.bases)), byte(c)})
	}
	for kind := range mutations {
		for k := range 3 {
			b, c := (kind*3+k)%len(w.bases), (kind*5+k*31)%len(commands)
			f.Add([]byte{byte(b), byte(c), 0, 2, byte(kind), byte(k), byte(kind), byte(kind), byte(kind), byte(k + 1), byte(b), byte(kind)})
		}
	}
	for _, r := range w.found(commands) {
		f.Add([]byte(r))
	}
	f.Fuzz(func(t *testing.T, r []byte) { w.try(t, r, commands) })
}

// allocated returns how many bytes the process has allocated on its heap.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func countFrom(t *testing.T, variable string, otherwise int) int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv(variable), strconv.Itoa(otherwise)))
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}
