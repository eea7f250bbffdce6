package exchange

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/internal/jsondoc"
	"github.com/wtinspect/wtinspect/rename"
)

// In an architecture of mergekit each weight has the name under which it is written, and
// aliases under which it is looked for when a model has none of its name
// (LoadTensor._resolve_name). ${layer_index} is the number of the layer, and may be raised
// or lowered by one (TemplateWithArithmetic).

// A weight is a tensor of an architecture.
type weight struct{ name, alias string }

func exportMergekit(w io.Writer, m *rename.Map, model *Model) error {
	var why refusals
	if moving(renames(m, &why, true)) {
		return why.err()
	}
	plan := rename.NewPlan(m, model.Names, rename.Safetensors())
	for i := range plan.Problems {
		why.add(mapName(m), "", "%s", plan.Problems[i].Message)
	}
	if len(model.Architectures) == 0 {
		why.add(mapName(m), "", "the configuration has no architectures, by which mergekit finds an architecture")
	}
	old := make(map[string]bool, len(plan.Rows))
	for i := range plan.Rows {
		old[plan.Rows[i].From] = true
	}
	var weights []weight
	for i := range plan.Rows {
		row := &plan.Rows[i]
		if row.Action == rename.Drop {
			continue // what is not listed is not written
		}
		if row.To != row.From && old[row.To] {
			why.add(mapName(m), "", "%q becomes %q, and mergekit would take the tensor that has this name already", row.From, row.To)
		}
		weights = append(weights, weight{row.To, row.From})
	}
	if err := why.err(); err != nil {
		return err
	}

	weightList := func(ws []weight) string {
		items := make([]string, len(ws))
		for i, x := range ws {
			var o object
			o.text("name", x.name)
			if x.alias != x.name {
				o.raw("aliases", list([]string{quote(x.alias)}))
			}
			if model.Embeds != nil && model.Embeds(x.name) {
				o.raw("is_embed", "true")
			}
			items[i] = o.String()
		}
		return list(items)
	}
	layers, n, rest := findLayers(weights)
	for i, x := range rest {
		rest[i] = weight{plainText(x.name), plainText(x.alias)}
	}
	var d, templates object
	templates.raw("weights", weightList(layers))
	architectures := make([]string, len(model.Architectures))
	for i, a := range model.Architectures {
		architectures[i] = quote(a)
	}
	d.text("model_type", model.Type)
	d.raw("architectures", list(architectures))
	const key = "num_hidden_layers"
	number := int64(-1)
	if model.Number != nil {
		number, _ = model.Number(key)
	}
	if number == int64(n) {
		d.text("num_layers_config_key", key)
	} else {
		d.raw("override_num_layers", strconv.Itoa(n))
	}
	d.raw("pre_weights", weightList(rest))
	d.raw("layer_templates", templates.String())
	d.raw("post_weights", "[]")
	return d.write(w)
}

const layerIndex = "${layer_index}"

// plainText writes a name that has no number of a layer. mergekit looks for those in texts that
// have a { (_template_substitution), and takes $$ for a $ there.
func plainText(name string) string {
	if strings.Contains(name, "{") {
		return inTemplate(name)
	}
	return name
}

// inTemplate writes what stands beside the number of a layer.
func inTemplate(text string) string { return strings.ReplaceAll(text, "$", "$$") }

// findLayers finds the stack of layers that has the most weights: names that differ in
// one number, which counts from 0. It returns its weights as templates, the number of
// layers, and the weights that are not of it, or not in every layer of it.
func findLayers(weights []weight) (templates []weight, layers int, rest []weight) {
	stacks := make(map[string]map[int][]int) // the weights of each layer, by what comes before its number
	for i, x := range weights {
		for at, end := range numbers(x.name) {
			if n, err := strconv.Atoi(x.name[at:end]); err == nil && strconv.Itoa(n) == x.name[at:end] {
				stem := x.name[:at]
				if stacks[stem] == nil {
					stacks[stem] = make(map[int][]int)
				}
				stacks[stem][n] = append(stacks[stem][n], i)
			}
		}
	}
	var best []weight
	taken := make(map[int]bool)
	stems := make([]string, 0, len(stacks))
	for stem := range stacks {
		stems = append(stems, stem)
	}
	slices.Sort(stems)
	for _, stem := range stems {
		stack := stacks[stem]
		n := len(stack)
		if stack[0] == nil || stack[n-1] == nil {
			continue // not 0 to n-1
		}
		found, of := uniform(weights, stem, stack)
		if len(of) > len(taken) {
			best, layers, taken = found, n, of
		}
	}
	for i, x := range weights {
		if !taken[i] {
			rest = append(rest, x)
		}
	}
	return best, layers, rest
}

// uniform returns the templates that are in each layer of a stack, and the weights that
// they make.
func uniform(weights []weight, stem string, stack map[int][]int) (templates []weight, of map[int]bool) {
	of = make(map[int]bool)
	// What follows the number, and how the alias can be written, in every layer so far.
	aliases := make(map[string][]string)
	members := make(map[string][]int)
	var order []string
	for n := range len(stack) {
		for _, i := range stack[n] {
			tail := weights[i].name[len(stem)+len(strconv.Itoa(n)):]
			ways := layerAliases(weights[i].alias, n)
			if n == 0 {
				order = append(order, tail)
				aliases[tail] = ways
			} else {
				aliases[tail] = slices.DeleteFunc(aliases[tail], func(a string) bool { return !slices.Contains(ways, a) })
			}
			members[tail] = append(members[tail], i)
		}
	}
	for _, tail := range order {
		if len(members[tail]) != len(stack) || len(aliases[tail]) == 0 {
			continue
		}
		templates = append(templates, weight{inTemplate(stem) + layerIndex + inTemplate(tail), aliases[tail][0]})
		for _, i := range members[tail] {
			of[i] = true
		}
	}
	return templates, of
}

