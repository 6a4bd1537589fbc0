package acceptance

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// A commit that GitHub makes has the tree of the release's own, and where its branch is protected it waits in a pull
// request. GitHub is a stand-in here, which stores into real repositories.
func TestCommitByGitHub(t *testing.T) {
	t.Parallel()
	token := "canary-token-" + rand.Text()
	head := git(t, project, "rev-parse", "HEAD")
	for protected, outcome := range map[string]string{"": "released", "main": "proposed"} {
		t.Run(outcome, func(t *testing.T) {
			t.Parallel()
			hub := startGitHub(t, token, protected)
			git(t, project, "push", "--quiet", hub.repository, "HEAD:refs/heads/main")
			done, err := release(t, module{}, fmt.Sprintf(`commitBy: "github", remote: "http://%s/acme/portal.git", token: $token`, hub.address), secret(t, "token", token))
			if err != nil {
				t.Fatal(err)
			}
			if done.Outcome != outcome {
				t.Errorf("it ended with %q, want %q", done.Outcome, outcome)
			}
			branch := "main"
			if protected != "" {
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
			if changed := git(t, hub.repository, "diff", "--name-only", head, done.Commit); changed != "charts/backstage/Chart.yaml\ncharts/backstage/values.yaml" {
				t.Errorf("the commit changes %q", changed)
			}
			git(t, hub.repository, "fsck", "--strict")
			for _, said := range []string{done.Summary, done.Report.JSON.Contents, done.Report.Markdown.Contents, hub.log.String()} {
				if strings.Contains(said, token) {
					t.Errorf("the token is in this:\n%s", strings.ReplaceAll(said, token, "CANARY"))
				}
			}
		})
	}
}

// startGitHub runs a GitHub with one repository, for one token, and maybe a protected branch.
func startGitHub(t *testing.T, token, protected string) server {
	t.Helper()
	root, address := t.TempDir(), freeAddress(t)
	s := server{address: address, repository: filepath.Join(root, "acme/portal.git")}
	s.log = start(t, "http://"+address+"/", []string{"GITOPS_TOKEN=" + token},
		"fakegithub", "--root", root, "--create", "acme/portal", "--listen", address, "--protected", protected)
	return s
}
