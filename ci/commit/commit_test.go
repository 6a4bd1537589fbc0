package commit_test

import (
	"context"
	"errors"
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
	"github.com/backstage-gitops/backstage-gitops/ci/gitserver"
)

const (
	values = "# ours\nimage:\n  repository: r\n  tag: \"latest\" # t\n  digest: \"\"\n"
	chart  = "apiVersion: v2\nname: backstage\nversion: 0.1.0\nappVersion: \"0\"\n"
	// date is the commit time of the checkout's first commit.
	date = "2026-01-02T03:04:05Z"
)

func digest(n int) string { return fmt.Sprintf("sha256:%064x", n) }

func release(n int) commit.Release {
	return commit.Release{Chart: "charts/backstage", Image: "docker.io/user/backstage-gitops", Pin: bump.Pin{Tag: fmt.Sprintf("t%d", n), Digest: digest(n)}}
}

// checkout makes a checkout with a chart in its first commit.
func checkout(t *testing.T) *git.Repo {
	t.Helper()
	r := git.Open(t.TempDir())
	run(t, r, "init", "-q", "-b", "main")
	save(t, r, "first", map[string]string{"charts/backstage/values.yaml": values, "charts/backstage/Chart.yaml": chart, "file": "1"})
	return r
}

// save writes and commits files; an empty text removes the file.
func save(t *testing.T, r *git.Repo, message string, files map[string]string) string {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(r.Dir(), name)
		if text == "" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, r, "add", "-A")
	_, err := r.Do(t.Context(), git.Command{
		Args: []string{"commit", "-q", "--allow-empty", "-m", message},
		Env: []string{"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
			"GIT_AUTHOR_DATE=" + date, "GIT_COMMITTER_DATE=" + date},
	})
	if err != nil {
		t.Fatal(err)
	}
	return run(t, r, "rev-parse", "HEAD")
}

