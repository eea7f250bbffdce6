//go:build !linux

package main

import (
	"errors"
)

// keepLocal would keep other machines from a port that listens on all interfaces.
func keepLocal(int) error { return errors.New("only Linux can keep them out") }
