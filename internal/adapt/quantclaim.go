package adapt

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/quant"
)

// A QuantClaim is what the documents of a model say of how its weights are quantised.
type QuantClaim struct {
	Doc *checkpoint.Config
	At  checkpoint.ConfigValue // the object with the fields
	// Method is the quant_method in small letters, "" where none is named.
	Method string
}

// quantSections are where config.json says how weights are quantised.
var quantSections = []string{"quantization_config", "compression_config"}

// quantDocuments are the documents that say it where config.json does not, and what
// writes them: ModelOpt, AutoGPTQ, AutoAWQ.
var quantDocuments = []struct {
	name, method string
	path         []string
}{
	{"hf_quant_config.json", "modelopt", []string{"quantization"}},
	{"quantize_config.json", "gptq", nil},
	{"quant_config.json", "awq", nil},
}

// ReadQuantClaim finds out what config.json, or else a document of a library, says; nil for nothing. The
// function gives a document by its name, nil for none, and may itself be nil.
func ReadQuantClaim(config *checkpoint.Config, document func(name string) *checkpoint.Config) *QuantClaim {
	for _, key := range quantSections {
		if v, ok := config.Find(key); ok && v.Kind() == "object" {
			c := &QuantClaim{Doc: config, At: v}
			c.Method = strings.ToLower(c.Text("quant_method"))
			return c
		}
	}
	if document == nil {
		return nil
	}
	for _, d := range quantDocuments {
		doc := document(d.name)
		if doc == nil {
			continue
		}
		if d.path == nil {
			return &QuantClaim{doc, doc.Root(), d.method}
		}
		if v, ok := doc.Find(d.path...); ok {
			return &QuantClaim{doc, v, d.method}
		}
	}
	return nil
}

// Find is a field.
func (c *QuantClaim) Find(path ...string) checkpoint.ConfigValue {
	if c == nil {
		return checkpoint.ConfigValue{}
	}
	v, _ := c.At.Find(path...)
	return v
}

// Text is a field that is a text, "" for none.
func (c *QuantClaim) Text(path ...string) string {
	s, _ := c.Find(path...).Text()
	return s
}

// Is reports whether a field is true.
func (c *QuantClaim) Is(path ...string) bool {
	b, _ := c.Find(path...).Bool()
	return b
}

// Quantised is what a configuration, nil for none, says of how weights are quantised.
func Quantised(doc *checkpoint.Config) *quant.Options { return ReadQuantClaim(doc, nil).Options() }

// Options is what counts for all weights. Which layers a group of several is for is a matter of their names and of
// the classes of a program, so what counts is what all of them say.
func (c *QuantClaim) Options() *quant.Options {
	o := new(quant.Options)
	o.Symmetric = c.Is("sym")
	o.Rows, o.Columns = blockSize(c.Find("weight_block_size"))
	for i, g := range c.Groups().all() {
		if g.alone {
			break // how many inputs share a scale is not said of every scheme
		}
		n := g.Inputs()
		if i == 0 {
			o.Asymmetric, o.Group = g.Asymmetric, n
			if o.Rows == 0 {
				o.Rows, o.Columns = g.Rows, g.Columns
			}
			continue
		}
		o.Asymmetric = o.Asymmetric && g.Asymmetric
		if o.Group != n {
			o.Group = 0
		}
	}
	return o
}

// blockSize reads the sides of a block.
func blockSize(v checkpoint.ConfigValue) (rows, columns uint64) {
	for i, e := range v.Elements() {
		if n, ok := e.Int(); ok && n > 0 && i == 0 {
			rows = uint64(n)
		} else if ok && n > 0 && i == 1 {
			columns = uint64(n)
		}
	}
	return rows, columns
}

