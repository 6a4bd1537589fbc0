package midterm

import (
	"slices"
	"testing"
)

func TestSearch(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, content, query string
		want                 []Match
		rows                 []int
	}{
		{name: "no query", content: "a"},
		{name: "no content", query: "a"},
		{name: "not there", content: "abc", query: "abd"},
		{name: "any case", content: "Error: ERROR", query: "error", want: []Match{{0, 0}, {0, 7}}, rows: []int{0}},
		{name: "several rows", content: "ok\r\nfail\r\nok", query: "OK", want: []Match{{0, 0}, {2, 0}}, rows: []int{0, 2}},
		{name: "columns are characters", content: "├─ über", query: "Über", want: []Match{{0, 3}}, rows: []int{0}},
		{name: "colours are no content", content: "fa\x1b[31mil\x1b[0m", query: "fail", want: []Match{{0, 0}}, rows: []int{0}},
		{name: "finds do not overlap", content: "aaaa", query: "aa", want: []Match{{0, 0}, {0, 2}}, rows: []int{0}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			term := NewAutoResizingTerminal()
			if _, err := term.Write([]byte(tc.content)); err != nil {
				t.Fatal(err)
			}
			if got := term.Search(tc.query); got != len(tc.want) {
				t.Errorf("Search(%q) = %d, want %d", tc.query, got, len(tc.want))
			}
			if !slices.Equal(term.SearchMatches, tc.want) {
				t.Errorf("SearchMatches = %v, want %v", term.SearchMatches, tc.want)
			}
			if got := term.SearchMatchRows(); !slices.Equal(got, tc.rows) {
				t.Errorf("SearchMatchRows() = %v, want %v", got, tc.rows)
			}
			for i, m := range tc.want {
				if row, col := term.SearchSetCurrent(i); row != m.Row || col != m.Col {
					t.Errorf("SearchSetCurrent(%d) = %d, %d, want %d, %d", i, row, col, m.Row, m.Col)
				}
			}
			for _, beyond := range []int{-1, len(tc.want)} {
				if row, col := term.SearchSetCurrent(beyond); row != -1 || col != -1 {
					t.Errorf("SearchSetCurrent(%d) = %d, %d, want -1, -1", beyond, row, col)
				}
			}
			term.SearchClear()
			if len(term.SearchMatches) != 0 {
				t.Errorf("SearchClear left %v", term.SearchMatches)
			}
		})
	}
}
