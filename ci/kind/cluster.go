package main

import (
	"context"
	"slices"
	"time"

	"dagger/kind/internal/dagger"
)

// Open a container with the helper program `gitops` and the docker
// client, at work on the cluster.
func (c *Cluster) Container() *dagger.Container {
	return c.Tools.
		WithFile("/kubeconfig", c.Kubeconfig).
		// The cluster is another one at each look: never answered from cache.
		WithEnvVariable("KIND_RUN", time.Now().Format(time.RFC3339Nano)).
		WithEnvVariable("KUBECONFIG", "/kubeconfig")
}

// Give the docker command, which reaches the nodes by way of the daemon.
func (c *Cluster) DockerCommand() *dagger.File {
	return c.Tools.File("/usr/local/bin/docker")
}

// Run kubectl and print what it says.
//
// +cache="never"
func (c *Cluster) Kubectl(ctx context.Context,
	// Arguments of kubectl, such as get,nodes.
	args []string,
) (string, error) {
	node := c.Name + "-control-plane"
	// The node's own kubectl: it is that of the cluster's version.
	return c.Container().
		WithExec(slices.Concat([]string{"docker", "exec", node, "kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf"}, args)).
		Stdout(ctx)
}

// Collect the logs of nodes and pods, and the cluster's events.
//
// +cache="never"
func (c *Cluster) Logs() *dagger.Directory {
	if c.Failure != "" {
		return c.FailureLogs
	}
	return c.Container().
		WithExec([]string{"gitops", "cluster", "logs", "--name", c.Name, "--out", "/logs"}).
		Directory("/logs")
}

// Remove the cluster before the session ends.
//
// +cache="never"
func (c *Cluster) Delete(ctx context.Context) error {
	if c.Failure != "" {
		return nil // it is gone already
	}
	if _, err := c.Container().WithExec([]string{"gitops", "cluster", "delete", "--name", c.Name}).Sync(ctx); err != nil {
		return err
	}
	_, err := c.Docker.Stop(ctx)
	return err
}
