package proof

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/backstage-gitops/backstage-gitops/ci/kube"
	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
)

//go:embed autoscaler.yaml
var autoscaler []byte

// autoscaled has an autoscaler set another number of pods than Git has for an environment. Argo CD has to leave that alone,
// and to take back what a person sets.
func (s *Session) autoscaled(ctx context.Context) (string, error) {
	st := s.platform.stages[1]
	tip, err := s.repository.tip(ctx)
	if err != nil {
		return "", err
	}
	inGit, err := s.replicas(ctx, st.Namespace)
	if err != nil {
		return "", err
	}
	if inGit != 1 {
		return "", fmt.Errorf("%s begins with %d pods, not with the one that Git has", st.Name, inGit)
	}
	objects, err := manifests.Decode(bytes.NewReader(autoscaler))
	if err != nil {
		return "", err
	}
	if _, err := manifests.Apply(ctx, s.Client, objects, manifests.Options{Namespace: st.Namespace}); err != nil {
		return "", err
	}
	scaled := func(ctx context.Context) error {
		if err := s.ready(ctx, st.Namespace, 2); err != nil {
			return err
		}
		return s.leaves(ctx, s.awaited(nameOf(st), tip, st.digest, s.Timeout), st.Namespace, 2)
	}
	if err := scaled(ctx); err != nil {
		return "", fmt.Errorf("scaled by an autoscaler: %w", err)
	}
	// The autoscaler would let three be: its metric is not there, so it only keeps to its limits.
	const person = "somebody"
	began := time.Now()
	if _, err := s.Client.Dynamic.Resource(kube.Deployments).Namespace(st.Namespace).Patch(ctx, application, types.MergePatchType, []byte(`{"spec":{"replicas":3}}`), metav1.PatchOptions{FieldManager: person}); err != nil {
		return "", err
	}
	if err := until(ctx, s.Timeout, func(ctx context.Context) error {
		now, err := s.replicas(ctx, st.Namespace)
		if err == nil && now == 3 {
			err = errors.New("what a person has set, 3 pods, is still there")
		}
		return err
	}); err != nil {
		return "", err
	}
	healed := time.Since(began)
	if err := scaled(ctx); err != nil {
		return "", fmt.Errorf("scaled by an autoscaler, after a person: %w", err)
	}
	return fmt.Sprintf("Git has 1 pod for %s, an autoscaler set 2, and to Argo CD, asked to compare anew, that is no difference; 3 that a person set were taken back after %.1f s", st.Name, healed.Seconds()), nil
}

// ready waits until the portal's Deployment in a namespace wants so many pods and has them.
func (s *Session) ready(ctx context.Context, namespace string, want int64) error {
	return until(ctx, s.Timeout, func(ctx context.Context) error {
		wanted, err := s.replicas(ctx, namespace)
		if err != nil {
			return err
		}
		pods, err := s.podsOf(ctx, namespace)
		if err == nil && (wanted != want || int64(len(pods)) != want) {
			err = fmt.Errorf("the Deployment of %s wants %d pods and has %d ready, not %d", namespace, wanted, len(pods), want)
		}
		return err
	})
}
