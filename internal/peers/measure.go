package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A sample is one run of a program.
type sample struct {
	wall, cpu time.Duration
	memory    int64 // the peak in bytes; 0 where the system does not tell
}

// A result is what was measured of a job: for each of its programs the samples in the
// order of the rounds, none of what is missing.
type result struct {
	job
	tensors int // that all found
	samples [][]sample
}

// measure runs the programs of a job in turn, once that does not count and then some
// times, after all have found the same.
func measure(j job, runs int) (result, error) {
	r := result{job: j, samples: make([][]sample, len(j.programs))}
	want, err := j.programs[0].facts()
	if err != nil {
		return r, err
	}
	if r.tensors, err = count(want); err != nil {
		return r, fmt.Errorf("%s: %w", j.programs[0].name, err)
	}
	for i := range j.programs[1:] {
		c := &j.programs[1+i]
		if c.missing != "" {
			continue
		}
		got, err := c.facts()
		if err != nil {
			c.missing = "it fails: " + lastLine([]byte(err.Error()))
			continue
		}
		if got != want {
			return r, fmt.Errorf("%s found\n%s\nand %s\n%s", j.programs[0].name, want, c.name, got)
		}
	}
	for round := range runs + 1 {
		for i, c := range j.programs {
			if c.missing != "" {
				continue
			}
			s, err := once(c.command, j.inProcess)
			if err != nil {
				return r, err
			}
			if round > 0 {
				r.samples[i] = append(r.samples[i], s)
			}
		}
	}
	return r, nil
}

// count returns how many tensors facts are about: their first line says so, or there is a
// line for each.
func count(facts string) (int, error) {
	first, _, _ := strings.Cut(facts, "\n")
	if n, err := strconv.Atoi(strings.TrimSpace(first)); err == nil {
		return n, nil
	}
	if n := strings.Count(facts, "\n"); n > 0 {
		return n, nil
	}
	return 0, errors.New("it found nothing")
}

// once runs a command. In a process the sample is the median of the times that it prints,
// without the first.
func once(command []string, inProcess bool) (sample, error) {
	cmd := exec.Command(command[0], command[1:]...)
	var stdout, stderr bytes.Buffer
	if inProcess {
		cmd.Stdout = &stdout
	}
	cmd.Stderr = &stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return sample{}, fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, &stderr)
	}
	state := cmd.ProcessState
	s := sample{wall: time.Since(start), cpu: state.UserTime() + state.SystemTime(), memory: peak(state)}
	if !inProcess {
		return s, nil
	}
	var times []time.Duration
	for _, word := range strings.Fields(stdout.String()) {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return s, err
		}
		times = append(times, time.Duration(n))
	}
	if len(times) < 2 {
		return s, fmt.Errorf("%s printed %d times", strings.Join(command, " "), len(times))
	}
	return sample{wall: median(times[1:])}, nil
}

// median returns the middle of some numbers, of an even count the mean of the two.
func median[T time.Duration | float64 | int64](list []T) T {
	list = slices.Sorted(slices.Values(list))
	n := len(list)
	return list[(n-1)/2] + (list[n/2]-list[(n-1)/2])/2
}

// ratios returns by how much each of the samples took longer than the other of its round.
func ratios(samples, others []sample, of func(sample) time.Duration) []float64 {
	var list []float64
	for i, s := range samples {
		list = append(list, float64(of(s))/float64(of(others[i])))
	}
	return list
}

func wall(s sample) time.Duration { return s.wall }
func cpu(s sample) time.Duration  { return s.cpu }

// medianOf returns the median of something of the samples.
func medianOf[T time.Duration | float64 | int64](samples []sample, of func(sample) T) T {
	var list []T
	for _, s := range samples {
		list = append(list, of(s))
	}
	return median(list)
}
