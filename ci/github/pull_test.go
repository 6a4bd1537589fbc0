package github_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
	"github.com/backstage-gitops/backstage-gitops/ci/github"
	"github.com/backstage-gitops/backstage-gitops/ci/github/githubtest"
)

const head = "gitops/backstage/main"

// asking is a world whose releases are pull requests.
func asking(t *testing.T, change ...func(*githubtest.Config)) *world {
	t.Helper()
	w := newWorld(t, change...)
	w.target.Mode = github.ModePullRequest
	return w
}

func TestPullRequest(t *testing.T) {
	t.Parallel()
	w := asking(t)
	main := w.there("rev-parse", "main")
	w.target.Pull.Labels = []string{"release", "gitops"}
	p := w.pushed(1)
	if p.Mode != github.ModePullRequest || p.PullRequest == nil || p.PullRequest.Number != 1 || !strings.HasSuffix(p.PullRequest.URL, "/acme/portal/pull/1") || !p.Verified || p.Parent != main {
		t.Errorf("%+v", p)
	}
	if got := w.there("rev-parse", "main", head, head+"^", head+"^{tree}"); got != strings.Join([]string{main, p.SHA, main, p.Tree}, "\n") {
		t.Errorf("%+v; main, head, its parent and its tree are\n%s", p, got)
	}
	if got := w.there("log", "-1", "--format=%B", head); strings.Contains(got, "skip ci") || !strings.Contains(got, "Source-Revision: "+main) {
		t.Errorf("the message keeps the checks of the pull request from starting, or says too little:\n%s", got)
	}
	pulls := w.server.Pulls(name)
	if len(pulls) != 1 || pulls[0].Title != "chore(release): backstage t1 [skip ci]" || pulls[0].Base != "main" || pulls[0].Head != head || !slices.Equal(pulls[0].Labels, w.target.Pull.Labels) || !strings.Contains(pulls[0].Body, "| `t1` |") {
		t.Errorf("%+v", pulls)
	}

	// The same release again changes nothing.
	if again := w.pushed(1); again.SHA != p.SHA || *again.PullRequest != *p.PullRequest || !again.Verified {
		t.Errorf("again: %+v; want %+v", again, p)
	}

	// The next one updates the pull request that is open, on top of what others have pushed to main meanwhile.
	theirs := w.save("theirs", map[string]string{"file": "2"})
	w.git("push", "-q", w.bare.Dir(), "HEAD:main")
	w.target.Pull.Title = "Release"
	w.target.Pull.Body = func(c commit.Pushed) (string, error) { return "of " + c.SHA + " in " + c.PullRequest.URL, nil }
	next := w.pushed(2)
	if next.PullRequest.Number != 1 || next.Parent != theirs {
		t.Errorf("%+v", next)
	}
	if got := w.there("rev-parse", head, head+"^1", head+"^2", head+"^{tree}"); got != strings.Join([]string{next.SHA, theirs, p.SHA, next.Tree}, "\n") {
		t.Errorf("head, its parents and its tree are\n%s", got)
	}
	if got := w.there("diff", "--name-only", "main..."+head); got != "charts/backstage/Chart.yaml\ncharts/backstage/values.yaml" {
		t.Errorf("it changes %s", got)
	}
	pulls = w.server.Pulls(name)
	if len(pulls) != 1 || pulls[0].Title != "Release" || pulls[0].Body != "of "+next.SHA+" in "+next.PullRequest.URL {
		t.Errorf("%+v", pulls)
	}
	w.sound()
}

// TestPullRequestTooLong: a report that is longer than GitHub takes does not keep the release from its pull request.
func TestPullRequestTooLong(t *testing.T) {
	t.Parallel()
	w := asking(t)
	w.target.Pull.Body = func(commit.Pushed) (string, error) { return strings.Repeat("größer als erlaubt\n", 5000), nil }
	w.pushed(1)
	body := w.server.Pulls(name)[0].Body
	if n := utf8.RuneCountInString(body); n > 65536 || n < 65000 || !strings.HasSuffix(body, "größer als erlaubt\n\nThe rest is too long for a pull request.\n") {
		t.Errorf("%d characters, that end with %q", n, body[len(body)-100:])
	}
}

