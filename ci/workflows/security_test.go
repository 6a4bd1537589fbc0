package workflows

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
)

// The audits of zizmor that apply to workflows like these, by its names: https://docs.zizmor.sh/audits/. zizmor itself
// is written in Rust and is not served as a Go module.

// subject is a workflow that is audited.
type subject struct {
	*actionlint.Workflow
	text string
}

var audits = map[string]func(subject) []string{
	"unpinned-uses": func(s subject) []string {
		var found []string
		for _, line := range uses.FindAllString(s.text, -1) {
			if !pinned.MatchString(line) {
				found = append(found, strings.TrimSpace(line)+": pin the commit and name its version, owner/action@<40 hex> # v1.2.3")
			}
		}
		return found
	},
	"unpinned-images": func(s subject) []string {
		var found []string
		s.containers(func(c *actionlint.Container) {
			if c.Image != nil && !strings.Contains(c.Image.Value, "@sha256:") {
				found = append(found, c.Image.Value+": pin the image by digest")
			}
		})
		return found
	},
	"hardcoded-container-credentials": func(s subject) []string {
		var found []string
		s.containers(func(c *actionlint.Container) {
			if c.Credentials != nil && c.Credentials.Password != nil && !strings.Contains(c.Credentials.Password.Value, "${{ secrets.") {
				found = append(found, "a password is written down: take it from a secret")
			}
		})
		return found
	},
	"excessive-permissions": func(s subject) []string {
		if s.Permissions == nil {
			return []string{"without permissions the token may do what the repository's settings say: list them"}
		}
		found := broad(s.Permissions)
		for name, scope := range s.Permissions.Scopes {
			if scope.Value != nil && scope.Value.Value == "write" {
				found = append(found, name+": write is for every job: grant it to the job that needs it")
			}
		}
		for _, job := range s.Jobs {
			if job.Permissions != nil {
				found = append(found, broad(job.Permissions)...)
			}
		}
		return found
	},
	"template-injection": func(s subject) []string {
		var found []string
		s.steps(func(_ *actionlint.Job, step *actionlint.Step) {
			scripts := []*actionlint.String{}
			switch exec := step.Exec.(type) {
			case *actionlint.ExecRun:
				scripts = append(scripts, exec.Run)
			case *actionlint.ExecAction:
				if input := exec.Inputs["script"]; input != nil {
					scripts = append(scripts, input.Value)
				}
			}
			for _, script := range scripts {
				if strings.Contains(script.Value, "${{") {
					found = append(found, "an expression inside a script can inject into it, pass it by env: "+script.Value)
				}
			}
		})
		return found
	},
	"artipacked": func(s subject) []string {
		var found []string
		s.steps(func(_ *actionlint.Job, step *actionlint.Step) {
			exec, ok := step.Exec.(*actionlint.ExecAction)
			if !ok || !strings.HasPrefix(exec.Uses.Value, "actions/checkout@") {
				return
			}
			if input := exec.Inputs["persist-credentials"]; input == nil || input.Value.Value != "false" {
				found = append(found, "checkout leaves a token in .git/config: persist-credentials: false")
			}
		})
		return found
	},
	"dangerous-triggers": func(s subject) []string {
		var found []string
		for _, event := range s.On {
			if name := event.EventName(); name == "pull_request_target" || name == "workflow_run" {
				found = append(found, name+" runs with this repository's secrets on what a stranger sent")
			}
		}
		return found
	},
	"cache-poisoning": func(s subject) []string {
		if !s.publishes() {
			return nil
		}
		var found []string
		s.steps(func(_ *actionlint.Job, step *actionlint.Step) {
			exec, ok := step.Exec.(*actionlint.ExecAction)
			if !ok {
				return
			}
			action, _, _ := strings.Cut(exec.Uses.Value, "@")
			_, caches := exec.Inputs["cache"]
			if caches || action == "actions/cache" || strings.HasPrefix(action, "actions/cache/") {
				found = append(found, action+" restores what another run has written into what is published")
			}
		})
		return found
	},
	"self-hosted-runner": func(s subject) []string {
		var found []string
		for id, job := range s.Jobs {
			if job.RunsOn == nil { // a called workflow's
				continue
			}
			for _, label := range job.RunsOn.Labels {
				if label.Value == "self-hosted" {
					found = append(found, id+" runs where one pull request can wait for the next")
				}
			}
		}
		return found
	},
	"secrets-inherit": func(s subject) []string {
		for _, job := range s.Jobs {
			if job.WorkflowCall != nil && job.WorkflowCall.InheritSecrets {
				return []string{"every secret is passed on: name those that are needed"}
			}
		}
		return nil
	},
	"overprovisioned-secrets": func(s subject) []string {
		return matches(s.text, `(?i)toJSON\(\s*secrets\s*\)|secrets\[`, "the job gets all secrets: name those that are needed")
	},
	// Not one of zizmor's: GitHub keeps secrets from forks, and a job that wants them fails there.
	"secrets-to-pull-requests": func(s subject) []string {
		if !slices.ContainsFunc(s.On, func(e actionlint.Event) bool { return e.EventName() == "pull_request" }) {
			return nil
		}
		return matches(s.text, `secrets\.`, "a pull request's own code gets a secret")
	},
	// Not one of zizmor's: with the permission a job can sign as the workflow. Where a pull request starts it, its own
	// code would.
	"id-token": func(s subject) []string {
		var found []string
		pulled := slices.ContainsFunc(s.On, func(e actionlint.Event) bool { return strings.HasPrefix(e.EventName(), "pull_request") })
		for id, job := range s.Jobs {
			signs := slices.ContainsFunc(job.Steps, func(step *actionlint.Step) bool {
				run, ok := step.Exec.(*actionlint.ExecRun)
				return ok && strings.Contains(run.Run.Value, "env://ACTIONS_ID_TOKEN_REQUEST_TOKEN")
			})
			granted := grants(s.Permissions, "id-token") || grants(job.Permissions, "id-token")
			switch {
			case granted && pulled:
				found = append(found, id+": a pull request can sign as this workflow: no id-token: write where one starts it")
			case granted && !signs:
				found = append(found, id+": signs nothing, and may: take id-token: write away")
			case signs && !granted:
				found = append(found, id+": signs, and may not: grant it id-token: write")
			}
		}
		return found
	},
	"bot-conditions": func(s subject) []string {
		return matches(s.text, `github\.actor\s*[!=]=`, "the actor can be another one than the author: use github.event.pull_request.user.login")
	},
	"insecure-commands": func(s subject) []string {
		return matches(s.text, `ACTIONS_ALLOW_UNSECURE_COMMANDS`, "what a job prints could set its environment")
	},
	"github-env": func(s subject) []string {
		return matches(s.text, `GITHUB_(ENV|PATH)\b`, "what is written there runs in every step that follows: use an output")
	},
}

