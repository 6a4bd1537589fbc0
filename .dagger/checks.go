package main

import (
	"context"
	"encoding/json"
	"fmt"

	"dagger/backstage-gitops/internal/dagger"
)

// Vet and test the plain Go code in ci/, with a real git and a real registry.
//
// +check
func (m *BackstageGitops) GoTest(ctx context.Context) error {
	_, err := m.goContainer().
		WithDirectory(".", dag.Directory().WithDirectory("", m.Checkout, dagger.DirectoryWithDirectoryOpts{
			Include: []string{"dagger.json", ".dagger/*.go", "charts", ".github", "ci/**/*.md", "**/README.md", "backstage/packages/backend/src", "backstage/*.yaml", "backstage/*.json"},
		})).
		WithExec([]string{"go", "vet", "./..."}).
		WithExec([]string{"go", "test", "./..."}).
		Sync(ctx)
	return err
}

// Run the tests of the recipe of the slim image.
//
// +check
func (m *BackstageGitops) SlimTest(ctx context.Context) error {
	_, err := m.slimTool().WithExec([]string{"node", "--test"}).Sync(ctx)
	return err
}

// Check that the image is as slim as promised, holds nothing that it should
// not, and serves the app and the API as a non-root user.
//
// +check
func (m *BackstageGitops) ImageCheck(ctx context.Context) error {
	image := m.runtime(0)
	registry, err := m.Registry().Start(ctx)
	if err != nil {
		return fmt.Errorf("start the embedded registry: %w", err)
	}
	defer func() { _, _ = registry.Stop(context.WithoutCancel(ctx)) }()
	if _, err := image.Publish(ctx, registryHost+"/check:latest", dagger.ContainerPublishOpts{
		MediaTypes: dagger.ImageMediaTypesOcimediaTypes, RegistryService: registry,
	}); err != nil {
		return fmt.Errorf("publish the image: %w", err)
	}
	var result json.RawMessage
	if err := run(ctx, m.toolbox().WithServiceBinding("registry", registry), &result,
		"image", "check", "registry:5000/check:latest", "--plain-http"); err != nil {
		return err
	}
	return m.probe(ctx, image)
}
