package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"dagger/backstage-gitops/internal/dagger"
)

// Release is what a release did.
type Release struct {
	// "released", "proposed", "nothing-to-release", "published-not-committed" or
	// "failed".
	Outcome string

	// Why it ended early, one sentence; empty where it did not.
	Failure string

	// The report as Markdown, fit for a GitHub job summary.
	Summary string

	// The report as files: report.json, report.md, the proof's in proof/, and
	// release.proof.json, which is signed. Where the release ended early too.
	Report *dagger.Directory

	// +private
	Ref string

	// +private
	Label string

	// +private
	Pushed string

	// Early says that it was refused before anything was done: no report says more.
	//
	// +private
	Early bool

	// +private
	Program *dagger.File
}

// What a GitHub Actions job needs to report the release: the report in report/, and the
// helper program. `job export --path out` keeps both, also of a release that failed;
// then, on the runner, `out/gitops actions report --report out/report/report.json`
// writes outputs, summary and annotation, and fails if the release failed.
func (r *Release) Job() *dagger.Directory {
	return dag.Directory().WithFile("gitops", r.Program).WithDirectory("report", r.Report)
}

// Fail if the release ended early. Returns the ID of the report, because the CLI expects
// an ID from this function.
func (r *Release) Sync(ctx context.Context) (string, error) {
	if err := r.failed(); err != nil {
		return "", err
	}
	id, err := r.Report.ID(ctx)
	return string(id), err
}

// Image by digest, as it was published. Fails if the release ended early.
func (r *Release) Image() (string, error) { return r.Ref, r.failed() }

// Tag of the image, for people. Fails if the release ended early.
func (r *Release) Tag() (string, error) { return r.Label, r.failed() }

// Commit in the Git remote that points the chart at the image. Fails if the release
// ended early.
func (r *Release) Commit() (string, error) { return r.Pushed, r.failed() }

// failed is why the release ended early, followed by the report of the steps until
// then.
func (r *Release) failed() error {
	if r.Failure == "" {
		return nil
	}
	return fmt.Errorf("%s\n\n%s", r.Failure, r.Summary)
}

// Release the checkout's HEAD: publish its image, prove in an ephemeral cluster
// that Argo CD runs it, then commit the chart that names it by digest. Prints
// the report as Markdown.
//
// Without arguments both go to the embedded registry and Git remote. If the remote's
// chart already names HEAD's image, there is nothing to release: nothing is pushed,
// nothing is committed.
//
// +cache="never"
func (m *BackstageGitops) Release(ctx context.Context,
	// Image name to publish, such as docker.io/USER/backstage-gitops; default: the embedded
	// registry.
	//
	// +optional
	image string,

	// Tag to publish; default: HEAD's version tag, or branch and commit.
	//
	// +optional
	tag string,

	// Platforms to build for, such as linux/amd64,linux/arm64; several become one
	// multi-platform image. Default: the engine's own.
	//
	// +optional
	platforms []string,

	// URL of the Git remote to push the commit to, such as
	// https://github.com/OWNER/REPO.git; default: the embedded one.
	//
	// +optional
	remote string,

	// Branch of the Git remote.
	//
	// +default="main"
	branch string,

	// How the commit gets to the remote: git pushes it; github lets GitHub create and sign
	// it through its API; pull-request opens or updates a pull request.
	//
	// +default="git"
	commitBy string,

	// Title of the pull request, if there is one; default: the commit's first line.
	//
	// +optional
	pullRequestTitle string,

	// Labels of the pull request.
	//
	// +optional
	pullRequestLabels []string,

	// Have GitHub merge the pull request as soon as it may: merge, squash or rebase. A
	// merge for a workflow's own token starts no workflow, such as the one that finishes
	// the release: use a GitHub App, or call release again.
	//
	// +optional
	autoMerge string,

	// Move an immutable tag that names another image in the registry.
	//
	// +optional
	retag bool,

	// Release an unsigned image to a registry other than the embedded one.
	//
	// +optional
	allowUnsigned bool,

	// Prove the commit in an ephemeral cluster before it is pushed, as e2e does.
	//
	// +default=true
	verify bool,

	// Publish the chart too, beside the image.
	//
	// +default=true
	publishChart bool,

	// User of the registry.
	//
	// +optional
	username string,

	// Password or access token of the registry, such as env://DOCKERHUB_TOKEN.
	//
	// +optional
	password *dagger.Secret,

	// Token that may push to the Git remote, such as env://GITHUB_TOKEN; not needed with
	// a GitHub App.
	//
	// +optional
	token *dagger.Secret,
) (string, error) {
	released, err := m.Released(ctx, image, tag, platforms, remote, branch, commitBy, pullRequestTitle, pullRequestLabels, autoMerge, retag, allowUnsigned, verify, publishChart, username, password, token)
	if err != nil {
		return "", err
	}
	if released.Early {
		return "", errors.New(released.Failure)
	}
	return released.Summary, released.failed()
}

