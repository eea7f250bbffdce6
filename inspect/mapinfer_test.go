package inspect_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/rename"
)

// theOnly opens the checkpoint of a text.
func theOnly(t *testing.T, name, text string) *checkpoint.Checkpoint {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := fixture.Write(path, text); err != nil {
		t.Fatal(err)
	}
	rel, err := checkpoint.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rel.Close() })
	return rel.Checkpoints[0]
}

const (
	ownNames = `tensor tok.weight BF16 [96,16]
tensor stack.{0..3}.pre.g BF16 [16]
tensor stack.{0..3}.a.w_q.weight BF16 [16,16]
tensor stack.{0..3}.a.w_k.weight BF16 [8,16]
tensor stack.{0..3}.a.w_v.weight BF16 [8,16]
tensor stack.{0..3}.a.w_o.weight BF16 [16,16]
tensor stack.{0..3}.post.g BF16 [16]
tensor stack.{0..3}.f.w1.weight BF16 [40,16]
tensor stack.{0..3}.f.w2.weight BF16 [16,40]
tensor stack.{0..3}.f.w3.weight BF16 [40,16]
tensor final.g BF16 [16]
tensor out.weight BF16 [96,16]
`
)

// A map goes to a file with its questions, comes back with answers, and then applies.
func TestInferMap(t *testing.T) {
	c := theOnly(t, "lab.safetensors", ownNames)
	opts := &inspect.InferMapOptions{To: "llama-hf", NamesOnly: true}
	r, err := inspect.InferMap(t.Context(), c, nil, opts)
	if err != nil {
		t.Fatal(err)
	}
	if r.Complete || len(r.Questions) == 0 || r.Read != nil || r.B != nil {
		t.Fatalf("%+v", r)
	}
	again, err := rename.Parse("map.yaml", []byte(r.Text))
	if err != nil || len(again.Ask) != len(r.Questions) || len(again.Rules) != len(r.Rules) {
		t.Fatalf("%v\n%s", err, r.Text)
	}
	for _, q := range r.Questions {
		opts.Assume = append(opts.Assume, inspect.Assumption{From: q.Between[0], To: q.Best[0]})
	}
	if r, err = inspect.InferMap(t.Context(), c, nil, opts); err != nil || !r.Complete {
		t.Fatalf("%v, %+v", err, r)
	}
	file := filepath.Join(t.TempDir(), "map.yaml")
	if err := os.WriteFile(file, []byte(r.Text), 0o666); err != nil {
		t.Fatal(err)
	}
	answers, err := inspect.Answers(t.Context(), file, c.Path)
	for i := range opts.Assume {
		opts.Assume[i].In = fmt.Sprintf("%s:%d", file, i+2)
	}
	if diff := cmp.Diff(opts.Assume, answers); err != nil || diff != "" {
		t.Errorf("%v (-said +read):\n%s", err, diff)
	}
	done, err := inspect.TestMap(t.Context(), c, r.Map, &inspect.MapTestOptions{Strict: true})
	if err != nil || done.Refused() || done.Summary.Moved != done.Summary.Tensors {
		t.Errorf("%v, %+v", err, done)
	}
}

// Answers are of the map that is to be written again, and of no other.
func TestAnswers(t *testing.T) {
	const (
		by   = "# Inferred by 'wtinspect map infer', which reads the answers in this file and writes it again.\n"
		ask  = "description: The tensors of a as b\nask:\n  - between: [x.w1, x.w2]\n    and: [y.gate, y.up]\n    best: [y.gate, y.up]\n    answer: "
		none = ""
	)
	one := []inspect.Assumption{{From: "x.w1", To: "y.up"}, {From: "x.w2", To: "y.gate"}}
	for _, tt := range []struct {
		name, text string
		want       []inspect.Assumption
		exists     bool // is refused
	}{
		{name: "no file", text: none},
		{name: "open", text: by + ask},
		{name: "answered in order", text: by + ask + "[up, gate]\n", want: one},
		{name: "one of two", text: by + ask + "w1=up\n", want: one[:1]},
		{name: "remembered", text: by + "# Answered: x.w1=y.up\n# Answered: x.w2=y.gate\nversion: 1\ndescription: The tensors of a as b\n", want: one},
		{name: "somebody's own", text: ask + "[up, gate]\n", want: one, exists: true},
		{name: "of other tensors", text: by + "version: 1\ndescription: The tensors of A as b\n", exists: true},
		{name: "no map", text: "weights", exists: true},
	} {
		file := filepath.Join(t.TempDir(), "map.yaml")
		if tt.text != none {
			if tt.text += "\nrename: {}\n"; tt.name == "no map" {
				tt.text = "weights"
			}
			if err := os.WriteFile(file, []byte(tt.text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		got, err := inspect.Answers(t.Context(), file, "a")
		_, exists := errors.AsType[*inspect.ExistingMapError](err)
		for i := range got { // a message about it says where it is
			if got[i].In != file && !strings.HasPrefix(got[i].In, file+":") {
				t.Errorf("%s: an answer is in %q", tt.name, got[i].In)
			}
			got[i].In = ""
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || exists != tt.exists || err != nil && !exists {
			t.Errorf("%s: %v (-want +got):\n%s", tt.name, err, diff)
		}
	}
	// An answer that cannot be read is not lost with the file that it is in.
	file := filepath.Join(t.TempDir(), "map.yaml")
	if err := os.WriteFile(file, []byte(by+ask+"neither\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	_, err := inspect.Answers(t.Context(), file, "a")
	if _, ok := errors.AsType[*rename.Error](err); !ok {
		t.Errorf("%v", err)
	}
}

// A map to fill in has every name once, the new ones that are known, and what the others
// may be.
func TestNewMap(t *testing.T) {
	c := theOnly(t, "lab.safetensors", ownNames)
	for _, to := range []string{"", "llama-hf"} {
		m, err := inspect.NewMap(t.Context(), c, &inspect.NewMapOptions{To: to})
		if err != nil {
			t.Fatal(err)
		}
		if findings := rename.Lint(m); slices.ContainsFunc(findings, func(f rename.Finding) bool { return f.Level == rename.Warning }) {
			t.Errorf("%q: %v", to, findings)
		}
		r, err := inspect.TestMap(t.Context(), c, m, &inspect.MapTestOptions{Strict: true})
		if err != nil || r.Refused() || r.Summary.Unmatched > 0 {
			t.Errorf("%q: %v, %+v", to, err, r)
		}
		if to == "" && r.Summary.Moved != 0 {
			t.Errorf("%d tensors are renamed", r.Summary.Moved)
		}
		if to != "" {
			may := 0
			for i := range m.Rules {
				rule := &m.Rules[i]
				kept := rule.From[0].String() == rule.To[0].String()
				guess := slices.ContainsFunc(rule.Notes, func(n string) bool { return len(n) > 6 && n[:6] == "may be" })
				if guess {
					may++
				}
				if kept != guess {
					t.Errorf("%s: %q", rule, rule.Notes)
				}
			}
			if may == 0 || r.Summary.Moved == 0 {
				t.Errorf("%d rules are open, %d tensors renamed", may, r.Summary.Moved)
			}
		}
	}
}
