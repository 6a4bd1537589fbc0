package attest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/sigstore/cosign/v3/pkg/cosign"
	cosignbundle "github.com/sigstore/cosign/v3/pkg/cosign/bundle"
	common "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

var (
	// ErrKey says that a key cannot be used.
	ErrKey = errors.New("the key cannot be used")
	// ErrPassword says that the key's password is another one.
	ErrPassword = errors.New("the password does not open the key")
)

// Signer signs statements.
type Signer struct {
	pair sign.Keypair
	// token has Fulcio give the key a certificate for the identity in it; empty where the key stands for itself.
	token   string
	config  *root.SigningConfig
	trusted root.TrustedMaterial
	// Verifier verifies what this signer signs.
	Verifier *Verifier
	// Logged says that signatures go to the public transparency log.
	Logged bool
}

// OpenKey is a signer with a private key that `cosign generate-key-pair` or `cosign import-key-pair` made, encrypted with a password.
func OpenKey(private, password []byte) (*Signer, error) {
	key, err := cosign.LoadPrivateKey(private, password, nil)
	switch {
	case err != nil && strings.HasPrefix(err.Error(), "decrypt:"):
		// The library's error is about ciphers.
		return nil, ErrPassword
	case err != nil:
		return nil, fmt.Errorf("%w: %w: give a private key of cosign, as cosign generate-key-pair makes it", ErrKey, err)
	}
	public, err := key.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return newSigner(public, func(ctx context.Context, data, _ []byte) ([]byte, error) {
		return key.SignMessage(bytes.NewReader(data), options.WithContext(ctx))
	})
}

// GenerateKey makes a private key, encrypted with a password, and its public half, both PEM.
func GenerateKey(password []byte) (private, public []byte, err error) {
	made, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return password, nil })
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return made.PrivateBytes, made.PublicBytes, nil
}

// OpenService is a signer with the key of a service of ci/keyserver.
func OpenService(ctx context.Context, url string) (*Signer, error) {
	text, err := fetch(ctx, http.MethodGet, url+"/key.pub", nil)
	if err != nil {
		return nil, err
	}
	public, err := cryptoutils.UnmarshalPEMToPublicKey(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrKey, url, err)
	}
	return newSigner(public, func(ctx context.Context, _, digest []byte) ([]byte, error) {
		return fetch(ctx, http.MethodPost, url+"/sign", digest)
	})
}

// fetch asks the service of a key.
func fetch(ctx context.Context, method, url string, body []byte) (_ []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: its service does not answer: %w", ErrKey, err)
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<16))
	if err != nil {
		return nil, fmt.Errorf("%w: its service does not answer to the end: %w", ErrKey, err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: %s answers %s", ErrKey, url, answer.Status)
	}
	return text, nil
}

func newSigner(public crypto.PublicKey, signData func(ctx context.Context, data, digest []byte) ([]byte, error)) (*Signer, error) {
	pair, err := newPair(public, signData)
	if err != nil {
		return nil, err
	}
	text, err := pair.GetPublicKeyPem()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	verifier, err := NewVerifier([]byte(text))
	if err != nil {
		return nil, err
	}
	// No authority, no log, no time stamp: nothing but the key.
	config, err := root.NewSigningConfig(root.SigningConfigMediaType02, nil, nil, nil, root.ServiceConfiguration{}, nil, root.ServiceConfiguration{})
	if err != nil {
		return nil, err
	}
	return &Signer{pair: pair, config: config, Verifier: verifier}, nil
}

// Log has signatures go to Sigstore's public transparency log as well.
func (s *Signer) Log() error {
	config, err := cosign.SigningConfig()
	if err != nil {
		return fmt.Errorf("ask Sigstore for its transparency log: %w", err)
	}
	if s.trusted, err = cosign.TrustedRoot(); err != nil {
		return fmt.Errorf("ask Sigstore for its transparency log: %w", err)
	}
	s.config, s.Logged = config, true
	return s.Verifier.Log(nil)
}

// Sign signs a statement and returns the bundle.
func (s *Signer) Sign(ctx context.Context, statement Statement) ([]byte, error) {
	text, err := statement.JSON()
	if err != nil {
		return nil, err
	}
	bundle, err := cosignbundle.SignData(ctx, &sign.DSSEData{Data: text, PayloadType: payloadType}, s.pair, s.token, nil, nil, s.config, s.trusted, cosignbundle.SignOptions{})
	if err != nil {
		return nil, fmt.Errorf("sign the %s: %w", Title(statement.PredicateType), err)
	}
	return bundle, nil
}

// pair is a key as Sigstore's library wants it.
type pair struct {
	public    crypto.PublicKey
	algorithm signature.AlgorithmDetails
	hint      string
	sign      func(ctx context.Context, data, digest []byte) ([]byte, error)
}

func newPair(public crypto.PublicKey, signData func(ctx context.Context, data, digest []byte) ([]byte, error)) (*pair, error) {
	algorithm, err := signature.GetDefaultAlgorithmDetails(public, *cosign.GetDefaultLoadOptions(nil)...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	hint, err := fingerprint(public)
	if err != nil {
		return nil, err
	}
	return &pair{public: public, algorithm: algorithm, hint: hint, sign: signData}, nil
}

// fingerprint is the hint at a key in a bundle, by which a verifier finds the key.
func fingerprint(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrKey, err)
	}
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}

func (p *pair) GetHashAlgorithm() common.HashAlgorithm { return p.algorithm.GetProtoHashType() }

func (p *pair) GetSigningAlgorithm() common.PublicKeyDetails {
	return p.algorithm.GetSignatureAlgorithm()
}

func (p *pair) GetHint() []byte { return []byte(p.hint) }

func (p *pair) GetKeyAlgorithm() string {
	switch p.public.(type) {
	case *rsa.PublicKey:
		return "RSA"
	case ed25519.PublicKey:
		return "ED25519"
	case *ecdsa.PublicKey:
		return "ECDSA"
	}
	return ""
}

func (p *pair) GetPublicKey() crypto.PublicKey { return p.public }

func (p *pair) GetPublicKeyPem() (string, error) {
	text, err := cryptoutils.MarshalPublicKeyToPEM(p.public)
	return string(text), err
}

func (p *pair) SignData(ctx context.Context, data []byte) ([]byte, []byte, error) {
	digest := data
	if h := p.algorithm.GetHashType(); h != 0 {
		hash := h.New()
		hash.Write(data)
		digest = hash.Sum(nil)
	}
	signature, err := p.sign(ctx, data, digest)
	return signature, digest, err
}
