// Package act runs the workflows of .github/workflows as GitHub's runner would, with act, on this machine: against a
// GitHub of ci/github/githubtest and the registry that is embedded in the engine. See README.md.
package act

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const repository = "backstage-gitops/backstage-gitops"

// A push to main is released by a GitHub App: image, signature, proof, and a commit that GitHub makes. A release of that
// commit, with the job's own token, finds nothing to do, which is the last of three things that keep workflows from going
// round. Then the image, whose signature is verified, is promoted by the App. A key signs: no authority of Sigstore
// certifies a runner of act.
func TestRelease(t *testing.T) {
	g := newGitHub(t)
	// An image of its own: the embedded registry may hold one of HEAD, which names another repository.
	g.change("main", "backstage/README.md", "\n<!-- "+rand.Text()+" -->\n")
	head := g.git("rev-parse", "main")
	g.signingKey()
	app := append(slices.Clone(variables), "--var", "APP_ID=7", "--var", "APP_INSTALLATION_ID=9")

	g.secrets["APP_KEY"] = g.appKey
	log := g.run("release.yml", "push", map[string]any{"ref": "refs/heads/main"}, app...)
	tip := g.git("rev-parse", "main")
	if got := g.git("rev-list", "--count", head+"..main"); got != "1" {
		t.Fatalf("main has %s commits more, want the release's one", got)
	}
	if message := g.git("log", "-1", "--format=%B", "main"); !strings.Contains(strings.Split(message, "\n")[0], "[skip ci]") || !strings.Contains(message, "Source-Revision: "+head) {
		t.Errorf("the commit says\n%s", message)
	}
	for changed := range strings.FieldsSeq(g.git("diff", "--name-only", head, tip)) {
		if !strings.HasPrefix(changed, "charts/") {
			t.Errorf("the commit changes %s, which would start another release", changed)
		}
	}
	if author := g.git("log", "-1", "--format=%an, %cn", "main"); author != "app-7[bot], GitHub" {
		t.Errorf("author and committer are %s", author)
	}
	if out := g.git("fsck", "--strict", "--no-dangling"); out != "" {
		t.Errorf("git fsck: %s", out)
	}
	digest := regexp.MustCompile(`(?m)^  digest: "?(sha256:[0-9a-f]{64})`).FindStringSubmatch(g.git("show", "main:charts/backstage/values.yaml"))
	if digest == nil || !strings.Contains(log.summary(), "## Released") || !strings.Contains(log.summary(), digest[1]) {
		t.Errorf("the job's summary does not tell of %q:\n%s", digest, log.summary())
	}
	if out := log.outputs(); digest != nil && (out["released"] != "true" || out["digest"] != digest[1] || out["image"] != "localhost:5000/backstage-gitops@"+digest[1] || out["commit"] != tip || out["tag"] == "") {
		t.Errorf("the outputs are %v", out)
	}
	for _, kept := range []string{"report.json", "report.md", "release.proof.json", "proof/proof.json"} {
		g.kept("release", kept)
	}
	if !strings.Contains(log.summary(), "signature, provenance and SBOM, before the commit") {
		t.Errorf("the release is not signed:\n%s", log.summary())
	}

	delete(g.secrets, "APP_KEY")
	log = g.run("release.yml", "push", map[string]any{"ref": "refs/heads/main"}, variables...)
	if !strings.Contains(log.summary(), "## Nothing to release") {
		t.Errorf("the release of a release says\n%s", log.summary())
	}
	if again := g.git("rev-parse", "main"); again != tip {
		t.Errorf("main went on to %s", again)
	}
	if out := log.outputs(); out["released"] != "false" || digest != nil && out["digest"] != digest[1] {
		t.Errorf("the outputs of the release of a release are %v", out)
	}

	// What was released goes on to the next environment, once somebody says that it runs well in the first one.
	g.secrets["APP_KEY"] = g.appKey
	promotion := func(running string) map[string]any {
		return map[string]any{"ref": "refs/heads/main", "inputs": map[string]any{
			"from": "dev", "to": "staging", "commit-by": "pull-request", "running": running, "allow-unproven": false, "allow-downgrade": false, "allow-unverified": false,
		}}
	}
	log = g.fails("promote.yml", "workflow_dispatch", promotion(""), app...)
	if !strings.HasPrefix(log.summary(), "## Promotion failed\n") || !strings.Contains(log.summary(), "not proven: nobody asked Argo CD") {
		t.Errorf("the summary of the promotion that nothing proves is\n%s", log.summary())
	}
	if digest == nil {
		t.FailNow()
	}
	log = g.run("promote.yml", "workflow_dispatch", promotion(`{"application": "backstage-dev", "sync": "Synced", "health": "Healthy", "pods": [
		{"name": "a", "current": true, "containers": [{"name": "backend", "imageID": "r/a@`+digest[1]+`", "ready": true}]}]}`), app...)
	if !strings.Contains(log.summary(), "## Promoted") || !strings.Contains(log.summary(), "/pull/1") || !strings.Contains(log.summary(), "### Verified ") {
		t.Errorf("the summary of the promotion is\n%s", log.summary())
	}
	const promoted = "charts/gitops/environments/staging.yaml"
	if got := g.git("diff", "--name-only", "main", "promote/staging"); got != promoted {
		t.Errorf("the pull request changes %s", got)
	}
	if digest != nil && !strings.Contains(g.git("show", "promote/staging:"+promoted), digest[1]) {
		t.Errorf("the pull request does not name %s", digest[1])
	}
	if author := g.git("log", "-1", "--format=%an, %cn", "promote/staging"); author != "app-7[bot], GitHub" {
		t.Errorf("author and committer of the promotion are %s", author)
	}
}

