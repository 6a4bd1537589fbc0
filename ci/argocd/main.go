// Install Argo CD in a cluster and wait for what it does.
//
// A sync is waited for by watching, for one exact revision and by digest for
// what really runs; it fails as soon as failure is certain, with the reason
// from the cluster.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"dagger/argocd/internal/dagger"
)

// Argocd installs and watches Argo CD.
type Argocd struct {
	// +private
	Program *dagger.File
}

// Argo CD in clusters.
func New(
	// The helper program `gitops`; default: compiled from the sources.
	//
	// +optional
	program *dagger.File,

	// Sources of the helper program: those that this module came with.
	//
	// +defaultPath="/"
	// +ignore=["**", "!go.mod", "!go.sum", "!ci/**/*.go", "!ci/proof/*", "ci/airgap", "ci/cmd/airgap", "ci/kind", "ci/argocd", "**/*_test.go"]
	source *dagger.Directory,
) *Argocd {
	if program == nil {
		program = goContainer().
			WithEnvVariable("CGO_ENABLED", "0").
			WithEnvVariable("GOFLAGS", "-buildvcs=false").
			WithWorkdir("/src").
			WithDirectory(".", source).
			WithExec([]string{"go", "build", "-trimpath", "-ldflags", "-s -w", "-o", "/gitops", "./ci/cmd/gitops"}).
			File("/gitops")
	}
	return &Argocd{Program: program}
}

// from is an image to run programs in. An engine that has certificates of its own, a company's, has this program enter them
// before each command and take them out after it; where there is none it does that itself, seven times as fast.
func from(image string) *dagger.Container {
	return dag.Container().From(image).WithoutFile("/usr/sbin/update-ca-certificates")
}

func goContainer() *dagger.Container {
	return from(goImage).
		WithMountedCache("/go/pkg/mod", dag.CacheVolume("backstage-gitops-gomod")).
		WithMountedCache("/root/.cache/go-build", dag.CacheVolume("backstage-gitops-gobuild"))
}

