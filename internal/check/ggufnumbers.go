package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

// The rules about the numbers of a GGUF file: keys against each other and against shapes.
var ggufNumberRules = []*Rule{
	{
		ID: "WT349", Name: "gguf-dimensions", Severity: checkpoint.Error, run: runGGUFDimensions,
		Title: "a tensor does not have the dimensions that the keys make",
		Doc: `llama.cpp computes the shape of every tensor from embedding_length, feed_forward_length,
head_count and their like, and refuses others: “tensor has wrong shape”. Sizes that
architectures double or share are allowed for.`,
		Bad: "feed_forward_length 11008, blk.0.ffn_up.weight [14336,4096]", Good: "feed_forward_length 14336",
	},
	{
		ID: "WT350", Name: "gguf-numbers", Severity: checkpoint.Error, run: runGGUFNumbers,
		Title: "numbers of the architecture are absurd or contradict each other",
		Doc: `A list with an element per block has to have as many as there are blocks. More experts used
than there are, experts without tensors, key and value heads that do not divide the
heads, rotary dimensions beyond the head size, and a context of none or of billions of
tokens are what a converter wrote that read another field.`,
		Bad: "expert_count 8, expert_used_count 9", Good: "expert_used_count 2",
	},
	{
		ID: "WT351", Name: "gguf-keys", Severity: checkpoint.Warning, run: runGGUFKeys,
		Profiles: map[Profile]checkpoint.Severity{LlamaCpp: checkpoint.Error},
		Title:    "a key that every reader of language models needs is absent",
		Doc: `llama.cpp stops at “key not found in model” without context_length, embedding_length,
block_count, the epsilon of the architecture's normalisation, the model of the tokenizer and its tokens, and without what an
architecture needs besides: expert_feed_forward_length, the buckets of T5, the sliding window of gpt-oss, the scales of Granite, the
sizes of a state space. Without head_count blocks with attention have no heads, and without feed_forward_length those of ffn_up no rows.
An adapter is one only by general.type and adapter.type.`,
		Bad: "no llama.context_length", Good: "llama.context_length = 8192",
	},
	{
		ID: "WT352", Name: "gguf-key-types", Severity: checkpoint.Warning, run: runGGUFKeyTypes,
		Profiles: map[Profile]checkpoint.Severity{LlamaCpp: checkpoint.Error},
		Title:    "a number of the architecture is stored in another type",
		Doc: `llama.cpp reads counts as u32 and floats as f32, and refuses other types: “key has wrong
type”. Other readers convert.`,
		Bad: "llama.block_count of i32", Good: "llama.block_count of u32",
	},
	{
		ID: "WT353", Name: "gguf-tensors", Severity: checkpoint.Error, run: runGGUFTensors,
		Title: "the tensors are not those of the architecture",
		Doc: `llama.cpp stops at “missing tensor”, and at “wrong number of tensors” for one that it did
not ask for, which is a warning without its profile. What an architecture has in one of
several ways, as separate or joined projections, may be there in any of them.`,
		Bad: "no output_norm.weight", Good: "output_norm.weight [4096]",
	},
	{
		ID: "WT354", Name: "gguf-projector", Severity: checkpoint.Error, run: runGGUFProjector,
		Title: "the keys of an mmproj file are not those of its tensors",
		Doc: `clip.vision.block_count counts the blocks below v.blk, embedding_length is their width, and
clip.projector_type says what joins the tower to the language model.`,
		Bad: "clip.vision.block_count 27, v.blk.0 to v.blk.25", Good: "clip.vision.block_count 26",
	},
}

// perBlock returns a number that may be given for each block, and false where it is not
// given for this one.
func (k ggufKeys) perBlock(key string, block int) (uint64, bool) {
	v, ok := k.Lookup(k.arch + "." + key)
	if !ok {
		return 0, false
	}
	a, isArray := v.Array()
	if !isArray {
		return v.Uint()
	}
	e, ok := a.At(uint64(block))
	if !ok {
		return 0, false
	}
	return e.Uint()
}

