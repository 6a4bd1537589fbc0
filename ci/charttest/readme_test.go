package charttest

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the charts' README.md")

// A README is what helm-docs makes of its template and the comments of values.yaml, and no value is without one.
func TestREADME(t *testing.T) {
	t.Parallel()
	// Built first: go says on the same stream what it downloads for that.
	tool := filepath.Join(t.TempDir(), "helm-docs")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", tool, "github.com/norwoodj/helm-docs/cmd/helm-docs").CombinedOutput(); err != nil {
		t.Fatalf("build helm-docs: %v\n%s", err, out)
	}
	for _, dir := range chartDirs(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			copied := t.TempDir()
			for _, name := range []string{"Chart.yaml", "values.yaml", "README.md.gotmpl"} {
				text, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(copied, name), text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			out, err := exec.CommandContext(t.Context(), tool, "--chart-search-root", copied, "--sort-values-order", "file",
				"--log-level", "warning").CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Fatalf("helm-docs: %v\n%s", err, out)
			}
			made, err := os.ReadFile(filepath.Join(copied, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(made)) {
				if strings.HasPrefix(line, "| ") && strings.HasSuffix(line, "|  |\n") {
					t.Errorf("values.yaml has no comment on %s", line)
				}
			}
			readme := filepath.Join(dir, "README.md")
			if *update {
				if err := os.WriteFile(readme, made, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if text, err := os.ReadFile(readme); err != nil || string(text) != string(made) {
				t.Errorf("%s is not what helm-docs makes of %s: run go test . -run README -update in ci/charttest (%v)", readme, dir, err)
			}
		})
	}
}