// gitops runs the helper program on the cluster.
func (a *Argocd) gitops(ctx context.Context, kubeconfig *dagger.File, cluster *dagger.Service, with func(*dagger.Container) *dagger.Container, args ...string) (dagger.JSON, error) {
	ctr := from(goImage).
		WithFile("/usr/local/bin/gitops", a.Program).
		WithFile("/kubeconfig", kubeconfig).
		// What is done here is done to the cluster: never answered from cache.
		WithEnvVariable("ARGOCD_RUN", time.Now().Format(time.RFC3339Nano))
	if cluster != nil {
		ctr = ctr.WithServiceBinding("docker", cluster)
	}
	if with != nil {
		ctr = with(ctr)
	}
	ran := ctr.WithExec(append([]string{"gitops", "argocd", args[0], "--kubeconfig", "/kubeconfig"}, args[1:]...),
		dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
	code, err := ran.ExitCode(ctx)
	if err != nil {
		return "", fmt.Errorf("gitops argocd %s: %w", args[0], err)
	}
	if code != 0 {
		stderr, err := ran.Stderr(ctx)
		if err != nil {
			return "", fmt.Errorf("gitops argocd %s: %w", args[0], err)
		}
		return "", errors.New(cmp.Or(sentence(stderr), fmt.Sprintf("gitops argocd %s: exit code %d", args[0], code)))
	}
	out, err := ran.Stdout(ctx)
	return dagger.JSON(out), err
}

// sentence is what the helper program printed last: why it failed.
func sentence(stderr string) string {
	const mark = "\ngitops: "
	text := "\n" + stderr
	if at := strings.LastIndex(text, mark); at >= 0 {
		text = text[at+len(mark):]
	}
	return strings.TrimSpace(text)
}

// Show the manifests that an installation applies.
func (a *Argocd) Manifests(
	// With API server and UI, instead of the headless minimum.
	//
	// +optional
	full bool,
) *dagger.File {
	name := "core-install.yaml"
	if full {
		name = "install.yaml"
	}
	return goContainer().
		WithExec([]string{"go", "mod", "download", argocdModule}).
		// Out of the cache volume: a mounted one is not part of the result.
		WithExec([]string{"cp", "/go/pkg/mod/" + argocdModule + "/manifests/" + name, "/" + name}).
		File("/" + name)
}

// List the images of an installation: what a cluster's registry must have.
func (a *Argocd) Images(ctx context.Context,
	// With API server and UI, instead of the headless minimum.
	//
	// +optional
	full bool,
) ([]string, error) {
	args := []string{"gitops", "argocd", "images", "--manifest", "/install.yaml"}
	if full {
		args = append(args, "--full")
	}
	out, err := from(goImage).
		WithFile("/usr/local/bin/gitops", a.Program).
		WithFile("/install.yaml", a.Manifests(full)).
		WithExec(args).
		Stdout(ctx)
	if err != nil {
		return nil, err
	}
	var images []string
	err = json.Unmarshal([]byte(out), &images)
	return images, err
}

// Install Argo CD and wait until it is ready.
//
// +cache="never"
func (a *Argocd) Install(ctx context.Context,
	// How to reach the cluster's API server.
	kubeconfig *dagger.File,

	// The service that the API server listens in; the kubeconfig names it
	// `docker`. Leave it out for a cluster that can be reached as it is.
	//
	// +optional
	cluster *dagger.Service,

	// With API server and UI, instead of the headless minimum: application
	// controller, repo-server and Redis. Dex does not run: nothing here
	// configures single sign-on.
	//
	// +optional
	full bool,
) (dagger.JSON, error) {
	args := []string{"install", "--manifest", "/install.yaml"}
	if full {
		args = append(args, "--full")
	}
	return a.gitops(ctx, kubeconfig, cluster, func(c *dagger.Container) *dagger.Container {
		return c.WithFile("/install.yaml", a.Manifests(full))
	}, args...)
}

// Have Argo CD deploy a chart: synced on its own, healed and pruned.
//
// +cache="never"
func (a *Argocd) Application(ctx context.Context,
	// How to reach the cluster's API server.
	kubeconfig *dagger.File,

	// Name of the Application.
	name string,

	// URL of the Git repository, as Argo CD's repo-server reaches it.
	repo string,

	// Path of the chart in the repository.
	path string,

	// Branch, tag or commit to follow.
	revision string,

	// Namespace to deploy to; made where it is not there.
	namespace string,

	// The service that the API server listens in; the kubeconfig names it
	// `docker`. Leave it out for a cluster that can be reached as it is.
	//
	// +optional
	cluster *dagger.Service,

	// Values for the chart, above its own.
	//
	// +optional
	values *dagger.File,
) (dagger.JSON, error) {
	args := []string{"application", "--name", name, "--repo", repo, "--path", path, "--revision", revision, "--destination-namespace", namespace}
	if values == nil {
		return a.gitops(ctx, kubeconfig, cluster, nil, args...)
	}
	return a.gitops(ctx, kubeconfig, cluster, func(c *dagger.Container) *dagger.Container {
		return c.WithFile("/values.yaml", values)
	}, append(args, "--values", "/values.yaml")...)
}

// Wait until an Application is synced to one exact revision and healthy, and
// its pods run one exact image.
//
// +cache="never"
func (a *Argocd) Sync(ctx context.Context,
	// How to reach the cluster's API server.
	kubeconfig *dagger.File,

	// Name of the Application.
	name string,

	// Full SHA of the commit.
	revision string,

	// The service that the API server listens in; the kubeconfig names it
	// `docker`. Leave it out for a cluster that can be reached as it is.
	//
	// +optional
	cluster *dagger.Service,

	// Image that the pods must run, its name without tag; goes with digest.
	//
	// +optional
	image string,

	// Digest of that image, sha256:…
	//
	// +optional
	digest string,

	// How long to wait, such as 3m.
	//
	// +default="3m"
	timeout string,
) (dagger.JSON, error) {
	args := []string{"sync", "--name", name, "--revision", revision, "--timeout", timeout}
	if image != "" {
		args = append(args, "--image", image)
	}
	if digest != "" {
		args = append(args, "--digest", digest)
	}
	return a.gitops(ctx, kubeconfig, cluster, nil, args...)
}
