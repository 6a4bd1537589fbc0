package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"dagger/backstage-gitops/internal/dagger"
)

// Rollback is what a rollback did.
type Rollback struct {
	// Why it ended early, one sentence; empty where it did not.
	Failure string

	// The report as Markdown, fit for a GitHub job summary; where it ended early, what
	// was shown until then.
	Summary string

	// The report as files: report.md, revert.json, and the proof's in proof/. Where the
	// rollback ended early too.
	Report *dagger.Directory

	// +private
	Result *dagger.File

	// +private
	Program *dagger.File
}

// Fail if the rollback ended early. Returns the ID of the report, because the CLI
// expects an ID from this function.
func (r *Rollback) Sync(ctx context.Context) (string, error) {
	if err := r.failed(); err != nil {
		return "", err
	}
	id, err := r.Report.ID(ctx)
	return string(id), err
}

// What a GitHub Actions job needs to report the rollback: the report in report/,
// result.json, and the helper program. `job export --path out` keeps them, also of a
// rollback that failed; then, on the runner, `out/gitops actions result --result
// out/result.json` writes outputs, summary and annotation, and fails if the rollback
// failed.
func (r *Rollback) Job() *dagger.Directory { return job(r.Program, r.Result, r.Report) }

// failed is why the rollback ended early, followed by what was shown until then.
func (r *Rollback) failed() error {
	switch {
	case r.Failure == "":
		return nil
	case r.Summary == "":
		return errors.New(r.Failure)
	}
	return fmt.Errorf("%s\n\n%s", r.Failure, r.Summary)
}

// Revert the last release: a commit on top of the remote's branch points the chart at
// the previous image. It is proven in an ephemeral cluster as a release is, and only
// then pushed. Prints a report as Markdown.
//
// Later commits stay, and the chart's version increases. A second call goes one release
// further back. The restored image must verify as with `verify-release`; without a known
// signer nothing is done. The registry's moving tags, such as latest and main, move back
// to it. If that was interrupted, the next call completes it and does nothing else.
//
// +cache="never"
func (m *BackstageGitops) Rollback(ctx context.Context,
	// Name of the published image, such as docker.io/USER/backstage-gitops; default: the
	// embedded registry.
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

	// How the commit gets to the remote: git pushes it; github lets GitHub create and sign
	// it through its API, or opens a pull request if the branch is protected; pull-request
	// always opens one.
	//
	// +default="git"
	commitBy string,

	// Prove the commit in an ephemeral cluster before it is pushed.
	//
	// +default=true
	verify bool,

	// Move the registry's moving tags, such as latest and main, back to the restored image
	// if they name the reverted one. Other tags stay.
	//
	// +default=true
	moveTags bool,

	// Only move the tags that the last rollback left, for example because its pull request
	// has been merged since. Nothing is reverted.
	//
	// +optional
	finish bool,

	// Public key of the required signer; default: the embedded key for the embedded
	// registry, or that of --signing-key.
	//
	// +optional
	key *dagger.File,

	// Workflow that must have signed the image keyless, such as
	// https://github.com/OWNER/REPO/.github/workflows/release.yml: for --branch or the tag
	// of the image's version, or, with @refs/heads/BRANCH, for that branch only.
	//
	// +optional
	identity string,

	// Trusted root of the Sigstore that certified the workflow, as for verify-release.
	//
	// +optional
	trustedRoot *dagger.File,

	// Restore an image whose signature is not verified.
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
	r, err := m.RolledBack(ctx, image, remote, branch, commitBy, verify, moveTags, finish, key, identity, trustedRoot, allowUnverified, username, password, token)
	if err != nil {
		return "", err
	}
	return r.Summary, r.failed()
}

