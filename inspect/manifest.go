package inspect

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"

	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/source"
)

// The algorithms of digests, as manifests spell them.
const (
	SHA256 = "sha256"
	XXH64  = "xxh64"
	// ContentID begins the line of a manifest that has the content id of a
	// checkpoint.
	ContentID = "content"
)

// A Manifest is the digests of tensors that somebody wrote down: in the JSON of
// [Hash], or in the format of llama-gguf-hash, which has an algorithm, a digest,
// and FILE:TENSOR in columns, or FILE for all tensors of a file one after the
// other.
type Manifest struct {
	// Name is the file's.
	Name    string
	entries []manifestEntry
	// others counts the lines of algorithms that this package does not have.
	others map[string]int
}

type manifestEntry struct {
	algorithm, digest string
	// file and tensor are escaped, as manifests write them; tensor is "" for a
	// file as a whole and for a content id.
	file, tensor string
}

// ReadManifest reads a manifest from a file.
func ReadManifest(ctx context.Context, name string) (*Manifest, error) {
	text, err := source.ReadNamed(ctx, name, source.Manifest)
	if err != nil {
		return nil, plainError(err)
	}
	return ParseManifest(name, bytes.NewReader(text))
}

// digestLength is the length in characters of the digests of an algorithm, 0
// for those that this program does not have.
func digestLength(algorithm string) int {
	switch algorithm {
	case SHA256, ContentID:
		return 64
	case XXH64:
		return 16
	}
	return 0
}

func isDigest(algorithm, digest string) bool {
	_, err := hex.DecodeString(digest)
	return err == nil && len(digest) == digestLength(algorithm)
}

