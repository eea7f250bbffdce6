package torchtest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// A Sharded tensor is cut into chunks for a distributed checkpoint.
type Sharded struct {
	Name, DType string
	Shape       []int
	Data        []byte
	Chunks      []Chunk
}

// A Chunk is a part of a tensor. What is left out is as torch writes it.
type Chunk struct {
	Offsets, Sizes []int
	File           string
	Claim          string // the file that the metadata name, instead of File
	Index          []int  // the offsets in storage_data, instead of Offsets
	Transforms     []string
	Lost           bool // from storage_data
}

// A Distributed checkpoint, as torch/distributed/checkpoint writes it (filesystem.py,
// _write_item and _write_files_from_queue; metadata.py; default_planner.py).
type Distributed struct {
	Tensors     []Sharded
	Objects     []Item // what is not a tensor, all in the file __0_0.distcp
	Safetensors bool   // the chunks of a file together, in that format
	Root        any    // instead of the metadata
	// Paths are the keys that the names consist of (default_planner.py, create_global_plan).
	Paths map[string]Tuple
}

// Files returns the files by name.
func (d Distributed) Files() map[string][]byte {
	files := map[string][]byte{}
	meta := "torch.distributed.checkpoint.metadata."
	var entries, places Dict
	place := func(name string, offset any, file string, at, length int, transforms []string) {
		info := Dict{{"relative_path", file}, {"offset", at}, {"length", length}}
		if transforms != nil {
			var list List
			for _, s := range transforms {
				list = append(list, s)
			}
			info = append(info, Item{"transform_descriptors", list})
		}
		places = append(places, Item{
			Object{Class: Named(meta + "MetadataIndex"), State: Dict{{"fqn", name}, {"index", 0}, {"offset", offset}}},
			Object{Class: Named("torch.distributed.checkpoint.filesystem._StorageInfo"), State: info},
		})
	}
	size := func(list []int) Call { return Call{Func: Named("torch.Size"), Args: Tuple{ints(list)}} }
	add := func(file string, data []byte) (at, length int) {
		at = len(files[file])
		files[file] = append(files[file], data...)
		return at, len(data)
	}
	for _, o := range d.Objects {
		at, n := add("__0_0.distcp", File{Root: o.Value, Protocol: 2}.Zip().Bytes())
		entries = append(entries, Item{o.Key, Object{Class: Named(meta + "BytesStorageMetadata")}})
		place(o.Key.(string), nil, "__0_0.distcp", at, n, nil)
	}
	type piece struct {
		name, dtype string
		sizes       []int
		data        []byte
	}
	together := map[string][]piece{}
	for _, t := range d.Tensors {
		var chunks List
		for _, c := range t.Chunks {
			chunks = append(chunks, Object{Class: Named(meta + "ChunkStorageMetadata"), State: Dict{{"offsets", size(c.Offsets)}, {"sizes", size(c.Sizes)}}})
			data := t.cut(c)
			var at, n int
			if d.Safetensors {
				at, n = len(files[c.File]), len(data)
				together[c.File] = append(together[c.File], piece{t.Name, t.DType, c.Sizes, data})
			} else {
				at, n = add(c.File, File{Root: &Tensor{Storage: &Storage{DType: t.DType, Data: data}, Shape: c.Sizes}, Protocol: 2}.Zip().Bytes())
			}
			if c.Lost {
				continue
			}
			index, file := c.Index, c.Claim
			if index == nil {
				index = c.Offsets
			}
			if file == "" {
				file = c.File
			}
			place(t.Name, size(index), file, at, n, c.Transforms)
		}
		entries = append(entries, Item{t.Name, Object{Class: Named(meta + "TensorStorageMetadata"), State: Dict{
			{"properties", Object{Class: Named(meta + "TensorProperties"), State: Tuple{
				Named("torch." + t.DType),
				Call{Func: Named("torch.serialization._get_layout"), Args: Tuple{"torch.strided"}},
				false,
				Call{Func: Named(meta + "_MEM_FORMAT_ENCODING"), Args: Tuple{0}},
				false,
			}}},
			{"size", size(t.Shape)},
			{"chunks", chunks},
		}}})
	}
	for file, pieces := range together {
		header, data := map[string]any{}, []byte{}
		for _, p := range pieces {
			names := map[string]string{"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "uint8": "U8"}
			header[p.name] = map[string]any{"dtype": names[p.dtype], "shape": append([]int{}, p.sizes...), "data_offsets": []int{len(data), len(data) + len(p.data)}}
			data = append(data, p.data...)
		}
		text, err := json.Marshal(header)
		if err != nil {
			panic(err)
		}
		add(file, append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), append(text, data...)...))
	}
	paths := Dict{}
	for _, e := range entries {
		if path, ok := d.Paths[e.Key.(string)]; ok {
			paths = append(paths, Item{e.Key, path})
		}
	}
	root := d.Root
	if root == nil {
		root = Object{Class: Named(meta + "Metadata"), State: Dict{
			{"state_dict_metadata", entries},
			{"planner_data", paths},
			{"storage_data", places},
			{"storage_meta", Object{Class: Named(meta + "StorageMeta"), State: Dict{{"checkpoint_id", nil}, {"save_id", "0"}}}},
			{"version", "1.0.0"},
		}}
	}
	files[".metadata"] = Pickle(4, root)
	return files
}

// cut returns the elements of a chunk, one after the other; what is beyond the tensor is
// zeros.
func (t *Sharded) cut(c Chunk) []byte {
	elem := DTypes[t.DType].Size
	var out []byte
	at := slices.Clone(c.Offsets)
	if slices.Contains(c.Sizes, 0) {
		return nil
	}
	for {
		i := 0
		for d, n := range t.Shape {
			i = i*n + at[d]
		}
		if i = i * elem; i+elem <= len(t.Data) {
			out = append(out, t.Data[i:i+elem]...)
		} else {
			out = append(out, make([]byte, elem)...)
		}
		d := len(at) - 1
		for ; d >= 0; d-- {
			if at[d]++; at[d] < c.Offsets[d]+c.Sizes[d] {
				break
			}
			at[d] = c.Offsets[d]
		}
		if d < 0 {
			return out
		}
	}
}

// NewSharded returns a tensor whose bytes count up, cut along a dimension into n chunks of
// different ranks, the first of which are as large as torch.chunk makes them.
func NewSharded(name, dtype string, shape []int, dim, n int) Sharded {
	t := Sharded{Name: name, DType: dtype, Shape: shape}
	size := DTypes[dtype].Size
	for _, d := range shape {
		size *= d
	}
	for i := range size {
		t.Data = append(t.Data, byte(i+len(name)))
	}
	each := 0
	if len(shape) > 0 {
		each = (shape[dim] + n - 1) / n
	}
	for rank := range n {
		c := Chunk{Offsets: make([]int, len(shape)), Sizes: slices.Clone(shape), File: fmt.Sprintf("__%d_0.distcp", rank)}
		if len(shape) > 0 {
			c.Offsets[dim] = min(rank*each, shape[dim])
			c.Sizes[dim] = min(each, shape[dim]-c.Offsets[dim])
		}
		t.Chunks = append(t.Chunks, c)
	}
	return t
}

// String names the chunks, for messages.
func (t Sharded) String() string {
	var parts []string
	for _, c := range t.Chunks {
		parts = append(parts, fmt.Sprintf("%v+%v in %s", c.Offsets, c.Sizes, c.File))
	}
	return t.Name + ": " + strings.Join(parts, ", ")
}
