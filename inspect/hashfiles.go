package inspect

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/values"
)

// HashFilesOptions adjust [HashFiles]. Nil options are the defaults.
type HashFilesOptions struct {
	// Workers bounds how many files are read at once. 0 means GOMAXPROCS.
	Workers int
	// Progress is told how many bytes are done, by several goroutines at once.
	Progress func(done, total int64)
}

// A FilesResult has the SHA-256 of a set's files of weights, as sha256sum finds them.
type FilesResult struct {
	Checkpoints []CheckpointName `json:"checkpoints"`
	Files       []FileHash       `json:"files"`
	Faults      Seq[Fault]       `json:"faults"`
}

// A FileHash is a file with its digest.
type FileHash struct {
	// Checkpoint is the index in the set's Checkpoints.
	Checkpoint int
	// Path is relative to the directory of the release, or as it was given.
	Path string
	// Bytes is the size, meaningful where there is a digest.
	Bytes int64
	// SHA256 is in hexadecimal, "" where Err says why there is none.
	SHA256 string
	// Listed says that the digest is the one that the hub lists, and that the file was not
	// read.
	Listed bool
	Err    error

	file *checkpoint.File
}

type jsonFileHash struct {
	// Checkpoint is the index in checkpoints.
	Checkpoint int `json:"checkpoint"`
	// File is relative to the directory of the release, or as it was given.
	File       string  `json:"file"`
	FileBase64 []byte  `json:"file_base64,omitempty"`
	Bytes      *int64  `json:"bytes"`
	SHA256     *string `json:"sha256"`
	// Listed says that the digest is the one that the hub lists, and that the file was not
	// read.
	Listed bool `json:"listed"`
	// Error says why there is no digest.
	Error       *string `json:"error"`
	ErrorBase64 []byte  `json:"error_base64,omitempty"`
}

// MarshalJSON implements [json.Marshaler].
func (f FileHash) MarshalJSON() ([]byte, error) {
	j := jsonFileHash{
		Checkpoint: f.Checkpoint, File: f.Path, FileBase64: notUTF8(f.Path), Bytes: optional(f.Bytes, f.Err == nil), SHA256: some(f.SHA256), Listed: f.Listed,
	}
	j.Error, j.ErrorBase64 = errorText(f.Err)
	return render.Marshal(j)
}

// HashFiles finds the SHA-256 of files of weights as a whole. Where a hub lists it, the
// file is not read. What is wrong with one file is in its row; an error means that ctx
// ended, or that too much would be read of other machines.
func HashFiles(ctx context.Context, set *Set, opts *HashFilesOptions) (*FilesResult, error) {
	if opts == nil {
		opts = new(HashFilesOptions)
	}
	r := &FilesResult{Checkpoints: names(set.Checkpoints), Files: []FileHash{}, Faults: set.Faults()}
	k := 0
	for _, release := range set.Releases {
		for _, c := range release.Checkpoints {
			for _, f := range c.Files {
				one := FileHash{Checkpoint: k, Path: f.Name, file: f}
				if f.Path == release.Path && source.Scheme(f.Path) == "" {
					one.Path = f.Path
				} else if rel, err := filepath.Rel(release.Dir, f.Path); err == nil && f.Path != "" {
					one.Path = filepath.ToSlash(rel)
				}
				one.find(ctx, c)
				r.Files = append(r.Files, one)
			}
			k++
		}
	}
	return r, r.read(ctx, set, opts)
}

// find takes the digest that a hub lists.
func (h *FileHash) find(ctx context.Context, c *checkpoint.Checkpoint) {
	switch {
	case h.file.Missing:
		h.Err = fmt.Errorf("%s: the file is missing", h.file.Path)
		return
	case h.file.Err != nil:
		h.Err = plainError(h.file.Err)
		return
	}
	var err error
	if h.Bytes, h.SHA256, err = listed(ctx, h.file); err != nil {
		h.Err = plainError(err)
		return
	}
	h.Listed = h.SHA256 != ""
}

// listed returns the size of a file and the SHA-256 that a hub lists, "" where none does.
func listed(ctx context.Context, f *checkpoint.File) (size int64, digest string, err error) {
	fi, err := source.Stat(ctx, f.Path)
	if err != nil {
		return 0, "", err
	}
	if e, ok := fi.Sys().(*source.Entry); ok {
		digest = e.SHA256
	}
	return fi.Size(), digest, nil
}

// read reads the files that have no digest yet.
func (r *FilesResult) read(ctx context.Context, set *Set, opts *HashFilesOptions) error {
	var (
		sections []values.Section
		of       []*FileHash
		total    int64
	)
	reach := newReach(ctx)
	for i := range r.Files {
		h := &r.Files[i]
		if h.Err != nil || h.Listed {
			continue
		}
		src, err := source.Open(ctx, h.file.Path)
		if err != nil {
			h.Err = plainError(err)
			continue
		}
		defer src.Close()
		h.Bytes = src.Size()
		reach.addFile(set.Checkpoints[h.Checkpoint], h.file, float64(h.Bytes))
		sections, of = append(sections, values.Section{Name: h.Path, Data: io.NewSectionReader(src, 0, h.Bytes)}), append(of, h)
		total += h.Bytes
	}
	if err := reach.allow(); err != nil {
		return err
	}
	run := values.Options{Workers: opts.Workers, SHA256: true, Progress: counter(opts.Progress, total)}
	return values.Run(ctx, sections, run, func(i int, res *values.Result) error {
		if res.Err != nil {
			of[i].Err = fmt.Errorf("%s: %w", of[i].file.Path, res.Err)
		} else {
			of[i].SHA256 = hex.EncodeToString(res.SHA256[:])
		}
		return nil
	})
}

// Errors returns what could not be read. Files that are missing are among the gaps of the
// set.
func (r *FilesResult) Errors() []error {
	var out []error
	for i := range r.Files {
		if h := &r.Files[i]; h.Err != nil && !h.file.Missing && h.file.Err == nil {
			out = append(out, h.Err)
		}
	}
	return out
}

// Listed counts the files of a checkpoint whose digests are those that the hub lists.
func (r *FilesResult) Listed(checkpoint int) int {
	n := 0
	for i := range r.Files {
		if r.Files[i].Checkpoint == checkpoint && r.Files[i].Listed {
			n++
		}
	}
	return n
}
