package github

import (
	"cmp"
	"context"
	"fmt"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
)

// Change is what a commit that is no release says.
type Change struct {
	// Title is the commit's message and the pull request's title.
	Title string
	// Body is the text of the pull request, in Markdown.
	Body string
	// Head is the branch of the pull request, by which the change's commits are known as well.
	Head string
}

// Commit has GitHub commit what the work tree of dir changes on top of its HEAD, which has to be in the target's branch:
// as a push, or as a pull request where that is the mode or the branch is protected. It goes the way of Push: the pull
// request that is open for the head is updated, and nobody's commits are lost there.
func Commit(ctx context.Context, dir string, change Change, t Target) (Pushed, error) {
	t.Mode = cmp.Or(t.Mode, ModePush)
	if err := t.check(); err != nil {
		return Pushed{}, err
	}
	if change.Title == "" || change.Head == "" || change.Head == t.Branch {
		return Pushed{}, fmt.Errorf("a change wants a title, and a branch for its pull request that is not %s", t.Branch)
	}
	t.Pull.Head, t.Pull.Title = change.Head, change.Title
	t.Pull.Body = func(commit.Pushed) (string, error) { return change.Body, nil }
	return t.push(ctx, func(to commit.Target) (commit.Pushed, error) {
		return commit.PushChange(ctx, dir, commit.Change{Title: change.Title, Name: change.Head}, to)
	})
}
