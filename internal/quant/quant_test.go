package quant

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// survey reads tensors from lines: NAME DTYPE SHAPE, or a name alone.
func survey(t *testing.T, text string) *Survey {
	t.Helper()
	s := NewSurvey(0)
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch len(f) {
		case 0:
		case 1:
			s.Add(f[0], "", nil)
		default:
			shape := []uint64{}
			for d := range strings.SplitSeq(strings.Trim(f[2], "[]"), ",") {
				if d != "" {
					n, err := strconv.ParseUint(d, 10, 64)
					if err != nil {
						t.Fatal(err)
					}
					shape = append(shape, n)
				}
			}
			s.Add(f[0], f[1], shape)
		}
	}
	return s
}

// layers are the tensors of one layer of 256 outputs and 128 inputs, as the libraries that
// schemes.yaml names write them.
var layers = []struct{ tensors, want string }{
	{"m.qweight I32 [16,256]\nm.qzeros I32 [4,32]\nm.scales F16 [4,256]\nm.g_idx I32 [128]", "gptq 4 32"},
	{"m.qweight I32 [32,256]\nm.qzeros I32 [1,64]\nm.scales F16 [1,256]", "gptq 8 128"},
	{"m.qweight I32 [128,32]\nm.qzeros I32 [4,32]\nm.scales F16 [4,256]", "awq 4 32"},
	{"m.qweight I8 [128,256]\nm.weight_scales F16 [256]", "eetq 0 0"},
	{"m.qweight I8 [256,64]\nm.wscales BF16 [2,256]\nm.proj_down BF16 [128,32]\nm.proj_up BF16 [256,32]\nm.smooth_factor BF16 [128]\nm.smooth_factor_orig BF16 [128]", "svdquant 0 64"},
	{"m.qweight I8 [256,64]\nm.wscales BF16 [2,256]\nm.lora_down BF16 [128,32]\nm.lora_up BF16 [256,32]\nm.smooth BF16 [128]", "svdquant 0 64"},
	{"m.qweight I32 [64,64]\nm.wscales BF16 [2,256]\nm.wzeros BF16 [2,256]", "svdquant 0 64"},
	{"m.qweight U8 [256,136]\nm.qweight_type U8 [1]", "gguf 0 0"},
	{"m.q_weight I32 [16,256]\nm.q_scale I32 [4,32]\nm.q_scale_max F16 [4]\nm.q_groups I16 [8]\nm.q_invperm I16 [128]", "exl2 0 0"},
	{"m.trellis I16 [8,16,64]\nm.suh F16 [128]\nm.svh F16 [256]", "exl3 0 0"},
	{"m.weight_packed I32 [256,16]\nm.weight_scale BF16 [256,4]\nm.weight_shape I64 [2]", "compressed-tensors 0 0"},
	{"m.weight_packed U8 [256,64]\nm.weight_scale F8_E4M3 [256,8]\nm.weight_global_scale F32 [1]\nm.input_global_scale F32 [1]", "nvfp4 0 0"},
	{"m.weight_packed U8 [256,64]\nm.weight_scale U8 [256,4]", "mxfp4 0 0"},
	{"m_blocks U8 [8,256,4,16]\nm_scales U8 [8,256,4]", "mxfp4 0 0"},
	{"m.blocks U8 [8,256,4,16]\nm.scales U8 [8,256,4]", "mxfp4 0 0"},
	{"m.weight I8 [256,64]\nm.scale F8_E8M0 [256,4]", "mxfp4 0 0"},
	{"m.W_q U8 [128,128]\nm.meta U8 [200]", "hqq 0 0"},
	{"m.codes I8 [256,16,1]\nm.codebooks F16 [1,65536,1,8]\nm.scales F16 [256,1,1,1]", "aqlm 0 0"},
	{"m.indices I32 [1,256,8]\nm.centroids.weight BF16 [1,4096]\nm.perm I16 [128]", "vptq 0 0"},
	{"m.weight._data I8 [256,128]\nm.weight._scale F32 [256,1]", "quanto 0 0"},
	{"m.weight:qdata F8_E4M3 [256,128]\nm.weight:scale F32 [256,1]", "torchao 0 0"},
	{"m.weight U8 [16384,1]\nm.weight.absmax F32 [512]\nm.weight.quant_map F32 [16]\nm.weight.quant_state.bitsandbytes__nf4 U8 [81]", "bitsandbytes-4bit 0 0"},
	{"m.weight I8 [256,128]\nm.SCB F32 [256]\nm.weight_format U8 []", "bitsandbytes-8bit 0 0"},
	{"m.weight U32 [256,16]\nm.scales BF16 [256,4]\nm.biases BF16 [256,4]", "mlx 0 0"},
	{"m.weight U32 [256,16]\nm.scales U8 [256,4]", "mlx-mxfp4 0 0"},
	{"m.weight U8 [256,64]\nm.weight_scale F8_E4M3 [256,8]\nm.weight_scale_2 F32 []\nm.input_scale F32 []", "nvfp4 0 0"},
	{"m.weight U8 [128,128]\nm.weight_scale F32 [256,1]\nm.pre_quant_scale F16 [128]", "modelopt-awq 0 128"},
	{"m.weight F8_E4M3 [256,128]\nm.weight_scale F32 []\nm.input_scale F32 []", "fp8-tensor 0 0"},
	{"m.weight F8_E4M3 [256,128]\nm.weight_scale F32 [256,1]", "fp8-channel 0 0"},
	{"m.weight F8_E4M3 [256,128]\nm.weight_scale F32 [256,1]\nm.input_scale_ub F32 [1]", "fp8-channel 0 0"},
	{"m.weight F8_E4M3 [256,128]\nm.weight_scale_inv F32 [2,1]", "fp8-block 0 0"},
	{"m.weight F8_E4M3 [256,128]\nm.scale F8_E8M0 [2,1]", "fp8-block 0 0"},
	{"m.weight F8_E4M3 [256,128]\nm.weight_scale U8 [256,4]", "mxfp8 0 0"},
	{"m F8_E4M3 [8,256,128]\nm_scale_inv F32 [8,2,1]", "fp8-block 0 0"},
	{"m.weight F8_E4M3 [256,128]\nm.scale_weight F32 [1]\nscaled_fp8 F8_E4M3 [0]", "scaled-fp8 0 0"},
	{"m.weight F8_E4M3 [256,128]\nm.weight_scale F32 []\nm.comfy_quant U8 [28]", "comfy-fp8 0 0"},
	{"m.weight U8 [256,64]\nm.weight_scale F8_E4M3 [256,8]\nm.weight_scale_2 F32 []\nm.comfy_quant U8 [28]", "comfy-nvfp4 0 0"},
	{"m.weight F8_E4M3 [256,128]\nm.qscale_weight F32 []\nm.qscale_act F32 []", "mistral-fp8 0 0"},
	{"m.weight F8_E5M2 [256,128]", "fp8-cast 0 0"},
	{"m.weight I8 [256,128]\nm.weight_scale F32 [256,1]", "int8-channel 0 0"},
	{"m.weight I8 [256,128]\nm.weight_scale F32 []", "int8-tensor 0 0"},
	{"m.weight I8 [256,128]\nm.weight_scale F32 [256]\nm.input_scale F32 []\nm.pre_quant_scale BF16 [128]", "int8-channel 0 0"},
	{"m.weight F8_E4M3 [256,128]\nm.weight_scale F32 []\nm.pre_quant_scale BF16 [128]", "fp8-tensor 0 0"},
	// Neither a norm's scale nor a plain weight is quantised.
	{"norm.query_norm.scale F32 [128]\nm.weight F32 [256,128]", ""},
	{"m.weight BF16 [256,128]\nm.bias BF16 [256]", ""},
	// Names alone.
	{"m.weight\nm.weight_scale_inv", "fp8-block 0 0"},
	{"m.weight\nm.weight_scale\nm.input_scale", "fp8-tensor 0 0"},
	{"m.qweight\nm.qzeros\nm.scales\nm.g_idx", "gptq 0 0"},
	{"m.qweight\nm.qzeros\nm.scales", "awq 0 0"},
	{"m.weight", ""},
}

