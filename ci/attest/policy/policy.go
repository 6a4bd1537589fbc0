// Package policy decides whether an image is one that a release made: signed by the right key, built from the right
// commit of the right repository by the right builder, and listed in full.
package policy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
	"github.com/backstage-gitops/backstage-gitops/ci/attest/proof"
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
	// Proof wants the signed proof of a release that a cluster ran beside the image.
	Proof bool
}

// Verified is an image that a policy accepts.
type Verified struct {
	Image    string `json:"image"`
	SignedBy string `json:"signedBy"`
	// Origin is what the provenance says.
	Origin provenance.Facts `json:"origin"`
	// Attached are the statements that count, one of each kind.
	Attached []attest.Attached `json:"attached"`
	// Packages is the number of packages in the SBOM; of an image of several platforms those of each.
	Packages  int      `json:"packages,omitempty"`
	Platforms []Listed `json:"platforms,omitempty"`
	// Proofs are the signed proofs of releases of the image, those of releases first. An image is verified before it has one.
	Proofs []Proof `json:"proofs,omitempty"`
	// Unusable is what else is beside the image and could be taken for one of them; what others have signed is not.
	Unusable []Unusable `json:"unusable,omitempty"`

	// there are the digests of all that holds, several of a kind too.
	there map[string]bool
}

// Proof is a signed proof of a release beside the image, which was checked as it is offline, and whose links to what is
// beside the image hold.
type Proof struct {
	// Digest is that of the document's manifest in the registry, Verdict one sentence on what the document is.
	Digest  string `json:"digest"`
	Verdict string `json:"verdict"`
	*proof.Chain
}

// Listed is the image of a platform, and the number of packages in its own SBOM.
type Listed struct {
	Platform string `json:"platform"`
	Digest   string `json:"digest"`
	Packages int    `json:"packages"`
}

// Unusable is something beside an image that does not count.
type Unusable struct {
	PredicateType string `json:"predicateType,omitempty"`
	Digest        string `json:"digest"`
	Reason        string `json:"reason"`
}

// What has to be beside an image, in the order in which people ask: what is said of all platforms is beside the list of
// their images, and what each is made of beside its own.
var (
	whole = []string{attest.Signature, attest.Provenance}
	parts = []string{attest.SPDX, attest.CycloneDX}
)

// Verify reads what is beside an image, and refuses one that is not what it has to be. Of each kind one statement has to
// hold; what else is there, of others, does not count.
func (p Policy) Verify(ctx context.Context, i *attest.Image, v *attest.Verifier) (*Verified, error) {
	if p.Layers {
		if err := i.Check(); err != nil {
			return nil, err
		}
	}
	result := &Verified{Image: i.Ref(), SignedBy: v.Signer(), there: map[string]bool{}}
	want := p.Origin
	if want.Revision == "" {
		for _, of := range i.Platforms {
			if of.Revision != i.Revision {
				return nil, fmt.Errorf("%s: %w: the label of its image for %s names %s, that for %s %s", i.Ref(), provenance.ErrRevision, of.Platform, of.Revision, i.Platforms[0].Platform, i.Revision)
			}
		}
		want.Revision = i.Revision
	}
	found, err := result.read(ctx, i, v, want)
	if err != nil {
		return nil, err
	}
	if found.nothing {
		return nil, fmt.Errorf("%s is %w: release it again with a signing key", i.Ref(), ErrUnsigned)
	}
	kinds, images := whole, i.Platforms
	if images[0] == i {
		kinds, images, result.Packages = slices.Concat(whole, parts), nil, found.packages
	}
	if err := result.count(found, i.Ref(), kinds); err != nil {
		return nil, err
	}
	for _, of := range images {
		found, err := result.read(ctx, of, v, want)
		if err == nil {
			err = result.count(found, i.Ref()+": "+of.Platform, parts)
		}
		if err != nil {
			return nil, err
		}
		result.Platforms = append(result.Platforms, Listed{of.Platform, of.Digest(), found.packages})
	}
	wrong := telling(found.wrong[proof.PredicateType], result.linked())
	if !p.Proof {
		return result, nil
	}
	return result, result.proven(wrong)
}

