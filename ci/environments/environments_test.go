package environments_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/backstage-gitops/backstage-gitops/ci/bump"
	"github.com/backstage-gitops/backstage-gitops/ci/chart"
	"github.com/backstage-gitops/backstage-gitops/ci/environments"
)

// root is this repository's checkout.
const root = "../.."

func digest(c string) string { return "sha256:" + strings.Repeat(c, 64) }

// values is an environment's file with an image, and a comment that has to stay.
func values(tag, digest string) string {
	return fmt.Sprintf("# kept\nimage: # here\n  tag: %q\n  digest: %q\ngreeting: hi\n", tag, digest)
}

// checkout makes one with a small chart; files replace its own, by their path.
func checkout(t *testing.T, files map[string]string) *environments.Checkout {
	t.Helper()
	c, err := environments.Read(write(t, files))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	all := map[string]string{
		"charts/gitops/values.yaml": `
source: {chart: charts/app, environments: charts/gitops/environments}
releaseName: app
environments: [{name: dev}, {name: staging, namespace: stage}, {name: prod}]
`,
		"charts/gitops/environments/dev.yaml":     "greeting: hi\n",
		"charts/gitops/environments/staging.yaml": values("1.0.0", digest("1")),
		"charts/gitops/environments/prod.yaml":    values("latest", ""),
		"charts/app/Chart.yaml":                   "apiVersion: v2\nname: app\nversion: 0.1.0\n",
		"charts/app/values.yaml":                  "image: {tag: 1.1.0, digest: \"" + digest("2") + "\"}\ngreeting: hello\n",
		"charts/app/templates/config.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n  labels:\n    helm.sh/chart: app-{{ .Chart.Version }}\n" +
			"data:\n  greeting: {{ .Values.greeting }}\n  namespace: {{ .Release.Namespace }}\n",
	}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		if text == "" {
			continue
		}
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// running is what Argo CD says of an environment that runs a digest.
func running(sync, health, container, image string, ready bool) []byte {
	return fmt.Appendf(nil, `{"application": "backstage-dev", "sync": %q, "health": %q, "pods": [
		{"name": "old", "current": false, "containers": [{"name": "backend", "imageID": "other", "ready": true}]},
		{"name": "new", "current": true, "containers": [{"name": %q, "imageID": "registry/app@%s", "ready": %t}, {"name": "proxy", "imageID": "x", "ready": true}]}]}`,
		sync, health, container, image, ready)
}

func TestPromote(t *testing.T) {
	t.Parallel()
	dir := write(t, nil)
	c, err := environments.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Promote(t.Context(), environments.Promotion{From: "dev", To: "staging", Running: running("Synced", "Healthy", "backend", digest("2"), true)})
	if err != nil {
		t.Fatal(err)
	}
	if got.Tag != "1.1.0" || got.Digest != digest("2") || got.Previous != (bump.Pin{Tag: "1.0.0", Digest: digest("1")}) || len(got.Edits) != 2 || got.Nothing {
		t.Errorf("promoted %+v", got)
	}
	text, err := os.ReadFile(filepath.Join(dir, "charts/gitops/environments/staging.yaml"))
	if want := values("1.1.0", digest("2")); err != nil || string(text) != want {
		t.Errorf("staging.yaml is\n%s, want\n%s", text, want)
	}
	// Once more there is nothing to do, whatever Argo CD says.
	if again, err := c.Promote(t.Context(), environments.Promotion{From: "dev", To: "staging"}); err != nil || !again.Nothing || len(again.Edits) != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
}

func TestPromoteRefuses(t *testing.T) {
	t.Parallel()
	good := running("Synced", "Healthy", "backend", digest("2"), true)
	older := map[string]string{"charts/gitops/environments/staging.yaml": values("2.0.0", digest("3"))}
	tags := map[string]string{
		"charts/app/values.yaml":                  "image: {tag: main-2, digest: \"" + digest("2") + "\"}\n",
		"charts/gitops/environments/staging.yaml": values("main-3", digest("3")),
	}
	cases := map[string]struct {
		files map[string]string
		p     environments.Promotion
		is    error
		says  string
	}{
		"an unknown environment":    {p: environments.Promotion{From: "dev", To: "qa"}, is: environments.ErrEnvironments, says: `no environment "qa"; there are dev, staging, prod`},
		"from an unknown one":       {p: environments.Promotion{From: "qa", To: "dev"}, is: environments.ErrEnvironments, says: `no environment "qa"`},
		"a skipped one":             {p: environments.Promotion{From: "dev", To: "prod", Running: good}, is: environments.ErrSkipped, says: "staging comes between dev and prod"},
		"backwards":                 {p: environments.Promotion{From: "prod", To: "staging"}, is: environments.ErrEnvironments, says: "staging comes before prod"},
		"to itself":                 {p: environments.Promotion{From: "dev", To: "dev"}, is: environments.ErrEnvironments, says: "one environment"},
		"nobody asked":              {p: environments.Promotion{From: "dev", To: "staging"}, is: environments.ErrUnproven, says: "nobody asked Argo CD"},
		"out of sync":               {p: environments.Promotion{From: "dev", To: "staging", Running: running("OutOfSync", "Healthy", "backend", digest("2"), true)}, is: environments.ErrUnproven, says: "OutOfSync and Healthy"},
		"degraded":                  {p: environments.Promotion{From: "dev", To: "staging", Running: running("Synced", "Degraded", "backend", digest("2"), true)}, is: environments.ErrUnproven, says: "Synced and Degraded"},
		"another application":       {p: environments.Promotion{From: "dev", To: "staging", Running: []byte(`{"application": "other", "sync": "Synced", "health": "Healthy"}`)}, is: environments.ErrUnproven, says: `of the Application "other", not of dev`},
		"another digest":            {p: environments.Promotion{From: "dev", To: "staging", Running: running("Synced", "Healthy", "backend", digest("9"), true)}, is: environments.ErrUnproven, says: "backend of new in dev"},
		"not ready":                 {p: environments.Promotion{From: "dev", To: "staging", Running: running("Synced", "Healthy", "frontend", digest("2"), false)}, is: environments.ErrUnproven, says: "frontend of new in dev"},
		"no pod of the portal":      {p: environments.Promotion{From: "dev", To: "staging", Running: running("Synced", "Healthy", "other", digest("2"), true)}, is: environments.ErrUnproven, says: "no pod of dev"},
		"an answer that is none":    {p: environments.Promotion{From: "dev", To: "staging", Running: []byte("no")}, is: environments.ErrUnproven, says: "what Argo CD said"},
		"no digest":                 {files: map[string]string{"charts/app/values.yaml": "image: {tag: latest, digest: \"\"}\n"}, p: environments.Promotion{From: "dev", To: "staging"}, is: environments.ErrUnproven, says: "charts/app/values.yaml names no digest for dev"},
		"an older version":          {files: older, p: environments.Promotion{From: "dev", To: "staging", Running: good}, is: environments.ErrDowngrade, says: "staging runs 2.0.0, and 1.1.0 is older"},
		"an earlier release":        {files: tags, p: environments.Promotion{From: "dev", To: "staging", Running: good, History: []bump.Pin{{Digest: digest("3")}, {Digest: digest("2")}}}, is: environments.ErrDowngrade, says: "released after main-2"},
		"a release nobody knows":    {files: tags, p: environments.Promotion{From: "dev", To: "staging", Running: good}, is: environments.ErrDowngrade, says: "cannot be told"},
		"an environment of no file": {files: map[string]string{"charts/gitops/environments/staging.yaml": ""}, p: environments.Promotion{From: "dev", To: "staging"}, is: environments.ErrEnvironments, says: "the values of staging"},
		"one that follows releases": {files: map[string]string{"charts/gitops/environments/staging.yaml": "a: b\n"}, p: environments.Promotion{From: "dev", To: "staging"}, is: environments.ErrEnvironments, says: "staging.yaml names no image"},
		"an image half written":     {files: map[string]string{"charts/gitops/environments/staging.yaml": "image: {tag: a}\n"}, p: environments.Promotion{From: "dev", To: "staging"}, is: bump.ErrChart, says: "staging.yaml:1: there is no image.digest"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := checkout(t, c.files).Promote(t.Context(), c.p)
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want %v that says %q", err, c.is, c.says)
			}
		})
	}
	// What is refused above is taken where somebody says so, or where it is newer after all.
	for name, c := range map[string]struct {
		files map[string]string
		p     environments.Promotion
	}{
		"unproven":        {nil, environments.Promotion{From: "dev", To: "staging", AllowUnproven: true}},
		"older":           {older, environments.Promotion{From: "dev", To: "staging", Running: good, AllowDowngrade: true}},
		"a later release": {tags, environments.Promotion{From: "dev", To: "staging", Running: good, History: []bump.Pin{{Digest: digest("2")}, {Digest: digest("3")}}}},
		"the first":       {map[string]string{"charts/gitops/environments/staging.yaml": values("latest", "")}, environments.Promotion{From: "dev", To: "staging", Running: good}},
	} {
		t.Run("not "+name, func(t *testing.T) {
			t.Parallel()
			if _, err := checkout(t, c.files).Promote(t.Context(), c.p); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ list, says string }{
		"nothing":              {"", "has no charts/gitops/values.yaml"},
		"no YAML":              {"\t", "charts/gitops/values.yaml"},
		"no environments":      {"source: {chart: a, environments: b}\n", "lists no environments"},
		"a chart elsewhere":    {"source: {chart: ../a, environments: b}\n", `not "../a"`},
		"a file elsewhere":     {"source: {chart: a, environments: b}\nenvironments: [{name: ../a}]\n", "environments[0] has no usable name"},
		"one without any name": {"source: {chart: a, environments: b}\nenvironments: [{namespace: a}]\n", "environments[0] has no usable name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := environments.Read(write(t, map[string]string{"charts/gitops/values.yaml": c.list}))
			if !errors.Is(err, environments.ErrEnvironments) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v does not say %q", err, c.says)
			}
		})
	}
}

