package answer

import (
	"math"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
)

// Arrays are printed as NumPy prints them with floatmode='unique', so that every number is
// read back as it is. The rules are those of numpy/core/arrayprint.py: FloatingFormat,
// ComplexFloatingFormat, IntegerFormat and BoolFormat for the numbers, _formatArray for
// the brackets.

// writeArray appends the numbers of a tensor, those of Shown. Lines are broken at a width,
// 0 for none.
func writeArray(b *strings.Builder, t *inspect.CatTensor, numbers []inspect.Number, width int) {
	if len(numbers) == 0 {
		b.WriteString("[]")
		return
	}
	if width == 0 {
		width = math.MaxInt32
	}
	a := arrayText{b: b, t: t, words: wordsOf(t, numbers)}
	a.write(0, " ", width)
}

// An arrayText is an array while it is printed.
type arrayText struct {
	b     *strings.Builder
	t     *inspect.CatTensor
	words []string // of the elements that are left
}

// write writes what is below an axis: lines that begin with an indent, and end within a
// width.
func (a *arrayText) write(axis int, indent string, width int) {
	shape, shown := a.t.ValuesShape, a.t.Shown
	if axis == len(shown) {
		a.b.WriteString(a.words[0])
		a.words = a.words[1:]
		return
	}
	a.b.WriteByte('[')
	n := shown[axis]
	gap := func(i uint64) bool { return n < shape[axis] && i == n/2 }
	if axis < len(shown)-1 {
		between := "," + strings.Repeat("\n", len(shown)-1-axis) + indent
		for i := range n {
			if gap(i) {
				a.b.WriteString("..." + between)
			}
			a.write(axis+1, indent+" ", width-1)
			if i < n-1 {
				a.b.WriteString(between)
			}
		}
	} else {
		l := line{b: a.b, indent: indent, width: width - 1, length: len(indent)}
		for i := range n {
			if gap(i) {
				l.add("...")
			}
			l.add(a.words[i])
		}
		a.words = a.words[n:]
	}
	a.b.WriteByte(']')
}

// A line is the one that is being filled.
type line struct {
	b             *strings.Builder
	indent        string
	width, length int
	begun         bool
}

// add adds a word, on a new line where it does not fit.
func (l *line) add(word string) {
	const between = ", "
	if l.begun {
		l.length += len(between)
	}
	switch {
	case l.begun && l.length+len(word) > l.width:
		l.b.WriteString(strings.TrimSpace(between) + "\n" + l.indent)
		l.length = len(l.indent)
	case l.begun:
		l.b.WriteString(between)
	}
	l.begun = true
	l.b.WriteString(word)
	l.length += len(word)
}

// wordsOf are the elements as they are printed, all of one width.
func wordsOf(t *inspect.CatTensor, numbers []inspect.Number) []string {
	switch t.Kind() {
	case "bool":
		out := make([]string, len(numbers))
		for i, n := range numbers {
			switch {
			case n.Value == 0:
				out[i] = "False"
			case len(t.Shown) > 0:
				out[i] = " True"
			default:
				out[i] = "True"
			}
		}
		return out
	case "integer":
		out := make([]string, len(numbers))
		for i, n := range numbers {
			out[i] = n.Digits
		}
		return alignRight(out)
	case "complex":
		var of [2][]inspect.Number
		for i, n := range numbers {
			of[i%2] = append(of[i%2], n)
		}
		real, imag := floatWords(of[0], false), floatWords(of[1], true)
		for i, word := range imag {
			number := strings.TrimRight(word, " ")
			real[i] += number + "j" + word[len(number):]
		}
		return real
	}
	return floatWords(numbers, false)
}

func alignRight(words []string) []string {
	most := 0
	for _, w := range words {
		most = max(most, len(w))
	}
	for i, w := range words {
		words[i] = strings.Repeat(" ", most-len(w)) + w
	}
	return words
}

// floatWords are floats with their points below each other, with exponents where the
// numbers are far apart; plus gives those above 0 a sign, too.
func floatWords(numbers []inspect.Number, plus bool) []string {
	exponents := farApart(numbers)
	// cut takes a number apart at its point and its exponent, and says how wide the parts are.
	type parts struct{ whole, fraction, power string }
	var before, behind, power int
	cut := func(text string) parts {
		text, e, _ := strings.Cut(text, "e")
		whole, fraction, _ := strings.Cut(text, ".")
		if plus && !strings.HasPrefix(whole, "-") {
			whole = "+" + whole
		}
		before, behind, power = max(before, len(whole)), max(behind, len(fraction)), max(power, len(e))
		return parts{whole, fraction, e}
	}
	finite := func(n inspect.Number) bool { return n.Value-n.Value == 0 }
	list := make([]parts, len(numbers))
	for i, n := range numbers {
		switch {
		case !finite(n):
		case exponents:
			list[i] = cut(n.Digits)
		default:
			list[i] = cut(positional(n))
		}
	}
	tail := behind
	if exponents {
		for i, n := range numbers {
			if finite(n) && len(list[i].fraction) < behind { // more of the number's own digits
				list[i] = cut(strconv.FormatFloat(n.Value, 'e', behind, 64))
			}
		}
		tail += 1 + power
	}
	for _, n := range numbers {
		if !finite(n) {
			before = max(before, len(special(n, plus))-1-tail)
		}
	}
	out := make([]string, len(numbers))
	for i, n := range numbers {
		if !finite(n) {
			word := special(n, plus)
			out[i] = strings.Repeat(" ", before+1+tail-len(word)) + word
			continue
		}
		l := list[i]
		text := strings.Repeat(" ", before-len(l.whole)) + l.whole + "." + l.fraction
		if exponents {
			text += "e" + l.power[:1] + strings.Repeat("0", power-len(l.power)) + l.power[1:]
		}
		out[i] = text + strings.Repeat(" ", before+1+tail-len(text))
	}
	return out
}

// farApart reports whether numbers are printed with exponents. What counts is how they are
// printed: the least float32 that reads 0.0001 is less.
func farApart(numbers []inspect.Number) bool {
	least, most := math.Inf(1), 0.0
	for _, n := range numbers {
		if v, err := strconv.ParseFloat(n.Digits, 64); err == nil && v != 0 && v-v == 0 {
			least, most = min(least, math.Abs(v)), max(most, math.Abs(v))
		}
	}
	return most > 0 && (most >= 1e8 || least < 1e-4 || most/least > 1000)
}

// special is the word of what is not finite.
func special(n inspect.Number, plus bool) string {
	sign := ""
	switch {
	case math.IsInf(n.Value, -1):
		sign = "-"
	case plus:
		sign = "+"
	}
	if math.IsNaN(n.Value) {
		return strings.TrimPrefix(sign, "-") + "nan"
	}
	return sign + "inf"
}

// positional writes a number without an exponent, all of its own digits up to the point.
func positional(n inspect.Number) string {
	mantissa, power, _ := strings.Cut(n.Digits, "e")
	e, _ := strconv.Atoi(power) // which is ours
	_, fraction, _ := strings.Cut(mantissa, ".")
	behind := len(fraction) - e
	if behind <= 0 {
		return strconv.FormatFloat(n.Value, 'f', 0, 64) + "."
	}
	return strconv.FormatFloat(n.Value, 'f', behind, 64)
}
