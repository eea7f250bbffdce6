package check

import (
	"bytes"
	"context"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/safetensors"
)

var shardRules = []*Rule{
	{
		ID: "WT201", Name: "missing-shard", Severity: checkpoint.Error, run: runFaults,
		Title: "a file of the set is not there",
		Doc: `The index names it, or the numbers of the other files leave it out. Some loaders skip
it silently and leave its weights uninitialised. What the index places in it is not
reported again tensor by tensor.`,
		Bad:  "an index of 30 shards, of which 15 were uploaded",
		Good: "every shard that the index names",
	},
	{
		ID: "WT202", Name: "missing-tensor", Severity: checkpoint.Error, run: runFaults,
		Title: "the index names a tensor that no shard holds",
		Doc: `Loaders that trust the index look for it without finding it, or leave the weight uninitialised.
The index is older or newer than the shards: rebuild it, or upload the right shards.`,
		Bad: "mtp.fc.weight in the index, in no shard", Good: "an index that names what the shards hold",
		Fix: rebuildIndex,
	},
	{
		ID: "WT203", Name: "misplaced-tensor", Severity: checkpoint.Error, run: runFaults,
		Title: "the index places a tensor in another shard than the one that holds it",
		Doc:   `Loaders look for the tensor where the index says, and do not find it.`,
		Bad:   "norm.weight in shard 2 by the index, and in shard 1 in truth", Good: "both the same",
		Fix: rebuildIndex,
	},
	{
		ID: "WT204", Name: "unmapped-tensor", Severity: checkpoint.Error, run: runFaults,
		Title: "a shard holds a tensor that the index does not name",
		Doc:   `Loaders that go by the index never load it; those that go by the files do.`,
		Bad:   "lm_head.weight in shard 2, not in the index", Good: "an index that names what the shards hold",
		Fix: rebuildIndex,
	},
	{
		ID: "WT205", Name: "orphan-shard", Severity: checkpoint.Error, run: runFaults,
		Title: "the index does not name a shard of the set",
		Doc:   `Its name numbers it among the others, and no tensor of the index is in it.`,
		Bad:   "model-00003-of-00003 beside an index that names two shards", Good: "an index that names every shard",
		Fix: rebuildIndex,
	},
	{
		ID: "WT206", Name: "tensor-in-two-shards", Severity: checkpoint.Error, run: runFaults,
		Title: "two files of the set hold a tensor of the same name",
		Doc:   `Which of them counts depends on the loader and on the order in which it opens files.`,
		Bad:   "norm.weight in shards 1 and 2", Good: "every tensor in one shard",
	},
	{
		ID: "WT207", Name: "total-size", Severity: checkpoint.Error, run: runFaults,
		Title: "the index's total_size is wrong or absent",
		Doc: `Transformers and the Hub mean the sum of the tensors' bytes. The sum of the files'
sizes, which other scripts write, is worth knowing and no error; anything else belongs
to another version of the weights.`,
		Bad: `"total_size": 3 for 4 GB of tensors`, Good: "the sum of the tensors' bytes",
		Fix: &Fix{Kind: FixTotals, Doc: "writes the sum of the tensors' bytes"},
	},
	{
		ID: "WT208", Name: "total-parameters", Severity: checkpoint.Warning, run: runTotalParameters,
		Title: "the index's total_parameters is not the number of parameters",
		Doc: `The Hub and leaderboards show this number as the size of the model. Packed weights
count what they unpack to; a difference of less than a twentieth is not reported,
because projects differ in what they count.`,
		Bad: `"total_parameters": 333312 for a model of 7.6 B`, Good: "the number of parameters",
		Fix: &Fix{Kind: FixTotals, Doc: "writes the number of parameters"},
	},
	{
		ID: "WT209", Name: "shard-numbers", Severity: checkpoint.Warning, run: runFaults,
		Title: "the numbers in the shards' names do not make a set",
		Doc: `Numbers start at 1 and end at the count, which is the same in every name. A number
that no tensor of the index is in may be a shard that was forgotten.`,
		Bad: "model-00000-of-00002, or -of-00002 beside -of-00003", Good: "model-00001-of-00002 and model-00002-of-00002",
	},
	{
		ID: "WT210", Name: "unsafe-path", Severity: checkpoint.Error, run: runFaults,
		Title: "a shard's path leaves the release",
		Doc: `An index that names ../ or an absolute path makes loaders open files that are not the
release's. Such a file is never opened here. The same holds for symbolic links that
lead out of the directory, other than into the blobs of the hub cache it belongs to.`,
		Bad: `"w": "../../etc/passwd"`, Good: `"w": "model-00001-of-00002.safetensors"`,
	},
	{
		ID: "WT211", Name: "stale-shards", Severity: checkpoint.Error, run: runStaleShards,
		Title: "a second set of shards holds the same tensors",
		Doc: `A set that no index names is beside one that holds the same tensors: left over
from an earlier save. Loaders that take every *.safetensors file merge the two, and
shapes of one version meet code for the other.`,
		Bad:  "model-0000N-of-00002 beside the indexed model-0000N-of-00004",
		Good: "one set of shards",
		Fix:  &Fix{Kind: FixAside, Doc: "moves the set aside, into a directory that loaders do not look into"},
	},
	{
		ID: "WT212", Name: "stray-weights", Severity: checkpoint.Error, run: runStrayWeights,
		Title: "a single file beside an indexed set holds the same tensors",
		Doc: `Loaders that look for model.safetensors first take it instead of the shards; those
that take every file merge it with them. consolidated.safetensors, which some projects
publish for their own loaders, is only worth knowing.`,
		Bad:  "a 4-bit model.safetensors beside bf16 shards",
		Good: "the shards alone",
		Fix:  &Fix{Kind: FixAside, Doc: "moves the file aside, into a directory that loaders do not look into"},
	},
	{
		ID: "WT213", Name: "broken-index", Severity: checkpoint.Error, run: runFaults,
		Title: "the shard index cannot be read",
		Doc: `It is not valid JSON, has no weight_map, or values of the wrong type. Loaders fail on
it before they look at a shard.`,
		Bad: "two JSON documents in one file", Good: `{"metadata": {…}, "weight_map": {…}}`,
		Fix: rebuildIndex,
	},
	{
		ID: "WT214", Name: "broken-split", Severity: checkpoint.Error, run: runFaults,
		Title: "the parts of a GGUF split contradict each other",
		Doc: `split.no, split.count and split.tensors.count of every part have to agree with the
others and with the names of the files.`,
		Bad: "split.tensors.count 578, and 470 tensors", Good: "470 and 470",
	},
	{
		ID: "WT215", Name: "ignored-file", Severity: checkpoint.Info, run: runFaults,
		Title: "a file that looks like weights was passed over",
		Doc: `Hidden files, the companions that macOS writes on foreign disks, and unfinished
downloads do not belong in a release.`,
		Bad: "._model.safetensors, model.safetensors.part", Good: "neither",
	},
	{
		ID: "WT216", Name: "shards-without-index", Severity: checkpoint.Warning, run: runNoIndex,
		Profiles: map[Profile]checkpoint.Severity{Transformers: checkpoint.Error, MLX: checkpoint.Info, VLLM: checkpoint.Info},
		Title:    "numbered shards have no index",
		Doc: `Transformers and diffusers find shards by model.safetensors.index.json alone and
refuse the directory without it. Of PyTorch's shards that is pytorch_model.bin.index.json.`,
		Bad: "model-0000N-of-00002 alone", Good: "the shards with model.safetensors.index.json",
		Fix: &Fix{Kind: FixIndex, Doc: "writes the index from the shards"},
	},
	{
		ID: "WT217", Name: "file-outside-index", Severity: checkpoint.Warning, run: runOutsideIndex,
		Title: "a part of the model is in a file that the index does not name",
		Doc: `Layers for multi-token prediction, or a tower, in a file of their own beside an index that
names the other files: loaders that go by the index leave them out, those that take every
file load them.`,
		Bad: "mtp.safetensors beside an index that does not name it", Good: "an index that names every file",
	},
	{
		ID: "WT218", Name: "empty-shard", Severity: checkpoint.Warning, run: runFaults,
		Title: "a shard of the set holds no tensor",
		Doc: `Its header is whole, and empty: a process that had nothing to write, or a save that went
wrong. If the index places tensors there, it is an error, and their weights are lost. No index can name
such a file otherwise.`,
		Bad: "model-00002-of-00003 with a header of {}", Good: "every shard with tensors",
	},
}

