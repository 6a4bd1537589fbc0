package proof

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/backstage-gitops/backstage-gitops/ci/environments"
	"github.com/backstage-gitops/backstage-gitops/ci/kube"
	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
	"github.com/backstage-gitops/backstage-gitops/ci/sync"
)

// gitopsChart is the folder of the chart of all environments.
const gitopsChart = "charts/gitops"

// portal is the Application of that chart.
const portal = "portal"

// stage is an environment with the image that it has.
type stage struct {
	environments.Environment
	tag, digest string
}

// nameOf is the name of an environment's Application.
func nameOf(st stage) string { return application + "-" + st.Name }

// environments has three of them deployed by one ApplicationSet, each with an image of its own.
func (s *Session) environments(ctx context.Context) (string, error) {
	checkout, err := s.listed(ctx)
	if err != nil {
		return "", err
	}
	released, err := s.tag(ctx)
	if err != nil {
		return "", err
	}
	// The oldest image is in the last environment.
	var older []string
	for _, tag := range []string{"older", "old"} {
		digest, err := s.variant(tag)
		if err != nil {
			return "", err
		}
		older = append(older, digest)
		if _, err := s.repository.local(ctx, "test: release "+tag, map[string]any{"image": map[string]any{"tag": tag, "digest": digest}}, nil); err != nil {
			return "", err
		}
	}
	stages := []stage{{tag: released, digest: s.Digest}, {tag: "old", digest: older[1]}, {tag: "older", digest: older[0]}}
	if len(checkout.Environments) != len(stages) {
		return "", fmt.Errorf("%s has %d environments, not %d", gitopsChart, len(checkout.Environments), len(stages))
	}
	for i, e := range checkout.Environments {
		stages[i].Environment = e
	}
	s.platform.stages = stages
	files := map[string][]byte{}
	for i, e := range checkout.Environments {
		values := environmentValues()
		// A part of its own has cert-manager.
		values["certManager"] = map[string]any{"certificate": map[string]any{"enabled": false}}
		if i == 0 {
			maps.Copy(values, memoryValues())
		} else {
			values["image"] = map[string]any{"tag": stages[i].tag, "digest": stages[i].digest}
			maps.Copy(values, postgresValues())
		}
		if err := s.place(ctx, e.Namespace, i > 0); err != nil {
			return "", err
		}
		if files[relative(e.Values)], err = merged(filepath.Join(s.repository.dir, e.Values), values); err != nil {
			return "", err
		}
	}
	revision, err := s.repository.commit(ctx, "test: release, and fit the environments into this cluster",
		map[string]any{"image": map[string]any{"tag": released, "digest": s.Digest}}, files)
	if err != nil {
		return "", err
	}
	if _, err := s.fromList(nil).Apply(ctx, s.Client); err != nil {
		return "", err
	}
	var shown []string
	for _, st := range stages {
		result, err := s.stands(ctx, st, revision, s.Timeout)
		if err != nil {
			return "", err
		}
		shown = append(shown, fmt.Sprintf("%s is %s and %s with %s (%.19s)", st.Name, result.Sync, result.Health, st.tag, st.digest))
	}
	return strings.Join(shown, "; "), nil
}

// listed has the charts as they were released and the controller of ApplicationSets run, and gives the checkout's
// environments.
func (s *Session) listed(ctx context.Context) (*environments.Checkout, error) {
	if err := s.shape(ctx, "test: the charts as they were released", nil); err != nil {
		return nil, err
	}
	if err := s.startController(ctx, applicationSetsController); err != nil {
		return nil, err
	}
	return environments.Read(s.repository.dir)
}

// fromList is charts/gitops as Argo CD deploys it, with more values above the chart's own.
func (s *Session) fromList(more []byte) sync.Application {
	return sync.Application{
		Name: portal, Repo: s.repo, Path: gitopsChart, Revision: s.Branch, Namespace: sync.DefaultNamespace, Project: sync.DefaultProject,
		DestinationNamespace: sync.DefaultNamespace,
		Values:               append(fmt.Appendf(nil, "source: {repoURL: %q, revision: %q}\n", s.repo, s.Branch), more...),
	}
}

