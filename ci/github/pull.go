package github

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/google/go-github/v62/github"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

// Pull is what a pull request looks like.
type Pull struct {
	// Head is the branch of the pull request; empty means gitops/CHART/BRANCH of a release. There is one pull request per head.
	Head string
	// Title is the first line of the commit's message unless given.
	Title string
	// Body makes the text, in Markdown; nil means a table of what changes.
	Body func(commit.Pushed) (string, error)
	// Labels are added.
	Labels []string
	// Merge has GitHub merge the pull request as soon as it may: merge, squash or rebase; empty means not to.
	Merge string
}

// ErrForeign says that the branch of the pull request holds somebody else's work.
var ErrForeign = errors.New("the pull request's branch holds commits of somebody else")

func (p Pull) check() error {
	switch p.Merge {
	case "", "merge", "squash", "rebase":
		return nil
	}
	return fmt.Errorf("the way to merge %q is none of merge, squash and rebase", p.Merge)
}

// propose puts the commit on the pull request's branch, and opens the pull request or updates the one that is open.
//
// The branch is never forced either: what it held is a second parent of the commit. One that comes second meanwhile is
// refused by GitHub and tried again, so a later release or change is not undone by an earlier one.
func (p *pusher) propose(ctx context.Context, c commit.Proposal) (string, error) {
	head := p.pull.Head
	if head == c.Target.Branch {
		return "", fmt.Errorf("the pull request's branch %s is the one to pull to; give another", head)
	}
	var open []*github.PullRequest
	tip, err := c.Repo.Fetch(ctx, c.Target.Remote, head)
	switch {
	case errors.Is(err, git.ErrNoBranch):
		tip = "" // and no pull request is open: GitHub closes it with its branch
	case err != nil:
		return "", err
	default:
		if open, _, err = p.PullRequests.List(ctx, p.owner, p.repo, &github.PullRequestListOptions{
			State: "open", Head: p.owner + ":" + head, Base: c.Target.Branch,
		}); err != nil {
			return "", p.explain(ctx, pullRequests, err)
		}
	}
	sha, err := p.put(ctx, c, head, tip)
	if err != nil {
		return sha, err
	}
	pr, err := p.open(ctx, c, head, sha, open)
	if err != nil {
		return sha, err
	}
	p.out.PullRequest = &commit.PullRequest{Number: pr.GetNumber(), URL: pr.GetHTMLURL()}
	if len(p.pull.Labels) > 0 {
		if _, _, err := p.Issues.AddLabelsToIssue(ctx, p.owner, p.repo, pr.GetNumber(), p.pull.Labels); err != nil {
			return sha, there(pr, p.explain(ctx, pullRequests, err))
		}
	}
	if p.pull.Merge != "" {
		sha, p.out.PullRequest.Merged, err = p.merge(ctx, c.Message, pr, sha)
	}
	return sha, there(pr, err)
}

// there says that there is a pull request, though not all was done.
func there(pr *github.PullRequest, err error) error {
	if err != nil {
		err = fmt.Errorf("the pull request %s is open, but %w", pr.GetHTMLURL(), err)
	}
	return err
}

// put brings the commit to the pull request's branch, whose tip is empty where it is yet to be made, unless it is there.
func (p *pusher) put(ctx context.Context, c commit.Proposal, head, tip string) (string, error) {
	// Not the commit that a protected branch has refused: its message keeps workflows from starting.
	message := c.Message.Proposed()
	if tip == "" {
		sha, err := p.commit(ctx, c, message, c.Parent)
		if err != nil {
			return "", err
		}
		_, _, err = p.Git.CreateRef(ctx, p.owner, p.repo, reference(head, sha))
		return sha, p.explain(ctx, contents, err)
	}
	foreign, err := c.Foreign(ctx, tip)
	if err != nil {
		return "", err
	}
	if foreign != "" {
		return "", fmt.Errorf("%w: %.12s in %s; merge or close the pull request and delete the branch", ErrForeign, foreign, head)
	}
	if err := c.Current(ctx, tip); err != nil {
		return "", err
	}
	tree, err := c.Repo.Run(ctx, "rev-parse", "--verify", tip+"^{tree}")
	if err != nil {
		return "", err
	}
	parents := []string{c.Parent}
	merged, err := c.Repo.IsAncestor(ctx, tip, c.Parent)
	switch {
	case err != nil:
		return "", err
	case !merged && tree == c.Tree:
		slog.InfoContext(ctx, "the pull request's branch holds all of it already", "branch", head, "commit", tip)
		p.out.Kept = true
		return tip, p.look(ctx, tip)
	case !merged:
		parents = append(parents, tip)
	}
	sha, err := p.commit(ctx, c, message, parents...)
	if err != nil {
		return "", err
	}
	_, _, err = p.Git.UpdateRef(ctx, p.owner, p.repo, reference(head, sha), false)
	return sha, p.explain(ctx, contents, err)
}

// look finds out whether GitHub signed a commit that was made before.
func (p *pusher) look(ctx context.Context, sha string) error {
	made, _, err := p.Git.GetCommit(ctx, p.owner, p.repo, sha)
	p.out.Verified = made.GetVerification().GetVerified()
	return p.explain(ctx, "", err)
}

