package inspect

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/remote"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/stores"
)

// TokenVariables are the variables of the environment that hold a token of a hub.
func TokenVariables() []string { return remote.TokenVariables() }

// PlacesOptions adjust [WithPlaces]. Nil options are the defaults.
type PlacesOptions struct {
	// Getenv returns a variable of the environment; nil means [os.Getenv]. Those of
	// huggingface_hub and of Ollama count.
	Getenv func(name string) string
	// UserAgent names the program to servers.
	UserAgent string
	// InsecureHTTP allows http:// to other machines than this.
	InsecureHTTP bool
	// NoCache neither reads nor writes what earlier calls have kept of headers.
	NoCache bool
	// Silent asks no server for anything: of other machines there is what is in a cache.
	Silent bool
	// MaxBytes bounds how much of the values of files on other machines one command
	// reads; 0 means 1 GiB, and less than 0 that there is no bound.
	MaxBytes int64
	// Rate is how often each host is asked in a minute at most; 0 means as often as it
	// allows.
	Rate int
	// Note is told what somebody who waits should know, and Trace of every request.
	// Either may be nil. Neither is told a secret.
	Note, Trace func(format string, args ...any)
	// Read is told by close at which commit each repository was read. It may be nil.
	Read func(repo, commit string)
	// Asked is told by close how much was asked of each host, and in which time. It may
	// be nil.
	Asked func(host string, requests int, bytes int64, took time.Duration)
}

// WithPlaces returns a context in which references may also lead to a repository of
// the hub (hf://NAMESPACE/NAME[@REV][/PATH], or the address of its page) or of
// ModelScope (modelscope://…), to a URL, and to a model of Ollama (ollama:NAME[:TAG]). Nothing is asked and read before the first
// of them is. What is read of a repository in the context is of one commit.
//
// Close ends the connections, and keeps the headers of commits for the next time.
func WithPlaces(ctx context.Context, opts *PlacesOptions) (_ context.Context, close func()) {
	if opts == nil {
		opts = new(PlacesOptions)
	}
	var client *remote.Client
	open := sync.OnceValues(func() (*remote.Client, error) {
		getenv := opts.Getenv
		if getenv == nil {
			getenv = os.Getenv
		}
		settings, err := remote.ReadSettings(ctx, getenv)
		if err != nil {
			return nil, err
		}
		client, err = remote.NewClient(remote.Options{
			Settings: settings, UserAgent: opts.UserAgent, InsecureHTTP: opts.InsecureHTTP, NoCache: opts.NoCache, Silent: opts.Silent, Rate: opts.Rate, Note: opts.Note, Trace: opts.Trace, Read: opts.Read, Asked: opts.Asked,
		})
		return client, err
	})
	ctx = context.WithValue(ctx, reachKey{}, opts)
	for _, scheme := range remote.Schemes() {
		ctx = source.With(ctx, scheme, &lazyPlace{scheme, open})
	}
	return ctx, func() {
		if client != nil {
			client.Close()
		}
	}
}

// IsReference reports whether text is a reference to a place that [WithPlaces] knows,
// and not a path.
func IsReference(text string) bool {
	scheme, _, ok := strings.Cut(text, ":")
	return ok && slices.Contains(remote.Schemes(), strings.ToLower(scheme)) || remote.IsPage(text)
}

// ShownReference returns a reference or a path as messages have it: without the query of a
// URL, which may be a signature, and the user in it.
func ShownReference(ref string) string { return remote.WithoutSecrets(ref) }

// withoutSecrets returns a text about a reference without what may be a secret in it.
func withoutSecrets(text, ref string) string {
	shown := ShownReference(ref)
	if shown == ref {
		return text
	}
	text = strings.ReplaceAll(text, ref, shown)
	before, query, ok := strings.Cut(ref, "?")
	if ok && query != "" {
		text = strings.ReplaceAll(text, query, "…")
	}
	if _, rest, ok := strings.Cut(before, "://"); ok {
		host, _, _ := strings.Cut(rest, "/")
		if user := strings.LastIndexByte(host, '@'); user > 0 && !strings.Contains(shown, host) {
			text = strings.ReplaceAll(text, host[:user], "…")
		}
	}
	return text
}

