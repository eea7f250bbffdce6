// Package answer prints the results of package inspect in the forms that every
// command has: tables for people, and JSON, JSON lines, CSV and TSV for programs.
// It has one file per command. Package report prints what check finds and fix does.
package answer

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// Options are how an answer is printed.
type Options struct {
	Format render.Format
	Style  render.Style
	// Verbose adds to tables what is rarely needed.
	Verbose bool
}

// Heading writes what is above the answer about the k-th of several.
func Heading(w io.Writer, s render.Style, k int, name string) error {
	between := ""
	if k > 0 {
		between = "\n"
	}
	_, err := fmt.Fprintf(w, "%s%s\n", between, s.Paint(render.Bold, render.Escape(name)+":"))
	return err
}

// checkpointCell names the k-th checkpoint: by its index in the rows of JSON,
// otherwise by its path.
func checkpointCell(path string, k int) render.Cell { return render.Value(path, strconv.Itoa(k)) }

// pointers yields where the elements of a list are.
func pointers[T any](list []T) func(yield func(*T) bool) {
	return func(yield func(*T) bool) {
		for i := range list {
			if !yield(&list[i]) {
				return
			}
		}
	}
}

// sumText writes a sum with f, followed by unit.
func sumText(s inspect.Sum, unit string, f func(uint64) string) string {
	if s.Overflow {
		return "more than 2^64" + unit
	}
	return f(s.N) + unit
}

// setSum sets a cell to a sum, unless it left 64 bits.
func setSum(s inspect.Sum, set func(uint64)) {
	if !s.Overflow {
		set(s.N)
	}
}

// TextOf is text that may not be known, "" then.
func TextOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// ShapeText writes dimensions: "[4096,128]".
func ShapeText(dims []uint64) string {
	return strings.ReplaceAll(fmt.Sprint(dims), " ", ",")
}

// A Fact is a word and what there is to say about it.
type Fact struct {
	// Word is "" where the fact goes on with the one before.
	Word, Text string
}

func factsTable(facts []Fact) *render.Table {
	t := render.Columns[Fact]{
		{Title: "FACT", Cell: func(c *render.Cell, f Fact) {
			c.Text(cmp.Or(f.Word, " "))
			c.Color(render.Bold)
		}},
		{Title: "VALUE", Cut: render.Sentence, Cell: func(c *render.Cell, f Fact) { c.Text(f.Text) }},
	}.Table(slices.Values(facts))
	t.Headings = render.Never
	return t
}
