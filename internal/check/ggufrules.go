package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/template"
)

var ggufRules = []*Rule{
	{
		ID: "WT331", Name: "gguf-no-architecture", Severity: checkpoint.Error, run: runGGUFArchitecture,
		Title: "general.architecture is absent",
		Doc: `Every GGUF reader begins with it: it says which keys and tensors to look for. Files
without tensors and files of other programs are left alone.`,
		Bad: "tensors and no general.architecture", Good: `general.architecture = "llama"`,
	},
	{
		ID: "WT332", Name: "gguf-depth", Severity: checkpoint.Error, run: runGGUFDepth,
		Title: "block_count is not the number of blocks that have tensors",
		Doc: `llama.cpp looks for the tensors of every block up to block_count, and refuses tensors
that it did not ask for.`,
		Bad: "llama.block_count 32, blk.0 to blk.30", Good: "llama.block_count 31",
	},
	{
		ID: "WT333", Name: "gguf-hidden-size", Severity: checkpoint.Error, run: runGGUFHidden,
		Title: "embedding_length is not the width of the token embedding",
		Doc:   `The rows of token_embd.weight have embedding_length elements.`,
		Bad:   "llama.embedding_length 2560, token_embd.weight [32000,4096]", Good: "llama.embedding_length 4096",
	},
	{
		ID: "WT334", Name: "gguf-token-arrays", Severity: checkpoint.Error, run: runGGUFTokens,
		Title: "the tokenizer's arrays have different lengths",
		Doc: `tokens, scores and token_type of tokenizer.ggml have one element a token. A reader
that believes the first reads past the end of the others.`,
		Bad: "32000 tokens, 31999 scores", Good: "32000 of each",
	},
	{
		ID: "WT335", Name: "gguf-vocabulary", Severity: checkpoint.Error, run: runGGUFVocabulary,
		Title: "the tokens are not as many as the rows of the embedding",
		Doc: `More tokens than rows make numbers without a row. More rows than tokens are what
padding leaves, and a warning: llama.cpp refuses them for some architectures.`,
		Bad: "32001 tokens, token_embd.weight of 32000 rows", Good: "32000 of each",
	},
	{
		ID: "WT336", Name: "gguf-file-type", Severity: checkpoint.Warning, run: runGGUFFileType,
		Title: "general.file_type is not the type that most weights have",
		Doc: `Programs show it as the file's quantisation. Mixes such as Q4_K_M hold other types
too; the one that most elements have decides.`,
		Bad: "file_type Q4_0, all tensors Q8_0", Good: "file_type Q8_0",
	},
	{
		ID: "WT337", Name: "gguf-quantisation-version", Severity: checkpoint.Info, run: runGGUFQuantVersion,
		Title: "quantised tensors and no general.quantization_version",
		Doc:   `The format asks for it wherever a tensor is quantised. Current readers do without.`,
		Bad:   "Q4_0 tensors, no general.quantization_version", Good: "general.quantization_version = 2",
	},
	{
		ID: "WT338", Name: "gguf-heads", Severity: checkpoint.Error, run: runGGUFHeads,
		Title: "the query and key projections do not have the rows that the heads need",
		Doc: `head_count × key_length rows of attn_q, head_count_kv × key_length of attn_k; without
key_length the head size is embedding_length / head_count.`,
		Bad: "head_count 32, head size 128, attn_q of 2048 rows", Good: "attn_q of 4096 rows",
	},
	{
		ID: "WT339", Name: "gguf-experts", Severity: checkpoint.Error, run: runGGUFExperts,
		Title: "expert_count is not the number of stacked experts",
		Doc:   `The slowest dimension of the ffn_*_exps tensors, and the rows of ffn_gate_inp, count the experts.`,
		Bad:   "expert_count 8, ffn_up_exps.weight [4,…]", Good: "expert_count 4",
	},
	{
		ID: "WT340", Name: "gguf-special-token", Severity: checkpoint.Error, run: runGGUFSpecial,
		Title: "a special token's number is beyond the tokens",
		Doc:   `bos_token_id and its like are indexes into tokenizer.ggml.tokens.`,
		Bad:   "eos_token_id 32000 of 32000 tokens", Good: "eos_token_id 2",
	},
	{
		ID: "WT341", Name: "gguf-near-name", Severity: checkpoint.Error, run: runGGUFNearName,
		Title: "a name that the architecture has in another spelling",
		Doc: `llama.cpp asks for every tensor by its whole name: blk.1.exp_probs_b.bias is another
tensor than blk.1.exp_probs_b, and which of them an architecture has depends on it.`,
		Bad: "blk.1.exp_probs_b in a file of deepseek2", Good: "blk.1.exp_probs_b.bias",
		Fix: &Fix{Kind: FixNames, Doc: "gives the name that the architecture has", clean: (*model).ggufName},
	},
	{
		ID: "WT342", Name: "gguf-architecture-names", Severity: checkpoint.Warning, run: runGGUFArchitectureNames,
		Profiles: map[Profile]checkpoint.Severity{LlamaCpp: checkpoint.Error},
		Title:    "general.architecture is not that of the names",
		Doc: `Loaders choose the code by general.architecture, and refuse those that they do not
know. For models of images and video the names are those that ComfyUI-GGUF knows.`,
		Bad: "general.architecture pig over Wan's names", Good: "general.architecture wan",
	},
	{
		ID: "WT343", Name: "gguf-prediction-blocks", Severity: checkpoint.Error, run: runGGUFPrediction,
		Title: "nextn_predict_layers counts blocks that have no tensors",
		Doc: `Blocks for multi-token prediction are the last of block_count, and have nextn tensors.
Where they were left out, block_count has to be lower and nextn_predict_layers 0.`,
		Bad: "nextn_predict_layers 1, no blk.46.nextn.eh_proj.weight", Good: "no nextn_predict_layers",
	},
	{
		ID: "WT344", Name: "gguf-towers", Severity: checkpoint.Info, run: runGGUFTowers,
		Profiles: map[Profile]checkpoint.Severity{LlamaCpp: checkpoint.Warning},
		Title:    "towers are in the file of the language model",
		Doc: `Ollama writes vision and audio towers beside the language model. llama.cpp reads them
from a second file (mmproj), and refuses tensors that it did not ask for. Reported for
--profile llama.cpp.`,
		Bad: "v.blk.0.attn_q.weight beside blk.0.attn_q.weight", Good: "the towers in mmproj.gguf",
	},
	{
		ID: "WT345", Name: "gguf-token-types", Severity: checkpoint.Error, run: runGGUFTokenTypes,
		Title: "an array of the tokenizer has elements of another type",
		Doc: `tokens and merges are strings, scores f32, token_type i32. Readers take the bytes as
they expect them.`,
		Bad: "tokenizer.ggml.scores of f64", Good: "tokenizer.ggml.scores of f32",
	},
}

