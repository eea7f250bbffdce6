package infer

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
)

// slotNames are modules of LLaMA, as a lab with plain words calls them and as llama-hf does, in the
// order of the code. A lab's own words stand in the place of some.
var slotNames = []struct{ slot, plain, hf string }{
	{"tok", "tok", "model.embed_tokens"},
	{"ln1", "ln1", "model.layers.{}.input_layernorm"},
	{"q", "attn.q", "model.layers.{}.self_attn.q_proj"},
	{"k", "attn.k", "model.layers.{}.self_attn.k_proj"},
	{"v", "attn.v", "model.layers.{}.self_attn.v_proj"},
	{"o", "attn.o", "model.layers.{}.self_attn.o_proj"},
	{"ln2", "ln2", "model.layers.{}.post_attention_layernorm"},
	{"g", "mlp.gate", "model.layers.{}.mlp.gate_proj"},
	{"u", "mlp.up", "model.layers.{}.mlp.up_proj"},
	{"d", "mlp.down", "model.layers.{}.mlp.down_proj"},
	{"norm", "norm", "model.norm"},
	{"head", "head", "lm_head"},
}

// inWords makes a small LLaMA in a lab's words.
func inWords(words map[string]string, prefix string, kv uint64) []convention.Named {
	const d, f, vocab, layers = 64, 160, 96, 4
	shapes := map[string][]uint64{
		"tok": {vocab, d}, "head": {vocab, d}, "q": {d, d}, "o": {d, d}, "k": {kv, d}, "v": {kv, d},
		"g": {f, d}, "u": {f, d}, "d": {d, f}, "ln1": {d}, "ln2": {d}, "norm": {d},
	}
	var out []convention.Named
	for _, s := range slotNames {
		name := s.plain
		if w, ok := words[s.slot]; ok {
			name = w
		}
		if s.slot == "tok" || s.slot == "norm" || s.slot == "head" {
			out = append(out, convention.Named{Name: prefix + name + ".weight", Shape: shapes[s.slot], DType: "BF16"})
			continue
		}
		for l := range layers {
			out = append(out, convention.Named{Name: prefix + "blk." + numbered("{}.", l) + name + ".weight", Shape: shapes[s.slot], DType: "BF16"})
		}
	}
	return out
}

// verdicts says of every slot what a map makes of it: "sure", "asked", "wrong" (asked, and
// another is likelier), "WRONG" (for sure) or "none".
func verdicts(t *testing.T, res *Result, list []convention.Named) map[string]string {
	t.Helper()
	bare := *res.Map
	bare.Ask = nil
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Name
	}
	rows := make(map[string]rename.Row)
	for _, r := range rename.NewPlan(&bare, names, rename.Limits{}).Rows {
		rows[r.From] = r
	}
	out := make(map[string]string)
	at := 0
	for _, s := range slotNames {
		n := 1
		if strings.Contains(s.hf, "{}") {
			n = 4
		}
		for l := range n {
			row := rows[names[at]]
			at++
			want := numbered(s.hf, l) + ".weight"
			switch sure := row.Rule >= 0 && res.Rules[row.Rule].Class != Guess && res.Rules[row.Rule].Confidence >= 0.9; {
			case row.Rule < 0 && names[at-1] == want:
				out[s.slot] = "sure" // it keeps its name
			case row.Rule < 0:
				out[s.slot] = "none"
			case row.To == want && sure:
				out[s.slot] = "sure"
			case row.To == want:
				out[s.slot] = "asked"
			case sure:
				out[s.slot] = "WRONG"
			default:
				out[s.slot] = "wrong"
			}
		}
	}
	return out
}

