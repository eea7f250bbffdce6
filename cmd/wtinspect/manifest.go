package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/wtinspect/wtinspect/internal/render"
)

// A manifest is the digests of tensors that somebody wrote down: in this program's
// JSON, or in the format of llama-gguf-hash, which has an algorithm, a digest, and
// FILE:TENSOR in columns, or FILE for all tensors of a file one after the other.
type manifest struct {
	name    string
	entries []manifestEntry
	// others counts the lines of algorithms that this program does not have.
	others map[string]int
}

type manifestEntry struct {
	algorithm, digest string
	// file and tensor are escaped, as manifests write them; tensor is "" for a
	// file as a whole and for a content id.
	file, tensor string
}

// digestLength is the length in characters of the digests of an algorithm, 0
// for those that this program does not have.
func digestLength(algorithm string) int {
	switch algorithm {
	case algorithmSHA256, contentLine:
		return 64
	case algorithmXXH64:
		return 16
	}
	return 0
}

func isDigest(algorithm, digest string) bool {
	_, err := hex.DecodeString(digest)
	return err == nil && len(digest) == digestLength(algorithm)
}

// parseManifest reads a manifest, also what llama-gguf-hash --check prints, which
// has a verdict behind every name.
func parseManifest(name string, r io.Reader) (*manifest, error) {
	m := &manifest{name: name, others: map[string]int{}}
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
				return nil, fmt.Errorf("%s:%d: this is no manifest: lines are ALGORITHM  DIGEST  FILE:TENSOR, as 'wtinspect hash' and llama-gguf-hash write them", name, n)
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
		if algorithm != contentLine {
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
func (m *manifest) readJSON(r io.Reader) error {
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
		return fmt.Errorf("%s: this is not the JSON of 'wtinspect hash -f json': %w", m.name, err)
	}
	for _, t := range doc.Tensors {
		name := t.Name
		if t.NameBase64 != nil {
			name = string(t.NameBase64)
		}
		for _, d := range []struct{ algorithm, digest string }{{algorithmSHA256, t.SHA256}, {algorithmXXH64, t.XXH64}} {
			if d.digest != "" {
				if !isDigest(d.algorithm, d.digest) {
					return fmt.Errorf("%s: tensor %q: %q is not a digest of %d hexadecimal digits", m.name, name, d.digest, digestLength(d.algorithm))
				}
				m.entries = append(m.entries, manifestEntry{d.algorithm, d.digest, render.Escape(t.File), render.Escape(name)})
			}
		}
	}
	for _, c := range doc.Checkpoints {
		if c.ID != "" {
			m.entries = append(m.entries, manifestEntry{contentLine, c.ID, render.Escape(c.Path), ""})
		}
	}
	if len(m.entries) == 0 {
		return fmt.Errorf("%s: the document has no digests", m.name)
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

func (m *manifest) has(algorithm string) bool {
	for i := range m.entries {
		if m.entries[i].algorithm == algorithm {
			return true
		}
	}
	return false
}

// hasWhole reports whether there is a digest of a file as a whole.
func (m *manifest) hasWhole(file string) bool {
	for i := range m.entries {
		if e := &m.entries[i]; e.tensor == "" && e.algorithm != contentLine && sameFile(e.file, render.Escape(file)) {
			return true
		}
	}
	return false
}

// The verdicts on an entry of a manifest, or on a tensor that has none.
const (
	statusOK       = "ok"
	statusDiffers  = "differs"
	statusMissing  = "missing"
	statusUnlisted = "unlisted"
)

// A manifestCheck is what became of every entry of a manifest.
type manifestCheck struct {
	h       *hashing
	m       *manifest
	results []manifestResult
	counts  map[string]int
}

type manifestResult struct {
	manifestEntry
	status string
	actual string // digest, "" where there is none
}

// compare looks every entry up, and then what has no entry. Of a choice of
// tensors, the entries of others are passed over.
func (h *hashing) compare(m *manifest, selected func(string) bool) *manifestCheck {
	c := &manifestCheck{h: h, m: m, counts: map[string]int{}}
	// By file and name, and by name alone where no other tensor has it.
	type key struct{ file, tensor string }
	byName := make(map[key][]int)
	for i := range h.tensors {
		t := &h.tensors[i]
		name := render.Escape(t.tensor.Name)
		for _, k := range []key{{baseName(render.Escape(t.file)), name}, {"", name}} {
			byName[k] = append(byName[k], i)
		}
	}
	listed := make([]bool, len(h.tensors))
	tensors := false
	for _, e := range m.entries {
		r := manifestResult{manifestEntry: e, status: statusMissing}
		switch {
		case e.algorithm == contentLine:
			if selected != nil {
				continue
			}
			r.actual = h.contentID(e.file)
		case e.tensor == "":
			if selected != nil {
				continue
			}
			for i := range h.wholes {
				if sameFile(e.file, render.Escape(h.wholes[i].file)) {
					r.actual = h.wholes[i].digest(h, e.algorithm)
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
			if len(found) == 0 && selected != nil && !selected(e.tensor) {
				continue
			}
			// Two tensors of one name and file: whichever is meant.
			for _, i := range found {
				listed[i] = true
				if d := h.tensors[i].digest(h, e.algorithm); r.actual == "" || d == e.digest {
					r.actual = d
				}
			}
		}
		switch {
		case r.actual == e.digest:
			r.status = statusOK
		case r.actual != "":
			r.status = statusDiffers
		}
		c.add(r)
	}
	for i := range h.tensors {
		if tensors && !listed[i] {
			c.add(manifestResult{
				manifestEntry: manifestEntry{file: render.Escape(h.tensors[i].file), tensor: render.Escape(h.tensors[i].tensor.Name)},
				status:        statusUnlisted,
			})
		}
	}
	return c
}

// contentID finds the checkpoint that a content line speaks of: that of the
// path, or the only one.
func (h *hashing) contentID(path string) string {
	if len(h.ids) == 1 {
		return h.ids[0]
	}
	for k, c := range h.in.checkpoints {
		if render.Escape(c.Path) == path {
			return h.ids[k]
		}
	}
	return ""
}

func (c *manifestCheck) add(r manifestResult) {
	c.results = append(c.results, r)
	c.counts[r.status]++
}

func (c *manifestCheck) failed() bool { return c.counts[statusOK] < len(c.results) }

func (c *manifestCheck) write(w io.Writer, s render.Style, o *hashOptions, p *program) error {
	switch f := o.Format(); f {
	case render.TableFormat:
		if err := c.table(!p.verbose).Write(w, f, s); err != nil {
			return err
		}
		_, err := fmt.Fprintln(w, c.summary())
		return err
	case render.JSON:
		d := render.NewDocument(w)
		d.Field("manifest", c.m.name)
		render.List(d, "checkpoints", c.h.jsonCheckpoints())
		d.Field("summary", jsonManifestSummary{
			OK: c.counts[statusOK], Differs: c.counts[statusDiffers],
			Missing: c.counts[statusMissing], Unlisted: c.counts[statusUnlisted],
		})
		d.Rows("entries", c.table(false))
		render.List(d, "faults", c.h.in.jsonFaults())
		return d.Close()
	default:
		return c.table(false).Write(w, f, s)
	}
}

// A jsonManifestSummary counts the entries of a manifest by what became of them.
type jsonManifestSummary struct {
	OK       int `json:"ok"`
	Differs  int `json:"differs"`
	Missing  int `json:"missing"`
	Unlisted int `json:"unlisted"`
}

// summary sums up in a line: "290 ok, 1 differs".
func (c *manifestCheck) summary() string {
	s := render.Grouped(uint64(c.counts[statusOK])) + " " + statusOK
	for _, status := range []string{statusDiffers, statusMissing, statusUnlisted} {
		if n := c.counts[status]; n > 0 {
			s += fmt.Sprintf(", %s %s", render.Grouped(uint64(n)), status)
		}
	}
	for _, a := range []string{"sha1", "xxh3", "uuid"} {
		if n := c.m.others[a]; n > 0 {
			s += fmt.Sprintf(", %s of %s not checked", render.Grouped(uint64(n)), a)
		}
	}
	return s
}

// table has a row an entry, or only those that are not right.
func (c *manifestCheck) table(wrongOnly bool) *render.Table {
	colors := map[string]render.Color{statusOK: render.Green, statusDiffers: render.Red, statusMissing: render.Red, statusUnlisted: render.Yellow}
	return &render.Table{
		Headings: render.Never,
		Columns: []render.Column{
			{Key: "status", Title: "STATUS"},
			{Key: "algorithm"},
			{Key: "file"},
			{Key: "tensor"},
			{Title: "NAME"},
			{Key: "expected"},
			{Key: "actual"},
		},
		Rows: func(yield func([]render.Cell) bool) {
			for i := range c.results {
				r := &c.results[i]
				if wrongOnly && r.status == statusOK {
					continue
				}
				name := r.file
				switch {
				case r.algorithm == contentLine:
					name = "content id of " + name
				case r.tensor != "":
					name += ":" + r.tensor
				}
				row := []render.Cell{
					render.Text(r.status).In(colors[r.status]),
					textOrNull(r.algorithm),
					render.Text(r.file),
					textOrNull(r.tensor),
					render.Value(name, "null"),
					textOrNull(r.digest),
					textOrNull(r.actual),
				}
				if !yield(row) {
					return
				}
			}
		},
	}
}