// TestPullRequestGoesOn: a release that was interrupted between branch and pull request goes on from there.
func TestPullRequestGoesOn(t *testing.T) {
	t.Parallel()
	w := asking(t)
	fails := true
	w.server.Intercept(func(out http.ResponseWriter, r *http.Request) bool {
		if fails && r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/pulls") {
			githubtest.Fail(out, http.StatusForbidden, "GitHub Actions is not permitted to create or approve pull requests.")
			return true
		}
		return false
	})
	_, err := w.push(1)
	refused(t, err, github.ErrPermission, "the commit is on the branch "+head+", but acme/portal: the credential lacks a permission: allow it in the settings")
	tip := w.there("rev-parse", head)
	fails = false
	if p := w.pushed(1); p.SHA != tip || p.PullRequest.Number != 1 {
		t.Errorf("%+v; want the commit %s", p, tip)
	}
}

// TestPullRequestMerged: after a merge the next release opens another pull request, from the same branch.
func TestPullRequestMerged(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"merge", "squash"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			w := asking(t, func(g *githubtest.Config) { g.AutoMerge = true })
			w.target.Pull.Merge = method
			first := w.pushed(1)
			if got := w.there("rev-parse", "main", "main^{tree}"); got != first.SHA+"\n"+first.Tree || !first.PullRequest.Merged {
				t.Errorf("%+v; main and its tree are\n%s", first, got)
			}
			if got := w.there("log", "--format=%(trailers:key=Source-Revision,valueonly)", "main"); !strings.Contains(got, first.Source) {
				t.Errorf("nobody knows the release in main for one:\n%s", got)
			}
			if again := w.pushed(1); !again.Nothing || again.PullRequest != nil {
				t.Errorf("again: %+v", again)
			}
			w.target.Pull.Merge = ""
			second := w.pushed(2)
			if second.PullRequest.Number != 2 || second.PullRequest.Merged || second.Parent != w.there("rev-parse", "main") {
				t.Errorf("%+v", second)
			}
			w.sound()
		})
	}
}

func TestAutoMerge(t *testing.T) {
	t.Parallel()
	w := asking(t, func(g *githubtest.Config) {
		g.AutoMerge, g.Protected = true, map[string]string{"main": "Changes must be made through a pull request."}
	})
	w.target.Pull.Merge = "squash"
	w.pushed(1)
	if p := w.server.Pulls(name)[0]; p.AutoMerge != "SQUASH" || p.State != "open" || !strings.Contains(p.MergeBody, "Source-Revision: ") {
		t.Errorf("%+v", p)
	}

	w = asking(t)
	w.target.Pull.Merge = "squash"
	_, err := w.push(1)
	refused(t, err, nil, "/acme/portal/pull/1 is open, but GitHub does not merge it by itself; allow auto-merge in the repository's settings")
}

// TestProtected: where the branch is protected a push becomes a pull request, and says so.
func TestProtected(t *testing.T) {
	t.Parallel()
	for _, said := range []string{
		"Repository rule violations found\n\nChanges must be made through a pull request.",
		"Required status check \"ci\" is expected.",
		"At least 1 approving review is required by reviewers with write access.",
		"Protected branch update failed for refs/heads/main.",
	} {
		t.Run(said[:20], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(g *githubtest.Config) { g.Protected = map[string]string{"main": said} })
			before := w.there("rev-parse", "main")
			p := w.pushed(1)
			if p.Mode != github.ModePullRequest || p.PullRequest == nil || !strings.Contains(p.Fallback, "the branch is protected") || strings.Contains(p.Fallback, "\n") {
				t.Errorf("%+v", p)
			}
			if got := w.there("rev-parse", "main"); got != before {
				t.Errorf("main moved to %s", got)
			}
		})
	}
}

// TestProtectedRefused: without the permission for a pull request the push is tried all the same, and both refusals are told.
func TestProtectedRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(g *githubtest.Config) {
		g.Protected = map[string]string{"main": "Changes must be made through a pull request."}
		g.Tokens[0].Permissions = map[string]string{"contents": "write"}
	})
	_, err := w.push(1)
	refused(t, err, github.ErrPermission, `the branch is protected (GitHub: Changes must be made through a pull request.), and a pull request could not be opened instead`)
	refused(t, err, github.ErrProtected, `grant it "pull requests: write"`)
}

