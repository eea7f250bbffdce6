package template

import (
	"slices"
	"testing"
)

func TestNear(t *testing.T) {
	commands := []string{"ls", "info", "identify", "diff", "check"}
	conventions := []string{"gpt2-hf", "llama-gguf", "llama-hf", "llama-meta", "yi-hf"}
	for _, tt := range []struct {
		word       string
		candidates []string
		want       []string
	}{
		{"lss", commands, []string{"ls"}},
		{"idnetify", commands, []string{"identify"}},
		{"INFO", commands, []string{"info"}},
		{"frobnicate", commands, nil},
		{"", commands, nil},
		{"lama-hf", conventions, []string{"llama-hf"}},
		{"yi", conventions, []string{"yi-hf"}},
		{"llama", conventions, []string{"llama-gguf", "llama-hf", "llama-meta"}},
		{"hf-llama", conventions, []string{"llama-hf"}},
		{"chat_template", []string{"general.name", "tokenizer.chat_template"}, []string{"tokenizer.chat_template"}},
		{"tokens", []string{"general.name", "tokenizer.ggml.tokens"}, []string{"tokenizer.ggml.tokens"}},
		{"lamma-hf", []string{"gemma-hf", "jamba-hf", "llama-hf"}, []string{"llama-hf"}},
		{"gamma-hf", []string{"gemma-hf", "llama-hf"}, []string{"gemma-hf"}},
		{"--xtrict", []string{"--strict"}, []string{"--strict"}},
		{"xlama", []string{"llama"}, []string{"llama"}},
		{"form", []string{"from", "forms"}, []string{"from", "forms"}},
		{"blk", slices.Repeat([]string{"blk.0"}, 20), nil},
	} {
		if got := Near(tt.word, tt.candidates); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.word, got, tt.want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b  string
		limit int
		want  int
	}{
		{"", "", 3, 0}, {"a", "", 3, 1}, {"from", "form", 3, 1}, {"kitten", "sitting", 9, 3}, {"kitten", "sitting", 2, 2}, {"abcd", "x", 2, 2},
	} {
		if got := Distance(tt.a, tt.b, tt.limit); got != tt.want {
			t.Errorf("%q, %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if a, b := Distance(tt.a, tt.b, tt.limit), Distance(tt.b, tt.a, tt.limit); a != b {
			t.Errorf("%q, %q: %d one way, %d the other", tt.a, tt.b, a, b)
		}
	}
}
