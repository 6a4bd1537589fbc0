package teav1

import (
	"slices"
	"testing"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/vito/tuist"
)

type view string

func (v view) Init() tea.Cmd                       { return tea.Quit }
func (v view) Update(tea.Msg) (tea.Model, tea.Cmd) { return v, nil }
func (v view) View() string                        { return string(v) }

func TestRender(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		view view
		want []string
	}{
		{name: "nothing"},
		{name: "lines", view: "name?\n> \n", want: []string{"name?", "> "}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tui := tuist.New(tuist.NewStdTerminal())
			tui.AddChild(New(tc.view))
			if got := tui.RenderLines(); !slices.Equal(got, tc.want) {
				t.Errorf("lines = %q, want %q", got, tc.want)
			}
		})
	}
}

// A model that has quit, or that cannot run for want of a terminal, calls back.
func TestQuit(t *testing.T) {
	t.Parallel()
	wrap, quit := New(view("")), make(chan struct{})
	wrap.OnQuit(func() { close(quit) })
	wrap.OnMount(tuist.Context{})
	<-quit
}
