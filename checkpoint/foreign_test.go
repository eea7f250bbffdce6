package checkpoint_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
)

// Weights in a format that is not read are called by its name, with the way to go.
func TestForeignFormats(t *testing.T) {
	tar := strings.Repeat("\x00", 257) + "ustar\x00"
	for name, tt := range map[string]struct {
		files map[string]string
		open  string // "" for the directory
		want  string
	}{
		"hdf5":        {map[string]string{"m.h5": "\x89HDF\r\n\x1a\n" + tar}, "m.h5", "HDF5"},
		"hdf5 dir":    {map[string]string{"m.h5": "\x89HDF\r\n\x1a\n" + tar}, "", "Keras"},
		"7z":          {map[string]string{"w.pth": "7z\xbc\xaf\x27\x1c\x00\x04" + tar}, "w.pth", "an archive of 7z"},
		"xz":          {map[string]string{"w.bin": "\xfd7zXZ\x00" + tar}, "w.bin", "an archive of xz"},
		"bzip2":       {map[string]string{"w.pt": "BZh91AY&SY" + tar}, "w.pt", "an archive of bzip2"},
		"zstd":        {map[string]string{"w.ckpt": "\x28\xb5\x2f\xfd\x04" + tar}, "w.ckpt", "an archive of Zstandard"},
		"rar":         {map[string]string{"w.pth": "Rar!\x1a\x07\x01\x00" + tar}, "w.pth", "an archive of RAR"},
		"zlib":        {map[string]string{"w.pkl": "x\x9c\x01" + tar}, "w.pkl", "zlib data"},
		"tflite":      {map[string]string{"w.tflite": "\x1c\x00\x00\x00TFL3" + tar}, "w.tflite", "TensorFlow Lite"},
		"onnx":        {map[string]string{"w.onnx": "\x08\x07\x12\x07pytorch" + tar}, "w.onnx", "ONNX"},
		"onnx dir":    {map[string]string{"w.onnx": "\x08\x07\x12\x07pytorch"}, "", "ONNX"},
		"old ggml":    {map[string]string{"ggml-model.bin": "tjgg\x03\x00\x00\x00" + tar}, "ggml-model.bin", "convert_llama_ggml_to_gguf.py"},
		"nemo":        {map[string]string{"w.nemo": tar}, "w.nemo", "NeMo"},
		"core ml":     {map[string]string{"w.mlmodel": "\x08\x05" + tar}, "w.mlmodel", "Core ML"},
		"core ml dir": {map[string]string{"m.mlpackage/Manifest.json": "{}"}, "m.mlpackage", "Core ML"},
		"dcp":         {map[string]string{"__0_0.distcp": "PK\x03\x04"}, "", "without the .metadata"},
		"orbax":       {map[string]string{"manifest.ocdbt": "\x00"}, "", "Orbax"},
		"savedmodel":  {map[string]string{"saved_model.pb": "\x08"}, "", "TensorFlow"},
		"deepspeed":   {map[string]string{"zero_to_fp32.py": "#", "zero_pp_rank_0_mp_rank_00_optim_states.pt": "PK\x03\x04"}, "", "zero_to_fp32.py"},
		"trainer":     {map[string]string{"training_args.bin": "PK\x03\x04", "w.onnx": "\x08"}, "", "ONNX"},
	} {
		dir := t.TempDir()
		for file, text := range tt.files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		r, err := checkpoint.Open(t.Context(), filepath.Join(dir, tt.open), nil)
		if err == nil {
			for _, f := range r.Faults {
				err = &f
			}
			for _, c := range r.Checkpoints {
				for _, f := range c.Files {
					err = f.Err
				}
			}
			r.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q in it", name, err, tt.want)
		}
	}
}
