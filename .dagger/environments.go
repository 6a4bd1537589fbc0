package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"dagger/backstage-gitops/internal/dagger"
)

// Promote an image: set an environment of charts/gitops to what the previous one runs.
// Edits the image's tag and digest, and keeps every other byte.
//
// No environment is skipped: dev, staging, prod. An image is refused if nothing shows
// that it runs well, if it is older than the one it replaces, or if it does not verify
// as with `verify-release`.
//
// +cache="session"
func (m *BackstageGitops) Promote(ctx context.Context,
	// Environment that runs the image.
	from string,

	// Environment to promote to, the next one.
	to string,

	// Argo CD's status of the first one, as gitops argocd sync prints it.
	//
	// +optional
	running *dagger.File,

	// Kubeconfig of Argo CD's cluster, such as env://KUBECONFIG_TEXT or
	// file://kubeconfig, to read there what --running would say. Nothing in the cluster
	// is changed: one that may only read is enough.
	//
	// +optional
	kubeconfig *dagger.Secret,

	// Accept an image without evidence that it runs.
	//
	// +optional
	allowUnproven bool,

	// Accept an image that is older than the one it replaces.
	//
	// +optional
	allowDowngrade bool,

	// Branch that the checkout is of, and that is released, for --identity.
	//
	// +default="main"
	branch string,

	// Name of the published image, such as docker.io/USER/backstage-gitops; default: the
	// embedded registry.
	//
	// +optional
	image string,

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

	// Accept an image whose signature is not verified.
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
) (*dagger.Changeset, error) {
	box, _, err := m.promote(ctx, promoting{from, to, branch, running, kubeconfig, allowUnproven, allowDowngrade},
		signature{image: image, branch: branch, username: username, password: password, key: key, identity: identity, trustedRoot: trustedRoot, unverified: allowUnverified})
	if err != nil {
		return nil, err
	}
	return m.Repo.WithDirectory("charts/gitops", box.Directory("charts/gitops")).Changes(m.Repo), nil
}

// promotion is what `gitops promote` says of one.
type promotion struct {
	Tag      string                       `json:"tag"`
	Digest   string                       `json:"digest"`
	Previous struct{ Tag, Digest string } `json:"previous"`
	Nothing  bool                         `json:"nothing"`

	// verified is what a report says of the image's signature.
	verified string
}

// promoting is what a promotion is asked for.
type promoting struct {
	from, to, branch              string
	running                       *dagger.File
	kubeconfig                    *dagger.Secret
	allowUnproven, allowDowngrade bool
}

// promote is a toolbox whose checkout has the edits of a promotion.
func (m *BackstageGitops) promote(ctx context.Context, p promoting, signed signature) (*dagger.Container, *promotion, error) {
	box, args := m.toolbox().WithDirectory("/checkout", m.Repo), []string{"promote", "--repo", ".", "--from", p.from, "--to", p.to, "--branch", p.branch}
	if p.running != nil {
		box, args = box.WithMountedFile("/running.json", p.running), append(args, "--running", "/running.json")
	}
	if p.kubeconfig != nil {
		box, args = anew(box.WithMountedSecret("/kubeconfig", p.kubeconfig)), append(args, "--kubeconfig", "/kubeconfig")
	}
	if p.allowUnproven {
		args = append(args, "--allow-unproven")
	}
	if p.allowDowngrade {
		args = append(args, "--allow-downgrade")
	}
	var result promotion
	if err := run(ctx, box, &result, args...); err != nil {
		return nil, nil, err
	}
	if !result.Nothing {
		var err error
		if result.verified, err = signed.verify(ctx, m, result.Tag, result.Digest); err != nil {
			return nil, nil, fmt.Errorf("%w: nothing was promoted", err)
		}
	}
	return box.WithExec(append([]string{"gitops"}, args...)), &result, nil
}

