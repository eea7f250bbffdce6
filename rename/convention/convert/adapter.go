package convert

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/adapter"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// Adapter derives how the tensors of an adapter become those of another: goal is
// the dialect to spell them in, or the convention or the project whose modules to
// name. What is done to the weights of a model's modules, when their convention
// changes, is done to the parts of their changes: rows of a module are rows of
// the up half, and its columns are columns of the down half, as in llama.cpp's
// convert_lora_to_gguf.py, LoraTorchTensor.
//
// The error is a *RefusalError.
func Adapter(a *identify.Adapter, goal string, model *convention.Model) (*Conversion, error) {
	if model == nil {
		model = new(convention.Model)
	}
	tied := likeliest(a.Components[0].Tied(), model.Adapter)
	if len(tied) == 0 {
		return adapterTo(a, goal, model)
	}
	if to, ok := convention.Lookup(goal); ok {
		// Who names a convention says which model it is.
		if of := slices.DeleteFunc(slices.Clone(tied), func(c *convention.Convention) bool { return !slices.ContainsFunc(to.Families, c.HasFamily) }); len(of) > 0 {
			tied = of
		}
	}
	as := func(c *convention.Convention) (*Conversion, error) { return adapterTo(a.As(c), goal, model) }
	out, err := as(tied[0])
	if err != nil && len(tied) > 1 && tied[0].Kind == convention.Denoiser && tied[0].Preferred == 0 {
		return nil, &RefusalError{From: a.Name, To: goal, Reason: fmt.Sprintf("its modules may be those of %s or of %s; name the convention with --from", tied[0].Name, tied[1].Name)}
	}
	rival := Rival(out, err, tied, model, as)
	switch {
	case rival == nil:
		return out, err
	case tied[0].Kind == convention.Denoiser && tied[0].Preferred > 0:
		var rivals []string
		for _, c := range tied[1:] {
			if Rival(out, err, []*convention.Convention{tied[0], c}, model, as) != nil {
				rivals = append(rivals, c.Name)
			}
		}
		out.Notes = append(out.Notes, fmt.Sprintf("its modules are taken for those of %s; were they those of %s, they would become different ones, and --from says so", tied[0].Name, strings.Join(rivals, " or ")))
		return out, nil
	}
	return nil, &RefusalError{From: a.Name, To: goal, Reason: fmt.Sprintf("its modules may be those of %s or of %s, which become different ones; name the convention with --from", tied[0].Name, rival.Name)}
}

// adapterTo is Adapter for modules whose convention is known.
func adapterTo(a *identify.Adapter, goal string, model *convention.Model) (*Conversion, error) {
	base := a.Components[0].Convention
	cv := &adapterConverter{Adapter: a, model: model, dialect: a.Dialect, base: base}
	if d, ok := adapter.Lookup(goal); ok {
		cv.dialect = d
		var err error
		if cv.base, err = baseFor(a, d, model); err != nil {
			return nil, err
		}
		return cv.run()
	}
	if base == nil {
		return nil, cv.refuse("", "the model that it changes is not known; name its convention with --from")
	}
	to, err := Target(goal, base, model)
	if err != nil {
		if refusal := err.(*RefusalError); len(goals(base)) > 0 || !strings.HasPrefix(refusal.Reason, "there is no") {
			refusal.Reason += "; the dialects of adapters are " + strings.Join(dialectNames(), ", ")
		}
		return nil, err
	}
	return between(a, to, model)
}

// between names the modules as another convention does, in the adapter's dialect
// where that takes them and otherwise in that of the convention's project.
func between(a *identify.Adapter, to *convention.Convention, model *convention.Model) (*Conversion, error) {
	cv := &adapterConverter{Adapter: a, model: model, dialect: a.Dialect, base: to}
	if !identify.Takes(cv.dialect, to) {
		cv.dialect = homeOf(to)
	}
	return cv.run()
}

