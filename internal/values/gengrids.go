//go:build ignore

// Gengrids packs the lookup tables of ggml's IQ types into grids.bin.
//
// Its argument is a directory that holds the tables as raw little-endian data,
// one byte a value: iq2xxs_grid.bin, iq2xs_grid.bin and so on. Every entry
// becomes one little-endian 16-bit word, whose fields (2 bits for eight
// values, 3 bits for four) are indices into the table's alphabet, the first
// value in the lowest bits.
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
)

var tables = []struct {
	file     string
	values   int // in an entry
	bits     int
	alphabet []byte
}{
	{"iq2xxs_grid.bin", 8, 2, []byte{8, 25, 43}},
	{"iq2xs_grid.bin", 8, 2, []byte{8, 25, 43}},
	{"iq2s_grid.bin", 8, 2, []byte{8, 25, 43}},
	{"iq1s_grid.bin", 8, 2, []byte{0xff, 0, 1}},
	{"iq3xxs_grid.bin", 4, 3, []byte{4, 12, 20, 28, 36, 44, 52, 62}},
	{"iq3s_grid.bin", 4, 3, []byte{1, 3, 5, 7, 9, 11, 13, 15}},
}

func main() {
	if len(os.Args) != 2 {
		fail(fmt.Errorf("usage: go run gengrids.go DIRECTORY"))
	}
	var out []byte
	for _, t := range tables {
		raw, err := os.ReadFile(filepath.Join(os.Args[1], t.file))
		if err != nil {
			fail(err)
		}
		for i := 0; i+t.values <= len(raw); i += t.values {
			var word uint16
			for j, v := range raw[i : i+t.values] {
				code := bytes.IndexByte(t.alphabet, v)
				if code < 0 {
					fail(fmt.Errorf("%s: byte %d: value %d is not in the alphabet", t.file, i+j, v))
				}
				word |= uint16(code) << (j * t.bits)
			}
			out = binary.LittleEndian.AppendUint16(out, word)
		}
	}
	if err := os.WriteFile("grids.bin", out, 0o644); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "gengrids:", err)
	os.Exit(1)
}
