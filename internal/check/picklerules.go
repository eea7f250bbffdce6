package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/numpy"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/pytorch"
)

var pickleRules = []*Rule{
	{
		ID: "WT710", Name: "dangerous-code", Severity: checkpoint.Error, run: runDangerousCode,
		Title: "loading the file imports what can run commands, reach files or load other code",
		Doc: `A pickle is a program: it names functions of Python, and loading it imports and calls
them. These names are on a list of those that fickling, picklescan and ModelScan call
dangerous. The offset is that of the call, or of the import where nothing is called. Do not
load the file; ask its publisher for safetensors. Nothing of it was run here.`,
		Bad: `a pickle that calls posix.system`, Good: "a pickle of tensors alone",
	},
	{
		ID: "WT711", Name: "unknown-code", Severity: checkpoint.Warning, run: runUnknownCode,
		Title: "loading the file imports code that is on no list",
		Doc: `Importing a module runs it, and calling what is in it may do anything. Most of what is
found here are the classes of the program that saved the file, such as callbacks of a
trainer. That a name is on no list says nothing about it. 'wtinspect convert' writes the tensors
to safetensors without importing anything.`,
		Bad: `a pickle of pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint`, Good: "a pickle of tensors alone",
	},
	{
		ID: "WT712", Name: "not-weights-only", Severity: checkpoint.Info, run: runNotWeightsOnly,
		Title: "torch.load refuses the file by default",
		Doc: `Since version 2.6 torch.load takes weights_only=True for granted: a fixed list of names,
and the opcodes that torch.save uses with protocol 2. What is beyond that, and known to
do nothing but make an object, is listed here, and TorchScript, whose code torch.jit.load
compiles. What is not known is WT711's.`,
		Bad: "argparse.Namespace beside the tensors", Good: "numbers and strings beside the tensors",
	},
	{
		ID: "WT713", Name: "nested-pickle", Severity: checkpoint.Warning, run: runFaults,
		Title: "a string in a pickle is a pickle itself",
		Doc: `Whatever loads the string runs a second program that scanners of the first do not see, and
does not mind what is in the string behind the end of that.
Here it is judged as well: what it imports is found by the other rules, and called
“string 1” and so on.`,
		Bad: `b"\x80\x02cposix\nsystem\n…." in a dictionary`, Good: "strings that are text",
	},
	{
		ID: "WT714", Name: "more-pickles", Severity: checkpoint.Warning, run: runFaults,
		Title: "a pickle or other bytes are where torch.load does not look",
		Doc: `Another pickle after the end of the first, bytes after it, or a second .pkl in the
archive. torch.load does not read them, and other programs may. What they import is found
by the other rules.`,
		Bad: "two pickles in data.pkl", Good: "one pickle that ends where data.pkl does",
	},
	{
		ID: "WT715", Name: "archive-anomaly", Severity: checkpoint.Error, run: runArchive,
		Title: "two readers of the archive may see different contents",
		Doc: `torch.load goes by the directory at the archive's end, and ignores checksums, the flag
for encryption and the names in local headers. Other programs stop at them or believe
them, so that a scanner may not see what torch.load does. torch.save writes none of it: the
file was written or changed by something else. What hides nothing is a warning. The same is true of a stream
that lists a storage twice or has an archive behind it. Checksums are compared of data.pkl and of members of at most 64 bytes, and with --values of storages. An archive
without any, as torch.save writes it after set_crc32_options(False), is not compared.`,
		Bad: "data.pkl has another name in its local header", Good: "an archive as torch.save writes it",
	},
	{
		ID: "WT716", Name: "odd-pickle", Severity: checkpoint.Error, run: runFaults,
		Title: "a pickle does what no pickler writes",
		Doc: `Keys set in what is not a dictionary (as in CVE-2026-24747), a call of what is not a
function or of an object that the pickle makes, a key given twice, values left on the stack, a storage described in two ways, an opcode across the end of
its frame, of which Python's unpicklers make different ones: whatever one of them imports is found. Python may
stop there or do something that was not meant, and readers differ in what they make of it.
Where they do not, it is a warning.`,
		Bad: "SETITEM on a tensor", Good: "a pickle as torch.save writes it",
	},
	{
		ID: "WT717", Name: "storage-size", Severity: checkpoint.Error, run: runFaults,
		Title: "a tensor needs more bytes than the file has for it",
		Doc: `A storage is absent, shorter or longer than the pickle says, a tensor reaches beyond
its storage, or the chunks of a distributed checkpoint do not have each element once: the
download or the upload was cut short, or the file was made by hand. Fetch or upload it again.`,
		Bad: "a storage of 8 bytes, and a tensor of four floats", Good: "storages as long as the pickle says",
	},
	{
		ID: "WT718", Name: "unused-storage", Severity: checkpoint.Warning, run: runFaults,
		Title: "storages are in the file that no tensor uses",
		Doc: `They are loaded by nothing and downloaded by everybody. They are left of what was
deleted from the dictionary, or hidden there. Tensors that the pickle makes, and that are in no part of what it builds, are
found here as well, and where they are: keys and attributes of dictionaries, hooks, values of a key that is given again. They are neither listed nor converted.`,
		Bad: "data/7, and no tensor of storage 7", Good: "every storage has a tensor",
	},
	{
		ID: "WT719", Name: "optimizer-state", Severity: checkpoint.Info, run: runOptimizerState,
		Title: "the state of an optimiser is shipped with the weights",
		Doc: `Only a training that goes on needs it, and it is often twice as large as the weights.
'wtinspect convert' leaves it out.`,
		Bad: "optimizer_states of 13 GB beside state_dict", Good: "state_dict alone",
	},
	{
		ID: "WT720", Name: "odd-tensor", Severity: checkpoint.Warning, run: runFaults,
		Title: "a tensor is not a plain run of numbers",
		Doc: `Sparse, nested and quantised tensors, complex128, those that wrap others, those without data, those that are
conjugated or negated when they are read, and those that repeat the elements of a smaller storage. They are listed as far as they can be, and
safetensors does not have them.`,
		Bad: "torch.eye(8).to_sparse()", Good: "a dense tensor",
	},
}