// CompleteReference returns the references that begin with text, as far as this
// machine knows them: the repositories of the hub and their revisions of which
// something was downloaded, and the models of Ollama. It is nil where text does not
// begin one. Nothing is asked of other machines.
func CompleteReference(ctx context.Context, getenv func(name string) string, text string) []string {
	env := stores.Environment(getenv)
	var known []string
	switch scheme, rest, begun := strings.Cut(text, ":"); {
	case !begun && len(text) > 1: // one letter may as well begin a file's name
		known = []string{"hf://", "https://", "modelscope://", "ollama:"}
	case scheme == "hf" && !strings.HasPrefix(rest, "//"):
		known = []string{"hf://"}
	case scheme == "hf":
		cache := env.HubCache()
		for _, repo := range cache.Repos(ctx) {
			name := "hf://" + repo.ID
			if repo.Dataset {
				name = "hf://datasets/" + repo.ID
			}
			if !strings.HasPrefix(text, name+"@") {
				known = append(known, name)
				continue
			}
			for _, rev := range cache.Revisions(ctx, repo) {
				known = append(known, name+"@"+url.PathEscape(rev))
			}
		}
	case scheme == "ollama":
		for _, name := range env.Ollama().Names(ctx) {
			known = append(known, "ollama:"+name.String())
		}
	}
	var out []string
	for _, one := range known {
		if strings.HasPrefix(one, text) {
			out = append(out, one)
		}
	}
	return out
}

// defaultMaxBytes is what somebody who does not say so has most likely not meant to
// read of another machine.
const defaultMaxBytes = 1 << 30

// A ReadLimitError says that more of the values of files on other machines is to be
// read than the context allows.
type ReadLimitError struct {
	// Path is the first of the checkpoints.
	Path       string
	Bytes, Max int64
}

func (e *ReadLimitError) Error() string {
	return fmt.Sprintf("%s: %s bytes of values are to be read from another machine, and %s are allowed",
		e.Path, render.Grouped(uint64(e.Bytes)), render.Grouped(uint64(e.Max)))
}

type reachKey struct{}

// A reach adds up what is to be read of other machines.
type reach struct {
	ctx   context.Context
	away  map[*checkpoint.File]bool
	path  string
	bytes float64
}

func newReach(ctx context.Context) *reach {
	return &reach{ctx: ctx, away: make(map[*checkpoint.File]bool)}
}

// add adds a part of a tensor's bytes.
func (r *reach) add(c *checkpoint.Checkpoint, t *checkpoint.Tensor, part float64) {
	if t.File < 0 {
		return
	}
	r.addFile(c, c.Files[t.File], float64(t.Bytes)*part)
}

// addFile adds bytes of a file.
func (r *reach) addFile(c *checkpoint.Checkpoint, f *checkpoint.File, bytes float64) {
	away, known := r.away[f]
	if !known {
		away = source.Away(r.ctx, f.Path)
		r.away[f] = away
	}
	if away {
		r.bytes += bytes
		if r.path == "" {
			r.path = c.Path
		}
	}
}

// addAll adds the tensors of a checkpoint that are chosen.
func (r *reach) addAll(c *checkpoint.Checkpoint, selected func(name string) bool) {
	for _, t := range c.All() {
		if selected == nil || selected(t.Name) {
			r.add(c, &t, 1)
		}
	}
}

// size is how much is to be read.
func (r *reach) size() int64 { return int64(min(r.bytes, math.MaxInt64/2)) }

// excess is an error when more is to be read of other machines than the context allows.
func (r *reach) excess() error {
	opts, ok := r.ctx.Value(reachKey{}).(*PlacesOptions)
	if !ok {
		return nil
	}
	if limit := cmp.Or(opts.MaxBytes, defaultMaxBytes); limit > 0 && r.size() > limit {
		return &ReadLimitError{Path: r.path, Bytes: r.size(), Max: limit}
	}
	return nil
}

// allow says how much is to be read of other machines, and fails when that is more
// than the context allows.
func (r *reach) allow() error {
	if err := r.excess(); err != nil {
		return err
	}
	r.announce()
	return nil
}

