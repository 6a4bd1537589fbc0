// Package actions tells GitHub Actions how a release, or another call, went: outputs of the step, the job's summary, an
// annotation of the file that is at fault. Anywhere else it prints the report.
package actions

import (
	"crypto/rand"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sethvargo/go-githubactions"

	"github.com/backstage-gitops/backstage-gitops/ci/report"
)

// Job is where a report goes.
type Job struct {
	// Log is what the job writes to, standard output.
	Log io.Writer
	// Getenv reads the environment, as os.Getenv.
	Getenv func(string) string
	// Checkout holds the files that may be annotated.
	Checkout fs.FS
	// Secrets are hidden in the job's log from here on.
	Secrets []string
}

// running says whether this is a job of GitHub Actions.
func (j Job) running() bool { return j.Getenv("GITHUB_ACTIONS") == "true" }

// Report tells of a release.
func (j Job) Report(d report.Document) error {
	title := "Release failed"
	if d.Outcome == report.PublishedNotCommitted {
		title = "Published, but not committed"
	}
	for _, step := range d.Timings {
		if step.Failed {
			title += ": " + step.Step
		}
	}
	return j.tell(told{
		name: "Report of the release", title: title, reason: d.Reason, failed: d.Failure() != "", markdown: string(d.Markdown()), outputs: outputs(d),
	})
}

// Result is how something went that is no release, such as a rollback.
type Result struct {
	// Title says what it is, such as Rollback.
	Title string `json:"title"`
	// Failure is why it failed, one sentence; empty where it did not.
	Failure string `json:"failure"`
	// Summary is the report, Markdown.
	Summary string `json:"summary"`
	// Outputs are those of the step.
	Outputs map[string]string `json:"outputs"`
}

// Redacted is the result without the secrets, and without the credential of an address in its failure.
func (r Result) Redacted(secrets ...string) (Result, error) {
	r, err := report.Redact(r, secrets...)
	r.Failure = report.Reason(r.Failure)
	return r, err
}

// Markdown is the result as a report for people.
func (r Result) Markdown() string {
	markdown := strings.TrimSpace(r.Summary) + "\n"
	if r.Failure != "" {
		markdown = strings.TrimSpace("## "+r.Title+" failed\n\n"+oneLine(r.Failure)+"\n\n"+markdown) + "\n"
	}
	return markdown
}

// Tell tells of a result.
func (j Job) Tell(r Result) error {
	t := told{name: "Report: " + r.Title, title: r.Title + " failed", reason: r.Failure, failed: r.Failure != "", markdown: r.Markdown()}
	for _, name := range slices.Sorted(maps.Keys(r.Outputs)) {
		t.outputs = append(t.outputs, output{name, oneLine(r.Outputs[name])})
	}
	return j.tell(t)
}

// told is what a job is told.
type told struct {
	// name is that of the group in the log, title that of the annotation.
	name, title string
	// reason is why something ended as it did; failed says that this is a failure.
	reason   string
	failed   bool
	markdown string
	outputs  []output
}

func (j Job) tell(t told) (err error) {
	if !j.running() {
		_, err := io.WriteString(j.Log, t.markdown)
		return err
	}
	for _, name := range []string{"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"} {
		if j.Getenv(name) == "" {
			return fmt.Errorf("%s is not set; pass it on to where the report is told", name)
		}
	}
	// The library has no other way to say that a file could not be written.
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("report to GitHub Actions: %v", reason)
		}
	}()
	a := githubactions.New(githubactions.WithWriter(j.Log), githubactions.WithGetenv(j.Getenv))
	for _, secret := range j.Secrets {
		for line := range strings.Lines(secret) {
			if line = strings.TrimSpace(line); line != "" {
				a.AddMask(line)
			}
		}
	}
	j.print(a, t)
	j.annotate(a, t)
	for _, o := range t.outputs {
		a.SetOutput(o.name, o.value)
	}
	a.AddStepSummary(t.markdown)
	return nil
}

// print writes the report to the job's log, folded, and with nothing in it taken for a command.
func (j Job) print(a *githubactions.Action, t told) {
	a.Group(t.name)
	resume := rand.Text()
	a.IssueCommand(&githubactions.Command{Name: "stop-commands", Message: resume})
	a.Infof("%s", t.markdown)
	a.IssueCommand(&githubactions.Command{Name: resume})
	a.EndGroup()
}

type output struct{ name, value string }

// outputs are those of a release's step, each in one line.
func outputs(d report.Document) []output {
	var image, digest, tag, commit string
	if i := d.Image; i != nil && i.Digest != "" {
		image, digest, tag = i.Name+"@"+i.Digest, i.Digest, i.Tag
	}
	if c := d.Commit; c != nil {
		commit = c.SHA
	}
	all := []output{
		{"image", image}, {"digest", digest}, {"tag", tag}, {"commit", commit},
		{"released", strconv.FormatBool(d.Outcome == report.Released)},
	}
	for i := range all {
		all[i].value = oneLine(all[i].value)
	}
	return all
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// annotate marks what failed, at the file and line that the reason names where the checkout holds it.
func (j Job) annotate(a *githubactions.Action, t told) {
	if t.reason == "" {
		return
	}
	fields := map[string]string{"title": t.title}
	if p, ok := locate(j.Checkout, t.reason); ok {
		fields["file"], fields["line"] = p.file, p.line
		if p.column != "" {
			fields["col"] = p.column
		}
	}
	a = a.WithFieldsMap(fields)
	if t.failed {
		a.Errorf("%s", t.reason)
	} else {
		a.Noticef("%s", t.reason)
	}
}

type place struct{ file, line, column string }

// places are file:line, file:line:column, and file(line,column) of the TypeScript compiler.
var places = regexp.MustCompile(`([\w@.+/-]+\.\w+)(?::(\d+)(?::(\d+))?|\((\d+),(\d+)\))`)

// locate finds the place that a reason names. A file may be named within a folder that the reason names as well, as in
// "charts/backstage: values.yaml:3: …".
func locate(checkout fs.FS, reason string) (place, bool) {
	folders := []string{"."}
	for _, word := range strings.FieldsFunc(reason, func(r rune) bool { return strings.ContainsRune(" :;,()\"'", r) }) {
		word = strings.TrimPrefix(strings.TrimSuffix(word, "/"), "./")
		if info, err := fs.Stat(checkout, word); err == nil && info.IsDir() && word != "." {
			folders = append(folders, word)
		}
	}
	for _, m := range places.FindAllStringSubmatch(reason, -1) {
		for _, folder := range folders {
			file := path.Join(folder, m[1])
			if info, err := fs.Stat(checkout, file); err == nil && info.Mode().IsRegular() {
				return place{file, m[2] + m[4], m[3] + m[5]}, true
			}
		}
	}
	return place{}, false
}
