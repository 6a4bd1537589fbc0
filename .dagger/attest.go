package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"dagger/backstage-gitops/internal/dagger"
)

// keyService is the embedded service of the signing key, as the containers bound to
// it see it.
const keyService = "http://key:8200"

// Verify that an image is what a release made: signed, with its SBOMs, and built from
// the right repository. Fails and names the problem, or prints a summary.
//
// Without arguments, verifies the image that the embedded Git remote's chart names, in
// the embedded registry, by the embedded key.
//
// +cache="never"
func (m *BackstageGitops) VerifyRelease(ctx context.Context,
	// Image by its digest, such as docker.io/USER/backstage-gitops@sha256:…; default:
	// the one that the embedded Git remote's chart names.
	//
	// +optional
	image string,

	// Public key of the required signer; default: the embedded key, or that of
	// --signing-key.
	//
	// +optional
	key *dagger.File,

	// Workflow that must have signed it keyless, such as
	// https://github.com/OWNER/REPO/.github/workflows/release.yml@refs/heads/main.
	//
	// +optional
	identity string,

	// Trusted root of the Sigstore that certified the workflow, as cosign trusted-root
	// create writes it: for a private Sigstore, and to verify without the network.
	//
	// +optional
	trustedRoot *dagger.File,

	// Commit that it must be built from; default: the one that its label names.
	//
	// +optional
	revision string,

	// Branch of the embedded Git remote.
	//
	// +default="main"
	branch string,

	// User of the registry.
	//
	// +optional
	username string,

	// Password or access token of the registry, such as env://DOCKERHUB_TOKEN.
	//
	// +optional
	password *dagger.Secret,
) (string, error) {
	return m.verifyRelease(ctx, signature{image: image, branch: branch, username: username, key: key, identity: identity, trustedRoot: trustedRoot, password: password}, revision)
}

func (m *BackstageGitops) verifyRelease(ctx context.Context, of signature, revision string) (string, error) {
	a, args, err := m.trusting(ctx, of)
	if err != nil {
		return "", err
	}
	said, err := a.look(ctx, revision, args...)
	if err != nil {
		return "", err
	}
	var v verified
	if err := json.Unmarshal(said, &v); err != nil {
		return "", fmt.Errorf("attest verify-release: %w", err)
	}
	return v.summary(), nil
}

// trusting prepares the program for an image that is published, by its digest, and
// returns the arguments that say whose signature it has to have.
func (m *BackstageGitops) trusting(ctx context.Context, of signature) (a *attester, args []string, err error) {
	name, digest, _ := strings.Cut(of.image, "@")
	if of.image != "" && digest == "" {
		return nil, nil, fmt.Errorf("--image is %q: name it by its digest, NAME@sha256:…", of.image)
	}
	if name = untagged(name); name != embeddedImage && strings.HasPrefix(name, registryHost+"/") {
		return nil, nil, fmt.Errorf("--image is %q: the embedded registry's image is %s", of.image, embeddedImage)
	}
	if err := m.signing(); err != nil {
		return nil, nil, err
	}
	r := m.releaser(target{image: name, remote: gitRemote, branch: of.branch, username: of.username, password: of.password})
	own := of.key == nil && of.identity == "" && m.SigningKey == nil
	switch {
	case of.key != nil && of.identity != "":
		return nil, nil, errors.New("say whose signature it has to be: --key or --identity, not both")
	case own && !r.embeddedRegistry():
		return nil, nil, errors.New("say whose signature it has to be: --key, --identity or --signing-key")
	case own && m.TransparencyLog:
		return nil, nil, errEmbeddedLog
	}
	if err := r.connect(ctx); err != nil {
		return nil, nil, err
	}
	r.digest = digest
	if of.image == "" {
		if err := r.last(ctx); err != nil {
			return nil, nil, err
		}
	}
	a = &attester{releaser: r}
	if !own {
		// Whoever signs says where it comes from, unless somebody wants it to be from there.
		a.from = &origin{m.From, m.By}
	}
	if err := a.open(ctx); err != nil {
		return nil, nil, err
	}
	args = []string{"--key-service", keyService}
	switch {
	case of.key != nil:
		a.box, args = a.box.WithMountedFile("/key.pub", of.key), []string{"--key", "/key.pub"}
	case of.identity != "":
		args = []string{"--identity", of.identity}
		// Whoever may push a tag has the workflow run as it is there.
		if of.merged && strings.Contains(of.identity, "@refs/tags/") {
			args = append(args, "--workflow-history", "/checkout")
		}
	case m.SigningKey != nil:
		a.box, args = a.box.WithMountedFile("/key.pub", a.publicKey()), []string{"--key", "/key.pub"}
	}
	if m.TransparencyLog {
		args = append(args, logFlag)
	}
	if of.trustedRoot != nil {
		a.box, args = a.box.WithMountedFile("/trusted-root.json", of.trustedRoot), append(args, "--trusted-root", "/trusted-root.json")
	}
	return a, args, nil
}

