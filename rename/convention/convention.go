package convention

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/rename/template"
)

// A Convention is what one project calls each role and how it lays the bytes
// out. Conventions are built in and read-only.
type Convention struct {
	Name        string
	Description string
	// Dialects are the projects whose spelling this is; several where names
	// cannot tell them apart, as mlx from hf.
	Dialects []string
	// Families are the models that use it, each spelled as its model_type in
	// transformers, or as its class where it has none.
	Families []string
	// Base is the prefix that a save of the bare model drops, "model.".
	Base string
	// VariantOf names the convention that this one departs from, for a
	// spelling that was given up.
	VariantOf string
	// Preferred conventions are named first where names alone cannot tell, of several those
	// with the highest number: more files have their names than have those of the others.
	Preferred int
	// Dimensions are those of the released models, of a denoiser, nil where they are not known.
	Dimensions []Dimensions
	// Bare conventions are of models whose releases without a head lack the base.
	Bare bool
	// Frame conventions are what a multimodal model adds to a language model
	// and its towers; its families are those of the whole.
	Frame bool
	// Kind is the part of an image or video model that it is: Denoiser, "autoencoder",
	// "control", or "".
	Kind string
	// With names the conventions one of which must stand beside a frame for
	// its families to be claimed.
	With []string
	// Text is the prefix of the layers of the language model in the releases that have a
	// frame, "" where it is that of the language model alone, or not known.
	Text   string
	Layout Layout
	// Refuse says why no conversion is derived from or to this convention.
	Refuse  string
	Sources []string

	// Language is set for a decoder or an encoder of text, which the towers of
	// a multimodal model stand around.
	Language bool

	opaque []reason
	// drop and dropLayers are roles that the project's converter leaves out, and
	// roles of which the whole layer is left out; towers are names of what it keeps
	// in a file of its own.
	drop, dropLayers, towers []reason
	kinds                    []int32 // its tensors in the set
	tensors                  func() []Tensor
	index                    func() *tensorIndex
}

// Dimensions are the numbers of one model by which its adapters can be told from those of
// another with the same names.
type Dimensions struct {
	// Width is that of what passes from block to block.
	Width uint64 `json:"width" yaml:"width"`
	// Blocks count the blocks below a name.
	Blocks map[string]int `json:"blocks" yaml:"blocks"`
}

// Denoiser is the kind of a UNet or a diffusion transformer.
const Denoiser = "denoiser"

// A tensorIndex finds the tensors of a convention. Identification reads hundreds
// of conventions and looks up in few, so it is made when it is first asked for.
type tensorIndex struct {
	byRole     map[string]int
	byTemplate map[string][]int
}

func (c *Convention) makeIndex() *tensorIndex {
	tensors := c.tensors()
	x := &tensorIndex{make(map[string]int, len(tensors)), make(map[string][]int, len(tensors))}
	for i, t := range tensors {
		if _, ok := x.byRole[t.Role]; !ok {
			x.byRole[t.Role] = i
		}
		x.byTemplate[t.Pattern.template] = append(x.byTemplate[t.Pattern.template], i)
	}
	return x
}

// A reason says why something is done with what a glob matches: roles, or names.
type reason struct {
	Glob template.Glob
	When string // the key of the configuration that has to be set, "" for always
	Text string
}

// reasonFor returns the first of some reasons for a role or a name, "" without one.
func reasonFor(list []reason, text string, m *Model) string {
	for i := range list {
		r := &list[i]
		if !r.Glob.Match(text) {
			continue
		}
		if set, _ := m.Number(r.When); r.When == "" || set != 0 {
			return r.Text
		}
	}
	return ""
}

