package main

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
)

// A byteLimit is a flag that takes a number of bytes: 1073741824, 1G, 1GiB, all.
type byteLimit int64

// noLimit is the limit of "all".
const noLimit byteLimit = -1

func (l *byteLimit) String() string {
	switch n := *l; {
	case n == noLimit:
		return "all"
	case n > 0 && n%(1<<30) == 0:
		return strconv.FormatInt(int64(n>>30), 10) + "G"
	default:
		return strconv.FormatInt(int64(n), 10)
	}
}

func (l *byteLimit) Type() string { return "N" }

func (l *byteLimit) Set(s string) error {
	if s == noLimitWord {
		*l = noLimit
		return nil
	}
	number := strings.TrimRight(s, "iB")
	shift := 0
	if n := len(number); n > 0 {
		if i := strings.IndexByte("KMGTP", number[n-1]&^0x20); i >= 0 {
			number, shift = number[:n-1], 10*(i+1)
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || !(f > 0) || f*float64(int64(1)<<shift) >= math.MaxInt64 {
		return errors.New("it must be a number of bytes, which K, M, G or T may follow, or " + noLimitWord)
	}
	*l = byteLimit(f * float64(int64(1)<<shift))
	return nil
}

const noLimitWord = "all"

// addMaxBytes adds the flag to a command that reads values.
func (p *program) addMaxBytes(cmd *cobra.Command) {
	p.maxBytes = 1 << 30
	cmd.Flags().Var(&p.maxBytes, "max-bytes", "read at most `N` bytes of the values of remote files (K, M, G, T, or all)")
}

// tooMuch says how more is read than --max-bytes allows, and how a command reads less.
func (p *program) tooMuch(cmd *cobra.Command, err error) {
	e, ok := errors.AsType[*inspect.ReadLimitError](err)
	if !ok {
		return
	}
	less := ""
	for _, way := range []struct{ flag, does string }{
		{"match", "--match and --exclude choose fewer tensors"}, {"sample", "--sample reads a part of each"}, {"slice", "--slice reads a part of each"}, {"headers", "--headers reads none"}, {"names-only", "--names-only reads none"},
	} {
		if cmd.Flags().Lookup(way.flag) != nil && !cmd.Flags().Changed(wholeFiles) {
			less += "; " + way.does
		}
	}
	p.say("hint: --max-bytes %d reads them%s", e.Bytes, less)
}
