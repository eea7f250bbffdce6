package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/hubtest"
)

// A scan of many repositories, eight at once, is never refused by a hub that says how often it
// may be asked, through several of its windows: with quotas that are fewer than what is
// asked at once, and more. Each repository takes the requests that docs/scan.md says.
func TestScanNeverRefused(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for windows of a hub to go by: make test runs it")
	}
	const repos = 24
	// Resolving takes 48 requests; the last of so many windows need not go by.
	for _, tt := range []struct{ quota, window, windows int }{{5, 1, 10}, {17, 2, 3}, {40, 3, 2}, {300, 3, 1}} {
		t.Run(fmt.Sprintf("quota=%d", tt.quota), func(t *testing.T) {
			t.Parallel()
			hub := hubtest.New(t)
			for i := range repos {
				hub.Repo(fmt.Sprintf("org/m%02d", i)).Commit(map[string][]byte{
					"model.safetensors": fixture.Bytes(t, fmt.Sprintf("meta format pt\ntensor a F32 [%d]", i+1)),
					"config.json":       []byte(`{"model_type": "llama"}`),
				})
			}
			if err := hub.Set(fmt.Sprintf("quota=%d", tt.quota), fmt.Sprintf("window=%d", tt.window)); err != nil {
				t.Fatal(err)
			}
			home := t.TempDir()
			began := time.Now()
			a, err := ask(task{Dir: home, Args: []string{"scan", "-q", "-j", "8", "--table", "releases", "hf://org/*"}, Env: map[string]string{"HF_ENDPOINT": hub.URL, "XDG_CACHE_HOME": home}})
			if err != nil {
				t.Fatal(err)
			}
			took := time.Since(began)
			rows := strings.Split(strings.TrimSpace(string(a.Stdout)), "\n")
			if a.Code != exitOK || len(rows) != repos || strings.Count(string(a.Stdout), `"error_code":null`) != repos {
				t.Errorf("exit %d, %d rows\n%s%s", a.Code, len(rows), a.Stdout, a.Stderr)
			}
			for _, r := range hub.Requests() {
				if r.Status == http.StatusTooManyRequests {
					t.Errorf("%s %s is refused", r.Method, r.URI)
				}
			}
			// One lists the organisation. Of each repository the hub has three, and the other host one.
			if atHub, atCDN, _ := hub.Counts(); atHub != 1+3*repos || atCDN != repos {
				t.Errorf("%d and %d requests, want %d and %d", atHub, atCDN, 1+3*repos, repos)
			}
			if least := time.Duration((tt.windows-1)*tt.window) * time.Second; took < least {
				t.Errorf("it took %v, and %d windows last %v", took, tt.windows-1, least)
			}
		})
	}
}
