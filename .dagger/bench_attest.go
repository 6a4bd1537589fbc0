package main

import (
	"context"
	"fmt"
	"strings"

	"dagger/backstage-gitops/internal/dagger"
)

// Compare what a release says of its image with the same by hand: SBOMs with syft,
// attestations and signature with cosign. Prints a table; fails where a limit is
// missed.
//
// Both ways have the image of HEAD in the same registry, in turns, with nothing
// attached to it; neither asks Sigstore for anything. What else runs on the machine
// makes all times longer: the ratios tell more.
//
// +cache="never"
func (m *BackstageGitops) BenchAttest(ctx context.Context,
	// Runs of each way, of which the table has the median.
	//
	// +default=3
	runs int,
) (string, error) {
	if err := checkRuns(runs); err != nil {
		return "", err
	}
	registry, err := m.benchRegistry().Start(ctx)
	if err != nil {
		return "", fmt.Errorf("start the registry: %w", err)
	}
	r := m.releaser(target{branch: "main"})
	r.box = anew(r.box.WithServiceBinding("registry", registry))
	if err := r.read(ctx); err != nil {
		return "", err
	}
	const name = "registry:5000/bench"
	digest, err := r.publishTo(ctx, r.box, name+":image", "--plain-http")
	if err != nil {
		return "", err
	}
	box := r.box.
		WithFile("/usr/local/bin/attest", m.attestProgram()).
		WithFile("/usr/local/bin/cosign", installed(cosignModule)).
		WithFile("/usr/local/bin/syft", installed(syftModule)).
		WithFile("/attest.sh", m.Checkout.File("ci/bench/attest.sh")).
		// Of this run alone: what it signs is gone with the session.
		WithEnvVariable("GITOPS_SIGNING_PASSWORD", "bench").
		WithEnvVariable("COSIGN_PASSWORD", "bench").
		WithExec([]string{"attest", "generate-key-pair", "--output-key-prefix", "/bench"}).
		WithoutEnvVariable("GITOPS_SIGNING_PASSWORD").
		WithEnvVariable("KEY", "/bench.key").
		WithEnvVariable("PUBLIC", "/bench.pub").
		WithEnvVariable("REVISION", r.source.InputsRevision)
	facts, err := turns(ctx, runs, func(way string, n int) (*dagger.Container, error) {
		image := fmt.Sprintf("%s-%s-%d", name, way, n)
		var copied struct{ Ref string }
		if err := run(ctx, r.box, &copied, "image", "copy", name+"@"+digest, image, "--from-plain-http", "--to-plain-http"); err != nil {
			return nil, err
		}
		return box.
			WithEnvVariable("IMAGE", image+"@"+digest).
			WithExec([]string{"bash", "/attest.sh", way}, dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny}), nil
	})
	if err != nil {
		return "", err
	}
	return comparison(ctx, r.box, "attested", facts)
}

// installed is the program of a Go module, PATH@VERSION.
func installed(module string) *dagger.File {
	path, _, _ := strings.Cut(module, "@")
	return goContainer(dag.Directory()).
		WithExec([]string{"go", "install", "-ldflags", "-s -w", module}).
		WithExec([]string{"cp", "/go/bin/" + path[strings.LastIndex(path, "/")+1:], "/program"}).
		File("/program")
}
