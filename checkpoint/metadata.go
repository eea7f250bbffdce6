package checkpoint

import (
	"bytes"
	"io"

	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/pytorch"
)

// A MetaKV is one entry of the metadata: of safetensors' __metadata__, a GGUF
// key/value, or what a PyTorch file holds beside the tensors.
type MetaKV struct {
	// File is the index in [Checkpoint].Files of the file that says so, or -1
	// when all files say the same (for GGUF: all that have the key).
	File int
	Key  string
	// Text is the value in safetensors, where every value is a string. In a PyTorch file it is a
	// string as it is, and anything else as Python spells it, cut when it is long.
	Text string
	// Value is the typed value in GGUF, nil elsewhere.
	Value *gguf.Value
	// Torch is the value in a PyTorch file, nil elsewhere.
	Torch *pytorch.KV

	record *io.SectionReader // of the whole record in GGUF
}

// IsFiller reports whether the entry says nothing and only takes up room in a
// GGUF header.
func (m *MetaKV) IsFiller() bool {
	return m.Value != nil && (&gguf.KV{Key: m.Key, Value: *m.Value}).IsFiller()
}

// mostSpelled bounds TorchText.
const mostSpelled = 128 << 10

// TorchText spells the value of a PyTorch file as Python does, up to 128 KiB of it. Values that
// differ are spelled differently up to there.
func (m *MetaKV) TorchText() string { return pytorch.Repr(m.Torch.Value, mostSpelled) }

// equal reports whether two entries of one key are the same. GGUF records are
// compared as they are in the files, since their values may be long.
func (m *MetaKV) equal(o *MetaKV) bool {
	if m == o {
		return true
	}
	if m.Torch != nil && o.Torch != nil {
		return m.TorchText() == o.TorchText()
	}
	if m.record == nil || o.record == nil {
		return m.Text == o.Text && m.record == o.record
	}
	if m.record.Size() != o.record.Size() {
		return false
	}
	var a, b [4096]byte
	for at := int64(0); at < m.record.Size(); {
		n, err := m.record.ReadAt(a[:], at)
		k, _ := o.record.ReadAt(b[:n], at)
		if n == 0 || k != n || !bytes.Equal(a[:n], b[:n]) {
			return false
		}
		if at += int64(n); err != nil && at < m.record.Size() {
			return false
		}
	}
	return true
}

// Metadata returns the metadata of the file, none when it could not be read.
func (f *File) Metadata() []MetaKV {
	if f.format == nil {
		return nil
	}
	return f.format.metadata()
}

// Metadata returns the metadata of all files, in the order of the files and
// then of the entries. Where files disagree, each has its own entry.
func (c *Checkpoint) Metadata() []MetaKV {
	type place struct {
		key string
		nth int // of a key that one file repeats
	}
	var order []place
	byPlace := make(map[place][]MetaKV)
	readable := 0
	for i, f := range c.Files {
		if f.format == nil {
			continue
		}
		readable++
		count := make(map[string]int)
		for _, m := range f.format.metadata() {
			m.File = i
			p := place{m.Key, count[m.Key]}
			count[m.Key]++
			if byPlace[p] == nil {
				order = append(order, p)
			}
			byPlace[p] = append(byPlace[p], m)
		}
	}
	list := make([]MetaKV, 0, len(order))
	for _, p := range order {
		entries := byPlace[p]
		same := c.Format == GGUF || len(entries) == readable
		for i := range entries {
			same = same && entries[i].equal(&entries[0])
		}
		if same {
			entries = entries[:1]
			entries[0].File = -1
		}
		list = append(list, entries...)
	}
	return list
}
