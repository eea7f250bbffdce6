package source_test

import (
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/wtinspect/wtinspect/internal/source"
)

// A file that another program holds a lease on, as a file server does, is
// opened when that has given it up.
func TestOpenLeased(t *testing.T) {
	name := filepath.Join(t.TempDir(), "leased")
	if err := os.WriteFile(name, []byte("hello"), 0o666); err != nil {
		t.Fatal(err)
	}
	holder, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	lease := func(kind uintptr) error {
		if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, holder.Fd(), syscall.F_SETLEASE, kind); errno != 0 {
			return errno
		}
		return nil
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGIO)
	defer signal.Stop(asked)
	if err := lease(syscall.F_WRLCK); err != nil {
		t.Skipf("no leases here: %v", err)
	}
	gone := make(chan error)
	go func() {
		<-asked
		gone <- lease(syscall.F_UNLCK)
	}()
	data, err := source.ReadFile(t.Context(), name, source.Document)
	if err != nil || string(data) != "hello" {
		t.Errorf("%q, %v", data, err)
		return
	}
	if err := <-gone; err != nil {
		t.Error(err)
	}
}
