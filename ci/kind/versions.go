package main

// The images of a cluster, by their official names.
const (
	// goImage compiles the helper program.
	// renovate: datasource=docker depName=golang
	goImage = "docker.io/library/golang:1.26.8-bookworm"

	// dockerImage is the daemon that the nodes run in, and the client that kind
	// calls.
	// renovate: datasource=docker depName=docker
	dockerImage = "docker.io/library/docker:29-dind"

	// nodeImage is what nodes are made of, tagged with Kubernetes' version.
	nodeImage = "docker.io/kindest/node"

	// flannelModule is flannel as a Go module: the manifest in it is that of the
	// release, checked against Go's checksum database.
	// renovate: datasource=go depName=github.com/flannel-io/flannel
	flannelModule = "github.com/flannel-io/flannel@v0.28.10"

	// registryImage serves the images.
	// renovate: datasource=docker depName=distribution/distribution
	registryImage = "docker.io/distribution/distribution:3.1.2"
)
