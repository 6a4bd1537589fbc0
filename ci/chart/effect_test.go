package chart_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/backstage-gitops/backstage-gitops/ci/chart"
)

// A value that changes nothing in any shape is one that a template has forgotten.
func TestEveryValueHasAnEffect(t *testing.T) {
	t.Parallel()
	open := withFile(t, dir, "values.schema.json", "")
	text, err := os.ReadFile(filepath.Join(dir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defaults := map[string]any{}
	if err := yaml.Unmarshal(text, &defaults); err != nil {
		t.Fatal(err)
	}
	// What only counts where something else is chosen.
	bases := map[string]map[string]any{"defaults": {}}
	for name, values := range map[string]string{
		"everything":  everything,
		"volume":      `{database: {type: statefulset, existingSecret: s}, backup: {enabled: true}}`,
		"bucket":      `{database: {type: statefulset, existingSecret: s}, backup: {enabled: true, destination: s3, s3: {endpoint: e, bucket: b, existingSecret: s}}}`,
		"external":    `{database: {type: external, existingSecret: s, host: h}, networkPolicy: {enabled: true, database: [{ipBlock: {cidr: 192.0.2.1/32}}]}}`,
		"no secret":   `{notSecret: [A_TOKEN], extraEnv: [{name: A_TOKEN, value: x}]}`,
		"pod monitor": `{metrics: {enabled: true, podMonitor: {enabled: true}}}`,
		"autoscaling": `{database: {type: external, existingSecret: s, host: h}, autoscaling: {enabled: true}, podDisruptionBudget: {enabled: true}}`,
	} {
		base := map[string]any{}
		if err := yaml.Unmarshal([]byte(values), &base); err != nil {
			t.Fatal(err)
		}
		bases[name] = base
	}
	before := map[string]string{}
	for name, base := range bases {
		before[name] = outcome(t, open, base)
	}
	for path, value := range flat(defaults, "") {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			for name, base := range bases {
				if outcome(t, open, set(base, strings.Split(path, "."), other(value))) != before[name] {
					return
				}
			}
			t.Errorf("%s changes nothing, whatever else is set", path)
		})
	}
}

// outcome is what is rendered, or why nothing is.
func outcome(t *testing.T, dir string, values map[string]any) string {
	t.Helper()
	rendered, err := chart.Render(t.Context(), dir, chart.Release{}, writeValues(t, values))
	if err != nil {
		return err.Error()
	}
	return rendered.String()
}

// flat lists values by their path; a list is one value, and so is an empty map.
func flat(values map[string]any, prefix string) map[string]any {
	all := map[string]any{}
	for key, value := range values {
		if inner, ok := value.(map[string]any); ok && len(inner) > 0 && !strings.Contains(key, "/") {
			maps.Copy(all, flat(inner, prefix+key+"."))
			continue
		}
		all[prefix+key] = value
	}
	return all
}

// other is another value of the same type.
func other(value any) any {
	switch value := value.(type) {
	case bool:
		return !value
	case string:
		return value + "0"
	case float64:
		return value + 1
	case map[string]any:
		return map[string]any{"other": "value"}
	case []any:
		return append([]any{map[string]any{"name": "other", "file": "other", "configMap": "other"}}, value...)
	}
	return 7 // of null
}

// set is a copy of the values with one of them replaced.
func set(values map[string]any, path []string, value any) map[string]any {
	copied := map[string]any{}
	maps.Copy(copied, values)
	if len(path) == 1 {
		copied[path[0]] = value
		return copied
	}
	inner, ok := copied[path[0]].(map[string]any)
	if !ok && copied[path[0]] != nil {
		panic(fmt.Sprintf("%s is no map", path[0]))
	}
	copied[path[0]] = set(inner, path[1:], value)
	return copied
}