// variables are those of a repository whose images go to the registry that is embedded in the engine.
var variables = []string{"--var", "DOCKERHUB_USERNAME=somebody", "--var", "IMAGE=localhost:5000/backstage-gitops"}

// A release that is taken back: a commit that GitHub makes, on top of the release's, with the image of the one before.
func TestRollback(t *testing.T) {
	g := newGitHub(t)
	g.signingKey()
	push := map[string]any{"ref": "refs/heads/main"}
	var digests []string
	for range 2 {
		g.change("main", "backstage/README.md", "\n<!-- "+rand.Text()+" -->\n")
		digests = append(digests, g.run("release.yml", "push", push, variables...).outputs()["digest"])
	}
	last := g.git("rev-parse", "main")
	// GitHub hands all inputs on as text.
	by := func(how string, finish bool) map[string]any {
		return map[string]any{"ref": "refs/heads/main", "inputs": map[string]any{"commit-by": how, "finish": strconv.FormatBool(finish), "allow-unverified": "false"}}
	}
	// Nothing is taken back yet.
	if log := g.run("rollback.yml", "workflow_dispatch", by("github", true), variables...); !strings.HasPrefix(log.summary(), "## Nothing to finish\n") {
		t.Errorf("the summary of what there is not to finish is\n%s", log.summary())
	}
	log := g.run("rollback.yml", "workflow_dispatch", by("github", false), variables...)
	tip := g.git("rev-parse", "main")
	if out := log.outputs(); out["commit"] != tip || out["digest"] != digests[0] || !strings.HasPrefix(log.summary(), "## Rolled back to ") {
		t.Errorf("main is at %s, the outputs are %v, the summary is\n%s", tip, out, log.summary())
	}
	if got := g.git("log", "-1", "--format=%P %an, %cn %s", "main"); !strings.HasPrefix(got, last+" github-actions[bot], GitHub revert: release ") || !strings.HasSuffix(got, " [skip ci]") {
		t.Errorf("the commit is %s", got)
	}
	if values := g.git("show", "main:charts/backstage/values.yaml"); !strings.Contains(values, digests[0]) {
		t.Errorf("the chart does not name %s:\n%s", digests[0], values)
	}
	g.kept("rollback", "report.md")
	g.kept("rollback", "revert.json")

	// Nothing was released before the first release that has a digest.
	log = g.fails("rollback.yml", "workflow_dispatch", by("github", false), variables...)
	if !strings.HasPrefix(log.summary(), "## Rollback failed\n") || g.git("rev-parse", "main") != tip {
		t.Errorf("the summary of a rollback to nothing is\n%s", log.summary())
	}
}

