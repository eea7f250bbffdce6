package inspect

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/policy"
	"github.com/wtinspect/wtinspect/internal/remote"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/stores"
)

// ScanInputs yields the inputs that references mean: most mean themselves; with Recursive a
// directory means every release at and below it; a cache of huggingface_hub means the
// snapshots that branches and tags are at; and hf://OWNER/* every model of an owner. With
// Shards it yields those of one shard. None is yielded twice. What cannot be looked through
// is yielded with an error.
func ScanInputs(ctx context.Context, refs iter.Seq[string], opts *ScanOptions) iter.Seq2[string, error] {
	if opts == nil {
		opts = new(ScanOptions)
	}
	return func(yield func(string, error) bool) {
		if err := opts.checkShard(); err != nil {
			yield("", err)
			return
		}
		seen := make(map[[16]byte]bool)
		give := func(ref string, err error) bool {
			same := ref
			if source.Scheme(ref) == "" {
				same = filepath.Clean(ref)
			}
			sum := sha256.Sum256([]byte(same))
			key := [16]byte(sum[:])
			if seen[key] {
				return true
			}
			seen[key] = true
			// Of two spellings every shard takes the first, or both would be scanned, in two shards.
			if opts.Shards > 1 && ShardOf(ref, opts.Shards) != opts.Shard {
				return true
			}
			return yield(ref, err)
		}
		for ref := range refs {
			if ctx.Err() != nil || !expand(ctx, ref, opts, give) {
				return
			}
		}
	}
}

// expand gives the inputs that one reference means, and reports whether more are wanted.
func expand(ctx context.Context, ref string, opts *ScanOptions, give func(string, error) bool) bool {
	if releases, ok := source.Catalogued(ctx, ref); ok {
		for one, err := range releases {
			if !give(one, err) {
				return false
			}
		}
		return true
	}
	normal, err := source.Normalize(ctx, ref)
	if err != nil {
		return give(ref, err)
	}
	if source.Scheme(normal) == "" && stores.IsHubCache(ctx, normal) {
		cache := &stores.HubCache{Dir: normal}
		for _, repo := range cache.Repos(ctx) {
			for _, snapshot := range cache.Current(ctx, repo) {
				if !expandDir(ctx, snapshot, opts, give) {
					return false
				}
			}
		}
		return true
	}
	return expandDir(ctx, normal, opts, give)
}

// expandDir gives the releases at and below a directory, or the reference itself where
// those are not asked for.
func expandDir(ctx context.Context, ref string, opts *ScanOptions, give func(string, error) bool) bool {
	if !opts.Recursive || !source.IsDir(ctx, ref) {
		return give(ref, nil)
	}
	found, err := checkpoint.Releases(ctx, ref)
	if len(found) == 0 && err == nil {
		return give(ref, nil) // which says itself that it has no weights
	}
	for _, release := range found {
		if !give(release, nil) {
			return false
		}
	}
	if err == nil || ctx.Err() != nil {
		return true
	}
	return eachError(err, func(one error) bool {
		at := ref
		if e, ok := errors.AsType[*fs.PathError](one); ok {
			at = e.Path
		}
		return give(at, pathFirst(one))
	})
}

// eachError calls f for each of the errors that were joined, and reports whether f wants
// more.
func eachError(err error, f func(error) bool) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return f(err)
	}
	for _, one := range joined.Unwrap() {
		if !eachError(one, f) {
			return false
		}
	}
	return true
}

// ShardOf returns the shard, from 0, that an input belongs to: the 64-bit FNV-1a hash of its
// reference, as [ScanInputs] yields it and without secrets, modulo the number of shards.
func ShardOf(ref string, shards int) int {
	h := fnv.New64a()
	h.Write([]byte(ShownReference(ref)))
	return int(h.Sum64() % uint64(shards))
}

func (o *ScanOptions) checkShard() error {
	if o.Shard < 0 || o.Shards < 0 || o.Shard > 0 && o.Shard >= o.Shards {
		return fmt.Errorf("shard %d of %d: shards are counted from 0 to %d", o.Shard, o.Shards, max(o.Shards-1, 0))
	}
	return nil
}

// A look is what is known of an input before any of its files is opened.
type look struct {
	state string
	files map[string]fs.FileInfo // by their paths; nil elsewhere than on this machine
	at    *source.Publication    // nil where the place knows no more than the files
	dir   string
}

