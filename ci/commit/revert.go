package commit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/backstage-gitops/backstage-gitops/ci/bump"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
	"github.com/backstage-gitops/backstage-gitops/ci/imageref"
)

var (
	// ErrNoRelease says that a branch holds no release that could be reverted.
	ErrNoRelease = errors.New("there is no release to revert")
	// ErrFirst says that nothing was released before the last release.
	ErrFirst = errors.New("there is no release before the last one")
	// ErrEdited says that a chart no longer says what its last release wrote.
	ErrEdited = errors.New("the chart was edited since its last release")
	// ErrNotLast says that the release to revert is not, or no longer, the last one.
	ErrNotLast = errors.New("another release is the last one now")
)

// Rollback is which release to revert.
type Rollback struct {
	// Chart is the chart's folder in the repository, charts/backstage.
	Chart string
	// Image is the image's name without tag and digest; empty means image.repository of the chart.
	Image string
	// Release, where given, is the only release commit that may be reverted; empty means the last one.
	Release string
}

// Reverted is the outcome of Revert.
type Reverted struct {
	// SHA is the commit that takes the release back, and Parent the tip that it was made on.
	SHA    string `json:"commit"`
	Parent string `json:"parent"`
	// Edits are the scalars before and after.
	Edits []bump.Edit `json:"edits"`
	// Version is the chart's version after the revert.
	Version string `json:"chartVersion"`
	// Reverted is the release that was taken back.
	Reverted Former `json:"reverted"`
	// Restored is the image that the chart names again.
	Restored Restored `json:"restored"`
	Remote   string   `json:"remote"`
	Branch   string   `json:"branch"`
	Attempts int      `json:"attempts"`
	// PullRequest is where the commit waits for the branch, nil where it was pushed there.
	PullRequest *PullRequest `json:"pullRequest,omitempty"`
}

// Former is a release that was taken back.
type Former struct {
	// SHA is the release's commit.
	SHA string `json:"commit"`
	bump.Pin
}

// Restored is the image that a chart goes back to.
type Restored struct {
	bump.Pin
	// Image is its name without tag and digest.
	Image string `json:"image"`
	// Version is that of the chart which was released with it, empty where the history has no release of it.
	Version string `json:"chartVersion,omitempty"`
}

// Revert takes the last release of a chart back: on top of the target's tip, a commit that has the chart name the
// image that it named before that release. Commits that came after the release stay. Where somebody else pushes in
// between it is made again on the new tip, but never of another release than the first time.
//
// The last release is the newest that was not reverted yet, by Revert or by git revert: twice is one release further
// back, never forward again to what was just taken away (as helm rollback would), and after a new release it is that
// one. The sources stay, so the next release of them brings the image back: fix them first.
//
// A carrier of the target may bring the commit to a pull request instead; the release is taken back once that is merged.
//
// Tag, digest and appVersion go back, the chart's version goes on, one patch higher as with a release. A version that
// was published is not given to other content: whoever pulls charts by version would keep what they have, and the
// next release would take a number that is in use.
//
// The date is that of the commit which it is made on, so a revert of the same release there is the same commit
// wherever it is made, and one that ProposeRevert made can be pushed as Target.Candidate. The repository of dir is
// only read.
func Revert(ctx context.Context, dir string, rb Rollback, t Target) (Reverted, error) {
	return revert(ctx, dir, rb, t, (*pusher).push)
}

// ProposeRevert makes the commit that Revert would push to the target now, and pushes it to the same branch of
// another repository instead, to be verified there. A target that would not take it is refused before that.
func ProposeRevert(ctx context.Context, dir string, rb Rollback, t Target, to string) (Reverted, error) {
	if err := git.CheckRemote(to); err != nil {
		return Reverted{}, err
	}
	return revert(ctx, dir, rb, t, func(p *pusher, ctx context.Context) (Pushed, error) {
		c, err := p.create(ctx)
		if err != nil {
			return Pushed{}, err
		}
		if err := p.MayPush(ctx, t.Remote, t.Branch, c.SHA); err != nil {
			return Pushed{}, err
		}
		err = p.Push(ctx, to, t.Branch, nil, c.SHA+":refs/heads/"+t.Branch)
		return Pushed{Commit: c, Remote: to, Branch: t.Branch, Attempts: 1}, err
	})
}

