//go:build windows && !parquet

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
)

// become runs a program and ends with its exit code. The console tells both of Ctrl-C.
func (p *program) become(path string, env []string) error {
	cmd := exec.Command(path, p.args...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, p.stdin, p.stdout, p.stderr
	signal.Ignore(os.Interrupt) // it is the other's to obey
	err := cmd.Run()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return &exitError{e.ExitCode()}
	}
	if err != nil {
		return fmt.Errorf("%s cannot be run: %w", path, err)
	}
	return &exitError{exitOK}
}
