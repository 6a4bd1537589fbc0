package proof

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/backstage-gitops/backstage-gitops/ci/kube"
	"github.com/backstage-gitops/backstage-gitops/ci/sync"
)

// intruder is an Application that wants something of the portal's project which is not the portal's.
type intruder struct {
	what string
	sync.Application
	// because is what Argo CD has to say of it.
	because string
}

// clusterRole is of a kind that the project does not have.
const clusterRole = `extraObjects:
  - apiVersion: rbac.authorization.k8s.io/v1
    kind: ClusterRole
    metadata:
      name: proof-intruder
    rules: []
`

// elsewhereNamespace is none of the project's.
const elsewhereNamespace = "backstage-elsewhere"

// intruders differ from an environment's Application in one thing each.
func intruders(repo, chart, branch, namespace string) []intruder {
	app := func(name string) sync.Application {
		return sync.Application{
			Name: name, Repo: repo, Path: chart, Revision: branch, Namespace: sync.DefaultNamespace, Project: portal,
			DestinationNamespace: namespace, ServerSide: true,
		}
	}
	place, source, kind := app("intruder-place"), app("intruder-source"), app("intruder-kind")
	place.DestinationNamespace = elsewhereNamespace
	source.Repo = strings.TrimSuffix(repo, ".git") + "-of-others.git"
	kind.Values = []byte(clusterRole)
	return []intruder{
		{"another namespace", place, fmt.Sprintf("namespace '%s' do not match any of the allowed destinations in project '%s'", elsewhereNamespace, portal)},
		{"another repository", source, fmt.Sprintf("application repo %s is not permitted in project '%s'", source.Repo, portal)},
		{"a ClusterRole", kind, fmt.Sprintf("resource rbac.authorization.k8s.io:ClusterRole is not permitted in project %s", portal)},
	}
}

// guarded has Argo CD refuse, by the portal's project, what is not the portal's. The environments' own Applications, which
// run meanwhile, show that it takes what is.
func (s *Session) guarded(ctx context.Context) (string, error) {
	var shown []string
	for _, i := range intruders(s.repo, s.Chart, s.Branch, s.platform.stages[0].Namespace) {
		if err := s.kept(ctx, i); err != nil {
			return "", fmt.Errorf("%s: %w", i.what, err)
		}
		shown = append(shown, fmt.Sprintf("%s: %q", i.what, i.because))
	}
	return "refused, and nothing of it made: " + strings.Join(shown, "; "), nil
}

// kept sees one intruder refused for its reason, and nothing made of it.
func (s *Session) kept(ctx context.Context, i intruder) error {
	if _, err := i.Apply(ctx, s.Client); err != nil {
		return err
	}
	refused := until(ctx, s.Timeout, func(ctx context.Context) error {
		app, err := s.getFrom(ctx, sync.DefaultNamespace, "argoproj.io/v1alpha1", "Application", i.Name)
		if err != nil {
			return err
		}
		said := sayings(app)
		if !slices.ContainsFunc(said, func(text string) bool { return strings.Contains(text, i.because) }) {
			return fmt.Errorf("Argo CD does not say %q, but %q", i.because, said)
		}
		return nil
	})
	// It goes also where the run is interrupted.
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Timeout)
	defer cancel()
	return errors.Join(refused, s.absent(ctx, i), s.forget(limited, i))
}

// forget deletes an intruder without what it deployed, which is nothing: Argo CD would first try its operation to the end.
func (s *Session) forget(ctx context.Context, i intruder) error {
	if err := s.remove(ctx, i.Object()); err != nil {
		return err
	}
	return sync.Gone(ctx, s.Client, sync.DefaultNamespace, i.Name, s.Timeout)
}

// sayings are what Argo CD says of an Application: its conditions, and the results of its last operation.
func sayings(app *unstructured.Unstructured) []string {
	var said []string
	for _, path := range [][]string{{"status", "conditions"}, {"status", "operationState", "syncResult", "resources"}} {
		all, _, _ := unstructured.NestedSlice(app.Object, path...)
		for _, one := range all {
			if one, ok := one.(map[string]any); ok {
				said = append(said, fmt.Sprint(one["message"]))
			}
		}
	}
	return said
}

// absent says that nothing of an intruder is in the cluster.
func (s *Session) absent(ctx context.Context, i intruder) error {
	if _, err := s.getFrom(ctx, "", "rbac.authorization.k8s.io/v1", "ClusterRole", "proof-intruder"); !apierrors.IsNotFound(err) {
		return fmt.Errorf("there is a ClusterRole of it (%v)", err)
	}
	if _, err := s.Client.Core.Namespaces().Get(ctx, elsewhereNamespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("there is a namespace of it (%v)", err)
	}
	for _, resource := range []schema.GroupVersionResource{kube.Deployments, {Version: "v1", Resource: "services"}, {Version: "v1", Resource: "configmaps"}} {
		found, err := s.Client.Dynamic.Resource(resource).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + i.Name})
		if err != nil {
			return err
		}
		if len(found.Items) > 0 {
			return fmt.Errorf("there is %s of it", kube.Name(&found.Items[0]))
		}
	}
	return nil
}