// LastRevert finds the commit of a Revert that is the last word on what a branch's chart names: nothing was released
// since, and nobody edited it. It is nil where there is none. The repository of dir is only read.
func LastRevert(ctx context.Context, dir string, rb Rollback, t Target) (result *Reverted, err error) {
	if rb, err = rb.checked(); err != nil {
		return nil, err
	}
	here, done, err := scratch(ctx, git.Open(dir), t.Remote, t.Branch, t.Credential)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	tip, err := here.Fetch(ctx, t.Remote, t.Branch)
	if err != nil {
		return nil, err
	}
	return (&reverter{Repo: here, Rollback: rb, target: t}).taken(ctx, tip)
}

// checked refuses what names no image, or no chart of a repository.
func (rb Rollback) checked() (_ Rollback, err error) {
	if rb.Image != "" {
		if _, err := imageref.ParseName(rb.Image); err != nil {
			return Rollback{}, err
		}
	}
	rb.Chart, err = inside(rb.Chart)
	return rb, err
}

func revert(ctx context.Context, dir string, rb Rollback, t Target, bring func(*pusher, context.Context) (Pushed, error)) (result Reverted, err error) {
	if rb, err = rb.checked(); err != nil {
		return Reverted{}, err
	}
	here, done, err := scratch(ctx, git.Open(dir), t.Remote, t.Branch, t.Credential)
	if err != nil {
		return Reverted{}, err
	}
	defer func() { err = errors.Join(err, done()) }()
	r := reverter{Repo: here, Rollback: rb, target: t}
	by := &pusher{Repo: here, target: t}
	by.make = func(ctx context.Context, tip string) (Commit, error) {
		c, err := r.on(ctx, tip)
		by.message = r.message()
		return c, err
	}
	p, err := bring(by, ctx)
	if err != nil {
		return Reverted{}, err
	}
	return Reverted{
		SHA: p.SHA, Parent: p.Parent, Edits: p.Edits, Version: p.Version, Reverted: r.reverted, Restored: r.restored,
		Remote: p.Remote, Branch: p.Branch, Attempts: p.Attempts,
	}, nil
}

type reverter struct {
	*git.Repo
	Rollback
	target   Target
	reverted Former
	restored Restored
}

// on makes the revert's commit on top of a tip, and refuses one that must not go there.
func (r *reverter) on(ctx context.Context, tip string) (Commit, error) {
	last, parent, err := r.last(ctx, tip)
	if err != nil {
		return Commit{}, err
	}
	if !strings.HasPrefix(last.SHA, r.Release) {
		return Commit{}, fmt.Errorf("%w: the last release of %s of %s is %s (%.12s), not %.12s; nothing was reverted, look at it and start again",
			ErrNotLast, r.target.Branch, r.target.Remote, last.Tag, last.SHA, r.Release)
	}
	before, err := r.before(ctx, last, parent)
	if err != nil {
		return Commit{}, err
	}
	values, chart, err := readChart(ctx, r.Repo, tip, r.Chart)
	if err != nil {
		return Commit{}, err
	}
	if err := unedited(values, chart, last); err != nil {
		return Commit{}, atCommit(r.Chart, tip, err)
	}
	after, edits, err := bump.Apply(bump.Files{Values: values.Text, Chart: chart.Text}, before)
	if err != nil {
		return Commit{}, atCommit(r.Chart, tip, err)
	}
	version, err := bump.Version(after.Chart)
	if err != nil {
		return Commit{}, atCommit(r.Chart, tip, err)
	}
	if r.Image == "" {
		if r.Image, err = bump.Repository(values.Text); err != nil {
			return Commit{}, atCommit(r.Chart, tip, err)
		}
	}
	r.Release, r.reverted, r.restored = last.SHA, last, Restored{Pin: before, Image: r.Image}
	if r.restored.Version, err = r.publishedAs(ctx, parent, before); err != nil {
		return Commit{}, err
	}

	values.Text, chart.Text = after.Values, after.Chart
	sha, tree, err := write(ctx, r.Repo, tip, tip, r.message().String(), values, chart)
	// The source is the tip, not the release: later releases, which this release comes back behind, are reverted in it.
	return Commit{SHA: sha, Parent: tip, Base: tip, Source: tip, Edits: edits, Version: version, Tree: tree, Files: []File{values, chart}}, err
}