// Revert the last release as `rollback` does, and return the result.
//
// It is separate from `rollback` because the Dagger CLI prints only the ID of an object.
// Fails if the rollback ended early, except for `failure`, `summary`, `report` and
// `job`: `rolled-back report export --path out` keeps the evidence in either case.
//
// +cache="never"
func (m *BackstageGitops) RolledBack(ctx context.Context,
	// Name of the published image, such as docker.io/USER/backstage-gitops; default: the
	// embedded registry.
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

	// How the commit gets to the remote: git pushes it; github lets GitHub create and sign
	// it through its API, or opens a pull request if the branch is protected; pull-request
	// always opens one.
	//
	// +default="git"
	commitBy string,

	// Prove the commit in an ephemeral cluster before it is pushed.
	//
	// +default=true
	verify bool,

	// Move the registry's moving tags, such as latest and main, back to the restored image
	// if they name the reverted one. Other tags stay.
	//
	// +default=true
	moveTags bool,

	// Only move the tags that the last rollback left, for example because its pull request
	// has been merged since. Nothing is reverted.
	//
	// +optional
	finish bool,

	// Public key of the required signer; default: the embedded key for the embedded
	// registry, or that of --signing-key.
	//
	// +optional
	key *dagger.File,

	// Workflow that must have signed the image keyless, such as
	// https://github.com/OWNER/REPO/.github/workflows/release.yml: for --branch or the tag
	// of the image's version, or, with @refs/heads/BRANCH, for that branch only.
	//
	// +optional
	identity string,

	// Trusted root of the Sigstore that certified the workflow, as for verify-release.
	//
	// +optional
	trustedRoot *dagger.File,

	// Restore an image whose signature is not verified.
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
) (*Rollback, error) {
	r := m.releaser(target{image: image, remote: cmp.Or(remote, gitRemote), branch: branch, commitBy: commitBy, username: username, password: password, token: token})
	b := &rollback{verifier: r.verifier(kubernetesVersion, 0), finishOnly: finish}
	b.off, b.moveTags = !verify, moveTags
	b.signature = signature{image: image, branch: branch, username: username, password: password, key: key, identity: identity, trustedRoot: trustedRoot, unverified: allowUnverified}
	defer b.end(ctx)
	failure := r.steps(ctx,
		step{"Read the source", r.read},
		step{"Check who signs", b.named},
		step{"Start the services", r.connect},
		step{"Check the registry", b.writable},
		step{"Finish the last rollback", b.finish},
	)
	if failure == nil && !b.finished {
		failure = r.steps(ctx,
			step{"Find the release", b.find},
			step{"Check the Git remote", b.permitted},
			step{"Start the cluster", b.start},
			step{"Verify the image", b.trust},
			step{"Prove the commit", b.verify},
			step{"Commit and push", b.push},
			step{"Tag the image", b.tag},
		)
	}
	b.explain(ctx, failure)
	rolledBack, err := b.report(ctx, failure)
	if err != nil {
		return nil, errors.Join(failure, err)
	}
	return rolledBack, nil
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
	// its tags were given back; finishOnly that nothing else is to be done.
	finished   bool
	finishOnly bool
	// pushed says that the commit is on its way: what failed, failed after that.
	pushed bool
}

// revert is what `gitops revert` says.
type revert struct {
	Commit   string
	Reverted struct{ Commit, Tag, Digest string }
	Restored struct{ Tag, Digest, ChartVersion string }
	Remote   string
	Branch   string
	// PullRequest is where the commit waits, nil where it is on the branch.
	PullRequest *pullRequest

	// raw is all of it.
	raw json.RawMessage
}

// waits says that the commit is not on the branch yet.
func (r revert) waits() bool { return r.PullRequest.waits() }

func (r *revert) UnmarshalJSON(data []byte) error {
	type plain revert
	if err := json.Unmarshal(data, (*plain)(r)); err != nil {
		return err
	}
	r.raw = append(json.RawMessage(nil), data...)
	return nil
}

// retagged is what `gitops image retag` says.
type retagged struct {
	Tags []struct{ Tag string }
	Left []string
}

// named refuses a rollback that would not know whose signature the image has to have.
func (b *rollback) named(context.Context) error {
	if b.finishOnly || b.signature.unverified || b.signature.named(b.m) {
		return nil
	}
	return fmt.Errorf("%w: nothing was committed", errNobody)
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
	if b.finishOnly && !b.moveTags {
		return errors.New("--finish gives tags back, and --move-tags=false says not to: leave one out")
	}
	if !b.moveTags {
		return nil
	}
	b.finished = b.finishOnly
	if err := b.remote(ctx, b.box, []string{"reverted"}); err != nil || b.made.Commit == "" {
		return err
	}
	if err := b.retag(ctx); err != nil {
		return fmt.Errorf("%w: the last rollback has left the registry's tags, and nothing else was taken back; --move-tags=false goes on without them", err)
	}
	b.finished = b.finishOnly || len(b.retagged.Tags) > 0
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
	if !b.moveTags || b.made.waits() {
		return nil
	}
	if err := b.retag(ctx); err != nil {
		return fmt.Errorf("%w: the commit %s is pushed; the same command gives the tags back, and takes nothing else back", err, b.made.Commit)
	}
	return nil
}

