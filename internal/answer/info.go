package answer

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// InfoOptions adjust [Info].
type InfoOptions struct {
	Options
	// Long says all of each checkpoint where there are several, which are a line each
	// without it.
	Long bool
}

// Info prints what checkpoints are.
func Info(w io.Writer, r *inspect.InfoResult, o InfoOptions) error {
	switch {
	case o.Format == render.TableFormat && o.Style.Columns == nil && (o.Long || len(r.Checkpoints) < 2):
		for k, i := range r.Checkpoints {
			if k > 0 {
				if _, err := fmt.Fprintln(w); err != nil {
					return err
				}
			}
			if err := (info{i}).write(w, o.Options); err != nil {
				return err
			}
		}
		return nil
	case o.Format == render.JSON:
		d := render.NewDocument(w)
		render.List(d, "checkpoints", r.Checkpoints)
		render.Each(d, "faults", r.Faults)
		return d.Close()
	case o.Format == render.JSONL:
		return render.Lines(w, r.Checkpoints)
	default:
		rows := make([]infoRow, len(r.Checkpoints))
		for k, i := range r.Checkpoints {
			rows[k] = infoRow{i.Path, i}
		}
		if o.Format == render.TableFormat && o.Style.Terminal && len(rows) > 1 {
			shorten(rows)
		}
		return infoColumns.Table(slices.Values(rows)).Write(w, o.Format, o.Style)
	}
}

// InfoColumns describes the columns of [Info].
func InfoColumns(Options) []render.Column { return infoColumns.Heads() }

// An infoRow is a checkpoint in a list of several.
type infoRow struct {
	path string
	*inspect.CheckpointInfo
}

// shorten takes the directory that all paths are in off them.
func shorten(rows []infoRow) {
	common := rows[0].path[:strings.LastIndexByte(rows[0].path, '/')+1]
	for _, r := range rows {
		for !strings.HasPrefix(r.path, common) {
			common = common[:strings.LastIndexByte(common[:len(common)-1], '/')+1]
		}
	}
	for i := range rows {
		rows[i].path = rows[i].path[len(common):]
	}
}

// An info is a checkpoint for people.
type info struct{ *inspect.CheckpointInfo }

// infoColumns has one row a checkpoint.
var infoColumns = render.Columns[infoRow]{
	{Key: "checkpoint", Title: "CHECKPOINT", Cut: render.Whole, Cell: func(c *render.Cell, i infoRow) { c.Text(i.path) }},
	{Key: "format", Cell: func(c *render.Cell, i infoRow) { c.Text(i.Container()) }},
	{Key: "architecture", Title: "ARCHITECTURE", Cell: func(c *render.Cell, i infoRow) { c.Some(TextOf(i.Architecture)) }},
	{Key: "name", Cell: func(c *render.Cell, i infoRow) { c.Text(TextOf(i.Name)) }},
	{Key: "quantization", Cell: func(c *render.Cell, i infoRow) { c.Some(TextOf(i.Quantization)) }},
	{Title: "WEIGHTS", Cell: func(c *render.Cell, i infoRow) { c.Some(i.weights()) }},
	{Key: "files", Cell: func(c *render.Cell, i infoRow) { c.Int(int64(len(i.Files))) }},
	{Key: "tensors", Cell: func(c *render.Cell, i infoRow) { c.Int(int64(i.Totals.Tensors)) }},
	{Key: "elements", Cell: func(c *render.Cell, i infoRow) { setSum(i.Totals.Elements, c.Uint) }},
	{Key: "parameters", Title: "PARAMETERS", Right: true, Cell: func(c *render.Cell, i infoRow) {
		if i.Parameters != nil {
			c.Number(*i.Parameters)
		}
	}},
	{Key: "bytes", Title: "SIZE", Right: true, Cell: func(c *render.Cell, i infoRow) { setSum(i.Totals.Bytes, c.Bytes) }},
	{Key: "unknown", Cell: func(c *render.Cell, i infoRow) { c.Int(int64(i.Totals.Unknown)) }},
	{Key: "dtypes", Cut: render.Sentence, Cell: func(c *render.Cell, i infoRow) { c.Text(dtypeWords(i.Totals.DTypes)) }},
	{Key: "convention", Cell: func(c *render.Cell, i infoRow) { c.Text(TextOf(i.Convention)) }},
	{Key: "kind", Cell: func(c *render.Cell, i infoRow) { c.Some(TextOf(i.Kind)) }},
}

