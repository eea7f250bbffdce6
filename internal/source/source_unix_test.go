//go:build unix

package source_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/wtinspect/wtinspect/internal/source"
)

// Opening a pipe without a writer would wait for ever.
func TestOpenPipe(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(name, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := source.Open(t.Context(), name); err == nil || !strings.Contains(err.Error(), "a pipe") {
		t.Errorf("error %v", err)
	}
}
