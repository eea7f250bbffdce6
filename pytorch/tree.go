package pytorch

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
)

// maxDepth bounds how deeply values are nested.
const maxDepth = 1000

// A Subtree is a part of what the pickle builds that holds tensors.
type Subtree struct {
	Path    string // as [File.Subtree] takes it
	Tensors int
	Bytes   uint64 // of the storages that they use, each once
	// Optimizer says that it looks like the state of an optimiser, which NewFile does not
	// list.
	Optimizer bool
	Listed    bool // by this File, or a part of it is
}

// A KV is a value without tensors, and the path of keys that leads to it.
type KV struct {
	Key   string
	Value Value
}

// maxMetadata bounds the entries of Metadata.
const maxMetadata = 10_000

// A walker walks the tree of values, which is a graph: values may occur in many places, and
// contain themselves.
type walker struct {
	*contents
	above   map[Value]bool // what the walk is in
	memory  int
	entries pieced[*Tensor]
	odd     faultList
	skip    bool     // optimisers, and at the first level what else is a trainer's
	naming  bool     // tensors get the names by which they are listed: they have none yet
	aside   []branch // what skip has left out
	way     []branch // to what find has found
	tally   *tally   // where tensors are counted, and not listed
}

// A branch is a value in the tree: its key, and the path that ends with it.
type branch struct {
	path, key string
	v         Value
}

func (f *File) walker() *walker {
	return &walker{contents: f.contents, above: map[Value]bool{}, memory: f.memory}
}

// charge takes n bytes from what the walk may cost, and leaves it when there is nothing
// left: names grow exponentially where lists are shared.
func (w *walker) charge(n int) {
	if w.memory -= n; w.memory < 0 {
		panic(stop{newFault(CodeLimit, -1, "", "the pickle has more names for its tensors than are listed")})
	}
}

// perStep is what a step of a walk is charged, so that its time is bounded, too.
const perStep = 8

func isContainer(v Value) bool {
	switch v := v.(type) {
	case *List, *Dict, *Object:
		return true
	case *Tensor:
		return v.attrs != nil
	}
	return false
}

// children returns the parts of a value with their keys.
func children(v Value) iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		indexed := func(items []Value) bool {
			for i, item := range items {
				if !yield(strconv.Itoa(i), item) {
					return false
				}
			}
			return true
		}
		switch v := v.(type) {
		case *List:
			indexed(v.Items)
		case *Dict:
			keyed(v.Items, yield)
		case *Tensor:
			if isContainer(v) {
				stateItems(v.attrs, yield)
			}
		case *Object:
			named, _ := v.Named.(*Dict)
			_ = keyed(v.Dict, yield) && indexed(v.Items) && statesItems(v.Earlier, yield) && stateItems(v.State, yield) &&
				(v.Args == nil || indexed(v.Args.Items)) && (named == nil || keyed(named.Items, yield))
		}
	}
}

func keyed(items []Item, yield func(string, Value) bool) bool {
	for _, item := range items {
		if !yield(keyText(item.Key), item.Value) {
			return false
		}
	}
	return true
}

// moduleParts are the attributes of a module that have its tensors and its modules
// (torch/nn/modules/module.py, Module.__init__).
var moduleParts = []string{"_parameters", "_buffers", "_modules"}

func statesItems(list []Value, yield func(string, Value) bool) bool {
	for _, state := range list {
		if !stateItems(state, yield) {
			return false
		}
	}
	return true
}

// isAttributes reports whether a value may be the attributes of an object: a dictionary, or None.
func isAttributes(v Value) bool {
	_, ok := v.(*Dict)
	return ok || v == nil
}

