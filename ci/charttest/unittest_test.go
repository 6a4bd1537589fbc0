// Package charttest runs the tools of the field on the charts: helm-unittest, kubeconform and helm-docs.
package charttest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/helm-unittest/helm-unittest/pkg/unittest"
	"github.com/helm-unittest/helm-unittest/pkg/unittest/printer"
)

// charts is the folder of the charts.
const charts = "../../charts"

// chartDirs are the charts themselves.
func chartDirs(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(charts, "*", "Chart.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no charts under %s: %v", charts, err)
	}
	var dirs []string
	for _, file := range files {
		dirs = append(dirs, filepath.Dir(file))
	}
	return dirs
}

func TestSuites(t *testing.T) {
	t.Parallel()
	for _, dir := range chartDirs(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			files, err := filepath.Glob(filepath.Join(dir, "tests", "*_test.yaml"))
			if err != nil || len(files) == 0 {
				t.Fatalf("no suites in %s/tests: %v", dir, err)
			}
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(string(text), "# Why: ") {
					t.Errorf("%s does not begin with why", file)
				}
			}
			var out bytes.Buffer
			colour := false
			runner := unittest.TestRunner{Printer: printer.NewPrinter(&out, &colour), Strict: true, TestFiles: []string{"tests/*_test.yaml"}}
			if !runner.RunV3([]string{dir}) {
				t.Error(out.String())
			}
		})
	}
}