// ggufModels yields the files of language models of an architecture that llama.cpp has.
func (p *Pass) ggufModels(yield func(m *model, k ggufKeys) bool) {
	for m, k := range p.ggufs {
		kind := ggufText(k.File, "general.type")
		c := m.ggufConvention()
		if c == nil || !c.Language && !convention.HasGGUFNumbers(k.arch) || kind == "adapter" || kind == "mmproj" || kind == "vocab" || m.names().Adapter || m.Len() == 0 {
			continue
		}
		if !yield(m, k) {
			return
		}
	}
}

func runGGUFDimensions(p *Pass) {
	for m, k := range p.ggufModels {
		hidden, ok := k.number("embedding_length")
		if !ok || hidden == 0 {
			continue
		}
		for _, t := range m.families() {
			id, ok := m.names().ids[t]
			if !ok {
				continue
			}
			for _, i := range t.members {
				tensor := m.At(int(i))
				block := 0
				if n, ok := m.names().parse(tensor.Name); ok && len(n.Index) > 0 {
					block = n.Index[0]
				}
				if want := k.dimension(id.Role, block, hidden, tensor.Shape); want != "" {
					p.report(m.finding(int(i), "%s, where %s", shapeText(tensor.Shape), want))
				}
			}
		}
		if head, i, ok := m.tensor("output.weight"); ok {
			if embed, _, known := m.tensor("token_embd.weight"); known && len(embed.Shape) == 2 && len(head.Shape) == 2 && head.Shape[0] != embed.Shape[0] {
				p.report(m.finding(i, "%s, where token_embd.weight has %s", shapeText(head.Shape), plural.Of(embed.Shape[0], "row")))
			}
		}
	}
}

// dimension says which number a shape contradicts, "" for none. Sources: the create_tensor
// calls of llama.cpp's src/models/*.cpp; several architectures join two projections in one
// of twice the size, Arctic's dense layers are as wide as the model, and of the first Qwen the
// number counts both projections (src/models/qwen.cpp, n_ff/2).
func (k ggufKeys) dimension(role string, block int, hidden uint64, shape []uint64) string {
	says := func(key string, n uint64) string { return fmt.Sprintf("%s.%s is %d", k.arch, key, n) }
	among := func(n uint64, keys ...string) (string, bool) {
		first := ""
		for _, key := range keys {
			size, ok := k.perBlock(key, block)
			if !ok || size == 0 {
				continue
			}
			if n == size || n == 2*size || n == hidden || k.arch == "qwen" && 2*n == size {
				return "", true
			}
			if first == "" {
				first = says(key, size)
			}
		}
		return first, false
	}
	module, ok := strings.CutSuffix(role, ".weight")
	if !ok {
		return ""
	}
	dense := []string{"feed_forward_length", "expert_feed_forward_length", "expert_shared_feed_forward_length"}
	switch module {
	case "layer.attn.norm", "layer.mlp.norm", "final_norm":
		if len(shape) != 1 || shape[0] != hidden {
			return says("embedding_length", hidden)
		}
	case "layer.mlp.gate", "layer.mlp.up":
		if len(shape) == 2 {
			if want, fits := among(shape[0], dense...); !fits && want != "" {
				return want
			}
			if shape[1] != hidden {
				return says("embedding_length", hidden)
			}
		}
	case "layer.mlp.down":
		if len(shape) == 2 {
			if want, fits := among(shape[1], dense...); !fits && want != "" {
				return want
			}
			if shape[0] != hidden {
				return says("embedding_length", hidden)
			}
		}
	case "layer.mlp.experts.gate", "layer.mlp.experts.up", "layer.mlp.experts.down":
		if len(shape) == 3 {
			inner := shape[1]
			if module == "layer.mlp.experts.down" {
				inner = shape[2]
			}
			keys, without := dense[:1], ""
			if n, ok := k.perBlock(dense[1], block); ok && n > 0 {
				keys = dense[1:2]
			} else {
				without = fmt.Sprintf(" and there is no %s.%s", k.arch, dense[1])
			}
			if want, fits := among(inner, keys...); !fits && want != "" {
				return want + without
			}
		}
	case "layer.attn.v":
		kv, ok := k.perBlock("attention.head_count_kv", block)
		size, known := k.number("attention.value_length")
		// Sliding windows may have heads of another size, and latent attention has.
		if !ok || !known || len(shape) != 2 || kv == 0 || kv > 1<<20 || size > 1<<20 || k.has("attention.value_length_swa", "attention.kv_lora_rank", "attention.key_length_mla") {
			return ""
		}
		if shape[0] != kv*size {
			return fmt.Sprintf("head_count_kv %d and value_length %d make %s", kv, size, plural.Of(kv*size, "row"))
		}
	}
	return ""
}

