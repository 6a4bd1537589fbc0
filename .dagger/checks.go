package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"dagger/backstage-gitops/internal/dagger"
)

// Vet, lint and test the plain Go code in ci/, with a real git and a real registry.
//
// +check
func (m *BackstageGitops) GoTest(ctx context.Context) error {
	return goTested(ctx, m.gitops(), goContainer(m.Checkout.Filter(dagger.DirectoryFilterOpts{
		Include: []string{"go.mod", "go.sum", "staticcheck.conf", "ci", "dagger.json", "daggerw", ".dagger/*.go", ".dagger/scripts", "charts", ".github", "backstage/packages/backend/src", "backstage/*.yaml", "backstage/*.json"},
		Exclude: []string{"ci/slim", "ci/acceptance"},
	})).
		WithMountedCache("/root/.cache/staticcheck", dag.CacheVolume("backstage-gitops-staticcheck")).
		WithExec([]string{"go", "tool", "staticcheck", "./..."}))
}

// Vet and test the Go code in ci/attest, a module of its own, with real images in a
// real registry.
//
// +check
func (m *BackstageGitops) AttestTest(ctx context.Context) error {
	return goTested(ctx, m.attestProgram(), goContainer(m.Checkout.Filter(dagger.DirectoryFilterOpts{
		Include: []string{"go.mod", "go.sum", "ci/attest", "ci/git", "ci/image", "ci/imageref", "ci/keyserver"},
	})).
		WithWorkdir("ci/attest"))
}

// goTested vets and tests Go code, once a program is compiled that shares packages with
// it: several checks begin at the same time, and Go's cache knows no work under way, so
// that each of them would compile the packages they share.
func goTested(ctx context.Context, program *dagger.File, code *dagger.Container, flags ...string) error {
	if _, err := program.Sync(ctx); err != nil {
		return err
	}
	_, err := code.
		WithExec([]string{"go", "vet", "./..."}).
		// Its own vet is a part of the one above; its own limit of ten minutes is too short
		// for a small machine that has the other checks to do as well.
		WithExec(append(append([]string{"go", "test", "-vet=off", "-timeout=30m"}, flags...), "./...")).
		Sync(ctx)
	return err
}

// Run the tests of the recipe of the slim image.
//
// +check
func (m *BackstageGitops) SlimTest(ctx context.Context) error {
	_, err := m.slimTool().WithExec([]string{"node", "--test"}).Sync(ctx)
	return err
}

// Use this module from outside, as a Go program of its users would: release into
// an empty registry and an empty Git remote, use the image that comes out, release
// again, and be refused with every bad input.
//
// +check
// +cache="never"
func (m *BackstageGitops) Acceptance(ctx context.Context) error {
	_, err := goContainer(m.committed().Repo).
		WithWorkdir("ci/acceptance").
		WithFile("/usr/local/bin/gitops", m.gitops()).
		WithFile("/usr/local/bin/attest", m.attestProgram()).
		WithFile("/usr/local/bin/fakegithub", m.program("./ci/github/githubtest/cmd/fakegithub")).
		WithFile("/usr/local/bin/registry", dag.Container().From(registryImage).File("/bin/registry")).
		WithExec([]string{"go", "vet", "./..."}).
		WithEnvVariable("ACCEPTANCE_NODE_IMAGE", nodeImage).
		WithEnvVariable("GITOPS_RUN", time.Now().Format(time.RFC3339Nano)).
		// Go's own limit is ten minutes, and an image from an empty cache takes most of them.
		WithExec([]string{"go", "test", "-vet=off", "-count=1", "-timeout=45m", "-v", "./..."}, dagger.ContainerWithExecOpts{ExperimentalPrivilegedNesting: true}).
		Sync(ctx)
	return err
}

// Build the image of the checkout twice, the second time with nothing from the
// cache but downloads, and compare the digests.
//
// +check
// +cache="never"
func (m *BackstageGitops) ReproducibleCheck(ctx context.Context) error {
	once := m.committed()
	again := *once
	again.Salt = time.Now().Format(time.RFC3339Nano)
	first, err := once.Publish(ctx, "", "", 0, nil, false, "", nil)
	if err != nil {
		return err
	}
	second, err := again.Publish(ctx, "", "", 0, nil, true, "", nil)
	if err != nil {
		return err
	}
	if first != second {
		return fmt.Errorf("the same inputs made %s, and then %s", first, second)
	}
	return nil
}