// ggufs yields the GGUF models with their first readable part, which has the
// metadata, and the name of their architecture.
func (p *Pass) ggufs(yield func(m *model, keys ggufKeys) bool) {
	for _, m := range p.models {
		if m.Format != checkpoint.GGUF || len(m.Files) == 0 {
			continue
		}
		// The metadata of a split are in its first part.
		g := m.Files[0].GGUF()
		if g == nil {
			continue
		}
		if !yield(m, ggufKeys{g, ggufText(g, "general.architecture")}) {
			return
		}
	}
}

// ggufKeys looks keys up below an architecture.
type ggufKeys struct {
	*gguf.File
	arch string
}

// number returns an integer below the architecture, and false where there is
// none or an array with an element a layer.
func (k ggufKeys) number(key string) (uint64, bool) {
	v, ok := k.Lookup(k.arch + "." + key)
	if !ok {
		return 0, false
	}
	return v.Uint()
}

// key returns a finding about a metadata key.
func (k ggufKeys) key(m *model, key, format string, args ...any) Finding {
	f := m.whole(format, args...)
	for i := range k.KVs {
		if k.KVs[i].Key == key {
			f.Offset = k.KVs[i].Offset
		}
	}
	return f
}

// tensor returns a tensor by its name.
func (m *model) tensor(name string) (checkpoint.Tensor, int, bool) {
	i, ok := m.Lookup(name)
	if !ok {
		return checkpoint.Tensor{}, 0, false
	}
	return m.At(i), i, true
}

