package proof

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
	"github.com/backstage-gitops/backstage-gitops/ci/sync"
)

// metered installs metrics-server and waits until it knows the portal's pod.
func (s *Session) metered(ctx context.Context) (string, error) {
	images, err := s.install(ctx, "metrics-server")
	if err != nil {
		return "", err
	}
	s.Client.Mapper.Reset()
	var used string
	if err := until(ctx, 3*time.Minute, func(ctx context.Context) error {
		pod, err := s.pod(ctx)
		if err != nil {
			return err
		}
		metrics, err := s.get(ctx, "metrics.k8s.io/v1beta1", "PodMetrics", pod.Name)
		if err != nil {
			s.Client.Mapper.Reset()
			return err
		}
		var all []string
		containers, _, _ := unstructured.NestedSlice(metrics.Object, "containers")
		for _, c := range containers {
			m, ok := c.(map[string]any)
			if !ok {
				continue
			}
			cpu, _, _ := unstructured.NestedString(m, "usage", "cpu")
			all = append(all, fmt.Sprintf("%s %s", m["name"], cpu))
		}
		if used = strings.Join(all, ", "); used == "" {
			return errors.New("the metrics of the portal's pod name no container")
		}
		return nil
	}); err != nil {
		return "", err
	}
	return images[0] + " tells of the portal's pod: " + used, nil
}

// The load: longer than a scale-out and what is seen of it take, and over by itself.
const (
	scalesOut = 4 * time.Minute
	loadLasts = scalesOut + 3*time.Minute
	loadPod   = "load"
	// loadScript asks one address, eight at a time, and never waits longer than it has to.
	loadScript = `
const [, address, seconds] = process.argv;
const end = Date.now() + 1000 * Number(seconds);
let asked = 0, failed = 0;
const one = async () => {
  while (Date.now() < end) {
    try { const answer = await fetch(address); await answer.arrayBuffer(); asked++; if (!answer.ok) failed++; }
    catch { failed++; await new Promise(r => setTimeout(r, 100)); }
  }
};
setInterval(() => console.log(asked + ' asked, ' + failed + ' failed'), 5000).unref();
Promise.all(Array.from({ length: 8 }, one));`
)

// autoscale has the portal scaled by how busy it is: out under load on a pod's own address, and in again.
func (s *Session) autoscale(ctx context.Context) (string, error) {
	if err := s.provide(ctx, namespace); err != nil {
		return "", err
	}
	values := postgresValues()
	maps.Copy(values, map[string]any{
		"autoscaling": map[string]any{
			"enabled": true, "minReplicas": 1, "maxReplicas": 2, "targetCPUUtilizationPercentage": 80,
			"behavior": map[string]any{
				"scaleUp":   map[string]any{"stabilizationWindowSeconds": 0},
				"scaleDown": map[string]any{"stabilizationWindowSeconds": 15},
			},
		},
		"resources": map[string]any{
			"backend":  map[string]any{"requests": map[string]any{"cpu": "200m"}},
			"frontend": map[string]any{"requests": map[string]any{"cpu": "100m"}},
		},
	})
	if err := s.shape(ctx, "test: scale by load", values); err != nil {
		return "", err
	}
	// What a start takes is no load: it has to calm down first.
	if err := s.scaled(ctx, 5*time.Minute, 1); err != nil {
		return "", fmt.Errorf("before the load: %w", err)
	}
	pods, err := s.running(ctx)
	if err != nil {
		return "", err
	}
	address := fmt.Sprintf("http://%s:4001/api/auth/.well-known/jwks.json", pods[0].Status.PodIP)
	if err := s.load(ctx, address); err != nil {
		return "", err
	}
	began := time.Now()
	outErr := s.scaled(ctx, scalesOut, 2)
	out := time.Since(began)
	if outErr == nil {
		outErr = s.leavesTwo(ctx)
	}
	said, err := s.podLog(ctx, loadPod)
	if err := errors.Join(outErr, err, s.unload(ctx)); err != nil {
		return "", fmt.Errorf("under load (%s): %w", lastLine(said), err)
	}
	began = time.Now()
	if err := s.scaled(ctx, 6*time.Minute, 1); err != nil {
		return "", fmt.Errorf("after the load: %w", err)
	}
	return fmt.Sprintf("one pod under load at %s (%s) became two after %.1f s, which Argo CD left alone, and one again %.1f s after its end",
		address, lastLine(said), out.Seconds(), time.Since(began).Seconds()), nil
}

// leavesTwo has Argo CD compare anew what was scaled out, and find no difference.
func (s *Session) leavesTwo(ctx context.Context) error {
	tip, err := s.repository.tip(ctx)
	if err != nil {
		return err
	}
	return s.leaves(ctx, s.awaited(application, tip, s.Digest, s.Timeout), namespace, 2)
}

