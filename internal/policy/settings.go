package policy

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/stores"
	"github.com/wtinspect/wtinspect/rename/template"
)

// SettingsName is the name of the file that says how a release is checked.
const SettingsName = ".wtinspect.yaml"

// Settings are what a settings file says. What a command line says goes before
// it.
type Settings struct {
	// Path is the file, "" when there is none.
	Path string
	// Disregarded is a file that was found and not read, since it came with the release:
	// what was published does not decide how it is judged.
	Disregarded string
	Profile     check.Profile
	Select      []string
	Exceptions  []Exception
	Severities  map[string]checkpoint.Severity
	// FailOn is "" when the file does not say.
	FailOn string
	// Baseline is the path of the baseline, joined to the file's directory.
	Baseline string
}

// A SettingsError says what is wrong with a settings file, and where.
type SettingsError struct {
	File         string
	Line, Column int
	Msg          string
}

func (e *SettingsError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
}

// maxExceptions bounds how often every finding is looked at.
const maxExceptions = 1000

// IsPublished reports whether the files of a directory are as somebody else published
// them: it is elsewhere, or in the cache of huggingface_hub.
func IsPublished(dir string) bool {
	return source.Scheme(dir) != "" || stores.InSnapshot(dir)
}

// FindSettings looks for a settings file in a directory and in those above it.
// Settings without a path mean that there is none of the user's own.
func FindSettings(ctx context.Context, dir string) (*Settings, error) {
	if source.Scheme(dir) != "" {
		return findListed(ctx, dir)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	none := new(Settings)
	for up := abs; ; up = filepath.Dir(up) {
		path := filepath.Join(up, SettingsName)
		data, err := source.ReadFile(ctx, path, source.Settings)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case IsPublished(up):
			none.Disregarded = cmp.Or(none.Disregarded, shown(path))
		case err != nil:
			return nil, err
		default:
			set, err := ParseSettings(shown(path), data)
			if err != nil {
				return nil, err
			}
			set.Disregarded = none.Disregarded
			return set, nil
		}
		if filepath.Dir(up) == up {
			return none, nil
		}
	}
}

// shown calls a file as the user would.
func shown(path string) string {
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, path); err == nil && len(rel) < len(path) {
			return rel
		}
	}
	return path
}

// findListed is FindSettings where the directories are not this machine's. Nothing there
// is the user's own.
func findListed(ctx context.Context, dir string) (*Settings, error) {
	named := func(name string) func(fs.DirEntry) bool {
		return func(e fs.DirEntry) bool { return e.Name() == name }
	}
	for {
		entries, err := source.ReadDir(ctx, dir)
		if err == nil && slices.ContainsFunc(entries, named(SettingsName)) {
			return &Settings{Disregarded: source.Join(dir, SettingsName)}, nil
		}
		up := source.Dir(dir)
		above, err := source.ReadDir(ctx, up)
		if err != nil || !slices.ContainsFunc(above, named(path.Base(dir))) {
			return new(Settings), ctx.Err()
		}
		dir = up
	}
}

// ParseSettings reads a settings file. Its errors are of type [*SettingsError],
// joined when there are several.
func ParseSettings(file string, data []byte) (*Settings, error) {
	p := settingsParser{file: file, out: &Settings{Path: file}}
	n, err := load(file, data)
	if err != nil {
		return nil, err
	}
	if n != nil {
		p.settings(n)
	}
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	return p.out, nil
}

// ParseTexts reads a settings file of another kind, one that gives texts to keys. lookup
// returns what takes the text of a key, or says what is wrong with the key. Errors are as
// those of [ParseSettings].
func ParseTexts(file string, data []byte, lookup func(key string) (take func(text string) error, err error)) error {
	n, err := load(file, data)
	if n == nil || err != nil {
		return err
	}
	p := settingsParser{file: file}
	p.members(n, "a settings file", func(key, value *yaml.Node) {
		take, err := lookup(key.Value)
		if err != nil {
			p.fail(key, "%v", err)
			return
		}
		failed := len(p.errs)
		text := p.text(value, key.Value)
		if len(p.errs) > failed {
			return
		}
		if err := take(text); err != nil {
			p.fail(value, "%v", err)
		}
	})
	return errors.Join(p.errs...)
}

// load returns the one node of a document, nil when it is empty.
func load(file string, data []byte) (*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Load(data, &doc); err != nil {
		if isEmpty(data) {
			return nil, nil
		}
		if le, ok := errors.AsType[*yaml.LoadError](err); ok {
			return nil, &SettingsError{file, max(le.Mark.Line, 1), max(le.Mark.Column, 1), le.Message}
		}
		return nil, &SettingsError{file, 1, 1, err.Error()}
	}
	if len(doc.Content) != 1 {
		return nil, nil
	}
	return doc.Content[0], nil
}

// isEmpty reports whether there is nothing but comments, which the parser takes
// for an error.
func isEmpty(data []byte) bool {
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}

type settingsParser struct {
	file string
	out  *Settings
	errs []error
}