func runGGUFArchitecture(p *Pass) {
	for m, k := range p.ggufs {
		if _, ok := k.Lookup("general.architecture"); ok || m.Len() == 0 {
			continue
		}
		// Only what looks like a language model is meant for llama.cpp.
		if _, _, ok := m.tensor("token_embd.weight"); ok || p.opts.Profile == LlamaCpp {
			p.report(m.whole("%s and no general.architecture", plural.Of(m.Len(), "tensor")))
		}
	}
}

func runGGUFDepth(p *Pass) {
	for m, k := range p.ggufs {
		want, ok := k.number("block_count")
		if !ok || m.partial() {
			continue
		}
		blocks, _ := m.blocksOf()
		if blocks == 0 || blocks == want {
			continue
		}
		p.report(k.key(m, k.arch+".block_count", "%s.block_count is %d, and the tensors have %s (blk.0 to blk.%d)", k.arch, want, plural.Of(int(blocks), "block"), blocks-1))
	}
}

func runGGUFHidden(p *Pass) {
	for m, k := range p.ggufs {
		want, ok := k.number("embedding_length")
		t, _, known := m.tensor("token_embd.weight")
		if !ok || !known || len(t.Shape) != 2 || t.Shape[1] == want {
			continue
		}
		p.report(k.key(m, k.arch+".embedding_length", "%s.embedding_length is %d, and token_embd.weight has rows of %d", k.arch, want, t.Shape[1]))
	}
}

func (k ggufKeys) length(key string) (uint64, bool) {
	v, ok := k.Lookup(key)
	if !ok {
		return 0, false
	}
	a, ok := v.Array()
	return a.Len(), ok
}

func runGGUFTokens(p *Pass) {
	for m, k := range p.ggufs {
		tokens, ok := k.length("tokenizer.ggml.tokens")
		if !ok {
			continue
		}
		for _, key := range []string{"tokenizer.ggml.scores", "tokenizer.ggml.token_type"} {
			if n, ok := k.length(key); ok && n != tokens {
				p.report(k.key(m, key, "%s has %s, and tokenizer.ggml.tokens %d", key, plural.Of(n, "element"), tokens))
			}
		}
	}
}

func runGGUFVocabulary(p *Pass) {
	for m, k := range p.ggufs {
		tokens, ok := k.length("tokenizer.ggml.tokens")
		t, i, known := m.tensor("token_embd.weight")
		if !ok || !known || len(t.Shape) != 2 || t.Shape[0] == tokens {
			continue
		}
		f := m.finding(i, "%s, and tokenizer.ggml.tokens has %s", plural.Of(t.Shape[0], "row"), plural.Of(tokens, "token"))
		if t.Shape[0] > tokens {
			p.grade(checkpoint.Warning, f)
			continue
		}
		p.report(f)
	}
}

// baseType is what llama.cpp's file types are mixes of: Q4_K_M of Q4_K.
func baseType(fileType string) string {
	s := strings.TrimSuffix(strings.TrimPrefix(fileType, "ALL_"), "_MOE")
	for _, size := range []string{"_S", "_M", "_L", "_XS"} {
		if base, ok := strings.CutSuffix(s, size); ok && strings.HasSuffix(base, "_K") {
			return base
		}
	}
	return s
}

