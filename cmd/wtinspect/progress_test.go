package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestMeter(t *testing.T) {
	tests := []struct {
		when            string
		terminal, quiet bool
		drawn           bool
	}{
		{"always", false, false, true},
		{"always", false, true, true},
		{"never", true, false, false},
		{"auto", false, false, false},
		{"auto", true, true, false},
		{"auto", true, false, false}, // done before anybody wonders
	}
	for _, tt := range tests {
		var errs bytes.Buffer
		p := newProgram(nil, nil, &errs, func(string) string { return "" })
		p.errTerminal, p.quiet = tt.terminal, tt.quiet
		m := (&progress{when: tt.when}).meter(p, "reading", 1<<20)
		m.add(1 << 19)
		m.end()
		m.end()
		if drawn := strings.Contains(errs.String(), "reading"); drawn != tt.drawn {
			t.Errorf("%+v: stderr %q", tt, &errs)
		}
	}
}

// Headers are counted by file.
func TestMeterOfFiles(t *testing.T) {
	var errs bytes.Buffer
	p := newProgram(nil, nil, &errs, func(string) string { return "" })
	m := (&progress{when: "always", files: true}).meter(p, "headers", 163)
	m.add(100)
	m.end()
	if got := errs.String(); !strings.Contains(got, "headers") || !strings.Contains(got, "/163") || strings.Contains(got, "B/") {
		t.Errorf("%q", got)
	}
}

// Inputs are counted, with errors and a rate, on one line of a terminal however many there are.
func TestMeterOfInputs(t *testing.T) {
	var errs writes
	p := newProgram(nil, nil, &errs, func(string) string { return "" })
	m := (&progress{when: "always", each: "inputs"}).meter(p, "scanning", unknownTotal)
	sum := newScanSummary(m)
	sum.progress(12_345_678, 9_999_999)
	m.end()
	drawn := strings.Join(errs, "")
	for _, want := range []string{"scanning, 9,999,999 errors", "(12345678, ", " inputs/s)"} {
		if !strings.Contains(drawn, want) {
			t.Errorf("%q is not in %q", want, drawn)
		}
	}
	for _, line := range strings.Split(drawn, "\r") {
		if strings.Contains(line, "B/") || len(line) > 79 {
			t.Errorf("%q", line)
		}
	}
}

// writes keeps each write to it.
type writes []string

func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, string(p))
	return len(p), nil
}

// A line is drawn in one write, and taken away in another, which leaves the cursor where
// it was.
func TestMeterDrawsAtOnce(t *testing.T) {
	var errs writes
	p := newProgram(nil, nil, &errs, func(string) string { return "" })
	m := (&progress{when: "always"}).meter(p, "reading", 1<<20)
	m.add(1 << 19)
	m.end()
	for i, line := range errs {
		if last := i == len(errs)-1; !strings.HasPrefix(line, "\r") || strings.HasSuffix(line, "\r") != last || strings.Contains(line, "reading") == last {
			t.Errorf("write %d of %d: %q", i+1, len(errs), line)
		}
	}
	if len(errs) < 2 {
		t.Errorf("drawn and taken away in one: %q", errs)
	}
}

// A message to a terminal is cut between words where it is too wide, and to a file it is not.
func TestMessagesFitTheTerminal(t *testing.T) {
	const text = "note: 19 key/values of the GGUF file are not carried over, and a_name_that_is_wider_than_the_terminal_stays_whole\nsecond line"
	for _, tt := range []struct {
		terminal, wide bool
		want           string
	}{
		{true, false, "wtinspect: note: 19 key/values of the\n    GGUF file are not carried over, and\n    a_name_that_is_wider_than_the_terminal_stays_whole\nwtinspect:   second line\n"},
		{true, true, "wtinspect: note: 19 key/values of the GGUF file are not carried over, and a_name_that_is_wider_than_the_terminal_stays_whole\nwtinspect:   second line\n"},
		{false, false, "wtinspect: note: 19 key/values of the GGUF file are not carried over, and a_name_that_is_wider_than_the_terminal_stays_whole\nwtinspect:   second line\n"},
	} {
		var b strings.Builder
		p := newProgram(nil, nil, &b, func(string) string { return "" })
		p.errTerminal, p.errWidth, p.wide = tt.terminal, 40, tt.wide
		p.note("%s", text)
		if b.String() != tt.want {
			t.Errorf("terminal %v, wide %v:\n%q\nwant\n%q", tt.terminal, tt.wide, b.String(), tt.want)
		}
	}
}
