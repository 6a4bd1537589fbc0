package git_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

func initialised(t *testing.T) *git.Repo {
	t.Helper()
	r := git.Open(t.TempDir())
	if _, err := r.Run(t.Context(), "init", "-q", "-b", "main"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(t.Context(), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "first"); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestEnvironmentDoesNotCount: what a shell or a workflow has set for its own git must not reach ours.
func TestEnvironmentDoesNotCount(t *testing.T) {
	for name, value := range map[string]string{
		"GIT_DIR": "/nonexistent", "GIT_WORK_TREE": "/nonexistent", "GIT_INDEX_FILE": "/nonexistent", "GIT_TRACE": "1", "GIT_CONFIG_PARAMETERS": "'core.bare'='true'",
		"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.bare", "GIT_CONFIG_VALUE_0": "true", "LC_ALL": "de_DE.UTF-8", "LANGUAGE": "de", "GITOPS_TOKEN": "canary",
	} {
		t.Setenv(name, value)
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte("[alias]\n\tprobe = !env\n[user]\n\tname = somebody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := initialised(t)
	if out, err := r.Run(t.Context(), "config", "--get", "user.name"); git.Exit(err) != 1 {
		t.Errorf("the user's configuration counts: %s, %v", out, err)
	}
	out, err := r.Run(t.Context(), "-c", "alias.probe=!env", "probe")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, "canary") || strings.HasPrefix(line, "GIT_TRACE") || strings.HasPrefix(line, "LANGUAGE") {
			t.Errorf("git sees %s", line)
		}
	}
}

// TestCheckoutRunsNothing: the configuration of a checkout cannot start programs.
func TestCheckoutRunsNothing(t *testing.T) {
	t.Parallel()
	r := initialised(t)
	ran := filepath.Join(t.TempDir(), "ran")
	script := filepath.Join(r.Dir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\ntouch "+ran+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"core.fsmonitor", "credential.helper"} {
		if _, err := r.Run(t.Context(), "config", key, script); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Run(t.Context(), "status"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(ran); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the checkout's program ran: %v", err)
	}
}

func TestError(t *testing.T) {
	t.Parallel()
	r, err := initialised(t).With("http://x/", git.Credential{Username: "u", Token: "canary"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Run(t.Context(), "rev-parse", "--verify", "canary^{commit}")
	var e *git.Error
	if !errors.As(err, &e) || git.Exit(err) != 128 || err.Error() != "git rev-parse: Needed a single revision" {
		t.Errorf("got %v", err)
	}
	_, err = r.Run(t.Context(), "show", "canary")
	if err == nil || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), "***") {
		t.Errorf("the token shows: %v", err)
	}
	if _, err := git.Open("/nonexistent").Run(t.Context(), "status"); err == nil || !strings.Contains(err.Error(), "/nonexistent is not a directory") {
		t.Errorf("got %v", err)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	r := initialised(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := r.Run(ctx, "-c", "alias.wait=!sleep 30", "wait"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("git and its children ended after %s", took)
	}
}
