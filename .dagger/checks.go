package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"dagger/backstage-gitops/internal/dagger"
)

// Vet and test the plain Go code in ci/, with a real git and a real registry.
//
// +check
func (m *BackstageGitops) GoTest(ctx context.Context) error {
	_, err := goContainer(m.Checkout.Filter(dagger.DirectoryFilterOpts{
		Include: []string{"go.mod", "go.sum", "ci", "dagger.json", "daggerw", ".dagger/*.go", "charts", ".github", "backstage/packages/backend/src", "backstage/*.yaml", "backstage/*.json"},
		Exclude: []string{"ci/slim"},
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

// Release the checkout into an empty registry and an empty Git remote, pull the
// image back by its digest, hold it to the limits of the slim image and use it
// under a read-only root filesystem; then release again and find nothing to do.
//
// +check
// +cache="never"
func (m *BackstageGitops) ReleaseCheck(ctx context.Context) error {
	fresh := m.committed()
	first, err := fresh.Released(ctx, "", "", "", "main", "", nil, nil)
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	if first.Outcome != "released" {
		return fmt.Errorf("the first release ended with %q, not with \"released\"", first.Outcome)
	}
	var findings json.RawMessage
	pulled := strings.Replace(first.Image, "localhost", "registry", 1)
	if err := run(ctx, fresh.toolbox().WithServiceBinding("registry", fresh.Registry()), &findings, "image", "check", pulled, "--plain-http"); err != nil {
		return fmt.Errorf("the published image: %w", err)
	}
	image := dag.Container().From(first.Image, dagger.ContainerFromOpts{RegistryService: fresh.Registry()})
	if err := fresh.smoke(ctx, image); err != nil {
		return fmt.Errorf("the published image: %w", err)
	}

	second, err := fresh.Released(ctx, "", "", "", "main", "", nil, nil)
	if err != nil {
		return fmt.Errorf("release again: %w", err)
	}
	if second.Outcome != "nothing-to-release" || second.Image != first.Image {
		return fmt.Errorf("the second release of the same commit ended with %q and %s, not with nothing to release and %s", second.Outcome, second.Image, first.Image)
	}
	return nil
}

// Build the image of the checkout twice, the second time with nothing from the
// cache but downloads, and compare the digests.
//
// +check
// +cache="never"
func (m *BackstageGitops) ReproducibleCheck(ctx context.Context) error {
	once := m.committed()
	again := *once
	again.Salt = again.Storage
	first, err := once.Publish(ctx, "", "", "", nil)
	if err != nil {
		return err
	}
	second, err := again.Publish(ctx, "", "", "", nil)
	if err != nil {
		return err
	}
	if first != second {
		return fmt.Errorf("the same inputs made %s, and then %s", first, second)
	}
	return nil
}

// committed is the checkout with its uncommitted changes in a commit, and with
// an empty registry and Git remote of its own.
func (m *BackstageGitops) committed() *BackstageGitops {
	fresh := *m
	// The sources stay those of the host, which the cache knows by their content.
	fresh.Repo = dag.Container().
		From(goImage).
		WithDirectory("/checkout", m.Checkout).
		WithWorkdir("/checkout").
		WithEnvVariable("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z").
		WithExec([]string{"git", "add", "--all"}).
		WithExec([]string{"git", "-c", "user.name=check", "-c", "user.email=check@localhost", "commit", "--quiet", "--allow-empty",
			"--date", "2026-01-01T00:00:00Z", "--message", "test: what is to be checked"}).
		Directory("/checkout")
	fresh.Storage = "backstage-gitops-check-" + time.Now().Format("20060102150405.000000000")
	return &fresh
}

// smoke uses the portal of an image as its people do, from outside: both ports
// answer, a guest signs in, the catalog shows this system. The image runs with
// a read-only root filesystem and a writable /tmp, as its own user.
func (m *BackstageGitops) smoke(ctx context.Context, image *dagger.Container) error {
	command, err := image.Entrypoint(ctx)
	if err != nil {
		return err
	}
	args, err := image.DefaultArgs(ctx)
	if err != nil {
		return err
	}
	portal := dag.Container().
		From(nodeImage).
		WithMountedDirectory("/image", image.Rootfs()).
		WithFile("/usr/local/bin/readonly", dag.CurrentModule().Source().File("scripts/readonly"), dagger.ContainerWithFileOpts{Permissions: 0o755}).
		WithEnvVariable("NODE_ENV", "production").
		WithEnvVariable("NODE_COMPILE_CACHE", "/app/.compile-cache").
		WithExposedPort(8000).
		WithExposedPort(4001).
		AsService(dagger.ContainerAsServiceOpts{
			Args:                     slices.Concat([]string{"readonly"}, command, args),
			InsecureRootCapabilities: true,
		})
	_, err = dag.Container().
		From(nodeImage).
		WithServiceBinding("portal", portal).
		WithMountedFile("/smoke.mjs", m.Checkout.File("ci/slim/smoke.js")).
		WithEnvVariable("GITOPS_RUN", time.Now().Format(time.RFC3339Nano)).
		WithExec([]string{"node", "/smoke.mjs", "--backend", "http://portal:4001", "--app", "http://portal:8000"}).
		Sync(ctx)
	return err
}
