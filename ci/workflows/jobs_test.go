package workflows

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rhysd/actionlint"

	"github.com/backstage-gitops/backstage-gitops/ci/git"
	"github.com/backstage-gitops/backstage-gitops/ci/github/githubtest"
)

// program is the helper program, built once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "gitops-program-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir+"/gitops", "../cmd/gitops").CombinedOutput()
	if err != nil {
		return "", &exec.Error{Name: string(out), Err: err}
	}
	return dir + "/gitops", nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if file, err := program(); err == nil {
		_ = os.RemoveAll(filepath.Dir(file))
	}
	os.Exit(code)
}

// ran is what a job's scripts have left.
type ran struct {
	failed          bool
	summary, output string
	log             string
}

// runJob runs the scripts of a workflow's one job as GitHub's runner does, with a script in the place of daggerw.
func runJob(t *testing.T, workflow, daggerw string, env ...string) ran {
	t.Helper()
	_, steps := steps(t, files(t)[workflow])
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "daggerw"), []byte("#!/bin/sh\n"+daggerw+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var r ran
	called := true
	for _, step := range steps {
		script, ok := step.Exec.(*actionlint.ExecRun)
		switch {
		case !ok:
			continue
		case step.If == nil && r.failed:
			continue
		case step.If != nil && step.If.Value != callFailed:
			t.Fatalf("the test does not know the condition %q", step.If.Value)
		case step.If != nil && called:
			continue
		}
		shell := []string{"-e", "-c"}
		if script.Shell != nil && script.Shell.Value == "bash" {
			shell = []string{"--noprofile", "--norc", "-eo", "pipefail", "-c"}
		}
		cmd := exec.CommandContext(t.Context(), "bash", append(shell, script.Run.Value)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), append([]string{
			"GITHUB_ACTIONS=true", "GITHUB_STEP_SUMMARY=" + filepath.Join(dir, "summary.md"), "GITHUB_OUTPUT=" + filepath.Join(dir, "output"), "RUNNER_TEMP=" + dir,
		}, env...)...)
		output, err := cmd.CombinedOutput()
		r.log += string(output)
		if err != nil && step.If != nil {
			t.Fatalf("%s: %v\n%s", script.Run.Value, err, output)
		}
		if err != nil {
			r.failed = true
			called = called && !strings.HasPrefix(script.Run.Value, "./daggerw ")
		}
	}
	for file, text := range map[string]*string{"summary.md": &r.summary, "output": &r.output} {
		if content, err := os.ReadFile(filepath.Join(dir, file)); err == nil {
			*text = string(content)
		}
	}
	return r
}

