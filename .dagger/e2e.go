package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"dagger/backstage-gitops/internal/dagger"
)

// E2e is what a run in a cluster has shown.
type E2e struct {
	// Whether everything was shown.
	Proven bool

	// Why not, one sentence; empty if everything was shown.
	Failure string

	// The commit that Argo CD was given; empty if the run ended before there was one.
	Revision string

	// The image that had to run, by digest; empty if there was none yet.
	Image string

	// The evidence as files: proof.json, proof.md, proof.html and the portal's
	// picture; if it was not proven, the cluster's logs in logs/ too.
	Report *dagger.Directory

	// +private
	Program *dagger.File
}

// What a GitHub Actions job needs to report the proof: the report in report/,
// result.json, and the helper program. `job export --path out` keeps them, proven or
// not; then, on the runner, `out/gitops actions result --result out/result.json` writes
// summary and annotation, and fails if it was not proven.
func (e *E2e) Job(ctx context.Context) (*dagger.Directory, error) {
	told := result{Title: "Proof", Failure: e.Failure}
	var err error
	if told.Summary, err = e.Report.File("proof.md").Contents(ctx); err != nil {
		return nil, fmt.Errorf("read the proof: %w", err)
	}
	text, err := told.file()
	if err != nil {
		return nil, err
	}
	return job(e.Program, text, e.Report), nil
}

// Prove in an ephemeral kind cluster that Argo CD runs HEAD: build its image,
// commit the chart that names it to a Git service of this session, let Argo CD
// deploy that, and use the portal. Leaves nothing behind but its report.
//
// Fails if something could not be shown, or if image or cluster could not be made;
// `e2e report export --path out` keeps the evidence in any case.
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

	// Faults to inject, which must be detected, explained and survived: image-tag, crash,
	// manifest, git, registry, repo-server, push, node, or all.
	//
	// +optional
	faults []string,

	// Optional chart features to prove, on real components: upgrade, sign-in, postgres, s3,
	// tls, gateway, hpa, spread (needs --workers 2), environments, networkpolicy, metrics,
	// traces, notifications, external-secrets, or all.
	//
	// +optional
	features []string,

	// Fail if this cluster cannot show what is asked for, instead of reporting it as
	// not proven here.
	//
	// +optional
	strict bool,
) (*E2e, error) {
	v := m.prover(kubernetes, workers)
	defer v.end(ctx)
	known := func(ctx context.Context) (err error) {
		var names []string
		if err := run(ctx, m.toolbox(), &names, append([]string{"faults"}, faults...)...); err != nil {
			return err
		}
		v.features, err = m.features(ctx, features, workers)
		return err
	}
	var shown *E2e
	prove := func(ctx context.Context) (err error) {
		shown, err = v.prove(ctx, "--changes", "--faults", strings.Join(faults, ","), "--features", strings.Join(features, ","), fmt.Sprintf("--strict=%t", strict))
		return err
	}
	failure := v.steps(ctx, slices.Concat([]step{{"Check what is to be shown", known}}, v.making(), []step{{"Prove the commit", prove}})...)
	if failure != nil {
		return v.ended(ctx, failure)
	}
	return shown, nil
}

// Fail if something could not be shown, as `dagger call e2e` does. Returns the ID of the
// report, because the CLI expects an ID from this function.
func (e *E2e) Sync(ctx context.Context) (string, error) {
	if !e.Proven {
		return "", errors.New(e.Failure)
	}
	id, err := e.Report.ID(ctx)
	return string(id), err
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
	// features are the optional parts of the charts to show.
	features []feature
	platform platform
	// off leaves the commit unproven.
	off bool
	// keep puts what was proven where another run finds it, nil for nowhere.
	keep func(context.Context) error

	// started says that a cluster is being made; ready is closed when there is
	// one, or failed says why not.
	started bool
	ready   chan struct{}
	failed  error
	kind    *dagger.KindCluster
	// phases are the parts of making it.
	phases []phase
	// registry is the one that the cluster pulls from.
	registry *dagger.Service
}

