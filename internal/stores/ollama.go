package stores

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/rename/template"
	"github.com/wtinspect/wtinspect/safetensors"
)

// Ollama is the store of Ollama: manifests, which name blobs by their digests. Source:
// ollama, manifest/manifest.go and manifest/paths.go.
type Ollama struct{ Dir string }

// What a name means that has no host and no namespace. Source: ollama,
// types/model/name.go (MaskDefault).
const (
	ollamaHost      = "registry.ollama.ai"
	ollamaNamespace = "library"
)

// An OllamaName is a model with its tag.
type OllamaName struct {
	// ID is [[HOST/]NAMESPACE/]MODEL.
	ID, Tag string
}

func (n OllamaName) String() string { return n.ID + ":" + n.Tag }

func (n OllamaName) parts() []string {
	id := strings.Split(n.ID, "/")
	full := append([]string{ollamaHost, ollamaNamespace}[:max(0, 3-len(id))], id...)
	return append(full, n.Tag)
}

// An OllamaModel is a model of the store, as a directory: its layers with names that
// say what they are.
type OllamaModel struct {
	*source.Listing
	blobs map[string]string // local paths
	texts map[string][]byte // what is made of layers
}

// ollamaLayer is a layer of a manifest. Source: ollama, manifest/layer.go.
type ollamaLayer struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
	Name      string `json:"name"`
}

// ollamaFiles are the layers that are one file each, which have no name. Those of
// tensors and of JSON documents have one. Source: ollama, server/images.go (GetModel)
// and x/create/writer.go.
var ollamaFiles = map[string]string{
	"application/vnd.ollama.image.model":     "model.gguf",
	"application/vnd.ollama.image.projector": "mmproj.gguf",
	"application/vnd.ollama.image.adapter":   "adapter.gguf",
}

const (
	ollamaTensor = "application/vnd.ollama.image.tensor"
	ollamaJSON   = "application/vnd.ollama.image.json"
)

