package chart_test

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/backstage-gitops/backstage-gitops/ci/chart"
)

// Each message names the key and what it wants.
func TestRefusedValues(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		values string
		is     error
		says   []string
	}{
		"unknown key":               {`{imgae: {}}`, chart.ErrSchema, []string{"imgae", "not allowed"}},
		"unknown key deep down":     {`{image: {sha: x}}`, chart.ErrSchema, []string{"/image", "sha", "not allowed"}},
		"digest that is none":       {`{image: {digest: latest}}`, chart.ErrSchema, []string{"/image/digest", "sha256:"}},
		"digest in capitals":        {`{image: {digest: "sha256:` + strings.Repeat("A", 64) + `"}}`, chart.ErrSchema, []string{"/image/digest"}},
		"tag that is a number":      {`{image: {tag: 1.10}}`, chart.ErrSchema, []string{"/image/tag", "want string"}},
		"tag with a space":          {`{image: {tag: "a b"}}`, chart.ErrSchema, []string{"/image/tag"}},
		"no tag":                    {`{image: {tag: null}}`, chart.ErrSchema, []string{"/image", "tag"}},
		"repository with a tag":     {`{image: {repository: "docker.io/u/n:v1"}}`, chart.ErrSchema, []string{"/image/repository"}},
		"repository with a digest":  {`{image: {repository: "docker.io/u/n@sha256:00"}}`, chart.ErrSchema, []string{"/image/repository"}},
		"repository with a scheme":  {`{image: {repository: "https://docker.io/u/n"}}`, chart.ErrSchema, []string{"/image/repository"}},
		"node port out of range":    {`{service: {nodePort: {enabled: true, port: 8000}}}`, chart.ErrSchema, []string{"/service/nodePort/port", "want 30,000"}},
		"port out of range":         {`{service: {ports: [{name: backend, port: 0}, {name: frontend, port: 70000}]}}`, chart.ErrSchema, []string{"/service/ports/0/port", "/service/ports/1/port"}},
		"one port":                  {`{service: {ports: [{name: backend, port: 4001}]}}`, chart.ErrSchema, []string{"/service/ports"}},
		"backend twice":             {`{service: {ports: [{name: backend, port: 1}, {name: backend, port: 2}]}}`, chart.ErrTemplate, []string{`no port named "frontend"`}},
		"service of another type":   {`{service: {type: ExternalName}}`, chart.ErrSchema, []string{"/service/type"}},
		"env value is a number":     {`{env: [{name: A, value: 1}]}`, chart.ErrSchema, []string{"/env/0/value", "want string"}},
		"env name":                  {`{env: [{name: "A B", value: x}]}`, chart.ErrSchema, []string{"/env/0/name"}},
		"token in plain text":       {`{env: [{name: GITHUB_TOKEN, value: x}]}`, chart.ErrTemplate, []string{"githubToken.existingSecret"}},
		"two addresses of the app":  {`{appConfig: {app: {baseUrl: "https://a.example.org"}}}`, chart.ErrTemplate, []string{"BACKSTAGE_BASE_URL", "https://a.example.org", "appConfig.app.baseUrl"}},
		"host that is none":         {`{ingress: {enabled: true, hosts: ["https://a"]}}`, chart.ErrSchema, []string{"/ingress/hosts/0"}},
		"ingress without a host":    {`{ingress: {enabled: true}}`, chart.ErrTemplate, []string{"ingress.hosts"}},
		"annotation is no string":   {`{ingress: {annotations: {a: true}}}`, chart.ErrSchema, []string{"/ingress/annotations/a", "want string"}},
		"rights without a token":    {`{rbac: {create: true}}`, chart.ErrTemplate, []string{"serviceAccount.automountServiceAccountToken"}},
		"boolean as text":           {`{serviceAccount: {automountServiceAccountToken: "false"}}`, chart.ErrSchema, []string{"want boolean"}},
		"probe with a handler":      {`{probes: {startup: {exec: {}}}}`, chart.ErrSchema, []string{"/probes/startup", "exec"}},
		"config is text":            {`{appConfig: "app: {}"}`, chart.ErrSchema, []string{"/appConfig", "want object"}},
		"address without a scheme":  {`{appConfig: {app: {baseUrl: localhost:8000}}}`, chart.ErrSchema, []string{"/appConfig/app/baseUrl", "https?"}},
		"listen port of the config": {`{appConfig: {backend: {listen: {port: ":4001"}}}}`, chart.ErrSchema, []string{"/appConfig/backend/listen/port", "want integer"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := chart.Render(t.Context(), dir, chart.Release{}, write(t, c.values))
			requireError(t, "Render", err, c.is, "")
			for _, text := range c.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not say %q", err, text)
				}
			}
		})
	}
}