// layerAliases returns how a name can be written with the number of a layer.
func layerAliases(name string, layer int) []string {
	var ways []string
	for at, end := range numbers(name) {
		for _, way := range layerWays {
			if layer+way.shift >= 0 && name[at:end] == strconv.Itoa(layer+way.shift) {
				ways = append(ways, inTemplate(name[:at])+way.text+inTemplate(name[end:]))
			}
		}
	}
	return ways
}

// A layerWay is a way to write the number of a layer, more or less by a shift.
type layerWay struct {
	shift int
	text  string
}

var layerWays = []layerWay{{0, layerIndex}, {1, "${layer_index+1}"}, {-1, "${layer_index-1}"}}

// maxNumbers bounds the numbers of a name that may be that of its layer.
const maxNumbers = 8

// numbers yields the first runs of digits in a name.
func numbers(name string) func(yield func(at, end int) bool) {
	return func(yield func(at, end int) bool) {
		for at, found := 0, 0; at < len(name) && found < maxNumbers; at++ {
			end := at
			for end < len(name) && '0' <= name[end] && name[end] <= '9' {
				end++
			}
			if end > at {
				if !yield(at, end) {
					return
				}
				found++
				at = end
			}
		}
	}
}

// mergekit reads the weights of an architecture, and of the modules of one that is
// modular, whose names have a prefix (ModuleDefinition.weight_prefix).
func (in *importer) mergekit(root jsondoc.Node) {
	seen := make(map[string]string) // the name of each alias
	if modules, ok := root.Lookup("modules"); ok {
		for _, module := range modules.Children() {
			prefix := ""
			if n, ok := module.Lookup("weight_prefix"); ok {
				prefix, _ = n.Text()
			}
			if a, ok := module.Lookup("architecture"); ok {
				in.architecture(a, prefix, seen)
			}
		}
		return
	}
	in.architecture(root, "", seen)
}

func (in *importer) architecture(root jsondoc.Node, prefix string, seen map[string]string) {
	for _, path := range [][]string{{"pre_weights"}, {"layer_templates", "weights"}, {"post_weights"}} {
		weights, _ := root.Lookup(path...)
		if weights.Kind() != jsondoc.Array {
			continue
		}
		for _, w := range weights.Children() {
			in.weight(w, prefix, seen)
		}
	}
}

func (in *importer) weight(w jsondoc.Node, prefix string, seen map[string]string) {
	n, _ := w.Lookup("name")
	name, ok := n.Text()
	if !ok {
		in.refuse(w, "", "a weight without a name")
		return
	}
	aliases, _ := w.Lookup("aliases")
	if aliases.Kind() != jsondoc.Array {
		return
	}
	for _, a := range aliases.Children() {
		alias, ok := a.Text()
		if !ok {
			in.refuse(a, name, "an alias that is no text")
			continue
		}
		if first, ok := seen[prefix+alias]; ok && first != prefix+name {
			in.refuse(a, alias, "it is an alias of %s as well, and one tensor has one new name", first)
			continue
		}
		seen[prefix+alias] = prefix + name
		r, err := aliasRule(prefix+alias, prefix+name)
		if err != nil {
			in.refuse(a, alias, "%v", err)
			continue
		}
		in.add(a, []rename.Rule{r})
	}
}

// aliasRule renames an alias. In a pattern {layer} is the number that is there; where the
// alias has the layer's number and one, the name has that less one.
func aliasRule(alias, name string) (rename.Rule, error) {
	from, shifts, err := layerHoles(alias, 0)
	if err != nil {
		return rename.Rule{}, err
	}
	if len(slices.Compact(shifts)) > 1 {
		return rename.Rule{}, fmt.Errorf("%s: a map does not compare two numbers that differ by one", alias)
	}
	base := 0
	if len(shifts) > 0 {
		base = shifts[0]
	}
	to, _, err := layerHoles(name, base)
	if err != nil {
		return rename.Rule{}, err
	}
	if base != 0 {
		from, _, _ = layerHoles(alias, base)
	}
	return rename.NewRule(from, to)
}

// layerHoles writes a template of mergekit as one of a map whose {layer} is more than the
// number of the layer by base. It returns what each number in it is more by, too.
func layerHoles(template string, base int) (text string, shifts []int, err error) {
	if !strings.Contains(template, "{") {
		return rename.Escape(template), nil, nil
	}
	var b strings.Builder
	for rest := template; rest != ""; {
		at := strings.IndexByte(rest, '$')
		if at < 0 {
			b.WriteString(rename.Escape(rest))
			break
		}
		b.WriteString(rename.Escape(rest[:at]))
		rest = rest[at:]
		if strings.HasPrefix(rest, "$$") {
			b.WriteByte('$')
			rest = rest[2:]
			continue
		}
		i := slices.IndexFunc(layerWays, func(w layerWay) bool { return strings.HasPrefix(rest, w.text) })
		if i < 0 {
			return "", nil, fmt.Errorf("%s: of the numbers of mergekit a map has only ${layer_index}", template)
		}
		shifts = append(shifts, layerWays[i].shift)
		if by := layerWays[i].shift - base; by == 0 {
			b.WriteString("{layer}")
		} else {
			fmt.Fprintf(&b, "{layer%+d}", by)
		}
		rest = rest[len(layerWays[i].text):]
	}
	return b.String(), shifts, nil
}
