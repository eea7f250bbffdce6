package argv

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// A Limit is a number of bytes: 1073741824, 1G, 1GiB, all.
type Limit int64

const (
	// NoLimit is the limit of "all".
	NoLimit Limit = -1
	// RemoteValues is what is read of the values of remote files unless somebody says more.
	RemoteValues Limit = 1 << 30
)

func (l *Limit) String() string {
	switch n := *l; {
	case n == NoLimit:
		return "all"
	case n > 0 && n%(1<<30) == 0:
		return strconv.FormatInt(int64(n>>30), 10) + "G"
	default:
		return strconv.FormatInt(int64(n), 10)
	}
}

func (l *Limit) Type() string { return "N" }

func (l *Limit) Set(s string) error {
	if s == noLimitWord {
		*l = NoLimit
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
	*l = Limit(f * float64(int64(1)<<shift))
	return nil
}

const noLimitWord = "all"
