package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"dagger/backstage-gitops/internal/dagger"
)

// Compare the image with one that Backstage's documented multi-stage Dockerfile
// makes of the same app: size, time to readiness, time to build. Prints a table;
// fails where the image misses one of its limits.
//
// Both images are built here, with the same Node, and published to a registry
// that ends with the session. Each is started `--starts` times, in turns, until
// app and API are ready. Then each is built twice against the clock: anew, but
// for base images and Debian packages and with what Yarn has in its cache, and
// after a new line in packages/backend/src/index.ts. That writes 7 GB. What else
// runs on the machine makes all times longer: the ratios tell more.
//
// +cache="never"
func (m *BackstageGitops) Bench(ctx context.Context,
	// Starts of each image, of which the table has the median.
	//
	// +default=7
	starts int,

	// Whether to time builds as well.
	//
	// +default=true
	builds bool,
) (string, error) {
	if m.AppRepo != nil {
		return "", errors.New("bench compares images of the checkout's own app: leave out --source")
	}
	if starts < 1 {
		return "", fmt.Errorf("--starts is %d: it can be 1 or more", starts)
	}
	registry, err := m.benchRegistry().Start(ctx)
	if err != nil {
		return "", fmt.Errorf("start the registry: %w", err)
	}
	b := &benchmark{m: m, run: time.Now().Format(time.RFC3339Nano)}
	b.box = m.toolbox().WithServiceBinding("registry", registry).WithEnvVariable("GITOPS_RUN", b.run)
	stock := &contestant{name: "stock", build: m.stock}
	slim := &contestant{name: "slim", build: m.slim}
	both := []*contestant{stock, slim}
	for _, c := range both {
		if err := b.measureSize(ctx, c); err != nil {
			return "", fmt.Errorf("make the %s image: %w", c.name, explained(err))
		}
	}
	for i := range starts {
		for _, c := range both {
			if err := b.measureStart(ctx, c, i); err != nil {
				return "", fmt.Errorf("start the %s image: %w", c.name, err)
			}
		}
	}
	for _, c := range both {
		if !builds {
			break
		}
		if err := b.measureBuilds(ctx, c); err != nil {
			return "", fmt.Errorf("build the %s image: %w", c.name, explained(err))
		}
	}
	return b.table(ctx, map[string]any{stock.name: stock.measured, slim.name: slim.measured})
}

// slim is the production image of an app; a salt makes it anew.
func (m *BackstageGitops) slim(app *dagger.Directory, salt string) *dagger.Container {
	anew := *m
	anew.Source, anew.Salt = app, salt
	return anew.runtime(0, "")
}

// stock is the image of an app by Backstage's Dockerfile. The salt is in a
// folder that is copied before Yarn installs anything.
func (m *BackstageGitops) stock(app *dagger.Directory, salt string) *dagger.Container {
	return app.
		WithFile("Dockerfile", m.Checkout.File("ci/bench/stock.Dockerfile")).
		WithNewFile(".yarn/salt", salt).
		DockerBuild(dagger.DirectoryDockerBuildOpts{BuildArgs: []dagger.BuildArg{{Name: "NODE_IMAGE", Value: stockImage}}})
}

// benchRegistry keeps the images that are compared until the session ends.
func (m *BackstageGitops) benchRegistry() *dagger.Service {
	fresh := *m
	fresh.Ephemeral = true
	return fresh.Registry()
}

// benchmark measures one image after the other, past the cache.
type benchmark struct {
	m   *BackstageGitops
	box *dagger.Container
	run string
}

// contestant is one of the images, and what `gitops bench table` wants of it.
type contestant struct {
	name     string
	build    func(app *dagger.Directory, salt string) *dagger.Container
	image    *dagger.Container
	measured struct {
		CompressedBytes int64             `json:"compressedBytes"`
		DiskBytes       int64             `json:"diskBytes"`
		Files           int               `json:"files"`
		BuildSeconds    float64           `json:"buildSeconds"`
		ChangeSeconds   float64           `json:"changeSeconds"`
		Starts          []json.RawMessage `json:"starts"`
	}
}

