package check

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/source"
)

var surroundingRules = []*Rule{
	{
		ID: "WT901", Name: "lfs-pointer", Severity: checkpoint.Error, run: runFaults,
		Title: "a git-lfs pointer stands where the weights should be",
		Doc: `The repository was cloned without its large files. Run 'git lfs pull'; in CI the checkout
has to fetch them: 'lfs: true' of actions/checkout, no GIT_LFS_SKIP_SMUDGE in GitLab. On a
hub such a clone was published: its publisher has to upload the file itself.`,
		Bad: "model.safetensors of 134 bytes that begins with “version https://git-lfs”", Good: "the weights",
	},
	{
		ID: "WT902", Name: "not-weights", Severity: checkpoint.Error, run: runFaults,
		Title: "a file with the name of weights is something else",
		Doc: `An HTML page that a server sent instead of the file, a zip archive or a pickle that was
renamed, or the companion of a file that macOS writes on foreign disks. Nothing of it
is executed or unpacked here.`,
		Bad: "model.safetensors that begins with <!DOCTYPE html>", Good: "the weights",
	},
	{
		ID: "WT903", Name: "pickles", Severity: checkpoint.Warning, run: runPickles,
		Title: "pickled weights are beside safetensors",
		Doc: `Loading a pickle can run code. Beside safetensors it is only a second copy, which may
be of another version; scanners mark the whole repository for it. A file that is called a pickle and
has something else in it is left alone; one that cannot be looked into is named.`,
		Bad: "pytorch_model.bin beside model.safetensors", Good: "model.safetensors alone",
	},
	{
		ID: "WT904", Name: "no-format-pt", Severity: checkpoint.Info, run: runFormatPT,
		Profiles: map[Profile]checkpoint.Severity{Transformers: checkpoint.Error, VLLM: checkpoint.Warning},
		Title:    "the metadata of a safetensors file lacks format: pt",
		Doc: `Transformers refused files without it for years and still refuses other values than
pt, tf, flax and mlx. Tools that write a file again tend to lose it. Without a profile,
files without a configuration beside them, which other programs read, are left alone.`,
		Bad: "no __metadata__", Good: `"__metadata__": {"format": "pt"}`,
		Fix: &Fix{Kind: FixFormat, Doc: "sets format to pt"},
	},
	{
		ID: "WT905", Name: "model-card", Severity: checkpoint.Info, run: runModelCard,
		Title: "the model card says nothing of licence or base model",
		Doc: `The front matter of README.md names the licence, and for adapters and fine-tunes the
base_model. The Hub, mirrors and scanners read it there.`,
		Bad: "README.md without front matter", Good: "license: apache-2.0, base_model: org/name",
	},
	{
		ID: "WT906", Name: "no-config", Severity: checkpoint.Info, run: runNoConfig,
		Profiles: map[Profile]checkpoint.Severity{Transformers: checkpoint.Error, VLLM: checkpoint.Error, MLX: checkpoint.Error},
		Title:    "sharded or named model weights have no config.json",
		Doc: `Loaders build the model from config.json before they read a tensor. Single files for
other programs do not need it.`,
		Bad: "model.safetensors.index.json and shards alone", Good: "config.json beside them",
	},
	{
		ID: "WT907", Name: "remote-code", Severity: checkpoint.Warning, run: runRemoteCode,
		Title: "auto_map names code that is not in the release",
		Doc: `auto_map of config.json tells transformers which Python file has the model's classes.
Without the file the model does not load, or code of another repository is fetched.`,
		Bad: `"AutoModel": "modeling_x.XModel" without modeling_x.py`, Good: "modeling_x.py beside config.json",
	},
	{
		ID: "WT908", Name: "card-contradicted", Severity: checkpoint.Warning, run: runCardContradicted,
		Title: "the model card says what the files are not",
		Doc: `The front matter of README.md calls the release an adapter (library_name: peft, or
base_model_relation: adapter), and it holds whole models alone; or it names the repository
as its own base_model. Pages of models, and programs that look for adapters of a base, go
by what the card says.`,
		Bad: "library_name: peft, and no adapter_config.json", Good: "library_name: transformers",
	},
}

