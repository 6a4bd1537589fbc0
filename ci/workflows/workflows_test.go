// Package workflows holds the workflows in .github/workflows to the rules of this repository: triggers, permissions,
// pinned actions and one call of daggerw each. It is tests only; actionlint, as a library, does the reading.
package workflows

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"

	"github.com/backstage-gitops/backstage-gitops/ci/bump"
	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
	"github.com/backstage-gitops/backstage-gitops/ci/source"
)

const dir = "../../.github/workflows"

// files maps the name of each workflow to its file.
func files(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, pattern := range []string{"*.yml", "*.yaml"} {
		matches, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range matches {
			found[strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))] = file
		}
	}
	for _, name := range []string{"ci", "e2e", "finish", "promote", "release", "rollback"} {
		if found[name] == "" {
			t.Fatalf("no workflow %s in %s", name, dir)
		}
	}
	return found
}

func TestActionlint(t *testing.T) {
	t.Parallel()
	for name, file := range files(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// No shellcheck: the result must not depend on what is installed.
			linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
			if err != nil {
				t.Fatal(err)
			}
			problems, err := linter.LintFile(file, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range problems {
				t.Error(p)
			}
		})
	}
}

// steps parses a workflow and lists the steps of all its jobs.
func steps(t *testing.T, file string) (*actionlint.Workflow, []*actionlint.Step) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	workflow, problems := actionlint.Parse(content)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var all []*actionlint.Step
	for _, job := range workflow.Jobs {
		all = append(all, job.Steps...)
	}
	return workflow, all
}

func TestRules(t *testing.T) {
	t.Parallel()
	for name, file := range files(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			workflow, _ := steps(t, file)
			if workflow.Concurrency == nil {
				t.Error("no concurrency: two runs could get into each other's way")
			}
			for id, job := range workflow.Jobs {
				if job.TimeoutMinutes == nil {
					t.Errorf("job %s may run for six hours", id)
				}
			}
			if name == "finish" {
				return // it starts others; see TestFinish
			}
			for id, job := range workflow.Jobs {
				var calls []string
				for _, step := range job.Steps {
					run, ok := step.Exec.(*actionlint.ExecRun)
					switch {
					case !ok:
					case strings.HasPrefix(run.Run.Value, tells), step.If != nil && step.If.Value == callFailed:
						// What tells of the call calls nothing.
					default:
						calls = append(calls, run.Run.Value)
					}
				}
				if len(calls) != 1 || !strings.HasPrefix(calls[0], "./daggerw ") {
					t.Errorf("job %s: scripts %q, want one call of ./daggerw", id, calls)
				}
			}
		})
	}
}

const (
	// tells is how the step begins that tells of a call that has a report, also where that is of a failure.
	tells = `"$RUNNER_TEMP/job/gitops" actions `
	// callFailed is the condition of the one that tells of a call without.
	callFailed = "failure() && steps.call.outcome == 'failure'"
)

