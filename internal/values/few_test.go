package values

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// What is counted of few numbers, whose codes are gathered, is what is counted of many, among all codes:
// in one piece or several, merged from either side, and again after a reset.
func TestFewCodes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"BF16", "F16", "F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL"} {
		typ, ok := Lookup(name)
		if !ok {
			t.Fatalf("no type %s", name)
		}
		for _, size := range []int{0, 2, 30, 4096, mostFew - 2, mostFew, mostFew + 2, 3 * mostFew} {
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(rng.Uint32())
				if name == "BOOL" {
					data[i] &= 1
				}
			}
			tally := func(c *counter) (s Stats, sums moments, d distribution) {
				m, d := c.tally(&s)
				levels := append([]level(nil), d.levels...)
				return s, *m, distribution{known: d.known, levels: levels}
			}
			all := newCounter(typ)
			all.used = true // so that nothing is gathered
			all.add(data)
			want, wantSums, wantLevels := tally(all)
			half := size / 4 * 2
			ways := map[string]func(c *counter){
				"whole":  func(c *counter) { c.add(data) },
				"pieces": func(c *counter) { c.add(data[:half]); c.add(data[half:]) },
				"few into few": func(c *counter) {
					c.add(data[:half])
					other := newCounter(typ)
					other.add(data[half:])
					c.merge(other)
				},
				"many into few": func(c *counter) {
					c.add(data[:half])
					other := newCounter(typ)
					other.used = true
					other.add(data[half:])
					c.merge(other)
				},
				"few into many": func(c *counter) {
					c.used = true
					c.add(data[:half])
					other := newCounter(typ)
					other.add(data[half:])
					c.merge(other)
				},
			}
			c := newCounter(typ)
			for way, count := range ways {
				c.reset()
				count(c)
				for range 2 { // a tally changes nothing
					got, gotSums, gotLevels := tally(c)
					if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(gotSums, wantSums) || !reflect.DeepEqual(gotLevels, wantLevels) {
						t.Errorf("%s, %d bytes, %s: %+v, want %+v", name, size, way, got, want)
					}
				}
			}
		}
	}
}