func runGGUFFileType(p *Pass) {
	for m, k := range p.ggufs {
		ft, ok := k.FileType()
		if !ok || !ft.Known() || m.partial() {
			continue
		}
		elements := make(map[string]uint64)
		for _, t := range m.All() {
			// Embedding and output are often of another type than the layers.
			if n, ok := t.Elements(); ok && len(t.Shape) > 1 && strings.HasPrefix(t.Name, "blk.") {
				elements[t.DType] += n
			}
		}
		if len(elements) == 0 {
			continue
		}
		most := slices.MaxFunc(slices.Sorted(maps.Keys(elements)), func(a, b string) int { return cmp.Compare(elements[a], elements[b]) })
		want := baseType(ft.String())
		// The IQ types and Q2_K are mixes in which another type may hold more.
		if most == want || strings.HasPrefix(want, "IQ") || strings.HasPrefix(most, "IQ") || want == "Q2_K" || elements[want] > 0 && strings.HasSuffix(want, "_K") {
			continue
		}
		p.report(k.key(m, "general.file_type", "general.file_type is %s, and most elements of the layers are %s", ft, most))
	}
}

func runGGUFQuantVersion(p *Pass) {
	for m, k := range p.ggufs {
		if _, ok := k.Lookup("general.quantization_version"); ok {
			continue
		}
		for i, t := range m.All() {
			if strings.HasPrefix(t.DType, "Q") || strings.HasPrefix(t.DType, "IQ") {
				f := m.finding(i, "%s, and the file has no general.quantization_version", t.DType)
				f.Tensor = ""
				p.report(f)
				break
			}
		}
	}
}

func runGGUFHeads(p *Pass) {
	for m, k := range p.ggufs {
		// Latent attention has head sizes of its own kinds.
		if _, latent := k.number("attention.kv_lora_rank"); latent {
			continue
		}
		heads, okHeads := k.perBlock("attention.head_count", 0)
		hidden, okHidden := k.number("embedding_length")
		size, okSize := k.number("attention.key_length")
		if k.has("attention.key_length_swa") && !k.scalar("attention.head_count_kv") {
			continue // heads of another size in some blocks
		}
		if !okSize && okHeads && k.scalar("attention.head_count") && okHidden && heads > 0 && hidden%heads == 0 {
			size, okSize = hidden/heads, true
		}
		if !okHeads || !okSize || heads == 0 || heads > 1<<20 || size == 0 || size > 1<<20 {
			continue
		}
		kvKey := "attention.head_count_kv"
		if !k.has(kvKey) {
			kvKey = "attention.head_count"
		}
		for _, q := range []struct{ leaf, key string }{{"attn_q.weight", "attention.head_count"}, {"attn_k.weight", kvKey}} {
			for _, t := range m.families() {
				if t.template != "blk.0."+q.leaf {
					continue
				}
				var odd []int
				for _, i := range t.members {
					_, block, _, _ := template.Layer(m.At(int(i)).Name)
					n, ok := k.perBlock(q.key, block)
					if s := m.At(int(i)).Shape; ok && n > 0 && n < 1<<20 && len(s) == 2 && s[0] != n*size && s[0] != 2*n*size {
						odd = append(odd, int(i))
					}
				}
				// Where one number is for all, and some blocks agree, the architecture mixes
				// kinds of attention.
				if k.scalar(q.key) && 2*len(odd) < len(t.members) {
					continue
				}
				for _, i := range odd {
					_, block, _, _ := template.Layer(m.At(i).Name)
					n, _ := k.perBlock(q.key, block)
					p.report(m.finding(i, "%s, where %s %d and a head size of %d make %d", plural.Of(m.At(i).Shape[0], "row"), strings.TrimPrefix(q.key, "attention."), n, size, n*size))
				}
			}
		}
	}
}

func runGGUFExperts(p *Pass) {
	for m, k := range p.ggufs {
		want, ok := k.number("expert_count")
		if !ok || want == 0 {
			continue
		}
		for _, t := range m.families() {
			stacked := strings.HasPrefix(t.template, "blk.0.ffn_") && strings.HasSuffix(t.template, "_exps.weight")
			if !stacked && t.template != "blk.0.ffn_gate_inp.weight" {
				continue
			}
			for _, i := range t.members {
				if s := m.At(int(i)).Shape; len(s) >= 2 && s[0] != want {
					p.report(m.finding(int(i), "%s, where %s.expert_count is %d", plural.Of(s[0], "expert"), k.arch, want))
				}
			}
		}
	}
}