// promotion has the image of the first environment reach the last one, by the program that people use, and sees it
// refused where it has to be.
func (s *Session) promotion(ctx context.Context) (string, error) {
	names := []string{}
	for _, st := range s.platform.stages {
		names = append(names, st.Name)
	}
	first, last := names[0], names[len(names)-1]
	checkout, err := environments.Read(s.repository.dir)
	if err != nil {
		return "", err
	}
	refused := func(p environments.Promotion, because error) error {
		if _, err := checkout.Promote(ctx, p); !errors.Is(err, because) {
			return fmt.Errorf("a promotion from %s to %s was not refused as %q: %v", p.From, p.To, because, err)
		}
		return nil
	}
	if err := refused(environments.Promotion{From: first, To: last}, environments.ErrSkipped); err != nil {
		return "", err
	}
	if err := s.unhealthy(ctx, refused); err != nil {
		return "", err
	}
	var shown []string
	for i := range names[1:] {
		began := time.Now()
		if err := s.promote(ctx, i); err != nil {
			return "", err
		}
		shown = append(shown, fmt.Sprintf("%s to %s in %.1f s", names[i], names[i+1], time.Since(began).Seconds()))
	}
	return fmt.Sprintf("%.19s went from %s; from %s to %s at once was refused, and so was what does not run well in %s",
		s.Digest, strings.Join(shown, ", "), first, last, first), nil
}

// unhealthy has the first environment crash at its start, and sees what Argo CD says of it refused.
func (s *Session) unhealthy(ctx context.Context, refused func(environments.Promotion, error) error) error {
	st := s.platform.stages[0]
	broken, err := merged(filepath.Join(s.repository.dir, st.Values), map[string]any{
		"appConfig": map[string]any{"backend": map[string]any{"database": map[string]any{"client": "no-such-database"}}},
	})
	if err != nil {
		return err
	}
	revision, err := s.repository.commit(ctx, "test: name a database that Backstage does not know", nil, map[string][]byte{relative(st.Values): broken})
	if err != nil {
		return err
	}
	result, err := s.stands(ctx, st, revision, s.Timeout)
	if !errors.Is(err, sync.ErrFailed) {
		return fmt.Errorf("%s took what crashes for what runs: %v", st.Name, err)
	}
	running, err := json.Marshal(result)
	if err != nil {
		return err
	}
	if err := refused(environments.Promotion{From: st.Name, To: s.platform.stages[1].Name, Running: running, AllowDowngrade: true}, environments.ErrUnproven); err != nil {
		return err
	}
	_, err = s.repository.revert(ctx)
	return err
}

// promote promotes from one environment to the next.
func (s *Session) promote(ctx context.Context, from int) error {
	revision, err := s.repository.tip(ctx)
	if err != nil {
		return err
	}
	source, target := s.platform.stages[from], &s.platform.stages[from+1]
	result, err := s.stands(ctx, source, revision, s.Timeout)
	if err != nil {
		return err
	}
	running, err := json.Marshal(result)
	if err != nil {
		return err
	}
	checkout, err := environments.Read(s.repository.dir)
	if err != nil {
		return err
	}
	history, err := checkout.History(ctx)
	if err != nil {
		return err
	}
	promoted, err := checkout.Promote(ctx, environments.Promotion{From: source.Name, To: target.Name, Running: running, History: history})
	if err != nil {
		return err
	}
	if revision, err = s.repository.commit(ctx, fmt.Sprintf("test: promote %s from %s to %s", promoted.Tag, source.Name, target.Name), nil, nil); err != nil {
		return err
	}
	target.tag, target.digest = promoted.Tag, promoted.Digest
	_, err = s.stands(ctx, *target, revision, s.Timeout)
	return err
}

