package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/safetensors"
)

const (
	// maxDescent bounds how deep a recursive Open goes.
	maxDescent = 16
	// maxShards bounds how many missing files one name can make up. It is the
	// limit of huggingface.js (parse-safetensors-index.ts) and of safetensors.ReadIndex.
	maxShards = 10_000
)

// finder collects the checkpoints that a reference stands for. It looks at
// names and indexes only; files are opened afterwards, all at once.
type finder struct {
	ctx     context.Context
	opts    Options
	release *Release
	configs map[string]*Config
}

// find decides what kind of thing ref is.
func (d *finder) find(ref string) error {
	fi, err := source.Stat(d.ctx, ref)
	if errors.Is(err, fs.ErrNotExist) {
		if strings.Contains(filepath.Base(ref), "*-of-") {
			return d.pattern(ref)
		}
		return d.notFound(ref, err)
	}
	if err != nil {
		return err
	}
	if fi.IsDir() {
		d.release.Dir = ref
		if err := d.dir(ref, 0); err != nil {
			return err
		}
		if len(d.release.Checkpoints) == 0 {
			return d.noWeights(ref)
		}
		return nil
	}
	d.release.Dir = source.Dir(ref)
	base := filepath.Base(ref)
	if strings.HasSuffix(strings.ToLower(base), ".json") {
		return d.index(ref)
	}
	if prefix, _, of, ok := gguf.ParseSplitName(base); ok {
		l, err := list(d.ctx, d.release.Dir)
		if err != nil {
			return err
		}
		for _, g := range groupSplits(l.gguf) {
			if g.prefix == prefix && g.of == of {
				d.group(d.release.Dir, g, GGUF).Path = ref
				return nil
			}
		}
	}
	if ext := strings.ToLower(filepath.Ext(base)); base == DistributedIndex || ext == ".distcp" {
		l, err := list(d.ctx, d.release.Dir)
		if err != nil {
			return err
		}
		if l.distributed && len(l.chunks) > 0 {
			if ext == ".distcp" {
				return fmt.Errorf("%s: a part of a distributed checkpoint; name its directory", ref)
			}
			return d.distributed(d.release.Dir, l)
		}
	}
	c := d.checkpoint(d.release.Dir, formatOf(base))
	c.Path = ref
	c.Files = []*File{{Path: ref, Name: base}}
	return nil
}

func (d *finder) notFound(ref string, err error) error {
	if perr, ok := errors.AsType[*fs.PathError](err); ok {
		err = fmt.Errorf("%s: %w", ref, perr.Err)
	}
	dir, base := filepath.Split(ref)
	l, lerr := list(d.ctx, cmp.Or(dir, "."))
	switch {
	case lerr != nil:
	case len(l.indexes) > 0 && strings.HasSuffix(base, ".safetensors"):
		return fmt.Errorf("%w; its directory has %s: name that, or the directory", err, l.indexes[0])
	case len(l.safetensors)+len(l.gguf)+len(l.torch) > 0 && path.Ext(base) != "":
		there := slices.Concat(l.safetensors, l.gguf, l.torch)
		slices.SortStableFunc(there, func(a, b string) int { return cmp.Compare(shared(b, base), shared(a, base)) })
		return fmt.Errorf("%w; its directory has %s", err, strings.Join(firstFew(there), ", "))
	}
	if strings.Count(ref, "/") == 1 && !strings.HasPrefix(ref, ".") && dir != "/" && path.Ext(base) == "" {
		return fmt.Errorf("%w; if it is a repository of the hub, write hf://%s", err, ref)
	}
	return err
}