// Release as `release` does, and return the result: outcome, image, commit, and the
// report as files.
//
// It is separate from `release` because the Dagger CLI prints only the ID of an object.
// Fails if the release ended early, except for `outcome`, `failure`, `summary`, `report`
// and `job`: `released report export --path out` keeps the evidence in either case.
//
// +cache="never"
func (m *BackstageGitops) Released(ctx context.Context,
	// Image name to publish, such as docker.io/USER/backstage-gitops; default: the embedded
	// registry.
	//
	// +optional
	image string,

	// Tag to publish; default: HEAD's version tag, or branch and commit.
	//
	// +optional
	tag string,

	// Platforms to build for, such as linux/amd64,linux/arm64; several become one
	// multi-platform image. Default: the engine's own.
	//
	// +optional
	platforms []string,

	// URL of the Git remote to push the commit to, such as
	// https://github.com/OWNER/REPO.git; default: the embedded one.
	//
	// +optional
	remote string,

	// Branch of the Git remote.
	//
	// +default="main"
	branch string,

	// How the commit gets to the remote: git pushes it; github lets GitHub create and sign
	// it through its API; pull-request opens or updates a pull request.
	//
	// +default="git"
	commitBy string,

	// Title of the pull request, if there is one; default: the commit's first line.
	//
	// +optional
	pullRequestTitle string,

	// Labels of the pull request.
	//
	// +optional
	pullRequestLabels []string,

	// Have GitHub merge the pull request as soon as it may: merge, squash or rebase. A
	// merge for a workflow's own token starts no workflow, such as the one that finishes
	// the release: use a GitHub App, or call release again.
	//
	// +optional
	autoMerge string,

	// Move an immutable tag that names another image in the registry.
	//
	// +optional
	retag bool,

	// Release an unsigned image to a registry other than the embedded one.
	//
	// +optional
	allowUnsigned bool,

	// Prove the commit in an ephemeral cluster before it is pushed, as e2e does.
	//
	// +default=true
	verify bool,

	// Publish the chart too, beside the image.
	//
	// +default=true
	publishChart bool,

	// User of the registry.
	//
	// +optional
	username string,

	// Password or access token of the registry, such as env://DOCKERHUB_TOKEN.
	//
	// +optional
	password *dagger.Secret,

	// Token that may push to the Git remote, such as env://GITHUB_TOKEN; not needed with
	// a GitHub App.
	//
	// +optional
	token *dagger.Secret,
) (*Release, error) {
	r := m.releaser(target{
		image: image, tag: tag, platforms: platforms, proven: verify, remote: cmp.Or(remote, gitRemote), branch: branch, commitBy: commitBy,
		pull: pull{pullRequestTitle, pullRequestLabels, autoMerge}, unsigned: allowUnsigned,
		retag: retag, noChart: !publishChart, username: username, password: password, token: token,
	})
	v := r.verifier(kubernetesVersion, 0)
	v.off = !verify
	a := &attester{releaser: r}
	v.keep = a.record
	failure := r.steps(ctx,
		step{"Read the source", a.read},
		step{"Start the services", r.connect},
		step{"Check the Git remote", r.preflight},
		step{"Check what signs", a.ready},
		step{"Check what is released", a.former},
		step{"Check the registry", a.writable},
		step{"Check the platforms", r.runs},
		step{"Start the cluster", v.start},
		step{"Build the image", r.build},
		step{"Publish the image", r.publish},
		step{"Inspect the image", r.inspect},
		step{"Attest the image", a.attest},
		step{"Verify the image", a.verify},
		step{"Prove the commit", v.verify},
		step{"Commit and push", v.push},
		step{"Sign the proof", a.seal},
		step{"Tag the image", r.tag},
		step{"Publish the chart", a.chart},
	)
	v.explain(ctx, failure)
	v.end(ctx)
	release, err := r.report(ctx, failure)
	if err != nil {
		return nil, errors.Join(failure, err)
	}
	release.Early = r.source == nil
	return release, nil
}

