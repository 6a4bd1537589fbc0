package proof

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestQueries(t *testing.T) {
	t.Parallel()
	chosen := map[string]string{"namespace": "backstage"}
	cases := map[string]struct {
		dashboard string
		want      []panelQuery
		err       string
	}{
		"two of one panel": {
			`{"panels": [{"title": "a", "targets": [{"refId": "A", "expr": "up{namespace=\"$namespace\"}"}, {"refId": "B", "expr": "down{namespace=\"${namespace}\"}"}]}]}`,
			[]panelQuery{{"a", `up{namespace="backstage"}`}, {"a", `down{namespace="backstage"}`}}, "",
		},
		"the end of a pattern is no variable": {
			`{"panels": [{"title": "a", "targets": [{"expr": "up{pod=~\"a.*$\"}"}]}]}`, []panelQuery{{"a", `up{pod=~"a.*$"}`}}, "",
		},
		"another variable": {
			`{"panels": [{"title": "a", "targets": [{"expr": "rate(a[$__rate_interval])"}]}]}`, nil, `the panel "a" has the variable __rate_interval, which nothing here chooses`,
		},
		"a panel without a query": {`{"panels": [{"title": "a"}]}`, nil, `the panel "a" asks nothing`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var d dashboard
			if err := json.Unmarshal([]byte(c.dashboard), &d); err != nil {
				t.Fatal(err)
			}
			got, err := d.queries(chosen)
			if text(err) != c.err || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// All variables of the chart's dashboard are such as can be chosen here.
func TestDashboardOfTheChart(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("../../charts/backstage/files/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(file, &d); err != nil {
		t.Fatal(err)
	}
	chosen := map[string]string{}
	for _, v := range d.Templating.List {
		if v.Type == "datasource" {
			continue
		}
		if !labelValues.MatchString(v.Query) {
			t.Errorf("the variable %s is %s %q", v.Name, v.Type, v.Query)
		}
		chosen[v.Name] = namespace
	}
	queries, err := d.queries(chosen)
	if err != nil || len(queries) < len(d.Panels) || len(d.Panels) == 0 {
		t.Errorf("%d queries of %d panels, %v", len(queries), len(d.Panels), err)
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		result string
		want   int
	}{
		"one":                   {`[{"value": [1, "0"]}]`, 1},
		"two":                   {`[{"value": [1, "0.25"]}, {"value": [1, "1e9"]}]`, 2},
		"none":                  {`[]`, 0},
		"a quantile of nothing": {`[{"value": [1, "NaN"]}]`, 0},
		"without an end":        {`[{"value": [1, "+Inf"]}, {"value": [1, "-Inf"]}]`, 0},
		"no value":              {`[{"histogram": [1, {}]}]`, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var a answered
			if err := json.Unmarshal([]byte(`{"result": `+c.result+`}`), &a); err != nil {
				t.Fatal(err)
			}
			if got := a.numbers(); got != c.want {
				t.Errorf("got %d", got)
			}
		})
	}
}

func TestAlertsOf(t *testing.T) {
	t.Parallel()
	group := func(names ...any) any {
		var rules []any
		for _, name := range names {
			rules = append(rules, map[string]any{"alert": name})
		}
		return map[string]any{"rules": rules}
	}
	cases := map[string]struct {
		groups []any
		want   []string
		err    string
	}{
		"of all groups":  {[]any{group("a", "b"), group("c")}, []string{"a", "b", "c"}, ""},
		"none":           {nil, nil, "none, or one without a name"},
		"without a name": {[]any{group("a", nil)}, nil, `the alerts ["a" ""]`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := alertsOf(&unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"groups": c.groups}}})
			if !reflect.DeepEqual(got, c.want) || !strings.Contains(text(err), c.err) || (c.err == "") != (err == nil) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestHealthy(t *testing.T) {
	t.Parallel()
	here := map[string]string{"namespace": namespace}
	cases := map[string]struct {
		loaded []rule
		want   string
	}{
		"all": {[]rule{{Name: "b", Health: "ok", Labels: here}, {Name: "a", Health: "ok", Labels: here}}, ""},
		"one is not loaded": {
			[]rule{{Name: "a", Health: "ok", Labels: here}}, "Prometheus has not loaded the rule b",
		},
		"one is another environment's": {
			[]rule{{Name: "a", Health: "ok", Labels: here}, {Name: "b", Health: "ok", Labels: map[string]string{"namespace": "backstage-dev"}}}, "Prometheus has not loaded the rule b",
		},
		"one was not evaluated yet": {
			[]rule{{Name: "a", Health: "unknown", Labels: here}, {Name: "b", Health: "ok", Labels: here}}, `the health of the rule a is "unknown": `,
		},
		"one fails": {
			[]rule{{Name: "a", Health: "ok", Labels: here}, {Name: "b", Health: "err", LastError: "many-to-many matching not allowed", Labels: here}}, `the health of the rule b is "err": many-to-many matching not allowed`,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := text(healthy([]string{"a", "b"}, c.loaded)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
