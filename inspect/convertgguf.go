package inspect

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/assemble"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/arrays"
	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/template"
	"github.com/wtinspect/wtinspect/safetensors"
)

// store finds out whether the container can hold the tensors, and what its metadata is.
func (v *Conversion) store(ctx context.Context) error {
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
		v.torchMetadata(ctx)
		return nil
	}
	var differ []string
	if v.kvs, differ = assemble.Metadata(v.Source); len(differ) > 0 {
		v.several(differ, "metadata")
	}
	return nil
}

// several says of which keys the source has more than one value.
func (v *Conversion) several(keys []string, of string) {
	if len(v.Source.Files) == 1 {
		v.note("%s has several values for %s of its %s; the first ones count", v.Source.Path, shortKeys(keys), of)
		return
	}
	v.note("the files of the source have different values for %s of their %s; the first ones count", shortKeys(keys), of)
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
	if dtype == "" {
		return fmt.Errorf("%s %s no dtype (the first is %q); %s", plural.Of(len(names), "tensor"), plural.Verb(len(names), "have"), names[0], how)
	}
	return fmt.Errorf("%s %s %s, which %s does not have (the first is %q); %s", plural.Of(len(names), "tensor"), plural.Verb(len(names), "are"), dtype, v.Container, names[0], how)
}

// lacks lists the documents of a release that a GGUF file stands for.
func (v *Conversion) lacks() {
	if v.isPEFT() {
		v.Missing = append(v.Missing, "adapter_config.json")
		return
	}
	switch goal := v.goalNames(); {
	case goal == nil || goal.Language:
		v.Missing = append(v.Missing, "config.json", "generation_config.json")
	case goal.HasDialect("hf") || goal.HasDialect("diffusers"):
		v.Missing = append(v.Missing, "config.json")
	}
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
	var differ []string
	if v.kvs, differ = assemble.Metadata(from); v.opts.Like == nil {
		if err := v.oneModel(differ); err != nil {
			return err
		}
	}
	if v.opts.Like != nil {
		if err := v.fits(v.opts.Like); err != nil {
			return err
		}
		if v.isAdapter() {
			return v.adapterKeys(v.opts.Like)
		}
		if err := v.fill(v.opts.Like); err != nil {
			return err
		}
		v.lacksOf(v.opts.Like)
	}
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
	v.endian()
	return nil
}

// oneModel refuses GGUF files that are of several models, by their architectures and numbers: differ are the keys of
// which they have different values.
func (v *Conversion) oneModel(differ []string) error {
	parts, how := v.parts(), "convert each of them, or --like FILE.gguf takes the key/values of one file"
	first := parts[0].Architecture(nil)
	for _, c := range parts[1:] {
		if other := c.Architecture(nil); other != first && other != "" && first != "" {
			return fmt.Errorf("%s is of the architecture %q, and %s of %q, and the key/values of a GGUF file are of one model; %s", parts[0].Path, first, c.Path, other, how)
		}
	}
	for _, n := range convention.GGUFNumbers(first) {
		if n.Key != "" && slices.Contains(differ, first+"."+n.Key) {
			return fmt.Errorf("the sources have different values for %s.%s, and the key/values of a GGUF file are of one model; %s", first, n.Key, how)
		}
	}
	if len(differ) > 0 {
		v.several(differ, "key/values")
	}
	return nil
}

// endian says that the result has the bytes of numbers in another order, as its digests tell.
func (v *Conversion) endian() {
	i := slices.IndexFunc(v.Source.Files, func(f *checkpoint.File) bool {
		g := f.GGUF()
		return g != nil && g.ByteOrder == binary.BigEndian
	})
	if i >= 0 {
		v.note("%s is big-endian, and the result is little-endian: its numbers are the same, and its content id is another one", v.Source.Files[i].Path)
	}
}

// isAdapter reports whether the result is an adapter in a GGUF file.
func (v *Conversion) isAdapter() bool { return identify.Tensors(v.named(), v.opts.Names.Model).Adapter }

