package tuist

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// label renders its text and notes what it is told.
type label struct {
	Compo

	text string
	told []string
}

func (l *label) Render(ctx Context) { ctx.Lines(strings.Split(l.text, "\n")...) }

func (l *label) OnMount(Context) { l.told = append(l.told, "mounted") }
func (l *label) OnDismount()     { l.told = append(l.told, "dismounted") }

func (l *label) SetFocused(_ Context, focused bool) {
	if focused {
		l.told = append(l.told, "focused")
		return
	}
	l.told = append(l.told, "unfocused")
}

// frame renders a child between two lines and reports its size.
type frame struct {
	Compo

	child         Component
	width, height int
}

func (f *frame) Render(ctx Context) {
	f.width, f.height = ctx.Width, ctx.Height
	ctx.Line("┌")
	f.RenderChild(ctx, f.child)
	ctx.Line("└ " + f.RenderChildInline(ctx, f.child))
}

func newTUI() *TUI {
	return New(&Terminal{in: strings.NewReader(""), out: io.Discard, err: io.Discard})
}

func TestRender(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name     string
		children []Component
		want     []string
	}{
		{name: "nothing"},
		{
			name:     "one below the other",
			children: []Component{&label{text: "a\nb"}, &label{text: "c"}},
			want:     []string{"a", "b", "c"},
		},
		{
			name:     "a child in place and inline",
			children: []Component{&frame{child: &label{text: "a\nb"}}},
			want:     []string{"┌", "a", "b", "└ a b"},
		},
		{
			name:     "a container in a container",
			children: []Component{&Container{Children: []Component{&Container{Children: []Component{&label{text: "a"}}}}}},
			want:     []string{"a"},
		},
		{
			name:     "a prompt and its text",
			children: []Component{&TextInput{Prompt: "> ", value: []rune("x\ny")}},
			want:     []string{"> x", "y"},
		},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tui := newTUI()
			for _, child := range tc.children {
				tui.AddChild(child)
			}
			if got := tui.RenderLines(); !slices.Equal(got, tc.want) {
				t.Errorf("RenderLines() = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestRenderOfAZeroContext(t *testing.T) {
	t.Parallel()
	f := &frame{child: &label{text: "a"}}
	var root Compo
	got := root.RenderChildResult(Context{}.Resize(80, 24), f).Lines
	if want := []string{"┌", "a", "└ a"}; !slices.Equal(got, want) {
		t.Errorf("lines = %q, want %q", got, want)
	}
	if f.width != 80 || f.height != 24 {
		t.Errorf("rendered in %d×%d, want 80×24", f.width, f.height)
	}
}

func TestComponentsAreTold(t *testing.T) {
	t.Parallel()
	tui := newTUI()
	early, late := &label{}, &label{}
	tui.AddChild(early)
	tui.SetFocus(early)
	tui.Start()
	tui.AddChild(late)
	tui.SetFocus(late)
	tui.SetFocus(late)
	tui.RemoveChild(late)
	tui.RemoveChild(late)
	if want := []string{"focused", "mounted", "unfocused"}; !slices.Equal(early.told, want) {
		t.Errorf("the first component was told %q, want %q", early.told, want)
	}
	if want := []string{"mounted", "focused", "dismounted"}; !slices.Equal(late.told, want) {
		t.Errorf("the second component was told %q, want %q", late.told, want)
	}
}

func TestDispatch(t *testing.T) {
	t.Parallel()
	tui := newTUI()
	var order []string
	note := func(s string) func() { return func() { order = append(order, s) } }
	tui.Dispatch(func() {
		tui.Dispatch(note("second"))
		note("first")()
	})
	if want := []string{"first", "second"}; !slices.Equal(order, want) {
		t.Fatalf("order = %q, want %q", order, want)
	}

	// Stop waits for what runs and drops what comes later.
	running, proceed := make(chan struct{}), make(chan struct{})
	go tui.Dispatch(func() {
		close(running)
		<-proceed
		note("third")()
	})
	<-running
	time.AfterFunc(10*time.Millisecond, func() { close(proceed) })
	tui.Stop()
	tui.Dispatch(note("too late"))
	if want := []string{"first", "second", "third"}; !slices.Equal(order, want) {
		t.Errorf("order = %q, want %q", order, want)
	}
}

func TestTextInput(t *testing.T) {
	t.Parallel()
	in := NewTextInput("")
	in.SetValue("grüße")
	in.InsertRune('!')
	if got, want := in.Value(), "grüße!"; got != want {
		t.Errorf("Value() = %q, want %q", got, want)
	}
}

func TestSpinnersOfOneEpochTurnTogether(t *testing.T) {
	t.Parallel()
	a, b := NewSpinner(), NewSpinner()
	a.Epoch = time.Now().Add(time.Hour)
	b.Epoch = a.Epoch
	var root Compo
	if x, y := root.RenderChildInline(Context{}, a), root.RenderChildInline(Context{}, b); x != y || x != spinnerFrames[0] {
		t.Errorf("frames = %q and %q, want %q before the epoch", x, y, spinnerFrames[0])
	}
}