// hostile is what a value must not do: end its line, its string, its document; be a tag, an anchor, a number, a template.
var hostile = map[string]string{
	"newline and key":   "x\ninjected: true",
	"newline and item":  "x\n          - name: injected\n            image: evil",
	"carriage return":   "x\r\ninjected: true",
	"end of document":   "x\n---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: injected",
	"double quote":      `x" injected: "true`,
	"single quote":      `x' injected: 'true`,
	"flow":              `x, injected: true}`,
	"colon":             "x: injected",
	"comment":           "x #injected",
	"anchor":            "&x injected",
	"alias":             "*x",
	"tag":               "!!binary aW5qZWN0ZWQ=",
	"template":          `{{ fail "injected" }}`,
	"backslashes":       `\", injected: "\n`,
	"boolean":           "yes",
	"null":              "null",
	"number":            "0x1F",
	"exponent":          "1e3",
	"date":              "2026-11-23",
	"block indicator":   "|",
	"percent":           "%YAML 1.1",
	"tab":               "\tx",
	"line separator":    "x\u2028injected: true\u0085injected: true",
	"leading blanks":    "   x\n y\n",
	"only a line break": "\n",
	"control character": "x\u0007\u001b[31m",
	"not in plane zero": "\U0001F600 \u00e9",
	"empty":             "",
}

// everything sets each value that is text, each to text that can be told apart, and switches each object on.
const everything = `
image: {repository: repository, tag: tag, digest: digest, pullPolicy: pullPolicy}
imagePullSecrets: [{name: pullSecret}]
fullnameOverride: fullname
nameOverride: name
service: {type: type, nodePort: {enabled: true, port: 30800}}
env: [{name: ENV, value: env}, {name: REF, valueFrom: {secretKeyRef: {name: refName, key: refKey}}}]
githubToken: {existingSecret: githubSecret, key: githubKey}
appConfig: {app: {title: title, baseUrl: "https://app.example.org"}, backend: {baseUrl: backendUrl}}
ingress:
  enabled: true
  className: className
  annotations: {annotation: annotation}
  hosts: [host]
  tls: [{secretName: tlsSecret, hosts: [tlsHost]}]
serviceAccount: {name: account, annotations: {annotation: accountAnnotation}, automountServiceAccountToken: true}
rbac: {create: true}
podAnnotations: {annotation: podAnnotation}
podLabels: {label: podLabel}
podSecurityContext: {seccompProfile: {type: seccomp}}
securityContext: {capabilities: {drop: [capability]}}
tmp: {sizeLimit: sizeLimit}
resources: {backend: {limits: {memory: memory}}, frontend: {limits: {memory: memory2}}}
`

// The schema refuses most of this; here it is taken away, as `helm --skip-schema-validation` would. Whatever a value
// holds, it stays the text of the fields it is meant for: every document keeps its keys, its lists and its types.
func TestHostileValuesInjectNothing(t *testing.T) {
	t.Parallel()
	open := withFile(t, dir, "values.schema.json", "")
	base := map[string]any{}
	if err := yaml.Unmarshal([]byte(everything), &base); err != nil {
		t.Fatal(err)
	}
	want := shape(t, render(t, open, base))
	for name, payload := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, leaf := range leaves(base) {
				values := leaf.set(payload)
				rendered, err := chart.Render(t.Context(), open, chart.Release{}, writeValues(t, values))
				if err != nil {
					t.Errorf("%s: %v", leaf.path, err)
					continue
				}
				if payload == "" {
					continue // leaves its field out, rightly
				}
				if got := shape(t, rendered); !reflect.DeepEqual(got, want) {
					t.Errorf("%s changes what is rendered:\n%s", leaf.path, rendered)
				}
				// YAML counts U+0085 and U+2028 as line breaks, and folds them already when it reads the values.
				if verbatim[leaf.path] && name != "line separator" && !holds(t, rendered, payload) {
					t.Errorf("%s is not %q in what is rendered:\n%s", leaf.path, payload, rendered)
				}
			}
		})
	}
}