// stateItems returns the attributes of an object: its dictionary, or that and its slots. Of
// a torch.nn.Module they are what its state_dict() has, under the same names, and then its
// other attributes.
func stateItems(state Value, yield func(string, Value) bool) bool {
	l, ok := state.(*List)
	switch {
	case !ok:
	case l.Type == states:
		return statesItems(l.Items, yield)
	case l.Type == "tuple" && len(l.Items) == 2 && isAttributes(l.Items[0]) && isAttributes(l.Items[1]):
		return statesItems(l.Items, yield)
	}
	d, ok := state.(*Dict)
	if !ok {
		return state == nil || yield("state", state)
	}
	if _, ok := d.Lookup("_modules"); !ok {
		return keyed(d.Items, yield)
	}
	for _, key := range moduleParts {
		v, _ := d.Lookup(key)
		if part, ok := v.(*Dict); ok && !keyed(part.Items, yield) {
			return false
		}
	}
	for _, item := range d.Items {
		key := keyText(item.Key)
		own := strings.HasPrefix(key, "_") && (strings.Contains(key, "_hooks") || key == "_parameters" || key == "_buffers" ||
			key == "_modules" || key == "_non_persistent_buffers_set" || key == "_is_full_backward_hook")
		if !own && !yield(key, item.Value) {
			return false
		}
	}
	return true
}

// isTensor reports whether a value is a tensor, or an object that loading makes into one.
func isTensor(v Value) bool {
	switch v := v.(type) {
	case *Tensor:
		return true
	case *Object:
		return v.tensor != nil || notListed(v) != ""
	}
	return false
}

// A spot is what is known of a container.
type spot struct {
	number    uint32 // in the tree, from 1 on in the order in which they are found; 0 for one that is not in it
	holds     bool   // there are tensors below it
	optimizer bool   // it is the state of one
	unique    bool   // no key is repeated
	held      bool   // by more than the stack
}

// spotOf returns the spot of a container that has something in it, nil for any other value.
func spotOf(v Value) *spot {
	switch v := v.(type) {
	case *List:
		if len(v.Items) > 0 { // or it may be the empty tuple, which all files share
			return &v.spot
		}
	case *Dict:
		return &v.spot
	case *Object:
		return &v.spot
	case *Tensor:
		if v.attrs != nil {
			return &v.Layout.spot
		}
	}
	return nil
}

// findHolders finds the values with tensors below them: upwards from these, as a value may
// be below itself.
func (f *File) findHolders() {
	var found []Value     // containers, by their numbers
	var links [][2]uint32 // a container, and the one that it is in
	var holding []uint32  // what is known to have tensors below it
	meet := func(v Value) *spot {
		at := spotOf(v)
		if at != nil && at.number == 0 {
			found = append(found, v)
			at.number = uint32(len(found))
		}
		return at
	}
	markPlaced(f.root)
	meet(f.root)
	for i := 0; i < len(found); i++ {
		v := found[i]
		at := spotOf(v)
		f.unique(v)
		if d, ok := v.(*Dict); ok {
			// torch.optim.Optimizer.state_dict
			_, state := d.Lookup("state")
			_, groups := d.Lookup("param_groups")
			d.optimizer = state && groups
			f.optimizers = f.optimizers || d.optimizer
			f.findOddKeys(d)
		}
		for _, child := range children(v) {
			if isTensor(child) {
				markPlaced(child)
				if !at.holds {
					at.holds = true
					holding = append(holding, at.number)
				}
			}
			if below := meet(child); below != nil {
				links = append(links, [2]uint32{below.number, at.number})
			}
		}
	}
	slices.SortFunc(links, func(a, b [2]uint32) int { return cmp.Compare(a[0], b[0]) })
	for len(holding) > 0 {
		n := holding[len(holding)-1]
		holding = holding[:len(holding)-1]
		i, _ := slices.BinarySearchFunc(links, n, func(l [2]uint32, n uint32) int { return cmp.Compare(l[0], n) })
		for ; i < len(links) && links[i][0] == n; i++ {
			if above := spotOf(found[links[i][1]-1]); !above.holds {
				above.holds = true
				holding = append(holding, above.number)
			}
		}
	}
}

// findOddKeys reports keys of tensors that a name cannot be made of but by printing them. Numbers are keys in
// the states of optimisers, and bytes are those of Python 2.
func (f *File) findOddKeys(d *Dict) {
	for _, item := range d.Items {
		switch item.Key.(type) {
		case string, Bytes, int64:
		default:
			if isTensor(item.Value) {
				f.faults.report(CodeKeyType, -1, "", "a tensor has the key %s, which is neither text nor a whole number: its name is what Python prints for the key", repr(item.Key))
			}
		}
	}
}

// A made is the tensors that the functions of a pickle make, which begins at base of the file; -1 where that
// is not known.
type made struct {
	tensors pieced[Tensor]
	base    int64
	apart   []apart
}

