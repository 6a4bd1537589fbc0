// Make Kubernetes clusters with kind, in a Docker daemon inside the engine.
//
// The host's Docker socket is never used. A cluster is gone when the session
// ends, and where that is killed when the next cluster of its name begins. All images come from one registry, a service,
// so a cluster needs nothing from outside the session.
package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"dagger/kind/internal/dagger"
)

// Kind makes clusters.
type Kind struct {
	// +private
	Program *dagger.File
}

// Clusters made with kind.
func New(
	// The helper program `gitops`; default: compiled from the sources.
	//
	// +optional
	program *dagger.File,

	// Sources of the helper program: those that this module came with.
	//
	// +defaultPath="/"
	// +ignore=["**", "!go.mod", "!go.sum", "!ci/**/*.go", "!ci/proof/*", "ci/airgap", "ci/cmd/airgap", "ci/kind", "ci/argocd", "**/*_test.go"]
	source *dagger.Directory,
) *Kind {
	if program == nil {
		program = compile(source)
	}
	return &Kind{Program: program}
}

// compile compiles the helper program, static: it runs in any image.
func compile(source *dagger.Directory) *dagger.File {
	return goContainer().
		WithEnvVariable("CGO_ENABLED", "0").
		WithEnvVariable("GOFLAGS", "-buildvcs=false").
		WithWorkdir("/src").
		WithDirectory(".", source).
		WithExec([]string{"go", "build", "-trimpath", "-ldflags", "-s -w", "-o", "/gitops", "./ci/cmd/gitops"}).
		File("/gitops")
}

// from is an image to run programs in. An engine that has certificates of its own, a company's, has this program enter them
// before each command and take them out after it; where there is none it does that itself, seven times as fast.
func from(image string) *dagger.Container {
	return dag.Container().From(image).WithoutFile("/usr/sbin/update-ca-certificates")
}

func goContainer() *dagger.Container {
	return from(goImage).
		WithMountedCache("/go/pkg/mod", dag.CacheVolume("backstage-gitops-gomod")).
		WithMountedCache("/root/.cache/go-build", dag.CacheVolume("backstage-gitops-gobuild"))
}

// Cluster is a running cluster.
type Cluster struct {
	// Name of the cluster.
	Name string

	// Version of Kubernetes, such as v1.37.0.
	Version string

	// How to reach the API server from a container in which the Docker daemon
	// is bound as `docker`.
	Kubeconfig *dagger.File

	// What `gitops cluster create` printed: nodes, and the time of each step.
	Facts dagger.JSON

	// The Docker daemon the nodes run in. The API server listens on its port
	// 6443, NodePorts on those that were asked for.
	Docker *dagger.Service

	// Why there is no cluster, one sentence; empty if there is one. Says something
	// only if the cluster was made with --keep-failure.
	Failure string

	// +private
	Tools *dagger.Container

	// FailureLogs are those of a cluster that could not be made.
	//
	// +private
	FailureLogs *dagger.Directory
}