// target is where a release goes. No image means the embedded registry, no
// remote that there is nothing to commit.
type target struct {
	image, tag, remote, branch, username string
	commitBy                             string
	// pullRequest gives the image the tag of a pull request, 0 for none.
	pullRequest int
	pull        pull
	// platforms are those of the image, none for the engine's own; proven says that
	// it has to run on that one.
	platforms []string
	proven    bool
	retag     bool
	// unsigned lets nothing sign the image.
	unsigned bool
	// noChart leaves the chart out of the registry.
	noChart         bool
	password, token *dagger.Secret
}

// pushes are the helper program's commands that bring a commit to a remote, by
// their names in --commit-by, and preflights those that find out whether it could be.
var (
	pushes = map[string][]string{
		"git":          {"push"},
		"github":       {"github", "push"},
		"pull-request": {"github", "push", "--pull-request"},
	}
	preflights = map[string][]string{
		"git":          {"preflight"},
		"github":       {"github", "preflight"},
		"pull-request": {"github", "preflight", "--pull-request"},
	}
)

// pull is what a pull request looks like.
type pull struct {
	title  string
	labels []string
	// merge is how it is merged by itself, empty for not at all.
	merge string
}

// args are the arguments of the helper program; it refuses what cannot be.
func (p pull) args() (args []string) {
	if p.title != "" {
		args = append(args, "--title", p.title)
	}
	for _, l := range p.labels {
		args = append(args, "--label", l)
	}
	if p.merge != "" {
		args = append(args, "--auto-merge", p.merge)
	}
	return args
}

// releaser carries a release from step to step.
type releaser struct {
	m      *BackstageGitops
	box    *dagger.Container
	target target

	source    *sourceInfo
	platforms []platformInfo
	built     *dagger.Container
	digest    string
	// there says that the remote's chart names the image of HEAD already, which is named
	// and is made again all the same.
	there bool
	named string
	// candidate is the commit that was verified, proposed what is known of it.
	candidate string
	proposed  json.RawMessage
	// proof is what was shown of it.
	proof *dagger.Directory
	// sealed is the signed document of the release.
	sealed  *dagger.File
	facts   map[string]any
	timings []timing
	// signIn are the arguments with which the helper program signs in to a remote that is
	// not embedded.
	signIn []string
	// began is when the release did.
	began time.Time
	// abandon ends the steps for a reason.
	abandon context.CancelCauseFunc
}

func (m *BackstageGitops) releaser(t target) *releaser {
	return &releaser{m: m, box: m.toolbox(), target: t, facts: map[string]any{}, began: time.Now(), abandon: func(error) {}}
}

type step struct {
	name string
	run  func(context.Context) error
}

type timing struct {
	Step    string  `json:"step"`
	Start   float64 `json:"-"`
	Seconds float64 `json:"seconds"`
	Failed  bool    `json:"failed,omitempty"`
}

// steps runs the steps in order, notes how long each took, and stops at the
// first that fails, or when what runs beside them does.
func (r *releaser) steps(ctx context.Context, steps ...step) error {
	ctx, r.abandon = context.WithCancelCause(ctx)
	for _, s := range steps {
		start := time.Now()
		err := s.run(ctx)
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
		r.timings = append(r.timings, timing{s.name, start.Sub(r.began).Seconds(), time.Since(start).Seconds(), err != nil})
		if err != nil {
			return err
		}
	}
	return nil
}

