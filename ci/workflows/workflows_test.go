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
	for _, name := range []string{"ci", "release"} {
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
			for id, job := range workflow.Jobs {
				var calls []string
				for _, step := range job.Steps {
					// What tells of a failure calls nothing.
					if run, ok := step.Exec.(*actionlint.ExecRun); ok && (step.If == nil || step.If.Value != "failure()") {
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

// uses matches any reference to an action or a reusable workflow; pinned is how it has to look.
var (
	uses   = regexp.MustCompile(`(?m)^\s*-?\s*uses:.*$`)
	pinned = regexp.MustCompile(`^\s*-?\s*uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
)

// A release commits to the branch whose pushes start it. Three things keep that from going round: the commit's message,
// here; the paths it changes, below; and that a release of it finds nothing to do, which ci/acceptance and ci/workflows/act
// show with real ones.
func TestReleaseSaysThatItStartsNothing(t *testing.T) {
	t.Parallel()
	message := commit.Release{Chart: "charts/backstage", Image: "docker.io/user/portal", Pin: bump.Pin{Tag: "1.2.3", Digest: "sha256:0"}}.Message()
	// https://docs.github.com/en/actions/how-tos/manage-workflow-runs/skip-workflow-runs
	if title, _, _ := strings.Cut(message, "\n"); !strings.HasSuffix(title, " [skip ci]") {
		t.Errorf("%q starts workflows", title)
	}
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
		if !ok || step.If != nil {
			continue
		}
		for _, secret := range []string{"--password env://DOCKERHUB_TOKEN", "--token env://GITHUB_TOKEN"} {
			if !strings.Contains(run.Run.Value, secret) {
				t.Errorf("the call lacks %s", secret)
			}
		}
	}
}

// The scripts of a release are run as GitHub's runner does, with something in the place of daggerw that prints what
// the Dagger CLI does.
func TestReleaseWritesTheJobSummary(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		cli     string
		fails   bool
		summary string
	}{
		"released": {
			cli:     `echo "1 : connect DONE" >&2; echo "## Released"; echo "2 : release DONE" >&2`,
			summary: "## Released\n",
		},
		"failed": {
			cli:     `echo "1 : ! the registry says no" >&2; printf "Error: the registry says no\n\n## Release failed\n" >&2; exit 1`,
			fails:   true,
			summary: "Error: the registry says no\n\n## Release failed\n",
		},
	}
	_, steps := steps(t, files(t)["release"])
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "daggerw"), []byte("#!/bin/sh\n"+c.cli+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			summary := filepath.Join(dir, "summary.md")
			failed := false
			for _, step := range steps {
				script, ok := step.Exec.(*actionlint.ExecRun)
				if !ok || step.If != nil && !failed {
					continue
				}
				shell := []string{"-e", "-c"}
				if script.Shell != nil && script.Shell.Value == "bash" {
					shell = []string{"--noprofile", "--norc", "-eo", "pipefail", "-c"}
				}
				cmd := exec.CommandContext(t.Context(), "bash", append(shell, script.Run.Value)...)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "GITHUB_STEP_SUMMARY="+summary, "RUNNER_TEMP="+dir)
				output, err := cmd.CombinedOutput()
				if err != nil && step.If != nil {
					t.Fatalf("%s: %v\n%s", script.Run.Value, err, output)
				}
				failed = failed || err != nil
			}
			if failed != c.fails {
				t.Errorf("the job failed: %t, want %t", failed, c.fails)
			}
			written, err := os.ReadFile(summary)
			if err != nil {
				t.Fatal(err)
			}
			if string(written) != c.summary {
				t.Errorf("the summary is %q, want %q", written, c.summary)
			}
		})
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
				if !ok || step.If != nil {
					continue
				}
				cmd := exec.CommandContext(t.Context(), "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script.Run.Value)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "GITHUB_STEP_SUMMARY="+filepath.Join(dir, "summary.md"), "RUNNER_TEMP="+dir, "APP_KEY=",
					"REMOTE=https://github.com/acme/portal.git", "RELEASE_WORKFLOW="+workflow, "COSIGN_KEY=",
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
