package inspect

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/policy"
	"github.com/wtinspect/wtinspect/internal/source"
)

// A scope is what is judged as one.
type scope struct {
	ref string
	// tree says that everything below the path is part of it.
	tree bool
}

// scopes returns what is to be judged at paths, each scope once.
func (c *checking) scopes(ctx context.Context, refs []string) ([]scope, error) {
	switch {
	case c.opts.Changed && c.opts.Against != "":
		return nil, errors.New("an earlier release is of one release, and changed files can be of several: name the release instead")
	case c.opts.Changed:
		return c.changed(ctx, refs)
	case c.opts.Recursive && c.opts.Against == "":
		return c.below(ctx, refs)
	}
	out := make([]scope, len(refs))
	for i, ref := range refs {
		out[i] = scope{ref, c.opts.Recursive}
	}
	return out, nil
}

// below returns the releases at and below paths. A path without any stays, and
// says so itself when it is opened.
func (c *checking) below(ctx context.Context, refs []string) ([]scope, error) {
	trees := make(trees)
	var out []scope
	for _, ref := range refs {
		if normal, err := source.Normalize(ctx, ref); err == nil {
			ref = normal
		}
		found, err := c.releases(ctx, ref)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil && len(found) == 0 {
			found = []string{ref}
		}
		for _, release := range found {
			s, err := trees.scope(ctx, release, ref)
			if err != nil {
				return nil, err
			}
			if !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out, nil
}

// releases is [checkpoint.Releases] for a path that may be a file. What cannot be
// read is a problem of the result.
func (c *checking) releases(ctx context.Context, ref string) ([]string, error) {
	if !source.IsDir(ctx, ref) {
		return nil, nil
	}
	found, err := checkpoint.Releases(ctx, ref)
	if err != nil {
		c.result.Problems = append(c.result.Problems, pathFirst(err))
		c.result.Summary.Unjudged++
	}
	return found, err
}

// changed returns the releases that changed files belong to.
func (c *checking) changed(ctx context.Context, files []string) ([]scope, error) {
	wd, err := filepath.Abs(".")
	if err != nil {
		return nil, err
	}
	trees := make(trees)
	seen := make(map[string]bool)
	var out []scope
	for _, file := range files {
		if rel, err := filepath.Rel(wd, file); err == nil { // of an absolute path
			file = rel
		}
		found, err := c.holding(ctx, filepath.Clean(file), seen)
		if err != nil {
			return nil, pathFirst(err)
		}
		for _, dir := range found {
			s, err := trees.scope(ctx, dir.path, ".")
			if err != nil {
				return nil, err
			}
			if (dir.release || s.tree) && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out, ctx.Err()
}

// A holder is a directory that holds a changed file: a release, or one that is only
// judged where a lock speaks for the tree.
type holder struct {
	path    string
	release bool
}

// holding returns what a changed file concerns, and nothing for a directory that was
// seen before.
func (c *checking) holding(ctx context.Context, file string, seen map[string]bool) ([]holder, error) {
	dir := filepath.Dir(file)
	if filepath.Base(file) == SettingsName && filepath.IsLocal(file) {
		var out []holder
		below, _ := c.releases(ctx, dir)
		for _, path := range below {
			out = append(out, holder{path, true})
		}
		return out, nil
	}
	if seen[dir] {
		return nil, nil
	}
	seen[dir] = true
	release, err := checkpoint.ReleaseOf(ctx, file)
	if err != nil || release != "" {
		return []holder{{release, true}}, err
	}
	return []holder{{dir, false}}, nil
}

// trees says of directories whether the lock beside them is of what is below them,
// as 'lock -R' writes it.
type trees map[string]bool

// scope returns the scope of a release: the highest directory, down from a root, with
// a lock that is of the whole tree, or the release itself.
func (t trees) scope(ctx context.Context, release, root string) (scope, error) {
	out := scope{ref: release}
	for dir := release; ; dir = source.Dir(dir) {
		tree, err := t.locked(ctx, dir)
		if err != nil {
			return out, err
		}
		if tree {
			out = scope{dir, true}
		}
		if filepath.Clean(dir) == filepath.Clean(root) || dir == source.Dir(dir) {
			return out, nil
		}
	}
}

func (t trees) locked(ctx context.Context, dir string) (bool, error) {
	if known, ok := t[dir]; ok {
		return known, nil
	}
	if policy.IsPublished(dir) { // its publisher does not decide what is judged as one
		t[dir] = false
		return false, nil
	}
	lock, err := policy.OpenLock(ctx, source.Join(dir, LockName))
	if err != nil {
		t[dir] = false
		if errors.Is(err, fs.ErrNotExist) || !source.IsDir(ctx, dir) {
			err = nil
		}
		return false, err
	}
	for _, c := range lock.Checkpoints {
		if strings.Contains(c.Path, "/") || c.Path != "." && source.IsDir(ctx, source.Join(dir, c.Path)) {
			t[dir] = true
		}
	}
	return t[dir], nil
}