// A QuantGroup is what a configuration says of how some weights are quantised.
type QuantGroup struct {
	Asymmetric bool
	// Size is how many inputs share a scale, -1 for all of a row, and 0 where that is not said.
	Size int64
	// Bits is the width of an element, 0 where that is not said.
	Bits int64
	// Type is float or int, and Strategy what has a scale of its own: tensor, channel, group or block; "" where
	// that is not said.
	Type, Strategy string
	// Rows and Columns are the sides of a block, 0 where that is not said.
	Rows, Columns uint64
	// Ordered says that weight_g_idx names the group of each column.
	Ordered bool

	key   string // of the field that says it
	alone bool   // it is not in a list of groups
}

// QuantGroups are the groups of a configuration, each with what it is for.
type QuantGroups struct {
	list     []QuantGroup
	names    map[string]int // whole names of modules
	patterns []groupPattern
	classes  []int // groups that are for a class of modules
}

type groupPattern struct {
	re    *regexp.Regexp // nil for one that is not understood
	group int
}

// Groups reads the groups of compressed-tensors and ModelOpt, or the one group of Quark and others; nil where
// there are none, or too many to look at.
func (c *QuantClaim) Groups() *QuantGroups {
	const most = 256 // groups and targets that are looked at
	g := &QuantGroups{names: make(map[string]int)}
	targets := 0
	for _, v := range c.Find("config_groups").Members() {
		w, ok := v.Find("weights")
		if !ok || w.Kind() != "object" {
			continue
		}
		group := len(g.list)
		g.list = append(g.list, readQuantGroup(w))
		list, _ := v.Find("targets")
		for _, e := range list.Elements() {
			if targets++; targets > most {
				return nil
			}
			text, _ := e.Text()
			pattern, isPattern := strings.CutPrefix(text, "re:")
			switch {
			case isPattern:
				re, err := regexp.Compile("^(?:" + pattern + ")") // as re.match looks for it
				if err != nil {
					re = nil
				}
				g.patterns = append(g.patterns, groupPattern{re, group})
			case strings.Contains(text, "."):
				g.names[text] = group
			default:
				g.classes = append(g.classes, group)
			}
		}
	}
	if w := c.Find("global_quant_config", "weight"); len(g.list) == 0 && w.Kind() == "object" {
		g.list = append(g.list, readQuarkGroup(w))
	}
	if one, ok := c.onlyGroup(); len(g.list) == 0 && ok {
		g.list = append(g.list, one)
	}
	if len(g.list) == 0 || len(g.list) > most {
		return nil
	}
	return g
}

func (g *QuantGroups) all() []QuantGroup {
	if g == nil {
		return nil
	}
	return g.list
}

// readQuantGroup reads a group of compressed-tensors (quantization/quant_args.py, QuantizationArgs).
func readQuantGroup(w checkpoint.ConfigValue) QuantGroup {
	g := QuantGroup{key: "config_groups"}
	g.read(w)
	strategy, _ := w.Find("strategy")
	g.Strategy, _ = strategy.Text()
	if g.Strategy == "tensor_group" { // of NVFP4, with a scale of the tensor besides
		g.Strategy = "group"
	}
	kind, _ := w.Find("type")
	g.Type, _ = kind.Text()
	if g.Strategy == "channel" || g.Size < 0 {
		g.Size = -1
	}
	order, _ := w.Find("actorder") // ActivationOrdering in quant_args.py: weight and static leave columns where they are
	text, _ := order.Text()
	is, _ := order.Bool()
	g.Ordered = is || strings.EqualFold(text, "group") || strings.EqualFold(text, "dynamic")
	bits, _ := w.Find("num_bits")
	g.Bits, _ = bits.Int()
	block, _ := w.Find("block_structure")
	if text, ok := block.Text(); ok { // "128x128"
		fmt.Sscanf(text, "%dx%d", &g.Rows, &g.Columns)
	} else {
		g.Rows, g.Columns = blockSize(block)
	}
	return g
}

