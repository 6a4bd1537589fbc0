package chart_test

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"github.com/backstage-gitops/backstage-gitops/ci/chart"
)

// objects renders the chart and decodes all of it.
func objects(t *testing.T, values ...string) []runtime.Object {
	t.Helper()
	rendered, err := chart.Render(t.Context(), dir, chart.Release{}, values...)
	if err != nil {
		t.Fatal(err)
	}
	var all []runtime.Object
	for _, m := range rendered.Manifests {
		object, err := m.Object()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, object)
	}
	return all
}

// all picks the objects of one type.
func all[T runtime.Object](objects []runtime.Object) []T {
	var found []T
	for _, object := range objects {
		if typed, ok := object.(T); ok {
			found = append(found, typed)
		}
	}
	return found
}

// one is the only object of its type.
func one[T runtime.Object](t *testing.T, objects []runtime.Object) T {
	t.Helper()
	found := all[T](objects)
	if len(found) != 1 {
		t.Fatalf("%d objects of type %T, want one", len(found), *new(T))
	}
	return found[0]
}

func container(t *testing.T, objects []runtime.Object, name string) corev1.Container {
	t.Helper()
	containers := one[*appsv1.Deployment](t, objects).Spec.Template.Spec.Containers
	for _, c := range containers {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no container %s", name)
	return corev1.Container{}
}

func TestImage(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("0123456789abcdef", 4)
	cases := map[string]struct{ values, want string }{
		"tag only":             {`{image: {repository: docker.io/u/n, tag: v1, digest: ""}}`, "docker.io/u/n:v1"},
		"digest wins":          {`{image: {repository: docker.io/u/n, tag: v1, digest: "` + digest + `"}}`, "docker.io/u/n@" + digest},
		"registry with a port": {`{image: {repository: "127.0.0.1:5000/n", tag: v1, digest: "` + digest + `"}}`, "127.0.0.1:5000/n@" + digest},
		"tag like a number":    {`{image: {repository: name, tag: "1.10", digest: ""}}`, "name:1.10"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := objects(t, write(t, c.values))
			for _, role := range []string{"backend", "frontend"} {
				if got := container(t, objects, role).Image; got != c.want {
					t.Errorf("%s runs %s, want %s", role, got, c.want)
				}
			}
		})
	}
}

// The architecture document writes these values down; a release changes the image's tag and digest only.
func TestDocumentValues(t *testing.T) {
	t.Parallel()
	objects := objects(t)
	ports := map[string]int32{}
	service := one[*corev1.Service](t, objects)
	for _, p := range service.Spec.Ports {
		ports[p.Name] = p.Port
	}
	if want := map[string]int32{"backend": 4001, "frontend": 8000}; service.Spec.Type != corev1.ServiceTypeClusterIP || !reflect.DeepEqual(ports, want) {
		t.Errorf("Service %s with %v, want ClusterIP with %v", service.Spec.Type, ports, want)
	}
	want := []corev1.EnvVar{{Name: "BACKSTAGE_BASE_URL", Value: "http://localhost:8000"}}
	if got := container(t, objects, "backend").Env; !reflect.DeepEqual(got, want) {
		t.Errorf("env %v, want %v", got, want)
	}
	config := appConfig(t, objects)
	document := map[string]any{}
	if err := yaml.UnmarshalStrict([]byte(`
app:
  title: Backstage GitOps
  baseUrl: http://localhost:8000

backend:
  baseUrl: http://localhost:4001
  listen:
    port: 4001

integrations:
  github:
    - host: github.com
      token: ${GITHUB_TOKEN}
`), &document); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(config, document) {
		t.Errorf("app-config.yaml holds %v, want %v", config, document)
	}
}

