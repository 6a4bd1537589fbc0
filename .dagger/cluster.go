package main

import (
	"context"

	"dagger/backstage-gitops/internal/dagger"
)

// Run HEAD in a kind cluster, deployed by Argo CD, to live in.
//
// `dagger call cluster up` serves the app on http://localhost:8000, the API on
// http://localhost:4001 and both through the ingress on http://localhost:8080,
// until interrupted. Nothing is left then.
//
// +cache="never"
func (m *BackstageGitops) Cluster(ctx context.Context,
	// Version of Kubernetes.
	//
	// +default="v1.37.0"
	kubernetes string,

	// Nodes beside the control plane, 0 to 8.
	//
	// +default=0
	workers int,
) (served *dagger.Service, err error) {
	v, err := m.built(ctx, kubernetes, workers)
	defer func() {
		if err != nil {
			v.end(ctx)
		}
	}()
	if err != nil {
		return nil, err
	}
	c, err := v.propose(ctx)
	if err != nil {
		return nil, err
	}
	return v.serve(ctx, c)
}

// serve has the cluster run a candidate for a person at localhost.
func (v *verifier) serve(ctx context.Context, c *candidate) (*dagger.Service, error) {
	if err := succeeded(ctx, v.gitops(c, "deploy")); err != nil {
		return nil, err
	}
	return v.forwarder(), nil
}

// forwarder leads to the ports of the nodes that people use, and to no other of
// the daemon that they run in.
func (v *verifier) forwarder() *dagger.Service {
	return dag.Container().
		From(ingressImage).
		WithNewFile("/forward.yaml", `tcp:
  routers:
    app: {entryPoints: [app], rule: HostSNI(`+"`*`"+`), service: app}
    api: {entryPoints: [api], rule: HostSNI(`+"`*`"+`), service: api}
    ingress: {entryPoints: [ingress], rule: HostSNI(`+"`*`"+`), service: ingress}
  services:
    app: {loadBalancer: {servers: [{address: "docker:8000"}]}}
    api: {loadBalancer: {servers: [{address: "docker:4001"}]}}
    ingress: {loadBalancer: {servers: [{address: "docker:8080"}]}}
`).
		WithServiceBinding("docker", v.kind.Docker()).
		WithExposedPort(8000, dagger.ContainerWithExposedPortOpts{Description: "app"}).
		WithExposedPort(4001, dagger.ContainerWithExposedPortOpts{Description: "backend API"}).
		WithExposedPort(8080, dagger.ContainerWithExposedPortOpts{Description: "ingress"}).
		AsService(dagger.ContainerAsServiceOpts{Args: []string{
			"traefik", "--providers.file.filename=/forward.yaml",
			"--entryPoints.app.address=:8000", "--entryPoints.api.address=:4001", "--entryPoints.ingress.address=:8080",
		}})
}
