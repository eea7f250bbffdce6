package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/wtinspect/wtinspect/internal/compare"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/template"
)

// A CatForm is what the numbers of tensors are read for.
type CatForm string

// The forms of [CatOptions]. CatText is for people: of more than 1,000 numbers only the
// first and the last of each axis are read. CatNPY is a file of NumPy, CatRaw the bytes as
// they are in the file.
const (
	CatText CatForm = "text"
	CatJSON CatForm = "json"
	CatNPY  CatForm = "npy"
	CatRaw  CatForm = "raw"
)

// Binary reports whether a form is for programs alone, and of one tensor.
func (f CatForm) Binary() bool { return f == CatNPY || f == CatRaw }

// CatOptions say what [Cat] reads.
type CatOptions struct {
	// Names are whole names of tensors, or globs of them as in a [Selection].
	Names []string
	// Select chooses more by Match and Regex, and leaves out what Exclude matches.
	Select Selection
	// Slice is the part of each tensor that is read, nil for all.
	Slice *Slice
	// DType is the type that the numbers are given, F16, F32 or F64; "" for their own.
	// One that would round a number is an error.
	DType string
	// Form is CatJSON by default.
	Form CatForm
	// Progress is told how many bytes are done.
	Progress func(done, total int64)
}

// CatDTypes are the types of [CatOptions].DType.
func CatDTypes() []string { return []string{"F16", "F32", "F64"} }

// A CatResult is the numbers of tensors, which are read when they are asked for, in the
// context of [Cat].
type CatResult struct {
	Checkpoints []CheckpointName `json:"checkpoints"`
	Tensors     []CatTensor      `json:"tensors"`
	Faults      Seq[Fault]       `json:"faults"`
}

// A CatTensor is the numbers of a tensor, or of a slice of it.
type CatTensor struct {
	Tensor
	// Slice is the part of the tensor, nil for all.
	Slice *Slice
	// ValuesShape is the shape of the numbers.
	ValuesShape []uint64
	// ValuesDType is their type: the tensor's own, F32 where it stores them in blocks, or
	// the one asked for.
	ValuesDType string
	// Shown is how many numbers are read along each axis of ValuesShape: with CatText fewer
	// than there are where the middle is left out.
	Shown []uint64
	// Bits says that NumPy has no such type, so that a .npy file holds the bits of the
	// numbers as unsigned integers.
	Bits bool
	// Beside are the tensors, such as scales, that the numbers of a quantised weight take
	// besides. What is read is the weight alone, as it is stored.
	Beside []string
	// Err says why there are no numbers.
	Err error

	ctx      context.Context
	form     CatForm
	picked   *values.Picked
	typ      *values.Type                      // of the numbers
	widen    func(dst, elements []byte) []byte // nil: as they are read
	progress func(n int64)
}

type jsonCat struct {
	jsonName
	// File is relative to the directory of the checkpoint.
	File       *string `json:"file"`
	FileBase64 []byte  `json:"file_base64,omitempty"`
	// Slice is the part of the tensor as NumPy has it between brackets, nil for all.
	Slice *string `json:"slice"`
	// ValuesShape is the shape of Values.
	ValuesShape []uint64 `json:"values_shape"`
	// ValuesDType is the type of Values: the tensor's own, F32 where it stores numbers in
	// blocks, or the one that --dtype asks for.
	ValuesDType *string `json:"values_dtype"`
	// Error says why there are no Values.
	Error       *string `json:"error"`
	ErrorBase64 []byte  `json:"error_base64,omitempty"`
	// Values are nested arrays of numbers, of booleans for BOOL and of pairs of numbers for
	// C64; a number or the like for a scalar, an empty array where there is no element. A
	// number read as a float64 is the tensor's exactly. NaN and infinities are strings.
	Values any `json:"values"`
}

