package acceptance

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// functions are those that people call, by the object that has them.
var functions = map[string][]string{
	"BackstageGitops":      {"acceptance", "app", "attestTest", "bench", "benchAttest", "benchCluster", "chart", "cluster", "diff", "git", "goTest", "image", "promote", "proofCheck", "publicKey", "publish", "pushPromotion", "registry", "release", "releaseProof", "released", "reproducibleCheck", "rollback", "rolledBack", "serve", "slimTest", "verifyRelease"},
	"BackstageGitopsApp":   {"bundle", "deps", "lint", "productionDeps", "test", "typecheck"},
	"BackstageGitopsChart": {"bump", "lint", "package", "render", "test"},
}

func TestFunctionsAreDocumented(t *testing.T) {
	t.Parallel()
	objects, err := client.ModuleSource(project).AsModule().Objects(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string][]string{}
	for _, o := range objects {
		object := o.AsObject()
		name, err := object.Name(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		list, err := object.Functions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			function, err := f.Name(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			description, err := f.Description(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !sentence.MatchString(description) {
				t.Errorf("%s.%s: the help is %q, want sentences", name, function, description)
			}
			seen[name] = append(seen[name], function)
			args, err := f.Args(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range args {
				arg, err := a.Name(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				description, err := a.Description(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if !sentence.MatchString(description) {
					t.Errorf("%s.%s: the help of --%s is %q, want sentences", name, function, arg, description)
				}
			}
		}
	}
	readme, err := os.ReadFile(filepath.Join(project, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for object, want := range functions {
		chain := strings.ToLower(strings.TrimPrefix(object, "BackstageGitops"))
		for _, f := range want {
			if !slices.Contains(seen[object], f) {
				t.Errorf("%s has %q, and no %s", object, seen[object], f)
			}
			if _, chained := functions["BackstageGitops"+strings.ToUpper(f[:1])+f[1:]]; chained {
				continue // its own functions have the rows
			}
			if row := "| `" + strings.TrimSpace(chain+" "+kebab(f)) + "` |"; !strings.Contains(string(readme), row) {
				t.Errorf("the README's table of functions lacks %s", row)
			}
		}
	}
}

// sentence is how help begins and ends.
var sentence = regexp.MustCompile(`(?s)\A[A-Z].*\.\z`)

func kebab(name string) string {
	return strings.ToLower(regexp.MustCompile(`[A-Z]`).ReplaceAllString(name, "-$0"))
}

func TestImage(t *testing.T) {
	t.Parallel()
	answer, err := call[struct {
		Image struct {
			User, Workdir           string
			Entrypoint, DefaultArgs []string
			Labels                  []struct{ Name, Value string }
		}
	}](t, module{}, `image { user workdir entrypoint defaultArgs labels { name value } }`)
	if err != nil {
		t.Fatal(err)
	}
	image := answer.Image
	if image.User == "" || image.User == "0" || strings.HasPrefix(image.User, "0:") {
		t.Errorf("it runs as user %q", image.User)
	}
	if !slices.Equal(image.Entrypoint, []string{"node", "packages/backend"}) || image.Workdir != "/app" {
		t.Errorf("it runs %q in %s", image.Entrypoint, image.Workdir)
	}
	labels := map[string]string{}
	for _, l := range image.Labels {
		labels[strings.TrimPrefix(l.Name, "org.opencontainers.image.")] = l.Value
	}
	// A commit that changed the image's content, not just any.
	revision := labels["revision"]
	if got := git(t, project, "log", "-1", "--format=%H", "HEAD", "--", "backstage", "ci/slim", ".dagger/bases.go", ".dagger/image.go", ".dagger/app.go", ".dagger/scripts/yarn"); revision != got {
		t.Errorf("its revision is %q, want %s", revision, got)
	}
	for _, name := range []string{"title", "source", "version", "created"} {
		if labels[name] == "" {
			t.Errorf("it lacks the label %s", name)
		}
	}
}

func TestImageTag(t *testing.T) {
	t.Parallel()
	answer, err := call[struct{ Image struct{ Label string } }](t, module{}, `image(tag: "1.2.3") { label(name: "org.opencontainers.image.version") }`)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Image.Label != "1.2.3" {
		t.Errorf("its version is %q, want the given tag", answer.Image.Label)
	}
}

func TestChartWithValues(t *testing.T) {
	t.Parallel()
	file := func(content string) variable {
		id, err := client.Directory().WithNewFile("values.yaml", content).File("values.yaml").ID(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return variable{"values", "ID!", id}
	}
	answer, err := call[struct {
		Chart struct{ Render struct{ Contents string } }
	}](t, module{}, `chart { render(values: $values) { contents } }`, file("image:\n  tag: by-values\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(answer.Chart.Render.Contents, ":by-values") {
		t.Errorf("the manifests do not have the tag of the values file:\n%s", answer.Chart.Render.Contents)
	}
	_, err = call[any](t, module{}, `chart { lint(values: $values) }`, file("image: none\n"))
	refused(t, err, "image")
}

func TestChartBump(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("5", 64)
	answer, err := call[struct {
		Chart struct {
			Bump struct {
				ModifiedPaths, AddedPaths, RemovedPaths []string
				AsPatch                                 struct{ Contents string }
			}
		}
	}](t, module{}, `chart { bump(tag: "1.10", digest: $digest) { modifiedPaths addedPaths removedPaths asPatch { contents } } }`,
		variable{"digest", "String!", digest})
	if err != nil {
		t.Fatal(err)
	}
	changes := answer.Chart.Bump
	slices.Sort(changes.ModifiedPaths)
	if want := []string{"charts/backstage/Chart.yaml", "charts/backstage/values.yaml"}; !slices.Equal(changes.ModifiedPaths, want) || len(changes.AddedPaths)+len(changes.RemovedPaths) > 0 {
		t.Errorf("it changes %q, adds %q and removes %q, want only %q changed", changes.ModifiedPaths, changes.AddedPaths, changes.RemovedPaths, want)
	}
	if patch := changes.AsPatch.Contents; !strings.Contains(patch, digest) || !strings.Contains(patch, `"1.10"`) {
		t.Errorf("the patch does not name the image:\n%s", patch)
	}
}
