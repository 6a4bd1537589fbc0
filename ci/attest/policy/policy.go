// Package policy decides whether an image is one that a release made: signed by the right key, built from the right
// commit of the right repository by the right builder, and listed in full.
package policy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/provenance"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/sbom"
)

var (
	// ErrUnsigned says that nothing is beside an image.
	ErrUnsigned = errors.New("unsigned: nothing is attached to it")
	// ErrMissing says that something is not beside an image that has to be.
	ErrMissing = errors.New("missing")
)

// Policy is what an image has to be.
type Policy struct {
	// Origin is where it has to come from; what is empty may be anything. Without a revision it is that of the image's
	// own label.
	Origin provenance.Facts
	// Layers has the content of the layers compared with their digests as well. Whoever pulls the image does that, and what
	// is signed does not depend on it: without, a few manifests are read instead of the whole image.
	Layers bool
}

// Verified is an image that a policy accepts.
type Verified struct {
	Image    string `json:"image"`
	SignedBy string `json:"signedBy"`
	// Origin is what the provenance says.
	Origin provenance.Facts `json:"origin"`
	// Attached are the statements that count, one of each kind.
	Attached []attest.Attached `json:"attached"`
	// Packages is the number of packages in the SBOM.
	Packages int `json:"packages"`
	// Unusable is what else is beside the image and could be taken for one of them; what others have signed is not.
	Unusable []Unusable `json:"unusable,omitempty"`
}

// Unusable is something beside an image that does not count.
type Unusable struct {
	PredicateType string `json:"predicateType,omitempty"`
	Digest        string `json:"digest"`
	Reason        string `json:"reason"`
}

// kinds are what has to be beside an image, in the order in which people ask.
var kinds = []string{attest.Signature, attest.Provenance, attest.SPDX, attest.CycloneDX}

// Verify reads what is beside an image, and refuses one that is not what it has to be. Of each kind one
// statement has to hold; what else is there, of others, does not count.
func (p Policy) Verify(ctx context.Context, i *attest.Image, v *attest.Verifier) (*Verified, error) {
	if p.Layers {
		if err := i.Check(); err != nil {
			return nil, err
		}
	}
	bundles, err := i.Bundles(ctx)
	if err != nil {
		return nil, err
	}
	if len(bundles) == 0 {
		return nil, fmt.Errorf("%s is %w: release it again with a signing key", i.Ref(), ErrUnsigned)
	}
	result := &Verified{Image: i.Ref(), SignedBy: v.Signer()}
	want := p.Origin
	want.Revision = cmp.Or(want.Revision, i.Revision)
	counts := map[string]attest.Attached{}
	wrong := map[string]error{}
	for _, b := range bundles {
		statement, err := b.Read(v, i)
		if err == nil {
			err = result.take(statement, i, want)
		}
		if err != nil {
			wrong[b.PredicateType] = telling(wrong[b.PredicateType], err)
			if !errors.Is(err, attest.ErrOtherKey) {
				result.Unusable = append(result.Unusable, Unusable{b.PredicateType, b.Digest, err.Error()})
			}
			continue
		}
		if _, taken := counts[statement.PredicateType]; !taken {
			counts[statement.PredicateType] = attest.Attached{PredicateType: statement.PredicateType, Digest: b.Digest, Kept: true}
		}
	}
	for _, kind := range kinds {
		counted, ok := counts[kind]
		switch {
		case ok:
			result.Attached = append(result.Attached, counted)
		case wrong[kind] != nil:
			return nil, fmt.Errorf("%s: its %s is refused: %w", i.Ref(), attest.Title(kind), wrong[kind])
		default:
			return nil, fmt.Errorf("%s: its %s is %w%s", i.Ref(), attest.Title(kind), ErrMissing, unusable(result.Unusable))
		}
	}
	return result, nil
}

// unusable says what may be what is missing.
func unusable(all []Unusable) string {
	if len(all) == 0 {
		return ""
	}
	text := ": " + all[0].Digest + " beside it is of no use: " + all[0].Reason
	if len(all) > 1 {
		text += fmt.Sprintf(" (and %d more)", len(all)-1)
	}
	return text
}

// telling is the error to show of two statements of a kind: what is wrong with one by the right signer says more than
// that another is by somebody else.
func telling(first, second error) error {
	if first == nil || errors.Is(first, attest.ErrOtherKey) && !errors.Is(second, attest.ErrOtherKey) {
		return second
	}
	return first
}

// take looks into a statement that is signed as it should be.
func (r *Verified) take(s *attest.Statement, i *attest.Image, want provenance.Facts) error {
	switch s.PredicateType {
	case attest.Provenance:
		origin, err := provenance.Read(s.Predicate)
		if err == nil {
			err = origin.Check(want)
		}
		if err == nil {
			r.Origin = origin
		}
		return err
	case attest.SPDX:
		var doc struct {
			Packages []json.RawMessage `json:"packages"`
		}
		if err := errors.Join(sbom.CheckSPDX(s.Predicate, i.Digest()), json.Unmarshal(s.Predicate, &doc)); err != nil {
			return err
		}
		// The image itself is one of them.
		r.Packages = len(doc.Packages) - 1
	case attest.CycloneDX:
		return sbom.CheckCycloneDX(s.Predicate, i.Digest())
	}
	return nil
}
