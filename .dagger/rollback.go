package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"dagger/backstage-gitops/internal/dagger"
)

// Take the last release back: on top of the remote's branch, a commit with which
// the chart names the image that it named before. It is proven in an ephemeral
// cluster as a release is, and only then pushed. Prints what it did as Markdown.
//
// Commits that came after the release stay, and the chart's version goes on.
// Twice is one release further back. The image that it goes back to has to be signed,
// as `verify-release` wants it; where nothing says by whom, the report says that it
// was not verified. In the registry it gets the tags back that move, such as latest
// and main. Where that was interrupted, the next call does it and nothing else.
//
// +cache="never"
func (m *BackstageGitops) Rollback(ctx context.Context,
	// Name that the image was published under, such as
	// docker.io/USER/backstage-gitops; default: the embedded registry.
	//
	// +optional
	image string,

	// URL of the Git remote to push the commit to, such as
	// https://github.com/OWNER/REPO.git; default: the embedded one.
	//
	// +optional
	remote string,

	// Branch of the Git remote.
	//
	// +default="main"
	branch string,

	// Prove the commit in an ephemeral cluster before it is pushed.
	//
	// +default=true
	verify bool,

	// Give the image the tags of the registry back that move, where they are those of
	// what is taken back. Any other tag stays.
	//
	// +default=true
	moveTags bool,

	// Public key of whoever has to have signed the image; default: the embedded key's
	// for the embedded registry, or that of --signing-key.
	//
	// +optional
	key *dagger.File,

	// Workflow that has to have signed the image without a key, such as
	// https://github.com/OWNER/REPO/.github/workflows/release.yml: for --branch or for
	// the tag of the image's version, or, with @refs/heads/BRANCH, for that alone.
	//
	// +optional
	identity string,

	// Trusted root of the Sigstore that certified the workflow, as for verify-release.
	//
	// +optional
	trustedRoot *dagger.File,

	// Go back to an image whose signature is not verified.
	//
	// +optional
	allowUnverified bool,

	// User of the registry.
	//
	// +optional
	username string,

	// Password or access token of the registry, such as env://DOCKERHUB_TOKEN.
	//
	// +optional
	password *dagger.Secret,

	// Token that may push to the Git remote, such as env://GITHUB_TOKEN; not needed with
	// a GitHub App.
	//
	// +optional
	token *dagger.Secret,
) (string, error) {
	r := m.releaser(target{image: image, remote: cmp.Or(remote, gitRemote), branch: branch, username: username, password: password, token: token})
	b := &rollback{verifier: r.verifier(kubernetesVersion, 0)}
	b.off, b.moveTags = !verify, moveTags
	b.signature = signature{image: image, branch: branch, username: username, password: password, key: key, identity: identity, trustedRoot: trustedRoot, unverified: allowUnverified}
	defer b.end(ctx)
	if err := r.steps(ctx,
		step{"Read the source", r.read},
		step{"Start the services", r.connect},
		step{"Check the registry", b.writable},
		step{"Finish the last rollback", b.finish},
	); err != nil {
		return "", err
	}
	if b.finished {
		return b.summary(ctx)
	}
	if err := r.steps(ctx,
		step{"Find the release", b.find},
		step{"Start the cluster", b.start},
		step{"Verify the image", b.trust},
		step{"Prove the commit", b.verify},
		step{"Commit and push", b.push},
		step{"Tag the image", b.tag},
	); err != nil {
		return "", b.withEvidence(ctx, err)
	}
	return b.summary(ctx)
}

// withEvidence adds to why a rollback ended early what was shown until then.
func (b *rollback) withEvidence(ctx context.Context, err error) error {
	if b.proof == nil {
		return err
	}
	shown, unread := b.proof.File("proof.md").Contents(ctx)
	if unread != nil {
		return err
	}
	return fmt.Errorf("%w\n\n%s", err, shown)
}

// rollback carries a rollback from step to step.
type rollback struct {
	*verifier
	made      revert
	signature signature
	// verified is what the report says of the image's signature.
	verified string
	// moveTags has the registry's tags go back too; retagged is what became of them.
	moveTags bool
	retagged *retagged
	// finished says that the commit is that of an earlier rollback, which ended before
	// its tags were given back.
	finished bool
}

// revert is what `gitops revert` says.
type revert struct {
	Commit   string
	Reverted struct{ Commit, Tag, Digest string }
	Restored struct{ Tag, Digest, ChartVersion string }
	Remote   string
	Branch   string
}

// retagged is what `gitops image retag` says.
type retagged struct {
	Tags []struct{ Tag string }
	Left []string
}

// writable finds out whether the registry would take tags, before anything is pushed.
func (b *rollback) writable(ctx context.Context) error {
	if !b.moveTags {
		return nil
	}
	var said json.RawMessage
	if err := run(ctx, b.box, &said, append([]string{"image", "preflight", b.reachable(b.name())}, b.access()...)...); err != nil {
		return fmt.Errorf("%w: nothing was committed; --move-tags=false leaves the registry's tags as they are", err)
	}
	return nil
}

