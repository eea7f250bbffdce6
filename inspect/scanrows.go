package inspect

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/rename/template"
)

// ScanSchemaVersion is the version of the columns of what [Scan] finds. Columns are added
// without changing it; none is removed or given another meaning.
const ScanSchemaVersion = 1

// ScannedFrom is how every row of a scan begins.
type ScannedFrom struct {
	// SchemaVersion is [ScanSchemaVersion].
	SchemaVersion int32 `json:"schema_version" parquet:"schema_version"`
	// ToolVersion is that of the program.
	ToolVersion string `json:"tool_version" parquet:"tool_version,dict"`
	// Repository is the reference of the release, without secrets.
	Repository string `json:"repository" parquet:"repository,dict"`
	// Revision is the commit of a repository of a hub, also of a snapshot in a cache of
	// huggingface_hub, nil elsewhere.
	Revision *string `json:"revision" parquet:"revision,optional,dict"`
}

// A ScannedRelease is the row of one input in the table releases. What is not known is
// nil, as are all sums of a release that could not be opened.
type ScannedRelease struct {
	ScannedFrom
	// State is a digest of which files the release has and of their sizes and times, or
	// the commit of a repository.
	State string `json:"state" parquet:"state"`
	// Modified is when the newest of the weights were changed, or the repository was.
	Modified *time.Time `json:"modified" parquet:"modified,optional,timestamp(millisecond)"`
	// ErrorCode says why the release is not judged, or not all of it. Codes are stable;
	// the text of Error may change.
	ErrorCode *string `json:"error_code" parquet:"error_code,optional,dict"`
	Error     *string `json:"error" parquet:"error,optional"`
	// Format, Convention and Architecture are those of the checkpoint with the most bytes.
	Format       *string `json:"format" parquet:"format,optional,dict"`
	Convention   *string `json:"convention" parquet:"convention,optional,dict"`
	Architecture *string `json:"architecture" parquet:"architecture,optional,dict"`
	// Wrappers are what precedes the names of any of the checkpoints, outermost first.
	Wrappers []string `json:"wrappers" parquet:"wrappers,list"`
	// Checkpoints and Files count what was found, and Tensors to Bytes add up all
	// checkpoints.
	Checkpoints int64  `json:"checkpoints" parquet:"checkpoints"`
	Files       int64  `json:"files" parquet:"files"`
	Tensors     int64  `json:"tensors" parquet:"tensors"`
	Parameters  *int64 `json:"parameters" parquet:"parameters,optional"`
	Bytes       *int64 `json:"bytes" parquet:"bytes,optional"`
	// Errors, Warnings and Infos count the findings.
	Errors   int64 `json:"errors" parquet:"errors"`
	Warnings int64 `json:"warnings" parquet:"warnings"`
	Infos    int64 `json:"infos" parquet:"infos"`
}

// A ScannedFile is a row of the table files: a file of a checkpoint.
type ScannedFile struct {
	ScannedFrom
	// Checkpoint and File are paths relative to the directory of the release, with
	// slashes.
	Checkpoint string `json:"checkpoint" parquet:"checkpoint,dict"`
	File       string `json:"file" parquet:"file"`
	Format     string `json:"format" parquet:"format,dict"`
	// Bytes is the size of the file, nil when it is missing.
	Bytes   *int64 `json:"bytes" parquet:"bytes,optional"`
	Tensors int64  `json:"tensors" parquet:"tensors"`
	// ETag is the SHA-256 of the file by which a hub knows it, nil where the hub does not
	// say it, and of local files.
	ETag    *string `json:"etag" parquet:"etag,optional"`
	Missing bool    `json:"missing" parquet:"missing"`
	// ErrorCode says why the file was not read.
	ErrorCode *string `json:"error_code" parquet:"error_code,optional,dict"`
	Error     *string `json:"error" parquet:"error,optional"`
}

