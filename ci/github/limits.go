package github

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// ErrLimited says that GitHub's rate limit lasts longer than the release may take.
var ErrLimited = errors.New("GitHub's rate limit is used up")

// limits is a transport that counts requests, and waits and asks again where GitHub limits the rate of them.
type limits struct {
	next     http.RoundTripper
	requests atomic.Int64
}

const (
	// unnamed is how long GitHub asks to wait at least after a limit without a time; it doubles each time.
	unnamed = time.Minute
	// shortest is the least wait before a request is sent again; it doubles each time. GitHub may name less, or a time
	// that has passed.
	shortest = time.Second
	// waits bounds how often one request is sent again.
	waits = 10
)

func (l *limits) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	for again := 0; ; again++ {
		l.requests.Add(1)
		answer, err := l.next.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		debug(ctx, r, answer.StatusCode)
		until, limited, err := limit(answer, again)
		// go-github would refuse the next request by itself, instead of waiting.
		answer.Header.Del("X-RateLimit-Remaining")
		answer.Header.Del("X-RateLimit-Reset")
		if err != nil || !limited || r.Body != nil && r.GetBody == nil {
			return answer, err
		}
		if err := answer.Body.Close(); err != nil {
			return nil, err
		}
		if again == waits {
			return nil, fmt.Errorf("%w: GitHub refused the request %d times, each after the wait that it asked for; run it again later, it goes on from here", ErrLimited, again+1)
		}
		if err := pause(ctx, until); err != nil {
			return nil, err
		}
		r = r.Clone(ctx)
		if r.GetBody != nil {
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// limit reads from an answer whether a rate limit is hit, the primary one or a secondary, and until when.
// https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
func limit(answer *http.Response, again int) (until time.Time, limited bool, err error) {
	if answer.StatusCode != http.StatusForbidden && answer.StatusCode != http.StatusTooManyRequests {
		return time.Time{}, false, nil
	}
	h, now := answer.Header, time.Now()
	if seconds, err := strconv.Atoi(h.Get("Retry-After")); err == nil {
		return now.Add(spread(time.Duration(seconds)*time.Second, again)), true, nil
	}
	if at, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64); err == nil && h.Get("X-RateLimit-Remaining") == "0" {
		// The reset is a time of GitHub's clock, which this machine's may not agree with.
		there, err := http.ParseTime(h.Get("Date"))
		if err != nil {
			there = now
		}
		return now.Add(spread(time.Unix(at, 0).Sub(there), again)), true, nil
	}
	text, err := io.ReadAll(answer.Body)
	if err = errors.Join(err, answer.Body.Close()); err != nil {
		return time.Time{}, false, err
	}
	answer.Body = io.NopCloser(bytes.NewReader(text))
	limited = answer.StatusCode == http.StatusTooManyRequests || strings.Contains(strings.ToLower(string(text)), "secondary rate limit")
	return now.Add(spread(unnamed<<min(again, 6), again)), limited, nil
}

// spread is a wait of at least the one that was asked for, and partly random: whoever was limited together does not come
// back together.
func spread(wait time.Duration, again int) time.Duration {
	wait = max(wait, shortest<<again)
	return wait + rand.N(min(wait/4, 10*time.Second))
}

// pause waits until a limit ends, or refuses to where the context ends before.
func pause(ctx context.Context, until time.Time) error {
	at := until.UTC().Format(time.TimeOnly) + " UTC"
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) {
		return fmt.Errorf("%w until %s, longer than the release may wait; run it again then, it goes on from here", ErrLimited, at)
	}
	slog.InfoContext(ctx, "GitHub limits the rate of requests, waiting", "until", at)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Until(until)):
		return nil
	}
}
