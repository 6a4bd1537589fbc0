package commit_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/bump"
	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

var rollback = commit.Rollback{Chart: "charts/backstage", Image: "docker.io/user/backstage-gitops"}

// released is a served repository with these releases.
func released(t *testing.T, releases ...int) (*git.Repo, commit.Target, *git.Repo) {
	t.Helper()
	r, target, bare := seeded(t)
	for _, n := range releases {
		push(t, r, target, n)
	}
	return r, target, bare
}

func push(t *testing.T, r *git.Repo, target commit.Target, n int) string {
	t.Helper()
	p, err := commit.Push(t.Context(), r.Dir(), release(n), target)
	if err != nil {
		t.Fatal(err)
	}
	return p.SHA
}

// onTop commits to the served branch as people do, and returns the commit.
func onTop(t *testing.T, r *git.Repo, bare *git.Repo, message string, files map[string]string) string {
	t.Helper()
	other := git.Open(filepath.Join(t.TempDir(), "other"))
	run(t, r, "clone", "-q", bare.Dir(), other.Dir())
	sha := save(t, other, message, files)
	run(t, other, "push", "-q", bare.Dir(), "HEAD:main")
	return sha
}

func undo(t *testing.T, r *git.Repo, target commit.Target) commit.Reverted {
	t.Helper()
	got, err := commit.Revert(t.Context(), r.Dir(), rollback, target)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func show(t *testing.T, bare *git.Repo, file string) string {
	t.Helper()
	return run(t, bare, "show", "main:charts/backstage/"+file) + "\n"
}

func TestRevert(t *testing.T) {
	t.Parallel()
	r, target, bare := released(t, 1)
	valuesBefore, chartBefore := show(t, bare, "values.yaml"), show(t, bare, "Chart.yaml")
	last := push(t, r, target, 2)

	got := undo(t, r, target)
	if got.Parent != last || got.Reverted != (commit.Former{SHA: last, Pin: release(2).Pin}) || got.Restored != (commit.Restored{Pin: release(1).Pin, Image: rollback.Image, Version: "0.1.1"}) ||
		got.Version != "0.1.3" || len(got.Edits) != 4 || got.Remote != target.Remote || got.Branch != "main" || got.Attempts != 1 {
		t.Errorf("%+v", got)
	}
	if tip := run(t, bare, "rev-parse", "main"); tip != got.SHA {
		t.Errorf("the branch is at %s; want %s", tip, got.SHA)
	}
	if after := show(t, bare, "values.yaml"); after != valuesBefore {
		t.Errorf("values:\n%s\nwant:\n%s", after, valuesBefore)
	}
	// Only the version goes on.
	if after, want := show(t, bare, "Chart.yaml"), strings.Replace(chartBefore, "0.1.1", "0.1.3", 1); after != want {
		t.Errorf("chart:\n%s\nwant:\n%s", after, want)
	}
	wantMeta := "Backstage GitOps <release@backstage-gitops.invalid> 2026-01-02T03:04:05+00:00 Backstage GitOps <release@backstage-gitops.invalid> 2026-01-02T03:04:05+00:00"
	if meta := run(t, bare, "show", "-s", "--format=%an <%ae> %aI %cn <%ce> %cI", got.SHA); meta != wantMeta {
		t.Errorf("by %s", meta)
	}
	wantMessage := "revert: release t2 [skip ci]\n\nThis reverts commit " + last + ".\n\nImage: docker.io/user/backstage-gitops:t1\nDigest: " + digest(1) + "\nChange: rollback@" + last
	if message := strings.TrimSpace(run(t, bare, "show", "-s", "--format=%B", got.SHA)); message != wantMessage {
		t.Errorf("message:\n%s", message)
	}
}

// TestRevertFinds: which release is the last one, whatever else is in the history.
func TestRevertFinds(t *testing.T) {
	t.Parallel()
	type history struct {
		*testing.T
		r      *git.Repo
		target commit.Target
		bare   *git.Repo
	}
	cases := map[string]struct {
		prepare          func(h history)
		reverted, former int
		version          string
	}{
		"the newest of several": {
			prepare:  func(h history) { push(h.T, h.r, h.target, 3) },
			reverted: 3, former: 2, version: "0.1.4",
		},
		"below other commits, which stay": {
			prepare: func(h history) {
				onTop(h.T, h.r, h.bare, "feat: more", map[string]string{
					"file": "2", "charts/backstage/values.yaml": show(h.T, h.bare, "values.yaml") + "extra: 1\n",
					"charts/backstage/Chart.yaml": strings.Replace(show(h.T, h.bare, "Chart.yaml"), "0.1.2", "0.2.0", 1),
				})
			},
			reverted: 2, former: 1, version: "0.2.1",
		},
		"after a rollback one further back": {
			prepare: func(h history) {
				push(h.T, h.r, h.target, 3)
				undo(h.T, h.r, h.target)
			},
			reverted: 2, former: 1, version: "0.1.5",
		},
		"a release after a rollback": {
			prepare: func(h history) {
				undo(h.T, h.r, h.target)
				push(h.T, h.r, h.target, 3)
			},
			reverted: 3, former: 1, version: "0.1.5",
		},
		"the same release, made again after its rollback": {
			prepare: func(h history) {
				undo(h.T, h.r, h.target)
				push(h.T, h.r, h.target, 2)
			},
			reverted: 2, former: 1, version: "0.1.5",
		},
		"after somebody's git revert": {
			prepare: func(h history) {
				push(h.T, h.r, h.target, 3)
				revertByHand(h.T, h.r, h.bare, "main")
			},
			reverted: 2, former: 1, version: "0.1.3",
		},
		"after a rollback that somebody reverted": {
			prepare: func(h history) {
				undo(h.T, h.r, h.target)
				revertByHand(h.T, h.r, h.bare, "main")
			},
			reverted: 2, former: 1, version: "0.1.3",
		},
		"behind a merge by somebody who had not pulled": {
			prepare: func(h history) {
				other := git.Open(filepath.Join(h.TempDir(), "other"))
				run(h.T, h.r, "clone", "-q", h.r.Dir(), other.Dir())
				save(h.T, other, "mine", map[string]string{"file": "2"})
				run(h.T, other, "-c", "user.name=a", "-c", "user.email=a@b", "pull", "-q", "--no-rebase", "--no-edit", h.bare.Dir(), "main")
				run(h.T, other, "push", "-q", h.bare.Dir(), "HEAD:main")
			},
			reverted: 2, former: 1, version: "0.1.3",
		},
		"not a squash with the words of a release": {
			prepare: func(h history) {
				onTop(h.T, h.r, h.bare, "squash\n\nDigest: "+digest(9)+"\nSource-Revision: "+strings.Repeat("0", 40), map[string]string{
					"charts/backstage/values.yaml": show(h.T, h.bare, "values.yaml") + "extra: 1\n",
				})
			},
			reverted: 2, former: 1, version: "0.1.3",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, target, bare := released(t, 1, 2)
			c.prepare(history{t, r, target, bare})
			tip := run(t, bare, "rev-parse", "main")
			got := undo(t, r, target)
			if got.Reverted.Pin != release(c.reverted).Pin || got.Restored.Pin != release(c.former).Pin || got.Version != c.version || got.Parent != tip {
				t.Errorf("%+v", got)
			}
			if changed := run(t, bare, "diff-tree", "-r", "--name-only", "--no-renames", tip, "main"); changed != "charts/backstage/Chart.yaml\ncharts/backstage/values.yaml" {
				t.Errorf("changed: %s", changed)
			}
			if after := show(t, bare, "values.yaml"); !strings.Contains(after, digest(c.former)) {
				t.Errorf("values:\n%s", after)
			}
		})
	}
}