func matches(text, pattern, what string) []string {
	var found []string
	for _, match := range regexp.MustCompile(pattern).FindAllString(text, -1) {
		found = append(found, match+": "+what)
	}
	return found
}

// grants says whether permissions let a job write something.
func grants(p *actionlint.Permissions, name string) bool {
	if p == nil {
		return false
	}
	scope := p.Scopes[name]
	return p.All != nil && p.All.Value == "write-all" || scope != nil && scope.Value != nil && scope.Value.Value == "write"
}

// broad are permissions that are given by the dozen.
func broad(p *actionlint.Permissions) []string {
	if p.All != nil {
		return []string{p.All.Value + ": list the permissions one by one"}
	}
	return nil
}

func (s subject) steps(visit func(*actionlint.Job, *actionlint.Step)) {
	for _, job := range s.Jobs {
		for _, step := range job.Steps {
			visit(job, step)
		}
	}
}

func (s subject) containers(visit func(*actionlint.Container)) {
	for _, job := range s.Jobs {
		if job.Container != nil {
			visit(job.Container)
		}
		if job.Services != nil {
			for _, service := range job.Services.Value {
				visit(service.Container)
			}
		}
	}
}

// publishes says whether a workflow may write or has secrets.
func (s subject) publishes() bool {
	return strings.Contains(s.text, "secrets.") || regexp.MustCompile(`(?m)^\s+[a-z-]+: write\b`).MatchString(s.text)
}

func audit(t *testing.T, name, text string) []string {
	t.Helper()
	workflow, problems := actionlint.Parse([]byte(text))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return audits[name](subject{workflow, text})
}

