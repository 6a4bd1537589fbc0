package gitserver_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstage-gitops/backstage-gitops/ci/git"
	"github.com/backstage-gitops/backstage-gitops/ci/gitserver"
)

func serve(t *testing.T, c gitserver.Config) string {
	t.Helper()
	h, err := gitserver.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// repository makes a checkout with one commit that holds a file of that size, too random to compress.
func repository(t *testing.T, size int) *git.Repo {
	t.Helper()
	dir := t.TempDir()
	r := git.Open(dir)
	data := make([]byte, size)
	_, _ = rand.Read(data)
	if err := os.WriteFile(filepath.Join(dir, "file"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, r, "init", "-q", "-b", "main")
	run(t, r, "add", "file")
	run(t, r, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "first")
	return r
}

func run(t *testing.T, r *git.Repo, args ...string) string {
	t.Helper()
	out, err := r.Run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPushAndClone(t *testing.T) {
	t.Parallel()
	cases := map[string]int{
		"small push":                         10,
		"push larger than git's post buffer": 3 << 20,
	}
	for name, size := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, gitserver.Config{Root: t.TempDir(), Create: []string{"a.git"}}) + "/a.git"
			r := repository(t, size)
			if err := r.Push(t.Context(), url, "main", nil, "HEAD:refs/heads/main"); err != nil {
				t.Fatal(err)
			}
			clone := filepath.Join(t.TempDir(), "clone")
			run(t, r, "clone", "-q", url, clone)
			if got, want := run(t, git.Open(clone), "rev-parse", "HEAD"), run(t, r, "rev-parse", "HEAD"); got != want {
				t.Errorf("clone is at %s; want %s", got, want)
			}
			if got := run(t, git.Open(clone), "symbolic-ref", "--short", "HEAD"); got != "main" {
				t.Errorf("clone is on %s", got)
			}
		})
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	url := serve(t, gitserver.Config{Root: t.TempDir(), Create: []string{"a.git"}, Token: "right"}) + "/a.git"
	r := repository(t, 1)
	cases := map[string]struct {
		token string
		want  error
	}{
		"right": {token: "right"},
		"wrong": {token: "wrong", want: git.ErrUnauthorized},
		"none":  {want: git.ErrUnauthorized},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			with, err := r.With(url, git.Credential{Username: "x", Token: c.token})
			if err != nil {
				t.Fatal(err)
			}
			err = with.Push(t.Context(), url, "main", nil, "HEAD:refs/heads/"+name)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v; want %v", err, c.want)
			}
		})
	}
	if code, _ := get(t, strings.TrimSuffix(url, "/a.git")+gitserver.HealthPath); code != http.StatusOK {
		t.Errorf("health wants a token: %d", code)
	}
}

func TestRepositoriesOutlastTheServer(t *testing.T) {
	t.Parallel()
	c := gitserver.Config{Root: t.TempDir(), Create: []string{"a.git"}}
	r := repository(t, 1)
	if err := r.Push(t.Context(), serve(t, c)+"/a.git", "main", nil, "HEAD:refs/heads/main"); err != nil {
		t.Fatal(err)
	}
	tip, err := r.Fetch(t.Context(), serve(t, c)+"/a.git", "main")
	if want := run(t, r, "rev-parse", "HEAD"); err != nil || tip != want {
		t.Errorf("%s, %v; want %s", tip, err, want)
	}
}

// TestLocksOfTheKilled: a git that was killed leaves lock files, which must not refuse pushes for ever; those of a git
// that runs under another server of the same root must stay.
func TestLocksOfTheKilled(t *testing.T) {
	t.Parallel()
	c := gitserver.Config{Root: t.TempDir(), Create: []string{"a.git"}}
	r := repository(t, 1)
	lock := filepath.Join(c.Root, "a.git", "refs", "heads", "main.lock")
	if err := os.MkdirAll(filepath.Dir(lock), 0o755); err != nil {
		t.Fatal(err)
	}
	put := func() {
		t.Helper()
		if err := os.WriteFile(lock, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put()
	first := serve(t, c) + "/a.git"
	if err := r.Push(t.Context(), first, "main", nil, "HEAD:refs/heads/main"); err != nil {
		t.Fatal(err)
	}
	put()
	second := serve(t, c) + "/a.git"
	if err := r.Push(t.Context(), second, "main", nil, "HEAD:refs/heads/other"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(lock); err != nil {
		t.Errorf("the second server took a lock away: %v", err)
	}
}

func TestOnlyRepositoriesAreServed(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "secret"), []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	url := serve(t, gitserver.Config{Root: filepath.Join(root, "srv"), Create: []string{"a.git"}})
	for _, path := range []string{"/", "/a.git", "/a.git/config", "/secret", "/../secret", "/a.git/../../secret", "/%2e%2e/secret", "/b.git/info/refs?service=git-upload-pack"} {
		if code, body := get(t, url+path); code == http.StatusOK || strings.Contains(body, "secret") {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	for _, name := range []string{"", "a", "../a.git", "a/b.git", "-a.git", ".git"} {
		if _, err := gitserver.New(t.Context(), gitserver.Config{Root: root, Create: []string{name}}); err == nil {
			t.Errorf("a repository named %q is made", name)
		}
	}
}

func TestServeStops(t *testing.T) {
	t.Parallel()
	h, err := gitserver.New(t.Context(), gitserver.Config{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- gitserver.Serve(ctx, l, h) }()
	if code, body := get(t, "http://"+l.Addr().String()+gitserver.HealthPath); code != http.StatusOK || body != "ok\n" {
		t.Errorf("health: %d %q", code, body)
	}
	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the server did not stop")
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}
