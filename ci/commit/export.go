package commit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

// Exported is a folder of a repository as one commit has it.
type Exported struct {
	// Revision is the last commit that changed the folder, Time that of its committer.
	Revision string    `json:"revision"`
	Time     time.Time `json:"time"`
}

// Export writes a folder of the target's branch into the directory to, as a commit of that branch has it; no commit
// means the branch's tip. The repository of dir is only read.
func Export(ctx context.Context, dir string, t Target, sha, folder, to string) (result Exported, err error) {
	from := git.Open(dir)
	r, done, err := scratch(ctx, from, t.Remote, t.Branch, t.Credential)
	if err != nil {
		return Exported{}, err
	}
	defer func() { err = errors.Join(err, done()) }()
	tip, err := r.Fetch(ctx, t.Remote, t.Branch)
	if err != nil {
		return Exported{}, err
	}
	if sha == "" {
		sha = tip
	}
	if on, err := r.IsAncestor(ctx, sha, tip); err != nil || !on {
		return Exported{}, errors.Join(fmt.Errorf("%s of %s does not have the commit %s", t.Branch, git.Redact(t.Remote), sha), err)
	}
	changed, err := r.Run(ctx, "log", "-1", "--format=%H %cI", sha, "--", folder)
	if err != nil {
		return Exported{}, err
	}
	var at string
	if n, _ := fmt.Sscan(changed, &result.Revision, &at); n != 2 {
		return Exported{}, fmt.Errorf("%s of %s has no folder %s at %s", t.Branch, git.Redact(t.Remote), folder, sha)
	}
	if result.Time, err = time.Parse(time.RFC3339, at); err != nil {
		return Exported{}, err
	}
	if _, err := r.Run(ctx, "--work-tree="+to, "checkout", "--quiet", sha, "--", folder); err != nil {
		return Exported{}, err
	}
	return result, nil
}
