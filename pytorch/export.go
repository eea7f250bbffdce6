package pytorch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/ziparchive"
)

// An archive of torch.export (torch/export/pt2_archive, spec of torch 2.8 and newer) has no pickle of its tensors: each model has a
// JSON document that says in which member the bytes of each tensor are, and as which view of them
// (torch/csrc/export/pt2_archive_constants.h; torch/_export/serde/schema.py, PayloadConfig).
const (
	exportFormat  = "archive_format"
	exportWeights = "data/weights/"
	exportConsts  = "data/constants/"
	exportInputs  = "data/sample_inputs/"
	exportModels  = "models/"

	weightsConfig = "_weights_config.json"
	constsConfig  = "_constants_config.json"

	// maxExport bounds the documents, which have some 350 bytes for a tensor.
	maxExport = 64 << 20
)

// exportDTypes are the numbers of torch/_export/serde/schema.py, ScalarType, which are not those of c10.
var exportDTypes = map[int]DType{
	1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
	9: "complex32", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16",
	29: "float8_e4m3fn", 30: "float8_e5m2", 31: "float8_e4m3fnuz", 32: "float8_e5m2fnuz",
}

// exportStrided is the layout of tensors that are runs of numbers.
const exportStrided = 7

// exportPayload is a PayloadMeta.
type exportPayload struct {
	Path   string `json:"path_name"`
	Pickle bool   `json:"use_pickle"`
	Meta   *struct {
		DType   int         `json:"dtype"`
		Sizes   []exportInt `json:"sizes"`
		Strides []exportInt `json:"strides"`
		Offset  exportInt   `json:"storage_offset"`
		Layout  int         `json:"layout"`
	} `json:"tensor_meta"`
}

// exportInt is a SymInt. Weights have numbers; an expression has none here.
type exportInt struct {
	Int *uint64 `json:"as_int"`
}

// isExportPart reports whether torch.export loads a member, by its name below the archive's directory, as a file of
// torch.save or a pickle of its own.
func isExportPart(name []byte) bool {
	return slices.ContainsFunc([]string{exportWeights, exportConsts, exportInputs}, func(dir string) bool { return bytes.HasPrefix(name, []byte(dir)) })
}

// Export reports whether the file is an archive of torch.export, which has a graph beside the weights.
func (f *File) Export() bool { return f.export }

// openExport reads the archive as one of torch.export, and returns false for any other one.
func (f *File) openExport(a *ziparchive.Archive) (bool, error) {
	format, err := f.record(a, exportFormat)
	if _, broken := err.(*ziparchive.Fault); broken || err == nil && strings.TrimSpace(format) != "pt2" {
		return false, f.olderExport(a)
	}
	if err != nil {
		return false, err
	}
	f.export = true
	e := exported{f: f, members: make(map[string]*Storage)}
	if err := a.Scan(e.member); err != nil {
		return true, archiveFault(err)
	}
	if len(e.configs) == 0 {
		if e.legacy != "" {
			return true, newFault(CodeNotTorch, -1, "", "an archive of torch.export of torch 2.7: unpack its weights, %s, which are a file of torch.save", quote(e.legacy))
		}
		return true, newFault(CodeNotTorch, -1, "", "an archive of torch.export without weights that are listed: compiled code, or a model without any")
	}
	root := &Dict{}
	e.left = spareMemory + memoryPerByte*int(e.size)
	for _, c := range e.configs {
		if err := e.read(a, c); err != nil {
			return true, err
		}
		in := root
		if e.models() > 1 {
			in = part(root, c.model)
		}
		if c.dir == exportConsts && len(c.items) > 0 { // as TorchScript calls them
			in = part(in, "CONSTANTS")
		}
		in.Items = append(in.Items, c.items...)
	}
	f.root, f.storages = root, []pieced[Storage]{e.storages}
	f.memory = spareMemory/2 + memoryPerByte*int(e.size)
	return true, nil
}

// part returns the dictionary at a key, made where there is none.
func part(in *Dict, key string) *Dict {
	if d, ok := lookup[*Dict](in, key); ok {
		return d
	}
	d := &Dict{}
	in.Items = append(in.Items, Item{key, d})
	return d
}

// olderExport says what an archive of an earlier torch.export is, nil for any other one (torch/export/__init__.py, save, until
// version 2.7).
func (f *File) olderExport(a *ziparchive.Archive) error {
	for _, name := range []string{"serialized_state_dict.pt", "serialized_state_dict.json"} {
		if has(a, name) && has(a, "serialized_exported_program.json") {
			return newFault(CodeNotTorch, -1, "", "an archive of torch.export of a torch before 2.8: unpack its weights, %s, which are a file of torch.save", name)
		}
	}
	return nil
}

// exported is what is known of an archive of torch.export while it is read.
type exported struct {
	f        *File
	room     arena
	storages pieced[Storage]
	members  map[string]*Storage // by their names below the archive's directory
	configs  []*exportConfig
	legacy   string // the weights as torch 2.7 wrote them
	size     uint64 // of the documents
	left     int    // of what may be made of them
}

// An exportConfig is a document that says where tensors are.
type exportConfig struct {
	member     ziparchive.Member
	dir, model string
	items      []Item
}

// models returns how many models there are.
func (e *exported) models() int {
	names := make(map[string]bool)
	for _, c := range e.configs {
		names[c.model] = true
	}
	return len(names)
}

