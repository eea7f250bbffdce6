package browse

import (
	"fmt"
	"html"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/testdata"
)

// TestPicture keeps the picture of docs/browse.md up to date.
func TestPicture(t *testing.T) {
	docs := filepath.Join(filepath.Dir(filepath.Dir(filepath.Dir(golden))), "docs")
	release(t)
	d := newDriver(t, open(t, "llama"), look{color: true}, 132, 30)
	d.keys("2")
	for tree := &d.m.trees[layersView]; tree.rows[tree.cursor].label != "gate_proj.weight"; {
		d.keys("j right")
		if d.m.pane != nil {
			d.keys("q")
		}
	}
	d.keys("enter")
	testdata.UpToDate(t, filepath.Join(docs, "pictures", "browse.svg"), picture(d.screen(), d.m.width, d.m.height), *update)
}

// picture draws a screen as SVG.
func picture(screen string, width, height int) string {
	const cell, line, margin = 8.4, 18, 12
	colors := map[string]string{"1": `font-weight="bold" fill="#ffffff"`, "2": `fill="#9aa0a6"`, "31": `fill="#ff7b72"`, "32": `fill="#7ee787"`, "33": `fill="#e3b341"`, "36": `fill="#76d9e6"`}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="wtinspect browse" viewBox="0 0 %.0f %d" font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14">`+"\n",
		float64(width)*cell+2*margin, height*line+2*margin)
	b.WriteString(`<rect width="100%" height="100%" rx="8" fill="#1b1f24"/>` + "\n")
	parts := regexp.MustCompile("(?:\x1b\\[([0-9]+)m)?([^\x1b]+)(?:\x1b\\[0m)?")
	for y, text := range strings.Split(screen, "\n") {
		x := 0
		for _, m := range parts.FindAllStringSubmatch(text, -1) {
			n := render.DisplayWidth(m[2])
			left, top := margin+float64(x)*cell, margin+y*line
			style := colors[m[1]]
			if m[1] == fmt.Sprint(int(reverse)) {
				fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="#d0d7de"/>`+"\n", left, top, float64(n)*cell, line)
				style = `fill="#1b1f24"`
			}
			if style == "" {
				style = `fill="#d0d7de"`
			}
			if strings.TrimSpace(m[2]) != "" {
				fmt.Fprintf(&b, `<text x="%.1f" y="%d" textLength="%.1f" xml:space="preserve" %s>%s</text>`+"\n", left, top+14, float64(n)*cell, style, html.EscapeString(m[2]))
			}
			x += n
		}
	}
	return b.String() + "</svg>\n"
}