// adapterKeys are the keys of an adapter, which are those of llama.cpp's convert_lora_to_gguf.py and none of the
// model: it has the architecture alone to do with that.
func (v *Conversion) adapterKeys(like *checkpoint.Checkpoint) error {
	kind, _ := keyOf(v.kvs, "general.type")
	if text, _ := kind.Text(); text != "adapter" {
		architecture := like.Architecture(nil)
		if architecture == "" {
			return unlike(like, sameModel, "it has no general.architecture, which an adapter has in common with its model")
		}
		v.kvs = nil
		v.set("general.architecture", gguf.ValueOf(architecture))
	}
	v.set("general.type", gguf.ValueOf("adapter"))
	v.set("adapter.type", gguf.ValueOf("lora"))
	alpha, ok := 0.0, false
	if v.Names != nil && v.Names.Conversion != nil {
		alpha, ok = v.Names.Conversion.Alpha()
	}
	if own := v.opts.Names.Model.Adapter; !ok && own != nil {
		alpha, ok = own.Alpha, own.Alpha != 0
	}
	if !ok {
		return fmt.Errorf("what the change is multiplied with (lora_alpha) is not known of %s, and adapter.lora.alpha of a GGUF file has it; an adapter_config.json beside the tensors says it", v.Source.Path)
	}
	v.set("adapter.lora.alpha", gguf.ValueOf(float32(alpha)))
	v.note("the keys are those of an adapter: general.architecture, general.type, adapter.type and adapter.lora.alpha %v", float32(alpha))
	v.fileType()
	return nil
}

// set gives a key a value.
func (v *Conversion) set(key string, value gguf.Value) {
	kv := checkpoint.MetaKV{File: -1, Key: key, Value: &value}
	if i := slices.IndexFunc(v.kvs, func(kv checkpoint.MetaKV) bool { return kv.Key == key }); i >= 0 {
		v.kvs[i] = kv
		return
	}
	v.kvs = append(v.kvs, kv)
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
	if n, known := fileTypes[most]; known {
		v.set(fileTypeKey, gguf.ValueOf(n))
		return
	}
	v.kvs = slices.DeleteFunc(v.kvs, func(kv checkpoint.MetaKV) bool { return kv.Key == fileTypeKey })
}

const (
	sameModel  = "name a GGUF file of the same model"
	wholeModel = "--match, --regex and --exclude leave tensors out, and key/values are of the whole model: convert all of it"
)

// unlike refuses a GGUF file whose key/values do not describe the model.
func unlike(like *checkpoint.Checkpoint, how, format string, args ...any) error {
	return fmt.Errorf("--like %s does not describe this model: %s; %s", like.Path, fmt.Sprintf(format, args...), how)
}

// notModels are the values of general.type of files that are beside a model (gguf-py/gguf/constants.py, GGUFType). One of
// the vocabulary alone is of the model, too.
var notModels = []string{"adapter", "mmproj", "imatrix"}