// Where main takes pull requests only a release waits in one. Its merge starts the release that completes it, and that one
// finds nothing else to do.
func TestProtected(t *testing.T) {
	g := newGitHub(t, "--protected", "main")
	g.signingKey()
	head := g.git("rev-parse", "main")
	log := g.run("release.yml", "push", map[string]any{"ref": "refs/heads/main"}, variables...)
	if out := log.outputs(); !strings.HasPrefix(log.summary(), "## Proposed ") || out["released"] != "false" || out["commit"] != g.git("rev-parse", "gitops/backstage/main") || g.git("rev-parse", "main") != head {
		t.Errorf("the outputs are %v, the summary is\n%s", out, log.summary())
	}
	g.api(http.MethodPut, "/pulls/1/merge", map[string]string{"merge_method": "merge"}, &struct{}{})
	merged := g.git("rev-parse", "main")
	if merged == head {
		t.Fatal("nothing was merged")
	}
	g.run("finish.yml", "pull_request", closed("gitops/backstage/main", repository, true), variables...)
	if started := g.started(); !slices.Equal(started, []string{"release.yml"}) {
		t.Errorf("the merge started %q", started)
	}
	log = g.run("release.yml", "workflow_dispatch", map[string]any{"ref": "refs/heads/main"}, variables...)
	if !strings.HasPrefix(log.summary(), "## Nothing to release") || g.git("rev-parse", "main") != merged {
		t.Errorf("the summary of what completes the release is\n%s", log.summary())
	}
	g.kept("release", "release.proof.json")
	// Another branch is not released, by hand either.
	g.skips("release.yml", "workflow_dispatch", map[string]any{"ref": "refs/heads/topic"}, variables...)
}

// closed is the event of a pull request's end.
func closed(head, owner string, merged bool) map[string]any {
	return map[string]any{"action": "closed", "number": 1, "pull_request": map[string]any{
		"number": 1, "merged": merged, "base": map[string]any{"ref": "main"},
		"head": map[string]any{"ref": head, "repo": map[string]any{"full_name": owner}},
	}}
}

// Only the merge of a release or a rollback of the repository itself starts anything.
func TestFinish(t *testing.T) {
	g := newGitHub(t)
	for _, event := range []map[string]any{
		closed("gitops/backstage/main", "somebody/fork", true),
		closed("gitops/backstage/main", repository, false),
		closed("promote/staging", repository, true),
		closed("topic", repository, true),
	} {
		g.skips("finish.yml", "pull_request", event, variables...)
	}
	g.skips("finish.yml", "pull_request", closed("gitops/backstage/main", repository, true))
	if started := g.started(); len(started) != 0 {
		t.Errorf("it started %q", started)
	}
	g.run("finish.yml", "pull_request", closed("gitops/backstage/main", repository, true), variables...)
	g.run("finish.yml", "pull_request", closed("rollback/backstage/main", repository, true), variables...)
	if started := g.started(); !slices.Equal(started, []string{"release.yml", "rollback.yml"}) {
		t.Errorf("it started %q", started)
	}
}

// A release that fails has its failing step first in the summary, and nothing is committed.
func TestReleaseFails(t *testing.T) {
	g := newGitHub(t)
	g.signingKey()
	g.secrets["COSIGN_PASSWORD"] = "canary-" + rand.Text()
	head := g.git("rev-parse", "main")
	log := g.fails("release.yml", "push", map[string]any{"ref": "refs/heads/main"}, variables...)
	if summary := log.summary(); !strings.HasPrefix(summary, "## Release failed") || !strings.Contains(strings.Join(strings.SplitN(summary, "\n", 6)[:5], "\n"), "**Check what signs** failed after ") || !strings.Contains(summary, "the password does not open the key") {
		t.Errorf("the summary is\n%s", summary)
	}
	if out := log.outputs(); out["released"] != "false" || out["commit"] != "" {
		t.Errorf("the outputs are %v", out)
	}
	if !slices.ContainsFunc(log, func(l line) bool { return l.Command == "add-mask" }) {
		t.Error("nothing is masked")
	}
	g.kept("release", "report.json")
	if tip := g.git("rev-parse", "main"); tip != head {
		t.Errorf("main went on to %s", tip)
	}
}

