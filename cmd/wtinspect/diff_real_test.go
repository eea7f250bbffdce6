package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/testdata"
)

// Verdicts on files that others made, in both orders: llama.cpp's quantised copies of a
// model are faithful, and what was trained further is changed.
func TestDiffReal(t *testing.T) {
	verdict := func(a, b string) (string, int) {
		var out, errs bytes.Buffer
		code := run(t.Context(), []string{"diff", "--stat", a, b}, strings.NewReader(""), &out, &errs)
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		v, _, _ := strings.Cut(lines[len(lines)-1], ":")
		return v, code
	}
	models, tiny := "models/stories260K-", "tinyllama/"
	for _, tt := range []struct {
		a, b, want string
		code       int
	}{
		{models + "v3.gguf", models + "Q8_0.gguf", "faithful", exitOK},
		{models + "v3.gguf", models + "Q4_0.gguf", "faithful", exitOK},
		{models + "Q8_0.gguf", models + "Q4_0.gguf", "faithful", exitOK},
		{models + "v3.gguf", models + "big-endian.gguf", "same values", exitOK},
		{tiny + "A0", tiny + "A0", "same", exitOK},
		{tiny + "A0", tiny + "sft", "changed", exitFindings},
		{tiny + "A0", tiny + "lora", "changed", exitFindings},
		{tiny + "A0", tiny + "cpt_s100", "changed", exitFindings},
		{tiny + "A0", tiny + "prune", "changed", exitFindings},
		{tiny + "A0", tiny + "A1", "changed", exitFindings},
		{tiny + "A0", models + "v3.gguf", "other", exitFindings},
	} {
		a, b := testdata.Path(t, tt.a), testdata.Path(t, tt.b)
		for _, turn := range [][2]string{{a, b}, {b, a}} {
			if v, code := verdict(turn[0], turn[1]); v != tt.want || code != tt.code {
				t.Errorf("diff %s %s: %s, exit code %d; want %s, %d", turn[0], turn[1], v, code, tt.want, tt.code)
			}
		}
	}
}
