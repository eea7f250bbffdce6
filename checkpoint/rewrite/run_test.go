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

	"github.com/wtinspect/wtinspect/checkpoint/internal/image"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/internal/txn/disktest"
)

// A trial is a release on a disk, and the edits of one transaction on it.
type trial struct {
	disk     *disktest.Disk
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
func newTrial(t testing.TB, ft txn.Features, grow int, drop bool) *trial {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, uint64(grow)))
	tr := &trial{disk: disktest.New(ft)}
	tr.disk.MakeDir("/m")
	tr.disk.MakeDir("/m/sub")
	for i, name := range []string{"a", "sub/b"} {
		head := "GGUF" + strings.Repeat("h", 96+700*i) + strings.Repeat(" ", 40)
		data := make([]byte, int(ft.Block)*11+77)
		for j := range data {
			if b := j / int(ft.Block); b != 3 && b != 4 && b != 8 {
				data[j] = byte(rng.Uint32())
			}
		}
		tr.disk.Put("/m/"+name, append([]byte(head), data...))
		st := tr.disk.Stat("/m/" + name)
		n := int64(len(data))
		tensors := []span{{"one", 0, 1000}, {"two", 1000, 2000}, {"empty", 3000, 0}, {"three", 3010, n - 3010}}
		text := "GGUF" + strings.Repeat("N", len(head)-44+grow)
		e := &edit{
			name: name, old: st, named: st, digest: sha256.Sum256([]byte(head)), dataOffset: int64(len(head)), tensors: tensors,
			header: padded(text), least: int64(len(text)), fresh: image.RoundUp(int64(len(text))+6, 64),
		}
		if drop {
			src, err := tr.disk.Read("/m/"+name, 0)
			if err != nil {
				t.Fatal(err)
			}
			e.size = n - 2000
			e.pieces = []image.Piece{{Name: "three", Src: src, Off: e.dataOffset + 3010, Size: n - 3010}, {Name: "one", Src: src, Off: e.dataOffset, Size: 1000, At: n - 3000}}
		}
		tr.edits = append(tr.edits, e)
	}
	tr.disk.Put("/m/x.index.json", []byte(`{"old":1}`))
	st := tr.disk.Stat("/m/x.index.json")
	tr.edits = append(tr.edits, &edit{
		name: "x.index.json", old: st, named: st, dataOffset: st.Size, digest: sha256.Sum256([]byte(`{"old":1}`)), text: []byte(`{"new":22}`),
	})
	tr.disk.Put("/m/README.md", []byte("kept"))
	tr.old = tr.disk.Tree()
	for _, e := range tr.edits {
		if err := e.choose(ft, true, 0); err != nil {
			t.Fatal(err)
		}
	}
	tr.disk.Calls = 0
	return tr
}

func (tr *trial) runner() *runner {
	return &runner{sys: tr.disk, path: func(name string) string { return "/m/" + name }, edits: tr.edits, workers: 1}
}

// ladder is one trial for every step.
var ladder = []struct {
	name string
	ft   txn.Features
	grow int
	drop bool
	want Step
}{
	{"pad", txn.Features{Block: 512, Insert: true, Clone: true}, 20, false, Pad},
	{"insert", txn.Features{Block: 512, Insert: true, Clone: true}, 300, false, Insert},
	{"insert-far", txn.Features{Block: 512, Insert: true}, 2000, false, Insert},
	{"insert-big-block", txn.Features{Block: 4096, Insert: true}, 38, false, Insert},
	{"reflink", txn.Features{Block: 512, Clone: true}, 300, false, Reflink},
	{"copy", txn.Features{Block: 512}, 300, false, Copy},
	{"drop", txn.Features{Block: 512, Insert: true, Clone: true}, 0, true, Copy},
}

