package remote

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/stores"
)

// stored is what the cache of huggingface_hub calls the repository.
func (r *repo) stored() stores.HubRepo {
	return stores.HubRepo{Dataset: r.ref.Dataset, ID: r.ref.ID}
}

// isDownloaded reports that some of the repository may be in the cache: then it is
// worth asking which commit the revision is.
func (r *repo) isDownloaded(ctx context.Context) bool {
	return r.ref.Kind == Hub && (r.client.opts.Settings.Offline != "" || r.client.opts.Settings.HubCache.Has(ctx, r.stored()))
}

// known returns the listing as far as it is known without asking the hub, nil where it
// has to be asked. Offline that is an error.
func (r *repo) known(ctx context.Context) (*Listing, error) {
	if r.ref.Kind != Hub {
		return nil, nil
	}
	s := r.client.opts.Settings
	if s.Offline != "" && r.commit == "" {
		// What the revision was when it was last downloaded, or read, is as good as it gets.
		if r.commit = cmp.Or(s.HubCache.Commit(ctx, r.stored(), r.rev()), r.client.cache.branch(r)); r.commit == "" {
			return nil, r.notDownloaded()
		}
	}
	r.restore()
	if list := r.cached.listing(); list != nil {
		return list, nil
	}
	if r.commit == "" {
		return nil, nil
	}
	out := &Listing{ID: r.id}
	entries, whole := s.HubCache.Tree(ctx, r.stored(), r.commit)
	if !whole && s.Offline == "" {
		return nil, nil
	}
	if !whole {
		var err error
		if entries, err = s.HubCache.Snapshot(ctx, r.stored(), r.commit); err != nil || len(entries) == 0 {
			return nil, r.notDownloaded()
		}
		out.partial = true
		r.client.opts.Note("%s: cached files only, since %s is set: what nobody downloaded is missing here", r.ref, s.Offline)
	}
	for _, e := range entries {
		out.add(e)
	}
	out.settle(r)
	return out, nil
}

func (r *repo) notDownloaded() error {
	return fmt.Errorf("%s: %w", r.ref, r.client.offline(r.ref.String()))
}

// downloaded opens a file in the cache, nil where it is not there.
func (r *repo) downloaded(ctx context.Context, ref, name string) (source.Source, error) {
	if r.list == nil || r.commit == "" || r.ref.Kind != Hub {
		return nil, nil
	}
	s := r.client.opts.Settings
	entry := r.list.File(name)
	path := ""
	if entry != nil {
		path = s.HubCache.File(ctx, r.stored(), r.commit, name)
	}
	if path != "" {
		src, err := source.Open(ctx, path)
		switch {
		case err != nil:
			return nil, of(ref, err)
		case src.Size() == entry.Size || s.Offline != "":
			r.here[name] = true
			r.client.opts.Trace("%s: read from %s", ref, path)
			return source.Named(src, ref), nil
		}
		r.client.opts.Note("%s: %s has %d bytes, and the hub lists %d: it is read from the hub", ref, path, src.Size(), entry.Size)
		if err := src.Close(); err != nil {
			return nil, err
		}
	}
	if entry == nil && s.Offline != "" {
		return nil, &fs.PathError{Op: "open", Path: ref, Err: fs.ErrNotExist}
	}
	return nil, nil // offline, an earlier run may have kept what is needed of it
}
