package commit_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

// TestPushersRace: releases of different images and people's own pushes meet at one branch; all of them are in its
// history at the end, each once.
func TestPushersRace(t *testing.T) {
	t.Parallel()
	const releases, people = 6, 3
	r, target, bare := seeded(t)
	// A slow hook keeps the window between fetch and push open.
	hook(t, bare, "pre-receive", "sleep 0.05\n")

	var wg sync.WaitGroup
	pushed := make([]commit.Pushed, releases)
	for n := range releases {
		wg.Go(func() {
			var err error
			if pushed[n], err = commit.Push(t.Context(), r.Dir(), release(n), target); err != nil {
				t.Errorf("release %d: %v", n, err)
			}
		})
	}
	theirs := make([]string, people)
	for n := range people {
		wg.Go(func() { theirs[n] = person(t, bare, target.Remote, n) })
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	history := strings.Fields(run(t, bare, "rev-list", "--first-parent", "main"))
	if len(history) != 1+releases+people {
		t.Errorf("%d commits; want %d", len(history), 1+releases+people)
	}
	in := map[string]bool{}
	for _, sha := range history {
		in[sha] = true
	}
	most := 0
	for n, p := range pushed {
		if !in[p.SHA] {
			t.Errorf("release %d (%s) is lost", n, p.SHA)
		}
		most = max(most, p.Attempts)
	}
	for n, sha := range theirs {
		if !in[sha] {
			t.Errorf("the push of person %d (%s) is lost", n, sha)
		}
	}
	if most < 2 {
		t.Errorf("nobody raced: every push took at most %d attempt", most)
	}
	if got, want := run(t, bare, "show", "main:charts/backstage/Chart.yaml"), "version: 0.1.6"; !strings.Contains(got, want) {
		t.Errorf("after six releases the chart is\n%s", got)
	}
}

// person clones, commits and pushes as people do, with a rebase where somebody was faster.
func person(t *testing.T, bare *git.Repo, url string, n int) string {
	dir := filepath.Join(t.TempDir(), "person")
	if _, err := bare.Run(t.Context(), "clone", "-q", url, dir); err != nil {
		t.Error(err)
		return ""
	}
	r := git.Open(dir)
	name := "person" + string(rune('a'+n))
	if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
		t.Error(err)
		return ""
	}
	for _, args := range [][]string{{"config", "user.name", name}, {"config", "user.email", "p@example.com"}, {"add", name}, {"commit", "-q", "-m", name}} {
		if _, err := r.Run(t.Context(), args...); err != nil {
			t.Error(err)
			return ""
		}
	}
	for range 50 {
		if _, err := r.Run(t.Context(), "push", "-q", "origin", "HEAD:main"); err == nil {
			break
		}
		if _, err := r.Run(t.Context(), "pull", "-q", "--rebase", "origin", "main"); err != nil {
			t.Error(err)
			return ""
		}
	}
	sha, err := r.Run(t.Context(), "rev-parse", "HEAD")
	if err != nil {
		t.Error(err)
	}
	return sha
}

// TestPushGivesUp: a branch that moves under every attempt ends the push after a bounded number of them.
func TestPushGivesUp(t *testing.T) {
	t.Parallel()
	r, target, bare := seeded(t)
	target.Attempts = 3
	// The hook runs between the release's fetch and the update of the ref, and moves the branch each time.
	hook(t, bare, "pre-receive", `unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git update-ref refs/heads/main "$(git commit-tree -m other -p main main^{tree})"
`)
	_, err := commit.Push(t.Context(), r.Dir(), release(1), target)
	if err == nil || !strings.Contains(err.Error(), commit.ErrBusy.Error()+": 3 attempts") || strings.Contains(err.Error(), "\n") {
		t.Fatalf("got %v", err)
	}
	if got := run(t, bare, "rev-list", "--count", "main"); got != "4" {
		t.Errorf("%s commits; want the first and three of somebody else", got)
	}
}

// TestTokenStaysHidden pushes with a canary for a token, once welcome and once not, while it reads the arguments of
// every process of the machine; the canary may be in none of them, in no error, and in no file of either repository.
func TestTokenStaysHidden(t *testing.T) {
	t.Parallel()
	// Of this test alone: others run beside it, with canaries of theirs.
	const canary = "pu5h-c4n4ry/+token"
	encoded := strings.TrimRight(base64.StdEncoding.EncodeToString([]byte("x-access-token:"+canary)), "=")
	shown := func(s string) bool {
		return strings.Contains(s, canary) || strings.Contains(s, "pu5h-c4n4ry") || strings.Contains(s, encoded)
	}
	r := checkout(t)
	url, bare := server(t, canary)
	other, _ := server(t, "another token")
	run(t, r, "push", "-q", bare.Dir(), "HEAD:refs/heads/main")
	hook(t, bare, "pre-receive", "sleep 0.2\n")
	target := commit.Target{Remote: url, Branch: "main", Credential: git.Credential{Username: "x-access-token", Token: canary + "\n"}}

	stop, scanned := make(chan struct{}), make(chan int)
	go func() {
		saw := map[string]bool{}
		defer func() { scanned <- len(saw) }()
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, f := range files {
				args, _ := os.ReadFile(f) // a process may end in between
				if shown(string(args)) {
					t.Errorf("in arguments: %q", args)
				}
				if strings.Contains(string(args), url) {
					saw[f] = true
				}
			}
		}
	}()
	p, err := commit.Push(t.Context(), r.Dir(), release(1), target)
	if err != nil || p.Nothing {
		t.Errorf("%+v, %v", p, err)
	}
	target.Remote = other
	if _, err := commit.Push(t.Context(), r.Dir(), release(2), target); err == nil || shown(err.Error()) {
		t.Errorf("got %v", err)
	}
	close(stop)
	if n := <-scanned; n == 0 {
		t.Error("the scan saw no git process that talks to the remote, so it proves nothing")
	}
	for _, dir := range []string{r.Dir(), bare.Dir()} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			if shown(string(text)) {
				t.Errorf("in %s", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
