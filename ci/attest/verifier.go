package attest

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/sigstore/cosign/v3/pkg/cosign"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// Verifier verifies bundles of one signer.
type Verifier struct {
	options cosign.CheckOpts
	// PublicKey is the key, PEM; empty for an identity.
	PublicKey string
	// hint is the key's fingerprint, empty for an identity.
	hint string
}

// NewVerifier verifies what the key with this public half signs, PEM.
func NewVerifier(public []byte) (*Verifier, error) {
	key, err := cryptoutils.UnmarshalPEMToPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("%w: %w: give a public key in PEM, as cosign generate-key-pair makes it", ErrKey, err)
	}
	hint, err := fingerprint(key)
	if err != nil {
		return nil, err
	}
	verifier, err := signature.LoadDefaultVerifier(key, *cosign.GetDefaultLoadOptions(nil)...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return &Verifier{options: cosign.CheckOpts{SigVerifier: verifier, IgnoreTlog: true, NewBundleFormat: true}, PublicKey: string(public), hint: hint}, nil
}

// NewKeylessVerifier verifies what an identity signs, such as a workflow of GitHub.
func NewKeylessVerifier(identity, issuer string) (*Verifier, error) {
	trusted, err := cosign.TrustedRoot()
	if err != nil {
		return nil, fmt.Errorf("ask Sigstore for what it trusts: %w", err)
	}
	return &Verifier{options: cosign.CheckOpts{
		TrustedMaterial: trusted, NewBundleFormat: true,
		Identities: []cosign.Identity{{Subject: identity, Issuer: issuer}},
	}}, nil
}

// Log refuses a signature that is not in the public transparency log.
func (v *Verifier) Log() error {
	trusted, err := cosign.TrustedRoot()
	if err != nil {
		return fmt.Errorf("ask Sigstore for its transparency log: %w", err)
	}
	v.options.TrustedMaterial, v.options.IgnoreTlog = trusted, false
	return nil
}

// Signer is who signs what this verifies, for people.
func (v *Verifier) Signer() string {
	if v.hint != "" {
		return "key " + v.hint
	}
	return v.options.Identities[0].Subject
}

// Verify reads a bundle's statement, and refuses one that somebody else signed, that was changed since, or that is on
// another image than that with the SHA-256 digest sum; without one on any.
func (v *Verifier) Verify(text []byte, sum string) (*Statement, error) {
	b := &bundle.Bundle{}
	if err := b.UnmarshalJSON(text); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	envelope, ok := b.Content.(*protobundle.Bundle_DsseEnvelope)
	if !ok || envelope.DsseEnvelope.GetPayloadType() != payloadType {
		return nil, ErrBroken
	}
	if err := v.signedBy(b); err != nil {
		return nil, err
	}
	if _, err := v.check(verify.WithoutArtifactUnsafe(), b); err != nil {
		if v.hint == "" {
			return nil, fmt.Errorf("%w: not by %s: %w", ErrOtherKey, v.Signer(), err)
		}
		return nil, fmt.Errorf("%w (%w)", ErrTampered, err)
	}
	statement, err := parseStatement(envelope.DsseEnvelope.GetPayload())
	if err != nil || sum == "" {
		return statement, err
	}
	digest, err := hex.DecodeString(sum)
	if err != nil {
		return nil, err
	}
	if _, err := v.check(verify.WithArtifactDigest("sha256", digest), b); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrOtherImage, statement.subjects())
	}
	return statement, nil
}

func (v *Verifier) check(artifact verify.ArtifactPolicyOption, b *bundle.Bundle) (*verify.VerificationResult, error) {
	return cosign.VerifyNewBundle(context.Background(), &v.options, artifact, b)
}

// signedBy refuses a bundle of another signer, as far as it says whose it is: the signature itself is looked at later.
func (v *Verifier) signedBy(b *bundle.Bundle) error {
	hint := b.GetVerificationMaterial().GetPublicKey().GetHint()
	switch {
	case v.hint == "" || hint == v.hint:
		return nil
	case hint == "":
		return fmt.Errorf("%w: by a certificate, not by %s", ErrOtherKey, v.Signer())
	}
	return fmt.Errorf("%w: by key %s, not by %s", ErrOtherKey, hint, v.Signer())
}

func (s *Statement) subjects() string {
	text := "of none"
	for _, subject := range s.Subject {
		text = "sha256:" + subject.Digest["sha256"]
	}
	return text
}
