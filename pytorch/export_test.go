package pytorch_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/torchtest"
	"github.com/wtinspect/wtinspect/pytorch"
)

// exported makes an archive of torch.export of the members, by their names below its directory.
func exported(members ...string) *torchtest.Zip {
	z := new(torchtest.Zip)
	for i := 0; i < len(members); i += 2 {
		z.Members = append(z.Members, &torchtest.Member{Name: "m/" + members[i], Data: []byte(members[i+1])})
	}
	for _, m := range [][2]string{{"models/model.json", "{}"}, {"archive_format", "pt2"}, {"archive_version", "0"}, {".data/version", "6\n"}} {
		z.Members = append(z.Members, &torchtest.Member{Name: "m/" + m[0], Data: []byte(m[1])})
	}
	return z
}

// payload is an entry of a document: sizes and strides as lists of numbers.
func payload(name, path string, dtype int, sizes, strides string, offset int) string {
	ints := func(list string) string {
		var out []string
		for n := range strings.FieldsSeq(list) {
			out = append(out, `{"as_int":`+n+`}`)
		}
		return "[" + strings.Join(out, ",") + "]"
	}
	return fmt.Sprintf(`%q:{"path_name":%q,"is_param":true,"use_pickle":false,"tensor_meta":{"dtype":%d,"sizes":%s,"requires_grad":true,"device":{"type":"cpu","index":null},"strides":%s,"storage_offset":{"as_int":%d},"layout":7}}`,
		name, path, dtype, ints(sizes), ints(strides), offset)
}

func document(entries ...string) string { return `{"config":{` + strings.Join(entries, ",") + `}}` }

// TestExport reads an archive as torch/export/pt2_archive/_package.py writes it (package_pt2), with values by hand.
func TestExport(t *testing.T) {
	var floats []byte
	for i := range 6 {
		floats = binary.LittleEndian.AppendUint32(floats, math.Float32bits(float32(i)))
	}
	z := exported(
		"data/weights/weight_0", string(floats), "data/weights/weight_1", "\x01\x02\x03",
		"data/weights/model_weights_config.json", document(payload("net.w", "weight_0", 7, "2 3", "3 1", 0), payload("net.t", "weight_0", 7, "2", "3", 2),
			payload("net.b", "weight_1", 1, "3", "1", 0), payload("none", "weight_0", 7, "0", "1", 0)),
		"data/constants/tensor_0", "\x00\x00\x80\x3f",
		"data/constants/model_constants_config.json", document(payload("lifted", "tensor_0", 7, "", "", 0), `"obj":{"path_name":"custom_obj_0","is_param":false,"use_pickle":true,"tensor_meta":null}`),
		"data/constants/custom_obj_0", "\x80\x02}.", "data/weights/weight_7", "nobody's",
	).Bytes()
	f, err := pytorch.NewFile(bytes.NewReader(z), int64(len(z)))
	if err != nil {
		t.Fatal(err)
	}
	if !f.Export() || f.Script() {
		t.Error("the archive is not taken for one of torch.export")
	}
	want := []struct {
		name  string
		dtype pytorch.DType
		shape string
		data  string
	}{
		{"net.w", "float32", "[2 3]", string(floats)},
		{"net.t", "float32", "[2]", string(floats[8:12]) + string(floats[20:24])},
		{"net.b", "uint8", "[3]", "\x01\x02\x03"},
		{"none", "float32", "[0]", ""},
		{"CONSTANTS.lifted", "float32", "[]", "\x00\x00\x80\x3f"},
	}
	if f.Len() != len(want) {
		t.Fatalf("%d tensors", f.Len())
	}
	for i, w := range want {
		got := f.At(i)
		if got.Name != w.name || got.DType != w.dtype || fmt.Sprint(got.Shape) != w.shape {
			t.Errorf("%s %s %d, want %+v", got.Name, got.DType, got.Shape, w)
		}
		r, err := f.Data(i)
		if err != nil {
			t.Errorf("%s: %v", w.name, err)
			continue
		}
		data := make([]byte, r.Size())
		if _, err := r.ReadAt(data, 0); err != nil && len(data) > 0 || string(data) != w.data {
			t.Errorf("%s has % x, want % x (%v)", w.name, data, w.data, err)
		}
	}
	if list := f.Metadata(); len(list) != 1 || list[0].Key != "CONSTANTS.obj" || list[0].Value != "<a pickle in data/constants/custom_obj_0>" {
		t.Errorf("metadata %v", list)
	}
	for n := range len(z) {
		if cut, err := pytorch.NewFile(bytes.NewReader(z[:n]), int64(n)); err == nil {
			cut.Validate()
		}
	}
	var faults []string
	for _, flt := range f.Validate() {
		faults = append(faults, string(flt.Code)+": "+flt.Detail)
	}
	if got := strings.Join(faults, "\n"); got != "unused_storage: 1 storage of 8 bytes belongs to no tensor" {
		t.Error(got)
	}
}

