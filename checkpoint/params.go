package checkpoint

import (
	"cmp"
	"fmt"
	"math/bits"
	"regexp"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/quant"
)

// Parameters counts the parameters of the model. It differs from the number
// of elements where several parameters are packed into one element, and where
// tensors hold scales, zero points and the like, which are left out; note
// then says which scheme was recognised and how many tensors it concerned, and
// otherwise is "". Tensors of unknown shape are not counted, and noted.
//
// The schemes are GPTQ, AWQ, bitsandbytes, compressed-tensors, MXFP4, NVFP4,
// FP8 and MLX. The widths come from cfg, config.json, and where it is silent,
// from the shapes of the tensors that go together. The rules are those of
// huggingface.js (parse-safetensors-metadata.ts), but that scalars count 1
// and that companions are recognised by their owner even without cfg.
func (c *Checkpoint) Parameters(cfg *Config) (n uint64, note string) {
	if c.namesOnly {
		return 0, "no shapes are known"
	}
	p := newPacking(c, cfg)
	p.modules = make([]*quant.Module, c.Len())
	for _, m := range c.quantised().Modules {
		if m.Scheme != nil && len(m.Scheme.Parts) > 0 {
			for i := range m.Tensors {
				p.modules[m.Index(&m.Tensors[i])] = m
			}
		}
	}
	unknown, tied, overflow := 0, 0, false
	for i, t := range c.All() {
		if _, ok := c.TiedTo(i); ok {
			tied++
			continue
		}
		count, ok := p.count(i, t)
		if !ok {
			unknown++
			continue
		}
		var carry uint64
		n, carry = bits.Add64(n, count, 0)
		overflow = overflow || carry != 0
	}
	var notes []string
	if p.packed > 0 {
		notes = append(notes, fmt.Sprintf("%s: %d packed", p.scheme(), p.packed))
	}
	if p.skipped > 0 {
		s := plural.Of(p.skipped, "tensor") + " of scales and the like left out"
		if p.packed == 0 {
			s = p.scheme() + ": " + s
		}
		notes = append(notes, s)
	}
	if tied > 0 {
		notes = append(notes, plural.Of(tied, "tied tensor")+" not counted again")
	}
	if unknown > 0 {
		notes = append(notes, fmt.Sprintf("%d of unknown shape not counted", unknown))
	}
	if overflow {
		return 0, "more than 64 bits can count"
	}
	return n, strings.Join(notes, ", ")
}

// packing knows how many parameters the tensors of one checkpoint hold.
type packing struct {
	c         *Checkpoint
	method    string // quantization_config.quant_method, lower case
	bits      uint64 // its width, 0 when it does not say
	groupSize uint64
	groups    []configGroup
	fp4Expert bool
	bnb4      bool

	modules []*quant.Module // by the place of each of their tensors

	packed, skipped int
	seen            string // the scheme of the first tensor recognised
}

// configGroup is an entry of compressed-tensors' config_groups.
type configGroup struct {
	names []string // of modules or of classes
	exprs []*regexp.Regexp
	bits  uint64
}

