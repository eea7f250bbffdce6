// Package adapt shows a checkpoint to the packages of conventions, which know no
// files: its tensors, and what its documents say of the model.
package adapt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/rename/convention"
)

// paramsName is what Meta's and Mistral's releases call their configuration.
const paramsName = "params.json"

// Model returns what the documents of a checkpoint say of its model: config.json, or
// params.json where there is none, and GGUF keys. When params.json cannot be read,
// Model returns the error and a model that does without it.
func Model(ctx context.Context, c *checkpoint.Checkpoint) (*convention.Model, error) {
	doc := c.Config
	var failed error
	if doc == nil && c.Format != checkpoint.GGUF {
		var err error
		if doc, err = c.Document(ctx, paramsName); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = err
		}
	}
	return ModelWith(c, doc), failed
}

// ModelWith is Model with a document in the place of those beside the weights. It may be
// nil.
func ModelWith(c *checkpoint.Checkpoint, doc *checkpoint.Config) *convention.Model {
	m := new(convention.Model)
	if doc != nil {
		m.Type, _ = doc.Text("model_type")
		language, _ := doc.LanguageModel()
		text, _ := language.Find("model_type")
		m.TextType, _ = text.Text()
		m.Documents = append(m.Documents, func(key string) (int64, bool) {
			path := strings.Split(key, ".")
			// What stands outside may be of the whole.
			if v, ok := language.Find(path...); ok {
				if n, ok := number(v); ok {
					return n, true
				}
			}
			v, _ := doc.Find(path...)
			return number(v)
		})
		m.Floats = append(m.Floats, func(key string) (float64, bool) { return findSetting(doc, key).Float() })
		m.Texts = append(m.Texts, func(key string) ([]string, bool) {
			if key == "rope.type" { // as it was called before transformers 4.45
				if list, ok := texts(findSetting(doc, "rope.rope_type")); ok {
					return list, true
				}
			}
			return texts(findSetting(doc, key))
		})
	}
	if doc != nil {
		m.Rope = ropeOf(doc)
		scaling, _ := ropeParameters(doc)
		_, m.Sections = scaling.Find("mrope_section")
		share, ok := scaling.Find("partial_rotary_factor")
		if !ok {
			share, _ = findConfig(doc, "partial_rotary_factor")
		}
		m.Rotary, _ = share.Float()
		if list := doc.Texts("architectures"); len(list) > 0 {
			m.Class = list[0]
		}
	}
	if c.Format == checkpoint.GGUF {
		m.Architecture = c.Architecture(nil)
		m.Documents = append(m.Documents, ggufKeys(c, m.Architecture))
		m.Floats = append(m.Floats, ggufFloats(c, m.Architecture))
		ggufRotary(c, m)
	}
	return m
}

// findConfig finds a value of the language model, or of the whole.
func findConfig(doc *checkpoint.Config, path ...string) (checkpoint.ConfigValue, bool) {
	language, _ := doc.LanguageModel()
	if v, ok := language.Find(path...); ok {
		return v, true
	}
	return doc.Find(path...)
}

// findSetting finds a value of the language model, or of the whole, and what is said of rotary embedding
// by its name below "rope.", or by itself where configurations differ in where they have it.
func findSetting(doc *checkpoint.Config, key string) checkpoint.ConfigValue {
	rotary, below := strings.CutPrefix(key, "rope.")
	v, ok := findConfig(doc, strings.Split(key, ".")...)
	if below || !ok && (key == "rope_theta" || key == "partial_rotary_factor") {
		scaling, _ := ropeParameters(doc)
		v, _ = scaling.Find(rotary)
	}
	return v
}

// texts are a text, or the texts and numbers of a list.
func texts(v checkpoint.ConfigValue) ([]string, bool) {
	if s, ok := v.Text(); ok {
		return []string{s}, true
	}
	var list []string
	for _, e := range v.Elements() {
		if s, ok := e.Text(); ok {
			list = append(list, s)
		} else if f, ok := e.Float(); ok {
			list = append(list, strconv.FormatFloat(f, 'g', -1, 64))
		} else {
			return nil, false
		}
	}
	return list, len(list) > 0
}

// ropeParameters finds what is said of rotary embedding. transformers 5 calls
// rope_parameters, with rope_theta among them, what was rope_scaling; where layers
// differ, that of full attention counts, as for llama.cpp's converter
// (TextModel.__init__).
func ropeParameters(doc *checkpoint.Config) (checkpoint.ConfigValue, bool) {
	scaling, ok := findConfig(doc, "rope_parameters")
	if !ok {
		scaling, ok = findConfig(doc, "rope_scaling")
	}
	if full, layered := scaling.Find("full_attention"); ok && layered {
		scaling = full
	}
	return scaling, ok
}

