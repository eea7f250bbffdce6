// Package disktest is a model of a disk that loses power, for tests of what
// must survive it.
package disktest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/wtinspect/wtinspect/internal/txn"
)

// A Disk is a model of a disk with a journaling file system, harsher than the
// real ones. What was not synced may survive a loss of power or not:
//
//   - metadata of a file (size, allocation, shifts) survive up to a point, in
//     their order; the operation at that point, if it shifts, survives in part;
//   - names of a directory likewise, each directory on its own, but that a rename
//     from one to another survives in both or in neither;
//   - every 512 bytes of data on their own.
type Disk struct {
	mu    sync.Mutex
	root  *inode
	dirs  []*inode // all that there ever were
	inos  uint64
	pairs int // renames between directories
	clock int64
	ft    txn.Features

	// Dead says that the machine is off: every call fails.
	Dead bool
	// Fault is asked before every call that changes something, and may fail
	// it. The call is carried out in part when part is set.
	Fault func(call, name string) (part bool, err error)
	// Calls counts them.
	Calls int
}

// ErrDead is the error of every call while the machine is off.
var ErrDead = errors.New("the machine is off")

type inode struct {
	ino   uint64
	mode  fs.FileMode
	mtime int64
	lock  *handle

	now, durable meta
	log          []logged // from durable to now
}

// A logged op is not durable yet. One on two directories is in the logs of both.
type logged struct {
	op
	pair  int
	other *inode
}

// meta is the metadata of a file or a directory.
type meta struct {
	size    int64
	blocks  map[int64]*pblock
	entries map[string]*inode
}

// A pblock is a block of the disk: as the system sees it, and as it is.
type pblock struct{ now, durable []byte }

// An op changes metadata, whole, or in part as far as rng decides.
type op func(m *meta, rng *rand.Rand)

func (m meta) clone() meta {
	return meta{m.size, maps.Clone(m.blocks), maps.Clone(m.entries)}
}

// New returns an empty disk.
func New(ft txn.Features) *Disk {
	d := &Disk{ft: ft}
	d.root = d.node(fs.ModeDir | 0o755)
	return d
}

func (d *Disk) node(mode fs.FileMode) *inode {
	d.inos++
	m := meta{blocks: map[int64]*pblock{}}
	if mode.IsDir() {
		m.entries = map[string]*inode{}
	}
	n := &inode{ino: d.inos, mode: mode, now: m, durable: m.clone()}
	if mode.IsDir() {
		d.dirs = append(d.dirs, n)
	}
	return n
}

func (n *inode) do(o op) {
	o(&n.now, nil)
	n.log = append(n.log, logged{op: o})
}

// upTo makes the first k ops of the log durable, and in other directories what
// goes with them.
func (n *inode) upTo(k int) {
	done := n.log[:k]
	n.log = slices.Clone(n.log[k:])
	for _, o := range done {
		o.op(&n.durable, nil)
		if o.other != nil {
			if i := o.other.find(o.pair); i >= 0 {
				o.other.upTo(i + 1)
			}
		}
	}
}

func (n *inode) find(pair int) int {
	return slices.IndexFunc(n.log, func(o logged) bool { return o.pair == pair && o.other != nil })
}

func (n *inode) sync() {
	if n.mode.IsDir() {
		n.upTo(len(n.log))
		return
	}
	n.durable, n.log = n.now.clone(), nil
	for _, b := range n.now.blocks {
		b.durable = slices.Clone(b.now)
	}
}

// lookup finds the directory and the base of a path. The root is "/".
func (d *Disk) lookup(name string) (dir *inode, base string, err error) {
	dir = d.root
	name = filepath.ToSlash(filepath.Clean(name))
	for {
		i := slices.Index([]byte(name[1:]), '/')
		if i < 0 {
			return dir, name[1:], nil
		}
		next, ok := dir.now.entries[name[1:i+1]]
		if !ok || !next.mode.IsDir() {
			return nil, "", fs.ErrNotExist
		}
		dir, name = next, name[i+1:]
	}
}

func (d *Disk) find(name string) (*inode, error) {
	dir, base, err := d.lookup(name)
	if err != nil {
		return nil, err
	}
	if base == "" {
		return dir, nil
	}
	n, ok := dir.now.entries[base]
	if !ok {
		return nil, &fs.PathError{Op: "find", Path: name, Err: fs.ErrNotExist}
	}
	return n, nil
}

// enter counts a call that changes something.
func (d *Disk) enter(call, name string) (part bool, err error) {
	if d.Dead {
		return false, ErrDead
	}
	d.Calls++
	if d.Fault == nil {
		return false, nil
	}
	return d.Fault(call, name)
}

