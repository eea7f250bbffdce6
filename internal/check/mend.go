package check

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/internal/jsondoc"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/safetensors"
)

// A Mend is one thing that fix does to a release.
type Mend struct {
	// Rules are the IDs of the rules whose findings it takes away.
	Rules []string
	// Checkpoint is the path of the checkpoint concerned.
	Checkpoint string
	// What says what is done, and to what.
	What string
	// Count is how many tensors or files it concerns.
	Count int
	// Plan says what happens to every tensor, nil when no name changes.
	Plan *rename.Plan

	index string // the path of the index that it writes, if it writes one
	run   func(ctx context.Context, opts *MendOptions) error
}

// MendOptions adjust how mends are carried out.
type MendOptions struct {
	// Force replaces links by files of their own.
	Force bool
	// Progress is told the bytes of data done so far and in all. It may be nil.
	Progress func(done, total int64)
}

// Run carries the mend out, on the files where they are. The release must be
// opened and planned for anew afterwards. An interrupted mend leaves files that
// are the old ones or the new ones; one that renames tensors is a transaction
// of package rewrite.
func (m *Mend) Run(ctx context.Context, opts *MendOptions) error {
	if opts == nil {
		opts = new(MendOptions)
	}
	return m.run(ctx, opts)
}

// A Declined is a finding that fix has a mend for and leaves alone, and why.
type Declined struct {
	Rule, Checkpoint, Reason string
}

// Mends plans what fix does about the findings of a report: those of rules that
// say so and that the report holds. They are in the order in which they have to
// be carried out.
func Mends(ctx context.Context, rel *checkpoint.Release, report *Report) ([]*Mend, []Declined, error) {
	s := newSubject(ctx, rel, new(Options))
	p := &mender{subject: s, report: report}
	p.padding()
	for _, m := range s.models {
		p.aside(m)
	}
	for _, m := range s.models {
		if m.NamesOnly() {
			continue // until it is known what is rebuilt from the shards of others
		}
		if m.partial() {
			p.decline(m, "a file of the set is missing or broken, or the path is one file of a set: a set is mended as a whole")
			continue
		}
		// Nothing is renamed beside an index that cannot be read, and any other
		// follows the names.
		unreadable := m.IndexFault() != nil
		if unreadable {
			p.index(m)
		}
		if err := p.names(m); err != nil {
			return nil, nil, err
		}
		p.format(m)
		if !unreadable {
			p.index(m)
		}
	}
	p.shardless()
	return p.mends, p.declined, ctx.Err()
}

type mender struct {
	*subject
	report   *Report
	mends    []*Mend
	declined []Declined
}

// found returns which of some rules have a finding that can be mended, at a
// checkpoint.
func (p *mender) found(m *model, ids ...string) []string {
	var out []string
	for _, id := range ids {
		if slices.ContainsFunc(p.report.Findings, func(f Finding) bool {
			return f.Fixable && f.Rule.ID == id && f.Checkpoint == m.Path
		}) {
			out = append(out, id)
		}
	}
	return out
}

// decline leaves every finding of a checkpoint alone that has no mend yet.
func (p *mender) decline(m *model, reason string) {
	planned := func(id string) bool {
		return slices.ContainsFunc(p.mends, func(x *Mend) bool { return x.Checkpoint == m.Path && slices.Contains(x.Rules, id) })
	}
	for _, r := range Rules() {
		if r.Mend != "" && len(p.found(m, r.ID)) > 0 && !planned(r.ID) {
			p.declined = append(p.declined, Declined{r.ID, m.Path, reason})
		}
	}
}

