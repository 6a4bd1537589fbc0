package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// forGrafana selects the ConfigMaps that Grafana's sidecar reads.
const forGrafana = "grafana_dashboard=1"

// dashboard is what Grafana asks for by the file of one.
type dashboard struct {
	Templating struct{ List []variable }
	Panels     []struct {
		Title   string
		Targets []struct{ RefID, Expr string }
	}
}

// variable is what a person chooses above the panels: a query says what there is to choose from.
type variable struct{ Name, Type, Query string }

// panelQuery is one that a panel asks.
type panelQuery struct{ panel, expression string }

// dashboards asks Prometheus what Grafana would by the dashboard that Argo CD has applied, and for the rules of the chart.
func (s *Session) dashboards(ctx context.Context) (string, error) {
	values := metricsValues("podMonitor")
	merge(values, map[string]any{"metrics": map[string]any{"dashboard": map[string]any{"enabled": true}}})
	if err := s.shape(ctx, "test: a dashboard for Grafana", values); err != nil {
		return "", err
	}
	d, file, err := s.dashboard(ctx)
	if err != nil {
		return "", err
	}
	chosen, err := s.choose(ctx, d)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	queries, err := d.queries(chosen)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	// Rates and quantiles are of what goes on.
	people := s.visit(ctx)
	told := until(ctx, scrapes, func(ctx context.Context) error { return s.panels(ctx, queries) })
	asked, failed := people.stop()
	if told != nil {
		return "", fmt.Errorf("%s: %w", file, told)
	}
	if err := complaint(asked, failed, ""); err != nil {
		return "", err
	}
	rules, err := s.rules(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("Prometheus has data for all %d queries of the %d panels of %s with %v, after %d requests; the %d rules of the chart's PrometheusRule are loaded and ok: %s",
		len(queries), len(d.Panels), file, chosen, asked, len(rules), strings.Join(rules, ", ")), nil
}

// dashboard is the one in the portal's namespace, with the name of its file.
func (s *Session) dashboard(ctx context.Context) (d dashboard, file string, err error) {
	found, err := s.Client.Core.ConfigMaps(namespace).List(ctx, metav1.ListOptions{LabelSelector: forGrafana})
	if err != nil {
		return d, "", err
	}
	if len(found.Items) != 1 || len(found.Items[0].Data) != 1 {
		return d, "", fmt.Errorf("%d ConfigMaps have the label %s, not one with one file", len(found.Items), forGrafana)
	}
	for name, text := range found.Items[0].Data {
		file = name
		err = json.Unmarshal([]byte(text), &d)
	}
	if err == nil && len(d.Panels) == 0 {
		err = errors.New("the dashboard has no panels")
	}
	return d, file, err
}

// labelValues is a variable's query for all values of a metric's label.
var labelValues = regexp.MustCompile(`^label_values\((\w+), *(\w+)\)$`)

// choose chooses the portal's namespace wherever the dashboard gives a choice, if Prometheus offers it.
func (s *Session) choose(ctx context.Context, d dashboard) (map[string]string, error) {
	chosen := map[string]string{}
	for _, v := range d.Templating.List {
		if v.Type == "datasource" {
			continue
		}
		query := labelValues.FindStringSubmatch(v.Query)
		if v.Type != "query" || query == nil {
			return nil, fmt.Errorf("nothing here chooses a value of the variable %s, %s %q", v.Name, v.Type, v.Query)
		}
		var offered []string
		if err := s.prometheus(ctx, "api/v1/label/"+query[2]+"/values", "match[]", query[1], &offered); err != nil {
			return nil, fmt.Errorf("the variable %s: %w", v.Name, err)
		}
		if !slices.Contains(offered, namespace) {
			return nil, fmt.Errorf("the variable %s offers %q, and not %s", v.Name, offered, namespace)
		}
		chosen[v.Name] = namespace
	}
	return chosen, nil
}

// queries are those of all panels, with what was chosen in place of the variables.
func (d dashboard) queries(chosen map[string]string) ([]panelQuery, error) {
	var queries []panelQuery
	for _, p := range d.Panels {
		if len(p.Targets) == 0 {
			return nil, fmt.Errorf("the panel %q asks nothing", p.Title)
		}
		for _, t := range p.Targets {
			var unknown error
			expression := os.Expand(t.Expr, func(name string) string {
				value, known := chosen[name]
				if !known {
					unknown = fmt.Errorf("the panel %q has the variable %s, which nothing here chooses", p.Title, name)
				}
				return value
			})
			if unknown != nil {
				return nil, unknown
			}
			queries = append(queries, panelQuery{p.Title, expression})
		}
	}
	return queries, nil
}

// panels says whether Prometheus answers all queries, and with data.
func (s *Session) panels(ctx context.Context, queries []panelQuery) error {
	for _, q := range queries {
		var data answered
		if err := s.prometheus(ctx, "api/v1/query", "query", q.expression, &data); err != nil {
			return fmt.Errorf("the panel %q: %w", q.panel, err)
		}
		if data.numbers() == 0 {
			return fmt.Errorf("the panel %q has no data: %s", q.panel, q.expression)
		}
	}
	return nil
}

// numbers counts the series that a panel can draw: what divides by nothing, as a quantile of no requests does, is none.
func (a answered) numbers() int {
	count := 0
	for _, r := range a.Result {
		if len(r.Value) != 2 {
			continue
		}
		number, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err == nil && !math.IsNaN(number) && !math.IsInf(number, 0) {
			count++
		}
	}
	return count
}

// rule is what Prometheus says of a rule.
type rule struct {
	Name, Health, LastError string
	Labels                  map[string]string
}

// rules waits until Prometheus evaluates all rules of the chart's PrometheusRule, and gives their names.
func (s *Session) rules(ctx context.Context) ([]string, error) {
	object, err := s.get(ctx, "monitoring.coreos.com/v1", "PrometheusRule", application)
	if err != nil {
		return nil, err
	}
	names, err := alertsOf(object)
	if err != nil {
		return nil, err
	}
	return names, until(ctx, scrapes, func(ctx context.Context) error {
		var data struct {
			Groups []struct{ Rules []rule }
		}
		if err := s.prometheus(ctx, "api/v1/rules", "", "", &data); err != nil {
			return err
		}
		var loaded []rule
		for _, g := range data.Groups {
			loaded = append(loaded, g.Rules...)
		}
		return healthy(names, loaded)
	})
}

// alertsOf are the alerts of a PrometheusRule.
func alertsOf(object *unstructured.Unstructured) ([]string, error) {
	var names []string
	groups, _, _ := unstructured.NestedSlice(object.Object, "spec", "groups")
	for _, g := range groups {
		group, _ := g.(map[string]any)
		rules, _, _ := unstructured.NestedSlice(group, "rules")
		for _, r := range rules {
			one, _ := r.(map[string]any)
			name, _ := one["alert"].(string)
			names = append(names, name)
		}
	}
	if len(names) == 0 || slices.Contains(names, "") {
		return nil, fmt.Errorf("the PrometheusRule has the alerts %q: none, or one without a name", names)
	}
	return names, nil
}

// healthy says whether all alerts of these names are among the rules for the portal's namespace, and evaluated well.
func healthy(names []string, loaded []rule) error {
	for _, name := range names {
		at := slices.IndexFunc(loaded, func(r rule) bool { return r.Name == name && r.Labels["namespace"] == namespace })
		switch {
		case at < 0:
			return fmt.Errorf("Prometheus has not loaded the rule %s", name)
		case loaded[at].Health != "ok":
			return fmt.Errorf("the health of the rule %s is %q: %s", name, loaded[at].Health, loaded[at].LastError)
		}
	}
	return nil
}
