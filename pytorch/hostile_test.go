package pytorch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/big"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	tt "github.com/wtinspect/wtinspect/internal/torchtest"
)

// A hostile is a file that is wrong in one way, or odd and right.
type hostile struct {
	name string
	data []byte
	open Code   // of the fault that Open returns, "" for none
	want string // what is in Open's fault; otherwise the codes of Validate's faults, each once
	n    int    // tensors, of which those without a fault can be read
}

// archived is a checkpoint with data.pkl and a storage 0 of 24 bytes.
func archived(pickle string) []byte {
	return (&tt.Zip{Members: []*tt.Member{
		{Name: "archive/data.pkl", Data: []byte(pickle)},
		{Name: "archive/data/0", Data: make([]byte, 24)},
		{Name: "archive/version", Data: []byte("3\n")},
	}}).Bytes()
}

// Opcodes that recur: a tensor of storage 0, and a call of os.system.
const (
	aTensor = "ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQK\x00K\x02K\x03\x86K\x03K\x01\x86\x89)tR"
	aCall   = "cos\nsystem\nX\x02\x00\x00\x00id\x85R"
)

func le64(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }

func key(k string, v any) tt.Dict { return tt.Dict{{Key: k, Value: v}} }

// good is an archive without a fault.
func good() *tt.Zip {
	return tt.File{Root: key("w", tt.NewTensor("float32", 1, 2, 3)), Protocol: 2}.Zip()
}

