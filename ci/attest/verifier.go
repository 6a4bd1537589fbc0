package attest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"

	"github.com/sigstore/cosign/v3/pkg/cosign"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
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
	// ran refuses a commit that a workflow ran at, nil for none.
	ran func(commit string) error
}

// RanAt has a function refuse the commit that a workflow ran at, which its certificate names: whoever may push a tag may
// have it run at a commit that nobody has merged, as altered there, and sign with it whatever they like.
func (v *Verifier) RanAt(refuse func(commit string) error) { v.ran = refuse }

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

// NewKeylessVerifier verifies what an identity signs, such as a workflow of GitHub. Without an issuer the GitHub of its
// address has to vouch for it: that of github.com in its own name or in an enterprise's. Trusted is Sigstore's trusted root,
// the JSON that says whose certificates and whose logs count; without one Sigstore is asked for its own.
func NewKeylessVerifier(identity, issuer string, trusted []byte) (*Verifier, error) {
	material, err := trustedRoot(trusted)
	if err != nil {
		return nil, err
	}
	by := cosign.Identity{Subject: identity, Issuer: cmp.Or(issuer, IssuerOf(identity))}
	if issuer == "" && by.Issuer == GitHubIssuer {
		by.Issuer, by.IssuerRegExp = "", "^"+regexp.QuoteMeta(GitHubIssuer)+"(/[A-Za-z0-9-]+)?$"
	}
	return &Verifier{options: cosign.CheckOpts{
		TrustedMaterial: material, NewBundleFormat: true, Identities: []cosign.Identity{by},
	}}, nil
}

// Log refuses a signature that is not in the transparency log of the trusted root; without one it is Sigstore's own.
func (v *Verifier) Log(trusted []byte) error {
	material, err := trustedRoot(trusted)
	if err != nil {
		return err
	}
	v.options.TrustedMaterial, v.options.IgnoreTlog = material, false
	return nil
}

// ErrTrustedRoot says that there is no telling whose certificates count.
var ErrTrustedRoot = errors.New("no trusted root of Sigstore")

func trustedRoot(text []byte) (root.TrustedMaterial, error) {
	if text == nil {
		live, err := cosign.TrustedRoot()
		if err != nil {
			return nil, fmt.Errorf("%w: %w: without a network give it as a file", ErrTrustedRoot, err)
		}
		return live, nil
	}
	parsed, err := root.NewTrustedRootFromJSON(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w: give the JSON that cosign trusted-root create writes", ErrTrustedRoot, err)
	case len(parsed.RekorLogs()) == 0:
		return nil, fmt.Errorf("%w: it names no transparency log: give the JSON that cosign trusted-root create writes", ErrTrustedRoot)
	}
	return parsed, nil
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
	result, err := v.check(verify.WithoutArtifactUnsafe(), b)
	if err != nil {
		return nil, v.refusal(b, err)
	}
	if v.ran != nil {
		if err := v.ran(ranAt(result)); err != nil {
			return nil, err
		}
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

// ranAt is the commit of the workflow that signed, empty where its certificate does not say.
func ranAt(r *verify.VerificationResult) string {
	if r == nil || r.Signature == nil || r.Signature.Certificate == nil {
		return ""
	}
	return r.Signature.Certificate.BuildSignerDigest
}

func (v *Verifier) check(artifact verify.ArtifactPolicyOption, b *bundle.Bundle) (*verify.VerificationResult, error) {
	return cosign.VerifyNewBundle(context.Background(), &v.options, artifact, b)
}

// signedBy refuses a bundle of another signer, as far as it says whose it is: the signature itself is looked at later.
func (v *Verifier) signedBy(b *bundle.Bundle) error {
	hint := b.GetVerificationMaterial().GetPublicKey().GetHint()
	switch {
	case hint == v.hint:
		return nil
	case v.hint == "":
		return fmt.Errorf("%w: by key %s, not by %s", ErrOtherKey, hint, v.Signer())
	case hint == "":
		return fmt.Errorf("%w: by a certificate, not by %s", ErrOtherKey, v.Signer())
	}
	return fmt.Errorf("%w: by key %s, not by %s", ErrOtherKey, hint, v.Signer())
}

// refusal says by name what is wrong with a bundle that does not verify.
func (v *Verifier) refusal(b *bundle.Bundle, err error) error {
	if v.hint == "" {
		if intact(b) {
			return fmt.Errorf("%w: not by %s: %w", ErrOtherKey, v.Signer(), err)
		}
		return fmt.Errorf("%w (%w)", ErrTampered, err)
	}
	if !v.options.IgnoreTlog {
		bare := *v
		bare.options.IgnoreTlog = true
		if _, other := bare.check(verify.WithoutArtifactUnsafe(), b); other == nil {
			return fmt.Errorf("%w (%w)", ErrNotLogged, err)
		}
	}
	return fmt.Errorf("%w (%w)", ErrTampered, err)
}

// intact says whether the key of a bundle's own certificate signed its content, whoever that is.
func intact(b *bundle.Bundle) bool {
	content, err := b.VerificationContent()
	if err != nil || content.Certificate() == nil {
		return false
	}
	verifier, err := signature.LoadDefaultVerifier(content.Certificate().PublicKey, *cosign.GetDefaultLoadOptions(nil)...)
	if err != nil {
		return false
	}
	envelope := b.GetDsseEnvelope()
	signed := (&sign.DSSEData{Data: envelope.GetPayload(), PayloadType: envelope.GetPayloadType()}).PreAuthEncoding()
	for _, s := range envelope.GetSignatures() {
		if verifier.VerifySignature(bytes.NewReader(s.GetSig()), bytes.NewReader(signed)) == nil {
			return true
		}
	}
	return false
}

func (s *Statement) subjects() string {
	text := "of none"
	for _, subject := range s.Subject {
		text = "sha256:" + subject.Digest["sha256"]
	}
	return text
}