// retire takes the last environment off the list, as people who take it over by hand do, and then all of them away: what
// comes after has the cluster for itself.
func (s *Session) retire(ctx context.Context) (string, error) {
	left := s.platform.stages[len(s.platform.stages)-1]
	before, err := s.podsOf(ctx, left.Namespace)
	if err != nil {
		return "", err
	}
	var list []any
	for _, st := range s.platform.stages[:len(s.platform.stages)-1] {
		list = append(list, map[string]any{"name": st.Name})
	}
	file := gitopsChart + "/values.yaml"
	shorter, err := merged(filepath.Join(s.repository.dir, file), map[string]any{"environments": list})
	if err != nil {
		return "", err
	}
	if _, err := s.repository.commit(ctx, "test: take "+left.Name+" off the list", nil, map[string][]byte{relative(file): shorter}); err != nil {
		return "", err
	}
	began := time.Now()
	if err := sync.Gone(ctx, s.Client, sync.DefaultNamespace, nameOf(left), s.Timeout); err != nil {
		return "", err
	}
	forgotten := time.Since(began)
	// What follows an owner that is gone goes at once.
	if err := pause(ctx, 5*time.Second); err != nil {
		return "", err
	}
	after, err := s.podsOf(ctx, left.Namespace)
	if err != nil {
		return "", err
	}
	if len(before) == 0 || !maps.Equal(before, after) {
		return "", fmt.Errorf("the pods of %s did not stay: %v became %v", left.Name, before, after)
	}
	if err := s.clear(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("Argo CD forgot %s %.1f s after the commit, and its pods run on unchanged, %d of them; then the ApplicationSet and all environments were taken away",
		left.Name, forgotten.Seconds(), len(after)), nil
}

// clear takes the ApplicationSet with its project away, then the environments, and stops the controller: as far as they are
// there.
func (s *Session) clear(ctx context.Context) error {
	deleted := sync.Delete(ctx, s.Client, sync.DefaultNamespace, portal, s.Timeout)
	var namespaces []string
	for _, st := range s.platform.stages {
		namespaces = append(namespaces, st.Namespace)
	}
	vacated := s.vacate(ctx, namespaces...)
	_, stopped := s.controllers(ctx, applicationSetsController, 0)
	return errors.Join(deleted, vacated, stopped)
}

// vacate removes namespaces with all that is in them, as far as they are there.
func (s *Session) vacate(ctx context.Context, namespaces ...string) error {
	for _, name := range namespaces {
		if err := s.Client.Core.Namespaces().Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	for _, name := range namespaces {
		if err := until(ctx, s.Timeout, func(ctx context.Context) error {
			_, err := s.Client.Core.Namespaces().Get(ctx, name, metav1.GetOptions{})
			switch {
			case apierrors.IsNotFound(err):
				return nil
			case err != nil:
				return err
			}
			return fmt.Errorf("the namespace %s is still there", name)
		}); err != nil {
			return err
		}
	}
	return nil
}

// podsOf are the pods of the portal in a namespace that run well, by their identity.
func (s *Session) podsOf(ctx context.Context, namespace string) (map[types.UID]string, error) {
	list, err := s.Client.Core.Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	pods := map[types.UID]string{}
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil && isReady(p) {
			pods[p.UID] = p.Name
		}
	}
	return pods, nil
}

// stands waits until an environment runs its image at a revision.
func (s *Session) stands(ctx context.Context, st stage, revision string, limit time.Duration) (*sync.Result, error) {
	name := nameOf(st)
	// The ApplicationSet's controller makes it some time after the ApplicationSet.
	if err := until(ctx, 2*time.Minute, func(ctx context.Context) error {
		_, err := sync.Read(ctx, s.Client, sync.DefaultNamespace, name)
		return err
	}); err != nil {
		return nil, err
	}
	return s.awaited(name, revision, st.digest, limit).Until(ctx, s.Client)
}

// Controllers of Argo CD that the installation for one Application leaves out: they run while a feature wants them.
const (
	applicationSetsController = "argocd-applicationset-controller"
	notificationsController   = "argocd-notifications-controller"
)

// startController has one of Argo CD's controllers run, and waits until it does.
func (s *Session) startController(ctx context.Context, name string) error {
	controller, err := s.controllers(ctx, name, 1)
	if err != nil {
		return err
	}
	return s.started(ctx, controller)
}

// controllers scales one of Argo CD's controllers.
func (s *Session) controllers(ctx context.Context, name string, replicas int) (*unstructured.Unstructured, error) {
	return s.Client.Dynamic.Resource(kube.Deployments).Namespace(sync.DefaultNamespace).Patch(ctx, name,
		types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas), metav1.PatchOptions{FieldManager: manifests.Manager})
}