func (r *releaser) verifier(kubernetes string, workers int) *verifier {
	return &verifier{releaser: r, kubernetes: kubernetes, workers: workers, ready: make(chan struct{})}
}

// prover is a verifier of HEAD, with an image in a registry of this session, and a
// cluster to come.
func (m *BackstageGitops) prover(kubernetes string, workers int) *verifier {
	// What a release has left stays as it is.
	fresh := *m
	fresh.Ephemeral = true
	return fresh.releaser(target{remote: gitRemote, branch: "main"}).verifier(kubernetes, workers)
}

// built is a prover with its image made, and its cluster in the making.
func (m *BackstageGitops) built(ctx context.Context, kubernetes string, workers int) (*verifier, error) {
	v := m.prover(kubernetes, workers)
	return v, v.steps(ctx, v.making()...)
}

// making are the steps to an image to prove, and a cluster in the making.
func (v *verifier) making() []step {
	return []step{
		{"Read the source", v.read},
		{"Check the cluster", v.check},
		{"Start the services", v.connect},
		{"Seed the Git remote", v.seed},
		{"Start the cluster", v.start},
		{"Build the image", v.build},
		{"Publish the image", v.publish},
	}
}

// check refuses a cluster that cannot be made, before anything is.
func (v *verifier) check(ctx context.Context) error {
	return dag.Kind(dagger.KindOpts{Program: v.m.gitops()}).Check(ctx, dagger.KindCheckOpts{Version: v.kubernetes, Workers: v.workers})
}

// start makes the cluster beside what comes next, where there is something to
// prove.
func (v *verifier) start(ctx context.Context) error {
	if v.off || v.there || v.digest != "" {
		return nil
	}
	v.started = true
	go func() {
		defer close(v.ready)
		if v.failed = v.cluster(ctx); v.failed != nil {
			v.abandon(fmt.Errorf("%w: nothing was proven, nothing committed", v.failed))
		}
	}()
	return nil
}

// cluster makes a cluster with Argo CD in it. All that it runs comes from one
// registry, which keeps its images from one run to the next.
func (v *verifier) cluster(ctx context.Context) error {
	program := v.m.gitops()
	kind := dag.Kind(dagger.KindOpts{Program: program})
	v.registry = kind.Registry()
	argocd := dag.Argocd(dagger.ArgocdOpts{Program: program})
	if err := v.phase("Mirror the cluster's images", func(*phase) error {
		images, err := argocd.Images(ctx)
		if err != nil {
			return err
		}
		if v.platform, err = v.m.platform(ctx, v.features); err != nil {
			return err
		}
		return kind.Mirror(ctx, v.registry, slices.Concat(images, []string{ingressImage}, v.platform.images))
	}); err != nil {
		return err
	}
	if err := v.phase("Create the cluster", func(p *phase) error {
		// By its ID from here on: each use of the call itself would make another.
		made, err := kind.Cluster(dagger.KindClusterOpts{
			Name: clusterName, Version: v.kubernetes, Workers: v.workers, Registry: v.registry, Fence: true, Network: v.platform.network,
			// Ingress, the same with TLS, app and API.
			Ports: []string{"8080:30080", "8443:30443", "8000:30800", "4001:30401"},
			// Its logs are evidence.
			KeepFailure: true,
		}).ID(ctx)
		if err != nil {
			return err
		}
		v.kind = dag.LoadKindClusterFromID(dagger.KindClusterID(made))
		failure, err := v.kind.Failure(ctx)
		if err != nil {
			return err
		}
		if failure != "" {
			return errors.New(failure)
		}
		p.Cluster, err = v.kind.Facts(ctx)
		return err
	}); err != nil {
		return err
	}
	return v.phase("Install Argo CD", func(p *phase) (err error) {
		p.ArgoCD, err = argocd.Install(ctx, v.kind.Kubeconfig(), dagger.ArgocdInstallOpts{Cluster: v.kind.Docker()})
		return err
	})
}

