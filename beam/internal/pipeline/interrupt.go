package pipeline

import (
	"context"
	"errors"
	"sync"
)

// errInterrupted ends what writes in this process.
var errInterrupted = errors.New("interrupted")

// writing are the parts that this process writes: what is unfinished is removed before the
// process ends, where it is the process that was interrupted.
var writing interruptible

type interruptible struct {
	mu      sync.Mutex
	stopped bool
	active  sync.WaitGroup
}

func (i *interruptible) enter(ctx context.Context) (done func(), err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.stopped {
		return nil, errInterrupted
	}
	i.active.Add(1)
	return i.active.Done, ctx.Err()
}

func (i *interruptible) err(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.stopped {
		return errInterrupted
	}
	return ctx.Err()
}

// Interrupt ends what this process writes, and waits until nothing unfinished is left of it.
func Interrupt() {
	writing.mu.Lock()
	writing.stopped = true
	writing.mu.Unlock()
	writing.active.Wait()
}