// AdapterAs derives how the tensors of an adapter become what another one has: the same
// changes in the other's dialect, to modules of the other's names. there is what is known
// of the other's factors. The error is a *RefusalError.
func AdapterAs(a, other *identify.Adapter, model *convention.Model, there *adapter.Settings) (*Conversion, error) {
	if model == nil {
		model = new(convention.Model)
	}
	cv := &adapterConverter{Adapter: a, model: model, dialect: other.Dialect, base: other.Components[0].Convention, there: there}
	return cv.run()
}

func dialectNames() []string {
	var out []string
	for _, d := range adapter.All() {
		out = append(out, d.Name)
	}
	return out
}

// homeOf is the dialect of a convention's project.
func homeOf(c *convention.Convention) *adapter.Dialect {
	for _, d := range adapter.All() {
		if slices.ContainsFunc(d.Home, c.HasDialect) {
			return d
		}
	}
	d, _ := adapter.Lookup("comfy") // it takes the names of the model's release
	return d
}

// baseFor chooses the convention of the modules in a dialect: the one they have,
// where the dialect takes it.
func baseFor(a *identify.Adapter, d *adapter.Dialect, model *convention.Model) (*convention.Convention, error) {
	base := a.Components[0].Convention
	if base == nil || identify.Takes(d, base) {
		return base, nil
	}
	var candidates []*convention.Convention
	for _, project := range d.Bases {
		if c, err := Target(project, base, model); err == nil && c != base {
			candidates = append(candidates, c)
		}
	}
	if d.Bases == nil {
		if base.HasDialect("diffusers") {
			candidates = identify.Originals(base)
		} else if c, err := Target("hf", base, model); err == nil {
			candidates = append(candidates, c)
		}
	}
	if len(candidates) == 0 {
		return nil, &RefusalError{From: a.Name, To: d.Name, Reason: fmt.Sprintf("%s does not take the names of %s, and no other convention is known of %s", d.Name, base.Name, strings.Join(base.Families, ", "))}
	}
	return slices.MinFunc(candidates, func(x, y *convention.Convention) int { return compareGoals(x, y, base, model) }), nil
}

type adapterConverter struct {
	*identify.Adapter
	model   *convention.Model
	dialect *adapter.Dialect       // the target's
	base    *convention.Convention // of the main component's modules in the target; nil when unknown
	out     *Conversion
	fold    bool // the factor goes into the weights
	turned  bool // the modules at hand are stored [in, out]
	folded  int
	merges  bool
	summed  int               // modules whose rank is the sum of several
	there   *adapter.Settings // of the adapter that it is compared with, or nil
}

func (cv *adapterConverter) refuse(tensor, format string, args ...any) *RefusalError {
	from, to := cv.names()
	return &RefusalError{From: from, To: to, Tensor: tensor, Reason: fmt.Sprintf(format, args...)}
}

// names say what the conversion is from and to.
func (cv *adapterConverter) names() (from, to string) {
	if base := cv.Components[0].Convention; base != cv.base && base != nil && cv.base != nil {
		return base.Name, cv.base.Name
	}
	return cv.Name, cv.dialect.Name
}

func (cv *adapterConverter) run() (*Conversion, error) {
	cv.out = new(Conversion)
	cv.out.From, cv.out.To = cv.names()
	if cv.out.Dialect = cv.dialect.Name; cv.base != nil {
		cv.out.Modules = cv.base.Name
	}
	if err := cv.factors(); err != nil {
		return nil, err
	}
	for i, c := range cv.Components {
		to := c.Convention
		if i == 0 {
			to = cv.base
		}
		if err := cv.component(c, to); err != nil {
			return nil, err
		}
	}
	for _, i := range cv.Unread {
		cv.out.Unmapped = append(cv.out.Unmapped, cv.Tensors[i].Name)
	}
	if cv.folded > 0 {
		cv.out.Notes = append(cv.out.Notes, fmt.Sprintf("alpha / rank is multiplied into the weights, and rounded (x%d)", cv.folded))
	}
	if cv.summed > 0 {
		cv.out.Notes = append(cv.out.Notes, fmt.Sprintf("modules are joined whose halves differ: the rank of the whole is the sum of theirs (x%d)", cv.summed))
	}
	if cv.merges {
		cv.out.Notes = append(cv.out.Notes, "halves are joined where their modules are: they must be equal, since the rank of the whole would otherwise be the sum of theirs")
	}
	return cv.out, nil
}