// findLost counts the tensors that are made, and are in no part of what the pickle builds: the arguments of
// a function that drops them, keys, attributes of a dictionary, values that are taken from the stack.
func (f *File) findLost() {
	first, at := (*Tensor)(nil), int64(-1)
	for _, m := range f.made {
		for t := range m.tensors.all() {
			if t.placed || t.made == 0 {
				continue
			}
			if f.lost++; f.lost == 1 {
				if first = t; m.base >= 0 {
					at = m.base + int64(t.made)
				}
			}
			if n, ok := t.Bytes(); ok && f.lostBytes+n >= n {
				f.lostBytes += n
			}
		}
	}
	if first != nil {
		where := ""
		if paths := f.lostPaths(); len(paths) > 0 {
			where = "; there are some at " + plural.List(paths)
		}
		f.faults.report(CodeLost, at, "", "%s of %s %s in no part of what the pickle builds, as keys or attributes of a dictionary are, and not listed; the first is %s of storage %s%s",
			plural.Of(f.lost, "tensor"), plural.Of(f.lostBytes, "byte"), plural.Verb(f.lost, "are"), repr(first), quote(first.Storage.Key), where)
	}
	f.made = nil
}

// lostPaths returns where some of the tensors are that are not listed: keys of dictionaries, attributes of
// them, and hooks. What nothing refers to is nowhere.
func (f *File) lostPaths() (paths []string) {
	const few = 3
	aparts := make(map[Value][]apart)
	for _, m := range f.made {
		for _, a := range m.apart {
			aparts[a.of] = append(aparts[a.of], a)
		}
	}
	w := f.walker()
	var err error // what is too deep or too much is left out
	defer leaving(&err)
	var look, visit func(path string, v Value)
	look = func(path string, v Value) {
		if t := tensorOf(v); t != nil && !t.placed && t.made != 0 && len(paths) < few {
			paths = append(paths, quote(path))
		}
		w.enter(v, func(key string, child Value) { look(join(path, key), child) })
	}
	visit = func(path string, v Value) {
		for _, a := range aparts[v] {
			at := path
			if a.key != "" {
				at = join(path, a.key)
			}
			look(at, a.v)
		}
		if d, ok := v.(*Dict); ok {
			for _, item := range d.Items {
				if _, isText := item.Key.(string); !isText {
					look(join(path, "key "+cut(repr(item.Key))), item.Key)
				}
			}
		}
		w.enter(v, func(key string, child Value) {
			if len(paths) < few && (isContainer(child) || aparts[child] != nil) {
				w.charge(64 + len(path) + len(key))
				visit(join(path, key), child)
			}
		})
	}
	visit("", f.root)
	return paths
}

// Lost returns how many tensors the pickle makes that no File lists, and their bytes: those that are in
// no part of what it builds, and those of arguments that are no tensor's, whose bytes are not known.
func (f *File) Lost() (tensors int, bytes uint64) {
	return f.lost + f.faults.counts[CodeBadTensor], f.lostBytes
}

// markPlaced notes that a tensor is in what the pickle builds.
func markPlaced(v Value) {
	if t := tensorOf(v); t != nil {
		t.placed = true
	}
}

// holds reports whether there is a tensor in or below a value.
func holds(v Value) bool { return isTensor(v) || holdsBelow(v) }

// holdsBelow reports whether there is one below it.
func holdsBelow(v Value) bool {
	at := spotOf(v)
	return at != nil && at.holds
}

// isState reports whether a value is the state of an optimiser.
func isState(v Value) bool {
	d, ok := v.(*Dict)
	return ok && d.optimizer
}

// notListed returns the code of what Python makes a tensor of that has no strides or no
// storage.
func notListed(o *Object) Code {
	g, ok := o.Class.(*Global)
	if !ok {
		return ""
	}
	switch name := g.String(); {
	case strings.HasPrefix(name, "torch._utils._rebuild_sparse_"), strings.HasPrefix(g.Module, "torch.sparse"):
		return CodeSparse
	case name == "torch._utils._rebuild_nested_tensor":
		return CodeNested
	case name == "torch._utils._rebuild_device_tensor_from_numpy", name == "torch._utils._rebuild_xla_tensor":
		return CodeNumPy
	}
	return ""
}

