package proof

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/backstage-gitops/backstage-gitops/ci/health"
	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
)

//go:embed gateway.yaml
var gatewayManifest []byte

// gatewayAPI is the version of the objects' kinds.
const gatewayAPI = "gateway.networking.k8s.io/v1"

// publicGateway are the chart's parentRefs for the Gateway of gateway.yaml.
func publicGateway() []any {
	return []any{map[string]any{"name": "public", "namespace": "traefik", "sectionName": "web"}}
}

// gateway has the session's ingress controller serve the Gateway API as well. That takes a restart, and the API's kinds, so
// only who asks for it gets it.
func (s *Session) gateway(ctx context.Context) (string, error) {
	shown, err := s.serveGateway(ctx)
	if err != nil {
		// The step that gives back what there was does not come then.
		_, again := s.startIngress(ctx)
		err = errors.Join(err, again)
	}
	return shown, err
}

// serveGateway has a Gateway that the ingress controller has accepted.
func (s *Session) serveGateway(ctx context.Context) (string, error) {
	if _, err := s.install(ctx, "gateway-api"); err != nil {
		return "", err
	}
	if _, err := s.apply(ctx, gatewayManifest); err != nil {
		return "", err
	}
	controller, err := ingressController("--providers.kubernetesgateway", "--providers.kubernetesgateway.statusaddress.ip=127.0.0.1")
	if err != nil {
		return "", err
	}
	if err := s.runIngress(ctx, controller); err != nil {
		return "", err
	}
	var of string
	if err := until(ctx, arrives, func(ctx context.Context) error {
		gateway, err := s.getFrom(ctx, "traefik", gatewayAPI, "Gateway", "public")
		if err != nil {
			return err
		}
		of, _, _ = unstructured.NestedString(gateway.Object, "spec", "gatewayClassName")
		conditions, _, _ := unstructured.NestedSlice(gateway.Object, "status", "conditions")
		return fulfilled(conditions, "Accepted", "Programmed")
	}); err != nil {
		return "", fmt.Errorf("the Gateway: %w", err)
	}
	return fmt.Sprintf("%s has a Gateway of the class %s, which is Accepted and Programmed", manifests.Images(controller)[0], of), nil
}

// routed switches the Ingress off and the HTTPRoute on, and sees the portal go and come back. Then all is as it was.
func (s *Session) routed(ctx context.Context) (string, error) {
	shown, err := s.throughGateway(ctx)
	return shown, errors.Join(err, s.backToIngress(ctx))
}

// throughGateway uses the portal where nothing but the Gateway leads to it.
func (s *Session) throughGateway(ctx context.Context) (string, error) {
	address, err := url.Parse(s.Ingress)
	if err != nil {
		return "", err
	}
	values, err := s.values()
	if err != nil {
		return "", err
	}
	// The session's own values are above those of the commits.
	if values, err = amended(values, map[string]any{"ingress": map[string]any{"enabled": false}}); err != nil {
		return "", err
	}
	if _, err := s.deployed(values).Apply(ctx, s.Client); err != nil {
		return "", err
	}
	if err := s.shape(ctx, "test: the chart as it was released", nil); err != nil {
		return "", err
	}
	if _, err := s.get(ctx, "networking.k8s.io/v1", "Ingress", application); !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("the Ingress %s is still there (%v)", application, err)
	}
	if err := until(ctx, arrives, func(ctx context.Context) error { return unanswered(ctx, s.Ingress+"/", address.Host) }); err != nil {
		return "", fmt.Errorf("without Ingress and HTTPRoute: %w", err)
	}
	if err := s.shape(ctx, "test: a route through the Gateway", map[string]any{"httpRoute": map[string]any{
		"enabled": true, "parentRefs": publicGateway(), "hostnames": []any{address.Hostname()},
	}}); err != nil {
		return "", err
	}
	route, err := s.get(ctx, gatewayAPI, "HTTPRoute", application)
	if err != nil {
		return "", err
	}
	if err := accepted(route); err != nil {
		return "", err
	}
	used, err := s.ingress(ctx)
	if err != nil {
		return "", err
	}
	const stranger = "elsewhere.example"
	if err := unanswered(ctx, s.Ingress+"/", stranger); err != nil {
		return "", err
	}
	return fmt.Sprintf("without the Ingress nothing answered; with the HTTPRoute, Accepted and ResolvedRefs, %s; %s is no host of it, and is not answered", used, stranger), nil
}

// backToIngress has the released chart's Ingress lead to the portal again, by an ingress controller that knows nothing
// else.
func (s *Session) backToIngress(ctx context.Context) error {
	values, err := s.values()
	if err != nil {
		return err
	}
	if _, err := s.deployed(values).Apply(ctx, s.Client); err != nil {
		return err
	}
	if err := s.shape(ctx, "test: the chart as it was released", nil); err != nil {
		return err
	}
	if _, err := s.startIngress(ctx); err != nil {
		return err
	}
	return until(ctx, arrives, func(ctx context.Context) error { return s.appAt(ctx, s.Ingress) })
}

// accepted says whether every Gateway that a route names takes it and finds what it leads to.
func accepted(route *unstructured.Unstructured) error {
	wanted, _, _ := unstructured.NestedSlice(route.Object, "spec", "parentRefs")
	parents, _, _ := unstructured.NestedSlice(route.Object, "status", "parents")
	if len(wanted) == 0 || len(parents) != len(wanted) {
		return fmt.Errorf("%d of the %d Gateways of the HTTPRoute say something of it", len(parents), len(wanted))
	}
	for _, p := range parents {
		parent, ok := p.(map[string]any)
		if !ok {
			return fmt.Errorf("%v is no status of a Gateway", p)
		}
		conditions, _, _ := unstructured.NestedSlice(parent, "conditions")
		if err := fulfilled(conditions, "Accepted", "ResolvedRefs"); err != nil {
			return fmt.Errorf("the HTTPRoute: %w", err)
		}
	}
	return nil
}

// fulfilled says whether the conditions of these types are true.
func fulfilled(conditions []any, types ...string) error {
	for _, t := range types {
		c, known := health.ConditionOf(conditions, t)
		switch {
		case !known:
			return fmt.Errorf("nothing is said yet of whether it is %s", t)
		case c.Status != "True":
			return fmt.Errorf("it is not %s: %s: %s", t, c.Reason, c.Message)
		}
	}
	return nil
}

// unanswered says whether an address leads nowhere, for those who ask for a host.
func unanswered(ctx context.Context, address, host string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	r.Host = host
	answer, text, err := exchange(r)
	switch {
	case err != nil:
		return err
	case answer.StatusCode != http.StatusNotFound || strings.Contains(string(text), title):
		return fmt.Errorf("%s answers for %s: %s", address, host, answer.Status)
	}
	return nil
}
