package proof

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
)

// The autoscaler is of the Deployment that the environments have, and wants more pods than Git has.
func TestAutoscaler(t *testing.T) {
	t.Parallel()
	objects, err := manifests.Decode(strings.NewReader(string(autoscaler)))
	if err != nil || len(objects) != 1 {
		t.Fatal(objects, err)
	}
	target, _, _ := unstructured.NestedString(objects[0].Object, "spec", "scaleTargetRef", "name")
	fewest, _, _ := unstructured.NestedInt64(objects[0].Object, "spec", "minReplicas")
	most, _, _ := unstructured.NestedInt64(objects[0].Object, "spec", "maxReplicas")
	if target != application || fewest != 2 || most < 3 {
		t.Errorf("it scales %s from %d to %d", target, fewest, most)
	}
	// With none the API server fills in that of the CPU: where metrics-server runs, it would scale by that, and take back
	// itself what Argo CD has to.
	metrics, _, _ := unstructured.NestedSlice(objects[0].Object, "spec", "metrics")
	if len(metrics) != 1 || metrics[0].(map[string]any)["type"] != "External" {
		t.Errorf("it scales by %v", metrics)
	}
}
