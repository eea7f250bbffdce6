package rewrite

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/internal/image"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/safetensors"
	"golang.org/x/sync/errgroup"
)

// Options say where a rewrite goes and how. Nil options are the defaults.
type Options struct {
	// Output is the file or, for a release, the directory to write. It is ""
	// for a rewrite in place.
	Output string
	// Verify says how the data is compared with what it was.
	Verify Verify
	// Headroom is how many bytes to leave between the header and the data for
	// later renames, beyond what is left anyway.
	Headroom int64
	// Force replaces an existing Output, and links in place by files of their
	// own. It never allows a tensor to be lost.
	Force bool
	// Strict refuses a rewrite that leaves text in documents which may mean
	// renamed tensors.
	Strict bool
	// Workers is how many files are worked on at a time; 0 chooses.
	Workers int
}

// A Job is a rewrite that has been prepared and can be looked at. Nothing has
// been changed yet.
type Job struct {
	// Source is the checkpoint.
	Source string `json:"source"`
	// Output is what is to be written, "" in place.
	Output string `json:"output,omitempty"`
	Files  []File `json:"files"`
	// Documents are the texts beside the weights that follow the new names.
	Documents []Document `json:"documents"`
	// Unfollowed is what may mean renamed tensors and is left as it is.
	Unfollowed []Unfollowed `json:"unfollowed"`
	// Refusals are the reasons why the rewrite is refused: Run will not run.
	Refusals []Refusal `json:"refusals"`
	// Need is how many bytes the rewrite needs while old and new exist together.
	Need int64 `json:"need"`
	// Free is how many bytes are free, -1 when unknown.
	Free int64 `json:"free"`
	// Replaces are the files that the result takes the place of, where --force, or Force,
	// allows that: files at Output by their full paths, and in place links, and
	// files with other names, by theirs.
	Replaces []string `json:"replaces"`
	// Leftovers are hidden directories beside Output that other runs left when
	// they were killed, or are writing now. They are not touched.
	Leftovers []string `json:"leftovers,omitempty"`
	// FileSystem is that of the destination: "ext4".
	FileSystem string `json:"file_system,omitempty"`

	opts       Options
	sys        txn.System
	dir        string       // of the release
	root       txn.Dir      // the same, open; nil where nothing is changed in it
	out        *image.Place // where Output is, nil in place
	directory  bool         // Output is a directory
	edits      []*edit
	others     []string // further files of the release that go with a directory
	features   txn.Features
	standing   []Refusal // those that do not depend on the steps
	sources    []io.Closer
	checkpoint *checkpoint.Checkpoint
}

// A File is what a job does to one file of the checkpoint.
type File struct {
	Name    string `json:"name"`
	Step    Step   `json:"step"`
	Renamed int    `json:"renamed"`
	Dropped int    `json:"dropped"`
	// Changed is how many tensors operations take, and Made how many they
	// leave here, in the file of the first of them.
	Changed int `json:"changed,omitempty"`
	Made    int `json:"made,omitempty"`
	// DataOffset is where the tensors' data begins, before and after.
	DataOffset    int64 `json:"data_offset"`
	NewDataOffset int64 `json:"new_data_offset"`
	DataBytes     int64 `json:"data_bytes"`
	// Filler says that a GGUF header gets a key that only takes up room.
	Filler bool `json:"filler,omitempty"`
}

// A Document is what a job does to a text beside the weights.
type Document struct {
	Name string `json:"name"`
	// Names counts the names that follow in a shard index; Edits are the edits
	// of other documents.
	Names int        `json:"names,omitempty"`
	Edits []TextEdit `json:"edits,omitempty"`
}

// A Refusal is a reason not to run a job.
type Refusal struct {
	File   string `json:"file,omitempty"`
	Reason string `json:"reason"`
	// Forcible says that --force, or Options.Force, lifts the refusal.
	Forcible bool `json:"forcible"`
}

func (r Refusal) Error() string {
	if r.File == "" {
		return r.Reason
	}
	return r.File + ": " + r.Reason
}