func hostiles() []hostile {
	// bad is good, changed.
	bad := func(change func(z *tt.Zip)) []byte {
		z := good()
		change(z)
		return z.Bytes()
	}
	// of is an archive of values.
	of := func(root any) []byte { return tt.File{Root: root, Protocol: 2}.Zip().Bytes() }
	// tensor is an archive of a tensor of six floats, changed.
	tensor := func(change func(t *tt.Tensor)) []byte {
		t := tt.NewTensor("float32", 1, 2, 3)
		change(t)
		return of(key("w", t))
	}
	// args is an archive with a call of _rebuild_tensor_v2, with an argument changed.
	args := func(i int, v any) []byte {
		a := tt.Tuple{tt.NewTensor("float32", 1, 2, 3).Storage, 0, tt.Tuple{2, 3}, tt.Tuple{3, 1}, false, tt.Ordered{}}
		a[i] = v
		return of(key("w", tt.Call{Func: tt.Named("torch._utils._rebuild_tensor_v2"), Args: a}))
	}
	legacy := func(root any) []byte { return tt.File{Root: root, Protocol: 2}.Legacy() }
	wholeLegacy := legacy(key("w", tt.NewTensor("float32", 1, 2, 3)))
	magic := string(wholeLegacy[:15])
	listedTwice := legacy(key("w", tt.NewTensor("int8", 1, 3)))
	listedTwice = bytes.Replace(listedTwice, []byte(tt.Pickle(2, tt.List{"1400000000"})), []byte(tt.Pickle(2, tt.List{"1400000000", "1400000000"})), 1)
	listedTwice = append(listedTwice, le64(3)+"abc"...)
	rebuilt := func(name string, args ...any) tt.Call {
		return tt.Call{Func: tt.Named("torch._utils." + name), Args: args}
	}
	big64, _ := new(big.Int).SetString("18446744073709551616", 10)
	header := uint64(0)

	list := []hostile{
		{name: "good", data: good().Bytes(), n: 1},

		// What is met under the name of a checkpoint.
		{name: "empty", data: nil, open: CodeNotTorch, want: "empty"},
		{name: "one byte", data: []byte("P"), open: CodeNotTorch},
		{name: "git-lfs pointer", data: []byte("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5368709120\n"), open: CodeNotTorch, want: "git lfs pull"},
		{name: "html", data: []byte("\n<!DOCTYPE html><html>"), open: CodeNotTorch, want: "HTML"},
		{name: "7z", data: []byte("7z\xbc\xaf\x27\x1c\x00\x04"), open: CodeNotTorch, want: "7z"},
		{name: "gzip", data: []byte("\x1f\x8b\x08\x00\x00"), open: CodeNotTorch, want: "gzip"},
		{name: "gguf", data: []byte("GGUF\x03\x00\x00\x00\x00\x00"), open: CodeNotTorch, want: "GGUF"},
		{name: "safetensors", data: []byte("\x28\x00\x00\x00\x00\x00\x00\x00{}"), open: CodeNotTorch, want: "safetensors"},
		{name: "tar", data: append(append([]byte("storages"), make([]byte, 249)...), "ustar\x0000"...), open: CodeTar, want: "0.1.10"},
		{name: "zeros", data: make([]byte, 4096), open: CodeNotTorch},
		{name: "text", data: []byte("(This is not the model you are looking for.)\n"), open: CodeNotTorch},

		// The machine.
		{name: "stop alone", data: archived("\x80\x02."), open: CodeStack, want: "empty stack"},
		{name: "no stop", data: archived("\x80\x02N"), open: CodeTruncated, want: "STOP"},
		{name: "protocol 6", data: archived("\x80\x06N."), open: CodeProtocol, want: "protocol 6"},
		{name: "no opcode", data: archived("\x80\x02N\xff."), open: CodeOpcode, want: "0xff"},
		{name: "append to nothing", data: archived("\x80\x02Na."), open: CodeStack},
		{name: "tuple without a mark", data: archived("\x80\x02Nt."), open: CodeStack, want: "mark"},
		{name: "tuple of too few", data: archived("\x80\x02N\x87."), open: CodeStack},
		{name: "tuple beyond a mark", data: archived("\x80\x02NN(N\x86."), open: CodeStack},
		{name: "pop of nothing", data: archived("\x80\x020N."), open: CodeStack},
		{name: "pop of a mark", data: archived("\x80\x02(0" + "}X\x01\x00\x00\x00w" + aTensor + "s."), n: 1},
		{name: "pop to no mark", data: archived("\x80\x02N1."), open: CodeStack},
		{name: "values left", data: archived("\x80\x02N(" + aTensor + "."), want: "leftover", n: 1},
		{name: "memo not set", data: archived("\x80\x02h\x05."), open: CodeMemo, want: "entry 5"},
		{name: "memo set later", data: archived("\x80\x02h\x00Nq\x00."), open: CodeMemo},
		{name: "memo of 2^32-1", data: archived("\x80\x02" + aTensor + "r\xff\xff\xff\xff0j\xff\xff\xff\xff."), n: 1},
		{name: "put of nothing", data: archived("\x80\x02q\x00N."), open: CodeStack},
		{name: "memoize after a huge put", data: archived("\x80\x04Nr\xff\xff\xff\xff" + aTensor + "\x94" + "h\x01."), want: "leftover", n: 1},
		{name: "put of no number", data: archived("Npx\n."), open: CodeOpcode},
		{name: "get of a negative number", data: archived("Ng-1\n."), open: CodeOpcode},
		{name: "long of 2 GiB", data: archived("\x80\x02\x8b\xff\xff\xff\x7f."), open: CodeTruncated},
		{name: "long of a negative size", data: archived("\x80\x02\x8b\xff\xff\xff\xff."), open: CodeOpcode, want: "negative"},
		{name: "string of a negative size", data: archived("\x80\x02T\xff\xff\xff\xff."), open: CodeOpcode, want: "negative"},
		{name: "text of 2^63 bytes", data: archived("\x80\x04\x8d" + le64(1<<63) + "."), open: CodeTruncated},
		{name: "bytes of 2^64-1 bytes", data: archived("\x80\x04\x8e" + le64(1<<64-1) + "."), open: CodeTruncated},
		{name: "byte array of 2^40 bytes", data: archived("\x80\x05\x96" + le64(1<<40) + "."), open: CodeTruncated},
		{name: "frame beyond the end", data: archived("\x80\x04\x95" + le64(1<<40) + "N."), open: CodeTruncated, want: "frame"},
		{name: "buffer outside", data: archived("\x80\x05\x97."), open: CodeOpcode, want: "buffers"},
		{name: "bad float", data: archived("F1.5x\n."), open: CodeOpcode},
		{name: "bad integer", data: archived("Iten\n."), open: CodeOpcode},
		{name: "integer of 5,000 digits", data: archived("L" + strings.Repeat("9", 5000) + "L\n."), open: CodeLimit},
		{name: "bad string", data: archived("Sabc\n."), open: CodeOpcode},
		{name: "string of a lone backslash", data: archived(`S'\'` + "\n."), open: CodeOpcode},
		{name: "bad escape", data: archived("V\\u12\n."), open: CodeOpcode},
		{name: "line without an end", data: archived("V" + strings.Repeat("a", 3<<20)), open: CodeLimit, want: "line"},
		{name: "odd number of items", data: archived("\x80\x02}(Nu."), open: CodeStack},
		{name: "object of no class", data: archived("\x80\x02(o."), open: CodeStack},
		{name: "global of numbers", data: archived("\x80\x04K\x01K\x02\x93."), open: CodeStack, want: "not a string"},
		{name: "items of a list", data: archived("\x80\x02]K\x00" + aTensor + "s."), want: "bad_target empty lost_tensor"},
		{name: "items of a tensor", data: archived("\x80\x02" + aTensor + "X\x01\x00\x00\x00aNs."), want: "bad_target", n: 1},
		{name: "append to a tuple", data: archived("\x80\x02)Na."), want: "bad_target empty unused_storage"},
		{name: "call without a tuple", data: archived("\x80\x02cos\nsystem\nNR."), want: "bad_target empty unused_storage"},
		{name: "call of a number", data: archived("\x80\x02K\x01)R."), want: "bad_target empty unused_storage"},
		{name: "state of None", data: archived("\x80\x02N}b."), want: "bad_target empty unused_storage"},
		{name: "calls and breaks off", data: archived("\x80\x02" + aCall + "0N"), open: CodeTruncated, want: "calls os.system"},
		{name: "calls and breaks", data: archived("\x80\x02" + aCall + "0\xff"), open: CodeOpcode, want: "calls os.system"},
		{name: "calls in a stream that breaks", data: []byte("cos\nsystem\n(S'id'\ntR\xff"), open: CodeOpcode, want: "calls os.system"},
		{name: "plain pickle of protocol 0", data: []byte("cos\nsystem\n(S'id'\ntR."), want: "empty"},
		{name: "two pickles", data: archived("\x80\x02" + aTensor + ".\x80\x02" + aCall + "."), want: "more_pickles", n: 1},
		{name: "bytes after the pickle", data: archived("\x80\x02" + aTensor + ".hidden"), want: "after_stop", n: 1},
		{name: "pickle in a string", data: archived("\x80\x03}X\x01\x00\x00\x00w" + aTensor + "sX\x01\x00\x00\x00pC\x05\x80\x03NN.s."), want: "nested_pickle", n: 1},
		{name: "pickle in text", data: of(tt.Dict{{Key: "w", Value: tt.NewTensor("int8", 0, 2)}, {Key: "p", Value: tt.Pickle(2, 1)}}), want: "nested_pickle", n: 1},
		{name: "another storage for a tensor", data: of(key("w", tt.Call{Func: tt.Named("torch._utils._rebuild_parameter"), Args: tt.Tuple{tt.NewTensor("int8", 0, 2), false, tt.Ordered{}}, State: tt.Tuple{tt.NewTensor("int8", 1, 2).Storage, 0, tt.Tuple{2}, tt.Tuple{1}}})), want: "bad_target", n: 1},
		{name: "no storage in a string", data: of(key("w", tt.Call{Func: tt.Named("torch.storage._load_from_bytes"), Args: tt.Tuple{[]byte("\x80\x02N.")}})), want: "bad_tensor empty nested_pickle"},
		{name: "a string that is no file", data: of(key("w", tt.Call{Func: tt.Named("torch.storage._load_from_bytes"), Args: tt.Tuple{[]byte("PK\x03\x04")}})), want: "bad_tensor empty nested_pickle"},
		{name: "key twice", data: of(append(key("w", tt.NewTensor("int8", 0, 2)), key("w", tt.NewTensor("int8", 1, 3))...)), want: "duplicate_key lost_tensor", n: 1},
		{name: "equal keys of other types", data: of(tt.Dict{{Key: 1, Value: tt.NewTensor("int8", 0, 2)}, {Key: true, Value: 1}, {Key: 1.0, Value: tt.NewTensor("int8", 0, 2)}}), want: "duplicate_key lost_tensor", n: 1},

		// Values that grow, or never end.
		{name: "nested without end", data: archived("\x80\x02N" + strings.Repeat("\x85", 200_000) + "."), want: "empty unused_storage"},
		{name: "tensor deep down", data: archived("\x80\x02" + aTensor + strings.Repeat("\x85", 1200) + "."), open: CodeDepth},
		{name: "tensor 900 down", data: archived("\x80\x02" + aTensor + strings.Repeat("\x85", 900) + "."), n: 1},
		{name: "doubled by dup", data: archived("\x80\x02N" + strings.Repeat("2\x86", 100) + "."), want: "empty unused_storage"},
		{name: "tensors doubled by dup", data: archived("\x80\x02" + aTensor + strings.Repeat("2\x86", 100) + "."), open: CodeLimit},
		{name: "tensors doubled by the memo", data: archived("\x80\x02" + aTensor + strings.Repeat("q\x00h\x00\x86", 100) + "."), open: CodeLimit},
		{name: "doubled under an empty key", data: archived("\x80\x02" + aTensor + strings.Repeat("q\x000}(X\x00\x00\x00\x00h\x00K\x01h\x00u", 60) + "."), open: CodeLimit},
		{name: "much looked at again and again", data: archived("\x80\x02" + aTensor + "q\x010(" + strings.Repeat("N", 50_000) + "h\x01lq\x020(" + strings.Repeat("h\x02", 50_000) + "l."), open: CodeLimit},
		{name: "list that contains itself", data: archived("\x80\x02]q\x00h\x00a" + aTensor + "a."), n: 1},
		{name: "dictionary that contains itself", data: archived("\x80\x02}q\x00(X\x01\x00\x00\x00ah\x00X\x01\x00\x00\x00w" + aTensor + "u."), n: 1},
		// Each of two lists contains the other, and the tensor is in one.
		{name: "two that contain each other", data: archived("\x80\x02]q\x00]q\x01h\x00aa0(h\x00h\x01h\x00" + aTensor + "a0t."), n: 2},
		{name: "call of a result", data: archived("\x80\x02cx\ny\n)Rq\x00)R}(X\x01\x00\x00\x00sh\x00X\x01\x00\x00\x00w" + aTensor + "ub."), want: "called_result", n: 1},
		{name: "a million marks", data: archived("\x80\x02" + strings.Repeat("(", 1<<20) + "."), open: CodeStack},
		{name: "dictionaries", data: archived("\x80\x02(" + strings.Repeat("}", 2<<20) + "t."), open: CodeLimit},
		{name: "names", data: archived("\x80\x02(" + manyNames(maxGlobals+1) + "t."), open: CodeLimit, want: "imports more than 10000 names"},
		{name: "memo of many", data: archived("\x80\x04N" + strings.Repeat("\x94", 1<<20) + "."), want: "empty unused_storage"},
		{name: "copies of a dictionary", data: archived("\x80\x02ccollections\nOrderedDict\nq\x00}(" + strings.Repeat("K\x01N", 30_000) + "u\x85q\x01(" + strings.Repeat("h\x00h\x01R", 5000) + "t."), open: CodeLimit},
		{name: "copies of a shape", data: archived("\x80\x02(" + strings.Repeat("K\x01", 50_000) + "tq\x000(" + strings.Repeat("ctorch._utils\n_rebuild_meta_tensor_no_storage\n(ctorch\nfloat32\nh\x00h\x00\x89tR", 500) + "t."), open: CodeLimit},
		{name: "deflated zeros", data: (&tt.Zip{Members: []*tt.Member{{Name: "a/data.pkl", Data: make([]byte, 40<<20), Deflate: true}}}).Bytes(), open: CodeLimit},

		{name: "deflated dictionaries", data: (&tt.Zip{Members: []*tt.Member{{Name: "a/data.pkl", Data: []byte("\x80\x02(" + strings.Repeat("}", 6<<20) + "t."), Deflate: true}}}).Bytes(), open: CodeLimit},
		{name: "call of a call without end", data: archived("\x80\x02]q\x00(ctorch._tensor\n_rebuild_from_type\nq\x01Nh\x00e0h\x01h\x01Nh\x00\x87R."), open: CodeDepth},
		{name: "dictionaries in each other", data: archived("\x80\x02}q\x00(X\x01\x00\x00\x00a}(X\x01\x00\x00\x00bh\x00X\x09\x00\x00\x00rng_state" + aTensor + "u" + strings.Repeat("K\x01N", 10) + "u."), want: "duplicate_key", n: 1},
		{name: "dictionary in many places", data: archived("\x80\x02(X\x01\x00\x00\x00d}(" + numbered(20_000) + "uq\x00X\x01\x00\x00\x00l(" + strings.Repeat("h\x00", 100_000) + "lX\x01\x00\x00\x00t" + aTensor + "d."), n: 1},

		// Storages and tensors.
		{name: "unknown persistent id", data: archived("\x80\x02X\x03\x00\x00\x00abcQ."), want: "empty persistent_id unused_storage"},
		{name: "negative elements", data: tensor(func(t *tt.Tensor) { t.Storage.Numel = -1 }), want: "bad_tensor empty persistent_id unused_storage"},
		{name: "2^64 elements", data: tensor(func(t *tt.Tensor) { t.Storage.Numel = big64 }), want: "bad_tensor empty persistent_id unused_storage"},
		{name: "2^62 elements of 4 bytes", data: tensor(func(t *tt.Tensor) { t.Storage.Numel = new(big.Int).Lsh(big.NewInt(1), 62) }), want: "overflow", n: 1},
		{name: "storage of no class", data: tensor(func(t *tt.Tensor) { t.Storage.Class = "FloatStorage" }), want: "bad_tensor empty persistent_id unused_storage"},
		{name: "storage of an unknown class", data: tensor(func(t *tt.Tensor) { t.Storage.Class = tt.Named("torch.Float3Storage") }), want: "unknown_dtype", n: 1},
		{name: "two descriptions of a storage", data: of(tt.Dict{
			{Key: "a", Value: tt.NewTensor("float32", 0, 6)},
			{Key: "b", Value: &tt.Tensor{Storage: &tt.Storage{DType: "float64", Key: "0", Data: make([]byte, 24), Absent: true}, Shape: []int{3}}},
		}), want: "storage_change", n: 2},
		{name: "storage too short", data: bad(func(z *tt.Zip) { z.Find("/0").Data = make([]byte, 23) }), want: "storage_size", n: 1},
		{name: "storage too long", data: bad(func(z *tt.Zip) { z.Find("/0").Data = make([]byte, 25) }), want: "storage_size", n: 1},
		{name: "no storage", data: tensor(func(t *tt.Tensor) { t.Storage.Absent = true }), want: "missing_storage", n: 1},
		{name: "storage of nobody", data: bad(func(z *tt.Zip) {
			z.Members = append(z.Members, &tt.Member{Name: "archive/data/7", Data: []byte("hidden")})
		}), want: "unused_storage", n: 1},
		{name: "storage of no tensor", data: of(tt.Dict{{Key: "w", Value: tt.NewTensor("int8", 0, 1)}, {Key: "s", Value: tt.NewTensor("int8", 0, 9).Storage}}), want: "unused_storage", n: 1},
		{name: "legacy, storage of no tensor", data: legacy(tt.Dict{{Key: "w", Value: tt.NewTensor("int8", 0, 1)}, {Key: "s", Value: tt.NewTensor("int8", 0, 9).Storage}}), want: "unused_storage", n: 1},
		{name: "tensor of NumPy", data: of(key("w", rebuilt("_rebuild_device_tensor_from_numpy", tt.Call{Func: tt.Named("numpy.core.multiarray._reconstruct")}))), want: "empty numpy_tensor"},
		{name: "compressed storage", data: bad(func(z *tt.Zip) { z.Find("/0").Deflate = true }), want: "member_compressed", n: 1},
		{name: "strides out of range", data: tensor(func(t *tt.Tensor) { t.Stride = []int{4, 1} }), want: "out_of_storage", n: 1},
		{name: "offset out of range", data: tensor(func(t *tt.Tensor) { t.Offset = 1 }), want: "out_of_storage", n: 1},
		{name: "strides of 2^62", data: args(3, tt.Tuple{big.NewInt(1 << 62), big.NewInt(1 << 62)}), want: "out_of_storage", n: 1},
		{name: "span of 2^62 floats", data: args(3, tt.Tuple{big.NewInt(1 << 62), 1}), want: "out_of_storage", n: 1},
		{name: "offset of 2^63-1", data: args(1, new(big.Int).SetUint64(1<<63-1)), want: "out_of_storage", n: 1},
		{name: "offset of 2^64", data: args(1, big64), want: "bad_tensor empty"},
		{name: "negative offset", data: args(1, -1), want: "bad_tensor empty"},
		{name: "negative size", data: args(2, tt.Tuple{2, -3}), want: "bad_tensor empty"},
		{name: "negative stride", data: args(3, tt.Tuple{-3, 1}), want: "bad_tensor empty"},
		{name: "size of text", data: args(2, tt.Tuple{"2", 3}), want: "bad_tensor empty"},
		{name: "size of no tuple", data: args(2, 6), want: "bad_tensor empty"},
		{name: "more strides than sizes", data: args(3, tt.Tuple{6, 3, 1}), want: "bad_tensor empty"},
		{name: "shape of 2^80", data: args(2, tt.Tuple{big.NewInt(1 << 40), big.NewInt(1 << 40)}), want: "overflow", n: 1},
		{name: "shape of 0 times 2^80", data: tensor(func(t *tt.Tensor) { t.Shape, t.Stride = []int{0, 1 << 30, 1 << 30}, []int{1, 1, 1} }), n: 1},
		{name: "no storage in a tensor", data: args(0, "storage"), want: "bad_tensor empty"},
		{name: "too few arguments", data: of(rebuilt("_rebuild_tensor_v2", 1, 2)), want: "bad_tensor empty"},
		{name: "no dtype", data: of(key("w", rebuilt("_rebuild_tensor_v3", tt.NewTensor("uint16", 0, 2).Storage, 0, tt.Tuple{2}, tt.Tuple{1}, false, tt.Ordered{}, "float8"))), want: "bad_tensor empty"},
		{name: "unknown dtype", data: of(key("w", rebuilt("_rebuild_tensor_v3", tt.NewTensor("uint16", 0, 2).Storage, 0, tt.Tuple{2}, tt.Tuple{1}, false, tt.Ordered{}, tt.Named("torch.float3")))), want: "unknown_dtype", n: 1},
		{name: "a terabyte from one element", data: tensor(func(t *tt.Tensor) { t.Shape, t.Stride = []int{1 << 20, 1 << 18}, []int{0, 0} }), want: "expanded", n: 1},
		{name: "sparse", data: of(key("w", rebuilt("_rebuild_sparse_tensor", "layout", tt.Tuple{}))), want: "empty sparse"},
		{name: "nested tensor", data: of(key("w", rebuilt("_rebuild_nested_tensor", tt.NewTensor("int8", 0, 1)))), want: "empty nested_tensor"},
		{name: "meta", data: of(key("w", rebuilt("_rebuild_meta_tensor_no_storage", tt.Named("torch.float32"), tt.Tuple{2, 3}, tt.Tuple{3, 1}, false))), want: "no_data", n: 1},
		{name: "conjugated", data: tensor(func(t *tt.Tensor) { t.Extra = []any{false, tt.Ordered{}, key("conj", true)} }), want: "lazy", n: 1},
		{name: "quantised", data: of(key("w", rebuilt("_rebuild_qtensor", tt.NewTensor("int8", 0, 2).Storage, 0, tt.Tuple{2}, tt.Tuple{1}, tt.Tuple{tt.Named("torch.per_tensor_affine"), 0.1, 0}, false, tt.Ordered{}))), n: 1},
		{name: "elements of half a byte", data: of(key("w", rebuilt("_rebuild_qtensor", &tt.Storage{Class: tt.Named("torch.QUInt4x2Storage"), Numel: 3, Data: make([]byte, 3)}, 1, tt.Tuple{5}, tt.Tuple{1}, tt.Tuple{}, false, tt.Ordered{}))), n: 1},
		{name: "made of other tensors", data: of(key("w", tt.Call{Func: tt.Named("torch._tensor._rebuild_from_type_v2"), Args: tt.Tuple{
			tt.Named("torch._utils._rebuild_wrapper_subclass"), tt.Named("torchao.dtypes.AffineQuantizedTensor"),
			tt.Tuple{tt.Named("torchao.dtypes.AffineQuantizedTensor"), tt.Named("torch.bfloat16"), tt.Tuple{4}, tt.Tuple{1}, 0, "strided", "cpu", false},
			key("data", tt.NewTensor("int8", 1, 4)),
		}})), want: "wrapped", n: 1},
		{name: "names", data: of(tt.Dict{
			{Key: "a.b", Value: tt.NewTensor("int8", 0, 1)},
			{Key: "a", Value: key("b", tt.NewTensor("int8", 0, 1))},
			{Key: "", Value: tt.NewTensor("int8", 0, 1)},
			{Key: "\x1b[2J", Value: tt.NewTensor("int8", 0, 1)},
		}), want: "control_chars duplicate_name empty_name", n: 4},
		{name: "keys of other types", data: of(tt.Dict{{Key: 0, Value: tt.NewTensor("int8", 0, 1)}, {Key: tt.Tuple{1, "a"}, Value: tt.NewTensor("int8", 0, 1)}, {Key: nil, Value: tt.NewTensor("int8", 0, 1)}}), want: "key_type", n: 3},
		{name: "keys of optimisers", data: of(tt.Dict{{Key: 0, Value: tt.NewTensor("int8", 0, 1)}, {Key: tt.Python2("w"), Value: tt.NewTensor("int8", 0, 1)}}), n: 2},
		{name: "storage of a directory", data: bad(func(z *tt.Zip) {
			z.Find("data.pkl").Data = bytes.Replace(z.Find("data.pkl").Data, []byte("X\x01\x00\x00\x000"), []byte("X\x00\x00\x00\x00"), 1)
			z.Find("data/0").Name = "archive/data/"
		}), want: "storage_name", n: 1},
		{name: "storage elsewhere", data: bad(func(z *tt.Zip) {
			z.Find("data.pkl").Data = bytes.Replace(z.Find("data.pkl").Data, []byte("X\x01\x00\x00\x000"), []byte("X\x04\x00\x00\x00../x"), 1)
			z.Find("data/0").Name = "archive/data/../x"
		}), want: "storage_name unsafe_member", n: 1},

		// The archive.
		{name: "directory cut off", data: good().Bytes()[:300], open: CodeZip, want: "download"},
		{name: "directory beyond the file", data: bad(func(z *tt.Zip) { z.Directory = tt.P(uint64(1 << 31)) }), open: CodeZip},
		{name: "directory of 4 GiB", data: bad(func(z *tt.Zip) { z.Size = tt.P(uint64(1<<32 - 2)) }), open: CodeZip},
		{name: "directory elsewhere", data: bad(func(z *tt.Zip) { z.Directory = tt.P(uint64(7)) }), open: CodeZip, want: "not where it should be"},
		{name: "members without entries", data: bad(func(z *tt.Zip) { z.Count = tt.P(uint64(60000)) }), open: CodeZip, want: "60000 members"},
		{name: "one member too many", data: bad(func(z *tt.Zip) { z.Count = tt.P(uint64(5)) }), open: CodeZip},
		{name: "64 bits", data: bad(func(z *tt.Zip) { z.Zip64 = true }), n: 1},
		{name: "64 bits, no end record", data: bytes.Replace(bad(func(z *tt.Zip) { z.Zip64 = true }), []byte("PK\x06\x06"), []byte("PK\x06\x16"), 1), open: CodeZip},
		{name: "64 bits, beyond the file", data: changed(bad(func(z *tt.Zip) { z.Zip64 = true }), "PK\x06\x07", 8, le64(1<<62)), open: CodeZip},
		{name: "64 bits, 2^60 members", data: changed(bad(func(z *tt.Zip) { z.Zip64 = true }), "PK\x06\x06", 32, le64(1<<60)), open: CodeZip},
		{name: "member beyond the file", data: bad(func(z *tt.Zip) { z.Find("/0").Packed, z.Find("/0").Size = tt.P(uint64(1<<30)), tt.P(uint64(1<<30)) }), open: CodeZip},
		{name: "member of two sizes", data: bad(func(z *tt.Zip) { z.Find("/0").Size = tt.P(uint64(25)) }), open: CodeZip, want: "two sizes"},
		{name: "header elsewhere", data: bad(func(z *tt.Zip) { z.Find("/0").Header = tt.P(uint64(5)) }), want: "hidden_member member_header", n: 1},
		{name: "pickle's header elsewhere", data: bad(func(z *tt.Zip) { z.Find("data.pkl").Header = tt.P(uint64(5)) }), open: CodeMemberHeader},
		{name: "other local name", data: bad(func(z *tt.Zip) { z.Find("data.pkl").Local = "archive/data.txt" }), want: "member_name", n: 1},
		{name: "longer local name", data: bad(func(z *tt.Zip) { z.Find("data.pkl").Local = "archive/data.pkl.txt" }), want: "member_name", n: 1},
		{name: "encrypted", data: bad(func(z *tt.Zip) { z.Find("data.pkl").Flags = 1 }), want: "member_flags", n: 1},
		{name: "encrypted in the local header", data: bad(func(z *tt.Zip) { z.Find("/0").LocalFlags = 0x2040 }), want: "member_flags", n: 1},
		{name: "other checksum", data: bad(func(z *tt.Zip) { z.Find("data.pkl").CRC = tt.P(uint32(1)) }), want: "checksum", n: 1},
		{name: "other local checksum", data: bad(func(z *tt.Zip) { z.Find("data.pkl").LocalCRC = tt.P(uint32(1)) }), want: "member_header", n: 1},
		{name: "other local size", data: bad(func(z *tt.Zip) { z.Find("/0").LocalSize = tt.P(uint64(1)) }), want: "member_header", n: 1},
		{name: "other local method", data: bad(func(z *tt.Zip) { z.Find("/0").LocalMethod = tt.P(uint16(8)) }), want: "member_header", n: 1},
		{name: "data descriptors", data: bad(func(z *tt.Zip) {
			for _, m := range z.Members {
				m.Descriptor = true
			}
		}), n: 1},
		{name: "compressed pickle", data: bad(func(z *tt.Zip) { z.Find("data.pkl").Deflate = true }), want: "member_compressed", n: 1},
		{name: "pickle compressed by another method", data: bad(func(z *tt.Zip) { z.Find("data.pkl").Method = tt.P(uint16(12)) }), open: CodeMethod},
		{name: "pickle that inflates to less", data: bad(func(z *tt.Zip) { z.Find("data.pkl").Deflate, z.Find("data.pkl").Size = true, tt.P(uint64(5000)) }), open: CodeTruncated},
		{name: "pickle that does not inflate", data: bad(func(z *tt.Zip) { z.Find("data.pkl").Method = tt.P(uint16(8)) }), open: CodeTruncated},
		{name: "much that inflates to little", data: bad(func(z *tt.Zip) {
			z.Find("version").Data = append(bytes.Repeat([]byte("\x00\x00\x00\xff\xff"), 1000), "\x01\x02\x00\xfd\xff3\n"...)
			z.Find("version").Method, z.Find("version").Size = tt.P(uint16(8)), tt.P(uint64(2))
		}), want: "format_version limit member_compressed", n: 1},
		{name: "two pickles of one name", data: bad(func(z *tt.Zip) {
			z.Members = append(z.Members, &tt.Member{Name: "archive/data.pkl", Data: []byte("\x80\x02" + aCall + ".")})
		}), want: "duplicate_member", n: 1},
		{name: "two pickles, in another case", data: bad(func(z *tt.Zip) {
			z.Members = append(z.Members, &tt.Member{Name: "archive/DATA.PKL", Data: []byte("\x80\x02" + aCall + ".")})
		}), want: "duplicate_member", n: 1},
		{name: "pickle in another case", data: bad(func(z *tt.Zip) { z.Find("data.pkl").Name = "archive/Data.pkl" }), n: 1},
		{name: "another pickle", data: bad(func(z *tt.Zip) {
			z.Members = append(z.Members, &tt.Member{Name: "archive/code.pkl", Data: []byte("\x80\x02" + aCall + ".")})
		}), want: "extra_pickle", n: 1},
		{name: "two directories", data: bad(func(z *tt.Zip) {
			z.Members = append(z.Members, &tt.Member{Name: "other/data.pkl", Data: []byte("\x80\x02" + aCall + ".")})
		}), want: "extra_pickle mixed_prefix", n: 1},
		{name: "pickle not in the first directory", data: bad(func(z *tt.Zip) { z.Members = slices.Insert(z.Members, 0, &tt.Member{Name: "first/x"}) }), want: "mixed_prefix not_found", n: 1},
		{name: "two pickles not in the first directory", data: bad(func(z *tt.Zip) {
			z.Members = slices.Insert(z.Members, 0, &tt.Member{Name: "first/x"}, &tt.Member{Name: "other/data.pkl"})
		}), open: CodeNoPickle, want: "several"},
		{name: "two storages of one name", data: bad(func(z *tt.Zip) {
			z.Members = append(z.Members, &tt.Member{Name: "archive/data/0", Data: make([]byte, 24)})
		}), want: "duplicate_member", n: 1},
		{name: "pickle too deep for torch", data: bad(func(z *tt.Zip) {
			for _, m := range z.Members {
				m.Name = "a/" + m.Name
			}
		}), want: "not_found", n: 1},
		{name: "pickle behind a NUL", data: bad(func(z *tt.Zip) {
			z.Members = append(z.Members, &tt.Member{Name: "archive/data.pkl\x00x", Data: []byte("\x80\x02" + aCall + ".")})
		}), want: "duplicate_member member_name", n: 1},
		{name: "path out of the archive", data: bad(func(z *tt.Zip) { z.Members = append(z.Members, &tt.Member{Name: "archive/../../evil"}) }), want: "unsafe_member", n: 1},
		{name: "absolute path", data: bad(func(z *tt.Zip) { z.Members = append(z.Members, &tt.Member{Name: "/etc/passwd"}) }), want: "mixed_prefix unsafe_member", n: 1},
		{name: "no pickle", data: bad(func(z *tt.Zip) { z.Members = z.Members[1:] }), open: CodeNoPickle},
		{name: "no member", data: append([]byte("PK\x03\x04"), (&tt.Zip{}).Bytes()...), open: CodeNoPickle},
		{name: "pickle in no directory", data: bad(func(z *tt.Zip) { z.Find("data.pkl").Name = "data.pkl" }), open: CodeNoPickle},
		{name: "bytes before the archive", data: bad(func(z *tt.Zip) { z.Before = []byte("PK\x03\x04 hidden") }), want: "prefix_data", n: 1},
		{name: "bytes between members", data: bad(func(z *tt.Zip) { z.Find("/0").Gap = []byte("hidden") }), want: "gap", n: 1},
		{name: "member that is not in the directory", data: bad(func(z *tt.Zip) { z.Find("byteorder").Hidden = true }), want: "hidden_member", n: 1},
		{name: "bytes after the end", data: bad(func(z *tt.Zip) { z.After = []byte("hidden") }), want: "trailing_data", n: 1},
		{name: "comment", data: bad(func(z *tt.Zip) { z.Comment = []byte("a comment") }), want: "trailing_data", n: 1},
		{name: "comment beyond the file", data: changed(good().Bytes(), "PK\x05\x06", 20, "\xff\x00"), want: "trailing_data", n: 1},
		{name: "another archive before it", data: append(good().Bytes(), good().Bytes()...), want: "hidden_member", n: 1},
		{name: "end record in the comment", data: bad(func(z *tt.Zip) { z.Comment = []byte("PK\x05\x06" + strings.Repeat("\x00", 18)) }), open: CodeNoPickle},
		{name: "two members of one header", data: bad(func(z *tt.Zip) {
			z.Members = append(z.Members, &tt.Member{Name: "archive/x", Data: make([]byte, 24), Absent: true, Header: &header})
		}), want: "checksum member_header member_name overlap", n: 1},
		{name: "member that reaches into the directory", data: bad(func(z *tt.Zip) {
			z.Find("version").Packed, z.Find("version").Size = tt.P(uint64(100)), tt.P(uint64(100))
		}), want: "format_version limit overlap", n: 1},
		{name: "no version", data: bad(func(z *tt.Zip) { z.Members = z.Members[:3] }), want: "format_version", n: 1},
		{name: "version 99", data: bad(func(z *tt.Zip) { z.Find("version").Data = []byte("99\n") }), want: "format_version", n: 1},
		{name: "big-endian", data: bad(func(z *tt.Zip) { z.Find("byteorder").Data = []byte("big") }), want: "big_endian", n: 1},
		{name: "no byte order", data: bad(func(z *tt.Zip) { z.Find("byteorder").Data = []byte("middle") }), want: "byteorder", n: 1},

		// The legacy stream.
		{name: "legacy", data: wholeLegacy, n: 1},
		{name: "legacy, magic alone", data: []byte(magic), open: CodeTruncated},
		{name: "legacy, version 1002", data: []byte(magic + "\x80\x02M\xea\x03."), open: CodeStream, want: "1002"},
		{name: "legacy, no list of storages", data: []byte(magic + "\x80\x02M\xe9\x03.\x80\x02}.\x80\x02}.\x80\x02N."), open: CodeStream},
		{name: "legacy, storage of nobody", data: []byte(magic + "\x80\x02M\xe9\x03.\x80\x02}.\x80\x02}.\x80\x02]U\x011a."), open: CodeStream, want: "does not mention"},
		{name: "legacy, other count", data: changed(wholeLegacy, string(wholeLegacy[len(wholeLegacy)-32:]), 0, "\x07"), want: "storage_size", n: 1},
		{name: "legacy, storage cut off", data: wholeLegacy[:len(wholeLegacy)-1], want: "missing_storage", n: 1},
		{name: "legacy, storage without a count", data: wholeLegacy[:len(wholeLegacy)-25], want: "missing_storage", n: 1},
		{name: "legacy, storage not listed", data: legacy(key("w", &tt.Tensor{Storage: &tt.Storage{DType: "int8", Data: []byte{1}, Absent: true}, Shape: []int{1}})), want: "missing_storage", n: 1},
		{name: "entry of a directory", data: bad(func(z *tt.Zip) { z.Members = append(z.Members, &tt.Member{Name: "archive/data/"}) }), n: 1},
		{name: "hidden member before the first", data: bad(func(z *tt.Zip) {
			hidden := (&tt.Zip{Members: []*tt.Member{{Name: "archive/data.pkl", Data: []byte("\x80\x02" + aCall + ".")}}}).Bytes()
			z.Before = hidden[:bytes.Index(hidden, []byte("PK\x01\x02"))]
		}), want: "hidden_member", n: 1},
		{name: "legacy, a pickle after the end", data: append(slices.Clone(wholeLegacy), "\x80\x02N."...), want: "more_pickles", n: 1},
		{name: "legacy, an archive after the end", data: append(slices.Clone(wholeLegacy), good().Bytes()...), want: "hidden_member trailing_data", n: 1},
		{name: "legacy, bytes after the end", data: append(slices.Clone(wholeLegacy), "hidden"...), want: "trailing_data", n: 1},
		{name: "legacy, storage listed twice", data: listedTwice, want: "duplicate_member", n: 1},
		{name: "legacy, view", data: legacy(key("w", &tt.Tensor{Storage: &tt.Storage{DType: "int8", Data: make([]byte, 9), View: tt.Tuple{"1", 2, 6}}, Shape: []int{6}})), n: 1},
		{name: "legacy, view out of range", data: legacy(key("w", &tt.Tensor{Storage: &tt.Storage{DType: "int8", Data: make([]byte, 9), View: tt.Tuple{"1", 4, 6}}, Shape: []int{6}})), want: "out_of_storage", n: 1},
		{name: "legacy, view of itself", data: legacy(key("w", &tt.Tensor{Storage: &tt.Storage{DType: "int8", Key: "view 1", Data: make([]byte, 9), View: tt.Tuple{"1", 0, 9}}, Shape: []int{9}})), n: 1},
		{name: "legacy, view of text", data: legacy(key("w", &tt.Tensor{Storage: &tt.Storage{DType: "int8", Data: make([]byte, 9), View: tt.Tuple{"1", "2", 6}}, Shape: []int{6}})), want: "bad_tensor empty persistent_id unused_storage"},
		{name: "legacy, more elements than the file", data: legacy(key("w", &tt.Tensor{Storage: &tt.Storage{DType: "float32", Data: make([]byte, 8), Numel: new(big.Int).Lsh(big.NewInt(1), 60)}, Shape: []int{2}})), want: "missing_storage storage_size", n: 1},
	}
	return list
}

