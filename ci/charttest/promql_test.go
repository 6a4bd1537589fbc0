package charttest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

// An expression that Prometheus cannot parse takes all rules of its group with it.
func TestExpressions(t *testing.T) {
	t.Parallel()
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
	p := parser.NewParser(parser.Options{})
	for name, expression := range expressions {
		if _, err := p.ParseExpr(expression); err != nil {
			t.Errorf("%s: %v\n%s", name, err, expression)
		}
	}
}
