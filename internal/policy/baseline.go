package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/wtinspect/wtinspect/internal/jsondoc"
)

// baselineVersion is the version of the baseline's form.
const baselineVersion = 1

type baselineFile struct {
	Version  int     `json:"baseline_version"`
	Findings []Known `json:"findings"`
}

// A Known finding is one that a baseline has. Only the fingerprint counts; the
// rest is for whoever reads the file.
type Known struct {
	Fingerprint string `json:"fingerprint"`
	Rule        string `json:"rule"`
	Tensor      string `json:"tensor,omitempty"`
	Message     string `json:"message"`
}

// WriteBaseline writes findings, so that later runs leave them out.
func WriteBaseline(w io.Writer, findings []Known) error {
	out := baselineFile{Version: baselineVersion, Findings: []Known{}}
	seen := make(map[string]bool)
	for _, f := range findings {
		if !seen[f.Fingerprint] {
			seen[f.Fingerprint] = true
			out.Findings = append(out.Findings, f)
		}
	}
	slices.SortStableFunc(out.Findings, func(a, b Known) int { return cmp.Compare(a.Rule, b.Rule) })
	data, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(jsondoc.Printable(data), '\n'))
	return err
}

// ReadBaseline reads the fingerprints of a baseline. Path is what messages call
// it.
func ReadBaseline(path string, r io.Reader) (map[string]bool, error) {
	var in baselineFile
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return nil, fmt.Errorf("%s: not a baseline: %w", path, err)
	}
	if in.Version != baselineVersion {
		return nil, fmt.Errorf("%s: baseline version %d, where this program knows version %d", path, in.Version, baselineVersion)
	}
	out := make(map[string]bool, len(in.Findings))
	for _, e := range in.Findings {
		out[e.Fingerprint] = true
	}
	return out, nil
}