// numbered are the items of a dictionary with numbers for its keys.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("J" + string(binary.LittleEndian.AppendUint32(nil, uint32(i))) + "N")
	}
	return b.String()
}

// manyNames imports names that differ.
func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("cm\nf" + strconv.Itoa(i) + "\n")
	}
	return b.String()
}

// changed overwrites the bytes at some distance from the last place of a text.
func changed(data []byte, text string, at int, with string) []byte {
	data = slices.Clone(data)
	copy(data[bytes.LastIndex(data, []byte(text))+at:], with)
	return data
}

func TestHostile(t *testing.T) {
	for _, h := range hostiles() {
		t.Run(h.name, func(t *testing.T) {
			var f *File
			var err error
			var faults []Fault
			n := allocated(func() {
				if f, err = NewFile(bytes.NewReader(h.data), int64(len(h.data))); err != nil {
					return
				}
				faults = f.Validate()
				f.Metadata()
				f.Subtrees()
			})
			limit := int64(64<<20 + 12*min(len(h.data), 1<<20))
			if n > limit {
				t.Errorf("allocated %d bytes for %d", n, len(h.data))
			}
			if n := allocated(func() { Programs(bytes.NewReader(h.data), int64(len(h.data))) }); n > limit {
				t.Errorf("Programs allocated %d bytes for %d", n, len(h.data))
			}
			if err != nil {
				flt, ok := err.(*Fault)
				if !ok || flt.Code != h.open || !strings.Contains(flt.Detail, h.want) || flt.Severity != Error {
					t.Fatalf("%v, want %s: %s", err, h.open, h.want)
				}
				faults = []Fault{*flt}
			} else if got := distinct(faults); h.open != "" || got != h.want || f.Len() != h.n {
				t.Errorf("%d tensors, faults %q, want %d and %q: %v", f.Len(), got, h.n, h.want, faults)
			}
			for _, flt := range faults {
				text := flt.Error()
				if len(text) > 1000 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
					t.Errorf("message %q", text)
				}
				if flt.Offset < -1 || flt.Offset > int64(len(h.data)) {
					t.Errorf("%v is not within the file", flt)
				}
			}
			if err == nil {
				readAll(t, f)
			}
		})
	}
	if n := len(hostiles()); n < 80 {
		t.Errorf("%d cases", n)
	}
}