// A release of GitHub that a person publishes gives the image its version.
func TestPublishedRelease(t *testing.T) {
	g := newGitHub(t)
	g.signingKey()
	g.change("main", "backstage/README.md", "\n<!-- "+rand.Text()+" -->\n")
	g.git("tag", "v99.1.0", "main")
	log := g.run("release.yml", "release", map[string]any{"action": "published", "release": map[string]any{"tag_name": "v99.1.0"}}, variables...)
	if out := log.outputs(); out["tag"] != "99.1.0" || out["released"] != "true" || !strings.HasPrefix(log.summary(), "## Released `backstage-gitops:99.1.0`") {
		t.Errorf("the outputs are %v, the summary is\n%s", out, log.summary())
	}
	if values := g.git("show", "main:charts/backstage/values.yaml"); !strings.Contains(values, "99.1.0") {
		t.Errorf("the chart does not name the version:\n%s", values)
	}
}

// The proof by hand, of one fault; and one that cannot be made tells why.
func TestE2e(t *testing.T) {
	g := newGitHub(t)
	show := func(what string) map[string]any {
		return map[string]any{"ref": "refs/heads/main", "inputs": map[string]any{"show": what}}
	}
	log := g.fails("e2e.yml", "workflow_dispatch", show("--faults nothing-known"))
	if !strings.HasPrefix(log.summary(), "## Proof failed\n") || !strings.Contains(log.summary(), "nothing-known") {
		t.Errorf("the summary of a fault that nobody knows is\n%s", log.summary())
	}
	log = g.run("e2e.yml", "workflow_dispatch", show("--faults image-tag"))
	if log.summary() == "" || strings.Contains(log.summary(), "failed\n") {
		t.Errorf("the summary is\n%s", log.summary())
	}
	g.kept("e2e-*", "proof.json")
}

// A pull request gets one comment with what it renders differently; one of a fork gets none, as its token may only read.
func TestDiff(t *testing.T) {
	g := newGitHub(t)
	base := g.git("rev-parse", "main")
	g.change("change", "charts/gitops/environments/dev.yaml", "\n# changed\nlogLevel: debug\n")
	event := func(owner string) map[string]any {
		return map[string]any{"number": 1, "pull_request": map[string]any{
			"number": 1, "base": map[string]any{"ref": "main", "sha": base},
			"head": map[string]any{"ref": "change", "repo": map[string]any{"full_name": owner}},
		}}
	}
	g.post("/pulls", map[string]string{"title": "change", "head": "change", "base": "main"})

	log := g.run("ci.yml", "pull_request", event("somebody/fork"), "--job", "diff")
	if !strings.Contains(log.summary(), "### What this changes in each environment") {
		t.Errorf("the summary of a fork's pull request is\n%s", log.summary())
	}
	if said := g.comments(); len(said) != 0 {
		t.Errorf("a fork's pull request got the comments %q", said)
	}
	for range 2 {
		log = g.run("ci.yml", "pull_request", event(repository), "--job", "diff")
		if said := g.comments(); len(said) != 1 || !strings.Contains(said[0], "| dev | 0 | ") || !strings.Contains(said[0], "+  ") || !strings.Contains(log.summary(), "| dev | 0 | ") {
			t.Errorf("the pull request got the comments %q, the summary is\n%s", said, log.summary())
		}
	}
}

// The checks of a push to main. This is all of ./daggerw check, and takes as long.
func TestCheck(t *testing.T) {
	newGitHub(t).run("ci.yml", "push", map[string]any{"ref": "refs/heads/main"})
}

// hub is a GitHub that holds this checkout, and a runner's working directory.
type hub struct {
	*testing.T
	url, token string
	// secrets are those of the repository, by name.
	secrets map[string]string
	// appKey is the private key of the GitHub App 7, whose installation is 9.
	appKey string
	// artifacts is where a run's are kept, by their names.
	artifacts string
	// dir is the repository in the hub, work a clone whose HEAD is the commit of the run.
	dir, work string
	act       string
}