// partsOf counts the tensors that one consists of which is not listed, as the indices and values of a
// sparse one, and their bytes. They are arguments, or in tuples of them.
func partsOf(o *Object) (n int, bytes uint64) {
	var count func(items []Value, depth int)
	count = func(items []Value, depth int) {
		for _, v := range items {
			if t := tensorOf(v); t != nil {
				size, _ := t.Bytes()
				n, bytes = n+1, bytes+size
			} else if l, ok := v.(*List); ok && depth > 0 {
				count(l.Items, depth-1)
			}
		}
	}
	if o.Args != nil {
		count(o.Args.Items, 2)
	}
	return n, bytes
}

// hasParts reports whether there are other tensors in a tensor.
func hasParts(t *Tensor) bool { return holdsBelow(t) }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// A tally counts tensors, and the storages that they use.
type tally struct {
	tensors int
	bytes   uint64
	round   uint32
	seen    []uint32 // the round in which a storage was counted, by its number
}

func (c *tally) add(t *Tensor) {
	c.tensors++
	s := t.Storage
	if s == nil {
		return
	}
	if n := int(s.id); n >= len(c.seen) {
		c.seen = append(c.seen, make([]uint32, n+1-len(c.seen))...)
	}
	if c.seen[s.id] == c.round {
		return
	}
	c.seen[s.id] = c.round
	if n, ok := s.Bytes(); ok && c.bytes+n >= n {
		c.bytes += n
	}
}

// count counts what is in and below a value.
func (w *walker) count(v Value) (tensors int, bytes uint64) {
	c := w.tally
	c.tensors, c.bytes = 0, 0
	c.round++
	w.list("", v)
	return c.tensors, c.bytes
}

// add appends a tensor to what is listed.
func (w *walker) add(path string, t *Tensor) {
	if w.tally != nil {
		w.tally.add(t)
		return
	}
	if t.Name != path {
		if !w.naming || t.Name != "" { // it has another name elsewhere
			own := *t
			t = &own
		}
		t.Name = path
	}
	w.entries.add(t)
}

// list appends the tensors in and below a value.
func (w *walker) list(path string, v Value) {
	switch t := v.(type) {
	case *Tensor:
		if t.Storage != nil || !hasParts(t) {
			w.add(path, t)
		}
		switch {
		case !hasParts(t):
			return
		case t.Storage == nil:
			w.odd.report(CodeWrapped, -1, path, "its data are other tensors, which are listed below its name (%s)", cut(t.Class))
		default:
			w.odd.report(CodeAttached, -1, path, "it has other tensors as attributes, which are listed below its name")
		}
	case *Object:
		if t.tensor != nil {
			w.add(path, t.tensor)
			return
		}
		if code := notListed(t); code != "" {
			n, bytes := partsOf(t)
			parts := ""
			if n > 0 {
				parts = fmt.Sprintf(": its parts are %s of %s", plural.Of(n, "tensor"), plural.Of(bytes, "byte"))
			}
			w.odd.report(code, -1, path, "it has no strides or no storage, and is not listed (%s)%s", repr(t), parts)
			return
		}
	}
	if isSharded(v) && holds(v) {
		w.odd.report(CodeWrapped, -1, path, "it is in shards, and those that one process has are listed below its name")
	}
	w.enter(v, func(key string, child Value) {
		if !holds(child) {
			return
		}
		name := join(path, key)
		w.charge(64 + len(name))
		if w.skip && (w.isOptimizer(key, child) || path == "" && w.isTrainers(key, child)) {
			w.aside = append(w.aside, branch{name, key, child})
			return
		}
		w.list(name, child)
	})
}

// isSharded reports whether a value is a ShardedTensor (torch/distributed/_shard/sharded_tensor/api.py), which holds
// the shards of the process that saved it.
func isSharded(v Value) bool {
	o, ok := v.(*Object)
	if !ok {
		return false
	}
	class, ok := o.Class.(*Global)
	return ok && class.Name == "ShardedTensor" && strings.HasPrefix(class.Module, "torch.distributed.")
}

// enter calls visit for the parts of a container, unless the walk is in it.
func (w *walker) enter(v Value, visit func(key string, child Value)) {
	if !isContainer(v) || w.above[v] {
		return
	}
	if len(w.above) == maxDepth {
		panic(stop{newFault(CodeDepth, -1, "", "values are nested more than %d deep", maxDepth)})
	}
	w.above[v] = true
	defer delete(w.above, v)
	for key, child := range children(v) {
		w.charge(perStep)
		visit(key, child)
	}
}

