package github_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
	"github.com/backstage-gitops/backstage-gitops/ci/github"
	"github.com/backstage-gitops/backstage-gitops/ci/github/githubtest"
)

const back = "rollback/backstage/main"

// released is a world with two releases on its main; what is protected is protected afterwards.
func released(t *testing.T, change ...func(*githubtest.Config)) (w *world, last string) {
	t.Helper()
	w = newWorld(t, change...)
	for n := 1; n <= 2; n++ {
		p, err := commit.Push(t.Context(), w.dir, release(n), commit.Target{Remote: w.bare.Dir(), Branch: "main"})
		if err != nil {
			t.Fatal(err)
		}
		last = p.SHA
	}
	return w, last
}

func (w *world) revert() (github.Reverted, error) {
	return github.Revert(w.Context(), w.dir, commit.Rollback{Chart: "charts/backstage", Image: "docker.io/user/backstage-gitops"}, w.target)
}

func (w *world) reverted() github.Reverted {
	w.Helper()
	r, err := w.revert()
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func protect(c *githubtest.Config) {
	c.Protected = map[string]string{"main": "Changes must be made through a pull request."}
}

func TestRevert(t *testing.T) {
	t.Parallel()
	w, last := released(t)
	empty := git.Open(t.TempDir())
	run(t, empty, "init", "-q", "--bare")
	proposed, err := commit.ProposeRevert(t.Context(), w.dir, commit.Rollback{Chart: "charts/backstage", Image: "docker.io/user/backstage-gitops"},
		commit.Target{Remote: w.target.Remote, Branch: "main", Credential: git.Credential{Username: "x", Token: bot}}, empty.Dir())
	if err != nil {
		t.Fatal(err)
	}
	w.target.Candidate = proposed.SHA
	r := w.reverted()
	if r.Mode != github.ModePush || !r.Verified || r.PullRequest != nil || r.Parent != last || r.Reverted.Reverted.SHA != last || r.Candidate != proposed.SHA || r.SHA == proposed.SHA {
		t.Errorf("%+v", r)
	}
	if got := w.there("log", "-1", "--format=%H %an, %cn%n%B", "main"); !strings.HasPrefix(got, r.SHA+" github-actions[bot], GitHub\nrevert: release t2 [skip ci]\n\nThis reverts commit "+last+".\n") {
		t.Errorf("main is\n%s", got)
	}
	if got := w.there("show", "main:charts/backstage/values.yaml"); !strings.Contains(got, digest(1)) {
		t.Errorf("the chart names\n%s", got)
	}
	found, err := commit.LastRevert(t.Context(), w.dir, commit.Rollback{Chart: "charts/backstage"}, commit.Target{Remote: w.bare.Dir(), Branch: "main"})
	if err != nil || found == nil || found.SHA != r.SHA {
		t.Errorf("nobody knows it for a rollback: %+v, %v", found, err)
	}
	w.sound()
}

// TestRevertProtected: where the branch takes pull requests only the rollback waits in one, and is known once merged.
func TestRevertProtected(t *testing.T) {
	t.Parallel()
	w, last := released(t, protect)
	r := w.reverted()
	if r.Mode != github.ModePullRequest || !strings.Contains(r.Fallback, "the branch is protected") || r.PullRequest == nil || r.PullRequest.Number != 1 || r.Parent != last {
		t.Errorf("%+v", r)
	}
	if got := w.there("rev-parse", "main", back); got != last+"\n"+r.SHA {
		t.Errorf("main and the pull request's branch are\n%s", got)
	}
	if got := w.there("log", "-1", "--format=%B", back); strings.Contains(got, "skip ci") || !strings.Contains(got, "Change: rollback@"+last) {
		t.Errorf("the commit says\n%s", got)
	}
	pulls := w.server.Pulls(name)
	if len(pulls) != 1 || pulls[0].Title != "revert: release t2 [skip ci]" || pulls[0].Head != back || !strings.Contains(pulls[0].Body, "| `t1` |") {
		t.Errorf("%+v", pulls)
	}
	// Again it is there already, and another release is not taken back.
	if again := w.reverted(); !again.Kept || again.SHA != r.SHA || again.PullRequest.Number != 1 {
		t.Errorf("again: %+v", again)
	}
	w.there("update-ref", "refs/heads/main", r.SHA)
	found, err := commit.LastRevert(t.Context(), w.dir, commit.Rollback{Chart: "charts/backstage"}, commit.Target{Remote: w.bare.Dir(), Branch: "main"})
	if err != nil || found == nil || found.SHA != r.SHA {
		t.Errorf("nobody knows the merged one for a rollback: %+v, %v", found, err)
	}
	w.sound()
}

func TestRevertRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.revert()
	refused(t, err, commit.ErrNoRelease, "there is no release to revert")

	w, _ = released(t)
	w.target.Candidate = digest(0)[7:47]
	_, err = w.revert()
	refused(t, err, commit.ErrNotVerified, "start again")

	w, _ = released(t, func(c *githubtest.Config) { c.Tokens[0].Permissions = map[string]string{"contents": "read"} })
	if _, err = w.revert(); !errors.Is(err, github.ErrPermission) || !strings.Contains(err.Error(), `grant it "contents: write"`) {
		t.Errorf("got %v", err)
	}

	w, _ = released(t)
	w.target.Mode = "mail"
	if _, err = w.revert(); err == nil || !strings.Contains(err.Error(), `the mode "mail" is none of push and pull-request`) {
		t.Errorf("got %v", err)
	}
}

// TestRevertTwice: a rollback that was merged does not keep the next one from the pull request's branch, which GitHub
// leaves there.
func TestRevertTwice(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"merge", "squash"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *githubtest.Config) { c.AutoMerge = true })
			var releases []string
			for n := 1; n <= 3; n++ {
				p, err := commit.Push(t.Context(), w.dir, release(n), commit.Target{Remote: w.bare.Dir(), Branch: "main"})
				if err != nil {
					t.Fatal(err)
				}
				releases = append(releases, p.SHA)
			}
			w.target.Mode, w.target.Pull.Merge = github.ModePullRequest, method
			for n, digestNow := range []string{digest(2), digest(1)} {
				last := releases[2-n]
				r := w.reverted()
				if r.Reverted.Reverted.SHA != last || r.PullRequest.Number != n+1 || r.Kept {
					t.Errorf("rollback %d: %+v", n+1, r)
				}
				if got := w.there("show", "main:charts/backstage/values.yaml"); !strings.Contains(got, digestNow) {
					t.Errorf("after rollback %d the chart names\n%s", n+1, got)
				}
			}
			w.sound()
		})
	}
}
