package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/internal/hubtest"
)

// walkCommands calls f for every command, with the words that name it.
func walkCommands(t *testing.T, f func(cmd *cobra.Command, words []string)) {
	t.Helper()
	var visit func(cmd *cobra.Command, words []string)
	visit = func(cmd *cobra.Command, words []string) {
		f(cmd, words)
		for _, c := range cmd.Commands() {
			visit(c, append(words[:len(words):len(words)], c.Name()))
		}
	}
	visit(newRoot(newProgram(nil, nil, nil, func(string) string { return "" })), nil)
}

// The help of every command says what it does in a line, shows examples, has its flags
// under headings, and says what its exit codes mean, on 80 columns.
func TestHelp(t *testing.T) {
	inOrder := regexp.MustCompile(`(?s)^[A-Z][^\n]*\n\nUsage:\n  wtinspect.*\n\n(Examples:\n  .*\n\n)?.*\n\nGlobal flags:\n.*\n\nExit status:\n  0    .*\n  2    failure.*\n  130  interrupted\n$`)
	walkCommands(t, func(cmd *cobra.Command, words []string) {
		var out, whole bytes.Buffer
		p := newProgram(strings.NewReader(""), &out, &out, func(string) string { return "" })
		if code := p.run(t.Context(), append(words[:len(words):len(words)], "--help")); code != exitOK {
			t.Errorf("%v --help: exit %d", words, code)
		}
		if !inOrder.MatchString(out.String()) {
			t.Errorf("%v --help lacks a part, or has it elsewhere:\n%s", words, &out)
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > helpWidth {
				t.Errorf("%v --help: a line has %d columns:\n%s", words, n, line)
			}
		}
		root := newRoot(p)
		root.SetArgs(append(words[:len(words):len(words)], "--help"))
		root.SetOut(&whole)
		if err := root.Execute(); err != nil || whole.String() != out.String() {
			t.Errorf("%v --help says in the whole tree of commands, %v:\n%s\nand by itself:\n%s", words, err, &whole, &out)
		}
		if cmd.Example == "" && cmd.Name() != helpName {
			t.Errorf("%v has no example", words)
		}
		if len(words) == 1 && cmd.GroupID == "" {
			t.Errorf("%v is in no group of commands", words)
		}
	})
}

// exampleFiles are where the examples of help run: the current directory is work, and the
// home directory is above it. A name that ends in .txt is of a fixture.
const exampleFiles = `
-- models/yi.txt --
YI
-- models/yi/config.json --
CONFIG
-- models/llama.txt --
LLAMA
-- models/llama/config.json --
LLAMACONF
-- .cache/huggingface/hub/models--a--b/snapshots/0/model.safetensors.txt --
ONE
-- .zfunc/README --
-- .config/fish/completions/README --
-- v1.txt --
LLAMA
-- v1/config.json --
LLAMACONF
-- work.txt --
LLAMA
-- work/config.json --
LLAMACONF
-- work/model.safetensors.txt --
ONE
meta training_comment none
-- work/model.gguf.txt --
GGUF
-- work/models/a.gguf.txt --
GGUF
-- work/models/b.gguf.txt --
GGUF
-- work/model-q8_0.gguf.txt --
format gguf
kv general.architecture str llama
kv llama.block_count u32 1
tensor token_embd.weight Q8_0 [96,32]
-- work/release.txt --
weight model.gone.weight model-00002-of-00002.safetensors
YI
-- work/release/config.json --
CONFIG
-- work/before/model.safetensors.txt --
tensor a F32 [4]
-- work/after/model.safetensors.txt --
tensor b F32 [4]
-- work/yi.txt --
YI
-- work/llama.txt --
LLAMA
-- work/model.txt --
LLAMA
-- work/base/model.safetensors.txt --
tensor a F32 [4,4]
-- work/tuned/model.safetensors.txt --
tensor a F32 [4,4] values=1,2,3
-- work/a.safetensors.txt --
tensor a F32 [4]
-- work/b.safetensors.txt --
tensor a F32 [4]
-- work/flux1-dev.safetensors.txt --
tensor double_blocks.0.img_attn.qkv.weight F32 [12,4]
-- work/lora.safetensors.txt --
tensor lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight F32 [2,4]
tensor lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight F32 [12,2]
tensor lora_unet_double_blocks_0_img_attn_qkv.alpha F32 []
-- work/gpt.safetensors.txt --
tensor h.{0..1}.ln_1.weight F32 [4]
-- work/there.yaml --
version: 1
rename:
  a.{n}.weight: b.{n}.weight
-- work/maps/there.yaml --
version: 1
rename:
  a.{n}.weight: b.{n}.weight
-- work/keys.json --
{"^visual": "model.visual", "^model(?!\\.(language_model|visual))": "model.language_model"}
-- work/key_mapping.json --
{"^language_model.model": "model.language_model", "^vision_tower": "model.vision_tower"}
-- work/pytorch_model.bin.txt --
format torch
tensor model.norm.weight F32 [4]
-- work/chat.jinja --
{{ messages }}
`

