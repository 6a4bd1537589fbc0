package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"

	"github.com/google/go-github/v62/github"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

// Target is a branch of a repository on GitHub.
type Target struct {
	// Remote is the repository's address, https://github.com/OWNER/REPOSITORY.git, that of a GitHub Enterprise server
	// likewise.
	Remote string
	Branch string
	// API is the address of the API where it does not follow from Remote.
	API string
	// Token signs in unless App does.
	Token string
	App   App
	// Attempts bounds how often a commit is tried while others push as well; 0 means commit.DefaultAttempts.
	Attempts int
	// Candidate, where given, is the commit that was verified: what is pushed has its tree and its parent.
	Candidate string
	// Mode is Push unless given.
	Mode Mode
	// Pull is what a pull request looks like, in either mode.
	Pull Pull
}

// Mode says how a commit gets to its branch.
type Mode string

// The modes.
const (
	// ModePush puts the commit on the branch, or makes a pull request where the branch is protected.
	ModePush Mode = "push"
	// ModePullRequest puts the commit on a branch of its own and asks to pull it.
	ModePullRequest Mode = "pull-request"
)

// Pushed is the outcome of Push and Commit.
type Pushed struct {
	commit.Pushed
	Carried
}

// Carried is what GitHub has made of a commit.
type Carried struct {
	// Candidate is the commit that was made here and has the same tree, empty with Nothing.
	Candidate string `json:"candidate,omitempty"`
	Mode      Mode   `json:"mode"`
	// Fallback says why there is a pull request though none was asked for.
	Fallback string `json:"fallback,omitempty"`
	// Kept says that the pull request's branch held all of it already: no commit was made.
	Kept bool `json:"kept,omitempty"`
	// Requests is the number of requests to the API; git's own to read the branch are not among them.
	Requests int64 `json:"requests"`
	// Verified says that GitHub signed the commit.
	Verified bool `json:"verified"`
}

// Push brings a release to the target as commit.Push does, with a commit that GitHub makes. The repository of dir is
// only read.
func Push(ctx context.Context, dir string, rel commit.Release, t Target) (Pushed, error) {
	t.Mode = cmp.Or(t.Mode, ModePush)
	if err := t.check(); err != nil {
		return Pushed{}, err
	}
	t.Pull.Head = cmp.Or(t.Pull.Head, "gitops/"+path.Base(rel.Chart)+"/"+t.Branch)
	return t.push(ctx, func(to commit.Target) (commit.Pushed, error) { return commit.Push(ctx, dir, rel, to) })
}

// push signs in, and carries to the target what is made for it.
func (t Target) push(ctx context.Context, made func(commit.Target) (commit.Pushed, error)) (Pushed, error) {
	c, err := connect(ctx, t)
	if err != nil {
		return Pushed{}, err
	}
	p := &pusher{client: c, pull: t.Pull, out: Pushed{Carried: Carried{Mode: t.Mode}}}
	pushed, err := made(commit.Target{
		Remote: t.Remote, Branch: t.Branch, Attempts: t.Attempts, Candidate: t.Candidate, Carrier: p,
		Credential: git.Credential{Username: username, Token: c.token},
	})
	if err != nil {
		return Pushed{}, c.asked(ctx, err)
	}
	pushed.PullRequest = p.out.PullRequest
	p.out.Pushed, p.out.Requests = pushed, c.limits.requests.Load()
	if pushed.Nothing {
		p.out.Candidate = ""
	} else if !p.out.Verified {
		slog.WarnContext(ctx, "GitHub has not signed the commit; it signs those of Apps and of a workflow's own token, not those of people", "commit", pushed.SHA)
	}
	return p.out, nil
}

// username goes with a token; GitHub takes any.
const username = "x-access-token"

func (t Target) check() error {
	if t.Mode != ModePush && t.Mode != ModePullRequest {
		return fmt.Errorf("the mode %q is none of %s and %s", t.Mode, ModePush, ModePullRequest)
	}
	return t.Pull.check()
}

