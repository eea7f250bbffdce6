package inspect

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/compare"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/values"
)

// HashOptions adjust [Hash]. Nil options are the defaults.
type HashOptions struct {
	Select Selection
	// Algorithms are SHA256 and XXH64, nil for SHA256 alone.
	Algorithms []string
	// Manifest has the digests that [HashResult.Check] looks up. Its algorithms are
	// then those that are computed.
	Manifest *Manifest
	// Workers bounds how many tensors are worked on at once. 0 means GOMAXPROCS.
	Workers int
	// Progress is told how many bytes are done, by several goroutines at once.
	Progress func(done, total int64)
}

// A HashResult has the digests of the bytes of a set's tensors.
type HashResult struct {
	Checkpoints []HashedCheckpoint `json:"checkpoints"`
	Tensors     []TensorHash       `json:"tensors"`
	Faults      Seq[Fault]         `json:"faults"`
	// Algorithms are those that were computed.
	Algorithms []string `json:"-"`

	// wholes are files as a whole: their tensors one after the other.
	wholes   []TensorHash
	manifest *Manifest
	selected func(string) bool
}

// A HashedCheckpoint is a checkpoint with its content id, which is the same
// whatever the tensors are called and which files they are in.
type HashedCheckpoint struct {
	Path   string            `json:"path"`
	Format checkpoint.Format `json:"format"`
	// Revision is the commit of a repository that was read, absent elsewhere.
	Revision *string `json:"revision,omitempty"`
	// ContentID is nil when not every tensor was read, or no SHA-256 computed.
	ContentID *string `json:"content_id"`
}

// A TensorHash is a tensor with its digests.
type TensorHash struct {
	Tensor
	// Err says why there are none.
	Err error

	sha256     [32]byte
	xxh64      uint64
	algorithms []string
	section    values.Section
	tied       bool // its elements are those of another
}

// Digest returns a digest in hexadecimal, "" where it was not computed.
func (t *TensorHash) Digest(algorithm string) string {
	for _, a := range t.algorithms {
		switch {
		case a != algorithm || t.Err != nil:
		case a == SHA256:
			return hex.EncodeToString(t.sha256[:])
		case a == XXH64:
			return fmt.Sprintf("%016x", t.xxh64)
		}
	}
	return ""
}

type jsonHash struct {
	jsonName
	Bytes *uint64 `json:"bytes"`
	// File is relative to the directory of the checkpoint.
	File       *string `json:"file"`
	FileBase64 []byte  `json:"file_base64,omitempty"`
	// SHA256 and XXH64 are the digests that were asked for, in hexadecimal.
	SHA256 *digest `json:"sha256,omitempty"`
	XXH64  *digest `json:"xxh64,omitempty"`
	// Error says why there are none.
	Error       *string `json:"error"`
	ErrorBase64 []byte  `json:"error_base64,omitempty"`
}

// A digest is null where it was asked for and not found.
type digest string

// MarshalJSON implements [json.Marshaler].
func (d digest) MarshalJSON() ([]byte, error) { return json.Marshal(some(string(d))) }

// MarshalJSON implements [json.Marshaler].
func (t TensorHash) MarshalJSON() ([]byte, error) {
	j := jsonHash{jsonName: t.jsonName(), Bytes: optional(t.Bytes, t.BytesKnown), File: some(t.FileName), FileBase64: notUTF8(t.FileName)}
	for _, a := range t.algorithms {
		d := digest(t.Digest(a))
		switch a {
		case SHA256:
			j.SHA256 = &d
		case XXH64:
			j.XXH64 = &d
		}
	}
	j.Error, j.ErrorBase64 = errorText(t.Err)
	return render.Marshal(j)
}