// A Tensor is one kind of tensor of a convention.
type Tensor struct {
	Role    string
	Pattern *Pattern
	// Module is the role without its leaf.
	Module string
	// Optional tensors may be absent: models without biases, tied heads.
	Optional bool
	// Unwritten tensors are in some files, and the project's own converter does not
	// write them: any more, or unless it is asked to.
	Unwritten bool
	// DType is the dtype that the project's converter gives the tensor whatever it
	// was, "" for none. See also Layout.Vectors.
	DType string
	// Buffer tensors follow from the configuration and are dropped when
	// another convention does not know them.
	Buffer bool

	// Absolute tensors do not stand below the base: a head beside the model.
	Absolute bool
	// Below is the pattern below the base. It is Pattern for an absolute tensor.
	Below *Pattern
	// Without is a module: the name is used where the same block lacks it.
	Without string
}

// Named is a tensor as conventions look at it.
type Named struct {
	Name  string
	Shape []uint64 // the slowest dimension first; nil when unknown
	DType string   // "" when unknown
}

// An ID is what a tensor is for: its role and its indices, the layer first,
// then the expert, then others by name.
type ID struct {
	Role  string
	Index []int
}

func (id ID) String() string {
	if len(id.Index) == 0 {
		return id.Role
	}
	return id.Role + fmt.Sprint(id.Index)
}

// Lookup returns the built-in convention of a name, "llama-hf".
func Lookup(name string) (*Convention, bool) {
	c, ok := builtin().byName[name]
	return c, ok
}

// All returns the built-in conventions by name.
func All() []*Convention { return slices.Clone(builtin().list) }

// Tensors returns the kinds of tensors of the convention, which must not be
// modified.
func (c *Convention) Tensors() []Tensor { return c.tensors() }

// Below yields, for each of the convention's tensors, the number of the template that
// its pattern has below the base, and which of its indices are text: see
// [TemplateNumber] and [Pattern.Literals]. It does not make the tensors.
func (c *Convention) Below() iter.Seq2[int, uint64] {
	kinds := &builtin().kinds
	return func(yield func(int, uint64) bool) {
		for _, n := range c.kinds {
			if !yield(int(kinds.templates[n]), kinds.literals[n]) {
				return
			}
		}
	}
}

// TakesAny reports whether the pattern of a tensor agrees with any indices: see
// [Pattern.Any]. It does not make the tensors.
func (c *Convention) TakesAny(tensor int) bool {
	_, odd := builtin().kinds.literals[c.kinds[tensor]]
	return !odd
}

// Templates counts the templates that patterns have below their bases, and
// TemplateNumber numbers them from zero.
func Templates() int { return len(builtin().templates) }

// TemplateNumber returns the number of a template.
func TemplateNumber(template string) (int, bool) {
	n, ok := builtin().numbers()[template]
	return int(n), ok
}

// Role returns the convention's tensor of a role, the first of several
// spellings.
func (c *Convention) Role(role string) (*Tensor, bool) {
	if i, ok := c.index().byRole[role]; ok {
		return &c.tensors()[i], true
	}
	return nil, false
}

// Match finds the tensor that a name is of, and the indices in it. The name is
// whole: no wrapper stands before it.
func (c *Convention) Match(name string) (t *Tensor, index []int, ok bool) {
	text, nums := template.Words.Scan(make([]byte, 0, 128), make([]int32, 0, 8), name)
	for _, i := range c.index().byTemplate[string(text)] {
		t := &c.tensors()[i]
		if index, ok := t.Pattern.Match(nums); ok {
			return t, index, true
		}
	}
	return nil, nil, false
}

// Parse says what a name is for in this convention, as Match finds it.
func (c *Convention) Parse(name string) (ID, bool) {
	t, index, ok := c.Match(name)
	if !ok {
		return ID{}, false
	}
	return ID{t.Role, index}, true
}

// Format is the inverse of Parse. Where a convention has several names for a
// role, it gives the first.
func (c *Convention) Format(id ID) (string, bool) {
	t, ok := c.Role(id.Role)
	if !ok {
		return "", false
	}
	return t.Pattern.Format(id.Index)
}

