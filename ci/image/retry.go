package image

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const (
	// tries is how often a request is sent at most.
	tries = 6
	// longest is the longest wait that a registry may ask for; one that asks for more is given up on, and says why.
	longest = 2 * time.Minute
)

// temporary are the answers after which a request is sent again.
var temporary = []int{
	http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
	http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// Remote is how to reach the registry, for its library: signed in, and patient with a registry that fails or limits
// requests.
func (o Options) Remote(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(o.keychain()),
		remote.WithTransport(o.transport()), remote.WithRetryStatusCodes(), // those are the transport's
		remote.WithRetryPredicate(again),
		remote.WithRetryBackoff(remote.Backoff{Duration: o.pause(), Factor: 2, Jitter: 0.5, Steps: tries}),
	}
}

func (o Options) pause() time.Duration { return cmp.Or(o.Pause, time.Second) }

func (o Options) transport() http.RoundTripper {
	return &patient{next: remote.DefaultTransport, pause: o.pause()}
}

// again says after which errors the library tries a request or an upload again: where the connection failed, and where
// a part of an upload did, which begins anew then.
func again(err error) bool {
	var answer *transport.Error
	if errors.As(err, &answer) {
		return answer.Request != nil && partial(answer.Request, answer.StatusCode) && slices.Contains(temporary, answer.StatusCode)
	}
	var network interface{ Temporary() bool }
	return errors.As(err, &network) && network.Temporary() || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed)
}

// partial says of an answer that it is on a part of an upload whose state nobody knows.
func partial(r *http.Request, code int) bool {
	return (r.Method == http.MethodPatch || r.Method == http.MethodPut) && strings.Contains(r.URL.Path, "/blobs/uploads/") && code != http.StatusTooManyRequests
}

// patient is a transport that sends a request again which a registry limits or fails at: after the time that the
// registry asks for, or else after a pause that doubles.
type patient struct {
	next  http.RoundTripper
	pause time.Duration
}

func (p *patient) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	for n := 1; ; n++ {
		answer, err := p.next.RoundTrip(r)
		if err != nil || n == tries || !slices.Contains(temporary, answer.StatusCode) || partial(r, answer.StatusCode) || r.Body != nil && r.GetBody == nil {
			return answer, err
		}
		wait, ok := p.wait(answer.Header, n)
		if deadline, bound := ctx.Deadline(); !ok || bound && time.Until(deadline) < wait {
			return answer, nil
		}
		again := r.Clone(ctx)
		if r.GetBody != nil {
			if again.Body, err = r.GetBody(); err != nil {
				return nil, errors.Join(err, answer.Body.Close())
			}
		}
		// A connection is used again only once its answer is read.
		_, _ = io.CopyN(io.Discard, answer.Body, 1<<16)
		if err := answer.Body.Close(); err != nil {
			return nil, err
		}
		slog.InfoContext(ctx, "asking the registry again", "host", r.URL.Host, "status", answer.StatusCode, "wait", wait)
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
		r = again
	}
}

// wait is how long to wait before a request is sent again, and whether at all.
func (p *patient) wait(h http.Header, n int) (time.Duration, bool) {
	wait := p.pause << (n - 1)
	asked := h.Get("Retry-After")
	if seconds, err := strconv.ParseInt(asked, 10, 32); err == nil {
		wait = max(wait, time.Duration(seconds)*time.Second)
	} else if at, err := http.ParseTime(asked); err == nil {
		there, err := http.ParseTime(h.Get("Date"))
		if err != nil {
			there = time.Now()
		}
		wait = max(wait, at.Sub(there))
	}
	return wait + rand.N(wait/2+1), wait <= longest
}
