//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/sweep"
)

// besideWeights are names of files that commands read when they lie beside weights.
var besideWeights = []string{
	"config.json", "params.json", "generation_config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json",
	"preprocessor_config.json", "special_tokens_map.json", "README.md", ".wtinspect.yaml", "wtinspect.lock.json",
	"model.safetensors.index.json", "pytorch_model.bin.index.json", "model_index.json", "b.safetensors", "b.gguf",
}

// readingCommands read a release; m is replaced by its directory.
var readingCommands = [][]string{
	{"ls", "m"},
	{"ls", "--as", "meta", "m"},
	{"info", "m"},
	{"identify", "m"},
	{"meta", "show", "m"},
	{"stats", "m"},
	{"cat", "m", "*"},
	{"hash", "m"},
	{"diff", "m", "m"},
	{"report", "-f", "markdown", "m", "m"},
	{"check", "m"},
	{"scan", "m"},
	{"check", "--against", "m", "m"},
	{"lock", "m"},
	{"rename", "--to", "meta", "m"},
	{"rename", "--map", "strip-module", "m"},
	{"convert", "--to", "meta", "m"},
	{"map", "infer", "m", "m"},
	{"map", "infer", "m", "--to", "meta"},
	{"map", "new", "m"},
	{"map", "export", "-f", "mergekit", "--for", "m", "strip-module"},
	{"map", "test", "strip-module", "m"},
	{"fix", "m"},
	{"ls", "m/model.safetensors"},
	{"rename", "--to", "meta", "m/model.safetensors"},
}

func inDirectory(dir string, args []string) []string {
	out := make([]string, len(args))
	for i, arg := range args {
		if out[i] = arg; arg == "m" || strings.HasPrefix(arg, "m/") {
			out[i] = dir + arg[1:]
		}
	}
	return out
}

