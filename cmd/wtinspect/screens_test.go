package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/testdata"
)

type screen struct{ name, args string }

// screens are what people see of each command on a terminal, on the releases of
// testdata/screens/releases.txtar.
var screens = []screen{
	{"ls", "ls kimi"},
	{"ls-verbose", "ls -v kimi"},
	{"ls-several", "ls base.safetensors kohya.safetensors"},
	{"ls-unet", "ls unet.safetensors"},
	{"ls-tree", "ls --tree kohya.safetensors"},
	{"ls-as", "ls --as gguf llama"},
	{"ls-pytorch", "ls pickled/last.ckpt"},
	{"info", "info kimi"},
	{"info-gguf", "info quants/Meta-Llama-3.1-8B-Instruct-abliterated-Q4_K_M.gguf"},
	{"info-several", "info quants"},
	{"identify", "identify kimi"},
	{"identify-several", "identify base.safetensors kohya.safetensors llama"},
	{"meta-show", "meta show kohya.safetensors"},
	{"meta-unset", "meta unset kohya.safetensors ss_network_args"},
	{"meta-set", "meta set kohya.safetensors modelspec.title=Lighthouse ss_base_model_version=sd_xl"},
	{"stats", "stats --match *input_blocks.1.* base.safetensors"},
	{"stats-quantiles", "stats --quantiles base.safetensors"},
	{"stats-by-layer", "stats --by-layer tuned.safetensors"},
	{"cat", "cat base.safetensors *.1.*attn1.to_q.weight *.1.*ff.net.0.proj.weight --slice :2"},
	{"hash", "hash base.safetensors"},
	{"hash-ids", "hash --content-id base.safetensors kimi"},
	{"diff", "diff base.safetensors tuned.safetensors"},
	{"diff-headers", "diff --headers --flat base.safetensors tuned.safetensors"},
	{"diff-gguf", "diff quants/Meta-Llama-3.1-8B-Instruct-abliterated-Q4_K_M.gguf quants/Meta-Llama-3.1-8B-Instruct-abliterated-Q5_K_M.gguf"},
	{"rename", "rename --map twice.yaml -n kimi"},
	{"rename-to", "rename --to gguf -n llama"},
	{"scan", "scan -f csv --table findings --columns repository,rule,file,tensor kimi llama"},
	{"convert", "convert --dtype f32 --keep *norm* --max-shard-size 10KB -n -o out llama"},
	{"map-list", "map list kimi"},
	{"map-show", "map show yi-to-llama"},
	{"map-show-convention", "map show --for kimi deepseek_v3-hf"},
	{"map-invert", "map invert yi-to-llama"},
	{"map-compose", "map compose strip-module yi-to-llama"},
	{"map-export", "map export -f vllm vlm-prefix-to-new"},
	{"map-import", "map import keys.json"},
	{"map-lint", "map lint twice.yaml"},
	{"map-infer", "map infer llama --to llama-meta --names-only"},
	{"map-infer-questions", "map infer lab.safetensors --to llama-hf --names-only"},
	{"map-infer-questions-table", "map infer -f table lab.safetensors --to llama-hf --names-only"},
	{"map-infer-table", "map infer -f table --names-only llama base.safetensors"},
	{"map-new", "map new kimi"},
	{"map-test", "map test twice.yaml strip-module kimi llama base.safetensors"},
	{"check", "check kimi llama"},
	{"check-table", "check -f table kimi"},
	{"check-pytorch", "check pickled/last.ckpt"},
	{"rules", "rules WT2"},
	{"explain", "explain WT202"},
	{"lock", "lock --digests -f table kohya.safetensors"},
	{"fix", "fix llama"},
}

// noScreen are the commands that draw on a terminal, or print pages, scripts, schemas, manual pages, or what differs from build to build.
var noScreen = []string{"browse", "completion", "help", "man", "report", "schema", "version"}

// widths are those of an old terminal, of half a screen and of a whole one.
var widths = []int{80, 120, 200}

// free is how much room the disk has.
var free = regexp.MustCompile(`[0-9.]+ .?i?B free`)

// commandsOf lists the commands below one that do something, with their whole names.
func commandsOf(cmd *cobra.Command, prefix string) []string {
	var out []string
	for _, c := range cmd.Commands() {
		if name := prefix + c.Name(); c.HasSubCommands() {
			out = append(out, commandsOf(c, name+" ")...)
		} else {
			out = append(out, name)
		}
	}
	return out
}

func TestScreens(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("testdata", "screens")
	ar, err := txtar.ParseFile(filepath.Join(dir, "releases.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, f := range ar.Files {
		files[f.Name] = string(f.Data)
	}
	work := t.TempDir()
	fixture.Release(t, work, files)

	var wanted []string
	for _, s := range screens {
		for _, width := range widths {
			a, err := ask(task{Dir: work, Args: strings.Fields(s.args), Env: map[string]string{"NO_COLOR": "1"}, Terminal: width, Joined: true})
			if err != nil {
				t.Fatal(err)
			}
			name := fmt.Sprintf("%s.%d.txt", s.name, width)
			wanted = append(wanted, name)
			text := fmt.Sprintf("$ wtinspect %s\n%s", s.args, free.ReplaceAll(a.Stdout, []byte("40 GiB free")))
			testdata.UpToDate(t, filepath.Join(dir, name), text, *update)
		}
	}
	for _, c := range commandsOf(newRoot(newProgram(nil, nil, nil, os.Getenv)), "") {
		if !slices.ContainsFunc(screens, func(s screen) bool { return strings.HasPrefix(s.args+" ", c+" ") }) && !slices.Contains(noScreen, c) {
			t.Errorf("%s has no screen", c)
		}
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if name := f.Name(); strings.HasSuffix(name, ".txt") && !slices.Contains(wanted, name) {
			t.Errorf("%s/%s is no screen's; remove it", dir, name)
		}
	}
}
