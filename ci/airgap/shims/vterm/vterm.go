// Package midterm adds a search over the screen's content, which Dagger
// v0.21.8 calls, to the newest midterm that every module proxy serves.
//
// Dagger asks for a pre-release of midterm that has the search built in and
// shows the matches in colour; here they are found, not coloured.
package midterm

import (
	"slices"
	"strings"

	"github.com/vito/midterm"
)

// Match is where a search found its query.
type Match struct {
	// Row and Col count from 0.
	Row, Col int
}

// Terminal is a [midterm.Terminal] that can be searched.
type Terminal struct {
	*midterm.Terminal

	// SearchMatches are the finds of the last search, from top to bottom.
	SearchMatches []Match
}

// NewAutoResizingTerminal returns a terminal that grows with its content.
func NewAutoResizingTerminal() *Terminal {
	return &Terminal{Terminal: midterm.NewAutoResizingTerminal()}
}

// Search finds query, in upper or lower case, and returns how often it is there.
func (t *Terminal) Search(query string) int {
	t.SearchClear()
	needle := []rune(strings.ToLower(query))
	if len(needle) == 0 {
		return 0
	}
	for row, content := range t.Content {
		line := []rune(strings.ToLower(string(content)))
		for col := 0; col+len(needle) <= len(line); {
			if !slices.Equal(line[col:col+len(needle)], needle) {
				col++
				continue
			}
			t.SearchMatches = append(t.SearchMatches, Match{Row: row, Col: col})
			col += len(needle)
		}
	}
	return len(t.SearchMatches)
}

// SearchClear forgets the last search.
func (t *Terminal) SearchClear() { t.SearchMatches = nil }

// SearchSetCurrent returns the row and column of the find at index, and -1, -1
// for one that does not exist.
func (t *Terminal) SearchSetCurrent(index int) (row, col int) {
	if index < 0 || index >= len(t.SearchMatches) {
		return -1, -1
	}
	match := t.SearchMatches[index]
	return match.Row, match.Col
}

// SearchMatchRows returns the rows of the finds, each once.
func (t *Terminal) SearchMatchRows() []int {
	var rows []int
	for _, match := range t.SearchMatches {
		if !slices.Contains(rows, match.Row) {
			rows = append(rows, match.Row)
		}
	}
	return rows
}
