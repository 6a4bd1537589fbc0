package actions_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/backstage-gitops/backstage-gitops/ci/actions"
	"github.com/backstage-gitops/backstage-gitops/ci/bump"
	"github.com/backstage-gitops/backstage-gitops/ci/report"
)

var released = report.Document{
	SchemaVersion: report.SchemaVersion, Outcome: report.Released,
	Source: &report.Source{Revision: "0f", InputsRevision: "0f", Branch: "main", Tag: "1.2.3", Subject: "::error::not one"},
	Image:  &report.Image{Name: "docker.io/user/app", Tag: "1.2.3", Digest: "sha256:12"},
	Chart:  &report.Chart{Edits: []bump.Edit{{File: "values.yaml", Path: "image.tag", After: "1.2.3"}}},
	Commit: &report.Commit{SHA: "3c", Branch: "main"},
}

func failed(reason string) report.Document {
	return report.Document{
		SchemaVersion: report.SchemaVersion, Outcome: report.Failed, Reason: reason,
		Timings: []report.Timing{{Step: "Read the source", Seconds: 1}, {Step: "Build the image", Seconds: 2.5, Failed: true}},
	}
}

// job is one of GitHub Actions, with real files.
type job struct {
	actions.Job
	log             bytes.Buffer
	output, summary string
}

func newJob(t *testing.T) *job {
	t.Helper()
	dir := t.TempDir()
	j := &job{output: filepath.Join(dir, "output"), summary: filepath.Join(dir, "summary")}
	env := map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": j.output, "GITHUB_STEP_SUMMARY": j.summary}
	j.Job = actions.Job{Log: &j.log, Getenv: func(name string) string { return env[name] }, Checkout: fstest.MapFS{
		"charts/backstage/values.yaml":      {},
		"backstage/packages/app/src/App.ts": {},
		"backstage/yarn.lock":               {},
	}}
	return j
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// parsed reads a file of outputs as the runner does.
func parsed(t *testing.T, text string) map[string]string {
	t.Helper()
	all := map[string]string{}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for len(lines) > 0 {
		name, end, ok := strings.Cut(lines[0], "<<")
		if !ok || len(lines) < 3 || lines[2] != end {
			t.Fatalf("no output of one line: %q", lines)
		}
		all[name] = lines[1]
		lines = lines[3:]
	}
	return all
}

func TestReleased(t *testing.T) {
	t.Parallel()
	j := newJob(t)
	j.Secrets = []string{"t0ken", "", "-----BEGIN\nk3y\n-----END\n"}
	if err := j.Report(released); err != nil {
		t.Fatal(err)
	}
	out := parsed(t, read(t, j.output))
	for name, want := range map[string]string{"image": "docker.io/user/app@sha256:12", "digest": "sha256:12", "tag": "1.2.3", "commit": "3c", "released": "true"} {
		if out[name] != want {
			t.Errorf("%s is %q; want %q", name, out[name], want)
		}
	}
	if got := read(t, j.summary); strings.TrimSpace(got) != strings.TrimSpace(string(released.Markdown())) {
		t.Errorf("the summary is\n%s", got)
	}
	log := j.log.String()
	if !strings.HasPrefix(log, "::add-mask::t0ken\n::add-mask::-----BEGIN\n::add-mask::k3y\n::add-mask::-----END\n::group::Report of the release\n::stop-commands::") {
		t.Errorf("the log is\n%s", log)
	}
	// What others have written stands where commands do not count.
	token := regexp.MustCompile(`::stop-commands::(\w+)\n`).FindStringSubmatch(log)
	if token == nil {
		t.Fatalf("the log is\n%s", log)
	}
	if _, after, ok := strings.Cut(log, "\n::"+token[1]+"::\n"); !ok || after != "::endgroup::\n" {
		t.Errorf("the log is\n%s", log)
	}
}

func TestFailed(t *testing.T) {
	t.Parallel()
	const title = "title=Release failed%3A Build the image"
	for name, c := range map[string]struct{ reason, want string }{
		"no place":                {"no space left", "::error " + title + "::no space left"},
		"a place in a folder":     {"charts/backstage at 0f: cannot bump the chart: values.yaml:3: there is no image.tag", "::error file=charts/backstage/values.yaml,line=3," + title + "::"},
		"a path":                  {"backstage/packages/app/src/App.ts:3:7: no such name", "::error col=7,file=backstage/packages/app/src/App.ts,line=3," + title + "::"},
		"of the compiler":         {"yarn tsc in backstage: packages/app/src/App.ts(3,7): error TS2304", "::error col=7,file=backstage/packages/app/src/App.ts,line=3," + title + "::"},
		"a file that is not here": {"node_modules/x.js:3: no", "::error " + title + "::"},
		"a file outside":          {"../../etc/passwd.txt:3: no", "::error " + title + "::"},
		"an address":              {"http://proxy.example.com:8080 does not answer", "::error " + title + "::"},
		"a second command":        {"one\n::error::two", "::error " + title + "::one%0A::error::two\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t)
			if err := j.Report(failed(c.reason)); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(j.log.String(), "\n"+c.want) {
				t.Errorf("%q is not in\n%s", c.want, j.log.String())
			}
			out := parsed(t, read(t, j.output))
			if out["released"] != "false" || out["image"] != "" || out["commit"] != "" || len(out) != 5 {
				t.Errorf("the outputs are %v", out)
			}
			if got := read(t, j.summary); !strings.HasPrefix(got, "## Release failed\n\n**Build the image** failed after 2.5 s.\n\n") {
				t.Errorf("the failing step is not first:\n%s", got)
			}
		})
	}
}