// factors decides where the factors go.
func (cv *adapterConverter) factors() error {
	d, s := cv.dialect, cv.model.Adapter
	if d.Alpha == cv.Alpha && d.Alpha != adapter.Fold && !cv.has("alpha") {
		return nil
	}
	if d.Alpha == adapter.Tensor && cv.has("alpha") {
		return nil // each module keeps its own
	}
	var factors []float64
	var ranks []uint64
	var zeros []string
	for _, c := range cv.Components {
		for _, m := range c.Modules {
			rank := cv.rank(m)
			f, known := s.Factor(cv.Dialect, cv.alphaOf(m), rank)
			if alpha := cv.alphaOf(m); alpha != "" && known && rank > 0 && s.Alphas[alpha] == 0 {
				zeros = append(zeros, alpha)
			}
			switch {
			case !known && cv.alphaOf(m) == "":
				// Without a document the factor is what a loader makes it.
				f = 1
				if note := "no document says what alpha is: the rank is taken"; !slices.Contains(cv.out.Notes, note) {
					cv.out.Notes = append(cv.out.Notes, note)
				}
			case !known:
				return cv.refuse(cv.alphaOf(m), "the value of alpha is not known")
			}
			if f <= 0 || math.IsNaN(f) || math.IsInf(f, 0) {
				return cv.refuse(cv.alphaOf(m), "alpha / rank is %v, which no change is multiplied with", f)
			}
			if !slices.Contains(factors, f) {
				factors = append(factors, f)
			}
			if rank > 0 && !slices.Contains(ranks, rank) {
				ranks = append(ranks, rank)
			}
		}
	}
	if len(zeros) > 0 {
		slices.Sort(zeros)
		cv.out.Notes = append(cv.out.Notes, fmt.Sprintf("an alpha of 0 is taken for the rank, as sd-scripts takes it; ComfyUI and diffusers would multiply with 0 (x%d, the first is %s)", len(zeros), zeros[0]))
	}
	uniform := len(factors) == 1 && len(ranks) == 1
	if d.Alpha == adapter.Tensor || d.Alpha == adapter.Fold || !uniform {
		cv.fold = slices.ContainsFunc(factors, func(f float64) bool { return f != 1 })
	}
	if len(ranks) == 0 {
		return nil
	}
	slices.Sort(ranks)
	factor := 1.0
	if !cv.fold {
		factor = factors[0]
	}
	rank := float64(ranks[len(ranks)-1])
	others := ""
	if len(ranks) > 1 {
		others = fmt.Sprintf("; modules of other ranks (%s) need rank_pattern and alpha_pattern", strings.Trim(fmt.Sprint(ranks[:len(ranks)-1]), "[]"))
	}
	switch d.Alpha {
	case adapter.Config:
		cv.out.Notes = append(cv.out.Notes, fmt.Sprintf("adapter_config.json must have r %v and lora_alpha %v%s", rank, factor*rank, others))
	case adapter.Scale:
		cv.out.Notes = append(cv.out.Notes, fmt.Sprintf("adapter_config.json must have lora_parameters with rank %v and scale %v", rank, factor))
	case adapter.Key:
		alpha := factor * rank
		if cv.fold {
			alpha = 0 // which llama.cpp takes for a factor of 1
		}
		cv.out.alpha, cv.out.keyed = alpha, fmt.Sprintf("in a GGUF file adapter.lora.alpha must be %v", alpha)
		cv.out.Notes = append(cv.out.Notes, cv.out.keyed)
	}
	return nil
}

// has reports whether some module has a part.
func (cv *adapterConverter) has(part string) bool {
	for _, c := range cv.Components {
		for _, m := range c.Modules {
			if _, ok := m.Parts[part]; ok {
				return true
			}
		}
	}
	return false
}

func (cv *adapterConverter) rank(m *adapter.Change) uint64 {
	return m.Rank(func(i int) []uint64 { return cv.Tensors[i].Shape }, cv.Dialect)
}