// isOptimizer reports whether a value is the state of an optimiser or several, or what a trainer
// calls so (Lightning's optimizer_states, DeepSpeed's optimizer_state_dict) and is no module's.
func (w *walker) isOptimizer(key string, v Value) bool {
	if t, ok := v.(*Tensor); ok && t.Storage != nil {
		return false
	}
	return isContainer(v) && (isState(v) || isOptimizerKey(key) && !w.isModules(v) || w.areOptimizers(v))
}

// areOptimizers reports whether all tensors of a value are in states of optimisers that it holds.
func (w *walker) areOptimizers(v Value) bool {
	if !w.optimizers || isTensor(v) {
		return false
	}
	some := false
	for _, child := range children(v) {
		w.charge(perStep)
		if !holds(child) {
			continue
		}
		if !isState(child) {
			return false
		}
		some = true
	}
	return some
}

// isModules reports whether a value is the state dict of a module, whatever it is called: the
// tensors in it are called weight and bias. The state of an optimiser has names of its own
// (exp_avg, momentum_buffer), or numbers.
func (w *walker) isModules(v Value) bool {
	modules, others := false, false
	w.enter(v, func(key string, child Value) {
		switch {
		case isTensor(child):
			last := key[strings.LastIndexByte(key, '.')+1:]
			modules = modules || last == "weight" || last == "bias"
		case holds(child):
			if isState(child) || !w.isModules(child) {
				others = true
			} else {
				modules = true
			}
		}
	})
	return modules && !others
}

func isOptimizerKey(key string) bool {
	key = strings.ToLower(key)
	return strings.Contains(key, "optimizer") || key == "optim" || strings.HasPrefix(key, "optim_")
}

// trainersKeys are those of what trainers keep beside a model that may have tensors of its own:
// Lightning (trainer/connectors/checkpoint_connector.py, dump_checkpoint), DeepSpeed
// (runtime/engine.py, _save_checkpoint) and Megatron (training/checkpointing.py,
// generate_state_dict).
var trainersKeys = map[string]bool{
	"callbacks": true, "loops": true, "lr_schedulers": true, "hyper_parameters": true, "MixedPrecision": true,
	"lr_scheduler": true, "scheduler": true, "scaler": true, "data_sampler": true, "random_ltd": true, "args": true,
	"opt_param_scheduler": true, "rng_state": true, "rng_states": true, "cuda_rng_state": true, "torch_rng_state": true,
}

// isTrainers reports whether a value is a trainer's, and no weight that has such a name.
func (w *walker) isTrainers(key string, v Value) bool {
	return isRandomKey(key) && w.isRandom(v) || trainersKeys[key] && (isContainer(v) && !isTensor(v) && !w.isModules(v) || isTensor(v) && strings.Contains(key, "rng_state"))
}

// isRandomKey reports whether a key may be that of the states of generators of random numbers, which has as many
// names as there are trainers: rng, cpu_rng_state, cuda_rng_state_all, generator_state, dataloader.
func isRandomKey(key string) bool {
	key = strings.ToLower(key)
	for _, part := range []string{"rng", "random", "generator", "sampler", "dataloader", "data_loader"} {
		if strings.Contains(key, part) {
			return true
		}
	}
	return false
}

// isRandom reports whether all tensors of a value are runs of bytes, as states of generators are
// (torch.get_rng_state).
func (w *walker) isRandom(v Value) bool {
	if t := tensorOf(v); t != nil {
		return t.DType == "uint8" && len(t.Shape) == 1
	}
	if isTensor(v) {
		return false
	}
	all := holds(v)
	w.enter(v, func(_ string, child Value) {
		all = all && (!holds(child) && !isTensor(child) || w.isRandom(child))
	})
	return all
}

func (w *walker) isBeside(key string, v Value) bool {
	return w.isOptimizer(key, v) || w.isTrainers(key, v)
}

// modelKeys are those under which trainers keep a state dict: PyTorch's tutorials and examples,
// Lightning, DeepSpeed (module), BasicSR (params), timm (state_dict_ema).
var modelKeys = map[string]bool{"model": true, "module": true, "net": true, "network": true, "params": true, "weights": true, "generator": true, "discriminator": true}