func runGGUFSpecial(p *Pass) {
	for m, k := range p.ggufs {
		tokens, ok := k.length("tokenizer.ggml.tokens")
		if !ok {
			continue
		}
		for _, kv := range k.KVs {
			if !strings.HasPrefix(kv.Key, "tokenizer.ggml.") || !strings.HasSuffix(kv.Key, "_token_id") {
				continue
			}
			const none = 1<<32 - 1 // -1 as u32
			if id, ok := kv.Value.Uint(); ok && id >= tokens && id != none {
				p.report(k.key(m, kv.Key, "%s is %d, and there %s %s", kv.Key, id, plural.Verb(tokens, "are"), plural.Of(tokens, "token")))
			}
		}
	}
}

// ggufConvention returns what llama.cpp calls the tensors of the file's architecture, nil
// where that is not known.
func (m *model) ggufConvention() *convention.Convention {
	if m.Format != checkpoint.GGUF {
		return nil
	}
	c, _ := convention.Lookup(m.Architecture(nil) + "-gguf")
	return c
}

// ggufName returns the name that the file's architecture has for a tensor which has another
// leaf than it asks for, and otherwise the name as it is.
func (m *model) ggufName(name string) string {
	c := m.ggufConvention()
	if c == nil {
		return name
	}
	if _, ok := c.Parse(name); ok {
		return name
	}
	stem := strings.TrimSuffix(strings.TrimSuffix(name, ".weight"), ".bias")
	for _, leaf := range []string{"", ".weight", ".bias"} {
		if _, ok := c.Parse(stem + leaf); !ok || stem+leaf == name {
			continue
		}
		if _, taken := m.Lookup(stem + leaf); !taken {
			return stem + leaf
		}
	}
	return name
}

func runGGUFNearName(p *Pass) {
	for m := range p.ggufs {
		for i, t := range m.All() {
			// A bias beside a weight is one that the table does not list.
			if _, hasWeight := m.Lookup(strings.TrimSuffix(t.Name, ".bias") + ".weight"); hasWeight && strings.HasSuffix(t.Name, ".bias") {
				continue
			}
			if name := m.ggufName(t.Name); name != t.Name {
				f := m.finding(i, "is %s in files of %s", generic(name), m.Architecture(nil))
				f.Fixable = true
				p.report(f)
			}
		}
	}
}

// imageArchitectures are what ComfyUI-GGUF calls the models of a convention (loader.py:
// IMG_ARCH_LIST; tools/convert.py). The first is what its converter writes.
var imageArchitectures = map[string][]string{
	"flux": {"flux"}, "chroma": {"flux", "chroma"}, "flux2": {"flux", "flux2"}, "sd3": {"sd3"}, "wan": {"wan"}, "hunyuan_video": {"hyvid"},
	"ltx": {"ltxv"}, "qwenimage": {"qwen_image"}, "lumina2": {"lumina2"}, "z_image": {"lumina2", "z_image"}, "auraflow": {"aura"}, "hidream": {"hidream"},
}

func runGGUFArchitectureNames(p *Pass) {
	for m, k := range p.ggufs {
		n := m.names()
		if k.arch == "" || n.Convention == "" || n.Adapter || m.partial() {
			continue
		}
		family, original := strings.CutSuffix(n.Convention, "-original")
		if want := imageArchitectures[family]; original && want != nil && n.Coverage == 1 && !slices.Contains(want, k.arch) {
			p.report(k.key(m, "general.architecture", "general.architecture is %q, and the names are those of %s, which is %q", k.arch, n.Convention, want[0]))
			continue
		}
		own := m.ggufConvention()
		if own != nil && own.Language && n.conv != nil && n.conv.Language && !n.conv.HasDialect("gguf") && n.Coverage == 1 {
			p.report(k.key(m, "general.architecture", "general.architecture is %q, and the names are those of %s, not llama.cpp's; 'wtinspect rename --to %s'", k.arch, n.Convention, own.Name))
			continue
		}
		if own == nil || own.Name == n.Convention || !strings.HasSuffix(n.Convention, "-gguf") || n.Coverage < 1 || len(n.Parts) > 0 {
			continue
		}
		// Names that the architecture does not have in any spelling.
		for i, t := range m.All() {
			if _, ok := own.Parse(t.Name); !ok && !strings.HasSuffix(t.Name, ".bias") && m.ggufName(t.Name) == t.Name {
				p.report(k.key(m, "general.architecture", "general.architecture is %q, and %s is a name of %s", k.arch, m.At(i).Name, n.Convention))
				break
			}
		}
	}
}

