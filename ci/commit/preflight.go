package commit

import (
	"context"
	"errors"

	"github.com/backstage-gitops/backstage-gitops/ci/bump"
	"github.com/backstage-gitops/backstage-gitops/ci/git"
)

// Ready is what a target looks like before a release.
type Ready struct {
	Remote string `json:"remote"`
	Branch string `json:"branch"`
	// Tip is the branch's tip.
	Tip string `json:"tip"`
	// Source is the commit to release.
	Source string `json:"source"`
	// Chart is what the chart at Tip names.
	Chart bump.Pin `json:"chart"`
}

// Preflight finds out whether Push could work, before anything is built: the target answers, takes the credential for
// a push, holds the commit to release, and its chart can be bumped. Nothing is written; the pin of the release is not
// looked at. What only a push shows, a hook that declines, stays open.
func Preflight(ctx context.Context, dir string, rel Release, t Target) (ready Ready, err error) {
	from := git.Open(dir)
	rel, err = rel.checked(ctx, from)
	if err != nil {
		return Ready{}, err
	}
	r, done, err := scratch(ctx, from, t.Remote, t.Branch, t.Credential)
	if err != nil {
		return Ready{}, err
	}
	defer func() { err = errors.Join(err, done()) }()
	tip, err := r.Fetch(ctx, t.Remote, t.Branch)
	if err != nil {
		return Ready{}, err
	}
	if err := contained(ctx, r, rel.Source, tip, t); err != nil {
		return Ready{}, err
	}
	values, chart, err := readChart(ctx, r, tip, rel.Chart)
	if err != nil {
		return Ready{}, err
	}
	if err := bump.Bumpable(bump.Files{Values: values.Text, Chart: chart.Text}); err != nil {
		return Ready{}, atCommit(rel.Chart, tip, err)
	}
	pin, err := bump.Read(values.Text)
	if err != nil {
		return Ready{}, atCommit(rel.Chart, tip, err)
	}
	if err := r.MayPush(ctx, t.Remote, t.Branch, tip); err != nil {
		return Ready{}, err
	}
	return Ready{Remote: t.Remote, Branch: t.Branch, Tip: tip, Source: rel.Source, Chart: pin}, nil
}

// Named is the image that a chart names on the target's branch now.
func Named(ctx context.Context, dir, chart string, t Target) (pin bump.Pin, err error) {
	if chart, err = inside(chart); err != nil {
		return bump.Pin{}, err
	}
	r, done, err := scratch(ctx, git.Open(dir), t.Remote, t.Branch, t.Credential)
	if err != nil {
		return bump.Pin{}, err
	}
	defer func() { err = errors.Join(err, done()) }()
	tip, err := r.Fetch(ctx, t.Remote, t.Branch)
	if err != nil {
		return bump.Pin{}, err
	}
	values, _, err := readChart(ctx, r, tip, chart)
	if err != nil {
		return bump.Pin{}, err
	}
	if pin, err = bump.Read(values.Text); err != nil {
		err = atCommit(chart, tip, err)
	}
	return pin, err
}
