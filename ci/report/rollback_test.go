package report_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/report"
)

// TestRollback turns the facts of testdata/rollback into reports.
func TestRollback(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/rollback/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no facts in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var r report.Rollback
			if err := json.Unmarshal(text, &r); err != nil {
				t.Fatal(err)
			}
			got, err := r.Markdown("", "canary")
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(got), "canary") {
				t.Error("the report shows a secret")
			}
			golden(t, strings.TrimSuffix(file, ".json")+".md", got)
		})
	}
}

// TestRollbackRefused: a report cannot claim what its facts do not show.
func TestRollbackRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no facts":           `{}`,
		"no image":           `{"revert": {"commit": "a", "reverted": {"commit": "b"}, "restored": {"digest": "sha256:1"}}}`,
		"no revert":          `{"image": "app"}`,
		"nothing taken back": `{"image": "app", "revert": {"commit": "a", "restored": {"digest": "sha256:1"}}}`,
		"nothing restored":   `{"image": "app", "revert": {"commit": "a", "reverted": {"commit": "b"}}}`,
	} {
		var r report.Rollback
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Markdown(); !errors.Is(err, report.ErrFacts) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