// blocksOf returns how many blocks have tensors, and whether any is of multi-token
// prediction.
func (m *model) blocksOf() (blocks uint64, prediction bool) {
	for _, t := range m.families() {
		if !strings.HasPrefix(t.first, "blk.") {
			continue
		}
		prediction = prediction || strings.Contains(t.first, ".nextn.")
		for _, i := range t.members {
			if _, n, _, ok := template.Layer(m.At(int(i)).Name); ok {
				blocks = max(blocks, uint64(n)+1)
			}
		}
	}
	return blocks, prediction
}

func runGGUFPrediction(p *Pass) {
	for m, k := range p.ggufs {
		n, ok := k.number("nextn_predict_layers")
		blocks, prediction := m.blocksOf()
		if !ok || n == 0 || prediction || blocks == 0 || m.partial() {
			continue
		}
		what := "take the key out"
		if depth, ok := k.number("block_count"); ok && depth == blocks+n {
			what = fmt.Sprintf("set block_count to %d and take the key out", blocks)
		}
		p.report(k.key(m, k.arch+".nextn_predict_layers", "%s.nextn_predict_layers is %d, and no tensor is blk.N.nextn.*; %s", k.arch, n, what))
	}
}

// towers are what the names of towers begin with (llama.cpp, tools/mtmd/clip-impl.h).
var towers = []string{"v.", "a.", "mm."}

func runGGUFTowers(p *Pass) {
	if p.opts.Profile != LlamaCpp {
		return
	}
	for m := range p.ggufs {
		if _, ok := m.Lookup("token_embd.weight"); !ok {
			continue
		}
		counts, first := make(map[string]int), -1
		for i, t := range m.All() {
			for _, tower := range towers {
				if strings.HasPrefix(t.Name, tower) {
					counts[tower]++
					if first < 0 {
						first = i
					}
				}
			}
		}
		if first < 0 {
			continue
		}
		var words []string
		for _, tower := range slices.Sorted(maps.Keys(counts)) {
			words = append(words, fmt.Sprintf("%d below %s", counts[tower], tower))
		}
		f := m.finding(first, "tensors of towers beside the language model (%s); llama.cpp reads them from a second file", strings.Join(words, ", "))
		f.Tensor = ""
		p.report(f)
	}
}

// tokenTypes are the types of the tokenizer's arrays (llama.cpp, src/llama-vocab.cpp: load).
var tokenTypes = []struct {
	key  string
	want gguf.ValueType
}{
	{"tokenizer.ggml.tokens", gguf.TypeString},
	{"tokenizer.ggml.merges", gguf.TypeString},
	{"tokenizer.ggml.scores", gguf.TypeFloat32},
	{"tokenizer.ggml.token_type", gguf.TypeInt32},
}

func runGGUFTokenTypes(p *Pass) {
	for m, k := range p.ggufs {
		for _, t := range tokenTypes {
			v, ok := k.Lookup(t.key)
			if !ok {
				continue
			}
			a, isArray := v.Array()
			switch {
			case !isArray:
				p.report(k.key(m, t.key, "%s is a %s, and readers want an array of %s", t.key, v.Type(), t.want))
			case a.Type() != t.want:
				p.report(k.key(m, t.key, "%s has elements of %s, and readers want %s", t.key, a.Type(), t.want))
			}
		}
	}
}