// measureSize builds the image, which also fills the caches of packages,
// publishes it and reads it back.
func (b *benchmark) measureSize(ctx context.Context, c *contestant) error {
	image, err := c.build(b.m.Source, "").Sync(ctx)
	if err != nil {
		return err
	}
	c.image = image
	archive := image.AsTarball(dagger.ContainerAsTarballOpts{
		MediaTypes: dagger.ImageMediaTypesOcimediaTypes,
		// The layers of a base image may be there uncompressed.
		ForcedCompression: dagger.ImageLayerCompressionGzip,
	})
	var published struct{ Ref, Digest string }
	if err := run(ctx, b.box.WithMountedFile("/image.tar", archive), &published,
		"image", "publish", "registry:5000/"+c.name+":bench", "--archive", "/image.tar", "--created", "1970-01-01T00:00:00Z", "--plain-http"); err != nil {
		return err
	}
	return run(ctx, b.box, &c.measured, "image", "inspect", "registry:5000/"+c.name+"@"+published.Digest, "--plain-http")
}

// measureStart starts the image's own command in the image.
func (b *benchmark) measureStart(ctx context.Context, c *contestant, i int) error {
	entrypoint, err := c.image.Entrypoint(ctx)
	if err != nil {
		return err
	}
	args, err := c.image.DefaultArgs(ctx)
	if err != nil {
		return err
	}
	ctr := c.image.
		WithMountedFile("/usr/local/bin/gitops", b.m.gitops()).
		WithEnvVariable("GITOPS_RUN", fmt.Sprint(b.run, i))
	var start json.RawMessage
	if err := run(ctx, ctr, &start, slices.Concat([]string{"bench", "start",
		"--url", "http://localhost:4001/.backstage/health/v1/readiness",
		"--url", "http://localhost:8000/.backstage/health/v1/readiness", "--"}, entrypoint, args)...); err != nil {
		return err
	}
	c.measured.Starts = append(c.measured.Starts, start)
	return nil
}

// measureBuilds makes the image anew, and once more with a line that the backend
// runs and nobody notices.
func (b *benchmark) measureBuilds(ctx context.Context, c *contestant) error {
	const index = "packages/backend/src/index.ts"
	text, err := b.m.Source.File(index).Contents(ctx)
	if err != nil {
		return err
	}
	if c.measured.BuildSeconds, err = seconds(ctx, c.build(b.m.Source, b.run)); err != nil {
		return err
	}
	changed := b.m.Source.WithNewFile(index, fmt.Sprintf("%s\nprocess.env.BENCH = '%s';\n", text, b.run))
	// From a folder, as people edit: the cache knows what comes from one by its content.
	if _, err := changed.Export(ctx, c.name); err != nil {
		return err
	}
	c.measured.ChangeSeconds, err = seconds(ctx, c.build(dag.CurrentModule().Workdir(c.name), b.run))
	return err
}

// seconds is how long it takes to make the container.
func seconds(ctx context.Context, ctr *dagger.Container) (float64, error) {
	began := time.Now()
	_, err := ctr.Sync(ctx)
	return time.Since(began).Seconds(), err
}

// table is the comparison as Markdown.
func (b *benchmark) table(ctx context.Context, facts map[string]any) (string, error) {
	return comparison(ctx, b.box, "table", facts)
}

// comparison is a table that the helper program makes of what was measured, as
// Markdown. A limit that is missed is the error, which has the table as well.
func comparison(ctx context.Context, box *dagger.Container, command string, facts any) (string, error) {
	text, err := json.Marshal(facts)
	if err != nil {
		return "", err
	}
	ran := box.
		WithNewFile("/facts.json", string(text)).
		WithExec([]string{"gitops", "bench", command, "--facts", "/facts.json", "--markdown", "/table.md"}, dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
	missed, err := failureOf(ctx, ran)
	if err != nil {
		return "", err
	}
	table, err := ran.File("/table.md").Contents(ctx)
	switch {
	case missed == "":
		return table, err
	case err != nil:
		return "", errors.New(missed)
	}
	return "", fmt.Errorf("%s\n\n%s", missed, table)
}