// A page that came by plain http cannot take https for its scripts: there is nobody who answers.
func TestPlainHTTPUpgradesNothing(t *testing.T) {
	t.Parallel()
	const address = `{env: [], appConfig: {app: {baseUrl: %q}%s}}`
	cases := map[string]struct {
		values string
		want   any
	}{
		"the image's own": {fmt.Sprintf(address, "http://localhost:8000", ""), nil},
		"https":           {fmt.Sprintf(address, "https://a.example.org", ""), nil},
		"http":            {fmt.Sprintf(address, "http://a.example.org:8080", ""), map[string]any{"upgrade-insecure-requests": false}},
		"http, with a policy": {
			fmt.Sprintf(address, "http://a.example.org", `, backend: {csp: {img-src: [x]}}`),
			map[string]any{"img-src": []any{"x"}, "upgrade-insecure-requests": false},
		},
		"set by hand": {
			fmt.Sprintf(address, "http://a.example.org", `, backend: {csp: {upgrade-insecure-requests: []}}`),
			map[string]any{"upgrade-insecure-requests": []any{}},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := appConfig(t, objects(t, write(t, c.values)))["backend"].(map[string]any)
			if !reflect.DeepEqual(backend["csp"], c.want) {
				t.Errorf("backend.csp %v, want %v", backend["csp"], c.want)
			}
		})
	}
}

// The browser lets the app call the API at another address only if the API names the app's.
func TestCorsOriginFollowsTheAddressOfTheApp(t *testing.T) {
	t.Parallel()
	const address = `{env: [], appConfig: {app: {baseUrl: %q}%s}}`
	cases := map[string]struct {
		values string
		want   any
	}{
		"the image's own":       {fmt.Sprintf(address, "http://localhost:8000", ""), nil},
		"the same with a slash": {fmt.Sprintf(address, "http://localhost:8000/", ""), nil},
		"another":               {fmt.Sprintf(address, "https://a.example.org", ""), map[string]any{"origin": "https://a.example.org"}},
		"with port and path":    {fmt.Sprintf(address, "http://a.example.org:30800/portal", ""), map[string]any{"origin": "http://a.example.org:30800"}},
		"a variable":            {fmt.Sprintf(address, "${BACKSTAGE_BASE_URL}", ""), map[string]any{"origin": "${BACKSTAGE_BASE_URL}"}},
		"set by hand": {
			fmt.Sprintf(address, "https://a.example.org", `, backend: {cors: {origin: [x]}}`),
			map[string]any{"origin": []any{"x"}},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := appConfig(t, objects(t, write(t, c.values)))["backend"].(map[string]any)
			if !reflect.DeepEqual(backend["cors"], c.want) {
				t.Errorf("backend.cors %v, want %v", backend["cors"], c.want)
			}
			if backend["baseUrl"] != "http://localhost:4001" {
				t.Errorf("backend.baseUrl %v is lost", backend["baseUrl"])
			}
		})
	}
}

func TestContainerPortsFollowTheConfiguration(t *testing.T) {
	t.Parallel()
	objects := objects(t, write(t, `{appConfig: {app: {listen: {port: 8100}}, backend: {listen: {port: 4100}}}}`))
	for role, want := range map[string]int32{"backend": 4100, "frontend": 8100} {
		if got := container(t, objects, role).Ports[0].ContainerPort; got != want {
			t.Errorf("%s on %d, want %d", role, got, want)
		}
	}
}

func appConfig(t *testing.T, objects []runtime.Object) map[string]any {
	t.Helper()
	config := map[string]any{}
	if err := yaml.UnmarshalStrict([]byte(one[*corev1.ConfigMap](t, objects).Data["app-config.yaml"]), &config); err != nil {
		t.Fatal(err)
	}
	return config
}