// A Report says what a job did.
type Report struct {
	// Output is what was written, the source in place.
	Output    string       `json:"output"`
	Files     []FileReport `json:"files"`
	Documents []string     `json:"documents"` // those that were edited
	Copied    []string     `json:"copied"`    // other files of the release
}

// A FileReport says how a file got its new content, and what was compared.
type FileReport struct {
	Name  string `json:"name"`
	Step  Step   `json:"step"`
	Proof Proof  `json:"proof"`
}

// The methods of a [Proof], strongest first.
const (
	ProofDigests = "digests"
	ProofExtents = "extents"
	ProofSamples = "samples"
	ProofNone    = "none"
)

// A Proof says how the data of a file was shown to be what it was before.
type Proof struct {
	// Method is "digests" when those of every tensor were compared;
	// "extents" when the data was not copied, its place follows from the
	// offsets, and sampled blocks were compared; "samples" when it was copied
	// and sampled blocks were compared; and "none".
	Method string `json:"method"`
	// Algorithm is that of the digests: "xxh64", or "sha256" with [VerifyFull].
	Algorithm string `json:"algorithm,omitempty"`
	// Tensors counts the tensors that the proof is about.
	Tensors int `json:"tensors"`
	// Samples counts the blocks that were compared, and Bytes what was
	// compared in all.
	Samples int   `json:"samples"`
	Bytes   int64 `json:"bytes"`
	// Restored counts the tensors that operations took and that the inverse
	// operations gave back, byte for byte, out of the new file.
	Restored int `json:"restored,omitempty"`
}

// Proofs adds up the proofs of the files that were written, the strongest method
// first. Files whose data was not compared are in none.
func (r *Report) Proofs() []Proof {
	var sums []Proof
	for _, method := range []string{ProofDigests, ProofExtents, ProofSamples} {
		sum, found := Proof{Method: method}, false
		for _, f := range r.Files {
			if f.Step != Unchanged && f.Proof.Method == method {
				found, sum.Algorithm = true, f.Proof.Algorithm
				sum.Tensors += f.Proof.Tensors
				sum.Samples += f.Proof.Samples
				sum.Bytes += f.Proof.Bytes
				sum.Restored += f.Proof.Restored
			}
		}
		if found {
			sums = append(sums, sum)
		}
	}
	return sums
}

func (p proof) public(tensors int) Proof {
	out := Proof{Method: ProofNone, Samples: p.samples, Bytes: p.bytes, Restored: p.restored}
	switch {
	case p.digests > 0:
		out.Method, out.Algorithm = ProofDigests, string(p.algorithm)
	case p.stayed:
		out.Method = ProofExtents
	case p.samples > 0:
		out.Method = ProofSamples
	default:
		return out
	}
	out.Tensors = tensors
	return out
}

// Prepare makes a job that carries out a plan on a checkpoint. The plan must
// be for the names of the checkpoint's tensors in their order. Reasons that
// keep the job from running are in its Refusals; an error means that there is
// no job to speak of. The checkpoint must stay open until the job has run.
func Prepare(ctx context.Context, c *checkpoint.Checkpoint, plan *rename.Plan, opts *Options) (*Job, error) {
	if err := plan.Err(); err != nil {
		return nil, err
	}
	if len(plan.Rows) != c.Len() {
		return nil, fmt.Errorf("the plan is for %s, and %s has %d", plural.Of(len(plan.Rows), "tensor"), c.Path, c.Len())
	}
	for i, t := range c.All() {
		if plan.Rows[i].From != t.Name {
			return nil, fmt.Errorf("the plan does not fit tensor %q of %s", t.Name, c.Path)
		}
	}
	return prepare(ctx, txn.OS{}, c, plan, nil, opts)
}

// PrepareMetadata makes a job that edits metadata: of every file of a
// safetensors checkpoint, and of the first file of a GGUF one, which is where
// readers look.
func PrepareMetadata(ctx context.Context, c *checkpoint.Checkpoint, edits []Metadata, opts *Options) (*Job, error) {
	if len(edits) == 0 {
		return nil, errors.New("there is no metadata to edit")
	}
	return prepare(ctx, txn.OS{}, c, nil, edits, opts)
}

