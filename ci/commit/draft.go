package commit

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

// Draft makes the commit of what a checkout's work tree changes in its files, on top of HEAD. No branch moves, and the
// index is not written. Where nothing is changed that is HEAD.
func Draft(ctx context.Context, dir, message string) (Commit, error) {
	r := git.Open(dir)
	head, err := resolve(ctx, r, "HEAD")
	if err != nil {
		return Commit{}, err
	}
	out, err := r.Do(ctx, git.Command{Args: []string{"diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", "HEAD"}})
	if err != nil {
		return Commit{}, err
	}
	c := Commit{SHA: head, Base: head, Source: head}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		file, err := readEntry(ctx, r, head, name)
		if err != nil {
			return Commit{}, err
		}
		if file.Text, err = os.ReadFile(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return Commit{}, err
		}
		c.Files = append(c.Files, file)
	}
	if c.Nothing = len(c.Files) == 0; c.Nothing {
		return c, nil
	}
	c.Parent = head
	c.SHA, c.Tree, err = write(ctx, r, head, head, message, c.Files...)
	return c, err
}