// edgeOfIndex is how much of an index is searched at either end for a total.
// Its metadata stand before the weight map or behind it.
const edgeOfIndex = 8 << 10

// hasTotalParameters spares reading the whole of the indexes that do not say.
func hasTotalParameters(ctx context.Context, path string) bool {
	f, err := source.Open(ctx, path)
	if err != nil {
		return false
	}
	defer f.Close()
	size := f.Size()
	for _, start := range []int64{0, max(0, size-edgeOfIndex)} {
		part := make([]byte, min(edgeOfIndex, size-start))
		if _, err := f.ReadAt(part, start); err != nil && err != io.EOF {
			return false
		}
		if bytes.Contains(part, []byte(`"total_parameters"`)) {
			return true
		}
	}
	return false
}

func readIndex(ctx context.Context, path string) (*safetensors.Index, error) {
	f, err := source.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return safetensors.ReadIndex(io.NewSectionReader(f, 0, f.Size()))
}

func runTotalParameters(p *Pass) {
	for _, m := range p.models {
		if m.Format != checkpoint.Safetensors || m.Index == "" || m.partial() || m.NamesOnly() || !hasTotalParameters(p.ctx, m.Index) {
			continue
		}
		ix, err := readIndex(p.ctx, m.Index)
		if err != nil {
			continue
		}
		claimed, ok := ix.TotalParameters()
		if !ok {
			continue
		}
		counted, note := m.Parameters(m.doc)
		var elements uint64
		for _, t := range m.All() {
			n, ok := t.Elements()
			if !ok || elements+n < n {
				return
			}
			elements += n
		}
		if near(claimed, counted) || near(claimed, elements) {
			continue
		}
		f := m.whole("total_parameters is %d, and the tensors have %s", claimed, plural.Of(counted, "parameter"))
		if note != "" {
			f.Message += " (" + note + ")"
		}
		f.Fixable = true
		p.report(f)
	}
}

