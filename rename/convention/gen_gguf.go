//go:build ignore

// This program writes gguf_arch.txt, the names that llama.cpp gives the tensors
// of each architecture, and testdata/gguf_accepted.txt, the names that it
// accepts for them.
//
// It reads what it wrote, which is all that there is to know, and puts it in
// order: a line added to either file by hand has its place then. With an argument
// it reads a JSON object instead, architecture -> GGUF name -> accepted names, with
// {bid} for the block: MODEL_TENSORS and TensorNameMap of llama.cpp's gguf-py.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"os"
	"slices"
	"strings"
)

const (
	archFile     = "gguf_arch.txt"
	acceptedFile = "testdata/gguf_accepted.txt"
)

// A table is architecture -> GGUF name -> accepted names.
type table map[string]map[string][]string

func main() {
	log.SetFlags(0)
	var t table
	switch len(os.Args) {
	case 1:
		t = readOwn()
	case 2:
		if err := json.Unmarshal(read(os.Args[1]), &t); err != nil {
			log.Fatal(err)
		}
	default:
		log.Fatal("usage: go run gen_gguf.go [FILE.json]")
	}
	write(archFile, t.archs())
	write(acceptedFile, t.accepted())
}

func read(file string) []byte {
	b, err := os.ReadFile(file)
	if err != nil {
		log.Fatal(err)
	}
	return b
}

func write(file string, b []byte) {
	if err := os.WriteFile(file, b, 0o666); err != nil {
		log.Fatal(err)
	}
}

// lines yields what stands before and after the first colon of the lines of a file.
func lines(file string, yield func(head, rest string)) {
	for line := range strings.Lines(string(read(file))) {
		if head, rest, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && !strings.HasPrefix(line, "#") {
			yield(head, strings.TrimSpace(rest))
		}
	}
}

// brief leaves the block number out, but for the towers, whose names have several.
func brief(arch, name string) string {
	if arch == "clip" {
		return name
	}
	return strings.ReplaceAll(name, ".{bid}", "")
}

func readOwn() table {
	type form struct {
		archs []string // nil is all
		names []string
	}
	forms := make(map[string][]form)
	whole := make(map[string]string) // by the brief name
	lines(acceptedFile, func(head, rest string) {
		name, archs, some := strings.Cut(strings.TrimSuffix(head, "]"), " [")
		f := form{names: strings.Fields(rest)}
		if some {
			f.archs = strings.Fields(archs)
		}
		forms[name] = append(forms[name], f)
		whole[brief("", name)] = name
	})
	t := make(table)
	lines(archFile, func(arch, names string) {
		t[arch] = make(map[string][]string)
		for _, name := range strings.Fields(names) {
			if arch != "clip" {
				name = whole[name]
			}
			i := slices.IndexFunc(forms[name], func(f form) bool { return f.archs == nil || slices.Contains(f.archs, arch) })
			if i < 0 {
				log.Fatalf("%s: nothing is accepted for a name of architecture %s", acceptedFile, arch)
			}
			t[arch][name] = forms[name][i].names
		}
	})
	return t
}

func (t table) archs() []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, "# Kept in order by go generate (gen_gguf.go).")
	fmt.Fprintln(&b, "# architecture: names, the block number left out where it stands behind the first word")
	for _, arch := range slices.Sorted(maps.Keys(t)) {
		var names []string
		for _, name := range slices.Sorted(maps.Keys(t[arch])) {
			names = append(names, brief(arch, name))
		}
		fmt.Fprintf(&b, "%s: %s\n", arch, strings.Join(names, " "))
	}
	return b.Bytes()
}

func (t table) accepted() []byte {
	users := make(map[string][]string) // of a name with what is accepted for it
	forms := make(map[string]int)
	for _, arch := range slices.Sorted(maps.Keys(t)) {
		for name, names := range t[arch] {
			key := name + " " + strings.Join(names, " ")
			if users[key] == nil {
				forms[name]++
			}
			users[key] = append(users[key], arch)
		}
	}
	var b bytes.Buffer
	fmt.Fprintln(&b, "# Kept in order by go generate (gen_gguf.go).")
	fmt.Fprintln(&b, "# GGUF name: accepted names; a name that differs by architecture stands once for each form, with its architectures in brackets")
	for _, key := range slices.Sorted(maps.Keys(users)) {
		name, names, _ := strings.Cut(key, " ")
		if forms[name] > 1 {
			name += " [" + strings.Join(users[key], " ") + "]"
		}
		fmt.Fprintf(&b, "%s: %s\n", name, names)
	}
	return b.Bytes()
}