// connect starts the embedded services that the release uses and binds the
// toolbox to them. They run until the session ends: another release in it uses
// the same ones. What is not embedded it gets the credentials for.
func (r *releaser) connect(ctx context.Context) error {
	start := func(s *dagger.Service, alias string) error {
		s, err := s.Start(ctx)
		if err != nil {
			return fmt.Errorf("start the embedded %s: %w", alias, err)
		}
		r.box = r.box.WithServiceBinding(alias, s)
		return nil
	}
	if r.embeddedRegistry() {
		if err := start(r.m.Registry(), "registry"); err != nil {
			return err
		}
	}
	switch r.target.remote {
	case "":
	case gitRemote:
		if err := start(r.m.Git(), "git"); err != nil {
			return err
		}
	default:
		r.box, r.signIn = r.m.signIn(r.box, r.target.token)
	}
	if r.target.password != nil {
		r.box = r.box.WithSecretVariable("GITOPS_REGISTRY_PASSWORD", r.target.password)
	}
	// What these containers do is outside of them: never answered from cache.
	r.box = anew(r.box)
	return nil
}

func (r *releaser) name() string {
	if r.embeddedRegistry() {
		return embeddedImage
	}
	return r.target.image
}

// reachable is the image's reference as the toolbox sees its registry.
func (r *releaser) reachable(ref string) string {
	if r.embeddedRegistry() {
		return strings.Replace(ref, "localhost", "registry", 1)
	}
	return ref
}

// access is how the helper program reaches the registry.
func (r *releaser) access() []string {
	if r.embeddedRegistry() {
		return []string{"--plain-http"}
	}
	if r.target.username != "" {
		return []string{"--username", r.target.username}
	}
	return nil
}

// known is what people call what the toolbox reaches in its registry.
func (r *releaser) known(ref string) string {
	if r.embeddedRegistry() {
		return strings.Replace(ref, "registry", "localhost", 1)
	}
	return ref
}

func (r *releaser) embeddedRegistry() bool {
	return r.target.image == "" || r.target.image == embeddedImage
}

func (r *releaser) read(ctx context.Context) error {
	if (r.target.username == "") != (r.target.password == nil) {
		return errors.New("--username and --password go together: give both, or neither")
	}
	if r.target.commitBy = cmp.Or(r.target.commitBy, "git"); pushes[r.target.commitBy] == nil {
		return fmt.Errorf("--commit-by is %q: it can be git, github or pull-request", r.target.commitBy)
	}
	if r.target.commitBy != "git" && (r.target.remote == gitRemote || r.target.token == nil && r.m.AppKey == nil) {
		return fmt.Errorf("--commit-by %s wants --remote, a repository of GitHub, and --token or a GitHub App", r.target.commitBy)
	}
	if r.target.commitBy == "git" && len(r.target.pull.args()) > 0 {
		return errors.New("--pull-request-title, --pull-request-labels and --auto-merge want --commit-by pull-request, or github, which makes one where the branch is protected")
	}
	if err := r.choose(ctx); err != nil {
		return err
	}
	source, err := r.m.inspect(ctx, inspectOpts{tag: r.target.tag, branch: r.target.branch, pullRequest: r.target.pullRequest})
	if err != nil {
		return err
	}
	r.source = source
	r.facts["source"] = source.raw
	return nil
}

// seed gives the embedded remote the checkout's HEAD.
func (r *releaser) seed(ctx context.Context) error {
	if r.target.remote != gitRemote {
		return nil
	}
	var result json.RawMessage
	return run(ctx, r.box, &result, "seed", "--remote", r.target.remote, "--branch", r.target.branch)
}

// preflight finds out before minutes of building whether the commit could be
// pushed.
func (r *releaser) preflight(ctx context.Context) error {
	if err := r.seed(ctx); err != nil {
		return err
	}
	var tip struct {
		Tip   string
		Chart struct{ Tag, Digest string }
	}
	args := append(slices.Clone(preflights[r.target.commitBy]), "--remote", r.target.remote, "--branch", r.target.branch, "--chart", chartPath, "--image", r.name())
	if err := run(ctx, r.box, &tip, append(args, r.signIn...)...); err != nil {
		return err
	}
	r.released(ctx, tip.Chart.Tag, tip.Chart.Digest)
	if r.digest != "" {
		r.candidate = tip.Tip // nothing is left to commit, and nothing unproven is
	}
	return nil
}

