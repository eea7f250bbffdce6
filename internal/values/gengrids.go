//go:build ignore

// Gengrids packs testdata/grids.txt, the lookup tables of ggml's IQ types, into
// grids.bin. Every entry becomes one little-endian 16-bit word, whose fields (2
// bits for eight values, 3 bits for four) are the entry's digits, the first in the
// lowest bits.
package main

import (
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"strings"
)

func main() {
	log.SetFlags(0)
	text, err := os.ReadFile("testdata/grids.txt")
	if err != nil {
		log.Fatal(err)
	}
	var out []byte
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") || strings.Contains(line, ":") {
			continue
		}
		for _, entry := range strings.Fields(line) {
			word, err := pack(entry)
			if err != nil {
				log.Fatal("testdata/grids.txt: ", err)
			}
			out = binary.LittleEndian.AppendUint16(out, word)
		}
	}
	if err := os.WriteFile("grids.bin", out, 0o666); err != nil {
		log.Fatal(err)
	}
}

func pack(entry string) (word uint16, err error) {
	bits := 16 / len(entry) // 2 of 8 digits
	if len(entry) == 4 {
		bits = 3
	}
	for i := range len(entry) {
		digit := entry[i] - '0'
		if len(entry) != 8 && len(entry) != 4 || digit >= 1<<bits {
			return 0, fmt.Errorf("entry %q: neither 8 digits of 0 to 3 nor 4 of 0 to 7", entry)
		}
		word |= uint16(digit) << (i * bits)
	}
	return word, nil
}
