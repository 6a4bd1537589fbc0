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
	variables := []string{"--var", "DOCKERHUB_USERNAME=somebody", "--var", "IMAGE=localhost:5000/backstage-gitops"}
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

	// What was released goes on to the next environment.
	g.secrets["APP_KEY"] = g.appKey
	log = g.run("promote.yml", "workflow_dispatch", map[string]any{"inputs": map[string]any{
		"from": "dev", "to": "staging", "commit-by": "pull-request", "allow-downgrade": false, "allow-unverified": false,
	}}, app...)
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
	// dir is the repository in the hub, work a clone whose HEAD is the commit of the run.
	dir, work string
	act       string
}

// newGitHub has a GitHub with HEAD of this checkout as its main.
func newGitHub(t *testing.T) *hub {
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
	hub := exec.CommandContext(t.Context(), filepath.Join(bin, "fakegithub"), "--root", root, "--create", repository, "--listen", address, "--app-key", publicKey)
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
	old, err := os.ReadFile(filepath.Join(g.work, file))
	if err != nil {
		g.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(g.work, file), append(old, text...), 0o644); err != nil {
		g.Fatal(err)
	}
	for _, args := range [][]string{
		{"checkout", "--quiet", "-B", branch},
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
	g.command(g.work, nil, "git", "pull", "--quiet", "--ff-only", g.dir, g.command(g.work, nil, "git", "branch", "--show-current"))
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
		"--no-skip-checkout", "--local-repository", g.checkout(),
		"--secret", "GITHUB_TOKEN",
		"--env", "GITHUB_SERVER_URL=" + g.url, "--env", "GITHUB_API_URL=" + g.url + "/api/v3", "--env", "GITHUB_REPOSITORY=" + repository,
	}, args...)...)
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
	if err := cmd.Wait(); err != nil {
		g.Fatalf("%s is not green: %v", workflow, err)
	}
	if !log.succeeded() {
		g.Fatalf("%s has run no job", workflow)
	}
	return log
}

var checkouts = regexp.MustCompile(`actions/checkout@[0-9a-f]{40}`)

// checkout is the reference to actions/checkout in the workflows, and what stands in for it.
func (g *hub) checkout() string {
	g.Helper()
	text, err := os.ReadFile(filepath.Join(g.work, ".github/workflows/ci.yml"))
	if err != nil {
		g.Fatal(err)
	}
	dir, err := filepath.Abs("checkout")
	if err != nil {
		g.Fatal(err)
	}
	return checkouts.FindString(string(text)) + "=" + dir
}

// line is one of act's log.
type line struct{ Command, Content, Msg, JobResult string }

type lines []line

// read reads the log and shows it as the test's. No line may hold a secret: GitHub's runner hides them, and so does act.
func (g *hub) read(out io.Reader) lines {
	var all lines
	scanner := bufio.NewScanner(out)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		if name := g.secret(scanner.Text()); name != "" {
			g.Errorf("a line of the log holds the secret %s", name)
			continue
		}
		var l line
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			l.Msg = scanner.Text()
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

func (ls lines) succeeded() bool {
	for _, l := range ls {
		if l.JobResult == "success" {
			return true
		}
	}
	return false
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
