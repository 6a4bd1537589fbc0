package main

import "dagger/backstage-gitops/internal/dagger"

const (
	// registryHost is the embedded registry's name. The engine speaks plain
	// HTTP to localhost alone, so this is what needs no configuration of it.
	registryHost = "localhost:5000"
	// embeddedImage is the image's name there.
	embeddedImage = registryHost + "/backstage-gitops"

	// gitRemote is the embedded Git remote, as the containers bound to it see it.
	gitRemote = "http://git:8080/backstage-gitops.git"
)

// Serve the embedded registry, which keeps its images from one run to the next.
func (m *BackstageGitops) Registry() *dagger.Service {
	return dag.Container().
		From(registryImage).
		With(m.storage("/var/lib/registry", "registry")).
		WithExposedPort(5000).
		AsService(dagger.ContainerAsServiceOpts{UseEntrypoint: true})
}

// Serve the embedded Git remote over smart HTTP; it keeps its commits from one
// run to the next.
//
// `dagger call git up` serves http://localhost:8080/backstage-gitops.git until
// interrupted.
func (m *BackstageGitops) Git() *dagger.Service {
	return m.serveGit(m.storage("/srv/git", "git"))
}

// serveGit is a Git service whose repositories are in /srv/git.
func (m *BackstageGitops) serveGit(storage dagger.WithContainerFunc) *dagger.Service {
	return from(goImage).
		WithFile("/usr/local/bin/gitops", m.gitops()).
		With(storage).
		WithExposedPort(8080).
		AsService(dagger.ContainerAsServiceOpts{
			Args: []string{"gitops", "serve-git", "--root", "/srv/git", "--create", "backstage-gitops.git", "--listen", ":8080"},
		})
}

// storage keeps a service's folder on a cache volume. Without one it is in the
// service's own filesystem and ends with it.
func (m *BackstageGitops) storage(path, name string) dagger.WithContainerFunc {
	return func(ctr *dagger.Container) *dagger.Container {
		if m.Ephemeral {
			// In one session the same service is one: what has another name here is another.
			return ctr.WithEnvVariable("GITOPS_APART", m.Apart)
		}
		return ctr.WithMountedCache(path, dag.CacheVolume("backstage-gitops-"+name))
	}
}
