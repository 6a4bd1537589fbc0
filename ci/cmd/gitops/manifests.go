package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/backstage-gitops/backstage-gitops/ci/kube"
	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
)

func newManifests() *cobra.Command {
	return group("manifests", "Apply Kubernetes manifests and wait until they run.", newManifestsApply(), newManifestsImages())
}

func newManifestsImages() *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:     "images",
		Short:   "List the images that manifests run.",
		Example: `  gitops manifests images --manifest core-install.yaml`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			objs, err := readManifests(files)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), append([]string{}, manifests.Images(objs)...))
		},
	}
	manifestFlag(cmd, &files)
	return cmd
}

// appliedManifests is the result of gitops manifests apply.
type appliedManifests struct {
	Objects []appliedObject `json:"objects"`
	Images  []string        `json:"images"`
	Seconds float64         `json:"seconds"`
}

type appliedObject struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
}

func newManifestsApply() *cobra.Command {
	var (
		kubeconfig string
		files      []string
		o          manifests.Options
		policy     string
		wait       time.Duration
	)
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Apply manifests by server-side apply and wait until they are rolled out.",
		Long: `Apply manifests by server-side apply, as field manager gitops, taking over fields of others: CRDs and
namespaces first. Then watch until every Deployment, StatefulSet, DaemonSet and Job is rolled out. Where
that cannot happen any more (an image that is not there, a container that crashes), fail at once with
the cluster's reason.`,
		Example: `  gitops manifests apply --kubeconfig kubeconfig --manifest traefik.yaml --namespace traefik`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch o.PullPolicy = corev1.PullPolicy(policy); o.PullPolicy {
			case "", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
			default:
				return usageError{fmt.Errorf("--pull-policy %q; it is Always, IfNotPresent or Never", policy)}
			}
			began := time.Now()
			objs, err := readManifests(files)
			if err != nil {
				return err
			}
			c, err := kube.Connect(kubeconfig)
			if err != nil {
				return err
			}
			applied, err := manifests.Apply(cmd.Context(), c, objs, o)
			if err != nil {
				return err
			}
			if wait > 0 {
				ctx, cancel := context.WithTimeoutCause(cmd.Context(), wait, fmt.Errorf("after %s", wait))
				defer cancel()
				if err := manifests.Wait(ctx, c, applied); err != nil {
					return err
				}
			}
			result := appliedManifests{Objects: []appliedObject{}, Images: append([]string{}, manifests.Images(applied)...), Seconds: roundSeconds(time.Since(began))}
			for _, obj := range applied {
				result.Objects = append(result.Objects, appliedObject{APIVersion: obj.GetAPIVersion(), Kind: obj.GetKind(), Namespace: obj.GetNamespace(), Name: obj.GetName()})
			}
			slog.Info("applied", "objects", len(applied), "seconds", result.Seconds)
			return printJSON(cmd.OutOrStdout(), result)
		},
	}
	kubeconfigFlag(cmd, &kubeconfig)
	cmd.Flags().StringVar(&o.Namespace, "namespace", "", "the namespace of objects that name none; it must exist or be in a manifest")
	cmd.Flags().StringVar(&policy, "pull-policy", "", "set every container's pull policy: Always, IfNotPresent or Never")
	cmd.Flags().DurationVar(&wait, "wait", 2*time.Minute, "how long the rollout may take, 0 not to wait")
	required(cmd, "kubeconfig")
	manifestFlag(cmd, &files)
	return cmd
}

// manifestFlag wants at least one file of manifests.
func manifestFlag(cmd *cobra.Command, files *[]string) {
	cmd.Flags().StringArrayVar(files, "manifest", nil, "a file of YAML documents, repeatable")
	also(cmd, func() error {
		if len(*files) == 0 {
			return fmt.Errorf("%s wants --manifest (a file of YAML documents, repeatable); see %s --help", cmd.CommandPath(), cmd.CommandPath())
		}
		return nil
	})
}

func readManifests(files []string) ([]*unstructured.Unstructured, error) {
	var objs []*unstructured.Unstructured
	for _, file := range files {
		more, err := readManifest(file)
		if err != nil {
			return nil, err
		}
		objs = append(objs, more...)
	}
	return objs, nil
}

// also adds a check of the command line to those that are there.
func also(cmd *cobra.Command, check func() error) {
	first := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if first != nil {
			if err := first(cmd, args); err != nil {
				return err
			}
		}
		if err := check(); err != nil {
			return usageError{err}
		}
		return nil
	}
}

func readManifest(file string) ([]*unstructured.Unstructured, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	objs, err := manifests.Decode(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return objs, nil
}

func kubeconfigFlag(cmd *cobra.Command, kubeconfig *string) {
	cmd.Flags().StringVar(kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "the cluster's kubeconfig (default $KUBECONFIG)")
}