// A ScannedTensor is a row of the table tensors.
type ScannedTensor struct {
	ScannedFrom
	// Checkpoint and File are as those of [ScannedFile]; File is nil where it is not known.
	Checkpoint string  `json:"checkpoint" parquet:"checkpoint,dict"`
	File       *string `json:"file" parquet:"file,optional,dict"`
	// Name has U+FFFD for what is not UTF-8; NameBase64 has the bytes then.
	Name       string  `json:"name" parquet:"name"`
	NameBase64 *string `json:"name_base64" parquet:"name_base64,optional"`
	// Template is the name with {} in place of every index.
	Template string  `json:"template" parquet:"template,dict"`
	DType    *string `json:"dtype" parquet:"dtype,optional,dict"`
	// Shape has the slowest dimension first. It is empty for a scalar, and nil when it
	// is not known or a dimension is above 2^63-1.
	Shape    []int64 `json:"shape" parquet:"shape,optional,list"`
	Elements *int64  `json:"elements" parquet:"elements,optional"`
	Bytes    *int64  `json:"bytes" parquet:"bytes,optional"`
	// Offset is where the data begins, from the start of the file.
	Offset *int64 `json:"offset" parquet:"offset,optional"`
	// Digest is the SHA-256 of the data, where values were read.
	Digest *string `json:"digest" parquet:"digest,optional"`
}

// A ScannedFinding is a row of the table findings. See [Finding].
type ScannedFinding struct {
	ScannedFrom
	Rule     string `json:"rule" parquet:"rule,dict"`
	Name     string `json:"name" parquet:"name,dict"`
	Severity string `json:"severity" parquet:"severity,dict"`
	// Checkpoint and File are relative to the directory of the release where they are
	// below it.
	Checkpoint *string `json:"checkpoint" parquet:"checkpoint,optional,dict"`
	File       *string `json:"file" parquet:"file,optional,dict"`
	Line       *int64  `json:"line" parquet:"line,optional"`
	Column     *int64  `json:"column" parquet:"column,optional"`
	Offset     *int64  `json:"offset" parquet:"offset,optional"`
	// Tensor is a name, or a template with sets of numbers in braces.
	Tensor       *string `json:"tensor" parquet:"tensor,optional"`
	TensorBase64 *string `json:"tensor_base64" parquet:"tensor_base64,optional"`
	Count        int64   `json:"count" parquet:"count"`
	Message      string  `json:"message" parquet:"message"`
	Fixable      bool    `json:"fixable" parquet:"fixable"`
	Fingerprint  string  `json:"fingerprint" parquet:"fingerprint"`
}

// A ScannedStats is a row of the table stats: the figures of the values of a tensor. See
// [Figures]. All are nil where the tensor has none, and Error says why.
type ScannedStats struct {
	ScannedFrom
	Checkpoint    string   `json:"checkpoint" parquet:"checkpoint,dict"`
	File          *string  `json:"file" parquet:"file,optional,dict"`
	Name          string   `json:"name" parquet:"name"`
	NameBase64    *string  `json:"name_base64" parquet:"name_base64,optional"`
	DType         *string  `json:"dtype" parquet:"dtype,optional,dict"`
	Count         *int64   `json:"count" parquet:"count,optional"`
	Min           *float64 `json:"min" parquet:"min,optional"`
	Max           *float64 `json:"max" parquet:"max,optional"`
	Mean          *float64 `json:"mean" parquet:"mean,optional"`
	Std           *float64 `json:"std" parquet:"std,optional"`
	AbsMax        *float64 `json:"abs_max" parquet:"abs_max,optional"`
	L2            *float64 `json:"l2" parquet:"l2,optional"`
	Zeros         *int64   `json:"zeros" parquet:"zeros,optional"`
	Denormals     *int64   `json:"denormals" parquet:"denormals,optional"`
	NaN           *int64   `json:"nan" parquet:"nan,optional"`
	PosInf        *int64   `json:"pos_inf" parquet:"pos_inf,optional"`
	NegInf        *int64   `json:"neg_inf" parquet:"neg_inf,optional"`
	Distinct      *int64   `json:"distinct" parquet:"distinct,optional"`
	P1            *float64 `json:"p1" parquet:"p1,optional"`
	P5            *float64 `json:"p5" parquet:"p5,optional"`
	P25           *float64 `json:"p25" parquet:"p25,optional"`
	P50           *float64 `json:"p50" parquet:"p50,optional"`
	P75           *float64 `json:"p75" parquet:"p75,optional"`
	P95           *float64 `json:"p95" parquet:"p95,optional"`
	P99           *float64 `json:"p99" parquet:"p99,optional"`
	QuantileError *float64 `json:"quantile_error" parquet:"quantile_error,optional"`
	Fingerprint   *string  `json:"fingerprint" parquet:"fingerprint,optional"`
	Error         *string  `json:"error" parquet:"error,optional"`
}

