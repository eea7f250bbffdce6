package adapt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/convention/adapter"
)

// maxAlphas bounds how many scalars are read; no adapter changes so many modules.
const maxAlphas = 1 << 16

// Adapter returns what is known of the factors of an adapter's changes: the values
// of its alphas, and what adapter_config.json or the metadata says.
func Adapter(ctx context.Context, c *checkpoint.Checkpoint) (*adapter.Settings, error) {
	s := &reader{&adapter.Settings{Alphas: make(map[string]float64)}, c}
	s.Read = func(name string) []float64 { return elements(c, name) }
	for i, t := range c.All() {
		if n, ok := t.Elements(); !ok || n != 1 || !strings.HasSuffix(t.Name, "alpha") || len(s.Alphas) == maxAlphas {
			continue
		}
		v, err := scalar(c, i)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		s.Alphas[t.Name] = v
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	s.base()
	doc, err := c.Document(ctx, "adapter_config.json")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.metadata()
	case err != nil:
		return nil, err
	default:
		s.Where = "adapter_config.json"
		s.document(doc, "")
		if base, ok := doc.Text("base_model_name_or_path"); ok && base != "" {
			s.Base = base
		} else if base, ok := doc.Text("model"); ok && base != "" { // mlx-lm: lora.py
			s.Base = base
		}
	}
	return s.Settings, nil
}

type reader struct {
	*adapter.Settings
	checkpoint *checkpoint.Checkpoint
}

// document takes the numbers from a document, in which their keys have a prefix.
func (s *reader) document(doc *checkpoint.Config, prefix string) {
	s.Alpha, _ = doc.Float(prefix + "lora_alpha")
	if s.Alpha == 0 {
		s.Alpha, _ = doc.Float(prefix + "alpha") // LoHa and LoKr: PEFT's LycorisConfig
	}
	s.Rank, _ = doc.Float(prefix + "r")
	s.Root, _ = doc.Bool(prefix + "use_rslora")
	if patterns, ok := doc.Find(prefix + "alpha_pattern"); ok {
		for range patterns.Members() {
			s.Patterns = true
			break
		}
	}
	if v, ok := doc.Float("lora_parameters", "scale"); ok {
		s.Scale = v
	}
}

// scalar reads a tensor of one number.
func scalar(c *checkpoint.Checkpoint, i int) (float64, error) {
	v, err := decode(c, i, 1)
	if err != nil {
		return 0, err
	}
	if v == nil {
		return 0, fmt.Errorf("alpha of %s is not a number", c.At(i).DType)
	}
	return v[0], nil
}

// maxElements bounds what is read of one half; those of the widest modules have a tenth.
const maxElements = 1 << 26

// elements reads a tensor of plain numbers, nil when it cannot.
func elements(c *checkpoint.Checkpoint, name string) []float64 {
	i, ok := c.Lookup(name)
	if !ok {
		return nil
	}
	n, ok := c.At(i).Elements()
	if !ok || n > maxElements {
		return nil
	}
	v, err := decode(c, i, int(n))
	if err != nil {
		return nil
	}
	return v
}

// decode reads the first n elements of a tensor, nil of one whose elements are not plain
// numbers.
func decode(c *checkpoint.Checkpoint, i, n int) ([]float64, error) {
	section, err := values.SectionOf(c, i)
	if err != nil || section.Type == nil || section.Type.BlockElems != 1 || section.Type.Parts != 1 {
		return nil, err
	}
	size := int64(n) * int64(section.Type.BlockBytes)
	if size > section.Data.Size() {
		return nil, fmt.Errorf("it has %d bytes, and should have %d", section.Data.Size(), size)
	}
	raw := make([]byte, size)
	if err := source.ReadFull(section.Data, raw, 0); err != nil {
		return nil, err
	}
	if section.BigEndian {
		section.Type.Swap(raw)
	}
	v := make([]float64, n)
	section.Type.Decode64(v, raw)
	return v, nil
}

// baseKeys are where metadata says what model an adapter is for, the surest first
// (sd-scripts: library/sai_model_spec.py, train_network.py).
var baseKeys = []string{"modelspec.architecture", "ss_base_model_version", "ss_sd_model_name", "general.base_model.0.name"}

func (r *reader) base() {
	for _, key := range baseKeys {
		if r.Base = text(r.checkpoint, key); r.Base != "" {
			return
		}
	}
}

// Declared is the architecture that the metadata of an image model says, "" where it says
// none (Stability's ModelSpec).
func Declared(c *checkpoint.Checkpoint) string { return text(c, "modelspec.architecture") }

// text is the text of a key of the metadata, "" without one.
func text(c *checkpoint.Checkpoint, key string) string {
	for _, kv := range c.Metadata() {
		if kv.Key != key {
			continue
		}
		text := kv.Text
		if kv.Value != nil {
			text, _ = kv.Value.Text()
		}
		if text != "" {
			return text
		}
	}
	return ""
}

// metadata takes the numbers from the files themselves.
func (r *reader) metadata() {
	for _, kv := range r.checkpoint.Metadata() {
		switch {
		case kv.Key == "adapter.lora.alpha" && kv.Value != nil: // llama.cpp: convert_lora_to_gguf.py
			r.Alpha, _ = kv.Value.Float()
			r.Where = "the metadata"
		// Beside tensors that say it, it is what their training began with.
		case kv.Key == "ss_network_alpha" && len(r.Alphas) == 0: // sd-scripts: train_network.py
			if v, err := strconv.ParseFloat(kv.Text, 64); err == nil {
				r.Alpha = v
			}
		case kv.Key == "lora_adapter_metadata": // diffusers: loaders/lora_base.py LORA_ADAPTER_METADATA_KEY
			doc, err := checkpoint.ParseConfig(kv.Key, []byte(kv.Text))
			if err != nil {
				continue
			}
			for _, part := range []string{"unet.", "transformer.", "text_encoder.", "text_encoder_2."} {
				if !doc.Has(part + "lora_alpha") {
					continue
				}
				next := &reader{Settings: new(adapter.Settings)}
				next.document(doc, part)
				// What differs from part to part is not one number.
				r.Patterns = r.Patterns || next.Patterns || r.Where != "" && (r.Alpha != next.Alpha || r.Rank != next.Rank || r.Root != next.Root)
				r.Alpha, r.Rank, r.Root = next.Alpha, next.Rank, next.Root
				r.Where, r.Embedded = "the metadata", true
			}
		}
	}
}
