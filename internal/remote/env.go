package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/stores"
)

// defaultEndpoint is the hub where HF_ENDPOINT names no other.
const defaultEndpoint = "https://huggingface.co"

// The variables with tokens, those of the hub in the order of huggingface_hub.
var hubTokens = []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}

const scopeToken = "MODELSCOPE_API_TOKEN"

// TokenVariables are the variables of the environment that hold a token.
func TokenVariables() []string { return append(slices.Clone(hubTokens), scopeToken) }

// Settings are what the environment says of the hub. Source: huggingface_hub,
// constants.py and utils/_auth.py.
type Settings struct {
	// Endpoint is the hub's URL, without a slash at its end.
	Endpoint string
	// Offline is the variable that forbids requests to the hub, "" when they are
	// allowed.
	Offline string
	// HubCache has what other programs downloaded from the hub, and Ollama the models
	// of that program.
	HubCache *stores.HubCache
	Ollama   *stores.Ollama
	// CacheHome is where programs keep what they can make again, "" when there is
	// no home.
	CacheHome string

	// Patience is how long a server may say nothing when an answer, or the next bytes
	// of one, are waited for.
	Patience time.Duration
	// ScopeEndpoint is the URL of ModelScope.
	ScopeEndpoint string

	// scopeToken is for ModelScope alone.
	scopeToken string
	token      string
	// tokenFrom is where the token comes from, or why there is none.
	tokenFrom string
}

// ReadSettings reads the environment, and the file that has the token.
func ReadSettings(ctx context.Context, env stores.Environment) (*Settings, error) {
	s := &Settings{
		Endpoint:  strings.TrimRight(cmp.Or(env("HF_ENDPOINT"), defaultEndpoint), "/"),
		Offline:   env.Offline(),
		HubCache:  env.HubCache(),
		Ollama:    env.Ollama(),
		CacheHome: env("XDG_CACHE_HOME"),
		Patience:  30 * time.Second,
	}
	const longest = 24 * 60 * 60
	if n, err := strconv.Atoi(env("HF_HUB_DOWNLOAD_TIMEOUT")); err == nil && n > 0 && n <= longest {
		s.Patience = time.Duration(n) * time.Second
	}
	if u, err := url.Parse(s.Endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return nil, errors.New("HF_ENDPOINT: not the URL of a hub, such as " + defaultEndpoint)
	}
	scope := cmp.Or(env("MODELSCOPE_DOMAIN"), defaultScope)
	if !strings.Contains(scope, "://") {
		scope = "https://" + scope
	}
	u, err := url.Parse(scope)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, errors.New("MODELSCOPE_DOMAIN: not a host, such as www.modelscope.cn")
	}
	s.ScopeEndpoint = origin(u)
	s.scopeToken = strings.TrimSpace(env(scopeToken))
	if !isToken(s.scopeToken) {
		return nil, errors.New(scopeToken + ": it has a character that no token has")
	}
	if home := cmp.Or(env("HOME"), env("USERPROFILE")); !filepath.IsAbs(s.CacheHome) {
		s.CacheHome = ""
		if home != "" {
			s.CacheHome = filepath.Join(home, ".cache")
		}
	}
	return s, s.readToken(ctx, env)
}

// readToken takes the token from the first place that has one.
func (s *Settings) readToken(ctx context.Context, env stores.Environment) error {
	if env.IsTrue("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
		s.tokenFrom = "HF_HUB_DISABLE_IMPLICIT_TOKEN is set, so no token is sent"
		return nil
	}
	for _, name := range hubTokens {
		if s.token = strings.TrimSpace(env(name)); s.token != "" {
			s.tokenFrom = name
			return s.checkToken()
		}
	}
	path := env.HubToken()
	text, err := source.ReadFile(ctx, path, source.Settings)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if env("HF_OIDC_RESOURCE") != "" {
			s.tokenFrom = "HF_OIDC_RESOURCE is set, and no token is asked for by it; set HF_TOKEN"
		}
		return nil
	case err != nil:
		return fmt.Errorf("the hub's token: %w", err)
	}
	s.token, s.tokenFrom = strings.TrimSpace(string(text)), path
	return s.checkToken()
}

// checkToken refuses what cannot be in a header. The token is in no message.
func (s *Settings) checkToken() error {
	if !isToken(s.token) {
		return fmt.Errorf("%s: the hub's token has a space or another character that no token has", s.tokenFrom)
	}
	return nil
}

func isToken(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ';' || r == '"' })
}
