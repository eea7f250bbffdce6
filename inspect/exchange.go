package inspect

import (
	"bytes"
	"context"
	"io"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/jsondoc"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/exchange"
)

// ExportMap writes a map in the form of another project: see [exchange.Export]. The
// checkpoint is for an architecture of mergekit, which lists its tensors, and may be nil
// otherwise.
func ExportMap(ctx context.Context, w io.Writer, m *rename.Map, form exchange.Form, c *checkpoint.Checkpoint) error {
	var model *exchange.Model
	if c != nil {
		known, err := Model(ctx, c, "")
		if err != nil {
			return err
		}
		model = &exchange.Model{Type: known.Type, Number: known.Number}
		if known.Class != "" {
			model.Architectures = []string{known.Class}
		}
		for _, t := range c.All() {
			model.Names = append(model.Names, t.Name)
		}
		if to, ok := convention.Lookup(m.To); ok {
			model.Embeds = func(name string) bool {
				id, ok := to.Parse(name)
				return ok && (id.Role == "embed.tokens.weight" || id.Role == "head.weight")
			}
		}
	}
	var text bytes.Buffer
	if err := exchange.Export(&text, m, form, model); err != nil {
		return err
	}
	_, err := w.Write(jsondoc.Printable(text.Bytes()))
	return err
}

// ImportMap reads the rules of another project as a map: see [exchange.Import].
func ImportMap(ctx context.Context, file string, opts *exchange.ImportOptions) (*rename.Map, error) {
	text, err := source.ReadNamed(ctx, file, source.Document)
	if err != nil {
		return nil, err
	}
	return exchange.Import(file, text, opts)
}
