package tuist

import (
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
)

// Terminal is where a TUI lives.
type Terminal struct {
	in       io.Reader
	out, err io.Writer
}

// NewStdTerminal returns the terminal of the standard streams.
func NewStdTerminal() *Terminal {
	return &Terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr}
}

// TUI is the root of the components.
type TUI struct {
	terminal *Terminal
	children []Component
	focused  Component
	started  bool

	mu       sync.Mutex
	idle     sync.Cond
	queue    []func()
	draining bool
	stopped  bool
}

// New returns a TUI without components.
func New(terminal *Terminal) *TUI {
	t := &TUI{terminal: terminal}
	t.idle.L = &t.mu
	return t
}

// Dispatch runs fn, never at the same time as another dispatched function, and
// after those dispatched before it. A function dispatched by a dispatched one
// runs after it. Once the TUI has stopped, functions are dropped.
func (t *TUI) Dispatch(fn func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	t.queue = append(t.queue, fn)
	if t.draining {
		return
	}
	t.draining = true
	for len(t.queue) > 0 {
		next := t.queue[0]
		t.queue = t.queue[1:]
		t.mu.Unlock()
		next()
		t.mu.Lock()
	}
	t.draining = false
	t.idle.Broadcast()
}

// Start mounts the components. It says on the standard error that the screen
// stays empty until the run has ended.
func (t *TUI) Start() {
	fmt.Fprintln(t.terminal.err, "this build of the dagger CLI has no interactive screen: the report follows at the end (--progress=plain shows progress)")
	t.Dispatch(func() {
		t.started = true
		for _, child := range slices.Clone(t.children) {
			t.mount(child)
		}
	})
}

// Stop waits for the dispatched functions and drops further ones.
func (t *TUI) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	for t.draining {
		t.idle.Wait()
	}
}

// Exec hands the terminal to fn.
func (t *TUI) Exec(fn func(in io.Reader, out, errOut io.Writer) error) error {
	return fn(t.terminal.in, t.terminal.out, t.terminal.err)
}

// RenderLines renders all components, with no limit of width or height.
func (t *TUI) RenderLines() []string {
	all := Container{Children: t.children}
	return t.context().render(&all).Lines
}

// AddChild appends child.
func (t *TUI) AddChild(child Component) {
	t.children = append(t.children, child)
	if t.started {
		t.mount(child)
	}
}

// RemoveChild removes child, if it is there.
func (t *TUI) RemoveChild(child Component) {
	i := slices.Index(t.children, child)
	if i < 0 {
		return
	}
	t.children = slices.Delete(t.children, i, i+1)
	if d, ok := child.(Dismounter); ok {
		d.OnDismount()
	}
}

// SetFocus takes the focus from the component that has it and gives it to
// component.
func (t *TUI) SetFocus(component Component) {
	if t.focused == component {
		return
	}
	if f, ok := t.focused.(Focusable); ok {
		f.SetFocused(t.context(), false)
	}
	t.focused = component
	if f, ok := component.(Focusable); ok {
		f.SetFocused(t.context(), true)
	}
}

// RequestRender asks for a new frame; there are none before the end.
func (t *TUI) RequestRender(bool) {}

// SetShowHardwareCursor shows the cursor at the focus; the screen that would
// have one does not exist.
func (t *TUI) SetShowHardwareCursor(bool) {}

// SetDebugWriter sets where frames are traced; there are none.
func (t *TUI) SetDebugWriter(io.Writer) {}

// ShowOverlay would show component above the others. Overlays belong to the
// screen alone: what is rendered at the end does not hold them.
func (t *TUI) ShowOverlay(Component, *OverlayOptions) *OverlayHandle {
	return &OverlayHandle{}
}

func (t *TUI) context() Context { return Context{tui: t} }

func (t *TUI) mount(component Component) {
	if m, ok := component.(Mounter); ok {
		m.OnMount(t.context())
	}
}

// OverlayHandle is an overlay that was shown.
type OverlayHandle struct{}

// Remove takes the overlay away.
func (*OverlayHandle) Remove() {}

// OverlayOptions place an overlay.
type OverlayOptions struct {
	Width  Size
	Anchor Anchor
	Margin OverlayMargin
}

// OverlayMargin is the room around an overlay, in columns and rows.
type OverlayMargin struct {
	Top, Right, Bottom, Left int
}

// Anchor is the corner at which an overlay sits.
type Anchor int

// AnchorTopRight is the upper right corner.
const AnchorTopRight Anchor = iota

// Size is an extent on the screen.
type Size struct{ cells int }

// SizeAbs is an extent in columns or rows.
func SizeAbs(cells int) Size { return Size{cells: cells} }
