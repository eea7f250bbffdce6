// Command wtinspect reads, compares, renames and judges the weights of models.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"sync"
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

// patience is how long a run that writes no file is left to the default action
// of signals. To listen for them takes a tenth of the time that a small file does.
const patience = 20 * time.Millisecond

// run is the whole program: it carries out args and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := newProgram(stdin, stdout, stderr, os.Getenv)
	p.listen = sync.OnceFunc(func() {
		signalled, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		context.AfterFunc(signalled, func() {
			stop() // the first signal asks; a second one, while things wind up, kills
			cancel()
		})
	})
	defer time.AfterFunc(patience, p.listen).Stop()
	return p.run(ctx, args)
}