// message is a conventional commit with git's own words for what it reverts; it has no source, so it is no release.
func (r *reverter) message() Message {
	m := Message{Title: "revert: release " + r.reverted.Tag, Key: ChangeTrailer, Of: "rollback@"}
	m.Trailers = fmt.Sprintf("This reverts commit %s.\n\nImage: %s:%s\n%s: %s\n%s: %s%s\n",
		r.reverted.SHA, r.restored.Image, r.restored.Tag, digestTrailer, r.restored.Digest, m.Key, m.Of, r.reverted.SHA)
	return m
}

// reverts are git's words in the message of a commit that takes another back.
var reverts = regexp.MustCompile(`(?m)^This reverts commit ([0-9a-f]{40,64})\b`)

// change is a commit that changed the values of a chart.
type change struct {
	sha, parent string
	// reverts are the commits that it takes back.
	reverts []string
	// trailers are the digest that it says the chart names, and of a release also the source.
	trailers []string
}

// changes are those behind a commit, the newest first.
func (r *reverter) changes(ctx context.Context, from string) ([]change, error) {
	// Release commits are dated back, so their order is that of the history. Git leaves out what had no effect on the
	// file: the other side of a merge.
	const fields = 4
	out, err := r.Run(ctx, "--literal-pathspecs", "log", "-z", "--topo-order",
		"--format=%H%x00%P%x00%(trailers:key="+digestTrailer+",key="+SourceTrailer+",valueonly,separator=%x20)%x00%B", from, "--", path.Join(r.Chart, bump.ValuesFile))
	if err != nil {
		return nil, err
	}
	var all []change
	for c := range slices.Chunk(strings.Split(out, "\x00"), fields) {
		if len(c) < fields {
			continue
		}
		made := change{sha: c[0], trailers: strings.Fields(c[2])}
		made.parent, _, _ = strings.Cut(c[1], " ")
		for _, sha := range reverts.FindAllStringSubmatch(c[3], -1) {
			made.reverts = append(made.reverts, sha[1])
		}
		all = append(all, made)
	}
	return all, nil
}

// pin is what the chart names at a commit.
func (r *reverter) pin(ctx context.Context, sha string) (bump.Pin, error) {
	values, err := readEntry(ctx, r.Repo, sha, path.Join(r.Chart, bump.ValuesFile))
	if err != nil {
		return bump.Pin{}, err
	}
	pin, err := bump.Read(values.Text)
	if err != nil {
		return bump.Pin{}, atCommit(r.Chart, sha, err)
	}
	return pin, nil
}

// released is what a change released, and whether it is a release at all: one that was squashed or picked has the words
// of a release, and not what the release did.
func (r *reverter) released(ctx context.Context, c change) (bump.Pin, bool, error) {
	if len(c.reverts) > 0 || len(c.trailers) != 2 {
		return bump.Pin{}, false, nil
	}
	pin, err := r.pin(ctx, c.sha)
	return pin, err == nil && pin.Digest == c.trailers[0], err
}

// last finds the newest release behind a tip that no later commit reverts, and that commit's parent, empty where the
// history ends.
func (r *reverter) last(ctx context.Context, tip string) (last Former, parent string, err error) {
	changes, err := r.changes(ctx, tip)
	if err != nil {
		return Former{}, "", err
	}
	undone := map[string]bool{}
	for _, c := range changes {
		if undone[c.sha] {
			continue
		}
		for _, sha := range c.reverts {
			undone[sha] = true
		}
		pin, is, err := r.released(ctx, c)
		if err != nil {
			return Former{}, "", err
		}
		if is {
			return Former{SHA: c.sha, Pin: pin}, c.parent, nil
		}
	}
	if err := r.whole(ctx); err != nil {
		return Former{}, "", err
	}
	return Former{}, "", fmt.Errorf("%w: the history of %s of %s has no release of %s that still stands", ErrNoRelease, r.target.Branch, r.target.Remote, r.Chart)
}

