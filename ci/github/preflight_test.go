package github_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/git"
	"github.com/backstage-gitops/backstage-gitops/ci/github"
	"github.com/backstage-gitops/backstage-gitops/ci/github/githubtest"
)

// TestPreflight: what the credential lacks is named before anything is built, and nothing is left on GitHub of having
// asked.
func TestPreflight(t *testing.T) {
	t.Parallel()
	only := func(permissions ...string) githubtest.Token {
		granted := map[string]string{}
		for _, p := range permissions {
			name, level, _ := strings.Cut(p, "=")
			granted[name] = level
		}
		return githubtest.Token{Value: bot, Permissions: granted}
	}
	const read, write, pulls = "contents=read", "contents=write", "pull_requests=write"
	guarded := map[string]string{"main": "Changes must be made through a pull request."}
	for name, c := range map[string]struct {
		token     githubtest.Token
		mode      github.Mode
		protected map[string]string
		branch    string
		want      error
		text      string
		warning   string
	}{
		"may push":                  {token: only(write)},
		"may ask":                   {token: only(write, pulls), mode: github.ModePullRequest},
		"a classic token":           {token: githubtest.Token{Value: bot, Scopes: []string{"repo"}}, mode: github.ModePullRequest},
		"may read":                  {token: only(read), want: github.ErrPermission, text: `grant it "contents: write"`},
		"may read, a workflow":      {token: githubtest.Token{Value: bot, Bot: true, Permissions: map[string]string{"contents": "read"}}, want: github.ErrPermission, text: `grant it "contents: write", in a workflow under permissions`},
		"may read, a classic token": {token: githubtest.Token{Value: bot, Scopes: []string{"read:org"}}, want: github.ErrPermission, text: `wants "repo"`},
		"may push and not ask":      {token: only(write), mode: github.ModePullRequest, want: github.ErrPermission, text: `grant it "pull requests: write"`},
		// Rules may keep others away from the branch, or keep it from being deleted: only the push tells.
		"may push, to a protected branch": {token: only(write), protected: guarded, warning: `main is protected: if GitHub refuses the push, the commit needs a pull request, and acme/portal: the credential lacks a permission: grant it "pull requests: write"`},
		"may ask where it has to":         {token: only(write, pulls), protected: guarded},
		"may see nothing":                 {token: only("issues=write"), want: github.ErrPermission, text: `grant it "contents: read"`},
		"has expired":                     {token: githubtest.Token{Value: bot, Expired: true}, want: github.ErrToken, text: "it has expired"},
		"no such branch":                  {token: only(write), branch: "nope", want: git.ErrNoBranch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(g *githubtest.Config) { g.Tokens, g.Protected = []githubtest.Token{c.token}, c.protected })
			w.target.Mode = c.mode
			if c.branch != "" {
				w.target.Branch = c.branch
			}
			before := w.there("for-each-ref")
			ready, err := github.Preflight(t.Context(), w.dir, release(1), w.target)
			if c.want != nil {
				refused(t, err, c.want, c.text)
			} else if head := w.git("rev-parse", "HEAD"); err != nil || ready.Tip != head || ready.Source != head {
				t.Errorf("%+v, %v", ready, err)
			}
			if !strings.HasPrefix(ready.Warning, c.warning) || c.warning == "" && ready.Warning != "" {
				t.Errorf("the warning is %q; want %q", ready.Warning, c.warning)
			}
			permitted, err := github.Permitted(t.Context(), w.target)
			switch {
			case c.want == nil || errors.Is(c.want, git.ErrNoBranch): // only git is asked for the branch
				if err != nil || permitted.Warning != ready.Warning {
					t.Errorf("permitted: %+v, %v", permitted, err)
				}
			default:
				refused(t, err, c.want, c.text)
			}
			if after := w.there("for-each-ref"); after != before || len(w.server.Pulls("acme/portal")) != 0 {
				t.Errorf("it left %s and %+v", after, w.server.Pulls("acme/portal"))
			}
		})
	}
}