// needs ends the test when something could not be made: it is skipped only where
// the file system has no such thing.
func needs(t *testing.T, what string, err error) {
	t.Helper()
	for _, none := range []error{syscall.EPERM, syscall.ENOTSUP, syscall.EFBIG, syscall.EINVAL, syscall.EILSEQ} {
		if errors.Is(err, none) {
			t.Skipf("this file system does not have %s: %v", what, err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Whatever lies beside weights neither holds a command up nor fills its memory.
func TestStrangeFilesBesideWeights(t *testing.T) {
	for what, make := range map[string]func(name string) error{
		"pipe":      func(name string) error { return syscall.Mkfifo(name, 0o666) },
		"directory": func(name string) error { return os.Mkdir(name, 0o777) },
		"sparse file of 20 GB": func(name string) error {
			if err := os.WriteFile(name, nil, 0o666); err != nil {
				return err
			}
			return os.Truncate(name, 20<<30)
		},
	} {
		t.Run(what, func(t *testing.T) {
			n := len(what) // each kind tries another third
			for _, name := range besideWeights {
				dir := filepath.Join(t.TempDir(), "m")
				if err := fixture.Write(filepath.Join(dir, "model.safetensors"), smallLlama); err != nil {
					t.Fatal(err)
				}
				needs(t, "a "+what, make(filepath.Join(dir, name)))
				for _, args := range readingCommands {
					if n++; !sweep.Has(n, 3) {
						continue
					}
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					var out, errs bytes.Buffer
					code := run(t.Context(), inDirectory(dir, args), strings.NewReader(""), &out, &errs)
					runtime.ReadMemStats(&after)
					if code > exitFailed {
						t.Errorf("%s %s: %v: exit %d\n%s", what, name, args, code, &errs)
					}
					if n := after.TotalAlloc - before.TotalAlloc; n > 200<<20 {
						t.Errorf("%s %s: %v allocates %d bytes", what, name, args, n)
					}
				}
			}
		})
	}
}

// The file of a user's defaults does not hold a command up either.
func TestStrangeUserFile(t *testing.T) {
	path := fixture.File(t, "model.safetensors", "tensor w F32 [2]")
	xdg := t.TempDir()
	file := filepath.Join(xdg, "wtinspect", "config.yaml")
	if err := os.Mkdir(filepath.Dir(file), 0o777); err != nil {
		t.Fatal(err)
	}
	try := func(want string) {
		t.Helper()
		var out, errs bytes.Buffer
		p := newProgram(strings.NewReader(""), &out, &errs, func(name string) string { return map[string]string{"XDG_CONFIG_HOME": xdg}[name] })
		if code := p.run(t.Context(), []string{"ls", path}); code != exitFailed || !strings.Contains(errs.String(), file+": "+want) {
			t.Errorf("exit %d, want %q:\n%s", code, want, &errs)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	needs(t, "pipes", syscall.Mkfifo(file, 0o666))
	try("a pipe, where a regular file is needed")
	needs(t, "a large sparse file", errors.Join(os.WriteFile(file, nil, 0o666), os.Truncate(file, 20<<30)))
	try("the size is 20.0 GiB, more than the 1.00 MiB that a settings file may have")
}

// The numbers of a model are in params.json where there is no config.json. One
// that cannot be read is said, not passed over.
func TestStrangeParams(t *testing.T) {
	dir := t.TempDir()
	if err := fixture.Write(filepath.Join(dir, "model.safetensors"), smallLlama); err != nil {
		t.Fatal(err)
	}
	params := filepath.Join(dir, "params.json")
	commands := [][]string{{"rename", "--to", "meta", dir}, {"ls", "--as", "meta", dir}}
	try := func(want string) {
		t.Helper()
		for _, args := range commands {
			var out, errs bytes.Buffer
			code := run(t.Context(), args, strings.NewReader(""), &out, &errs)
			if code != exitFailed || !strings.Contains(errs.String(), params+": "+want) {
				t.Errorf("%v: exit %d, %s", args, code, &errs)
			}
		}
	}
	needs(t, "a pipe", syscall.Mkfifo(params, 0o666))
	try("a pipe, where a regular file is needed")
	if err := os.Remove(params); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(params, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	needs(t, "a sparse file of 20 GB", os.Truncate(params, 20<<30))
	try("the size is 20.0 GiB, more than the 16.0 MiB that a JSON document may have")
}

// A file that the user names may be a pipe, as <(…) of a shell is.
func TestNamedPipe(t *testing.T) {
	dir := t.TempDir()
	model := filepath.Join(dir, "model.safetensors")
	if err := fixture.Write(model, smallLlama); err != nil {
		t.Fatal(err)
	}
	manifest := func() string {
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{"hash", model}, nil, &out, &errs); code != exitOK {
			t.Fatal(errs.String())
		}
		return out.String()
	}()
	for _, tt := range []struct {
		text string
		args []string
	}{
		{"version: 1\nrename: {lm_head.weight: output.weight}\n", []string{"rename", "--map", "PIPE", model}},
		{"version: 1\nrename: {lm_head.weight: output.weight}\n", []string{"map", "show", "PIPE"}},
		{`{"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 16}`, []string{"rename", "--to", "meta", "--config", "PIPE", model}},
		{"fail-on: error\n", []string{"check", "--config", "PIPE", "--fail-on", "error", model}},
		{`{"baseline_version": 1, "findings": []}`, []string{"check", "--baseline", "PIPE", model}},
		{manifest, []string{"hash", "--check", "PIPE", model}},
		{"a value", []string{"meta", "set", model, "k=@PIPE"}},
	} {
		pipe := filepath.Join(t.TempDir(), "pipe")
		needs(t, "a pipe", syscall.Mkfifo(pipe, 0o666))
		go func() {
			if err := os.WriteFile(pipe, []byte(tt.text), 0); err != nil {
				t.Error(err)
			}
		}()
		args := make([]string, len(tt.args))
		for i, arg := range tt.args {
			args[i] = strings.ReplaceAll(arg, "PIPE", pipe)
		}
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, strings.NewReader(""), &out, &errs); code != exitOK {
			t.Errorf("%v: exit %d, %s", tt.args, code, &errs)
		}
	}
}

// A pipe in the place of weights is named at once: nobody may ever write to it.
func TestPipesAsWeights(t *testing.T) {
	bin := buildBinary(t)
	dir := t.TempDir()
	for _, name := range []string{"m.safetensors", "m.gguf", "m.pt", "m"} {
		pipe := filepath.Join(dir, name)
		needs(t, "a pipe", syscall.Mkfifo(pipe, 0o666))
		for _, args := range [][]string{
			{"ls", pipe},
			{"check", pipe},
			{"cat", pipe, "w"},
			{"diff", pipe, pipe},
			{"rename", "--add-prefix", "x.", "--in-place", pipe},
			{"convert", pipe, "-o", filepath.Join(dir, "out.safetensors")},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			out, err := exec.CommandContext(ctx, bin, args...).CombinedOutput()
			cancel()
			end, ok := errors.AsType[*exec.ExitError](err)
			if !ok || end.ExitCode() != exitFailed && end.ExitCode() != exitFindings || !strings.Contains(string(out), "a pipe") {
				t.Errorf("%v: %v, %s", args, err, out)
			}
		}
	}
}