// prepare makes a job. The plan is nil when no names change.
func prepare(ctx context.Context, sys txn.System, c *checkpoint.Checkpoint, plan *rename.Plan, metadata []Metadata, opts *Options) (_ *Job, err error) {
	j := &Job{Source: c.Path, Files: []File{}, Documents: []Document{}, Unfollowed: []Unfollowed{}, Refusals: []Refusal{}, Replaces: []string{}, sys: sys, dir: c.Dir, checkpoint: c}
	if opts != nil {
		j.opts = *opts
	}
	if j.opts.Workers <= 0 {
		j.opts.Workers = defaultWorkers()
	}
	j.Output = j.opts.Output
	if j.opts.Headroom < 0 {
		return nil, fmt.Errorf("a headroom of %d bytes is not possible", j.opts.Headroom)
	}
	if isElsewhere(j.dir) {
		if j.Output == "" {
			return nil, refuseElsewhere(c.Path)
		}
		j.sys = image.Elsewhere(ctx, sys)
	} else if dir := txn.Pending(sys, j.dir); dir != "" {
		return nil, &RecoveryError{dir, fmt.Errorf("%s: %w; recover it first", dir, ErrPending)}
	}
	defer func() {
		if err != nil {
			j.Close()
		}
	}()
	if j.Output == "" {
		if j.root, err = sys.OpenDir(j.dir); err != nil {
			return nil, err
		}
	}
	if c.Of != nil {
		return nil, fmt.Errorf("%s: several checkpoints are not rewritten as one", c.Path)
	}
	for _, f := range c.Files {
		if f.Missing {
			return nil, fmt.Errorf("%s is missing; the names of a release change in all of its files or in none", f.Path)
		}
		if f.Err != nil {
			return nil, f.Err
		}
	}
	if len(c.Files) == 0 || c.NamesOnly() {
		return nil, fmt.Errorf("%s has no files that can be rewritten", c.Path)
	}
	switch c.Format {
	case checkpoint.PyTorch:
		return nil, fmt.Errorf("%s: the names are in a pickle, which is not edited; convert it to safetensors", c.Path)
	case checkpoint.NumPy:
		return nil, fmt.Errorf("%s: files of NumPy are not edited; convert it to safetensors", c.Path)
	}
	if err := j.prepareFiles(ctx, plan, metadata); err != nil {
		return nil, err
	}
	if plan != nil {
		if err := j.prepareDocuments(plan); err != nil {
			return nil, err
		}
	}
	if err := j.place(); err != nil {
		return nil, err
	}
	return j, j.choose()
}

// defaultWorkers is enough to hide the wait for the disk's cache flushes.
func defaultWorkers() int { return max(8, runtime.GOMAXPROCS(0)) }

// Close releases what a job holds. A job that has run is closed.
func (j *Job) Close() error {
	var err error
	for _, s := range j.sources {
		err = errors.Join(err, s.Close())
	}
	j.sources = nil
	if j.root != nil {
		err = errors.Join(err, j.root.Close())
		j.root = nil
	}
	return err
}

