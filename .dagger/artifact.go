package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"dagger/backstage-gitops/internal/dagger"
)

// former finds out whether an image that the remote's chart names already has beside
// it what this release would put there. One that was interrupted after its commit, or
// that signed nothing, left less: then the image is made and signed again, which makes
// no other of it.
func (a *attester) former(ctx context.Context) error {
	if a.digest == "" {
		return nil
	}
	if err := a.open(ctx); err != nil {
		return err
	}
	signatures, err := a.signatures(ctx)
	if err != nil {
		return err
	}
	for _, signature := range signatures {
		if there, err := a.has(ctx, signature); err != nil || there {
			a.signature = signature
			return err
		}
	}
	if signatures != nil {
		a.there, a.named, a.digest = true, a.digest, ""
		delete(a.facts, "image")
	}
	return nil
}

// signatures are those of which one has to be there, as arguments of the program: of
// this release's key, or of its workflow, for a branch or for a version. None where
// nothing signs.
func (a *attester) signatures(ctx context.Context) ([][]string, error) {
	switch {
	case a.m.SigningKey != nil:
		a.box = a.box.WithMountedFile("/key.pub", a.publicKey())
		args := []string{"--key", "/key.pub"}
		if a.m.TransparencyLog {
			args = append(args, logFlag)
		}
		return [][]string{args}, nil
	case a.m.OidcURL != nil:
		// A job signs as its workflow, which is what builds, and says of which ref.
		workflow, _, _ := strings.Cut(a.m.Builder, "@")
		if !strings.Contains(workflow, "/.github/workflows/") {
			return nil, nil
		}
		identities, err := a.m.signers(ctx, workflow, a.target.branch, a.source.Tag)
		var all [][]string
		for _, identity := range identities {
			all = append(all, []string{"--identity", identity})
		}
		return all, err
	case a.embeddedRegistry():
		return [][]string{{"--key-service", keyService}}, nil
	}
	return nil, nil
}

// refused is the exit code of a verification that says no, as against one that failed.
const refused = 3

// has says whether the image is signed, with provenance and SBOMs, by whoever built it.
func (a *attester) has(ctx context.Context, signature []string) (bool, error) {
	args := append([]string{"attest", "verify-release"}, a.image()...)
	args = append(args, "--layers=false", "--repository", a.m.URL, "--revision", a.source.InputsRevision)
	looked := anew(a.box).WithExec(append(args, signature...), dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
	if code, err := looked.ExitCode(ctx); err != nil || code == refused {
		return false, err
	}
	if err := succeeded(ctx, looked); err != nil {
		return false, err
	}
	said, err := looked.Stdout(ctx)
	a.seen = json.RawMessage(said)
	return true, err
}

// chart publishes the chart of the commit beside the image, and signs it. While the
// commit waits in a pull request it is the chart that the branch has.
func (a *attester) chart(ctx context.Context) error {
	if a.target.noChart {
		return nil
	}
	commit, err := a.committed()
	if err != nil {
		return err
	}
	args := []string{"chart", "publish", "--beside", a.reachable(a.name()), "--remote", a.target.remote, "--branch", a.target.branch, "--chart", chartPath}
	switch {
	case a.embeddedRegistry():
		args = append(args, "--plain-http")
	case a.target.username != "":
		args = append(args, "--registry-username", a.target.username)
	}
	if !commit.waits() {
		args = append(args, "--revision", commit.SHA)
	}
	switch {
	case commit.Nothing || commit.waits():
		args = append(args, "--unless-there")
	case a.embeddedRegistry() || a.target.retag:
		// It has charts of several remotes, and the embedded one begins again with each HEAD:
		// the same version more than once.
		args = append(args, "--retag")
	}
	var published struct{ Name, Version, Digest string }
	if err := run(ctx, a.releaser.box, &published, append(args, a.signIn...)...); err != nil {
		return fmt.Errorf("publish the chart %w: the commit is there, the same command continues from there; --publish-chart=false leaves the chart out", err)
	}
	fact := map[string]string{"name": a.known(published.Name), "version": published.Version, "digest": published.Digest}
	a.facts["chart"] = fact
	if published.Digest == "" {
		return nil
	}
	if a.box == nil {
		if err := a.open(ctx); err != nil {
			return err
		}
	}
	var said struct{ SignedBy string }
	box, key := a.signer()
	at := append([]string{"sign", published.Name + "@" + published.Digest, "--name", a.known(published.Name)}, a.access()...)
	if err := runProgram(ctx, box, "attest", &said, append(at, key...)...); err != nil {
		return fmt.Errorf("sign the chart: %w: the commit is there, the same command continues from there", err)
	}
	fact["signedBy"] = said.SignedBy
	return nil
}

// committed is what the step before said of the commit.
func (r *releaser) committed() (c committed, err error) {
	said, ok := r.facts["commit"].(json.RawMessage)
	if !ok {
		return c, errors.New("nothing was committed")
	}
	err = json.Unmarshal(said, &c)
	return c, err
}

// committed is a commit that names the image, of this release or an earlier one.
type committed struct {
	SHA         string `json:"commit"`
	Nothing     bool
	PullRequest *pullRequest
}

// waits says whether it is in a pull request, and not in the branch.
func (c committed) waits() bool { return c.PullRequest.waits() }