// lookAt looks at the files of an input.
func lookAt(ctx context.Context, ref string) (*look, error) {
	ref, err := source.Normalize(ctx, ref)
	if err != nil {
		return &look{}, err
	}
	fi, err := source.Stat(ctx, ref)
	if err != nil {
		return &look{}, err
	}
	l := &look{dir: ref, files: make(map[string]fs.FileInfo)}
	if !fi.IsDir() {
		l.dir = source.Dir(ref)
	}
	if source.Scheme(ref) != "" {
		return l, l.ask(ctx, ref, fi)
	}
	h := sha256.New()
	l.list(ctx, h, l.dir, l.besides(ref, fi), 0)
	l.state = hex.EncodeToString(h.Sum(nil)[:16])
	return l, ctx.Err()
}

// judgedBy has the state be another one when the settings are that count for the release, or
// their baseline. Those of every release are the caller's to compare.
func (l *look) judgedBy(ctx context.Context, o *ScanOptions) {
	if source.Scheme(l.dir) != "" { // nothing there is the user's own
		return
	}
	h := sha256.New()
	set, err := o.settings(ctx, l.dir)
	switch {
	case err != nil:
		fmt.Fprintf(h, "%v\n", err)
	case set.Path == "":
		return
	default:
		for _, path := range []string{set.Path, set.Baseline} {
			if fi, err := source.Stat(ctx, path); err == nil && path != "" {
				add(h, filepath.Base(path), fi)
			}
		}
	}
	fmt.Fprint(h, l.state)
	l.state = hex.EncodeToString(h.Sum(nil)[:16])
}

// ask finds the state of what is on another machine.
func (l *look) ask(ctx context.Context, ref string, fi fs.FileInfo) error {
	var err error
	if l.at, err = source.Published(ctx, ref); err != nil {
		return err
	}
	if l.at != nil && l.at.Commit != "" {
		l.state = l.at.Commit
		return nil
	}
	h := sha256.New()
	add(h, ref, fi)
	if l.at != nil {
		for _, f := range l.at.Files {
			fmt.Fprintf(h, "%q %d %s\n", f.Path, f.Size, f.SHA256)
		}
	}
	l.state = hex.EncodeToString(h.Sum(nil)[:16])
	return nil
}

// besides returns which files beside a file belong to its state: all of a set's, and
// documents.
func (l *look) besides(ref string, fi fs.FileInfo) func(name string) bool {
	name := filepath.Base(ref)
	if fi.IsDir() || strings.HasSuffix(name, ".json") || strings.HasSuffix(name, ".gguf") {
		return func(string) bool { return true }
	}
	return func(other string) bool {
		return other == name || strings.HasSuffix(other, ".json") || strings.HasSuffix(other, ".yaml") || strings.HasSuffix(other, ".model") || strings.HasSuffix(other, ".jinja")
	}
}

// maxLookDepth is how deep the parts of a pipeline are looked for.
const maxLookDepth = 8

// list adds the files of a directory to a digest, and of a pipeline those below it.
func (l *look) list(ctx context.Context, h hash.Hash, dir string, wanted func(name string) bool, depth int) {
	entries, err := source.ReadDir(ctx, dir)
	if err != nil {
		fmt.Fprintf(h, "%q: %v\n", dir, err)
		return
	}
	pipeline := depth > 0
	for _, e := range entries {
		pipeline = pipeline || e.Name() == "model_index.json"
	}
	for _, e := range entries {
		path := source.Join(dir, e.Name())
		switch {
		case e.IsDir() && pipeline && depth < maxLookDepth && !strings.HasPrefix(e.Name(), "."):
			l.list(ctx, h, path, wanted, depth+1)
		case e.IsDir() || !wanted(e.Name()):
		default:
			fi, err := source.Stat(ctx, path)
			if err != nil { // a link that leads nowhere
				fmt.Fprintf(h, "%q -\n", below(l.dir, path))
				continue
			}
			l.files[path] = fi
			add(h, below(l.dir, path), fi)
		}
	}
}

// add adds a file to a digest.
func add(h hash.Hash, path string, fi fs.FileInfo) {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], uint64(fi.Size()))
	binary.LittleEndian.PutUint64(b[8:], uint64(fi.ModTime().UnixNano()))
	fmt.Fprintf(h, "%q", path)
	h.Write(b[:])
}