func TestContainers(t *testing.T) {
	t.Parallel()
	for shape, values := range shapes(t) {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			objects := objects(t, values...)
			pod := one[*appsv1.Deployment](t, objects).Spec.Template.Spec
			if pod.Containers[0].Name != "backend" || pod.Containers[1].Name != "frontend" {
				t.Fatalf("the pod begins with %s and %s, want backend and frontend", pod.Containers[0].Name, pod.Containers[1].Name)
			}
			for role, port := range map[string]int32{"backend": 4001, "frontend": 8000} {
				c := container(t, objects, role)
				args := []string{
					role, "--config", "/app/app-config.yaml", "--config", "/app/app-config.production.yaml",
					"--config", "/etc/backstage/app-config.yaml",
				}
				if !slices.Equal(c.Args[:len(args)], args) || c.Command != nil {
					t.Errorf("%s: command %q with arguments %q, want the image's own with %q", role, c.Command, c.Args, args)
				}
				if c.Ports[0].ContainerPort != port || c.Ports[0].Name != role {
					t.Errorf("%s: ports %v, want %d first", role, c.Ports, port)
				}
				checkProbes(t, role, c)
				checkMounts(t, pod, c)
				if c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
					t.Errorf("%s: resources %v lack a memory request or limit", role, c.Resources)
				}
			}
		})
	}
}

func checkProbes(t *testing.T, role string, c corev1.Container) {
	t.Helper()
	for probe, path := range map[*corev1.Probe]string{
		c.StartupProbe:   "/.backstage/health/v1/readiness",
		c.ReadinessProbe: "/.backstage/health/v1/readiness",
		c.LivenessProbe:  "/.backstage/health/v1/liveness",
	} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path || probe.HTTPGet.Port.StrVal != role {
			t.Errorf("%s: probe %v, want GET %s on its own port", role, probe, path)
		}
	}
	if budget := c.StartupProbe.PeriodSeconds * c.StartupProbe.FailureThreshold; budget < 120 {
		t.Errorf("%s: %d s to start, want minutes", role, budget)
	}
}

func checkMounts(t *testing.T, pod corev1.PodSpec, c corev1.Container) {
	t.Helper()
	volumes := map[string]corev1.Volume{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = v
	}
	mounts := map[string]corev1.VolumeMount{}
	for _, m := range c.VolumeMounts {
		mounts[m.MountPath] = m
	}
	config := mounts["/etc/backstage"]
	if v := volumes[config.Name].ConfigMap; v == nil || v.Items != nil || config.SubPath != "" || config.SubPathExpr != "" || !config.ReadOnly {
		t.Errorf("%s: /etc/backstage is %v of %v, want the whole ConfigMap as a read-only directory", c.Name, config, v)
	}
	tmp := mounts["/tmp"]
	if v := volumes[tmp.Name].EmptyDir; v == nil || v.SizeLimit == nil || tmp.ReadOnly || tmp.Name != "tmp-"+c.Name {
		t.Errorf("%s: /tmp is %v of %v, want a bounded emptyDir of its own", c.Name, tmp, v)
	}
}

// templates are the pods of everything that makes some, by kind.
func templates(objects []runtime.Object) map[string]corev1.PodTemplateSpec {
	found := map[string]corev1.PodTemplateSpec{}
	for _, object := range objects {
		switch typed := object.(type) {
		case *appsv1.Deployment:
			found["Deployment"] = typed.Spec.Template
		case *appsv1.StatefulSet:
			found["StatefulSet"] = typed.Spec.Template
		case *batchv1.CronJob:
			found["CronJob"] = typed.Spec.JobTemplate.Spec.Template
		case *batchv1.Job:
			found["Job"] = typed.Spec.Template
		}
	}
	return found
}