// Crash turns the disk off and on again. Without rng only the process died.
func (d *Disk) Crash(rng *rand.Rand) {
	d.Dead, d.Fault, d.Calls = false, nil, 0
	cuts := d.cut(rng)
	seen := map[*inode]bool{}
	fate := map[*pblock][]byte{}
	var walk func(n *inode)
	walk = func(n *inode) {
		if seen[n] {
			return
		}
		seen[n] = true
		n.lock = nil
		if rng != nil {
			m := n.durable.clone()
			k, ok := cuts[n]
			if !ok {
				k = rng.IntN(len(n.log) + 1)
			}
			for _, o := range n.log[:k] {
				o.op(&m, nil)
			}
			if k < len(n.log) && rng.IntN(2) == 0 {
				n.log[k].op(&m, rng)
			}
			for _, b := range m.blocks {
				if _, ok := fate[b]; !ok {
					fate[b] = b.torn(rng)
				}
				b.now, b.durable = fate[b], slices.Clone(fate[b])
			}
			n.now, n.durable, n.log = m, m.clone(), nil
		}
		for _, c := range n.now.entries {
			walk(c)
		}
	}
	walk(d.root)
	for _, n := range d.dirs {
		if rng != nil && !seen[n] {
			n.log = nil
		}
	}
}

// cut chooses how much of the log of every directory survives a loss of power.
func (d *Disk) cut(rng *rand.Rand) map[*inode]int {
	cuts := map[*inode]int{}
	if rng == nil {
		return cuts
	}
	for _, n := range d.dirs {
		cuts[n] = rng.IntN(len(n.log) + 1)
	}
	for again := true; again; {
		again = false
		for _, n := range d.dirs {
			for i, o := range n.log[:cuts[n]] {
				if o.other == nil {
					continue
				}
				if j := o.other.find(o.pair); j >= cuts[o.other] {
					cuts[n], again = i, true
					break
				}
			}
		}
	}
	return cuts
}

// torn returns what a loss of power leaves of a block.
func (b *pblock) torn(rng *rand.Rand) []byte {
	out := make([]byte, len(b.now))
	copy(out, b.durable)
	for i := 0; i < len(out); i += 512 {
		if rng.IntN(2) == 0 {
			copy(out[i:min(i+512, len(out))], b.now[i:])
		}
	}
	return out
}

type handle struct {
	d    *Disk
	n    *inode
	name string
	off  bool
}

func (d *Disk) open(name string, flag int, perm fs.FileMode) (txn.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Dead {
		return nil, ErrDead
	}
	n, err := d.find(name)
	switch {
	case err == nil && flag&os.O_EXCL != 0:
		return nil, fs.ErrExist
	case errors.Is(err, fs.ErrNotExist) && flag&os.O_CREATE != 0:
		if _, err := d.enter("create", name); err != nil {
			return nil, err
		}
		dir, base, err := d.lookup(name)
		if err != nil {
			return nil, err
		}
		n = d.node(perm)
		dir.do(func(m *meta, rng *rand.Rand) {
			if rng == nil {
				m.entries[base] = n
			}
		})
	case err != nil:
		return nil, err
	}
	return &handle{d: d, n: n, name: name}, nil
}

func (d *Disk) statOf(n *inode) txn.Stat {
	return txn.Stat{
		Mode: n.mode, Size: n.now.size, Allocated: int64(len(n.now.blocks)) * d.ft.Block,
		ModTime: time.Unix(n.mtime, 0), Ino: n.ino, Links: 1, UID: -1, GID: -1,
	}
}

func (d *Disk) lstat(name string) (txn.Stat, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Dead {
		return txn.Stat{}, ErrDead
	}
	n, err := d.find(name)
	if err != nil {
		return txn.Stat{}, err
	}
	return d.statOf(n), nil
}

// relink changes names in one directory, or in two: a journaling file system
// does the latter whole.
func (d *Disk) relink(dir, other *inode, change func(m, o *meta)) {
	if dir == other {
		dir.do(func(m *meta, rng *rand.Rand) {
			if rng == nil {
				change(m, m)
			}
		})
		return
	}
	// Each half is what has become of the entries that the change has touched.
	half := func(before, after meta) op {
		return func(m *meta, rng *rand.Rand) {
			if rng != nil {
				return
			}
			for name := range before.entries {
				if after.entries[name] == nil {
					delete(m.entries, name)
				}
			}
			for name, c := range after.entries {
				if before.entries[name] != c {
					m.entries[name] = c
				}
			}
		}
	}
	a, b := dir.now.clone(), other.now.clone()
	change(&dir.now, &other.now)
	d.pairs++
	dir.log = append(dir.log, logged{half(a, dir.now.clone()), d.pairs, other})
	other.log = append(other.log, logged{half(b, other.now.clone()), d.pairs, dir})
}

