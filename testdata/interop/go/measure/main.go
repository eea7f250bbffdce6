// Command measure does what other Go modules do, as make compare times it:
//
//	measure list PATH      the tensors: name, dtype and shape, one per line
//	measure time PATH N    reads the header N times and prints the nanoseconds of each
//
// A GGUF file is read by gpustack/gguf-parser-go, a safetensors file, or those in a
// directory, by nlpodyssey/safetensors.
package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	parser "github.com/gpustack/gguf-parser-go"
	"github.com/nlpodyssey/safetensors"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	if args[0] == "list" {
		return read(args[1], func(name string, typ fmt.Stringer, shape []uint64) {
			fmt.Fprintf(out, "%s\t%v\t%s\n", name, typ, strings.ReplaceAll(fmt.Sprint(shape), " ", ","))
		})
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	for range n {
		start := time.Now()
		if err := read(args[1], nil); err != nil {
			return err
		}
		fmt.Fprintln(out, time.Since(start).Nanoseconds())
	}
	return nil
}

// read reads headers, and calls each, if it is not nil, with every tensor.
func read(path string, each func(name string, typ fmt.Stringer, shape []uint64)) error {
	if strings.HasSuffix(path, ".gguf") {
		g, err := parser.ParseGGUFFile(path)
		if err != nil || each == nil {
			return err
		}
		for _, t := range g.TensorInfos {
			shape := slices.Clone(t.Dimensions)
			slices.Reverse(shape)
			each(t.Name, t.Type, shape)
		}
		return nil
	}
	files := []string{path}
	if st, err := os.Stat(path); err != nil {
		return err
	} else if st.IsDir() {
		if files, err = filepath.Glob(filepath.Join(path, "*.safetensors")); err != nil {
			return err
		}
	}
	for _, name := range files {
		if err := readSafetensors(name, each); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// readSafetensors maps a file: ReadMetadata wants all of it, which is more than memory holds.
func readSafetensors(name string, each func(name string, typ fmt.Stringer, shape []uint64)) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	file, err := syscall.Mmap(int(f.Fd()), 0, int(st.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	defer syscall.Munmap(file)
	_, metadata, err := safetensors.ReadMetadata(file)
	if err != nil || each == nil {
		return err
	}
	for name, t := range metadata.Tensors() {
		each(name, t.DType, t.Shape)
	}
	return nil
}
