package environments

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/backstage-gitops/backstage-gitops/ci/bump"
)

// Why a promotion is refused.
var (
	// ErrSkipped says that an environment would be left out.
	ErrSkipped = errors.New("an environment would be skipped")
	// ErrDowngrade says that the image is older than the one it would replace, or may be.
	ErrDowngrade = errors.New("a downgrade")
	// ErrUnproven says that the image was not seen to run well where it is to come from.
	ErrUnproven = errors.New("not proven")
)

// Promotion is an image's way from one environment to the next.
type Promotion struct {
	From, To string
	// Running is what Argo CD said of the first environment, the result of `gitops argocd sync`; empty: nobody asked.
	Running []byte
	// AllowUnproven takes an image of which Running says nothing.
	AllowUnproven bool
	// AllowDowngrade takes an image that is older than the one it replaces.
	AllowDowngrade bool
	// History is what releases have named so far, the latest first. It tells which of two images is older where their
	// tags are no versions.
	History []bump.Pin
}

// Promoted is what a promotion did.
type Promoted struct {
	From     string      `json:"from"`
	To       string      `json:"to"`
	File     string      `json:"file"`
	Tag      string      `json:"tag"`
	Digest   string      `json:"digest"`
	Previous bump.Pin    `json:"previous"`
	Nothing  bool        `json:"nothing"`
	Edits    []bump.Edit `json:"edits"`
}

// Promote has the second environment name the image that the first one names: two scalars of its values, byte for byte.
// One that is deployed from another revision than the checkout's branch is refused: it does not read what is written here.
func (c *Checkout) Promote(ctx context.Context, p Promotion) (Promoted, error) {
	from, err := c.index(p.From)
	if err != nil {
		return Promoted{}, err
	}
	to, err := c.index(p.To)
	if err != nil {
		return Promoted{}, err
	}
	switch {
	case to == from:
		return Promoted{}, fmt.Errorf("%w: %s is one environment, not two", ErrEnvironments, p.From)
	case to < from:
		return Promoted{}, fmt.Errorf("%w: %s comes before %s: images go the other way", ErrEnvironments, p.To, p.From)
	case to > from+1:
		return Promoted{}, fmt.Errorf("%w: %s comes between %s and %s: promote to it first", ErrSkipped, c.Environments[from+1].Name, p.From, p.To)
	}
	if e := c.Environments[to]; !c.here(e) {
		return Promoted{}, fmt.Errorf("%w: %s is deployed from %s, and does not read %s of %s: check %s out and promote there with --branch %s, or have its environments[].revision name %s",
			ErrEnvironments, p.To, e.Revision, e.Values, cmp.Or(c.Branch, "the checkout"), e.Revision, e.Revision, cmp.Or(c.Branch, "the branch"))
	}
	pin, file, err := c.Pin(ctx, p.From)
	if err != nil {
		return Promoted{}, err
	}
	if pin.Digest == "" {
		return Promoted{}, fmt.Errorf("%w: %s names no digest for %s, and a tag can move: release first", ErrUnproven, file, p.From)
	}
	previous, written, err := c.Pin(ctx, p.To)
	if err != nil {
		return Promoted{}, err
	}
	own := c.Environments[to].Values
	if written != own {
		return Promoted{}, fmt.Errorf("%w: %s names no image, so %s follows every release: write image.tag and image.digest there", ErrEnvironments, own, p.To)
	}
	result := Promoted{From: p.From, To: p.To, File: own, Tag: pin.Tag, Digest: pin.Digest, Previous: previous, Edits: []bump.Edit{}}
	if previous == pin {
		result.Nothing = true
		return result, nil
	}
	if err := p.proven(pin); err != nil {
		return Promoted{}, err
	}
	if err := p.upgrade(previous, pin); err != nil {
		return Promoted{}, err
	}
	result.Edits, err = bump.File(c.file(own), pin)
	return result, err
}

// proven refuses an image that Argo CD did not see run well.
func (p Promotion) proven(pin bump.Pin) error {
	if len(p.Running) == 0 {
		if p.AllowUnproven {
			return nil
		}
		return fmt.Errorf("%w: nobody asked Argo CD whether %s runs %.19s", ErrUnproven, p.From, pin.Digest)
	}
	var running struct {
		Application, Sync, Health string
		Pods                      []struct {
			Name       string
			Current    bool
			Containers []struct {
				Name, ImageID string
				Ready         bool
			}
		}
	}
	if err := json.Unmarshal(p.Running, &running); err != nil {
		return fmt.Errorf("%w: what Argo CD said of %s: %w", ErrUnproven, p.From, err)
	}
	// The ApplicationSet names Applications by release and environment.
	if !strings.HasSuffix(running.Application, "-"+p.From) {
		return fmt.Errorf("%w: what Argo CD said is of the Application %q, not of %s", ErrUnproven, running.Application, p.From)
	}
	if running.Sync != "Synced" || running.Health != "Healthy" {
		return fmt.Errorf("%w: %s is %s and %s, not Synced and Healthy", ErrUnproven, p.From, running.Sync, running.Health)
	}
	seen := 0
	for _, pod := range running.Pods {
		if !pod.Current {
			continue
		}
		for _, container := range pod.Containers {
			// A pod may have others, with images of their own.
			if container.Name != "backend" && container.Name != "frontend" {
				continue
			}
			if !container.Ready || !strings.HasSuffix(container.ImageID, pin.Digest) {
				return fmt.Errorf("%w: %s of %s in %s is not ready with %.19s", ErrUnproven, container.Name, pod.Name, p.From, pin.Digest)
			}
			seen++
		}
	}
	if seen == 0 {
		return fmt.Errorf("%w: no pod of %s runs %.19s", ErrUnproven, p.From, pin.Digest)
	}
	return nil
}

// upgrade refuses an image that is older than the one before it, or may be.
func (p Promotion) upgrade(before, after bump.Pin) error {
	if p.AllowDowngrade || before.Digest == "" || before.Digest == after.Digest {
		return nil
	}
	old, errOld := semver.StrictNewVersion(strings.TrimPrefix(before.Tag, "v"))
	next, errNext := semver.StrictNewVersion(strings.TrimPrefix(after.Tag, "v"))
	if errOld == nil && errNext == nil && !old.Equal(next) {
		if next.LessThan(old) {
			return fmt.Errorf("%w: %s runs %s, and %s is older", ErrDowngrade, p.To, before.Tag, after.Tag)
		}
		return nil
	}
	at := func(pin bump.Pin) int {
		return slices.IndexFunc(p.History, func(h bump.Pin) bool { return h.Digest == pin.Digest })
	}
	was, is := at(before), at(after)
	switch {
	case was < 0 || is < 0:
		return fmt.Errorf("%w: which of %s, which %s runs, and %s is older cannot be told from versions or releases", ErrDowngrade, before.Tag, p.To, after.Tag)
	case is > was:
		return fmt.Errorf("%w: %s runs %s, which was released after %s", ErrDowngrade, p.To, before.Tag, after.Tag)
	}
	return nil
}
