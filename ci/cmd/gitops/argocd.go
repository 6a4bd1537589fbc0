package main

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstage-gitops/backstage-gitops/ci/kube"
	"github.com/backstage-gitops/backstage-gitops/ci/sync"
)

func newArgoCD() *cobra.Command {
	return group("argocd", "Install Argo CD, make an Application, and wait for one exact revision of it.",
		newArgoCDInstall(), newArgoCDImages(), newArgoCDApplication(), newArgoCDSync(), newArgoCDStatus())
}

func newArgoCDInstall() *cobra.Command {
	var (
		kubeconfig, manifest string
		i                    sync.Install
		wait                 time.Duration
	)
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install Argo CD from its own manifest and wait until it is ready.",
		Long: `Install Argo CD from its own manifest (manifests/core-install.yaml or install.yaml of the release) and
wait until it is ready. The namespace and the AppProject "default" are made. Without --full only those
components run that an Application needs: application controller, repo server and Redis.

Installed for tests and demos: no delay between sync waves, errors of Git are reported at once.`,
		Example: `  gitops argocd install --kubeconfig kubeconfig --manifest core-install.yaml`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			objs, err := readManifest(manifest)
			if err != nil {
				return err
			}
			c, err := kube.Connect(kubeconfig)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), wait, fmt.Errorf("after %s", wait))
			defer cancel()
			installed, err := i.Apply(ctx, c, objs)
			if err != nil {
				return err
			}
			slog.Info("Argo CD is ready", "version", installed.Version, "seconds", installed.Seconds)
			return printJSON(cmd.OutOrStdout(), installed)
		},
	}
	kubeconfigFlag(cmd, &kubeconfig)
	cmd.Flags().StringVar(&manifest, "manifest", "", "Argo CD's manifest, core-install.yaml or install.yaml")
	cmd.Flags().StringVar(&i.Namespace, "namespace", sync.DefaultNamespace, "the namespace to install in")
	fullFlag(cmd, &i.Full)
	cmd.Flags().DurationVar(&i.Reconciliation, "reconciliation", sync.DefaultReconciliation, "how often Argo CD looks at Git by itself")
	cmd.Flags().DurationVar(&wait, "wait", 3*time.Minute, "how long it may take to be ready")
	required(cmd, "kubeconfig", "manifest")
	return cmd
}

func newArgoCDImages() *cobra.Command {
	var (
		manifest string
		i        sync.Install
	)
	cmd := &cobra.Command{
		Use:     "images",
		Short:   "Print the images that gitops argocd install runs.",
		Example: `  gitops argocd images --manifest core-install.yaml`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			objs, err := readManifest(manifest)
			if err != nil {
				return err
			}
			images, err := i.Images(objs)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), images)
		},
	}
	cmd.Flags().StringVar(&manifest, "manifest", "", "Argo CD's manifest, core-install.yaml or install.yaml")
	fullFlag(cmd, &i.Full)
	required(cmd, "manifest")
	return cmd
}

func fullFlag(cmd *cobra.Command, full *bool) {
	cmd.Flags().BoolVar(full, "full", false, "run the manifest's components, the user interface too where it has one; Dex only where its argocd-cm has a dex.config")
}

// applied is the result of gitops argocd application.
type applied struct {
	Name                 string `json:"name"`
	Namespace            string `json:"namespace"`
	Repo                 string `json:"repo"`
	Path                 string `json:"path"`
	Revision             string `json:"revision"`
	DestinationNamespace string `json:"destinationNamespace"`
}

