package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
		Exclude: []string{"ci/slim", "ci/acceptance"},
	})).
		WithExec([]string{"go", "vet", "./..."}).
		WithExec([]string{"go", "test", "./..."}).
		Sync(ctx)
	return err
}

// Vet and test the Go code in ci/attest, a module of its own, with real images in a
// real registry.
//
// +check
func (m *BackstageGitops) AttestTest(ctx context.Context) error {
	_, err := goContainer(m.Checkout.Filter(dagger.DirectoryFilterOpts{
		Include: []string{"go.mod", "go.sum", "ci/attest", "ci/git", "ci/image", "ci/imageref", "ci/keyserver"},
	})).
		WithWorkdir("ci/attest").
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
		WithFile("/usr/local/bin/attest", m.attestProgram()).
		WithFile("/usr/local/bin/fakegithub", m.program("./ci/github/githubtest/cmd/fakegithub")).
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
	first, err := once.Publish(ctx, "", "", 0, nil, false, "", nil)
	if err != nil {
		return err
	}
	second, err := again.Publish(ctx, "", "", 0, nil, true, "", nil)
	if err != nil {
		return err
	}
	if first != second {
		return fmt.Errorf("the same inputs made %s, and then %s", first, second)
	}
	return nil
}

// Prove in an ephemeral cluster that Argo CD runs the checkout, with its
// uncommitted changes, and that a release which cannot run there is refused.
//
// +check
// +cache="never"
func (m *BackstageGitops) ProofCheck(ctx context.Context) error {
	fresh := m.committed()
	v, err := fresh.built(ctx, kubernetesVersion, 0)
	defer v.end(ctx)
	if err != nil {
		return err
	}
	shown, err := v.prove(ctx, "--changes")
	if err == nil {
		_, err = shown.Sync(ctx)
	}
	if err != nil {
		return err
	}
	return fresh.broken().refused(ctx, v)
}

// broken is the checkout with a chart that makes the app crash at its start.
func (m *BackstageGitops) broken() *BackstageGitops {
	broken := *m
	broken.Repo = commit(m.Repo, []string{"sed", "-i", "s|^    baseUrl: http://localhost:4001$|&\\n    database: {client: no-such-database}|", chartPath + "/values.yaml"})
	return &broken
}

// refused releases what cannot run, in the cluster of another release, and sees
// that it is told why and that the remote is as it was.
func (m *BackstageGitops) refused(ctx context.Context, running *verifier) error {
	r := m.releaser(target{remote: gitRemote, branch: "main"})
	v := &verifier{releaser: r, ready: running.ready, kind: running.kind, registry: running.registry}
	if err := r.steps(ctx, step{"Read the source", r.read}, step{"Start the services", r.connect}, step{"Check the Git remote", r.preflight}); err != nil {
		return err
	}
	look := func() (string, error) {
		return r.box.
			WithEnvVariable("GITOPS_RUN", time.Now().Format(time.RFC3339Nano)).
			WithExec([]string{"git", "ls-remote", "--exit-code", gitRemote}).
			Stdout(ctx)
	}
	tip, err := look()
	if err != nil {
		return err
	}
	failure := r.steps(ctx, step{"Build the image", r.build}, step{"Publish the image", r.publish}, step{"Prove the commit", v.verify}, step{"Commit and push", v.push})
	if failure == nil || !strings.Contains(failure.Error(), "CrashLoopBackOff") || !strings.Contains(failure.Error(), "nothing was committed") {
		return fmt.Errorf("a release that crashes was not refused with its reason: %w", cmp.Or(failure, errors.New("it was made")))
	}
	now, err := look()
	if err != nil {
		return err
	}
	if now != tip {
		return fmt.Errorf("a release that was refused left the remote at %s, not at %s", now, tip)
	}
	return nil
}

// committed is the checkout with its uncommitted changes in a commit, and with
// an empty registry and Git remote of its own.
func (m *BackstageGitops) committed() *BackstageGitops {
	fresh := *m
	// The sources stay those of the host, which the cache knows by their content.
	fresh.Repo = commit(m.Checkout)
	fresh.Ephemeral, fresh.Apart = true, "check"
	return &fresh
}

// commit is a checkout with its uncommitted changes in a commit, those that a
// command makes in it among them.
func commit(checkout *dagger.Directory, change ...[]string) *dagger.Directory {
	ctr := from(goImage).
		WithDirectory("/checkout", checkout).
		WithWorkdir("/checkout").
		WithEnvVariable("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")
	for _, command := range change {
		ctr = ctr.WithExec(command)
	}
	return ctr.
		WithExec([]string{"git", "add", "--all"}).
		WithExec([]string{"git", "-c", "user.name=check", "-c", "user.email=check@localhost", "commit", "--quiet", "--allow-empty",
			"--date", "2026-01-01T00:00:00Z", "--message", "test: what is to be checked"}).
		Directory("/checkout")
}