func (j *Job) prepareFiles(ctx context.Context, plan *rename.Plan, metadata []Metadata) error {
	c := j.checkpoint
	if plan == nil {
		plan = new(rename.Plan)
	}
	rows := plan.Rows
	made, err := j.prepareTransforms(plan.Transforms)
	if err != nil {
		return err
	}
	stays := func(r *rename.Row) bool { return r.Action != rename.Drop && r.Action != rename.Change }
	total := int64(0)
	for i := range rows {
		if stays(&rows[i]) {
			total++
		}
	}
	for i := range plan.Transforms {
		total += int64(len(plan.Transforms[i].To))
	}
	if total == int64(len(rows)) {
		total = -1
	}
	j.edits = make([]*edit, len(c.Files))
	j.Files = make([]File, len(c.Files))
	sources := make([]txn.File, len(c.Files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(j.opts.Workers)
	at := 0
	for i, cf := range c.Files {
		mine := rows[min(at, len(rows)):min(at+tensorsIn(cf), len(rows))]
		at += tensorsIn(cf)
		ch := change{total: -1, made: made[i], name: func(i int) (string, bool) { return mine[i].To, stays(&mine[i]) }}
		if rows == nil {
			ch.name = func(i int) (string, bool) { return nameIn(cf, i), true }
		}
		j.Files[i].Name = cf.Name
		for _, r := range mine {
			switch r.Action {
			case rename.Move:
				j.Files[i].Renamed++
			case rename.Drop:
				j.Files[i].Dropped++
				ch.drops = true
			case rename.Change:
				j.Files[i].Changed++
				ch.drops = true
			}
		}
		for _, t := range made[i] {
			j.Files[i].Made += len(t.made)
		}
		if cf.Safetensors() != nil || i == 0 {
			ch.metadata = metadata
		}
		if cf.GGUF() != nil && len(c.Files) > 1 {
			ch.total = total
		}
		g.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			j.edits[i], sources[i], err = j.prepareFile(cf, ch)
			return err
		})
	}
	err = g.Wait()
	for _, src := range sources {
		if src != nil {
			j.sources = append(j.sources, src)
		}
	}
	if err != nil {
		return err
	}
	for i, e := range j.edits {
		if err := j.inspect(e, c.Files[i].Path); err != nil {
			return err
		}
		f := &j.Files[i]
		f.DataOffset, f.DataBytes = e.dataOffset, e.dataSize()
		// A part of a GGUF split may hold metadata alone.
		if n := tensorsIn(c.Files[i]); n > 0 && n-f.Dropped-f.Changed+f.Made == 0 && (c.Format == checkpoint.Safetensors || len(c.Files) == 1) {
			j.standing = append(j.standing, Refusal{File: e.name, Reason: fmt.Sprintf("would be left without a tensor, as all %d of it are dropped; loaders refuse such a file: keep one of them, or leave the file out of the set", n)})
		}
	}
	return nil
}

func tensorsIn(cf *checkpoint.File) int {
	if f := cf.Safetensors(); f != nil {
		return f.Len()
	}
	if f := cf.GGUF(); f != nil {
		return len(f.Tensors)
	}
	return 0
}

func nameIn(cf *checkpoint.File, i int) string {
	if f := cf.Safetensors(); f != nil {
		return f.At(i).Name
	}
	return cf.GGUF().Tensors[i].Name
}

// prepareFile makes the edit of a file. Where tensors are dropped the pieces
// of the new file are read from src when the job runs.
func (j *Job) prepareFile(cf *checkpoint.File, ch change) (e *edit, src txn.File, err error) {
	size := int64(0)
	if ch.drops {
		size = cf.Size
	}
	f, err := image.Open(size, func(flag int) (txn.File, error) { return txn.Read(j.sys, cf.Path, flag) })
	if err != nil {
		return nil, nil, err
	}
	if ch.drops {
		src = f
	} else {
		defer f.Close()
	}
	st, err := f.Stat()
	if err == nil {
		e, err = fileEdit(cf, f, st, ch)
	}
	return e, src, err
}

// inspect finds what forbids changing a file in place.
func (j *Job) inspect(e *edit, path string) error {
	if j.Output != "" {
		return nil
	}
	refuse := func(forcible bool, format string, args ...any) {
		j.standing = append(j.standing, Refusal{e.name, fmt.Sprintf(format, args...), forcible})
	}
	named, err := j.root.Lstat(e.name)
	var through *txn.ThroughError
	if errors.As(err, &through) {
		refuse(false, "%v; write to another destination", through)
		return nil
	}
	if err != nil {
		return err
	}
	e.named, e.link = named, true
	switch {
	case named.Mode&fs.ModeSymlink != 0:
		if !j.opts.Force {
			refuse(true, "is a symbolic link to %s, which other places may share; write to another destination, or force it to be replaced by a file of its own", txn.Link(path))
		}
	case e.old.Links > 1:
		if !j.opts.Force {
			refuse(true, "has %d hard links, and other places would change with it; write to another destination, or force it to be replaced by a file of its own", e.old.Links)
		}
	default:
		e.link = false
		if isDigest(filepath.Base(e.name)) && !j.opts.Force {
			refuse(true, "is called by the digest of its content, as in the cache of a hub, and would no longer be what its name says; write to another destination")
		}
	}
	if e.old.Mode.Perm()&0o200 == 0 {
		refuse(false, "is read-only; make it writable first")
	}
	if e.link && j.opts.Force {
		j.Replaces = append(j.Replaces, path)
	}
	return nil
}

