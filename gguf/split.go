package gguf

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
)

// The keys of a split: a model in several files (tools/gguf-split in llama.cpp).
const (
	keySplitNo      = "split.no"
	keySplitCount   = "split.count"
	keySplitTensors = "split.tensors.count"
)

// A Split says which part of a split model a file is.
type Split struct {
	No      int   // the part's index, from 0; file names count from 1
	Count   int   // how many parts there are
	Tensors int64 // how many tensors all parts have together, -1 when the file does not say
}

// Split returns the file's place in a split model. It is false for a file that is
// no part of one: without the key split.count, or with 0 there, which is what
// merging leaves behind. The error is a [*Fault].
func (f *File) Split() (Split, bool, error) {
	count, ok, err := f.splitKey(keySplitCount, TypeUint16)
	if err != nil || !ok || count == 0 {
		return Split{}, false, err
	}
	no, ok, err := f.splitKey(keySplitNo, TypeUint16)
	if err != nil {
		return Split{}, false, err
	}
	if !ok {
		return Split{}, false, newFault(CodeMissingSplit, f.keyOffset(keySplitCount), "",
			"key %q says that this is one of %s, but there is no key %q to say which", keySplitCount, plural.Of(count, "part"), keySplitNo)
	}
	if no >= count {
		return Split{}, false, newFault(CodeSplitInconsistent, f.keyOffset(keySplitNo), "",
			"key %q is %d, and the parts are 0 to %d (key %q)", keySplitNo, no, count-1, keySplitCount)
	}
	tensors, ok, err := f.splitKey(keySplitTensors, TypeInt32)
	if err != nil {
		return Split{}, false, err
	}
	if !ok {
		tensors = -1
	} else if tensors < int64(len(f.Tensors)) {
		return Split{}, false, newFault(CodeSplitInconsistent, f.keyOffset(keySplitTensors), "",
			"key %q is %d, but this part alone has %s", keySplitTensors, tensors, plural.Of(len(f.Tensors), "tensor"))
	}
	return Split{No: int(no), Count: int(count), Tensors: tensors}, true, nil
}

// splitKey returns the value of an integer key. Its type is checked strictly, as
// llama.cpp aborts on any other.
func (f *File) splitKey(key string, t ValueType) (n int64, ok bool, err error) {
	v, ok := f.Lookup(key)
	if !ok {
		return 0, false, nil
	}
	if v.Type() != t {
		return 0, false, newFault(CodeSplitType, f.keyOffset(key), "", "key %q is of type %s, not %s", key, v.Type(), t)
	}
	n, ok = v.Int()
	return n, ok, nil
}

// keyOffset returns where the record of a key is, -1 when there is none.
func (f *File) keyOffset(key string) int64 {
	for _, kv := range f.KVs {
		if kv.Key == key {
			return kv.Offset
		}
	}
	return -1
}

// A SplitFault is a fault of a split model, in one of its parts.
type SplitFault struct {
	Part int // the index of the part
	Fault
}

// ValidateSplit checks the parts of a split model against each other: their numbers, the
// number of tensors, and that no tensor is in two of them. A part that is absent is
// nil. What is wrong with a part by itself is reported by its Validate.
func ValidateSplit(parts []*File) []SplitFault {
	var faults []SplitFault
	report := func(part int, f *Fault) { faults = append(faults, SplitFault{part, *f}) }

	type place struct{ part, tensor int }
	seen := map[string]place{}
	total, announced, complete := int64(0), int64(-1), true
	for i, f := range parts {
		if f == nil {
			report(i, newFault(CodeMissingSplit, -1, "", "part %d of %d is missing", i+1, len(parts)))
			complete = false
			continue
		}
		s, ok, err := f.Split()
		switch {
		case err != nil:
			// The part's own Validate reports it.
		case !ok:
			report(i, newFault(CodeMissingSplit, -1, "", "there is no key %q to say that this is part %d of %d", keySplitCount, i+1, len(parts)))
		default:
			if s.No != i {
				report(i, newFault(CodeSplitInconsistent, f.keyOffset(keySplitNo), "",
					"key %q is %d in part %d of %d, where it must be %d", keySplitNo, s.No, i+1, len(parts), i))
			}
			if s.Count != len(parts) {
				report(i, newFault(CodeSplitInconsistent, f.keyOffset(keySplitCount), "",
					"key %q is %d, and there %s %s", keySplitCount, s.Count, plural.Verb(len(parts), "are"), plural.Of(len(parts), "part")))
			}
			if announced < 0 {
				announced = s.Tensors
			} else if s.Tensors >= 0 && s.Tensors != announced {
				report(i, newFault(CodeSplitInconsistent, f.keyOffset(keySplitTensors), "",
					"key %q is %d, and an earlier part has %d", keySplitTensors, s.Tensors, announced))
			}
		}
		total += int64(len(f.Tensors))
		for j, t := range f.Tensors {
			first, ok := seen[t.Name]
			if !ok {
				seen[t.Name] = place{i, j}
			} else if first.part != i {
				report(i, newFault(CodeDuplicateTensor, t.InfoOffset, t.Name, "part %d has a tensor of this name already", first.part+1))
			}
		}
	}
	if complete && announced >= 0 && total != announced {
		report(0, newFault(CodeSplitInconsistent, parts[0].keyOffset(keySplitTensors), "",
			"the parts have %s, and key %q says %d", plural.Of(total, "tensor"), keySplitTensors, announced))
	}
	return faults
}

// ParseSplitName splits the name of a part, such as "m-00002-of-00005.gguf", into the
// prefix "m", the part's number, from 1, and the number of parts. name is a
// file name without a directory: ok is false when it is not, so that the names of the
// other parts ([SplitName] with the same prefix) stay in the directory of the first.
func ParseSplitName(name string) (prefix string, no, of int, ok bool) {
	stem, found := strings.CutSuffix(name, ".gguf")
	const digits = 5
	const tail = len("-00001-of-00005")
	if !found || len(stem) <= tail || strings.ContainsAny(name, "/\\\x00") || !filepath.IsLocal(name) {
		return "", 0, 0, false
	}
	prefix, stem = stem[:len(stem)-tail], stem[len(stem)-tail:]
	no, ok1 := parseDigits(stem[1 : 1+digits])
	of, ok2 := parseDigits(stem[tail-digits:])
	if !ok1 || !ok2 || stem != splitTail(no, of) || no < 1 || no > of {
		return "", 0, 0, false
	}
	return prefix, no, of, true
}

func parseDigits(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err == nil
}

// SplitName returns the file name of part no, counted from 1, of a model in of parts.
func SplitName(prefix string, no, of int) string {
	return prefix + splitTail(no, of) + ".gguf"
}

func splitTail(no, of int) string { return fmt.Sprintf("-%05d-of-%05d", no, of) }