// newGitHub has a GitHub with HEAD of this checkout as its main; arguments are more of fakegithub's.
func newGitHub(t *testing.T, arguments ...string) *hub {
	t.Helper()
	project, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	bin, root := t.TempDir(), t.TempDir()
	g := &hub{T: t, token: "canary-" + rand.Text(), secrets: map[string]string{"DOCKERHUB_TOKEN": "canary-password"}, dir: filepath.Join(root, repository+".git"), work: filepath.Join(t.TempDir(), "work"), act: filepath.Join(bin, "act")}
	g.command(".", nil, "go", "build", "-o", g.act, "github.com/nektos/act")
	g.command(project, nil, "go", "build", "-o", bin, "./ci/github/githubtest/cmd/fakegithub")
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	publicKey := filepath.Join(bin, "app.pub")
	if err := os.WriteFile(publicKey, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600); err != nil {
		t.Fatal(err)
	}
	g.appKey = string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)}))

	address := freeAddress(t)
	g.url = "http://" + address
	hub := exec.CommandContext(t.Context(), filepath.Join(bin, "fakegithub"), append([]string{"--root", root, "--create", repository, "--listen", address, "--app-key", publicKey}, arguments...)...)
	hub.Env = append(os.Environ(), "GITOPS_TOKEN="+g.token)
	hub.Stderr = t.Output()
	hub.Cancel = func() error { return hub.Process.Signal(os.Interrupt) }
	hub.WaitDelay = 10 * time.Second
	if err := hub.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hub.Wait() })
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the GitHub does not start")
		}
	}
	g.command(project, nil, "git", "push", "--quiet", g.dir, "HEAD:refs/heads/main", "--tags")
	g.command(root, nil, "git", "clone", "--quiet", "--branch", "main", g.dir, g.work)
	return g
}

// signingKey gives the repository a key of cosign and its password.
func (g *hub) signingKey() {
	g.Helper()
	dir := g.TempDir()
	g.secrets["COSIGN_PASSWORD"] = "canary-" + rand.Text()
	attest, err := filepath.Abs("../../attest")
	if err != nil {
		g.Fatal(err)
	}
	g.command(attest, []string{"GITOPS_SIGNING_PASSWORD=" + g.secrets["COSIGN_PASSWORD"]}, "go", "run", "./cmd/attest", "generate-key-pair", "--output-key-prefix", filepath.Join(dir, "cosign"))
	text, err := os.ReadFile(filepath.Join(dir, "cosign.key"))
	if err != nil {
		g.Fatal(err)
	}
	g.secrets["COSIGN_KEY"] = string(text)
}

// change pushes a commit on a branch, main or another, which is the commit of the runs then.
func (g *hub) change(branch, file, text string) {
	g.Helper()
	// On top of what a release has committed there meanwhile, if there is such a branch.
	tip := "HEAD"
	if exec.CommandContext(g.Context(), "git", "-C", g.work, "fetch", "--quiet", g.dir, branch).Run() == nil {
		tip = "FETCH_HEAD"
	}
	g.command(g.work, nil, "git", "checkout", "--quiet", "-B", branch, tip)
	old, err := os.ReadFile(filepath.Join(g.work, file))
	if err != nil {
		g.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(g.work, file), append(old, text...), 0o644); err != nil {
		g.Fatal(err)
	}
	for _, args := range [][]string{
		{"-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--all", "--message", "change"},
		{"push", "--quiet", g.dir, branch},
	} {
		g.command(g.work, nil, "git", args...)
	}
}

// git asks the repository in the hub.
func (g *hub) git(args ...string) string {
	g.Helper()
	return g.command(g.dir, nil, "git", args...)
}