// Cat reads the numbers of tensors. A name that no tensor has is an error; what is wrong
// with one tensor is in its Err.
func Cat(ctx context.Context, set *Set, opts *CatOptions) (*CatResult, error) {
	if opts == nil {
		opts = new(CatOptions)
	}
	chosen, err := opts.choose(set)
	if err != nil {
		return nil, err
	}
	r := &CatResult{Checkpoints: names(set.Checkpoints), Tensors: []CatTensor{}, Faults: set.Faults()}
	reach := newReach(ctx)
	var total int64
	weights := make(map[int]map[int][]string) // of each checkpoint that is asked
	for _, at := range chosen {
		c := set.Checkpoints[at[0]]
		t := c.At(at[1])
		if mayBeCodes(t.DType) && weights[at[0]] == nil {
			weights[at[0]] = quantised(c)
		}
		r.Tensors = append(r.Tensors, CatTensor{Tensor: Tensor{Checkpoint: at[0], Tensor: t}, Slice: opts.Slice, ctx: ctx, form: opts.Form})
		one := &r.Tensors[len(r.Tensors)-1]
		one.Beside = weights[at[0]][at[1]]
		if t.File >= 0 {
			one.FileName = c.Files[t.File].Name
		}
		section, err := compare.Section(c, at[1])
		if err != nil {
			one.Err = err
			continue
		}
		if err := one.prepare(section, opts); err != nil {
			one.Err = inFile(c, t.File, fmt.Errorf("tensor %q: %w", t.Name, err))
			continue
		}
		n := one.picked.Bytes()
		total += n
		reach.addFile(c, c.Files[t.File], float64(n))
	}
	if err := reach.allow(); err != nil {
		return nil, err
	}
	progress := counter(opts.Progress, total)
	for i := range r.Tensors {
		r.Tensors[i].progress = progress
	}
	return r, nil
}

// Errors returns what cannot be read.
func (r *CatResult) Errors() []error {
	var out []error
	for i := range r.Tensors {
		if err := r.Tensors[i].Err; err != nil {
			out = append(out, err)
		}
	}
	return out
}

// WriteDir writes a file for each tensor into a new directory, all of them or none. The
// files have the names of the tensors, with % and two hexadecimal digits for every byte that
// is not a letter, a digit or one of _ - and, but for the first, a point. With replace the
// directory may exist, if it has no other files.
func (r *CatResult) WriteDir(dir string, replace bool) (err error) {
	draft, err := txn.NewDraft(txn.OS{}, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(draft.Named(err), draft.Close()) }()
	var old []string // may be replaced
	if replace {
		old = []string{}
		for i := range r.Tensors {
			old = append(old, r.Tensors[i].fileName())
		}
	}
	if err := draft.Check(old); err != nil {
		return existing(err)
	}
	if err := draft.Dir().Mkdir(draft.Name(), 0o777); err != nil {
		return err
	}
	for i := range r.Tensors {
		t := &r.Tensors[i]
		err := txn.WriteNew(draft.Dir(), path.Join(draft.Name(), t.fileName()), t.Write)
		switch {
		case errors.Is(err, fs.ErrExist):
			return fmt.Errorf("tensor %q: the file of another has the same name; write them one by one", t.Name)
		case errors.Is(err, syscall.ENAMETOOLONG):
			return fmt.Errorf("tensor %q: its name is too long for a file; write it by itself, to a file that you name", t.Name)
		case err != nil:
			return err
		}
	}
	if err := txn.SyncDir(draft.Dir(), draft.Name()); err != nil {
		return err
	}
	return existing(draft.Publish(old))
}

// existing adds to the error of a destination that exists what to do.
func existing(err error) error {
	if e, ok := errors.AsType[*txn.ExistsError](err); ok && len(e.Lost) == 0 {
		return fmt.Errorf("%w; name another directory, or use --force", err)
	}
	return err
}

// fileName is what a tensor's file is called.
func (t *CatTensor) fileName() string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."
	var b strings.Builder
	for i := range len(t.Name) {
		if c := t.Name[i]; strings.IndexByte(letters, c) >= 0 && (i > 0 || c != '.') {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if t.Name == "" {
		b.WriteByte('%')
	}
	if t.form == CatNPY {
		return b.String() + ".npy"
	}
	return b.String() + ".bin"
}

// choose returns the places of the tensors that are named, checkpoint and index in it, in
// the order of the names.
func (o *CatOptions) choose(set *Set) ([][2]int, error) {
	exclude, err := parseGlobs("exclude", o.Select.Exclude)
	if err != nil {
		return nil, err
	}
	var out [][2]int
	have := make(map[[2]int]bool)
	add := func(match func(name string) bool) (found bool) {
		for k, c := range set.Checkpoints {
			for i, t := range c.All() {
				if !match(t.Name) {
					continue
				}
				found = true
				at := [2]int{k, i}
				if !have[at] && !slices.ContainsFunc(exclude, func(g template.Glob) bool { return g.Match(t.Name) }) {
					have[at] = true
					out = append(out, at)
				}
			}
		}
		return found
	}
	var errs []error
	for _, name := range o.Names {
		if add(func(n string) bool { return n == name }) {
			continue
		}
		glob, err := template.ParseGlob(name)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%q: no tensor has this name, and it is no pattern either: %w", name, err))
		case !add(glob.Match):
			errs = append(errs, noTensor(set, name))
		}
	}
	if len(o.Select.Match)+len(o.Select.Regex) > 0 {
		more := Selection{Match: o.Select.Match, Regex: o.Select.Regex}
		match, err := more.Compile()
		if err != nil {
			return nil, err
		}
		add(match)
	}
	return out, errors.Join(errs...)
}

