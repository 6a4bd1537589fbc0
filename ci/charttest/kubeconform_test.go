package charttest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/yannh/kubeconform/pkg/validator"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/releaseutil"
	"sigs.k8s.io/yaml"
)

// The Kubernetes whose API the charts are checked against, that of ci/chart.
const kubernetes = "k8s.io/kubernetes@v1.37.2" // renovate: datasource=go depName=k8s.io/kubernetes

// crds are where the other kinds are defined: modules, and the files in them. The Prometheus operator's module has Go
// types only, so its kinds are decoded into those.
var crds = map[string]string{
	"github.com/cert-manager/cert-manager@v1.21.2":         "deploy/crds/cert-manager.io_*.yaml",       // renovate: datasource=go
	"sigs.k8s.io/gateway-api@v1.6.1":                       "config/crd/standard/*.yaml",               // renovate: datasource=go
	"github.com/external-secrets/external-secrets@v0.20.4": "config/crds/bases/external-secrets*.yaml", // renovate: datasource=go
	"github.com/argoproj/argo-cd/v3@v3.5.7":                "manifests/crds/*-crd.yaml",                // renovate: datasource=go
}

// Every shape of both charts is what the API servers' own schemas say, with no field that they do not know and none
// missing that they require. Nothing is downloaded but Go modules.
func TestKubeconform(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeKubernetesSchemas(t, dir)
	for module, files := range crds {
		writeCRDSchemas(t, dir, module, files)
	}
	v, err := validator.New([]string{filepath.Join(dir, "{{ .ResourceKind }}{{ .KindSuffix }}.json")}, validator.Opts{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	checked := map[string]bool{}
	for _, chart := range chartDirs(t) {
		shapes, err := filepath.Glob(filepath.Join(chart, "ci", "*-values.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, values := range append([]string{""}, shapes...) {
			for _, manifest := range render(t, chart, values) {
				var head struct{ APIVersion, Kind string }
				if err := yaml.Unmarshal([]byte(manifest), &head); err != nil {
					t.Fatal(err)
				}
				checked[head.Kind] = true
				if err := check(v, head.APIVersion, head.Kind, manifest); err != nil {
					t.Errorf("%s with %s: %s: %v\n%s", chart, filepath.Base(values), head.Kind, err, manifest)
				}
			}
		}
	}
	for _, kind := range []string{"Deployment", "HTTPRoute", "Certificate", "Issuer", "ExternalSecret", "ServiceMonitor", "PrometheusRule", "AppProject", "ApplicationSet"} {
		if !checked[kind] {
			t.Errorf("no shape has a %s", kind)
		}
	}
	// What the schemas are worth.
	for name, manifest := range map[string]string{
		"a field too many":    "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {prots: []}",
		"a field too few":     "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: a}\nspec: {issuerRef: {name: a}}",
		"an unknown kind":     "apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: a}",
		"a field of a custom": "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec: {hosts: [a]}",
		"a field of a rule":   "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {name: a}\nspec: {rules: []}",
	} {
		var head struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal([]byte(manifest), &head); err != nil {
			t.Fatal(err)
		}
		if check(v, head.APIVersion, head.Kind, manifest) == nil {
			t.Errorf("%s passes", name)
		}
	}
}

// check says what is wrong with a manifest.
func check(v validator.Validator, apiVersion, kind, manifest string) error {
	if apiVersion == "monitoring.coreos.com/v1" {
		into := map[string]any{
			"ServiceMonitor": &monitoring.ServiceMonitor{}, "PodMonitor": &monitoring.PodMonitor{}, "PrometheusRule": &monitoring.PrometheusRule{},
		}[kind]
		return yaml.UnmarshalStrict([]byte(manifest), into)
	}
	for _, result := range v.ValidateWithContext(context.Background(), "", io.NopCloser(strings.NewReader(manifest))) {
		if result.Status != validator.Valid && result.Status != validator.Empty {
			return fmt.Errorf("%v %v", result.Err, result.ValidationErrors)
		}
	}
	return nil
}

func render(t *testing.T, dir, values string) []string {
	t.Helper()
	c, err := loader.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	overrides := chartutil.Values{}
	if values != "" {
		if overrides, err = chartutil.ReadValuesFile(values); err != nil {
			t.Fatal(err)
		}
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	_, version, _ := strings.Cut(kubernetes, "@")
	kube, err := chartutil.ParseKubeVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	capabilities.KubeVersion = *kube
	top, err := chartutil.ToRenderValues(c, overrides, chartutil.ReleaseOptions{Name: "backstage", Namespace: "backstage-system", IsInstall: true}, capabilities)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Render(c, top)
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(files, func(name, _ string) bool { return strings.HasSuffix(name, "NOTES.txt") })
	hooks, manifests, err := releaseutil.SortManifests(files, capabilities.APIVersions, releaseutil.InstallOrder)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range manifests {
		all = append(all, m.Content)
	}
	for _, h := range hooks {
		all = append(all, h.Manifest)
	}
	return all
}

// moduleDir downloads a module and gives its folder.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module).Output()
	if err != nil {
		t.Fatalf("download %s: %v %s", module, err, out)
	}
	var downloaded struct{ Dir string }
	if err := json.Unmarshal(out, &downloaded); err != nil {
		t.Fatal(err)
	}
	return downloaded.Dir
}

// writeKubernetesSchemas turns Kubernetes' own OpenAPI into one JSON schema per kind.
func writeKubernetesSchemas(t *testing.T, dir string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(moduleDir(t, kubernetes), "api", "openapi-spec", "swagger.json"))
	if err != nil {
		t.Fatal(err)
	}
	var swagger struct{ Definitions map[string]map[string]any }
	if err := json.Unmarshal(text, &swagger); err != nil {
		t.Fatal(err)
	}
	for _, definition := range swagger.Definitions {
		strict(definition)
	}
	// A quantity may be a number, which its definition does not say.
	swagger.Definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = map[string]any{"type": []string{"string", "number"}}
	swagger.Definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] = map[string]any{"type": []string{"string", "integer"}}
	for name, definition := range swagger.Definitions {
		kinds, _ := definition["x-kubernetes-group-version-kind"].([]any)
		for _, kind := range kinds {
			gvk := kind.(map[string]any)
			needed := map[string]any{}
			collect(swagger.Definitions, name, needed)
			writeSchema(t, dir, gvk["group"].(string), gvk["version"].(string), gvk["kind"].(string),
				map[string]any{"$ref": "#/definitions/" + name, "definitions": needed})
		}
	}
}

// collect gathers a definition and what it refers to.
func collect(all map[string]map[string]any, name string, into map[string]any) {
	if _, done := into[name]; done {
		return
	}
	into[name] = all[name]
	var walk func(node any)
	walk = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			if ref, ok := node["$ref"].(string); ok {
				collect(all, strings.TrimPrefix(ref, "#/definitions/"), into)
			}
			for _, child := range node {
				walk(child)
			}
		case []any:
			for _, child := range node {
				walk(child)
			}
		}
	}
	walk(all[name])
}

