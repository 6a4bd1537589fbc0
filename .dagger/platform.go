package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"dagger/backstage-gitops/internal/dagger"
)

// scenario is an optional part of the charts, as `gitops platform` lists it.
type scenario struct{ Components []string }

// scenarios are those of these names. What is no name of one, or wants more
// nodes than there are, is refused.
func (m *BackstageGitops) scenarios(ctx context.Context, names []string, workers int) ([]scenario, error) {
	var found []scenario
	return found, run(ctx, m.toolbox(), &found, append([]string{"platform", "--workers", strconv.Itoa(workers)}, names...)...)
}

// component is what optional parts of the charts run on.
type component struct {
	// manifest is what installs it; nil: the chart does.
	manifest func(*BackstageGitops) *dagger.File
	// images are those that no manifest names.
	images []string
}

// components are all of them, by the names of `gitops platform`.
var components = map[string]component{
	"postgres": {images: []string{postgresImage}},
}

// platform is what a proof of the platform wants in the cluster.
type platform struct {
	// manifests are those of the components, NAME.yaml each.
	manifests *dagger.Directory
	images    []string
}

// platform gathers the components of scenarios.
func (m *BackstageGitops) platform(ctx context.Context, scenarios []scenario) (platform, error) {
	p := platform{manifests: dag.Directory()}
	for _, s := range scenarios {
		for _, name := range s.Components {
			c, known := components[name]
			if !known {
				return p, fmt.Errorf("nothing here brings %s", name)
			}
			p.images = append(p.images, c.images...)
			if c.manifest == nil {
				continue
			}
			file := c.manifest(m)
			out, err := m.toolbox().WithFile("/manifest.yaml", file).
				WithExec([]string{"gitops", "manifests", "images", "--manifest", "/manifest.yaml"}).
				Stdout(ctx)
			if err != nil {
				return p, fmt.Errorf("the manifest of %s: %w", name, err)
			}
			var images []string
			if err := json.Unmarshal([]byte(out), &images); err != nil {
				return p, err
			}
			p.images = append(p.images, images...)
			p.manifests = p.manifests.WithFile(name+".yaml", file)
		}
	}
	return p, nil
}
