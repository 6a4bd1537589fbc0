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
}

// Revert takes the last release of a chart back: on top of the target's tip, a commit that has the chart name the
// image that it named before that release. Commits that came after the release stay. Where somebody else pushes in
// between it is made again on the new tip, but never of another release than the first time.
//
// The last release is the newest that was not reverted yet, by Revert or by git revert: twice is one release further
// back, never forward again to what was just taken away (as helm rollback would), and after a new release it is that
// one. The sources stay, so the next release of them brings the image back: fix them first.
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

func revert(ctx context.Context, dir string, rb Rollback, t Target, bring func(*pusher, context.Context) (Pushed, error)) (result Reverted, err error) {
	if rb.Image != "" {
		if _, err := imageref.ParseName(rb.Image); err != nil {
			return Reverted{}, err
		}
	}
	if rb.Chart, err = inside(rb.Chart); err != nil {
		return Reverted{}, err
	}
	here, done, err := scratch(ctx, git.Open(dir), t.Remote, t.Branch, t.Credential)
	if err != nil {
		return Reverted{}, err
	}
	defer func() { err = errors.Join(err, done()) }()
	r := reverter{Repo: here, Rollback: rb, target: t}
	p, err := bring(&pusher{Repo: here, target: t, make: r.on}, ctx)
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

	values.Text, chart.Text = after.Values, after.Chart
	sha, tree, err := write(ctx, r.Repo, tip, tip, r.message(), values, chart)
	return Commit{SHA: sha, Parent: tip, Base: tip, Edits: edits, Version: version, Tree: tree, Files: []File{values, chart}}, err
}

// message is a conventional commit with git's own words for what it reverts; it has no source, so it is no release.
func (r *reverter) message() string {
	return fmt.Sprintf("revert: release %s [skip ci]\n\nThis reverts commit %s.\n\nImage: %s:%s\n%s: %s\n",
		r.reverted.Tag, r.reverted.SHA, r.restored.Image, r.restored.Tag, digestTrailer, r.restored.Digest)
}

// reverts are git's words in the message of a commit that takes another back.
var reverts = regexp.MustCompile(`(?m)^This reverts commit ([0-9a-f]{40,64})\b`)

// last finds the newest release behind a tip that no later commit reverts, and that commit's parent, empty where the
// history ends.
func (r *reverter) last(ctx context.Context, tip string) (last Former, parent string, err error) {
	// Release commits are dated back, so their order is that of the history. Git leaves out what had no effect on the
	// file: the other side of a merge.
	const fields = 4
	out, err := r.Run(ctx, "--literal-pathspecs", "log", "-z", "--topo-order",
		"--format=%H%x00%P%x00%(trailers:key="+digestTrailer+",key="+SourceTrailer+",valueonly,separator=%x20)%x00%B", tip, "--", path.Join(r.Chart, bump.ValuesFile))
	if err != nil {
		return Former{}, "", err
	}
	undone := map[string]bool{}
	for c := range slices.Chunk(strings.Split(out, "\x00"), fields) {
		if len(c) < fields || undone[c[0]] {
			continue
		}
		if taken := reverts.FindAllStringSubmatch(c[3], -1); taken != nil {
			for _, sha := range taken {
				undone[sha[1]] = true
			}
			continue
		}
		trailers := strings.Fields(c[2])
		if len(trailers) != 2 {
			continue
		}
		values, err := readEntry(ctx, r.Repo, c[0], path.Join(r.Chart, bump.ValuesFile))
		if err != nil {
			return Former{}, "", err
		}
		pin, err := bump.Read(values.Text)
		if err != nil {
			return Former{}, "", atCommit(r.Chart, c[0], err)
		}
		if pin.Digest != trailers[0] {
			continue // squashed or picked: it has the words of a release, and not what the release did
		}
		parent, _, _ := strings.Cut(c[1], " ")
		return Former{SHA: c[0], Pin: pin}, parent, nil
	}
	if err := r.whole(ctx); err != nil {
		return Former{}, "", err
	}
	return Former{}, "", fmt.Errorf("%w: the history of %s of %s has no release of %s that still stands", ErrNoRelease, r.target.Branch, r.target.Remote, r.Chart)
}

// before is what the chart named before a release.
func (r *reverter) before(ctx context.Context, last Former, parent string) (bump.Pin, error) {
	first := fmt.Errorf("%w: before %s (%.12s) %s named no other image by its digest, so there is nothing to go back to", ErrFirst, last.Tag, last.SHA, r.Chart)
	if parent == "" {
		return bump.Pin{}, cmp.Or(r.whole(ctx), first)
	}
	values, err := readEntry(ctx, r.Repo, parent, path.Join(r.Chart, bump.ValuesFile))
	if err != nil {
		return bump.Pin{}, err
	}
	pin, err := bump.Read(values.Text)
	if err != nil {
		return bump.Pin{}, atCommit(r.Chart, parent, err)
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
