package sync

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"

	"github.com/backstage-gitops/backstage-gitops/ci/kube"
)

func TestDelete(t *testing.T) {
	t.Parallel()
	a := app().defaults()
	d := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{applications: "ApplicationList"}, a.Object())
	c := &kube.Client{Dynamic: d}
	err := Gone(t.Context(), c, a.Namespace, a.Name, time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "the Application argocd/backstage is still there after 1ms") {
		t.Errorf("one that is there is gone: %v", err)
	}
	for range 2 { // The second finds none.
		if err := Delete(t.Context(), c, a.Namespace, a.Name, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	var cascades bool
	for _, action := range d.Actions() {
		if p, ok := action.(interface{ GetPatch() []byte }); ok {
			cascades = cascades || strings.Contains(string(p.GetPatch()), "resources-finalizer.argocd.argoproj.io/foreground")
		}
	}
	if !cascades {
		t.Errorf("what it deployed would stay: %v", d.Actions())
	}
}

func TestReleaseOfAnotherName(t *testing.T) {
	t.Parallel()
	for release, want := range map[string]string{"": "backstage", "portal": "portal"} {
		a := app()
		a.Release = release
		if err := a.defaults().Validate(); err != nil {
			t.Error(err)
		}
		if got, _, _ := unstructured.NestedString(a.Object().Object, "spec", "source", "helm", "releaseName"); got != want {
			t.Errorf("the release is %q, not %q", got, want)
		}
	}
	a := app()
	a.Release = "Portal"
	if err := a.defaults().Validate(); err == nil || !strings.Contains(err.Error(), `the release "Portal"`) {
		t.Errorf("got %v", err)
	}
}
