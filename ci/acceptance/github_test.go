package acceptance

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A commit that GitHub makes, or takes from an App, has the tree of the release's own, and where its branch is protected
// it waits in a pull request. GitHub is a stand-in here, which stores into real repositories.
func TestCommitByGitHub(t *testing.T) {
	t.Parallel()
	head := git(t, project, "rev-parse", "HEAD")
	for name, c := range map[string]struct {
		by, protected, outcome, author string
		app, unsigned                  bool
		// more are arguments of a release, wanted what GitHub shows of its pull request.
		more   string
		wanted []string
		// builder is what builds, of whom whoever verifies the image need not know.
		builder string
	}{
		"by a token":       {by: "github", outcome: "released", author: "github-actions[bot]"},
		"signed by nobody": {by: "github", outcome: "released", author: "github-actions[bot]", unsigned: true},
		"as a pull request": {
			by: "pull-request", outcome: "proposed", author: "github-actions[bot]",
			more:   `, pullRequestTitle: "Release the portal", pullRequestLabels: ["release", "portal"]`,
			wanted: []string{`"title":"Release the portal"`, `"labels":[{"name":"release"},{"name":"portal"}]`, "| Image |"},
		},
		"to a protected branch": {by: "github", protected: "main", outcome: "proposed", author: "github-actions[bot]"},
		"by an App":             {by: "github", outcome: "released", author: "app-7[bot]", app: true, builder: "https://github.com/acme/portal/.github/workflows/release.yml@refs/heads/main"},
		"pushed by an App":      {by: "git", outcome: "released", author: "Backstage GitOps", app: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token := "canary-token-" + rand.Text()
			private, public := appKey(t)
			hub := startGitHub(t, token, c.protected, public)
			git(t, project, "push", "--quiet", hub.repository, "HEAD:refs/heads/main")
			arguments := fmt.Sprintf(`commitBy: %q, remote: "http://%s/acme/portal.git"`, c.by, hub.address) + c.more
			var (
				m      module
				signIn variable
			)
			if c.app {
				m.Settings, signIn = "appId: 7, installationId: 9, appKey: $appKey", secret(t, "appKey", private)
			} else {
				arguments, signIn = arguments+", token: $token", secret(t, "token", token)
			}
			password := "canary-password-" + rand.Text()
			if c.unsigned {
				arguments += ", allowUnsigned: true"
			} else {
				m.KeyPassword = "canary-key-" + rand.Text()
				m.Key, _ = keyPair(t, m.KeyPassword)
			}
			if c.builder != "" {
				m.Settings += fmt.Sprintf(", builder: %q", c.builder)
			}
			registry := startRegistry(t, "somebody", password)
			arguments += fmt.Sprintf(`, image: %q, username: "somebody", password: $password`, registry.address+"/portal")
			done, err := release(t, m, arguments, signIn, secret(t, "password", password))
			if err != nil {
				t.Fatal(err)
			}
			if done.Outcome != c.outcome {
				t.Errorf("it ended with %q, want %q", done.Outcome, c.outcome)
			}
			if unsigned := strings.Contains(done.Summary, "**not signed**"); unsigned != c.unsigned {
				t.Errorf("it says that it is not signed: %t, want %t:\n%s", unsigned, c.unsigned, done.Summary)
			}
			if c.wanted != nil {
				pulls := hub.pulls(t, token)
				for _, want := range c.wanted {
					if !strings.Contains(pulls, want) {
						t.Errorf("the pull request does not have %s:\n%s", want, pulls)
					}
				}
			}
			branch := "main"
			if done.Outcome == "proposed" {
				branch = "gitops/backstage/main"
				if tip := git(t, hub.repository, "rev-parse", "main"); tip != head {
					t.Errorf("the protected branch is at %s, want %s as before", tip, head)
				}
			}
			if tip := git(t, hub.repository, "rev-parse", branch); tip != done.Commit {
				t.Errorf("%s is at %s, want the release's commit %s", branch, tip, done.Commit)
			}
			if parent := git(t, hub.repository, "rev-parse", done.Commit+"^"); parent != head {
				t.Errorf("the commit is on top of %s, want %s", parent, head)
			}
			if author := git(t, hub.repository, "log", "-1", "--format=%an", done.Commit); author != c.author {
				t.Errorf("the commit is by %s, want %s", author, c.author)
			}
			if changed := git(t, hub.repository, "diff", "--name-only", head, done.Commit); changed != "charts/backstage/Chart.yaml\ncharts/backstage/values.yaml" {
				t.Errorf("the commit changes %q", changed)
			}
			if chart := done.document(t).ChartArtifact; chart.Digest == "" {
				t.Errorf("the report says of the chart %+v", chart)
			}
			git(t, hub.repository, "fsck", "--strict")
			if c.builder != "" {
				// Whoever has the key verifies it without another word, and refuses another builder where they give one.
				for settings, want := range map[string]string{"": "", fmt.Sprintf("builder: %q", c.builder): "", `builder: "https://example.com"`: "a provenance of another builder"} {
					said, err := verify(t, module{Key: m.Key, KeyPassword: m.KeyPassword, Settings: settings},
						fmt.Sprintf(`(image: %q, username: "somebody", password: $password)`, done.Image), secret(t, "password", password))
					switch {
					case want != "":
						refused(t, err, want)
					case err != nil || !strings.Contains(said, "| Builder | "+c.builder+" |"):
						t.Errorf("with %q it says %s, %v", settings, said, err)
					}
				}
			}
			secrets := []string{token, password, strings.Split(private, "\n")[1]}
			if !c.unsigned {
				secrets = append(secrets, m.KeyPassword)
			}
			for _, said := range []string{done.Summary, done.Report.JSON.Contents, done.Report.Markdown.Contents, hub.log.String()} {
				for _, secret := range append(secrets, "ghs_") {
					if strings.Contains(said, secret) {
						t.Errorf("a secret is in this:\n%s", strings.ReplaceAll(said, secret, "CANARY"))
					}
				}
			}
			for _, dir := range []string{registry.storage, hub.repository} {
				for _, secret := range secrets {
					holds(t, dir, secret)
				}
			}
		})
	}
}