func newArgoCDApplication() *cobra.Command {
	var (
		kubeconfig, values string
		a                  sync.Application
	)
	cmd := &cobra.Command{
		Use:   "application",
		Short: "Make or change an Application that follows a chart in Git.",
		Long: `Make or change an Application that follows a chart in Git: automated sync, self-heal and prune, the
destination namespace created, retries with a growing pause. It waits for nothing; gitops argocd sync does.`,
		Example: `  gitops argocd application --kubeconfig kubeconfig --name backstage --repo http://git.gitops/backstage-gitops.git \
    --path charts/backstage --revision main --destination-namespace backstage-system`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if values != "" {
				text, err := os.ReadFile(values)
				if err != nil {
					return fmt.Errorf("read the values: %w", err)
				}
				a.Values = text
			}
			if err := a.Validate(); err != nil {
				return err
			}
			c, err := kube.Connect(kubeconfig)
			if err != nil {
				return err
			}
			obj, err := a.Apply(cmd.Context(), c)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), applied{
				Name: obj.GetName(), Namespace: obj.GetNamespace(), Repo: a.Repo, Path: a.Path, Revision: a.Revision,
				DestinationNamespace: a.DestinationNamespace,
			})
		},
	}
	kubeconfigFlag(cmd, &kubeconfig)
	cmd.Flags().StringVar(&a.Name, "name", "", "the Application's name, and the Helm release's")
	cmd.Flags().StringVar(&a.Namespace, "namespace", sync.DefaultNamespace, "Argo CD's namespace")
	cmd.Flags().StringVar(&a.Project, "project", sync.DefaultProject, "the AppProject it belongs to")
	cmd.Flags().StringVar(&a.Repo, "repo", "", "the Git repository's URL as Argo CD reaches it, http(s) or ssh")
	cmd.Flags().StringVar(&a.Path, "path", "charts/backstage", "the chart's folder in the repository")
	cmd.Flags().StringVar(&a.Revision, "revision", "main", "the branch, tag or commit to follow")
	cmd.Flags().StringVar(&a.DestinationNamespace, "destination-namespace", "backstage-system", "the namespace of the chart's objects")
	cmd.Flags().StringVar(&values, "values", "", "a file with Helm values")
	cmd.Flags().BoolVar(&a.ServerSide, "server-side", false, "have Argo CD apply by server-side apply, for objects too large for an annotation")
	required(cmd, "kubeconfig", "name", "repo")
	return cmd
}

func newArgoCDSync() *cobra.Command {
	var (
		kubeconfig string
		w          sync.Wait
	)
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Wait until exactly one revision, and one image digest, runs.",
		Long: `Have Argo CD look at Git now, and watch until the Application is at exactly --revision, Synced and
Healthy with its operation done, and every running pod with --image runs exactly --digest.

Where that cannot happen any more it fails at once with the reason: a chart that does not render or
renders nothing, a path that is not there, an object the API refuses, a failed hook, an image that
cannot be pulled, a container that crashes. A server that does not answer is waited for until --timeout.
The result is printed in every case that got as far as an Application.`,
		Example: `  gitops argocd sync --kubeconfig kubeconfig --name backstage --revision $(git rev-parse HEAD) \
    --image docker.io/user/backstage-gitops --digest sha256:…`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := w.Validate(); err != nil {
				return err
			}
			c, err := kube.Connect(kubeconfig)
			if err != nil {
				return err
			}
			result, err := w.Until(cmd.Context(), c)
			if result != nil {
				if e := printJSON(cmd.OutOrStdout(), result); e != nil {
					return e
				}
			}
			if err != nil {
				return err
			}
			slog.Info("the revision runs", "application", w.Name, "revision", w.Revision, "seconds", result.Seconds)
			return nil
		},
	}
	kubeconfigFlag(cmd, &kubeconfig)
	cmd.Flags().StringVar(&w.Name, "name", "", "the Application's name")
	cmd.Flags().StringVar(&w.Namespace, "namespace", sync.DefaultNamespace, "Argo CD's namespace")
	cmd.Flags().StringVar(&w.Revision, "revision", "", "the commit to wait for, its whole hash")
	cmd.Flags().StringVar(&w.Image, "image", "", "the image that must run, its name without tag")
	cmd.Flags().StringArrayVar(&w.Containers, "container", nil, "a container that must run the image whatever it names, repeatable (default those that name it)")
	cmd.Flags().StringVar(&w.Digest, "digest", "", "the digest of that image, sha256:…")
	cmd.Flags().DurationVar(&w.Timeout, "timeout", sync.DefaultTimeout, "how long it may take")
	cmd.Flags().BoolVar(&w.Hard, "hard", false, "have Argo CD forget what it rendered before")
	required(cmd, "kubeconfig", "name", "revision")
	return cmd
}

func newArgoCDStatus() *cobra.Command {
	var kubeconfig, namespace, name string
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Print an Application with its objects down to the pods, and their events.",
		Example: `  gitops argocd status --kubeconfig kubeconfig --name backstage`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := kube.Connect(kubeconfig)
			if err != nil {
				return err
			}
			s, err := sync.Read(cmd.Context(), c, namespace, name)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), s)
		},
	}
	kubeconfigFlag(cmd, &kubeconfig)
	cmd.Flags().StringVar(&name, "name", "", "the Application's name")
	cmd.Flags().StringVar(&namespace, "namespace", sync.DefaultNamespace, "Argo CD's namespace")
	required(cmd, "kubeconfig", "name")
	return cmd
}

// roundSeconds is a time as results have it.
func roundSeconds(d time.Duration) float64 { return math.Round(d.Seconds()*100) / 100 }
