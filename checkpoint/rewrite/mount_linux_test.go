package rewrite

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/internal/txn/crashtest"
	"github.com/wtinspect/wtinspect/internal/txn/faulttest"
)

// scatter writes data in so many places that a shift takes the file system a
// while: every second block of a sparse file.
func scatter(t testing.TB, name string, ranges int) {
	t.Helper()
	must(t, fixture.Write(name, fmt.Sprintf("data sparse\ntensor model.layers.0.ln1.weight U8 [%d]\ntensor model.layers.1.ln1.weight U8 [4096]\n", ranges*8192)))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	block := make([]byte, 4096)
	for i := range ranges {
		for j := range block {
			block[j] = byte(i + j>>3 + 1)
		}
		_, err := f.WriteAt(block, int64(i)*8192+4096)
		must(t, err)
	}
	must(t, f.Sync())
}

// TestShutdown stops file systems in the middle of a rewrite, as a loss of
// power would.
func TestShutdown(t *testing.T) {
	count, err := strconv.Atoi(os.Getenv("WTINSPECT_SHUTDOWNS"))
	if err != nil {
		t.Skip("mounts file systems and takes a while: set WTINSPECT_SHUTDOWNS to how often, and be root")
	}
	for _, tt := range []struct {
		kind string
		fsys faulttest.Limited
		want Step
		// ranges is how scattered the data is: shifting much takes long enough
		// to be caught at it.
		ranges int
	}{
		{"ext4", faulttest.Limited{Insert: true}, Insert, 30_000},
		{"ext4", faulttest.Limited{}, Copy, 4000},
		{"xfs", faulttest.Limited{Insert: true}, Insert, 30_000},
		{"xfs", faulttest.Limited{Clone: true}, Reflink, 4000},
	} {
		t.Run(tt.kind+"/"+string(tt.want), func(t *testing.T) {
			m := crashtest.NewMount(t, tt.kind, 1024)
			rng := rand.New(rand.NewPCG(3, uint64(len(tt.want))))
			states := map[string]int{}
			var took time.Duration
			var want map[string]string
			for i := range count + 1 {
				dir := filepath.Join(m.Dir, fmt.Sprint("m", i))
				must(t, os.Mkdir(dir, 0o755))
				ref := filepath.Join(dir, "model.safetensors")
				scatter(t, ref, tt.ranges)
				write(t, dir, map[string]string{"config.json": `{"quantization_config":{"ignore":["ln1"]}}`})
				m.Sync()
				old := fixture.Snapshot(t, dir)
				before, size := extents(t, ref)
				r, err := checkpoint.Open(context.Background(), ref, nil)
				must(t, err)
				plan := planFor(t, r.Checkpoints[0], parseMap(t, yiToLlama))
				j, err := prepare(context.Background(), tt.fsys, r.Checkpoints[0], plan, nil, &Options{Verify: VerifySampled})
				must(t, err)
				if j.Files[0].Step != tt.want {
					t.Skipf("the step is %q", j.Files[0].Step)
				}
				if i == 0 { // how long it takes, undisturbed
					start := time.Now()
					_, err = j.Run(context.Background(), nil)
					took = time.Since(start)
					must(t, err)
					want = fixture.Snapshot(t, dir)
					must(t, r.Close())
					must(t, os.RemoveAll(dir))
					continue
				}
				// Somebody else's fsync makes the file system write its log.
				stop := make(chan struct{})
				var wg sync.WaitGroup
				wg.Go(func() {
					f, err := os.Create(filepath.Join(m.Dir, "other"))
					if err != nil {
						return
					}
					defer f.Close()
					for {
						select {
						case <-stop:
							return
						default:
							_, _ = f.WriteAt([]byte("x"), 0)
							_ = f.Sync()
						}
					}
				})
				var down error
				wg.Go(func() {
					time.Sleep(time.Duration(rng.Int64N(int64(took) * 5 / 4)))
					down = m.Shutdown()
				})
				_, runErr := j.Run(context.Background(), nil)
				close(stop)
				wg.Wait()
				if down != nil {
					t.Skipf("the file system cannot be shut down: %v", down)
				}
				must(t, r.Close())
				m.Remount()
				found := ""
				if tt.want == Insert {
					found = foundShift(t, ref, before, size)
				}
				outcome, err := Recover(context.Background(), dir, false)
				if err != nil {
					t.Fatalf("crash %d: recovery: %v", i, err)
				}
				got := fixture.Snapshot(t, dir)
				state := "neither"
				switch {
				case maps.Equal(got, old):
					state = "old"
				case maps.Equal(got, want):
					state = "new"
				}
				states[fmt.Sprintf("%s (%s%s)", state, outcome, found)]++
				if state == "neither" || state == "old" && runErr == nil {
					t.Fatalf("crash %d: the release is %s (recovery: %q, run: %v)", i, state, outcome, runErr)
				}
				must(t, os.RemoveAll(dir))
			}
			t.Logf("%v a rewrite; %v", took, states)
		})
	}
}

// extents is the map of a file behind its header.
func extents(t *testing.T, ref string) (m []txn.Extent, size int64) {
	t.Helper()
	f, err := txn.OS{}.Read(ref, 0)
	must(t, err)
	defer f.Close()
	st, err := f.Stat()
	must(t, err)
	m, err = f.Extents()
	must(t, err)
	return slices.DeleteFunc(m, func(e txn.Extent) bool { return e.Start < 16<<10 }), st.Size
}

// foundShift says where a crash left the room that was being made in a file that
// had another map and size before.
func foundShift(t *testing.T, ref string, before []txn.Extent, size int64) string {
	t.Helper()
	now, nowSize := extents(t, ref)
	moved := make([]txn.Extent, len(before))
	for i, e := range before {
		moved[i] = txn.Extent{Start: e.Start + nowSize - size, End: e.End + nowSize - size}
	}
	switch {
	case slices.Equal(now, before):
		return ", not shifted"
	case slices.Equal(now, moved):
		return ", shifted"
	}
	return ", partly shifted"
}

func mountBench(b *testing.B, kind string) string {
	b.Helper()
	return crashtest.NewMount(b, kind, 2048).Dir
}