// Promote as `promote` does, and let GitHub commit it to the branch or a pull request.
// HEAD must be in the branch. Commits of others, there and in the pull request, stay.
// Prints a report as Markdown.
//
// +cache="never"
func (m *BackstageGitops) PushPromotion(ctx context.Context,
	// Environment that runs the image.
	from string,

	// Environment to promote to, the next one.
	to string,

	// URL of the repository, https://github.com/OWNER/REPO.git.
	remote string,

	// Branch of the repository.
	//
	// +default="main"
	branch string,

	// How the commit gets to the branch: github commits to it, and makes a pull
	// request where it is protected; pull-request makes one in any case.
	//
	// +default="pull-request"
	commitBy string,

	// Argo CD's status of the first one, as gitops argocd sync prints it.
	//
	// +optional
	running *dagger.File,

	// Kubeconfig of Argo CD's cluster, such as env://KUBECONFIG_TEXT or
	// file://kubeconfig, to read there what --running would say. Nothing in the cluster
	// is changed: one that may only read is enough.
	//
	// +optional
	kubeconfig *dagger.Secret,

	// Accept an image without evidence that it runs.
	//
	// +optional
	allowUnproven bool,

	// Accept an image that is older than the one it replaces.
	//
	// +optional
	allowDowngrade bool,

	// Name of the published image, such as docker.io/USER/backstage-gitops; default: the
	// embedded registry.
	//
	// +optional
	image string,

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

	// Accept an image whose signature is not verified.
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

	// Token that may write contents and pull requests, such as env://GITHUB_TOKEN; not
	// needed with a GitHub App.
	//
	// +optional
	token *dagger.Secret,
) (string, error) {
	if commitBy != "github" && commitBy != "pull-request" {
		return "", fmt.Errorf("--commit-by is %q: it can be github or pull-request", commitBy)
	}
	box, promoted, err := m.promote(ctx, promoting{from, to, branch, running, kubeconfig, allowUnproven, allowDowngrade},
		signature{image: image, branch: branch, username: username, password: password, key: key, identity: identity, trustedRoot: trustedRoot, unverified: allowUnverified})
	if err != nil {
		return "", err
	}
	if promoted.Nothing {
		return fmt.Sprintf("## Nothing to promote\n\n%s names the image of %s already: `%s`.\n", to, from, promoted.Tag), nil
	}
	text := fmt.Sprintf("%s gets the image of %s.\n\n| | tag | digest |\n|---|---|---|\n| before | `%s` | `%s` |\n| after | `%s` | `%s` |\n",
		to, from, promoted.Previous.Tag, promoted.Previous.Digest, promoted.Tag, promoted.Digest) + "\n" + promoted.verified
	args := []string{
		"github", "commit", "--repo", ".", "--remote", remote, "--branch", branch, "--head", "promote/" + to,
		"--title", fmt.Sprintf("chore(promote): %s runs %s of %s", to, promoted.Tag, from), "--file", "/text.md",
	}
	if commitBy == "pull-request" {
		args = append(args, "--pull-request")
	}
	var pushed struct {
		Commit      string `json:"commit"`
		PullRequest struct{ URL string }
		Fallback    string
		Kept        bool
		Nothing     bool
	}
	box, signIn := m.signIn(box.WithNewFile("/text.md", text), token)
	err = run(ctx, anew(box), &pushed, append(args, signIn...)...)
	if err != nil {
		return "", err
	}
	text = "## Promoted\n\n" + text + "\nCommit `" + pushed.Commit + "`"
	switch {
	case pushed.Nothing:
		text += " of " + branch + " has it already: nothing was committed"
	case pushed.Kept:
		text += " waits in " + pushed.PullRequest.URL + ", as before: nothing was added"
	case pushed.PullRequest.URL != "":
		text += " waits in " + pushed.PullRequest.URL
	}
	if pushed.Fallback != "" {
		text += ": " + pushed.Fallback
	}
	return text + ".\n", nil
}

// Show what the checkout renders differently from another commit, environment by
// environment, as Markdown. With --pull-request it is also a comment there, in the
// place of the one that a former call made; a token that may not comment, as that of
// Dependabot's pull requests, leaves it at what is printed.
//
// +cache="never"
func (m *BackstageGitops) Diff(ctx context.Context,
	// Commit, branch or tag to compare with.
	//
	// +default="HEAD~1"
	base string,

	// Branch that the change is for: an environment that is deployed from another one
	// stays as it is. Default: source.revision of charts/gitops.
	//
	// +optional
	branch string,

	// Number of the pull request to comment on; 0 is none.
	//
	// +optional
	pullRequest int,

	// URL of the pull request's repository, https://github.com/OWNER/REPO.git.
	//
	// +optional
	remote string,

	// Token that may write pull requests, such as env://GITHUB_TOKEN; not needed with a
	// GitHub App.
	//
	// +optional
	token *dagger.Secret,
) (string, error) {
	if pullRequest != 0 && (remote == "" || token == nil && m.AppKey == nil) {
		return "", errors.New("--pull-request wants --remote, a repository of GitHub, and --token or a GitHub App")
	}
	box := m.toolbox().WithDirectory("/checkout", m.Repo)
	code, err := box.WithExec([]string{"git", "rev-parse", "--verify", "--quiet", "--end-of-options", base + "^{commit}"},
		dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny}).ExitCode(ctx)
	if err != nil {
		return "", err
	}
	if code != 0 {
		return "", fmt.Errorf("--base %q is no commit of the checkout: name another, or fetch it", base)
	}
	box = box.WithExec([]string{"git", "worktree", "add", "--quiet", "--detach", "/before", base})
	box = box.WithExec([]string{"gitops", "diff", "--before", "/before", "--after", ".", "--branch", branch}, dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
	if err := succeeded(ctx, box); err != nil {
		return "", err
	}
	text, err := box.Stdout(ctx)
	if err != nil || pullRequest == 0 {
		return text, err
	}
	var said struct{ Missing string }
	box, signIn := m.signIn(m.toolbox().WithNewFile("/comment.md", text), token)
	err = run(ctx, anew(box), &said,
		append([]string{"github", "comment", "--remote", remote, "--number", strconv.Itoa(pullRequest), "--topic", "diff", "--file", "/comment.md", "--if-permitted"}, signIn...)...)
	if err == nil && said.Missing != "" {
		text += "\nThere is no comment with this: " + said.Missing + ".\n"
	}
	return text, err
}