// read reads what all libraries call alike.
func (g *QuantGroup) read(w checkpoint.ConfigValue) {
	symmetric, said := w.Find("symmetric")
	is, known := symmetric.Bool()
	g.Asymmetric = said && known && !is
	size, _ := w.Find("group_size")
	g.Size, _ = size.Int()
}

// readQuarkGroup reads the weight of a configuration of Quark (torch/quantization/config/config.py,
// QuantizationSpec; config/type.py, Dtype and QSchemeType).
func readQuarkGroup(w checkpoint.ConfigValue) QuantGroup {
	g := QuantGroup{key: "global_quant_config"}
	g.read(w)
	scheme, _ := w.Find("qscheme")
	text, _ := scheme.Text()
	g.Strategy = strings.TrimPrefix(text, "per_")
	if g.Strategy == "channel" {
		g.Size = -1
	}
	dtype, _ := w.Find("dtype")
	text, _ = dtype.Text()
	for prefix, kind := range map[string]string{"int": "int", "uint": "int", "fp": "float"} {
		var bits int64
		if rest, ok := strings.CutPrefix(text, prefix); ok && rest != "" {
			if n, _ := fmt.Sscanf(rest, "%d", &bits); n == 1 && bits < 16 {
				g.Type, g.Bits = kind, bits
			}
		}
	}
	return g
}

// exceptions are the fields that give single modules other numbers: GPTQModel, AutoRound,
// mlx-lm's per module, Quark.
var exceptions = []string{"dynamic", "extra_config", "layer_quant_config", QuantizedLayers}

// LeftOut begins the patterns of GPTQModel's dynamic that leave modules out
// (quantization/config.py, dynamic_get).
const LeftOut = "-:"

// HasExceptions reports whether single modules have other numbers than the rest, in a way that is not followed.
func (c *QuantClaim) HasExceptions() bool {
	return slices.ContainsFunc(exceptions, func(key string) bool {
		for pattern := range c.Find(key).Members() {
			if key != "dynamic" || !strings.HasPrefix(pattern, LeftOut) {
				return true
			}
		}
		return false
	})
}

// IgnoreKeys are the lists of modules that are not quantised: compressed-tensors; the
// quantizers of transformers; ModelOpt; Quark; bitsandbytes; vLLM's FP8.
var IgnoreKeys = []string{"ignore", "modules_to_not_convert", "exclude_modules", "exclude", "llm_int8_skip_modules", "ignored_layers"}

// IgnoreLists are the lists of a quant_method that loaders read, none where that is not known. Every loader reads the
// first, and some read another one instead where it exists. Sources: compressed_tensors/quantization/quant_config.py;
// the quantizers of transformers; vllm/model_executor/layers/quantization, from_config of fp8.py, modelopt.py and quark.
func IgnoreLists(method string) []string {
	switch strings.ToLower(method) {
	case "compressed-tensors":
		return []string{"ignore"}
	case "fp8":
		return []string{"modules_to_not_convert", "ignored_layers"}
	case "fbgemm_fp8", "mxfp4":
		return []string{"modules_to_not_convert"}
	case "quark":
		return []string{"exclude"}
	case "modelopt", "modelopt_fp4", "modelopt_mixed":
		return []string{"ignore", "exclude_modules"}
	}
	return nil
}

// QuantizedLayers is the list of single modules that are quantised, each with how: ModelOpt's of a mixture.
const QuantizedLayers = "quantized_layers"

// Rotation is what turns the inputs or outputs of layers while the model runs, since their weights are turned: its
// place in the document, "" for none. Weights are stored as they were turned, and queries and keys are turned alike,
// which changes no product of them (compressed_tensors/transform/transform_args.py, TransformLocation).
func (c *QuantClaim) Rotation() string {
	for name, scheme := range c.Find("transform_config", "config_groups").Members() {
		apply, _ := scheme.Find("apply")
		for _, a := range apply.Elements() {
			location, _ := a.Find("location")
			if text, ok := location.Text(); ok && (text == "input" || text == "output") {
				return fmt.Sprintf("transform_config.config_groups.%s, %s", name, text)
			}
		}
	}
	return ""
}

