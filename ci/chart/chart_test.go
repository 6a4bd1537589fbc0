package chart_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/chart/loader"

	"github.com/backstage-gitops/backstage-gitops/ci/chart"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// dir is the chart that this repository ships.
const dir = "../../charts/backstage"

// released stands in for the four scalars that a release changes in the chart.
const released = "testdata/values/released.yaml"

// shapes are the values files that come with the chart, and none for its defaults.
func shapes(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "ci", "*-values.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no values files under %s/ci: %v", dir, err)
	}
	all := map[string][]string{"defaults": nil, "everything": files}
	for _, file := range files {
		all[strings.TrimSuffix(filepath.Base(file), "-values.yaml")] = []string{file}
	}
	return all
}

func TestLintFindsNothingInTheChart(t *testing.T) {
	t.Parallel()
	for name, values := range shapes(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			findings, err := chart.Lint(t.Context(), dir, values...)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range chart.Failed(findings) {
				t.Error(f)
			}
		})
	}
}

func TestInvalid(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		chart  string
		values []string
		// render and lint are what each reports; a sentinel where it is an error, a text in any case.
		renderErr error
		render    string
		lintErr   error
		lint      string
	}{
		"no such directory": {
			chart: "testdata/nowhere", renderErr: chart.ErrChart, render: "testdata/nowhere has no Chart.yaml",
			lintErr: chart.ErrChart,
		},
		"no Chart.yaml": {
			chart: "testdata/invalid-no-chart-yaml", renderErr: chart.ErrChart, render: "has no Chart.yaml",
			lintErr: chart.ErrChart,
		},
		"Chart.yaml is not YAML": {
			chart: "testdata/invalid-chart-yaml", renderErr: chart.ErrChart, render: "cannot load Chart.yaml",
			lintErr: chart.ErrChart,
		},
		"version is not semantic": {
			chart: "testdata/invalid-version", renderErr: chart.ErrChart, render: `chart.metadata.version "one" is invalid`,
			lintErr: chart.ErrChart,
		},
		"values.yaml is not YAML": {
			chart: "testdata/invalid-values-yaml", renderErr: chart.ErrChart, render: "cannot load values.yaml",
			lintErr: chart.ErrChart,
		},
		"dependency not vendored": {
			chart: "testdata/invalid-missing-dependency", renderErr: chart.ErrChart,
			render: "depends on postgresql, which charts/ does not hold", lintErr: chart.ErrChart,
		},
		"another Kubernetes wanted": {
			chart: "testdata/invalid-kube-version", renderErr: chart.ErrChart,
			render: "wants Kubernetes <1.20.0, this renders for " + chart.KubeVersion, lintErr: chart.ErrChart,
		},
		"renders nothing": {
			chart: "testdata/invalid-renders-nothing", renderErr: chart.ErrEmpty,
			render: "invalid-renders-nothing has no template that yields an object", lint: "the chart renders nothing",
		},
		"nil pointer in a template": {
			chart: "testdata/invalid-template", renderErr: chart.ErrTemplate,
			render: "templates/one.yaml:7:", lint: "nil pointer evaluating interface {}.key",
		},
		"unknown function": {
			chart: "testdata/invalid-function", renderErr: chart.ErrTemplate,
			render: `function "nosuchfunction" not defined`, lint: `function "nosuchfunction" not defined`,
		},
		"fail": {
			chart: "testdata/invalid-fail", renderErr: chart.ErrTemplate,
			render: "say what to do instead", lint: "say what to do instead",
		},
		"a template that renders no YAML": {
			chart: "testdata/invalid-yaml", renderErr: chart.ErrTemplate,
			render: "templates/one.yaml", lint: "unable to parse YAML",
		},
		"values break the schema": {
			chart: "testdata/invalid-schema", renderErr: chart.ErrSchema,
			render: "at '/replicas': got string, want integer", lint: "at '/replicas': got string, want integer",
		},
		"a field that Kubernetes does not know": {
			chart: "testdata/invalid-unknown-field", lint: `ConfigMap "one": strict decoding error: unknown field "spec"`,
		},
		"a key twice": {
			chart: "testdata/invalid-repeated-key", lint: `key "key" already set in map`,
		},
		"an object twice": {
			chart: "testdata/invalid-repeated-object", lint: `ConfigMap "one" is rendered twice, first by templates/one.yaml`,
		},
		"an object without a name": {
			chart: "testdata/invalid-nameless", lint: "ConfigMap without metadata.name",
		},
		"values file missing": {
			chart: dir, values: []string{"testdata/values/nowhere.yaml"},
			renderErr: chart.ErrValues, render: "testdata/values/nowhere.yaml", lintErr: chart.ErrValues,
		},
		"values file is a list": {
			chart: dir, values: []string{"testdata/values/list.yaml"},
			renderErr: chart.ErrValues, render: "testdata/values/list.yaml", lintErr: chart.ErrValues,
		},
		"values file is not YAML": {
			chart: dir, values: []string{"testdata/values/syntax.yaml"},
			renderErr: chart.ErrValues, render: "testdata/values/syntax.yaml", lintErr: chart.ErrValues,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := chart.Render(t.Context(), c.chart, chart.Release{}, c.values...)
			requireError(t, "Render", err, c.renderErr, c.render)

			findings, err := chart.Lint(t.Context(), c.chart, c.values...)
			requireError(t, "Lint", err, c.lintErr, "")
			if c.lintErr != nil {
				return
			}
			var messages []string
			for _, f := range chart.Failed(findings) {
				messages = append(messages, f.String())
			}
			if !slices.ContainsFunc(messages, func(m string) bool { return strings.Contains(m, c.lint) }) {
				t.Errorf("no finding says %q; the findings: %q", c.lint, messages)
			}
			for i, m := range messages {
				if strings.Contains(m, "\n") || slices.Contains(messages[:i], m) {
					t.Errorf("finding of several lines, or said twice: %q", m)
				}
			}
		})
	}
}

