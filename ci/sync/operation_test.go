package sync

import (
	"encoding/json"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"

	"github.com/backstage-gitops/backstage-gitops/ci/kube"
)

// TestOperation asks a cluster for an operation, and reads what it was asked for.
func TestOperation(t *testing.T) {
	t.Parallel()
	a := app().defaults()
	obj := a.Object()
	d := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{applications: "ApplicationList"}, obj)
	c := &kube.Client{Dynamic: d}
	l := &loop{Wait: Wait{Name: a.Name, Namespace: a.Namespace, Want: Want{Revision: wantedRevision}}, client: c, apps: d.Resource(applications).Namespace(a.Namespace)}
	o, err := c.Observe(t.Context(), l.appScope())
	if err != nil {
		t.Fatal(err)
	}
	l.observer = o
	defer l.stop()
	for range 2 { // Once is enough.
		if err := l.act(t.Context(), Verdict{Sync: true}); err != nil {
			t.Fatal(err)
		}
	}
	var patches [][]byte
	for _, action := range d.Actions() {
		if p, ok := action.(interface{ GetPatch() []byte }); ok {
			patches = append(patches, p.GetPatch())
		}
	}
	if len(patches) != 1 {
		t.Fatalf("%d patches: %s", len(patches), patches)
	}
	var got struct {
		Operation struct {
			Sync struct {
				Revision    string
				Prune       bool
				SyncOptions []string
			}
			Retry struct{ Limit int }
		}
	}
	if err := json.Unmarshal(patches[0], &got); err != nil {
		t.Fatal(err)
	}
	op := got.Operation
	if op.Sync.Revision != wantedRevision || !op.Sync.Prune || len(op.Sync.SyncOptions) != 1 || op.Retry.Limit != 5 {
		t.Errorf("asked for %s", patches[0])
	}
}
