package main

import "dagger/backstage-gitops/internal/dagger"

// The images that the production image is made of, by their official names, with
// the reason for each pin. This file is an input of that image: another pin here is
// another tag. versions.go has the pins that are not.
const (
	// nodeImage builds and tests the app. Node 24 aborts with better-sqlite3 12.
	// renovate: datasource=docker depName=node
	nodeImage = "docker.io/library/node:22.23.3-bookworm"

	// slimImage is under the released image: glibc, libstdc++, certificates,
	// time zones and a non-root user, no shell.
	slimImage = "gcr.io/distroless/cc-debian12:nonroot"
)

// from is an image to run programs in. An engine that has certificates of its own, a company's, has this program enter them
// before each command and take them out after it; where there is none it does that itself, seven times as fast.
func from(image string, opts ...dagger.ContainerOpts) *dagger.Container {
	return dag.Container(opts...).From(image).WithoutFile("/usr/sbin/update-ca-certificates")
}