// modified returns when the newest of the weights were changed, nil where that is not
// known.
func (l *look) modified(ctx context.Context, rel *checkpoint.Release) *time.Time {
	var newest time.Time
	if l.at != nil {
		newest = l.at.Modified
	}
	if source.Scheme(rel.Dir) == "" {
		for _, c := range rel.Checkpoints {
			for _, f := range c.Files {
				fi, ok := l.files[f.Path]
				if !ok {
					var err error
					if fi, err = source.Stat(ctx, f.Path); err != nil {
						continue
					}
				}
				if fi.ModTime().After(newest) {
					newest = fi.ModTime()
				}
			}
		}
	}
	if newest.IsZero() {
		return nil
	}
	newest = newest.UTC().Truncate(time.Millisecond)
	return &newest
}

// etag returns the digest by which a hub knows a file, "" where it does not say it.
func (l *look) etag(ctx context.Context, path string) string {
	if l.at == nil {
		return ""
	}
	fi, err := source.Stat(ctx, path)
	if err != nil {
		return ""
	}
	if e, ok := fi.Sys().(*source.Entry); ok && e != nil {
		return e.SHA256
	}
	return ""
}

// The codes of the errors of a scan that are not those of faults.
const (
	codeNoWeights   = "no_weights"
	codeNotFound    = "not_found"
	codeForbidden   = "forbidden"
	codeGated       = "gated"
	codeLimited     = "rate_limited"
	codeServer      = "server_error"
	codeUnreachable = "unreachable"
	codeScheme      = "unsupported_scheme"
	codeTooLarge    = "too_large"
	codeSettings    = "bad_settings"
	codeMaxBytes    = "max_bytes"
	codeInterrupted = "interrupted_rewrite"
	codeIO          = "io_error"
)

// errInterrupted is matched by the error of a release that may be part old and part new.
var errInterrupted = errors.New("a rewrite was interrupted")

// errorColumns returns the columns error_code and error.
func errorColumns(err error) (code, text *string) {
	message, _ := asUTF8(plainError(err).Error())
	is := errorCode(err)
	return &is, &message
}

// errorCode returns the code of an error.
func errorCode(err error) string {
	if f, ok := errors.AsType[*checkpoint.Fault](err); ok {
		return f.Code
	}
	if e, ok := errors.AsType[*remote.Error](err); ok {
		return remoteCode(e)
	}
	if _, ok := errors.AsType[*source.UnsupportedError](err); ok {
		return codeScheme
	}
	if _, ok := errors.AsType[*source.LimitError](err); ok {
		return codeTooLarge
	}
	if _, ok := errors.AsType[*policy.SettingsError](err); ok {
		return codeSettings
	}
	if _, ok := errors.AsType[*ReadLimitError](err); ok {
		return codeMaxBytes
	}
	switch {
	case errors.Is(err, checkpoint.ErrNoWeights):
		return codeNoWeights
	case errors.Is(err, errInterrupted):
		return codeInterrupted
	case errors.Is(err, fs.ErrNotExist):
		return codeNotFound
	case errors.Is(err, fs.ErrPermission):
		return codeForbidden
	case remote.IsNetwork(err):
		return codeUnreachable
	case slices.ContainsFunc(ioErrors, func(one syscall.Errno) bool { return errors.Is(err, one) }):
		return codeIO
	}
	return checkpoint.CodeNotOpened
}

// ioErrors are those of a disk that fails, and of a file system on another machine that
// does not answer.
var ioErrors = []syscall.Errno{syscall.EIO, syscall.ESTALE, syscall.ENOTCONN, syscall.ETIMEDOUT, syscall.EHOSTDOWN}

func remoteCode(e *remote.Error) string {
	switch {
	case e.Gated:
		return codeGated
	case e.Missing || e.Status == 404 || e.Status == 401:
		return codeNotFound
	case e.Status == 403:
		return codeForbidden
	case e.Status == 429:
		return codeLimited
	case e.Status >= 500:
		return codeServer
	}
	return checkpoint.CodeNotOpened
}

// Passing reports whether an error of a release, by its code, says nothing about what the
// release is: it cannot be reached, or is not there, for now.
func Passing(code string) bool {
	switch code {
	case codeNotFound, codeNoWeights, codeForbidden, codeGated, codeLimited, codeServer, codeUnreachable, codeIO:
		return true
	}
	return false
}
