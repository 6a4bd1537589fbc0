package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/cluster"
)

func newCluster() *cobra.Command {
	return group("cluster", "Make, inspect and remove a kind cluster in the Docker daemon of DOCKER_HOST.",
		newClusterCreate(), newClusterDelete(), newClusterNodes(), newClusterLogs(), newClusterMirrored())
}

func newClusterCreate() *cobra.Command {
	var (
		o          cluster.Options
		ports      []string
		kubeconfig string
		cni        string
		dryRun     bool
	)
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a kind cluster, in place of what an earlier run of its name left.",
		Long: `Make a kind cluster in the Docker daemon of DOCKER_HOST, in place of what an earlier run of the same
name left there. It wants the docker command. When it fails or is interrupted, nothing is left.

The API server is at port 6443 of the daemon's host, so a daemon holds one cluster at a time.`,
		Example: `  DOCKER_HOST=tcp://docker:2375 gitops cluster create --name e2e --image kindest/node:v1.37.2 \
    --mirror registry:5000 --port 8000:30800 --kubeconfig /out/kubeconfig`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, p := range ports {
				port, err := cluster.ParsePort(p)
				if err != nil {
					return err
				}
				o.Ports = append(o.Ports, port)
			}
			if cni != "" {
				objs, err := readManifest(cni)
				if err != nil {
					return err
				}
				o.CNI = objs
			}
			if dryRun {
				return o.Validate()
			}
			c, config, err := cluster.Create(cmd.Context(), o)
			if err != nil {
				return err
			}
			if kubeconfig != "" {
				if err := os.WriteFile(kubeconfig, config, 0o600); err != nil {
					return fmt.Errorf("write the kubeconfig: %w", err)
				}
			}
			slog.Info("the cluster runs", "name", c.Name, "version", c.KubernetesVersion, "nodes", len(c.Nodes), "seconds", c.Seconds)
			return printJSON(cmd.OutOrStdout(), c)
		},
	}
	nameFlag(cmd, &o.Name)
	serverFlag(cmd, &o.Server)
	cmd.Flags().StringVar(&o.Image, "image", "", "the nodes' image, whose tag is the Kubernetes version: kindest/node:v1.37.2")
	cmd.Flags().IntVar(&o.Workers, "workers", 0, fmt.Sprintf("nodes besides the control plane's, 0 to %d", cluster.MaxWorkers))
	cmd.Flags().StringVar(&o.Mirror, "mirror", "", "the one registry that nodes pull every image from, and the daemon the nodes' own, HOST:PORT over http; the daemon needs it among its insecure registries (default each image's own)")
	cmd.Flags().BoolVar(&o.Fence, "fence", false, "refuse and count what nodes and pods send to other places than the daemon's networks and those this program is in; for a daemon of the session's own, which reaches no name server then")
	cmd.Flags().StringArrayVar(&ports, "port", nil, "lead a port of the daemon's host to one of the control plane's node, 8000:30800, repeatable")
	cmd.Flags().StringVar(&o.PodSubnet, "pod-subnet", "", "the range of the pods' addresses, 10.244.0.0/16 (default kind's)")
	cmd.Flags().StringVar(&o.Logs, "logs", "", "where the cluster cannot be made, gather its logs in this folder before it is removed")
	cmd.Flags().StringVar(&cni, "cni", "", "a manifest of the pod network, for more nodes than the image's own can do (default the image's own)")
	cmd.Flags().DurationVar(&o.Wait, "wait", time.Minute, "how long all nodes may take to be ready, 0 not to wait")
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "write the kubeconfig here")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say only what is wrong with the flags; wants no daemon")
	required(cmd, "image")
	return cmd
}

// deleted is the result of gitops cluster delete.
type deleted struct {
	Name    string `json:"name"`
	Deleted bool   `json:"deleted"`
}

func newClusterDelete() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:     "delete",
		Short:   "Remove a kind cluster. That there is none is no failure.",
		Example: `  gitops cluster delete --name e2e`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			was, err := cluster.Delete(cmd.Context(), name)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), deleted{Name: name, Deleted: was})
		},
	}
	nameFlag(cmd, &name)
	return cmd
}

func newClusterNodes() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:     "nodes",
		Short:   "Print a kind cluster's nodes with their addresses.",
		Example: `  gitops cluster nodes --name e2e`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := cluster.Describe(cmd.Context(), name)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), described{Name: c.Name, KubernetesVersion: c.KubernetesVersion, Nodes: c.Nodes})
		},
	}
	nameFlag(cmd, &name)
	return cmd
}

// described is the result of gitops cluster nodes.
type described struct {
	Name              string         `json:"name"`
	KubernetesVersion string         `json:"kubernetesVersion"`
	Nodes             []cluster.Node `json:"nodes"`
}

func newClusterLogs() *cobra.Command {
	var name, server, out string
	cmd := &cobra.Command{
		Use:   "logs",
		Short: "Gather a kind cluster's logs, events and unhealthy objects in a folder.",
		Long: `Gather in a folder what can be found out about a kind cluster: the logs of its nodes and pods, all
events (events.txt), why something is not healthy (problems.json) and those objects (unhealthy.yaml).
What cannot be gathered is named in the result; a cluster whose API does not answer still has logs.`,
		Example: `  gitops cluster logs --name e2e --out /out/logs`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := cluster.CollectLogs(cmd.Context(), name, server, out)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), l)
		},
	}
	nameFlag(cmd, &name)
	serverFlag(cmd, &server)
	cmd.Flags().StringVar(&out, "out", "", "the folder to write to")
	required(cmd, "out")
	return cmd
}

func newClusterMirrored() *cobra.Command {
	return &cobra.Command{
		Use:   "mirrored IMAGE…",
		Short: "Print where a mirror has images for a cluster, and by what tag to push them there.",
		Long: `Print where a mirror has images for a cluster: each by its path, whatever registry it is of. Images that
would be one there are refused.`,
		Example: `  gitops cluster mirrored redis:7 quay.io/argoproj/argocd:v3.5.7`,
		RunE: func(cmd *cobra.Command, images []string) error {
			if len(images) == 0 {
				return usageError{errors.New("gitops cluster mirrored wants an IMAGE; see gitops cluster mirrored --help")}
			}
			all, err := cluster.Mirror(images)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), all)
		},
	}
}

func nameFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "name", cluster.DefaultName, "the cluster's name")
}

func serverFlag(cmd *cobra.Command, server *string) {
	cmd.Flags().StringVar(server, "server", cluster.DefaultServer, "the name under which the daemon's host is reached from here")
}
