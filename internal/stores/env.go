package stores

import (
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// An Environment says what a variable is set to, "" for one that is not set.
type Environment func(name string) string

// home returns the directory of the user, the root when it is not known: in the working
// directory anybody may have put a token or a model.
func (env Environment) home() string {
	for _, name := range []string{"HOME", "USERPROFILE"} {
		if dir := env(name); dir != "" {
			return dir
		}
	}
	return string(filepath.Separator)
}

var variable = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\$(?:\w+|\{[^}]*\})`) })

// expand replaces ~ at the beginning and $NAME anywhere, as Python's expanduser and
// expandvars do: a variable that is not set stays.
func (env Environment) expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || rest[0] == '/' || rest[0] == filepath.Separator) {
		path = env.home() + rest
	}
	return variable().ReplaceAllStringFunc(path, func(s string) string {
		if v := env(strings.Trim(s[1:], "{}")); v != "" {
			return v
		}
		return s
	})
}

// first returns the first of some variables that is set.
func (env Environment) first(names ...string) string {
	for _, name := range names {
		if v := env(name); v != "" {
			return v
		}
	}
	return ""
}

// HubHome returns the directory in which huggingface_hub keeps its token and its
// cache. Source: huggingface_hub, constants.py (HF_HOME).
func (env Environment) HubHome() string {
	if dir := env("HF_HOME"); dir != "" {
		return env.expand(dir)
	}
	if dir := env("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(env.expand(dir), "huggingface")
	}
	return filepath.Join(env.home(), ".cache", "huggingface")
}

// HubToken returns the file in which `hf auth login` keeps the token. Source:
// constants.py (HF_TOKEN_PATH).
func (env Environment) HubToken() string {
	if path := env("HF_TOKEN_PATH"); path != "" {
		return env.expand(path)
	}
	return filepath.Join(env.HubHome(), "token")
}

// HubCache returns the cache of huggingface_hub. Source: constants.py (HF_HUB_CACHE).
func (env Environment) HubCache() *HubCache {
	if dir := env.first("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"); dir != "" {
		return &HubCache{Dir: env.expand(dir)}
	}
	return &HubCache{Dir: filepath.Join(env.HubHome(), "hub")}
}

// Offline returns the variable that forbids huggingface_hub to make requests, "" when
// none does. Source: constants.py (HF_HUB_OFFLINE, ENV_VARS_TRUE_VALUES).
func (env Environment) Offline() string {
	for _, name := range []string{"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} {
		if v := env(name); v != "" {
			if env.IsTrue(name) {
				return name
			}
			return "" // the first that is set decides
		}
	}
	return ""
}

// IsTrue reports whether a variable is set to what huggingface_hub takes for true.
func (env Environment) IsTrue(name string) bool {
	switch strings.ToUpper(env(name)) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}

// Ollama returns the store of Ollama. Source: ollama, envconfig/config.go (Models).
func (env Environment) Ollama() *Ollama {
	if dir := strings.Trim(strings.TrimSpace(env("OLLAMA_MODELS")), `"'`); dir != "" {
		return &Ollama{Dir: dir}
	}
	return &Ollama{Dir: filepath.Join(env.home(), ".ollama", "models")}
}