// revertByHand is a person's git revert, pushed.
func revertByHand(t *testing.T, r, bare *git.Repo, revision string) {
	t.Helper()
	other := git.Open(filepath.Join(t.TempDir(), "hand"))
	run(t, r, "clone", "-q", bare.Dir(), other.Dir())
	run(t, other, "-c", "user.name=a", "-c", "user.email=a@b", "revert", "--no-edit", run(t, bare, "rev-parse", revision))
	run(t, other, "push", "-q", bare.Dir(), "HEAD:main")
}

func TestRevertRefused(t *testing.T) {
	t.Parallel()
	edit := func(old, now string) func(*testing.T, *git.Repo, *commit.Rollback, *commit.Target, *git.Repo) {
		return func(t *testing.T, r *git.Repo, _ *commit.Rollback, _ *commit.Target, bare *git.Repo) {
			onTop(t, r, bare, "by hand", map[string]string{
				"charts/backstage/values.yaml": strings.Replace(show(t, bare, "values.yaml"), old, now, 1),
				"charts/backstage/Chart.yaml":  strings.Replace(show(t, bare, "Chart.yaml"), old, now, 1),
			})
		}
	}
	cases := map[string]struct {
		releases []int
		prepare  func(t *testing.T, r *git.Repo, rb *commit.Rollback, target *commit.Target, bare *git.Repo)
		want     error
		text     string
	}{
		"no release": {
			want: commit.ErrNoRelease, text: "has no release of charts/backstage that still stands",
		},
		"another chart": {
			releases: []int{1, 2},
			prepare: func(_ *testing.T, _ *git.Repo, rb *commit.Rollback, _ *commit.Target, _ *git.Repo) {
				rb.Chart = "charts/x"
			},
			want: commit.ErrNoRelease, text: "has no release of charts/x that still stands",
		},
		"a first release": {
			releases: []int{1},
			want:     commit.ErrFirst, text: "charts/backstage named no other image by its digest, so there is nothing to go back to",
		},
		"back to the first release already": {
			releases: []int{1, 2},
			prepare: func(t *testing.T, r *git.Repo, _ *commit.Rollback, target *commit.Target, _ *git.Repo) {
				undo(t, r, *target)
			},
			want: commit.ErrFirst,
		},
		"a tag edited by hand": {
			releases: []int{1, 2}, prepare: edit(`tag: "t2"`, `tag: "t9"`),
			want: commit.ErrEdited, text: `image.tag is "t9", and the release t2 (`,
		},
		"a digest edited by hand": {
			releases: []int{1, 2}, prepare: edit(digest(2), digest(9)),
			want: commit.ErrEdited, text: `image.digest is "` + digest(9) + `", and the release t2 (`,
		},
		"an appVersion edited by hand": {
			releases: []int{1, 2}, prepare: edit(`appVersion: "t2"`, `appVersion: "v9"`),
			want: commit.ErrEdited, text: `appVersion is "v9", and the release t2 (`,
		},
		"a release that is not the last": {
			releases: []int{1, 2},
			prepare: func(t *testing.T, r *git.Repo, rb *commit.Rollback, target *commit.Target, bare *git.Repo) {
				rb.Release = run(t, bare, "rev-parse", "main")
				push(t, r, *target, 3)
			},
			want: commit.ErrNotLast, text: "is t3 (",
		},
		"a release that was reverted already": {
			releases: []int{1, 2, 3},
			prepare: func(t *testing.T, r *git.Repo, rb *commit.Rollback, target *commit.Target, _ *git.Repo) {
				rb.Release = undo(t, r, *target).Reverted.SHA
			},
			want: commit.ErrNotLast, text: "is t2 (",
		},
		"another commit than the verified one": {
			releases: []int{1, 2},
			prepare: func(_ *testing.T, _ *git.Repo, _ *commit.Rollback, target *commit.Target, _ *git.Repo) {
				target.Candidate = strings.Repeat("0", 40)
			},
			want: commit.ErrNotVerified,
		},
		"a chart that the tip has lost": {
			releases: []int{1, 2},
			prepare: func(t *testing.T, r *git.Repo, _ *commit.Rollback, _ *commit.Target, bare *git.Repo) {
				onTop(t, r, bare, "drop", map[string]string{"charts/backstage/values.yaml": ""})
			},
			want: bump.ErrChart, text: "there is no charts/backstage/values.yaml at",
		},
		"a chart outside": {
			prepare: func(_ *testing.T, _ *git.Repo, rb *commit.Rollback, _ *commit.Target, _ *git.Repo) {
				rb.Chart = "../x"
			},
			text: `the chart "../x" is not inside of the repository`,
		},
		"an image with a tag": {
			prepare: func(_ *testing.T, _ *git.Repo, rb *commit.Rollback, _ *commit.Target, _ *git.Repo) { rb.Image += ":1" },
			text:    "give the name alone",
		},
		"no such branch": {
			prepare: func(_ *testing.T, _ *git.Repo, _ *commit.Rollback, target *commit.Target, _ *git.Repo) {
				target.Branch = "release"
			},
			want: git.ErrNoBranch,
		},
		"a hook that declines": {
			releases: []int{1, 2},
			prepare: func(t *testing.T, _ *git.Repo, _ *commit.Rollback, _ *commit.Target, bare *git.Repo) {
				hook(t, bare, "pre-receive", "echo 'no pushes on Mondays' >&2\nexit 1\n")
			},
			want: git.ErrRefused, text: "pre-receive hook declined: no pushes on Mondays",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, target, bare := released(t, c.releases...)
			rb := rollback
			if c.prepare != nil {
				c.prepare(t, r, &rb, &target, bare)
			}
			before := run(t, bare, "for-each-ref")
			_, err := commit.Revert(t.Context(), r.Dir(), rb, target)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("got %v; want %v, %q", err, c.want, c.text)
			}
			if after := run(t, bare, "for-each-ref"); after != before {
				t.Errorf("the remote changed:\n%s\n%s", before, after)
			}
		})
	}
}

