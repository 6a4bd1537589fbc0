package github_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/github"
	"github.com/backstage-gitops/backstage-gitops/ci/github/githubtest"
)

// edited is a world whose work tree changes a file.
func edited(t *testing.T, text string, change ...func(*githubtest.Config)) *world {
	t.Helper()
	w := newWorld(t, change...)
	w.edit(text)
	return w
}

func (w *world) edit(text string) {
	w.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, "file"), []byte(text), 0o644); err != nil {
		w.Fatal(err)
	}
}

func (w *world) change() (github.Pushed, error) {
	return github.Commit(w.Context(), w.dir, github.Change{Title: "chore: change", Body: "why", Head: "change"}, w.target)
}

func TestCommit(t *testing.T) {
	t.Parallel()
	w := edited(t, "2")
	main := w.there("rev-parse", "main")
	p, err := w.change()
	if err != nil {
		t.Fatal(err)
	}
	if p.Mode != github.ModePush || p.PullRequest != nil || !p.Verified || p.Requests != 3 || p.Parent != main {
		t.Errorf("%+v", p)
	}
	if got := w.there("log", "-1", "--format=%H %P %s", "main"); got != p.SHA+" "+main+" chore: change [skip ci]" {
		t.Errorf("main is %s", got)
	}
	if got := w.there("diff", "--name-only", main, "main") + " " + w.there("show", "main:file"); got != "file 2" {
		t.Errorf("it changes %s", got)
	}
	if got := w.git("status", "--porcelain"); got != " M file" {
		t.Errorf("the checkout has %q", got)
	}
	w.sound()

	if got := w.there("log", "-1", "--format=%(trailers:key=Change,valueonly)", "main"); strings.TrimSpace(got) != "change@"+main {
		t.Errorf("nobody knows it for this change: %q", got)
	}

	// Again there is nothing to do, though the checkout is behind now; another text of that file has no place there.
	if again, err := w.change(); err != nil || !again.Nothing || again.SHA != p.SHA || again.Candidate != "" {
		t.Errorf("again: %+v, %v", again, err)
	}
	w.edit("3")
	_, err = w.change()
	refused(t, err, commit.ErrOutdated, "file in main of "+w.target.Remote+" was changed since")
	w.git("checkout", "-q", "file")
	if p, err := w.change(); err != nil || !p.Nothing || p.Requests != 0 {
		t.Errorf("nothing is changed: %+v, %v", p, err)
	}
}

// TestCommitMovedOn: a branch that moves between the look at it and the update gets the change on top of the others'.
func TestCommitMovedOn(t *testing.T) {
	t.Parallel()
	for mode, branch := range map[github.Mode]string{github.ModePush: "main", github.ModePullRequest: "change"} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			w := edited(t, "2")
			w.target.Mode = mode
			head := w.git("rev-parse", "HEAD")
			message := "theirs\n\nChange: change@" + head
			if mode == github.ModePullRequest {
				if _, err := w.change(); err != nil {
					t.Fatal(err)
				}
				w.edit("3")
			}
			theirs := w.there("-c", "user.name=a", "-c", "user.email=a@example.com", "commit-tree", "-p", branch, "-m", message, branch+"^{tree}")
			var once sync.Once
			w.server.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/git/refs/heads/"+branch) {
					once.Do(func() { w.there("update-ref", "refs/heads/"+branch, theirs) })
				}
				return false
			})
			p, err := w.change()
			if err != nil {
				t.Fatal(err)
			}
			if p.Attempts != 2 || w.there("rev-parse", branch) != p.SHA {
				t.Errorf("%+v", p)
			}
			if there, err := w.bare.IsAncestor(t.Context(), theirs, branch); err != nil || !there {
				t.Errorf("the commit that came first is lost: %v", err)
			}
			w.sound()
		})
	}
}

// TestCommitGivesUp: a branch that moves under every attempt ends the change after a bounded number of them.
func TestCommitGivesUp(t *testing.T) {
	t.Parallel()
	w := edited(t, "2")
	w.target.Attempts = 3
	w.server.Intercept(func(out http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch {
			githubtest.Fail(out, http.StatusUnprocessableEntity, "Update is not a fast forward")
			return true
		}
		return false
	})
	_, err := w.change()
	refused(t, err, commit.ErrBusy, "3 attempts")
}