func TestSchemes(t *testing.T) {
	covered := make(map[string]bool)
	for _, l := range layers {
		r := survey(t, l.tensors).Report(nil)
		got := ""
		for _, u := range r.Uses {
			got = fmt.Sprint(u.Scheme, " ", u.Bits, " ", u.Group)
			covered[u.Scheme] = true
		}
		if got != l.want || len(r.Faults) > 0 {
			t.Errorf("%s\nis %q, want %q (%v)", l.tensors, got, l.want, r.Faults)
		}
	}
	// Those whose layouts have no published sizes beside the names.
	rest := []string{"fp_quant", "marlin", "spqr", "higgs", "mlx-nvfp4", "mlx-mxfp8", "comfy-int8", "fp8-group", "bitnet", "int8-group"}
	for _, s := range known().schemes {
		if !covered[s.Name] && !slices.Contains(rest, s.Name) {
			t.Errorf("no layer is %s", s.Name)
		}
	}
}

// Tensors that are plain follow no scheme.
func TestPlain(t *testing.T) {
	for _, l := range layers {
		all := true
		for line := range strings.Lines(l.tensors) {
			f := append(strings.Fields(line), "")
			all = all && Plain(f[0], f[1])
		}
		if all && l.want != "" {
			t.Errorf("%s\nis plain, and %s", l.tensors, l.want)
		}
	}
	for name, want := range map[string]bool{"m.weight BF16": true, "m.bias F32": true, "blk.0.q.weight IQ2_XXS": true, "m.weight F8_E4M3": false, "m.scales F16": false, "m.weight ": false, "m.weight I8": false} {
		n, dtype, _ := strings.Cut(name, " ")
		if Plain(n, dtype) != want {
			t.Errorf("%s: plain is %v", name, !want)
		}
	}
}