func TestPodsAreRestricted(t *testing.T) {
	t.Parallel()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	// 65532 is the user of the portal's image, 999 that of PostgreSQL's.
	users := map[string]int64{"Deployment": 65532, "StatefulSet": 999, "CronJob": 999, "Job": 999}
	seen := map[string]bool{}
	for shape, values := range shapes(t) {
		objects := objects(t, values...)
		for kind, template := range templates(objects) {
			seen[kind] = true
			t.Run(shape+" "+kind, func(t *testing.T) {
				t.Parallel()
				results := evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &template.ObjectMeta, &template.Spec)
				if all := policy.AggregateCheckResults(results); !all.Allowed {
					t.Errorf("Pod Security Standard restricted: %s", all.ForbiddenDetail())
				}
				// Beyond the standard.
				pod := template.Spec.SecurityContext
				if want := users[kind]; *pod.RunAsUser != want || *pod.RunAsGroup != want || *pod.FSGroup != want {
					t.Errorf("the pod runs as %d:%d, files %d, want %d", *pod.RunAsUser, *pod.RunAsGroup, *pod.FSGroup, want)
				}
				for _, c := range slices.Concat(template.Spec.InitContainers, template.Spec.Containers) {
					if !*c.SecurityContext.ReadOnlyRootFilesystem {
						t.Errorf("%s: root filesystem is writable", c.Name)
					}
				}
				if *template.Spec.EnableServiceLinks {
					t.Error("the environment lists every Service of the namespace")
				}
				if kind != "Deployment" && *template.Spec.AutomountServiceAccountToken {
					t.Error("the pod has a token of the Kubernetes API")
				}
			})
		}
	}
	for kind := range users {
		if !seen[kind] {
			t.Errorf("no values file under ci/ makes a %s", kind)
		}
	}
}

// A Service of the portal that reached the database's pods would send people there.
func TestSelectorsKeepPodsApart(t *testing.T) {
	t.Parallel()
	for shape, values := range shapes(t) {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			objects := objects(t, values...)
			pods := templates(objects)
			for _, service := range all[*corev1.Service](objects) {
				want := "Deployment"
				if strings.HasSuffix(service.Name, "-database") {
					want = "StatefulSet"
				}
				for kind, pod := range pods {
					if selects := labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod.Labels)); selects != (kind == want) {
						t.Errorf("the Service %s selects the pods of the %s: %t", service.Name, kind, selects)
					}
				}
			}
		})
	}
}

// Neither values nor templates hold a secret: what is secret comes by reference.
func TestNoSecretIsRendered(t *testing.T) {
	t.Parallel()
	for shape, values := range shapes(t) {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			objects := objects(t, values...)
			if found := all[*corev1.Secret](objects); len(found) != 0 {
				t.Errorf("a Secret is rendered: %s", found[0].Name)
			}
			for kind, pod := range templates(objects) {
				for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
					for _, env := range c.Env {
						if secretName.MatchString(env.Name) && (env.Value != "" || env.ValueFrom == nil || env.ValueFrom.SecretKeyRef == nil) {
							t.Errorf("%s of %s in the %s is %q, want a reference to a Secret", env.Name, c.Name, kind, env.Value)
						}
					}
				}
			}
		})
	}
}

var secretName = regexp.MustCompile("PASSWORD|TOKEN|SECRET|ACCESS_KEY_ID")