func runPickles(p *Pass) {
	looked := make(map[string]bool)
	for _, f := range p.pickled() {
		looked[f.path] = true
	}
	type beside struct{ read, unread []string }
	byDir := make(map[string]*beside)
	for _, path := range slices.Concat(p.release.Pickles, p.release.Others) {
		called := slices.Contains(p.release.Pickles, path)
		if checkpoint.LeftByTrainer(path) || !called && !checkpoint.MayHavePickles(path) {
			continue
		}
		dir := filepath.Dir(path)
		if byDir[dir] == nil {
			byDir[dir] = new(beside)
		}
		switch why := p.unread[path]; {
		case why != "":
			byDir[dir].unread = append(byDir[dir].unread, fmt.Sprintf("%.100s (%s)", filepath.Base(path), why))
		case called && looked[path]: // what has another content is left alone
			byDir[dir].read = append(byDir[dir].read, path)
		}
	}
	seen := make(map[string]bool)
	for _, m := range p.models {
		there := byDir[filepath.Clean(m.Dir)]
		if m.Format != checkpoint.Safetensors || there == nil || seen[m.Dir] {
			continue
		}
		seen[m.Dir] = true
		if n := len(there.read); n > 0 {
			p.report(Finding{
				File: there.read[0], Offset: -1, Count: n,
				Message: fmt.Sprintf("%s beside safetensors, as a second copy that can run code when it is loaded", plural.Of(n, "pickle")),
			})
		}
		if n := len(there.unread); n > 0 {
			p.report(Finding{
				File: m.Dir, Offset: -1, Count: n,
				Message: fmt.Sprintf("%s called as pickles %s not looked into: %s", plural.Of(n, "file"), plural.Verb(n, "are"), plural.List(there.unread)),
			})
		}
	}
}

// formats are the values of the metadata key format that transformers takes
// (modeling_utils.py, load_state_dict).
var formats = map[string]bool{"pt": true, "tf": true, "flax": true, "mlx": true, "np": true}

func runFormatPT(p *Pass) {
	for _, m := range p.models {
		// What is alike in many files is one finding.
		lacks := make(map[string]*Finding)
		if m.doc == nil && p.opts.Profile == "" && p.document(m.Dir, "adapter_config.json") == nil && p.document(m.Dir, "model_index.json") == nil {
			continue // a file for other programs
		}
		for _, f := range m.Files {
			st := f.Safetensors()
			if st == nil {
				continue
			}
			message := "the metadata have no format; transformers wants \"pt\""
			for _, kv := range st.Metadata() {
				if kv.Key != "format" {
					continue
				}
				if message = ""; !formats[kv.Value] {
					message = fmt.Sprintf("the metadata have the format %.40q, where transformers wants \"pt\"", kv.Value)
				}
			}
			switch old := lacks[message]; {
			case message == "":
			case old != nil:
				old.Count++
			default:
				lacks[message] = &Finding{Checkpoint: m.Path, File: f.Path, Offset: -1, Count: 1, Message: message, Fixable: true}
			}
		}
		for _, message := range slices.Sorted(maps.Keys(lacks)) {
			p.report(*lacks[message])
		}
	}
}

// frontMatter returns the YAML between the first two lines of three hyphens.
func frontMatter(text string) string {
	rest, ok := strings.CutPrefix(strings.ReplaceAll(text, "\r\n", "\n"), "---\n")
	if !ok {
		return ""
	}
	matter, _, _ := strings.Cut(rest, "\n---")
	return matter + "\n"
}

// card returns the front matter of the release's card, false where there is no card,
// and for one file of a directory, which is not a release.
func (p *Pass) card() (path, matter string, ok bool) {
	path = source.Join(p.release.Dir, "README.md")
	if filepath.Clean(p.release.Path) != filepath.Clean(p.release.Dir) {
		return path, "", false
	}
	data, err := source.ReadFile(p.ctx, path, source.Card)
	return path, "\n" + frontMatter(string(data)), err == nil
}

