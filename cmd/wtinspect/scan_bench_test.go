package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// releasesVariable is how many releases BenchmarkScan generates.
const releasesVariable = "WTINSPECT_SCAN_RELEASES"

// BenchmarkScan judges many releases of 200 tensors in one process, as lines and as Parquet,
// beside a process for each. The releases are of several sizes, and some have names that are not as they
// should be.
func BenchmarkScan(b *testing.B) {
	bin := buildBinary(b)
	releases := 200
	if text := os.Getenv(releasesVariable); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			b.Fatal(err)
		}
		releases = n
	}
	root := b.TempDir()
	var dirs []string
	for i := range releases {
		dir := filepath.Join(root, fmt.Sprintf("org%d", i/1000), fmt.Sprintf("model%d", i))
		estateRelease(b, dir, i)
		dirs = append(dirs, dir)
	}
	b.Run(fmt.Sprintf("releases=%d/scan", releases), func(b *testing.B) {
		process(b, true, bin, "scan", "-q", "-R", root)
		b.ReportMetric(float64(releases)*float64(b.N)/b.Elapsed().Seconds(), "releases/s")
	})
	var scanned, checked float64 // releases a second
	b.Run(fmt.Sprintf("releases=%d/parquet", releases), func(b *testing.B) {
		program := parquetBinary(b)
		args := func() []string {
			return []string{"scan", "-q", "-f", "parquet", "-o", filepath.Join(b.TempDir(), "tables"), "-R", root}
		}
		for b.Loop() {
			if out, err := exec.Command(program, args()...).CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
		}
		scanned = float64(releases) * float64(b.N) / b.Elapsed().Seconds()
		peak := peakMemory(b, program, args()...) >> 20
		b.ReportMetric(scanned, "releases/s")
		b.ReportMetric(200*scanned, "tensors/s")
		b.ReportMetric(float64(peak), "MiB-peak")
		if peak > 300 {
			b.Errorf("%d MiB, want at most 300", peak)
		}
	})
	b.Run("check", func(b *testing.B) {
		i := 0
		for b.Loop() {
			for range min(100, releases) { // the first time starts are slower
				err := exec.Command(bin, "check", "-f", "json", dirs[i%releases]).Run()
				if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != exitFindings) {
					b.Fatal(err)
				}
				i++
			}
		}
		checked = float64(i) / b.Elapsed().Seconds()
		b.ReportMetric(checked, "releases/s")
		b.ReportMetric(scanned/checked, "times-slower")
		if releases >= 1000 && scanned < 10*checked { // fewer take less than to start
			b.Errorf("a scan is %.1f times as fast, want 10", scanned/checked)
		}
	})
}