func (k ggufKeys) has(keys ...string) bool {
	return slices.ContainsFunc(keys, func(key string) bool { _, ok := k.Lookup(k.arch + "." + key); return ok })
}

// perLayer are the keys that may have an element per block (llama-model-loader.cpp,
// get_key_or_arr, which refuses another number of elements).
var perLayer = []string{"feed_forward_length", "attention.head_count", "attention.head_count_kv", "expert_used_count"}

func runGGUFNumbers(p *Pass) {
	for m, k := range p.ggufModels {
		bad := func(key, format string, args ...any) {
			p.report(k.key(m, k.arch+"."+key, k.arch+"."+key+" "+format, args...))
		}
		blocks, okBlocks := k.number("block_count")
		const maxLayers, maxContext = 512, 1 << 30 // LLAMA_MAX_LAYERS in src/llama-hparams.h
		if okBlocks && (blocks == 0 || blocks > maxLayers) {
			bad("block_count", "is %d; llama.cpp has room for 1 to %d", blocks, maxLayers)
		}
		if n, ok := k.number("context_length"); ok && (n == 0 || n > maxContext) {
			bad("context_length", "is %d", n)
		}
		for _, key := range perLayer {
			if v, ok := k.Lookup(k.arch + "." + key); ok && okBlocks {
				if a, isArray := v.Array(); isArray && a.Len() != blocks {
					bad(key, "has %s, and block_count is %d", plural.Of(a.Len(), "element"), blocks)
				}
			}
		}
		attention := slices.ContainsFunc(m.families(), func(t *family) bool { return strings.HasSuffix(t.first, ".attn_q.weight") })
		heads, okHeads := k.perBlock("attention.head_count", 0)
		kv, okKV := k.perBlock("attention.head_count_kv", 0)
		switch {
		case !attention || !okHeads:
		case heads == 0 && k.scalar("attention.head_count"):
			bad("attention.head_count", "is 0, and blocks have attention")
		case okKV && kv > 0 && heads%kv != 0 && k.scalar("attention.head_count_kv"):
			bad("attention.head_count_kv", "is %d, which does not divide head_count %d", kv, heads)
		}
		if !k.has("attention.key_length_swa", "attention.kv_lora_rank", "attention.key_length_mla", "rope.dimension_count_swa") {
			size, known := k.number("attention.key_length")
			if hidden, ok := k.number("embedding_length"); !known && ok && heads > 0 && hidden%heads == 0 {
				size, known = hidden/heads, true
			}
			if rot, ok := k.number("rope.dimension_count"); ok && attention && known && size > 0 && (rot > size || rot%2 == 1 || rot != size && slices.Contains(wholeRotary, k.arch)) {
				bad("rope.dimension_count", "is %d, and the head size %d", rot, size)
			}
		}
		k.experts(m, bad)
		if n, ok := k.number("vocab_size"); ok {
			if t, _, known := m.tensor("token_embd.weight"); known && len(t.Shape) == 2 && t.Shape[0] != n {
				p.grade(checkpoint.Warning, k.key(m, k.arch+".vocab_size", "%s.vocab_size is %d, and token_embd.weight has %s", k.arch, n, plural.Of(t.Shape[0], "row")))
			}
		}
	}
}

