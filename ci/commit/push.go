package commit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

var (
	// ErrDiverged says that the released commit is not in the history of the remote branch.
	ErrDiverged = errors.New("the released commit is not on the remote branch")
	// ErrSuperseded says that the remote branch holds what was made of a newer commit already.
	ErrSuperseded = errors.New("a newer one is there already")
	// ErrNotVerified says that the commit to push is another one than was verified.
	ErrNotVerified = errors.New("the remote branch has moved since the candidate was verified")
	// ErrBusy says that the branch moved during every attempt.
	ErrBusy = errors.New("the remote branch moves faster than a push can follow")
)

// Target is a branch of a remote.
type Target struct {
	Remote     string
	Branch     string
	Credential git.Credential
	// Attempts bounds how often a push is tried while others push as well; 0 means DefaultAttempts.
	Attempts int
	// Candidate, where given, is the only commit that may be pushed: the one that was verified.
	Candidate string
	// Carrier, where given, brings the commit to the remote; otherwise git push does.
	Carrier Carrier
}

// Carrier brings commits to a remote in another way than git push.
type Carrier interface {
	// Carry brings a commit to the remote and returns what it is called there: a commit with the same tree. The
	// error is git.ErrRaced where the branch is not at the commit's parent any more, and git.ErrUnreachable where the
	// remote's answer got lost; a name that is returned all the same is looked for in the branch before the next try.
	Carry(ctx context.Context, p Proposal) (sha string, err error)
}

// Proposal is a commit on top of a branch's tip, here but not there.
type Proposal struct {
	Commit
	Message Message
	Target  Target
	// Repo holds the commit, and fetches from the remote.
	Repo *git.Repo
}

// Pushed is the outcome of Push.
type Pushed struct {
	Commit
	Remote   string `json:"remote"`
	Branch   string `json:"branch"`
	Attempts int    `json:"attempts"`
	// PullRequest is where the commit waits for the branch, nil where it was pushed there.
	PullRequest *PullRequest `json:"pullRequest,omitempty"`
}

// PullRequest is a pull request of GitHub.
type PullRequest struct {
	Number int    `json:"number"`
	URL    string `json:"url"`
	// Merged says that the branch has the commit already.
	Merged bool `json:"merged,omitempty"`
}

// What a push takes unless told otherwise: enough for 50 releases at one time, see TestRace of ci/github.
const (
	DefaultAttempts = 100
	DefaultTimeout  = 10 * time.Minute
)

// lostAnswers bounds how often a remote may fail to answer within one push.
const lostAnswers = 2

// Push brings a release to the target: on top of its tip, and again on top of the new tip where somebody else was
// faster. The repository of dir is only read.
func Push(ctx context.Context, dir string, rel Release, t Target) (result Pushed, err error) {
	if err := rel.Pin.Check(); err != nil {
		return Pushed{}, err
	}
	from := git.Open(dir)
	rel, err = rel.checked(ctx, from)
	if err != nil {
		return Pushed{}, err
	}
	r, done, err := scratch(ctx, from, t.Remote, t.Branch, t.Credential)
	if err != nil {
		return Pushed{}, err
	}
	defer func() { err = errors.Join(err, done()) }()

	p := releasing(r, rel, t)
	return p.push(ctx)
}

// push tries until the commit is on the branch, or cannot get there.
func (p *pusher) push(ctx context.Context) (Pushed, error) {
	attempts := p.target.Attempts
	if attempts <= 0 {
		attempts = DefaultAttempts
	}
	var last error
	for n := 1; n <= attempts; n++ {
		result, err := p.try(ctx)
		result.Remote, result.Branch, result.Attempts = p.target.Remote, p.target.Branch, n
		switch {
		case err == nil:
			return result, nil
		case errors.Is(err, git.ErrUnreachable) && p.unanswered < lostAnswers:
			p.unanswered++
		case !errors.Is(err, git.ErrRaced):
			return Pushed{}, err
		}
		last = err
		if n < attempts {
			slog.InfoContext(ctx, "trying the push again", "attempt", n, "reason", err)
			if err := sleep(ctx, n); err != nil {
				return Pushed{}, err
			}
		}
	}
	return Pushed{}, fmt.Errorf("%w: %d attempts; start again, nothing was lost: %w", ErrBusy, attempts, last)
}

