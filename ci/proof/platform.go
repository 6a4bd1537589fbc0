package proof

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/backstage-gitops/backstage-gitops/ci/manifests"
)

// ErrFeature says that there is no such optional feature of the charts.
var ErrFeature = errors.New("no such feature")

// Feature is an optional part of the charts that a proof can show on what it is made for.
type Feature struct {
	// Name is how it is asked for.
	Name string `json:"name"`
	// Components are what it runs on besides the cluster: images and manifests that the caller brings.
	Components []string `json:"components"`
	// Workers is how many nodes beside the control plane it wants.
	Workers int `json:"workers,omitempty"`

	steps []part
	// clear takes away what would be in the way of other features; nil: nothing is. It is called when a step failed: the last
	// step clears by itself.
	clear func(*Session, context.Context) error
}

// part is one thing that is shown of a feature.
type part struct {
	name string
	run  func(*Session, context.Context) (string, error)
}

// features are in the order in which they run in one cluster. Each begins with the chart as it was released.
var features = []Feature{
	{Name: "upgrade", Components: []string{}, steps: []part{
		{"the chart is upgraded without a failed request", (*Session).upgrade},
	}},
	{Name: "sign-in", Components: []string{}, steps: []part{
		{"people sign in with GitHub, and nobody as a guest", (*Session).gitHubSignIn},
		{"a guest signs in again", (*Session).guestsAgain},
	}},
	{Name: "postgres", Components: []string{"postgres"}, steps: []part{
		{"the portal keeps its catalog in PostgreSQL", (*Session).database},
		{"the database is backed up", (*Session).backup},
		{"a lost database is restored, no entity less", restores(postgresValues)},
	}},
	{Name: "s3", Components: []string{"postgres", "s3"}, steps: []part{
		{"an S3 server has a bucket", (*Session).serveBucket},
		{"the database is backed up into the bucket", (*Session).backupToBucket},
		{"a lost database is restored from the bucket, no entity less", restores(bucketValues)},
	}},
	{Name: "tls", Components: []string{"cert-manager", "postgres"}, steps: []part{
		{"cert-manager runs", (*Session).issues},
		{"HTTPS answers with the certificate that was issued", (*Session).https},
		{"prod's values lead to a certificate for its host", (*Session).production},
		{"the portal talks TLS to an external PostgreSQL", (*Session).externalTLS},
		{"the release's own PostgreSQL serves TLS", (*Session).databaseTLS},
	}},
	{Name: "gateway", Components: []string{"gateway-api"}, steps: []part{
		{"a Gateway is there", (*Session).gateway},
		{"app and API answer through the Gateway, without an Ingress", (*Session).routed},
	}},
	{Name: "hpa", Components: []string{"metrics-server", "postgres"}, steps: []part{
		{"metrics-server tells of the portal", (*Session).metered},
		{"the portal is scaled out under load, and in again", (*Session).autoscale},
	}},
	{Name: "spread", Components: []string{"postgres"}, Workers: 2, steps: []part{
		{"two pods are on two nodes", (*Session).spread},
		{"a drain leaves the portal in service", (*Session).drained},
	}},
	{Name: "environments", Components: []string{"postgres"}, steps: []part{
		{"three environments come from one ApplicationSet", (*Session).environments},
		{"an image is promoted through them", (*Session).promotion},
		{"Argo CD leaves an autoscaler's number of pods alone", (*Session).autoscaled},
		{"the project refuses what is not the portal's", (*Session).guarded},
		{"an environment that leaves the list keeps what it has", (*Session).retire},
	}, clear: (*Session).clear},
	{Name: "networkpolicy", Components: []string{"calico", "postgres", "s3", "collector"}, steps: []part{
		{"only the drawn flows are let through", (*Session).policed},
		{"backups reach the bucket and traces the collector, where the values say so", (*Session).policedBeyond},
	}},
	{Name: "metrics", Components: []string{"prometheus"}, steps: []part{
		{"Prometheus scrapes the backend", (*Session).scraped},
		{"an alert fires while the portal is away", (*Session).alerted},
		{"a PodMonitor does the same without a Service", (*Session).podMonitored},
		{"the dashboard has data, and all rules are evaluated", (*Session).dashboards},
	}},
	{Name: "traces", Components: []string{"collector"}, steps: []part{
		{"without tracing a collector hears nothing", (*Session).untraced},
		{"a request is a span at the collector", (*Session).traces},
	}},
	{Name: "notifications", Components: []string{"argocd-notifications", "collector"}, steps: []part{
		{"who has subscribed is told of a sync that succeeded", (*Session).notified},
		{"and of one that failed", (*Session).notifiedOfFailure},
	}, clear: (*Session).unsubscribe},
	{Name: "external-secrets", Components: []string{"external-secrets"}, steps: []part{
		{"the External Secrets Operator has a store", (*Session).store},
		{"a Secret is filled from the store, and follows it", (*Session).filled},
	}},
}

