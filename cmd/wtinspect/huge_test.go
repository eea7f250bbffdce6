package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/oracle"
)

// zeros reads as that many of them.
type zeros int64

func (z *zeros) Read(b []byte) (int, error) {
	if *z == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(b)), int64(*z))
	clear(b[:n])
	*z -= zeros(n)
	return int(n), nil
}

// TestHugeTensor has a tensor of 2^33 elements, a hole in the file, and one
// behind it. The hole is read where random files are asked for: it takes seconds.
func TestHugeTensor(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a hole takes room on NTFS unless it is asked for")
	}
	const elements = 1 << 33
	for _, tt := range []struct {
		name, text string
		bytes      int64
	}{
		{"model.safetensors", "data sparse\nmeta format pt\ntensor hole F4 [8589934592]\ndata pattern\ntensor last F32 [2] values=1,2", elements / 2},
		{"model.gguf", "format gguf\nkv general.architecture str odd\ndata sparse\ntensor hole Q1_0 [8589934592]\ndata pattern\ntensor last F32 [2] values=1,2", elements / 128 * 18},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := fixture.File(t, tt.name, tt.text)
			f, err := oracle.Read(path)
			if err != nil {
				t.Fatal(err)
			}
			type row struct {
				Name                   string
				Elements, Bytes, Count uint64
				Offset                 int64
				Zeros                  uint64
				Min, Max               jsonNumber
				SHA256                 string
			}
			type document struct{ Tensors []row }
			rows := executeJSON[document](t, exitOK, "ls", path).Tensors
			if len(rows) != 2 || rows[0].Elements != elements || rows[0].Bytes != uint64(tt.bytes) || rows[0].Offset != f.Tensors[0].Offset ||
				rows[1].Offset != f.Tensors[1].Offset || rows[1].Offset < rows[0].Offset+tt.bytes {
				t.Errorf("ls: %+v", rows)
			}
			if code, out, errs := execute(t, "check", path); code != exitOK {
				t.Errorf("check: exit %d: %s%s", code, errs, out)
			}
			rows = executeJSON[document](t, exitOK, "stats", "--match", "last", path).Tensors
			if len(rows) != 1 || rows[0].Count != 2 || rows[0].Min != 1 || rows[0].Max != 2 {
				t.Errorf("stats of the last: %+v", rows)
			}
			// In place, the data stay where they are.
			there := filepath.Join(t.TempDir(), "map.yaml")
			if err := os.WriteFile(there, []byte("rename: {hole: gap, last: lost}\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			if code, out, errs := execute(t, "rename", "--map", there, "--in-place", path); code != exitOK {
				t.Errorf("rename: exit %d: %s%s", code, errs, out)
			}
			after, err := oracle.Read(path)
			if err != nil {
				t.Fatal(err)
			}
			if after.Size != f.Size || after.Tensors[0].Name != "gap" || after.Tensors[1].Name != "lost" || after.Tensors[1].Offset != f.Tensors[1].Offset {
				t.Errorf("renamed: %+v", after)
			}
			if os.Getenv("WTINSPECT_RANDOM") == "" {
				return
			}
			rows = executeJSON[document](t, exitOK, "stats", "--match", "gap", path).Tensors
			if len(rows) != 1 || rows[0].Count != elements || rows[0].Zeros != elements || rows[0].Min != 0 || rows[0].Max != 0 {
				t.Errorf("stats of the hole: %+v", rows)
			}
			h, z := sha256.New(), zeros(tt.bytes)
			if _, err := io.Copy(h, &z); err != nil {
				t.Fatal(err)
			}
			rows = executeJSON[document](t, exitOK, "hash", "--match", "gap", path).Tensors
			if len(rows) != 1 || rows[0].SHA256 != hex.EncodeToString(h.Sum(nil)) {
				t.Errorf("hash of the hole: %+v", rows)
			}
			if code, out, errs := execute(t, "diff", path, path); code != exitOK {
				t.Errorf("diff: exit %d: %s%s", code, errs, out)
			}
		})
	}
}

// TestMillionTensors has a header of 60 MB.
func TestMillionTensors(t *testing.T) {
	if testing.Short() || os.Getenv("WTINSPECT_RANDOM") == "" {
		t.Skip("a million tensors take minutes: make random")
	}
	const count = 1_000_000
	header := []byte(`{"__metadata__":{"format":"pt"}`)
	data := make([]byte, count)
	for i := range data {
		header = fmt.Appendf(header, `,"t%d.w":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}`, i, i, i+1)
		data[i] = byte(i)
	}
	header = append(header, '}')
	for len(header)%8 != 0 {
		header = append(header, ' ')
	}
	path := filepath.Join(t.TempDir(), "model.safetensors")
	file := append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
	if err := os.WriteFile(path, append(file, data...), 0o644); err != nil {
		t.Fatal(err)
	}
	lines := func(args ...string) []string {
		code, out, errs := execute(t, args...)
		if code != exitOK {
			t.Fatalf("%q: exit %d: %s", args, code, errs)
		}
		return strings.Split(string(bytes.TrimSuffix(out, []byte("\n"))), "\n")
	}
	ls, hash, stats := lines("ls", "-f", "jsonl", path), lines("hash", path), lines("stats", "-f", "jsonl", path)
	if len(ls) != count || len(hash) != count+1 || len(stats) != count {
		t.Fatalf("%d lines of ls, %d of hash, %d of stats", len(ls), len(hash), len(stats))
	}
	for i := 0; i < count; i += 99_991 {
		var listed, measured struct {
			Name             string
			Offset           int64
			Min, Max         float64
			Count, NaN       int
			Checkpoint, File any
		}
		for _, one := range []struct {
			text string
			to   any
		}{{ls[i], &listed}, {stats[i], &measured}} {
			if err := json.Unmarshal([]byte(one.text), one.to); err != nil {
				t.Fatal(err)
			}
		}
		name, sum := "t"+strconv.Itoa(i)+".w", sha256.Sum256(data[i:i+1])
		if listed.Name != name || listed.Offset != int64(len(header)+8+i) || measured.Name != name || measured.Count != 1 ||
			measured.Min != float64(data[i]) || measured.Max != float64(data[i]) || !strings.Contains(hash[i], hex.EncodeToString(sum[:])) {
			t.Errorf("tensor %d: %s %s %s", i, ls[i], hash[i], stats[i])
		}
	}
	if got := lines("diff", path, path); len(got) != 1 || got[0] != "1,000,000 the same, 0 changed" {
		t.Errorf("diff: %q", got[:min(len(got), 5)])
	}
	if code, out, errs := execute(t, "check", path); code == exitFailed || strings.Contains(string(out), "error WT1") {
		t.Errorf("check: exit %d: %s%s", code, errs, tail(out))
	}
}
