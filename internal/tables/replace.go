package tables

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/wtinspect/wtinspect/internal/txn"
)

// members is a group that was committed.
type members struct {
	name string
	// failed says that its inputs could not be read, and damaged that its rows cannot.
	failed, damaged bool
	// hidden says that its part of releases has the name that readers pass over, and
	// removed that no part is left.
	hidden, removed bool
	// live is how many releases it has that no other group has.
	live int
}

// carry begins a group with those releases of another that no third one has.
func (w *Writer) carry(m *members) (_ *group, err error) {
	g := &group{w: w, failures: m.failed}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: its rows are not carried over: %w", filepath.Join(w.dir.Path(), releases, m.file()), err), g.discard())
		}
	}()
	if err := g.begin(); err != nil {
		return nil, err
	}
	keep := func(repository string) bool {
		k := w.known[repository]
		return k != nil && k.group == m
	}
	for i, t := range w.tables {
		name := m.name
		if t.name() == releases {
			name = m.file()
		}
		f, size, err := w.openPart(t.name(), name)
		if err != nil {
			return nil, err
		}
		err = g.parts[i].carry(f, size, keep)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
	for r, k := range w.known {
		if k.group == m {
			g.repositories = append(g.repositories, r)
		}
	}
	return g, nil
}

// replace commits a group. Groups that have rows of the same releases are replaced: what
// else they have is carried over to others. At no moment do readers see a release twice, and
// at each it is known what was to be done: a part of releases that has a hidden name gives way
// to others, and its rows that no other has are not lost.
func (w *Writer) replace(g *group) (err error) {
	var old []*members
	w.mu.Lock()
	for _, r := range g.repositories {
		if k := w.known[r]; k.group != nil {
			if !slices.Contains(old, k.group) {
				old = append(old, k.group)
			}
			k.group.live--
			k.group = nil
		}
	}
	w.mu.Unlock()
	if err := g.end(); err != nil {
		return err
	}
	m := &members{name: g.name, failed: g.failures}
	if len(old) == 1 && old[0].name == g.name && !old[0].damaged {
		w.join(g, m) // the same rows
		return nil
	}
	groups := []*group{g}
	for _, o := range old {
		if o.damaged || o.live == 0 {
			continue
		}
		rest, err := w.carry(o)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rest.discard()) }()
		if err := rest.end(); err != nil {
			return err
		}
		groups = append(groups, rest)
	}
	return w.swap(groups, old)
}

// swap gives groups their names, and takes away those that they replace. Damaged ones stay
// where nothing has replaced all of their releases.
func (w *Writer) swap(groups []*group, old []*members) error {
	for _, o := range old {
		if o.damaged {
			// What is new may have the same name.
			if err := errors.Join(w.hide(o), w.removeOthers(o)); err != nil {
				return err
			}
		}
	}
	last := len(w.tables) - 1
	for i := range w.tables[:last] {
		if err := w.publish(groups, i); err != nil {
			return err
		}
	}
	for _, o := range old {
		if err := w.hide(o); err != nil {
			return err
		}
	}
	if err := w.publish(groups, last); err != nil {
		return err
	}
	for _, g := range groups {
		w.join(g, &members{name: g.name, failed: g.failures})
	}
	for _, o := range old {
		var err error
		switch {
		case o.live > 0:
		case slices.ContainsFunc(groups, func(g *group) bool { return g.name == o.name }):
			// It was damaged and is whole again: only its hidden part is not one of the new.
			o.removed = true
			err = w.removePart(releases, o.file())
		default:
			err = w.removeGroup(o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// split carries what of a group no other has over to another, which replaces it.
func (w *Writer) split(m *members) error {
	rest, err := w.carry(m)
	if err != nil {
		return err
	}
	if err := rest.end(); err != nil {
		return errors.Join(err, rest.discard())
	}
	return errors.Join(w.swap([]*group{rest}, []*members{m}), rest.discard())
}

// join says that the releases of a group are in it.
func (w *Writer) join(g *group, m *members) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range g.repositories {
		k := w.known[r]
		if k.group != nil {
			k.group.live--
		}
		k.group = m
		m.live++
	}
}

// publish gives the parts of groups in a table their names.
func (w *Writer) publish(groups []*group, table int) error {
	for _, g := range groups {
		err := g.parts[table].temp().Publish(g.name)
		if errors.Is(err, fs.ErrExist) {
			// Another run has done the same work: where no lock is to be had, a cluster may
			// start a task that it holds for dead a second time.
			err = w.compare(g.name, g.siblings[table])
		}
		if err != nil {
			return err
		}
	}
	// No crash may leave the part of releases alone.
	return txn.SyncDir(w.dir, w.tables[table].name())
}

// hiddenEnding ends the name of a part of releases that is being replaced.
const hiddenEnding = ".old"

// file is the name of the group's part of releases.
func (m *members) file() string {
	if m.hidden {
		return "." + m.name + hiddenEnding
	}
	return m.name
}

// hide gives the part of releases the name that readers pass over.
func (w *Writer) hide(m *members) error {
	if m.hidden {
		return nil
	}
	from := m.file()
	m.hidden = true
	return w.renameReleases(from, m.file())
}

// show takes hide back.
func (w *Writer) show(m *members) error {
	from := m.file()
	m.hidden = false
	return w.renameReleases(from, m.file())
}

func (w *Writer) renameReleases(from, to string) error {
	if err := txn.Retry(func() error { return w.dir.RenameNew(releases+"/"+from, releases+"/"+to) }); err != nil {
		return err
	}
	return txn.SyncDir(w.dir, releases)
}

// removeGroup removes the parts of a group, that of releases last and under a name that
// readers pass over: without it the others are removed by the next run.
func (w *Writer) removeGroup(m *members) error {
	if err := errors.Join(w.hide(m), w.removeOthers(m)); err != nil {
		return err
	}
	m.removed = true
	return w.removePart(releases, m.file())
}

// removeOthers removes the parts of a group but that of releases.
func (w *Writer) removeOthers(m *members) error {
	for _, t := range w.tables {
		if t.name() != releases {
			if err := w.removePart(t.name(), m.name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *Writer) removePart(table, name string) error {
	err := txn.Retry(func() error { return w.dir.Remove(table + "/" + name) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return txn.SyncDir(w.dir, table)
}
