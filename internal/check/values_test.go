package check

import (
	"bytes"
	"context"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

// The rows are told apart however reads and rows overlap, and not at all when
// bytes pass twice or out of order.
func TestRowWatch(t *testing.T) {
	const before, rows, length = 5, 40, 6
	data := make([]byte, before+rows*length)
	for i := range data {
		data[i] = byte(i)
	}
	for _, row := range []int{7, 8, 30} {
		clear(data[before+row*length:][:length])
	}
	section := io.NewSectionReader(bytes.NewReader(data), before, rows*length)
	for _, step := range []int{1, 4, length, 7, 100, rows * length} {
		w := newRowWatch(section, rows)
		for off := 0; off < rows*length; off += step {
			if _, err := w.ReadAt(make([]byte, min(step, rows*length-off)), int64(before+off)); err != nil {
				t.Fatal(err)
			}
		}
		if n, first, zero := w.equal(); n != 3 || first != 7 || !zero {
			t.Errorf("steps of %d: %d rows like row %d, zeros %v; want 3 like row 7, zeros", step, n, first, zero)
		}
	}
	for _, offsets := range [][]int64{{before, before}, {before + length, before}, {before}} {
		w := newRowWatch(section, rows)
		for _, off := range offsets {
			if _, err := w.ReadAt(make([]byte, rows*length/2), off); err != nil {
				t.Fatal(err)
			}
		}
		if n, _, _ := w.equal(); n != 0 {
			t.Errorf("reads at %v: %d rows are equal, though not all passed in order", offsets, n)
		}
	}
}

// valued opens a release of one file.
func valued(t *testing.T, text string) (*checkpoint.Release, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.safetensors")
	if err := fixture.Write(path, text); err != nil {
		t.Fatal(err)
	}
	rel, err := checkpoint.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rel.Close() })
	return rel, path
}

// A file that is cut while it is open has findings for what is gone, with the
// place, and for what is wrong with the rest.
func TestValuesOfShrinkingFile(t *testing.T) {
	rel, path := valued(t, fixture.Expand(t, "use llama\nnumbers\nreplace model.embed_tokens.weight BF16 [32,8] values=nan"))
	if err := os.Truncate(path, rel.Checkpoints[0].Files[0].DataOffset+600); err != nil {
		t.Fatal(err)
	}
	report, err := Run(t.Context(), rel, &Options{Values: true, Select: []string{"WT550", "WT551"}, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	unread, nan := 0, 0
	for _, f := range report.Findings {
		switch f.Rule.ID {
		case "WT550":
			unread += f.Count
			if !strings.Contains(f.Message, "byte ") || f.File != path {
				t.Errorf("%s: %s: no place", f.File, f.Message)
			}
		case "WT551":
			nan += f.Count
		}
	}
	if want := rel.Checkpoints[0].Len() - 2; unread != want || nan != 1 {
		t.Errorf("%d tensors cannot be read, %d have NaN; want %d and 1", unread, nan, want)
	}
}

// All rules between them, and a lock with digests, read the data once; without
// the option nothing is read.
func TestValuesAreReadOnce(t *testing.T) {
	rel, _ := valued(t, fixture.Expand(t, "use llama\nnumbers"))
	lock, err := NewLock(t.Context(), rel, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	lock.Checkpoints[0].Tensors[3].SHA256 = strings.Repeat("0", 64)
	size := rel.Checkpoints[0].Files[0].Size - rel.Checkpoints[0].Files[0].DataOffset
	for _, on := range []bool{false, true} {
		var read atomic.Int64
		report, err := Run(t.Context(), rel, &Options{Values: on, Against: lock, Select: []string{"WT1", "WT55", "WT605"}, Progress: func(n int64) { read.Add(n) }})
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int64{true: size}[on]; read.Load() != want {
			t.Errorf("values %v: %d bytes were read, want %d", on, read.Load(), want)
		}
		if len(report.Findings) != 1 || report.Findings[0].Rule.ID != "WT605" {
			t.Errorf("values %v: %d findings, want the digest's", on, len(report.Findings))
		}
	}
}

// An interruption ends the run with its error.
func TestValuesInterrupted(t *testing.T) {
	rel, _ := valued(t, fixture.Expand(t, "use llama\nnumbers"))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Run(ctx, rel, &Options{Values: true, Progress: func(int64) { cancel() }})
	if err != context.Canceled {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

// Where nothing but values is to be judged they must be asked for.
func TestChoiceOfValueRules(t *testing.T) {
	for _, tt := range []struct {
		rules  []string
		values bool
		ok     bool
	}{
		{[]string{"WT551"}, false, false},
		{[]string{"WT551"}, true, true},
		{[]string{"WT5"}, false, true},
		{[]string{"WT55", "WT101"}, false, true},
		{nil, false, true},
	} {
		if err := (&Options{Select: tt.rules, Values: tt.values}).Check(); (err == nil) != tt.ok {
			t.Errorf("%v, values %v: %v", tt.rules, tt.values, err)
		}
	}
}

func TestOfNumbers(t *testing.T) {
	for _, tt := range []struct {
		count, n uint64
		want     string
	}{
		{1, 1, "its one number is NaN"},
		{9, 1, "1 of 9 numbers is NaN"},
		{9, 2, "2 of 9 numbers are NaN"},
		{math.MaxUint64, math.MaxUint64, "all 18446744073709551615 numbers are NaN"},
	} {
		if got := (&measure{count: tt.count}).ofNumbers(tt.n, "NaN"); got != tt.want {
			t.Errorf("%d of %d: %s, want %s", tt.n, tt.count, got, tt.want)
		}
	}
}
