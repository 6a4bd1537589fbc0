package sync

import (
	"strings"
	"testing"
)

func TestLastWords(t *testing.T) {
	t.Parallel()
	wrapped := "Error: " + strings.Repeat("a failed; caused by ", 30) + "Error: unknown database client"
	for want, log := range map[string][]string{
		`; its log ends with "` + wrapped[:150] + " … " + wrapped[len(wrapped)-150:] + `"`: {wrapped},
		"": {"", " "},
		`; its log ends with "Error: unknown database client \"x\""`:         {"starts", `Error: unknown database client "x"`, ""},
		`; its log ends with "unknown database client"`:                      {`{"level":"error","message":"unknown database client"}`, `{"level":"info","message":"stops"}`},
		`; its log ends with "bye"`:                                          {"hello", "bye"},
		`; its log ends with "Error: no answer of postgres://***@db:5432/a"`: {"Error: no answer of postgres://user:canary@db:5432/a"},
	} {
		if got := lastWords(log); got != want {
			t.Errorf("%q ends with %q, want %q", log, got, want)
		}
	}
}
