package assemble

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/internal/values"
)

const sharded = `
meta format pt
file model-00001-of-00003.safetensors
tensor model.embed_tokens.weight BF16 [64,32]
tensor model.layers.{0..2}.norm.weight BF16 [32]
file model-00002-of-00003.safetensors
tensor model.layers.{0..2}.q_proj.weight BF16 [32,32]
tensor scalar F32 []
tensor empty F32 [0,4]
file model-00003-of-00003.safetensors
tensor "größe 𝄞 \"x\"" BF16 [8,32]
tensor lm_head.weight F32 [64,32]
`

const llamaGGUF = `
format gguf
kv general.architecture str llama
kv general.name str small
kv tokenizer.ggml.tokens [str] a b c
tensor token_embd.weight F32 [64,32]
tensor blk.{0..5}.ln1.weight F32 [33]
tensor blk.{0..5}.attn_q.weight Q4_0 [32,32]
tensor output_norm.weight F32 [32]
`

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, ref string) *checkpoint.Checkpoint {
	t.Helper()
	r, err := checkpoint.Open(context.Background(), ref, nil)
	must(t, err)
	t.Cleanup(func() { r.Close() })
	if len(r.Checkpoints) != 1 {
		t.Fatalf("%s: %d checkpoints", ref, len(r.Checkpoints))
	}
	return r.Checkpoints[0]
}

// specOf is the spec of a copy of a checkpoint.
func specOf(t testing.TB, c *checkpoint.Checkpoint) *Spec {
	t.Helper()
	s := &Spec{Format: c.Format, Sources: []*checkpoint.Checkpoint{c}}
	for i := range c.Len() {
		tensor, err := Stored(c, i)
		must(t, err)
		s.Tensors = append(s.Tensors, tensor)
	}
	s.Metadata, _ = Metadata(c)
	return s
}

func run(t testing.TB, sys txn.System, s *Spec, opts *Options) (*Job, *rewrite.Report) {
	t.Helper()
	j, err := prepare(t.Context(), sys, s, opts)
	must(t, err)
	r, err := j.Run(t.Context(), nil)
	must(t, err)
	return j, r
}

