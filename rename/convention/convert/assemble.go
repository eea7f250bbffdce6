package convert

import (
	"cmp"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// An operand is what the operations of a move work on: a tensor of the
// checkpoint at first, parts and stacks of them later.
type operand struct {
	module  string
	number  int // of a numbered module; -1 otherwise
	storage storage
	rows    int64 // along the output axis; 0 when unknown
	experts int64 // in a stack; 0 when unknown
	name    string
	packed  bool
}

// An assembly builds the moves of one group.
type assembly struct {
	cv       *converter
	leaf     string
	index    []int // without the number
	from     []string
	operands []operand
	ops      []tensorop.Op
	has      func(module string) bool // whether the target has a tensor for it
}

// assemble takes a group apart into single projections and puts them together
// as the target has them.
func (cv *converter) assemble(g *convGroup) error {
	switch {
	case strings.Contains(g.role, ".attn.kv_b."):
		return cv.latent(g)
	case strings.HasSuffix(g.role, linearAttention+"qkvz.weight"):
		return cv.delta(g)
	}
	first := &g.members[0]
	for i := range g.members {
		m := &g.members[i]
		if m.name == "" || len(m.companions) > 0 {
			name := m.name
			if len(m.companions) > 0 {
				name = m.companions[0].name
			}
			return cv.refuse(name, "its weight is packed or has scales, and its rows would have to move")
		}
	}
	slices.SortStableFunc(g.members, func(a, b member) int {
		return cmp.Or(cmp.Compare(partRank(a.role), partRank(b.role)), slices.Compare(a.index, b.index))
	})
	a := &assembly{cv: cv}
	_, a.leaf = cutLeaf(first.role)
	a.index = first.index
	if isNumbered(first.role) {
		a.index = first.index[:len(first.index)-1]
	}
	for i := range g.members {
		m := &g.members[i]
		module, leaf := cutLeaf(m.role)
		o := operand{module: module, number: -1, name: m.name, storage: storageOf(cv.from, module, leaf), packed: m.packed}
		o.storage.pack(cv.from, m.packed)
		if isNumbered(m.role) {
			o.number = m.index[len(m.index)-1]
		}
		flat := o.storage.flat
		if _, stacked := oneModule(module); stacked && len(m.shape) > 0 && !flat {
			o.experts = int64(m.shape[0])
		}
		if axis := a.axis(o); axis < len(m.shape) && !flat {
			o.rows = int64(m.shape[axis])
		}
		if flat {
			n, err := cv.experts(o)
			if err != nil {
				return err
			}
			o.experts = int64(n)
			a.ops = append(a.ops, tensorop.Op{Kind: tensorop.Unflatten, Index: len(a.operands), Count: 1, Groups: o.experts})
		}
		a.from = append(a.from, m.name)
		a.operands = append(a.operands, o)
	}
	roles := cv.targets(first.role)
	a.has = func(module string) bool { return slices.Contains(roles, module+"."+a.leaf) }
	for _, step := range []func() error{a.stack, a.split, a.rope, a.join, a.unstack} {
		if err := step(); err != nil {
			return err
		}
	}
	return a.name()
}

// partRank orders the parts of a whole.
func partRank(role string) int {
	module, _ := cutLeaf(role)
	last := module[strings.LastIndexByte(module, '.')+1:]
	return slices.Index([]string{"qkv_mlp", "qkv", "gate_up", "q", "kv", "k", "v", "gate", "up"}, last)
}

// axis is the output axis of an operand.
func (a *assembly) axis(o operand) int {
	axis := 0
	if _, stacked := oneModule(o.module); stacked {
		axis = 1
	}
	if o.storage.transposed {
		axis++
	}
	return axis
}

// split takes the fused operands apart.
func (a *assembly) split() error {
	for i := 0; i < len(a.operands); i++ {
		o := a.operands[i]
		names := parts(o.module)
		if names == nil {
			continue
		}
		op := tensorop.Op{Kind: tensorop.Split, Index: i, Count: 1, Axis: a.axis(o)}
		if err := a.cv.fusion(&op, a.cv.from, o, len(names)); err != nil {
			return err
		}
		if op.Layout == convention.UpFirst {
			op.Layout = tensorop.Contiguous
			slices.Reverse(names)
		}
		a.ops = append(a.ops, op)
		out := make([]operand, len(names))
		for j, n := range names {
			out[j] = operand{module: n, number: o.number, storage: o.storage, experts: o.experts, name: o.name, packed: o.packed}
			out[j].rows = share(&op, o.rows, j, len(names))
		}
		a.operands = slices.Replace(a.operands, i, i+1, out...)
	}
	return nil
}

// share gives the length of a part of so many rows, 0 where that is not known.
func share(op *tensorop.Op, rows int64, part, parts int) int64 {
	if op.Sizes == nil {
		return rows / int64(parts)
	}
	return rows / sum(op.Sizes) * op.Sizes[part]
}

func sum(list []int64) int64 {
	total := int64(0)
	for _, v := range list {
		total += v
	}
	return total
}

// fusion fills in how a fused tensor is put together.
func (cv *converter) fusion(op *tensorop.Op, c *convention.Convention, o operand, n int) error {
	s := storageOf(c, o.module, "weight")
	op.Layout = s.fused
	last := o.module[strings.LastIndexByte(o.module, '.')+1:]
	if sizes := c.Layout.Parts[last]; len(sizes) == n {
		op.Sizes = sizes
		if o.rows%sum(sizes) != 0 {
			return cv.refuse(o.name, "its %s are not %v in proportion", plural.Of(o.rows, "row"), sizes)
		}
		return nil
	}
	if n == 2 && strings.HasSuffix(o.module, "gate_up") {
		return nil // equal parts
	}
	heads, kv, dim, err := cv.heads(o.name)
	if err != nil {
		return err
	}
	sizes := []int64{heads * dim, kv * dim, kv * dim}
	if n == 2 {
		sizes = sizes[1:]
	}
	if total := sum(sizes); o.rows > 0 && o.rows != total {
		return cv.refuse(o.name, "it has %s; %s and %s of %d make %d", plural.Of(o.rows, "row"), plural.Of(heads, "head"), plural.Of(kv, "key/value head"), dim, total)
	}
	op.Sizes = sizes
	switch op.Layout {
	case tensorop.PerHead:
		if kv != heads && n == 3 {
			return cv.refuse(o.name, "its parts lie head by head, but there are %s and %s", plural.Of(heads, "head"), plural.Of(kv, "key/value head"))
		}
		op.Groups = kv
	case tensorop.Grouped:
		if heads%kv != 0 {
			return cv.refuse(o.name, "%s do not divide among %s", plural.Of(heads, "head"), plural.Of(kv, "key/value head"))
		}
		op.Groups = kv
	}
	return nil
}

// heads returns the numbers of heads and key/value heads and the size of a
// head.
func (cv *converter) heads(tensor string) (heads, kv, dim int64, err error) {
	heads, ok := cv.model.Number("num_attention_heads")
	if !ok {
		e := cv.refuse(tensor, "the number of attention heads is not known")
		e.Needs = "num_attention_heads"
		return 0, 0, 0, e
	}
	kv, _ = cv.model.Number("num_key_value_heads")
	dim, ok = cv.model.Number("head_dim")
	if !ok {
		hidden, ok := cv.model.Number("hidden_size")
		if !ok || heads > 0 && hidden%heads != 0 {
			e := cv.refuse(tensor, "the size of a head is not known")
			e.Needs = "head_dim"
			return 0, 0, 0, e
		}
		dim = hidden / max(heads, 1)
	}
	const limit = 1 << 24
	if heads <= 0 || kv <= 0 || dim <= 0 || heads > limit || kv > limit || dim > limit {
		return 0, 0, 0, cv.refuse(tensor, "%s and %s of size %d cannot be", plural.Of(heads, "head"), plural.Of(kv, "key/value head"), dim)
	}
	return heads, kv, dim, nil
}

// stacks reports whether the target holds a numbered module only as one of a
// stack.
func (a *assembly) stacks(o operand) bool {
	return o.number >= 0 && !a.reaches(o.module) && a.reaches(stackedModule(o.module))
}

// unstacks is the reverse of stacks.
func (a *assembly) unstacks(module string) bool {
	one, stacked := oneModule(module)
	return stacked && !a.reaches(module) && a.reaches(one)
}

// stack puts numbered tensors into one. It comes before everything else, so
// that a thousand experts are split or joined once.
func (a *assembly) stack() error {
	// A run of one part for a stack; the parts of one number for a join.
	if len(a.ops) > 0 {
		return nil // flat experts are in stacks already, in the order of their parts
	}
	perm := make([]int, len(a.operands))
	for i := range perm {
		perm[i] = i
	}
	slices.SortStableFunc(perm, func(x, y int) int {
		ox, oy := a.operands[x], a.operands[y]
		part, number := cmp.Compare(partRank(ox.module+"."+a.leaf), partRank(oy.module+"."+a.leaf)), cmp.Compare(ox.number, oy.number)
		if a.stacks(ox) {
			return cmp.Or(part, number)
		}
		return cmp.Or(number, part)
	})
	from, operands := make([]string, len(perm)), make([]operand, len(perm))
	for i, p := range perm {
		from[i], operands[i] = a.from[p], a.operands[p]
	}
	a.from, a.operands = from, operands
	for i := 0; i < len(a.operands); i++ {
		o := a.operands[i]
		if !a.stacks(o) {
			continue
		}
		n := 1
		for i+n < len(a.operands) && a.operands[i+n].module == o.module && a.operands[i+n].number == o.number+n {
			n++
		}
		if o.number != 0 || i+n < len(a.operands) && a.operands[i+n].module == o.module {
			return a.cv.refuse(o.name, "the %ss are not numbered from 0 without a gap", lastIndexName(a.cv.from, o.module+"."+a.leaf))
		}
		a.ops = append(a.ops, tensorop.Op{Kind: tensorop.Stack, Index: i, Count: n})
		o.module, o.number = stackedModule(o.module), -1
		a.operands = slices.Replace(a.operands, i, i+n, o)
	}
	return nil
}

// rope reorders the rows of queries and keys.
func (a *assembly) rope() error {
	for i, o := range a.operands {
		from, to := a.rowOrder(a.cv.from, o.module), a.rowOrder(a.cv.to, o.module)
		if from == to || from == "" || to == "" {
			continue
		}
		heads, kv, dim, err := a.cv.heads(o.name)
		if err != nil {
			return err
		}
		if strings.HasSuffix(o.module, ".k") {
			heads = kv
		}
		if o.rows > 0 && (o.rows%heads != 0 || o.rows/heads%2 != 0) {
			return a.cv.refuse(o.name, "its %s do not divide into %s of an even size", plural.Of(o.rows, "row"), plural.Of(heads, "head"))
		}
		turn := tensorop.Op{Kind: tensorop.Permute, Index: i, Count: 1, Axis: a.axis(o), Heads: heads, From: from, To: to}
		turned, err := a.cv.turned(o.name, dim)
		if err != nil {
			return err
		}
		if turned < dim {
			turn.Rotary = turned
		}
		a.ops = append(a.ops, turn)
	}
	return nil
}

func (a *assembly) rowOrder(c *convention.Convention, module string) string {
	s := storageOf(c, module, a.leaf)
	s.turn(c, module, a.cv.model)
	return s.rope
}

// turned is how many rows of a head rotary embedding turns. Those of a model without
// sections are all moved.
func (cv *converter) turned(tensor string, dim int64) (int64, error) {
	if !cv.model.Sections {
		return dim, nil
	}
	n := int64(cv.model.Rotary * float64(dim))
	switch {
	case cv.model.Rotary == 0:
		e := cv.refuse(tensor, "how much of a head is turned is not known")
		e.Needs = "partial_rotary_factor"
		return 0, e
	case n <= 0 || n > dim || n%2 != 0:
		return 0, cv.refuse(tensor, "%g of heads of size %d cannot be turned", cv.model.Rotary, dim)
	}
	return n, nil
}

// join puts together what the target fuses.
func (a *assembly) join() error {
	cv := a.cv
	for i := 0; i < len(a.operands); i++ {
		o := a.operands[i]
		has := a.has
		if a.unstacks(o.module) {
			// It is joined as a stack and taken apart later.
			has = func(module string) bool { one, _ := oneModule(module); return a.has(one) }
		}
		if has(o.module) {
			continue
		}
		whole, names := wholeOf(o.module, has)
		if whole == "" {
			return cv.placeless(o.name, o.module+"."+a.leaf)
		}
		op := tensorop.Op{Kind: tensorop.Concat, Index: i, Count: len(names), Axis: a.axis(o)}
		w := operand{module: whole, number: o.number, storage: o.storage, experts: o.experts, name: o.name, packed: o.packed}
		if err := cv.fusion(&op, cv.to, w, len(names)); err != nil {
			return err
		}
		if n := len(names); n == 2 && i+1 < len(a.operands) && o.module == names[1] && a.operands[i+1].module == names[0] {
			// They were split from a tensor that has them the other way round.
			a.ops = append(a.ops, tensorop.Op{Kind: tensorop.Swap, Index: i, Count: 2})
			a.operands[i], a.operands[i+1] = a.operands[i+1], a.operands[i]
		}
		for j, n := range names {
			if i+j >= len(a.operands) || a.operands[i+j].module != n || a.operands[i+j].number != o.number {
				missing := n
				if o.module != names[0] {
					missing = names[0]
				}
				return cv.refuse(o.name, "%s joins it with %s, which is not there", cv.to.Name, missing)
			}
			if op.Sizes != nil && op.Sizes[0]*a.operands[i+j].rows != op.Sizes[j]*a.operands[i].rows {
				return cv.refuse(a.operands[i+j].name, "it has %s beside %d of %s; %s wants them in the proportion %d to %d", plural.Of(a.operands[i+j].rows, "row"), a.operands[i].rows, names[0], cv.to.Name, op.Sizes[j], op.Sizes[0])
			}
		}
		if op.Layout == convention.UpFirst {
			op.Layout = tensorop.Contiguous
			a.ops = append(a.ops, tensorop.Op{Kind: tensorop.Swap, Index: i, Count: 2})
		}
		a.ops = append(a.ops, op)
		a.operands = slices.Replace(a.operands, i, i+len(names), w)
	}
	return nil
}

// unstack takes stacks apart.
func (a *assembly) unstack() error {
	for i := 0; i < len(a.operands); i++ {
		o := a.operands[i]
		if !a.unstacks(o.module) {
			continue
		}
		n, err := a.cv.experts(o)
		if err != nil {
			return err
		}
		one, _ := oneModule(o.module)
		a.ops = append(a.ops, tensorop.Op{Kind: tensorop.Unstack, Index: i, Count: 1, Sizes: ones(n)})
		out := make([]operand, n)
		for e := range out {
			out[e] = operand{module: one, number: e, storage: o.storage, name: o.name, packed: o.packed}
		}
		a.operands = slices.Replace(a.operands, i, i+1, out...)
		i += n - 1
	}
	return nil
}

// name turns the operands round where the target does and gives them their new
// names.
func (a *assembly) name() error {
	cv := a.cv
	move := Move{From: a.from}
	for i, o := range a.operands {
		want := storageOf(cv.to, o.module, a.leaf)
		want.pack(cv.to, o.packed)
		f := form{cv: cv, module: o.module, name: o.name, index: i}
		ops, err := f.change(o.storage, want)
		if err != nil {
			return err
		}
		a.ops = append(a.ops, ops...)
		if want.flat {
			a.ops = append(a.ops, tensorop.Op{Kind: tensorop.Flatten, Index: i, Count: 1})
		}
		index := a.index
		if o.number >= 0 {
			index = append(slices.Clone(index), o.number)
		}
		role := o.module + "." + a.leaf
		name, ok := cv.format(role, index)
		if !ok {
			return cv.refuse(o.name, "%s has no name for %v", cv.to.Name, convention.ID{Role: role, Index: index})
		}
		cv.give(role)
		move.To = append(move.To, name)
	}
	move.Ops = a.ops
	cv.out.Moves = append(cv.out.Moves, divide(move)...)
	return nil
}

// reaches reports whether the target has a module, or one that it is fused into
// or a part of.
func (a *assembly) reaches(module string) bool {
	if a.has(module) || slices.ContainsFunc(parts(module), a.has) {
		return true
	}
	whole, _ := wholeOf(module, a.has)
	return whole != ""
}

// wholeOf finds the fused module that a module is a part of.
func wholeOf(module string, has func(string) bool) (whole string, names []string) {
	for _, f := range fusions {
		for _, p := range f.parts {
			stem, ok := cutModule(module, p)
			if w := stem + f.whole; ok && has(w) {
				return w, parts(w)
			}
		}
	}
	return "", nil
}

// divide cuts a move into those that share no operand, so that a tensor that
// only changes its name is not held up by its neighbours, and each expert can
// be joined on its own.
func divide(m Move) []Move {
	// Which sources meet: operands carry the number of a source, and the
	// operations that join them join the sources.
	parent := make([]int, len(m.From))
	for i := range parent {
		parent[i] = i
	}
	find := func(i int) int {
		for parent[i] != i {
			i = parent[i]
		}
		return i
	}
	operands := make([]int, len(m.From))
	for i := range operands {
		operands[i] = i
	}
	for _, o := range m.Ops {
		for i := 1; i < o.Count; i++ {
			parent[find(operands[o.Index+i])] = find(operands[o.Index])
		}
		operands = applied(&o, operands)
	}
	out := make([]Move, 0, len(m.From))
	place := make(map[int]int)
	of := func(source int) *Move {
		root := find(source)
		if _, ok := place[root]; !ok {
			place[root] = len(out)
			out = append(out, Move{})
		}
		return &out[place[root]]
	}
	for i, name := range m.From {
		n := of(i)
		n.From = append(n.From, name)
	}
	for i := range operands {
		n := of(operands[i])
		n.To = append(n.To, m.To[i])
	}
	// Once more, to count the operands of each part by themselves.
	operands = operands[:0]
	for i := range m.From {
		operands = append(operands, i)
	}
	for _, o := range m.Ops {
		root, local := find(operands[o.Index]), 0
		for _, p := range operands[:o.Index] {
			if find(p) == root {
				local++
			}
		}
		operands = applied(&o, operands)
		o.Index = local
		n := of(root)
		n.Ops = append(n.Ops, o)
	}
	return out
}

// applied returns a list of operands as the operation leaves it, each result in
// the place of the first operand.
func applied(o *tensorop.Op, operands []int) []int {
	results := slices.Repeat(operands[o.Index:o.Index+1], o.Results())
	return slices.Replace(slices.Clone(operands), o.Index, o.Index+o.Count, results...)
}

// experts returns how many tensors a stack holds.
func (cv *converter) experts(o operand) (int, error) {
	if o.experts > 0 && o.experts <= 1<<16 {
		return int(o.experts), nil
	}
	n, ok := cv.model.Number("num_local_experts")
	if !ok || n <= 0 || n > 1<<16 {
		e := cv.refuse(o.name, "the number of experts is not known")
		e.Needs = "num_local_experts"
		return 0, e
	}
	return int(n), nil
}

func ones(n int) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = 1
	}
	return out
}

