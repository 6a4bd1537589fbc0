package proof

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// strangers are pods in namespaces of their own: two that have nothing to do with the portal, of which one listens, and one
// in that of Prometheus, as prod's values have it.
//
//go:embed strangers.yaml
var strangers string

// denyAll lets nobody reach the pod that listens.
const denyAll = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: deny-all
  namespace: proof-listener
spec:
  podSelector: {}
  policyTypes: [Ingress]
`

var networkPolicies = schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}

// enforced is how long a network may take to know a policy.
const enforced = 30 * time.Second

// policed has the chart's NetworkPolicies, by prod's values, let the drawn flows through and refuse others. Whether the
// network enforces any policy at all is tried first, on two pods of no one: without that, nothing here would say anything of
// the chart's.
func (s *Session) policed(ctx context.Context) (string, error) {
	if err := s.provide(ctx, namespace); err != nil {
		return "", err
	}
	if err := s.shape(ctx, "test: the chart with PostgreSQL", postgresValues()); err != nil {
		return "", err
	}
	if _, err := s.runs(ctx, []byte(strings.ReplaceAll(strangers, "IMAGE", s.Image+"@"+s.Digest))); err != nil {
		return "", err
	}
	listener, err := s.podOf(ctx, "proof-listener", "app=listener")
	if err != nil {
		return "", err
	}
	stranger := func(ctx context.Context, address string) error {
		return s.reaches(ctx, "proof-stranger", "app=stranger", address)
	}
	control := listener.Status.PodIP + ":8080"
	if err := until(ctx, arrives, func(ctx context.Context) error { return stranger(ctx, control) }); err != nil {
		return "", fmt.Errorf("without a policy: %w", err)
	}
	if _, err := s.apply(ctx, []byte(denyAll)); err != nil {
		return "", err
	}
	if err := until(ctx, enforced, func(ctx context.Context) error { return refuses(ctx, stranger, control) }); err != nil {
		return "", &notHere{"no CNI that enforces NetworkPolicy: a pod still reaches another one that a policy lets nobody reach, " + enforced.String() + " after it was made"}
	}
	// It listens again: what the portal does not reach then is the doing of the portal's own policies.
	if err := s.Client.Dynamic.Resource(networkPolicies).Namespace("proof-listener").Delete(ctx, "deny-all", metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return "", err
	}
	if err := until(ctx, arrives, func(ctx context.Context) error { return stranger(ctx, control) }); err != nil {
		return "", fmt.Errorf("after the policy was gone: %w", err)
	}
	s.platform.enforcing = true
	prod, err := s.lastEnvironment()
	if err != nil {
		return "", err
	}
	values := postgresValues()
	maps.Copy(values, map[string]any{"networkPolicy": prod.values.NetworkPolicy, "metrics": map[string]any{"enabled": true}})
	if err := s.shape(ctx, "test: deny all but the drawn flows", values); err != nil {
		return "", err
	}
	return s.flows(ctx, stranger, control)
}

// beyondValues are those of a portal whose backups go to the bucket and whose traces go to the collector, with policies that
// let them out to one namespace each.
func beyondValues(policy map[string]any, backups, traces string) map[string]any {
	peer := func(namespace string) []any {
		return []any{map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{"kubernetes.io/metadata.name": namespace}}}}
	}
	values := bucketValues()
	merge(values, tracingValues())
	values["networkPolicy"] = maps.Clone(policy)
	merge(values, map[string]any{"networkPolicy": map[string]any{"objectStore": peer(backups), "tracing": peer(traces)}})
	return values
}

// policedBeyond has the policies let backups out to the bucket and traces to the collector where the values say that these
// are there, and nowhere else: with values that say that both are where a listener is, and with those that say where they
// are.
func (s *Session) policedBeyond(ctx context.Context) (string, error) {
	if !s.platform.enforcing {
		return "", &notHere{"no CNI that enforces NetworkPolicy, as the step before says"}
	}
	if _, err := s.serveBucket(ctx); err != nil {
		return "", err
	}
	if _, err := s.newCollector(ctx); err != nil {
		return "", err
	}
	prod, err := s.lastEnvironment()
	if err != nil {
		return "", err
	}
	listener, err := s.podOf(ctx, "proof-listener", "app=listener")
	if err != nil {
		return "", err
	}
	const theBucket, theCollector = "s3." + bucketNamespace + ".svc:7070", "collector." + tracingNamespace + ".svc:4318"
	elsewhere := listener.Status.PodIP + ":4318"
	for _, address := range []string{theBucket, theCollector, elsewhere} {
		if err := until(ctx, arrives, func(ctx context.Context) error { return s.reaches(ctx, "proof-stranger", "app=stranger", address) }); err != nil {
			return "", fmt.Errorf("without a policy: %w", err)
		}
	}
	if err := s.letOut(ctx, application+"-database:5432", theCollector, theBucket); err != nil {
		return "", fmt.Errorf("where neither is on: %w", err)
	}

	if err := s.shape(ctx, "test: let backups and traces out to somebody else", beyondValues(prod.values.NetworkPolicy, "proof-listener", "proof-listener")); err != nil {
		return "", err
	}
	if err := s.letOut(ctx, elsewhere, theCollector, theBucket); err != nil {
		return "", fmt.Errorf("where both are to be with the listener: %w", err)
	}
	before, err := s.rclone(ctx, listBucket)
	if err != nil {
		return "", err
	}
	refused, err := s.backupFails(ctx, "cut-off", cutOff, impatient)
	if err != nil {
		return "", err
	}
	if err := s.bucketStays(ctx, before); err != nil {
		return "", fmt.Errorf("a backup that the policies keep from the bucket: %w", err)
	}
	if _, err := s.served(ctx); err != nil {
		return "", err
	}
	if err := s.unheard(ctx); err != nil {
		return "", fmt.Errorf("of a portal that the policies keep from it %w", err)
	}

	if err := s.shape(ctx, "test: let backups out to the bucket, and traces to the collector", beyondValues(prod.values.NetworkPolicy, bucketNamespace, tracingNamespace)); err != nil {
		return "", err
	}
	if err := s.letOut(ctx, theCollector, elsewhere, theBucket); err != nil {
		return "", fmt.Errorf("where both are to be where they are: %w", err)
	}
	size, _, err := s.dumpToBucket(ctx, "let-out", "", nil)
	if err != nil {
		return "", err
	}
	// It may be that of the earlier request, which the backend has kept.
	found, _, err := s.heard(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("where the values name another namespace the backup fails, %s, and the collector has no span; where they name theirs, %s of %s bytes is in the bucket, and the span %q at the collector; refused: the portal to both without a value, to the bucket always, and to the collector's port elsewhere",
		refused, s.platform.dump, size, found.Name), nil
}

// letOut sees the portal reach an address, and others refused to it.
func (s *Session) letOut(ctx context.Context, through string, refused ...string) error {
	fromPortal := func(ctx context.Context, address string) error { return s.reaches(ctx, namespace, selector, address) }
	if err := until(ctx, enforced, func(ctx context.Context) error { return fromPortal(ctx, through) }); err != nil {
		return fmt.Errorf("the portal is not let out: %w", err)
	}
	for _, address := range refused {
		if err := until(ctx, enforced, func(ctx context.Context) error { return refuses(ctx, fromPortal, address) }); err != nil {
			return fmt.Errorf("the portal is let out: %w", err)
		}
	}
	return nil
}

// cutOff is what rclone says where it finds an address and nobody answers there.
var cutOff = regexp.MustCompile(`dial tcp [0-9.]+:[0-9]+: i/o timeout`)

// impatient has the chart's backup try the bucket once, for a short time.
func impatient(job *unstructured.Unstructured) error {
	containers, _, err := unstructured.NestedSlice(job.Object, "spec", "template", "spec", "containers")
	if err != nil {
		return err
	}
	for _, c := range containers {
		container, ok := c.(map[string]any)
		if !ok {
			return fmt.Errorf("%v is no container", c)
		}
		env, _, err := unstructured.NestedSlice(container, "env")
		if err != nil {
			return err
		}
		for name, value := range map[string]string{"RCLONE_CONTIMEOUT": "3s", "RCLONE_RETRIES": "1", "RCLONE_LOW_LEVEL_RETRIES": "1"} {
			env = append(env, map[string]any{"name": name, "value": value})
		}
		container["env"] = env
	}
	return unstructured.SetNestedSlice(job.Object, containers, "spec", "template", "spec", "containers")
}

// flows tries those that are drawn and others.
func (s *Session) flows(ctx context.Context, stranger func(context.Context, string) error, listener string) (string, error) {
	portal, err := s.podOf(ctx, namespace, selector)
	if err != nil {
		return "", err
	}
	database, err := s.podOf(ctx, namespace, "app.kubernetes.io/name="+application+"-database")
	if err != nil {
		return "", err
	}
	fromPortal := func(ctx context.Context, address string) error { return s.reaches(ctx, namespace, selector, address) }
	refused := []struct {
		what, address string
		from          func(context.Context, string) error
	}{
		{"a stranger to the API", portal.Status.PodIP + ":4001", stranger},
		{"a stranger to the metrics", portal.Status.PodIP + ":9464", stranger},
		{"a stranger to the database", database.Status.PodIP + ":5432", stranger},
		{"the portal to a stranger", listener, fromPortal},
	}
	var names []string
	for _, r := range refused {
		if err := until(ctx, enforced, func(ctx context.Context) error { return refuses(ctx, r.from, r.address) }); err != nil {
			return "", fmt.Errorf("%s is let through: %w", r.what, err)
		}
		names = append(names, r.what)
	}
	scraper := func(ctx context.Context) error {
		return s.reaches(ctx, "monitoring", "app=scraper", portal.Status.PodIP+":9464")
	}
	if err := until(ctx, enforced, scraper); err != nil {
		return "", fmt.Errorf("Prometheus' namespace to the metrics: %w", err)
	}
	if err := until(ctx, enforced, func(ctx context.Context) error { return fromPortal(ctx, application+"-database:5432") }); err != nil {
		return "", fmt.Errorf("the portal to name server and database: %w", err)
	}
	if err := until(ctx, arrives, func(ctx context.Context) error { return s.appAt(ctx, s.Ingress) }); err != nil {
		return "", fmt.Errorf("the ingress controller to the app: %w", err)
	}
	if _, err := s.served(ctx); err != nil {
		return "", fmt.Errorf("the ingress controller to the API: %w", err)
	}
	return "by prod's values let through: the ingress controller to app and API, Prometheus' namespace to the metrics, the portal to name server and database; refused: " + strings.Join(names, ", "), nil
}

// refuses says whether an address is not reached.
func refuses(ctx context.Context, from func(context.Context, string) error, address string) error {
	err := from(ctx, address)
	var unreached *errUnreached
	switch {
	case errors.As(err, &unreached):
		return nil
	case err == nil:
		return fmt.Errorf("%s is reached", address)
	}
	return err
}

// connects tries to reach HOST:PORT from a container with Node.
const connects = `
const [, address] = process.argv;
const at = address.lastIndexOf(':');
const socket = require('node:net').connect({ host: address.slice(0, at), port: Number(address.slice(at + 1)), timeout: 3000 });
socket.on('connect', () => { console.log('reached'); process.exit(); });
socket.on('timeout', () => { console.log('no answer'); process.exit(); });
socket.on('error', e => { console.log(e.code); process.exit(); });`

// errUnreached says that a connection did not come about.
type errUnreached struct{ address, why string }

func (e *errUnreached) Error() string { return e.address + " is not reached: " + e.why }

// reaches says whether a pod with these labels reaches an address.
func (s *Session) reaches(ctx context.Context, namespace, labels, address string) error {
	pod, err := s.podOf(ctx, namespace, labels)
	if err != nil {
		return err
	}
	said, err := s.Client.Exec(ctx, namespace, pod.Name, pod.Spec.Containers[0].Name, "node", "-e", connects, address)
	if err == nil && strings.TrimSpace(said) != "reached" {
		err = &errUnreached{address, strings.TrimSpace(said)}
	}
	return err
}
