// Package ci_test holds the rules on how the packages below ci may import one another.
package ci_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/backstage-gitops/backstage-gitops/ci/"

// allowed are the imports within ci, as the table of README.md has them for the packages that it names. Programs and
// tests may import anything but programs.
var allowed = map[string][]string{
	"actions":                          {"report"},
	"attest":                           {"image"},
	"attest/cmd/attest":                {"attest", "attest/policy", "attest/proof", "attest/provenance", "attest/sbom", "attest/scan", "git", "image"},
	"attest/policy":                    {"attest", "attest/proof", "attest/provenance", "attest/sbom"},
	"attest/proof":                     {"attest", "git", "imageref"},
	"attest/provenance":                {"imageref"},
	"attest/sbom":                      {},
	"attest/scan":                      {},
	"attest/sigstoretest":              {},
	"bench":                            {"image"},
	"bump":                             {"imageref"},
	"chart":                            {},
	"cluster":                          {"health", "kube", "manifests"},
	"commit":                           {"bump", "git", "imageref"},
	"environments":                     {"bump", "chart", "git"},
	"git":                              {},
	"github":                           {"commit", "git"},
	"github/githubtest":                {"git", "gitserver"},
	"github/githubtest/cmd/fakegithub": {"github/githubtest", "gitserver"},
	"gitserver":                        {"git"},
	"health":                           {},
	"image":                            {"imageref"},
	"imageref":                         {},
	"keyserver":                        {},
	"kube":                             {},
	"manifests":                        {"health", "kube"},
	"proof":                            {"bump", "cluster", "commit", "environments", "git", "health", "kube", "manifests", "sync"},
	"report":                           {"bump", "commit", "git", "source"},
	"source":                           {"bump", "git", "imageref"},
	"sync":                             {"health", "imageref", "kube", "manifests"},
	"workflows":                        {},
}

// heavy are libraries that these packages alone may link.
var heavy = map[string][]string{
	"github.com/anchore/":         {"attest/cmd/attest", "attest/sbom", "attest/scan"},
	"github.com/sigstore/":        {"attest", "attest/sigstoretest"},
	"helm.sh/helm":                {"chart"},
	"k8s.io/":                     {"chart", "cluster", "health", "kube", "manifests", "proof", "sync"},
	"github.com/chromedp/":        {"proof"},
	"github.com/google/go-github": {"github"},
	"sigs.k8s.io/cli-utils":       {"health"},
	"sigs.k8s.io/kind":            {"cluster"},
}

func TestImportsRunOneWay(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		pkg := path.Dir(filepath.ToSlash(file))
		if !strings.HasSuffix(file, ".go") || pkg == "." {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		seen[pkg] = true
		for _, i := range parsed.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			check(t, file, pkg, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range allowed {
		if !seen[pkg] {
			t.Errorf("the package %s of the table is not there", pkg)
		}
	}
}

// The README's table names every package at the top of ci, with the imports that are allowed.
func TestREADME(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	for line := range strings.Lines(string(readme)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) == 4 && strings.HasPrefix(cells[0], " `") {
			rows[strings.Trim(cells[0], " `")] = quoted.FindAllString(cells[3], -1)
		}
	}
	for pkg, want := range allowed {
		got, found := rows[pkg]
		switch {
		case !found && strings.Contains(pkg, "/"):
		case !found:
			t.Errorf("the table lacks a row of the package %s", pkg)
		case strings.Join(got, "") != quote(want):
			t.Errorf("the table lets %s import %s, the rule is %s", pkg, strings.Join(got, ""), quote(want))
		}
	}
	for pkg := range rows {
		if _, found := allowed[pkg]; !found && !strings.HasPrefix(pkg, "cmd/") {
			t.Errorf("the table has a row of %s, for which there is no rule", pkg)
		}
	}
}

var quoted = regexp.MustCompile("`[^`]+`")

func quote(names []string) string {
	var all strings.Builder
	for _, name := range names {
		all.WriteString("`" + name + "`")
	}
	return all.String()
}

func check(t *testing.T, file, pkg, imported string) {
	t.Helper()
	for library, owners := range heavy {
		if _, known := allowed[pkg]; known && strings.HasPrefix(imported, library) && !slices.Contains(owners, pkg) {
			t.Errorf("%s imports %s; only %s may", file, imported, strings.Join(owners, ", "))
		}
	}
	within, ok := strings.CutPrefix(imported, module)
	if !ok || within == pkg {
		return
	}
	switch {
	case strings.HasPrefix(within, "cmd/"):
		t.Errorf("%s imports the program %s", file, within)
	case strings.HasPrefix(within, "airgap") && !strings.HasPrefix(pkg, "airgap") && pkg != "cmd/airgap":
		t.Errorf("%s imports %s; nothing but its program may", file, within)
	case strings.HasPrefix(pkg, "cmd/"), strings.HasPrefix(pkg, "airgap"), strings.HasSuffix(file, "_test.go"):
	case !slices.Contains(allowed[pkg], within):
		t.Errorf("%s imports %s, which the table does not allow", file, within)
	}
}