// member notes a member of the archive.
func (e *exported) member(name []byte, m *ziparchive.Member) error {
	rest, ok := bytes.CutPrefix(name, []byte(e.f.prefix))
	if !ok {
		return nil
	}
	for _, c := range []struct{ dir, suffix string }{{exportWeights, weightsConfig}, {exportConsts, constsConfig}} {
		own, ok := bytes.CutPrefix(rest, []byte(c.dir))
		if !ok || len(own) == 0 {
			continue
		}
		if model, ok := bytes.CutSuffix(own, []byte(c.suffix)); ok {
			most := uint64(maxExport)
			if m.Method != ziparchive.Stored {
				most = min(most, ziparchive.Inflated(m.Packed))
			}
			if m.Size > most || e.size > maxExport-m.Size {
				return newFault(CodeLimit, m.Header, "", "member %s has %d bytes, and at most %d are read of what says where tensors are", quote(name), m.Size, most)
			}
			e.size += m.Size
			one := *m
			one.Name = string(name)
			e.configs = append(e.configs, &exportConfig{member: one, dir: c.dir, model: string(model)})
			return nil
		}
		if c.dir == exportWeights && bytes.HasSuffix(own, []byte(".pt")) {
			e.legacy = string(name)
		}
		key := strings.TrimPrefix(string(rest), "data/")
		if s := e.members[key]; s != nil {
			s.twice = true
			return nil
		}
		kind, _ := e.room.kind(StorageKind{Elements: m.Size})
		s := e.storages.add(Storage{Key: key, StorageKind: kind, at: m.Header, size: m.Size, plain: m.Method == ziparchive.Stored, id: uint32(e.storages.n)})
		if s.plain && m.CRC != 0 {
			s.crc, s.summed = m.CRC, true
		}
		e.members[key] = s
	}
	return nil
}

// read reads a document: an object with the key config, whose value has tensors by their names.
func (e *exported) read(a *ziparchive.Archive, c *exportConfig) error {
	broken := func(err error) error {
		return newFault(CodeBadMetadata, c.member.Header, "", "member %s is not what torch.export writes: %v", quote(c.member.Name), err)
	}
	r, _, err := a.Reader(&c.member)
	if err != nil {
		return archiveFault(err)
	}
	d := json.NewDecoder(io.LimitReader(r, maxExport))
	if err := begin(d); err != nil {
		return broken(err)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return broken(err)
		}
		if key != "config" {
			var other json.RawMessage
			if err := d.Decode(&other); err != nil {
				return broken(err)
			}
			continue
		}
		if err := begin(d); err != nil {
			return broken(err)
		}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return broken(err)
			}
			var p exportPayload
			if err := d.Decode(&p); err != nil {
				return broken(err)
			}
			text, _ := name.(string)
			if e.left -= sizeOfTensor + sizeOfStorage + len(text); p.Meta != nil {
				e.left -= 64 * len(p.Meta.Sizes)
			}
			if e.left < 0 {
				return newFault(CodeLimit, c.member.Header, "", "member %s has more names than are listed for its size", quote(c.member.Name))
			}
			c.items = append(c.items, Item{text, e.value(text, c, &p)})
		}
		if _, err := d.Token(); err != nil {
			return broken(err)
		}
	}
	_, err = d.Token()
	if err != nil {
		return broken(err)
	}
	return nil
}

// begin reads the beginning of an object.
func begin(d *json.Decoder) error {
	t, err := d.Token()
	if err == nil && t != json.Delim('{') {
		err = fmt.Errorf("%v, where an object is needed", t)
	}
	return err
}

// value returns a tensor, or a text for what is none.
func (e *exported) value(name string, c *exportConfig, p *exportPayload) Value {
	key := strings.TrimPrefix(c.dir, "data/") + p.Path
	s := e.members[key]
	if s != nil {
		s.used = true
	}
	if p.Pickle || p.Meta == nil {
		return "<a pickle in " + cut(c.dir+p.Path) + ">"
	}
	dims, ok := make([]uint64, 0, 2*len(p.Meta.Sizes)), len(p.Meta.Sizes) == len(p.Meta.Strides) && p.Meta.Offset.Int != nil && p.Meta.Layout == exportStrided
	for _, list := range [][]exportInt{p.Meta.Sizes, p.Meta.Strides} {
		for _, n := range list {
			if ok = ok && n.Int != nil && *n.Int < 1<<63; ok {
				dims = append(dims, *n.Int)
			}
		}
	}
	if !ok || *p.Meta.Offset.Int >= 1<<63 {
		e.f.faults.report(CodeBadTensor, c.member.Header, name, "its sizes, strides, offset and layout are not those of a run of numbers")
		return "<a tensor that is not a run of numbers>"
	}
	dtype, known := exportDTypes[p.Meta.DType]
	if !known {
		dtype = DType(fmt.Sprintf("scalar_type_%d", p.Meta.DType))
	}
	l, _ := e.room.layout(dtype, dims)
	if s == nil {
		kind, _ := e.room.kind(StorageKind{})
		s = e.storages.add(Storage{Key: key, StorageKind: kind, at: -1, used: true, id: uint32(e.storages.n)})
		e.members[key] = s
	}
	return e.room.tensor(Tensor{Layout: l, Offset: *p.Meta.Offset.Int, Storage: s})
}
