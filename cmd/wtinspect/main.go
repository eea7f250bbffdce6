// Command wtinspect reads, compares, renames and judges the weights of models.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	tuneMemory()
	// A reader that has seen enough is no reason to die: the write fails with
	// EPIPE, and the exit code is that of the work.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// grace is how long the program may take to end by itself after a signal.
const grace = 800 * time.Millisecond

// run is the whole program: it carries out args and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := newProgram(stdin, stdout, stderr, os.Getenv)
	p.obey(ctx, cancel)
	return p.run(ctx, args)
}

// obey has a signal cancel the run, and end the process if that does not.
func (p *program) obey(ctx context.Context, cancel func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signal.Notify(signals, syscall.SIGHUP) // the terminal is gone
	}
	go func() {
		for {
			select {
			case s := <-signals:
				if s == os.Interrupt && p.pager.Load().reading() {
					continue // it is for the pager
				}
				signal.Stop(signals) // a second one kills
				cancel()
				p.exitAfter(grace)
			case <-ctx.Done():
				signal.Stop(signals)
				return
			}
		}
	}()
}

// exitAfter ends the process when it has not ended by itself after some time: a
// system call may block for ever. It waits for what must not be left half done.
func (p *program) exitAfter(d time.Duration) {
	time.Sleep(d)
	if !p.whole.TryLock() { // and from now on nothing else begins
		p.say("interrupted: putting everything back; a second signal stops at once, and 'wtinspect rename --recover' then finishes")
		p.whole.Lock()
		time.Sleep(d) // what became of it is yet to be said
	}
	p.pager.Load().end() // or two programs read the terminal
	// Nobody may be reading stderr either.
	time.AfterFunc(d/10, func() { os.Exit(exitInterrupted) })
	p.say("interrupted")
	os.Exit(exitInterrupted)
}
