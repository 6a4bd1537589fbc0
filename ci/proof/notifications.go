package proof

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/backstage-gitops/backstage-gitops/ci/sync"
)

//go:embed notifications.yaml
var notificationsManifest []byte

// subscribed are values of charts/gitops: one environment, of whose syncs a webhook is to hear. One that fails is tried
// again soon, and once.
const subscribed = `environments: [{name: %s}]
sync: {retry: {limit: 1, duration: 1s}}
notifications:
  on-sync-succeeded: {collector: ""}
  on-sync-failed: {collector: ""}
`

// untold is how long nobody is told of an Application that has no subscription. Who has one is told within a second or two.
const untold = 10 * time.Second

// notice is what Argo CD's notifications tell of an operation.
type notice struct{ application, phase, revision, message string }

// notified has one environment subscribe by the values of charts/gitops, and sees a webhook told that its sync succeeded.
// The portal's own Application syncs the same commit, and has no subscription.
func (s *Session) notified(ctx context.Context) (string, error) {
	if _, err := s.runs(ctx, collectorManifest); err != nil {
		return "", err
	}
	images, err := s.install(ctx, "argocd-notifications")
	if err != nil {
		return "", err
	}
	// In a cluster where this was shown before it was stopped at the end.
	if err := s.startController(ctx, notificationsController); err != nil {
		return "", err
	}
	if _, err := s.apply(ctx, notificationsManifest); err != nil {
		return "", err
	}
	checkout, err := s.listed(ctx)
	if err != nil {
		return "", err
	}
	st := stage{Environment: checkout.Environments[0], digest: s.Digest}
	s.platform.stages = []stage{st}
	if err := s.place(ctx, st.Namespace, false); err != nil {
		return "", err
	}
	values := environmentValues()
	maps.Copy(values, memoryValues())
	file, err := merged(filepath.Join(s.repository.dir, st.Values), values)
	if err != nil {
		return "", err
	}
	// It changes objects of both Applications.
	revision, err := s.repository.commit(ctx, "test: roll the pods, and fit "+st.Name+" into this cluster",
		map[string]any{"podAnnotations": map[string]any{"proof": "notified"}}, map[string][]byte{relative(st.Values): file})
	if err != nil {
		return "", err
	}
	if _, err := s.fromList(fmt.Appendf(nil, subscribed, st.Name)).Apply(ctx, s.Client); err != nil {
		return "", err
	}
	if _, err := s.stands(ctx, st, revision, s.Timeout); err != nil {
		return "", err
	}
	other, err := s.wait(ctx, revision)
	if err != nil {
		return "", err
	}
	if err := operated(other, revision, true); err != nil {
		return "", fmt.Errorf("the Application without a subscription: %w", err)
	}
	got, err := s.hears(ctx, notice{application: nameOf(st), phase: "Succeeded", revision: revision})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s: by the values of %s the webhook is told of %s: %s at %.12s, %q; %s, which has no subscription, synced the same commit, and nothing is told of it %s later",
		images[0], gitopsChart, got.application, got.phase, got.revision, got.message, application, untold), nil
}

// notifiedOfFailure has the environment name what its project refuses, and sees the webhook told that its sync failed.
func (s *Session) notifiedOfFailure(ctx context.Context) (string, error) {
	st := s.platform.stages[0]
	var refused map[string]any
	if err := yaml.Unmarshal([]byte(clusterRole), &refused); err != nil {
		return "", err
	}
	file, err := merged(filepath.Join(s.repository.dir, st.Values), refused)
	if err != nil {
		return "", err
	}
	revision, err := s.repository.commit(ctx, "test: name a ClusterRole in "+st.Name, nil, map[string][]byte{relative(st.Values): file})
	if err != nil {
		return "", err
	}
	if _, err := s.stands(ctx, st, revision, s.Timeout); !errors.Is(err, sync.ErrFailed) {
		return "", fmt.Errorf("%s took a ClusterRole, which its project does not have: %v", st.Name, err)
	}
	got, err := s.hears(ctx, notice{application: nameOf(st), phase: "Failed", revision: revision})
	if err != nil {
		return "", err
	}
	if err := s.unsubscribe(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("the webhook is told of %s: %s at %.12s, %q; then the ApplicationSet, %s and the controller were taken away",
		got.application, got.phase, got.revision, got.message, st.Name), nil
}

// unsubscribe takes away what was made for notifications, as far as it is there.
func (s *Session) unsubscribe(ctx context.Context) error {
	_, err := s.controllers(ctx, notificationsController, 0)
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return errors.Join(err, s.clear(ctx))
}

// hears waits until the webhook was told of an operation, and then sees that it is told of no other Application.
func (s *Session) hears(ctx context.Context, want notice) (got notice, err error) {
	if err := until(ctx, arrives, func(ctx context.Context) error {
		got, err = s.told(ctx, want)
		return err
	}); err != nil {
		return notice{}, err
	}
	if err := pause(ctx, untold); err != nil {
		return notice{}, err
	}
	return s.told(ctx, want)
}

func (s *Session) told(ctx context.Context, want notice) (notice, error) {
	records, err := s.collectedOf(ctx, "LogRecord")
	if err != nil {
		return notice{}, err
	}
	return toldAlone(noticesOf(records), want)
}

// noticesOf are what the collector was sent by Argo CD.
func noticesOf(records []record) []notice {
	var notices []notice
	for _, r := range records {
		if r.Service == "argocd-notifications" {
			notices = append(notices, notice{r.Attributes["application"], r.Attributes["phase"], r.Attributes["revision"], r.Body})
		}
	}
	return notices
}

// toldAlone is the notice of an operation, with its message, where there are notices of no other Application.
func toldAlone(notices []notice, want notice) (notice, error) {
	if at := slices.IndexFunc(notices, func(n notice) bool { return n.application != want.application }); at >= 0 {
		return notice{}, fmt.Errorf("the webhook is told of %s, which has no subscription: %+v", notices[at].application, notices[at])
	}
	at := slices.IndexFunc(notices, func(n notice) bool {
		return n.phase == want.phase && n.revision == want.revision
	})
	if at < 0 {
		return notice{}, fmt.Errorf("the webhook is not told that the sync of %s at %s is %s, but %+v", want.application, want.revision, want.phase, notices)
	}
	return notices[at], nil
}
