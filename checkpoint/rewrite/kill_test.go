package rewrite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/txn/faulttest"
	"github.com/wtinspect/wtinspect/rename"
)

// childEnv makes the test binary rename the release that it names, with the
// file system that it describes, or recover it.
const childEnv = "WTINSPECT_REWRITE_CHILD"

func TestMain(m *testing.M) {
	if task := os.Getenv(childEnv); task != "" {
		if err := child(strings.Split(task, "\n")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func child(task []string) error {
	ctx := context.Background()
	ref, how, text := task[0], task[1], strings.Join(task[2:], "\n")
	if how == "recover" {
		_, err := Recover(ctx, ref, false)
		return err
	}
	r, err := checkpoint.Open(ctx, ref, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	m, err := rename.Parse("map.yaml", []byte(text))
	if err != nil {
		return err
	}
	c := r.Checkpoints[0]
	var names []string
	for _, t := range c.All() {
		names = append(names, t.Name)
	}
	plan := rename.NewPlan(m, names, rename.Limits{})
	if err := plan.Err(); err != nil {
		return err
	}
	opts := new(Options)
	if out, ok := strings.CutPrefix(how, "output "); ok {
		opts.Output = out
	}
	j, err := prepare(ctx, faulttest.Limited{Insert: how != "copy", Clone: how != "copy"}, c, plan, nil, opts)
	if err != nil {
		return err
	}
	// The clock of the kill starts here: opening is not what is tested.
	fmt.Println("ready")
	_, err = j.Run(ctx, nil)
	return err
}

// TestKill kills real processes at random moments of a rewrite, and of the
// recovery now and then.
func TestKill(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signals to kill with")
	}
	total := 40
	if testing.Short() {
		total = 12
	}
	if n, err := strconv.Atoi(os.Getenv("WTINSPECT_KILLS")); err == nil {
		total = n
	}
	type task struct{ kind, how string }
	var tasks []task
	for _, kind := range []string{"sharded", "gguf", "gguf-split"} {
		for _, how := range []string{"in place", "copy", "drop", "output"} {
			tasks = append(tasks, task{kind, how})
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	ended := map[Outcome]int{}
	kills := 0
	for i := range max(total, len(tasks)) {
		task := tasks[i%len(tasks)]
		top := t.TempDir()
		dir := filepath.Join(top, "m")
		must(t, os.Mkdir(dir, 0o755))
		ref, m := release(t, dir, task.kind)
		text := yiToLlama
		switch {
		case task.how == "drop":
			text = "version: 1\nrules:\n  - {from: \"{a...}.ln1.weight\", drop: not needed}\n"
			m = parseMap(t, text)
		case task.kind != "sharded":
			text = ggufMap
		}
		old := fixture.Snapshot(t, top)

		// What the new release is, and how long it takes.
		how := task.how
		if how == "output" {
			how = "output " + filepath.Join(top, "out")
			if task.kind == "gguf" {
				how += ".gguf"
			}
		}
		refTop := t.TempDir()
		refDir := filepath.Join(refTop, "m")
		must(t, os.Mkdir(refDir, 0o755))
		refRef, _ := release(t, refDir, task.kind)
		opts := new(Options)
		if task.how == "output" {
			opts.Output = filepath.Join(refTop, filepath.Base(strings.TrimPrefix(how, "output ")))
		}
		start := time.Now()
		runJob(t, faulttest.Limited{Insert: task.how != "copy", Clone: task.how != "copy"}, refRef, m, opts)
		took := time.Since(start)
		want := fixture.Snapshot(t, refTop)

		kill := func(task ...string) (killed bool) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(task, "\n"))
			out, err := cmd.StdoutPipe()
			must(t, err)
			stderr := new(strings.Builder)
			cmd.Stderr = stderr
			must(t, cmd.Start())
			if task[1] != "recover" {
				_, err = out.Read(make([]byte, 8))
				must(t, err)
			}
			time.Sleep(time.Duration(rng.Int64N(int64(took)*9/10 + 1)))
			_ = cmd.Process.Kill()
			err = cmd.Wait()
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.Exited() {
				t.Fatalf("%v: %s", task, stderr)
			}
			return err != nil
		}
		if kill(ref, how, text) {
			kills++
		}
		if task.how == "output" {
			got := fixture.Snapshot(t, top)
			for name, content := range old {
				if got[name] != content {
					t.Fatalf("%v: the source changed: %s", task, name)
				}
			}
			if _, err := os.Stat(strings.TrimPrefix(how, "output ")); err == nil && !maps.Equal(without(got, ".wtinspect.tmp"), want) {
				t.Fatalf("%v: there is a result, and it is not whole", task)
			}
			continue
		}
		if rng.IntN(3) == 0 && kill(ref, "recover") {
			kills++
		}
		outcome, err := Recover(context.Background(), ref, false)
		if err != nil {
			t.Fatalf("%v: recovery: %v", task, err)
		}
		ended[outcome]++
		if got := fixture.Snapshot(t, top); !maps.Equal(got, old) && !maps.Equal(got, want) {
			for name := range got {
				t.Logf("%s: old %v, new %v", name, got[name] == old[name], got[name] == want[name])
			}
			t.Fatalf("%v: neither the old release nor the new one (recovery: %q)", task, outcome)
		}
	}
	t.Logf("%d processes killed; recoveries: %v", kills, ended)
}

// without leaves out the files whose path has an element that ends so.
func without(files map[string]string, suffix string) map[string]string {
	out := map[string]string{}
	for name, content := range files {
		if !strings.Contains(name+"/", suffix+"/") {
			out[name] = content
		}
	}
	return out
}
