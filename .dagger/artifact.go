package main

import (
	"context"
	"encoding/json"
	"fmt"
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
	whose := a.signature()
	if whose == nil {
		return nil // nothing signs
	}
	if _, err := a.look(ctx, a.source.InputsRevision, whose...); err != nil {
		a.there, a.digest = true, ""
		delete(a.facts, "image")
	}
	return nil
}

// signature is whose signature this release makes, nothing where it makes none.
func (a *attester) signature() []string {
	switch {
	case a.m.SigningKey != nil:
		a.box = a.box.WithMountedFile("/key.pub", a.publicKey())
		if a.m.TransparencyLog {
			return []string{"--key", "/key.pub", "--transparency-log"}
		}
		return []string{"--key", "/key.pub"}
	case a.m.OidcURL != nil && a.m.OidcToken != nil:
		// A job signs as its workflow, which is what builds.
		return []string{"--identity", a.m.Builder}
	case a.embeddedRegistry():
		return []string{"--key-service", keyService}
	}
	return nil
}

// chartName is what the chart of an image is called in the image's registry. Beside
// the image and not in its repository: its versions are no versions of the image.
func chartName(image string) string { return image + "-chart" }

// chart publishes the chart of the commit to the image's registry, and signs it.
func (a *attester) chart(ctx context.Context) error {
	var commit struct {
		SHA         string `json:"commit"`
		Nothing     bool   `json:"nothing"`
		PullRequest *struct{ Merged bool }
	}
	if err := json.Unmarshal(a.facts["commit"].(json.RawMessage), &commit); err != nil {
		return err
	}
	if commit.PullRequest != nil && !commit.PullRequest.Merged {
		return nil // no version of the chart yet
	}
	args := []string{"chart", "publish", a.reachable(chartName(a.name())), "--remote", a.target.remote, "--branch", a.target.branch, "--chart", chartPath}
	switch {
	case a.embeddedRegistry():
		args = append(args, "--plain-http")
	case a.target.username != "":
		args = append(args, "--registry-username", a.target.username)
	}
	if commit.Nothing {
		args = append(args, "--unless-there")
	} else {
		args = append(args, "--revision", commit.SHA)
	}
	var published struct{ Version, Digest string }
	if err := run(ctx, a.releaser.box, &published, args...); err != nil {
		return fmt.Errorf("publish the chart %w: the commit is there, the same command continues from there", err)
	}
	fact := map[string]string{"name": chartName(a.name()), "version": published.Version, "digest": published.Digest}
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
	at := append([]string{"sign", a.reachable(chartName(a.name())) + "@" + published.Digest, "--name", chartName(a.name())}, a.access()...)
	if err := runProgram(ctx, box, "attest", &said, append(at, key...)...); err != nil {
		return fmt.Errorf("sign the chart: %w: the commit is there, the same command continues from there", err)
	}
	fact["signedBy"] = said.SignedBy
	return nil
}
