// Package source reads from a checkout what a release is made of: the commit, the last commit that changed the
// image's inputs, and the tag that names them.
package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/backstage-gitops/backstage-gitops/ci/bump"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
)

var (
	// ErrNoCheckout says that a directory is not a Git checkout that a release can be made of.
	ErrNoCheckout = errors.New("not a Git checkout")
	// ErrNoCommit says that a checkout has no commit yet.
	ErrNoCommit = errors.New("the checkout has no commit yet; commit first, a release is of HEAD")
	// ErrDirty says that files differ from HEAD.
	ErrDirty = errors.New("uncommitted changes")
	// ErrNoApp says that there is no Backstage app in the checkout.
	ErrNoApp = errors.New("no Backstage app")
	// ErrShallow says that the history needed is not in the checkout.
	ErrShallow = errors.New("the checkout is shallow")
)

// Options say where in the checkout to look.
type Options struct {
	// App is the Backstage app's folder.
	App string
	// AppRepo is the checkout that App and Inputs are in, where it is not the one of the chart. What is built and
	// tagged is its HEAD then.
	AppRepo string
	// Chart is the Helm chart's folder.
	Chart string
	// Inputs are the paths that the image is built from; none means App alone.
	Inputs []string
	// Tag is the image's tag; empty means that it is derived.
	Tag string
	// Branch is the name to use in a derived tag where HEAD is detached.
	Branch string
	// PullRequest is the number of the pull request that HEAD is of, where its image is to be tagged with that; 0 for
	// none.
	PullRequest int
}

// Facts are what a checkout says about a release of its HEAD.
type Facts struct {
	// Revision is HEAD.
	Revision string `json:"revision"`
	// Time is the commit time of HEAD, in UTC.
	Time time.Time `json:"time"`
	// Subject is the first line of HEAD's message.
	Subject string `json:"subject"`
	// Branch is the branch that is checked out, empty where HEAD is detached and none was given.
	Branch string `json:"branch"`
	// InputsRevision is the last commit that changed one of Inputs.
	InputsRevision string `json:"inputsRevision"`
	// InputsTime is the commit time of InputsRevision, in UTC.
	InputsTime time.Time `json:"inputsTime"`
	// InputsEpoch is InputsTime in seconds, for SOURCE_DATE_EPOCH.
	InputsEpoch int64 `json:"inputsEpoch"`
	// Inputs are the paths that the image is built from.
	Inputs []string `json:"inputs"`
	// Tag is the image's tag.
	Tag string `json:"tag"`
	// TagFrom says what the tag comes from: given, pull-request, version, branch or commit.
	TagFrom TagOrigin `json:"tagFrom"`
	// Tags are all tags of the image. The first is Tag, which the chart gets.
	Tags []string `json:"tags"`
	// Version is what people read: the version tag without its v, or else the tag.
	Version string `json:"version"`
	// Chart is what HEAD's chart names now.
	Chart bump.Pin `json:"chart"`
	// Repository is the image's name in HEAD's chart, which a cluster pulls it by.
	Repository imageref.Ref `json:"repository"`
	// Remote is the address of the checkout's origin without any credential, empty where there is none.
	Remote string `json:"remote"`
}

// TagOrigin says what a tag was derived from.
type TagOrigin string

// The origins of a tag, the first that applies is taken.
const (
	FromOption      TagOrigin = "given"
	FromPullRequest TagOrigin = "pull-request"
	FromVersion     TagOrigin = "version"
	FromBranch      TagOrigin = "branch"
	FromCommit      TagOrigin = "commit"
)

// appFiles are what makes a folder a Backstage app of the layout that the image is built from.
var appFiles = []string{"package.json", "yarn.lock", "packages/app/package.json", "packages/backend/package.json"}

