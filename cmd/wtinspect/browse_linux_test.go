package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// A screenSession is a run of browse on a terminal.
type screenSession struct {
	t      *testing.T
	person *os.File
	cmd    *exec.Cmd
	before unix.Termios

	mu    sync.Mutex
	shown bytes.Buffer
	seen  int // what was shown up to here has been awaited
	ended chan struct{}
}

// startBrowse browses in a directory.
func startBrowse(t *testing.T, dir string, args ...string) *screenSession {
	t.Helper()
	return startOnTerminal(t, exec.Command(buildBinary(t), append([]string{"browse"}, args...)...), dir)
}

// startOnTerminal starts a program in a directory, as the first on a terminal.
func startOnTerminal(t *testing.T, cmd *exec.Cmd, dir string) *screenSession {
	t.Helper()
	person, program := openTerminal(t)
	s := &screenSession{t: t, person: person, ended: make(chan struct{})}
	s.before = s.termios()
	s.cmd = cmd
	s.cmd.Dir = dir
	s.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TERM=xterm-256color", "LC_ALL=C.UTF-8", "HOME=" + t.TempDir(), userFileVariable + "=none"}
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = program, program, program
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill() }) // where the test has failed
	go func() {
		defer close(s.ended)
		b := make([]byte, 4096)
		for {
			n, err := person.Read(b)
			s.mu.Lock()
			s.shown.Write(b[:n])
			s.mu.Unlock()
			if err != nil { // the program's end is closed, here and there
				return
			}
		}
	}()
	program.Close()
	return s
}

