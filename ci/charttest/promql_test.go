package charttest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

// An expression that Prometheus cannot parse takes all rules of its group with it.
func TestExpressions(t *testing.T) {
	t.Parallel()
	p := parser.NewParser(parser.Options{})
	for name, expression := range expressions(t) {
		if _, err := p.ParseExpr(expression); err != nil {
			t.Errorf("%s: %v\n%s", name, err, expression)
		}
	}
}

// An alert on a metric that nobody serves never fires. testdata/backend-metrics.txt has what the chart asks the backend
// for; ci/acceptance starts the image and sees that it serves just that.
func TestMetricsOfTheBackend(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("testdata", "backend-metrics.txt"))
	if err != nil {
		t.Fatal(err)
	}
	served, asked := map[string][]string{}, map[string]bool{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		served[fields[0]] = fields[1:]
	}
	p := parser.NewParser(parser.Options{})
	for name, expression := range expressions(t) {
		parsed, err := p.ParseExpr(expression)
		if err != nil {
			t.Fatal(err)
		}
		parser.Inspect(parsed, func(node parser.Node, path []parser.Node) error {
			selector, ok := node.(*parser.VectorSelector)
			if !ok {
				return nil
			}
			wants := map[string]bool{}
			metric := func(string) bool { return false }
			for _, matcher := range selector.LabelMatchers {
				if matcher.Name == "__name__" {
					metric = matcher.Matches
				} else {
					wants[matcher.Name] = true
				}
			}
			for _, parent := range path {
				if aggregate, ok := parent.(*parser.AggregateExpr); ok && !aggregate.Without {
					for _, label := range aggregate.Grouping {
						wants[label] = true
					}
				}
			}
			if elsewhere(metric) {
				return nil
			}
			found := false
			for candidate, labels := range served {
				if !metric(candidate) {
					continue
				}
				found, asked[candidate] = true, true
				for label := range wants {
					if !slices.Contains(labels, label) && !slices.Contains(ofTheTarget, label) {
						t.Errorf("%s wants the label %s of %s, which has %q", name, label, candidate, labels)
					}
				}
			}
			if !found {
				t.Errorf("%s asks for %s, which testdata/backend-metrics.txt does not have", name, selector)
			}
			return nil
		})
	}
	for metric := range served {
		if !asked[metric] {
			t.Errorf("nothing asks for %s", metric)
		}
	}
}

// ofTheTarget are the labels that Prometheus gives to all that it scrapes.
var ofTheTarget = []string{"namespace", "job", "pod", "container"}

// elsewhere says whether a metric comes from another program than the portal.
func elsewhere(metric func(string) bool) bool {
	return slices.ContainsFunc([]string{
		"up",
		"kube_deployment_status_replicas_unavailable", "kube_pod_container_status_restarts_total", "kube_pod_container_resource_limits",
		"kube_horizontalpodautoscaler_status_current_replicas", "kube_horizontalpodautoscaler_spec_max_replicas",
		"kube_cronjob_created", "kube_cronjob_status_last_successful_time", "kube_job_created", "kube_job_status_failed",
		"container_memory_working_set_bytes",
		"kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes",
		"certmanager_certificate_expiration_timestamp_seconds",
	}, metric)
}

// expressions are those of all alerts and of the dashboard, by the names of these.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	dir := filepath.Join(charts, "backstage")
	values := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, []byte(`
database: {type: statefulset, existingSecret: s}
backup: {enabled: true}
autoscaling: {enabled: true}
ingress: {enabled: true, hosts: [a.example.org]}
certManager: {certificate: {enabled: true}, issuer: {create: true}}
metrics: {enabled: true, podMonitor: {enabled: true}, prometheusRule: {enabled: true}}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	expressions := map[string]string{}
	for _, manifest := range render(t, dir, values) {
		var rule monitoring.PrometheusRule
		if err := yaml.Unmarshal([]byte(manifest), &rule); err != nil || rule.Kind != "PrometheusRule" {
			continue
		}
		for _, r := range rule.Spec.Groups[0].Rules {
			expressions[r.Alert] = r.Expr.String()
		}
	}
	if len(expressions) != 13 {
		t.Errorf("%d alerts, want all 13", len(expressions))
	}
	text, err := os.ReadFile(filepath.Join(dir, "files", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ RefID, Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil || len(dashboard.Panels) == 0 {
		t.Fatalf("the dashboard has %d panels: %v", len(dashboard.Panels), err)
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			expressions[panel.Title+" "+target.RefID] = target.Expr
		}
	}
	return expressions
}