// Return the public key that verifies signatures: that of --signing-key, or of the
// embedded key.
//
// +cache="never"
func (m *BackstageGitops) PublicKey(ctx context.Context) (*dagger.File, error) {
	if err := m.signing(); err != nil {
		return nil, err
	}
	r := m.releaser(target{})
	r.box = anew(r.box)
	a := &attester{releaser: r}
	if err := a.open(ctx); err != nil {
		return nil, err
	}
	return a.publicKey().Sync(ctx)
}

// publicKey is the public half of the key that signs.
func (a *attester) publicKey() *dagger.File {
	box, args := a.signer()
	args = slices.DeleteFunc(args, func(arg string) bool { return arg == logFlag }) // it signs nothing
	return box.WithExec(append([]string{"attest", "public-key", "--out", "/key.pub"}, args...)).File("/key.pub")
}

// attester signs what a releaser has published, and verifies it.
type attester struct {
	*releaser
	box *dagger.Container
	// made is what `attest image` said.
	made attested
	// seen is what `attest verify-release` said of an image that was released before, by
	// the signature that it had to have.
	seen      json.RawMessage
	signature []string
	// from is where the image has to come from, nil for what this module would say of it.
	from *origin
}

// origin is where an image comes from; what is empty may be anything.
type origin struct{ repository, builder string }

// attested is what `attest image` says.
type attested struct {
	Signed    bool
	SignedBy  string
	PublicKey string
}

// verified is what `attest verify-release` says.
type verified struct {
	Image, SignedBy string
	Packages        int
	// Platforms are those of an image of several, with the packages of each.
	Platforms []struct {
		Platform string
		Packages int
	}
	Origin struct{ Repository, Revision, Builder string }
	// Proofs are the signed proofs of releases beside it, Unusable what else is.
	Proofs []struct {
		Digest, Verdict, Outcome string
		Commit                   struct{ SHA, Branch string }
	}
	Unusable []struct{ PredicateType, Digest, Reason string }
}

func (v verified) summary() string {
	listed := fmt.Sprintf("%d packages", v.Packages)
	for i, of := range v.Platforms {
		if i == 0 {
			listed = ""
		} else {
			listed += ", "
		}
		listed += fmt.Sprintf("%s: %d packages", of.Platform, of.Packages)
	}
	return fmt.Sprintf(`## Verified %[1]s

|  |  |
| --- | --- |
| Signed by | %[2]s |
| Source | %[3]s at %[4]s |
| Builder | %[5]s |
| SBOM | %[6]s |
%[7]s`, v.Image, v.SignedBy, v.Origin.Repository, v.Origin.Revision, v.Origin.Builder, listed, v.proven())
}

