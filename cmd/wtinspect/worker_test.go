package main

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A process has one working directory. Tests that need one run the program in workers:
// processes of this test binary, each of which carries out one task after the other. A
// process per run would parse the conventions every time, which takes longer than most
// runs. Tests that inject a fault, or measure memory, call run in this process.
//
// A task is one run of the program.
type task struct {
	Dir   string
	Args  []string
	Env   map[string]string
	Stdin string
	// Terminal is how wide a terminal stdout is; at 0 it is a pipe.
	Terminal int
	// Joined has stderr in Stdout, in the order of the writes.
	Joined bool
}

// An outcome is what became of a task. Err is an error of the worker.
type outcome struct {
	Code           int
	Stdout, Stderr []byte
	Err            string
}

// variables are all that the program reads of the environment.
var variables = slices.Concat([]string{"NO_COLOR", "CLICOLOR_FORCE", "TERM", "SOURCE_DATE_EPOCH", "PATH", callerVariable}, environmentOfSettings(), hubVariables)

// environmentOfSettings are those with which users set defaults. Tests run without them, so
// that it makes no difference whose they are.
func environmentOfSettings() []string {
	out := []string{userFileVariable, "XDG_CONFIG_HOME", "HOME", "AppData"}
	for _, s := range settings() {
		out = append(out, s.variable())
	}
	return out
}

// workerVariable makes a process of this test binary a worker.
const workerVariable = "WTINSPECT_TEST_WORKER"

func TestMain(m *testing.M) {
	for _, s := range settings() {
		os.Unsetenv(s.variable())
	}
	os.Setenv(userFileVariable, "none")
	if os.Getenv(workerVariable) != "" {
		work()
	}
	if signal.Ignored(syscall.SIGHUP) {
		// As nohup has it, and as the programs that tests start would have it, too: they would not
		// end when they should. What is received is not ignored in them.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	code := m.Run()
	if binaryDir != "" {
		os.RemoveAll(binaryDir)
	}
	os.Exit(code)
}

// work carries out the tasks of stdin until it ends, as it does when the tests end,
// in whatever way.
func work() {
	tasks := make(chan task)
	go func() {
		for in := gob.NewDecoder(os.Stdin); ; {
			var t task
			if in.Decode(&t) != nil {
				os.Exit(0)
			}
			tasks <- t
		}
	}()
	for out := gob.NewEncoder(os.Stdout); ; {
		a := (<-tasks).run()
		if err := os.Chdir(os.TempDir()); err != nil { // the directory may be removed now
			panic(err)
		}
		if err := out.Encode(a); err != nil {
			panic(err)
		}
	}
}

func (t task) run() outcome {
	if err := os.Chdir(t.Dir); err != nil {
		return outcome{Err: err.Error()}
	}
	var out, errs bytes.Buffer
	stderr := &errs
	if t.Joined {
		stderr = &out
	}
	p := newProgram(strings.NewReader(t.Stdin), &out, stderr, func(name string) string {
		if !slices.Contains(variables, name) {
			panic("the tests' list of variables lacks " + name)
		}
		return t.Env[name]
	})
	p.terminal, p.width = t.Terminal > 0, t.Terminal
	code := p.run(context.Background(), t.Args)
	return outcome{Code: code, Stdout: out.Bytes(), Stderr: errs.Bytes()}
}

// A worker is the side of the tests.
type worker struct {
	tasks    *gob.Encoder
	outcomes *gob.Decoder
}

// idle has a place for each worker, nil until it is started.
var idle = func() chan *worker {
	c := make(chan *worker, runtime.GOMAXPROCS(0))
	for range cap(c) {
		c <- nil
	}
	return c
}()

func startWorker() (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), workerVariable+"=1")
	cmd.Stderr = os.Stderr // a panic is told there
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &worker{gob.NewEncoder(stdin), gob.NewDecoder(stdout)}, nil
}

// ask has a worker carry out a task.
func ask(t task) (a outcome, err error) {
	w := <-idle
	defer func() {
		if err != nil {
			w = nil // the next task has a new one
		}
		idle <- w
	}()
	if w == nil {
		if w, err = startWorker(); err != nil {
			return a, err
		}
	}
	if err = errors.Join(w.tasks.Encode(t), w.outcomes.Decode(&a)); err != nil {
		return a, fmt.Errorf("%v: the worker has ended: %w", t.Args, err)
	}
	if a.Err != "" {
		return a, fmt.Errorf("%v: %s", t.Args, a.Err)
	}
	if t.Joined {
		return a, nil
	}
	return a, conforms(t.Args, a.Stdout)
}

// runIn runs the program in a directory and returns its exit code and output.
func runIn(t *testing.T, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	a, err := ask(task{Dir: dir, Args: args})
	if err != nil {
		t.Fatal(err)
	}
	return a.Code, string(a.Stdout), string(a.Stderr)
}