// leaves has Argo CD compare an Application anew, and sees that it finds no difference and leaves a number of pods alone.
func (s *Session) leaves(ctx context.Context, w sync.Wait, namespace string, want int64) error {
	w.Hard = true
	if _, err := w.Until(ctx, s.Client); err != nil {
		return err
	}
	got, err := s.replicas(ctx, namespace)
	if err == nil && got != want {
		err = fmt.Errorf("the Deployment of %s wants %d pods, not %d, after Argo CD has compared it", namespace, got, want)
	}
	return err
}

// replicas is how many pods the portal's Deployment in a namespace wants.
func (s *Session) replicas(ctx context.Context, namespace string) (int64, error) {
	deployment, err := s.getFrom(ctx, namespace, "apps/v1", "Deployment", application)
	if err != nil {
		return 0, err
	}
	number, _, err := unstructured.NestedInt64(deployment.Object, "spec", "replicas")
	return number, err
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndex(s, "\n")+1:]
}

// load has a pod of its own ask an address inside the cluster, for a while.
func (s *Session) load(ctx context.Context, address string) error {
	yes, no, user := true, false, int64(65532)
	seconds := int64(loadLasts.Seconds())
	var now int64
	_, err := s.Client.Core.Pods(namespace).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: loadPod},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, ActiveDeadlineSeconds: &seconds, TerminationGracePeriodSeconds: &now, AutomountServiceAccountToken: &no,
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{
				Name: loadPod, Image: s.Image + "@" + s.Digest, Command: []string{"node", "-e", loadScript, address, fmt.Sprint(seconds)},
				Resources:       corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}},
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
			}},
		},
	}, metav1.CreateOptions{FieldManager: manifests.Manager})
	return err
}

// unload ends the load.
func (s *Session) unload(ctx context.Context) error {
	if err := s.Client.Core.Pods(namespace).Delete(ctx, loadPod, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return s.gone(ctx, loadPod)
}

// scaled waits until the autoscaler wants so many pods, knows why, and there are so many.
func (s *Session) scaled(ctx context.Context, limit time.Duration, want int) error {
	return until(ctx, limit, func(ctx context.Context) error {
		hpa, err := s.get(ctx, "autoscaling/v2", "HorizontalPodAutoscaler", application)
		if err != nil {
			return err
		}
		desired, _, _ := unstructured.NestedInt64(hpa.Object, "status", "desiredReplicas")
		busy, err := utilization(hpa)
		if err != nil {
			return err
		}
		pods, err := s.running(ctx)
		if err != nil {
			return err
		}
		ready := len(slices.DeleteFunc(pods, func(p corev1.Pod) bool { return !isReady(p) }))
		if int(desired) != want || ready != want {
			return fmt.Errorf("the autoscaler wants %d pods at %d%% of what they request, %d are ready, not %d", desired, busy, ready, want)
		}
		return nil
	})
}

// utilization is how busy an autoscaler found its pods, in percent of what they request.
func utilization(hpa *unstructured.Unstructured) (int64, error) {
	metrics, _, _ := unstructured.NestedSlice(hpa.Object, "status", "currentMetrics")
	for _, m := range metrics {
		if m, ok := m.(map[string]any); ok {
			if percent, found, _ := unstructured.NestedInt64(m, "resource", "current", "averageUtilization"); found {
				return percent, nil
			}
		}
	}
	return 0, errors.New("the autoscaler knows no use of its pods yet")
}

func isReady(p corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// spread has two pods, which must not be on one node.
func (s *Session) spread(ctx context.Context) (string, error) {
	if err := s.provide(ctx, namespace); err != nil {
		return "", err
	}
	values := postgresValues()
	maps.Copy(values, map[string]any{
		"replicas":            2,
		"podDisruptionBudget": map[string]any{"enabled": true},
		// The control plane is a node as well, which would count as an empty one, and so would pods that are replaced.
		"topologySpreadConstraints": []any{map[string]any{
			"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
			"nodeTaintsPolicy": "Honor", "matchLabelKeys": []any{"pod-template-hash"},
		}},
	})
	if err := s.shape(ctx, "test: spread two pods", values); err != nil {
		return "", err
	}
	pods, err := s.running(ctx)
	if err != nil {
		return "", err
	}
	nodes := map[string]string{}
	for _, p := range pods {
		nodes[p.Spec.NodeName] = p.Name
	}
	if len(pods) != 2 || len(nodes) != 2 {
		return "", fmt.Errorf("%d pods are on %d nodes, not two on two", len(pods), len(nodes))
	}
	return "its two pods are on " + strings.Join(slices.Sorted(maps.Keys(nodes)), " and "), nil
}
