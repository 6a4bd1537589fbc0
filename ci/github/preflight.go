package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/google/go-github/v62/github"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

// Ready is what a target looks like before a release.
type Ready struct {
	commit.Ready
	// Warning says what the credential lacks if GitHub does not take the push after all.
	Warning string `json:"warning,omitempty"`
}

// Preflight finds out whether Push could work, before anything is built, as commit.Preflight does, and names the
// permission that the credential lacks.
//
// GitHub tells nobody what a token may do, so it is asked for two things that change nothing: to store the empty blob,
// and to open a pull request of the branch to itself, which it refuses.
//
// Whether GitHub takes a push to a protected branch only the push tells: rules may be about something else, or let the
// credential through. So a pull request that could not be opened instead is a warning.
func Preflight(ctx context.Context, dir string, rel commit.Release, t Target) (Ready, error) {
	c, warning, err := permitted(ctx, t)
	if err != nil {
		return Ready{}, err
	}
	ready, err := commit.Preflight(ctx, dir, rel, commit.Target{
		Remote: t.Remote, Branch: t.Branch, Credential: git.Credential{Username: username, Token: c.token},
	})
	return Ready{ready, warning}, err
}

// Permitted finds out whether the credential could write to the target at all, as Preflight does, whatever is to be
// written: with a rollback nothing of a checkout is released. The Ready has no more than that.
func Permitted(ctx context.Context, t Target) (Ready, error) {
	_, warning, err := permitted(ctx, t)
	return Ready{commit.Ready{Remote: t.Remote, Branch: t.Branch}, warning}, err
}

// permitted connects to a target, and refuses a credential that may not write there.
func permitted(ctx context.Context, t Target) (c *client, warning string, err error) {
	t.Mode = cmp.Or(t.Mode, ModePush)
	if err := t.check(); err != nil {
		return nil, "", err
	}
	if c, err = connect(ctx, t); err != nil {
		return nil, "", err
	}
	warning, err = c.mayWrite(ctx, t)
	return c, warning, err
}

// mayWrite refuses a credential that lacks a permission of the target's mode, and warns of one that it may come to want.
func (c *client) mayWrite(ctx context.Context, t Target) (warning string, err error) {
	// A read first: GitHub answers a write to a repository that is not there as it does one that is not allowed.
	// GetBranch of the library drops what GitHub says with an error.
	ask, err := c.NewRequest(http.MethodGet, fmt.Sprintf("repos/%s/%s/branches/%s", c.owner, c.repo, url.PathEscape(t.Branch)), nil)
	if err != nil {
		return "", err
	}
	var branch github.Branch
	_, err = c.Do(ctx, ask, &branch)
	switch {
	case answered(err, http.StatusNotFound):
		// No such repository or no such branch: git says which.
		return "", nil
	case err != nil:
		return "", c.explain(ctx, "", err)
	}
	// What GitHub does not like about a request it says only to those who may make it.
	_, _, err = c.Git.CreateBlob(ctx, c.owner, c.repo, &github.Blob{Content: github.String(""), Encoding: github.String("utf-8")})
	if err != nil && !answered(err, http.StatusUnprocessableEntity) {
		return "", c.explain(ctx, contents, err)
	}
	if t.Mode == ModePush && !branch.GetProtected() {
		return "", nil
	}
	_, _, err = c.PullRequests.Create(ctx, c.owner, c.repo, &github.NewPullRequest{Title: github.String("preflight"), Head: &t.Branch, Base: &t.Branch})
	switch {
	case err == nil:
		return "", fmt.Errorf("%s: GitHub opened a pull request of %s to itself; close it", c.name(), t.Branch)
	case answered(err, http.StatusUnprocessableEntity):
		return "", nil
	}
	err = c.explain(ctx, pullRequests, err)
	if t.Mode == ModePush && errors.Is(err, ErrPermission) {
		warning = fmt.Sprintf("%s is protected: if GitHub refuses the push, the commit needs a pull request, and %v", t.Branch, err)
		slog.WarnContext(ctx, warning)
		return warning, nil
	}
	return "", err
}

// answered says of an error that GitHub answered with a status.
func answered(err error, status int) bool {
	var answer *github.ErrorResponse
	return errors.As(err, &answer) && answer.Response.StatusCode == status
}