// asked has GitHub say why git could not read the repository: its API tells an expired token from a missing
// repository.
func (c *client) asked(ctx context.Context, err error) error {
	if !errors.Is(err, git.ErrUnauthorized) && !errors.Is(err, git.ErrNotFound) {
		return err
	}
	_, _, why := c.Repositories.Get(ctx, c.owner, c.repo)
	if why = c.explain(ctx, "", why); why != nil {
		return why
	}
	return err
}

// pusher carries commits to GitHub.
type pusher struct {
	*client
	pull Pull
	out  Pushed
}

// Carry implements commit.Carrier.
func (p *pusher) Carry(ctx context.Context, c commit.Proposal) (string, error) {
	p.out.Candidate, p.out.Kept = c.SHA, false
	if err := p.tree(ctx, c); err != nil {
		return "", err
	}
	if p.out.Mode == ModePullRequest {
		return p.propose(ctx, c)
	}
	sha, err := p.commit(ctx, c, c.Message.String(), c.Parent)
	if err != nil {
		return "", err
	}
	_, _, err = p.Git.UpdateRef(ctx, p.owner, p.repo, reference(c.Target.Branch, sha), false)
	if err = p.explain(ctx, contents, err); !errors.Is(err, ErrProtected) {
		return sha, err
	}
	slog.WarnContext(ctx, "making a pull request instead", "reason", err)
	p.out.Mode, p.out.Fallback = ModePullRequest, err.Error()
	sha, refused := p.propose(ctx, c)
	if errors.Is(refused, ErrPermission) {
		refused = fmt.Errorf("%w, and a pull request could not be opened instead: %w", err, refused)
	}
	return sha, refused
}

// tree has GitHub make the commit's tree.
func (p *pusher) tree(ctx context.Context, c commit.Proposal) error {
	base, err := c.Repo.Run(ctx, "rev-parse", "--verify", c.Parent+"^{tree}")
	if err != nil {
		return err
	}
	var entries []*github.TreeEntry
	for _, f := range c.Files {
		// The blob is made along with the tree, in one request; a bump refuses what is not UTF-8.
		entries = append(entries, &github.TreeEntry{Path: &f.Path, Mode: &f.Mode, Type: github.String("blob"), Content: github.String(string(f.Text))})
	}
	tree, _, err := p.Git.CreateTree(ctx, p.owner, p.repo, base, entries)
	if err != nil {
		return p.explain(ctx, contents, err)
	}
	if tree.GetSHA() != c.Tree {
		return fmt.Errorf("%w, %.12s, than the %.12s of the commit %.12s made here; nothing was pushed", ErrTree, tree.GetSHA(), c.Tree, c.SHA)
	}
	return nil
}

// commit has GitHub make a commit of the proposal's tree. Without an author of ours: GitHub signs a commit only where
// author and committer are those that it knows from the credential.
func (p *pusher) commit(ctx context.Context, c commit.Proposal, message string, parents ...string) (string, error) {
	wanted := &github.Commit{Message: &message, Tree: &github.Tree{SHA: &c.Tree}}
	for _, sha := range parents {
		wanted.Parents = append(wanted.Parents, &github.Commit{SHA: &sha})
	}
	made, _, err := p.Git.CreateCommit(ctx, p.owner, p.repo, wanted, nil)
	if err != nil {
		return "", p.explain(ctx, contents, err)
	}
	if got := made.GetTree().GetSHA(); got != c.Tree {
		return "", fmt.Errorf("%w, %.12s, than the %.12s of the commit %.12s made here; nothing was pushed", ErrTree, got, c.Tree, c.SHA)
	}
	p.out.Verified = made.GetVerification().GetVerified()
	return made.GetSHA(), nil
}

func reference(branch, sha string) *github.Reference {
	return &github.Reference{Ref: github.String("refs/heads/" + branch), Object: &github.GitObject{SHA: &sha}}
}