// shared counts the bytes with which two names begin alike.
func shared(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// firstFew cuts a list that goes into a message.
func firstFew(names []string) []string {
	const few = 3
	if len(names) <= few {
		return names
	}
	return append(names[:few:few], fmt.Sprintf("and %d more", len(names)-few))
}

func formatOf(name string) Format {
	switch lower := strings.ToLower(name); {
	case strings.HasSuffix(lower, ".gguf"):
		return GGUF
	case isPickle(lower):
		return PyTorch
	case strings.HasSuffix(lower, ".npz"), strings.HasSuffix(lower, ".npy"):
		return NumPy
	}
	return Safetensors
}

// dir finds the checkpoints of a directory.
func (d *finder) dir(dir string, depth int) error {
	if err := d.ctx.Err(); err != nil {
		return err
	}
	l, err := list(d.ctx, dir)
	if err != nil {
		return err
	}
	d.release.Faults = append(d.release.Faults, l.ignored...)
	first := len(d.release.Checkpoints)
	if err := d.sets(dir, l); err != nil {
		return err
	}
	found := d.release.Checkpoints[first:]
	descend := d.opts.Recursive || l.pipeline && depth == 0
	if len(found) == 1 && (d.opts.Recursive || !descend) {
		found[0].Path = dir
	}
	slices.SortStableFunc(found, func(a, b *Checkpoint) int { return strings.Compare(a.Path, b.Path) })
	for _, name := range l.pickles {
		d.release.Pickles = append(d.release.Pickles, source.Join(dir, name))
	}
	others := l.others
	for format, names := range map[Format][]string{NumPy: l.numpy, PyTorch: l.chunks} {
		if !slices.ContainsFunc(found, func(c *Checkpoint) bool { return c.Format == format }) {
			others = append(others, names...)
		}
	}
	slices.Sort(others)
	for _, name := range others {
		d.release.Others = append(d.release.Others, source.Join(dir, name))
	}
	if !descend || depth == maxDescent {
		return nil
	}
	for _, name := range l.subdirs {
		sub := source.Join(dir, name)
		err := d.dir(sub, depth+1)
		if d.ctx.Err() != nil {
			return d.ctx.Err()
		}
		if err != nil {
			d.release.Faults = append(d.release.Faults, asFault(sub, err))
		}
	}
	return nil
}

// noWeights is the error for a directory without a checkpoint.
func (d *finder) noWeights(dir string) error {
	if what := foreignDirectory(d.ctx, dir, trainingEntries); what != "" {
		return fmt.Errorf("%s: %w to read: %s", dir, ErrNoWeights, what)
	}
	if what := foreignDirectory(d.ctx, dir, foreignEntries); what != "" {
		return fmt.Errorf("%s: %w to read: %s", dir, ErrNoWeights, what)
	}
	if below := d.below(dir); len(below) > 0 {
		return fmt.Errorf("%s: %w here, but there are some below, in %s: name one of them, or use -R with check, info or ls",
			dir, ErrNoWeights, strings.Join(firstFew(below), ", "))
	}
	if len(d.release.Pickles) > 0 {
		return fmt.Errorf("%s: %w: no .safetensors or .gguf file, and what is in %s is not weights; a file can be named to be looked into",
			dir, ErrNoWeights, strings.Join(firstFew(baseNames(d.release.Pickles)), ", "))
	}
	return fmt.Errorf("%s: %w: no .safetensors, .gguf, .bin, .pt or .npz file and no shard index", dir, ErrNoWeights)
}

// below returns the releases below a directory, as seen from it.
func (d *finder) below(dir string) []string {
	var out []string
	const few = 10_000 // so that a whole disk is not looked at for a message
	w := walker{ctx: d.ctx, left: few, found: func(release string) bool {
		if rel, err := filepath.Rel(dir, release); err == nil {
			out = append(out, rel)
		}
		return true
	}}
	w.dir(dir, 0, false)
	return out
}

// sets finds the checkpoints among the names of one directory.
func (d *finder) sets(dir string, l *listing) error {
	splits, singles := groupNames(l.gguf, gguf.ParseSplitName)
	for _, g := range splits {
		d.group(dir, g, GGUF)
	}
	for _, name := range singles {
		d.single(dir, name, GGUF)
	}

	if err := d.shards(dir, Safetensors, l.indexes, l.safetensors); err != nil {
		return err
	}
	if len(l.safetensors)+len(l.gguf)+len(l.indexes) > 0 {
		return nil // where there are pickles, too, they are the other copy
	}
	if l.distributed && len(l.chunks) > 0 {
		return d.distributed(dir, l)
	}
	if len(l.torch)+len(l.torchIndexes) > 0 {
		return d.shards(dir, PyTorch, l.torchIndexes, l.torch)
	}
	for _, name := range l.numpy {
		d.single(dir, name, NumPy)
	}
	return nil
}

// shards finds the checkpoints of one format among the names of one directory.
func (d *finder) shards(dir string, format Format, indexes, names []string) error {
	groups, singles := groupFiles(names, format)
	if len(indexes) == 1 && len(groups) == 1 && len(singles) == 0 &&
		groups[0].complete() && groups[0].prefix == IndexStem(indexes[0]) && d.isLarge(source.Join(dir, indexes[0])) {
		// The names say which files the index means, so that it need not be
		// read before Validate.
		c := d.group(dir, groups[0], format)
		c.Index = source.Join(dir, indexes[0])
		c.Path = c.Index
		return nil
	}
	claimed := make(map[string]bool)
	for _, name := range indexes {
		if err := d.indexed(dir, name, format, groups, claimed); err != nil {
			return err
		}
	}
	for _, g := range groups {
		if g = g.without(claimed); len(g.names) > 0 {
			d.group(dir, g, format)
		}
	}
	d.mixedTotals(dir, groups, claimed)
	for _, name := range singles {
		if !claimed[name] && (format != PyTorch || d.isWeights(dir, name)) {
			d.single(dir, name, format)
		}
	}
	return nil
}

// groupFiles sorts the names of files of a format into numbered sets and others.
func groupFiles(names []string, format Format) (groups []*group, singles []string) {
	if format == PyTorch {
		return groupNames(names, parseTorchShard)
	}
	return groupShards(names)
}

// isWeights looks into a file whose name may be that of anything.
func (d *finder) isWeights(dir, name string) bool {
	if isTorchName(name) {
		return true
	}
	file := source.Join(dir, name)
	src, err := source.Open(d.ctx, file)
	if err != nil {
		return true // which is said when it is opened
	}
	defer src.Close()
	var head [DetectBytes]byte
	n, err := src.ReadAt(head[:], 0)
	if err != nil && err != io.EOF || DetectFormat(head[:n]) != "" {
		return true
	}
	d.release.Faults = append(d.release.Faults, Fault{
		File: file, Code: CodeIgnored, Severity: Info, Offset: -1,
		Detail: "passed over: it does not begin as weights do",
	})
	return false
}

// isLarge reports that reading an index would cost more than the headers of
// its shards: from 1 MiB on, which is some 10,000 tensors.
func (d *finder) isLarge(index string) bool {
	fi, err := source.Stat(d.ctx, index)
	return err == nil && fi.Size() >= 1<<20
}

// pattern opens the set that a pattern names.
func (d *finder) pattern(ref string) error {
	dir, base := source.Dir(ref), filepath.Base(ref)
	l, err := list(d.ctx, dir)
	if err != nil {
		return err
	}
	d.release.Dir = dir
	format := formatOf(base)
	var groups []*group
	switch format {
	case GGUF:
		groups = groupSplits(l.gguf)
	case PyTorch:
		groups, _ = groupFiles(l.torch, format)
	default:
		groups, _ = groupFiles(l.safetensors, format)
	}
	for _, g := range groups {
		if pattern(g.names[0]) == base {
			d.group(dir, g, format).Path = ref
			return nil
		}
	}
	return fmt.Errorf("%s: no file matches", ref)
}

// checkpoint adds a checkpoint to the release.
func (d *finder) checkpoint(dir string, format Format) *Checkpoint {
	c := &Checkpoint{Dir: dir, Format: format, Config: d.config(dir), allowLinks: d.opts.AllowLinks, filesOnly: d.opts.FilesOnly}
	d.release.Checkpoints = append(d.release.Checkpoints, c)
	return c
}

func (d *finder) single(dir, name string, format Format) {
	c := d.checkpoint(dir, format)
	c.Path = source.Join(dir, name)
	c.Files = []*File{c.entry(name)}
}

// entry returns the file of a name that stands in the directory, or differs
// from one that does in its number.
func (c *Checkpoint) entry(name string) *File {
	return &File{Path: source.Join(c.Dir, name), Name: name}
}

// file returns the file that an index names. One that would leave the directory
// is refused.
func (c *Checkpoint) file(name string) *File {
	local := filepath.FromSlash(name)
	err := safetensors.CheckShardPath(name)
	if err == nil && !filepath.IsLocal(local) {
		err = errors.New("is not below the index's directory")
	}
	if err != nil {
		return &File{Name: name, refused: true, Err: &Fault{
			File: c.Index, Code: string(safetensors.CodeUnsafePath), Severity: Error, Offset: -1,
			Detail: fmt.Sprintf("shard path %.100q %v; it is not opened", name, err),
		}}
	}
	return &File{Path: source.Join(c.Dir, local), Name: path.Clean(name)}
}

// group makes a checkpoint of the numbered files of a set, those that are
// missing included.
func (d *finder) group(dir string, g *group, format Format) *Checkpoint {
	c := d.checkpoint(dir, format)
	c.Path = source.Join(dir, pattern(g.names[0]))
	if format == GGUF {
		c.Path = source.Join(dir, g.names[0])
	}
	for i, name := range g.names {
		c.Files = append(c.Files, c.entry(name))
		if n := g.numbers[i]; n < 1 || n > g.of {
			c.found = append(c.found, Fault{
				File: c.Files[i].Path, Code: CodeBadOrdinal, Severity: Warning, Offset: -1,
				Detail: fmt.Sprintf("numbered %d in a set of %d", n, g.of),
			})
		}
	}
	for _, name := range g.named {
		c.Files = append(c.Files, c.entry(name))
	}
	if g.of > maxShards {
		c.oversized = true
		c.found = append(c.found, Fault{
			File: c.Path, Code: CodeMissingShard, Severity: Error, Offset: -1,
			Detail: fmt.Sprintf("the names speak of %d files, more than the %d that a set may have; found %d", g.of, maxShards, len(g.names)),
		})
		return c
	}
	for _, n := range g.missing() {
		f := c.entry(sibling(g.names[0], n))
		f.Missing = true
		c.Files = append(c.Files, f)
	}
	c.sortFiles()
	return c
}

func (c *Checkpoint) sortFiles() {
	slices.SortStableFunc(c.Files, func(a, b *File) int { return strings.Compare(a.Name, b.Name) })
}

// mixedTotals reports sets without an index that are all incomplete and whose
// names differ in the count alone: most likely one set, wrongly named.
func (d *finder) mixedTotals(dir string, groups []*group, claimed map[string]bool) {
	byPrefix := make(map[string][]*group)
	for _, g := range groups {
		if g = g.without(claimed); len(g.names) > 0 && !g.complete() {
			byPrefix[g.prefix] = append(byPrefix[g.prefix], g)
		}
	}
	for _, g := range groups {
		same := byPrefix[g.prefix]
		if len(same) < 2 {
			continue
		}
		delete(byPrefix, g.prefix)
		var counts []string
		for _, s := range same {
			counts = append(counts, fmt.Sprintf("%d of %d", len(s.names), s.of))
		}
		d.release.Faults = append(d.release.Faults, Fault{
			File: source.Join(dir, same[0].names[0]), Code: CodeMixedTotals, Severity: Error, Offset: -1,
			Detail: fmt.Sprintf("shards of the same name claim different totals, and no set is complete: there are %s", strings.Join(counts, ", ")),
		})
	}
}

// index opens a .json file that was named.
func (d *finder) index(ref string) error {
	dir, base := source.Dir(ref), filepath.Base(ref)
	ix, err := readIndex(d.ctx, ref)
	if err != nil {
		return indexError(ref, base, err)
	}
	l, err := list(d.ctx, dir)
	if err != nil {
		return err
	}
	format, names := Safetensors, l.safetensors
	if shards := ix.Shards(); strings.Contains(strings.ToLower(base), ".bin.index.") || len(shards) > 0 && isPickle(strings.ToLower(shards[0])) {
		format, names = PyTorch, l.torch
	}
	groups, _ := groupFiles(names, format)
	d.indexedBy(dir, base, format, ix, groups, make(map[string]bool)).Path = ref
	return nil
}

func indexError(ref, base string, err error) error {
	if f, ok := errors.AsType[*Fault](err); ok && f.Code == string(safetensors.CodeNoWeightMap) {
		if !strings.Contains(base, ".index.") {
			return fmt.Errorf("%s: a JSON document without a weight_map, so not a shard index; name the weights, or the directory", ref)
		}
	}
	return err
}

// indexed adds the checkpoint of an index in a directory. An index that
// cannot be read leaves the shards of its name to their numbering.
func (d *finder) indexed(dir, name string, format Format, groups []*group, claimed map[string]bool) error {
	path := source.Join(dir, name)
	ix, err := readIndex(d.ctx, path)
	if err == nil {
		d.indexedBy(dir, name, format, ix, groups, claimed)
		return nil
	}
	if d.ctx.Err() != nil {
		return d.ctx.Err()
	}
	for _, g := range groups {
		if g.prefix == IndexStem(name) {
			c := d.group(dir, g, format)
			c.Path, c.Index = path, path
			c.setUnreadable(err)
			for _, shard := range slices.Concat(g.names, g.named) {
				claimed[shard] = true
			}
			return nil
		}
	}
	d.release.Faults = append(d.release.Faults, asFault(path, err))
	return nil
}

// indexedBy adds the checkpoint of an index: the files that it names, and
// those that their names number as parts of the same set. It notes the names
// in claimed.
func (d *finder) indexedBy(dir, name string, format Format, ix *safetensors.Index, groups []*group, claimed map[string]bool) *Checkpoint {
	c := d.checkpoint(dir, format)
	c.Index = source.Join(dir, name)
	c.Path = c.Index
	c.setIndex(ix)
	type key struct {
		prefix string
		of     int
	}
	own := make(map[key]bool)
	seen := make(map[string]bool)
	for _, shard := range ix.Shards() {
		f := c.file(shard)
		if seen[f.Name] {
			continue
		}
		claimed[f.Name], seen[f.Name] = true, true
		c.Files = append(c.Files, f)
		if prefix, _, of, ok := parseShard(f.Name); ok {
			own[key{prefix, of}] = true
		}
	}
	for _, g := range groups {
		if !own[key{g.prefix, g.of}] {
			continue
		}
		for _, shard := range slices.Concat(g.names, g.named) {
			claimed[shard] = true
			if !seen[shard] {
				c.Files = append(c.Files, c.entry(shard))
			}
		}
	}
	c.sortFiles()
	return c
}

// readIndex reads a shard index. A fault of its text is a [*Fault].
func readIndex(ctx context.Context, path string) (*safetensors.Index, error) {
	return parseIndex(ctx, path, safetensors.ReadIndex)
}

// summarizeIndex reads one without keeping its entries.
func summarizeIndex(ctx context.Context, path string) (*safetensors.IndexSummary, error) {
	return parseIndex(ctx, path, safetensors.SummarizeIndex)
}

func parseIndex[T any](ctx context.Context, path string, parse func(io.Reader) (*T, error)) (*T, error) {
	src, err := source.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	ix, err := parse(ioReader(src))
	if err != nil {
		return nil, (&File{Path: path}).fault(err)
	}
	return ix, nil
}

// config reads config.json of a directory, once.
func (d *finder) config(dir string) *Config {
	if c, ok := d.configs[dir]; ok || d.opts.NoConfig {
		return c
	}
	path := source.Join(dir, "config.json")
	c, err := readConfig(d.ctx, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.release.Faults = append(d.release.Faults, documentFault(path, err))
	}
	d.configs[dir] = c
	return c
}

// Set returns a path that opens the whole set which a file opened by itself
// belongs to: the index that names it, or the pattern of its numbered
// siblings. It is "" for a set, and for a file that belongs to none.
func (c *Checkpoint) Set(ctx context.Context) (string, error) {
	if c.Format == GGUF || c.Index != "" || len(c.Files) != 1 {
		return "", nil
	}
	l, err := list(ctx, c.Dir)
	if err != nil {
		return "", err
	}
	base := c.Files[0].Name
	indexes, names := l.indexes, l.safetensors
	if c.Format == PyTorch {
		indexes, names = l.torchIndexes, l.torch
	}
	for _, name := range indexes {
		index := source.Join(c.Dir, name)
		ix, err := readIndex(ctx, index)
		if err == nil && slices.Contains(ix.Shards(), base) {
			return index, nil
		}
	}
	groups, _ := groupFiles(names, c.Format)
	for _, g := range groups {
		if slices.Contains(g.named, base) {
			return source.Join(c.Dir, pattern(g.names[0])), nil
		}
	}
	if _, _, of, ok := parseShard(base); ok && of > 1 {
		return source.Join(c.Dir, pattern(base)), nil
	}
	return "", nil
}
