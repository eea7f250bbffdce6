// Command interop prints a line of name, type, shape and SHA-256 for each tensor
// of a .gguf file, or of the .safetensors files in a directory, as readers see
// them that share nothing with wtinspect.
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	parser "github.com/gpustack/gguf-parser-go"
	"github.com/nlpodyssey/safetensors"
)

func main() {
	path := os.Args[1]
	list := printSafetensors
	if strings.HasSuffix(path, ".gguf") {
		list = printGGUF
	}
	if err := list(path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func printLine(name string, typ fmt.Stringer, shape []uint64, data []byte) {
	fmt.Printf("%s\t%v\t%v\t%x\n", name, typ, shape, sha256.Sum256(data))
}

func printGGUF(path string) error {
	file, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	g, err := parser.ParseGGUFFile(path)
	if err != nil {
		return err
	}
	for _, t := range g.TensorInfos {
		start := uint64(g.TensorDataStartOffset) + t.Offset
		printLine(t.Name, t.Type, t.Dimensions, file[start:start+t.Bytes()])
	}
	return nil
}

func printSafetensors(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err != nil {
		return err
	}
	for _, name := range names {
		file, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		st, err := safetensors.Deserialize(file)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, t := range st.Tensors() {
			printLine(t.Name, t.TensorView.DType(), t.TensorView.Shape(), t.TensorView.Data())
		}
	}
	return nil
}
