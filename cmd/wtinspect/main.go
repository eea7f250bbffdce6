// Command wtinspect reads, compares, renames and judges the weights of models.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	tuneMemory()
	// A reader that has seen enough is no reason to die: the write fails with
	// EPIPE, and the exit code is that of the work.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program: it carries out args and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal asks; a second one, while things wind up, kills.
	context.AfterFunc(ctx, stop)
	return newProgram(stdin, stdout, stderr, os.Getenv).run(ctx, args)
}