// released finds out whether the image that the remote's chart names is that of
// HEAD already: the same inputs make the same image. Whatever it cannot tell,
// the build will.
func (r *releaser) released(ctx context.Context, tag, digest string) {
	// The revision of an app in another checkout does not cover the recipe in this.
	if tag != r.source.Tag || digest == "" || r.m.AppRepo != nil {
		return
	}
	image, err := r.pull(ctx, digest, "--layers=false")
	if err != nil {
		return
	}
	labels, _ := image["labels"].(map[string]any)
	if labels["org.opencontainers.image.revision"] == r.source.InputsRevision && r.madeFor(image) {
		r.digest, r.facts["image"] = digest, image
	}
}

// writable finds out before minutes of building whether the registry would take the
// image, and the chart beside it.
func (r *releaser) writable(ctx context.Context) error {
	if r.digest != "" {
		return nil // it has the image
	}
	args := append([]string{"image", "preflight", r.reachable(r.name())}, r.access()...)
	if !r.target.noChart {
		args = append(args, "--chart", chartPath)
	}
	var said json.RawMessage
	if err := run(ctx, r.box, &said, args...); err != nil {
		return fmt.Errorf("%w: nothing was published, nothing was committed", err)
	}
	return nil
}

func (r *releaser) build(ctx context.Context) error {
	if r.digest != "" {
		return nil
	}
	for _, platform := range r.builds() {
		built, err := r.m.image(r.source, platform).Sync(ctx)
		if err != nil {
			return fmt.Errorf("build the image%s: %w", onPlatform(platform), explained(err))
		}
		r.built = built
	}
	return nil
}

func (r *releaser) publish(ctx context.Context) error {
	if r.digest != "" {
		return nil
	}
	args := r.pushing()
	if r.there {
		args = append(args, "--digest", r.named)
	}
	digest, err := r.publishTo(ctx, r.box, r.reachable(r.name()+":"+r.source.Tag), args...)
	if err != nil {
		return fmt.Errorf("publish %w: nothing was committed", err)
	}
	r.digest = digest
	r.facts["image"] = map[string]any{"name": r.name(), "tag": r.source.Tag, "digest": r.digest}
	return nil
}

// tag gives a released image its other tags, those that move from release to
// release among them: only once its commit is there.
func (r *releaser) tag(ctx context.Context) error {
	commit, err := r.committed()
	if err != nil || commit.waits() || len(r.source.Tags) < 2 {
		return err
	}
	args := append([]string{"image", "tag", r.reachable(r.name() + "@" + r.digest),
		// A later release that ended first has those that move.
		"--remote", r.target.remote, "--branch", r.target.branch, "--chart", chartPath}, r.pushing()...)
	args = append(args, r.signIn...)
	for _, tag := range r.source.Tags[1:] {
		args = append(args, "--also-tag", tag)
	}
	var tagged json.RawMessage
	if err := run(ctx, r.box, &tagged, args...); err != nil {
		return fmt.Errorf("tag %w: the commit is there, the same command continues from there", err)
	}
	r.facts["tags"] = tagged
	return nil
}

// pushing is how the helper program pushes to the registry.
func (r *releaser) pushing() []string {
	if r.target.retag {
		return append(r.access(), "--retag")
	}
	return r.access()
}

// publishTo pushes the image from where the helper program runs, and returns its
// digest.
func (r *releaser) publishTo(ctx context.Context, box *dagger.Container, ref string, args ...string) (string, error) {
	args = append([]string{"image", "publish", ref, "--created", r.source.InputsTime}, args...)
	for i, platform := range r.builds() {
		file := fmt.Sprintf("/image-%d.tar", i)
		box, args = box.WithMountedFile(file, r.archive(platform)), append(args, "--archive", file)
	}
	var published struct{ Digest string }
	err := run(ctx, box, &published, args...)
	return published.Digest, err
}