func run(t *testing.T, r *git.Repo, args ...string) string {
	t.Helper()
	out, err := r.Run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// server serves one empty repository; the *git.Repo is that repository on disk.
func server(t *testing.T, token string, wrap ...func(http.Handler) http.Handler) (string, *git.Repo) {
	t.Helper()
	root := t.TempDir()
	h, err := gitserver.New(t.Context(), gitserver.Config{Root: root, Create: []string{"a.git"}, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range wrap {
		h = w(h)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL + "/a.git", git.Open(filepath.Join(root, "a.git"))
}

// seeded is a checkout and a served repository that holds it.
func seeded(t *testing.T, wrap ...func(http.Handler) http.Handler) (*git.Repo, commit.Target, *git.Repo) {
	t.Helper()
	r := checkout(t)
	url, bare := server(t, "", wrap...)
	target := commit.Target{Remote: url, Branch: "main"}
	run(t, r, "push", "-q", bare.Dir(), "HEAD:refs/heads/main")
	return r, target, bare
}

func hook(t *testing.T, bare *git.Repo, name, script string) {
	t.Helper()
	dir := filepath.Join(bare.Dir(), "hooks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	r := checkout(t)
	head := run(t, r, "rev-parse", "HEAD")
	// What is not committed must not get into the commit.
	if err := os.WriteFile(filepath.Join(r.Dir(), "file"), []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.Dir(), "charts/backstage/values.yaml"), []byte("changed: yes\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	status := run(t, r, "status", "--porcelain")

	c, err := commit.Create(t.Context(), r.Dir(), "HEAD", release(1))
	if err != nil {
		t.Fatal(err)
	}
	if c.Parent != head || c.Base != head || c.Source != head || c.Nothing || len(c.Edits) != 4 || c.Version != "0.1.1" {
		t.Errorf("%+v", c)
	}
	if got := run(t, r, "diff-tree", "-r", "--name-only", "--no-renames", head, c.SHA); got != "charts/backstage/Chart.yaml\ncharts/backstage/values.yaml" {
		t.Errorf("changed: %s", got)
	}
	if got, want := run(t, r, "show", c.SHA+":charts/backstage/values.yaml"), strings.TrimSuffix(strings.NewReplacer(`"latest"`, `"t1"`, `""`, `"`+digest(1)+`"`).Replace(values), "\n"); got != want {
		t.Errorf("values:\n%s\nwant:\n%s", got, want)
	}
	wantMeta := "Backstage GitOps <release@backstage-gitops.invalid> 2026-01-02T03:04:05+00:00 Backstage GitOps <release@backstage-gitops.invalid> 2026-01-02T03:04:05+00:00"
	if got := run(t, r, "show", "-s", "--format=%an <%ae> %aI %cn <%ce> %cI", c.SHA); got != wantMeta {
		t.Errorf("by %s", got)
	}
	wantMessage := "chore(release): backstage t1 [skip ci]\n\nImage: docker.io/user/backstage-gitops:t1\nDigest: " + digest(1) + "\nSource-Revision: " + head
	if got := run(t, r, "show", "-s", "--format=%B", c.SHA); strings.TrimSpace(got) != wantMessage {
		t.Errorf("message:\n%s", got)
	}
	if got := run(t, r, "rev-parse", commit.CandidateRef); got != c.SHA {
		t.Errorf("%s is %s", commit.CandidateRef, got)
	}
	if got := run(t, r, "rev-parse", "HEAD"); got != head {
		t.Errorf("HEAD moved to %s", got)
	}
	if got := run(t, r, "status", "--porcelain"); got != status {
		t.Errorf("status %q; want %q", got, status)
	}

	again, err := commit.Create(t.Context(), r.Dir(), head, release(1))
	if err != nil || again.SHA != c.SHA {
		t.Errorf("not deterministic: %s, %v; want %s", again.SHA, err, c.SHA)
	}
	nothing, err := commit.Create(t.Context(), r.Dir(), c.SHA, release(1))
	if err != nil || !nothing.Nothing || nothing.SHA != c.SHA || nothing.Parent != head || len(nothing.Edits) != 0 {
		t.Errorf("on itself: %+v, %v", nothing, err)
	}
}

// TestCreateNothing: where the chart names the image already the answer is the commit since which it does, and what was
// released with that.
func TestCreateNothing(t *testing.T) {
	t.Parallel()
	const file = "charts/backstage/values.yaml"
	for name, c := range map[string]struct {
		// made makes commits on top of a release's, which is checked out; it returns the commit that is wanted, empty for the
		// release's own.
		made func(t *testing.T, r *git.Repo) (want string)
		// unreleased says that the wanted commit is no release's.
		unreleased bool
	}{
		"the release's own": {made: func(*testing.T, *git.Repo) string { return "" }},
		"others after it": {made: func(t *testing.T, r *git.Repo) string {
			save(t, r, "file", map[string]string{"file": "2"})
			return ""
		}},
		"another value after it": {made: func(t *testing.T, r *git.Repo) string {
			save(t, r, "values", map[string]string{file: run(t, r, "show", "HEAD:"+file) + "\nreplicas: 3\n"})
			save(t, r, "values", map[string]string{file: run(t, r, "show", "HEAD:"+file) + "\nmore: 1\n"})
			return ""
		}},
		"another image between": {made: func(t *testing.T, r *git.Repo) string {
			before := run(t, r, "show", "HEAD:"+file) + "\n"
			save(t, r, "another", map[string]string{file: strings.Replace(before, digest(1), digest(2), 1)})
			return save(t, r, "back", map[string]string{file: before})
		}, unreleased: true},
		"the same image under another tag between": {made: func(t *testing.T, r *git.Repo) string {
			before := run(t, r, "show", "HEAD:"+file) + "\n"
			save(t, r, "another", map[string]string{file: strings.Replace(before, "t1", "t2", 1)})
			return save(t, r, "back", map[string]string{file: before})
		}, unreleased: true},
		"one that claims to be of what is not there": {made: func(t *testing.T, r *git.Repo) string {
			before := run(t, r, "show", "HEAD:"+file) + "\n"
			save(t, r, "another", map[string]string{file: strings.Replace(before, "t1", "t2", 1)})
			return save(t, r, "back\n\nSource-Revision: "+strings.Repeat("f", 40)+"\nSource-Revision: --help", map[string]string{file: before})
		}, unreleased: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := checkout(t)
			head := run(t, r, "rev-parse", "HEAD")
			released, err := commit.Create(t.Context(), r.Dir(), "HEAD", release(1))
			if err != nil {
				t.Fatal(err)
			}
			run(t, r, "reset", "-q", "--hard", released.SHA)
			want, source := c.made(t, r), head
			if want == "" {
				want = released.SHA
			}
			if c.unreleased {
				source = ""
			}
			got, err := commit.Create(t.Context(), r.Dir(), "HEAD", release(1))
			if err != nil {
				t.Fatal(err)
			}
			if !got.Nothing || got.SHA != want || got.Source != source || got.Parent != run(t, r, "rev-parse", want+"^") || got.Tree != run(t, r, "rev-parse", want+"^{tree}") || len(got.Edits) != 0 {
				t.Errorf("%+v, want the commit %s of %q", got, want, source)
			}
		})
	}
}

// TestCreateKeepsModesAndNeighbours: an executable values file, odd names and a submodule stay what they are.
func TestCreateKeepsModesAndNeighbours(t *testing.T) {
	t.Parallel()
	r := checkout(t)
	save(t, r, "odd", map[string]string{"größe ü\tx": "1", "charts/backstage/values.yaml.bak": "x", "a\"b": "c"})
	run(t, r, "update-index", "--chmod=+x", "charts/backstage/values.yaml")
	run(t, r, "update-index", "--add", "--cacheinfo", "160000,"+run(t, r, "rev-parse", "HEAD")+",sub")
	tree := run(t, r, "write-tree")
	base := run(t, r, "-c", "user.name=a", "-c", "user.email=a@b", "commit-tree", "-m", "x", "-p", "HEAD", tree)
	c, err := commit.Create(t.Context(), r.Dir(), base, release(1))
	if err != nil {
		t.Fatal(err)
	}
	cut := func(tree string) string {
		var kept []string
		for line := range strings.Lines(tree) {
			meta, name, _ := strings.Cut(line, "\t")
			if strings.HasSuffix(strings.TrimSpace(name), "/values.yaml") || strings.HasSuffix(strings.TrimSpace(name), "/Chart.yaml") {
				meta = meta[:len("100644")]
			}
			kept = append(kept, meta+name)
		}
		return strings.Join(kept, "")
	}
	before, after := run(t, r, "ls-tree", "-r", base), run(t, r, "ls-tree", "-r", c.SHA)
	if cut(before) != cut(after) || !strings.Contains(after, "100755") || !strings.Contains(after, "160000") {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestCreateRefused(t *testing.T) {
	t.Parallel()
	r := checkout(t)
	link := checkout(t)
	if err := os.Remove(filepath.Join(link.Dir(), "charts/backstage/values.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../file", filepath.Join(link.Dir(), "charts/backstage/values.yaml")); err != nil {
		t.Fatal(err)
	}
	save(t, link, "link", nil)
	empty := git.Open(t.TempDir())
	run(t, empty, "init", "-q")

	cases := map[string]struct {
		dir, base string
		change    func(*commit.Release)
		want      string
	}{
		"not a checkout":    {dir: t.TempDir(), base: "HEAD", want: "is not a commit of"},
		"no directory":      {dir: "/nonexistent", base: "HEAD", want: "/nonexistent"},
		"no commit":         {dir: empty.Dir(), base: "HEAD", want: "HEAD is not a commit of"},
		"unknown base":      {dir: r.Dir(), base: "nope", want: "is not a commit of"},
		"option as base":    {dir: r.Dir(), base: "--all", want: "is not a commit of"},
		"unknown source":    {dir: r.Dir(), base: "HEAD", change: func(rel *commit.Release) { rel.Source = "nope" }, want: "nope is not a commit"},
		"no such chart":     {dir: r.Dir(), base: "HEAD", change: func(rel *commit.Release) { rel.Chart = "charts/x" }, want: "there is no charts/x/values.yaml at"},
		"chart outside":     {dir: r.Dir(), base: "HEAD", change: func(rel *commit.Release) { rel.Chart = "../x" }, want: "not inside of the repository"},
		"values are a link": {dir: link.Dir(), base: "HEAD", want: "is not a regular file"},
		"bad tag":           {dir: r.Dir(), base: "HEAD", change: func(rel *commit.Release) { rel.Pin.Tag = "a\nb" }, want: "invalid image tag"},
		"bad digest":        {dir: r.Dir(), base: "HEAD", change: func(rel *commit.Release) { rel.Pin.Digest = "x" }, want: "invalid image digest"},
		"bad image":         {dir: r.Dir(), base: "HEAD", change: func(rel *commit.Release) { rel.Image = "A B" }, want: "invalid image reference"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rel := release(1)
			if c.change != nil {
				c.change(&rel)
			}
			_, err := commit.Create(t.Context(), c.dir, c.base, rel)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v; want %q", err, c.want)
			}
		})
	}
}

func TestPush(t *testing.T) {
	t.Parallel()
	r, target, bare := seeded(t)
	head := run(t, r, "rev-parse", "HEAD")

	p, err := commit.Push(t.Context(), r.Dir(), release(1), target)
	if err != nil {
		t.Fatal(err)
	}
	if p.Parent != head || p.Nothing || p.Attempts != 1 || p.Remote != target.Remote || p.Branch != "main" {
		t.Errorf("%+v", p)
	}
	if got := run(t, bare, "rev-parse", "main"); got != p.SHA {
		t.Errorf("the branch is at %s; want %s", got, p.SHA)
	}
	candidate, err := commit.Create(t.Context(), r.Dir(), "HEAD", release(1))
	if err != nil || candidate.SHA != p.SHA {
		t.Errorf("the candidate is another commit: %v, %v", candidate, err)
	}

	again, err := commit.Push(t.Context(), r.Dir(), release(1), target)
	if err != nil || !again.Nothing || again.SHA != p.SHA || again.Base != p.SHA {
		t.Errorf("again: %+v, %v", again, err)
	}
	if got := run(t, bare, "rev-parse", "main"); got != p.SHA {
		t.Errorf("a second push moved the branch to %s", got)
	}

	// The next image of the same source goes on top.
	next, err := commit.Push(t.Context(), r.Dir(), release(2), target)
	if err != nil || next.Parent != p.SHA || next.Version != "0.1.2" {
		t.Errorf("next: %+v, %v", next, err)
	}
}

// TestPushReadsOnly: neither files nor configuration nor refs of the checkout change, nor does its configuration count.
func TestPushReadsOnly(t *testing.T) {
	t.Parallel()
	r, target, _ := seeded(t)
	run(t, r, "remote", "add", "origin", "https://nowhere.invalid/x.git")
	run(t, r, "config", "url.https://nowhere.invalid/.insteadOf", "http://")
	run(t, r, "config", "http.extraHeader", "Authorization: Basic bm9ib2R5Om5vdGhpbmc=")
	run(t, r, "config", "core.hooksPath", "hooks")
	hook(t, r, "pre-push", "echo no >&2\nexit 1\n")
	snapshot := func() string {
		var b strings.Builder
		err := filepath.WalkDir(r.Dir(), func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			fmt.Fprintln(&b, path, info.Size(), info.Mode(), info.ModTime())
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	before := snapshot()
	if _, err := commit.Push(t.Context(), r.Dir(), release(1), target); err != nil {
		t.Fatal(err)
	}
	if after := snapshot(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	r, target, bare := seeded(t)
	head, before := run(t, r, "rev-parse", "HEAD"), run(t, bare, "for-each-ref")
	rel := commit.Release{Chart: "charts/backstage"}
	ready, err := commit.Preflight(t.Context(), r.Dir(), rel, target)
	if want := (commit.Ready{Remote: target.Remote, Branch: "main", Tip: head, Source: head, Chart: bump.Pin{Tag: "latest"}}); err != nil || ready != want {
		t.Errorf("%+v, %v; want %+v", ready, err, want)
	}
	if after := run(t, bare, "for-each-ref"); after != before {
		t.Errorf("the remote changed:\n%s\n%s", before, after)
	}
	if _, err := commit.Push(t.Context(), r.Dir(), release(1), target); err != nil {
		t.Fatal(err)
	}
	if ready, err = commit.Preflight(t.Context(), r.Dir(), rel, target); err != nil || ready.Chart != release(1).Pin {
		t.Errorf("%+v, %v", ready, err)
	}
}

func TestPushOntoAnother(t *testing.T) {
	t.Parallel()
	r, target, bare := seeded(t)
	other := git.Open(filepath.Join(t.TempDir(), "other"))
	run(t, r, "clone", "-q", bare.Dir(), other.Dir())
	theirs := save(t, other, "theirs", map[string]string{"file": "2", "charts/backstage/values.yaml": values + "extra: 1\n"})
	run(t, other, "push", "-q", bare.Dir(), "HEAD:main")

	p, err := commit.Push(t.Context(), r.Dir(), release(1), target)
	if err != nil || p.Parent != theirs {
		t.Fatalf("%+v, %v; want the parent %s", p, err, theirs)
	}
	if got := run(t, bare, "show", "main:charts/backstage/values.yaml"); !strings.Contains(got, "extra: 1") || !strings.Contains(got, `tag: "t1"`) {
		t.Errorf("values:\n%s", got)
	}
	if got := run(t, bare, "show", "main:file"); got != "2" {
		t.Errorf("file is %s", got)
	}
}

func TestPushRefused(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		prepare func(t *testing.T, r *git.Repo, target *commit.Target, bare *git.Repo)
		want    error
		text    string
		// preflight finds this out before anything is built.
		preflight bool
	}{
		"a commit that is not on the branch": {
			preflight: true,
			prepare: func(t *testing.T, r *git.Repo, _ *commit.Target, _ *git.Repo) {
				save(t, r, "mine", map[string]string{"file": "2"})
			},
			want: commit.ErrDiverged, text: "is not in main of http://",
		},
		"an empty repository": {
			preflight: true,
			prepare:   func(t *testing.T, _ *git.Repo, target *commit.Target, _ *git.Repo) { target.Remote, _ = server(t, "") },
			want:      git.ErrNoBranch, text: "no such branch: main in http://",
		},
		"no such branch": {
			preflight: true,
			prepare:   func(_ *testing.T, _ *git.Repo, target *commit.Target, _ *git.Repo) { target.Branch = "release" },
			want:      git.ErrNoBranch,
		},
		"no branch name": {
			prepare: func(_ *testing.T, _ *git.Repo, target *commit.Target, _ *git.Repo) { target.Branch = "a b" },
			text:    `"a b" is not a branch name`,
		},
		"no such repository": {
			preflight: true,
			prepare: func(_ *testing.T, _ *git.Repo, target *commit.Target, _ *git.Repo) {
				target.Remote = strings.Replace(target.Remote, "/a.git", "/b.git", 1)
			},
			want: git.ErrNotFound, text: "there is no repository there",
		},
		"no such folder": {
			preflight: true,
			prepare: func(_ *testing.T, _ *git.Repo, target *commit.Target, _ *git.Repo) {
				target.Remote = "file:///nonexistent/a.git"
			},
			want: git.ErrNotFound,
		},
		"a hook that declines": {
			prepare: func(t *testing.T, _ *git.Repo, _ *commit.Target, bare *git.Repo) {
				hook(t, bare, "pre-receive", "echo 'no pushes on Mondays' >&2\nexit 1\n")
			},
			want: git.ErrRefused, text: "pre-receive hook declined: no pushes on Mondays",
		},
		"a protected branch": {
			prepare: func(t *testing.T, _ *git.Repo, _ *commit.Target, bare *git.Repo) {
				hook(t, bare, "update", "echo 'main is protected' >&2\nexit 1\n")
			},
			want: git.ErrRefused, text: "hook declined: main is protected",
		},
		"a token is wanted": {
			preflight: true,
			prepare: func(t *testing.T, _ *git.Repo, target *commit.Target, _ *git.Repo) {
				target.Remote, _ = server(t, "right")
			},
			want: git.ErrUnauthorized, text: "GITOPS_TOKEN",
		},
		"another token is wanted": {
			preflight: true,
			prepare: func(t *testing.T, _ *git.Repo, target *commit.Target, _ *git.Repo) {
				target.Remote, _ = server(t, "right")
				target.Credential = git.Credential{Username: "x", Token: "wrong-canary"}
			},
			want: git.ErrUnauthorized,
		},
		"a token that may read only": {
			preflight: true,
			prepare: func(t *testing.T, r *git.Repo, target *commit.Target, _ *git.Repo) {
				var bare *git.Repo
				target.Remote, bare = server(t, "", func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
						if strings.Contains(req.URL.String(), "git-receive-pack") {
							http.Error(w, "read only", http.StatusForbidden)
							return
						}
						next.ServeHTTP(w, req)
					})
				})
				run(t, r, "push", "-q", bare.Dir(), "HEAD:refs/heads/main")
			},
			want: git.ErrUnauthorized,
		},
		"a token with a line break": {
			preflight: true,
			prepare: func(_ *testing.T, _ *git.Repo, target *commit.Target, _ *git.Repo) {
				target.Credential = git.Credential{Username: "x", Token: "a\nX-Evil: 1"}
			},
			want: git.ErrToken,
		},
		"nobody listens": {
			preflight: true,
			prepare: func(_ *testing.T, _ *git.Repo, target *commit.Target, _ *git.Repo) {
				target.Remote = "http://127.0.0.1:1/a.git"
			},
			want: git.ErrUnreachable,
		},
		"an unknown host": {
			preflight: true,
			prepare: func(_ *testing.T, _ *git.Repo, target *commit.Target, _ *git.Repo) {
				target.Remote = "http://nowhere.invalid/a.git"
			},
			want: git.ErrUnreachable,
		},
		"a server that breaks": {
			preflight: true,
			prepare: func(t *testing.T, _ *git.Repo, target *commit.Target, _ *git.Repo) {
				s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "broken", http.StatusBadGateway) }))
				t.Cleanup(s.Close)
				target.Remote = s.URL + "/a.git"
			},
			want: git.ErrUnreachable,
		},
		"a credential in the address": {
			preflight: true,
			prepare: func(_ *testing.T, _ *git.Repo, target *commit.Target, _ *git.Repo) {
				target.Remote = "https://user:wrong-canary@example.com/a.git"
			},
			want: git.ErrRemote, text: "pass the token as GITOPS_TOKEN",
		},
		"another commit than the verified one": {
			prepare: func(_ *testing.T, _ *git.Repo, target *commit.Target, _ *git.Repo) {
				target.Candidate = strings.Repeat("0", 40)
			},
			want: commit.ErrNotVerified,
		},
		"a chart that the tip has lost": {
			preflight: true,
			prepare: func(t *testing.T, r *git.Repo, _ *commit.Target, bare *git.Repo) {
				head := run(t, r, "rev-parse", "HEAD")
				save(t, r, "drop", map[string]string{"charts/backstage/values.yaml": ""})
				run(t, r, "push", "-q", bare.Dir(), "HEAD:main")
				run(t, r, "reset", "-q", "--hard", head)
			},
			want: bump.ErrChart, text: "there is no charts/backstage/values.yaml at",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, target, bare := seeded(t)
			c.prepare(t, r, &target, bare)
			before := run(t, bare, "for-each-ref")
			if c.preflight {
				if _, err := commit.Preflight(t.Context(), r.Dir(), release(1), target); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
					t.Errorf("preflight: got %v; want %v, %q", err, c.want, c.text)
				}
			}
			_, err := commit.Push(t.Context(), r.Dir(), release(1), target)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("got %v; want %v, %q", err, c.want, c.text)
			}
			if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "\n") {
				t.Errorf("unfit to be shown: %q", err)
			}
			if after := run(t, bare, "for-each-ref"); after != before {
				t.Errorf("the remote changed:\n%s\n%s", before, after)
			}
		})
	}
}