// uses matches any reference to an action or a reusable workflow; pinned is how it has to look.
var (
	uses   = regexp.MustCompile(`(?m)^\s*-?\s*uses:.*$`)
	pinned = regexp.MustCompile(`^\s*-?\s*uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
)

// A release commits to the branch whose pushes start it. Three things keep that from going round: the commit's message; the
// paths it changes; and that a release of it finds nothing to do. ci/acceptance and ci/workflows/act show the last with
// real ones.
func TestReleaseSaysThatItStartsNothing(t *testing.T) {
	t.Parallel()
	repo, released := releasedCheckout(t)
	message, err := repo.Run(t.Context(), "log", "-1", "--format=%s", released.SHA)
	if err != nil {
		t.Fatal(err)
	}
	// https://docs.github.com/en/actions/how-tos/manage-workflow-runs/skip-workflow-runs
	if !strings.HasSuffix(message, " [skip ci]") {
		t.Errorf("%q starts workflows", message)
	}
}

func TestReleaseChangesIgnoredPaths(t *testing.T) {
	t.Parallel()
	repo, released := releasedCheckout(t)
	changed, err := repo.Run(t.Context(), "diff", "--name-only", released.Parent, released.SHA)
	if err != nil {
		t.Fatal(err)
	}
	if changed == "" {
		t.Error("it changes nothing")
	}
	workflow, _ := steps(t, files(t)["release"])
	for file := range strings.FieldsSeq(changed) {
		ignored := slices.ContainsFunc(workflow.On, func(e actionlint.Event) bool {
			hook, ok := e.(*actionlint.WebhookEvent)
			return ok && hook.Hook.Value == "push" && hook.PathsIgnore != nil && slices.ContainsFunc(hook.PathsIgnore.Values, func(p *actionlint.String) bool {
				folder, all := strings.CutSuffix(p.Value, "**")
				return all && strings.HasPrefix(file, folder)
			})
		})
		if !ignored {
			t.Errorf("it changes %s, and a push of that starts a release", file)
		}
	}
}

// The image's tag is that of its inputs, which the commit does not touch, so the chart names the image already.
func TestReleaseOfAReleaseFindsNothing(t *testing.T) {
	t.Parallel()
	repo, released := releasedCheckout(t)
	inputs := source.Options{App: "backstage", Chart: "charts/backstage", Inputs: []string{"backstage"}, Branch: "main"}
	before, err := source.Read(t.Context(), repo.Dir(), inputs)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Run(t.Context(), "checkout", "-q", "-B", "main", released.SHA); err != nil {
		t.Fatal(err)
	}
	after, err := source.Read(t.Context(), repo.Dir(), inputs)
	if err != nil {
		t.Fatal(err)
	}
	if after.Revision == before.Revision || after.Tag != before.Tag || after.InputsRevision != before.InputsRevision {
		t.Errorf("before the commit %+v, after it %+v: want another revision, and the same image", before, after)
	}
	again, err := commit.Create(t.Context(), repo.Dir(), "HEAD", theRelease)
	if err != nil || !again.Nothing || again.SHA != released.SHA {
		t.Errorf("the release of the release is %+v, %v; want nothing", again, err)
	}
}

var theRelease = commit.Release{Chart: "charts/backstage", Image: "docker.io/user/portal", Pin: bump.Pin{Tag: "1.2.3", Digest: "sha256:" + strings.Repeat("0", 64)}}

// releasedCheckout is a checkout on main, and the commit of a release of it.
func releasedCheckout(t *testing.T) (*git.Repo, commit.Commit) {
	t.Helper()
	dir := t.TempDir()
	repo := git.Open(dir)
	for name, text := range map[string]string{
		"backstage/packages/backend/package.json": "{}\n", "backstage/package.json": "{}\n", "backstage/yarn.lock": "\n", "backstage/packages/app/package.json": "{}\n",
		"charts/backstage/Chart.yaml":  "apiVersion: v2\nname: backstage\nversion: 0.1.0\nappVersion: \"0\"\n",
		"charts/backstage/values.yaml": "image:\n  registry: docker.io\n  repository: user/portal\n  tag: latest\n  digest: \"\"\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "feat: start"}} {
		if _, err := repo.Run(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	released, err := commit.Create(t.Context(), dir, "HEAD", theRelease)
	if err != nil {
		t.Fatal(err)
	}
	return repo, released
}

func TestReleaseDoesNotStartItself(t *testing.T) {
	t.Parallel()
	workflow, steps := steps(t, files(t)["release"])
	for _, event := range workflow.On {
		hook, ok := event.(*actionlint.WebhookEvent)
		// A person publishes a version.
		if ok && hook.Hook.Value == "release" && len(hook.Types) == 1 && hook.Types[0].Value == "published" {
			continue
		}
		// So does one by hand, of main, and finish.yml after a merge.
		if event.EventName() == "workflow_dispatch" {
			for id, job := range workflow.Jobs {
				if job.If == nil || !strings.HasSuffix(job.If.Value, "&& (github.event_name != 'workflow_dispatch' || github.ref == 'refs/heads/main')") {
					t.Errorf("%s is of other branches than main, by hand", id)
				}
			}
			continue
		}
		if !ok || hook.Hook.Value != "push" {
			t.Errorf("starts on %s, want pushes and published versions only", event.EventName())
			continue
		}
		if hook.Tags != nil {
			t.Error("starts on tags, which is nothing where the commit says [skip ci]")
		}
		if hook.PathsIgnore == nil || !slices.ContainsFunc(hook.PathsIgnore.Values, func(s *actionlint.String) bool {
			return s.Value == "charts/**"
		}) {
			t.Error("a push of charts/** starts it, and that is what it pushes")
		}
		if hook.Branches == nil || len(hook.Branches.Values) != 1 || hook.Branches.Values[0].Value != "main" {
			t.Error("starts on other branches than main")
		}
	}
	if cancel := workflow.Concurrency.CancelInProgress; cancel == nil || cancel.Value {
		t.Error("a second push cancels a release half-way")
	}
	if group := workflow.Concurrency.Group.Value; !strings.Contains(group, "github.ref") {
		t.Errorf("a version that waits in the group %q loses its place to the next push", group)
	}
	for _, step := range steps {
		run, ok := step.Exec.(*actionlint.ExecRun)
		if !ok || !strings.HasPrefix(run.Run.Value, "./daggerw ") {
			continue
		}
		for _, secret := range []string{"--password env://DOCKERHUB_TOKEN", "--token env://GITHUB_TOKEN"} {
			if !strings.Contains(run.Run.Value, secret) {
				t.Errorf("the call lacks %s", secret)
			}
		}
	}
}

// What signs, or has signed, is the key where the repository has one and else the workflow that releases; what signs in is
// the App where it has one, and else the token. The scripts are run with something in the place of daggerw that keeps its arguments: no secret is among them.
func TestSecrets(t *testing.T) {
	t.Parallel()
	const (
		canary   = "c4n4ry"
		workflow = "https://github.com/acme/portal/.github/workflows/release.yml"
	)
	key := []string{"--signing-key", "env://COSIGN_KEY", "--signing-password", "env://COSIGN_PASSWORD"}
	oidc := []string{"--oidc-url", "env://ACTIONS_ID_TOKEN_REQUEST_URL", "--oidc-token", "env://ACTIONS_ID_TOKEN_REQUEST_TOKEN"}
	identity := []string{"--identity", workflow}
	app := []string{"--app-id", "7", "--installation-id", "9", "--app-key", "env://APP_KEY"}
	cases := map[string]struct {
		workflow string
		key      bool
		want     [][]string
		not      []string
	}{
		"a release with a key":     {"release", true, [][]string{key}, oidc},
		"a release without one":    {"release", false, [][]string{oidc}, key},
		"a promotion with a key":   {"promote", true, [][]string{key}, identity},
		"a promotion without one":  {"promote", false, [][]string{identity}, key},
		"a rollback with a key":    {"rollback", true, [][]string{key}, identity},
		"a rollback without one":   {"rollback", false, [][]string{identity}, key},
		"a release by an App":      {"release", true, [][]string{app}, nil},
		"a promotion by an App":    {"promote", true, [][]string{app}, nil},
		"a rollback by an App":     {"rollback", true, [][]string{app}, nil},
		"a release by a token":     {"release", false, nil, app},
		"by a token":               {"promote", false, nil, app},
		"the API's address":        {"release", false, [][]string{{"--api-url", "https://github.com/api/v3"}}, nil},
		"what built the image":     {"release", false, [][]string{{"--builder", "https://github.com/acme/portal/.github/workflows/release.yml@refs/heads/main"}}, nil},
		"where the image is from":  {"promote", false, [][]string{{"--url", "https://github.com/acme/portal", "--builder", ""}}, nil},
		"where the image was from": {"rollback", false, [][]string{{"--url", "https://github.com/acme/portal", "--builder", ""}}, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, steps := steps(t, files(t)[c.workflow])
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "daggerw"), []byte("#!/bin/sh\nprintf '%s\\n' \"$@\" > arguments\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			for _, step := range steps {
				script, ok := step.Exec.(*actionlint.ExecRun)
				if !ok || !strings.HasPrefix(script.Run.Value, "./daggerw ") {
					continue
				}
				cmd := exec.CommandContext(t.Context(), "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script.Run.Value)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "GITHUB_STEP_SUMMARY="+filepath.Join(dir, "summary.md"), "RUNNER_TEMP="+dir, "APP_KEY=",
					"REMOTE=https://github.com/acme/portal.git", "GITHUB_API_URL=https://github.com/api/v3", "GITHUB_SERVER_URL=https://github.com",
					"GITHUB_WORKFLOW_REF=acme/portal/.github/workflows/release.yml@refs/heads/main", "KUBECONFIG_TEXT=", "RELEASE_WORKFLOW="+workflow, "COSIGN_KEY=",
					"DOCKERHUB_TOKEN="+canary, "GITHUB_TOKEN="+canary, "ACTIONS_ID_TOKEN_REQUEST_TOKEN="+canary, "ACTIONS_ID_TOKEN_REQUEST_URL="+canary)
				if c.key {
					cmd.Env = append(cmd.Env, "COSIGN_KEY="+canary+"\nof two lines", "COSIGN_PASSWORD="+canary,
						"APP_KEY="+canary, "APP_ID=7", "APP_INSTALLATION_ID=9")
				}
				if output, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", script.Run.Value, err, output)
				}
			}
			written, err := os.ReadFile(filepath.Join(dir, "arguments"))
			if err != nil {
				t.Fatal(err)
			}
			got := string(written)
			for _, want := range c.want {
				if !strings.Contains("\n"+got, "\n"+strings.Join(want, "\n")+"\n") {
					t.Errorf("%q are not among the arguments:\n%s", want, got)
				}
			}
			if len(c.not) > 0 && strings.Contains("\n"+got, "\n"+c.not[0]+"\n") {
				t.Errorf("%s is among the arguments:\n%s", c.not[0], got)
			}
			if strings.Contains(got, canary) {
				t.Errorf("a secret is among the arguments:\n%s", got)
			}
		})
	}
}