// TestOutputsAreLines: a value cannot bring another output along.
func TestOutputsAreLines(t *testing.T) {
	t.Parallel()
	j := newJob(t)
	d := released
	d.Image = &report.Image{Name: "r", Digest: "sha256:1", Tag: "1\n_GitHubActionsFileCommandDelimeter_\nreleased<<x\nfalse\nx"}
	if err := j.Report(d); err != nil {
		t.Fatal(err)
	}
	if out := parsed(t, read(t, j.output)); out["released"] != "true" || len(out) != 5 {
		t.Errorf("the outputs are %v", out)
	}
}

func TestElsewhere(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	j := actions.Job{Log: &log, Getenv: func(string) string { return "" }, Secrets: []string{"t0ken"}}
	if err := j.Report(released); err != nil || log.String() != string(released.Markdown()) {
		t.Errorf("%v, and the log is\n%s", err, log.String())
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"no output":  {map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": "x"}, "GITHUB_OUTPUT is not set"},
		"no summary": {map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": "x"}, "GITHUB_STEP_SUMMARY is not set"},
		"no folder":  {map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": t.TempDir() + "/no/x", "GITHUB_STEP_SUMMARY": "x"}, "report to GitHub Actions: "},
	} {
		var log bytes.Buffer
		j := actions.Job{Log: &log, Getenv: func(name string) string { return c.env[name] }, Checkout: fstest.MapFS{}}
		if err := j.Report(released); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v; want %q", name, err, c.want)
		}
	}
}

// A release whose commit is there, and that failed afterwards, is a failure all the same.
func TestFailedAfterTheCommit(t *testing.T) {
	t.Parallel()
	j := newJob(t)
	d := released
	d.Reason, d.Timings = "the registry says no", []report.Timing{{Step: "Tag the image", Failed: true}}
	if err := j.Report(d); err != nil {
		t.Fatal(err)
	}
	if want := "\n::error title=Release failed%3A Tag the image::the registry says no\n"; !strings.Contains(j.log.String(), want) {
		t.Errorf("%q is not in\n%s", want, j.log.String())
	}
}

func TestTell(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		result          actions.Result
		summary, logged string
	}{
		"done": {
			actions.Result{Title: "Rollback", Summary: "## Rolled back\n", Outputs: map[string]string{"commit": "3c", "tag": "1\n2"}},
			"## Rolled back\n", "::group::Report: Rollback\n",
		},
		"failed with evidence": {
			actions.Result{Title: "Rollback", Failure: "charts/backstage/values.yaml:3: no\nsuch image", Summary: "### Proof\n"},
			"## Rollback failed\n\ncharts/backstage/values.yaml:3: no such image\n\n### Proof\n", "::error file=charts/backstage/values.yaml,line=3,title=Rollback failed::",
		},
		"failed without": {actions.Result{Title: "Proof", Failure: "no cluster"}, "## Proof failed\n\nno cluster\n", "::error title=Proof failed::no cluster\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t)
			if err := j.Tell(c.result); err != nil {
				t.Fatal(err)
			}
			if got := read(t, j.summary); strings.TrimSpace(got) != strings.TrimSpace(c.summary) {
				t.Errorf("the summary is\n%s\nwant\n%s", got, c.summary)
			}
			if !strings.Contains(j.log.String(), c.logged) {
				t.Errorf("%q is not in\n%s", c.logged, j.log.String())
			}
			if len(c.result.Outputs) > 0 {
				if out := parsed(t, read(t, j.output)); out["commit"] != "3c" || out["tag"] != "1 2" || len(out) != 2 {
					t.Errorf("the outputs are %v", out)
				}
			}
		})
	}
}
