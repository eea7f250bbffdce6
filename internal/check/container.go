package check

import (
	"slices"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/numpy"
	"github.com/wtinspect/wtinspect/pytorch"
	"github.com/wtinspect/wtinspect/safetensors"
)

// byCode says which rule a fault of the container belongs to. What is not
// listed is WT101's: an unreadable file.
var byCode = map[string]string{
	string(gguf.CodeDataTruncated): "WT102",

	string(gguf.CodeTrailingData): "WT103",

	string(gguf.CodeOverlap): "WT104",

	string(gguf.CodeGap): "WT105",

	string(safetensors.CodeDuplicateName): "WT106",
	string(gguf.CodeDuplicateTensor):      "WT106",

	string(safetensors.CodeTensorInfo): "WT107",
	string(safetensors.CodeOverflow):   "WT107",
	string(safetensors.CodeMisaligned): "WT107",
	string(safetensors.CodeAbsurdDim):  "WT107",
	string(safetensors.CodeOffset):     "WT107",
	string(gguf.CodeBadDim):            "WT107",
	string(gguf.CodeDimsOverflow):      "WT107",
	string(gguf.CodeManyDims):          "WT107",
	string(gguf.CodeTooManyDims):       "WT107",
	string(gguf.CodeNoDims):            "WT107",
	string(gguf.CodeZeroElements):      "WT107",
	string(gguf.CodeRowNotMultiple):    "WT107",

	string(safetensors.CodeUnknownDType): "WT108",
	string(gguf.CodeUnknownType):         "WT108",
	string(gguf.CodeRemovedType):         "WT108",

	string(safetensors.CodeLeadingSpace):    "WT110",
	string(safetensors.CodePadding):         "WT110",
	string(safetensors.CodeUnalignedHeader): "WT110",
	string(safetensors.CodeUnalignedTensor): "WT110",
	string(safetensors.CodeUnknownField):    "WT110",

	string(safetensors.CodeDuplicateKey): "WT111",
	string(gguf.CodeEmptyKey):            "WT111",
	string(gguf.CodeNULInKey):            "WT111",
	string(gguf.CodeKeyStyle):            "WT111",
	string(gguf.CodeKeyTooLong):          "WT111",
	string(gguf.CodeBadBool):             "WT111",
	string(gguf.CodeNestedArray):         "WT111",
	string(gguf.CodeArchType):            "WT111",
	string(gguf.CodeBadArch):             "WT111",
	string(gguf.CodeUnknownFtype):        "WT111",
	string(gguf.CodeBadByteToken):        "WT111",

	string(safetensors.CodeEmptyName):     "WT112",
	string(safetensors.CodePathLikeName):  "WT112",
	string(safetensors.CodeControlChars):  "WT112",
	string(safetensors.CodeAmbiguousName): "WT112",
	string(safetensors.CodeCaseCollision): "WT112",
	string(gguf.CodeInvalidUTF8):          "WT112",
	string(gguf.CodeNULInName):            "WT112",

	string(gguf.CodeOldVersion):         "WT113",
	string(gguf.CodeBigEndian):          "WT113",
	string(gguf.CodeNonstandardMagic):   "WT113",
	string(gguf.CodeUnsupportedVersion): "WT113",
	string(gguf.CodeEmpty):              "WT113",

	string(gguf.CodeAlignmentType):   "WT114",
	string(gguf.CodeBadAlignment):    "WT114",
	string(gguf.CodeSmallAlignment):  "WT114",
	string(gguf.CodeUnalignedOffset): "WT114",
	string(gguf.CodeUnpaddedEnd):     "WT114",

	string(gguf.CodeOutOfOrder): "WT115",

	string(gguf.CodeLongName):    "WT116",
	string(gguf.CodeNameTooLong): "WT116",

	string(gguf.CodeNonzeroPadding): "WT117",

	string(safetensors.CodeLimit): "WT118",
	string(safetensors.CodeDepth): "WT118",

	checkpoint.CodeMissingShard:   "WT201",
	string(gguf.CodeMissingSplit): "WT201",

	checkpoint.CodeMissingTensor:   "WT202",
	checkpoint.CodeMisplacedTensor: "WT203",
	checkpoint.CodeUnmappedTensor:  "WT204",
	checkpoint.CodeOrphanShard:     "WT205",
	checkpoint.CodeEmptyShard:      "WT218",
	checkpoint.CodeDuplicateTensor: "WT206",

	checkpoint.CodeTotalSize:           "WT207",
	checkpoint.CodeTotalSizeFiles:      "WT207",
	string(safetensors.CodeNoMetadata): "WT207",
	string(safetensors.CodeNumberForm): "WT207",

	checkpoint.CodeBadOrdinal:              "WT209",
	checkpoint.CodeMixedTotals:             "WT209",
	string(safetensors.CodeMissingOrdinal): "WT209",

	string(safetensors.CodeUnsafePath): "WT210",
	string(safetensors.CodeOddPath):    "WT210",
	checkpoint.CodeSymlinkEscape:       "WT210",

	string(safetensors.CodeIndexUTF8):      "WT213",
	string(safetensors.CodeIndexJSON):      "WT213",
	string(safetensors.CodeIndexType):      "WT213",
	string(safetensors.CodeIndexNotObject): "WT213",
	string(safetensors.CodeIndexTrailing):  "WT213",
	string(safetensors.CodeNoWeightMap):    "WT213",
	string(safetensors.CodeIndexDuplicate): "WT213",

	string(gguf.CodeSplitType):         "WT214",
	string(gguf.CodeSplitInconsistent): "WT214",

	checkpoint.CodeIgnored:     "WT215",
	checkpoint.CodeBadDocument: "WT301",
}