// Opaque says why the bytes of a role cannot be taken to another project's
// form, "" when they can.
func (c *Convention) Opaque(role string, m *Model) string { return reasonFor(c.opaque, role, m) }

// Drops says why the project's converter leaves out a role, or a name that the
// source convention does not know, "" when it does not.
func (c *Convention) Drops(role string) string { return reasonFor(c.drop, role, nil) }

// DropsLayer says why the project's converter leaves out a layer that has a tensor
// of a role: one that predicts further tokens.
func (c *Convention) DropsLayer(role string) string { return reasonFor(c.dropLayers, role, nil) }

// Towers reports whether the project keeps the towers of a multimodal model in a
// file of their own, beside that of the language model.
func (c *Convention) Towers() bool { return len(c.towers) > 0 }

// Tower says where the project keeps a tensor of that name in its source, when
// that is not the file of the language model.
func (c *Convention) Tower(name string) string { return reasonFor(c.towers, name, nil) }

// NormOffset is what the model adds to the stored weight of a normalisation.
func (c *Convention) NormOffset(module string) float64 {
	if v, ok := longest(c.Layout.NormOffsets, module); ok {
		return v
	}
	return c.Layout.NormOffset
}

// Shape is the form in which a module is stored, "" when it says nothing.
func (c *Convention) Shape(module string) string {
	form, _ := longest(c.Layout.Shapes, module)
	return form
}

// longest returns the value of the longest glob that matches.
func longest[T any](globs map[string]T, module string) (value T, ok bool) {
	best := -1
	for g, v := range globs {
		if len(g) > best && template.Glob(g).Match(module) {
			value, ok, best = v, true, len(g)
		}
	}
	return value, ok
}

// Stores is the dtype that the project's converter gives a tensor, "" when it stays
// as it is. The rank is -1 where it is unknown, and the tensor nil.
func (c *Convention) Stores(t *Tensor, rank int) string {
	if t != nil && t.DType != "" {
		return t.DType
	}
	if rank == 0 || rank == 1 {
		return c.Layout.Vectors
	}
	return ""
}

// Transposes reports whether the convention stores a module [in, out].
func (c *Convention) Transposes(module string) bool {
	return slices.ContainsFunc(c.Layout.Transposed, func(g string) bool {
		return template.Glob(g).Match(module) || template.Glob(g).Match(strings.TrimPrefix(module, "text."))
	})
}

// CutBase takes the convention's base off the end of what stands before names.
func (c *Convention) CutBase(prefix string) (rest string, ok bool) {
	rest, ok = strings.CutSuffix(prefix, c.Base)
	return rest, ok && (rest == "" || strings.HasSuffix(rest, "."))
}

// HasFamily reports whether a model type, as config.json spells it, uses the
// convention.
func (c *Convention) HasFamily(modelType string) bool {
	return slices.ContainsFunc(c.Families, func(f string) bool { return SameFamily(f, modelType) })
}

// HasDialect reports whether the convention is a project's spelling.
func (c *Convention) HasDialect(dialect string) bool { return slices.Contains(c.Dialects, dialect) }

// SameFamily compares model types: projects disagree about case and separators.
func SameFamily(a, b string) bool {
	for {
		for a != "" && isFamilySeparator(a[0]) {
			a = a[1:]
		}
		for b != "" && isFamilySeparator(b[0]) {
			b = b[1:]
		}
		switch {
		case a == "" || b == "":
			return a == b
		case a[0] >= utf8.RuneSelf || b[0] >= utf8.RuneSelf:
			return strings.EqualFold(familySeparators.Replace(a), familySeparators.Replace(b))
		case lower(a[0]) != lower(b[0]):
			return false
		}
		a, b = a[1:], b[1:]
	}
}

func isFamilySeparator(c byte) bool { return c == '-' || c == '_' }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return c
}

var familySeparators = strings.NewReplacer("-", "", "_", "")
