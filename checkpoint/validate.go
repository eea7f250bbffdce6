package checkpoint

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/safetensors"
)

// maxFaults is how many faults of one code about the set are listed; the rest
// are counted. An index can name a million tensors that are not there.
const maxFaults = 10_000

// Validate reports every fault of the files, in their order, and then of the
// set they form: missing files, tensors that the index and the shards do not
// agree on, names in two files, totals that are wrong. It reads the index,
// when there is one, and no tensor data.
func (c *Checkpoint) Validate(ctx context.Context) []Fault {
	var ix *safetensors.Index // nil when no more than the summary is needed
	var summary *safetensors.IndexSummary
	var ixErr error
	var g sync.WaitGroup
	if c.Index != "" {
		g.Go(func() {
			switch {
			case c.unreadable.Load() != nil:
			case c.namesOnly:
				ix, ixErr = c.readIndex(ctx)
			default:
				summary, ixErr = summarizeIndex(ctx, c.Index)
			}
		})
	}
	perFile := c.validateFiles(ctx)
	g.Wait()
	// Almost every index says what the files say, and no more is to be found then.
	agree := summary != nil && c.agrees(summary)
	if summary != nil && !agree {
		ix, ixErr = c.readIndex(ctx)
	}
	if ix != nil {
		summary = &ix.IndexSummary
	}

	l := faultList{faults: perFile}
	if ixErr != nil && !c.namesOnly {
		c.setUnreadable(ixErr)
	}
	if fault := c.unreadable.Load(); fault != nil {
		summary = nil
		l.add(*fault)
	}
	if summary != nil {
		c.indexRead.Store(true)
		for _, f := range summary.Faults() {
			if f.Code == safetensors.CodeMissingOrdinal && slices.ContainsFunc(c.Files, c.emptyShard) {
				continue // no index can name a shard without tensors
			}
			out := safetensorsFault(f)
			out.File = c.Index
			l.faults = append(l.faults, out)
		}
	}
	if c.Format == GGUF {
		c.validateSplit(&l)
	} else if len(c.Files) > 1 && !agree && !c.namesOnly { // an index has a name once
		c.tableOnce.Do(c.buildTable)
		c.validateDuplicates(&l)
	}
	if summary != nil && !c.namesOnly {
		c.validateIndex(ctx, &l, summary, ix)
		c.validateTotal(&l, summary, perFile)
	}
	c.validateMissing(ctx, &l, ix)
	c.validateEmpty(&l, ix)
	return l.done()
}

// validateFiles reports the faults of each file by itself.
func (c *Checkpoint) validateFiles(ctx context.Context) []Fault {
	perFile := make([][]Fault, len(c.Files))
	eachFile(c.Files, runtime.NumCPU(), func(i int, f *File) { perFile[i] = c.validateFile(ctx, f) })
	faults := slices.Clone(c.found)
	for _, list := range perFile {
		faults = append(faults, list...)
	}
	return faults
}

// A faultList collects faults, at most maxFaults of a code.
type faultList struct {
	faults []Fault
	more   map[string]*moreFaults
}

type moreFaults struct {
	count int
	last  Fault
}

func (l *faultList) add(f Fault) {
	if l.more == nil {
		l.more = make(map[string]*moreFaults)
	}
	m := l.more[f.Code]
	if m == nil {
		m = new(moreFaults)
		l.more[f.Code] = m
	}
	if m.count++; m.count > maxFaults {
		m.last = f
		return
	}
	l.faults = append(l.faults, f)
}

// done closes the list with one fault for those of each code that were only counted.
func (l *faultList) done() []Fault {
	var rest []Fault
	for code, m := range l.more {
		if n := m.count - maxFaults; n > 0 {
			rest = append(rest, Fault{
				File: m.last.File, Code: code, Severity: m.last.Severity, Offset: -1, Hint: safetensors.HintMore,
				Detail: plural.Of(n, "more fault") + " of this kind",
			})
		}
	}
	slices.SortFunc(rest, func(a, b Fault) int { return strings.Compare(a.Code, b.Code) })
	return append(l.faults, rest...)
}

