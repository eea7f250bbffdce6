//go:build !linux

package rewrite

import "errors"

// Elsewhere headers are padded in place or files are copied.

const openPast = 0

func (f osFile) Allocate(int64) error { return errors.ErrUnsupported }

func (f osFile) Insert(int64, int64) error { return errors.ErrUnsupported }

func (f osFile) Collapse(int64, int64) error { return errors.ErrUnsupported }

func (f osFile) Extents() ([]extent, error) { return nil, errors.ErrUnsupported }

func (f osFile) Clone(file, int64, int64, int64) error { return errors.ErrUnsupported }

func (f osFile) Cached(int64) bool { return true }

func (f osFile) WriteOut(int64, int64) {}

func (f osFile) Drop(int64, int64) {}

func (f osFile) Writers() bool { return false }

func copyAttributes(to, from osFile) {}

func (f osFile) Sync() error { return f.File.Sync() }

func (osFS) Exchange(string, string) error { return errors.ErrUnsupported }

func (osFS) Probe(dir string) features { return features{Block: 4096, Free: freeSpace(dir)} }