// A Scanned is what [Scan] found of one input. Files and Tensors are sorted by file and
// name, Findings as those of [Check].
type Scanned struct {
	Release  ScannedRelease
	Files    []ScannedFile
	Findings []ScannedFinding
	// Tensors are made while they are walked over, as there may be half a million. They
	// can be until the next input is asked for.
	Tensors Seq[ScannedTensor]
	// Stats are empty unless values were read.
	Stats Seq[ScannedStats]
}

// below returns the path of what is below a directory, relative to it and with slashes;
// other paths as they are.
func below(dir, path string) string {
	if source.Scheme(dir) != "" {
		if rest, ok := strings.CutPrefix(path, strings.TrimSuffix(dir, "/")+"/"); ok {
			return rest
		}
		if path == dir {
			return "."
		}
		return path
	}
	rel, err := filepath.Rel(dir, path)
	if err != nil || !filepath.IsLocal(rel) {
		return path
	}
	return filepath.ToSlash(rel)
}

// fits is a number that a column holds, nil for one that it does not.
func fits(n uint64, known bool) *int64 { return optional(int64(n), known && n <= math.MaxInt64) }

// fits is the total where a column holds it, and nil elsewhere.
func (s Sum) fits() *int64 { return fits(s.N, !s.Overflow) }

// asUTF8 returns a name that any table holds, and the bytes of one that none does.
func asUTF8(s string) (string, *string) {
	raw := notUTF8(s)
	if raw == nil {
		return s, nil
	}
	text := base64.StdEncoding.EncodeToString(raw)
	return strings.ToValidUTF8(s, "\ufffd"), &text
}

// keyText returns a reference as text that any table holds: bytes that are not UTF-8 are as
// in Go strings, so that two references stay two.
func keyText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[0])
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

func shapeOf(dims []uint64) []int64 {
	if dims == nil {
		return nil
	}
	out := make([]int64, len(dims))
	for i, d := range dims {
		if d > math.MaxInt64 {
			return nil
		}
		out[i] = int64(d)
	}
	return out
}

// A tensorPlace is where a tensor is in a release.
type tensorPlace struct {
	checkpoint, index int32
	file              int32 // its place among the sorted files, -1 for none
	name              string
}

// A scannedRelease has what the rows of an open release are made of.
type scannedRelease struct {
	from ScannedFrom
	rel  *checkpoint.Release
	// paths are the checkpoints', and files those of the files of each.
	paths []string
	files [][]*string
	// places returns those of all tensors, in the order of the rows. They are found when rows
	// are made: until then the rules take memory.
	places func() []tensorPlace
	values *scannedValues // nil when they were not read
}

func newScannedRelease(from ScannedFrom, rel *checkpoint.Release) *scannedRelease {
	r := &scannedRelease{from: from, rel: rel}
	r.places = sync.OnceValue(r.findPlaces)
	for _, c := range rel.Checkpoints {
		path, _ := asUTF8(below(rel.Dir, c.Path))
		r.paths = append(r.paths, path)
		names := make([]*string, len(c.Files))
		for i, f := range c.Files {
			name, _ := asUTF8(below(rel.Dir, cmp.Or(f.Path, source.Join(c.Dir, f.Name))))
			names[i] = &name
		}
		r.files = append(r.files, names)
	}
	return r
}

// findPlaces sorts the tensors by file and name.
func (r *scannedRelease) findPlaces() []tensorPlace {
	var sorted []string
	total := 0
	for k, c := range r.rel.Checkpoints {
		for _, name := range r.files[k] {
			sorted = append(sorted, *name)
		}
		total += c.Len()
	}
	slices.Sort(sorted)
	places := make([]tensorPlace, 0, total)
	for k, c := range r.rel.Checkpoints {
		rank := make([]int32, len(c.Files))
		for i, name := range r.files[k] {
			at, _ := slices.BinarySearch(sorted, *name)
			rank[i] = int32(at)
		}
		for i, t := range c.All() {
			p := tensorPlace{checkpoint: int32(k), index: int32(i), file: -1, name: t.Name}
			if t.File >= 0 {
				p.file = rank[t.File]
			}
			places = append(places, p)
		}
	}
	slices.SortFunc(places, func(a, b tensorPlace) int {
		return cmp.Or(cmp.Compare(a.file, b.file), strings.Compare(a.name, b.name), cmp.Compare(a.checkpoint, b.checkpoint), cmp.Compare(a.index, b.index))
	})
	return places
}