// judgeWords infers the map of a LLaMA in a lab's words under prefixes, with heads that share keys and
// without, and with the layers in the order of the code and not. What is sure must be right; the slots
// of sure must be, and those of asked must not.
func judgeWords(t *testing.T, words string, sure, asked []string) {
	t.Helper()
	of := make(map[string]string)
	for w := range strings.FieldsSeq(words) {
		slot, name, _ := strings.Cut(w, "=")
		of[slot] = name
	}
	type way struct {
		prefix  string
		kv      uint64
		ordered bool
	}
	ways := []way{{"", 16, false}, {"net.core.", 64, true}, {"", 64, false}}
	if testing.Short() {
		ways = ways[:1]
	}
	for _, c := range ways {
		list := inWords(of, c.prefix, c.kv)
		res, err := ToConvention(t.Context(), &Inventory{Tensors: list, Ordered: c.ordered}, lookup(t, "llama-hf"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if res.Refused != "" {
			t.Errorf("%s (%d): refused: %s", words, c.kv, res.Refused)
			continue
		}
		got := verdicts(t, res, list)
		for _, slot := range slices.Sorted(maps.Keys(got)) {
			switch v := got[slot]; {
			case v == "WRONG", slices.Contains(sure, slot) && v != "sure", slices.Contains(asked, slot) && v == "sure":
				t.Errorf("%s%s (%d): %s is %s\n%s", c.prefix, words, c.kv, slot, v, brief(res))
				return
			}
		}
	}
}

// Of two normalisations of a layer "after attention" is that before the MLP, as is what has the MLP's
// word; whatever the other is called is that before attention.
func TestWordsOfNorms(t *testing.T) {
	for _, first := range []string{"ln_1", "n1", "norm_a", "rms_1", "pre_ln", "norm_in", "sa_norm", "mix_norm", "layer_norm_1", "attn_norm", "pre_attn_norm"} {
		judgeWords(t, "ln1="+first+" ln2=post_attn_norm", []string{"ln1", "ln2"}, nil)
	}
	for _, second := range []string{"after_attn_norm", "norm_after_attention", "norm_post_attn", "ln_mlp", "before_mlp_norm", "norm_before_ffn", "post_self_attn_layernorm"} {
		judgeWords(t, "ln1=sa_norm ln2="+second, []string{"ln1", "ln2"}, nil)
	}
	judgeWords(t, "ln1=ln_attn ln2=ln_mlp", []string{"ln1", "ln2"}, nil)
	judgeWords(t, "ln1=norm_before_attn ln2=norm_after_attn", []string{"ln1", "ln2"}, nil)
	judgeWords(t, "ln1=norm_x ln2=norm_y", nil, []string{"ln1", "ln2"})
	// A 1 without a 2 is not the first of two.
	judgeWords(t, "ln1=norm_y ln2=ln1", nil, []string{"ln1", "ln2"})
	judgeWords(t, "ln1=ln2 ln2=norm_y", nil, []string{"ln1", "ln2"})
	judgeWords(t, "ln1=ln1 ln2=ln2", []string{"ln1", "ln2"}, nil)
}

// Words that one architecture has for its own parts mean what they mean elsewhere in a model without
// those parts: RWKV has key and value below att, and a value in its MLP.
func TestWordsOfOtherArchitectures(t *testing.T) {
	judgeWords(t, "q=att.query k=att.key v=att.value", []string{"q", "k", "v"}, nil)
	judgeWords(t, "q=att.query k=att.key v=att.value o=att.output", []string{"q", "k", "v", "o"}, nil)
	judgeWords(t, "g=glu.gate u=glu.value d=glu.out", []string{"g", "u", "d"}, nil)
	judgeWords(t, "g=ffn.gate u=ffn.value d=ffn.out", []string{"g", "u", "d"}, nil)
}

// Words of other languages, and none, are asked about: RWKV's a1 and a2 are no sign of RWKV.
func TestWordsThatSayNothing(t *testing.T) {
	asked := []string{"q", "k", "v", "o", "g", "u", "ln1", "ln2"}
	for _, words := range []string{
		"q=a1 k=a2 v=a3 o=a4 g=b1 u=b2 d=b3 ln1=c1 ln2=c2",
		"q=w0.x k=w1.x v=a0.x o=g1.x g=g2.x u=w2.x d=v2.x ln1=r1.x ln2=r2.x",
		"q=attention.requete k=attention.cle v=attention.valeur o=attention.sortie g=reseau.porte u=reseau.haut d=reseau.bas ln1=n_un ln2=n_deux",
		"q=aufm.abfrage k=aufm.schluessel v=aufm.wert o=aufm.ausgabe g=netz.tor u=netz.hoch d=netz.runter ln1=n_eins ln2=n_zwei",
		"q=zhuyi.chaxun k=zhuyi.jian v=zhuyi.zhi o=zhuyi.jieguo g=wang.men u=wang.shang d=wang.xia ln1=gui.qian ln2=gui.hou",
	} {
		judgeWords(t, words, nil, asked)
	}
}

// Beside a 0, a 1 is the second.
func TestWordsNumberedFromZero(t *testing.T) {
	for _, word := range []string{"norm", "ln", "layernorm"} {
		judgeWords(t, "ln1="+word+"0 ln2="+word+"1", []string{"ln1", "ln2"}, nil)
		judgeWords(t, "ln1="+word+"1 ln2="+word+"2", []string{"ln1", "ln2"}, nil)
	}
}

// Words for the first and the second matrix of an MLP say nothing of three.
func TestWordsOfThreeMatrices(t *testing.T) {
	gated := []string{"g", "u"}
	for _, in := range []string{"mlp", "ffn"} {
		for _, w := range []string{"g=#.0 u=#.1 d=#.2", "g=#.1 u=#.0 d=#.2", "g=#.lin1 u=#.lin2 d=#.lin3", "g=#.lin1 u=#.lin3 d=#.lin2", "g=#.lin2 u=#.lin1 d=#.lin3", "g=#.wi u=#.wi_val d=#.wo", "g=#.xx u=#.c_fc d=#.yy"} {
			judgeWords(t, strings.ReplaceAll(w, "#", in), []string{"d"}, gated)
		}
	}
}

// The embedding of outputs is the head.
func TestWordsOfHead(t *testing.T) {
	for _, head := range []string{"out_embed", "output_embedding", "emb_out", "embed_out", "embeddings.out"} {
		judgeWords(t, "head="+head, []string{"tok", "head"}, nil)
		judgeWords(t, "tok=embed_in head="+head, []string{"tok", "head"}, nil)
	}
}

// What is called o beside a query is attention's output, with shapes or without.
func TestWordsBesideQuery(t *testing.T) {
	of := map[string]string{"q": "a.w_q", "k": "a.w_k", "v": "a.w_v", "o": "a.w_o"}
	for _, words := range []map[string]string{of, {"q": "w_q", "k": "w_k", "v": "w_v", "o": "w_o"}, {"q": "wq", "k": "wk", "v": "wv", "o": "wo"}, {"q": "mix.q", "k": "mix.k", "v": "mix.v", "o": "mix.out"}} {
		list := inWords(words, "", 16)
		for i := range list {
			list[i].Shape = nil
		}
		res, err := ToConvention(t.Context(), &Inventory{Tensors: list}, lookup(t, "llama-hf"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := verdicts(t, res, list); got["o"] != "sure" {
			t.Errorf("%s is %s\n%s", words["o"], got["o"], brief(res))
		}
	}
}

// A pooler has a bias and is no table: what has the word is the embedding of segments, or else what is left.
func TestWordsOfBert(t *testing.T) {
	const lab = `emb.tok.weight 96x64
emb.pos.weight 32x64
emb.#.weight 2x64
emb.norm.<weight|bias> 64
@.weight 64x64
@.bias 64
enc.{}.att.<q|k|v|o>.weight [0-3] 64x64
enc.{}.att.<q|k|v|o>.bias [0-3] 64
enc.{}.att.norm.<weight|bias> [0-3] 64
enc.{}.ff.up.weight [0-3] 256x64
enc.{}.ff.up.bias [0-3] 256
enc.{}.ff.down.weight [0-3] 64x256
enc.{}.ff.down.bias [0-3] 64
enc.{}.ff.norm.<weight|bias> [0-3] 64`
	for _, words := range [][2]string{{"seg", "pool"}, {"token_type", "pooler"}, {"segment", "tanh"}, {"sent", "pool"}, {"sent", "tanh"}} {
		a := listed(t, strings.NewReplacer("#", words[0], "@", words[1]).Replace(lab))
		res, err := ToConvention(t.Context(), &Inventory{Tensors: a}, lookup(t, "bert-hf"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		got := brief(res)
		if !strings.Contains(got, "emb."+words[0]+".weight -> bert.embeddings.token_type_embeddings.weight") || strings.Contains(got, words[1]+".weight -> bert.embeddings") {
			t.Errorf("%s: %s", words, got)
		}
	}
}

// A head of another name is asked, not left behind.
func TestHeadIsLeft(t *testing.T) {
	for _, c := range []struct{ words, asked string }{{"head=classifier", "classifier"}, {"head=score", "score"}, {"head=cls", "cls"}} {
		of := map[string]string{"head": strings.TrimPrefix(c.words, "head=")}
		res, err := ToConvention(t.Context(), &Inventory{Tensors: inWords(of, "", 16)}, lookup(t, "llama-hf"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Extra) > 0 || len(res.Questions) != 1 || !slices.Equal(res.Questions[0].Between, []string{c.asked}) || !slices.Equal(res.Questions[0].Best, []string{"lm_head"}) {
			t.Errorf("%s: %v\n%s", c.words, res.Questions, brief(res))
		}
		res, err = ToConvention(t.Context(), &Inventory{Tensors: inWords(of, "", 16)}, lookup(t, "llama-hf"), Options{Assume: []Assumption{{c.asked, "lm_head"}}})
		if err != nil || len(res.Questions)+len(res.Extra) > 0 || !strings.Contains(brief(res), c.asked+".weight -> lm_head.weight named") {
			t.Errorf("%s, answered: %v\n%s", c.words, err, brief(res))
		}
	}
}

// What only the words of its neighbours leave no choice is named by them, and not forced by its shape.
func TestForcedByShapes(t *testing.T) {
	for _, c := range []struct{ words, rule, class string }{
		{"u=mlp.w_in", "blk.*.mlp.w_in.weight -> model.layers.*.mlp.up_proj.weight ", "named"},
		{"g=glu.wi_gate u=glu.wi_val d=glu.wo", "blk.*.glu.wi_val.weight -> model.layers.*.mlp.up_proj.weight ", "named"},
		{"d=mlp.back", "blk.*.mlp.back.weight -> model.layers.*.mlp.down_proj.weight ", "forced"},
		{"norm=z", "z.weight -> model.norm.weight ", "forced"},
	} {
		of := make(map[string]string)
		for w := range strings.FieldsSeq(c.words) {
			slot, name, _ := strings.Cut(w, "=")
			of[slot] = name
		}
		res, err := ToConvention(t.Context(), &Inventory{Tensors: inWords(of, "", 16)}, lookup(t, "llama-hf"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := brief(res); !strings.Contains(got, c.rule+c.class+"\n") {
			t.Errorf("%s: no %q in\n%s", c.words, c.rule+c.class, got)
		}
	}
}

// Beside that of the keys, w_q and q_weight are the weight of a query, not one that is quantised.
func TestWordsOfRawQueries(t *testing.T) {
	for _, w := range []string{"w_#", "W_#", "#_weight", "#_weight_kv"} {
		of, kv := make(map[string]string), strings.HasSuffix(w, "_kv")
		for _, slot := range []string{"q", "k", "v", "o"} {
			of[slot] = "attn." + strings.Replace(strings.TrimSuffix(w, "_kv"), "#", slot, 1)
		}
		list := inWords(of, "", 16)
		var out []convention.Named
		for _, n := range list {
			switch {
			case kv && strings.Contains(n.Name, ".v_weight"):
				continue
			case kv && strings.Contains(n.Name, ".k_weight"):
				n.Name, n.Shape = strings.Replace(n.Name, ".k_", ".kv_", 1), []uint64{32, 64}
			}
			if strings.Contains(n.Name, ".attn.") {
				n.Name = strings.TrimSuffix(n.Name, ".weight")
			}
			out = append(out, n)
		}
		res, err := ToConvention(t.Context(), &Inventory{Tensors: out}, lookup(t, "llama-hf"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if want := of["q"] + " -> model.layers.*.self_attn.q_proj.weight named"; !strings.Contains(brief(res), want) {
			t.Errorf("%s: no %q in\n%s", w, want, brief(res))
		}
	}
}

// Between two lists, what is left and has a shape of its own is asked about, whatever its name says.
func TestShapeOfItsOwn(t *testing.T) {
	a := inWords(nil, "", 16)
	b := inWords(nil, "model.", 16)
	for l := range 4 {
		a = append(a, convention.Named{Name: numbered("blk.{}.attn.k_norm.weight", l), Shape: []uint64{48}})
		b = append(b, convention.Named{Name: numbered("model.blk.{}.mlp.gate_norm.weight", l), Shape: []uint64{48}})
	}
	res, err := Infer(t.Context(), &Inventory{Tensors: a}, &Inventory{Tensors: b}, Options{})
	if err != nil || len(res.Extra)+len(res.Missing) > 0 || len(res.Questions) != 1 || !slices.Equal(res.Questions[0].Best, []string{"model.blk.{layer}.mlp.gate_norm"}) {
		t.Errorf("%v %+v\n%s", err, res.Questions, brief(res))
	}
}

// b_q is the bias of w_q, and so is what an answer calls it.
func TestWordsOfRawBiases(t *testing.T) {
	for _, word := range []string{"w_#", "W_#"} {
		of := make(map[string]string)
		for _, slot := range []string{"q", "k", "v", "o"} {
			of[slot] = "attn." + strings.Replace(word, "#", slot, 1)
		}
		a := inWords(of, "", 16)
		for i := range a {
			if strings.Contains(a[i].Name, ".attn.") {
				a[i].Name = strings.TrimSuffix(a[i].Name, ".weight")
			}
		}
		for l := range 4 {
			for slot, rows := range map[string]uint64{"q": 64, "k": 16, "v": 16} {
				a = append(a, convention.Named{Name: numbered("blk.{}.attn.b_"+slot, l), Shape: []uint64{rows}})
			}
		}
		for _, assume := range [][]Assumption{nil, {{"b_q", "q_proj.bias"}}} {
			res, err := ToConvention(t.Context(), &Inventory{Tensors: a}, lookup(t, "qwen2-hf"), Options{Assume: assume})
			if err != nil {
				t.Fatal(err)
			}
			for _, slot := range []string{"q", "k", "v"} {
				if want := "blk.*.attn.b_" + slot + " -> model.layers.*.self_attn." + slot + "_proj.bias named"; !strings.Contains(brief(res), want) {
					t.Errorf("no %q in\n%s", want, brief(res))
				}
			}
			if len(res.Extra)+len(res.Missing)+len(res.Questions) > 0 {
				t.Error(brief(res))
			}
		}
	}
	// Whatever is in front, the bias of fused weights goes with them. A matrix is no bias.
	for _, front := range [][2]string{{"w_", "b_"}, {"w", "b"}, {"W", "b"}, {"W_", "b_"}, {"weight_", "bias_"}} {
		var a []convention.Named
		for _, n := range inWords(nil, "", 16) {
			if n.Name, _ = strings.CutSuffix(n.Name, ".weight"); !strings.Contains(n.Name, "attn.") && !strings.Contains(n.Name, "mlp.") {
				a = append(a, n)
			}
		}
		for l := range 4 {
			for name, shape := range map[string][]uint64{"attn.#qkv": {96, 64}, "attn.#o": {64, 64}, "mlp.#gu": {320, 64}, "mlp.#d": {64, 160}} {
				name = numbered("blk.{}."+name, l)
				a = append(a, convention.Named{Name: strings.Replace(name, "#", front[0], 1), Shape: shape},
					convention.Named{Name: strings.Replace(name, "#", front[1], 1), Shape: shape[:1]})
			}
		}
		x, err := newInference(t.Context(), &Inventory{Tensors: a}, new(Inventory), Options{})
		if err != nil {
			t.Fatal(err)
		}
		biased := 0
		for _, m := range x.a.modules {
			if len(m.Leaves) == 2 && m.Leaves[1].IsBias() {
				biased++
			}
		}
		if biased != 4 {
			t.Errorf("%s and %s: %d modules have biases", front[0], front[1], biased)
		}
		for i := range a { // a state space has B beside W
			if strings.Contains(a[i].Name, "."+front[1]) {
				a[i].Shape = append(slices.Clone(a[i].Shape), 64)
			}
		}
		if x, err = newInference(t.Context(), &Inventory{Tensors: a}, new(Inventory), Options{}); err != nil {
			t.Fatal(err)
		}
		for _, m := range x.a.modules {
			if len(m.Leaves) > 1 {
				t.Errorf("%s and %s: a matrix is the bias of %s", front[0], front[1], m)
			}
		}
	}
	// Where the other side has them, each has the name that is there.
	b := inWords(map[string]string{"q": "a.w_q", "k": "a.w_k"}, "net.", 16)
	a := inWords(map[string]string{"q": "attn.q", "k": "attn.k"}, "", 16)
	for l := range 4 {
		for slot, rows := range map[string]uint64{"q": 64, "k": 16} {
			a = append(a, convention.Named{Name: numbered("blk.{}.attn."+slot+".bias", l), Shape: []uint64{rows}})
			b = append(b, convention.Named{Name: numbered("net.blk.{}.a.b_"+slot, l), Shape: []uint64{rows}})
		}
	}
	for i := range b {
		if strings.Contains(b[i].Name, ".a.w_") {
			b[i].Name = strings.TrimSuffix(b[i].Name, ".weight")
		}
	}
	res, err := Infer(t.Context(), &Inventory{Tensors: a}, &Inventory{Tensors: b}, Options{})
	if err != nil || !strings.Contains(brief(res), "blk.*.attn.q.bias -> net.blk.*.a.b_q named") || len(res.Extra)+len(res.Missing) > 0 {
		t.Errorf("%v %s", err, brief(res))
	}
}

// Attention to an encoder is told from that of the decoder to itself by what projects call them, and MLA's
// projections by their rank.
func TestWordsOfTowers(t *testing.T) {
	const hf = `model.<encoder|decoder>.layers.{}.self_attn.<q|k|v|out>_proj.weight [0-3] 64x64
model.decoder.layers.{}.encoder_attn.<q|k|v|out>_proj.weight [0-3] 64x64
model.<encoder|decoder>.layers.{}.fc1.weight [0-3] 256x64
model.<encoder|decoder>.layers.{}.fc2.weight [0-3] 64x256
model.<encoder|decoder>.layers.{}.self_attn_layer_norm.weight [0-3] 64
model.decoder.layers.{}.encoder_attn_layer_norm.weight [0-3] 64
model.<encoder|decoder>.layers.{}.final_layer_norm.weight [0-3] 64`
	const deepseek = `model.layers.{}.self_attn.q_a_proj.weight [0-3] 32x64
model.layers.{}.self_attn.q_b_proj.weight [0-3] 64x32
model.layers.{}.self_attn.kv_a_proj_with_mqa.weight [0-3] 32x64
model.layers.{}.self_attn.kv_b_proj.weight [0-3] 64x32
model.layers.{}.self_attn.o_proj.weight [0-3] 64x64
model.layers.{}.mlp.<gate_proj|up_proj>.weight [0-3] 172x64
model.layers.{}.mlp.down_proj.weight [0-3] 64x172
model.layers.{}.<input_layernorm|post_attention_layernorm>.weight [0-3] 64`
	for _, words := range []struct {
		to   string
		list []string
	}{
		{hf, []string{"self_attn.", "sa.", "encoder_attn.", "xa.", "self_attn_", "sa_", "encoder_attn_", "xa_", "final_layer_norm", "ffn_ln", "fc1", "ffn_up", "fc2", "ffn_down"}},
		{hf, []string{"self_attn", "selfatt", "encoder_attn", "xatt", "fc1", "ff.expand", "fc2", "ff.contract", "final_layer_norm", "ff_normalization"}},
		{hf, []string{"encoder_attn", "cross_att", "model.encoder", "enc", "model.decoder", "dec"}},
		{deepseek, []string{"q_a_proj", "q_down", "q_b_proj", "q_up", "kv_a_proj_with_mqa", "kv_down", "kv_b_proj", "kv_up", "mlp", "ffn", "input_layernorm", "pre_attn_normalization", "post_attention_layernorm", "pre_ffn_normalization"}},
		{deepseek, []string{"q_a_proj", "q_lora_a", "q_b_proj", "q_lora_b", "kv_a_proj_with_mqa", "kv_lora_a", "kv_b_proj", "kv_lora_b", "self_attn", "attention"}},
	} {
		b := listed(t, words.to)
		a := listed(t, words.to)
		truth := make(map[string]string)
		r := strings.NewReplacer(words.list...)
		for i := range a {
			a[i].Name = r.Replace(a[i].Name)
			truth[a[i].Name] = b[i].Name
		}
		slices.SortFunc(a, func(x, y convention.Named) int { return strings.Compare(x.Name, y.Name) })
		res, err := Infer(t.Context(), &Inventory{Tensors: a}, &Inventory{Tensors: b}, Options{Unknown: true})
		if err != nil || res.Refused != "" || len(res.Questions) > 0 {
			t.Errorf("%v: %v %s", words.list, err, brief(res))
			continue
		}
		names := make([]string, len(a))
		for i := range a {
			names[i] = a[i].Name
		}
		for _, row := range rename.NewPlan(res.Map, names, rename.Limits{}).Rows {
			if row.To != truth[row.From] {
				t.Errorf("%s becomes %s, not %s", row.From, row.To, truth[row.From])
			}
		}
	}
}

// Where a parent alone has another name, and all below it the same, words that lie mean the same: that is the
// guess, and no more than one.
func TestWordsBelowAnotherParent(t *testing.T) {
	b := listed(t, "h.{}.mlp.<w1|w2|c_proj>.weight [0-3] 64x64\nh.{}.attn.<c_attn|c_proj>.weight [0-3] 64x64")
	a := slices.Clone(b)
	for i := range a {
		a[i].Name = strings.Replace(a[i].Name, ".mlp.", ".feed_forward.", 1)
	}
	for _, shapes := range []bool{true, false} {
		for i := range a {
			if !shapes {
				a[i].Shape, b[i].Shape = nil, nil
			}
		}
		res, err := Infer(t.Context(), &Inventory{Tensors: a}, &Inventory{Tensors: b}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range []string{"w1", "w2", "c_proj"} {
			if want := "h.*.feed_forward." + w + ".weight -> h.*.mlp." + w + ".weight"; !strings.Contains(brief(res), want) {
				t.Errorf("no %q in\n%s", want, brief(res))
			}
		}
		for _, r := range res.Rules {
			if r.Class == Guess && r.Confidence > 0.85 {
				t.Errorf("%+v", r)
			}
		}
	}
}