func writeCRDSchemas(t *testing.T, dir, module, pattern string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(moduleDir(t, module), filepath.FromSlash(pattern)))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no %s: %v", module, pattern, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd struct {
			Spec struct {
				Group    string
				Names    struct{ Kind string }
				Versions []struct {
					Name   string
					Schema struct{ OpenAPIV3Schema map[string]any }
				}
			}
		}
		if err := yaml.Unmarshal(text, &crd); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, version := range crd.Spec.Versions {
			schema := version.Schema.OpenAPIV3Schema
			strict(schema)
			// The API server knows the rest of an object's metadata.
			if properties, ok := schema["properties"].(map[string]any); ok {
				properties["metadata"] = map[string]any{"type": "object"}
			}
			writeSchema(t, dir, crd.Spec.Group, version.Name, crd.Spec.Names.Kind, schema)
		}
	}
}

// strict refuses fields that a schema does not list, and takes out what JSON schema does not know.
func strict(schema map[string]any) {
	if schema["x-kubernetes-int-or-string"] == true {
		delete(schema, "type")
		schema["anyOf"] = []any{map[string]any{"type": "integer"}, map[string]any{"type": "string"}}
	}
	// Formats of Kubernetes are Go types, and its patterns are of Go, both checked elsewhere.
	delete(schema, "format")
	if properties, ok := schema["properties"].(map[string]any); ok {
		if _, open := schema["additionalProperties"]; !open && schema["x-kubernetes-preserve-unknown-fields"] != true {
			schema["additionalProperties"] = false
		}
		for _, child := range properties {
			strict(child.(map[string]any))
		}
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if child, ok := schema[key].(map[string]any); ok {
			strict(child)
		}
	}
}

// writeSchema names a schema as kubeconform looks for it.
func writeSchema(t *testing.T, dir, group, version, kind string, schema any) {
	t.Helper()
	parts := []string{kind}
	if group != "" {
		group, _, _ = strings.Cut(group, ".")
		parts = append(parts, group)
	}
	text, err := json.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.ToLower(strings.Join(slices.Concat(parts, []string{version}), "-")) + ".json"
	if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
		t.Fatal(err)
	}
}
