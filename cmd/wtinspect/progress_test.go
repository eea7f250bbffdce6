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

// writes counts the writes to it.
type writes struct {
	bytes.Buffer
	n int
}

func (w *writes) Write(p []byte) (int, error) {
	w.n++
	return w.Buffer.Write(p)
}

// The line is drawn in one write, and taken away in another.
func TestMeterDrawsAtOnce(t *testing.T) {
	var errs writes
	p := newProgram(nil, nil, &errs, func(string) string { return "" })
	m := (&progress{when: "always"}).meter(p, "reading", 1<<20)
	m.add(1 << 19)
	m.end()
	if errs.n > 3 || !strings.HasSuffix(errs.String(), "\r") {
		t.Errorf("%d writes: %q", errs.n, errs.String())
	}
}
