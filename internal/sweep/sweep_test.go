package sweep

import "testing"

func TestParts(t *testing.T) {
	tried := func() (n int) {
		for i := range 100 {
			if Has(i, 7) {
				n++
			}
		}
		return n
	}
	t.Setenv(Env, "")
	if Whole() || tried() != 15 || Count(3, 50) != 3 {
		t.Errorf("a part is %d of 100, and %d of 50", tried(), Count(3, 50))
	}
	t.Setenv(Env, "1")
	if !Whole() || tried() != 100 || Count(3, 50) != 50 {
		t.Errorf("all are %d of 100, and %d of 50", tried(), Count(3, 50))
	}
}