func TestCommitInPullRequest(t *testing.T) {
	t.Parallel()
	guard := func(c *githubtest.Config) {
		c.Protected = map[string]string{"main": "Changes must be made through a pull request."}
	}
	for name, c := range map[string]struct {
		mode     github.Mode
		change   []func(*githubtest.Config)
		fallback string
	}{
		"asked for":          {mode: github.ModePullRequest},
		"a protected branch": {mode: github.ModePush, change: []func(*githubtest.Config){guard}, fallback: "the branch is protected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := edited(t, "2", c.change...)
			w.target.Mode = c.mode
			main := w.there("rev-parse", "main")
			first, err := w.change()
			if err != nil {
				t.Fatal(err)
			}
			w.edit("3")
			second, err := w.change()
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range []github.Pushed{first, second} {
				if p.Mode != github.ModePullRequest || p.PullRequest == nil || p.PullRequest.Number != 1 || !strings.Contains(p.Fallback, c.fallback) || (p.Fallback == "") != (c.fallback == "") {
					t.Errorf("%+v", p)
				}
			}
			// Once more nothing is added, and the result says so.
			again, err := w.change()
			if err != nil || !again.Kept || second.Kept || again.SHA != second.SHA || !again.Verified || again.PullRequest == nil || *again.PullRequest != *second.PullRequest {
				t.Errorf("again: %+v, %v", again, err)
			}
			if got := w.there("log", "-1", "--format=%H %P %s", "change"); got != second.SHA+" "+main+" "+first.SHA+" chore: change" {
				t.Errorf("the branch is %s", got)
			}
			if got := w.there("rev-parse", "main") + " " + w.there("show", "change:file"); got != main+" 3" {
				t.Errorf("main and the file are %s", got)
			}
			if pulls := w.server.Pulls("acme/portal"); len(pulls) != 1 || pulls[0].Title != "chore: change" || pulls[0].Body != "why" {
				t.Errorf("%+v", pulls)
			}
			w.sound()
		})
	}
}

// TestCommitKeepsOthers: a pull request to which somebody else has committed is left as it is, and so is one that was made
// of a later commit.
func TestCommitKeepsOthers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(*world)
		want    error
		text    string
	}{
		"a person's commit": {
			prepare: func(w *world) {
				w.git("fetch", "-q", w.bare.Dir(), "change")
				w.git("checkout", "-q", "FETCH_HEAD")
				w.save("a person's", map[string]string{"file": "theirs"})
				w.git("push", "-q", w.bare.Dir(), "HEAD:refs/heads/change")
				w.git("checkout", "-q", "main")
			},
			want: github.ErrForeign, text: "merge or close the pull request and delete the branch",
		},
		"another change's commit": {
			prepare: func(w *world) {
				theirs := w.there("-c", "user.name=a", "-c", "user.email=a@example.com", "commit-tree", "-p", "change", "-m", "theirs\n\nChange: other@"+w.git("rev-parse", "HEAD"), "main^{tree}")
				w.there("update-ref", "refs/heads/change", theirs)
			},
			want: github.ErrForeign,
		},
		"made of a later commit": {
			prepare: func(w *world) {
				head := w.git("rev-parse", "HEAD")
				w.save("newer", map[string]string{"other": "1"})
				w.git("push", "-q", w.bare.Dir(), "HEAD:main")
				w.edit("newer")
				if _, err := w.change(); err != nil {
					w.Fatal(err)
				}
				w.git("update-ref", "refs/heads/newer", "HEAD")
				w.git("reset", "-q", "--hard", head)
			},
			want: commit.ErrSuperseded,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := edited(t, "2")
			w.target.Mode = github.ModePullRequest
			if _, err := w.change(); err != nil {
				t.Fatal(err)
			}
			w.git("checkout", "-q", "file")
			c.prepare(w)
			w.edit("3")
			before := w.there("for-each-ref")
			_, err := w.change()
			refused(t, err, c.want, c.text)
			if after := w.there("for-each-ref"); after != before {
				t.Errorf("the repository changed:\n%s\nbefore\n%s", after, before)
			}
			if pulls := w.server.Pulls("acme/portal"); len(pulls) != 1 {
				t.Errorf("%+v", pulls)
			}
		})
	}
}

func TestCommitRefused(t *testing.T) {
	t.Parallel()
	w := edited(t, "2", func(c *githubtest.Config) {
		c.Tokens = append(c.Tokens, githubtest.Token{Value: "reads", Bot: true, Permissions: map[string]string{"contents": "read"}})
	})
	before := w.there("for-each-ref")
	for name, c := range map[string]struct {
		change github.Change
		target func(*github.Target)
		want   error
		text   string
	}{
		"no title":                   {change: github.Change{Head: "b"}, text: "wants a title"},
		"the branch itself":          {change: github.Change{Title: "t", Head: "main"}, text: "that is not main"},
		"a token that may only read": {target: func(t *github.Target) { t.Token = "reads" }, want: github.ErrPermission, text: `"contents: write"`},
		"no such branch":             {target: func(t *github.Target) { t.Branch = "none" }, text: "acme/portal"},
	} {
		t.Run(name, func(t *testing.T) {
			target := w.target
			if c.target != nil {
				c.target(&target)
				c.change = github.Change{Title: "t", Head: "b"}
			}
			_, err := github.Commit(t.Context(), w.dir, c.change, target)
			refused(t, err, c.want, c.text)
		})
	}
	if after := w.there("for-each-ref"); after != before {
		t.Errorf("the repository changed:\n%s", after)
	}
}