// isStateDict reports whether a part is the state dict of a module: by its key, or by the names
// in it, which state_dict() joins with dots.
func (w *walker) isStateDict(key string, v Value) bool {
	d, ok := v.(*Dict)
	if !ok || !holds(d) {
		return false
	}
	if key = strings.ToLower(key); strings.Contains(key, "state_dict") || modelKeys[strings.TrimSuffix(strings.TrimSuffix(key, "_ema"), "_g")] {
		return true
	}
	for name, child := range children(d) {
		w.charge(perStep)
		if isTensor(child) && strings.Contains(name, ".") {
			return true
		}
	}
	return false
}

// model returns the one part of a value that all of its tensors are in, apart from what is beside
// a model: the states of trainers, and beside a state dict loose tensors, such as the best
// accuracy so far (imagenet/main.py in pytorch/examples), and what is not one. It returns nil where
// there is no such part.
func (w *walker) model(node Value) (key string, part Value) {
	var dicts []string // those that are state dicts
	loose, large, parts := false, false, 0
	for k, child := range children(node) {
		w.charge(perStep)
		switch {
		case !holds(child) || w.isBeside(k, child):
		case isTensor(child):
			t := tensorOf(child)
			loose, large = true, large || t == nil || !isNumber(t)
		default:
			if parts++; parts == 1 {
				key, part = k, child
			}
			if w.isStateDict(k, child) {
				if dicts = append(dicts, k); len(dicts) == 1 {
					key, part = k, child
				}
			}
		}
	}
	switch {
	case parts == 1 && !loose:
	case len(dicts) != 1:
		return "", nil
	case (parts > 1 || large) && !strings.Contains(strings.ToLower(key), "state_dict"):
		return "", nil // as in a tree of parameters that has a module called net
	}
	return key, part
}

// tensorOf returns a value as a tensor, nil where it is none that is listed.
func tensorOf(v Value) *Tensor {
	switch t := v.(type) {
	case *Tensor:
		return t
	case *Object:
		return t.tensor
	}
	return nil
}

// isNumber reports whether a tensor is one number.
func isNumber(t *Tensor) bool {
	n, ok := t.Elements()
	return ok && n == 1
}

// choose selects the deepest subtree that holds all tensors, apart from what is beside
// the model's.
func (f *File) choose() (err error) {
	defer leaving(&err)
	f.findHolders()
	f.findLost()
	w := f.walker()
	w.skip, w.naming = !isState(f.root), true
	path, node := "", f.root
	var way []branch
	for w.skip && len(way) < maxDepth && !isModule(node) {
		key, only := w.model(node)
		_, isDict := only.(*Dict)
		if _, isObject := only.(*Object); !isDict && !isObject || isSharded(only) {
			break
		}
		w.charge(len(path) + len(key))
		path, node = join(path, key), only
		way = append(way, branch{path, key, node})
	}
	w.list("", node)
	if w.entries.n == 0 {
		w.skip, path, way, w.aside, w.odd = false, "", nil, nil, faultList{}
		w.list("", f.root)
	}
	f.path, f.way, f.aside, f.entries, f.odd = path, way, w.aside, w.entries, w.odd.list()
	return nil
}

// isModule reports whether a value is a torch.nn.Module, or one of TorchScript, whose state_dict()
// has the names that begin there.
func isModule(v Value) bool {
	o, ok := v.(*Object)
	if !ok {
		return false
	}
	if g, ok := o.Class.(*Global); ok && (g.Module == "__torch__" || strings.HasPrefix(g.Module, "__torch__.")) {
		return true
	}
	state, ok := o.State.(*Dict)
	if ok {
		_, ok = state.Lookup("_modules")
	}
	return ok
}

// IsState reports whether all tensors of the file are of the states of optimisers, and none of a model.
func (f *File) IsState() (is bool) {
	var err error // what is too much is no state
	defer leaving(&err)
	w := f.walker()
	if isState(f.root) || w.areOptimizers(f.root) {
		return true
	}
	some := false
	for key, child := range children(f.root) {
		w.charge(perStep)
		if !holds(child) {
			continue
		}
		if !w.isOptimizer(key, child) {
			return false
		}
		some = true
	}
	return some
}