// finish gives the tags back that an earlier rollback has left. What it took back is
// not taken back further then.
func (b *rollback) finish(ctx context.Context) error {
	if !b.moveTags {
		return nil
	}
	if err := b.remote(ctx, b.box, "reverted"); err != nil || b.made.Commit == "" {
		return err
	}
	if err := b.retag(ctx); err != nil {
		return fmt.Errorf("%w: the last rollback has left the registry's tags, and nothing else was taken back; --move-tags=false goes on without them", err)
	}
	b.finished = len(b.retagged.Tags) > 0
	return nil
}

// retag gives the image that serves now the tags that move and are still those of what
// was taken back.
func (b *rollback) retag(ctx context.Context) error {
	former := b.made.Restored
	b.retagged = &retagged{}
	return run(ctx, anew(b.box), b.retagged, append([]string{"image", "retag", b.reachable(b.name() + "@" + former.Digest),
		"--from", b.made.Reverted.Digest, "--tag", former.Tag}, b.access()...)...)
}

// tag gives the tags back once the commit is there.
func (b *rollback) tag(ctx context.Context) error {
	if !b.moveTags {
		return nil
	}
	if err := b.retag(ctx); err != nil {
		return fmt.Errorf("%w: the commit %s is pushed; the same command gives the tags back, and takes nothing else back", err, b.made.Commit)
	}
	return nil
}

// revert runs `gitops revert` on the remote's branch.
func (b *rollback) revert(ctx context.Context, box *dagger.Container, args ...string) error {
	return b.remote(ctx, box, "revert", args...)
}

// remote runs a command of gitops on the remote's branch that tells of a revert.
func (b *rollback) remote(ctx context.Context, box *dagger.Container, command string, args ...string) error {
	var said revert
	err := run(ctx, box, &said, append(append([]string{command, "--remote", b.target.remote, "--branch", b.target.branch,
		"--chart", chartPath, "--image", b.name()}, b.signIn...), args...)...)
	if err == nil {
		b.made = said
	}
	return err
}

// find finds out what would be taken back, and refuses what cannot be, before
// minutes of proving.
func (b *rollback) find(ctx context.Context) error {
	return b.revert(ctx, b.box.WithExec([]string{"git", "init", "--quiet", "--bare", "/found.git"}), "--to", "/found.git")
}

// trust refuses to go back to an image that is not signed as it has to be.
func (b *rollback) trust(ctx context.Context) (err error) {
	if !b.signature.unverified && !b.signature.named(b.m) {
		b.verified = unverified(nobody)
		return nil
	}
	b.verified, err = b.signature.verify(ctx, b.m, b.made.Restored.Tag, b.made.Restored.Digest)
	if err != nil {
		return fmt.Errorf("%w: nothing was committed", err)
	}
	return nil
}

// verify refuses a commit with which the former image does not run.
func (b *rollback) verify(ctx context.Context) error {
	if b.off {
		return nil
	}
	box, git, err := b.session(ctx)
	if err != nil {
		return err
	}
	if err := b.revert(ctx, box, "--to", proofRemote, "--release", b.made.Reverted.Commit); err != nil {
		return err
	}
	former := b.made.Restored
	var copied struct{ Digest string }
	if err := run(ctx, box, &copied, append([]string{"image", "copy", b.reachable(b.name() + "@" + former.Digest), b.sessionImage(former.Tag), "--to-plain-http"},
		b.from()...)...); err != nil {
		return err
	}
	shown, err := b.show(ctx, &candidate{git, b.made.Commit, b.source.Repository.name(), former.Digest}, "--changes=false")
	if err := b.accept(ctx, shown, err); err != nil {
		return fmt.Errorf("%w: nothing was committed", err)
	}
	return nil
}

// from is how the helper program reaches the registry to copy from.
func (b *rollback) from() []string {
	if b.embeddedRegistry() {
		return []string{"--from-plain-http"}
	}
	return b.access()
}

// push pushes what was proven and nothing else.
func (b *rollback) push(ctx context.Context) error {
	return b.again(ctx, b.verify, func(ctx context.Context) error {
		if b.off {
			return b.revert(ctx, b.box, "--release", b.made.Reverted.Commit)
		}
		return b.revert(ctx, b.box, "--candidate", b.made.Commit, "--release", b.made.Reverted.Commit)
	})
}

// summary is the report, Markdown.
func (b *rollback) summary(ctx context.Context) (string, error) {
	facts, err := json.Marshal(map[string]any{
		"image": b.name(), "revert": b.made, "tags": b.retagged, "finished": b.finished, "verified": b.verified,
	})
	if err != nil {
		return "", err
	}
	return b.box.
		WithNewFile("/facts.json", string(facts)).
		WithExec([]string{"gitops", "report", "rollback", "--facts", "/facts.json"}).
		Stdout(ctx)
}
