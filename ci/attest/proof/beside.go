package proof

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
)

var (
	// ErrNone says that no document is beside an image.
	ErrNone = errors.New("no signed proof is beside it")
	// ErrSeveral says that documents of several commits are.
	ErrSeveral = errors.New("signed proofs of several commits are beside it")
)

// Document is a signed document beside its image.
type Document struct {
	// Digest is that of its manifest in the registry.
	Digest string
	// Text is the document, a Sigstore bundle.
	Text []byte
	*Chain
}

// Beside lists the documents beside an image that the right one has signed and that fit together. Refused is what is wrong
// with one that does not, nil where there is none such; what others have signed is not looked at.
func Beside(ctx context.Context, i *attest.Image, v *attest.Verifier) (found []Document, refused, err error) {
	bundles, err := i.Bundles(ctx, PredicateType)
	if err != nil {
		return nil, nil, err
	}
	for _, b := range bundles {
		statement, err := b.Read(v, i)
		if err == nil && statement.PredicateType != PredicateType {
			continue
		}
		var c *Chain
		if err == nil {
			c, err = Read(statement)
		}
		switch {
		case err == nil:
			found = append(found, Document{b.Digest, b.Text, c})
		case b.PredicateType == PredicateType && !errors.Is(err, attest.ErrOtherKey):
			refused = fmt.Errorf("%s: %w", b.Digest, err)
		}
	}
	slices.SortFunc(found, func(a, b Document) int {
		return cmp.Or(Compare(a.Chain, b.Chain), strings.Compare(a.Digest, b.Digest))
	})
	return found, refused, nil
}

// outcomes are in the order in which people ask for them.
var outcomes = []string{Released, Proposed, Candidate}

// Compare puts the chains of releases before those of proposals, and these before those of candidates.
func Compare(a, b *Chain) int {
	return slices.Index(outcomes, a.Outcome) - slices.Index(outcomes, b.Outcome)
}

// Find finds the document beside an image that is wanted; commit, where given, is the one that names the image in it. It is
// refused by name of what is wrong, and where there are documents of several commits.
func Find(ctx context.Context, i *attest.Image, v *attest.Verifier, w Want, commit string) (*Document, error) {
	all, broken, err := Beside(ctx, i, v)
	if err != nil {
		return nil, err
	}
	var (
		found          *Document
		refused, other error
	)
	for _, d := range all {
		err := d.Check(w)
		if err == nil && commit != "" && d.Commit.SHA != commit {
			err = fmt.Errorf("%w: %s, not %s", ErrOtherBump, d.Commit.SHA, commit)
		}
		switch {
		case err != nil && d.Outcome == Released && refused == nil:
			refused = fmt.Errorf("%s: %w", d.Digest, err)
		case err != nil && other == nil:
			other = fmt.Errorf("%s: %w", d.Digest, err)
		case err != nil:
		case found == nil:
			found = &d
		case found.Commit.SHA != d.Commit.SHA:
			return nil, fmt.Errorf("%s: %w: %s and %s; say of which", i.Ref(), ErrSeveral, found.Commit.SHA, d.Commit.SHA)
		}
	}
	if found != nil {
		return found, nil
	}
	// The most telling one: of a release, of what may be one, of what is none.
	for _, why := range []error{refused, broken, other} {
		if why != nil {
			return nil, fmt.Errorf("%s: its proof is refused: %w", i.Ref(), why)
		}
	}
	return nil, fmt.Errorf("%s: %w by %s", i.Ref(), ErrNone, v.Signer())
}

// Attach signs the document of a chain and puts it beside its image. One that says as much of the same commit stays the only
// one. What no cluster of this run has run is taken from a document beside the image that an earlier run left there: of the
// same commit, or of one with the same tree on the same parent. Where an earlier run made the commit and left none, the chain
// is refused unless unproven: nobody knows any more whether a cluster ran it.
func (c *Chain) Attach(ctx context.Context, i *attest.Image, s *attest.Signer, unproven bool) (_ *Document, kept bool, err error) {
	if _, digest, _ := strings.Cut(c.Image, "@"); digest != i.Digest() {
		return nil, false, fmt.Errorf("%w: %s, not %s", ErrOtherImage, c.Image, i.Ref())
	}
	before, _, err := Beside(ctx, i, s.Verifier)
	if err != nil {
		return nil, false, err
	}
	for _, d := range before {
		if d.same(c) && (d.ArgoCD != nil || c.ArgoCD == nil && !slices.ContainsFunc(before, c.ranAs)) {
			return &d, true, nil
		}
	}
	if c.ArgoCD == nil {
		if n := slices.IndexFunc(before, c.ranAs); n >= 0 {
			c.ArgoCD = before[n].ArgoCD
			if c.ArgoCD.Revision != c.Commit.SHA {
				c.Commit.Candidate = c.ArgoCD.Revision
			}
		}
	}
	if c.earlier && c.ArgoCD == nil && !unproven {
		return nil, false, fmt.Errorf("%w: no proof of the commit %s, or of its candidate, by %s is beside the image", ErrForgotten, c.Commit.SHA, s.Verifier.Signer())
	}
	statement, err := c.statement()
	if err != nil {
		return nil, false, err
	}
	attached, err := i.Attach(ctx, s, statement)
	if err != nil {
		return nil, false, err
	}
	after, _, err := Beside(ctx, i, s.Verifier)
	if err != nil {
		return nil, false, err
	}
	for _, d := range after {
		if d.Digest == attached[0].Digest {
			return &d, false, nil
		}
	}
	return nil, false, fmt.Errorf("%s: %w by %s", i.Ref(), ErrNone, s.Verifier.Signer())
}

// same says whether two chains are of one outcome of one commit.
func (c *Chain) same(d *Chain) bool {
	return c.Outcome == d.Outcome && c.Commit.SHA == d.Commit.SHA && c.Commit.Remote == d.Commit.Remote && c.Commit.Branch == d.Commit.Branch
}

// ranAs says whether a document says that a cluster ran the chain's commit.
func (c *Chain) ranAs(d Document) bool {
	return d.ArgoCD != nil && d.Commit.Digest == c.Commit.Digest &&
		(d.Commit.SHA == c.Commit.SHA || c.Commit.Tree != "" && d.Commit.Tree == c.Commit.Tree && d.Commit.Parent == c.Commit.Parent)
}
