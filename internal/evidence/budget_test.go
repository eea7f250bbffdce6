package evidence

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/hubtest"
	"github.com/wtinspect/wtinspect/internal/remote"
	"github.com/wtinspect/wtinspect/rename/infer"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// large writes releases of the size of Llama-2-7B, one with the usual tensors and one with
// fused ones, as holes in files.
func large(t *testing.T, dir string) (plain, fused string) {
	t.Helper()
	plain, fused = filepath.Join(dir, "plain"), filepath.Join(dir, "fused")
	var a, b strings.Builder
	for i, w := range []*strings.Builder{&a, &b} {
		w.WriteString("data sparse\n")
		for part := range 4 {
			fmt.Fprintf(w, "file model-%05d-of-00004.safetensors\n", part+1)
			if part == 0 {
				w.WriteString("tensor model.embed_tokens.weight BF16 [32000,4096]\ntensor lm_head.weight BF16 [32000,4096]\ntensor model.norm.weight BF16 [4096]\n")
			}
			l := fmt.Sprintf("model.layers.{%d..%d}.", 8*part, 8*part+7)
			for _, n := range []string{"input_layernorm.weight BF16 [4096]", "post_attention_layernorm.weight BF16 [4096]", "self_attn.o_proj.weight BF16 [4096,4096]", "mlp.down_proj.weight BF16 [4096,11008]"} {
				fmt.Fprintf(w, "tensor %s%s\n", l, n)
			}
			if i == 1 {
				fmt.Fprintf(w, "tensor %sself_attn.qkv_proj.weight BF16 [12288,4096]\ntensor %smlp.gate_up_proj.weight BF16 [22016,4096]\n", l, l)
				continue
			}
			for _, n := range []string{"q_proj.weight BF16 [4096,4096]", "k_proj.weight BF16 [4096,4096]", "v_proj.weight BF16 [4096,4096]"} {
				fmt.Fprintf(w, "tensor %sself_attn.%s\n", l, n)
			}
			for _, n := range []string{"gate_proj.weight BF16 [11008,4096]", "up_proj.weight BF16 [11008,4096]"} {
				fmt.Fprintf(w, "tensor %smlp.%s\n", l, n)
			}
		}
	}
	for d, text := range map[string]string{plain: a.String(), fused: b.String()} {
		fixture.Release(t, d, map[string]string{"model.fixture": text})
	}
	return plain, fused
}

// ask asks what telling the tensors of two models apart takes: every pair of one shape in
// three layers, and every layout of what is fused.
func ask(t *testing.T, w *Weights, fused bool) {
	t.Helper()
	var pairs []infer.Pair
	pair := func(names ...string) {
		for _, a := range names {
			for _, b := range names {
				pairs = append(pairs, infer.Pair{A: a, B: b})
			}
		}
	}
	pair("model.embed_tokens.weight", "lm_head.weight")
	pair("model.norm.weight")
	for _, l := range []int{0, 16, 31} {
		at := func(n string) string { return fmt.Sprintf("model.layers.%d.%s.weight", l, n) }
		pair(at("input_layernorm"), at("post_attention_layernorm"))
		pair(at("mlp.down_proj"))
		if !fused {
			pair(at("self_attn.q_proj"), at("self_attn.k_proj"), at("self_attn.v_proj"), at("self_attn.o_proj"))
			pair(at("mlp.gate_proj"), at("mlp.up_proj"))
			continue
		}
		pair(at("self_attn.o_proj"))
		var ways [][]tensorop.Op
		for _, dim := range []int64{128, 64} {
			for _, ops := range fusedWays(4096/dim, 4096/dim, dim) {
				ways = append(ways, ops)
			}
		}
		if _, err := w.Layouts(t.Context(), []string{at("self_attn.qkv_proj")}, []string{at("self_attn.q_proj"), at("self_attn.k_proj"), at("self_attn.v_proj")}, ways); err != nil {
			t.Fatal(err)
		}
		split, swap := tensorop.Op{Kind: tensorop.Split, Count: 1}, tensorop.Op{Kind: tensorop.Swap, Count: 2}
		interleaved := tensorop.Op{Kind: tensorop.Split, Count: 1, Layout: tensorop.Interleaved}
		ways = [][]tensorop.Op{{split}, {split, swap}, {interleaved}, {interleaved, swap}}
		if _, err := w.Layouts(t.Context(), []string{at("mlp.gate_up_proj")}, []string{at("mlp.gate_proj"), at("mlp.up_proj")}, ways); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Alike(t.Context(), pairs); err != nil {
		t.Fatal(err)
	}
}

// What is read of a model of 7 billion parameters is less than 1 % of it, and of a server little more in
// a number of requests that it does not mind.
func TestBudget(t *testing.T) {
	dir := t.TempDir()
	plain, fused := large(t, dir)
	hub := hubtest.New(t)
	for _, d := range []string{plain, fused} {
		if _, err := hub.Repo("org/" + filepath.Base(d)).CommitDir(d); err != nil {
			t.Fatal(err)
		}
	}
	settings, err := remote.ReadSettings(t.Context(), func(name string) string { return map[string]string{"HF_ENDPOINT": hub.URL}[name] })
	if err != nil {
		t.Fatal(err)
	}
	client, err := remote.NewClient(remote.Options{Settings: settings, NoCache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	tests := []struct {
		a, b     string
		fused    bool
		share    float64 // of the bytes of one model
		requests int
	}{
		{plain, plain, false, 1e-3, 0},
		{fused, plain, true, 1e-2, 0},
		{"hf://org/plain", "hf://org/plain", false, 0, 60},
		{"hf://org/fused", "hf://org/plain", true, 0, 300},
	}
	for _, tt := range tests {
		hub.ClearLog()
		_, _, before := hub.Counts()
		ctx := client.Places(t.Context())
		var list [2]*checkpoint.Checkpoint
		bytes := int64(0)
		for i, ref := range []string{tt.a, tt.b} {
			r, err := checkpoint.Open(ctx, ref, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			list[i] = r.Checkpoints[0]
		}
		for _, x := range list[1].All() {
			bytes += int64(x.Bytes)
		}
		opened := len(hub.Requests())
		w := beside(t, list[0], list[1])
		ask(t, w, tt.fused)
		_, _, after := hub.Counts()
		requests := len(hub.Requests()) - opened
		t.Logf("%s, %s: read %.1f MB, %.2f %% of one; %d requests, %.1f MB sent", filepath.Base(tt.a), filepath.Base(tt.b), float64(w.Read())/1e6, 100*float64(w.Read())/float64(bytes), requests, float64(after-before)/1e6)
		if tt.share > 0 && float64(w.Read()) > tt.share*float64(bytes) {
			t.Errorf("%s, %s: read %d of %d bytes", tt.a, tt.b, w.Read(), bytes)
		}
		if tt.requests > 0 && requests > tt.requests {
			t.Errorf("%s, %s: %d requests", tt.a, tt.b, requests)
		}
	}
}
