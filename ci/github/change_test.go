package github_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	if p.Mode != github.ModePush || p.PullRequest != nil || !p.Verified || p.Requests != 4 || p.Parent != main {
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

	// The checkout is behind now.
	_, err = w.change()
	refused(t, err, github.ErrMoved, "fetch it, and start again")
	w.git("checkout", "-q", "file")
	if p, err := w.change(); err != nil || !p.Nothing || p.Requests != 0 {
		t.Errorf("nothing is changed: %+v, %v", p, err)
	}
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