// open opens the pull request, or brings the open one up to date.
func (p *pusher) open(ctx context.Context, c commit.Proposal, head, sha string, open []*github.PullRequest) (*github.PullRequest, error) {
	title := p.pull.Title
	if title == "" {
		// A squashed pull request gets its title as the commit's message.
		title = c.Message.Title + commit.SkipCI
	}
	text := p.pull.Body
	if text == nil {
		text = table
	}
	pushed := commit.Pushed{Commit: c.Commit, Remote: c.Target.Remote, Branch: c.Target.Branch}
	pushed.SHA = sha
	if len(open) > 0 {
		pushed.PullRequest = &commit.PullRequest{Number: open[0].GetNumber(), URL: open[0].GetHTMLURL()}
	}
	body, err := text(pushed)
	if err != nil {
		return nil, fmt.Errorf("the text of the pull request: %w", err)
	}
	body = shortened(body, commentLimit)
	var pr *github.PullRequest
	if len(open) > 0 {
		pr, _, err = p.PullRequests.Edit(ctx, p.owner, p.repo, open[0].GetNumber(), &github.PullRequest{Title: &title, Body: &body})
	} else {
		pr, _, err = p.PullRequests.Create(ctx, p.owner, p.repo, &github.NewPullRequest{
			Title: &title, Body: &body, Head: &head, Base: &c.Target.Branch, MaintainerCanModify: github.Bool(true),
		})
	}
	if err = p.explain(ctx, pullRequests, err); err != nil && !errors.Is(err, git.ErrRaced) {
		err = fmt.Errorf("the commit is on the branch %s, but %w", head, err)
	}
	return pr, err
}

// shortened leaves the last lines of a text out that is longer than GitHub takes, in characters.
func shortened(text string, limit int) string {
	const rest = "\n\nThe rest is too long for a pull request.\n"
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	head := string([]rune(text)[:limit-len(rest)])
	if end := strings.LastIndexByte(head, '\n'); end > 0 {
		head = head[:end]
	}
	return head + rest
}

// table is the text of a pull request that nobody gave a report for.
func table(c commit.Pushed) (string, error) {
	var b strings.Builder
	b.WriteString("| File | Value | Before | After |\n| --- | --- | --- | --- |\n")
	for _, e := range c.Edits {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", e.File, e.Path, quoted(e.Before), quoted(e.After))
	}
	return b.String(), nil
}

func quoted(s string) string {
	if s == "" {
		return "(empty)"
	}
	return "`" + strings.NewReplacer("`", "'", "|", `\|`, "\n", " ").Replace(s) + "`"
}

// merge has GitHub merge the pull request once it may, or now where nothing is left to wait for; then the commit is
// another one. A squashed commit gets the message that a push would have: without its trailers nobody knows it for a
// release.
func (p *pusher) merge(ctx context.Context, m commit.Message, pr *github.PullRequest, sha string) (made string, merged bool, err error) {
	variables := map[string]any{"id": pr.GetNodeID(), "method": strings.ToUpper(p.pull.Merge), "head": sha}
	options := &github.PullRequestOptions{SHA: sha, MergeMethod: p.pull.Merge}
	trailers := ""
	if p.pull.Merge == "squash" {
		options.CommitTitle, trailers = m.Title+commit.SkipCI, m.Trailers
		variables["title"], variables["body"] = options.CommitTitle, trailers
	}
	err = p.graphQL(ctx, `mutation($id: ID!, $method: PullRequestMergeMethod!, $head: GitObjectID!, $title: String, $body: String) {
  enablePullRequestAutoMerge(input: {pullRequestId: $id, mergeMethod: $method, expectedHeadOid: $head, commitHeadline: $title, commitBody: $body}) { clientMutationId }
}`, variables)
	var answer *github.ErrorResponse
	switch {
	case err == nil:
		return sha, false, nil
	case errors.As(err, &answer):
		return sha, false, p.explain(ctx, pullRequests, err)
	case strings.Contains(err.Error(), "clean status"):
		done, _, err := p.PullRequests.Merge(ctx, p.owner, p.repo, pr.GetNumber(), trailers, options)
		switch {
		case err == nil:
			return done.GetSHA(), true, nil
		case errors.As(err, &answer) && answer.Response.StatusCode == http.StatusMethodNotAllowed:
			return sha, false, fmt.Errorf("GitHub does not merge it: %s", message(answer))
		}
		return sha, false, p.explain(ctx, contents, err)
	case strings.Contains(err.Error(), "not accessible"):
		err = fmt.Errorf("%w: grant it %q to merge (GitHub: %w)", ErrPermission, pullRequests, err)
	case strings.Contains(err.Error(), "not allowed"):
		err = fmt.Errorf("GitHub does not merge it by itself; allow auto-merge in the repository's settings, or leave it out (GitHub: %w)", err)
	default:
		err = fmt.Errorf("GitHub does not merge it by itself: %w", p.unanswered(err))
	}
	return sha, false, err
}