// The scripts of the jobs are run with something in the place of daggerw that leaves what the Dagger CLI does, and with the
// helper program itself.
func TestJobsTell(t *testing.T) {
	t.Parallel()
	gitops, err := program()
	if err != nil {
		t.Fatal(err)
	}
	// exports leaves the folder that `job export --path` does.
	exports := func(file, text string) string {
		return `while [ "$1" != --path ]; do shift; done; mkdir -p "$2/report"; ln "` + gitops + `" "$2/gitops" 2>/dev/null || cp "` + gitops + `" "$2/gitops"
cat > "$2/` + file + `" <<'EOF'
` + text + `
EOF
echo "1 : connect DONE" >&2`
	}
	const (
		source = `"source": {"revision": "0f", "inputsRevision": "0f", "branch": "main", "tag": "1.2.3"}`
		image  = `"image": {"name": "docker.io/user/app", "tag": "1.2.3", "digest": "sha256:12"}`
		broken = `echo "1 : ! the registry says no" >&2; printf "Error: the registry says no\n" >&2; exit 1`
	)
	for name, c := range map[string]struct {
		workflow, daggerw string
		fails             bool
		summary           string
		outputs           []string
		logged            string
	}{
		"released": {
			workflow: "release",
			daggerw:  exports("report/report.json", `{"schemaVersion": 1, "outcome": "released", `+source+`, `+image+`, "commit": {"sha": "3c", "branch": "main"}, "timings": []}`),
			summary:  "## Released `app:1.2.3`\n", outputs: []string{"released=true", "image=docker.io/user/app@sha256:12", "digest=sha256:12", "tag=1.2.3", "commit=3c"}, logged: "::group::Report of the release\n",
		},
		"a release that failed": {
			workflow: "release",
			daggerw:  exports("report/report.json", `{"schemaVersion": 1, "outcome": "failed", "reason": "the registry says no", "timings": [{"step": "Read the source", "seconds": 1}, {"step": "Check the registry", "seconds": 2, "failed": true}]}`),
			fails:    true, summary: "## Release failed\n\n**Check the registry** failed after 2.0 s.\n\nthe registry says no\n", outputs: []string{"released=false", "image="},
			logged: "::error title=Release failed%3A Check the registry::the registry says no\n",
		},
		"a release that got no report":  {workflow: "release", daggerw: broken, fails: true, summary: "## Release failed\n\nError: the registry says no\n", logged: "the registry says no"},
		"rolled back":                   {workflow: "rollback", daggerw: exports("result.json", `{"title": "Rollback", "summary": "## Rolled back\n", "outputs": {"commit": "3c"}}`), summary: "## Rolled back\n", outputs: []string{"commit=3c"}},
		"a rollback that failed":        {workflow: "rollback", daggerw: exports("result.json", `{"title": "Rollback", "failure": "no such image", "summary": "### Proof\n"}`), fails: true, summary: "## Rollback failed\n\nno such image\n\n### Proof\n", logged: "::error title=Rollback failed::no such image\n"},
		"a rollback that got no report": {workflow: "rollback", daggerw: broken, fails: true, summary: "## Rollback failed\n\nError: the registry says no\n"},
		"proven":                        {workflow: "e2e", daggerw: exports("result.json", `{"title": "Proof", "summary": "## Proven\n"}`), summary: "## Proven\n"},
		"not proven":                    {workflow: "e2e", daggerw: exports("result.json", `{"title": "Proof", "failure": "no portal", "summary": "### Steps\n"}`), fails: true, summary: "## Proof failed\n\nno portal\n\n### Steps\n"},
		"a proof that got no report":    {workflow: "e2e", daggerw: broken, fails: true, summary: "## Proof failed\n\nError: the registry says no\n"},
		"promoted":                      {workflow: "promote", daggerw: `echo "1 : connect DONE" >&2; echo "## Promoted"`, summary: "## Promoted\n"},
		"a promotion that failed":       {workflow: "promote", daggerw: broken, fails: true, summary: "## Promotion failed\n\nError: the registry says no\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := runJob(t, c.workflow, c.daggerw, "APP_KEY=", "COSIGN_KEY=k", "RUNNING=", "KUBECONFIG_TEXT=", "REMOTE=r", "SHOW=--faults all")
			if r.failed != c.fails {
				t.Errorf("the job failed: %t, want %t; its log is\n%s", r.failed, c.fails, r.log)
			}
			if !strings.HasPrefix(r.summary, c.summary) {
				t.Errorf("the summary is\n%s\nwant it to begin with\n%s", r.summary, c.summary)
			}
			if !strings.Contains(r.log, c.logged) {
				t.Errorf("%q is not in the log:\n%s", c.logged, r.log)
			}
			for _, want := range c.outputs {
				name, value, _ := strings.Cut(want, "=")
				if !strings.Contains(r.output, name+"<<") || !strings.Contains(r.output, "\n"+value+"\n") {
					t.Errorf("the output %s is not in\n%s", want, r.output)
				}
			}
		})
	}
}

