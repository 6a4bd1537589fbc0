package acceptance

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// What is attached to an image may be gone, or be something else, by the time at which the commit is to name the image:
// then there is no commit. A proxy before the registry changes the list of what is attached once that is whole and somebody
// opens the image again, as the release does to verify it.
func TestAttachedIsChanged(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(attached []any, provenance int) []any{
		"dropped": func(attached []any, provenance int) []any { return slices.Delete(attached, provenance, provenance+1) },
		"swapped": func(attached []any, provenance int) []any {
			attached[provenance] = attached[(provenance+1)%len(attached)]
			return attached
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			password, token, keyPassword := "canary-password-"+rand.Text(), "canary-token-"+rand.Text(), "canary-key-"+rand.Text()
			registry, remote := startRegistry(t, "somebody", password), startGit(t, token)
			git(t, project, "push", "--quiet", remote.repository, "HEAD:refs/heads/main")
			before := git(t, remote.repository, "rev-parse", "main")
			private, _ := keyPair(t, keyPassword)
			arguments := fmt.Sprintf(`image: %q, username: "somebody", password: $password, remote: "http://%s/portal.git", token: $token`, withAttached(t, registry, change)+"/portal", remote.address)
			_, err := release(t, module{Key: private, KeyPassword: keyPassword}, arguments, secret(t, "password", password), secret(t, "token", token))
			refused(t, err, "its provenance is missing")
			if err != nil && !strings.Contains(err.Error(), "nothing was committed") {
				t.Errorf("it does not say what there is: %v", err)
			}
			if tip := git(t, remote.repository, "rev-parse", "main"); tip != before {
				t.Errorf("main of the Git remote is %s, want %s as before", tip, before)
			}
		})
	}
}

// withAttached is the address of a proxy before a registry that changes the list of what is attached to an image, once
// SBOMs, provenance and signature are in it and the image was asked for again.
func withAttached(t *testing.T, registry server, change func(attached []any, provenance int) []any) string {
	t.Helper()
	all := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry.address})
	var mu sync.Mutex
	whole, again := "", false // the path of the image whose list is whole, and whether it was asked for since
	all.ModifyResponse = func(r *http.Response) error {
		mu.Lock()
		defer mu.Unlock()
		if whole != "" && r.Request.URL.Path == whole {
			again = true
		}
		if r.Request.Method != http.MethodGet || r.StatusCode != http.StatusOK || !strings.Contains(r.Request.URL.Path, "/manifests/sha256-") {
			return nil
		}
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		var list map[string]any
		if err := json.Unmarshal(text, &list); err != nil {
			return err
		}
		attached, _ := list["manifests"].([]any)
		provenance := slices.IndexFunc(attached, func(of any) bool { return strings.Contains(fmt.Sprint(of), "slsa.dev/provenance") })
		if len(attached) >= 4 && provenance >= 0 {
			whole = strings.Replace(r.Request.URL.Path, "/sha256-", "/sha256:", 1)
		}
		if again {
			list["manifests"] = change(attached, provenance)
			if text, err = json.Marshal(list); err != nil {
				return err
			}
			r.Header.Del("Docker-Content-Digest")
			r.Header.Set("Content-Length", strconv.Itoa(len(text)))
			r.ContentLength = int64(len(text))
		}
		r.Body = io.NopCloser(bytes.NewReader(text))
		return nil
	}
	l, err := net.Listen("tcp", freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: all}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().String()
}