// onlyGroup is what the fields of GPTQ, AWQ and ModelOpt say, which have no groups.
func (c *QuantClaim) onlyGroup() (g QuantGroup, ok bool) {
	first := func(keys ...string) (n int64, key string) {
		for _, key := range keys {
			if n, ok := c.Find(key).Int(); ok {
				return n, key
			}
		}
		return 0, ""
	}
	var size string
	g.alone = true
	g.Bits, g.key = first("bits", "w_bit", "wbits")
	g.Size, size = first("group_size", "q_group_size")
	if g.key == "" {
		g.key = size
	}
	return g, g.Bits != 0 || g.Size != 0 && size == "group_size"
}

// Inputs is how many inputs share a scale, as [quant.Options] have it.
func (g QuantGroup) Inputs() uint64 {
	if g.Size < 0 {
		return quant.WholeRow
	}
	return uint64(g.Size)
}

// Of is the group of a module by its name: the only one, or one that names it, or else the first with a pattern of it,
// or else the only one for a class, as all of them are of linear layers (compressed_tensors/utils/match.py,
// match_targets, which looks in this order). It is false where the class of the module or a pattern would have to
// be known.
func (g *QuantGroups) Of(module string) (QuantGroup, bool) {
	if g == nil {
		return QuantGroup{}, false
	}
	if len(g.list) == 1 {
		return g.list[0], true
	}
	if i, ok := g.names[module]; ok {
		return g.list[i], true
	}
	for _, p := range g.patterns {
		switch {
		case p.re == nil:
			return QuantGroup{}, false
		case p.re.MatchString(module):
			return g.list[p.group], true
		}
	}
	for _, i := range g.classes {
		if g.list[i] != g.list[g.classes[0]] {
			return QuantGroup{}, false
		}
	}
	if len(g.classes) == 0 {
		return QuantGroup{}, false
	}
	return g.list[g.classes[0]], true
}

// A Contradiction is where the documents say something else of a weight, or of all, than the tensors do.
type Contradiction struct {
	// Numbers is set where the scheme is the same, and bits, groups or zero points are not.
	Numbers bool
	Key     string // of the field
	// Have is what the tensors are, and Said what the field says, or of one weight what a document "says".
	Have, Said string
}

// formats are the schemes that further fields mean. Sources: CompressionFormat of
// compressed_tensors/config/format.py, the QUANTIZATION names of modelopt/torch/export/model_config.py.
var formats = map[string]map[string][]string{
	"format": {
		"pack-quantized":        {"compressed-tensors"},
		"marlin-24":             {"compressed-tensors"},
		"nvfp4-pack-quantized":  {"nvfp4"},
		"mxfp4-pack-quantized":  {"mxfp4"},
		"float-quantized":       {"fp8-tensor", "fp8-channel", "fp8-group", "fp8-block"},
		"int-quantized":         {"int8-tensor", "int8-channel", "int8-group"},
		"naive-quantized":       {"fp8-tensor", "fp8-channel", "fp8-group", "fp8-block", "int8-tensor", "int8-channel", "int8-group"},
		"mxfp8-quantized":       {"mxfp8"},
		"nvfp4-pack_quantized":  {"nvfp4"},
		"float-quantized-block": {"fp8-block"},
	},
	"quant_algo": {
		"FP8":                       {"fp8-tensor"},
		"FP8_PER_CHANNEL_PER_TOKEN": {"fp8-channel"},
		"FP8_PB_WO":                 {"fp8-block"},
		"FP8_PB_REAL":               {"fp8-block"},
		"NVFP4":                     {"nvfp4"},
		"NVFP4_AWQ":                 {"nvfp4"},
		"W4A16_AWQ":                 {"modelopt-awq"},
		"W4A8_AWQ":                  {"modelopt-awq"},
		"MXFP8":                     {"mxfp8"},
		"W8A8_SQ_PER_CHANNEL":       {"int8-channel"},
	},
}

