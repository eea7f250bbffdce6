package browse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wtinspect/wtinspect/inspect"
)

// panicking is set for the process that TestPanic starts.
const panicking = "WTINSPECT_TEST_PANIC"

func TestMain(m *testing.M) {
	if os.Getenv(panicking) != "" {
		fmt.Println(Run(context.Background(), panicSource{&fakeSource{names: []string{"a"}}}, Options{Env: os.Environ()}))
		return
	}
	os.Exit(m.Run())
}

type panicSource struct{ *fakeSource }

func (panicSource) Stats(context.Context, *inspect.Tensor, int) (*inspect.Figures, error) {
	panic("of a test")
}

// A panic in the background leaves the terminal as it was, and says where it was.
func TestPanic(t *testing.T) {
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals: %v", err)
	}
	defer person.Close()
	fd := int(person.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err := errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0), unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80})); err != nil {
		t.Fatal(err)
	}
	program, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), panicking+"=1", "TERM=xterm", "TEA_DEBUG=1", "TEA_TRACE=trace")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	program.Close()
	var shown strings.Builder
	pressed := false
	for b := make([]byte, 4096); ; {
		n, err := person.Read(b)
		shown.Write(b[:n])
		if err != nil { // the program has ended
			break
		}
		if !pressed && strings.Contains(shown.String(), "F32") {
			pressed = true
			if _, err := person.WriteString("\r"); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // what it says is looked at
	after, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if *after != *before {
		t.Errorf("the terminal is %+v, and was %+v", after, before)
	}
	if left, err := os.ReadDir(cmd.Dir); err != nil || len(left) > 0 {
		t.Errorf("it wrote files: %v %v", left, err)
	}
	text := shown.String()
	if off := strings.LastIndex(text, "\x1b[?1049l"); off < 0 || !strings.Contains(text[off:], "of a test") || !strings.Contains(text[off:], "panicSource") {
		t.Errorf("it says\n%s", text)
	}
}
