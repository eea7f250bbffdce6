package compile

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/template"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// A ggufArchitecture is what gguf.yaml adds to an architecture's names.
type ggufArchitecture struct {
	Rope      string            `yaml:"rope"`
	Sections  string            `yaml:"rope_sections"`
	QKV       string            `yaml:"qkv"`
	Norms     bool              `yaml:"rope_norms"`
	Gate      bool              `yaml:"query_gate"`
	QKNorm    string            `yaml:"qk_norm"`
	Queries   string            `yaml:"query_heads"`
	Values    string            `yaml:"value_heads"`
	Shapes    map[string]string `yaml:"shapes"`
	Written   []string          `yaml:"written"`
	Unwritten []string          `yaml:"unwritten"`
	Any       []string          `yaml:"any_dtype"`
	Without   []string          `yaml:"without"` // names of llama.cpp's table that it never loads
	Linear    bool              `yaml:"linear"`
	MoE       bool              `yaml:"moe"`   // a layer has an MLP or experts
	Dense     bool              `yaml:"dense"` // a whole model may do without experts
	Bias      []string          `yaml:"bias"`
	Families  []string          `yaml:"families"`
	Optional  []string          `yaml:"optional"`
	Require   []string          `yaml:"require"`
	Pref      int               `yaml:"preferred"`
	Roles     map[string]string `yaml:"roles"`
	Opaque    yaml.Node         `yaml:"opaque"`
	Own       bool              `yaml:"own"` // no role of its names has a counterpart
	// Newer than the table: further names, and an architecture that has the names of another.
	Add  []string `yaml:"add"`
	Like string   `yaml:"like"`
	Bare []string `yaml:"bare"` // names without a leaf

	Drop       yaml.Node `yaml:"drop"`
	DropLayers yaml.Node `yaml:"drop_layers"`
}

// linearRoles are the roles of the state-space names in architectures that
// use them for gated linear attention.
var linearRoles = map[string]string{
	"layer.ssm.in":       "layer.linear_attn.qkvz",
	"layer.ssm.conv":     "layer.linear_attn.conv",
	"layer.ssm.dt":       "layer.linear_attn.dt",
	"layer.ssm.a":        "layer.linear_attn.a_log",
	"layer.ssm.out_norm": "layer.linear_attn.norm",
	"layer.ssm.out":      "layer.linear_attn.o",
	"layer.attn.qkv":     "layer.linear_attn.qkv",
}

// towerLeaves are the leaves that a tensor of a tower may have: some are
// created without a suffix.
var towerLeaves = []leaf{{"weight", ".weight", true}, {"bias", ".bias", true}, {"weight", "", true}}

const ggufSource = "llama.cpp: gguf-py/gguf/constants.py, tensor_mapping.py; src/llama-model.cpp"

