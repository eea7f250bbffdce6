package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/internal/browse"
)

func newBrowse(p *program) *cobra.Command {
	var o reading
	cmd := &cobra.Command{
		Use:   "browse [PATH [PATH2]]",
		Short: "Explore a checkpoint, or two side by side",
		Long: `Browse shows a checkpoint in the terminal, by default the one in the current directory:
its templates and layers as a tree with sizes, its tensors as a list, the findings
of check, and the summary of info. For a tensor it shows role, place, statistics,
histogram, first numbers and digest, which are read while you look at it.

With PATH2 it compares the two and marks every tensor as the same,
changed, or only in one of them. Names, dtypes and shapes are compared at
once, values when you press c.

The keys are those of less, ncdu and fzf; ? lists them. y copies the wtinspect
command that prints what is on the screen. Browse changes no files.`,
		Annotations: exitStatus("2  also if stdout is not a terminal"),
		Example: `  wtinspect browse
  wtinspect browse model.gguf
  wtinspect browse hf://Qwen/Qwen3-0.6B
  wtinspect browse base/ tuned/`,
		Args:              arguments(0, 2),
		ValidArgsFunction: p.completePaths,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			return runBrowse(cmd.Context(), p, &o, args)
		}),
	}
	o.addFlags(cmd)
	p.addMaxBytes(cmd)
	return cmd
}

func runBrowse(ctx context.Context, p *program, o *reading, paths []string) error {
	if term := p.getenv("TERM"); !p.terminal || term == "dumb" {
		instead := "ls"
		if len(paths) > 1 {
			instead = "diff"
		}
		return fmt.Errorf("browse needs a terminal that it can draw on; 'wtinspect %s' prints its answer anywhere", strings.Join(append([]string{instead}, paths...), " "))
	}
	if len(paths) == 0 {
		paths = []string{"."}
	}
	in, err := o.open(ctx, p, paths)
	if err != nil {
		return err
	}
	defer in.Close()
	if in.failed {
		return &exitError{exitFailed}
	}
	// What is said meanwhile would be in the middle of the screen.
	held := &heldWriter{w: p.stderr}
	p.stderr = held
	source := browse.SourceOf(in.Set, paths, browse.SetOptions{Recursive: o.recursive, Subtree: o.subtree, Workers: o.workers})
	err = browse.Run(ctx, source, browse.Options{Color: p.colors(true), ASCII: !utf8Locale(p.getenv), Env: os.Environ(), Left: held.release})
	if errors.Is(err, browse.ErrInterrupted) {
		p.say("interrupted")
		return &exitError{exitInterrupted}
	}
	return err
}

// utf8Locale reports whether the terminal takes UTF-8, by the variables of POSIX in their
// order (XBD 8.2). Where none is set, as on Windows, it does.
func utf8Locale(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(getenv(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return true
}

// A heldWriter keeps what is written until it is released.
type heldWriter struct {
	mu   sync.Mutex
	w    io.Writer
	held bytes.Buffer
	free bool
}

func (h *heldWriter) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.free {
		return h.w.Write(b)
	}
	return h.held.Write(b)
}

func (h *heldWriter) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.free = true
	_, _ = h.held.WriteTo(h.w) // whoever reads it
}