// near reports whether two counts differ by less than a twentieth.
func near(a, b uint64) bool {
	x, y := float64(a), float64(b)
	return math.Abs(x-y) < math.Max(x, y)/20
}

// overlap returns how many of a's tensors b holds too.
func overlap(a, b *model) int {
	n := 0
	for _, t := range a.All() {
		if _, ok := b.Lookup(t.Name); ok {
			n++
		}
	}
	return n
}

// rivals yields the checkpoints without an index beside an indexed one that
// hold most of the same tensors. An index without its shards holds none: what
// stands beside it is all there is.
func (p *Pass) rivals(single bool, report func(stale, main *model, same int)) {
	for _, main := range p.models {
		if main.Index == "" || main.Format != checkpoint.Safetensors || main.NamesOnly() {
			continue
		}
		for _, m := range p.models {
			if m == main || m.Dir != main.Dir || m.Index != "" || m.Format != checkpoint.Safetensors || m.Len() == 0 {
				continue
			}
			if _, _, of, numbered := safetensors.ParseShardName(m.Files[0].Name); single == (numbered && of > 1) {
				continue
			}
			// A quantised copy has other tensors besides.
			if same := overlap(m, main); 2*same >= min(m.Len(), main.Len()) {
				report(m, main, same)
			}
		}
	}
}

