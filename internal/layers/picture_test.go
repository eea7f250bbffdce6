package layers

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPicture compares the rows with the pictures of them in the package comment
// and in docs/architecture.md, which has a paragraph a room.
func TestPicture(t *testing.T) {
	var want strings.Builder
	for _, r := range rows {
		want.WriteString(strings.Join(r, "  ") + "\n")
	}
	comment, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var drawn strings.Builder
	for line := range strings.Lines(string(comment)) {
		if row, ok := strings.CutPrefix(line, "//\t"); ok {
			drawn.WriteString(row)
		}
	}
	if drawn.String() != want.String() {
		t.Errorf("the package comment draws\n%sand the rows are\n%s", drawn.String(), want.String())
	}

	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "```layers\n")
	if picture, _, _ := strings.Cut(after, "```"); picture != want.String() {
		t.Errorf("docs/architecture.md draws\n%sand the rows are\n%s", picture, want.String())
	}
	var described []string
	for _, paragraph := range strings.Split(string(text), "\n\n") {
		if !strings.HasPrefix(paragraph, "**`") {
			continue
		}
		for _, m := range regexp.MustCompile("\\*\\*`([^`]+)`\\*\\*").FindAllStringSubmatch(paragraph, -1) {
			described = append(described, m[1])
		}
	}
	rooms := slices.Concat(append(slices.Clone(rows), testOnly)...)
	slices.Sort(rooms)
	slices.Sort(described)
	if !slices.Equal(described, rooms) {
		t.Errorf("docs/architecture.md has paragraphs about\n%v\nand the rooms are\n%v", described, rooms)
	}
}
