package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"dagger/kind/internal/dagger"
)

// docker is a Docker daemon for the nodes of one cluster. The images that it
// keeps are in a private volume: a second daemon beside it gets another one, a
// later one finds the node image there. See dockerd.sh for what does not stay.
func (k *Kind) docker(name string, registry *dagger.Service, ports []string) *dagger.Service {
	daemon := from(dockerImage).
		WithMountedCache("/var/lib/docker", dag.CacheVolume("kind-images-"+name), dagger.ContainerWithMountedCacheOpts{Sharing: dagger.CacheSharingModePrivate}).
		WithServiceBinding("registry", registry).
		WithFile("/usr/local/bin/kind-dockerd", dag.CurrentModule().Source().File("dockerd.sh"), dagger.ContainerWithFileOpts{Permissions: 0o755}).
		// One daemon for each cluster that is made, though it be of the same name.
		WithEnvVariable("KIND_CLUSTER", name+" "+time.Now().Format(time.RFC3339Nano)).
		WithExposedPort(2375)
	for _, p := range ports {
		host, _, _ := strings.Cut(p, ":")
		if port, err := strconv.Atoi(host); err == nil {
			// Open only once there is a cluster.
			daemon = daemon.WithExposedPort(port, dagger.ContainerWithExposedPortOpts{ExperimentalSkipHealthcheck: true})
		}
	}
	daemon = daemon.WithExposedPort(6443, dagger.ContainerWithExposedPortOpts{ExperimentalSkipHealthcheck: true})
	return daemon.AsService(dagger.ContainerAsServiceOpts{
		Args: []string{
			"kind-dockerd", "--tls=false",
			// The node image comes from the same registry as all others, by its name
			// there. As a mirror the registry would be the first of two to be asked.
			"--insecure-registry=registry:5000",
			// Away from the defaults, which the engine's own network may use.
			"--bip=172.31.255.1/24", "--default-address-pool=base=172.30.0.0/16,size=24",
			// No domain of the session's: pods would ask for each name in it as well.
			"--dns-search=.",
		},
		InsecureRootCapabilities: true,
	})
}

// tools is where kind runs: the helper program and the docker client, with the
// daemon and the registry in reach.
func (k *Kind) tools(docker, registry *dagger.Service) *dagger.Container {
	return from(dockerImage).
		WithFile("/usr/local/bin/gitops", k.Program).
		WithServiceBinding("docker", docker).
		WithServiceBinding("registry", registry).
		WithEnvVariable("DOCKER_HOST", "tcp://docker:2375").
		// What is done here is done to the cluster: never answered from cache.
		WithEnvVariable("KIND_RUN", time.Now().Format(time.RFC3339Nano))
}

// network is flannel's manifest. The node image's own network may know a single
// node only.
func (k *Kind) network() *dagger.File {
	return goContainer().
		WithExec([]string{"go", "mod", "download", flannelModule}).
		// Out of the cache volume: a mounted one is not part of the result.
		WithExec([]string{"cp", "/go/pkg/mod/" + flannelModule + "/Documentation/kube-flannel.yml", "/kube-flannel.yml"}).
		File("/kube-flannel.yml")
}

// images are those that a manifest names.
func (k *Kind) images(ctx context.Context, manifest *dagger.File) ([]string, error) {
	out, err := from(goImage).
		WithFile("/usr/local/bin/gitops", k.Program).
		WithFile("/manifest.yaml", manifest).
		WithExec([]string{"gitops", "manifests", "images", "--manifest", "/manifest.yaml"}).
		Stdout(ctx)
	if err != nil {
		return nil, err
	}
	var images []string
	err = json.Unmarshal([]byte(out), &images)
	return images, err
}

// run runs the helper program. Its own sentence is the error where it fails,
// without the noise of the exec around it.
func run(ctx context.Context, ctr *dagger.Container, args []string) (*dagger.Container, error) {
	ran, failure, err := attempt(ctx, ctr, args)
	if err == nil && failure != "" {
		err = errors.New(failure)
	}
	if err != nil {
		return nil, err
	}
	return ran, nil
}

// attempt runs the helper program, and gives its own sentence if it fails.
func attempt(ctx context.Context, ctr *dagger.Container, args []string) (ran *dagger.Container, failure string, err error) {
	ran = ctr.WithExec(args, dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
	code, err := ran.ExitCode(ctx)
	if err != nil || code == 0 {
		return ran, "", err
	}
	stderr, err := ran.Stderr(ctx)
	if err != nil {
		return nil, "", err
	}
	return ran, cmp.Or(sentence(stderr), fmt.Sprintf("%s: exit code %d", strings.Join(args[:3], " "), code)), nil
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

// mirrored is an image as a registry for clusters has it; see `gitops cluster
// mirrored`.
type mirrored struct {
	Image, Path, Tag, Digest string
}

// mirror puts images into a registry, under their own paths. What is there
// already is not sent again.
func (k *Kind) mirror(ctx context.Context, registry *dagger.Service, images ...string) error {
	if len(images) == 0 {
		return nil
	}
	named, err := run(ctx, from(goImage).WithFile("/usr/local/bin/gitops", k.Program), append([]string{"gitops", "cluster", "mirrored"}, images...))
	if err != nil {
		return err
	}
	out, err := named.Stdout(ctx)
	if err != nil {
		return err
	}
	var all []mirrored
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return fmt.Errorf("read where the images go: %w", err)
	}
	registry, err = registry.Start(ctx)
	if err != nil {
		return fmt.Errorf("start the registry: %w", err)
	}
	errs := make([]error, len(all))
	var running sync.WaitGroup
	for i, image := range all {
		running.Go(func() { errs[i] = image.put(ctx, registry) })
	}
	running.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// errFetch says that the engine has no such image.
var errFetch = errors.New("fetch")

// put copies the image into a registry.
func (m mirrored) put(ctx context.Context, registry *dagger.Service) error {
	// By itself: what fails here has nothing to do with the registry. The causes
	// are not %w: of an error of the engine that is wrapped the CLI shows the
	// engine's words alone.
	image, err := dag.Container().From(m.Image).Sync(ctx)
	if err != nil {
		return fmt.Errorf("%w %s: %s", errFetch, m.Image, err)
	}
	// The engine speaks plain HTTP to localhost alone.
	ref, err := image.Publish(ctx, "localhost:5000/"+m.Path+":"+m.Tag, dagger.ContainerPublishOpts{RegistryService: registry})
	if err != nil {
		return fmt.Errorf("put %s into the registry: %s", m.Image, err)
	}
	if _, digest, _ := strings.Cut(ref, "@"); m.Digest != "" && digest != m.Digest {
		return fmt.Errorf("put %s into the registry: the engine makes it %s, so name it by its tag alone", m.Image, digest)
	}
	return nil
}
