package match

import "math"

// An assignment is the cheapest way to give rows columns, each at most once; what gets
// none has a price of its own. It is kept with what the algorithm knows, so that the cost
// without one of its pairs takes one more step, not another run (Kuhn, 1955; Munkres,
// 1957; the shortest augmenting paths are those of Jonker and Volgenant, 1987).
//
// Every row also has a column of its own, to stay alone in, and every column a row, so
// that the matrix is square and a solution always exists.
type assignment struct {
	n     int // rows, those of columns included
	cost  func(i, j int) float64
	u, v  []float64
	ofCol []int // the row of a column
	total float64
}

// assign solves the problem of rows and columns with a cost for each pair, infinite where
// they cannot be one, and the costs of staying alone.
func assign(rows, cols int, pair func(i, j int) float64, row, col func(i int) float64) *assignment {
	a := &assignment{n: rows + cols}
	a.cost = func(i, j int) float64 {
		switch {
		case i < rows && j < cols:
			return pair(i, j)
		case i < rows && j-cols == i:
			return row(i)
		case i >= rows && j == i-rows:
			return col(j)
		case i >= rows && j >= cols:
			return 0
		}
		return math.Inf(1)
	}
	a.u, a.v = make([]float64, a.n), make([]float64, a.n)
	a.ofCol = make([]int, a.n)
	for j := range a.ofCol {
		a.ofCol[j] = -1
	}
	for i := range a.n {
		a.augment(i, -1, -1)
	}
	a.sum()
	return a
}

func (a *assignment) sum() {
	a.total = 0
	for j, i := range a.ofCol {
		a.total += a.cost(i, j)
	}
}

// augment gives row i a column, along the cheapest path of exchanges. The pair of row fi
// and column fj is forbidden.
func (a *assignment) augment(i, fi, fj int) bool {
	n := a.n
	dist, from, done := make([]float64, n), make([]int, n), make([]bool, n)
	for j := range dist {
		dist[j], from[j] = math.Inf(1), -1
	}
	row, at, end := i, -1, -1
	best := 0.0
	var scanned []int
	for end < 0 {
		next := -1
		for j := range n {
			if done[j] {
				continue
			}
			c := a.cost(row, j)
			if row == fi && j == fj {
				c = math.Inf(1)
			}
			if d := best + c - a.u[row] - a.v[j]; d < dist[j] {
				dist[j], from[j] = d, at
			}
			if next < 0 || dist[j] < dist[next] {
				next = j
			}
		}
		if next < 0 || math.IsInf(dist[next], 1) {
			return false
		}
		best = dist[next]
		if a.ofCol[next] < 0 {
			end = next
			break
		}
		done[next] = true
		scanned = append(scanned, next)
		row, at = a.ofCol[next], next
	}
	a.u[i] += best
	for _, j := range scanned {
		a.u[a.ofCol[j]] += best - dist[j]
		a.v[j] -= best - dist[j]
	}
	for j := end; ; {
		prev := from[j]
		if prev < 0 {
			a.ofCol[j] = i
			return true
		}
		a.ofCol[j] = a.ofCol[prev]
		j = prev
	}
}

// without is the cheapest assignment in which row i does not have column j.
func (a *assignment) without(i, j int) *assignment {
	b := *a
	b.u, b.v, b.ofCol = append([]float64(nil), a.u...), append([]float64(nil), a.v...), append([]int(nil), a.ofCol...)
	b.ofCol[j] = -1
	if !b.augment(i, i, j) {
		b.total = math.Inf(1)
		return &b
	}
	b.sum()
	return &b
}
