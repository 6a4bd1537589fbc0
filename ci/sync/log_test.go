package sync

import "testing"

func TestLastWords(t *testing.T) {
	t.Parallel()
	for want, log := range map[string][]string{
		"": {"", " "},
		`; its log ends with "Error: unknown database client \"x\""`: {"starts", `Error: unknown database client "x"`, ""},
	} {
		if got := lastWords(log); got != want {
			t.Errorf("%q ends with %q, want %q", log, got, want)
		}
	}
}