func (d *Disk) rename(oldname, newname string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.enter("rename", oldname); err != nil {
		return err
	}
	n, err := d.find(oldname)
	if err != nil {
		return err
	}
	dir, from, err := d.lookup(oldname)
	if err != nil {
		return err
	}
	to, base, err := d.lookup(newname)
	if err != nil {
		return err
	}
	if old := to.now.entries[base]; old != nil && len(old.now.entries) > 0 {
		return syscall.ENOTEMPTY
	}
	d.relink(dir, to, func(m, o *meta) {
		delete(m.entries, from)
		o.entries[base] = n
	})
	return nil
}

func (d *Disk) exchange(a, b string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.enter("exchange", a); err != nil {
		return err
	}
	dir, x, err := d.lookup(a)
	if err != nil {
		return err
	}
	other, y, err := d.lookup(b)
	if err != nil {
		return err
	}
	if dir.now.entries[x] == nil || other.now.entries[y] == nil {
		return fs.ErrNotExist
	}
	d.relink(dir, other, func(m, o *meta) { m.entries[x], o.entries[y] = o.entries[y], m.entries[x] })
	return nil
}

func (d *Disk) remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.enter("remove", name); err != nil {
		return err
	}
	if _, err := d.find(name); err != nil {
		return err
	}
	dir, base, _ := d.lookup(name)
	if len(dir.now.entries[base].now.entries) > 0 {
		return syscall.ENOTEMPTY
	}
	dir.do(func(m *meta, rng *rand.Rand) {
		if rng == nil {
			delete(m.entries, base)
		}
	})
	return nil
}

func (d *Disk) mkdir(name string, perm fs.FileMode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.enter("mkdir", name); err != nil {
		return err
	}
	if _, err := d.find(name); err == nil {
		return fs.ErrExist
	}
	dir, base, err := d.lookup(name)
	if err != nil {
		return err
	}
	n := d.node(fs.ModeDir | perm)
	dir.do(func(m *meta, rng *rand.Rand) {
		if rng == nil {
			m.entries[base] = n
		}
	})
	return nil
}

func (d *Disk) readDir(name string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find(name)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(n.now.entries)), nil
}

func (d *Disk) syncDir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.enter("syncdir", name); err != nil {
		return err
	}
	n, err := d.find(name)
	if err != nil {
		return err
	}
	n.sync()
	return nil
}

// OpenDir opens a directory.
func (d *Disk) OpenDir(name string) (txn.Dir, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Dead {
		return nil, ErrDead
	}
	n, err := d.find(name)
	if err != nil {
		return nil, err
	}
	if !n.mode.IsDir() {
		return nil, syscall.ENOTDIR
	}
	return &dir{d, name}, nil
}

// Read opens a file for reading.
func (d *Disk) Read(name string, _ int) (txn.File, error) { return d.open(name, os.O_RDONLY, 0) }

// A dir is an open directory of a disk.
type dir struct {
	d    *Disk
	path string
}

func (r *dir) at(name string) string { return path.Join(r.path, name) }

func (r *dir) Path() string { return r.path }
func (r *dir) Open(name string, flag int, perm fs.FileMode) (txn.File, error) {
	if flag&os.O_CREATE != 0 {
		flag |= os.O_EXCL
	}
	return r.d.open(r.at(name), flag, perm)
}
func (r *dir) Lstat(name string) (txn.Stat, error)       { return r.d.lstat(r.at(name)) }
func (r *dir) Rename(a, b string) error                  { return r.d.rename(r.at(a), r.at(b)) }
func (r *dir) Exchange(a, b string) error                { return r.d.exchange(r.at(a), r.at(b)) }
func (r *dir) Remove(name string) error                  { return r.d.remove(r.at(name)) }
func (r *dir) Mkdir(name string, perm fs.FileMode) error { return r.d.mkdir(r.at(name), perm) }
func (r *dir) ReadDir(name string) ([]string, error)     { return r.d.readDir(r.at(name)) }
func (r *dir) SyncDir(name string) error                 { return r.d.syncDir(r.at(name)) }
func (r *dir) Probe() txn.Features                       { return r.d.ft }
func (r *dir) Close() error                              { return nil }

