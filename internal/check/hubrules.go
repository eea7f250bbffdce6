package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/source"
)

var hubRules = []*Rule{
	{
		ID: "WT701", Name: "hub-size", Severity: checkpoint.Error, run: runHubSize,
		Title: "the hub lists a file with another size than git's pointer to it",
		Doc: `The hub gives the size of a large file twice: as it stores the file, and as git's
pointer to it says. Where the two differ, an upload was interrupted, or the file and the
commit are not of the same time. Upload the file again.`,
		Bad: "model.safetensors of 9,943,010,000 bytes, and a pointer to 9,943,009,792", Good: "the same size in both",
	},
	{
		ID: "WT702", Name: "identical-files", Severity: checkpoint.Error, run: runIdenticalFiles,
		Title: "two files of a checkpoint have the same content",
		Doc: `The hub knows the SHA-256 of every large file. No two shards of a set are alike: one of
them was uploaded under the name of another, whose tensors are lost.`,
		Bad: "model-00003-of-00005.safetensors is model-00002-of-00005.safetensors again", Good: "every shard has a digest of its own",
	},
	{
		ID: "WT703", Name: "hub-parameters", Severity: checkpoint.Warning, run: runHubParameters,
		Title: "the hub counts other parameters than the headers do",
		Doc: `The hub reads the headers after an upload, and shows the number of parameters on the
model's page, by dtype. Another number means that it read other files, or the same before
they were replaced. Quantised models, of which the hub counts what was packed, are left
alone.`,
		Bad: "34,388,917,248 in BF16 on the page, and 68,777,834,496 in the headers", Good: "the same number",
	},
	{
		ID: "WT704", Name: "hub-names", Severity: checkpoint.Error, run: runHubNames,
		Title: "the hub lists a file whose name no file in the repository can have",
		Doc: `A name with “..” or a drive in it, or an absolute one, leads out of the repository:
programs that download the whole of it could write anywhere. Of two files of one name, or
a file and another below it, one is lost. Nothing of such a name is read here.`,
		Bad: "../../.bashrc in the list of files", Good: "names below the repository",
	},
}

// published is what the hub says of the release, nil where there is none.
func (p *Pass) published() *source.Publication {
	out, err := source.Published(p.ctx, p.release.Dir)
	if err != nil {
		return nil // what could not be read has findings of its own
	}
	return out
}

func runHubSize(p *Pass) {
	pub := p.published()
	if pub == nil {
		return
	}
	for _, f := range pub.Files {
		if f.LFSSize > 0 && f.LFSSize != f.Size {
			p.report(Finding{
				File: source.Join(p.release.Dir, f.Path), Offset: -1,
				Message: fmt.Sprintf("listed with %d bytes, and git's pointer to it says %d", f.Size, f.LFSSize),
			})
		}
	}
}

func runIdenticalFiles(p *Pass) {
	pub := p.published()
	if pub == nil {
		return
	}
	digests := make(map[string]string, len(pub.Files)) // by path
	for _, f := range pub.Files {
		if f.Size > 0 {
			digests[source.Join(p.release.Dir, f.Path)] = f.SHA256
		}
	}
	for _, m := range p.models {
		first := make(map[string]*checkpoint.File)
		for _, f := range m.Files {
			digest := digests[f.Path]
			if digest == "" {
				continue
			}
			if other := first[digest]; other != nil {
				p.report(Finding{
					Checkpoint: m.Path, File: f.Path, Offset: -1,
					Message: fmt.Sprintf("has the SHA-256 of %s, %s: what it should hold is nowhere", other.Name, digest),
				})
				continue
			}
			first[digest] = f
		}
	}
}

// countedByHub are the files of which the hub counts the parameters. Source:
// huggingface.js, packages/hub/src/lib/parse-safetensors-metadata.ts.
var countedByHub = []string{"model.safetensors.index.json", "model.safetensors"}

func runHubParameters(p *Pass) {
	pub := p.published()
	if pub == nil || pub.Parameters == nil {
		return
	}
	for _, name := range countedByHub {
		i := slices.IndexFunc(p.models, func(m *model) bool {
			return m.Dir == p.release.Dir && (m.Index != "" && m.Index == source.Join(m.Dir, name) || m.Index == "" && len(m.Files) == 1 && m.Files[0].Name == name)
		})
		if i < 0 {
			continue
		}
		m := p.models[i]
		if m.partial() || m.NamesOnly() || len(m.quant().Uses) > 0 {
			return
		}
		ours := make(map[string]uint64)
		for _, t := range m.All() {
			n, _ := t.Elements()
			ours[t.DType] += n
		}
		if !maps.Equal(ours, pub.Parameters) {
			p.report(m.whole("the hub counts %s, and the headers have %s", parameters(pub.Parameters), parameters(ours)))
		}
		return
	}
}

// parameters writes numbers of parameters by dtype, the most first.
func parameters(byDType map[string]uint64) string {
	dtypes := slices.SortedFunc(maps.Keys(byDType), func(a, b string) int {
		switch {
		case byDType[a] > byDType[b]:
			return -1
		case byDType[a] < byDType[b]:
			return 1
		}
		return strings.Compare(a, b)
	})
	const most = 4
	var list []string
	for i, dtype := range dtypes {
		if i == most {
			list = append(list, "…")
			break
		}
		list = append(list, fmt.Sprintf("%d in %.20s", byDType[dtype], dtype))
	}
	if list == nil {
		return "none"
	}
	return strings.Join(list, ", ")
}

func runHubNames(p *Pass) {
	if pub := p.published(); pub != nil {
		for _, r := range pub.Refused {
			p.report(Finding{File: p.release.Dir, Offset: -1, Message: fmt.Sprintf("the hub lists the file %.100q, which %s", r.Path, r.Why)})
		}
	}
}