// isDigest reports whether a file is called by a SHA-1 or SHA-256 alone.
func isDigest(name string) bool {
	_, err := hex.DecodeString(name)
	return err == nil && (len(name) == 2*sha1.Size || len(name) == 2*sha256.Size)
}

// followsDocuments reports whether documents belong to these weights alone: a
// shard by itself and a GGUF file leave them to the whole and to the source.
func (j *Job) followsDocuments() bool {
	c := j.checkpoint
	if c.Format != checkpoint.Safetensors || j.Output != "" && !c.IsRelease() {
		return false
	}
	_, _, _, shard := safetensors.ParseShardName(filepath.Base(c.Path))
	return !shard || len(c.Files) > 1
}

func (j *Job) prepareDocuments(plan *rename.Plan) error {
	rows := plan.Rows
	if !j.followsDocuments() {
		return nil
	}
	if j.checkpoint.Index != "" {
		if err := j.prepareIndex(plan); err != nil {
			return err
		}
	}
	moves := sync.OnceValue(func() []move { return movesOf(rows) })
	for _, name := range txn.Documents {
		path := j.at(name)
		text, st, err := j.readDocument(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		out, edits, left, err := editDocument(path, text, moves)
		if err != nil {
			j.Unfollowed = append(j.Unfollowed, Unfollowed{File: path, Reason: "names in it are not followed: " + err.Error()})
			continue
		}
		j.Unfollowed = append(j.Unfollowed, left...)
		if out == nil {
			continue
		}
		j.Documents = append(j.Documents, Document{Name: name, Edits: edits})
		if err := j.addDocument(name, path, st, text, out); err != nil {
			return err
		}
	}
	if j.opts.Strict && len(j.Unfollowed) > 0 {
		j.standing = append(j.standing, Refusal{Reason: fmt.Sprintf("%s in documents may mean renamed tensors and %s not followed, which strict refuses: %v", plural.Of(len(j.Unfollowed), "place"), plural.Verb(len(j.Unfollowed), "are"), j.Unfollowed[0])})
	}
	return nil
}

func movesOf(rows []rename.Row) []move {
	moves := make([]move, len(rows))
	for i, r := range rows {
		m := move{from: strings.Split(r.From, "."), dropped: r.Action == rename.Drop, parted: r.Action == rename.Change && r.To == ""}
		if m.to = m.from; r.Action == rename.Move || r.Action == rename.Change && r.To != "" {
			m.to = strings.Split(r.To, ".")
		}
		moves[i] = m
	}
	return moves
}

func (j *Job) prepareIndex(plan *rename.Plan) error {
	rows := plan.Rows
	path := j.checkpoint.Index
	text, st, err := j.readDocument(path)
	if err != nil {
		return err
	}
	ch := indexChange{names: make(map[string]string), dropped: make(map[string]bool)}
	ch.held = func(name string) bool {
		_, ok := j.checkpoint.Lookup(name)
		return ok
	}
	for i, t := range j.checkpoint.All() {
		n, _ := t.Elements()
		ch.totalBytes += t.Bytes
		ch.totalElements += n
		switch r := &rows[i]; r.Action {
		case rename.Move:
			ch.names[r.From] = r.To
		case rename.Drop:
			ch.dropped[r.From] = true
			ch.lostBytes += t.Bytes
			ch.lostElements += n
		case rename.Change:
			ch.dropped[r.From] = true
		}
	}
	for i := range plan.Transforms {
		t := &plan.Transforms[i]
		if ch.made == nil {
			ch.made = make(map[string][]string)
		}
		ch.made[t.From[0]] = t.To
	}
	for _, e := range j.edits {
		for _, t := range e.transforms {
			for _, from := range t.from {
				ch.lostBytes += uint64(from.Size())
				ch.lostElements += from.Elements()
			}
			for _, m := range t.made {
				ch.gainedBytes += uint64(m.Size())
				ch.gainedElements += m.Elements()
			}
		}
	}
	if len(ch.names)+len(ch.dropped) == 0 {
		return nil
	}
	out, err := editIndex(text, ch)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, t := range out.taken {
		j.standing = append(j.standing, Refusal{File: path, Reason: fmt.Sprintf("%q is in the index already, and no shard holds it; take it out before %q gets that name", t.name, t.by)})
	}
	// What the map says of names that only the index has is not known to be
	// true of the tensors that are missing.
	if plan.Map != nil && len(out.stale) > 0 {
		for _, r := range rename.NewPlan(plan.Map, out.stale, rename.Limits{}).Rows {
			if r.Action != rename.Keep {
				out.notes = append(out.notes, fmt.Sprintf("%q, which no shard holds, keeps its name, though the map has another one for it", r.From))
			}
		}
	}
	for _, note := range out.notes {
		j.Unfollowed = append(j.Unfollowed, Unfollowed{File: path, Reason: note})
	}
	if len(out.taken) > 0 || bytes.Equal(out.text, text) {
		return nil
	}
	name := filepath.Base(path)
	j.Documents = append(j.Documents, Document{Name: name, Names: len(ch.names) + len(ch.dropped)})
	return j.addDocument(name, path, st, text, out.text)
}

// maxDocument bounds the size of a document: the largest known index has 60 MB.
const maxDocument = 1 << 30

func (j *Job) readDocument(path string) ([]byte, txn.Stat, error) {
	f, err := txn.Read(j.sys, path, 0)
	if err != nil {
		return nil, txn.Stat{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, txn.Stat{}, err
	}
	if st.Size > maxDocument {
		return nil, txn.Stat{}, fmt.Errorf("%s has %d bytes, and documents of at most %d are edited", path, st.Size, maxDocument)
	}
	text := make([]byte, st.Size)
	return text, st, source.ReadFull(f, text, 0)
}

func (j *Job) addDocument(name, path string, st txn.Stat, old, text []byte) error {
	e := &edit{name: name, old: st, dataOffset: int64(len(old)), digest: sha256.Sum256(old), text: text}
	j.edits = append(j.edits, e)
	return j.inspect(e, path)
}

// at returns where a file of the release is.
func (j *Job) at(name string) string { return source.Join(j.dir, filepath.FromSlash(name)) }

// place finds out where the result goes, and what is in its way.
func (j *Job) place() error {
	if j.Output == "" {
		j.features = j.root.Probe()
		j.FileSystem = j.features.Kind
		return nil
	}
	return j.placeOutput()
}

// choose picks a step for every file and adds up the room.
func (j *Job) choose() error {
	inPlace := j.Output == ""
	j.Need, j.Free = 0, j.features.Free
	j.Refusals = append([]Refusal{}, j.standing...)
	for i, e := range j.edits {
		if inPlace && e.unchanged {
			e.step, e.newOffset = Unchanged, e.dataOffset
		} else if err := e.choose(j.features, inPlace, j.opts.Headroom); err != nil {
			return err
		}
		if inPlace && !txn.ReplacesOpen && e.text == nil && (e.step == Copy || e.step == Reflink) {
			j.Refusals = append(j.Refusals, Refusal{File: e.name, Reason: "has to be written anew, and this system does not replace a file that is open; write to another destination"})
		}
		j.Need += e.need
		if e.step == Pad || e.step == Insert {
			j.Need += e.dataOffset + e.newOffset // the journal
		}
		if i < len(j.Files) {
			f := &j.Files[i]
			f.Step, f.NewDataOffset = e.step, e.newOffset
			f.Filler = j.checkpoint.Format == checkpoint.GGUF && e.step != Unchanged && bytes.Contains(e.newHeader, []byte(gguf.FillerKey))
		}
	}
	if text := image.NoRoom(cmp.Or(j.Output, j.dir), j.Need, j.Free); text != "" {
		j.Refusals = append(j.Refusals, Refusal{Reason: text})
	}
	return nil
}

// Err returns the job's refusals as one error, nil when there are none.
func (j *Job) Err() error {
	errs := make([]error, len(j.Refusals))
	for i, r := range j.Refusals {
		errs[i] = r
	}
	return errors.Join(errs...)
}

// Work is how many bytes of data the job will write or read again.
func (j *Job) Work() int64 {
	var n int64
	for _, e := range j.edits {
		if e.text != nil || e.step == Unchanged {
			continue
		}
		switch v := j.opts.Verify; {
		case e.step == Copy && (v == VerifyDefault || v == VerifyFull):
			n += 2 * e.dataSize()
		case e.step == Copy:
			n += e.dataSize()
		case v == VerifyFull:
			for _, t := range e.tensors {
				n += 2 * t.size
			}
		}
	}
	return n
}

// Run carries the job out. progress, which may be nil, is called with the
// bytes of data done so far and in all; calls may come from several
// goroutines. When Run returns an error the source is what it was, unless the
// error is a [*RecoveryError]. A job runs once.
func (j *Job) Run(ctx context.Context, progress func(done, total int64)) (*Report, error) {
	defer j.Close()
	if err := j.Err(); err != nil {
		return nil, err
	}
	for {
		var tell func(int64)
		if progress != nil {
			var done atomic.Int64
			total := j.Work()
			progress(0, total)
			tell = func(n int64) { progress(done.Add(n), total) }
		}
		var report *Report
		var err error
		if j.Output == "" {
			report, err = j.runInPlace(ctx, tell)
		} else {
			report, err = j.runOutput(ctx, tell)
		}
		var refused *refusedStep
		if !errors.As(err, &refused) || refused.edit.barred[refused.step] {
			return report, err
		}
		refused.edit.bar(refused.step)
		if err := j.choose(); err != nil {
			return nil, err
		}
		if err := j.Err(); err != nil {
			return nil, err
		}
	}
}

func (j *Job) runInPlace(ctx context.Context, tell func(int64)) (*Report, error) {
	if !slices.ContainsFunc(j.edits, func(e *edit) bool { return e.step != Unchanged }) {
		return j.report(j.Source, make([]proof, len(j.edits))), nil
	}
	proofs, err := j.runner(tell).inPlace(ctx, j.dir)
	if err != nil {
		j.refresh()
		return nil, public(err)
	}
	return j.report(j.Source, proofs), nil
}

func (j *Job) runner(tell func(int64)) *runner {
	return &runner{sys: j.sys, path: j.at, edits: j.edits, verify: j.opts.Verify, workers: j.opts.Workers, progress: tell}
}

// refresh takes note of the times that undoing has left, so that the job can be
// run again with other steps.
func (j *Job) refresh() {
	for _, e := range j.edits {
		st, err := j.root.Lstat(e.name)
		if err == nil && !e.link && st.Ino == e.old.Ino && st.Dev == e.old.Dev && st.Size == e.old.Size {
			e.old, e.named = st, st
		}
	}
}

func (j *Job) report(output string, proofs []proof) *Report {
	r := &Report{Output: output, Documents: []string{}, Copied: []string{}}
	for i, f := range j.Files {
		tensors := tensorsIn(j.checkpoint.Files[i]) - f.Dropped
		r.Files = append(r.Files, FileReport{f.Name, f.Step, proofs[i].public(tensors)})
	}
	for _, d := range j.Documents {
		r.Documents = append(r.Documents, d.Name)
	}
	r.Copied = append(r.Copied, j.others...)
	return r
}
