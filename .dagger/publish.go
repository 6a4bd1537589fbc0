package main

import (
	"context"

	"dagger/backstage-gitops/internal/dagger"
)

// Publish the image of HEAD and print its reference by digest; commits nothing.
//
// +cache="never"
func (m *BackstageGitops) Publish(ctx context.Context,
	// Image name to publish, such as docker.io/USER/backstage-gitops; default: the embedded
	// registry.
	//
	// +optional
	image string,

	// Tag to publish; default: HEAD's version tag, or branch and commit.
	//
	// +optional
	tag string,

	// Number of a pull request: its image has the tag pr-NUMBER, which moves with each
	// one, and is for trying it, not for a chart. Not together with --tag.
	//
	// +optional
	pullRequest int,

	// Platforms to build for, such as linux/amd64,linux/arm64; several become one
	// multi-platform image. Default: the engine's own.
	//
	// +optional
	platforms []string,

	// Move an immutable tag that names another image in the registry.
	//
	// +optional
	retag bool,

	// User of the registry.
	//
	// +optional
	username string,

	// Password or access token of the registry, such as env://DOCKERHUB_TOKEN.
	//
	// +optional
	password *dagger.Secret,
) (string, error) {
	r := m.releaser(target{image: image, tag: tag, pullRequest: pullRequest, platforms: platforms, branch: "main", retag: retag, noChart: true, username: username, password: password})
	if err := r.steps(ctx,
		step{"Read the source", r.read},
		step{"Start the services", r.connect},
		step{"Check the registry", r.writable},
		step{"Check the platforms", r.runs},
		step{"Build the image", r.build},
		step{"Publish the image", r.publish},
	); err != nil {
		return "", err
	}
	return r.name() + "@" + r.digest, nil
}
