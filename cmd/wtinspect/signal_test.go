//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// A signal ends long work with the exit code of an interruption and a message,
// and what is written to a file is gone.
func TestSignal(t *testing.T) {
	t.Parallel()
	bin := buildBinary(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "model.safetensors")
	if err := fixture.Write(path, "data sparse\ntensor w.{0..999}.weight BF16 [512,65536]\n"); err != nil {
		t.Fatal(err)
	}
	convert := []string{"convert", "--match", "w.99*", "--dtype", "f16", "--progress", "always", "-o", filepath.Join(dir, "out"), path}
	for _, tt := range []struct {
		args   []string
		signal os.Signal
	}{
		{[]string{"hash", "--progress", "always", path}, os.Interrupt},
		{[]string{"stats", "--progress", "always", path}, os.Interrupt},
		{convert, os.Interrupt},
		{convert, syscall.SIGHUP},
		{[]string{"cat", "-f", "npy", "--progress", "always", "-o", filepath.Join(dir, "out"), path, "w.9*"}, syscall.SIGHUP},
	} {
		args := tt.args
		cmd := exec.Command(bin, args...)
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// The bar says that the work goes on.
		var first [1]byte
		if _, err := io.ReadFull(stderr, first[:]); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		if err := cmd.Process.Signal(tt.signal); err != nil {
			t.Fatal(err)
		}
		said, err := io.ReadAll(stderr)
		if err != nil {
			t.Fatal(err)
		}
		end, ok := errors.AsType[*exec.ExitError](cmd.Wait())
		if !ok || end.ExitCode() != exitInterrupted || !strings.HasSuffix(string(said), "wtinspect: interrupted\n") {
			t.Errorf("%v: %v, %q", args, end, said)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 1 {
			t.Errorf("%v left %v, %v", args, left, err)
		}
	}
}

// What nohup starts goes on when its terminal is closed.
func TestSignalIgnored(t *testing.T) {
	t.Parallel()
	bin := buildBinary(t)
	path := filepath.Join(t.TempDir(), "model.safetensors")
	if err := fixture.Write(path, "data sparse\ntensor w.{0..9}.weight BF16 [512,65536]\n"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `trap "" HUP; exec "$@"`, "sh", bin, "hash", "--progress", "always", path)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var first [1]byte
	if _, err := io.ReadFull(stderr, first[:]); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(stderr)
	if err = errors.Join(err, cmd.Wait()); err != nil {
		t.Errorf("%v, %q", err, said)
	}
}

// A signal ends a command that waits in a system call, whatever for.
func TestSignalWhileBlocked(t *testing.T) {
	t.Parallel()
	bin := buildBinary(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "model.safetensors")
	if err := fixture.Write(path, "data sparse\ntensor w.{0..9999}.weight BF16 [512]\n"); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe.yaml")
	needs(t, "a pipe", syscall.Mkfifo(pipe, 0o666))
	for _, tt := range []struct {
		what string
		args []string
		// begun returns when the command has begun, and what ends its wait.
		begun func(stdout io.Reader) (io.Closer, error)
	}{
		{"to read", []string{"rename", "--map", pipe, path}, func(io.Reader) (io.Closer, error) {
			return os.OpenFile(pipe, os.O_WRONLY, 0) // waits for the reader
		}},
		{"to open for reading", []string{"hash", "--check", pipe, path}, nil},
		{"to open for writing", []string{"ls", "-o", pipe, path}, nil},
		{"to write", []string{"ls", path}, func(stdout io.Reader) (io.Closer, error) {
			_, err := io.ReadFull(stdout, make([]byte, 1))
			return io.NopCloser(nil), err // no more is read, and the pipe fills up
		}},
	} {
		for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
			cmd := exec.Command(bin, tt.args...)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			var stderr strings.Builder
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if tt.begun != nil {
				c, err := tt.begun(stdout)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
			}
			// In its first moments the signal itself ends it, which is no less right.
			time.Sleep(200 * time.Millisecond)
			if err := cmd.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			state, err := cmd.Process.Wait()
			if err != nil {
				t.Fatal(err)
			}
			stdout.Close()
			_ = cmd.Wait() // for what it said
			status, ok := state.Sys().(syscall.WaitStatus)
			interrupted := state.ExitCode() == exitInterrupted && stderr.String() == "wtinspect: interrupted\n"
			if !interrupted && (!ok || !status.Signaled() || status.Signal() != s) {
				t.Errorf("%s, %v: %v, %s", tt.what, s, state, &stderr)
			}
		}
	}
}

// windingVariable has the test below run what it tests in a process of its own.
const windingVariable = "WTINSPECT_TEST_WINDING"

// What changes files is waited for, unless a second signal comes.
func TestSignalWhileWinding(t *testing.T) {
	t.Parallel()
	if os.Getenv(windingVariable) != "" {
		ctx, cancel := context.WithCancel(t.Context())
		p := newProgram(nil, os.Stdout, os.Stderr, os.Getenv)
		p.obey(ctx, cancel)
		err := p.winding(func() error {
			os.Stdout.WriteString("begun\n")
			<-ctx.Done()
			_, err := io.ReadAll(os.Stdin) // until the test closes it
			return err
		})
		if err == nil {
			os.Stdout.WriteString("whole\n")
		}
		select {} // and the process is ended
	}
	for _, second := range []bool{false, true} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSignalWhileWinding$")
		cmd.Env = append(os.Environ(), windingVariable+"=1")
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var pipes [2]*bufio.Reader
		for i, f := range []func() (io.ReadCloser, error){cmd.StdoutPipe, cmd.StderrPipe} {
			r, err := f()
			if err != nil {
				t.Fatal(err)
			}
			pipes[i] = bufio.NewReader(r)
		}
		stdout, stderr := pipes[0], pipes[1]
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		expect := func(r *bufio.Reader, want string) {
			t.Helper()
			if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, want) {
				t.Errorf("%q, %v, want %q", line, err, want)
			}
		}
		expect(stdout, "begun")
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		expect(stderr, "wtinspect: interrupted: putting everything back; a second signal stops at once")
		if second {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		} else {
			stdin.Close()
			expect(stdout, "whole")
			expect(stderr, "wtinspect: interrupted\n")
		}
		end, ok := errors.AsType[*exec.ExitError](cmd.Wait())
		if !ok || !second && end.ExitCode() != exitInterrupted {
			t.Errorf("%v", end)
		}
		if second {
			if status, ok := end.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGINT {
				t.Errorf("%v, not killed", end)
			}
		}
	}
}

// A scan that is interrupted leaves what its destination had.
func TestScanInterrupted(t *testing.T) {
	t.Parallel()
	model := fixture.File(t, "model.safetensors", "tensor w F32 [2]")
	for _, args := range [][]string{{"-f", "jsonl"}, {"-f", "csv", "--table", "tensors"}} {
		out := filepath.Join(t.TempDir(), "rows")
		if err := os.WriteFile(out, []byte("whole"), 0o666); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		list, w := io.Pipe()
		go func() {
			// More than are worked on at once, so that some are written.
			for i := range 1000 {
				fmt.Fprintf(w, "%s%s\n", model, strings.Repeat(" ", i)) // most are not there
			}
			cancel()
		}()
		var errs bytes.Buffer
		if code := run(ctx, append([]string{"scan", "-o", out, "-"}, args...), list, io.Discard, &errs); code != exitInterrupted {
			t.Errorf("exit %d: %s", code, &errs)
		}
		w.Close()
		if got, err := os.ReadFile(out); err != nil || string(got) != "whole" {
			t.Errorf("%v: %q, %v", args, got, err)
		}
	}
}
