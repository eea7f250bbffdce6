package inspect

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/values"
)

// A Slice is a part of an array, in the words of NumPy's basic slicing: 0:4,:8.
type Slice struct{ items []sliceItem }

// A sliceItem is what is taken of an axis: a place, or those from start to stop. What is
// nil is the end of the axis. The one of "..." stands for all axes that no other is for.
type sliceItem struct {
	word              string // of an index, as it was given
	rest              bool
	index             *int64
	start, stop, step *int64
}

// ParseSlice parses a slice: for each axis, separated by commas, an index, which takes the
// axis away, or START:STOP:STEP. "..." means all of the axes that nothing else is about, as
// does the end. Below 0, a place counts from the end of its axis, and a step goes back.
func ParseSlice(text string) (*Slice, error) {
	inner := strings.TrimSpace(text)
	if strings.HasPrefix(inner, "[") && strings.HasSuffix(inner, "]") {
		inner = strings.TrimSpace(inner[1 : len(inner)-1])
		if inner != "" && !strings.ContainsAny(inner, ":.") { // between brackets it is a list, which keeps its axis
			return nil, fmt.Errorf("slice %q: it is what stands between NumPy's brackets, where [%s] is a list: %s takes the axis away, and START:STOP keeps it", text, inner, inner)
		}
	}
	if inner == "" {
		return nil, fmt.Errorf("slice %q: it is empty; it is what stands between NumPy's brackets, such as 0:4,:8", text)
	}
	s := &Slice{}
	rests := 0
	for i, word := range strings.Split(strings.TrimSuffix(inner, ","), ",") {
		item, err := parseSliceItem(strings.TrimSpace(word))
		if err != nil {
			return nil, fmt.Errorf("slice %q, part %d: %w", text, i+1, err)
		}
		if item.rest {
			rests++
		}
		s.items = append(s.items, item)
	}
	if rests > 1 {
		return nil, fmt.Errorf("slice %q: there can be one ... only", text)
	}
	return s, nil
}

func parseSliceItem(word string) (sliceItem, error) {
	var item sliceItem
	if word == "..." {
		return sliceItem{rest: true}, nil
	}
	number := func(text string) (*int64, error) {
		if text = strings.TrimSpace(text); text == "" {
			return nil, nil
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) { // what is larger is outside, too
			return nil, fmt.Errorf("%q is not an integer; a part is an index, ... or START:STOP:STEP", text)
		}
		return &n, nil
	}
	parts := strings.Split(word, ":")
	if len(parts) > 3 {
		return item, fmt.Errorf("%q has more than START:STOP:STEP", word)
	}
	var err error
	if len(parts) == 1 {
		item.word = word
		if item.index, err = number(word); err == nil && item.index == nil {
			err = errors.New("nothing is between two commas; a part is an index, ... or START:STOP:STEP")
		}
		return item, err
	}
	for i, to := range []**int64{&item.start, &item.stop, &item.step}[:len(parts)] {
		if *to, err = number(parts[i]); err != nil {
			return item, err
		}
	}
	if item.step != nil && *item.step == 0 {
		return item, fmt.Errorf("%q has step 0", word)
	}
	return item, nil
}

// String returns the slice as NumPy has it between brackets.
func (s *Slice) String() string {
	var words []string
	text := func(n *int64) string {
		if n == nil {
			return ""
		}
		return strconv.FormatInt(*n, 10)
	}
	for _, item := range s.items {
		switch {
		case item.rest:
			words = append(words, "...")
		case item.index != nil:
			words = append(words, text(item.index))
		case item.step == nil:
			words = append(words, text(item.start)+":"+text(item.stop))
		default:
			words = append(words, text(item.start)+":"+text(item.stop)+":"+text(item.step))
		}
	}
	return strings.Join(words, ", ")
}

// of returns what a slice takes of each axis of a shape, and which axes it keeps. A nil
// slice takes everything.
func (s *Slice) of(shape []uint64) (axes []values.Range, kept []int, err error) {
	var items []sliceItem
	if s != nil {
		items = s.items
	}
	named := 0
	for _, item := range items {
		if !item.rest {
			named++
		}
	}
	if named > len(shape) {
		return nil, nil, fmt.Errorf("the slice %s has %s; a tensor of shape %s takes %d at most", s, plural.Of(named, "part"), shapeText(shape), len(shape))
	}
	all := func(n int) {
		for range n {
			items = append(items, sliceItem{})
		}
	}
	given := items
	items = nil
	for _, item := range given {
		if item.rest {
			all(len(shape) - named)
			named = len(shape)
			continue
		}
		items = append(items, item)
	}
	all(len(shape) - len(items))
	for axis, item := range items {
		if shape[axis] > math.MaxInt64 {
			return nil, nil, fmt.Errorf("axis %d is too long to be numbered: shape %s", axis, shapeText(shape))
		}
		n := int64(shape[axis])
		if item.index != nil {
			i := *item.index
			if i < 0 {
				i += n
			}
			if i < 0 || i >= n {
				return nil, nil, fmt.Errorf("index %s is outside axis %d, which has size %d: shape %s", item.word, axis, n, shapeText(shape))
			}
			axes = append(axes, values.Range{Start: i, Step: 1, N: 1})
			continue
		}
		axes, kept = append(axes, item.within(n)), append(kept, axis)
	}
	return axes, kept, nil
}

// within returns the places of an axis of n that START:STOP:STEP means, as Python's
// slice.indices has them.
func (item *sliceItem) within(n int64) values.Range {
	step := int64(1)
	if item.step != nil {
		step = *item.step
	}
	low, high := int64(0), n // where a place may be
	if step < 0 {
		low, high = -1, n-1
	}
	place := func(at *int64, otherwise int64) int64 {
		switch {
		case at == nil:
			return otherwise
		case *at < 0:
			return max(*at+n, low)
		}
		return min(*at, high)
	}
	start, stop := place(item.start, low), place(item.stop, high)
	if step < 0 {
		start, stop = place(item.start, high), place(item.stop, low)
		if start <= stop {
			return values.Range{Step: 1}
		}
		if step < -n {
			step = -n
		}
		return values.Range{Start: start, Step: step, N: (start-stop-1)/-step + 1}
	}
	if start >= stop {
		return values.Range{Step: 1}
	}
	step = min(step, n)
	return values.Range{Start: start, Step: step, N: (stop-start-1)/step + 1}
}

func shapeText(shape []uint64) string {
	return strings.ReplaceAll(fmt.Sprint(shape), " ", ",")
}
