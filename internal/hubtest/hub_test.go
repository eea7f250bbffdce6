package hubtest

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

func get(t *testing.T, url string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp, string(body)
}

// What clients rely on: a listing, a redirect with the useful headers on it, and
// a range on the other host.
func TestHub(t *testing.T) {
	h := New(t)
	repo := h.Repo("org/name")
	sha := repo.Commit(map[string][]byte{"a.safetensors": []byte("0123456789"), "sub/config.json": []byte("{}")})

	_, body := get(t, h.URL+"/api/models/org/name/revision/main?blobs=true")
	var info struct {
		Sha      string
		Siblings []struct {
			Name string `json:"rfilename"`
			Size int
			LFS  *struct{ SHA256 string }
		}
	}
	if err := json.Unmarshal([]byte(body), &info); err != nil || info.Sha != sha || len(info.Siblings) != 2 || info.Siblings[0].Size != 10 || len(info.Siblings[0].LFS.SHA256) != 64 {
		t.Errorf("%v: %s", err, body)
	}
	if err := h.Set("pages=2"); err != nil {
		t.Fatal(err)
	}
	resp, body := get(t, h.URL+"/api/models/org/name/tree/main?recursive=True")
	if link := resp.Header.Get("Link"); !strings.HasPrefix(link, "<"+h.URL+"/api/models/org/name/tree/main?cursor=2") || !strings.HasSuffix(link, `>; rel="next"`) {
		t.Errorf("Link %q: %s", link, body)
	}
	resp, _ = get(t, h.URL+"/org/name/resolve/main/a.safetensors", "Range", "bytes=0-3")
	if resp.StatusCode != 302 || resp.Header.Get("X-Repo-Commit") != sha || resp.Header.Get("X-Linked-Size") != "10" {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
	location := resp.Header.Get("Location")
	if !strings.HasPrefix(location, h.CDN+"/") {
		t.Errorf("Location %q", location)
	}
	resp, body = get(t, location, "Range", "bytes=2-5")
	if resp.StatusCode != 206 || body != "2345" || resp.Header.Get("Content-Range") != "bytes 2-5/10" {
		t.Errorf("%s %v %q", resp.Status, resp.Header, body)
	}
	if hub, cdn, _ := h.Counts(); hub != 3 || cdn != 1 {
		t.Errorf("%d and %d requests", hub, cdn)
	}
	h.Reset()
	repo.Private = true
	if resp, _ := get(t, h.URL+"/org/name/resolve/main/a.safetensors"); resp.StatusCode != 401 {
		t.Error(resp.Status)
	}
	if resp, _ := get(t, h.URL+"/org/name/resolve/main/a.safetensors", "Authorization", "Bearer hf_other"); resp.Header.Get("X-Error-Message") != "Invalid credentials in Authorization header" {
		t.Error(resp.Status)
	}
	repo.Rename("org/new")
	if resp, _ := get(t, h.URL+"/org/name/resolve/main/sub/config.json", "Authorization", "Bearer hf_test"); resp.Header.Get("Location") != "/org/new/resolve/main/sub/config.json" {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
	if err := h.Set("no-such-knob"); err == nil {
		t.Error("a knob that does not exist was set")
	}
}