func TestServiceAccountHasNoTokenUnlessAsked(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		values []string
		token  bool
		roles  int
	}{
		"by default":         {},
		"kubernetes plugin":  {values: []string{dir + "/ci/kubernetes-plugin-values.yaml", dir + "/ci/extra-values.yaml"}, token: true, roles: 1},
		"an account at hand": {values: []string{write(t, `{serviceAccount: {create: false, name: given}}`)}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := objects(t, c.values...)
			pod := one[*appsv1.Deployment](t, objects).Spec.Template.Spec
			// Automounted it would be in every container.
			if *pod.AutomountServiceAccountToken {
				t.Error("every container has the token")
			}
			for _, container := range slices.Concat(pod.InitContainers, pod.Containers) {
				has := slices.ContainsFunc(container.VolumeMounts, func(m corev1.VolumeMount) bool {
					return m.Name == "kube-api-access" && m.MountPath == "/var/run/secrets/kubernetes.io/serviceaccount" && m.ReadOnly
				})
				if want := c.token && container.Name == "backend"; has != want {
					t.Errorf("%s has the token: %t, want %t", container.Name, has, want)
				}
			}
			projected := 0
			for _, volume := range pod.Volumes {
				if volume.Projected != nil && volume.Projected.Sources[0].ServiceAccountToken.Path == "token" {
					projected++
				}
			}
			if (projected == 1) != c.token {
				t.Errorf("%d volumes have the token", projected)
			}
			for _, account := range all[*corev1.ServiceAccount](objects) {
				if *account.AutomountServiceAccountToken || account.Name != pod.ServiceAccountName {
					t.Errorf("account %s mounts its token: %t", account.Name, *account.AutomountServiceAccountToken)
				}
			}
			roles, bindings := all[*rbacv1.Role](objects), all[*rbacv1.RoleBinding](objects)
			if len(roles) != c.roles || len(bindings) != c.roles {
				t.Fatalf("%d roles and %d bindings, want %d", len(roles), len(bindings), c.roles)
			}
			for _, role := range roles {
				for _, rule := range role.Rules {
					checkRule(t, rule)
				}
			}
			for _, binding := range bindings {
				if s := binding.Subjects[0]; s.Name != pod.ServiceAccountName || s.Namespace != "backstage-system" {
					t.Errorf("bound to %s/%s", s.Namespace, s.Name)
				}
			}
		})
	}
}

func checkRule(t *testing.T, rule rbacv1.PolicyRule) {
	t.Helper()
	for _, verb := range rule.Verbs {
		if !slices.Contains([]string{"get", "list"}, verb) {
			t.Errorf("the Role may %s %v", verb, rule.Resources)
		}
	}
	for _, name := range slices.Concat(rule.Resources, rule.APIGroups) {
		if name == "secrets" || name == "*" {
			t.Errorf("the Role reaches %q", name)
		}
	}
}

func TestGithubTokenIsAReferenceOfTheBackendOnly(t *testing.T) {
	t.Parallel()
	objects := objects(t, dir+"/ci/github-token-values.yaml")
	for role, want := range map[string]bool{"backend": true, "frontend": false} {
		found := false
		for _, env := range container(t, objects, role).Env {
			if env.Name != "GITHUB_TOKEN" {
				continue
			}
			found = true
			if ref := env.ValueFrom.SecretKeyRef; env.Value != "" || ref.Name != "backstage-github" || ref.Key != "token" {
				t.Errorf("%s: GITHUB_TOKEN from %v", role, env)
			}
		}
		if found != want {
			t.Errorf("%s has GITHUB_TOKEN: %t", role, found)
		}
	}
}

func TestServices(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		values string
		want   []string
	}{
		"defaults": {`{}`, []string{"backstage ClusterIP backend=4001 frontend=8000"}},
		"other numbers": {
			`{service: {ports: [{name: frontend, port: 80}, {name: backend, port: 81}]}}`,
			[]string{"backstage ClusterIP frontend=80 backend=81"},
		},
		"app on a port of the nodes": {
			`{service: {nodePort: {enabled: true, port: 30800}}}`,
			[]string{"backstage ClusterIP backend=4001 frontend=8000", "backstage-nodeport NodePort frontend=8000:30800"},
		},
		"app on any port of the nodes": {
			`{service: {nodePort: {enabled: true}}}`,
			[]string{"backstage ClusterIP backend=4001 frontend=8000", "backstage-nodeport NodePort frontend=8000"},
		},
		"the longest name": {
			fmt.Sprintf(`{fullnameOverride: %s, service: {nodePort: {enabled: true}}}`, strings.Repeat("n", 63)),
			[]string{strings.Repeat("n", 63) + " ClusterIP backend=4001 frontend=8000", strings.Repeat("n", 54) + "-nodeport NodePort frontend=8000"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := objects(t, write(t, c.values))
			pod := one[*appsv1.Deployment](t, objects).Spec.Template
			var got []string
			for _, service := range all[*corev1.Service](objects) {
				line := fmt.Sprintf("%s %s", service.Name, service.Spec.Type)
				for _, p := range service.Spec.Ports {
					line += fmt.Sprintf(" %s=%d", p.Name, p.Port)
					if p.NodePort != 0 {
						line += fmt.Sprintf(":%d", p.NodePort)
					}
					if p.TargetPort.StrVal != p.Name {
						t.Errorf("%s: port %s goes to %s", service.Name, p.Name, p.TargetPort.StrVal)
					}
				}
				for key, value := range service.Spec.Selector {
					if pod.Labels[key] != value {
						t.Errorf("%s selects %s=%s, the pod has %q", service.Name, key, value, pod.Labels[key])
					}
				}
				got = append(got, line)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("services %q, want %q", got, c.want)
			}
		})
	}
}

