package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/hubtest"
)

// hubCommands are the commands that read a reference, on a release of two shards with
// an index and config.json, REF, which is also at the revision v1: their exit codes,
// and how many requests go at most to the hub and to its second host, the first time and
// when the same is asked again.
var hubCommands = []struct {
	args         string
	code         int
	first, again string
}{
	{"REF", 0, "5+2", "1+0"},
	{"ls REF", 0, "4+2", "1+0"},
	{"ls REF/model-00002-of-00002.safetensors", 0, "1+1", "1+0"},
	{"ls REF@COMMIT", 0, "4+2", "0+0"},
	{"ls -R REF", 0, "4+2", "1+0"},
	{"ls --as gguf REF", 0, "5+2", "1+0"},
	{"ls -f jsonl REF", 0, "4+2", "1+0"},
	{"info REF", 0, "5+2", "1+0"},
	{"identify REF", 0, "5+2", "1+0"},
	{"meta show REF", 0, "5+2", "1+0"},
	{"stats REF", 0, "5+4", "5+4"},
	{"stats --match *.ln1.weight REF", 0, "5+4", "5+4"},
	{"cat REF model.norm.weight", 0, "5+3", "5+3"},
	{"cat REF *.ln1.weight --slice :2", 0, "5+4", "5+4"},
	{"hash REF", 0, "5+4", "5+4"},
	{"hash --files REF", 0, "2+0", "1+0"},
	{"diff REF REF@v1", 0, "10+4", "2+0"},
	{"diff --headers REF REF@v1", 0, "10+4", "2+0"},
	{"report -f html REF", 0, "5+2", "1+0"},
	{"report -f html REF REF@v1", 0, "10+4", "2+0"},
	{"check REF", 0, "5+2", "1+0"},
	{"check --values REF", 1, "5+4", "5+4"},
	{"check --against REF@v1 REF", 0, "10+4", "2+0"},
	{"scan REF", 0, "5+2", "1+0"},
	{"scan --values REF", 0, "5+4", "5+4"},
	{"lock REF", 0, "5+2", "1+0"},
	{"lock --digests REF", 0, "5+4", "5+4"},
	{"map infer REF --to llama-hf", 0, "5+2", "1+0"},
	{"map infer REF REF@v1", 0, "10+8", "10+8"},
	{"map new REF", 0, "5+2", "1+0"},
	{"map show --for REF yi-hf", 0, "5+2", "1+0"},
	{"map export -f mergekit --for REF yi-hf..llama-hf", 0, "5+2", "1+0"},
	{"map test yi-to-llama REF", 0, "5+2", "1+0"},
	{"rename --to gguf REF", 0, "5+2", "1+0"},
	{"rename -q --map yi-to-llama -o OUT REF", 0, "5+4", "5+4"},
	{"convert --dtype f32 REF", 0, "5+2", "1+0"},
	{"convert -q --max-shard-size 1KB -o OUT REF", 0, "5+4", "7+6"},
	{"meta set -o OUT REF a=b", 0, "5+4", "5+4"},
	{"meta unset -o OUT REF format", 0, "5+4", "5+4"},
	{"fix REF", 0, "5+2", "1+0"},
	{"rename --in-place --map yi-to-llama REF", 2, "5+2", "1+0"},
	{"meta set --in-place REF a=b", 2, "5+2", "1+0"},

	// TORCH is a release of pickles, two shards and their index.
	{"ls TORCH", 0, "4+2", "1+0"},
	{"info TORCH", 0, "5+2", "1+0"},
	{"identify TORCH", 0, "5+2", "1+0"},
	{"meta show TORCH", 0, "5+2", "1+0"},
	{"stats TORCH", 0, "5+2", "1+0"},
	{"cat TORCH model.norm.weight", 0, "5+2", "1+0"},
	{"hash TORCH", 0, "5+2", "1+0"},
	{"diff --headers TORCH TORCH", 0, "5+2", "1+0"},
	{"scan TORCH", 0, "5+2", "1+0"},
	{"check TORCH", 1, "5+2", "1+0"},
	{"check --values TORCH", 1, "5+2", "1+0"},
	{"report -f html TORCH", 0, "5+2", "1+0"},
	{"lock TORCH", 0, "5+2", "1+0"},
	{"convert -q -o OUT TORCH", 0, "5+2", "1+0"},
	{"rename --to gguf TORCH", 2, "5+2", "1+0"},
}

// withoutReferences are the commands that read no release, or only where there is a terminal.
var withoutReferences = []string{
	"browse", "completion", "explain", "help", "man", "rules", "schema", "version", "map list", "map lint", "map invert", "map compose", "map import",
}

// Every command that reads a release reads it on a hub, in a few requests.
func TestCommandsOnHub(t *testing.T) {
	t.Parallel()
	root := newRoot(newProgram(nil, nil, nil, func(string) string { return "" }))
	tried := map[*cobra.Command]bool{}
	for _, tt := range hubCommands {
		if cmd, _, err := root.Find(strings.Fields(tt.args)); err == nil {
			tried[cmd] = true
		}
	}
	for _, line := range withoutReferences {
		cmd, _, err := root.Find(strings.Fields(line))
		if err != nil {
			t.Fatal(err)
		}
		tried[cmd] = true
	}
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Runnable() && !cmd.HasSubCommands() && !tried[cmd] {
			t.Errorf("hubCommands lacks %s", cmd.CommandPath())
		}
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	visit(root)

	hub := hubtest.New(t)
	repo := hub.Repo("org/yi")
	commit, err := repo.CommitDir(filepath.Join("..", "..", "testdata", "yi-tiny"))
	if err != nil {
		t.Fatal(err)
	}
	repo.Point("v1", commit)
	const index = `{"weight_map": {"model.embed_tokens.weight": "pytorch_model-00001-of-00002.bin", "model.norm.weight": "pytorch_model-00002-of-00002.bin"}}`
	hub.Repo("org/torch").Commit(map[string][]byte{
		"pytorch_model-00001-of-00002.bin": fixture.Bytes(t, "format torch\ntensor model.embed_tokens.weight F32 [8,4] values=1,2,3\n"),
		"pytorch_model-00002-of-00002.bin": fixture.Bytes(t, "format torch\ntensor model.norm.weight F32 [4] values=1,2,3\n"),
		"pytorch_model.bin.index.json":     []byte(index),
		"config.json":                      []byte(`{"model_type": "llama"}`),
	})
	for _, tt := range hubCommands {
		home := t.TempDir()
		for run, want := range []string{tt.first, tt.again} {
			hub.Reset()
			line := strings.NewReplacer("REF", "hf://org/yi", "TORCH", "hf://org/torch", "COMMIT", commit, "OUT", fmt.Sprint("out", run)).Replace(tt.args)
			a, err := ask(task{Dir: home, Args: strings.Fields(line), Env: map[string]string{"HF_ENDPOINT": hub.URL, "XDG_CACHE_HOME": home}})
			if err != nil {
				t.Fatal(err)
			}
			atHub, atCDN, sent := hub.Counts()
			var mostHub, mostCDN int
			if _, err := fmt.Sscanf(want, "%d+%d", &mostHub, &mostCDN); err != nil {
				t.Fatal(err)
			}
			if atHub > mostHub || atCDN > mostCDN || a.Code != tt.code {
				t.Errorf("%s: run %d: exit %d, %d+%d requests, %d bytes; want %d, %s\n%s", tt.args, run+1, a.Code, atHub, atCDN, sent, tt.code, want, a.Stderr)
			}
		}
	}
}
