package pytorch

import (
	"strconv"
	"strings"
)

// Tree returns the tensors by the keys that torch made their names of, in the part that [NewFile]
// lists of a file with the same state dict. They have no data; the key of a tensor's storage is
// its name in Tensors.
func (d *Distributed) Tree() *File { return d.tree }

// plant makes the tree of a checkpoint, and chooses the part of it that is listed.
func (d *Distributed) plant(state *Dict, memory int) error {
	root, ok := d.unflatten(d.keysBy(state))
	if !ok {
		root, _ = d.unflatten(func(name string) []string { return []string{name} })
	}
	d.tree = &File{contents: &contents{root: root, memory: memory}}
	return d.tree.choose()
}

// keysBy returns what takes a name apart. flatten_state_dict joined the keys with dots
// (torch/distributed/checkpoint/_nested_dict.py), and planner_data has them (default_planner.py,
// create_global_plan). Of a state dict that was not flattened only the names are known: what
// begins with an optimiser's key is its state, and the rest goes by the first key, too.
func (d *Distributed) keysBy(state *Dict) func(name string) []string {
	if data, ok := lookup[*Dict](state, "planner_data"); ok && len(data.Items) > 0 {
		paths := make(map[string]*List, len(data.Items))
		for _, item := range data.Items {
			name, _ := item.Key.(string)
			paths[name], _ = item.Value.(*List)
		}
		return func(name string) []string { return keysOf(name, paths[name]) }
	}
	for i := range d.Tensors {
		if key, _, nested := strings.Cut(d.Tensors[i].Name, "."); nested && isOptimizerKey(key) {
			return func(name string) []string { return strings.SplitN(name, ".", 2) }
		}
	}
	return func(name string) []string { return []string{name} }
}

// keysOf returns the keys of a path, and the name as the only one when it is not made of them.
func keysOf(name string, path *List) []string {
	if path == nil || len(path.Items) > maxDepth {
		return []string{name}
	}
	var keys []string
	rest, ok := name, true
	for i, v := range path.Items {
		key, isText := v.(string)
		if n, isNumber := v.(int64); isNumber {
			key, isText = strconv.FormatInt(n, 10), true
		}
		if i > 0 {
			rest, ok = strings.CutPrefix(rest, ".")
		}
		if ok {
			rest, ok = strings.CutPrefix(rest, key)
		}
		if !ok || !isText {
			return []string{name}
		}
		keys = append(keys, key)
	}
	if rest != "" || len(keys) == 0 {
		return []string{name}
	}
	return keys
}

// unflatten makes a tree of the tensors and objects, false where a key would be of two of them.
func (d *Distributed) unflatten(keys func(name string) []string) (root *Dict, ok bool) {
	type place struct {
		in  *Dict
		key string
	}
	root = &Dict{}
	dicts, taken := make(map[place]*Dict), make(map[place]bool)
	put := func(name string, v Value) bool {
		at, path := root, keys(name)
		for _, key := range path[:len(path)-1] {
			p := place{at, key}
			if dicts[p] == nil {
				if taken[p] {
					return false
				}
				dicts[p], taken[p] = &Dict{}, true
				at.Items = append(at.Items, Item{key, dicts[p]})
			}
			at = dicts[p]
		}
		p := place{at, path[len(path)-1]}
		if taken[p] {
			return false
		}
		taken[p] = true
		at.Items = append(at.Items, Item{p.key, v})
		return true
	}
	ok = true
	var room arena
	var storages pieced[Storage]
	for i := range d.Tensors {
		t := &d.Tensors[i]
		one := room.tensor(Tensor{Layout: room.shaped(t.DType, t.Shape)})
		n, _ := one.Elements()
		kind, _ := room.kind(StorageKind{DType: t.DType, Elements: n})
		one.Storage = storages.add(Storage{Key: t.Name, StorageKind: kind, at: -1, id: uint32(i)})
		ok = put(t.Name, one) && ok
	}
	for _, o := range d.Objects {
		ok = put(o.Name, "<an object in "+o.Place.File+">") && ok
	}
	return root, ok
}