// scalar reports whether a key has one number for all blocks.
func (k ggufKeys) scalar(key string) bool { _, ok := k.number(key); return ok }

// experts holds the counts of experts against each other and the tensors.
func (k ggufKeys) experts(m *model, bad func(key, format string, args ...any)) {
	count, ok := k.number("expert_count")
	used, okUsed := k.number("expert_used_count")
	routed := slices.ContainsFunc(m.families(), func(t *family) bool { return strings.Contains(t.first, "_exps.") })
	switch {
	case m.partial():
	case ok && count > 0 && !routed:
		bad("expert_count", "is %d, and no tensor is of experts", count)
	case routed && ok && count == 0:
		bad("expert_count", "is 0, and tensors are of experts")
	case ok && okUsed && used > count:
		bad("expert_used_count", "is %d, and expert_count is %d", used, count)
	case routed && okUsed && used == 0:
		bad("expert_used_count", "is 0, and tensors are of experts")
	}
}

// wholeGGUF returns how a model fits its architecture, and false where what is there is a
// part of one.
func (m *model) wholeGGUF() (*identify.Fit, bool) {
	fit, ok := m.names().Fit(m.ggufConvention())
	return fit, ok && !m.partial() && fit.Found > len(fit.Missing)
}

// wholeRotary are the architectures of which llama.cpp refuses heads that are turned in part:
// “invalid n_rot” (src/llama-model.cpp, load_hparams).
var wholeRotary = []string{"llama", "llama-embed", "deci", "falcon"}

func runGGUFKeys(p *Pass) {
	// src/llama-adapter.cpp, llama_adapter_lora_init_impl.
	for m, k := range p.ggufs {
		if !m.names().Adapter || m.partial() {
			continue
		}
		for _, want := range [][2]string{{"general.type", "adapter"}, {"adapter.type", "lora"}} {
			switch kind := ggufText(k.File, want[0]); kind {
			case want[1]:
			case "":
				p.report(m.whole("no key %s, which is %q in an adapter, and llama.cpp takes no other", want[0], want[1]))
			default:
				p.report(k.key(m, want[0], "%s is %q, and llama.cpp takes an adapter only where it is %q", want[0], kind, want[1]))
			}
		}
	}
	for m, k := range p.ggufModels {
		if _, whole := m.wholeGGUF(); !whole {
			continue
		}
		var keys []string
		for _, n := range convention.GGUFNumbers(k.arch) {
			if n.Needed {
				keys = append(keys, k.arch+"."+n.Key)
			}
		}
		keys = append(keys, "tokenizer.ggml.model")
		if ggufText(k.File, "tokenizer.ggml.model") != "none" && ggufText(k.File, "tokenizer.ggml.model") != "no_vocab" {
			keys = append(keys, "tokenizer.ggml.tokens")
		}
		has := func(leaves ...string) bool {
			return slices.ContainsFunc(m.families(), func(t *family) bool {
				leaf, ok := strings.CutPrefix(t.template, "blk.0.")
				return ok && slices.Contains(leaves, leaf)
			})
		}
		if has("attn_q.weight", "attn_qkv.weight") {
			keys = append(keys, k.arch+".attention.head_count")
		}
		if has("ffn_up.weight") {
			keys = append(keys, k.arch+".feed_forward_length")
		}
		for _, key := range keys {
			if _, ok := k.Lookup(key); !ok {
				p.report(m.whole("no key %s, which llama.cpp does not do without", key))
			}
		}
	}
}

// keyTypes are the types of keys as [convention.GGUFNumber] spells them (GKV::get_kv of
// src/llama-model-loader.cpp compares them).
var keyTypes = map[string]gguf.ValueType{"u32": gguf.TypeUint32, "f32": gguf.TypeFloat32, "bool": gguf.TypeBool, "str": gguf.TypeString, "list": gguf.TypeArray}

