package proof

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/backstage-gitops/backstage-gitops/ci/chart"
)

// The chart takes the values, and draws both flows to the namespaces that they name, on the ports of what is there.
func TestBeyondValues(t *testing.T) {
	t.Parallel()
	const root = "../.."
	prod, err := (&Session{repository: &repository{dir: root}}).lastEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	values := beyondValues(prod.values.NetworkPolicy, "with-bucket", "with-collector")
	if _, mixed := prod.values.NetworkPolicy["tracing"]; mixed {
		t.Error("prod's own values have become others")
	}
	values["image"] = map[string]any{"tag": "a"}
	text, err := merged(filepath.Join(root, "charts/backstage/values.yaml"), values)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	rendered, err := chart.Render(t.Context(), filepath.Join(root, "charts/backstage"), chart.Release{Name: application}, file)
	if err != nil {
		t.Fatal(err)
	}
	drawn := func(policy, namespace, port string) bool {
		return slices.ContainsFunc(rendered.Manifests, func(m chart.Manifest) bool {
			_, rule, found := strings.Cut(m.YAML, "kubernetes.io/metadata.name: "+namespace+"\n")
			return m.Kind == "NetworkPolicy" && m.Name == policy && found && strings.HasPrefix(strings.Join(strings.Fields(rule), " "), "ports: - port: "+port+" ")
		})
	}
	for _, c := range []struct{ policy, namespace, port string }{{application + "-backup", "with-bucket", "7070"}, {application, "with-collector", "4318"}} {
		if !drawn(c.policy, c.namespace, c.port) {
			t.Errorf("%s lets nobody out to port %s of %s", c.policy, c.port, c.namespace)
		}
	}
}

func TestImpatient(t *testing.T) {
	t.Parallel()
	job := func(containers ...any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": containers}}}}}
	}
	own := map[string]any{"name": "BUCKET", "value": "b"}
	try := job(map[string]any{"name": "upload", "env": []any{own}})
	if err := impatient(try); err != nil {
		t.Fatal(err)
	}
	containers, _, _ := unstructured.NestedSlice(try.Object, "spec", "template", "spec", "containers")
	env := containers[0].(map[string]any)["env"].([]any)
	for _, want := range []any{own, map[string]any{"name": "RCLONE_CONTIMEOUT", "value": "3s"}, map[string]any{"name": "RCLONE_RETRIES", "value": "1"}} {
		if !slices.ContainsFunc(env, func(got any) bool { return reflect.DeepEqual(got, want) }) {
			t.Errorf("the environment lacks %v: %v", want, env)
		}
	}
	if err := impatient(job("text")); err == nil {
		t.Error("a text is a container")
	}
}
