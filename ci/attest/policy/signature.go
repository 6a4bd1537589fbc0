package policy

import (
	"context"
	"errors"
	"fmt"

	"github.com/backstage-gitops/backstage-gitops/ci/attest"
)

// Signed refuses what a registry holds unless its content is that of its digest and the right one has signed it. It asks
// for nothing else beside it: Verify does, of an image.
func Signed(ctx context.Context, i *attest.Image, v *attest.Verifier) (*attest.Attached, error) {
	if err := i.Check(); err != nil {
		return nil, err
	}
	bundles, err := i.Bundles(ctx)
	if err != nil {
		return nil, err
	}
	refused := fmt.Errorf("%s is %w: release it again with a signing key", i.Ref(), ErrUnsigned)
	for _, b := range bundles {
		statement, err := b.Read(v, i)
		switch {
		case err != nil && (errors.Is(refused, ErrUnsigned) || errors.Is(refused, attest.ErrOtherKey)):
			// What is the right one's and of no use says more than what is another's.
			refused = fmt.Errorf("%s: its signature is refused: %w", i.Ref(), err)
		case err == nil && statement.PredicateType == attest.Signature:
			return &attest.Attached{PredicateType: attest.Signature, Digest: b.Digest, Kept: true}, nil
		}
	}
	return nil, refused
}