// ParseManifest reads a manifest, also what llama-gguf-hash --check prints, which
// has a verdict behind every name.
func ParseManifest(name string, r io.Reader) (*Manifest, error) {
	m := &Manifest{Name: name, others: map[string]int{}}
	in := bufio.NewReader(r)
	if b, err := in.Peek(1); err == nil && b[0] == '{' {
		return m, m.readJSON(in)
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimRight(lines.Text(), "\r")
		algorithm, rest, _ := strings.Cut(strings.TrimLeft(line, " "), " ")
		digest, what, ok := strings.Cut(strings.TrimLeft(rest, " "), "  ")
		if algorithm == "" || strings.HasPrefix(algorithm, "#") {
			continue
		}
		switch algorithm {
		case "sha1", "xxh3", "uuid":
			m.others[algorithm]++
			continue
		}
		if !ok || !isDigest(algorithm, digest) {
			if len(m.entries) == 0 && len(m.others) == 0 {
				return nil, fmt.Errorf("%s:%d: this is not a manifest: lines are ALGORITHM  DIGEST  FILE:TENSOR, as 'wtinspect hash' and llama-gguf-hash write them", name, n)
			}
			if digestLength(algorithm) == 0 {
				continue // llama-gguf-hash ends with remarks
			}
			return nil, fmt.Errorf("%s:%d: the line is not a digest of %d hexadecimal digits, two spaces and a name", name, n, digestLength(algorithm))
		}
		for _, verdict := range []string{"Ok", "Mismatch", "Not Found"} {
			what = strings.TrimSuffix(what, "  -  "+verdict)
		}
		e := manifestEntry{algorithm: algorithm, digest: strings.ToLower(digest), file: strings.TrimLeft(what, " ")}
		if algorithm != ContentID {
			e.file, e.tensor = splitManifestName(e.file)
		}
		m.entries = append(m.entries, e)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(m.entries) == 0 {
		var others []string
		for _, a := range []string{"sha1", "xxh3", "uuid"} {
			if m.others[a] > 0 {
				others = append(others, a)
			}
		}
		if others != nil {
			return nil, fmt.Errorf("%s: it has digests of %s only; write one with --sha256 or --xxh64", name, strings.Join(others, " and "))
		}
		return nil, fmt.Errorf("%s: the manifest has no digests", name)
	}
	return m, nil
}

// readJSON reads what 'wtinspect hash -f json' has written. Names there are not
// escaped.
func (m *Manifest) readJSON(r io.Reader) error {
	var doc struct {
		Checkpoints []struct {
			Path string `json:"path"`
			ID   string `json:"content_id"`
		} `json:"checkpoints"`
		Tensors []struct {
			File       string `json:"file"`
			Name       string `json:"name"`
			NameBase64 []byte `json:"name_base64"`
			SHA256     string `json:"sha256"`
			XXH64      string `json:"xxh64"`
		} `json:"tensors"`
	}
	if err := json.NewDecoder(r).Decode(&doc); err != nil {
		return fmt.Errorf("%s: this is not the JSON of 'wtinspect hash -f json': %w", m.Name, err)
	}
	for _, t := range doc.Tensors {
		name := t.Name
		if t.NameBase64 != nil {
			name = string(t.NameBase64)
		}
		for _, d := range []struct{ algorithm, digest string }{{SHA256, t.SHA256}, {XXH64, t.XXH64}} {
			if d.digest != "" {
				if !isDigest(d.algorithm, d.digest) {
					return fmt.Errorf("%s: tensor %q: %q is not a digest of %d hexadecimal digits", m.Name, name, d.digest, digestLength(d.algorithm))
				}
				m.entries = append(m.entries, manifestEntry{d.algorithm, d.digest, render.Escape(t.File), render.Escape(name)})
			}
		}
	}
	for _, c := range doc.Checkpoints {
		if c.ID != "" {
			m.entries = append(m.entries, manifestEntry{ContentID, c.ID, render.Escape(c.Path), ""})
		}
	}
	if len(m.entries) == 0 {
		return fmt.Errorf("%s: the document has no digests", m.Name)
	}
	return nil
}

// splitManifestName splits FILE:TENSOR. Either may have colons of its own: the
// file is taken to end with the ending of its format, if there is one.
func splitManifestName(s string) (file, tensor string) {
	lower := strings.ToLower(s)
	end, whole := len(s), false
	for _, ext := range []string{".gguf", ".safetensors"} {
		if i := strings.Index(lower, ext+":"); i >= 0 {
			end = min(end, i+len(ext))
		}
		whole = whole || strings.HasSuffix(lower, ext)
	}
	switch {
	case end < len(s):
		return s[:end], s[end+1:]
	case whole:
		return s, ""
	}
	file, tensor, _ = strings.Cut(s, ":")
	return file, tensor
}

func (m *Manifest) has(algorithm string) bool {
	for i := range m.entries {
		if m.entries[i].algorithm == algorithm {
			return true
		}
	}
	return false
}

// hasWhole reports whether there is a digest of a file as a whole.
func (m *Manifest) hasWhole(file string) bool {
	for i := range m.entries {
		if e := &m.entries[i]; e.tensor == "" && e.algorithm != ContentID && sameFile(e.file, render.Escape(file)) {
			return true
		}
	}
	return false
}

// sameFile reports whether a manifest and a checkpoint may mean the same file:
// both are named from wherever the program was run.
func sameFile(a, b string) bool { return baseName(a) == baseName(b) }

func baseName(file string) string { return path.Base(filepath.ToSlash(file)) }

// The statuses of an entry of a manifest, and of a tensor that has none.
const (
	ManifestOK       = "ok"
	ManifestDiffers  = "differs"
	ManifestMissing  = "missing"
	ManifestUnlisted = "unlisted"
)

// A ManifestResult is what became of every entry of a manifest.
type ManifestResult struct {
	Manifest    string             `json:"manifest"`
	Checkpoints []HashedCheckpoint `json:"checkpoints"`
	Summary     ManifestSummary    `json:"summary"`
	Entries     []ManifestEntry    `json:"entries"`
	Faults      Seq[Fault]         `json:"faults"`
	// Unchecked counts the digests of algorithms that are not known, by their name.
	Unchecked map[string]int `json:"-"`
}

// A ManifestSummary counts the entries of a manifest by what became of them.
type ManifestSummary struct {
	OK       int `json:"ok"`
	Differs  int `json:"differs"`
	Missing  int `json:"missing"`
	Unlisted int `json:"unlisted"`
}

// A ManifestEntry is what became of an entry of a manifest, or a tensor that has
// none.
type ManifestEntry struct {
	Status    string
	Algorithm string // "" where there is no entry
	// File and Tensor are escaped, as manifests write them. Tensor is "" for a file
	// as a whole and for a content id.
	File, Tensor string
	// Expected is the manifest's digest, Actual the tensor's; "" where there is
	// none.
	Expected, Actual string
}

type jsonManifestEntry struct {
	// Status is unlisted for a tensor that the manifest has no entry for.
	Status    string  `json:"status"`
	Algorithm *string `json:"algorithm"`
	// File and Tensor are escaped, as manifests write them. Tensor is nil for a file as a
	// whole and for a content id.
	File   string  `json:"file"`
	Tensor *string `json:"tensor"`
	// Expected is the manifest's digest, Actual the tensor's.
	Expected *string `json:"expected"`
	Actual   *string `json:"actual"`
}

// MarshalJSON implements [json.Marshaler].
func (e ManifestEntry) MarshalJSON() ([]byte, error) {
	return render.Marshal(jsonManifestEntry{e.Status, some(e.Algorithm), e.File, some(e.Tensor), some(e.Expected), some(e.Actual)})
}

// OK reports whether every digest was found and is the same.
func (r *ManifestResult) OK() bool { return r.Summary.OK == len(r.Entries) }

func (r *ManifestResult) add(e ManifestEntry) {
	r.Entries = append(r.Entries, e)
	switch e.Status {
	case ManifestOK:
		r.Summary.OK++
	case ManifestDiffers:
		r.Summary.Differs++
	case ManifestMissing:
		r.Summary.Missing++
	case ManifestUnlisted:
		r.Summary.Unlisted++
	}
}

// Check looks every entry of the manifest up that the tensors were hashed for,
// and then what has no entry. Of a choice of tensors, the entries of others are
// passed over.
func (r *HashResult) Check() *ManifestResult {
	m := r.manifest
	c := &ManifestResult{Manifest: m.Name, Checkpoints: r.Checkpoints, Entries: []ManifestEntry{}, Faults: r.Faults, Unchecked: m.others}
	// By file and name, and by name alone where no other tensor has it.
	type key struct{ file, tensor string }
	byName := make(map[key][]int)
	for i := range r.Tensors {
		t := &r.Tensors[i]
		name := render.Escape(t.Name)
		for _, k := range []key{{baseName(render.Escape(t.FileName)), name}, {"", name}} {
			byName[k] = append(byName[k], i)
		}
	}
	listed := make([]bool, len(r.Tensors))
	tensors := false
	for _, e := range m.entries {
		out := ManifestEntry{Status: ManifestMissing, Algorithm: e.algorithm, File: e.file, Tensor: e.tensor, Expected: e.digest}
		switch {
		case e.algorithm == ContentID:
			if r.selected != nil {
				continue
			}
			out.Actual = r.contentID(e.file)
		case e.tensor == "":
			if r.selected != nil {
				continue
			}
			for i := range r.wholes {
				if sameFile(e.file, render.Escape(r.wholes[i].FileName)) {
					out.Actual = r.wholes[i].Digest(e.algorithm)
				}
			}
		default:
			tensors = true
			found := byName[key{baseName(e.file), e.tensor}]
			if len(found) == 0 {
				if found = byName[key{"", e.tensor}]; len(found) > 1 {
					found = nil
				}
			}
			if len(found) == 0 && r.selected != nil && !r.selected(e.tensor) {
				continue
			}
			// Two tensors of one name and file: whichever is meant.
			for _, i := range found {
				listed[i] = true
				if d := r.Tensors[i].Digest(e.algorithm); out.Actual == "" || d == e.digest {
					out.Actual = d
				}
			}
		}
		switch {
		case out.Actual == e.digest:
			out.Status = ManifestOK
		case out.Actual != "":
			out.Status = ManifestDiffers
		}
		c.add(out)
	}
	for i := range r.Tensors {
		if tensors && !listed[i] {
			c.add(ManifestEntry{
				Status: ManifestUnlisted, File: render.Escape(r.Tensors[i].FileName), Tensor: render.Escape(r.Tensors[i].Name),
			})
		}
	}
	return c
}

// contentID finds the checkpoint that a content line speaks of: that of the path,
// or the only one.
func (r *HashResult) contentID(path string) string {
	for i := range r.Checkpoints {
		c := &r.Checkpoints[i]
		if c.ContentID != nil && (len(r.Checkpoints) == 1 || render.Escape(c.Path) == path) {
			return *c.ContentID
		}
	}
	return ""
}

// WriteManifest writes the digests as llama-gguf-hash does: the algorithm, the
// digest, the file and the tensor. The content id is a line of its own kind,
// which that program passes over.
func (r *HashResult) WriteManifest(w io.Writer) error {
	b := bufio.NewWriter(w)
	next := 0
	for k := range r.Checkpoints {
		c := &r.Checkpoints[k]
		for ; next < len(r.Tensors) && r.Tensors[next].Checkpoint == k; next++ {
			t := &r.Tensors[next]
			// A file is called what the user gave as its path, as llama-gguf-hash has
			// it, and otherwise by its name in the set.
			file := t.FileName
			if sameFile(c.Path, file) {
				file = c.Path
			}
			for _, a := range r.Algorithms {
				if d := t.Digest(a); d != "" {
					fmt.Fprintf(b, "%-8s  %s  %s:%s\n", a, d, render.Escape(file), render.Escape(t.Name))
				}
			}
		}
		if c.ContentID != nil {
			fmt.Fprintf(b, "%-8s  %s  %s\n", ContentID, *c.ContentID, render.Escape(c.Path))
		}
	}
	return b.Flush()
}
