// Package attest signs statements on an image and keeps them beside it in its registry, as cosign does: each is an
// in-toto statement in a Sigstore bundle, attached to the image's digest as an OCI referrer.
package attest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sigstore/cosign/v3/pkg/types"
)

// What a statement says of an image.
const (
	// Signature says nothing but that it is signed: what `cosign sign` makes.
	Signature = types.CosignSignPredicateType
	// SPDX and CycloneDX are bills of materials.
	SPDX      = "https://spdx.dev/Document"
	CycloneDX = "https://cyclonedx.org/bom"
	// Provenance says what it was made of, and by what.
	Provenance = "https://slsa.dev/provenance/v1"
	// Proof ties a release together, see package proof.
	Proof = "https://github.com/backstage-gitops/backstage-gitops/blob/main/ci/attest/README.md#proof-v1"
)

// Title is the name of a predicate type for people.
func Title(predicateType string) string {
	switch predicateType {
	case Signature:
		return "signature"
	case SPDX:
		return "SPDX SBOM"
	case CycloneDX:
		return "CycloneDX SBOM"
	case Provenance:
		return "provenance"
	case Proof:
		return "proof"
	}
	return predicateType
}

// Why something beside an image does not count.
var (
	// ErrOtherKey says that somebody else signed it.
	ErrOtherKey = errors.New("signed by another key")
	// ErrTampered says that its content is not what was signed.
	ErrTampered = errors.New("tampered with: its signature does not match its content")
	// ErrNotLogged says that it is not in the transparency log.
	ErrNotLogged = errors.New("not in the transparency log")
	// ErrOtherImage says that it is a statement on another image.
	ErrOtherImage = errors.New("a statement on another image")
	// ErrBroken says that it is no Sigstore bundle with a statement.
	ErrBroken = errors.New("no Sigstore bundle of a statement")
)

const statementType = "https://in-toto.io/Statement/v1"

// payloadType is that of an in-toto statement in a DSSE envelope.
const payloadType = types.IntotoPayloadType

// Statement is an in-toto statement.
type Statement struct {
	Type          string          `json:"_type"`
	Subject       []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// Subject is what a statement is on.
type Subject struct {
	Name   string            `json:"name,omitempty"`
	Digest map[string]string `json:"digest"`
}

// NewStatement says something of the image that name and hex, its SHA-256 digest, stand for.
func NewStatement(name, hex, predicateType string, predicate json.RawMessage) Statement {
	return Statement{
		Type:          statementType,
		Subject:       []Subject{{Name: name, Digest: map[string]string{"sha256": hex}}},
		PredicateType: predicateType,
		Predicate:     predicate,
	}
}

// JSON is the statement as it is signed, the same text for the same statement.
func (s Statement) JSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return nil, fmt.Errorf("%s: %w", Title(s.PredicateType), err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func parseStatement(text []byte) (*Statement, error) {
	var s Statement
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return &s, nil
}