func (c *Checkpoint) validateFile(ctx context.Context, f *File) []Fault {
	var list []Fault
	if !c.allowLinks && f.Path != "" && f.Path != c.Path && isLink(ctx, c.Dir, f.Name) {
		if target, leaves := leavesDir(c.Dir, f.Path); leaves {
			list = append(list, Fault{
				File: f.Path, Code: CodeSymlinkEscape, Severity: Error, Offset: -1,
				Detail: fmt.Sprintf("a symbolic link to %s, outside the directory; publish the file itself", target),
			})
		}
	}
	switch {
	case f.Missing, f.refused:
	case f.Err != nil:
		out := asFault(f.Path, f.Err)
		out.Severity = Error
		list = append(list, out)
	default:
		if f.format.kind() == PyTorch && strings.EqualFold(filepath.Ext(f.Name), ".safetensors") {
			list = append(list, Fault{
				File: f.Path, Code: CodeNotOpened, Severity: Error, Offset: 0, Hint: safetensors.HintPickle,
				Detail: "torch.save wrote this, and the name is that of a safetensors file, as which it does not load: convert it, or give it a name in .bin",
			})
		}
		for _, fault := range f.format.validate() {
			fault.File = f.Path
			list = append(list, fault)
		}
	}
	return list
}

// validateMissing reports the files that are not there. What depends on them
// is not reported again for every tensor.
func (c *Checkpoint) validateMissing(ctx context.Context, l *faultList, ix *safetensors.Index) {
	there := 0
	for _, f := range c.Files {
		if !f.Missing {
			there++
		}
	}
	switch {
	case c.namesOnly && len(c.Files) == 0:
		l.add(Fault{
			File: c.Index, Code: string(safetensors.CodeNoWeightMap), Severity: Error, Offset: -1,
			Detail: "weight_map is empty: the index names no tensor",
		})
	case c.namesOnly && there == 0:
		l.add(Fault{
			File: c.Index, Code: CodeMissingShard, Severity: Error, Offset: -1,
			Detail: fmt.Sprintf("none of the %s that the index names is here; only the names in the index are known", plural.Of(len(c.Files), "shard")),
		})
		return
	}
	var tensors []int
	for i, f := range c.Files {
		// For GGUF the parts' own check has said so.
		if !f.Missing || c.Format == GGUF {
			continue
		}
		if tensors == nil {
			tensors = c.countIndexed(ix)
		}
		detail := "the file is missing"
		if _, err := source.Lstat(ctx, f.Path); err == nil {
			detail = "a symbolic link to a file that is missing"
		}
		if n := tensors[i]; n > 0 {
			detail += fmt.Sprintf(", and with it %s that the index places there", plural.Of(n, "tensor"))
		}
		l.add(Fault{File: f.Path, Code: CodeMissingShard, Severity: Error, Offset: -1, Detail: detail})
	}
}

// emptyShard reports whether a file is a shard without tensors. GGUF has them: the first
// part may hold the key/values alone. So have distributed checkpoints: chunks have no names in their files.
func (c *Checkpoint) emptyShard(f *File) bool {
	return len(c.Files) > 1 && f.len() == 0 && (f.Safetensors() != nil || f.PyTorch() != nil)
}

// validateEmpty reports the shards without tensors, and not again each tensor that the
// index places there.
func (c *Checkpoint) validateEmpty(l *faultList, ix *safetensors.Index) {
	var tensors []int
	for i, f := range c.Files {
		if !c.emptyShard(f) {
			continue
		}
		if tensors == nil {
			tensors = c.countIndexed(ix)
		}
		out := Fault{File: f.Path, Code: CodeEmptyShard, Severity: Warning, Offset: -1, Detail: "the shard holds no tensor; if the others are not the whole model, fetch it again, or export the model again"}
		if n := tensors[i]; n > 0 {
			out.Severity = Error
			out.Detail = fmt.Sprintf("the shard holds no tensor, and the index places %s there; fetch it again, or export the model again", plural.Of(n, "tensor"))
		}
		l.add(out)
	}
}

// countIndexed counts the tensors that the index places in each file.
func (c *Checkpoint) countIndexed(ix *safetensors.Index) []int {
	counts := make([]int, len(c.Files))
	if ix == nil {
		return counts
	}
	fileOfShard := c.shardFiles()
	for i := range ix.Len() {
		_, shard := ix.At(i)
		if file := fileOfShard(shard); file >= 0 {
			counts[file]++
		}
	}
	return counts
}

