package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"dagger/backstage-gitops/internal/dagger"
)

// E2e is what a run in a cluster has shown.
type E2e struct {
	// Whether everything was shown.
	Proven bool

	// Why not, one sentence; empty where everything was shown.
	Failure string

	// The commit that Argo CD was given.
	Revision string

	// The image that had to run, by digest.
	Image string

	// The evidence as files: proof.json and the portal's picture; where it was not
	// proven also the cluster's logs.
	Report *dagger.Directory
}

// Prove in an ephemeral kind cluster that Argo CD runs HEAD: build its image,
// commit the chart that names it to a Git service of this session, let Argo CD
// deploy that, and use the portal. Leaves nothing behind but its report.
//
// Fails where something could not be shown; `e2e report export --path out`
// keeps the evidence in either case.
//
// +cache="never"
func (m *BackstageGitops) E2e(ctx context.Context,
	// Version of Kubernetes.
	//
	// +default="v1.37.0"
	kubernetes string,

	// Nodes beside the control plane, 0 to 8.
	//
	// +default=0
	workers int,
) (*E2e, error) {
	r := &releaser{m: m, box: m.toolbox(), target: target{branch: "main"}}
	v := &verifier{releaser: r, kubernetes: kubernetes, workers: workers}
	var cluster error
	var beside sync.WaitGroup
	beside.Go(func() { cluster = v.cluster(ctx) })
	err := r.steps(ctx,
		step{"Read the source", r.read},
		step{"Start the services", r.connect},
		step{"Build the image", r.build},
	)
	beside.Wait()
	if err := errors.Join(err, cluster); err != nil {
		return nil, err
	}
	return v.prove(ctx)
}

// Fail where something could not be shown. `dagger call e2e` does.
func (e *E2e) Sync() (*E2e, error) {
	if !e.Proven {
		return nil, errors.New(e.Failure)
	}
	return e, nil
}

// verifier proves in a cluster what a releaser has built.
type verifier struct {
	*releaser
	kubernetes string
	workers    int

	kind   *dagger.KindCluster
	argocd *dagger.Argocd
}

// cluster makes a cluster with Argo CD in it. All that it runs comes from the
// embedded registry.
func (v *verifier) cluster(ctx context.Context) error {
	start := time.Now()
	kind := dag.Kind(dagger.KindOpts{Program: v.m.gitops()})
	registry := v.m.Registry()
	images := dag.Argocd(dag.Directory().WithNewFile("none", "").File("none"), dagger.ArgocdOpts{Program: v.m.gitops()}).Images
	run, err := images(ctx)
	if err != nil {
		return err
	}
	if err := kind.Mirror(ctx, registry, append(run, ingressImage)); err != nil {
		return err
	}
	v.kind = kind.Cluster(dagger.KindClusterOpts{
		Name: "e2e", Version: v.kubernetes, Workers: v.workers, Registry: registry,
		// Ingress and app.
		Ports: []string{"8080:30080", "8000:30800"},
	})
	kubeconfig, err := v.kind.Kubeconfig().Sync(ctx)
	if err != nil {
		return err
	}
	v.timings = append(v.timings, timing{Step: "Make the cluster", Seconds: time.Since(start).Seconds()})
	start = time.Now()
	v.argocd = dag.Argocd(kubeconfig, dagger.ArgocdOpts{Cluster: v.kind.Docker(), Program: v.m.gitops()})
	if _, err := v.argocd.Install(ctx); err != nil {
		return err
	}
	v.timings = append(v.timings, timing{Step: "Install Argo CD", Seconds: time.Since(start).Seconds()})
	return nil
}

// prove publishes the image where the cluster pulls from, commits the chart
// that names it where Argo CD reads from, and shows what comes of it.
func (v *verifier) prove(ctx context.Context) (*E2e, error) {
	docker := v.kind.Docker()
	git, err := v.git().Start(ctx)
	if err != nil {
		return nil, fmt.Errorf("start the session's Git service: %w", err)
	}
	box := v.box.WithServiceBinding("git", git)

	// Under the name that the chart has, whatever its registry: nodes ask this
	// registry for all of them.
	repository := v.source.Repository
	var published struct{ Digest string }
	if err := run(ctx, box.WithMountedFile("/image.tar", v.archive()), &published, "image", "publish",
		"registry:5000/"+repository.Path+":"+v.source.Tag, "--archive", "/image.tar", "--created", v.source.InputsTime, "--plain-http"); err != nil {
		return nil, err
	}
	var seeded json.RawMessage
	if err := run(ctx, box, &seeded, "seed", "--remote", gitRemote, "--branch", v.target.branch); err != nil {
		return nil, err
	}
	name := repository.Registry + "/" + repository.Path
	var candidate struct{ Commit, Base string }
	if err := run(ctx, box, &candidate, "push", "--remote", gitRemote, "--branch", v.target.branch, "--chart", chartPath,
		"--image", name, "--tag", v.source.Tag, "--digest", published.Digest); err != nil {
		return nil, err
	}
	browser := dag.Container().
		From(browserImage).
		WithServiceBinding("docker", docker).
		WithExposedPort(9222).
		AsService(dagger.ContainerAsServiceOpts{UseEntrypoint: true})
	proven := box.
		WithServiceBinding("docker", docker).
		WithServiceBinding("browser", browser).
		WithFile("/kubeconfig", v.kind.Kubeconfig()).
		WithExec([]string{"gitops", "prove", "--kubeconfig", "/kubeconfig", "--git", gitRemote, "--branch", v.target.branch, "--chart", chartPath,
			"--revision", candidate.Commit, "--image", name, "--digest", published.Digest, "--out", "/proof"},
			dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
	code, err := proven.ExitCode(ctx)
	if err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	shown := &E2e{Proven: code == 0, Revision: candidate.Commit, Image: name + "@" + published.Digest, Report: proven.Directory("/proof")}
	if code != 0 {
		stderr, err := proven.Stderr(ctx)
		if err != nil {
			return nil, fmt.Errorf("prove: %w", err)
		}
		shown.Failure = sentence(stderr)
		shown.Report = shown.Report.WithDirectory("logs", v.kind.Logs())
	}
	return shown, nil
}

// git is a Git service of this proof alone.
func (v *verifier) git() *dagger.Service {
	return dag.Container().
		From(goImage).
		WithFile("/usr/local/bin/gitops", v.m.gitops()).
		WithEnvVariable("GITOPS_RUN", time.Now().Format(time.RFC3339Nano)).
		WithExposedPort(8080).
		AsService(dagger.ContainerAsServiceOpts{
			Args: []string{"gitops", "serve-git", "--root", "/srv/git", "--create", "backstage-gitops.git", "--listen", ":8080"},
		})
}
