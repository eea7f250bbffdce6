//go:build amd64 || arm64

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/hubtest"
	"github.com/wtinspect/wtinspect/internal/txn/crashtest"
)

// yiShards is a release in the shape of Yi's first one, of 24 MB: a file is more than
// its first ranges.
const yiShards = `meta format pt
file model-00001-of-00002.safetensors
tensor model.embed_tokens.weight BF16 [1024,512]
tensor model.layers.{0..1}.self_attn.q_proj.weight BF16 [512,512]
tensor model.layers.{0..1}.self_attn.k_proj.weight BF16 [256,512]
tensor model.layers.{0..1}.self_attn.v_proj.weight BF16 [256,512]
tensor model.layers.{0..1}.self_attn.o_proj.weight BF16 [512,512]
tensor model.layers.{0..1}.mlp.gate_proj.weight BF16 [1408,512]
tensor model.layers.{0..1}.mlp.down_proj.weight BF16 [512,1408]
tensor model.layers.{0..1}.mlp.up_proj.weight BF16 [1408,512]
tensor model.layers.{0..1}.ln1.weight BF16 [512]
tensor model.layers.{0..1}.ln2.weight BF16 [512]
file model-00002-of-00002.safetensors
tensor model.layers.{2..3}.self_attn.q_proj.weight BF16 [512,512]
tensor model.layers.{2..3}.self_attn.k_proj.weight BF16 [256,512]
tensor model.layers.{2..3}.self_attn.v_proj.weight BF16 [256,512]
tensor model.layers.{2..3}.self_attn.o_proj.weight BF16 [512,512]
tensor model.layers.{2..3}.mlp.gate_proj.weight BF16 [1408,512]
tensor model.layers.{2..3}.mlp.down_proj.weight BF16 [512,1408]
tensor model.layers.{2..3}.mlp.up_proj.weight BF16 [1408,512]
tensor model.layers.{2..3}.ln1.weight BF16 [512]
tensor model.layers.{2..3}.ln2.weight BF16 [512]
tensor model.norm.weight BF16 [512]
tensor lm_head.weight BF16 [1024,512]
`

const yiConfig = `{"architectures": ["YiForCausalLM"], "model_type": "Yi", "hidden_size": 512, "intermediate_size": 1408,
"num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 1024, "rope_theta": 5000000.0}`

// waitSent waits until a hub has sent so many bytes.
func waitSent(hub *hubtest.Hub, n int64) {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, _, sent := hub.Counts(); sent > n {
			return
		}
	}
}

// TestCopyFromHub copies a release from a hub under new names. Whatever the server does
// in the middle of the weights, there is the whole release or none of it, and nothing
// else is left.
func TestCopyFromHub(t *testing.T) {
	if testing.Short() {
		t.Skip("waits half a minute for servers that stall; runs without -short")
	}
	t.Parallel()
	bin := buildBinary(t)
	repo := t.TempDir()
	if err := fixture.Sharded(repo, yiShards); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(repo, "config.json"), []byte(yiConfig), 0o666); err != nil {
		t.Fatal(err)
	}
	const beyond = "from=3000000" // the headers and the first tensors are well
	for _, tt := range []struct {
		name  string
		knobs []string
		code  int
		says  string
		act   func(t *testing.T, cmd *exec.Cmd, hub *hubtest.Hub)
	}{
		{name: "well"},
		{name: "relative, gzip, cut once", knobs: []string{"relative", "gzip", "cut=2000000", "flaky=1"}},
		{name: "links that expire", knobs: []string{"uses=2"}},
		{name: "stalls", knobs: []string{"stall", beyond}, code: exitFailed, says: "breaks off, again and again"},
		{name: "ends early", knobs: []string{"cut=1000", "cut-all", beyond}, code: exitFailed, says: "breaks off, again and again"},
		{name: "changes", knobs: []string{"change-tag", beyond}, code: exitFailed, says: "has changed while it was read"},
		{name: "interrupted", knobs: []string{"stall", beyond}, code: exitInterrupted, says: "interrupted", act: func(t *testing.T, cmd *exec.Cmd, hub *hubtest.Hub) {
			waitSent(hub, 3_000_000)
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}},
		{name: "full", knobs: []string{"latency=300ms"}, code: exitFailed, says: "no space left", act: func(t *testing.T, cmd *exec.Cmd, hub *hubtest.Hub) {
			waitSent(hub, 3_000_000)
			if err := fill(filepath.Join(cmd.Dir, "filler"), 0); err != nil && !errors.Is(err, unix.ENOSPC) {
				t.Error(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if tt.name == "full" {
				dir = crashtest.NewMount(t, "tmpfs", 64).Dir
			}
			hub := hubtest.New(t)
			if _, err := hub.Repo("org/yi").CommitDir(repo); err != nil {
				t.Fatal(err)
			}
			if err := hub.Set(tt.knobs...); err != nil {
				t.Fatal(err)
			}
			home := t.TempDir()
			run := func(args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
				cmd := exec.Command(bin, args...)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+home, "HF_HOME=", "HF_HUB_CACHE=", "HF_ENDPOINT="+hub.URL, "HF_HUB_DOWNLOAD_TIMEOUT=1", "HF_TOKEN=")
				var out, errs bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &errs
				return cmd, &out, &errs
			}
			result := filepath.Join(dir, "llama")
			cmd, _, errs := run("rename", "-q", "--map", "yi-to-llama", "-o", result, "hf://org/yi")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if tt.act != nil {
				tt.act(t, cmd, hub)
			}
			cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != tt.code || !strings.Contains(errs.String(), tt.says) {
				t.Errorf("exit %d: %s", code, errs)
			}
			if err := os.Remove(filepath.Join(dir, "filler")); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			left, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			if tt.code != 0 {
				if len(left) > 0 {
					t.Errorf("it leaves %v", left)
				}
				return
			}
			if len(left) != 1 {
				t.Errorf("it leaves %v", left)
			}
			if files, err := os.ReadDir(result); err != nil || len(files) != 4 {
				t.Errorf("%v, %v", files, err)
			}
			cmd, out, errs := run("check", "--fail-on", "info", result)
			if err := cmd.Run(); err != nil {
				t.Errorf("%v\n%s%s", err, out, errs)
			}
			cmd, out, errs = run("hash", "-f", "json", "--content-id", repo, result)
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v: %s", err, errs)
			}
			var got struct {
				Checkpoints []struct {
					ID string `json:"content_id"`
				} `json:"checkpoints"`
			}
			if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got.Checkpoints) != 2 || got.Checkpoints[0] != got.Checkpoints[1] {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