func requireError(t *testing.T, call string, err, want error, text string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: error %v, want %v", call, err, want)
	}
	if want == nil {
		return
	}
	if !strings.Contains(err.Error(), text) {
		t.Errorf("%s: error %q does not say %q", call, err, text)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: error of several lines: %q", call, err)
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := chart.Lint(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("Lint: %v", err)
	}
	if _, err := chart.Render(ctx, dir, chart.Release{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Render: %v", err)
	}
	if _, err := chart.Package(ctx, dir, t.TempDir(), time.Unix(0, 0)); !errors.Is(err, context.Canceled) {
		t.Errorf("Package: %v", err)
	}
}

// The golden file is for the reader of a change to the templates: it shows what the change does to the cluster.
func TestRenderGolden(t *testing.T) {
	t.Parallel()
	rendered, err := chart.Render(t.Context(), dir, chart.Release{}, released)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.ReplaceAll(rendered.String(), "helm.sh/chart: backstage-"+version(t), "helm.sh/chart: backstage-VERSION")
	golden := "testdata/golden/defaults.yaml"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; if the change is meant, run go test ./ci/chart -update and read the difference. Got:\n%s", golden, got)
	}
}

// version reads the chart's version, which each release raises.
func version(t *testing.T) string {
	t.Helper()
	c, err := loader.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c.Metadata.Version
}

func TestPackage(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, time.November, 23, 9, 35, 7, 999, time.FixedZone("", 3600))
	out := filepath.Join(t.TempDir(), "made", "for", "it")
	file, err := chart.Package(t.Context(), dir, out, at)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(out, fmt.Sprintf("backstage-%s.tgz", version(t))); file != want {
		t.Errorf("wrote %s, want %s", file, want)
	}
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	again, err := chart.Package(t.Context(), dir, out, at)
	if err != nil {
		t.Fatalf("over an existing package: %v", err)
	}
	if second, err := os.ReadFile(again); err != nil || !bytes.Equal(first, second) {
		t.Errorf("the same chart at the same time gives other bytes (%v)", err)
	}
	if entries, err := os.ReadDir(out); err != nil || len(entries) != 1 {
		t.Errorf("%s holds %v (%v), want the package only", out, entries, err)
	}

	zipped, err := gzip.NewReader(bytes.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	archive := tar.NewReader(zipped)
	for {
		entry, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !entry.ModTime.Equal(at.Truncate(time.Second)) || entry.Mode != 0o644 || entry.Uid != 0 || entry.Uname != "" {
			t.Errorf("%s has time %s, mode %o, owner %d %q", entry.Name, entry.ModTime, entry.Mode, entry.Uid, entry.Uname)
		}
		names = append(names, entry.Name)
	}
	for _, want := range []string{"Chart.yaml", "values.yaml", "values.schema.json", "README.md", "templates/NOTES.txt", "templates/deployment.yaml"} {
		if !slices.Contains(names, "backstage/"+want) {
			t.Errorf("the package lacks %s", want)
		}
	}
	for _, name := range names {
		if strings.HasPrefix(name, "backstage/ci/") || strings.HasPrefix(name, "backstage/tests/") {
			t.Errorf("the package holds %s", name)
		}
	}

	// Helm itself reads it back and finds the same chart.
	c, err := loader.LoadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if c.Name() != "backstage" || len(c.Templates) == 0 || len(c.Schema) == 0 {
		t.Errorf("read back %s with %d templates and a schema of %d bytes", c.Name(), len(c.Templates), len(c.Schema))
	}
}

func TestPackageLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		chart, out string
		want       error
	}{
		"not a chart":               {chart: "testdata/invalid-no-chart-yaml", out: t.TempDir(), want: chart.ErrChart},
		"dependency not vendored":   {chart: "testdata/invalid-missing-dependency", out: t.TempDir(), want: chart.ErrChart},
		"output is a file":          {chart: dir, out: file},
		"output is below a file":    {chart: dir, out: filepath.Join(file, "below")},
		"schema is not JSON at all": {chart: withFile(t, dir, "values.schema.json", "{"), out: t.TempDir()},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made, err := chart.Package(t.Context(), c.chart, c.out, time.Unix(0, 0))
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Fatalf("made %q, error %v, want %v", made, err, c.want)
			}
			if entries, _ := os.ReadDir(c.out); len(entries) != 0 {
				t.Errorf("left %v behind", entries)
			}
		})
	}
}

// withFile copies a chart and replaces one file; empty content removes it.
func withFile(t *testing.T, from, name, content string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "backstage")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(to, name)
	if content == "" {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		return to
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return to
}

// write puts values into a file of the test.
func write(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}