func (g *hub) command(dir string, env []string, name string, args ...string) string {
	g.Helper()
	cmd := exec.CommandContext(g.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		g.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// run runs a workflow for the tip of the working directory's branch, and fails the test where it is not green.
func (g *hub) run(workflow, event string, payload map[string]any, args ...string) lines {
	g.Helper()
	log, err := g.start(workflow, event, payload, args...)
	if err != nil {
		g.Fatalf("%s is not green: %v", workflow, err)
	}
	if !log.ended("success") {
		g.Fatalf("%s has run no job", workflow)
	}
	return log
}

// fails runs a workflow whose job has to fail.
func (g *hub) fails(workflow, event string, payload map[string]any, args ...string) lines {
	g.Helper()
	log, err := g.start(workflow, event, payload, args...)
	if err == nil || !log.ended("failure") {
		g.Fatalf("%s has not failed: %v", workflow, err)
	}
	return log
}

// skips runs a workflow whose job has nothing to do.
func (g *hub) skips(workflow, event string, payload map[string]any, args ...string) {
	g.Helper()
	log, err := g.start(workflow, event, payload, args...)
	if err != nil || log.ended("success") || log.ended("failure") {
		g.Fatalf("%s has run for %v: %v", workflow, payload, err)
	}
}

func (g *hub) start(workflow, event string, payload map[string]any, args ...string) (lines, error) {
	g.Helper()
	g.command(g.work, nil, "git", "pull", "--quiet", "--ff-only", g.dir, g.command(g.work, nil, "git", "branch", "--show-current"))
	g.artifacts = g.TempDir()
	content, err := json.Marshal(payload)
	if err != nil {
		g.Fatal(err)
	}
	eventFile := filepath.Join(g.TempDir(), "event.json")
	if err := os.WriteFile(eventFile, content, 0o600); err != nil {
		g.Fatal(err)
	}
	cmd := exec.CommandContext(g.Context(), g.act, append([]string{
		event, "--workflows", filepath.Join(".github/workflows", workflow), "--eventpath", eventFile,
		"--platform", "ubuntu-24.04=-self-hosted", "--json", "--no-cache-server",
		"--action-cache-path", g.TempDir(),
		"--no-skip-checkout", "--env", "ARTIFACTS=" + g.artifacts,
		"--secret", "GITHUB_TOKEN",
		"--env", "GITHUB_SERVER_URL=" + g.url, "--env", "GITHUB_API_URL=" + g.url + "/api/v3", "--env", "GITHUB_REPOSITORY=" + repository,
	}, args...)...)
	for _, standIn := range g.standIns() {
		cmd.Args = append(cmd.Args, "--local-repository", standIn)
	}
	for name := range g.secrets {
		cmd.Args = append(cmd.Args, "--secret", name)
	}
	cmd.Dir = g.work
	// act gives steps a terminal, which GitHub's runner does not. The Dagger CLI has git look for the pull request's
	// head, and git would wait there for somebody to say who they are.
	cmd.Env = append(os.Environ(), "TERM=dumb", "GIT_TERMINAL_PROMPT=0", "GITHUB_TOKEN="+g.token)
	for name, text := range g.secrets {
		cmd.Env = append(cmd.Env, name+"="+text)
	}
	cmd.Stderr = g.Output()
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	out, err := cmd.StdoutPipe()
	if err != nil {
		g.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		g.Fatal(err)
	}
	log := g.read(out)
	return log, cmd.Wait()
}

var uses = regexp.MustCompile(`uses: ([\w.-]+/([\w.-]+)@[0-9a-f]{40})`)

// standIns are the actions in the workflows, and what stands in for each: a folder of its name.
func (g *hub) standIns() []string {
	g.Helper()
	files, err := filepath.Glob(filepath.Join(g.work, ".github/workflows/*.yml"))
	if err != nil || len(files) == 0 {
		g.Fatalf("no workflows: %v", err)
	}
	var all []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			g.Fatal(err)
		}
		for _, found := range uses.FindAllStringSubmatch(string(text), -1) {
			dir, err := filepath.Abs(found[2])
			if err != nil {
				g.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(dir, "action.yml")); err != nil {
				g.Fatalf("nothing stands in for %s: %v", found[1], err)
			}
			if standIn := found[1] + "=" + dir; !slices.Contains(all, standIn) {
				all = append(all, standIn)
			}
		}
	}
	return all
}

