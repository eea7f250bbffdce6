package quant

import (
	"iter"
	"strings"
)

// Scales finds, for a weight by its name, a tensor of names that scales it by what it is called and where it
// stands, whatever the scheme: k_proj.weight_quantizer._amax, k_proj.weight.scale and k_proj_scale beside
// k_proj.weight. The function that it returns gives "" where there is none.
func Scales(names iter.Seq[string]) func(weight string) string {
	scales := make(map[string]string) // by the name of a module or a weight
	note := func(owner, name string) {
		if owner != "" && scales[owner] == "" {
			scales[owner] = name
		}
	}
	isScale := func(leaf string) bool {
		word := strings.ToLower(leaf)
		return strings.Contains(word, "scale") || strings.Contains(word, "amax")
	}
	modules := make(map[string]bool) // that have something else
	for name := range names {
		if _, leaf := cutLast(name); !isScale(leaf) {
			module, _, _ := Split(name)
			modules[module] = true
		}
	}
	for name := range names {
		owner, leaf := cutLast(name)
		if !isScale(leaf) {
			continue
		}
		// Of several that are one module's, such as experts, each has its own.
		if module, leaf, ok := Split(name); ok && strings.HasPrefix(leaf, "_") && modules[module] {
			note(module, name)
			continue
		}
		note(owner, name)
		above, _ := cutLast(owner)
		note(above, name)
		if glued, _, ok := strings.Cut(leaf, "_scale"); ok && glued != "" {
			note(name[:len(name)-len(leaf)]+glued, name)
		}
	}
	return func(weight string) string {
		if name := scales[weight]; name != "" {
			return name
		}
		module, _ := cutLast(weight)
		return scales[module]
	}
}

// cutLast cuts a name before its last segment.
func cutLast(name string) (owner, leaf string) {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}