// byPyTorchCode is byCode for the files of torch.save.
var byPyTorchCode = map[pytorch.Code]string{
	pytorch.CodeDuplicateName: "WT106",
	pytorch.CodeOverflow:      "WT107",
	pytorch.CodeUnknownDType:  "WT108",
	pytorch.CodeEmptyName:     "WT112",
	pytorch.CodeKeyType:       "WT112",
	pytorch.CodeControlChars:  "WT112",
	pytorch.CodeLimit:         "WT118",
	pytorch.CodeDepth:         "WT118",

	pytorch.CodeNestedPickle: "WT713",

	pytorch.CodeMorePickles: "WT714",
	pytorch.CodeAfterStop:   "WT714",
	pytorch.CodeExtraPickle: "WT714",

	pytorch.CodeDuplicateMember: "WT715",
	pytorch.CodeMemberName:      "WT715",
	pytorch.CodeMemberHeader:    "WT715",
	pytorch.CodeMemberFlags:     "WT715",
	pytorch.CodeChecksum:        "WT715",
	pytorch.CodeCompressed:      "WT715",
	pytorch.CodeOverlap:         "WT715",
	pytorch.CodeUnsafeMember:    "WT715",
	pytorch.CodeMixedPrefix:     "WT715",
	pytorch.CodePrefixData:      "WT715",
	pytorch.CodeGap:             "WT715",
	pytorch.CodeHiddenMember:    "WT715",
	pytorch.CodeNotFound:        "WT715",
	pytorch.CodeTrailingData:    "WT715",
	pytorch.CodeArchiveVersion:  "WT715",
	pytorch.CodeByteOrder:       "WT715",
	pytorch.CodeBigEndian:       "WT715",

	pytorch.CodeFrame:         "WT716",
	pytorch.CodeLeftover:      "WT716",
	pytorch.CodeBadTarget:     "WT716",
	pytorch.CodePersistentID:  "WT716",
	pytorch.CodeDuplicateKey:  "WT716",
	pytorch.CodeStorageChange: "WT716",
	pytorch.CodeCalledResult:  "WT716",
	pytorch.CodeStorageName:   "WT716",
	pytorch.CodeBadTensor:     "WT716",
	pytorch.CodeBadMetadata:   "WT716",

	pytorch.CodeOutOfStorage:   "WT717",
	pytorch.CodeMissingStorage: "WT717",
	pytorch.CodeStorageSize:    "WT717",
	pytorch.CodeChunkGap:       "WT717",
	pytorch.CodeChunkOverlap:   "WT717",
	pytorch.CodeChunkOutside:   "WT717",
	pytorch.CodeMissingChunk:   "WT717",

	pytorch.CodeUnusedStorage: "WT718",
	pytorch.CodeLost:          "WT718",

	pytorch.CodeNoData:       "WT720",
	pytorch.CodeSparse:       "WT720",
	pytorch.CodeNested:       "WT720",
	pytorch.CodeNumPy:        "WT720",
	pytorch.CodeWrapped:      "WT720",
	pytorch.CodeAttached:     "WT720",
	pytorch.CodeExpanded:     "WT720",
	checkpoint.CodeTorchOnly: "WT720",
	pytorch.CodeLazy:         "WT720",
	pytorch.CodeTransformed:  "WT720",
	pytorch.CodeEmpty:        "WT720",
}

