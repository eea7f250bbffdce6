package remote

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/source"
)

// The models of an organisation are listed page by page, each once, wherever the hub says
// that the next page is.
func TestCatalogue(t *testing.T) {
	for _, knobs := range []string{"pages=1000", "pages=2", "pages=2 mirror-links"} {
		w := newWorld(t)
		var want []string
		for i := range 5 {
			w.Repo(fmt.Sprintf("org/m%d", i)).Commit(map[string][]byte{"x.json": []byte("{}")})
			want = append(want, fmt.Sprintf("hf://org/m%d", i))
		}
		w.Repo("other/m").Commit(map[string][]byte{"x.json": []byte("{}")})
		w.set(strings.Fields(knobs)...)
		got, err := catalogued(t, w, "hf://org/*")
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", knobs, got, err)
		}
		pages := 3
		if knobs == "pages=1000" {
			pages = 1
		}
		if n := len(w.Requests()); n != pages {
			t.Errorf("%s: %d requests, want %d", knobs, n, pages)
		}
		if _, err := catalogued(t, w, "hf://nobody/*"); err == nil || !strings.Contains(err.Error(), "lists no models of nobody; check the name") {
			t.Errorf("%s: %v", knobs, err)
		}
		for _, ref := range []string{"hf://org/m1", "hf://org/m*", "hf://*/m1", "hf://org/m1/*", "hf://datasets/org/*", "https://host/*"} {
			if _, ok := source.Catalogued(w.Places(t.Context()), ref); ok {
				t.Errorf("%s means several releases", ref)
			}
		}
	}
}

func catalogued(t *testing.T, w *world, ref string) (list []string, err error) {
	t.Helper()
	releases, ok := source.Catalogued(w.Places(t.Context()), ref)
	if !ok {
		t.Fatalf("%s means itself", ref)
	}
	for one, bad := range releases {
		if bad != nil {
			return list, bad
		}
		list = append(list, one)
	}
	return list, nil
}

// A server that lists what no hub has, or without an end, is believed nothing.
func TestCatalogueHostile(t *testing.T) {
	w := newWorld(t)
	w.set("html")
	if got, err := catalogued(t, w, "hf://org/*"); err == nil || len(got) > 0 {
		t.Errorf("%q, %v", got, err)
	}
	w = newWorld(t)
	for _, id := range []string{"org/ok", "../../etc", "org/a..b", "org/a/b", "org", "org/a\x1b[2J"} {
		w.Repo(id).Commit(map[string][]byte{"x.json": []byte("{}")})
	}
	releases, _ := source.Catalogued(w.Places(t.Context()), "hf://org/*")
	var got []string
	bad := 0
	for ref, err := range releases {
		if err != nil {
			if ref != "hf://org/*" || !strings.Contains(err.Error(), "is no model of it, and is passed over") {
				t.Errorf("%s: %v", ref, err)
			}
			bad++
			continue
		}
		got = append(got, ref)
	}
	if !slices.Equal(got, []string{"hf://org/ok"}) || bad != 4 { // ../../etc is of another author
		t.Errorf("%q, and %d errors", got, bad)
	}

	// Pages that come again have no end.
	w = newWorld(t)
	for _, id := range []string{"org/a", "org/b", "org/c"} {
		w.Repo(id).Commit(map[string][]byte{"x.json": []byte("{}")})
	}
	for _, pages := range []string{"pages=1", "pages=3"} {
		w.set(pages, "repeat")
		got, err := catalogued(t, w, "hf://org/*")
		if err == nil || !strings.Contains(err.Error(), "has no model that others do not have") || !slices.Equal(got, []string{"hf://org/a", "hf://org/b", "hf://org/c"}) {
			t.Errorf("%s: %q, %v", pages, got, err)
		}
	}
	if n := len(w.Requests()); n > 10 {
		t.Errorf("%d requests", n)
	}
}

// What is forgotten is kept for the next time, and the client has no more of it.
func TestForget(t *testing.T) {
	w := newWorld(t)
	w.Repo("a/b").Commit(map[string][]byte{"x.json": []byte("{}")})
	read := func() {
		t.Helper()
		if _, err := source.ReadDir(w.Places(t.Context()), "hf://a/b"); err != nil {
			t.Fatal(err)
		}
	}
	read()
	source.Forget(w.Places(t.Context()), "hf://a/b")
	if n := len(w.Client.hub.repos); n != 0 {
		t.Errorf("%d repositories are known", n)
	}
	if w.Client.cache.branch(&repo{client: w.Client, ref: Ref{ID: "a/b"}}) == "" {
		t.Error("nothing is kept for the next time")
	}
	read()
}
