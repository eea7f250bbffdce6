package rewrite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A trial is a release on a disk, and the edits of one transaction on it.
type trial struct {
	disk     *disk
	edits    []*edit
	old, new map[string]string
}

// padded is a header of a make-believe format: text, then spaces. It can end
// anywhere, but not within six bytes of its text unless it ends with it: as
// in GGUF, where padding is a record with a smallest size.
func padded(text string) func(int64) ([]byte, error) {
	return func(at int64) ([]byte, error) {
		if at < int64(len(text)) || at > int64(len(text)) && at < int64(len(text))+6 {
			return nil, errNoFit
		}
		return append([]byte(text), bytes.Repeat([]byte(" "), int(at)-len(text))...), nil
	}
}

// newTrial builds a release of a few files with holes in their data.
// grow is by how much the names make each header longer.
func newTrial(t testing.TB, ft features, grow int, drop bool) *trial {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, uint64(grow)))
	tr := &trial{disk: newDisk(ft)}
	if err := tr.disk.Mkdir("/m", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := tr.disk.Mkdir("/m/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	tr.disk.root.sync()
	tr.disk.root.now.entries["m"].sync()
	for i, name := range []string{"a", "sub/b"} {
		head := "GGUF" + strings.Repeat("h", 96+700*i) + strings.Repeat(" ", 40)
		data := make([]byte, int(ft.Block)*11+77)
		for j := range data {
			if b := j / int(ft.Block); b != 3 && b != 4 && b != 8 {
				data[j] = byte(rng.Uint32())
			}
		}
		tr.disk.put("/m/"+name, append([]byte(head), data...))
		st, err := tr.disk.Lstat("/m/" + name)
		if err != nil {
			t.Fatal(err)
		}
		n := int64(len(data))
		tensors := []span{{"one", 0, 1000}, {"two", 1000, 2000}, {"empty", 3000, 0}, {"three", 3010, n - 3010}}
		text := "GGUF" + strings.Repeat("N", len(head)-44+grow)
		e := &edit{
			name: name, old: st, digest: sha256.Sum256([]byte(head)), dataOffset: int64(len(head)), tensors: tensors,
			header: padded(text), least: int64(len(text)), fresh: roundUp(int64(len(text))+6, 64),
		}
		if drop {
			src, err := tr.disk.Open("/m/"+name, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			e.size = n - 2000
			e.pieces = []piece{{"three", src, e.dataOffset + 3010, n - 3010, 0}, {"one", src, e.dataOffset, 1000, n - 3000}}
		}
		tr.edits = append(tr.edits, e)
	}
	tr.disk.put("/m/x.index.json", []byte(`{"old":1}`))
	st, err := tr.disk.Lstat("/m/x.index.json")
	if err != nil {
		t.Fatal(err)
	}
	tr.edits = append(tr.edits, &edit{
		name: "x.index.json", old: st, dataOffset: st.Size, digest: sha256.Sum256([]byte(`{"old":1}`)), text: []byte(`{"new":22}`),
	})
	tr.disk.put("/m/README.md", []byte("kept"))
	tr.old = tr.disk.tree()
	for _, e := range tr.edits {
		if err := e.choose(ft, true, 0); err != nil {
			t.Fatal(err)
		}
	}
	tr.disk.calls = 0
	return tr
}

func (tr *trial) transaction() *transaction {
	return &transaction{fsys: tr.disk, dir: "/m", edits: tr.edits, workers: 1}
}

// ladder is one trial for every step.
var ladder = []struct {
	name string
	ft   features
	grow int
	drop bool
	want Step
}{
	{"pad", features{Block: 512, Insert: true, Clone: true}, 20, false, Pad},
	{"insert", features{Block: 512, Insert: true, Clone: true}, 300, false, Insert},
	{"insert-far", features{Block: 512, Insert: true}, 2000, false, Insert},
	{"insert-big-block", features{Block: 4096, Insert: true}, 38, false, Insert},
	{"reflink", features{Block: 512, Clone: true}, 300, false, Reflink},
	{"copy", features{Block: 512}, 300, false, Copy},
	{"drop", features{Block: 512, Insert: true, Clone: true}, 0, true, Copy},
}

func (tr *trial) finish(t *testing.T) {
	t.Helper()
	if _, err := tr.transaction().run(context.Background()); err != nil {
		t.Fatal(err)
	}
	tr.new = tr.disk.tree()
}

func TestTransaction(t *testing.T) {
	for _, l := range ladder {
		t.Run(l.name, func(t *testing.T) {
			for _, v := range []Verify{VerifyDefault, VerifyFull, VerifySampled, VerifyNone} {
				tr := newTrial(t, l.ft, l.grow, l.drop)
				for _, e := range tr.edits[:2] {
					if e.step != l.want {
						t.Fatalf("%s: step %q, want %q", e.name, e.step, l.want)
					}
				}
				tx := tr.transaction()
				tx.verify = v
				proofs, err := tx.run(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				tr.new = tr.disk.tree()
				if got, want := slices.Sorted(maps.Keys(tr.new)), slices.Sorted(maps.Keys(tr.old)); !slices.Equal(got, want) {
					t.Fatalf("files %q, want %q", got, want)
				}
				for i, e := range tr.edits[:2] {
					was, is := tr.old["/m/"+e.name], tr.new["/m/"+e.name]
					data := was[e.dataOffset:]
					if l.drop {
						data = data[3010:] + data[:1000]
						if pad := len(is) - int(e.newOffset) - len(data); pad > 0 {
							data = data[:len(data)-1000] + strings.Repeat("\x00", pad) + data[len(data)-1000:]
						}
					}
					if is != string(e.newHeader)+data {
						t.Errorf("%s: %s: wrong content after %s", e.name, v, l.want)
					}
					p := proofs[i]
					digests := v == VerifyFull || v == VerifyDefault && l.want == Copy
					if digests != (p.digests > 0) || v == VerifyNone && p != (proof{}) || v == VerifySampled && p.samples == 0 {
						t.Errorf("%s: verify %q: proof %+v", e.name, v, p)
					}
				}
				if tr.new["/m/x.index.json"] != `{"new":22}` || tr.new["/m/README.md"] != "kept" {
					t.Errorf("documents: %q, %q", tr.new["/m/x.index.json"], tr.new["/m/README.md"])
				}
			}
		})
	}
}

// settle recovers, with a crash at a random call of the recovery now and
// then, and checks that the release is the old one or the new one, whole.
func (tr *trial) settle(t *testing.T, rng *rand.Rand, power bool, what string) {
	t.Helper()
	var outcome Outcome
	for attempt := 0; ; attempt++ {
		crashed := false
		if attempt < 3 && rng.IntN(2) == 0 {
			at := rng.IntN(12)
			tr.disk.fault = func(string, string) (bool, error) {
				if tr.disk.calls > at {
					crashed, tr.disk.dead = true, true
					return true, errDead
				}
				return false, nil
			}
		}
		out, err := recoverDir(context.Background(), tr.disk, "/m")
		if outcome == "" || out != Nothing {
			outcome = out
		}
		if err == nil && !crashed {
			break
		}
		if !crashed {
			t.Fatalf("%s: recovery: %v", what, err)
		}
		var r *rand.Rand
		if power {
			r = rng
		}
		tr.disk.crash(r)
	}
	now := tr.disk.tree()
	switch {
	case maps.Equal(now, tr.old):
		if outcome == Finished {
			t.Fatalf("%s: said %q, and is the old release", what, outcome)
		}
	case maps.Equal(now, tr.new):
		if outcome == Undone {
			t.Fatalf("%s: said %q, and is the new release", what, outcome)
		}
	default:
		for name, c := range now {
			t.Logf("%s: old %v new %v", name, c == tr.old[name], c == tr.new[name])
		}
		t.Fatalf("%s: neither the old release nor the new one (recovery: %q)", what, outcome)
	}
}

// TestCrashAnywhere stops the machine at every call that changes something,
// before the call and half-way through it, with and without a loss of power,
// and again within the recovery.
func TestCrashAnywhere(t *testing.T) {
	seeds := 12
	if testing.Short() {
		seeds = 3
	}
	for _, l := range ladder {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			ref := newTrial(t, l.ft, l.grow, l.drop)
			ref.finish(t)
			total := ref.disk.calls
			states := map[bool]int{}
			for at := range total + 1 {
				for seed := range seeds {
					rng := rand.New(rand.NewPCG(uint64(at), uint64(seed)))
					power, half := seed > 0, seed%2 == 1
					tr := newTrial(t, l.ft, l.grow, l.drop)
					tr.new = ref.new
					base := tr.disk
					base.fault = func(string, string) (bool, error) {
						if base.calls > at {
							base.dead = true
							return half, errDead
						}
						return false, nil
					}
					_, err := tr.transaction().run(context.Background())
					if (err == nil) == base.dead {
						t.Fatalf("crash at call %d of %d: error %v", at, total, err)
					}
					var r *rand.Rand
					if power {
						r = rng
					}
					base.crash(r)
					tr.settle(t, rng, power, fmt.Sprintf("crash at call %d of %d, seed %d, power %v", at, total, seed, power))
					states[maps.Equal(base.tree(), tr.new)]++
				}
			}
			t.Logf("%d calls; ended old %d, new %d times", total, states[false], states[true])
			if states[false] == 0 || states[true] == 0 {
				t.Error("the crashes did not reach both sides of the mark")
			}
		})
	}
}

// TestFaults fails every call once, or every call from one on, in every way.
func TestFaults(t *testing.T) {
	for _, l := range ladder {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			ref := newTrial(t, l.ft, l.grow, l.drop)
			ref.finish(t)
			for at := range ref.disk.calls {
				for _, fault := range []error{syscall.EINTR, nil, syscall.ENOSPC, syscall.EIO} {
					for _, lasting := range []bool{false, true} {
						if lasting && (fault == nil || fault == syscall.EINTR) {
							continue
						}
						tr := newTrial(t, l.ft, l.grow, l.drop)
						tr.new = ref.new
						tr.disk.fault = func(call, _ string) (bool, error) {
							if tr.disk.calls != at+1 && !(lasting && tr.disk.calls > at) || fault == nil && call != "write" {
								return false, nil
							}
							return call == "write", fault // without an error, a short write
						}
						_, err := tr.transaction().run(context.Background())
						tr.disk.fault = nil
						what := fmt.Sprintf("fault %v (lasting: %v) at call %d", fault, lasting, at)
						switch {
						case fault == nil || fault == syscall.EINTR:
							if err != nil || !maps.Equal(tr.disk.tree(), tr.new) {
								t.Fatalf("%s: not the new release; error %v", what, err)
							}
						case !errors.Is(err, fault):
							t.Fatalf("%s: error %v", what, err)
						case !errors.Is(err, ErrPending) && !maps.Equal(tr.disk.tree(), tr.old):
							t.Fatalf("%s: a recovery is needed, and the error does not say so: %v", what, err)
						case !lasting && maps.Equal(tr.disk.tree(), tr.old):
						default:
							tr.settle(t, rand.New(rand.NewPCG(uint64(at), 1)), false, what)
						}
					}
				}
			}
		})
	}
}

