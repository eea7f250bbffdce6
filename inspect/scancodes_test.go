package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/policy"
	"github.com/wtinspect/wtinspect/internal/remote"
	"github.com/wtinspect/wtinspect/internal/source"
)

// Each kind of error has a code, however it is wrapped, and the codes are in the document.
func TestErrorCodes(t *testing.T) {
	page, err := os.ReadFile("../docs/scan.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		err  error
		want string
	}{
		{&checkpoint.Fault{Code: checkpoint.CodeMissingShard}, "missing_shard"},
		{checkpoint.ErrNoWeights, "no_weights"},
		{&fs.PathError{Err: fs.ErrNotExist}, "not_found"},
		{&fs.PathError{Err: fs.ErrPermission}, "forbidden"},
		{&remote.Error{Gated: true, Status: 403}, "gated"},
		{&remote.Error{Missing: true}, "not_found"},
		{&remote.Error{Status: 401}, "not_found"},
		{&remote.Error{Status: 403}, "forbidden"},
		{&remote.Error{Status: 429}, "rate_limited"},
		{&remote.Error{Status: 503}, "server_error"},
		{&remote.Error{Status: 418}, "not_opened"},
		{&source.UnsupportedError{}, "unsupported_scheme"},
		{&source.LimitError{}, "too_large"},
		{&policy.SettingsError{}, "bad_settings"},
		{&ReadLimitError{}, "max_bytes"},
		{interrupted("a", "b"), "interrupted_rewrite"},
		{errors.New("something else"), "not_opened"},
	} {
		if got := errorCode(fmt.Errorf("x: %w", test.err)); got != test.want {
			t.Errorf("%T: %s, want %s", test.err, got, test.want)
		}
		if !strings.Contains(string(page), "`"+test.want+"`") {
			t.Errorf("docs/scan.md does not explain %s", test.want)
		}
	}
}
