package commit_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/backstage-gitops/backstage-gitops/ci/commit"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

var change = commit.Change{Title: "chore: change", Name: "promote/staging"}

// write writes a file of a checkout, and commits nothing.
func write(t *testing.T, r *git.Repo, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.Dir(), name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPushChange(t *testing.T) {
	t.Parallel()
	const file = "ä b.yaml"
	for name, c := range map[string]struct {
		work func(dir string) error
		// files are those of the commit; none: there is nothing to commit.
		files, refused string
	}{
		"nothing":             {work: func(string) error { return nil }},
		"the same text again": {work: func(dir string) error { return os.WriteFile(filepath.Join(dir, file), []byte("1\n"), 0o644) }},
		"another mode":        {work: func(dir string) error { return os.Chmod(filepath.Join(dir, file), 0o755) }},
		"a file":              {files: file, work: func(dir string) error { return os.WriteFile(filepath.Join(dir, file), []byte("2\n"), 0o644) }},
		"a file that Git does not know": {work: func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "new"), nil, 0o644)
		}},
		"a file that is gone": {refused: file + ": no such file", work: func(dir string) error {
			return os.Remove(filepath.Join(dir, file))
		}},
		"a link": {refused: "is not a regular file", work: func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "link")), os.Symlink("elsewhere", filepath.Join(dir, "link")))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, target, bare := seeded(t)
			if err := os.Symlink("here", filepath.Join(r.Dir(), "link")); err != nil {
				t.Fatal(err)
			}
			head := save(t, r, "more", map[string]string{file: "1\n"})
			run(t, r, "push", "-q", bare.Dir(), "HEAD:main")
			if err := c.work(r.Dir()); err != nil {
				t.Fatal(err)
			}
			before := run(t, r, "status", "--porcelain") + run(t, r, "for-each-ref") + run(t, r, "count-objects")

			got, err := commit.PushChange(t.Context(), r.Dir(), change, target)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Fatalf("%v, want %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Nothing != (c.files == "") || got.SHA != run(t, bare, "rev-parse", "main") || got.Nothing && got.SHA != head {
				t.Fatalf("%+v", got)
			}
			if changed := run(t, bare, "diff", "--name-only", head, "main"); changed != c.files {
				t.Errorf("it changes %q, want %q", changed, c.files)
			}
			if message := run(t, bare, "log", "-1", "--format=%B", "main"); !got.Nothing && message != "chore: change [skip ci]\n\nChange: promote/staging@"+head {
				t.Errorf("it says\n%s", message)
			}
			if now := run(t, r, "status", "--porcelain") + run(t, r, "for-each-ref") + run(t, r, "count-objects"); now != before {
				t.Errorf("the checkout changed: %s, before %s", now, before)
			}
		})
	}
	r, target, _ := seeded(t)
	for _, bad := range []commit.Change{{}, {Title: "a"}, {Name: "a"}, {Title: "a\nb", Name: "a"}, {Title: "a", Name: "a b"}} {
		if _, err := commit.PushChange(t.Context(), r.Dir(), bad, target); err == nil || !strings.Contains(err.Error(), "wants a title of one line") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// TestPushChangeOntoAnother: a branch that went on since the checkout gets the change as well, unless that is about what
// others have changed.
func TestPushChangeOntoAnother(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		theirs  map[string]string
		reset   bool
		nothing bool
		want    error
	}{
		"another file":              {theirs: map[string]string{"theirs": "1"}},
		"the same file":             {theirs: map[string]string{"file": "3"}, want: commit.ErrOutdated},
		"the file is gone":          {theirs: map[string]string{"file": ""}, want: commit.ErrOutdated},
		"the very same change":      {theirs: map[string]string{"file": "2"}, nothing: true},
		"the checkout is not there": {reset: true, want: commit.ErrDiverged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, target, bare := seeded(t)
			head := run(t, r, "rev-parse", "HEAD")
			if c.reset {
				save(t, r, "never pushed", map[string]string{"file": "1"})
			} else {
				save(t, r, "theirs", c.theirs)
				run(t, r, "push", "-q", bare.Dir(), "HEAD:main")
				run(t, r, "reset", "-q", "--hard", head)
			}
			write(t, r, "file", "2")
			tip := run(t, bare, "rev-parse", "main")
			got, err := commit.PushChange(t.Context(), r.Dir(), change, target)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			switch now := run(t, bare, "rev-parse", "main"); {
			case c.want != nil || c.nothing:
				if now != tip || got.Nothing != c.nothing {
					t.Errorf("main went from %s to %s: %+v", tip, now, got)
				}
			case got.Parent != tip || got.SHA != now || run(t, bare, "diff", "--name-only", tip, now) != "file" || run(t, bare, "show", "main:file") != "2":
				t.Errorf("main went from %s to %s: %+v", tip, now, got)
			}
		})
	}
}

// TestChangesRace: changes of different files meet at one branch, and none is lost.
func TestChangesRace(t *testing.T) {
	t.Parallel()
	const changes = 6
	r, target, bare := seeded(t)
	hook(t, bare, "pre-receive", "sleep 0.05\n")
	files := map[string]string{}
	name := func(n int) string { return "file" + string(rune('a'+n)) }
	for n := range changes {
		files[name(n)] = "1"
	}
	save(t, r, "files", files)
	run(t, r, "push", "-q", bare.Dir(), "HEAD:main")
	target.Attempts = 10 * changes
	var wg sync.WaitGroup
	for n := range changes {
		dir := filepath.Join(t.TempDir(), "clone")
		run(t, r, "clone", "-q", r.Dir(), dir)
		write(t, git.Open(dir), name(n), "2")
		wg.Go(func() {
			if _, err := commit.PushChange(t.Context(), dir, change, target); err != nil {
				t.Errorf("change %d: %v", n, err)
			}
		})
	}
	wg.Wait()
	if got := run(t, bare, "rev-list", "--first-parent", "--count", "main"); got != "8" {
		t.Errorf("%s commits, want the first two and six changes", got)
	}
	for n := range changes {
		if got := run(t, bare, "show", "main:"+name(n)); got != "2" {
			t.Errorf("change %d is lost: %s", n, got)
		}
	}
}