// inGit calls git in a folder.
func inGit(t *testing.T, dir string) func(args ...string) string {
	return func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b", "GIT_CONFIG_GLOBAL=/dev/null")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
}

// stable is a list of environments of which one is deployed from a branch of its own.
func stable(of string) string {
	list := "source: {chart: charts/app, environments: charts/gitops/environments, revision: main}\nreleaseName: app\nenvironments: [{name: dev}, {name: staging}, {name: prod}]\n"
	return strings.Replace(list, "{name: "+of+"}", "{name: "+of+", revision: stable}", 1)
}

// branched is a checkout on main whose branch stable has other images, in files that main has changed since.
func branched(t *testing.T, of string) (dir string, git func(...string) string) {
	t.Helper()
	dir = write(t, map[string]string{
		"charts/gitops/values.yaml":               stable(of),
		"charts/gitops/environments/staging.yaml": values("0.9.0", digest("8")),
		"charts/gitops/environments/prod.yaml":    values("0.8.0", digest("7")),
	})
	git = inGit(t, dir)
	git("init", "-q", "-b", "main")
	git("add", "-A")
	git("commit", "-q", "-m", "stable")
	git("branch", "stable")
	for name, text := range map[string]string{"staging.yaml": values("1.0.0", digest("1")), "prod.yaml": values("0.1.0", digest("5")) + "more: yes\n"} {
		if err := os.WriteFile(filepath.Join(dir, "charts/gitops/environments", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git("commit", "-q", "-a", "-m", "main")
	return dir, git
}

// An environment reads the revision that it is deployed from, and nothing else is written for it.
func TestPromoteFromARevision(t *testing.T) {
	t.Parallel()
	read := func(dir, branch string) *environments.Checkout {
		c, err := environments.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		if branch != "" {
			c.Branch = branch
		}
		return c
	}
	dir, git := branched(t, "prod")
	before := git("status", "--porcelain")
	_, err := read(dir, "").Promote(t.Context(), environments.Promotion{From: "staging", To: "prod", AllowUnproven: true, AllowDowngrade: true})
	if want := "prod is deployed from stable, and does not read charts/gitops/environments/prod.yaml of main: check stable out and promote there with --branch stable"; !errors.Is(err, environments.ErrEnvironments) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want %q", err, want)
	}
	if after := git("status", "--porcelain"); after != before {
		t.Errorf("something was written: %s", after)
	}
	// On that branch it is promoted to, and what staging runs is read where staging reads it.
	git("checkout", "-q", "stable")
	got, err := read(dir, "stable").Promote(t.Context(), environments.Promotion{From: "staging", To: "prod", AllowUnproven: true, AllowDowngrade: true})
	if err != nil || got.Tag != "1.0.0" || got.Digest != digest("1") || got.Previous != (bump.Pin{Tag: "0.8.0", Digest: digest("7")}) {
		t.Errorf("promoted %+v, %v", got, err)
	}

	dir, _ = branched(t, "staging")
	c := read(dir, "")
	if got, err = c.Promote(t.Context(), environments.Promotion{From: "staging", To: "prod", AllowUnproven: true, AllowDowngrade: true}); err != nil || got.Digest != digest("8") {
		t.Errorf("promoted %+v, %v; want what stable names for staging", got, err)
	}

	dir, git = branched(t, "staging")
	git("branch", "-D", "stable")
	if _, err = read(dir, "").Promote(t.Context(), environments.Promotion{From: "staging", To: "prod", AllowUnproven: true}); err == nil || !strings.Contains(err.Error(), "staging is deployed from stable, which the checkout does not have: fetch it") {
		t.Errorf("got %v", err)
	}
}

// What an environment of another revision runs does not change with the checkout, and with the revision it does.
func TestDiffOfARevision(t *testing.T) {
	t.Parallel()
	objects := func(before, after, branch string) map[string]int {
		t.Helper()
		sides := []*environments.Checkout{}
		for _, dir := range []string{before, after} {
			c, err := environments.Read(dir)
			if err != nil {
				t.Fatal(err)
			}
			c.Of(branch)
			sides = append(sides, c)
		}
		all, err := environments.Diff(t.Context(), sides[0], sides[1])
		if err != nil {
			t.Fatal(err)
		}
		counts := map[string]int{}
		for _, d := range all {
			counts[d.Environment] = len(d.Objects)
		}
		return counts
	}
	dir, git := branched(t, "prod")
	after := filepath.Join(t.TempDir(), "after")
	git("worktree", "add", "-q", "--detach", after, "main")
	edit := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(after, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	edit("charts/gitops/environments/prod.yaml", "greeting: other\n")
	edit("charts/gitops/environments/staging.yaml", "greeting: other\n")
	if got := objects(dir, after, ""); got["prod"] != 0 || got["staging"] != 1 {
		t.Errorf("%v: prod is deployed from another branch, staging from this one", got)
	}
	if got := objects(dir, after, "topic"); got["prod"] != 0 || got["staging"] != 1 {
		t.Errorf("%v: a branch that nothing is deployed from is for main", got)
	}
	if got := objects(dir, after, "stable"); got["prod"] != 1 || got["staging"] != 0 {
		t.Errorf("%v: the change is for the branch of prod", got)
	}
	edit("charts/gitops/values.yaml", strings.Replace(stable("prod"), ", revision: stable", "", 1))
	if got := objects(dir, after, ""); got["prod"] != 1 {
		t.Errorf("%v: prod is deployed from this branch now", got)
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	dir := write(t, nil)
	run := inGit(t, dir)
	run("init", "-q")
	commit := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "charts/app/values.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		run("add", "-A")
		run("commit", "-q", "-m", "change")
	}
	commit("image: {tag: latest, digest: \"\"}\n")
	commit("image: {tag: a, digest: \"" + digest("1") + "\"}\n")
	commit("image: [odd]\n")
	commit("image: {tag: b, digest: \"" + digest("2") + "\"}\n")
	commit("image: {tag: b, digest: \"" + digest("2") + "\"}\nmore: yes\n")
	c, err := environments.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.History(t.Context())
	if want := []bump.Pin{{Tag: "b", Digest: digest("2")}, {Tag: "a", Digest: digest("1")}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("history %v (%v), want %v", got, err, want)
	}
}

// Of this repository's own environments, one that nothing was promoted to runs nothing, and prod is what people may reach.
func TestUnpromotedEnvironmentsRunNothing(t *testing.T) {
	t.Parallel()
	c, err := environments.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	promoted := filepath.Join(t.TempDir(), "promoted.yaml")
	if err := os.WriteFile(promoted, []byte(`image: {tag: "1.0.0", digest: "`+digest("1")+`"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for i, e := range c.Environments {
		for _, values := range [][]string{{filepath.Join(root, e.Values)}, {filepath.Join(root, e.Values), promoted}} {
			out, err := chart.Render(t.Context(), filepath.Join(root, c.Chart), chart.Release{}, values...)
			if err != nil {
				t.Fatal(err)
			}
			kinds := map[string]bool{}
			stopped := false
			for _, m := range out.Manifests {
				kinds[m.Kind] = true
				stopped = stopped || m.Kind == "Deployment" && strings.Contains(m.YAML, "replicas: 0\n")
				if m.Kind == "ConfigMap" && e.Name == "prod" && strings.Contains(m.YAML, "app-config.yaml") && !strings.Contains(m.YAML, "dangerouslyAllowOutsideDevelopment: false") {
					t.Errorf("everybody may sign in to prod:\n%s", m.YAML)
				}
			}
			if want := i > 0 && len(values) == 1; stopped != want {
				t.Errorf("%s with %d values files has no pods: %t, want %t", e.Name, len(values), stopped, want)
			}
			if e.Name != "prod" {
				continue
			}
			for _, kind := range []string{"NetworkPolicy", "Certificate", "ServiceMonitor", "CronJob", "PodDisruptionBudget"} {
				if !kinds[kind] {
					t.Errorf("prod has no %s", kind)
				}
			}
			if kinds["PrometheusRule"] == stopped || kinds["HorizontalPodAutoscaler"] == stopped {
				t.Errorf("prod, with no pods: %t, has %v", stopped, kinds)
			}
		}
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	before := checkout(t, nil)
	after := checkout(t, map[string]string{
		"charts/app/Chart.yaml":                "apiVersion: v2\nname: app\nversion: 0.1.1\n",
		"charts/gitops/environments/prod.yaml": "image: {tag: a, digest: \"\"}\ngreeting: good evening\n",
		"charts/gitops/values.yaml": `
source: {chart: charts/app, environments: charts/gitops/environments}
releaseName: app
environments: [{name: dev}, {name: prod}, {name: qa}]
`,
		"charts/gitops/environments/qa.yaml": "greeting: hi\n",
	})
	got, err := environments.Diff(t.Context(), before, after)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, d := range got {
		line := d.Environment
		for _, o := range d.Objects {
			line += fmt.Sprintf(" %s %s/%s", o.Change, o.Kind, o.Name)
		}
		lines = append(lines, line)
	}
	if want := []string{"dev", "prod changed ConfigMap/app", "qa added ConfigMap/app", "staging removed ConfigMap/app"}; !slices.Equal(lines, want) {
		t.Errorf("differences %q, want %q", lines, want)
	}
	if diff := got[1].Objects[0].Diff; !strings.Contains(diff, "-  greeting: hi\n+  greeting: good evening\n") || strings.Contains(diff, "helm.sh/chart") {
		t.Errorf("the difference of prod is\n%s", diff)
	}
	text := environments.Markdown(got)
	for _, want := range []string{"| prod | 0 | 1 | 0 |", "| qa | 1 | 0 | 0 |", "| staging | 0 | 0 | 1 |", "<details><summary>prod: ConfigMap app changed</summary>\n\n```diff\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	same, err := environments.Diff(t.Context(), before, before)
	if err != nil || !strings.Contains(environments.Markdown(same), "Nothing: every environment") {
		t.Errorf("a checkout differs from itself: %v, %v", same, err)
	}
	broken := checkout(t, map[string]string{"charts/app/templates/config.yaml": `{{ fail "say why" }}`})
	if _, err := environments.Diff(t.Context(), before, broken); err == nil || !strings.Contains(err.Error(), "dev after the change") || !strings.Contains(err.Error(), "say why") {
		t.Errorf("error %v names neither side nor reason", err)
	}
}

// What Argo CD is told to deploy is rendered too: the AppProject and the ApplicationSet.
func TestDiffOfArgoCD(t *testing.T) {
	t.Parallel()
	gitops := func(text string) *environments.Checkout {
		return checkout(t, map[string]string{
			"charts/gitops/Chart.yaml":             "apiVersion: v2\nname: gitops\nversion: 0.1.0\n",
			"charts/gitops/templates/project.yaml": "apiVersion: argoproj.io/v1alpha1\nkind: AppProject\nmetadata: {name: {{ .Release.Name }}}\nspec: {description: " + text + "}\n",
		})
	}
	got, err := environments.Diff(t.Context(), gitops("old"), gitops("new"))
	if err != nil {
		t.Fatal(err)
	}
	last := got[len(got)-1]
	if last.Environment != environments.ArgoCD || len(last.Objects) != 1 || last.Objects[0].Change != "changed" || last.Objects[0].Kind != "AppProject" {
		t.Errorf("%+v", last)
	}
	if text := environments.Markdown(got); !strings.Contains(text, "| Argo CD | 0 | 1 | 0 |") || !strings.Contains(text, "<summary>Argo CD: AppProject.argoproj.io portal changed</summary>") || !strings.Contains(text, "+spec: {description: new}") {
		t.Errorf("the Markdown is\n%s", text)
	}
	// The repository's own chart renders both, and one that is new is added.
	own, err := environments.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	if got, err = environments.Diff(t.Context(), checkout(t, nil), own); err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, o := range got[len(got)-1].Objects {
		said = append(said, o.Change+" "+o.Kind)
	}
	if want := []string{"added AppProject", "added ApplicationSet"}; !slices.Equal(said, want) {
		t.Errorf("%q, want %q", said, want)
	}
	if _, err := environments.Diff(t.Context(), gitops("old"), gitops("{{ fail `say why` }}")); err == nil || !strings.Contains(err.Error(), "charts/gitops after the change") || !strings.Contains(err.Error(), "say why") {
		t.Errorf("error %v names neither side nor reason", err)
	}
}

// Objects of one kind and name are different ones in two namespaces, and of two APIs.
func TestDiffTellsObjectsApart(t *testing.T) {
	t.Parallel()
	object := func(api, kind, namespace, text string) string {
		if namespace != "" {
			namespace = ", namespace: " + namespace
		}
		return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: app%s}\ntext: %s\n", api, kind, namespace, text)
	}
	for name, c := range map[string]struct {
		before, after []string
		want          []string
	}{
		"one of two namespaces changes": {
			before: []string{object("v1", "ConfigMap", "", "old"), object("v1", "ConfigMap", "other", "same")},
			after:  []string{object("v1", "ConfigMap", "", "new"), object("v1", "ConfigMap", "other", "same")},
			want:   []string{"changed ConfigMap app"},
		},
		"the other one does": {
			before: []string{object("v1", "ConfigMap", "other", "old"), object("v1", "ConfigMap", "", "same")},
			after:  []string{object("v1", "ConfigMap", "other", "new"), object("v1", "ConfigMap", "", "same")},
			want:   []string{"changed ConfigMap other/app"},
		},
		"one goes to another namespace": {
			before: []string{object("v1", "ConfigMap", "", "same")},
			after:  []string{object("v1", "ConfigMap", "other", "same")},
			want:   []string{"removed ConfigMap app", "added ConfigMap other/app"},
		},
		"the environment's namespace, said or not": {
			before: []string{object("v1", "ConfigMap", "", "old")},
			after:  []string{object("v1", "ConfigMap", "backstage-dev", "new")},
			want:   []string{"changed ConfigMap app"},
		},
		"one kind of two APIs": {
			before: []string{object("networking.k8s.io/v1", "Ingress", "", "same"), object("traefik.io/v1", "Ingress", "", "old")},
			after:  []string{object("networking.k8s.io/v1", "Ingress", "", "same"), object("traefik.io/v1", "Ingress", "", "new")},
			want:   []string{"changed Ingress.traefik.io app"},
		},
		"another version of an API": {
			before: []string{object("autoscaling/v1", "HorizontalPodAutoscaler", "", "same")},
			after:  []string{object("autoscaling/v2", "HorizontalPodAutoscaler", "", "same")},
			want:   []string{"changed HorizontalPodAutoscaler.autoscaling app"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			of := func(objects []string) *environments.Checkout {
				return checkout(t, map[string]string{"charts/app/templates/config.yaml": strings.Join(objects, "---\n")})
			}
			got, err := environments.Diff(t.Context(), of(c.before), of(c.after))
			if err != nil {
				t.Fatal(err)
			}
			var said []string
			for _, o := range got[0].Objects {
				said = append(said, o.Change+" "+o.String())
			}
			if got[0].Environment != "dev" || !slices.Equal(said, c.want) {
				t.Errorf("%s: %q, want %q", got[0].Environment, said, c.want)
			}
			if text := environments.Markdown(got); !strings.Contains(text, "<summary>dev: "+strings.SplitN(c.want[0], " ", 2)[1]+" ") {
				t.Errorf("the Markdown does not name it:\n%s", text)
			}
		})
	}
}

// A text cannot end its own block, and a comment of any length is taken.
func TestMarkdownHolds(t *testing.T) {
	t.Parallel()
	text := environments.Markdown([]environments.Difference{{Environment: "dev", Objects: []environments.Object{
		{Key: environments.Key{Kind: "ConfigMap", Name: "a"}, Change: "added", Diff: "+```\n+</details>\n"},
		{Key: environments.Key{Kind: "ConfigMap", Name: "b"}, Change: "added", Diff: strings.Repeat("+x\n", 30_000)},
	}}})
	if !strings.Contains(text, "````diff\n+```\n") {
		t.Errorf("the block is not longer than what it holds:\n%s", text)
	}
	if len(text) > 65_536 || !strings.Contains(text, "more than fits") {
		t.Errorf("%d characters, more than a comment holds, or it does not say so", len(text))
	}
}

// The repository's own environments are what the charts take, and in the order that people expect.
func TestOwnEnvironments(t *testing.T) {
	t.Parallel()
	c, err := environments.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range c.Environments {
		names = append(names, e.Name)
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			findings, err := chart.Lint(t.Context(), filepath.Join(root, c.Chart), filepath.Join(root, e.Values))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range chart.Failed(findings) {
				t.Error(f)
			}
			_, written, err := c.Pin(t.Context(), e.Name)
			want := e.Values
			if e.Name == "dev" {
				want = c.Chart + "/values.yaml"
			}
			if err != nil || written != want {
				t.Errorf("the image of %s is in %s (%v), want %s", e.Name, written, err, want)
			}
		})
	}
	if want := []string{"dev", "staging", "prod"}; !slices.Equal(names, want) {
		t.Errorf("environments %q, want %q", names, want)
	}
}

// The project of charts/gitops may deploy what charts/backstage renders, and nothing else.
func TestProjectAllowsTheChartsKinds(t *testing.T) {
	t.Parallel()
	rendered := map[string]bool{}
	shapes, err := filepath.Glob(filepath.Join(root, "charts/backstage/ci/*-values.yaml"))
	if err != nil || len(shapes) == 0 {
		t.Fatalf("no shapes of the chart: %v", err)
	}
	monitored := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(monitored, []byte("metrics: {enabled: true, podMonitor: {enabled: true}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, shape := range append(shapes, monitored) {
		out, err := chart.Render(t.Context(), filepath.Join(root, "charts/backstage"), chart.Release{}, shape)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range out.Manifests {
			object, err := m.Object()
			if err != nil {
				t.Fatal(err)
			}
			gvk := object.GetObjectKind().GroupVersionKind()
			rendered[gvk.Group+"/"+gvk.Kind] = true
		}
	}
	allowed := allowedKinds(t)
	for kind := range rendered {
		if !allowed[kind] {
			t.Errorf("the project does not allow %s", kind)
		}
	}
	for kind := range allowed {
		if !rendered[kind] {
			t.Errorf("the project allows %s, which the chart has not", kind)
		}
	}
}

func allowedKinds(t *testing.T) map[string]bool {
	t.Helper()
	out, err := chart.Render(t.Context(), filepath.Join(root, "charts/gitops"), chart.Release{Name: "portal", Namespace: "argocd"})
	if err != nil {
		t.Fatal(err)
	}
	var project struct {
		Spec struct {
			NamespaceResourceWhitelist []struct{ Group, Kind string }
		}
	}
	allowed := map[string]bool{}
	for _, m := range out.Manifests {
		if m.Kind != "AppProject" {
			continue
		}
		if err := yaml.Unmarshal([]byte(m.YAML), &project); err != nil {
			t.Fatal(err)
		}
		for _, kind := range project.Spec.NamespaceResourceWhitelist {
			allowed[kind.Group+"/"+kind.Kind] = true
		}
	}
	return allowed
}
