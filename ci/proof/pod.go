package proof

import (
	"context"
	"fmt"
	"strings"

	authzv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pod is the one that runs the portal.
func (s *Session) pod(ctx context.Context) (*corev1.Pod, error) {
	list, err := s.Client.Core.Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	var running []corev1.Pod
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			running = append(running, p)
		}
	}
	if len(running) != 1 {
		return nil, fmt.Errorf("%d pods of the portal run, not one", len(running))
	}
	return &running[0], nil
}

func (s *Session) probes(ctx context.Context) (string, error) {
	pod, err := s.pod(ctx)
	if err != nil {
		return "", err
	}
	return green(pod)
}

// green says that every container of a pod has all three probes, passed them, and was never restarted.
func green(pod *corev1.Pod) (string, error) {
	var names []string
	for _, c := range pod.Spec.Containers {
		if c.StartupProbe == nil || c.ReadinessProbe == nil || c.LivenessProbe == nil {
			return "", fmt.Errorf("the container %s has no startup, readiness or liveness probe", c.Name)
		}
		names = append(names, c.Name)
	}
	if len(pod.Status.ContainerStatuses) != len(names) {
		return "", fmt.Errorf("%d of %d containers have a status", len(pod.Status.ContainerStatuses), len(names))
	}
	for _, c := range pod.Status.ContainerStatuses {
		switch {
		case c.Started == nil || !*c.Started:
			return "", fmt.Errorf("the startup probe of %s has not passed", c.Name)
		case !c.Ready:
			return "", fmt.Errorf("the readiness probe of %s does not pass", c.Name)
		case c.RestartCount > 0:
			return "", fmt.Errorf("the container %s was restarted %d times", c.Name, c.RestartCount)
		}
	}
	return strings.Join(names, " and ") + " started, ready, and never restarted", nil
}

// service asks the Service from inside the cluster, by its name: DNS and kube-proxy are part of it.
func (s *Session) service(ctx context.Context) (string, error) {
	pod, err := s.pod(ctx)
	if err != nil {
		return "", err
	}
	var shown []string
	for _, address := range []string{
		"http://" + application + "." + namespace + ".svc:4001/.backstage/health/v1/readiness",
		"http://" + application + "." + namespace + ".svc:8000/",
	} {
		if err := until(ctx, arrives, func(ctx context.Context) error {
			status, err := s.Client.Exec(ctx, namespace, pod.Name, "backend", "node", "-e",
				"fetch(process.argv[1]).then(r => console.log(r.status), e => { console.error(String(e.cause ?? e)); process.exit(1) })", address)
			if err == nil && strings.TrimSpace(status) != "200" {
				err = fmt.Errorf("%s answers %s", address, strings.TrimSpace(status))
			}
			return err
		}); err != nil {
			return "", err
		}
		shown = append(shown, address)
	}
	return strings.Join(shown, " and ") + " answer 200", nil
}

// beyond is what the portal has no business with, in its own namespace and elsewhere.
var beyond = []authzv1.ResourceAttributes{
	{Verb: "get", Resource: "secrets", Namespace: namespace},
	{Verb: "create", Resource: "pods", Namespace: namespace},
	{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: namespace},
	{Verb: "update", Group: "apps", Resource: "deployments", Namespace: namespace},
	{Verb: "delete", Resource: "configmaps", Namespace: namespace},
	{Verb: "list", Resource: "pods", Namespace: "kube-system"},
	{Verb: "get", Resource: "secrets", Namespace: "argocd"},
	{Verb: "list", Resource: "nodes"},
	{Verb: "escalate", Group: "rbac.authorization.k8s.io", Resource: "roles", Namespace: namespace},
	{Verb: "impersonate", Resource: "users"},
}

// leastPrivileges asks the containers themselves and the API server: what they are, not what the manifest says.
func (s *Session) leastPrivileges(ctx context.Context) (string, error) {
	pod, err := s.pod(ctx)
	if err != nil {
		return "", err
	}
	const script = `
const fs = require('node:fs');
const attempt = path => { try { fs.writeFileSync(path, ''); return 'written'; } catch (e) { return e.code; } };
console.log(JSON.stringify({
  uid: process.getuid(),
  root: attempt('/proof'), app: attempt('/app/proof'), tmp: attempt('/tmp/proof'),
  capabilities: /CapEff:\s*(\S+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1],
  token: fs.existsSync('/var/run/secrets/kubernetes.io/serviceaccount/token'),
}));`
	for _, c := range pod.Spec.Containers {
		seen, err := s.Client.Exec(ctx, namespace, pod.Name, c.Name, "node", "-e", script)
		if err != nil {
			return "", err
		}
		want := `{"uid":65532,"root":"EROFS","app":"EROFS","tmp":"written","capabilities":"0000000000000000","token":false}`
		if strings.TrimSpace(seen) != want {
			return "", fmt.Errorf("the container %s is %s, not %s", c.Name, strings.TrimSpace(seen), want)
		}
	}
	_, given, err := s.account(ctx, pod.Spec.ServiceAccountName)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("uid 65532, root file system read-only, no capabilities, no token; all rights of the service account are the %d of its Role, in no other namespace any; %d asked for and refused", given, len(beyond)), nil
}

// podOf is a pod with these labels that runs and is not on its way out.
func (s *Session) podOf(ctx context.Context, namespace, labels string) (*corev1.Pod, error) {
	list, err := s.Client.Core.Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels, FieldSelector: "status.phase=Running"})
	if err != nil {
		return nil, err
	}
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			return &p, nil
		}
	}
	return nil, fmt.Errorf("no pod of %s runs in %s", labels, namespace)
}