// announce says how much is to be read of other machines.
func (r *reach) announce() {
	if opts, ok := r.ctx.Value(reachKey{}).(*PlacesOptions); ok && r.bytes > 0 && opts.Note != nil {
		opts.Note("%s: reading %s of values from another machine", r.path, render.Size(uint64(r.size())))
	}
}

// budget is how much of the values of checkpoints may be read, 0 for any number, where it
// is not known before they are read how much that is.
func (r *reach) budget(of ...*checkpoint.Checkpoint) int64 {
	for _, c := range of {
		if c != nil {
			r.addAll(c, nil)
		}
	}
	opts, ok := r.ctx.Value(reachKey{}).(*PlacesOptions)
	if !ok || r.bytes == 0 {
		return 0
	}
	limit := cmp.Or(opts.MaxBytes, defaultMaxBytes)
	if limit < 0 {
		limit = 0
	}
	if opts.Note != nil {
		most := ""
		if limit > 0 && float64(limit) < r.bytes {
			most = fmt.Sprintf(", at most %s", render.Size(uint64(limit)))
		}
		opts.Note("%s: reading a part of the %s of values from another machine%s", r.path, render.Size(uint64(r.size())), most)
	}
	return limit
}

// A lazyPlace is one of a client that is made when it is first needed.
type lazyPlace struct {
	scheme string
	open   func() (*remote.Client, error)
}

func (p *lazyPlace) place() (source.Place, error) {
	c, err := p.open()
	if err != nil {
		return nil, err
	}
	return c.Place(p.scheme), nil
}

func (p *lazyPlace) Stat(ctx context.Context, ref string) (fs.FileInfo, error) {
	to, err := p.place()
	if err != nil {
		return nil, err
	}
	return to.Stat(ctx, ref)
}

func (p *lazyPlace) ReadDir(ctx context.Context, ref string) ([]fs.DirEntry, error) {
	to, err := p.place()
	if err != nil {
		return nil, err
	}
	return to.ReadDir(ctx, ref)
}

func (p *lazyPlace) Open(ctx context.Context, ref string) (source.Source, error) {
	to, err := p.place()
	if err != nil {
		return nil, err
	}
	return to.Open(ctx, ref)
}

// Normalize implements [source.Normalizer].
func (p *lazyPlace) Normalize(ref string) (string, error) {
	c, err := p.open()
	if err != nil {
		return "", err
	}
	return c.Normalize(ref)
}

// IsPage reports that text is the address of a hub's page without its scheme.
func (p *lazyPlace) IsPage(text string) bool { return remote.IsPage(text) }

// Publication implements [source.Publisher].
func (p *lazyPlace) Publication(ctx context.Context, ref string) (*source.Publication, error) {
	to, err := p.place()
	if to, ok := to.(source.Publisher); ok {
		return to.Publication(ctx, ref)
	}
	return nil, err
}

// Revision implements [source.Versioned].
func (p *lazyPlace) Revision(ref string) string {
	to, _ := p.place()
	if to, ok := to.(source.Versioned); ok {
		return to.Revision(ref)
	}
	return ""
}

// Catalogue implements [source.Catalogue].
func (p *lazyPlace) Catalogue(ctx context.Context, ref string) (iter.Seq2[string, error], bool) {
	to, err := p.place()
	if to, ok := to.(source.Catalogue); ok {
		return to.Catalogue(ctx, ref)
	}
	if err != nil {
		return func(yield func(string, error) bool) { yield(ref, err) }, true
	}
	return nil, false
}

// Forget says that nothing more is read of a reference.
func (p *lazyPlace) Forget(ref string) {
	to, _ := p.place()
	if to, ok := to.(interface{ Forget(ref string) }); ok {
		to.Forget(ref)
	}
}

// Away reports whether a file is read from another machine.
func (p *lazyPlace) Away(ref string) bool {
	to, _ := p.place()
	away, ok := to.(interface{ Away(ref string) bool })
	return ok && away.Away(ref)
}

// Opens says how many files are worth opening at once.
func (p *lazyPlace) Opens() int {
	to, _ := p.place()
	if to, ok := to.(interface{ Opens() int }); ok {
		return to.Opens()
	}
	return 0
}