// Schemes are what the documents say of the scheme of all weights and that none of the schemes of a report is.
func (c *QuantClaim) Schemes(r *quant.Report) (list []Contradiction) {
	// A mixture has more than one scheme.
	var have []string
	for _, s := range r.Names() {
		if s != quant.Cast {
			have = append(have, s)
		}
	}
	if c == nil || len(have) == 0 {
		return nil
	}
	want := quant.Methods(c.Method)
	if want == nil {
		return nil
	}
	among := func(list []string) bool {
		return slices.ContainsFunc(have, func(s string) bool { return slices.Contains(list, s) })
	}
	add := func(key, said string) {
		list = append(list, Contradiction{Key: key, Have: strings.Join(have, " and "), Said: fmt.Sprintf("%s is %q", key, said)})
	}
	if !among(want) {
		add("quant_method", c.Method)
		return list
	}
	for _, key := range []string{"format", "quant_algo"} {
		said := c.Text(key)
		if schemes := formats[key][said]; schemes != nil && !among(schemes) {
			add(key, said)
		}
	}
	return list
}

// A QuantJudge holds what documents say against single weights.
type QuantJudge struct {
	claim  *QuantClaim
	groups *QuantGroups
}

// Judge returns the judge of a claim, which may be nil.
func (c *QuantClaim) Judge() *QuantJudge { return &QuantJudge{c, c.Groups()} }

// Contradiction is where the documents contradict what a module with a scheme is, nil for nowhere. Where it
// cannot be told which of several groups the module has, all of them have to.
func (j *QuantJudge) Contradiction(m *quant.Module) *Contradiction {
	if x := j.claim.format(m); x != nil {
		return x
	}
	if j.groups == nil || j.claim.HasExceptions() {
		return nil
	}
	list := j.groups.list
	if g, ok := j.groups.Of(m.Name); ok {
		list = []QuantGroup{g}
	}
	var first *Contradiction
	for _, g := range list {
		x := g.contradiction(m)
		if x == nil {
			return nil
		}
		if first == nil {
			first = x
		}
	}
	return first
}

// format holds the kind of FP8 against the dtype.
func (c *QuantClaim) format(m *quant.Module) *Contradiction {
	said := strings.ToUpper(c.Text("fmt"))
	dtype := m.Tensors[m.WeightAt()].DType
	if said != "E4M3" && said != "E5M2" || !quant.Is8Bit(dtype) || strings.HasPrefix(dtype, "F8_"+said) {
		return nil
	}
	return &Contradiction{Key: "fmt", Have: dtype, Said: "that fmt is " + strings.ToLower(said)}
}

// elementsOf are the type and the width of the elements of a scheme, where it says so.
func elementsOf(scheme string) (kind string, bits int64) {
	switch {
	case strings.HasPrefix(scheme, "fp8-") || scheme == "mxfp8":
		return "float", 8
	case strings.HasPrefix(scheme, "int8-"):
		return "int", 8
	case scheme == "nvfp4" || scheme == "mxfp4":
		return "float", 4
	case scheme == "compressed-tensors":
		return "int", 0
	}
	return "", 0
}

// contradiction is where a group says something else than a module is.
func (g QuantGroup) contradiction(m *quant.Module) *Contradiction {
	scheme := m.Scheme.Name
	kind, _ := elementsOf(scheme)
	if kind != "" && g.Type != "" && g.Type != kind {
		return &Contradiction{Key: g.key, Have: scheme, Said: "that the type of weights is " + g.Type}
	}
	if !g.sharesAs(m) {
		return &Contradiction{Key: g.key, Have: scheme, Said: "that the strategy of the weights is " + g.Strategy}
	}
	if kind != "" && g.Asymmetric && !slices.ContainsFunc(m.Tensors, func(t quant.Tensor) bool { return t.Leaf == "weight_zero_point" }) {
		return &Contradiction{Numbers: true, Key: g.key, Have: "without weight_zero_point", Said: "that weights are not symmetric"}
	}
	if x := g.packing(m); x != nil {
		return x
	}
	if kind != "" && g.Ordered && m.Across() > 1 && !slices.ContainsFunc(m.Tensors, func(t quant.Tensor) bool { return t.Leaf == "weight_g_idx" }) {
		return &Contradiction{Numbers: true, Key: g.key, Have: "without weight_g_idx", Said: "that columns are grouped in the order of activations (actorder)"}
	}
	return nil
}

