package answer

import (
	"fmt"
	"io"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/render"
)

// writeRemote says how much is to be read from other machines.
func writeRemote(w io.Writer, bytes uint64) {
	if bytes > 0 {
		fmt.Fprintf(w, "reads %s of values from another machine\n", render.Size(bytes))
	}
}

// RewritePlan prints how the files would get, or get, their new content.
func RewritePlan(w io.Writer, j *rewrite.Job, verbose bool) {
	if j == nil {
		return
	}
	var steps []rewrite.Step
	files, filled := make(map[rewrite.Step]int), 0
	for _, f := range j.Files {
		if f.Filler {
			filled++
		}
		if files[f.Step] == 0 {
			steps = append(steps, f.Step)
		}
		files[f.Step]++
	}
	words := make([]string, len(steps))
	for i, s := range steps {
		words[i] = fmt.Sprintf("%s (%s)", s, render.Counted(files[s], "file"))
	}
	where := "in place"
	if j.Output != "" {
		where = "to " + render.Escape(j.Output)
	}
	fmt.Fprintf(w, "%s: %s", where, strings.Join(words, ", "))
	if files[rewrite.Copy] > 0 && j.Free >= 0 {
		fmt.Fprintf(w, "; needs %s of %s free", render.Size(uint64(j.Need)), render.Size(uint64(j.Free)))
	}
	fmt.Fprintln(w)
	const few = 20
	for i, path := range j.Replaces {
		if i == few && !verbose {
			more := len(j.Replaces) - few
			fmt.Fprintf(w, "and %s %s replaced (-v lists all)\n", plural.Of(more, "more file"), plural.Verb(more, "are"))
			break
		}
		fmt.Fprintf(w, "replaces %s\n", render.Escape(path))
	}
	if filled > 0 {
		fmt.Fprintf(w, "%s: a key that readers ignore takes space in %s\n", gguf.FillerKey, render.Counted(filled, "file"))
	}
	for _, d := range j.Documents {
		switch {
		case d.Names > 0:
			fmt.Fprintf(w, "%s: %s updated\n", render.Escape(d.Name), render.Counted(d.Names, "name"))
		default:
			writeEdits(w, d.Name, d.Edits, verbose)
		}
	}
}

// writeEdits lists the edits of a document.
func writeEdits(w io.Writer, name string, edits []rewrite.TextEdit, verbose bool) {
	fmt.Fprintf(w, "%s: %s\n", render.Escape(name), render.Counted(len(edits), "edit"))
	const most = 8
	for i, e := range edits {
		if i == most && !verbose {
			fmt.Fprintf(w, "  and %d more\n", len(edits)-most)
			break
		}
		switch {
		case e.To == "":
			fmt.Fprintf(w, "  %s: removed\n", render.Escape(e.Pointer))
			continue
		case e.From == "":
			fmt.Fprintf(w, "  %s: %s added\n", render.Escape(e.Pointer), render.Escape(e.To))
			continue
		}
		fmt.Fprintf(w, "  %s: %s -> %s\n", render.Escape(e.Pointer), render.Escape(e.From), render.Escape(e.To))
	}
}

// RewriteReport prints what was done, and how it is known that no data changed.
func RewriteReport(w io.Writer, j *rewrite.Job, report *rewrite.Report, verify rewrite.Verify, o Options) error {
	files := report.Files
	if len(files) >= manyFiles && !o.Verbose {
		files = nil
	}
	t := render.Columns[*rewrite.FileReport]{
		{Title: "FILE", Cut: render.Whole, Cell: func(c *render.Cell, f *rewrite.FileReport) { c.Text(f.Name) }},
		{Title: "STEP", Cell: func(c *render.Cell, f *rewrite.FileReport) { c.Text(string(f.Step)) }},
		{Title: "TENSORS", Right: true, Cell: func(c *render.Cell, f *rewrite.FileReport) {
			if f.Proof.Tensors > 0 {
				c.Uint(uint64(f.Proof.Tensors))
			}
		}},
		{Title: "PROOF", Cell: func(c *render.Cell, f *rewrite.FileReport) { c.Text(fileProof(f)) }},
	}.Table(pointers(files))
	t.Headings = render.Always
	if len(files) > 0 {
		fmt.Fprintln(w)
		if err := t.Write(w, render.TableFormat, o.Style); err != nil {
			return err
		}
	}
	if proofs := report.Proofs(); len(proofs) > 0 {
		says, made, restored := "the data is unchanged", 0, 0
		texts := make([]string, len(proofs))
		for i, sum := range proofs {
			texts[i] = proofText(sum)
			restored += sum.Restored
		}
		for _, f := range j.Files {
			made += f.Made
		}
		text := strings.Join(texts, "; ")
		if made > 0 {
			says = fmt.Sprintf("%s made by operations; the data is as planned", render.Counted(made, "tensor"))
			if restored > 0 {
				text += fmt.Sprintf("; %s restored by the inverse operations", render.Counted(restored, "tensor"))
			}
		}
		fmt.Fprintf(w, "%s: %s\n", says, text)
	} else if verify == rewrite.VerifyNone {
		fmt.Fprintln(w, "the data was not compared")
	}
	if j.Output == "" {
		_, err := fmt.Fprintf(w, "done: %s\n", render.Escape(report.Output))
		return err
	}
	_, err := fmt.Fprintf(w, "done: %s", render.Escape(report.Output))
	if n := len(report.Copied); n > 0 && err == nil {
		_, err = fmt.Fprintf(w, ", with %s", render.Counted(n, "other file"))
	}
	if err == nil {
		_, err = fmt.Fprintln(w)
	}
	return err
}

// fileProof says in few words how it is known that a file's data is the same.
func fileProof(f *rewrite.FileReport) string {
	switch {
	case f.Step == rewrite.Unchanged:
		return "not touched"
	case f.Proof.Method == rewrite.ProofDigests:
		return algorithm(f.Proof)
	case f.Proof.Method == rewrite.ProofExtents:
		return "in place, " + render.Counted(f.Proof.Samples, "block")
	case f.Proof.Method == rewrite.ProofSamples:
		return render.Counted(f.Proof.Samples, "block")
	}
	return "not compared"
}

// algorithm is what people call the algorithm of digests.
func algorithm(p rewrite.Proof) string {
	if p.Algorithm == "sha256" {
		return "SHA-256"
	}
	return strings.ToUpper(p.Algorithm)
}

// proofText says how it is known that no data changed.
func proofText(p rewrite.Proof) string {
	tensors, size := render.Counted(p.Tensors, "tensor"), render.Size(uint64(p.Bytes))
	switch p.Method {
	case rewrite.ProofDigests:
		return fmt.Sprintf("%s by %s (%s)", tensors, algorithm(p), size)
	case rewrite.ProofExtents:
		return fmt.Sprintf("%s in place, %s compared (%s)", tensors, render.Counted(p.Samples, "block"), size)
	case rewrite.ProofSamples:
		return fmt.Sprintf("%s copied, %s compared (%s)", tensors, render.Counted(p.Samples, "block"), size)
	}
	return ""
}

// hint ends a plan that was only shown.