// Read gathers the facts, and refuses a checkout that cannot be released.
func Read(ctx context.Context, dir string, o Options) (Facts, error) {
	if o.Tag != "" {
		if err := imageref.CheckTag(o.Tag); err != nil {
			return Facts{}, err
		}
	}
	if o.PullRequest < 0 {
		return Facts{}, fmt.Errorf("the pull request %d has no such number", o.PullRequest)
	}
	if o.Tag != "" && o.PullRequest > 0 {
		return Facts{}, fmt.Errorf("the image is to have the tag %s and that of the pull request %d: give --tag or --pull-request, not both", o.Tag, o.PullRequest)
	}
	var err error
	if o.App, err = clean(o.App); err != nil {
		return Facts{}, err
	}
	if o.Chart, err = clean(o.Chart); err != nil {
		return Facts{}, err
	}
	if len(o.Inputs) == 0 {
		o.Inputs = []string{o.App}
	}
	inputs := make([]string, 0, len(o.Inputs))
	for _, p := range o.Inputs {
		p, err := clean(p)
		if err != nil {
			return Facts{}, err
		}
		inputs = append(inputs, p)
	}
	slices.Sort(inputs)
	o.Inputs = slices.Compact(inputs)

	r, err := openClean(ctx, dir)
	if err != nil {
		return Facts{}, err
	}
	app := r
	if o.AppRepo != "" {
		if app, err = openClean(ctx, o.AppRepo); err != nil {
			return Facts{}, fmt.Errorf("the app's own checkout: %w", err)
		}
	}
	if err := app.hasApp(ctx, o.App); err != nil {
		return Facts{}, err
	}
	f := Facts{Inputs: o.Inputs}
	if f.Chart, f.Repository, err = r.pin(ctx, o.Chart); err != nil {
		return Facts{}, err
	}
	if f.Revision, f.Time, f.Subject, err = r.last(ctx); err != nil {
		return Facts{}, err
	}
	if f.InputsRevision, f.InputsTime, err = app.inputs(ctx, o.Inputs); err != nil {
		return Facts{}, err
	}
	f.InputsEpoch = f.InputsTime.Unix()
	if f.Branch, err = r.branch(ctx); err != nil {
		return Facts{}, err
	}
	f.Branch = cmp.Or(f.Branch, o.Branch)
	branch, err := app.branch(ctx)
	if err != nil {
		return Facts{}, err
	}
	tags, err := app.versionTags(ctx, f.InputsRevision)
	if err != nil {
		return Facts{}, err
	}
	branch = cmp.Or(branch, o.Branch)
	if f.Tag, f.Version, f.TagFrom = DeriveTag(o.Tag, tags, branch, f.InputsRevision); o.PullRequest > 0 {
		f.Tag, f.TagFrom = "pr-"+strconv.Itoa(o.PullRequest), FromPullRequest
		f.Version = f.Tag
	}
	all, err := app.Run(ctx, "tag", "--list")
	if err != nil {
		return Facts{}, err
	}
	f.Tags = Tags(f.Tag, f.Version, f.TagFrom, branch, f.InputsRevision, versions(all))
	// No origin is an answer too.
	if remote, err := r.Run(ctx, "config", "--get", "remote.origin.url"); err == nil {
		f.Remote = git.Redact(remote)
	}
	return f, nil
}

// DeriveTag chooses the image's tag and version: the given tag, or the highest version among the Git tags of the
// inputs (v1.2.3 → 1.2.3), or the branch and the inputs' commit, or that commit alone.
func DeriveTag(given string, tags []string, branch, revision string) (tag, version string, from TagOrigin) {
	if given != "" {
		return given, given, FromOption
	}
	var highest *semver.Version
	for _, t := range tags {
		v, err := semver.StrictNewVersion(strings.TrimPrefix(t, "v"))
		if err == nil && imageref.CheckTag(ociTag(v)) == nil && (highest == nil || v.GreaterThan(highest)) {
			highest = v
		}
	}
	if highest != nil {
		return ociTag(highest), highest.String(), FromVersion
	}
	if tag = imageref.Tag(branch + "-" + short(revision)); branch != "" && imageref.Tag(branch) != "" {
		return tag, tag, FromBranch
	}
	return shaTag(revision), shaTag(revision), FromCommit
}

// mainBranch is the branch whose images have its name for a tag.
const mainBranch = "main"

// Tags are all tags of an image, its own first: of a version also the lines that it is the newest of (1.2, 1, latest), of
// main also sha-<commit> and main. A pre-release and whatever was given has no other. The versions are all that there
// are: a fix of an old line must not become the latest.
func Tags(tag, version string, from TagOrigin, branch, revision string, versions []string) []string {
	tags := []string{tag}
	switch from {
	case FromVersion:
		v, err := semver.StrictNewVersion(version)
		if err != nil || v.Prerelease() != "" {
			break
		}
		for _, line := range []struct {
			tag  string
			same func(*semver.Version) bool
		}{
			{fmt.Sprintf("%d.%d", v.Major(), v.Minor()), func(o *semver.Version) bool { return o.Major() == v.Major() && o.Minor() == v.Minor() }},
			{strconv.FormatUint(v.Major(), 10), func(o *semver.Version) bool { return o.Major() == v.Major() }},
			{"latest", func(*semver.Version) bool { return true }},
		} {
			newer := slices.ContainsFunc(versions, func(t string) bool {
				o, err := semver.StrictNewVersion(strings.TrimPrefix(t, "v"))
				return err == nil && o.Prerelease() == "" && line.same(o) && o.GreaterThan(v)
			})
			if !newer {
				tags = append(tags, line.tag)
			}
		}
	case FromBranch:
		if branch == mainBranch {
			tags = append(tags, shaTag(revision), mainBranch)
		}
	}
	return tags
}

