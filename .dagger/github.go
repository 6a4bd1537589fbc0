package main

import (
	"strconv"

	"dagger/backstage-gitops/internal/dagger"
)

// signIn gives a container what the helper program signs in to GitHub with: a token,
// or the key of an App. What that does not name, and where its API is, is in the
// arguments.
func (m *BackstageGitops) signIn(box *dagger.Container, token *dagger.Secret) (signed *dagger.Container, args []string) {
	if token != nil {
		box = box.WithSecretVariable("GITOPS_TOKEN", token)
	}
	if m.AppKey != nil {
		box = box.WithSecretVariable("GITOPS_APP_KEY", m.AppKey)
	}
	if m.AppID != 0 || m.InstallationID != 0 || m.AppKey != nil {
		args = []string{"--app-id", strconv.Itoa(m.AppID), "--installation-id", strconv.Itoa(m.InstallationID)}
	}
	if m.APIURL != "" {
		args = append(args, "--api-url", m.APIURL)
	}
	return box, args
}

// pullRequest is one in which a commit may wait for the branch, nil for none.
type pullRequest struct {
	URL    string
	Merged bool
}

func (p *pullRequest) waits() bool { return p != nil && !p.Merged }
