// Command oracle generates a small checkpoint of every architecture that ollama's
// converter knows, converts it with that converter, and asks wtinspect about the
// pair: what both are, how they differ in either order, and whether it makes the
// same of the checkpoint itself. It prints a line per architecture.
//
//	oracle WTINSPECT DIRECTORY [NAME...]
//
// The exit status is 1 when something differs that is not a fault of ollama's
// converter, listed with its reason.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/ollama/ollama/convert"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: oracle WTINSPECT DIRECTORY [NAME...]")
		os.Exit(2)
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	chosen := slices.DeleteFunc(slices.Clone(models), func(m model) bool {
		return len(os.Args) > 3 && !slices.Contains(os.Args[3:], m.name)
	})
	results := make([][]outcome, len(chosen))
	var wait sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for i := range next {
				for _, dtype := range []string{"BF16", "F16", "F32"} {
					t := trial{model: &chosen[i], wt: os.Args[1], dtype: dtype}
					t.dir = filepath.Join(os.Args[2], strings.ReplaceAll(t.name, " ", "-")+"-"+dtype)
					results[i] = append(results[i], t.run())
				}
			}
		})
	}
	for i := range chosen {
		next <- i
	}
	close(next)
	wait.Wait()
	faithful, failed := 0, 0
	for i, m := range chosen {
		print := func(dtypes string, o outcome) {
			state := "faithful"
			if len(o.wrong) > 0 {
				state = "WRONG"
			}
			fmt.Printf("%-20s %-13s %-9s %s\n", m.name, dtypes, state, o.summary)
			for _, w := range slices.Concat(o.wrong, o.known) {
				fmt.Printf("%20s %s\n", "", w)
			}
		}
		if r := results[i]; r[0].equal(r[1]) && r[0].equal(r[2]) {
			print("BF16 F16 F32", r[0])
		} else {
			for k, dtype := range []string{"BF16", "F16", "F32"} {
				print(dtype, r[k])
			}
		}
		if slices.ContainsFunc(results[i], func(o outcome) bool { return len(o.wrong) > 0 }) {
			failed++
		} else {
			faithful++
		}
	}
	fmt.Printf("%d architectures and variants: %d as the other converter and the published formulas have it, %d not\n", len(chosen), faithful, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

// An outcome is what came of one checkpoint.
type outcome struct {
	summary string
	// wrong is what differs and is not known to be the other converter's fault;
	// known is that.
	wrong, known []string
}

func (o outcome) equal(other outcome) bool {
	return o.summary == other.summary && slices.Equal(o.wrong, other.wrong) && slices.Equal(o.known, other.known)
}

// A trial is one checkpoint on its way.
type trial struct {
	*model
	wt, dtype, dir string
	out            outcome
	met            map[string]bool // the faults that were met, by their tensors
}

func (t *trial) wrong(format string, args ...any) {
	t.out.wrong = append(t.out.wrong, fmt.Sprintf(format, args...))
}

func (t *trial) run() outcome {
	t.met = make(map[string]bool)
	if err := os.Mkdir(t.dir, 0o777); err != nil {
		t.wrong("%v", err)
		return t.out
	}
	hf, gguf := filepath.Join(t.dir, "hf"), filepath.Join(t.dir, "theirs.gguf")
	if err := t.convert(hf, gguf); err != nil {
		t.wrong("%v", err)
		return t.out
	}
	t.identify(hf, t.hf)
	t.identify(gguf, t.gguf)
	there, back := t.diff(hf, gguf), t.diff(gguf, hf)
	t.out.summary = there + ", reversed " + back
	if there != back {
		t.wrong("the order of the two decides the verdict")
	}
	if to := cmp.Or(t.to, t.gguf); to != "" {
		t.compare(hf, gguf, to)
	}
	for _, f := range t.faults {
		switch {
		case !t.met[f.tensors]:
			t.wrong("not met: %s", f.reason)
		case !slices.Contains(t.out.known, f.reason):
			t.out.known = append(t.out.known, f.reason)
		}
	}
	return t.out
}

// convert writes the checkpoint, and the GGUF file that ollama makes of it, with
// the names corrected that it gets wrong.
func (t *trial) convert(hf, gguf string) error {
	if err := t.write(hf, t.dtype); err != nil {
		return err
	}
	if err := t.ollama(hf, gguf); err != nil {
		return fmt.Errorf("ollama: %w", err)
	}
	return t.correct(gguf)
}

// ollama has the other converter write the GGUF file.
func (t *trial) ollama(hf, gguf string) (err error) {
	f, err := os.Create(gguf)
	if err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
		err = errors.Join(err, f.Close())
	}()
	if t.base != "" {
		return convert.ConvertAdapter(os.DirFS(hf), f, convert.KV{
			"general.architecture": t.base, t.base + ".attention.head_count": uint32(4), t.base + ".attention.head_count_kv": uint32(2),
		})
	}
	return convert.ConvertModel(os.DirFS(hf), f)
}

// correct renames and drops tensors of the GGUF file.
func (t *trial) correct(gguf string) error {
	theirs, err := readGGUF(gguf)
	if err != nil {
		return err
	}
	var rules []string
	for _, f := range t.faults {
		if f.rename == "" && !f.drop {
			continue
		}
		if slices.ContainsFunc(slices.Collect(maps.Keys(theirs)), func(name string) bool { return match(f.tensors, name) }) {
			t.met[f.tensors] = true
		}
		to := "drop: for the comparison"
		if !f.drop {
			to = "to: " + holes(f.rename)
		}
		rules = append(rules, "  - {from: "+holes(f.tensors)+", "+to+"}\n")
	}
	if rules == nil {
		return nil
	}
	fixes, wrong := filepath.Join(t.dir, "correct.yaml"), filepath.Join(t.dir, "as-written.gguf")
	err = errors.Join(os.WriteFile(fixes, []byte("rules:\n"+strings.Join(rules, "")), 0o666), os.Rename(gguf, wrong))
	if err != nil {
		return err
	}
	_, err = t.wtinspect("rename", "--map", fixes, "-o", gguf, wrong)
	return err
}

