package faulttest

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// A Job writes a result beside its sources, once.
type Job func(ctx context.Context) error

// Sweep fails each call in turn that a job makes to write, and cancels at each: the sources
// stay, nothing is left behind, and who reports success has a result. sources makes
// them in an empty directory and says where; prepare makes the job on a system, whose result goes
// to out, of the given name in that directory.
func Sweep(t *testing.T, name string, sources func(t *testing.T, top string) (ref string), prepare func(ctx context.Context, t *testing.T, sys txn.System, ref, out string) Job) {
	for _, fault := range []error{syscall.ENOSPC, syscall.EINTR, context.Canceled} {
		t.Run(fault.Error(), func(t *testing.T) {
			t.Parallel()
			for at := 1; ; at++ {
				top := t.TempDir()
				ref, out := sources(t, top), filepath.Join(top, name)
				all := fixture.Snapshot(t, top)
				ctx, cancel := context.WithCancel(t.Context())
				state := &Faults{At: 1 << 30, Err: fault, Once: true}
				job := prepare(ctx, t, Faulty(state, nil), ref, out)
				state.Calls, state.At = 0, at
				if fault == context.Canceled {
					state.Cancel = cancel
				}
				err := job(ctx)
				cancel()
				if state.Calls < at {
					if err != nil {
						t.Fatal(err)
					}
					break
				}
				got := fixture.Snapshot(t, top)
				switch {
				case fault == syscall.EINTR && err != nil:
					t.Fatalf("call %d: %v", at, err)
				case err == nil:
					if _, err := os.Stat(out); err != nil {
						t.Fatalf("call %d: success without a result: %v", at, err)
					}
				case !errors.Is(err, fault):
					t.Fatalf("call %d: %v", at, err)
				case !maps.Equal(got, all):
					// The result may be there when only making its name durable failed.
					for name := range got {
						if strings.Contains(name, ".wtinspect") {
							t.Fatalf("call %d: %s was left behind (%v)", at, name, err)
						}
					}
				}
			}
		})
	}
}