// Model finds a model. The names in upper and lower case are the same.
func (o *Ollama) Model(ctx context.Context, name OllamaName) (*OllamaModel, error) {
	manifest := o.manifest(ctx, name)
	if manifest == "" {
		return nil, o.notPulled(ctx, name)
	}
	data, err := source.ReadFile(ctx, manifest, source.Document)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Layers []ollamaLayer `json:"layers"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: not a manifest of Ollama: %w", manifest, err)
	}
	m := &OllamaModel{blobs: make(map[string]string), texts: make(map[string][]byte)}
	var entries []source.Entry
	add := func(name string, l ollamaLayer) {
		_, sum, _ := strings.Cut(l.Digest, ":")
		entries = append(entries, source.Entry{Path: name, Size: max(0, l.Size), SHA256: sum})
		m.blobs[name] = o.blob(ctx, sum)
	}
	taken := make(map[string]int)
	indexed := make(map[string]*ollamaIndex) // by directory
	for _, l := range doc.Layers {
		if sum, ok := strings.CutPrefix(l.Digest, "sha256:"); !ok || !IsSHA256(sum) {
			continue
		}
		file := ollamaFiles[l.MediaType]
		switch {
		case file != "":
			// A model may have several adapters.
			if taken[file]++; taken[file] > 1 {
				stem, ext, _ := strings.Cut(file, ".")
				file = fmt.Sprintf("%s-%d.%s", stem, taken[file], ext)
			}
			add(file, l)
		case l.MediaType == ollamaJSON && l.Name != "":
			add(l.Name, l)
		case l.MediaType == ollamaTensor && l.Name != "":
			file = l.Name + ".safetensors"
			add(file, l)
			if err := addNames(ctx, indexed, file, m.blobs[file]); err != nil {
				return nil, err
			}
		}
	}
	for dir, ix := range indexed {
		text, err := json.Marshal(ix)
		if err != nil {
			return nil, err
		}
		index := path.Join(dir, "model.safetensors.index.json")
		if m.blobs[index] == "" {
			entries = append(entries, source.Entry{Path: index, Size: int64(len(text))})
			m.texts[index] = text
		}
	}
	m.Listing = source.NewListing(entries)
	return m, nil
}

// blob returns the path of a blob. Older versions wrote sha256:HEX.
func (o *Ollama) blob(ctx context.Context, sum string) string {
	path := filepath.Join(o.Dir, "blobs", "sha256-"+sum)
	if old := filepath.Join(o.Dir, "blobs", "sha256:"+sum); !source.Exists(ctx, path) && source.Exists(ctx, old) {
		return old
	}
	return path
}

// An ollamaIndex is the index of a model that is kept tensor by tensor.
type ollamaIndex struct {
	Metadata struct {
		TotalSize uint64 `json:"total_size"`
	} `json:"metadata"`
	Weights map[string]string `json:"weight_map"`
}

// addNames notes which tensors a layer has: Ollama keeps a tensor, or a few that belong
// together, in a safetensors file, and what makes one model of them is the manifest.
func addNames(ctx context.Context, indexed map[string]*ollamaIndex, file, blob string) error {
	dir, base := path.Split(file)
	if indexed[dir] == nil {
		indexed[dir] = &ollamaIndex{Weights: make(map[string]string)}
	}
	ix := indexed[dir]
	src, err := source.Open(ctx, blob)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		ix.Weights[strings.TrimSuffix(base, ".safetensors")] = base
		return nil
	}
	defer src.Close()
	f, err := safetensors.NewFile(src, src.Size())
	if err != nil { // whoever opens the file says it
		ix.Weights[strings.TrimSuffix(base, ".safetensors")] = base
		return nil
	}
	for _, t := range f.All() {
		ix.Weights[t.Name] = base
		if t.End >= t.Begin {
			ix.Metadata.TotalSize += t.End - t.Begin
		}
	}
	return nil
}

// Open opens a file of the model.
func (m *OllamaModel) Open(ctx context.Context, name string) (source.Source, error) {
	if text, ok := m.texts[name]; ok {
		return source.Bytes(name, text), nil
	}
	blob, entry := m.blobs[name], m.File(name)
	if blob == "" || entry == nil {
		return nil, fs.ErrNotExist
	}
	src, err := source.Open(ctx, blob)
	if err != nil {
		return nil, err
	}
	if err := verify(src, entry); err != nil {
		src.Close()
		return nil, err
	}
	return src, nil
}

// verify compares a blob with what the manifest says of it: the size, and for a document,
// which is read whole anyway, the digest.
func verify(src source.Source, entry *source.Entry) error {
	if src.Size() != entry.Size {
		return fmt.Errorf("the manifest says that it has %d bytes, and the blob has %d; `ollama pull` repairs it", entry.Size, src.Size())
	}
	const most = 16 << 20
	if path.Ext(entry.Path) != ".json" || entry.Size > most {
		return nil
	}
	text := make([]byte, entry.Size)
	if err := source.ReadFull(src, text, 0); err != nil {
		return err
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != entry.SHA256 {
		return fmt.Errorf("its SHA-256 is not the one in the manifest, sha256:%s; `ollama pull` repairs it", entry.SHA256)
	}
	return nil
}

// manifest returns the path of a model's manifest, "" when there is none.
func (o *Ollama) manifest(ctx context.Context, name OllamaName) string {
	at := filepath.Join(o.Dir, "manifests")
	for _, part := range name.parts() {
		next := local(at, part)
		if next == "" {
			return ""
		}
		if !source.Exists(ctx, next) {
			entries, err := source.ReadDir(ctx, at)
			i := slices.IndexFunc(entries, func(e fs.DirEntry) bool { return strings.EqualFold(e.Name(), part) })
			if err != nil || i < 0 {
				return ""
			}
			next = filepath.Join(at, entries[i].Name())
		}
		at = next
	}
	if fi, err := source.Stat(ctx, at); err != nil || !fi.Mode().IsRegular() {
		return ""
	}
	return at
}

// Names lists the models of the store, each with its tags.
func (o *Ollama) Names(ctx context.Context) []OllamaName {
	var list []OllamaName
	var walk func(dir string, parts []string)
	walk = func(dir string, parts []string) {
		entries, err := source.ReadDir(ctx, dir)
		if err != nil {
			return
		}
		for _, e := range entries {
			all := append(slices.Clip(parts), e.Name())
			switch {
			case strings.HasPrefix(e.Name(), "."):
			case e.IsDir() && len(all) < 4:
				walk(filepath.Join(dir, e.Name()), all)
			case !e.IsDir() && len(all) == 4:
				list = append(list, OllamaName{ID: shortest(all[:3]), Tag: e.Name()})
			}
		}
	}
	walk(filepath.Join(o.Dir, "manifests"), nil)
	slices.SortFunc(list, func(a, b OllamaName) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Tag, b.Tag)) })
	return list
}

func shortest(parts []string) string {
	for _, known := range []string{ollamaHost, ollamaNamespace} {
		if parts[0] != known {
			break
		}
		parts = parts[1:]
	}
	return strings.Join(parts, "/")
}

// notPulled is the error for a model that the store lacks.
func (o *Ollama) notPulled(ctx context.Context, name OllamaName) error {
	known := o.Names(ctx)
	if len(known) == 0 {
		return fmt.Errorf("not in the store of Ollama: %s has no models; OLLAMA_MODELS names another directory", o.Dir)
	}
	var ids, tags []string
	for _, n := range known {
		ids = append(ids, n.ID)
		if strings.EqualFold(n.ID, name.ID) {
			tags = append(tags, n.Tag)
		}
	}
	hint := template.DidYouMean(name.ID, slices.Compact(ids))
	if len(tags) > 0 {
		hint = "; the model's tags there are " + strings.Join(tags, ", ")
	}
	return fmt.Errorf("not in the store of Ollama, %s%s; `ollama pull %s` downloads it", o.Dir, hint, name)
}
