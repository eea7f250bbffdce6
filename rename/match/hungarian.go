package match

import (
	"math"
	"slices"
)

// An assignment is the cheapest way to give rows columns, each at most once; what gets
// none has a price of its own. It is kept with what the algorithm knows, so that the cost
// without one of its pairs takes two more steps, not another run (Kuhn, 1955; Munkres,
// 1957; the shortest augmenting paths are those of Jonker and Volgenant, 1987).
type assignment struct {
	cost  func(i, j int) float64 // infinite where the two cannot be one
	alone func(i int) float64    // of a row
	price func(j int) float64    // of a column that stays alone
	left  float64                // what all columns cost without rows
	u, v  []float64              // the duals of rows and of columns
	ofRow []int                  // the column of a row, or -1
	ofCol []int                  // the row of a column, or -1
	total float64
	steps int       // pairs that were looked at
	table []float64 // the costs of all pairs, nil until they are needed again and again
}

// assign solves the problem for some rows and columns, with a cost for each pair and the
// costs of rows and columns that stay alone.
func assign(rows, cols int, pair func(i, j int) float64, row, col func(i int) float64) *assignment {
	a := &assignment{alone: row, price: col, u: make([]float64, rows), v: make([]float64, cols), ofRow: slices.Repeat([]int{-1}, rows), ofCol: slices.Repeat([]int{-1}, cols)}
	prices := make([]float64, cols)
	for j := range cols {
		prices[j] = col(j)
		a.left += prices[j]
	}
	// A column that gets a row does not pay for being alone.
	a.cost = func(i, j int) float64 { return pair(i, j) - prices[j] }
	for i := range rows {
		a.insertRow(i, -1)
	}
	a.sum()
	return a
}

func (a *assignment) sum() {
	a.total = a.left
	for i, j := range a.ofRow {
		if j < 0 {
			a.total += a.alone(i)
		} else {
			a.total += a.cost(i, j)
		}
	}
}

// insertRow gives a row a column, other than one that is forbidden, or leaves it or
// another row alone.
func (a *assignment) insertRow(i, forbidden int) {
	cost := func(x, j int) float64 {
		if x == i && j == forbidden {
			return math.Inf(1)
		}
		return a.cost(x, j)
	}
	a.steps += insert(i, a.u, a.v, a.ofRow, a.ofCol, cost, a.alone)
}

// insertCol gives a column a row that wants it, other than those that are absent.
func (a *assignment) insertCol(j int, absent ...int) {
	cost := func(y, i int) float64 {
		if slices.Contains(absent, i) {
			return math.Inf(1)
		}
		return a.cost(i, y)
	}
	a.steps += insert(j, a.v, a.u, a.ofCol, a.ofRow, cost, func(int) float64 { return 0 })
}

// without is the cheapest assignment in which row i does not have column j. Without both
// it is what it was; the column is put back, and then the row.
func (a *assignment) without(i, j int) *assignment {
	if a.table == nil {
		n, cost := len(a.v), a.cost
		table := make([]float64, len(a.u)*n)
		for k := range table {
			table[k] = cost(k/n, k%n)
		}
		a.table, a.cost = table, func(x, y int) float64 { return table[x*n+y] }
	}
	b := *a
	b.u, b.v, b.ofRow, b.ofCol = slices.Clone(a.u), slices.Clone(a.v), slices.Clone(a.ofRow), slices.Clone(a.ofCol)
	b.ofRow[i], b.ofCol[j], b.u[i], b.v[j] = -1, -1, 0, 0
	b.insertCol(j, i)
	b.insertRow(i, j)
	b.sum()
	return &b
}

// less is the total of the cheapest assignment without some rows and columns, and the steps that
// it took. What lost its counterpart is put back.
func (a *assignment) less(rows, cols []int) (total float64, steps int) {
	b := *a
	b.steps = 0
	b.u, b.v, b.ofRow, b.ofCol = slices.Clone(a.u), slices.Clone(a.v), slices.Clone(a.ofRow), slices.Clone(a.ofCol)
	noRow, noCol := make([]bool, len(b.ofRow)), make([]bool, len(b.ofCol))
	for _, i := range rows {
		noRow[i] = true
	}
	for _, j := range cols {
		noCol[j] = true
		b.left -= a.price(j)
	}
	b.alone = func(i int) float64 {
		if noRow[i] {
			return 0
		}
		return a.alone(i)
	}
	b.cost = func(i, j int) float64 {
		if noRow[i] || noCol[j] {
			return math.Inf(1)
		}
		return a.cost(i, j)
	}
	var backRow, backCol []int
	for _, i := range rows {
		if j := b.ofRow[i]; j >= 0 {
			b.ofRow[i], b.ofCol[j], b.v[j] = -1, -1, 0
			if !noCol[j] {
				backCol = append(backCol, j)
			}
		}
	}
	for _, j := range cols {
		if i := b.ofCol[j]; i >= 0 {
			b.ofRow[i], b.ofCol[j], b.u[i] = -1, -1, 0
			backRow = append(backRow, i)
		}
	}
	for _, j := range backCol {
		b.insertCol(j, backRow...) // they are not back yet
	}
	for _, i := range backRow {
		b.insertRow(i, -1)
	}
	b.sum()
	return b.total, b.steps
}

// insert puts one more vertex of a side into a solution that is the cheapest without it:
// it gets one of the other side, or some vertex of its side stays alone, at the end of the
// cheapest path of exchanges. It returns how many pairs it looked at.
func insert(x int, own, other []float64, ofOwn, ofOther []int, cost func(x, y int) float64, alone func(x int) float64) int {
	n := len(other)
	dist, from, done := make([]float64, n), make([]int, n), make([]bool, n)
	for y := range dist {
		dist[y], from[y] = math.Inf(1), -1
	}
	var scanned []int
	// now was reached by at. The path ends in end, or in leaving that one alone which
	// last has.
	now, at, end, last := x, -1, -1, -1
	best, give := 0.0, math.Inf(1)
	for {
		if d := best + alone(now) - own[now]; d < give {
			give, last = d, at
		}
		next := -1
		for y := range n {
			if done[y] {
				continue
			}
			if d := best + cost(now, y) - own[now] - other[y]; d < dist[y] {
				dist[y], from[y] = d, at
			}
			if next < 0 || dist[y] < dist[next] {
				next = y
			}
		}
		if next < 0 || dist[next] > give || math.IsInf(dist[next], 1) {
			best, end = give, last
			break
		}
		best = dist[next]
		if ofOther[next] < 0 {
			end = next
			break
		}
		done[next] = true
		scanned = append(scanned, next)
		now, at = ofOther[next], next
	}
	own[x] += best
	for _, y := range scanned {
		own[ofOther[y]] += best - dist[y]
		other[y] -= best - dist[y]
	}
	if last >= 0 && end == last {
		ofOwn[ofOther[last]] = -1
	}
	for y := end; y >= 0; y = from[y] {
		to := x
		if from[y] >= 0 {
			to = ofOther[from[y]]
		}
		ofOther[y], ofOwn[to] = to, y
	}
	return n * (len(scanned) + 1)
}