func (s *screenSession) termios() unix.Termios {
	s.t.Helper()
	m, err := unix.IoctlGetTermios(int(s.person.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return *m
}

// await waits until a text is shown that was not there before.
func (s *screenSession) await(text string) {
	s.t.Helper()
	for range 3000 { // a minute, on a machine that has much else to do
		s.mu.Lock()
		at := bytes.Index(s.shown.Bytes()[s.seen:], []byte(text))
		if at >= 0 {
			s.seen += at + len(text)
		}
		s.mu.Unlock()
		if at >= 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.t.Fatalf("%q does not come; there is\n%q", text, s.shown.String())
}

func (s *screenSession) press(keys string) {
	s.t.Helper()
	if _, err := s.person.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

func (s *screenSession) resize(columns, lines uint16) {
	s.t.Helper()
	if err := unix.IoctlSetWinsize(int(s.person.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: lines, Col: columns}); err != nil {
		s.t.Fatal(err)
	}
}

// end waits for the program to end, and looks at what it leaves: its exit code, and the
// terminal as it was, on its own screen, with a cursor and without the mouse.
func (s *screenSession) end(code int) string {
	s.t.Helper()
	_ = s.cmd.Wait() // the code says it
	if got := s.cmd.ProcessState.ExitCode(); got != code {
		s.t.Errorf("exit %d, want %d", got, code)
	}
	if after := s.termios(); after != s.before {
		s.t.Errorf("the terminal is %+v, and was %+v", after, s.before)
	}
	<-s.ended
	shown := s.shown.String()
	for _, mode := range []struct{ name, on, off string }{
		{"the other screen", "\x1b[?1049h", "\x1b[?1049l"},
		{"the mouse", "\x1b[?1002h", "\x1b[?1002l"},
		{"pasting in brackets", "\x1b[?2004h", "\x1b[?2004l"},
		{"a hidden cursor", "\x1b[?25l", "\x1b[?25h"},
	} {
		on, off := strings.LastIndex(shown, mode.on), strings.LastIndex(shown, mode.off)
		if on < 0 || off < on {
			s.t.Errorf("%s is left on: %q", mode.name, shown)
		}
	}
	_, after, _ := strings.Cut(shown, "\x1b[?1049l")
	return after
}

// However browse ends, the terminal is as it was.
func TestBrowseTerminal(t *testing.T) {
	t.Parallel()
	write := func(t *testing.T) string {
		t.Helper()
		dir := t.TempDir()
		if err := fixture.Write(filepath.Join(dir, "m.safetensors"), "meta format pt\ntensor lm_head.weight F32 [2]\ntensor model.layers.{0..3}.mlp.up_proj.weight F32 [4,4] values=1,2\n"); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	t.Run("quit", func(t *testing.T) {
		s := startBrowse(t, write(t), "m.safetensors")
		s.await("lm_head.weight")
		s.press("?")
		s.await("half of one")
		s.press("xq")
		s.end(exitOK)
	})
	t.Run("filter, resize, open, copy", func(t *testing.T) {
		s := startBrowse(t, write(t), "m.safetensors")
		s.await("lm_head.weight")
		s.press("3/l2up\r")
		s.await("of") // 1 of 5 tensors
		s.resize(132, 40)
		s.press("\r")
		s.await("histogram")
		s.resize(40, 8)
		s.await("needs")
		s.resize(80, 24)
		s.await("histogram")
		s.press("y")
		s.await("\x1b]52;c;") // base64 of the command
		s.press("xqq")
		s.end(exitOK)
	})
	t.Run("ctrl-c", func(t *testing.T) {
		s := startBrowse(t, write(t), "m.safetensors")
		s.await("lm_head.weight")
		s.press("\x03")
		if after := s.end(exitInterrupted); !strings.Contains(after, "wtinspect: interrupted") {
			t.Errorf("after it there is %q", after)
		}
	})
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(fmt.Sprint(sig), func(t *testing.T) {
			s := startBrowse(t, write(t), "m.safetensors")
			s.await("lm_head.weight")
			if err := s.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if after := s.end(exitInterrupted); !strings.Contains(after, "wtinspect: interrupted") {
				t.Errorf("after it there is %q", after)
			}
		})
	}
	t.Run("a file that vanishes", func(t *testing.T) {
		dir := write(t)
		path := filepath.Join(dir, "m.safetensors")
		s := startBrowse(t, dir, "m.safetensors")
		s.await("lm_head.weight")
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		s.press("3")
		s.await("SHAPE")
		s.press("\r")
		s.await("m.safetensors:")
		s.press("q45q")
		s.end(exitOK)
	})
	t.Run("a file that is replaced", func(t *testing.T) {
		dir := write(t)
		s := startBrowse(t, dir, "m.safetensors")
		s.await("lm_head.weight")
		if err := fixture.Write(filepath.Join(dir, "new.safetensors"), "tensor b F32 [2]\n"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "new.safetensors"), filepath.Join(dir, "m.safetensors")); err != nil {
			t.Fatal(err)
		}
		s.await("m.safetensors: the file changed since it was first read")
		s.press("q")
		s.end(exitOK)
	})
	t.Run("ctrl-z without a shell", func(t *testing.T) {
		s := startBrowse(t, write(t), "m.safetensors")
		s.await("lm_head.weight")
		s.press("\x1a")
		s.await("there is no shell here to go back to")
		s.press("q")
		s.end(exitOK)
	})
	// Stopped by a key or by another program it leaves the terminal as it was, and comes
	// back when the shell continues it. That shell has job control, and no prompt.
	for name, stop := range map[string]func(s *screenSession, pid int){
		"ctrl-z":     func(s *screenSession, _ int) { s.press("\x1a") },
		"kill -TSTP": func(_ *screenSession, pid int) { _ = syscall.Kill(pid, syscall.SIGTSTP) },
	} {
		t.Run(name, func(t *testing.T) {
			bash, err := exec.LookPath("bash")
			if err != nil {
				t.Skip("bash, which has job control, is not installed")
			}
			dir := write(t)
			s := startOnTerminal(t, exec.Command(bash, "-mc", `"$0" browse m.safetensors; echo "stopped $?"; jobs -p >pid; read line; fg; echo "left $?"`, buildBinary(t)), dir)
			s.await("lm_head.weight")
			pid := 0
			children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", s.cmd.Process.Pid, s.cmd.Process.Pid))
			if err != nil {
				t.Skipf("the kernel does not list children of a process: %v", err)
			}
			if _, err := fmt.Sscan(string(children), &pid); err != nil {
				t.Fatalf("children %q: %v", children, err)
			}
			stop(s, pid)
			s.await("\x1b[?1049l")
			s.await("stopped 147") // 128 and SIGSTOP
			if got := s.termios(); got != s.before {
				t.Errorf("stopped, the terminal is %+v, and was %+v", got, s.before)
			}
			s.press("\n")
			s.await("\x1b[?1049h")
			s.await("lm_head.weight")
			s.press("q")
			s.await("left 0")
			s.end(exitOK)
		})
	}
	t.Run("two", func(t *testing.T) {
		s := startBrowse(t, write(t), "m.safetensors", ".")
		s.await("unread")
		s.press("c")
		s.await("same")
		s.press("q")
		s.end(exitOK)
	})
	t.Run("nothing there", func(t *testing.T) {
		person, program := openTerminal(t)
		cmd := exec.Command(buildBinary(t), "browse", filepath.Join(t.TempDir(), "nowhere"))
		cmd.Env = []string{"TERM=xterm", userFileVariable + "=none"}
		cmd.Stdin, cmd.Stdout = program, program
		out := new(bytes.Buffer)
		cmd.Stderr = out
		_ = cmd.Run() // the code says it
		if code := cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(out.String(), "nowhere") {
			t.Errorf("exit %d, %q", code, out)
		}
		program.Close()
		if shown, _ := person.Read(make([]byte, 10)); shown > 0 {
			t.Error("something is drawn")
		}
	})
}
