package proof

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
)

func condition(kind, status string) any {
	return map[string]any{"type": kind, "status": status, "reason": "Because", "message": "so it is"}
}

func TestAccepted(t *testing.T) {
	t.Parallel()
	parent := func(conditions ...any) any { return map[string]any{"conditions": conditions} }
	well := parent(condition("Accepted", "True"), condition("ResolvedRefs", "True"))
	cases := map[string]struct {
		parents []any
		want    string
	}{
		"taken":                  {[]any{well}, ""},
		"nobody has looked yet":  {nil, "0 of the 1 Gateways"},
		"two where one is named": {[]any{well, well}, "2 of the 1 Gateways"},
		"refused":                {[]any{parent(condition("Accepted", "False"), condition("ResolvedRefs", "True"))}, "the HTTPRoute: it is not Accepted: Because: so it is"},
		"leads nowhere":          {[]any{parent(condition("Accepted", "True"), condition("ResolvedRefs", "False"))}, "it is not ResolvedRefs"},
		"half of it is said":     {[]any{parent(condition("Accepted", "True"))}, "nothing is said yet of whether it is ResolvedRefs"},
		"no status":              {[]any{"text"}, "is no status of a Gateway"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			route := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"parentRefs": publicGateway()}, "status": map[string]any{"parents": c.parents}}}
			if got := text(accepted(route)); !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// The Gateway is the one that the route names, on the port of an entry point of the ingress controller, which gets its
// arguments on top of its own.
func TestGatewayOfTheSession(t *testing.T) {
	t.Parallel()
	objects, err := manifests.Decode(strings.NewReader(string(gatewayManifest)))
	if err != nil {
		t.Fatal(err)
	}
	gateway := objects[len(objects)-1]
	ref := publicGateway()[0].(map[string]any)
	if gateway.GetName() != ref["name"] || gateway.GetNamespace() != ref["namespace"] {
		t.Errorf("the route names %v, the Gateway is %s/%s", ref, gateway.GetNamespace(), gateway.GetName())
	}
	listeners, _, err := unstructured.NestedSlice(gateway.Object, "spec", "listeners")
	if err != nil || len(listeners) != 1 {
		t.Fatalf("the listeners are %v, %v", listeners, err)
	}
	listener := listeners[0].(map[string]any)
	if listener["name"] != ref["sectionName"] {
		t.Errorf("the route names the listener %v, there is %v", ref["sectionName"], listener["name"])
	}
	plain, more := arguments(t), arguments(t, "--more")
	if !slices.Contains(plain, "--entrypoints.web.address=:8080") || listener["port"] != int64(8080) {
		t.Errorf("the port is %v, the controller's arguments are %q", listener["port"], plain)
	}
	if !slices.Equal(more, append(plain, "--more")) {
		t.Errorf("got %q", more)
	}
}

func arguments(t *testing.T, more ...string) []string {
	t.Helper()
	controller, err := ingressController(more...)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range controller {
		if o.GetKind() == "Deployment" {
			containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
			args, _, err := unstructured.NestedStringSlice(containers[0].(map[string]any), "args")
			if err != nil {
				t.Fatal(err)
			}
			return args
		}
	}
	t.Fatal("no Deployment")
	return nil
}

func TestUnanswered(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Host {
		case "portal.example":
			_, _ = w.Write([]byte(title))
		case "error.example":
			w.WriteHeader(http.StatusBadGateway)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	for host, want := range map[string]string{"portal.example": "answers for portal.example: 200 OK", "error.example": "502", "elsewhere.example": ""} {
		if got := text(unanswered(t.Context(), server.URL, host)); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: got %q, want %q", host, got, want)
		}
	}
}
