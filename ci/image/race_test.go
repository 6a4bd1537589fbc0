package image_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstage-gitops/backstage-gitops/ci/image"
)

const isTag = "/v2/app/manifests/1.2.3"

// TestPublishUnseen: a tag that a registry does not show, and would take all the same, may be another image's.
func TestPublishUnseen(t *testing.T) {
	t.Parallel()
	for _, code := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			t.Parallel()
			hidden := false
			host, requests := seen(t, func(w http.ResponseWriter, r *http.Request) bool {
				if hidden && r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/manifests/") {
					w.WriteHeader(code)
					return true
				}
				return false
			})
			first, err := publish(t, host+"/app:1.2.3", 1, image.Publication{})
			if err != nil {
				t.Fatal(err)
			}
			hidden = true
			before := len(requests())
			_, err = publish(t, host+"/app:1.2.3", 2, image.Publication{})
			if !errors.Is(err, image.ErrUnauthorized) || !strings.Contains(err.Error(), "whether the tag is another image's cannot be seen: "+host+"/app:1.2.3") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v", err)
			}
			for _, r := range requests()[before:] {
				if r.method != http.MethodGet && r.method != http.MethodHead {
					t.Errorf("refused, but %s %s", r.method, r.path)
				}
			}
			hidden = false
			if got := digestOf(t, host+"/app:1.2.3"); got != first.Digest {
				t.Errorf("the tag is %s; want it left at %s", got, first.Digest)
			}
		})
	}
}

// TestPublishToANewRepository: a registry that shows a repository that is yet to be made to nobody but who may push there,
// as DockerHub does, takes the first image.
func TestPublishToANewRepository(t *testing.T) {
	t.Parallel()
	var host string
	pushed := false
	host, _ = seen(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			scope, _ := url.QueryUnescape(r.URL.Query().Get("scope"))
			_, _ = fmt.Fprintf(w, `{"token": %q}`, scope)
			return true
		}
		granted := r.Header.Get("Authorization")
		switch {
		case strings.Contains(granted, "push"):
			pushed = pushed || r.Method == http.MethodPut
			return false
		case strings.Contains(granted, "pull") && pushed:
			return false
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+host+`/token",service="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
		return true
	})
	if _, err := publish(t, host+"/app:1.2.3", 1, image.Publication{AlsoTags: []string{"latest"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := publish(t, host+"/app:1.2.3", 2, image.Publication{}); !errors.Is(err, image.ErrTaken) {
		t.Errorf("of the tag that is there now it says %v", err)
	}
}

// TestPublishRaces: of two releases that push one tag at the same time none ends as if it had it alone.
func TestPublishRaces(t *testing.T) {
	t.Parallel()
	another := "sha256:" + strings.Repeat("7", 64)
	for name, c := range map[string]struct {
		// from is the first look at the tag that finds another image there.
		from   int32
		also   string
		puts   int32
		refuse bool
		text   string
	}{
		"before the push":                {from: 1, refuse: true, text: "the tag is that of another image already, " + another},
		"during the upload":              {from: 2, refuse: true, text: "the tag is that of another image already, " + another},
		"while the tag is pushed":        {from: 3, puts: 1, refuse: true, text: "somebody else has pushed at the same time: "},
		"after that is nobody's to tell": {from: 4, puts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var looks, puts atomic.Int32
			host, _ := seen(t, func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != isTag {
					return false
				}
				if r.Method == http.MethodPut {
					puts.Add(1)
				}
				if r.Method != http.MethodHead || looks.Add(1) < c.from {
					return false
				}
				w.Header().Set("Docker-Content-Digest", another)
				w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
				w.Header().Set("Content-Length", "10")
				return true
			})
			_, err := publish(t, host+"/app:1.2.3", 1, image.Publication{})
			if c.refuse != errors.Is(err, image.ErrTaken) || c.refuse != (err != nil) || err != nil && (!strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("got %v; want %q", err, c.text)
			}
			if puts.Load() != c.puts {
				t.Errorf("the tag was pushed %d times; want %d", puts.Load(), c.puts)
			}
		})
	}
}

// TestRegistryIsAskedAgain: every way to a registry is as patient, and waits as long as the registry asks for.
func TestRegistryIsAskedAgain(t *testing.T) {
	t.Parallel()
	for _, code := range []int{http.StatusTooManyRequests, http.StatusBadGateway} {
		for name, use := range map[string]func(t *testing.T, ref, digest string, o image.Options) error{
			"inspect": func(t *testing.T, ref, _ string, o image.Options) error {
				_, _, err := image.Inspect(t.Context(), ref+":1.2.3", o)
				return err
			},
			"retag": func(t *testing.T, ref, digest string, o image.Options) error {
				_, err := image.Retag(t.Context(), ref+"@sha256:"+strings.Repeat("7", 64), digest, "1.2.3", o)
				if errors.Is(err, image.ErrNotFound) {
					return nil // it has got as far as to look for it
				}
				return err
			},
			"tag": func(t *testing.T, ref, digest string, o image.Options) error {
				_, err := image.AddTags(t.Context(), ref+"@"+digest, image.Publication{AlsoTags: []string{"1.2"}}, o)
				return err
			},
			"copy": func(t *testing.T, ref, digest string, o image.Options) error {
				_, _, err := image.Copy(t.Context(), ref+"@"+digest, ref+"-copy:1", o, o)
				return err
			},
			"preflight": func(t *testing.T, ref, _ string, o image.Options) error { return image.MayPush(t.Context(), ref, o) },
		} {
			t.Run(fmt.Sprint(name, code), func(t *testing.T) {
				t.Parallel()
				var fails atomic.Int32
				host, _ := seen(t, func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == "/v2/" || fails.Add(-1) < 0 {
						return false
					}
					w.Header().Set("Retry-After", "0")
					w.WriteHeader(code)
					return true
				})
				p, err := publish(t, host+"/app:1.2.3", 1, image.Publication{AlsoTags: []string{"latest"}})
				if err != nil {
					t.Fatal(err)
				}
				fails.Store(5)
				if err := use(t, host+"/app", p.Digest, image.Options{PlainHTTP: true, Pause: time.Millisecond}); err != nil {
					t.Errorf("after five answers %d: %v", code, err)
				}
				if fails.Load() >= 0 {
					t.Errorf("%d of the answers were not asked for, so it proves nothing", fails.Load())
				}
			})
		}
	}
}