func (c *Checkpoint) validateDuplicates(l *faultList) {
	for _, d := range c.duplicates {
		first, again := c.At(d.first), c.At(d.again)
		l.add(Fault{
			File: c.Files[again.File].Path, Code: CodeDuplicateTensor, Severity: Error, Offset: -1, Tensor: again.Name,
			Detail: fmt.Sprintf("%s holds a tensor of this name too", c.Files[first.File].Name),
		})
	}
}

// lookupAll returns the tensor of each entry of the index, -1 where there is
// none. The work is waiting for memory, which several goroutines do better.
func (c *Checkpoint) lookupAll(ix *safetensors.Index) []int32 {
	tensors := make([]int32, ix.Len())
	var g errgroup.Group
	chunk := len(tensors)/runtime.NumCPU() + 1
	for start := 0; start < len(tensors); start += chunk {
		g.Go(func() error {
			for i := start; i < min(start+chunk, len(tensors)); i++ {
				name, _ := ix.At(i)
				tensors[i] = -1
				if tensor, ok := c.Lookup(name); ok {
					tensors[i] = int32(tensor)
				}
			}
			return nil
		})
	}
	_ = g.Wait()
	return tensors
}

// validateIndex finds what the index and the shards do not agree on. When their
// placements agree, ix is nil, and only shards without tensors are left to look at.
func (c *Checkpoint) validateIndex(ctx context.Context, l *faultList, summary *safetensors.IndexSummary, ix *safetensors.Index) {
	fileOfShard := c.shardFiles()
	var named []bool // the tensors that the index names; nil when that is all
	if ix != nil {
		named = c.validateEntries(l, ix, fileOfShard)
	}
	indexed := make([]bool, len(c.Files))
	for _, shard := range summary.Shards() {
		if file := fileOfShard(shard); file < 0 {
			c.strangeShard(ctx, l, shard)
		} else {
			indexed[file] = true
		}
	}
	for file, f := range c.Files {
		if f.format == nil {
			continue
		}
		if c.emptyShard(f) {
			continue
		}
		if !indexed[file] {
			l.add(Fault{
				File: f.Path, Code: CodeOrphanShard, Severity: Error, Offset: -1,
				Detail: fmt.Sprintf("the index does not name this shard, though its name numbers it among the set; it holds %s", plural.Of(f.len(), "tensor")),
			})
			continue
		}
		for i := c.starts[file]; named != nil && i < c.starts[file+1]; i++ {
			if named[i] {
				continue
			}
			name := c.name(i)
			if first, _ := c.Lookup(name); named[first] {
				continue
			}
			l.add(Fault{
				File: f.Path, Code: CodeUnmappedTensor, Severity: Error, Offset: -1, Tensor: name,
				Detail: "the index does not name this tensor, so that loaders skip it",
			})
		}
	}
}

// validateEntries finds the entries of the index that no shard, or another
// one, holds, and returns which tensors the index names.
func (c *Checkpoint) validateEntries(l *faultList, ix *safetensors.Index, fileOfShard func(string) int) (named []bool) {
	tensors := c.lookupAll(ix)
	elsewhere := make(map[duplicate]bool) // first tensor of a name, file that has it too
	for _, d := range c.duplicates {
		elsewhere[duplicate{d.first, c.fileOf(d.again)}] = true
	}
	named = make([]bool, c.Len())
	last, file := "", -1
	for i := range ix.Len() {
		name, shard := ix.At(i)
		if shard != last {
			last, file = shard, fileOfShard(shard)
		}
		if file < 0 || c.Files[file].format == nil {
			continue
		}
		if tensors[i] < 0 && c.emptyShard(c.Files[file]) {
			continue
		}
		tensor := tensors[i]
		if tensor < 0 {
			offset, _ := ix.KeySpan(i)
			l.add(Fault{
				File: c.Index, Code: CodeMissingTensor, Severity: Error, Offset: offset, Tensor: name,
				Detail: fmt.Sprintf("the index places it in %s, and no shard holds it", shard),
			})
			continue
		}
		named[tensor] = true
		if at := c.fileOf(int(tensor)); at != file && !elsewhere[duplicate{int(tensor), file}] {
			offset, _ := ix.ValueSpan(i)
			l.add(Fault{
				File: c.Index, Code: CodeMisplacedTensor, Severity: Error, Offset: offset, Tensor: name,
				Detail: fmt.Sprintf("the index places it in %s, and %s holds it", shard, c.Files[at].Name),
			})
		}
	}
	return named
}