// archive is the image for a platform as a file to publish. Not Container.publish: it
// stamps the image with the time of the build, and the same inputs would be another
// digest from an empty cache.
func (r *releaser) archive(platform dagger.Platform) *dagger.File {
	return r.m.image(r.source, platform).AsTarball(dagger.ContainerAsTarballOpts{MediaTypes: dagger.ImageMediaTypesOcimediaTypes})
}

// inspect reads the published image back by its digest.
func (r *releaser) inspect(ctx context.Context) error {
	if r.built == nil {
		return nil // seen by released
	}
	image, err := r.pull(ctx, r.digest)
	if err != nil {
		return fmt.Errorf("%w: the image %s@%s is published, nothing was committed", err, r.name(), r.digest)
	}
	r.facts["image"] = image
	return nil
}

// pull is what the registry says of the image with the digest.
func (r *releaser) pull(ctx context.Context, digest string, args ...string) (map[string]any, error) {
	image := map[string]any{}
	args = append(append([]string{"image", "inspect", r.reachable(r.name() + "@" + digest)}, r.access()...), args...)
	if err := run(ctx, anew(r.box), &image, args...); err != nil {
		return nil, err
	}
	image["name"], image["tag"] = r.name(), r.source.Tag
	return image, nil
}

func (r *releaser) push(ctx context.Context) error {
	var result json.RawMessage
	box := r.box
	args := append(slices.Clone(pushes[r.target.commitBy]), r.target.pull.args()...)
	if r.target.commitBy != "git" {
		// What is known until now is the text of a pull request.
		facts := maps.Clone(r.facts)
		facts["timings"] = r.timings
		text, err := json.Marshal(facts)
		if err != nil {
			return err
		}
		box, args = box.WithNewFile("/facts.json", string(text)), append(args, "--facts", "/facts.json")
	}
	args = append(args, "--remote", r.target.remote, "--branch", r.target.branch,
		"--chart", chartPath, "--image", r.name(), "--tag", r.source.Tag, "--digest", r.digest, "--candidate", r.candidate)
	if err := run(ctx, box, &result, append(args, r.signIn...)...); err != nil {
		return fmt.Errorf("%w: the image %s@%s is published, the same command continues from there", err, r.name(), r.digest)
	}
	r.facts["commit"] = result
	return nil
}

// report writes down what the steps did; failure is why they ended early.
func (r *releaser) report(ctx context.Context, failure error) (*Release, error) {
	r.facts["timings"] = r.timings
	if failure != nil {
		r.facts["reason"] = failure.Error()
	}
	facts, err := json.Marshal(r.facts)
	if err != nil {
		return nil, err
	}
	var document struct {
		Outcome string `json:"outcome"`
		Commit  struct {
			SHA string `json:"sha"`
		} `json:"commit"`
	}
	dir := r.box.
		WithNewFile("/facts.json", string(facts)).
		WithExec([]string{"mkdir", "-p", "/report"}).
		WithExec([]string{"gitops", "report", "--facts", "/facts.json", "--json", "/report/report.json", "--markdown", "/report/report.md"}).
		Directory("/report")
	if r.proof != nil {
		dir = dir.WithDirectory("proof", r.proof)
	}
	written, err := dir.File("report.json").Contents(ctx)
	if err != nil {
		return nil, fmt.Errorf("write the report: %w", err)
	}
	if err := json.Unmarshal([]byte(written), &document); err != nil {
		return nil, fmt.Errorf("write the report: %w", err)
	}
	summary, err := dir.File("report.md").Contents(ctx)
	if err != nil {
		return nil, fmt.Errorf("write the report: %w", err)
	}
	if r.sealed != nil {
		dir = dir.WithFile(sealFile, r.sealed)
	}
	release := &Release{Outcome: document.Outcome, Pushed: document.Commit.SHA, Summary: summary, Report: dir, Program: r.m.gitops()}
	if failure != nil {
		release.Failure = failure.Error()
	}
	if r.digest != "" {
		release.Ref, release.Label = r.name()+"@"+r.digest, r.source.Tag
	}
	return release, nil
}
