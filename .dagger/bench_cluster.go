package main

import (
	"context"
	"encoding/json"
	"fmt"

	"dagger/backstage-gitops/internal/dagger"
)

// Compare the steps of a proof with the same ones by hand: a cluster with the kind
// command, Argo CD from its own manifest with kubectl, the release of HEAD, and a
// change that replaces its pods. Prints a table; fails where a limit is missed.
//
// Both ways run in the same Docker daemon inside the engine, with the same images
// there, in turns; each begins with a new cluster. What else runs on the machine
// makes all times longer: the ratios tell more.
//
// +cache="never"
func (m *BackstageGitops) BenchCluster(ctx context.Context,
	// Runs of each way, of which the table has the median.
	//
	// +default=3
	runs int,
) (string, error) {
	if err := checkRuns(runs); err != nil {
		return "", err
	}
	v, err := m.built(ctx, kubernetesVersion, 0)
	defer v.end(ctx)
	if err != nil {
		return "", err
	}
	c, err := v.propose(ctx)
	if err != nil {
		return "", err
	}
	facts, err := turns(ctx, runs, func(way string, _ int) (*dagger.Container, error) {
		return v.byHand(c).WithExec([]string{"bash", "/cluster.sh", way}, dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny}), nil
	})
	if err != nil {
		return "", err
	}
	return comparison(ctx, m.toolbox(), "steps", facts)
}

// checkRuns refuses a number of runs of which there is no median.
func checkRuns(runs int) error {
	if runs < 1 {
		return fmt.Errorf("--runs is %d: it can be 1 or more", runs)
	}
	return nil
}

// turns goes each way so often, in turns, and gives what was measured of each.
func turns(ctx context.Context, runs int, measure func(way string, n int) (*dagger.Container, error)) (map[string][]json.RawMessage, error) {
	facts := map[string][]json.RawMessage{}
	for n := range runs {
		for _, way := range []string{"hand", "here"} {
			measured, err := measure(way, n)
			if err != nil {
				return nil, err
			}
			if err := succeeded(ctx, measured); err != nil {
				return nil, fmt.Errorf("measure the way %q: %w", way, err)
			}
			seconds, err := measured.Stdout(ctx)
			if err != nil {
				return nil, err
			}
			facts[way] = append(facts[way], json.RawMessage(seconds))
		}
	}
	return facts, nil
}

// byHand is where ci/bench/cluster.sh runs: beside the tools of a person.
func (v *verifier) byHand(c *candidate) *dagger.Container {
	node := "docker.io/kindest/node:" + v.kubernetes
	return v.beside(c).
		WithFile("/usr/local/bin/kind", v.m.program("sigs.k8s.io/kind")).
		WithFile("/usr/local/bin/kubectl", dag.Container().From(node).File("/usr/bin/kubectl")).
		WithFile("/cluster.sh", v.m.Checkout.File("ci/bench/cluster.sh")).
		WithFile("/core-install.yaml", dag.Argocd(dagger.ArgocdOpts{Program: v.m.gitops()}).Manifests()).
		WithEnvVariable("NAME", clusterName).
		WithEnvVariable("GIT", proofRemote).
		WithEnvVariable("BRANCH", v.target.branch).
		WithEnvVariable("CHART", chartPath).
		WithEnvVariable("REVISION", c.commit).
		WithEnvVariable("IMAGE", c.image).
		WithEnvVariable("DIGEST", c.digest).
		WithEnvVariable("NODE_IMAGE", node).
		WithEnvVariable("REGISTRY", "session:5000").
		WithEnvVariable("MANIFEST", "/core-install.yaml")
}