// TestPushDoesNotRollBack: the release of an older commit that ends later than that of a newer one is refused.
func TestPushDoesNotRollBack(t *testing.T) {
	t.Parallel()
	r, target, bare := seeded(t)
	older := run(t, r, "rev-parse", "HEAD")
	save(t, r, "newer", map[string]string{"file": "2"})
	run(t, r, "push", "-q", bare.Dir(), "HEAD:main")
	newer, err := commit.Push(t.Context(), r.Dir(), release(2), target)
	if err != nil {
		t.Fatal(err)
	}
	rel := release(1)
	rel.Source = older
	if _, err := commit.Push(t.Context(), r.Dir(), rel, target); !errors.Is(err, commit.ErrSuperseded) {
		t.Errorf("got %v; want ErrSuperseded", err)
	}
	if got := run(t, bare, "rev-parse", "main"); got != newer.SHA {
		t.Errorf("the branch is at %s; want %s", got, newer.SHA)
	}
}

// TestPushFindsItsLostAnswer: the remote took the push, the answer got lost; the release is there once.
func TestPushFindsItsLostAnswer(t *testing.T) {
	t.Parallel()
	lose := true
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
	p, err := commit.Push(t.Context(), r.Dir(), release(1), target)
	if err != nil || p.Nothing || p.Attempts != 2 {
		t.Fatalf("%+v, %v", p, err)
	}
	if got := run(t, bare, "log", "--format=%H", "main"); got != p.SHA+"\n"+p.Parent {
		t.Errorf("log:\n%s", got)
	}
}

