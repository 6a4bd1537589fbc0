package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"dagger/backstage-gitops/internal/dagger"
)

// signature is whose signature an image has to have before something is to run it
// again, or somewhere else.
type signature struct {
	image, branch, username string
	key                     *dagger.File
	identity                string
	trustedRoot             *dagger.File
	password                *dagger.Secret
	// unverified takes an image that nobody verified.
	unverified bool
	// merged wants a run for a tag to have been at a commit in the history of HEAD.
	merged bool
}

// verify refuses an image that is not signed as it has to be. The answer is a section
// of a report.
func (s signature) verify(ctx context.Context, m *BackstageGitops, tag, digest string) (string, error) {
	if s.unverified {
		return unverified("--allow-unverified said so"), nil
	}
	identities := []string{""}
	if s.identity != "" {
		var err error
		if identities, err = m.signers(ctx, s.identity, s.branch, tag); err != nil {
			return "", err
		}
	}
	var refused []string
	for _, identity := range identities {
		of := s
		of.image, of.identity, of.merged = cmp.Or(s.image, embeddedImage)+"@"+digest, identity, true
		said, err := m.verifyRelease(ctx, of, "")
		if err == nil {
			return "#" + said, nil
		}
		refused = append(refused, err.Error())
	}
	return "", fmt.Errorf("the image is not verified: %s; --allow-unverified takes it without", strings.Join(refused, "; "))
}

// signers are the identities as which a workflow signs an image with a tag.
func (m *BackstageGitops) signers(ctx context.Context, workflow, branch, tag string) ([]string, error) {
	var said struct{ Identities []string }
	err := run(ctx, m.toolbox(), &said, "github", "signers", "--workflow", workflow, "--branch", branch, "--tag", tag)
	return said.Identities, err
}

// named says whether anything tells whose signature it has to be.
func (s signature) named(m *BackstageGitops) bool {
	return s.key != nil || s.identity != "" || m.SigningKey != nil || m.releaser(target{image: s.image}).embeddedRegistry()
}

// errNobody says that nothing tells whose signature it has to be.
var errNobody = errors.New("say whose signature the image has to have: --key, --identity or --signing-key; --allow-unverified takes it without")

// unverified is the section of a report on an image that was not verified.
func unverified(why string) string {
	return "### Not verified\n\nThe signature of the image was not looked at: " + why + ".\n"
}