// Propose makes the commit that Push would push to the target now, and pushes it to the same branch of another
// repository instead, to be verified there. Where there is nothing to release that is the target's tip.
func Propose(ctx context.Context, dir string, rel Release, t Target, to string) (result Pushed, err error) {
	if err := rel.Pin.Check(); err != nil {
		return Pushed{}, err
	}
	if err := git.CheckRemote(to); err != nil {
		return Pushed{}, err
	}
	from := git.Open(dir)
	if rel, err = rel.checked(ctx, from); err != nil {
		return Pushed{}, err
	}
	r, done, err := scratch(ctx, from, t.Remote, t.Branch, t.Credential)
	if err != nil {
		return Pushed{}, err
	}
	defer func() { err = errors.Join(err, done()) }()
	p := releasing(r, rel, t)
	c, err := p.create(ctx)
	if err != nil {
		return Pushed{}, err
	}
	if err := r.Push(ctx, to, t.Branch, nil, c.SHA+":refs/heads/"+t.Branch); err != nil {
		return Pushed{}, err
	}
	return Pushed{Commit: c, Remote: to, Branch: t.Branch, Attempts: 1}, nil
}

type pusher struct {
	*git.Repo
	// make makes the commit on top of a tip, or refuses to.
	make    func(ctx context.Context, tip string) (Commit, error)
	message Message
	target  Target
	// sent are the commits that a push did not confirm. An answer that is lost may have been a yes; git may even
	// have sent the push twice, and been told that the second came too late.
	sent       []Commit
	unanswered int
}

// releasing pushes a release.
func releasing(r *git.Repo, rel Release, t Target) *pusher {
	p := &pusher{Repo: r, message: rel.message(), target: t}
	p.make = func(ctx context.Context, tip string) (Commit, error) { return p.on(ctx, rel, tip) }
	return p
}

func (p *pusher) try(ctx context.Context) (Pushed, error) {
	tip, err := p.Fetch(ctx, p.target.Remote, p.target.Branch)
	if err != nil {
		return Pushed{}, err
	}
	for _, c := range p.sent {
		if !known(ctx, p.Repo, c.SHA) {
			continue // made by a carrier, and not in the branch, or it would have been fetched
		}
		if there, err := p.Repo.IsAncestor(ctx, c.SHA, tip); err != nil || there {
			return Pushed{Commit: c}, err
		}
	}
	c, err := p.make(ctx, tip)
	if err != nil || c.Nothing {
		return Pushed{Commit: c}, err
	}
	if p.target.Candidate != "" && p.target.Candidate != c.SHA {
		return Pushed{}, fmt.Errorf("%w: %.12s was verified, %.12s would be pushed; start again", ErrNotVerified, p.target.Candidate, c.SHA)
	}
	if p.target.Carrier == nil {
		err = p.Push(ctx, p.target.Remote, p.target.Branch, nil, c.SHA+":refs/heads/"+p.target.Branch)
	} else {
		c.SHA, err = p.target.Carrier.Carry(ctx, p.proposal(c))
	}
	if err != nil && c.SHA != "" {
		p.sent = append(p.sent, c)
	}
	return Pushed{Commit: c}, err
}

func (p *pusher) proposal(c Commit) Proposal {
	return Proposal{Commit: c, Message: p.message, Target: p.target, Repo: p.Repo}
}

// create fetches the target's tip and makes the commit on top of it.
func (p *pusher) create(ctx context.Context) (Commit, error) {
	tip, err := p.Fetch(ctx, p.target.Remote, p.target.Branch)
	if err != nil {
		return Commit{}, err
	}
	return p.make(ctx, tip)
}

// on makes the release's commit on top of a tip, and refuses one that must not go there.
func (p *pusher) on(ctx context.Context, rel Release, tip string) (Commit, error) {
	if err := contained(ctx, p.Repo, rel.Source, tip, p.target); err != nil {
		return Commit{}, err
	}
	c, err := create(ctx, p.Repo, tip, rel)
	if err != nil || c.Nothing {
		return c, err
	}
	return c, p.proposal(c).Current(ctx, tip)
}

