package github

import (
	"cmp"
	"context"
	"path"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
)

// Reverted is the outcome of Revert.
type Reverted struct {
	commit.Reverted
	Carried
}

// Revert takes the last release of a chart back as commit.Revert does, with a commit that GitHub makes: on the branch, or
// in a pull request where that is the mode or the branch is protected. The repository of dir is only read.
func Revert(ctx context.Context, dir string, rb commit.Rollback, t Target) (Reverted, error) {
	t.Mode = cmp.Or(t.Mode, ModePush)
	if err := t.check(); err != nil {
		return Reverted{}, err
	}
	t.Pull.Head = cmp.Or(t.Pull.Head, "rollback/"+path.Base(rb.Chart)+"/"+t.Branch)
	var made commit.Reverted
	pushed, err := t.push(ctx, func(to commit.Target) (commit.Pushed, error) {
		var err error
		made, err = commit.Revert(ctx, dir, rb, to)
		return commit.Pushed{
			Commit: commit.Commit{SHA: made.SHA, Parent: made.Parent, Edits: made.Edits, Version: made.Version},
			Remote: made.Remote, Branch: made.Branch, Attempts: made.Attempts,
		}, err
	})
	if err != nil {
		return Reverted{}, err
	}
	made.PullRequest = pushed.PullRequest
	return Reverted{made, pushed.Carried}, nil
}
