// Package browse shows checkpoints on a terminal: a tree of their tensors, what is known of
// each, what check finds, and how two of them differ.
//
// A model holds the state. It takes messages, such as keys and what jobs have found, and
// returns effects, such as jobs to run in the background; its screen is text. It knows no
// terminal, so that tests drive it by messages. [Run] is what connects it to one, by way of
// bubbletea. What is shown comes from a [Source].
package browse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
)

// Options are what a terminal can show.
type Options struct {
	Color bool
	// ASCII has nothing drawn in other characters.
	ASCII bool
	// Env is the environment.
	Env []string
	// Left is called when the terminal is as it was, before what is still going on in the
	// background has ended.
	Left func()
}

// ErrInterrupted is the error of a user who pressed ctrl-c.
var ErrInterrupted = errors.New("interrupted")

// Run browses on the terminal of stdin and stdout until the user leaves or ctx ends. The
// terminal is then as it was, whatever has happened.
func Run(ctx context.Context, src Source, opts Options) error {
	ctx, cancel := context.WithCancel(ctx)
	a := &adapter{model: newModel(src, look{color: opts.Color, ascii: opts.ASCII}), ctx: ctx}
	// With these the library writes files of its own, wherever they say.
	os.Unsetenv("TEA_TRACE")
	os.Unsetenv("TEA_DEBUG")
	// Colours were decided on; the library would look at the variable again.
	env := slices.DeleteFunc(slices.Clone(opts.Env), func(v string) bool { return strings.HasPrefix(v, "NO_COLOR=") })
	a.program = tea.NewProgram(a, tea.WithContext(ctx), tea.WithoutSignalHandler(), tea.WithEnvironment(env))
	left := a.hearStops()
	_, err := a.program.Run()
	left()
	if opts.Left != nil {
		opts.Left()
	}
	cancel()
	a.jobs.Wait() // they read files that are about to be closed
	switch {
	case a.interrupted:
		return ErrInterrupted
	case errors.Is(err, context.Canceled):
		return context.Canceled
	}
	return err
}

// An adapter is a model as bubbletea has them.
type adapter struct {
	*model
	ctx         context.Context
	program     *tea.Program
	cancel      [slots]context.CancelFunc
	jobs        sync.WaitGroup
	interrupted bool
	// leaving shows nothing: some terminals that were resized keep lines of the screen that
	// is left.
	leaving bool
}

// watchEvery is how often files are looked at for changes.
const watchEvery = 2 * time.Second

// A crashMsg is a job that panicked.
type crashMsg string

func (a *adapter) Init() tea.Cmd { return a.perform(a.begin()) }

func (a *adapter) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		return a, a.perform(a.update(sizeMsg{msg.Width, msg.Height}))
	case tea.KeyPressMsg:
		key := msg.String()
		if a.typing && msg.Text != "" && msg.Text != " " { // as it was typed: Q, and not shift+q
			key = msg.Text
		}
		return a, a.perform(a.update(keyMsg(key)))
	case tea.PasteMsg:
		return a, a.perform(a.update(pasteMsg(msg.Content)))
	case tea.MouseClickMsg:
		if msg.Button == tea.MouseLeft {
			return a, a.perform(a.update(clickMsg{msg.X, msg.Y}))
		}
	case tea.MouseWheelMsg:
		const lines = 3
		switch msg.Button {
		case tea.MouseWheelUp:
			return a, a.perform(a.update(wheelMsg(-lines)))
		case tea.MouseWheelDown:
			return a, a.perform(a.update(wheelMsg(lines)))
		}
	case tickMsg, suspendMsg:
		return a, a.perform(a.update(msg))
	case crashMsg:
		panic(string(msg)) // here, where the library puts the terminal right
	case jobMsg:
		return a, a.perform(a.update(msg))
	}
	return a, nil
}

func (a *adapter) View() tea.View {
	screen := ""
	if !a.leaving {
		screen = a.screen()
	}
	v := tea.NewView(screen)
	v.AltScreen = true
	if x, y, ok := a.typingAt(); ok {
		v.Cursor = tea.NewCursor(x, y)
	}
	v.MouseMode = tea.MouseModeCellMotion
	return v
}

// perform starts what the model asks for.
func (a *adapter) perform(effects []any) tea.Cmd {
	var cmds []tea.Cmd
	for _, e := range effects {
		switch e := e.(type) {
		case job:
			if a.cancel[e.slot] != nil {
				a.cancel[e.slot]()
				a.cancel[e.slot] = nil
			}
			if e.run == nil {
				continue
			}
			ctx, cancel := context.WithCancel(a.ctx)
			a.cancel[e.slot] = cancel
			tell := func(value any) { a.program.Send(jobMsg{e.slot, e.turn, value}) }
			a.jobs.Go(func() {
				defer cancel()
				defer func() {
					if r := recover(); r != nil {
						a.program.Send(crashMsg(fmt.Sprintf("%v\n%s", r, debug.Stack())))
					}
				}()
				tell(e.run(ctx, tell))
			})
		case copyText:
			cmds = append(cmds, tea.SetClipboard(string(e)))
		case suspend:
			cmds = append(cmds, a.suspend())
		case tick:
			cmds = append(cmds, tea.Tick(watchEvery, func(time.Time) tea.Msg { return tickMsg{} }))
		case quit:
			a.interrupted, a.leaving = e.interrupted, true
			cmds = append(cmds, tea.Quit)
		}
	}
	return tea.Batch(cmds...)
}
