package proof

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

// repository is a clone of the session's repository, to make the commits that follow the released one.
type repository struct {
	dir, branch, chart string
	repo               *git.Repo
}

func clone(ctx context.Context, remote, branch, chart string) (*repository, error) {
	dir, err := os.MkdirTemp("", "proof-")
	if err != nil {
		return nil, err
	}
	r := &repository{dir: dir, branch: branch, chart: chart, repo: git.Open(dir)}
	for _, args := range [][]string{
		{"clone", "--quiet", "--branch", branch, remote, "."},
		{"config", "user.name", "Backstage GitOps proof"},
		{"config", "user.email", "proof@backstage-gitops.invalid"},
	} {
		if _, err := r.repo.Run(ctx, args...); err != nil {
			return nil, fmt.Errorf("clone the session's repository: %w", err)
		}
	}
	return r, nil
}

func (r *repository) close() error { return os.RemoveAll(r.dir) }

// commit changes the chart, pushes, and gives the new revision. Files are by their path in the chart; nil removes one.
func (r *repository) commit(ctx context.Context, subject string, values map[string]any, files map[string][]byte) (string, error) {
	revision, err := r.local(ctx, subject, values, files)
	if err != nil {
		return "", err
	}
	if _, err := r.repo.Run(ctx, "push", "--quiet", "origin", "HEAD:"+r.branch); err != nil {
		return "", fmt.Errorf("%s: %w", subject, err)
	}
	return revision, nil
}

// local is a commit that is pushed with the next one.
func (r *repository) local(ctx context.Context, subject string, values map[string]any, files map[string][]byte) (string, error) {
	if err := r.edit(values, files); err != nil {
		return "", fmt.Errorf("%s: %w", subject, err)
	}
	for _, args := range [][]string{
		{"add", "--all"},
		{"commit", "--quiet", "--allow-empty", "--message", subject},
	} {
		if _, err := r.repo.Run(ctx, args...); err != nil {
			return "", fmt.Errorf("%s: %w", subject, err)
		}
	}
	return r.tip(ctx)
}

// goBack has the folders below be again, in the working copy, what they were at a revision.
func (r *repository) goBack(ctx context.Context, revision string, folders ...string) error {
	for _, args := range [][]string{{"rm", "-r", "--quiet", "--force", "--ignore-unmatch", "--"}, {"checkout", "--quiet", revision, "--"}} {
		if _, err := r.repo.Run(ctx, append(args, folders...)...); err != nil {
			return fmt.Errorf("go back to %s: %w", revision, err)
		}
	}
	return nil
}

// revert takes the last commit back, pushes, and gives the new revision.
func (r *repository) revert(ctx context.Context) (string, error) {
	for _, args := range [][]string{
		{"revert", "--no-edit", "HEAD"},
		{"push", "--quiet", "origin", "HEAD:" + r.branch},
	} {
		if _, err := r.repo.Run(ctx, args...); err != nil {
			return "", fmt.Errorf("take the last commit back: %w", err)
		}
	}
	return r.tip(ctx)
}

// tip is the last commit.
func (r *repository) tip(ctx context.Context) (string, error) {
	return r.repo.Run(ctx, "rev-parse", "HEAD")
}

// follow goes to where the branch is in the session's repository.
func (r *repository) follow(ctx context.Context) error {
	for _, args := range [][]string{
		{"fetch", "--quiet", "origin", r.branch},
		{"reset", "--quiet", "--hard", "FETCH_HEAD"},
	} {
		if _, err := r.repo.Run(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

func (r *repository) edit(values map[string]any, files map[string][]byte) error {
	for name, content := range files {
		path := filepath.Join(r.dir, filepath.FromSlash(r.chart), filepath.FromSlash(name))
		if content == nil {
			if err := os.Remove(path); err != nil {
				return err
			}
			continue
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	if values == nil {
		return nil
	}
	path := filepath.Join(r.dir, filepath.FromSlash(r.chart), "values.yaml")
	text, err := merged(path, values)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// merged is a file of values with others in it.
func merged(file string, values map[string]any) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return amended(text, values)
}

// amended are values, as YAML, with others in them.
func amended(text []byte, values map[string]any) ([]byte, error) {
	all := map[string]any{}
	if err := yaml.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	merge(all, values)
	return yaml.Marshal(all)
}

// merge puts the values of from into to, map by map.
func merge(to, from map[string]any) {
	for key, value := range from {
		inner, ok := value.(map[string]any)
		present, there := to[key].(map[string]any)
		if ok && there {
			merge(present, inner)
			continue
		}
		to[key] = value
	}
}