func TestFaults(t *testing.T) {
	two := func(text string) string { return strings.ReplaceAll(text, "m.", "l.0.m.") }
	fp8 := "m.weight F8_E4M3 [256,128]\nm.weight_scale F32 []\nm.input_scale F32 []\n"
	for _, tt := range []struct{ tensors, want string }{
		{two(fp8) + "l.1.m.weight F8_E4M3 [256,128]\nl.1.m.input_scale F32 []", "lost weight_scale of l.1.m, like l.0.m"},
		{two(fp8) + "l.1.m.weight F8_E4M3 [256,128]", "lost weight_scale of l.1.m, like l.0.m"},
		{"m.weight F8_E4M3 [256,128]\nm.input_scale F32 []", "lost weight_scale of m"},
		{"m.weight F8_E4M3 [256,128]\nm.weight_scale F32 [255]", "misfit weight_scale of m, want one element"},
		{"m.weight F8_E4M3 [256,128]\nm.weight_scale_inv F32 [2,2]", "misfit weight_scale_inv of m, want [2,1]"},
		{"m.qweight I8 [256,64]\nm.wscales BF16 [2,256]\nm.proj_up BF16 [256,32]", "lost proj_down of m"},
		{"m_blocks U8 [8,256,4,16]\nm_scales U8 [8,256,5]", "misfit _scales of m, want [256,4]"},
		{"m.weight_scale_inv F32 [2,2]", "orphan weight_scale_inv of m"},
		{"m.weight BF16 [256,128]\nm.SCB F32 [256]", "unneeded SCB of m"},
		{"l.0.m.weight I8 [256,128]\nl.0.m.weight_scale F32 [256]\nl.1.m.weight I8 [256,128]", "lost weight_scale of l.1.m, like l.0.m"},
		{"l.0.m_blocks U8 [256,4,16]\nl.0.m_scales U8 [256,4]\nl.1.m_blocks U8 [256,4,16]", "lost _scales of l.1.m, like l.0.m"},
		{"l.0.m.qweight I32 [16,256]\nl.0.m.qzeros I32 [4,32]\nl.0.m.scales F16 [4,256]\nl.1.m.qweight I32 [16,256]", "lost scales of l.1.m, like l.0.m; lost qzeros of l.1.m, like l.0.m"},
		// What is called as packed weights are, and lacks everything, or has another shape.
		{"m.weight_packed U8 [256,64]", "lost weight_scale of m"},
		{"m_blocks U8 [8,256,4,16]", "lost _scales of m"},
		{"m_blocks U8 [8,256,4,32]\nm_scales U8 [8,256,4]", "misfit _blocks of m, want [256,4,16]"},
		{"m_scales U8 [8,256,4]", "orphan _scales of m"},
		{"m.blocks U8 [64,64]", ""},
		// The bits of 8-bit floats as bytes.
		{"m.weight U8 [256,128]\nm.weight_scale_inv F32 [2,1]", "misfit weight of m, want F8_E4M3"},
		{"m.weight U8 [256,128]\nm.weight_scale F8_E4M3 [256,16]", "lost weight_scale_2 of m"},
		// The words of a packed weight without its size, and zero points of other sizes.
		{"m.weight_packed I32 [256,16]\nm.weight_scale BF16 [256,4]", "lost weight_shape of m"},
		{"m.weight_packed I32 [256,16]\nm.weight_scale BF16 [256,4]\nm.weight_shape I64 [2]\nm.weight_zero_point I32 [3,4]", "misfit weight_zero_point of m, want [o*b/32,4]"},
		{"m.weight I8 [256,128]\nm.weight_scale F32 [256,1]\nm.weight_zero_point I8 [128,1]", "misfit weight_zero_point of m, want one for each of the rows"},
		// More groups than inputs, and groups that are not equal.
		{"m.weight F8_E4M3 [256,4]\nm.weight_scale F32 [256,8]", "misfit weight_scale of m, want one element"},
		{"m.weight F8_E4M3 [256,100]\nm.weight_scale F32 [256,8]", "misfit weight_scale of m, want one element"},
		// Integers of another model, of another dtype or with one dimension are no codes of this one.
		{"l.0.m.weight I8 [256,128]\nl.0.m.weight_scale F32 [256]\ntext.0.m.weight I8 [256,128]\nl.1.m.weight U8 [256,128]\nl.2.m.weight I8 [256]", ""},
		// A text encoder that was cast is beside a model that was scaled.
		{two(fp8) + "text.0.q.weight F8_E4M3 [256,128]", ""},
		// The weight of a normalisation says nothing.
		{"n.weight BF16 [256]\nn.scale BF16 [256]", ""},
		{"m.weight F8_E4M3 [18446744073709551615,2]\nm.weight_scale F32 [4294967296,4294967296]", "misfit weight_scale of m, want one element"},
	} {
		var got []string
		for _, f := range survey(t, tt.tensors).Report(nil).Faults {
			s := []string{"lost", "misfit", "orphan", "unneeded"}[f.Kind] + " " + f.Leaf + " of " + f.Module.Name
			if f.Like != "" {
				s += ", like " + f.Like
			}
			if f.Want != "" {
				s += ", want " + f.Want
			}
			got = append(got, s)
		}
		if strings.Join(got, "; ") != tt.want {
			t.Errorf("%s\n%q, want %q", tt.tensors, got, tt.want)
		}
	}
}

