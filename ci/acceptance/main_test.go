// Package acceptance uses the Dagger module from outside, as a Go program of its users would: it connects to an
// engine, serves the module from the checkout, and calls its functions by GraphQL.
package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dagger.io/dagger"
)

// client is connected to the engine and serves the module.
var client *dagger.Client

// project is the checkout that the module is served from.
var project string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx := context.Background()
	var err error
	if project, err = filepath.Abs("../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if client, err = dagger.Connect(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "these tests want a Dagger engine, run them by ./daggerw check acceptance:", err)
		return 1
	}
	defer client.Close()
	if err := client.ModuleSource(project).AsModule().Serve(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "serve the module:", err)
		return 1
	}
	return m.Run()
}

// module is an object of the module's main type, made with these arguments.
type module struct {
	// Checkout and Source are folders of this machine, empty for the default.
	Checkout, Source string
	// Key and KeyPassword sign images, empty for the default; OidcURL and OidcToken are those of a job.
	Key, KeyPassword, OidcURL, OidcToken string
	// Settings are more of the constructor's arguments.
	Settings string
	// Ephemeral leaves nothing of the embedded services behind.
	Ephemeral bool
}

// call selects from the module and decodes what it answers into T, whose JSON is that of the selection.
func call[T any](t *testing.T, m module, selection string, variables ...variable) (T, error) {
	t.Helper()
	constructor := []string{strings.TrimSpace(fmt.Sprintf("ephemeral: %t %s", m.Ephemeral, m.Settings))}
	for name, text := range map[string]string{"signingKey": m.Key, "signingPassword": m.KeyPassword, "oidcUrl": m.OidcURL, "oidcToken": m.OidcToken} {
		if text == "" {
			continue
		}
		variables = append(variables, secret(t, name, text))
		constructor = append(constructor, name+": $"+name)
	}
	for name, path := range map[string]string{"checkout": m.Checkout, "source": m.Source} {
		if path == "" {
			continue
		}
		// A test may have changed it since the last call.
		id, err := client.Host().Directory(path, dagger.HostDirectoryOpts{NoCache: true}).ID(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		variables = append(variables, variable{name, "ID!", id})
		constructor = append(constructor, name+": $"+name)
	}
	values := map[string]any{}
	var declared []string
	for _, v := range variables {
		values[v.name] = v.value
		declared = append(declared, "$"+v.name+": "+v.kind)
	}
	query := "query"
	if len(declared) > 0 {
		query += "(" + strings.Join(declared, ", ") + ")"
	}
	query += fmt.Sprintf(" { backstageGitops(%s) { %s } }", strings.Join(constructor, ", "), selection)
	var answer struct{ BackstageGitops T }
	err := client.Do(t.Context(), &dagger.Request{Query: query, Variables: values}, &dagger.Response{Data: &answer})
	return answer.BackstageGitops, err
}

// variable is an argument of a query.
type variable struct {
	name, kind string
	value      any
}

// secret is an argument that holds a secret, under a name of its own.
func secret(t *testing.T, name, plaintext string) variable {
	t.Helper()
	id, err := client.SetSecret(t.Name()+"/"+name, plaintext).ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return variable{name, "ID!", id}
}

// released is what a release answers.
type released struct {
	Outcome, Image, Tag, Commit, Summary string
	Report                               struct {
		JSON, Markdown struct{ Contents string }
		Entries        []string
	}
}

// releasing is the selection of all of it; arguments are more of the function's. Nothing is proved in a cluster unless they
// say so, that is tested on its own.
func releasing(arguments string) string {
	if !strings.Contains(arguments, "verify:") {
		arguments = "verify: false " + arguments
	}
	return "released(" + arguments + `) {
		outcome image tag commit summary
		report { entries JSON: file(path: "report.json") { contents } Markdown: file(path: "report.md") { contents } }
	}`
}

// release releases and returns what came of it.
func release(t *testing.T, m module, arguments string, variables ...variable) (released, error) {
	t.Helper()
	answer, err := call[struct{ Released released }](t, m, releasing(arguments), variables...)
	return answer.Released, err
}

// document is what the tests read of a report.
type document struct {
	Outcome, Reason string
	Source          struct{ Revision, InputsRevision string }
	Image           struct {
		Name, Tag, Digest          string
		CompressedBytes, DiskBytes int64
	}
	Commit struct{ SHA, Parent, Branch string }
	// Attestation and Verification are what is said of the image, and what was seen of that.
	Attestation struct {
		Signed   bool
		SignedBy string
		Total    int
		Packages map[string]int
		Scan     struct{ Scanned bool }
	}
	Verification struct {
		Image  string
		Origin struct{ Revision string }
	}
	// ProofBundle is the signed document of the release, beside the image.
	ProofBundle struct {
		Digest, Verdict, Missing string
		Kept                     bool
	}
	// ChartArtifact is the chart beside the image.
	ChartArtifact struct{ Name, Version, Digest, SignedBy string }
	Timings       []struct {
		Step   string
		Failed bool
	}
}

func (r released) document(t *testing.T) document {
	t.Helper()
	var d document
	if err := json.Unmarshal([]byte(r.Report.JSON.Contents), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// git runs git in a folder and returns what it prints.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	return command(t, dir, "git", append([]string{"-c", "user.name=test", "-c", "user.email=test@localhost"}, args...)...)
}

func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, stderr.String())
	}
	return strings.TrimSpace(stdout.String())
}

// checkout is a clone of the project, to be changed by a test.
func checkout(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "checkout")
	git(t, ".", "clone", "--quiet", "--no-hardlinks", project, dir)
	return dir
}

func commit(t *testing.T, dir string) {
	t.Helper()
	git(t, dir, "commit", "--quiet", "--all", "--message", "test: change something")
}

// edit replaces a text in a file of a checkout, and refuses to change nothing.
func edit(t *testing.T, dir, file, before, after string) {
	t.Helper()
	path := filepath.Join(dir, file)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(content), before, after, 1)
	if changed == string(content) {
		t.Fatalf("%s does not hold %q", file, before)
	}
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
}