// alphaOf is the name of a module's alpha, "" where it has none.
func (cv *adapterConverter) alphaOf(m *adapter.Change) string {
	if i, ok := m.Parts["alpha"]; ok {
		return cv.Tensors[i].Name
	}
	return ""
}

// component converts the changes of one part of a pipeline.
func (cv *adapterConverter) component(c *identify.Component, to *convention.Convention) error {
	of := c.Of
	if of == "any" && to != nil && to.Kind == convention.Denoiser {
		of = "denoiser"
	}
	family := func(f string) bool { return cv.base != nil && cv.base.HasFamily(f) }
	prefix, ok := cv.dialect.PrefixOf(of, family)
	if !ok {
		return cv.refuse("", "%s has no names for the modules of %s", cv.dialect.Name, partText(of))
	}
	if len(cv.Components) > 1 && !slices.ContainsFunc(cv.dialect.Prefixes, func(p adapter.Prefix) bool { return p.Of != "any" }) {
		return cv.refuse("", "%s has one model per file, and this adapter changes %d", cv.dialect.Name, len(cv.Components))
	}
	if to != c.Convention && to != nil && c.Convention != nil {
		return cv.rebase(c, to, prefix)
	}
	for i, m := range c.Modules {
		if m.Rows != "" && cv.dialect != cv.Dialect {
			return cv.refuse(cv.first(m), "it changes only %s of %s", m.Rows, m.Path)
		}
		if m.Rows != "" {
			for _, i := range sortedParts(m) {
				cv.out.Moves = append(cv.out.Moves, Move{From: []string{cv.Tensors[i].Name}, To: []string{cv.Tensors[i].Name}})
			}
			continue
		}
		path, err := cv.path(c, i)
		if err != nil {
			return err
		}
		cv.move([]*adapter.Change{m}, []string{path}, prefix, nil)
	}
	for _, s := range c.Saved {
		if cv.dialect.Flat || cv.dialect.Only {
			cv.aside(s.Tensor, "", cv.dialect.Name+" has no names for tensors that are not changes")
			continue
		}
		cv.out.Moves = append(cv.out.Moves, Move{From: []string{cv.Tensors[s.Tensor].Name}, To: []string{prefix + s.Name}})
	}
	return nil
}

// partText names a part of a pipeline.
func partText(of string) string {
	switch of {
	case "clip_l":
		return "a CLIP text encoder"
	case "clip_g":
		return "a second CLIP text encoder"
	case "t5":
		return "a T5 text encoder"
	case "text":
		return "a text encoder"
	case "any":
		return "a model that is no part of a pipeline"
	}
	return "a " + strings.ReplaceAll(of, "_", " ")
}

func (cv *adapterConverter) aside(tensor int, role, reason string) {
	cv.out.Aside = append(cv.out.Aside, Aside{Name: cv.Tensors[tensor].Name, Role: role, Reason: reason, Blocks: true})
}

// path is that of a module in the target, where its convention is the same.
func (cv *adapterConverter) path(c *identify.Component, i int) (string, error) {
	path, ok := c.Path(i)
	if !ok && !cv.dialect.Flat {
		of := "no convention that is known has a module that is"
		if c.Convention != nil {
			of = c.Convention.Name + " has no module that is"
		}
		return "", cv.refuse(cv.first(c.Modules[i]), "%s %q with '_' for dots, so that the dots cannot be told", of, path)
	}
	return path, nil
}

func (cv *adapterConverter) first(m *adapter.Change) string {
	best := -1
	for _, i := range m.Parts {
		if best < 0 || i < best {
			best = i
		}
	}
	return cv.Tensors[best].Name
}

// canonical is the name of a module's weight as its convention has it.
func canonical(p identify.Place) (string, bool) {
	if p.Tensor == nil {
		return "", false
	}
	return p.Tensor.Pattern.Format(p.Index)
}