// contained refuses what is made of a commit that the branch does not hold.
func contained(ctx context.Context, r *git.Repo, source, tip string, t Target) error {
	there, err := r.IsAncestor(ctx, source, tip)
	if err == nil && !there {
		err = fmt.Errorf("%w: %.12s is not in %s of %s; push it there first, or rebase onto it", ErrDiverged, source, t.Branch, t.Remote)
	}
	return err
}

// Current refuses to roll a branch back: what was made of a later commit than the proposal, and finished first, stays.
func (p Proposal) Current(ctx context.Context, tip string) error {
	made, err := p.made(ctx, p.Source+".."+tip)
	if err != nil {
		return err
	}
	var seen []string
	for _, m := range made {
		seen = append(seen, m.sources...)
	}
	slices.Sort(seen)
	for _, source := range slices.Compact(seen) {
		if source == p.Source || !known(ctx, p.Repo, source) {
			continue // a trailer may name a commit that is not here; only what is here can be compared
		}
		newer, err := p.Repo.IsAncestor(ctx, p.Source, source)
		if err != nil {
			return err
		}
		if newer {
			return fmt.Errorf("%w: %s of %s holds what was made of %.12s, a later commit than %.12s; to go back, revert there and start again",
				ErrSuperseded, p.Target.Branch, p.Target.Remote, source, p.Source)
		}
	}
	return nil
}

// Foreign finds a commit in a branch that is not of the proposal's kind, among those that the proposal's parent does
// not have; empty where there is none. Merges do not count.
func (p Proposal) Foreign(ctx context.Context, tip string) (string, error) {
	made, err := p.made(ctx, "--no-merges", p.Parent+".."+tip)
	if err != nil {
		return "", err
	}
	for _, m := range made {
		if len(m.sources) == 0 {
			return m.sha, nil
		}
	}
	return "", nil
}

// made is a commit of a branch, and what it says that it is made of.
type made struct {
	sha     string
	sources []string
}

// made lists commits of a branch.
func (p Proposal) made(ctx context.Context, revisions ...string) ([]made, error) {
	out, err := p.Repo.Run(ctx, append([]string{"log", "--format=%H %(trailers:key=" + p.Message.Key + ",valueonly,separator=%x20)"}, revisions...)...)
	if err != nil {
		return nil, err
	}
	var all []made
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		m := made{sha: fields[0]}
		for _, value := range fields[1:] {
			if sha, ok := strings.CutPrefix(value, p.Message.Of); ok && sha != "" && strings.Trim(sha, "0123456789abcdef") == "" {
				m.sources = append(m.sources, sha)
			}
		}
		all = append(all, m)
	}
	return all, nil
}

// known says whether a commit is in a repository.
func known(ctx context.Context, r *git.Repo, sha string) bool {
	_, err := r.Run(ctx, "cat-file", "-e", sha+"^{commit}")
	return err == nil
}

// scratch checks a target and makes a repository to work for it in, with its credential.
func scratch(ctx context.Context, from *git.Repo, remote, branch string, c git.Credential) (*git.Repo, func() error, error) {
	if err := git.CheckRemote(remote); err != nil {
		return nil, nil, err
	}
	if _, err := from.Run(ctx, "check-ref-format", "refs/heads/"+branch); err != nil {
		return nil, nil, fmt.Errorf("%q is not a branch name", branch)
	}
	with, err := from.With(remote, c)
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "gitops-push-")
	if err != nil {
		return nil, nil, err
	}
	remove := func() error { return os.RemoveAll(dir) }
	r, err := with.Scratch(ctx, dir)
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	return r, remove, nil
}

// sleep waits a time that grows with the attempts and is partly random, so that those who collided do not meet again.
func sleep(ctx context.Context, attempt int) error {
	most := min(100*time.Millisecond<<min(attempt, 10), 10*time.Second)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(most/2 + rand.N(most/2)):
		return nil
	}
}
