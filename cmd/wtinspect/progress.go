package main

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
)

// A progress is the flag that says when long work shows how far it is.
type progress struct {
	when string
	// files says that files are counted, and not bytes.
	files bool
	// each is what else is counted, with a rate.
	each string
}

func (o *progress) addFlags(cmd *cobra.Command) {
	words := []string{"auto", "always", "never"}
	cmd.Flags().Var(newChoice(&o.when, words...), "progress", "show a progress bar on stderr: auto (on a terminal, for long work), always or never")
	complete(cmd, "progress", words...)
	group(cmd.Flags(), "Output", "progress")
}

// progressDelay is how long work goes on without a bar where one is not asked
// for: most of it is done before anybody wonders.
const progressDelay = 400 * time.Millisecond

// A meter is told of work that was done, from any number of goroutines, and
// shows it now and then: drawing never holds up the work.
type meter struct {
	done atomic.Int64
	// what is done, where that is not what it was called in the beginning.
	what atomic.Pointer[string]
	stop func()
}

// unknownTotal is the total of work that shows how much there is of it as it is done.
const unknownTotal = -1

// meter begins a piece of work of so many bytes. Its end must be called.
func (o *progress) meter(p *program, what string, total int64) *meter {
	m := &meter{stop: func() {}}
	if o.when == "never" || o.when == "auto" && (!p.errTerminal || p.quiet) || total == 0 {
		return m
	}
	quit := make(chan struct{})
	var drawn sync.WaitGroup
	// A line that is cleared and drawn again in several writes flickers.
	var line bytes.Buffer
	flush := func() {
		_, _ = line.WriteTo(p.stderr)
		line.Reset()
	}
	count := progressbar.OptionShowBytes(true)
	if o.files || o.each != "" {
		count = progressbar.OptionShowCount()
	}
	rate := func(*progressbar.ProgressBar) {}
	if o.each != "" {
		rate = progressbar.OptionShowIts()
	}
	drawn.Go(func() {
		bar := progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(&line),
			progressbar.OptionSetDescription(what),
			count,
			rate,
			progressbar.OptionSetItsString(o.each),
			progressbar.OptionUseIECUnits(true),
			progressbar.OptionShowTotalBytes(total != unknownTotal),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionSetWidth(20),
			progressbar.OptionClearOnFinish(),
		)
		bar.StartWithoutRender() // the rate is that of the work, not of the bar
		if o.when == "auto" {
			select {
			case <-quit:
				return
			case <-time.After(progressDelay):
			}
		}
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		// What the bar says is for people to see; whether they do is not the
		// work's concern, so errors of drawing are left alone.
		draw := func() {
			done := m.done.Load()
			if total != unknownTotal {
				done = min(done, total)
			}
			if what := m.what.Load(); what != nil {
				bar.Describe(*what)
			}
			bar.Set64(done)
			flush()
		}
		for {
			draw()
			select {
			case <-quit:
				draw() // the work may be done before any of it was drawn
				bar.Finish()
				flush()
				return
			case <-tick.C:
			}
		}
	})
	m.stop = sync.OnceFunc(func() {
		close(quit)
		drawn.Wait()
	})
	return m
}

// headers returns a meter for headers of files that are waited for, one file after
// the other, which is shown when it takes long.
func (p *program) headers() *jobMeter {
	o := &progress{when: "auto", files: true}
	return o.jobMeter(p, "headers")
}

// jobMeter returns a meter for work that says how much there is to do when it
// begins, and which may be several pieces of work.
func (o *progress) jobMeter(p *program, what string) *jobMeter {
	return &jobMeter{start: func(total int64) *meter { return o.meter(p, what, total) }}
}

// add says that n more bytes are done.
func (m *meter) add(n int64) { m.done.Add(n) }

// end takes the bar away. Nothing is written after it returns.
func (m *meter) end() { m.stop() }