func runGGUFKeyTypes(p *Pass) {
	for m, k := range p.ggufModels {
		types := make(map[string]gguf.ValueType)
		for _, n := range convention.GGUFNumbers(k.arch) {
			types[n.Key] = keyTypes[n.Type]
		}
		for _, kv := range k.KVs {
			key, ok := strings.CutPrefix(kv.Key, k.arch+".")
			want, known := types[key]
			if !ok || !known || kv.Value.Type() == want || kv.Value.Type() == gguf.TypeArray && slices.Contains(perLayer, key) {
				continue
			}
			p.report(k.key(m, kv.Key, "%s is a %s, and llama.cpp reads a %s", kv.Key, kv.Value.Type(), want))
		}
	}
}

func runGGUFTensors(p *Pass) {
	for m, k := range p.ggufModels {
		fit, whole := m.wholeGGUF()
		if !whole {
			continue
		}
		for _, t := range fit.Missing {
			_, module, leaf := convention.SplitRole(t.Role)
			if strings.HasPrefix(module, "head") || leaf == "bias" {
				continue // tied, or without one
			}
			p.report(m.whole("no tensor is %s, which files of %s have", t.Pattern, k.arch))
		}
		p.unknownToGGUF(m, k, fit)
	}
}

// unknownToGGUF reports the tensors that an architecture does not have. Towers are
// WT344's, and names that it spells otherwise WT341's.
func (p *Pass) unknownToGGUF(m *model, k ggufKeys, fit *identify.Fit) {
	var extra []*family
	for _, t := range m.families() {
		place := fit.Place(t.first)
		tower := slices.ContainsFunc(towers, func(tower string) bool { return strings.HasPrefix(t.first, tower) })
		if place.Tensor == nil && !place.Buffer && !tower && m.ggufName(t.first) == t.first && !strings.HasSuffix(t.first, ".scale") && !strings.HasSuffix(t.first, ".bias") {
			extra = append(extra, t)
		}
	}
	// More of them are of an architecture that is not told apart well enough.
	const most = 3
	if len(extra) > most {
		return
	}
	severity := checkpoint.Warning
	if p.opts.Profile == LlamaCpp {
		severity = checkpoint.Error
	}
	for _, t := range extra {
		for _, i := range t.members {
			p.grade(severity, m.finding(int(i), "not a tensor of %s; llama.cpp refuses those that it does not ask for", k.arch))
		}
	}
}

func runGGUFProjector(p *Pass) {
	for m, k := range p.ggufs {
		if k.arch != "clip" || m.partial() {
			continue
		}
		top, known := 0, false
		for _, s := range m.stacks() {
			if s.before == "v.blk." {
				top, known = max(top, s.top()), true
			}
		}
		if n, ok := k.number("vision.block_count"); ok && known && n != uint64(top)+1 {
			p.report(k.key(m, "clip.vision.block_count", "clip.vision.block_count is %d, and the tensors have %s (v.blk.0 to v.blk.%d)", n, plural.Of(top+1, "block"), top))
		}
		n, ok := k.number("vision.embedding_length")
		if t, i, found := m.tensor("v.blk.0.ln1.weight"); ok && found && len(t.Shape) == 1 && t.Shape[0] != n {
			p.report(m.finding(i, "%s, where clip.vision.embedding_length is %d", shapeText(t.Shape), n))
		}
		typed := k.has("projector_type", "vision.projector_type", "audio.projector_type", "has_llava_projector")
		joins := slices.ContainsFunc(m.families(), func(t *family) bool { return strings.HasPrefix(t.first, "mm.") })
		switch {
		case joins && !typed:
			p.report(m.whole("tensors below mm. and no clip.projector_type"))
		case typed && !joins && !slices.ContainsFunc(m.families(), func(t *family) bool {
			return strings.HasPrefix(t.first, "resampler.") || strings.HasPrefix(t.first, "v.merger") || strings.HasPrefix(t.first, "a.") || strings.Contains(t.first, "proj")
		}):
			p.grade(checkpoint.Warning, m.whole("a projector_type and no tensor below mm.; nothing joins the tower to the language model"))
		}
	}
}