func (r *dir) RenameNew(a, b string) error {
	if _, err := r.d.lstat(r.at(b)); err == nil {
		return fs.ErrExist
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return r.Rename(a, b)
}

func (h *handle) enter(call string) (part bool, err error) {
	h.d.mu.Lock()
	if h.off {
		return false, fs.ErrClosed
	}
	return h.d.enter(call, h.name)
}

func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.d.Dead {
		return 0, ErrDead
	}
	n := int(max(0, min(int64(len(p)), h.n.now.size-off)))
	for i := 0; i < n; {
		b, o := (off+int64(i))/h.d.ft.Block, (off+int64(i))%h.d.ft.Block
		k := min(n-i, int(h.d.ft.Block-o))
		if blk := h.n.now.blocks[b]; blk != nil {
			copy(p[i:i+k], blk.now[o:])
		} else {
			clear(p[i : i+k])
		}
		i += k
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) Pwrite(p []byte, off int64) (int, error) {
	part, err := h.enter("write")
	defer h.d.mu.Unlock()
	if err != nil && !part {
		return 0, err
	}
	if part {
		p = p[:len(p)/2]
	}
	h.d.clock++
	h.n.mtime = h.d.clock
	for i := 0; i < len(p); {
		b, o := (off+int64(i))/h.d.ft.Block, (off+int64(i))%h.d.ft.Block
		blk := h.n.now.blocks[b]
		if blk == nil {
			blk = &pblock{now: make([]byte, h.d.ft.Block)}
			h.n.do(func(m *meta, rng *rand.Rand) {
				if rng == nil {
					m.blocks[b] = blk
				}
			})
		}
		i += copy(blk.now[o:], p[i:])
	}
	if end := off + int64(len(p)); end > h.n.now.size {
		h.n.do(func(m *meta, rng *rand.Rand) { m.size = end })
	}
	return len(p), err
}

func (h *handle) Stat() (txn.Stat, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.d.Dead {
		return txn.Stat{}, ErrDead
	}
	return h.d.statOf(h.n), nil
}

func (h *handle) Sync() error {
	_, err := h.enter("sync")
	defer h.d.mu.Unlock()
	if err == nil {
		h.n.sync()
	}
	return err
}

func (h *handle) Truncate(size int64) error {
	_, err := h.enter("truncate")
	defer h.d.mu.Unlock()
	if err != nil {
		return err
	}
	block := h.d.ft.Block
	h.n.do(func(m *meta, rng *rand.Rand) {
		m.size = size
		maps.DeleteFunc(m.blocks, func(b int64, _ *pblock) bool { return b*block >= size })
	})
	h.d.clock++
	h.n.mtime = h.d.clock
	return nil
}

func (h *handle) Allocate(int64) error {
	_, err := h.enter("allocate")
	defer h.d.mu.Unlock()
	return err
}

// Insert grows the file and moves one block after the other, the last first.
func (h *handle) Insert(off, n int64) error {
	part, err := h.enter("insert")
	defer h.d.mu.Unlock()
	block := h.d.ft.Block
	switch {
	case err != nil && !part:
		return err
	case !h.d.ft.Insert:
		return errors.ErrUnsupported
	case off%block != 0 || n%block != 0 || off >= h.n.now.size:
		return syscall.EINVAL
	}
	o := func(m *meta, rng *rand.Rand) {
		stop := off / block
		if rng != nil {
			stop += rng.Int64N(max(1, m.size/block-stop+2))
		}
		m.size += n
		for _, b := range slices.Backward(slices.Sorted(maps.Keys(m.blocks))) {
			if b >= stop {
				m.blocks[b+n/block] = m.blocks[b]
				delete(m.blocks, b)
			}
		}
	}
	h.shift(o, part)
	return err
}

// Collapse frees the range, moves one block after the other, the first
// first, and then shrinks the file.
func (h *handle) Collapse(off, n int64) error {
	part, err := h.enter("collapse")
	defer h.d.mu.Unlock()
	block := h.d.ft.Block
	switch {
	case err != nil && !part:
		return err
	case !h.d.ft.Insert:
		return errors.ErrUnsupported
	case off%block != 0 || n%block != 0 || off+n >= h.n.now.size:
		return syscall.EINVAL
	}
	o := func(m *meta, rng *rand.Rand) {
		last := m.size/block + 1
		stop := last
		if rng != nil {
			stop = (off+n)/block + rng.Int64N(last-(off+n)/block+1)
		}
		for _, b := range slices.Sorted(maps.Keys(m.blocks)) {
			switch {
			case b >= off/block && b < (off+n)/block:
				delete(m.blocks, b)
			case b >= (off+n)/block && b < stop:
				m.blocks[b-n/block] = m.blocks[b]
				delete(m.blocks, b)
			}
		}
		if rng == nil {
			m.size -= n
		}
	}
	h.shift(o, part)
	return err
}

// shift carries an op out, in part when a fault says so.
func (h *handle) shift(o op, part bool) {
	if part {
		seed := rand.New(rand.NewPCG(uint64(h.d.Calls), 7))
		o(&h.n.now, seed)
		h.n.durable, h.n.log = h.n.now.clone(), nil
		return
	}
	h.n.do(o)
	h.d.clock++
	h.n.mtime = h.d.clock
}

func (h *handle) Extents() ([]txn.Extent, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.d.Dead {
		return nil, ErrDead
	}
	var out []txn.Extent
	for _, b := range slices.Sorted(maps.Keys(h.n.now.blocks)) {
		e := txn.Extent{Start: b * h.d.ft.Block, End: (b + 1) * h.d.ft.Block}
		if n := len(out); n > 0 && out[n-1].End == e.Start {
			out[n-1].End = e.End
		} else {
			out = append(out, e)
		}
	}
	return out, nil
}

func (h *handle) Clone(src txn.File, srcOff, off, n int64) error {
	_, err := h.enter("clone")
	defer h.d.mu.Unlock()
	block := h.d.ft.Block
	s := src.(*handle)
	switch {
	case err != nil:
		return err
	case !h.d.ft.Clone:
		return errors.ErrUnsupported
	case srcOff%block != 0 || off%block != 0 || n%block != 0 && srcOff+n != s.n.now.size:
		return syscall.EINVAL
	}
	for i := int64(0); i < n; i += block {
		blk := s.n.now.blocks[(srcOff+i)/block]
		if blk == nil {
			continue
		}
		shared := &pblock{slices.Clone(blk.now), slices.Clone(blk.durable)}
		h.n.do(func(m *meta, rng *rand.Rand) {
			if rng == nil {
				m.blocks[(off+i)/block] = shared
			}
		})
	}
	return nil
}

func (h *handle) Cached(int64) bool { return true }

func (h *handle) WriteOut(int64, int64) {}

func (h *handle) Drop(int64, int64) {}

func (h *handle) Adopt(like txn.File) error {
	_, err := h.enter("chmod")
	defer h.d.mu.Unlock()
	if err == nil {
		h.n.mode = like.(*handle).n.mode
	}
	return err
}

func (h *handle) Lock() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.n.lock != nil {
		return txn.ErrLocked
	}
	h.n.lock = h
	return nil
}