// byHint narrows a code down.
var byHint = map[string]string{
	safetensors.HintTruncated:   "WT102",
	safetensors.HintTrailing:    "WT103",
	safetensors.HintOverlap:     "WT104",
	safetensors.HintHole:        "WT105",
	safetensors.HintReversed:    "WT107",
	safetensors.HintNULPadding:  "WT109",
	safetensors.HintLFSPointer:  "WT901",
	safetensors.HintHTML:        "WT902",
	safetensors.HintZip:         "WT902",
	safetensors.HintPickle:      "WT902",
	safetensors.HintAppleDouble: "WT902",
}

// ruleOf returns the ID of the rule that a fault of a file in some format belongs to, "" for
// a release.
func ruleOf(format checkpoint.Format, f *checkpoint.Fault) string {
	switch format {
	case checkpoint.PyTorch:
		if id, ok := byPyTorchCode[pytorch.Code(f.Code)]; ok {
			return id
		}
	case checkpoint.NumPy:
		if id, ok := byNumPyCode[numpy.Code(f.Code)]; ok {
			return id
		}
		if id, ok := byPyTorchCode[pytorch.Code(f.Code)]; ok { // of the archive
			return id
		}
	}
	if id, ok := byHint[f.Hint]; ok {
		return id
	}
	if id, ok := byCode[f.Code]; ok {
		return id
	}
	return "WT101"
}

// runFaults reports the faults that belong to the rule at work.
func runFaults(p *Pass) {
	for i := range p.release.Faults {
		p.fault(nil, "", p.release.Faults[i])
	}
	for _, m := range p.models {
		faults := m.faults()
		for i := range faults {
			p.fault(m, m.Format, faults[i])
		}
	}
	for _, f := range p.pickled() {
		for i := range f.faults {
			p.fault(nil, checkpoint.PyTorch, f.faults[i])
		}
	}
}

// fault reports a fault of a checkpoint, or, when m is nil, of the release or a file beside
// its checkpoints.
func (p *Pass) fault(m *model, format checkpoint.Format, f checkpoint.Fault) {
	if ruleOf(format, &f) != p.rule.ID {
		return
	}
	out := Finding{File: f.File, Offset: f.Offset, Tensor: f.Tensor, Message: f.Detail, Fixable: p.rule.ID == "WT109"}
	if m != nil {
		// A new index is only made of shards that are all there.
		out.Checkpoint, out.Fixable = m.Path, out.Fixable || !m.partial()
	}
	if f.Code == string(safetensors.CodeUnalignedTensor) {
		out.cause = f.Code // one tensor of an odd size moves all that follow
	}
	s := f.Severity
	if f.Code == string(gguf.CodeManyDims) && p.opts.Profile != LlamaCpp {
		return
	}
	if m != nil && m.Format == checkpoint.GGUF && slices.Contains(refusedByGGML, gguf.Code(f.Code)) {
		s = checkpoint.Error
	}
	if own, ok := p.rule.Profiles[p.opts.Profile]; ok {
		s = own
	}
	if p.opts.Profile == LlamaCpp && m != nil && m.Format == checkpoint.GGUF && gguf.RefusedByLlamaCpp(gguf.Code(f.Code)) {
		s = checkpoint.Error
	}
	p.grade(s, out)
}

