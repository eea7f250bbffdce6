//go:build unix && !parquet

package main

import (
	"fmt"
	"syscall"
)

// become runs a program in the place of this one, and returns only if that fails.
func (p *program) become(path string, env []string) error {
	err := syscall.Exec(path, append([]string{path}, p.args...), env)
	return fmt.Errorf("%s cannot be run: %w", path, err)
}
