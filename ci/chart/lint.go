package chart

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"k8s.io/apimachinery/pkg/api/meta"
)

// Severity of a finding.
type Severity string

// The severities, from what may be ignored to what does not work.
const (
	Info    Severity = "info"
	Warning Severity = "warning"
	Error   Severity = "error"
)

// Finding is one remark about a chart.
type Finding struct {
	// Severity says whether the finding fails a lint: a warning does, as in `helm lint --strict`.
	Severity Severity `json:"severity"`
	// Path is the file concerned, relative to the chart; a directory where Helm knows no better.
	Path string `json:"path"`
	// Message is one line.
	Message string `json:"message"`
}

// String is the finding as one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s: %s", f.Path, f.Severity, f.Message)
}

// Failed picks the findings that fail a lint: warnings and errors.
func Failed(findings []Finding) []Finding {
	var failed []Finding
	for _, f := range findings {
		if f.Severity != Info {
			failed = append(failed, f)
		}
	}
	return failed
}

// Lint gathers the findings on the chart in dir, with the values files merged as in Render: those of Helm's own linter,
// and those it does not look for: calls of `fail` and `required`, objects whose fields Kubernetes does not know, objects
// without a name, one object rendered twice. Like Helm's linter it goes on after a finding. The error is for a chart or a
// values file that cannot be read at all.
func Lint(ctx context.Context, dir string, values ...string) ([]Finding, error) {
	if _, err := load(ctx, dir); err != nil {
		return nil, err
	}
	overrides, err := readValues(values)
	if err != nil {
		return nil, err
	}
	capabilities, err := capabilities()
	if err != nil {
		return nil, err
	}
	var findings []Finding
	for _, m := range lint.AllWithKubeVersion(dir, overrides, "backstage-system", &capabilities.KubeVersion).Messages {
		findings = append(findings, Finding{Severity: severity(m.Severity), Path: m.Path, Message: sentence(m.Err)})
	}
	rendered, err := Render(ctx, dir, Release{}, values...)
	switch {
	case errors.Is(err, ErrSchema), errors.Is(err, ErrTemplate):
		// Helm's linter mostly says the same in the same words; it stays silent on `fail` and `required`.
		_, cause, _ := strings.Cut(err.Error(), ": ")
		if !mentions(findings, cause) {
			findings = append(findings, Finding{Severity: Error, Path: "templates/", Message: cause})
		}
		return findings, nil
	case errors.Is(err, ErrEmpty):
		return append(findings, Finding{Severity: Error, Path: "templates/", Message: sentence(err)}), nil
	case err != nil:
		return nil, err
	}
	return append(findings, objectFindings(rendered.Manifests)...), nil
}

func objectFindings(manifests []Manifest) []Finding {
	var findings []Finding
	seen := map[string]string{}
	for _, m := range manifests {
		report := func(format string, args ...any) {
			findings = append(findings, Finding{Severity: Error, Path: m.Template, Message: fmt.Sprintf(format, args...)})
		}
		object, err := m.Object()
		if err != nil {
			report("%s %q: %s", m.Kind, m.Name, sentence(errors.Unwrap(err)))
			continue
		}
		accessor, err := meta.Accessor(object)
		if err != nil || accessor.GetName() == "" && accessor.GetGenerateName() == "" {
			report("%s without metadata.name", m.Kind)
			continue
		}
		key := fmt.Sprintf("%s %s/%s", object.GetObjectKind().GroupVersionKind().GroupKind(), accessor.GetNamespace(), accessor.GetName())
		if first, ok := seen[key]; ok && accessor.GetName() != "" {
			report("%s %q is rendered twice, first by %s", m.Kind, m.Name, first)
			continue
		}
		seen[key] = m.Template
	}
	return findings
}

func mentions(findings []Finding, message string) bool {
	for _, f := range findings {
		if strings.Contains(f.Message, message) || strings.Contains(message, f.Message) {
			return true
		}
	}
	return false
}

func severity(helm int) Severity {
	switch helm {
	case support.InfoSev:
		return Info
	case support.WarningSev:
		return Warning
	default:
		return Error
	}
}