// attestProgram is the program of ci/attest, a Go module of its own.
func (m *BackstageGitops) attestProgram() *dagger.File {
	return goContainer(m.Checkout.Filter(dagger.DirectoryFilterOpts{
		Include: []string{"go.mod", "go.sum", "ci/attest", "ci/git", "ci/image", "ci/imageref"},
		Exclude: []string{"**/*_test.go", "**/*.md"},
	})).
		WithWorkdir("ci/attest").
		WithExec([]string{"go", "build", "-ldflags", "-s -w", "-o", "/program", "./cmd/attest"}).
		File("/program")
}

// key serves the embedded signing key. It keeps the key from one run to the next.
func (m *BackstageGitops) key() *dagger.Service {
	return from(goImage).
		WithFile("/usr/local/bin/gitops", m.gitops()).
		With(m.storage("/srv/key", "key")).
		WithExposedPort(8200).
		AsService(dagger.ContainerAsServiceOpts{Args: []string{"gitops", "serve-key", "--dir", "/srv/key", "--listen", ":8200"}})
}

// open prepares the container in which the program runs.
func (a *attester) open(ctx context.Context) error {
	// It needs nothing of the Git remote.
	a.box = a.releaser.box.
		WithoutSecretVariable("GITOPS_TOKEN").
		WithoutSecretVariable("GITOPS_APP_KEY").
		WithFile("/usr/local/bin/attest", a.m.attestProgram())
	if !a.embeddedRegistry() {
		return nil
	}
	service, err := a.m.key().Start(ctx)
	if err != nil {
		return fmt.Errorf("start the embedded key: %w", err)
	}
	a.box = a.box.WithServiceBinding("key", service)
	return nil
}

// logFlag has the program enter signatures into the public log, or want them there.
const logFlag = "--transparency-log"

// errEmbeddedLog says that a signature which this engine alone can verify is not for the public.
var errEmbeddedLog = errors.New(logFlag + " is for the signatures of --signing-key: the embedded key's are in no public log; give a key, or leave the flag out")

// signing refuses what signs where it is given by half or twice: a part that is
// left out would leave the release unsigned.
func (m *BackstageGitops) signing() error {
	switch {
	case m.SigningKey == nil && m.SigningPassword != nil:
		return errors.New("--signing-password is given without --signing-key: give both, or neither")
	case (m.OidcURL == nil) != (m.OidcToken == nil):
		return errors.New("--oidc-url and --oidc-token go together: give both, or neither")
	case m.SigningKey != nil && m.OidcURL != nil:
		return errors.New("there is more than one thing to sign with: give --signing-key, or --oidc-url and --oidc-token")
	}
	return nil
}

// read reads the source as a releaser does, once it is clear what signs.
func (a *attester) read(ctx context.Context) error {
	if err := a.m.signing(); err != nil {
		return err
	}
	signs := a.m.SigningKey != nil || a.m.OidcURL != nil
	if a.m.TransparencyLog && !signs {
		return errEmbeddedLog
	}
	if !signs && !a.embeddedRegistry() && !a.target.unsigned {
		return fmt.Errorf("nothing signs the image %s: make a key with cosign generate-key-pair or attest generate-key-pair and give it as --signing-key, with --signing-password, sign as a job of GitHub Actions with --oidc-url and --oidc-token, or release it unsigned with --allow-unsigned", a.name())
	}
	return a.releaser.read(ctx)
}

// ready refuses a key or a job that cannot sign, before there is an image.
func (a *attester) ready(ctx context.Context) error {
	if a.m.SigningKey == nil && a.m.OidcURL == nil {
		return nil
	}
	if err := a.open(ctx); err != nil {
		return err
	}
	box, args := a.signer()
	var said json.RawMessage
	return runProgram(ctx, box, "attest", &said, append([]string{"signer"}, args...)...)
}

