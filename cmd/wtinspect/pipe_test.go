package main

import (
	"bytes"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// A reader that goes away, as head does, is no failure; a full disk is.
func TestBrokenPipe(t *testing.T) {
	path := fixture.File(t, "model.safetensors", "tensor w F32 [2]")
	for _, args := range [][]string{{"ls"}, {"ls", "-f", "json"}, {"info"}, {"info", "-f", "jsonl"}, {"meta", "show", "-f", "csv"}} {
		args = append(args, path)
		for err, want := range map[error]int{syscall.EPIPE: exitOK, errors.New("disk full"): exitFailed} {
			var errs bytes.Buffer
			code := run(t.Context(), args, strings.NewReader(""), failingWriter{err}, &errs)
			if code != want || (errs.Len() > 0) != (want == exitFailed) {
				t.Errorf("%v: exit %d after %v: %s", args, code, err, &errs)
			}
		}
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }
