package source_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backstage-gitops/backstage-gitops/ci/bump"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
	"github.com/backstage-gitops/backstage-gitops/ci/source"
)

// project are the files of a minimal Backstage app with its chart.
var project = map[string]string{
	".gitignore":                              "ignored\n",
	"README.md":                               "1",
	"backstage/package.json":                  "{}",
	"backstage/yarn.lock":                     "#",
	"backstage/packages/app/package.json":     "{}",
	"backstage/packages/backend/package.json": "{}",
	"charts/backstage/values.yaml":            "image:\n  repository: docker.io/user/backstage-gitops\n  tag: latest\n  digest: \"\"\n",
	"charts/backstage/Chart.yaml":             "version: 0.1.0\nappVersion: latest\n",
	"ci/slim/recipe":                          "1",
}

var options = source.Options{App: "backstage", Chart: "charts/backstage"}

type repo struct {
	*git.Repo
	t *testing.T
	// now is the time of the next commit.
	now time.Time
}

func checkout(t *testing.T) *repo {
	t.Helper()
	r := &repo{Repo: git.Open(t.TempDir()), t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	r.run("init", "-q", "-b", "main")
	r.save("first", project)
	return r
}

func (r *repo) run(args ...string) string {
	r.t.Helper()
	out, err := r.Run(r.t.Context(), args...)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func (r *repo) write(files map[string]string) {
	r.t.Helper()
	for name, text := range files {
		path := filepath.Join(r.Dir(), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
}

// save commits files and returns the commit.
func (r *repo) save(message string, files map[string]string) string {
	r.t.Helper()
	r.write(files)
	r.run("add", "-A")
	r.now = r.now.Add(time.Hour)
	date := r.now.Format(time.RFC3339)
	_, err := r.Do(r.t.Context(), git.Command{
		Args: []string{"commit", "-q", "--allow-empty", "-m", message},
		Env: []string{"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
			"GIT_AUTHOR_DATE=" + date, "GIT_COMMITTER_DATE=" + date},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return r.run("rev-parse", "HEAD")
}

func (r *repo) read(o source.Options) source.Facts {
	r.t.Helper()
	f, err := source.Read(r.t.Context(), r.Dir(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

func TestRead(t *testing.T) {
	t.Parallel()
	r := checkout(t)
	r.run("remote", "add", "origin", "https://user:canary@example.com/o/r.git")
	first := r.run("rev-parse", "HEAD")
	app := r.save("feat: app", map[string]string{"backstage/packages/app/x.ts": "1"})
	recipe := r.save("feat: recipe", map[string]string{"ci/slim/recipe": "2"})
	docs := r.save("docs: readme", map[string]string{"README.md": "2"})
	r.write(map[string]string{"ignored": "1"})

	cases := map[string]struct {
		inputs   []string
		revision string
		at       string
	}{
		"the app is the default": {nil, app, "2026-01-01T02:00:00Z"},
		"the recipe as well":     {[]string{"backstage", "ci/slim", "./ci/slim/"}, recipe, "2026-01-01T03:00:00Z"},
		"one file":               {[]string{"backstage/yarn.lock"}, first, "2026-01-01T01:00:00Z"},
		"everything":             {[]string{"."}, docs, "2026-01-01T04:00:00Z"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options
			o.Inputs = c.inputs
			f := (&repo{Repo: r.Repo, t: t}).read(o)
			if f.InputsRevision != c.revision || f.InputsTime.Format(time.RFC3339) != c.at || f.InputsEpoch != f.InputsTime.Unix() {
				t.Errorf("inputs %s at %s; want %s at %s", f.InputsRevision, f.InputsTime, c.revision, c.at)
			}
			if want := "main-" + c.revision[:12]; f.Tag != want || f.Version != want || f.TagFrom != source.FromBranch {
				t.Errorf("tag %s, version %s, from %s; want %s", f.Tag, f.Version, f.TagFrom, want)
			}
			if f.Revision != docs || f.Time.Format(time.RFC3339) != "2026-01-01T04:00:00Z" || f.Subject != "docs: readme" || f.Branch != "main" {
				t.Errorf("HEAD is %+v", f)
			}
			if f.Remote != "https://example.com/o/r.git" {
				t.Errorf("remote %s", f.Remote)
			}
			if f.Chart != (bump.Pin{Tag: "latest"}) {
				t.Errorf("chart %+v", f.Chart)
			}
		})
	}
}

func TestTagOfCheckout(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		prepare func(r *repo)
		option  func(o *source.Options)
		want    string // {inputs} stands for the inputs' short commit
		version string
		from    source.TagOrigin
	}{
		"branch":                            {want: "main-{inputs}", from: source.FromBranch},
		"branch with a slash":               {prepare: func(r *repo) { r.run("checkout", "-q", "-b", "feature/größe") }, want: "feature-gr--e-{inputs}", from: source.FromBranch},
		"detached":                          {prepare: func(r *repo) { r.run("checkout", "-q", "--detach") }, want: "sha-{inputs}", from: source.FromCommit},
		"detached, branch given":            {prepare: func(r *repo) { r.run("checkout", "-q", "--detach") }, option: func(o *source.Options) { o.Branch = "pull/7" }, want: "pull-7-{inputs}", from: source.FromBranch},
		"given":                             {option: func(o *source.Options) { o.Tag = "mine" }, prepare: func(r *repo) { r.run("tag", "v1.0.0") }, want: "mine", from: source.FromOption},
		"version tag":                       {prepare: func(r *repo) { r.run("tag", "v1.2.3") }, want: "1.2.3", from: source.FromVersion},
		"annotated version tag":             {prepare: func(r *repo) { r.run("-c", "user.name=a", "-c", "user.email=a@b", "tag", "-a", "-m", "x", "1.2.3") }, want: "1.2.3", from: source.FromVersion},
		"build metadata":                    {prepare: func(r *repo) { r.run("tag", "v1.2.3+build.5") }, want: "1.2.3_build.5", version: "1.2.3+build.5", from: source.FromVersion},
		"highest of several":                {prepare: func(r *repo) { r.run("tag", "v1.9.0"); r.run("tag", "v1.10.0"); r.run("tag", "v1.10.0-rc.1") }, want: "1.10.0", from: source.FromVersion},
		"other tags":                        {prepare: func(r *repo) { r.run("tag", "latest"); r.run("tag", "v1"); r.run("tag", "chart-1.2.3") }, want: "main-{inputs}", from: source.FromBranch},
		"version holds for the bump commit": {prepare: func(r *repo) { r.run("tag", "v1.2.3"); r.save("chore(release)", map[string]string{"README.md": "9"}) }, want: "1.2.3", from: source.FromVersion},
		"version ends with the inputs": {prepare: func(r *repo) {
			r.run("tag", "v1.2.3")
			r.save("feat", map[string]string{"backstage/x": "1"})
		}, want: "main-{inputs}", from: source.FromBranch},
		"HEAD's version goes first": {prepare: func(r *repo) {
			r.run("tag", "v9.0.0")
			r.save("docs", map[string]string{"README.md": "9"})
			r.run("tag", "v1.0.0")
		}, want: "1.0.0", from: source.FromVersion},
		"a version of another branch": {prepare: func(r *repo) {
			r.run("checkout", "-q", "-b", "other")
			r.save("docs", map[string]string{"README.md": "9"})
			r.run("tag", "v2.0.0")
			r.run("checkout", "-q", "main")
		}, want: "main-{inputs}", from: source.FromBranch},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := checkout(t)
			if c.prepare != nil {
				c.prepare(r)
			}
			o := options
			if c.option != nil {
				c.option(&o)
			}
			f := r.read(o)
			want := strings.ReplaceAll(c.want, "{inputs}", f.InputsRevision[:12])
			version := c.version
			if version == "" {
				version = want
			}
			if f.Tag != want || f.Version != version || f.TagFrom != c.from {
				t.Errorf("tag %s, version %s, from %s; want %s, %s, %s", f.Tag, f.Version, f.TagFrom, want, version, c.from)
			}
			if err := imageref.CheckTag(f.Tag); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDeriveTag(t *testing.T) {
	t.Parallel()
	const revision = "0123456789abcdef0123456789abcdef01234567"
	cases := map[string]struct {
		branch, want string
		tags         []string
	}{
		"long branch":       {branch: strings.Repeat("x", 300), want: strings.Repeat("x", 115) + "-0123456789ab"},
		"leading dots":      {branch: "-..x", want: "x-0123456789ab"},
		"nothing usable":    {branch: "日本", want: "sha-0123456789ab"},
		"not quite version": {branch: "main", tags: []string{"v1.2", "v1.2.3.4", "vv1.2.3", "v01.2.3"}, want: "main-0123456789ab"},
		"pre-release":       {branch: "main", tags: []string{"v1.2.3-rc.1"}, want: "1.2.3-rc.1"},
		"version too long":  {branch: "main", tags: []string{"v1.2.3-" + strings.Repeat("a", 130)}, want: "main-0123456789ab"},
	}
	for name, c := range cases {
		tag, _, _ := source.DeriveTag("", c.tags, c.branch, revision)
		if tag != c.want {
			t.Errorf("%s: %s; want %s", name, tag, c.want)
		}
		if err := imageref.CheckTag(tag); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	const revision = "0123456789abcdef0123456789abcdef01234567"
	for name, c := range map[string]struct {
		given, branch string
		tags, all     []string
		want          string
	}{
		"version":                     {branch: "main", tags: []string{"v1.2.3"}, want: "1.2.3 1.2 1 latest"},
		"version on another branch":   {branch: "x", tags: []string{"v1.2.3"}, want: "1.2.3 1.2 1 latest"},
		"version on a detached HEAD":  {tags: []string{"v1.2.3"}, want: "1.2.3 1.2 1 latest"},
		"pre-release":                 {branch: "main", tags: []string{"v1.2.3-rc.1"}, want: "1.2.3-rc.1"},
		"build metadata":              {branch: "main", tags: []string{"v1.2.3+a.b"}, want: "1.2.3_a.b 1.2 1 latest"},
		"first version":               {branch: "main", tags: []string{"v0.1.0"}, want: "0.1.0 0.1 0 latest"},
		"fix of an old major version": {branch: "main", tags: []string{"v1.2.3"}, all: []string{"v2.0.0", "v1.1.9"}, want: "1.2.3 1.2 1"},
		"fix of an old minor version": {branch: "main", tags: []string{"v1.2.3"}, all: []string{"v1.3.0"}, want: "1.2.3 1.2"},
		"re-release of an old patch":  {branch: "main", tags: []string{"v1.2.3"}, all: []string{"v1.2.4"}, want: "1.2.3"},
		"newer pre-release":           {branch: "main", tags: []string{"v1.2.3"}, all: []string{"v2.0.0-rc.1"}, want: "1.2.3 1.2 1 latest"},
		"main":                        {branch: "main", want: "main-0123456789ab sha-0123456789ab main"},
		"another branch":              {branch: "feature/x", want: "feature-x-0123456789ab"},
		"no branch":                   {want: "sha-0123456789ab"},
		"given":                       {given: "1.2.3", branch: "main", tags: []string{"v1.2.3"}, want: "1.2.3"},
	} {
		tag, version, from := source.DeriveTag(c.given, c.tags, c.branch, revision)
		tags := source.Tags(tag, version, from, c.branch, revision, append(c.all, c.tags...))
		if got := strings.Join(tags, " "); got != c.want {
			t.Errorf("%s: %s; want %s", name, got, c.want)
		}
		for i, tag := range tags {
			if err := imageref.CheckTag(tag); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if line := i > 0 && !strings.HasPrefix(tag, "sha-"); imageref.Moves(tag) != line {
				t.Errorf("%s: the tag %s moves: %t; want %t", name, tag, !line, line)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	without := func(name string) func(r *repo) {
		return func(r *repo) {
			if err := os.RemoveAll(filepath.Join(r.Dir(), name)); err != nil {
				r.t.Fatal(err)
			}
			r.save("remove", nil)
		}
	}
	cases := map[string]struct {
		prepare func(r *repo)
		dir     func(r *repo) string
		option  func(o *source.Options)
		want    error
		text    string
	}{
		"no such folder": {dir: func(r *repo) string { return filepath.Join(r.Dir(), "nope") }, want: source.ErrNoCheckout},
		"no checkout":    {dir: func(r *repo) string { return r.t.TempDir() }, want: source.ErrNoCheckout, text: "run git init and commit, or clone"},
		"a folder of a checkout": {dir: func(r *repo) string { return filepath.Join(r.Dir(), "backstage") },
			want: source.ErrNoCheckout, text: "name the checkout itself"},
		"a worktree without its repository": {prepare: func(r *repo) {
			if err := os.RemoveAll(filepath.Join(r.Dir(), ".git")); err != nil {
				r.t.Fatal(err)
			}
			r.write(map[string]string{".git": "gitdir: /nonexistent/.git/worktrees/x\n"})
		}, want: source.ErrNoCheckout, text: "linked worktree"},
		"no commit": {dir: func(r *repo) string {
			empty := r.t.TempDir()
			r.run("init", "-q", empty)
			return empty
		}, want: source.ErrNoCommit, text: "commit first"},
		"a changed file":             {prepare: func(r *repo) { r.write(map[string]string{"README.md": "2"}) }, want: source.ErrDirty, text: "uncommitted changes in README.md; a release is of HEAD"},
		"a new file":                 {prepare: func(r *repo) { r.write(map[string]string{"new file": "2"}) }, want: source.ErrDirty, text: "in new file;"},
		"a staged file":              {prepare: func(r *repo) { r.write(map[string]string{"README.md": "2"}); r.run("add", "README.md") }, want: source.ErrDirty},
		"a removed file":             {prepare: func(r *repo) { r.run("rm", "-q", "--cached", "README.md") }, want: source.ErrDirty},
		"many files":                 {prepare: func(r *repo) { r.write(many(7)) }, want: source.ErrDirty, text: "f0, f1, f2, f3, f4 and 2 more;"},
		"no app":                     {prepare: without("backstage"), want: source.ErrNoApp, text: "in backstage: HEAD has no backstage/package.json"},
		"app elsewhere":              {option: func(o *source.Options) { o.App = "portal" }, want: source.ErrNoApp, text: "portal/package.json"},
		"app without a lockfile":     {prepare: without("backstage/yarn.lock"), want: source.ErrNoApp, text: "backstage/yarn.lock"},
		"app without a backend":      {prepare: without("backstage/packages/backend"), want: source.ErrNoApp, text: "packages/backend/package.json"},
		"app's own checkout is none": {option: func(o *source.Options) { o.AppRepo = os.TempDir() }, want: source.ErrNoCheckout, text: "the app's own checkout: "},
		"app outside":                {option: func(o *source.Options) { o.App = "../x" }, text: "not inside of the checkout"},
		"app by an absolute path":    {option: func(o *source.Options) { o.App = "/x" }, text: "not inside of the checkout"},
		"no chart":                   {prepare: without("charts"), want: bump.ErrChart, text: "HEAD has no charts/backstage/values.yaml"},
		"chart without image.tag":    {prepare: func(r *repo) { r.save("x", map[string]string{"charts/backstage/values.yaml": "image: {}\n"}) }, want: bump.ErrChart, text: "there is no image.tag"},
		"chart without appVersion":   {prepare: func(r *repo) { r.save("x", map[string]string{"charts/backstage/Chart.yaml": "version: 0.1.0\n"}) }, want: bump.ErrChart, text: "there is no appVersion"},
		"chart released already, but unfit": {prepare: func(r *repo) {
			r.save("x", map[string]string{"charts/backstage/Chart.yaml": "version: one\nappVersion: a\n"})
		}, want: bump.ErrChart, text: `version "one"`},
		"invalid tag":  {option: func(o *source.Options) { o.Tag = "a b" }, want: imageref.ErrTag},
		"no input":     {option: func(o *source.Options) { o.Inputs = []string{"backstage", "nope"} }, text: "the image's input nope is not in HEAD"},
		"magic input":  {option: func(o *source.Options) { o.Inputs = []string{":(exclude)backstage"} }, text: "is not in HEAD"},
		"glob input":   {option: func(o *source.Options) { o.Inputs = []string{"back*"} }, text: "is not in HEAD"},
		"empty input":  {option: func(o *source.Options) { o.Inputs = []string{""} }, text: "not inside of the checkout"},
		"option input": {option: func(o *source.Options) { o.Inputs = []string{"--all"} }, text: "is not in HEAD"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := checkout(t)
			if c.prepare != nil {
				c.prepare(r)
			}
			dir, o := r.Dir(), options
			if c.dir != nil {
				dir = c.dir(r)
			}
			if c.option != nil {
				c.option(&o)
			}
			f, err := source.Read(t.Context(), dir, o)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("%+v, %v; want %v, %q", f, err, c.want, c.text)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}

// TestAppOfItsOwn: where the app is in another checkout, what is built and tagged is that one's HEAD, and what is
// released this one's.
func TestAppOfItsOwn(t *testing.T) {
	t.Parallel()
	r := checkout(t)
	r.run("tag", "v1.0.0")
	app := &repo{Repo: git.Open(t.TempDir()), t: t, now: r.now.Add(time.Hour)}
	app.run("init", "-q", "-b", "portal")
	files := map[string]string{}
	for name, text := range project {
		if name, ok := strings.CutPrefix(name, "backstage/"); ok {
			files[name] = text
		}
	}
	built := app.save("app", files)
	o := options
	o.AppRepo, o.App, o.Inputs = app.Dir(), ".", []string{"."}
	f, err := source.Read(t.Context(), r.Dir(), o)
	if err != nil {
		t.Fatal(err)
	}
	if f.InputsRevision != built || f.Tag != "portal-"+built[:12] || !f.InputsTime.After(f.Time) {
		t.Errorf("what is built is %s with tag %s of %s, want %s", f.InputsRevision, f.Tag, f.InputsTime, built)
	}
	if f.Revision != r.run("rev-parse", "HEAD") || f.Branch != "main" || f.Chart.Tag != "latest" {
		t.Errorf("what is released is %s on %s with %+v, want HEAD on main", f.Revision, f.Branch, f.Chart)
	}

	app.write(map[string]string{"yarn.lock": "changed"})
	if _, err := source.Read(t.Context(), r.Dir(), o); !errors.Is(err, source.ErrDirty) {
		t.Errorf("%v; want %v", err, source.ErrDirty)
	}
}

func many(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("f%d", i)] = "x"
	}
	return files
}

// TestShallow: the commit of the inputs is known in a shallow clone only where it is not the last one there is.
func TestShallow(t *testing.T) {
	t.Parallel()
	r := checkout(t)
	app := r.save("app", map[string]string{"backstage/x": "1"})
	r.save("docs", map[string]string{"README.md": "2"})
	for depth, want := range map[string]error{"1": source.ErrShallow, "2": source.ErrShallow, "3": nil} {
		dir := filepath.Join(t.TempDir(), "clone")
		r.run("clone", "-q", "--depth="+depth, "file://"+r.Dir(), dir)
		f, err := source.Read(t.Context(), dir, options)
		if !errors.Is(err, want) || err == nil && f.InputsRevision != app {
			t.Errorf("depth %s: %s, %v; want %v", depth, f.InputsRevision, err, want)
		}
	}
}

// TestCopiedCheckout: a copy has other times and inodes than its index says, and may be read-only, as in a container.
func TestCopiedCheckout(t *testing.T) {
	t.Parallel()
	r := checkout(t)
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(r.Dir())); err != nil {
		t.Fatal(err)
	}
	index := filepath.Join(dir, ".git", "index")
	before, err := os.Stat(index)
	if err != nil {
		t.Fatal(err)
	}
	for name := range maps.Keys(project) {
		if err := os.Chtimes(filepath.Join(dir, name), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	f, err := source.Read(t.Context(), dir, options)
	if err != nil || f.Revision != r.run("rev-parse", "HEAD") {
		t.Errorf("%+v, %v", f, err)
	}
	after, err := os.Stat(index)
	if err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the index was written: %v", err)
	}
	if !slices.Equal(f.Inputs, []string{"backstage"}) {
		t.Errorf("inputs %v", f.Inputs)
	}
}
