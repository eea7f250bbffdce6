package inspect

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

// IdentifyOptions adjust [Identify]. Nil options are the defaults.
type IdentifyOptions struct {
	// Why is the name of a tensor to explain, which the checkpoint need not have.
	Why string
}

// An IdentifyResult says which naming convention a checkpoint follows.
type IdentifyResult struct {
	Path string
	*identify.Result
	// Why explains the name that was asked for, nil when none was.
	Why *identify.Explanation
}

// Identify tells which naming convention the tensors of a checkpoint follow. It
// goes by names and shapes; what stands beside the weights only chooses between
// conventions that these allow.
func Identify(ctx context.Context, c *checkpoint.Checkpoint, opts *IdentifyOptions) (*IdentifyResult, error) {
	m, _ := adapt.Model(ctx, c) // a document that cannot be read says nothing
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &IdentifyResult{Path: c.Path, Result: identify.Tensors(adapt.Tensors(c), m)}
	if opts != nil && opts.Why != "" {
		r.Why = identify.Why(opts.Why, adapt.Tensors(c), m)
	}
	return r, nil
}

// MarshalJSON implements [json.Marshaler]: the members of the result stand between
// path and why.
func (r *IdentifyResult) MarshalJSON() ([]byte, error) {
	var members [3][]byte
	for i, v := range []any{
		struct {
			Path string `json:"path"`
		}{r.Path},
		r.Result,
		struct {
			Why *identify.Explanation `json:"why,omitempty"`
		}{r.Why},
	} {
		object, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		members[i] = object[1 : len(object)-1]
	}
	list := members[:]
	if len(members[2]) == 0 {
		list = list[:2]
	}
	return slices.Concat([]byte{'{'}, bytes.Join(list, []byte{','}), []byte{'}'}), nil
}