func TestIngress(t *testing.T) {
	t.Parallel()
	ingress := one[*networkingv1.Ingress](t, objects(t, dir+"/ci/ingress-values.yaml"))
	got := map[string]string{}
	for _, rule := range ingress.Spec.Rules {
		for _, path := range rule.HTTP.Paths {
			got[rule.Host+path.Path] = path.Backend.Service.Name + ":" + path.Backend.Service.Port.Name
		}
	}
	want := map[string]string{"portal.example.org/api": "backstage:backend", "portal.example.org/": "backstage:frontend"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("routes %v, want %v", got, want)
	}
	if *ingress.Spec.IngressClassName != "traefik" || ingress.Spec.TLS[0].SecretName != "portal-tls" || ingress.Annotations["example.org/note"] != "yes" {
		t.Errorf("class, TLS or annotations are lost: %v", ingress)
	}
	if found := all[*networkingv1.Ingress](objects(t)); len(found) != 0 {
		t.Errorf("an Ingress by default: %v", found)
	}
}

// What Backstage reads again while it runs must not roll the pods, and everything else must.
func TestConfigurationRollsPodsOnlyWhereItHasTo(t *testing.T) {
	t.Parallel()
	base := `{appConfig: {catalog: {locations: [{type: url, target: a}], rules: []}, proxy: {endpoints: {/a: b}}}}`
	cases := map[string]struct {
		values string
		rolls  bool
	}{
		"the same":            {base, false},
		"catalog locations":   {strings.Replace(base, "target: a", "target: b", 1), false},
		"the first endpoint":  {`{appConfig: {catalog: {locations: [], rules: []}}}`, false},
		"proxy endpoints":     {strings.Replace(base, "/a: b", "/a: c", 1), false},
		"rules of a location": {strings.Replace(base, "target: a", "target: a, rules: [{allow: [API]}]", 1), true},
		"catalog rules":       {strings.Replace(base, "rules: []", "rules: [{allow: [API]}]", 1), true},
		"title of the app":    {strings.Replace(base, "{catalog", "{app: {title: Another}, catalog", 1), true},
		"database":            {strings.Replace(base, "{catalog", "{backend: {database: {client: pg}}, catalog", 1), true},
		"catalog is no map":   {`{appConfig: {catalog: text, proxy: {endpoints: {/a: b}}}}`, true},
		"neither one at all":  {`{}`, true},
	}
	// Of a location with rules, what they are known by counts as well, and of its neighbours nothing.
	ruled := `{appConfig: {catalog: {locations: [{type: url, target: a}, {type: url, target: b, rules: [{allow: [API]}]}]}}}`
	checksum := func(t *testing.T, values string) string {
		t.Helper()
		objects := objects(t, write(t, values))
		return one[*appsv1.Deployment](t, objects).Spec.Template.Annotations["checksum/app-config"]
	}
	before := checksum(t, base)
	if len(before) != 64 {
		t.Fatalf("checksum %q", before)
	}
	for values, rolls := range map[string]bool{
		strings.Replace(ruled, "target: a", "target: c", 1): false,
		strings.Replace(ruled, "target: b", "target: c", 1): true,
		strings.Replace(ruled, "API", "Component", 1):       true,
	} {
		if got := checksum(t, values) != checksum(t, ruled); got != rolls {
			t.Errorf("%s rolls the pods: %t, want %t", values, got, rolls)
		}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if rolls := checksum(t, c.values) != before; rolls != c.rolls {
				t.Errorf("rolls the pods: %t, want %t", rolls, c.rolls)
			}
		})
	}
}