func shaTag(revision string) string { return "sha-" + short(revision) }

func short(revision string) string { return revision[:min(12, len(revision))] }

// ociTag writes a version as a tag, which cannot hold the + of build metadata; Helm writes _ there as well.
func ociTag(v *semver.Version) string { return strings.ReplaceAll(v.String(), "+", "_") }

type checkout struct{ *git.Repo }

// openClean opens a checkout that is what its HEAD says.
func openClean(ctx context.Context, dir string) (checkout, error) {
	r, err := openCheckout(ctx, dir)
	if err != nil {
		return r, err
	}
	return r, r.clean(ctx)
}

func openCheckout(ctx context.Context, dir string) (checkout, error) {
	r := checkout{git.Open(dir)}
	if _, err := os.Stat(dir); err != nil {
		return r, fmt.Errorf("%w: %w", ErrNoCheckout, err)
	}
	top, err := r.Run(ctx, "rev-parse", "--show-toplevel")
	if err != nil {
		if info, statErr := os.Lstat(filepath.Join(dir, ".git")); statErr == nil && !info.IsDir() {
			return r, fmt.Errorf("%w: %s is a linked worktree or a submodule whose repository is not here; clone it, or use the main checkout", ErrNoCheckout, dir)
		}
		var e *git.Error
		if errors.As(err, &e) {
			return r, fmt.Errorf("%w: %s; run git init and commit, or clone the project (git: %s)", ErrNoCheckout, dir, git.Reason(e.Stderr))
		}
		return r, err
	}
	// A folder inside somebody else's checkout is not the project.
	if !sameFile(top, dir) {
		return r, fmt.Errorf("%w: %s is a folder of the checkout %s; name the checkout itself", ErrNoCheckout, dir, top)
	}
	if _, err := r.Run(ctx, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"); err != nil {
		return r, ErrNoCommit
	}
	return r, nil
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// clean refuses files that differ from HEAD: what would be built is not what HEAD says.
func (r checkout) clean(ctx context.Context) error {
	out, err := r.Do(ctx, git.Command{Args: []string{"status", "--porcelain=v1", "-z", "--untracked-files=normal", "--no-renames"}})
	if err != nil {
		return err
	}
	var files []string
	for entry := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if len(entry) > 3 {
			files = append(files, entry[3:])
		}
	}
	if len(files) == 0 {
		return nil
	}
	const shown = 5
	list := strings.Join(files[:min(shown, len(files))], ", ")
	if more := len(files) - shown; more > 0 {
		list += " and " + strconv.Itoa(more) + " more"
	}
	return fmt.Errorf("%w in %s; a release is of HEAD, so commit or stash them first", ErrDirty, list)
}

func (r checkout) hasApp(ctx context.Context, app string) error {
	for _, f := range appFiles {
		ok, err := r.has(ctx, path.Join(app, f))
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w in %s: HEAD has no %s", ErrNoApp, app, path.Join(app, f))
		}
	}
	return nil
}

// has says whether HEAD holds a path.
func (r checkout) has(ctx context.Context, p string) (bool, error) {
	if p == "." {
		return true, nil
	}
	out, err := r.Run(ctx, "--literal-pathspecs", "ls-tree", "--name-only", "HEAD", "--", p)
	return out != "", err
}