// fits refuses the key/values of a GGUF file that is of another model.
func (v *Conversion) fits(like *checkpoint.Checkpoint) error {
	architecture := like.Architecture(nil)
	how := sameModel
	refuse := func(format string, args ...any) error { return unlike(like, how, format, args...) }
	if value, ok := keyOf(v.kvs, "general.type"); ok && !v.isAdapter() {
		if kind, _ := value.Text(); slices.Contains(notModels, kind) {
			return refuse("its general.type is %q", kind)
		}
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
	if err := v.agrees(architecture, like); err != nil {
		return err
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
			how = wholeModel
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

// keyOf looks up the value of a key.
func keyOf(kvs []checkpoint.MetaKV, key string) (gguf.Value, bool) {
	i := slices.IndexFunc(kvs, func(kv checkpoint.MetaKV) bool { return kv.Key == key })
	if i < 0 || kvs[i].Value == nil {
		return gguf.Value{}, false
	}
	return *kvs[i].Value, true
}

// fill adds the keys of a language model that llama.cpp does not do without, and that --like lacks, where the
// configuration has their numbers. What is absent then, [Conversion.judge] finds.
func (v *Conversion) fill(like *checkpoint.Checkpoint) error {
	model := v.opts.Names.Model
	var filled []string
	add := func(key string, value gguf.Value, text string) {
		v.kvs = append(v.kvs, checkpoint.MetaKV{File: -1, Key: key, Value: &value})
		filled = append(filled, key+" "+text)
	}
	const architectureKey = "general.architecture"
	architecture := like.Architecture(nil)
	goal := v.goalNames()
	says, ok := keyOf(v.kvs, architectureKey)
	if _, isText := says.Text(); ok && !isText {
		return unlike(like, sameModel, "%s is a %s and no name", architectureKey, says.Type())
	}
	if !ok && goal != nil && goal.HasDialect("gguf") && model.Type != "" {
		architecture = strings.TrimSuffix(goal.Name, "-gguf")
		for _, kv := range v.kvs {
			other, _, _ := strings.Cut(kv.Key, ".")
			if _, known := convention.Lookup(other + "-gguf"); known && other != architecture {
				return unlike(like, sameModel, "it has no %s, and %s is a key of %s, where the tensors are named as in %s", architectureKey, kv.Key, other, goal.Name)
			}
		}
		add(architectureKey, gguf.ValueOf(architecture), strconv.Quote(architecture))
	}
	if goal == nil || goal.Name != architecture+"-gguf" || !convention.HasGGUFNumbers(architecture) || v.likeModel {
		v.filled(like, filled)
		return nil
	}
	has := func(part string) bool {
		return slices.ContainsFunc(v.items, func(it item) bool { return strings.Contains(it.Name, part) })
	}
	v.keyless(architecture)
	for _, n := range convention.GGUFNumbers(architecture) {
		key := architecture + "." + n.Key
		_, says := keyOf(v.kvs, key)
		if n.Key == "" || !n.Filled || says || n.OfExperts && !has("_exps.") {
			continue
		}
		number, ok := n.Of(model)
		// What llama.cpp takes without the key needs none.
		if usual, has := n.Default(model); !ok || has && sameNumbers(number, usual, n.Type) {
			continue
		}
		if value, ok := valueOf(number, n.Type); ok {
			add(key, value, textOf(number, n.Type))
		}
	}
	v.filled(like, filled)
	return nil
}

// agrees refuses key/values of which llama.cpp's converter would have written others for the model.
func (v *Conversion) agrees(architecture string, like *checkpoint.Checkpoint) error {
	if v.likeModel {
		return nil
	}
	refuse := func(format string, args ...any) error {
		how := sameModel
		if !v.isGGUF() {
			how += ", or correct config.json if that is wrong"
		}
		return unlike(like, how, format, args...)
	}
	model := v.opts.Names.Model
	for _, n := range convention.GGUFNumbers(architecture) {
		if !n.Compared || n.Key == "" {
			continue
		}
		key := architecture + "." + n.Key
		// What the file does not say is filled in, and not held to what it means otherwise.
		says, ok := keyOf(v.kvs, key)
		if !ok {
			continue
		}
		there, ok := storedIn(says)
		here, known := n.Of(model)
		worked := len(n.Names()) == 0 || n.Name(model) == ""
		switch {
		case v.isGGUF():
			var own gguf.Value
			if own, known = keyOf(v.Source.Metadata(), key); known {
				here, known = storedIn(own)
			}
			worked = true
		case !known && n.ByDefault && model.Type != "":
			here, known = n.Default(model)
		}
		if !ok || !known || there.List && !here.List && among(there, here, n.Type) || sameNumbers(there, here, n.Type) {
			continue
		}
		a, b := textOf(there, n.Type), textOf(here, n.Type)
		switch {
		case n.Harmless && !v.isGGUF():
			v.note("%s is %s in %s, and %s is %s in config.json: the former counts", key, a, like.Path, n.Name(model), b)
		case n.Harmless:
		case v.isGGUF():
			return refuse("%s is %s there and %s here", key, a, b)
		case worked:
			return refuse("%s is %s there and %s here, as llama.cpp's converter makes it of config.json", key, a, b)
		default:
			return refuse("%s is %s there and %s here, by %s in config.json", key, a, b, n.Name(model))
		}
	}
	return nil
}

// storedIn reads a value as a formula gives it. ok is false for one that is no number and no text.
func storedIn(value gguf.Value) (v convention.GGUFValue, ok bool) {
	number := func(e gguf.Value) (float64, bool) {
		if b, ok := e.Bool(); ok {
			return map[bool]float64{true: 1}[b], true
		}
		if n, ok := e.Uint(); ok {
			return float64(n), true
		}
		if n, ok := e.Int(); ok {
			return float64(n), true
		}
		return e.Float()
	}
	if v.Text, ok = value.Text(); ok {
		return v, true
	}
	list, isArray := value.Array()
	if !isArray {
		n, ok := number(value)
		v.Numbers = []float64{n}
		return v, ok
	}
	const most = 1 << 12 // more than a model has layers
	if list.Len() > most {
		return v, false
	}
	v.List = true
	for i := range list.Len() {
		e, _ := list.At(i)
		n, ok := number(e)
		if !ok {
			return v, false
		}
		v.Numbers = append(v.Numbers, n)
	}
	return v, true
}

// sameNumbers reports whether two values are stored as the same. One number is the same as that
// number for each layer.
func sameNumbers(a, b convention.GGUFValue, kind string) bool {
	if kind == "str" {
		return a.Text == b.Text && len(a.Numbers) == len(b.Numbers)
	}
	if len(a.Numbers) == 0 || len(b.Numbers) == 0 || a.List && b.List && len(a.Numbers) != len(b.Numbers) {
		return false
	}
	for i := range max(len(a.Numbers), len(b.Numbers)) {
		x, y := a.Numbers[min(i, len(a.Numbers)-1)], b.Numbers[min(i, len(b.Numbers)-1)]
		if x != y && (kind != "f32" || float32(x) != float32(y)) {
			return false
		}
	}
	return true
}

// among reports whether one number is that of some layer: which layers have it, a formula does not say.
func among(list, one convention.GGUFValue, kind string) bool {
	return slices.ContainsFunc(list.Numbers, func(n float64) bool {
		return sameNumbers(convention.GGUFValue{Numbers: []float64{n}}, one, kind)
	})
}

// textOf prints a value as it is stored.
func textOf(v convention.GGUFValue, kind string) string {
	text := func(f float64) string {
		switch kind {
		case "f32":
			return strconv.FormatFloat(f, map[bool]byte{true: 'f', false: 'g'}[f >= 1], -1, 32)
		case "bool":
			return strconv.FormatBool(f != 0)
		}
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	switch {
	case len(v.Numbers) == 0:
		return strconv.Quote(v.Text)
	case !v.List:
		return text(v.Numbers[0])
	}
	var words []string
	for _, n := range v.Numbers {
		words = append(words, text(n))
	}
	return "[" + strings.Join(words, " ") + "]"
}

// valueOf stores what a formula gives in the type that llama.cpp reads, if it fits.
func valueOf(v convention.GGUFValue, kind string) (gguf.Value, bool) {
	for _, f := range v.Numbers {
		if kind == "u32" && (f < 0 || f > math.MaxUint32 || f != math.Trunc(f)) || kind == "f32" && math.Abs(f) > math.MaxFloat32 {
			return gguf.Value{}, false
		}
	}
	switch {
	case kind == "str":
		return gguf.ValueOf(v.Text), v.Text != ""
	case len(v.Numbers) == 0:
		return gguf.Value{}, false
	case kind == "bool":
		return gguf.ValueOf(v.Numbers[0] != 0), !v.List
	case kind == "f32":
		return gguf.ValueOf(float32(v.Numbers[0])), !v.List
	case v.List:
		each := make([]uint32, len(v.Numbers))
		for i, f := range v.Numbers {
			each[i] = uint32(f)
		}
		return gguf.ArrayOf(each...), true
	}
	return gguf.ValueOf(uint32(v.Numbers[0])), true
}

// keyless notes what a configuration says and GGUF files of an architecture have no key for.
func (v *Conversion) keyless(architecture string) {
	model := v.opts.Names.Model
	if v.likeModel || v.isGGUF() {
		return
	}
	for _, n := range convention.GGUFNumbers(architecture) {
		if n.Key != "" {
			continue
		}
		number, ok := n.Of(model)
		usual, known := n.Default(model)
		if !ok || known && sameNumbers(number, usual, n.Type) {
			continue
		}
		without := "llama.cpp computes without it"
		if known {
			without = "llama.cpp computes with " + textOf(usual, n.Type)
		}
		name := n.Name(model)
		if below, ok := strings.CutPrefix(name, "rope."); ok {
			name = "rope_scaling of " + below
		}
		v.note("config.json has %s %s, and GGUF files of %s have no key for it: %s", name, textOf(number, n.Type), architecture, without)
	}
	if odd, ok := model.Text("rope_scaling"); ok {
		v.note("rope_scaling in config.json is %s and no object, and nothing is made of it: llama.cpp computes without it", strings.Join(odd, ", "))
	}
	if kind, ok := model.Text("rope.type"); ok && !convention.KnownScaling(kind[0]) {
		v.note("rope_scaling in config.json is of type %q, which is not known here, and nothing is made of it: llama.cpp computes without it", kind[0])
	}
}

// filled notes the keys that a configuration has given.
func (v *Conversion) filled(like *checkpoint.Checkpoint, keys []string) {
	if len(keys) > 0 {
		v.note("--like %s lacks %s, which the configuration of the model says: %s", like.Path, plural.Of(len(keys), "key"), strings.Join(keys, ", "))
	}
}

// judge refuses a GGUF file by the key/values of another one where [Check] would find an error in it, or
// where llama.cpp would not open it for its keys; and names beside a config.json that is of a model with
// others. What is only odd about the latter is noted.
func (v *Conversion) judge(ctx context.Context) error {
	if v.Job == nil {
		return nil
	}
	byLike := v.opts.Like != nil && v.Container == checkpoint.GGUF
	described := v.Names != nil && v.Names.Conversion != nil && v.Names.Conversion.Dialect == "" && slices.Contains(slices.Concat(v.Job.Documents, v.Job.Copied), "config.json")
	opts := &check.Options{Severities: map[string]checkpoint.Severity{"WT351": checkpoint.Error, "WT352": checkpoint.Error}}
	switch {
	case described:
		opts.Select = ofModelType
	case !byLike:
		return nil
	}
	ctx, r, err := v.Job.Preview(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	report, err := check.Run(ctx, r, opts)
	if err != nil {
		return err
	}
	// What is part of a model, or was wrong before, is not made wrong by its names.
	part := false
	if c := v.parts()[0]; described {
		before, err := check.Run(ctx, &checkpoint.Release{Path: c.Path, Dir: c.Dir, Checkpoints: []*checkpoint.Checkpoint{c}, Config: c.Config}, opts)
		if err != nil {
			return err
		}
		part = v.Unchosen > 0 || slices.ContainsFunc(before.Findings, func(f check.Finding) bool { return f.Severity == checkpoint.Error })
	}
	var found []string
	keyless := false
	for i := range report.Findings {
		f := &report.Findings[i]
		text := f.Message
		if f.Tensor != "" {
			text = f.Tensor + ": " + text
		}
		text += " (" + f.Rule.ID + ")"
		switch {
		case f.Severity == checkpoint.Error && !part:
			found = append(found, text)
			keyless = keyless || f.Rule.ID == "WT351"
		case described && f.Severity != checkpoint.Info && v.Unchosen == 0:
			v.note("config.json stays: %s", text)
		}
	}
	if len(found) == 0 {
		return nil
	}
	const few = 3
	if more := len(found) - few; more > 0 {
		found = append(found[:few], fmt.Sprintf("and %d more", more))
	}
	reasons := strings.Join(found, "; ")
	if described {
		return &convert.RefusalError{From: v.Names.Conversion.From, To: v.Names.Conversion.To, Reason: "config.json would be of a model with other names: " + reasons + "; change model_type first, or convert the file of the weights alone, into another directory"}
	}
	how := sameModel
	if v.Unchosen > 0 {
		how = wholeModel
	} else if v.likeModel {
		how = "name a GGUF file of the same model, or with --config FILE a config.json that has the number"
	} else if keyless && !v.isGGUF() {
		how = "name a GGUF file of the same model that has it" + v.wanted()
	}
	return unlike(v.opts.Like, how, "%s", reasons)
}

// wanted says which members of config.json would give the keys that llama.cpp does not do without and nothing
// has given.
func (v *Conversion) wanted() string {
	says, _ := keyOf(v.kvs, "general.architecture")
	architecture, _ := says.Text()
	needed := []string{"attention.head_count", "feed_forward_length"} // where tensors are of them
	var names []string
	for _, n := range convention.GGUFNumbers(architecture) {
		if _, says := keyOf(v.kvs, architecture+"."+n.Key); says || !n.Needed && !slices.Contains(needed, n.Key) {
			continue
		}
		if wants := n.Wants(); len(wants) > 0 {
			names = append(names, wants[0])
		}
	}
	if len(names) == 0 {
		return ""
	}
	return ", or have config.json say " + strings.Join(slices.Compact(names), ", ")
}

// ofModelType are the rules about what config.json says of the names: the model type and its tensors.
var ofModelType = []string{"WT310", "WT318"}

// factors says of factors of rotary embedding that have no place whether the configuration gives them, or what
// of a configuration would: without them a model reads other positions. ok is false for what is none.
func (v *Conversion) factors(ctx context.Context, it *item, w *arrays.Workspace) (reason string, ok bool) {
	from, known := convention.Lookup(v.Names.Conversion.From)
	if !known {
		return "", false
	}
	t, _, matched := from.Match(it.Name)
	if !matched {
		return "", false
	}
	model := v.opts.Names.Model
	given, is, _ := convert.Factors(t.Role, model) // what cannot be computed is not given
	if !is {
		return "", false
	}
	const most = 1 << 16
	a, err := v.arrayOf(it, w)
	if err != nil || a.Elements() > most || source.Away(ctx, v.Source.Files[it.File].Path) {
		return "", false
	}
	numbers, err := a.Numbers()
	if err != nil {
		return "", false
	}
	factors := make([]float32, len(numbers))
	for i, n := range numbers {
		factors[i] = float32(n)
	}
	theta, _ := model.Float("rope_theta")
	count := plural.Of(len(factors), "factor")
	switch r, found := convert.Llama3Scaling(factors, cmp.Or(theta, 10000)); {
	case given != nil && convert.SameFactors(given, factors):
		return fmt.Sprintf("its %s are what rope_scaling in config.json gives", count), true
	case given != nil:
		v.note("%s has other factors than rope_scaling in config.json gives, and readers of the result compute those", it.Name)
		return "rope_scaling in config.json counts instead", true
	case !slices.ContainsFunc(factors, func(f float32) bool { return f != 1 }):
		return fmt.Sprintf("its %s are all 1, and change nothing", count), true
	case found && t.Role == "rope_factors.weight":
		v.note(`%s has %s of rotary embedding, and safetensors files have no place for them: config.json has to say "rope_theta": %v, "rope_scaling": {"rope_type": "llama3", "factor": %v, "low_freq_factor": %v, "high_freq_factor": %v, "original_max_position_embeddings": %v}, which gives them`,
			it.Name, count, r.Theta, r.Factor, r.LowFreqFactor, r.HighFreqFactor, r.OriginalMaxPositionEmbeddings)
		return "rope_scaling in config.json has to give it, by the numbers in the note", true
	}
	key := map[string]string{"rope_factors.long.weight": "long_factor", "rope_factors.short.weight": "short_factor"}[t.Role]
	what := "no scaling that is known here has them"
	if key != "" {
		what = key + " of rope_scaling in config.json has to list them"
	}
	v.note("%s has %s of rotary embedding, and safetensors files have no place for them: %s; 'wtinspect cat %s %[1]s' prints them", it.Name, count, what, v.Source.Path)
	return "its numbers are lost unless rope_scaling in config.json gives them", true
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