// linked leaves out proofs of another provenance than the one beside the image, or of what is not beside it, and says what
// is wrong with one.
func (r *Verified) linked() (wrong error) {
	r.Proofs = slices.DeleteFunc(r.Proofs, func(p Proof) bool {
		var err error
		if p.Provenance.Repository != r.Origin.Repository || p.Provenance.Revision != r.Origin.Revision {
			err = fmt.Errorf("%w: its provenance is not the one beside the image", proof.ErrOtherSource)
		}
		for _, a := range p.Attached {
			if !r.there[a.Digest] {
				err = fmt.Errorf("%w: its %s %s", proof.ErrMissing, attest.Title(a.PredicateType), a.Digest)
			}
		}
		if err != nil {
			r.Unusable = append(r.Unusable, Unusable{proof.PredicateType, p.Digest, err.Error()})
			wrong = err
		}
		return err != nil
	})
	slices.SortStableFunc(r.Proofs, func(a, b Proof) int {
		return cmp.Or(proof.Compare(a.Chain, b.Chain), strings.Compare(a.Digest, b.Digest))
	})
	return wrong
}

// proven refuses an image without the proof of a release that a cluster ran; wrong is what is wrong with one.
func (r *Verified) proven(wrong error) error {
	for n, p := range r.Proofs {
		err := p.Check(proof.Want{})
		if err == nil {
			return nil
		}
		if n == 0 && p.Outcome == proof.Released || wrong == nil {
			wrong = err
		}
	}
	if wrong != nil {
		return fmt.Errorf("%s: its proof is refused: %w", r.Image, wrong)
	}
	return fmt.Errorf("%s: its proof is %w%s", r.Image, ErrMissing, unusable(r.Unusable))
}

// beside is what is beside an image, by its kinds.
type beside struct {
	nothing  bool
	counts   map[string]attest.Attached
	wrong    map[string]error
	packages int
}

// read reads what is beside an image.
func (r *Verified) read(ctx context.Context, i *attest.Image, v *attest.Verifier, want provenance.Facts) (*beside, error) {
	bundles, err := i.Bundles(ctx)
	if err != nil {
		return nil, err
	}
	b := &beside{nothing: len(bundles) == 0, counts: map[string]attest.Attached{}, wrong: map[string]error{}}
	for _, one := range bundles {
		statement, err := one.Read(v, i)
		if err == nil {
			err = r.take(statement, i, one.Digest, want, b)
		}
		if err != nil {
			b.wrong[one.PredicateType] = telling(b.wrong[one.PredicateType], err)
			if !errors.Is(err, attest.ErrOtherKey) {
				r.Unusable = append(r.Unusable, Unusable{one.PredicateType, one.Digest, err.Error()})
			}
			continue
		}
		r.there[one.Digest] = true
		if _, taken := b.counts[statement.PredicateType]; !taken {
			b.counts[statement.PredicateType] = attest.Attached{PredicateType: statement.PredicateType, Digest: one.Digest, Platform: i.Platform, Kept: true}
		}
	}
	return b, nil
}

// count refuses an image without one of the kinds beside it.
func (r *Verified) count(b *beside, of string, kinds []string) error {
	for _, kind := range kinds {
		counted, ok := b.counts[kind]
		switch {
		case ok:
			r.Attached = append(r.Attached, counted)
		case b.wrong[kind] != nil:
			return fmt.Errorf("%s: its %s is refused: %w", of, attest.Title(kind), b.wrong[kind])
		default:
			return fmt.Errorf("%s: its %s is %w%s", of, attest.Title(kind), ErrMissing, unusable(r.Unusable))
		}
	}
	return nil
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
	if second == nil {
		return first
	}
	if first == nil || errors.Is(first, attest.ErrOtherKey) && !errors.Is(second, attest.ErrOtherKey) {
		return second
	}
	return first
}

// take looks into a statement that is signed as it should be.
func (r *Verified) take(s *attest.Statement, i *attest.Image, digest string, want provenance.Facts, b *beside) error {
	switch s.PredicateType {
	case attest.Provenance:
		origin, err := provenance.Read(s.Predicate)
		if err == nil {
			err = origin.Check(want)
		}
		if err == nil && i.Platform == "" {
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
		b.packages = len(doc.Packages) - 1
	case attest.CycloneDX:
		return sbom.CheckCycloneDX(s.Predicate, i.Digest())
	case proof.PredicateType:
		chain, err := proof.Read(s)
		if err != nil {
			return err
		}
		r.Proofs = append(r.Proofs, Proof{digest, chain.Verdict(), chain})
	}
	return nil
}
