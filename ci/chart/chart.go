// Package chart lints, renders and packages a Helm chart with Helm's own library. It reads a directory and writes, at
// most, one package: no cluster, no registry and no helm program take part.
package chart

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
)

// What a caller may want to tell apart. Every error of this package that has one of these causes wraps it.
var (
	// ErrChart says that the directory holds no chart that Helm can load, or none it could install.
	ErrChart = errors.New("unusable Helm chart")
	// ErrValues says that a values file cannot be read as a YAML mapping.
	ErrValues = errors.New("unusable values file")
	// ErrSchema says that the values break the chart's values.schema.json.
	ErrSchema = errors.New("values refused by values.schema.json")
	// ErrTemplate says that a template cannot be rendered, or renders what is not YAML.
	ErrTemplate = errors.New("template error")
	// ErrEmpty says that the templates render no object at all.
	ErrEmpty = errors.New("the chart renders nothing")
)

// load reads the chart in dir and checks what Helm checks before it installs or packages one.
func load(ctx context.Context, dir string) (*chart.Chart, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, chartutil.ChartfileName)); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%w: %s has no %s", ErrChart, dir, chartutil.ChartfileName)
		}
		return nil, fmt.Errorf("read chart %s: %w", dir, err)
	}
	c, err := loader.LoadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %s", ErrChart, dir, sentence(err))
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %s: %s", ErrChart, dir, sentence(err))
	}
	if missing := missingDependencies(c); len(missing) > 0 {
		return nil, fmt.Errorf("%w: %s: Chart.yaml depends on %s, which charts/ does not hold: run helm dependency build",
			ErrChart, dir, strings.Join(missing, ", "))
	}
	return c, nil
}

// missingDependencies is action.CheckDependencies of Helm, whose package would bring kubectl and a registry client along.
func missingDependencies(c *chart.Chart) []string {
	var missing []string
	for _, want := range c.Metadata.Dependencies {
		if !slices.ContainsFunc(c.Dependencies(), func(d *chart.Chart) bool { return d.Name() == want.Name }) {
			missing = append(missing, want.Name)
		}
	}
	return missing
}

// readValues merges values files; a later file wins over an earlier one. A null stays: it removes a default of the chart.
func readValues(files []string) (chartutil.Values, error) {
	merged := map[string]any{}
	for _, file := range files {
		values, err := chartutil.ReadValuesFile(file)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %s", ErrValues, file, sentence(err))
		}
		merged = chartutil.MergeTables(values, merged)
	}
	return merged, nil
}

// sentence puts an error of several lines, as Helm's loader, schema and template engine return them, on one line.
func sentence(err error) string {
	var parts []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimPrefix(strings.TrimSpace(line), "- "); line != "" {
			parts = append(parts, line)
		}
	}
	var b strings.Builder
	for i, part := range parts {
		switch {
		case i == 0:
		case strings.HasSuffix(parts[i-1], ":"):
			b.WriteByte(' ')
		default:
			b.WriteString("; ")
		}
		b.WriteString(part)
	}
	return b.String()
}