// weights says how the weights are quantised, or which dtype most of them have.
func (i infoRow) weights() string {
	if q := TextOf(i.Quantization); q != "" || len(i.Totals.DTypes) == 0 {
		return q
	}
	return i.Totals.DTypes.ByBytes()[0].DType
}

// dtypeWords lists the dtypes and their tensors: "BF16 x543".
func dtypeWords(dtypes inspect.DTypes) string {
	var words []string
	for _, d := range dtypes.ByBytes() {
		words = append(words, fmt.Sprintf("%s x%d", d.DType, d.Tensors))
	}
	return strings.Join(words, ", ")
}

// manyFiles is from where on the files of a set are listed only when asked for.
const manyFiles = 16

func (i info) write(w io.Writer, o Options) error {
	s := o.Style
	sections := []*render.Table{factsTable(InfoFacts(i.CheckpointInfo, s.Terminal))}
	if len(i.Totals.DTypes) > 0 {
		sections = append(sections, DTypes(i.Totals.DTypes))
	}
	if len(i.Files) > 1 && (o.Verbose || len(i.Files) < manyFiles) {
		sections = append(sections, InfoFiles(i.CheckpointInfo))
	}
	if table := InfoMetadata(i.CheckpointInfo, s.Terminal); table != nil {
		sections = append(sections, table)
	}
	for k, t := range sections {
		if k > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
		}
		if err := t.Write(w, render.TableFormat, s); err != nil {
			return err
		}
	}
	return nil
}

// InfoFacts are what there is to say of a checkpoint, with sizes that are easy to read
// where a person looks at them.
func InfoFacts(i *inspect.CheckpointInfo, terminal bool) []Fact {
	var facts []Fact
	add := func(word, text string) {
		if text != "" {
			facts = append(facts, Fact{word, text})
		}
	}
	size := func(n inspect.Sum) string {
		if terminal {
			return sumText(n, "", render.Size) + " (" + sumText(n, " bytes", render.Grouped) + ")"
		}
		return sumText(n, " bytes", render.Grouped)
	}
	add("checkpoint", i.Path)
	add("format", i.Container())
	add("index", i.Source.Index)
	add("subtree", inspect.SubtreeText(i.Source))
	add("contents", inspect.StateText(i.Source))
	add("not listed", inspect.UnlistedText(i.Source))
	add("lost", inspect.LostText(i.Source))
	add("models", inspect.ModelsText(i.Source))
	add("beside it", inspect.BesideText(i.Source))
	add("tied", inspect.SharedText(i.Source))
	if len(i.Files) > 1 {
		missing, broken := 0, 0
		for _, f := range i.Source.Files {
			switch {
			case f.Missing:
				missing++
			case f.Err != nil:
				broken++
			}
		}
		files := render.Grouped(uint64(len(i.Files)))
		if missing > 0 {
			files += fmt.Sprintf(", %d missing", missing)
		}
		if broken > 0 {
			files += fmt.Sprintf(", %d broken", broken)
		}
		add("files", files)
	}
	architecture := TextOf(i.Architecture)
	if model, ok := i.Source.Config.Text("model_type"); ok && i.Version == nil && model != architecture {
		architecture += " (" + model + ")"
	}
	add("architecture", architecture)
	add("kind", kindText(i.Identity))
	if i.Convention != nil {
		names := conventionText(i.Identity)
		if near := nearestText(i.Identity); near != "" {
			names += "; nearest " + near
		}
		add("convention", names)
	}
	add("name", TextOf(i.Name))
	add("quantisation", TextOf(i.Quantization))
	if i.Parameters != nil && i.Totals.Tensors > 0 {
		parameters := render.Grouped(*i.Parameters)
		if *i.Parameters >= 1000 {
			parameters += " (" + render.Count(*i.Parameters) + ")"
		}
		if i.ParametersNote != "" {
			parameters += "; " + i.ParametersNote
		}
		add("parameters", parameters)
	}
	tensors := render.Grouped(uint64(i.Totals.Tensors))
	if i.Totals.Unknown > 0 {
		tensors += fmt.Sprintf(", %s of unknown size", render.Grouped(uint64(i.Totals.Unknown)))
	}
	add("tensors", tensors)
	if i.Totals.Unknown < i.Totals.Tensors {
		add("tensor data", size(i.Totals.Bytes))
		add("largest", fmt.Sprintf("%s %s", cmp.Or(i.Largest.Name, `""`), ShapeText(i.Largest.Shape)))
	}
	return facts
}

