package pytorch

import (
	"encoding/binary"
	"math/big"
)

// magic begins the stream that torch wrote before 1.6 (serialization.py, MAGIC_NUMBER), and
// streamVersion follows it.
const (
	magic         = "1950a86a20f9469cfc6c"
	streamVersion = 1001
	legacyPickles = 5
)

// magicOpcodes are the magic number as LONG1 writes it.
var magicOpcodes = []byte("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.")

// openStream reads a file that begins with a pickle: a legacy checkpoint, or only that. The
// pickles of a stream are the magic number, the version, what wrote it, the object, and the keys
// of the storages.
func (f *File) openStream() error {
	m := newMachine(&window{r: f.r, size: f.size})
	m.strings, m.meta = f.nested, f.meta
	v, pos, err := m.run(0)
	if _, broken := err.(*Fault); broken && !m.w.isPickle() && len(m.order) == 0 {
		return newFault(CodeNotTorch, 0, "", "neither a zip archive nor a pickle")
	}
	if m.wrapped {
		return newFault(CodeNotTorch, 0, "", "not a checkpoint of torch but a file of joblib, with arrays of NumPy between its opcodes: load it there, and save the weights with safetensors")
	}
	if err != nil {
		return err
	}
	if !isMagic(v) {
		f.container, f.pickles = Pickle, int64(pos)
		f.finish(m, v, pos)
		return f.after(m, pos)
	}
	f.container = Legacy
	var parts [legacyPickles - 1]Value
	for i := range parts {
		m.keys = i == len(parts)-1
		if parts[i], pos, err = m.run(pos); err != nil {
			return err
		}
		if i == 0 && parts[0] != int64(streamVersion) {
			return newFault(CodeStream, m.w.place(m.pos), "", "the stream has version %s, and %d is the only one", repr(parts[0]), streamVersion)
		}
	}
	f.finish(m, parts[2], pos)
	keys, ok := parts[3].(*List)
	if !ok {
		return newFault(CodeStream, m.w.place(m.pos), "", "the stream's list of storages is %s", repr(parts[3]))
	}
	f.pickles = int64(pos)
	return f.placeStorages(keys, &m.storages, f.pickles)
}

func isMagic(v Value) bool {
	n, ok := v.(*big.Int)
	return ok && n.Text(16) == magic
}

// isPickle reports whether a run of bytes begins as only pickles do: those of protocol 2
// or newer, and the magic number in protocol 0 or 1.
func (w *window) isPickle() bool {
	b, err := w.view(0, 1)
	return err == nil && (b[0] == opProto || b[0] == opLong || b[0] == opLong1)
}

// storageOf returns the storage that an entry of the list of storages means, nil for none.
func storageOf(entry Value, storages *storageTable) *Storage {
	if key, ok := entry.(storageKey); ok {
		return key.of
	}
	return storages.find(keyText(entry))
}

// placeStorages finds where the storages of a stream are: each is the number of its
// elements in 8 bytes, and the elements, always little-endian
// (torch/csrc/serialization.cpp, THPStorage_writeFileRaw).
func (f *File) placeStorages(keys *List, storages *storageTable, at int64) error {
	for _, k := range keys.Items {
		s := storageOf(k, storages)
		if s == nil {
			// Without a class its size is not known, nor where the next one begins.
			return newFault(CodeStream, at, "", "the stream has a storage %s that the pickle does not mention", quote(keyText(k)))
		}
		size, ok := s.Bytes()
		if !ok || at > f.size {
			break
		}
		if s.at < 0 {
			s.at, s.size, s.plain = at, size, true
		} else {
			s.twice = true // torch reads one after the other into it
		}
		at += 8
		if size > uint64(max(f.size-at, 0)) {
			f.end = f.size
			return nil
		}
		at += int64(size)
	}
	f.end = min(at, f.size)
	return nil
}

func (f *File) validateStream(l *faultList) {
	for s := range f.Storages() {
		var raw [8]byte
		if s.at < 0 || f.size-s.at < 8 { // reported as missing bytes
			continue
		}
		if err := readFull(f.r, raw[:], s.at); err != nil {
			l.report(CodeUnreadable, s.at, "", "storage %s: %v", quote(s.Key), err)
			continue
		}
		if n := binary.LittleEndian.Uint64(raw[:]); n != s.Elements {
			l.report(CodeStorageSize, s.at, "", "storage %s has %d elements, and %d in the pickle", quote(s.Key), n, s.Elements)
		}
	}
	if f.end < f.size {
		var next [1]byte
		switch err := readFull(f.r, next[:], f.end); {
		case err != nil:
			l.report(CodeUnreadable, f.end, "", "what follows the last storage: %v", err)
		case next[0] == opProto:
			l.report(CodeMorePickles, f.end, "", "another pickle follows the last storage, in the last %d bytes: torch.load does not run it", f.size-f.end)
		default:
			l.report(CodeTrailingData, f.end, "", "%d bytes follow the last storage", f.size-f.end)
		}
	}
}
