//go:build !linux

package txn

import "errors"

// Elsewhere headers are padded in place or files are copied.

// PastCache is the flag that opens a file past the cache, 0 where there is none.
const PastCache = 0

const largeFile = 0

func (f osFile) Allocate(int64) error { return errors.ErrUnsupported }

func (f osFile) Insert(int64, int64) error { return errors.ErrUnsupported }

func (f osFile) Collapse(int64, int64) error { return errors.ErrUnsupported }

func (f osFile) Extents() ([]Extent, error) { return nil, errors.ErrUnsupported }

func (f osFile) Clone(File, int64, int64, int64) error { return errors.ErrUnsupported }

func (f osFile) Cached(int64) bool { return true }

func (f osFile) WriteOut(int64, int64) {}

func (f osFile) Drop(int64, int64) {}

func (f osFile) Writers() bool { return false }

func copyAttributes(to, from osFile) {}

func (f osFile) Sync() error { return f.File.Sync() }

func (d *osDir) Probe() Features { return Features{Block: 4096, Free: freeSpace(d.root)} }
