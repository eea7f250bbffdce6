package browse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
)

// A judgedSource has findings.
type judgedSource struct {
	*fakeSource
	result *inspect.CheckResult
}

func (s *judgedSource) Findings(context.Context) (*inspect.CheckResult, error) { return s.result, nil }

func (d *driver) shows(want string) {
	d.t.Helper()
	if s := d.screen(); !strings.Contains(s, want) {
		d.t.Errorf("no %q in\n%s", want, s)
	}
}

// / looks for a text in whatever shows one, n and N go on, and esc ends it.
func TestSearch(t *testing.T) {
	release(t)
	t.Run("pane", func(t *testing.T) {
		d := newDriver(t, open(t, "llama"), look{}, 80, 12)
		d.keys("3 j j enter / text:zeros")
		d.shows("\n>zeros ")
		d.shows("find: zeros")
		if x, _, ok := d.m.typingAt(); !ok || x != len("find: zeros") {
			t.Errorf("the cursor is at %d, %v", x, ok)
		}
		place := d.m.pane.place
		d.keys("enter n")
		d.shows("no further match")
		d.keys("j N") // it is above what is seen
		d.shows("\n>zeros ")
		d.keys("g N") // from what is seen: there is nothing above it
		d.shows("no further match")
		d.keys("n")
		d.shows("\n>zeros ")
		if d.m.pane.place != place {
			t.Error("n has gone to another tensor")
		}
		d.keys("esc n")
		if d.m.pane == nil || d.m.pane.place == place {
			t.Error("without a text to look for n does not go to the next tensor")
		}
		d.keys("/ text:nowhere")
		d.shows("find: nowhere  not found")
		d.keys("esc q")
		if d.m.pane != nil || d.m.filter != "" {
			t.Errorf("the pane is %v, the filter %q", d.m.pane, d.m.filter)
		}
	})
	t.Run("findings", func(t *testing.T) {
		r := &inspect.CheckResult{Checkpoints: []string{"fake"}}
		for i := range 40 {
			r.Findings = append(r.Findings, inspect.Finding{Rule: fmt.Sprintf("WT%03d", 101+i), Severity: checkpoint.Warning, Message: fmt.Sprintf("number %d", i*i)})
		}
		d := newDriver(t, &judgedSource{&fakeSource{names: []string{"a"}}, r}, look{}, 80, 24)
		d.keys("4 / text:number space text:9 enter") // 9, 900 and 961
		for _, want := range []int{3, 30, 31} {
			if d.m.findings.cursor != want {
				t.Errorf("found at %d, want %d", d.m.findings.cursor, want)
			}
			d.keys("n")
		}
		d.shows("no further match")
		d.keys("N N N")
		if d.m.findings.cursor != 3 {
			t.Errorf("back at %d", d.m.findings.cursor)
		}
		d.keys("esc j")
		if d.m.findings.cursor != 4 {
			t.Errorf("esc and j have gone to %d", d.m.findings.cursor)
		}
	})
	t.Run("explained", func(t *testing.T) {
		d := newDriver(t, open(t, "bad"), look{}, 80, 12)
		d.keys("4 enter / text:message enter")
		d.shows(">message ")
		d.keys("esc x")
		if d.m.overlay != nil {
			t.Error("another key does not close it")
		}
	})
}

// What could not be checked is shown in full, and nothing is said to be without findings
// that was not read.
func TestProblems(t *testing.T) {
	long := errors.New("a/directory/of/some/depth/model-00001-of-00002.safetensors: the file is missing; the rest of the set is read without it")
	r := &inspect.CheckResult{Problems: []error{long}}
	d := newDriver(t, &judgedSource{&fakeSource{names: []string{"a"}}, r}, look{}, 80, 24)
	d.keys("4")
	whole := func() string { return strings.Join(strings.Fields(d.screen()), " ") }
	if s := whole(); !strings.Contains(s, "not checked: "+long.Error()) || strings.Contains(s, "found nothing") {
		t.Errorf("the screen is\n%s", s)
	}
	r.Checkpoints, r.Summary.Tensors = []string{"a"}, 7
	if s := whole(); !strings.Contains(s, "nothing was found in what could be read: 7 tensors") {
		t.Errorf("the screen is\n%s", s)
	}
	// Many problems leave room for findings, and the cursor stays on the screen.
	for range 50 {
		r.Problems = append(r.Problems, long)
		r.Findings = append(r.Findings, inspect.Finding{Rule: "WT101", Message: "found"})
	}
	d.keys("G")
	s := whole()
	if !strings.Contains(s, "> info WT101") || !strings.Contains(s, "not checked: 49 more; 'wtinspect check' lists them") {
		t.Errorf("the screen is\n%s", s)
	}
	d.send(clickMsg{10, firstLine + len(d.m.problemLines())})
	if d.m.findings.cursor != d.m.findings.top {
		t.Errorf("a click on the first finding goes to %d", d.m.findings.cursor)
	}
}

// A file that is replaced or written while it is looked at is noticed.
func TestChanged(t *testing.T) {
	src := &fakeSource{names: []string{"a"}}
	d := newDriver(t, src, look{}, 80, 24)
	d.send(tickMsg{})
	if d.m.changed != nil || !d.ticks {
		t.Errorf("changed: %v, looked at again: %v", d.m.changed, d.ticks)
	}
	src.changed = errors.New("m.safetensors: the file changed since it was first read")
	d.send(tickMsg{})
	d.shows("m.safetensors: the file changed since it was first read")
	src.changed = errors.New(strings.Repeat("far/", 12) + "m.safetensors: the file changed since it was first read: it is gone; start again")
	d.send(tickMsg{})
	d.shows("it is gone; start again") // what to do is not cut off
	src.changed = nil                  // as where it was moved away, and back
	if !d.ticks {
		t.Error("it is not looked at again")
	}
	d.send(tickMsg{})
	if s := d.screen(); strings.Contains(s, "changed since") {
		t.Errorf("the screen is\n%s", s)
	}
}

// A folder says of the pairs below it how many differ, and how many were not read.
func TestFolderText(t *testing.T) {
	for _, tt := range []struct {
		differ, unread, width int
		want                  string
	}{
		{0, 0, 17, "the same"},
		{0, 36, 17, "36 unread"},
		{2, 0, 17, "2 differ"},
		{2, 36, 17, "~ 2  ? 36"},
		{2, 36, 30, "2 differ, 36 unread"},
	} {
		if got := folderText(&node{differ: tt.differ, unread: tt.unread}, tt.width); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}
