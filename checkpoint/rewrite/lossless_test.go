package rewrite

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/internal/txn/faulttest"
)

// TestLossless renames in headers that no tidy writer makes: everything but
// the names keeps its bytes.
func TestLossless(t *testing.T) {
	const m = "rename:\n  \"{a...}ln1{b...}\": \"{a}input_layernorm{b}\"\n"
	// In a header, @ stands for the renamed part, and DATA for the data.
	tests := []struct{ name, header, data string }{
		{"spacing and order", `  { "b.@" :{"shape" : [ 2 ],"data_offsets":[4 , 6],  "dtype":"U8"}, "__metadata__" : {"k":"ln1", "z":""} ,"a.@":{"dtype":"I32","shape":[],"data_offsets":[0,4]}` + "\n}\n\t ", "abcdef"},
		{"unknown fields", `{"a.@":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"ln1":{"ln1":[{}, "}"]}}}`, "a"},
		{"not a multiple of 8", `{"a.@":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}   `, "abc"},
		{"null metadata", `{"__metadata__":null,"a.@":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}`, "abc"},
		{"trailing bytes", `{"a.@":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}`, "abc and what else is there"},
		{"truncated data", `{"a.@":{"dtype":"U8","shape":[300],"data_offsets":[0,300]}}`, "abc"},
		{"overlap", `{"a.@":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, "abc"},
		{"unknown dtype", `{"a.@":{"dtype":"Q7","shape":[3],"data_offsets":[0,3]}}`, "abc"},
		{"no data", `{"a.@":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, ""},
		{"name needs escapes", `{"\u0061\"\\\n.@":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\/ kept \u00e9":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}`, "x"},
	}
	for _, tt := range tests {
		for _, verify := range []Verify{VerifyDefault, VerifyFull} {
			for _, insert := range []bool{false, true} {
				t.Run(fmt.Sprint(tt.name, "/", verify, "/insert=", insert), func(t *testing.T) {
					ref := filepath.Join(t.TempDir(), "m.safetensors")
					old := strings.ReplaceAll(tt.header, "@", "ln1")
					file := binary.LittleEndian.AppendUint64(nil, uint64(len(old)))
					must(t, os.WriteFile(ref, append(append(file, old...), tt.data...), 0o600))
					runJob(t, faulttest.Hasty(faulttest.Limited{Insert: insert}), ref, parseMap(t, m), &Options{Verify: verify})
					b, err := os.ReadFile(ref)
					must(t, err)
					n := binary.LittleEndian.Uint64(b)
					want := strings.TrimRight(strings.ReplaceAll(tt.header, "@", "input_layernorm"), " \t\r\n")
					if strings.Contains(want, `\u0061`) { // a name that changes is written anew
						want = strings.Replace(want, `\u0061\"\\\n`, `a\"\\\u000a`, 1)
					}
					got := strings.TrimRight(string(b[8:8+n]), " ")
					if got != want && got != strings.ReplaceAll(want, `\u000a`, `\n`) {
						t.Errorf("header %q\nwant   %q", got, want)
					}
					if data := string(b[8+n:]); data != tt.data {
						t.Errorf("data %q, want %q", data, tt.data)
					}
					if st, err := os.Stat(ref); err != nil || st.Mode().Perm() != 0o600 && os.PathSeparator == '/' {
						t.Errorf("mode %v, error %v", st.Mode(), err)
					}
				})
			}
		}
	}
}

// TestGGUFDialects renames in files of every version and byte order; records
// of the metadata keep their bytes.
func TestGGUFDialects(t *testing.T) {
	body := `
kv general.architecture str llama
kv a.array [f32] 1 2 3
kv a.raw raw "\x08\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\xff\xfe\xfd"
tensor blk.{0..3}.ln1.weight F32 [32]
tensor blk.{0..3}.q.weight Q8_0 [4,32]
`
	for name, head := range map[string]string{
		"v2": "version 2", "v3": "", "big-endian": "order big", "FUGG": "order big\nmagic FUGG",
		"alignment 64": "kv general.alignment u32 64", "alignment 8": "kv general.alignment u32 8", "alignment 65536": "kv general.alignment u32 65536",
	} {
		for _, way := range []string{"insert", "copy", "headroom"} {
			t.Run(name+"/"+way, func(t *testing.T) {
				text := body
				if strings.Contains(head, "big") {
					text = strings.Replace(text, `kv a.raw raw "\x08\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\xff\xfe\xfd"`, `kv a.raw raw "\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x03\xff\xfe\xfd"`, 1)
				}
				ref := filepath.Join(t.TempDir(), "m.gguf")
				must(t, fixture.Write(ref, "format gguf\n"+head+"\n"+text))
				records := func() (out []string) {
					f, err := gguf.Open(ref)
					must(t, err)
					defer f.Close()
					b, err := os.ReadFile(ref)
					must(t, err)
					for _, kv := range f.KVs {
						if kv.Key != gguf.FillerKey {
							out = append(out, string(b[kv.Offset:kv.End]))
						}
					}
					return append(out, fmt.Sprint(f.Version, f.ByteOrder, f.Alignment, string(b[:8])))
				}
				before, kvs := renamed(tensorsOf(t, ref)), records()
				opts := &Options{}
				if way == "headroom" {
					opts.Headroom = 1000
				}
				j, _ := runJob(t, faulttest.Hasty(faulttest.Limited{Insert: way == "insert"}), ref, parseMap(t, ggufMap), opts)
				if got := tensorsOf(t, ref); strings.Join(got, "\n") != strings.Join(before, "\n") {
					t.Errorf("tensors\n%q\nwant\n%q", got, before)
				}
				if got := records(); strings.Join(got, "\x00") != strings.Join(kvs, "\x00") {
					t.Errorf("metadata %q, want %q", got, kvs)
				}
				if way == "copy" && j.Files[0].Filler {
					t.Error("a copy has a filler")
				}
			})
		}
	}
}

func TestHugeAlignment(t *testing.T) {
	ref := filepath.Join(t.TempDir(), "m.gguf")
	must(t, fixture.Write(ref, "format gguf\nalign 64\nkv general.alignment u32 1073741824\ntensor a.ln1.weight F32 [8]\ntruncate 1073741900\n"))
	_, err := prepareTest(t, txn.OS{}, ref, "rename:\n  a.ln1.weight: b\n", nil)
	if err == nil || !strings.HasSuffix(err.Error(), "an alignment of 1073741824 bytes is not supported; the limit is 1048576") {
		t.Errorf("error %v", err)
	}
}
