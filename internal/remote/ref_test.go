package remote

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/source"
)

const sha = "0123456789abcdef0123456789abcdef01234567"

// The forms of hf:// and of the hub's pages are those that huggingface_hub's own
// tests have (tests/test_utils_hf_uris.py), as far as models and datasets go.
func TestParse(t *testing.T) {
	hub := func(id, rev, path string) Ref { return Ref{ID: id, Rev: rev, Path: path} }
	dataset := func(id, rev, path string) Ref { return Ref{Dataset: true, ID: id, Rev: rev, Path: path} }
	ollama := func(id, tag, path string) Ref { return Ref{Kind: Ollama, ID: id, Rev: tag, Path: path} }
	scope := func(rev, path string) Ref { return Ref{Kind: ModelScope, ID: "a/b", Rev: rev, Path: path} }
	tests := []struct {
		ref  string
		want Ref
		text string
	}{
		{"hf://01-ai/Yi-34B", hub("01-ai/Yi-34B", "", ""), "hf://01-ai/Yi-34B"},
		{"hf://01-ai/Yi-34B/", hub("01-ai/Yi-34B", "", ""), "hf://01-ai/Yi-34B"},
		{"HF://01-ai/Yi-34B", hub("01-ai/Yi-34B", "", ""), "hf://01-ai/Yi-34B"},
		{"hf://models/a/b/c.gguf", hub("a/b", "", "c.gguf"), "hf://a/b/c.gguf"},
		{"hf://datasets/a/b@v1/d/c.safetensors", dataset("a/b", "v1", "d/c.safetensors"), "hf://datasets/a/b@v1/d/c.safetensors"},
		{"hf://a/b@refs/pr/3", hub("a/b", "refs/pr/3", ""), "hf://a/b@refs%2Fpr%2F3"},
		{"hf://a/b@refs/pr/3/x/y", hub("a/b", "refs/pr/3", "x/y"), "hf://a/b@refs%2Fpr%2F3/x/y"},
		{"hf://a/b@refs%2Fpr%2F3/x", hub("a/b", "refs/pr/3", "x"), "hf://a/b@refs%2Fpr%2F3/x"},
		{"hf://a/b@refs/convert/parquet-v2/x", hub("a/b", "refs/convert/parquet-v2", "x"), "hf://a/b@refs%2Fconvert%2Fparquet-v2/x"},
		{"hf://a/b@refs/other/3", hub("a/b", "refs", "other/3"), "hf://a/b@refs/other/3"},
		{"hf://a/b@feature%2Fx/y", hub("a/b", "feature/x", "y"), "hf://a/b@feature%2Fx/y"},
		{"hf://a/b@100%25/y", hub("a/b", "100%", "y"), "hf://a/b@100%25/y"},
		{"hf://a/b@" + sha + "/m.gguf", hub("a/b", sha, "m.gguf"), "hf://a/b@" + sha + "/m.gguf"},
		{"hf://a/b/file@2.gguf", hub("a/b", "", "file@2.gguf"), "hf://a/b/file@2.gguf"},
		{"hf://a/b@v1/file@2 100%.gguf", hub("a/b", "v1", "file@2 100%.gguf"), "hf://a/b@v1/file@2 100%.gguf"},
		{"https://huggingface.co/a/b", hub("a/b", "", ""), "hf://a/b"},
		{"https://hf.co/a/b/", hub("a/b", "", ""), "hf://a/b"},
		{"https://huggingface.co/models/a/b", hub("a/b", "", ""), "hf://a/b"},
		{"http://HuggingFace.co/datasets/a/b/tree/main", dataset("a/b", "main", ""), "hf://datasets/a/b@main"},
		{"https://huggingface.co/a/b/blob/main/x%20y/m.gguf?download=true#L3", hub("a/b", "main", "x y/m.gguf"), "hf://a/b@main/x y/m.gguf"},
		{"https://huggingface.co/a/b/resolve/refs%2Fpr%2F3/m.gguf", hub("a/b", "refs/pr/3", "m.gguf"), "hf://a/b@refs%2Fpr%2F3/m.gguf"},
		{"https://huggingface.co/a/b/tree/refs/pr/3/x", hub("a/b", "refs/pr/3", "x"), "hf://a/b@refs%2Fpr%2F3/x"},
		{"https://huggingface.co/a/b/raw/main/c.json", hub("a/b", "main", "c.json"), "hf://a/b@main/c.json"},
		{"https://huggingface.co/a/b/blame/main/c.json", hub("a/b", "main", "c.json"), "hf://a/b@main/c.json"},
		{"https://mirror.example:8443/hf/a/b/blob/main/c.json", hub("a/b", "main", "c.json"), "hf://a/b@main/c.json"},
		{"https://mirror.example:8443/other/c.json", Ref{Kind: URL, ID: "https://mirror.example:8443", Path: "other/c.json"}, "https://mirror.example:8443/other/c.json"},
		{"https://Example.com:443/x%20y/m.gguf?sig=s3cret", Ref{Kind: URL, ID: "https://example.com", Path: "x%20y/m.gguf", Query: "sig=s3cret"}, "https://example.com/x%20y/m.gguf"},
		{"http://localhost:80/m.gguf", Ref{Kind: URL, ID: "http://localhost", Path: "m.gguf"}, "http://localhost/m.gguf"},
		{"modelscope://a/b@v1/m.gguf", Ref{Kind: ModelScope, ID: "a/b", Rev: "v1", Path: "m.gguf"}, "modelscope://a/b@v1/m.gguf"},
		{"https://www.modelscope.cn/models/a/b", scope("", ""), "modelscope://a/b"},
		{"https://modelscope.cn/models/a/b/files", scope("", ""), "modelscope://a/b"},
		{"https://www.modelscope.cn/models/a/b/file/view/master/x%2Fm.gguf?status=2", scope("master", "x/m.gguf"), "modelscope://a/b@master/x/m.gguf"},
		{"https://www.modelscope.cn/models/a/b/resolve/v1/m.gguf", scope("v1", "m.gguf"), "modelscope://a/b@v1/m.gguf"},
		{"https://www.modelscope.cn/api/v1/models/a/b/repo?FilePath=m.gguf", Ref{Kind: URL, ID: "https://www.modelscope.cn", Path: "api/v1/models/a/b/repo", Query: "FilePath=m.gguf"}, "https://www.modelscope.cn/api/v1/models/a/b/repo"},
		{"ollama:llama3", ollama("llama3", "latest", ""), "ollama://llama3:latest"},
		{"ollama:llama3:8b", ollama("llama3", "8b", ""), "ollama://llama3:8b"},
		{"ollama://llama3:8b/model.gguf", ollama("llama3", "8b", "model.gguf"), "ollama://llama3:8b/model.gguf"},
		{"ollama:me/llama3", ollama("me/llama3", "latest", ""), "ollama://me/llama3:latest"},
		{"ollama:hf.co/a/b:Q4_K_M", ollama("hf.co/a/b", "Q4_K_M", ""), "ollama://hf.co/a/b:Q4_K_M"},
		{"ollama:localhost:5000/a/b", ollama("localhost:5000/a/b", "latest", ""), "ollama://localhost:5000/a/b:latest"},
		{"ollama:localhost:5000/a/b:x/model.gguf", ollama("localhost:5000/a/b", "x", "model.gguf"), "ollama://localhost:5000/a/b:x/model.gguf"},
	}
	for _, tt := range tests {
		got, err := Parse(tt.ref, "https://mirror.example:8443/hf/")
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.ref, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", tt.ref, diff)
		}
		if s := got.String(); s != tt.text {
			t.Errorf("Parse(%q) is %q, want %q", tt.ref, s, tt.text)
		}
		if again, err := Parse(got.String(), ""); err != nil || again.String() != tt.text {
			t.Errorf("Parse(%q) = %+v, %v, not what its String came from", got, again, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct{ ref, want string }{
		{"hf://gpt2", "hf://NAMESPACE/NAME"},
		{"hf://", "hf://NAMESPACE/NAME"},
		{"hf://a/", "hf://NAMESPACE/NAME"},
		{"hf://datasets/a", "hf://datasets/NAMESPACE/NAME"},
		{"hf://model/a/b", "hf://models/a/b"},
		{"hf://dataset/a/b", "hf://datasets/a/b"},
		{"hf://spaces/a/b", "a space holds a program"},
		{"hf://buckets/a/b", "buckets are not read"},
		{"hf://a/b@", "revision behind @ is empty"},
		{"hf://a/b@/x", "revision behind @ is empty"},
		{"hf://a/b@%zz/x", "%25"},
		{"hf://a/b@..%2Fx", "git allows"},
		{"hf://a/b@x%20y", "git does not allow"},
		{"hf://a/b@refs/pr/3x/y", `begins with a slash`},
		{"hf://a/b//c", `path "/c" has an empty segment`},
		{"hf://a/b/../c", `segment ".."`},
		{`hf://a/b/c\d`, "separated by /"},
		{"hf://a--b/c", "cannot be in a repository's name"},
		{"hf://../b/c", "cannot be in a repository's name"},
		{"hf://a/b-GGUF:Q4_K_M", `a file is not chosen by ":Q4_K_M" but by its path, a/b-GGUF/FILE.gguf`},
		{"https://hf.co/a/b:Q4_0", `a file is not chosen by ":Q4_0"`},
		{"https://www.modelscope.cn/models/a", "modelscope://NAMESPACE/NAME"},
		{"https://www.modelscope.cn/datasets/a/b", "modelscope://NAMESPACE/NAME"},
		{"https://www.modelscope.cn/models/a/b/file/history/x", `the page "file/history/x" of a model`},
		{"https://www.modelscope.cn/models/a/b/resolve/master/../x", `segment ".."`},
		{"https://www.modelscope.cn/models/a/b/resolve/..%2fx/m", "git allows"},
		{"hf://a/b\x1b", "control character"},
		{"https://huggingface.co/gpt2", "hf://NAMESPACE/NAME"},
		{"https://huggingface.co/", "hf://NAMESPACE/NAME"},
		{"https://huggingface.co/api/models/a/b", "hf://NAMESPACE/NAME"},
		{"https://huggingface.co/spaces/a/b/blob/main/app.py", "a space holds a program"},
		{"https://huggingface.co/a/b/discussions/3", `"discussions"`},
		{"https://huggingface.co/a/b%40v1/blob/main/x", "cannot be in a repository's name"},
		{"https://huggingface.co/a/b/blob/main/..%2F..%2Fx", "cannot hold a slash"},
		{"https://huggingface.co/a/b/blob/main/%2e%2e/x", `segment ".."`},
		{"https://example.com/", "URL of a directory"},
		{"https://example.com/models/", "URL of a directory"},
		{"https:///x", "without a host"},
		{"https://me:s3cret@example.com/x", "user's name"},
		{"https://example.com/%zz?sig=s3cret", "not a URL"},
		{"modelscope://a", "modelscope://NAMESPACE/NAME"},
		{"ollama:", "cannot be in the name"},
		{"ollama:llama3:", "tag behind : is empty"},
		{"ollama:../../x", "cannot be in the name"},
		{"ollama:a/b/c/d", "[[HOST/]NAMESPACE/]MODEL[:TAG]"},
		{"s3://bucket/m.gguf?sig=s3cret", "s3"},
	}
	for _, tt := range tests {
		got, err := Parse(tt.ref, "")
		if err == nil {
			t.Errorf("Parse(%q) = %+v, want an error with %q", tt.ref, got, tt.want)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Parse(%q): %v; want %q", tt.ref, err, tt.want)
		}
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("Parse(%q) shows a signature: %v", tt.ref, err)
		}
	}
}

// TestRefPaths: what Join and Dir make of a reference is a reference of the same
// repository and revision.
func TestRefPaths(t *testing.T) {
	for _, rev := range []string{"", "main", "refs/pr/3", "feature/x", sha} {
		dir := Ref{ID: "a/b", Rev: rev}
		file, err := Parse(source.Join(source.Join(dir.String(), "d"), "m 1%.gguf"), "")
		if want := (Ref{ID: "a/b", Rev: rev, Path: "d/m 1%.gguf"}); err != nil || file != want {
			t.Errorf("at %q: %+v, %v", rev, file, err)
		}
		up, err := Parse(source.Dir(source.Dir(file.String())), "")
		if err != nil || up != dir {
			t.Errorf("at %q: %+v, %v is the directory of %s", rev, up, err, file)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"hf://a/b@refs/pr/3/x", "hf://datasets/a/b@f%2Fx", "https://huggingface.co/a/b/blob/main/x", "https://h/x%20?q=1",
		"ollama:localhost:5000/a/b:x/model.gguf", "modelscope://a/b@v1/x", "hf://a/b/@",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s, "https://e.example/p")
		if err != nil {
			return
		}
		again, err := Parse(r.String(), "https://e.example/p")
		r.Query = ""
		if err != nil || again != r {
			t.Fatalf("%q is %+v, written %q, and that is %+v, %v", s, r, r, again, err)
		}
		for part := range strings.SplitSeq(r.Path, "/") {
			if part == ".." || part == "." {
				t.Fatalf("%q has the path %q", s, r.Path)
			}
		}
	})
}
