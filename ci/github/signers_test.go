package github_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/github"
)

func TestSigners(t *testing.T) {
	t.Parallel()
	const workflow = "https://github.com/acme/portal/.github/workflows/release.yml"
	for name, c := range map[string]struct {
		workflow, branch, tag string
		want                  []string // after the workflow; none: refused
	}{
		"of a branch":            {workflow, "main", "main-0123456789ab", []string{"@refs/heads/main"}},
		"another branch":         {workflow, "release/1", "sha-0123456789ab", []string{"@refs/heads/release/1"}},
		"a version":              {workflow, "main", "1.2.3", []string{"@refs/tags/v1.2.3", "@refs/tags/1.2.3", "@refs/heads/main"}},
		"a version with a build": {workflow, "main", "1.2.3-rc.1_7", []string{"@refs/tags/v1.2.3-rc.1+7", "@refs/tags/1.2.3-rc.1+7", "@refs/heads/main"}},
		"no whole version":       {workflow, "main", "1.2", []string{"@refs/heads/main"}},
		"that one alone":         {workflow + "@refs/heads/dev", "main", "1.2.3", []string{"@refs/heads/dev"}},
		"nothing":                {workflow: ""},
		"a repository":           {workflow: "https://github.com/acme/portal"},
		"another file":           {workflow: "https://github.com/acme/portal/release.yml"},
		"no reference":           {workflow: workflow + "@main"},
		"blanks":                 {workflow: workflow + "@refs/heads/a b"},
		"no TLS":                 {workflow: "http" + strings.TrimPrefix(workflow, "https")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := github.Signers(c.workflow, c.branch, c.tag)
			if c.want == nil {
				if err == nil || !strings.Contains(err.Error(), "is no workflow: give https://github.com/OWNER/REPO/.github/workflows/FILE.yml") {
					t.Fatalf("got %q, %v", got, err)
				}
				return
			}
			for i, ref := range c.want {
				c.want[i] = workflow + ref
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}