// verify refuses a commit that was not proven.
func (v *verifier) verify(ctx context.Context) error {
	if v.off || v.there || v.built == nil {
		return nil
	}
	// What later commits do is not this release's matter: e2e shows that.
	shown, err := v.prove(ctx, "--changes=false")
	if err := v.accept(ctx, shown, err); err != nil {
		return fmt.Errorf("%w: the image %s@%s is published, nothing was committed", err, v.name(), v.digest)
	}
	if v.keep == nil {
		return nil
	}
	return v.keep(ctx)
}

// accept keeps what was shown for the report, and refuses a commit of which not
// everything was.
func (v *verifier) accept(ctx context.Context, shown *E2e, err error) error {
	if err != nil {
		return err
	}
	v.proof = shown.Report
	proof, err := v.proof.File("proof.json").Contents(ctx)
	if err != nil {
		return fmt.Errorf("read the proof: %w", err)
	}
	v.facts["proof"] = json.RawMessage(proof)
	_, err = shown.Sync(ctx)
	return err
}

// push pushes the proven commit.
func (v *verifier) push(ctx context.Context) error {
	return v.again(ctx, v.verify, v.releaser.push)
}

// again pushes. Where the branch has moved since the commit was proven another one
// has to be made on top of it, and proven, a few times.
func (v *verifier) again(ctx context.Context, verify, push func(context.Context) error) error {
	for left := 2; ; left-- {
		err := push(ctx)
		var moved movedError
		if v.off || left == 0 || !errors.As(err, &moved) {
			return err
		}
		if err := verify(ctx); err != nil {
			return err
		}
	}
}

// candidate is a commit in a Git service from which Argo CD can run it.
type candidate struct {
	git    *dagger.Service
	commit string
	// image is the image's name as the chart has it, without tag.
	image, digest string
}