// rebase gives the modules the names of another convention. What that does to
// their weights is derived as for a model.
func (cv *adapterConverter) rebase(c *identify.Component, to *convention.Convention, prefix string) error {
	var named []convention.Named
	changes := make(map[string]*adapter.Change)
	turned := make(map[string]bool)
	saved := make(map[string]int)
	shapes := make(map[string][]uint64)
	for i, p := range c.Places {
		name, ok := canonical(p)
		tensor := -1
		if i >= len(c.Modules) {
			tensor = c.Saved[i-len(c.Modules)].Tensor
		}
		switch {
		case !ok && tensor < 0:
			return cv.refuse(cv.first(c.Modules[i]), "%s has no module %q", c.Convention.Name, c.Modules[i].Path)
		case !ok:
			cv.aside(tensor, "", "it is no tensor of "+c.Convention.Name)
			continue
		case tensor < 0 && unsure(c, to, p):
			for _, i := range sortedParts(c.Modules[i]) {
				cv.aside(i, p.Tensor.Role, "what "+to.Name+" calls it depends on what else is in its block, which an adapter does not show")
			}
			continue
		case tensor < 0 && c.Modules[i].Rows != "":
			return cv.refuse(cv.first(c.Modules[i]), "it changes only %s of %s", c.Modules[i].Rows, c.Modules[i].Path)
		case changes[name] != nil || saved[name] > 0:
			return cv.refuse(cv.Tensors[max(tensor, 0)].Name, "two changes are of %q", name)
		case tensor < 0:
			changes[name] = c.Modules[i]
			shape := cv.ModuleShape(c.Modules[i])
			if c.Convention.Transposes(p.Tensor.Module) {
				slices.Reverse(shape)
				turned[name] = true
			}
			named = append(named, convention.Named{Name: name, Shape: shape})
			shapes[name] = shape
		default:
			saved[name] = tensor + 1
			named = append(named, convention.Named{Name: name, Shape: cv.Tensors[tensor].Shape})
		}
	}
	absent := cv.complete(c, to, &named, shapes)
	conv, err := Between(c.Convention, to, slices.Values(named), cv.model)
	if err != nil {
		if refusal := err.(*RefusalError); changes[refusal.Tensor] != nil {
			refusal.Tensor = cv.first(changes[refusal.Tensor])
		}
		return err
	}
	for _, a := range conv.Aside {
		if tensor := saved[a.Name]; tensor > 0 {
			cv.aside(tensor-1, a.Role, a.Reason)
			continue
		}
		reason := a.Reason
		if absent[a.Name] {
			continue
		}
		for _, i := range sortedParts(changes[a.Name]) {
			cv.aside(i, a.Role, reason)
			cv.out.Aside[len(cv.out.Aside)-1].Needs = a.Needs
		}
	}
	for i := range conv.Moves {
		mv := &conv.Moves[i]
		names := make([]string, len(mv.To))
		for k, name := range mv.To {
			names[k] = identify.WithoutContainer(to, name)
		}
		if tensor := saved[mv.From[0]]; tensor > 0 && len(mv.From) == 1 && len(mv.To) == 1 && !cv.dialect.Flat {
			cv.out.Moves = append(cv.out.Moves, Move{From: []string{cv.Tensors[tensor-1].Name}, To: []string{prefix + names[0]}, Ops: mv.Ops})
			continue
		}
		var from []*adapter.Change
		for _, name := range mv.From {
			if changes[name] == nil && !absent[name] {
				return cv.refuse(cv.Tensors[saved[name]-1].Name, "it is no change, and is joined with others")
			}
			from = append(from, changes[name])
		}
		for k := range names {
			names[k] = strings.TrimSuffix(names[k], ".weight")
		}
		cv.turned = turned[mv.From[0]]
		cv.move(from, names, prefix, mv.Ops)
	}
	return nil
}

// unsure reports whether another convention's name or bytes of a module depend on a
// module of its block of which the adapter shows nothing. An adapter that changes it in
// other blocks changes it wherever it is: modules are chosen by their kind.
func unsure(c *identify.Component, to *convention.Convention, p identify.Place) bool {
	var without []string
	for i := range to.Tensors() {
		if t := &to.Tensors()[i]; t.Role == p.Tensor.Role && t.Without != "" {
			without = append(without, t.Without)
		}
	}
	for _, s := range slices.Concat(c.Convention.Layout.Swapped, to.Layout.Swapped) {
		if module, other, conditional := strings.Cut(s, " without "); conditional && module == p.Tensor.Module {
			without = append(without, other)
		}
	}
	return slices.ContainsFunc(without, func(module string) bool {
		kind := strings.TrimRight(module, ".0123456789")
		return !slices.ContainsFunc(c.Places, func(o identify.Place) bool { return o.Tensor != nil && o.Tensor.Module == kind })
	})
}