// noTensor says that no tensor has a name, or is matched by it, and which may be meant.
func noTensor(set *Set, name string) error {
	where := "the checkpoint"
	if len(set.Checkpoints) == 1 {
		where = set.Checkpoints[0].Path
	}
	if strings.Contains(name, "*") {
		return fmt.Errorf("%s: no tensor matches %q; 'wtinspect ls' lists them", where, name)
	}
	var all []string
	for _, c := range set.Checkpoints {
		for _, t := range c.All() {
			all = append(all, t.Name)
		}
	}
	hint := template.DidYouMean(name, all)
	if hint == "" {
		hint = "; 'wtinspect ls' lists them"
	}
	return fmt.Errorf("%s: no tensor is called %q%s", where, name, hint)
}

// prepare finds what is read of a tensor, or why it cannot be.
func (t *CatTensor) prepare(s values.Section, o *CatOptions) error {
	if s.Type == nil && o.Form == CatRaw && o.Slice == nil {
		n := s.Data.Size()
		s.Type, _ = values.Lookup("U8")
		t.picked = values.Pick(s, []uint64{uint64(n)}, []values.Range{{Step: 1, N: n}})
		return nil
	}
	if s.Type == nil {
		return fmt.Errorf("this version does not know the numbers of %s", t.DType)
	}
	axes, kept, err := o.Slice.of(t.Shape)
	if err != nil {
		return err
	}
	if o.Form == CatText {
		shorten(axes)
	}
	t.ValuesShape, t.Shown = []uint64{}, []uint64{}
	for _, axis := range kept {
		t.ValuesShape = append(t.ValuesShape, uint64(axes[axis].N))
		t.Shown = append(t.Shown, uint64(axes[axis].Len()))
	}
	t.picked = values.Pick(s, t.Shape, axes)
	t.typ = t.picked.Type()
	n := len(t.ValuesShape)
	switch {
	case o.Form == CatRaw && o.DType != "":
		return errors.New("-f raw is the bytes as they are, without --dtype")
	case o.Form == CatRaw && !t.picked.WholeBlocks():
		return fmt.Errorf("%s stores %d numbers in a block, and the slice %s takes blocks apart; take whole rows, or multiples of %d along the last axis, or another format",
			t.DType, s.Type.BlockElems, o.Slice, s.Type.BlockElems)
	case o.Form != CatRaw && n > mostAxes:
		return fmt.Errorf("it has %d axes, and an array of numbers has %d at most; -f raw gives its bytes", n, mostAxes)
	}
	if o.DType != "" {
		to, ok := values.Lookup(o.DType)
		if !ok || !slices.Contains(CatDTypes(), o.DType) {
			return fmt.Errorf("dtype %q: must be one of: %s", o.DType, strings.Join(CatDTypes(), ", "))
		}
		if t.widen = t.typ.Widen(to); t.widen == nil {
			return fmt.Errorf("%s does not hold every number of %s, and nothing is rounded here", o.DType, t.DType)
		}
		t.typ = to
	}
	t.ValuesDType = t.typ.Name
	t.Bits = o.Form == CatNPY && t.typ.Kind() == values.Float && npyTypes[t.typ.Name][1] == 'u'
	return nil
}

// mostAxes is how deep brackets are nested, as in NumPy 2; NumPy 1 has 32.
const mostAxes = 64

// mostShown is how many numbers are shown whole, and edgeShown how many at each end of an
// axis otherwise: NumPy's threshold and edgeitems.
const (
	mostShown = 1000
	edgeShown = 3
	// mostEdges bounds a summary of many axes, which has fewer at each end.
	mostEdges = 10_000
)

// shorten leaves the middle of long axes out where there are many numbers.
func shorten(axes []values.Range) {
	count := func(most int64) int64 {
		n := int64(1)
		for _, a := range axes {
			if n *= min(a.N, most); n > mostEdges {
				break // and no further: it may not fit
			}
		}
		return n
	}
	if count(mostShown+1) <= mostShown {
		return
	}
	edge := int64(edgeShown)
	for edge > 1 && count(2*edge) > mostEdges {
		edge--
	}
	for i := range axes {
		axes[i].Edge = edge
	}
}

// A Number is an element, or one of the two parts of a complex one.
type Number struct {
	// Value is the number; an integer of 64 bits may be rounded.
	Value float64
	// Digits are the fewest that are read back as the number in its own type, such as
	// -1.5e-05, or NaN, +Inf, -Inf; all digits of an integer.
	Digits string
}

