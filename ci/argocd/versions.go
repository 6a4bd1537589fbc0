package main

const (
	// goImage compiles the helper program and fetches Argo CD's manifests.
	// renovate: datasource=docker depName=golang
	goImage = "docker.io/library/golang:1.26.8-bookworm"

	// argocdModule is Argo CD as a Go module: the manifests in it are those of
	// the release, checked against Go's checksum database. 3.6 needs Go 1.27.
	// renovate: datasource=go depName=github.com/argoproj/argo-cd/v3
	argocdModule = "github.com/argoproj/argo-cd/v3@v3.5.7"
)
