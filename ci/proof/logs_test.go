package proof

import (
	"strings"
	"testing"
)

func TestToldOf(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		log         string
		lines, told int
		err         string
	}{
		"of the request":        {"{\"message\":\"a\"}\n{\"message\":\"b\",\"requestId\":\"id\"}\n\n", 2, 1, ""},
		"of others":             {"{\"requestId\":\"other\"}\n{\"message\":\"id\"}\n", 2, 0, ""},
		"a line of text":        {"{\"message\":\"a\"}\n(node:1) Warning: b\n", 1, 0, `no JSON object: "(node:1) Warning: b"`},
		"before the logger":     {"Loading config from files\n{\"message\":\"a\"}\n", 1, 0, ""},
		"the same, after it":    {"{\"message\":\"a\"}\nLoading config from files\n", 1, 0, `no JSON object: "Loading config from files"`},
		"before the logger all": {"Loading config from files\n", 0, 0, "it is empty"},
		"half a line":           {`{"message":"a`, 0, 0, "no JSON object"},
		"JSON, but no object":   {"\"text\"\n", 0, 0, "no JSON object"},
		"nothing":               {"null\n", 0, 0, "no JSON object"},
		"nothing has been said": {"\n", 0, 0, "it is empty"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines, told, err := toldOf(c.log, "id")
			if lines != c.lines || told != c.told || !strings.Contains(text(err), c.err) || (c.err == "") != (err == nil) {
				t.Errorf("got %d, %d, %v", lines, told, err)
			}
		})
	}
}
