package main

import (
	"context"
	"errors"

	"dagger/backstage-gitops/internal/dagger"
)

// The user of the released image, distroless' nonroot.
const imageUser = "65532:65532"

// imageConfigs are the configuration files in the image; the chart adds one
// that is mounted.
var imageConfigs = []string{"--config", "/app/app-config.yaml", "--config", "/app/app-config.production.yaml"}

// imageInputs are the paths of the checkout that decide the image's content.
var imageInputs = []string{"backstage", "ci/slim", ".dagger/bases.go", ".dagger/image.go", ".dagger/app.go", ".dagger/scripts/yarn"}

// Make the production image: Node, the files the backend loads, nothing else.
//
// It is labelled with HEAD, so all changes must be committed; `serve` opens the
// portal without that. An app at --source that is no Git checkout gets no labels.
func (m *BackstageGitops) Image(ctx context.Context,
	// Tag for the image's label; default: HEAD's version tag, or branch and commit.
	//
	// +optional
	tag string,
) (*dagger.Container, error) {
	source, err := m.inspect(ctx, inspectOpts{tag: tag})
	if errors.Is(err, errNoRevision) && tag == "" {
		return m.runtime(0, ""), nil
	}
	if err != nil {
		return nil, err
	}
	return m.image(source, ""), nil
}

// image stamps the runtime with the commit that last changed its inputs, so
// that a commit which changes none of them makes the same image.
func (m *BackstageGitops) image(source *sourceInfo, platform dagger.Platform) *dagger.Container {
	return m.runtime(source.InputsEpoch, platform).
		WithLabel("org.opencontainers.image.title", "Backstage GitOps").
		WithLabel("org.opencontainers.image.source", m.URL).
		WithLabel("org.opencontainers.image.revision", source.InputsRevision).
		WithLabel("org.opencontainers.image.version", source.Tag).
		WithLabel("org.opencontainers.image.created", source.InputsTime)
}

// runtime is the image without its labels. All files carry the time epoch, in
// Unix seconds: the same inputs make the same layers. No platform is the engine's
// own, in all of this file.
func (m *BackstageGitops) runtime(epoch int, platform dagger.Platform) *dagger.Container {
	recipe := m.Checkout.Directory("ci/slim")
	node := nodeOf(platform)
	base := slimBase(platform).WithEnvVariable("NODE_ENV", "production")

	slim := m.trace(platform)
	// Filled by the user, at the path and with the Node of the image: V8
	// accepts a cache under exactly these.
	cache := base.
		WithFile("/usr/local/bin/node", node).
		WithDirectory("/app", slim).
		WithDirectory("/app/.compile-cache", dag.Directory(), dagger.ContainerWithDirectoryOpts{Owner: imageUser}).
		WithMountedFile("/recipe/compile-cache.cjs", recipe.File("compile-cache.cjs")).
		WithEnvVariable("GITOPS_SALT", m.Salt).
		WithExec(append([]string{"node", "/recipe/compile-cache.cjs", "--cache", "/app/.compile-cache", "packages/backend"}, imageConfigs...)).
		Directory("/app/.compile-cache")

	files := dag.Directory().
		WithFile("usr/local/bin/node", node).
		WithDirectory("app", slim).
		WithDirectory("app/.compile-cache", cache).
		WithTimestamps(epoch)
	return base.
		WithEnvVariable("NODE_COMPILE_CACHE", "/app/.compile-cache").
		// A mounted configuration is looked at every two seconds. Backstage watches it
		// with inotify otherwise, and loses a change that follows another within
		// milliseconds: it stops and starts the watch after each.
		WithEnvVariable("CHOKIDAR_USEPOLLING", "true").
		WithEnvVariable("CHOKIDAR_INTERVAL", "2000").
		WithDirectory("/", files).
		WithEntrypoint([]string{"node", "packages/backend"}).
		WithDefaultArgs(imageConfigs).
		WithExposedPort(8000, dagger.ContainerWithExposedPortOpts{Description: "app"}).
		WithExposedPort(4001, dagger.ContainerWithExposedPortOpts{Description: "backend API"})
}

// slimBase is what is under the image: the files of slimImage as one layer that the engine makes. Its own layers would
// be others after the engine's next start, which then knows no more how a registry had compressed them, and the same
// inputs another digest.
func slimBase(platform dagger.Platform) *dagger.Container {
	base := dag.Container(dagger.ContainerOpts{Platform: platform}).From(slimImage)
	return base.
		WithRootfs(dag.Directory().WithDirectory("/", base.Rootfs())).
		WithWorkdir("/app").
		WithUser(imageUser)
}

// nodeOf is the Node that runs in it.
func nodeOf(platform dagger.Platform) *dagger.File {
	return dag.Container(dagger.ContainerOpts{Platform: platform}).From(nodeImage).File("/usr/local/bin/node")
}

// probe is Node in what is under the image, telling what it runs on.
func probe(platform dagger.Platform) *dagger.Container {
	return slimBase(platform).
		WithFile("/usr/local/bin/node", nodeOf(platform)).
		WithExec([]string{"/usr/local/bin/node", "--print", "process.arch"})
}

// trace is the tree of the files that the bundled backend loads. The bundle is the
// same for all platforms and made on the engine's own; dependencies have programs
// in them, and are installed on each.
func (m *BackstageGitops) trace(platform dagger.Platform) *dagger.Directory {
	app := m.App()
	app.Platform = platform
	bundled := app.ProductionDeps().
		WithMountedFile("/bundle.tar.gz", m.App().Bundle().File("bundle.tar.gz")).
		// The archive's own mode of the folder is 0700.
		WithExec([]string{"tar", "-xzf", "/bundle.tar.gz", "--no-overwrite-dir"}).
		WithDirectory(".", only(m.Source, "app-config*.yaml", "catalog", "catalog-info.yaml", "examples"))
	return bundled.
		WithDirectory("/slim-tool", m.slimTool().Directory("/slim")).
		WithExec([]string{"node", "/slim-tool/trace.js", "--source", "/app", "--out", "/slim"}).
		Directory("/slim")
}

// slimTool is the recipe of ci/slim with what it depends on.
func (m *BackstageGitops) slimTool() *dagger.Container {
	recipe := m.Checkout.Directory("ci/slim")
	return yarnContainer(m.Salt, "").
		WithWorkdir("/slim").
		WithDirectory(".", only(recipe, "package.json", "yarn.lock", ".yarnrc.yml")).
		WithMountedFile("/yarn.cjs", m.yarn()).
		WithExec([]string{"node", "/yarn.cjs", "install", "--immutable"}).
		WithDirectory(".", recipe)
}

// yarn is the Yarn that the app vendors; the recipe is installed with the same.
func (m *BackstageGitops) yarn() *dagger.File {
	return m.App().base().
		WithExec([]string{"sh", "-c", "cp .yarn/releases/yarn-*.cjs /yarn.cjs"}).
		File("/yarn.cjs")
}

// Serve the production image: the portal on 8000, its API on 4001.
//
// `dagger call serve up` opens it on this machine until interrupted, with what
// the checkout holds now, committed or not.
func (m *BackstageGitops) Serve() *dagger.Service {
	return m.runtime(0, "").AsService(dagger.ContainerAsServiceOpts{UseEntrypoint: true})
}