// strangeShard reports a shard that the index names and Open did not look
// for, since the numbering of the others was complete without it.
func (c *Checkpoint) strangeShard(ctx context.Context, l *faultList, shard string) {
	f := c.file(shard)
	if f.refused {
		return // the index's own faults say so
	}
	out := Fault{
		File: c.Index, Code: CodeMissingShard, Severity: Error, Offset: -1,
		Detail: fmt.Sprintf("names the shard %.100q, which is missing", shard),
	}
	if source.Exists(ctx, f.Path) {
		out.Detail = fmt.Sprintf("names the shard %.100q, which the names of the others do not lead to; open the index by its own path", shard)
	}
	l.add(out)
}

// validateTotal compares total_size with what is there. Transformers and
// huggingface_hub write the sum of the tensors' bytes; other scripts the sum
// of the files' sizes, with or without the headers.
func (c *Checkpoint) validateTotal(l *faultList, ix *safetensors.IndexSummary, fileFaults []Fault) {
	total, ok := ix.TotalSize()
	if !ok {
		return
	}
	fileOfShard := c.shardFiles()
	var indexed []*File
	var files, data uint64
	for _, shard := range ix.Shards() {
		file := fileOfShard(shard)
		if file < 0 || c.Files[file].format == nil || c.emptyShard(c.Files[file]) {
			return // it depends on what is not here
		}
		f := c.Files[file]
		indexed = append(indexed, f)
		files += uint64(f.Size)
		data += uint64(f.Size - f.DataOffset)
	}
	sound := !slices.ContainsFunc(fileFaults, func(f Fault) bool { return f.Severity == Error })
	if sound && total == data {
		return // the tensors of a sound file fill its data
	}
	var tensors, once uint64 // with tied weights every time, and once
	for _, f := range indexed {
		torch, isTorch := f.format.(*pytorchFile)
		for i := range f.len() {
			var t Tensor
			f.fill(i, &t)
			tensors += t.Bytes
			if !isTorch || torch.tied(i) == i {
				once += t.Bytes
			}
		}
	}
	out := Fault{File: c.Index, Severity: Error, Offset: -1}
	switch total {
	case tensors, once:
		return
	case files, data:
		out.Code, out.Severity = CodeTotalSizeFiles, Info
		out.Detail = fmt.Sprintf("total_size %d is the size of the files, where %s of tensors are meant", total, plural.Of(tensors, "byte"))
	default:
		out.Code = CodeTotalSize
		out.Detail = fmt.Sprintf("total_size is %d, and the tensors have %s (the files %d)", total, plural.Of(tensors, "byte"), files)
	}
	l.add(out)
}

// validateSplit holds the parts of a GGUF split against each other.
func (c *Checkpoint) validateSplit(l *faultList) {
	if c.oversized {
		return
	}
	if len(c.Files) == 1 {
		f := c.Files[0]
		if f.GGUF() == nil {
			return
		}
		if s, ok, err := f.GGUF().Split(); err == nil && ok && s.Count > 1 {
			l.add(Fault{
				File: f.Path, Code: string(gguf.CodeMissingSplit), Severity: Error, Offset: -1,
				Detail: fmt.Sprintf("part %d of %d by its metadata, and its name does not say where the others are; name it %s",
					s.No+1, s.Count, gguf.SplitName("NAME", s.No+1, s.Count)),
			})
		}
		return
	}
	parts := make([]*gguf.File, len(c.Files))
	for i, f := range c.Files {
		parts[i] = f.GGUF()
	}
	for _, s := range gguf.ValidateSplit(parts) {
		f := c.Files[s.Part]
		if s.Code == gguf.CodeMissingSplit && parts[s.Part] == nil && !f.Missing {
			continue // it is there and cannot be read, which is reported as such
		}
		out := ggufFault(&s.Fault)
		out.File = f.Path
		if s.Code == gguf.CodeDuplicateTensor {
			out.Code = CodeDuplicateTensor
		}
		l.add(out)
	}
}
