package proof

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// extra is an object that one commit adds and a later one takes away.
const extra = `apiVersion: v1
kind: ConfigMap
metadata:
  name: proof-extra
`

// reloads is how long a change of a ConfigMap may take to reach the process: the kubelet looks every minute or so.
const reloads = 3 * time.Minute

func (s *Session) change(ctx context.Context, subject string, values map[string]any, files map[string][]byte) (string, error) {
	if err := s.cloned(ctx); err != nil {
		return "", err
	}
	return s.repository.commit(ctx, subject, values, files)
}

// cloned sees to a clone of the session's repository.
func (s *Session) cloned(ctx context.Context) (err error) {
	if s.repository == nil {
		s.repository, err = clone(ctx, s.Git, s.Branch, s.Chart)
	}
	return err
}

// reload changes through Git what Backstage reads while it runs, and sees the backend act on it, in the same pod.
func (s *Session) reload(ctx context.Context) (string, error) {
	before, err := s.pod(ctx)
	if err != nil {
		return "", err
	}
	through := s.Ingress + "/api/proxy/session/healthz"
	if _, err := request(ctx, http.MethodGet, through, s.token, nil); err == nil {
		return "", fmt.Errorf("%s answers before it is configured", through)
	}
	revision, err := s.change(ctx, "test: give the proxy an endpoint", map[string]any{
		"appConfig": map[string]any{"proxy": map[string]any{"endpoints": map[string]any{
			"/session": map[string]any{"target": s.gitInCluster},
		}}},
	}, map[string][]byte{"templates/proof-extra.yaml": []byte(extra)})
	if err != nil {
		return "", err
	}
	if _, err := s.wait(ctx, revision); err != nil {
		return "", err
	}
	start := time.Now()
	if err := s.still(ctx, before); err != nil {
		return "", err
	}
	if err := until(ctx, reloads, func(ctx context.Context) error {
		_, err := request(ctx, http.MethodGet, through, s.token, nil)
		return err
	}); err != nil {
		return "", err
	}
	if err := s.still(ctx, before); err != nil {
		return "", err
	}
	return fmt.Sprintf("the backend acts on it %.1f s after the sync, in the same pod %s", time.Since(start).Seconds(), before.Name), nil
}

// still says that a pod is the one that runs, and was not restarted.
func (s *Session) still(ctx context.Context, before *corev1.Pod) error {
	after, err := s.pod(ctx)
	if err != nil {
		return err
	}
	if after.UID != before.UID {
		return fmt.Errorf("the pod is another one: %s was replaced by %s", before.Name, after.Name)
	}
	_, err = green(after)
	return err
}

// rollout replaces the pod by a commit while people use the portal.
func (s *Session) rollout(ctx context.Context) (string, error) {
	before, err := s.pod(ctx)
	if err != nil {
		return "", err
	}
	people := s.visit(ctx)
	began := time.Now()
	revision, err := s.change(ctx, "test: roll the pods, and give them the portal's Role", map[string]any{
		"podAnnotations": map[string]any{"proof": "rolled"},
		"rbac":           map[string]any{"create": true},
		"serviceAccount": map[string]any{"automountServiceAccountToken": true},
	}, nil)
	if err == nil {
		_, err = s.wait(ctx, revision)
	}
	served := time.Since(began)
	if err == nil {
		err = s.gone(ctx, before.Name)
	}
	asked, failed := people.stop()
	if err != nil {
		return "", err
	}
	after, err := s.pod(ctx)
	switch {
	case err != nil:
		return "", err
	case after.UID == before.UID:
		return "", errors.New("the pod is still the same")
	}
	if err := complaint(asked, failed, ""); err != nil {
		return "", err
	}
	// Its memory is new, and so are its sessions.
	if err := until(ctx, arrives, s.signIn); err != nil {
		return "", err
	}
	return fmt.Sprintf("%.1f s from the push until the new pod serves; %d requests during the rollout, none failed", served.Seconds(), asked), nil
}

// gone waits until a pod has ended.
func (s *Session) gone(ctx context.Context, name string) error {
	return until(ctx, 2*time.Minute, func(ctx context.Context) error {
		_, err := s.Client.Core.Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		}
		return fmt.Errorf("the pod %s is still there", name)
	})
}

func (s *Session) prune(ctx context.Context) (string, error) {
	if _, err := s.Client.Core.ConfigMaps(namespace).Get(ctx, "proof-extra", metav1.GetOptions{}); err != nil {
		return "", fmt.Errorf("the ConfigMap that was added: %w", err)
	}
	revision, err := s.change(ctx, "test: take the extra ConfigMap away", nil, map[string][]byte{"templates/proof-extra.yaml": nil})
	if err != nil {
		return "", err
	}
	if _, err := s.wait(ctx, revision); err != nil {
		return "", err
	}
	if _, err := s.Client.Core.ConfigMaps(namespace).Get(ctx, "proof-extra", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("the ConfigMap proof-extra is still there (%v)", err)
	}
	return "the ConfigMap proof-extra, which a commit had added, is gone", nil
}

// drift changes and removes objects behind Argo CD's back.
func (s *Session) drift(ctx context.Context) (string, error) {
	services := s.Client.Core.Services(namespace)
	original, err := services.Get(ctx, application+"-nodeport", metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	start := time.Now()
	if err := services.Delete(ctx, original.Name, metav1.DeleteOptions{}); err != nil {
		return "", err
	}
	if _, err := services.Patch(ctx, application, types.MergePatchType, []byte(`{"spec":{"selector":{"app.kubernetes.io/instance":"drift"}}}`), metav1.PatchOptions{}); err != nil {
		return "", err
	}
	if err := until(ctx, 2*time.Minute, func(ctx context.Context) error {
		healed, err := services.Get(ctx, original.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if healed.UID == original.UID {
			return fmt.Errorf("the Service %s is not deleted yet", original.Name)
		}
		patched, err := services.Get(ctx, application, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if patched.Spec.Selector["app.kubernetes.io/instance"] == "drift" {
			return fmt.Errorf("the Service %s still has the selector it was given", application)
		}
		return nil
	}); err != nil {
		return "", err
	}
	healed := time.Since(start)
	if err := until(ctx, arrives, func(ctx context.Context) error { return s.appAt(ctx, s.NodePort) }); err != nil {
		return "", err
	}
	return fmt.Sprintf("a deleted Service and a changed one are back after %.1f s", healed.Seconds()), nil
}
