package template

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/testdata"
)

func TestFold(t *testing.T) {
	tests := []struct {
		name string
		rows []string // "name" or "name key"
		want []string // "name count"
	}{
		{"nothing", nil, nil},
		{
			"layers out of order, as headers store them",
			[]string{"h.0.w", "h.1.w", "h.10.w", "h.2.w", "h.3.w"},
			[]string{"h.{0..3,10}.w 5"},
		},
		{
			"one layer of another dtype is a row of its own",
			[]string{"h.0.w BF16", "h.1.w BF16", "h.2.w F32", "h.3.w BF16"},
			[]string{"h.{0..1,3}.w 3", "h.2.w 1"},
		},
		{
			"a key is no part of the name",
			[]string{"h.0.a b", "h.1.ab"},
			[]string{"h.0.a 1", "h.1.ab 1"},
		},
		{
			"two indices, a full product",
			[]string{"l.3.e.0.w", "l.3.e.1.w", "l.4.e.0.w", "l.4.e.1.w"},
			[]string{"l.{3..4}.e.{0..1}.w 4"},
		},
		{
			"a missing expert takes its layer out of the product",
			[]string{"l.3.e.0.w", "l.3.e.1.w", "l.4.e.0.w", "l.5.e.0.w", "l.5.e.1.w"},
			[]string{"l.{3,5}.e.{0..1}.w 4", "l.4.e.0.w 1"},
		},
		{
			"a single index stays as it is",
			[]string{"a.0.b.5.w", "a.1.b.5.w", "c.7.w"},
			[]string{"a.{0..1}.b.5.w 2", "c.7.w 1"},
		},
		{
			"first appearance orders the rows",
			[]string{"z", "h.1.b", "h.1.a", "a", "h.0.b", "h.0.a"},
			[]string{"z 1", "h.{0..1}.b 2", "h.{0..1}.a 2", "a 1"},
		},
		{
			"digits inside a word are no index",
			[]string{"e.w1", "e.w2", "conv1.w", "conv2.w"},
			[]string{"e.w1 1", "e.w2 1", "conv1.w 1", "conv2.w 1"},
		},
		{
			"every separator bounds an index",
			[]string{"m/0/w", "m/1/w", "b_0_w", "b_1_w", "x-0", "x-1", "0", "1"},
			[]string{"m/{0..1}/w 2", "b_{0..1}_w 2", "x-{0..1} 2", "{0..1} 2"},
		},
		{
			"leading zeros are text: 01 is not 1",
			[]string{"h.01.w", "h.1.w", "h.02.w", "h.2.w"},
			[]string{"h.01.w 1", "h.{1..2}.w 2", "h.02.w 1"},
		},
		{
			"a repeated name stays visible",
			[]string{"h.0.w", "h.0.w", "h.1.w", "n", "n"},
			[]string{"h.{0..1}.w 2", "h.0.w 1", "n 1", "n 1"},
		},
		{
			"braces would read as a set",
			[]string{"h.{0..1}.0", "h.{0..1}.1"},
			[]string{"h.{0..1}.0 1", "h.{0..1}.1 1"},
		},
		{
			"Megatron-core numbers experts behind the leaf",
			[]string{"l.0.fc1.weight0", "l.0.fc1.weight1", "l.0.fc1.weight0.x", "l.0.fc1.weight1.x"},
			[]string{"l.0.fc1.weight{0..1} 2", "l.0.fc1.weight0.x 1", "l.0.fc1.weight1.x 1"},
		},
		{
			"numbers behind a word that counts",
			[]string{"blk0.w", "blk1.w", "layer4_attn.w", "layer5_attn.w", "layer7_attn.w", "h0.attn", "h1.attn", "te:0:down", "te:1:down", "moe.expert0", "moe.expert1"},
			[]string{"blk{0..1}.w 2", "layer{4..5,7}_attn.w 3", "h{0..1}.attn 2", "te:{0..1}:down 2", "moe.expert{0..1} 2"},
		},
		{
			"and those of parts, which do not count",
			[]string{"conv1.w", "conv2.w", "conv3.w", "fc0", "fc1", "w1", "w2", "w3", "q4", "q5", "q6", "h264.a", "ph0", "ph1", "linear_layer1.w", "linear_layer2.w"},
			[]string{"conv1.w 1", "conv2.w 1", "conv3.w 1", "fc0 1", "fc1 1", "w1 1", "w2 1", "w3 1", "q4 1", "q5 1", "q6 1", "h264.a 1", "ph0 1", "ph1 1", "linear_layer1.w 1", "linear_layer2.w 1"},
		},
		{
			"both in one name",
			[]string{"block0.layer1.w", "block0.layer2.w", "block1.layer1.w", "block1.layer2.w", "block2.layer1.w", "block2.layer2.w"},
			[]string{"block{0..2}.layer1.w 3", "block{0..2}.layer2.w 3"},
		},
		{
			"a number and more of the word",
			[]string{"layer0norm.w", "layer1norm.w", "block2x2", "block3x3", "block4x4"},
			[]string{"layer{0..1}norm.w 2", "block2x2 1", "block3x3 1", "block4x4 1"},
		},
		{
			"numbers that are part of a word count where the whole list says so",
			[]string{"trunk.b0.w", "trunk.b1.w", "trunk.b2.w", "trunk.b0.e1.w", "trunk.b1.e1.w", "trunk.b2.e1.w", "trunk.c0.w", "trunk.c1.w", "t.b00", "t.b01", "t.b02"},
			[]string{"trunk.b{0..2}.w 3", "trunk.b{0..2}.e1.w 3", "trunk.c0.w 1", "trunk.c1.w 1", "t.b00 1", "t.b01 1", "t.b02 1"},
		},
		{
			"but not the one whose tensors are others",
			[]string{"b0.w", "b1.w", "b2.w", "b3.w", "b0.g", "b1.g", "b2.g", "b3.g", "b4.head", "b4.out"},
			[]string{"b{0..3}.w 4", "b{0..3}.g 4", "b4.head 1", "b4.out 1"},
		},
		{
			"kohya's names",
			[]string{"lora_unet_down_blocks_0_attentions_0_proj.alpha", "lora_unet_down_blocks_0_attentions_1_proj.alpha", "lora_te1_x.alpha", "lora_te2_x.alpha"},
			[]string{"lora_unet_down_blocks_0_attentions_{0..1}_proj.alpha 2", "lora_te1_x.alpha 1", "lora_te2_x.alpha 1"},
		},
		{
			"numbers too long to count with",
			[]string{"h.9999999999", "h.9999999998", "h.999999999", "h.999999998"},
			[]string{"h.9999999999 1", "h.9999999998 1", "h.{999999998..999999999} 2"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, g := range Fold(len(tt.rows), func(i int) (string, string) {
				name, key, _ := strings.Cut(tt.rows[i], " ")
				return name, key
			}) {
				got = append(got, g.Name+" "+strconv.Itoa(len(g.Members)))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// expand writes out a template. It shares nothing with the code that folds.
func expand(name string) []string {
	before, rest, ok := strings.Cut(name, "{")
	if !ok {
		return []string{name}
	}
	set, after, _ := strings.Cut(rest, "}")
	var all []string
	for part := range strings.SplitSeq(set, ",") {
		first, last, isRange := strings.Cut(part, "..")
		if !isRange {
			last = first
		}
		lo, _ := strconv.Atoi(first)
		hi, _ := strconv.Atoi(last)
		for v := lo; v <= hi; v++ {
			for _, tail := range expand(after) {
				all = append(all, before+strconv.Itoa(v)+tail)
			}
		}
	}
	return all
}

func TestFoldLosesNothing(t *testing.T) {
	segment := rapid.SampledFrom([]string{"0", "1", "2", "3", "7", "10", "00", "a", "w1", "weight", "weight1", "blk0", "blk1", "blk2", "layer1", "layer2", "\x00"})
	row := rapid.Custom(func(t *rapid.T) string {
		name := segment.Draw(t, "segment")
		for range rapid.IntRange(0, 3).Draw(t, "more") {
			name += rapid.SampledFrom([]string{".", "_", "-", "/", ":"}).Draw(t, "separator")
			name += segment.Draw(t, "segment")
		}
		return name
	})
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOf(row).Draw(t, "names")
		keys := rapid.SliceOfN(rapid.SampledFrom([]string{"", "F32"}), len(names), len(names)).Draw(t, "keys")
		var got, members []int
		var expanded []string
		for _, g := range Fold(len(names), func(i int) (string, string) { return names[i], keys[i] }) {
			got = append(got, g.Members[0])
			members = append(members, g.Members...)
			all := expand(g.Name)
			expanded = append(expanded, all...)
			if len(all) != len(g.Members) || !slices.IsSorted(g.Members) {
				t.Fatalf("%s: members %v", g.Name, g.Members)
			}
			for _, m := range g.Members {
				if keys[m] != keys[g.Members[0]] || !slices.Contains(all, names[m]) {
					t.Fatalf("%s holds %s (%s)", g.Name, names[m], keys[m])
				}
			}
		}
		if !slices.IsSorted(got) {
			t.Fatalf("groups are not in order of appearance: %v", got)
		}
		slices.Sort(members)
		for i, m := range members {
			if i != m {
				t.Fatalf("members are %v", members)
			}
		}
		want := slices.Sorted(slices.Values(names))
		slices.Sort(expanded)
		if !slices.Equal(want, expanded) {
			t.Fatalf("%v came back as %v", want, expanded)
		}
	})
}

func TestFoldRealNames(t *testing.T) {
	for _, file := range testdata.Glob(t, "names/*.tsv") {
		names := fixture.ListedNames(t, file)
		var expanded []string
		for _, g := range FoldNames(names) {
			if len(g.Members) == 1 {
				expanded = append(expanded, g.Name)
			} else {
				expanded = append(expanded, expand(g.Name)...)
			}
		}
		slices.Sort(expanded)
		slices.Sort(names)
		if !slices.Equal(names, expanded) {
			t.Errorf("%s: names are lost", filepath.Base(file))
		}
	}
}

func BenchmarkFold(b *testing.B) {
	names := fixture.DeepSeekNames()
	for b.Loop() {
		FoldNames(names)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(names)), "ns/name")
}