// authSecret has the OAuth app of prod.
const authSecret = "backstage-auth"

// place makes an environment's namespace with what its sign-in and its database want beforehand.
func (s *Session) place(ctx context.Context, namespace string, database bool) error {
	if err := s.namespaced(ctx, namespace); err != nil {
		return err
	}
	// Nobody signs in with GitHub here, so no such app is needed; the backend starts with any.
	if _, err := s.secret(ctx, namespace, authSecret, map[string]string{"AUTH_GITHUB_CLIENT_ID": rand.Text(), "AUTH_GITHUB_CLIENT_SECRET": rand.Text()}); err != nil {
		return err
	}
	if !database {
		return nil
	}
	return s.provide(ctx, namespace)
}

// environmentValues fit an environment into this cluster: it is small, has no autoscaler's metrics, and knows none of the
// Prometheus operator's kinds. All else is as in the environment's file; where no network enforces a policy, the policies
// are there all the same.
func environmentValues() map[string]any {
	few := func(memory string) map[string]any {
		return map[string]any{"requests": map[string]any{"cpu": "10m", "memory": memory}}
	}
	return map[string]any{
		"resources":   map[string]any{"backend": few("256Mi"), "frontend": few("192Mi")},
		"autoscaling": map[string]any{"enabled": false},
		"metrics":     map[string]any{"serviceMonitor": map[string]any{"enabled": false}, "prometheusRule": map[string]any{"enabled": false}},
	}
}

// memoryValues have an environment keep its catalog in memory, whatever the chart's own values are.
func memoryValues() map[string]any {
	return map[string]any{"database": map[string]any{"type": "memory"}, "backup": map[string]any{"enabled": false}}
}

// hardened is the last environment, the one with most of what the chart has.
type hardened struct {
	environments.Environment
	// file has its values.
	file   string
	values struct {
		Ingress     struct{ Hosts []string }
		CertManager struct {
			Certificate struct {
				IssuerRef struct{ Name, Kind string } `yaml:"issuerRef"`
			}
		} `yaml:"certManager"`
		NetworkPolicy map[string]any `yaml:"networkPolicy"`
	}
}

// lastEnvironment reads prod in the working copy.
func (s *Session) lastEnvironment() (hardened, error) {
	checkout, err := environments.Read(s.repository.dir)
	if err != nil {
		return hardened{}, err
	}
	last := hardened{Environment: checkout.Environments[len(checkout.Environments)-1]}
	last.file = filepath.Join(s.repository.dir, last.Values)
	text, err := os.ReadFile(last.file)
	if err != nil {
		return hardened{}, err
	}
	if err := yaml.Unmarshal(text, &last.values); err != nil {
		return hardened{}, fmt.Errorf("%s: %w", last.Values, err)
	}
	if v := last.values; len(v.Ingress.Hosts) == 0 || v.CertManager.Certificate.IssuerRef.Name == "" || v.NetworkPolicy["enabled"] != true {
		return hardened{}, fmt.Errorf("%s has no host, no issuer or no network policy", last.Values)
	}
	return last, nil
}

// relative is a file of the repository as seen from the chart's folder.
func relative(file string) string { return "../../" + file }