func sortedParts(m *adapter.Change) []int {
	var out []int
	for _, i := range m.Parts {
		out = append(out, i)
	}
	slices.Sort(out)
	return out
}

// move converts the changes of modules that become others by the operations.
func (cv *adapterConverter) move(from []*adapter.Change, to []string, prefix string, ops []tensorop.Op) {
	moves, dropped, why := cv.changes(from, to, prefix, ops)
	if why != "" {
		for _, m := range from {
			if m == nil {
				continue
			}
			for _, i := range sortedParts(m) {
				cv.aside(i, "", why)
			}
		}
		return
	}
	cv.out.Moves = append(cv.out.Moves, moves...)
	cv.out.Dropped = append(cv.out.Dropped, dropped...)
}

// foldInto are the parts that a factor is multiplied into, one of each kind.
var foldInto = []string{"up", "embedding_up", "hada_w1_a", "lokr_w1", "lokr_w1_a"}

// changes are the moves of the parts of changes, or why there are none.
func (cv *adapterConverter) changes(from []*adapter.Change, to []string, prefix string, ops []tensorop.Op) (moves []Move, dropped []Dropped, why string) {
	b := cv.blocksOf(from, ops)
	if b == nil && slices.Contains(from, nil) {
		return nil, nil, cv.dialect.Name + " joins it with modules that do not change, and it is no block of their change"
	}
	from = slices.DeleteFunc(slices.Clone(from), func(m *adapter.Change) bool { return m == nil })
	first := from[0]
	for _, m := range from[1:] {
		if len(m.Parts) != len(first.Parts) {
			return nil, nil, "the changes of the modules that are joined do not have the same parts"
		}
	}
	if b != nil && !b.join {
		var kept []string
		for _, p := range b.parts {
			kept = append(kept, to[p.part])
		}
		to = kept
	}
	paths := make([]string, len(to))
	for k, path := range to {
		var ok bool
		if paths[k], ok = cv.dialect.Spell(path); !ok {
			return nil, nil, fmt.Sprintf("%s has no name for %s", cv.dialect.Name, path)
		}
		paths[k] = prefix + paths[k]
	}
	factor, known := cv.model.Adapter.Factor(cv.Dialect, cv.alphaOf(first), cv.rank(first))
	for _, m := range from[1:] {
		if f, _ := cv.model.Adapter.Factor(cv.Dialect, cv.alphaOf(m), cv.rank(m)); f != factor && (cv.fold || b != nil) {
			return nil, nil, "the modules that are joined have other factors"
		}
	}
	if !cv.fold || !known {
		factor = 1 // it stays where it is, or no document says what it is
	}
	names := make([]string, 0, len(first.Parts))
	for part := range first.Parts {
		names = append(names, part)
	}
	slices.Sort(names)
	into := ""
	for _, p := range foldInto {
		if _, ok := first.Parts[p]; ok && into == "" {
			into = p
		}
	}
	scales := map[string]float64{into: factor}
	if into == "up" {
		scales["down"] = cv.balance(from, paths, factor)
		scales["up"] /= scales["down"]
	}
	for _, part := range names {
		mv := Move{}
		for _, m := range from {
			i, ok := m.Parts[part]
			if !ok {
				return nil, nil, "the changes of the modules that are joined do not have the same parts"
			}
			mv.From = append(mv.From, cv.Tensors[i].Name)
		}
		if part == "alpha" && cv.dialect.Alpha != adapter.Tensor {
			reason := "alpha is in " + map[adapter.Alpha]string{adapter.Config: "adapter_config.json", adapter.Scale: "adapter_config.json", adapter.Key: "the metadata"}[cv.dialect.Alpha]
			if cv.fold || cv.dialect.Alpha == adapter.Fold {
				reason = fmt.Sprintf("alpha / rank, %v, is multiplied into %s", factor, into)
				if factor == 1 {
					reason = "alpha is the rank, and changes nothing"
				}
			}
			for _, name := range mv.From {
				dropped = append(dropped, Dropped{name, reason})
			}
			continue
		}
		partOps, why := cv.partOps(part, from, ops, b)
		if why != "" {
			return nil, nil, why
		}
		leaf, ok := cv.dialect.Leaf(part)
		if !ok {
			return nil, nil, fmt.Sprintf("%s has no part %s of a %s change", cv.dialect.Name, part, cmp.Or(first.Kind(), "module's"))
		}
		for k, p := range paths {
			mv.To = append(mv.To, p+leaf)
			by := cmp.Or(scales[part], 1)
			if part == into && b != nil {
				by *= cv.rerank(b, k)
			}
			if by != 1 {
				partOps = append(partOps, tensorop.Op{Kind: tensorop.Scale, Index: k, Count: 1, Value: by, Round: true})
			}
		}
		mv.Ops = partOps
		moves = append(moves, mv)
	}
	if factor != 1 {
		cv.folded += len(from)
	}
	if b != nil && b.join {
		cv.summed++
	}
	return moves, dropped, ""
}