// distinct returns the codes of faults in order, each once.
func distinct(faults []Fault) string {
	var list []string
	for _, c := range codes(faults) {
		list = append(list, string(c))
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), " ")
}

// readAll reads the data of all tensors that are not too large, and checks that they fail
// with a fault or have the size that the tensor says.
func readAll(t *testing.T, f *File) {
	t.Helper()
	for i, tensor := range f.All() {
		r, err := f.Data(i)
		if err != nil {
			if _, ok := errors.AsType[*Fault](err); !ok {
				t.Fatalf("%s: error is no fault: %v", tensor.Name, err)
			}
			continue
		}
		size, ok := tensor.Bytes()
		if !ok || r.Size() != int64(size) {
			t.Fatalf("%s has %d bytes, want %d", tensor.Name, r.Size(), size)
		}
		if size > 1<<20 {
			continue
		}
		n, err := io.Copy(io.Discard, r)
		if flt, ok := err.(*Fault); ok && (flt.Code == CodeChecksum || flt.Code == CodeMemberHeader) { // which reading finds
			continue
		}
		if err != nil || n != int64(size) {
			t.Fatalf("%s: %d bytes of %d, %v", tensor.Name, n, size, err)
		}
	}
}

// TestRefusedData: what programs do not agree on, or would never end, is not read.
func TestRefusedData(t *testing.T) {
	twice := func(name string) []byte {
		z := good()
		z.Members = append(z.Members, &tt.Member{Name: name, Data: z.Find("data.pkl").Data})
		return z.Bytes()
	}
	// flipped has another stride in its pickle than its checksum is of.
	flipped := func(name string) []byte {
		z := good()
		z.Find(name).CRC = tt.P(crc32.ChecksumIEEE(z.Find(name).Data))
		z.Find(name).Data = bytes.Replace(z.Find(name).Data, []byte("K\x03K\x01\x86"), []byte("K\x01K\x02\x86"), 1)
		return z.Bytes()
	}
	deflated := good()
	deflated.Find("data.pkl").Deflate, deflated.Find("data.pkl").CRC = true, tt.P(uint32(7))
	order := func(text string) []byte {
		z := good()
		z.Find("byteorder").Data = []byte(text)
		return z.Bytes()
	}
	wide := tt.NewTensor("float32", 1, 1)
	wide.Shape, wide.Stride = []int{1 << 20, 1 << 20}, []int{0, 0}
	for _, test := range []struct {
		data []byte
		code Code
	}{
		{twice("archive/data/0"), CodeDuplicateMember},
		{twice("archive/data.pkl"), CodeDuplicateMember},
		{twice("archive/DATA.pkl"), CodeDuplicateMember},
		{tt.File{Root: key("w", wide), Protocol: 2}.Zip().Bytes(), CodeExpanded},
		{flipped("data.pkl"), CodeChecksum},
		{deflated.Bytes(), CodeChecksum},
		{order("BIG"), CodeByteOrder},
		{order("little\n"), CodeByteOrder},
	} {
		f := read(t, test.data)
		if _, err := f.Data(0); err == nil || err.(*Fault).Code != test.code {
			t.Errorf("%v, want %s", err, test.code)
		}
		if _, err := f.StorageData(f.At(0).Storage); test.code != CodeExpanded && (err == nil || err.(*Fault).Code != test.code) {
			t.Errorf("storage: %v, want %s", err, test.code)
		}
	}
}

