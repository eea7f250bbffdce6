// Package foreign renames by the rules of other projects as those projects do, for tests
// of what is exported to them. It was written from their sources alone, as shortly as
// that goes, and knows nothing of maps.
package foreign

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// members reads a JSON object of text and null, in its order.
func members(data []byte) (out [][2]string, null map[string]bool, err error) {
	null = make(map[string]bool)
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil {
		return nil, nil, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, nil, err
		}
		value, err := d.Token()
		if err != nil {
			return nil, nil, err
		}
		text, ok := value.(string)
		null[key.(string)] = !ok
		out = append(out, [2]string{key.(string), text})
	}
	return out, null, nil
}

// Transformers applies a key_mapping to names as transformers 5 does: WeightTransform.__init__,
// process_target_pattern and rename_source_key of src/transformers/core_model_loading.py.
// times is how often the text that matched is replaced: 1 since the first releases, -1,
// everywhere, in them. Of a wildcard, too, releases differ: "*." is one in some, and in others
// ".*."; patterns that have either are an error.
func Transformers(data []byte, names []string, times int) ([]string, error) {
	mapping, _, err := members(data)
	if err != nil {
		return nil, err
	}
	assertions := regexp.MustCompile(`\(\?.+?\)?\)`)
	out := append([]string(nil), names...)
	for _, kv := range mapping {
		target := strings.TrimSuffix(strings.TrimPrefix(kv[1], "^"), "$")
		target = strings.ReplaceAll(assertions.ReplaceAllString(target, ""), `\.`, ".")
		if target != kv[1] || strings.Contains(target, "(") {
			return nil, fmt.Errorf("the target %q is not taken as it is", kv[1])
		}
		if strings.Contains(kv[0], "*.") || strings.Contains(kv[0], `\1`) {
			return nil, fmt.Errorf("the pattern %q is not taken as it is", kv[0])
		}
		p, err := compile("(" + kv[0] + ")")
		if err != nil {
			return nil, err
		}
		for i, name := range out {
			m := p.search(name, 0)
			if m == nil {
				continue
			}
			text := target
			if strings.Contains(text, `\1`) {
				text = strings.ReplaceAll(text, `\1`, name[m[4]:m[5]])
			}
			out[i] = strings.Replace(name, name[m[0]:m[1]], text, times)
		}
	}
	return out, nil
}

// VLLM applies the fields of a WeightsMapper to names as vLLM does: _map_name of
// vllm/model_executor/models/utils.py. What it ignores becomes "".
func VLLM(data []byte, names []string) ([]string, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	out := append([]string(nil), names...)
	dropped := make([]bool, len(names))
	for _, field := range []string{"orig_to_new_regex", "orig_to_new_substr", "orig_to_new_prefix", "orig_to_new_suffix"} {
		if fields[field] == nil {
			continue
		}
		entries, null, err := members(fields[field])
		if err != nil {
			return nil, err
		}
		for _, kv := range entries {
			key, text := kv[0], kv[1]
			var re *pattern
			if field == "orig_to_new_regex" {
				if re, err = compile(key); err != nil {
					return nil, err
				}
			}
			for i, name := range out {
				matches, to := false, ""
				switch field {
				case "orig_to_new_regex":
					if matches = re.search(name, 0) != nil; matches && !null[key] {
						if to, err = re.sub(text, name); err != nil {
							return nil, err
						}
					}
				case "orig_to_new_substr":
					matches, to = strings.Contains(name, key), strings.Replace(name, key, text, 1)
				case "orig_to_new_prefix":
					matches, to = strings.HasPrefix(name, key), strings.Replace(name, key, text, 1)
				case "orig_to_new_suffix":
					matches, to = strings.HasSuffix(name, key), strings.TrimSuffix(name, key)+text
				}
				switch {
				case dropped[i] || !matches:
				case null[key]:
					dropped[i] = true
				default:
					out[i] = to
				}
			}
		}
	}
	for i := range out {
		if dropped[i] {
			out[i] = ""
		}
	}
	return out, nil
}

// Mergekit says what mergekit writes of a model with some names, by the names that it
// had: all_weights of mergekit/architecture/base.py, _resolve_name and execute of LoadTensor
// in mergekit/io/tasks.py. layers is num_hidden_layers of its configuration.
func Mergekit(data []byte, names []string, layers int) (map[string]string, error) {
	type weights []struct {
		Name    string
		Aliases []string
	}
	var a struct {
		Pre    weights `json:"pre_weights"`
		Layers struct {
			Weights weights
		} `json:"layer_templates"`
		Post   weights `json:"post_weights"`
		Number *int    `json:"override_num_layers"`
		Key    string  `json:"num_layers_config_key"`
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return nil, err
	}
	switch {
	case a.Number != nil:
		layers = *a.Number
	case a.Key != "num_hidden_layers":
		return nil, fmt.Errorf("the number of layers is in %q", a.Key)
	}
	there := make(map[string]bool)
	for _, name := range names {
		there[name] = true
	}
	out, written := make(map[string]string), make(map[string]bool)
	resolve := func(ws weights, layer int) error {
		for _, w := range ws {
			to, err := substitute(w.Name, layers, layer)
			if err != nil {
				return err
			}
			from := ""
			for _, text := range append([]string{w.Name}, w.Aliases...) {
				name, err := substitute(text, layers, layer)
				if err != nil {
					return err
				}
				if from == "" && there[name] {
					from = name
				}
			}
			if from == "" {
				return fmt.Errorf("tensor %s required but not present", to)
			}
			if written[to] || out[from] != "" {
				return fmt.Errorf("%s is written twice, or %s read twice", to, from)
			}
			out[from], written[to] = to, true
		}
		return nil
	}
	err := resolve(a.Pre, -1)
	for i := 0; i < layers && err == nil; i++ {
		err = resolve(a.Layers.Weights, i)
	}
	if err == nil {
		err = resolve(a.Post, -1)
	}
	return out, err
}

// placeholder is what Python's string.Template looks for, with the identifiers of
// TemplateWithArithmetic: string.py compiles it without regard to case.
var placeholder = regexp.MustCompile(`(?i)\$(?:(\$)|([_a-z][_a-z0-9]*(?:[+-]1)?)|\{([_a-z][_a-z0-9]*(?:[+-]1)?)\}|())`)

// substitute is _template_substitution of mergekit/architecture/json_definitions.py. Outside of
// the layers, layer is -1.
func substitute(text string, layers, layer int) (string, error) {
	if !strings.Contains(text, "{") {
		return text, nil
	}
	values := make(map[string]int)
	for by, mark := range map[int]string{0: "", 1: "+1", -1: "-1"} {
		values["num_layers"+mark] = layers + by
		if layer >= 0 {
			values["layer_index"+mark] = layer + by
		}
	}
	var failed error
	out := placeholder.ReplaceAllStringFunc(text, func(s string) string {
		m := placeholder.FindStringSubmatch(s)
		if m[1] != "" {
			return "$"
		}
		v, ok := values[m[2]+m[3]]
		if !ok {
			failed = fmt.Errorf("%q has a placeholder without a value: %q", text, s)
		}
		return fmt.Sprint(v)
	})
	return out, failed
}