// estateRelease writes a release of 200 tensors, whose data is a hole.
func estateRelease(b *testing.B, dir string, i int) {
	b.Helper()
	hidden, prefix := 64*(1+i%5), ""
	if i%7 == 0 {
		prefix = "_orig_mod."
	}
	text := fmt.Sprintf(`data sparse
meta format pt
tensor %[1]smodel.embed_tokens.weight BF16 [1000,%[2]d]
tensor %[1]smodel.layers.{0..21}.self_attn.q_proj.weight BF16 [%[2]d,%[2]d]
tensor %[1]smodel.layers.{0..21}.self_attn.k_proj.weight BF16 [%[2]d,%[2]d]
tensor %[1]smodel.layers.{0..21}.self_attn.v_proj.weight BF16 [%[2]d,%[2]d]
tensor %[1]smodel.layers.{0..21}.self_attn.o_proj.weight BF16 [%[2]d,%[2]d]
tensor %[1]smodel.layers.{0..21}.mlp.gate_proj.weight BF16 [%[3]d,%[2]d]
tensor %[1]smodel.layers.{0..21}.mlp.up_proj.weight BF16 [%[3]d,%[2]d]
tensor %[1]smodel.layers.{0..21}.mlp.down_proj.weight BF16 [%[2]d,%[3]d]
tensor %[1]smodel.layers.{0..21}.input_layernorm.weight BF16 [%[2]d]
tensor %[1]smodel.layers.{0..21}.post_attention_layernorm.weight BF16 [%[2]d]
tensor %[1]smodel.norm.weight BF16 [%[2]d]
`, prefix, hidden, 2*hidden)
	if err := fixture.Write(filepath.Join(dir, "model.safetensors"), text); err != nil {
		b.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_size": hidden, "intermediate_size": 2 * hidden,
		"num_hidden_layers": 22, "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 1000, "torch_dtype": "bfloat16", "tie_word_embeddings": true,
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// readLargeIndex are the commands that a large index is read by. What check finds goes to a
// file, so that it exits 0.
func readLargeIndex(tb testing.TB, dir string) [][]string {
	return [][]string{
		{"ls", "-f", "csv", dir},
		{"check", "--write-baseline", filepath.Join(tb.TempDir(), "baseline.json"), dir},
		{"identify", dir},
		{"scan", "-q", dir},
	}
}

// BenchmarkLargeIndex reads an index of as many names as the largest release known has,
// Kimi-K3, beside one of DeepSeek-V3's size.
func BenchmarkLargeIndex(b *testing.B) {
	bin := buildBinary(b)
	for _, names := range []int{92_000, 500_000} {
		dir := b.TempDir()
		writeLargeIndex(b, dir, names)
		for _, args := range readLargeIndex(b, dir) {
			b.Run(fmt.Sprintf("names=%d/%s", names, args[0]), func(b *testing.B) {
				process(b, true, bin, args...)
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(names), "ns/tensor")
			})
		}
	}
}

// The memory that a large index takes: of 500,000 names, in 56 MB, at most 150 MiB.
func TestLargeIndexMemory(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("how much memory a program takes is read from /proc, which only Linux has")
	}
	bin := buildBinary(t)
	names, most := 500_000, int64(150)
	if testing.Short() {
		names, most = 92_000, 75
	}
	dir := t.TempDir()
	writeLargeIndex(t, dir, names)
	for _, args := range readLargeIndex(t, dir) {
		peak := peakMemory(t, bin, args...) >> 20
		t.Logf("%s: %d MiB", args[0], peak)
		if peak == 0 || peak > most {
			t.Errorf("%s of %d names takes %d MiB, want at most %d", args[0], names, peak, most)
		}
	}
}

// writeLargeIndex writes an index of about so many names, those of experts that are
// quantised, and of no shards, and the configuration of such a model.
func writeLargeIndex(b testing.TB, dir string, names int) {
	b.Helper()
	const layers, shards = 61, 96
	experts := (names - 12*layers) / (9 * layers)
	config := fmt.Sprintf(`{"architectures": ["KimiK25ForConditionalGeneration"], "model_type": "kimi_k25", "text_config": {"model_type": "deepseek_v3",
 "hidden_size": 7168, "num_hidden_layers": %d, "n_routed_experts": %d, "num_attention_heads": 64, "vocab_size": 163840, "quantization_config":
 {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": 32}}}}}}`, layers, experts)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644); err != nil {
		b.Fatal(err)
	}
	file, err := os.Create(filepath.Join(dir, "model.safetensors.index.json"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	text := []byte("{\n  \"metadata\": {\"total_size\": 1000000000000},\n  \"weight_map\": {")
	n := 0
	add := func(format string, args ...any) {
		if n > 0 {
			text = append(text, ',')
		}
		text = fmt.Appendf(text, "\n    %q: \"model-%05d-of-%05d.safetensors\"", fmt.Sprintf(format, args...), n*shards/(names+1)+1, shards)
		n++
	}
	for layer := range layers {
		for _, one := range []string{
			"input_layernorm", "post_attention_layernorm", "self_attn.q_a_proj", "self_attn.q_b_proj", "self_attn.kv_a_proj_with_mqa", "self_attn.kv_b_proj",
			"self_attn.o_proj", "self_attn.q_a_layernorm", "self_attn.kv_a_layernorm", "mlp.gate",
		} {
			add("language_model.model.layers.%d.%s.weight", layer, one)
		}
		for expert := range experts {
			for _, proj := range []string{"gate", "up", "down"} {
				for _, part := range []string{"packed", "scale", "shape"} {
					add("language_model.model.layers.%d.mlp.experts.%d.%s_proj.weight_%s", layer, expert, proj, part)
				}
			}
		}
	}
	for _, one := range []string{"model.embed_tokens", "model.norm", "lm_head"} {
		add("language_model.%s.weight", one)
	}
	if _, err := file.Write(append(text, "\n  }\n}\n"...)); err != nil {
		b.Fatal(err)
	}
}