func newPacking(c *Checkpoint, cfg *Config) *packing {
	p := &packing{c: c}
	q, ok := cfg.Find("quantization_config")
	if !ok {
		// mlx-lm's own key; it writes quantization_config as well since 2024.
		q, ok = cfg.Find("quantization")
	}
	if !ok {
		return p
	}
	text := func(key string) string {
		v, _ := q.Find(key)
		s, _ := v.Text()
		return strings.ToLower(s)
	}
	number := func(path ...string) uint64 {
		v, _ := q.Find(path...)
		n, ok := v.Int()
		if !ok || n < 1 || n > 1<<20 {
			return 0
		}
		return uint64(n)
	}
	p.method = text("quant_method")
	for _, key := range []string{"bits", "w_bit"} {
		if n := number(key); n > 0 && n <= 32 && p.bits == 0 {
			p.bits = n
		}
	}
	p.groupSize = number("group_size")
	p.fp4Expert = strings.Contains(text("expert_dtype"), "fp4")
	if s, ok := cfg.Text("expert_dtype"); ok && strings.Contains(strings.ToLower(s), "fp4") {
		p.fp4Expert = true
	}
	for _, key := range []string{"load_in_4bit", "_load_in_4bit"} {
		v, _ := q.Find(key)
		on, _ := v.Bool()
		p.bnb4 = p.bnb4 || on
	}
	if groups, ok := q.Find("config_groups"); ok {
		for name, g := range groups.Members() {
			cg := configGroup{bits: number("config_groups", name, "weights", "num_bits")}
			targets, _ := g.Find("targets")
			for _, t := range targets.Elements() {
				s, _ := t.Text()
				if expr, ok := strings.CutPrefix(s, "re:"); ok {
					// Python's re.match is anchored at the beginning only.
					if re, err := regexp.Compile(`^(?:` + expr + `)`); err == nil {
						cg.exprs = append(cg.exprs, re)
					}
				} else if s != "" {
					cg.names = append(cg.names, s)
				}
			}
			if cg.bits > 0 && cg.bits <= 32 {
				p.groups = append(p.groups, cg)
			}
		}
	}
	return p
}

func (p *packing) scheme() string {
	if p.method != "" {
		return p.method
	}
	return p.seen
}

// scaleWords are the last words of names that hold no parameters in a release
// with a quantization_config (huggingface.js).
var scaleWords = []string{
	"weight_scale", "weight_scale_inv", "weight_scale_2", "weight_global_scale", "weight_zero_point",
	"input_scale", "input_global_scale", "input_zero_point", "zero_point", "weight_shape", "weight_g_idx",
}

// bnbWords are the last words of what bitsandbytes adds to a weight.
var bnbWords = []string{
	"absmax", "quant_map", "nested_absmax", "nested_quant_map", "nested_offset", "SCB", "weight_format",
}

// count returns how many parameters a tensor holds, false when it cannot be told.
func (p *packing) count(at int, t Tensor) (uint64, bool) {
	if p.c.Format == GGUF {
		return t.Elements()
	}
	switch t.DType {
	case "F8_E8M0", "E8M0", "UE8": // always block scales
		return p.skip("mx")
	}
	owner, last := cutLast(t.Name)
	switch last {
	case "qweight":
		return p.times(t, 32, p.qweightBits(owner), "gptq or awq")
	case "qzeros", "g_idx", "scales":
		if p.has(owner + ".qweight") {
			return p.skip("gptq or awq")
		}
	case "weight_packed":
		container, ok := dtypeBits[t.DType]
		if !ok {
			container = 32
		}
		return p.times(t, container, cmp.Or(p.groupBits(owner), p.bits, 4), "compressed-tensors")
	}
	// gate_up_proj_blocks in transformers, mlp1_weight.blocks as gpt-oss was released.
	for _, sep := range []string{"_", "."} {
		if base, ok := strings.CutSuffix(t.Name, sep+"blocks"); ok && t.DType == "U8" && p.has(base+sep+"scales") {
			return p.times(t, 8, 4, "mxfp4")
		}
		if base, ok := strings.CutSuffix(t.Name, sep+"scales"); ok && t.DType == "U8" && p.has(base+sep+"blocks") {
			return p.skip("mxfp4")
		}
	}
	if slices.Contains(scaleWords, last) && (p.method != "" || p.ownsScale(owner)) {
		return p.skip("scaled")
	}
	if n, ok, done := p.bitsandbytes(t, owner, last); done {
		return n, ok
	}
	if n, ok, done := p.mlx(t, owner, last); done {
		return n, ok
	}
	if last == "weight" && t.DType == "U8" && p.has(t.Name+"_scale") && p.has(t.Name+"_scale_2") {
		return p.times(t, 8, 4, "nvfp4")
	}
	if p.fp4Expert && strings.Contains(t.Name, ".experts.") && (t.DType == "I8" || t.DType == "U8") {
		return p.times(t, 8, 4, "fp4 experts")
	}
	if m := p.modules[at]; m != nil {
		if m.Index(&m.Tensors[m.WeightAt()]) != at {
			return p.skip(m.Scheme.Name)
		}
		stored, _ := t.Elements()
		if hi, n := bits.Mul64(m.Out, m.In); hi == 0 && n > stored && len(t.Shape) == 2 {
			p.recognise(m.Scheme.Name)
			return n, true
		}
	}
	return t.Elements()
}