// writable finds out whether the registry would take what is to be published, the last
// thing before the work begins. What takes long of that begins here, all at once: the
// program that signs is large. It ends with the steps.
func (a *attester) writable(ctx context.Context) error {
	if err := a.releaser.writable(ctx); err != nil {
		return err
	}
	beside := func(run func() error) { go func() { _ = run() }() } // the step that needs it says what fails
	if a.digest == "" && len(a.target.platforms) == 0 {
		beside(func() error { _, err := a.m.image(a.source, "").Sync(ctx); return err })
	}
	beside(func() error { _, err := a.m.attestProgram().Sync(ctx); return err })
	return nil
}

// signer is how the program signs: with the given key, as the job of GitHub Actions,
// or with the embedded key; nothing where nothing signs.
func (a *attester) signer() (box *dagger.Container, args []string) {
	box = a.box
	switch {
	case a.m.SigningKey != nil:
		box = box.WithSecretVariable("GITOPS_SIGNING_KEY", a.m.SigningKey)
		if a.m.SigningPassword != nil {
			box = box.WithSecretVariable("GITOPS_SIGNING_PASSWORD", a.m.SigningPassword)
		}
		if a.m.TransparencyLog {
			args = []string{logFlag}
		}
	case a.m.OidcURL != nil:
		box = box.WithSecretVariable("ACTIONS_ID_TOKEN_REQUEST_URL", a.m.OidcURL).WithSecretVariable("ACTIONS_ID_TOKEN_REQUEST_TOKEN", a.m.OidcToken)
		args = []string{"--keyless"}
	case a.embeddedRegistry():
		args = []string{"--key-service", keyService}
	}
	return box, args
}

// ignoreFile lists vulnerabilities to ignore, in the checkout's root.
const ignoreFile = "vulnerabilities.yaml"

// scanning is how the program looks vulnerabilities up.
func (a *attester) scanning(ctx context.Context, box *dagger.Container) (_ *dagger.Container, args []string, err error) {
	m := a.m
	switch {
	case m.VulnerabilityDatabase != nil && m.VulnerabilityURL != "":
		return nil, nil, errors.New("there is more than one vulnerability database: give --vulnerability-database or --vulnerability-url")
	case m.VulnerabilityDatabase != nil:
		box, args = box.WithMountedDirectory("/vulnerabilities", m.VulnerabilityDatabase), []string{"--vulnerability-database", "/vulnerabilities"}
	case m.VulnerabilityURL != "":
		args = []string{"--vulnerability-database", m.VulnerabilityURL}
	}
	if m.FailOn != "" {
		args = append(args, "--fail-on", m.FailOn)
	}
	if m.RequireScan {
		args = append(args, "--require-scan")
	}
	listed, err := m.Repo.Exists(ctx, ignoreFile)
	if err != nil {
		return nil, nil, fmt.Errorf("look for %s: %w", ignoreFile, err)
	}
	if listed {
		args = append(args, "--ignore-vulnerabilities", ignoreFile)
	}
	return box, args, nil
}

// origin is where the image has to come from.
func (a *attester) origin(revision string) []string {
	from := origin{a.m.URL, a.m.Builder}
	if a.from != nil {
		from = *a.from
	}
	var args []string
	for _, of := range []struct{ flag, value string }{{"--repository", from.repository}, {"--builder", from.builder}, {"--revision", revision}} {
		if of.value != "" {
			args = append(args, of.flag, of.value)
		}
	}
	return args
}

// image is the published image, as the program reaches it.
func (a *attester) image() []string {
	return append([]string{a.reachable(a.name() + "@" + a.digest), "--name", a.name()}, a.access()...)
}

// scan looks up what an image is made of that is released already, as attest does of
// a new one, where anything asks for that.
func (a *attester) scan(ctx context.Context) error {
	if m := a.m; m.VulnerabilityDatabase == nil && m.VulnerabilityURL == "" && m.FailOn == "" && !m.RequireScan {
		return nil
	}
	if err := a.open(ctx); err != nil {
		return err
	}
	box, look, err := a.scanning(ctx, anew(a.box))
	if err != nil {
		return err
	}
	var said json.RawMessage
	if err := runProgram(ctx, box, "attest", &said, append(append([]string{"scan"}, a.image()...), look...)...); err != nil {
		a.facts["outcome"] = "failed" // and not published: it was before
		return fmt.Errorf("%w: the chart names this image already, and nothing was changed", err)
	}
	a.facts["scan"] = said
	return nil
}

