// Package teav1 shows a bubbletea v1 model, such as a form, in a tuist TUI.
//
// It stands in for a module that some module proxies refuse, and was written
// from Dagger's use of it. As the tuist beside it has no screen of its own, the
// model runs as a bubbletea program on the terminal.
package teav1

import (
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/vito/tuist"
)

// Wrap is a bubbletea model as a component.
type Wrap struct {
	tuist.Compo

	model  tea.Model
	onQuit func()
}

var _ tuist.Mounter = (*Wrap)(nil)

// New wraps model.
func New(model tea.Model) *Wrap { return &Wrap{model: model} }

// OnQuit sets what is called once the model has quit.
func (w *Wrap) OnQuit(fn func()) { w.onQuit = fn }

// OnMount implements [tuist.Mounter]: it runs the model until it quits. A
// model that cannot run has quit: its owner sees what was filled in, nothing.
func (w *Wrap) OnMount(ctx tuist.Context) {
	go func() {
		if model, err := tea.NewProgram(w.model).Run(); err == nil {
			w.model = model
		}
		ctx.Dispatch(func() {
			if w.onQuit != nil {
				w.onQuit()
			}
		})
	}()
}

// Render implements [tuist.Component].
func (w *Wrap) Render(ctx tuist.Context) {
	if view := w.model.View(); view != "" {
		ctx.Lines(strings.Split(strings.TrimSuffix(view, "\n"), "\n")...)
	}
}