// DTypes has a row for each dtype, the one with the most bytes first.
func DTypes(totals inspect.DTypes) *render.Table {
	t := dtypeColumns.Table(slices.Values(totals.ByBytes()))
	t.Headings = render.Always
	return t
}

// InfoMetadata has the metadata of a checkpoint; nil when there is none.
func InfoMetadata(i *inspect.CheckpointInfo, terminal bool) *render.Table {
	t := metadataTable(inspect.MetadataOf(i.Source), i.Format, nil, terminal)
	if t != nil {
		t.Headings = render.Always
	}
	return t
}

var dtypeColumns = render.Columns[inspect.DTypeTotals]{
	{Title: "DTYPE", Cell: func(c *render.Cell, d inspect.DTypeTotals) {
		c.Text(d.DType)
		c.Color(render.Cyan)
	}},
	{Title: "TENSORS", Right: true, Cell: func(c *render.Cell, d inspect.DTypeTotals) { c.Number(uint64(d.Tensors)) }},
	{Title: "ELEMENTS", Right: true, Cell: func(c *render.Cell, d inspect.DTypeTotals) { setSum(d.Elements, c.Number) }},
	{Title: "SIZE", Right: true, Cell: func(c *render.Cell, d inspect.DTypeTotals) {
		if d.Unknown < d.Tensors {
			setSum(d.Bytes, c.Bytes)
		}
	}},
}

// InfoFiles has a row for each file of a checkpoint.
func InfoFiles(i *inspect.CheckpointInfo) *render.Table {
	files := i.Source.Files
	t := render.Columns[int]{
		{Title: "FILE", Cut: render.Whole, Cell: func(c *render.Cell, k int) { c.Text(files[k].Name) }},
		{Title: "TENSORS", Right: true, Cell: func(c *render.Cell, k int) {
			switch {
			case files[k].Err != nil:
				c.Text("broken")
				c.Color(render.Red)
			case files[k].Missing:
				c.Text("missing")
				c.Color(render.Red)
			default:
				c.Int(int64(i.PerFile[k].Tensors))
			}
		}},
		{Title: "SIZE", Right: true, Cell: func(c *render.Cell, k int) {
			if !files[k].Missing {
				c.Bytes(uint64(files[k].Size))
			}
		}},
		{Title: "DATA AT", Right: true, Cell: func(c *render.Cell, k int) {
			if !files[k].Missing && files[k].Err == nil && !files[k].Rearranged() {
				c.Int(files[k].DataOffset)
			}
		}},
	}.Table(func(yield func(int) bool) {
		for k := range files {
			if !yield(k) {
				return
			}
		}
	})
	t.Headings = render.Always
	return t
}
