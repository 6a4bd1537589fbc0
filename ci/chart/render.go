package chart

import (
	"context"
	"fmt"
	"path"
	"strings"

	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/releaseutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// KubeVersion is the Kubernetes that charts are linted and rendered for. Helm as a library would assume 1.20.
const KubeVersion = "v1.37.2" // renovate: datasource=github-tags depName=kubernetes/kubernetes

// Release is what a chart learns about its own installation.
type Release struct {
	// Name of the release, `backstage` if empty.
	Name string
	// Namespace of the release, `backstage-system` if empty.
	Namespace string
}

// Manifest is one rendered object.
type Manifest struct {
	// Template is the file that rendered it, relative to the chart: templates/service.yaml.
	Template string `json:"template"`
	// Group of the object's API, empty for the core's.
	Group string `json:"group,omitempty"`
	// Kind of the object.
	Kind string `json:"kind"`
	// Namespace of the object; empty means that of the release, or none.
	Namespace string `json:"namespace,omitempty"`
	// Name of the object.
	Name string `json:"name"`
	// YAML is the object as rendered, one document without separator.
	YAML string `json:"yaml"`
}

// Rendered is what an installation of a chart would apply and say.
type Rendered struct {
	// Manifests in the order in which Helm installs them; hooks come last.
	Manifests []Manifest `json:"manifests"`
	// Notes is the rendered NOTES.txt.
	Notes string `json:"notes"`
}

// String is the rendered chart as one YAML stream, as `helm template` prints it.
func (r Rendered) String() string {
	var b strings.Builder
	for _, m := range r.Manifests {
		fmt.Fprintf(&b, "---\n# Source: %s\n%s\n", m.Template, strings.TrimSpace(m.YAML))
	}
	return b.String()
}

// Render renders the chart in dir with its defaults and then the values files, of which a later one wins. It asks no
// cluster: `lookup` finds nothing, as in `helm template`. Errors wrap ErrChart, ErrValues, ErrSchema, ErrTemplate or
// ErrEmpty.
func Render(ctx context.Context, dir string, release Release, values ...string) (Rendered, error) {
	c, err := load(ctx, dir)
	if err != nil {
		return Rendered{}, err
	}
	overrides, err := readValues(values)
	if err != nil {
		return Rendered{}, err
	}
	capabilities, err := capabilities()
	if err != nil {
		return Rendered{}, err
	}
	if want := c.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, capabilities.KubeVersion.Version) {
		return Rendered{}, fmt.Errorf("%w: %s wants Kubernetes %s, this renders for %s",
			ErrChart, c.Name(), want, capabilities.KubeVersion.Version)
	}
	if err := chartutil.ProcessDependenciesWithMerge(c, overrides); err != nil {
		return Rendered{}, fmt.Errorf("%w: dependencies of %s: %s", ErrValues, c.Name(), sentence(err))
	}
	merged, err := chartutil.CoalesceValues(c, overrides)
	if err != nil {
		return Rendered{}, fmt.Errorf("%w: %s", ErrValues, sentence(err))
	}
	if err := chartutil.ValidateAgainstSchema(c, merged); err != nil {
		return Rendered{}, fmt.Errorf("%w: %s", ErrSchema, sentence(err))
	}
	if release.Name == "" {
		release.Name = "backstage"
	}
	if release.Namespace == "" {
		release.Namespace = "backstage-system"
	}
	options := chartutil.ReleaseOptions{Name: release.Name, Namespace: release.Namespace, Revision: 1, IsInstall: true}
	if err := chartutil.ValidateReleaseName(options.Name); err != nil {
		return Rendered{}, fmt.Errorf("release name %q: %w", options.Name, err)
	}
	top, err := chartutil.ToRenderValuesWithSchemaValidation(c, overrides, options, capabilities, true)
	if err != nil {
		return Rendered{}, fmt.Errorf("%w: %s", ErrValues, sentence(err))
	}
	files, err := engine.Render(c, top)
	if err != nil {
		return Rendered{}, fmt.Errorf("%w: %s", ErrTemplate, sentence(err))
	}

	var rendered Rendered
	for name, content := range files {
		if path.Base(name) != "NOTES.txt" {
			continue
		}
		if path.Dir(name) == path.Join(c.Name(), "templates") {
			rendered.Notes = content
		}
		delete(files, name)
	}
	hooks, manifests, err := releaseutil.SortManifests(files, capabilities.APIVersions, releaseutil.InstallOrder)
	if err != nil {
		return Rendered{}, fmt.Errorf("%w: %s", ErrTemplate, sentence(err))
	}
	for _, m := range manifests {
		rendered.add(c.Name(), m.Name, m.Content)
	}
	for _, h := range hooks {
		rendered.add(c.Name(), h.Path, h.Manifest)
	}
	if len(rendered.Manifests) == 0 {
		return Rendered{}, fmt.Errorf("%w: %s has no template that yields an object with these values", ErrEmpty, c.Name())
	}
	return rendered, nil
}

// add appends a document unless it holds comments only. Helm has parsed it already, so its head can be read.
func (r *Rendered) add(chartName, template, document string) {
	var head struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        struct {
			Namespace string `json:"namespace"`
			Name      string `json:"name"`
		} `json:"metadata"`
	}
	var content map[string]any
	if err := yaml.Unmarshal([]byte(document), &content); err == nil && len(content) == 0 {
		return
	}
	_ = yaml.Unmarshal([]byte(document), &head) // what it cannot say stays empty, and Object reports it
	r.Manifests = append(r.Manifests, Manifest{
		Template:  strings.TrimPrefix(template, chartName+"/"),
		Group:     head.GroupVersionKind().Group,
		Kind:      head.Kind,
		Namespace: head.Metadata.Namespace,
		Name:      head.Metadata.Name,
		YAML:      document,
	})
}

// Object decodes the manifest. A kind of Kubernetes itself comes back as its Go type, and a field that type does not
// have, or has twice, is an error; any other kind comes back unstructured.
func (m Manifest) Object() (runtime.Object, error) {
	object, _, err := strict.UniversalDeserializer().Decode([]byte(m.YAML), nil, nil)
	switch {
	case err == nil:
		return object, nil
	case !runtime.IsNotRegisteredError(err):
		return nil, fmt.Errorf("%s: %s %q: %w", m.Template, m.Kind, m.Name, err)
	}
	var content map[string]any
	if err := yaml.UnmarshalStrict([]byte(m.YAML), &content); err != nil {
		return nil, fmt.Errorf("%s: %s %q: %w", m.Template, m.Kind, m.Name, err)
	}
	return &unstructured.Unstructured{Object: content}, nil
}

// strict knows every kind of Kubernetes' own API and refuses fields that it does not know.
var strict = serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict)

func capabilities() (*chartutil.Capabilities, error) {
	version, err := chartutil.ParseKubeVersion(KubeVersion)
	if err != nil {
		return nil, fmt.Errorf("Kubernetes version %q: %w", KubeVersion, err)
	}
	c := chartutil.DefaultCapabilities.Copy()
	c.KubeVersion = *version
	return c, nil
}
