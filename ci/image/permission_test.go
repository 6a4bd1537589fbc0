package image_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstage-gitops/backstage-gitops/ci/image"
	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
)

// TestMayPush: a registry that refuses one repository takes the other, and holds nothing of either afterwards.
func TestMayPush(t *testing.T) {
	t.Parallel()
	for code, c := range map[int]struct {
		want error
		text string
	}{
		http.StatusUnauthorized:    {image.ErrUnauthorized, "sign in with --username and an access token that may write (it answers 401: no)"},
		http.StatusForbidden:       {image.ErrUnauthorized, "may not write there"},
		http.StatusNotFound:        {image.ErrNotFound, "make the repository first"},
		http.StatusTooManyRequests: {image.ErrLimited, "wait, or sign in as an account with a higher limit"},
		http.StatusBadGateway:      {image.ErrUnreachable, "it answers 502"},
	} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			t.Parallel()
			host, requests := seen(t, func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPost || !strings.HasPrefix(r.URL.Path, "/v2/user/chart/") {
					return false
				}
				w.WriteHeader(code)
				_, _ = io.WriteString(w, `{"errors":[{"code":"DENIED","message":"no"}]}`)
				return true
			})
			o := image.Options{PlainHTTP: true, Pause: time.Millisecond}
			if err := image.MayPush(t.Context(), host+"/user/image", o); err != nil {
				t.Errorf("the repository that may be written: %v", err)
			}
			err := image.MayPush(t.Context(), host+"/user/chart", o)
			if !errors.Is(err, c.want) || !strings.HasPrefix(fmt.Sprint(err), host+"/user/chart: ") || !strings.Contains(fmt.Sprint(err), c.text) || strings.Contains(fmt.Sprint(err), "\n") {
				t.Errorf("got %v; want %v with %q", err, c.want, c.text)
			}
			for _, r := range requests() {
				if r.method == http.MethodPut || r.method == http.MethodPatch {
					t.Errorf("it has pushed: %s %s", r.method, r.path)
				}
			}
		})
	}
}

// TestMayPushSignsIn: with the account that it is given, as a push does.
func TestMayPushSignsIn(t *testing.T) {
	t.Parallel()
	host, _ := seen(t, func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user == "somebody" && password == "right" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	for password, want := range map[string]error{"right": nil, "wrong": image.ErrUnauthorized} {
		err := image.MayPush(t.Context(), host+"/app", image.Options{PlainHTTP: true, Username: "somebody", Password: password})
		if !errors.Is(err, want) || strings.Contains(fmt.Sprint(err), password) {
			t.Errorf("with the %s password: %v; want %v", password, err, want)
		}
	}
}

func TestMayPushTriesAgain(t *testing.T) {
	t.Parallel()
	var failed atomic.Int32
	host, _ := seen(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || failed.Add(1) > 1 {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	if err := image.MayPush(t.Context(), host+"/app", image.Options{PlainHTTP: true}); err != nil || failed.Load() != 2 {
		t.Errorf("after %d requests: %v", failed.Load(), err)
	}
}

func TestMayPushRefuses(t *testing.T) {
	t.Parallel()
	host := serve(t, nil)
	for name, c := range map[string]struct {
		repository string
		want       error
	}{
		"a tag":                {host + "/app:1", imageref.ErrReference},
		"a digest":             {host + "/app@sha256:" + strings.Repeat("0", 64), imageref.ErrReference},
		"no name":              {"A B", imageref.ErrReference},
		"a registry not there": {"localhost:1/app", image.ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := image.MayPush(t.Context(), c.repository, image.Options{PlainHTTP: true}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// TestMayPushIsInterrupted: a registry that does not answer is not waited for any longer than the context.
func TestMayPushIsInterrupted(t *testing.T) {
	t.Parallel()
	host, _ := seen(t, func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := image.MayPush(ctx, host+"/app", image.Options{PlainHTTP: true}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