// Kind is what the numbers are: integer, float, bool or complex.
func (t *CatTensor) Kind() string {
	switch t.typ.Kind() {
	case values.Bool:
		return "bool"
	case values.Integer:
		return "integer"
	case values.Complex:
		return "complex"
	}
	return "float"
}

// Numbers reads the numbers, those of Shown, into memory.
func (t *CatTensor) Numbers() ([]Number, error) {
	var out []Number
	size := t.typ.BlockBytes
	err := t.elements(func(b []byte) error {
		for ; len(b) > 0; b = b[size:] {
			v, digits := t.typ.Digits(b[:size])
			for i := range t.typ.Parts {
				out = append(out, Number{v[i], digits[i]})
			}
		}
		return nil
	})
	return out, err
}

// elements reads the elements.
func (t *CatTensor) elements(yield func(elements []byte) error) error {
	if t.Err != nil {
		return t.Err
	}
	if t.widen == nil {
		return t.picked.Read(t.ctx, t.progress, yield)
	}
	var buf []byte
	return t.picked.Read(t.ctx, t.progress, func(b []byte) error {
		buf = t.widen(buf[:0], b)
		return yield(buf)
	})
}

// Write writes the numbers in a form for programs: CatJSON, CatNPY or CatRaw, the one that
// was asked for.
func (t *CatTensor) Write(w io.Writer) error {
	switch {
	case t.form != CatRaw && t.form != CatNPY:
		return t.WriteJSON(w)
	case t.Err != nil:
		return t.Err
	case t.form == CatNPY:
		return t.writeNPY(w)
	}
	return t.picked.ReadStored(t.ctx, t.progress, func(b []byte) error {
		_, err := w.Write(b)
		return err
	})
}

func (t *CatTensor) writeNPY(w io.Writer) error {
	if err := writeNPYHeader(w, npyTypes[t.ValuesDType], t.ValuesShape); err != nil {
		return err
	}
	return t.elements(func(b []byte) error {
		if t.ValuesDType == "BOOL" {
			for i := range b { // NumPy has no true but 1
				b[i] = min(b[i], 1)
			}
		}
		_, err := w.Write(b)
		return err
	})
}

// MarshalJSON implements [json.Marshaler].
func (t CatTensor) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	err := t.WriteJSON(&b)
	return b.Bytes(), err
}

// WriteJSON writes the tensor as -f json has it, piece by piece.
func (t CatTensor) WriteJSON(w io.Writer) error {
	j := jsonCat{jsonName: t.jsonName(), File: some(t.FileName), FileBase64: notUTF8(t.FileName)}
	if t.Slice != nil {
		j.Slice = some(t.Slice.String())
	}
	j.Error, j.ErrorBase64 = errorText(t.Err)
	if t.Err == nil {
		j.ValuesShape, j.ValuesDType = t.ValuesShape, &t.ValuesDType
	}
	head, err := render.Marshal(j)
	if err != nil || t.Err != nil {
		if err == nil {
			_, err = w.Write(head)
		}
		return err
	}
	out := bytes.TrimSuffix(head, []byte("null}")) // in place of the values
	n := nest{shape: t.Shown, at: make([]uint64, len(t.Shown))}
	if t.picked.Len() == 0 {
		out = append(out, "[]"...)
	}
	number, size := t.typ.JSON(), t.typ.BlockBytes
	err = t.elements(func(b []byte) error {
		for ; len(b) > 0; b = b[size:] {
			out = n.open(out)
			out = number(out, b[:size])
			out = n.close(out)
		}
		_, err := w.Write(out)
		out = out[:0]
		return err
	})
	if err != nil {
		return err
	}
	_, err = w.Write(append(out, '}'))
	return err
}

// A nest puts brackets and commas around the elements of an array.
type nest struct{ shape, at []uint64 }

// open appends what is in front of an element.
func (n *nest) open(dst []byte) []byte {
	begins := 0
	for i := len(n.at) - 1; i >= 0 && n.at[i] == 0; i-- {
		begins++
	}
	if begins < len(n.at) {
		dst = append(dst, ',')
	}
	for range begins {
		dst = append(dst, '[')
	}
	return dst
}

// close appends the brackets that an element is the last in.
func (n *nest) close(dst []byte) []byte {
	for i := len(n.at) - 1; i >= 0; i-- {
		if n.at[i]++; n.at[i] < n.shape[i] {
			break
		}
		n.at[i] = 0
		dst = append(dst, ']')
	}
	return dst
}
