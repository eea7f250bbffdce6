package inspect

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/assemble"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/template"
	"github.com/wtinspect/wtinspect/safetensors"
)

// store finds out whether the container can hold the tensors, and what its metadata is.
func (v *Conversion) store() error {
	if err := v.holds(); err != nil {
		return err
	}
	if v.Container == checkpoint.GGUF {
		return v.keyValues()
	}
	if v.isGGUF() {
		v.kvs = []checkpoint.MetaKV{{File: -1, Key: "format", Text: "pt"}}
		n := len(v.Source.Metadata())
		v.note("%s of the GGUF file %s not carried over: safetensors files have no place for the model's numbers and the tokenizer", plural.Of(n, "key/value"), plural.Verb(n, "are"))
		v.lacks()
		return nil
	}
	if f := v.Source.Format; f == checkpoint.PyTorch || f == checkpoint.NumPy {
		v.torchMetadata()
		return nil
	}
	var differ []string
	if v.kvs, differ = assemble.Metadata(v.Source); len(differ) > 0 {
		v.note("the files of the source have different values for %s of their metadata; the first ones count", shortKeys(differ))
	}
	return nil
}

func shortKeys(keys []string) string {
	const most = 4
	if len(keys) > most {
		return strings.Join(keys[:most], ", ") + " …"
	}
	return strings.Join(keys, ", ")
}

// holds refuses dtypes that the container does not have.
func (v *Conversion) holds() error {
	lacking, kept := make(map[string][]string), make(map[string]*Keep)
	var order []string
	for i := range v.items {
		it := &v.items[i]
		known := false
		if v.Container == checkpoint.GGUF {
			_, known = gguf.ParseTensorType(it.DType)
		} else {
			_, known = safetensors.DType(it.DType).Bits()
		}
		if known {
			continue
		}
		if lacking[it.DType] == nil {
			order = append(order, it.DType)
		}
		if k := v.keep(it); k >= 0 && kept[it.DType] == nil {
			kept[it.DType] = &v.opts.Keep[k]
		}
		lacking[it.DType] = append(lacking[it.DType], it.Name)
	}
	if len(order) == 0 {
		return nil
	}
	dtype := order[0]
	names := lacking[dtype]
	how := fmt.Sprintf("--exclude %q leaves %s out", template.FoldNames(names)[0].Name, map[bool]string{true: "it", false: "them"}[len(names) == 1])
	switch k := kept[dtype]; {
	case k != nil && v.opts.DType != "" && k.DType == "" && isFloat(dtype):
		how = fmt.Sprintf("--keep %s keeps %s so: leave it out, or say which dtype, as in --keep '%s=f32'", k.Glob, map[bool]string{true: "it", false: "them"}[len(names) == 1], k.Glob)
	case isFloat(dtype):
		how = "--dtype bf16, f16 or f32 writes their numbers"
	}
	return fmt.Errorf("%s %s %s, which %s does not have (the first is %q); %s", plural.Of(len(names), "tensor"), plural.Verb(len(names), "are"), dtype, v.Container, names[0], how)
}

// lacks lists the documents of a release that a GGUF file stands for.
func (v *Conversion) lacks() {
	v.Missing = append(v.Missing, "config.json", "generation_config.json")
	tokens, template := false, false
	for _, kv := range v.Source.Metadata() {
		tokens = tokens || strings.HasPrefix(kv.Key, "tokenizer.")
		template = template || kv.Key == "tokenizer.chat_template"
	}
	if tokens {
		v.Missing = append(v.Missing, "tokenizer.json", "tokenizer_config.json")
	}
	if template {
		v.Missing = append(v.Missing, "chat_template.jinja")
	}
}

