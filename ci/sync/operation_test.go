package sync

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

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

// TestReadOnly has a whole wait run against clusters of the scenarios, and looks at what it asked of them.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		want  error
		text  string
		waits bool
	}{
		"done":                       {},
		"done-commit-without-effect": {},
		"operation-none":             {want: ErrFailed, text: "Argo CD has not applied anything; sync the Application, and start again"},
		"operation-failed-before":    {want: ErrFailed, text: "sync the Application, and start again"},
		"image-not-there":            {want: ErrFailed, text: "docker.io/user/backstage-gitops"},
		// Neither is Argo CD asked to look, nor the operation ended.
		"previous-revision":             {waits: true, text: "Argo CD is at"},
		"operation-of-another-revision": {waits: true, text: "is in the way"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, o := observed(t, "testdata/judge/"+name+".yaml")
			objs := []runtime.Object{o.Application}
			for _, obj := range append(o.Workloads, o.ReplicaSets...) {
				objs = append(objs, obj)
			}
			for _, pod := range o.Pods {
				objs = append(objs, asUnstructured(t, pod))
			}
			lists := map[schema.GroupVersionResource]string{
				applications: "ApplicationList", kube.Pods: "PodList", kube.ReplicaSets: "ReplicaSetList", kube.Events: "EventList",
				kube.Deployments: "DeploymentList", kube.StatefulSets: "StatefulSetList", kube.DaemonSets: "DaemonSetList", kube.Jobs: "JobList",
			}
			d := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists, objs...)
			client := &kube.Client{Dynamic: d}
			w := Wait{Name: o.Application.GetName(), Namespace: DefaultNamespace, Want: want, Timeout: time.Minute, ReadOnly: true}
			if c.waits {
				l := &loop{Wait: w, client: client, apps: d.Resource(applications).Namespace(w.Namespace)}
				if err := l.find(t.Context()); err != nil {
					t.Fatal(err)
				}
				defer l.stop()
				v, err := l.look(t.Context())
				if err != nil || !strings.Contains(v.Waiting, c.text) {
					t.Errorf("waiting for %q, %v", v.Waiting, err)
				}
				if err := l.act(t.Context(), v); err != nil {
					t.Error(err)
				}
			} else if _, err := w.Until(t.Context(), client); !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v; want %v with %q", err, c.want, c.text)
			}
			for _, action := range d.Actions() {
				if v := action.GetVerb(); v != "get" && v != "list" && v != "watch" {
					t.Errorf("a %s of %s: %+v", v, action.GetResource().Resource, action)
				}
			}
		})
	}
}
