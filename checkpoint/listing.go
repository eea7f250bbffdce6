package checkpoint

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/safetensors"
)

// A listing is the names in a directory that have to do with weights.
type listing struct {
	safetensors, gguf []string
	indexes           []string // of safetensors shards
	torchIndexes      []string // of shards of torch.save
	torch             []string // files that are named as those of torch.save
	pickles           []string // these, and others
	others            []string // that may have pickles in them, whatever they are called
	numpy             []string // archives of arrays
	chunks            []string // files of a distributed checkpoint
	distributed       bool     // and what says what is in them
	subdirs           []string
	pipeline          bool
	ignored           []Fault
}

// list reads a directory. Hidden files are passed over, and reported when
// their names are those of weights.
func list(ctx context.Context, dir string) (*listing, error) {
	entries, err := source.ReadDir(ctx, dir)
	if err != nil {
		return nil, err
	}
	l := new(listing)
	for _, e := range entries {
		name := e.Name()
		lower := strings.ToLower(name)
		if e.IsDir() {
			if !strings.HasPrefix(name, ".") && name != "__pycache__" {
				l.subdirs = append(l.subdirs, name)
			}
			continue
		}
		isSafetensors, isGGUF := strings.HasSuffix(lower, ".safetensors"), strings.HasSuffix(lower, ".gguf")
		why := ""
		switch {
		case strings.HasPrefix(name, "._") && (isSafetensors || isGGUF):
			why = "an AppleDouble file, which macOS writes beside a file on foreign disks; delete it before publishing"
		case strings.HasPrefix(name, ".") && (isSafetensors || isGGUF):
			why = "a hidden file"
		case isUnfinished(lower):
			why = "an unfinished download"
		case name == DistributedIndex:
			l.distributed = true
		case strings.HasPrefix(name, "."):
			l.others = append(l.others, name)
		case isSafetensors:
			l.safetensors = append(l.safetensors, name)
		case isGGUF:
			l.gguf = append(l.gguf, name)
		case lower == "model_index.json":
			l.pipeline = true
		case strings.HasSuffix(lower, ".json") && strings.Contains(lower, ".safetensors.index."):
			l.indexes = append(l.indexes, name)
		case strings.HasSuffix(lower, ".json") && strings.Contains(lower, ".bin.index."):
			l.torchIndexes = append(l.torchIndexes, name)
		case strings.HasSuffix(lower, ".npz"):
			l.numpy = append(l.numpy, name)
		case strings.HasSuffix(lower, ".distcp"):
			l.chunks = append(l.chunks, name)
		case isPickle(lower):
			l.pickles = append(l.pickles, name)
			if !LeftByTrainer(name) {
				l.torch = append(l.torch, name)
			}
		case !strings.HasSuffix(lower, ".json"):
			l.others = append(l.others, name)
		}
		if why != "" {
			l.ignored = append(l.ignored, Fault{
				File: source.Join(dir, name), Code: CodeIgnored, Severity: Info, Offset: -1,
				Detail: "passed over: " + why,
			})
		}
	}
	return l, nil
}

// isUnfinished recognises what browsers, curl, aria2 and the hub's client call
// a file that they have not downloaded whole.
func isUnfinished(lower string) bool {
	switch path.Ext(lower) {
	case ".incomplete", ".part", ".partial", ".crdownload", ".aria2", ".download", ".tmp":
		return strings.Contains(lower, ".safetensors.") || strings.Contains(lower, ".gguf.")
	}
	return false
}

// isPickle recognises what people call files that are pickles, or have one in them. The
// bytes decide what such a file is.
func isPickle(lower string) bool {
	switch path.Ext(lower) {
	case ".bin", ".pt", ".pth", ".ckpt", ".pt2", ".th", ".jit", ".pkl", ".pickle", ".pk", ".p", ".cpkl", ".dill", ".joblib":
		return true
	case ".tar": // early examples of PyTorch call checkpoints so, which are no archives of tar
		return strings.HasSuffix(lower, ".pth.tar") || strings.HasSuffix(lower, ".pt.tar") || strings.HasSuffix(lower, ".ckpt.tar")
	}
	return false
}