// taken is the revert that a tip's chart still names the image of, nil where another commit changed that since.
func (r *reverter) taken(ctx context.Context, tip string) (*Reverted, error) {
	changes, err := r.changes(ctx, tip)
	if err != nil {
		return nil, err
	}
	now, err := r.pin(ctx, tip)
	if err != nil {
		return nil, err
	}
	for _, c := range changes {
		_, is, err := r.released(ctx, c)
		if err != nil {
			return nil, err
		}
		if !is && len(c.reverts) == 0 {
			continue // it edits something else
		}
		// Of git revert's own the message has no trailer.
		if is || len(c.reverts) != 1 || len(c.trailers) != 1 || c.trailers[0] != now.Digest {
			return nil, nil
		}
		before, err := r.pin(ctx, c.reverts[0])
		if err != nil {
			return nil, err
		}
		found := &Reverted{
			SHA: c.sha, Parent: c.parent, Reverted: Former{SHA: c.reverts[0], Pin: before}, Restored: Restored{Pin: now, Image: r.Image},
			Remote: r.target.Remote, Branch: r.target.Branch,
		}
		found.Restored.Version, err = r.publishedAs(ctx, c.parent, now)
		return found, err
	}
	return nil, nil
}

// publishedAs is the version of the chart that was released with an image, behind a commit; empty where no release is
// found.
func (r *reverter) publishedAs(ctx context.Context, from string, pin bump.Pin) (string, error) {
	changes, err := r.changes(ctx, from)
	if err != nil {
		return "", err
	}
	for _, c := range changes {
		if !slices.Contains(c.trailers, pin.Digest) {
			continue
		}
		released, is, err := r.released(ctx, c)
		if err != nil {
			return "", err
		}
		if is && released == pin {
			chart, err := readEntry(ctx, r.Repo, c.sha, path.Join(r.Chart, bump.ChartFile))
			if err != nil {
				return "", err
			}
			return bump.Version(chart.Text)
		}
	}
	return "", nil
}

// before is what the chart named before a release.
func (r *reverter) before(ctx context.Context, last Former, parent string) (bump.Pin, error) {
	first := fmt.Errorf("%w: before %s (%.12s) %s named no other image by its digest, so there is nothing to go back to", ErrFirst, last.Tag, last.SHA, r.Chart)
	if parent == "" {
		return bump.Pin{}, cmp.Or(r.whole(ctx), first)
	}
	pin, err := r.pin(ctx, parent)
	if err != nil {
		return bump.Pin{}, err
	}
	if pin.Check() != nil || pin == last.Pin {
		return bump.Pin{}, first
	}
	return pin, nil
}

// whole refuses a history that is not all here.
func (r *reverter) whole(ctx context.Context) error {
	shallow, err := r.Run(ctx, "rev-parse", "--is-shallow-repository")
	if err == nil && shallow == "true" {
		err = ErrShallow
	}
	return err
}

// unedited refuses a chart whose image is not what the release wrote. Its version may be another: people raise it as
// they edit templates.
func unedited(values, chart File, last Former) error {
	pin, err := bump.Read(values.Text)
	if err != nil {
		return err
	}
	appVersion, err := bump.AppVersion(chart.Text)
	if err != nil {
		return err
	}
	for _, s := range []struct{ name, now, wrote string }{
		{"image.tag", pin.Tag, last.Tag},
		{"image.digest", pin.Digest, last.Digest},
		{"appVersion", appVersion, last.Tag},
	} {
		if s.now != s.wrote {
			return fmt.Errorf("%w: %s is %q, and the release %s (%.12s) wrote %q; take that edit back first", ErrEdited, s.name, s.now, last.Tag, last.SHA, s.wrote)
		}
	}
	return nil
}
