package kube

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
)

func pod(namespace, name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"namespace": namespace, "name": name},
	}}
}

// TestObserve uses client-go's own stand-in for an API server: one with a kubelet is the cluster's tests' matter.
func TestObserve(t *testing.T) {
	t.Parallel()
	d := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{Pods: "PodList"}, pod("ns", "a"), pod("other", "b"))
	c := &Client{Dynamic: d}
	scope := Scope{Resource: Pods, Namespace: "ns"}
	o, err := c.Observe(t.Context(), scope, scope)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Stop()
	if got := o.List(scope); len(got) != 1 || got[0].GetName() != "a" {
		t.Fatalf("got %v", got)
	}
	if got := o.List(Scope{Resource: Nodes}); got != nil {
		t.Errorf("a scope that is not watched has %v", got)
	}
	// What was listed is a change as well; wait for one that shows the new pod.
	if _, err := d.Resource(Pods).Namespace("ns").Create(t.Context(), pod("ns", "c"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	limit := time.After(10 * time.Second)
	for len(o.List(scope)) != 2 {
		select {
		case <-o.Changed():
		case <-limit:
			t.Fatal("the new pod was not seen")
		}
	}
	// A copy: whoever gets it may change it.
	o.List(scope)[0].SetName("changed")
	for _, obj := range o.List(scope) {
		if obj.GetName() == "changed" {
			t.Error("the observer's own object was changed")
		}
	}
}

func TestObserveEnds(t *testing.T) {
	t.Parallel()
	// Nothing listens on port 1.
	c, err := Connect(kubeconfig(t, "https://127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	want := "watch the cluster: the cluster's API at https://127.0.0.1:1 does not answer: dial tcp 127.0.0.1:1: connect: connection refused"
	if _, err := c.Observe(ctx, Scope{Resource: Pods}); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func kubeconfig(t *testing.T, server string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := `{apiVersion: v1, kind: Config, current-context: a, clusters: [{name: a, cluster: {server: "` + server + `"}}], contexts: [{name: a, context: {cluster: a}}]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestConnect(t *testing.T) {
	t.Parallel()
	if _, err := Connect(filepath.Join(t.TempDir(), "nowhere")); !errors.Is(err, ErrKubeconfig) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Connect(kubeconfig(t, "")); !errors.Is(err, ErrKubeconfig) {
		t.Errorf("no server: %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	network := &url.Error{Op: "Get", URL: "https://docker:6443/api/v1/pods?limit=500", Err: &net.DNSError{Err: "no such host", Name: "docker"}}
	if got := Unreachable(network).Error(); got != "the cluster's API at https://docker:6443 does not answer: lookup docker: no such host" {
		t.Errorf("got %s", got)
	}
	other := errors.New("other")
	if !errors.Is(Unreachable(other), other) {
		t.Error("another error was changed")
	}
}

func TestAs(t *testing.T) {
	t.Parallel()
	broken := pod("ns", "b")
	broken.Object["spec"] = "text"
	if got := As[corev1.Pod]([]*unstructured.Unstructured{pod("ns", "a"), broken}); len(got) != 1 || got[0].Name != "a" {
		t.Errorf("got %v", got)
	}
}