// Hash reads the bytes of tensors and finds their digests. What is wrong with one
// tensor is in its row; an error means that ctx ended, or that the options make no
// sense.
func Hash(ctx context.Context, set *Set, opts *HashOptions) (*HashResult, error) {
	if opts == nil {
		opts = new(HashOptions)
	}
	selected, err := opts.Select.Compile()
	if err != nil {
		return nil, err
	}
	r := &HashResult{Tensors: []TensorHash{}, Faults: set.Faults(), manifest: opts.Manifest, selected: selected}
	wanted := opts.Algorithms
	if wanted == nil {
		wanted = []string{SHA256}
	}
	if m := opts.Manifest; m != nil {
		wanted = nil
		if m.has(SHA256) || m.has(ContentID) {
			wanted = append(wanted, SHA256)
		}
		if m.has(XXH64) {
			wanted = append(wanted, XXH64)
		}
	}
	run := values.Options{Workers: opts.Workers}
	for _, a := range wanted {
		switch a {
		case SHA256:
			run.SHA256 = true
		case XXH64:
			run.XXH64 = true
		default:
			return nil, fmt.Errorf("algorithm %q: must be one of: %s, %s", a, SHA256, XXH64)
		}
	}
	if run.SHA256 {
		r.Algorithms = append(r.Algorithms, SHA256)
	}
	if run.XXH64 {
		r.Algorithms = append(r.Algorithms, XXH64)
	}
	for i, t := range selectedTensors(set, selected) {
		one := TensorHash{Tensor: t, algorithms: r.Algorithms}
		// A digest is of the bytes, whatever they are.
		data, err := set.Checkpoints[t.Checkpoint].Data(i)
		one.section, one.Err = values.Section{Name: t.Name, Data: data}, err
		_, one.tied = set.Checkpoints[t.Checkpoint].TiedTo(i)
		r.Tensors = append(r.Tensors, one)
	}
	if opts.Manifest != nil {
		r.addWholes(set, opts.Manifest)
	}
	if err := r.read(ctx, set, run, opts.Progress); err != nil {
		return nil, err
	}
	r.identify(set, run.SHA256)
	return r, nil
}

// addWholes takes in the files that a manifest has a digest of as a whole.
func (r *HashResult) addWholes(set *Set, m *Manifest) {
	for k, c := range set.Checkpoints {
		parts := make([][]values.Section, len(c.Files))
		for i, t := range c.All() {
			if t.File < 0 {
				continue
			}
			if data, err := c.Data(i); err == nil {
				parts[t.File] = append(parts[t.File], values.Section{Name: t.Name, Data: data})
			}
		}
		for i, f := range c.Files {
			if m.hasWhole(f.Name) && f.Err == nil && !f.Missing {
				one := TensorHash{algorithms: r.Algorithms, section: compare.Join(f.Name, parts[i])}
				one.Checkpoint, one.File, one.FileName = k, i, f.Name
				r.wholes = append(r.wholes, one)
			}
		}
	}
}

// read reads everything once.
func (r *HashResult) read(ctx context.Context, set *Set, run values.Options, progress func(done, total int64)) error {
	var (
		sections []values.Section
		of       []*TensorHash
		total    int64
	)
	for t := range r.hashed() {
		if t.Err == nil {
			sections, of = append(sections, t.section), append(of, t)
			total += t.section.Data.Size()
		}
	}
	reach := newReach(ctx)
	for _, t := range of {
		reach.add(set.Checkpoints[t.Checkpoint], &t.Tensor.Tensor, 1)
	}
	if err := reach.allow(); err != nil {
		return err
	}
	run.Progress = counter(progress, total)
	return values.Run(ctx, sections, run, func(i int, res *values.Result) error {
		t := of[i]
		t.Err = inFile(set.Checkpoints[t.Checkpoint], t.File, res.Err)
		t.sha256, t.xxh64 = res.SHA256, res.XXH64
		return nil
	})
}

// hashed yields the tensors and the files as a whole.
func (r *HashResult) hashed() func(yield func(*TensorHash) bool) {
	return func(yield func(*TensorHash) bool) {
		for _, list := range [][]TensorHash{r.Tensors, r.wholes} {
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
	}
}

// Errors returns what could not be read, tensors and files that a manifest has as
// a whole.
func (r *HashResult) Errors() []error {
	var out []error
	for t := range r.hashed() {
		if t.Err != nil {
			out = append(out, t.Err)
		}
	}
	return out
}

// identify finds the content id of every checkpoint of which all is known.
func (r *HashResult) identify(set *Set, known bool) {
	digests, read := make([][]values.TensorDigest, len(set.Checkpoints)), make([]int, len(set.Checkpoints))
	for i := range r.Tensors {
		t := &r.Tensors[i]
		if t.Err != nil {
			continue
		}
		read[t.Checkpoint]++
		// What another tensor's elements are is not there twice: files that are made of these
		// have it once.
		if !t.tied {
			digests[t.Checkpoint] = append(digests[t.Checkpoint], values.TensorDigest{DType: t.DType, Shape: t.Shape, SHA256: t.sha256})
		}
	}
	r.Checkpoints = []HashedCheckpoint{}
	for k, c := range set.Checkpoints {
		one := HashedCheckpoint{Path: c.Path, Format: c.Format, Revision: some(c.Revision)}
		if known && read[k] == c.Len() && whole(c) {
			sum := values.ContentID(digests[k])
			one.ContentID = some(hex.EncodeToString(sum[:]))
		}
		r.Checkpoints = append(r.Checkpoints, one)
	}
}

// whole reports whether every file of a checkpoint could be read.
func whole(c *checkpoint.Checkpoint) bool {
	for _, f := range c.Files {
		if f.Missing || f.Err != nil {
			return false
		}
	}
	return true
}
