package image

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// failing is a registry that fails a number of times.
type failing struct {
	code, times int
	header      func() http.Header
	at          []time.Time
	sent        []string
}

func (f *failing) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		f.sent = append(f.sent, string(text))
	}
	f.at = append(f.at, time.Now())
	answer := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: r}
	if len(f.at) <= f.times {
		answer.StatusCode = f.code
		if f.header != nil {
			answer.Header = f.header()
		}
	}
	return answer, nil
}

func TestPatience(t *testing.T) {
	t.Parallel()
	asks := func(value string) func() http.Header {
		return func() http.Header { return http.Header{"Retry-After": {value}} }
	}
	for name, c := range map[string]struct {
		failing
		path        string
		requests    int
		least, most time.Duration
		code        int
		deadline    time.Duration
	}{
		"a limit without a time": {failing: failing{code: 429, times: 1}, requests: 2, least: time.Second, most: 2 * time.Second, code: 200},
		"a limit with a time":    {failing: failing{code: 429, times: 1, header: asks("30")}, requests: 2, least: 30 * time.Second, most: 46 * time.Second, code: 200},
		"less than our own":      {failing: failing{code: 503, times: 3, header: asks("0")}, requests: 4, least: time.Second, most: 2 * time.Second, code: 200},
		"a date": {failing: failing{code: 503, times: 1, header: func() http.Header {
			there := time.Now().Add(time.Hour).UTC()
			return http.Header{"Date": {there.Format(http.TimeFormat)}, "Retry-After": {there.Add(time.Minute).Format(http.TimeFormat)}}
		}}, requests: 2, least: time.Minute, most: 91 * time.Second, code: 200},
		"more than it is worth":    {failing: failing{code: 429, times: 1, header: asks("21600")}, requests: 1, code: 429},
		"longer than there is":     {failing: failing{code: 429, times: 1, header: asks("30")}, requests: 1, code: 429, deadline: 10 * time.Second},
		"no end":                   {failing: failing{code: 500, times: 100}, requests: tries, least: time.Second, most: 2 * time.Second, code: 500},
		"what does not change":     {failing: failing{code: 403, times: 1}, requests: 1, code: 403},
		"a part of an upload":      {failing: failing{code: 502, times: 1}, path: "/v2/app/blobs/uploads/1", requests: 1, code: 502},
		"a part that is too early": {failing: failing{code: 429, times: 1}, path: "/v2/app/blobs/uploads/1", requests: 2, least: time.Second, most: 2 * time.Second, code: 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if c.deadline != 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.deadline)
					defer cancel()
				}
				there := &c.failing
				r, err := http.NewRequestWithContext(ctx, http.MethodPatch, "http://registry.example.com"+c.path, strings.NewReader("body"))
				if err != nil {
					t.Fatal(err)
				}
				answer, err := (&patient{next: there, pause: time.Second}).RoundTrip(r)
				if err != nil || answer.StatusCode != c.code || len(there.at) != c.requests {
					t.Fatalf("%d requests, %v, %v; want %d and %d", len(there.at), answer, err, c.requests, c.code)
				}
				for i := 1; i < len(there.at); i++ {
					wait := there.at[i].Sub(there.at[i-1])
					if wait < c.least || i == 1 && wait > c.most {
						t.Errorf("it asked again after %s; want %s to %s", wait, c.least, c.most)
					}
				}
				for _, text := range there.sent {
					if text != "body" {
						t.Errorf("it sent %q", text)
					}
				}
			})
		})
	}
}