// A fault names the member that it is about once.
func TestMethodNamesMember(t *testing.T) {
	z := good()
	z.Find("version").Method = tt.P(uint16(12))
	n := 0
	for _, flt := range read(t, z.Bytes()).Validate() {
		if flt.Code != CodeMethod {
			continue
		}
		if n++; flt.Detail != `"archive/version" is compressed by method 12, which is not read` {
			t.Error(flt.Detail)
		}
	}
	if n == 0 {
		t.Error("no fault")
	}
}

// What other readers than torch find in a file is judged, too.
func TestProgramsOfOtherReaders(t *testing.T) {
	call := "\x80\x02" + aCall + "."
	calling := (&tt.Zip{Members: []*tt.Member{{Name: "archive/data.pkl", Data: []byte(call)}}}).Bytes()
	// between has a member behind the pickle that is not in the directory.
	between := func(pickle string, deflate, descriptor bool) []byte {
		z := good()
		z.Members = slices.Insert(z.Members, 1, &tt.Member{Name: "archive/old.pkl", Data: []byte(pickle), Deflate: deflate, Descriptor: descriptor, Hidden: true})
		return z.Bytes()
	}
	gap := good()
	gap.Find("/0").Gap = []byte(call)
	before, after := good(), good()
	before.Before, after.After = calling[:bytes.Index(calling, []byte("PK\x01\x02"))], []byte("..."+call)
	legacy := tt.File{Root: key("w", tt.NewTensor("float32", 1, 2, 3)), Protocol: 2}.Legacy()
	for name, data := range map[string][]byte{
		"a pickle between members":         gap.Bytes(),
		"a hidden member":                  between(call, false, false),
		"a hidden member of protocol 0":    between("cos\nsystem\n(S'id'\ntR.", false, false),
		"a hidden member, compressed":      between(call, true, false),
		"a hidden member, its size behind": between(call, true, true),
		"a hidden member before the first": before.Bytes(),
		"a pickle behind an archive":       after.Bytes(),
		"a pickle behind a stream":         append(slices.Clone(legacy), call...),
		"an archive behind a stream":       append(slices.Clone(legacy), calling...),
		"an archive behind a pickle":       append([]byte("\x80\x02N."), calling...),
	} {
		list, err := Programs(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		found := slices.DeleteFunc(list, func(p Program) bool {
			return !slices.ContainsFunc(p.Globals, func(g *Global) bool { return g.String() == "os.system" && g.Calls == 1 })
		})
		most := 1
		if strings.HasPrefix(name, "an archive behind") { // which is bytes behind the end as well
			most = 2
		}
		if len(found) == 0 || len(found) > most || !found[0].Stray {
			t.Errorf("%s: os.system is found %d times: %+v", name, len(found), found)
		}
	}
}

// allocated returns the bytes that f allocates.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// TestTruncated cuts a file off after every byte: no part of it is taken for the whole.
func TestTruncated(t *testing.T) {
	for container, b := range containers(tt.File{Root: lightning(), Protocol: 4}) {
		for n := range b {
			f, err := NewFile(bytes.NewReader(b[:n]), int64(n))
			if err != nil {
				if _, ok := err.(*Fault); !ok {
					t.Fatalf("%s, %d bytes: error is no fault: %v", container, n, err)
				}
				continue
			}
			if container == Zip || !slices.ContainsFunc(f.Validate(), func(flt Fault) bool { return flt.Severity == Error }) {
				t.Fatalf("%s, %d bytes of %d: no fault", container, n, len(b))
			}
			readAll(t, f)
		}
	}
}

// TestReadErrors lets each read fail in turn: its error is returned, or said by Validate.
func TestReadErrors(t *testing.T) {
	for container, b := range containers(tt.File{Root: lightning(), Protocol: 2}) {
		for n := 0; ; n++ {
			r := &failing{r: bytes.NewReader(b), left: n}
			f, err := NewFile(r, int64(len(b)))
			if err != nil {
				if !errors.Is(err, errFailing) {
					t.Errorf("%s, read %d: %v", container, n, err)
				}
				continue
			}
			faults := f.Validate()
			if r.left >= 0 {
				break
			}
			if !slices.Contains(codes(faults), CodeUnreadable) {
				t.Errorf("%s, read %d: %v", container, n, faults)
			}
		}
	}
}

var errFailing = errors.New("failing")

type failing struct {
	r    io.ReaderAt
	left int
}

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, errFailing
	}
	return f.r.ReadAt(p, off)
}