// TestExportOf tells what is in archives of torch.export of which nothing is listed, or of several models.
func TestExportOf(t *testing.T) {
	older := &torchtest.Zip{Members: []*torchtest.Member{{Name: "serialized_exported_program.json", Data: []byte("{}")}, {Name: "serialized_state_dict.pt", Data: []byte("x")}}}
	with := func(z *torchtest.Zip, change func(m *torchtest.Member)) *torchtest.Zip {
		change(z.Members[len(z.Members)-5])
		return z
	}
	const config = "data/weights/model_weights_config.json"
	for name, tt := range map[string]struct {
		z    *torchtest.Zip
		want string // the error, or tensors and faults
	}{
		"two models": {
			exported("data/weights/weight_0", "ab", "data/weights/a_weights_config.json", document(payload("w", "weight_0", 1, "2", "1", 0)),
				"data/weights/b_weights_config.json", document(payload("w", "weight_0", 1, "1", "1", 1))), "a.w b.w",
		},
		"older":           {older, "not_torch: an archive of torch.export of a torch before 2.8: unpack its weights, serialized_state_dict.pt, which are a file of torch.save"},
		"2.7":             {exported("data/weights/model.pt", "PK"), `not_torch: an archive of torch.export of torch 2.7: unpack its weights, "m/data/weights/model.pt", which are a file of torch.save`},
		"compiled":        {exported("data/aotinductor/model/x.so", "\x7fELF"), "not_torch: an archive of torch.export without weights that are listed: compiled code, or a model without any"},
		"another zip":     {&torchtest.Zip{Members: []*torchtest.Member{{Name: "m/archive_format", Data: []byte("other")}}}, "no_pickle: the archive has no data.pkl: it is a zip file, and not one that torch.save wrote"},
		"not JSON":        {exported(config, "{"), `bad_metadata: member "m/data/weights/model_weights_config.json" is not what torch.export writes: EOF`},
		"a list":          {exported(config, "[1]"), `bad_metadata: member "m/data/weights/model_weights_config.json" is not what torch.export writes: [, where an object is needed`},
		"deep":            {exported(config, `{"x":`+strings.Repeat("[", 100_000)), `bad_metadata: member "m/data/weights/model_weights_config.json" is not what torch.export writes: invalid character '[' exceeded max depth`},
		"no member":       {exported(config, document(payload("w", "weight_0", 1, "2", "1", 0))), "w missing_storage out_of_storage"},
		"short member":    {exported("data/weights/weight_0", "a", config, document(payload("w", "weight_0", 1, "2", "1", 0))), "w out_of_storage"},
		"twice":           {exported("data/weights/weight_0", "a", "data/weights/weight_0", "b", config, document(payload("w", "weight_0", 1, "1", "1", 0))), "w duplicate_member"},
		"name twice":      {exported("data/weights/weight_0", "ab", config, document(payload("w", "weight_0", 1, "1", "1", 0), payload("w", "weight_0", 1, "1", "1", 1))), "w duplicate_key"},
		"expression":      {exported("data/weights/weight_0", "a", config, document(strings.Replace(payload("w", "weight_0", 1, "1", "1", 0), `{"as_int":1}`, `{"as_expr":{"expr_str":"s0"}}`, 1), payload("v", "weight_0", 1, "1", "1", 0))), "v bad_tensor"},
		"strides lacking": {exported("data/weights/weight_0", "a", config, document(payload("w", "weight_0", 1, "1", "", 0), payload("v", "weight_0", 1, "1", "1", 0))), "v bad_tensor"},
		"sparse":          {exported("data/weights/weight_0", "a", config, document(strings.Replace(payload("w", "weight_0", 1, "1", "1", 0), `"layout":7`, `"layout":2`, 1), payload("v", "weight_0", 1, "1", "1", 0))), "v bad_tensor"},
		"unknown type":    {exported("data/weights/weight_0", "a", config, document(payload("w", "weight_0", 99, "1", "1", 0))), "w unknown_dtype"},
		"huge":            {exported("data/weights/weight_0", "a", config, document(payload("w", "weight_0", 7, "9223372036854775807 9223372036854775807", "1 1", 0))), "w overflow"},
		"compressed":      {with(exported("data/weights/weight_0", "a", config, document(payload("w", "weight_0", 1, "1", "1", 0))), func(m *torchtest.Member) { m.Deflate = true }), "w member_compressed"},
		"a bomb": {
			with(exported(config, document(payload("w", "weight_0", 1, "1", "1", 0))+strings.Repeat(" ", 9<<20)), func(m *torchtest.Member) { m.Deflate = true }),
			`limit: member "m/data/weights/model_weights_config.json" has 9437433 bytes, and at most 8388608 are read of what says where tensors are`,
		},
		"names alone": {
			exported(config, `{"config":{`+strings.Repeat(`"":{},`, 2_000_000)+`"":{}}}`), `limit: member "m/data/weights/model_weights_config.json" has more names than are listed for its size`,
		},
	} {
		data := tt.z.Bytes()
		var got string
		f, err := pytorch.NewFile(bytes.NewReader(data), int64(len(data)))
		if flt, ok := err.(*pytorch.Fault); ok {
			got = string(flt.Code) + ": " + flt.Detail
		} else {
			var words, codes []string
			for _, tensor := range f.All() {
				words = append(words, tensor.Name)
			}
			for _, flt := range f.Validate() {
				if c := string(flt.Code); !strings.Contains(strings.Join(codes, " "), c) {
					codes = append(codes, c)
				}
			}
			got = strings.Join(append(words, codes...), " ")
		}
		if got != tt.want {
			t.Errorf("%s: %s\nwant %s", name, got, tt.want)
		}
	}
}
