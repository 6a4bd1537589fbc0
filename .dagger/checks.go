package main

import (
	"context"
	"fmt"
	"time"

	"dagger/backstage-gitops/internal/dagger"
)

// Vet and test the plain Go code in ci/, with a real git and a real registry.
//
// +check
func (m *BackstageGitops) GoTest(ctx context.Context) error {
	_, err := goContainer(m.Checkout.Filter(dagger.DirectoryFilterOpts{
		Include: []string{"go.mod", "go.sum", "ci", "dagger.json", "daggerw", ".dagger/*.go", "charts", ".github", "backstage/packages/backend/src", "backstage/*.yaml", "backstage/*.json"},
		Exclude: []string{"ci/slim", "ci/acceptance"},
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

// Use this module from outside, as a Go program of its users would: release into
// an empty registry and an empty Git remote, use the image that comes out, release
// again, and be refused with every bad input.
//
// +check
// +cache="never"
func (m *BackstageGitops) Acceptance(ctx context.Context) error {
	_, err := goContainer(m.committed().Repo).
		WithWorkdir("ci/acceptance").
		WithExec([]string{"go", "vet", "./..."}).
		WithFile("/usr/local/bin/gitops", m.gitops()).
		WithFile("/usr/local/bin/registry", dag.Container().From(registryImage).File("/bin/registry")).
		WithEnvVariable("ACCEPTANCE_NODE_IMAGE", nodeImage).
		WithEnvVariable("GITOPS_RUN", time.Now().Format(time.RFC3339Nano)).
		// Go's own limit is ten minutes, and an image from an empty cache takes most of them.
		WithExec([]string{"go", "test", "-count=1", "-timeout=45m", "-v", "./..."}, dagger.ContainerWithExecOpts{ExperimentalPrivilegedNesting: true}).
		Sync(ctx)
	return err
}

// Build the image of the checkout twice, the second time with nothing from the
// cache but downloads, and compare the digests.
//
// +check
// +cache="never"
func (m *BackstageGitops) ReproducibleCheck(ctx context.Context) error {
	once := m.committed()
	again := *once
	again.Salt = time.Now().Format(time.RFC3339Nano)
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

// Prove in an ephemeral cluster that Argo CD runs the checkout, with its
// uncommitted changes.
//
// +check
// +cache="never"
func (m *BackstageGitops) ProofCheck(ctx context.Context) error {
	shown, err := m.committed().E2e(ctx, kubernetesVersion, 0, nil)
	if err != nil {
		return err
	}
	_, err = shown.Sync()
	return err
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
	fresh.Ephemeral = true
	return &fresh
}
