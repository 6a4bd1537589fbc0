package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/yaml"

	"github.com/backstage-gitops/backstage-gitops/ci/kube"
	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
)

// DefaultProject is the project of Applications that name none.
const DefaultProject = "default"

// ErrApplication says that an Application cannot be made.
var ErrApplication = errors.New("invalid application")

// Application is a chart in Git that Argo CD keeps running.
type Application struct {
	// Name of the Application.
	Name string
	// Release is the name of the Helm release; empty: that of the Application.
	Release string
	// Namespace of the Application: Argo CD's.
	Namespace string
	// Project is an AppProject of that namespace.
	Project string
	// Repo is the URL of the Git repository, as Argo CD reaches it.
	Repo string
	// Path is the chart's folder in the repository.
	Path string
	// Revision is what to follow: a branch, a tag or a commit.
	Revision string
	// DestinationNamespace is where the chart's objects go; Argo CD creates it.
	DestinationNamespace string
	// Values are Helm values, YAML.
	Values []byte
	// ServerSide has Argo CD apply by server-side apply, for objects too large for an annotation of themselves.
	ServerSide bool
}

// Validate says in one sentence what is wrong.
func (a Application) Validate() error {
	for _, n := range []struct{ what, name string }{
		{"name", a.Name}, {"release", cmp.Or(a.Release, a.Name)}, {"namespace", a.Namespace}, {"project", a.Project}, {"destination namespace", a.DestinationNamespace},
	} {
		if len(validation.IsDNS1123Label(n.name)) > 0 {
			return fmt.Errorf("%w: the %s %q; lower-case letters, digits and dashes make one", ErrApplication, n.what, n.name)
		}
	}
	u, err := url.Parse(a.Repo)
	switch {
	case err != nil || u.Host == "":
		return fmt.Errorf("%w: the repository %q is not a URL", ErrApplication, a.Repo)
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "ssh":
		return fmt.Errorf("%w: Argo CD reads no repository by %s://; serve it by http, https or ssh", ErrApplication, u.Scheme)
	case u.User != nil && u.Scheme != "ssh":
		return fmt.Errorf("%w: the repository's URL holds a password or a token, which everybody could read who may read the Application", ErrApplication)
	}
	if a.Path == "" || path.IsAbs(a.Path) || path.Clean(a.Path) != a.Path || a.Path == ".." || strings.HasPrefix(a.Path, "../") {
		return fmt.Errorf("%w: the path %q is not one below the repository, such as charts/backstage", ErrApplication, a.Path)
	}
	if a.Revision == "" || strings.ContainsAny(a.Revision, " \t\n") {
		return fmt.Errorf("%w: the revision %q; give a branch, a tag or a commit", ErrApplication, a.Revision)
	}
	var values map[string]any
	if err := yaml.UnmarshalStrict(a.Values, &values); err != nil {
		return fmt.Errorf("%w: the values are not a YAML mapping: %w", ErrApplication, err)
	}
	return nil
}

func (a Application) defaults() Application {
	a.Namespace = cmp.Or(a.Namespace, DefaultNamespace)
	a.Project = cmp.Or(a.Project, DefaultProject)
	a.Release = cmp.Or(a.Release, a.Name)
	return a
}

// Object is the Application as Argo CD reads it. It follows Git by itself: what changes is synced, what drifts healed,
// what is gone pruned.
func (a Application) Object() *unstructured.Unstructured {
	a = a.defaults()
	helm := map[string]any{"releaseName": a.Release}
	if len(a.Values) > 0 {
		helm["values"] = string(a.Values)
	}
	options := []any{"CreateNamespace=true"}
	if a.ServerSide {
		options = append(options, "ServerSideApply=true")
	}
	return object(argoGroup+"/"+argoVersion, "Application", a.Namespace, a.Name, map[string]any{
		"project": a.Project,
		"source": map[string]any{
			"repoURL": a.Repo, "path": a.Path, "targetRevision": a.Revision, "helm": helm,
		},
		"destination": map[string]any{"server": "https://kubernetes.default.svc", "namespace": a.DestinationNamespace},
		"syncPolicy": map[string]any{
			"automated":   map[string]any{"prune": true, "selfHeal": true},
			"syncOptions": options,
			"retry": map[string]any{
				"limit": int64(5),
				// A retry takes the newest commit: the one that mends what failed.
				"refresh": true,
				"backoff": map[string]any{"duration": "2s", "factor": int64(2), "maxDuration": "30s"},
			},
		},
	})
}

// Apply makes or changes the Application.
func (a Application) Apply(ctx context.Context, c *kube.Client) (*unstructured.Unstructured, error) {
	a = a.defaults()
	if err := a.Validate(); err != nil {
		return nil, err
	}
	applied, err := manifests.Apply(ctx, c, []*unstructured.Unstructured{a.Object()}, manifests.Options{})
	if err != nil {
		return nil, err
	}
	return applied[0], nil
}

// Delete removes an Application with what it deployed, and waits until both are gone, as long as the limit. One that is
// not there is no error.
func Delete(ctx context.Context, c *kube.Client, namespace, name string, limit time.Duration) error {
	api := c.Dynamic.Resource(applications).Namespace(namespace)
	// Without the finalizer Argo CD forgets the Application and leaves the rest where it is.
	finalizer := []byte(`{"metadata":{"finalizers":["resources-finalizer.argocd.argoproj.io/foreground"]}}`)
	_, err := api.Patch(ctx, name, types.MergePatchType, finalizer, metav1.PatchOptions{FieldManager: manifests.Manager})
	if err == nil {
		err = api.Delete(ctx, name, metav1.DeleteOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete the Application %s/%s: %w", namespace, name, kube.Unreachable(err))
	}
	return Gone(ctx, c, namespace, name, limit)
}

// Gone waits until there is no Application of that name, as long as the limit.
func Gone(ctx context.Context, c *kube.Client, namespace, name string, limit time.Duration) error {
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, limit, true, func(ctx context.Context) (bool, error) {
		_, err := c.Dynamic.Resource(applications).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
	switch {
	case wait.Interrupted(err) && ctx.Err() == nil:
		return fmt.Errorf("the Application %s/%s is still there after %s", namespace, name, limit)
	case err != nil:
		return fmt.Errorf("wait for the end of the Application %s/%s: %w", namespace, name, kube.Unreachable(err))
	}
	return nil
}