// loadGGUF makes one convention of each architecture: llama-gguf,
// qwen3moe-gguf and so on.
func loadGGUF(files fs.FS, vocab *vocabulary) ([]*Description, error) {
	ggufYAML, err := fs.ReadFile(files, "gguf.yaml")
	if err != nil {
		return nil, err
	}
	ggufArch, err := fs.ReadFile(files, "gguf_arch.txt")
	if err != nil {
		return nil, err
	}
	var doc struct {
		Names         yaml.Node                   `yaml:"names"`
		Optional      []string                    `yaml:"optional"`
		Drop          yaml.Node                   `yaml:"drop"`
		Tower         string                      `yaml:"tower"`
		Towers        []string                    `yaml:"towers"`
		Unwritten     []string                    `yaml:"unwritten"`
		F32           []string                    `yaml:"f32"`
		Shapes        map[string]string           `yaml:"shapes"`
		Architectures map[string]ggufArchitecture `yaml:"architectures"`
	}
	if err := yaml.Load(ggufYAML, &doc, yaml.WithKnownFields()); err != nil {
		return nil, fmt.Errorf("gguf.yaml: %w", err)
	}
	specs := make(map[string]spec)
	for i := 0; i+1 < len(doc.Names.Content); i += 2 {
		name, text := doc.Names.Content[i].Value, doc.Names.Content[i+1].Value
		role, leaves, _ := strings.Cut(text, " ")
		list, err := parseSpec(role, name+" "+cmp.Or(leaves, "[weight]"))
		if err != nil {
			return nil, fmt.Errorf("gguf.yaml: line %d: %w", doc.Names.Content[i].Line, err)
		}
		for _, s := range list {
			specs[s.stem] = s
		}
	}
	drop := readReasons(&doc.Drop)
	var towers []Reason
	for _, glob := range doc.Towers {
		towers = append(towers, Reason{Glob: glob, Text: doc.Tower})
	}
	var out []*Description
	table := make(map[string]string)
	for line := range strings.Lines(string(ggufArch)) {
		if arch, names, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && !strings.HasPrefix(line, "#") {
			table[arch] = names
		}
	}
	for arch, a := range doc.Architectures {
		if a.Like != "" {
			table[arch] = table[a.Like]
		}
	}
	for _, arch := range slices.Sorted(maps.Keys(table)) {
		a, ok := doc.Architectures[arch]
		if !ok {
			return nil, fmt.Errorf("gguf.yaml: architecture %q is not described", arch)
		}
		names := append(strings.Fields(table[arch]), a.Add...)
		c := &Description{
			Name: arch + "-gguf", Description: "llama.cpp's names for architecture " + arch,
			Dialects: []string{"gguf"}, Families: a.Families, Sources: []string{ggufSource}, Preferred: a.Pref,
			Layout: convention.Layout{
				Rope: a.Rope, RopeSections: a.Sections, QKV: cmp.Or(a.QKV, tensorop.Contiguous), RopeNorms: a.Norms, QueryGate: a.Gate, QKNorm: a.QKNorm, QueryHeads: a.Queries, ValueHeads: a.Values,
				Decay: "negative", Shapes: over(a.Shapes, doc.Shapes), Vectors: "F32",
			},
		}
		if c.Families == nil {
			c.Families = []string{strings.ReplaceAll(arch, "-", "_")}
		}
		c.Drop, c.DropLayers, c.Towers = slices.Concat(readReasons(&a.Drop), drop), readReasons(&a.DropLayers), towers
		c.Opaque = readReasons(&a.Opaque)
		if a.Own {
			c.Refuse = "which of its names a tower has depends on the tower"
		}
		if a.Like != "" {
			c.Refuse = "what llama.cpp's converter does to its weights is not known here"
		}
		for _, name := range names {
			if a.Own {
				stem := strings.ReplaceAll(name, "{bid}", "{layer}")
				c.specs = append(c.specs, spec{module: ownPrefix + stem, stem: stem, optional: true, leaves: towerLeaves, dtype: f32(doc.F32)})
				continue
			}
			if slices.Contains(a.Without, name) {
				continue
			}
			s, ok := specs[name]
			if !ok {
				return nil, fmt.Errorf("gguf.yaml: the name %q of architecture %q has no role", name, arch)
			}
			if role := a.Roles[name]; role != "" {
				s.module = role
			} else if a.Linear {
				s.module = cmp.Or(linearRoles[s.module], s.module)
			}
			isOptional := func(glob string) bool { return template.Glob(glob).Match(name) }
			s.optional = slices.ContainsFunc(doc.Optional, isOptional) || slices.ContainsFunc(a.Optional, isOptional)
			if a.MoE && (strings.HasPrefix(name, "blk.ffn_") && name != "blk.ffn_norm" || name == "blk.exp_probs_b") {
				s.optional = a.Dense || name != "blk.ffn_gate_inp" && name != "blk.ffn_down_exps"
			}
			if slices.Contains(a.Require, name) {
				s.optional = false
			}
			s.unwritten = slices.Contains(slices.Concat(doc.Unwritten, a.Unwritten), name) && !slices.Contains(a.Written, name)
			if slices.Contains(a.Bias, name) {
				s.leaves = []leaf{{"weight", ".weight", false}, {"bias", ".bias", false}}
			}
			if a.Linear && name == "blk.ssm_dt" {
				// ollama: convert/convert_qwen3next.go writes it without a leaf.
				s.leaves = []leaf{{"weight", ".weight", true}, {"bias", ".bias", false}, {"bias", "", true}}
			}
			if slices.Contains(a.Bare, name) {
				s.leaves = []leaf{{"bias", "", false}}
			}
			s.stem = ggufStem(name)
			if !slices.Contains(a.Any, name) {
				s.dtype = f32(doc.F32)
			}
			c.specs = append(c.specs, s)
		}
		if err := c.compile(vocab); err != nil {
			return nil, fmt.Errorf("architecture %q: %w", arch, err)
		}
		out = append(out, c)
	}
	return out, nil
}

// ggufStem puts the block number back.
func ggufStem(name string) string {
	for _, p := range []string{"blk.", "enc.blk.", "dec.blk.", "convnext.", "posnet."} {
		if rest, ok := strings.CutPrefix(name, p); ok {
			return p + "{layer}." + rest
		}
	}
	return name
}
