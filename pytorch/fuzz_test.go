package pytorch

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	tt "github.com/wtinspect/wtinspect/internal/torchtest"
	"github.com/wtinspect/wtinspect/internal/ziparchive"
)

// examine tries all that a file of any bytes may be asked.
func examine(t *testing.T, b []byte) {
	f, err := NewFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		flt, ok := err.(*Fault)
		if !ok || flt.Offset > int64(len(b)) {
			t.Fatalf("error is no fault of the file: %#v", err)
		}
		return
	}
	for _, flt := range f.Validate() {
		if flt.Offset < -1 || flt.Offset > int64(len(b)) || !utf8.ValidString(flt.Error()) {
			t.Fatalf("fault %+v in %d bytes", flt, len(b))
		}
	}
	readAll(t, f)
	for _, kv := range f.Metadata() {
		for _, most := range []int{0, 1 << 10} {
			if s := Repr(kv.Value, most); len(s) > max(most, reprLen)+len("…") || !utf8.ValidString(s) {
				t.Fatalf("metadata %q: %q", kv.Key, s)
			}
		}
	}
	for _, s := range f.Subtrees() {
		if sub, ok := f.Subtree(s.Path); ok {
			readAll(t, sub)
		}
	}
	if all, ok := f.Subtree(""); ok && all.Len() < f.Len() {
		t.Fatalf("%d tensors, and %d of them listed", all.Len(), f.Len())
	}
	for _, g := range f.Globals() {
		if g.Offset < -1 || g.Offset >= int64(len(b)) || (g.Calls > 0) != (g.Call.Opcode != "") {
			t.Fatalf("global %+v", g)
		}
	}
}

// FuzzNewFile reads anything: archives, streams and pickles.
func FuzzNewFile(f *testing.F) {
	for _, h := range hostiles() {
		if len(h.data) <= 4096 {
			f.Add(h.data)
		}
	}
	export := &tt.Zip{Members: []*tt.Member{{Name: "m/archive_format", Data: []byte("pt2")}, {Name: "m/data/weights/weight_0", Data: []byte("ab")}, {
		Name: "m/data/weights/model_weights_config.json",
		Data: []byte(`{"config":{"w":{"path_name":"weight_0","use_pickle":false,"tensor_meta":{"dtype":1,"sizes":[{"as_int":2}],"strides":[{"as_int":1}],"storage_offset":{"as_int":0},"layout":7}}}}`),
	}}}
	f.Add(export.Bytes())
	for _, b := range containers(tt.File{Root: lightning(), Protocol: 4}) {
		f.Add(b)
	}
	f.Fuzz(examine)
}

// FuzzPickle reads anything as the pickle of an archive.
func FuzzPickle(f *testing.F) {
	for protocol := range 6 {
		f.Add(tt.File{Root: lightning(), Protocol: protocol}.Zip().Find("data.pkl").Data)
	}
	for _, h := range hostiles() {
		if a, err := ziparchive.Read(bytes.NewReader(h.data), int64(len(h.data))); err == nil {
			if m, n, err := a.Find("archive/data.pkl"); n > 0 && err == nil {
				if pickle, _, err := a.Contents(m, 4096); err == nil {
					f.Add(pickle)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, pickle []byte) {
		examine(t, archived(string(pickle)))
		w := &window{size: int64(len(pickle)), buf: pickle}
		o, err := w.skim(0)
		v, ran, err2 := newMachine(w).run(0)
		if err2 == nil && (err != nil || o.end != ran) {
			t.Fatalf("ends at %d, %v, and at %d when it is carried out", o.end, err, ran)
		}
		if s := repr(v); len(s) > reprLen+len("…") {
			t.Fatalf("%d bytes: %s", len(s), s)
		}
	})
}

// fragments are opcodes with operands that may make sense, so that random programs do
// something before they fail.
var fragments = []string{
	"(", "0", "1", "2", "N", "\x88", "\x89", "K\x00", "K\x01", "K\x02", "K\x06", "M\xff\xff", "J\xff\xff\xff\xff", "\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x01",
	"G\x3f\xf0\x00\x00\x00\x00\x00\x00", "F1e3\n", "I01\n", "L9L\n", "U\x01a", "X\x07\x00\x00\x00storage", "X\x01\x00\x00\x000", "X\x03\x00\x00\x00a.b",
	"X\x05\x00\x00\x00state", "X\x0c\x00\x00\x00param_groups", "X\x08\x00\x00\x00_modules", "X\x0b\x00\x00\x00_parameters", "X\x00\x00\x00\x00", "C\x05\x80\x03NN.",
	")", "\x85", "\x86", "\x87", "t", "]", "l", "\x8f", "\x91", "a", "e", "\x90", "}", "d", "s", "u", "R", "b", "\x81", "\x92", "o", "Q", "P('storage', None)\n",
	"\x95\x02\x00\x00\x00\x00\x00\x00\x00", "\x95\x09\x00\x00\x00\x00\x00\x00\x00", "I5\x00\n",
	"q\x00", "q\x01", "r\x02\x00\x00\x00", "\x94", "h\x00", "h\x01", "j\x02\x00\x00\x00", "g3\n", "\x82\x01", "\x93", "icollections\nCounter\n",
	"cos\nsystem\n", "ctorch\nFloatStorage\n", "ctorch.storage\nUntypedStorage\n", "ctorch\nfloat8_e5m2\n", "ctorch\nSize\n", "ctorch._utils\n_rebuild_tensor_v2\n",
	"ctorch._utils\n_rebuild_tensor_v3\n", "ctorch._utils\n_rebuild_parameter\n", "ctorch._utils\n_rebuild_sparse_tensor\n", "ctorch._utils\n_rebuild_wrapper_subclass\n",
	"ctorch._utils\n_rebuild_meta_tensor_no_storage\n", "ctorch._tensor\n_rebuild_from_type_v2\n", "ctorch\nTensor\n", "ccollections\nOrderedDict\n",
	"ccollections\ndefaultdict\n", "c__builtin__\nset\n", "c_codecs\nencode\n", "ccopy_reg\n_reconstructor\n", "ccopy_reg\n__newobj__\n", "ctorch\ndevice\n",
	aTensor, aTensor, "(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ", "(K\x02K\x03t", "(K\x03K\x01t",
	"(ctorch._utils\n_rebuild_wrapper_subclass\nctorch\nTensor\n(ctorch\nTensor\nctorch\nfloat32\n(K\x02t(K\x01tK\x00t}X\x01\x00\x00\x00a" + aTensor + "st",
	"}X\x08\x00\x00\x00_modules}X\x01\x00\x00\x00m" + aTensor + "ss",
}

// FuzzProgram carries out the fragments that bytes choose.
func FuzzProgram(f *testing.F) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		b := make([]byte, rng.IntN(60))
		for i := range b {
			b[i] = byte(rng.IntN(len(fragments)))
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		// The stack does not run dry at once, and the memo has containers, so that some
		// come to contain themselves.
		var b strings.Builder
		b.WriteString("\x80\x02NN]q\x00}q\x01" + aTensor + "r\x02\x00\x00\x00cos\nsystem\n)Rp3\n(K\x01(K\x02")
		for _, c := range program {
			b.WriteString(fragments[int(c)%len(fragments)])
		}
		b.WriteString("l.")
		examine(t, archived(b.String()))
	})
}