// shardless declines what is found at indexes without any of their shards, and
// at those that say nothing: there is no file to change or to make an index of.
// Another mend may put a whole index in their place.
func (p *mender) shardless() {
	decline := func(f *Finding, place, index, reason string) {
		rebuilt := slices.ContainsFunc(p.mends, func(x *Mend) bool { return x.index == index })
		d := Declined{f.Rule.ID, place, index + reason}
		if f.Rule.Mend != "" && !rebuilt && !slices.Contains(p.declined, d) {
			p.declined = append(p.declined, d)
		}
	}
	const gone = " has no shards here: add them, or delete it"
	for _, m := range p.models {
		if !m.NamesOnly() {
			continue
		}
		reason := gone
		if m.Format == checkpoint.PyTorch {
			reason = " is of pickles, which are never opened: convert them to safetensors"
		}
		for i := range p.report.Findings {
			if f := &p.report.Findings[i]; f.Checkpoint == m.Path {
				decline(f, m.Path, m.Index, reason)
			}
		}
	}
	for i := range p.report.Findings {
		if f := &p.report.Findings[i]; f.Checkpoint == "" && f.Rule.ID == "WT213" {
			decline(f, f.File, f.File, gone)
		}
	}
}

// padding mends the files whose header is padded with NUL bytes. They cannot be
// opened, so that they are known by their findings alone.
func (p *mender) padding() {
	for _, f := range p.report.Findings {
		if f.Rule.ID != "WT109" || f.File == "" {
			continue
		}
		path := f.File
		p.mends = append(p.mends, &Mend{
			Rules: []string{"WT109"}, Checkpoint: f.Checkpoint, Count: 1,
			What: fmt.Sprintf("write spaces over the NUL bytes behind the header of %s", path),
			run:  func(ctx context.Context, opts *MendOptions) error { return padWithSpaces(ctx, path, opts.Force) },
		})
	}
}

// overlay is a file whose header is another.
type overlay struct {
	io.ReaderAt
	header []byte
}

func (o overlay) ReadAt(b []byte, offset int64) (int, error) {
	const lengthSize = 8
	n, err := o.ReaderAt.ReadAt(b, offset)
	for i := range n {
		if at := offset + int64(i) - lengthSize; at >= 0 && at < int64(len(o.header)) {
			b[i] = o.header[at]
		}
	}
	return n, err
}

// padWithSpaces replaces the NUL bytes at the end of a safetensors header.
func padWithSpaces(ctx context.Context, path string, force bool) error {
	tx, err := txn.Begin(txn.OS{}, filepath.Dir(path))
	if err != nil {
		return err
	}
	s, err := spacePadding(tx.Dir(), path, force)
	if err != nil {
		return errors.Join(err, tx.Abort())
	}
	return tx.Commit(ctx, &txn.Changes{Shifts: []*txn.Shift{s}})
}