func TestPushStops(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	r, target, _ := seeded(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
			close(hang)
			<-req.Context().Done()
		})
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	go func() {
		<-hang
		cancel(stopped)
	}()
	if _, err := commit.Push(ctx, r.Dir(), release(1), target); !errors.Is(err, stopped) {
		t.Errorf("got %v", err)
	}
}

// TestPushFromShallowClone: CI's checkouts often hold one commit only.
func TestPushFromShallowClone(t *testing.T) {
	t.Parallel()
	r, target, bare := seeded(t)
	save(t, r, "second", map[string]string{"file": "2"})
	run(t, r, "push", "-q", bare.Dir(), "HEAD:main")
	shallow := filepath.Join(t.TempDir(), "shallow")
	run(t, r, "clone", "-q", "--depth=1", target.Remote, shallow)
	p, err := commit.Push(t.Context(), shallow, release(1), target)
	if err != nil || p.Parent != run(t, r, "rev-parse", "HEAD") {
		t.Errorf("%+v, %v", p, err)
	}
	if got := run(t, bare, "rev-list", "--count", "main"); got != "3" {
		t.Errorf("%s commits", got)
	}
}

func TestSeed(t *testing.T) {
	t.Parallel()
	r := checkout(t)
	url, bare := server(t, "")
	target := commit.Target{Remote: url, Branch: "main"}
	head := run(t, r, "rev-parse", "HEAD")
	seed := func(want commit.SeedAction) commit.Seeded {
		t.Helper()
		s, err := commit.Seed(t.Context(), r.Dir(), target)
		if err != nil || s.Action != want {
			t.Fatalf("%+v, %v; want %s", s, err, want)
		}
		if tip := run(t, bare, "rev-parse", "main"); tip != s.Tip {
			t.Fatalf("the branch is at %s; want %s", tip, s.Tip)
		}
		return s
	}

	seed(commit.Created)
	seed(commit.Kept)
	released, err := commit.Push(t.Context(), r.Dir(), release(1), target)
	if err != nil {
		t.Fatal(err)
	}
	if s := seed(commit.Kept); s.Tip != released.SHA || s.Head != head {
		t.Errorf("%+v", s)
	}

	// The checkout goes on without the release commit: nothing of it may be lost.
	head = save(t, r, "second", map[string]string{"file": "2"})
	if s := seed(commit.Reset); s.Tip != head || s.Former != released.SHA {
		t.Errorf("%+v", s)
	}
	if got := run(t, bare, "rev-parse", commit.FormerRefs+released.SHA); got != released.SHA {
		t.Errorf("the former tip is %s", got)
	}

	// The checkout takes the release commit in and goes on.
	released, err = commit.Push(t.Context(), r.Dir(), release(2), target)
	if err != nil {
		t.Fatal(err)
	}
	run(t, r, "pull", "-q", "--ff-only", url, "main")
	seed(commit.Kept)
	if p, err := commit.Push(t.Context(), r.Dir(), release(2), target); err != nil || !p.Nothing {
		t.Errorf("%+v, %v", p, err)
	}
	save(t, r, "third", map[string]string{"file": "3"})
	if s := seed(commit.Advanced); s.Former != released.SHA {
		t.Errorf("%+v", s)
	}
	if got := run(t, bare, "for-each-ref", "--format=%(refname)"); strings.Count(got, "\n") != 1 {
		t.Errorf("refs:\n%s", got)
	}
}

func TestSeedRefused(t *testing.T) {
	t.Parallel()
	r, target, bare := seeded(t)
	save(t, r, "second", nil)
	run(t, r, "push", "-q", bare.Dir(), "HEAD:main")
	shallow := filepath.Join(t.TempDir(), "shallow")
	run(t, r, "clone", "-q", "--depth=1", target.Remote, shallow)
	if _, err := commit.Seed(t.Context(), shallow, target); !errors.Is(err, commit.ErrShallow) {
		t.Errorf("shallow: %v", err)
	}
	empty := git.Open(t.TempDir())
	run(t, empty, "init", "-q")
	if _, err := commit.Seed(t.Context(), empty.Dir(), target); err == nil || !strings.Contains(err.Error(), "commit first, a release is of HEAD") {
		t.Errorf("no commit: %v", err)
	}
	if _, err := commit.Seed(t.Context(), t.TempDir(), target); err == nil {
		t.Error("a folder that is no checkout is seeded from")
	}
}