// lastIndexName is what a numbered role counts.
func lastIndexName(c *convention.Convention, role string) string {
	if t, ok := c.Role(role); ok {
		return cmp.Or(t.Pattern.Counts(), "part")
	}
	return "part"
}

// latent converts the up-projection of multi-head latent attention, which
// llama.cpp keeps in two parts, the first of them transposed head by head.
func (cv *converter) latent(g *convGroup) error {
	first := &g.members[0]
	if len(g.members) == 2 && first.role != strings.Replace(g.role, "kv_b", "k_b", 1) {
		g.members[0], g.members[1] = g.members[1], g.members[0]
	}
	var dims [4]int64
	if k, v := g.members[0].shape, g.members[len(g.members)-1].shape; len(g.members) == 2 && len(k) == 3 && len(v) == 3 && k[0] == v[0] && k[1] == v[2] {
		dims = [4]int64{int64(k[0]), int64(k[2]), int64(v[1]), int64(k[1])}
	} else {
		for i, key := range []string{"num_attention_heads", "qk_nope_head_dim", "v_head_dim", "kv_lora_rank"} {
			var err error
			if dims[i], err = cv.number(first.name, key); err != nil {
				return err
			}
		}
	}
	heads, nope, value, rank := dims[0], dims[1], dims[2], dims[3]
	join := tensorop.Op{Index: 0, Sizes: []int64{heads * nope, heads * value}, Layout: tensorop.PerHead, Groups: heads}
	role := func(m string) string { return strings.Replace(g.role, "kv_b", m, 1) }
	if len(g.members) == 1 && first.role == g.role {
		join.Kind, join.Count = tensorop.Split, 1
		return cv.finishGroup(g, []string{first.name}, []string{role("k_b"), role("v_b")}, []tensorop.Op{
			join,
			{Kind: tensorop.Reshape, Index: 0, Count: 1, Shape: []int64{heads, nope, rank}},
			{Kind: tensorop.Transpose, Index: 0, Count: 1},
			{Kind: tensorop.Reshape, Index: 1, Count: 1, Shape: []int64{heads, value, rank}},
		})
	}
	if len(g.members) != 2 {
		return cv.refuse(first.name, "its other half is not there")
	}
	join.Kind, join.Count = tensorop.Concat, 2
	return cv.finishGroup(g, []string{g.members[0].name, g.members[1].name}, []string{g.role}, []tensorop.Op{
		{Kind: tensorop.Transpose, Index: 0, Count: 1},
		{Kind: tensorop.Reshape, Index: 0, Count: 1, Shape: []int64{heads * nope, rank}},
		{Kind: tensorop.Reshape, Index: 1, Count: 1, Shape: []int64{heads * value, rank}},
		join,
	})
}