// verbatim are the values that arrive as they are; the others are cut to a length or joined to a longer text.
var verbatim = map[string]bool{
	"/env/0/value": true, "/appConfig/app/title": true, "/ingress/className": true, "/ingress/hosts/0": true,
	"/ingress/annotations/annotation": true, "/podAnnotations/annotation": true, "/githubToken/key": true,
	"/serviceAccount/name": true, "/tmp/sizeLimit": true, "/image/pullPolicy": true, "/service/type": true,
}

// leaf is one text among the values.
type leaf struct {
	path string
	set  func(string) map[string]any
}

// leaves lists every text in the values, with a function that gives a copy of all of them in which that one is another.
func leaves(values map[string]any) []leaf {
	var found []leaf
	var walk func(node any, path string, rebuild func(any) any)
	walk = func(node any, path string, rebuild func(any) any) {
		switch node := node.(type) {
		case map[string]any:
			for key, child := range node {
				walk(child, path+"/"+key, func(replaced any) any {
					copied := maps.Clone(node)
					copied[key] = replaced
					return rebuild(copied)
				})
			}
		case []any:
			for i, child := range node {
				walk(child, path+"/"+string(rune('0'+i)), func(replaced any) any {
					copied := append([]any(nil), node...)
					copied[i] = replaced
					return rebuild(copied)
				})
			}
		case string:
			found = append(found, leaf{path, func(text string) map[string]any { return rebuild(text).(map[string]any) }})
		}
	}
	walk(values, "", func(whole any) any { return whole })
	return found
}

func writeValues(t *testing.T, values map[string]any) string {
	t.Helper()
	content, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func render(t *testing.T, chartDir string, values map[string]any) chart.Rendered {
	t.Helper()
	rendered, err := chart.Render(t.Context(), chartDir, chart.Release{}, writeValues(t, values))
	if err != nil {
		t.Fatal(err)
	}
	return rendered
}

// documents parses what is rendered, app-config.yaml inside its ConfigMap included.
func documents(t *testing.T, rendered chart.Rendered) []any {
	t.Helper()
	var all []any
	for _, m := range rendered.Manifests {
		var document map[string]any
		if err := yaml.UnmarshalStrict([]byte(m.YAML), &document); err != nil {
			t.Fatalf("%s: %v\n%s", m.Template, err, m.YAML)
		}
		if m.Kind == "ConfigMap" {
			data := document["data"].(map[string]any)
			var config map[string]any
			if err := yaml.UnmarshalStrict([]byte(data["app-config.yaml"].(string)), &config); err != nil {
				t.Fatalf("app-config.yaml: %v\n%s", err, m.YAML)
			}
			data["app-config.yaml"] = config
		}
		all = append(all, document)
	}
	return all
}

// shape is what is rendered with each scalar replaced by its type. The kind, whose text the templates own, stays.
func shape(t *testing.T, rendered chart.Rendered) any {
	t.Helper()
	var outline func(node any) any
	outline = func(node any) any {
		switch node := node.(type) {
		case map[string]any:
			out := map[string]any{}
			for key, child := range node {
				if out[key] = outline(child); key == "kind" {
					out[key] = child
				}
			}
			return out
		case []any:
			out := make([]any, len(node))
			for i, child := range node {
				out[i] = outline(child)
			}
			return out
		default:
			return reflect.TypeOf(node)
		}
	}
	return outline(documents(t, rendered))
}

// holds says whether some scalar of what is rendered is exactly the text.
func holds(t *testing.T, rendered chart.Rendered, text string) bool {
	t.Helper()
	var find func(node any) bool
	find = func(node any) bool {
		switch node := node.(type) {
		case map[string]any:
			for _, child := range node {
				if find(child) {
					return true
				}
			}
		case []any:
			for _, child := range node {
				if find(child) {
					return true
				}
			}
		case string:
			return node == text
		}
		return false
	}
	return find(documents(t, rendered))
}
