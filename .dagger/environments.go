package main

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"dagger/backstage-gitops/internal/dagger"
)

// Have an environment of charts/gitops run what the one before it runs: edits the
// tag and digest of its image, and keeps every other byte.
//
// None is skipped: dev, staging, prod. Refused is an image that was not seen to
// run well, and one that is older than the one it would replace.
func (m *BackstageGitops) Promote(ctx context.Context,
	// Environment that runs the image.
	from string,

	// Environment that is to run it, the next one.
	to string,

	// What `argocd sync` said of the first one.
	//
	// +optional
	running *dagger.File,

	// Take an image of which nothing says that it runs.
	//
	// +optional
	allowUnproven bool,

	// Take an image that is older than the one it replaces.
	//
	// +optional
	allowDowngrade bool,
) (*dagger.Changeset, error) {
	box, args := m.toolbox().WithDirectory("/checkout", m.Repo), []string{"promote", "--repo", ".", "--from", from, "--to", to}
	if running != nil {
		box, args = box.WithMountedFile("/running.json", running), append(args, "--running", "/running.json")
	}
	if allowUnproven {
		args = append(args, "--allow-unproven")
	}
	if allowDowngrade {
		args = append(args, "--allow-downgrade")
	}
	var edits json.RawMessage
	if err := run(ctx, box, &edits, args...); err != nil {
		return nil, err
	}
	promoted := box.WithExec(append([]string{"gitops"}, args...)).Directory("/checkout/charts/gitops")
	return m.Repo.WithDirectory("charts/gitops", promoted).Changes(m.Repo), nil
}

// Show what the checkout renders differently from another commit, environment by
// environment, as Markdown. With --pull-request it is also a comment there, in the
// place of the one that a former call made.
//
// +cache="never"
func (m *BackstageGitops) Diff(ctx context.Context,
	// Commit, branch or tag to compare with.
	//
	// +default="HEAD~1"
	base string,

	// Number of the pull request to comment on; 0 is none.
	//
	// +optional
	pullRequest int,

	// URL of the pull request's repository, https://github.com/OWNER/REPO.git.
	//
	// +optional
	remote string,

	// Token that may write pull requests, such as env://GITHUB_TOKEN.
	//
	// +optional
	token *dagger.Secret,
) (string, error) {
	if pullRequest != 0 && (remote == "" || token == nil) {
		return "", errors.New("--pull-request wants --remote, a repository of GitHub, and --token")
	}
	box := m.toolbox().WithDirectory("/checkout", m.Repo).
		WithExec([]string{"git", "worktree", "add", "--detach", "/before", base}, dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
	if err := succeeded(ctx, box); err != nil {
		return "", err
	}
	box = box.WithExec([]string{"gitops", "diff", "--before", "/before", "--after", "."}, dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
	if err := succeeded(ctx, box); err != nil {
		return "", err
	}
	text, err := box.Stdout(ctx)
	if err != nil || pullRequest == 0 {
		return text, err
	}
	var said json.RawMessage
	err = run(ctx, m.toolbox().
		WithNewFile("/comment.md", text).
		WithSecretVariable("GITOPS_TOKEN", token).
		WithEnvVariable("GITOPS_RUN", time.Now().Format(time.RFC3339Nano)), &said,
		"github", "comment", "--remote", remote, "--number", strconv.Itoa(pullRequest), "--topic", "diff", "--file", "/comment.md")
	return text, err
}
