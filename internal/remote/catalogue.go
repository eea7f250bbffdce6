package remote

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"net/url"
	"path"
	"strings"
)

// owner returns the organisation, or the user, whose models hf://OWNER/* means.
func owner(ref string) (string, bool) {
	scheme, rest, _ := strings.Cut(ref, "://")
	of, ok := strings.CutSuffix(strings.TrimPrefix(rest, "models/"), "/*")
	return of, ok && strings.EqualFold(scheme, "hf") && isRepoID(of)
}

// modelsInPage is how many models the hub lists at once, the most that it does.
const modelsInPage = 1000

// Catalogue implements [source.Catalogue].
func (h *HubPlace) Catalogue(ctx context.Context, ref string) (iter.Seq2[string, error], bool) {
	of, ok := owner(ref)
	if !ok {
		return nil, false
	}
	return func(yield func(string, error) bool) {
		u, err := url.Parse(fmt.Sprintf("%s/api/models?author=%s&limit=%d", h.client.opts.Settings.Endpoint, url.QueryEscape(of), modelsInPage))
		models := 0
		seen := make(map[string]bool)
		for pages := 1; u != nil && err == nil; pages++ {
			var page []struct {
				ID string `json:"id"`
			}
			var a *answer
			if a, err = h.client.document(ctx, ref, u, &page); err != nil {
				break
			}
			before := len(seen)
			for _, m := range page {
				if seen[m.ID] {
					continue
				}
				seen[m.ID] = true
				r, bad := Parse("hf://"+m.ID, h.client.opts.Settings.Endpoint)
				if bad != nil || !strings.EqualFold(r.ID, m.ID) || !strings.EqualFold(path.Dir(r.ID), of) {
					if !yield(ref, fmt.Errorf("%s: its list has %q, which is no model of it, and is passed over", ref, m.ID)) {
						return
					}
					continue
				}
				if models++; models > maxListed {
					err = fmt.Errorf("%s: there are more than %d models; name them in a list", ref, maxListed)
					break
				}
				if !yield(r.String(), nil) {
					return
				}
			}
			if err == nil && len(seen) == before && pages > 1 {
				err = fmt.Errorf("%s: a page of the list has no model that others do not have, so that it would have no end; name the models in a list", ref)
			}
			if err == nil && pages == maxPages {
				err = fmt.Errorf("%s: the list has more than %d pages; name the models in a list", ref, maxPages)
			}
			if err == nil {
				u, err = h.client.nextPage(ref, a)
			}
		}
		if err == nil && models == 0 {
			err = &Error{Ref: ref, Text: fmt.Sprintf("%s lists no models of %s; check the name", h.client.endpoint.Host, of), Missing: true}
		}
		if err != nil {
			yield(ref, err)
		}
	}, true
}

// Forget ends what is kept of the repository of a reference, once it is written for the
// next time: of thousands that are read one after the other none is needed again.
func (h *HubPlace) Forget(ref string) {
	r, _, err := h.repo(ref)
	if err != nil {
		return
	}
	c := h.client
	if c.cache != nil {
		c.cache.save(r)
	}
	h.mu.Lock()
	maps.DeleteFunc(h.repos, func(_ string, is *repo) bool { return is == r })
	h.forgotten++
	often := h.forgotten%forgetMany == 0
	h.mu.Unlock()
	if c.cache != nil && often {
		c.cache.shrink()
	}
	if c.opts.Read != nil {
		r.read(c.opts.Read)
	}
}

// forgetMany is after how many forgotten repositories the cache is looked through.
const forgetMany = 1000