// pin reads what the chart of HEAD names, and by which name, and refuses a chart that a release could not bump: better now than after
// minutes of building.
func (r checkout) pin(ctx context.Context, chart string) (bump.Pin, imageref.Ref, error) {
	values, err := r.blob(ctx, path.Join(chart, bump.ValuesFile))
	if err != nil {
		return bump.Pin{}, imageref.Ref{}, err
	}
	meta, err := r.blob(ctx, path.Join(chart, bump.ChartFile))
	if err != nil {
		return bump.Pin{}, imageref.Ref{}, err
	}
	if err := bump.Bumpable(bump.Files{Values: values, Chart: meta}); err != nil {
		return bump.Pin{}, imageref.Ref{}, fmt.Errorf("%s: %w", chart, err)
	}
	name, err := bump.Repository(values)
	if err != nil {
		return bump.Pin{}, imageref.Ref{}, fmt.Errorf("%s: %w", chart, err)
	}
	repository, err := imageref.ParseName(name)
	if err != nil {
		return bump.Pin{}, imageref.Ref{}, fmt.Errorf("%s: image.repository: %w", chart, err)
	}
	pin, err := bump.Read(values)
	return pin, repository, err
}

func (r checkout) blob(ctx context.Context, p string) ([]byte, error) {
	ok, err := r.has(ctx, p)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%w: HEAD has no %s", bump.ErrChart, p)
	}
	return r.Do(ctx, git.Command{Args: []string{"cat-file", "blob", "HEAD:" + p}})
}

func (r checkout) last(ctx context.Context) (revision string, at time.Time, subject string, err error) {
	out, err := r.Run(ctx, "log", "-1", "--format=%H%x00%ct%x00%s", "HEAD")
	if err != nil {
		return "", time.Time{}, "", err
	}
	parts := strings.SplitN(out, "\x00", 3)
	if len(parts) != 3 {
		return "", time.Time{}, "", fmt.Errorf("git log: unexpected answer %q", out)
	}
	at, err = unix(parts[1])
	return parts[0], at, parts[2], err
}

func (r checkout) inputs(ctx context.Context, inputs []string) (string, time.Time, error) {
	for _, p := range inputs {
		ok, err := r.has(ctx, p)
		if err != nil {
			return "", time.Time{}, err
		}
		if !ok {
			return "", time.Time{}, fmt.Errorf("the image's input %s is not in HEAD", p)
		}
	}
	args := append([]string{"--literal-pathspecs", "log", "-1", "--format=%H %ct", "HEAD", "--"}, inputs...)
	out, err := r.Run(ctx, args...)
	if err != nil {
		return "", time.Time{}, err
	}
	revision, seconds, _ := strings.Cut(out, " ")
	shallow, err := r.shallow(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	if slices.Contains(shallow, revision) {
		return "", time.Time{}, fmt.Errorf("%w and ends before the last change of the image's inputs; fetch the whole history (git fetch --unshallow, or fetch-depth: 0 for actions/checkout)", ErrShallow)
	}
	at, err := unix(seconds)
	return revision, at, err
}

// shallow lists the commits whose parents are missing.
func (r checkout) shallow(ctx context.Context) ([]string, error) {
	file, err := r.Run(ctx, "rev-parse", "--path-format=absolute", "--git-path", "shallow")
	if err != nil {
		return nil, err
	}
	list, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return strings.Fields(string(list)), nil
}

func (r checkout) branch(ctx context.Context) (string, error) {
	out, err := r.Run(ctx, "symbolic-ref", "--quiet", "--short", "HEAD")
	if git.Exit(err) == 1 {
		return "", nil
	}
	return out, err
}

// versionTags lists the tags of HEAD, or else those of the commits behind it that have the same inputs: a version
// holds until an input changes, so the bump commit on top of a tagged commit is still that version.
func (r checkout) versionTags(ctx context.Context, inputsRevision string) ([]string, error) {
	out, err := r.Run(ctx, "tag", "--points-at", "HEAD")
	if err != nil {
		return nil, err
	}
	if here := versions(out); len(here) > 0 {
		return here, nil
	}
	out, err = r.Run(ctx, "tag", "--merged", "HEAD", "--contains", inputsRevision)
	if err != nil {
		return nil, err
	}
	return versions(out), nil
}

func versions(tags string) []string {
	return slices.DeleteFunc(strings.Fields(tags), func(t string) bool {
		_, err := semver.StrictNewVersion(strings.TrimPrefix(t, "v"))
		return err != nil
	})
}

// clean makes a path relative to the checkout and refuses one that leaves it.
func clean(p string) (string, error) {
	c := path.Clean(filepath.ToSlash(p))
	if p == "" || path.IsAbs(c) || c == ".." || strings.HasPrefix(c, "../") {
		return "", fmt.Errorf("the path %q is not inside of the checkout", p)
	}
	return c, nil
}

func unix(seconds string) (time.Time, error) {
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("git log: unexpected time %q: %w", seconds, err)
	}
	return time.Unix(n, 0).UTC(), nil
}