// TestPreflightArchived: what keeps everybody from writing is said before anything is built as well; what GitHub does not
// like about the question is no refusal.
func TestPreflightArchived(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code    int
		message string
		want    error
	}{
		"archived":        {http.StatusForbidden, "Repository was archived so is read-only.", git.ErrRefused},
		"an empty blob":   {http.StatusUnprocessableEntity, "Invalid request. content can't be blank", nil},
		"down, and stays": {http.StatusServiceUnavailable, "Service unavailable", git.ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.server.Intercept(func(out http.ResponseWriter, r *http.Request) bool {
				if strings.HasSuffix(r.URL.Path, "/git/blobs") {
					githubtest.Fail(out, c.code, c.message)
					return true
				}
				return false
			})
			_, err := github.Preflight(t.Context(), w.dir, release(1), w.target)
			if c.want == nil && err != nil {
				t.Errorf("got %v", err)
			} else if c.want != nil {
				refused(t, err, c.want, "")
			}
		})
	}
}

// TestRequests: the commit of a release is at most six requests, however it gets to GitHub, and so is the first release of
// each kind as a whole.
func TestRequests(t *testing.T) {
	t.Parallel()
	private, text := key(t)
	app := githubtest.App{ID: 7, Installation: 9, Key: &private.PublicKey, Permissions: writer.Permissions}
	const (
		tree, commit = "POST git/trees", "POST git/commits"
		main, branch = "PATCH git/refs/heads/main", "PATCH git/refs/heads/" + head
		create       = "POST git/refs"
		list, open   = "GET pulls", "POST pulls"
		update       = "PATCH pulls/1"
		signIn       = "POST access_tokens"
	)
	for name, c := range map[string]struct {
		mode          github.Mode
		protected     bool
		app           bool
		first, second []string
	}{
		"push":           {first: []string{tree, commit, main}, second: []string{tree, commit, main}},
		"push by an App": {app: true, first: []string{signIn, tree, commit, main}, second: []string{signIn, tree, commit, main}},
		"to a protected branch": {
			protected: true,
			first:     []string{tree, commit, main, commit, create, open},
			second:    []string{tree, commit, main, list, commit, branch, update},
		},
		"pull request": {
			mode:   github.ModePullRequest,
			first:  []string{tree, commit, create, open},
			second: []string{tree, list, commit, branch, update},
		},
		"pull request by an App": {
			mode: github.ModePullRequest, app: true,
			first:  []string{signIn, tree, commit, create, open},
			second: []string{signIn, tree, list, commit, branch, update},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(g *githubtest.Config) {
				if c.protected {
					g.Protected = map[string]string{"main": "Changes must be made through a pull request."}
				}
				if c.app {
					g.Tokens, g.Apps = nil, []githubtest.App{app}
				}
			})
			w.target.Mode = c.mode
			if c.app {
				w.target.Token, w.target.App = "", github.App{ID: 7, Installation: 9, Key: text}
			}
			for n, want := range [][]string{c.first, c.second} {
				before := len(w.server.Requests())
				p := w.pushed(n + 1)
				var got []string
				ofCommit := 0
				for _, r := range w.server.Requests()[before:] {
					_, path, api := strings.Cut(r.Path, "/api/v3/repos/acme/portal/")
					switch {
					case strings.HasSuffix(r.Path, "/access_tokens"):
						path = "access_tokens"
					case !api:
						continue // git's own
					case strings.HasPrefix(path, "git/"):
						ofCommit++
					}
					got = append(got, r.Method+" "+path)
				}
				if strings.Join(got, ", ") != strings.Join(want, ", ") || p.Requests != int64(len(want)) {
					t.Errorf("release %d: %d requests are counted of\n%q; want\n%q", n+1, p.Requests, got, want)
				}
				if ofCommit > 6 || n == 0 && len(got) > 6 {
					t.Errorf("release %d: %d requests, %d of them for the commit", n+1, len(got), ofCommit)
				}
			}
		})
	}
}

// TestProtectedBy: a protected branch is no race, with whatever status GitHub says so.
func TestProtectedBy(t *testing.T) {
	t.Parallel()
	for _, code := range []int{http.StatusForbidden, http.StatusConflict, http.StatusUnprocessableEntity} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.server.Intercept(func(out http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/git/refs/heads/main") {
					githubtest.Fail(out, code, "Repository rule violations found: Changes must be made through a pull request.")
					return true
				}
				return false
			})
			if p := w.pushed(1); p.PullRequest == nil || p.Attempts != 1 || !strings.Contains(p.Fallback, "through a pull request") {
				t.Errorf("%+v", p)
			}
		})
	}
}