// delta converts the input projection of gated linear attention, which
// transformers keeps by key head, a piece of each part, and llama.cpp in two: all
// queries, all keys and all values, and the gates.
func (cv *converter) delta(g *convGroup) error {
	role := func(m string) string { return strings.Replace(g.role, "qkvz", m, 1) }
	slices.SortFunc(g.members, func(a, b member) int { return strings.Compare(a.role, b.role) })
	first, last := &g.members[0], &g.members[len(g.members)-1]
	n, err := cv.deltaHeads(first.name)
	if err != nil {
		return err
	}
	dk, err := cv.number(first.name, "linear_key_head_dim")
	if err != nil {
		return err
	}
	dv, ok := cv.model.Number("linear_value_head_dim")
	if rows := last.shape; !ok && last.role == role("z") && len(rows) > 0 {
		dv, ok = int64(rows[0])/n.values, true
	}
	if !ok || dv <= 0 || dv > 1<<24 {
		_, err := cv.number(first.name, "linear_value_head_dim")
		return err
	}
	keys, values := n.keys*dk, n.values*dv
	apart := tensorop.Op{Sizes: []int64{keys, keys, values, values}, Layout: tensorop.PerHead, Groups: n.keys}
	joined := tensorop.Op{Sizes: []int64{keys, keys, values}, Layout: tensorop.Contiguous}
	switch {
	case len(g.members) == 1 && first.role == g.role:
		apart.Kind, apart.Count, joined.Kind, joined.Count = tensorop.Split, 1, tensorop.Concat, 3
		return cv.finishGroup(g, []string{first.name}, []string{role("qkv"), role("z")}, []tensorop.Op{apart, joined})
	case len(g.members) == 2 && first.role == role("qkv") && last.role == role("z"):
		apart.Kind, apart.Count, joined.Kind, joined.Count = tensorop.Concat, 4, tensorop.Split, 1
		return cv.finishGroup(g, []string{first.name, last.name}, []string{g.role}, []tensorop.Op{joined, apart})
	}
	return cv.refuse(first.name, "its other half is not there")
}

// finishGroup adds the move of a group, unless its weights are packed.
func (cv *converter) finishGroup(g *convGroup, from, roles []string, ops []tensorop.Op) error {
	for i := range g.members {
		if m := &g.members[i]; m.name == "" || len(m.companions) > 0 {
			return cv.refuse(cmp.Or(m.name, m.companions[0].name), "its weight is packed or has scales, and would have to be %s", done(ops[0].Kind))
		}
	}
	m := Move{From: from, Ops: ops}
	for _, r := range roles {
		name, ok := cv.format(r, g.members[0].index)
		if !ok {
			return cv.placeless(from[0], r)
		}
		cv.give(r)
		m.To = append(m.To, name)
	}
	cv.out.Moves = append(cv.out.Moves, m)
	return nil
}