// rerank is what a change of another rank is multiplied with where a loader divides a
// common alpha by the rank of each.
func (cv *adapterConverter) rerank(b *blocks, k int) float64 {
	if cv.dialect.Alpha != adapter.Config && (cv.dialect.Alpha != adapter.Key || cv.fold) {
		return 1
	}
	if b.join {
		return float64(b.rank) / float64(b.parts[0].rank)
	}
	return float64(b.parts[k].rank) / float64(b.rank)
}

// balance is what the down half is multiplied with, and the up half divided by, for the
// halves to be those of the adapter that it is compared with: projects differ in how they
// share a factor out (diffusers: loaders/lora_conversion_utils.py scale_down, scale_up).
// It is 1 where that is not the factor, or its root, times a power of two.
func (cv *adapterConverter) balance(from []*adapter.Change, paths []string, factor float64) float64 {
	if cv.there == nil || cv.there.Read == nil {
		return 1
	}
	largest := func(values []float64) (most float64) {
		for _, v := range values {
			most = max(most, math.Abs(v))
		}
		return most
	}
	ours, theirs := 0.0, 0.0
	for _, m := range from {
		ours = max(ours, largest(cv.elements(m, "down")))
	}
	leaf, _ := cv.dialect.Leaf("down")
	for _, p := range paths {
		theirs = max(theirs, largest(cv.there.Read(p+leaf)))
	}
	ratio := theirs / ours
	if !(ratio > 0) || math.IsInf(ratio, 0) {
		return 1
	}
	for _, f := range []float64{1, factor, math.Sqrt(factor)} {
		by := f * math.Exp2(math.Round(math.Log2(ratio/f)))
		if math.Abs(ratio/by-1) < 0.01 {
			return by
		}
	}
	return 1
}

// partOps turns what is done to modules into what is done to one part of their
// changes.
func (cv *adapterConverter) partOps(name string, from []*adapter.Change, ops []tensorop.Op, b *blocks) (out []tensorop.Op, why string) {
	n := len(from)
	if b != nil {
		var ok bool
		if out, ok = b.ops(name); !ok {
			return nil, "its " + name + " is not known of the modules that it is joined with"
		}
		if n = 1; !b.join {
			n = len(b.parts)
		}
	} else if out, n, why = cv.translate(name, n, ops); why != "" {
		return nil, why
	}
	shape := cv.Tensors[from[0].Parts[name]].Shape
	before, after := slices.Contains(cv.Transposed, name), slices.Contains(cv.dialect.Transposed, name)
	if before && after && len(out) == 0 {
		before, after = false, false
	}
	if (before || after) && shape != nil && len(shape) != 2 {
		return nil, fmt.Sprintf("its %s, of shape %v, is no matrix to transpose", name, shape)
	}
	transposes := func(n int) (list []tensorop.Op) {
		for k := range n {
			list = append(list, tensorop.Op{Kind: tensorop.Transpose, Index: k, Count: 1})
		}
		return list
	}
	if before {
		out = append(transposes(len(from)), out...)
	}
	if after {
		out = append(out, transposes(n)...)
	}
	why = cv.column(name, from[0], n, &out)
	return out, why
}

