package commit

import (
	"context"
	"errors"
	"fmt"

	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

// FormerRefs is where Seed keeps the tips that it moved a branch away from.
const FormerRefs = "refs/releases/"

// SeedAction says what Seed did.
type SeedAction string

// The actions of Seed.
const (
	// Created: the remote had no such branch; it is at HEAD now.
	Created SeedAction = "created"
	// Kept: HEAD is in the branch's history; nothing was done.
	Kept SeedAction = "kept"
	// Advanced: HEAD is ahead of the branch, which now is at HEAD.
	Advanced SeedAction = "advanced"
	// Reset: HEAD and the branch have gone apart; the branch is at HEAD and its former tip under FormerRefs.
	Reset SeedAction = "reset"
)

// Seeded is the outcome of Seed.
type Seeded struct {
	Action SeedAction `json:"action"`
	Remote string     `json:"remote"`
	Branch string     `json:"branch"`
	// Head is HEAD of the checkout.
	Head string `json:"head"`
	// Tip is the branch's tip now.
	Tip string `json:"tip"`
	// Former is the branch's tip before, empty where there was none.
	Former string `json:"former,omitempty"`
}

// ErrShallow says that a checkout without its whole history cannot seed a repository.
var ErrShallow = errors.New("the checkout is shallow; fetch the whole history first (git fetch --unshallow, or fetch-depth: 0 for actions/checkout)")

// Seed makes a branch of a remote hold HEAD of the checkout in dir. It is meant for the embedded remote, which
// follows the checkout: nothing is lost, but a branch may be moved.
func Seed(ctx context.Context, dir string, t Target) (result Seeded, err error) {
	from := git.Open(dir)
	head, err := resolve(ctx, from, "HEAD")
	if err != nil {
		return Seeded{}, fmt.Errorf("%w; commit first, a release is of HEAD", err)
	}
	shallow, err := from.Run(ctx, "rev-parse", "--is-shallow-repository")
	if err != nil {
		return Seeded{}, err
	}
	if shallow == "true" {
		return Seeded{}, ErrShallow
	}
	r, done, err := scratch(ctx, from, t.Remote, t.Branch, t.Credential)
	if err != nil {
		return Seeded{}, err
	}
	defer func() { err = errors.Join(err, done()) }()

	for n := 1; ; n++ {
		result, err := seed(ctx, r, head, t)
		if err == nil || n == DefaultAttempts || !errors.Is(err, git.ErrRaced) {
			return result, err
		}
		if err := sleep(ctx, n); err != nil {
			return Seeded{}, err
		}
	}
}

func seed(ctx context.Context, r *git.Repo, head string, t Target) (Seeded, error) {
	s := Seeded{Remote: t.Remote, Branch: t.Branch, Head: head, Tip: head}
	refs := []string{head + ":refs/heads/" + t.Branch}
	tip, err := r.Fetch(ctx, t.Remote, t.Branch)
	switch {
	case errors.Is(err, git.ErrNoBranch):
		s.Action = Created
	case err != nil:
		return Seeded{}, err
	default:
		s.Former = tip
		if kept, err := r.IsAncestor(ctx, head, tip); err != nil {
			return Seeded{}, err
		} else if kept {
			s.Action, s.Tip = Kept, tip
			return s, nil
		}
		ahead, err := r.IsAncestor(ctx, tip, head)
		if err != nil {
			return Seeded{}, err
		}
		if s.Action = Advanced; !ahead {
			s.Action = Reset
			refs = append(refs, "+"+tip+":"+FormerRefs+tip)
		}
	}
	if err := r.Push(ctx, t.Remote, t.Branch, &s.Former, refs...); err != nil {
		return Seeded{}, err
	}
	return s, nil
}