// refusedByGGML are what the reference reader refuses and others read
// (ggml/src/gguf.cpp, gguf_init_from_reader).
var refusedByGGML = []gguf.Code{gguf.CodeDuplicateKey, gguf.CodeNestedArray, gguf.CodeLongName, gguf.CodeOutOfOrder, gguf.CodeGap}

var containerRules = []*Rule{
	{
		ID: "WT101", Name: "unreadable-file", Severity: checkpoint.Error, run: runFaults,
		Title: "a file is there and cannot be read as weights",
		Doc: `The header is cut short, is not what the format says, or the file system refuses to
read it. Nothing that follows from the file's absence is reported beside it.`,
		Bad:  "model.safetensors of 5 bytes",
		Good: "a file whose header can be read to its end",
	},
	{
		ID: "WT102", Name: "truncated-data", Severity: checkpoint.Error, run: runFaults,
		Title: "the file is shorter than its header says",
		Doc: `The download or the upload was cut short. Readers that map the file see zeros where
the bytes are missing, and a model that answers with gibberish. Fetch or upload the
file again; the offset says which tensor is the first to lack bytes.`,
		Bad:  "a shard that ends 301 MB before its last tensor does",
		Good: "a file that ends where its last tensor ends",
	},
	{
		ID: "WT103", Name: "trailing-data", Severity: checkpoint.Error, run: runFaults,
		Title: "bytes follow the last tensor",
		Doc: `No tensor owns them, so no reader looks at them: they are left from a longer file, or
hidden there. The reference reader of safetensors refuses the file; GGUF readers do
not look, which makes it a warning there.`,
		Bad:  "a zip archive appended to model.safetensors",
		Good: "a file that ends where its last tensor ends",
	},
	{
		ID: "WT104", Name: "overlapping-tensors", Severity: checkpoint.Error, run: runFaults,
		Title: "two tensors share bytes",
		Doc:   `Each tensor must have bytes of its own; the reference readers refuse the file.`,
		Bad:   "a at [0,16] and b at [8,24]",
		Good:  "a at [0,16] and b at [16,32]",
	},
	{
		ID: "WT105", Name: "gap-between-tensors", Severity: checkpoint.Error, run: runFaults,
		Title: "bytes between two tensors belong to none",
		Doc: `The reference readers of both formats refuse holes, because they can hide data. In GGUF
data that are not in the order of the tensors are one, too.`,
		Bad:  "a at [0,16] and b at [24,40]",
		Good: "a at [0,16] and b at [16,32]",
	},
	{
		ID: "WT106", Name: "duplicate-name", Severity: checkpoint.Error, run: runFaults,
		Title: "two tensors of one file have the same name",
		Doc:   `Readers differ in which of the two they take, so that the model depends on the reader.`,
		Bad:   "blk.0.ffn_up.weight twice",
		Good:  "every name once",
	},
	{
		ID: "WT107", Name: "impossible-size", Severity: checkpoint.Error, run: runFaults,
		Title: "dtype and shape contradict the bytes of the tensor",
		Doc: `The product of shape and element size is not the length of the tensor's data, or no
possible length at all. A reader that believes one and allocates by the other is
what memory errors are made of.`,
		Bad:  "F32 [2,2] in 4 bytes",
		Good: "F32 [2,2] in 16 bytes",
	},
	{
		ID: "WT108", Name: "unknown-dtype", Severity: checkpoint.Error, run: runFaults,
		Title: "an element type that this version does not know, or that its format has given up",
		Doc: `The file may be newer than this program, or the type a misspelling. Types of forks of
llama.cpp (such as IQ4_K) load in those forks alone.`,
		Bad:  "dtype bf16, ggml type 139",
		Good: "dtype BF16, ggml type 12 (Q4_K)",
	},
	{
		ID: "WT109", Name: "nul-padding", Severity: checkpoint.Error, run: runFaults,
		Title: "the safetensors header is padded with NUL bytes",
		Doc: `The format pads with spaces. Lenient readers accept NUL bytes, the reference reader
does not.`,
		Bad: `{"w":{…}}\0\0\0`, Good: `{"w":{…}} followed by spaces`,
		Fix: &Fix{Kind: FixPadding, Doc: "writes spaces over the NUL bytes"},
	},
	{
		ID: "WT110", Name: "header-form", Severity: checkpoint.Warning, run: runFaults,
		Title: "the header is spaced, aligned or filled in an unusual way",
		Doc: `Leading white space, padding with other white space than spaces, data that does not
begin at a multiple of 8 or of the element size, and members beside dtype, shape and
data_offsets are allowed or tolerated, and refused or copied slowly by some readers.`,
		Bad: "a header that begins with a newline", Good: "a header as the reference writes it",
	},
	{
		ID: "WT111", Name: "odd-metadata", Severity: checkpoint.Warning, run: runFaults,
		Title: "a metadata key or value has a form that readers disagree about",
		Doc: `Keys given twice, empty or too long; GGUF keys that are not lower_snake_case, booleans
that are neither 0 nor 1, arrays in arrays, an architecture that is not a word, a
file type that llama.cpp never had, byte tokens that are not <0x00> to <0xFF>. A GGUF
key that is given twice, and arrays in arrays, are errors: ggml refuses the file.`,
		Bad: "format given twice in __metadata__", Good: "every key once",
	},
	{
		ID: "WT112", Name: "odd-name", Severity: checkpoint.Warning, run: runFaults,
		Title: "a name that people or programs can mistake",
		Doc: `Empty names, names with control or direction-changing characters, with white space or
dots at their ends, names that look like paths out of a directory, names that differ
in case alone, and bytes that are not UTF-8. In PyTorch files also names made of keys that are neither text nor
whole numbers.`,
		Bad: `"../w", "w ", "W" beside "w"`, Good: `"w"`,
	},
	{
		ID: "WT113", Name: "gguf-version", Severity: checkpoint.Warning, run: runFaults,
		Title: "a GGUF version, byte order or magic that few programs read",
		Doc: `llama.cpp reads versions 2 and 3 in the byte order of its machine. With
--profile llama.cpp what it refuses is an error.`,
		Bad: "GGUF v1, or big-endian", Good: "GGUF v3, little-endian",
	},
	{
		ID: "WT114", Name: "gguf-alignment", Severity: checkpoint.Error, run: runFaults,
		Title: "GGUF data is not aligned as the file says",
		Doc: `general.alignment is a u32 and a power of two, and every tensor begins at a multiple
of it.`,
		Bad: "general.alignment = 24", Good: "general.alignment = 32",
	},
	{
		ID: "WT115", Name: "gguf-order", Severity: checkpoint.Error, run: runFaults,
		Title: "GGUF data is not in the order of the tensor infos",
		Doc:   `ggml asks for each tensor's data where those before it end, and refuses the file.`,
		Bad:   "the second tensor's data before the first's", Good: "data in the order of the infos",
	},
	{
		ID: "WT116", Name: "gguf-name-too-long", Severity: checkpoint.Error, run: runFaults,
		Title: "a GGUF tensor name of 64 bytes or more",
		Doc: `ggml keeps names in 64 bytes with a terminating NUL. llama.cpp refuses longer names,
and other programs cut them silently, so that two tensors can become one.`,
		Bad: "a name of 64 bytes", Good: "a name of at most 63 bytes",
	},
	{
		ID: "WT117", Name: "hidden-data", Severity: checkpoint.Warning, run: runFaults,
		Title: "padding between GGUF tensors is not zero",
		Doc:   `Readers skip padding, so that it can hold anything. Writers fill it with zeros.`,
		Bad:   "text between two tensors", Good: "zeros between two tensors",
	},
	{
		ID: "WT118", Name: "beyond-limits", Severity: checkpoint.Error, run: runFaults,
		Title: "a header beyond the limits of readers",
		Doc: `More nesting, dimensions, entries or bytes than any honest file needs. The limits are
those of the reference readers where they have some.`,
		Bad: "a tensor of 5,000 dimensions", Good: "a tensor of 4 dimensions",
	},
}
