// Package environments reads the environments of charts/gitops, moves an image from one to the next, and says what a
// change renders differently in each.
package environments

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/backstage-gitops/backstage-gitops/ci/bump"
)

// gitops is the chart that lists the environments.
const gitops = "charts/gitops"

// ErrEnvironments says that a checkout's environments cannot be read; the message says where and what to change.
var ErrEnvironments = errors.New("unusable environments")

// Environment is a place that the application's chart is deployed to.
type Environment struct {
	// Name of the environment, and of its values file.
	Name string
	// Namespace of its objects.
	Namespace string
	// Values is the file of its values, relative to the checkout.
	Values string
}

// Checkout is the environments of a checkout.
type Checkout struct {
	dir string
	// Chart is the application's chart, relative to the checkout, and Release the name of its releases.
	Chart, Release string
	// Environments in the order of promotion.
	Environments []Environment
}

// Read reads the list of environments of a checkout.
func Read(dir string) (*Checkout, error) {
	file := filepath.Join(dir, filepath.FromSlash(gitops), "values.yaml")
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s has no %s/values.yaml", ErrEnvironments, dir, gitops)
	case err != nil:
		return nil, err
	}
	var values struct {
		Source       struct{ Chart, Environments string }
		ReleaseName  string `yaml:"releaseName"`
		Environments []struct{ Name, Namespace string }
	}
	if err := yaml.Unmarshal(text, &values); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrEnvironments, file, err)
	}
	c := &Checkout{dir: dir, Chart: values.Source.Chart, Release: values.ReleaseName}
	for _, part := range []string{values.Source.Chart, values.Source.Environments} {
		if !filepath.IsLocal(filepath.FromSlash(part)) {
			return nil, fmt.Errorf("%w: %s: source.chart and source.environments are folders of the repository, not %q", ErrEnvironments, file, part)
		}
	}
	for i, e := range values.Environments {
		if e.Name == "" || strings.ContainsAny(e.Name, `/\`) || e.Name == ".." {
			return nil, fmt.Errorf("%w: %s: environments[%d] has no usable name", ErrEnvironments, file, i)
		}
		if e.Namespace == "" {
			e.Namespace = "backstage-" + e.Name
		}
		c.Environments = append(c.Environments, Environment{
			Name: e.Name, Namespace: e.Namespace, Values: path.Join(values.Source.Environments, e.Name+".yaml"),
		})
	}
	if len(c.Environments) == 0 {
		return nil, fmt.Errorf("%w: %s lists no environments", ErrEnvironments, file)
	}
	return c, nil
}

// index finds an environment.
func (c *Checkout) index(name string) (int, error) {
	var names []string
	for i, e := range c.Environments {
		if e.Name == name {
			return i, nil
		}
		names = append(names, e.Name)
	}
	return 0, fmt.Errorf("%w: there is no environment %q; there are %s", ErrEnvironments, name, strings.Join(names, ", "))
}

// file is a file of the checkout on disk.
func (c *Checkout) file(name string) string { return filepath.Join(c.dir, filepath.FromSlash(name)) }

// Pin is the image that an environment names, and where that is written: in its own values, or, where those have no
// image, in the chart's.
func (c *Checkout) Pin(name string) (bump.Pin, string, error) {
	i, err := c.index(name)
	if err != nil {
		return bump.Pin{}, "", err
	}
	own := c.Environments[i].Values
	text, err := os.ReadFile(c.file(own))
	if err != nil {
		return bump.Pin{}, "", fmt.Errorf("%w: the values of %s: %w", ErrEnvironments, name, err)
	}
	var values struct{ Image map[string]any }
	if err := yaml.Unmarshal(text, &values); err != nil {
		return bump.Pin{}, "", fmt.Errorf("%w: %s: %w", ErrEnvironments, own, err)
	}
	written := own
	if values.Image["tag"] == nil && values.Image["digest"] == nil {
		written = path.Join(c.Chart, bump.ValuesFile)
		if text, err = os.ReadFile(c.file(written)); err != nil {
			return bump.Pin{}, "", fmt.Errorf("%w: the chart's values: %w", ErrEnvironments, err)
		}
	}
	pin, err := bump.ReadAs(written, text)
	return pin, written, err
}
