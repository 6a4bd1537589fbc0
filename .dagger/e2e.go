package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

	// The evidence as files: proof.json, proof.md, proof.html and the portal's
	// picture; where it was not proven also the cluster's logs.
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

	// What goes wrong on purpose then, and has to be detected, explained and
	// survived: image-tag, crash, manifest, git, registry, repo-server, push,
	// node, or all.
	//
	// +optional
	faults []string,
) (*E2e, error) {
	r := m.releaser(target{remote: gitRemote, branch: "main"})
	v := r.verifier(kubernetes, workers)
	if err := r.steps(ctx,
		step{"Read the source", r.read},
		step{"Start the services", r.connect},
		step{"Seed the Git remote", r.seed},
		step{"Start the cluster", v.start},
		step{"Build the image", r.build},
		step{"Publish the image", r.publish},
	); err != nil {
		return nil, err
	}
	return v.prove(ctx, append([]string{"--changes"}, withFaults(faults)...)...)
}

// withFaults are the arguments of a proof for these faults.
func withFaults(faults []string) []string {
	if len(faults) == 0 {
		return nil
	}
	return []string{"--faults", strings.Join(faults, ",")}
}

// Fail where something could not be shown. `dagger call e2e` does.
func (e *E2e) Sync() (*E2e, error) {
	if !e.Proven {
		return nil, errors.New(e.Failure)
	}
	return e, nil
}

// proofRemote is the Git service that Argo CD reads a candidate from.
const proofRemote = "http://proof:8080/backstage-gitops.git"

// clusterName is that of the ephemeral cluster.
const clusterName = "e2e"

// verifier proves in a cluster what a releaser has built.
type verifier struct {
	*releaser
	kubernetes string
	workers    int
	// off leaves the commit unproven.
	off bool

	// ready ends when there is a cluster, or the reason why not.
	ready chan error
	kind  *dagger.KindCluster
	// registry is the one that the cluster pulls from.
	registry *dagger.Service
}

func (r *releaser) verifier(kubernetes string, workers int) *verifier {
	return &verifier{releaser: r, kubernetes: kubernetes, workers: workers, ready: make(chan error, 1)}
}

// start makes the cluster beside what comes next, where there is something to
// prove.
func (v *verifier) start(ctx context.Context) error {
	if v.off || v.digest != "" {
		return nil
	}
	go func() { v.ready <- v.cluster(ctx) }()
	return nil
}

// cluster makes a cluster with Argo CD in it. All that it runs comes from one
// registry, which keeps its images from one run to the next.
func (v *verifier) cluster(ctx context.Context) error {
	program := v.m.gitops()
	kind := dag.Kind(dagger.KindOpts{Program: program})
	v.registry = kind.Registry()
	argocd := dag.Argocd(dagger.ArgocdOpts{Program: program})
	images, err := argocd.Images(ctx)
	if err != nil {
		return err
	}
	if err := kind.Mirror(ctx, v.registry, append(images, ingressImage)); err != nil {
		return err
	}

	// By its ID from here on: each use of the call itself would make another.
	made, err := kind.Cluster(dagger.KindClusterOpts{
		Name: clusterName, Version: v.kubernetes, Workers: v.workers, Registry: v.registry, Fence: true,
		// Ingress and app.
		Ports: []string{"8080:30080", "8000:30800"},
	}).ID(ctx)
	if err != nil {
		return err
	}
	v.kind = dag.LoadKindClusterFromID(dagger.KindClusterID(made))
	_, err = argocd.Install(ctx, v.kind.Kubeconfig(), dagger.ArgocdInstallOpts{Cluster: v.kind.Docker()})
	return err
}

// verify refuses a commit that was not proven.
func (v *verifier) verify(ctx context.Context) error {
	if v.off || v.built == nil {
		return nil
	}
	// What later commits do is not this release's matter: e2e shows that.
	shown, err := v.prove(ctx, "--changes=false")
	if err == nil {
		v.proof = shown.Report
		_, err = shown.Sync()
	}
	if err != nil {
		return fmt.Errorf("%w: the image %s@%s is published, nothing was committed", err, v.name(), v.digest)
	}
	return nil
}

// prove publishes the image where the cluster pulls from, commits the chart
// that names it where Argo CD reads from, and shows what comes of it. How far
// it goes is said by arguments of `gitops prove`.
func (v *verifier) prove(ctx context.Context, args ...string) (*E2e, error) {
	if err := <-v.ready; err != nil {
		return nil, err
	}
	docker := v.kind.Docker()
	git, err := v.git().Start(ctx)
	if err != nil {
		return nil, fmt.Errorf("start the session's Git service: %w", err)
	}
	box := v.box.
		WithServiceBinding("session", v.registry).
		WithServiceBinding("proof", git)

	// Under the name that the chart has, whatever its registry: nodes ask this
	// one for all of them.
	repository := v.source.Repository
	var published struct{ Digest string }
	if err := run(ctx, box.WithMountedFile("/image.tar", v.archive()), &published, "image", "publish",
		"session:5000/"+repository.Path+":"+v.source.Tag, "--archive", "/image.tar", "--created", v.source.InputsTime, "--plain-http"); err != nil {
		return nil, err
	}
	if published.Digest != v.digest {
		return nil, fmt.Errorf("the image to prove is %s, not %s as published", published.Digest, v.digest)
	}
	var proposed struct{ Commit string }
	if err := run(ctx, box, &proposed, "propose", "--remote", v.target.remote, "--branch", v.target.branch, "--to", proofRemote,
		"--chart", chartPath, "--image", v.name(), "--tag", v.source.Tag, "--digest", v.digest); err != nil {
		return nil, err
	}
	v.candidate = proposed.Commit
	name := repository.Registry + "/" + repository.Path
	browser := dag.Container().
		From(browserImage).
		WithServiceBinding("docker", docker).
		WithExposedPort(9222).
		AsService(dagger.ContainerAsServiceOpts{UseEntrypoint: true})
	// Not the box: what runs beside the portal needs no credential.
	proven := v.m.toolbox().
		WithEnvVariable("GITOPS_RUN", time.Now().Format(time.RFC3339Nano)).
		WithServiceBinding("proof", git).
		WithServiceBinding("docker", docker).
		WithServiceBinding("browser", browser).
		WithServiceBinding("session", v.registry).
		WithFile("/usr/local/bin/docker", v.kind.DockerCommand()).
		WithEnvVariable("DOCKER_HOST", "tcp://docker:2375").
		WithFile("/kubeconfig", v.kind.Kubeconfig()).
		WithExec(append([]string{"gitops", "prove", "--kubeconfig", "/kubeconfig", "--cluster", clusterName, "--registry", "session:5000",
			"--git", proofRemote, "--branch", v.target.branch, "--chart", chartPath,
			"--revision", v.candidate, "--image", name, "--digest", v.digest, "--out", "/proof"}, args...),
			dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
	code, err := proven.ExitCode(ctx)
	if err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	shown := &E2e{Proven: code == 0, Revision: v.candidate, Image: name + "@" + v.digest, Report: proven.Directory("/proof")}
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

// git is a Git service of this proof alone: empty, and forgotten after it.
func (v *verifier) git() *dagger.Service {
	return v.m.serveGit(func(ctr *dagger.Container) *dagger.Container {
		return ctr.WithEnvVariable("GITOPS_RUN", time.Now().Format(time.RFC3339Nano))
	})
}