// translate turns operations on n modules into those on one part of changes that share
// their down half, and counts what they make.
func (cv *adapterConverter) translate(name string, n int, ops []tensorop.Op) (out []tensorop.Op, made int, why string) {
	p := adapter.PartOf(name)
	turned := cv.turned
	made = n
	for i := range ops {
		o := ops[i]
		made += o.Results() - o.Count
		if p.Opaque {
			return nil, 0, fmt.Sprintf("its %s cannot be %s as the module is", name, done(o.Kind))
		}
		weight := p.Out >= 0 && p.In >= 0 // a part that is stored as the weight is
		axis := [2]int{p.Out, p.In}
		if turned && !weight {
			axis = [2]int{p.In, p.Out}
		}
		switch o.Kind {
		case tensorop.Transpose:
			if len(o.Axes) > 0 && !slices.Equal(o.Axes, []int{1, 0}) {
				return nil, 0, "the module's axes change their order"
			}
			if turned = !turned; !weight {
				continue
			}
		case tensorop.Split, tensorop.Concat, tensorop.Permute:
			if o.Axis > 1 {
				return nil, 0, "the module is no matrix"
			}
			switch at := axis[o.Axis]; {
			case at >= 0:
				o.Axis = at
			case o.Kind == tensorop.Permute:
				continue
			case o.Kind == tensorop.Split:
				o = tensorop.Op{Kind: tensorop.Copy, Index: o.Index, Count: 1, Sizes: slices.Repeat([]int64{1}, o.Results())}
			default:
				o = tensorop.Op{Kind: tensorop.Merge, Index: o.Index, Count: o.Count}
				cv.merges = cv.merges || n > 1 && (cv.model.Adapter == nil || cv.model.Adapter.Read == nil)
			}
		case tensorop.Swap:
		default:
			return nil, 0, fmt.Sprintf("the module is %s, which is not done to a change of it", done(o.Kind))
		}
		out = append(out, o)
	}
	if n == 1 && made == 1 && !slices.ContainsFunc(out, func(o tensorop.Op) bool { return !copies(o.Kind) }) {
		out = nil // copies of one tensor that become one again
	}
	return out, made, ""
}

// copies reports whether an operation makes no other tensors than it takes.
func copies(k tensorop.Kind) bool {
	return k == tensorop.Copy || k == tensorop.Merge || k == tensorop.Swap
}

// column adds or takes off the axes of one that some projects store behind a
// part.
func (cv *adapterConverter) column(name string, m *adapter.Change, n int, ops *[]tensorop.Op) (why string) {
	shape := cv.Tensors[m.Parts[name]].Shape
	before, after := slices.Contains(cv.Column, name), slices.Contains(cv.dialect.Column, name)
	if before == after {
		return ""
	}
	if shape == nil {
		return "the shape of its " + name + " is not known"
	}
	if n != 1 || len(*ops) > 0 {
		return "its " + name + " is joined or parted, and has another shape besides"
	}
	if len(shape) == 0 || slices.ContainsFunc(shape[1:], func(d uint64) bool { return d != 1 }) {
		return fmt.Sprintf("its %s, of shape %v, is not one number for each of the module's outputs", name, shape)
	}
	was := make([]int64, len(shape))
	for i, d := range shape {
		was[i] = int64(d)
	}
	is := was[:1]
	if after {
		axes := 2
		if i, ok := m.Parts["down"]; ok {
			axes = max(axes, len(cv.Tensors[i].Shape))
		}
		is = append(slices.Clone(is), slices.Repeat([]int64{1}, axes-1)...)
	}
	if !slices.Equal(is, was) {
		*ops = append(*ops, tensorop.Op{Kind: tensorop.Reshape, Count: 1, Shape: is, Was: was})
	}
	return ""
}