// spacePadding is the change of a header that is padded with NUL bytes.
func spacePadding(dir txn.Dir, path string, force bool) (*txn.Shift, error) {
	name := filepath.Base(path)
	f, err := txn.Open(dir, name, 0, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Links > 1 && !force {
		return nil, fmt.Errorf("%s: has %d names, and all would change; write elsewhere with -o, or use --force", path, st.Links)
	}
	const lengthSize = 8
	var length [lengthSize]byte
	if err := source.ReadFull(f, length[:], 0); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > safetensors.MaxHeader || int64(n) > st.Size-lengthSize {
		return nil, fmt.Errorf("%s: the header is longer than the file", path)
	}
	header := make([]byte, lengthSize+n)
	if err := source.ReadFull(f, header, 0); err != nil {
		return nil, err
	}
	end := len(bytes.TrimRight(header, "\x00 "))
	padded := append(bytes.Clone(header[:end]), bytes.Repeat([]byte{' '}, len(header)-end)...)
	if _, err := safetensors.NewFile(overlay{f, padded[lengthSize:]}, st.Size); err != nil {
		return nil, fmt.Errorf("%s: not mended, because more is wrong: %w", path, err)
	}
	return &txn.Shift{Name: name, Old: st, OldHeader: header, NewHeader: padded}, nil
}

// aside moves stale files out of the loaders' sight.
func (p *mender) aside(m *model) {
	rules := p.found(m, "WT211", "WT212")
	if len(rules) == 0 {
		return
	}
	if user := p.userOf(m); user != "" {
		for _, id := range rules {
			p.declined = append(p.declined, Declined{id, m.Path, fmt.Sprintf("%s is a link to a file of it", user)})
		}
		return
	}
	p.mends = append(p.mends, &Mend{
		Rules: rules, Checkpoint: m.Path, Count: len(m.Files),
		What: fmt.Sprintf("move %s into %s", counted(len(m.Files), "file"), filepath.Join(m.Dir, txn.AsideName)),
		run:  func(ctx context.Context, _ *MendOptions) error { return putAside(ctx, m) },
	})
}

func putAside(ctx context.Context, m *model) error {
	tx, err := txn.Begin(txn.OS{}, m.Dir)
	if err != nil {
		return err
	}
	c := new(txn.Changes)
	for _, f := range m.Files {
		if f.Missing || f.Path == "" {
			continue
		}
		st, err := tx.Dir().Lstat(f.Name)
		if err == nil && st.Size != f.Size {
			err = fmt.Errorf("%s: %w", f.Path, txn.ErrChanged)
		}
		if err != nil {
			return errors.Join(err, tx.Abort())
		}
		to := path.Join(path.Dir(f.Name), txn.AsideName, path.Base(f.Name))
		c.Moves = append(c.Moves, &txn.Move{Name: f.Name, Old: st, To: to})
	}
	return tx.Commit(ctx, c)
}

// userOf returns a file of another checkpoint that is one of a checkpoint's own
// under another name, or "".
func (p *mender) userOf(m *model) string {
	var own []string
	for _, f := range m.Files {
		own = append(own, f.Path)
	}
	for _, other := range p.models {
		if other == m {
			continue
		}
		for _, f := range other.Files {
			if txn.SameFile(f.Path, own...) {
				return f.Path
			}
		}
	}
	return ""
}

// nameRulesMended are the rules whose mend is another name, or none.
var nameRulesMended = []string{"WT308", "WT401", "WT402", "WT403", "WT408", "WT410", "WT413"}

// names gives tensors other names and drops what should not be there.
func (p *mender) names(m *model) error {
	rules := p.found(m, nameRulesMended...)
	if len(rules) == 0 {
		return nil
	}
	has := func(id string) bool { return slices.Contains(rules, id) }
	var head string
	if has("WT308") {
		name, reason, err := m.tiedHead(p.ctx)
		if err != nil {
			return err
		}
		if head = name; reason != "" {
			p.declined = append(p.declined, Declined{"WT308", m.Path, reason})
			rules = slices.DeleteFunc(rules, func(id string) bool { return id == "WT308" })
		}
	}
	n := m.names()
	to, _ := n.target()
	names := make([]string, m.Len())
	table := &rename.Map{Description: "what fix renames and drops"}
	changed, dropped := 0, 0
	for i, t := range m.All() {
		names[i] = t.Name
		drop := ""
		switch {
		case head != "" && t.Name == head:
			drop = "its bytes are those of the embedding, which the configuration ties it to"
		case has("WT408") && isBuffer(t.Name):
			drop = "a buffer, which follows from the configuration"
		}
		name := t.Name
		if has("WT402") {
			name = m.unwrap(name)
		}
		if has("WT403") {
			name = m.single(name)
		}
		if has("WT410") {
			name = modernLeaf(name)
		}
		if has("WT413") {
			name = anonymous(name)
		}
		if has("WT401") && to != nil {
			if near, ok := n.nearName(to, name); ok {
				name = near
			}
		}
		switch {
		case drop != "":
			dropped++
			table.Rules = append(table.Rules, rename.DropRule(t.Name, drop))
		case name != t.Name:
			changed++
			table.Rules = append(table.Rules, rename.ExactRule(t.Name, name))
		}
	}
	if changed+dropped == 0 {
		return nil
	}
	limits := rename.Safetensors()
	if m.Format == checkpoint.GGUF {
		limits = rename.GGUF()
	}
	plan := rename.NewPlan(table, names, limits)
	if err := plan.Err(); err != nil {
		for _, id := range rules {
			p.declined = append(p.declined, Declined{id, m.Path, err.Error()})
		}
		return nil
	}
	var what []string
	if changed > 0 {
		what = append(what, "rename "+counted(changed, "tensor"))
	}
	if dropped > 0 {
		what = append(what, "drop "+counted(dropped, "tensor"))
	}
	p.mends = append(p.mends, &Mend{
		Rules: rules, Checkpoint: m.Path, What: strings.Join(what, " and "), Count: changed + dropped, Plan: plan,
		run: func(ctx context.Context, opts *MendOptions) error {
			job, err := rewrite.Prepare(ctx, m.Checkpoint, plan, &rewrite.Options{Force: opts.Force})
			return runJob(ctx, job, err, opts)
		},
	})
	return nil
}

func runJob(ctx context.Context, job *rewrite.Job, err error, opts *MendOptions) error {
	if err != nil {
		return err
	}
	defer job.Close()
	if err := job.Err(); err != nil {
		return err
	}
	_, err = job.Run(ctx, opts.Progress)
	return err
}

// tiedHead compares the output head with the embedding, byte by byte, and
// returns its name; or the reason why it is not to be dropped.
func (m *model) tiedHead(ctx context.Context) (name, reason string, err error) {
	embed, e, ok := m.one("embed.tokens.weight")
	head, h, okHead := m.one("head.weight")
	switch {
	case !ok || !okHead:
		return "", "the head or the embedding is packed, so that their bytes cannot be compared", nil
	case head.DType != embed.DType || !slices.Equal(head.Shape, embed.Shape):
		return "", fmt.Sprintf("%s %s %s is not %s %s %s; tie_word_embeddings is wrong, or the head", head.Name, head.DType, shapeText(head.Shape), embed.Name, embed.DType, shapeText(embed.Shape)), nil
	}
	a, err := m.Data(e)
	if err != nil {
		return "", "", err
	}
	b, err := m.Data(h)
	if err != nil {
		return "", "", err
	}
	same, err := equalBytes(ctx, a, b)
	if err != nil {
		return "", "", err
	}
	if !same {
		return "", fmt.Sprintf("the bytes of %s are not those of %s: the model uses one or the other, which only its authors know", head.Name, embed.Name), nil
	}
	return head.Name, "", nil
}

func equalBytes(ctx context.Context, a, b io.Reader) (bool, error) {
	const block = 1 << 20
	x, y := make([]byte, block), make([]byte, block)
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, errA := io.ReadFull(a, x)
		k, errB := io.ReadFull(b, y)
		if n != k || !bytes.Equal(x[:n], y[:k]) {
			return false, nil
		}
		switch {
		case errA == io.EOF || errA == io.ErrUnexpectedEOF:
			return true, nil
		case errA != nil:
			return false, errA
		case errB != nil:
			return false, errB
		}
	}
}

