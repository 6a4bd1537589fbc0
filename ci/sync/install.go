// Package sync installs Argo CD, makes its Applications, and waits until one exact revision of one really runs.
package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/backstage-gitops/backstage-gitops/ci/kube"
	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
)

// DefaultNamespace is where Argo CD is, as its own manifests have it.
const DefaultNamespace = "argocd"

// The API of Argo CD.
const (
	argoGroup   = "argoproj.io"
	argoVersion = "v1alpha1"
)

var applications = schema.GroupVersionResource{Group: argoGroup, Version: argoVersion, Resource: "applications"}

// ErrInstall says that a manifest is not one of Argo CD.
var ErrInstall = errors.New("not Argo CD's manifest")

// Install is how Argo CD is installed.
type Install struct {
	// Namespace to install in; it is created.
	Namespace string
	// Full keeps the components of the manifest, but for Dex where its argocd-cm configures no single sign-on. Without it
	// only those run that an Application needs: the application controller, the repo server and Redis.
	Full bool
	// Reconciliation is how often Argo CD looks at Git by itself. Sync never waits for that.
	Reconciliation time.Duration
}

// Installed is an Argo CD that runs.
type Installed struct {
	Version    string      `json:"version"`
	Namespace  string      `json:"namespace"`
	Components []Component `json:"components"`
	Images     []string    `json:"images"`
	Seconds    float64     `json:"seconds"`
}

// Component is a program of Argo CD.
type Component struct {
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	Replicas int64  `json:"replicas"`
}

// spared are components that nothing needs which deploys one Application without a user interface.
var spared = []string{"argocd-applicationset-controller", dex, "argocd-notifications-controller", "argocd-server", "argocd-commit-server"}

// dex signs people in with accounts of elsewhere. Without dex.config it does nothing.
const dex = "argocd-dex-server"

// spares are the components of these objects that are not to run.
func (i Install) spares(objs []*unstructured.Unstructured) []string {
	if !i.Full {
		return spared
	}
	for _, obj := range objs {
		if obj.GetKind() != "ConfigMap" || obj.GetName() != "argocd-cm" {
			continue
		}
		if config, _, _ := unstructured.NestedString(obj.Object, "data", "dex.config"); config != "" {
			return nil
		}
	}
	return []string{dex}
}

// Images are those that an installation from a manifest runs, sorted.
func (i Install) Images(objs []*unstructured.Unstructured) ([]string, error) {
	prepared, err := i.prepare(objs)
	if err != nil {
		return nil, err
	}
	return images(prepared), nil
}

// images are those of the objects that run.
func images(objs []*unstructured.Unstructured) []string {
	return manifests.Images(slices.DeleteFunc(slices.Clone(objs), func(obj *unstructured.Unstructured) bool {
		replicas, found, err := unstructured.NestedInt64(obj.Object, "spec", "replicas")
		return err == nil && found && replicas == 0
	}))
}

// Apply installs Argo CD from its own manifest and returns when it is ready.
func (i Install) Apply(ctx context.Context, c *kube.Client, objs []*unstructured.Unstructured) (*Installed, error) {
	began := time.Now()
	objs, err := i.prepare(objs)
	if err != nil {
		return nil, err
	}
	applied, err := manifests.Apply(ctx, c, objs, manifests.Options{Namespace: i.namespace(), PullPolicy: corev1.PullIfNotPresent})
	if err != nil {
		return nil, fmt.Errorf("install Argo CD: %w", err)
	}
	if err := manifests.Wait(ctx, c, applied); err != nil {
		return nil, fmt.Errorf("install Argo CD: %w", err)
	}
	result := i.describe(applied)
	result.Seconds = seconds(time.Since(began))
	return result, nil
}

func (i Install) namespace() string { return cmp.Or(i.Namespace, DefaultNamespace) }

