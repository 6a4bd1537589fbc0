package commit_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
)

func TestExport(t *testing.T) {
	t.Parallel()
	r, target, bare := seeded(t)
	before := run(t, bare, "rev-parse", "main")
	pushed, err := commit.Push(t.Context(), r.Dir(), release(1), target)
	if err != nil {
		t.Fatal(err)
	}
	later := onTop(t, r, bare, "elsewhere", map[string]string{"README.md": "more\n"})

	for name, c := range map[string]struct {
		revision, folder string
		// want is the last commit that changed the folder, holds whether it names the release.
		want  string
		holds bool
		err   string
	}{
		"the branch":                  {folder: "charts/backstage", want: pushed.SHA, holds: true},
		"a commit that left it alone": {revision: later, folder: "charts/backstage", want: pushed.SHA, holds: true},
		"a commit before":             {revision: before, folder: "charts/backstage", want: before},
		"no such folder":              {folder: "charts/none", err: "has no folder charts/none"},
		"a commit of no branch":       {revision: strings.Repeat("1", 40), folder: "charts/backstage", err: "does not have the commit 1111"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			exported, err := commit.Export(t.Context(), r.Dir(), target, c.revision, c.folder, dir)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("%v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if exported.Revision != c.want {
				t.Errorf("changed last by %s, want %s", exported.Revision, c.want)
			}
			if at := run(t, bare, "show", "-s", "--format=%ct", c.want); strconv.FormatInt(exported.Time.Unix(), 10) != at {
				t.Errorf("its time is %s, want %s", exported.Time, at)
			}
			values, err := os.ReadFile(filepath.Join(dir, c.folder, "values.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(values), digest(1)) != c.holds {
				t.Errorf("values.yaml is\n%s", values)
			}
		})
	}
}