// MayHavePickles reports whether a file is called as pickles, or as what has some in it: arrays, archives of
// TorchServe, pickles that are compressed or hidden.
func MayHavePickles(name string) bool {
	lower := strings.ToLower(strings.TrimLeft(filepath.Base(name), "."))
	switch ext := path.Ext(lower); ext {
	case ".npy", ".npz", ".mar", ".distcp":
		return true
	case ".gz", ".bz2", ".z", ".zlib", ".xz", ".lzma", ".lz4", ".zst":
		lower = strings.TrimSuffix(lower, ext)
	}
	return isPickle(lower)
}

// trainerFiles are what trainers leave beside the weights: states of optimisers, schedulers
// and random numbers, and the arguments of the run (transformers/trainer.py;
// accelerate/utils/constants.py; deepspeed/checkpoint/constants.py, OPTIM_FILE_SUFFIX).
var trainerFiles = []string{
	"training_args.bin", "optimizer.pt", "optimizer.bin", "optimizer_*.bin", "scheduler.pt", "scheduler.bin", "scheduler_*.bin", "scaler.pt",
	"sampler.bin", "sampler_*.bin", "rng_state.pth", "rng_state_*.pth", "random_states_*.pkl", "*_optim_states.pt",
}

// LeftByTrainer reports whether a pickle is named as what trainers leave beside the weights,
// which is none.
func LeftByTrainer(name string) bool {
	lower := strings.ToLower(filepath.Base(name))
	return slices.ContainsFunc(trainerFiles, func(glob string) bool {
		ok, _ := path.Match(glob, lower)
		return ok
	})
}

// isTorchName reports whether a name is what projects call weights that torch.save
// writes. Other .bin and .pkl files may be anything.
func isTorchName(name string) bool {
	lower := strings.ToLower(name)
	switch path.Ext(lower) {
	case ".pt", ".pth", ".ckpt":
		return !LeftByTrainer(lower)
	case ".bin":
		return strings.HasPrefix(lower, "pytorch_model") || strings.HasPrefix(lower, "adapter_model") || strings.HasPrefix(lower, "diffusion_pytorch_model")
	}
	return false
}

func baseNames(paths []string) []string {
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = filepath.Base(p)
	}
	return names
}

// A group is the files of one directory whose names number them as parts of
// one set.
type group struct {
	prefix  string
	of      int
	names   []string // sorted
	numbers []int    // of each name
	named   []string // those that have a word for a number
}

// missing returns the numbers from 1 to of that no name has.
func (g *group) missing() []int {
	if g.complete() {
		return nil
	}
	have := make(map[int]bool, len(g.numbers))
	for _, n := range g.numbers {
		have[n] = true
	}
	var list []int
	for n := 1; n <= g.of; n++ {
		if !have[n] {
			list = append(list, n)
		}
	}
	return list[:max(0, len(list)-len(g.named))]
}

// complete reports whether the names are numbered 1 to of, each once.
func (g *group) complete() bool {
	if len(g.numbers)+len(g.named) != g.of {
		return false
	}
	for i, n := range g.numbers {
		if n != i+1 {
			return false
		}
	}
	return true
}

type parseName func(name string) (prefix string, no, of int, ok bool)

// groupNames sorts names into groups, in the order of their first names, and
// what belongs to none.
func groupNames(names []string, parse parseName) (groups []*group, singles []string) {
	type key struct {
		prefix string
		of     int
	}
	byKey := make(map[key]*group)
	for _, name := range names {
		prefix, no, of, ok := parse(name)
		if !ok {
			singles = append(singles, name)
			continue
		}
		g := byKey[key{prefix, of}]
		if g == nil {
			g = &group{prefix: prefix, of: of}
			byKey[key{prefix, of}] = g
			groups = append(groups, g)
		}
		g.names = append(g.names, name)
		g.numbers = append(g.numbers, no)
	}
	return groups, singles
}