// Make a cluster and wait until it is ready.
//
// +cache="never"
func (k *Kind) Cluster(ctx context.Context,
	// Name of the cluster; clusters with different names do not meet.
	//
	// +default="kind"
	name string,

	// Version of Kubernetes, one that the image kindest/node has.
	//
	// +default="v1.37.0"
	version string,

	// Nodes beside the control plane, 0 to 8. With none the control plane runs
	// the pods; with some flannel is the network between them.
	//
	// +default=0
	workers int,

	// Registry to pull every image from, on port 5000, speaking plain HTTP. No
	// other registry is asked. It must have kindest/node; default: one with
	// just that.
	//
	// +optional
	registry *dagger.Service,

	// Ports of the nodes to open on the Docker daemon, HOST:NODE such as
	// 8000:30800.
	//
	// +optional
	ports []string,

	// Refuse, and count, what nodes and pods send to places outside the
	// session, from their start on: `gitops prove` shows that it is nothing.
	//
	// +optional
	fence bool,

	// Manifest of the network between the pods, in place of flannel and of the
	// node image's own; its range must be 10.244.0.0/16.
	//
	// +optional
	network *dagger.File,

	// If the nodes do not start, hand on why in `failure`, and the logs until then in
	// `logs`, instead of failing. Nothing else is there then.
	//
	// +optional
	keepFailure bool,
) (made *Cluster, err error) {
	image := nodeImage + ":" + version
	args := k.create(name, version, workers, ports)
	if err := k.check(ctx, version, args); err != nil {
		return nil, err
	}
	if registry == nil {
		registry = k.Registry()
	}
	if err := k.mirror(ctx, registry, image); err != nil {
		if errors.Is(err, errFetch) && strings.Contains(err.Error(), "not found") {
			return nil, fmt.Errorf("no node image of Kubernetes %s: choose a version that %s has (%s)", version, nodeImage, err)
		}
		return nil, fmt.Errorf("the node image: %w", err)
	}
	docker, err := k.docker(name, registry, ports).Start(ctx)
	if err != nil {
		return nil, fmt.Errorf("start the Docker daemon: %s", oneLine(err))
	}
	defer func() {
		if err != nil || made.Failure != "" {
			_, _ = docker.Stop(context.WithoutCancel(ctx))
		}
	}()
	tools := k.tools(docker, registry)
	if network == nil && workers > 0 {
		network = k.network()
	}
	if network != nil {
		images, err := k.images(ctx, network)
		if err != nil {
			return nil, fmt.Errorf("network between the nodes: %w", err)
		}
		if err := k.mirror(ctx, registry, images...); err != nil {
			return nil, fmt.Errorf("network between the nodes: %w", err)
		}
		tools = tools.WithFile("/network.yaml", network)
		// It has images to pull, and the nodes are not ready before it is.
		args = append(args, "--cni", "/network.yaml", "--wait", "3m")
	}
	if fence {
		args = append(args, "--fence")
	}
	// The folder is there as well if nothing could be gathered.
	created, failure, err := attempt(ctx, tools.WithDirectory("/logs", dag.Directory()), append(args, "--logs", "/logs"))
	if err != nil {
		return nil, err
	}
	if failure != "" {
		if !keepFailure {
			return nil, errors.New(failure)
		}
		// Now: the daemon is gone when it is looked at.
		logs, err := created.Directory("/logs").Sync(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s; and its logs could not be kept: %s", failure, oneLine(err))
		}
		return &Cluster{Name: name, Version: version, Failure: failure, FailureLogs: logs}, nil
	}
	facts, err := created.Stdout(ctx)
	if err != nil {
		return nil, fmt.Errorf("create the cluster %s: %w", name, err)
	}
	return &Cluster{
		Name:       name,
		Version:    version,
		Kubeconfig: created.File("/kubeconfig"),
		Facts:      dagger.JSON(facts),
		Docker:     docker,
		Tools:      tools,
	}, nil
}

// Serve a registry on port 5000 that keeps its images from one session to the
// next.
func (k *Kind) Registry() *dagger.Service {
	return dag.Container().
		From(registryImage).
		WithMountedCache("/var/lib/registry", dag.CacheVolume("kind-registry")).
		WithExposedPort(5000).
		AsService(dagger.ContainerAsServiceOpts{UseEntrypoint: true})
}

// Put images into a registry for clusters to pull, each under its own path:
// quay.io/argoproj/argocd:v3 becomes argoproj/argocd:v3. Of two registries'
// images with one path and tag only one can be there. The engine fetches
// them, with its credentials, mirrors and cache.
//
// +cache="never"
func (k *Kind) Mirror(ctx context.Context,
	// Registry on port 5000, speaking plain HTTP.
	registry *dagger.Service,

	// References of images.
	images []string,
) error {
	return k.mirror(ctx, registry, images...)
}