// fileRows are the rows of the table files. Etag returns what a hub says of a file.
func (r *scannedRelease) fileRows(etag func(path string) string) []ScannedFile {
	var out []ScannedFile
	for k, c := range r.rel.Checkpoints {
		tensors := make([]int64, len(c.Files))
		for _, t := range c.All() {
			if t.File >= 0 {
				tensors[t.File]++
			}
		}
		for i, f := range c.Files {
			row := ScannedFile{
				ScannedFrom: r.from, Checkpoint: r.paths[k], File: *r.files[k][i], Format: string(c.Format),
				Tensors: tensors[i], Missing: f.Missing, Bytes: optional(f.Size, !f.Missing),
			}
			if f.Path != "" {
				row.ETag = some(etag(f.Path))
			}
			switch {
			case f.Err != nil:
				row.ErrorCode, row.Error = errorColumns(f.Err)
			case f.Missing:
				row.ErrorCode = some(checkpoint.CodeMissingShard)
			}
			out = append(out, row)
		}
	}
	slices.SortStableFunc(out, func(a, b ScannedFile) int {
		return cmp.Or(strings.Compare(a.File, b.File), strings.Compare(a.Checkpoint, b.Checkpoint))
	})
	return out
}

// tensorRows yields the rows of the table tensors.
func (r *scannedRelease) tensorRows(yield func(ScannedTensor) bool) {
	templates := make(map[string]string)
	var buf []byte
	for _, p := range r.places() {
		c := r.rel.Checkpoints[p.checkpoint]
		t := c.At(int(p.index))
		buf = template.Words.Append(buf[:0], t.Name)
		tm, ok := templates[string(buf)]
		if !ok {
			tm, _ = asUTF8(template.Words.Replace(t.Name, func(int, string) string { return "{}" }))
			templates[string(buf)] = tm
		}
		row := ScannedTensor{
			ScannedFrom: r.from, Checkpoint: r.paths[p.checkpoint], Template: tm, DType: some(t.DType), Shape: shapeOf(t.Shape),
			Bytes: fits(t.Bytes, t.BytesKnown), Offset: optional(t.Offset, t.Offset >= 0), Digest: r.values.digest(p),
		}
		row.Name, row.NameBase64 = asUTF8(t.Name)
		row.Elements = fits(t.Elements())
		if t.File >= 0 {
			row.File = r.files[p.checkpoint][t.File]
		}
		if !yield(row) {
			return
		}
	}
}

// findingRows are the rows of the table findings.
func (r *scannedRelease) findingRows(list []check.Finding) []ScannedFinding {
	found := newFindings(list)
	out := make([]ScannedFinding, len(found))
	relative := func(path *string) *string {
		if path == nil {
			return nil
		}
		rel, _ := asUTF8(below(r.rel.Dir, *path))
		return &rel
	}
	number := func(n *int) *int64 {
		if n == nil {
			return nil
		}
		wide := int64(*n)
		return &wide
	}
	for i, f := range found {
		out[i] = ScannedFinding{
			ScannedFrom: r.from, Rule: f.Rule, Name: f.Name, Severity: f.Severity.String(),
			Checkpoint: relative(f.Checkpoint), File: relative(f.File), Line: number(f.Line), Column: number(f.Column), Offset: f.Offset,
			Count: int64(f.Count), Message: strings.ToValidUTF8(f.Message, "\ufffd"), Fixable: f.Fixable, Fingerprint: f.Fingerprint,
		}
		if f.Tensor != nil {
			name, raw := asUTF8(*f.Tensor)
			out[i].Tensor, out[i].TensorBase64 = &name, raw
		}
	}
	return out
}