// quantised says how the tensors are stored, as far as they show it.
func (c *Checkpoint) quantised() *quant.Report {
	c.quantOnce.Do(func() {
		s := quant.NewSurvey(c.Len())
		if c.Format == Safetensors {
			for _, t := range c.All() {
				s.Add(t.Name, t.DType, t.Shape)
			}
		}
		c.quant = s.Report(nil)
	})
	return c.quant
}

func (p *packing) bitsandbytes(t Tensor, owner, last string) (n uint64, ok, done bool) {
	if p.method == "bitsandbytes" && slices.Contains(bnbWords, last) || strings.HasPrefix(last, "bitsandbytes__") {
		n, ok = p.skip("bitsandbytes")
		return n, ok, true
	}
	if last == "SCB" || last == "weight_format" {
		if w, found := p.tensor(owner + ".weight"); found && w.DType == "I8" {
			n, ok = p.skip("bitsandbytes")
			return n, ok, true
		}
	}
	if last == "absmax" || last == "quant_map" || last == "nested_absmax" || last == "nested_quant_map" {
		if p.has(owner) {
			n, ok = p.skip("bitsandbytes")
			return n, ok, true
		}
	}
	if last == "weight" && t.DType == "U8" && (p.has(t.Name+".absmax") || p.method == "bitsandbytes" && p.bnb4) {
		n, ok = p.times(t, 8, 4, "bitsandbytes")
		return n, ok, true
	}
	return 0, false, false
}

// mlx counts what mlx.nn.quantize writes: weight (U32, packed along the last
// dimension), scales and biases (one a group).
func (p *packing) mlx(t Tensor, owner, last string) (n uint64, ok, done bool) {
	switch last {
	case "scales", "biases":
		if w, found := p.tensor(owner + ".weight"); found && w.DType == "U32" && p.has(owner+".scales") {
			n, ok = p.skip("mlx")
			return n, ok, true
		}
	case "weight":
		if t.DType != "U32" {
			return 0, false, false
		}
		scales, found := p.tensor(owner + ".scales")
		if !found {
			return 0, false, false
		}
		// The scales tell the width of layers that differ from the rest.
		if groups, known := scales.Elements(); known && p.groupSize > 0 {
			hi, lo := bits.Mul64(groups, p.groupSize)
			p.recognise("mlx")
			return lo, hi == 0, true
		}
		n, ok = p.times(t, 32, cmp.Or(p.bits, 4), "mlx")
		return n, ok, true
	}
	return 0, false, false
}

func cutLast(name string) (owner, last string) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}

func (p *packing) recognise(scheme string) {
	p.packed++
	if p.seen == "" {
		p.seen = scheme
	}
}

func (p *packing) skip(scheme string) (uint64, bool) {
	p.skipped++
	if p.seen == "" {
		p.seen = scheme
	}
	return 0, true
}

// times returns the elements of t times container/width.
func (p *packing) times(t Tensor, container, width uint64, scheme string) (uint64, bool) {
	n, ok := t.Elements()
	if !ok {
		return 0, false
	}
	p.recognise(scheme)
	hi, lo := bits.Mul64(n, container)
	if hi >= width {
		return 0, false
	}
	n, _ = bits.Div64(hi, lo, width)
	return n, true
}

func (p *packing) has(name string) bool {
	_, ok := p.c.Lookup(name)
	return ok
}

func (p *packing) tensor(name string) (Tensor, bool) {
	i, ok := p.c.Lookup(name)
	if !ok {
		return Tensor{}, false
	}
	return p.c.At(i), true
}

