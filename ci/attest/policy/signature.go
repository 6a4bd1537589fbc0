package policy

import (
	"context"
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
	var wrong error
	for _, b := range bundles {
		statement, err := b.Read(v, i)
		switch {
		case err != nil:
			wrong = telling(wrong, err)
		case statement.PredicateType == attest.Signature:
			return &attest.Attached{PredicateType: attest.Signature, Digest: b.Digest, Kept: true}, nil
		}
	}
	if wrong != nil {
		return nil, fmt.Errorf("%s: its signature is refused: %w", i.Ref(), wrong)
	}
	return nil, fmt.Errorf("%s is %w: release it again with a signing key", i.Ref(), ErrUnsigned)
}
