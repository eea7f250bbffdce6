package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// openTerminal returns both ends of a pseudo-terminal that is 80 columns wide: what a
// person has, and what a program has.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals: %v", err)
	}
	t.Cleanup(func() { person.Close() })
	fd := int(person.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	return person, program
}

// A session is a run of the program on a terminal of its own.
type session struct {
	person *os.File
	cmd    *exec.Cmd
	shown  bytes.Buffer // once the program has ended
	read   chan struct{}
}

func startSession(t *testing.T, env []string, args ...string) *session {
	t.Helper()
	person, program := openTerminal(t)
	s := &session{person: person, cmd: exec.Command(buildBinary(t), args...), read: make(chan struct{})}
	s.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TERM=dumb", userFileVariable + "=none"}, env...)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = program, program, program
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	program.Close()
	go func() {
		defer close(s.read)
		_, _ = io.Copy(&s.shown, person) // until the program's end is closed
	}()
	return s
}

// end returns the exit code, and what was on the terminal.
func (s *session) end(t *testing.T) (int, string) {
	t.Helper()
	_ = s.cmd.Wait() // the code says it
	<-s.read
	return s.cmd.ProcessState.ExitCode(), strings.ReplaceAll(s.shown.String(), "\r\n", "\n")
}

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pager")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// Long answers go through a pager where a person reads them at a terminal, and nowhere
// else; the exit code is that of the command.
func TestPager(t *testing.T) {
	t.Parallel()
	good := fixture.File(t, "good.safetensors", "meta format pt\ntensor w F32 [2]\n")
	bad := fixture.File(t, "bad.safetensors", "meta format pt\ntensor w F32 [2]\ntruncate -1\n")
	mark := script(t, `echo "PAGED $LESS $*"; cat`)
	for _, tt := range []struct {
		name string
		env  []string
		args []string
		code int
		want string // the beginning of what is shown
	}{
		{"PAGER", []string{"PAGER=" + mark}, []string{"ls", good}, 0, "PAGED FRX \nNAME  DTYPE"},
		{"WTINSPECT_PAGER before PAGER", []string{"PAGER=false", "WTINSPECT_PAGER=" + mark + " -x"}, []string{"ls", good}, 0, "PAGED FRX -x\nNAME"},
		{"LESS is kept", []string{"PAGER=" + mark, "LESS=S"}, []string{"rules", "WT101"}, 0, "PAGED S \nRULE"},
		{"without tokens", []string{"HF_TOKEN=hf_x", "MODELSCOPE_API_TOKEN=y", "HOME=/h", "PAGER=" + script(t, `echo "<$HF_TOKEN$MODELSCOPE_API_TOKEN$HOME>"`)}, []string{"ls", good}, 0, "</h>"},
		{"a command of the shell", []string{"PAGER=sed 's/^/> /' | head -1"}, []string{"ls", good}, 0, "> NAME"},
		{"errors, too", []string{"PAGER=" + mark}, []string{"ls", good, "nowhere"}, 2, "wtinspect: nowhere: "},
		{"the exit code", []string{"PAGER=" + mark}, []string{"check", bad}, 1, "PAGED FRX \n" + bad[:20]},
		{"of a pager that reads nothing, too", []string{"PAGER=true"}, []string{"check", bad}, 1, ""},
		{"no such pager", []string{"PAGER=/no/such/pager"}, []string{"ls", good}, 0, "NAME"},
		{"--no-pager", []string{"PAGER=" + mark}, []string{"ls", "--no-pager", good}, 0, "NAME"},
		{"cat", []string{"PAGER=cat"}, []string{"ls", good}, 0, "NAME"},
		{"none", []string{"PAGER=" + mark, "WTINSPECT_PAGER=none"}, []string{"ls", good}, 0, "NAME"},
		{"JSON", []string{"PAGER=" + mark}, []string{"ls", "-f", "json", good}, 0, "{"},
		{"CSV", []string{"PAGER=" + mark}, []string{"ls", "-f", "csv", good}, 0, "checkpoint"},
		{"a short answer", []string{"PAGER=" + mark}, []string{"version"}, 0, "wtinspect "},
		{"a command that writes", []string{"PAGER=" + mark}, []string{"rename", "--map", "strip-module", "-n", good}, 0, "0 of 1 tensor"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, shown := startSession(t, tt.env, tt.args...).end(t)
			if code != tt.code || !strings.HasPrefix(shown, tt.want) || tt.want == "" && shown != "" {
				t.Errorf("exit %d, want %d; the terminal shows\n%s\nwant\n%s", code, tt.code, shown, tt.want)
			}
		})
	}

	t.Run("a pipe", func(t *testing.T) {
		cmd := exec.Command(buildBinary(t), "ls", good)
		cmd.Env = []string{"PAGER=" + mark, userFileVariable + "=none"}
		out, err := cmd.Output()
		if err != nil || !strings.HasPrefix(string(out), "w  F32") {
			t.Errorf("%v: %s", err, out)
		}
	})
}

// An interrupt is for the pager while a person reads: the program waits for it.
func TestPagerInterrupted(t *testing.T) {
	t.Parallel()
	file := fixture.File(t, "m.safetensors", "tensor w F32 [2]\n")
	dir := t.TempDir()
	log, quit := filepath.Join(dir, "log"), filepath.Join(dir, "quit")
	pager := script(t, fmt.Sprintf("trap 'echo interrupted >> %[1]s' INT\ncat > /dev/null\necho reading >> %[1]s\n"+
		"until [ -e %[2]s ]; do sleep 0.05; done\necho quit >> %[1]s\n", log, quit))
	s := startSession(t, []string{"PAGER=" + pager}, "ls", file)
	logged := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			text, _ := os.ReadFile(log)
			if strings.Contains(string(text), want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the pager has logged %q, and not %q", text, want)
			}
		}
	}
	logged("reading")
	if _, err := s.person.Write([]byte{3}); err != nil { // Ctrl-C
		t.Fatal(err)
	}
	logged("interrupted")
	if err := os.WriteFile(quit, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if code, shown := s.end(t); code != exitOK || strings.Contains(shown, "wtinspect:") {
		t.Errorf("exit %d; the terminal shows\n%s", code, shown)
	}
	logged("quit")
}