func (h *handle) Writers() bool { return false }

func (h *handle) Close() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.off = true
	if h.n.lock == h {
		h.n.lock = nil
	}
	return nil
}

// MakeDir makes a durable directory.
func (d *Disk) MakeDir(name string) {
	if err := d.mkdir(name, 0o755); err != nil {
		panic(err)
	}
	if err := d.syncDir(path.Dir(name)); err != nil {
		panic(err)
	}
	d.Calls = 0
}

// Stat returns what is known of a file.
func (d *Disk) Stat(name string) txn.Stat {
	st, err := d.lstat(name)
	if err != nil {
		panic(err)
	}
	return st
}

// Put makes a durable file. Blocks of zeros become holes.
func (d *Disk) Put(name string, content []byte) {
	dir, base, err := d.lookup(name)
	if err != nil {
		panic(err)
	}
	n := d.node(0o644)
	n.now.size = int64(len(content))
	for i := int64(0); i < n.now.size; i += d.ft.Block {
		b := make([]byte, d.ft.Block)
		copy(b, content[i:])
		if slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) {
			n.now.blocks[i/d.ft.Block] = &pblock{now: b}
		}
	}
	n.sync()
	dir.do(func(m *meta, rng *rand.Rand) {
		if rng == nil {
			m.entries[base] = n
		}
	})
	dir.sync()
}

// Tree returns the content of every file.
func (d *Disk) Tree() map[string]string {
	out := map[string]string{}
	var walk func(path string, n *inode)
	walk = func(path string, n *inode) {
		for name, c := range n.now.entries {
			p := path + "/" + name
			if c.mode.IsDir() {
				walk(p, c)
				continue
			}
			buf := make([]byte, c.now.size)
			h := handle{d: d, n: c}
			if _, err := h.ReadAt(buf, 0); err != nil && err != io.EOF {
				panic(fmt.Sprint(p, err))
			}
			out[p] = string(buf)
		}
	}
	walk("", d.root)
	return out
}
