package checkpoint

import (
	"bytes"
	"context"
	"io"
	"path"
	"path/filepath"
	"strings"

	"github.com/wtinspect/wtinspect/internal/source"
)

// A foreign format holds weights and is none that is read here. Its files are told by
// bytes at some place, by the ends of their names where the format has no such bytes, or
// by both.
type foreign struct {
	at    int
	magic string
	ends  []string
	what  string // what it is, and what to do
}

const (
	exported = "; take the weights of the model that it was made from"
	tensors  = "; load it there, and save the weights with safetensors"
)

var foreignFiles = []foreign{
	{magic: "\x89HDF\r\n\x1a\n", what: "an HDF5 file, as Keras writes" + tensors},
	{magic: "PK\x03\x04", ends: []string{".keras"}, what: "a Keras model" + tensors},
	{magic: "PK\x03\x04", ends: []string{".mar"}, what: "a TorchServe archive, which is a zip archive; unpack it"},
	{at: 4, magic: "TFL3", what: "a TensorFlow Lite model, made for devices" + exported},
	{at: 257, magic: "ustar", ends: []string{".nemo"}, what: "a NeMo archive, which is a tar archive; unpack it"},
	{at: 257, magic: "ustar", what: "a tar archive; unpack it"},
	{ends: []string{".onnx", ".ort"}, what: "an ONNX model" + exported},
	{ends: []string{".mlmodel"}, what: "a Core ML model" + exported},
	{ends: []string{".engine", ".plan"}, what: "a TensorRT engine, made for one kind of device" + exported},
	{ends: []string{".msgpack"}, what: "a Flax checkpoint" + tensors},
	{ends: []string{".pdparams", ".pdmodel"}, what: "a Paddle model" + tensors},
	{ends: []string{".distcp"}, what: dcp},
	{magic: "7z\xbc\xaf\x27\x1c", what: packed("7z")},
	{magic: "\xfd7zXZ\x00", what: packed("xz")},
	{magic: "BZh9", what: packed("bzip2")},
	{magic: "\x28\xb5\x2f\xfd", what: packed("Zstandard")},
	{magic: "Rar!\x1a\x07", what: packed("RAR")},
	{magic: "x\x9c", ends: []string{".pt", ".pth", ".bin", ".ckpt", ".pkl", ".joblib", ".z"}, what: "zlib data, as joblib compresses pickles; load it there, and save the weights with safetensors"},
	{magic: "lmgg", what: oldGGML},
	{magic: "fmgg", what: oldGGML},
	{magic: "tjgg", what: oldGGML},
	{magic: "algg", what: oldGGML},
}

const (
	dcp     = "a part of a distributed checkpoint of PyTorch, without the .metadata that says what is in it"
	orbax   = "an Orbax checkpoint, as JAX programs write" + tensors
	oldGGML = "a format that llama.cpp used before GGUF; convert the file with llama.cpp's convert_llama_ggml_to_gguf.py"
	tf      = "a TensorFlow model" + tensors
)

// packed says what a file is that a packer wrote, by the magic number of its format.
func packed(format string) string { return "an archive of " + format + "; unpack it" }

// An entry tells what a directory is.
type entry struct{ glob, what string }

// trainingEntries are those of checkpoints of a training, which have pickles, too.
var trainingEntries = []entry{
	{"*.distcp", dcp},
	{"_METADATA", orbax},
	{"_CHECKPOINT_METADATA", orbax},
	{"manifest.ocdbt", orbax},
	{"saved_model.pb", tf},
	{"*.data-00000-of-*", tf},
	{"zero_to_fp32.py", "a checkpoint of DeepSpeed; `python zero_to_fp32.py . OUT --safe_serialization`, which is in it, makes safetensors files of it"},
	{"bf16_zero_pp_rank_*", "a part of a DeepSpeed checkpoint; zero_to_fp32.py, beside it or above, makes one of its parts"},
	{"latest_checkpointed_iteration.txt", "a checkpoint of Megatron-LM; its tools/checkpoint/convert.py converts it"},
	{"mp_rank_00*", "a part of a Megatron-LM checkpoint; its tools/checkpoint/convert.py converts it"},
}

// foreignEntries are those of the others.
var foreignEntries = []entry{
	{"ndarray-cache.json", "a model compiled by MLC" + exported},
	{"coremldata.bin", "a Core ML model" + exported},
	{"*.mlmodel", "a Core ML model" + exported},
	{"*.mlpackage", "a Core ML model" + exported},
	{"*.onnx", "an ONNX model" + exported},
	{"rank0.engine", "an engine of TensorRT-LLM" + exported},
	{"*.h5", "a Keras model" + tensors},
	{"*.keras", "a Keras model" + tensors},
	{"*.msgpack", "a Flax checkpoint" + tensors},
	{"*.tflite", "a TensorFlow Lite model, made for devices" + exported},
	{"*.nemo", "a NeMo archive, which is a tar archive; unpack it"},
}

// foreignFile says what a file of another format is, "" for one that is not known.
func foreignFile(src source.Source) string {
	head := make([]byte, 264)
	n, err := src.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return ""
	}
	head = head[:n]
	name := strings.ToLower(src.Name())
	for _, f := range foreignFiles {
		if len(head) < f.at || !bytes.HasPrefix(head[f.at:], []byte(f.magic)) {
			continue
		}
		if len(f.ends) == 0 {
			return f.what
		}
		for _, end := range f.ends {
			if strings.HasSuffix(name, end) {
				return f.what
			}
		}
	}
	return ""
}

// foreignDirectory says what a directory without weights of ours is, "" where its entries
// do not tell.
func foreignDirectory(ctx context.Context, dir string, known []entry) string {
	entries, err := source.ReadDir(ctx, dir)
	if err != nil {
		return ""
	}
	names := []string{filepath.Base(dir)} // some formats are directories: m.mlpackage
	for _, e := range entries {
		names = append(names, e.Name())
	}
	for _, f := range known {
		for _, name := range names {
			if ok, _ := path.Match(f.glob, name); ok {
				return f.what
			}
		}
	}
	return ""
}