func runModelCard(p *Pass) {
	path, matter, ok := p.card()
	if !ok {
		return
	}
	has := func(key string) bool { return strings.Contains(matter, "\n"+key+":") }
	var lacks []string
	if !has("license") && !has("license_name") {
		lacks = append(lacks, "license")
	}
	if !has("base_model") && p.document(p.release.Dir, "adapter_config.json") != nil {
		lacks = append(lacks, "base_model")
	}
	if len(lacks) > 0 {
		p.report(Finding{File: path, Line: 1, Column: 1, Offset: -1, Message: "the front matter has no " + strings.Join(lacks, " and no ")})
	}
}

// cardValues returns what the front matter has under a key at its outermost level: a
// word, or a list of them with one per line.
func cardValues(matter, key string) []string {
	_, rest, ok := strings.Cut(matter, "\n"+key+":")
	if !ok {
		return nil
	}
	word := func(s string) string {
		s, _, _ = strings.Cut(s, " #")
		return strings.Trim(strings.TrimSpace(s), `"'`)
	}
	first, rest, _ := strings.Cut(rest, "\n")
	if one := word(first); one != "" {
		return strings.FieldsFunc(strings.Trim(one, "[]"), func(r rune) bool { return strings.ContainsRune(`, "'`, r) })
	}
	var list []string
	for line := range strings.Lines(rest) {
		item, ok := strings.CutPrefix(strings.TrimSpace(line), "- ")
		if !ok {
			break
		}
		list = append(list, word(item))
	}
	return list
}

func runCardContradicted(p *Pass) {
	path, matter, ok := p.card()
	if !ok {
		return
	}
	report := func(format string, args ...any) {
		p.report(Finding{File: path, Line: 1, Column: 1, Offset: -1, Message: fmt.Sprintf(format, args...)})
	}
	adapter := slices.ContainsFunc(p.models, func(m *model) bool { return m.names().Adapter || m.partial() || m.NamesOnly() }) ||
		p.document(p.release.Dir, "adapter_config.json") != nil || len(p.models) == 0
	for _, claim := range [][2]string{{"library_name", "peft"}, {"base_model_relation", "adapter"}} {
		if !adapter && slices.Contains(cardValues(matter, claim[0]), claim[1]) {
			report("%s is %s, and no checkpoint of the release is an adapter", claim[0], claim[1])
		}
	}
	pub := p.published()
	for _, base := range cardValues(matter, "base_model") {
		if pub != nil && pub.ID != "" && strings.EqualFold(base, pub.ID) {
			report("base_model is %s, which is this repository", base)
		}
	}
}

func runNoConfig(p *Pass) {
	for _, m := range p.models {
		if m.Format != checkpoint.Safetensors || m.Index == "" || m.doc != nil || !strings.HasPrefix(filepath.Base(m.Index), "model.safetensors") {
			continue
		}
		if name := source.Join(m.Dir, "config.json"); source.Exists(p.ctx, name) && !source.IsDir(p.ctx, name) {
			continue // it is there and broken, which WT301 says
		}
		p.report(m.whole("no config.json beside %s", filepath.Base(m.Index)))
	}
}

func runRemoteCode(p *Pass) {
	seen := make(map[string]bool)
	for _, m := range p.models {
		if m.doc == nil || seen[m.Dir] {
			continue
		}
		seen[m.Dir] = true
		auto, _ := m.doc.Find("auto_map")
		for class, v := range auto.Members() {
			s, ok := v.Text()
			if !ok || strings.Contains(s, "--") {
				continue // code of another repository, named as such
			}
			module, _, ok := strings.Cut(s, ".")
			if !ok || strings.ContainsAny(module, `/\:`) || module == "" {
				continue
			}
			if source.Exists(p.ctx, source.Join(m.Dir, module+".py")) {
				continue
			}
			p.report(at(m.Path, m.doc, v, "auto_map gives %s.py for %s, and the file is not in the release", module, class))
		}
	}
}
