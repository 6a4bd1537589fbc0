package proof

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/backstage-gitops/backstage-gitops/ci/bump"
	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

// variant puts the release's image under another tag and, by a label more, another digest into the session's registry.
func (s *Session) variant(tag string) (digest string, err error) {
	_, path, _ := strings.Cut(s.Image, "/")
	repository, err := name.NewRepository(s.Registry+"/"+path, name.Insecure)
	if err != nil {
		return "", err
	}
	image, err := remote.Image(repository.Digest(s.Digest))
	if err != nil {
		return "", fmt.Errorf("read the image from the session's registry: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return "", err
	}
	labels := map[string]string{"proof": tag}
	for k, v := range config.Config.Labels {
		labels[k] = v
	}
	changed := config.Config
	changed.Labels = labels
	if image, err = mutate.Config(image, changed); err != nil {
		return "", err
	}
	if err := remote.Write(repository.Tag(tag), image); err != nil {
		return "", fmt.Errorf("write an image to the session's registry: %w", err)
	}
	var hash v1.Hash
	if hash, err = image.Digest(); err != nil {
		return "", err
	}
	return hash.String(), nil
}

// concurrentPush releases another image to a remote of its own, where somebody pushes between the bump, which is proven,
// and the commit: the proven commit is refused there, made anew on top of what was pushed, proven again, and lands.
func (s *Session) concurrentPush(ctx context.Context) (shown string, err error) {
	digest, err := s.variant("push")
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "proof-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	remote := filepath.Join(dir, "remote.git")
	if _, err := s.repository.repo.Run(ctx, "clone", "--quiet", "--bare", s.Git, remote); err != nil {
		return "", err
	}
	release := commit.Release{Chart: s.Chart, Image: s.Image, Pin: bump.Pin{Tag: "push", Digest: digest}}
	target := commit.Target{Remote: "file://" + remote, Branch: s.Branch}

	first, err := s.propose(ctx, release, target, digest)
	if err != nil {
		return "", err
	}
	somebody := git.Open(filepath.Join(dir, "somebody"))
	pushed, err := pushOwn(ctx, somebody, target)
	if err != nil {
		return "", err
	}
	target.Candidate = first
	if _, err := commit.Push(ctx, s.repository.dir, release, target); !errors.Is(err, commit.ErrNotVerified) {
		return "", fmt.Errorf("a commit that was not proven on top of the push was not refused: %w", err)
	}

	// What is proven is on top of the remote's tip: the session's branch follows.
	if _, err := somebody.Run(ctx, "push", "--quiet", "--force", s.Git, pushed+":refs/heads/"+s.Branch); err != nil {
		return "", err
	}
	second, err := s.propose(ctx, release, target, digest)
	if err != nil {
		return "", err
	}
	target.Candidate = second
	landed, err := commit.Push(ctx, s.repository.dir, release, target)
	if err != nil {
		return "", err
	}
	if landed.SHA != second || landed.Parent != pushed {
		return "", fmt.Errorf("%s on top of %s landed, not %s on top of %s", landed.SHA, landed.Parent, second, pushed)
	}
	if err := s.repository.follow(ctx); err != nil {
		return "", err
	}
	if err := s.takeBack(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%.12s was proven and refused, as %.12s had been pushed meanwhile; %.12s on top of that was proven and landed", first, pushed, second), nil
}

// propose makes the commit of a release for a target, has Argo CD run it, and gives it.
func (s *Session) propose(ctx context.Context, release commit.Release, target commit.Target, digest string) (string, error) {
	proposed, err := commit.Propose(ctx, s.repository.dir, release, target, s.Git)
	if err != nil {
		return "", err
	}
	_, err = s.waitFor(ctx, proposed.SHA, digest, s.Timeout)
	return proposed.SHA, err
}

// pushOwn clones a target, pushes a commit that has nothing to do with a release, and gives it.
func pushOwn(ctx context.Context, repo *git.Repo, target commit.Target) (string, error) {
	if err := os.Mkdir(repo.Dir(), 0o755); err != nil {
		return "", err
	}
	for _, args := range [][]string{
		{"clone", "--quiet", "--branch", target.Branch, target.Remote, "."},
		{"-c", "user.name=Somebody", "-c", "user.email=somebody@backstage-gitops.invalid", "commit", "--quiet", "--allow-empty", "--message", "docs: something else"},
		{"push", "--quiet", "origin", "HEAD:" + target.Branch},
	} {
		if _, err := repo.Run(ctx, args...); err != nil {
			return "", fmt.Errorf("push as somebody else: %w", err)
		}
	}
	return repo.Run(ctx, "rev-parse", "HEAD")
}