func (p *settingsParser) fail(n *yaml.Node, format string, args ...any) {
	p.errs = append(p.errs, &SettingsError{p.file, max(n.Line, 1), max(n.Column, 1), fmt.Sprintf(format, args...)})
}

// members calls f for every member of a mapping, each key once.
func (p *settingsParser) members(n *yaml.Node, what string, f func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		p.fail(n, "%s is a mapping", what)
		return
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if seen[key.Value] {
			p.fail(key, "%s is given twice", key.Value)
			continue
		}
		seen[key.Value] = true
		f(key, n.Content[i+1])
	}
}

func (p *settingsParser) text(n *yaml.Node, what string) string {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		p.fail(n, "%s is text", what)
		return ""
	}
	return n.Value
}

// elements calls f for every element of a list.
func (p *settingsParser) elements(n *yaml.Node, what string, f func(*yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		p.fail(n, "%s is a list", what)
		return
	}
	for _, e := range n.Content {
		f(e)
	}
}

// rules reads a selector of rules.
func (p *settingsParser) rules(n *yaml.Node) string {
	s := p.text(n, "a rule")
	if s != "" {
		if err := check.Known(s); err != nil {
			p.fail(n, "%s", err)
		}
	}
	return s
}

var settingKeys = []string{"version", "profile", "select", "ignore", "severity", "fail-on", "baseline"}

func (p *settingsParser) settings(n *yaml.Node) {
	p.members(n, "a settings file", func(key, value *yaml.Node) {
		switch key.Value {
		case "version":
			if p.text(value, "version") != "1" {
				p.fail(value, "version %s, where this program knows version 1", value.Value)
			}
		case "profile":
			p.out.Profile = check.Profile(p.text(value, "profile"))
			if !slices.Contains(check.Profiles(), p.out.Profile) {
				p.fail(value, "%q must be one of: %s", p.out.Profile, joinProfiles())
			}
		case "select":
			p.elements(value, "select", func(e *yaml.Node) { p.out.Select = append(p.out.Select, p.rules(e)) })
		case "ignore":
			p.elements(value, "ignore", p.exception)
		case "severity":
			p.out.Severities = make(map[string]checkpoint.Severity)
			p.members(value, "severity", func(rule, severity *yaml.Node) {
				r, err := check.Lookup(rule.Value)
				if err != nil {
					p.fail(rule, "%s", err)
					return
				}
				s, ok := checkpoint.ParseSeverity(severity.Value)
				if !ok {
					p.fail(severity, "%q must be one of: error, warning, info", severity.Value)
					return
				}
				p.out.Severities[r.ID] = s
			})
		case "fail-on":
			p.out.FailOn = p.text(value, "fail-on")
			if _, ok := checkpoint.ParseSeverity(p.out.FailOn); !ok {
				p.fail(value, "%q must be one of: error, warning, info", p.out.FailOn)
			}
		case "baseline":
			p.out.Baseline = source.Join(source.Dir(p.file), p.text(value, "baseline"))
		default:
			p.fail(key, "unknown key %q; there are %s%s", key.Value, strings.Join(settingKeys, ", "), template.DidYouMean(key.Value, settingKeys))
		}
	})
}

func (p *settingsParser) exception(n *yaml.Node) {
	e := Exception{Origin: p.file, Line: n.Line, Column: n.Column}
	p.members(n, "an element of ignore", func(key, value *yaml.Node) {
		switch key.Value {
		case "rule":
			e.Rule = p.rules(value)
		case "tensor":
			e.Tensor = p.glob(value, "tensor")
		case "file":
			e.File = p.glob(value, "file")
		case "reason":
			e.Reason = strings.TrimSpace(p.text(value, "reason"))
		case "until":
			until, err := time.Parse(time.DateOnly, p.text(value, "until"))
			if err != nil {
				p.fail(value, "until is a day, such as 2026-12-31")
			}
			e.Until = until
		default:
			p.fail(key, "unknown key %q; there are rule, tensor, file, reason, until", key.Value)
		}
	})
	switch {
	case n.Kind != yaml.MappingNode:
		return
	case len(p.out.Exceptions) > maxExceptions:
		return
	case len(p.out.Exceptions) == maxExceptions: // and one more, so that it is said once
		p.fail(n, "more than %d exceptions; a baseline leaves out as many findings as there are", maxExceptions)
	case e.Rule == "":
		p.fail(n, "an exception needs a rule")
	case e.Reason == "":
		p.fail(n, "the exception for %s needs a reason", e.Rule)
	}
	p.out.Exceptions = append(p.out.Exceptions, e)
}

func (p *settingsParser) glob(n *yaml.Node, what string) template.Glob {
	g, err := template.ParseGlob(p.text(n, what))
	if err != nil {
		p.fail(n, "%s %q: %v", what, n.Value, err)
	}
	return g
}

func joinProfiles() string {
	var words []string
	for _, p := range check.Profiles() {
		words = append(words, string(p))
	}
	return strings.Join(words, ", ")
}