// A Job cannot be changed: Argo CD would fail at one of the same name and another pod.
func TestAnotherRestoreIsAnotherJob(t *testing.T) {
	t.Parallel()
	name := func(more string) string {
		return one[*batchv1.Job](t, objects(t, dir+"/ci/restore-values.yaml", write(t, more))).Name
	}
	for values, other := range map[string]bool{
		`{database: {image: {tag: "17"}}}`:                   true,
		`{backup: {resources: {limits: {memory: 1Gi}}}}`:     true,
		`{backup: {nodeSelector: {disk: ssd}}}`:              true,
		`{restore: {from: backstage-20261123T021700Z.dump}}`: true,
		`{commonLabels: {team: platform}, replicas: 3}`:      false,
	} {
		if got := name(values) != name("{}"); got != other {
			t.Errorf("%s makes another Job: %t, want %t", values, got, other)
		}
	}
}

// The pods of the running release must not change when only the chart's version does.
func TestPodTemplateKnowsNoVersion(t *testing.T) {
	t.Parallel()
	labels := one[*appsv1.Deployment](t, objects(t)).Spec.Template.Labels
	want := map[string]string{"app.kubernetes.io/name": "backstage", "app.kubernetes.io/instance": "backstage"}
	if !reflect.DeepEqual(labels, want) {
		t.Errorf("labels of the pod %v, want %v", labels, want)
	}
}

func TestVersionLabelOfAnyTag(t *testing.T) {
	t.Parallel()
	for _, tag := range []string{"v1.2.3", "_.-x", "x-", strings.Repeat("a", 62) + "-" + strings.Repeat("b", 65), "___", "0"} {
		t.Run(tag, func(t *testing.T) {
			t.Parallel()
			label := one[*appsv1.Deployment](t, objects(t, write(t, fmt.Sprintf("{image: {tag: %q}}", tag)))).Labels["app.kubernetes.io/version"]
			if problems := content.IsLabelValue(label); len(problems) > 0 {
				t.Errorf("label %q: %v", label, problems)
			}
		})
	}
}

func TestAdditionsToThePod(t *testing.T) {
	t.Parallel()
	pod := one[*appsv1.Deployment](t, objects(t, write(t, `
podLabels: {team: platform, app.kubernetes.io/name: stolen}
podAnnotations: {note: "1", checksum/app-config: stolen}
`))).Spec.Template
	if pod.Labels["team"] != "platform" || pod.Labels["app.kubernetes.io/name"] != "backstage" {
		t.Errorf("labels %v: the chart's own win, others are added", pod.Labels)
	}
	if pod.Annotations["note"] != "1" || len(pod.Annotations["checksum/app-config"]) != 64 {
		t.Errorf("annotations %v: the chart's own win, others are added", pod.Annotations)
	}
}