// byNumPyCode is byCode for files of arrays.
var byNumPyCode = map[numpy.Code]string{
	numpy.CodeDuplicateName: "WT106",
	numpy.CodeOverflow:      "WT107",
	numpy.CodeUnknownDType:  "WT108",
	numpy.CodeEmptyName:     "WT112",
	numpy.CodeControlChars:  "WT112",
	numpy.CodeLimit:         "WT118",
	numpy.CodeBigEndian:     "WT715",
	numpy.CodeTruncated:     "WT717",
	numpy.CodeDataSize:      "WT717",
	numpy.CodeObject:        "WT720",
	numpy.CodeEmpty:         "WT720",
}

// A pickled file is one that Python loads by carrying out pickles.
type pickledFile struct {
	path, checkpoint string
	programs         []pytorch.Program
	optimizers       []pytorch.Subtree
	judged           bool               // its faults are those of a checkpoint, or of the release
	faults           []checkpoint.Fault // otherwise
	index            bool               // read by other means than torch.load
	script           bool               // of TorchScript
}

// findPickled looks into the files of torch.save, into those beside other weights, and into those
// that have the name of weights and are not.
func (s *subject) findPickled() []*pickledFile {
	var list []*pickledFile
	seen := make(map[string]bool)
	add := func(path, ck string, torch *pytorch.File) {
		if path == "" || seen[path] || s.ctx.Err() != nil {
			return
		}
		seen[path] = true
		if f := s.lookForPickles(path, ck, torch); f != nil {
			list = append(list, f)
		}
	}
	for _, m := range s.models {
		places := placesOf(m.Checkpoint)
		for _, f := range m.Files {
			if f.HasChunks() {
				if p := s.lookIntoChunks(f, places[f.Name], m.Path); p != nil {
					list = append(list, p)
				}
				continue
			}
			if m.Format == checkpoint.NumPy && f.Err == nil {
				if p := s.lookIntoArrays(f, m.Path); p != nil {
					list = append(list, p)
				}
				continue
			}
			if !f.Missing && (m.Format == checkpoint.PyTorch || f.Err != nil) {
				add(f.Path, m.Path, f.Tree())
			}
		}
	}
	for _, path := range s.release.Pickles {
		add(path, "", nil)
	}
	others := slices.Clone(s.release.Others)
	named := func(path string) int {
		if checkpoint.MayHavePickles(path) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(others, func(a, b string) int { return cmp.Compare(named(a), named(b)) })
	for _, path := range others[:min(maxOthers, len(others))] {
		if s.ctx.Err() != nil {
			break
		}
		if f := s.lookIntoOther(path); f != nil {
			list = append(list, f)
		}
	}
	return list
}

// unreadable says why a file was not looked into.
func unreadable(path string, err error) string {
	if perr, ok := errors.AsType[*fs.PathError](err); ok {
		return perr.Err.Error()
	}
	return strings.TrimPrefix(err.Error(), path+": ")
}

// notInflated are compressed files, by their first bytes, that joblib.load inflates and nobody here does
// (joblib/compressor.py).
var notInflated = []struct{ head, what string }{
	{"\xfd7zXZ\x00", "compressed by xz"},
	{"\x5d\x00\x00", "compressed by lzma"},
	{"\x04\x22\x4d\x18", "compressed by lz4"},
	{"\x28\xb5\x2f\xfd", "compressed by Zstandard"},
}

// notePacked notes that a file is compressed in a way that nobody here inflates.
func (s *subject) notePacked(src source.Source) {
	var head [8]byte
	n, _ := src.ReadAt(head[:], 0)
	for _, c := range notInflated {
		if strings.HasPrefix(string(head[:n]), c.head) {
			s.unread[src.Name()] = c.what
		}
	}
}

// maxOthers bounds how many files of a release are looked into that are neither weights nor pickles by their names.
const maxOthers = 1_000

// lookIntoOther looks into a file that is not called a pickle: nil where there is none. Of one that is elsewhere,
// where a look is a request, the name decides whether there may be.
func (s *subject) lookIntoOther(path string) *pickledFile {
	if source.Scheme(path) != "" && !checkpoint.MayHavePickles(path) {
		return nil
	}
	src, err := source.Open(source.Glance(s.ctx), path)
	if err != nil {
		return nil
	}
	head := make([]byte, checkpoint.DetectBytes)
	n, err := src.ReadAt(head, 0)
	src.Close()
	if err != nil && err != io.EOF {
		return nil
	}
	switch format := checkpoint.DetectFormat(head[:n]); {
	case format == checkpoint.NumPy || format != "" && strings.EqualFold(filepath.Ext(path), ".npz"):
		rel, err := checkpoint.Open(s.ctx, path, &checkpoint.Options{NoConfig: true, AllowLinks: true})
		if err != nil {
			return nil
		}
		defer rel.Close()
		return s.lookIntoArrays(rel.Checkpoints[0].Files[0], "")
	case format == checkpoint.PyTorch || pytorch.IsCompressed(head[:n]) || checkpoint.MayHavePickles(path):
		return s.lookForPickles(path, "", nil)
	}
	return nil
}

// placesOf returns where what a distributed checkpoint consists of is, by the names of its files.
func placesOf(c *checkpoint.Checkpoint) map[string][]pytorch.Place {
	places := make(map[string][]pytorch.Place)
	for _, f := range c.Files {
		d := f.Distributed()
		if d == nil {
			continue
		}
		for _, o := range d.Objects {
			places[o.Place.File] = append(places[o.Place.File], o.Place)
		}
		for i := range d.Tensors {
			for _, c := range d.Tensors[i].Chunks {
				places[c.Place.File] = append(places[c.Place.File], c.Place)
			}
		}
	}
	return places
}

// ChunkGlobals returns what the first pickles in the files of a distributed checkpoint on this machine import, of most
// objects and chunks of each.
func ChunkGlobals(ctx context.Context, c *checkpoint.Checkpoint, most int) (globals []*pytorch.Global) {
	places := placesOf(c)
	for _, f := range c.Files {
		list := places[f.Name]
		if !f.HasChunks() || source.Scheme(f.Path) != "" || len(list) == 0 {
			continue
		}
		src, err := source.Open(ctx, f.Path)
		if err != nil {
			continue // which reading it says
		}
		for p := range programsAt(ctx, src, list[:min(len(list), most)]) {
			globals = append(globals, p.Globals...)
		}
		src.Close()
	}
	return globals
}

// programsAt iterates over the pickles at places of a file.
func programsAt(ctx context.Context, src source.Source, places []pytorch.Place) iter.Seq[pytorch.Program] {
	return func(yield func(pytorch.Program) bool) {
		for _, place := range places {
			if place.Offset > src.Size() || place.Length > src.Size()-place.Offset || ctx.Err() != nil {
				continue // which is a fault of its tensor
			}
			list, _ := pytorch.Programs(io.NewSectionReader(src, place.Offset, place.Length), place.Length)
			for _, p := range list {
				for _, g := range p.Globals {
					if p.Offset >= 0 {
						g.Offset += place.Offset
						g.Call.Offset += place.Offset
					}
				}
				if !yield(p) {
					return
				}
			}
		}
	}
}

// maxChunks bounds how many chunks of a distributed checkpoint are looked into.
const maxChunks = 100_000

// lookIntoChunks looks into the files of torch.save that a file of a distributed checkpoint
// consists of: nil where there are none, or too many for a file that is elsewhere.
func (s *subject) lookIntoChunks(f *checkpoint.File, places []pytorch.Place, ck string) *pickledFile {
	if source.Scheme(f.Path) != "" {
		return nil
	}
	src, err := source.Open(s.ctx, f.Path)
	if err != nil {
		return nil
	}
	defer src.Close()
	out := &pickledFile{path: f.Path, checkpoint: ck}
	if len(places) > maxChunks {
		out.faults = append(out.faults, out.fault(pytorch.Fault{
			Code: pytorch.CodeLimit, Severity: pytorch.Error, Offset: -1,
			Detail: fmt.Sprintf("it has %d chunks, and the pickles of %d are judged", len(places), maxChunks),
		}, ""))
	}
	for p := range programsAt(s.ctx, src, places[:min(len(places), maxChunks)]) {
		out.programs = append(out.programs, p)
	}
	out.addBounds()
	return out
}

// lookIntoArrays looks into the arrays of objects of a file, and into members of the archive that are pickles: nil
// where there are none.
func (s *subject) lookIntoArrays(f *checkpoint.File, ck string) *pickledFile {
	out := &pickledFile{path: f.Path, checkpoint: ck, index: true}
	if len(f.NotArrays()) > 0 {
		out.strayPickles(s.ctx)
	}
	for name, list := range f.ObjectArrays() {
		for _, p := range list {
			p.Place = cmp.Or(p.Place, name)
			if flt, ok := errors.AsType[*pytorch.Fault](p.Err); ok && flt.Code == pytorch.CodeLimit {
				out.faults = append(out.faults, out.fault(*flt, p.Place+": ")) // nobody else says so
			}
			for _, g := range p.Globals {
				g.Offset, g.Call.Offset = -1, -1 // of the array, which may be compressed
			}
			out.programs = append(out.programs, p)
		}
	}
	if out.programs == nil {
		return nil
	}
	out.addBounds()
	return out
}

// strayPickles looks into the pickles of an archive that NumPy does not load.
func (f *pickledFile) strayPickles(ctx context.Context) {
	src, err := source.Open(ctx, f.path)
	if err != nil {
		return // reported as unreadable
	}
	defer src.Close()
	list, _ := pytorch.Programs(src, src.Size()) // what is wrong with the archive is a fault of the file
	for _, p := range list {
		p.Stray = true
		f.programs = append(f.programs, p)
		f.faults = append(f.faults, f.fault(pytorch.Fault{
			Code: pytorch.CodeExtraPickle, Severity: pytorch.Warning, Offset: p.Offset,
			Detail: fmt.Sprintf("the archive has a pickle, %.100q, among arrays: NumPy does not load it, and other programs may", p.Place),
		}, ""))
	}
}

// lookForPickles returns nil for a file without pickles. The file of a checkpoint is open,
// unless it is broken.
func (s *subject) lookForPickles(path, ck string, file *pytorch.File) *pickledFile {
	src, err := source.Open(s.ctx, path)
	if err != nil {
		s.unread[path] = unreadable(path, err)
		return nil
	}
	defer src.Close()
	f := &pickledFile{path: path, checkpoint: ck, index: filepath.Base(path) == checkpoint.DistributedIndex}
	f.judged = ck != "" || slices.Contains(s.release.Others, path) || slices.ContainsFunc(s.release.Faults, func(flt checkpoint.Fault) bool { return flt.File == path })
	f.programs, err = pytorch.Programs(src, src.Size())
	switch {
	case err != nil:
		s.unread[path] = unreadable(path, err)
		return nil
	case len(f.programs) == 0:
		s.notePacked(src)
		return nil
	}
	f.addBounds()
	for _, o := range f.programs {
		if !o.Joblib {
			continue
		}
		f.index = true
		if flt, ok := errors.AsType[*pytorch.Fault](o.Err); ok && !o.Stray && !o.Inner {
			f.faults = append(f.faults, f.fault(*flt, ""))
		}
	}
	switch {
	case file != nil:
	case f.judged:
		return f
	default:
		file, err = pytorch.NewFile(src, src.Size())
	}
	if flt, ok := errors.AsType[*pytorch.Fault](err); ok {
		f.add(*flt)
	}
	if err != nil {
		return f
	}
	f.script = file.Script()
	f.index = f.index || file.Export()
	for _, t := range file.Subtrees() {
		if t.Optimizer {
			f.optimizers = append(f.optimizers, t)
		}
	}
	if len(f.optimizers) == 0 && file.IsState() {
		all := pytorch.Subtree{Optimizer: true, Listed: true}
		for _, t := range file.All() {
			bytes, _ := t.Bytes()
			all.Tensors, all.Bytes = all.Tensors+1, all.Bytes+bytes
		}
		f.optimizers = append(f.optimizers, all)
	}
	// The headers of members are all over the file: too many requests for one that is elsewhere.
	if !f.judged && source.Scheme(path) == "" {
		for _, flt := range file.Validate() {
			f.add(flt)
		}
	}
	return f
}

// addBounds notes the bounds that pickles pass of which the file itself has no fault: what is beyond
// one is not judged. Likewise it notes what unpicklers read in several ways.
func (f *pickledFile) addBounds() {
	for _, o := range f.programs {
		if flt, ok := errors.AsType[*pytorch.Fault](o.Err); ok && (o.Stray || o.Inner) && (byPyTorchCode[flt.Code] == "WT118" || flt.Code == pytorch.CodeFrame) {
			where := ""
			if o.Place != "" {
				where = o.Place + ": "
			}
			f.faults = append(f.faults, f.fault(*flt, where))
		}
	}
}

// add notes a fault, unless it is known.
func (f *pickledFile) add(flt pytorch.Fault) {
	// A file that is no checkpoint may be one of a trainer's, without tensors.
	if !f.judged && flt.Code != pytorch.CodeNotTorch && flt.Code != pytorch.CodeEmpty {
		f.faults = append(f.faults, f.fault(flt, ""))
	}
}

func (f *pickledFile) fault(flt pytorch.Fault, where string) checkpoint.Fault {
	return checkpoint.Fault{
		File: f.path, Code: string(flt.Code), Severity: checkpoint.Severity(flt.Severity), Offset: flt.Offset, Tensor: flt.Tensor, Detail: where + flt.Detail,
	}
}

// runArchive also reports the storages whose checksum is wrong, where their bytes were read.
func runArchive(p *Pass) {
	runFaults(p)
	if !p.opts.Values {
		return
	}
	for _, m := range p.models {
		for i, v := range m.measures().tensors {
			if f := wrongSum(v.err); f != nil && f.Offset < 0 { // otherwise of data.pkl, and reported
				p.report(m.finding(i, "%s", f.Detail))
			}
		}
	}
}

// wrongSum returns the fault of a storage whose checksum is wrong, nil for another error.
func wrongSum(err error) *checkpoint.Fault {
	f, ok := errors.AsType[*checkpoint.Fault](err)
	if !ok || f.Code != string(pytorch.CodeChecksum) {
		return nil
	}
	return f
}

// maxGlobalFindings bounds how many names of a file are findings of their own.
const maxGlobalFindings = 100

func runDangerousCode(p *Pass) {
	for _, f := range p.pickled() {
		n := 0
		for i := range f.programs {
			for _, g := range f.programs[i].Globals {
				found, row := gradeOf(g)
				if found != dangerous {
					continue
				}
				if n++; n > maxGlobalFindings {
					continue
				}
				message := fmt.Sprintf("%s %s, which %s", f.programs[i].Place, verb(g), row.Does)
				if f.programs[i].Place == "" {
					message = fmt.Sprintf("the pickle %s, which %s", verb(g), row.Does)
				}
				if f.programs[i].Stray {
					loader := "torch.load"
					if f.index {
						loader = "what reads the file"
					}
					message += "; " + loader + " does not run this pickle, other programs may"
				}
				if len(row.By) > 0 {
					message += " (" + row.source() + ")"
				}
				p.report(f.finding(g, message))
			}
		}
		if more := n - maxGlobalFindings; more > 0 {
			p.report(Finding{
				Checkpoint: f.checkpoint, File: f.path, Offset: -1, Count: more,
				Message: plural.Of(more, "more name") + " that can run commands, reach files or load other code",
			})
		}
	}
}

// Danger says what loading a file of torch.save does that WT710 finds, the calls first: "calls
// posix.system"; "" for nothing.
func Danger(globals []*pytorch.Global) string {
	var calls, imports []*pytorch.Global
	for _, g := range globals {
		if grade, _ := gradeOf(g); grade == dangerous && g.Calls > 0 {
			calls = append(calls, g)
		} else if grade == dangerous {
			imports = append(imports, g)
		}
	}
	const few = 3
	list := append(calls, imports...)
	text := verbs(list[:min(few, len(list))])
	if more := len(list) - few; more > 0 {
		text += ", and " + plural.Of(more, "more name")
	}
	return text
}

// verb says what a pickle does with a global.
func verb(g *pytorch.Global) string {
	if g.Calls == 0 {
		return "imports " + spelled(g)
	}
	return fmt.Sprintf("calls %s by %s", spelled(g), g.Call.Opcode)
}

// spelled returns the name of a global, printable and cut when it is long.
func spelled(g *pytorch.Global) string {
	const most = 100
	s := g.String()
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.Trim(strconv.Quote(s), `"`)
}

// finding returns a finding about a global.
func (f *pickledFile) finding(g *pytorch.Global, message string) Finding {
	at := g.Offset
	if g.Calls > 0 {
		at = g.Call.Offset
	}
	return Finding{Checkpoint: f.checkpoint, File: f.path, Offset: at, Message: message}
}

func runUnknownCode(p *Pass) {
	for _, f := range p.pickled() {
		byPackage := make(map[string][]*pytorch.Global)
		for _, g := range f.globals(unknown) {
			top, _, _ := strings.Cut(g.Module, ".")
			byPackage[top] = append(byPackage[top], g)
		}
		packages := slices.Sorted(maps.Keys(byPackage))
		for i, name := range packages {
			if i == maxGlobalFindings {
				p.report(Finding{
					Checkpoint: f.checkpoint, File: f.path, Offset: -1, Count: len(packages) - i,
					Message: "code of " + plural.Of(len(packages)-i, "more package") + " that is on no list",
				})
				break
			}
			list := byPackage[name]
			slices.SortStableFunc(list, func(a, b *pytorch.Global) int { return cmp.Compare(min(b.Calls, 1), min(a.Calls, 1)) })
			out := f.finding(list[0], "loading it "+verbs(list)+", on no list of harmless or dangerous names")
			out.Count = len(list)
			p.report(out)
		}
	}
}

// globals returns what the pickles of a file import of a grade, each once.
func (f *pickledFile) globals(of grade) []*pytorch.Global {
	var list []*pytorch.Global
	seen := make(map[[2]string]bool)
	for i := range f.programs {
		for _, g := range f.programs[i].Globals {
			key := [2]string{g.Module, g.Name}
			if found, _ := gradeOf(g); found == of && !seen[key] && !(f.script && found < dangerous && isScripts(g)) {
				seen[key] = true
				list = append(list, g)
			}
		}
	}
	return list
}

// isScripts reports whether a name is what every archive of TorchScript has: a class that is in its own
// code, or a function that returns its first argument.
func isScripts(g *pytorch.Global) bool {
	return g.Module == "torch.jit._pickle" || g.Module == "__torch__" || strings.HasPrefix(g.Module, "__torch__.")
}

// verbs says what a pickle does with several globals.
func verbs(list []*pytorch.Global) string {
	words := make([]string, len(list))
	for i, g := range list {
		words[i] = verb(g)
	}
	return plural.List(words)
}

func runNotWeightsOnly(p *Pass) {
	for _, f := range p.pickled() {
		if f.index {
			continue
		}
		list := f.globals(harmless)
		var words []string
		if f.script { // serialization.py, load
			words = append(words, "it is an archive of TorchScript, whose code torch.jit.load compiles")
		}
		if len(list) > 0 {
			words = append(words, "it "+verbs(list))
		}
		at := int64(-1)
		for i := range f.programs {
			if o := &f.programs[i]; o.Refused != "" && !o.Stray {
				words = append(words, "it has the opcode "+o.Refused)
				at = o.RefusedAt
				break
			}
		}
		if len(words) == 0 || len(f.globals(dangerous)) > 0 {
			continue
		}
		out := Finding{Checkpoint: f.checkpoint, File: f.path, Offset: at, Count: max(len(list), 1)}
		if len(list) > 0 {
			out.Offset = f.finding(list[0], "").Offset
		}
		out.Message = "torch.load refuses it with weights_only, its default: " + strings.Join(words, ", and ")
		p.report(out)
	}
}

func runOptimizerState(p *Pass) {
	for _, f := range p.pickled() {
		for _, t := range f.optimizers {
			if t.Tensors == 0 {
				continue
			}
			what := fmt.Sprintf("%.100q is", t.Path)
			if t.Path == "" {
				what = "the whole file is"
			}
			p.report(Finding{
				Checkpoint: f.checkpoint, File: f.path, Offset: -1,
				Message: fmt.Sprintf("%s the state of an optimiser: %s, %s", what, plural.Of(t.Tensors, "tensor"), plural.Of(t.Bytes, "byte")),
			})
		}
	}
}
