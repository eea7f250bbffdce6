package fix

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/jsondoc"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/safetensors"
)

// rewriteIndex writes the index of a checkpoint to path. The checkpoint was
// opened before other fixes changed names and files.
func rewriteIndex(ctx context.Context, old *checkpoint.Checkpoint, path string, totalsOnly bool) error {
	ref := old.Path
	if old.IndexFault(ctx) != nil {
		ref = filepath.Join(old.Dir, setPattern(old.Files[0].Name))
	}
	rel, err := checkpoint.Open(ctx, ref, nil)
	if err != nil {
		return err
	}
	defer rel.Close()
	if len(rel.Checkpoints) != 1 {
		return fmt.Errorf("%s: several checkpoints, where one is needed", old.Path)
	}
	return replaceIndex(ctx, path, !totalsOnly, func() ([]byte, error) {
		return newIndex(ctx, rel.Checkpoints[0], old.Config, path, totalsOnly)
	})
}

// replaceIndex gives an index new content, or makes one. keep puts the old one
// aside. The new content is made when it is known which file it replaces: another
// that takes its name meanwhile is not.
func replaceIndex(ctx context.Context, file string, keep bool, content func() ([]byte, error)) error {
	tx, err := txn.Begin(txn.OS{}, filepath.Dir(file))
	if err != nil {
		return err
	}
	name := filepath.Base(file)
	s := &txn.Swap{Name: name}
	old, err := tx.Dir().Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	case err == nil && old.Mode&fs.ModeSymlink != 0:
		err = fmt.Errorf("%s: a symbolic link; write elsewhere with -o", file)
	case err == nil:
		s.Old = old
		if keep {
			s.Keep, err = freeAside(tx.Dir(), name)
		}
	}
	var data []byte
	if err == nil {
		data, err = content()
	}
	if err != nil {
		return errors.Join(err, tx.Abort())
	}
	s.Size, s.Head, s.Sum, s.Begin = int64(len(data)), int64(len(data)), sha256.Sum256(data), data
	s.Write = func(_ context.Context, dir txn.Dir, temp string) error { return writeIndex(dir, name, temp, data) }
	return tx.Commit(ctx, &txn.Changes{Swaps: []*txn.Swap{s}})
}

// writeIndex writes an index under a temporary name, with the owner and the
// permissions of the one that has the name now.
func writeIndex(dir txn.Dir, name, temp string, data []byte) error {
	f, err := txn.Open(dir, temp, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	err = txn.WriteFull(f, data, 0)
	if old, operr := txn.Open(dir, name, 0, 0); operr == nil {
		err = errors.Join(err, f.Adopt(old), old.Close())
	}
	return errors.Join(err, txn.Sync(f), f.Close())
}

// freeAside returns a name for a file that is put aside.
func freeAside(dir txn.Dir, name string) (string, error) {
	for n := 1; ; n++ {
		to := path.Join(txn.AsideName, fmt.Sprintf("%s.%d", name, n))
		if _, err := dir.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			return to, nil
		} else if err != nil {
			return "", err
		}
	}
}

// setPattern returns the pattern of a set, by which it is opened without its
// index.
func setPattern(shard string) string {
	end := strings.LastIndex(shard, "-of-")
	if end < 0 {
		return shard
	}
	return strings.TrimRight(shard[:end], "0123456789") + "*" + shard[end:]
}

// totals returns what an index says of a checkpoint: the bytes of the tensors,
// each name once, and the parameters.
func totals(c *checkpoint.Checkpoint, cfg *checkpoint.Config) (size, parameters uint64, err error) {
	for i, t := range c.All() {
		if first, _ := c.Lookup(t.Name); first != i {
			return 0, 0, fmt.Errorf("%s: two tensors are named %q; an index cannot hold both", c.Path, t.Name)
		}
		if !t.BytesKnown {
			return 0, 0, fmt.Errorf("%s: the size of tensor %q is not known", c.Path, t.Name)
		}
		size += t.Bytes
	}
	parameters, _ = c.Parameters(cfg)
	return size, parameters, nil
}

// newIndex returns the text of an index for the files of a checkpoint. What the
// old one has beside the totals and the map stays.
func newIndex(ctx context.Context, c *checkpoint.Checkpoint, cfg *checkpoint.Config, path string, totalsOnly bool) ([]byte, error) {
	for _, f := range c.Files {
		if f.Err != nil || f.Missing {
			return nil, fmt.Errorf("%s: missing or broken, and an index has to name every tensor", f.Path)
		}
	}
	size, parameters, err := totals(c, cfg)
	if err != nil {
		return nil, err
	}
	old, err := source.ReadFile(ctx, path, source.Index)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if totalsOnly {
		if doc, err := jsondoc.Parse(path, old); err == nil {
			return correctTotals(doc, size, parameters)
		}
	}
	metadata := map[string]json.RawMessage{}
	if ix, err := safetensors.ReadIndex(bytes.NewReader(old)); err == nil {
		for _, member := range ix.Metadata() {
			metadata[member.Key] = json.RawMessage(member.Value)
		}
	}
	if _, ok := metadata["total_parameters"]; ok {
		metadata["total_parameters"] = fmt.Appendf(nil, "%d", parameters)
	}
	metadata["total_size"] = fmt.Appendf(nil, "%d", size)
	weights := make(map[string]string, c.Len())
	for _, t := range c.All() {
		weights[t.Name] = c.Files[t.File].Name
	}
	// As transformers writes it: sorted keys, two spaces, a newline at the end.
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err = e.Encode(map[string]any{"metadata": metadata, "weight_map": weights})
	return b.Bytes(), err
}

// correctTotals replaces the totals of an index and no other byte.
func correctTotals(doc *jsondoc.Doc, size, parameters uint64) ([]byte, error) {
	metadata, ok := doc.Lookup("metadata")
	if !ok || metadata.Kind() != jsondoc.Object {
		if ok {
			return doc.Apply(jsondoc.Replace(metadata, fmt.Appendf(nil, `{"total_size": %d}`, size)))
		}
		return doc.Apply(jsondoc.Insert(doc.Root(), "metadata", fmt.Appendf(nil, `{"total_size": %d}`, size)))
	}
	var edits []jsondoc.Edit
	if n, ok := metadata.Lookup("total_size"); ok {
		edits = append(edits, jsondoc.Replace(n, fmt.Appendf(nil, "%d", size)))
	} else {
		edits = append(edits, jsondoc.Insert(metadata, "total_size", fmt.Appendf(nil, "%d", size)))
	}
	if n, ok := metadata.Lookup("total_parameters"); ok {
		edits = append(edits, jsondoc.Replace(n, fmt.Appendf(nil, "%d", parameters)))
	}
	return doc.Apply(edits...)
}