// TestLastRevert: the revert that a chart still names the image of, whatever else is in the history.
func TestLastRevert(t *testing.T) {
	t.Parallel()
	type history struct {
		*testing.T
		r      *git.Repo
		target commit.Target
		bare   *git.Repo
	}
	for name, c := range map[string]struct {
		prepare          func(h history)
		reverted, former int
		version          string
	}{
		"nothing taken back": {prepare: func(history) {}},
		"one": {
			prepare:  func(h history) { undo(h.T, h.r, h.target) },
			reverted: 3, former: 2, version: "0.1.2",
		},
		"two, one after the other": {
			prepare:  func(h history) { undo(h.T, h.r, h.target); undo(h.T, h.r, h.target) },
			reverted: 2, former: 1, version: "0.1.1",
		},
		"below other commits": {
			prepare: func(h history) {
				undo(h.T, h.r, h.target)
				onTop(h.T, h.r, h.bare, "feat: more", map[string]string{"file": "2", "charts/backstage/values.yaml": show(h.T, h.bare, "values.yaml") + "extra: 1\n"})
			},
			reverted: 3, former: 2, version: "0.1.2",
		},
		"and released since": {
			prepare: func(h history) { undo(h.T, h.r, h.target); push(h.T, h.r, h.target, 4) },
		},
		"and edited since": {
			prepare: func(h history) {
				undo(h.T, h.r, h.target)
				onTop(h.T, h.r, h.bare, "fix: by hand", map[string]string{"charts/backstage/values.yaml": strings.Replace(show(h.T, h.bare, "values.yaml"), digest(2), digest(9), 1)})
			},
		},
		"and taken back itself": {
			prepare: func(h history) { undo(h.T, h.r, h.target); revertByHand(h.T, h.r, h.bare, "main") },
		},
		"by hand": {
			prepare: func(h history) { revertByHand(h.T, h.r, h.bare, "main") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, target, bare := released(t, 1, 2, 3)
			c.prepare(history{t, r, target, bare})
			before := run(t, bare, "for-each-ref")
			got, err := commit.LastRevert(t.Context(), r.Dir(), rollback, target)
			switch {
			case err != nil:
				t.Fatal(err)
			case c.reverted == 0 && got != nil:
				t.Errorf("it finds %+v", got)
			case c.reverted != 0 && (got == nil || got.Reverted.Pin != release(c.reverted).Pin || got.Restored.Pin != release(c.former).Pin || got.Restored.Version != c.version || !strings.HasPrefix(run(t, bare, "show", "-s", "--format=%s", got.SHA), "revert: release")):
				t.Errorf("it finds %+v", got)
			}
			if after := run(t, bare, "for-each-ref"); after != before {
				t.Errorf("the remote changed:\n%s\n%s", before, after)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		r, target, _ := released(t, 1)
		for _, rb := range []commit.Rollback{{Chart: "../charts"}, {Chart: rollback.Chart, Image: "a:1"}} {
			if got, err := commit.LastRevert(t.Context(), r.Dir(), rb, target); err == nil {
				t.Errorf("%+v finds %+v", rb, got)
			}
		}
		target.Branch = "none"
		if _, err := commit.LastRevert(t.Context(), r.Dir(), rollback, target); !errors.Is(err, git.ErrNoBranch) {
			t.Errorf("got %v", err)
		}
	})
}

// TestProposeRevert: what is verified elsewhere is what is pushed.
func TestProposeRevert(t *testing.T) {
	t.Parallel()
	r, target, bare := released(t, 1, 2)
	to, proof := server(t, "")
	before := run(t, bare, "for-each-ref")

	proposed, err := commit.ProposeRevert(t.Context(), r.Dir(), rollback, target, to)
	if err != nil {
		t.Fatal(err)
	}
	if tip := run(t, proof, "rev-parse", "main"); tip != proposed.SHA || proposed.Remote != to || proposed.Attempts != 1 {
		t.Errorf("%+v; the branch is at %s", proposed, tip)
	}
	if after := run(t, bare, "for-each-ref"); after != before {
		t.Errorf("the remote changed:\n%s\n%s", before, after)
	}
	rb := rollback
	rb.Release, target.Candidate = proposed.Reverted.SHA, proposed.SHA
	pushed, err := commit.Revert(t.Context(), r.Dir(), rb, target)
	if err != nil || pushed.SHA != proposed.SHA || run(t, bare, "rev-parse", "main") != proposed.SHA {
		t.Errorf("%+v, %v; want %s", pushed, err, proposed.SHA)
	}
}

// TestProposeRevertRefused: nothing is proposed that could not be pushed afterwards.
func TestProposeRevertRefused(t *testing.T) {
	t.Parallel()
	r, target, bare := released(t, 1, 2)
	readOnly, same := server(t, "", func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if strings.Contains(req.URL.String(), "git-receive-pack") {
				http.Error(w, "read only", http.StatusForbidden)
				return
			}
			next.ServeHTTP(w, req)
		})
	})
	run(t, bare, "push", "-q", same.Dir(), "main")
	to, proof := server(t, "")
	cases := map[string]struct {
		remote, to string
		want       error
	}{
		"a token that may read only": {readOnly, to, git.ErrUnauthorized},
		"a credential in --to":       {target.Remote, "https://a:b@example.com/a.git", git.ErrRemote},
		"nobody at --to":             {target.Remote, "http://127.0.0.1:1/a.git", git.ErrUnreachable},
	}
	for name, c := range cases {
		if _, err := commit.ProposeRevert(t.Context(), r.Dir(), rollback, commit.Target{Remote: c.remote, Branch: "main"}, c.to); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v; want %v", name, err, c.want)
		}
	}
	if refs := run(t, proof, "for-each-ref"); refs != "" {
		t.Errorf("proposed: %s", refs)
	}
}

