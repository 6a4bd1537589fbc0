package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestMain is also the program that the tests start: `serve ADDRESS TIMES` answers 503 so many times, then 200.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "serve" {
		serve(os.Args[2], os.Args[3])
	}
	os.Exit(m.Run())
}

func serve(address, times string) {
	var busy, asked int64
	if _, err := fmt.Sscan(times, &busy); err != nil {
		panic(err)
	}
	fmt.Println("starting\nserving on " + address)
	panic(http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if atomic.AddInt64(&asked, 1) <= busy {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})))
}

// free is an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	address := free(t)
	start, err := Measure(t.Context(), []string{os.Args[0], "serve", address, "5"}, []string{"http://" + address + "/ready", "http://" + address})
	if err != nil {
		t.Fatal(err)
	}
	if start.Milliseconds < 50 || start.ResidentBytes < 1e6 || start.ProcessorMilliseconds < 1 {
		t.Errorf("measured %+v", start)
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		_ = conn.Close()
		t.Error("the program still runs")
	}
}

func TestMeasureFails(t *testing.T) {
	t.Parallel()
	busy := free(t)
	cases := map[string]struct {
		argv []string
		want string
	}{
		"it ends":         {[]string{"sh", "-c", "echo first; echo no such module >&2; exit 3"}, "sh: it ended before it was ready: no such module"},
		"it ends, silent": {[]string{"true"}, "true: it ended before it was ready: it said nothing"},
		"never ready":     {[]string{os.Args[0], "serve", busy, "1000000"}, "http://" + busy + " did not answer 200 in time: serving on " + busy},
		"no such program": {[]string{"/nowhere/node"}, "start /nowhere/node: "},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("in time"))
			defer cancel()
			if _, err := Measure(ctx, c.argv, []string{"http://" + busy}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}

func TestWaitingIn(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		schedstat string
		want      time.Duration
	}{
		"as the kernel writes it": {"919712 1983117 2\n", 1983117},
		"switched off":            {"0 0 0\n", 0},
		"something else":          {"none", 0},
		"nothing":                 {"", 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := waitingIn(c.schedstat); got != c.want {
				t.Errorf("waited %s, want %s", got, c.want)
			}
		})
	}
}
