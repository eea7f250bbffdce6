package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

func outputOf(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), args, strings.NewReader(""), &out, &errs); code != exitOK {
		t.Fatalf("%v: exit %d: %s", args, code, &errs)
	}
	return out.String()
}

// The recipes of docs/hash.md give what hash gives: each digest is of the bytes
// that ls says are the tensor's, and the content id of the sorted lines.
func TestRecipes(t *testing.T) {
	path := fixture.File(t, "model.safetensors", `tensor a.{0..2} F32 [2,3]
tensor b BF16 [5]
tensor scalar F64 []
tensor nothing I8 [0,2]`)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		Name, DType, SHA256 string
		Shape               []uint64
		Offset, Bytes       int
	}
	rows := func(command string) (out []row) {
		for line := range strings.Lines(outputOf(t, command, "-f", "jsonl", path)) {
			var r row
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			out = append(out, r)
		}
		return out
	}
	listed := rows("ls")
	var lines []string
	for i, r := range rows("hash") {
		l := listed[i]
		if want := fmt.Sprintf("%x", sha256.Sum256(data[l.Offset:l.Offset+l.Bytes])); r.SHA256 != want || r.Name != l.Name {
			t.Errorf("%s: %s, want %s", r.Name, r.SHA256, want)
		}
		shape := strings.ReplaceAll(fmt.Sprint(r.Shape), " ", ",")
		lines = append(lines, fmt.Sprintf("%s %s %s\n", r.DType, shape, r.SHA256))
	}
	slices.Sort(lines)
	want := fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(strings.Join(lines, ""))), path)
	if got := outputOf(t, "hash", "--content-id", path); got != want {
		t.Errorf("content id %q, want %q", got, want)
	}
}