// What a job hands on is what its step has, and what it has shown is kept, also where it failed.
func TestEvidence(t *testing.T) {
	t.Parallel()
	for name, outputs := range map[string][]string{
		"release":  {"commit", "digest", "image", "released", "tag"},
		"rollback": {"commit", "digest", "image", "pull-request", "tag"},
		"e2e":      nil,
	} {
		workflow, steps := steps(t, files(t)[name])
		var handed []string
		for _, job := range workflow.Jobs {
			for output, value := range job.Outputs {
				if want := "${{ steps.report.outputs." + output + " }}"; value.Value.Value != want {
					t.Errorf("%s: the output %s is %s, want %s", name, output, value.Value.Value, want)
				}
				handed = append(handed, output)
			}
		}
		if slices.Sort(handed); !slices.Equal(handed, outputs) {
			t.Errorf("%s has the outputs %q, want %q", name, handed, outputs)
		}
		kept := slices.ContainsFunc(steps, func(step *actionlint.Step) bool {
			exec, ok := step.Exec.(*actionlint.ExecAction)
			return ok && strings.HasPrefix(exec.Uses.Value, "actions/upload-artifact@") && step.If != nil && step.If.Value == "always()" &&
				exec.Inputs["path"].Value.Value == "${{ runner.temp }}/job/report"
		})
		if !kept {
			t.Errorf("%s does not keep its report where it fails", name)
		}
	}
}

// What writes for others waits for who may say so: an environment of GitHub has reviewers, and secrets of its own.
func TestEnvironments(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"release": "release", "rollback": "release", "promote": "${{ inputs.to }}"} {
		workflow, _ := steps(t, files(t)[name])
		for id, job := range workflow.Jobs {
			if job.Environment == nil || job.Environment.Name.Value != want {
				t.Errorf("%s: the job %s is not in the environment %s", name, id, want)
			}
		}
	}
}

// arguments are those of daggerw in a workflow's call.
func arguments(t *testing.T, workflow string, env ...string) []string {
	t.Helper()
	r := runJob(t, workflow, `printf 'argument %s\n' "$@" >&2; exit 1`, env...)
	var all []string
	for line := range strings.Lines(r.log) {
		if text, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "argument "); ok {
			all = append(all, text)
		}
	}
	return all
}

// has says whether arguments stand one behind the other.
func has(all []string, want ...string) bool {
	return strings.Contains("\n"+strings.Join(all, "\n")+"\n", "\n"+strings.Join(want, "\n")+"\n")
}

// What a repository's variables do not say is not said.
func TestReleaseSettings(t *testing.T) {
	t.Parallel()
	common := []string{"APP_KEY=", "COSIGN_KEY=k", "REMOTE=r"}
	plain := arguments(t, "release", append(common, "PLATFORMS=", "VULNERABILITY_URL=", "FAIL_ON=", "REQUIRE_SCAN=")...)
	for _, flag := range []string{"--platforms", "--vulnerability-url", "--fail-on", "--require-scan="} {
		if has(plain, flag) {
			t.Errorf("%s is among %q", flag, plain)
		}
	}
	set := arguments(t, "release", append(common, "PLATFORMS=linux/amd64,linux/arm64", "VULNERABILITY_URL=https://example.com/databases", "FAIL_ON=high", "REQUIRE_SCAN=true")...)
	for _, want := range [][]string{
		{"--vulnerability-url", "https://example.com/databases"}, {"--fail-on", "high"}, {"--require-scan=true"}, {"released", "--platforms", "linux/amd64,linux/arm64"},
	} {
		if !has(set, want...) {
			t.Errorf("%q are not among %q", want, set)
		}
	}
	_, steps := steps(t, files(t)["release"])
	for _, step := range steps {
		exec, ok := step.Exec.(*actionlint.ExecAction)
		if ok && strings.HasPrefix(exec.Uses.Value, "docker/setup-qemu-action@") {
			if step.If == nil || step.If.Value != "vars.PLATFORMS != ''" {
				t.Error("it emulates other platforms where none is asked for")
			}
			return
		}
	}
	t.Error("nothing runs what is of another platform")
}

