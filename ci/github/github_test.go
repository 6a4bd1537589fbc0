package github_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/bump"
	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
	"github.com/backstage-gitops/backstage-gitops/ci/github"
	"github.com/backstage-gitops/backstage-gitops/ci/github/githubtest"
)

const (
	name   = "acme/portal"
	values = "# ours, größer\nimage:\n  repository: r\n  tag: \"latest\" # t\n  digest: \"\"\n"
	chart  = "apiVersion: v2\nname: backstage\nversion: 0.1.0\nappVersion: \"0\"\n"
	bot    = "ghs_b0t"
)

// writer may do all that a release wants, as a workflow's own token does.
var writer = githubtest.Token{Value: bot, Login: "github-actions[bot]", Bot: true, Permissions: map[string]string{"contents": "write", "pull_requests": "write"}}

func digest(n int) string { return fmt.Sprintf("sha256:%064x", n) }

func release(n int) commit.Release {
	return commit.Release{Chart: "charts/backstage", Image: "docker.io/user/backstage-gitops", Pin: bump.Pin{Tag: fmt.Sprintf("t%d", n), Digest: digest(n)}}
}

// world is a checkout and a GitHub that holds it.
type world struct {
	*testing.T
	server *githubtest.Server
	dir    string
	bare   *git.Repo
	target github.Target
}

func newWorld(t *testing.T, change ...func(*githubtest.Config)) *world {
	t.Helper()
	c := githubtest.Config{Root: t.TempDir(), Repositories: []string{name}, Tokens: []githubtest.Token{writer}}
	for _, f := range change {
		f(&c)
	}
	s, err := githubtest.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	w := &world{T: t, server: s, dir: t.TempDir(), bare: git.Open(s.Dir(name))}
	w.target = github.Target{Remote: web.URL + "/" + name + ".git", Branch: "main", Token: bot}
	w.git("init", "-q", "-b", "main")
	w.save("first", map[string]string{"charts/backstage/values.yaml": values, "charts/backstage/Chart.yaml": chart, "file": "1"})
	w.git("push", "-q", w.bare.Dir(), "HEAD:refs/heads/main")
	return w
}

// git calls git in the checkout.
func (w *world) git(args ...string) string { return run(w.T, git.Open(w.dir), args...) }

// there calls git in GitHub's repository.
func (w *world) there(args ...string) string { return run(w.T, w.bare, args...) }

func run(t *testing.T, r *git.Repo, args ...string) string {
	t.Helper()
	out, err := r.Run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// save writes and commits files.
func (w *world) save(message string, files map[string]string) string {
	w.Helper()
	for name, text := range files {
		path := filepath.Join(w.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			w.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			w.Fatal(err)
		}
	}
	w.git("add", "-A")
	w.git("-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "--allow-empty", "-m", message)
	return w.git("rev-parse", "HEAD")
}

func (w *world) push(n int) (github.Pushed, error) {
	return github.Push(w.Context(), w.dir, release(n), w.target)
}

func (w *world) pushed(n int) github.Pushed {
	w.Helper()
	p, err := w.push(n)
	if err != nil {
		w.Fatal(err)
	}
	return p
}

// sound has git check all that GitHub holds.
func (w *world) sound() {
	w.Helper()
	if out := w.there("fsck", "--strict", "--no-dangling"); out != "" {
		w.Errorf("git fsck: %s", out)
	}
}

// writes are the requests that changed something, and all of them are counted in the number.
func (w *world) writes() (all int, paths []string) {
	for _, r := range w.server.Requests() {
		if r.Method != "GET" && strings.HasPrefix(r.Path, "/api/") {
			paths = append(paths, r.Method+" "+r.Path[strings.LastIndex(r.Path, "/portal/")+len("/portal/"):])
		}
		all++
	}
	return all, paths
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func decode(t *testing.T, r *http.Request, v any) {
	t.Helper()
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		t.Error(err)
	}
}
