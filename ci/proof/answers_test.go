package proof

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

// TestAnswers runs .dagger/scripts/answers, with which proof-check asks for the ports of a cluster that serves a person.
func TestAnswers(t *testing.T) {
	t.Parallel()
	const closes = 0
	// serves answers each question with the next status, and all that follow with the last one.
	serves := func(status ...int) func(*testing.T) string {
		return func(t *testing.T) string {
			var asked atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				now := status[min(int(asked.Add(1)), len(status))-1]
				if now == closes {
					panic(http.ErrAbortHandler)
				}
				if _, port, _ := strings.Cut(r.Context().Value(http.LocalAddrContextKey).(net.Addr).String(), ":"); r.Host != "localhost:"+port || r.URL.Path != "/health" {
					now = http.StatusBadRequest
				}
				w.WriteHeader(now)
			}))
			t.Cleanup(server.Close)
			return server.Listener.Addr().String()
		}
	}
	silent := func(t *testing.T) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l.Addr().String()
	}
	nobody := func(*testing.T) string { return "127.0.0.1:1" }
	cases := map[string]struct {
		start func(*testing.T) string
		limit string
		code  int
		want  string
	}{
		"at once":             {start: serves(200), limit: "0", want: ":/health: HTTP/1.1 200 OK"},
		"after a closed one":  {start: serves(closes, 200), limit: "60", want: ":/health: HTTP/1.1 200 OK"},
		"after a missing one": {start: serves(404, 200), limit: "60", want: ":/health: HTTP/1.1 200 OK"},
		"never":               {start: serves(404), limit: "0", code: 1, want: "/health answers HTTP/1.1 404 Not Found"},
		"not after a while":   {start: serves(404), limit: "1", code: 1, want: "/health answers HTTP/1.1 404 Not Found"},
		"closes":              {start: serves(closes), limit: "0", code: 1, want: "/health answers nothing"},
		"is silent":           {start: silent, limit: "0", code: 1, want: "/health answers nothing"},
		"nobody listens":      {start: nobody, limit: "0", code: 1, want: "/health answers nothing"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, port, err := net.SplitHostPort(c.start(t))
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "../../.dagger/scripts/answers", host, port+":/health")
			cmd.Env = append(os.Environ(), "ANSWERS_LIMIT="+c.limit)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err = cmd.Run()
			code, exit := 0, new(exec.ExitError)
			if errors.As(err, &exit) {
				code = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			got := stdout.String() + stderr.String()
			if code != c.code || strings.Count(got, "\n") != 1 || !strings.Contains(got, c.want) {
				t.Errorf("it ends with exit code %d and says %q, not with %d and %q", code, got, c.code, c.want)
			}
		})
	}
}