func (tr *trial) finish(t *testing.T) {
	t.Helper()
	if _, err := tr.runner().inPlace(context.Background(), "/m"); err != nil {
		t.Fatal(err)
	}
	tr.new = tr.disk.Tree()
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
				tx := tr.runner()
				tx.verify = v
				proofs, err := tx.inPlace(context.Background(), "/m")
				if err != nil {
					t.Fatal(err)
				}
				tr.new = tr.disk.Tree()
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
					by := image.NoDigests
					if digests {
						by = map[Verify]image.Algorithm{VerifyDefault: image.XXH64, VerifyFull: image.SHA256}[v]
					}
					if digests != (p.digests > 0) || p.algorithm != by || v == VerifyNone && p != (proof{}) || v == VerifySampled && p.samples == 0 {
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
	var outcome txn.Outcome
	for attempt := 0; ; attempt++ {
		crashed := false
		if attempt < 3 && rng.IntN(2) == 0 {
			at := rng.IntN(12)
			tr.disk.Fault = func(string, string) (bool, error) {
				if tr.disk.Calls > at {
					crashed, tr.disk.Dead = true, true
					return true, disktest.ErrDead
				}
				return false, nil
			}
		}
		out, err := txn.Recover(context.Background(), tr.disk, "/m", false)
		if outcome == "" || out != txn.Nothing {
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
		tr.disk.Crash(r)
	}
	now := tr.disk.Tree()
	switch {
	case maps.Equal(now, tr.old):
		if outcome == txn.Finished {
			t.Fatalf("%s: said %q, and is the old release", what, outcome)
		}
	case maps.Equal(now, tr.new):
		if outcome == txn.Undone {
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
			total := ref.disk.Calls
			states := map[bool]int{}
			for at := range total + 1 {
				for seed := range seeds {
					rng := rand.New(rand.NewPCG(uint64(at), uint64(seed)))
					power, half := seed > 0, seed%2 == 1
					tr := newTrial(t, l.ft, l.grow, l.drop)
					tr.new = ref.new
					base := tr.disk
					base.Fault = func(string, string) (bool, error) {
						if base.Calls > at {
							base.Dead = true
							return half, disktest.ErrDead
						}
						return false, nil
					}
					_, err := tr.runner().inPlace(context.Background(), "/m")
					if (err == nil) == base.Dead {
						t.Fatalf("crash at call %d of %d: error %v", at, total, err)
					}
					var r *rand.Rand
					if power {
						r = rng
					}
					base.Crash(r)
					tr.settle(t, rng, power, fmt.Sprintf("crash at call %d of %d, seed %d, power %v", at, total, seed, power))
					states[maps.Equal(base.Tree(), tr.new)]++
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
			for at := range ref.disk.Calls {
				for _, fault := range []error{syscall.EINTR, nil, syscall.ENOSPC, syscall.EIO} {
					for _, lasting := range []bool{false, true} {
						if lasting && (fault == nil || fault == syscall.EINTR) {
							continue
						}
						tr := newTrial(t, l.ft, l.grow, l.drop)
						tr.new = ref.new
						tr.disk.Fault = func(call, _ string) (bool, error) {
							if tr.disk.Calls != at+1 && !(lasting && tr.disk.Calls > at) || fault == nil && call != "write" {
								return false, nil
							}
							return call == "write", fault // without an error, a short write
						}
						_, err := tr.runner().inPlace(context.Background(), "/m")
						tr.disk.Fault = nil
						what := fmt.Sprintf("fault %v (lasting: %v) at call %d", fault, lasting, at)
						switch {
						case fault == nil || fault == syscall.EINTR:
							if err != nil || !maps.Equal(tr.disk.Tree(), tr.new) {
								t.Fatalf("%s: not the new release; error %v", what, err)
							}
						case !errors.Is(err, fault):
							t.Fatalf("%s: error %v", what, err)
						case !errors.Is(err, ErrPending) && !maps.Equal(tr.disk.Tree(), tr.old):
							t.Fatalf("%s: a recovery is needed, and the error does not say so: %v", what, err)
						case !lasting && maps.Equal(tr.disk.Tree(), tr.old):
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
			for at := range ref.disk.Calls {
				tr := newTrial(t, l.ft, l.grow, l.drop)
				ctx, cancel := context.WithCancel(context.Background())
				tr.disk.Fault = func(string, string) (bool, error) {
					if tr.disk.Calls == at+1 {
						cancel()
					}
					return false, nil
				}
				_, err := tr.runner().inPlace(ctx, "/m")
				cancel()
				tr.disk.Fault = nil
				switch now := tr.disk.Tree(); {
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
			for at := range ref.disk.Calls {
				for seed := range uint64(seeds) {
					rng := rand.New(rand.NewPCG(uint64(at), seed))
					tr := newTrial(t, l.ft, l.grow, l.drop)
					tr.new = ref.new
					off := at + 1 + rng.IntN(10)
					tr.disk.Fault = func(string, string) (bool, error) {
						switch {
						case tr.disk.Calls > off:
							tr.disk.Dead = true
							return false, disktest.ErrDead
						case tr.disk.Calls == at+1:
							return false, syscall.EIO
						}
						return false, nil
					}
					if _, err := tr.runner().inPlace(context.Background(), "/m"); err == nil {
						t.Fatalf("fault at call %d: no error", at)
					}
					tr.disk.Crash(rng)
					tr.settle(t, rng, true, fmt.Sprintf("fault at call %d, off at call %d, seed %d", at, off, seed))
				}
			}
		})
	}
}

func TestProofs(t *testing.T) {
	r := Report{Files: []FileReport{
		{Step: Copy, Proof: Proof{Method: "samples", Tensors: 1, Samples: 2, Bytes: 3}},
		{Step: Unchanged, Proof: Proof{Method: "digests", Tensors: 9, Bytes: 9}},
		{Step: Copy, Proof: Proof{Method: "digests", Tensors: 4, Bytes: 5, Restored: 6}},
		{Step: Copy, Proof: Proof{Method: "none"}},
		{Step: Reflink, Proof: Proof{Method: "samples", Tensors: 10, Samples: 20, Bytes: 30}},
	}}
	want := []Proof{{Method: "digests", Tensors: 4, Bytes: 5, Restored: 6}, {Method: "samples", Tensors: 11, Samples: 22, Bytes: 33}}
	if got := r.Proofs(); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
