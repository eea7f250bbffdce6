//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package browse

import (
	"io"
	"os"
	"os/signal"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/sys/unix"
)

// hearStops suspends the program when another asks it to, as kill -TSTP does, which would
// leave the terminal as it is. The function that it returns ends that.
func (a *adapter) hearStops() (end func()) {
	if signal.Ignored(unix.SIGTSTP) {
		return func() {}
	}
	stops := make(chan os.Signal, 1)
	signal.Notify(stops, unix.SIGTSTP)
	go func() {
		for range stops {
			a.program.Send(suspendMsg{})
		}
	}()
	return func() {
		signal.Stop(stops)
		close(stops)
	}
}

// suspend stops the program with the terminal as it was, and goes on when it is continued.
func (a *adapter) suspend() tea.Cmd {
	// A shell with job control gives every job a process group of its own. In the group of
	// the session's leader, as in a terminal without a shell, nobody would continue it.
	if session, err := unix.Getsid(0); err != nil || session == unix.Getpgrp() {
		a.status = "there is no shell here to go back to"
		return nil
	}
	return tea.Exec(stopping{}, nil)
}

// A stopping is what is done while another program has the terminal: it stops this one.
// The signal is SIGSTOP, since of one that it has listened for Go does not bring the
// default back.
type stopping struct{}

func (stopping) Run() error {
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, unix.SIGCONT)
	defer signal.Stop(continued)
	if err := unix.Kill(0, unix.SIGSTOP); err != nil {
		return err
	}
	<-continued
	return nil
}

func (stopping) SetStdin(io.Reader)  {}
func (stopping) SetStdout(io.Writer) {}
func (stopping) SetStderr(io.Writer) {}
