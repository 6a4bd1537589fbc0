// Package tuist is the part of a terminal-UI toolkit that Dagger v0.21.8 is
// written against: components that render themselves as lines, and a root that
// holds them.
//
// It stands in for a module that some module proxies refuse, and was written
// from Dagger's use of it. Rendering is complete, because Dagger's report of a
// finished run is rendered with it. There is no interactive screen: nothing
// reads keys or the mouse, and nothing is drawn before the run has ended.
package tuist

import (
	"strings"

	uv "github.com/charmbracelet/ultraviolet"
)

// Component is anything that renders itself as lines.
type Component interface {
	// Render emits the component's lines through ctx.
	Render(ctx Context)
}

// Mounter is told when it becomes part of a started TUI.
type Mounter interface {
	OnMount(ctx Context)
}

// Dismounter is told when it is no longer part of the TUI.
type Dismounter interface {
	OnDismount()
}

// Focusable is told when it gains or loses the focus.
type Focusable interface {
	SetFocused(ctx Context, focused bool)
}

// Interactive handles keys while it has the focus.
type Interactive interface {
	HandleKeyPress(ctx Context, ev uv.KeyPressEvent) bool
}

// MouseEnabled handles the mouse while the pointer is over it.
type MouseEnabled interface {
	HandleMouse(ctx Context, ev MouseEvent) bool
}

// Hoverable is told when the pointer enters or leaves it.
type Hoverable interface {
	SetHovered(ctx Context, hovered bool)
}

// MouseEvent is a mouse event in the coordinates of the component it meets.
type MouseEvent struct {
	uv.MouseEvent

	// Row and Col count from the component's upper left corner.
	Row, Col int
}

// RenderResult is what a component rendered.
type RenderResult struct {
	Lines []string
}

// Context is what a component renders into. Its zero value has no limits and
// drops what is emitted into it; children rendered with it still return theirs.
type Context struct {
	// Width and Height are the available columns and rows; 0 is no limit.
	Width, Height int

	tui    *TUI
	result *RenderResult
}

// Line emits one line.
func (c Context) Line(line string) { c.Lines(line) }

// Lines emits lines.
func (c Context) Lines(lines ...string) {
	if c.result != nil {
		c.result.Lines = append(c.result.Lines, lines...)
	}
}

// Resize returns the context with another size.
func (c Context) Resize(width, height int) Context {
	c.Width, c.Height = width, height
	return c
}

// ScreenHeight returns the rows of the whole screen, 0 where there is none.
func (c Context) ScreenHeight() int { return c.Height }

// SetFocus gives the focus to component.
func (c Context) SetFocus(component Component) {
	if c.tui != nil {
		c.tui.SetFocus(component)
	}
}

// Dispatch runs fn as [TUI.Dispatch] does.
func (c Context) Dispatch(fn func()) {
	if c.tui != nil {
		c.tui.Dispatch(fn)
		return
	}
	fn()
}

// render returns what component renders in the size of c.
func (c Context) render(component Component) RenderResult {
	var result RenderResult
	c.result = &result
	component.Render(c)
	return result
}

// Compo is embedded by components.
type Compo struct{}

// Update marks the component as changed. Every rendering starts afresh here,
// so there is nothing to mark.
func (*Compo) Update() {}

// RenderChild renders child in place.
func (c *Compo) RenderChild(ctx Context, child Component) {
	ctx.Lines(c.RenderChildResult(ctx, child).Lines...)
}

// RenderChildResult renders child and returns its lines without emitting them.
func (*Compo) RenderChildResult(ctx Context, child Component) RenderResult {
	return ctx.render(child)
}

// RenderChildInline renders child as a piece of a line.
func (c *Compo) RenderChildInline(ctx Context, child Component) string {
	return strings.Join(c.RenderChildResult(ctx, child).Lines, " ")
}

// Container renders its children one below the other.
type Container struct {
	Compo

	Children []Component
}

// AddChild appends child.
func (c *Container) AddChild(child Component) {
	c.Children = append(c.Children, child)
}

// Render implements [Component].
func (c *Container) Render(ctx Context) {
	for _, child := range c.Children {
		c.RenderChild(ctx, child)
	}
}
