// Package environments reads the environments of charts/gitops, moves an image from one to the next, and says what a
// change renders differently in each.
package environments

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/backstage-gitops/backstage-gitops/ci/bump"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
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
	// Revision is the branch, tag or commit of the repository that it is deployed from.
	Revision string
}

// Checkout is the environments of a checkout.
type Checkout struct {
	dir string
	// Chart is the application's chart, relative to the checkout, and Release the name of its releases.
	Chart, Release string
	// Environments in the order of promotion.
	Environments []Environment
	// Branch is the one that the checkout is of, source.revision of charts/gitops unless somebody says another. An
	// environment of another revision does not read the checkout's files.
	Branch string
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
		Source       struct{ Chart, Environments, Revision string }
		ReleaseName  string `yaml:"releaseName"`
		Environments []struct{ Name, Namespace, Revision string }
	}
	if err := yaml.Unmarshal(text, &values); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrEnvironments, file, err)
	}
	c := &Checkout{dir: dir, Chart: values.Source.Chart, Release: values.ReleaseName, Branch: values.Source.Revision}
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
			Revision: cmp.Or(e.Revision, values.Source.Revision),
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

// Of says which branch a change of the checkout is for. One that no environment is deployed from is on its way to one
// that they are: it says nothing.
func (c *Checkout) Of(branch string) {
	deployed := slices.ContainsFunc(c.Environments, func(e Environment) bool { return e.Revision == branch })
	if branch != "" && deployed {
		c.Branch = branch
	}
}

// here says whether an environment is deployed from the checkout's branch. HEAD is the repository's own choice of one, and
// nothing says that it is another.
func (c *Checkout) here(e Environment) bool {
	return e.Revision == "" || e.Revision == "HEAD" || strings.TrimPrefix(e.Revision, "refs/heads/") == strings.TrimPrefix(c.Branch, "refs/heads/")
}

// read reads a file of the checkout as an environment sees it.
func (c *Checkout) read(ctx context.Context, e Environment, name string) ([]byte, error) {
	if c.here(e) {
		return os.ReadFile(c.file(name))
	}
	commit, err := c.resolve(ctx, e)
	if err != nil {
		return nil, err
	}
	text, err := git.Open(c.dir).Do(ctx, git.Command{Args: []string{"show", commit + ":" + name}})
	if err != nil {
		return nil, fmt.Errorf("there is no %s at %s", name, e.Revision)
	}
	return text, nil
}

// resolve finds the commit of an environment that is deployed from another revision than the checkout's.
func (c *Checkout) resolve(ctx context.Context, e Environment) (string, error) {
	name := strings.TrimPrefix(e.Revision, "refs/heads/")
	for _, revision := range []string{"refs/remotes/origin/" + name, "refs/heads/" + name, "refs/tags/" + name, e.Revision} {
		sha, err := git.Open(c.dir).Run(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", revision+"^{commit}")
		if err == nil {
			return sha, nil
		}
	}
	return "", fmt.Errorf("%w: %s is deployed from %s, which the checkout does not have: fetch it", ErrEnvironments, e.Name, e.Revision)
}

// Application is the name of an environment's Application.
func (c *Checkout) Application(name string) string { return c.Release + "-" + name }

// Commit is the one that an environment is deployed from, as the checkout has it.
func (c *Checkout) Commit(ctx context.Context, name string) (string, error) {
	i, err := c.index(name)
	if err != nil {
		return "", err
	}
	if e := c.Environments[i]; !c.here(e) {
		return c.resolve(ctx, e)
	}
	return git.Open(c.dir).Run(ctx, "rev-parse", "--verify", "HEAD")
}

// Pin is the image that an environment names, and where that is written: in its own values, or, where those have no
// image, in the chart's. Both are read at the revision that it is deployed from.
func (c *Checkout) Pin(ctx context.Context, name string) (bump.Pin, string, error) {
	i, err := c.index(name)
	if err != nil {
		return bump.Pin{}, "", err
	}
	e := c.Environments[i]
	text, err := c.read(ctx, e, e.Values)
	if err != nil {
		return bump.Pin{}, "", fmt.Errorf("%w: the values of %s: %w", ErrEnvironments, name, err)
	}
	var values struct{ Image map[string]any }
	if err := yaml.Unmarshal(text, &values); err != nil {
		return bump.Pin{}, "", fmt.Errorf("%w: %s: %w", ErrEnvironments, e.Values, err)
	}
	written := e.Values
	if values.Image["tag"] == nil && values.Image["digest"] == nil {
		written = path.Join(c.Chart, bump.ValuesFile)
		if text, err = c.read(ctx, e, written); err != nil {
			return bump.Pin{}, "", fmt.Errorf("%w: the chart's values: %w", ErrEnvironments, err)
		}
	}
	pin, err := bump.ReadAs(written, text)
	return pin, written, err
}