// session is the helper program's container beside a running cluster: the
// registry that it pulls from is bound as session, a Git service for a candidate as
// proof.
func (v *verifier) session(ctx context.Context) (box *dagger.Container, git *dagger.Service, err error) {
	select {
	case <-v.ready:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	if v.failed != nil {
		return nil, nil, v.failed
	}
	git, err = v.git().Start(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("start the session's Git service: %w", err)
	}
	return v.box.WithServiceBinding("session", v.registry).WithServiceBinding("proof", git), git, nil
}

// sessionImage is where the cluster pulls an image of the chart from: nodes ask
// this one registry for all of them.
func (v *verifier) sessionImage(tag string) string {
	return "session:5000/" + v.source.Repository.Path + ":" + tag
}

// propose publishes the image where the cluster pulls from, and commits the chart
// that names it where Argo CD reads from.
func (v *verifier) propose(ctx context.Context) (*candidate, error) {
	box, git, err := v.session(ctx)
	if err != nil {
		return nil, err
	}
	digest, err := v.publishTo(ctx, box, v.sessionImage(v.source.Tag), "--plain-http", "--retag")
	if err != nil {
		return nil, err
	}
	if digest != v.digest {
		return nil, fmt.Errorf("the image to prove is %s, not %s as published", digest, v.digest)
	}
	var proposed proposal
	if err := run(ctx, box, &proposed, append([]string{"propose", "--remote", v.target.remote, "--branch", v.target.branch, "--to", proofRemote,
		"--chart", chartPath, "--image", v.name(), "--tag", v.source.Tag, "--digest", v.digest}, v.signIn...)...); err != nil {
		return nil, err
	}
	v.candidate, v.proposed = proposed.Commit, proposed.raw
	return &candidate{git, v.candidate, v.source.Repository.name(), v.digest}, nil
}

// proposal is what `gitops propose` says.
type proposal struct {
	Commit string
	// raw is all of it.
	raw json.RawMessage
}

func (p *proposal) UnmarshalJSON(data []byte) error {
	type plain proposal
	p.raw = append(json.RawMessage(nil), data...)
	return json.Unmarshal(data, (*plain)(p))
}

// gitops is the helper program's command on a candidate, ready to run in the
// cluster's session.
func (v *verifier) gitops(c *candidate, command string, args ...string) *dagger.Container {
	return v.beside(c).
		WithServiceBinding("browser", v.browser()).
		WithFile("/kubeconfig", v.kind.Kubeconfig()).
		With(v.components).
		WithExec(append([]string{"gitops", command, "--kubeconfig", "/kubeconfig", "--git", proofRemote, "--branch", v.target.branch, "--chart", chartPath,
			"--revision", c.commit, "--image", c.image, "--digest", c.digest}, args...),
			dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
}

// beside is the helper program's container in the cluster's session: the candidate's
// Git service, the registry and the nodes' Docker daemon are in reach.
func (v *verifier) beside(c *candidate) *dagger.Container {
	// Not the box: what runs beside the portal needs no credential.
	return v.m.toolbox().
		WithDirectory("/proof", dag.Directory()).
		WithEnvVariable("GITOPS_RUN", time.Now().Format(time.RFC3339Nano)).
		WithServiceBinding("proof", c.git).
		WithServiceBinding("docker", v.kind.Docker()).
		WithServiceBinding("session", v.registry).
		WithFile("/usr/local/bin/docker", v.kind.DockerCommand()).
		WithEnvVariable("DOCKER_HOST", "tcp://docker:2375")
}

// components brings the manifests of what the optional parts of the charts run on.
func (v *verifier) components(ctr *dagger.Container) *dagger.Container {
	if v.platform.manifests == nil {
		return ctr
	}
	return ctr.WithDirectory("/components", v.platform.manifests)
}

// browser is a headless one that reaches what the nodes serve.
func (v *verifier) browser() *dagger.Service {
	return from(browserImage).
		// One for each proof: the engine ends a service some seconds after its last
		// user, though another has come meanwhile.
		WithEnvVariable("GITOPS_RUN", time.Now().Format(time.RFC3339Nano)).
		WithServiceBinding("docker", v.kind.Docker()).
		WithExposedPort(9222).
		AsService(dagger.ContainerAsServiceOpts{UseEntrypoint: true})
}

// prove shows what comes of the release. How far it goes is said by arguments of
// `gitops prove`.
func (v *verifier) prove(ctx context.Context, args ...string) (*E2e, error) {
	c, err := v.propose(ctx)
	if err != nil {
		return nil, err
	}
	return v.show(ctx, c, args...)
}

func (v *verifier) show(ctx context.Context, c *candidate, args ...string) (*E2e, error) {
	if v.platform.manifests != nil {
		args = append(args, "--components", "/components")
	}
	began := v.since()
	proven := v.gitops(c, "prove", append([]string{"--cluster", clusterName, "--registry", "session:5000", "--out", "/proof"}, args...)...)
	failure, err := failureOf(ctx, proven)
	if err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	shown := &E2e{Proven: failure == "", Failure: failure, Revision: c.commit, Image: c.image + "@" + c.digest, Program: v.m.gitops()}
	shown.Report, err = v.evidence(ctx, proven.Directory("/proof"), c, began, failure)
	return shown, err
}

// end ends what runs beside the steps, and removes the cluster. It would be gone with
// the session as well, but the session's end has ten seconds for that, which a busy
// machine exceeds.
func (v *verifier) end(ctx context.Context) {
	v.abandon(errors.New("what runs beside the steps is not needed any more"))
	if !v.started {
		return
	}
	<-v.ready
	if v.kind != nil {
		// The session's end removes what this cannot.
		_ = v.kind.Delete(context.WithoutCancel(ctx))
	}
}

// git is a Git service of this proof alone: empty, and forgotten after it.
func (v *verifier) git() *dagger.Service {
	return v.m.serveGit(func(ctr *dagger.Container) *dagger.Container {
		return ctr.WithEnvVariable("GITOPS_RUN", time.Now().Format(time.RFC3339Nano))
	})
}