// Prove in one ephemeral cluster that Argo CD runs the checkout, with its uncommitted
// changes; that releases which cannot run there are refused, and say why; that a
// release which somebody else's push overtakes is proven again; that a rollback is
// proven too; and that people reach what `cluster up` serves.
//
// +check
// +cache="never"
func (m *BackstageGitops) ProofCheck(ctx context.Context) error {
	fresh := m.committed()
	v, err := fresh.built(ctx, kubernetesVersion, 0)
	defer v.end(ctx)
	if err != nil {
		return err
	}
	for _, part := range []step{
		{"the main proof", func(ctx context.Context) error {
			shown, err := v.prove(ctx, "--changes")
			if err == nil {
				_, err = shown.Sync(ctx)
			}
			if err != nil {
				return err
			}
			page, err := shown.Report.File("proof.html").Contents(ctx)
			for _, phase := range []string{"Create the cluster", "starting control-plane", "Install Argo CD", "Build the image"} {
				if err == nil && !strings.Contains(page, phase) {
					err = fmt.Errorf("the timeline lacks %q", phase)
				}
			}
			return err
		}},
		{"an Application of a path that does not exist", v.nowhere},
		{"releases that cannot run", func(ctx context.Context) error {
			for _, c := range badCharts {
				// Apart: what comes after is on top of what is in a remote.
				if err := fresh.apart("refused").changed(c.change).refused(ctx, v, c.want); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
			}
			return nil
		}},
		{"a release that somebody's push overtakes, and its rollback", func(ctx context.Context) error { return fresh.apart("raced").overtaken(ctx, v) }},
		{"a cluster to live in", v.lived},
	} {
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// badChart is a change of the chart that Argo CD cannot run.
type badChart struct {
	name string
	// change is a command in the checkout.
	change []string
	// want is what the refusal says.
	want string
}

var badCharts = []badChart{
	{"a chart that renders nothing", []string{"sh", "-c", "rm " + chartPath + "/templates/*.yaml"}, "renders no object"},
	{"a chart that does not render", inTemplate("fails.yaml", "a: {{ .Values.no.such.value }}"), "fails.yaml"},
	{"a manifest that does not parse", inTemplate("broken.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: broken"), "broken.yaml"},
	{"an image tag that does not exist", []string{"sed", "-i",
		`s|^image: {{ include "backstage.image" $values.image . quote }}|image: "{{ $values.image.repository }}:does-not-exist"|`, chartPath + "/templates/_helpers.tpl"}, "is not in its registry"},
	{"an app that crashes at its start", []string{"sed", "-i",
		"s|^    baseUrl: http://localhost:4001$|&\\n    database: {client: no-such-database}|", chartPath + "/values.yaml"}, "CrashLoopBackOff"},
}

// inTemplate adds a template to the chart.
func inTemplate(name, text string) []string {
	return []string{"sh", "-c", `printf "$1\n" > "$2"`, "sh", text, chartPath + "/templates/" + name}
}

// changed is the checkout with a commit more: what a command makes in it. A change of
// nothing is refused.
func (m *BackstageGitops) changed(command []string) *BackstageGitops {
	changed := *m
	changed.Repo = commit(m.Repo, command, []string{"sh", "-c", "! git diff --quiet HEAD || test -n \"$(git ls-files --others --exclude-standard)\""})
	return &changed
}

// apart has services of its own.
func (m *BackstageGitops) apart(name string) *BackstageGitops {
	other := *m
	other.Apart = name
	return &other
}

// another is a verifier of another release, in the same cluster.
func (v *verifier) another(r *releaser) *verifier {
	return &verifier{releaser: r, kubernetes: v.kubernetes, ready: v.ready, kind: v.kind, registry: v.registry}
}

// nowhere has Argo CD run a folder that the repository lacks, and sees that this is
// told, with evidence.
func (v *verifier) nowhere(ctx context.Context) error {
	c, err := v.propose(ctx)
	if err != nil {
		return err
	}
	shown, err := v.show(ctx, c, "--changes=false", "--chart", "charts/nowhere")
	if err != nil {
		return err
	}
	if _, err := shown.Sync(ctx); err == nil || !strings.Contains(shown.Failure, "charts/nowhere") || strings.Contains(shown.Failure, "\n") {
		return fmt.Errorf("it is not refused in one sentence that names the path, but: %q", shown.Failure)
	}
	return complete(ctx, shown.Report, shown.Failure)
}

// complete sees that the evidence of a failure is whole: why, the steps of the
// cluster's making, and its logs.
func complete(ctx context.Context, report *dagger.Directory, failure string) error {
	page, err := report.File("proof.html").Contents(ctx)
	if err != nil {
		return err
	}
	for _, want := range []string{"Why not", "Events and logs"} {
		if !strings.Contains(page, want) {
			return fmt.Errorf("the page of %q lacks %q", failure, want)
		}
	}
	text, err := report.File("proof.json").Contents(ctx)
	if err != nil {
		return err
	}
	var proof struct {
		Proven bool
		Run    struct{ Missing []string }
	}
	if err := json.Unmarshal([]byte(text), &proof); err != nil {
		return err
	}
	if proof.Proven || len(proof.Run.Missing) > 0 {
		return fmt.Errorf("the evidence of %q says proven: %t, missing: %q", failure, proof.Proven, proof.Run.Missing)
	}
	logs, err := report.Glob(ctx, "logs/**/kubelet.log")
	if err == nil && len(logs) == 0 {
		err = fmt.Errorf("the evidence of %q has no log of a kubelet", failure)
	}
	return err
}

// tip is where the branch of the embedded remote is.
func (r *releaser) tip(ctx context.Context) (string, error) {
	out, err := anew(r.box).WithExec([]string{"git", "ls-remote", "--exit-code", gitRemote, "refs/heads/" + r.target.branch}).Stdout(ctx)
	sha, _, _ := strings.Cut(out, "\t")
	return sha, err
}

// refused releases what cannot run, in the cluster of another release, and sees that
// release and report say why, and that the remote is as it was.
func (m *BackstageGitops) refused(ctx context.Context, running *verifier, want string) error {
	r := m.releaser(target{remote: gitRemote, branch: "main", proven: true})
	v := running.another(r)
	if err := r.steps(ctx, step{"Read the source", r.read}, step{"Start the services", r.connect}, step{"Check the Git remote", r.preflight}); err != nil {
		return err
	}
	before, err := r.tip(ctx)
	if err != nil {
		return err
	}
	failure := r.steps(ctx, step{"Build the image", r.build}, step{"Publish the image", r.publish}, step{"Prove the commit", v.verify}, step{"Commit and push", v.push})
	if failure == nil {
		return errors.New("the release was made")
	}
	for _, words := range []string{want, "nothing was committed"} {
		if !strings.Contains(failure.Error(), words) {
			return fmt.Errorf("it is refused in other words than %q: %w", words, failure)
		}
	}
	after, err := r.tip(ctx)
	if err != nil {
		return err
	}
	if after != before {
		return fmt.Errorf("a release that was refused left the remote at %s, not at %s", after, before)
	}
	release, err := r.report(ctx, failure)
	if err != nil {
		return err
	}
	if _, err := release.Sync(ctx); err == nil || release.Outcome != "published-not-committed" || !strings.Contains(release.Summary, "**Prove the commit** failed") {
		return fmt.Errorf("the report of a release that was refused has the outcome %s and says: %s", release.Outcome, release.Summary)
	}
	text, err := release.Report.File("report.json").Contents(ctx)
	if err != nil {
		return err
	}
	var document struct{ Reason string }
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		return err
	}
	if !strings.Contains(document.Reason, want) {
		return fmt.Errorf("the report gives the reason %q, without %q", document.Reason, want)
	}
	return complete(ctx, release.Report.Directory("proof"), document.Reason)
}

// overtaken releases while somebody else pushes between the proof and the push, and
// takes a later release back. What is pushed is what was proven, in both.
func (m *BackstageGitops) overtaken(ctx context.Context, running *verifier) error {
	r := m.releaser(target{remote: gitRemote, branch: "main", proven: true})
	v := running.another(r)
	var proven []string
	v.keep = func(context.Context) error {
		proven = append(proven, v.candidate)
		return nil
	}
	var theirs string
	somebody := func(ctx context.Context) (err error) {
		_, err = anew(r.box).
			WithExec([]string{"git", "clone", "--quiet", "--branch", "main", gitRemote, "/theirs"}).
			WithWorkdir("/theirs").
			WithExec([]string{"git", "-c", "user.name=somebody", "-c", "user.email=somebody@localhost", "commit", "--quiet", "--allow-empty", "--message", "docs: something else"}).
			WithExec([]string{"git", "push", "--quiet", "origin", "HEAD:main"}).
			Sync(ctx)
		if err == nil {
			theirs, err = r.tip(ctx)
		}
		return err
	}
	failure := r.steps(ctx,
		step{"Read the source", r.read},
		step{"Start the services", r.connect},
		step{"Check the Git remote", r.preflight},
		step{"Build the image", r.build},
		step{"Publish the image", r.publish},
		step{"Prove the commit", v.verify},
		step{"Somebody pushes", somebody},
		step{"Commit and push", v.push},
	)
	release, err := r.report(ctx, failure)
	if err := errors.Join(failure, err); err != nil {
		return err
	}
	var pushed struct{ Parent string }
	if err := json.Unmarshal(r.facts["commit"].(json.RawMessage), &pushed); err != nil {
		return err
	}
	switch {
	case release.Outcome != "released":
		return fmt.Errorf("the outcome is %s: %s", release.Outcome, release.Summary)
	case len(proven) != 2 || proven[0] == proven[1]:
		return fmt.Errorf("%q were proven, want one before and one after the push of %s", proven, theirs)
	case pushed.Parent != theirs:
		return fmt.Errorf("the release is on top of %s, want %s", pushed.Parent, theirs)
	}
	if err := v.asProven(ctx, release.Pushed); err != nil {
		return err
	}

	// Another image, as its tag is in its labels; a proof shows nothing new of it.
	later := m.releaser(target{remote: gitRemote, branch: "main", tag: "9.9.9"})
	unproven := running.another(later)
	unproven.off = true
	if err := later.steps(ctx, step{"Read the source", later.read}, step{"Start the services", later.connect}, step{"Check the Git remote", later.preflight},
		step{"Build the image", later.build}, step{"Publish the image", later.publish}, step{"Commit and push", unproven.push}); err != nil {
		return fmt.Errorf("the release to take back: %w", err)
	}
	b := &rollback{verifier: running.another(m.releaser(target{remote: gitRemote, branch: "main"}))}
	if err := b.steps(ctx, step{"Read the source", b.read}, step{"Start the services", b.connect}, step{"Find the release", b.find},
		step{"Prove the commit", b.verify}, step{"Commit and push", b.push}); err != nil {
		return fmt.Errorf("take the release back: %w", err)
	}
	if b.made.Restored.Digest != r.digest || b.made.Reverted.Digest != later.digest {
		return fmt.Errorf("the rollback is from %s to %s, want from %s to %s", b.made.Reverted.Digest, b.made.Restored.Digest, later.digest, r.digest)
	}
	return b.asProven(ctx, b.made.Commit)
}

// asProven sees that the remote's branch is at a commit, and that this was proven.
func (v *verifier) asProven(ctx context.Context, sha string) error {
	tip, err := v.tip(ctx)
	if err != nil {
		return err
	}
	text, err := v.proof.File("proof.json").Contents(ctx)
	if err != nil {
		return err
	}
	var proof struct {
		Proven   bool
		Revision string
	}
	if err := json.Unmarshal([]byte(text), &proof); err != nil {
		return err
	}
	if !proof.Proven || proof.Revision != sha || tip != sha {
		return fmt.Errorf("%s was to be pushed, %s was proven (%t), and the branch is at %s", sha, proof.Revision, proof.Proven, tip)
	}
	return nil
}

// lived has the cluster serve a person, and asks for the three ports by way of the
// forwarder.
func (v *verifier) lived(ctx context.Context) error {
	c, err := v.propose(ctx)
	if err != nil {
		return err
	}
	served, err := v.serve(ctx, c)
	if err != nil {
		return err
	}
	return succeeded(ctx, anew(v.m.toolbox()).
		WithServiceBinding("cluster", served).
		WithFile("/answers", dag.CurrentModule().Source().File("scripts/answers")).
		WithExec([]string{"/answers", "cluster", "8000:/", "4001:/.backstage/health/v1/readiness", "8080:/"}, dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny}))
}

// committed is the checkout with its uncommitted changes in a commit, and with
// an empty registry and Git remote of its own.
func (m *BackstageGitops) committed() *BackstageGitops {
	fresh := *m
	// The sources stay those of the host, which the cache knows by their content.
	fresh.Repo = commit(m.Checkout)
	fresh.Ephemeral, fresh.Apart = true, "check"
	return &fresh
}

// commit is a checkout with its uncommitted changes in a commit, those that a
// command makes in it among them.
func commit(checkout *dagger.Directory, change ...[]string) *dagger.Directory {
	ctr := from(goImage).
		WithDirectory("/checkout", checkout).
		WithWorkdir("/checkout").
		WithEnvVariable("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")
	for _, command := range change {
		ctr = ctr.WithExec(command)
	}
	return ctr.
		WithExec([]string{"git", "add", "--all"}).
		WithExec([]string{"git", "-c", "user.name=check", "-c", "user.email=check@localhost", "commit", "--quiet", "--allow-empty",
			"--date", "2026-01-01T00:00:00Z", "--message", "test: what is to be checked"}).
		Directory("/checkout")
}
