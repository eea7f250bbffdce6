package inspect

import (
	"fmt"
	"strings"
	"testing"
)

// A manifest of any text is read or refused; lines that are read are written and
// read again the same.
func FuzzManifest(f *testing.F) {
	digest := strings.Repeat("0a", 32)
	for _, seed := range []string{
		"sha256    " + digest + "  model.gguf:blk.0.attn_q.weight\nxxh64     0123456789abcdef  model.gguf\n",
		"content   " + digest + "  dir/with spaces\n",
		"sha256  " + digest + "  C:\\m.safetensors:a:b  -  Ok\r\n\r\n# remark\nuuid x\n",
		"sha256\n", "sha256    00  x:y", "\xff\xfe", "sha256    " + digest + "  :", "a b  c",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseManifest("m", strings.NewReader(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "m:") {
				t.Errorf("the error does not begin with the file: %v", err)
			}
			return
		}
		if strings.HasPrefix(text, "{") {
			return // names in JSON may be what a line cannot say
		}
		var b strings.Builder
		for _, e := range m.entries {
			name := e.file
			if e.tensor != "" {
				name += ":" + e.tensor
			}
			fmt.Fprintf(&b, "%-8s  %s  %s\n", e.algorithm, e.digest, name)
		}
		again, err := ParseManifest("m", strings.NewReader(b.String()))
		if err != nil {
			t.Fatalf("%q is read, and %q is not: %v", text, &b, err)
		}
		if got, want := fmt.Sprint(again.entries), fmt.Sprint(m.entries); got != want {
			t.Errorf("%q became %q", want, got)
		}
	})
}

func TestSplitManifestName(t *testing.T) {
	tests := []struct{ name, file, tensor string }{
		{"test.gguf:tensor_0", "test.gguf", "tensor_0"},
		{"test.gguf", "test.gguf", ""},
		{`C:\models\m.GGUF:a:b`, `C:\models\m.GGUF`, "a:b"},
		{"m-00001-of-00002.safetensors:x.gguf", "m-00001-of-00002.safetensors", "x.gguf"},
		{"pytorch_model.bin:w", "pytorch_model.bin", "w"},
		{"a:b.safetensors", "a:b.safetensors", ""},
	}
	for _, tt := range tests {
		if file, tensor := splitManifestName(tt.name); file != tt.file || tensor != tt.tensor {
			t.Errorf("%q is split into %q and %q", tt.name, file, tensor)
		}
	}
}
