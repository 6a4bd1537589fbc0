package proof

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
)

// drained has the node of one of the two pods drained while people use the portal. The other node has the database's
// volume, which goes nowhere else.
func (s *Session) drained(ctx context.Context) (string, error) {
	pods, err := s.running(ctx)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(pods, func(p corev1.Pod) bool { return p.Spec.NodeName != s.platform.node })
	if i < 0 || len(pods) != 2 {
		return "", fmt.Errorf("%d pods, and none but on the database's node %s", len(pods), s.platform.node)
	}
	going, staying := pods[i], pods[1-i]
	node := going.Spec.NodeName
	people := s.visit(ctx)
	began := time.Now()
	err = s.cordon(ctx, node, true)
	if err == nil {
		err = s.drain(ctx, going, staying)
	}
	took := time.Since(began)
	asked, failed := people.stop()
	if err == nil {
		err = complaint(asked, failed, " during the drain")
	}
	// In any case: what follows wants pods on it.
	if err := errors.Join(err, s.cordon(context.WithoutCancel(ctx), node, false)); err != nil {
		return "", err
	}
	return fmt.Sprintf("the pod on %s was evicted and ran on %s after %.1f s, %d requests meanwhile, none failed; the eviction of the other one was refused with 429 and would be granted after that; the node takes pods again",
		node, s.platform.node, took.Seconds(), asked), nil
}

// cordon has a node take no pods, or take them again.
func (s *Session) cordon(ctx context.Context, node string, off bool) error {
	_, err := s.Client.Core.Nodes().Patch(ctx, node, types.MergePatchType, fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, off), metav1.PatchOptions{FieldManager: manifests.Manager})
	return err
}

// drain evicts the portal's pod of a node, as kubectl drain does with --pod-selector: Argo CD and the ingress controller
// may be there too, one pod each, whose absence would say nothing of the chart. Before another pod is ready in its place
// the PodDisruptionBudget has to refuse the eviction of the one that stays.
func (s *Session) drain(ctx context.Context, going, staying corev1.Pod) error {
	// The budget is known some time after the pods.
	if err := until(ctx, arrives, func(ctx context.Context) error { return s.evict(ctx, going, false) }); err != nil {
		return err
	}
	if err := s.evict(ctx, staying, false); !apierrors.IsTooManyRequests(err) {
		return fmt.Errorf("the eviction of a second pod was not refused with 429: %w", cmp.Or(err, errors.New("it was evicted")))
	}
	if err := s.gone(ctx, going.Name); err != nil {
		return err
	}
	if err := until(ctx, s.Timeout, func(ctx context.Context) error {
		pods, err := s.running(ctx)
		if err != nil {
			return err
		}
		return replaced(pods, going, staying)
	}); err != nil {
		return err
	}
	if err := until(ctx, arrives, func(ctx context.Context) error { return s.evict(ctx, staying, true) }); err != nil {
		return fmt.Errorf("the eviction of a second pod, once there are two again: %w", err)
	}
	return nil
}

// replaced says whether there are two ready pods again, without the one that was evicted, with the one that was not, and
// none on the node that is drained.
func replaced(pods []corev1.Pod, going, staying corev1.Pod) error {
	for _, p := range pods {
		switch {
		case p.Spec.NodeName == going.Spec.NodeName:
			return fmt.Errorf("the pod %s is on %s, which takes none", p.Name, p.Spec.NodeName)
		case !isReady(p):
			return fmt.Errorf("the pod %s is not ready", p.Name)
		}
	}
	if len(pods) != 2 || !slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.UID == staying.UID }) {
		return fmt.Errorf("%d pods run, not two with %s among them", len(pods), staying.Name)
	}
	return nil
}

// evict asks for the end of a pod, or only whether it would be granted.
func (s *Session) evict(ctx context.Context, p corev1.Pod, try bool) error {
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}}
	if try {
		eviction.DeleteOptions = &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}
	}
	return s.Client.Core.Pods(p.Namespace).EvictV1(ctx, eviction)
}