// groupShards is groupNames for safetensors files. A shard that is named instead
// of numbered belongs to the numbered ones beside it.
func groupShards(names []string) (groups []*group, singles []string) {
	groups, rest := groupNames(names, safetensors.ParseShardName)
	for _, name := range rest {
		prefix, of, ok := safetensors.ParseNamedShard(name)
		i := slices.IndexFunc(groups, func(g *group) bool { return g.prefix == prefix && g.of == of })
		if !ok || i < 0 {
			singles = append(singles, name)
			continue
		}
		groups[i].named = append(groups[i].named, name)
	}
	return groups, singles
}

// parseTorchShard is [safetensors.ParseShardName] for the names of torch's shards:
// pytorch_model-00001-of-00002.bin.
func parseTorchShard(name string) (prefix string, no, of int, ok bool) {
	if !isPickle(strings.ToLower(name)) {
		return "", 0, 0, false
	}
	return safetensors.ParseShardName(strings.TrimSuffix(name, path.Ext(name)) + ".safetensors")
}

// parseShard takes the name of a shard of either format apart.
func parseShard(name string) (prefix string, no, of int, ok bool) {
	if prefix, no, of, ok = safetensors.ParseShardName(name); !ok {
		return parseTorchShard(name)
	}
	return prefix, no, of, ok
}

func groupSplits(names []string) []*group {
	groups, _ := groupNames(names, gguf.ParseSplitName)
	return groups
}

func (g *group) without(names map[string]bool) *group {
	out := &group{prefix: g.prefix, of: g.of}
	for i, name := range g.names {
		if !names[name] {
			out.names = append(out.names, name)
			out.numbers = append(out.numbers, g.numbers[i])
		}
	}
	for _, name := range g.named {
		if !names[name] {
			out.named = append(out.named, name)
		}
	}
	return out
}

// IndexStem returns the prefix of the shards' names that an index of this
// name goes with: model for model.safetensors.index.json, model.fp16 for
// model.safetensors.index.fp16.json (transformers, _add_variant), pytorch_model for
// pytorch_model.bin.index.json.
func IndexStem(name string) string {
	stem, rest, ok := strings.Cut(name, ".safetensors.index.")
	if !ok {
		if stem, rest, ok = strings.Cut(name, ".bin.index."); !ok {
			return ""
		}
	}
	if variant, ok := strings.CutSuffix(rest, ".json"); ok {
		return stem + "." + variant
	}
	return stem
}

// IndexName returns the name of the index of safetensors shards whose names have a prefix:
// the one that [IndexStem] is of.
func IndexName(prefix string) string {
	if base, variant, ok := CutVariant(prefix); ok {
		return base + ".safetensors.index." + variant + ".json"
	}
	return prefix + ".safetensors.index.json"
}

// CutVariant takes apart what the files of a variant begin with: model.fp16 is the variant
// fp16 of model. Transformers and diffusers look for variants of these names, in a file
// model.fp16.safetensors or in shards model.fp16-00001-of-00002.safetensors (_add_variant in
// transformers' modeling_utils.py, variant_compatible_siblings in diffusers'
// pipeline_loading_utils.py).
func CutVariant(prefix string) (base, variant string, ok bool) {
	base, variant, _ = strings.Cut(prefix, ".")
	known := slices.Contains([]string{"model", "pytorch_model", "diffusion_pytorch_model"}, base)
	begins := variant != "" && (variant[0]|0x20 >= 'a' && variant[0]|0x20 <= 'z')
	return base, variant, known && begins && !strings.Contains(variant, ".") && variant != "safetensors" && variant != "bin"
}

// ordinal returns the place of a numbered name's number: of 00002 in
// model-00002-of-00005.safetensors.
func ordinal(name string) (start, end int) {
	end = strings.LastIndex(name, "-of-")
	return len(strings.TrimRight(name[:end], "0123456789")), end
}

// sibling returns the name that has another number.
func sibling(name string, no int) string {
	start, end := ordinal(name)
	return fmt.Sprintf("%s%0*d%s", name[:start], end-start, no, name[end:])
}

// pattern returns a name for the set of a numbered name: * where the number
// is. Open takes it.
func pattern(name string) string {
	start, end := ordinal(name)
	return name[:start] + "*" + name[end:]
}
