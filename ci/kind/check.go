package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"dagger/kind/internal/dagger"
)

// Refuse what no cluster can be made of, before anything is made: a version of
// Kubernetes without a node image, a number of workers out of range, an engine that
// runs no privileged services.
//
// +cache="never"
func (k *Kind) Check(ctx context.Context,
	// Version of Kubernetes, one that the image kindest/node has.
	//
	// +default="v1.37.0"
	version string,

	// Nodes beside the control plane, 0 to 8.
	//
	// +default=0
	workers int,
) error {
	return k.check(ctx, version, k.create("kind", version, workers, nil))
}

// create is the helper program's command that makes a cluster.
func (k *Kind) create(name, version string, workers int, ports []string) []string {
	args := []string{"gitops", "cluster", "create", "--name", name, "--image", nodeImage + ":" + version, "--workers", strconv.Itoa(workers),
		"--mirror", "registry:5000", "--server", "docker", "--kubeconfig", "/kubeconfig"}
	for _, p := range ports {
		args = append(args, "--port", p)
	}
	return args
}

// check asks the helper program, and the registry for the node image's manifest.
func (k *Kind) check(ctx context.Context, version string, create []string) error {
	if _, err := run(ctx, from(goImage).WithFile("/usr/local/bin/gitops", k.Program), append(slices.Clone(create), "--dry-run")); err != nil {
		return err
	}
	if _, err := dag.Container().From(nodeImage + ":" + version).ImageRef(ctx); err != nil {
		// Not %w: of an error of the engine that is wrapped the CLI shows the engine's words alone.
		if !strings.Contains(err.Error(), "not found") {
			return fmt.Errorf("look for the node image %s:%s: %s", nodeImage, version, oneLine(err))
		}
		return fmt.Errorf("no node image of Kubernetes %s: choose a version that %s has (%s)", version, nodeImage, oneLine(err))
	}
	return privileged(ctx)
}

// privileged sees that the engine runs what has all capabilities. By a command: the
// start of a service that the engine refuses never ends.
func privileged(ctx context.Context) error {
	_, err := from(dockerImage).
		WithEnvVariable("KIND_RUN", time.Now().Format(time.RFC3339Nano)).
		WithExec([]string{"true"}, dagger.ContainerWithExecOpts{InsecureRootCapabilities: true}).
		Sync(ctx)
	if err != nil {
		return fmt.Errorf("this engine runs no privileged services, which nodes need: allow insecureRootCapabilities in its engine.json (%s)", oneLine(err))
	}
	return nil
}

// oneLine is an error of the engine in one line, without the mark of its trace.
func oneLine(err error) string {
	return strings.Join(strings.Fields(traceMark.ReplaceAllString(err.Error(), "")), " ")
}

var traceMark = regexp.MustCompile(` ?\[traceparent:[0-9a-f-]+\]`)