// sharesAs reports whether as many numbers share a scale as the strategy says. A matrix of one row or one group is
// quantised in several ways at once.
func (g QuantGroup) sharesAs(m *quant.Module) bool {
	kind, strategy, ok := strings.Cut(m.Scheme.Name, "-")
	if !ok || kind != "fp8" && kind != "int8" || g.Strategy == "" || g.Strategy == strategy || !slices.Contains([]string{"tensor", "channel", "group", "block"}, g.Strategy) {
		return true
	}
	shape := m.Tensors[m.WeightAt()].Shape
	oneRow, across := len(shape) > 1 && shape[len(shape)-2] == 1, m.Across()
	switch g.Strategy {
	case "tensor":
		return oneRow && across == 1
	case "channel":
		return oneRow && strategy == "tensor" || across == 1
	case "group":
		return (strategy == "channel" || oneRow) && g.Size > 0 && uint64(g.Size) >= m.In
	}
	return false
}

// numbered are the schemes with bits and groups that are the configuration's to say, apart from those whose numbers
// are worked out.
var numbered = []string{"gptq", "awq", "mlx"}

// packing holds bits and groups against a module.
func (g QuantGroup) packing(m *quant.Module) *Contradiction {
	kind, bits := elementsOf(m.Scheme.Name)
	if bits == 0 {
		bits = int64(m.Bits)
	}
	across := m.Across()
	if kind == "" && !slices.Contains(numbered, m.Scheme.Name) || bits == 0 && across == 0 {
		return nil
	}
	in := m.In
	width := bits
	if bits == 0 && m.Row != 0 && g.Bits > 0 && g.Bits <= 32 {
		in, width = m.Row/uint64(g.Bits), g.Bits
	}
	agrees := g.Bits == 0 || g.Bits == width
	switch {
	case in == 0 || g.Size == 0 || across == 0:
	case g.Size < 0:
		agrees = agrees && across == 1
	default:
		size := uint64(g.Size)
		agrees = agrees && across == in/size+min(in%size, 1)
	}
	if agrees {
		return nil
	}
	x := &Contradiction{Numbers: true, Key: g.key, Said: numbersOf(g.Bits, g.Size)}
	switch {
	case bits == 0 && m.Row != 0:
		x.Have = fmt.Sprintf("in %d × 32 bits with %s", m.Row/32, plural.Of(int(across), "scale"))
	case across == 0 || in == 0:
		x.Have = numbersOf(bits, 0)
	case across == 1:
		x.Have = numbersOf(bits, -1)
	default:
		x.Have = numbersOf(bits, int64(in/across+min(in%across, 1)))
	}
	switch {
	case bits == 0:
		x.Have = "packed " + x.Have
	case m.Bits != 0:
		x.Have = "packed with " + x.Have
	}
	return x
}

// numbersOf says how many bits and groups weights have.
func numbersOf(bits, group int64) string {
	text := ""
	if bits != 0 {
		text = plural.Of(bits, "bit")
	}
	switch {
	case group < 0 && bits != 0:
		text += " and one group"
	case group < 0:
		text = "one group"
	case group > 0 && bits != 0:
		text += fmt.Sprintf(" in groups of %d", group)
	case group > 0:
		text = fmt.Sprintf("groups of %d", group)
	}
	return text
}