// Unlisted returns what Python makes tensors of in the part that is listed, and what is not listed: the
// tensors of a thousand faults, which say why.
func (f *File) Unlisted() []Fault {
	return slices.DeleteFunc(slices.Clone(f.odd), func(flt Fault) bool {
		return flt.Code == CodeWrapped || flt.Code == CodeAttached || flt.Tensor == ""
	})
}

// Wrapped returns what the file has in the place of tensors whose data are other tensors, as those of a
// distributed tensor are the part of one process: the faults that say so, at most a thousand. The others are listed.
func (f *File) Wrapped() []Fault {
	return slices.DeleteFunc(slices.Clone(f.odd), func(flt Fault) bool { return flt.Code != CodeWrapped || flt.Tensor == "" })
}

// Subtree returns a File that lists the tensors in a part of the tree, whose names begin
// there, those beside the model's included. "" is all of it. The File shares its file with f;
// it returns false when there is no such part.
func (f *File) Subtree(path string) (sub *File, ok bool) {
	w := f.walker()
	var err error
	func() {
		defer leaving(&err)
		node, name := w.find(path)
		if ok = node != nil; !ok {
			return
		}
		if !isTensor(node) {
			name = ""
		}
		w.list(name, node)
	}()
	return &File{contents: f.contents, path: path, way: w.way, entries: w.entries, odd: w.odd.list()}, ok && err == nil
}

// find returns the part of the tree that has a path, and its last key; nil where there is none. It
// notes the way there.
func (w *walker) find(path string) (part Value, key string) {
	if path == "" {
		return w.root, ""
	}
	var below func(v Value, at, rest string)
	below = func(v Value, at, rest string) {
		w.enter(v, func(k string, child Value) {
			after, ok := strings.CutPrefix(rest, k)
			if part != nil || !ok || !isContainer(child) && !isTensor(child) {
				return
			}
			here := join(at, k)
			w.way = append(w.way, branch{here, k, child})
			switch {
			case after == "":
				part, key = child, k
			case after[0] == '.':
				below(child, here, after[1:])
			}
			if part == nil {
				w.way = w.way[:len(w.way)-1]
			}
		})
	}
	below(w.root, "", path)
	return part, key
}

// Subtrees returns the parts of the tree that hold tensors: those that the File lists, as
// they are on the way to its own or, of the whole, below it; and all others, so that each tensor
// is either listed or in one part that is not.
func (f *File) Subtrees() []Subtree { return f.subtrees(true) }

// Beside returns those of them that are not listed.
func (f *File) Beside() []Subtree { return f.subtrees(false) }

func (f *File) subtrees(withListed bool) (list []Subtree) {
	w := f.walker()
	w.tally = &tally{}
	var err error // what is too much is left out
	defer leaving(&err)
	add := func(p branch, listed bool) {
		if listed && !withListed {
			return
		}
		n, bytes := w.count(p.v)
		list = append(list, Subtree{Path: p.path, Tensors: n, Bytes: bytes, Optimizer: w.isOptimizer(p.key, p.v), Listed: listed})
	}
	path, node := "", f.root
	for _, next := range f.way {
		found := false
		for key, child := range children(node) {
			w.charge(perStep)
			if !holds(child) {
				continue
			}
			w.charge(len(path) + len(key))
			onWay := !found && key == next.key && child == next.v
			if found = found || onWay; onWay && isTensor(child) {
				continue // which is no part
			}
			add(branch{join(path, key), key, child}, onWay)
		}
		path, node = next.path, next.v
	}
	// What is below the way has names that begin there.
	aside := f.aside
	if len(f.way) == 0 {
		for key, child := range children(node) {
			w.charge(perStep)
			if !holds(child) {
				continue
			}
			if k := slices.IndexFunc(aside, func(p branch) bool { return p.path == key && p.v == child }); k >= 0 {
				add(aside[k], false)
				aside = slices.Delete(slices.Clone(aside), k, k+1)
			} else if !isTensor(child) {
				w.charge(len(key))
				add(branch{key, key, child}, true)
			}
		}
	}
	for _, p := range aside {
		w.charge(len(path) + len(p.path))
		add(branch{join(path, p.path), p.key, p.v}, false)
	}
	return list
}

