package main

import (
	"context"
	"encoding/json"

	"dagger/backstage-gitops/internal/dagger"
)

// Chart is the Helm chart in charts/backstage.
type Chart struct {
	// +private
	Toolbox *dagger.Container
	// +private
	Checkout *dagger.Directory
}

// chartPath is the chart's folder in the checkout.
const chartPath = "charts/backstage"

// Work with the Helm chart.
func (m *BackstageGitops) Chart() *Chart {
	return &Chart{Toolbox: m.toolbox(), Checkout: m.Checkout}
}

// Lint the chart with Helm's linter and Kubernetes' own types; warnings fail.
//
// +check
func (c *Chart) Lint(ctx context.Context,
	// Values file to lint it with besides its own values.
	//
	// +optional
	values *dagger.File,
) error {
	var findings json.RawMessage
	box, args := c.with(values)
	return run(ctx, box, &findings, append([]string{"chart", "lint"}, args...)...)
}

// Test both charts with the tools of the field: their suites with helm-unittest,
// every shape against the schemas with kubeconform, their READMEs with helm-docs.
//
// +check
func (c *Chart) Test(ctx context.Context) error {
	return goTested(ctx, c.Toolbox.File("/usr/local/bin/gitops"),
		goContainer(c.Checkout.Filter(dagger.DirectoryFilterOpts{Include: []string{"charts", "ci/charttest"}})).
			WithWorkdir("ci/charttest"),
		// Go's cache does not know of files outside of the module.
		"-count=1")
}

// Render the chart's manifests as a YAML stream.
func (c *Chart) Render(
	// Values file to render it with besides its own values.
	//
	// +optional
	values *dagger.File,
) *dagger.File {
	box, args := c.with(values)
	return box.
		WithExec(append([]string{"gitops", "chart", "render"}, args...), dagger.ContainerWithExecOpts{RedirectStdout: "/manifests.yaml"}).
		File("/manifests.yaml")
}

// with is the toolbox and the arguments that name the chart and a values file.
func (c *Chart) with(values *dagger.File) (*dagger.Container, []string) {
	args := []string{"--chart", chartPath}
	if values == nil {
		return c.Toolbox, args
	}
	return c.Toolbox.WithMountedFile("/values.yaml", values), append(args, "--values", "/values.yaml")
}

// Package the chart as an archive whose files carry the given time.
func (c *Chart) Package(
	// Time of the files in the archive, RFC 3339.
	//
	// +default="1980-01-01T00:00:00Z"
	time string,
) *dagger.Directory {
	return c.Toolbox.
		WithExec([]string{"mkdir", "/out"}).
		WithExec([]string{"gitops", "chart", "package", "--chart", chartPath, "--out", "/out", "--time", time}).
		Directory("/out")
}

// Point the chart at an image: edits image.tag, image.digest, appVersion and
// version, and keeps every other byte.
func (c *Chart) Bump(ctx context.Context,
	// Tag of the image, such as "1.4.0".
	tag string,

	// Digest of the image's manifest, such as "sha256:…".
	digest string,
) (*dagger.Changeset, error) {
	var edits json.RawMessage
	box := c.Toolbox.WithDirectory("/bump", c.Checkout.Directory(chartPath))
	args := []string{"bump", "--chart", "/bump", "--tag", tag, "--digest", digest}
	if err := run(ctx, box, &edits, args...); err != nil {
		return nil, err
	}
	bumped := box.WithExec(append([]string{"gitops"}, args...)).Directory("/bump")
	return c.Checkout.WithDirectory(chartPath, bumped).Changes(c.Checkout), nil
}
