package pytorch

import "strings"

// persist pushes what a persistent id stands for.
func (m *machine) persist(pid Value) {
	m.toCome--
	v, ok := m.persistent(pid)
	l, isList := pid.(*List)
	switch {
	case !ok:
		m.warn(CodePersistentID, "the persistent id %s does not name a storage", repr(pid))
		m.charge(sizeOfObject)
		v = &Object{Class: pid}
	case isList && l.held:
		hold(v) // which may be a part of it
	case isList:
		m.recycle(l)
	}
	m.push(v)
}

// persistent returns what a persistent id stands for (serialization.py, persistent_load):
//
//	("storage", class, key, location, elements)
//	("storage", class, key, location, elements, None or (view key, offset, elements))
//	("module", class, source file, source text)
func (m *machine) persistent(pid Value) (Value, bool) {
	l, ok := pid.(*List)
	if !ok || l.Type != "tuple" || len(l.Items) < 2 {
		return nil, false
	}
	items := l.Items
	if kind := keyText(items[0]); kind == "module" {
		return items[1], true
	} else if kind != "storage" || len(items) < 5 {
		return nil, false
	}
	dtype, ok1 := storageDType(items[1])
	n, ok2 := items[4].(int64)
	if !ok1 || !ok2 || n < 0 {
		return nil, false
	}
	s := m.storage(keyText(items[2]), keyText(items[3]), dtype, uint64(n))
	if len(items) < 6 || items[5] == nil {
		return s, true
	}
	view, ok := items[5].(*List)
	if !ok || len(view.Items) != 3 {
		return nil, false
	}
	start, ok1 := view.Items[1].(int64)
	n, ok2 = view.Items[2].(int64)
	if !ok1 || !ok2 || start < 0 || n < 0 || s.Root != nil {
		return nil, false
	}
	v := m.storage("view "+keyText(view.Items[0]), s.Location, s.DType, uint64(n))
	if v != s && v.Root == nil { // s is no view, so that views make no circle
		m.charge(100)
		own := *v.StorageKind
		own.Root, own.Start = s, uint64(start)
		v.StorageKind = &own
	}
	return v, true
}

// storage returns the storage of a key. As in torch, the first description counts.
func (m *machine) storage(key, location string, dtype DType, n uint64) *Storage {
	s := m.storages.find(key)
	if s == nil {
		m.charge(sizeOfStorage)
		kind, isNew := m.room.kind(StorageKind{Location: location, DType: dtype, Elements: n})
		if isNew {
			m.charge(300)
		}
		if m.brief {
			return &Storage{Key: key, StorageKind: kind, at: -1}
		}
		if m.storages.numbers.full() {
			m.storages.reserve(m.toCome)
		}
		s = m.storages.add(Storage{Key: key, StorageKind: kind, at: -1})
	} else if s.DType != dtype || s.Elements != n {
		m.warn(CodeStorageChange, "storage %s is %d elements of %s, and %d of %s elsewhere", quote(key), s.Elements, cut(string(s.DType)), n, cut(string(dtype)))
	}
	return s
}

// parsePersistentID reads the persistent id of protocol 0, which has str() of a tuple: torch
// writes it and refuses to read it.
//
//	('storage', <class 'torch.FloatStorage'>, '0', 'cpu', 6)
func parsePersistentID(text string) Value {
	inner, ok := strings.CutPrefix(text, "(")
	inner, ok2 := strings.CutSuffix(inner, ")")
	if !ok || !ok2 {
		return text
	}
	l := &List{Type: "tuple"}
	for part := range strings.SplitSeq(inner, ", ") {
		quoted := strings.TrimSuffix(strings.TrimPrefix(part, "<class "), ">")
		n, isNumber := parseInt([]byte(part))
		s, isText := unquotePython([]byte(quoted))
		switch {
		case part == "None":
			l.Items = append(l.Items, nil)
		case isNumber:
			l.Items = append(l.Items, n)
		case isText && quoted != part:
			i := max(strings.LastIndexByte(s, '.'), 0)
			l.Items = append(l.Items, &Global{Module: s[:i], Name: strings.TrimPrefix(s[i:], ".")})
		case isText:
			l.Items = append(l.Items, s)
		default:
			return text
		}
	}
	return l
}