// To know what a pickle calls takes no more of long lists and dictionaries than their first
// items: what the rest would take is not spent a second time by who has read the tensors.
func TestProgramsKeepLittle(t *testing.T) {
	const n = 200_000
	const call = "cos\nsystem\nX\x02\x00\x00\x00ls\x85R"
	list, dict := []byte("\x80\x02]"), []byte("\x80\x02}")
	for i := range n {
		number := []byte{'J', byte(i), byte(i >> 8), byte(i >> 16), 1}
		list = append(append(list, number...), 'a')
		dict = append(append(dict, number...), 'K', 1, 's')
	}
	list = append(list, call+"a."...)
	dict = append(dict, "K\x01"+call+"s."...)
	for name, data := range map[string][]byte{"list": list, "dict": dict} {
		var found []Program
		used := allocated(func() { found, _ = Programs(bytes.NewReader(data), int64(len(data))) })
		// A number takes 8 bytes on its way, 16 under the race detector; an item that is kept takes 16
		// or 32 more, and as much room to grow.
		if limit := int64(36 * n); used > limit {
			t.Errorf("%s: %d bytes for a pickle of %d", name, used, len(data))
		}
		if len(found) != 1 || len(found[0].Globals) != 1 || found[0].Globals[0].Calls != 1 {
			t.Errorf("%s: %+v", name, found)
		}
	}
}
