package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/rename"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata/script")

// TestScripts runs testdata/script/*.txtar, one script per behaviour, several at a
// time. They have commands of their own:
//
//	wtinspect ARG...          runs the program. The variable TERMINAL says how
//	                          wide a terminal stdout is; without it stdout is a pipe.
//	                          STDIN is the file that stdin reads.
//	code N                    the exit code of the last run
//	hub ID DIR [FACTS]        serves a directory as a repository of a hub, which begins
//	                          with the first: HF_ENDPOINT is its address, CDN that of
//	                          its second host, and COMMIT the commit. FACTS is a file
//	                          of JSON with what the hub says of the repository
//	hub-set WORD...           has the hub misbehave, each WORD a knob of hubtest
//	requests                  prints what was asked of the hub since the last time
//	answer MAP TEXT           answers the first open question of a map, as people do
//	fixture DST SRC           builds a checkpoint from the text in SRC: a file, or
//	                          a directory when the text has file lines
//
// The variable TESTDATA is the directory of the files that packages share, and
// the condition [grows] says that the file system makes room in front of data
// without copying it, [parquet] that the program was built with this tag.
//
// A run that exits 0 succeeds; "! wtinspect" expects any other code.
func TestScripts(t *testing.T) {
	t.Parallel()
	shared, err := filepath.Abs(filepath.Join("..", "..", "testdata"))
	if err != nil {
		t.Fatal(err)
	}
	growing := sync.OnceValues(func() (bool, error) { return grows(t) })
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("testdata", "script"),
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("NO_COLOR", "1")
			env.Setenv("TESTDATA", shared)
			env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, ".cache"))
			setHub(env)
			return nil
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "grows":
				return growing()
			case "parquet":
				return parquetLinked, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"wtinspect": runProgram,
			"code":      checkCode,
			"answer":    answerQuestion,
			"fixture":   buildFixture,
			"hub":       serveHub,
			"hub-set":   breakHub,
			"requests":  printRequests,
		},
	})
}

const codeVariable = "EXIT_CODE"

func runProgram(ts *testscript.TestScript, neg bool, args []string) {
	t := task{Dir: ts.MkAbs("."), Args: args, Env: map[string]string{}}
	for _, name := range variables {
		t.Env[name] = ts.Getenv(name)
	}
	if file := ts.Getenv("STDIN"); file != "" {
		t.Stdin = ts.ReadFile(file)
	}
	if w := ts.Getenv("TERMINAL"); w != "" {
		n, err := strconv.Atoi(w)
		ts.Check(err)
		t.Terminal = n
	}
	a, err := ask(t)
	ts.Check(err)
	ts.Stdout().Write(a.Stdout)
	ts.Stderr().Write(a.Stderr)
	ts.Setenv(codeVariable, strconv.Itoa(a.Code))
	if (a.Code == 0) == neg {
		ts.Fatalf("exit code %d", a.Code)
	}
}

func checkCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: code N")
	}
	if got := ts.Getenv(codeVariable); got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// grows renames a tensor to a name that does not fit, and reports whether its
// data were left alone.
func grows(t *testing.T) (bool, error) {
	path := fixture.File(t, "model.safetensors", "tensor w F32 [65536]")
	rel, err := checkpoint.Open(t.Context(), path, nil)
	if err != nil {
		return false, err
	}
	defer rel.Close()
	m := &rename.Map{Rules: []rename.Rule{rename.ExactRule("w", strings.Repeat("long", 100))}}
	job, err := rewrite.Prepare(t.Context(), rel.Checkpoints[0], rename.NewPlan(m, []string{"w"}, rename.Safetensors()), nil)
	if err != nil {
		return false, err
	}
	report, err := job.Run(t.Context(), nil)
	if err != nil {
		return false, err
	}
	return report.Files[0].Step != rewrite.Copy, nil
}

// answerQuestion writes an answer into a map.
func answerQuestion(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: answer MAP TEXT")
	}
	before, after, ok := strings.Cut(ts.ReadFile(args[0]), "answer: #")
	if !ok {
		ts.Fatalf("%s asks nothing", args[0])
	}
	_, after, _ = strings.Cut(after, "\n")
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(before+"answer: "+args[1]+"\n"+after), 0o666))
}

func buildFixture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fixture DST SRC")
	}
	ts.Check(writeFixture(ts.MkAbs(args[0]), ts.ReadFile(args[1])))
}

// writeFixture builds a directory when the text has file lines, and otherwise a file.
func writeFixture(dst, text string) error {
	if strings.Contains("\n"+text, "\nfile ") {
		return fixture.Sharded(dst, text)
	}
	return fixture.Write(dst, text)
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := fixture.File(t, "model.safetensors", "tensor w F32 [2]")
	var out, errs bytes.Buffer
	if code := run(ctx, []string{"ls", path}, strings.NewReader(""), &out, &errs); code != exitInterrupted {
		t.Errorf("exit %d: %s", code, &errs)
	}
	if out.Len() > 0 {
		t.Errorf("output %q", &out)
	}
}

// A signal does not hide that something is left to recover.
func TestInterruptedHalfWay(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var errs bytes.Buffer
	p := newProgram(strings.NewReader(""), &errs, &errs, os.Getenv)
	err := fmt.Errorf("undoing m: %w", &rewrite.RecoveryError{Dir: "m", Err: errors.New("m: the disk is gone; recover again")})
	if code := p.end(ctx, nil, err); code != exitInterrupted {
		t.Errorf("exit %d", code)
	}
	if want := "wtinspect: m: the disk is gone; recover again\nwtinspect: interrupted\n"; errs.String() != want {
		t.Errorf("it says %q, want %q", &errs, want)
	}
}

func TestSayError(t *testing.T) {
	a, b := errors.New("a"), errors.New("b\nof two lines")
	for _, c := range []struct {
		err  error
		want string
	}{
		{a, "a|"},
		{errors.Join(a), "a|"},
		{errors.Join(b, errors.Join(b, a)), "b|  of two lines|b|  of two lines|a|"},
		{fmt.Errorf("it failed: %w; and so did undoing it: %w", a, a), "it failed: a; and so did undoing it: a|"},
		{&rewrite.RecoveryError{Err: b}, "b|  of two lines|"},
	} {
		var errs bytes.Buffer
		newProgram(strings.NewReader(""), &errs, &errs, os.Getenv).sayError(c.err)
		if got := strings.ReplaceAll(strings.ReplaceAll(errs.String(), "wtinspect: ", ""), "\n", "|"); got != c.want {
			t.Errorf("%#v is said as %q, want %q", c.err, got, c.want)
		}
	}
}