// ownsScale reports whether a module has a weight that goes with a scale: one
// of a type of at most 8 bits.
func (p *packing) ownsScale(module string) bool {
	for _, name := range []string{module + ".weight", module + ".weight_packed"} {
		if t, ok := p.tensor(name); ok && (dtypeBits[t.DType] <= 8 && dtypeBits[t.DType] > 0 || strings.HasSuffix(name, "_packed")) {
			return true
		}
	}
	return false
}

// dtypeBits are the widths of the types that packed weights are stored in.
var dtypeBits = map[string]uint64{
	"U8": 8, "I8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64,
	"F4": 4, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
}

// qweightBits tells the width of a GPTQ or AWQ weight: what the configuration
// says, or else its companions, since qzeros packs as many columns as scales
// has, one for each output; or else 4, the usual one.
func (p *packing) qweightBits(module string) uint64 {
	if p.bits > 0 {
		return p.bits
	}
	const usual = 4
	zeros, ok1 := p.tensor(module + ".qzeros")
	scales, ok2 := p.tensor(module + ".scales")
	if !ok1 || !ok2 || len(zeros.Shape) != 2 || len(scales.Shape) != 2 || scales.Shape[1] == 0 || zeros.Shape[1] > 1<<40 {
		return usual
	}
	if width := zeros.Shape[1] * 32 / scales.Shape[1]; width > 0 && width <= 32 {
		return width
	}
	return usual
}

// groupBits returns the width that compressed-tensors' config_groups give a
// module: of the group that names it, exactly or by a regular expression
// (re:…), and otherwise of the group for its class.
func (p *packing) groupBits(module string) uint64 {
	var class uint64
	for _, g := range p.groups {
		if slices.Contains(g.names, module) {
			return g.bits
		}
		for _, re := range g.exprs {
			if re.MatchString(module) {
				return g.bits
			}
		}
		if class == 0 && slices.ContainsFunc(g.names, func(s string) bool { return !strings.Contains(s, ".") }) {
			class = g.bits
		}
	}
	return class
}

// Quantization describes how the weights are quantised in a few words, such as
// "gptq 4-bit, groups of 128" or, for GGUF, "Q4_K_M"; "" when they are not. Where
// cfg is silent, the dtypes and shapes of the tensors say it.
func (c *Checkpoint) Quantization(cfg *Config) string {
	for _, f := range c.Files {
		if g := f.GGUF(); g != nil {
			if ft, ok := g.FileType(); ok {
				return ft.String()
			}
		}
	}
	if c.Format == GGUF {
		return ""
	}
	p := newPacking(c, cfg)
	if p.method == "" && p.bits == 0 {
		var words []string
		for _, u := range c.quantised().Uses {
			word := u.Scheme
			if u.Bits > 0 {
				word += fmt.Sprintf(" %d-bit", u.Bits)
			}
			if u.Group > 0 {
				word += fmt.Sprintf(", groups of %d", u.Group)
			}
			words = append(words, word)
		}
		return strings.Join(words, "; ")
	}
	s := p.method
	if s == "" {
		s = "mlx"
	}
	width := p.bits
	if width == 0 && len(p.groups) > 0 {
		width = p.groups[0].bits
	}
	if width == 0 && p.bnb4 {
		width = 4
	}
	if q, ok := cfg.Text("quantization_config", "quant_algo"); ok {
		s += " " + q
	}
	if width > 0 {
		s += fmt.Sprintf(" %d-bit", width)
	}
	if p.groupSize > 0 {
		s += fmt.Sprintf(", groups of %d", p.groupSize)
	}
	return s
}

// Architecture returns the model's architecture as its own documents name it:
// general.architecture of a GGUF file, and otherwise the first of
// config.json's architectures, or its model_type. It is "" when nothing says.
func (c *Checkpoint) Architecture(cfg *Config) string {
	for _, f := range c.Files {
		if g := f.GGUF(); g != nil {
			if v, ok := g.Lookup("general.architecture"); ok {
				s, _ := v.Text()
				return s
			}
		}
	}
	if c.Format == GGUF {
		return ""
	}
	if list := cfg.Texts("architectures"); len(list) > 0 {
		return list[0]
	}
	s, _ := cfg.Text("model_type")
	return s
}
