package checkpoint

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/wtinspect/wtinspect/internal/jsondoc"
	"github.com/wtinspect/wtinspect/internal/source"
)

// A Config is a JSON document beside the weights: config.json,
// adapter_config.json, generation_config.json and their like. The methods of
// a nil Config find nothing.
type Config struct {
	doc *jsondoc.Doc
}

// ParseConfig parses a document. Path is what errors call it. The document
// must be an object; data must not be modified afterwards.
func ParseConfig(path string, data []byte) (*Config, error) {
	doc, err := jsondoc.Parse(path, data)
	if err != nil {
		return nil, err
	}
	if k := doc.Root().Kind(); k != jsondoc.Object {
		return nil, fmt.Errorf("%s: %v, where an object is needed", path, k)
	}
	return &Config{doc: doc}, nil
}

func readConfig(ctx context.Context, path string) (*Config, error) {
	data, err := source.ReadFile(ctx, path, source.Document)
	if err != nil {
		return nil, err
	}
	return ParseConfig(path, data)
}

// Path returns the path of the document.
func (c *Config) Path() string {
	if c == nil {
		return ""
	}
	return c.doc.File()
}

// Bytes returns the text of the document, which must not be modified.
func (c *Config) Bytes() []byte {
	if c == nil {
		return nil
	}
	return c.doc.Bytes()
}

// Root returns the whole document.
func (c *Config) Root() ConfigValue {
	if c == nil {
		return ConfigValue{}
	}
	return ConfigValue{c.doc.Root()}
}

// languageModels are the members under which the configuration of a
// multimodal model holds that of its language model. Source: the config
// classes of transformers (get_text_config) and remote code seen on the Hub.
var languageModels = [][]string{
	{"text_config"},
	{"llm_config"},
	{"language_config"},
	{"thinker_config", "text_config"},
}

// Find follows path from the outermost object: the name of a member, the
// decimal index of an element. Null counts as absent. A single name that the
// document lacks is looked for in the configuration of the language model
// that it nests (text_config and its like), so that Find("num_hidden_layers")
// serves a multimodal model too.
func (c *Config) Find(path ...string) (ConfigValue, bool) {
	if c == nil {
		return ConfigValue{}, false
	}
	if v, ok := c.find(path...); ok || len(path) != 1 {
		return v, ok
	}
	for _, prefix := range languageModels {
		if v, ok := c.find(append(slices.Clone(prefix), path...)...); ok {
			return v, true
		}
	}
	return ConfigValue{}, false
}

func (c *Config) find(path ...string) (ConfigValue, bool) {
	n, ok := c.doc.Lookup(path...)
	if !ok || n.Kind() == jsondoc.Null {
		return ConfigValue{}, false
	}
	return ConfigValue{n}, true
}

// LanguageModel returns the configuration of the language model that the one of a
// multimodal model nests: text_config and its like.
func (c *Config) LanguageModel() (ConfigValue, bool) {
	if c != nil {
		for _, path := range languageModels {
			if v, ok := c.find(path...); ok {
				return v, true
			}
		}
	}
	return ConfigValue{}, false
}

// Has reports whether Find finds something.
func (c *Config) Has(path ...string) bool {
	_, ok := c.Find(path...)
	return ok
}

// Int returns the integer that Find finds.
func (c *Config) Int(path ...string) (int64, bool) {
	v, _ := c.Find(path...)
	return v.Int()
}

// Float returns the number that Find finds.
func (c *Config) Float(path ...string) (float64, bool) {
	v, _ := c.Find(path...)
	return v.Float()
}

// Bool returns the boolean that Find finds.
func (c *Config) Bool(path ...string) (v, ok bool) {
	x, _ := c.Find(path...)
	return x.Bool()
}

// Text returns the string that Find finds.
func (c *Config) Text(path ...string) (string, bool) {
	v, _ := c.Find(path...)
	return v.Text()
}

// Texts returns the strings of the array that Find finds, or the string by
// itself. Elements that are not strings are left out.
func (c *Config) Texts(path ...string) []string {
	v, _ := c.Find(path...)
	if s, ok := v.Text(); ok {
		return []string{s}
	}
	var list []string
	for _, e := range v.Elements() {
		if s, ok := e.Text(); ok {
			list = append(list, s)
		}
	}
	return list
}

// A ConfigValue is a value in a [Config]. The zero ConfigValue is no value,
// and its methods return false.
type ConfigValue struct {
	n jsondoc.Node
}

// Int returns a number that is written as an integer and fits.
func (v ConfigValue) Int() (int64, bool) { return v.n.Int() }

// Float returns a number; NaN and Infinity, as Python writes them, are read.
func (v ConfigValue) Float() (float64, bool) { return v.n.Float() }

// Bool returns a boolean.
func (v ConfigValue) Bool() (b, ok bool) { return v.n.Bool() }

// Text returns a string.
func (v ConfigValue) Text() (string, bool) { return v.n.Text() }

// Kind returns "object", "array", "string", "number", "boolean", "null", or
// "nothing" for the zero ConfigValue.
func (v ConfigValue) Kind() string { return v.n.Kind().String() }

// Raw returns the text of the value, which must not be modified.
func (v ConfigValue) Raw() []byte {
	if v.n.Kind() == 0 {
		return nil
	}
	return v.n.Raw()
}

// Find follows path from the value, as [Config.Find] does, without its
// fallback.
func (v ConfigValue) Find(path ...string) (ConfigValue, bool) {
	n, ok := v.n.Lookup(path...)
	if !ok || n.Kind() == jsondoc.Null {
		return ConfigValue{}, false
	}
	return ConfigValue{n}, true
}

// Elements iterates over the elements of an array.
func (v ConfigValue) Elements() iter.Seq2[int, ConfigValue] {
	return func(yield func(int, ConfigValue) bool) {
		if v.n.Kind() != jsondoc.Array {
			return
		}
		for i, e := range v.n.Children() {
			if !yield(i, ConfigValue{e}) {
				return
			}
		}
	}
}

// Members iterates over the members of an object, in order.
func (v ConfigValue) Members() iter.Seq2[string, ConfigValue] {
	return func(yield func(string, ConfigValue) bool) {
		if v.n.Kind() != jsondoc.Object {
			return
		}
		for _, m := range v.n.Children() {
			if !yield(m.Key(), ConfigValue{m}) {
				return
			}
		}
	}
}

// Pointer returns the JSON Pointer (RFC 6901) of the value.
func (v ConfigValue) Pointer() string {
	if v.n.Kind() == 0 {
		return ""
	}
	return v.n.Pointer()
}

// Position returns the line and column of the value, counted from 1, the
// column in characters, and 0, 0 for the zero ConfigValue.
func (v ConfigValue) Position() (line, col int) {
	if v.n.Kind() == 0 {
		return 0, 0
	}
	return v.n.Position()
}
