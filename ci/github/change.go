package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/google/go-github/v62/github"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

// Change is what a commit that is no release says.
type Change struct {
	// Title is the commit's message and the pull request's title.
	Title string
	// Body is the text of the pull request, in Markdown.
	Body string
	// Head is the branch of the pull request.
	Head string
}

// ErrMoved says that the branch is not at the checkout's commit.
var ErrMoved = errors.New("the branch is at another commit than the checkout")

// Commit has GitHub commit what the work tree of dir changes on top of its HEAD, which has to be the tip of the target's
// branch: as a push, or as a pull request where that is the mode or the branch is protected. The pull request that is
// open for the head is updated.
func Commit(ctx context.Context, dir string, change Change, t Target) (Pushed, error) {
	t.Mode = cmp.Or(t.Mode, ModePush)
	if err := t.check(); err != nil {
		return Pushed{}, err
	}
	if change.Title == "" || change.Head == "" || change.Head == t.Branch {
		return Pushed{}, fmt.Errorf("a change wants a title, and a branch for its pull request that is not %s", t.Branch)
	}
	draft, err := commit.Draft(ctx, dir, change.Title+"\n")
	if err != nil {
		return Pushed{}, err
	}
	c, err := connect(ctx, t)
	if err != nil {
		return Pushed{}, err
	}
	p := &pusher{client: c, out: Pushed{Mode: t.Mode}}
	p.out.Pushed = commit.Pushed{Commit: draft, Remote: t.Remote, Branch: t.Branch, Attempts: 1}
	if draft.Nothing {
		return p.out, nil
	}
	tip, err := p.tip(ctx, t.Branch)
	if err != nil {
		return Pushed{}, err
	}
	if tip != draft.Parent {
		return Pushed{}, fmt.Errorf("%s: %w: %s is at %.12s, the checkout at %.12s; fetch it, and start again", c.name(), ErrMoved, t.Branch, tip, draft.Parent)
	}
	proposal := commit.Proposal{Commit: draft, Repo: git.Open(dir), Target: commit.Target{Remote: t.Remote, Branch: t.Branch}}
	if err := p.tree(ctx, proposal); err != nil {
		return Pushed{}, err
	}
	p.out.Candidate = draft.SHA
	if t.Mode == ModePush {
		p.out.SHA, err = p.onto(ctx, proposal, change.Title+commit.SkipCI, t.Branch)
		if !errors.Is(err, ErrProtected) {
			p.out.Requests = c.limits.requests.Load()
			return p.out, err
		}
		slog.WarnContext(ctx, "making a pull request instead", "reason", err)
		p.out.Mode, p.out.Fallback = ModePullRequest, err.Error()
	}
	err = p.ask(ctx, proposal, change)
	p.out.Requests = c.limits.requests.Load()
	return p.out, err
}

// tip is the commit of a branch.
func (p *pusher) tip(ctx context.Context, branch string) (string, error) {
	ref, _, err := p.Git.GetRef(ctx, p.owner, p.repo, "refs/heads/"+branch)
	return ref.GetObject().GetSHA(), p.explain(ctx, "", err)
}

// onto commits on top of the proposal's parent and moves a branch there, a fast-forward.
func (p *pusher) onto(ctx context.Context, c commit.Proposal, message, branch string, parents ...string) (string, error) {
	sha, err := p.commit(ctx, c, message, append([]string{c.Parent}, parents...)...)
	if err != nil {
		return "", err
	}
	_, _, err = p.Git.UpdateRef(ctx, p.owner, p.repo, reference(branch, sha), false)
	return sha, p.explain(ctx, contents, err)
}

// ask puts the commit on the branch of the pull request, whose own commits are never lost, and opens or updates that.
func (p *pusher) ask(ctx context.Context, c commit.Proposal, change Change) error {
	ref, _, err := p.Git.GetRef(ctx, p.owner, p.repo, "refs/heads/"+change.Head)
	var answer *github.ErrorResponse
	switch {
	case errors.As(err, &answer) && answer.Response.StatusCode == http.StatusNotFound:
		if p.out.SHA, err = p.commit(ctx, c, change.Title, c.Parent); err != nil {
			return err
		}
		_, _, err = p.Git.CreateRef(ctx, p.owner, p.repo, reference(change.Head, p.out.SHA))
		err = p.explain(ctx, contents, err)
	case err != nil:
		err = p.explain(ctx, "", err)
	default:
		p.out.SHA, err = p.onto(ctx, c, change.Title, change.Head, ref.GetObject().GetSHA())
	}
	if err != nil {
		return err
	}
	open, _, err := p.PullRequests.List(ctx, p.owner, p.repo, &github.PullRequestListOptions{
		State: "open", Head: p.owner + ":" + change.Head, Base: c.Target.Branch,
	})
	if err != nil {
		return p.explain(ctx, pullRequests, err)
	}
	var pr *github.PullRequest
	if len(open) > 0 {
		pr, _, err = p.PullRequests.Edit(ctx, p.owner, p.repo, open[0].GetNumber(), &github.PullRequest{Title: &change.Title, Body: &change.Body})
	} else {
		pr, _, err = p.PullRequests.Create(ctx, p.owner, p.repo, &github.NewPullRequest{
			Title: &change.Title, Body: &change.Body, Head: &change.Head, Base: &c.Target.Branch, MaintainerCanModify: github.Bool(true),
		})
	}
	if err != nil {
		return fmt.Errorf("the commit is on the branch %s, but %w", change.Head, p.explain(ctx, pullRequests, err))
	}
	p.out.PullRequest = &commit.PullRequest{Number: pr.GetNumber(), URL: pr.GetHTMLURL()}
	return nil
}