// As shipped, an image that nothing says to run well is not promoted; what says so is Argo CD, or what somebody pasted.
func TestPromoteWantsProof(t *testing.T) {
	t.Parallel()
	workflow, _ := steps(t, files(t)["promote"])
	for _, event := range workflow.On {
		inputs := event.(*actionlint.WorkflowDispatchEvent).Inputs
		for _, name := range []string{"allow-unproven", "allow-unverified", "allow-downgrade"} {
			if input := inputs[name]; input == nil || input.Default == nil || input.Default.Value != "false" {
				t.Errorf("%s is not an input that is off unless somebody says otherwise", name)
			}
		}
	}
	common := []string{"APP_KEY=", "COSIGN_KEY=k", "REMOTE=r", "ALLOW_UNPROVEN=false"}
	nothing := arguments(t, "promote", append(common, "RUNNING=", "KUBECONFIG_TEXT=")...)
	if !has(nothing, "--allow-unproven=false") || has(nothing, "--running") || has(nothing, "--kubeconfig") {
		t.Errorf("it says %q", nothing)
	}
	if asked := arguments(t, "promote", append(common, "RUNNING=", "KUBECONFIG_TEXT=c4n4ry")...); !has(asked, "--kubeconfig", "env://KUBECONFIG_TEXT") || strings.Contains(strings.Join(asked, " "), "c4n4ry") {
		t.Errorf("with a kubeconfig it says %q", asked)
	}
	const status = `{"application": "backstage-dev", "message": "it's $(here)"}`
	pasted := runJob(t, "promote", `while [ "$1" != --running ]; do shift; done; cat "$2"`, append(common, "RUNNING="+status, "KUBECONFIG_TEXT=c4n4ry")...)
	if pasted.failed || pasted.summary != status {
		t.Errorf("what was pasted came as %q:\n%s", pasted.summary, pasted.log)
	}
}