// holes writes a glob as a pattern of a map.
func holes(glob string) string {
	n := 0
	return `"` + regexp.MustCompile(`\*`).ReplaceAllStringFunc(glob, func(string) string {
		n++
		return fmt.Sprintf("{h%d...}", n)
	}) + `"`
}

// match reports whether one of the globs matches a name.
func match(globs, name string) bool {
	return slices.ContainsFunc(strings.Fields(globs), func(glob string) bool {
		ok, _ := path.Match(glob, name) // no name has a slash, so that * crosses dots
		return ok
	})
}

// wtinspect runs a command and returns its output. The error has what it says.
func (t *trial) wtinspect(args ...string) ([]byte, error) {
	out, err := exec.Command(t.wt, append(args, "-q")...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if exit.ExitCode() == 1 {
			return out, errDiffers
		}
		text := strings.Join(strings.Fields(strings.ReplaceAll(string(exit.Stderr), t.dir+"/", "")), " ")
		return out, fmt.Errorf("exit %d: %s", exit.ExitCode(), text)
	}
	return out, err
}

var errDiffers = errors.New("exit 1")

// identify checks what a checkpoint is taken for.
func (t *trial) identify(path, want string) {
	if want == "" {
		return
	}
	out, err := t.wtinspect("identify", "-f", "json", path)
	var answer struct {
		Results []struct {
			Convention *string `json:"convention"`
		} `json:"results"`
	}
	if err == nil || errors.Is(err, errDiffers) {
		err = json.Unmarshal(out, &answer)
	}
	if err != nil || len(answer.Results) != 1 {
		t.wrong("identify %s: %v", filepath.Base(path), err)
		return
	}
	got := ""
	if c := answer.Results[0].Convention; c != nil {
		got = *c
	}
	if got != want {
		t.wrong("identify %s: %s, not %s", filepath.Base(path), cmp.Or(got, "unknown"), want)
	}
}

// diff compares the pair and returns what the comparison says in a word.
func (t *trial) diff(a, b string) string {
	what := "diff " + filepath.Base(a) + " " + filepath.Base(b)
	out, err := t.wtinspect("diff", "-f", "json", a, b)
	var answer struct {
		Verdict string `json:"verdict"`
		Tensors []struct {
			Status  string  `json:"status"`
			NameA   *string `json:"name_a"`
			NameB   *string `json:"name_b"`
			Verdict *string `json:"verdict"`
		} `json:"tensors"`
	}
	if err == nil || errors.Is(err, errDiffers) {
		if e := json.Unmarshal(out, &answer); e != nil {
			err = e
		}
	}
	if answer.Verdict == "" {
		t.wrong("%s: %v", what, err)
		return "error"
	}
	var list []string
	for _, r := range answer.Tensors {
		name := cmp.Or(r.NameA, r.NameB)
		if r.NameA != nil && r.NameB != nil && filepath.Base(b) != "hf" {
			name = r.NameB
		}
		if r.Verdict != nil && *r.Verdict != "changed" && *r.Verdict != "other" {
			continue
		}
		if t.fault(*name, filepath.Base(a) == "ours") == nil {
			list = append(list, r.Status+" "+*name)
		}
	}
	if list != nil {
		t.wrong("%s: %s", what, few(list))
	}
	switch {
	case errors.Is(err, errDiffers):
		return answer.Verdict + " (exit 1)"
	case err != nil:
		t.wrong("%s: %v", what, err)
	}
	return answer.Verdict
}

// fault returns the listed fault that a tensor's difference is, in what was converted or
// in what is compared.
func (t *trial) fault(name string, converted bool) *fault {
	for i := range t.faults {
		f := &t.faults[i]
		if f.rename == "" && !f.drop && (converted || !f.converted) && match(f.tensors, name) {
			t.met[f.tensors] = true
			return f
		}
	}
	return nil
}

// compare has wtinspect convert the checkpoint and compares every tensor with
// ollama's.
func (t *trial) compare(hf, gguf, to string) {
	ours := filepath.Join(t.dir, "ours")
	if _, err := t.wtinspect("rename", "--to", to, "--drop-unknown", "-o", ours, hf); err != nil {
		if t.refused != "" && strings.Contains(err.Error(), t.refused) {
			t.out.known = append(t.out.known, "rename is refused: "+t.refused)
			return
		}
		t.wrong("rename --to %s: %v", to, err)
		return
	}
	mine, err := readSafetensors(ours)
	if err != nil {
		t.wrong("ours: %v", err)
		return
	}
	theirs, err := readGGUF(gguf)
	if err != nil {
		t.wrong("theirs: %v", err)
		return
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(mine)) {
		other, ok := theirs[name]
		d := "ours alone"
		if ok {
			d = differ(mine[name], other)
		}
		if d != "" && t.fault(name, true) == nil {
			list = append(list, name+" "+d)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(theirs)) {
		if _, ok := mine[name]; !ok && t.fault(name, true) == nil {
			list = append(list, name+" theirs alone")
		}
	}
	if list != nil {
		t.wrong("rename --to %s: %s", to, few(list))
	}
	t.diff(ours, gguf)
}

// few shortens a list.
func few(list []string) string {
	const most = 6
	if n := len(list); n > most {
		return fmt.Sprintf("%s; and %d more", strings.Join(list[:most], "; "), n-most)
	}
	return strings.Join(list, "; ")
}
