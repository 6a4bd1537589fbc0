// Use the modules kind and argocd as another project does: with nothing but
// themselves.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"dagger/tests/internal/dagger"
)

// Tests of the modules.
type Tests struct{}

// Make a cluster with the helper program that the modules compile, install all
// of Argo CD there, and see that it runs and that bad input is refused.
//
// +cache="never"
func (t *Tests) All(ctx context.Context) (err error) {
	if err := refused(ctx); err != nil {
		return err
	}
	kind, argocd := dag.Kind(), dag.Argocd()
	registry := kind.Registry()
	full := dagger.ArgocdImagesOpts{Full: true}
	images, err := argocd.Images(ctx, full)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(images, func(image string) bool { return strings.Contains(image, "dex") }) {
		return fmt.Errorf("an installation without single sign-on wants Dex: %q", images)
	}
	if err := kind.Mirror(ctx, registry, images); err != nil {
		return err
	}
	// By its ID from here on: each use of the call itself would make another.
	id, err := kind.Cluster(dagger.KindClusterOpts{Name: "tests", Registry: registry, Fence: true}).ID(ctx)
	if err != nil {
		return err
	}
	made := dag.LoadKindClusterFromID(dagger.KindClusterID(id))
	defer func() {
		if e := made.Delete(context.WithoutCancel(ctx)); err == nil {
			err = e
		}
	}()
	installed, err := argocd.Install(ctx, made.Kubeconfig(), dagger.ArgocdInstallOpts{Cluster: made.Docker(), Full: true})
	if err != nil {
		return err
	}
	var facts struct {
		Components []struct {
			Name     string
			Replicas int
		}
	}
	if err := json.Unmarshal([]byte(installed), &facts); err != nil {
		return err
	}
	replicas := map[string]int{}
	for _, c := range facts.Components {
		replicas[c.Name] = c.Replicas
	}
	if replicas["argocd-server"] != 1 || replicas["argocd-dex-server"] != 0 {
		return fmt.Errorf("installed is %v", replicas)
	}
	available, err := made.Kubectl(ctx, []string{"--namespace", "argocd", "get", "deployment", "argocd-server", "--output", "jsonpath={.status.availableReplicas}"})
	if err == nil && available != "1" {
		err = fmt.Errorf("%q pods of argocd-server are available", available)
	}
	return err
}

// refused sees each bad input refused, with its sentence.
func refused(ctx context.Context) error {
	kind := dag.Kind()
	registry := kind.Registry()
	cluster := func(o dagger.KindClusterOpts) error {
		o.Registry = registry
		_, err := kind.Cluster(o).ID(ctx)
		return err
	}
	for want, err := range map[string]error{
		"9 workers; 0 to 8 are possible":                     cluster(dagger.KindClusterOpts{Workers: 9}),
		"no node image of Kubernetes v0.0.1":                 cluster(dagger.KindClusterOpts{Version: "v0.0.1"}),
		"would be one image in a mirror":                     kind.Mirror(ctx, registry, []string{"quay.io/a/b:1", "ghcr.io/a/b:1"}),
		`"not an image" is not an image`:                     kind.Mirror(ctx, registry, []string{"not an image"}),
		"fetch docker.io/library/no-such-image-of-anybody:1": kind.Mirror(ctx, registry, []string{"no-such-image-of-anybody:1"}),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			return fmt.Errorf("not refused with %q, but: %v", want, err)
		}
	}
	return nil
}