// prepare makes the objects to apply of the manifest's.
func (i Install) prepare(objs []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	prepared := []*unstructured.Unstructured{object("v1", "Namespace", "", i.namespace(), nil)}
	spares := i.spares(objs)
	var crd, controller bool
	for _, obj := range objs {
		obj = obj.DeepCopy()
		switch kind, name := obj.GetKind(), obj.GetName(); {
		case kind == "CustomResourceDefinition" && name == applications.Resource+"."+argoGroup:
			crd = true
		case name == "argocd-application-controller" && (kind == "StatefulSet" || kind == "Deployment"):
			controller = true
		case kind == "ConfigMap" && settings[name] != nil:
			if err := merge(obj, settings[name](i)); err != nil {
				return nil, fmt.Errorf("%w: %s: %w", ErrInstall, kube.Name(obj), err)
			}
		case kind == "Deployment" && slices.Contains(spares, name):
			if err := unstructured.SetNestedField(obj.Object, int64(0), "spec", "replicas"); err != nil {
				return nil, fmt.Errorf("%w: %s: %w", ErrInstall, kube.Name(obj), err)
			}
		case kind == "ClusterRoleBinding" || kind == "RoleBinding":
			i.bind(obj)
		}
		prepared = append(prepared, obj)
	}
	if !crd || !controller {
		return nil, fmt.Errorf("%w: it lacks the CRD of Applications or the application controller; give the release's manifests/core-install.yaml", ErrInstall)
	}
	return append(prepared, i.project()), nil
}

// settings are for an Argo CD that is told when to look and is gone after a test.
var settings = map[string]func(Install) map[string]string{
	"argocd-cm": func(i Install) map[string]string {
		return map[string]string{
			"timeout.reconciliation":        cmp.Or(i.Reconciliation, DefaultReconciliation).String(),
			"timeout.reconciliation.jitter": "0s",
		}
	},
	"argocd-cmd-params-cm": func(Install) map[string]string {
		return map[string]string{
			// 2 s otherwise, between any two waves. Argo CD takes 0 for no delay (controller/sync.go, delayBetweenSyncWaves).
			"controller.sync.wave.delay.seconds": "0",
			// 180 s otherwise, in which an unreachable Git or repo server is kept to itself.
			"controller.repo.error.grace.period.seconds": "0",
		}
	},
}

// DefaultReconciliation is more often than Argo CD's own 2 minutes: where Git or the repo server was away, it is what
// recovers.
const DefaultReconciliation = 30 * time.Second

func merge(configMap *unstructured.Unstructured, data map[string]string) error {
	have, _, err := unstructured.NestedStringMap(configMap.Object, "data")
	if err != nil {
		return err
	}
	if have == nil {
		have = map[string]string{}
	}
	maps.Copy(have, data)
	return unstructured.SetNestedStringMap(configMap.Object, have, "data")
}

// bind points the service accounts of a binding at the namespace; the manifest names argocd.
func (i Install) bind(binding *unstructured.Unstructured) {
	subjects, _, _ := unstructured.NestedSlice(binding.Object, "subjects")
	for _, s := range subjects {
		if m, ok := s.(map[string]any); ok && m["namespace"] != nil {
			m["namespace"] = i.namespace()
		}
	}
	_ = unstructured.SetNestedSlice(binding.Object, subjects, "subjects")
}

// project is the AppProject that every Application is in by default. argocd-server makes it, and the core installation
// has none.
func (i Install) project() *unstructured.Unstructured {
	return object(argoGroup+"/"+argoVersion, "AppProject", i.namespace(), DefaultProject, map[string]any{
		"sourceRepos":              []any{"*"},
		"destinations":             []any{map[string]any{"server": "*", "namespace": "*"}},
		"clusterResourceWhitelist": []any{map[string]any{"group": "*", "kind": "*"}},
	})
}

func (i Install) describe(objs []*unstructured.Unstructured) *Installed {
	result := &Installed{Namespace: i.namespace(), Images: images(objs)}
	for _, obj := range objs {
		switch obj.GetKind() {
		case "Deployment", "StatefulSet":
			replicas, found, _ := unstructured.NestedInt64(obj.Object, "spec", "replicas")
			if !found {
				replicas = 1
			}
			result.Components = append(result.Components, Component{Kind: obj.GetKind(), Name: obj.GetName(), Replicas: replicas})
		}
		if obj.GetName() == "argocd-repo-server" && obj.GetKind() == "Deployment" {
			for _, image := range manifests.Images([]*unstructured.Unstructured{obj}) {
				if _, tag, ok := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":"); ok {
					result.Version, _, _ = strings.Cut(tag, "@")
				}
			}
		}
	}
	return result
}

func object(apiVersion, kind, namespace, name string, spec map[string]any) *unstructured.Unstructured {
	obj := &unstructured.Unstructured{Object: map[string]any{}}
	obj.SetAPIVersion(apiVersion)
	obj.SetKind(kind)
	obj.SetName(name)
	if namespace != "" {
		obj.SetNamespace(namespace)
	}
	if spec != nil {
		obj.Object["spec"] = spec
	}
	return obj
}
