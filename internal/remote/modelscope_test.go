package remote

import (
	"fmt"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

func TestModelScope(t *testing.T) {
	w := newWorld(t)
	repo := w.Repo("org/name")
	repo.Private = true
	repo.Commit(map[string][]byte{
		"model-00001-of-00002.safetensors": fixture.Bytes(t, "tensor one F32 [2]"), "model-00002-of-00002.safetensors": fixture.Bytes(t, "tensor two F32 [2]"),
		"config.json": []byte("{}"), "sub/m.gguf": fixture.Bytes(t, "format gguf\ntensor x F32 [2]"),
	})
	w.restart("MODELSCOPE_DOMAIN="+w.Hub.URL, "MODELSCOPE_API_TOKEN=hf_test", "HF_ENDPOINT=https://hub.test", "HF_TOKEN=hf_other")
	for ref, want := range map[string]string{
		"modelscope://org/name":                   "one two",
		"modelscope://org/name@main":              "one two",
		"modelscope://org/name@master/sub/m.gguf": "x",
	} {
		if got := w.names(ref); got != want {
			t.Errorf("%s: %q, want %q", ref, got, want)
		}
	}
	for _, r := range w.Requests() {
		if r.Header.Get("Authorization") != "" || (r.Header.Get("Cookie") == "m_session_id=hf_test") != (r.Host == "hub") {
			t.Errorf("%s: %v", r.Host, r.Header)
		}
	}
	for ref, want := range map[string]string{
		"modelscope://org/none":     "not found on " + strings.TrimPrefix(w.Hub.URL, "http://") + ", or private; check the name and the revision (master)",
		"modelscope://org/name@dev": "the revision (dev)",
	} {
		if _, err := w.open(ref); err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	w.Client.Close()
	if files := w.cacheFiles(); len(files) > 0 {
		t.Errorf("kept without a commit: %q", files)
	}
}