// attest lists what the image is made of, and signs it.
func (a *attester) attest(ctx context.Context) error {
	if a.built == nil {
		return a.scan(ctx) // seen by released
	}
	if err := a.open(ctx); err != nil {
		return err
	}
	box, args := a.signer()
	box, look, err := a.scanning(ctx, box)
	if err != nil {
		return err
	}
	args = append(args, look...)
	for _, path := range a.source.Inputs {
		args = append(args, "--input", path)
	}
	for _, base := range []string{nodeImage, slimImage} {
		pinned, err := dag.Container().From(base).ImageRef(ctx)
		if err != nil {
			return fmt.Errorf("read the digest of %s: %w", base, err)
		}
		args = append(args, "--base", pinned)
	}
	var said json.RawMessage
	err = runProgram(ctx, box, "attest", &said, append(append([]string{"image"}, append(a.image(), a.origin(a.source.InputsRevision)...)...), args...)...)
	if err == nil {
		err = json.Unmarshal(said, &a.made)
	}
	if err != nil {
		return fmt.Errorf("%w: the image %s@%s is published, nothing was committed", err, a.name(), a.digest)
	}
	a.facts["attestation"] = said
	return nil
}

// verify refuses an image that is not what was signed, before anything names it.
func (a *attester) verify(ctx context.Context) error {
	if a.built == nil || !a.made.Signed && a.target.unsigned {
		return nil
	}
	if !a.made.Signed {
		return fmt.Errorf("the image %s@%s is not signed: nothing was committed", a.name(), a.digest)
	}
	args := []string{"--identity", a.made.SignedBy}
	if a.made.PublicKey != "" {
		a.box, args = a.box.WithNewFile("/key.pub", a.made.PublicKey), []string{"--key", "/key.pub"}
	}
	if a.m.TransparencyLog && a.made.PublicKey != "" {
		args = append(args, logFlag)
	}
	// All layers were read for the SBOMs.
	said, err := a.look(ctx, a.source.InputsRevision, append(args, "--layers=false")...)
	if err != nil {
		return fmt.Errorf("%w: nothing was committed", err)
	}
	a.facts["verification"] = said
	return nil
}

// look runs the program's verification. What it has found once may have changed since.
func (a *attester) look(ctx context.Context, revision string, args ...string) (said json.RawMessage, err error) {
	err = runProgram(ctx, anew(a.box), "attest", &said, append(append([]string{"verify-release"}, append(a.image(), a.origin(revision)...)...), args...)...)
	return said, err
}

// last finds the image that the chart on the Git remote's branch names.
func (r *releaser) last(ctx context.Context) error {
	clone := r.box.WithExec([]string{"git", "clone", "--quiet", "--branch", r.target.branch, r.target.remote, "/last"},
		dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
	if failure, err := failureOf(ctx, clone); err != nil || failure != "" {
		return errors.Join(fmt.Errorf("no release to verify: %s has no branch %s yet; release first, or say --image", r.target.remote, r.target.branch), err)
	}
	var tip struct{ Chart struct{ Digest string } }
	if err := run(ctx, clone, &tip, "source", "--repo", "/last"); err != nil {
		return err
	}
	if r.digest = tip.Chart.Digest; r.digest == "" {
		return fmt.Errorf("no release to verify: the chart on %s of %s names no image by its digest; release first, or say --image", r.target.branch, r.target.remote)
	}
	return nil
}

// untagged is an image's name without its tag.
func untagged(name string) string {
	if at := strings.LastIndex(name, ":"); at > strings.LastIndex(name, "/") {
		return name[:at]
	}
	return name
}