// TestRevertRaces: somebody pushes between fetch and push. Commits go below the revert, a release ends it.
func TestRevertRaces(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		theirs func(t *testing.T, r *git.Repo, target commit.Target, bare *git.Repo) string
		want   error
	}{
		"a commit": {
			theirs: func(t *testing.T, r *git.Repo, _ commit.Target, bare *git.Repo) string {
				return onTop(t, r, bare, "theirs", map[string]string{"file": "2"})
			},
		},
		"another release": {
			theirs: func(t *testing.T, r *git.Repo, target commit.Target, _ *git.Repo) string {
				return push(t, r, target, 3)
			},
			want: commit.ErrNotLast,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, target, bare := released(t, 1, 2)
			former := run(t, bare, "rev-parse", "main")
			theirs := c.theirs(t, r, target, bare)
			run(t, bare, "update-ref", "refs/heads/theirs", theirs)
			run(t, bare, "update-ref", "refs/heads/main", former)
			// The hook runs between the revert's fetch and the update of the ref, and lets the other in the first time.
			hook(t, bare, "pre-receive", `unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
[ -e raced ] || { touch raced; git update-ref refs/heads/main theirs; }
`)
			got, err := commit.Revert(t.Context(), r.Dir(), rollback, target)
			if !errors.Is(err, c.want) {
				t.Fatalf("%+v, %v; want %v", got, err, c.want)
			}
			tip := run(t, bare, "rev-parse", "main")
			if c.want != nil {
				if tip != theirs {
					t.Errorf("the branch is at %s; want %s", tip, theirs)
				}
				return
			}
			if got.Parent != theirs || got.Attempts != 2 || tip != got.SHA {
				t.Errorf("%+v; want the parent %s and the branch at it, not at %s", got, theirs, tip)
			}
		})
	}
}

