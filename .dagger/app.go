package main

import (
	"context"

	"dagger/backstage-gitops/internal/dagger"
)

// App is a Backstage app, a Yarn workspace.
type App struct {
	// +private
	Source *dagger.Directory
	// +private
	Recipe *dagger.Directory
	// +private
	Salt string
	// The platform to install dependencies on, the engine's own where it is empty.
	// +private
	Platform dagger.Platform
}

// manifests are the files that decide what is installed. Dependencies depend on
// these alone, so that an edit of a source file installs nothing.
var manifests = []string{
	"package.json", "yarn.lock", ".yarnrc.yml", ".yarn/releases", ".yarn/patches", ".yarn/plugins", "backstage.json",
	"packages/*/package.json", "plugins/*/package.json",
}

// only is the directory with nothing but the files of the patterns. A filter of
// a directory of the host keeps its digest by content: what follows is cached
// until one of these files changes, whatever else does.
func only(dir *dagger.Directory, patterns ...string) *dagger.Directory {
	return dir.Filter(dagger.DirectoryFilterOpts{Include: patterns})
}

// Take the Backstage app apart: its dependencies, tests, and production bundle.
func (m *BackstageGitops) App() *App {
	return &App{Source: m.Source, Recipe: m.Checkout.Directory("ci/slim"), Salt: m.Salt}
}

// Node with Yarn and the toolchain of native modules, the workspace at /app.
func (a *App) base() *dagger.Container {
	return yarnContainer(a.Salt, a.Platform).
		WithWorkdir("/app").
		WithDirectory(".", only(a.Source, manifests...))
}

// yarnContainer is Node with Yarn's cache on a volume. A salt makes all that
// follows anew.
func yarnContainer(salt string, platform dagger.Platform) *dagger.Container {
	return from(nodeImage, dagger.ContainerOpts{Platform: platform}).
		WithFile("/usr/local/bin/yarn", dag.CurrentModule().Source().File("scripts/yarn"), dagger.ContainerWithFileOpts{Permissions: 0o755}).
		WithMountedCache("/var/cache/yarn", dag.CacheVolume("backstage-gitops-yarn")).
		WithEnvVariable("YARN_GLOBAL_FOLDER", "/var/cache/yarn").
		WithEnvVariable("YARN_ENABLE_TELEMETRY", "false").
		// Compile native modules against this Node, on every machine alike.
		WithEnvVariable("npm_config_build_from_source", "true").
		WithEnvVariable("npm_config_nodedir", "/usr/local").
		// Company certificates that the engine installs in the system's store.
		WithEnvVariable("NODE_USE_SYSTEM_CA", "1").
		WithEnvVariable("GITOPS_SALT", salt)
}

// Install all dependencies, exactly those of the lockfile.
func (a *App) Deps() *dagger.Container {
	return a.base().WithExec([]string{"yarn", "install", "--immutable"})
}

// Leave only what the backend needs to run.
func (a *App) ProductionDeps() *dagger.Container {
	return a.Deps().WithExec([]string{"yarn", "workspaces", "focus", "--production", "backend"})
}

// The installed workspace with its sources.
func (a *App) workspace() *dagger.Container {
	return a.Deps().WithDirectory(".", a.Source, dagger.ContainerWithDirectoryOpts{Exclude: []string{".git"}})
}

// Run the unit tests of app and backend.
//
// +check
func (a *App) Test(ctx context.Context) error {
	_, err := a.workspace().WithEnvVariable("CI", "true").WithExec([]string{"yarn", "test:all"}).Sync(ctx)
	return err
}

// Run ESLint and Prettier.
//
// +check
func (a *App) Lint(ctx context.Context) error {
	_, err := a.workspace().
		WithExec([]string{"yarn", "lint:all"}).
		WithExec([]string{"yarn", "prettier:check"}).
		Sync(ctx)
	return err
}

// Check the types.
//
// +check
func (a *App) Typecheck(ctx context.Context) error {
	_, err := a.workspace().WithExec([]string{"yarn", "tsc"}).Sync(ctx)
	return err
}

// Bundle app and backend for production: skeleton.tar.gz (manifests) and
// bundle.tar.gz (code).
func (a *App) Bundle() *dagger.Directory {
	// build-info.cjs fixes what the build reads of the machine and the clock:
	// the same sources make the same bytes.
	return a.workspace().
		WithMountedFile("/recipe/build-info.cjs", a.Recipe.File("build-info.cjs")).
		WithEnvVariable("GIT_DIR", "/dev/null").
		WithEnvVariable("SOURCE_DATE_EPOCH", "0").
		WithEnvVariable("NODE_OPTIONS", "--require /recipe/build-info.cjs").
		WithExec([]string{"yarn", "workspace", "backend", "build"}).
		Directory("packages/backend/dist")
}