// fileTypes are the values of general.file_type for files most of whose weights have one
// type (llama.h, enum llama_ftype). Mixed ones are named after a recipe, not a type.
var fileTypes = map[string]uint32{"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "BF16": 32}

const fileTypeKey = "general.file_type"

// keyValues takes the key/values of a GGUF file.
func (v *Conversion) keyValues() error {
	from := v.opts.Like
	if from == nil && v.isGGUF() {
		from = v.Source
	}
	if from == nil {
		return fmt.Errorf("a GGUF file has key/values, the architecture, the numbers of the model and its tokenizer, and %s has none; --like FILE.gguf takes them from a GGUF file of the same model", v.Source.Path)
	}
	if from.Format != checkpoint.GGUF {
		return fmt.Errorf("--like %s: this is not a GGUF file", from.Path)
	}
	var err error
	if v.opts.Like != nil {
		if err = v.fits(v.opts.Like); err == nil {
			v.lacksOf(v.opts.Like)
		}
	}
	v.kvs, _ = assemble.Metadata(from)
	v.kvs = slices.DeleteFunc(v.kvs, func(kv checkpoint.MetaKV) bool {
		if kv.Key != "general.alignment" {
			return false
		}
		_, ok := assemble.Alignment(kv)
		if !ok {
			v.note("general.alignment of %s is not a power of two, which readers need, and is left out: tensors begin at multiples of 32", from.Path)
		}
		return !ok
	})
	if from == v.Source && v.Unchosen > 0 {
		v.note("the key/values are of the whole model, and tensors were left out; 'wtinspect check' says what contradicts them")
	}
	v.fileType()
	return err
}

// fileType says what type most of the weights have. A file whose types stay keeps what it
// says, which may be a recipe.
func (v *Conversion) fileType() {
	sizes := make(map[string]uint64)
	most, changed := "", v.opts.Like != nil
	for i := range v.items {
		it := &v.items[i]
		changed = changed || it.counted
		if len(it.Shape) < 2 {
			continue
		}
		sizes[it.DType] += it.Bytes
		if sizes[it.DType] > sizes[most] {
			most = it.DType
		}
	}
	if !changed {
		return
	}
	at := slices.IndexFunc(v.kvs, func(kv checkpoint.MetaKV) bool { return kv.Key == fileTypeKey })
	n, known := fileTypes[most]
	value := gguf.ValueOf(n)
	switch {
	case !known && at >= 0:
		v.kvs = slices.Delete(v.kvs, at, at+1)
	case !known:
	case at >= 0:
		v.kvs[at] = checkpoint.MetaKV{File: -1, Key: fileTypeKey, Value: &value}
	default:
		v.kvs = append(v.kvs, checkpoint.MetaKV{File: -1, Key: fileTypeKey, Value: &value})
	}
}

// numbers are the names of config.json for numbers that a GGUF file and what it is to
// describe must agree in, where both have them.
var numbers = []string{
	"num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim",
	"num_local_experts", "num_experts_per_tok", "vocab_size",
}

// fits refuses the key/values of a GGUF file that is of another model.
func (v *Conversion) fits(like *checkpoint.Checkpoint) error {
	architecture := like.Architecture(nil)
	how := "name a GGUF file of the same model"
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("--like %s does not describe this model: %s; %s", like.Path, fmt.Sprintf(format, args...), how)
	}
	model := adapt.ModelWith(like, nil)
	if c, ok := convention.Lookup(architecture + "-gguf"); ok {
		if got := identify.Tensors(v.named(), model); !got.IsOf(c.Name) {
			switch names := v.opts.Names; {
			case v.opts.KeepNames:
				how = "without --keep-names they get the names of GGUF files"
			case names.To != "" || names.Map != nil || !names.Edit.IsZero():
				how = "without --to, --map, --rule and the prefixes they get the names of GGUF files"
			}
			return refuse("it is of the architecture %q, and the tensors are named as in %s", architecture, orNone(got.Convention))
		}
	}
	for _, key := range numbers {
		a, ok := v.opts.Names.Model.Number(key)
		b, known := model.Number(key)
		if ok && known && a != b {
			return refuse("%s is %d there and %d here", key, b, a)
		}
	}
	layers, vocabulary := int64(0), uint64(0)
	here := make(map[string][]uint64, len(v.items))
	for i := range v.items {
		it := &v.items[i]
		here[it.Name] = it.Shape
		var n int64
		if _, err := fmt.Sscanf(it.Name, "blk.%d.", &n); err == nil {
			layers = max(layers, n+1)
		}
		if it.Name == "token_embd.weight" && len(it.Shape) == 2 {
			vocabulary = it.Shape[0]
			if width, ok := model.Number("hidden_size"); ok && uint64(width) != it.Shape[1] {
				return refuse("embedding_length is %d there, and %s has rows of %d", width, it.Name, it.Shape[1])
			}
		}
	}
	if n, ok := model.Number("num_hidden_layers"); ok && layers > 0 && n != layers {
		if v.Unchosen > 0 {
			how = "--match, --regex and --exclude leave layers out, and key/values are of the whole model"
		}
		return refuse("block_count is %d there, and the tensors have %s", n, plural.Of(layers, "layer"))
	}
	for _, kv := range like.Metadata() {
		if kv.Key == "tokenizer.ggml.tokens" && kv.Value != nil && vocabulary > 0 {
			if list, ok := kv.Value.Array(); ok && list.Len() != vocabulary {
				return refuse("its tokenizer has %s, and token_embd.weight has %d rows", plural.Of(list.Len(), "token"), vocabulary)
			}
		}
	}
	for _, t := range like.All() {
		if shape, ok := here[t.Name]; ok && !slices.Equal(shape, t.Shape) {
			return refuse("%s has the shape %v there and %v here", t.Name, t.Shape, shape)
		}
	}
	return nil
}

// lacksOf notes the tensors of a GGUF file of the same model that nothing gives, such as those that llama.cpp's
// converter makes of config.json.
func (v *Conversion) lacksOf(like *checkpoint.Checkpoint) {
	has := make(map[string]bool, len(v.items))
	for i := range v.items {
		has[v.items[i].Name] = true
	}
	var lost []string
	for _, t := range like.All() {
		if !has[t.Name] {
			lost = append(lost, t.Name)
		}
	}
	if len(lost) == 0 {
		return
	}
	how := ""
	if v.likeModel {
		how = "; --config FILE names a config.json, of which some are made"
	}
	v.note("%s has %s, and the result does not: nothing in %s gives %s%s", like.Path, folded(lost), v.Source.Path, map[bool]string{true: "it", false: "them"}[len(lost) == 1], how)
}

func orNone(convention string) string {
	if convention == "" {
		return "no convention that is known"
	}
	return convention
}