// revert runs `gitops revert` on the remote's branch.
func (b *rollback) revert(ctx context.Context, box *dagger.Container, args ...string) error {
	return b.remote(ctx, box, []string{"revert"}, args...)
}

// remote runs a command of gitops on the remote's branch that tells of a revert.
func (b *rollback) remote(ctx context.Context, box *dagger.Container, command []string, args ...string) error {
	var said revert
	err := run(ctx, box, &said, append(append(slices.Clone(command), "--remote", b.target.remote, "--branch", b.target.branch,
		"--chart", chartPath, "--image", b.name()), append(slices.Clone(b.signIn), args...)...)...)
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

// permitted refuses a token or an App that may not do on GitHub what pushing wants,
// before minutes of proving.
func (b *rollback) permitted(ctx context.Context) error {
	if b.target.commitBy == "git" {
		return nil // find has asked
	}
	var ready json.RawMessage
	args := append(slices.Clone(preflights[b.target.commitBy]), "--permissions-only", "--remote", b.target.remote, "--branch", b.target.branch)
	if err := run(ctx, b.box, &ready, append(args, b.signIn...)...); err != nil {
		return fmt.Errorf("%w: nothing was committed", err)
	}
	return nil
}

// trust refuses to go back to an image that is not signed as it has to be.
func (b *rollback) trust(ctx context.Context) (err error) {
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

// reverts are the helper program's commands that bring a revert to a remote, by their
// names in --commit-by.
var reverts = map[string][]string{
	"git":          {"revert"},
	"github":       {"github", "revert"},
	"pull-request": {"github", "revert", "--pull-request"},
}

// push pushes what was proven and nothing else.
func (b *rollback) push(ctx context.Context) error {
	err := b.again(ctx, b.verify, func(ctx context.Context) error {
		args := []string{"--release", b.made.Reverted.Commit}
		if !b.off {
			args = append(args, "--candidate", b.made.Commit)
		}
		return b.remote(ctx, b.box, reverts[b.target.commitBy], args...)
	})
	b.pushed = err == nil
	return err
}

// report writes down what the steps did; failure is why they ended early.
func (b *rollback) report(ctx context.Context, failure error) (*Rollback, error) {
	dir, told := dag.Directory(), result{Title: "Rollback", Outputs: map[string]string{}}
	if b.proof != nil {
		dir = dir.WithDirectory("proof", b.proof)
	}
	if b.pushed || b.finished && b.made.Commit != "" {
		dir = dir.WithNewFile("revert.json", string(b.made.raw))
		told.Outputs["image"], told.Outputs["digest"], told.Outputs["tag"] = b.name()+"@"+b.made.Restored.Digest, b.made.Restored.Digest, b.made.Restored.Tag
		told.Outputs["commit"] = b.made.Commit
		if b.made.PullRequest != nil {
			told.Outputs["pull-request"] = b.made.PullRequest.URL
		}
	}
	var err error
	switch {
	case failure == nil:
		told.Summary, err = b.summary(ctx)
	case b.proof != nil:
		told.Summary, err = b.proof.File("proof.md").Contents(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("write the report: %w", err)
	}
	if failure != nil {
		told.Failure = failure.Error()
	}
	told, written, err := told.redacted(ctx, b.box)
	if err != nil {
		return nil, err
	}
	return &Rollback{
		Failure: told.Failure, Summary: told.Summary, Report: dir.WithFile("report.md", written.File("report.md")),
		Result: written.File("result.json"), Program: b.m.gitops(),
	}, nil
}

// summary is the report, Markdown.
func (b *rollback) summary(ctx context.Context) (string, error) {
	all := map[string]any{"image": b.name(), "tags": b.retagged, "finished": b.finished, "verified": b.verified}
	if b.made.Commit != "" {
		all["revert"] = b.made.raw
	}
	facts, err := json.Marshal(all)
	if err != nil {
		return "", err
	}
	return b.box.
		WithNewFile("/facts.json", string(facts)).
		WithExec([]string{"gitops", "report", "rollback", "--facts", "/facts.json"}).
		Stdout(ctx)
}
