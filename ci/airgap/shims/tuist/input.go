package tuist

import (
	"slices"
	"strings"
	"time"

	uv "github.com/charmbracelet/ultraviolet"
)

// spinnerFrames are shown for spinnerInterval each.
var spinnerFrames = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

const spinnerInterval = 100 * time.Millisecond

// Spinner shows that something is running.
type Spinner struct {
	Compo

	// Epoch is when the first frame was shown; spinners of one epoch turn
	// together.
	Epoch time.Time
}

// NewSpinner returns a spinner whose epoch is now.
func NewSpinner() *Spinner { return &Spinner{Epoch: time.Now()} }

// Render implements [Component].
func (s *Spinner) Render(ctx Context) {
	frame := max(time.Since(s.Epoch), 0) / spinnerInterval
	ctx.Line(spinnerFrames[int(frame)%len(spinnerFrames)])
}

// TextInput holds a text under edit.
type TextInput struct {
	Compo

	// Prompt stands before the first line.
	Prompt string

	// OnSubmit gets the text when it is submitted; true clears it.
	OnSubmit func(ctx Context, value string) bool

	// KeyInterceptor sees each key first; true keeps it from the input.
	KeyInterceptor func(ctx Context, ev uv.KeyPressEvent) bool

	value  []rune
	cursor int
}

// NewTextInput returns an empty input.
func NewTextInput(prompt string) *TextInput { return &TextInput{Prompt: prompt} }

// Value returns the text.
func (t *TextInput) Value() string { return string(t.value) }

// SetValue replaces the text and puts the cursor at its end.
func (t *TextInput) SetValue(value string) {
	t.value = []rune(value)
	t.cursor = len(t.value)
}

// InsertRune inserts r at the cursor.
func (t *TextInput) InsertRune(r rune) {
	t.value = slices.Insert(t.value, t.cursor, r)
	t.cursor++
}

// Render implements [Component].
func (t *TextInput) Render(ctx Context) {
	ctx.Lines(strings.Split(t.Prompt+t.Value(), "\n")...)
}

// Completion is one proposal to complete a text.
type Completion struct {
	Label, Detail string
}

// CompletionResult holds the proposals for the text from byte ReplaceFrom up to
// the cursor.
type CompletionResult struct {
	Items       []Completion
	ReplaceFrom int
}

// CompletionMenu offers completions for a text input. It is part of the screen,
// so it never opens.
type CompletionMenu struct{}

// NewCompletionMenu returns the menu of input.
func NewCompletionMenu(*TextInput, func(input string, cursor int) CompletionResult) *CompletionMenu {
	return &CompletionMenu{}
}

// HandleKeyPress implements [Interactive]; a closed menu takes no keys.
func (*CompletionMenu) HandleKeyPress(Context, uv.KeyPressEvent) bool { return false }