func TestNotes(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		values     []string
		want, lack string
	}{
		"tag only":     {values: []string{write(t, `{image: {tag: "latest", digest: ""}}`)}, want: `WARNING: image.digest is empty, so the tag "latest"`},
		"digest":       {values: []string{released}, want: "port-forward service/backstage 8000:8000 4001:4001", lack: "WARNING"},
		"another host": {values: []string{write(t, `{ingress: {enabled: true, hosts: [a.example.org]}}`)}, want: "WARNING: appConfig.app.baseUrl is http://localhost:8000, and the portal is reached by a.example.org"},
		"any host":     {values: []string{write(t, `{ingress: {enabled: true, hosts: ["*.example.org"]}, env: [], appConfig: {app: {baseUrl: "https://a.example.org"}}}`)}, want: "http://*.example.org/", lack: "appConfig.app.baseUrl"},
		"latest dump":  {values: []string{dir + "/ci/restore-values.yaml"}, want: "WARNING: latest is the newest dump"},
		"no digest":    {values: []string{write(t, `{image: {digest: "", requireDigest: true}}`)}, want: "NOTHING RUNS: image.requireDigest"},
		"ingress":      {values: []string{dir + "/ci/ingress-values.yaml"}, want: "https://portal.example.org/", lack: "appConfig.app.baseUrl"},
		"GitHub":       {values: []string{dir + "/ci/sign-in-values.yaml"}, want: "https://portal.example.org/api/auth/github/handler/frame"},
		"no GitHub":    {values: []string{released}, want: "The app:", lack: "GitHub"},
		"node port":    {values: []string{dir + "/ci/nodeport-values.yaml"}, want: "get service backstage-nodeport", lack: "port-forward"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rendered, err := chart.Render(t.Context(), dir, chart.Release{}, c.values...)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(rendered.Notes, c.want) || c.lack != "" && strings.Contains(rendered.Notes, c.lack) {
				t.Errorf("notes have no %q, or have %q:\n%s", c.want, c.lack, rendered.Notes)
			}
		})
	}
}

// Kubernetes adds to some names: eleven characters to a CronJob's and, in a label, to a StatefulSet's, and a ReplicaSet's pod
// has the first 58 characters of the name and hash with five of its own.
func TestLongNames(t *testing.T) {
	t.Parallel()
	expression := regexp.MustCompile(`pod=~\\"([^\\]+)\\"`)
	for length := 40; length <= 63; length++ {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			t.Parallel()
			name := "a" + strings.Repeat("e", length-1)
			rendered, err := chart.Render(t.Context(), dir, chart.Release{}, write(t, "{fullnameOverride: "+name+", database: {type: statefulset, existingSecret: s}, backup: {enabled: true}, metrics: {enabled: true, podMonitor: {enabled: true}, prometheusRule: {enabled: true}}}"))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range rendered.Manifests {
				if (m.Kind == "CronJob" || m.Kind == "StatefulSet") && len(m.Name) > 52 {
					t.Errorf("%s %s has %d characters, and may have 52", m.Kind, m.Name, len(m.Name))
				}
				if m.Kind != "PrometheusRule" {
					continue
				}
				found := expression.FindStringSubmatch(m.YAML)
				if found == nil {
					t.Fatalf("no pods in\n%s", m.YAML)
				}
				pods := regexp.MustCompile("^(" + found[1] + ")$")
				for _, hash := range []string{"6d5f8c9b", "6d5f8c9b7", "6d5f8c9b7d"} {
					base := name + "-" + hash + "-"
					if pod := base[:min(len(base), 58)] + "x2x7z"; !pods.MatchString(pod) {
						t.Errorf("%s does not match %s", pods, pod)
					}
				}
				if pod := name[:min(len(name), 43)] + "-database-0"; pods.MatchString(pod) {
					t.Errorf("%s matches %s", pods, pod)
				}
			}
		})
	}
}

func TestRelease(t *testing.T) {
	t.Parallel()
	rendered, err := chart.Render(t.Context(), dir, chart.Release{Name: "portal", Namespace: "team"}, dir+"/ci/kubernetes-plugin-values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range rendered.Manifests {
		if !strings.HasPrefix(m.Name, "portal-backstage") {
			t.Errorf("%s is called %s", m.Kind, m.Name)
		}
		if m.Kind == "RoleBinding" && !strings.Contains(m.YAML, `namespace: "team"`) {
			t.Errorf("bound in another namespace:\n%s", m.YAML)
		}
	}
	if _, err := chart.Render(t.Context(), dir, chart.Release{Name: "Not\na: name"}); err == nil {
		t.Error("a release name that is no name is accepted")
	}
}