// Features are what a proof can show of the charts' optional parts: those asked for, or each with "all".
func Features(names []string, workers int) ([]Feature, error) {
	found, err := featuresOf(names)
	for _, s := range found {
		if workers < s.Workers {
			return nil, fmt.Errorf("%s wants pods on %d nodes: add --workers %d, or name the other parts", s.Name, s.Workers, s.Workers)
		}
	}
	return found, err
}

// FeatureNames are the names of all features.
func FeatureNames() []string {
	var names []string
	for _, s := range features {
		names = append(names, s.Name)
	}
	return names
}

func featuresOf(names []string) ([]Feature, error) {
	if err := known(names, FeatureNames(), ErrFeature); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(features), func(s Feature) bool { return !asked(names, s.Name) }), nil
}

// notHere says that a cluster lacks what nobody but its maker can bring.
type notHere struct{ what string }

func (n *notHere) Error() string { return n.what }

// platform is what one feature leaves to the next.
type platform struct {
	// released is the commit before the first feature.
	released string
	// catalog is what the catalog held before the database was lost: the identity of each entity.
	catalog map[string]string
	// dump is the file of the backup.
	dump string
	// node has the volumes.
	node string
	// database says that the portal has one of its own, in PostgreSQL.
	database bool
	// enforcing says that the network enforces policies.
	enforcing bool
	// stages are the environments.
	stages []stage
	// web serves a file of entities.
	web *web
}

func (p *platform) close() error {
	if p.web == nil {
		return nil
	}
	return p.web.close()
}

// attempt runs a step of a feature. One that fails leaves nothing in the way of other features, but its evidence, which keep
// is for.
func (s *Session) attempt(ctx context.Context, f Feature, run func(*Session, context.Context) (string, error), keep func(ctx context.Context, feature string) error) (string, error) {
	shown, err := run(s, ctx)
	if err == nil || f.clear == nil {
		return shown, err
	}
	// Also of a run that was interrupted.
	detached := context.WithoutCancel(ctx)
	keeping, cancel := context.WithTimeout(detached, s.Timeout)
	defer cancel()
	if e := keep(keeping, f.Name); e != nil {
		slog.Warn("no logs of "+f.Name, "error", e)
	}
	// One thing of it that does not go in time leaves the others theirs.
	limited, cancel := context.WithTimeout(detached, 2*s.Timeout)
	defer cancel()
	if e := f.clear(s, limited); e != nil {
		err = fmt.Errorf("%w; and what %s made is not taken away: %w", err, f.Name, e)
	}
	return "", err
}

// shape has the portal run the chart as it was released, with other values, and waits until it does. Once it has a
// PostgreSQL it keeps that.
func (s *Session) shape(ctx context.Context, subject string, values map[string]any) error {
	before, err := s.running(ctx)
	if err != nil {
		return err
	}
	revision, err := s.shaped(ctx, subject, values)
	if err != nil {
		return err
	}
	if _, err := s.wait(ctx, revision); err != nil {
		return err
	}
	// One that drains still answers, and knows nothing of the others' sessions.
	after, err := s.running(ctx)
	if err != nil {
		return err
	}
	for _, p := range before {
		if !slices.ContainsFunc(after, func(a corev1.Pod) bool { return a.UID == p.UID }) {
			if err := s.gone(ctx, p.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// shaped is the commit of shape.
func (s *Session) shaped(ctx context.Context, subject string, values map[string]any) (string, error) {
	if err := s.cloned(ctx); err != nil {
		return "", err
	}
	if s.platform.released == "" {
		tip, err := s.repository.tip(ctx)
		if err != nil {
			return "", err
		}
		s.platform.released = tip
	}
	if err := s.repository.goBack(ctx, s.platform.released, "charts"); err != nil {
		return "", err
	}
	all := map[string]any{}
	if s.platform.database {
		// A database that was given stays: pods that drain while it goes would look for it outside.
		merge(all, postgresValues())
	}
	merge(all, values)
	return s.repository.commit(ctx, subject, all, nil)
}

// install applies a component of the platform and waits until it runs.
func (s *Session) install(ctx context.Context, component string) (images []string, err error) {
	yaml, err := os.ReadFile(filepath.Join(s.Components, component+".yaml"))
	if err != nil {
		return nil, fmt.Errorf("the manifest of %s: %w", component, err)
	}
	applied, err := s.runs(ctx, yaml)
	return manifests.Images(applied), err
}

// running are the portal's pods that are not on their way out.
func (s *Session) running(ctx context.Context) ([]corev1.Pod, error) {
	list, err := s.Client.Core.Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil }), nil
}
