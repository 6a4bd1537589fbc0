package proof

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Each is an Application that Argo CD would take, but for one thing.
func TestIntruders(t *testing.T) {
	t.Parallel()
	const repo, chart, branch, namespace = "http://git.example/portal.git", "charts/backstage", "main", "backstage-dev"
	names := map[string]bool{}
	for _, i := range intruders(repo, chart, branch, namespace) {
		if err := i.Validate(); err != nil {
			t.Errorf("%s: %v", i.what, err)
		}
		differs := 0
		for _, other := range []bool{i.Repo != repo, i.DestinationNamespace != namespace, len(i.Values) > 0} {
			if other {
				differs++
			}
		}
		if differs != 1 || names[i.Name] || i.Project != portal {
			t.Errorf("%s differs in %d things: %+v", i.what, differs, i.Application)
		}
		names[i.Name] = true
	}
	if len(names) != 3 {
		t.Errorf("there are %d", len(names))
	}
}

func TestSayings(t *testing.T) {
	t.Parallel()
	app := &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{
		"conditions":     []any{map[string]any{"type": "InvalidSpecError", "message": "not permitted"}, "text"},
		"operationState": map[string]any{"syncResult": map[string]any{"resources": []any{map[string]any{"kind": "ClusterRole", "message": "no such kind"}}}},
	}}}
	if got := sayings(app); !slices.Equal(got, []string{"not permitted", "no such kind"}) {
		t.Errorf("got %q", got)
	}
	if got := sayings(&unstructured.Unstructured{Object: map[string]any{}}); got != nil {
		t.Errorf("got %q", got)
	}
}
