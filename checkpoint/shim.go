package checkpoint

import (
	"io"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/internal/jsondoc"
	"github.com/wtinspect/wtinspect/safetensors"
)

// stIndex reads small shard indexes whole, until package safetensors streams them.
type stIndex struct {
	names, shards []string
	total         uint64
	hasTotal      bool
}

func stReadIndex(r io.Reader) (*stIndex, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	d, err := jsondoc.Parse("index", b)
	if err != nil {
		return nil, &safetensors.Fault{Code: "index_json", Severity: safetensors.Error, Offset: -1, Detail: err.Error()}
	}
	m, ok := d.Lookup("weight_map")
	if !ok {
		return nil, &safetensors.Fault{Code: "index_no_weight_map", Severity: safetensors.Error, Offset: -1, Detail: "no weight_map"}
	}
	x := new(stIndex)
	for _, n := range m.Children() {
		s, _ := n.Text()
		x.names, x.shards = append(x.names, n.Key()), append(x.shards, s)
	}
	if t, ok := d.Lookup("metadata", "total_size"); ok {
		v, ok := t.Int()
		x.total, x.hasTotal = uint64(v), ok
	}
	return x, nil
}
func (x *stIndex) Len() int                      { return len(x.names) }
func (x *stIndex) At(i int) (name, shard string) { return x.names[i], x.shards[i] }
func (x *stIndex) TotalSize() (uint64, bool)     { return x.total, x.hasTotal }
func (x *stIndex) Faults() []safetensors.Fault   { return nil }
func (x *stIndex) Shards() (list []string) {
	seen := map[string]bool{}
	for _, s := range x.shards {
		if !seen[s] {
			seen[s] = true
			list = append(list, s)
		}
	}
	return list
}

func stParseShardName(n string) (prefix string, no, of int, ok bool) {
	stem, ok := strings.CutSuffix(n, ".safetensors")
	if !ok || len(stem) < 16 {
		return "", 0, 0, false
	}
	t := stem[len(stem)-15:]
	if t[0] != '-' || t[6:10] != "-of-" {
		return "", 0, 0, false
	}
	a, e1 := strconv.Atoi(t[1:6])
	b, e2 := strconv.Atoi(t[10:])
	return stem[:len(stem)-15], a, b, e1 == nil && e2 == nil
}
