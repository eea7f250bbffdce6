package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"
)

// Requests are told of by those that make them, several at a time, and no line is lost.
func TestSayTogether(t *testing.T) {
	var out bytes.Buffer
	p := &program{stderr: &out}
	const speakers, each = 8, 5000
	var all sync.WaitGroup
	for range speakers {
		all.Go(func() {
			for range each {
				p.say("a line")
			}
		})
	}
	all.Wait()
	if got := strings.Count(out.String(), "wtinspect: a line\n"); got != speakers*each {
		t.Errorf("%d lines of %d", got, speakers*each)
	}
}