// ropeOf reads how rotary embedding is scaled.
func ropeOf(doc *checkpoint.Config) *convention.Rope {
	scaling, ok := ropeParameters(doc)
	if !ok {
		return nil
	}
	float := func(key string) float64 {
		if v, ok := scaling.Find(key); ok {
			f, _ := v.Float()
			return f
		}
		v, _ := findConfig(doc, key)
		f, _ := v.Float()
		return f
	}
	floats := func(key string) []float64 {
		v, _ := scaling.Find(key)
		var list []float64
		for _, e := range v.Elements() {
			f, ok := e.Float()
			if !ok {
				return nil
			}
			list = append(list, f)
		}
		return list
	}
	r := &convention.Rope{
		Theta: float("rope_theta"), Factor: float("factor"), LowFreqFactor: float("low_freq_factor"), HighFreqFactor: float("high_freq_factor"),
		OriginalMaxPositionEmbeddings: float("original_max_position_embeddings"),
		LongFactor:                    floats("long_factor"), ShortFactor: floats("short_factor"),
	}
	for _, key := range []string{"type", "rope_type"} {
		if v, ok := scaling.Find(key); ok {
			r.Type, _ = v.Text()
		}
	}
	return r
}

// ggufRotary reads what is turned of a head: llama.cpp writes the number of rows and
// the sections (gguf-py/gguf/constants.py), ollama the share (convert_glmocr.go).
func ggufRotary(c *checkpoint.Checkpoint, m *convention.Model) {
	for _, kv := range c.Metadata() {
		if kv.Value == nil {
			continue
		}
		switch strings.TrimPrefix(kv.Key, m.Architecture+".rope.") {
		case "dimension_sections", "mrope_section":
			m.Sections = true
		case "partial_rotary_factor":
			m.Rotary, _ = kv.Value.Float()
		case "dimension_count":
			n, _ := kv.Value.Uint()
			if dim, ok := m.Number("head_dim"); ok && dim > 0 {
				m.Rotary = float64(n) / float64(dim)
			}
		}
	}
}

// number is an integer, or 1 or 0 for true or false.
func number(v checkpoint.ConfigValue) (int64, bool) {
	if b, ok := v.Bool(); ok {
		if b {
			return 1, true
		}
		return 0, true
	}
	return v.Int()
}

// ggufKeys finds integers among the key/values of a GGUF checkpoint, by their
// keys and by the names that config.json has for them.
func ggufKeys(c *checkpoint.Checkpoint, architecture string) func(key string) (int64, bool) {
	keys := make(map[string]int64)
	for _, kv := range c.Metadata() {
		if kv.Value == nil {
			continue
		}
		if n, ok := kv.Value.Int(); ok {
			keys[kv.Key] = n
		} else if n, ok := kv.Value.Uint(); ok && n < 1<<62 {
			keys[kv.Key] = int64(n)
		}
	}
	return func(key string) (int64, bool) {
		if name, ok := convention.GGUFKey(architecture, key); ok {
			if n, ok := keys[name]; ok {
				return n, true
			}
		}
		n, ok := keys[key]
		return n, ok
	}
}

// ggufFloats finds such numbers by the names of config.json.
func ggufFloats(c *checkpoint.Checkpoint, architecture string) func(key string) (float64, bool) {
	names := make(map[string][]string)
	for _, n := range convention.GGUFNumbers(architecture) {
		if n.Type == "f32" && n.Key != "" {
			names[architecture+"."+n.Key] = n.Names()
		}
	}
	floats := make(map[string]float64)
	for _, kv := range c.Metadata() {
		if kv.Value == nil {
			continue
		}
		if v, ok := kv.Value.Float(); ok {
			for _, name := range names[kv.Key] {
				floats[name] = v
			}
		}
	}
	return func(key string) (float64, bool) { v, ok := floats[key]; return v, ok }
}

// QuantMethod is the quant_method of a configuration, nil for none, that says that weights are quantised,
// "" of one that names no method, such as that of MLX.
func QuantMethod(doc *checkpoint.Config) (method string, said bool) {
	for _, key := range []string{"quantization_config", "compression_config", "quantization"} {
		if section, ok := doc.Find(key); ok {
			of, _ := section.Find("quant_method")
			method, _ := of.Text()
			return method, true
		}
	}
	return "", false
}

// ReadConfig reads a configuration that the user names: a JSON file, or a directory
// with a config.json or params.json.
func ReadConfig(ctx context.Context, path string) (*checkpoint.Config, error) {
	if source.IsDir(ctx, path) {
		dir := &checkpoint.Release{Dir: path}
		for _, name := range []string{"config.json", paramsName} {
			doc, err := dir.Document(ctx, name)
			if !errors.Is(err, fs.ErrNotExist) {
				return doc, err
			}
		}
		return nil, fmt.Errorf("%s has no config.json or %s", path, paramsName)
	}
	data, err := source.ReadNamed(ctx, path, source.Document)
	if err != nil {
		return nil, err
	}
	return checkpoint.ParseConfig(path, data)
}

// Tensors yields the tensors of a checkpoint as conventions look at them.
func Tensors(c *checkpoint.Checkpoint) iter.Seq[convention.Named] {
	return func(yield func(convention.Named) bool) {
		for _, t := range c.All() {
			if !yield(convention.Named{Name: t.Name, Shape: t.Shape, DType: t.DType}) {
				return
			}
		}
	}
}