// Models returns the paths of the state dicts in what the File lists, where there are several, such
// as the model and an average of it, or the two halves of a GAN. All of their names begin
// with the part. Alike says that they have the same names and shapes.
func (f *File) Models() (paths []string, alike bool) {
	w := f.walker()
	var err error // what is too much is left out
	defer leaving(&err)
	node := f.root
	if f.path != "" {
		node, _ = w.find(f.path)
	}
	alike = true
	var first pieced[*Tensor]
	for key, child := range children(node) {
		if w.isBeside(key, child) || !w.isStateDict(key, child) {
			continue
		}
		w.entries = pieced[*Tensor]{}
		w.list("", child)
		if paths = append(paths, join(f.path, key)); len(paths) == 1 {
			first = w.entries
			continue
		}
		alike = alike && first.n == w.entries.n
		for i := 0; alike && i < first.n; i++ {
			a, b := first.at(i), w.entries.at(i)
			alike = (*a).Name == (*b).Name && slices.Equal((*a).Shape, (*b).Shape)
		}
	}
	if len(paths) < 2 {
		return nil, false
	}
	return paths, alike
}

// Metadata returns what is beside the tensors, in the order of the pickle: numbers, strings
// and whatever else holds no tensor, each by its path. What belongs to optimisers is left
// out, and after 10,000 entries the rest.
func (f *File) Metadata() (list []KV) {
	w := f.walker()
	var err error // what is too much is left out
	defer leaving(&err)
	var walk func(path string, v Value)
	walk = func(path string, v Value) {
		w.enter(v, func(key string, child Value) {
			switch {
			case len(list) == maxMetadata || w.isOptimizer(key, child):
			case !holds(child):
				w.charge(len(path) + len(key) + 2*reprLen)
				list = append(list, KV{join(path, key), child})
			case isContainer(child) && !isTensor(child):
				walk(join(path, key), child)
			}
		})
	}
	walk("", f.root)
	return list
}

// unique drops what Python overwrites: of a repeated key the last value counts, at the place
// of the first.
func (f *File) unique(v Value) {
	var items *[]Item
	switch v := v.(type) {
	case *Dict:
		if v.unique {
			return
		}
		v.unique = true
		items = &v.Items
	case *Object:
		for _, state := range v.Earlier {
			f.uniqueState(state)
		}
		f.uniqueState(v.State)
		items = &v.Dict
	case *Tensor:
		f.uniqueState(v.attrs)
		return
	default:
		return
	}
	const short = 8 // without a table
	var seen numberTable
	if len(*items) > short {
		seen = newNumberTable(len(*items))
	}
	kept := (*items)[:0]
	for _, item := range *items {
		key, hash, have := pythonKey(item.Key), uint64(0), -1
		if len(seen.slots) == 0 {
			have = slices.IndexFunc(kept, func(k Item) bool { return pythonKey(k.Key) == key })
		} else {
			hash = maphash.Comparable(seen.seed, key)
			have = seen.find(hash, func(i int) bool { return pythonKey(kept[i].Key) == key })
		}
		if have >= 0 {
			f.faults.report(CodeDuplicateKey, -1, "", "a dictionary has the key %s twice, and the last one counts", repr(item.Key))
			kept[have].Value = item.Value
			continue
		}
		if len(seen.slots) > 0 {
			seen.put(hash, len(kept))
		}
		kept = append(kept, item)
	}
	clear((*items)[len(kept):])
	*items = kept
}

// uniqueState is unique for what stateItems takes the attributes from.
func (f *File) uniqueState(state Value) {
	switch state := state.(type) {
	case *List:
		if state.Type != states && len(state.Items) != 2 {
			return
		}
		for _, v := range state.Items {
			if _, ok := v.(*Dict); ok || state.Type == states {
				f.uniqueState(v)
			}
		}
	case *Dict:
		f.unique(state)
		for _, key := range moduleParts {
			if part, ok := lookup[*Dict](state, key); ok {
				f.unique(part)
			}
		}
	}
}

// pythonKey returns a key as a value that is equal where Python takes keys for equal.
func pythonKey(key Value) Value {
	switch k := key.(type) {
	case bool:
		if k {
			return int64(1)
		}
		return int64(0)
	case float64:
		if n := int64(k); float64(n) == k {
			return n
		}
	}
	return key
}
