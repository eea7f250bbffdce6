package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/hubtest"
)

// The hub's token and what signs a link are in nothing that any command prints, and
// the token is sent to the hub alone.
func TestSecretsStay(t *testing.T) {
	t.Parallel()
	const token = "hf_0123456789secret"
	hub := hubtest.New(t)
	hub.SetToken(token)
	repo := hub.Repo("org/name")
	repo.Private = true
	repo.Commit(map[string][]byte{
		"model.safetensors": fixture.Bytes(t, "tensor model.norm.weight F32 [8]\ntensor lm_head.weight F32 [4,8]"),
		"config.json":       []byte(`{"model_type":"llama","hidden_size":8}`),
		"README.md":         []byte("# A model\n"),
	})
	pickles := hub.Repo("org/pickles")
	pickles.Private = true
	pickles.Commit(map[string][]byte{
		"pytorch_model.bin": fixture.Bytes(t, "format torch\ntensor model.norm.weight F32 [8]\ntensor lm_head.weight F32 [4,8]"),
		"config.json":       []byte(`{"model_type":"llama","hidden_size":8}`),
	})
	gated := hub.Repo("org/gated")
	gated.Gated, gated.Refused = true, true
	gated.Commit(map[string][]byte{"model.safetensors": {}})

	const ref, torch = "hf://org/name", "hf://org/pickles"
	signed := hub.CDN + "/model.safetensors?X-Amz-Signature=secretquery"
	commands := [][]string{
		{"ls", ref},
		{"ls", "-f", "json", ref},
		{"info", ref},
		{"info", "-f", "json", ref},
		{"meta", "show", "-f", "json", ref},
		{"identify", ref},
		{"check", ref},
		{"check", "-f", "sarif", ref},
		{"stats", ref},
		{"cat", ref, "none"},
		{"hash", ref},
		{"diff", ref, ref + "/model.safetensors"},
		{"report", "-f", "html", ref},
		{"report", "-f", "markdown", "--values", ref},
		{"report", "-f", "html", signed},
		{"report", "-f", "json", signed},
		{"map", "show", "yi-to-llama", "--for", ref},
		{"lock", ref},
		{"rename", "--to", "gguf", ref},
		{"rename", "--in-place", "--to", "gguf", ref},
		{"fix", ref},
		{"ls", torch},
		{"info", "-f", "json", torch},
		{"check", "-f", "json", torch},
		{"hash", torch},
		{"cat", torch, "none"},
		{"convert", torch},
		{"report", "-f", "html", torch},
		{"ls", hub.URL + "/org/pickles/blob/main/pytorch_model.bin"},
		{"ls", hub.CDN + "/pytorch_model.bin?X-Amz-Signature=secretquery"},
		{"ls", ref + "/none.safetensors"},
		{"ls", ref + "@none"},
		{"ls", "hf://org/gated"},
		{"ls", "hf://org/none"},
		{"ls", hub.URL + "/org/name/blob/main/model.safetensors"},
		{"ls", signed},
		{"ls", "-f", "json", signed},
		{"info", "-f", "json", signed},
		{"check", "-f", "json", signed},
		{"fix", signed},
		{"rename", "--recover", signed},
		{"map", "lint", signed},
		{"ls", "--files-from", signed},
		{"explain", signed},
		{"rename", "-o", "x", "--map=" + signed},
		{"meta", "set", "--in-place", "a=b", signed},
		{"info", "-f", "json", "https://user:secretquery@" + strings.TrimPrefix(hub.CDN, "http://") + "/model.safetensors"},
	}
	asked := map[string]int{}
	for _, given := range []string{token, token + "wrong"} {
		for _, verbosity := range []string{"-q", "", "-v", "-vv"} {
			for _, args := range commands {
				if verbosity != "" {
					args = append([]string{args[0], verbosity}, args[1:]...)
				}
				dir := t.TempDir()
				a, err := ask(task{Dir: dir, Args: args, Env: map[string]string{"HF_ENDPOINT": hub.URL, "HF_TOKEN": given, "XDG_CACHE_HOME": dir}})
				if err != nil {
					t.Fatal(err)
				}
				out := string(a.Stdout) + string(a.Stderr)
				if strings.Contains(out, token) || strings.Contains(out, "Bearer") || strings.Contains(out, "Amz-Signature") || strings.Contains(out, "secretquery") {
					t.Errorf("%q says\n%s", args, out)
				}
			}
		}
	}
	for _, r := range hub.Requests() {
		has := r.Header.Get("Authorization") != ""
		asked[fmt.Sprint(r.Host, " ", has)]++
		if strings.Contains(r.URI, token) {
			t.Errorf("asked for %s", r.URI)
		}
	}
	if asked["hub true"] == 0 || asked["hub false"] > 0 || asked["cdn false"] == 0 || asked["cdn true"] > 0 {
		t.Errorf("requests with the token: %v", asked)
	}
}