func runStaleShards(p *Pass) {
	p.rivals(false, func(m, main *model, same int) {
		f := m.whole("%d of its %s %s in the files that %s names; this set is left over from another save", same, plural.Of(m.Len(), "tensor"), plural.Verb(same, "are"), filepath.Base(main.Index))
		f.Fixable, f.Count = !main.partial(), len(m.Files)
		p.report(f)
	})
}

func runStrayWeights(p *Pass) {
	p.rivals(true, func(m, main *model, same int) {
		name := m.Files[0].Name
		f := m.whole("%d of its %s %s in the files that %s names; loaders take one or the other, or merge them", same, plural.Of(m.Len(), "tensor"), plural.Verb(same, "are"), filepath.Base(main.Index))
		f.Fixable = !main.partial() // what is missing there may be here
		switch stem := strings.TrimSuffix(name, ".safetensors"); {
		case strings.HasPrefix(stem, "consolidated"):
			f.Fixable = false
			p.grade(checkpoint.Info, f)
		case strings.Contains(stem, "."):
			// A variant such as model.fp16.safetensors is asked for by name.
		default:
			p.report(f)
		}
	})
}

func runNoIndex(p *Pass) {
	for _, m := range p.models {
		name := ""
		if m.Index == "" && len(m.Files) > 1 {
			name = IndexName(m.Files[0].Name)
		}
		if name == "" {
			continue
		}
		rival := false
		for _, o := range p.models {
			// An index without its shards is no rival, but what is to be replaced.
			rival = rival || o != m && o.Dir == m.Dir && o.Index != "" && !o.NamesOnly()
		}
		if rival {
			continue // WT211's
		}
		f := m.whole("%d shards and no %s", len(m.Files), name)
		f.Fixable, f.Count = m.Format == checkpoint.Safetensors && !m.partial(), 1
		p.report(f)
	}
}

// IndexName returns the name of the index that belongs to a shard's name, "" for a name that is not one of a
// shard of safetensors or of torch.save.
func IndexName(shard string) string {
	if prefix, _, _, ok := safetensors.ParseShardName(shard); ok {
		return checkpoint.IndexName(prefix)
	}
	stem, isBin := strings.CutSuffix(shard, ".bin")
	prefix, _, _, ok := safetensors.ParseShardName(stem + ".safetensors")
	if !ok || !isBin {
		return ""
	}
	return strings.Replace(checkpoint.IndexName(prefix), ".safetensors.index.", ".bin.index.", 1)
}

// partPrefixes are what the names of parts begin with that some projects store in a file
// of their own (Qwen3.5's mtp, the towers of Qwen-VL and LLaVA).
var partPrefixes = []string{"mtp.", "model.mtp.", "visual.", "model.visual.", "vision_tower.", "model.vision_tower.", "audio_tower."}

// outside returns the files of parts beside an indexed model that its index does not name.
func (p *Pass) outside(main *model) (list []*model) {
	if main.Index == "" || main.NamesOnly() || main.Format != checkpoint.Safetensors {
		return nil
	}
	for _, m := range p.models {
		if m == main || m.Dir != main.Dir || m.Index != "" || m.Format != checkpoint.Safetensors || m.Len() == 0 || len(m.Files) != 1 || overlap(m, main) > 0 {
			continue
		}
		if slices.ContainsFunc(partPrefixes, func(prefix string) bool { return strings.HasPrefix(m.common(), prefix) }) {
			list = append(list, m)
		}
	}
	return list
}

func runOutsideIndex(p *Pass) {
	for _, main := range p.models {
		for _, m := range p.outside(main) {
			p.report(m.whole("%s below %s, and %s does not name the file; loaders that go by the index leave them out", plural.Of(m.Len(), "tensor"), strings.TrimSuffix(m.common(), "."), filepath.Base(main.Index)))
		}
	}
}