func (p *mender) format(m *model) {
	rules := p.found(m, "WT904")
	if len(rules) == 0 {
		return
	}
	p.mends = append(p.mends, &Mend{
		Rules: rules, Checkpoint: m.Path, Count: len(m.Files),
		What: "set the metadata key format to pt in " + counted(len(m.Files), "file"),
		run: func(ctx context.Context, opts *MendOptions) error {
			job, err := rewrite.PrepareMetadata(ctx, m.Checkpoint, []rewrite.Metadata{{Key: "format", Value: "pt"}}, &rewrite.Options{Force: opts.Force})
			return runJob(ctx, job, err, opts)
		},
	})
}

// indexRules are the rules that a new index mends; the first two need only a
// number in it to change.
var indexRules = []string{"WT207", "WT208", "WT202", "WT203", "WT204", "WT205", "WT213", "WT216"}

func (p *mender) index(m *model) {
	rules := p.found(m, indexRules...)
	if len(rules) == 0 {
		return
	}
	path := m.Index
	if path == "" {
		path = filepath.Join(m.Dir, indexName(m.Files[0].Name))
	}
	what := "rebuild "
	numbersOnly := !slices.ContainsFunc(rules, func(id string) bool { return id != "WT207" && id != "WT208" })
	if numbersOnly {
		what = "correct the totals of "
	}
	p.mends = append(p.mends, &Mend{
		Rules: rules, Checkpoint: m.Path, What: what + path, Count: m.Len(), index: path,
		run: func(ctx context.Context, _ *MendOptions) error {
			// The mends before have changed names and files.
			ref := m.Path
			if slices.Contains(rules, "WT213") {
				ref = filepath.Join(m.Dir, setPattern(m.Files[0].Name))
			}
			rel, err := checkpoint.Open(ctx, ref, nil)
			if err != nil {
				return err
			}
			defer rel.Close()
			if len(rel.Checkpoints) != 1 {
				return fmt.Errorf("%s: several checkpoints, where one is needed", m.Path)
			}
			return replaceIndex(ctx, path, !numbersOnly, func() ([]byte, error) {
				return newIndex(ctx, rel.Checkpoints[0], m.doc, path, numbersOnly)
			})
		},
	})
}