// writeExampleFiles makes the files below a directory.
func writeExampleFiles(t *testing.T, dir string) {
	t.Helper()
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("..", "..", "testdata", filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	yi, config := read("yi-tiny.txt"), read("yi-tiny/config.json")
	llama := strings.NewReplacer(".ln1.", ".input_layernorm.", ".ln2.", ".post_attention_layernorm.").Replace(yi)
	fill := strings.NewReplacer("YI\n", yi, "LLAMA\n", llama, "ONE\n", regexp.MustCompile(`(?m)^(file|pad) .*\n`).ReplaceAllString(llama, ""),
		"GGUF\n", read("llama-tiny.gguf.txt")+"kv tokenizer.chat_template str {{{{messages}}\n", "CONFIG\n", config, "LLAMACONF\n", strings.NewReplacer("YiForCausalLM", "LlamaForCausalLM", `"Yi"`, `"llama"`).Replace(config))
	for _, f := range txtar.Parse([]byte(exampleFiles)).Files {
		path, text := filepath.Join(dir, filepath.FromSlash(f.Name)), fill.Replace(string(f.Data))
		err := os.MkdirAll(filepath.Dir(path), 0o777)
		if to, ok := strings.CutSuffix(path, ".txt"); err == nil && ok {
			err = writeFixture(to, text)
		} else if err == nil {
			err = os.WriteFile(path, []byte(text), 0o666)
		}
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
	}
}

// otherTool is a program of an example that not every machine has.
var otherTool = regexp.MustCompile(`(?:^\s*|\| )(git|jq|mandoc|man)\b`)

// hubRepo is a repository of an example, or all of a namespace, which the tests' own hub has.
var hubRepo = regexp.MustCompile(`\bhf://([\w.-]+/)([\w.-]+|\*)`)

// Every example of every command runs as it is written, those of a command one after the
// other, and does what it is there to do.
func TestExamplesRun(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skipf("the examples need bash: %v", err)
	}
	bin := buildBinary(t)
	walkCommands(t, func(cmd *cobra.Command, words []string) {
		if cmd.Name() == "browse" { // needs a terminal, and somebody who leaves it; see TestBrowseTerminal
			return
		}
		t.Run(strings.Join(append([]string{"wtinspect"}, words...), " "), func(t *testing.T) {
			t.Parallel()
			// A hub of its own: an example that lists a namespace would see what others put there.
			hub, err := hubtest.Start()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(hub.Close)
			home := t.TempDir()
			work := filepath.Join(home, "work")
			writeExampleFiles(t, home)
			bash := func(line string) (string, int) {
				sh := exec.CommandContext(t.Context(), "bash", "-c", "set -o pipefail; "+line)
				sh.Dir = work
				sh.Env = append(os.Environ(), "HOME="+home, "HF_ENDPOINT="+hub.URL, "HF_HOME="+home, "XDG_CACHE_HOME="+home, "PATH="+filepath.Dir(bin)+string(os.PathListSeparator)+os.Getenv("PATH"),
					"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
				out, err := sh.CombinedOutput()
				if exit, ok := errors.AsType[*exec.ExitError](err); ok {
					return string(out), exit.ExitCode()
				} else if err != nil {
					t.Fatal(err)
				}
				return string(out), 0
			}
			if strings.Contains(cmd.Example, "git ") {
				if out, code := bash("git init -qb main && git add -A && git commit -qm a && git checkout -qb b && echo >> release/config.json && git commit -qam b"); code != 0 {
					t.Fatalf("git: exit %d\n%s", code, out)
				}
			}
			for line := range strings.Lines(cmd.Example) {
				if repo := hubRepo.FindStringSubmatch(line); repo != nil {
					name := repo[1] + strings.Replace(repo[2], "*", "any", 1)
					if _, err := hub.Repo(name).CommitDir(filepath.Join(home, "models", "yi")); err != nil {
						t.Fatal(err)
					}
				}
				if tool := otherTool.FindStringSubmatch(line); tool != nil {
					if _, err := exec.LookPath(tool[1]); err != nil {
						t.Logf("not run: %s: %v", strings.TrimSpace(line), err)
						continue
					}
				}
				out, code := bash(line)
				finds := strings.Contains(cmd.Annotations[exitStatusKey], "\n  1  ")
				if code != exitOK && !(code == exitFindings && finds) {
					t.Errorf("%s: exit %d\n%s", strings.TrimSpace(line), code, out)
				}
			}
		})
	})
}
