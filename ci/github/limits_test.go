package github

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// answers is a GitHub that limits a number of requests, and then answers.
type answers struct {
	limit  func(http.Header)
	limits int
	// at are the times of the requests, sent what was in them.
	at   []time.Time
	sent []string
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	a.at, a.sent = append(a.at, time.Now()), append(a.sent, string(text))
	w := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), Request: r}
	if len(a.at) <= a.limits {
		w.StatusCode = http.StatusForbidden
		w.Body = io.NopCloser(strings.NewReader(`{"message":"You have exceeded a secondary rate limit."}`))
		a.limit(w.Header)
	}
	return w, nil
}

func retryAfter(value string) func(http.Header) {
	return func(h http.Header) { h.Set("Retry-After", value) }
}

// resetIn names the time at which the limit ends, by a clock that is ahead of this machine's; one that does not say what
// time it is there has no Date.
func resetIn(wait, ahead time.Duration, dated bool) func(http.Header) {
	return func(h http.Header) {
		there := time.Now().Add(ahead)
		h.Set("X-RateLimit-Remaining", "0")
		h.Set("X-RateLimit-Reset", strconv.FormatInt(there.Add(wait).Unix(), 10))
		if dated {
			h.Set("Date", there.UTC().Format(http.TimeFormat))
		}
	}
}

// TestWaits: whatever GitHub names as the end of a limit, no request is sent again at once, or without an end.
func TestWaits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limit  func(http.Header)
		limits int
		// least and most are the wait before the first request that is sent again.
		least, most time.Duration
		refused     bool
	}{
		"a time":                        {limit: retryAfter("30"), limits: 1, least: 30 * time.Second, most: 40 * time.Second},
		"no wait at all":                {limit: retryAfter("0"), limits: 3, least: time.Second, most: 2 * time.Second},
		"a wait below none":             {limit: retryAfter("-5"), limits: 3, least: time.Second, most: 2 * time.Second},
		"a reset":                       {limit: resetIn(time.Minute, 0, true), limits: 1, least: time.Minute, most: 70 * time.Second},
		"a reset that has passed":       {limit: resetIn(-time.Minute, 0, true), limits: 2, least: time.Second, most: 2 * time.Second},
		"a clock that is behind ours":   {limit: resetIn(time.Minute, -time.Hour, true), limits: 1, least: time.Minute, most: 70 * time.Second},
		"a clock that is ahead of ours": {limit: resetIn(time.Minute, time.Hour, true), limits: 1, least: time.Minute, most: 70 * time.Second},
		"a clock that nobody knows":     {limit: resetIn(time.Minute, -time.Hour, false), limits: 1, least: time.Second, most: 2 * time.Second},
		"no time":                       {limit: func(http.Header) {}, limits: 2, least: time.Minute, most: 70 * time.Second},
		"no end":                        {limit: retryAfter("0"), limits: 1 << 30, least: time.Second, most: 2 * time.Second, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				there := &answers{limit: c.limit, limits: c.limits}
				client := &http.Client{Transport: &limits{next: there}}
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://github.example.com", strings.NewReader("body"))
				if err != nil {
					t.Fatal(err)
				}
				answer, err := client.Do(r)
				if c.refused {
					if !errors.Is(err, ErrLimited) || !strings.Contains(err.Error(), "11 times") || len(there.at) != 1+waits {
						t.Errorf("%d requests, %v", len(there.at), err)
					}
				} else if err != nil || answer.StatusCode != http.StatusOK || len(there.at) != 1+c.limits {
					t.Fatalf("%d requests, %v, %v", len(there.at), answer, err)
				}
				first := there.at[1].Sub(there.at[0])
				if first < c.least || first > c.most {
					t.Errorf("it came back after %s; want %s to %s", first, c.least, c.most)
				}
				for i := 2; i < len(there.at); i++ {
					if wait := there.at[i].Sub(there.at[i-1]); wait < first {
						t.Errorf("request %d came %s after the one before; want at least %s", i, wait, first)
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

// TestWaitBeyondDeadline: a limit that the release has no time for is refused at once.
func TestWaitBeyondDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		client := &http.Client{Transport: &limits{next: &answers{limit: retryAfter("3600"), limits: 1}}}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://github.example.com", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Do(r); !errors.Is(err, ErrLimited) || !time.Now().Equal(start) {
			t.Errorf("%v, after %s", err, time.Since(start))
		}
	})
}