// TestCancel cancels at every call: nothing has changed, or everything has.
func TestCancel(t *testing.T) {
	for _, l := range ladder {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			ref := newTrial(t, l.ft, l.grow, l.drop)
			ref.finish(t)
			for at := range ref.disk.calls {
				tr := newTrial(t, l.ft, l.grow, l.drop)
				ctx, cancel := context.WithCancel(context.Background())
				tr.disk.fault = func(string, string) (bool, error) {
					if tr.disk.calls == at+1 {
						cancel()
					}
					return false, nil
				}
				_, err := tr.transaction().run(ctx)
				cancel()
				tr.disk.fault = nil
				switch now := tr.disk.tree(); {
				case err == nil && maps.Equal(now, ref.new):
				case errors.Is(err, context.Canceled) && maps.Equal(now, tr.old):
				default:
					t.Fatalf("canceled at call %d: %v; old %v, new %v", at, err, maps.Equal(now, tr.old), maps.Equal(now, ref.new))
				}
			}
		})
	}
}

// TestFaultThenCrash fails a call, and turns the machine off while the
// transaction is being undone.
func TestFaultThenCrash(t *testing.T) {
	seeds := 16
	if testing.Short() {
		seeds = 4
	}
	for _, l := range ladder {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			ref := newTrial(t, l.ft, l.grow, l.drop)
			ref.finish(t)
			for at := range ref.disk.calls {
				for seed := range uint64(seeds) {
					rng := rand.New(rand.NewPCG(uint64(at), seed))
					tr := newTrial(t, l.ft, l.grow, l.drop)
					tr.new = ref.new
					off := at + 1 + rng.IntN(10)
					tr.disk.fault = func(string, string) (bool, error) {
						switch {
						case tr.disk.calls > off:
							tr.disk.dead = true
							return false, errDead
						case tr.disk.calls == at+1:
							return false, syscall.EIO
						}
						return false, nil
					}
					if _, err := tr.transaction().run(context.Background()); err == nil {
						t.Fatalf("fault at call %d: no error", at)
					}
					tr.disk.crash(rng)
					tr.settle(t, rng, true, fmt.Sprintf("fault at call %d, off at call %d, seed %d", at, off, seed))
				}
			}
		})
	}
}

func TestGap(t *testing.T) {
	old := []extent{{0, 10}, {12, 30}, {40, 41}}
	for at := int64(0); at <= 45; at++ {
		now := append(before(old, at), from(old, at, 4)...)
		got, ok := gap(old, now, 4)
		if !ok {
			t.Errorf("gap at %d is not found in %v", at, now)
			continue
		}
		if back := append(before(now, got), from(now, got+4, -4)...); at < 41 && !equalMerged(back, old) {
			t.Errorf("gap at %d taken for one at %d", at, got)
		}
	}
	if at, ok := gap(old, []extent{{0, 9}, {13, 34}}, 4); ok {
		t.Errorf("a foreign map is explained by a gap at %d", at)
	}
}

func equalMerged(a, b []extent) bool {
	var out []extent
	for _, e := range a {
		if n := len(out); n > 0 && out[n-1].End == e.Start {
			out[n-1].End = e.End
		} else {
			out = append(out, e)
		}
	}
	return slices.Equal(out, b)
}
