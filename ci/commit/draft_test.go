package commit_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
)

func TestDraft(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(dir string) error
		// files are those of the commit; none: there is nothing to commit.
		files, refused string
	}{
		"nothing": {change: func(string) error { return nil }},
		"the same text again": {change: func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "ä b.yaml"), []byte("1\n"), 0o644)
		}},
		"a file": {files: "ä b.yaml", change: func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "ä b.yaml"), []byte("2\n"), 0o644)
		}},
		"a file that Git does not know": {change: func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "new"), nil, 0o644)
		}},
		"a file that is gone": {refused: "ä b.yaml: no such file", change: func(dir string) error {
			return os.Remove(filepath.Join(dir, "ä b.yaml"))
		}},
		"a link": {refused: "is not a regular file", change: func(dir string) error {
			if err := os.Remove(filepath.Join(dir, "link")); err != nil {
				return err
			}
			return os.Symlink("elsewhere", filepath.Join(dir, "link"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			git := func(args ...string) string {
				out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)...).CombinedOutput()
				if err != nil {
					t.Fatalf("git %v: %v\n%s", args, err, out)
				}
				return strings.TrimSpace(string(out))
			}
			git("init", "-q", "-b", "main")
			if err := os.WriteFile(filepath.Join(dir, "ä b.yaml"), []byte("1\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("here", filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
			git("add", "-A")
			git("commit", "-q", "-m", "first")
			head := git("rev-parse", "HEAD")
			if err := c.change(dir); err != nil {
				t.Fatal(err)
			}
			status := git("status", "--porcelain")

			draft, err := commit.Draft(t.Context(), dir, "chore: change\n")
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Fatalf("%v, want %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if draft.Nothing != (c.files == "") || draft.Nothing && draft.SHA != head {
				t.Fatalf("%+v", draft)
			}
			if got := git("-c", "core.quotePath=false", "diff", "--name-only", head, draft.SHA); got != c.files {
				t.Errorf("it changes %q, want %q", got, c.files)
			}
			if now := git("rev-parse", "HEAD") + git("status", "--porcelain"); now != head+status {
				t.Errorf("the checkout changed: %s", now)
			}
		})
	}
}