// replaceIndex gives an index new content, or makes one. keep puts the old one
// aside. The new content is made when it is known which file it replaces: another
// that takes its name meanwhile is not.
func replaceIndex(ctx context.Context, file string, keep bool, content func() ([]byte, error)) error {
	tx, err := txn.Begin(txn.OS{}, filepath.Dir(file))
	if err != nil {
		return err
	}
	name := filepath.Base(file)
	s := &txn.Swap{Name: name}
	old, err := tx.Dir().Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	case err == nil && old.Mode&fs.ModeSymlink != 0:
		err = fmt.Errorf("%s: a symbolic link; write elsewhere with -o", file)
	case err == nil:
		s.Old = old
		if keep {
			s.Keep, err = freeAside(tx.Dir(), name)
		}
	}
	var data []byte
	if err == nil {
		data, err = content()
	}
	if err != nil {
		return errors.Join(err, tx.Abort())
	}
	s.Size, s.Head, s.Sum, s.Begin = int64(len(data)), int64(len(data)), sha256.Sum256(data), data
	s.Write = func(_ context.Context, dir txn.Dir, temp string) error { return writeIndex(dir, name, temp, data) }
	return tx.Commit(ctx, &txn.Changes{Swaps: []*txn.Swap{s}})
}

// writeIndex writes an index under a temporary name, with the owner and the
// permissions of the one that has the name now.
func writeIndex(dir txn.Dir, name, temp string, data []byte) error {
	f, err := txn.Open(dir, temp, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	err = txn.WriteFull(f, data, 0)
	if old, operr := txn.Open(dir, name, 0, 0); operr == nil {
		err = errors.Join(err, f.Adopt(old), old.Close())
	}
	return errors.Join(err, txn.Sync(f), f.Close())
}

// freeAside returns a name for a file that is put aside.
func freeAside(dir txn.Dir, name string) (string, error) {
	for n := 1; ; n++ {
		to := path.Join(txn.AsideName, fmt.Sprintf("%s.%d", name, n))
		if _, err := dir.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			return to, nil
		} else if err != nil {
			return "", err
		}
	}
}

// setPattern returns the pattern of a set, by which it is opened without its
// index.
func setPattern(shard string) string {
	end := strings.LastIndex(shard, "-of-")
	if end < 0 {
		return shard
	}
	return strings.TrimRight(shard[:end], "0123456789") + "*" + shard[end:]
}

// totals returns what an index says of a checkpoint: the bytes of the tensors,
// each name once, and the parameters.
func totals(c *checkpoint.Checkpoint, cfg *checkpoint.Config) (size, parameters uint64, err error) {
	for i, t := range c.All() {
		if first, _ := c.Lookup(t.Name); first != i {
			return 0, 0, fmt.Errorf("%s: two tensors are named %q; an index cannot hold both", c.Path, t.Name)
		}
		if !t.BytesKnown {
			return 0, 0, fmt.Errorf("%s: the size of tensor %q is not known", c.Path, t.Name)
		}
		size += t.Bytes
	}
	parameters, _ = c.Parameters(cfg)
	return size, parameters, nil
}