func TestPullRequestRefused(t *testing.T) {
	t.Parallel()
	may := func(permissions ...string) func(*githubtest.Config) {
		return func(g *githubtest.Config) {
			g.Tokens[0].Permissions = map[string]string{}
			for _, p := range permissions {
				name, level, _ := strings.Cut(p, "=")
				g.Tokens[0].Permissions[name] = level
			}
		}
	}
	for name, c := range map[string]struct {
		config  func(*githubtest.Config)
		prepare func(*world)
		want    error
		text    string
	}{
		"no permission for pull requests": {config: may("contents=write"), want: github.ErrPermission, text: `grant it "pull requests: write"`},
		"no permission to read them": {
			config:  may("contents=write"),
			prepare: func(w *world) { w.git("push", "-q", w.bare.Dir(), "HEAD:refs/heads/"+head) },
			want:    github.ErrPermission, text: `grant it "pull requests: read"`,
		},
		"no permission to open them": {config: may("contents=write", "pull_requests=read"), want: github.ErrPermission, text: `grant it "pull requests: write"`},
		"no permission to write":     {config: may("contents=read", "pull_requests=write"), want: github.ErrPermission, text: `grant it "contents: write"`},
		"the branch to pull to":      {prepare: func(w *world) { w.target.Pull.Head = "main" }, text: "give another"},
		"somebody else's commits": {
			prepare: func(w *world) {
				w.pushed(0)
				w.git("fetch", "-q", w.bare.Dir(), head)
				w.git("checkout", "-q", "FETCH_HEAD")
				w.save("a person's", map[string]string{"file": "3"})
				w.git("push", "-q", w.bare.Dir(), "HEAD:refs/heads/"+head)
				w.git("checkout", "-q", "main")
			},
			want: github.ErrForeign, text: "delete the branch",
		},
		"a newer release": {
			prepare: func(w *world) {
				old := w.git("rev-parse", "HEAD")
				w.save("newer", map[string]string{"file": "3"})
				w.git("push", "-q", w.bare.Dir(), "HEAD:main")
				w.pushed(0)
				w.git("update-ref", "refs/heads/newer", "HEAD")
				w.git("reset", "-q", "--hard", old)
			},
			want: commit.ErrSuperseded,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var change []func(*githubtest.Config)
			if c.config != nil {
				change = append(change, c.config)
			}
			w := asking(t, change...)
			if c.prepare != nil {
				c.prepare(w)
			}
			main, pulls := w.there("rev-parse", "main"), len(w.server.Pulls("acme/portal"))
			_, err := w.push(1)
			refused(t, err, c.want, c.text)
			if w.there("rev-parse", "main") != main || len(w.server.Pulls("acme/portal")) != pulls {
				t.Error("main moved, or there is another pull request")
			}
		})
	}
}

// TestPullRequestsRace: releases that meet at one pull request all end up in its branch, and there is only one.
func TestPullRequestsRace(t *testing.T) {
	t.Parallel()
	const releases = 6
	w := asking(t)
	w.target.Attempts = 100
	pushed := make([]github.Pushed, releases)
	var wg sync.WaitGroup
	for n := range releases {
		wg.Go(func() {
			var err error
			if pushed[n], err = w.push(n); err != nil {
				t.Errorf("release %d: %v", n, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	if pulls := w.server.Pulls(name); len(pulls) != 1 {
		t.Errorf("%d pull requests", len(pulls))
	}
	history := strings.Fields(w.there("rev-list", head))
	for n, p := range pushed {
		if !slices.Contains(history, p.SHA) {
			t.Errorf("release %d (%s) is lost", n, p.SHA)
		}
	}
	w.sound()
}

// TestPullRequestMovedOn: a pull request's branch that moves between the look at it and the update is looked at again.
func TestPullRequestMovedOn(t *testing.T) {
	t.Parallel()
	w := asking(t)
	w.pushed(1)
	other, err := commit.Create(t.Context(), w.dir, "HEAD", release(7))
	if err != nil {
		t.Fatal(err)
	}
	w.git("push", "-q", w.bare.Dir(), other.SHA+":refs/heads/other")
	var once sync.Once
	w.server.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/git/refs/heads/gitops/") {
			once.Do(func() { w.there("update-ref", "refs/heads/"+head, other.SHA) })
		}
		return false
	})
	p := w.pushed(2)
	if p.Attempts != 2 {
		t.Errorf("%+v", p)
	}
	if there, err := w.bare.IsAncestor(t.Context(), other.SHA, head); err != nil || !there {
		t.Errorf("the release that came first is lost: %v", err)
	}
	w.target.Branch = "nope"
	if _, err := w.push(3); !errors.Is(err, git.ErrNoBranch) {
		t.Errorf("got %v", err)
	}
}
