package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/wtinspect/wtinspect/internal/hubtest"
)

// A scriptHub is the hub of a script, which begins to serve when it is first needed.
type scriptHub struct {
	start func() (*hubtest.Hub, error)
}

const hubKey = "hub"

// setHub gives a script its hub.
func setHub(env *testscript.Env) {
	h := &scriptHub{sync.OnceValues(hubtest.Start)}
	env.Values[hubKey] = h
	env.Defer(func() {
		if hub, err := h.start(); err == nil {
			hub.Close()
		}
	})
}

func hubOf(ts *testscript.TestScript) *hubtest.Hub {
	hub, err := ts.Value(hubKey).(*scriptHub).start()
	ts.Check(err)
	ts.Setenv("HF_ENDPOINT", hub.URL)
	ts.Setenv("CDN", hub.CDN)
	return hub
}

// serveHub is the script command hub ID DIR [FACTS].
func serveHub(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: hub ID DIR [FACTS]")
	}
	repo := hubOf(ts).Repo(args[0])
	if len(args) == 3 {
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[2])), &repo.Facts))
	}
	commit, err := repo.CommitDir(ts.MkAbs(args[1]))
	ts.Check(err)
	ts.Setenv("COMMIT", commit)
}

// breakHub is the script command hub-set WORD...
func breakHub(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: hub-set WORD...")
	}
	hub := hubOf(ts)
	hub.Reset()
	ts.Check(hub.Set(args...))
}

// printRequests is the script command requests, which prints what was asked of the hub
// since the last time, without what differs from run to run.
func printRequests(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: requests")
	}
	hub := hubOf(ts)
	var lines []string
	for _, r := range hub.Requests() {
		what := strings.ReplaceAll(r.URI, ts.Getenv("COMMIT"), "COMMIT")
		if r.Host == "cdn" {
			what = "…" // a digest and a signature
		}
		lines = append(lines, fmt.Sprintf("%s %s %s %d\n", r.Host, r.Method, what, r.Status))
	}
	slices.Sort(lines) // shards are read at once
	fmt.Fprint(ts.Stdout(), strings.Join(lines, ""))
	hub.ClearLog()
}

// hubVariables are those of other programs that have to do with hubs.
var hubVariables = []string{
	"HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH",
	"HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "XDG_CACHE_HOME", "USERPROFILE", "OLLAMA_MODELS",
	"HF_HUB_DOWNLOAD_TIMEOUT", "HF_OIDC_RESOURCE", "MODELSCOPE_DOMAIN", "MODELSCOPE_API_TOKEN",
}