// Tensors are of one kind only where they are alike, whatever a file calls its dtypes.
func TestKinds(t *testing.T) {
	s := NewSurvey(0)
	list := []Tensor{
		{Leaf: "weight", DType: "F32", Shape: []uint64{2}},
		{Leaf: "weight", DType: "F32\x02"},
		{Leaf: "weigh", DType: "tF32", Shape: []uint64{2}},
		{Leaf: "weight", DType: "F32", Shape: []uint64{2, 1}},
		{Leaf: "weight", DType: "F32", Shape: []uint64{258}},
		{Leaf: "weight", DType: "F32"},
	}
	for i, one := range append(list, list...) {
		if kind := s.kind(one); int(kind) != i%len(list) {
			t.Errorf("%+v is of kind %d, want %d", one, kind, i%len(list))
		}
	}
}

// The tensors of modules that are alike have their own places, however they come.
func TestIndex(t *testing.T) {
	s := NewSurvey(0)
	names := []string{"l.1.m.weight", "l.0.m.weight", "other", "l.0.m.weight_scale_inv", "l.1.m.weight_scale_inv"}
	for _, name := range names {
		if strings.HasSuffix(name, "weight") {
			s.Add(name, "F8_E4M3", []uint64{256, 128})
		} else {
			s.Add(name, "F32", []uint64{2, 1})
		}
	}
	for _, m := range s.Report(nil).Modules {
		if m.Scheme == nil || m.Scheme.Name != "fp8-block" {
			t.Errorf("%s: %+v", m.Name, m.Form)
		}
		for i := range m.Tensors {
			if got, want := names[m.Index(&m.Tensors[i])], m.Name+"."+m.Tensors[i].Leaf; got != want {
				t.Errorf("tensor %d of %s is %s, want %s", i, m.Name, got, want)
			}
		}
	}
}