// A merged pull request of a release or a rollback starts what finishes it: by no secret, for no fork, and not for the
// merge of anything else.
func TestFinish(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(files(t)["finish"])
	if err != nil {
		t.Fatal(err)
	}
	workflow, steps := steps(t, files(t)["finish"])
	if len(workflow.On) != 1 {
		t.Fatalf("it starts on %d events, want one", len(workflow.On))
	}
	hook, ok := workflow.On[0].(*actionlint.WebhookEvent)
	if !ok || hook.Hook.Value != "pull_request" || len(hook.Types) != 1 || hook.Types[0].Value != "closed" || hook.Branches == nil || len(hook.Branches.Values) != 1 || hook.Branches.Values[0].Value != "main" {
		t.Error("it starts on something else than the end of a pull request to main")
	}
	if strings.Contains(string(text), "secrets.") {
		t.Error("it has a secret")
	}
	if len(workflow.Jobs) != 1 || len(workflow.Permissions.Scopes) != 0 {
		t.Errorf("%d jobs, and permissions for all of them: %v", len(workflow.Jobs), workflow.Permissions.Scopes)
	}
	job := workflow.Jobs["finish"]
	if p := job.Permissions.Scopes; len(p) != 1 || !grants(job.Permissions, "actions") {
		t.Errorf("the job may do more than start workflows: %v", p)
	}
	for _, want := range []string{"github.event.pull_request.merged ", "github.event.pull_request.head.repo.full_name == github.repository ", "startsWith(github.event.pull_request.head.ref, 'gitops/')", "startsWith(github.event.pull_request.head.ref, 'rollback/')"} {
		if !strings.Contains(job.If.Value, want) {
			t.Errorf("the job's condition lacks %s", want)
		}
	}
	if strings.Count(job.If.Value, "||") != 1 {
		t.Errorf("the job's condition is %s", job.If.Value)
	}
	if len(steps) != 1 {
		t.Fatalf("%d steps, want one: nothing of the pull request is checked out", len(steps))
	}

	const token, name = "c4n4ry", "acme/portal"
	hub, err := githubtest.New(t.Context(), githubtest.Config{Root: t.TempDir(), Repositories: []string{name}, Tokens: []githubtest.Token{{Value: token, Bot: true, Permissions: map[string]string{"actions": "write"}}}})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(hub)
	t.Cleanup(web.Close)
	commitWorkflows(t, hub.Dir(name))
	env := steps[0].Env.Vars
	for head, want := range map[string]githubtest.Run{
		"gitops/backstage/main":   {Workflow: "release.yml", Ref: "main"},
		"rollback/backstage/main": {Workflow: "rollback.yml", Ref: "main", Inputs: map[string]string{"finish": "true"}},
	} {
		// As GitHub evaluates `startsWith(head, 'gitops/') && A || B`.
		choose := func(name string) string {
			a, b, ok := strings.Cut(strings.TrimSuffix(env[name].Value.Value, " }}"), "' || '")
			if !ok || !strings.HasPrefix(a, "${{ startsWith(github.event.pull_request.head.ref, 'gitops/') && '") {
				t.Fatalf("the test does not know the expression %s", env[name].Value.Value)
			}
			if strings.HasPrefix(head, "gitops/") {
				return a[strings.LastIndex(a, "&& '")+len("&& '"):]
			}
			return strings.TrimSuffix(b, "'")
		}
		before := len(hub.Runs(name))
		r := runJob(t, "finish", "exit 1", "GITHUB_API_URL="+web.URL+"/api/v3", "GITHUB_REPOSITORY="+name, "TOKEN="+token, "WORKFLOW="+choose("workflow"), "START="+choose("start"))
		if r.failed || strings.Contains(r.log, token) {
			t.Errorf("%s: failed: %t\n%s", head, r.failed, r.log)
		}
		if runs := hub.Runs(name)[before:]; len(runs) != 1 || !reflect.DeepEqual(runs[0], want) {
			t.Errorf("%s started %+v, want %+v", head, runs, want)
		}
	}
	if r := runJob(t, "finish", "exit 1", "GITHUB_API_URL="+web.URL+"/api/v3", "GITHUB_REPOSITORY="+name, "TOKEN=other", "WORKFLOW=release.yml", `START={"ref":"main"}`); !r.failed || !strings.Contains(r.log, "Bad credentials") {
		t.Errorf("a token that GitHub does not take: failed: %t\n%s", r.failed, r.log)
	}
}

// commitWorkflows has a bare repository's main hold the workflows.
func commitWorkflows(t *testing.T, bare string) {
	t.Helper()
	work := t.TempDir()
	if err := os.CopyFS(filepath.Join(work, ".github/workflows"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "start"}, {"push", "-q", bare, "main"}} {
		if _, err := git.Open(work).Run(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
}

// What a call of e2e by hand is to show is one argument list, and else there are those of each night.
func TestE2eShows(t *testing.T) {
	t.Parallel()
	workflow, _ := steps(t, files(t)["e2e"])
	row := workflow.Jobs["e2e"].Strategy.Matrix.Rows["show"]
	if row == nil || row.Expression == nil {
		t.Fatal("what it shows is fixed")
	}
	_, nightly, _ := strings.Cut(strings.TrimSuffix(row.Expression.Value, "') }}"), "|| '")
	var shows []string
	if err := json.Unmarshal([]byte(nightly), &shows); err != nil || !slices.Equal(shows, []string{"--faults all", "--features all --workers 2 --strict"}) {
		t.Errorf("each night it shows %q, %v", shows, err)
	}
	if got := arguments(t, "e2e", "SHOW=--faults image-tag"); !has(got, "call", "e2e", "--faults", "image-tag", "job", "export") {
		t.Errorf("it calls %q", got)
	}
}