// newIndex returns the text of an index for the files of a checkpoint. What the
// old one has beside the totals and the map stays.
func newIndex(ctx context.Context, c *checkpoint.Checkpoint, cfg *checkpoint.Config, path string, numbersOnly bool) ([]byte, error) {
	for _, f := range c.Files {
		if f.Err != nil || f.Missing {
			return nil, fmt.Errorf("%s: missing or broken, and an index has to name every tensor", f.Path)
		}
	}
	size, parameters, err := totals(c, cfg)
	if err != nil {
		return nil, err
	}
	old, err := source.ReadFile(ctx, path, source.Index)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if numbersOnly {
		if doc, err := jsondoc.Parse(path, old); err == nil {
			return correctTotals(doc, size, parameters)
		}
	}
	metadata := map[string]json.RawMessage{}
	if ix, err := safetensors.ReadIndex(bytes.NewReader(old)); err == nil {
		for _, member := range ix.Metadata() {
			metadata[member.Key] = json.RawMessage(member.Value)
		}
	}
	if _, ok := metadata["total_parameters"]; ok {
		metadata["total_parameters"] = fmt.Appendf(nil, "%d", parameters)
	}
	metadata["total_size"] = fmt.Appendf(nil, "%d", size)
	weights := make(map[string]string, c.Len())
	for _, t := range c.All() {
		weights[t.Name] = c.Files[t.File].Name
	}
	// As transformers writes it: sorted keys, two spaces, a newline at the end.
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err = e.Encode(map[string]any{"metadata": metadata, "weight_map": weights})
	return b.Bytes(), err
}

// correctTotals replaces the totals of an index and no other byte.
func correctTotals(doc *jsondoc.Doc, size, parameters uint64) ([]byte, error) {
	metadata, ok := doc.Lookup("metadata")
	if !ok || metadata.Kind() != jsondoc.Object {
		if ok {
			return doc.Apply(jsondoc.Replace(metadata, fmt.Appendf(nil, `{"total_size": %d}`, size)))
		}
		return doc.Apply(jsondoc.Insert(doc.Root(), "metadata", fmt.Appendf(nil, `{"total_size": %d}`, size)))
	}
	var edits []jsondoc.Edit
	if n, ok := metadata.Lookup("total_size"); ok {
		edits = append(edits, jsondoc.Replace(n, fmt.Appendf(nil, "%d", size)))
	} else {
		edits = append(edits, jsondoc.Insert(metadata, "total_size", fmt.Appendf(nil, "%d", size)))
	}
	if n, ok := metadata.Lookup("total_parameters"); ok {
		edits = append(edits, jsondoc.Replace(n, fmt.Appendf(nil, "%d", parameters)))
	}
	return doc.Apply(edits...)
}

// Changes folds what the mend's plan does to the names.
func (m *Mend) Changes() []rename.FoldedChange {
	if m.Plan == nil {
		return nil
	}
	return m.Plan.Changes()
}

// Inverse returns the map that gives the tensors the names that they had before
// mends that have been made in this order, nil when no name changed. What was
// dropped does not come back.
func Inverse(mends []*Mend) *rename.Map {
	was := make(map[string]string) // by the name that it has now
	for _, m := range mends {
		if m.Plan == nil {
			continue
		}
		next := make(map[string]string)
		for _, r := range m.Plan.Rows {
			old, renamed := was[r.From]
			delete(was, r.From)
			switch {
			case r.Action == rename.Move && renamed:
				next[r.To] = old
			case r.Action == rename.Move:
				next[r.To] = r.From
			case r.Action == rename.Keep && renamed:
				next[r.From] = old
			}
		}
		maps.Copy(was, next) // another checkpoint's names stay
	}
	if len(was) == 0 {
		return nil
	}
	out := &rename.Map{Description: "takes back what fix renamed"}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		out.Rules = append(out.Rules, rename.ExactRule(name, was[name]))
	}
	return out
}