// TestRevertFindsItsLostAnswer: the remote took the push, the answer got lost; it is not taken for another rollback.
func TestRevertFindsItsLostAnswer(t *testing.T) {
	t.Parallel()
	lose := false
	r, target, bare := seeded(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if !lose || !strings.HasSuffix(req.URL.Path, "/git-receive-pack") {
				next.ServeHTTP(w, req)
				return
			}
			lose = false
			next.ServeHTTP(httptest.NewRecorder(), req)
			panic(http.ErrAbortHandler)
		})
	})
	for n := range 3 {
		push(t, r, target, n)
	}
	lose = true
	got := undo(t, r, target)
	if got.Attempts != 2 || got.Restored.Pin != release(1).Pin || run(t, bare, "rev-parse", "main") != got.SHA {
		t.Errorf("%+v", got)
	}
}

// TestRevertFromShallowClone: a history that ends before the release is not taken for one without.
func TestRevertFromShallowClone(t *testing.T) {
	t.Parallel()
	r, target, bare := released(t, 1, 2)
	clone := func() string {
		dir := filepath.Join(t.TempDir(), "shallow")
		run(t, r, "clone", "-q", "--depth=1", target.Remote, dir)
		return dir
	}
	before := run(t, bare, "for-each-ref")
	atRelease := clone()
	if _, err := commit.Revert(t.Context(), atRelease, rollback, target); !errors.Is(err, commit.ErrShallow) {
		t.Errorf("at the release: %v", err)
	}
	if after := run(t, bare, "for-each-ref"); after != before {
		t.Errorf("the remote changed:\n%s\n%s", before, after)
	}
	onTop(t, r, bare, "more", map[string]string{"file": "2"})
	if _, err := commit.Revert(t.Context(), clone(), rollback, target); !errors.Is(err, commit.ErrShallow) {
		t.Errorf("after the release: %v", err)
	}
	push(t, r, target, 3)
	if got, err := commit.Revert(t.Context(), atRelease, rollback, target); err != nil || got.Restored.Pin != release(2).Pin {
		t.Errorf("a release later: %+v, %v", got, err)
	}
}