func TestAudits(t *testing.T) {
	t.Parallel()
	for name, file := range files(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for rule := range audits {
			for _, finding := range audit(t, rule, string(text)) {
				t.Errorf("%s: %s: %s", name, rule, finding)
			}
		}
	}
}

// harmless is a workflow that no audit objects to; each bad example changes one thing in it.
const harmless = `
on: push
permissions:
  contents: read
jobs:
  job:
    runs-on: ubuntu-24.04
    env:
      TOKEN: ${{ secrets.TOKEN }}
    container:
      image: docker.io/a@sha256:0123
      credentials: { username: a, password: "${{ secrets.A }}" }
    steps:
      - uses: actions/checkout@0123456789012345678901234567890123456789 # v1.2.3
        with: { persist-credentials: false }
      - run: echo "$NAME"
        env: { NAME: "${{ github.head_ref }}" }
  sign:
    runs-on: ubuntu-24.04
    permissions:
      id-token: write
    steps:
      - run: sign --oidc-token env://ACTIONS_ID_TOKEN_REQUEST_TOKEN
  call:
    uses: a/b/c.yml@0123456789012345678901234567890123456789 # v1.2.3
    secrets: { token: "${{ secrets.TOKEN }}" }
`

func TestAuditsFind(t *testing.T) {
	t.Parallel()
	type edit struct{ from, to string }
	bad := map[string][]edit{
		"unpinned-uses":                   {{"@0123456789012345678901234567890123456789 # v1.2.3\n        with", "@v1\n        with"}},
		"unpinned-images":                 {{"a@sha256:0123", "a:latest"}},
		"hardcoded-container-credentials": {{"${{ secrets.A }}", "hunter2"}},
		"excessive-permissions":           {{"  contents: read", "  contents: write"}, {"permissions:\n  contents: read", "permissions: write-all"}, {"permissions:\n  contents: read\n", ""}},
		"template-injection":              {{`echo "$NAME"`, `echo "${{ github.head_ref }}"`}},
		"artipacked":                      {{"persist-credentials: false", "fetch-depth: 0"}},
		"dangerous-triggers":              {{"on: push", "on: pull_request_target"}, {"on: push", "on: { workflow_run: { workflows: [ci] } }"}},
		"cache-poisoning":                 {{"actions/checkout@", "actions/cache@"}},
		"self-hosted-runner":              {{"runs-on: ubuntu-24.04", "runs-on: [self-hosted]"}},
		"secrets-inherit":                 {{`secrets: { token: "${{ secrets.TOKEN }}" }`, "secrets: inherit"}},
		"overprovisioned-secrets":         {{"${{ secrets.TOKEN }}\n    container", "${{ toJSON(secrets) }}\n    container"}},
		"secrets-to-pull-requests":        {{"on: push", "on: pull_request"}},
		"id-token":                        {{"on: push", "on: pull_request"}, {"on: push", "on: [push, pull_request_target]"}, {"sign --oidc-token env://ACTIONS_ID_TOKEN_REQUEST_TOKEN", "true"}, {"      id-token: write", "      contents: read"}, {"permissions:\n  contents: read", "permissions: write-all"}, {"    permissions:\n      id-token: write\n", ""}},
		"bot-conditions":                  {{"runs-on:", "if: github.actor == 'dependabot[bot]'\n    runs-on:"}},
		"insecure-commands":               {{"TOKEN: ", "ACTIONS_ALLOW_UNSECURE_COMMANDS: "}},
		"github-env":                      {{`echo "$NAME"`, `echo "A=$NAME" >> "$GITHUB_ENV"`}},
	}
	for rule := range audits {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			if findings := audit(t, rule, harmless); len(findings) > 0 {
				t.Errorf("it objects to what is harmless: %q", findings)
			}
			if len(bad[rule]) == 0 {
				t.Error("it has no bad example")
			}
			for _, example := range bad[rule] {
				text := strings.Replace(harmless, example.from, example.to, 1)
				if text == harmless {
					t.Fatalf("%q is not in the harmless one", example.from)
				}
				if findings := audit(t, rule, text); len(findings) == 0 {
					t.Errorf("it finds nothing in\n%s", text)
				}
			}
		})
	}
}
