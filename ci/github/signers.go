package github

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// workflowFile is the address of a workflow, without or with the branch or tag that it is of.
var workflowFile = regexp.MustCompile(`^https://[^/\s@]+/[^/\s@]+/[^/\s@]+/\.github/workflows/[^/\s@]+\.ya?ml(@refs/\S+)?$`)

// Signers are the identities of a workflow that releases by which an image with a tag may be signed without a key: for a
// version its runs for the version's tag of Git, and its runs for the branch. A workflow that is given with its @refs/…
// is that identity alone.
func Signers(workflow, branch, tag string) ([]string, error) {
	found := workflowFile.FindStringSubmatch(workflow)
	switch {
	case found == nil:
		return nil, fmt.Errorf("the identity %q is no workflow: give https://github.com/OWNER/REPO/.github/workflows/FILE.yml, or one run of it with @refs/heads/BRANCH", workflow)
	case found[1] != "":
		return []string{workflow}, nil
	}
	signers := []string{}
	// A tag of an image cannot hold the + of a version.
	version := strings.ReplaceAll(tag, "_", "+")
	if _, err := semver.StrictNewVersion(version); err == nil {
		signers = append(signers, workflow+"@refs/tags/v"+version, workflow+"@refs/tags/"+version)
	}
	return append(signers, workflow+"@refs/heads/"+branch), nil
}