// tensorsOf returns every tensor of a valid checkpoint as a line, with its digest.
func tensorsOf(t testing.TB, ref string) []string {
	t.Helper()
	c := open(t, ref)
	var out []string
	for i, tensor := range c.All() {
		r, err := c.Data(i)
		must(t, err)
		data := make([]byte, r.Size())
		if _, err := r.ReadAt(data, 0); err != nil && len(data) > 0 {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %s %v %x", tensor.Name, tensor.DType, tensor.Shape, sha256.Sum256(data)))
	}
	for _, f := range c.Validate(t.Context()) {
		if f.Severity == checkpoint.Error {
			t.Errorf("%s: %v", ref, f)
		}
	}
	return out
}

func names(t testing.TB, dir string) []string {
	return slices.Sorted(maps.Keys(fixture.Snapshot(t, dir)))
}

// TestShards puts a release into one file and takes it apart again, by every way to
// compare what was written.
func TestShards(t *testing.T) {
	for _, v := range []rewrite.Verify{rewrite.VerifyDefault, rewrite.VerifyFull, rewrite.VerifySampled, rewrite.VerifyNone} {
		t.Run("verify="+string(v), func(t *testing.T) {
			top := t.TempDir()
			src := filepath.Join(top, "src")
			must(t, fixture.Sharded(src, sharded))
			want := tensorsOf(t, src)

			single := filepath.Join(top, "one.safetensors")
			job, report := run(t, txn.OS{}, specOf(t, open(t, src)), &Options{Output: single, Verify: v})
			if got := tensorsOf(t, single); !slices.Equal(got, want) {
				t.Errorf("one file:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if len(job.Files) != 1 || job.Files[0].Tensors != len(want) || len(report.Files) != 1 || len(report.Documents) != 0 {
				t.Errorf("job %+v, report %+v", job.Files, report)
			}
			by := map[rewrite.Verify]string{rewrite.VerifyDefault: "xxh64", rewrite.VerifyFull: "sha256"}[v]
			if p := report.Files[0].Proof; p.Algorithm != by || by != "" && (p.Method != rewrite.ProofDigests || p.Tensors != len(want)) {
				t.Errorf("the proof is %+v", p)
			}

			again := filepath.Join(top, "again")
			s := specOf(t, open(t, single))
			s.Layout.MaxShardSize = 6144
			job, _ = run(t, txn.OS{}, s, &Options{Output: again, Verify: v})
			if got := tensorsOf(t, again); !slices.Equal(got, want) {
				t.Errorf("shards:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			for i, n := range []int{4, 3, 3, 1} {
				if f := job.Files[i]; f.Tensors != n || f.Over != (i == 3) {
					t.Errorf("file %d: %+v, and it should have %d tensors", i, f, n)
				}
			}
			if got, want := names(t, again), []string{"model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors", "model-00003-of-00004.safetensors", "model-00004-of-00004.safetensors", "model.safetensors.index.json"}; !slices.Equal(got, want) {
				t.Errorf("files %q, want %q", got, want)
			}
			if v := open(t, again).Metadata(); len(v) != 1 || v[0].Key != "format" || v[0].Text != "pt" || v[0].File != -1 {
				t.Errorf("metadata %+v", v)
			}
		})
	}
}

// contentID is the content id of a checkpoint.
func contentID(t testing.TB, ref string) [sha256.Size]byte {
	t.Helper()
	c := open(t, ref)
	var list []values.TensorDigest
	for i, tensor := range c.All() {
		r, err := c.Data(i)
		must(t, err)
		h := sha256.New()
		_, err = io.Copy(h, r)
		must(t, err)
		list = append(list, values.TensorDigest{DType: tensor.DType, Shape: tensor.Shape, SHA256: [sha256.Size]byte(h.Sum(nil))})
	}
	return values.ContentID(list)
}

// TestManyShards: a model of many experts in 163 shards becomes one file and 163 again,
// with every tensor in its place.
func TestManyShards(t *testing.T) {
	shards := 163
	if testing.Short() {
		shards = 13
	}
	top := t.TempDir()
	src := filepath.Join(top, "src")
	var text strings.Builder
	for i := range shards {
		fmt.Fprintf(&text, "file model-%05d-of-%05d.safetensors\ntensor model.layers.%d.mlp.experts.{0..139}.up_proj.weight BF16 [4,8]\n", i+1, shards, i)
	}
	must(t, fixture.Sharded(src, text.String()))
	want, id := tensorsOf(t, src), contentID(t, src)

	one, again := filepath.Join(top, "one.safetensors"), filepath.Join(top, "again")
	run(t, txn.OS{}, specOf(t, open(t, src)), &Options{Output: one})
	s := specOf(t, open(t, one))
	s.Layout.MaxShardSize = 140 * 64
	j, err := Prepare(t.Context(), s, &Options{Output: again})
	must(t, err)
	work := j.Work()
	var done atomic.Int64
	_, err = j.Run(t.Context(), func(n, total int64) {
		if total != work || n > total {
			t.Errorf("progress %d of %d, and %d was announced", n, total, work)
		}
		done.Store(max(done.Load(), n))
	})
	must(t, err)
	if n := done.Load(); n != work {
		t.Errorf("progress ended at %d of %d", n, work)
	}
	if len(j.Files) != shards {
		t.Errorf("%d files", len(j.Files))
	}
	if got := tensorsOf(t, again); !slices.Equal(got, want) || contentID(t, one) != id || contentID(t, again) != id {
		t.Error("a tensor is another one, or somewhere else")
	}
	before, after := fixture.Snapshot(t, src), fixture.Snapshot(t, again)
	if !maps.EqualFunc(before, after, func(a, b string) bool { return true }) {
		t.Errorf("files %q", slices.Sorted(maps.Keys(after)))
	}
	// Where each tensor is, as any reader of indexes has it.
	a, b := open(t, src), open(t, again)
	for i, tensor := range a.All() {
		if now := b.At(i); a.Files[tensor.File].Name != b.Files[now.File].Name {
			t.Fatalf("%s went from %s to %s", tensor.Name, a.Files[tensor.File].Name, b.Files[now.File].Name)
		}
	}
}

// TestUnion puts files together that have a tensor of one name.
func TestUnion(t *testing.T) {
	dir := t.TempDir()
	var list []*checkpoint.Checkpoint
	for i, text := range []string{"tensor a F32 [4]\ntensor b F32 [4]\n", "tensor b F32 [4] hex=01020304\ntensor c F32 [4]\n"} {
		name := filepath.Join(dir, fmt.Sprintf("%d.safetensors", i))
		must(t, fixture.Write(name, fmt.Sprintf("meta format pt\nmeta part %d\n%s", i, text)))
		list = append(list, open(t, name))
	}
	u, _, err := checkpoint.Union(list, checkpoint.PreferLast)
	must(t, err)
	s := specOf(t, u)
	kvs, differ := Metadata(u)
	if len(kvs) != 2 || !slices.Equal(differ, []string{"part"}) {
		t.Errorf("metadata %+v, differ %q", kvs, differ)
	}
	s.Layout.MaxShardSize = 32
	out := filepath.Join(dir, "out") // beside the sources, which are files
	run(t, txn.OS{}, s, &Options{Output: out})
	one, two := tensorsOf(t, list[0].Path), tensorsOf(t, list[1].Path)
	if got, want := tensorsOf(t, out), []string{one[0], two[0], two[1]}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
