//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package browse

import tea "charm.land/bubbletea/v2"

// Where there is no such signal, nothing suspends a program.

func (a *adapter) hearStops() (end func()) { return func() {} }

func (a *adapter) suspend() tea.Cmd {
	a.status = "there is no way to suspend a program here"
	return nil
}