// TestPermissions: what the token may not do is named before anything is built.
func TestPermissions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ by, permissions, want string }{
		"may read":             {"github", "contents=read", `the credential lacks a permission: grant it "contents: write"`},
		"may push and not ask": {"pull-request", "contents=write", `the credential lacks a permission: grant it "pull requests: write"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token := "canary-token-" + rand.Text()
			_, public := appKey(t)
			hub := startGitHub(t, token, "", public, "--permissions", c.permissions)
			git(t, project, "push", "--quiet", hub.repository, "HEAD:refs/heads/main")
			_, err := release(t, module{Ephemeral: true}, fmt.Sprintf(`commitBy: %q, remote: "http://%s/acme/portal.git", token: $token`, c.by, hub.address), secret(t, "token", token))
			refused(t, err, c.want)
			for _, text := range []string{token, "Build the image"} {
				if err != nil && strings.Contains(err.Error(), text) {
					t.Errorf("it says %q", text)
				}
			}
		})
	}
}

// pulls is what GitHub shows of the pull requests.
func (s server) pulls(t *testing.T, token string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.address+"/api/v3/repos/acme/portal/pulls", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// appKey makes the key of a GitHub App, and the file of its public half.
func appKey(t *testing.T) (private, public string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public = filepath.Join(t.TempDir(), "app.pub")
	if err := os.WriteFile(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})), public
}

// startGitHub runs a GitHub with one repository, for one token and the App of a key, and maybe a protected branch.
func startGitHub(t *testing.T, token, protected, appKey string, more ...string) server {
	t.Helper()
	root, address := t.TempDir(), freeAddress(t)
	s := server{address: address, repository: filepath.Join(root, "acme/portal.git")}
	s.log = start(t, "http://"+address+"/", []string{"GITOPS_TOKEN=" + token},
		"fakegithub", append([]string{"--root", root, "--create", "acme/portal", "--listen", address, "--protected", protected, "--app-key", appKey}, more...)...)
	return s
}