// kept fails the test where the last run's artifact has no such file. The artifact may be a pattern: act does not know
// which job of a matrix it runs.
func (g *hub) kept(artifact, file string) {
	g.Helper()
	found, err := filepath.Glob(filepath.Join(g.artifacts, artifact, file))
	if err != nil || len(found) != 1 {
		g.Errorf("%d artifacts %s have a file %s: %v", len(found), artifact, file, err)
	}
}

// started are the workflows that somebody has started by hand, through the API.
func (g *hub) started() []string {
	g.Helper()
	var runs struct {
		Runs []struct{ Path string } `json:"workflow_runs"`
	}
	g.api(http.MethodGet, "/actions/runs", nil, &runs)
	var all []string
	for _, r := range runs.Runs {
		all = append(all, filepath.Base(r.Path))
	}
	return all
}

// line is one of act's log.
type line struct{ Command, Content, Msg, JobResult, Name, Arg string }

type lines []line

// read reads the log and shows it as the test's. No line may hold a secret: GitHub's runner hides them, and so does act.
func (g *hub) read(out io.Reader) lines {
	var all lines
	scanner := bufio.NewScanner(out)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		var l line
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			l.Msg = scanner.Text()
		}
		text := scanner.Text()
		if l.Command == "add-mask" {
			text = l.Msg // act's own fields have what is to be masked, and what it shows has not
		}
		if name := g.secret(text); name != "" {
			g.Errorf("a line of the log holds the secret %s", name)
			continue
		}
		fmt.Fprintln(g.Output(), strings.TrimRight(l.Msg, "\n"))
		all = append(all, l)
	}
	if err := scanner.Err(); err != nil {
		g.Error(err)
	}
	return all
}

// secret is the name of a secret that a text holds, or of one of whose lines it does.
func (g *hub) secret(text string) string {
	if strings.Contains(text, g.token) {
		return "GITHUB_TOKEN"
	}
	for name, secret := range g.secrets {
		for line := range strings.Lines(secret) {
			// The last line of a key may be a few letters.
			if line = strings.TrimSpace(line); len(line) > 12 && !strings.HasPrefix(line, "-----") && strings.Contains(text, line) {
				return name
			}
		}
	}
	return ""
}

// summary is what the jobs have written to their summaries.
func (ls lines) summary() string {
	var text strings.Builder
	for _, l := range ls {
		if l.Command == "summary" {
			text.WriteString(l.Content)
		}
	}
	return text.String()
}

// outputs are those of the job's steps, the last of a name.
func (ls lines) outputs() map[string]string {
	all := map[string]string{}
	for _, l := range ls {
		if l.Command == "set-output" {
			all[l.Name] = l.Arg
		}
	}
	return all
}

// ended says whether a job has ended so.
func (ls lines) ended(result string) bool {
	return slices.ContainsFunc(ls, func(l line) bool { return l.JobResult == result })
}

// api asks the hub's API for something of the repository.
func (g *hub) api(method, path string, body, answer any) {
	g.Helper()
	content, err := json.Marshal(body)
	if err != nil {
		g.Fatal(err)
	}
	r, err := http.NewRequestWithContext(g.Context(), method, g.url+"/api/v3/repos/"+repository+path, bytes.NewReader(content))
	if err != nil {
		g.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+g.token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		g.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		g.Fatalf("%s %s answers %s", method, path, response.Status)
	}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		g.Fatal(err)
	}
}

func (g *hub) post(path string, body any) { g.api(http.MethodPost, path, body, &struct{}{}) }

// comments are those of the pull request.
func (g *hub) comments() []string {
	g.Helper()
	var said []struct{ Body string }
	g.api(http.MethodGet, "/issues/1/comments", nil, &said)
	var all []string
	for _, s := range said {
		all = append(all, s.Body)
	}
	return all
}

// freeAddress is one of this machine at which the engine's containers reach it.
func freeAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		network, ok := a.(*net.IPNet)
		if !ok || network.IP.IsLoopback() || network.IP.To4() == nil {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(network.IP.String(), "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	t.Fatal("this machine has no address but its loopback")
	return ""
}
